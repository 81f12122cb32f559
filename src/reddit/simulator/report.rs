//! What the crowd did, counted and put into words. Nothing is printed that was not measured.

use std::collections::BTreeSet;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::plan::Kind;

/// Latencies above this are counted as this much: one minute, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// Answered actions.
#[derive(Clone, Debug)]
struct Answered {
    counts: [u64; Kind::ALL.len()],
    latency_us: Histogram<u64>,
}

/// Everything one client counts.
#[derive(Clone, Debug)]
pub(super) struct Report {
    interval: Answered,
    total: Answered,
    /// Actions that were refused or not answered in time.
    errors: u64,
    /// Texts of the errors seen so far.
    kinds_of_errors: BTreeSet<String>,
    /// Actions in flight when a connection was lost: nobody knows whether they happened.
    in_flight_lost: u64,
    /// Connections after the first.
    reconnects: u64,
}

impl Answered {
    fn none() -> Answered {
        let latency_us = Histogram::new_with_bounds(1, LONGEST_US, 3)
            .expect("1 to 60,000,000 with 3 digits is a range that a histogram can have");
        Answered { counts: [0; Kind::ALL.len()], latency_us }
    }

    fn sum(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// `feed 49% vote 35% ...`, what did not happen left out.
    fn shares(&self) -> String {
        let percent = |count: u64| (count * 100 + self.sum() / 2).checked_div(self.sum()).unwrap_or(0);
        let happened = Kind::ALL.into_iter().filter(|&kind| self.counts[kind as usize] > 0);
        let shares: Vec<_> = happened
            .map(|kind| format!("{} {}%", kind.name(), percent(self.counts[kind as usize])))
            .collect();
        shares.join(" ")
    }

    /// The latency that this many percent of the actions stayed below.
    fn percentile(&self, percent: f64) -> String {
        in_ms(self.latency_us.value_at_percentile(percent))
    }
}

impl Report {
    pub(super) fn new() -> Report {
        Report {
            interval: Answered::none(),
            total: Answered::none(),
            errors: 0,
            kinds_of_errors: BTreeSet::new(),
            in_flight_lost: 0,
            reconnects: 0,
        }
    }

    pub(super) fn answered(&mut self, kind: Kind, latency: Duration) {
        self.interval.counts[kind as usize] += 1;
        let us = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US);
        self.interval.latency_us.saturating_record(us);
    }

    /// Counts an error. `true` the first time this one is seen.
    pub(super) fn error(&mut self, text: &str) -> bool {
        self.errors += 1;
        let new = !self.kinds_of_errors.contains(text);
        if new {
            self.kinds_of_errors.insert(text.to_owned());
        }
        new
    }

    pub(super) fn lost_in_flight(&mut self) {
        self.in_flight_lost += 1;
    }

    pub(super) fn reconnected(&mut self) {
        self.reconnects += 1;
    }

    /// One line about the time since the last one.
    pub(super) fn line(&mut self, elapsed: Duration) -> String {
        let last = &self.interval;
        let line = format!(
            "{} ops/s  p50 {} p99 {}  {}  errors {} reconnects {}",
            grouped(per_second(last.sum(), elapsed)),
            last.percentile(50.0),
            last.percentile(99.0),
            last.shares(),
            grouped(self.errors),
            self.reconnects,
        );
        self.close_interval();
        line
    }

    /// The sum of everything, over the time in which the crowd was acting.
    pub(super) fn totals(&mut self, acting: Duration) -> String {
        self.close_interval();
        let all = &self.total;
        format!(
            "{} actions in {:.1} s, {} ops/s  p50 {} p90 {} p99 {} p99.9 {} max {}  {}  errors {} reconnects {} lost in flight {}",
            grouped(all.sum()),
            acting.as_secs_f64(),
            grouped(per_second(all.sum(), acting)),
            all.percentile(50.0),
            all.percentile(90.0),
            all.percentile(99.0),
            all.percentile(99.9),
            in_ms(all.latency_us.max()),
            all.shares(),
            grouped(self.errors),
            self.reconnects,
            self.in_flight_lost,
        )
    }

    fn close_interval(&mut self) {
        for (total, count) in self.total.counts.iter_mut().zip(&mut self.interval.counts) {
            *total += std::mem::take(count);
        }
        self.total.latency_us.add(&self.interval.latency_us).expect("both histograms have the same bounds");
        self.interval.latency_us.reset();
    }
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { (count as f64 / seconds).round() as u64 } else { 0 }
}

fn in_ms(us: u64) -> String {
    format!("{:.2}ms", us as f64 / 1000.0)
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts = [0, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn a_line_tells_the_last_interval_and_the_totals_tell_all() {
        let mut report = Report::new();
        for _ in 0..3 {
            report.answered(Kind::Feed, MS);
        }
        report.answered(Kind::Vote, 4 * MS);
        assert!(report.error("not found"));
        assert!(!report.error("not found"), "the same error again is no news");
        assert_eq!(
            report.line(500 * MS),
            "8 ops/s  p50 1.00ms p99 4.00ms  feed 75% vote 25%  errors 2 reconnects 0"
        );
        report.answered(Kind::Post, 2 * MS);
        report.reconnected();
        assert_eq!(
            report.line(1000 * MS),
            "1 ops/s  p50 2.00ms p99 2.00ms  post 100%  errors 2 reconnects 1"
        );
        let totals = report.totals(2000 * MS);
        assert!(totals.starts_with("5 actions in 2.0 s, 3 ops/s  p50 1.00ms"), "{totals}");
    }

    #[test]
    fn an_interval_without_answers_is_told_without_inventing_any() {
        assert_eq!(Report::new().line(MS), "0 ops/s  p50 0.00ms p99 0.00ms    errors 0 reconnects 0");
    }
}
