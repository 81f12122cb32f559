//! Requests that the rules answer: who waits for which answer, and how an answer is worded.

use std::mem;

use tokio::sync::oneshot;

use super::extras::Offer;
use super::series::{Plan, SeriesId, SeriesStep, deed};
use super::supervisor::{RuntimeError, Supervisor};
use super::world::Record;
use crate::config;
use crate::control::{ApiError, ChildJson, Deed, ErrorCode, OutcomeJson, Response};
use crate::rules::{self, Call, Phase, Refusal, Reply, SpecError, Ticket};

/// The answer to a request.
pub(super) type Answer = Result<Response, ApiError>;

/// The way back to the one who asked. A caller that has gone away is no error.
pub(super) type Way = oneshot::Sender<Answer>;

/// Who waits for a reply of the rules.
pub(super) enum Waiting {
    /// A caller, who is told of this child; how it looked before.
    Caller { name: String, before: Option<Box<ChildJson>>, way: Way },
    /// A series.
    Series { id: SeriesId, name: String, deed: Option<Deed> },
}

/// Who waits for the end of a series, and what has been done so far.
pub(super) struct SeriesCaller {
    way: Way,
    done: Vec<OutcomeJson>,
    /// Makes the answer of what was done.
    answer: Box<dyn FnOnce(Vec<OutcomeJson>) -> Response>,
}

impl Supervisor {
    /// Makes a call about a child of this name.
    pub(super) fn call(
        &mut self,
        name: &str,
        call: Call,
        offer: Offer,
        way: Way,
    ) -> Result<(), RuntimeError> {
        let ticket = Ticket(self.number());
        let before = self.world.tree.find(name).map(|node| Box::new(self.node(node)));
        self.replies.insert(ticket, Waiting::Caller { name: name.to_owned(), before, way });
        let now = self.tell_time()?;
        self.take(Record::Call(now, ticket, Box::new(call), offer))
    }

