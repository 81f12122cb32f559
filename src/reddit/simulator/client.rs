//! The client process: finds the engine, lets the crowd act, comes back when the engine was away.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::crowd::{Crowd, Enrolled};
use super::report::{Storm, grouped};
use super::stop::Stop;
use super::usage::{Look, Looks};
use super::{Options, Patience, progress};
use crate::node::{
    self, Backoff, ConnectError, Identity, Listen, ListenError, Node, StartError, Termination,
};
use crate::reddit::protocol::{EngineRequest, Examination, Reply, Request};
use crate::reddit::{Exit, Remote, Whereabouts};
use crate::text;

mod summary;

/// A supervisor that owns the socket lets connections wait while the engine is being restarted.
const ENDLESS_WELCOME: Duration = Duration::from_secs(10);

/// With [`Patience::Once`] everything is over within a second.
const ONCE_WELCOME: Duration = Duration::from_millis(500);

/// How long actions in flight may take to end when the client is asked to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Runs one client until it is asked to stop, its time is over, or there is no engine and it is not to wait for one.
/// Inside a [`LocalSet`](tokio::task::LocalSet).
pub async fn run(node: Node, options: Options, mut termination: Termination) -> Exit {
    let stop = Rc::new(Stop::default());
    let on_signal = Rc::clone(&stop);
    tokio::task::spawn_local(async move {
        termination.requested().await;
        on_signal.want();
    });
    let crowd = match Crowd::new(&options, Rc::clone(&stop)) {
        Ok(crowd) => Rc::new(crowd),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}: {}", options.name, text::printable(&error.to_string()));
            return Exit::Storage;
        }
    };
    let reporter = tokio::task::spawn_local(report_every_second(
        options.name.clone(),
        options.duration.map(|duration| options.warm_up + duration),
        Rc::clone(&crowd),
        Rc::clone(&stop),
    ));
    let mut client = Client {
        options,
        node,
        crowd,
        stop,
        backoff: Backoff::default(),
        random: ChaCha8Rng::from_os_rng(),
        storm: None,
        looks: Rc::default(),
        fingerprint: None,
    };
    let exit = client.live().await;
    reporter.abort();
    client.tell_all(exit)
}

/// Starts the node of a client of that name; without one it is the first of client@1, client@2, ... that no process of
/// this user has. Inside a [`LocalSet`](tokio::task::LocalSet).
///
/// # Errors
/// [`StartError`].
pub fn start(engine: &Whereabouts, name: Option<&str>, patience: Patience) -> Result<Node, StartError> {
    let patience = match patience {
        Patience::Endless => ENDLESS_WELCOME,
        Patience::Once => ONCE_WELCOME,
    };
    let options = node::Options { patience, ..engine.options() };
    if let Some(name) = name.map(ToOwned::to_owned).or_else(Identity::name_from_env) {
        return Node::start_with(&name, options);
    }
    // Who listens under a name has it; the others see that.
    let options = node::Options { listen: Listen::Socket, ..options };
    let mut number = 1;
    loop {
        match Node::start_with(&format!("client@{number}"), options.clone()) {
            Err(StartError::Listen(ListenError::InUse { .. })) => number += 1,
            started => return started,
        }
    }
}

/// One client process.
struct Client {
    options: Options,
    node: Node,
    crowd: Rc<Crowd>,
    stop: Rc<Stop>,
    backoff: Backoff,
    random: ChaCha8Rng,
    /// The first registration of everybody.
    storm: Option<Storm>,
    /// The engine in the measured window, now and then.
    looks: Rc<RefCell<Looks>>,
    fingerprint: Option<String>,
}

