//! The sixth claim: the same engine and clients as tasks of one process have none of what was shown.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::Check;
use super::deaths::{Round, of_a_client};
use super::examine::{Options, settled};
use super::look::{Part, Seen, look};
use super::measure::{Calls, measure};
use super::sockets::connections;
use super::subject::{Named, Subject};
use crate::os::command::bound_to_us;
use crate::os::proc::{Usage, same_memory};

/// Both, side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// Engine and clients as tasks of one process.
    pub one: Side,
    /// Those who are examined.
    pub separate: Side,
    /// Calls with everything on one core: inside a process, between two.
    pub one_core: [Calls; 2],
    /// The programs were built without optimisation: times say little.
    pub unoptimised: bool,
}

/// One of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Names: the engine and its clients.
    pub names: usize,
    /// PIDs behind them.
    pub pids: usize,
    /// Address spaces behind them.
    pub spaces: usize,
    /// Connections of clients to other processes.
    pub links: usize,
    /// Connections that begin and end in one process.
    pub inside: usize,
    /// Memory of all, in bytes, a shared page divided among those who map it.
    pub pss: u64,
    /// What a SIGKILL to one client changes.
    pub death: Round,
    /// A call of the engine, and of no use: the way is measured, not the work.
    pub calls: Calls,
    /// One more task or process started and ended, in nanoseconds.
    pub start_ns: u64,
}

