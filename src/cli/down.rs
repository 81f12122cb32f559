//! `provost down`.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::args::DownArgs;
use super::exit::Exit;
use super::{Failure, human, print, say};
use crate::control::{Client, ClientError, ProcessJson, Role};
use crate::os::proc::Process;

/// How often to look whether the launcher is gone. It is not our child, and no descriptor of it is at hand.
const LOOK: Duration = Duration::from_millis(10);

/// How long a launcher may take to end after it broke the connection instead of answering: with nothing to stop it may
/// be gone before its answer is.
const AFTER_BREAK: Duration = Duration::from_secs(2);

/// Asks for the stop and waits for the launcher's own process to end: everything below it is gone before it.
pub(super) async fn run(client: &Client, project: &str, args: DownArgs) -> Result<Exit, Failure> {
    let rows = client.ps().await?.processes;
    let keeper =
        rows.iter().find(|row| row.role == Role::Keeper).and_then(|row| row.pid.zip(row.start_ticks));
    let ended = async {
        while keeper.is_some_and(|(pid, start)| exists(pid, start)) {
            sleep(LOOK).await;
        }
    };
    match (client.down().await, args.timeout) {
        (Ok(_), None) => ended.await,
        (Ok(_), Some(limit)) => timeout(limit, ended).await.map_err(|_| late(project, limit))?,
        (Err(broken @ ClientError::Broken(_)), _) if keeper.is_some() => {
            timeout(AFTER_BREAK, ended).await.map_err(|_| broken)?;
        }
        (Err(error), _) => return Err(error.into()),
    }
    let survivors: Vec<String> = rows.iter().filter_map(survivor).collect();
    if survivors.is_empty() {
        print(&format!("{project}: stopped\n"))?;
        return Ok(Exit::Ok);
    }
    say(format_args!("{project}: stopped, but these could not be killed: {}", survivors.join(", ")));
    Ok(Exit::Unkillable)
}

/// What is left of a process of the table, if it is still there: the launcher ends everything below it.
fn survivor(row: &ProcessJson) -> Option<String> {
    let (pid, start) = row.pid.zip(row.start_ticks)?;
    let state = exists(pid, start).then(|| Process::read(pid)).flatten()?.state;
    Some(format!("{} (PID {pid}, state {state})", row.name))
}

fn late(project: &str, limit: Duration) -> Failure {
    let limit = human::exact_length(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    Failure::TimedOut(format!("{project} is still stopping after {limit}; watch it with: provost ps"))
}

/// Whether this very process exists; one that only waits to be reaped has ended.
fn exists(pid: i32, start_ticks: u64) -> bool {
    Process::read(pid).is_some_and(|now| now.start_ticks == start_ticks && !matches!(now.state, 'Z' | 'X'))
}
