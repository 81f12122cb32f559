//! One process as `/proc/PID/stat` tells it.

use nix::unistd::{SysconfVar, sysconf};

/// One row of the kernel's process table. Read in one `read(2)`, so its fields belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Name of the program as the kernel keeps it: at most 15 bytes, any bytes but NUL.
    pub comm: String,
    /// State letter: R, S, D, T, t, Z, X, I ...
    pub state: char,
    /// Parent.
    pub ppid: i32,
    /// Process group.
    pub pgid: i32,
    /// Session: the pid of the process that called `setsid(2)`.
    pub sid: i32,
    /// Device number of the controlling terminal, 0 without one: see [`tty_name`](super::tty_name).
    pub tty: i32,
    /// CPU time in user mode, in clock ticks.
    pub utime: u64,
    /// CPU time in kernel mode, in clock ticks.
    pub stime: u64,
    /// Threads.
    pub threads: u64,
    /// Start in clock ticks since boot. With the pid, the identity of a process.
    pub start_ticks: u64,
    /// Resident pages, by the kernel's cheap and slightly late count.
    pub rss_pages: u64,
}

impl Process {
    /// Reads one process; `None` if there is none of this pid.
    #[must_use]
    pub fn read(pid: i32) -> Option<Process> {
        Process::parse(&super::read(pid, "stat", 4096)?)
    }

    /// Parses the line. The name stands in parentheses and may itself contain spaces, parentheses and newlines: it
    /// ends at the last `)`.
    fn parse(line: &[u8]) -> Option<Process> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let pid = std::str::from_utf8(line.get(..open)?).ok()?.trim().parse().ok()?;
        let comm = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        // Numbered as in proc(5), where the state is field 3.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let signed = |number| field(number)?.parse::<i32>().ok();
        let count = |number| field(number)?.parse::<u64>().ok();
        Some(Process {
            pid,
            comm,
            state: field(3)?.chars().next()?,
            ppid: signed(4)?,
            pgid: signed(5)?,
            sid: signed(6)?,
            tty: signed(7)?,
            utime: count(14)?,
            stime: count(15)?,
            threads: count(20)?,
            start_ticks: count(22)?,
            rss_pages: count(24)?,
        })
    }

    /// Resident memory in bytes, from [`rss_pages`](Process::rss_pages).
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok());
        self.rss_pages * page.unwrap_or(4096)
    }

    /// Whether both rows are about one process, not about two that had the same number.
    #[must_use]
    pub fn same_process(&self, other: &Process) -> bool {
        (self.pid, self.start_ticks) == (other.pid, other.start_ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str =
        "S 10 20 30 34819 -1 4194304 99 0 0 0 7 5 0 0 20 0 3 0 140784 3133440 407 18446744073709551615";

    #[test]
    fn every_field_is_found() {
        let row = Process::parse(format!("42 (cat) {TAIL}").as_bytes()).unwrap();
        assert_eq!(
            row,
            Process {
                pid: 42,
                comm: "cat".into(),
                state: 'S',
                ppid: 10,
                pgid: 20,
                sid: 30,
                tty: 34819,
                utime: 7,
                stime: 5,
                threads: 3,
                start_ticks: 140_784,
                rss_pages: 407,
            }
        );
    }

    #[test]
    fn a_name_may_hold_parentheses_spaces_and_newlines() {
        for comm in ["a b", "a) S 1 1 (b", ")", "((", "x\ny", ""] {
            let row = Process::parse(format!("42 ({comm}) {TAIL}").as_bytes()).unwrap();
            assert_eq!((row.comm.as_str(), row.ppid, row.rss_pages), (comm, 10, 407));
        }
    }

    #[test]
    fn a_torn_line_is_no_process() {
        let whole = format!("42 (cat) {TAIL}");
        let needed = whole.find(" 407").unwrap() + 2;
        for end in 0..needed {
            assert_eq!(Process::parse(&whole.as_bytes()[..end]), None, "{:?}", &whole[..end]);
        }
        assert_eq!(Process::parse(b"42 (\xff\xfe) S"), None);
        assert_eq!(Process::parse(b")("), None);
    }

    #[test]
    fn our_own_row_is_true() {
        let row = Process::read(std::process::id().cast_signed()).unwrap();
        assert_eq!(row.pid, std::process::id().cast_signed());
        assert_eq!(row.ppid, std::os::unix::process::parent_id().cast_signed());
        assert_eq!(row.sid, nix::unistd::getsid(None).unwrap().as_raw());
        assert_eq!(row.pgid, nix::unistd::getpgrp().as_raw());
        assert!(row.threads >= 1 && row.rss_pages > 0);
        assert_eq!(Process::read(-1), None);
    }
}
