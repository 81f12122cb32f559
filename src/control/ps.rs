//! The process table: our own account of who there is, joined with what the kernel says at this moment.
//!
//! The account only gives names and pids. Every other field is read from `/proc` for this answer, and a row is given
//! only if the process is still the same one after all of it was read.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::yield_now;

use super::{Member, ProcessJson, PsJson, Role, VERSION};
use crate::os::proc::{self, Clock, Process, Table, Usage};

/// How many processes are read before others get their turn: the supervisor's loop shares our thread.
const CHUNK: usize = 16;

/// The process table of a project.
///
/// Rows: the keeper, the supervisor process, the children in the order given, each followed by what it forked.
/// What the keeper adopted and nobody can be named for stands under the keeper. A member whose process
/// does not exist (any more) has a row without kernel fields.
pub async fn ps(project: String, members: Vec<Member>) -> PsJson {
    let (table, clock) = (read_table().await, Clock::now().ok());
    let mut processes = Vec::new();
    for (done, entry) in entries(&members, &table).into_iter().enumerate() {
        if done % CHUNK == CHUNK - 1 {
            yield_now().await;
        }
        processes.extend(row(entry, clock.as_ref()));
    }
    PsJson { version: VERSION, project, processes }
}

/// As [`Table::read`], in chunks. Without `/proc` the table is empty, and so are the kernel's fields.
async fn read_table() -> Table {
    let mut rows = Vec::new();
    for chunk in proc::pids().unwrap_or_default().chunks(CHUNK) {
        rows.extend(chunk.iter().copied().filter_map(Process::read));
        yield_now().await;
    }
    rows.into_iter().collect()
}

/// What becomes one row.
#[derive(Debug, PartialEq)]
enum Entry<'a> {
    Member(&'a Member, Option<&'a Process>),
    Descendant(&'a str, &'a Process),
}

/// Puts members and their descendants in order. Each process stands in one row, with the member that is nearest above.
fn entries<'a>(members: &'a [Member], table: &'a Table) -> Vec<Entry<'a>> {
    let mut taken: BTreeSet<i32> = members.iter().filter_map(|member| member.pid).collect();
    // Children first: what is below a child is below the keeper too.
    let mut below: BTreeMap<usize, Vec<&Process>> = BTreeMap::new();
    for role in [Role::Child, Role::Supervisor, Role::Keeper] {
        for (position, member) in members.iter().enumerate().filter(|(_, member)| member.role == role) {
            let descendants = member.pid.map(|pid| table.descendants(pid)).unwrap_or_default();
            below.insert(position, descendants.into_iter().filter(|row| taken.insert(row.pid)).collect());
        }
    }
    // What the keeper has adopted may still be known by its marks.
    for position in members.iter().enumerate().filter(|(_, it)| it.role == Role::Keeper).map(|(at, _)| at) {
        let (mut unknown, mut owner) = (Vec::new(), BTreeMap::new());
        let keepers = members.get(position).and_then(|keeper| table.get(keeper.pid?));
        for row in below.remove(&position).unwrap_or_default() {
            // Whoever is below one that is known is known with it.
            match owner.get(&row.ppid).copied().or_else(|| marked(members, row.pid)) {
                Some(member) => {
                    owner.insert(row.pid, member);
                    below.entry(member).or_default().push(row);
                }
                // Our children have sessions of their own: this one was there before its process became the launcher.
                None if keepers.is_some_and(|keeper| keeper.sid == row.sid) => {}
                None => unknown.push(row),
            }
        }
        below.insert(position, unknown);
    }
    let mut entries = Vec::new();
    for role in [Role::Keeper, Role::Supervisor, Role::Child] {
        for (position, member) in members.iter().enumerate().filter(|(_, member)| member.role == role) {
            entries.push(Entry::Member(member, member.pid.and_then(|pid| table.get(pid))));
            let forked = below.remove(&position).unwrap_or_default();
            entries.extend(forked.into_iter().map(|row| Entry::Descendant(&member.name, row)));
        }
    }
    entries
}

