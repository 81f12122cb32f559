//! Sockets with a name in the filesystem. They are bound under that name and no other, so that it is the one that the
//! kernel's tables (`ss -xlp`, `/proc/net/unix`) show.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat};
use nix::unistd::geteuid;

use super::super::folder::Folder;
use super::super::proc::{UnixSocket, unix_sockets};
use super::super::process;
use super::pass_credentials;

/// What `sockaddr_un` holds, less the final zero (`unix(7)`).
const LONGEST_PATH: usize = 107;

/// A listening stream socket at this path, with this mode; replaces a socket that was there.
///
/// # Errors
/// The path is longer than 107 bytes, something other than a socket is there, or its directory is missing or not writable.
pub fn listen(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    make(path, mode, SockType::Stream)
}

/// A datagram socket at this path, with this mode, whose packets carry their sender's credentials; replaces a socket
/// that was there.
///
/// # Errors
/// As [`listen`].
pub fn bind_datagram(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    make(path, mode, SockType::Datagram)
}

fn make(path: &Path, mode: u32, kind: SockType) -> io::Result<OwnedFd> {
    let len = path.as_os_str().as_bytes().len();
    if len > LONGEST_PATH {
        let message = format!(
            "the socket path {} has {len} bytes: choose one of at most {LONGEST_PATH}",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let (folder, name) = Folder::of(path)?;
    remove_stale(&folder, name, path)?;
    let socket = socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    // The file is made with the mode that the socket has: at no instant has it another one, and nothing is changed by name.
    fchmod(socket.as_fd(), Mode::from_bits_truncate(mode))?;
    let address = UnixAddr::new(path)?;
    process::without_mask(|| socket::bind(socket.as_raw_fd(), &address))?;
    let bound = folder.look(name).is_ok_and(|found| is_socket(&found) && found.st_uid == geteuid().as_raw());
    if !bound {
        let message = format!("{} was replaced while a socket was made there", path.display());
        return Err(io::Error::other(message));
    }
    let finished = match kind {
        SockType::Stream => socket::listen(&socket, Backlog::MAXCONN),
        _ => pass_credentials(socket.as_fd()),
    };
    if let Err(errno) = finished {
        let _ = folder.remove(name);
        return Err(errno.into());
    }
    Ok(socket)
}

/// Removes the files that these sockets were bound to. What took the place of one is not touched; an error shows in that a
/// file stays.
pub fn remove_files<'a>(bound: impl IntoIterator<Item = (&'a Path, BorrowedFd<'a>)>) {
    let listed = unix_sockets().ok();
    for (path, socket) in bound {
        let _ = remove_file(path, socket, listed.as_ref());
    }
}

fn remove_file(
    path: &Path,
    socket: BorrowedFd,
    listed: Option<&BTreeMap<u64, UnixSocket>>,
) -> io::Result<()> {
    let (folder, name) = Folder::of(path)?;
    let found = folder.look(name)?;
    let is_its = match listed {
        Some(listed) => {
            let inode = listed.get(&fstat(socket)?.st_ino).and_then(|socket| socket.file_inode);
            // The kernel tells the lower half of it.
            inode.is_some_and(|inode| u64::from(inode) == found.st_ino & u64::from(u32::MAX))
        }
        // The kernel has no list.
        None => found.st_uid == geteuid().as_raw(),
    };
    if is_socket(&found) && is_its { folder.remove(name) } else { Ok(()) }
}

/// Removes the socket that an earlier process left there, and nothing else.
fn remove_stale(folder: &Folder, name: &OsStr, path: &Path) -> io::Result<()> {
    match folder.look(name) {
        Ok(found) if is_socket(&found) => folder.remove(name),
        Ok(_) => {
            let message = format!(
                "{} exists and is no socket: remove it, or choose another path for the socket",
                path.display()
            );
            Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_socket(found: &FileStat) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFSOCK.bits()
}
