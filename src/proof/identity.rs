//! The first claim: every name is a process of its own.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;

use serde::{Deserialize, Serialize};

use super::Check;
use super::look::{Part, Seen, commas, list, look, shared, threads};
use super::subject::Named;
use crate::os::proc::same_memory;

/// Who exists, and what several names for one process would look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Everybody, as the kernel tells.
    pub processes: Vec<Seen>,
    /// Names without a process.
    pub missing: Vec<String>,
    /// The contrast: threads of the process that examines.
    pub threads: Threads,
}

/// Threads of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threads {
    /// The process.
    pub pid: i32,
    /// Its threads, by id; the first is the process itself.
    pub ids: Vec<i32>,
    /// They all share its memory (`kcmp(2)`); absent if the kernel does not tell.
    pub one_memory: Option<bool>,
}

/// How many threads are shown.
const SHOWN: usize = 3;

pub(super) fn gather(members: &[Named]) -> Identity {
    let (processes, missing) = look(members);
    Identity { processes, missing, threads: own_threads() }
}

/// Has threads for a moment, and looks at them as at the processes.
fn own_threads() -> Threads {
    let pid = std::process::id().cast_signed();
    let (sender, started) = channel();
    std::thread::scope(|scope| {
        let mut held = Vec::new();
        for _ in 0..SHOWN {
            let (hold, until) = channel::<()>();
            let sender = sender.clone();
            held.push(hold);
            scope.spawn(move || {
                let _ = sender.send(());
                let _ = until.recv();
            });
        }
        started.iter().take(SHOWN).for_each(drop);
        let ids = threads(pid);
        let same: Result<Vec<bool>, _> = ids.iter().map(|tid| same_memory(pid, *tid)).collect();
        drop(held);
        Threads { pid, ids, one_memory: same.ok().map(|same| same.into_iter().all(|same| same)) }
    })
}

pub(super) fn judge(seen: &Identity) -> Vec<Check> {
    let all = &seen.processes;
    let payload: Vec<Seen> = all.iter().filter(|row| row.part.is_payload()).cloned().collect();
    let mut checks = vec![
        parts_are_there(seen),
        Check::unless(
            "each has a PID of its own",
            &shared(all, |row| Some(row.pid), |pid| format!("PID {pid}")),
            format!("{} names, {} PIDs", all.len(), count(all, |row| row.pid)),
        ),
        one_process_each(all),
        sessions(&payload),
        programs(&payload),
    ];
    if let Some(keeper) = all.iter().find(|row| row.part == Part::Keeper) {
        checks.push(parent(keeper, all));
    }
    checks.push(contrast(&seen.threads));
    checks
}

fn count<T: Ord>(rows: &[Seen], field: impl Fn(&Seen) -> T) -> usize {
    rows.iter().map(field).collect::<BTreeSet<T>>().len()
}

fn parts_are_there(seen: &Identity) -> Check {
    let number = |part| seen.processes.iter().filter(|row| row.part == part).count();
    let (engines, clients) = (number(Part::Engine), number(Part::Client));
    let mut against = Vec::new();
    if !seen.missing.is_empty() {
        against.push(format!("{} has no process", list(&seen.missing)));
    }
    if engines != 1 || clients == 0 {
        against
            .push(format!("{engines} engines and {clients} clients: one engine and some clients are needed"));
    }
    Check::unless("there is a process behind every name", &against, format!("1 engine, {clients} clients"))
}

/// A number can be used again, these cannot.
fn one_process_each(all: &[Seen]) -> Check {
    let what = "the kernel holds each for another process";
    if all.iter().all(|row| row.pidfd_inode.is_some()) {
        let same =
            shared(all, |row| row.pidfd_inode, |inode| format!("the process with pidfd inode {inode}"));
        return Check::unless(what, &same, format!("{} pidfd inodes", count(all, |row| row.pidfd_inode)));
    }
    let same =
        shared(all, |row| Some((row.start_ticks, row.pid)), |(ticks, _)| format!("started at tick {ticks}"));
    Check::unless(what, &same, "PID and start time differ")
}

fn sessions(payload: &[Seen]) -> Check {
    let mut against = shared(payload, |row| Some(row.sid), |sid| format!("in session {sid}"));
    let others = payload.iter().filter(|row| row.sid != row.pid);
    against.extend(others.map(|row| format!("{} is in the session of PID {}", row.name, row.sid)));
    Check::unless(
        "each leads a session of its own",
        &against,
        format!("{} sessions", count(payload, |row| row.sid)),
    )
}

fn programs(payload: &[Seen]) -> Check {
    let what = "engine and clients run different programs";
    let mut against: Vec<String> = payload
        .iter()
        .filter(|row| row.program.is_none())
        .map(|row| format!("the program of {} may not be read", row.name))
        .collect();
    let file = |row: &Seen| row.program.as_ref().map(|program| (program.device, program.inode));
    let engine = payload.iter().find(|row| row.part == Part::Engine);
    let same = payload.iter().filter(|row| row.part == Part::Client && file(row) == engine.and_then(file));
    against.extend(same.map(|row| format!("{} runs the engine's file", row.name)));
    let files: Vec<String> = payload
        .iter()
        .filter_map(|row| row.program.as_ref())
        .map(|program| format!("{} is inode {}", program.name(), program.inode))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    Check::unless(what, &against, files.join(", "))
}

