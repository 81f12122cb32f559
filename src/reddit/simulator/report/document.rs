//! The report as a document: what one client measured, or several together.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::super::kind::Mix;

/// The form of the document; another one is refused.
pub(in super::super) const VERSION: u32 = 2;

/// Latencies above this are counted as this much: ten minutes, in microseconds.
const LONGEST_US: u64 = 600_000_000;

/// What one client measured, or several together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The form of the document.
    pub version: u32,
    /// Each client by itself.
    pub clients: Vec<ClientReport>,
    /// Acknowledged actions of the measured windows, by kind.
    pub actions: BTreeMap<String, Latencies>,
    /// Requests that were refused or not answered in time, by what was said.
    pub errors: BTreeMap<String, u64>,
    /// The exponent of the membership that was aimed at.
    pub exponent: f64,
    /// Members by subreddit, at the end.
    pub members: Vec<u64>,
    /// Posts by subreddit.
    pub posts: Vec<u64>,
    /// Votes by subreddit, on posts and comments.
    pub votes: Vec<u64>,
    /// What became of holding a store against its invariants, where that was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Verdict>,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientReport {
    /// Its node.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// When the measured window began, ms since 1970.
    pub started_ms: u64,
    /// What chose everything.
    pub seed: u64,
    /// How many users.
    pub users: u32,
    /// How many subreddits.
    pub subreddits: u16,
    /// What they wish for.
    pub mix: Mix,
    /// Actions in flight at most.
    pub depth: u16,
    /// Actions a second, if they begin at given moments.
    pub rate: Option<u32>,
    /// How long users think between two actions on average, if they do.
    pub think_s: Option<f64>,
    /// How many times as long texts are.
    pub text_scale: f64,
    /// One after the other, reproducibly.
    pub lockstep: bool,
    /// How many times as long sessions are.
    pub time_scale: f64,
    /// Left out before the measured window.
    pub warm_up_s: f64,
    /// The measured window.
    pub measured_s: f64,
    /// Actions acknowledged in it.
    pub acknowledged: u64,
    /// Bytes written to the client's connections in it.
    pub sent_bytes: u64,
    /// Bytes read from them.
    pub received_bytes: u64,
    /// How everybody was registered.
    pub storm: Option<Storm>,
    /// Connections after the first.
    pub reconnects: u64,
    /// Each time the connection was lost.
    pub outages: Vec<Outage>,
    /// Actions in flight when a connection was lost.
    pub lost_in_flight: u64,
    /// Writes of these that were asked for again under their name.
    pub asked_again: u64,
    /// What was signed and verified, from the first moment on.
    #[serde(default)]
    pub signatures: Signatures,
    /// Moments of the rate that were given up because they were a minute ago.
    pub missed: u64,
    /// What each life of the engine that was met in the window did, for all its clients.
    pub engines: Vec<EngineUse>,
    /// The tables of the engine at the end, where that is reproducible.
    pub fingerprint: Option<String>,
    /// What was asked for, where that was written down.
    pub trace: Option<Traced>,
    /// The window in the course of time.
    pub samples: Vec<Sample>,
}

impl ClientReport {
    /// Bytes that went over its connections, both ways.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sent_bytes + self.received_bytes
    }

    /// Acknowledged actions a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        if self.measured_s > 0.0 { self.acknowledged as f64 / self.measured_s } else { 0.0 }
    }
}

/// A time without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// From the first failure to the next acknowledgement.
    pub ms: f64,
    /// It was another life of the engine that answered: the one before had ended.
    pub engine_ended: bool,
}

/// Requests that were written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// How many.
    pub requests: u64,
    /// Their sum: equal for equal requests in the same order.
    pub hash: String,
}

