//! Evidence and verdicts as text, in 80 columns.

use super::super::human::size;
use super::super::screen::Screen;
use super::super::table::{Align, Cell, Column, Keep, render};
use crate::proof::{
    Calls, Claim, Contrast, Deaths, Evidence, Identity, Life, Memory, Proof, Round, Side, Sockets, Terminals,
};

/// What every terminal has.
pub(super) const WIDTH: usize = 80;

/// Before the first claim.
pub(super) fn heading(subject: &str, width: usize) -> String {
    wrapped(&format!("Examined: {subject}."), "", width)
}

/// One claim: what was seen, what follows, and how to see the same by hand.
pub(super) fn claim(claim: &Claim, width: usize) -> String {
    let mut text = format!("\n=== {} ===\n", claim.title);
    text.push_str(&tables(&claim.evidence, width));
    for check in &claim.checks {
        let mark = if check.holds { "ok   " } else { "NO   " };
        text.push_str(&wrapped(&format!("{mark}{}: {}", check.what, check.found), "     ", width));
    }
    if !claim.by_hand.is_empty() {
        text.push_str("By hand:\n");
        claim.by_hand.iter().for_each(|command| text.push_str(&continued(command, width)));
    }
    text.push_str(if claim.proven { "PROVEN\n" } else { "NOT PROVEN\n" });
    text
}

/// Behind the last claim.
pub(super) fn verdict(proof: &Proof, width: usize) -> String {
    let held = proof.claims.iter().filter(|claim| claim.proven).count();
    let all = proof.claims.len();
    let mut text = format!("\n{held} of {all} claims proven\n");
    for claim in proof.claims.iter().filter(|claim| !claim.proven) {
        text.push_str(&wrapped(&format!("NOT PROVEN: {}", claim.title), "  ", width));
    }
    text
}

fn tables(evidence: &Evidence, width: usize) -> String {
    match evidence {
        Evidence::Identity(seen) => identity(seen, width),
        Evidence::Deaths(seen) => deaths(seen, width),
        Evidence::Sockets(seen) => sockets(seen, width),
        Evidence::Memory(seen) => memory(seen, width),
        Evidence::Terminals(seen) => terminals(seen, width),
        Evidence::Contrast(seen) => contrast(seen, width),
        Evidence::Nothing { .. } => String::new(),
    }
}

const fn left(title: &'static str) -> Column {
    Column { title, align: Align::Left, keep: Keep::Always }
}

const fn right(title: &'static str) -> Column {
    Column { title, align: Align::Right, keep: Keep::Always }
}

fn table(columns: &[Column], rows: &[Vec<Cell>], width: usize) -> String {
    render(columns, rows, &Screen { width: Some(width), ..Screen::default() }).text
}

fn identity(seen: &Identity, width: usize) -> String {
    let columns = [
        left("NAME"),
        right("PID"),
        right("PPID"),
        right("SID"),
        left("TTY"),
        right("THR"),
        left("STARTED"),
        right("INODE"),
        left("PROGRAM"),
    ];
    let row = |row: &crate::proof::Seen| -> Vec<Cell> {
        vec![
            (&row.name).into(),
            row.pid.to_string().into(),
            row.ppid.to_string().into(),
            row.sid.to_string().into(),
            Cell::maybe(row.tty.as_ref()),
            row.threads.len().to_string().into(),
            time_of_day(&row.start_time).into(),
            Cell::maybe(row.program.as_ref().map(|program| program.inode)),
            Cell::maybe(row.program.as_ref().map(|program| program.name().to_owned())),
        ]
    };
    table(&columns, &seen.processes.iter().map(row).collect::<Vec<_>>(), width)
}

/// The hours, minutes, seconds and hundredths of an RFC 3339 time: a clock tick is a hundredth.
fn time_of_day(time: &str) -> String {
    let (_, time) = time.split_once('T').unwrap_or(("", time));
    time.chars().take("08:30:05.12".len()).collect()
}

fn deaths(seen: &Deaths, width: usize) -> String {
    seen.rounds.iter().map(|round| death(round, width)).collect()
}

fn death(round: &Round, width: usize) -> String {
    let columns = [
        left("NAME"),
        right("PID"),
        right("THEN"),
        right("START"),
        right("THEN"),
        left("CONNECTION"),
        left("THEN"),
    ];
    let ends = |life: Option<&Life>| {
        Cell::maybe(life.and_then(|life| life.connection).map(|(near, far)| format!("{near}-{far}")))
    };
    let row = |before: &Life| -> Vec<Cell> {
        let after = round.after.iter().find(|life| life.name == before.name);
        vec![
            (&before.name).into(),
            Cell::maybe(before.pid),
            Cell::maybe(after.and_then(|life| life.pid)),
            Cell::maybe(before.start_ticks),
            Cell::maybe(after.and_then(|life| life.start_ticks)),
            ends(Some(before)),
            ends(after),
        ]
    };
    let rows: Vec<_> = round.before.iter().map(row).collect();
    format!("{} to {}, PID {}:\n{}", round.signal, round.victim, round.pid, table(&columns, &rows, width))
}

