//! One action of one user: asked for, answered, written down, counted.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::time::Instant;

use super::{Crowd, PATIENCE, name_of};
use crate::node::CallError;
use crate::reddit::Remote;
use crate::reddit::model::{Error, Field, Flaw};
use crate::reddit::protocol::{Answer, EngineRequest, Envelope, Reply, Request, user_registry};
use crate::reddit::simulator::kind::Kind;
use crate::reddit::simulator::user::{Action, Open};

/// The engine has forgotten the stream of an operation.
const TOO_OLD: Error = Error::BadRequest { field: Field::Operation, flaw: Flaw::TooOld };

/// How an action ended.
pub(super) enum End {
    Done,
    Refused(Error),
    /// The session was not valid. A write is still to be carried out.
    LoggedOut,
    /// The engine answered another question.
    Odd,
}

impl Crowd {
    /// Begins an action, and sees it through as far as this engine does.
    pub(super) async fn undertake(
        &self,
        engine: &Remote,
        index: usize,
        action: Action,
        due: Option<Instant>,
    ) -> Result<End, CallError> {
        let op = match action.is_read() {
            true => None,
            false => Some(self.names.open().await),
        };
        if let Some(trace) = &self.trace {
            trace.add(&self.users.borrow()[index].name, &action);
        }
        let due = due.unwrap_or_else(Instant::now);
        self.users.borrow_mut()[index].open = Some(Open { op, action, due, asked: false });
        self.ask(engine, index).await
    }

    /// Asks for what the user has begun.
    pub(super) async fn ask(&self, engine: &Remote, index: usize) -> Result<End, CallError> {
        let Some(open) = self.users.borrow()[index].open.clone() else { return Ok(End::Odd) };
        if !matches!(open.action, Action::Register) && self.session(index).is_none() {
            self.log_in(engine, index).await?;
        }
        let Some(request) = self.request(index, &open.action) else {
            // Who cannot log in cannot ask.
            self.abandon(index);
            return Ok(End::Odd);
        };
        let answer = engine.call(&Envelope { op: open.op, request }, PATIENCE).await?;
        if answer == Err(Error::BadSession) {
            self.users.borrow_mut()[index].session = None;
            return Ok(End::LoggedOut);
        }
        let end = self.conclude(index, &open, answer);
        if let (End::Refused(TOO_OLD), Some(asked)) = (&end, open.op) {
            // Told as an error, and not asked for under another name: it may have been done.
            let operations = self.operations(engine).await?;
            self.names.begin(asked.op, ChaCha8Rng::from_os_rng().next_u64(), operations);
        }
        self.verify(engine).await?;
        Ok(end)
    }

    /// Operations that the engine has carried out.
    pub(super) async fn operations(&self, engine: &Remote) -> Result<u64, CallError> {
        match engine.call(&Request::Engine(EngineRequest::Stats).into(), PATIENCE).await? {
            Ok(Reply::Engine(stats)) => Ok(stats.operations),
            answer => {
                self.unexpected("stats", &answer);
                Ok(0)
            }
        }
    }

    /// Nobody will ask for it again.
    pub(super) fn abandon(&self, index: usize) {
        if let Some(open) = self.users.borrow_mut()[index].open.take() {
            open.op.into_iter().for_each(|asked| self.names.close(asked.op));
        }
    }

    /// The action is answered.
    fn conclude(&self, index: usize, open: &Open, answer: Answer) -> End {
        self.abandon(index);
        self.report.borrow_mut().asked_again += u64::from(open.asked);
        let kind = open.action.kind();
        let reply = match answer {
            Ok(reply) => reply,
            Err(error) => {
                self.refused(index, &open.action, error);
                return End::Refused(error);
            }
        };
        let learnt = self.learn(index, &open.action, &reply);
        let Some(effect) = learnt else {
            self.complain(&format!("{}: the engine answered something else", name_of(kind)));
            return End::Odd;
        };
        let kept = match (open.op, effect) {
            (Some(asked), Some(effect)) => self.write_down(index, asked.op, &open.action, effect),
            _ => Ok(()),
        };
        if let Err(error) = kept {
            self.give_up(format!("the ledger cannot be written: {error}"));
            return End::Odd;
        }
        if matches!(open.action, Action::Post { .. }) {
            self.signing.posted(index);
        }
        if let (Some(kind), true) = (kind, self.is_enrolled()) {
            self.count(kind, &open.action, open.due.elapsed());
        }
        End::Done
    }

    fn count(&self, kind: Kind, action: &Action, latency: Duration) {
        let mut report = self.report.borrow_mut();
        report.answered(kind, latency);
        match *action {
            Action::Post { rank, .. } | Action::Repost { rank, .. } => report.posted(rank),
            Action::Vote { place, .. } | Action::VoteComment { place, .. } => report.voted(place),
            _ => {}
        }
    }

    /// Logs a user in that the engine knows, or should.
    pub(super) async fn log_in(&self, engine: &Remote, index: usize) -> Result<(), CallError> {
        let (name, secret) = {
            let user = &self.users.borrow()[index];
            (user.name.clone(), user.secret)
        };
        let login = Request::UserRegistry(user_registry::Request::Login { name, secret });
        let begun = Instant::now();
        match engine.call(&login.into(), PATIENCE).await? {
            Ok(Reply::UserRegistry(user_registry::Reply::LoggedIn(session))) => {
                self.users.borrow_mut()[index].session = Some(session);
                if self.is_enrolled() {
                    self.report.borrow_mut().answered(Kind::Login, begun.elapsed());
                }
            }
            answer => self.unexpected("login", &answer),
        }
        Ok(())
    }
}
