//! The fourth claim: each has memory of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::Check;
use super::look::{Part, Seen, list, look, threads};
use super::subject::Named;
use crate::os::proc::{Mapping, Usage, mappings, peek, poke, same_memory};

/// Whose memory is whose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What each uses.
    pub uses: Vec<Use>,
    /// Every two of them.
    pub pairs: Vec<Pair>,
    /// The contrast: a process and one of its own threads.
    pub thread: Option<Pair>,
    /// Where each has what.
    pub spaces: Vec<Space>,
    /// Memory that two can both write and see.
    pub shared: Vec<SharedMapping>,
    /// A value at one address of two processes.
    pub canary: Option<Canary>,
    /// Why there is none.
    pub no_canary: Option<String>,
}

/// Memory of one process, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Whose.
    pub name: String,
    /// The process.
    pub pid: i32,
    /// Resident; counts a page for each process that maps it.
    pub rss: u64,
    /// Resident; each page divided among those who map it.
    pub pss: u64,
    /// Resident pages that no other process maps.
    pub private: u64,
}

/// Whether two have one address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The one.
    pub one: String,
    /// The other.
    pub other: String,
    /// What `kcmp(2)` says of their memory; absent if it does not.
    pub same: Option<bool>,
}

/// Where things are in an address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Whose.
    pub name: String,
    /// The process.
    pub pid: i32,
    /// Where its program begins.
    pub program: Option<u64>,
    /// Where its heap begins.
    pub heap: Option<u64>,
    /// Where its stack begins.
    pub stack: Option<u64>,
}

/// A piece of memory that several have mapped so that all see what one writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMapping {
    /// Who.
    pub names: Vec<String>,
    /// What.
    pub what: String,
}

/// A value written into one process after the other, at the place in the program's first page that nothing uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// The program both run.
    pub program: String,
    /// The two writes.
    pub steps: [Step; 2],
    /// The file they have both mapped is unchanged.
    pub file_unchanged: bool,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Into whose memory.
    pub name: String,
    /// The process.
    pub pid: i32,
    /// Where.
    pub address: u64,
    /// What stood there.
    pub before: Vec<u8>,
    /// What was written.
    pub wrote: String,
    /// What stood there after both writes.
    pub after: Vec<u8>,
}

/// The bytes 9 to 15 of an ELF file are padding (`EI_PAD`).
const PADDING: u64 = 9;
const WORDS: [&str; 2] = ["one....", "another"];

pub(super) fn gather(members: &[Named]) -> Memory {
    let seen: Vec<Seen> = look(members).0;
    let (canary, no_canary) = match canary(&seen) {
        Ok(canary) => (Some(canary), None),
        Err(why) => (None, Some(why)),
    };
    Memory {
        uses: seen.iter().filter_map(used).collect(),
        pairs: pairs(&seen),
        thread: own_thread(),
        spaces: seen.iter().map(space).collect(),
        shared: shared(&seen),
        canary,
        no_canary,
    }
}

fn used(row: &Seen) -> Option<Use> {
    let memory = Usage::read(row.pid).memory?;
    Some(Use {
        name: row.name.clone(),
        pid: row.pid,
        rss: memory.rss,
        pss: memory.pss,
        private: memory.private,
    })
}

fn pairs(seen: &[Seen]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (at, one) in seen.iter().enumerate() {
        for other in &seen[at + 1..] {
            let same = same_memory(one.pid, other.pid).ok();
            pairs.push(Pair { one: one.name.clone(), other: other.name.clone(), same });
        }
    }
    pairs
}

/// A thread of ours, which has to be told apart from a process.
fn own_thread() -> Option<Pair> {
    let pid = std::process::id().cast_signed();
    let (hold, until) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || until.recv());
        let other = threads(pid).into_iter().find(|tid| *tid != pid);
        let pair = other.map(|tid| Pair {
            one: format!("PID {pid}"),
            other: format!("its thread {tid}"),
            same: same_memory(pid, tid).ok(),
        });
        drop(hold);
        pair
    })
}

fn space(row: &Seen) -> Space {
    let maps = mappings(row.pid).unwrap_or_default();
    let first = |name: &str| maps.iter().find(|map| map.name == name).map(|map| map.start);
    Space {
        name: row.name.clone(),
        pid: row.pid,
        program: program_start(row, &maps),
        heap: first("[heap]"),
        stack: first("[stack]"),
    }
}

fn program_start(row: &Seen, maps: &[Mapping]) -> Option<u64> {
    let path = &row.program.as_ref()?.path;
    maps.iter().find(|map| map.name == *path && map.offset == 0).map(|map| map.start)
}

fn shared(seen: &[Seen]) -> Vec<SharedMapping> {
    let mut holders: BTreeMap<((String, u64), String), Vec<String>> = BTreeMap::new();
    for row in seen {
        for map in mappings(row.pid).unwrap_or_default() {
            if map.shared && map.writable {
                let names = holders.entry((map.object, map.name)).or_default();
                if !names.contains(&row.name) {
                    names.push(row.name.clone());
                }
            }
        }
    }
    let several = holders.into_iter().filter(|(_, names)| names.len() > 1);
    several.map(|((_, what), names)| SharedMapping { names, what }).collect()
}

