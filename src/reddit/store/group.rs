//! The entries of one turn as bytes: pure, no I/O.
//!
//! ```text
//! check u64 LE | length u32 LE | count u32 LE | first u64 LE | synced u64 LE | entries (postcard)
//! ```
//!
//! `first` is the sequence number of the first entry and `length` counts the bytes of the entries. All entries before
//! number `synced` were on the disk before this group was written. `check` is the xxh3 of everything after it, seeded with
//! the store's nonce: nobody can post a text that looks like a group.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::reddit::model::Entry;

/// Bytes before the entries.
pub(super) const HEADER: usize = 32;

/// A group is closed when its entries have this many bytes.
pub(super) const CLOSED: usize = 1 << 20;

/// No group has more: a closed group and the largest entry.
const LARGEST: usize = CLOSED + (1 << 18);

/// A group that is being filled.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    count: u32,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.bytes.len() >= HEADER + CLOSED
    }

    /// Adds an entry and returns how long the group has become.
    pub(super) fn push(&mut self, entry: &Entry) -> usize {
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.resize(HEADER, 0);
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(entry, bytes).expect("an entry can always be encoded into memory");
        self.count += 1;
        self.bytes.len()
    }

    /// Takes the last entry out again; the group was `length` long without it.
    pub(super) fn take_back(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.count -= 1;
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        if self.is_empty() { 0 } else { self.bytes.len() }
    }

    /// Completes the group whose first entry is number `first`, when those before `synced` are on the disk. Returns its
    /// bytes and how many entries it has.
    pub(super) fn finish(&mut self, first: u64, synced: u64, nonce: u64) -> (&[u8], u32) {
        let length = (self.bytes.len() - HEADER) as u32;
        self.bytes[8..12].copy_from_slice(&length.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&first.to_le_bytes());
        self.bytes[24..32].copy_from_slice(&synced.to_le_bytes());
        let check = xxh3_64_with_seed(&self.bytes[8..], nonce);
        self.bytes[..8].copy_from_slice(&check.to_le_bytes());
        (&self.bytes, std::mem::take(&mut self.count))
    }
}

/// A whole group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole<'a> {
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) synced: u64,
    entries: &'a [u8],
}

/// Why there is no group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The bytes end before it does.
    Short,
    /// The check does not fit.
    Check,
}

/// The group at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8], nonce: u64) -> Result<Whole<'_>, Broken> {
    let header = bytes.get(..HEADER).ok_or(Broken::Short)?;
    let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let count = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    if length == 0 || length > LARGEST || count == 0 {
        return Err(Broken::Check);
    }
    let entries = bytes.get(HEADER..HEADER + length).ok_or(Broken::Short)?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
    if xxh3_64_with_seed(&bytes[8..HEADER + length], nonce) != number(0) {
        return Err(Broken::Check);
    }
    Ok(Whole { first: number(16), count, synced: number(24), entries })
}

/// The number of the first entry of the whole group at the beginning of `bytes`, and how many bytes it has.
pub(super) fn extent(bytes: &[u8]) -> Option<(u64, usize)> {
    let header = bytes.get(..HEADER)?;
    let length = u32::from_le_bytes(header[8..12].try_into().ok()?) as usize;
    Some((u64::from_le_bytes(header[16..24].try_into().ok()?), HEADER + length))
}

impl Whole<'_> {
    /// Bytes of the whole group.
    pub(super) fn len(&self) -> usize {
        HEADER + self.entries.len()
    }

    /// Hands over each entry.
    ///
    /// # Errors
    /// How many were read when the next one made no sense, or that of `each`.
    pub(super) fn for_each<E>(
        &self,
        mut each: impl FnMut(Entry) -> Result<(), E>,
        unreadable: impl Fn(u32) -> E,
    ) -> Result<(), E> {
        let mut rest = self.entries;
        for number in 0..self.count {
            let (entry, after) = postcard::take_from_bytes(rest).map_err(|_| unreadable(number))?;
            rest = after;
            each(entry)?;
        }
        if rest.is_empty() { Ok(()) } else { Err(unreadable(self.count)) }
    }
}

/// What whole groups tell that stand behind something that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// The number behind the last entry of all of them; 0 without a whole group.
    pub(super) end: u64,
    /// All entries before this number were on the disk.
    pub(super) synced: u64,
}

impl Behind {
    /// Adds what the whole groups in `bytes` tell that have number `first` or later.
    pub(super) fn look(&mut self, bytes: &[u8], first: u64, nonce: u64) {
        let mut at = 0;
        while let Some((begin, group)) = next_whole(bytes, at, first, nonce) {
            at = begin + group.len();
            self.end = self.end.max(group.first + u64::from(group.count));
            self.synced = self.synced.max(group.synced);
        }
    }
}

/// The next whole group with number `first` or later that begins at `from` or behind it, and where.
fn next_whole(bytes: &[u8], from: usize, first: u64, nonce: u64) -> Option<(usize, Whole<'_>)> {
    // Looked at before the sum, which is much more work. Nobody writes that many entries.
    let near = |at: usize| {
        let number = bytes.get(at + 16..at + 24).and_then(|bytes| bytes.try_into().ok());
        number.map(u64::from_le_bytes).is_some_and(|number| (first..first + (1 << 40)).contains(&number))
    };
    let whole = |at: usize| parse(&bytes[at..], nonce).ok().map(|group| (at, group));
    (from..bytes.len()).filter(|&at| near(at)).find_map(whole)
}
