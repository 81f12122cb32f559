//! The log that is being written.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{self, Output};
use super::files::{self, LOG, SNAPSHOT};
use super::group::Group;
use super::lock::Lock;
use super::recovery::{self, Contents, HEADER};
use super::{Durability, Full, OpenError, snapshot};
use crate::reddit::model::{Entry, Model};

/// A segment of this many bytes is followed by the next one.
const SEGMENT: u64 = 64 << 20;

/// Room is reserved in steps of this many bytes, and in small ones when the disk is almost full.
const STEPS: [u64; 2] = [4 << 20, 64 << 10];

/// A store that is open for writing.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    durability: Durability,
    segment_size: u64,
    /// Seeds the sums of groups.
    nonce: u64,
    file: Output,
    /// Bytes of the segment that are written.
    written: u64,
    /// Bytes of the segment that the disk has room for.
    reserved: u64,
    /// The number of the next entry to be written.
    next: u64,
    /// The number of the first entry that the present segment was given since it was opened.
    begun: u64,
    group: Group,
    /// Bytes of segments since the newest snapshot, the present one not included.
    uncovered: u64,
    snapshots: Option<JoinHandle<()>>,
    /// What became of segments that were given up to the disk in the background.
    lost: Arc<OnceLock<io::Error>>,
    progress: Arc<Mutex<Progress>>,
    syncs: u64,
    groups: u64,
    _lock: Lock,
}

/// How far the log is on the disk. Segments are synced in the background, and one may be done before an earlier one.
#[derive(Debug)]
struct Progress {
    /// The entries before this number are.
    synced: u64,
    /// And from each of these numbers to that one.
    ahead: BTreeMap<u64, u64>,
}

impl Progress {
    fn add(&mut self, from: u64, to: u64) {
        self.ahead.insert(from, to);
        while let Some(to) = self.ahead.remove(&self.synced) {
            self.synced = to;
        }
    }
}

