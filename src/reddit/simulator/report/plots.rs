//! The report as plots: SVG, drawn here and not by somebody's script, so that the page is one file.

use std::fmt::Write;

use super::document::{Report, Sample};
use super::fit::{Fit, ranked};

const WIDTH: f64 = 860.0;
/// Room for the axis at the left.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 36.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 250.0;
/// Room for the axis below.
const AXIS: f64 = 34.0;

/// A curve has this many colours to choose from, `c0`, `c1` and so on.
const COLOURS: usize = 13;

fn figure(what: &str, drawing: &str, caption: &str) -> String {
    format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{what}\">\n{drawing}</svg>\
         <figcaption>{caption}</figcaption></figure>\n",
        BOTTOM + AXIS
    )
}

fn text(x: f64, y: f64, anchor: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n", escaped(words))
}

fn line(from: (f64, f64), to: (f64, f64), class: &str) -> String {
    let ((x1, y1), (x2, y2)) = (from, to);
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>\n")
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One axis: where a value is drawn, and the values that are named on it.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_logarithmic: bool,
}

impl Scale {
    fn even(high: f64, from: f64, to: f64) -> Scale {
        Scale { low: 0.0, high: high.max(f64::MIN_POSITIVE), from, to, is_logarithmic: false }
    }

    /// From and to a power of ten.
    fn logarithmic(low: f64, high: f64, from: f64, to: f64) -> Scale {
        let (low, high) = (low.max(1e-3).log10().floor(), high.max(1e-3).log10().ceil());
        Scale { low, high: high.max(low + 1.0), from, to, is_logarithmic: true }
    }

    fn at(&self, value: f64) -> f64 {
        let value = if self.is_logarithmic { value.max(1e-9).log10() } else { value };
        let part = (value - self.low) / (self.high - self.low);
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            return (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power)).collect();
        }
        let step = step(self.high);
        (0..).map(|number| f64::from(number) * step).take_while(|tick| *tick <= self.high).collect()
    }
}

/// Steps of 1, 2 or 5 times a power of ten, about six of them up to `end`.
fn step(end: f64) -> f64 {
    let rough = (end / 6.0).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(power)
}

fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{} M", (n / 1e4).round() / 100.0),
        n if n >= 1e4 => format!("{} k", (n / 10.0).round() / 100.0),
        n => format!("{}", (n * 1000.0).round() / 1000.0),
    }
}

/// The lines behind the curves, with their values.
fn frame(x: &Scale, y: &Scale, unit: &str) -> String {
    let mut drawing = String::new();
    for tick in y.ticks() {
        drawing += &line((LEFT, y.at(tick)), (WIDTH - RIGHT, y.at(tick)), "axis");
        drawing += &text(LEFT - 8.0, y.at(tick) + 4.0, "end", &short(tick));
    }
    for tick in x.ticks() {
        drawing += &line((x.at(tick), BOTTOM), (x.at(tick), BOTTOM + 5.0), "axis");
        drawing += &text(x.at(tick), BOTTOM + 19.0, "middle", &format!("{}{unit}", short(tick)));
    }
    drawing
}

fn curve(points: impl Iterator<Item = (f64, f64)>, colour: usize, name: &str) -> String {
    let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!(
        "<polyline points=\"{}\" class=\"curve c{}\"><title>{}</title></polyline>\n",
        points.join(" "),
        colour % COLOURS,
        escaped(name)
    )
}

/// The names of curves, below each other at the right.
fn legend(names: &[&str]) -> String {
    let mut drawing = String::new();
    for (place, name) in names.iter().enumerate() {
        let y = TOP + 12.0 + place as f64 * 15.0;
        let class = format!("curve c{}", place % COLOURS);
        drawing += &line((LEFT + 14.0, y - 4.0), (LEFT + 34.0, y - 4.0), &class);
        drawing += &text(LEFT + 40.0, y, "start", name);
    }
    drawing
}

/// How many actions of each kind took no longer than so long.
pub(super) fn latencies(report: &Report) -> String {
    let kinds: Vec<(&str, hdrhistogram::Histogram<u64>)> = report
        .actions
        .iter()
        .map(|(kind, latencies)| (kind.as_str(), latencies.to_histogram()))
        .filter(|(_, us)| !us.is_empty())
        .collect();
    let ms = |us: u64| us as f64 / 1000.0;
    let Some(low) = kinds.iter().map(|(_, us)| ms(us.min())).reduce(f64::min) else { return String::new() };
    let high = kinds.iter().map(|(_, us)| ms(us.max())).fold(low, f64::max);
    let x = Scale::logarithmic(low, high, LEFT, WIDTH - RIGHT);
    let y = Scale::even(100.0, BOTTOM, TOP);
    let mut drawing = frame(&x, &y, " ms");
    for (colour, (kind, us)) in kinds.iter().enumerate() {
        let quantiles = (0..=200).map(|part| f64::from(part) / 200.0).chain([0.999, 0.9999]);
        let points = quantiles.map(|part| (x.at(ms(us.value_at_quantile(part))), y.at(part * 100.0)));
        drawing += &curve(points, colour, kind);
    }
    drawing += &legend(&kinds.iter().map(|(kind, _)| *kind).collect::<Vec<_>>());
    figure(
        "distribution of latencies",
        &drawing,
        "Latency: how many of 100 actions of a kind took no longer than so long.",
    )
}

