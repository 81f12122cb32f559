//! Packets with descriptors and credentials over Unix sockets (`unix(7)`), without allocating.
//!
//! `listen.rs` makes the sockets that have a name.

#![allow(unsafe_code)] // nix' sendmsg and recvmsg allocate; the keeper and a newborn child must not.

mod control;
mod listen;

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{PassCred, PeerCredentials, SendTimeout};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, Uid};

use control::{Control, Item};
pub use listen::{bind_datagram, listen, remove_files};

/// Most descriptors in one packet.
pub const MAX_FDS: usize = 16;

/// How often a read is tried again after `ECONNRESET`: the kernel reports it once per death of a peer.
const RESETS: usize = 4;

/// What a read found.
#[derive(Debug)]
pub enum Received {
    /// A packet.
    Packet(Packet),
    /// Nothing at the moment.
    Nothing,
    /// The peer, and everyone it shared its end with, is gone, and everything they sent has been read.
    Closed,
}

/// One packet.
#[derive(Debug)]
pub struct Packet {
    /// Length of its bytes in the buffer.
    pub len: usize,
    /// Who sent it, by the kernel's word. Needs [`pass_credentials`].
    pub sender: Option<Peer>,
    /// The sender's process, which may have ended. Needs [`pass_process`].
    pub process: Option<OwnedFd>,
    /// The descriptors that came along, all CLOEXEC.
    pub fds: Fds,
    /// Bytes or descriptors were cut off: the buffer or the descriptor table was too small.
    pub truncated: bool,
    /// Descriptors were cut off for lack of room in the descriptor table.
    pub short: bool,
}

/// The descriptors of one packet, in order.
#[derive(Debug, Default)]
pub struct Fds {
    slots: [Option<OwnedFd>; MAX_FDS],
}

impl Fds {
    fn is_full(&self) -> bool {
        self.slots.iter().all(Option::is_some)
    }

    fn push(&mut self, fd: OwnedFd) {
        if let Some(free) = self.slots.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(fd);
        }
    }
}

impl IntoIterator for Fds {
    type Item = OwnedFd;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<OwnedFd>, MAX_FDS>>;

    fn into_iter(self) -> Self::IntoIter {
        self.slots.into_iter().flatten()
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process.
    pub pid: Pid,
    /// Its user.
    pub uid: Uid,
}

/// A connected SOCK_SEQPACKET pair.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// From now on every packet that arrives carries its sender's credentials.
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn pass_credentials(socket: BorrowedFd) -> nix::Result<()> {
    socket::setsockopt(&socket, PassCred, &true)
}

/// From now on every packet that arrives carries its sender's process as a pidfd (`SO_PASSPIDFD`, Linux 6.5), so that a
/// number used again is not taken for the sender.
///
/// # Errors
/// `ENOPROTOOPT`: the kernel is older.
pub fn pass_process(socket: BorrowedFd) -> nix::Result<()> {
    const SO_PASSPIDFD: i32 = 76; // in neither nix nor libc
    let on: i32 = 1;
    // SAFETY: the option is one int, which lives across the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSPIDFD,
            (&raw const on).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    Errno::result(done).map(drop)
}

/// No send on this socket waits longer than this; it fails with `EAGAIN`.
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn bound_sends(socket: BorrowedFd, limit: Duration) -> nix::Result<()> {
    let limit = TimeVal::milliseconds(limit.as_millis().try_into().unwrap_or(i64::MAX));
    socket::setsockopt(&socket, SendTimeout, &limit)
}

/// Who connected, or made the pair (`SO_PEERCRED`).
///
/// # Errors
/// Not a connected Unix socket.
pub fn peer(socket: BorrowedFd) -> nix::Result<Peer> {
    let peer = socket::getsockopt(&socket, PeerCredentials)?;
    Ok(Peer { pid: Pid::from_raw(peer.pid()), uid: Uid::from_raw(peer.uid()) })
}

/// The supplementary groups of the process that connected, as they were then (`SO_PEERGROUPS`).
///
/// # Errors
/// Not a connected Unix socket, or a kernel before Linux 4.13.
pub fn peer_groups(socket: BorrowedFd) -> nix::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let room = groups.len() * mem::size_of::<libc::gid_t>();
        let mut size = libc::socklen_t::try_from(room).map_err(|_| Errno::ERANGE)?;
        // SAFETY: `groups` has room for `size` bytes, and both pointers are valid for the call.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        let count = size as usize / mem::size_of::<libc::gid_t>();
        match Errno::result(done) {
            Ok(_) => {
                groups.truncate(count);
                return Ok(groups);
            }
            // The kernel has said how much room it needs; a process has at most 65,536 groups (NGROUPS_MAX).
            Err(Errno::ERANGE) if count > groups.len() => groups.resize(count, 0),
            Err(errno) => return Err(errno),
        }
    }
}

