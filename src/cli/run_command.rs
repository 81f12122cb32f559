//! `provost run -- COMMAND`: one command in the foreground, for who needs only an init.
//!
//! It keeps the caller's terminal, session and process group, so the terminal treats both as one job: what Ctrl-C, Ctrl-Z
//! and a resized window mean reaches the command from the terminal itself, and only what somebody sends to us is passed on.
//! Orphans are reaped; when the command has ended, what it left is killed, and its exit code is ours.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::args::RunArgs;
use super::exit::Exit;
use super::say;
use super::up::{environment, here};
use crate::os::descendants::{self, Inherited};
use crate::os::signals::Inbox;
use crate::os::spawn::{Birth, Born, Parent, Step, Terms};
use crate::os::{pidfd, process, spawn, wait};

/// What is passed on. Not those that stop: stopped together with the command, we leave it to the shell to go on.
const PASSED_ON: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGCONT,
];

/// As `env(1)` and the shells: the program was found and could not be executed, and was not found.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// How often those who were killed are looked at until all are gone.
const LOOK_MS: u8 = 10;
/// As often in a row nobody is found but whom this process had below it before: a list read while others end may miss somebody.
const CLEAN_LOOKS: u32 = 2;

/// Runs the command to its end.
pub(super) fn run(args: &RunArgs) -> Exit {
    let name = args.command.first().map(Path::new).unwrap_or(Path::new(""));
    let inherited = Inherited::find();
    match start(args, name) {
        Ok((command, inbox)) => match attend(&command, &inbox, &inherited) {
            Ok(code) => Exit::Of(code),
            Err(error) => failed(&format!("cannot wait for {}: {error}", name.display())),
        },
        Err((Some(code), sentence)) => {
            say(sentence);
            Exit::Of(code)
        }
        Err((None, sentence)) => failed(&sentence),
    }
}

fn failed(sentence: &str) -> Exit {
    say(sentence);
    Exit::Failed
}

fn start(args: &RunArgs, name: &Path) -> Result<(Born, Inbox), (Option<u8>, String)> {
    let ours = |error: io::Error| (None, format!("cannot prepare to run {}: {error}", name.display()));
    let Some(program) = find(name) else {
        return Err((
            Some(NOT_FOUND),
            format!("there is no program {} on PATH; write its path", name.display()),
        ));
    };
    let argv = args.command.iter().map(|word| CString::new(word.as_bytes()).map_err(io::Error::from));
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    process::adopt_orphans().map_err(|errno| ours(errno.into()))?;
    let wanted: Vec<Signal> = PASSED_ON.into_iter().chain([Signal::SIGCHLD]).collect();
    crate::os::signals::reset(Signal::SIGCHLD);
    let inbox = Inbox::open(&wanted).map_err(|errno| ours(errno.into()))?;
    let birth = Birth {
        program: CString::new(program.as_os_str().as_bytes()).map_err(|error| ours(error.into()))?,
        argv: argv.collect::<Result<_, _>>().map_err(ours)?,
        env: environment().map_err(ours)?,
        cwd: here().map_err(ours)?,
        umask: process::file_mode_mask(),
        stdio: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        pass: Vec::new(),
        listen_pid: false,
        nofile: None,
        terms: Terms::default(),
        parent: Parent::Foreground,
    };
    match spawn::spawn(&birth) {
        Ok(born) => Ok((born, inbox)),
        Err(error) => {
            let code = match (error.step, error.errno) {
                (Step::Exec, Errno::ENOENT) => Some(NOT_FOUND),
                (Step::Exec, _) => Some(NOT_EXECUTABLE),
                _ => None,
            };
            Err((code, format!("cannot execute {}: {}", program.display(), error.errno.desc())))
        }
    }
}

/// As exec does it: with a slash it is a path, else the first executable file on `PATH`.
fn find(name: &Path) -> Option<PathBuf> {
    if name.as_os_str().as_bytes().contains(&b'/') {
        return Some(name.to_owned());
    }
    let path = std::env::var_os("PATH");
    let path = path.as_deref().unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let executable = |file: &PathBuf| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|folder| folder.join(name)).find(executable)
}

/// Passes signals on and reaps, until the command has ended and nothing of it is left.
fn attend(command: &Born, inbox: &Inbox, inherited: &Inherited) -> io::Result<u8> {
    let code = loop {
        if let Some(code) = reap(command.pid)? {
            break code;
        }
        match poll(&mut [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        while let Some(arrived) = inbox.take()? {
            if arrived.signal != Signal::SIGCHLD && !arrived.by_kernel {
                // It may have ended just now.
                let _ = pidfd::signal(command.pidfd.as_fd(), arrived.signal as i32);
            }
        }
    };
    // The kernel does it for the first process of a PID namespace.
    if Pid::this().as_raw() != 1 {
        end_orphans(inbox, inherited);
    }
    Ok(code)
}

/// Reaps all that has ended; the command's exit code if it is among them.
fn reap(command: Pid) -> io::Result<Option<u8>> {
    while let Ok(Some(pid)) = wait::ended() {
        if let Some(end) = wait::reap(pid)?
            && pid == command
        {
            return Ok(Some(wait::exit_code(end.status)));
        }
    }
    Ok(None)
}

/// All that is left below us, adopted or not yet, until this process has no child but those it had before.
fn end_orphans(inbox: &Inbox, inherited: &Inherited) {
    let mut clean = 0;
    while let Ok(ended) = wait::ended() {
        if let Some(pid) = ended {
            let _ = wait::reap(pid);
            continue;
        }
        let mut only_inherited = !inherited.is_empty();
        let _ = descendants::each_child(|pid| {
            if !inherited.contain(pid) {
                only_inherited = false;
                // Not reaped meanwhile: the number is its own.
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            }
        });
        clean = if only_inherited { clean + 1 } else { 0 };
        if clean == CLEAN_LOOKS {
            return;
        }
        let _ = poll(&mut [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)], PollTimeout::from(LOOK_MS));
        while let Ok(Some(_)) = inbox.take() {}
    }
}
