//! `limits`.

use super::keys;
use super::project::Limits;
use super::table::Table;
use super::value::Value;
use crate::os::limits::Rlimit;

/// More than any kernel has; where less is possible, the kernel says so.
const MOST: u32 = u32::MAX;

/// Reads one limit.
type Read = fn(Value) -> Option<u64>;

/// What `setrlimit(2)` does.
const EACH: [(&str, Rlimit, Read); 9] = [
    ("nofile", Rlimit::Nofile, count),
    ("nproc", Rlimit::Nproc, count),
    ("core", Rlimit::Core, bytes),
    ("as", Rlimit::As, bytes),
    ("data", Rlimit::Data, bytes),
    ("stack", Rlimit::Stack, bytes),
    ("fsize", Rlimit::Fsize, bytes),
    ("memlock", Rlimit::Memlock, bytes),
    ("cpu_time", Rlimit::CpuTime, seconds),
];

/// Reads `limits`.
pub(crate) fn limits(table: &Table) -> Limits {
    let Some(value) = table.get("limits") else { return Limits::default() };
    let Some(table) =
        value.table(&keys::LIMITS, "write { nofile = 1024 }, { memory = \"64MiB\" } or the like")
    else {
        return Limits::default();
    };
    let mut limits = Limits::default();
    for (key, what, read) in EACH {
        let Some(value) = table.get(key) else { continue };
        limits.each.extend(match value.as_string() {
            Some("unlimited") => Some((what, Rlimit::UNLIMITED)),
            _ => read(value).map(|most| (what, most)),
        });
    }
    limits.memory = table.get("memory").and_then(Value::size).filter(|bytes| *bytes > 0);
    limits.cpu_milli = table.get("cpu").and_then(|value| value.thousandths(0..=1_024));
    if limits.cpu_milli.is_some_and(|milli| milli < LEAST_CPU)
        && let Some(value) = table.get("cpu")
    {
        value.wrong("is too little for anything to run", "write a number of CPUs, as in 0.5");
    }
    limits.pids = table.get("pids").and_then(|value| value.integer(1..=MOST)).map(u64::from);
    limits
}

/// The kernel grants no less than a millisecond of a slice of a hundred.
const LEAST_CPU: u32 = 10;

fn count(value: Value) -> Option<u64> {
    value.integer(1..=MOST).map(u64::from)
}

fn bytes(value: Value) -> Option<u64> {
    value.size()
}

fn seconds(value: Value) -> Option<u64> {
    value.duration().map(|length| length.as_secs().max(1))
}
