//! Everybody registers, opens the subreddits, and joins.

use std::cell::Cell;
use std::rc::Rc;

use tokio::task::JoinSet;

use super::action::End;
use super::{Clock, Crowd, PATIENCE};
use crate::node::CallError;
use crate::reddit::Remote;
use crate::reddit::model::{Error, SubredditId, Thing, UserId};
use crate::reddit::protocol::{Page, Reply, Request, subreddit_manager, user_registry};
use crate::reddit::simulator::user::Action;

/// Requests at once while everybody registers. It is over quickly, whatever the pace afterwards.
const ENROLLING: usize = 64;

/// Subreddits in a page of those that a user has joined.
const PAGE: u16 = 100;

/// What enrolling came to.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Enrolled {
    pub(in super::super) users: u64,
    pub(in super::super) subreddits: u64,
    pub(in super::super) memberships: u64,
}

impl Crowd {
    /// Registers everybody and joins what they belong to, unless this engine knows them already: because it is the same
    /// one, or because the one before kept what it knew.
    pub(in super::super) async fn enrol(
        self: &Rc<Crowd>,
        engine: &Rc<Remote>,
    ) -> Result<Option<Enrolled>, CallError> {
        self.meet(self.operations(engine).await?);
        let known_by = self.known_by.borrow().clone();
        if let Some((life, first)) = known_by {
            if life == *engine.identity() {
                return Ok(None);
            }
            // Sessions end with the engine that gave them.
            self.users.borrow_mut().iter_mut().for_each(|user| user.session = None);
            if first.is_some() && self.first_user(engine).await? == first {
                *self.known_by.borrow_mut() = Some((engine.identity().clone(), first));
                return Ok(None);
            }
        }
        if self.is_enrolled() {
            self.forget();
        }
        let everybody: Vec<usize> = (0..self.users.borrow().len()).collect();
        let founders: Vec<usize> = self.founders.keys().copied().collect();
        let users = for_each(&everybody, self, engine, Crowd::register).await?;
        let subreddits = for_each(&founders, self, engine, Crowd::open_subreddits).await?;
        let memberships = for_each(&everybody, self, engine, Crowd::join_all).await?;
        let first = self.session(0).map(|session| session.user);
        for_each(&self.all_away(), self, engine, Crowd::log_out).await?;
        *self.known_by.borrow_mut() = Some((engine.identity().clone(), first));
        Ok(Some(Enrolled { users, subreddits, memberships }))
    }

    /// This engine has carried out so many operations: nothing that is asked of it belongs to a stream that is younger.
    fn meet(&self, operations: u64) {
        self.names.meet(operations);
        for asked in self.users.borrow_mut().iter_mut().filter_map(|user| user.open.as_mut()?.op.as_mut()) {
            asked.since = asked.since.min(operations);
        }
    }

    /// Who the first user is at this engine.
    async fn first_user(&self, engine: &Remote) -> Result<Option<UserId>, CallError> {
        let name = self.users.borrow()[0].name.clone();
        let look = Request::UserRegistry(user_registry::Request::GetByName { name });
        match engine.call(&look.into(), PATIENCE).await? {
            Ok(Reply::UserRegistry(user_registry::Reply::User(view))) => Ok(Some(view.id)),
            Err(Error::NotFound(Thing::User)) => Ok(None),
            answer => {
                self.unexpected("look for a user", &answer);
                Ok(None)
            }
        }
    }

    /// Concludes what an interrupted registration left open.
    async fn settle(&self, engine: &Remote, index: usize) -> Result<(), CallError> {
        let open = self.users.borrow_mut()[index].open.as_mut().map(|open| open.asked = true);
        if open.is_some() {
            self.ask(engine, index).await?;
            self.abandon(index);
        }
        Ok(())
    }

    /// What one engine gave is worth nothing at another, and what was asked of one has not happened at another. What
    /// users have joined they will join again.
    fn forget(&self) {
        *self.known_by.borrow_mut() = None;
        self.signing.forget();
        for user in self.users.borrow_mut().iter_mut() {
            user.session = None;
            user.seen = Default::default();
            user.busy = false;
            if let Some(open) = user.open.take() {
                self.report.borrow_mut().lost_in_flight += 1;
                open.op.into_iter().for_each(|asked| self.names.close(asked.op));
            }
        }
        let places = &mut *self.places.borrow_mut();
        places.ids.fill(None);
        places.ranks.clear();
        places.opened.clear();
    }

    /// The subreddit of this rank is that one.
    pub(super) fn found(&self, rank: u16, id: SubredditId) {
        let places = &mut *self.places.borrow_mut();
        places.ids[usize::from(rank)] = Some(id);
        places.ranks.insert(id, rank);
    }

