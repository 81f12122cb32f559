//! An encrypted connection as a [`Transport`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, BufRead, ErrorKind, IoSlice, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use rustls::Connection;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;

use super::super::transport::Transport;

/// Bytes that are read at once, still encrypted.
const READ: usize = 32 << 10;

/// Bytes that are encrypted at once.
const WRITE: usize = 64 << 10;

#[derive(Debug)]
pub(in super::super) struct TlsStream {
    socket: TcpStream,
    state: RefCell<State>,
    /// Of this node's papers, by which the peer's certificate was checked last.
    pub(super) edition: Cell<u64>,
}

#[derive(Debug)]
struct State {
    session: Connection,
    /// What was read last. Empty between two reads; kept for its memory.
    raw: Vec<u8>,
    /// What came together with the end of the handshake.
    early: Vec<u8>,
    /// So many bytes of what is to be written are encrypted and not yet taken by the kernel as a whole. They count as
    /// written only then, so that whoever has more to write knows that it has to wait.
    owed: usize,
}

impl TlsStream {
    pub(super) fn new(socket: TcpStream, mut session: Connection, edition: u64) -> TlsStream {
        // What is in it at any time is bounded by READ and WRITE.
        session.set_buffer_limit(None);
        TlsStream {
            socket,
            state: RefCell::new(State { session, raw: Vec::new(), early: Vec::new(), owed: 0 }),
            edition: Cell::new(edition),
        }
    }

    /// Both sides show their certificates. Each may still hear afterwards that the other one does not like what it saw.
    pub(super) async fn shake_hands(&self) -> io::Result<()> {
        loop {
            let wants_write = {
                let State { session, raw, early, .. } = &mut *self.state.borrow_mut();
                unless_blocked(flush(&self.socket, session))?;
                while session.is_handshaking() {
                    match unless_blocked(take_in(&self.socket, session, raw, early))? {
                        Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
                        Some(_) => {}
                        None => break,
                    }
                }
                unless_blocked(flush(&self.socket, session))?;
                if !session.is_handshaking() && !session.wants_write() {
                    return Ok(());
                }
                session.wants_write()
            };
            if wants_write {
                poll_fn(|context| self.socket.poll_write_ready(context)).await?;
            } else {
                poll_fn(|context| self.socket.poll_read_ready(context)).await?;
            }
        }
    }

    /// The peer's certificate, and those that came with it.
    pub(super) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let state = self.state.borrow();
        let shown = state.session.peer_certificates().unwrap_or_default();
        shown.iter().map(|certificate| certificate.clone().into_owned()).collect()
    }
}

impl Transport for TlsStream {
    fn try_read(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let State { session, raw, early, .. } = &mut *self.state.borrow_mut();
        if !early.is_empty() {
            let count = early.len();
            into.append(early);
            return Ok(count);
        }
        let before = into.len();
        let came = take_in(&self.socket, session, raw, into)?;
        match into.len() - before {
            // A part of a record is nothing yet. The socket still counts as readable until it says otherwise, so whoever
            // waits for it looks again, and others have their turn in between.
            0 if came > 0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let State { session, owed, .. } = &mut *self.state.borrow_mut();
        if *owed == 0 {
            *owed = session.writer().write(&bytes[..bytes.len().min(WRITE)])?;
        }
        flush(&self.socket, session)?;
        Ok(mem::take(owed))
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_read_ready(context)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(context)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn as_tls(&self) -> Option<&TlsStream> {
        Some(self)
    }
}

/// Reads once and decrypts what is whole of it. How many bytes came; 0: there will be no more.
fn take_in(
    socket: &TcpStream,
    session: &mut Connection,
    raw: &mut Vec<u8>,
    into: &mut Vec<u8>,
) -> io::Result<usize> {
    raw.clear();
    raw.reserve(READ);
    let came = socket.try_read_buf(raw)?;
    let mut rest = &raw[..];
    while !rest.is_empty() {
        if session.read_tls(&mut rest)? == 0 {
            // It said that it would send no more.
            return Ok(0);
        }
        if let Err(error) = session.process_new_packets() {
            // The peer is told why, if it can be.
            let _ = flush(socket, session);
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        let mut reader = session.reader();
        loop {
            match reader.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => {
                    into.extend_from_slice(bytes);
                    let count = bytes.len();
                    reader.consume(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(came)
}

/// Gives the kernel everything that is encrypted. `WouldBlock`: it did not take it all.
fn flush(socket: &TcpStream, session: &mut Connection) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(&mut Writing(socket))?;
    }
    Ok(())
}

/// `None`: it has to wait for the socket.
fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}

struct Writing<'a>(&'a TcpStream);

impl Write for Writing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
