//! The second claim: a death is nobody else's, and what died comes back.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::Check;
use super::look::{Part, commas};
use super::sockets::{Sockets, connections};
use super::subject::{Named, Subject, lives, wait_for};
use crate::os::proc::{Clock, Process};
use crate::os::{pidfd, signals};

/// How long the victim may take to be gone, and everything to be in order again after it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long we look whether anybody comes back where nobody watches.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// One death after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deaths {
    /// A client, the engine, the supervisor process.
    pub rounds: Vec<Round>,
}

/// One death.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Who is killed.
    pub victim: String,
    /// What it is.
    pub part: Part,
    /// The signal, as in `SIGKILL`.
    pub signal: String,
    /// The process that got it.
    pub pid: i32,
    /// When, in milliseconds since boot.
    pub killed_at_ms: u64,
    /// Until the process was gone, in milliseconds.
    pub gone_ms: Option<f64>,
    /// Until the name had another process.
    pub back_ms: Option<f64>,
    /// Until every client was connected with the engine.
    pub connected_ms: Option<f64>,
    /// Everybody before.
    pub before: Vec<Life>,
    /// Everybody after.
    pub after: Vec<Life>,
}

/// One process at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Whose.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// Its process; none if it is gone.
    pub pid: Option<i32>,
    /// Its start in clock ticks since boot.
    pub start_ticks: Option<u64>,
    /// The same in milliseconds.
    pub started_ms: Option<u64>,
    /// The two inodes of a client's connection to the engine.
    pub connection: Option<(u64, u64)>,
}

/// Kills one client.
pub(super) fn of_a_client(subject: &Subject, signal: i32, settle: Duration) -> Result<Option<Round>, String> {
    of_one(subject, Part::Client, signal, settle)
}

/// Kills one of each kind, one after the other, and waits each time until all is in order again.
pub(super) fn gather(subject: &Subject, signal: i32, settle: Duration) -> Result<Deaths, String> {
    let mut deaths = Deaths::default();
    for part in [Part::Client, Part::Engine, Part::Supervisor] {
        deaths.rounds.extend(of_one(subject, part, signal, settle)?);
    }
    Ok(deaths)
}

fn of_one(subject: &Subject, part: Part, signal: i32, settle: Duration) -> Result<Option<Round>, String> {
    let before = settled(subject, settle)?;
    let victim = before.members.iter().find(|member| member.part == part && member.pid.is_some());
    let Some((victim, pid)) = victim.and_then(|victim| Some((victim.clone(), victim.pid?))) else {
        return Ok(None);
    };
    round(subject, &victim, pid, signal, before).map(Some)
}

/// Everybody at one moment.
struct Moment {
    members: Vec<Named>,
    sockets: Sockets,
    lives: Vec<Life>,
}

impl Moment {
    fn of(subject: &Subject) -> Result<Moment, String> {
        let members = subject.members().map_err(|error| error.to_string())?;
        let sockets = connections(&members).map_err(|error| format!("cannot read the sockets: {error}"))?;
        let lives = members.iter().map(|member| life(member, &sockets)).collect();
        Ok(Moment { members, sockets, lives })
    }

    fn is_whole(&self) -> bool {
        self.lives
            .iter()
            .all(|life| life.pid.is_some() && (life.part != Part::Client || life.connection.is_some()))
            && self.sockets.engine.is_some()
    }

    fn pid_of(&self, name: &str) -> Option<i32> {
        self.lives.iter().find(|life| life.name == name)?.pid
    }
}

fn life(member: &Named, sockets: &Sockets) -> Life {
    let row = member.pid.and_then(Process::read).filter(lives);
    let started = Clock::now().ok().zip(row.as_ref()).map(|(clock, row)| clock.started(row));
    let joined = sockets.links.iter().find(|link| {
        link.client == member.name
            && member.pid.zip(sockets.engine).is_some_and(|(client, engine)| link.joins(client, engine))
    });
    Life {
        name: member.name.clone(),
        part: member.part,
        pid: row.as_ref().map(|row| row.pid),
        start_ticks: row.as_ref().map(|row| row.start_ticks),
        started_ms: started.and_then(|started| u64::try_from(started.as_millis()).ok()),
        connection: joined.map(|link| (link.near.inode, link.far.inode)),
    }
}

/// Waits until everybody is there and connected; how it is then is for the verdict.
fn settled(subject: &Subject, patience: Duration) -> Result<Moment, String> {
    let patience = if subject.is_supervised() { patience } else { Duration::ZERO };
    wait_for(patience, || Moment::of(subject).ok().filter(Moment::is_whole))
        .map_or_else(|| Moment::of(subject), Ok)
}

