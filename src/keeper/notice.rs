//! The few sentences that the keeper itself says, to standard error, without allocating and without waiting.

use std::fmt::{self, Write as _};
use std::os::fd::AsFd;

use crate::os::terminal;

const LONGEST: usize = 512;

struct Sentence {
    bytes: [u8; LONGEST],
    len: usize,
}

impl fmt::Write for Sentence {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *place = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// Says a line, unless that would have to wait.
pub(super) fn say(what: fmt::Arguments) {
    let mut sentence = Sentence { bytes: [0; LONGEST], len: 0 };
    let _ = writeln!(sentence, "provost: {what}");
    let sentence = sentence.bytes.get(..sentence.len).unwrap_or_default();
    let _ = terminal::write_now(std::io::stderr().as_fd(), sentence);
}
