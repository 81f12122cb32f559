//! What a client says at its end.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::{Client, say};
use crate::reddit::Exit;
use crate::reddit::simulator::kind::Kind;
use crate::reddit::simulator::progress;
use crate::reddit::simulator::report::{self, ClientReport, Latencies, Report, Traced};

impl Client {
    /// Tells what was measured, if anything was.
    pub(super) fn tell_all(&self, exit: Exit) -> Exit {
        let crowd = &self.crowd;
        let mut kept = Ok(());
        crowd.report().borrow_mut().end(self.node.traffic());
        let trace = crowd.finish_trace().transpose();
        if progress::is_watched() {
            progress::clear();
        }
        let measured = crowd.report().borrow().measured();
        if !measured.is_zero() {
            let report = self.report(measured, trace.as_ref().ok().cloned().flatten());
            if let Some(path) = &self.options.report_json {
                kept = write_report(path, &report)
                    .map_err(|error| format!("cannot write the report {}: {error}", path.display()));
            }
            // The reader may be gone, and there is nobody else to tell.
            let _ = write!(io::stdout(), "{}", report::text(&report));
            let _ = say(&self.options.name, &crowd.report().borrow().totals(measured));
        }
        if let (Ok(Some(Traced { requests, hash })), Some(path)) = (&trace, &self.options.trace) {
            let text = format!("trace of {requests} requests in {}, hash {hash}", path.display());
            let _ = say(&self.options.name, &text);
        }
        let trace = trace.map_err(|error| format!("cannot write the trace: {error}"));
        let broken = crowd.broken().map_or(Ok(()), |why| Err(why.to_owned()));
        for failed in [kept, trace.map(drop), broken] {
            if let Err(why) = failed {
                self.tell(&why);
                return Exit::Storage;
            }
        }
        exit
    }

    fn report(&self, measured: Duration, trace: Option<Traced>) -> Report {
        let recorder = self.crowd.report().borrow();
        let started = recorder.since.map(|(_, at)| at.duration_since(UNIX_EPOCH).unwrap_or_default());
        let options = &self.options;
        let latencies = Kind::ALL.into_iter().zip(&recorder.totals).filter(|(_, us)| !us.is_empty());
        let traffic = recorder.traffic();
        let client = ClientReport {
            name: options.name.clone(),
            pid: std::process::id(),
            started_ms: started.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
            seed: options.seed,
            users: options.users,
            subreddits: options.shape.subreddits,
            mix: options.mix,
            depth: options.depth,
            rate: options.rate,
            think_s: options.think.map(|mean| mean.as_secs_f64()),
            text_scale: options.text_scale,
            lockstep: options.lockstep,
            time_scale: options.time_scale,
            warm_up_s: options.warm_up.as_secs_f64(),
            measured_s: measured.as_secs_f64(),
            acknowledged: recorder.acknowledged(),
            sent_bytes: traffic.sent,
            received_bytes: traffic.received,
            storm: self.storm,
            reconnects: recorder.reconnects,
            outages: recorder.outages.clone(),
            lost_in_flight: recorder.lost_in_flight,
            asked_again: recorder.asked_again,
            signatures: self.crowd.signatures(),
            missed: self.crowd.pace.missed(),
            engines: self.looks.borrow().uses(),
            fingerprint: self.fingerprint.clone(),
            trace,
            samples: recorder.samples.clone(),
        };
        Report {
            version: report::VERSION,
            clients: vec![client],
            actions: latencies.map(|(kind, us)| (kind.name().to_owned(), Latencies::of(us))).collect(),
            errors: recorder.errors.clone(),
            exponent: options.shape.exponent,
            members: self.crowd.members(),
            posts: recorder.posts.clone(),
            votes: recorder.votes.clone(),
            check: None,
        }
    }
}

/// All or nothing: whoever reads it never sees a part.
fn write_report(path: &Path, report: &Report) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, serde_json::to_vec(report)?)?;
    fs::rename(&unfinished, path)
}
