//! Counting while the crowd acts.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::super::kind::Kind;
use super::document::{Latencies, Outage, Sample};
use super::text::{grouped, in_ms};
use crate::node::{Identity, Traffic};

/// Samples that are kept; beyond it every other one goes.
const SAMPLES: usize = 2048;

/// Everything one client counts.
#[derive(Clone, Debug)]
pub(in super::super) struct Recorder {
    /// Since the last line.
    interval: Interval,
    /// In the measured window.
    pub(in super::super) totals: Vec<Histogram<u64>>,
    /// The beginning of that.
    pub(in super::super) since: Option<(Instant, SystemTime)>,
    /// Its end, and what had gone over the connections by then.
    until: Option<(Instant, Traffic)>,
    /// What had gone over the connections when it began.
    before: Traffic,
    pub(in super::super) posts: Vec<u64>,
    pub(in super::super) votes: Vec<u64>,
    pub(in super::super) samples: Vec<Sample>,
    /// Seconds between two samples.
    step: u64,
    /// Everything below is counted from the first moment on.
    pub(in super::super) errors: BTreeMap<String, u64>,
    pub(in super::super) lost_in_flight: u64,
    pub(in super::super) reconnects: u64,
    pub(in super::super) asked_again: u64,
    pub(in super::super) outages: Vec<Outage>,
    /// When the connection was lost and which life of the engine it led to, until the next answer on another one.
    lost: Option<(Instant, Life)>,
    connected: Option<Life>,
}

/// One life of an engine: its process and its incarnation.
type Life = (u32, u64);

#[derive(Clone, Debug)]
struct Interval {
    counts: [u64; Kind::ALL.len()],
    latency_us: Histogram<u64>,
}

impl Recorder {
    pub(in super::super) fn new(subreddits: usize) -> Recorder {
        Recorder {
            interval: Interval { counts: [0; Kind::ALL.len()], latency_us: Latencies::histogram() },
            totals: vec![Latencies::histogram(); Kind::ALL.len()],
            since: None,
            until: None,
            before: Traffic::default(),
            posts: vec![0; subreddits],
            votes: vec![0; subreddits],
            samples: Vec::new(),
            step: 1,
            errors: BTreeMap::new(),
            lost_in_flight: 0,
            reconnects: 0,
            asked_again: 0,
            outages: Vec::new(),
            lost: None,
            connected: None,
        }
    }

    /// The measured window begins: what was acknowledged so far does not count, nor the traffic.
    pub(in super::super) fn begin(&mut self, traffic: Traffic) {
        self.totals.iter_mut().for_each(Histogram::reset);
        self.posts.fill(0);
        self.votes.fill(0);
        self.samples.clear();
        self.before = traffic;
        self.since = Some((Instant::now(), SystemTime::now()));
    }

    /// The measured window is over, unless it was before.
    pub(in super::super) fn end(&mut self, traffic: Traffic) {
        self.until.get_or_insert_with(|| (Instant::now(), traffic));
    }

    /// Whether it has begun and is not over.
    pub(in super::super) fn is_measuring(&self) -> bool {
        self.since.is_some() && self.until.is_none()
    }

    /// What went over the connections in it, once it is over.
    pub(in super::super) fn traffic(&self) -> Traffic {
        self.until.map_or_else(Traffic::default, |(_, after)| after - self.before)
    }

    /// How long it has lasted.
    pub(in super::super) fn measured(&self) -> Duration {
        let until = self.until.map_or_else(Instant::now, |(at, _)| at);
        self.since.map_or(Duration::ZERO, |(since, _)| until.saturating_duration_since(since))
    }

    pub(in super::super) fn answered(&mut self, kind: Kind, latency: Duration) {
        if let (Some(now), Some((at, before))) = (self.connected, self.lost) {
            self.lost = None;
            let ms = at.elapsed().as_secs_f64() * 1000.0;
            self.outages.push(Outage { ms, engine_ended: now != before });
        }
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        self.interval.counts[kind as usize] += 1;
        self.interval.latency_us.saturating_record(us);
        self.totals[kind as usize].saturating_record(us);
    }

    /// Somebody posted in the subreddit of this rank.
    pub(in super::super) fn posted(&mut self, place: u16) {
        self.posts[usize::from(place)] += 1;
    }

    /// Somebody voted on something in the subreddit of this rank.
    pub(in super::super) fn voted(&mut self, place: Option<u16>) {
        if let Some(place) = place {
            self.votes[usize::from(place)] += 1;
        }
    }

    /// Counts an error. `true` the first time this one is seen.
    pub(in super::super) fn error(&mut self, text: &str) -> bool {
        if let Some(count) = self.errors.get_mut(text) {
            *count += 1;
            return false;
        }
        self.errors.insert(text.to_owned(), 1);
        true
    }

    /// The connection is lost.
    pub(in super::super) fn lost(&mut self) {
        if let Some(life) = self.connected.take() {
            self.lost = self.lost.or(Some((Instant::now(), life)));
        }
    }

    /// There is a connection to this engine.
    pub(in super::super) fn connected(&mut self, engine: &Identity) {
        self.connected = Some((engine.pid, engine.incarnation));
    }

    pub(in super::super) fn acknowledged(&self) -> u64 {
        self.totals.iter().map(Histogram::len).sum()
    }

