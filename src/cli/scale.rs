//! `provost scale`, and the lines for what a request did to several children.

use super::args::{Format, ScaleArgs};
use super::exit::Exit;
use super::{Failure, print, print_json, refused};
use crate::control::{Client, Deed, OutcomeJson};

pub(super) async fn run(client: &Client, args: &ScaleArgs) -> Result<Exit, Failure> {
    let scaled = client.scale(&args.name, args.instances).await?;
    match args.output.format() {
        Format::Json => print_json(&scaled)?,
        Format::Text if scaled.done.is_empty() => {
            print(&format!("{}: {} instances already\n", args.name, args.instances))?;
        }
        Format::Text => tell(&scaled.done)?,
    }
    Ok(exit(&scaled.done))
}

/// Prints what was done, and on stderr what was not.
pub(super) fn tell(done: &[OutcomeJson]) -> Result<(), Failure> {
    for outcome in done {
        match &outcome.error {
            None => print(&line(outcome))?,
            Some(error) => {
                refused(error, Format::Text);
            }
        }
    }
    Ok(())
}

/// The worst of them.
pub(super) fn exit(done: &[OutcomeJson]) -> Exit {
    let errors = done.iter().filter_map(|outcome| outcome.error.as_ref());
    errors.fold(Exit::Ok, |worst, error| worst.worse(error.code.into()))
}

fn line(outcome: &OutcomeJson) -> String {
    let deed = match outcome.deed {
        Deed::Added => "added",
        Deed::Started => "started",
        Deed::Restarted => "restarted",
        Deed::Stopped => "stopped",
        Deed::Removed => "removed",
    };
    let process = outcome.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    format!("{}: {deed}{process}\n", outcome.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ApiError, ErrorCode};

    #[test]
    fn the_exit_code_is_the_worst_of_all() {
        let outcome = |error| OutcomeJson { name: "a@1".into(), deed: Deed::Added, pid: Some(7), error };
        let failed = |code| outcome(Some(ApiError::new(code, "no")));
        assert_eq!(exit(&[outcome(None)]), Exit::Ok);
        assert_eq!(exit(&[failed(ErrorCode::StartFailed), failed(ErrorCode::Timeout)]), Exit::TimedOut);
        assert_eq!(line(&outcome(None)), "a@1: added, pid 7\n");
    }
}
