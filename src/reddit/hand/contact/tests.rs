//! An operation whose stream the engine has forgotten.

use std::cell::RefCell;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::*;
use crate::node::Node;
use crate::reddit::model::{Secret, UserId};
use crate::reddit::protocol::{Actor, Stats, Token};

/// What an engine makes of an operation.
#[derive(Clone, Copy)]
enum Does {
    /// No answer.
    GiveUp,
    SayTooOld,
    Register,
}

/// An engine that does this with the operations that come, in this order, and tells of each.
struct Scripted {
    asked: Receiver<Asked>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Scripted {
    fn start(socket: &Path, script: Vec<Does>) -> Scripted {
        let (tell, asked) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let place = Whereabouts::from(socket);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                let node = Node::start_with(place.node(), place.engine_options()).unwrap();
                let mut mailbox = node.mailbox::<Envelope, Answer>();
                for actor in Actor::ALL {
                    node.register(actor.name(), &mailbox).await.unwrap();
                }
                ready.send(()).unwrap();
                let script = RefCell::new(script.into_iter());
                let serve = async {
                    let mut arrived = Vec::new();
                    loop {
                        mailbox.turn(&mut arrived).await;
                        for crate::node::Request { from, body } in arrived.drain(..) {
                            let Some(op) = body.op else {
                                let stats = Stats { operations: 7, ..Stats::default() };
                                mailbox.reply(from, &Ok(Reply::Engine(stats)));
                                continue;
                            };
                            tell.send(op).unwrap();
                            match script.borrow_mut().next().expect("no more is asked for") {
                                Does::GiveUp => drop(from),
                                Does::SayTooOld => mailbox.reply(from, &Err(TOO_OLD)),
                                Does::Register => {
                                    let session = Session { user: UserId(1), token: Token(1) };
                                    let reply = user_registry::Reply::LoggedIn(session);
                                    mailbox.reply(from, &Ok(Reply::UserRegistry(reply)));
                                }
                            }
                        }
                        mailbox.flush();
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Scripted { asked, stop, thread }
    }

    /// All that was asked of it.
    fn end(self) -> Vec<Asked> {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
        self.asked.iter().collect()
    }
}

fn register(contact: &mut Contact, name: &str) -> Result<(), Failure> {
    contact.register(Person { name: name.into(), secret: Secret([7; 16]) }, None)
}

#[test]
fn what_may_have_been_done_is_told_as_too_old_and_not_asked_for_under_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let engine = Scripted::start(&socket, vec![Does::GiveUp, Does::SayTooOld, Does::Register]);
    let mut contact = Contact::new("hand", Whereabouts::from(socket.as_path()), Duration::ZERO).unwrap();
    let told = register(&mut contact, "ada").unwrap_err();
    assert!(told.to_string().contains("it may have been done"), "{told}");
    register(&mut contact, "ada").unwrap();
    drop(contact);
    let [first, again, next] = engine.end().try_into().unwrap();
    assert_eq!((first, first.since), (again, 7));
    assert_ne!(next.op.stream, first.op.stream, "what comes after it belongs to another stream");
}

#[test]
fn what_was_never_asked_for_is_asked_for_in_a_new_stream() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let engine =
        Scripted::start(&socket, vec![Does::SayTooOld, Does::Register, Does::SayTooOld, Does::SayTooOld]);
    let mut contact = Contact::new("hand", Whereabouts::from(socket.as_path()), Duration::ZERO).unwrap();
    register(&mut contact, "ada").unwrap();
    assert!(
        matches!(register(&mut contact, "bob"), Err(Failure::Refused(TOO_OLD))),
        "once, and not for ever"
    );
    drop(contact);
    let asked = engine.end();
    assert_ne!(asked[0].op.stream, asked[1].op.stream);
    assert_eq!(asked.len(), 4);
}