    /// A number for a call or a series.
    pub(super) fn number(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Begins a series.
    pub(super) fn begin_series(
        &mut self,
        plan: Plan,
        way: Way,
        answer: impl FnOnce(Vec<OutcomeJson>) -> Response + 'static,
    ) -> Result<(), RuntimeError> {
        let id = plan.id;
        self.callers.insert(id, SeriesCaller { way, done: Vec::new(), answer: Box::new(answer) });
        self.take(Record::Begin(plan))?;
        self.end_series(id);
        Ok(())
    }

    /// Who waits for a series that began elsewhere.
    pub(super) fn await_series(
        &mut self,
        id: SeriesId,
        way: Way,
        answer: impl FnOnce(Vec<OutcomeJson>) -> Response + 'static,
    ) {
        self.callers.insert(id, SeriesCaller { way, done: Vec::new(), answer: Box::new(answer) });
        self.end_series(id);
    }

    /// Makes the calls that are due in series.
    pub(super) fn go_on_with_series(&mut self) -> Result<(), RuntimeError> {
        while self.world.finished.is_none()
            && let Some((id, SeriesStep { call, .. })) = self.world.due()
        {
            let (name, deed) = (self.subject(call), deed(call));
            let ticket = Ticket(self.number());
            self.replies.insert(ticket, Waiting::Series { id, name, deed });
            let now = self.tell_time()?;
            self.take(Record::Next(now, ticket, id))?;
        }
        Ok(())
    }

    /// The rules have answered. A request made to an earlier supervisor process has nobody waiting any more.
    pub(super) fn reply(&mut self, ticket: Ticket, result: Result<Reply, Refusal>) {
        match self.replies.remove(&ticket) {
            Some(Waiting::Caller { name, before, way }) => {
                let answer = match result {
                    Ok(Reply::Started(node, _) | Reply::NoProcess(Some(node))) => Ok(self.node(node)),
                    Ok(Reply::Done | Reply::NoProcess(None)) => Ok(match self.world.tree.find(&name) {
                        Some(node) => self.node(node),
                        None => gone(&name, before.map(|before| *before)),
                    }),
                    Err(refusal) => Err(self.refused(&name, &refusal)),
                };
                let _ = way.send(answer.map(Response::Child));
            }
            Some(Waiting::Series { id, name, deed }) => {
                self.outcome(id, name, deed, result);
                self.end_series(id);
            }
            None => {}
        }
    }

    fn outcome(&mut self, id: SeriesId, name: String, deed: Option<Deed>, result: Result<Reply, Refusal>) {
        // A child that went with its process needs no removal any more.
        let error =
            result.err().filter(|refusal| deed != Some(Deed::Removed) || *refusal != Refusal::NotFound);
        let error = error.map(|refusal| self.refused(&name, &refusal));
        let Some(deed) = deed.or_else(|| error.as_ref().map(|_| Deed::Stopped)) else { return };
        let pid =
            self.world.tree.find(&name).and_then(|node| self.processes.get(&node)).map(|it| it.pid.as_raw());
        if let Some(caller) = self.callers.get_mut(&id)
            && !caller.done.iter().any(|done| done.name == name && done.error.is_some())
        {
            caller.done.push(OutcomeJson { name, deed, pid, error });
        }
    }

    /// Answers the one who waits for a series, if it is over.
    fn end_series(&mut self, id: SeriesId) {
        if !self.world.series.contains_key(&id)
            && let Some(mut caller) = self.callers.remove(&id)
        {
            let done = mem::take(&mut caller.done);
            let _ = caller.way.send(Ok((caller.answer)(done)));
        }
    }

    /// The name of the child that a call is about.
    fn subject(&self, call: &Call) -> String {
        match call {
            Call::StartChild(_, child) => child.name.clone(),
            Call::StartInstance(_, name) => name.clone(),
            Call::TerminateChild(node)
            | Call::RestartChild(node)
            | Call::DeleteChild(node)
            | Call::CycleChild(node) => self.reporter.name(&self.world.tree, *node),
            Call::Reload(_) => self.world.project.name.clone(),
        }
    }

    /// A refusal in the words of the API.
    pub(super) fn refused(&self, name: &str, refusal: &Refusal) -> ApiError {
        let (code, message) = match refusal {
            Refusal::NotFound => (ErrorCode::NotFound, format!("there is no child {name:?}")),
            Refusal::AlreadyStarted(_) => (ErrorCode::AlreadyStarted, format!("{name} is running already")),
            Refusal::AlreadyPresent(_) => (
                ErrorCode::AlreadyPresent,
                format!("{name} exists already, without a process; start it with: provost start {name}"),
            ),
            Refusal::Running if self.unkillable(name).is_some() => {
                return self.refused(name, &Refusal::Stuck);
            }
            Refusal::Running => (
                ErrorCode::Running,
                format!(
                    "{name} is running; to stop it: provost stop {name}, to start it anew: provost restart {name}"
                ),
            ),
            Refusal::Restarting => (
                ErrorCode::Restarting,
                format!("{name} is being restarted; to cancel that: provost stop {name}"),
            ),
            Refusal::StartFailed(_) => {
                let why = self.reporter.failure_of(name).unwrap_or("it ended before it was ready");
                (ErrorCode::StartFailed, format!("could not start {name}: {why}"))
            }
            Refusal::SimpleOneForOne => (
                ErrorCode::BadRequest,
                format!(
                    "{name} belongs to a simple_one_for_one supervisor, whose children are only added and stopped: \
                     provost add --parent SUPERVISOR -- ARGS, provost stop NAME"
                ),
            ),
            Refusal::BadSpec(SpecError::DuplicateName(taken)) => return self.name_taken(taken),
            Refusal::BadSpec(error) => {
                let (message, hint) = config::explain(error);
                (ErrorCode::BadRequest, format!("{message}; {hint}"))
            }
            Refusal::Stuck => (
                ErrorCode::Timeout,
                format!(
                    "{name} does not die: {}; nothing of it is started before that is gone",
                    self.unkillable(name).unwrap_or_else(|| "it was killed and is still there".into())
                ),
            ),
            Refusal::SupervisorStopped => {
                (ErrorCode::NotRunning, format!("the supervisor of {name} is not running, or has just ended"))
            }
        };
        error(code, name, message)
    }

    /// A name is unique in the whole project, so it is taken also by a child of another supervisor. The words are OTP's for
    /// a child of the same one.
    fn name_taken(&self, name: &str) -> ApiError {
        let Some(node) = self.world.tree.find(name) else {
            let message = format!(
                "{name} was removed, and comes back when its supervisor starts anew; take another name"
            );
            return error(ErrorCode::AlreadyPresent, name, message);
        };
        let elsewhere = "names are unique in the whole project";
        if self.node(node).phase.is_active() {
            error(
                ErrorCode::AlreadyStarted,
                name,
                format!("{name} is running already, elsewhere in the tree; {elsewhere}"),
            )
        } else {
            error(
                ErrorCode::AlreadyPresent,
                name,
                format!("{name} exists already, elsewhere in the tree; {elsewhere}"),
            )
        }
    }
}

/// A child that is not there any more; as it was, if that is known.
pub(super) fn gone(name: &str, before: Option<ChildJson>) -> ChildJson {
    let unknown = || ChildJson {
        name: name.to_owned(),
        kind: "worker".to_owned(),
        restart: rules::Restart::Temporary,
        significant: false,
        phase: Phase::Stopped,
        pid: None,
        run: 0,
        restarts: 0,
        last_exit: None,
        left_behind: None,
        spec: None,
        supervisor: None,
    };
    ChildJson { phase: Phase::Stopped, pid: None, ..before.unwrap_or_else(unknown) }
}

pub(super) fn error(code: ErrorCode, name: &str, message: String) -> ApiError {
    ApiError { name: Some(name.to_owned()), ..ApiError::new(code, message) }
}
