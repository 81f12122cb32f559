//! "Did you mean".

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
}
