//! Children: one of the storm, which proves by a lock of its own that it is the only life of its node, and a forger.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{self, exit};

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollTimeout, poll};
use provost::keeper::{Key, Link, Reach};
use provost::os::{process::inherited, socket};
use std::os::fd::AsFd;

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

/// Sends over the socket it was left what only a newborn may say.
pub(crate) fn forge(arguments: &[String]) -> ! {
    let socket = inherited(3).unwrap();
    let own = Key { node: arguments[0].parse().unwrap(), run: arguments[1].parse().unwrap() };
    let failed = [Link::failed(own), [8i32.to_le_bytes(), 2i32.to_le_bytes()].concat()].concat();
    let other = Link::registration(Key { node: 9, run: 9 }, Reach::Tree, 0);
    let again = Link::registration(own, Reach::Tree, 0);
    let finish = [vec![1, 7], vec![0]].concat();
    for packet in [failed, other, again, finish] {
        socket::send(socket.as_fd(), &packet, &[]).unwrap();
    }
    println!("forged {}", process::id());
    loop {
        std::thread::park();
    }
}