/// What a check of a store and of the clients' ledgers said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The first invariant that does not hold, and the counter-example.
    pub violation: Option<String>,
    /// Invariants that were looked at and hold; none beside a violation, at which the check ends.
    pub hold: Vec<String>,
    /// Those that were not looked at.
    pub not_checked: Vec<String>,
    /// Records that the store holds; 0 beside a violation.
    pub records: u64,
    /// Operations in the ledgers, each of which the store holds once; `None` without ledgers.
    pub acknowledged: Option<u64>,
}

impl Verdict {
    /// The check ended at this.
    #[must_use]
    pub fn against(violation: &impl std::fmt::Display) -> Verdict {
        Verdict {
            violation: Some(violation.to_string()),
            hold: Vec::new(),
            not_checked: Vec::new(),
            records: 0,
            acknowledged: None,
        }
    }
}

/// Everybody registering, opening subreddits and joining, before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Storm {
    /// Users.
    pub users: u64,
    /// Subreddits, opened or found.
    pub subreddits: u64,
    /// Memberships.
    pub memberships: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Posts with signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signatures {
    /// Posts of its users that were acknowledged with a signature.
    pub signed: u64,
    /// Posts read in feeds that are what their authors signed; each was verified once.
    pub verified: u64,
    /// Those that were read in part, because a list shows no more, and so not verified.
    pub cut: u64,
    /// Those that are not what their authors signed.
    pub bad: u64,
}

/// What an engine did between two looks at its counters, for all its clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineUse {
    /// Its process.
    pub pid: u32,
    /// Which life of its node; a later one has a larger number.
    pub incarnation: u64,
    /// The time between the looks.
    pub seconds: f64,
    /// Requests answered.
    pub requests: u64,
    /// Turns in which it answered them.
    pub turns: u64,
    /// Records applied.
    pub records: u64,
    /// Groups of these that were written into its store.
    pub groups: u64,
    /// Groups for which it waited until they were on the disk.
    pub syncs: u64,
    /// Operations asked for again that had been carried out.
    pub repeated: u64,
    /// Processor time, where the kernel tells it.
    pub cpu_s: Option<f64>,
    /// Its memory at the end, where the kernel tells it.
    pub rss_bytes: Option<u64>,
    /// Users it had at the end.
    pub users: u64,
}

/// A moment of the window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since 1970.
    pub at_s: u64,
    /// Users who were there.
    pub online: u32,
    /// Actions acknowledged so far.
    pub acknowledged: u64,
}

/// A histogram, as the counts of its values in microseconds: what is added up is what was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies(Vec<(u64, u64)>);

impl Latencies {
    /// An empty histogram of this kind: to a thousandth, whatever the size.
    pub(in super::super) fn histogram() -> Histogram<u64> {
        Histogram::new_with_bounds(1, LONGEST_US, 3).expect("a range that a histogram can have")
    }

    /// The counts of a histogram.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Latencies {
        let counts = histogram.iter_recorded();
        Latencies(counts.map(|at| (at.value_iterated_to(), at.count_at_value())).collect())
    }

    /// The histogram that has these counts.
    #[must_use]
    pub fn to_histogram(&self) -> Histogram<u64> {
        let mut histogram = Latencies::histogram();
        for &(us, count) in &self.0 {
            histogram.saturating_record_n(us, count);
        }
        histogram
    }

    /// How many were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn add(&mut self, other: &Latencies) {
        let mut sum = self.to_histogram();
        sum.add(other.to_histogram()).expect("both have the same bounds");
        *self = Latencies::of(&sum);
    }
}

/// Why reports cannot be told together.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A file cannot be read.
    #[error("cannot read the report {}: {error}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It has another form.
    #[error("the report {} has form {found}, and this program knows {VERSION}", .path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Its form.
        found: u32,
    },
    /// The same measurement is there twice.
    #[error("the report of {name} (pid {pid}) is given twice: leave out {}", .path.display())]
    Twice {
        /// Whose.
        name: String,
        /// Its process.
        pid: u32,
        /// The second one.
        path: PathBuf,
    },
    /// They aim at different memberships.
    #[error("the report {} aims at the exponent {theirs}, those before at {ours}", .path.display())]
    Exponent {
        /// Which.
        path: PathBuf,
        /// Of this one.
        theirs: f64,
        /// Of the others.
        ours: f64,
    },
}

