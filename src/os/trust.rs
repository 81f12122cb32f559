//! Whether what a path means was put there by a user whom this process trusts: itself, root, and those it was told of.
//!
//! Every directory and every link on the way belongs to one of them, and nobody else can take an entry away: a directory that
//! others can write is sticky, and what is used in it belongs to a trusted user. So the answer stays true after the look.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;

/// `path_resolution(7)` gives up after as many links.
const MOST_LINKS: u32 = 40;

/// More than any key, certificate or list of revoked certificates has.
const MOST_BYTES: u64 = 4 << 20;

/// Whether processes and files of this user are believed. `also` are users beside the own one and root.
#[must_use]
pub fn is_trusted(uid: u32, also: &[u32]) -> bool {
    uid == 0 || uid == geteuid().as_raw() || also.contains(&uid)
}

/// The socket at a path, without links on the way to it. Of the process behind it this says nothing.
///
/// # Errors
/// `PermissionDenied` with a sentence: another user could have put it there. Else those of `lstat(2)`.
pub fn socket(path: &Path, also: &[u32]) -> io::Result<PathBuf> {
    let (path, found) = walk(path, also)?;
    if !found.file_type().is_socket() {
        return Err(refusal(&path, "is not a socket: remove it, or name another one"));
    }
    Ok(path)
}

/// Checks a directory in which files are made that only this user may replace.
///
/// # Errors
/// `PermissionDenied` with a sentence: another user could replace what is in it. Else those of `lstat(2)`.
pub fn directory(path: &Path) -> io::Result<()> {
    let (path, found) = walk(path, &[])?;
    if !found.is_dir() {
        return Err(refusal(&path, "is no directory: choose another one"));
    }
    check_writers(&path, &found)
}

/// Reads a regular file, at most 4 MiB, that nobody else can write, and what `stat(2)` tells of it.
///
/// # Errors
/// `PermissionDenied` with a sentence: another user could have written it. `InvalidData`: it is too long. Else those of
/// `open(2)` and `read(2)`.
pub fn read(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let (path, _) = walk(path, &[])?;
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(refusal(&path, "is not a plain file: name another one"));
    }
    check_owner(&path, &found, &[])?;
    check_writers(&path, &found)?;
    if let Some(folder) = path.parent() {
        let folder_found = fs::symlink_metadata(folder)?;
        // In a sticky one nobody else can replace what is ours.
        if !is_sticky(&folder_found) {
            check_writers(folder, &folder_found)?;
        }
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("it is longer than {MOST_BYTES} bytes")));
    }
    Ok((bytes, found))
}

/// What a path means, and where that is without any link.
fn walk(path: &Path, also: &[u32]) -> io::Result<(PathBuf, Metadata)> {
    let path = std::path::absolute(path)?;
    let mut here = PathBuf::from("/");
    let mut found = fs::symlink_metadata(&here)?;
    let mut ahead = steps(&path);
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        if !found.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        check_directory(&here, &found, also)?;
        if step == ".." {
            here.pop();
            found = fs::symlink_metadata(&here)?;
            continue;
        }
        let next = here.join(step);
        let folder = std::mem::replace(&mut found, fs::symlink_metadata(&next)?);
        if is_sticky(&folder) || found.is_dir() || found.is_symlink() {
            check_owner(&next, &found, also)?;
        }
        if !found.is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::ELOOP.into());
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        found = fs::symlink_metadata(&here)?;
        ahead.extend(steps(&target));
    }
    Ok((here, found))
}

/// The components of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let kept = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    kept.map(|part| part.as_os_str().to_owned()).rev().collect()
}

fn is_sticky(found: &Metadata) -> bool {
    found.mode() & 0o1002 == 0o1002
}

/// Whether nobody else can replace what trusted users have in it.
fn check_directory(path: &Path, found: &Metadata, also: &[u32]) -> io::Result<()> {
    check_owner(path, found, also)?;
    if found.mode() & 0o1002 == 0o002 {
        return Err(refusal(path, "is writable by everyone: take that right away with chmod o-w"));
    }
    Ok(())
}

fn check_owner(path: &Path, found: &Metadata, also: &[u32]) -> io::Result<()> {
    if is_trusted(found.uid(), also) {
        return Ok(());
    }
    let why = format!(
        "belongs to user {}, not to user {} or root: choose a place of your own",
        found.uid(),
        geteuid()
    );
    Err(refusal(path, &why))
}

