//! Who is examined.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::look::Part;
use crate::control::{Client, ClientError, ProcessJson, Role};
use crate::os::proc::Process;
use crate::rules::Phase;

/// The child that serves; all other children are its clients.
const ENGINE: &str = "engine";

/// Pause between two looks at something that is about to happen.
const LOOK: Duration = Duration::from_millis(2);

/// A name and the process that is said to be its.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `keeper`, `supervisor`, `engine`, `client@1`.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// Its process, if it has one.
    pub pid: Option<i32>,
}

/// Who is examined.
#[derive(Debug)]
pub enum Subject {
    /// The processes of a running launcher.
    Launcher {
        /// Asks it which name is which PID.
        client: Client,
        /// What the asking runs on.
        runtime: Runtime,
    },
    /// One process that is all of them at once.
    OneProcess {
        /// The process.
        pid: i32,
        /// How many clients it is.
        clients: usize,
    },
}

impl Subject {
    /// The launcher that runs in this run directory.
    ///
    /// # Errors
    /// None does.
    pub fn launcher(run_dir: &Path) -> Result<Subject, ClientError> {
        let broken = |error: io::Error| ClientError::Broken(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
        let client = runtime.block_on(Client::connect(run_dir))?;
        Ok(Subject::Launcher { client, runtime })
    }

    /// Who there is said to be now. Children that are not meant to run are left out.
    ///
    /// # Errors
    /// The launcher does not answer.
    pub fn members(&self) -> Result<Vec<Named>, ClientError> {
        match self {
            Subject::Launcher { client, runtime } => {
                let rows = runtime.block_on(client.ps())?.processes;
                Ok(rows.iter().filter_map(named).collect())
            }
            Subject::OneProcess { pid, clients } => {
                let pid = Some(*pid).filter(|pid| Process::read(*pid).is_some_and(|row| lives(&row)));
                let engine = Named { name: ENGINE.into(), part: Part::Engine, pid };
                let client = |number| Named { name: format!("client@{number}"), part: Part::Client, pid };
                Ok(std::iter::once(engine).chain((1..=*clients).map(client)).collect())
            }
        }
    }

    /// Whether somebody watches over the processes and starts them again.
    pub(super) fn is_supervised(&self) -> bool {
        matches!(self, Subject::Launcher { .. })
    }
}

fn named(row: &ProcessJson) -> Option<Named> {
    let part = match row.role {
        Role::Keeper => Part::Keeper,
        Role::Supervisor => Part::Supervisor,
        Role::Child if row.name == ENGINE => Part::Engine,
        Role::Child => Part::Client,
        Role::Descendant => return None,
    };
    let idle = matches!(row.phase, Some(Phase::Stopped | Phase::Exited | Phase::Failed | Phase::Stopping));
    // A pid without a row of the kernel is one that was.
    let pid = row.start_ticks.and(row.pid);
    (!idle || pid.is_some()).then(|| Named { name: row.name.clone(), part, pid })
}

/// Whether a process is more than an entry that waits for its parent.
pub(super) fn lives(row: &Process) -> bool {
    !matches!(row.state, 'Z' | 'X')
}

/// Looks until there is something, for so long at most.
pub(super) fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + limit;
    loop {
        match look() {
            None if Instant::now() < until => std::thread::park_timeout(LOOK),
            found => return found,
        }
    }
}
