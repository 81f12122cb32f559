//! What one process uses: dearer to read than its row, so only for those that are shown.

use std::path::Path;

/// What one process uses and runs. Each part is `None` where the kernel does not let us read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory.
    pub memory: Option<Memory>,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// Executable file; ends in ` (deleted)` when the file is no longer that name's.
    pub exe: Option<String>,
    /// Arguments, joined by spaces; at most 4 KiB of them. `None` for zombies and kernel threads too.
    pub cmdline: Option<String>,
}

/// Memory of one process, in bytes (`/proc/PID/smaps_rollup`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident.
    pub rss: u64,
    /// Resident, each page divided by the number of processes that map it: can be summed.
    pub pss: u64,
    /// Resident pages that no other process maps.
    pub private: u64,
}

impl Usage {
    /// Reads what process `pid` uses now. The caller makes sure that it is still the same process afterwards.
    #[must_use]
    pub fn read(pid: i32) -> Usage {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        Usage {
            memory: super::read(pid, "smaps_rollup", 16_384).and_then(|text| Memory::parse(&text)),
            fds: count_fds(Path::new(&format!("/proc/{pid}/fd"))),
            exe: exe.map(|path| path.to_string_lossy().into_owned()),
            cmdline: super::read(pid, "cmdline", 4_096).and_then(|bytes| join_arguments(&bytes)),
        }
    }
}

impl Memory {
    /// Sums up the `Name: N kB` lines; `None` if it is not such a text (a zombie's is empty).
    fn parse(text: &[u8]) -> Option<Memory> {
        let text = std::str::from_utf8(text).ok()?;
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
        };
        Some(Memory {
            rss: bytes("Rss")?,
            pss: bytes("Pss")?,
            private: bytes("Private_Clean")? + bytes("Private_Dirty")?,
        })
    }
}

/// Since Linux 6.2 the size of the directory is the number of descriptors; before, it is 0 and they are counted.
fn count_fds(dir: &Path) -> Option<u64> {
    match std::fs::metadata(dir).ok()?.len() {
        0 => Some(std::fs::read_dir(dir).ok()?.count() as u64),
        counted => Some(counted),
    }
}

fn join_arguments(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().rposition(|&byte| byte != 0)? + 1;
    Some(bytes[..end].split(|&byte| byte == 0).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_from_the_rollup() {
        let text = b"55d5-7ffe ---p 00000000 00:00 0   [rollup]\nRss:     1784 kB\nPss:  383 kB\nPss_Dirty: 112 kB\n\
            Private_Clean:   56 kB\nPrivate_Dirty:  112 kB\nPrivate_Hugetlb: 0 kB\n";
        let memory = Memory { rss: 1784 * 1024, pss: 383 * 1024, private: 168 * 1024 };
        assert_eq!(Memory::parse(text), Some(memory));
        assert_eq!(Memory::parse(b""), None);
        assert_eq!(Memory::parse(b"Rss: many kB\nPss: 1 kB\n"), None);
    }

    #[test]
    fn arguments_are_joined() {
        assert_eq!(join_arguments(b"sh\0-c\0a b\0").as_deref(), Some("sh -c a b"));
        assert_eq!(join_arguments(b"sh\0\0x\0").as_deref(), Some("sh  x"), "an empty argument stays visible");
        assert_eq!(join_arguments(b"title without end").as_deref(), Some("title without end"));
        assert_eq!(join_arguments(b""), None);
        assert_eq!(join_arguments(b"\0\0"), None);
    }

    #[test]
    fn our_own_usage_is_plausible_and_a_missing_process_has_none() {
        let usage = Usage::read(std::process::id().cast_signed());
        let memory = usage.memory.unwrap();
        assert!(memory.private <= memory.pss && memory.pss <= memory.rss, "{memory:?}");
        assert!(usage.fds.unwrap() >= 3);
        assert_eq!(usage.exe.unwrap(), std::env::current_exe().unwrap().to_str().unwrap());
        assert!(usage.cmdline.is_some());
        assert_eq!(Usage::read(i32::MAX), Usage::default());
    }
}
