//! The contrast: the same engine and the same clients as tasks of one process, which is what actors in one runtime are.
//!
//! Nothing here is for use. It exists to be compared: with it, all names have one PID and one memory, and one `kill`
//! takes them all. [`calls`] measures what a call costs when it crosses no border between processes.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, spawn_local};

use super::engine::{Clock, Engine, serve};
use super::protocol::{Answer, EngineRequest, Request};
use super::{Remote, Whereabouts, simulator};
use crate::node::{Listen, Node, Options, Termination};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What takes longer is counted as this: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Calls in flight when throughput is measured.
const DEPTH: usize = 64;

/// Runs an engine and clients until asked to stop. Inside a [`LocalSet`](tokio::task::LocalSet).
///
/// # Errors
/// SIGTERM cannot be taken over.
pub async fn run(engine: Node, clients: Vec<simulator::Options>) -> io::Result<()> {
    let engine = spawn_local(serve(engine, None, Clock::Wall, Termination::listen()?));
    for client in clients {
        spawn_local(simulator::run(client, Termination::listen()?));
    }
    // It ends when it is asked to stop; a panic of any task has ended the process before.
    let _ = engine.await;
    Ok(())
}

/// What calls cost. Times in nanoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Calls {
    /// Calls one after the other.
    pub calls: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// So many of 1,000 took no longer than so long.
    pub spread: Vec<(u32, u64)>,
    /// Calls a second with 64 in flight.
    pub per_second: u64,
    /// A task started and ended, on average.
    pub task_ns: u64,
}

/// Measures calls of the engine's mailbox in this process, or of the `engine` that is another one. Inside a
/// [`LocalSet`](tokio::task::LocalSet).
///
/// # Errors
/// The engine cannot be reached, or does not answer.
pub async fn calls(number: u64, engine: Option<&Whereabouts>) -> io::Result<Calls> {
    match engine {
        Some(engine) => {
            let options = Options { listen: Listen::Nowhere, patience: PATIENCE, ..engine.options() };
            let me = Node::start_with("measure", options).map_err(io::Error::other)?;
            let found = Remote::find(&me, engine.node(), PATIENCE).await;
            let engine = Rc::new(found.map_err(io::Error::other)?);
            measure(number, || {
                let engine = Rc::clone(&engine);
                async move { engine.call(&REQUEST.into(), PATIENCE).await.map(drop).map_err(io::Error::other) }
            })
            .await
        }
        None => {
            let mailbox = mailbox();
            measure(number, || {
                let mailbox = mailbox.clone();
                async move {
                    let (reply, answer) = oneshot::channel();
                    mailbox.send((reply, REQUEST)).map_err(io::Error::other)?;
                    answer.await.map(drop).map_err(io::Error::other)
                }
            })
            .await
        }
    }
}

/// Asks for what every engine can tell at once, so that the way is measured and not the work.
const REQUEST: Request = Request::Engine(EngineRequest::Stats);

type Mail = (oneshot::Sender<Answer>, Request);

/// An engine as a task, behind a channel.
fn mailbox() -> mpsc::UnboundedSender<Mail> {
    let (sender, mut mailbox) = mpsc::unbounded_channel::<Mail>();
    spawn_local(async move {
        let mut engine = Engine::new();
        let mut mail = Vec::new();
        while mailbox.recv_many(&mut mail, DEPTH).await > 0 {
            let requests = mail.drain(..).map(|(reply, request)| (reply, request.into()));
            engine.turn(requests, 0, |reply: oneshot::Sender<Answer>, answer| {
                // Whoever asked may not wait any more.
                let _ = reply.send(answer.clone());
            });
        }
    });
    sender
}

async fn measure<F>(number: u64, call: impl Fn() -> F) -> io::Result<Calls>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let mut times = Histogram::<u64>::new_with_bounds(1, LONGEST_NS, 3).map_err(io::Error::other)?;
    for round in 0..number + number / 10 {
        let begun = Instant::now();
        call().await?;
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // The first tenth only warms up.
        if round >= number / 10 {
            times.saturating_record(took);
        }
    }
    let begun = Instant::now();
    let mut flying = JoinSet::new();
    for _ in 0..number {
        if flying.len() == DEPTH {
            flying.join_next().await.expect("some are flying").map_err(io::Error::other)??;
        }
        flying.spawn_local(call());
    }
    while let Some(ended) = flying.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    let per_second = number as f64 / begun.elapsed().as_secs_f64();
    Ok(Calls {
        calls: times.len(),
        p50_ns: times.value_at_quantile(0.5),
        p99_ns: times.value_at_quantile(0.99),
        spread: (5..1000)
            .step_by(5)
            .map(|part| (part, times.value_at_quantile(f64::from(part) / 1000.0)))
            .collect(),
        per_second: per_second as u64,
        task_ns: tasks(number).await?,
    })
}

async fn tasks(number: u64) -> io::Result<u64> {
    let begun = Instant::now();
    for _ in 0..number {
        spawn_local(async {}).await.map_err(io::Error::other)?;
    }
    Ok(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX) / number.max(1))
}
