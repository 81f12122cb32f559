//! What was asked for, line by line, so that two runs can be compared.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::report::Traced;

/// A file of requests and its sum. Sessions and names of operations are not in it: they are other ones every time.
#[derive(Debug)]
pub(super) struct Trace {
    written: RefCell<Written>,
}

struct Written {
    file: BufWriter<File>,
    sum: Xxh3,
    lines: u64,
    error: Option<io::Error>,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl Trace {
    pub(super) fn create(path: &Path) -> io::Result<Trace> {
        let file = BufWriter::new(File::create(path)?);
        let written = RefCell::new(Written { file, sum: Xxh3::new(), lines: 0, error: None });
        Ok(Trace { written })
    }

    /// Adds a request of a user.
    pub(super) fn add(&self, user: &str, request: impl fmt::Debug) {
        let written = &mut *self.written.borrow_mut();
        let line = format!("{user} {request:?}\n");
        written.sum.update(line.as_bytes());
        written.lines += 1;
        if let Err(error) = written.file.write_all(line.as_bytes()) {
            written.error.get_or_insert(error);
        }
    }

    /// Everything is in the file; its sum.
    pub(super) fn finish(&self) -> io::Result<Traced> {
        let written = &mut *self.written.borrow_mut();
        written.file.flush()?;
        match written.error.take() {
            Some(error) => Err(error),
            None => Ok(Traced { requests: written.lines, hash: format!("{:016x}", written.sum.digest()) }),
        }
    }
}
