//! `backoff`: the pause before a restart.

use std::time::Duration;

use super::keys;
use super::report::At;
use super::table::Table;
use super::value::Value;
use crate::rules::Backoff;

const HINT: &str = "write \"none\", or { initial = \"100ms\", factor = 2, max = \"2s\" }";

/// A pause, and the place where it stands. `"none"` is no pause, as in OTP.
pub(crate) fn backoff(table: &Table) -> Option<(Backoff, At)> {
    let value = table.get("backoff")?;
    match value.as_string() {
        Some("none") => None,
        Some(_) => {
            value.wrong("is not known", HINT);
            None
        }
        None => read(value).map(|backoff| (backoff, value.at)),
    }
}

fn read(value: Value) -> Option<Backoff> {
    let table = value.table(&keys::BACKOFF, HINT)?;
    let length = |key| table.get(key).map(positive);
    let (initial, max, reset_after) = (length("initial"), length("max"), length("reset_after"));
    let factor_milli = table.get("factor").map_or(Some(2_000), |value| value.thousandths(1..=1_000));
    let jitter_milli = table.get("jitter").map_or(Some(0), |value| value.thousandths(0..=1));
    let (Some(initial), Some(max)) = (initial, max) else {
        value.wrong("needs both initial and max", "write { initial = \"100ms\", max = \"2s\" }");
        return None;
    };
    let backoff = Backoff {
        initial: initial?,
        factor_milli: factor_milli?,
        max: max?,
        jitter_milli: jitter_milli?,
        reset_after: match reset_after {
            Some(length) => Some(length?),
            None => None,
        },
    };
    if backoff.initial > backoff.max {
        value.wrong("begins with more than its max", "write an initial that is not longer than max");
        return None;
    }
    Some(backoff)
}

fn positive(value: Value) -> Option<Duration> {
    let length = value.duration()?;
    if length.is_zero() {
        value.wrong("is no time at all", "write a longer time, or backoff = \"none\"");
        return None;
    }
    Some(length)
}
