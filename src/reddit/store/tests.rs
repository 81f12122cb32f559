//! What a store gives back after each thing that can happen to its files.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use tempfile::TempDir;

use super::group::Group;
use super::*;
use crate::reddit::model::{Asked, Entry, Model, OpId, Record, Secret};

/// The entry with this number: a registration, so that it is seen by name whether it is there.
pub(super) fn entry(number: u32) -> Entry {
    let name = format!("user_{number}").into();
    let op = Some(OpId { stream: 1, number });
    Entry {
        op,
        record: Record::UserRegistered { name, secret: Secret([7; 16]), key: None, at_ms: u64::from(number) },
    }
}

fn open(dir: &TempDir) -> Result<(Store, Model, Contents), OpenError> {
    Store::open(dir.path(), Durability::Process)
}

/// A store with this many entries, each synced and acknowledged by itself.
fn filled(count: u32) -> TempDir {
    filled_with(count, Durability::Power)
}

fn filled_with(count: u32, durability: Durability) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _, _) = Store::open(dir.path(), durability).unwrap();
    for number in 1..=count {
        store.append(&entry(number)).unwrap();
        store.commit().unwrap();
    }
    dir
}

fn log_of(dir: &TempDir) -> PathBuf {
    files::path(dir.path(), files::LOG, 0)
}

/// Where each group of a log with one entry a group begins, and where the last one ends.
fn places(count: u32) -> Vec<usize> {
    let mut at = recovery::HEADER;
    let mut places = vec![at];
    for number in 1..=count {
        let mut group = Group::default();
        at += group.push(&entry(number));
        places.push(at);
    }
    places
}

fn users(dir: &TempDir) -> usize {
    open(dir).unwrap().1.users().count()
}

#[test]
fn what_was_committed_is_there_again_and_what_was_only_appended_is_not() {
    let dir = filled(3);
    {
        let (mut store, model, contents) = open(&dir).unwrap();
        assert_eq!((model.users().count(), contents.next, contents.torn), (3, 3, 0));
        store.append(&entry(4)).unwrap();
        store.append(&entry(5)).unwrap();
        store.commit().unwrap();
        store.append(&entry(6)).unwrap();
    }
    let (_, model, contents) = open(&dir).unwrap();
    assert_eq!((model.users().count(), contents.next), (5, 5));
    let op = OpId { stream: 1, number: 5 };
    assert!(
        model.operations().done(Asked { op, since: 0 }, None).unwrap().is_some(),
        "the names of operations are kept too"
    );
}

#[test]
fn e02_a_log_cut_at_any_byte_of_its_last_three_records_gives_all_before_and_goes_on() {
    let count = 6;
    let dir = filled(count);
    let whole = fs::read(log_of(&dir)).unwrap();
    let places = places(count);
    assert_eq!(*places.last().unwrap(), whole.len());
    for cut in places[count as usize - 3]..whole.len() {
        fs::write(log_of(&dir), &whole[..cut]).unwrap();
        let kept = places.iter().filter(|&&place| place <= cut).count() - 1;
        {
            let (mut store, model, contents) = open(&dir).unwrap();
            assert_eq!(model.users().count(), kept, "cut at {cut}");
            assert_eq!(contents.torn as usize, cut - places[kept], "cut at {cut}");
            store.append(&entry(100)).unwrap();
            store.commit().unwrap();
        }
        assert_eq!(users(&dir), kept + 1, "cut at {cut}: it went on where the whole part ends");
    }
}

#[test]
fn e03_a_flipped_bit_anywhere_but_in_the_last_record_refuses_and_says_where() {
    let count = 5;
    let dir = filled(count);
    let whole = fs::read(log_of(&dir)).unwrap();
    let places = places(count);
    for at in 0..places[count as usize - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(log_of(&dir), &damaged).unwrap();
        let begin = places.iter().copied().filter(|&place| place <= at).max().unwrap_or(0);
        match open(&dir) {
            Err(OpenError::Damaged { offset, .. }) => assert_eq!(offset, begin as u64, "flipped at {at}"),
            other => panic!("flipped at {at}: {:?}", other.map(|(_, model, _)| model.users().count())),
        }
        assert_eq!(fs::read(log_of(&dir)).unwrap(), damaged, "nothing is changed");
    }
}

