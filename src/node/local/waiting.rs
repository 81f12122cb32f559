//! Which connections that have not said who they are may stay: pure decisions, no I/O.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many may wait, and how long each may do so whatever comes after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// In all.
    pub(super) most: usize,
    /// From one address.
    pub(super) of_an_address: usize,
    /// So long none is let go for the sake of a new one.
    pub(super) least_life: Duration,
}

/// Connections that have sent nothing yet. A client speaks at once, so an honest one is hardly ever here; they cost little.
pub(super) const SILENT: Bounds =
    Bounds { most: 256, of_an_address: 128, least_life: Duration::from_millis(50) };

/// Those that say who they are.
pub(super) const SPEAKING: Bounds =
    Bounds { most: 64, of_an_address: 32, least_life: Duration::from_secs(1) };

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Entry<T> {
    pub(super) origin: Origin,
    pub(super) since: Instant,
    pub(super) what: T,
}

/// Where a connection comes from: an address, or the network of a size that one user of IPv6 is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Origin {
        match address.to_canonical() {
            IpAddr::V6(address) => Origin(IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into())),
            address @ IpAddr::V4(_) => Origin(address),
        }
    }
}

/// Whether a new one may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    Free,
    /// If the one at this index is let go.
    InPlaceOf(usize),
    /// No.
    None,
}

/// Where there is room for one more from `origin`, among `waiting`, the oldest first. When there is none, the oldest goes of
/// the address that has the most; but never one that has only just come.
pub(super) fn room<T>(waiting: &[Entry<T>], origin: Origin, now: Instant, bounds: Bounds) -> Room {
    let of = |origin: Origin| waiting.iter().filter(|entry| entry.origin == origin).count();
    let from = if of(origin) >= bounds.of_an_address {
        origin
    } else if waiting.len() < bounds.most {
        return Room::Free;
    } else {
        let most = waiting.iter().map(|entry| (of(entry.origin), entry.origin)).max();
        most.map_or(origin, |(_, origin)| origin)
    };
    let oldest = waiting.iter().position(|entry| entry.origin == from);
    match oldest {
        Some(index) if now.saturating_duration_since(waiting[index].since) >= bounds.least_life => {
            Room::InPlaceOf(index)
        }
        Some(_) | None => Room::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { most: 6, of_an_address: 4, least_life: Duration::from_millis(50) };

    fn origin(number: u8) -> Origin {
        IpAddr::from([192, 0, 2, number]).into()
    }

    fn come(waiting: &mut Vec<Entry<()>>, number: u8, now: Instant) -> Room {
        let room = room(waiting, origin(number), now, BOUNDS);
        if let Room::InPlaceOf(index) = room {
            waiting.remove(index);
        }
        if room != Room::None {
            waiting.push(Entry { origin: origin(number), since: now, what: () });
        }
        room
    }

    #[test]
    fn one_address_cannot_take_the_room_of_others() {
        let begun = Instant::now();
        let mut waiting = Vec::new();
        for _ in 0..100 {
            come(&mut waiting, 1, begun);
        }
        assert_eq!(waiting.len(), BOUNDS.of_an_address);
        assert_eq!(come(&mut waiting, 2, begun), Room::Free);
        assert_eq!(come(&mut waiting, 3, begun), Room::Free);
        // Full: the address with the most of them loses one, as soon as it has had its time.
        assert_eq!(come(&mut waiting, 4, begun), Room::None);
        let later = begun + BOUNDS.least_life;
        assert_eq!(come(&mut waiting, 4, later), Room::InPlaceOf(0));
        assert_eq!(waiting.iter().filter(|entry| entry.origin == origin(1)).count(), 3);
    }

    #[test]
    fn who_has_only_just_come_is_not_let_go_for_another() {
        let begun = Instant::now();
        let mut waiting = Vec::new();
        let mut refused = 0;
        // Faster than there is room for.
        for number in 0..1000u32 {
            let now = begun + number * Duration::from_millis(1);
            let before = waiting.clone();
            match come(&mut waiting, 1, now) {
                Room::Free => {}
                Room::InPlaceOf(index) => {
                    assert!(now - before[index].since >= BOUNDS.least_life);
                }
                Room::None => refused += 1,
            }
        }
        assert!(refused > 0, "the flood is refused, not those who came before");
    }

    #[test]
    fn one_user_s_network_is_one_address() {
        let of = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), origin(1));
        assert_ne!(origin(1), origin(2));
    }
}
