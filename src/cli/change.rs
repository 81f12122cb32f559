//! `provost start`, `stop`, `restart` and `remove`.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::args::{Format, NameArgs};
use super::exit::Exit;
use super::{Failure, human, print, print_json, refused, say, status};
use crate::control::{Client, ClientError, StatusJson, WhyJson};

/// An answer that takes longer is worth a word about what it waits for.
const TELL_AFTER: Duration = Duration::from_secs(1);

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
            Change::Start => patiently(client, name, client.start(name)).await,
            Change::Stop => patiently(client, name, client.stop(name)).await,
            Change::Restart => patiently(client, name, client.restart(name)).await,
            Change::Remove => patiently(client, name, client.remove(name)).await,
        };
        let line = |status: &StatusJson| match change {
            Change::Remove => format!("{name}: removed\n"),
            Change::Start | Change::Stop | Change::Restart => status::line(&status.child),
        };
        worst = worst.worse(settle(answer, args.output.format(), line)?);
    }
    Ok(worst)
}

/// Waits for the answer as long as it takes, and says what it waits for if that is long.
async fn patiently<T>(client: &Client, name: &str, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    if let Ok(answer) = timeout(TELL_AFTER, &mut answer).await {
        return answer;
    }
    // The wait goes on without the news if that cannot be had.
    if let Ok(Ok(why)) = timeout(TELL_AFTER, client.why(name)).await {
        say(waiting(&why));
    }
    answer.await
}

fn waiting(why: &WhyJson) -> String {
    let name = &why.name;
    match (&why.waits_for, why.until_ms) {
        (Some(other), _) => format!(
            "{name} waits for {other}, whose start or stop is under way; look: provost why {other}, break its start off: \
             provost stop {other}"
        ),
        (None, Some(left)) => {
            format!("{name} is {}, for {} at most", human::phase(why.phase), human::exact_length(left))
        }
        (None, None) => format!("{name} is {}", human::phase(why.phase)),
    }
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
