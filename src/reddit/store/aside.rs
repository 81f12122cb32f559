//! Parts of files that are not used any more and not destroyed.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::OpenError;
use super::disk::{self, Output};

/// What is taken out of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Which.
    pub file: PathBuf,
    /// From this byte to its end; from 0: the whole file.
    pub from: u64,
    /// How many.
    pub bytes: u64,
}

impl Dropped {
    /// Takes it out for good.
    pub(super) fn remove(&self) -> Result<(), OpenError> {
        let Dropped { file, from, .. } = self;
        if *from == 0 {
            return disk::remove(file).map_err(OpenError::io("remove", file));
        }
        let cut = Output::open(file.clone()).and_then(|output| {
            output.set_length(*from)?;
            output.sync()
        });
        cut.map_err(OpenError::io("cut", file))
    }
}

/// Moves all that into a new folder of the store, and returns that.
///
/// Parts of files are copied, durably, before they are cut: whatever happens in between, they are somewhere.
pub(super) fn set_aside(dir: &Path, dropped: &[Dropped]) -> Result<PathBuf, OpenError> {
    let aside = folder(dir)?;
    let place = |file: &Path| aside.join(file.file_name().unwrap_or_default());
    for Dropped { file, from, .. } in dropped.iter().filter(|part| part.from > 0) {
        let to = place(file);
        let bytes = fs::read(file).map_err(OpenError::io("read", file))?;
        let copied = Output::create(to.clone()).and_then(|output| {
            output.write(0, bytes.get(*from as usize..).unwrap_or_default())?;
            output.sync()
        });
        copied.map_err(OpenError::io("write", &to))?;
    }
    let sync = || {
        let mut dirs = [dir, &aside].into_iter();
        dirs.try_for_each(|dir| disk::sync_dir(dir).map_err(OpenError::io("sync", dir)))
    };
    sync()?;
    for part in dropped {
        match part.from {
            0 => disk::rename(&part.file, &place(&part.file)).map_err(OpenError::io("move", &part.file))?,
            _ => part.remove()?,
        }
    }
    sync()?;
    Ok(aside)
}

fn folder(dir: &Path) -> Result<PathBuf, OpenError> {
    let mut number = 1;
    loop {
        let path = dir.join(format!("dropped-{number}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(OpenError::io("make", path)(error)),
        }
    }
}
