//! The users of one client, and what they do at an engine.
//!
//! In a closed loop a number of lanes take turns: each lets the next user act and waits for the answer. With a rate the
//! lanes begin at given moments instead, and an action that begins late is late ([`Pace`]). In lockstep there is one
//! lane and a clock that counts turns, so that nothing depends on how fast anything is.
//!
//! A write is remembered by its user ([`Open`]) before it is sent and until it is answered. When the answer is lost, or
//! late, the same user asks again under the same name before doing anything else.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_distr::{Distribution, Zipf};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Options;
use super::kind::Kind;
use super::ledger::Ledger;
use super::name;
use super::names::Names;
use super::pace::Pace;
use super::plan::Plan;
use super::population::Topics;
use super::presence::Presence;
use super::report::{Recorder, Traced};
use super::stop::Stop;
use super::trace::Trace;
use super::user::{Action, User};
use crate::node::{CallError, Fault, Identity};
use crate::reddit::Remote;
use crate::reddit::model::{SubredditId, UserId};
use crate::reddit::protocol::{Answer, Session};

mod action;
mod door;
mod enrol;
mod request;
mod signing;
mod thought;

pub(super) use enrol::Enrolled;
use signing::Signing;
use thought::Thoughts;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How unequally active users are: Zipf's exponent of who acts next.
const ACTIVITY: f64 = 0.8;

/// Everybody, for the whole life of the client.
#[derive(Debug)]
pub(super) struct Crowd {
    depth: usize,
    pub(super) topics: Topics,
    plan: Plan,
    signing: Signing,
    pub(super) pace: Pace,
    stop: Rc<Stop>,
    users: RefCell<Vec<User>>,
    /// Who opens which subreddits, by their ranks.
    founders: BTreeMap<usize, Vec<u16>>,
    places: RefCell<Places>,
    turns: RefCell<ChaCha8Rng>,
    activity: Zipf<f64>,
    clock: Clock,
    presence: RefCell<Presence>,
    /// Users who are coming or going just now.
    moving: RefCell<BTreeSet<usize>>,
    online: Cell<u32>,
    /// Who thinks, and how long.
    thoughts: Option<Thoughts>,
    /// Users with a write whose answer is lost, or late.
    owed: RefCell<VecDeque<usize>>,
    /// Somebody can act who could not before.
    freed: Notify,
    names: Names,
    /// Actions that are still to be begun, where that is limited.
    left: Cell<Option<u64>>,
    ledger: Option<Ledger>,
    trace: Option<Trace>,
    /// The life of the engine that knows the crowd, and who the first user is there.
    known_by: RefCell<Option<(Identity, Option<UserId>)>>,
    report: RefCell<Recorder>,
    acting: Cell<bool>,
    broken: OnceCell<String>,
}

/// The subreddits of the ranks, as the present engine names them.
#[derive(Debug)]
struct Places {
    ids: Vec<Option<SubredditId>>,
    ranks: BTreeMap<SubredditId, u16>,
    /// Those that were opened by their founders just now.
    opened: BTreeSet<u16>,
}

/// The time by which users come and go.
#[derive(Debug)]
enum Clock {
    /// Since the first action.
    Wall(OnceCell<Instant>),
    /// So many turns, each this long.
    Turns(Cell<u32>, Duration),
}

impl Clock {
    fn now(&self) -> Duration {
        match self {
            Clock::Wall(begun) => begun.get_or_init(Instant::now).elapsed(),
            Clock::Turns(turns, each) => *each * turns.get(),
        }
    }
}

/// Whose turn it is.
#[derive(Clone, Copy)]
enum Turn {
    /// Somebody who asks again.
    Owed(usize),
    Next(usize),
    /// Everybody is away or busy.
    Nobody,
    /// All actions were begun.
    Over,
}

