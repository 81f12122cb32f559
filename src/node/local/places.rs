//! How many connections a node serves, and for whom.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use nix::unistd::geteuid;

/// Connections that the holder of one certificate may have: one for each life of its node, and one that just ended.
const OF_A_CERTIFICATE: u32 = 4;

/// Who holds a connection, as the kernel or a certificate tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// A user of this machine.
    User(u32),
    /// A certificate, by the names it is for.
    Certificate(Vec<String>),
    /// Without certificates nothing else is known.
    Address(IpAddr),
}

/// Connections that are served. Own processes and root's may have all of them; every other holder has a share of its own, so
/// that none of them can keep the rest out.
#[derive(Clone, Debug)]
pub(super) struct Places {
    most: u32,
    /// What another user may have.
    share: u32,
    taken: Rc<RefCell<BTreeMap<Holder, u32>>>,
}

/// A place among them, taken until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Rc<RefCell<BTreeMap<Holder, u32>>>,
    holder: Holder,
}

impl Places {
    /// `others`: how many other users are let in.
    pub(super) fn new(most: u32, others: usize) -> Places {
        // Two shares stay for own processes, root's, and those that come over TCP.
        let shares = u32::try_from(others).unwrap_or(u32::MAX).saturating_add(2);
        Places { most, share: (most / shares).max(1), taken: Rc::default() }
    }

    /// A place for a connection of `holder`; an error says how many it or all together may have.
    pub(super) fn take(&self, holder: Holder) -> Result<Place, u32> {
        let own = match &holder {
            Holder::User(uid) if *uid == 0 || *uid == geteuid().as_raw() => self.most,
            Holder::User(_) | Holder::Address(_) => self.share,
            Holder::Certificate(_) => OF_A_CERTIFICATE,
        };
        let mut taken = self.taken.borrow_mut();
        if taken.values().sum::<u32>() >= self.most {
            return Err(self.most);
        }
        let held = taken.get(&holder).copied().unwrap_or_default();
        if held >= own {
            return Err(own);
        }
        taken.insert(holder.clone(), held + 1);
        Ok(Place { taken: Rc::clone(&self.taken), holder })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.borrow_mut();
        if let Some(held) = taken.get_mut(&self.holder) {
            *held -= 1;
            if *held == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_holder_can_take_the_places_of_the_others() {
        let own = Holder::User(geteuid().as_raw());
        let places = Places::new(12, 1);
        let all_of = |holder: &Holder| {
            let mut held = Vec::new();
            while let Ok(place) = places.take(holder.clone()) {
                held.push(place);
            }
            held
        };
        let user = all_of(&Holder::User(4_000_000));
        let certificate = all_of(&Holder::Certificate(vec!["client@1".to_owned()]));
        let address = all_of(&Holder::Address([127, 0, 0, 1].into()));
        assert_eq!((user.len(), certificate.len(), address.len()), (4, 4, 4));
        drop(address);
        assert_eq!(all_of(&own).len(), 4);
        drop((user, certificate));
        let all = all_of(&own);
        assert_eq!((all.len(), places.take(own).unwrap_err()), (12, 12));
        drop(all);
        assert!(places.taken.borrow().is_empty());
    }
}