    /// Returns how many were registered: one or none.
    async fn register(self: Rc<Crowd>, engine: Rc<Remote>, index: usize) -> Result<u64, CallError> {
        self.settle(&engine, index).await?;
        Ok(match self.undertake(&engine, index, Action::Register, None).await? {
            End::Done => 1,
            End::Refused(_) | End::LoggedOut | End::Odd => 0,
        })
    }

    /// Opens what this user is the founder of. Returns how many subreddits are known by it.
    async fn open_subreddits(self: Rc<Crowd>, engine: Rc<Remote>, index: usize) -> Result<u64, CallError> {
        let mut known = 0;
        if self.session(index).is_none() {
            return Ok(0);
        }
        for &rank in self.founders.get(&index).into_iter().flatten() {
            known += match self.undertake(&engine, index, Action::Create { rank }, None).await? {
                End::Done => 1,
                // Another client, or an earlier life of this one, was first.
                End::Refused(Error::NameTaken) => self.find_subreddit(&engine, rank).await?,
                End::Refused(_) | End::LoggedOut | End::Odd => 0,
            };
        }
        Ok(known)
    }

    async fn find_subreddit(&self, engine: &Remote, rank: u16) -> Result<u64, CallError> {
        let name = self.topics.shape.subreddit_name(rank).into();
        let find = subreddit_manager::Request::GetByName { name };
        match engine.call(&Request::SubredditManager(find).into(), PATIENCE).await? {
            Ok(Reply::SubredditManager(subreddit_manager::Reply::Subreddit(view))) => {
                self.found(rank, view.id);
                Ok(1)
            }
            answer => {
                self.unexpected("find a subreddit", &answer);
                Ok(0)
            }
        }
    }

    /// Joins what the user belongs to. Returns how many memberships there are by it.
    async fn join_all(self: Rc<Crowd>, engine: Rc<Remote>, index: usize) -> Result<u64, CallError> {
        if self.session(index).is_none() {
            return Ok(0);
        }
        let ranks = self.users.borrow()[index].joined.clone();
        let (mut joined, mut was_there) = (0, false);
        for rank in ranks {
            if self.subreddit(rank).is_none() {
                continue;
            }
            let is_founder = self.founders.get(&index).is_some_and(|founded| founded.contains(&rank));
            if is_founder && self.places.borrow().opened.contains(&rank) {
                joined += 1;
                continue;
            }
            match self.undertake(&engine, index, Action::Join { rank }, None).await? {
                End::Done => joined += 1,
                End::Refused(Error::AlreadyMember) => was_there = true,
                End::Refused(_) | End::LoggedOut | End::Odd => {}
            }
        }
        if was_there { self.learn_joined(&engine, index).await } else { Ok(joined) }
    }

    /// An earlier life of this client came and went as it liked: what the user has joined is what the engine says.
    async fn learn_joined(&self, engine: &Remote, index: usize) -> Result<u64, CallError> {
        let Some(session) = self.session(index) else { return Ok(0) };
        let (mut joined, mut after) = (Vec::new(), None);
        loop {
            let page = Page { after, limit: Some(PAGE) };
            let list = Request::SubredditManager(subreddit_manager::Request::ListMine { session, page });
            let views = match engine.call(&list.into(), PATIENCE).await? {
                Ok(Reply::SubredditManager(subreddit_manager::Reply::Subreddits(views))) => views,
                answer => {
                    self.unexpected("list subreddits", &answer);
                    return Ok(0);
                }
            };
            let places = &self.places.borrow().ranks;
            joined.extend(views.iter().filter_map(|view| places.get(&view.id).copied()));
            after = views.last().map(|view| view.id);
            if views.len() < usize::from(PAGE) {
                break;
            }
        }
        let count = joined.len() as u64;
        self.users.borrow_mut()[index].joined = joined;
        Ok(count)
    }
}

/// Does `work` for all of these, [`ENROLLING`] at once, until one fails, and adds up what it returns.
async fn for_each<W>(
    users: &[usize],
    crowd: &Rc<Crowd>,
    engine: &Rc<Remote>,
    work: fn(Rc<Crowd>, Rc<Remote>, usize) -> W,
) -> Result<u64, CallError>
where
    W: Future<Output = Result<u64, CallError>> + 'static,
{
    let users: Rc<[usize]> = users.into();
    let next = Rc::new(Cell::new(0));
    let at_once = if matches!(crowd.clock, Clock::Turns(..)) { 1 } else { ENROLLING };
    let mut lanes: JoinSet<Result<u64, CallError>> = JoinSet::new();
    for _ in 0..at_once.min(users.len()) {
        let (users, crowd, engine, next) =
            (Rc::clone(&users), Rc::clone(crowd), Rc::clone(engine), Rc::clone(&next));
        lanes.spawn_local(async move {
            let mut sum = 0;
            while let Some(&index) = users.get(next.get()) {
                next.set(next.get() + 1);
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
