//! The tables at one moment, as a file.
//!
//! ```text
//! magic 8 | check u64 LE | tables (postcard)
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::files::{self, SNAPSHOT, UNFINISHED};
use super::recovery::Reading;
use super::{OpenError, recovery};
use crate::reddit::model::{Entry, Model};

/// Bytes of a snapshot that may wait for the disk. Whoever writes the log meanwhile waits for them, too.
const UNSYNCED: usize = 1 << 18;

/// How much the engine comes before the maker of snapshots, where both want a core: nine to one (`sched(7)`).
const NICE: i32 = 10;

/// Entries that are replayed before others may run, which takes some 30 us. A niceness alone lets them wait for the end of
/// a time slice, and that is milliseconds.
const AT_ONCE: usize = 32;

const MAGIC: [u8; 8] = [b'R', b'D', b'T', b'S', b'N', b'A', b'P', files::FORM];
const HEADER: usize = 16;

/// Writes and sums up.
struct Summed<W> {
    inner: W,
    sum: Xxh3,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sum.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes in portions, each on the disk before the next one.
struct Gentle(File);

impl Write for Gentle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.0.write(bytes)?;
        self.0.sync_data()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Replays, and lets others run between.
#[derive(Default)]
struct Replay {
    model: Model,
    entries: usize,
}

impl Reading for Replay {
    fn begin(&mut self, model: Model, _next: u64) {
        self.model = model;
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
        self.model.apply_entry(entry);
        self.entries += 1;
        if self.entries.is_multiple_of(AT_ONCE) {
            std::thread::yield_now();
        }
        Ok(())
    }
}

/// A number that is equal for equal tables: the sum of what a snapshot of them would hold.
#[must_use]
pub fn fingerprint(model: &Model) -> u64 {
    let summed = Summed { inner: io::sink(), sum: Xxh3::new() };
    let summed = postcard::to_io(model, summed).expect("nothing can go wrong in writing to nowhere");
    summed.sum.digest()
}

/// Makes `model` the newest snapshot, durably, and then removes what it stands for. `next` is the number of the first
/// entry that is not in it.
pub(super) fn write(dir: &Path, next: u64, model: &Model) -> io::Result<()> {
    let unfinished = dir.join(UNFINISHED);
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let mut file = BufWriter::with_capacity(UNSYNCED, Gentle(file));
    file.write_all(&[0; HEADER])?;
    let summed =
        postcard::to_io(model, Summed { inner: file, sum: Xxh3::new() }).map_err(io::Error::other)?;
    let sum = summed.sum.digest();
    let Gentle(mut file) = summed.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&MAGIC)?;
    file.write_all(&sum.to_le_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, files::path(dir, SNAPSHOT, next))?;
    files::sync_dir(dir)
}

/// Reads the snapshot that ends before entry `next`.
pub(super) fn read(dir: &Path, next: u64) -> Result<Model, OpenError> {
    let path = files::path(dir, SNAPSHOT, next);
    let bytes = fs::read(&path).map_err(OpenError::io("read", &path))?;
    let damaged = |what: &str| OpenError::Damaged { file: path.clone(), offset: 0, what: what.to_owned() };
    if let Some(found) = files::older_form(&bytes, MAGIC) {
        return Err(OpenError::Older { file: path, found });
    }
    let tables = bytes.get(HEADER..).filter(|_| bytes.starts_with(&MAGIC));
    let tables = tables.ok_or_else(|| damaged("this is not a snapshot of this version"))?;
    if bytes[8..HEADER] != xxh3_64(tables).to_le_bytes() {
        return Err(damaged("the snapshot does not have the sum it was written with"));
    }
    postcard::from_bytes(tables).map_err(|error| damaged(&format!("the tables cannot be read: {error}")))
}

/// Makes a snapshot of everything before entry `next`, which must be the first of a segment, from what is on the disk.
/// The engine goes on meanwhile: nothing of it is touched. To be called in a thread of its own.
pub(super) fn compact(dir: &Path, next: u64) -> Result<(), OpenError> {
    // On Linux a niceness is a thread's. Without it the work is the same, and in the way.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("the maker of snapshots works at full priority: {error}");
    }
    let mut replayed = Replay::default();
    recovery::before(dir, next, &mut replayed)?;
    let Replay { model, .. } = replayed;
    write(dir, next, &model).map_err(OpenError::io("write a snapshot in", dir))?;
    remove_covered(dir, next)
}

/// Removes what a durable snapshot stands for.
fn remove_covered(dir: &Path, next: u64) -> Result<(), OpenError> {
    for kind in [SNAPSHOT, files::LOG] {
        for old in files::list(dir, kind)?.into_iter().filter(|&old| old < next) {
            let path = files::path(dir, kind, old);
            fs::remove_file(&path).map_err(OpenError::io("remove", &path))?;
        }
    }
    Ok(())
}
