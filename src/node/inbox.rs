//! Bytes that were read and are not yet understood.

use super::frame::{self, Frame, FrameError, MAX_FRAME};

/// One read asks for at least this much.
const READ: usize = 64 << 10;

/// One growing buffer of a connection. It is read into only while it holds no whole frame, so it never grows past
/// twice the largest frame and one read.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    /// The largest frame that is taken.
    limit: usize,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox { bytes: Vec::new(), start: 0, limit: MAX_FRAME }
    }
}

impl Inbox {
    /// From now on frames may have at most `limit` bytes.
    pub(super) fn take_at_most(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next whole frame, taken out; `None` when more must be read first.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let frame = frame::parse_within(self.limit, &self.bytes[self.start..])?;
        if let Some(frame) = &frame {
            self.start += frame.size;
        }
        Ok(frame)
    }

    /// Where the next read appends, with room for it. Only after `next` said `None`.
    pub(super) fn space(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        // A rare large frame must not keep a megabyte for a connection's whole life.
        if self.bytes.is_empty() && self.bytes.capacity() > 4 * READ {
            self.bytes = Vec::new();
        }
        self.bytes.reserve(READ);
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Kind;
    use super::*;

    #[test]
    fn frames_arriving_a_byte_at_a_time_come_out_whole_and_the_buffer_starts_over() {
        let mut bytes = Vec::new();
        for request in 0..3 {
            frame::append(&mut bytes, Kind::Call, request, "body").unwrap();
        }
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        for byte in bytes {
            inbox.space().push(byte);
            while let Some(frame) = inbox.next().unwrap() {
                seen.push(frame.request);
            }
        }
        assert_eq!(seen, [0, 1, 2]);
        assert!(inbox.space().is_empty());
    }

    #[test]
    fn a_large_frame_does_not_keep_its_memory() {
        let mut inbox = Inbox::default();
        frame::append(inbox.space(), Kind::Call, 1, &vec![0u8; MAX_FRAME - 100]).unwrap();
        assert!(inbox.next().unwrap().is_some());
        assert!(inbox.space().capacity() <= 2 * READ);
    }
}
