//! The report as text.

use std::fmt::Write;

use super::document::{ClientReport, EngineUse, Outage, Report, Signatures, Verdict};
use super::fit::Fit;

/// The whole report, for a terminal.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for client in &report.clients {
        let _ = writeln!(text, "{}", one_client(client));
    }
    if report.clients.len() > 1 {
        let acknowledged = report.clients.iter().map(|client| client.acknowledged).sum();
        let count = report.clients.len();
        let sum = (grouped(acknowledged), grouped(report.per_second().round() as u64));
        let _ = write!(text, "{count} clients: {} actions acknowledged, {} a second", sum.0, sum.1);
        let bytes = report.clients.iter().map(ClientReport::bytes).sum();
        let _ = writeln!(text, "{}", bytes_an_action(bytes, acknowledged));
    }
    let _ = write!(text, "\n{}\n{}", actions(report), errors(report));
    for line in fits(report) {
        let _ = writeln!(text, "{line}");
    }
    for engine in engines(report) {
        let _ = writeln!(text, "{engine}");
    }
    if let Some(verdict) = &report.check {
        let _ = writeln!(text, "{}", judged(verdict));
    }
    text
}

/// Nothing where there is nothing to divide by.
fn bytes_an_action(bytes: u64, acknowledged: u64) -> String {
    match acknowledged {
        0 => String::new(),
        acknowledged => format!(", {:.0} bytes an action", bytes as f64 / acknowledged as f64),
    }
}

fn judged(verdict: &Verdict) -> String {
    if let Some(violation) = &verdict.violation {
        return format!("check: {violation}");
    }
    let mut text =
        format!("check: {} hold over {} records", verdict.hold.join(" "), grouped(verdict.records));
    if let Some(acknowledged) = verdict.acknowledged {
        let _ = write!(text, "; {} acknowledged operations are there, each once", grouped(acknowledged));
    }
    if !verdict.not_checked.is_empty() {
        let _ = write!(text, "; not checked {}", verdict.not_checked.join(" "));
    }
    text
}

fn one_client(client: &ClientReport) -> String {
    let manner = match (client.lockstep, client.rate) {
        (true, _) => "one after the other".to_owned(),
        (false, Some(rate)) => format!("{} a second", grouped(rate.into())),
        (false, None) => format!("{} in flight", client.depth),
    };
    let thinking = client.think_s.map(|mean| format!(", thinking {mean} s on average")).unwrap_or_default();
    let texts = match client.text_scale {
        1.0 => String::new(),
        times => format!(", texts {times} times as long"),
    };
    let mut line = format!(
        "{} (pid {}): {} users, {} subreddits, seed {}, mix {}, {manner}{thinking}{texts}; measured {:.1} s",
        client.name,
        client.pid,
        grouped(client.users.into()),
        client.subreddits,
        client.seed,
        client.mix,
        client.measured_s,
    );
    if client.warm_up_s > 0.0 {
        let _ = write!(line, " after {:.1} s of warm-up", client.warm_up_s);
    }
    let (sum, rate) = (grouped(client.acknowledged), grouped(client.per_second().round() as u64));
    let each = bytes_an_action(client.bytes(), client.acknowledged);
    let _ = write!(line, "\n  {sum} actions acknowledged, {rate} a second{each}");
    if !each.is_empty() {
        let (sent, received) = (grouped(client.sent_bytes), grouped(client.received_bytes));
        let _ = write!(line, " ({sent} sent, {received} received)");
    }
    if let Some(storm) = client.storm {
        let asked = storm.users + storm.subreddits + storm.memberships;
        let _ = write!(
            line,
            "\n  before: {} users, {} subreddits and {} memberships registered in {:.2} s, {} a second",
            grouped(storm.users),
            grouped(storm.subreddits),
            grouped(storm.memberships),
            storm.seconds,
            grouped((asked as f64 / storm.seconds.max(1e-9)) as u64),
        );
    }
    let _ = write!(line, "\n  reconnects {}, lost in flight {}", client.reconnects, client.lost_in_flight);
    let _ = write!(line, ", asked again {}", client.asked_again);
    for (engine_ended, what) in [(false, "connection was lost"), (true, "engine ended")] {
        let of_this = |outage: &&Outage| outage.engine_ended == engine_ended;
        let each: Vec<String> =
            client.outages.iter().filter(of_this).map(|outage| format!("{:.1}", outage.ms)).collect();
        if !each.is_empty() {
            let _ = write!(line, "; when the {what} without an answer for {} ms", each.join(", "));
        }
    }
    if client.missed > 0 {
        let _ = write!(line, "; {} moments given up after a minute", grouped(client.missed));
    }
    let Signatures { signed, verified, cut, bad } = client.signatures;
    if signed + verified + cut + bad > 0 {
        let [signed, verified, cut, bad] = [signed, verified, cut, bad].map(grouped);
        let _ =
            write!(line, "\n  signed {signed} posts; of those read in feeds {verified} verified, {bad} bad");
        let _ = write!(line, ", {cut} longer than a list shows and not verified");
    }
    let online = || client.samples.iter().map(|sample| sample.online);
    if let (Some(least), Some(most)) = (online().min(), online().max()) {
        let mean = online().map(f64::from).sum::<f64>() / client.samples.len() as f64;
        let _ = write!(line, "\n  online {mean:.0} users on average, {least} to {most}");
    }
    if let Some(fingerprint) = &client.fingerprint {
        let _ = write!(line, "\n  fingerprint of the engine's tables {fingerprint}");
    }
    if let Some(trace) = &client.trace {
        let _ = write!(line, "\n  trace of {} requests, hash {}", grouped(trace.requests), trace.hash);
    }
    line
}

