//! `provost counts`.

use super::args::{CountsArgs, Format};
use super::exit::Exit;
use super::{Failure, print, print_json};
use crate::control::{Client, CountsJson};

pub(super) async fn run(client: &Client, args: &CountsArgs) -> Result<Exit, Failure> {
    let counts = client.counts(args.supervisor.as_deref()).await?;
    match args.output.format() {
        Format::Json => print_json(&counts)?,
        Format::Text => print(&text(&counts))?,
    }
    Ok(Exit::Ok)
}

fn text(counts: &CountsJson) -> String {
    let CountsJson { version: _, specs, active, supervisors, workers } = counts;
    format!(
        "specs        {specs}\nactive       {active}\nsupervisors  {supervisors}\nworkers      {workers}\n"
    )
}
