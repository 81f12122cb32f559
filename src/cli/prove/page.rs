//! Evidence and verdicts as one page that needs nothing else: no script, no font, no network.

use super::super::table::Align;
use super::plots;
use super::tables::{Grid, tables};
use crate::proof::{Claim, Evidence, Proof};
use crate::text;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(proof: &Proof) -> String {
    let verdict = if proof.proven { "Proven" } else { "Not proven" };
    let held = proof.claims.iter().filter(|claim| claim.proven).count();
    let claims: String = proof.claims.iter().map(claim).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>provost prove: {verdict}</title><style>\n{STYLE}</style></head><body><main>\n\
         <h1>Separate processes? <span class=\"{}\">{verdict}</span></h1>\n\
         <p>Examined: {}. {} on {}. {held} of {} claims hold.</p>\n{claims}</main></body></html>\n",
        badge(proof.proven),
        escaped(&proof.subject),
        escaped(&proof.at),
        escaped(&proof.kernel),
        proof.claims.len(),
    )
}

fn badge(proven: bool) -> &'static str {
    if proven { "yes" } else { "no" }
}

fn claim(claim: &Claim) -> String {
    let (verdict, class) = match (&claim.skipped, claim.proven) {
        (Some(_), _) => ("skipped", "skipped"),
        (None, true) => ("proven", badge(true)),
        (None, false) => ("not proven", badge(false)),
    };
    let mut text = format!(
        "<section><h2>{} <span class=\"{class}\">{verdict}</span></h2>\n",
        escaped(&capital(&claim.title))
    );
    if let Some(why) = &claim.skipped {
        return text + &format!("<p>Not examined: {}.</p>\n</section>\n", escaped(why));
    }
    text.push_str(&plots(&claim.evidence));
    tables(&claim.evidence).iter().for_each(|grid| text.push_str(&table(grid)));
    text.push_str("<ul>\n");
    for check in &claim.checks {
        let mark = if check.holds { "&#10003;" } else { "&#10007;" };
        text.push_str(&format!(
            "<li class=\"{}\"><b>{mark} {}:</b> {}</li>\n",
            if check.holds { "holds" } else { "fails" },
            escaped(&check.what),
            escaped(&check.found)
        ));
    }
    text.push_str("</ul>\n");
    if !claim.by_hand.is_empty() {
        let commands: Vec<String> =
            claim.by_hand.iter().map(|command| format!("$ {}", escaped(command))).collect();
        text.push_str(&format!("<p>By hand:</p><pre>{}</pre>\n", commands.join("\n")));
    }
    text + "</section>\n"
}

fn plots(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Memory(seen) => plots::memory(seen),
        Evidence::Deaths(seen) => plots::lives(seen),
        Evidence::Contrast(seen) => plots::latency(seen),
        Evidence::Identity(_)
        | Evidence::Sockets(_)
        | Evidence::Terminals(_)
        | Evidence::Machines(_)
        | Evidence::Skipped { .. }
        | Evidence::Nothing { .. } => String::new(),
    }
}

fn table(grid: &Grid) -> String {
    let class = |at: usize| match grid.columns[at].align {
        Align::Left => "",
        Align::Right => " class=\"number\"",
    };
    let row = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells =
            cells.enumerate().map(|(at, cell)| format!("<{tag}{}>{}</{tag}>", class(at), escaped(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let caption = grid
        .caption
        .as_ref()
        .map_or_else(String::new, |text| format!("<caption>{}</caption>", escaped(text)));
    let head = row("th", &mut grid.columns.iter().map(|column| column.title));
    let body: String =
        grid.rows.iter().map(|cells| row("td", &mut cells.iter().map(String::as_str))).collect();
    format!(
        "<div class=\"wide\"><table>{caption}\n<thead>{head}</thead><tbody>\n{body}</tbody></table></div>\n"
    )
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

/// Text that stands in the page as itself, whatever a process put into it.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text::escaped(text.as_bytes()).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::{Check, Topic};

    #[test]
    fn a_process_cannot_put_markup_into_the_page() {
        let why = "<script>alert(1)</script> & \"more\"\x1b".to_owned();
        let claim = Claim {
            title: "each <b>".into(),
            proven: false,
            skipped: None,
            checks: vec![Check { what: "a".into(), holds: false, found: why.clone() }],
            by_hand: vec!["kill -9 <pid>".into()],
            evidence: Evidence::Nothing { of: Topic::Identity, why },
        };
        let proof = Proof {
            version: 1,
            subject: "<x>".into(),
            at: String::new(),
            kernel: String::new(),
            proven: false,
            claims: vec![claim],
        };
        let page = page(&proof);
        assert!(!page.contains("<script") && !page.contains("<x>") && !page.contains('\x1b'), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;\\x1b"), "{page}");
        assert!(page.contains("Not proven") && page.contains("class=\"fails\""), "{page}");
    }
}
