//! Everybody registers, opens the subreddits, and joins.

use std::cell::Cell;
use std::rc::Rc;

use tokio::task::JoinSet;

use super::{Crowd, PATIENCE};
use crate::node::CallError;
use crate::reddit::Remote;
use crate::reddit::model::{Error, Text};
use crate::reddit::protocol::{Reply, Request, subreddit_manager, user_registry};

/// Requests at once while everybody registers. It is over quickly, whatever the pace afterwards.
const ENROLLING: usize = 64;

/// What enrolling came to.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Enrolled {
    pub(in super::super) users: u64,
    pub(in super::super) subreddits: u64,
    pub(in super::super) memberships: u64,
}

impl Crowd {
    /// Registers everybody and joins what they belong to, unless this life of the engine knows them already.
    pub(in super::super) async fn enrol(
        self: &Rc<Crowd>,
        engine: &Rc<Remote>,
    ) -> Result<Option<Enrolled>, CallError> {
        if self.known_by.borrow().as_ref() == Some(engine.identity()) {
            return Ok(None);
        }
        self.forget();
        let count = self.users.borrow().len();
        let users = for_each(count, self, engine, Crowd::register).await?;
        let subreddits =
            for_each(self.shape.subreddits as usize, self, engine, Crowd::create_subreddit).await?;
        let memberships = for_each(count, self, engine, Crowd::join_all).await?;
        *self.known_by.borrow_mut() = Some(engine.identity().clone());
        Ok(Some(Enrolled { users, subreddits, memberships }))
    }

    /// What one engine gave is worth nothing at another. What users have joined they will join again.
    fn forget(&self) {
        for user in self.users.borrow_mut().iter_mut() {
            user.session = None;
            user.seen.clear();
        }
        self.subreddits.borrow_mut().fill(None);
    }

    /// Returns how many were registered: one or none.
    pub(super) async fn register(
        self: Rc<Crowd>,
        engine: Rc<Remote>,
        index: usize,
    ) -> Result<u64, CallError> {
        let (name, secret) = {
            let user = &self.users.borrow()[index];
            (user.name.clone(), user.secret)
        };
        let request = Request::UserRegistry(user_registry::Request::Register { name, secret });
        match engine.call(&request.into(), PATIENCE).await? {
            Ok(Reply::UserRegistry(user_registry::Reply::LoggedIn(session))) => {
                self.users.borrow_mut()[index].session = Some(session);
                Ok(1)
            }
            answer => {
                self.unexpected("register", &answer);
                Ok(0)
            }
        }
    }

    /// Returns how many subreddits are known by it: one or none.
    async fn create_subreddit(self: Rc<Crowd>, engine: Rc<Remote>, rank: usize) -> Result<u64, CallError> {
        let founder = self.founders[rank];
        let Some(session) = self.session(founder) else { return Ok(0) };
        let name = Text::from(self.shape.subreddit_name(rank));
        let create = subreddit_manager::Request::Create {
            session,
            name: name.clone(),
            description: format!("everything about topic {}", rank + 1).into(),
        };
        let mut answer = engine.call(&Request::SubredditManager(create).into(), PATIENCE).await?;
        match answer {
            // The one who opens it is its first member.
            Ok(_) => self.joined(founder, rank),
            // Another client, or an earlier life of this one, was first.
            Err(Error::NameTaken) => {
                let find = subreddit_manager::Request::GetByName { name };
                answer = engine.call(&Request::SubredditManager(find).into(), PATIENCE).await?;
            }
            Err(_) => {}
        }
        match answer {
            Ok(Reply::SubredditManager(subreddit_manager::Reply::Subreddit(view))) => {
                self.subreddits.borrow_mut()[rank] = Some(view.id);
                Ok(1)
            }
            answer => {
                self.unexpected("create subreddit", &answer);
                Ok(0)
            }
        }
    }

    /// Joins what the user belongs to. Returns how many memberships there are by it.
    pub(super) async fn join_all(
        self: Rc<Crowd>,
        engine: Rc<Remote>,
        index: usize,
    ) -> Result<u64, CallError> {
        let Some(session) = self.session(index) else { return Ok(0) };
        let ranks = self.users.borrow()[index].joined.clone();
        let mut joined = 0;
        for rank in ranks {
            let Some(subreddit) = self.subreddit(rank) else { continue };
            let join = Request::SubredditManager(subreddit_manager::Request::Join { session, subreddit });
            match engine.call(&join.into(), PATIENCE).await? {
                Ok(Reply::SubredditManager(subreddit_manager::Reply::Members { .. }))
                | Err(Error::AlreadyMember) => joined += 1,
                answer => self.unexpected("join", &answer),
            }
        }
        Ok(joined)
    }
}

/// Does `work` for 0..count, [`ENROLLING`] at once, until one fails, and adds up what it returns.
async fn for_each<W>(
    count: usize,
    crowd: &Rc<Crowd>,
    engine: &Rc<Remote>,
    work: fn(Rc<Crowd>, Rc<Remote>, usize) -> W,
) -> Result<u64, CallError>
where
    W: Future<Output = Result<u64, CallError>> + 'static,
{
    let next = Rc::new(Cell::new(0));
    let mut lanes: JoinSet<Result<u64, CallError>> = JoinSet::new();
    for _ in 0..ENROLLING.min(count) {
        let (crowd, engine, next) = (Rc::clone(crowd), Rc::clone(engine), Rc::clone(&next));
        lanes.spawn_local(async move {
            let mut sum = 0;
            while next.get() < count {
                let index = next.replace(next.get() + 1);
                sum += work(Rc::clone(&crowd), Rc::clone(&engine), index).await?;
            }
            Ok(sum)
        });
    }
    let mut sum = 0;
    while let Some(lane) = lanes.join_next().await {
        // A lane that panicked takes the client with it.
        sum += lane.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    }
    Ok(sum)
}