fn sockets(seen: &Sockets, width: usize) -> String {
    let columns = [
        left("CLIENT"),
        left("PID/FD"),
        right("SOCKET"),
        right("PEER"),
        left("PID/FD"),
        right("SENT"),
        right("READ"),
        right("IN"),
        right("OUT"),
    ];
    let holders = |end: &crate::proof::End| {
        let pids: Vec<String> = end.holders.iter().map(|one| format!("{}/{}", one.pid, one.fd)).collect();
        Cell::maybe((!pids.is_empty()).then(|| pids.join(" ")))
    };
    let row = |link: &crate::proof::Link| -> Vec<Cell> {
        vec![
            (&link.client).into(),
            holders(&link.near),
            link.near.inode.to_string().into(),
            link.far.inode.to_string().into(),
            holders(&link.far),
            link.bytes.client_sent.to_string().into(),
            link.bytes.client_received.to_string().into(),
            link.bytes.engine_received.to_string().into(),
            link.bytes.engine_sent.to_string().into(),
        ]
    };
    table(&columns, &seen.links.iter().map(row).collect::<Vec<_>>(), width)
}

fn memory(seen: &Memory, width: usize) -> String {
    let columns = [
        left("NAME"),
        right("PID"),
        right("RSS"),
        right("PSS"),
        right("PRIVATE"),
        right("PROGRAM AT"),
        right("STACK AT"),
    ];
    let address = |at: Option<u64>| Cell::maybe(at.map(|at| format!("{at:x}")));
    let row = |one: &crate::proof::Use| -> Vec<Cell> {
        let space = seen.spaces.iter().find(|space| space.name == one.name);
        vec![
            (&one.name).into(),
            one.pid.to_string().into(),
            size(one.rss).into(),
            size(one.pss).into(),
            size(one.private).into(),
            address(space.and_then(|space| space.program)),
            address(space.and_then(|space| space.stack)),
        ]
    };
    let mut rows: Vec<_> = seen.uses.iter().map(row).collect();
    let sum = |field: fn(&crate::proof::Use) -> u64| size(seen.sum(field)).into();
    let none = || Cell::maybe(None::<String>);
    rows.push(vec![
        "sum".into(),
        none(),
        sum(|one| one.rss),
        sum(|one| one.pss),
        sum(|one| one.private),
        none(),
        none(),
    ]);
    table(&columns, &rows, width)
}

fn terminals(seen: &Terminals, width: usize) -> String {
    let columns = [left("NAME"), right("PID"), right("PPID"), right("SID"), left("TTY"), left("SAID LAST")];
    let row = |seat: &crate::proof::Seat| -> Vec<Cell> {
        vec![
            (&seat.process.name).into(),
            seat.process.pid.to_string().into(),
            seat.process.ppid.to_string().into(),
            seat.process.sid.to_string().into(),
            Cell::maybe(seat.process.tty.as_ref()),
            Cell::maybe(seat.said.as_ref()),
        ]
    };
    table(&columns, &seen.seats.iter().map(row).collect::<Vec<_>>(), width)
}

fn contrast(seen: &Contrast, width: usize) -> String {
    let columns = [left(""), left("ONE PROCESS"), left("SEPARATE PROCESSES")];
    let cells = |row: [String; 3]| row.iter().map(Cell::from).collect();
    table(&columns, &rows(seen).into_iter().map(cells).collect::<Vec<Vec<Cell>>>(), width)
}

/// The comparison, row by row: what, in one process, in separate ones.
pub(super) fn rows(seen: &Contrast) -> Vec<[String; 3]> {
    let Contrast { one, separate, one_core, .. } = seen;
    let both = |what: &str, say: &dyn Fn(&Side) -> String| [what.to_owned(), say(one), say(separate)];
    let calls = |what: &str, calls: &[Calls; 2], say: &dyn Fn(&Calls) -> String| {
        [what.to_owned(), say(&calls[0]), say(&calls[1])]
    };
    let micro = |ns: u64| format!("{:.1} us", ns as f64 / 1000.0);
    let milli = |ms: Option<f64>| ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms:.1} ms"));
    let any = [one.calls.clone(), separate.calls.clone()];
    vec![
        both("engine and clients", &|side| side.names.to_string()),
        both("OS processes of theirs, lines in ps", &|side| side.pids.to_string()),
        both("memory spaces", &|side| side.spaces.to_string()),
        both("sockets between processes", &|side| side.links.to_string()),
        both("memory, PSS", &|side| size(side.pss)),
        both("kill -9 of a client: others alive", &|side| {
            format!("{} of {}", side.death.survivors().len(), side.death.before.len().saturating_sub(1))
        }),
        both("the client is back after", &|side| milli(side.death.back_ms)),
        both("all are connected again after", &|side| milli(side.death.connected_ms)),
        calls("one call, p50", &any, &|calls| micro(calls.p50_ns)),
        calls("one call, p99", &any, &|calls| micro(calls.p99_ns)),
        calls("one call, p50, all on one core", one_core, &|calls| micro(calls.p50_ns)),
        calls("calls a second, 64 in flight", &any, &|calls| calls.per_second.to_string()),
        both("start and end of one more", &|side| micro(side.start_ns)),
    ]
}

/// Words in lines; those after the first begin with `indent`.
fn wrapped(text: &str, indent: &str, width: usize) -> String {
    broken("", text, indent, width, "")
}

/// A command, continued in the shell's way where it is too long for a line.
fn continued(command: &str, width: usize) -> String {
    broken("  $ ", command, "      ", width, " \\")
}

fn broken(first: &str, text: &str, indent: &str, width: usize, mark: &str) -> String {
    let mut done = String::new();
    let mut line = first.to_owned();
    let mut words = 0;
    for word in text.split(' ') {
        if words > 0 && line.chars().count() + 1 + word.chars().count() + mark.len() > width {
            done.push_str(&format!("{line}{mark}\n"));
            (line, words) = (indent.to_owned(), 0);
        }
        if words > 0 {
            line.push(' ');
        }
        line.push_str(word);
        words += 1;
    }
    format!("{done}{line}\n")
}
