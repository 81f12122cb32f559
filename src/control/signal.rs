//! Signals by name and number.

use nix::sys::signal::Signal;

use super::suggest::suggest;

/// Not a signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no signal is named {typed:?}{hint}")]
pub struct UnknownSignal {
    typed: String,
    hint: String,
}

/// The number of a signal written as a name, with or without `SIG`, in any case, or as a number from 1 to 64.
///
/// # Errors
/// It is none; the error names a close one.
pub fn parse_signal(typed: &str) -> Result<i32, UnknownSignal> {
    let upper = typed.trim().to_ascii_uppercase();
    if let Some(number) = upper.parse().ok().filter(|number| (1..=64).contains(number)) {
        return Ok(number);
    }
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(signal) = Signal::iterator().find(|&signal| short_name(signal) == short) {
        return Ok(signal as i32);
    }
    let hint = match suggest(short, Signal::iterator().map(short_name)) {
        Some(name) => format!("; did you mean {name}?"),
        None => "; write TERM, SIGTERM or a number from 1 to 64".to_owned(),
    };
    Err(UnknownSignal { typed: typed.to_owned(), hint })
}

/// The name of a signal without `SIG`; its number where it has none (real-time signals).
#[must_use]
pub fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| number.to_string(), |signal| short_name(signal).to_owned())
}

fn short_name(signal: Signal) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood() {
        for (typed, number) in
            [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("term", 15), ("SigUsr1", 10), ("64", 64)]
        {
            assert_eq!(parse_signal(typed), Ok(number), "{typed}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused_with_a_suggestion() {
        let message = |typed| parse_signal(typed).unwrap_err().to_string();
        assert_eq!(message("TREM"), "no signal is named \"TREM\"; did you mean TERM?");
        assert_eq!(message("SIGHUB"), "no signal is named \"SIGHUB\"; did you mean HUP?");
        for typed in ["0", "65", "-9", "", "banana"] {
            assert!(
                message(typed).ends_with("write TERM, SIGTERM or a number from 1 to 64"),
                "{}",
                message(typed)
            );
        }
    }

    #[test]
    fn every_name_comes_back() {
        for number in 1..=64 {
            assert_eq!(parse_signal(&signal_name(number)), Ok(number));
        }
        assert_eq!((signal_name(9).as_str(), signal_name(40).as_str()), ("KILL", "40"));
    }
}
