//! The task of one link: reads, takes frames, writes, looks once more, parks.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::yield_now;

use super::super::answered::{Begun, Key};
use super::super::error::{Fault, Lost};
use super::super::frame::{Frame, FrameError, Kind};
use super::super::hello::Identity;
use super::super::inbox::Inbox;
use super::super::linger::Linger;
use super::super::local::Shared;
use super::super::mailbox::{Caller, Manner};
use super::super::names::{self, Better};
use super::super::transport::{self, Transport};
use super::{CASTS, Link, Notice, Side, UNREAD, UNSENT, UNTAKEN};

/// Works for one link until it ends, then fails what waits for it.
pub(in super::super) async fn drive(shared: &Shared, link: &Rc<Link>, inbox: Inbox) -> Lost {
    let wire = link.wire.borrow().clone();
    let Some(wire) = wire else { return Lost::Closed };
    let Err(lost) = run(shared, link, &*wire, inbox).await;
    // A last word, if there is one, is given to the kernel; whether it takes it changes nothing any more.
    let _ = link.outbox.borrow_mut().send(|bytes| wire.try_write(bytes));
    link.end(lost);
    link.wire.take();
    link.outbox.borrow_mut().discard();
    link.spare.take();
    link.calls.borrow_mut().fail_all(lost);
    lost
}

async fn run(
    shared: &Shared,
    link: &Rc<Link>,
    wire: &dyn Transport,
    mut inbox: Inbox,
) -> Result<Infallible, Lost> {
    let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
    let mut watched = None;
    let mut linger = Linger::new();
    loop {
        if take(shared, link, &mut inbox)? {
            // Whoever was woken by that writes now, so that it leaves in the same write.
            yield_now().await;
        }
        if let Some(lost) = link.ended.get() {
            return Err(lost);
        }
        let was = link.outbox.borrow().unsent();
        link.outbox.borrow_mut().send(|bytes| wire.try_write(bytes))?;
        let unsent = link.outbox.borrow().unsent();
        if was > UNSENT && unsent <= UNSENT {
            link.room.notify_waiters();
        }
        if was > 0 && unsent == 0 {
            link.empty.notify_waiters();
        }
        if watched != link.next_deadline.get() {
            watched = link.next_deadline.get();
            if let Some(deadline) = watched {
                alarm.as_mut().reset(deadline.into());
            }
        }
        let waits = link.calls.borrow().any();
        // Only somebody who waits for a reply has one coming at any moment.
        if waits && unsent == 0 {
            let looked = linger
                .before_parking(|| match wire.try_read(inbox.space()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        (link.outbox.borrow().unsent() > 0 || link.ended.get().is_some()).then_some(Ok(None))
                    }
                    read => Some(read.map(Some)),
                })
                .await;
            match looked {
                Some(Ok(Some(0))) => return Err(Lost::Closed),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(error.into()),
                None => {}
            }
        }
        // A peer that does not read its replies, or asks for more than is taken, waits: but not while this side itself
        // waits for its replies, or two such peers would wait for each other.
        let may_read = link.untaken.get() <= UNTAKEN && (unsent <= UNSENT || waits);
        tokio::select! {
            biased;
            // In a block, because a branch that is switched off is still evaluated, and there may be no space then.
            read = async { transport::read(wire, inbox.space()).await }, if may_read => {
                if read? == 0 {
                    return Err(Lost::Closed);
                }
            }
            () = link.changed.notified() => {}
            writable = transport::writable(wire), if unsent > 0 => writable?,
            () = alarm.as_mut(), if watched.is_some() => {
                link.next_deadline.set(link.calls.borrow_mut().expire(Instant::now()));
            }
        }
    }
}

/// Takes every whole frame that was read. `false`: there was none.
fn take(shared: &Shared, link: &Rc<Link>, inbox: &mut Inbox) -> Result<bool, Lost> {
    let mut any = false;
    while let Some(frame) = inbox.next()? {
        any = true;
        link.received.set(link.received.get() + frame.size as u64);
        match frame.kind {
            Kind::Call => request(shared, link, &frame, Kind::Call)?,
            Kind::Cast => request(shared, link, &frame, Kind::Cast)?,
            Kind::Once => request(shared, link, &frame, Kind::Once)?,
            Kind::Reply | Kind::Pong => {
                let mut body = link.spare.borrow_mut().pop().unwrap_or_default();
                body.extend_from_slice(frame.body);
                answer(link, frame.request, Ok(body))?;
            }
            Kind::Fault => answer(link, frame.request, Err(frame.decode()?))?,
            Kind::Notice => notice(shared, link, frame.request, frame.decode()?)?,
            Kind::Ping => {
                must_read(link)?;
                link.outbox.borrow_mut().append(Kind::Pong, frame.request, &())?;
            }
            kind @ (Kind::Hello | Kind::Welcome | Kind::Refusal) => {
                return Err(FrameError::Body(kind).into());
            }
        }
    }
    Ok(any)
}

