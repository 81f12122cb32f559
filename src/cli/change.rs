//! `provost start`, `stop` and `restart`.

use super::args::NameArgs;
use super::exit::Exit;
use super::{Failure, print, status};
use crate::control::{Client, ClientError, StatusJson};

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Start,
    Stop,
    Restart,
}

pub(super) async fn run(client: &Client, change: Change, args: &NameArgs) -> Result<Exit, Failure> {
    let mut worst = Exit::Ok;
    for name in &args.names {
        let answer = match change {
            Change::Start => client.start(name).await,
            Change::Stop => client.stop(name).await,
            Change::Restart => client.restart(name).await,
        };
        worst = worst.worse(settle(answer, |status| status::line(&status.child))?);
    }
    Ok(worst)
}

/// Prints the outcome for one name. A refusal is told and the next name tried; anything else concerns all names and
/// ends the verb.
pub(super) fn settle(
    answer: Result<StatusJson, ClientError>,
    line: impl FnOnce(&StatusJson) -> String,
) -> Result<Exit, Failure> {
    match answer {
        Ok(status) => {
            print(&line(&status))?;
            Ok(Exit::Ok)
        }
        Err(ClientError::Refused(error)) => {
            eprintln!("provost: {error}");
            Ok(error.code.into())
        }
        Err(error) => Err(error.into()),
    }
}
