//! The evidence of each claim as tables: for the text and for the page.

use super::super::human::{NONE, size};
use super::super::table::{Align, Column, Keep};
use crate::proof::{
    Calls, Contrast, Deaths, End, Evidence, Identity, Life, Link, Machine, Machines, Memory, Round, Seat,
    Seen, Side, Sockets, Terminals, Use, Wire,
};

/// A table.
pub(super) struct Grid {
    /// What stands above it.
    pub(super) caption: Option<String>,
    /// Its columns.
    pub(super) columns: Vec<Column>,
    /// Its rows, each with one text a column.
    pub(super) rows: Vec<Vec<String>>,
}

/// The tables of a claim.
pub(super) fn tables(evidence: &Evidence) -> Vec<Grid> {
    match evidence {
        Evidence::Identity(seen) => vec![identity(seen)],
        Evidence::Deaths(Deaths { rounds }) => rounds.iter().map(death).collect(),
        Evidence::Sockets(seen) => vec![sockets(seen)],
        Evidence::Memory(seen) => vec![memory(seen)],
        Evidence::Terminals(seen) => vec![terminals(seen)],
        Evidence::Machines(seen) => vec![machines(seen), wires(seen)],
        Evidence::Contrast(seen) => vec![contrast(seen)],
        Evidence::Skipped { .. } | Evidence::Nothing { .. } => Vec::new(),
    }
}

