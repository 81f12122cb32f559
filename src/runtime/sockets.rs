//! Sockets that must outlive this process: made once, put into the keeper's store, found there by the next one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::births;
use super::supervisor::{RuntimeError, Supervisor};
use crate::config::ProcessSpec;
use crate::keeper::{CONTROL, ToKeeper};
use crate::rules::NodeId;
use crate::{control, os};

/// What was tried, and why it failed.
type Failed = (String, io::Error);

impl Supervisor {
    /// The listening control socket.
    pub(super) fn control_socket(&mut self) -> Result<tokio::net::UnixListener, RuntimeError> {
        let path = self.world.project.run_dir.join(control::SOCKET);
        let fd = self.obtain(CONTROL, || os::socket::listen(&path, 0o600))?;
        let listener = UnixListener::from(fd.try_clone()?);
        listener.set_nonblocking(true)?;
        Ok(tokio::net::UnixListener::from_std(listener)?)
    }

    /// The sockets this child is to get, in order.
    pub(super) fn listen_sockets(&mut self, spec: &ProcessSpec) -> Result<Vec<Rc<OwnedFd>>, Failed> {
        let mut sockets = Vec::new();
        for listen in &spec.listen {
            let path = &listen.unix;
            let socket = self
                .obtain(&stored_name("listen", path), || os::socket::listen(path, listen.mode))
                .map_err(|error| (format!("cannot listen on {}", path.display()), error))?;
            sockets.push(socket);
        }
        Ok(sockets)
    }

    /// Makes sure that the child's notification socket exists and is heard.
    pub(super) fn notify_socket(&mut self, node: NodeId, name: &str) -> Result<(), Failed> {
        let path = births::notify_path(&self.world.project, name);
        let stored = stored_name("notify", &path);
        if self.store.contains_key(&stored) {
            return Ok(());
        }
        let failed = |error| (format!("cannot make its notification socket {}", path.display()), error);
        if let Some(folder) = path.parent() {
            os::rundir::create(folder).map_err(failed)?;
        }
        let socket = self.obtain(&stored, || os::socket::bind_datagram(&path, 0o600)).map_err(failed)?;
        self.hear_notifications(node, socket).map_err(failed)
    }

    /// A descriptor from the keeper's store, made and stored if it is not there yet.
    pub(super) fn obtain(
        &mut self,
        name: &str,
        make: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> io::Result<Rc<OwnedFd>> {
        if let Some(fd) = self.store.get(name) {
            return Ok(Rc::clone(fd));
        }
        let fd = make()?;
        self.link.send(&ToKeeper::Store(name, fd.as_fd()))?;
        let fd = Rc::new(fd);
        self.store.insert(name.to_owned(), Rc::clone(&fd));
        Ok(fd)
    }

    /// Removes the socket files: nobody will answer on them any more. A file that is gone already is no error.
    pub(super) fn remove_sockets(&self) {
        let project = &self.world.project;
        let listening =
            project.processes.values().flat_map(|spec| &spec.listen).map(|listen| listen.unix.clone());
        let notify = project.processes.keys().map(|name| births::notify_path(project, name));
        let files: Vec<PathBuf> =
            listening.chain(notify).chain([project.run_dir.join(control::SOCKET)]).collect();
        for file in files {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// A name for the keeper's store: short whatever the path, and the same for every supervisor process.
pub(super) fn stored_name(kind: &str, path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    // FNV-1a: the standard library's hashes are not promised to stay the same between versions.
    let hash = path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{kind}:{hash:016x}")
}
