//! Unix sockets as the kernel knows them, and which processes hold them.
//!
//! The kernel's own list is asked over netlink (`sock_diag(7)`), which is what `ss -x` does; it tells for each socket the
//! inode of its other end. Who holds a socket stands in `/proc/PID/fd`, as far as we may read it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// One Unix socket of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// The number by which `/proc/PID/fd` and `ss` name it.
    pub inode: u64,
    /// It waits for connections.
    pub listens: bool,
    /// It carries a stream or a sequence of packets, not datagrams.
    pub connected_kind: bool,
    /// The inode of its other end.
    pub peer: Option<u64>,
    /// The path it was bound to; the accepted end of a connection has its listener's.
    pub path: Option<String>,
    /// The user who made it; not told before Linux 5.3.
    pub uid: Option<u32>,
    /// The lower 32 bits of the inode of the file it was bound to; the kernel tells no more.
    pub file_inode: Option<u32>,
    /// Bytes that its holder has not read yet; of one that listens: connections that nobody has accepted.
    pub waiting: u32,
}

/// A descriptor that refers to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The process.
    pub pid: i32,
    /// The number there.
    pub fd: i32,
}

// From linux/netlink.h, linux/sock_diag.h and linux/unix_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
const MESSAGE: usize = 16;
const SHOW: u32 = SHOW_NAME | SHOW_FILE | SHOW_PEER | SHOW_QUEUE | SHOW_USER;
const SHOW_NAME: u32 = 0x1;
const SHOW_FILE: u32 = 0x2;
const SHOW_PEER: u32 = 0x4;
const SHOW_QUEUE: u32 = 0x10;
const SHOW_USER: u32 = 0x40;
const ATTRIBUTE_NAME: u16 = 0;
const ATTRIBUTE_FILE: u16 = 1;
const ATTRIBUTE_PEER: u16 = 2;
const ATTRIBUTE_QUEUE: u16 = 4;
const ATTRIBUTE_USER: u16 = 7;
const STATE_LISTEN: u8 = 10;

/// Every Unix socket there is, by inode.
///
/// # Errors
/// The kernel has no `unix_diag`, or refuses netlink.
pub fn unix_sockets() -> io::Result<BTreeMap<u64, UnixSocket>> {
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    sendto(netlink.as_raw_fd(), &request(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut found = BTreeMap::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let size = (u32_at(rest, 0) as usize).clamp(HEADER, rest.len());
            let body = &rest[HEADER..size];
            match u16_at(rest, 4) {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(refusal(body)),
                SOCK_DIAG_BY_FAMILY => found.extend(parse(body).map(|socket| (socket.inode, socket))),
                _ => {}
            }
            rest = &rest[aligned(size).min(rest.len())..];
        }
    }
}

/// Who holds which socket, of the processes whose descriptors we may read.
///
/// # Errors
/// `/proc` is not mounted.
pub fn socket_owners() -> io::Result<BTreeMap<u64, Vec<Owner>>> {
    let mut owners: BTreeMap<u64, Vec<Owner>> = BTreeMap::new();
    for pid in super::pids()? {
        let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        for fd in numbers {
            if let Some(inode) = socket_of(pid, fd) {
                owners.entry(inode).or_default().push(Owner { pid, fd });
            }
        }
    }
    owners.values_mut().for_each(|owners| owners.sort_unstable());
    Ok(owners)
}

/// The inode of the socket that this descriptor of this process refers to; `None` if it is none.
#[must_use]
pub fn socket_of(pid: i32, fd: i32) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 24);
    bytes.extend((HEADER as u32 + 24).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    // Family, protocol, padding; all states; no particular inode; what to tell; no cookie.
    bytes.extend([libc::AF_UNIX as u8, 0, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(SHOW.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

fn refusal(body: &[u8]) -> io::Error {
    let number = body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    Errno::from_raw(-number).into()
}

fn parse(body: &[u8]) -> Option<UnixSocket> {
    if body.len() < MESSAGE {
        return None;
    }
    let (kind, state) = (i32::from(body[1]), body[2]);
    let mut socket = UnixSocket {
        inode: u64::from(u32_at(body, 4)),
        listens: state == STATE_LISTEN,
        connected_kind: kind == libc::SOCK_STREAM || kind == libc::SOCK_SEQPACKET,
        peer: None,
        path: None,
        uid: None,
        file_inode: None,
        waiting: 0,
    };
    let mut rest = &body[MESSAGE..];
    while rest.len() >= 4 {
        let size = usize::from(u16_at(rest, 0)).clamp(4, rest.len());
        let value = &rest[4..size];
        match u16_at(rest, 2) {
            ATTRIBUTE_NAME => socket.path = path(value),
            ATTRIBUTE_PEER if value.len() >= 4 => {
                socket.peer = Some(u64::from(u32_at(value, 0))).filter(|&inode| inode != 0);
            }
            ATTRIBUTE_FILE if value.len() >= 4 => socket.file_inode = Some(u32_at(value, 0)),
            ATTRIBUTE_USER if value.len() >= 4 => socket.uid = Some(u32_at(value, 0)),
            ATTRIBUTE_QUEUE if value.len() >= 4 => socket.waiting = u32_at(value, 0),
            _ => {}
        }
        rest = &rest[aligned(size).min(rest.len())..];
    }
    Some(socket)
}

/// A name that begins with a zero byte is no path (`unix(7)`, abstract sockets); `@` is what `ss` shows for it.
fn path(name: &[u8]) -> Option<String> {
    let text = |bytes| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    match name {
        [] => None,
        [0, rest @ ..] => Some(format!("@{}", text(rest))),
        name => Some(text(name)),
    }
}

fn aligned(size: usize) -> usize {
    size.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn both_ends_of_a_connection_are_found_with_their_owners() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let mut near = UnixStream::connect(&path).unwrap();
        let (far, _) = listener.accept().unwrap();
        near.write_all(b"12345").unwrap();
        let me = std::process::id().cast_signed();
        let inode = |fd: &dyn AsRawFd| socket_of(me, fd.as_raw_fd()).unwrap();
        let sockets = unix_sockets().unwrap();
        let (one, other) = (&sockets[&inode(&near)], &sockets[&inode(&far)]);
        assert_eq!((one.peer, other.peer), (Some(other.inode), Some(one.inode)));
        assert_eq!((one.path.as_deref(), other.path.as_deref()), (None, path.to_str()));
        assert!(one.connected_kind && !one.listens);
        assert_eq!(other.waiting, 5);
        let waiting_for = &sockets[&inode(&listener)];
        assert!(waiting_for.listens && waiting_for.path.as_deref() == path.to_str());
        let owners = socket_owners().unwrap();
        assert!(owners[&one.inode].contains(&Owner { pid: me, fd: near.as_raw_fd() }));
        assert_eq!(socket_of(me, -1), None);
    }

    #[test]
    fn torn_and_strange_messages_do_no_harm() {
        for length in 0..MESSAGE {
            assert_eq!(parse(&vec![1; length]), None);
        }
        let mut body = vec![1, 1, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        body.extend([0xff; 7]);
        assert!(parse(&body).is_some());
        assert_eq!(path(b"\0name"), Some("@name".into()));
        assert_eq!(path(b"/run/x\0"), Some("/run/x".into()));
        assert_eq!(path(b""), None);
    }
}