/// One row a kind, and one for all.
pub(super) fn rows(report: &Report) -> Vec<[String; 8]> {
    let seconds = report.clients.iter().map(|client| client.measured_s).fold(0.0, f64::max);
    let all = report.all_actions();
    let mut rows = Vec::new();
    let kinds = report.actions.iter().map(|(kind, latencies)| (kind.as_str(), latencies));
    for (kind, latencies) in kinds.chain([("all", &all)]) {
        let us = latencies.to_histogram();
        if us.is_empty() {
            continue;
        }
        let rate = if seconds > 0.0 { us.len() as f64 / seconds } else { 0.0 };
        let quantile = |quantile| format!("{:.3}", us.value_at_quantile(quantile) as f64 / 1000.0);
        rows.push([
            kind.to_owned(),
            grouped(us.len()),
            grouped(rate.round() as u64),
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            quantile(0.999),
            format!("{:.3}", us.max() as f64 / 1000.0),
        ]);
    }
    rows
}

/// What stands above the columns of [`rows`].
pub(super) const COLUMNS: [&str; 8] =
    ["action", "count", "a second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];

fn actions(report: &Report) -> String {
    let rows = rows(report);
    let head = COLUMNS.map(str::to_owned);
    let width =
        |column: usize| rows.iter().chain([&head]).map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for row in [&head].into_iter().chain(&rows) {
        let _ = write!(text, "{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

fn errors(report: &Report) -> String {
    if report.errors.is_empty() {
        return "no request was refused or left without an answer\n".to_owned();
    }
    let lines: Vec<String> =
        report.errors.iter().map(|(what, count)| format!("{}  {what}\n", grouped(*count))).collect();
    format!("refused, or not answered:\n  {}", lines.join("  "))
}

/// What each ranking follows, and whether that is what was aimed at.
pub(super) fn fits(report: &Report) -> Vec<String> {
    let exponent = report.exponent;
    let mut lines = Vec::new();
    let members = Fit::of(&report.members, exponent);
    if let Some(fit) = members {
        let verdict = if fit.follows(exponent) { "ok" } else { "not within 0.05 and 0.98" };
        lines.push(format!(
            "members by rank: slope {:.3}, R2 {:.3}, KS {:.3} over {} subreddits; aimed at {:.2}: {verdict}",
            fit.slope, fit.r2, fit.ks, fit.ranks, -exponent
        ));
    }
    for (what, counts) in [("posts", &report.posts), ("votes", &report.votes)] {
        // Where they lead is not laid down, so the distance is that to the law that fits them best.
        let Some(fit) = Fit::of(counts, 0.0).and_then(|rough| Fit::of(counts, -rough.slope)) else {
            continue;
        };
        let mut line = format!(
            "{what} by rank: slope {:.3}, R2 {:.3}, KS {:.3} over {} subreddits",
            fit.slope, fit.r2, fit.ks, fit.ranks
        );
        if let (true, Some(members)) = (what == "posts", members) {
            let steeper = fit.slope < members.slope;
            line += if steeper { "; steeper than members: ok" } else { "; not steeper than members" };
        }
        lines.push(line);
    }
    lines
}

/// What the engine did, as each client saw it.
pub(super) fn engines(report: &Report) -> Vec<String> {
    let uses =
        report.clients.iter().flat_map(|client| client.engines.iter().map(move |engine| (client, engine)));
    uses.map(|(client, engine)| {
        let EngineUse { pid, incarnation, .. } = engine;
        format!("engine (pid {pid}, incarnation {incarnation}), {}, seen by {}", told(engine), client.name)
    })
    .collect()
}

fn told(engine: &EngineUse) -> String {
    let EngineUse { seconds, requests, turns, records, groups, syncs, repeated, .. } = engine;
    let EngineUse { cpu_s, rss_bytes, users, .. } = engine;
    let mut text = format!("in {seconds:.1} s: {} requests", grouped(*requests));
    if *turns > 0 {
        let mean = *requests as f64 / *turns as f64;
        let _ = write!(text, " in {} turns, {mean:.1} each", grouped(*turns));
    }
    let _ = write!(text, ", {} records", grouped(*records));
    if *groups > 0 {
        let mean = *records as f64 / *groups as f64;
        let _ = write!(text, " in {} groups, {mean:.1} each, {} syncs", grouped(*groups), grouped(*syncs));
    }
    let _ = write!(text, ", {repeated} repeated");
    if let (Some(cpu), true) = (cpu_s, *requests > 0) {
        let per_request = cpu * 1e6 / *requests as f64;
        let _ = write!(text, ", {cpu:.2} s of processor time, {per_request:.2} us a request");
    }
    if let Some(rss) = rss_bytes {
        let mib = *rss as f64 / 1_048_576.0;
        let _ = write!(text, ", {mib:.1} MiB of memory");
        if *users > 0 {
            let _ = write!(text, ", {:.2} MiB for 1,000 users", mib * 1000.0 / *users as f64);
        }
    }
    text
}

pub(super) fn in_ms(us: u64) -> String {
    format!("{:.2}ms", us as f64 / 1000.0)
}

/// `1,234,567`.
pub(in super::super) fn grouped(number: u64) -> String {
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
    use super::super::document::tests::report;
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts = [0, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn a_report_tells_everything_it_holds() {
        let told = text(&report("client@1", &[900, 1000, 1100, 5000]));
        for part in [
            "client@1 (pid 77): 100 users, 4 subreddits, seed 1, mix read-heavy, 16 in flight; measured 2.0 s",
            "4 actions acknowledged, 2 a second, 500 bytes an action (300 sent, 1,700 received)",
            "before: 100 users, 4 subreddits and 300 memberships registered in 0.50 s, 808 a second",
            "reconnects 1, lost in flight 3, asked again 2; when the connection was lost without an answer for 3.0 ms; when the engine ended \
             without an answer for 12.5 ms",
            "signed 12 posts; of those read in feeds 34 verified, 0 bad, 5 longer than a list shows and not verified",
            "trace of 9 requests, hash 00ff",
            "online 60 users on average, 60 to 61",
            "feed        4         2   1.000   5.00",
            "2  post: the store is full",
            "members by rank: slope -",
            "posts by rank: slope -",
            "steeper than members: ok",
            "engine (pid 78, incarnation 5), in 2.0 s: 50 requests in 10 turns, 5.0 each, 20 records in 8 groups, 2.5 \
             each, 4 syncs, 1 repeated, 0.50 s of processor",
            "10.0 MiB of memory, 50.00 MiB for 1,000 users",
        ] {
            assert!(told.contains(part), "no {part:?} in:\n{told}");
        }
    }

    #[test]
    fn a_verdict_is_told_as_it_is() {
        let mut report = report("client@1", &[900]);
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let verdict = Verdict {
            violation: None,
            hold: words(&["I1", "I2"]),
            not_checked: words(&["I18"]),
            records: 1234,
            acknowledged: Some(1000),
        };
        report.check = Some(verdict.clone());
        let told = text(&report);
        let expected = "check: I1 I2 hold over 1,234 records; 1,000 acknowledged operations are there, each once; not \
                        checked I18\n";
        assert!(told.ends_with(expected), "{told}");
        let violation = Some("I2 does not hold: so and so".to_owned());
        report.check = Some(Verdict { violation, ..verdict });
        assert!(text(&report).ends_with("check: I2 does not hold: so and so\n"));
    }

    #[test]
    fn what_was_not_measured_is_not_told() {
        let mut report = report("client@1", &[]);
        report.clients[0].engines.clear();
        report.clients[0].trace = None;
        report.clients[0].storm = None;
        report.clients[0].signatures = Signatures::default();
        report.clients[0].samples.clear();
        report.members.clear();
        report.posts.clear();
        report.errors.clear();
        let told = text(&report);
        for word in [
            "before",
            "signed",
            "online",
            "members",
            "processor",
            "feed",
            "steeper",
            "bytes",
            "trace",
            "check",
            "thinking",
        ] {
            assert!(!told.contains(word), "{word:?} in:\n{told}");
        }
        assert!(told.contains("no request was refused"));
    }
}
