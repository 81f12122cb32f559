//! The wish to stop: SIGTERM from a supervisor, SIGINT from a terminal.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Takes SIGTERM and SIGINT over from the kernel, which would end the process in the middle of a turn.
#[derive(Debug)]
pub struct Termination {
    term: Signal,
    interrupt: Signal,
}

impl Termination {
    /// Takes the two signals over, for the rest of the process's life.
    ///
    /// # Errors
    /// When the kernel refuses (it has no reason to).
    pub fn listen() -> io::Result<Termination> {
        Ok(Termination {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next request to stop and names its signal. Safe to cancel.
    pub async fn requested(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
