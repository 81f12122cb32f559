//! Sockets that must outlive this process: made once, put into the keeper's store, found there by the next one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::task::AbortHandle;

use super::births;
use super::holdings::Held;
use super::notify;
use super::restore::is_socket;
use super::supervisor::{RuntimeError, Supervisor};
use crate::config::{Account, ControlGroup, GroupMay, Listen, ProcessSpec};
use crate::control::{Access, GroupAccess};
use crate::keeper::{CONTROL, ToKeeper};
use crate::os::folder::Folder;
use crate::rules::{NodeId, Run};
use crate::{control, os};

enum Kind {
    Listen,
    Notify,
}

/// What was tried, and why it failed.
type Failed = (String, io::Error);

impl Supervisor {
    /// The listening control socket.
    pub(super) fn control_socket(&mut self) -> Result<tokio::net::UnixListener, RuntimeError> {
        let path = self.world.project.run_dir.join(control::SOCKET);
        let fd = self
            .obtain(CONTROL, || os::rundir::clear(&path).and_then(|()| os::socket::listen(&path, 0o600)))?;
        let listener = UnixListener::from(fd.try_clone()?);
        listener.set_nonblocking(true)?;
        self.admit_group();
        Ok(tokio::net::UnixListener::from_std(listener)?)
    }

    /// Lets the group of the key `control` use the control socket, or no group any more. What fails is told and costs
    /// the group its access, nothing else.
    pub(super) fn admit_group(&self) {
        let group = self.world.project.control;
        let path = self.world.project.run_dir.join(control::SOCKET);
        let shared = share_control(&path, group);
        if let Err(error) = &shared {
            tracing::warn!("cannot open the control socket to the group of `control`: {error}");
        }
        self.group.send_replace(group.filter(|_| shared.is_ok()).map(access));
    }

    /// The sockets this child is to get, in order.
    pub(super) fn listen_sockets(
        &mut self,
        node: NodeId,
        spec: &ProcessSpec,
    ) -> Result<Vec<Rc<OwnedFd>>, Failed> {
        let mut sockets = Vec::new();
        for listen in &spec.listen {
            let (stored, path) = (listen_name(listen), &listen.unix);
            let failed = |error| (format!("cannot listen on {}", path.display()), error);
            if !is_socket(path) {
                // Somebody has removed it: the one that is held has no name any more.
                self.drop_stored(&stored).map_err(failed)?;
            }
            let socket = self.obtain(&stored, || os::socket::listen(path, listen.mode)).map_err(failed)?;
            self.hold(node, stored, path.clone(), None);
            sockets.push(socket);
        }
        Ok(sockets)
    }

    /// Makes sure that the child's notification socket exists, empty, and is heard for this run.
    pub(super) fn notify_socket(
        &mut self,
        node: NodeId,
        run: Run,
        name: &str,
        account: Option<&Account>,
    ) -> Result<(), Failed> {
        let path = births::notify_path(&self.world.project, name);
        let stored = stored_name("notify", &path);
        let failed = |error| (format!("cannot make its notification socket {}", path.display()), error);
        if self.held.has(node, &stored) {
            let Some(socket) = self.store.get(&stored).map(Rc::clone) else { return Ok(()) };
            notify::empty(socket.as_fd());
            let ear = self.hear_notifications(node, run, socket).map_err(failed)?;
            self.held.hear(node, &stored, ear);
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            os::rundir::create(folder).map_err(failed)?;
        }
        let make = || os::rundir::clear(&path).and_then(|()| os::socket::bind_datagram(&path, 0o600));
        let socket = self.obtain(&stored, make).map_err(failed)?;
        if let Some(account) = account {
            give(&path, account).map_err(failed)?;
        }
        notify::empty(socket.as_fd());
        let ear = self.hear_notifications(node, run, socket).map_err(failed)?;
        self.hold(node, stored, path, Some(ear));
        Ok(())
    }

    /// Takes over what an earlier supervisor process has made for the children there are.
    pub(super) fn hold_sockets(&mut self) -> io::Result<()> {
        let mut found = Vec::new();
        for (name, spec) in self.world.processes() {
            let Some(node) = self.world.tree.find(name) else { continue };
            let path = births::notify_path(&self.world.project, name);
            found.push((node, stored_name("notify", &path), path, Kind::Notify));
            for listen in &spec.listen {
                found.push((node, listen_name(listen), listen.unix.clone(), Kind::Listen));
            }
        }
        for (node, stored, path, kind) in found {
            let Some(socket) = self.store.get(&stored).map(Rc::clone) else { continue };
            let ear = match kind {
                Kind::Listen => None,
                Kind::Notify => {
                    let run = self.run_heard(node);
                    Some(self.hear_notifications(node, run, socket)?)
                }
            };
            self.hold(node, stored, path, ear);
        }
        Ok(())
    }