impl Crowd {
    /// # Errors
    /// The files of the ledger or the trace cannot be opened; says which.
    pub(super) fn new(options: &Options, stop: Rc<Stop>) -> io::Result<Crowd> {
        let plan = Plan::new(options.seed, &options.name, options.mix, options.text_scale);
        let count = options.users.max(1);
        let homes = options.shape.memberships(count, &mut plan.population());
        let founders = founders(options.shape.subreddits, &homes);
        let users: Vec<_> = (0..count)
            .zip(homes)
            .map(|(user, home)| User::new(name::of_user(&options.name, user).into(), plan.secret(user), home))
            .collect();
        let named = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
        let ledger = options.ledger.as_deref().map(Ledger::open).transpose();
        let trace = options.trace.as_deref().map(Trace::create).transpose();
        let subreddits = usize::from(options.shape.subreddits);
        let pace = Pace::new(options.rate.filter(|_| !options.lockstep));
        let gap = Pace::new(options.rate).gap().unwrap_or(Duration::from_millis(1));
        Ok(Crowd {
            depth: if options.lockstep { 1 } else { usize::from(options.depth.max(1)).min(users.len()) },
            topics: Topics::new(options.shape, count),
            pace,
            stop,
            founders,
            places: RefCell::new(Places {
                ids: vec![None; subreddits],
                ranks: BTreeMap::new(),
                opened: BTreeSet::new(),
            }),
            turns: RefCell::new(plan.turns()),
            activity: Zipf::new(f64::from(count), ACTIVITY).expect("there is at least one user"),
            clock: match options.lockstep {
                true => Clock::Turns(Cell::new(0), gap),
                false => Clock::Wall(OnceCell::new()),
            },
            presence: RefCell::new(Presence::new(users.len(), options.time_scale, plan.presence())),
            moving: RefCell::default(),
            online: Cell::new(count),
            thoughts: options.think.map(Thoughts::new),
            owed: RefCell::default(),
            freed: Notify::new(),
            names: Names::new(if options.lockstep {
                plan.operations()
            } else {
                ChaCha8Rng::from_os_rng().next_u64()
            }),
            left: Cell::new(options.actions),
            ledger: ledger.map_err(|error| named("the ledger cannot be opened", error))?,
            trace: trace.map_err(|error| named("the trace cannot be written", error))?,
            known_by: RefCell::new(None),
            report: RefCell::new(Recorder::new(subreddits)),
            users: RefCell::new(users),
            signing: Signing::new(plan.clone(), options.signed),
            plan,
            acting: Cell::new(false),
            broken: OnceCell::new(),
        })
    }

    pub(super) fn report(&self) -> &RefCell<Recorder> {
        &self.report
    }

    /// Users who are there.
    pub(super) fn online(&self) -> u32 {
        self.online.get()
    }

    /// Users act just now.
    pub(super) fn is_acting(&self) -> bool {
        self.acting.get()
    }

    /// All actions were begun, and nothing is owed. Somebody may have come in just now and be reading.
    pub(super) fn is_over(&self) -> bool {
        let is_owed = |user: &User| user.open.as_ref().is_some_and(|open| !open.action.is_read());
        self.left.get() == Some(0) && !self.users.borrow().iter().any(is_owed)
    }

    /// Why the client must not go on.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// Members by the rank of the subreddit.
    pub(super) fn members(&self) -> Vec<u64> {
        let mut members = vec![0; self.topics.count()];
        let users = self.users.borrow();
        users.iter().flat_map(|user| &user.joined).for_each(|&rank| members[usize::from(rank)] += 1);
        members
    }

    /// Ends the trace, if there is one, and tells its sum.
    pub(super) fn finish_trace(&self) -> Option<io::Result<Traced>> {
        self.trace.as_ref().map(Trace::finish)
    }

