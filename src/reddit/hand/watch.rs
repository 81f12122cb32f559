//! Being told what happens while one does nothing, or something else.
//!
//! A watch has a connection of its own. It subscribes, hears, and asks again now and then, which keeps its
//! subscription and tells when that was lost; when the engine goes it looks for it and subscribes at the next one. What
//! happened in between it does not tell: that is in the lists.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::contact::{Contact, Subscribed};
use super::failure::Failure;
use super::news;
use super::people::{People, Person};
use super::verb::{Common, Topic};
use crate::node::Backoff;
use crate::reddit::Whereabouts;
use crate::reddit::protocol::subscription_manager::{News, Wants};

/// How often it asks again.
const RENEWAL: Duration = Duration::from_secs(5);

/// News that waits to be shown. What comes when there is no more room is not shown, and that is told.
const ROOM: usize = 4096;

/// What reaches a watch.
pub(super) enum Heard {
    News(News),
    /// The engine of that subscription is gone, or the connection to it.
    Gone {
        subscription: u64,
        how: String,
    },
    /// Somebody speaks, from now on or still. Dropped, the other end tells that the watch has tried to subscribe.
    Speaks(Person, SyncSender<()>),
}

/// What it has to tell.
pub(super) enum Line<'a> {
    News(&'a News),
    /// In words.
    About(&'a str),
}

/// Shows a line; an error when nobody can see it any more.
pub(super) type Screen = Box<dyn FnMut(Line<'_>) -> io::Result<()> + Send>;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody speaks, or the engine does not know who does.
    Idle,
    Subscribed,
    /// The engine is not there.
    Looking,
}

pub(super) struct Watch {
    contact: Contact,
    wants: Wants,
    heard: Receiver<Heard>,
    tell: SyncSender<Heard>,
    overrun: Arc<AtomicBool>,
    state: State,
    /// The number of the present subscription.
    subscription: u64,
    backoff: Backoff,
    random: ChaCha8Rng,
    screen: Screen,
}

impl Watch {
    pub(super) fn new(
        engine: Whereabouts,
        wait: Duration,
        wants: Wants,
        screen: Screen,
    ) -> Result<Watch, Failure> {
        let contact = Contact::new("watch", engine, wait)?;
        let (tell, heard) = sync_channel(ROOM);
        let overrun = Arc::new(AtomicBool::new(false));
        let (to_watch, full) = (tell.clone(), Arc::clone(&overrun));
        // On the node's thread, which the watch itself may wait for.
        contact.hear(move |news| {
            if to_watch.try_send(Heard::News(news)).is_err() {
                full.store(true, Ordering::Relaxed);
            }
        })?;
        let (backoff, random) = (Backoff::default(), ChaCha8Rng::from_os_rng());
        let state = State::Idle;
        Ok(Watch { contact, wants, heard, tell, overrun, state, subscription: 0, backoff, random, screen })
    }

    /// Where it can be told who speaks.
    pub(super) fn teller(&self) -> SyncSender<Heard> {
        self.tell.clone()
    }

    /// Subscribes for somebody.
    fn watch_for(&mut self, person: Person) -> Result<(), Failure> {
        let same = self.contact.speaker().is_some_and(|speaker| speaker.name == person.name);
        if !same {
            if self.state == State::Subscribed {
                self.contact.unsubscribe();
            }
            self.contact.speak_for(person);
            self.state = State::Idle;
        }
        if self.state == State::Subscribed { Ok(()) } else { self.attempt() }
    }

    /// Waits for the next thing and does what is to be done about it. An error says that it waits for somebody to speak.
    pub(super) fn step(&mut self) -> Result<(), Failure> {
        let heard = match self.state {
            State::Idle => self.heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
            State::Subscribed => self.heard.recv_timeout(RENEWAL),
            State::Looking => self.heard.recv_timeout(self.backoff.next(&mut self.random)),
        };
        if self.overrun.swap(false, Ordering::Relaxed) {
            self.missed()?;
        }
        match heard {
            Ok(Heard::News(news)) => self.show(Line::News(&news)),
            Ok(Heard::Gone { subscription, how }) => {
                if subscription == self.subscription && self.state == State::Subscribed {
                    self.lost(&how)?;
                }
                Ok(())
            }
            Ok(Heard::Speaks(person, _done)) => self.watch_for(person),
            Err(RecvTimeoutError::Timeout) => self.attempt(),
            Err(RecvTimeoutError::Disconnected) => unreachable!("it holds a sender itself"),
        }
    }

    /// Subscribes, or asks for what it has again.
    fn attempt(&mut self) -> Result<(), Failure> {
        match (self.contact.subscribe(self.wants), self.state) {
            (Ok(Subscribed { anew: false, .. }), State::Subscribed) => Ok(()),
            (Ok(Subscribed { anew: true, .. }), State::Subscribed) => self.missed(),
            (Ok(Subscribed { engine, .. }), State::Idle | State::Looking) => {
                let before = std::mem::replace(&mut self.state, State::Subscribed);
                self.backoff.reset();
                self.await_end()?;
                match before {
                    State::Looking => self.show(Line::About(&format!("engine available: {engine}"))),
                    State::Idle | State::Subscribed => Ok(()),
                }
            }
            (Err(Failure::NoEngine(why) | Failure::NoAnswer(why)), state) => match state {
                State::Subscribed => self.lost(&why),
                State::Idle | State::Looking => {
                    self.state = State::Looking;
                    Ok(())
                }
            },
            (Err(failure), _) => {
                self.state = State::Idle;
                Err(failure)
            }
        }
    }

    /// Hears of the end of the engine as soon as the node does.
    fn await_end(&mut self) -> Result<(), Failure> {
        self.subscription += 1;
        let (subscription, end, tell) = (self.subscription, self.contact.end(), self.tell.clone());
        let waits = move || {
            let how =
                end.wait(Duration::MAX).map_or_else(|| "ended".to_owned(), |down| down.reason.to_string());
            // Nobody hears it when the watch is over.
            let _ = tell.send(Heard::Gone { subscription, how });
        };
        let started = std::thread::Builder::new().name("watch".to_owned()).spawn(waits);
        started.map(drop).map_err(|error| Failure::File { what: "cannot start a thread".to_owned(), error })
    }

    fn lost(&mut self, why: &str) -> Result<(), Failure> {
        self.state = State::Looking;
        self.contact.lose();
        self.show(Line::About(&format!("lost the engine: {why}; looking for it again")))
    }

    fn missed(&mut self) -> Result<(), Failure> {
        self.show(Line::About("too much at once: some news was not told, and is in the lists"))
    }

    fn show(&mut self, line: Line<'_>) -> Result<(), Failure> {
        (self.screen)(line).map_err(|error| Failure::File { what: "cannot print".to_owned(), error })
    }
}

/// Prints what happens, one line each, until it is ended or nobody reads it any more.
pub(super) fn run(common: Common, topics: &[Topic]) -> Result<(), Failure> {
    let Common { engine, user, json, wait_engine } = common;
    let person = People::at_home()?.who(user.as_deref())?;
    let screen = move |line: Line<'_>| match line {
        Line::News(told) => {
            let mut out = io::stdout().lock();
            out.write_all(news::line(told, json).as_bytes()).and_then(|()| out.flush())
        }
        Line::About(text) => {
            // Whether this is read changes nothing.
            let _ = writeln!(io::stderr(), "{}", crate::text::printable(text));
            Ok(())
        }
    };
    let mut watch = Watch::new(engine, wait_engine, wants(topics), Box::new(screen))?;
    let engine = watch.contact.ping()?;
    let name = person.name.clone();
    watch.watch_for(person)?;
    watch.show(Line::About(&format!("watching for {name} at {engine}")))?;
    loop {
        match watch.step() {
            Ok(()) => {}
            Err(Failure::File { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(failure) => return Err(failure),
        }
    }
}

/// Nothing named is everything.
fn wants(topics: &[Topic]) -> Wants {
    let named = |topic| topics.is_empty() || topics.contains(&topic);
    Wants { messages: named(Topic::Messages), replies: named(Topic::Replies), feed: named(Topic::Feed) }
}
