//! Getting an answer out of the engine, also when it is restarted in between.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::failure::Failure;
use super::people::Person;
use crate::node::{Backoff, CallError, Fault, Identity, Listen, Options, Ping, blocking};
use crate::reddit::Whereabouts;
use crate::reddit::model::{Error, Field, Flaw, OpId, PublicKey};
use crate::reddit::protocol::subscription_manager::{News, Wants};
use crate::reddit::protocol::{
    Answer, Asked, EngineRequest, Envelope, Reply, Request, Session, subscription_manager, user_registry,
};
use crate::text;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an engine that went away while it was asked may take to come back.
const RETURN: Duration = Duration::from_secs(5);

/// The engine, and who asks it.
#[derive(Debug)]
pub(super) struct Contact {
    node: blocking::Node,
    engine: Whereabouts,
    wait: Duration,
    random: ChaCha8Rng,
    /// Names of operations: drawn for this process, and counted.
    stream: u64,
    operations: u32,
    /// Operations that the engine had carried out when the stream was begun.
    since: Option<u64>,
    /// The present engine was asked for that.
    met: bool,
    speaker: Option<Person>,
    session: Option<Session>,
}

/// A subscription stands.
#[derive(Debug)]
pub(super) struct Subscribed {
    /// At which engine.
    pub(super) engine: Identity,
    /// It is not the one that stood before.
    pub(super) anew: bool,
}

/// The engine has forgotten the stream of an operation.
const TOO_OLD: Error = Error::BadRequest { field: Field::Operation, flaw: Flaw::TooOld };

/// Something that is to be done once.
#[derive(Debug, Default)]
struct Operation {
    asked: Option<Asked>,
    /// It was asked for, and no answer came.
    is_unanswered: bool,
}

/// What became of one attempt.
enum Attempt {
    /// Asking again is of no use.
    Over(Failure),
    /// There is no engine now.
    Absent(Failure),
    /// It went away before its answer came. Whether it did what it was asked is unknown.
    Lost(Failure),
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Attempt {
        match failure {
            Failure::NoEngine(_) => Attempt::Absent(failure),
            other => Attempt::Over(other),
        }
    }
}

impl Contact {
    /// Nothing is asked yet. `role` is what this process has the contact for, `wait` is for an engine that is not there.
    pub(super) fn new(role: &str, engine: Whereabouts, wait: Duration) -> Result<Contact, Failure> {
        // Nobody calls it, so it needs no place and no name that others could know.
        let options = Options { listen: Listen::Nowhere, ..engine.options() };
        let node = blocking::Node::start_with(&format!("{role}@{}", std::process::id()), options)?;
        let mut random = ChaCha8Rng::from_os_rng();
        let stream = random.random();
        Ok(Contact {
            node,
            engine,
            wait,
            random,
            stream,
            operations: 0,
            since: None,
            met: false,
            speaker: None,
            session: None,
        })
    }

    /// The engine's name.
    pub(super) fn engine(&self) -> &str {
        self.engine.node()
    }

    /// Whether the engine is there.
    pub(super) fn ping(&mut self) -> Result<Identity, Failure> {
        self.persist(|contact| match contact.node.ping(contact.engine.node()) {
            Ping::Pong(engine) => Ok(engine),
            Ping::Pang(error) => Err(Failure::from(error).into()),
        })
    }

    /// From now on `person` speaks.
    pub(super) fn speak_for(&mut self, person: Person) {
        self.session = None;
        self.speaker = Some(person);
    }

    /// Who speaks.
    pub(super) fn speaker(&self) -> Option<&Person> {
        self.speaker.as_ref()
    }

    /// Makes the one who speaks a user of the engine.
    pub(super) fn register(&mut self, person: Person, key: Option<PublicKey>) -> Result<(), Failure> {
        let mut operation = Operation::default();
        let key = key.map(Box::new);
        let session = self.persist(|contact| {
            let Person { name, secret } = person.clone();
            let register = user_registry::Request::Register { name, secret, key: key.clone() };
            contact.ask_once(&mut operation, Request::UserRegistry(register)).and_then(logged_in)
        })?;
        self.speak_for(person);
        self.session = Some(session);
        Ok(())
    }

