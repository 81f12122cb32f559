//! `provost ps`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::args::PsArgs;
use super::exit::Exit;
use super::human;
use super::screen::Screen;
use super::table::{Align, Cell, Column, Keep, render};
use super::{Failure, print_json, print_styled};
use crate::control::{Client, ProcessJson, PsJson, Role, Totals};

const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(client: &Client, args: PsArgs) -> Result<Exit, Failure> {
    if !args.watch {
        show(&client.ps().await?, args, Screen::of_stdout())?;
        return Ok(Exit::Ok);
    }
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        show(&client.ps().await?, args, Screen::of_stdout())?;
    }
}

fn show(table: &PsJson, args: PsArgs, screen: Screen) -> std::io::Result<()> {
    match screen.height {
        _ if args.output.json => print_json(table),
        Some(height) if args.watch => print_styled(&redrawn(&text_for(table, &screen), height)),
        _ => print_styled(&text_for(table, &screen)),
    }
}

/// The text over the one before it: each line and the rest of the screen are cleared after the new text, so that
/// nothing flickers. What does not fit is cut off, else the screen would scroll.
fn redrawn(text: &str, height: usize) -> String {
    let room = height.saturating_sub(1);
    let mut screen = String::from("\x1b[H");
    for line in text.lines().take(room) {
        screen.extend([line, "\x1b[K\n"]);
    }
    screen.push_str("\x1b[J");
    screen
}

const COLUMNS: [Column; 18] = [
    column("NAME", Align::Left, Keep::Always),
    column("PHASE", Align::Left, Keep::Always),
    column("PID", Align::Right, Keep::Always),
    column("PPID", Align::Right, Keep::After(8)),
    column("PGID", Align::Right, Keep::After(3)),
    column("SID", Align::Right, Keep::After(7)),
    column("TTY", Align::Left, Keep::After(1)),
    column("STAT", Align::Left, Keep::After(6)),
    column("START", Align::Left, Keep::After(5)),
    column("UPTIME", Align::Right, Keep::After(12)),
    column("THR", Align::Right, Keep::After(2)),
    column("RSS", Align::Right, Keep::After(9)),
    column("PSS", Align::Right, Keep::After(10)),
    column("CPU", Align::Right, Keep::After(11)),
    column("FDS", Align::Right, Keep::After(4)),
    column("RUN", Align::Right, Keep::After(13)),
    column("RESTARTS", Align::Right, Keep::After(14)),
    column("EXE", Align::Left, Keep::Always),
];

const fn column(title: &'static str, align: Align, keep: Keep) -> Column {
    Column { title, align, keep }
}

/// The process table as text, however wide it is.
#[must_use]
pub fn text(table: &PsJson) -> String {
    text_for(table, &Screen::default())
}

/// The process table as text for this screen: one line a process, then the sums.
#[must_use]
pub fn text_for(table: &PsJson, screen: &Screen) -> String {
    let mut depths = BTreeMap::new();
    let rows: Vec<Vec<Cell>> =
        table.processes.iter().map(|process| row(process, depth(process, &mut depths))).collect();
    let rendered = render(&COLUMNS, &rows, screen);
    let mut text = rendered.text;
    if !rendered.hidden.is_empty() {
        text.push_str(&format!("(no room for {})\n", rendered.hidden.join(", ")));
    }
    text.push_str(&totals(&Totals::of(&table.processes)));
    text
}

/// How many generations a process is below its member. `depths` holds those of the rows before it.
fn depth(process: &ProcessJson, depths: &mut BTreeMap<i32, usize>) -> usize {
    let depth = match process.role {
        Role::Keeper | Role::Supervisor | Role::Child => 0,
        // A parent that is not in the table has ended: the process still hangs on its member.
        Role::Descendant => process.ppid.and_then(|ppid| depths.get(&ppid)).map_or(1, |depth| depth + 1),
    };
    depths.extend(process.pid.map(|pid| (pid, depth)));
    depth
}

fn row(process: &ProcessJson, depth: usize) -> Vec<Cell> {
    let name = match process.role {
        Role::Keeper | Role::Supervisor | Role::Child => process.name.clone(),
        Role::Descendant => "  ".repeat(depth) + program(process),
    };
    // Without a process, all but our own account is a dash, and so is the pid of a process that is gone.
    let pid = process.start_ticks.and(process.pid);
    let start = process.start_time.as_deref().zip(process.uptime_ms);
    vec![
        name.into(),
        process.phase.map_or_else(|| human::NONE.into(), Cell::phase),
        Cell::maybe(pid),
        Cell::maybe(process.ppid),
        Cell::maybe(process.pgid),
        Cell::maybe(process.sid),
        Cell::maybe(process.tty.as_deref()),
        Cell::maybe(process.state.as_deref()),
        Cell::maybe(start.and_then(|(start, uptime)| human::start(start, uptime))),
        Cell::maybe(process.uptime_ms.map(human::length)),
        Cell::maybe(process.threads),
        Cell::maybe(process.rss_bytes.map(human::size)),
        Cell::maybe(process.pss_bytes.map(human::size)),
        Cell::maybe(process.cpu_percent.map(|percent| format!("{percent:.1}%"))),
        Cell::maybe(process.fds),
        Cell::maybe(process.run),
        Cell::maybe(process.restarts),
        Cell::maybe(process.exe.as_deref()),
    ]
}

