//! Descriptors in the event loop.

#![allow(unsafe_code)] // tokio asks for a promise that only the type of the descriptor can keep.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a non-blocking descriptor for something to read, and for nothing else: each edge of a watched kind is a wake-up.
///
/// # Errors
/// The event loop cannot take one more, or the descriptor is of a kind that is always ready (a plain file).
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and the same for as long as it lives, and `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
