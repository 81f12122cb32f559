//! What an engine costs: its own counters, and what the kernel says about its process.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use tokio::time::Instant;

use super::report::EngineUse;
use crate::node::Identity;
use crate::reddit::Remote;
use crate::reddit::protocol::{EngineRequest, Reply, Request, Stats};

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// An engine at one moment.
#[derive(Clone, Debug)]
pub(super) struct Look {
    engine: Identity,
    at: Instant,
    stats: Stats,
    cpu_s: Option<f64>,
    rss_bytes: Option<u64>,
}

impl Look {
    /// `None` when the engine does not answer.
    pub(super) async fn at(engine: &Remote) -> Option<Look> {
        let stats = engine.call(&Request::Engine(EngineRequest::Stats).into(), PATIENCE).await;
        let Ok(Ok(Reply::Engine(stats))) = stats else { return None };
        let identity = engine.identity().clone();
        let (cpu_s, rss_bytes) = of_process(identity.pid).unzip();
        Some(Look { engine: identity, at: Instant::now(), stats, cpu_s, rss_bytes })
    }

    /// What happened between an earlier look and this one; `None` where that was another engine.
    fn since(&self, earlier: &Look) -> Option<EngineUse> {
        if self.engine != earlier.engine {
            return None;
        }
        let (now, then) = (&self.stats, &earlier.stats);
        Some(EngineUse {
            pid: self.engine.pid,
            incarnation: self.engine.incarnation,
            seconds: self.at.duration_since(earlier.at).as_secs_f64(),
            requests: now.requests - then.requests,
            turns: now.turns - then.turns,
            records: now.records - then.records,
            groups: now.groups - then.groups,
            syncs: now.syncs - then.syncs,
            repeated: now.repeated - then.repeated,
            cpu_s: self.cpu_s.zip(earlier.cpu_s).map(|(now, then)| now - then),
            rss_bytes: self.rss_bytes,
            users: now.users,
        })
    }
}

/// The lives of the engine that were met in the measured window, each from the first look to the last. One that is killed
/// is told as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Looks {
    earlier: Vec<EngineUse>,
    first: Option<Look>,
    last: Option<Look>,
}

impl Looks {
    pub(super) fn add(&mut self, look: Look) {
        if self.first.as_ref().is_some_and(|first| first.engine == look.engine) {
            self.last = Some(look);
        } else {
            self.earlier = self.uses();
            (self.first, self.last) = (Some(look), None);
        }
    }

    pub(super) fn uses(&self) -> Vec<EngineUse> {
        let present = self.last.as_ref().zip(self.first.as_ref()).and_then(|(last, first)| last.since(first));
        self.earlier.iter().cloned().chain(present).collect()
    }
}

/// Processor time in seconds, and resident memory in bytes. `None` unless the kernel shows an engine under that number:
/// one that is a task of this process, or in another namespace, has none.
fn of_process(pid: u32) -> Option<(f64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, fields) = stat.rsplit_once(") ")?;
    if !name.ends_with("(reddit-engine") {
        return None;
    }
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |number: usize| fields.get(number).and_then(|field| field.parse::<u64>().ok());
    // proc_pid_stat(5): utime, stime and rss are fields 14, 15 and 24, and the third is the first here.
    let ticks = field(11)? + field(12)?;
    let constant = |which| sysconf(which).ok().flatten().and_then(|value| u64::try_from(value).ok());
    let per_second = constant(SysconfVar::CLK_TCK)?;
    Some((ticks as f64 / per_second as f64, field(21)? * constant(SysconfVar::PAGE_SIZE)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(incarnation: u64, records: u64) -> Look {
        let engine = Identity { node: "engine".to_owned(), pid: 7, incarnation };
        let stats = Stats { records, groups: records / 2, ..Stats::default() };
        Look { engine, at: Instant::now(), stats, cpu_s: None, rss_bytes: None }
    }

    #[test]
    fn each_life_of_the_engine_is_told_by_itself() {
        let mut looks = Looks::default();
        assert!(looks.uses().is_empty());
        [look(1, 10), look(1, 12), look(1, 18), look(2, 0), look(2, 30), look(3, 5)]
            .into_iter()
            .for_each(|look| looks.add(look));
        let told: Vec<_> =
            looks.uses().iter().map(|engine| (engine.incarnation, engine.records, engine.groups)).collect();
        assert_eq!(told, [(1, 8, 4), (2, 30, 15)], "of one look nothing can be told");
    }
}
