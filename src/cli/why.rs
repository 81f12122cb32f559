//! `provost why`.

use super::args::{Format, StatusArgs};
use super::exit::Exit;
use super::{Failure, human, print, print_json};
use crate::control::{Client, Reason, WhyJson};

pub(super) async fn run(client: &Client, args: &StatusArgs) -> Result<Exit, Failure> {
    let why = client.why(&args.name).await?;
    match args.output.format() {
        Format::Json => print_json(&why)?,
        Format::Text => print(&text(&why))?,
    }
    Ok(Exit::Ok)
}

fn text(why: &WhyJson) -> String {
    let mut lines = vec![format!("{} is {}: {}", why.name, human::phase(why.phase), reason(why))];
    if let Some(unkillable) = &why.unkillable {
        lines.push(format!("it does not die: {unkillable}; it ends when the kernel lets it go"));
    }
    if let Some(exit) = &why.last_exit {
        lines.push(format!("its last run ended: {exit}"));
    }
    if let Some(failure) = &why.last_failure {
        lines.push(format!("its last start failed: {failure}"));
    }
    lines.extend(why.supervisor.as_deref().map(|supervisor| budget(why, supervisor)));
    lines.join("\n") + "\n"
}

fn reason(why: &WhyJson) -> String {
    let name = &why.name;
    let limit =
        why.until_ms.map(|left| format!(", for {} at most", human::exact_length(left))).unwrap_or_default();
    let waits = why.waits_for.as_ref().map(|other| format!(" and waits for {other}")).unwrap_or_default();
    let asked = why.waits_for.as_ref().map(|other| format!("; a request about it waits for {other}"));
    let asked = asked.unwrap_or_default();
    match why.reason {
        Reason::Runs => match (why.pid, why.uptime_ms) {
            (Some(pid), Some(uptime)) => {
                format!("run {} with pid {pid}, for {}{asked}", why.run, human::length(uptime))
            }
            _ => format!("run {}{asked}", why.run),
        },
        Reason::Starts => format!("run {} is being started{waits}{limit}", why.run),
        Reason::WaitsForTurn => format!("its turn in the start order has not come{waits}"),
        Reason::Backoff => {
            let left = why
                .until_ms
                .map_or_else(|| "soon".into(), |left| format!("in {}", human::exact_length(left)));
            format!("it is started again {left}; to start it now: provost stop {name}; provost start {name}")
        }
        Reason::Restarts => format!("it is being restarted{waits}{limit}"),
        Reason::Unhealthy => "a health check failed, and it is stopped to be restarted".into(),
        Reason::Stops => format!("it has been asked to stop{waits}{limit}"),
        Reason::StoppedByRequest => format!("somebody asked for it; start it with: provost start {name}"),
        Reason::StoppedBySupervisor => {
            format!(
                "its supervisor stopped it and did not come to starting it again; start it with: provost start {name}"
            )
        }
        Reason::StateLost => {
            format!(
                "it had no process when the supervisor process lost its journal, and is not started by itself; start it \
                 with: provost start {name}"
            )
        }
        Reason::Ignored => {
            format!("its condition said no at its last start; try again with: provost start {name}")
        }
        Reason::StartFailed => {
            format!("its start failed and is not retried; try again with: provost start {name}")
        }
        Reason::Added => {
            format!("it was added by a reload and never started; start it with: provost start {name}")
        }
        Reason::Ended => {
            format!("it ended by itself and is not to be restarted; start it with: provost start {name}")
        }
        Reason::GivenUp => {
            format!("it needed more restarts than it is granted; start it with: provost start {name}")
        }
    }
}

fn budget(why: &WhyJson, supervisor: &str) -> String {
    let WhyJson { restarts_left, intensity, period_ms, .. } = why;
    let period = human::exact_length(*period_ms);
    let moves = match why.window_moves_ms {
        Some(left) => format!("; one more in {}", human::exact_length(left)),
        None => String::new(),
    };
    format!("{supervisor} has {restarts_left} of {intensity} restarts in {period} left{moves}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ExitJson;
    use crate::rules::Phase;

    fn why(phase: Phase, reason: Reason) -> WhyJson {
        WhyJson {
            unkillable: None,
            version: 1,
            name: "web".into(),
            phase,
            reason,
            run: 3,
            pid: None,
            uptime_ms: None,
            waits_for: None,
            until_ms: None,
            last_exit: None,
            last_failure: None,
            supervisor: Some("demo".into()),
            restarts_left: 2,
            intensity: 3,
            period_ms: 10_000,
            window_moves_ms: None,
        }
    }

    #[test]
    fn a_running_child_says_since_when() {
        let why = WhyJson { pid: Some(42), uptime_ms: Some(133_000), ..why(Phase::Running, Reason::Runs) };
        let expected = "web is running: run 3 with pid 42, for 2m13s\ndemo has 2 of 3 restarts in 10s left\n";
        assert_eq!(text(&why), expected);
    }

    #[test]
    fn a_waiting_child_says_when_it_is_tried() {
        let why = WhyJson {
            until_ms: Some(1_200),
            window_moves_ms: Some(4_000),
            last_exit: Some(ExitJson::Code { code: 1 }),
            ..why(Phase::Backoff, Reason::Backoff)
        };
        let expected = "\
web is backoff: it is started again in 1s200ms; to start it now: provost stop web; provost start web
its last run ended: exit code 1
demo has 2 of 3 restarts in 10s left; one more in 4s
";
        assert_eq!(text(&why), expected);
    }
}
