//! The control API's requests: reading ones are answered from the world, changing ones become calls of the rules.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::extras::Offer;
use super::outputs;
use super::reload::Purpose;
use super::report::exit_json;
use super::requests::{Answer, Way, error, gone};
use super::supervisor::{RuntimeError, Supervisor};
use super::upgrade;
use crate::capture::Source;
use crate::control::{
    self, AboutJson, ApiError, BrutalKill, Call, ChildJson, ErrorCode, Marks, Member, OutputState, Request,
    Response, Role, ShutdownJson, SpecJson, StepJson, SupervisorJson, TreeJson, UpgradeJson,
};
use crate::keeper::KEY_VARIABLE;
use crate::os;
use crate::rules::{self, Event, Exit, ExitFact, NodeId, Shutdown, Signal, StopStep, View};
use crate::suggest::nearest;

impl Supervisor {
    /// Answers a request now, or hands it to the rules, whose reply answers it.
    pub(super) fn answer(&mut self, call: Call) -> Result<(), RuntimeError> {
        let Call { request, reply } = call;
        let answer = match request {
            Request::Tree => Ok(Response::Tree(self.tree())),
            Request::Members => Ok(Response::Members(self.world.project.name.clone(), self.members())),
            Request::Child(name) => self.status(&name),
            Request::Logs(name) => self.find(&name).map(|node| Response::Logs(self.log_sources(node, &name))),
            Request::History => Ok(Response::History(self.world.project.log_dir.clone())),
            Request::Signal(name, signal) => self.signal_node(&name, signal)?,
            Request::Start(name) => return self.ask(&name, rules::Call::RestartChild, reply),
            Request::Stop(name) => return self.stop(&name, reply),
            Request::Restart(name) => return self.ask(&name, rules::Call::CycleChild, reply),
            Request::Remove(name) => return self.ask(&name, rules::Call::DeleteChild, reply),
            Request::Add(add) => return self.add(add, reply),
            Request::Scale(name, instances) => return self.scale(&name, instances, reply),
            Request::Plan => {
                self.read_file(Purpose::Plan, reply);
                return Ok(());
            }
            Request::Reload(apply) => {
                self.read_file(Purpose::Reload(apply), reply);
                return Ok(());
            }
            Request::Why(name) => self.why(&name).map(|why| Response::Why(Box::new(why))),
            Request::Counts(supervisor) => self.counts(supervisor.as_deref()).map(Response::Counts),
            Request::Down => {
                // Remembered before it is answered: the caller waits for the end from now on.
                self.handle(Event::Stop)?;
                Ok(Response::Done)
            }
            Request::Events { since } => Ok(self.reporter.subscribe(since)),
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

    /// Stops a child. An instance that is gone already is stopped (OTP: the same of an instance's pid).
    fn stop(&mut self, name: &str, way: Way) -> Result<(), RuntimeError> {
        if self.world.tree.find(name).is_none() && self.world.extras.was_instance(name) {
            let _ = way.send(Ok(Response::Child(gone(name, None))));
            return Ok(());
        }
        self.ask(name, rules::Call::TerminateChild, way)
    }

    /// Makes a call about a child that exists.
    fn ask(
        &mut self,
        name: &str,
        call: impl FnOnce(NodeId) -> rules::Call,
        way: Way,
    ) -> Result<(), RuntimeError> {
        match self.find(name) {
            Ok(node) => self.call(name, call(node), Offer::Nothing, way),
            Err(error) => {
                let _ = way.send(Err(error));
                Ok(())
            }
        }
    }

    /// A node by name, or "did you mean".
    pub(super) fn find(&self, name: &str) -> Result<NodeId, ApiError> {
        self.world.tree.find(name).ok_or_else(|| {
            let view = self.world.tree.view(self.world.now());
            let mut names = Vec::new();
            collect_names(&view, &mut names);
            let hint = match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "provost tree lists all names".to_owned(),
            };
            error(ErrorCode::NotFound, name, format!("there is no child {name:?}; {hint}"))
        })
    }

    /// A child gets the signal. A supervisor has no process of its own; KILL means what it means to one in OTP.
    fn signal_node(&mut self, name: &str, signal: i32) -> Result<Answer, RuntimeError> {
        let view = self.world.tree.view(self.world.now());
        let node = self.world.tree.find(name).and_then(|node| find_view(&view, node));
        match node {
            Some(node) if node.supervisor.is_some() && node.phase.is_active() && signal == libc::SIGKILL => {
                let exit = Exit::Signal { signal: Signal(signal), core: false };
                self.handle(Event::Exited(vec![ExitFact { node: node.id, run: node.run, exit }]))?;
                Ok(Ok(Response::Child(self.node(node.id))))
            }
            _ => Ok(self.signal_child(name, signal)),
        }
    }

    fn status(&self, name: &str) -> Answer {
        let node = self.find(name)?;
        let child = self.node_with_spec(node);
        let spec = self.world.process(node);
        let (stalled, stalls) = spec.map(|spec| self.outputs.stalls(spec)).unwrap_or_default();
        let sources = self.log_sources(node, name);
        let log_dir = self.world.project.log_dir.clone();
        Ok(Response::Status(child, OutputState { log_dir, sources, stalled, stalls }))
    }

    fn log_sources(&self, node: NodeId, name: &str) -> Vec<Source> {
        outputs::sources(self.world.process(node).map(|spec| &spec.output), name)
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

    fn tree(&self) -> TreeJson {
        let view = self.world.tree.view(self.world.now());
        let mut root = self.child_json(&view);
        root.name.clone_from(&self.world.project.name);
        TreeJson { version: control::VERSION, project: self.world.project.name.clone(), root }
    }

    fn child(&self, name: &str) -> Result<ChildJson, ApiError> {
        self.find(name).map(|node| self.node(node))
    }

    fn node_with_spec(&self, node: NodeId) -> ChildJson {
        let spec = self.world.tree.spec(node).map(|spec| {
            let command = self.world.process(node).map(|process| process.argv.clone());
            Box::new(SpecJson { command, shutdown: shutdown_json(&spec.shutdown) })
        });
        ChildJson { spec, ..self.node(node) }
    }

    pub(super) fn node(&self, node: NodeId) -> ChildJson {
        let view = self.world.tree.view(self.world.now());
        match find_view(&view, node) {
            Some(view) => self.child_json(view),
            None => gone(self.world.tree.name(node).unwrap_or_default(), None),
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
            left_behind: self.reporter.left_by(view.id),
            spec: None,
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
        let upgrade = self.world.upgrade.as_ref().map(|upgrade| match upgrade.outcome {
            Ok(_) => UpgradeJson { incarnation: upgrade.incarnation, failure: None },
            Err(status) => UpgradeJson::failed(upgrade.incarnation, status),
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
            marks: None,
        };
        let mut members = vec![
            own("keeper", Role::Keeper, self.link.keeper().as_raw(), 1),
            own("supervisor", Role::Supervisor, std::process::id().cast_signed(), self.incarnation),
        ];
        members[1].restarts = self.incarnation.saturating_sub(1);
        self.add_workers(&self.world.tree.view(self.world.now()), &mut members);
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
                marks: Some(Marks {
                    group: format!("/{}/{}.", self.context.home_name, view.id.0),
                    entry: format!("{KEY_VARIABLE}={}.{}.", self.link.keeper(), view.id.0),
                }),
            });
        };
        supervisor.children.iter().for_each(|child| self.add_workers(child, members));
    }
}

pub(super) fn find_view(view: &View, node: NodeId) -> Option<&View> {
    if view.id == node {
        return Some(view);
    }
    view.supervisor
        .iter()
        .flat_map(|supervisor| &supervisor.children)
        .find_map(|child| find_view(child, node))
}

fn shutdown_json(shutdown: &Shutdown) -> ShutdownJson {
    let step = |step: &StopStep| StepJson {
        signal: os::signals::name(step.signal.0),
        wait_ms: step.wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    };
    match shutdown {
        Shutdown::BrutalKill => ShutdownJson::Word(BrutalKill::BrutalKill),
        Shutdown::Polite(steps) => ShutdownJson::Steps(steps.iter().map(step).collect()),
    }
}

fn collect_names(view: &View, names: &mut Vec<String>) {
    for child in view.supervisor.iter().flat_map(|supervisor| &supervisor.children) {
        names.push(child.name.clone());
        collect_names(child, names);
    }
}
