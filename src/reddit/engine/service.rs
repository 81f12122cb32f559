//! The engine behind its socket: one thread, one loop, one turn at a time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Engine;
use crate::node::{Call, Identity, Limits, Listener, Notifier, Server, Termination};
use crate::reddit::protocol::{self, Stats};

/// How long clients may take to read their last replies.
const LAST_REPLIES: Duration = Duration::from_secs(1);

/// Serves until it is asked to stop, then finishes the turn at hand and returns the counters. Inside a
/// [`LocalSet`](tokio::task::LocalSet).
pub async fn serve(listener: Listener, identity: Identity, mut termination: Termination) -> Stats {
    let notifier = Notifier::from_env();
    let place = listener
        .path()
        .map_or_else(|| "a socket without a path".to_owned(), |path| path.display().to_string());
    tracing::info!("{identity} listening on {place}");
    let mut server = Server::start(listener, identity, protocol::VERSION, Limits::default());
    notifier.ready(&format!("serving {place}"));

    let mut engine = Engine::new();
    let mut calls = Vec::new();
    let signal = loop {
        tokio::select! {
            biased;
            signal = termination.requested() => break signal,
            () = server.turn(&mut calls) => {}
        }
        let requests = calls.drain(..).map(|Call { from, request }| (from, request));
        engine.turn(requests, now_ms(), |to, answer| server.reply(to, answer));
        server.flush();
    };

    notifier.stopping();
    let stats = engine.stats();
    tracing::info!(
        connections = server.connections(),
        requests = stats.requests,
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
    server.drain(LAST_REPLIES).await;
    stats
}

/// The wall clock. It may jump; the model keeps the times of its records in order.
fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
