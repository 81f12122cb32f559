//! Who holds which name: pure bookkeeping, no I/O.
//!
//! Each node keeps the names of itself and of every node it is connected to, as `global` keeps them on every node.

use std::collections::BTreeMap;

use super::hello::Identity;

/// Names that one peer may have. More is no honest peer.
pub(super) const MOST: usize = 4096;

/// This node, or the connection to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// This node. `asking`: other nodes have not yet all agreed.
    Own { asking: bool },
    /// The node behind the link of this serial.
    Peer(u64),
}

/// A mailbox somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) holder: Holder,
    pub(super) mailbox: u32,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    held: BTreeMap<String, Place>,
}

impl Names {
    pub(super) fn find(&self, name: &str) -> Option<Place> {
        self.held.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Place)> {
        self.held.iter().map(|(name, place)| (name.as_str(), *place))
    }

    /// Names of this node, as its peers are to know them.
    pub(super) fn own(&self) -> Vec<(String, u32)> {
        let own = self.held.iter().filter(|(_, place)| matches!(place.holder, Holder::Own { .. }));
        own.map(|(name, place)| (name.clone(), place.mailbox)).collect()
    }

    pub(super) fn count(&self, link: u64) -> usize {
        self.held.values().filter(|place| place.holder == Holder::Peer(link)).count()
    }

    /// This node wants `name`; it has it once its peers agree. An error says who has it.
    pub(super) fn ask(&mut self, name: &str, mailbox: u32) -> Result<(), Holder> {
        match self.held.get(name) {
            Some(place) => Err(place.holder),
            None => {
                self.held.insert(name.to_owned(), Place { holder: Holder::Own { asking: true }, mailbox });
                Ok(())
            }
        }
    }

    /// All peers agreed. `false`: meanwhile the name went to one with the better claim.
    pub(super) fn agreed(&mut self, name: &str, mailbox: u32) -> bool {
        match self.held.get_mut(name) {
            Some(place) if place.mailbox == mailbox && matches!(place.holder, Holder::Own { .. }) => {
                place.holder = Holder::Own { asking: false };
                true
            }
            Some(_) | None => false,
        }
    }

    /// This node gives `name` up, if it has it.
    pub(super) fn give_up(&mut self, name: &str, mailbox: u32) -> bool {
        let own = |place: &Place| place.mailbox == mailbox && matches!(place.holder, Holder::Own { .. });
        let has = self.held.get(name).is_some_and(own);
        if has {
            self.held.remove(name);
        }
        has
    }

    /// The peer behind `link` says that it has `name`, or wants it. Where both want it at once, `theirs` says whose claim
    /// is better; both sides come to the same answer.
    pub(super) fn take(&mut self, name: &str, mailbox: u32, link: u64, better: Better) -> Result<(), Holder> {
        match self.held.get(name).map(|place| place.holder) {
            Some(Holder::Own { asking: true }) if better == Better::Theirs => {}
            Some(Holder::Peer(holder)) if holder == link => {}
            Some(holder) => return Err(holder),
            None => {}
        }
        self.held.insert(name.to_owned(), Place { holder: Holder::Peer(link), mailbox });
        Ok(())
    }

    /// The peer behind `link` gave `name` up.
    pub(super) fn release(&mut self, name: &str, link: u64) {
        if self.held.get(name).is_some_and(|place| place.holder == Holder::Peer(link)) {
            self.held.remove(name);
        }
    }

    /// A mailbox is gone, and its names with it. Tells them.
    pub(super) fn gone(&mut self, mailbox: u32, link: Option<u64>) -> Vec<String> {
        let holder = |place: &Place| match place.holder {
            Holder::Own { .. } => link.is_none(),
            Holder::Peer(serial) => link == Some(serial),
        };
        let of_it = self.held.iter().filter(|(_, place)| place.mailbox == mailbox && holder(place));
        let gone: Vec<String> = of_it.map(|(name, _)| name.clone()).collect();
        self.held.retain(|name, _| !gone.contains(name));
        gone
    }

    /// The link ended: all names of its node vanish.
    pub(super) fn forget(&mut self, link: u64) {
        self.held.retain(|_, place| place.holder != Holder::Peer(link));
    }
}

/// Which of two claims made at one time is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Ours,
    Theirs,
}

impl Better {
    /// The older node's.
    pub(super) fn of(ours: &Identity, theirs: &Identity) -> Better {
        let age = |identity: &Identity| (identity.incarnation, identity.node.clone());
        if age(theirs) < age(ours) { Better::Theirs } else { Better::Ours }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKING: Holder = Holder::Own { asking: true };

    #[test]
    fn a_name_has_one_holder_and_others_are_told_who() {
        let mut names = Names::default();
        names.ask("users", 1).unwrap();
        assert_eq!(names.ask("users", 2), Err(ASKING));
        assert!(names.agreed("users", 1));
        let own = Holder::Own { asking: false };
        assert_eq!(names.take("users", 7, 3, Better::Theirs), Err(own), "an agreed name is not taken away");
        names.take("posts", 7, 3, Better::Ours).unwrap();
        assert_eq!(names.ask("posts", 1), Err(Holder::Peer(3)));
        assert_eq!(names.take("posts", 9, 4, Better::Theirs), Err(Holder::Peer(3)));
    }

    #[test]
    fn of_two_who_ask_at_once_exactly_one_gets_the_name() {
        let (mut a, mut b) = (Names::default(), Names::default());
        a.ask("users", 1).unwrap();
        b.ask("users", 2).unwrap();
        assert_eq!(a.take("users", 2, 10, Better::Ours), Err(ASKING));
        b.take("users", 1, 20, Better::Theirs).unwrap();
        assert!(a.agreed("users", 1));
        assert!(!b.agreed("users", 2));
        assert!(!b.give_up("users", 2), "what was taken away is not given up a second time");
    }

    #[test]
    fn names_vanish_with_their_mailbox_and_with_their_link() {
        let mut names = Names::default();
        for (name, mailbox, link) in [("a", 1, 3), ("b", 1, 3), ("c", 2, 3), ("d", 1, 4)] {
            names.take(name, mailbox, link, Better::Ours).unwrap();
        }
        names.ask("own", 1).unwrap();
        assert_eq!(names.gone(1, Some(3)), ["a", "b"]);
        names.forget(3);
        let left: Vec<_> = names.iter().map(|(name, _)| name).collect();
        assert_eq!(left, ["d", "own"]);
        assert_eq!(names.gone(1, None), ["own"]);
    }

    #[test]
    fn only_the_holder_releases_a_name() {
        let mut names = Names::default();
        names.take("a", 1, 3, Better::Ours).unwrap();
        names.release("a", 4);
        assert_eq!(names.count(3), 1);
        names.release("a", 3);
        assert_eq!(names.find("a"), None);
    }
}