impl Report {
    /// The reports in these files together.
    ///
    /// # Errors
    /// [`MergeError`].
    pub fn read(paths: &[PathBuf]) -> Result<Report, MergeError> {
        let mut all: Option<Report> = None;
        for path in paths {
            let next = read(path)?;
            match &mut all {
                None => all = Some(next),
                Some(all) => all.add(next, path)?,
            }
        }
        let none = || io::Error::new(io::ErrorKind::InvalidInput, "no report is given");
        all.ok_or_else(|| MergeError::Read { path: PathBuf::new(), error: none() })
    }

    fn add(&mut self, other: Report, path: &Path) -> Result<(), MergeError> {
        if self.exponent != other.exponent {
            let (theirs, ours) = (other.exponent, self.exponent);
            return Err(MergeError::Exponent { path: path.to_owned(), theirs, ours });
        }
        for client in other.clients {
            let is_same = |one: &&ClientReport| {
                (&one.name, one.pid, one.started_ms) == (&client.name, client.pid, client.started_ms)
            };
            if self.clients.iter().any(|one| is_same(&one)) {
                let (name, pid) = (client.name, client.pid);
                return Err(MergeError::Twice { name, pid, path: path.to_owned() });
            }
            self.clients.push(client);
        }
        for (kind, latencies) in other.actions {
            self.actions.entry(kind).or_default().add(&latencies);
        }
        for (what, count) in other.errors {
            *self.errors.entry(what).or_default() += count;
        }
        let counts = [&mut self.members, &mut self.posts, &mut self.votes];
        for (counts, others) in counts.into_iter().zip([other.members, other.posts, other.votes]) {
            counts.resize(counts.len().max(others.len()), 0);
            counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        }
        Ok(())
    }

    /// A check was made and found something.
    #[must_use]
    pub fn is_violated(&self) -> bool {
        self.check.as_ref().is_some_and(|check| check.violation.is_some())
    }

    /// All actions together.
    #[must_use]
    pub fn all_actions(&self) -> Latencies {
        let mut all = Latencies::histogram();
        for latencies in self.actions.values() {
            all.add(latencies.to_histogram()).expect("both have the same bounds");
        }
        Latencies::of(&all)
    }

    /// Acknowledged actions a second of all clients.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.clients.iter().map(ClientReport::per_second).sum()
    }

    /// All clients in the course of time: at each second that any of them tells, everybody's last sample up to then.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let mut steps: BTreeMap<u64, Vec<(usize, Sample)>> = BTreeMap::new();
        for (client, report) in self.clients.iter().enumerate() {
            for &sample in &report.samples {
                steps.entry(sample.at_s).or_default().push((client, sample));
            }
        }
        let mut last = vec![Sample { at_s: 0, online: 0, acknowledged: 0 }; self.clients.len()];
        let mut together = Vec::new();
        for (at_s, news) in steps {
            news.into_iter().for_each(|(client, sample)| last[client] = sample);
            let online = last.iter().map(|sample| sample.online).sum();
            let acknowledged = last.iter().map(|sample| sample.acknowledged).sum();
            together.push(Sample { at_s, online, acknowledged });
        }
        together
    }
}

