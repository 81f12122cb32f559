//! The socket a node listens on: handed down by a supervisor, or bound to a path by itself.

use std::env;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::stat::{Mode, fchmod};
use tokio::net::{UnixListener, UnixStream};

/// A listening socket. If this process made the socket file it removes it again; one that was handed down belongs to
/// the supervisor and stays, so that no client is refused while this process is replaced.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    path: Option<PathBuf>,
    /// Device and inode of the socket file this process bound.
    own_file: Option<(u64, u64)>,
}

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody answers on that path.
    #[error("{} already listens on {path}; stop it or choose another path", named(*.pid))]
    InUse {
        /// The path.
        path: PathBuf,
        /// Its process, where the kernel tells.
        pid: Option<i32>,
    },
    /// The path names something that is no socket, which is not removed.
    #[error("{path} exists and is not a socket; remove it or choose another path")]
    NotSocket {
        /// The path.
        path: PathBuf,
    },
    /// The path does not fit into a socket address.
    #[error("the path {path} is too long for a socket (107 bytes at most)")]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be made there.
    #[error("cannot listen on {path}: {error}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// What `LISTEN_FDS` promises is not there.
    #[error("cannot use the socket handed down as LISTEN_FDS: {0}")]
    Inherited(String),
}

fn named(pid: Option<i32>) -> String {
    match pid {
        Some(pid) if u32::try_from(pid) == Ok(std::process::id()) => format!("this process (pid {pid})"),
        Some(pid) => format!("another process (pid {pid})"),
        None => "another process".to_owned(),
    }
}

impl Listener {
    /// The socket called `name` in `LISTEN_FDNAMES`, or the only one there is; `None` when nothing was handed down
    /// (sd_listen_fds(3)). Call it once, before anything else is handed on or closed: descriptors are taken by number.
    ///
    /// # Errors
    /// [`ListenError::Inherited`] when the descriptors are not listening Unix sockets or none has that name.
    pub(super) fn inherited(name: &str) -> Result<Option<Listener>, ListenError> {
        let names = env::var("LISTEN_FDNAMES").ok();
        let mut handed = ListenFd::from_env();
        if handed.len() == 0 {
            return Ok(None);
        }
        let index = choose(names.as_deref(), handed.len(), name).ok_or_else(|| {
            ListenError::Inherited(format!("none of {} sockets is called {name}", handed.len()))
        })?;
        let taken = handed.take_unix_listener(index);
        let wrong = |error: &dyn std::fmt::Display| ListenError::Inherited(error.to_string());
        let socket = taken.map_err(|error| wrong(&error))?.ok_or_else(|| wrong(&"it was taken already"))?;
        if !socket::getsockopt(&socket, sockopt::AcceptConn).map_err(|errno| wrong(&errno))? {
            return Err(ListenError::Inherited("the socket does not listen".to_owned()));
        }
        let path = socket.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
        let socket = adopt(socket).map_err(|error| wrong(&error))?;
        Ok(Some(Listener { socket, path, own_file: None }))
    }

    /// Binds `path`, for this user only (mode 0600). A socket file that nobody listens on any more, left by a
    /// process that was killed, is replaced; a live one never is.
    ///
    /// # Errors
    /// Every case of [`ListenError`] except `Inherited`.
    pub(super) fn bind(path: &Path) -> Result<Listener, ListenError> {
        let failed = |error: io::Error| ListenError::Bind { path: path.to_owned(), error };
        let address = UnixAddr::new(path).map_err(|errno| match errno {
            Errno::ENAMETOOLONG => ListenError::TooLong { path: path.to_owned() },
            other => failed(other.into()),
        })?;
        // Between our look and our bind another process can come first; then the look is repeated.
        for _ in 0..3 {
            match bind_new(&address) {
                Ok(socket) => {
                    let file = fs::symlink_metadata(path).map_err(failed)?;
                    let socket = adopt(socket).map_err(failed)?;
                    let own_file = Some((file.st_dev(), file.st_ino()));
                    return Ok(Listener { socket, path: Some(path.to_owned()), own_file });
                }
                Err(Errno::EADDRINUSE) => remove_stale(path)?,
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Err(ListenError::InUse { path: path.to_owned(), pid: None })
    }

    /// Where it can be reached.
    #[must_use]
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Lets a socket that was handed down be found under `link` too, by a symbolic link that replaces an older one.
    pub(super) fn appear_at(&self, link: &Path) -> io::Result<()> {
        let Some(path) = self.path().filter(|path| *path != link) else { return Ok(()) };
        let mut fresh = link.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        std::os::unix::fs::symlink(path, &fresh)?;
        fs::rename(&fresh, link)
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.socket.accept().await?.0)
    }
}

impl Listener {
    /// Takes the socket file away, if this process made it.
    pub(super) fn remove_file(&self) {
        let (Some(path), Some(own)) = (&self.path, self.own_file) else { return };
        // Only the file this process made: another one may have taken the name since.
        let still_ours = |file: fs::Metadata| (file.st_dev(), file.st_ino()) == own;
        if fs::symlink_metadata(path).is_ok_and(still_ours) {
            // Nobody is left to tell, and the next one replaces a leftover.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
    }
}

fn adopt(socket: StdListener) -> io::Result<UnixListener> {
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket)
}

/// Which descriptor is meant. One socket without a matching name is still unambiguous.
fn choose(names: Option<&str>, count: usize, wanted: &str) -> Option<usize> {
    let named = names.and_then(|names| names.split(':').take(count).position(|name| name == wanted));
    named.or((count == 1).then_some(0))
}

fn bind_new(address: &UnixAddr) -> nix::Result<StdListener> {
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Linux gives the file the mode of the socket's own inode: private from its first instant, without a umask that
    // would touch the whole process.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket::bind(socket.as_raw_fd(), address)?;
    socket::listen(&socket, Backlog::MAXCONN)?;
    Ok(StdListener::from(socket))
}

/// Removes the socket file at `path` if nobody listens on it.
///
/// Looking and removing are two steps, and a process that bound the name in between must not lose its socket. So the
/// file is first moved to a name of our own, looked at once more there, and put back if it turns out to be alive.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |error: io::Error| ListenError::Bind { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(ListenError::NotSocket { path: path.to_owned() });
        }
        Ok(_) => refuse_if_alive(path, path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(aside);
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    let alive = refuse_if_alive(&aside, path);
    if alive.is_err() {
        fs::hard_link(&aside, path).map_err(failed)?;
    }
    fs::remove_file(&aside).map_err(failed)?;
    alive
}

