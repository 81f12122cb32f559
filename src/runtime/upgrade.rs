//! A new program for the supervisor process: examined here, exchanged and if need be rolled back by the keeper.
//!
//! Only what has shown that it can read the present journal and speaks the keeper's protocol is handed to the keeper. What is
//! examined and what runs later is the same open file, whatever becomes of its name; it must belong to somebody who is obeyed,
//! and nobody else may write it, so that it still is what it was.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::births::Context;
use crate::config;
use crate::control::{ApiError, ErrorCode, Response};
use crate::keeper::{PROGRAM_FD, PROTOCOL};
use crate::os;
use crate::os::spawn::{Birth, Parent, Terms};

/// How long a program may think about the journal.
const EXAMINATION: Duration = Duration::from_secs(10);
/// How much of what it says is read.
const LONGEST: u64 = 4096;

/// What a program says when it is asked with `supervise --check` and has read the journal: who it is and what it speaks.
#[must_use]
pub fn greeting() -> String {
    format!("provost {} protocol {PROTOCOL}", env!("CARGO_PKG_VERSION"))
}

/// A program that passed, and who asked for it.
pub(super) struct Approved {
    pub(super) program: OwnedFd,
    pub(super) reply: oneshot::Sender<Result<Response, ApiError>>,
}

/// Examines a program beside the loop. A caller is told why it was refused; one that passed goes to the loop.
pub(super) fn examine(
    path: PathBuf,
    journal: File,
    context: &Context,
    reply: oneshot::Sender<Result<Response, ApiError>>,
    approved: mpsc::Sender<Approved>,
) {
    let begun = Examination::begin(&path, &journal, context);
    tokio::task::spawn_local(async move {
        let outcome = match begun {
            Ok(examination) => examination.end().await,
            Err(reason) => Err(reason),
        };
        match outcome {
            // Nobody is left to take it only if this process ends.
            Ok(program) => drop(approved.send(Approved { program, reply }).await),
            Err(reason) => {
                let message = format!("{} was refused: {reason}; nothing was changed", path.display());
                let _ = reply.send(Err(ApiError::new(ErrorCode::BadRequest, message)));
            }
        }
    });
}

/// A program that is just reading the journal.
struct Examination {
    program: OwnedFd,
    born: os::spawn::Born,
    said: File,
}

impl Examination {
    fn begin(path: &Path, journal: &File, context: &Context) -> Result<Examination, String> {
        let cannot = |what: &str, error: io::Error| format!("cannot {what}: {error}");
        if !path.is_absolute() {
            return Err("its path is not absolute".into());
        }
        let program = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| cannot("open it", errno.into()))?;
        let found = program.try_clone().and_then(|program| File::from(program).metadata());
        let found = found.map_err(|error| cannot("look at it", error))?;
        if !found.is_file() {
            return Err("it is no regular file".into());
        }
        if let Some(why) = config::why_not_obeyed(path, &found, &config::Context::of_process()) {
            return Err(why);
        }
        // What is examined must not be able to spoil it.
        let journal = os::memfd::sealed_copy(journal, c"provost-journal")
            .map_err(|error| cannot("copy the journal for it", error))?;
        let (said, write) = os::pipe::output().map_err(|errno| cannot("make a pipe", errno.into()))?;
        let env = context.inherited.iter();
        let birth = Birth {
            program: CString::new(format!("/proc/self/fd/{PROGRAM_FD}")).unwrap_or_default(),
            argv: [c"provost", c"supervise", c"--check"].map(CString::from).into(),
            env: env
                .filter_map(|(name, value)| {
                    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
                })
                .collect(),
            cwd: c"/".into(),
            umask: 0o022,
            stdio: [context.null(), write.as_fd(), write.as_fd()],
            pass: vec![context.null(), journal.as_fd(), program.as_fd()],
            listen_pid: false,
            nofile: Some((context.open_files.soft, context.open_files.hard)),
            terms: Terms::default(),
            parent: Parent::Caller,
        };
        let born = os::spawn::spawn(&birth).map_err(|error| format!("it cannot be executed ({error})"))?;
        Ok(Examination { program, born, said: said.into() })
    }

    async fn end(mut self) -> Result<OwnedFd, String> {
        let ended = self.born.pidfd.try_clone().and_then(os::watch::readable);
        let ended = ended.map_err(|error| format!("cannot wait for it: {error}"))?;
        if timeout(EXAMINATION, ended.readable()).await.is_err() {
            // An error means that it ended just now.
            let _ = os::pidfd::signal(self.born.pidfd.as_fd(), Signal::SIGKILL as i32);
            let _ = ended.readable().await;
        }
        let status = os::wait::reap(self.born.pid).ok().flatten().map_or(-1, |end| end.status);
        let mut said = Vec::new();
        // What it left open elsewhere is not waited for.
        let _ = self.said.by_ref().take(LONGEST).read_to_end(&mut said);
        verdict(status, &String::from_utf8_lossy(&said)).map(|()| self.program)
    }
}

fn verdict(status: i32, said: &str) -> Result<(), String> {
    let last = said.lines().next_back().unwrap_or_default().escape_debug();
    if status != 0 {
        let how = os::wait::describe(status);
        return Err(match said.is_empty() {
            true => format!("asked to read the running state, it ended with {how}"),
            false => format!("asked to read the running state, it ended with {how} and said: {last}"),
        });
    }
    let words: Vec<&str> = said.lines().next_back().unwrap_or_default().split(' ').collect();
    match words[..] {
        ["provost", _, "protocol", number] if number == PROTOCOL.to_string() => Ok(()),
        ["provost", version, "protocol", number] => Err(format!(
            "it is provost {version} and speaks protocol {number}, but the keeper speaks {PROTOCOL}; use it from the \
             next provost up on"
        )),
        _ => Err("it is no provost: it did not say what it speaks".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_reads_and_speaks_passes() {
        assert_eq!(verdict(0, &format!("{}\n", greeting())), Ok(()));
        let refused = |status, said: &str| verdict(status, said).unwrap_err();
        assert!(refused(256, "").contains("ended with exit code 1"));
        assert!(refused(256, "bad\x1b[2J\n").ends_with(r"said: bad\u{1b}[2J"));
        assert!(refused(9, "").contains("SIGKILL"));
        assert!(refused(0, "").contains("no provost"));
        assert!(refused(0, "provost 9.9.9 protocol 250\n").contains("speaks protocol 250"));
    }
}
