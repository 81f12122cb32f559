//! What others have written (names of processes, files and peers, arguments, output, messages), made fit for a terminal.
//!
//! Nothing of it may act on the terminal or change the order of what stands beside it: C0 and C1 controls, bidirectional
//! controls, line separators, and bytes that are not UTF-8 are shown as `\xNN`, byte for byte.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// One value, in one line. A tab stays.
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if acts(letter) && letter != '\t' {
                escape(letter.encode_utf8(&mut [0; 4]).as_bytes(), &mut text);
            } else {
                text.push(letter);
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

/// A text of several lines, without styles of its own.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|letter| acts(letter) && !matches!(letter, '\n' | '\t')) {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
        Some(line) => escaped(line.as_bytes()) + "\n",
        None => escaped(line.as_bytes()),
    });
    Cow::Owned(lines.collect())
}

/// JSON as it was serialised: what its strings contain is escaped as JSON has it.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(|letter| acts(letter) && letter != '\n') {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if acts(letter) && letter != '\n' {
            // Writing to a string cannot fail. None of these is above U+FFFF.
            let _ = write!(text, "\\u{:04x}", u32::from(letter));
        } else {
            text.push(letter);
        }
    }
    Cow::Owned(text)
}

/// Columns that it takes on a terminal.
#[must_use]
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Its end, as much as fits into so many columns.
#[must_use]
pub fn end(text: &str, columns: usize) -> &str {
    let mut from = text.len();
    for (at, _) in text.grapheme_indices(true).rev() {
        if width(text.get(at..).unwrap_or_default()) > columns {
            break;
        }
        from = at;
    }
    text.get(from..).unwrap_or_default()
}

/// Spaces up to so many columns.
#[must_use]
pub fn padding(text: &str, columns: usize) -> String {
    " ".repeat(columns.saturating_sub(width(text)))
}

/// Whether a terminal does something with it instead of showing it.
fn acts(letter: char) -> bool {
    let bidirectional = matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let separator = matches!(letter, '\u{2028}' | '\u{2029}');
    letter.is_control() || bidirectional || separator
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_controls_the_terminal() {
        assert_eq!(escaped("größe \u{9b}2J\r".as_bytes()), "größe \\xc2\\x9b2J\\x0d");
        assert_eq!(escaped(b"\x1b]52;c;aGk=\x07\xff\x7f\n\tx"), "\\x1b]52;c;aGk=\\x07\\xff\\x7f\\x0a\tx");
        assert_eq!(
            escaped("a\u{202e}b\u{2066}c\u{200f}".as_bytes()),
            "a\\xe2\\x80\\xaeb\\xe2\\x81\\xa6c\\xe2\\x80\\x8f"
        );
        assert_eq!(escaped("👩\u{200d}👧 é".as_bytes()), "👩\u{200d}👧 é");
    }

    #[test]
    fn columns_are_those_of_letters_as_they_are_seen() {
        let texts = ["abc", "größe", "e\u{301}", "日本", "👩\u{200d}👧", "🇩🇪"];
        assert_eq!(texts.map(width), [3, 5, 1, 4, 2, 2]);
        assert_eq!(end("日本語", 5), "本語");
        assert_eq!(end("xe\u{301}", 1), "e\u{301}");
        assert_eq!(end("x👩\u{200d}👧", 2), "👩\u{200d}👧");
        assert_eq!((end("abc", 9), end("abc", 0), padding("日", 4).as_str()), ("abc", "", "  "));
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(printable("a\tb\nc\n"), "a\tb\nc\n");
        assert_eq!(printable("a\x1b[2J\nc\rd"), "a\\x1b[2J\nc\\x0dd");
    }

    #[test]
    fn json_means_the_same_as_before() {
        let value = serde_json::json!({ "name": "a\u{202e}\u{9b}\u{7f}\n\u{1b}é" });
        let text = value.to_string();
        let shown = printable_json(&text);
        assert!(!shown.chars().any(acts), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
