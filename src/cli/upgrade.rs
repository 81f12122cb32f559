//! `provost upgrade`.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::args::UpgradeArgs;
use super::exit::Exit;
use super::{Failure, print, say};
use crate::control::{AboutJson, Client, ClientError};

/// How often to look whether the new program has taken over.
const LOOK: Duration = Duration::from_millis(20);
/// How long that may take: the keeper gives up on one that hangs after five seconds.
const LIMIT: Duration = Duration::from_secs(20);

/// Has the program examined and exchanged, and waits for what became of it.
pub(super) async fn run(client: &Client, project: &str, args: UpgradeArgs) -> Result<Exit, Failure> {
    let binary = match args.binary {
        Some(path) => std::path::absolute(path)?,
        None => std::env::current_exe()?,
    };
    let before = client.about().await?;
    match client.upgrade(&binary).await {
        // The connection may break before the answer: the supervisor process makes room at once.
        Ok(_) | Err(ClientError::Broken(_)) => {}
        Err(error) => return Err(error.into()),
    }
    match timeout(LIMIT, outcome(client, before.incarnation)).await {
        Ok(Ok(AboutJson { upgrade: Some(upgrade), .. })) if upgrade.failure.is_some() => {
            let why = upgrade.failure.unwrap_or_default();
            say(format_args!("{project} runs the program it ran before: {why}"));
            Ok(Exit::Failed)
        }
        Ok(Ok(about)) => {
            let AboutJson { program_version, pid, .. } = about;
            print(&format!(
                "{project}: the supervisor process is provost {program_version} now, PID {pid}\n"
            ))?;
            Ok(Exit::Ok)
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            Err(Failure::TimedOut(format!("{} has not taken over yet; see: provost ps", binary.display())))
        }
    }
}

/// The first account that tells what became of the change.
async fn outcome(client: &Client, before: u32) -> Result<AboutJson, ClientError> {
    loop {
        match client.about().await {
            Ok(about) if about.upgrade.as_ref().is_some_and(|upgrade| upgrade.incarnation > before) => {
                return Ok(about);
            }
            Ok(_) | Err(ClientError::Broken(_)) => sleep(LOOK).await,
            Err(error) => return Err(error),
        }
    }
}

/// Says so if the launcher is in safe mode: what the verbs show then is not the whole truth.
pub(super) async fn warn_of_safe_mode(client: &Client) {
    // A launcher that cannot be asked will be told about by the verb.
    if let Ok(AboutJson { safe_mode: Some(why), .. }) = client.about().await {
        say(format_args!("{why}; nothing is started"));
    }
}
