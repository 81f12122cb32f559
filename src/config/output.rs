//! `log`: where stdout and stderr of a child go.

use super::claims::Claim;
use super::expand::Scope;
use super::keys;
use super::project::{LogFile, Output, StderrMode};
use super::table::Table;
use super::value::Value;

/// A file is rotated when it is larger.
const MAX_SIZE: u64 = 10 << 20;

/// Less would be more rotating than writing.
const LEAST_MAX_SIZE: u64 = 4 << 10;

/// Rotated files kept.
const MAX_FILES: u32 = 5;

const HINT: &str =
    "write \"null\", \"inherit\", or { file = \"web.log\", max_size = \"10MiB\", max_files = 5 }";

/// Where the output goes; without a word in the file to `LOG_DIR/NAME.log`. The file is claimed: one file is one log.
pub(crate) fn output(table: &Table, scope: &Scope, claims: &mut Vec<Claim>) -> Output {
    let name = scope.name.unwrap_or_default();
    let folder = scope.log_dir.unwrap_or(scope.config_dir);
    let mut log = LogFile {
        path: folder.join(format!("{name}.log")),
        max_size: MAX_SIZE,
        max_files: MAX_FILES,
        stderr: StderrMode::Merge,
    };
    let mut at = table.place_of("log");
    if let Some(value) = table.get("log") {
        match value.as_string() {
            Some("null") => return Output::Null,
            Some("inherit") => return Output::Inherit,
            Some(_) => value.wrong("is not known", HINT),
            None => {
                if let Some(table) = value.table(&keys::LOG, HINT) {
                    at = table.place_of("file");
                    read(&table, scope, &mut log);
                }
            }
        }
    }
    let claim = |path| Claim { path, at, owner: name.to_owned() };
    claims.extend(log.paths().into_iter().map(claim));
    Output::File(log)
}

fn read(table: &Table, scope: &Scope, log: &mut LogFile) {
    let folder = scope.log_dir.unwrap_or(scope.config_dir);
    if let Some(path) = table.get("file").and_then(|value| value.path(scope, folder)) {
        log.path = path;
    }
    if let Some(bytes) = table.get("max_size").and_then(max_size) {
        log.max_size = bytes;
    }
    if let Some(files) = table.get("max_files").and_then(|value| value.integer(0..=1_000)) {
        log.max_files = files;
    }
    if let Some(mode) = table.get("stderr").and_then(|value| value.word(keys::STDERR_MODES)) {
        log.stderr = mode;
    }
}

fn max_size(value: Value) -> Option<u64> {
    let bytes = value.size()?;
    if bytes < LEAST_MAX_SIZE {
        value.wrong("is less than 4KiB", "write a larger size");
        return None;
    }
    Some(bytes)
}
