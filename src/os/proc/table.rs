//! All rows at one time, and who descends from whom.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::Process;

/// Every process there was, indexed by parent and by session.
///
/// The rows are read one after another: a process that ends or forks meanwhile may be missing, or name a parent that is.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: BTreeMap<i32, Process>,
    by_parent: BTreeMap<i32, BTreeSet<(u64, i32)>>,
    by_session: BTreeMap<i32, BTreeSet<(u64, i32)>>,
}

/// The pids that exist now, in no order.
///
/// # Errors
/// `/proc` is not mounted or not readable.
pub fn pids() -> io::Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

impl Table {
    /// One pass over `/proc`.
    ///
    /// # Errors
    /// `/proc` is not mounted or not readable.
    pub fn read() -> io::Result<Table> {
        Ok(pids()?.into_iter().filter_map(Process::read).collect())
    }

    /// The row of this pid.
    #[must_use]
    pub fn get(&self, pid: i32) -> Option<&Process> {
        self.rows.get(&pid)
    }

    /// All rows by pid.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.rows.values()
    }

    /// Everything forked by `root`, without `root`: what is below it by the chain of parents, and what stands in the
    /// session it leads (`sid` = its pid) although its parent is gone, with everything below that. `root` itself may be
    /// gone. A parent comes before its children, siblings in the order of their start.
    ///
    /// What left the session *and* lost its parent cannot be attributed from these tables; it is found below the
    /// subreaper that adopted it.
    #[must_use]
    pub fn descendants(&self, root: i32) -> Vec<&Process> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([root]);
        self.collect(self.by_parent.get(&root), &mut seen, &mut found);
        self.collect(self.by_session.get(&root), &mut seen, &mut found);
        found
    }

    /// Appends these and what is below them, depth first. `seen` also ends the walk where rows read at different
    /// moments form a circle.
    fn collect<'a>(
        &'a self,
        from: Option<&BTreeSet<(u64, i32)>>,
        seen: &mut BTreeSet<i32>,
        found: &mut Vec<&'a Process>,
    ) {
        let mut open: Vec<i32> = from.into_iter().flatten().rev().map(|&(_, pid)| pid).collect();
        while let Some(pid) = open.pop() {
            if seen.insert(pid) {
                found.extend(self.rows.get(&pid));
                open.extend(self.by_parent.get(&pid).into_iter().flatten().rev().map(|&(_, child)| child));
            }
        }
    }
}

impl FromIterator<Process> for Table {
    fn from_iter<I: IntoIterator<Item = Process>>(rows: I) -> Table {
        let mut table = Table::default();
        for row in rows {
            let key = (row.start_ticks, row.pid);
            table.by_parent.entry(row.ppid).or_default().insert(key);
            table.by_session.entry(row.sid).or_default().insert(key);
            table.rows.insert(row.pid, row);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pid, parent, session; the start is the position.
    fn table(rows: &[(i32, i32, i32)]) -> Table {
        let row = |(start, &(pid, ppid, sid)): (usize, &(i32, i32, i32))| Process {
            pid,
            comm: String::new(),
            state: 'S',
            ppid,
            pgid: sid,
            sid,
            tty: 0,
            utime: 0,
            stime: 0,
            threads: 1,
            start_ticks: start as u64,
            rss_pages: 1,
        };
        rows.iter().enumerate().map(row).collect()
    }

    fn descendants(rows: &[(i32, i32, i32)], root: i32) -> Vec<i32> {
        table(rows).descendants(root).iter().map(|row| row.pid).collect()
    }

    #[test]
    fn children_and_their_children_parents_first() {
        let rows = [(1, 0, 1), (10, 1, 10), (11, 10, 10), (12, 11, 10), (13, 10, 10), (20, 1, 20)];
        assert_eq!(descendants(&rows, 10), [11, 12, 13]);
        assert_eq!(descendants(&rows, 20), [0; 0]);
    }

    #[test]
    fn orphans_of_the_session_belong_to_its_leader() {
        // 12 lost its parent and was adopted by 1; 13 is its child in a session of its own.
        let rows = [(1, 0, 1), (10, 1, 10), (12, 1, 10), (13, 12, 13), (20, 1, 20), (21, 1, 20)];
        assert_eq!(descendants(&rows, 10), [12, 13]);
        assert_eq!(descendants(&rows[2..], 10), [12, 13], "the leader itself may be gone");
    }

    #[test]
    fn a_daemon_that_left_session_and_parent_is_below_its_adopter_only() {
        let rows = [(1, 0, 1), (10, 1, 10), (30, 1, 30)];
        assert_eq!(descendants(&rows, 10), [0; 0]);
        assert_eq!(descendants(&rows, 1), [10, 30]);
    }

    #[test]
    fn siblings_stand_in_the_order_of_their_start_though_pids_wrap() {
        assert_eq!(descendants(&[(10, 1, 10), (300, 10, 10), (5, 10, 10)], 10), [300, 5]);
    }

    #[test]
    fn circles_of_rows_read_at_different_moments_end() {
        assert_eq!(descendants(&[(10, 12, 10), (11, 10, 10), (12, 11, 10)], 10), [11, 12]);
        assert_eq!(descendants(&[(10, 10, 10)], 10), [0; 0]);
        assert_eq!(descendants(&[(5, 6, 5), (6, 5, 5)], 10), [0; 0]);
    }

    #[test]
    fn a_missing_parent_does_not_hide_the_others() {
        assert_eq!(descendants(&[(10, 1, 10), (12, 99, 10), (13, 99, 1)], 10), [12]);
    }

    #[test]
    fn the_real_table_holds_ourselves_below_our_parent() {
        let (me, parent) =
            (std::process::id().cast_signed(), std::os::unix::process::parent_id().cast_signed());
        let table = Table::read().unwrap();
        assert_eq!(table.get(me).unwrap().ppid, parent);
        assert!(table.descendants(parent).iter().any(|row| row.pid == me));
    }
}
