//! Births for which only a thread of their own waits: `vfork(2)` suspends the calling thread, and an exec can hang for as long
//! as a lease, a file system or a signal of the program's user wants.
//!
//! One idle thread is kept. The task owns duplicates of all descriptors, so the caller can give up waiting at any time.

#![allow(unsafe_code)] // Borrowing descriptors that stand beside the borrower.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Pid;
use tokio::sync::oneshot;

use super::clone::Progress;
use super::{Birth, BirthError, Born, Parent, Step, Terms};

/// For system calls on what is laid out already, and the preparation of that.
const THREAD_STACK: usize = 256 * 1024;

/// A birth that was begun.
#[derive(Debug)]
pub enum Begun {
    /// It is over.
    Done(Result<Born, BirthError>),
    /// The process exists, and its exec has not returned yet.
    Waiting(Unborn),
}

/// A process on its way to exec. It must be killed if that is not to go on.
#[derive(Debug)]
pub struct Unborn {
    /// The process.
    pub born: Born,
    /// Comes when its exec has succeeded or failed, or it has ended.
    pub outcome: oneshot::Receiver<Outcome>,
}

/// How a birth went.
#[derive(Debug)]
pub struct Outcome {
    born: Option<Born>,
    /// What failed; `None`: its program runs.
    pub error: Option<BirthError>,
}

/// Begins a birth and waits for its end for at most `patience`, or until there is a process to name.
pub fn begin(birth: Birth, patience: Duration) -> Begun {
    let end = Instant::now() + patience;
    let (reply, mut outcome) = oneshot::channel();
    let progress = Arc::new(Progress::default());
    let task = match Task::new(birth, Arc::clone(&progress), reply) {
        Ok(task) => task,
        Err(errno) => return refused(Step::Descriptors, errno),
    };
    if let Err(errno) = hand_over(task) {
        return refused(Step::Clone, errno);
    }
    loop {
        match outcome.try_recv() {
            Ok(Outcome { error: None, born: Some(born) }) => return Begun::Done(Ok(born)),
            Ok(Outcome { error: Some(error), .. }) => return Begun::Done(Err(error)),
            Ok(Outcome { error: None, born: None }) | Err(oneshot::error::TryRecvError::Closed) => {
                return refused(Step::Clone, Errno::ECANCELED);
            }
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero()
            && let Some(born) = progress.process()
        {
            return Begun::Waiting(Unborn { born, outcome });
        }
        thread::park_timeout(left.max(Duration::from_millis(1)));
    }
}

fn refused(step: Step, errno: Errno) -> Begun {
    Begun::Done(Err(BirthError { step, errno, pid: None }))
}

impl Progress {
    /// The process, by a descriptor of the caller's own. The outcome, which holds the kernel's, must not be dropped before.
    fn process(&self) -> Option<Born> {
        let (pid, pidfd) = (self.pid.load(Ordering::Acquire), self.pidfd.load(Ordering::Acquire));
        if pid == 0 || pidfd < 0 {
            return None;
        }
        // SAFETY: it stays open until the outcome is dropped, which the caller holds.
        let pidfd = unsafe { BorrowedFd::borrow_raw(pidfd) };
        Some(Born { pid: Pid::from_raw(pid), pidfd: pidfd.try_clone_to_owned().ok()? })
    }
}

/// A birth with all that it needs.
struct Task {
    birth: Birth<'static>,
    /// What `birth` borrows. Dropped after it.
    _held: Vec<OwnedFd>,
    progress: Arc<Progress>,
    reply: oneshot::Sender<Outcome>,
    caller: Thread,
}

impl Task {
    fn new(birth: Birth, progress: Arc<Progress>, reply: oneshot::Sender<Outcome>) -> nix::Result<Task> {
        let mut held = Vec::with_capacity(24);
        let mut own = |fd: BorrowedFd| -> nix::Result<BorrowedFd<'static>> {
            let copy =
                fd.try_clone_to_owned().map_err(|e| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
            // SAFETY: stands beside the borrower in the task, and is dropped after it.
            let borrowed = unsafe { BorrowedFd::borrow_raw(copy.as_raw_fd()) };
            held.push(copy);
            Ok(borrowed)
        };
        let Birth { program, argv, env, cwd, umask, stdio: [stdin, stdout, stderr], pass, .. } = birth;
        let Terms { cgroup, limit_groups, limits, nice, oom_score, identity, no_new_privs } = birth.terms;
        let terms = Terms {
            cgroup: cgroup.map(&mut own).transpose()?,
            limit_groups: limit_groups.into_iter().map(&mut own).collect::<nix::Result<_>>()?,
            limits,
            nice,
            oom_score,
            identity,
            no_new_privs,
        };
        let parent = match birth.parent {
            Parent::Caller => Parent::Caller,
            Parent::Foreground => Parent::Foreground,
            Parent::Keeper { socket, message, fds, failed, keeper } => Parent::Keeper {
                socket: own(socket)?,
                message,
                fds: fds.into_iter().map(&mut own).collect::<nix::Result<_>>()?,
                failed,
                keeper,
            },
        };
        let birth = Birth {
            program,
            argv,
            env,
            cwd,
            umask,
            stdio: [own(stdin)?, own(stdout)?, own(stderr)?],
            pass: pass.into_iter().map(&mut own).collect::<nix::Result<_>>()?,
            listen_pid: birth.listen_pid,
            nofile: birth.nofile,
            terms,
            parent,
        };
        Ok(Task { birth, _held: held, progress, reply, caller: thread::current() })
    }

    /// Waits until its exec is over; `after` comes before the word of it.
    fn run(self, after: impl FnOnce()) {
        let Task { birth, _held: held, progress, reply, caller } = self;
        let (born, error) = super::make(&birth, &progress);
        drop(birth);
        drop(held);
        after();
        // An error means that nobody wants to know.
        let _ = reply.send(Outcome { born, error });
        caller.unpark();
    }
}

/// The thread that waits for the next task, if there is one.
static IDLE: Mutex<Option<Sender<Task>>> = Mutex::new(None);

fn idle() -> std::sync::MutexGuard<'static, Option<Sender<Task>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hand_over(mut task: Task) -> nix::Result<()> {
    let waiting = idle().take();
    if let Some(thread) = waiting {
        match thread.send(task) {
            Ok(()) => return Ok(()),
            Err(back) => task = back.0,
        }
    }
    let (tasks, inbox) = channel::<Task>();
    let again = tasks.clone();
    tasks.send(task).map_err(|_| Errno::ECANCELED)?;
    let life = move || {
        while let Ok(task) = inbox.recv() {
            let mut stays = false;
            task.run(|| {
                let mut idle = idle();
                stays = idle.is_none();
                if stays {
                    *idle = Some(again.clone());
                }
            });
            if !stays {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("birth".into()).stack_size(THREAD_STACK).spawn(life);
    thread.map(drop).map_err(|error| error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw))
}
