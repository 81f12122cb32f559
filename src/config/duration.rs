//! Lengths of time: `"500ms"`, `"5s"`, `"2min"`, `"1h 30min"`, `"infinity"`.

use std::time::Duration;

use humantime::DurationError;

/// A length of time that may have no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// This long, in whole milliseconds.
    For(Duration),
    /// Without a limit.
    Forever,
}

impl Wait {
    /// The limit, if there is one.
    pub(crate) fn limit(self) -> Option<Duration> {
        match self {
            Wait::For(length) => Some(length),
            Wait::Forever => None,
        }
    }
}

/// Why a text is no length of time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: &'static str,
    pub(crate) hint: &'static str,
}

/// No clock here can count further than this; whoever means more means "infinity".
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

const EXAMPLES: &str = "write it as in \"500ms\", \"5s\" or \"2min\"";

/// Reads a length of time. The rules count in milliseconds, so a finer one is refused instead of cut off.
pub(crate) fn parse(text: &str) -> Result<Wait, Fault> {
    if text == "infinity" {
        return Ok(Wait::Forever);
    }
    let fault = |message| Err(Fault { message, hint: EXAMPLES });
    if text.trim_start().starts_with('-') {
        return fault("is negative");
    }
    // humantime reads "M" as a month where most people mean a minute, and overflows on absurd sums.
    let plausible = text.len() <= 64 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if !plausible || text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 9) {
        return fault("is not a length of time");
    }
    match humantime::parse_duration(text) {
        Ok(length) if length > LONGEST => fault("is longer than 100 years"),
        Ok(length) if length.subsec_nanos() % 1_000_000 != 0 => {
            fault("is finer than a millisecond, which provost's clock is not")
        }
        Ok(length) => Ok(Wait::For(length)),
        Err(DurationError::UnknownUnit { unit, .. }) if unit.is_empty() => Err(Fault {
            message: "has no unit: systemd would read seconds, OTP milliseconds",
            hint: "write \"5s\" or \"500ms\"",
        }),
        Err(_) => fault("is not a length of time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read() {
        let millis = |text| parse(text).expect(text).limit().expect("finite").as_millis();
        assert_eq!(millis("500ms"), 500);
        assert_eq!(millis("5s"), 5_000);
        assert_eq!(millis("1.5s"), 1_500);
        assert_eq!(millis("2min"), 120_000);
        assert_eq!(millis("1h 30min"), 5_400_000);
        assert_eq!(millis("0s"), 0);
        assert_eq!(parse("infinity"), Ok(Wait::Forever));
    }

    #[test]
    fn others_are_refused() {
        for (text, message) in [
            ("", "is not a length of time"),
            ("5", "has no unit: systemd would read seconds, OTP milliseconds"),
            ("-10s", "is negative"),
            ("5M", "is not a length of time"),
            ("5 apples", "is not a length of time"),
            ("10us", "is finer than a millisecond, which provost's clock is not"),
            ("101years", "is longer than 100 years"),
            ("18446744073709551615s 1000ms", "is not a length of time"),
        ] {
            assert_eq!(parse(text).expect_err(text).message, message, "{text}");
        }
    }
}
