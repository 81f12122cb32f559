//! A launcher under test: its own directory, its own project, and nothing of it left when the test ends.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

/// Longest wait for anything that should happen at once; long, because a test machine may be busy.
pub const BOUND: Duration = Duration::from_secs(20);

/// A project in a directory of its own, not running yet.
#[derive(Clone)]
pub struct Project {
    pub dir: Arc<tempfile::TempDir>,
    user: Option<u32>,
}

/// The user without any right, for what must work without root's.
pub const NOBODY: u32 = 65_534;

impl Project {
    /// A project with this `supervisor.toml`, below root keys that keep everything inside its directory.
    pub fn new(config: &str) -> Project {
        let dir = tempfile::Builder::new().prefix("provost-").tempdir().unwrap();
        let project = Project { dir: Arc::new(dir), user: None };
        project.configure(config);
        project
    }

    /// The same project, but everything in it is done by the user without rights. `None`, with a word why: only root can
    /// become somebody else.
    pub fn by_nobody(self) -> Option<Project> {
        self.by_user(NOBODY)
    }

    /// The same of a user that nothing else on this machine is: for what the kernel counts for each user.
    pub fn by_user(mut self, user: u32) -> Option<Project> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped for another user: this test does not run as root");
            return None;
        }
        for path in [self.dir.path().to_owned(), self.config()] {
            std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
        }
        self.user = Some(user);
        Some(self)
    }

    /// Replaces the config file.
    pub fn configure(&self, config: &str) {
        let root = self.dir.path().display();
        let text = format!("name = \"test\"\nrun_dir = \"{root}/run\"\nlog_dir = \"{root}/log\"\n{config}");
        fs::write(self.config(), text).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("supervisor.toml")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `provost -f CONFIG ARGS...`, not started.
    pub fn provost(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_provost"));
        command.arg("-f").arg(self.config()).args(args).stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// `provost -f CONFIG ARGS...`, run to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.provost(args).output().unwrap()
    }

    /// Starts `provost up` in the foreground and waits until the tree is up.
    pub fn up(self) -> Launcher {
        let launcher = self.start();
        launcher.wait_line("distinct PIDs");
        launcher
    }

    /// Starts `provost up` in the foreground and does not wait.
    pub fn start(self) -> Launcher {
        let command = self.provost(&["up"]);
        self.start_by(command)
    }

    /// Starts the launcher by a command that becomes `provost up`.
    pub fn start_by(self, mut command: Command) -> Launcher {
        // Whoever runs the tests in the background may have had these ignored, and the keeper would take that over.
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            provost::os::signals::reset(signal);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Launcher { project: self, child, lines }
    }
}

/// A process beside the launcher that does not end by itself. Dropped, it is killed.
pub struct Aside(pub Child);

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running launcher. Dropped, it and everything below it is killed.
pub struct Launcher {
    pub project: Project,
    pub child: Child,
    lines: Receiver<String>,
}