/// The name of the program a process runs.
fn program(process: &ProcessJson) -> &str {
    let file = process.exe.as_deref().and_then(|exe| Path::new(exe).file_name()?.to_str());
    file.or(process.cmdline.as_deref()).unwrap_or(human::NONE)
}

/// Isolation in numbers.
fn totals(totals: &Totals) -> String {
    let Totals { processes, pids, sessions, rss_bytes, pss_bytes, private_bytes, untold } = *totals;
    let [rss, pss, private] = [rss_bytes, pss_bytes, private_bytes].map(human::size);
    let but = match untold {
        0 => String::new(),
        _ => format!(" (PSS and private without {untold} that may not be read)"),
    };
    format!(
        "{processes} processes, {pids} distinct PIDs, {sessions} sessions; \
         RSS {rss}, PSS {pss}, private {private}{but}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::VERSION;
    use crate::rules::Phase;

    fn process(name: &str, role: Role, pid: i32, ppid: i32) -> ProcessJson {
        ProcessJson {
            name: name.into(),
            role,
            pid: Some(pid),
            ppid: Some(ppid),
            pgid: Some(pid),
            sid: Some(pid),
            state: Some("S".into()),
            start_time: Some("2026-11-23T08:30:05.120Z".into()),
            start_ticks: Some(77),
            uptime_ms: Some(133_000),
            threads: Some(1),
            rss_bytes: Some(5_347_737),
            pss_bytes: Some(1_048_576),
            private_bytes: Some(524_288),
            cpu_percent: Some(0.25),
            fds: Some(12),
            exe: Some(format!("/usr/bin/{name}")),
            ..ProcessJson::default()
        }
    }

    fn table() -> PsJson {
        let mut keeper = process("keeper", Role::Keeper, 100, 1);
        keeper.tty = Some("pts/3".into());
        let mut engine = process("engine", Role::Child, 102, 100);
        (engine.phase, engine.run, engine.restarts) = (Some(Phase::Ready), Some(3), Some(2));
        let mut sh = process("engine", Role::Descendant, 103, 102);
        sh.exe = Some("/bin/sh".into());
        let mut hidden = process("engine", Role::Descendant, 104, 103);
        (hidden.exe, hidden.pss_bytes, hidden.private_bytes, hidden.fds) = (None, None, None, None);
        hidden.cmdline = Some("[e\x1b]".into());
        let web = ProcessJson {
            name: "web".into(),
            phase: Some(Phase::Stopped),
            run: Some(1),
            restarts: Some(0),
            ..ProcessJson::default()
        };
        PsJson { version: VERSION, project: "demo".into(), processes: vec![keeper, engine, sh, hidden, web] }
    }

    #[test]
    fn the_table_is_exactly_this() {
        let expected = "\
NAME         PHASE    PID  PPID  PGID  SID  TTY    STAT  START      UPTIME  THR   RSS   PSS   CPU  FDS  RUN  RESTARTS  EXE
keeper       -        100     1   100  100  pts/3  S     08:30:05Z   2m13s    1  5.1M  1.0M  0.2%   12    -         -  /usr/bin/keeper
engine       ready    102   100   102  102  -      S     08:30:05Z   2m13s    1  5.1M  1.0M  0.2%   12    3         2  /usr/bin/engine
  sh         -        103   102   103  103  -      S     08:30:05Z   2m13s    1  5.1M  1.0M  0.2%   12    -         -  /bin/sh
    [e\\x1b]  -        104   103   104  104  -      S     08:30:05Z   2m13s    1  5.1M     -  0.2%    -    -         -  -
web          stopped    -     -     -    -  -      -     -               -    -     -     -     -    -    1         0  -
4 processes, 4 distinct PIDs, 4 sessions; RSS 20M, PSS 3.0M, private 1.5M (PSS and private without 1 that may not be read)
";
        assert_eq!(text(&table()), expected);
    }

    #[test]
    fn a_narrow_terminal_gets_fewer_columns_and_is_told_which() {
        let screen = Screen { width: Some(80), ..Screen::default() };
        let text = text_for(&table(), &screen);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "NAME         PHASE    PID  UPTIME   RSS   PSS   CPU  RUN  RESTARTS  EXE");
        assert_eq!(lines[6], "(no room for TTY, THR, PGID, FDS, START, STAT, SID, PPID)");
        assert!(lines[..6].iter().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_pid_without_its_process_is_not_shown() {
        let gone = ProcessJson { name: "gone".into(), pid: Some(9), ..ProcessJson::default() };
        let text = text(&PsJson { processes: vec![gone], ..table() });
        assert!(!text.lines().nth(1).unwrap().contains('9'), "{text}");
        assert!(
            text.ends_with("0 processes, 0 distinct PIDs, 0 sessions; RSS 0B, PSS 0B, private 0B\n"),
            "{text}"
        );
    }

    #[test]
    fn a_redraw_never_scrolls() {
        assert_eq!(redrawn("a\nb\nc\n", 3), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
