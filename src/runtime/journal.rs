//! The journal: a file in memory that the keeper holds, from which the next supervisor process learns its world.
//!
//! Layout: 8 bytes with the offset of the newest snapshot, then records, each a length (u32, little endian) and its postcard
//! bytes. A record's bytes are written before its length, and the snapshot's offset after the snapshot: being killed at any
//! instant leaves a journal that ends with the last whole record. What lies before the newest snapshot is given back.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use super::world::{Record, World};

/// A snapshot is written when the records since the last one take more room than this and than the snapshot itself.
const SNAPSHOT_EVERY: u64 = 256 * 1024;
const HEADER: u64 = 8;
const LENGTH: u64 = 4;

/// An open journal, positioned at its end.
#[derive(Debug)]
pub struct Journal {
    file: File,
    end: u64,
    snapshot_at: u64,
    snapshot_bytes: u64,
}

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("cannot access the journal: {0}")]
    Io(#[from] io::Error),
    /// It was written by another version, or is damaged.
    #[error("the journal cannot be understood ({0}); it belongs to another version of provost")]
    Format(#[from] postcard::Error),
}

impl Journal {
    /// Begins a journal in an empty file with this world.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(fd: OwnedFd, world: &World) -> Result<Journal, JournalError> {
        let mut journal =
            Journal { file: File::from(fd), end: HEADER, snapshot_at: HEADER, snapshot_bytes: 0 };
        journal.snapshot(world)?;
        Ok(journal)
    }

    /// Opens a journal and replays it.
    ///
    /// # Errors
    /// The file cannot be read, or its snapshot is not of this version.
    pub fn open(fd: OwnedFd) -> Result<(Journal, World), JournalError> {
        let file = File::from(fd);
        let mut header = [0; HEADER as usize];
        file.read_exact_at(&mut header, 0)?;
        let snapshot_at = u64::from_le_bytes(header);
        let snapshot = read_record(&file, snapshot_at)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "no snapshot"))?;
        let mut world: World = postcard::from_bytes(&snapshot)?;
        let snapshot_bytes = LENGTH + snapshot.len() as u64;
        let mut end = snapshot_at + snapshot_bytes;
        while let Some(bytes) = read_record(&file, end)? {
            // What it ordered then was performed then, or is an open order now.
            let _ = world.learn(postcard::from_bytes::<Record>(&bytes)?);
            end += LENGTH + bytes.len() as u64;
        }
        Ok((Journal { file, end, snapshot_at, snapshot_bytes }, world))
    }

    /// Adds one record; when it returns, the record outlives this process.
    ///
    /// # Errors
    /// The file cannot be written (memory is exhausted).
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        self.write(&postcard::to_stdvec(record)?)
    }

    /// Whether the records since the last snapshot are worth folding into a new one.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        self.end - self.snapshot_at > self.snapshot_bytes + SNAPSHOT_EVERY.max(self.snapshot_bytes)
    }

    /// Folds everything so far into one snapshot.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn snapshot(&mut self, world: &World) -> Result<(), JournalError> {
        let bytes = postcard::to_stdvec(world)?;
        let at = self.end;
        self.write(&bytes)?;
        self.file.write_all_at(&at.to_le_bytes(), 0)?;
        self.snapshot_at = at;
        self.snapshot_bytes = LENGTH + bytes.len() as u64;
        crate::os::memfd::release(&self.file, HEADER, at)?;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        // The next length is zeroed with the bytes: a process killed here leaves nothing that a later, shorter record would
        // uncover as its successor.
        let mut body = Vec::with_capacity(bytes.len() + LENGTH as usize);
        body.extend_from_slice(bytes);
        body.extend_from_slice(&[0; LENGTH as usize]);
        self.file.write_all_at(&body, self.end + LENGTH)?;
        self.file.write_all_at(&length.to_le_bytes(), self.end)?;
        self.end += LENGTH + u64::from(length);
        Ok(())
    }
}

/// The record at `offset`; `None` at the end.
fn read_record(file: &File, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; LENGTH as usize];
    match file.read_exact_at(&mut length, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length);
    if length == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset + LENGTH)?;
    Ok(Some(bytes))
}