/// Whose marks a process bears.
fn marked(members: &[Member], pid: i32) -> Option<usize> {
    let groups = proc::control_groups(pid).unwrap_or_default();
    members.iter().position(|member| {
        member.marks.as_ref().is_some_and(|marks| {
            groups.contains(&marks.group) || proc::has_entry(pid, marks.entry.as_bytes())
        })
    })
}

/// Reads the rest of a row. `None` for a descendant that is gone by now.
fn row(entry: Entry<'_>, clock: Option<&Clock>) -> Option<ProcessJson> {
    match entry {
        Entry::Descendant(name, first) => {
            let (process, usage) = read_whole(first)?;
            let mut row = kernel_fields(&process, usage, clock);
            (row.name, row.role) = (name.to_owned(), Role::Descendant);
            Some(row)
        }
        Entry::Member(member, first) => {
            let mut row = match first.and_then(read_whole) {
                Some((process, usage)) => kernel_fields(&process, usage, clock),
                None => ProcessJson { pid: member.pid, ..ProcessJson::default() },
            };
            (row.name, row.role, row.phase) = (member.name.clone(), member.role, member.phase);
            (row.run, row.restarts) = (Some(member.run), Some(member.restarts));
            Some(row)
        }
    }
}

/// What the process uses, and its row as it is after that; `None` if the pid is no longer this process's.
fn read_whole(first: &Process) -> Option<(Process, Usage)> {
    let usage = Usage::read(first.pid);
    Process::read(first.pid).filter(|now| now.same_process(first)).map(|now| (now, usage))
}

fn kernel_fields(process: &Process, usage: Usage, clock: Option<&Clock>) -> ProcessJson {
    let memory = usage.memory;
    let rss = memory.map_or_else(|| process.rss_bytes(), |memory| memory.rss);
    let start = clock.map(|clock| humantime::format_rfc3339_millis(clock.start_time(process)).to_string());
    ProcessJson {
        pid: Some(process.pid),
        ppid: Some(process.ppid),
        pgid: Some(process.pgid),
        sid: Some(process.sid),
        tty: proc::tty_name(process.tty),
        state: Some(process.state.to_string()),
        start_time: start,
        start_ticks: Some(process.start_ticks),
        uptime_ms: clock.map(|clock| u64::try_from(clock.uptime(process).as_millis()).unwrap_or(u64::MAX)),
        threads: Some(process.threads),
        rss_bytes: Some(rss),
        pss_bytes: memory.map(|memory| memory.pss),
        private_bytes: memory.map(|memory| memory.private),
        cpu_percent: clock.map(|clock| (clock.cpu_percent(process) * 10.0).round() / 10.0),
        fds: usage.fds,
        exe: usage.exe,
        cmdline: usage.cmdline.or_else(|| Some(format!("[{}]", process.comm))),
        ..ProcessJson::default()
    }
}

/// Sums over a process table. Isolation in numbers: as many pids as processes, and memory that adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows that are a process.
    pub processes: usize,
    /// Different pids among them.
    pub pids: usize,
    /// Different sessions among them.
    pub sessions: usize,
    /// Sum of the resident sizes, in bytes. Counts a page once for each process that maps it.
    pub rss_bytes: u64,
    /// Sum of the proportional sizes, in bytes: what they take together.
    pub pss_bytes: u64,
    /// Sum of what each has for itself alone, in bytes.
    pub private_bytes: u64,
    /// Processes whose proportional and private size the kernel did not tell: the last two sums lack them.
    pub untold: usize,
}