    fn hold(&mut self, node: NodeId, stored: String, path: PathBuf, ear: Option<AbortHandle>) {
        self.held.hold(node, Held { stored, path, ear });
    }

    /// Closes what was made for nodes that are gone and what no other node has taken over.
    pub(super) fn release_sockets(&mut self) -> io::Result<()> {
        let gone = self.held.of_gone(|node| self.world.tree.name(node).is_some());
        gone.into_iter().try_for_each(|held| self.release(held))
    }

    /// Closes what was made for an earlier specification of a child, which a reload has changed.
    pub(super) fn release_stale(&mut self, node: NodeId, name: &str, spec: &ProcessSpec) -> io::Result<()> {
        let notify = births::notify_path(&self.world.project, name);
        let mut wanted = vec![(stored_name("notify", &notify), notify)];
        wanted.extend(spec.listen.iter().map(|listen| (listen_name(listen), listen.unix.clone())));
        let stale = self.held.stale(node, &wanted);
        stale.into_iter().try_for_each(|held| self.release(held))
    }

    fn release(&mut self, held: Held) -> io::Result<()> {
        held.ear.iter().for_each(AbortHandle::abort);
        if let Some(socket) = self.store.remove(&held.stored) {
            os::socket::remove_files([(held.path.as_path(), (*socket).as_fd())]);
        }
        self.link.send(&ToKeeper::Unstore(&held.stored))
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

    /// Removes the files of our sockets: nobody will answer on them any more.
    pub(super) fn remove_sockets(&self) {
        let control = self.world.project.run_dir.join(control::SOCKET);
        let held = self.held.iter().map(|held| (held.path.as_path(), held.stored.as_str()));
        let named = held.chain([(control.as_path(), CONTROL)]);
        let bound = named.filter_map(|(path, stored)| Some((path, self.store.get(stored)?.as_fd())));
        os::socket::remove_files(bound);
    }
}

/// Lets a child that is somebody else reach its socket: only that, and only that child.
fn give(path: &Path, account: &Account) -> io::Result<()> {
    let us = nix::unistd::geteuid();
    if account.uid == us.as_raw() || !us.is_root() {
        return Ok(());
    }
    let_through(&path.ancestors().skip(1).take(2).collect::<Vec<_>>())?;
    let (folder, name) = Folder::of(path)?;
    folder.give(name, account.uid)
}

/// Makes the control socket the group's, or the owner's alone.
pub(super) fn share_control(path: &Path, group: Option<ControlGroup>) -> io::Result<()> {
    if group.is_some() {
        let_through(&path.ancestors().skip(1).take(1).collect::<Vec<_>>())?;
    }
    os::rundir::share_socket(path, group.map(|group| group.gid))
}

/// What the control API has to know of the key `control`.
pub(super) fn access(group: ControlGroup) -> GroupAccess {
    let allow = match group.allow {
        GroupMay::Read => Access::Read,
        GroupMay::Operate => Access::Operate,
    };
    GroupAccess { gid: group.gid, allow }
}

/// Lets other users pass through these folders, and through the folder of all of this user's projects.
fn let_through(folders: &[&Path]) -> io::Result<()> {
    let uid = nix::unistd::geteuid();
    let common = if uid.is_root() { "/run/provost".to_owned() } else { format!("/tmp/provost-{uid}") };
    let common = Path::new(&common);
    let common = folders.iter().any(|folder| folder.starts_with(common)).then_some(common);
    os::rundir::let_through(&folders.iter().copied().chain(common).collect::<Vec<_>>())
}

/// With another mode it is another socket.
fn listen_name(listen: &Listen) -> String {
    stored_name(&format!("listen-{:o}", listen.mode), &listen.unix)
}

/// A name for the keeper's store: short whatever the path, and the same for every supervisor process.
fn stored_name(kind: &str, path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let hash = os::digest::stable(path.as_os_str().as_bytes());
    format!("{kind}:{hash:016x}")
}
