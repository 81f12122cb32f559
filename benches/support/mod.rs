//! What the benches share: a launcher of their own, and figures.

#![allow(dead_code, unreachable_pub, reason = "each bench uses its own part of this")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// A launcher of this project, its files in the bench's own folder. Dropped, it is stopped.
pub struct Launcher(pub Child);

impl Launcher {
    /// Starts `provost up` on a config of these lines.
    pub fn start(folder: &Path, config: &str) -> Launcher {
        let file = folder.join("supervisor.toml");
        let text =
            format!("name = \"bench\"\nrun_dir = \"{0}/run\"\nlog_dir = \"{0}/log\"\n", folder.display());
        fs::write(&file, text + config).expect("write the config");
        let child = Command::new(env!("CARGO_BIN_EXE_provost"))
            .arg("-f")
            .arg(file)
            .arg("up")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("provost starts");
        Launcher(child)
    }

    /// The keeper's pid.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    /// Stops it and waits for its end.
    pub fn stop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            kill(self.pid(), Signal::SIGTERM).expect("the launcher lives");
            self.0.wait().expect("wait");
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `CLOCK_MONOTONIC`, the same in every process.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC");
    now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
}

/// The value that this part of the values does not exceed.
pub fn quantile(values: &[u64], q: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}
