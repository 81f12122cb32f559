//! One folder for everything that an examination writes, which goes with it: also when somebody at the terminal has seen
//! enough.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::os::descendants::{each_child, glance};
use crate::os::signals::is_ignored;

/// How long what was started may take to stop in order.
const STOP: Duration = Duration::from_secs(15);
/// How long it may take to die.
const DIE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);

/// The folder. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Workshop {
    _dir: TempDir,
    /// A signal came, and everything is being ended.
    leaving: Arc<AtomicBool>,
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // How this process ends is then for that thread to say.
        while self.leaving.load(Ordering::SeqCst) {
            thread::park();
        }
    }
}

/// Makes the folder; from here on temporary files of this process are in it. SIGINT, SIGTERM and SIGHUP end this process only
/// after what it has started and what it has written.
///
/// # Errors
/// The folder or the thread that waits for signals cannot be made.
pub(super) fn open() -> io::Result<Workshop> {
    let dir = tempfile::Builder::new().prefix("provost-prove-").tempdir()?;
    // An error means that there is one already: then that is where everything is.
    let _ = tempfile::env::override_temp_dir(dir.path());
    let path = dir.path().to_owned();
    // Signals are taken by handlers and not blocked: a blocked one would be blocked in every child too.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = if is_ignored(Signal::SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) };
    drop(guard);
    let leaving = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&leaving);
    thread::Builder::new().name("interrupt".into()).spawn(move || {
        let signal = runtime.block_on(async {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = interrupt.recv() => Signal::SIGINT,
                _ = terminate.recv() => Signal::SIGTERM,
                _ = hung_up => Signal::SIGHUP,
            }
        });
        told.store(true, Ordering::SeqCst);
        leave(&path, signal);
    })?;
    Ok(Workshop { _dir: dir, leaving })
}

/// Ends everything and this process.
fn leave(dir: &Path, signal: Signal) -> ! {
    end_children(Signal::SIGTERM, STOP);
    end_children(Signal::SIGKILL, DIE);
    // What cannot be removed is said by nobody: the reader has left.
    let _ = std::fs::remove_dir_all(dir);
    std::process::exit(128 + signal as i32)
}

/// Sends the signal to each child once, also to those that come meanwhile, until there is none, for so long at most.
fn end_children(signal: Signal, limit: Duration) {
    let until = Instant::now() + limit;
    let mut told = Vec::new();
    loop {
        let mut any = false;
        let _ = each_child(|pid: Pid| {
            if glance(pid).is_some_and(|row| !row.is_zombie) {
                any = true;
                if !told.contains(&pid) {
                    told.push(pid);
                    let _ = kill(pid, signal);
                }
            }
        });
        if !any || Instant::now() >= until {
            return;
        }
        thread::park_timeout(LOOK);
    }
}