fn check_writers(path: &Path, found: &Metadata) -> io::Result<()> {
    if found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let why = format!("can be written by others (mode {:o}): chmod go-w it", found.mode() & 0o7777);
    Err(refusal(path, &why))
}

fn refusal(path: &Path, why: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, format!("{} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    const STRANGER: u32 = 65_534;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_our_own_is_found_through_our_own_links() {
        let (_folder, place) = place();
        fs::create_dir(place.join("real")).unwrap();
        symlink("real", place.join("link")).unwrap();
        let _listener = UnixListener::bind(place.join("real/x.sock")).unwrap();
        symlink(place.join("link/../link/x.sock"), place.join("y.sock")).unwrap();
        for path in ["real/x.sock", "link/x.sock", "y.sock"] {
            assert_eq!(socket(&place.join(path), &[]).unwrap(), place.join("real/x.sock"));
        }
        assert_eq!(socket(&place.join("none.sock"), &[]).unwrap_err().kind(), ErrorKind::NotFound);
        symlink("loop", place.join("loop")).unwrap();
        assert!(socket(&place.join("loop"), &[]).is_err());
    }

    #[test]
    fn a_directory_that_everybody_can_write_is_trusted_only_if_it_is_sticky() {
        let (_folder, place) = place();
        let _listener = UnixListener::bind(place.join("x.sock")).unwrap();
        chmod(&place, 0o777);
        let told = socket(&place.join("x.sock"), &[]).unwrap_err().to_string();
        assert_eq!(
            told,
            format!("{} is writable by everyone: take that right away with chmod o-w", place.display())
        );
        chmod(&place, 0o1777);
        socket(&place.join("x.sock"), &[]).unwrap();
        assert!(directory(&place).is_err());
        chmod(&place, 0o700);
    }

    #[test]
    fn a_file_is_read_if_nobody_else_can_write_it() {
        let (_folder, place) = place();
        let file = place.join("key");
        fs::write(&file, "secret").unwrap();
        chmod(&file, 0o640);
        let (bytes, found) = read(&file).unwrap();
        assert_eq!((&bytes[..], found.mode() & 0o777), (&b"secret"[..], 0o640));
        chmod(&file, 0o620);
        assert!(
            read(&file)
                .unwrap_err()
                .to_string()
                .ends_with("key can be written by others (mode 620): chmod go-w it")
        );
        chmod(&file, 0o600);
        chmod(&place, 0o770);
        assert!(read(&file).is_err());
        chmod(&place, 0o700);
        nix::unistd::mkfifo(&place.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for other in ["fifo", "."] {
            assert!(
                read(&place.join(other)).unwrap_err().to_string().contains("is not a plain file"),
                "{other}"
            );
        }
        File::create(place.join("endless")).unwrap().set_len(1 << 40).unwrap();
        chmod(&place.join("endless"), 0o600);
        assert_eq!(read(&place.join("endless")).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn what_another_user_put_there_is_refused() {
        if !geteuid().is_root() {
            return println!("skipped: only root can make what belongs to another user");
        }
        let (_folder, place) = place();
        chmod(&place, 0o1777);
        let of_stranger = |name: &str| lchown(place.join(name), Some(STRANGER), None).unwrap();
        fs::create_dir(place.join("nodes")).unwrap();
        let _inside = UnixListener::bind(place.join("nodes/x.sock")).unwrap();
        let _beside = UnixListener::bind(place.join("y.sock")).unwrap();
        symlink("y.sock", place.join("z.sock")).unwrap();
        socket(&place.join("z.sock"), &[]).unwrap();
        for name in ["nodes", "y.sock"] {
            of_stranger(name);
        }
        for name in ["nodes/x.sock", "y.sock", "z.sock"] {
            let told = socket(&place.join(name), &[]).unwrap_err().to_string();
            assert!(told.contains("belongs to user 65534, not to user 0 or root"), "{told}");
            socket(&place.join(name), &[STRANGER]).unwrap();
        }
        lchown(place.join("y.sock"), Some(0), None).unwrap();
        of_stranger("z.sock");
        assert!(socket(&place.join("z.sock"), &[]).is_err());
        assert!(directory(&place.join("nodes")).is_err());
        fs::write(place.join("nodes/key"), "").unwrap();
        chown(place.join("nodes"), Some(0), None).unwrap();
        directory(&place.join("nodes")).unwrap();
        read(&place.join("nodes/key")).unwrap();
        of_stranger("nodes/key");
        assert!(read(&place.join("nodes/key")).is_err());
    }
}