    /// Lets the users act until the connection ends, all actions are done, or the client is asked to stop.
    pub(super) async fn act(self: &Rc<Crowd>, engine: &Rc<Remote>) {
        self.resume();
        self.report.borrow_mut().connected(engine.identity());
        self.acting.set(true);
        let lockstep = matches!(self.clock, Clock::Turns(..));
        let mut lanes = JoinSet::new();
        for _ in 0..self.depth {
            let (crowd, engine) = (Rc::clone(self), Rc::clone(engine));
            lanes.spawn_local(async move {
                if lockstep { crowd.march(&engine).await } else { crowd.lane(&engine).await }
            });
        }
        // Dropped, they are over.
        let mut doors = JoinSet::new();
        if !lockstep {
            let (crowd, engine) = (Rc::clone(self), Rc::clone(engine));
            doors.spawn_local(async move { crowd.doors(&engine).await });
            let crowd = Rc::clone(self);
            doors.spawn_local(async move { crowd.end_thoughts().await });
        }
        while let Some(lane) = lanes.join_next().await {
            // A lane that panicked takes the client with it.
            lane.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
        self.acting.set(false);
    }

    /// Takes up what an earlier connection left.
    fn resume(&self) {
        let now = self.clock.now();
        std::mem::take(&mut *self.moving.borrow_mut())
            .into_iter()
            .for_each(|user| self.presence.borrow_mut().postpone(user, now));
        self.thoughts.iter().for_each(Thoughts::clear);
        let mut owed = self.owed.borrow_mut();
        owed.clear();
        for (index, user) in self.users.borrow_mut().iter_mut().enumerate() {
            user.busy = false;
            user.thinking = false;
            let Some(open) = &mut user.open else { continue };
            self.report.borrow_mut().lost_in_flight += 1;
            if open.action.is_read() {
                user.open = None;
            } else {
                open.asked = true;
                owed.push_back(index);
            }
        }
    }

    /// One action after the other, each of the next user who has nothing under way.
    async fn lane(&self, engine: &Remote) {
        while !self.is_at_end(engine) {
            let due = tokio::select! {
                biased;
                moment = self.pace.moment() => moment,
                () = self.stop.wanted() => return,
                _ = engine.ended() => return,
            };
            let turn = loop {
                match self.turn() {
                    Turn::Nobody => tokio::select! {
                        () = self.freed.notified() => {}
                        () = self.stop.wanted() => return,
                        _ = engine.ended() => return,
                    },
                    turn => break turn,
                }
            };
            let (Turn::Owed(index) | Turn::Next(index)) = turn else {
                // It is over for those too who wait for somebody to be free.
                self.freed.notify_waiters();
                return;
            };
            let late = self.pace.is_set().then_some(due);
            if !self.take_turn(engine, turn, index, late).await {
                return;
            }
        }
    }

    /// One turn after the other, and who comes or goes in between.
    async fn march(&self, engine: &Remote) {
        let Clock::Turns(turns, _) = &self.clock else { return };
        while !self.is_at_end(engine) {
            turns.set(turns.get() + 1);
            while let Some(index) = self.next_to_move() {
                self.pass_door(engine, index).await;
            }
            let turn = self.turn();
            match turn {
                Turn::Over => return,
                Turn::Nobody => {}
                Turn::Owed(index) | Turn::Next(index) => {
                    if !self.take_turn(engine, turn, index, None).await {
                        return;
                    }
                }
            }
        }
    }

    fn is_at_end(&self, engine: &Remote) -> bool {
        self.stop.is_wanted() || engine.lost().is_some()
    }

    /// Who acts next.
    fn turn(&self) -> Turn {
        let mut users = self.users.borrow_mut();
        if let Some(index) = self.owed.borrow_mut().pop_front() {
            users[index].busy = true;
            return Turn::Owed(index);
        }
        if self.left.get() == Some(0) {
            return Turn::Over;
        }
        let drawn = self.activity.sample(&mut *self.turns.borrow_mut()) as usize - 1;
        let count = users.len();
        let Some(index) = (drawn..count).chain(0..drawn).find(|&index| users[index].is_free()) else {
            return Turn::Nobody;
        };
        self.left.set(self.left.get().map(|left| left - 1));
        users[index].busy = true;
        Turn::Next(index)
    }

    /// Lets a user act. `false` when the engine is gone. `due` is when it should have begun, if not now.
    async fn take_turn(&self, engine: &Remote, turn: Turn, index: usize, due: Option<Instant>) -> bool {
        let ended = match turn {
            Turn::Owed(_) => self.ask(engine, index).await,
            Turn::Next(_) | Turn::Nobody | Turn::Over => {
                let action = self.wish(index);
                self.undertake(engine, index, action, due).await
            }
        };
        self.think(index);
        self.rest(index);
        match ended {
            Ok(_) => true,
            Err(error) if is_lost(&error) => {
                self.report.borrow_mut().lost();
                false
            }
            Err(error) => {
                self.complain(&error.to_string());
                true
            }
        }
    }

    /// The user is free again. Who has not got an answer to a write asks again before anything else.
    fn rest(&self, index: usize) {
        let user = &mut self.users.borrow_mut()[index];
        match &mut user.open {
            Some(open) if open.action.is_read() => user.open = None,
            Some(open) => {
                open.asked = true;
                self.owed.borrow_mut().push_back(index);
                return;
            }
            None => {}
        }
        user.busy = false;
        if user.is_free() {
            self.freed.notify_one();
        }
    }

    /// What the user wants to do now.
    fn wish(&self, index: usize) -> Action {
        let user = &mut self.users.borrow_mut()[index];
        let number = user.actions;
        user.actions = number.wrapping_add(1);
        let action = user.resolve(self.plan.intent(index as u32, number), &self.topics);
        // Where this engine has no such subreddit the user reads instead.
        match action {
            Action::Post { rank, .. }
            | Action::Repost { rank, .. }
            | Action::Join { rank }
            | Action::Leave { rank }
                if self.subreddit(rank).is_none() =>
            {
                Action::ReadFeed
            }
            action => action,
        }
    }

    /// Everybody is registered at this engine; what they do from now on counts.
    fn is_enrolled(&self) -> bool {
        self.known_by.borrow().is_some()
    }

    fn session(&self, index: usize) -> Option<Session> {
        self.users.borrow()[index].session
    }

    fn subreddit(&self, rank: u16) -> Option<SubredditId> {
        self.places.borrow().ids[usize::from(rank)]
    }

    /// Nothing can be acknowledged any more.
    fn give_up(&self, why: String) {
        let _ = self.broken.set(why);
        self.stop.want();
    }

    fn unexpected(&self, what: &str, answer: &Answer) {
        match answer {
            Ok(_) => self.complain(&format!("{what}: the engine answered something else")),
            Err(error) => self.complain(&format!("{what}: {error}")),
        }
    }

    /// Counts an error, and tells it the first time.
    fn complain(&self, text: &str) {
        if self.report.borrow_mut().error(text) {
            tracing::warn!("{text}");
        }
    }
}

fn name_of(kind: Option<Kind>) -> &'static str {
    kind.map_or("registration", Kind::name)
}

/// The engine is gone, or going because its store failed.
fn is_lost(error: &CallError) -> bool {
    matches!(error, CallError::Lost(_) | CallError::Refused(Fault::GivenUp | Fault::NoMailbox))
}

/// For each subreddit somebody who belongs there anyway; anybody where nobody does.
fn founders(subreddits: u16, homes: &[Vec<u16>]) -> BTreeMap<usize, Vec<u16>> {
    let mut founders: Vec<_> = (0..usize::from(subreddits)).map(|rank| rank % homes.len()).collect();
    for (user, home) in homes.iter().enumerate().rev() {
        home.iter().for_each(|&rank| founders[usize::from(rank)] = user);
    }
    let mut founded: BTreeMap<usize, Vec<u16>> = BTreeMap::new();
    for (rank, user) in (0..).zip(founders) {
        founded.entry(user).or_default().push(rank);
    }
    founded
}
