//! Names of the files of a store.

use std::fs;
use std::path::{Path, PathBuf};

use super::OpenError;

pub(super) const LOG: &str = "log-";
pub(super) const SNAPSHOT: &str = "snapshot-";

/// A snapshot that is being written.
pub(super) const UNFINISHED: &str = "unfinished";

/// The last byte of the magic of all files: what entries and tables look like.
/// No flipped bit makes an older one of it.
pub(super) const FORM: u8 = 4;

/// Whether these bytes begin with this magic, but for an older form, and with which.
pub(super) fn older_form(bytes: &[u8], magic: [u8; 8]) -> Option<u8> {
    let (&found, kind) = bytes.get(..magic.len())?.split_last()?;
    (kind == &magic[..7] && (1..FORM).contains(&found)).then_some(found)
}

/// The file of that kind whose first entry, or next entry, has this number.
pub(super) fn path(dir: &Path, kind: &str, sequence: u64) -> PathBuf {
    dir.join(format!("{kind}{sequence:020}"))
}

/// The numbers of all files of a kind, ascending.
pub(super) fn list(dir: &Path, kind: &str) -> Result<Vec<u64>, OpenError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(OpenError::io("read", dir))? {
        let name = entry.map_err(OpenError::io("read", dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(kind));
        found
            .extend(number.filter(|number| number.len() == 20).and_then(|number| number.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}
