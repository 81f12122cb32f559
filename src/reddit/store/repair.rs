//! A damaged store, and what of it can be saved: everything before the damage.
//!
//! What stands behind it cannot: a record names posts and comments by numbers that follow from the order of all records
//! before it, so that with one record missing the next ones would be about something else. It is moved aside, not
//! destroyed.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::aside::{Dropped, set_aside};
use super::files::{self, LOG, SNAPSHOT};
use super::group::Behind;
use super::lock::Lock;
use super::recovery::{self, Contents, HEADER};
use super::{OpenError, snapshot};
use crate::reddit::model::Model;

/// What a repair comes to. Nothing is changed before [`Repair::carry_out`].
#[derive(Debug)]
pub struct Repair {
    dir: PathBuf,
    /// The first damage that was found.
    damage: Option<OpenError>,
    kept: u64,
    lost: Option<u64>,
    /// Records that an engine will set aside, which need no repair.
    beyond: u64,
    dropped: Vec<Dropped>,
    _lock: Lock,
}

impl Repair {
    /// Looks what a repair of the store in `dir` would come to. No engine can use the store meanwhile.
    ///
    /// # Errors
    /// An engine uses it, or the operating system refuses something.
    pub fn plan(dir: &Path) -> Result<Repair, OpenError> {
        let lock = Lock::take(dir)?;
        let mut repair = Repair {
            dir: dir.to_owned(),
            damage: None,
            kept: 0,
            lost: None,
            beyond: 0,
            dropped: Vec::new(),
            _lock: lock,
        };
        let (base, nonce, mut model) = repair.newest_snapshot()?;
        let mut contents = Contents::at(base, nonce);
        match recovery::read_on(dir, u64::MAX, &mut contents, &mut model) {
            Ok(()) => {}
            Err(OpenError::Damaged { file, offset, what }) => {
                repair.drop_from(&file, offset, &contents)?;
                repair.damage.get_or_insert(OpenError::Damaged { file, offset, what });
            }
            Err(error) => return Err(error),
        }
        (repair.kept, repair.beyond) = (contents.next, contents.beyond);
        Ok(repair)
    }

    /// The newest snapshot that can be read; those after it are dropped.
    fn newest_snapshot(&mut self) -> Result<(u64, Option<u64>, Model), OpenError> {
        for next in files::list(&self.dir, SNAPSHOT)?.into_iter().rev() {
            match snapshot::read(&self.dir, next) {
                Ok((model, nonce)) => return Ok((next, Some(nonce), model)),
                Err(damage @ OpenError::Damaged { .. }) => {
                    self.drop_part(files::path(&self.dir, SNAPSHOT, next), 0)?;
                    self.damage.get_or_insert(damage);
                }
                Err(error) => return Err(error),
            }
        }
        Ok((0, None, Model::default()))
    }

    /// Everything behind that place of the log is dropped, where the next entry should be.
    fn drop_from(&mut self, file: &Path, offset: u64, contents: &Contents) -> Result<(), OpenError> {
        let next = contents.next;
        let mut behind = Behind::default();
        for first in files::list(&self.dir, LOG)? {
            let path = files::path(&self.dir, LOG, first);
            let from = match path.as_path() == file {
                // A segment without an entry says nothing.
                true if offset > HEADER as u64 => offset,
                true => 0,
                false if first >= next => 0,
                false => continue,
            };
            let bytes = fs::read(&path).map_err(OpenError::io("read", &path))?;
            let rest = bytes.get(from as usize..).unwrap_or_default();
            // Without a header that can be read, the segment itself may still tell the nonce.
            if let Some(nonce) = contents.nonce.or_else(|| recovery::nonce_in(&bytes)) {
                behind.look(rest, next, nonce);
            }
            self.drop_part(path, from)?;
        }
        self.lost = behind.end.checked_sub(next).filter(|&lost| lost > 0);
        Ok(())
    }

    fn drop_part(&mut self, file: PathBuf, from: u64) -> Result<(), OpenError> {
        let length = fs::metadata(&file).map_err(OpenError::io("read", &file))?.len();
        self.dropped.push(Dropped { file, from, bytes: length - from });
        Ok(())
    }

    /// Where the damage is, if there is any.
    #[must_use]
    pub fn damage(&self) -> Option<&OpenError> {
        self.damage.as_ref()
    }

    /// Records that are kept: all up to this number.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Records behind the damage that are known to have been written, the damaged ones included. `None`: nothing tells.
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        self.lost
    }

    /// What is taken out.
    #[must_use]
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// Moves what is dropped into a folder of the store of its own, and returns that.
    ///
    /// # Errors
    /// What the operating system refuses. Then nothing that is kept has changed, and it may be tried again.
    pub fn carry_out(&self) -> Result<PathBuf, OpenError> {
        set_aside(&self.dir, &self.dropped)
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(damage) = &self.damage else {
            write!(f, "nothing is damaged: all {} records can be read", self.kept)?;
            return match self.beyond {
                0 => Ok(()),
                beyond => write!(
                    f,
                    "; {beyond} more were written after the last sync and are not all there: an engine that starts \
                     moves them aside"
                ),
            };
        };
        match damage {
            OpenError::Damaged { file, offset, what } => {
                writeln!(f, "{} is damaged at byte {offset}: {what}", file.display())?;
            }
            other => writeln!(f, "{other}")?,
        }
        match self.kept {
            0 => writeln!(f, "kept: nothing")?,
            kept => writeln!(f, "kept: the first {kept} records")?,
        }
        match self.lost {
            Some(lost) => writeln!(
                f,
                "lost: at least {lost} records, numbers {} to {}",
                self.kept,
                self.kept + lost - 1
            )?,
            None => {
                writeln!(f, "lost: nobody knows how many records; no whole one is left behind the damage")?
            }
        }
        write!(f, "dropped:")?;
        for Dropped { file, from, bytes } in &self.dropped {
            match from {
                0 => write!(f, "\n  {}, the whole file of {bytes} bytes", file.display())?,
                from => write!(f, "\n  {}, {bytes} bytes from byte {from} on", file.display())?,
            }
        }
        Ok(())
    }
}
