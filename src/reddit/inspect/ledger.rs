//! Ledgers of clients: one JSON object a line.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::CheckError;
use crate::reddit::model::check::{Acknowledged, Ledgers};

/// All lines of these files. A last line that does not end was being written when its client died: what it says was
/// never counted.
pub(super) fn read(paths: &[PathBuf]) -> Result<Ledgers, CheckError> {
    let mut ledgers = Ledgers::default();
    for path in paths {
        let failed = |error| CheckError::Ledger { path: path.clone(), error };
        let text = fs::read_to_string(path).map_err(failed)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for (number, line) in (1..).zip(whole.lines()) {
            let line: Acknowledged = serde_json::from_str(line)
                .map_err(|error| failed(io::Error::other(format!("line {number}: {error}"))))?;
            ledgers.add(line)?;
        }
    }
    Ok(ledgers)
}
