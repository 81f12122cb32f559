//! Users come and go: they log in, read what is new, and log out again.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Crowd, PATIENCE, is_lost};
use crate::node::CallError;
use crate::reddit::Remote;
use crate::reddit::model::Error;
use crate::reddit::protocol::{Reply, Request, user_registry};
use crate::reddit::simulator::kind::Kind;
use crate::reddit::simulator::user::Action;

/// Users in the door at once.
const WIDTH: usize = 64;

impl Crowd {
    /// Sends those away who are away from the beginning, and returns everybody who is away now. Not in the measured time:
    /// a third of a large crowd that leaves at once would be all that is measured.
    pub(super) fn all_away(&self) -> Vec<usize> {
        let mut presence = self.presence.borrow_mut();
        let mut users = self.users.borrow_mut();
        while let Some(index) = presence.take(Duration::ZERO) {
            users[index].away = true;
            presence.went(index, Duration::ZERO);
            self.online.set(self.online.get() - 1);
        }
        (0..users.len()).filter(|&index| users[index].away).collect()
    }

    /// Logs out somebody who is away. Returns how many were: one or none.
    pub(super) async fn log_out(self: Rc<Crowd>, engine: Rc<Remote>, index: usize) -> Result<u64, CallError> {
        let Some(session) = self.users.borrow_mut()[index].session.take() else { return Ok(0) };
        let logout = Request::UserRegistry(user_registry::Request::Logout { session });
        engine.call(&logout.into(), PATIENCE).await.map(|_| 1)
    }

    /// Lets users come and go when they want to, until it is dropped.
    pub(super) async fn doors(self: &Rc<Crowd>, engine: &Rc<Remote>) {
        let mut moving = JoinSet::new();
        loop {
            while moving.len() < WIDTH
                && let Some(index) = self.next_to_move()
            {
                let (crowd, engine) = (Rc::clone(self), Rc::clone(engine));
                moving.spawn_local(async move { crowd.pass_door(&engine, index).await });
            }
            let next = self.presence.borrow().next();
            let wait = match next {
                Some(next) if moving.len() < WIDTH => next.saturating_sub(self.clock.now()),
                Some(_) | None => Duration::from_secs(3600),
            };
            tokio::select! {
                Some(_) = moving.join_next() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Somebody who wants to come or go now and has nothing under way.
    pub(super) fn next_to_move(&self) -> Option<usize> {
        let now = self.clock.now();
        loop {
            let index = self.presence.borrow_mut().take(now)?;
            let user = &mut self.users.borrow_mut()[index];
            if !user.busy && user.open.is_none() {
                user.busy = true;
                self.moving.borrow_mut().insert(index);
                return Some(index);
            }
            self.presence.borrow_mut().postpone(index, now);
        }
    }

    /// Lets a user come, or go.
    pub(super) async fn pass_door(&self, engine: &Remote, index: usize) {
        let away = self.users.borrow()[index].away;
        let passed = if away { self.come(engine, index).await } else { self.go(engine, index).await };
        let now = self.clock.now();
        match passed {
            Ok(()) if away => self.presence.borrow_mut().came(index, now),
            Ok(()) => self.presence.borrow_mut().went(index, now),
            Err(error) => {
                self.presence.borrow_mut().postpone(index, now);
                if is_lost(&error) {
                    self.report.borrow_mut().lost();
                } else {
                    self.complain(&error.to_string());
                }
            }
        }
        self.moving.borrow_mut().remove(&index);
        self.rest(index);
    }

    /// Who comes looks first for letters, and then what the others have written.
    async fn come(&self, engine: &Remote, index: usize) -> Result<(), CallError> {
        self.trace("login", index);
        self.log_in(engine, index).await?;
        self.users.borrow_mut()[index].away = false;
        self.online.set(self.online.get() + 1);
        for action in [Action::ReadMail, Action::ReadFeed] {
            // Whether it can be read changes nothing about being there.
            if self.undertake(engine, index, action, None).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn go(&self, engine: &Remote, index: usize) -> Result<(), CallError> {
        self.trace("logout", index);
        // Who was logged in at an engine that is no more is not logged in at this one.
        if let Some(session) = self.session(index) {
            let begun = Instant::now();
            let logout = Request::UserRegistry(user_registry::Request::Logout { session });
            match engine.call(&logout.into(), PATIENCE).await? {
                Ok(Reply::UserRegistry(user_registry::Reply::LoggedOut)) => {
                    self.report.borrow_mut().answered(Kind::Logout, begun.elapsed());
                }
                Err(Error::BadSession) => {}
                answer => self.unexpected("logout", &answer),
            }
        }
        let user = &mut self.users.borrow_mut()[index];
        user.session = None;
        user.away = true;
        self.online.set(self.online.get() - 1);
        Ok(())
    }

    fn trace(&self, what: &str, index: usize) {
        if let Some(trace) = &self.trace {
            trace.add(&self.users.borrow()[index].name, format_args!("{what}"));
        }
    }
}