/// An error that names `path` if somebody accepts connections on `file`. A full queue of waiting connections is life
/// too, and so is a failure that we cannot explain.
fn refuse_if_alive(file: &Path, path: &Path) -> Result<(), ListenError> {
    // Not blocking: std connects without a bound, and a stopped process with a full queue would hold us for ever.
    let socket = socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    );
    let address = UnixAddr::new(file);
    let (socket, address) = match (socket, address) {
        (Ok(socket), Ok(address)) => (socket, address),
        (Err(errno), _) | (_, Err(errno)) => {
            return Err(ListenError::Bind { path: path.to_owned(), error: errno.into() });
        }
    };
    match socket::connect(socket.as_raw_fd(), &address) {
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(()),
        Ok(()) => {
            let peer = socket::getsockopt(&StdStream::from(socket), sockopt::PeerCredentials);
            Err(ListenError::InUse { path: path.to_owned(), pid: peer.ok().map(|peer| peer.pid()) })
        }
        Err(_) => Err(ListenError::InUse { path: path.to_owned(), pid: None }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn in_runtime(test: impl FnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        test();
    }

    #[test]
    fn a_bound_socket_is_private_and_removed_with_its_listener() {
        in_runtime(|| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("engine.sock");
            let listener = Listener::bind(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
            drop(listener);
            assert!(!path.exists());
        });
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_nothing_is_left_beside_it() {
        in_runtime(|| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("engine.sock");
            drop(StdListener::bind(&path).unwrap());
            assert!(path.exists(), "std leaves the file, as a killed process does");
            let _listener = Listener::bind(&path).unwrap();
            StdStream::connect(&path).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        });
    }

    #[test]
    fn a_live_socket_is_left_alone_and_its_process_is_named() {
        in_runtime(|| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("engine.sock");
            let _first = StdListener::bind(&path).unwrap();
            let refused = Listener::bind(&path).unwrap_err().to_string();
            assert!(refused.contains(&format!("(pid {})", std::process::id())), "{refused}");
            assert!(refused.contains(path.to_str().unwrap()), "{refused}");
            StdStream::connect(&path).unwrap();
        });
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        in_runtime(|| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("engine.sock");
            fs::write(&path, "precious").unwrap();
            assert!(matches!(Listener::bind(&path), Err(ListenError::NotSocket { .. })));
            assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        });
    }

    #[test]
    fn a_listener_leaves_the_file_of_a_successor() {
        in_runtime(|| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("engine.sock");
            let first = Listener::bind(&path).unwrap();
            fs::remove_file(&path).unwrap();
            let _second = Listener::bind(&path).unwrap();
            drop(first);
            assert!(path.exists());
        });
    }

    #[test]
    fn a_path_too_long_for_a_socket_says_so() {
        let path = Path::new("/tmp").join("x".repeat(120));
        assert!(matches!(Listener::bind(&path), Err(ListenError::TooLong { .. })));
    }

    #[test]
    fn descriptors_are_chosen_by_name_and_a_single_one_needs_none() {
        assert_eq!(choose(Some("web:engine"), 2, "engine"), Some(1));
        assert_eq!(choose(Some("other"), 1, "engine"), Some(0));
        assert_eq!(choose(None, 1, "engine"), Some(0));
        assert_eq!(choose(None, 2, "engine"), None);
        assert_eq!(choose(Some("web:other:engine"), 2, "engine"), None);
    }
}
