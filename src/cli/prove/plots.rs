//! Plots as SVG: memory by process, who lived when, how long calls take.

use super::super::human::size;
use super::page::escaped;
use crate::proof::{Calls, Contrast, Deaths, Memory, Round};

const WIDTH: f64 = 860.0;
/// Room for names at the left, and for what stands behind bars at the right.
const LEFT: f64 = 90.0;
const RIGHT: f64 = 120.0;
const LANE: f64 = 28.0;
const BAR: f64 = 18.0;
/// Room for the axis below.
const AXIS: f64 = 44.0;

fn figure(height: f64, what: &str, drawing: &str, caption: &str) -> String {
    format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{what}\">\n{drawing}</svg>\
         <figcaption>{caption}</figcaption></figure>\n"
    )
}

fn text(x: f64, y: f64, anchor: &str, class: &str, text: &str) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>\n",
        escaped(text)
    )
}

fn bar(x: f64, y: f64, width: f64, class: &str, title: &str) -> String {
    format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" class=\"{class}\"><title>{}</title></rect>\n",
        width.max(1.5),
        escaped(title)
    )
}

fn line(from: (f64, f64), to: (f64, f64), class: &str) -> String {
    let ((x1, y1), (x2, y2)) = (from, to);
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>\n")
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

/// What each process has for itself, and its share of what several have mapped.
pub(super) fn memory(seen: &Memory) -> String {
    const MIB: f64 = 1_048_576.0;
    let most = seen.uses.iter().map(|one| one.pss).max().unwrap_or(0) as f64;
    if most == 0.0 {
        return String::new();
    }
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let bottom = seen.uses.len() as f64 * LANE + 6.0;
    let mut drawing = String::new();
    for (at, one) in seen.uses.iter().enumerate() {
        let y = at as f64 * LANE + 4.0;
        let (private, pss) = (one.private as f64 * scale, one.pss as f64 * scale);
        drawing.push_str(&text(LEFT - 8.0, y + 13.0, "end", "", &one.name));
        drawing.push_str(&bar(LEFT, y, pss, "many-light", &format!("{}: PSS {}", one.name, size(one.pss))));
        drawing.push_str(&bar(
            LEFT,
            y,
            private,
            "many",
            &format!("{}: private {}", one.name, size(one.private)),
        ));
        let words = format!("{} of {}", size(one.private), size(one.pss));
        drawing.push_str(&text(LEFT + pss + 8.0, y + 13.0, "start", "soft", &words));
    }
    let step = step(most / MIB);
    drawing.push_str(&line((LEFT, bottom), (WIDTH - RIGHT, bottom), "axis"));
    for tick in ticks(step, most / MIB) {
        drawing.push_str(&text(
            LEFT + tick * MIB * scale,
            bottom + 18.0,
            "middle",
            "soft",
            &format!("{}", rounded(tick)),
        ));
    }
    drawing.push_str(&text(WIDTH - RIGHT + 8.0, bottom + 18.0, "start", "soft", "MiB"));
    figure(
        bottom + AXIS - 16.0,
        "memory by process",
        &drawing,
        "Memory. Dark: pages that no other process maps. Light: its share of pages that several map, such as the program itself.",
    )
}

fn ticks(step: f64, end: f64) -> impl Iterator<Item = f64> {
    (0..).map(move |number| f64::from(number) * step).take_while(move |tick| *tick <= end)
}

/// Without the digits that binary fractions bring along.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// One process of a name: from when to when, in milliseconds since boot.
#[derive(Debug, PartialEq)]
struct Span {
    name: String,
    pid: i32,
    from: f64,
    to: Option<f64>,
}

/// Every process that was seen, in the order of names at first.
fn spans(rounds: &[Round]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for round in rounds {
        for life in round.before.iter().chain(&round.after) {
            let (Some(pid), Some(from)) = (life.pid, life.started_ms) else { continue };
            if !spans.iter().any(|span| span.pid == pid && span.name == life.name) {
                spans.push(Span { name: life.name.clone(), pid, from: from as f64, to: None });
            }
        }
        let killed = spans.iter_mut().filter(|span| span.pid == round.pid);
        killed.for_each(|span| span.to = round.gone_ms.map(|gone| round.killed_at_ms as f64 + gone));
    }
    spans
}

/// Who lived when.
pub(super) fn lives(seen: &Deaths) -> String {
    let (Some(first), Some(last)) = (seen.rounds.first(), seen.rounds.last()) else { return String::new() };
    let names: Vec<&str> = first.before.iter().map(|life| &*life.name).collect();
    let begin = first.killed_at_ms as f64 - 100.0;
    let end = last.killed_at_ms as f64 + last.connected_ms.or(last.gone_ms).unwrap_or(0.0) + 100.0;
    let scale = (WIDTH - LEFT - 20.0) / (end - begin);
    let x = |ms: f64| LEFT + (ms.clamp(begin, end) - begin) * scale;
    let top = 34.0;
    let bottom = top + names.len() as f64 * LANE;
    let mut drawing = String::new();
    for (at, name) in names.iter().enumerate() {
        drawing.push_str(&text(LEFT - 8.0, top + at as f64 * LANE + 17.0, "end", "", name));
    }
    for span in spans(&seen.rounds) {
        let Some(lane) = names.iter().position(|name| *name == span.name) else { continue };
        let y = top + lane as f64 * LANE + 4.0;
        let (from, to) = (x(span.from), x(span.to.unwrap_or(end)));
        drawing.push_str(&bar(from, y, to - from - 1.5, "many", &format!("{}: PID {}", span.name, span.pid)));
        if to - from > 60.0 {
            drawing.push_str(&text(from + 6.0, y + 13.0, "start", "on", &format!("PID {}", span.pid)));
        }
    }
    for (at, round) in seen.rounds.iter().enumerate() {
        let at_x = x(round.killed_at_ms as f64);
        drawing.push_str(&line((at_x, top - 4.0), (at_x, bottom), "kill"));
        let words = format!("{} to {}", round.signal, round.victim);
        // Two heights, so that words of deaths close to each other do not run into one another.
        drawing.push_str(&text(at_x, if at % 2 == 0 { 11.0 } else { 26.0 }, "start", "killed", &words));
    }
    drawing.push_str(&line((LEFT, bottom + 2.0), (WIDTH - 20.0, bottom + 2.0), "axis"));
    for tick in ticks(step(end - begin - 100.0), end - begin - 100.0) {
        let words = format!("{} ms", rounded(tick));
        drawing.push_str(&text(x(begin + 100.0 + tick), bottom + 20.0, "middle", "soft", &words));
    }
    figure(
        bottom + AXIS - 14.0,
        "who lived when",
        &drawing,
        "Who lived when. A bar is a process; it ends with the process, and the next one of the name has another PID.",
    )
}

/// How many calls took no longer than so long.
pub(super) fn latency(seen: &Contrast) -> String {
    let (one, many) = (&seen.one.calls, &seen.separate.calls);
    let all = || one.spread.iter().chain(&many.spread).map(|(_, ns)| *ns as f64);
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if most <= 0.0 {
        return String::new();
    }
    let (low, high) = (least.max(1.0).log10().floor(), most.log10().ceil());
    let (top, bottom) = (24.0, 270.0);
    let x = |ns: f64| LEFT + (ns.max(1.0).log10() - low) / (high - low).max(1.0) * (WIDTH - LEFT - 30.0);
    let y = |thousandth: f64| bottom - thousandth / 1000.0 * (bottom - top);
    let mut drawing = String::new();
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        drawing.push_str(&line((LEFT, y(percent * 10.0)), (WIDTH - 30.0, y(percent * 10.0)), "axis"));
        drawing.push_str(&text(LEFT - 8.0, y(percent * 10.0) + 4.0, "end", "soft", &format!("{percent} %")));
    }
    for power in low as i32..=high as i32 {
        let at = x(10f64.powi(power));
        drawing.push_str(&line((at, top), (at, bottom + 5.0), "axis"));
        drawing.push_str(&text(at, bottom + 20.0, "middle", "soft", &length(power)));
    }
    let curve = |calls: &Calls, class: &str| {
        let points: Vec<String> = calls
            .spread
            .iter()
            .map(|(part, ns)| format!("{:.1},{:.1}", x(*ns as f64), y(f64::from(*part))))
            .collect();
        format!("<polyline points=\"{}\" class=\"curve {class}\"/>\n", points.join(" "))
    };
    drawing.push_str(&curve(one, "one"));
    drawing.push_str(&curve(many, "many"));
    let middle = |calls: &Calls| format!("{:.1} us", calls.p50_ns as f64 / 1000.0);
    let (left, right) = (x(one.p50_ns as f64), x(many.p50_ns as f64));
    drawing.push_str(&text(left, 14.0, "middle", "one", &format!("in one process: {}", middle(one))));
    drawing.push_str(&text(right, 14.0, "middle", "many", &format!("between processes: {}", middle(many))));
    figure(
        bottom + 30.0,
        "distribution of the time a call takes",
        &drawing,
        "A call of the engine: how many of 100 took no longer than so long. Inside a process nothing has to wake up; \
         between two, both sides have to.",
    )
}

