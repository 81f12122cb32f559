//! The bytes of a packet: version, tag, then the fields in order, all little-endian. Descriptors travel beside them.
//!
//! Keeper and supervisor process may be of different versions during an upgrade. So fields are only ever added at the
//! end: a longer packet than known is read as far as it is known, a shorter one or an unknown tag is passed over.

use nix::errno::Errno;
use nix::unistd::Pid;

use super::protocol::{Beginning, ExitRecord, FromKeeper, Key, LEFT_NAMES, Left, NAME_MAX, Reach, ToKeeper};
use crate::os::socket::Fds;

/// Longest packet; a buffer of this size reads any.
pub(super) const PACKET_MAX: usize = 256;

/// Version of the packets. Another one is not understood.
pub(super) const VERSION: u8 = 1;

const REGISTER: u8 = 1;
const FAILED: u8 = 2;
const ACK: u8 = 3;
const STORE: u8 = 4;
const UNSTORE: u8 = 5;
const UP: u8 = 6;
const FINISH: u8 = 7;
const ALIVE: u8 = 8;
const PROGRAM: u8 = 9;
const STOPPING: u8 = 10;

const CHILD: u8 = 65;
const STORED: u8 = 66;
const SNAPSHOT_END: u8 = 67;
const EXITED: u8 = 68;
const STOP: u8 = 69;
const STOP_NOW: u8 = 70;
const PING: u8 = 71;

/// What the keeper hears, from the supervisor process and from children on their way to exec.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// The sender is the process of this key, begun at this time (`CLOCK_MONOTONIC`, ns).
    Register(Key, Reach, Option<u64>),
    /// The sender will not come to exec: step and errno.
    Failed(Key, i32, Errno),
    Ack(Key),
    Store(&'a str),
    Unstore(&'a str),
    Up,
    Finish(u8),
    Alive,
    Program,
    /// The longest stop in nanoseconds.
    Stopping(Option<u64>),
}

/// A packet being written, on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    bytes: [u8; PACKET_MAX],
    len: usize,
}

impl Bytes {
    fn new(tag: u8) -> Bytes {
        Bytes { bytes: [0; PACKET_MAX], len: 0 }.with(&[VERSION, tag])
    }

    /// Every packet below fits; what would not is cut off and then refused by its reader.
    fn with(mut self, field: &[u8]) -> Bytes {
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(field) {
            *place = *byte;
        }
        self.len = (self.len + field.len()).min(PACKET_MAX);
        self
    }

    fn with_key(self, key: Key) -> Bytes {
        self.with(&key.node.to_le_bytes()).with(&key.run.to_le_bytes())
    }

    fn with_left(self, left: &Left) -> Bytes {
        let named = left.places().iter();
        let bytes = self.with(&left.more.to_le_bytes());
        named.fold(bytes, |bytes, (pid, name)| bytes.with(&pid.to_le_bytes()).with(name))
    }

    fn with_name(self, name: &str) -> Bytes {
        self.with(&[name.len() as u8]).with(name.as_bytes())
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

pub(super) fn register(key: Key, reach: Reach, born_ns: u64) -> Bytes {
    let reach: u8 = match reach {
        Reach::Tree => 0,
        Reach::Group => 1,
        Reach::Process => 2,
    };
    Bytes::new(REGISTER).with_key(key).with(&[reach]).with(&born_ns.to_le_bytes())
}

/// The child appends step and errno.
pub(super) fn failed(key: Key) -> Bytes {
    Bytes::new(FAILED).with_key(key)
}

/// `None`: a name is empty or too long.
pub(super) fn to_keeper(message: &ToKeeper) -> Option<Bytes> {
    let named =
        |tag, name: &str| (1..=NAME_MAX).contains(&name.len()).then(|| Bytes::new(tag).with_name(name));
    match message {
        ToKeeper::Ack(key) => Some(Bytes::new(ACK).with_key(*key)),
        ToKeeper::Store(name, _) => named(STORE, name),
        ToKeeper::Unstore(name) => named(UNSTORE, name),
        ToKeeper::Up => Some(Bytes::new(UP)),
        ToKeeper::Finish(code) => Some(Bytes::new(FINISH).with(&[*code])),
        ToKeeper::Alive => Some(Bytes::new(ALIVE)),
        ToKeeper::Stopping(longest) => {
            let longest = longest.map_or(u64::MAX, |it| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX));
            Some(Bytes::new(STOPPING).with(&longest.to_le_bytes()))
        }
        ToKeeper::Program(_) => Some(Bytes::new(PROGRAM)),
    }
}

/// Its pidfd and then its outputs travel along.
pub(super) fn child(key: Key, pid: Pid, born_ns: u64) -> Bytes {
    Bytes::new(CHILD).with_key(key).with(&pid.as_raw().to_le_bytes()).with(&born_ns.to_le_bytes())
}

/// Its descriptor travels along.
pub(super) fn stored(name: &str) -> Bytes {
    Bytes::new(STORED).with_name(name)
}

pub(super) fn snapshot_end(incarnation: u32, orphans: u64, beginning: Beginning) -> Bytes {
    let (kind, status): (u8, i32) = match beginning {
        Beginning::Usual => (0, 0),
        Beginning::Upgraded => (1, 0),
        Beginning::RolledBack { status } => (2, status),
        Beginning::Safe { status } => (3, status),
    };
    Bytes::new(SNAPSHOT_END)
        .with(&incarnation.to_le_bytes())
        .with(&orphans.to_le_bytes())
        .with(&[kind])
        .with(&status.to_le_bytes())
}

pub(super) fn exited(record: &ExitRecord) -> Bytes {
    let (step, errno) = record.birth_failed.map_or((0, 0), |(step, errno)| (step, errno as i32));
    Bytes::new(EXITED)
        .with_key(record.key)
        .with(&record.pid.as_raw().to_le_bytes())
        .with(&record.status.to_le_bytes())
        .with(&record.user_us.to_le_bytes())
        .with(&record.system_us.to_le_bytes())
        .with(&record.max_rss_kib.to_le_bytes())
        .with(&record.at_ns.to_le_bytes())
        .with(&step.to_le_bytes())
        .with(&errno.to_le_bytes())
        .with(&record.born_ns.to_le_bytes())
        .with_left(&record.left)
}

pub(super) fn stop() -> Bytes {
    Bytes::new(STOP)
}

pub(super) fn stop_now() -> Bytes {
    Bytes::new(STOP_NOW)
}

pub(super) fn ping() -> Bytes {
    Bytes::new(PING)
}

/// Reads what the keeper received. `None`: unknown, too short, or not well formed.
pub(super) fn heard(packet: &[u8]) -> Option<Heard<'_>> {
    let mut fields = Fields(packet);
    match fields.tag()? {
        REGISTER => Some(Heard::Register(fields.key()?, fields.reach(), fields.u64())),
        FAILED => Some(Heard::Failed(fields.key()?, fields.i32()?, Errno::from_raw(fields.i32()?))),
        ACK => Some(Heard::Ack(fields.key()?)),
        STORE => Some(Heard::Store(fields.name()?)),
        UNSTORE => Some(Heard::Unstore(fields.name()?)),
        UP => Some(Heard::Up),
        FINISH => Some(Heard::Finish(fields.u8()?)),
        ALIVE => Some(Heard::Alive),
        PROGRAM => Some(Heard::Program),
        STOPPING => Some(Heard::Stopping(fields.u64().filter(|longest| *longest != u64::MAX))),
        _ => None,
    }
}

