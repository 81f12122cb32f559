//! Nonsense for everything that decodes what a peer sends: it is refused, without a panic and within bounded memory.
//!
//! `fuzz/` aims at the same function with coverage to guide it, for whoever has cargo-fuzz.

use proptest::prelude::*;
use provost::node::{Identity, Kind, Refusal, decode_anything, frame};

/// One good frame of every kind, as real peers send them.
fn good_frames() -> Vec<Vec<u8>> {
    fn framed<T: serde::Serialize>(kind: Kind, request: u32, body: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, kind, request, body).unwrap();
        bytes
    }
    let me = Identity { node: "client@1".to_owned(), pid: 42, incarnation: 7 };
    let introduction = (me.clone(), (1u16, 1u16), 64u16, 1u32 << 20, "unix:/x");
    let names: Vec<(String, u32)> = (0..5).map(|number| (format!("name {number}"), number)).collect();
    vec![
        framed(Kind::Hello, 0, &((*b"PRVL", 1u16, 1u16), introduction.clone())),
        framed(Kind::Welcome, 0, &(1u16, 1u16, introduction)),
        framed(Kind::Refusal, 0, &Refusal::Full { limit: 7 }),
        framed(Kind::Refusal, 0, &Refusal::Certificate { of: "a".into(), claimed: "b".into() }),
        framed(Kind::Call, 1, &(3u32, vec![("request".to_owned(), Some(9u64))])),
        framed(Kind::Cast, 0, &(3u32, vec![("request".to_owned(), None::<u64>)])),
        framed(Kind::Once, 2, &(3u32, 5u64, "request")),
        framed(Kind::Reply, 1, &(3u32, vec![("reply".to_owned(), Some(9u64))])),
        framed(Kind::Fault, 1, &0u32),
        framed(Kind::Notice, 0, &(0u32, names)),
        framed(Kind::Notice, 0, &(2u32, "claimed", 9u32)),
        framed(Kind::Notice, 0, &(6u32, "conflict", me)),
        framed(Kind::Ping, 4, &()),
    ]
}

/// What is done to good bytes.
#[derive(Clone, Debug)]
enum Harm {
    /// Another byte.
    Set(usize, u8),
    /// Another length field: of the frame at this place.
    Length(usize, u32),
    /// An end too early.
    Cut(usize),
    /// Something in between.
    Insert(usize, Vec<u8>),
    /// The number that postcard writes as so many times 0xff: as large as it can be.
    Huge(usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let lengths =
        prop_oneof![Just(0), Just(5), Just(6), Just(4097), Just((1 << 20) + 1), Just(u32::MAX), any::<u32>()];
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, value)| Harm::Set(at, value)),
        (any::<usize>(), lengths).prop_map(|(at, length)| Harm::Length(at, length)),
        any::<usize>().prop_map(Harm::Cut),
        (any::<usize>(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        any::<usize>().prop_map(Harm::Huge),
    ]
}

/// Frames one behind the other, with harm done to them.
fn harmed(frames: &[Vec<u8>], harms: &[Harm]) -> Vec<u8> {
    let mut starts = Vec::new();
    let mut bytes = Vec::new();
    for frame in frames {
        starts.push(bytes.len());
        bytes.extend_from_slice(frame);
    }
    for harm in harms {
        let somewhere = |at: usize| at % (bytes.len() + 1);
        match harm {
            Harm::Set(at, value) => {
                let at = somewhere(*at);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = *value);
            }
            Harm::Length(at, length) => {
                let start = starts[at % starts.len()];
                bytes.iter_mut().skip(start).zip(length.to_le_bytes()).for_each(|(byte, new)| *byte = new);
            }
            Harm::Cut(at) => bytes.truncate(somewhere(*at)),
            Harm::Insert(at, new) => {
                let at = somewhere(*at);
                bytes.splice(at..at, new.iter().copied());
            }
            Harm::Huge(at) => {
                let at = somewhere(*at);
                let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
                bytes.iter_mut().skip(at).zip(huge).for_each(|(byte, new)| *byte = new);
            }
        }
    }
    bytes
}

/// The most memory that this process ever had, in KiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// One test, so that the memory is its own.
#[test]
fn decoders_survive_nonsense_within_bounded_memory() {
    let good = good_frames();
    for frame in &good {
        decode_anything(frame, 3);
    }
    for length in [0, u32::MAX] {
        for portion in [1, 4, 4096] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.resize(100_000, 1);
            decode_anything(&bytes, portion);
        }
    }
    let before = most_memory();
    let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
    let frames = prop::collection::vec(prop::sample::select(good), 1..6);
    let spoilt =
        (frames, prop::collection::vec(harm(), 0..5)).prop_map(|(frames, harms)| harmed(&frames, &harms));
    let random = prop::collection::vec(any::<u8>(), 0..400);
    let any_bytes = prop_oneof![4 => spoilt, 1 => random];
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&(any_bytes, 1..600usize), |(bytes, portion)| {
            decode_anything(&bytes, portion);
            Ok(())
        })
        .unwrap();
    let grown = most_memory().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB were needed for frames of a few hundred bytes");
}
