//! One launcher for one run directory.
//!
//! Two locks are held. The one that counts is an abstract socket name (`unix(7)`): nothing can be removed under it, and the
//! kernel gives it back when its holder ends, however it ends. Anybody may take such a name, so the user of its holder is
//! checked, and a foreign one is passed over. Then, and for launchers in other network namespaces, there is `flock(2)` on a
//! file in the directory, with the holder's pid in it for people.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::unistd::{Pid, Uid, geteuid};

use super::digest;
use super::folder::{Access, Folder};
use super::proc::{socket_owners, unix_sockets};

/// The file in the run directory.
const FILE: &str = "lock";

/// The lock of a run directory, held.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
    _name: Option<OwnedFd>,
    foreign: Option<Uid>,
}

/// Why a lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another launcher of this user holds it.
    #[error("held by process {}", .pid.map_or("(not known yet)".to_owned(), |pid| pid.to_string()))]
    Held {
        /// Its pid, unless it cannot be told.
        pid: Option<Pid>,
    },
    /// The file cannot be opened or written, or the directory is gone.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What became of the wish to have a name.
enum Name {
    Ours(OwnedFd),
    Held(Option<Pid>),
    Foreign(Uid),
}

impl Lock {
    /// Takes the lock of this run directory, which exists, or says who has it; does not wait.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(run_dir: &Path) -> Result<Lock, LockError> {
        let file = Folder::open(run_dir)?.file(OsStr::new(FILE), Access::Write(0o600))?;
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => return Err(LockError::Held { pid: pid_in(&file)? }),
            Err((_, errno)) => return Err(LockError::Io(errno.into())),
        };
        let (name, foreign) = match take(&name_of(run_dir)?)? {
            Name::Ours(name) => (Some(name), None),
            Name::Held(pid) => return Err(LockError::Held { pid }),
            Name::Foreign(uid) => (None, Some(uid)),
        };
        let text = format!("{}\n", std::process::id());
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        Ok(Lock { _file: file, _name: name, foreign })
    }

    /// Another user, who holds the name of this lock: then only the file keeps two launchers apart.
    pub fn foreign(&self) -> Option<Uid> {
        self.foreign
    }
}

fn pid_in(file: &File) -> io::Result<Option<Pid>> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text)?;
    Ok(text.trim().parse().ok().map(Pid::from_raw))
}

/// The same for every launcher of this user that means this directory. The file system that it is on is part of it: a
/// container that shares our network has directories of the same name.
fn name_of(run_dir: &Path) -> io::Result<String> {
    let real = fs::canonicalize(run_dir)?;
    let top: std::path::PathBuf = real.components().take(2).collect();
    let place = fs::metadata(top)?;
    let path = digest::stable(real.as_os_str().as_bytes());
    Ok(format!("provost-lock/{}/{:x}.{:x}/{path:016x}", geteuid(), place.dev(), place.ino()))
}

fn take(name: &str) -> io::Result<Name> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    match socket::bind(made.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?) {
        Ok(()) => {
            // A holder that listens can be asked who it is where the kernel's list cannot be had.
            socket::listen(&made, Backlog::MAXCONN)?;
            Ok(Name::Ours(made))
        }
        Err(Errno::EADDRINUSE) => {
            let (uid, pid) = holder(name, made)?;
            let is_ours = uid == geteuid();
            Ok(if is_ours { Name::Held(pid) } else { Name::Foreign(uid) })
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Who holds a name: from the kernel's list, else by connecting.
fn holder(name: &str, unbound: OwnedFd) -> io::Result<(Uid, Option<Pid>)> {
    let shown = format!("@{name}");
    let sockets = unix_sockets().unwrap_or_default();
    let listed = sockets.into_values().find(|socket| socket.path.as_ref() == Some(&shown));
    if let Some((uid, inode)) = listed.and_then(|socket| Some((socket.uid?, socket.inode))) {
        let owner = socket_owners()?.get(&inode).and_then(|owners| owners.first().copied());
        return Ok((Uid::from_raw(uid), owner.map(|owner| Pid::from_raw(owner.pid))));
    }
    socket::connect(unbound.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
    let peer = super::socket::peer(std::os::fd::AsFd::as_fd(&unbound))?;
    Ok((peer.uid, Some(peer.pid).filter(|pid| pid.as_raw() > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "a much longer text of an older holder\n").unwrap();
        let first = Lock::acquire(folder.path()).unwrap();
        assert_eq!(first.foreign(), None);
        match Lock::acquire(folder.path()) {
            Err(LockError::Held { pid }) => assert_eq!(pid, Some(Pid::this())),
            other => panic!("{other:?}"),
        }
        drop(first);
        Lock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn it_is_held_when_its_file_or_its_folder_was_removed_and_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = folder.path().join("run");
        fs::create_dir(&run_dir).unwrap();
        let _first = Lock::acquire(&run_dir).unwrap();
        let held =
            || matches!(Lock::acquire(&run_dir), Err(LockError::Held { pid }) if pid == Some(Pid::this()));
        fs::remove_file(run_dir.join(FILE)).unwrap();
        assert!(held());
        fs::remove_dir_all(&run_dir).unwrap();
        fs::create_dir(&run_dir).unwrap();
        assert!(held());
        std::os::unix::fs::symlink(&run_dir, folder.path().join("link")).unwrap();
        assert!(matches!(Lock::acquire(&folder.path().join("link")), Err(LockError::Held { .. })));
    }

    #[test]
    fn a_symbolic_link_in_place_of_its_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", folder.path().join(FILE)).unwrap();
        assert!(matches!(Lock::acquire(folder.path()), Err(LockError::Io(_))));
        assert!(!folder.path().join("elsewhere").exists());
    }

    #[test]
    fn a_foreign_holder_of_its_name_is_passed_over_and_told() {
        if !geteuid().is_root() {
            return println!("skipped: only root can make another user's socket");
        }
        let folder = tempfile::tempdir().unwrap();
        let name = name_of(folder.path()).unwrap();
        let nobody = Uid::from_raw(65_534);
        // Of the thread alone.
        let made = std::thread::spawn(move || {
            nix::unistd::setfsuid(nobody);
            take(&name)
        });
        let Name::Ours(_foreign) = made.join().unwrap().unwrap() else { panic!("the name is taken") };
        let lock = Lock::acquire(folder.path()).unwrap();
        assert_eq!(lock.foreign(), Some(nobody));
        assert!(matches!(Lock::acquire(folder.path()), Err(LockError::Held { .. })), "its file is locked");
    }

    #[test]
    fn names_that_are_told_apart_and_fit() {
        let folder = tempfile::tempdir().unwrap();
        let name = |part: &str| {
            let path = folder.path().join(part);
            fs::create_dir_all(&path).unwrap();
            name_of(&path).unwrap()
        };
        assert_ne!(name("a/x"), name("b/x"));
        let long = name(&"long".repeat(50));
        assert!(UnixAddr::new_abstract(long.as_bytes()).is_ok(), "{long}");
    }
}