impl Totals {
    /// Sums up.
    #[must_use]
    pub fn of(rows: &[ProcessJson]) -> Totals {
        let real = || rows.iter().filter(|row| row.start_ticks.is_some());
        let distinct =
            |field: fn(&ProcessJson) -> Option<i32>| real().filter_map(field).collect::<BTreeSet<_>>().len();
        Totals {
            processes: real().count(),
            pids: distinct(|row| row.pid),
            sessions: distinct(|row| row.sid),
            rss_bytes: real().filter_map(|row| row.rss_bytes).sum(),
            pss_bytes: real().filter_map(|row| row.pss_bytes).sum(),
            private_bytes: real().filter_map(|row| row.private_bytes).sum(),
            untold: real().filter(|row| row.pss_bytes.is_none()).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, ppid: i32, sid: i32) -> Process {
        let mut row = Process::read(std::process::id().cast_signed()).unwrap();
        (row.pid, row.ppid, row.sid, row.start_ticks) = (pid, ppid, sid, u64::from(pid.cast_unsigned()));
        row
    }

    fn member(name: &str, role: Role, pid: Option<i32>) -> Member {
        Member { name: name.into(), role, phase: None, pid, run: 1, restarts: 0, marks: None }
    }

    fn order(members: &[Member], rows: &[(i32, i32, i32)]) -> Vec<String> {
        let table: Table = rows.iter().map(|&(pid, ppid, sid)| process(pid, ppid, sid)).collect();
        let text = |entry: Entry<'_>| match entry {
            Entry::Member(member, Some(row)) => format!("{} {}", member.name, row.pid),
            Entry::Member(member, None) => format!("{} -", member.name),
            Entry::Descendant(name, row) => format!("  {name} {}", row.pid),
        };
        entries(members, &table).into_iter().map(text).collect()
    }

    #[test]
    fn each_process_stands_once_under_the_nearest_member() {
        let members = [
            member("b", Role::Child, Some(40)),
            member("supervisor", Role::Supervisor, Some(20)),
            member("a", Role::Child, Some(30)),
            member("gone", Role::Child, None),
            member("keeper", Role::Keeper, Some(10)),
        ];
        // 31 below a; 41 an orphan of b's session; 21 of the supervisor; 50 adopted, nobody knows from whom.
        let rows = [
            (10, 1, 5),
            (20, 10, 5),
            (21, 20, 5),
            (30, 10, 30),
            (31, 30, 30),
            (40, 10, 40),
            (41, 10, 40),
            (50, 10, 50),
            // From before 10 became the launcher.
            (51, 10, 5),
            (60, 1, 5),
        ];
        assert_eq!(
            order(&members, &rows),
            [
                "keeper 10",
                "  keeper 50",
                "supervisor 20",
                "  supervisor 21",
                "b 40",
                "  b 41",
                "a 30",
                "  a 31",
                "gone -"
            ]
        );
    }

    #[tokio::test]
    async fn a_member_whose_process_is_gone_has_a_row_without_kernel_fields() {
        let mut gone = member("engine", Role::Child, Some(i32::MAX));
        gone.run = 7;
        let ps = ps("demo".into(), vec![gone, member("web", Role::Child, None)]).await;
        let [engine, web] = &ps.processes[..] else { panic!("{ps:?}") };
        assert_eq!(
            (engine.pid, engine.run, engine.ppid, &engine.exe),
            (Some(i32::MAX), Some(7), None, &None)
        );
        assert_eq!((web.pid, web.restarts, web.start_ticks), (None, Some(0), None));
        assert_eq!(Totals::of(&ps.processes), Totals::default());
    }

    #[test]
    fn totals_count_what_the_kernel_told() {
        let row = |pid, sid, pss| ProcessJson {
            pid: Some(pid),
            sid: Some(sid),
            start_ticks: Some(1),
            rss_bytes: Some(100),
            pss_bytes: pss,
            private_bytes: pss.map(|pss| pss / 2),
            ..ProcessJson::default()
        };
        let rows = [row(1, 1, Some(40)), row(2, 2, Some(20)), row(3, 2, None), ProcessJson::default()];
        let totals = Totals {
            processes: 3,
            pids: 3,
            sessions: 2,
            rss_bytes: 300,
            pss_bytes: 60,
            private_bytes: 30,
            untold: 1,
        };
        assert_eq!(Totals::of(&rows), totals);
    }
}