fn read(path: &Path) -> Result<Report, MergeError> {
    #[derive(Deserialize)]
    struct Form {
        version: u32,
    }
    let failed = |error| MergeError::Read { path: path.to_owned(), error };
    let text = fs::read(path).map_err(failed)?;
    let form: Form = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    if form.version != VERSION {
        return Err(MergeError::Version { path: path.to_owned(), found: form.version });
    }
    serde_json::from_slice(&text).map_err(|error| failed(error.into()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn report(name: &str, latencies: &[u64]) -> Report {
        let mut feed = Latencies::histogram();
        latencies.iter().for_each(|&us| feed.saturating_record(us));
        let client = ClientReport {
            name: name.into(),
            pid: 77,
            started_ms: 1_000,
            seed: 1,
            users: 100,
            subreddits: 4,
            mix: Mix::ReadHeavy,
            depth: 16,
            rate: None,
            think_s: None,
            text_scale: 1.0,
            lockstep: false,
            time_scale: 1.0,
            warm_up_s: 0.0,
            measured_s: 2.0,
            acknowledged: latencies.len() as u64,
            sent_bytes: 300,
            received_bytes: 1700,
            storm: Some(Storm { users: 100, subreddits: 4, memberships: 300, seconds: 0.5 }),
            reconnects: 1,
            outages: vec![Outage { ms: 12.5, engine_ended: true }, Outage { ms: 3.0, engine_ended: false }],
            lost_in_flight: 3,
            asked_again: 2,
            signatures: Signatures { signed: 12, verified: 34, cut: 5, bad: 0 },
            missed: 0,
            engines: vec![EngineUse {
                pid: 78,
                incarnation: 5,
                seconds: 2.0,
                requests: 50,
                turns: 10,
                records: 20,
                groups: 8,
                syncs: 4,
                repeated: 1,
                cpu_s: Some(0.5),
                rss_bytes: Some(10 << 20),
                users: 200,
            }],
            fingerprint: None,
            trace: Some(Traced { requests: 9, hash: "00ff".to_owned() }),
            samples: vec![
                Sample { at_s: 5, online: 60, acknowledged: 1 },
                Sample { at_s: 6, online: 61, acknowledged: 4 },
            ],
        };
        Report {
            version: VERSION,
            clients: vec![client],
            actions: BTreeMap::from([("feed".to_owned(), Latencies::of(&feed))]),
            errors: BTreeMap::from([("post: the store is full".to_owned(), 2)]),
            exponent: 1.0,
            members: vec![60, 30, 20, 15],
            posts: vec![9, 4, 2, 1],
            votes: vec![3, 2, 1],
            check: None,
        }
    }

    #[test]
    fn nothing_is_lost_in_adding_reports_up() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = ([90, 800, 12_345], [100, 801, 9_999_999]);
        let files = [("client@1", &one), ("client@2", &two)].map(|(name, latencies)| {
            let file = dir.path().join(name);
            fs::write(&file, serde_json::to_vec(&report(name, latencies)).unwrap()).unwrap();
            file
        });
        let both = Report::read(&files).unwrap();
        let mut together = Latencies::histogram();
        one.iter().chain(&two).for_each(|&us| together.saturating_record(us));
        assert_eq!(both.actions["feed"].to_histogram(), together);
        assert_eq!(both.all_actions(), both.actions["feed"]);
        assert_eq!((both.actions["feed"].count(), both.per_second()), (6, 3.0));
        assert_eq!((both.members[0], both.votes.len(), both.errors["post: the store is full"]), (120, 3, 4));
        assert_eq!(both.samples(), [(5, 120, 2), (6, 122, 8)].map(sample));
        // What is written is what is read.
        assert_eq!(Report::read(&files[..1]).unwrap(), report("client@1", &one));
    }

    fn sample((at_s, online, acknowledged): (u64, u32, u64)) -> Sample {
        Sample { at_s, online, acknowledged }
    }

    #[test]
    fn what_cannot_be_added_up_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("report");
        let write = |report: &Report| fs::write(&file, serde_json::to_vec(report).unwrap()).unwrap();
        write(&report("client@1", &[]));
        let error = |files: &[PathBuf]| Report::read(files).unwrap_err().to_string();
        assert!(error(&[file.clone(), file.clone()]).contains("client@1 (pid 77) is given twice"));
        write(&Report { version: 1, ..report("client@1", &[]) });
        assert!(error(std::slice::from_ref(&file)).contains("has form 1, and this program knows 2"));
        assert!(error(&[dir.path().join("none")]).contains("No such file"));
    }
}
