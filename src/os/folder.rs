//! Directories held by descriptor: what is done to a name is done in that directory, whatever takes its place in the tree.
//!
//! The way to a directory passes no symbolic link but those of root and of this user. A name in it is one component and is
//! never followed. `openat2(2)` does it in one call; where it is missing or a link is on the way, the components are walked
//! one by one, each below the descriptor of the one before.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Uid, UnlinkatFlags, fchownat, geteuid, unlinkat};

use super::fallback;

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
/// `path_resolution(7)` gives up after as many links.
const MOST_LINKS: u32 = 40;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing at any position; made with this mode if it is missing.
    Write(u32),
    /// Reading and appending; made with this mode if it is missing.
    Append(u32),
}

/// A directory.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
}

impl Folder {
    /// Opens the directory at this path.
    ///
    /// # Errors
    /// `PermissionDenied` with a sentence: a symbolic link of another user is on the way. Else those of `openat(2)`.
    pub fn open(path: &Path) -> io::Result<Folder> {
        Ok(Folder { fd: resolve(path, None)? })
    }

    /// The same; what is missing is made with this mode, less the umask.
    ///
    /// # Errors
    /// As [`Folder::open`], and those of `mkdir(2)`.
    pub fn make(path: &Path, mode: u32) -> io::Result<Folder> {
        Ok(Folder { fd: resolve(path, Some(Mode::from_bits_truncate(mode)))? })
    }

    /// The directory in which a file lies, and the name of the file there.
    ///
    /// # Errors
    /// As [`Folder::open`]; `InvalidInput`: the path ends in no name.
    pub fn of(file: &Path) -> io::Result<(Folder, &OsStr)> {
        let (folder, name) = parts(file)?;
        Ok((Folder::open(folder)?, name))
    }

    /// The same; directories that are missing are made with this mode, less the umask.
    ///
    /// # Errors
    /// As [`Folder::of`] and [`Folder::make`].
    pub fn make_of(file: &Path, mode: u32) -> io::Result<(Folder, &OsStr)> {
        let (folder, name) = parts(file)?;
        Ok((Folder::make(folder, mode)?, name))
    }

    /// Opens a regular file without waiting for anything. What is written to must be our own or root's, and have no other
    /// name: whoever made it could have what is written land elsewhere.
    ///
    /// # Errors
    /// `PermissionDenied` with a sentence for anything else, as for a symbolic link. Else those of `openat(2)`.
    pub fn file(&self, name: &OsStr, access: Access) -> io::Result<File> {
        let (flags, mode) = match access {
            Access::Read => (OFlag::O_RDONLY, 0),
            Access::Write(mode) => (OFlag::O_RDWR | OFlag::O_CREAT, mode),
            Access::Append(mode) => (OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT, mode),
        };
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let opened = open_beneath(self.fd.as_fd(), name, flags, Mode::from_bits_truncate(mode));
        let file = File::from(opened.map_err(|errno| match errno {
            Errno::ELOOP => refusal("it is a symbolic link"),
            Errno::ENXIO => refusal("it is not a plain file"),
            errno => errno.into(),
        })?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(refusal("it is not a plain file"));
        }
        if access == Access::Read {
            return Ok(file);
        }
        if metadata.nlink() > 1 {
            return Err(refusal("it is a hard link to another file"));
        }
        if !is_trusted(metadata.uid()) {
            return Err(refusal(&format!("it belongs to another user (uid {})", metadata.uid())));
        }
        Ok(file)
    }