fn parent(keeper: &Seen, all: &[Seen]) -> Check {
    let others = all.iter().filter(|row| row.part != Part::Keeper && row.ppid != keeper.pid);
    let against: Vec<String> =
        others.map(|row| format!("the parent of {} is PID {}", row.name, row.ppid)).collect();
    let chain: Vec<String> = std::iter::once(format!("keeper {}", keeper.pid))
        .chain(keeper.parents.iter().map(|(pid, comm)| format!("{comm} {pid}")))
        .collect();
    Check::unless("all are children of the keeper", &against, chain.join(" <- "))
}

fn contrast(threads: &Threads) -> Check {
    let Threads { pid, ids, one_memory } = threads;
    let found = format!(
        "{} thread ids, one PID {pid}, {}",
        ids.len(),
        match one_memory {
            Some(true) => "one memory",
            Some(false) => "several memories",
            None => "memory not told",
        }
    );
    let holds = ids.len() > 1 && ids.contains(pid) && *one_memory != Some(false);
    Check::that("in contrast, threads of this command share one PID", holds, found)
}

pub(super) fn by_hand(seen: &Identity) -> Vec<String> {
    if seen.processes.is_empty() {
        return Vec::new();
    }
    let pids = commas(seen.processes.iter().map(|row| row.pid));
    let mut commands = vec![format!("ps -o pid,ppid,sid,nlwp,lstart,comm -p {pids}")];
    let payload: BTreeSet<i32> =
        seen.processes.iter().filter(|row| row.part.is_payload()).map(|row| row.pid).collect();
    let links: Vec<String> = payload.iter().map(|pid| format!("/proc/{pid}/exe")).collect();
    commands.push(format!("stat -L -c '%i %N' {}", links.join(" ")));
    commands
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::proof::look::Program;

    pub(crate) fn seen(name: &str, part: Part, pid: i32) -> Seen {
        let inode = if part == Part::Client { 20 } else { 10 };
        Seen {
            name: name.into(),
            part,
            pid,
            start_ticks: 77,
            start_time: "2026-11-23T08:30:05.120Z".into(),
            pidfd_inode: Some(u64::from(pid.cast_unsigned()) + 1000),
            ppid: 100,
            pgid: pid,
            sid: pid,
            tty: None,
            threads: vec![pid],
            program: Some(Program { path: format!("/bin/{name}"), device: 1, inode }),
            parents: vec![(1, "init".into())],
        }
    }

    fn identity() -> Identity {
        Identity {
            processes: vec![
                seen("keeper", Part::Keeper, 100),
                seen("supervisor", Part::Supervisor, 101),
                seen("engine", Part::Engine, 102),
                seen("client@1", Part::Client, 103),
                seen("client@2", Part::Client, 104),
            ],
            missing: vec![],
            threads: Threads { pid: 9, ids: vec![9, 10], one_memory: Some(true) },
        }
    }

    /// What is found when this is changed.
    type Case = (&'static str, fn(&mut Identity));

    fn against(seen: &Identity) -> Vec<String> {
        judge(seen).into_iter().filter(|check| !check.holds).map(|check| check.found).collect()
    }

    #[test]
    fn separate_processes_are_proven() {
        assert_eq!(against(&identity()), Vec::<String>::new());
    }

    #[test]
    fn two_names_for_one_pid_are_not() {
        let mut false_one = identity();
        false_one.processes[3] =
            Seen { name: "client@1".into(), part: Part::Client, ..false_one.processes[2].clone() };
        let found = against(&false_one).join("\n");
        assert!(found.contains("engine and client@1 are both PID 102"), "{found}");
        assert!(found.contains("client@1 runs the engine's file"), "{found}");
        assert!(found.contains("in session 102"), "{found}");
    }

    #[test]
    fn a_number_used_again_is_not_enough_to_be_one_process() {
        let mut old = identity();
        old.processes.iter_mut().for_each(|row| row.pidfd_inode = None);
        assert_eq!(against(&old), Vec::<String>::new(), "start times and PIDs tell on older kernels");
    }

    #[test]
    fn each_other_part_of_the_claim_can_fail() {
        let cases: [Case; 6] = [
            ("client@3 has no process", |seen| seen.missing.push("client@3".into())),
            ("0 clients", |seen| seen.processes.truncate(3)),
            ("client@2 is in the session of PID 100", |seen| seen.processes[4].sid = 100),
            ("the parent of engine is PID 1", |seen| seen.processes[2].ppid = 1),
            ("the program of client@1 may not be read", |seen| seen.processes[3].program = None),
            ("several memories", |seen| seen.threads.one_memory = Some(false)),
        ];
        for (hint, break_it) in cases {
            let mut seen = identity();
            break_it(&mut seen);
            let found = against(&seen);
            assert!(found.len() == 1 && found[0].contains(hint), "{hint}: {found:?}");
        }
    }

    #[test]
    fn our_own_threads_share_a_pid() {
        let threads = own_threads();
        assert!(threads.ids.len() > SHOWN && threads.ids.contains(&threads.pid), "{threads:?}");
        assert_eq!(threads.one_memory, Some(true));
    }
}
