//! The table of registered children: alive, or dead with an exit that is not acknowledged.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::protocol::{ExitRecord, Key, Left, OUTPUTS_MAX, Reach};
use crate::os::clock;
use crate::os::socket::Fds;
use crate::os::spawn::Step;
use crate::os::wait::End;

/// Most entries, whatever the limit of open files.
const MOST: u64 = 65_536;

/// One registered child.
///
/// `told` says how much the present supervisor process knows: a new one knows nothing, the one that made the child knows
/// it without being told. An entry leaves only by acknowledgement of its exit.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) key: Key,
    pub(super) pid: Pid,
    /// `None`: no descriptor was left when it registered. Such a child is killed at once; only its exit is told.
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) outputs: [Option<OwnedFd>; OUTPUTS_MAX],
    birth_failed: Option<(i32, Errno)>,
    pub(super) born_ns: u64,
    pub(super) exit: Option<ExitRecord>,
    /// Whether others that were killed with it may not be gone yet: its exit is not told before they are.
    rest: Rest,
    pub(super) reach: Reach,
    pub(super) told: Told,
}

/// What is left of a child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Gone,
    Dying,
}

/// How long those are waited for that were killed with a child; one that is stuck in the kernel takes longer.
const DYING: u64 = 10_000_000_000;
/// Pause between two looks at them; the death of one that was adopted ends it.
const DYING_PAUSE: u64 = 2_000_000;

/// What the present supervisor process knows of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Birth,
    Exit,
}

impl Child {
    /// Its exit, if it is complete.
    pub(super) fn complete_exit(&self) -> Option<&ExitRecord> {
        self.exit.as_ref().filter(|_| self.rest == Rest::Gone)
    }

    /// The descriptors that describe it, pidfd first; `None` if there are none.
    pub(super) fn descriptors(&self) -> Option<impl Iterator<Item = BorrowedFd<'_>>> {
        let pidfd = self.pidfd.as_ref()?;
        Some([pidfd].into_iter().chain(self.outputs.iter().flatten()).map(AsFd::as_fd))
    }
}

/// Why a child cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// This key is in use.
    Known,
    /// The table is full.
    Full,
}

/// All of them. Allocated once.
#[derive(Debug)]
pub(super) struct Children {
    list: Vec<Child>,
    /// Numbers of the living, in order.
    alive: Vec<Pid>,
    /// How many of those that ended have somebody left.
    dying: usize,
    /// Whether some entry may have to be told: saves looking at every entry after every packet.
    news: bool,
}

impl Children {
    /// Room for as many as the limit of open files allows: each costs at least one descriptor.
    pub(super) fn with_room(open_files: u64) -> Children {
        let room = open_files.min(MOST) as usize;
        Children { list: Vec::with_capacity(room), alive: Vec::with_capacity(room), dying: 0, news: false }
    }

    /// A child the present supervisor process has made, begun at `born_ns`.
    pub(super) fn register(
        &mut self,
        key: Key,
        reach: Reach,
        pid: Pid,
        born_ns: u64,
        pidfd: Option<OwnedFd>,
        outputs: Fds,
    ) -> Result<(), Refused> {
        if self.list.iter().any(|child| child.key == key) {
            return Err(Refused::Known);
        }
        if self.list.len() == self.list.capacity() {
            return Err(Refused::Full);
        }
        let mut outputs = outputs.into_iter();
        let outputs = [(); OUTPUTS_MAX].map(|()| outputs.next());
        self.list.push(Child {
            key,
            pid,
            pidfd,
            outputs,
            birth_failed: None,
            born_ns,
            exit: None,
            rest: Rest::Gone,
            reach,
            told: Told::Birth,
        });
        if let Err(place) = self.alive.binary_search(&pid) {
            self.alive.insert(place, pid);
        }
        Ok(())
    }

