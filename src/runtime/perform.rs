//! Orders: each action of the rules becomes a call, and its outcome the next fact.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal as Posix;

use super::births::{self, Grants};
use super::exit_of;
use super::level;
use super::supervisor::{Process, RuntimeError, Supervisor};
use super::unborn::By;
use crate::capture::{Log, Tap};
use crate::config::{self, ProcessSpec};
use crate::keeper::{ExitRecord, Key, ToKeeper};
use crate::os;
use crate::os::spawn::{Begun, BirthError, Step};
use crate::rules::{Action, Event, ExitFact, NodeId, Note, Run, Signal, StartError};

/// The root supervisor.
const ROOT: NodeId = NodeId(0);

/// How long the loop waits for an exec, which as a rule takes far less; what takes longer it leaves to a task.
const EXEC_PATIENCE: Duration = Duration::from_millis(20);

/// The outcome of an exec that takes longer.
pub(super) type Awaited = tokio::sync::oneshot::Receiver<os::spawn::Outcome>;

/// What a reaped process was.
pub(super) enum Ended {
    /// A run.
    Run(ExitFact),
    /// An attempt that never came to exec. Told as a failed start already, unless the supervisor process that tried was
    /// killed in the middle of it; the rules ignore the repetition.
    Birth(Event),
}

/// A captured output: the end the child writes to, and the tap that empties the other.
struct Output {
    write: OwnedFd,
    tap: Rc<Tap>,
}

impl Output {
    fn open(log: &Rc<Log>) -> std::io::Result<Output> {
        let (read, write) = os::pipe::output()?;
        Ok(Output { write, tap: Tap::open(read, Rc::clone(log))? })
    }
}

impl Supervisor {
    pub(super) fn perform(&mut self, action: Action) -> Result<(), RuntimeError> {
        match action {
            Action::Start(node, run) => {
                let outcome = self.start(node, run);
                self.queue.extend(outcome);
            }
            Action::Signal(node, run, signal) => self.signal_run(node, run, signal),
            Action::Kill(node, run) => self.signal_run(node, run, Signal(Posix::SIGKILL as i32)),
            Action::Reply(ticket, result) => self.reply(ticket, result),
            Action::Note(note) => self.note(&note)?,
            Action::Added { .. } | Action::Forget(_) | Action::Finished(_) => {}
        }
        Ok(())
    }

    /// Lets go of what was kept for nodes that are gone.
    pub(super) fn forget(&mut self) -> Result<(), RuntimeError> {
        let tree = &self.world.tree;
        self.processes.retain(|node, _| tree.name(*node).is_some());
        self.outputs.forget(|node| tree.name(node).is_some());
        self.reporter.forget(tree);
        Ok(self.release_sockets()?)
    }

    fn note(&mut self, note: &Note) -> Result<(), RuntimeError> {
        self.reporter.note(&self.world.tree, note);
        let ends = match note {
            Note::Stopping(node, _) => Some(node),
            Note::GaveUp { supervisor, .. } | Note::AutoShutdown { supervisor, .. } => Some(supervisor),
            _ => None,
        };
        if ends == Some(&ROOT) {
            self.link.send(&ToKeeper::Stopping(self.world.project.tree.longest_stop()))?;
        }
        if *note == Note::Up {
            self.table_due = true;
            self.link.send(&ToKeeper::Up)?;
            os::process::return_free_memory();
        }
        Ok(())
    }

    /// Makes the process of this run. `None`: its exec takes longer; what comes of it follows (`unborn.rs`).
    fn start(&mut self, node: NodeId, run: Run) -> Option<Event> {
        let Some(spec) = self.world.process(node).cloned() else {
            return Some(self.not_started(
                node,
                run,
                StartError::Failed,
                "there is no command for it".into(),
            ));
        };
        if !births::condition_holds(spec.condition_exists.as_deref()) {
            return Some(Event::Ignored(node, run));
        }
        if let Some(sentence) = self.still_stuck(node) {
            return Some(self.not_started(node, run, StartError::Failed, sentence));
        }
        match self.bear(node, run, &spec) {
            Ok((process, outcome)) => {
                self.reporter.born(node, run, process.pid, process.born_ns);
                self.processes.insert(node, process);
                match outcome {
                    None => Some(Event::Spawned(node, run)),
                    Some(outcome) => {
                        self.await_exec(node, run, outcome);
                        None
                    }
                }
            }
            Err((error, sentence)) => Some(self.not_started(node, run, error, sentence)),
        }
    }