/// Acknowledged actions a second, and users who were there, in the course of time.
pub(super) fn course(report: &Report) -> String {
    let samples = report.samples();
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return String::new() };
    let rates: Vec<(f64, f64)> = samples.windows(2).map(|pair| rate(pair, first)).collect();
    let Some(most) = rates.iter().map(|(_, rate)| *rate).reduce(f64::max) else { return String::new() };
    let length = (last.at_s - first.at_s) as f64;
    let x = Scale::even(length, LEFT, WIDTH - RIGHT);
    let y = Scale::even(most * 1.05, BOTTOM, TOP);
    let points = rates.iter().map(|&(at, rate)| (x.at(at), y.at(rate)));
    let drawing = frame(&x, &y, " s") + &curve(points, 0, "actions a second");
    let throughput =
        figure("acknowledged actions a second", &drawing, "Acknowledged actions a second, of all clients.");

    let users: u64 = report.clients.iter().map(|client| u64::from(client.users)).sum();
    let y = Scale::even(users as f64, BOTTOM, TOP);
    let points =
        samples.iter().map(|sample| (x.at((sample.at_s - first.at_s) as f64), y.at(sample.online.into())));
    let drawing = frame(&x, &y, " s") + &curve(points, 1, "users online");
    throughput + &figure("users online", &drawing, "Users who were online, of all there are.")
}

fn rate(pair: &[Sample], first: &Sample) -> (f64, f64) {
    let seconds = (pair[1].at_s - pair[0].at_s).max(1) as f64;
    let actions = pair[1].acknowledged.saturating_sub(pair[0].acknowledged) as f64;
    ((pair[1].at_s - first.at_s) as f64, actions / seconds)
}

/// Members, posts and votes by rank, and the line that fits each.
pub(super) fn ranks(report: &Report) -> String {
    let rankings = [("members", &report.members), ("posts", &report.posts), ("votes", &report.votes)];
    let most = rankings.iter().flat_map(|(_, counts)| counts.iter()).max().copied().unwrap_or(0);
    let longest = rankings.iter().map(|(_, counts)| ranked(counts).len()).max().unwrap_or(0);
    if longest < 2 {
        return String::new();
    }
    let x = Scale::logarithmic(1.0, longest as f64, LEFT, WIDTH - RIGHT);
    let y = Scale::logarithmic(1.0, most as f64, BOTTOM, TOP);
    let mut drawing = frame(&x, &y, "");
    let mut names = Vec::new();
    for (colour, (name, counts)) in rankings.into_iter().enumerate() {
        for (rank, count) in (1..).zip(ranked(counts)) {
            let (x, y) = (x.at(f64::from(rank)), y.at(count as f64));
            let _ = writeln!(drawing, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" class=\"c{colour}\"/>");
        }
        match Fit::of(counts, report.exponent) {
            Some(fit) => {
                let on_line = |rank: f64| (fit.first + fit.slope * rank.ln()).exp();
                let ends = [1.0, fit.ranks as f64].map(|rank| (x.at(rank), y.at(on_line(rank))));
                drawing += &curve(ends.into_iter(), colour, name);
                names.push(format!("{name}: slope {:.3}, R2 {:.3}", fit.slope, fit.r2));
            }
            None => names.push(name.to_owned()),
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Large counts are at the upper left, so the names stand at the lower left.
    let shifted =
        format!("<g transform=\"translate(0 {:.0})\">{}</g>\n", BOTTOM - TOP - 62.0, legend(&names));
    figure(
        "members, posts and votes by rank",
        &(drawing + &shifted),
        "Subreddits by rank, both axes logarithmic: a straight line is Zipf's law.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::report;
    use super::*;

    #[test]
    fn every_kind_has_a_curve_and_every_ranking_its_points() {
        let report = report("client@1", &[900, 1000, 1100]);
        assert_eq!(latencies(&report).matches("<polyline").count(), 1);
        assert_eq!(course(&report).matches("<polyline").count(), 2);
        let ranks = ranks(&report);
        assert_eq!(ranks.matches("<circle").count(), 4 + 4 + 3);
        assert_eq!(ranks.matches("<polyline").count(), 3);
        assert!(!(latencies(&report) + &course(&report) + &ranks).contains("NaN"));
    }

    #[test]
    fn nothing_measured_is_no_plot() {
        let mut report = report("client@1", &[]);
        report.clients[0].samples.clear();
        report.members.clear();
        report.posts.clear();
        report.votes.clear();
        assert_eq!(latencies(&report) + &course(&report) + &ranks(&report), "");
    }

    #[test]
    fn steps_are_round() {
        for (end, expected) in [(5.9, 1.0), (7.0, 2.0), (1000.0, 200.0), (0.6, 0.1)] {
            assert!((step(end) - expected).abs() < 1e-9, "{end}: {}", step(end));
        }
    }
}