fn canary(seen: &[Seen]) -> Result<Canary, String> {
    let clients: Vec<&Seen> = seen.iter().filter(|row| row.part == Part::Client).collect();
    let file = |row: &Seen| row.program.as_ref().map(|program| (program.device, program.inode));
    let twins = clients.iter().enumerate().find_map(|(at, one)| {
        let twin = clients[at + 1..].iter().find(|other| file(other).is_some() && file(other) == file(one));
        Some((*one, *twin?))
    });
    let (one, other) = twins.ok_or("there are no two clients of the same program")?;
    let address = |row: &Seen| {
        let start = program_start(row, &mappings(row.pid).unwrap_or_default());
        start.map(|start| start + PADDING).ok_or(format!("the memory map of {} may not be read", row.name))
    };
    let places = [(one, address(one)?), (other, address(other)?)];
    tried(places)
        .map_err(|error| format!("the memory of {} and {} cannot be written: {error}", one.name, other.name))
}

fn tried(places: [(&Seen, u64); 2]) -> io::Result<Canary> {
    let length = WORDS[0].len();
    let at = |(row, address): (&Seen, u64)| peek(row.pid, address, length);
    let [one, other] = places;
    let before = [at(one)?, at(other)?];
    let written = poke(one.0.pid, one.1, WORDS[0].as_bytes())
        .and_then(|()| poke(other.0.pid, other.1, WORDS[1].as_bytes()));
    let after = [at(one), at(other)];
    // The other way round, in case the two are one place.
    let restored = poke(other.0.pid, other.1, &before[1]).and_then(|()| poke(one.0.pid, one.1, &before[0]));
    written.and(restored)?;
    let [first, second] = after;
    let step = |(row, address): (&Seen, u64), word: usize, after| Step {
        name: row.name.clone(),
        pid: row.pid,
        address,
        before: before[word].clone(),
        wrote: WORDS[word].to_owned(),
        after,
    };
    let mut in_file = vec![0; length];
    File::open(format!("/proc/{}/exe", one.0.pid))?.read_exact_at(&mut in_file, PADDING)?;
    Ok(Canary {
        program: one.0.program.as_ref().map(|program| program.name().to_owned()).unwrap_or_default(),
        file_unchanged: in_file == before[0],
        steps: [step(one, 0, first?), step(other, 1, second?)],
    })
}

impl Memory {
    /// The sum over all, each process once.
    #[must_use]
    pub fn sum(&self, field: impl Fn(&Use) -> u64) -> u64 {
        self.uses.iter().map(|one| (one.pid, field(one))).collect::<BTreeMap<_, _>>().into_values().sum()
    }
}

pub(super) fn judge(seen: &Memory) -> Vec<Check> {
    vec![told(seen), spaces(seen), contrast(seen), nothing_shared(seen), canary_lives(seen)]
}

