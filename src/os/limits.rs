//! Resource limits of this process (`getrlimit(2)`).

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What `setrlimit(2)` can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rlimit {
    /// Descriptors.
    Nofile,
    /// Processes and threads of the user.
    Nproc,
    /// Bytes of a core dump.
    Core,
    /// Bytes of address space.
    As,
    /// Bytes of data.
    Data,
    /// Bytes of stack.
    Stack,
    /// Bytes of a file that is written.
    Fsize,
    /// Bytes that may be locked in memory.
    Memlock,
    /// Seconds of CPU time.
    CpuTime,
}

impl Rlimit {
    /// No limit.
    pub const UNLIMITED: u64 = libc::RLIM_INFINITY;

    /// As the kernel knows it.
    pub fn resource(self) -> Resource {
        match self {
            Rlimit::Nofile => Resource::RLIMIT_NOFILE,
            Rlimit::Nproc => Resource::RLIMIT_NPROC,
            Rlimit::Core => Resource::RLIMIT_CORE,
            Rlimit::As => Resource::RLIMIT_AS,
            Rlimit::Data => Resource::RLIMIT_DATA,
            Rlimit::Stack => Resource::RLIMIT_STACK,
            Rlimit::Fsize => Resource::RLIMIT_FSIZE,
            Rlimit::Memlock => Resource::RLIMIT_MEMLOCK,
            Rlimit::CpuTime => Resource::RLIMIT_CPU,
        }
    }

    /// Up to where this process may set it without privilege.
    ///
    /// # Errors
    /// Those of `getrlimit(2)`; not to be expected.
    pub fn hard(self) -> nix::Result<u64> {
        getrlimit(self.resource()).map(|(_, hard)| hard)
    }
}

/// Whether an error says that the machine is short of something that comes back (processes, memory, descriptors): worth
/// trying again later, and the fault of no program.
pub fn is_shortage(errno: Errno) -> bool {
    use Errno::{EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM, ETOOMANYREFS};
    matches!(errno, EAGAIN | ENOMEM | EMFILE | ENFILE | ENOBUFS | ETOOMANYREFS)
}

/// How many descriptors a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What applies.
    pub soft: u64,
    /// What it may be raised to without privilege.
    pub hard: u64,
}

/// The limit of this process.
///
/// # Errors
/// Those of `getrlimit(2)`; not to be expected.
pub fn open_files() -> nix::Result<OpenFiles> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(OpenFiles { soft, hard })
}

/// Raises the soft limit to the hard one, and returns what it was: children get that back.
///
/// # Errors
/// Those of `setrlimit(2)`; not to be expected.
pub fn raise_open_files() -> nix::Result<OpenFiles> {
    let before = open_files()?;
    setrlimit(Resource::RLIMIT_NOFILE, before.hard, before.hard)?;
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_goes_to_the_hard_limit_and_tells_what_was() {
        let before = open_files().unwrap();
        let told = raise_open_files().unwrap();
        assert_eq!(told, before);
        assert_eq!(open_files().unwrap().soft, before.hard);
        setrlimit(Resource::RLIMIT_NOFILE, before.soft, before.hard).unwrap();
    }
}
