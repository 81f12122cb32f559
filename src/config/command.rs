//! `command`: the program file and its arguments.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::context::Context;
use super::expand::Scope;
use super::safety;
use super::table::Table;
use super::value::Value;

const SHELL: &str = "/bin/sh";

const HINT: &str = "write a list, as in [\"sleep\", \"60\"]";

/// Program and argv. A name without a slash is looked up now: beside the provost binary if nobody else
/// could have put it there, then on `PATH`. A relative path
/// with a slash is taken from `cwd`. Whether a path exists is for exec to say, at each start.
pub(crate) fn command(table: &Table, scope: &Scope, cwd: &Path) -> Option<(PathBuf, Vec<String>)> {
    let Some(value) = table.get("command") else {
        let name = scope.name.unwrap_or_default();
        table.report.error(
            table.at,
            format!("\"{name}\" has no command"),
            "write command = [\"program\", \"argument\"]",
        );
        return None;
    };
    let shell = match table.get("shell") {
        Some(shell) => shell.boolean()?,
        None => false,
    };
    if shell {
        let Some(line) = value.as_string() else {
            value.mistyped("write one string for the shell, or take shell = true out");
            return None;
        };
        if line.trim().is_empty() {
            value.wrong("is empty", "write a command line");
            return None;
        }
        let line = value.text(scope, HINT)?;
        return Some((SHELL.into(), vec![SHELL.into(), "-c".into(), line]));
    }
    let argv = words(value, scope)?;
    let program = program(value, scope.context, cwd, argv.first()?)?;
    Some((program, argv))
}

fn words(value: Value, scope: &Scope) -> Option<Vec<String>> {
    if let Some(line) = value.as_string() {
        let words: Vec<_> = line.split_whitespace().map(|word| format!("{word:?}")).collect();
        value.wrong(
            "is one string",
            format!("write [{}], or add shell = true to have {SHELL} run it", words.join(", ")),
        );
        return None;
    }
    let list = value.list(HINT)?;
    let Some(first) = list.first().copied() else {
        value.wrong("is empty", HINT);
        return None;
    };
    let words: Vec<_> = list.into_iter().map(|word| word.text(scope, "write each word in quotes")).collect();
    let words = words.into_iter().collect::<Option<Vec<_>>>()?;
    if words.first().is_some_and(String::is_empty) {
        first.wrong("is empty", "write the name of a program");
        return None;
    }
    Some(words)
}

fn program(value: Value, context: &Context, cwd: &Path, name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(cwd.join(name));
    }
    let beside = context.beside.iter().map(|folder| folder.join(name)).find(|file| is_program(file));
    if let Some(file) = beside {
        let Some(fault) = safety::why_no_program(&file, context) else { return Some(file) };
        value.report.warning(
            value.at,
            format!("{} beside provost is not taken, only what is on PATH: {fault}", file.display()),
            "install provost where only you and root can write, or write the path of the program",
        );
    }
    let on_path = context.search_path();
    let found = on_path.iter().map(|folder| folder.join(name)).find(|file| is_program(file));
    if found.is_none() {
        let looked: Vec<_> =
            context.beside.iter().chain(&on_path).map(|folder| folder.display().to_string()).collect();
        let message = format!("names no program {name:?} in {}", looked.join(", "));
        value.wrong(&message, "write its path, or install it there");
    }
    found
}

/// A regular file that somebody may execute, under a name that can be written down.
fn is_program(file: &Path) -> bool {
    let executable =
        |metadata: std::fs::Metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    file.to_str().is_some() && file.metadata().is_ok_and(executable)
}
