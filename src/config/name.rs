//! Names of projects, children and sockets.

use super::value::Value;

/// Longest name, in bytes: with its instance it still fits into a file name.
const LONGEST: usize = 64;

/// Names that `ps` gives to provost's own processes.
const RESERVED: [&str; 2] = ["keeper", "supervisor"];

/// A name: `[a-z0-9][a-z0-9._-]{0,63}`. It becomes a file name, a word on the command line and a label.
pub(crate) fn name(value: Value) -> Option<String> {
    let Some(name) = value.as_string() else {
        value.mistyped("write a name in quotes");
        return None;
    };
    let suggestion = match sanitised(name) {
        Some(name) => format!("write \"{name}\""),
        None => "write letters a-z, digits, \".\", \"_\" and \"-\"".into(),
    };
    let Some(first) = name.bytes().next() else {
        value.wrong("is empty", "write a name, as in \"web\"");
        return None;
    };
    if name.len() > LONGEST {
        value.wrong(&format!("has {} letters, more than {LONGEST}", name.len()), suggestion);
    } else if !name.bytes().all(allowed) {
        value.wrong("may hold only a-z, 0-9, \".\", \"_\" and \"-\"", suggestion);
    } else if !first.is_ascii_alphanumeric() {
        value.wrong("does not begin with a letter or digit", suggestion);
    } else {
        return Some(name.to_owned());
    }
    None
}

/// The name of a child: none of provost's own.
pub(crate) fn child_name(value: Value) -> Option<String> {
    if value.as_string().is_some_and(|name| name.contains('@')) {
        value
            .wrong("holds \"@\", which is provost's", "write instances = N, and provost numbers them itself");
        return None;
    }
    let name = name(value)?;
    if RESERVED.contains(&name.as_str()) {
        value.wrong("is the name of one of provost's own processes", "choose another name");
        return None;
    }
    Some(name)
}

/// Whether a child may be called so.
#[must_use]
pub fn is_child_name(name: &str) -> bool {
    name.bytes().all(allowed)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.len() <= LONGEST
        && !RESERVED.contains(&name)
}

/// The nearest legal name, if anything is left of it.
pub(crate) fn sanitised(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let legal: String =
        lower.chars().map(|c| if c.is_ascii() && allowed(c as u8) { c } else { '-' }).collect();
    let begun = legal.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let short = &begun[..begun.len().min(LONGEST)];
    let ended = short.trim_end_matches('-');
    if ended.is_empty() { None } else { Some(ended.to_owned()) }
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_name_or_nothing() {
        assert_eq!(sanitised("My App"), Some("my-app".into()));
        assert_eq!(sanitised("_hidden"), Some("hidden".into()));
        assert_eq!(sanitised("žluťoučký"), Some("lu-ou-k".into()));
        assert_eq!(sanitised("///"), None);
        assert_eq!(sanitised(&"x".repeat(100)).map(|name| name.len()), Some(64));
    }

    #[test]
    fn names_of_children_are_short_plain_and_not_ours() {
        assert!(is_child_name("a") && is_child_name("web-2.x_y"));
        for wrong in ["", "-a", "A", "a b", "a@1", "keeper", "../x", &"x".repeat(65)] {
            assert!(!is_child_name(wrong), "{wrong}");
        }
    }
}