#[test]
fn a_segment_that_is_missing_or_of_another_kind_is_damage() {
    let dir = filled(3);
    fs::rename(log_of(&dir), files::path(dir.path(), files::LOG, 7)).unwrap();
    assert!(matches!(open(&dir), Err(OpenError::Damaged { .. })));
    let dir = filled(3);
    fs::write(log_of(&dir), "something else altogether").unwrap();
    assert!(matches!(open(&dir), Err(OpenError::Damaged { offset: 0, .. })));
}

#[test]
fn a_segment_whose_header_was_not_finished_is_begun_anew() {
    let dir = filled(0);
    for length in 0..recovery::HEADER {
        fs::write(log_of(&dir), &recovery::header(0, 0, 7)[..length]).unwrap();
        let (mut store, _, _) = open(&dir).unwrap();
        store.append(&entry(1)).unwrap();
        store.commit().unwrap();
        drop(store);
        assert_eq!(users(&dir), 1);
    }
}

/// A store whose segments are small, so that snapshots come soon.
fn rotated(dir: &TempDir, from: u32, to: u32) {
    rotated_with(dir, Durability::Process, from, to);
}

fn rotated_with(dir: &TempDir, durability: Durability, from: u32, to: u32) {
    let (mut store, _, _) = Store::open_with(dir.path(), durability, 4096).unwrap();
    for number in from..=to {
        store.append(&entry(number)).unwrap();
        store.commit().unwrap();
        store.finish_snapshot();
    }
}

#[test]
fn snapshots_stand_for_what_they_cover_and_that_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    rotated(&dir, 1, 1000);
    let snapshots = files::list(dir.path(), files::SNAPSHOT).unwrap();
    let logs = files::list(dir.path(), files::LOG).unwrap();
    assert_eq!(snapshots.len(), 1, "the newest alone");
    assert!(logs[0] == snapshots[0] && logs[0] > 0, "{logs:?}");
    let (_, model, contents) = open(&dir).unwrap();
    assert_eq!((model.users().count(), contents.next), (1000, 1000));
    assert!(contents.entries < 1000);
    let mut replayed = Model::default();
    for number in 1..=1000 {
        replayed.apply_entry(entry(number));
    }
    assert_eq!(fingerprint(&model), fingerprint(&replayed));
}

#[test]
fn what_an_interrupted_snapshot_left_behind_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    rotated(&dir, 1, 1000);
    let first = files::list(dir.path(), files::LOG).unwrap()[0];
    // It was not renamed yet; and it was, but what it covers was not removed yet.
    fs::write(dir.path().join(files::UNFINISHED), "half").unwrap();
    fs::write(files::path(dir.path(), files::LOG, first - 1), "an old segment").unwrap();
    assert_eq!(users(&dir), 1000);
    rotated(&dir, 1001, 2000);
    assert!(!files::path(dir.path(), files::LOG, first - 1).exists(), "the next one tidies up");
    assert_eq!(users(&dir), 2000);
}

#[test]
fn a_damaged_snapshot_refuses() {
    let dir = tempfile::tempdir().unwrap();
    rotated(&dir, 1, 1000);
    let newest = files::list(dir.path(), files::SNAPSHOT).unwrap()[0];
    let path = files::path(dir.path(), files::SNAPSHOT, newest);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"x", 100).unwrap();
    match open(&dir) {
        Err(OpenError::Damaged { file, .. }) => assert_eq!(file, path),
        other => panic!("{:?}", other.map(|(_, model, _)| model.users().count())),
    }
}

