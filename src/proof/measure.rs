//! What a call costs, inside a process and between two, measured by programs that do nothing else.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::subject::wait_for;
use crate::os::command::bound_to_us;

/// How many calls.
const CALLS: u32 = 10_000;
/// How many processes are started to see how long that takes.
const STARTS: usize = 20;
/// How long an engine may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls, as `reddit-one-process --calls` tells them. Times in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// How many were made one after the other.
    pub calls: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// So many of 1,000 took no longer than so long.
    pub spread: Vec<(u32, u64)>,
    /// Calls a second with 64 in flight.
    pub per_second: u64,
    /// A task started and ended.
    pub task_ns: u64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// A call to a task of the same process, and to another process.
    pub calls: [Calls; 2],
    /// The same with everything on one core.
    pub one_core: [Calls; 2],
    /// A process started and ended, in nanoseconds; half of them took no longer.
    pub process_ns: u64,
}

/// Measures, with the programs in this folder.
pub(super) fn measure(programs: &Path) -> io::Result<Costs> {
    let everywhere = both(programs)?;
    let me = Pid::from_raw(0);
    let cores = sched_getaffinity(me)?;
    let first = (0..CpuSet::count()).find(|core| cores.is_set(*core).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.unwrap_or(0))?;
    // Inherited by what is started meanwhile.
    sched_setaffinity(me, &one)?;
    let pinned = both(programs);
    sched_setaffinity(me, &cores)?;
    Ok(Costs { calls: everywhere, one_core: pinned?, process_ns: start(programs)? })
}

fn both(programs: &Path) -> io::Result<[Calls; 2]> {
    let inside = calls(programs, None)?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("engine.sock");
    let mut engine = Command::new(programs.join("reddit-engine"));
    engine.arg("--listen").arg(&socket).current_dir(dir.path());
    engine.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut engine = bound_to_us(&mut engine, Signal::SIGKILL)?;
    // The file is there a moment before somebody listens.
    wait_for(PATIENCE, || UnixStream::connect(&socket).ok());
    let between = calls(programs, Some(&socket));
    engine.kill()?;
    engine.wait()?;
    Ok([inside, between?])
}

fn calls(programs: &Path, engine: Option<&Path>) -> io::Result<Calls> {
    let mut command = Command::new(programs.join("reddit-one-process"));
    command.args(["--calls", &CALLS.to_string()]);
    if let Some(engine) = engine {
        command.arg("--engine").arg(engine);
    }
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn start(programs: &Path) -> io::Result<u64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        Command::new(programs.join("reddit-client")).arg("--version").stdin(Stdio::null()).output()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(u64::try_from(times[STARTS / 2].as_nanos()).unwrap_or(u64::MAX))
}