    /// The child says that it will not come to exec.
    pub(super) fn birth_failed(&mut self, key: Key, pid: Pid, step: i32, errno: Errno) {
        if let Some(child) = self.alive(pid).filter(|child| child.key == key) {
            child.birth_failed = Some((step, errno));
        }
    }

    /// It ended before its exec. Unless it could say why, its exit code is the error, as `os::spawn` leaves it.
    pub(super) fn ended_unborn(&mut self, pid: Pid, status: i32) {
        let errno = match status {
            exited if exited & 0x7f == 0 => Errno::from_raw(exited >> 8),
            _ => Errno::ECANCELED,
        };
        if let Some(child) = self.alive(pid) {
            child.birth_failed.get_or_insert((Step::Exec as i32, errno));
        }
    }

    /// A process was reaped; this was left of it and killed. `false`: it was not registered.
    pub(super) fn ended(&mut self, pid: Pid, end: End, rest: Rest, left: Left) -> bool {
        let Some(child) = self.alive(pid) else { return false };
        child.exit = Some(ExitRecord {
            key: child.key,
            pid,
            status: end.status,
            user_us: end.user_us,
            system_us: end.system_us,
            max_rss_kib: end.max_rss_kib,
            at_ns: clock::monotonic_ns(),
            born_ns: child.born_ns,
            birth_failed: child.birth_failed,
            left,
        });
        child.rest = rest;
        self.dying += usize::from(rest == Rest::Dying);
        self.news = true;
        if let Ok(place) = self.alive.binary_search(&pid) {
            self.alive.remove(place);
        }
        true
    }

    /// Those that ended and have somebody left, with what is known of these.
    pub(super) fn dying(&mut self) -> impl Iterator<Item = (Key, Reach, &mut ExitRecord)> {
        let none = self.dying == 0;
        let list = if none { &mut [] } else { &mut self.list[..] };
        let dying = list.iter_mut().filter(|child| child.rest == Rest::Dying);
        dying.filter_map(|child| Some((child.key, child.reach, child.exit.as_mut()?)))
    }

    /// Lets go of those of whom nobody is left, or somebody for too long.
    pub(super) fn look_at_dying(&mut self, now: u64, mut is_gone: impl FnMut(Key, Reach, Pid) -> bool) {
        if self.dying == 0 {
            return;
        }
        for child in self.list.iter_mut().filter(|child| child.rest == Rest::Dying) {
            let since = child.exit.map_or(now, |exit| exit.at_ns);
            if is_gone(child.key, child.reach, child.pid) || now.saturating_sub(since) > DYING {
                child.rest = Rest::Gone;
                self.dying -= 1;
                self.news = true;
            }
        }
    }

    /// When to look at them again.
    pub(super) fn look_again(&self, now: u64) -> Option<u64> {
        (self.dying > 0).then_some(now + DYING_PAUSE)
    }

    /// The exit of this run is recorded elsewhere. A run that is alive stays.
    pub(super) fn acknowledge(&mut self, key: Key) {
        if let Some(at) = self.list.iter().position(|child| child.key == key && child.exit.is_some()) {
            self.list.swap_remove(at);
        }
    }

    /// A new supervisor process knows nothing.
    pub(super) fn forget_told(&mut self) {
        self.list.iter_mut().for_each(|child| child.told = Told::Nothing);
        self.news = true;
    }

    /// Entries the supervisor process may not know everything of, empty when there is no news.
    pub(super) fn with_news(&mut self) -> &mut [Child] {
        if self.news { &mut self.list } else { &mut [] }
    }

    /// Everything in the table has been told.
    pub(super) fn all_told(&mut self) {
        self.news = false;
    }

    /// Whether a process with this number is registered and not reaped. Dead entries do not count: their number may be
    /// somebody else's by now.
    pub(super) fn is_alive(&self, pid: Pid) -> bool {
        self.alive.binary_search(&pid).is_ok()
    }

