//! What a child leaves running when it ends: found, named, killed, and waited for.
//!
//! In a control group it is everybody in it. There and elsewhere it is also every process that this one has adopted and
//! that stands in the child's session or was started with its key in the environment: a process may have moved to another
//! control group. Each that dies hands its own children up to us, so passes are made until they find none. One that has
//! left the session and emptied its environment is found by its control group only; without one it ends with the launcher
//! at the latest.

use std::io::Write;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::KEY_VARIABLE;
use super::children::{Children, Rest};
use super::protocol::{Key, Left, Reach};
use crate::os::cgroup::{Home, Removal};
use crate::os::{descendants, pidfd};

/// Passes in a row that must find none. Where there are control groups, which miss nobody by chance, one is enough.
const CLEAN_PASSES: u8 = 2;

/// Finds the remains of children.
#[derive(Debug)]
pub(super) struct Remains {
    home: Home,
    /// Passes in a row that found nobody.
    clean: u8,
}

/// A child that has ended, and is not reaped or has somebody left.
#[derive(Clone, Copy)]
struct Dead {
    key: Key,
    pid: Pid,
}

impl Remains {
    pub(super) fn new(home: Home) -> Remains {
        Remains { home, clean: 0 }
    }

    /// Kills what a child has left, while it is ended and not reaped: the number of its group is still its own.
    pub(super) fn end(&mut self, children: &Children, pid: Pid) -> (Rest, Left) {
        let Some((key, reach)) = children.of(pid).map(|child| (child.key, child.reach)) else {
            return (Rest::Gone, Left::default());
        };
        let cell = (key.node, key.run);
        let mut left = Left::default();
        match reach {
            Reach::Process => {
                self.home.remove(cell);
                (Rest::Gone, left)
            }
            Reach::Group => {
                let _ = pidfd::kill_group(pid, Signal::SIGKILL as i32);
                (Rest::Dying, left)
            }
            Reach::Tree => {
                match self.home.remove(cell) {
                    // A process that left the group is looked for when all that have ended are reaped (`look`).
                    Removal::Gone => {}
                    Removal::Populated => {
                        self.home.each_member(cell, |member| note(&mut left, Pid::from_raw(member), pid));
                        let _ = self.home.kill(cell);
                    }
                    Removal::Absent => {
                        each_stray(children, |stray| {
                            if belongs(stray, Dead { key, pid }) {
                                note(&mut left, stray, pid);
                                end_stray(stray);
                            }
                        });
                        let _ = pidfd::kill_group(pid, Signal::SIGKILL as i32);
                    }
                }
                self.clean = 0;
                (Rest::Dying, left)
            }
        }
    }

    /// Looks whether those are gone that were killed. `supervisor` is not looked at: it belongs to no child.
    pub(super) fn look(&mut self, children: &mut Children, supervisor: Option<Pid>, now: u64) {
        if children.dying().next().is_none() {
            return;
        }
        // Nobody found is looked for once more at once: a list read while others end may miss somebody.
        let enough = if self.home.contains() { 1 } else { CLEAN_PASSES };
        while self.pass(children, supervisor) && self.clean < enough {}
        let (home, clean) = (&self.home, self.clean >= enough);
        children.look_at_dying(now, |key, reach, pid| {
            let cell = (key.node, key.run);
            match (home.remove(cell), reach) {
                (Removal::Populated, Reach::Tree) => {
                    // Somebody may have been moved in meanwhile.
                    let _ = home.kill(cell);
                    false
                }
                (Removal::Gone, Reach::Tree) => clean,
                (Removal::Absent, Reach::Tree) => clean && (home.contains() || !pidfd::group_exists(pid)),
                (_, Reach::Group | Reach::Process) => !pidfd::group_exists(pid),
            }
        });
    }

    /// One pass over the processes that this one has adopted. `true`: none belongs to a child that has ended.
    fn pass(&mut self, children: &mut Children, supervisor: Option<Pid>) -> bool {
        let mut found = false;
        let mut strays = [Pid::from_raw(0); STRAYS];
        let mut count = 0;
        each_stray(children, |stray| {
            if let Some(place) = strays.get_mut(count).filter(|_| Some(stray) != supervisor) {
                *place = stray;
                count += 1;
            }
        });
        for stray in strays.iter().take(count) {
            for (key, _, exit) in children.dying().filter(|(_, reach, _)| *reach == Reach::Tree) {
                if belongs(*stray, Dead { key, pid: exit.pid }) {
                    note(&mut exit.left, *stray, exit.pid);
                    end_stray(*stray);
                    found = true;
                }
            }
        }
        let none = !found && count < STRAYS;
        self.clean = if none { self.clean.saturating_add(1) } else { 0 };
        none
    }

    /// Kills everybody who is in a control group.
    pub(super) fn end_all(&self) {
        self.home.kill_all();
    }

    /// Removes the control groups, when nobody is left.
    pub(super) fn tidy(&self) {
        self.home.remove_all();
    }
}

/// Strays that are looked at in one pass; the others in the next.
const STRAYS: usize = 256;

/// Whom this process has adopted: living children of it that it does not know.
fn each_stray(children: &Children, mut visit: impl FnMut(Pid)) {
    let _ = descendants::each_own_child(|pid| {
        if !children.is_alive(pid) {
            visit(pid);
        }
    });
}

fn belongs(stray: Pid, dead: Dead) -> bool {
    let Some(glance) = descendants::glance(stray) else { return false };
    if glance.is_zombie || stray == dead.pid {
        return false;
    }
    let mut buffer = [0; 64];
    let room = buffer.len();
    let mut rest = &mut buffer[..];
    let Key { node, run } = dead.key;
    let _ = write!(rest, "{KEY_VARIABLE}={}.{node}.{run}", Pid::this());
    let len = room - rest.len();
    glance.session == dead.pid || descendants::started_with(stray, buffer.get(..len).unwrap_or_default())
}

/// A child of this process that it has not reaped: the number is its own.
fn end_stray(stray: Pid) {
    let _ = kill(stray, Signal::SIGKILL);
}

fn note(left: &mut Left, pid: Pid, dead: Pid) {
    if let Some(glance) = descendants::glance(pid).filter(|glance| pid != dead && !glance.is_zombie) {
        left.add(pid.as_raw(), glance.name);
    }
}
