//! What the supervisor process has to say that is no event of a child: one line for each warning, on stderr.

use std::fmt::{Debug, Write};
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::os::terminal;
use crate::text;

/// Lines in a period; what is more is counted.
const MOST: u32 = 20;
/// The period.
const PERIOD: Duration = Duration::from_secs(60);

/// Takes the warnings and errors of this process from now on.
pub(super) fn show() {
    // Fails only if somebody takes them already.
    let _ = tracing::subscriber::set_global_default(Warnings::default());
}

#[derive(Default)]
struct Warnings(Mutex<Count>);

#[derive(Default)]
struct Count {
    began: Option<Instant>,
    said: u32,
}

impl Count {
    /// Whether one more may be said, and how many were not before it.
    fn admit(&mut self, now: Instant) -> Option<u32> {
        let mut left_out = 0;
        if self.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            left_out = self.said.saturating_sub(MOST);
            *self = Count { began: Some(now), said: 0 };
        }
        self.said += 1;
        (self.said <= MOST).then_some(left_out)
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let admitted = self.0.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
        let Some(left_out) = admitted else { return };
        let mut line = Line::default();
        event.record(&mut line);
        if left_out > 0 {
            let _ = write!(line.details, "; {left_out} more were left out before");
        }
        let level = if *event.metadata().level() == Level::ERROR { "" } else { "warning: " };
        let said = text::escaped(format!("{}{}", line.message, line.details).as_bytes());
        // A closed terminal must not end anything, and one that takes nothing is not waited for.
        let _ = terminal::write_now(io::stderr().as_fd(), format!("provost: {level}{said}\n").as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, and each further field behind it.
#[derive(Default)]
struct Line {
    message: String,
    details: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.details, ", {name} {value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_warnings_become_a_number() {
        let (mut count, begin) = (Count::default(), Instant::now());
        for _ in 0..MOST {
            assert_eq!(count.admit(begin), Some(0));
        }
        assert_eq!([count.admit(begin), count.admit(begin)], [None, None]);
        assert_eq!(count.admit(begin + PERIOD), Some(2));
        assert_eq!(count.admit(begin + PERIOD * 3), Some(0));
    }
}
