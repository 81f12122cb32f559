//! The control API's requests to a supervisor process that starts nothing.

use std::fs::File;
use std::os::fd::AsFd;

use tokio::sync::mpsc;

use super::{Approved, Safe};
use crate::capture::Source;
use crate::control::{
    self, AboutJson, ApiError, Call, ChildJson, ErrorCode, Member, Request, Response, Role, SupervisorJson,
    TreeJson, UpgradeJson,
};
use crate::os;
use crate::rules::{NodeId, Phase, Restart, Strategy};
use crate::runtime::report::exit_json;
use crate::runtime::supervisor::RuntimeError;
use crate::runtime::world::World;
use crate::runtime::{Journal, outputs, rebuild, upgrade};

impl Safe {
    pub(super) fn answer(
        &mut self,
        call: Call,
        approved: &mpsc::Sender<Approved>,
    ) -> Result<(), RuntimeError> {
        let Call { request, reply } = call;
        let answer = match request {
            Request::Tree => Ok(Response::Tree(self.tree())),
            Request::Members => Ok(Response::Members(self.project.clone(), self.members())),
            Request::Child(name) => self.find(&name).map(|node| Response::Child(self.child(node))),
            Request::Signal(name, number) => self.find(&name).and_then(|node| self.signal(node, number)),
            Request::Stop(name) => match self.find(&name) {
                Ok(node) => {
                    self.replies.entry(node).or_default().push(reply);
                    self.queue.push_back(node);
                    return Ok(());
                }
                Err(error) => Err(error),
            },
            Request::Down => {
                self.stop_all()?;
                Ok(Response::Done)
            }
            Request::Events { since } => Ok(self.reporter.subscribe(since)),
            Request::Health => Ok(Response::Done),
            Request::About => Ok(Response::About(self.about())),
            Request::Upgrade(program) => {
                match self.journal_to_examine() {
                    Ok(journal) => upgrade::examine(program, journal, &self.context, reply, approved.clone()),
                    Err(why) => drop(reply.send(Err(ApiError::new(ErrorCode::BadRequest, why)))),
                }
                return Ok(());
            }
            Request::Logs(name) => self.find(&name).map(|node| Response::Logs(self.sources(node))),
            Request::History => match &self.world {
                Ok(world) => Ok(Response::History(world.project.log_dir.clone())),
                Err(_) => Err(self.refusal()),
            },
            Request::Start(_)
            | Request::Restart(_)
            | Request::Add(_)
            | Request::Remove(_)
            | Request::Scale(..)
            | Request::Plan
            | Request::Reload(_)
            | Request::Why(_)
            | Request::Counts(_) => Err(self.refusal()),
        };
        // A caller that has gone away is no error.
        let _ = reply.send(answer);
        Ok(())
    }

    /// What a program must be able to read: the journal, or one that is made from the config file, as it will do itself, if
    /// that is damaged.
    fn journal_to_examine(&self) -> Result<File, String> {
        let cannot = |error: &dyn std::fmt::Display| format!("cannot make a journal to try it with: {error}");
        if self.world.is_ok() {
            return self.journal.try_clone().map_err(|error| cannot(&error));
        }
        let project =
            rebuild::project().map_err(|why| format!("{}; {why}; mend the file first", self.why))?;
        let world = World::new(project).map_err(|error| format!("the tree is not acceptable: {error:?}"))?;
        let file = File::from(os::memfd::create(c"provost-journal").map_err(|error| cannot(&error))?);
        let fd = file.try_clone().map_err(|error| cannot(&error))?;
        Journal::create(fd.into(), &world).map_err(|error| cannot(&error))?;
        Ok(file)
    }

    fn find(&self, name: &str) -> Result<NodeId, ApiError> {
        let found = self.children.keys().find(|node| self.name(**node) == name);
        found.copied().ok_or_else(|| {
            let message =
                format!("there is no child {name:?} that was running; provost tree lists those that were");
            ApiError::new(ErrorCode::NotFound, message)
        })
    }