fn told(seen: &Memory) -> Check {
    let what = "each has pages that no other process maps";
    let without = seen.uses.iter().filter(|one| one.private == 0);
    let mut against: Vec<String> = without.map(|one| format!("{} has none", one.name)).collect();
    let untold = seen.spaces.iter().filter(|space| seen.uses.iter().all(|one| one.name != space.name));
    against.extend(untold.map(|space| format!("that of {} may not be read", space.name)));
    // One memory counted under two names would be counted twice.
    let counted = seen.uses.iter().map(|one| one.pid).collect::<BTreeSet<_>>().len();
    if counted != seen.uses.len() || counted < 2 {
        against.push(format!("{} names, but {counted} memories", seen.uses.len()));
    }
    let sum = |field: fn(&Use) -> u64| mebibytes(seen.sum(field));
    let found =
        format!("RSS {}, PSS {}, private {}", sum(|one| one.rss), sum(|one| one.pss), sum(|one| one.private));
    Check::unless(what, &against, found)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

fn spaces(seen: &Memory) -> Check {
    let mut against: Vec<String> = seen
        .pairs
        .iter()
        .filter(|pair| pair.same != Some(false))
        .map(|pair| match pair.same {
            Some(_) => format!("{} and {} have one", pair.one, pair.other),
            None => format!("the kernel does not tell of {} and {}", pair.one, pair.other),
        })
        .collect();
    if seen.pairs.is_empty() {
        against.push("there are no two".into());
    }
    let found = format!("kcmp(2) tells {} pairs apart", seen.pairs.len());
    Check::unless("every two have different address spaces", &against, found)
}

fn contrast(seen: &Memory) -> Check {
    let what = "in contrast, a thread of this command shares its memory";
    match &seen.thread {
        Some(pair) => Check::that(what, pair.same == Some(true), format!("{} and {}", pair.one, pair.other)),
        None => Check::that(what, false, "no thread was found"),
    }
}

fn nothing_shared(seen: &Memory) -> Check {
    let against: Vec<String> =
        seen.shared.iter().map(|one| format!("{} share {}", list(&one.names), one.what)).collect();
    Check::unless("no two can write to the same memory", &against, "no writable shared mapping in common")
}

fn canary_lives(seen: &Memory) -> Check {
    let what = "what is written into one stays out of the other";
    let canary = match (&seen.canary, &seen.no_canary) {
        (Some(canary), _) => canary,
        (None, why) => return Check::that(what, false, why.clone().unwrap_or_else(|| "not tried".into())),
    };
    let [one, other] = &canary.steps;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut against: Vec<String> = canary
        .steps
        .iter()
        .filter(|step| step.after != step.wrote.as_bytes())
        .map(|step| {
            format!("{:?} was written into {} and {:?} was read", step.wrote, step.name, text(&step.after))
        })
        .collect();
    if !canary.file_unchanged {
        against.push("the file has changed".into());
    }
    let place = if one.address == other.address {
        format!("at {:#x} of both", one.address)
    } else {
        format!("at {:#x} and {:#x}, the same place of {}", one.address, other.address, canary.program)
    };
    let found = format!(
        "{place}: {} has {:?}, {} has {:?}",
        one.name,
        text(&one.after),
        other.name,
        text(&other.after)
    );
    Check::unless(what, &against, found)
}

pub(super) fn by_hand(seen: &Memory) -> Vec<String> {
    let pids: BTreeSet<i32> = seen.uses.iter().map(|one| one.pid).collect();
    let files: Vec<String> = pids.iter().map(|pid| format!("/proc/{pid}/smaps_rollup")).collect();
    let mut commands = vec![format!("grep -E '^(Rss|Pss|Private_)' {}", files.join(" "))];
    if let Some(canary) = &seen.canary {
        let [one, other] = &canary.steps;
        commands.push(format!(
            "printf one.... | dd of=/proc/{}/mem bs=1 seek=$(({:#x})) conv=notrunc",
            one.pid, one.address
        ));
        commands.push(format!(
            "dd if=/proc/{}/mem bs=1 skip=$(({:#x})) count=7 | od -c",
            other.pid, other.address
        ));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let one_use =
            |name: &str, pid| Use { name: name.into(), pid, rss: 3 << 20, pss: 2 << 20, private: 1 << 20 };
        let step = |name: &str, pid, word: usize| Step {
            name: name.into(),
            pid,
            address: 0x5555_5555_4009,
            before: vec![0; 7],
            wrote: WORDS[word].into(),
            after: WORDS[word].into(),
        };
        let space =
            |name: &str, pid| Space { name: name.into(), pid, program: None, heap: None, stack: None };
        Memory {
            uses: vec![one_use("engine", 2), one_use("client@1", 3)],
            pairs: vec![Pair { one: "engine".into(), other: "client@1".into(), same: Some(false) }],
            thread: Some(Pair { one: "PID 9".into(), other: "its thread 10".into(), same: Some(true) }),
            spaces: vec![space("engine", 2), space("client@1", 3)],
            shared: vec![],
            canary: Some(Canary {
                program: "reddit-client".into(),
                steps: [step("client@1", 3, 0), step("client@2", 4, 1)],
                file_unchanged: true,
            }),
            no_canary: None,
        }
    }

    /// What is found when this is changed.
    type Case = (&'static str, fn(&mut Memory));

    fn against(seen: &Memory) -> Vec<String> {
        judge(seen).into_iter().filter(|check| !check.holds).map(|check| check.found).collect()
    }

    #[test]
    fn separate_memories_are_proven() {
        assert_eq!(against(&memory()), Vec::<String>::new());
        let found = &judge(&memory())[4].found;
        assert_eq!(found, "at 0x555555554009 of both: client@1 has \"one....\", client@2 has \"another\"");
    }

    #[test]
    fn each_part_of_the_claim_can_fail() {
        let cases: [Case; 9] = [
            ("engine and client@1 have one", |seen| seen.pairs[0].same = Some(true)),
            ("the kernel does not tell", |seen| seen.pairs[0].same = None),
            ("there are no two", |seen| seen.pairs.clear()),
            ("no thread was found", |seen| seen.thread = None),
            ("2 names, but 1 memories", |seen| seen.uses[1].pid = 2),
            ("client@1 has none", |seen| seen.uses[1].private = 0),
            ("\"one....\" was written into client@1 and \"another\" was read", |seen| {
                seen.canary.as_mut().unwrap().steps[0].after = WORDS[1].into();
            }),
            ("the file has changed", |seen| seen.canary.as_mut().unwrap().file_unchanged = false),
            ("engine and client@1 share /dev/shm/x", |seen| {
                let names = vec!["engine".into(), "client@1".into()];
                seen.shared.push(SharedMapping { names, what: "/dev/shm/x".into() });
            }),
        ];
        for (hint, break_it) in cases {
            let mut seen = memory();
            break_it(&mut seen);
            let found = against(&seen);
            assert!(found.len() == 1 && found[0].contains(hint), "{hint}: {found:?}");
        }
        let without = Memory { canary: None, no_canary: Some("not permitted".into()), ..memory() };
        assert_eq!(against(&without), ["not permitted"]);
    }

    #[test]
    fn our_own_thread_has_our_memory() {
        assert_eq!(own_thread().unwrap().same, Some(true));
    }
}
