//! The control API's requests: reading ones are answered from the world, changing ones become calls of the rules.

use std::os::fd::AsFd;

use nix::errno::Errno;
use tokio::sync::oneshot;

use super::outputs;
use super::report::exit_json;
use super::supervisor::{RuntimeError, Supervisor, now};
use super::upgrade;
use crate::control::{
    self, AboutJson, ApiError, Call, ChildJson, ErrorCode, Member, OutputState, Request, Response, Role,
    SupervisorJson, TreeJson, UpgradeJson,
};
use crate::os;
use crate::rules::{self, Event, NodeId, Phase, Refusal, Reply, Ticket, View};

type Answer = Result<Response, ApiError>;

impl Supervisor {
    /// Answers a request now, or hands it to the rules, whose reply answers it.
    pub(super) fn answer(&mut self, call: Call) -> Result<(), RuntimeError> {
        let Call { request, reply } = call;
        let answer = match request {
            Request::Tree => Ok(Response::Tree(self.tree())),
            Request::Members => Ok(Response::Members(self.world.project.name.clone(), self.members())),
            Request::Child(name) => self.status(&name),
            Request::Logs(name) => {
                self.find(&name).map(|_| Response::Logs(outputs::sources(&self.world.project, &name)))
            }
            Request::History => Ok(Response::History(self.world.project.log_dir.clone())),
            Request::Signal(name, signal) => self.signal_child(&name, signal),
            Request::Start(name) => return self.ask(&name, rules::Call::RestartChild, reply),
            Request::Stop(name) => return self.ask(&name, rules::Call::TerminateChild, reply),
            Request::Restart(name) => return self.ask(&name, rules::Call::CycleChild, reply),
            Request::Down => {
                // Remembered before it is answered: the caller waits for the end from now on.
                self.handle(Event::Stop)?;
                Ok(Response::Done)
            }
            Request::Events => Ok(Response::Events(self.reporter.subscribe())),
            Request::Health => Ok(Response::Done),
            Request::About => Ok(Response::About(self.about())),
            Request::Upgrade(program) => {
                let journal = self.journal.file()?;
                upgrade::examine(program, journal, &self.context, reply, self.approved.clone());
                return Ok(());
            }
        };
        // A caller that has gone away is no error.
        let _ = reply.send(answer);
        Ok(())
    }

    fn ask(
        &mut self,
        name: &str,
        call: impl FnOnce(NodeId) -> rules::Call,
        reply: oneshot::Sender<Answer>,
    ) -> Result<(), RuntimeError> {
        match self.find(name) {
            Ok(node) => {
                self.tickets += 1;
                let ticket = Ticket(self.tickets);
                self.replies.insert(ticket, (name.to_owned(), reply));
                self.handle(Event::Request(ticket, call(node)))
            }
            Err(error) => {
                let _ = reply.send(Err(error));
                Ok(())
            }
        }
    }

    /// The rules have answered a request. One made to an earlier supervisor process has nobody waiting any more.
    pub(super) fn reply(&mut self, ticket: Ticket, result: Result<Reply, Refusal>) {
        let Some((name, reply)) = self.replies.remove(&ticket) else { return };
        let answer = match result {
            Ok(Reply::Started(node, _) | Reply::NoProcess(Some(node))) => Ok(self.node(node)),
            Ok(Reply::Done) if self.world.tree.find(&name).is_some() => self.child(&name),
            Ok(Reply::Done | Reply::NoProcess(None)) => Ok(gone(&name)),
            Err(refusal) => Err(self.refused(&name, &refusal)),
        };
        let _ = reply.send(answer.map(Response::Child));
    }

