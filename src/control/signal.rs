//! A signal as a person names it.

use crate::os::signals;
use crate::suggest::nearest;

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
    signals::parse(typed).ok_or_else(|| {
        let upper = typed.trim().to_ascii_uppercase();
        let hint = match nearest(upper.strip_prefix("SIG").unwrap_or(&upper), signals::names()) {
            Some(name) => format!("; did you mean {name}?"),
            None => "; write TERM, SIGTERM or a number from 1 to 64".to_owned(),
        };
        UnknownSignal { typed: typed.to_owned(), hint }
    })
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
}
