//! Signals by name or number.

use super::value::Value;
use crate::os::signals;
use crate::rules::Signal;
use crate::suggest::nearest;

/// A signal: `"TERM"`, `"SIGTERM"`, `"RTMIN+1"` or a number of `signal(7)`.
pub(crate) fn signal(value: Value) -> Option<Signal> {
    let Some(text) = value.as_string() else {
        return value.integer(1..=signals::LAST.unsigned_abs()).map(|number| Signal(number.cast_signed()));
    };
    if let Some(number) = signals::parse(text) {
        return Some(Signal(number));
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let hint = match nearest(name, signals::names()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "write a name as in \"TERM\", or a number as in 15".into(),
    };
    value.wrong("is not a signal", hint);
    None
}
