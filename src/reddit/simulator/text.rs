//! What simulated people write.

use rand::Rng;

use crate::reddit::model::Text;

const WORDS: [&str; 48] = [
    "about",
    "actor",
    "again",
    "always",
    "because",
    "before",
    "better",
    "boring",
    "build",
    "change",
    "child",
    "crash",
    "every",
    "first",
    "found",
    "friend",
    "happy",
    "heard",
    "house",
    "idea",
    "kernel",
    "later",
    "learn",
    "little",
    "morning",
    "never",
    "night",
    "nobody",
    "often",
    "people",
    "place",
    "process",
    "question",
    "really",
    "restart",
    "river",
    "signal",
    "simple",
    "slowly",
    "socket",
    "story",
    "street",
    "supervisor",
    "today",
    "tree",
    "water",
    "winter",
    "wonder",
];

/// 3 to 8 words.
pub(super) fn title(random: &mut impl Rng) -> Text {
    let count = random.random_range(3..=8);
    words(random, count).into()
}

/// 10 to 40 words, about 160 bytes.
pub(super) fn body(random: &mut impl Rng) -> Text {
    let count = random.random_range(10..=40);
    words(random, count).into()
}

/// 3 to 20 words, about 70 bytes.
pub(super) fn remark(random: &mut impl Rng) -> Text {
    let count = random.random_range(3..=20);
    words(random, count).into()
}

/// A text so many times as long, of the same words again: more of them would take more of the random stream than an action
/// has.
pub(super) fn stretched(text: &Text, times: f64) -> Text {
    let length = ((text.len() as f64 * times) as usize).max(1);
    let again = || text.chars().chain([' ']);
    std::iter::repeat_with(again).flatten().take(length).collect::<String>().into()
}

fn words(random: &mut impl Rng, count: usize) -> String {
    let mut text = String::with_capacity(count * 8);
    for index in 0..count {
        if index > 0 {
            text.push(' ');
        }
        text.push_str(WORDS[random.random_range(0..WORDS.len())]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_longer_of_its_own_words_and_never_empty() {
        let text = Text::from("ada bob");
        for (times, expected) in [(1.0, "ada bob"), (2.5, "ada bob ada bob a"), (0.5, "ada"), (0.01, "a")] {
            assert_eq!(&*stretched(&text, times), expected);
        }
    }
}
