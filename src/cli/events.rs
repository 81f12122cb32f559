//! `provost events`.

use super::args::EventsArgs;
use super::exit::Exit;
use super::{Failure, print_json_text, say};
use crate::control::{Client, ClientError, EventReader, Heard};

pub(super) async fn run(client: &Client, args: &EventsArgs) -> Result<Exit, Failure> {
    let mut events = match args.since {
        Some(seq) => client.events_since(seq).await?,
        None => client.events().await?,
    };
    loop {
        print_all(&mut events).await?;
        // The supervisor process is gone: replaced, then the next one is asked, or for good.
        match client.events_since(0).await {
            Ok(next) => events = next,
            Err(ClientError::NoLauncher(_) | ClientError::Broken(_)) => return Ok(Exit::Ok),
            Err(error) => return Err(error.into()),
        }
        say(format_args!("the supervisor process was replaced; its events begin at 1 again"));
    }
}

async fn print_all(events: &mut EventReader) -> Result<(), Failure> {
    while let Some(heard) = events.next().await {
        match heard {
            Heard::Event(json) => print_json_text(&json)?,
            Heard::Missed(count) => say(format_args!("{count} events are lost: they were not read in time")),
        }
    }
    Ok(())
}
