//! One holder at a time: `flock(2)` on a file, with the holder's pid in it for people.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::Pid;

/// A held lock. The kernel gives it back when the holder ends, however it ends; the file stays.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Why a lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody holds it.
    #[error("held by process {}", .pid.map_or("(not known yet)".to_owned(), |pid| pid.to_string()))]
    Held {
        /// Who, unless it has not written its pid yet.
        pid: Option<Pid>,
    },
    /// The file cannot be opened or written. A symbolic link is refused with `ELOOP`.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Lock {
    /// Takes the lock or says who has it; does not wait. The file is made if need be, with mode 0600.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(path: &Path) -> Result<Lock, LockError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => {
                let text = format!("{}\n", std::process::id());
                file.write_all_at(text.as_bytes(), 0)?;
                file.set_len(text.len() as u64)?;
                Ok(Lock { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                file.by_ref().take(32).read_to_string(&mut text)?;
                Err(LockError::Held { pid: text.trim().parse().ok().map(Pid::from_raw) })
            }
            Err((_, errno)) => Err(LockError::Io(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "a much longer text of an older holder\n").unwrap();
        let first = Lock::acquire(&path).unwrap();
        match Lock::acquire(&path) {
            Err(LockError::Held { pid }) => assert_eq!(pid, Some(Pid::this())),
            other => panic!("{other:?}"),
        }
        drop(first);
        Lock::acquire(&path).unwrap();
    }

    #[test]
    fn a_symbolic_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", folder.path().join("lock")).unwrap();
        assert!(matches!(Lock::acquire(&folder.path().join("lock")), Err(LockError::Io(_))));
        assert!(!folder.path().join("elsewhere").exists());
    }
}
