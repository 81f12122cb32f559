//! The keys of a supervisor: the root's `[supervisor]` and every child of `type = "supervisor"`.

use super::explain::explain;
use super::keys;
use super::report::At;
use super::table::Table;
use crate::rules::{Flags, SpecError};

/// Flags and where they stand.
pub(crate) struct Flagged {
    pub(crate) flags: Flags,
    /// The place of `strategy`, or of the table.
    pub(crate) strategy_at: At,
    /// The place of `auto_shutdown`, or of the table.
    pub(crate) auto_shutdown_at: At,
    /// False when some of it is wrong: then nothing is concluded from the rest.
    pub(crate) sound: bool,
}

impl Flagged {
    /// OTP's defaults, for a supervisor of which the file says nothing.
    pub(crate) fn default_at(at: At) -> Flagged {
        Flagged { flags: Flags::default(), strategy_at: at, auto_shutdown_at: at, sound: true }
    }

    /// A supervisor of which nothing is known because its table is none.
    pub(crate) fn unknown(at: At) -> Flagged {
        Flagged { sound: false, ..Flagged::default_at(at) }
    }

    /// Reads the keys of a supervisor from a table that may hold them.
    pub(crate) fn read(table: &Table) -> Flagged {
        let errors = table.report.errors_so_far();
        let mut flags = Flags::default();
        if let Some(strategy) = table.get("strategy").and_then(|value| value.word(keys::STRATEGIES)) {
            flags.strategy = strategy;
        }
        if let Some(intensity) = table.get("intensity").and_then(|value| value.integer(0..=u32::MAX)) {
            flags.intensity = intensity;
        }
        if let Some(value) = table.get("period") {
            match value.duration() {
                Some(period) if period.is_zero() => {
                    let (message, hint) = explain(&SpecError::InvalidPeriod);
                    value.report.error(value.at, format!("{}: {message}", value.quoted()), hint);
                }
                Some(period) => flags.period = period,
                None => {}
            }
        }
        if let Some(auto) = table.get("auto_shutdown").and_then(|value| value.word(keys::AUTO_SHUTDOWNS)) {
            flags.auto_shutdown = auto;
        }
        if let Some(give_up) = table.get("give_up").and_then(|value| value.word(keys::GIVE_UPS)) {
            flags.give_up = give_up;
        }
        Flagged {
            flags,
            strategy_at: table.place_of("strategy"),
            auto_shutdown_at: table.place_of("auto_shutdown"),
            sound: table.report.errors_so_far() == errors,
        }
    }
}