impl Client {
    /// One engine after the other.
    async fn live(&mut self) -> Exit {
        let stop = Rc::clone(&self.stop);
        let mut met = false;
        while !stop.is_wanted() {
            let found = tokio::select! {
                biased;
                () = stop.wanted() => break,
                found = self.find_engine() => found,
            };
            let engine = match found {
                Ok(engine) => Rc::new(engine),
                Err(error) => {
                    self.tell(&format!("engine not available: {error}"));
                    return if error.is_temporary() { Exit::EngineUnavailable } else { Exit::Incompatible };
                }
            };
            if std::mem::replace(&mut met, true) {
                self.crowd.report().borrow_mut().reconnects += 1;
            }
            let Left::Lost(why) = self.stay(&engine).await else { break };
            match self.options.patience {
                Patience::Endless => self.tell(&format!("lost the engine: {why}; looking for it again")),
                Patience::Once => {
                    self.tell(&format!("engine not available: {why}"));
                    return Exit::EngineUnavailable;
                }
            }
            // All clients of the engine lost it in this instant. The window grows if it dies of being asked.
            let delay = self.backoff.next(&mut self.random);
            tokio::select! {
                () = stop.wanted() => break,
                () = tokio::time::sleep(delay) => {}
            }
        }
        Exit::Done
    }

    /// Tries until the engine answers. Why it does not is told when it changes, not for every attempt.
    async fn find_engine(&mut self) -> Result<Remote, ConnectError> {
        let (node, engine) = (self.node.clone(), self.options.engine.clone());
        let mut told = None;
        loop {
            let error = match Remote::find(&node, engine.node(), LAST_ANSWERS).await {
                Ok(engine) => {
                    if told.is_some() {
                        self.tell(&format!("engine available: {}", engine.identity()));
                    }
                    return Ok(engine);
                }
                Err(error) => error,
            };
            if self.options.patience == Patience::Once || !error.is_temporary() {
                return Err(error);
            }
            if told.as_ref() != Some(&error) {
                self.tell(&format!("engine not available: {error}; trying again until it is there"));
                told = Some(error);
            }
            tokio::time::sleep(self.backoff.next(&mut self.random)).await;
        }
    }

    /// Registers the crowd and lets it act for as long as there is this engine and nobody asks to stop.
    async fn stay(&mut self, engine: &Rc<Remote>) -> Left {
        let stop = Rc::clone(&self.stop);
        let begun = Instant::now();
        let enrolled = tokio::select! {
            biased;
            () = stop.wanted() => return Left::Stopping,
            enrolled = self.crowd.enrol(engine) => enrolled,
        };
        match enrolled {
            Ok(None) => {}
            Ok(Some(enrolled)) => self.announce(enrolled, engine.identity(), begun.elapsed()),
            Err(error) => return Left::Lost(error.to_string()),
        }
        self.backoff.reset();
        let dropper = self.options.drop_every.map(|every| self.drop_after(every));
        self.act(engine).await;
        dropper.inspect(JoinHandle::abort);
        if self.crowd.is_over() {
            stop.want();
        }
        if stop.is_wanted() {
            self.crowd.report().borrow_mut().end(self.node.traffic());
            self.look_once_more(engine).await;
            return Left::Stopping;
        }
        let reason = engine.ended().await;
        Left::Lost(format!("{}: {reason}", engine.identity()))
    }

    fn announce(&mut self, enrolled: Enrolled, server: &Identity, took: Duration) {
        let seconds = took.as_secs_f64();
        let text = format!(
            "{} users, {} subreddits, {} memberships registered at {server} in {seconds:.2} s",
            grouped(enrolled.users),
            grouped(enrolled.subreddits),
            grouped(enrolled.memberships),
        );
        let Enrolled { users, subreddits, memberships } = enrolled;
        self.storm.get_or_insert(Storm { users, subreddits, memberships, seconds });
        if say(&self.options.name, &text).is_err() {
            self.stop.want();
        }
    }