    /// Whose it is.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(fstat(&self.fd)?.st_uid)
    }

    /// What a name means: a link is not followed.
    ///
    /// # Errors
    /// Those of `fstatat(2)`.
    pub fn look(&self, name: &OsStr) -> io::Result<FileStat> {
        Ok(fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Gives a file another name here.
    ///
    /// # Errors
    /// Those of `renameat(2)`.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Gives a file to a user; a link is not followed.
    ///
    /// # Errors
    /// Those of `fchownat(2)`.
    pub fn give(&self, name: &OsStr, uid: u32) -> io::Result<()> {
        Ok(fchownat(&self.fd, name, Some(Uid::from_raw(uid)), None, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Removes a name; a link is not followed.
    ///
    /// # Errors
    /// Those of `unlinkat(2)`; nothing there is none.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn parts(file: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = file.file_name().ok_or(ErrorKind::InvalidInput)?;
    Ok((file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")), name))
}

fn refusal(why: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, format!("{why}; remove it or choose another file"))
}

fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

fn is(found: &FileStat, kind: SFlag) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// Opens one component below a directory.
fn open_beneath(folder: BorrowedFd, name: &OsStr, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    if !fallback::forced("openat2") {
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let how = OpenHow::new().flags(flags).mode(mode).resolve(resolve);
        match openat2(folder, name, how) {
            // Unknown to the kernel, or to a filter of system calls.
            Err(Errno::ENOSYS | Errno::EPERM) => {}
            answer => return answer,
        }
    }
    if name.is_empty() || Path::new(name).components().count() != 1 || name == ".." {
        return Err(Errno::EXDEV);
    }
    openat(folder, name, flags | OFlag::O_NOFOLLOW, mode)
}

/// The directory at a path; what is missing is made if `missing` says how.
fn resolve(path: &Path, missing: Option<Mode>) -> io::Result<OwnedFd> {
    let path = std::path::absolute(path)?;
    if !fallback::forced("openat2") {
        let how = OpenHow::new().flags(DIRECTORY).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        if let Ok(folder) = openat2(AT_FDCWD, &path, how) {
            return Ok(folder);
        }
    }
    walk(&path, missing)
}

/// The same, component by component.
fn walk(path: &Path, missing: Option<Mode>) -> io::Result<OwnedFd> {
    let root = || openat(AT_FDCWD, "/", DIRECTORY, Mode::empty());
    let (mut here, mut walked) = (root()?, PathBuf::from("/"));
    let mut ahead = steps(path);
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        let found = match (fstatat(&here, step.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW), missing) {
            (Err(Errno::ENOENT), Some(mode)) => {
                match mkdirat(&here, step.as_os_str(), mode) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                fstatat(&here, step.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?
            }
            (found, _) => found?,
        };
        if !is(&found, SFlag::S_IFLNK) {
            here = openat(&here, step.as_os_str(), DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
            walked.push(step);
            continue;
        }
        check_link(here.as_fd(), &found, &walked.join(&step))?;
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::ELOOP.into());
        }
        let target = PathBuf::from(readlinkat(&here, step.as_os_str())?);
        if target.is_absolute() {
            (here, walked) = (root()?, PathBuf::from("/"));
        }
        ahead.extend(steps(&target));
    }
    Ok(here)
}

/// The components of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let kept = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    kept.map(|part| part.as_os_str().to_owned()).rev().collect()
}

/// A link leads where its owner wants, and where the one may want who could have put it there.
fn check_link(folder: BorrowedFd, link: &FileStat, path: &Path) -> io::Result<()> {
    let folder = fstat(folder)?;
    let replaceable = folder.st_mode & 0o1002 == 0o002;
    if is_trusted(link.st_uid) && is_trusted(folder.st_uid) && !replaceable {
        return Ok(());
    }
    let message = format!(
        "{} is a symbolic link that another user could have made: remove it, or name the directory it leads to",
        path.display()
    );
    Err(io::Error::new(ErrorKind::PermissionDenied, message))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::{Read, Write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn both_ways(check: impl Fn(&dyn Fn(&Path) -> io::Result<OwnedFd>)) {
        check(&|path| resolve(path, None));
        check(&|path| walk(path, None));
    }

    #[test]
    fn what_is_missing_is_made_and_links_of_our_own_are_followed() {
        let place = tempfile::tempdir().unwrap();
        Folder::make(&place.path().join("a/b"), 0o750).unwrap();
        symlink("a", place.path().join("link")).unwrap();
        Folder::make(&place.path().join("link/b/c"), 0o700).unwrap();
        let path = place.path().join("link/b/../b/c/x");
        let (folder, name) = Folder::of(&path).unwrap();
        folder.file(name, Access::Write(0o600)).unwrap().write_all(b"here").unwrap();
        assert_eq!(fs::read(place.path().join("a/b/c/x")).unwrap(), b"here");
        both_ways(|open| {
            assert_eq!(open(&place.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(open(&place.path().join("a/b/c/x")).unwrap_err().kind(), ErrorKind::NotADirectory);
            open(Path::new("/")).unwrap();
        });
    }

    #[test]
    fn a_link_that_another_user_could_have_made_is_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("real")).unwrap();
        symlink("real", place.path().join("link")).unwrap();
        both_ways(|open| drop(open(&place.path().join("link")).unwrap()));
        fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
        both_ways(|open| {
            let error = open(&place.path().join("link")).unwrap_err().to_string();
            assert!(error.contains("link is a symbolic link that another user could have made"), "{error}");
        });
        fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
        if !geteuid().is_root() {
            return println!("skipped in part: only root can make another user's link");
        }
        std::os::unix::fs::lchown(place.path().join("link"), Some(65_534), None).unwrap();
        both_ways(|open| assert!(open(&place.path().join("link")).is_err()));
    }

    #[test]
    fn a_held_folder_stays_the_same_when_its_name_becomes_a_link() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let folder = Folder::make(&at("log"), 0o750).unwrap();
        fs::create_dir(at("precious")).unwrap();
        fs::write(at("precious/web.log"), "precious").unwrap();
        fs::rename(at("log"), at("moved")).unwrap();
        symlink(at("precious"), at("log")).unwrap();
        let name = OsStr::new("web.log");
        folder.file(name, Access::Append(0o640)).unwrap().write_all(b"ours").unwrap();
        folder.rename(name, OsStr::new("web.log.1")).unwrap();
        folder.remove(OsStr::new("web.log.1")).unwrap();
        folder.remove(name).unwrap();
        assert_eq!(fs::read(at("precious/web.log")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(at("moved")).unwrap().count(), 0);
    }

    #[test]
    fn a_name_leads_to_a_plain_file_in_the_folder_and_nowhere_else() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("outside"), "precious").unwrap();
        let folder = Folder::make(&place.path().join("in"), 0o700).unwrap();
        symlink("../outside", place.path().join("in/link")).unwrap();
        nix::unistd::mkfifo(&place.path().join("in/fifo"), Mode::S_IRWXU).unwrap();
        for name in ["link", "fifo", "../outside", "..", "."] {
            for access in [Access::Read, Access::Write(0o600), Access::Append(0o600)] {
                assert!(folder.file(OsStr::new(name), access).is_err(), "{name}");
            }
        }
        let name = OsStr::new("plain");
        folder.file(name, Access::Write(0o600)).unwrap().write_all(b"text").unwrap();
        let mut text = String::new();
        folder.file(name, Access::Read).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        assert!(is(&folder.look(OsStr::new("link")).unwrap(), SFlag::S_IFLNK));
    }
}
