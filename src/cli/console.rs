//! What `provost up` shows: the process table once the tree is up, then a line for everything worth a person's notice.

use std::os::fd::AsFd;

use super::ps;
use crate::control::{EventJson, EventKind, PsJson, Replaced};
use crate::os::terminal;
use crate::rules::Decision;
use crate::runtime;
use crate::text;

/// The terminal (or file, or pipe) that `up` was started on.
#[derive(Debug, Default)]
pub struct Console {
    up: bool,
    lost: u64,
}

impl Console {
    fn say(&mut self, text: &str) {
        let stdout = std::io::stdout();
        // A closed terminal must not end anything; what it misses is in the logs and in the event stream.
        match terminal::write_now(stdout.as_fd(), text::printable(text).as_bytes()) {
            Ok(true) => {}
            Ok(false) | Err(_) => self.lost += 1,
        }
    }
}

impl runtime::Console for Console {
    fn up(&mut self, table: &PsJson) {
        self.up = true;
        self.say(&ps::text(table));
    }

    fn event(&mut self, event: &EventJson) {
        // A later supervisor process has no boot to be quiet about.
        self.up |= matches!(event.event, EventKind::Takeover | EventKind::Upgraded);
        if let Some(line) = line(event, self.up) {
            self.say(&format!("{line}\n"));
        }
    }
}

/// The line for an event; `None` for what a person need not see. While the tree boots, only failures are told.
fn line(event: &EventJson, up: bool) -> Option<String> {
    let name = &event.name;
    let pid = event.pid.map(|pid| format!("PID {pid}")).unwrap_or_default();
    let reason = event.reason.as_deref().unwrap_or_default();
    let text = match event.event {
        EventKind::Started if up && event.pid.is_some() => match &event.replaces {
            Some(replaced) => {
                let took = event.took_ms.unwrap_or_default();
                format!("{name} restarted: {} -> {pid} in {took:.1} ms", replaced_text(replaced))
            }
            None => format!("{name} started: {pid}"),
        },
        EventKind::Exited => {
            let exit = event.exit.as_ref()?;
            match (event.requested.unwrap_or(false), event.decision) {
                // Told when it is back.
                (false, Some(Decision::Restart)) => return None,
                (true, _) => format!("{name} stopped: {pid} ({exit})"),
                (false, _) => format!("{name} ended: {pid} ({exit}), not restarted"),
            }
        }
        EventKind::StartFailed => format!("{name} could not be started: {reason}"),
        EventKind::Killed => format!("{name} {reason}"),
        EventKind::Backoff => {
            format!("{name} is restarted in {:.1} s", event.took_ms.unwrap_or_default() / 1e3)
        }
        EventKind::Unhealthy => format!("{name} is unhealthy: {pid} is restarted"),
        EventKind::GaveUp => format!("{name} gives up: {reason}"),
        EventKind::AutoShutdown => format!("{name} shuts down: {reason}"),
        EventKind::Stopped if event.run.is_none() => format!("{name} has ended: {reason}"),
        EventKind::Takeover => format!("supervisor process replaced: {pid} {reason}"),
        EventKind::Upgraded => format!("supervisor process upgraded: {pid} {reason}"),
        EventKind::Reloaded => format!("{name}: the new configuration is in force"),
        EventKind::Added if up => format!("{name} added"),
        EventKind::Removed => format!("{name} removed"),
        EventKind::OutputStalled => format!("{name} waits with its output: {reason}"),
        EventKind::OutputResumed => format!("{name} goes on: its output is written again"),
        EventKind::Started
        | EventKind::Starting
        | EventKind::Stopping
        | EventKind::Stopped
        | EventKind::Ready
        | EventKind::Ignored
        | EventKind::Restarting
        | EventKind::Added => return None,
    };
    Some(text)
}

fn replaced_text(replaced: &Replaced) -> String {
    match replaced.by_itself {
        true => format!("PID {} ({})", replaced.pid, replaced.exit),
        false => format!("PID {} (stopped)", replaced.pid),
    }
}
