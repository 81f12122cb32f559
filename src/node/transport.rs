//! What carries bytes between two nodes: the one seam between links and the kernel's kinds of sockets.

use std::fmt::Debug;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use tokio::net::{TcpStream, UnixStream};

use super::tls::TlsStream;

/// A connected, ordered, reliable stream of bytes that never blocks.
///
/// It is polled by one task at a time: of two that wait for the same direction only the later would be woken.
pub(super) trait Transport: Debug {
    /// Appends what is there. 0: the peer will send no more.
    fn try_read(&self, into: &mut Vec<u8>) -> io::Result<usize>;

    /// Hands over as much as is taken.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Ready when a read may find something.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when a write may be taken.
    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The socket, by which the kernel tells who is at its other end.
    fn socket(&self) -> BorrowedFd<'_>;

    /// Whether `pid`, as the peer calls itself, is a process of this machine.
    fn is_local(&self) -> bool;

    /// The same with its certificates, where there are any.
    fn as_tls(&self) -> Option<&TlsStream> {
        None
    }
}

impl Transport for UnixStream {
    fn try_read(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.try_read_buf(into)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        UnixStream::try_write(self, bytes)
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(context)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn is_local(&self) -> bool {
        true
    }
}

impl Transport for TcpStream {
    fn try_read(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.try_read_buf(into)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        TcpStream::try_write(self, bytes)
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(context)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn is_local(&self) -> bool {
        false
    }
}

/// Reads once, waiting for something to read. Safe to cancel.
pub(super) async fn read(wire: &dyn Transport, into: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match wire.try_read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|context| wire.poll_readable(context)).await?;
            }
            read => return read,
        }
    }
}

/// Waits until something may be written. Safe to cancel.
pub(super) async fn writable(wire: &dyn Transport) -> io::Result<()> {
    poll_fn(|context| wire.poll_writable(context)).await
}

/// Writes all of it.
pub(super) async fn write_all(wire: &dyn Transport, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match wire.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => writable(wire).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