    /// Whether this process is registered under this key, and not reaped.
    pub(super) fn is(&self, pid: Pid, key: Key) -> bool {
        self.of(pid).is_some_and(|child| child.key == key)
    }

    /// Which living child this number is.
    pub(super) fn of(&self, pid: Pid) -> Option<&Child> {
        if !self.is_alive(pid) {
            return None;
        }
        self.list.iter().find(|child| child.pid == pid && child.exit.is_none())
    }

    fn alive(&mut self, pid: Pid) -> Option<&mut Child> {
        self.list.iter_mut().find(|child| child.pid == pid && child.exit.is_none())
    }

    /// Pidfds of the living.
    pub(super) fn living(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.list
            .iter()
            .filter(|child| child.exit.is_none())
            .filter_map(|child| child.pidfd.as_ref())
            .map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: End = End { status: 9, user_us: 1, system_us: 2, max_rss_kib: 3 };

    fn key(node: u32, run: u32) -> Key {
        Key { node, run }
    }

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number)
    }

    fn register(children: &mut Children, key: Key, number: i32) -> Result<(), Refused> {
        children.register(key, Reach::Tree, pid(number), 0, None, Fds::default())
    }

    #[test]
    fn an_exit_is_complete_when_what_it_left_is_gone() {
        let mut children = Children::with_room(10);
        register(&mut children, key(1, 1), 100).unwrap();
        children.ended(pid(100), END, Rest::Dying, Left::default());
        let complete = |children: &mut Children| children.with_news()[0].complete_exit().is_some();
        children.look_at_dying(clock::monotonic_ns(), |_, _, _| false);
        assert!(!complete(&mut children) && children.look_again(5).is_some());
        children.all_told();
        children.look_at_dying(clock::monotonic_ns(), |_, _, _| true);
        assert!(complete(&mut children) && children.look_again(5).is_none());
    }

    #[test]
    fn an_exit_stays_until_it_is_acknowledged() {
        let mut children = Children::with_room(10);
        register(&mut children, key(1, 1), 100).unwrap();
        children.acknowledge(key(1, 1));
        assert!(children.is_alive(pid(100)), "an acknowledgement out of nowhere removed a living child");
        assert!(children.ended(pid(100), END, Rest::Gone, Left::default()));
        assert!(!children.ended(pid(100), END, Rest::Gone, Left::default()), "reaped twice");
        assert_eq!(children.with_news().len(), 1);
        children.acknowledge(key(1, 2));
        assert_eq!(children.with_news().len(), 1);
        children.acknowledge(key(1, 1));
        assert_eq!(children.with_news().len(), 0);
    }

    /// A number is free for others once its process is reaped, even while the exit waits for its acknowledgement.
    #[test]
    fn a_reused_number_is_the_living_child() {
        let mut children = Children::with_room(10);
        register(&mut children, key(1, 1), 100).unwrap();
        children.ended(pid(100), END, Rest::Gone, Left::default());
        register(&mut children, key(2, 1), 100).unwrap();
        children.birth_failed(key(1, 1), pid(100), 8, Errno::ENOENT);
        children.birth_failed(key(2, 1), pid(100), 8, Errno::EACCES);
        children.ended(pid(100), END, Rest::Gone, Left::default());
        let failures: Vec<_> =
            children.with_news().iter().map(|child| child.exit.unwrap().birth_failed).collect();
        assert_eq!(failures, [None, Some((8, Errno::EACCES))]);
    }

    #[test]
    fn one_key_is_registered_once_and_a_full_table_says_so() {
        let mut children = Children::with_room(2);
        register(&mut children, key(1, 1), 100).unwrap();
        assert_eq!(register(&mut children, key(1, 1), 101), Err(Refused::Known));
        for run in 2.. {
            match register(&mut children, key(1, run), 200) {
                Ok(()) => assert!(run < 100, "no end"),
                refused => return assert_eq!(refused, Err(Refused::Full)),
            }
        }
    }
}
