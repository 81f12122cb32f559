//! "Did you mean".

use super::{ApiError, ErrorCode};

/// The one of `names` that `typed` most likely meant: at most a third of its letters off, at least one allowed. Of
/// equally close ones the first.
pub fn suggest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (typed.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// The refusal of a name that no child has. `names` are all there are, in start order.
#[must_use]
pub fn no_such_child(typed: &str, names: &[&str]) -> ApiError {
    let first_few = &names[..names.len().min(8)];
    let rest = if names.len() > first_few.len() { ", ..." } else { "" };
    let hint = match suggest(typed, names.iter().copied()) {
        Some(name) => format!("; did you mean {name:?}?"),
        None if names.is_empty() => "; there are no children".to_owned(),
        None => format!("; there are: {}{rest}", first_few.join(", ")),
    };
    ApiError {
        code: ErrorCode::NotFound,
        message: format!("no child is named {typed:?}{hint}"),
        name: Some(typed.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_suggested_and_far_ones_are_not() {
        let names = ["engine", "client@1", "client@2", "gateway", "a"];
        let cases = [
            ("engin", Some("engine")),
            ("egnine", Some("engine")),
            ("client", Some("client@1")),
            ("client@3", Some("client@1")),
            ("b", Some("a")),
            ("database", None),
            ("xy", None),
        ];
        for (typed, meant) in cases {
            assert_eq!(suggest(typed, names), meant, "{typed}");
        }
    }

    #[test]
    fn the_refusal_says_what_to_do() {
        let message = |typed, names: &[&str]| no_such_child(typed, names).to_string();
        assert_eq!(message("engin", &["engine"]), "no child is named \"engin\"; did you mean \"engine\"?");
        assert_eq!(message("db", &["engine", "web1"]), "no child is named \"db\"; there are: engine, web1");
        assert_eq!(message("db", &["engine"; 9]).matches("engine").count(), 8);
        assert_eq!(message("db", &[]), "no child is named \"db\"; there are no children");
    }
}
