//! "Did you mean": the known word a person most likely meant. Uses nothing of ours; everybody may use it.

/// The nearest of `known`, unless even that is far off: about a third of the letters may differ, at least one. Case and
/// the two kinds of hyphen do not count. Of equally near ones the first.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let typed = plain(word);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&typed, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            *distance <= (candidate.chars().count().max(word.chars().count()) / 3).max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `"a", "b" or "c"`.
pub fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slips_are_forgiven_and_strangers_are_not() {
        let known = ["one_for_one", "one_for_all", "rest_for_one"];
        assert_eq!(nearest("one_for_al", known), Some("one_for_all"));
        assert_eq!(nearest("One-For-One", known), Some("one_for_one"));
        assert_eq!(nearest("bananas", known), None);
    }

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
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }

    #[test]
    fn lists_read_as_text() {
        assert_eq!(listed(["a"]), "\"a\"");
        assert_eq!(listed(["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
    }
}
