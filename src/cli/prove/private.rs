//! The shipped project, started for nothing but to be examined.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::personality::{self, Persona};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::os::command::bound_to_us;
use crate::proof::Subject;

/// The project as it is shipped.
const SHIPPED: &str = include_str!("../../../supervisor.toml");

/// How long it may take to come up, and to stop.
const UP: Duration = Duration::from_secs(30);
const DOWN: Duration = Duration::from_secs(20);
/// As many clients as the shipped project has.
const CLIENTS: usize = 3;
const LOOK: Duration = Duration::from_millis(5);

/// A launcher that ends with us, in a directory that is removed with it.
#[derive(Debug)]
pub(super) struct Private {
    launcher: Child,
    dir: TempDir,
}

impl Private {
    /// Starts it and waits until it answers.
    pub(super) fn start() -> Result<(Private, Subject), String> {
        let failed = |error: io::Error| format!("cannot start the project to be examined: {error}");
        let dir = tempfile::tempdir().map_err(failed)?;
        let launcher = launch(dir.path()).map_err(failed)?;
        let mut private = Private { launcher, dir };
        let subject = private.wait()?;
        Ok((private, subject))
    }

    /// Starts the contrast: one process that is an engine and clients at once.
    pub(super) fn one_process() -> Result<(Private, Subject), String> {
        let failed = |error: io::Error| format!("cannot start the one process: {error}");
        let dir = tempfile::tempdir().map_err(failed)?;
        let log = File::create(dir.path().join("launcher.log")).map_err(failed)?;
        let mut command = Command::new(beside("reddit-one-process").map_err(failed)?);
        command.arg("--clients").arg(CLIENTS.to_string()).env("TMPDIR", dir.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
        let launcher = bound_to_us(&mut command, Signal::SIGTERM).map_err(failed)?;
        let subject = Subject::OneProcess { pid: launcher.id().cast_signed(), clients: CLIENTS };
        Ok((Private { launcher, dir }, subject))
    }

    /// The keeper, or the one process.
    pub(super) fn pid(&self) -> u32 {
        self.launcher.id()
    }

    fn wait(&mut self) -> Result<Subject, String> {
        let until = Instant::now() + UP;
        loop {
            match Subject::launcher(&self.dir.path().join("run")) {
                Ok(subject) => return Ok(subject),
                Err(_) if Instant::now() < until && matches!(self.launcher.try_wait(), Ok(None)) => {
                    std::thread::park_timeout(LOOK);
                }
                Err(error) => {
                    return Err(format!("the project does not come up: {error}{}", self.last_words()));
                }
            }
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.dir.path().join("launcher.log")).unwrap_or_default();
        log.lines().next_back().map_or_else(String::new, |line| format!("; its last words: {line}"))
    }

    /// Stops it in order.
    pub(super) fn stop(mut self) {
        self.ask();
        let until = Instant::now() + DOWN;
        while matches!(self.launcher.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::park_timeout(LOOK);
        }
    }

    fn ask(&self) {
        // An error means that it is gone.
        let _ = kill(Pid::from_raw(self.launcher.id().cast_signed()), Signal::SIGTERM);
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if matches!(self.launcher.try_wait(), Ok(None)) {
            // Everything below the keeper goes with it.
            let _ = self.launcher.kill();
            let _ = self.launcher.wait();
        }
    }
}

/// A program that stands beside this one.
fn beside(name: &str) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    match path.exists() {
        true => Ok(path),
        false => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no {}", path.display()))),
    }
}

fn launch(dir: &Path) -> io::Result<Child> {
    let place = dir.display();
    let config = dir.join("supervisor.toml");
    fs::write(&config, format!("run_dir = \"{place}/run\"\nlog_dir = \"{place}/log\"\n{SHIPPED}"))?;
    let log = File::create(dir.join("launcher.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--file").arg(&config).arg("up").current_dir(dir);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Two processes of one program then have it at the same addresses, and it can be shown that these are not the same
    // memory. It is inherited by everybody below; ours is put back at once.
    let ours = personality::get()?;
    personality::set(ours | Persona::ADDR_NO_RANDOMIZE)?;
    let launcher = bound_to_us(&mut command, Signal::SIGTERM);
    personality::set(ours)?;
    launcher
}
