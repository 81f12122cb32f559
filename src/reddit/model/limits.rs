//! How long and of what alphabet texts are: the values of Reddit's `validator.py`.

use super::error::{Error, Field, Flaw};

/// Entries of a listing when nobody says how many.
pub const LISTING_DEFAULT: u16 = 25;
/// Entries of a listing at most.
pub const LISTING_MAX: u16 = 100;

const DESCRIPTION_MAX: u32 = 500;
const TITLE_MAX: u32 = 300;
const BODY_MAX: u32 = 40_000;
const COMMENT_MAX: u32 = 10_000;
const SUBJECT_MAX: u32 = 100;
const MESSAGE_MAX: u32 = 10_000;

/// Comments of a tree when nobody says how many.
pub const THREAD_DEFAULT: u16 = 200;
/// Comments of a tree at most.
pub const THREAD_MAX: u16 = 500;
/// Levels of a tree that are shown when nobody says how many.
pub const LEVELS_DEFAULT: u8 = 10;

/// 3 to 20 of `[A-Za-z0-9_-]`.
pub(super) fn username(name: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    word(Field::Username, name, 20, allowed)
}

/// `[A-Za-z0-9][A-Za-z0-9_]{2,20}`.
pub(super) fn subreddit_name(name: &str) -> Result<(), Error> {
    word(Field::SubredditName, name, 21, |byte| byte.is_ascii_alphanumeric() || byte == b'_')?;
    if name.starts_with('_') {
        return Err(Error::BadRequest { field: Field::SubredditName, flaw: Flaw::Character });
    }
    Ok(())
}

/// At most 500 characters.
pub(super) fn description(text: &str) -> Result<(), Error> {
    not_longer(Field::Description, text.chars().count(), DESCRIPTION_MAX)
}

/// 1 to 300 characters, not only white space.
pub(super) fn title(text: &str) -> Result<(), Error> {
    written(Field::Title, text, TITLE_MAX)
}

/// At most 40,000 bytes; a post may be all title.
pub(super) fn body(text: &str) -> Result<(), Error> {
    not_longer(Field::Body, text.len(), BODY_MAX)
}

/// 1 to 10,000 characters, not only white space.
pub(super) fn comment(text: &str) -> Result<(), Error> {
    written(Field::Comment, text, COMMENT_MAX)
}

/// At most 100 characters.
pub(super) fn subject(text: &str) -> Result<(), Error> {
    not_longer(Field::Subject, text.chars().count(), SUBJECT_MAX)
}

/// 1 to 10,000 characters, not only white space.
pub(super) fn message(text: &str) -> Result<(), Error> {
    written(Field::Message, text, MESSAGE_MAX)
}

fn written(field: Field, text: &str, max: u32) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::BadRequest { field, flaw: Flaw::Empty });
    }
    not_longer(field, text.chars().count(), max)
}

fn word(field: Field, text: &str, max: u32, allowed: impl Fn(u8) -> bool) -> Result<(), Error> {
    const MIN: u32 = 3;
    if !text.bytes().all(allowed) {
        return Err(Error::BadRequest { field, flaw: Flaw::Character });
    }
    if text.len() < MIN as usize {
        return Err(Error::BadRequest { field, flaw: Flaw::TooShort { min: MIN } });
    }
    not_longer(field, text.len(), max)
}

fn not_longer(field: Field, length: usize, max: u32) -> Result<(), Error> {
    if length > max as usize { Err(Error::TooLong { field, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_have_3_to_20_letters_digits_underscores_or_hyphens() {
        for good in ["abc", "A-b_9", &"x".repeat(20)] {
            assert_eq!(username(good), Ok(()), "{good}");
        }
        assert!(matches!(username("ab"), Err(Error::BadRequest { flaw: Flaw::TooShort { min: 3 }, .. })));
        assert_eq!(username(&"x".repeat(21)), Err(Error::TooLong { field: Field::Username, max: 20 }));
        for bad in ["a b c", "käse", "a.b", ""] {
            assert!(username(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn subreddit_names_have_3_to_21_and_begin_with_a_letter_or_digit() {
        for good in ["abc", "9_9", &"x".repeat(21)] {
            assert_eq!(subreddit_name(good), Ok(()), "{good}");
        }
        for bad in ["_abc", "ab", "a-b", &"x".repeat(22)] {
            assert!(subreddit_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn comments_and_messages_have_1_to_10_000_characters_and_subjects_at_most_100() {
        for limit in [comment, message] {
            assert_eq!(limit(&"ä".repeat(10_000)), Ok(()));
            assert!(matches!(limit(&"ä".repeat(10_001)), Err(Error::TooLong { max: 10_000, .. })));
            assert!(limit(" ").is_err());
        }
        assert_eq!(subject(&"ä".repeat(100)), Ok(()));
        assert_eq!(subject(""), Ok(()));
        assert!(subject(&"x".repeat(101)).is_err());
    }

    #[test]
    fn titles_are_counted_in_characters_and_bodies_in_bytes() {
        assert_eq!(title(&"ä".repeat(300)), Ok(()));
        assert_eq!(title(&"ä".repeat(301)), Err(Error::TooLong { field: Field::Title, max: 300 }));
        assert!(title(" \n").is_err());
        assert_eq!(body(&"ä".repeat(20_000)), Ok(()));
        assert_eq!(body(&"ä".repeat(20_001)), Err(Error::TooLong { field: Field::Body, max: 40_000 }));
    }
}