    /// Where its output goes; nowhere, as far as is known without a world.
    fn sources(&self, node: NodeId) -> Vec<Source> {
        let spec = self.world.as_ref().ok().and_then(|world| world.process(node));
        outputs::sources(spec.map(|spec| &spec.output), &self.name(node))
    }

    fn refusal(&self) -> ApiError {
        let advice = match &self.world {
            Ok(_) => "put a program there that works: provost upgrade, or end it: provost down",
            Err(_) => {
                "mend the config file if that is damaged too, then: provost upgrade; or end it: provost down"
            }
        };
        ApiError::new(ErrorCode::NotPermitted, format!("{}; nothing is started; {advice}", self.why))
    }

    fn signal(&self, node: NodeId, number: i32) -> Result<Response, ApiError> {
        let name = self.name(node);
        let held = self.children.get(&node).filter(|held| held.exit.is_none());
        match held.map(|held| os::pidfd::signal(held.pidfd.as_fd(), number)) {
            Some(Ok(())) => Ok(Response::Child(self.child(node))),
            Some(Err(errno)) => {
                Err(ApiError::new(ErrorCode::NotPermitted, format!("cannot signal {name}: {}", errno.desc())))
            }
            None => Err(ApiError::new(ErrorCode::NotRunning, format!("{name} has ended"))),
        }
    }

    fn about(&self) -> AboutJson {
        AboutJson {
            version: control::VERSION,
            project: self.project.clone(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id().cast_signed(),
            incarnation: self.incarnation,
            safe_mode: Some(self.why.clone()),
            upgrade: self.failed_upgrade.map(|status| UpgradeJson::failed(self.incarnation, status)),
            ignored_notifications: 0,
        }
    }

    /// All that were running, side by side: what is known of the tree may be out of date.
    fn tree(&self) -> TreeJson {
        let children = self.children.keys().map(|node| self.child(*node)).collect();
        let root = ChildJson {
            name: self.project.clone(),
            kind: "supervisor".to_owned(),
            restart: Restart::Temporary,
            significant: false,
            phase: if self.down { Phase::Stopping } else { Phase::Running },
            pid: None,
            run: 1,
            restarts: 0,
            last_exit: None,
            left_behind: None,
            spec: None,
            supervisor: Some(SupervisorJson {
                strategy: Strategy::OneForOne,
                intensity: 0,
                period_ms: 0,
                restarts_left: 0,
                children,
            }),
        };
        TreeJson { version: control::VERSION, project: self.project.clone(), root }
    }

    pub(super) fn child(&self, node: NodeId) -> ChildJson {
        let held = self.children.get(&node);
        let spec = self.world.as_ref().ok().and_then(|world| world.tree.spec(node));
        let alive = held.filter(|held| held.exit.is_none());
        ChildJson {
            name: self.name(node),
            kind: "worker".to_owned(),
            restart: spec.map_or(Restart::Temporary, |spec| spec.restart),
            significant: spec.is_some_and(|spec| spec.significant),
            phase: if alive.is_some() { Phase::Running } else { Phase::Exited },
            pid: alive.map(|held| held.pid.as_raw()),
            run: held.map_or(0, |held| held.run.0),
            restarts: 0,
            last_exit: held.and_then(|held| held.exit).map(exit_json),
            left_behind: None,
            spec: None,
            supervisor: None,
        }
    }

    fn members(&self) -> Vec<Member> {
        let member = |name: String, role, phase, pid, run| Member {
            name,
            role,
            phase,
            pid,
            run,
            restarts: 0,
            marks: None,
        };
        let own = std::process::id().cast_signed();
        let mut members = vec![
            member("keeper".into(), Role::Keeper, None, Some(self.link.keeper().as_raw()), 1),
            member("supervisor".into(), Role::Supervisor, None, Some(own), self.incarnation),
        ];
        members.extend(self.children.keys().map(|node| {
            let child = self.child(*node);
            member(child.name, Role::Child, Some(child.phase), child.pid, child.run)
        }));
        members
    }
}
