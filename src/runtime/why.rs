//! Why a child is where it is: the rules' own state, and what was told about it.

use std::time::Duration;

use super::answer::find_view;
use super::report::exit_json;
use super::supervisor::Supervisor;
use super::world::Rest;
use crate::control::{self, ApiError, Reason, WhyJson};
use crate::os::proc;
use crate::rules::{Moment, NodeId, Phase, View, Why};

impl Supervisor {
    pub(super) fn why(&self, name: &str) -> Result<WhyJson, ApiError> {
        let node = self.find(name)?;
        let now = self.world.now();
        let tree = &self.world.tree;
        let Some(why) = tree.why(now, node) else {
            return Err(self.refused(name, &crate::rules::Refusal::NotFound));
        };
        let view = tree.view(now);
        let parent = parent_of(&view, node).unwrap_or(&view);
        let process = self.processes.get(&node);
        let run = self.node(node).run;
        let left = |until: Option<Moment>| until.map(|until| millis(until.since(now)));
        Ok(WhyJson {
            version: control::VERSION,
            name: name.to_owned(),
            phase: why.phase,
            reason: self.reason(node, &why),
            run,
            pid: process.map(|process| process.pid.as_raw()),
            uptime_ms: process.and_then(|process| uptime(process.pid.as_raw())),
            waits_for: why.waits_for.and_then(|node| tree.name(node)).map(str::to_owned),
            until_ms: left(why.until),
            unkillable: self.unkillable(name),
            last_exit: self.world.last_exits.get(&node).map(|(_, exit)| exit_json(*exit)),
            last_failure: self.reporter.failure(node).map(str::to_owned),
            supervisor: (parent.id != node).then(|| match parent.name.as_str() {
                "" => self.world.project.name.clone(),
                name => name.to_owned(),
            }),
            restarts_left: why.restarts_left,
            intensity: parent.supervisor.as_ref().map_or(0, |supervisor| supervisor.flags.intensity),
            period_ms: millis(why.period),
            window_moves_ms: left(why.window_moves_at),
        })
    }

    /// Which processes of this child, or below it, were killed and are still there; `None`: none that counts as stuck.
    pub(super) fn unkillable(&self, name: &str) -> Option<String> {
        let view = self.world.tree.view(self.world.now());
        let below = find_view(&view, self.world.tree.find(name)?)?;
        let mut stuck = Vec::new();
        self.collect_stuck(below, &mut stuck);
        (!stuck.is_empty()).then(|| stuck.join(", "))
    }

    fn collect_stuck(&self, view: &View, stuck: &mut Vec<String>) {
        let is_stuck = self.world.tree.why(self.world.now(), view.id).is_some_and(|why| why.stuck);
        if let Some(process) = self.processes.get(&view.id).filter(|_| is_stuck) {
            stuck.push(unkillable(process.pid.as_raw()));
        }
        let children = view.supervisor.iter().flat_map(|supervisor| &supervisor.children);
        children.for_each(|child| self.collect_stuck(child, stuck));
    }

    fn reason(&self, node: NodeId, why: &Why) -> Reason {
        match why.phase {
            Phase::Running | Phase::Ready => Reason::Runs,
            Phase::Starting => Reason::Starts,
            Phase::Waiting => Reason::WaitsForTurn,
            Phase::Backoff => Reason::Backoff,
            Phase::Restarting => Reason::Restarts,
            Phase::Unhealthy => Reason::Unhealthy,
            Phase::Stopping => Reason::Stops,
            // It is to be started by the round that stopped it.
            Phase::Stopped if why.waits_for.is_some() => Reason::Restarts,
            Phase::Stopped => match self.world.rests.get(&node) {
                Some(Rest::Requested) => Reason::StoppedByRequest,
                Some(Rest::Stopped) => Reason::StoppedBySupervisor,
                Some(Rest::Ignored) => Reason::Ignored,
                Some(Rest::Failed) => Reason::StartFailed,
                Some(Rest::Lost) => Reason::StateLost,
                None => Reason::Added,
            },
            Phase::Exited => Reason::Ended,
            Phase::Failed => Reason::GivenUp,
        }
    }
}

fn parent_of(view: &View, node: NodeId) -> Option<&View> {
    let children = &view.supervisor.as_ref()?.children;
    if children.iter().any(|child| child.id == node) {
        return Some(view);
    }
    children.iter().find_map(|child| parent_of(child, node))
}

/// A killed process that is still there, and the state that the kernel has it in.
pub(super) fn unkillable(pid: i32) -> String {
    let state = match proc::Process::read(pid).map(|process| process.state) {
        Some('D') => "D (it waits in the kernel, or is frozen)".to_owned(),
        Some(state) => state.to_string(),
        None => "unknown".to_owned(),
    };
    format!("PID {pid} was killed and is still there, in state {state}")
}

fn uptime(pid: i32) -> Option<u64> {
    let (process, clock) = (proc::Process::read(pid)?, proc::Clock::now().ok()?);
    Some(millis(clock.uptime(&process)))
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