/// Reads what the supervisor process received. `None` as above, or a descriptor is missing.
pub(super) fn from_keeper(packet: &[u8], fds: Fds) -> Option<FromKeeper> {
    let mut fields = Fields(packet);
    let mut fds = fds.into_iter();
    match fields.tag()? {
        CHILD => Some(FromKeeper::Child {
            key: fields.key()?,
            pid: fields.pid()?,
            born_ns: fields.u64(),
            pidfd: fds.next()?,
            outputs: fds.collect(),
        }),
        STORED => Some(FromKeeper::Stored { name: fields.name()?.to_owned(), fd: fds.next()? }),
        SNAPSHOT_END => Some(FromKeeper::SnapshotEnd {
            incarnation: fields.i32()?.cast_unsigned(),
            orphans: fields.u64()?,
            beginning: fields.beginning()?,
        }),
        EXITED => Some(FromKeeper::Exited(fields.exit_record()?)),
        STOP => Some(FromKeeper::Stop),
        STOP_NOW => Some(FromKeeper::StopNow),
        PING => Some(FromKeeper::Ping),
        _ => None,
    }
}

/// What is left to read of a packet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn tag(&mut self) -> Option<u8> {
        let [version, tag] = self.take()?;
        (version == VERSION).then_some(tag)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn key(&mut self) -> Option<Key> {
        Some(Key { node: self.i32()?.cast_unsigned(), run: self.i32()?.cast_unsigned() })
    }

    /// Never 0 or negative: such a number means a group to `kill(2)`.
    fn pid(&mut self) -> Option<Pid> {
        self.i32().filter(|pid| *pid > 0).map(Pid::from_raw)
    }

    fn name(&mut self) -> Option<&'a str> {
        let len = usize::from(self.u8()?);
        let (name, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(name).ok().filter(|name| (1..=NAME_MAX).contains(&name.len()))
    }

    fn beginning(&mut self) -> Option<Beginning> {
        match (self.u8()?, self.i32()?) {
            (1, _) => Some(Beginning::Upgraded),
            (2, status) => Some(Beginning::RolledBack { status }),
            (3, status) => Some(Beginning::Safe { status }),
            _ => Some(Beginning::Usual),
        }
    }

    fn reach(&mut self) -> Reach {
        match self.u8() {
            Some(1) => Reach::Group,
            Some(2) => Reach::Process,
            _ => Reach::Tree,
        }
    }

    fn left(&mut self) -> Option<Left> {
        let mut left = Left::default();
        let more = self.i32()?.cast_unsigned();
        for _ in 0..LEFT_NAMES {
            let (pid, name) = (self.i32()?, self.take()?);
            if pid > 0 {
                left.add(pid, name);
            }
        }
        left.more = more;
        Some(left)
    }

    fn exit_record(&mut self) -> Option<ExitRecord> {
        let record = ExitRecord {
            key: self.key()?,
            pid: self.pid()?,
            status: self.i32()?,
            user_us: self.u64()?,
            system_us: self.u64()?,
            max_rss_kib: self.u64()?,
            at_ns: self.u64()?,
            born_ns: 0,
            left: Left::default(),
            birth_failed: match (self.i32()?, self.i32()?) {
                (0, _) => None,
                (step, errno) => Some((step, Errno::from_raw(errno))),
            },
        };
        // The first keepers did not tell it; a life of no length is better than an exit that is passed over.
        Some(ExitRecord {
            born_ns: self.u64().unwrap_or(record.at_ns),
            left: self.left().unwrap_or_default(),
            ..record
        })
    }
}

#[cfg(test)]
mod tests;