/// Sends one packet with its descriptors; waits while the queue is full. A plain system call on the stack: also for a
/// process between clone and exec.
///
/// # Errors
/// `EPIPE`: nobody is at the other end; `EAGAIN`: full for longer than [`bound_sends`] allows; `EINVAL`: more than
/// [`MAX_FDS`] descriptors.
pub fn send(socket: BorrowedFd, bytes: &[u8], fds: &[BorrowedFd]) -> nix::Result<()> {
    transmit(socket, bytes, fds, 0)
}

/// As [`send`], but never waits.
///
/// # Errors
/// `EAGAIN`: the queue is full. Else as [`send`].
pub fn try_send(socket: BorrowedFd, bytes: &[u8], fds: &[BorrowedFd]) -> nix::Result<()> {
    transmit(socket, bytes, fds, libc::MSG_DONTWAIT)
}

fn transmit(socket: BorrowedFd, bytes: &[u8], fds: &[BorrowedFd], flags: i32) -> nix::Result<()> {
    let mut control = Control::rights(fds)?;
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let message = header(&mut part, &mut control);
    loop {
        // SAFETY: the header points to the bytes and the control data, which live across the call and are only read.
        let answer =
            unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags | libc::MSG_NOSIGNAL) };
        match Errno::result(answer) {
            Err(Errno::EINTR) => {}
            answer => return answer.map(drop),
        }
    }
}

/// As [`receive`], but leaves the packet where it is.
///
/// # Errors
/// As [`receive`].
pub fn peek(socket: BorrowedFd, buffer: &mut [u8]) -> nix::Result<Received> {
    take(socket, buffer, libc::MSG_PEEK)
}

/// Reads one packet, never waits. A packet of no bytes is told from the end by its credentials, so a socket on which such
/// packets can arrive needs [`pass_credentials`].
///
/// # Errors
/// Those of `recvmsg(2)` that do not mean "nothing" or "closed".
pub fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> nix::Result<Received> {
    take(socket, buffer, 0)
}

/// Removes the next packet, with its descriptors, unread. Never waits.
///
/// # Errors
/// Those of `recv(2)`.
pub fn discard(socket: BorrowedFd) -> nix::Result<()> {
    let mut resets = 0;
    loop {
        // SAFETY: a buffer of no bytes.
        let answer = unsafe {
            libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), 0, libc::MSG_DONTWAIT | libc::MSG_TRUNC)
        };
        match Errno::result(answer) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) if resets < RESETS => resets += 1,
            answer => return answer.map(drop),
        }
    }
}

fn take(socket: BorrowedFd, buffer: &mut [u8], how: i32) -> nix::Result<Received> {
    let mut control = Control::empty();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = header(&mut part, &mut control);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | how;
    let mut resets = 0;
    let len = loop {
        // SAFETY: the header points to the buffer and the control data, which live across the call and are ours alone.
        let answer = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match Errno::result(answer) {
            Ok(len) => break len.unsigned_abs(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(Received::Nothing),
            // Reported ahead of packets that the dead peer sent; they are still there.
            Err(Errno::ECONNRESET) if resets < RESETS => resets += 1,
            Err(errno) => return Err(errno),
        }
    };
    let truncated = message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    let filled: usize = message.msg_controllen as _; // another integer with musl
    let mut packet =
        Packet { len, sender: None, process: None, fds: Fds::default(), truncated, short: false };
    control.each(filled, |item| match item {
        Item::Descriptor(number) => packet.fds.push(adopt(number)),
        Item::Sender(peer) => packet.sender = Some(peer),
        Item::Process(number) => packet.process = Some(adopt(number)),
    });
    packet.short = message.msg_flags & libc::MSG_CTRUNC != 0 && !packet.fds.is_full();
    if len == 0 && packet.sender.is_none() {
        return Ok(Received::Closed);
    }
    Ok(Received::Packet(packet))
}

fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just put this descriptor into our table for us; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn header(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: an all-zero msghdr is a valid value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr();
    message.msg_controllen = control.len() as _;
    message
}

#[cfg(test)]
mod tests;
