//! Control groups: one for each run of a child, so that all it ever forked can be found, killed at once and limited.
//!
//! Membership and killing need version 2, wherever it is mounted. Limits are set where the controller is: in version 2, or
//! in its own hierarchy of version 1. Below the group that provost was started in lies one folder for the project (its
//! [`Home`]), and in that one for each run, named `NODE.RUN`.
//!
//! The launcher makes the home, the supervisor process the groups in it; the keeper empties and removes them, without
//! allocating. `place.rs` finds the hierarchies.

mod place;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{AccessFlags, Pid, UnlinkatFlags, faccessat, unlinkat, write};

use super::folder::{Access, Folder as Held};
use super::leftovers::Removed;
use super::listing::{Text, each_entry, each_number_in};
use super::{digest, fallback, pidfd};
use place::Hierarchy;

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Memory of all processes together.
    Memory,
    /// CPU time of all processes together.
    Cpu,
    /// Number of processes and threads.
    Pids,
}

impl Controller {
    /// All of them.
    pub const ALL: [Controller; 3] = [Controller::Memory, Controller::Cpu, Controller::Pids];

    /// As the kernel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::Pids => "pids",
        }
    }
}

/// One limit for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes.
    Memory(u64),
    /// Thousandths of one CPU.
    Cpu(u32),
    /// Processes and threads.
    Pids(u64),
}

/// Length of the slices in which CPU time is granted, in microseconds: the kernel's own default.
const SLICE_US: u64 = 100_000;

impl Limit {
    /// What enforces it.
    pub fn controller(self) -> Controller {
        match self {
            Limit::Memory(_) => Controller::Memory,
            Limit::Cpu(_) => Controller::Cpu,
            Limit::Pids(_) => Controller::Pids,
        }
    }

    /// The files to write, in version 2 and in version 1.
    fn settings(self, unified: bool) -> [(&'static str, String); 2] {
        let quota = |milli: u32| u64::from(milli) * SLICE_US / 1_000;
        match (self, unified) {
            // Without swap, or the limit only says where the memory is.
            (Limit::Memory(bytes), true) => {
                [("memory.max", bytes.to_string()), ("memory.swap.max", "0".into())]
            }
            (Limit::Memory(bytes), false) => [
                ("memory.limit_in_bytes", bytes.to_string()),
                ("memory.memsw.limit_in_bytes", bytes.to_string()),
            ],
            (Limit::Cpu(milli), true) => {
                [("cpu.max", format!("{} {SLICE_US}", quota(milli))), ("", String::new())]
            }
            (Limit::Cpu(milli), false) => {
                [("cpu.cfs_period_us", SLICE_US.to_string()), ("cpu.cfs_quota_us", quota(milli).to_string())]
            }
            (Limit::Pids(count), _) => [("pids.max", count.to_string()), ("", String::new())],
        }
    }
}

/// The file in the run directory that tells where the home is.
const PLACE: &str = "cgroup";

/// The name of the home of the project whose run directory this is. The same each time, on every version.
pub fn home_name(run_dir: &Path) -> String {
    // Two directories whose last parts are alike are told apart.
    let hash = digest::stable(run_dir.as_os_str().as_bytes());
    let last = run_dir.file_name().unwrap_or_default().to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let last: String = last.chars().map(|letter| if plain(letter) { letter } else { '_' }).take(64).collect();
    format!("provost-{last}-{hash:016x}")
}

/// Which run a group is for: the numbers of node and run.
pub type Cell = (u32, u32);

/// What became of the wish to remove a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone, so nobody was left in it.
    Gone,
    /// Somebody is in it.
    Populated,
    /// There was none.
    Absent,
}

/// The folder of a project in each hierarchy where it could be made.
#[derive(Debug, Default)]
pub struct Home {
    tree: Option<Folder>,
    limits: [Option<Folder>; Controller::ALL.len()],
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    fd: OwnedFd,
    /// Whether limits are set in the group of the tree itself.
    unified: bool,
}

/// The group of one run that is about to be born. The process enters `tree` at its birth, and the others by itself.
#[derive(Debug)]
pub struct Group {
    /// Version 2.
    pub tree: Option<OwnedFd>,
    /// Hierarchies of version 1 that limit it.
    pub limits: Vec<OwnedFd>,
}

