//! One value of the file, with its place: asked for as a type, it answers or complains.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::duration::{self, Wait};
use super::expand::{Scope, expand};
use super::keys::{Keys, Word, Words};
use super::report::{At, Report};
use super::size;
use super::table::Table;
use crate::suggest::{listed, nearest};
use crate::text;

/// A value. Every question about its type either answers or reports an error and answers `None`.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    /// Where complaints go.
    pub(crate) report: &'a Report<'a>,
    /// Where it begins.
    pub(crate) at: At,
    end: At,
    key: &'a str,
    role: Role,
    value: &'a DeValue<'a>,
}

/// What a value is in its surroundings; decides how it is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The value of a key.
    OfKey,
    /// One of the list that is the value of a key.
    InList,
}

/// Longest piece of the file that a message repeats, in characters.
const QUOTE: usize = 60;

impl<'a> Value<'a> {
    /// A value as the parser gives it.
    pub(crate) fn new(
        report: &'a Report<'a>,
        key: &'a str,
        role: Role,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Value<'a> {
        let span = value.span();
        Value { report, at: At(span.start), end: At(span.end), key, role, value: value.get_ref() }
    }

    /// Reports what is wrong with this value. The message follows the quoted value.
    pub(crate) fn wrong(self, message: &str, hint: impl Into<String>) {
        self.report.error(self.at, format!("{} {message}", self.quoted()), hint);
    }

    /// Reports that the value has the wrong type.
    pub(crate) fn mistyped(self, hint: impl Into<String>) {
        let is = match self.value {
            DeValue::String(_) => "is a string",
            DeValue::Integer(_) => "is a whole number",
            DeValue::Float(_) => "is a fraction",
            DeValue::Boolean(_) => "is a boolean",
            DeValue::Datetime(_) => "is a date",
            DeValue::Array(_) => "is a list",
            DeValue::Table(_) => "is a table",
        };
        self.wrong(is, hint);
    }

    /// A string as it stands in the file, without expansion.
    pub(crate) fn as_string(self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// A list, if it is one.
    pub(crate) fn as_list(self) -> Option<Vec<Value<'a>>> {
        let elements = self.value.as_array()?.iter();
        Some(elements.map(|element| Value::new(self.report, self.key, Role::InList, element)).collect())
    }

    /// Whether it is the word `true`.
    pub(crate) fn is_true(self) -> bool {
        self.value.as_bool() == Some(true)
    }

    /// The entries of a table whose keys are free: each key, its place and its value.
    pub(crate) fn entries(self) -> Option<Vec<(&'a str, At, Value<'a>)>> {
        let entry = |(name, value): (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)| {
            let key = name.get_ref().as_ref();
            (key, At(name.span().start), Value::new(self.report, key, Role::OfKey, value))
        };
        self.value.as_table().map(|table| table.iter().map(entry).collect())
    }

    /// `true` or `false`.
    pub(crate) fn boolean(self) -> Option<bool> {
        let answer = self.value.as_bool();
        if answer.is_none() {
            self.mistyped("write true or false");
        }
        answer
    }

    /// A whole number in a range.
    pub(crate) fn integer(self, range: RangeInclusive<u32>) -> Option<u32> {
        let hint = if *range.end() == u32::MAX {
            format!("write a whole number of {} or more", range.start())
        } else {
            format!("write a whole number from {} to {}", range.start(), range.end())
        };
        let Some(number) = self.value.as_integer() else {
            self.mistyped(hint);
            return None;
        };
        // i128, so that any number a person would write is "out of range" and not "no number".
        let number = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let fitting = number.and_then(|number| u32::try_from(number).ok()).filter(|n| range.contains(n));
        if fitting.is_none() {
            self.wrong("is out of range", hint);
        }
        fitting
    }

    /// Whether it is a whole number.
    pub(crate) fn is_integer(self) -> bool {
        self.value.as_integer().is_some()
    }

    /// A whole number in a range that begins below zero.
    pub(crate) fn signed(self, range: RangeInclusive<i32>) -> Option<i32> {
        let hint = format!("write a whole number from {} to {}", range.start(), range.end());
        let Some(number) = self.value.as_integer() else {
            self.mistyped(hint);
            return None;
        };
        let number = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let fitting = number.and_then(|number| i32::try_from(number).ok()).filter(|n| range.contains(n));
        if fitting.is_none() {
            self.wrong("is out of range", hint);
        }
        fitting
    }

