//! Numbers as people read them.

use std::time::{Duration, SystemTime};

use crate::rules::Phase;

/// What stands for "does not exist" and "may not be read".
pub(super) const NONE: &str = "-";

/// Bytes in powers of 1024: `512B`, `5.1M`, `51M`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded to 1024 belongs to the next unit.
    while value >= 1023.5 {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$}{}", UNITS[unit])
}

/// A length in its two largest units: `350ms`, `13s`, `2m13s`, `3h04m`, `5d02h`.
pub(super) fn length(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => format!("{milliseconds}ms"),
        (0, 0, 0, _) => format!("{seconds}s"),
        (0, 0, _, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A configured length, exactly: `10s`, `1m30s`, `1s500ms`.
pub(super) fn exact_length(milliseconds: u64) -> String {
    humantime::format_duration(Duration::from_millis(milliseconds)).to_string().replace(' ', "")
}

/// A start in UTC: the time of day if it was on the day that is now, else the date. Both come from the same listing:
/// now is start plus uptime.
pub(super) fn start(start_time: &str, uptime_ms: u64) -> Option<String> {
    let start = humantime::parse_rfc3339(start_time).ok()?;
    let text = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let (then, now) = (text(start), text(start + Duration::from_millis(uptime_ms)));
    let (date, time) = then.split_once('T')?;
    Some(if now.starts_with(date) { time.to_owned() } else { date.to_owned() })
}

/// A phase as it is written in the config's and API's words.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Ready => "ready",
        Phase::Unhealthy => "unhealthy",
        Phase::Backoff => "backoff",
        Phase::Restarting => "restarting",
        Phase::Stopping => "stopping",
        Phase::Stopped => "stopped",
        Phase::Exited => "exited",
        Phase::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits_or_three() {
        let cases = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (5_347_737, "5.1M"),
            (10_200, "10K"),
            (53_477_376, "51M"),
            (1_048_575, "1.0M"),
            (1_073_741_823, "1.0G"),
            (u64::MAX, "16E"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn lengths_have_two_units() {
        let cases = [
            (0, "0ms"),
            (999, "999ms"),
            (13_999, "13s"),
            (133_000, "2m13s"),
            (60_000, "1m00s"),
            (11_040_000, "3h04m"),
            (439_200_000, "5d02h"),
        ];
        for (milliseconds, text) in cases {
            assert_eq!(length(milliseconds), text, "{milliseconds}");
        }
        assert_eq!((exact_length(90_000).as_str(), exact_length(1_500).as_str()), ("1m30s", "1s500ms"));
    }

    #[test]
    fn starts_show_the_time_today_and_the_date_before() {
        let morning = "2026-11-23T08:30:05.120Z";
        assert_eq!(start(morning, 60_000).as_deref(), Some("08:30:05Z"));
        assert_eq!(start(morning, 86_400_000).as_deref(), Some("2026-11-23"));
        assert_eq!(start("yesterday", 0), None);
    }

    #[test]
    fn phases_are_called_as_in_the_api() {
        for one in [
            Phase::Waiting,
            Phase::Starting,
            Phase::Running,
            Phase::Ready,
            Phase::Unhealthy,
            Phase::Backoff,
            Phase::Restarting,
            Phase::Stopping,
            Phase::Stopped,
            Phase::Exited,
            Phase::Failed,
        ] {
            assert_eq!(serde_json::to_value(one).unwrap(), phase(one));
        }
    }
}
