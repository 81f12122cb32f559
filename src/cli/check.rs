//! `provost check`.

use std::path::Path;

use super::enforcement;
use super::exit::Exit;
use super::{print, say};
use crate::config::{self, Context, Diagnostic, Loaded};

/// Reads the config file as `up` would, and says what it found.
///
/// # Errors
/// The file is not acceptable.
pub(super) fn run(file: &Path) -> Result<Exit, Vec<Diagnostic>> {
    let Loaded { project, warnings } = config::load(file, &Context::of_process())?;
    for warning in &warnings {
        say(format_args!("warning: {warning}"));
    }
    for sentence in enforcement::doubts(&project, None) {
        say(format_args!("warning: {sentence}"));
    }
    if let Some(sentence) = enforcement::obstacle(&project) {
        say(sentence);
        return Ok(Exit::BootFailed);
    }
    let processes = match project.processes.len() {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    };
    let line = format!("{}: ok, project {} with {processes}\n", project.file.display(), project.name);
    Ok(if print(&line).is_ok() { Exit::Ok } else { Exit::Failed })
}
