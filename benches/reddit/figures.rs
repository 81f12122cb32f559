//! What was measured, and how it is printed.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What takes longer is counted as this: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("sound bounds")
}

/// Latencies by action, and what else a client counts.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Acknowledged, by action: pairs of nanoseconds and how often.
    times: BTreeMap<String, Vec<(u64, u64)>>,
    /// Refused by the engine for a reason of the domain, by reason.
    refused: BTreeMap<String, u64>,
    /// The client's CPU time.
    pub(crate) cpu_s: f64,
}

impl Figures {
    pub(crate) fn new(
        times: &[(&str, &Histogram<u64>)],
        refused: BTreeMap<String, u64>,
        cpu_s: f64,
    ) -> Figures {
        let pairs = |histogram: &Histogram<u64>| {
            let recorded = histogram.iter_recorded();
            recorded.map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
        };
        let times = times.iter().filter(|(_, histogram)| !histogram.is_empty());
        Figures { times: times.map(|(name, all)| ((*name).to_owned(), pairs(all))).collect(), refused, cpu_s }
    }

    pub(crate) fn and(mut self, other: Figures) -> Figures {
        for (name, times) in other.times {
            self.times.entry(name).or_default().extend(times);
        }
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        self.cpu_s += other.cpu_s;
        self
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.times.values().flatten().map(|&(_, count)| count).sum()
    }

    pub(crate) fn all(&self) -> Histogram<u64> {
        merged(self.times.values().flatten())
    }

    pub(crate) fn print(&self) {
        let all = self.acknowledged() as f64;
        for (name, times) in &self.times {
            let times = merged(times);
            let [half, most] = [0.5, 0.99].map(|q| times.value_at_quantile(q) as f64 / 1e6);
            let share = 100.0 * times.len() as f64 / all;
            row(&format!("  {name}, {share:.1} %"), format!("p50 {half:.3} ms, p99 {most:.3} ms"), None);
        }
        for (reason, count) in &self.refused {
            row("  refused", format!("{count}: {reason}"), None);
        }
    }
}

fn merged<'a>(pairs: impl IntoIterator<Item = &'a (u64, u64)>) -> Histogram<u64> {
    let mut all = histogram();
    for &(ns, count) in pairs {
        all.record_n(ns, count).expect("within the bounds");
    }
    all
}

/// One line of the tables.
pub(crate) fn row(name: &str, measured: String, target: Option<String>) {
    match target {
        Some(target) => println!("{name:<42}{measured:>30}   target {target}"),
        None => println!("{name:<42}{measured:>30}"),
    }
}
