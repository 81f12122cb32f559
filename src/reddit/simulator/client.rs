//! The client process: finds the engine, lets the crowd act, comes back when the engine was away.

use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::time::Instant;

use super::crowd::{Crowd, Enrolled};
use super::report::grouped;
use super::stop::Stop;
use super::{Options, Patience};
use crate::node::{self, Backoff, ConnectError, Identity, Node, Termination};
use crate::reddit::{Exit, Remote};

/// A supervisor that owns the socket lets connections wait while the engine is being restarted.
const ENDLESS_WELCOME: Duration = Duration::from_secs(10);

/// With [`Patience::Once`] everything is over within a second.
const ONCE_WELCOME: Duration = Duration::from_millis(500);

/// Delays between attempts to reach the engine.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LARGEST_DELAY: Duration = Duration::from_secs(2);

/// How long actions in flight may take to end when the client is asked to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Runs one client until it is asked to stop, its time is over, or there is no engine and it is not to wait for one.
/// Inside a [`LocalSet`](tokio::task::LocalSet).
pub async fn run(options: Options, mut termination: Termination) -> Exit {
    let node = match Node::start_with(&options.name, node_options(&options)) {
        Ok(node) => node,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}: {error}", options.name);
            return Exit::of_start(&error);
        }
    };
    let stop = Rc::new(Stop::default());
    let on_signal = Rc::clone(&stop);
    tokio::task::spawn_local(async move {
        termination.requested().await;
        on_signal.want();
    });
    let crowd = Rc::new(Crowd::new(&options, Rc::clone(&stop)));
    let acting = Rc::new(Acting::default());
    let reporter = tokio::task::spawn_local(report_every_second(
        options.name.clone(),
        Rc::clone(&crowd),
        Rc::clone(&acting),
        Rc::clone(&stop),
    ));
    let backoff = Backoff::new(FIRST_DELAY, LARGEST_DELAY);
    let mut client =
        Client { options, node, crowd, acting, stop, backoff, random: ChaCha8Rng::from_os_rng() };
    let exit = client.live().await;
    reporter.abort();
    let acted = client.acting.so_far();
    if !acted.is_zero() {
        let totals = client.crowd.report().borrow_mut().totals(acted);
        // The reader may be gone, and there is nobody else to tell.
        let _ = say(&client.options.name, &totals);
    }
    exit
}

fn node_options(options: &Options) -> node::Options {
    let patience = match options.patience {
        Patience::Endless => ENDLESS_WELCOME,
        Patience::Once => ONCE_WELCOME,
    };
    node::Options { patience, ..options.engine.options() }
}

/// One client process.
struct Client {
    options: Options,
    node: Node,
    crowd: Rc<Crowd>,
    acting: Rc<Acting>,
    stop: Rc<Stop>,
    backoff: Backoff,
    random: ChaCha8Rng,
}

/// The time in which users act, without the gaps between two engines.
#[derive(Debug, Default)]
struct Acting {
    before: Cell<Duration>,
    since: Cell<Option<Instant>>,
}

impl Acting {
    fn begin(&self) {
        self.since.set(Some(Instant::now()));
    }

    fn end(&self) {
        self.before.set(self.so_far());
        self.since.set(None);
    }

    fn now(&self) -> bool {
        self.since.get().is_some()
    }

    fn so_far(&self) -> Duration {
        self.before.get() + self.since.get().map_or(Duration::ZERO, |since| since.elapsed())
    }
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
                self.crowd.report().borrow_mut().reconnected();
            }
            let Left::Lost(why) = self.stay(&engine).await else { break };
            match self.options.patience {
                Patience::Endless => self.tell(&format!("lost the engine: {why}; looking for it again")),
                Patience::Once => {
                    self.tell(&format!("engine not available: {why}"));
                    return Exit::EngineUnavailable;
                }
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
            Err(error) => {
                // An engine that dies of being asked is not to be asked again as fast as it comes back.
                let delay = self.backoff.next(&mut self.random);
                return tokio::select! {
                    () = stop.wanted() => Left::Stopping,
                    () = tokio::time::sleep(delay) => Left::Lost(error.to_string()),
                };
            }
        }
        self.backoff.reset();
        self.act(engine).await;
        if stop.is_wanted() {
            return Left::Stopping;
        }
        let reason = engine.ended().await;
        Left::Lost(format!("{}: {reason}", engine.identity()))
    }

    fn announce(&self, enrolled: Enrolled, server: &Identity, took: Duration) {
        let text = format!(
            "{} users, {} subreddits, {} memberships registered at {server} in {:.2} s",
            grouped(enrolled.users),
            grouped(enrolled.subreddits),
            grouped(enrolled.memberships),
            took.as_secs_f64(),
        );
        if say(&self.options.name, &text).is_err() {
            self.stop.want();
        }
    }

    async fn act(&self, engine: &Rc<Remote>) {
        if let (Some(duration), true) = (self.options.duration, self.acting.so_far().is_zero()) {
            let stop = Rc::clone(&self.stop);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(duration).await;
                stop.want();
            });
        }
        self.acting.begin();
        let grace = async {
            self.stop.wanted().await;
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            () = self.crowd.act(engine) => {}
            () = grace => self.tell("stopping without the last answers: the engine does not give them"),
        }
        self.acting.end();
    }

    /// A sentence for people, on standard error.
    fn tell(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}: {text}", self.options.name);
    }
}

/// Why the client left an engine.
enum Left {
    Lost(String),
    Stopping,
}

/// Prints one line a second while the crowd is acting. When nobody reads the lines any more the client stops.
async fn report_every_second(name: String, crowd: Rc<Crowd>, acting: Rc<Acting>, stop: Rc<Stop>) {
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = acting.so_far();
    loop {
        ticks.tick().await;
        let elapsed = acting.so_far() - told;
        if !acting.now() || elapsed < REPORT_EVERY / 2 {
            continue;
        }
        told = acting.so_far();
        let line = crowd.report().borrow_mut().line(elapsed);
        if say(&name, &line).is_err() {
            return stop.want();
        }
    }
}

/// A line of output.
fn say(name: &str, text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{name} {text}")
}