fn round(subject: &Subject, victim: &Named, pid: i32, signal: i32, before: Moment) -> Result<Round, String> {
    let unreachable =
        |errno: nix::Error| format!("cannot kill {} (PID {pid}): {}", victim.name, errno.desc());
    let held = pidfd::open(Pid::from_raw(pid)).map_err(unreachable)?;
    let killed_at = Clock::now().map_or(0, |clock| clock.since_boot().as_millis());
    let begun = Instant::now();
    let ms = || begun.elapsed().as_secs_f64() * 1000.0;
    pidfd::signal(held.as_fd(), signal).map_err(unreachable)?;
    let gone_ms = pidfd::wait(held.as_fd(), PATIENCE).ok().filter(|gone| *gone).map(|_| ms());
    let patience = if subject.is_supervised() { PATIENCE } else { IMPATIENCE };
    let back = wait_for(patience, || {
        let now = subject.members().ok()?;
        match now.iter().find(|member| member.name == victim.name) {
            Some(member) if member.pid.is_some_and(|now| now != pid) => Some(Some(ms())),
            Some(_) => None,
            // Its restart type does not want it back.
            None => Some(None),
        }
    });
    let back = back.flatten();
    let whole = back.and_then(|_| {
        wait_for(patience, || Moment::of(subject).ok().filter(Moment::is_whole).map(|moment| (ms(), moment)))
    });
    let (connected_ms, after) = match whole {
        Some((ms, after)) => (Some(ms), after),
        None => (None, Moment::of(subject)?),
    };
    let back_ms = back.filter(|_| after.pid_of(&victim.name) != Some(pid));
    Ok(Round {
        victim: victim.name.clone(),
        part: victim.part,
        signal: signals::name(signal),
        pid,
        killed_at_ms: u64::try_from(killed_at).unwrap_or(0),
        gone_ms,
        back_ms,
        connected_ms,
        before: before.lives,
        after: after.lives,
    })
}

pub(super) fn judge(seen: &Deaths) -> Vec<Check> {
    let mut checks = Vec::new();
    for part in [Part::Client, Part::Engine] {
        let killed = seen.rounds.iter().filter(|round| round.part == part).count();
        if killed == 0 {
            let what =
                format!("there is {} to kill", if part == Part::Engine { "an engine" } else { "a client" });
            checks.push(Check::that(what, false, "none that lives"));
        }
    }
    for round in &seen.rounds {
        checks.extend([others_live(round), connections_hold(round), returns(round)]);
    }
    checks
}

impl Round {
    fn of(&self, what: &str) -> String {
        format!("{} to {}: {what}", self.signal, self.victim)
    }

    /// Those who are the same process before and after.
    #[must_use]
    pub fn survivors(&self) -> Vec<&str> {
        let same = |before: &Life, after: Option<&Life>| {
            after.is_some_and(|after| (after.pid, after.start_ticks) == (before.pid, before.start_ticks))
        };
        self.others()
            .filter(|(before, after)| same(before, *after))
            .map(|(before, _)| &*before.name)
            .collect()
    }

    /// Everybody but the victim, before and after.
    fn others(&self) -> impl Iterator<Item = (&Life, Option<&Life>)> {
        let after = |name: &str| self.after.iter().find(move |life| life.name == name);
        let others = self.before.iter().filter(|life| life.name != self.victim);
        others.map(move |life| (life, after(&life.name)))
    }
}

fn others_live(round: &Round) -> Check {
    let mut against = Vec::new();
    for (before, after) in round.others() {
        let now = after.map_or((None, None), |life| (life.pid, life.start_ticks));
        let was = before.pid.map_or_else(|| "without a process".to_owned(), |pid| format!("PID {pid}"));
        match now {
            (None, _) => against.push(format!("{} ({was}) is gone too", before.name)),
            now if now == (before.pid, before.start_ticks) => {}
            (Some(pid), _) => against.push(format!("{} was {was} and is PID {pid}", before.name)),
        }
    }
    let number = round.others().count();
    if number == 0 {
        against.push("there is nobody else".into());
    }
    let what = round.of("every other PID and start time is unchanged");
    Check::unless(what, &against, format!("{number} others live on"))
}

fn connections_hold(round: &Round) -> Check {
    let clients: Vec<_> = round.others().filter(|(before, _)| before.part == Part::Client).collect();
    let number = clients.len();
    let shown = |ends: Option<(u64, u64)>| {
        ends.map_or_else(|| "none".to_owned(), |(near, far)| format!("{near}--{far}"))
    };
    let pairs = clients.iter().map(|(before, after)| (before, after.and_then(|life| life.connection)));
    if round.part == Part::Engine {
        let lost = pairs.filter(|(before, now)| now.is_none() || *now == before.connection);
        let against: Vec<String> =
            lost.map(|(before, now)| format!("{} has {}", before.name, shown(now))).collect();
        let found = match round.connected_ms {
            Some(ms) => format!("{number} new connections after {ms:.1} ms"),
            None => format!("{number} new connections"),
        };
        return Check::unless(round.of("every client is connected with the new engine"), &against, found);
    }
    let changed = pairs.filter(|(before, now)| now.is_none() || *now != before.connection);
    let against: Vec<String> = changed
        .map(|(before, now)| {
            format!("{} had {} and has {}", before.name, shown(before.connection), shown(now))
        })
        .collect();
    Check::unless(
        round.of("the connections of the others are unchanged"),
        &against,
        format!("{number} connections"),
    )
}

