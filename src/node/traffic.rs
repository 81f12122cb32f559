//! How much goes over connections.

use std::ops::{Add, Sub};

/// Bytes of frames, both ways; what the hello and a cipher add is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Given to the kernel.
    pub sent: u64,
    /// Taken from it and understood.
    pub received: u64,
}

impl Add for Traffic {
    type Output = Traffic;

    fn add(self, other: Traffic) -> Traffic {
        Traffic { sent: self.sent + other.sent, received: self.received + other.received }
    }
}

/// From an earlier look to a later one.
impl Sub for Traffic {
    type Output = Traffic;

    fn sub(self, earlier: Traffic) -> Traffic {
        Traffic { sent: self.sent - earlier.sent, received: self.received - earlier.received }
    }
}
