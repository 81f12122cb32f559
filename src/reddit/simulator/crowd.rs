//! The users of one client, and what they do at an engine.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};
use tokio::task::JoinSet;

use super::Options;
use super::name;
use super::pace::Pace;
use super::plan::{Kind, Plan};
use super::population::Shape;
use super::report::Report;
use super::stop::Stop;
use super::user::{Action, User};
use crate::node::{CallError, Fault, Identity};
use crate::reddit::Remote;
use crate::reddit::model::{Error, PostId, Sort, SubredditId};
use crate::reddit::protocol::{
    Answer, Page, PostView, Reply, Request, Session, Window, feed_generator, post_manager, subreddit_manager,
};

mod enrol;

pub(super) use enrol::Enrolled;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How unequally active users are: Zipf's exponent of who acts next.
const ACTIVITY: f64 = 0.8;

/// Everybody, for the whole life of the client.
#[derive(Debug)]
pub(super) struct Crowd {
    depth: usize,
    shape: Shape,
    plan: Plan,
    pace: Pace,
    stop: Rc<Stop>,
    users: RefCell<Vec<User>>,
    /// Who opens the subreddit of each rank.
    founders: Vec<usize>,
    /// Identities by rank, as the present engine gave them.
    subreddits: RefCell<Vec<Option<SubredditId>>>,
    turns: RefCell<ChaCha8Rng>,
    activity: Zipf<f64>,
    /// The life of the engine that knows the crowd.
    known_by: RefCell<Option<Identity>>,
    report: RefCell<Report>,
}

impl Crowd {
    pub(super) fn new(options: &Options, stop: Rc<Stop>) -> Crowd {
        let shape = Shape::default();
        let plan = Plan::new(options.seed, &options.name, shape);
        let count = options.users.max(1);
        let homes = shape.memberships(count, &mut plan.population());
        let founders = founders(shape, &homes);
        let users: Vec<_> = (0..count)
            .zip(homes)
            .map(|(user, home)| User::new(name::of_user(&options.name, user).into(), plan.secret(user), home))
            .collect();
        Crowd {
            depth: usize::from(options.depth.max(1)).min(users.len()),
            shape,
            pace: Pace::new(options.rate, tokio::time::Instant::now()),
            stop,
            founders,
            subreddits: RefCell::new(vec![None; shape.subreddits as usize]),
            turns: RefCell::new(plan.turns()),
            activity: Zipf::new(f64::from(count), ACTIVITY).expect("there is at least one user"),
            known_by: RefCell::new(None),
            report: RefCell::new(Report::new()),
            users: RefCell::new(users),
            plan,
        }
    }

    pub(super) fn report(&self) -> &RefCell<Report> {
        &self.report
    }

    /// Lets the users act until the connection ends or the client is asked to stop.
    pub(super) async fn act(self: &Rc<Crowd>, engine: &Rc<Remote>) {
        self.users.borrow_mut().iter_mut().for_each(|user| user.busy = false);
        let mut lanes = JoinSet::new();
        for _ in 0..self.depth {
            let (crowd, engine) = (Rc::clone(self), Rc::clone(engine));
            lanes.spawn_local(async move { crowd.lane(&engine).await });
        }
        while lanes.join_next().await.is_some() {}
    }

    /// One action after the other, each of the next user who has nothing under way.
    async fn lane(self: &Rc<Crowd>, engine: &Rc<Remote>) {
        while !self.stop.is_wanted() && engine.lost().is_none() {
            if let Some(moment) = self.pace.take(tokio::time::Instant::now()) {
                tokio::select! {
                    () = tokio::time::sleep_until(moment) => {}
                    () = self.stop.wanted() => return,
                    _ = engine.ended() => return,
                }
            }
            let user = self.take_turn();
            let result = self.one_action(engine, user).await;
            self.users.borrow_mut()[user].busy = false;
            match result {
                Ok(()) => {}
                // The engine is gone, or going because its store failed.
                Err(CallError::Lost(_) | CallError::Refused(Fault::GivenUp)) => {
                    self.report.borrow_mut().lost_in_flight();
                    return;
                }
                Err(error) => self.complain(&error.to_string()),
            }
        }
    }

    /// Who acts next. There are at least as many users as lanes, so one is always free.
    fn take_turn(&self) -> usize {
        let mut users = self.users.borrow_mut();
        let drawn = self.activity.sample(&mut *self.turns.borrow_mut()) as usize - 1;
        let count = users.len();
        let free = (drawn..count).chain(0..drawn).find(|&user| !users[user].busy).unwrap_or(drawn);
        users[free].busy = true;
        free
    }

