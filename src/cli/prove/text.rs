//! Evidence and verdicts as text, in 80 columns.

use unicode_segmentation::UnicodeSegmentation;

use super::super::screen::Screen;
use super::super::table::{Cell, render};
use super::tables::{Grid, tables};
use crate::proof::{Claim, Proof};
use crate::text;

/// What every terminal has.
pub(super) const WIDTH: usize = 80;

/// Before the first claim.
pub(super) fn heading(subject: &str, width: usize) -> String {
    wrapped(&format!("Examined: {subject}."), "", width)
}

/// One claim: what was seen, what follows, and how to see the same by hand.
pub(super) fn claim(claim: &Claim, width: usize) -> String {
    let mut text = format!("\n=== {} ===\n", claim.title);
    tables(&claim.evidence).iter().for_each(|grid| text.push_str(&table(grid, width)));
    for check in &claim.checks {
        let mark = if check.holds { "ok   " } else { "NO   " };
        text.push_str(&wrapped(&format!("{mark}{}: {}", check.what, check.found), "     ", width));
    }
    if !claim.by_hand.is_empty() {
        text.push_str("By hand:\n");
        claim.by_hand.iter().for_each(|command| text.push_str(&continued(command, width)));
    }
    match &claim.skipped {
        Some(why) => text.push_str(&wrapped(&format!("SKIPPED: {why}"), "  ", width)),
        None => text.push_str(if claim.proven { "PROVEN\n" } else { "NOT PROVEN\n" }),
    }
    text
}

/// Behind the last claim.
pub(super) fn verdict(proof: &Proof, width: usize) -> String {
    let held = proof.claims.iter().filter(|claim| claim.proven).count();
    let all = proof.claims.len();
    let mut text = format!("\n{held} of {all} claims proven\n");
    for claim in &proof.claims {
        if let Some(why) = &claim.skipped {
            text.push_str(&wrapped(&format!("SKIPPED: {}: {why}", claim.title), "  ", width));
        }
    }
    for claim in proof.claims.iter().filter(|claim| !claim.proven && claim.skipped.is_none()) {
        text.push_str(&wrapped(&format!("NOT PROVEN: {}", claim.title), "  ", width));
    }
    text
}

fn table(grid: &Grid, width: usize) -> String {
    let rows: Vec<Vec<Cell>> = grid.rows.iter().map(|row| row.iter().map(Cell::from).collect()).collect();
    let screen = Screen { width: Some(width), ..Screen::default() };
    let caption = grid.caption.as_ref().map_or_else(String::new, |caption| wrapped(caption, "", width));
    caption + &render(&grid.columns, &rows, &screen).text
}

/// Words in lines; those after the first begin with `indent`. A word that is longer than a line is broken.
fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let room = width.saturating_sub(indent.len()).max(1);
    let mut short = String::new();
    for (at, word) in text::escaped(text.as_bytes()).split(' ').enumerate() {
        if at > 0 {
            short.push(' ');
        }
        let mut columns = 0;
        for letter in word.graphemes(true) {
            columns += text::width(letter);
            if columns > room {
                short.push(' ');
                columns = text::width(letter);
            }
            short.push_str(letter);
        }
    }
    broken("", &short, indent, width, "")
}

/// A command, continued in the shell's way where it is too long for a line.
fn continued(command: &str, width: usize) -> String {
    broken("  $ ", &text::escaped(command.as_bytes()), "      ", width, " \\")
}

fn broken(first: &str, text: &str, indent: &str, width: usize, mark: &str) -> String {
    let mut done = String::new();
    let mut line = first.to_owned();
    let mut words = 0;
    for word in text.split(' ') {
        if words > 0 && text::width(&line) + 1 + text::width(word) + mark.len() > width {
            done.push_str(&format!("{line}{mark}\n"));
            (line, words) = (indent.to_owned(), 0);
        }
        if words > 0 {
            line.push(' ');
        }
        line.push_str(word);
        words += 1;
    }
    format!("{done}{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::{Check, Evidence, Topic};

    #[test]
    fn what_a_stranger_is_called_is_told_in_one_line_and_without_effect() {
        let name = "evil\x1b]52;c;aGk=\x07\n\u{202e}日本語の長い名前".to_owned();
        let seen = Claim {
            title: "apart".into(),
            proven: false,
            skipped: None,
            checks: vec![Check { what: "a".into(), holds: false, found: name.clone() }],
            by_hand: vec![format!("ls {name}")],
            evidence: Evidence::Nothing { of: Topic::Identity, why: name },
        };
        let text = claim(&seen, 40);
        assert_eq!(text::printable(&text), text);
        assert!(text.contains("\\x1b]52;c;aGk=\\x07"), "{text}");
        let told = text.split("By hand:").next().unwrap_or_default();
        assert!(told.lines().all(|line| text::width(line) <= 40), "{text}");
    }
}