    /// Asks what anybody may ask.
    pub(super) fn look(&mut self, request: Request) -> Result<Reply, Failure> {
        let envelope = request.into();
        self.persist(|contact| contact.ask(&envelope))
    }

    /// Asks for the one who speaks. Whatever it changes happens once, however often it has to be asked.
    pub(super) fn act(&mut self, make: impl Fn(Session) -> Request) -> Result<Reply, Failure> {
        let mut operation = Operation::default();
        self.persist(|contact| {
            let session = contact.session()?;
            match contact.ask_once(&mut operation, make(session)) {
                // Logged out elsewhere, or this is another engine.
                Err(Attempt::Over(Failure::Refused(Error::BadSession))) => {
                    contact.session = None;
                    let session = contact.session()?;
                    contact.ask_once(&mut operation, make(session))
                }
                answered => answered,
            }
        })
    }

    /// Has `tell` hear, on the node's thread, what the engine tells those who subscribe.
    pub(super) fn hear(&self, tell: impl FnMut(News) + Send + 'static) -> Result<(), Failure> {
        let served = self.node.serve(&self.mailbox(), tell);
        served.map_err(|error| Failure::Incompatible(error.to_string()))
    }

    /// The name under which this node hears news.
    fn mailbox(&self) -> String {
        format!("{}.news", self.node.identity().node)
    }

    /// Subscribes for the one who speaks, or asks whether that still stands. There is one attempt, and who was logged out
    /// elsewhere is not logged in again.
    pub(super) fn subscribe(&mut self, wants: Wants) -> Result<Subscribed, Failure> {
        let mailbox = self.mailbox().into();
        let asked = self.session().and_then(|session| {
            let subscribe = subscription_manager::Request::Subscribe { session, mailbox, wants };
            self.ask(&Request::SubscriptionManager(subscribe).into())
        });
        match asked {
            Ok(Reply::SubscriptionManager(subscription_manager::Reply::Subscribed { anew })) => {
                Ok(Subscribed { engine: self.node.connect(self.engine.node())?, anew })
            }
            Ok(_) => Err(other_answer()),
            Err(Attempt::Over(failure) | Attempt::Absent(failure) | Attempt::Lost(failure)) => {
                self.session = None;
                Err(failure)
            }
        }
    }

    /// Ends the subscription of the one who speaks, if the engine can be told.
    pub(super) fn unsubscribe(&mut self) {
        if let Some(session) = self.session {
            let unsubscribe =
                subscription_manager::Request::Unsubscribe { session, mailbox: self.mailbox().into() };
            // Where it cannot be told there is nothing to end.
            let _ = self.ask(&Request::SubscriptionManager(unsubscribe).into());
        }
    }

    /// The engine is gone, and its sessions with it.
    pub(super) fn lose(&mut self) {
        self.session = None;
        self.met = false;
    }

    /// Waits for the end of the engine, or of the connection.
    pub(super) fn end(&self) -> blocking::Monitor {
        self.node.monitor_node(self.engine.node())
    }

    /// Asks for an operation, under the same name every time. When the engine has forgotten the stream: an operation that was
    /// never asked for gets a name in a new one; of any other it is unknown whether it was done, and that is the answer.
    fn ask_once(&mut self, operation: &mut Operation, request: Request) -> Result<Reply, Attempt> {
        let since = self.since()?;
        let asked = match operation.asked {
            // An engine that lost what it had carried out counts again.
            Some(Asked { op, since: then }) => Asked { op, since: then.min(since) },
            None => {
                self.operations += 1;
                Asked { op: OpId { stream: self.stream, number: self.operations }, since }
            }
        };
        operation.asked = Some(asked);
        match self.ask(&request.clone().asked(asked)) {
            Err(Attempt::Lost(failure)) => {
                operation.is_unanswered = true;
                Err(Attempt::Lost(failure))
            }
            Err(Attempt::Over(Failure::Refused(TOO_OLD))) => {
                self.begin_stream();
                if operation.is_unanswered {
                    return Err(Attempt::Over(Failure::Refused(TOO_OLD)));
                }
                *operation = Operation { asked: None, is_unanswered: true };
                self.ask_once(operation, request)
            }
            answered => answered,
        }
    }

    /// Names of operations to come belong to another stream.
    fn begin_stream(&mut self) {
        (self.stream, self.operations) = (self.random.random(), 0);
        (self.since, self.met) = (None, false);
    }

