//! The entries of one turn as bytes: pure, no I/O.
//!
//! ```text
//! check u64 LE | length u32 LE | count u32 LE | first u64 LE | entries (postcard)
//! ```
//!
//! `first` is the sequence number of the first entry and `length` counts the bytes of the entries. `check` is the xxh3
//! of everything after it.

use xxhash_rust::xxh3::xxh3_64;

use crate::reddit::model::Entry;

/// Bytes before the entries.
pub(super) const HEADER: usize = 24;

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

    /// Completes the group whose first entry is number `first`, and returns its bytes and how many entries it has.
    pub(super) fn finish(&mut self, first: u64) -> (&[u8], u32) {
        let length = (self.bytes.len() - HEADER) as u32;
        self.bytes[8..12].copy_from_slice(&length.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&first.to_le_bytes());
        let check = xxh3_64(&self.bytes[8..]);
        self.bytes[..8].copy_from_slice(&check.to_le_bytes());
        (&self.bytes, std::mem::take(&mut self.count))
    }
}

/// A whole group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole<'a> {
    pub(super) first: u64,
    pub(super) count: u32,
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
pub(super) fn parse(bytes: &[u8]) -> Result<Whole<'_>, Broken> {
    let header = bytes.get(..HEADER).ok_or(Broken::Short)?;
    let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let count = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    if length == 0 || length > LARGEST || count == 0 {
        return Err(Broken::Check);
    }
    let entries = bytes.get(HEADER..HEADER + length).ok_or(Broken::Short)?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
    if xxh3_64(&bytes[8..HEADER + length]) != number(0) {
        return Err(Broken::Check);
    }
    Ok(Whole { first: number(16), count, entries })
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

/// Whether a whole group with number `first` or later begins anywhere in `bytes` but at its beginning: then what stands
/// before it was once finished, and is damaged.
pub(super) fn any_after(bytes: &[u8], first: u64) -> bool {
    next_whole(bytes, 1, first).is_some()
}

/// The number behind the last entry of all whole groups in `bytes` with number `first` or later.
pub(super) fn end_of_whole(bytes: &[u8], first: u64) -> Option<u64> {
    let (mut at, mut end) = (0, None);
    while let Some((begin, group)) = next_whole(bytes, at, first) {
        at = begin + group.len();
        end = end.max(Some(group.first + u64::from(group.count)));
    }
    end
}

/// The next whole group with number `first` or later that begins at `from` or behind it, and where.
fn next_whole(bytes: &[u8], from: usize, first: u64) -> Option<(usize, Whole<'_>)> {
    // Looked at before the sum, which is much more work. Nobody writes that many entries.
    let near = |at: usize| {
        let number = bytes.get(at + 16..at + HEADER).and_then(|bytes| bytes.try_into().ok());
        number.map(u64::from_le_bytes).is_some_and(|number| (first..first + (1 << 40)).contains(&number))
    };
    let whole = |at: usize| parse(&bytes[at..]).ok().map(|group| (at, group));
    (from..bytes.len()).filter(|&at| near(at)).find_map(whole)
}
