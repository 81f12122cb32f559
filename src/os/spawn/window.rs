//! A few descriptors of low numbers, set aside for births, so that the cost of one does not grow with the number of open
//! descriptors.
//!
//! A clone copies the whole descriptor table and exec visits the copy entry by entry: with a thousand children, several
//! thousand entries for each birth. With a window the child shares its parent's table for a moment (`CLONE_FILES`), puts
//! what it needs into the window, and takes a copy of the table's lower end only (`close_range(2)` with
//! `CLOSE_RANGE_UNSHARE`).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::newborn;

/// Standard streams, the way to the keeper, and more listening sockets than a child usually has. Who needs more has its
/// whole table copied.
const SLOTS: usize = 20;

static RESERVED: OnceLock<Window> = OnceLock::new();
/// A child that hangs before it has a table of its own keeps the window; other births copy the table then.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// The descriptors set aside. Between births all of them are `/dev/null`.
#[derive(Debug)]
pub(super) struct Window {
    slots: Vec<OwnedFd>,
    null: OwnedFd,
}

/// Sets the window aside. To be called before many descriptors are open; without it births only cost more. Where
/// `close_range(2)` is missing or refused, nothing is set aside.
///
/// # Errors
/// `/dev/null` cannot be opened, or too few descriptors are left.
pub fn reserve() -> io::Result<()> {
    if RESERVED.get().is_some() || !newborn::close_range_works() {
        return Ok(());
    }
    let null = OwnedFd::from(File::open("/dev/null")?);
    let slots = (0..SLOTS).map(|_| null.try_clone()).collect::<io::Result<_>>()?;
    let _ = RESERVED.set(Window { slots, null });
    Ok(())
}

impl Window {
    /// The window, if there is one with room for so many that no other birth is using.
    pub(super) fn borrow(count: usize) -> Option<Borrowed> {
        let window = RESERVED.get().filter(|window| count <= window.slots.len())?;
        let free = IN_USE.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        free.then_some(Borrowed(window))
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = RawFd> {
        self.slots.iter().map(AsRawFd::as_raw_fd)
    }

    /// Above all of the window.
    pub(super) fn end(&self) -> RawFd {
        self.slots().max().map_or(0, |last| last + 1)
    }

    /// Lets go of what a birth has put there.
    fn clear(&self) {
        for slot in self.slots() {
            newborn::replace(self.null.as_raw_fd(), slot);
        }
    }
}

/// The window while one birth has it. To be dropped when the child has a table of its own, or is gone.
pub(super) struct Borrowed(&'static Window);

impl std::ops::Deref for Borrowed {
    type Target = Window;

    fn deref(&self) -> &Window {
        self.0
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.0.clear();
        IN_USE.store(false, Ordering::Release);
    }
}
