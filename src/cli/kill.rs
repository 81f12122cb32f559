//! `provost kill`.

use super::Failure;
use super::args::KillArgs;
use super::change::settle;
use super::exit::Exit;
use crate::control::{Client, StatusJson};
use crate::os::signals;

pub(super) async fn run(client: &Client, args: &KillArgs) -> Result<Exit, Failure> {
    let mut worst = Exit::Ok;
    let signal = signals::name(args.signal);
    for name in &args.children.names {
        let answer = client.signal(name, args.signal).await;
        let line = |status: &StatusJson| match status.child.pid {
            Some(pid) => format!("{name}: {signal} sent to pid {pid}\n"),
            None => format!("{name}: {signal} sent\n"),
        };
        worst = worst.worse(settle(answer, args.children.output.format(), line)?);
    }
    Ok(worst)
}
