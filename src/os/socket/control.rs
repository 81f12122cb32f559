//! Ancillary data in the kernel's layout (`cmsg(3)`), read and written as plain bytes.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::{Pid, Uid};

use super::{MAX_FDS, Peer};

/// A length is a machine word, and so is the alignment.
const WORD: usize = size_of::<usize>();
/// Length, level, type.
const HEADER: usize = WORD + 2 * size_of::<c_int>();
const INT: usize = size_of::<c_int>();
/// pid, uid, gid.
const CREDENTIALS: usize = 3 * INT;
/// `SCM_PIDFD` (Linux 6.5); in neither nix nor libc.
const SCM_PIDFD: c_int = 4;
/// Room for all kinds at their largest.
const ROOM: usize = 3 * (HEADER + WORD) + MAX_FDS * INT + CREDENTIALS + INT;

/// One piece of ancillary data.
pub(super) enum Item {
    Descriptor(RawFd),
    Sender(Peer),
    /// The sender's process by descriptor.
    Process(RawFd),
}

/// A buffer for ancillary data.
#[repr(C, align(8))]
pub(super) struct Control {
    bytes: [u8; ROOM],
    len: usize,
}

impl Control {
    /// Room to receive into.
    pub(super) fn empty() -> Control {
        Control { bytes: [0; ROOM], len: ROOM }
    }

    /// An SCM_RIGHTS message, or nothing if there is nothing to pass.
    pub(super) fn rights(fds: &[BorrowedFd]) -> nix::Result<Control> {
        let mut control = Control { bytes: [0; ROOM], len: 0 };
        if fds.len() > MAX_FDS {
            return Err(Errno::EINVAL);
        }
        if !fds.is_empty() {
            control.put(&(HEADER + fds.len() * INT).to_ne_bytes());
            control.put(&libc::SOL_SOCKET.to_ne_bytes());
            control.put(&libc::SCM_RIGHTS.to_ne_bytes());
            for fd in fds {
                control.put(&fd.as_raw_fd().to_ne_bytes());
            }
            control.len = control.len.next_multiple_of(WORD);
        }
        Ok(control)
    }

    fn put(&mut self, bytes: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *place = *byte;
        }
        self.len += bytes.len();
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut c_void {
        self.bytes.as_mut_ptr().cast()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Hands over every piece in the first `filled` bytes. Pieces of other kinds are passed over.
    pub(super) fn each(&self, filled: usize, mut take: impl FnMut(Item)) {
        let mut rest = self.bytes.get(..filled).unwrap_or(&self.bytes);
        while let Some(len) = word(rest).filter(|len| (HEADER..=rest.len()).contains(len)) {
            let (message, data) = (&rest[..len], &rest[HEADER..len]);
            match (int(message, WORD), int(message, WORD + INT)) {
                (Some(libc::SOL_SOCKET), Some(libc::SCM_RIGHTS)) => {
                    for at in (0..data.len()).step_by(INT) {
                        if let Some(fd) = int(data, at) {
                            take(Item::Descriptor(fd));
                        }
                    }
                }
                (Some(libc::SOL_SOCKET), Some(libc::SCM_CREDENTIALS)) => {
                    if let (Some(pid), Some(uid)) = (int(data, 0), int(data, INT)) {
                        take(Item::Sender(Peer {
                            pid: Pid::from_raw(pid),
                            uid: Uid::from_raw(uid.cast_unsigned()),
                        }));
                    }
                }
                // Below zero: the kernel could not make one.
                (Some(libc::SOL_SOCKET), Some(SCM_PIDFD)) => {
                    if let Some(fd) = int(data, 0).filter(|fd| *fd >= 0) {
                        take(Item::Process(fd));
                    }
                }
                _ => {}
            }
            rest = rest.get(len.next_multiple_of(WORD)..).unwrap_or_default();
        }
    }
}

fn word(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().copied().map(usize::from_ne_bytes)
}

fn int(bytes: &[u8], at: usize) -> Option<c_int> {
    bytes.get(at..)?.first_chunk().copied().map(c_int::from_ne_bytes)
}
