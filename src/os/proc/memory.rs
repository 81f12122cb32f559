//! The address space of a process: whether two share one, what is mapped where, and what stands there.

#![allow(unsafe_code)] // kcmp is in neither nix nor libc.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;

/// `KCMP_VM` of `linux/kcmp.h`.
const KCMP_VM: libc::c_int = 1;

/// Whether two processes, or threads, share one address space (`kcmp(2)`).
///
/// # Errors
/// `ESRCH`: one is gone; `EPERM`: we may not look into them; `ENOSYS`: a kernel without it.
pub fn same_memory(one: i32, other: i32) -> nix::Result<bool> {
    // SAFETY: a plain system call on numbers.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) };
    Errno::result(order).map(|order| order == 0)
}

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// It can be written to.
    pub writable: bool,
    /// What is written becomes visible to everybody who maps the same object.
    pub shared: bool,
    /// Where in the object it begins.
    pub offset: u64,
    /// Device and inode of the object, as `MAJOR:MINOR` in hexadecimal digits and a number; inode 0 for none.
    pub object: (String, u64),
    /// Its name: a path, `[heap]`, `[stack]`; empty for none.
    pub name: String,
}

/// What the process has mapped, by address; `None` if it is gone or may not be looked at.
#[must_use]
pub fn mappings(pid: i32) -> Option<Vec<Mapping>> {
    let text = super::read(pid, "maps", 16 << 20)?;
    let mappings: Vec<Mapping> = String::from_utf8_lossy(&text).lines().filter_map(parse).collect();
    Some(mappings).filter(|mappings| !mappings.is_empty())
}

fn parse(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?.as_bytes();
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: number(start)?,
        end: number(end)?,
        writable: *rights.get(1)? == b'w',
        shared: *rights.get(3)? == b's',
        offset: number(fields.next()?)?,
        object: (fields.next()?.to_owned(), fields.next()?.parse().ok()?),
        name: fields.next().unwrap_or_default().trim_start().to_owned(),
    })
}

/// What stands at this address of this process (`/proc/PID/mem`).
///
/// # Errors
/// Nothing is mapped there, the process is gone, or we may not look into it.
pub fn peek(pid: i32, address: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    OpenOptions::new().read(true).open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut bytes, address)?;
    Ok(bytes)
}

/// Writes there, as a debugger does: also where the process itself may not, and never into the file that is mapped.
///
/// # Errors
/// Those of [`peek`].
pub fn poke(pid: i32, address: u64, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"))?.write_all_at(bytes, address)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn me() -> i32 {
        std::process::id().cast_signed()
    }

    #[test]
    fn a_line_is_taken_apart() {
        let line = "7f0a1000-7f0a3000 rw-s 00002000 fd:01 1234                       /tmp/a file (deleted)";
        let mapping = parse(line).unwrap();
        assert_eq!((mapping.start, mapping.end, mapping.offset), (0x7f0a_1000, 0x7f0a_3000, 0x2000));
        assert!(mapping.writable && mapping.shared);
        assert_eq!(mapping.object, ("fd:01".to_owned(), 1234));
        assert_eq!(mapping.name, "/tmp/a file (deleted)");
        assert_eq!(parse("7f0a1000-7f0a3000 r--p 00000000 00:00 0").unwrap().name, "");
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn threads_share_memory_and_processes_do_not() {
        let (sender, tid) = channel();
        let (_done, wait) = channel::<()>();
        let thread = std::thread::spawn(move || {
            sender.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = wait.recv();
        });
        assert_eq!(same_memory(me(), tid.recv().unwrap()), Ok(true));
        drop(_done);
        thread.join().unwrap();
        let mut other =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert_eq!(same_memory(me(), other.id().cast_signed()), Ok(false));
        drop(other.stdin.take());
        other.wait().unwrap();
        assert_eq!(same_memory(me(), i32::MAX), Err(Errno::ESRCH));
    }

    #[test]
    fn our_own_memory_can_be_read_and_written() {
        let value = Box::new(*b"before");
        let address = value.as_ptr().addr() as u64;
        assert!(mappings(me()).unwrap().iter().any(|map| (map.start..map.end).contains(&address)));
        assert_eq!(peek(me(), address, 6).unwrap(), b"before");
        poke(me(), address, b"behind").unwrap();
        assert_eq!(peek(me(), address, 6).unwrap(), b"behind");
        assert!(peek(me(), 0, 1).is_err());
        assert_eq!(mappings(i32::MAX), None);
    }
}
