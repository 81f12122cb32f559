//! The tables at one moment, as a file.
//!
//! ```text
//! magic 8 | nonce u64 LE | check u64 LE | tables (postcard)
//! ```
//!
//! `check` is the xxh3 of the tables, seeded with the store's nonce.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::disk::{self, Output};
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
const HEADER: usize = 24;

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
struct Gentle {
    output: Output,
    at: u64,
}

impl Write for Gentle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(self.at, bytes)?;
        self.at += bytes.len() as u64;
        self.output.sync()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
pub(super) fn write(dir: &Path, next: u64, nonce: u64, model: &Model) -> io::Result<()> {
    let unfinished = dir.join(UNFINISHED);
    let file = Gentle { output: Output::create(unfinished.clone())?, at: HEADER as u64 };
    let file = BufWriter::with_capacity(UNSYNCED, file);
    let summed = postcard::to_io(model, Summed { inner: file, sum: Xxh3::with_seed(nonce) })
        .map_err(io::Error::other)?;
    let sum = summed.sum.digest();
    let Gentle { output, .. } = summed.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&nonce.to_le_bytes());
    header[16..].copy_from_slice(&sum.to_le_bytes());
    output.write(0, &header)?;
    output.sync()?;
    disk::rename(&unfinished, &files::path(dir, SNAPSHOT, next))?;
    disk::sync_dir(dir)
}

/// Reads the snapshot that ends before entry `next`, and the store's nonce.
pub(super) fn read(dir: &Path, next: u64) -> Result<(Model, u64), OpenError> {
    let path = files::path(dir, SNAPSHOT, next);
    let bytes = fs::read(&path).map_err(OpenError::io("read", &path))?;
    let damaged = |what: &str| OpenError::Damaged { file: path.clone(), offset: 0, what: what.to_owned() };
    if let Some(found) = files::older_form(&bytes, MAGIC) {
        return Err(OpenError::Older { file: path, found });
    }
    let tables = bytes.get(HEADER..).filter(|_| bytes.starts_with(&MAGIC));
    let tables = tables.ok_or_else(|| damaged("this is not a snapshot of this version"))?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    let nonce = number(8);
    if number(16) != xxh3_64_with_seed(tables, nonce) {
        return Err(damaged("the snapshot does not have the sum it was written with"));
    }
    let tables = postcard::from_bytes(tables);
    tables
        .map(|model| (model, nonce))
        .map_err(|error| damaged(&format!("the tables cannot be read: {error}")))
}

/// Makes a snapshot of everything before entry `next`, which must be the first of a segment, from what is on the disk.
/// The engine goes on meanwhile: nothing of it is touched. To be called in a thread of its own.
pub(super) fn compact(dir: &Path, next: u64, nonce: u64) -> Result<(), OpenError> {
    // On Linux a niceness is a thread's. Without it the work is the same, and in the way.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("the maker of snapshots works at full priority: {error}");
    }
    let mut replayed = Replay::default();
    recovery::before(dir, next, &mut replayed)?;
    let Replay { model, .. } = replayed;
    write(dir, next, nonce, &model).map_err(OpenError::io("write a snapshot in", dir))?;
    remove_covered(dir, next)
}

/// Removes what a durable snapshot stands for.
fn remove_covered(dir: &Path, next: u64) -> Result<(), OpenError> {
    for kind in [SNAPSHOT, files::LOG] {
        for old in files::list(dir, kind)?.into_iter().filter(|&old| old < next) {
            let path = files::path(dir, kind, old);
            disk::remove(&path).map_err(OpenError::io("remove", &path))?;
        }
    }
    Ok(())
}
