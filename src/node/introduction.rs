//! How two nodes meet: what each says of itself, and whether they can talk.
//!
//! The side that connects says which versions of the wire it speaks and who it is; the other chooses the newest that both
//! speak, or says why there is none. Only the first part may never change, so that nodes of any two builds understand
//! at least the refusal.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::frame::{self, Frame, FrameError, Kind};
use super::hello::{Credentials, Identity, Refusal};

/// Tells a node's hello from that of strangers.
const MAGIC: [u8; 4] = *b"PRVL";

/// Versions of the wire that this build speaks: kinds of frames and what is in them.
pub(super) const WIRE: RangeInclusive<u16> = 1..=1;

/// The smallest limit on frames that is taken: enough for every name of a node.
pub(super) const SMALLEST_LIMIT: usize = 4 << 10;

/// The part of a hello that no version may change.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Greeting {
    magic: [u8; 4],
    lowest: u16,
    highest: u16,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Introduction {
    pub(super) identity: Identity,
    /// Versions of the application's messages that it speaks, lowest and highest.
    pub(super) messages: (u16, u16),
    /// Calls that it serves at once for this peer.
    pub(super) in_flight: u16,
    /// The largest frame that it takes.
    pub(super) frame: u32,
    /// Where it listens, for people to read.
    pub(super) location: String,
}

/// The answer to a hello that is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted {
    pub(super) wire: u16,
    pub(super) messages: u16,
    pub(super) by: Introduction,
}

/// What a node lets in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door<'a> {
    pub(super) own_uid: u32,
    /// Users let in beside the own one and root.
    pub(super) uids: &'a [u32],
    pub(super) wire: &'a RangeInclusive<u16>,
    pub(super) messages: (u16, u16),
}

/// Appends the hello of `me`.
pub(super) fn append_hello(out: &mut Vec<u8>, me: &Introduction) -> Result<(), FrameError> {
    let greeting = Greeting { magic: MAGIC, lowest: *WIRE.start(), highest: *WIRE.end() };
    frame::append(out, Kind::Hello, 0, &(greeting, me))
}

/// Decides whether the sender of a first frame is let in, and which versions are spoken. `credentials` are there where the
/// kernel knows the peer; elsewhere its certificate was checked before.
pub(super) fn judge(
    first: Result<Frame<'_>, FrameError>,
    credentials: Option<Credentials>,
    door: Door<'_>,
) -> Result<(u16, u16, Introduction), Refusal> {
    if let Some(Credentials { uid, .. }) = credentials
        && uid != door.own_uid
        && uid != 0
        && !door.uids.contains(&uid)
    {
        return Err(Refusal::Uid { uid });
    }
    let frame = match first {
        Ok(frame) if frame.kind == Kind::Hello => frame,
        Err(FrameError::Version(theirs)) => {
            return Err(Refusal::FrameVersion { ours: frame::VERSION, theirs });
        }
        Ok(_) | Err(_) => return Err(Refusal::NotHello),
    };
    let (greeting, rest): (Greeting, _) =
        postcard::take_from_bytes(frame.body).map_err(|_| Refusal::NotHello)?;
    if greeting.magic != MAGIC {
        return Err(Refusal::NotHello);
    }
    let ours = (*door.wire.start(), *door.wire.end());
    let theirs = (greeting.lowest, greeting.highest);
    let wire = newest(ours, theirs).ok_or(Refusal::Wire { ours, theirs })?;
    let (peer, []): (Introduction, &[u8]) = postcard::take_from_bytes(rest).map_err(|_| Refusal::NotHello)?
    else {
        return Err(Refusal::NotHello);
    };
    match credentials.and_then(|credentials| credentials.pid) {
        Some(real) if real != peer.identity.pid => {
            return Err(Refusal::Pid { claimed: peer.identity.pid, real });
        }
        Some(_) | None => {}
    }
    if !is_sound(&peer) {
        return Err(Refusal::NotHello);
    }
    let theirs = peer.messages;
    let messages = newest(door.messages, theirs).ok_or(Refusal::Messages { ours: door.messages, theirs })?;
    Ok((wire, messages, peer))
}

