//! All complaints about one file, collected while it is read.

use std::cell::{Cell, RefCell};
use std::path::Path;

use super::diagnostic::Diagnostic;

/// A place in the file, in bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At(pub(crate) usize);

/// As many errors of one file are reported; nobody reads more.
const MOST: usize = 100;

/// Collects errors and warnings. Shared by all readers of the file, so that one mistake does not hide the next.
pub(crate) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    errors: RefCell<Vec<(Option<At>, Diagnostic)>>,
    warnings: RefCell<Vec<(Option<At>, Diagnostic)>>,
    count: Cell<usize>,
}

impl<'a> Report<'a> {
    /// An empty report on `file`, whose content is `text`.
    pub(crate) fn new(file: &'a Path, text: &'a str) -> Self {
        Report { file, text, errors: RefCell::default(), warnings: RefCell::default(), count: Cell::new(0) }
    }

    /// Adds an error at a place, or about the whole file.
    pub(crate) fn error(
        &self,
        at: impl Into<Option<At>>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let at = at.into();
        self.count.set(self.count.get() + 1);
        if self.is_full() {
            return;
        }
        self.errors.borrow_mut().push((at, self.diagnostic(at, message.into(), hint.into())));
    }

    /// Adds a warning at a place, or about the whole file.
    pub(crate) fn warning(
        &self,
        at: impl Into<Option<At>>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let at = at.into();
        self.warnings.borrow_mut().push((at, self.diagnostic(at, message.into(), hint.into())));
    }

    /// How many errors there are so far: equal before and after a step means that the step found none.
    pub(crate) fn errors_so_far(&self) -> usize {
        self.count.get()
    }

    /// Whether further errors are only counted: a file of another kind has one on each line.
    pub(crate) fn is_full(&self) -> bool {
        self.count.get() > MOST
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The text between two places, empty when they do not lie in the file.
    pub(crate) fn slice(&self, from: At, to: At) -> &'a str {
        self.text.get(from.0..to.0).unwrap_or_default()
    }

    /// The line of a place, from 1.
    pub(crate) fn line(&self, at: At) -> usize {
        line_and_column(self.text.as_bytes(), at.0).0
    }

    /// Errors in the order of the file, or none and the warnings.
    pub(crate) fn finish(self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let mut errors = in_order(self.errors.into_inner());
        if let Some(more) = self.count.get().checked_sub(MOST).filter(|more| *more > 0) {
            let message = format!("{more} or more further errors are not shown");
            errors.push(Diagnostic { file: self.file.into(), place: None, message, hint: String::new() });
        }
        if errors.is_empty() { Ok(in_order(self.warnings.into_inner())) } else { Err(errors) }
    }

    fn diagnostic(&self, at: Option<At>, message: String, hint: String) -> Diagnostic {
        let place = at.map(|at| line_and_column(self.text.as_bytes(), at.0));
        Diagnostic { file: self.file.to_path_buf(), place, message, hint }
    }
}

fn in_order(mut found: Vec<(Option<At>, Diagnostic)>) -> Vec<Diagnostic> {
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, diagnostic)| diagnostic).collect()
}

/// Line and column of a byte, both from 1. A column is a character, not a byte; bytes that are no UTF-8 count as one each.
pub(crate) fn line_and_column(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let column = before[line_start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = "a = 1\nnäme = \"ö\" x".as_bytes();
        let offset = text.iter().position(|byte| *byte == b'x').expect("there is an x");
        assert_eq!(line_and_column(text, offset), (2, 12));
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, 10_000), (2, 13));
    }

    #[test]
    fn errors_come_in_the_order_of_the_file() {
        let report = Report::new(Path::new("x"), "one\ntwo\n");
        report.error(At(4), "second", "");
        report.error(At(0), "first", "");
        report.error(None, "whole", "");
        let messages: Vec<_> = report.finish().expect_err("errors").into_iter().map(|d| d.message).collect();
        assert_eq!(messages, ["whole", "first", "second"]);
    }
}