impl Launcher {
    /// The keeper's pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for a line of output that contains `text`.
    pub fn wait_line(&self, text: &str) -> String {
        let until = Instant::now() + BOUND;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no line with {text:?} within {BOUND:?}: {seen:#?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("up ended without a line with {text:?}: {seen:#?}")
                }
            }
        }
    }

    /// The output so far that nobody has waited for.
    pub fn rest_of_output(&mut self) -> Vec<String> {
        let _ = self.child.wait();
        self.lines.iter().collect()
    }

    /// Runs a verb and expects success.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.project.run(args);
        assert!(output.status.success(), "provost {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a verb with `--json`.
    pub fn json(&self, verb: &str) -> Value {
        serde_json::from_str(&self.ok(&[verb, "--json"])).unwrap()
    }

    /// The process table.
    pub fn ps(&self) -> Vec<Value> {
        self.json("ps")["processes"].as_array().unwrap().clone()
    }

    /// The pid of a child, `keeper` or `supervisor`; `None` without a process.
    pub fn pid_of(&self, name: &str) -> Option<i32> {
        let rows = self.ps();
        let row = rows.iter().find(|row| row["name"] == name && row["role"] != "descendant");
        let row = row.unwrap_or_else(|| panic!("no {name} in {rows:#?}"));
        row["pid"].as_i64().map(|pid| i32::try_from(pid).unwrap())
    }

    /// Waits until `name` runs under another pid than `old` and returns it.
    pub fn wait_new_pid(&self, name: &str, old: i32) -> i32 {
        eventually(&format!("{name} under another pid"), || self.pid_of(name).filter(|pid| *pid != old))
    }

    /// Kills the supervisor process and waits for the next one.
    pub fn replace_supervisor(&self) {
        let old = self.pid_of("supervisor").unwrap();
        kill(old, libc::SIGKILL);
        wait_gone(&[old]);
        self.wait_new_pid("supervisor", old);
    }

    /// What a verb prints with `--json`.
    pub fn json_of(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// Every process below the keeper, from the kernel.
    pub fn below(&self) -> Vec<i32> {
        descendants(self.pid())
    }

    /// Waits for the launcher's end and returns its exit code.
    pub fn wait_exit(&mut self) -> i32 {
        wait_gone(&[self.pid()]);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // The third request has the keeper end everything itself: it finds also what is only just being forked.
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
            kill(self.pid(), signal);
        }
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        // One that is stopped or killed does not: then what is there now goes at least.
        let mut pids = self.below();
        if matches!(self.child.try_wait(), Ok(None)) {
            pids.push(self.pid());
        }
        for pid in pids {
            kill(pid, libc::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Waits until `probe` gives something.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + BOUND;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {BOUND:?}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// All files of a rotated log, oldest first, as one.
pub fn whole_log(path: &Path) -> Vec<u8> {
    let numbered = |number: u32| match number {
        0 => path.to_owned(),
        _ => PathBuf::from(format!("{}.{number}", path.display())),
    };
    let kept = (1..).take_while(|number| numbered(*number).exists()).count() as u32;
    (0..=kept).rev().flat_map(|number| fs::read(numbered(number)).unwrap_or_default()).collect()
}

/// One request to the control socket, plain; the whole answer, or what has come of it within `BOUND`.
pub fn http_get(socket: &Path, path: &str) -> String {
    use std::io::{Read, Write};
    let mut socket = std::os::unix::net::UnixStream::connect(socket).unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Lets time pass, for what can only be seen in the course of it.
pub fn let_pass(length: Duration) {
    let until = Instant::now() + length;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// A number in a `Name: 12` line of `/proc/PID/status`.
pub fn status_number(pid: i32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Sends a signal to a process the test started.
pub fn kill(pid: i32, signal: i32) {
    assert!(pid > 1);
    // An error means that it is gone already.
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::try_from(signal).unwrap(),
    );
}

/// Waits until none of these processes exists, zombies aside.
pub fn wait_gone(pids: &[i32]) {
    for pid in pids {
        eventually(&format!("the end of process {pid}"), || (!alive(*pid)).then_some(()));
    }
}

/// Whether a process exists and is not a zombie.
pub fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| stat.state != 'Z' && stat.state != 'X')
}

/// What the tests need of `/proc/PID/stat`, read independently of provost.
pub struct Stat {
    pub state: char,
    pub ppid: i32,
    pub sid: i32,
    pub flags: u64,
    pub start: u64,
}

pub fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text[text.rfind(')')? + 2..].split(' ').collect();
    Some(Stat {
        state: fields[0].chars().next()?,
        ppid: fields[1].parse().ok()?,
        sid: fields[3].parse().ok()?,
        flags: fields[6].parse().ok()?,
        start: fields[19].parse().ok()?,
    })
}

/// Every live process below this one.
pub fn descendants(root: i32) -> Vec<i32> {
    let pids: Vec<i32> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let parents: Vec<(i32, i32)> = pids
        .into_iter()
        .filter_map(|pid| Some((pid, stat(pid).filter(|stat| stat.state != 'Z')?.ppid)))
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(parents.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// The child of this process that calls itself so.
pub fn child_named(parent: i32, name: &str) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let named = |pid: &i32| read(Path::new(&format!("/proc/{pid}/comm"))).trim_end() == name;
    pids.filter(|pid| alive(*pid)).find(named)
}

/// The text of a file, empty while it does not exist.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A `[[child]]` that idles.
pub fn worker(name: &str, more: &str) -> String {
    format!("[[child]]\nname = \"{name}\"\ncommand = [\"sleep\", \"1000\"]\n{more}\n")
}

/// A `[[child]]` that runs this shell script.
pub fn scripted(name: &str, script: &str, more: &str) -> String {
    format!("[[child]]\nname = \"{name}\"\ncommand = [\"bash\", \"-c\", {script:?}]\n{more}\n")
}
