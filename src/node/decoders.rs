//! Everything that is decoded of what a peer sends, in one place, for tests that send nonsense.

use super::error::Fault;
use super::frame::{Frame, FrameError, Kind, MAX_FRAME};
use super::hello::Refusal;
use super::inbox::Inbox;
use super::introduction::{self, Accepted, Door};
use super::link::Notice;

/// Takes `bytes` as they come from a peer, `portion` at a time, and decodes all that can be decoded of them, until something
/// in them is wrong.
///
/// # Panics
/// Never, or nodes could be killed from outside: also if what is kept of the bytes grows past its bound.
pub fn decode_anything(bytes: &[u8], portion: usize) {
    // The same bytes as a stranger's, whose frames are small, and as a peer's.
    for limit in [introduction::SMALLEST_LIMIT, MAX_FRAME] {
        let mut inbox = Inbox::default();
        inbox.take_at_most(limit);
        for part in bytes.chunks(portion.max(1)) {
            let space = inbox.space();
            space.extend_from_slice(part);
            assert!(
                space.capacity() <= 4 * (limit + bytes.len() + (64 << 10)),
                "{} are kept",
                space.capacity()
            );
            loop {
                match inbox.next() {
                    Ok(Some(frame)) => decode(&frame),
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
        }
    }
}

fn decode(frame: &Frame<'_>) {
    // What is wrong is told to nobody here.
    let _ = match frame.kind {
        Kind::Hello => {
            let door = Door { own_uid: 0, uids: &[], wire: &introduction::WIRE, messages: (0, u16::MAX) };
            let _ = introduction::judge(Ok(*frame), None, door);
            Ok(())
        }
        Kind::Welcome => frame.decode::<Accepted>().map(|accepted| _ = introduction::is_sound(&accepted.by)),
        Kind::Refusal => frame.decode::<Refusal>().map(|refusal| _ = refusal.to_string()),
        Kind::Fault => frame.decode::<Fault>().map(|fault| _ = fault.to_string()),
        Kind::Notice => frame.decode::<Notice>().map(drop),
        Kind::Call | Kind::Cast | Kind::Reply => {
            frame.decode::<(u32, Vec<(String, Option<u64>)>)>().map(drop)
        }
        Kind::Once => frame.decode::<(u32, u64, String)>().map(drop),
        Kind::Ping | Kind::Pong => Ok::<(), FrameError>(()),
    };
}
