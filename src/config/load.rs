//! The whole way: file to project.

use std::path::Path;

use super::context::Context;
use super::diagnostic::Diagnostic;
use super::document::document;
use super::project::Project;
use super::read::read;
use super::report::Report;
use super::root;

/// A config file that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it says.
    pub project: Project,
    /// What is legal and still hardly meant.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and checks a config file.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn load(file: &Path, context: &Context) -> Result<Loaded, Vec<Diagnostic>> {
    let file = root::absolute(file).map_err(|diagnostic| vec![diagnostic])?;
    let text = read(&file, context.uid).map_err(|diagnostic| vec![diagnostic])?;
    parse(&file, &text, context)
}

/// Checks the text of a config file as if it had been read from `file`, an absolute path. Nothing is opened; commands
/// without a slash are looked up.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn parse(file: &Path, text: &str, context: &Context) -> Result<Loaded, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let report = Report::new(file, text);
    let document = document(&report, text);
    let project = document.as_ref().and_then(|document| root::project(&report, document, file, context));
    let finished = report.finish();
    match (project, finished) {
        (Some(project), Ok(warnings)) => Ok(Loaded { project, warnings }),
        (_, Err(errors)) => Err(errors),
        (None, Ok(_)) => unreachable!("no project without an error"),
    }
}
