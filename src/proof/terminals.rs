//! The fifth claim: no launcher is needed; each can be started by hand, on a terminal of its own.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};

use super::Check;
use super::look::{Part, Seen, list, look, shared};
use super::sockets::{self, Sockets};
use super::subject::{Named, wait_for};
use crate::os::command::{self, on_own_terminal};
use crate::os::proc::Process;

/// How long they may take to find each other, and one to end when its terminal is closed.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many clients are started.
const CLIENTS: usize = 2;

/// Who sits at which terminal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Terminals {
    /// Engine and clients.
    pub seats: Vec<Seat>,
    /// How they are connected.
    pub sockets: Sockets,
    /// What happened when the last client's terminal was closed.
    pub hang_up: Option<HangUp>,
}

/// A terminal, and who sits there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The process.
    pub process: Seen,
    /// The last line on the screen.
    pub said: Option<String>,
}

/// A terminal was closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HangUp {
    /// Whose.
    pub name: String,
    /// The process.
    pub pid: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Until it was gone, in milliseconds.
    pub gone_ms: Option<f64>,
    /// Others that were gone then.
    pub gone_too: Vec<String>,
}

/// Starts engine and clients, each on a terminal, or all as one process on one, and looks.
pub(super) fn gather(programs: &Path, one_process: bool) -> io::Result<Terminals> {
    let dir = tempfile::tempdir()?;
    let mut started = if one_process { one(programs, dir.path())? } else { separate(programs, dir.path())? };
    let members = started.members.clone();
    // How it came out is for the verdict.
    wait_for(PATIENCE, || {
        let seen = sockets::connections(&members).ok()?;
        seen.clients.iter().all(|(client, _)| seen.is_connected(client)).then_some(())
    });
    let sockets = sockets::gather(&members)?;
    let said: BTreeMap<i32, String> = started
        .seats
        .iter_mut()
        .filter_map(|seat| Some((seat.child.id().cast_signed(), last_line(seat)?)))
        .collect();
    let seats =
        look(&members).0.into_iter().map(|process| Seat { said: said.get(&process.pid).cloned(), process });
    let seats = seats.collect();
    let hang_up = started.hang_up();
    Ok(Terminals { seats, sockets, hang_up })
}

/// Processes on terminals; they end with this.
struct Started {
    seats: Vec<command::Seat>,
    members: Vec<Named>,
}

fn separate(programs: &Path, dir: &Path) -> io::Result<Started> {
    let socket = dir.join("engine.sock");
    let mut started = Started { seats: Vec::new(), members: Vec::new() };
    let mut engine = Command::new(programs.join("reddit-engine"));
    engine.arg("--listen").arg(&socket).current_dir(dir);
    started.sit(engine, &[("engine".to_owned(), Part::Engine)])?;
    for number in 1..=CLIENTS {
        let name = format!("client@{number}");
        let mut client = Command::new(programs.join("reddit-client"));
        client.arg("--engine").arg(&socket).args(["--users", "100", "--name", &name]).current_dir(dir);
        started.sit(client, &[(name, Part::Client)])?;
    }
    Ok(started)
}

fn one(programs: &Path, dir: &Path) -> io::Result<Started> {
    let mut started = Started { seats: Vec::new(), members: Vec::new() };
    let mut all = Command::new(programs.join("reddit-one-process"));
    all.args(["--users", "100", "--clients", &CLIENTS.to_string()]).env("TMPDIR", dir).current_dir(dir);
    let clients = (1..=CLIENTS).map(|number| (format!("client@{number}"), Part::Client));
    let names: Vec<_> = std::iter::once(("engine".to_owned(), Part::Engine)).chain(clients).collect();
    started.sit(all, &names)?;
    Ok(started)
}

impl Started {
    fn sit(&mut self, mut command: Command, names: &[(String, Part)]) -> io::Result<()> {
        // As a shell would start it: nothing of a supervisor in its environment.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PROVOST_") || name.starts_with("LISTEN_")) {
                command.env_remove(name);
            }
        }
        let seat = on_own_terminal(&mut command)?;
        fcntl(seat.screen.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let pid = Some(seat.child.id().cast_signed());
        self.members.extend(names.iter().map(|(name, part)| Named { name: name.clone(), part: *part, pid }));
        self.seats.push(seat);
        Ok(())
    }

    /// Closes the last terminal.
    fn hang_up(&mut self) -> Option<HangUp> {
        let name = self.members.last()?.name.clone();
        let command::Seat { screen, mut child } = self.seats.pop()?;
        let pid = child.id().cast_signed();
        let begun = Instant::now();
        drop(screen);
        let end = wait_for(PATIENCE, || child.try_wait().ok().flatten());
        let gone_ms = end.map(|_| begun.elapsed().as_secs_f64() * 1000.0);
        if end.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let others = self.members.iter().filter(|member| member.name != name);
        let gone = others.filter(|member| !member.pid.is_some_and(is_alive));
        let gone_too = gone.map(|member| member.name.clone()).collect();
        Some(HangUp { name, pid, signal: end.and_then(|end| end.signal()), gone_ms, gone_too })
    }
}

fn is_alive(pid: i32) -> bool {
    Process::read(pid).is_some_and(|row| super::subject::lives(&row))
}

impl Drop for Started {
    fn drop(&mut self) {
        for seat in &mut self.seats {
            // An error means that it is gone already.
            let _ = seat.child.kill();
            let _ = seat.child.wait();
        }
    }
}