/// Whether what a peer says of itself can be worked with.
pub(super) fn is_sound(peer: &Introduction) -> bool {
    Identity::check_name(&peer.identity.node).is_ok()
        && (SMALLEST_LIMIT..=frame::MAX_FRAME).contains(&(peer.frame as usize))
        && peer.in_flight > 0
        && peer.location.len() <= 300
        && !peer.location.chars().any(char::is_control)
}

/// The newest version within both ranges.
fn newest(ours: (u16, u16), theirs: (u16, u16)) -> Option<u16> {
    let newest = ours.1.min(theirs.1);
    (newest >= ours.0.max(theirs.0)).then_some(newest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOOR: Door<'_> = Door { own_uid: 1000, uids: &[7], wire: &WIRE, messages: (2, 4) };

    fn client(messages: (u16, u16)) -> Introduction {
        Introduction {
            identity: Identity { node: "client@1".to_owned(), pid: 42, incarnation: 7 },
            messages,
            in_flight: 16,
            frame: 1 << 20,
            location: "unix:/x".to_owned(),
        }
    }

    fn judged(bytes: &[u8], credentials: Option<Credentials>) -> Result<(u16, u16, Introduction), Refusal> {
        judge(frame::parse(bytes).map(Option::unwrap), credentials, DOOR)
    }

    fn hello(me: &Introduction) -> Vec<u8> {
        let mut bytes = Vec::new();
        append_hello(&mut bytes, me).unwrap();
        bytes
    }

    #[test]
    fn the_newest_version_that_both_speak_is_chosen() {
        for (theirs, chosen) in [((1, 2), 2), ((3, 9), 4), ((1, 9), 4), ((3, 3), 3)] {
            let (_, messages, _) = judged(&hello(&client(theirs)), None).unwrap();
            assert_eq!(messages, chosen, "{theirs:?}");
        }
        for theirs in [(0, 1), (5, 9), (4, 3), (9, 0)] {
            let refusal = judged(&hello(&client(theirs)), None).unwrap_err();
            assert_eq!(refusal, Refusal::Messages { ours: (2, 4), theirs });
        }
    }

    #[test]
    fn a_wire_of_the_future_is_told_even_when_the_rest_of_its_hello_is_unknown() {
        let mut bytes = Vec::new();
        let greeting = Greeting { magic: MAGIC, lowest: 2, highest: 3 };
        frame::append(&mut bytes, Kind::Hello, 0, &(greeting, [255u8; 30])).unwrap();
        assert_eq!(judged(&bytes, None), Err(Refusal::Wire { ours: (1, 1), theirs: (2, 3) }));
    }

    #[test]
    fn users_are_let_in_by_what_the_kernel_says_of_them() {
        let bytes = hello(&client((2, 2)));
        let of = |uid| judged(&bytes, Some(Credentials { uid, pid: Some(42) })).map(|_| ());
        assert_eq!((of(1000), of(0), of(7)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(of(8), Err(Refusal::Uid { uid: 8 }));
        let liar = judged(&bytes, Some(Credentials { uid: 0, pid: Some(41) }));
        assert_eq!(liar, Err(Refusal::Pid { claimed: 42, real: 41 }));
    }

    #[test]
    fn what_cannot_be_worked_with_is_no_hello() {
        let good = client((2, 2));
        let named = |node: &str| Introduction {
            identity: Identity { node: node.to_owned(), ..good.identity.clone() },
            ..good.clone()
        };
        let bad = [
            named("\u{1b}[2J"),
            named(""),
            Introduction { frame: 10, ..good.clone() },
            Introduction { frame: u32::MAX, ..good.clone() },
            Introduction { in_flight: 0, ..good.clone() },
            Introduction { location: "\u{7}".to_owned(), ..good.clone() },
        ];
        for introduction in bad {
            assert_eq!(judged(&hello(&introduction), None), Err(Refusal::NotHello), "{introduction:?}");
        }
    }

    proptest! {
        #[test]
        fn random_hellos_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut hello = Vec::new();
            frame::append_raw(&mut hello, Kind::Hello, 0, &bytes);
            prop_assert!(judged(&hello, None).is_err());
        }

        #[test]
        fn a_spoilt_hello_never_panics(at in 0usize..60, value in any::<u8>()) {
            let mut bytes = hello(&client((2, 4)));
            let at = 10 + at % (bytes.len() - 10);
            bytes[at] = value;
            let _ = judged(&bytes, None);
        }
    }
}