/// A power of ten of nanoseconds.
fn length(power: i32) -> String {
    match power {
        ..3 => format!("{} ns", 10f64.powi(power)),
        3..6 => format!("{} us", 10f64.powi(power - 3)),
        _ => format!("{} ms", 10f64.powi(power - 6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::{Life, Part};

    fn life(name: &str, pid: i32, from: u64) -> Life {
        Life {
            name: name.into(),
            part: Part::Client,
            pid: Some(pid),
            start_ticks: Some(from / 10),
            started_ms: Some(from),
            connection: None,
        }
    }

    #[test]
    fn a_life_ends_when_its_process_is_gone_and_the_next_one_begins() {
        let round = Round {
            victim: "a".into(),
            part: Part::Client,
            signal: "SIGKILL".into(),
            pid: 1,
            killed_at_ms: 500,
            gone_ms: Some(2.0),
            back_ms: Some(9.0),
            connected_ms: None,
            before: vec![life("a", 1, 100), life("b", 2, 110)],
            after: vec![life("a", 3, 510), life("b", 2, 110)],
        };
        let span = |name: &str, pid, from, to| Span { name: name.into(), pid, from, to };
        let expected =
            [span("a", 1, 100.0, Some(502.0)), span("b", 2, 110.0, None), span("a", 3, 510.0, None)];
        assert_eq!(spans(std::slice::from_ref(&round)), expected);
        let plot = lives(&Deaths { rounds: vec![round] });
        assert!(plot.contains("SIGKILL to a") && plot.contains("a: PID 3"), "{plot}");
    }

    #[test]
    fn steps_are_round_and_about_six() {
        for (end, expected) in [(5.9, 1.0), (7.0, 2.0), (1000.0, 200.0), (0.6, 0.1)] {
            assert!((step(end) - expected).abs() < 1e-9, "{end}: {}", step(end));
        }
    }

    #[test]
    fn nothing_seen_is_no_plot() {
        assert_eq!(lives(&Deaths::default()) + &memory(&Memory::default()), "");
    }
}
