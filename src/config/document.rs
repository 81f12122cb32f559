//! Text to TOML.

use toml::de::DeTable;

use super::report::{At, Report};
use super::value::shortened;

/// The document, unless it is not TOML; then every line that is not is reported.
pub(crate) fn document<'t>(report: &Report, text: &'t str) -> Option<DeTable<'t>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Some(document.into_inner());
    }
    let mut errors: Vec<_> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let mut last_line = 0;
    for (span, message) in errors {
        let at = At(span.start);
        let line = report.line(at);
        // What follows on the same line is mostly an echo of the first mistake.
        if line == last_line {
            continue;
        }
        last_line = line;
        let (message, expected) = message.split_once(", expected ").unwrap_or((message, "nothing"));
        let offending = match report.slice(at, At(span.end)).trim() {
            "" => text.lines().nth(line - 1).unwrap_or_default(),
            token => token,
        };
        let offending = shortened(offending);
        let hint = match expected {
            "nothing" => String::new(),
            "literal string" => format!("write \"{}\"", offending.escape_debug()),
            _ => format!("expected {expected}"),
        };
        report.error(at, format!("not TOML at `{offending}`: {message}"), hint);
    }
    None
}
