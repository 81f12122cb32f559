//! `provost history`: reads the file itself, so it works whether or not a launcher is running.

use std::path::Path;

use super::args::HistoryArgs;
use super::exit::Exit;
use super::screen::Screen;
use super::table::{Align, Cell, Column, Keep, render};
use super::{Failure, human, print, print_json, remote_logs};
use crate::config::{self, Context, Diagnostic};
use crate::control::{Client, DEFAULT_EXITS, HistoryJson, PastExitJson, VERSION, read_history};
use crate::rules::Decision;
use crate::text;

pub(super) fn run(file: &Path, args: &HistoryArgs) -> Result<Exit, Vec<Diagnostic>> {
    let place = config::place_of(file, &Context::of_process())?;
    let limit = args.lines.map_or(Some(DEFAULT_EXITS), |lines| lines.0).unwrap_or(usize::MAX);
    if remote_logs::is_needed(&place) {
        let asked = async {
            let client = Client::connect_to(&place.run_dir, place.owner).await?;
            show(client.history(args.name.as_deref(), limit).await?.exits, args).map(|()| Exit::Ok)
        };
        return Ok(super::block_on(&place, args.output.format(), asked));
    }
    let shown = read_history(&place.log_dir, args.name.as_deref(), limit)
        .map_err(|error| Failure::Output(std::io::Error::other(format!("cannot read the history: {error}"))))
        .and_then(|exits| show(exits, args));
    Ok(match shown {
        Ok(()) => Exit::Ok,
        Err(failure) => super::report(&failure, &place.name, args.output.format()),
    })
}

fn show(exits: Vec<PastExitJson>, args: &HistoryArgs) -> Result<(), Failure> {
    if args.output.json {
        return Ok(print_json(&HistoryJson { version: VERSION, exits })?);
    }
    if args.name.is_some() {
        return Ok(print(&exits.iter().map(in_full).collect::<String>())?);
    }
    Ok(print(&table(&exits, &Screen::of_stdout()))?)
}

const COLUMNS: [Column; 8] = [
    Column { title: "ENDED", align: Align::Left, keep: Keep::Always },
    Column { title: "NAME", align: Align::Left, keep: Keep::Always },
    Column { title: "RUN", align: Align::Right, keep: Keep::After(1) },
    Column { title: "PID", align: Align::Right, keep: Keep::After(2) },
    Column { title: "UPTIME", align: Align::Right, keep: Keep::After(3) },
    Column { title: "EXIT", align: Align::Left, keep: Keep::Always },
    Column { title: "THEN", align: Align::Left, keep: Keep::Always },
    Column { title: "TOUCHED", align: Align::Left, keep: Keep::After(0) },
];

fn table(exits: &[PastExitJson], screen: &Screen) -> String {
    let row = |exit: &PastExitJson| {
        vec![
            exit.ended.as_str().into(),
            exit.name.as_str().into(),
            exit.run.to_string().into(),
            exit.pid.to_string().into(),
            human::length(exit.uptime_ms).into(),
            exit.exit.to_string().into(),
            consequence(exit).into(),
            Cell::maybe(Some(exit.touched.join(" ")).filter(|touched| !touched.is_empty())),
        ]
    };
    render(&COLUMNS, &exits.iter().map(row).collect::<Vec<_>>(), screen).text
}

/// One exit with its last output.
fn in_full(exit: &PastExitJson) -> String {
    let (usage, uptime) = (&exit.rusage, human::length(exit.uptime_ms));
    let mut text = format!(
        "{} {} run {}, PID {}: {} after {uptime}; {}\n",
        exit.ended,
        exit.name,
        exit.run,
        exit.pid,
        exit.exit,
        consequence(exit)
    );
    if let Some(left) = &exit.left_behind {
        text.push_str(&format!("  killed what it had left running: {left}\n"));
    }
    if !exit.touched.is_empty() {
        text.push_str(&format!("  with it: {}\n", exit.touched.join(" ")));
    }
    let cpu = human::length(usage.user_ms + usage.system_ms);
    text.push_str(&format!("  used: {cpu} CPU, {} memory at most\n", human::size(usage.max_rss_bytes)));
    for line in &exit.log_tail {
        text.push_str(&format!("  | {}\n", text::escaped(line.line.as_bytes())));
    }
    text
}

/// What followed, in words.
fn consequence(exit: &PastExitJson) -> &'static str {
    match (exit.requested, exit.decision) {
        (true, _) if exit.killed => "stopped by force",
        (true, _) => "stopped as asked",
        (false, Decision::Restart) => "restarted",
        (false, Decision::Stopped | Decision::Removed) => "not restarted",
        (false, Decision::GiveUp) => "one too many: its supervisor gave up",
        (false, Decision::AutoShutdown) => "its supervisor shut down",
        (false, Decision::Absorbed) => "part of what was under way",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::{ExitJson, LogLineJson, UsageJson};

    pub(in crate::cli) fn killed() -> PastExitJson {
        PastExitJson {
            launch: "cafe-1-2".into(),
            node: 1,
            name: "engine".into(),
            run: 3,
            pid: 4242,
            started: "2026-11-23T08:27:52.000Z".into(),
            ended: "2026-11-23T08:30:05.120Z".into(),
            uptime_ms: 133_120,
            exit: ExitJson::Signal { signal: 9, name: "SIGKILL".into(), core: false },
            requested: false,
            killed: false,
            decision: Decision::Restart,
            left_behind: None,
            touched: vec!["client@1".into(), "client@2".into()],
            rusage: UsageJson { user_ms: 900, system_ms: 600, max_rss_bytes: 5 << 20 },
            log_tail: vec![LogLineJson {
                name: "engine".into(),
                at: "2026-11-23T08:30:04.000000Z".into(),
                line: "last \u{1b}[2Jwords".into(),
                partial: false,
            }],
        }
    }

    #[test]
    fn the_table_is_exactly_this() {
        let expected = "\
ENDED                     NAME    RUN   PID  UPTIME  EXIT               THEN       TOUCHED
2026-11-23T08:30:05.120Z  engine    3  4242   2m13s  killed by SIGKILL  restarted  client@1 client@2
";
        assert_eq!(table(&[killed()], &Screen::default()), expected);
    }

    #[test]
    fn one_exit_is_exactly_this() {
        let expected = "\
2026-11-23T08:30:05.120Z engine run 3, PID 4242: killed by SIGKILL after 2m13s; restarted
  with it: client@1 client@2
  used: 1s CPU, 5.0M memory at most
  | last \\x1b[2Jwords
";
        assert_eq!(in_full(&killed()), expected);
    }
}