#[test]
fn e03_a_repair_keeps_everything_before_the_damage_and_says_what_it_drops() {
    let count = 5;
    let dir = filled(count);
    let whole = fs::read(log_of(&dir)).unwrap();
    let places = places(count);
    for at in (0..places[count as usize - 1]).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(log_of(&dir), &damaged).unwrap();
        let kept = places.iter().filter(|&&place| place <= at).count().saturating_sub(1);
        let from = if kept == 0 { 0 } else { places[kept] };
        let repair = Repair::plan(dir.path()).unwrap();
        // Without the nonce of the header no group can be told from anything else.
        let lost = (!(24..32).contains(&at)).then_some(u64::from(count) - kept as u64);
        assert_eq!((repair.kept(), repair.lost()), (kept as u64, lost), "{at}");
        let bytes = (whole.len() - from) as u64;
        assert_eq!(repair.dropped(), [Dropped { file: log_of(&dir), from: from as u64, bytes }], "{at}");
        assert_eq!(fs::read(log_of(&dir)).unwrap(), damaged, "nothing is changed yet");
        let aside = repair.carry_out().unwrap();
        drop(repair);
        let moved = fs::read(aside.join(log_of(&dir).file_name().unwrap())).unwrap();
        assert_eq!(moved, damaged[from..], "what was dropped is still there");
        {
            let (mut store, model, contents) = open(&dir).unwrap();
            assert_eq!((model.users().count(), contents.torn), (kept, 0), "{at}");
            store.append(&entry(100)).unwrap();
            store.commit().unwrap();
        }
        assert_eq!(users(&dir), kept + 1, "it goes on from there");
        assert!(Repair::plan(dir.path()).unwrap().damage().is_none());
    }
}

#[test]
fn a_store_of_an_older_version_is_told_as_that_and_left_alone() {
    let dir = filled(3);
    let snapshot = files::path(dir.path(), files::SNAPSHOT, 1);
    for (file, whole) in
        [(log_of(&dir), fs::read(log_of(&dir)).unwrap()), (snapshot, b"RDTSNAP\x02".to_vec())]
    {
        let mut older = whole.clone();
        older[7] = 1;
        fs::write(&file, &older).unwrap();
        for refused in [Store::open(dir.path(), Durability::Process).err(), Repair::plan(dir.path()).err()] {
            assert!(
                matches!(&refused, Some(OpenError::Older { found: 1, file: named }) if *named == file),
                "{refused:?}"
            );
        }
        assert_eq!(fs::read(&file).unwrap(), older);
        fs::write(&file, &whole).unwrap();
    }
}

#[test]
fn a_repair_finds_nothing_to_do_in_a_whole_store_and_refuses_one_in_use() {
    let dir = filled(3);
    let mut bytes = fs::read(log_of(&dir)).unwrap();
    bytes.truncate(bytes.len() - 1);
    fs::write(log_of(&dir), &bytes).unwrap();
    let repair = Repair::plan(dir.path()).unwrap();
    assert!(repair.damage().is_none() && repair.dropped().is_empty(), "an unfinished end is no damage");
    assert_eq!(repair.kept(), 2);
    assert!(matches!(open(&dir), Err(OpenError::InUse { .. })), "no engine comes in between");
    drop(repair);
    let _engine = open(&dir).unwrap();
    assert!(matches!(Repair::plan(dir.path()), Err(OpenError::InUse { .. })));
}