/// What stands in the last line of the screen that has anything.
fn last_line(seat: &mut command::Seat) -> Option<String> {
    let mut screen = Vec::new();
    // It ends with "would block" where a file would end.
    let _ = seat.screen.read_to_end(&mut screen);
    let text = String::from_utf8_lossy(&screen).into_owned();
    text.lines().rev().map(plain).find(|line| !line.is_empty())
}

/// Without colours.
pub(super) fn plain(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once('m').map_or("", |(_, text)| text));
    (first + &rest.collect::<String>()).trim().to_owned()
}

pub(super) fn judge(seen: &Terminals) -> Vec<Check> {
    let processes: Vec<Seen> = seen.seats.iter().map(|seat| seat.process.clone()).collect();
    let mut checks = vec![terminals(&processes), sessions(&processes)];
    checks.extend(sockets::judge(&seen.sockets));
    checks.push(hung_up(seen.hang_up.as_ref(), processes.len()));
    checks
}

fn terminals(processes: &[Seen]) -> Check {
    let mut against = shared(processes, |row| row.tty.clone(), |tty| format!("on {tty}"));
    let without = processes.iter().filter(|row| row.tty.is_none());
    against.extend(without.map(|row| format!("{} has none", row.name)));
    if processes.len() < 2 {
        against.push("there are no two processes".into());
    }
    let ttys: Vec<String> =
        processes.iter().filter_map(|row| Some(format!("{} on {}", row.name, row.tty.as_ref()?))).collect();
    Check::unless("each has a controlling terminal of its own", &against, list(&ttys))
}

fn sessions(processes: &[Seen]) -> Check {
    let mut against = shared(processes, |row| Some(row.sid), |sid| format!("in session {sid}"));
    let led = processes.iter().filter(|row| row.sid != row.pid);
    against.extend(led.map(|row| format!("{} is in the session of PID {}", row.name, row.sid)));
    Check::unless("each leads a session of its own", &against, format!("{} sessions", processes.len()))
}

fn hung_up(seen: Option<&HangUp>, number: usize) -> Check {
    let what = "a closed terminal ends the one who sat there and nobody else";
    let Some(seen) = seen else { return Check::that(what, false, "no terminal was closed") };
    let HangUp { name, pid, gone_ms, gone_too, .. } = seen;
    let Some(ms) = gone_ms else { return Check::that(what, false, format!("{name} (PID {pid}) lives on")) };
    let against: Vec<String> = gone_too.iter().map(|other| format!("{other} is gone with {name}")).collect();
    let found = format!("{name} (PID {pid}) was gone after {ms:.1} ms, {} live on", number.saturating_sub(1));
    Check::unless(what, &against, found)
}

pub(super) fn by_hand() -> Vec<String> {
    vec![
        "reddit-engine --listen /tmp/engine.sock    # in one terminal".into(),
        "reddit-client --engine /tmp/engine.sock    # in two others".into(),
        "ps -o pid,ppid,sid,tty,comm -C reddit-engine,reddit-client".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::identity::tests::seen;

    fn seat(name: &str, part: Part, pid: i32) -> Seat {
        Seat { process: Seen { tty: Some(format!("pts/{pid}")), ..seen(name, part, pid) }, said: None }
    }

    fn terminals() -> Terminals {
        Terminals {
            seats: vec![seat("engine", Part::Engine, 10), seat("client@1", Part::Client, 11)],
            sockets: sockets::tests::proven(),
            hang_up: Some(HangUp {
                name: "client@1".into(),
                pid: 11,
                signal: Some(1),
                gone_ms: Some(1.0),
                gone_too: vec![],
            }),
        }
    }

    /// What is found when this is changed.
    type Case = (&'static str, fn(&mut Terminals));

    #[test]
    fn the_claim_holds_and_each_part_of_it_can_fail() {
        let against = |seen: &Terminals| -> Vec<String> {
            judge(seen).into_iter().filter(|check| !check.holds).map(|check| check.found).collect()
        };
        assert_eq!(against(&terminals()), Vec::<String>::new());
        let cases: [Case; 7] = [
            ("engine and client@1 are both on pts/10", |seen| {
                seen.seats[1].process.tty = Some("pts/10".into())
            }),
            ("client@1 has none", |seen| seen.seats[1].process.tty = None),
            ("client@1 is in the session of PID 5", |seen| seen.seats[1].process.sid = 5),
            ("there is no connection", |seen| seen.sockets.links.clear()),
            ("engine is gone with client@1", |seen| {
                seen.hang_up.as_mut().unwrap().gone_too.push("engine".into())
            }),
            ("client@1 (PID 11) lives on", |seen| seen.hang_up.as_mut().unwrap().gone_ms = None),
            ("no terminal was closed", |seen| seen.hang_up = None),
        ];
        for (hint, break_it) in cases {
            let mut seen = terminals();
            break_it(&mut seen);
            let found = against(&seen);
            assert!(found.iter().any(|found| found.contains(hint)), "{hint}: {found:?}");
        }
    }

    #[test]
    fn colours_are_taken_off() {
        assert_eq!(plain("\x1b[2m12:00\x1b[0m \x1b[32m INFO\x1b[0m up\r"), "12:00  INFO up");
    }

    #[test]
    fn nobody_at_no_terminal_is_not_proven() {
        let checks = judge(&Terminals::default());
        assert!(checks[0].found.contains("there are no two processes"), "{checks:?}");
    }
}
