//! Descriptors that must outlive supervisor processes, by name: listening sockets, what children gave away to be kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::protocol::NAME_MAX;

/// Most entries, whatever the limit of open files.
const MOST: u64 = 65_536;

/// One kept descriptor.
#[derive(Debug)]
pub(super) struct Stored {
    name: [u8; NAME_MAX],
    len: usize,
    pub(super) fd: OwnedFd,
    /// Whether the present supervisor process knows of it.
    pub(super) told: bool,
}

impl Stored {
    pub(super) fn name(&self) -> &str {
        self.name.get(..self.len).and_then(|name| str::from_utf8(name).ok()).unwrap_or_default()
    }
}

/// All of them. Allocated once.
#[derive(Debug)]
pub(super) struct Store {
    list: Vec<Stored>,
}

impl Store {
    /// Room for as many as the limit of open files allows.
    pub(super) fn with_room(open_files: u64) -> Store {
        Store { list: Vec::with_capacity(open_files.min(MOST) as usize) }
    }

    /// Keeps a descriptor, in place of an older one of the same name. Closes it if there is no room.
    pub(super) fn put(&mut self, name: &str, fd: OwnedFd) {
        self.remove(name);
        if self.list.len() == self.list.capacity() || name.len() > NAME_MAX {
            return;
        }
        let mut bytes = [0; NAME_MAX];
        for (place, byte) in bytes.iter_mut().zip(name.bytes()) {
            *place = byte;
        }
        self.list.push(Stored { name: bytes, len: name.len(), fd, told: true });
    }

    /// Closes a kept descriptor.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(at) = self.list.iter().position(|stored| stored.name() == name) {
            self.list.remove(at);
        }
    }

    /// A new supervisor process knows nothing.
    pub(super) fn forget_told(&mut self) {
        self.list.iter_mut().for_each(|stored| stored.told = false);
    }

    /// The kept descriptor of this name.
    pub(super) fn get(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.list.iter().find(|stored| stored.name() == name).map(|stored| stored.fd.as_fd())
    }

    /// In the order they were put.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stored> {
        self.list.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    fn names(store: &mut Store) -> Vec<String> {
        store.iter_mut().map(|stored| stored.name().to_owned()).collect()
    }

    #[test]
    fn a_name_is_kept_once_and_the_last_one_counts() {
        let mut store = Store::with_room(100);
        store.put("a", file());
        store.put("b", file());
        store.put("a", file());
        assert_eq!(names(&mut store), ["b", "a"]);
        store.remove("b");
        store.remove("never there");
        assert!(store.get("a").is_some() && store.get("b").is_none());
        assert_eq!(names(&mut store), ["a"]);
    }

    #[test]
    fn a_full_store_keeps_what_it_has() {
        let mut store = Store::with_room(8);
        let room = store.list.capacity();
        for n in 0..room + 3 {
            store.put(&n.to_string(), file());
        }
        assert_eq!(store.list.len(), room);
        assert_eq!(store.list.capacity(), room, "the store grew");
    }
}