    /// Operations that had been carried out when the stream was begun, as this engine counts them.
    fn since(&mut self) -> Result<u64, Attempt> {
        if let (Some(since), true) = (self.since, self.met) {
            return Ok(since);
        }
        let Reply::Engine(stats) = self.ask(&Request::Engine(EngineRequest::Stats).into())? else {
            return Err(Attempt::Over(other_answer()));
        };
        let since = self.since.map_or(stats.operations, |since| since.min(stats.operations));
        (self.since, self.met) = (Some(since), true);
        Ok(since)
    }

    fn session(&mut self) -> Result<Session, Attempt> {
        if let Some(session) = self.session {
            return Ok(session);
        }
        let nobody = || Failure::Usage("say who you are: register NAME".to_owned());
        let Person { name, secret } = self.speaker.clone().ok_or_else(nobody)?;
        let text = name.to_string();
        let login = user_registry::Request::Login { name, secret };
        let session = self.ask(&Request::UserRegistry(login).into()).and_then(logged_in);
        let session = session.map_err(|attempt| match attempt {
            Attempt::Over(Failure::Refused(Error::NotFound(_))) => {
                Failure::Usage(format!("this engine knows no {text}: register {text}")).into()
            }
            other => other,
        })?;
        self.session = Some(session);
        Ok(session)
    }

    /// One question, one answer.
    fn ask(&mut self, envelope: &Envelope) -> Result<Reply, Attempt> {
        let connected = self.node.connect(self.engine.node());
        connected.map_err(|error| Attempt::from(Failure::from(error)))?;
        let actor = envelope.request.actor().name();
        let answer: Answer = self.node.call(actor, envelope.clone(), PATIENCE).map_err(unanswered)?;
        answer.map_err(|error| Attempt::Over(error.into()))
    }

    /// Tries until there is an answer, for as long as there is patience.
    fn persist<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Contact) -> Result<T, Attempt>,
    ) -> Result<T, Failure> {
        let mut backoff = Backoff::default();
        let mut until = Instant::now() + self.wait;
        let mut lost = false;
        let mut told = false;
        loop {
            let mut failure = match attempt(self) {
                Ok(done) => return Ok(done),
                Err(Attempt::Over(failure)) => return Err(failure),
                Err(Attempt::Absent(failure)) => failure,
                Err(Attempt::Lost(failure)) => {
                    self.lose();
                    if !std::mem::replace(&mut lost, true) {
                        until = until.max(Instant::now() + RETURN);
                    }
                    failure
                }
            };
            if let (true, Failure::NoEngine(why)) = (lost, &failure) {
                failure = Failure::NoAnswer(why.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failure);
            }
            if !std::mem::replace(&mut told, true) {
                // Whether this is read changes nothing.
                let (why, left) = (failure.to_string(), left.as_secs_f64());
                let _ = writeln!(io::stderr(), "{}; trying again for {left:.0} s", text::printable(&why));
            }
            std::thread::sleep(backoff.next(&mut self.random).min(left));
        }
    }
}

fn unanswered(error: CallError) -> Attempt {
    match error {
        CallError::Lost(_)
        | CallError::NoName(_)
        | CallError::Unreachable { .. }
        | CallError::Refused(Fault::GivenUp | Fault::NoMailbox) => {
            Attempt::Lost(Failure::NoAnswer(error.to_string()))
        }
        CallError::TimedOut { .. } => Attempt::Over(Failure::NoAnswer(error.to_string())),
        CallError::BadReply | CallError::Refused(Fault::BadRequest) => {
            Attempt::Over(Failure::Incompatible(error.to_string()))
        }
        CallError::TooLarge { .. } | CallError::Refused(Fault::ReplyTooLarge { .. }) => {
            Attempt::Over(Failure::Impossible(error))
        }
    }
}

fn logged_in(reply: Reply) -> Result<Session, Attempt> {
    match reply {
        Reply::UserRegistry(user_registry::Reply::LoggedIn(session)) => Ok(session),
        _ => Err(Attempt::Over(other_answer())),
    }
}

/// The engine answered what was not asked.
pub(super) fn other_answer() -> Failure {
    Failure::Incompatible("it answered something else than was asked".to_owned())
}

#[cfg(test)]
mod tests;
