//! `provost wait`.

use std::time::Duration;

use tokio::time::timeout;

use super::args::{Format, Goal, WaitArgs};
use super::exit::Exit;
use super::{Failure, human, print, print_json, status};
use crate::control::{ChildJson, Client, ClientError, ErrorCode, StatusJson};
use crate::rules::Phase;

/// Waits for the goal. Looks whenever anything happens in the project: what a child waits for may be another one.
pub(super) async fn run(client: &Client, args: &WaitArgs) -> Result<Exit, Failure> {
    let reached = reached(client, &args.name, args.goal);
    let child = match args.timeout {
        None => reached.await?,
        Some(limit) => timeout(limit, reached).await.map_err(|_| late(args, limit))??,
    };
    match (child, args.output.format()) {
        (Some(status), Format::Json) => print_json(&status)?,
        (Some(status), Format::Text) => print(&status::line(&status.child))?,
        (None, Format::Json) => {}
        (None, Format::Text) => print(&format!("{}: gone\n", args.name))?,
    }
    Ok(Exit::Ok)
}

/// The child once it is there; `None` if it is stopped because it is gone.
async fn reached(client: &Client, name: &str, goal: Goal) -> Result<Option<StatusJson>, Failure> {
    // Whoever never existed is a slip of the keyboard.
    client.child(name).await?;
    loop {
        // Listened first, looked then: nothing can happen in between.
        let mut events = match client.events().await {
            Err(ClientError::NoLauncher(_) | ClientError::Broken(_)) if goal == Goal::Stopped => {
                return Ok(None);
            }
            events => events?,
        };
        loop {
            match client.child(name).await {
                Ok(status) if is_there(&status.child, goal) => return Ok(Some(status)),
                Ok(_) => {}
                Err(ClientError::Refused(error))
                    if error.code == ErrorCode::NotFound && goal == Goal::Stopped =>
                {
                    return Ok(None);
                }
                Err(ClientError::NoLauncher(_) | ClientError::Broken(_)) => break,
                Err(error) => return Err(error.into()),
            }
            // Nothing more is heard when the supervisor process was replaced, or the launcher ends.
            if events.next().await.is_none() {
                break;
            }
        }
    }
}

fn is_there(child: &ChildJson, goal: Goal) -> bool {
    match (child.phase, goal) {
        (Phase::Running | Phase::Ready, Goal::Ready)
        | (Phase::Stopped | Phase::Exited | Phase::Failed, Goal::Stopped) => true,
        (
            Phase::Waiting
            | Phase::Starting
            | Phase::Running
            | Phase::Ready
            | Phase::Unhealthy
            | Phase::Backoff
            | Phase::Restarting
            | Phase::Stopping
            | Phase::Stopped
            | Phase::Exited
            | Phase::Failed,
            Goal::Ready | Goal::Stopped,
        ) => false,
    }
}

fn late(args: &WaitArgs, limit: Duration) -> Failure {
    let limit = human::exact_length(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let goal = match args.goal {
        Goal::Ready => "ready",
        Goal::Stopped => "stopped",
    };
    Failure::TimedOut(format!("{0} is not {goal} after {limit}; see: provost why {0}", args.name))
}
