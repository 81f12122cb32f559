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
    let mut covered = 0;
    for (span, message) in errors {
        // What follows on the same line is mostly an echo of the first mistake.
        if span.start < covered || report.is_full() {
            continue;
        }
        let start = span.start.min(text.len());
        let (before, after) = text.as_bytes().split_at(start);
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line_end =
            after.iter().position(|byte| *byte == b'\n').map_or(text.len(), |length| start + length);
        covered = line_end + 1;
        let (message, expected) = message.split_once(", expected ").unwrap_or((message, "nothing"));
        let offending = match report.slice(At(span.start), At(span.end)).trim() {
            "" => shortened(report.slice(At(line_start), At(line_end))),
            token => shortened(token),
        };
        let hint = match expected {
            "nothing" => String::new(),
            "literal string" => format!("write \"{}\"", offending.escape_debug()),
            _ => format!("expected {expected}"),
        };
        report.error(At(span.start), format!("not TOML at `{offending}`: {message}"), hint);
    }
    None
}
