//! "Did you mean": the known word a person most likely meant.

/// The nearest of `known`, unless even that is far off: about a third of the letters may differ.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| {
            let same = candidate.to_ascii_lowercase().replace('-', "_");
            (strsim::osa_distance(&lower, &same), candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `"a", "b" or "c"`.
pub(crate) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
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
    fn lists_read_as_text() {
        assert_eq!(listed(["a"]), "\"a\"");
        assert_eq!(listed(["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
    }
}