fn returns(round: &Round) -> Check {
    let what = round.of("it is gone, and back under another PID");
    let now = round.after.iter().find(|life| life.name == round.victim).and_then(|life| life.pid);
    let gone =
        round.gone_ms.map_or_else(|| "it did not die".to_owned(), |ms| format!("gone after {ms:.1} ms"));
    match (now, round.back_ms) {
        (Some(pid), Some(back)) if pid != round.pid => {
            let found = format!("PID {} -> {pid}, {gone}, back after {back:.1} ms", round.pid);
            Check::that(what, round.gone_ms.is_some(), found)
        }
        _ => Check::that(what, false, format!("PID {}, {gone}, and nothing came back", round.pid)),
    }
}

pub(super) fn by_hand(seen: &Deaths) -> Vec<String> {
    let Some(last) = seen.rounds.last() else { return Vec::new() };
    let pids = commas(last.after.iter().filter_map(|life| life.pid));
    if pids.is_empty() {
        return Vec::new();
    }
    let victim = last.after.iter().find(|life| life.part == Part::Client).and_then(|life| life.pid);
    let kill = victim.map(|pid| format!("kill -9 {pid}"));
    let ps = format!("ps -o pid,lstart,comm -p {pids}");
    [Some(ps.clone()), kill, Some(ps)].into_iter().flatten().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn life(name: &str, part: Part, pid: i32) -> Life {
        let connection = (part == Part::Client).then(|| (pid as u64 * 10, pid as u64 * 10 + 1));
        let start = Some(pid as u64 * 100);
        Life { name: name.into(), part, pid: Some(pid), start_ticks: start, started_ms: start, connection }
    }

    fn everybody() -> Vec<Life> {
        vec![
            life("supervisor", Part::Supervisor, 1),
            life("engine", Part::Engine, 2),
            life("client@1", Part::Client, 3),
            life("client@2", Part::Client, 4),
        ]
    }

    fn round(victim: &str, part: Part, pid: i32) -> Round {
        let mut after = everybody();
        let died = after.iter_mut().find(|life| life.name == victim).unwrap();
        *died = life(victim, part, pid + 100);
        if part == Part::Engine {
            after
                .iter_mut()
                .for_each(|life| life.connection = life.connection.map(|(near, far)| (near + 5, far + 5)));
        }
        Round {
            victim: victim.into(),
            part,
            signal: "SIGKILL".into(),
            pid,
            killed_at_ms: 0,
            gone_ms: Some(0.5),
            back_ms: Some(2.0),
            connected_ms: Some(9.0),
            before: everybody(),
            after,
        }
    }

    /// A client died alone, and is back.
    pub(crate) fn client_died() -> Round {
        round("client@1", Part::Client, 3)
    }

    fn deaths() -> Deaths {
        let rounds = vec![
            round("client@1", Part::Client, 3),
            round("engine", Part::Engine, 2),
            round("supervisor", Part::Supervisor, 1),
        ];
        Deaths { rounds }
    }

    fn against(seen: &Deaths) -> Vec<String> {
        judge(seen).into_iter().filter(|check| !check.holds).map(|check| check.found).collect()
    }

    #[test]
    fn three_lonely_deaths_are_proven() {
        assert_eq!(against(&deaths()), Vec::<String>::new());
        assert_eq!(judge(&deaths()).len(), 9);
    }

    #[test]
    fn a_death_that_takes_another_along_is_not() {
        let mut seen = deaths();
        seen.rounds[0].after[1] = life("engine", Part::Engine, 77);
        assert_eq!(against(&seen), ["engine was PID 2 and is PID 77"]);
        seen.rounds[0].after.remove(1);
        assert_eq!(against(&seen), ["engine (PID 2) is gone too"]);
    }

    #[test]
    fn the_same_number_with_another_start_is_another_process() {
        let mut seen = deaths();
        seen.rounds[2].after[3].start_ticks = Some(1);
        assert_eq!(against(&seen), ["client@2 was PID 4 and is PID 4"]);
    }

    #[test]
    fn a_connection_that_changes_is_not_unchanged() {
        let mut seen = deaths();
        seen.rounds[0].after[3].connection = Some((7, 8));
        assert_eq!(against(&seen), ["client@2 had 40--41 and has 7--8"]);
        let mut seen = deaths();
        seen.rounds[1].after[3].connection = None;
        assert_eq!(against(&seen), ["client@2 has none"]);
    }

    #[test]
    fn what_does_not_die_or_return_is_not_proven() {
        let mut seen = deaths();
        seen.rounds[1].back_ms = None;
        assert_eq!(against(&seen), ["PID 2, gone after 0.5 ms, and nothing came back"]);
        let mut seen = deaths();
        seen.rounds[1].gone_ms = None;
        assert!(against(&seen)[0].contains("it did not die"));
    }

    #[test]
    fn without_anybody_to_kill_nothing_is_proven() {
        assert_eq!(against(&Deaths::default()), ["none that lives", "none that lives"]);
    }
}
