//! Frames that wait to be written.

use std::io;

use serde::Serialize;

use super::frame::{self, FrameError, Kind, MAX_FRAME};

/// Kept between turns; a buffer that had to grow past this is given back once it is empty.
pub(super) const KEPT: usize = 256 << 10;

/// One growing buffer of a connection: a turn's frames go out in one write.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    /// Bytes that the kernel has taken in all.
    sent: u64,
}

impl Outbox {
    /// Adds one frame.
    pub(super) fn append<T: Serialize>(
        &mut self,
        kind: Kind,
        request: u32,
        body: &T,
    ) -> Result<(), FrameError> {
        self.append_within(MAX_FRAME, kind, request, body)
    }

    /// As [`append`](Outbox::append), for a peer that takes frames of at most `limit` bytes.
    pub(super) fn append_within<T: Serialize + ?Sized>(
        &mut self,
        limit: usize,
        kind: Kind,
        request: u32,
        body: &T,
    ) -> Result<(), FrameError> {
        frame::append_within(limit, &mut self.bytes, kind, request, body)
    }

    /// Adds frames that were encoded before: where nothing waits, without a copy, by exchanging the buffers.
    pub(super) fn add(&mut self, frames: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, frames);
        } else {
            self.bytes.extend_from_slice(frames);
        }
    }

    /// Bytes the kernel has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Gives up what waits: nothing is written any more.
    pub(super) fn discard(&mut self) {
        *self = Outbox { sent: self.sent, ..Outbox::default() };
    }

    /// Bytes the kernel has taken in all.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Gives the kernel as much as it takes without waiting: `write` is asked until it would block.
    pub(super) fn send(&mut self, write: impl Fn(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while self.unsent() > 0 {
            match write(&self.bytes[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    self.sent += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        Ok(())
    }
}
