//! The engine as a node: one thread, one loop, one turn at a time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::verifier::Verifier;
use super::{Clock, Engine, Subscriptions, Unreachable};
use crate::node::{Address, Caller, Node, Notifier, Request, Termination};
use crate::reddit::Exit;
use crate::reddit::model::{Error, Model};
use crate::reddit::protocol::{Actor, Answer, EngineRequest, Envelope, Request as Body};
use crate::reddit::store::{Durability, OpenError, Store};

/// How long clients may take to read their last replies.
const LAST_REPLIES: Duration = Duration::from_secs(1);

/// Where an engine keeps what happens.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The store's folder.
    pub dir: PathBuf,
    /// What acknowledged writes survive.
    pub durability: Durability,
}

/// Serves until it is asked to stop, then finishes the turn at hand. Inside a [`LocalSet`](tokio::task::LocalSet).
///
/// All actors have one mailbox, each under its name, so that everything that is there is one turn whomever it is for: it is
/// answered together, kept together, and acknowledged together. Connections wait in the node's queue until the store is
/// read; then a supervisor is told that it is ready.
pub async fn serve(
    node: Node,
    keeping: Option<Keeping>,
    mut clock: Clock,
    mut termination: Termination,
) -> Exit {
    let mut engine = match keeping.map(|keeping| open(&keeping)).transpose() {
        Ok(None) => Engine::new(),
        Ok(Some((model, store))) => Engine::with(model, Some(store)),
        Err(error) => {
            tracing::error!("{error}");
            return Exit::of(&error);
        }
    };
    let notifier = Notifier::from_env();
    let mut mailbox = node.mailbox::<Envelope, Answer>();
    for actor in Actor::ALL {
        if let Err(error) = node.register(actor.name(), &mailbox).await {
            tracing::error!("{error}");
            return Exit::InUse;
        }
    }
    tracing::info!("{} listening on {}", node.identity(), node.location());
    notifier.ready(&format!("serving {}", node.location()));

    let mut subscriptions = Subscriptions::default();
    let mut arrived = Vec::new();
    let mut verifier = Verifier::new();
    let mut verified = Vec::new();
    let signal = loop {
        tokio::select! {
            biased;
            signal = termination.requested() => break signal,
            () = mailbox.turn(&mut arrived) => {}
            () = verifier.ready() => {}
            () = until(engine.next_look()) => {}
        }
        engine.misunderstood(mailbox.misunderstood());
        let now_ms = clock.now_ms(arrived.len());
        for ((from, body), fits) in verifier.judged() {
            if fits {
                verified.push((from, body));
            } else {
                engine.refuse(from, Error::BadSignature, |to, answer| mailbox.reply(to, answer));
            }
        }
        let is_forbidden = |request: &mut Request<Envelope>| {
            let is_look = matches!(request.body.request, Body::Engine(EngineRequest::Examine));
            is_look && !request.from.is_own_user()
        };
        for Request { from, .. } in arrived.extract_if(.., is_forbidden) {
            engine.refuse(from, Error::NotPermitted, |to, answer| mailbox.reply(to, answer));
        }
        // What is signed is set aside: it comes to a later turn, verified, or to none.
        let mut claims = Vec::new();
        let is_signed = |request: &mut Request<Envelope>| {
            let claim = engine.claim(&request.body.request);
            let is_signed = claim.is_some();
            claims.extend(claim);
            is_signed
        };
        let signed: Vec<_> = arrived.extract_if(.., is_signed).collect();
        for (Request { from, body }, claim) in signed.into_iter().zip(claims) {
            let (from, error) = match claim {
                Ok(claim) => match verifier.put(claim, (from, body)) {
                    Ok(()) => continue,
                    Err((from, _)) => (from, Error::Overloaded),
                },
                Err(error) => (from, error),
            };
            engine.refuse(from, error, |to, answer| mailbox.reply(to, answer));
        }
        let arrived = arrived.drain(..).map(|Request { from, body }| (from, body));
        engine.turn(arrived.chain(verified.drain(..)), now_ms, |to, answer| mailbox.reply(to, answer));
        engine.subscribe(
            &mut subscriptions,
            |from, name| find(&node, from, name),
            |to, answer| mailbox.reply(to, answer),
        );
        if let Err(error) = engine.settle() {
            // Not even the replies of this turn that changed nothing: what they say may be of what is lost.
            tracing::error!("the store cannot be written, nothing more is acknowledged: {error}");
            return Exit::Storage;
        }
        mailbox.flush();
        // A reader that has as much under way as it may is not waited for.
        engine.push(&mut subscriptions, |to, news| node.try_cast(to, news).map_err(|_| Unreachable));
        engine.sweep(&mut subscriptions, |to| node.is_there(to));
    };

    notifier.stopping();
    let stats = engine.stats();
    tracing::info!(
        nodes = node.nodes().len(),
        requests = stats.requests,
        misunderstood = stats.misunderstood,
        turns = stats.turns,
        records = stats.records,
        users = stats.users,
        subreddits = stats.subreddits,
        posts = stats.posts,
        comments = stats.comments,
        messages = stats.messages,
        votes = stats.votes,
        "stopping on {signal}"
    );
    if !node.drain(LAST_REPLIES).await {
        tracing::warn!("some clients did not read their last replies within {LAST_REPLIES:?}");
    }
    Exit::Done
}

/// Waits until then, or for ever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// A mailbox of the node that asks, and of no other one's.
fn find(node: &Node, from: &Caller, name: &str) -> Option<Address> {
    node.whereis(name).filter(|found| from.node() == Some(found.node()))
}

fn open(keeping: &Keeping) -> Result<(Model, Store), OpenError> {
    let begun = Instant::now();
    let (store, model, contents) = Store::open(&keeping.dir, keeping.durability)?;
    let (torn, next) = (contents.torn, contents.next);
    match &contents.aside {
        Some(aside) => tracing::warn!(
            "the log is not whole behind entry {next} (did the power fail?): {} entries written after it was last synced \
             are lost, and {torn} bytes are moved to {}",
            contents.beyond,
            aside.display()
        ),
        None if torn > 0 => {
            tracing::warn!(
                "the log ends in {torn} bytes that are no whole entries, behind entry {next}; they are cut off"
            );
        }
        None => {}
    }
    let (dir, entries) = (keeping.dir.display(), contents.entries);
    tracing::info!(
        "{dir}: {entries} entries read after the snapshot in {:.3} s",
        begun.elapsed().as_secs_f64()
    );
    Ok((model, store))
}
