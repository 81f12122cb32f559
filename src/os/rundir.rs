//! Private directories: sockets in them are protected by the directory, so nobody else may own, open or replace it.

use std::env;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::geteuid;

use super::folder::Folder;

/// Makes a directory with mode 0700, and those above it that are missing, or checks the one that is there.
///
/// It must belong to the user of this process and be closed to everyone else. Every directory above it must belong to that
/// user or to root, and must not be writable by everyone unless it is sticky, as /tmp is. Symbolic links on the way are
/// root's or refused; the last part is never one.
///
/// # Errors
/// `PermissionDenied` with a sentence that says what is wrong and what to do, or those of `mkdir(2)` and `open(2)`.
pub fn create(path: &Path) -> io::Result<()> {
    let path = if path.is_absolute() { path.to_owned() } else { env::current_dir()?.join(path) };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut folder = open("/", flags, Mode::empty())?;
    let mut walked = PathBuf::from("/");
    let mut parts =
        path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)).peekable();
    while let Some(part) = parts.next() {
        let name = part.as_os_str();
        walked.push(name);
        let last = parts.peek().is_none();
        match mkdirat(&folder, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            // As for a directory that exists on a filesystem that is read-only.
            Err(errno) if stat(&folder, name).is_err() => return Err(errno.into()),
            Err(_) => {}
        }
        let found = stat(&folder, name)?;
        let verdict = if last { check_last(&found) } else { check_above(&found) };
        if let Err(fault) = verdict {
            let message =
                format!("the directory {} cannot be used: {} {fault}", path.display(), walked.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let follow = if is(&found, SFlag::S_IFLNK) { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        folder = openat(&folder, name, flags | follow, Mode::empty())?;
    }
    Ok(())
}
/// Removes what lies at a path in the run directory, whatever it is: nobody but provost puts anything there.
///
/// # Errors
/// Those of `unlink(2)`; nothing there is none.
pub fn clear(path: &Path) -> io::Result<()> {
    let (folder, name) = Folder::of(path)?;
    folder.remove(name)
}

/// Lets everybody pass through directories made by [`create`], so that what is in the first of them can be reached by whoever
/// may use it and knows its name.
///
/// # Errors
/// `PermissionDenied` with a sentence: one further above is closed to others. Those of `chmod(2)` and `stat(2)`.
pub fn let_through(folders: &[&Path]) -> io::Result<()> {
    for folder in folders {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = openat(Folder::open(folder)?, ".", flags, Mode::empty())?;
        let mode = Mode::from_bits_truncate(fstat(&folder)?.st_mode & 0o7777 | 0o011);
        fchmod(&folder, mode)?;
    }
    for above in folders.first().iter().flat_map(|folder| folder.ancestors()) {
        if nix::sys::stat::stat(above)?.st_mode & 0o001 == 0 {
            let message = format!("{} is closed to other users; choose another run_dir", above.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
    }
    Ok(())
}

/// Lets the members of a group connect to a Unix socket in a directory made by [`create`], beside its owner; without one,
/// the owner alone.
///
/// # Errors
/// `EINVAL` if that is no socket; `EPERM` if an ordinary user is not in that group. Those of `open(2)` and `fchmod(2)`.
pub fn share_socket(path: &Path, group: Option<u32>) -> io::Result<()> {
    let socket = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    if !is(&fstat(&socket)?, SFlag::S_IFSOCK) {
        return Err(Errno::EINVAL.into());
    }
    let gid = group.map_or(nix::unistd::getegid(), nix::unistd::Gid::from_raw);
    nix::unistd::fchownat(&socket, "", None, Some(gid), AtFlags::AT_EMPTY_PATH)?;
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    // A descriptor of O_PATH cannot be changed itself, only by way of its link in /proc.
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket));
    fs::set_permissions(link, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

fn stat(folder: &OwnedFd, name: &std::ffi::OsStr) -> nix::Result<FileStat> {
    fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

fn is(found: &FileStat, kind: SFlag) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn check_last(found: &FileStat) -> Result<(), String> {
    if is(found, SFlag::S_IFLNK) {
        return Err("is a symbolic link: remove it, or choose another directory".to_owned());
    }
    if !is(found, SFlag::S_IFDIR) {
        return Err("is no directory: remove it, or choose another one".to_owned());
    }
    if found.st_uid != geteuid().as_raw() {
        return Err(format!("belongs to user {}: choose a directory of your own", found.st_uid));
    }
    // Others may pass through it, if somebody has let them ([`let_through`]), but see and change nothing.
    if found.st_mode & 0o066 != 0 {
        return Err(format!(
            "is open to others (mode {:o}): make it private with chmod 700",
            found.st_mode & 0o7777
        ));
    }
    Ok(())
}

fn check_above(found: &FileStat) -> Result<(), String> {
    if found.st_uid != 0 && found.st_uid != geteuid().as_raw() {
        return Err(format!(
            "belongs to user {}, who could replace what is in it: choose another place",
            found.st_uid
        ));
    }
    let replaceable = found.st_mode & 0o1002 == 0o002;
    match SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFLNK if found.st_uid == 0 => Ok(()),
        SFlag::S_IFLNK => Err("is a symbolic link: name the directory it leads to".to_owned()),
        SFlag::S_IFDIR if replaceable => {
            Err("is writable by everyone: take that right away with chmod o-w".to_owned())
        }
        SFlag::S_IFDIR => Ok(()),
        _ => Err("is no directory: choose another place".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn refusal(path: &Path) -> String {
        create(path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_missing_is_made_private_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/./c");
        create(&path).unwrap();
        create(&path).unwrap();
        for made in ["a", "a/b", "a/b/c"] {
            let mode = fs::metadata(folder.path().join(made)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{made}");
        }
    }

    #[test]
    fn what_others_could_use_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("open")).unwrap();
        fs::set_permissions(at("open"), Permissions::from_mode(0o750)).unwrap();
        assert!(
            refusal(&at("open")).ends_with("is open to others (mode 750): make it private with chmod 700")
        );

        fs::write(at("file"), "").unwrap();
        assert!(refusal(&at("file")).contains("is no directory"));
        assert!(refusal(&at("file/below")).contains("is no directory"));

        create(&at("real")).unwrap();
        symlink(at("real"), at("link")).unwrap();
        assert!(refusal(&at("link")).contains("is a symbolic link"));

        fs::set_permissions(at("open"), Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&at("open/below")).contains("is writable by everyone"));
        fs::set_permissions(at("open"), Permissions::from_mode(0o1777)).unwrap();
        create(&at("open/below")).unwrap();
    }

    #[test]
    fn others_pass_through_where_they_are_let_and_see_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        create(&path).unwrap();
        let closed = let_through(&[&path]).unwrap_err().to_string();
        assert!(closed.contains("/a is closed to other users"), "{closed}");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        let_through(&[&path, &folder.path().join("a")]).unwrap();
        for passed in ["a", "a/b"] {
            let mode = fs::metadata(folder.path().join(passed)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o711, "{passed}");
        }
        create(&path).unwrap();
    }

    /// Needs another user's directory, which only root can make; as an ordinary user, root's own serves.
    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        if !geteuid().is_root() {
            return assert!(refusal(Path::new("/usr")).contains("belongs to user 0"));
        }
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("foreign");
        create(&foreign).unwrap();
        chown(&foreign, Some(65_534), None).unwrap();
        assert!(refusal(&foreign).contains("belongs to user 65534"));
        assert!(refusal(&foreign.join("below")).contains("belongs to user 65534"));
        symlink("/tmp", folder.path().join("link")).unwrap();
        std::os::unix::fs::lchown(folder.path().join("link"), Some(65_534), None).unwrap();
        assert!(refusal(&folder.path().join("link/below")).contains("link belongs to user 65534"));
    }
}
