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

    pub(super) fn is_of(&self, engine: &Remote) -> bool {
        self.engine == *engine.identity()
    }

    /// What happened between an earlier look and this one; `None` where that was another engine.
    pub(super) fn since(&self, earlier: &Look) -> Option<EngineUse> {
        if self.engine != earlier.engine {
            return None;
        }
        let (now, then) = (&self.stats, &earlier.stats);
        Some(EngineUse {
            pid: self.engine.pid,
            seconds: self.at.duration_since(earlier.at).as_secs_f64(),
            requests: now.requests - then.requests,
            turns: now.turns - then.turns,
            records: now.records - then.records,
            repeated: now.repeated - then.repeated,
            cpu_s: self.cpu_s.zip(earlier.cpu_s).map(|(now, then)| now - then),
            rss_bytes: self.rss_bytes,
            users: now.users,
        })
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