pub(super) fn gather(subject: &Subject, options: &Options) -> Result<Contrast, String> {
    let failed = |error: io::Error| format!("cannot measure: {error}");
    let Options { programs, settle, .. } = options;
    let members = settled(subject, *settle)?;
    let clients = members.iter().filter(|member| member.part == Part::Client && member.pid.is_some()).count();
    if clients == 0 {
        return Err("there is no client that lives".into());
    }
    let costs = measure(programs).map_err(failed)?;
    let separate = side(subject, &members, &costs.calls[1], costs.process_ns, *settle)?;
    let dir = tempfile::tempdir().map_err(failed)?;
    let mut command = Command::new(programs.join("reddit-one-process"));
    command.args(["--clients", &clients.to_string()]).env("TMPDIR", dir.path()).current_dir(dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = bound_to_us(&mut command, Signal::SIGKILL).map_err(failed)?;
    let one = Subject::OneProcess { pid: process.id().cast_signed(), clients };
    let one = settled(&one, *settle)
        .and_then(|members| side(&one, &members, &costs.calls[0], costs.calls[0].task_ns, *settle));
    // It should be dead by now.
    let _ = process.kill();
    let _ = process.wait();
    Ok(Contrast { one: one?, separate, one_core: costs.one_core, unoptimised: cfg!(debug_assertions) })
}

fn side(
    subject: &Subject,
    members: &[Named],
    calls: &Calls,
    start_ns: u64,
    settle: Duration,
) -> Result<Side, String> {
    let payload: Vec<Named> = members.iter().filter(|member| member.part.is_payload()).cloned().collect();
    let seen = look(&payload).0;
    let sockets = connections(members).map_err(|error| format!("cannot read the sockets: {error}"))?;
    let processes = one_of_each(&seen, |one, other| one.pid == other.pid);
    Ok(Side {
        names: payload.len(),
        pids: processes.len(),
        spaces: one_of_each(&seen, |one, other| same_memory(one.pid, other.pid) == Ok(true)).len(),
        links: sockets.links.len(),
        inside: sockets.inside.values().copied().max().unwrap_or(0),
        pss: processes.iter().filter_map(|row| Some(Usage::read(row.pid).memory?.pss)).sum(),
        death: of_a_client(subject, libc::SIGKILL, settle)?.ok_or("there is no client to kill")?,
        calls: calls.clone(),
        start_ns,
    })
}

/// Those that are not the same as one before them.
fn one_of_each(seen: &[Seen], same: impl Fn(&Seen, &Seen) -> bool) -> Vec<&Seen> {
    let mut kept: Vec<&Seen> = Vec::new();
    for row in seen {
        if !kept.iter().any(|other| same(row, other)) {
            kept.push(row);
        }
    }
    kept
}

pub(super) fn judge(seen: &Contrast) -> Vec<Check> {
    let Contrast { one, separate, .. } = seen;
    let both = |field: fn(&Side) -> usize| format!("{} against {}", field(one), field(separate));
    let survive = |side: &Side| {
        format!("{} of {}", side.death.survivors().len(), side.death.before.len().saturating_sub(1))
    };
    let all_survive = separate.death.survivors().len() + 1 == separate.death.before.len();
    let ms = |ms: Option<f64>| ms.map_or_else(|| "never".to_owned(), |ms| format!("after {ms:.1} ms"));
    let ratio = |inside: &Calls, between: &Calls| between.p50_ns as f64 / inside.p50_ns.max(1) as f64;
    let [inside, between] = &seen.one_core;
    vec![
        Check::that(
            "one PID for all names, against one for each",
            one.pids == 1 && separate.pids == separate.names,
            both(|side| side.pids),
        ),
        Check::that(
            "one memory for all, against one for each",
            one.spaces == 1 && separate.spaces == separate.names,
            both(|side| side.spaces),
        ),
        Check::that(
            "no connection leaves the one process, and each client of the others has one",
            one.links == 0 && separate.links + 1 >= separate.names,
            both(|side| side.links),
        ),
        Check::that(
            "a killed client takes all along, against nobody",
            one.death.survivors().is_empty() && all_survive,
            format!("{} live on, against {}", survive(one), survive(separate)),
        ),
        Check::that(
            "it never comes back, against soon",
            one.death.back_ms.is_none() && separate.death.back_ms.is_some(),
            format!("{}, against {}", ms(one.death.back_ms), ms(separate.death.back_ms)),
        ),
        Check::that(
            "the price: a call takes longer between processes",
            one.calls.p50_ns < separate.calls.p50_ns && inside.p50_ns < between.p50_ns,
            format!(
                "{:.1} times as long, {:.1} on one core",
                ratio(&one.calls, &separate.calls),
                ratio(inside, between)
            ),
        ),
    ]
}

pub(super) fn by_hand() -> Vec<String> {
    vec![
        "reddit-one-process & sleep 1; ps -o pid,nlwp,comm -p $!; kill -9 $!".into(),
        "reddit-one-process --calls 10000".into(),
        "reddit-one-process --calls 10000 --engine /tmp/engine.sock".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::deaths::tests::client_died;

    fn calls(p50_ns: u64) -> Calls {
        Calls { p50_ns, ..Calls::default() }
    }

    fn contrast() -> Contrast {
        let mut alone = client_died();
        alone.after.iter_mut().for_each(|life| life.pid = None);
        alone.back_ms = None;
        let side = |pids, links, death, calls| Side {
            names: 3,
            pids,
            spaces: pids,
            links,
            inside: 0,
            pss: 1,
            death,
            calls,
            start_ns: 1,
        };
        Contrast {
            one: side(1, 0, alone, calls(4)),
            separate: side(3, 2, client_died(), calls(50)),
            one_core: [calls(4), calls(40)],
            unoptimised: false,
        }
    }

    /// What is found when this is changed.
    type Case = (&'static str, fn(&mut Contrast));

    #[test]
    fn the_contrast_holds_and_each_part_of_it_can_fail() {
        let against = |seen: &Contrast| -> Vec<String> {
            judge(seen).into_iter().filter(|check| !check.holds).map(|check| check.found).collect()
        };
        assert_eq!(against(&contrast()), Vec::<String>::new());
        let cases: [Case; 6] = [
            ("1 against 2", |seen| seen.separate.pids = 2),
            ("2 against 3", |seen| seen.one.spaces = 2),
            ("1 against 2", |seen| seen.one.links = 1),
            ("0 of 3 live on, against 2 of 3", |seen| seen.separate.death.after[1].pid = None),
            ("never, against never", |seen| seen.separate.death.back_ms = None),
            ("1.0 times as long", |seen| seen.separate.calls.p50_ns = 4),
        ];
        for (hint, break_it) in cases {
            let mut seen = contrast();
            break_it(&mut seen);
            let found = against(&seen);
            assert!(found.len() == 1 && found[0].contains(hint), "{hint}: {found:?}");
        }
    }
}
