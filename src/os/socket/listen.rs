//! Sockets with a name in the filesystem. A name appears with its mode already set and its queue already open: it is made
//! under another name in the same directory and renamed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{OFlag, open, renameat};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::pass_credentials;

/// What `sockaddr_un` holds, less the final zero (`unix(7)`).
const LONGEST_PATH: usize = 107;

/// A listening stream socket at this path, with this mode; replaces what was there.
///
/// # Errors
/// The path is longer than 107 bytes, or its directory is missing or not writable.
pub fn listen(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    make(path, mode, SockType::Stream)
}

/// A datagram socket at this path, with this mode, whose packets carry their sender's credentials; replaces what was
/// there.
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
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        let message = format!("the socket path {} names no file: add a file name", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder =
        File::from(open(folder, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?);

    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let unfinished = format!(".{}.{number}.sock", std::process::id());
    // Left by a process of the same number that died here.
    let _ = unlinkat(folder.as_fd(), unfinished.as_str(), UnlinkatFlags::NoRemoveDir);

    let socket = socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    // Through the directory's descriptor, so that the unfinished name is never the one that is too long.
    let address = UnixAddr::new(format!("/proc/self/fd/{}/{unfinished}", folder.as_raw_fd()).as_str())?;
    socket::bind(socket.as_raw_fd(), &address)?;
    let finish = || -> io::Result<()> {
        fchmodat(
            folder.as_fd(),
            unfinished.as_str(),
            Mode::from_bits_truncate(mode),
            FchmodatFlags::FollowSymlink,
        )?;
        if kind == SockType::Stream {
            socket::listen(&socket, Backlog::MAXCONN)?;
        } else {
            pass_credentials(socket.as_fd())?;
        }
        Ok(renameat(folder.as_fd(), unfinished.as_str(), folder.as_fd(), name)?)
    };
    finish().inspect_err(|_| {
        let _ = unlinkat(folder.as_fd(), unfinished.as_str(), UnlinkatFlags::NoRemoveDir);
    })?;
    Ok(socket)
}
