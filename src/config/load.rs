//! The whole way: file to project.

use std::path::Path;

use super::context::Context;
use super::diagnostic::Diagnostic;
use super::document::document;
use super::project::Project;
use super::read::read;
use super::report::Report;
use super::root;
use super::safety::Trusted;

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
    let text = read(&file, Trusted::of(context)).map_err(|diagnostic| vec![diagnostic])?;
    parse(&file, &text, context)
}

/// Checks the text of a config file as if it had been read from `file`, an absolute path. Nothing is opened; commands
/// without a slash are looked up.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn parse(file: &Path, text: &str, context: &Context) -> Result<Loaded, Vec<Diagnostic>> {
    parse_as(file, text, context, None)
}

/// The project as if its file said `instances = COUNT` in this child, which must be one of several. The file itself is
/// not looked at: the text that the project was read from is read once more.
///
/// # Errors
/// As [`parse`]: the environment may have changed, or there would be too many children.
pub fn scaled(
    project: &Project,
    base_name: &str,
    count: u32,
    context: &Context,
) -> Result<Project, Vec<Diagnostic>> {
    parse_as(&project.file, &project.text, context, Some((base_name, count))).map(|loaded| loaded.project)
}

fn parse_as(
    file: &Path,
    text: &str,
    context: &Context,
    scaled: Option<(&str, u32)>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let report = Report::new(file, text);
    let document = document(&report, text);
    let project =
        document.as_ref().and_then(|document| root::project(&report, document, file, context, scaled));
    let finished = report.finish();
    match (project, finished) {
        (Some(project), Ok(warnings)) => Ok(Loaded { project, warnings }),
        (_, Err(errors)) => Err(errors),
        (None, Ok(_)) => unreachable!("no project without an error"),
    }
}