    /// Notes how it stands now, about once a second.
    pub(in super::super) fn sample(&mut self, online: u32) {
        let at_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.since.is_none() || self.samples.last().is_some_and(|last| at_s < last.at_s + self.step) {
            return;
        }
        self.samples.push(Sample { at_s, online, acknowledged: self.acknowledged() });
        if self.samples.len() > SAMPLES {
            let mut place = 0;
            self.samples.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.step *= 2;
        }
    }

    /// One line about the time since the last one.
    pub(in super::super) fn line(&mut self, elapsed: Duration) -> String {
        let Interval { counts, latency_us } = &mut self.interval;
        let sum: u64 = counts.iter().sum();
        let percent = |count: u64| (count * 100 + sum / 2).checked_div(sum).unwrap_or(0);
        let happened = Kind::ALL.into_iter().filter(|&kind| counts[kind as usize] > 0);
        let shares: Vec<_> =
            happened.map(|kind| format!("{} {}%", kind.name(), percent(counts[kind as usize]))).collect();
        let line = format!(
            "{} ops/s  p50 {} p99 {}  {}  errors {} reconnects {}",
            grouped(per_second(sum, elapsed)),
            in_ms(latency_us.value_at_quantile(0.5)),
            in_ms(latency_us.value_at_quantile(0.99)),
            shares.join(" "),
            grouped(self.errors.values().sum()),
            self.reconnects,
        );
        counts.fill(0);
        latency_us.reset();
        line
    }

    /// The sum of the measured window in one line.
    pub(in super::super) fn totals(&self, measured: Duration) -> String {
        let mut all = Latencies::histogram();
        for latency_us in &self.totals {
            all.add(latency_us).expect("both have the same bounds");
        }
        let quantile = |quantile| in_ms(all.value_at_quantile(quantile));
        format!(
            "{} actions in {:.1} s, {} ops/s  p50 {} p90 {} p99 {} p99.9 {} max {}  errors {} reconnects {} lost in flight {}",
            grouped(all.len()),
            measured.as_secs_f64(),
            grouped(per_second(all.len(), measured)),
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            quantile(0.999),
            in_ms(all.max()),
            grouped(self.errors.values().sum()),
            self.reconnects,
            self.lost_in_flight,
        )
    }
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { (count as f64 / seconds).round() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_line_tells_the_last_interval_and_the_totals_tell_all() {
        let mut recorder = Recorder::new(3);
        recorder.begin(Traffic::default());
        for _ in 0..3 {
            recorder.answered(Kind::Feed, MS);
        }
        recorder.answered(Kind::Vote, 4 * MS);
        assert!(recorder.error("not found"));
        assert!(!recorder.error("not found"), "the same error again is no news");
        assert_eq!(
            recorder.line(500 * MS),
            "8 ops/s  p50 1.00ms p99 4.00ms  feed 75% vote 25%  errors 2 reconnects 0"
        );
        recorder.answered(Kind::Post, 2 * MS);
        recorder.reconnects += 1;
        assert_eq!(
            recorder.line(1000 * MS),
            "1 ops/s  p50 2.00ms p99 2.00ms  post 100%  errors 2 reconnects 1"
        );
        let totals = recorder.totals(2000 * MS);
        assert!(totals.starts_with("5 actions in 2.0 s, 3 ops/s  p50 1.00ms"), "{totals}");
    }

    #[test]
    fn an_interval_without_answers_is_told_without_inventing_any() {
        assert_eq!(Recorder::new(1).line(MS), "0 ops/s  p50 0.00ms p99 0.00ms    errors 0 reconnects 0");
    }

    #[test]
    fn what_was_before_the_measured_window_does_not_count() {
        let mut recorder = Recorder::new(2);
        recorder.answered(Kind::Post, MS);
        recorder.posted(1);
        recorder.sample(5);
        assert!(recorder.samples.is_empty());
        recorder.begin(Traffic::default());
        assert_eq!((recorder.acknowledged(), recorder.posts[1]), (0, 0));
    }

    #[test]
    fn an_outage_lasts_until_the_next_answer() {
        let mut recorder = Recorder::new(2);
        let engine = Identity { node: "engine".to_owned(), pid: 7, incarnation: 1 };
        recorder.connected(&engine);
        recorder.answered(Kind::Feed, MS);
        recorder.lost();
        // Read before the loss was noticed by whoever waits for it.
        recorder.answered(Kind::Feed, MS);
        recorder.lost();
        assert_eq!(recorder.outages.len(), 0);
        recorder.connected(&engine);
        recorder.answered(Kind::Feed, MS);
        recorder.answered(Kind::Feed, MS);
        recorder.lost();
        recorder.connected(&Identity { incarnation: 2, ..engine });
        recorder.answered(Kind::Feed, MS);
        let ended: Vec<bool> = recorder.outages.iter().map(|outage| outage.engine_ended).collect();
        assert_eq!(ended, [false, true], "only the second engine was another one");
    }

    #[test]
    fn bytes_are_those_of_the_measured_window() {
        let mut recorder = Recorder::new(1);
        recorder.begin(Traffic { sent: 10, received: 100 });
        recorder.end(Traffic { sent: 15, received: 400 });
        recorder.end(Traffic { sent: 99, received: 999 });
        assert_eq!(recorder.traffic(), Traffic { sent: 5, received: 300 });
    }
}