/// Why a group could not be made or limited.
#[derive(Debug)]
pub struct GroupError {
    /// What was to be done.
    pub what: String,
    /// The kernel's answer.
    pub errno: Errno,
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {} ({:?})", self.what, self.errno.desc(), self.errno)
    }
}

impl Home {
    /// Makes the folder `name` wherever this process may, or takes the one that is there.
    pub fn make(name: &str) -> Home {
        let tree = (!fallback::forced("cgroup2"))
            .then(|| Folder::make(place::own(Hierarchy::Unified)?, name))
            .flatten()
            .filter(Folder::can_kill);
        let limits = Controller::ALL.map(|controller| {
            if fallback::forced("cgroup_limits") {
                return None;
            }
            let unified = tree.as_ref().filter(|tree| tree.enable(controller)).and_then(Folder::again);
            unified
                .map(|tree| Folder { unified: true, ..tree })
                .or_else(|| Folder::make(place::own(Hierarchy::Of(controller))?, name))
        });
        Home { tree, limits }
    }

    /// Whether runs get groups of their own here.
    pub fn contains(&self) -> bool {
        self.tree.is_some()
    }

    /// Where it is in the tree of version 2.
    pub fn path(&self) -> Option<&Path> {
        self.tree.as_ref().map(|tree| tree.path.as_path())
    }

    /// Tells a later launcher where it is, in a file in the run directory. Best effort: what is left behind is also known by
    /// its environment.
    pub fn remember(&self, run_dir: &Path) {
        let Ok(folder) = Held::open(run_dir) else { return };
        let _ = folder.remove(OsStr::new(PLACE));
        if let Some(path) = self.path()
            && let Ok(mut file) = folder.file(OsStr::new(PLACE), Access::Write(0o600))
        {
            let _ = file.write_all(path.as_os_str().as_bytes());
        }
    }

    /// Whether this can be limited here.
    pub fn limits(&self, controller: Controller) -> bool {
        self.limits.get(controller as usize).is_some_and(Option::is_some)
    }

    /// Makes the group of a run, or takes the one that is there, and sets its limits; those that nothing enforces here are
    /// passed over.
    ///
    /// # Errors
    /// What could not be done, and why.
    pub fn group(&self, cell: Cell, limits: &[Limit]) -> Result<Group, GroupError> {
        let tree = match &self.tree {
            Some(home) => Some(home.inner(cell).map_err(failed("make its control group"))?),
            None => None,
        };
        let mut group = Group { tree, limits: Vec::new() };
        for limit in limits {
            let Some(Some(home)) = self.limits.get(limit.controller() as usize) else { continue };
            let what = format!("limit its {} by a control group", limit.controller().name());
            let inner = home.inner(cell).map_err(failed(&what))?;
            for (file, value) in limit.settings(home.unified).iter().filter(|(file, _)| !file.is_empty()) {
                match put(inner.as_fd(), file, value.as_bytes()) {
                    // Kernels without accounting of swap have no such file.
                    Err(Errno::ENOENT) if file.contains("sw") => {}
                    answer => answer.map_err(failed(&what))?,
                }
            }
            if !home.unified {
                group.limits.push(inner);
            }
        }
        Ok(group)
    }