/// Whoever still asks must have read most of what it asked for before.
fn must_read(link: &Link) -> Result<(), Lost> {
    if link.outbox.borrow().unsent() > UNREAD { Err(Lost::NotReading) } else { Ok(()) }
}

fn answer(link: &Link, id: u32, reply: Result<Vec<u8>, Fault>) -> Result<(), Lost> {
    link.calls.borrow_mut().answer(id, reply).map_err(|_| Lost::UnaskedReply)
}

/// A request: to its mailbox, unless it was answered before.
fn request(shared: &Shared, link: &Rc<Link>, frame: &Frame<'_>, kind: Kind) -> Result<(), Lost> {
    must_read(link)?;
    let broken = |_| FrameError::Body(kind);
    let (mailbox, mut body): (u32, _) = postcard::take_from_bytes(frame.body).map_err(broken)?;
    let manner = match kind {
        Kind::Cast => {
            if link.their_casts.get() >= CASTS {
                return Err(Lost::Flooded);
            }
            link.their_casts.set(link.their_casts.get() + 1);
            Manner::Cast
        }
        kind => {
            if link.in_flight.get() >= link.serves {
                return Err(Lost::Flooded);
            }
            link.in_flight.set(link.in_flight.get() + 1);
            if kind == Kind::Once {
                let (number, rest): (u64, _) = postcard::take_from_bytes(body).map_err(broken)?;
                body = rest;
                let key = Key { origin: link.origin, number };
                match link.answers.borrow_mut().begin(key, (Rc::clone(link), frame.request)) {
                    Begun::New => Manner::Once(key),
                    Begun::UnderWay => return Ok(()),
                    Begun::Done(reply) => {
                        link.answer_body(frame.request, reply);
                        return Ok(());
                    }
                }
            } else {
                Manner::Call
            }
        }
    };
    link.untaken.set(link.untaken.get() + frame.size);
    let caller = Caller::new(Rc::clone(link), frame.request, manner, frame.size);
    let sink = shared.mailboxes.borrow().get(&mailbox).cloned();
    match sink {
        Some(sink) => sink.put(caller, body),
        None => caller.refuse(Fault::NoMailbox),
    }
    Ok(())
}

fn notice(shared: &Shared, link: &Rc<Link>, id: u32, notice: Notice) -> Result<(), Lost> {
    match notice {
        Notice::Names(list) => {
            let many = shared.names.borrow().count(link.serial) + list.len() > names::MOST;
            if link.named.get() || many {
                return Err(FrameError::Body(Kind::Notice).into());
            }
            for (name, mailbox) in list {
                if let Err(holder) = hold(shared, link, &name, mailbox, Better::Ours)? {
                    link.tell(&Notice::Conflict { name: name.clone(), holder });
                    *link.conflict.borrow_mut() = Some((name, link.peer.identity.clone()));
                    return Err(Lost::NameTwice);
                }
            }
        }
        Notice::Ready => {
            link.named.set(true);
            if link.dialed_by == Side::Them {
                link.tell(&Notice::Ready);
            }
            link.news.notify_waiters();
            shared.changed.notify_waiters();
        }
        Notice::Claim { name, mailbox } => {
            if shared.names.borrow().count(link.serial) >= names::MOST {
                return Err(FrameError::Body(Kind::Notice).into());
            }
            let better = Better::of(&shared.me.identity, &link.peer.identity);
            let held = hold(shared, link, &name, mailbox, better)?.err();
            link.outbox.borrow_mut().append(Kind::Reply, id, &held)?;
            shared.changed.notify_waiters();
        }
        Notice::Release { name } => shared.names.borrow_mut().release(&name, link.serial),
        Notice::Gone { mailbox } => {
            shared.names.borrow_mut().gone(mailbox, Some(link.serial));
            link.alive.borrow_mut().remove(&mailbox);
            link.watchers.borrow_mut().gone(link.node(), mailbox);
        }
        Notice::Took(count) => {
            let left = link.casts.get().checked_sub(count).ok_or(FrameError::Body(Kind::Notice))?;
            link.casts.set(left);
            link.room.notify_waiters();
        }
        Notice::Conflict { name, holder } => {
            *link.conflict.borrow_mut() = Some((name, holder));
            return Err(Lost::NameTwice);
        }
        Notice::Bye => return Err(Lost::Ended),
    }
    Ok(())
}

/// The peer has, or wants, a name. The inner error says who has it.
fn hold(
    shared: &Shared,
    link: &Rc<Link>,
    name: &str,
    mailbox: u32,
    better: Better,
) -> Result<Result<(), Identity>, Lost> {
    if Identity::check_name(name).is_err() || link.alive.borrow().len() >= names::MOST {
        return Err(FrameError::Body(Kind::Notice).into());
    }
    let taken = shared.names.borrow_mut().take(name, mailbox, link.serial, better);
    Ok(match taken {
        Ok(()) => {
            link.alive.borrow_mut().insert(mailbox);
            Ok(())
        }
        Err(holder) => Err(shared.holder(holder)),
    })
}
