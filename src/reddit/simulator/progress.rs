//! A bar for whoever watches a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Columns of the bar.
const WIDTH: usize = 24;

/// Whether a person watches: then a bar tells how far it is, and otherwise a line each second.
pub(super) fn is_watched() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Draws the bar over the one before. It ends at the first column, so that whatever is said next takes its place.
pub(super) fn draw(done: Duration, whole: Option<Duration>, line: &str) {
    let columns = terminal_columns().unwrap_or(80);
    let bar: String = format!("{} {line}", bar(done, whole)).chars().take(columns - 1).collect();
    // Nobody is left to tell that it cannot be drawn.
    let _ = write!(io::stderr(), "\x1b[2K{bar}\r");
    let _ = io::stderr().flush();
}

/// Takes the bar away.
pub(super) fn clear() {
    let _ = write!(io::stderr(), "\x1b[2K\r");
}

fn terminal_columns() -> Option<usize> {
    let (terminal_size::Width(columns), _) = terminal_size::terminal_size()?;
    Some(usize::from(columns).max(20))
}

/// `[######......] 12 of 30 s`.
fn bar(done: Duration, whole: Option<Duration>) -> String {
    let seconds = done.as_secs();
    let Some(whole) = whole.filter(|whole| !whole.is_zero()) else { return format!("{seconds} s") };
    let part = (done.as_secs_f64() / whole.as_secs_f64()).min(1.0);
    let full = (part * WIDTH as f64) as usize;
    format!("[{}{}] {seconds} of {:.0} s", "#".repeat(full), ".".repeat(WIDTH - full), whole.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_up() {
        let at = |seconds| bar(Duration::from_secs(seconds), Some(Duration::from_secs(10)));
        assert_eq!(at(0), format!("[{}] 0 of 10 s", ".".repeat(24)));
        assert_eq!(at(5), format!("[{}{}] 5 of 10 s", "#".repeat(12), ".".repeat(12)));
        assert_eq!(at(99), format!("[{}] 99 of 10 s", "#".repeat(24)));
        assert_eq!(bar(Duration::from_secs(7), None), "7 s");
    }
}
