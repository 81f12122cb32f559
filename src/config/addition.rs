//! A child file: one more child for a project that runs already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::child::{self, Body, Child, Wish};
use super::claims;
use super::context::Context;
use super::diagnostic::Diagnostic;
use super::document::document;
use super::expand::Scope;
use super::flags::Flagged;
use super::keys;
use super::project::{ProcessSpec, Project};
use super::read::read;
use super::report::{At, Report};
use super::root;
use super::safety::Trusted;
use super::table::Table;
use super::tree::Family;
use crate::rules::ChildSpec;

/// What a child file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The supervisor it names; whether there is one, only the running project knows.
    pub parent: Option<String>,
    /// The child, as the rules see it.
    pub child: ChildSpec,
    /// What to run, by name: the child itself, or what is below it.
    pub processes: BTreeMap<String, ProcessSpec>,
}

/// The text of a child file.
///
/// # Errors
/// It cannot be read, or not be trusted.
pub fn read_addition(file: &Path, context: &Context) -> Result<String, Vec<Diagnostic>> {
    let file = root::absolute(file).map_err(|diagnostic| vec![diagnostic])?;
    read(&file, Trusted::of(context)).map_err(|diagnostic| vec![diagnostic])
}

/// Reads a `[[child]]`, with those that name it as their parent if it is a supervisor. It means what it would mean in the
/// project's own file: paths are relative to that one. `file` is only what complaints are about.
///
/// # Errors
/// Everything that is wrong with it. What only its supervisor can tell (names, significance) is not checked here.
pub fn parse_addition(
    file: &Path,
    text: &str,
    project: &Project,
    context: &Context,
) -> Result<Addition, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let report = Report::new(file, text);
    let addition = document(&report, text).and_then(|document| {
        let table = Table::open(&report, At(0), &document, &keys::ADDITION);
        let outer = root::outer_scope(&project.file, context);
        let scope = Scope { run_dir: Some(&project.run_dir), log_dir: Some(&project.log_dir), ..outer };
        addition(&report, child::all(&table, &scope))
    });
    report.finish()?;
    Ok(addition.unwrap_or_else(|| unreachable!("no addition without an error")))
}

fn addition(report: &Report, mut children: Vec<Child>) -> Option<Addition> {
    let parent = {
        let top = top(report, &mut children)?;
        check_single(report, top);
        match std::mem::replace(&mut top.parent, Wish::Root) {
            Wish::Named(name, _) => Some(name),
            Wish::Root | Wish::Illegible => None,
        }
    };
    // Of its supervisor nothing is known here.
    let family = Family::link(report, Flagged::unknown(At(0)), &children);
    family.check(report);
    claims::check(report, family.children_with_names());
    if report.errors_so_far() > 0 {
        return None;
    }
    let child = family.tree().children.into_iter().next()?;
    Some(Addition { parent, child, processes: child::into_processes(children) })
}

/// The one child that is under none of the others.
fn top<'c>(report: &Report, children: &'c mut [Child]) -> Option<&'c mut Child> {
    let names: BTreeSet<String> = children.iter().filter_map(|child| child.name.clone()).collect();
    let mut tops = children.iter_mut().filter(|child| match &child.parent {
        Wish::Named(parent, _) => !names.contains(parent),
        Wish::Root | Wish::Illegible => true,
    });
    let first = tops.next();
    if let Some(second) = tops.next() {
        report.error(
            second.at,
            "this is a second child, and one is added at a time",
            "give it a file of its own",
        );
    }
    if first.is_none() && report.errors_so_far() == 0 {
        report.error(None, "there is no child to add", "write one [[child]] with a name and a command");
    }
    first
}

fn check_single(report: &Report, top: &Child) {
    if let Body::Process(process) = &top.body
        && let Some(at) = process.instances_at
    {
        report.error(
            at,
            "one child is added at a time, not several instances of it",
            "take instances out; or write it into the project's file and reload; or make a simple_one_for_one supervisor",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::rules::Kind;

    fn read(text: &str) -> Result<Addition, Vec<Diagnostic>> {
        let context = Context::default();
        let project = "[[child]]\nname = 'a'\ncommand = ['/bin/a']";
        let project =
            parse(Path::new("/srv/shop/supervisor.toml"), project, &context).expect("project").project;
        parse_addition(Path::new("/tmp/child.toml"), text, &project, &context)
    }

    #[test]
    fn a_child_means_what_it_would_mean_in_the_projects_file() {
        let text = "[[child]]\nname = 'b'\nparent = 'far'\ncommand = ['./b']\nlog = { file = '${NAME}.out' }";
        let addition = read(text).expect("good");
        assert_eq!((addition.parent.as_deref(), addition.child.name.as_str()), (Some("far"), "b"));
        let run = &addition.processes["b"];
        assert_eq!(
            (run.cwd.as_path(), run.program.as_path()),
            (Path::new("/srv/shop"), Path::new("/srv/shop/./b"))
        );
    }

    #[test]
    fn a_supervisor_brings_its_children() {
        let text = "[[child]]\nname = 'inner'\ntype = 'supervisor'\n\
                    [[child]]\nname = 'b'\nparent = 'inner'\ncommand = ['/b']\ninstances = 2";
        let addition = read(text).expect("good");
        assert!(matches!(&addition.child.kind, Kind::Supervisor(below) if below.children.len() == 2));
        assert_eq!(addition.processes.keys().collect::<Vec<_>>(), ["b@1", "b@2"]);
    }

    #[test]
    fn what_is_no_single_child_is_refused() {
        let one = "[[child]]\nname = 'b'\ncommand = ['/b']\n";
        let cases = [
            (String::new(), "no child to add"),
            (format!("{one}{}", one.replace("'b'", "'c'")), "a second child"),
            (format!("{one}instances = 2"), "not several instances"),
            (format!("name = 'x'\n{one}"), "unknown key \"name\""),
            (format!("{one}restrat = 'no'"), "unknown key \"restrat\""),
        ];
        for (text, expected) in cases {
            let errors = read(&text).expect_err(&text);
            assert!(errors[0].message.contains(expected), "{errors:?}");
            assert_eq!(errors[0].file, Path::new("/tmp/child.toml"));
        }
    }
}
