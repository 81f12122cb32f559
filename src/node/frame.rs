//! One message on the wire: pure bytes, no I/O.
//!
//! ```text
//! length u32 LE | version u8 | kind u8 | request id u32 LE | body (postcard)
//! ```
//!
//! `length` counts everything after itself and is at most [`MAX_FRAME`], or less where the two sides agreed on less. A peer is never trusted: a wrong length,
//! version or kind is an error that ends the connection, because nothing after it can be read reliably.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The layout described above. A peer with another layout is refused at its first frame.
pub const VERSION: u8 = 1;

/// Largest value of the length field: one frame without the length itself, in bytes. A node may be set to take less.
pub const MAX_FRAME: usize = 1 << 20;

const LENGTH: usize = 4;
const HEADER: usize = 6;

/// Where the body of a frame begins.
pub(super) const BODY: usize = LENGTH + HEADER;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First frame of the side that connects.
    Hello,
    /// The answer that lets it in.
    Welcome,
    /// The answer that does not; the connection is closed after it.
    Refusal,
    /// A request that wants a reply with the same id (a `gen_server:call`).
    Call,
    /// The reply.
    Reply,
    /// A request that wants no reply (a `gen_server:cast`).
    Cast,
    /// A call that may arrive more than once and must be carried out once.
    Once,
    /// There will be no reply, and why.
    Fault,
    /// What peers tell each other about names and about their end.
    Notice,
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::Hello,
        Kind::Welcome,
        Kind::Refusal,
        Kind::Call,
        Kind::Reply,
        Kind::Cast,
        Kind::Once,
        Kind::Fault,
        Kind::Notice,
        Kind::Ping,
        Kind::Pong,
    ];

    /// Its place in the list, beginning with 1.
    fn code(self) -> u8 {
        self as u8 + 1
    }

    fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// Why bytes are not a frame, or a value does not become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is too small for a header or larger than the limit.
    #[error("a frame of {length} bytes is outside the allowed {HEADER}..={limit}")]
    Length {
        /// What the field says.
        length: u32,
        /// The most that is taken.
        limit: usize,
    },
    /// Another frame layout.
    #[error("the peer speaks frame version {0}, this side speaks {VERSION}")]
    Version(u8),
    /// No such kind.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// The body is not what its kind promises.
    #[error("the body of a {0:?} frame cannot be decoded")]
    Body(Kind),
    /// A value that does not fit in a frame.
    #[error("a message of more than {limit} bytes cannot be sent")]
    TooLarge {
        /// The most that the receiver takes.
        limit: usize,
    },
}

/// A complete frame, borrowed from the buffer it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Which call it belongs to; 0 where it belongs to none.
    pub request: u32,
    /// Still encoded.
    pub body: &'a [u8],
    /// Bytes of the whole frame, the length field included: what to drop from the buffer.
    pub size: usize,
}

impl Frame<'_> {
    /// The decoded body.
    ///
    /// # Errors
    /// [`FrameError::Body`] if it is not a `T`, or if anything is left over.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        match postcard::take_from_bytes(self.body) {
            Ok((value, [])) => Ok(value),
            Ok(_) | Err(_) => Err(FrameError::Body(self.kind)),
        }
    }
}

/// The first frame of `bytes`, or `None` while it is incomplete.
///
/// # Errors
/// As soon as the header shows that this will never be a frame: a hostile length is refused before anything is
/// allocated for it.
pub fn parse(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    parse_within(MAX_FRAME, bytes)
}

/// As [`parse`], for frames of at most `limit` bytes.
pub(super) fn parse_within(limit: usize, bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    let size = length as usize;
    if !(HEADER..=limit).contains(&size) {
        return Err(FrameError::Length { length, limit });
    }
    // The version decides what the rest means, so it is judged as soon as it is there.
    match rest.first() {
        Some(&version) if version != VERSION => return Err(FrameError::Version(version)),
        Some(_) | None => {}
    }
    let Some(([_, kind, request @ ..], _)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
    let kind = Kind::from_code(*kind).ok_or(FrameError::Kind(*kind))?;
    let Some(body) = rest.get(HEADER..size) else { return Ok(None) };
    Ok(Some(Frame { kind, request: u32::from_le_bytes(*request), body, size: LENGTH + size }))
}

/// Appends one frame to `out`. On an error `out` is as it was.
///
/// # Errors
/// [`FrameError::TooLarge`].
pub fn append<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    kind: Kind,
    request: u32,
    body: &T,
) -> Result<(), FrameError> {
    append_within(MAX_FRAME, out, kind, request, body)
}

