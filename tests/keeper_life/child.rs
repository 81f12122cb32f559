//! The storm's child: proves by a lock of its own that it is the only life of its node, lives a moment, and ends.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{self, exit};

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollTimeout, poll};

/// `folder node run`. What it finds goes to `folder/log`, one line a write.
pub(crate) fn run(arguments: &[String]) -> ! {
    let [folder, node, run] = arguments else { exit(2) };
    let mut log = OpenOptions::new().append(true).create(true).open(format!("{folder}/log")).unwrap();
    let mut tell =
        |what: &str| log.write_all(format!("{what} {node} {run} {}\n", process::id()).as_bytes()).unwrap();
    let lock = File::create(format!("{folder}/lock-{node}")).unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock);
    tell(if lock.is_ok() { "start" } else { "double" });
    // A life of 0 to 30 ms, different for each.
    let _ = poll(&mut [], PollTimeout::try_from(process::id() % 31).unwrap());
    exit(7)
}
