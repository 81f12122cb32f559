//! Whether the limit of descriptors is high enough for all the children there are, told before any of them is started.
//!
//! The supervisor process needs the most: for each child its pidfd, its sockets, and for each output a pipe, the log file
//! and the index of times. The keeper holds a part of the same, so what is enough for one is enough for both.

use super::world::World;
use crate::config::{Output, ProcessSpec, ReadyKind};
use crate::control;
use crate::os::limits;

/// What a supervisor process without children has open, the descriptors set aside for births included.
const OWN: u64 = 44;
/// What is left for births, for runs whose output is still being drained, and for files that are read.
const RESERVE: u64 = 32;
/// Pipe, log file, index of times.
const EACH_OUTPUT: u64 = 3;

/// Why not all of these can run at a time here, in one sentence; `None`: they can.
#[must_use]
pub fn lack<'a>(processes: impl Iterator<Item = &'a ProcessSpec>) -> Option<String> {
    let hard = limits::open_files().ok()?.hard;
    let need = Need::of(processes);
    (need.descriptors(hard) > hard).then(|| need.sentence(hard))
}

/// The same of a changed world, unless it needs no more than the one before.
pub(super) fn lack_of_more(before: &World, after: &World) -> Option<String> {
    let held = |world: &World| Need::of(world.processes().map(|(_, spec)| spec)).held;
    let more = held(after) > held(before);
    more.then(|| lack(after.processes().map(|(_, spec)| spec))).flatten()
}

/// What is needed at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    children: u64,
    held: u64,
}

impl Need {
    fn of<'a>(processes: impl Iterator<Item = &'a ProcessSpec>) -> Need {
        processes.fold(Need::default(), |need, spec| Need {
            children: need.children + 1,
            held: need.held + held_for(spec),
        })
    }

    /// With what the control API may take under this limit.
    fn descriptors(self, limit: u64) -> u64 {
        OWN + RESERVE + control::descriptors(limit) + self.held
    }

    /// The least limit under which they can run: the API takes more of a higher one.
    fn least_limit(self) -> u64 {
        let mut limit = self.descriptors(0);
        while self.descriptors(limit) > limit {
            limit = self.descriptors(limit);
        }
        limit
    }

    fn sentence(self, hard: u64) -> String {
        let (children, least) = (self.children, self.least_limit());
        let children =
            if children == 1 { "1 child needs".into() } else { format!("{children} children need") };
        format!(
            "{children} about {least} descriptors, and the hard limit is {hard} (ulimit -Hn): raise it, in a systemd \
             unit by LimitNOFILE={least}, or take children out"
        )
    }
}

fn held_for(spec: &ProcessSpec) -> u64 {
    let outputs = match &spec.output {
        Output::File(log) => log.paths().len() as u64,
        Output::Null | Output::Inherit => 0,
    };
    let notify = match spec.ready.as_ref().map(|ready| &ready.kind) {
        // Held for the next supervisor process, and watched.
        Some(ReadyKind::Notify) => 2,
        None => 0,
    };
    1 + EACH_OUTPUT * outputs + notify + spec.listen.len() as u64
}
