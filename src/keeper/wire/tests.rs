use std::os::fd::AsFd;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const KEY: Key = Key { node: 7, run: u32::MAX };

fn record(birth_failed: Option<(i32, Errno)>) -> ExitRecord {
    ExitRecord {
        key: KEY,
        pid: Pid::from_raw(4_194_303),
        status: 139,
        user_us: 1,
        system_us: u64::MAX,
        max_rss_kib: 3,
        at_ns: 4,
        born_ns: 5,
        birth_failed,
        left: left(),
    }
}

/// One more than has room.
fn left() -> Left {
    let mut left = Left::default();
    for pid in 0..=LEFT_NAMES as i32 {
        left.add(100 + pid, *b"a process name.");
    }
    assert_eq!((left.named().count(), left.more), (LEFT_NAMES, 1));
    left
}

/// Bytes of [`Left`] in a packet.
const LEFT: usize = 4 + LEFT_NAMES * 19;

#[test]
fn the_keeper_hears_what_was_said() {
    let file = tempfile::tempfile().unwrap();
    let longest = "n".repeat(NAME_MAX);
    let said = |message| to_keeper(&message).unwrap();
    for reach in [Reach::Tree, Reach::Group, Reach::Process] {
        assert_eq!(heard(register(KEY, reach, 7).as_slice()), Some(Heard::Register(KEY, reach, Some(7))));
    }
    let early = Bytes::new(REGISTER).with_key(KEY);
    assert_eq!(heard(early.as_slice()), Some(Heard::Register(KEY, Reach::Tree, None)));
    assert_eq!(heard(said(ToKeeper::Ack(KEY)).as_slice()), Some(Heard::Ack(KEY)));
    assert_eq!(heard(said(ToKeeper::Store(&longest, file.as_fd())).as_slice()), Some(Heard::Store(&longest)));
    assert_eq!(heard(said(ToKeeper::Unstore("ü")).as_slice()), Some(Heard::Unstore("ü")));
    assert_eq!(heard(said(ToKeeper::Up).as_slice()), Some(Heard::Up));
    assert_eq!(heard(said(ToKeeper::Finish(70)).as_slice()), Some(Heard::Finish(70)));
    assert_eq!(heard(said(ToKeeper::Alive).as_slice()), Some(Heard::Alive));
    assert_eq!(heard(said(ToKeeper::Program(file.as_fd())).as_slice()), Some(Heard::Program));

    for (longest, nanoseconds) in [(None, None), (Some(Duration::from_secs(5)), Some(5_000_000_000))] {
        assert_eq!(heard(said(ToKeeper::Stopping(longest)).as_slice()), Some(Heard::Stopping(nanoseconds)));
    }
    let appended = failed(KEY).with(&8i32.to_le_bytes()).with(&(Errno::ENOENT as i32).to_le_bytes());
    assert_eq!(heard(appended.as_slice()), Some(Heard::Failed(KEY, 8, Errno::ENOENT)));
    assert_eq!(heard(failed(KEY).as_slice()), None);
}

#[test]
fn names_that_do_not_fit_are_not_sent() {
    let file = tempfile::tempfile().unwrap();
    assert!(to_keeper(&ToKeeper::Store(&"n".repeat(NAME_MAX + 1), file.as_fd())).is_none());
    assert!(to_keeper(&ToKeeper::Unstore("")).is_none());
}

#[test]
fn an_exit_record_survives_the_way() {
    for sent in [record(None), record(Some((8, Errno::ENOEXEC)))] {
        match from_keeper(exited(&sent).as_slice(), Fds::default()) {
            Some(FromKeeper::Exited(got)) => assert_eq!(got, sent),
            other => panic!("{other:?}"),
        }
    }
}

/// ... and so does one from a keeper that did not tell when the child was born.
#[test]
fn an_exit_record_of_an_earlier_keeper_is_understood() {
    let sent = exited(&record(None));
    let old = &sent.as_slice()[..sent.as_slice().len() - LEFT - 8];
    match from_keeper(old, Fds::default()) {
        Some(FromKeeper::Exited(got)) => {
            assert_eq!(got, ExitRecord { born_ns: got.at_ns, left: Left::default(), ..record(None) });
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_child_without_its_pidfd_is_no_child() {
    assert!(from_keeper(child(KEY, Pid::from_raw(1), 7).as_slice(), Fds::default()).is_none());
    assert!(from_keeper(stored("n").as_slice(), Fds::default()).is_none());
}

#[test]
fn a_newer_packet_is_read_as_far_as_it_is_known() {
    for beginning in [
        Beginning::Usual,
        Beginning::Upgraded,
        Beginning::RolledBack { status: 256 },
        Beginning::Safe { status: 6 },
    ] {
        let longer = snapshot_end(3, 9, beginning).with(b"something new");
        match from_keeper(longer.as_slice(), Fds::default()) {
            Some(FromKeeper::SnapshotEnd { incarnation: 3, orphans: 9, beginning: read }) => {
                assert_eq!(read, beginning);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(heard(Bytes::new(200).as_slice()).is_none());
}

/// F27.
#[test]
fn a_hundred_thousand_random_frames_are_refused_or_understood_but_never_fatal() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut understood = 0;
    for _ in 0..100_000 {
        let len = (random() % PACKET_MAX as u64) as usize;
        let mut frame: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        // Most get past the first gate.
        if let [version, tag, ..] = &mut frame[..] {
            (*version, *tag) = (VERSION, *tag % 80);
        }
        understood += u32::from(heard(&frame).is_some());
        understood += u32::from(from_keeper(&frame, Fds::default()).is_some());
    }
    assert!(understood > 1000, "{understood}: they do not come far");
}

proptest! {
    #[test]
    fn hostile_bytes_are_refused_or_understood_but_never_fatal(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = heard(&bytes);
        let _ = from_keeper(&bytes, Fds::default());
    }

    /// But for the fields that the first keepers did not send.
    #[test]
    fn every_cut_of_a_packet_is_refused(cut in 0usize..62) {
        let whole = exited(&record(None));
        prop_assert!(from_keeper(&whole.as_slice()[..cut.min(whole.len - LEFT - 9)], Fds::default()).is_none());
    }

    #[test]
    fn a_name_is_text_of_a_legal_length(tag in prop::sample::select(vec![STORE, UNSTORE]),
                                        len in any::<u8>(), name in prop::collection::vec(any::<u8>(), 0..120)) {
        let packet = Bytes::new(tag).with(&[len]).with(&name);
        if let Some(Heard::Store(name) | Heard::Unstore(name)) = heard(packet.as_slice()) {
            prop_assert!((1..=NAME_MAX).contains(&name.len()));
        }
    }
}
