//! The kernel's process tables, read-only: who exists, whose child it is, what it uses.
//!
//! Every number comes from `/proc` at the moment of the call (`proc(5)`); nothing is remembered between two calls and
//! nothing is sent to anybody. A process that vanishes meanwhile is simply not there; what the kernel does not let us
//! read is `None`. A pid names a process only together with its start ticks: whoever reads twice compares them.
//!
//! `stat.rs` is one row, `table.rs` all rows and who descends from whom, `usage.rs` what is dearer to read (memory,
//! descriptors, files), `memory.rs` is its address space, `sockets.rs` are the sockets and who holds them, `clock.rs` turns ticks into times and `tty.rs` device numbers into names.

mod clock;
mod memory;
mod sockets;
mod stat;
mod table;
mod tcp;
mod tty;
mod usage;

pub use clock::Clock;
pub use memory::{Mapping, mappings, peek, poke, same_memory};
pub use sockets::{Owner, UnixSocket, socket_of, socket_owners, unix_sockets};
pub use stat::Process;
pub use table::{Table, pids};
pub use tcp::{Carried, TcpSocket, TcpState, carried, tcp_sockets};
pub use tty::tty_name;
pub use usage::{Memory, Usage};

use std::io::Read;

/// Reads at most `limit` bytes of `/proc/PID/FILE`; `None` if the process is gone or the kernel says no.
fn read(pid: i32, file: &str, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(format!("/proc/{pid}/{file}")).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The control groups a process is in, as `/proc/PID/cgroup` has them.
#[must_use]
pub fn control_groups(pid: i32) -> Option<String> {
    read(pid, "cgroup", 16 * 1024).map(|text| String::from_utf8_lossy(&text).into_owned())
}

/// Whether a process was started with an entry in its environment that begins so.
#[must_use]
pub fn has_entry(pid: i32, beginning: &[u8]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(beginning))
}
