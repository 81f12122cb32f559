//! Network namespaces: what makes processes of one machine as distant from each other as those of two.
//!
//! A namespace has its own interfaces, addresses, routes and sockets (`network_namespaces(7)`). It lives as long as somebody
//! is in it or holds it open, and its interfaces go with it: nothing is left to clean up.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, held open.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// A new one, with nothing in it but a loopback interface that is down.
    ///
    /// # Errors
    /// It needs `CAP_SYS_ADMIN`.
    pub fn new() -> io::Result<Namespace> {
        // A thread of its own moves, so that nobody else does.
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Namespace::current()
        });
        made.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes it panicked")))
    }

    /// That of the calling thread.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> io::Result<Namespace> {
        File::open("/proc/thread-self/ns/net").map(Namespace)
    }

    /// The number that `/proc/PID/ns/net` shows for those who are in it.
    ///
    /// # Errors
    /// As of `fstat(2)`.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.ino())
    }

    /// A path by which other programs, such as `ip`, can open it for as long as this is held.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    /// Does `work` with the calling thread in this namespace, which the processes that it starts inherit.
    ///
    /// # Errors
    /// The thread may not enter it.
    ///
    /// # Panics
    /// If the thread cannot go back to where it was: nothing after that could be trusted.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let home = Namespace::current()?;
        if home.inode()? == self.inode()? {
            // It needs no privilege to stay.
            return Ok(work());
        }
        let home = Home(home);
        setns(&self.0, CloneFlags::CLONE_NEWNET)?;
        let done = work();
        drop(home);
        Ok(done)
    }

    /// The addresses of its interfaces, without those of the loopback network: `eth0 10.0.0.2`.
    ///
    /// # Errors
    /// The thread may not enter it.
    pub fn addresses(&self) -> io::Result<Vec<String>> {
        let all = self.within(getifaddrs)??;
        let of_inet = all.filter_map(|one| {
            let address = one.address?.as_sockaddr_in()?.ip();
            (!address.is_loopback()).then(|| format!("{} {address}", one.interface_name))
        });
        Ok(of_inet.collect())
    }
}

/// Brings the thread back, also when the work panics.
struct Home(Namespace);

impl Drop for Home {
    fn drop(&mut self) {
        setns(&self.0.0, CloneFlags::CLONE_NEWNET).expect("back to the namespace of before");
    }
}

/// The network namespace of a process, by the number that `/proc/PID/ns/net` shows.
#[must_use]
pub fn of_process(pid: i32) -> Option<u64> {
    Some(std::fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_within_is_there_and_the_thread_is_back() {
        let me = std::process::id().cast_signed();
        let home = Namespace::current().unwrap().inode().unwrap();
        assert_eq!(of_process(me), Some(home));
        let other = match Namespace::new() {
            Ok(other) => other,
            Err(error) => return println!("skipped: a network namespace cannot be made here: {error}"),
        };
        let start = || std::process::Command::new("tail").args(["-f", "/dev/null"]).spawn();
        let mut child = other.within(start).unwrap().unwrap();
        let there = of_process(child.id().cast_signed());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(there, Some(other.inode().unwrap()));
        assert_ne!(there, Some(home));
        assert_eq!(Namespace::current().unwrap().inode().unwrap(), home);
        assert_eq!(other.addresses().unwrap(), Vec::<String>::new());
        let panicked = std::panic::catch_unwind(|| other.within(|| panic!("within")));
        assert!(panicked.is_err());
        assert_eq!(Namespace::current().unwrap().inode().unwrap(), home);
    }
}