    /// A number with at most three decimals, in thousandths, in a range of whole numbers.
    pub(crate) fn thousandths(self, range: RangeInclusive<u32>) -> Option<u32> {
        let hint = format!("write a number from {} to {}", range.start(), range.end());
        let number = match self.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse::<f64>().ok(),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            _ => {
                self.mistyped(hint);
                return None;
            }
        };
        let inside =
            |number: &f64| *number >= f64::from(*range.start()) && *number <= f64::from(*range.end());
        let Some(number) = number.filter(inside) else {
            self.wrong("is out of range", hint);
            return None;
        };
        // The range is made of u32, and callers ask for small ones: the product fits.
        Some((number * 1000.0).round() as u32)
    }

    /// One of the words of a list.
    pub(crate) fn word<T: Copy>(self, words: Words<T>) -> Option<T> {
        let supported =
            || words.iter().filter(|(_, word)| matches!(word, Word::Is(_))).map(|(name, _)| *name);
        let choice = format!("write {}", listed(supported()));
        let Some(text) = self.as_string() else {
            self.mistyped(choice);
            return None;
        };
        match words.iter().find(|(name, _)| *name == text) {
            Some((_, Word::Is(meaning))) => return Some(*meaning),
            Some((_, Word::Later)) => self.wrong("is not supported yet", choice),
            None => match nearest(text, supported()) {
                Some(near) => self.wrong("is not known", format!("did you mean \"{near}\"? {choice}")),
                None => self.wrong("is not known", choice),
            },
        }
        None
    }

    /// A finite length of time.
    pub(crate) fn duration(self) -> Option<std::time::Duration> {
        match self.wait()? {
            Wait::For(length) => Some(length),
            Wait::Forever => {
                self.wrong("has no end, and this needs one", "write a time, as in \"5s\"");
                None
            }
        }
    }

    /// A length of time, or `"infinity"`.
    pub(crate) fn wait(self) -> Option<Wait> {
        match self.value {
            DeValue::String(text) => match duration::parse(text) {
                Ok(wait) => return Some(wait),
                Err(fault) => self.wrong(fault.message, fault.hint),
            },
            DeValue::Integer(_) | DeValue::Float(_) => self.wrong(
                "has no unit: systemd would read seconds, OTP milliseconds",
                "write \"5s\" or \"500ms\"",
            ),
            _ => self.mistyped("write a time, as in \"500ms\", \"5s\" or \"2min\""),
        }
        None
    }

    /// A number of bytes.
    pub(crate) fn size(self) -> Option<u64> {
        match self.value {
            DeValue::String(text) => match size::parse(text) {
                Ok(bytes) => return Some(bytes),
                Err(message) => self.wrong(message, size::HINT),
            },
            DeValue::Integer(_) | DeValue::Float(_) => self.wrong("has no unit", size::HINT),
            _ => self.mistyped(size::HINT),
        }
        None
    }

    /// Permission bits in octal, as a string.
    pub(crate) fn octal(self, example: &str) -> Option<u32> {
        let hint = format!("write octal digits in quotes, as in \"{example}\"");
        let Some(text) = self.as_string() else {
            self.mistyped(hint);
            return None;
        };
        let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| digits && *bits <= 0o777);
        if bits.is_none() {
            self.wrong("is not a mode from 000 to 777", hint);
        }
        bits
    }

    /// A list.
    pub(crate) fn list(self, hint: &str) -> Option<Vec<Value<'a>>> {
        let list = self.as_list();
        if list.is_none() {
            self.mistyped(hint);
        }
        list
    }

    /// A table with these keys.
    pub(crate) fn table(self, keys: &'static Keys, hint: &str) -> Option<Table<'a>> {
        let Some(entries) = self.value.as_table() else {
            self.mistyped(hint);
            return None;
        };
        Some(Table::open(self.report, self.at, entries, keys))
    }

    /// A string with its `${...}` expanded. It cannot hold a NUL byte: it is for the kernel.
    pub(crate) fn text(self, scope: &Scope, hint: &str) -> Option<String> {
        let Some(text) = self.as_string() else {
            self.mistyped(hint);
            return None;
        };
        if text.contains('\0') {
            self.wrong("holds a NUL byte, which no program can be given", "take it out");
            return None;
        }
        match expand(text, scope) {
            Ok(expanded) => Some(expanded),
            Err(faults) => {
                for fault in faults {
                    let message = format!("`{}` {}", shortened(&fault.reference), fault.message);
                    self.report.error(self.place_within(&fault.reference), message, fault.hint);
                }
                None
            }
        }
    }

    /// A path, expanded; relative ones are taken from `base`.
    pub(crate) fn path(self, scope: &Scope, base: &Path) -> Option<PathBuf> {
        let text = self.text(scope, "write a path in quotes")?;
        if text.is_empty() {
            self.wrong("is empty", "write a path");
            return None;
        }
        Some(base.join(text))
    }

    /// The value as the file has it: `key = value`, or `value` in `key`.
    pub(crate) fn quoted(self) -> String {
        let source = self.report.slice(self.at, self.end);
        let header = self.value.is_table() && !source.starts_with('{');
        match self.role {
            _ if header => format!("`{}`", shortened(source)),
            Role::OfKey => format!("`{} = {}`", self.key.escape_debug(), shortened(source)),
            Role::InList => format!("`{}` in `{}`", shortened(source), self.key.escape_debug()),
        }
    }

    /// Where a piece of a string stands; the string's own place if escapes hide it.
    fn place_within(self, piece: &str) -> At {
        let source = self.report.slice(self.at, self.end);
        At(self.at.0 + source.find(piece).unwrap_or(0))
    }
}

/// A piece of the file as one short line without control characters.
pub(crate) fn shortened(source: &str) -> String {
    let line = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let safe = text::escaped(line.as_bytes());
    if safe.chars().count() <= QUOTE {
        return safe;
    }
    let start: String = safe.chars().take(QUOTE).collect();
    format!("{start}...")
}