    pub(super) fn not_started(
        &mut self,
        node: NodeId,
        run: Run,
        error: StartError,
        sentence: String,
    ) -> Event {
        self.reporter.failed(node, sentence);
        Event::SpawnFailed(node, run, error)
    }

    fn bear(
        &mut self,
        node: NodeId,
        run: Run,
        spec: &ProcessSpec,
    ) -> Result<(Process, Option<Awaited>), (StartError, String)> {
        let name = self.world.tree.name(node).unwrap_or_default().to_owned();
        let key = Key { node: node.0, run: run.0 };
        let resources = |what: &str, error: &std::io::Error| {
            (severity(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)), format!("{what}: {error}"))
        };
        self.release_stale(node, &name, spec)
            .map_err(|error| resources("cannot close its old sockets", &error))?;
        let listen = self.listen_sockets(node, spec).map_err(|(what, error)| resources(&what, &error))?;
        if spec.ready.is_some() {
            self.notify_socket(node, run, &name, spec.account.as_ref())
                .map_err(|(what, error)| resources(&what, &error))?;
        }
        let logs = self.outputs.open(node, spec).map_err(|(path, error)| {
            resources(&format!("cannot open its log file {}", path.display()), &error)
        })?;
        let outputs: Result<Vec<Output>, _> = logs.iter().map(Output::open).collect();
        let outputs = outputs.map_err(|error| resources("cannot make a pipe for its output", &error))?;
        outputs.iter().for_each(|output| self.outputs.measure(&name, output.tap.pipe()));
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let mut terminals = [None, None];
        // An ordinary user cannot become another one: the birth tells that.
        let other = births::other_user(spec).filter(|_| nix::unistd::geteuid().is_root());
        if let Some((uid, gid)) = other {
            // Opening `/dev/stdout` opens the pipe once more, which asks for its owner.
            let give = |output: &Output| nix::unistd::fchown(&output.write, Some(uid), Some(gid));
            outputs.iter().try_for_each(give).map_err(|errno| {
                resources("cannot give it the pipe of its output", &std::io::Error::from(errno))
            })?;
            if let config::Output::Inherit = spec.output {
                for (terminal, stream) in terminals.iter_mut().zip([stdout.as_fd(), stderr.as_fd()]) {
                    *terminal = os::terminal::write_only(stream)
                        .map_err(|error| resources("cannot open the terminal for writing alone", &error))?;
                }
            }
        }
        let [out, err] = &terminals;
        let null = self.context.null();
        let stdio = match (outputs.first(), outputs.last(), &spec.output) {
            (Some(first), Some(last), _) => [null, first.write.as_fd(), last.write.as_fd()],
            (_, _, config::Output::Inherit) => [
                null,
                out.as_ref().map_or(stdout.as_fd(), AsFd::as_fd),
                err.as_ref().map_or(stderr.as_fd(), AsFd::as_fd),
            ],
            _ => [null; 3],
        };
        let cell = (node.0, run.0);
        let group = self
            .context
            .cgroups
            .group(cell, &births::group_limits(&spec.limits))
            .map_err(|error| (severity(error.errno), error.to_string()))?;
        let born_ns = os::clock::monotonic_ns();
        let grants = Grants {
            stdio,
            outputs: outputs.iter().map(|output| output.tap.pipe()).collect(),
            listen: listen.iter().map(|socket| socket.as_fd()).collect(),
            group: &group,
            link: &self.link,
            born_ns,
        };
        let birth = births::birth(&self.world.project, &name, spec, key, grants, &self.context)
            .map_err(|sentence| (StartError::Failed, sentence))?;
        let (born, outcome) = match os::spawn::begin(birth, EXEC_PATIENCE) {
            Begun::Done(Ok(born)) => (born, None),
            Begun::Waiting(unborn) => (unborn.born, Some(unborn.outcome)),
            Begun::Done(Err(error)) => {
                // The keeper does the same for those that have registered.
                self.context.cgroups.remove(cell);
                return Err(birth_failed(spec, &error));
            }
        };
        let taps = outputs.into_iter().map(|output| output.tap).collect();
        Ok((Process { run, pid: born.pid, born_ns: Some(born_ns), pidfd: born.pidfd, taps }, outcome))
    }

    /// Sends a signal to the main process of this run. A run that is over needs none: its exit is on its way.
    fn signal_run(&mut self, node: NodeId, run: Run, signal: Signal) {
        if let Some(process) = self.processes.get(&node).filter(|process| process.run == run)
            && let Err(errno) = os::pidfd::ask(process.pidfd.as_fd(), signal.0)
            && errno != Errno::ESRCH
        {
            tracing::warn!(pid = process.pid.as_raw(), signal = signal.0, %errno, "cannot signal a child");
        }
    }

    /// The keeper says that a run ended: its last output is saved and its end noted. `None` for what an earlier supervisor
    /// process has told the rules.
    pub(super) fn exited(&mut self, record: &ExitRecord) -> Option<Ended> {
        let (node, run) = (NodeId(record.key.node), Run(record.key.run));
        let newest = self.processes.get(&node).is_some_and(|process| process.run == run);
        // Of a run that the rules hold to have begun, every end is an exit.
        let unborn = self.unborn.get(&node).filter(|unborn| unborn.run == run).map(|unborn| unborn.by);
        let begun = newest && unborn.is_none();
        let taps = newest.then(|| self.processes.remove(&node)).flatten().map(|process| process.taps);
        self.departures.add(*record, taps);
        match (unborn, record.birth_failed) {
            (None, _) => {}
            // The thread that waits for its exec knows more.
            (Some(By::Us), Some(_)) => return None,
            (Some(By::Earlier), Some(_)) => drop(self.unborn.remove(&node)),
            // Its program ran and has ended before that was told.
            (Some(_), None) => {
                self.unborn.remove(&node);
                self.queue.push_back(Event::Spawned(node, run));
            }
        }
        if let Some((step, errno)) = record.birth_failed.filter(|_| !begun) {
            // Known already, unless the supervisor process that tried was killed in the middle of it.
            if self.reporter.failure(node).is_none() {
                let step = Step::from_number(step)
                    .map_or(format!("take step {step} of its birth"), |it| it.to_string());
                self.reporter.failed(node, format!("cannot {step}: {} ({errno:?})", errno.desc()));
            }
            return Some(Ended::Birth(Event::SpawnFailed(node, run, severity(errno))));
        }
        if self.world.knows_end(node, run) {
            return None;
        }
        let exit = exit_of(record.status);
        if let Some(child) = self.world.tree.spec(node) {
            self.reporter.reaped(node, run, record, exit, level::weight(child, exit));
        }
        Some(Ended::Run(ExitFact { node, run, exit }))
    }
}

/// Lack of resources passes; everything else is a failed attempt.
fn severity(errno: Errno) -> StartError {
    if os::limits::is_shortage(errno) { StartError::NoResources } else { StartError::Failed }
}

pub(super) fn birth_failed(spec: &ProcessSpec, error: &BirthError) -> (StartError, String) {
    let sentence = match error.step {
        Step::Exec => format!("cannot execute {}: {}", spec.program.display(), error.errno.desc()),
        Step::Chdir => format!("cannot change to its folder {}: {}", spec.cwd.display(), error.errno.desc()),
        Step::User | Step::Group | Step::Groups => {
            let who = spec.account.as_ref().map_or(0, |account| account.uid);
            format!("cannot {} (uid {who}): {}", error.step, error.errno.desc())
        }
        step => format!("cannot {step}: {}", error.errno.desc()),
    };
    (severity(error.errno), format!("{sentence} ({:?})", error.errno))
}
