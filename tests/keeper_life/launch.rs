//! One keeper under test: started, talked to through the supervisor process it keeps, and removed with everything below.

use std::cell::RefCell;
use std::env;
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use provost::keeper::{self, Plan};
use provost::os::{descendants, pidfd, process, wait};

/// Longest wait for anything that must happen.
pub(crate) const BOUND: Duration = Duration::from_secs(10);

/// Which paths through the kernel are taken.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kernel {
    Present,
    Old,
}

impl Kernel {
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Kernel::Present => "",
            Kernel::Old => "on_an_old_kernel::",
        }
    }
}

/// The keeper's role; the arguments are the supervisor process' role and what that needs.
pub(crate) fn become_keeper(arguments: &[String]) -> i32 {
    let argv = ["provost"].into_iter().chain(arguments.iter().map(String::as_str));
    let env = env::vars_os().map(|(name, value)| {
        let mut pair = name.into_vec();
        pair.push(b'=');
        pair.extend(value.into_vec());
        CString::new(pair).unwrap()
    });
    let ready: Option<OwnedFd> =
        env::var("READY_FILE").ok().map(|path| fs::File::create(path).unwrap().into());
    let plan = Plan {
        cgroups: provost::os::cgroup::Home::default(),
        program: process::own_program().unwrap(),
        argv: argv.map(|argument| CString::new(argument).unwrap()).collect(),
        safe: c"--safe".into(),
        env: env.collect(),
        cwd: c"/".into(),
        longest_stop: Some(Duration::from_secs(60)),
        journal: provost::os::memfd::create(c"journal").unwrap(),
        lock: None,
        ready,
    };
    i32::from(keeper::run(plan).expect("the keeper starts").code)
}

/// A running keeper, and the lines its supervisor processes print.
pub(crate) struct Launch {
    keeper: Child,
    commands: ChildStdin,
    lines: Receiver<String>,
    heard: RefCell<Vec<String>>,
}

impl Launch {
    pub(crate) fn start(kernel: Kernel) -> Launch {
        Launch::start_as(
            kernel,
            Command::new(env::current_exe().unwrap()).args(["role:keeper", "role:supervisor"]),
        )
    }

    /// With a command that leads to the keeper's role in the same process.
    pub(crate) fn start_as(kernel: Kernel, command: &mut Command) -> Launch {
        if kernel == Kernel::Old {
            command.env("PROVOST_FORCE_FALLBACK", "clone3,close_range");
        }
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let commands = keeper.stdin.take().unwrap();
        let output = BufReader::new(keeper.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Launch { keeper, commands, lines, heard: RefCell::default() }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.keeper.id().cast_signed())
    }

    /// Tells the supervisor process to do something.
    pub(crate) fn say(&mut self, command: &str) {
        // Nobody may be left to read it.
        let _ = writeln!(self.commands, "{command}");
    }

    /// The rest of the next line that begins so; lines before it are passed over.
    pub(crate) fn expect(&self, beginning: &str) -> String {
        let end = Instant::now() + BOUND;
        loop {
            let line = match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => panic!("no '{beginning}' in time{}", self.story()),
                Err(RecvTimeoutError::Disconnected) => panic!("no '{beginning}' to the end{}", self.story()),
            };
            self.heard.borrow_mut().push(line.clone());
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.trim().to_owned();
            }
        }
    }

    /// The next line; `None`: nobody is left who could say one.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(BOUND) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing in time{}", self.story()),
        }
    }

    /// What it must not have said so far.
    pub(crate) fn never_heard(&self, beginning: &str) {
        let heard = self.heard.borrow().iter().any(|line| line.starts_with(beginning));
        assert!(!heard, "'{beginning}' was said{}", self.story());
    }

    fn story(&self) -> String {
        self.heard.borrow().iter().fold(String::new(), |mut story, line| {
            let _ = write!(story, "\n    {line}");
            story
        })
    }

    /// Waits for a new supervisor process and its whole snapshot; returns its pid.
    pub(crate) fn next_supervisor(&self) -> Pid {
        let pid = pid(&self.expect("hello"));
        self.expect("end");
        pid
    }

    /// Starts a child that runs a shell script, and returns its pid.
    pub(crate) fn spawn(&mut self, key: &str, script: &str) -> Pid {
        self.say(&format!("spawn {key} {script}"));
        pid(&self.expect(&format!("born {key}")))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The keeper's own exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        assert!(gone_within(self.pid(), BOUND), "the keeper does not end{}", self.story());
        self.keeper.wait().unwrap().code()
    }
}

impl Drop for Launch {
    /// Whatever happened, nothing stays: what the keeper leaves falls to this process, which adopts orphans.
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let end = Instant::now() + BOUND;
        while Instant::now() < end {
            match wait::ended() {
                Ok(Some(pid)) => drop(wait::reap(pid)),
                Ok(None) => descendants::each_child(|pid| kill(pid, Signal::SIGKILL).unwrap()).unwrap(),
                Err(_) => return,
            }
        }
    }
}

pub(crate) fn pid(text: &str) -> Pid {
    let first = text.split(' ').next().unwrap();
    Pid::from_raw(first.parse().unwrap_or_else(|_| panic!("'{text}' begins with no pid")))
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z") && !rest.starts_with(" X"))
}

/// Waits until a process is gone; a pidfd tells it even of strangers.
pub(crate) fn gone_within(pid: Pid, limit: Duration) -> bool {
    match pidfd::open(pid) {
        Ok(pidfd) => pidfd::wait(pidfd.as_fd(), limit).unwrap(),
        Err(_) => true,
    }
}