fn identity(seen: &Identity) -> Grid {
    let columns = vec![
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
    let row = |row: &Seen| -> Vec<String> {
        vec![
            row.name.clone(),
            row.pid.to_string(),
            row.ppid.to_string(),
            row.sid.to_string(),
            maybe(row.tty.as_ref()),
            row.threads.len().to_string(),
            time_of_day(&row.start_time),
            maybe(row.program.as_ref().map(|program| program.inode)),
            maybe(row.program.as_ref().map(|program| program.name().to_owned())),
        ]
    };
    Grid { caption: None, columns, rows: seen.processes.iter().map(row).collect() }
}

/// The hours, minutes, seconds and hundredths of an RFC 3339 time: a clock tick is a hundredth.
fn time_of_day(time: &str) -> String {
    let (_, time) = time.split_once('T').unwrap_or(("", time));
    time.chars().take("08:30:05.12".len()).collect()
}

fn death(round: &Round) -> Grid {
    let columns = vec![
        left("NAME"),
        right("PID"),
        right("THEN"),
        right("START"),
        right("THEN"),
        left("CONNECTION"),
        left("THEN"),
    ];
    let ends = |life: Option<&Life>| {
        maybe(life.and_then(|life| life.connection).map(|(near, far)| format!("{near}-{far}")))
    };
    let row = |before: &Life| -> Vec<String> {
        let after = round.after.iter().find(|life| life.name == before.name);
        vec![
            before.name.clone(),
            maybe(before.pid),
            maybe(after.and_then(|life| life.pid)),
            maybe(before.start_ticks),
            maybe(after.and_then(|life| life.start_ticks)),
            ends(Some(before)),
            ends(after),
        ]
    };
    let rows = round.before.iter().map(row).collect();
    Grid { caption: Some(format!("{} to {}, PID {}:", round.signal, round.victim, round.pid)), columns, rows }
}

fn sockets(seen: &Sockets) -> Grid {
    let bytes = "Bytes in {} ms, as the client SENT and READ and the engine took IN and OUT:";
    let caption = Some(bytes.replace("{}", &seen.watched_ms.to_string()));
    let columns = vec![
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
    let holders = |end: &End| {
        let pids: Vec<String> = end.holders.iter().map(|one| format!("{}/{}", one.pid, one.fd)).collect();
        maybe((!pids.is_empty()).then(|| pids.join(" ")))
    };
    let row = |link: &Link| -> Vec<String> {
        vec![
            link.client.clone(),
            holders(&link.near),
            link.near.inode.to_string(),
            link.far.inode.to_string(),
            holders(&link.far),
            link.bytes.client_sent.to_string(),
            link.bytes.client_received.to_string(),
            link.bytes.engine_received.to_string(),
            link.bytes.engine_sent.to_string(),
        ]
    };
    Grid { caption, columns, rows: seen.links.iter().map(row).collect() }
}

fn memory(seen: &Memory) -> Grid {
    let columns = vec![
        left("NAME"),
        right("PID"),
        right("RSS"),
        right("PSS"),
        right("PRIVATE"),
        right("PROGRAM AT"),
        right("STACK AT"),
    ];
    let address = |at: Option<u64>| maybe(at.map(|at| format!("{at:x}")));
    let row = |one: &Use| -> Vec<String> {
        let space = seen.spaces.iter().find(|space| space.name == one.name);
        vec![
            one.name.clone(),
            one.pid.to_string(),
            size(one.rss),
            size(one.pss),
            size(one.private),
            address(space.and_then(|space| space.program)),
            address(space.and_then(|space| space.stack)),
        ]
    };
    let mut rows: Vec<_> = seen.uses.iter().map(row).collect();
    let sum = |field: fn(&Use) -> u64| size(seen.sum(field));
    let none = || maybe(None::<String>);
    rows.push(vec![
        "sum".into(),
        none(),
        sum(|one| one.rss),
        sum(|one| one.pss),
        sum(|one| one.private),
        none(),
        none(),
    ]);
    Grid { caption: None, columns, rows }
}

fn terminals(seen: &Terminals) -> Grid {
    let columns =
        vec![left("NAME"), right("PID"), right("PPID"), right("SID"), left("TTY"), left("SAID LAST")];
    let row = |seat: &Seat| -> Vec<String> {
        vec![
            seat.process.name.clone(),
            seat.process.pid.to_string(),
            seat.process.ppid.to_string(),
            seat.process.sid.to_string(),
            maybe(seat.process.tty.as_ref()),
            maybe(seat.said.as_ref()),
        ]
    };
    Grid { caption: None, columns, rows: seen.seats.iter().map(row).collect() }
}

fn machines(seen: &Machines) -> Grid {
    let columns = vec![
        left("NAME"),
        right("PID"),
        right("NETWORK"),
        left("ADDRESS"),
        right("SENT"),
        right("READ"),
        left("SAID LAST"),
    ];
    let row = |one: &Machine| -> Vec<String> {
        // The engine has one a cable: the first says enough in a table.
        let address = one.addresses.first().map(|address| address.rsplit(' ').next().unwrap_or_default());
        vec![
            one.process.name.clone(),
            one.process.pid.to_string(),
            maybe(one.namespace),
            maybe(address),
            maybe(one.sent),
            maybe(one.received),
            maybe(one.said.as_ref()),
        ]
    };
    Grid { caption: None, columns, rows: seen.machines.iter().map(row).collect() }
}

fn wires(seen: &Machines) -> Grid {
    let columns = vec![
        left("CLIENT"),
        left("ITS END"),
        right("SOCKET"),
        left("THE ENGINE'S END"),
        right("SOCKET"),
        right("PID"),
    ];
    let row = |wire: &Wire| -> Vec<String> {
        let far = wire.far.as_ref();
        vec![
            wire.client.clone(),
            wire.near.address.clone(),
            wire.near.inode.to_string(),
            maybe(far.map(|far| &far.address)),
            maybe(far.map(|far| far.inode)),
            maybe(far.and_then(|far| far.pids.first())),
        ]
    };
    Grid { caption: None, columns, rows: seen.wires.iter().map(row).collect() }
}

fn contrast(seen: &Contrast) -> Grid {
    let columns = vec![left(""), left("ONE PROCESS"), left("SEPARATE PROCESSES")];
    let built = "The programs were built without optimisation; their times say little.";
    let caption = seen.unoptimised.then(|| built.to_owned());
    Grid { caption, columns, rows: rows(seen).into_iter().map(Vec::from).collect() }
}

/// The comparison, row by row: what, in one process, in separate ones.
fn rows(seen: &Contrast) -> Vec<[String; 3]> {
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

const fn left(title: &'static str) -> Column {
    Column { title, align: Align::Left, keep: Keep::Always }
}

const fn right(title: &'static str) -> Column {
    Column { title, align: Align::Right, keep: Keep::Always }
}

fn maybe(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}
