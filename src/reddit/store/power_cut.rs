//! The power fails at every point between two syncs: a model of a disk that drops, tears and reorders what was not synced,
//! contents and names alike, under everything that a store does.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use super::disk::Change;
use super::tests::entry;
use super::*;
use crate::reddit::model::Model;

/// A change of a file, as it was made.
#[derive(Clone, Debug)]
enum Made {
    Create,
    Write(u64, Vec<u8>),
    SetLength(u64),
    Sync,
    /// It failed: the kernel does not try again, and whoever reads sees what is not on the disk.
    FailedSync,
    Rename(PathBuf),
    Remove,
    SyncDir,
}

#[derive(Debug, Default)]
struct Journal {
    made: Vec<(PathBuf, Made)>,
    /// That many syncs of files from now on fails.
    fail: Option<usize>,
}

/// By the directory below which changes are noted.
static JOURNALS: Mutex<BTreeMap<PathBuf, Journal>> = Mutex::new(BTreeMap::new());

fn with_journals<T>(look: impl FnOnce(&mut BTreeMap<PathBuf, Journal>) -> T) -> T {
    look(&mut JOURNALS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Makes a change and notes it.
pub(super) fn noted<T>(
    path: &Path,
    change: Change<'_>,
    make: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    with_journals(|journals| {
        let Some((_, journal)) = journals.iter_mut().find(|(root, _)| path.starts_with(root)) else {
            return make();
        };
        let made = match change {
            Change::Create => Made::Create,
            Change::Write(at, bytes) => Made::Write(at, bytes.to_vec()),
            Change::SetLength(length) => Made::SetLength(length),
            Change::Sync => Made::Sync,
            Change::Rename(to) => Made::Rename(to.to_owned()),
            Change::Remove => Made::Remove,
            Change::SyncDir => Made::SyncDir,
        };
        if let (Made::Sync, Some(left)) = (&made, &mut journal.fail) {
            if *left == 0 {
                journal.fail = None;
                journal.made.push((path.to_owned(), Made::FailedSync));
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            *left -= 1;
        }
        let result = make()?;
        journal.made.push((path.to_owned(), made));
        Ok(result)
    })
}

/// Notes what happens below a directory while it is there.
struct Noting(PathBuf);

impl Noting {
    fn begin(root: &Path) -> Noting {
        with_journals(|journals| journals.insert(root.to_owned(), Journal::default()));
        Noting(root.to_owned())
    }

    fn fail_sync(&self, after: Option<usize>) {
        with_journals(|journals| journals.get_mut(&self.0).unwrap().fail = after);
    }

    fn len(&self) -> usize {
        with_journals(|journals| journals[&self.0].made.len())
    }

    fn made(&self) -> Vec<(PathBuf, Made)> {
        with_journals(|journals| journals[&self.0].made.clone())
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        with_journals(|journals| journals.remove(&self.0));
    }
}

/// What is left of what was not synced.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nothing,
    All,
    /// Any sectors of any writes; names in their order.
    Torn,
    /// And any names.
    Reordered,
}

const CUTS: [Cut; 4] = [Cut::Nothing, Cut::All, Cut::Torn, Cut::Reordered];
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Node {
    durable: Vec<u8>,
    pending: Vec<Made>,
}

#[derive(Clone, Debug)]
enum Name {
    Link(PathBuf, usize),
    Move(PathBuf, PathBuf),
    Gone(PathBuf),
}

impl Name {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Name::Link(path, _) | Name::Gone(path) => path.parent() == Some(dir),
            Name::Move(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Name::Link(path, node) => drop(names.insert(path.clone(), *node)),
            Name::Gone(path) => drop(names.remove(path)),
            Name::Move(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

/// A disk and the cache above it.
#[derive(Clone, Debug, Default)]
struct Disk {
    nodes: Vec<Node>,
    seen: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<Name>,
}

impl Disk {
    /// With these files on it.
    fn holding(dir: &Path) -> Disk {
        let mut disk = Disk::default();
        for file in fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).filter(|file| file.is_file())
        {
            disk.nodes.push(Node { durable: fs::read(&file).unwrap(), pending: Vec::new() });
            disk.durable.insert(file, disk.nodes.len() - 1);
        }
        disk.seen = disk.durable.clone();
        disk
    }

    fn name(&mut self, name: Name) {
        name.apply(&mut self.seen);
        self.pending.push(name);
    }

    fn make(&mut self, path: &Path, made: &Made) {
        match made {
            Made::Create => match self.seen.get(path) {
                Some(&node) => self.nodes[node].pending.push(Made::SetLength(0)),
                None => {
                    self.nodes.push(Node::default());
                    self.name(Name::Link(path.to_owned(), self.nodes.len() - 1));
                }
            },
            Made::Rename(to) => self.name(Name::Move(path.to_owned(), to.clone())),
            Made::Remove => self.name(Name::Gone(path.to_owned())),
            Made::SyncDir => {
                let (synced, pending) =
                    std::mem::take(&mut self.pending).into_iter().partition(|name: &Name| name.is_in(path));
                self.pending = pending;
                let synced: Vec<Name> = synced;
                synced.iter().for_each(|name| name.apply(&mut self.durable));
            }
            Made::Write(..) | Made::SetLength(_) | Made::Sync | Made::FailedSync => {
                // A segment may be synced when a snapshot has replaced it.
                let Some(&node) = self.seen.get(path) else { return };
                let Node { durable, pending } = &mut self.nodes[node];
                match made {
                    Made::Sync => pending.drain(..).for_each(|made| apply(durable, &made)),
                    Made::FailedSync => pending.clear(),
                    other => pending.push(other.clone()),
                }
            }
        }
    }

    /// What is on the disk when the power fails now.
    fn fail(&self, cut: Cut, random: &mut StdRng) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut names = self.durable.clone();
        let kept = match cut {
            Cut::Nothing => 0,
            Cut::All | Cut::Reordered => self.pending.len(),
            Cut::Torn => random.random_range(0..=self.pending.len()),
        };
        for name in &self.pending[..kept] {
            if !matches!(cut, Cut::Reordered) || random.random() {
                name.apply(&mut names);
            }
        }
        let mut contents = |node: &Node| {
            let mut bytes = node.durable.clone();
            for made in &node.pending {
                match cut {
                    Cut::Nothing => {}
                    Cut::All => apply(&mut bytes, made),
                    Cut::Torn | Cut::Reordered => tear(&mut bytes, made, random),
                }
            }
            bytes
        };
        names.into_iter().map(|(path, node)| (path, contents(&self.nodes[node]))).collect()
    }
}

fn apply(bytes: &mut Vec<u8>, made: &Made) {
    match made {
        Made::SetLength(length) => bytes.resize(*length as usize, 0),
        Made::Write(at, written) => {
            let (at, end) = (*at as usize, *at as usize + written.len());
            bytes.resize(bytes.len().max(end), 0);
            bytes[at..end].copy_from_slice(written);
        }
        other => unreachable!("{other:?} is no change of contents"),
    }
}

/// Some sectors of a write, whether or not the file has become as long.
fn tear(bytes: &mut Vec<u8>, made: &Made, random: &mut StdRng) {
    let Made::Write(at, written) = made else {
        return if random.random() {
            apply(bytes, made)
        };
    };
    match random.random_range(0..3) {
        0 => {}
        1 => apply(bytes, made),
        _ => {
            let (at, end) = (*at as usize, *at as usize + written.len());
            for sector in at / SECTOR..end.div_ceil(SECTOR) {
                let (from, to) = (at.max(sector * SECTOR), end.min((sector + 1) * SECTOR));
                if random.random() {
                    apply(bytes, &Made::Write(from as u64, written[from - at..to - at].to_vec()));
                }
            }
            if random.random() {
                bytes.resize(bytes.len().max(end), 0);
            }
        }
    }
}

/// A store with these files.
fn restored(files: &BTreeMap<PathBuf, Vec<u8>>, root: &Path) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = dir.path().join(path.strip_prefix(root).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// How many users there are, which must be the first ones.
fn first_users(model: &Model) -> usize {
    let count = model.users().count();
    for number in 1..=count {
        assert!(model.users().by_name(&format!("user_{number}")).is_some(), "{number} of {count} is missing");
    }
    count
}

const SEGMENT: u64 = 2048;

fn open(dir: &Path, durability: Durability) -> (Store, usize, Contents) {
    let opened = Store::open_with(dir, durability, SEGMENT);
    let (store, model, contents) = opened.unwrap_or_else(|error| panic!("{error}"));
    (store, first_users(&model), contents)
}

/// After how many changes so many users were acknowledged.
type Told = Vec<(usize, usize)>;

/// Turns of one or two users.
fn write(store: &mut Store, noting: &Noting, users: std::ops::Range<usize>) -> Told {
    let mut told = Vec::new();
    for number in users {
        store.append(&entry(u32::try_from(number).unwrap() + 1)).unwrap();
        if number % 3 != 1 {
            store.commit().unwrap();
            told.push((noting.len(), number + 1));
        }
    }
    told
}

/// The power fails after each change and in each way. `kept` is told how many users are there then.
fn fail_everywhere(
    mut disk: Disk,
    root: &Path,
    made: &[(PathBuf, Made)],
    random: &mut StdRng,
    mut kept: impl FnMut(usize, Cut, TempDir, &mut StdRng),
) {
    for (at, (path, change)) in made.iter().enumerate() {
        disk.make(path, change);
        for cut in CUTS {
            kept(at + 1, cut, restored(&disk.fail(cut, random), root), random);
        }
    }
}

fn acknowledged(told: &[(usize, usize)], at: usize) -> usize {
    told.iter().take_while(|&&(made, _)| made <= at).last().map_or(0, |&(_, users)| users)
}

/// A store of several segments with snapshots, what was done to its files, and what was acknowledged.
fn life(durability: Durability) -> (TempDir, Vec<(PathBuf, Made)>, Told) {
    let dir = tempfile::tempdir().unwrap();
    let noting = Noting::begin(dir.path());
    let (mut store, _, _) = open(dir.path(), durability);
    let told = write(&mut store, &noting, 0..90);
    store.finish_snapshot();
    drop(store);
    let made = noting.made();
    drop(noting);
    (dir, made, told)
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged_as_synced() {
    let random = &mut StdRng::seed_from_u64(1);
    let (dir, made, told) = life(Durability::Power);
    let snapshots = made.iter().filter(|(_, made)| matches!(made, Made::Rename(_))).count();
    assert!(snapshots > 0, "snapshots are a part of it");
    fail_everywhere(Disk::default(), dir.path(), &made, random, |at, cut, left, random| {
        let promised = acknowledged(&told, at);
        if random.random_range(0..16) > 0 {
            let mut model = Model::default();
            let read = read(left.path(), &mut model);
            read.unwrap_or_else(|error| panic!("{cut:?} after change {at}: {error}"));
            assert!(first_users(&model) >= promised, "{cut:?} after change {at}");
            return;
        }
        // Opened, written on, and again without power at each point of that.
        let before = Disk::holding(left.path());
        let noting = Noting::begin(left.path());
        let (mut store, users, _) = open(left.path(), Durability::Power);
        assert!(users >= promised, "{cut:?} after change {at}: {users} of {promised}");
        let mut again = vec![(0, promised), (noting.len(), users)];
        again.extend(write(&mut store, &noting, users..users + 4));
        drop(store);
        let made = noting.made();
        drop(noting);
        fail_everywhere(before, left.path(), &made, random, |then, second, left, _| {
            let mut model = Model::default();
            let read = read(left.path(), &mut model);
            read.unwrap_or_else(|error| panic!("{cut:?} after {at}, {second:?} after {then}: {error}"));
            assert!(
                first_users(&model) >= acknowledged(&again, then),
                "{cut:?} after {at}, {second:?} after {then}"
            );
        });
    });
}

#[test]
fn a_power_cut_leaves_a_beginning_of_what_was_not_synced() {
    let random = &mut StdRng::seed_from_u64(2);
    let (dir, made, told) = life(Durability::Process);
    let (mut cut_short, mut aside) = (0, 0);
    fail_everywhere(Disk::default(), dir.path(), &made, random, |at, cut, left, _| {
        let (mut store, users, contents) = open(left.path(), Durability::Process);
        let promised = acknowledged(&told, at);
        assert!(users >= promised || !matches!(cut, Cut::All), "{cut:?} after change {at}");
        cut_short += usize::from(contents.torn > 0);
        aside += usize::from(contents.aside.is_some());
        store.append(&entry(u32::try_from(users).unwrap() + 1)).unwrap();
        store.commit().unwrap();
        drop(store);
        assert_eq!(open(left.path(), Durability::Process).1, users + 1, "{cut:?} after change {at}");
    });
    assert!(cut_short > 0 && aside > 0, "{cut_short} {aside}");
}

#[test]
fn what_is_read_back_is_on_the_disk_before_it_is_acknowledged() {
    let random = &mut StdRng::seed_from_u64(3);
    for durability in [Durability::Process, Durability::Power] {
        for failing in 0..12 {
            let dir = tempfile::tempdir().unwrap();
            let noting = Noting::begin(dir.path());
            let (mut store, _, _) = open(dir.path(), durability);
            noting.fail_sync(Some(failing));
            // Written, and not synced: the sync fails, or there is none.
            for number in 1..=60 {
                store.append(&entry(number)).unwrap();
                if store.commit().is_err() {
                    break;
                }
            }
            store.finish_snapshot();
            drop(store);
            noting.fail_sync(None);
            let (_store, users, _) = open(dir.path(), Durability::Power);
            let mut disk = Disk::default();
            noting.made().iter().for_each(|(path, made)| disk.make(path, made));
            for cut in CUTS {
                let left = restored(&disk.fail(cut, random), dir.path());
                assert_eq!(open(left.path(), durability).1, users, "{durability:?} {failing} {cut:?}");
            }
        }
    }
}
