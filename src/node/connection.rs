//! The side that asks: one connection to a node, many calls in flight on it.

use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use super::calls::{Calls, Unanswered};
use super::error::{CallError, ConnectError, Lost};
use super::frame::{FrameError, Kind, MAX_FRAME};
use super::hello::{self, Identity, Welcome};
use super::inbox::Inbox;
use super::linger::Linger;
use super::outbox::Outbox;

/// A connection that sends requests of type `Q` and gets replies of type `R`.
///
/// It belongs to one thread. Calls made in one turn of the runtime leave in one write, and all replies of one read
/// wake their callers together. Dropping it closes it.
#[derive(Debug)]
pub struct Connection<Q, R> {
    link: Rc<Link<R>>,
    server: Identity,
    request: PhantomData<fn(Q)>,
}

/// What callers and the task that reads and writes share. No borrow is held across an await.
#[derive(Debug)]
struct Link<R> {
    writer: OwnedWriteHalf,
    calls: RefCell<Calls<R>>,
    outbox: RefCell<Outbox>,
    /// The driver has something to write, an earlier deadline to watch, or nobody to work for.
    changed: Notify,
    next_deadline: Cell<Option<Instant>>,
    ended: Cell<Option<Lost>>,
    /// `ended` was set.
    end: Notify,
}

impl<Q, R> Connection<Q, R>
where
    Q: Serialize,
    R: DeserializeOwned + 'static,
{
    /// Connects to the node at `path` as `me`, waiting at most `patience` for its welcome. A peer that is being
    /// restarted under a supervisor that holds its socket accepts only once it is back, so give it several seconds.
    ///
    /// # Errors
    /// [`ConnectError`], which also tells whether trying again is of use.
    ///
    /// # Panics
    /// Outside a [`LocalSet`](tokio::task::LocalSet): the connection is driven by a local task.
    pub async fn open(
        path: &Path,
        me: &Identity,
        protocol: u16,
        patience: Duration,
    ) -> Result<Connection<Q, R>, ConnectError> {
        let shaken = tokio::time::timeout(patience, shake_hands(path, me, protocol)).await;
        let (reader, writer, inbox, welcome) =
            shaken.map_err(|_| ConnectError::NoAnswer { path: path.to_owned(), patience })??;
        let link = Rc::new(Link {
            writer,
            calls: RefCell::new(Calls::new(welcome.max_in_flight)),
            outbox: RefCell::default(),
            changed: Notify::new(),
            next_deadline: Cell::new(None),
            ended: Cell::new(None),
            end: Notify::new(),
        });
        tokio::task::spawn_local(drive(Rc::clone(&link), reader, inbox));
        Ok(Connection { link, server: welcome.server, request: PhantomData })
    }

    /// Who answers on the other side.
    #[must_use]
    pub fn server(&self) -> &Identity {
        &self.server
    }

    /// How the connection ended, if it did.
    #[must_use]
    pub fn lost(&self) -> Option<Lost> {
        self.link.ended.get()
    }

    /// Waits until the connection has ended and says how (a `monitor_node`). Safe to cancel.
    pub async fn ended(&self) -> Lost {
        loop {
            // One thread: nothing can come between the look and the wait.
            match self.lost() {
                Some(lost) => return lost,
                None => self.link.end.notified().await,
            }
        }
    }

    /// Sends `request` and waits for its reply, at most `timeout`. While the peer has as many calls in flight as it
    /// takes, this waits for a place first, within the same time. A reply that comes after the timeout is dropped.
    ///
    /// # Errors
    /// [`CallError`]. All calls of a connection that ends fail at once.
    pub async fn call(&self, request: &Q, timeout: Duration) -> Result<R, CallError> {
        let deadline = Instant::now() + timeout;
        let id = self.place(deadline).await.map_err(|unanswered| CallError::after(unanswered, timeout))?;
        if self.link.outbox.borrow_mut().append(Kind::Call, id, request).is_err() {
            self.link.calls.borrow_mut().release(id);
            return Err(CallError::TooLarge { limit: MAX_FRAME });
        }
        if self.link.next_deadline.get().is_none_or(|next| deadline < next) {
            self.link.next_deadline.set(Some(deadline));
        }
        self.link.changed.notify_one();
        let answered = Awaited { link: &self.link, id: Some(id) }.await;
        answered.map_err(|unanswered| CallError::after(unanswered, timeout))
    }

    async fn place(&self, deadline: Instant) -> Result<u32, Unanswered> {
        let room = self.link.calls.borrow().room();
        loop {
            if let Some(lost) = self.lost() {
                return Err(Unanswered::Lost(lost));
            }
            let slot = self.link.calls.borrow_mut().begin(deadline);
            if let Some(id) = slot {
                return Ok(id);
            }
            if tokio::time::timeout_at(deadline.into(), room.notified()).await.is_err() {
                return Err(Unanswered::TimedOut);
            }
        }
    }
}

impl<Q, R> Drop for Connection<Q, R> {
    fn drop(&mut self) {
        self.link.ended.set(self.link.ended.get().or(Some(Lost::Closed)));
        self.link.changed.notify_one();
    }
}