fn locked(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the store in `dir`, made if it is missing, and reads what it holds into tables.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, durability: Durability) -> Result<(Store, Model, Contents), OpenError> {
        Store::open_with(dir, durability, SEGMENT)
    }

    pub(super) fn open_with(
        dir: &Path,
        durability: Durability,
        segment_size: u64,
    ) -> Result<(Store, Model, Contents), OpenError> {
        make(dir)?;
        let lock = Lock::take(dir)?;
        let mut model = Model::default();
        let mut contents = recovery::read(dir, &mut model)?;
        contents.aside = contents.settle(dir)?;
        let nonce = contents.nonce.unwrap_or_else(|| StdRng::from_os_rng().random());
        let next = contents.next;
        let (file, written) = match contents.kept.last() {
            Some(last) => Output::open(files::path(dir, LOG, last.first)).map(|file| (file, last.length)),
            None => begin(dir, Durability::Power, next, recovery::header(next, next, nonce)),
        }
        .map_err(OpenError::io("write to", dir))?;
        let store = Store {
            dir: dir.to_owned(),
            durability,
            segment_size,
            nonce,
            file,
            written,
            reserved: written,
            next,
            begun: next,
            group: Group::default(),
            uncovered: (contents.log_bytes - contents.torn).saturating_sub(written),
            snapshots: None,
            lost: Arc::default(),
            progress: Arc::new(Mutex::new(Progress { synced: next, ahead: BTreeMap::new() })),
            syncs: 0,
            groups: 0,
            _lock: lock,
        };
        Ok((store, model, contents))
    }

    /// Takes one more entry into the present turn's group.
    ///
    /// # Errors
    /// [`Full`]: there is no room for it, and it is as if it had not been given.
    pub fn append(&mut self, entry: &Entry) -> Result<(), Full> {
        let before = self.group.len();
        let length = self.group.push(entry) as u64;
        if self.written + length > self.reserved && self.reserve(length).is_err() {
            self.group.take_back(before);
            return Err(Full);
        }
        Ok(())
    }

    /// Whether the group should be written before more is added to it.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.group.is_closed()
    }

    /// Makes sure that `length` more bytes can be written.
    fn reserve(&mut self, length: u64) -> Result<(), Full> {
        let end = self.written + length;
        for step in STEPS {
            let wanted = end.next_multiple_of(step);
            let more = (wanted - self.reserved).cast_signed();
            let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
            match fallocate(self.file.file(), flags, self.reserved.cast_signed(), more) {
                Ok(()) => {
                    self.reserved = wanted;
                    return Ok(());
                }
                Err(Errno::ENOSPC | Errno::EDQUOT) => {}
                // A file system that cannot reserve, or another trouble that the write itself will tell of.
                Err(_) => {
                    self.reserved = u64::MAX;
                    return Ok(());
                }
            }
        }
        Err(Full)
    }

    /// Writes the group. When it returns, everything appended so far survives what the durability promises.
    ///
    /// # Errors
    /// Nobody knows now what is on the disk: nothing may be acknowledged any more, and nothing written.
    pub fn commit(&mut self) -> io::Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        if let Some(error) = self.lost.get() {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let synced = self.synced();
        let (bytes, count) = self.group.finish(self.next, synced, self.nonce);
        self.file.write(self.written, bytes)?;
        self.written += bytes.len() as u64;
        self.next += u64::from(count);
        self.groups += 1;
        if self.durability == Durability::Power {
            self.file.sync()?;
            self.syncs += 1;
        }
        if self.written >= self.segment_size {
            self.rotate()?;
        }
        Ok(())
    }

    /// The entries before this number are on the disk.
    fn synced(&self) -> u64 {
        match self.durability {
            Durability::Power => self.next,
            Durability::Process => locked(&self.progress).synced,
        }
    }

    /// Goes on in a new segment, and has the old ones summed up when that is worth it. All that takes the disk its time
    /// happens in a thread: the engine's next turn is not to wait for it.
    fn rotate(&mut self) -> io::Result<()> {
        self.uncovered += self.written;
        let header = recovery::header(self.next, self.synced(), self.nonce);
        let (file, written) = begin(&self.dir, self.durability, self.next, header)?;
        let from = std::mem::replace(&mut self.begun, self.next);
        let old = std::mem::replace(&mut self.file, file);
        (self.written, self.reserved) = (written, written);
        let idle = self.snapshots.as_ref().is_none_or(JoinHandle::is_finished);
        let due = idle && self.uncovered >= self.worth();
        let (dir, next, nonce) = (self.dir.clone(), self.next, self.nonce);
        let (lost, progress) = (Arc::clone(&self.lost), Arc::clone(&self.progress));
        let work = move || {
            // From now on a power failure takes nothing of it, and the groups that follow say so.
            if let Err(error) = old.sync().and_then(|()| disk::sync_dir(&dir)) {
                let _ = lost.set(error);
                return;
            }
            locked(&progress).add(from, next);
            if due {
                match snapshot::compact(&dir, next, nonce) {
                    Ok(()) => tracing::info!("snapshot of everything before entry {next}"),
                    Err(error) => tracing::error!("no snapshot, the log stays as it is: {error}"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(work)?;
        if due {
            self.uncovered = 0;
            self.snapshots = Some(thread);
        }
        Ok(())
    }

    /// Bytes of log that are worth a snapshot: as many as the last one has, so that writing snapshots never takes more
    /// than writing the log.
    fn worth(&self) -> u64 {
        let newest = files::list(&self.dir, SNAPSHOT).ok().and_then(|all| all.last().copied());
        let size = |next| fs::metadata(files::path(&self.dir, SNAPSHOT, next)).map(|file| file.len());
        newest.and_then(|next| size(next).ok()).unwrap_or(0).max(self.segment_size)
    }

    /// Waits for a snapshot that is being made.
    pub fn finish_snapshot(&mut self) {
        if let Some(work) = self.snapshots.take() {
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }

    /// What acknowledged entries survive.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The number of the next entry.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Groups written since it was opened, and how many of them were waited for on the disk.
    #[must_use]
    pub fn written(&self) -> (u64, u64) {
        (self.groups, self.syncs)
    }
}

/// A new segment. One whose entries are to be on the disk is there itself before anything is in it.
fn begin(dir: &Path, durability: Durability, first: u64, header: [u8; HEADER]) -> io::Result<(Output, u64)> {
    let file = Output::create(files::path(dir, LOG, first))?;
    file.write(0, &header)?;
    if durability == Durability::Power {
        file.sync()?;
        disk::sync_dir(dir)?;
    }
    Ok((file, HEADER as u64))
}

/// The directory of a store, on the disk under its name.
fn make(dir: &Path) -> Result<(), OpenError> {
    let whole = std::path::absolute(dir).map_err(OpenError::io("make", dir))?;
    let missing = whole.ancestors().take_while(|part| !part.exists()).count().max(1);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(OpenError::io("make", dir))?;
    for parent in whole.ancestors().skip(1).take(missing) {
        match disk::sync_dir(parent) {
            // Whoever made the store's directory in there can read it, or has seen to it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced.map_err(OpenError::io("sync", parent))?,
        }
    }
    Ok(())
}
