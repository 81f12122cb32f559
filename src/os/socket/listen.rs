//! Sockets with a name in the filesystem. They are bound under that name and no other, so that it is the one that the
//! kernel's tables (`ss -xlp`, `/proc/net/unix`) show.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::fcntl::AT_FDCWD;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::unlink;

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
    remove_stale(path)?;
    let socket = socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    // The file is made with the mode that the socket has, less the umask: at no instant is it open to more than `mode`.
    let mode = Mode::from_bits_truncate(mode);
    fchmod(socket.as_fd(), mode)?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let finish = || -> io::Result<()> {
        fchmodat(AT_FDCWD, path, mode, FchmodatFlags::FollowSymlink)?;
        if kind == SockType::Stream {
            socket::listen(&socket, Backlog::MAXCONN)?;
        } else {
            pass_credentials(socket.as_fd())?;
        }
        Ok(())
    };
    finish().inspect_err(|_| {
        let _ = unlink(path);
    })?;
    Ok(socket)
}

/// Removes the socket that an earlier process left at this path, and nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
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
