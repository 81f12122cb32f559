//! The run directory when somebody tidies it away while the project runs: made again, with the sockets that are ours in it,
//! and told. No second launcher comes in meanwhile: its lock is on no file.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::births;
use super::holdings::Held;
use super::supervisor::{RuntimeError, Supervisor};
use crate::control::{self, Call, GroupAccess};
use crate::keeper::{CONTROL, ToKeeper};
use crate::os;
use crate::os::watch::Changes;

/// How long after a name has gone it is looked what is missing: who removes one often removes more, and a directory that is
/// being filled again cannot be removed.
const SETTLING: Duration = Duration::from_millis(300);

/// The watch over the run directory, and the servers of its control socket.
pub(super) struct Upkeep {
    /// Without one (the user has too many), what is gone stays so until the next supervisor process.
    changes: Option<Changes>,
    due: Option<Instant>,
    calls: mpsc::Sender<Call>,
    group: watch::Receiver<Option<GroupAccess>>,
    servers: Vec<JoinHandle<()>>,
}

impl Upkeep {
    /// It is looked at once, and from then on whenever something has gone.
    pub(super) fn new(calls: mpsc::Sender<Call>, group: watch::Receiver<Option<GroupAccess>>) -> Upkeep {
        Upkeep { changes: Changes::new().ok(), due: Some(Instant::now()), calls, group, servers: Vec::new() }
    }

    /// Serves the control API on this socket, too.
    pub(super) fn serve(&mut self, socket: tokio::net::UnixListener) {
        self.servers.push(tokio::task::spawn_local(control::serve(
            socket,
            self.calls.clone(),
            self.group.clone(),
        )));
    }

    /// Waits for the servers, which end when nobody can answer them any more.
    pub(super) async fn end(self) {
        drop(self.calls);
        for server in self.servers {
            let _ = server.await;
        }
    }

    /// Returns when the run directory is to be looked at. May be dropped and called again.
    pub(super) async fn due(&mut self) {
        loop {
            if let Some(due) = self.due {
                tokio::time::sleep_until(due).await;
                self.due = None;
                return;
            }
            match &self.changes {
                Some(changes) => match changes.next().await {
                    Ok(()) => self.due = Some(Instant::now() + SETTLING),
                    Err(_) => self.changes = None,
                },
                None => std::future::pending().await,
            }
        }
    }

    fn watch(&self, folders: &[&Path]) {
        for folder in folders {
            // One that does not exist is watched when it does.
            let _ = self.changes.as_ref().map(|changes| changes.add_folder(folder));
        }
    }
}

impl Supervisor {
    /// Makes what is missing in the run directory, and watches it.
    pub(super) fn restore(&mut self, upkeep: &mut Upkeep) -> Result<(), RuntimeError> {
        let run_dir = self.world.project.run_dir.clone();
        let was_there = run_dir.is_dir();
        if let Err(error) = os::rundir::create(&run_dir) {
            tracing::error!("the run directory was removed and cannot be made again: {error}");
            return Ok(());
        }
        upkeep.watch(&[&run_dir, &run_dir.join(births::NOTIFY)]);
        let mut again = Vec::new();
        if !is_socket(&run_dir.join(control::SOCKET)) {
            self.drop_stored(CONTROL)?;
            upkeep.serve(self.control_socket()?);
            again.push("the control socket".to_owned());
        }
        for held in self.held.missing(is_socket) {
            self.renew(held, &mut again)?;
        }
        upkeep.watch(&[&run_dir.join(births::NOTIFY)]);
        if !was_there || !again.is_empty() {
            self.context.cgroups.remember(&run_dir);
            tracing::warn!(
                "somebody removed {} while the project runs; made again: {}",
                if was_there {
                    format!("files in {}", run_dir.display())
                } else {
                    run_dir.display().to_string()
                },
                if again.is_empty() { "the directory".to_owned() } else { again.join(", ") }
            );
        }
        Ok(())
    }

    /// Makes a notification socket again. A listening socket is made again for the next run of its child: this run listens on
    /// the one that it was given, which has no name any more.
    fn renew(
        &mut self,
        (node, held): (crate::rules::NodeId, Held),
        again: &mut Vec<String>,
    ) -> io::Result<()> {
        let Some(name) = self.world.tree.name(node).map(str::to_owned) else { return Ok(()) };
        self.drop_stored(&held.stored)?;
        let Some(ear) = held.ear else {
            tracing::warn!(
                "somebody removed the listening socket {}; it is there again after: provost restart {name}",
                held.path.display()
            );
            return Ok(());
        };
        ear.abort();
        let account = self.world.process(node).and_then(|spec| spec.account.clone());
        let run = self.run_heard(node);
        match self.notify_socket(node, run, &name, account.as_ref()) {
            Ok(()) => again.push(format!("the notification socket of {name}")),
            Err((what, error)) => tracing::error!("{what}: {error}"),
        }
        Ok(())
    }

    /// Lets go of a socket that has no name any more.
    pub(super) fn drop_stored(&mut self, stored: &str) -> io::Result<()> {
        match self.store.remove(stored) {
            Some(_) => self.link.send(&ToKeeper::Unstore(stored)),
            None => Ok(()),
        }
    }
}

pub(super) fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}