#[test]
fn a_repair_goes_back_to_an_older_snapshot_and_drops_segments_behind_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let logs = || files::list(dir.path(), files::LOG).unwrap();
    let mut last = 1000;
    rotated_with(&dir, Durability::Power, 1, last);
    while logs().len() < 4 {
        rotated_with(&dir, Durability::Power, last + 1, last + 20);
        last += 20;
    }
    let (newest, logs) = (files::list(dir.path(), files::SNAPSHOT).unwrap()[0], logs());
    // A newer one that cannot be read, and a segment that is gone.
    fs::write(files::path(dir.path(), files::SNAPSHOT, newest + 1), "half of it").unwrap();
    fs::remove_file(files::path(dir.path(), files::LOG, logs[1])).unwrap();
    let repair = Repair::plan(dir.path()).unwrap();
    assert_eq!((newest, repair.kept(), repair.lost()), (logs[0], logs[1], Some(u64::from(last) - logs[1])));
    assert_eq!(repair.dropped().len(), 1 + logs.len() - 2);
    repair.carry_out().unwrap();
    drop(repair);
    assert_eq!(users(&dir) as u64, logs[1]);
}

#[test]
fn e06_the_second_on_a_store_is_refused_and_told_who_is_first() {
    let dir = filled(2);
    let held = open(&dir).unwrap();
    match open(&dir) {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{:?}", other.map(|_| ())),
    }
    drop(held);
    assert_eq!(users(&dir), 2);
}

#[test]
fn a_turn_of_many_large_entries_is_written_in_groups_of_bounded_size() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _, _) = open(&dir).unwrap();
    let title = |number| Record::UserRegistered {
        name: format!("{number:0>40000}").into(),
        secret: Secret([0; 16]),
        key: None,
        at_ms: 1,
    };
    for number in 0..100 {
        store.append(&Entry { op: None, record: title(number) }).unwrap();
        if store.is_due() {
            store.commit().unwrap();
        }
    }
    store.commit().unwrap();
    assert!(store.written().0 >= 3);
    drop(store);
    assert_eq!(users(&dir), 100);
}

#[test]
fn what_cannot_be_read_behind_the_last_sync_ends_the_log_and_is_told() {
    let count = 5;
    let dir = filled_with(count, Durability::Process);
    let whole = fs::read(log_of(&dir)).unwrap();
    let places = places(count);
    for at in places[0]..whole.len() {
        let mut torn = whole.clone();
        torn[at] ^= 1 << (at % 8);
        fs::write(log_of(&dir), &torn).unwrap();
        let kept = places.iter().filter(|&&place| place <= at).count() - 1;
        let (mut store, model, contents) = open(&dir).unwrap();
        assert_eq!(model.users().count(), kept, "flipped at {at}");
        assert_eq!(contents.torn as usize, whole.len() - places[kept], "flipped at {at}");
        assert_eq!(contents.aside.is_some(), kept + 1 < count as usize, "flipped at {at}");
        if let Some(aside) = contents.aside {
            assert_eq!(contents.beyond, u64::from(count) - kept as u64, "flipped at {at}");
            let moved = fs::read(aside.join(log_of(&dir).file_name().unwrap())).unwrap();
            assert_eq!(moved, torn[places[kept]..], "what was written is still there");
        }
        store.append(&entry(100)).unwrap();
        store.commit().unwrap();
        drop(store);
        // What was read back was synced, and what came behind it says so.
        let mut damaged = fs::read(log_of(&dir)).unwrap();
        if kept > 0 {
            damaged[places[kept] - 1] ^= 1;
            fs::write(log_of(&dir), damaged).unwrap();
            assert!(matches!(open(&dir), Err(OpenError::Damaged { .. })), "flipped at {at}");
        }
    }
}

#[test]
fn a_text_that_looks_like_a_group_proves_nothing() {
    let dir = filled_with(2, Durability::Process);
    let mut forged = Group::default();
    forged.push(&entry(9));
    let (forged, _) = forged.finish(3, u64::from(u32::MAX), 0);
    let mut bytes = fs::read(log_of(&dir)).unwrap();
    bytes.pop();
    bytes.extend_from_slice(forged);
    fs::write(log_of(&dir), bytes).unwrap();
    let (_, model, contents) = open(&dir).unwrap();
    assert_eq!((model.users().count(), contents.beyond), (1, 0));
}