    async fn one_action(self: &Rc<Crowd>, engine: &Rc<Remote>, index: usize) -> Result<(), CallError> {
        if self.session(index).is_none() {
            Rc::clone(self).register(Rc::clone(engine), index).await?;
            Rc::clone(self).join_all(Rc::clone(engine), index).await?;
        }
        let Some(session) = self.session(index) else { return Ok(()) };
        let action = {
            let user = &mut self.users.borrow_mut()[index];
            let number = user.actions;
            user.actions = number.wrapping_add(1);
            user.resolve(self.plan.intent(index as u32, number), self.shape)
        };
        let (request, outcome) = self.request(session, action);
        let begun = Instant::now();
        let answer = engine.call(&request.into(), PATIENCE).await?;
        let latency = begun.elapsed();
        if answer == Err(Error::BadSession) {
            // The engine forgot this user; the next action begins with registering again.
            self.users.borrow_mut()[index].session = None;
        } else if self.learn(index, outcome, &answer) {
            self.report.borrow_mut().answered(outcome.kind(), latency);
        } else {
            self.unexpected(outcome.kind().name(), &answer);
        }
        Ok(())
    }

    /// The request that carries an action out, and what it leaves behind when it succeeds. Where this engine has no
    /// such subreddit the user reads instead.
    fn request(&self, session: Session, action: Action) -> (Request, Outcome) {
        match action {
            Action::ReadFeed => read_feed(session),
            Action::Vote { post, direction } => {
                let vote = post_manager::Request::Vote { session, post, direction };
                (Request::PostManager(vote), Outcome::Voted)
            }
            Action::Post { rank, title, body } => match self.subreddit(rank) {
                Some(subreddit) => {
                    let create = post_manager::Request::Create { session, subreddit, title, body };
                    (Request::PostManager(create), Outcome::Posted)
                }
                None => read_feed(session),
            },
            Action::Join { rank } => match self.subreddit(rank) {
                Some(subreddit) => {
                    let join = subreddit_manager::Request::Join { session, subreddit };
                    (Request::SubredditManager(join), Outcome::Joined(rank))
                }
                None => read_feed(session),
            },
            Action::Leave { rank } => match self.subreddit(rank) {
                Some(subreddit) => {
                    let leave = subreddit_manager::Request::Leave { session, subreddit };
                    (Request::SubredditManager(leave), Outcome::Left(rank))
                }
                None => read_feed(session),
            },
        }
    }

    /// Remembers what an answer says; `false` when it is not the answer that was asked for.
    fn learn(&self, index: usize, outcome: Outcome, answer: &Answer) -> bool {
        match (outcome, answer) {
            (Outcome::Seen, Ok(Reply::FeedGenerator(feed_generator::Reply::Posts(posts)))) => {
                self.saw(index, posts);
            }
            (Outcome::Voted, Ok(Reply::PostManager(post_manager::Reply::Voted(_))))
            | (Outcome::Posted, Ok(Reply::PostManager(post_manager::Reply::Created(_)))) => {}
            (
                Outcome::Joined(rank),
                Ok(Reply::SubredditManager(subreddit_manager::Reply::Members { .. })),
            ) => self.joined(index, rank),
            (Outcome::Left(rank), Ok(Reply::SubredditManager(subreddit_manager::Reply::Members { .. }))) => {
                self.users.borrow_mut()[index].joined.retain(|&joined| joined != rank);
            }
            _ => return false,
        }
        true
    }

    fn saw(&self, index: usize, posts: &[PostView]) {
        let seen: &mut Vec<PostId> = &mut self.users.borrow_mut()[index].seen;
        seen.clear();
        seen.extend(posts.iter().map(|post| post.id));
    }

    fn joined(&self, index: usize, rank: usize) {
        let joined = &mut self.users.borrow_mut()[index].joined;
        if !joined.contains(&rank) {
            joined.push(rank);
        }
    }

    fn session(&self, index: usize) -> Option<Session> {
        self.users.borrow()[index].session
    }

    fn subreddit(&self, rank: usize) -> Option<SubredditId> {
        self.subreddits.borrow()[rank]
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

/// What an action that succeeds leaves behind.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Seen,
    Voted,
    Posted,
    Joined(usize),
    Left(usize),
}

impl Outcome {
    fn kind(self) -> Kind {
        match self {
            Outcome::Seen => Kind::Feed,
            Outcome::Voted => Kind::Vote,
            Outcome::Posted => Kind::Post,
            Outcome::Joined(_) => Kind::Join,
            Outcome::Left(_) => Kind::Leave,
        }
    }
}

fn read_feed(session: Session) -> (Request, Outcome) {
    let get =
        feed_generator::Request::Get { session, sort: Sort::Hot, window: Window::All, page: Page::FIRST };
    (Request::FeedGenerator(get), Outcome::Seen)
}

/// For each subreddit somebody who belongs there anyway; anybody where nobody does.
fn founders(shape: Shape, homes: &[Vec<usize>]) -> Vec<usize> {
    let mut founders: Vec<_> = (0..shape.subreddits as usize).map(|rank| rank % homes.len()).collect();
    for (user, home) in homes.iter().enumerate().rev() {
        home.iter().for_each(|&rank| founders[rank] = user);
    }
    founders
}
