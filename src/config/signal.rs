//! Signals by name or number.

use nix::libc::SIGRTMAX;
use nix::sys::signal;

use super::nearest::nearest;
use super::value::Value;
use crate::rules::Signal;

/// A signal: `"TERM"`, `"SIGTERM"` or a number of `signal(7)`, real-time signals by number only.
pub(crate) fn signal(value: Value) -> Option<Signal> {
    let Some(text) = value.as_string() else {
        let highest = u32::try_from(SIGRTMAX()).unwrap_or(64);
        return value.integer(1..=highest).and_then(|number| i32::try_from(number).ok()).map(Signal);
    };
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let short = |known: signal::Signal| known.as_str().trim_start_matches("SIG");
    if let Some(known) = signal::Signal::iterator().find(|known| short(*known) == name) {
        return Some(Signal(known as i32));
    }
    let hint = match nearest(name, signal::Signal::iterator().map(short)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "write a name as in \"TERM\", or a number as in 15".into(),
    };
    value.wrong("is not a signal", hint);
    None
}