/// The reply of one call that was sent. Dropped early, it gives the call up.
struct Awaited<'a, R> {
    link: &'a Link<R>,
    /// `None` once the reply was handed out.
    id: Option<u32>,
}

impl<R> Future for Awaited<'_, R> {
    type Output = Result<R, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id.expect("a future is polled until it is ready");
        let polled = self.link.calls.borrow_mut().poll(id, context);
        if polled.is_ready() {
            self.id = None;
        }
        polled
    }
}

impl<R> Drop for Awaited<'_, R> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.link.calls.borrow_mut().abandon(id);
        }
    }
}

type Shaken = (OwnedReadHalf, OwnedWriteHalf, Inbox, Welcome);

async fn shake_hands(path: &Path, me: &Identity, protocol: u16) -> Result<Shaken, ConnectError> {
    let failed = |why: String| ConnectError::Failed { path: path.to_owned(), why };
    let stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ConnectError::NoSocket(path.to_owned()),
        io::ErrorKind::ConnectionRefused => ConnectError::Refused(path.to_owned()),
        io::ErrorKind::WouldBlock => ConnectError::QueueFull(path.to_owned()),
        _ => failed(error.to_string()),
    })?;
    let (mut reader, mut writer) = stream.into_split();
    let mut hello = Vec::new();
    hello::append_hello(&mut hello, protocol, me).map_err(|error| failed(error.to_string()))?;
    // A peer that refused and closed at once cannot be written to, but its reason can still be read.
    let _ = writer.write_all(&hello).await;
    let mut inbox = Inbox::default();
    let broken = |error| ConnectError::Protocol { path: path.to_owned(), error };
    loop {
        if let Some(frame) = inbox.next().map_err(broken)? {
            match frame.kind {
                Kind::Welcome => {
                    let welcome: Welcome = frame.decode().map_err(broken)?;
                    if Identity::check_name(&welcome.server.node).is_err() {
                        return Err(broken(FrameError::Body(Kind::Welcome)));
                    }
                    return Ok((reader, writer, inbox, welcome));
                }
                Kind::Refusal => return Err(ConnectError::TurnedAway(frame.decode().map_err(broken)?)),
                kind => {
                    return Err(broken(FrameError::Body(kind)));
                }
            }
        }
        match reader.read_buf(inbox.space()).await {
            Ok(0) => return Err(failed("the peer closed it before its welcome".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
}

/// Reads and writes for one connection until it ends, then fails what still waits.
async fn drive<R: DeserializeOwned>(link: Rc<Link<R>>, reader: OwnedReadHalf, inbox: Inbox) {
    let lost = match run(&link, reader, inbox).await {
        Ok(()) => Lost::Closed,
        Err(lost) => lost,
    };
    link.ended.set(Some(lost));
    link.end.notify_waiters();
    link.calls.borrow_mut().fail_all(lost);
}

/// The loop: take every reply at hand, write everything at hand, look once more, then park until either side has more.
async fn run<R: DeserializeOwned>(
    link: &Link<R>,
    mut reader: OwnedReadHalf,
    mut inbox: Inbox,
) -> Result<(), Lost> {
    let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
    let mut watched = None;
    let mut linger = Linger::new();
    while link.ended.get().is_none() {
        take_replies(link, &mut inbox)?;
        link.outbox.borrow_mut().send(|bytes| link.writer.try_write(bytes))?;
        let unsent = link.outbox.borrow().unsent() > 0;
        if watched != link.next_deadline.get() {
            watched = link.next_deadline.get();
            if let Some(deadline) = watched {
                alarm.as_mut().reset(deadline.into());
            }
        }
        // Only somebody who waits for a reply has one coming at any moment.
        let looked = if link.calls.borrow().any() && !unsent {
            linger
                .before_parking(|| match reader.try_read_buf(inbox.space()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        (link.outbox.borrow().unsent() > 0).then_some(Ok(None))
                    }
                    read => Some(read.map(Some)),
                })
                .await
        } else {
            None
        };
        match looked {
            Some(Ok(Some(0))) => return Ok(()),
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        tokio::select! {
            biased;
            read = reader.read_buf(inbox.space()) => {
                if read? == 0 {
                    return Ok(());
                }
            }
            () = link.changed.notified() => {}
            writable = link.writer.writable(), if unsent => writable?,
            () = alarm.as_mut(), if watched.is_some() => {
                link.next_deadline.set(link.calls.borrow_mut().expire(Instant::now()));
            }
        }
    }
    Ok(())
}

fn take_replies<R: DeserializeOwned>(link: &Link<R>, inbox: &mut Inbox) -> Result<(), Lost> {
    let mut calls = link.calls.borrow_mut();
    while let Some(frame) = inbox.next()? {
        match frame.kind {
            Kind::Reply => {
                calls.answer(frame.request, Ok(frame.decode()?)).map_err(|_| Lost::UnaskedReply)?;
            }
            kind => {
                return Err(Lost::Protocol(FrameError::Body(kind)));
            }
        }
    }
    Ok(())
}