/// As [`append`], for frames of at most `limit` bytes.
pub(super) fn append_within<T: Serialize + ?Sized>(
    limit: usize,
    out: &mut Vec<u8>,
    kind: Kind,
    request: u32,
    body: &T,
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    out.extend_from_slice(&[VERSION, kind.code()]);
    out.extend_from_slice(&request.to_le_bytes());
    let end = start + LENGTH + limit;
    if postcard::serialize_with_flavor(body, Tail { out, end }).is_err() {
        out.truncate(start);
        return Err(FrameError::TooLarge { limit });
    }
    let length = (out.len() - start - LENGTH) as u32;
    out[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Appends one frame around a body that is encoded already and fits.
pub(super) fn append_raw(out: &mut Vec<u8>, kind: Kind, request: u32, body: &[u8]) {
    out.extend_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
    out.extend_from_slice(&[VERSION, kind.code()]);
    out.extend_from_slice(&request.to_le_bytes());
    out.extend_from_slice(body);
}

/// Where postcard writes: behind the frames already in the buffer, never past `end`.
struct Tail<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
}

impl Flavor for Tail<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        if data.len() > self.end - self.out.len() {
            return Err(postcard::Error::SerializeBufferFull);
        }
        match data {
            // Most are numbers of one byte, for which a call of memcpy takes longer than the copy.
            [one] => self.out.push(*one),
            _ => self.out.extend_from_slice(data),
        }
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(kind: Kind, request: u32, body: &str) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, kind, request, body).unwrap();
        out
    }

    #[test]
    fn a_frame_has_the_documented_layout() {
        assert_eq!(framed(Kind::Call, 0x0102_0304, "hi"), [9, 0, 0, 0, 1, 4, 4, 3, 2, 1, 2, b'h', b'i']);
    }

    #[test]
    fn a_frame_split_at_every_byte_is_read_once_it_is_whole() {
        let bytes = framed(Kind::Reply, 7, "split me");
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let frame = parse(&bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.request, frame.size), (Kind::Reply, 7, bytes.len()));
        assert_eq!(frame.decode::<String>(), Ok("split me".to_owned()));
    }

    #[test]
    fn impossible_lengths_are_refused_from_the_length_alone() {
        for length in [0, 5, MAX_FRAME as u32 + 1, u32::MAX] {
            assert_eq!(parse(&length.to_le_bytes()), Err(FrameError::Length { length, limit: MAX_FRAME }));
        }
    }

    #[test]
    fn another_version_is_named_before_the_frame_is_complete() {
        assert_eq!(parse(&[200, 0, 0, 0, 9]), Err(FrameError::Version(9)));
    }

    #[test]
    fn an_unknown_kind_is_refused_and_every_known_one_has_its_own_code() {
        for code in [0, 12, 99] {
            assert_eq!(parse(&[6, 0, 0, 0, VERSION, code, 0, 0, 0, 0]), Err(FrameError::Kind(code)));
        }
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.code()), Some(kind));
        }
    }

    #[test]
    fn bytes_after_the_value_are_refused() {
        let mut bytes = framed(Kind::Call, 1, "x");
        bytes.push(0);
        bytes[0] += 1;
        let frame = parse(&bytes).unwrap().unwrap();
        assert_eq!(frame.decode::<String>(), Err(FrameError::Body(Kind::Call)));
    }

    #[test]
    fn the_largest_message_fits_and_one_byte_more_leaves_the_buffer_untouched() {
        // The header takes 6 bytes and postcard's length of the string 3.
        let largest = "x".repeat(MAX_FRAME - 6 - 3);
        let mut out = framed(Kind::Call, 1, "before");
        let before = out.len();
        append(&mut out, Kind::Call, 2, largest.as_str()).unwrap();
        assert_eq!(parse(&out[before..]).unwrap().unwrap().size, 4 + MAX_FRAME);
        out.truncate(before);
        let result = append(&mut out, Kind::Call, 2, format!("{largest}x").as_str());
        assert_eq!((result, out.len()), (Err(FrameError::TooLarge { limit: MAX_FRAME }), before));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(frame)) = parse(&bytes) {
                let _ = frame.decode::<Vec<(String, Option<u64>)>>();
                prop_assert!(frame.size <= bytes.len());
            }
        }

        #[test]
        fn random_bodies_behind_a_good_header_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = (6 + body.len() as u32).to_le_bytes().to_vec();
            bytes.extend([VERSION, 4, 0, 0, 0, 0]);
            bytes.extend(&body);
            let frame = parse(&bytes).unwrap().unwrap();
            let _ = frame.decode::<Vec<(String, Option<u64>)>>();
            prop_assert_eq!(frame.body, &body[..]);
        }

        #[test]
        fn many_frames_in_one_buffer_come_out_as_they_went_in(
            messages in prop::collection::vec((any::<u32>(), ".{0,40}"), 0..20),
        ) {
            let mut bytes = Vec::new();
            for (request, text) in &messages {
                append(&mut bytes, Kind::Call, *request, text).unwrap();
            }
            let mut rest = &bytes[..];
            let mut read = Vec::new();
            while let Some(frame) = parse(rest).unwrap() {
                read.push((frame.request, frame.decode::<String>().unwrap()));
                rest = &rest[frame.size..];
            }
            prop_assert_eq!(read, messages);
            prop_assert!(rest.is_empty());
        }
    }
}