    /// Closes the connection in about that time, somewhere from half of it to one and a half.
    fn drop_after(&mut self, every: Duration) -> JoinHandle<()> {
        let after = every.mul_f64(0.5 + f64::from(self.random.next_u32()) / f64::from(u32::MAX));
        let (node, engine) = (self.node.clone(), self.options.engine.node().to_owned());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(after).await;
            node.disconnect(&engine);
        })
    }

    async fn act(&self, engine: &Rc<Remote>) {
        let begun = self.crowd.report().borrow().since.is_some();
        if !begun {
            self.measure_after_warm_up(engine);
        }
        let grace = async {
            self.stop.wanted().await;
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            () = self.crowd.act(engine) => {}
            () = self.look_now_and_then(engine) => {}
            () = grace => self.tell("stopping without the last answers: the engine does not give them"),
        }
    }

    /// Begins the measured window when it is time, and asks to stop at its end.
    fn measure_after_warm_up(&self, engine: &Rc<Remote>) {
        let (crowd, stop, node) = (Rc::clone(&self.crowd), Rc::clone(&self.stop), self.node.clone());
        let Options { warm_up, duration, lockstep, .. } = self.options;
        if warm_up.is_zero() {
            crowd.report().borrow_mut().begin(node.traffic());
        }
        let (engine, looks) = (Rc::clone(engine), Rc::clone(&self.looks));
        tokio::task::spawn_local(async move {
            if !warm_up.is_zero() {
                tokio::time::sleep(warm_up).await;
                crowd.report().borrow_mut().begin(node.traffic());
                if !lockstep {
                    look(&engine, &looks).await;
                }
            }
            if let Some(duration) = duration {
                tokio::time::sleep(duration).await;
                crowd.report().borrow_mut().end(node.traffic());
                stop.want();
            }
        });
    }

    /// Looks at an engine at once and then every second, so that of one that is killed something is known. In lockstep
    /// nothing is asked: each request is a step of the engine's clock.
    async fn look_now_and_then(&self, engine: &Remote) {
        if self.options.lockstep {
            return std::future::pending().await;
        }
        let mut ticks = tokio::time::interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let is_measuring = self.crowd.report().borrow().is_measuring();
            if is_measuring {
                look(engine, &self.looks).await;
            }
        }
    }

    /// What there is to be learnt from an engine before it is left.
    async fn look_once_more(&mut self, engine: &Remote) {
        if engine.lost().is_some() || self.crowd.report().borrow().since.is_none() {
            return;
        }
        if !self.options.lockstep {
            look(engine, &self.looks).await;
            return;
        }
        let request = Request::Engine(EngineRequest::Examine);
        if let Ok(Ok(Reply::Examined(Examination { fingerprint, .. }))) =
            engine.call(&request.into(), ENDLESS_WELCOME).await
        {
            self.fingerprint = Some(format!("{fingerprint:016x}"));
        }
    }

    /// A sentence for people, on standard error.
    fn tell(&self, sentence: &str) {
        let _ = writeln!(io::stderr(), "{}: {}", self.options.name, text::printable(sentence));
    }
}

/// Looks at an engine, if it answers.
async fn look(engine: &Remote, looks: &RefCell<Looks>) {
    if let Some(look) = Look::at(engine).await {
        looks.borrow_mut().add(look);
    }
}

/// Why the client left an engine.
enum Left {
    Lost(String),
    Stopping,
}

/// Prints one line a second while the crowd is acting, or draws a bar for whoever watches. When nobody reads the lines
/// any more the client stops.
async fn report_every_second(name: String, whole: Option<Duration>, crowd: Rc<Crowd>, stop: Rc<Stop>) {
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let watched = progress::is_watched();
    let mut begun = None;
    let mut told = Instant::now();
    loop {
        ticks.tick().await;
        let elapsed = told.elapsed();
        if !crowd.is_acting() {
            told = Instant::now();
            continue;
        }
        if elapsed < REPORT_EVERY / 2 {
            continue;
        }
        told = Instant::now();
        let begun = *begun.get_or_insert_with(|| Instant::now() - elapsed);
        let mut report = crowd.report().borrow_mut();
        report.sample(crowd.online());
        let line = report.line(elapsed);
        if watched {
            progress::draw(begun.elapsed(), whole, &line);
        } else if say(&name, &line).is_err() {
            return stop.want();
        }
    }
}

/// A line of output.
fn say(name: &str, text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{name} {text}")
}
