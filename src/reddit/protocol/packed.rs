//! Many of one kind in one answer.
//!
//! A front page shows some dozens of posts of which its reader looks at a few. They travel as they were encoded, in one
//! piece: the engine writes each from its tables, or copies what it wrote before, and a client reads those it looks at,
//! where they lie. Neither makes a text for each name and title on the way.

use std::fmt;
use std::marker::PhantomData;

use postcard::ser_flavors::Flavor;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};

/// What can be packed, and how it is seen inside.
pub trait Shown: DeserializeOwned {
    /// With texts that are borrowed.
    type Inside<'a>: Deserialize<'a>;
}

/// Many `V` in their order, encoded. From an engine of this version every one of them can be read; what could not would
/// be missing at the end.
#[derive(Clone, PartialEq, Eq)]
pub struct Packed<V> {
    count: u32,
    bytes: Vec<u8>,
    kind: PhantomData<fn() -> V>,
}

impl<V> Packed<V> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all together.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// None, with room for so many bytes.
    pub(in crate::reddit) fn with_room(bytes: usize) -> Packed<V> {
        Packed { count: 0, bytes: Vec::with_capacity(bytes), kind: PhantomData }
    }

    /// Adds one: `view` is encoded as a `V` is.
    pub(in crate::reddit) fn push(&mut self, view: &impl Serialize) {
        append(&mut self.bytes, view);
        self.count += 1;
    }

    /// Adds one that is encoded already.
    pub(in crate::reddit) fn push_encoded(&mut self, view: &[u8]) {
        self.bytes.extend_from_slice(view);
        self.count += 1;
    }

    /// Adds one that `write` encodes behind what is there.
    pub(in crate::reddit) fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        write(&mut self.bytes)?;
        self.count += 1;
        Ok(())
    }

    /// Takes the last one out again; they had `size` bytes without it.
    pub(in crate::reddit) fn take_back(&mut self, size: usize) {
        self.bytes.truncate(size);
        self.count -= 1;
    }
}

impl<V: Shown> Packed<V> {
    /// Each as it lies there.
    pub fn iter(&self) -> impl Iterator<Item = V::Inside<'_>> + '_ {
        self.read()
    }

    /// All of them, taken out.
    #[must_use]
    pub fn unpack(&self) -> Vec<V> {
        self.read().collect()
    }

    fn read<'a, W: Deserialize<'a>>(&'a self) -> impl Iterator<Item = W> + 'a {
        let mut rest = &self.bytes[..];
        (0..self.count).map_while(move |_| {
            let (view, after) = postcard::take_from_bytes(rest).ok()?;
            rest = after;
            Some(view)
        })
    }
}

impl<V: Shown + fmt::Debug> fmt::Debug for Packed<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.unpack()).finish()
    }
}

/// Encodes `value` behind what is there.
pub(in crate::reddit) fn append(bytes: &mut Vec<u8>, value: &impl Serialize) {
    postcard::serialize_with_flavor(value, Behind(bytes)).expect("anything can be encoded into memory");
}

struct Behind<'a>(&'a mut Vec<u8>);

impl Flavor for Behind<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        // Nearly all are numbers of a few bytes, for which a call of memcpy takes longer than the copy.
        match data {
            [one] => self.0.push(*one),
            _ => self.0.extend_from_slice(data),
        }
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

impl<V> Serialize for Packed<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_tuple(2)?;
        fields.serialize_element(&self.count)?;
        fields.serialize_element(&Bytes(&self.bytes))?;
        fields.end()
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de, V> Deserialize<'de> for Packed<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Packed<V>, D::Error> {
        let (count, OwnBytes(bytes)) = Deserialize::deserialize(deserializer)?;
        Ok(Packed { count, bytes, kind: PhantomData })
    }
}

/// Copied in one piece, where serde's own list of numbers is read number by number.
struct OwnBytes(Vec<u8>);

impl<'de> Deserialize<'de> for OwnBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OwnBytes, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = OwnBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<OwnBytes, E> {
                Ok(OwnBytes(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reddit::protocol::{CommentId, PostId, Tally, UserId, comment_manager::CommentView};

    fn view(number: u32, body: &str) -> CommentView<&str> {
        CommentView {
            id: CommentId(number),
            post: PostId(300),
            parent: None,
            depth: 1,
            author: UserId(7),
            author_name: "ada",
            body,
            created_ms: 1_700_000_000_000,
            tally: Tally { ups: 200, downs: 0 },
            below: 0,
            deleted: false,
        }
    }

    fn packed() -> Packed<CommentView> {
        let mut packed = Packed::with_room(0);
        packed.push(&view(1, "one"));
        packed.push(&view(2, ""));
        packed
    }

    #[test]
    fn what_was_packed_comes_out_in_its_order() {
        let bytes = postcard::to_stdvec(&packed()).unwrap();
        let read: Packed<CommentView> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!((read.len(), read.clone()), (2, packed()));
        assert_eq!(read.iter().collect::<Vec<_>>(), [view(1, "one"), view(2, "")]);
        let owned: Vec<String> = read.unpack().iter().map(|view| view.body.to_string()).collect();
        assert_eq!(owned, ["one", ""]);
        assert!(format!("{read:?}").contains("one"));
    }

    #[test]
    fn the_last_one_can_be_taken_back() {
        let mut packed = packed();
        let size = packed.size();
        packed.push(&view(3, "three"));
        packed.take_back(size);
        assert_eq!(packed, self::packed());
    }

    #[test]
    fn what_makes_no_sense_is_missing_and_nothing_worse() {
        let mut packed = packed();
        packed.count = u32::MAX;
        assert_eq!(packed.iter().count(), 2);
        packed.bytes.truncate(packed.bytes.len() - 1);
        assert_eq!(packed.iter().count(), 1);
        let bytes = postcard::to_stdvec(&(3u32, 200u32)).unwrap();
        assert!(postcard::from_bytes::<Packed<CommentView>>(&bytes).is_err());
    }
}
