//! One complaint about a config file.

use std::fmt;
use std::path::PathBuf;

/// What is wrong, where, and what to do. Prints as `FILE:LINE:COLUMN: what is wrong; what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file.
    pub file: PathBuf,
    /// Line and column, both from 1; `None` where the complaint is about the file as a whole.
    pub place: Option<(usize, usize)>,
    /// What is wrong, lowercase, with the offending text quoted.
    pub message: String,
    /// What to write or do instead; may be empty.
    pub hint: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