    /// Removes the group of a run if nobody is in it. Allocates nothing.
    pub fn remove(&self, cell: Cell) -> Removal {
        let name = name_of(cell);
        for home in self.limits.iter().flatten().filter(|home| !home.unified) {
            // Somebody may still be in it, or nothing of it was limited.
            let _ = unlinkat(&home.fd, name.as_str(), UnlinkatFlags::RemoveDir);
        }
        let Some(home) = &self.tree else { return Removal::Absent };
        match unlinkat(&home.fd, name.as_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) => Removal::Gone,
            Err(Errno::ENOENT) => Removal::Absent,
            // Somebody is in it, or it has made groups of its own below.
            Err(_) => match remove_below(home.fd.as_fd(), name.as_str(), DEPTH) {
                Ok(()) => Removal::Gone,
                Err(_) => Removal::Populated,
            },
        }
    }

    /// Kills everybody in the group of a run (`cgroup.kill`), at once. Allocates nothing.
    ///
    /// # Errors
    /// `ENOENT`: there is no such group.
    pub fn kill(&self, cell: Cell) -> nix::Result<()> {
        let home = self.tree.as_ref().ok_or(Errno::ENOENT)?;
        let group = open_folder(home.fd.as_fd(), name_of(cell).as_str())?;
        put(group.as_fd(), "cgroup.kill", b"1")
    }

    /// Calls `visit` for everybody in the group of a run. Those who left it for groups below are not told. Allocates nothing.
    pub fn each_member(&self, cell: Cell, visit: impl FnMut(i32)) {
        let Some(home) = &self.tree else { return };
        let Ok(group) = open_folder(home.fd.as_fd(), name_of(cell).as_str()) else { return };
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        if let Ok(file) = openat(&group, "cgroup.procs", flags, Mode::empty()) {
            let _ = each_number_in(file.as_fd(), visit);
        }
    }

    /// Kills everybody in every group. Allocates nothing.
    pub fn kill_all(&self) {
        if let Some(home) = &self.tree {
            let _ = put(home.fd.as_fd(), "cgroup.kill", b"1");
        }
    }

    /// Removes all that is empty, the home last. Allocates nothing. `true`: nothing is left.
    pub fn remove_all(&self) -> bool {
        let folders = self.limits.iter().chain([&self.tree]).flatten();
        let mut gone = true;
        for home in folders {
            gone &= matches!(remove_below(AT_FDCWD, home, DEPTH), Ok(()) | Err(Errno::ENOENT));
        }
        gone
    }

    /// Whether this process lives in one of its groups: then they are no leftovers.
    pub fn holds_us(&self) -> bool {
        let own = place::own(Hierarchy::Unified);
        self.path().zip(own.as_deref()).is_some_and(|(home, own)| own.starts_with(home))
    }

    /// Kills everybody in its groups and waits until they are gone, at most for `limit`.
    pub fn empty(&self, limit: Duration) -> Removed {
        let end = Instant::now() + limit;
        let mut known = BTreeMap::new();
        loop {
            let members = self.everybody();
            if members.is_empty() || Instant::now() >= end {
                let left = members.len();
                return Removed { gone: known.len().saturating_sub(left), left };
            }
            for pid in members {
                // One that is gone by now is gone.
                if let Ok(held) = pidfd::open(Pid::from_raw(pid)) {
                    known.insert(pid, held);
                }
            }
            self.kill_all();
            for held in known.values() {
                let _ = pidfd::wait(held.as_fd(), end.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// Everybody in its groups, by number.
    fn everybody(&self) -> Vec<i32> {
        fn collect(folder: &Path, found: &mut Vec<i32>) {
            let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(members.lines().filter_map(|line| line.parse::<i32>().ok()));
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            folders.for_each(|entry| collect(&entry.path(), found));
        }
        let mut found = Vec::new();
        if let Some(path) = self.path() {
            collect(path, &mut found);
        }
        found
    }
}

impl Home {
    /// The home of this name that an earlier launcher of this run directory made at another place of the tree, if it is still
    /// there. What the file says is believed only of a folder of this very name in a hierarchy of version 2.
    pub fn remembered(run_dir: &Path, name: &str) -> Option<Home> {
        let mut text = Vec::new();
        let file = Held::open(run_dir).ok()?.file(OsStr::new(PLACE), Access::Read).ok()?;
        file.take(libc::PATH_MAX as u64).read_to_end(&mut text).ok()?;
        let path = Path::new(OsStr::from_bytes(&text));
        if path.file_name()?.as_bytes() != name.as_bytes() || fallback::forced("cgroup2") {
            return None;
        }
        let fd = open_folder(AT_FDCWD, path).ok()?;
        let kind = nix::sys::statfs::fstatfs(&fd).ok()?.filesystem_type();
        let tree = Folder { path: path.to_owned(), fd, unified: false };
        (kind == nix::sys::statfs::CGROUP2_SUPER_MAGIC)
            .then(|| Home { tree: Some(tree), limits: Default::default() })
    }
}

impl Folder {
    fn make(own: PathBuf, name: &str) -> Option<Folder> {
        let path = own.join(name);
        match mkdirat(AT_FDCWD, &path, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(_) => return None,
        }
        let fd = open_folder(AT_FDCWD, &path).ok()?;
        let folder = Folder { path, fd, unified: false };
        // To bring a process in, one must be allowed to take it out of where it is.
        let writable = |from: BorrowedFd, file: &str| {
            faccessat(from, file, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok()
        };
        let outside = open_folder(AT_FDCWD, &own).ok()?;
        let usable = writable(outside.as_fd(), "cgroup.procs") && writable(folder.fd.as_fd(), "cgroup.procs");
        if !usable {
            let _ = unlinkat(AT_FDCWD, &folder.path, UnlinkatFlags::RemoveDir);
        }
        usable.then_some(folder)
    }

    /// Whether it is a group of processes (not of threads) on a kernel that can kill it (Linux 5.14).
    fn can_kill(&self) -> bool {
        let kind = fs::read_to_string(self.path.join("cgroup.type")).unwrap_or_default();
        let fits = kind.trim() == "domain" && self.path.join("cgroup.kill").exists();
        if !fits {
            let _ = unlinkat(AT_FDCWD, &self.path, UnlinkatFlags::RemoveDir);
        }
        fits
    }

    /// Lets the groups in it be limited in version 2, if the controller is there.
    fn enable(&self, controller: Controller) -> bool {
        let wanted = [b"+", controller.name().as_bytes()].concat();
        let offered = || {
            let list = fs::read_to_string(self.path.join("cgroup.controllers")).unwrap_or_default();
            list.split_whitespace().any(|name| name == controller.name())
        };
        if !offered()
            && let Some(above) = self.path.parent().and_then(|path| open_folder(AT_FDCWD, path).ok())
        {
            // Refused if processes live there: then there is nothing to limit with.
            let _ = put(above.as_fd(), "cgroup.subtree_control", &wanted);
        }
        offered() && put(self.fd.as_fd(), "cgroup.subtree_control", &wanted).is_ok()
    }

    fn again(&self) -> Option<Folder> {
        let fd = self.fd.try_clone().ok()?;
        Some(Folder { path: self.path.clone(), fd, unified: self.unified })
    }

    /// The group of a run, made if it is not there.
    fn inner(&self, cell: Cell) -> nix::Result<OwnedFd> {
        let name = name_of(cell);
        match mkdirat(&self.fd, name.as_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => open_folder(self.fd.as_fd(), name.as_str()),
            Err(errno) => Err(errno),
        }
    }
}

impl nix::NixPath for Folder {
    fn is_empty(&self) -> bool {
        nix::NixPath::is_empty(self.path.as_path())
    }

    fn len(&self) -> usize {
        nix::NixPath::len(self.path.as_path())
    }

    fn with_nix_path<T, F: FnOnce(&std::ffi::CStr) -> T>(&self, f: F) -> nix::Result<T> {
        self.path.as_path().with_nix_path(f)
    }
}

/// Groups below groups that are looked into; whoever goes deeper is left to the next launcher.
const DEPTH: usize = 8;

/// Removes a group and those below it, which must all be empty.
fn remove_below<P: nix::NixPath + ?Sized>(above: BorrowedFd, name: &P, depth: usize) -> nix::Result<()> {
    match unlinkat(above, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::EBUSY) if depth > 0 => {}
        answer => return answer,
    }
    let folder = open_folder(above, name)?;
    each_entry(folder.as_fd(), |entry| {
        // Files cannot be removed, and are refused as not being folders.
        let Ok(entry) = std::str::from_utf8(entry) else { return ControlFlow::Continue(()) };
        if !matches!(entry, "." | "..") {
            let _ = remove_below(folder.as_fd(), entry, depth - 1);
        }
        ControlFlow::Continue(())
    })?;
    unlinkat(above, name, UnlinkatFlags::RemoveDir)
}

fn name_of((node, run): Cell) -> Text {
    let mut name = Text::default();
    let _ = write!(name, "{node}.{run}");
    name
}

fn open_folder<P: nix::NixPath + ?Sized>(above: BorrowedFd, name: &P) -> nix::Result<OwnedFd> {
    openat(above, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

fn put(folder: BorrowedFd, file: &str, value: &[u8]) -> nix::Result<()> {
    let file = openat(folder, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(file, value).map(drop)
}

fn failed(what: &str) -> impl Fn(Errno) -> GroupError {
    move |errno| GroupError { what: what.to_owned(), errno }
}
