//! Processes whose exec does not return at once: their program is leased or on a file system that hangs, or somebody who may
//! has stopped them. Nobody waits for them but a task each, up to a deadline; then they are killed and their start has failed.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::perform::{Awaited, birth_failed};
use super::supervisor::Supervisor;
use crate::os;
use crate::os::spawn::{BirthError, Step};
use crate::rules::{Event, NodeId, Run, StartError};

/// How long an exec may take.
const EXEC_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks at the exec of a process that an earlier supervisor process has made.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What became of an exec that was waited for.
pub(super) struct Delivered {
    node: NodeId,
    run: Run,
    end: End,
}

enum End {
    Born,
    Failed(BirthError),
    /// It has not returned in time.
    Late,
}

/// A run whose exec has not returned.
pub(super) struct Unborn {
    pub(super) run: Run,
    pub(super) by: By,
}

/// Who has made its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// This supervisor process: it will know how its birth ended.
    Us,
    /// An earlier one.
    Earlier,
}

/// A process that was given up.
pub(super) struct Stuck {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Supervisor {
    /// Leaves the rest of a birth to a task.
    pub(super) fn await_exec(&mut self, node: NodeId, run: Run, outcome: Awaited) {
        self.deliver_later(node, Unborn { run, by: By::Us }, async {
            match outcome.await.map(|outcome| outcome.error) {
                Ok(None) => End::Born,
                Ok(Some(error)) => End::Failed(error),
                Err(_) => End::Failed(canceled(None)),
            }
        });
    }

    /// The same for a process of an earlier supervisor process, if it has not come to its exec yet.
    pub(super) fn await_adopted(&mut self, node: NodeId, run: Run) -> bool {
        let Some(pid) = self.processes.get(&node).map(|process| process.pid) else { return false };
        let unborn = move || os::descendants::never_executed(pid);
        if unborn() != Ok(true) {
            return false;
        }
        self.deliver_later(node, Unborn { run, by: By::Earlier }, async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                match unborn() {
                    Ok(true) => {}
                    Ok(false) => return End::Born,
                    Err(_) => return End::Failed(canceled(Some(pid))),
                }
            }
        });
        true
    }

    fn deliver_later(&mut self, node: NodeId, unborn: Unborn, end: impl Future<Output = End> + 'static) {
        let run = unborn.run;
        self.unborn.insert(node, unborn);
        let delivered = self.delivered.clone();
        tokio::task::spawn_local(async move {
            let end = tokio::time::timeout(EXEC_LIMIT, end).await.unwrap_or(End::Late);
            // An error means that the loop has ended.
            let _ = delivered.send(Delivered { node, run, end }).await;
        });
    }

    /// An exec has returned, or has not in time. What the keeper has told already is not told twice.
    pub(super) fn deliver(&mut self, delivered: Delivered) {
        let Delivered { node, run, end } = delivered;
        if self.unborn.get(&node).is_none_or(|unborn| unborn.run != run) {
            return;
        }
        self.unborn.remove(&node);
        let event = match end {
            End::Born if self.processes.get(&node).is_some_and(|process| process.run == run) => {
                Event::Spawned(node, run)
            }
            // Killed in its exec, as the keeper has told.
            End::Born => self.not_started(node, run, StartError::Failed, canceled(None).to_string()),
            End::Failed(error) => {
                self.processes.remove(&node);
                self.context.cgroups.remove((node.0, run.0));
                let (error, sentence) = match self.world.process(node) {
                    Some(spec) => birth_failed(spec, &error),
                    None => (StartError::Failed, error.to_string()),
                };
                self.not_started(node, run, error, sentence)
            }
            End::Late => self.give_up(node, run),
        };
        self.queue.push_back(event);
    }

    fn give_up(&mut self, node: NodeId, run: Run) -> Event {
        if let Some(process) = self.processes.remove(&node) {
            // Fails only if it has ended by now.
            let _ = os::pidfd::signal(process.pidfd.as_fd(), Signal::SIGKILL as i32);
            self.stuck.insert(node, Stuck { pid: process.pid, pidfd: process.pidfd });
        }
        let program = self.world.process(node).map(|spec| spec.program.display().to_string());
        let sentence = format!(
            "exec of {} did not return within {} s: is it on a hanging file system, or leased, or was the process stopped?",
            program.unwrap_or_default(),
            EXEC_LIMIT.as_secs()
        );
        self.not_started(node, run, StartError::Failed, sentence)
    }

    /// Why no further process of this node is made: one that was given up and killed is still there.
    pub(super) fn still_stuck(&mut self, node: NodeId) -> Option<String> {
        let stuck = self.stuck.get(&node)?;
        if os::pidfd::wait(stuck.pidfd.as_fd(), Duration::ZERO) == Ok(false) {
            return Some(format!(
                "its earlier process (PID {}) still hangs in its exec, though it was killed",
                stuck.pid
            ));
        }
        self.stuck.remove(&node);
        None
    }
}

/// It was killed on the way.
fn canceled(pid: Option<Pid>) -> BirthError {
    BirthError { step: Step::Exec, errno: Errno::ECANCELED, pid }
}