    /// A node by name, or "did you mean".
    fn find(&self, name: &str) -> Result<NodeId, ApiError> {
        self.world.tree.find(name).ok_or_else(|| {
            let view = self.world.tree.view(now());
            let mut names = Vec::new();
            collect_names(&view, &mut names);
            let hint = match control::suggest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "provost tree lists all names".to_owned(),
            };
            error(ErrorCode::NotFound, name, format!("there is no child {name:?}; {hint}"))
        })
    }

    fn status(&self, name: &str) -> Answer {
        let child = self.child(name)?;
        let spec = self.world.project.processes.get(name);
        let (stalled, stalls) = spec.map(|spec| self.outputs.stalls(spec)).unwrap_or_default();
        let sources = outputs::sources(&self.world.project, name);
        let log_dir = self.world.project.log_dir.clone();
        Ok(Response::Status(child, OutputState { log_dir, sources, stalled, stalls }))
    }

    fn signal_child(&self, name: &str, signal: i32) -> Answer {
        let node = self.find(name)?;
        let Some(process) = self.processes.get(&node) else {
            let message = format!("{name} has no process to signal; start it with: provost start {name}");
            return Err(error(ErrorCode::NotRunning, name, message));
        };
        match os::pidfd::signal(process.pidfd.as_fd(), signal) {
            Ok(()) => Ok(Response::Child(self.child(name)?)),
            Err(Errno::ESRCH) => Err(error(
                ErrorCode::NotRunning,
                name,
                format!("{name} has ended already; nothing was signalled"),
            )),
            Err(Errno::EINVAL) => {
                Err(error(ErrorCode::BadRequest, name, format!("there is no signal {signal}; see kill -l")))
            }
            Err(errno) => {
                Err(error(ErrorCode::NotPermitted, name, format!("cannot signal {name}: {}", errno.desc())))
            }
        }
    }

    fn refused(&self, name: &str, refusal: &Refusal) -> ApiError {
        let (code, message) = match refusal {
            Refusal::NotFound => (ErrorCode::NotFound, format!("there is no child {name:?}")),
            Refusal::AlreadyStarted(_) => (ErrorCode::AlreadyStarted, format!("{name} is running already")),
            Refusal::AlreadyPresent(_) => (
                ErrorCode::AlreadyPresent,
                format!("{name} exists already, without a process; start it with: provost start {name}"),
            ),
            Refusal::Running => {
                (ErrorCode::Running, format!("{name} is running; to start it anew: provost restart {name}"))
            }
            Refusal::Restarting => (
                ErrorCode::Restarting,
                format!("{name} is being restarted; to cancel that: provost stop {name}"),
            ),
            Refusal::StartFailed(_) => {
                let node = self.world.tree.find(name);
                let why = node
                    .and_then(|node| self.reporter.failure(node))
                    .unwrap_or("it ended before it was ready");
                (ErrorCode::StartFailed, format!("could not start {name}: {why}"))
            }
            Refusal::SimpleOneForOne => (
                ErrorCode::BadRequest,
                format!("{name} belongs to a simple_one_for_one supervisor; stop it instead"),
            ),
            Refusal::BadSpec(_) => {
                (ErrorCode::BadRequest, format!("the specification of {name} is not acceptable"))
            }
            Refusal::Stuck => (
                ErrorCode::Timeout,
                format!(
                    "{name} does not die: it waits in the kernel; nothing of it is started before it is gone"
                ),
            ),
            Refusal::SupervisorStopped => {
                (ErrorCode::Internal, format!("the supervisor of {name} ended before it could answer"))
            }
        };
        error(code, name, message)
    }

    fn tree(&self) -> TreeJson {
        let view = self.world.tree.view(now());
        let mut root = self.child_json(&view);
        root.name.clone_from(&self.world.project.name);
        TreeJson { version: control::VERSION, project: self.world.project.name.clone(), root }
    }

    fn child(&self, name: &str) -> Result<ChildJson, ApiError> {
        self.find(name).map(|node| self.node(node))
    }

    fn node(&self, node: NodeId) -> ChildJson {
        let view = self.world.tree.view(now());
        match find_view(&view, node) {
            Some(view) => self.child_json(view),
            None => gone(self.world.tree.name(node).unwrap_or_default()),
        }
    }

    fn child_json(&self, view: &View) -> ChildJson {
        ChildJson {
            name: view.name.clone(),
            kind: if view.supervisor.is_some() { "supervisor" } else { "worker" }.to_owned(),
            restart: view.restart,
            significant: view.significant,
            phase: view.phase,
            pid: self.processes.get(&view.id).map(|process| process.pid.as_raw()),
            run: view.run.0,
            restarts: view.restarts,
            last_exit: self.world.last_exits.get(&view.id).map(|(_, exit)| exit_json(*exit)),
            supervisor: view.supervisor.as_ref().map(|supervisor| SupervisorJson {
                strategy: supervisor.flags.strategy,
                intensity: supervisor.flags.intensity,
                period_ms: u64::try_from(supervisor.flags.period.as_millis()).unwrap_or(u64::MAX),
                restarts_left: supervisor.restarts_left,
                children: supervisor.children.iter().map(|child| self.child_json(child)).collect(),
            }),
        }
    }

    fn about(&self) -> AboutJson {
        let upgrade = self.world.upgrade.as_ref().map(|upgrade| UpgradeJson {
            incarnation: upgrade.incarnation,
            failure: upgrade.outcome.as_ref().err().map(|status| {
                format!("the new program ended with {} before it had taken over", os::wait::describe(*status))
            }),
        });
        AboutJson {
            version: control::VERSION,
            project: self.world.project.name.clone(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id().cast_signed(),
            incarnation: self.incarnation,
            safe_mode: None,
            upgrade,
            ignored_notifications: self.ignored_notifications,
        }
    }

    /// Who should stand in the process table: keeper, supervisor process, and the workers in the tree's order.
    pub(super) fn members(&self) -> Vec<Member> {
        let own = |name: &str, role, pid, run| Member {
            name: name.to_owned(),
            role,
            phase: None,
            pid: Some(pid),
            run,
            restarts: 0,
        };
        let mut members = vec![
            own("keeper", Role::Keeper, self.link.keeper().as_raw(), 1),
            own("supervisor", Role::Supervisor, std::process::id().cast_signed(), self.incarnation),
        ];
        members[1].restarts = self.incarnation.saturating_sub(1);
        self.add_workers(&self.world.tree.view(now()), &mut members);
        members
    }

    fn add_workers(&self, view: &View, members: &mut Vec<Member>) {
        let Some(supervisor) = &view.supervisor else {
            return members.push(Member {
                name: view.name.clone(),
                role: Role::Child,
                phase: Some(view.phase),
                pid: self.processes.get(&view.id).map(|process| process.pid.as_raw()),
                run: view.run.0,
                restarts: view.restarts,
            });
        };
        supervisor.children.iter().for_each(|child| self.add_workers(child, members));
    }
}

fn find_view(view: &View, node: NodeId) -> Option<&View> {
    if view.id == node {
        return Some(view);
    }
    view.supervisor
        .iter()
        .flat_map(|supervisor| &supervisor.children)
        .find_map(|child| find_view(child, node))
}

fn collect_names(view: &View, names: &mut Vec<String>) {
    for child in view.supervisor.iter().flat_map(|supervisor| &supervisor.children) {
        names.push(child.name.clone());
        collect_names(child, names);
    }
}

/// A child whose specification went with its process (temporary).
fn gone(name: &str) -> ChildJson {
    ChildJson {
        name: name.to_owned(),
        kind: "worker".to_owned(),
        restart: rules::Restart::Temporary,
        significant: false,
        phase: Phase::Stopped,
        pid: None,
        run: 0,
        restarts: 0,
        last_exit: None,
        supervisor: None,
    }
}

fn error(code: ErrorCode, name: &str, message: String) -> ApiError {
    ApiError { code, message, name: Some(name.to_owned()) }
}
