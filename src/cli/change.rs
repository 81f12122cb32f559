//! `provost start`, `stop`, `restart` and `remove`.

use super::args::{Format, NameArgs};
use super::exit::Exit;
use super::{Failure, print, print_json, refused, status};
use crate::control::{Client, ClientError, StatusJson};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Start,
    Stop,
    Restart,
    Remove,
}

pub(super) async fn run(client: &Client, change: Change, args: &NameArgs) -> Result<Exit, Failure> {
    let mut worst = Exit::Ok;
    for name in &args.names {
        let answer = match change {
            Change::Start => client.start(name).await,
            Change::Stop => client.stop(name).await,
            Change::Restart => client.restart(name).await,
            Change::Remove => client.remove(name).await,
        };
        let line = |status: &StatusJson| match change {
            Change::Remove => format!("{name}: removed\n"),
            Change::Start | Change::Stop | Change::Restart => status::line(&status.child),
        };
        worst = worst.worse(settle(answer, args.output.format(), line)?);
    }
    Ok(worst)
}

/// Prints the outcome for one name. A refusal is told and the next name tried; anything else concerns all names and
/// ends the verb.
pub(super) fn settle(
    answer: Result<StatusJson, ClientError>,
    format: Format,
    line: impl FnOnce(&StatusJson) -> String,
) -> Result<Exit, Failure> {
    match (answer, format) {
        (Ok(status), Format::Text) => print(&line(&status))?,
        (Ok(status), Format::Json) => print_json(&status)?,
        (Err(ClientError::Refused(error)), format) => return Ok(refused(&error, format)),
        (Err(error), _) => return Err(error.into()),
    }
    Ok(Exit::Ok)
}
