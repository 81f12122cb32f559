//! `provost logs`: reads the files themselves, so it works whether or not a launcher is running.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::args::LogsArgs;
use super::exit::Exit;
use super::screen::{Colour, Screen};
use super::{Failure, print_styled, remote_logs, say};
use crate::capture::{Line, Reader, Source, Start};
use crate::config::{self, Context, Diagnostic, Output, Place};
use crate::control::{DEFAULT_LINES, LogLineJson};
use crate::suggest::nearest;
use crate::text;

/// Text collected before it is printed.
const PORTION: usize = 64 * 1024;
/// Colours of ECMA-48 that are readable on dark and light ground, one a child.
const TONES: [u8; 6] = [36, 33, 32, 35, 34, 31];

pub(super) fn run(file: &Path, args: &LogsArgs) -> Result<Exit, Vec<Diagnostic>> {
    let context = Context::of_process();
    let place = config::place_of(file, &context)?;
    if remote_logs::is_needed(&place) {
        return Ok(super::block_on(&place, args.output.format(), remote_logs::run(&place, args)));
    }
    let known = known_sources(file, &context, &place);
    let chosen = match choose(&known, &args.names) {
        Ok(chosen) => chosen,
        Err(sentence) => {
            say(sentence);
            return Ok(Exit::NoSuchChild);
        }
    };
    Ok(match show(&chosen, args) {
        Ok(()) => Exit::Ok,
        Err(failure) => super::report(&failure, &place.name, args.output.format()),
    })
}

/// The logs of every child by name: what the config file says, and what else lies in the log directory, from children that
/// are no longer in the file. A file that cannot be read at the moment is no reason to show nothing.
fn known_sources(file: &Path, context: &Context, place: &Place) -> Known {
    let mut known = Known::default();
    if let Ok(loaded) = config::load(file, context) {
        for (name, spec) in &loaded.project.processes {
            let files = match &spec.output {
                Output::File(file) => file.sources(name),
                Output::Null | Output::Inherit => Vec::new(),
            };
            let sources = files.into_iter().map(|(label, path)| Source { label, path });
            known.configured.insert(name.clone(), sources.collect());
        }
    }
    let entries = std::fs::read_dir(&place.log_dir).into_iter().flatten().flatten();
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(label) = name.strip_suffix(".log").filter(|label| *label != "provost") else { continue };
        let source = Source { label: label.to_owned(), path: place.log_dir.join(&name) };
        let child = label.strip_suffix(".err").unwrap_or(label);
        let taken = known.configured.values().flatten().any(|known| known.path == source.path);
        if !taken {
            known.found.entry(child.to_owned()).or_default().push(source);
        }
    }
    known
}

#[derive(Debug, Default)]
struct Known {
    configured: BTreeMap<String, Vec<Source>>,
    /// Only there by their files.
    found: BTreeMap<String, Vec<Source>>,
}

/// Those that are named; `client` names `client@1` and all the others. Without a name all of the config file.
///
/// # Errors
/// There is none of this name: one sentence.
fn choose(known: &Known, names: &[String]) -> Result<Vec<Source>, String> {
    if names.is_empty() {
        let shown = if known.configured.is_empty() { &known.found } else { &known.configured };
        return Ok(shown.values().flatten().cloned().collect());
    }
    let mut chosen: Vec<Source> = Vec::new();
    for name in names {
        let of = |logs: &BTreeMap<String, Vec<Source>>| -> Vec<Vec<Source>> {
            logs.iter()
                .filter(|(child, _)| is_meant(name, child))
                .map(|(_, sources)| sources.clone())
                .collect()
        };
        // Instances may have been added at run time.
        let found = [of(&known.configured), of(&known.found)].concat();
        if found.is_empty() {
            let names = known.configured.keys().chain(known.found.keys()).map(String::as_str);
            return Err(no_such_log(name, names));
        }
        for source in found.into_iter().flatten() {
            if !chosen.contains(&source) {
                chosen.push(source);
            }
        }
    }
    Ok(chosen)
}

/// Whether a name means this child: `client` means `client@1` too.
pub(super) fn is_meant(name: &str, child: &str) -> bool {
    child == name || child.strip_prefix(name).is_some_and(|rest| rest.starts_with('@'))
}

/// One sentence, with the nearest of the names there are.
pub(super) fn no_such_log<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let hint = match nearest(name, names) {
        Some(near) => format!("did you mean {near}?"),
        None => "provost tree lists all names".to_owned(),
    };
    format!("there is no log of a child {name:?}; {hint}")
}

/// With how many lines of each log to begin; `None`: with all.
pub(super) fn lines_of(args: &LogsArgs) -> Option<usize> {
    match (args.lines, args.since) {
        (Some(lines), _) => lines.0,
        (None, Some(_)) => None,
        (None, None) => Some(DEFAULT_LINES),
    }
}

fn show(sources: &[Source], args: &LogsArgs) -> Result<(), Failure> {
    let start = Start { lines: lines_of(args), since: args.since.map(Start::micros), until: None };
    let mut reader = Reader::open(sources, start)?;
    let format = Format::new(sources, args);
    if !args.follow {
        print_all(&mut reader, sources, &format)?;
        let rest: String = reader.rest().iter().map(|line| format.line(line, sources)).collect();
        return Ok(print_styled(&rest)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        loop {
            print_all(&mut reader, sources, &format)?;
            reader.changed().await;
        }
    })
}

fn print_all(reader: &mut Reader, sources: &[Source], format: &Format) -> io::Result<()> {
    let mut text = String::new();
    while let Some(line) = reader.next_line()? {
        text.push_str(&format.line(&line, sources));
        if text.len() >= PORTION {
            print_styled(&text)?;
            text.clear();
        }
    }
    print_styled(&text)
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Text { colour: Colour, name_width: usize },
}

impl Format {
    pub(super) fn new(sources: &[Source], args: &LogsArgs) -> Format {
        if args.output.json {
            return Format::Json;
        }
        let name_width = sources
            .iter()
            .map(|source| text::width(&text::escaped(source.label.as_bytes())))
            .max()
            .unwrap_or(0);
        Format::Text { colour: Screen::of_stdout().colour, name_width }
    }

    pub(super) fn line(self, line: &Line, sources: &[Source]) -> String {
        match self {
            Format::Json => {
                let json = serde_json::to_string(&LogLineJson::new(line, sources)).unwrap_or_default();
                text::printable_json(&json).into_owned() + "\n"
            }
            Format::Text { colour, name_width } => {
                let label = sources.get(line.source).map_or("", |source| source.label.as_str());
                let label = text::escaped(label.as_bytes());
                let gap = text::padding(&label, name_width);
                let at = humantime::format_rfc3339_millis(line.time());
                let text = text::escaped(&line.bytes);
                let more = if line.partial { "…" } else { "" };
                let (begin, end) = match colour {
                    Colour::Never => (String::new(), ""),
                    Colour::Always => (format!("\x1b[{}m", TONES[line.source % TONES.len()]), "\x1b[0m"),
                };
                format!("{begin}{at} {label}{gap} |{end} {text}{more}\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(label: &str) -> Source {
        Source { label: label.into(), path: format!("/log/{label}.log").into() }
    }

    fn known() -> Known {
        let configured = ["client@1", "client@2", "web"].map(|name| (name.to_owned(), vec![source(name)]));
        let found = [("gone".to_owned(), vec![source("gone")])];
        Known { configured: configured.into(), found: found.into() }
    }

    fn chosen(names: &[&str]) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        choose(&known(), &names).map(|sources| sources.into_iter().map(|source| source.label).collect())
    }

    #[test]
    fn names_are_children_instances_and_files_that_were_left() {
        assert_eq!(chosen(&[]).unwrap(), ["client@1", "client@2", "web"]);
        assert_eq!(chosen(&["web", "client", "client@2"]).unwrap(), ["web", "client@1", "client@2"]);
        assert_eq!(chosen(&["gone"]).unwrap(), ["gone"]);
        assert_eq!(chosen(&["wbe"]).unwrap_err(), "there is no log of a child \"wbe\"; did you mean web?");
    }

    #[test]
    fn a_line_is_exactly_this() {
        let line =
            Line { source: 0, at: 1_000_001_500, bytes: b"hello \x1b[31m\xff\tworld".into(), partial: true };
        let sources = [source("web"), source("client@1")];
        let text = |colour| Format::Text { colour, name_width: 8 }.line(&line, &sources);
        assert_eq!(text(Colour::Never), "1970-01-01T00:16:40.001Z web      | hello \\x1b[31m\\xff\tworld…\n");
        assert_eq!(
            text(Colour::Always),
            "\x1b[36m1970-01-01T00:16:40.001Z web      |\x1b[0m hello \\x1b[31m\\xff\tworld…\n"
        );
        let json = r#"{"name":"web","at":"1970-01-01T00:16:40.001500Z","line":"hello \u001b[31m"#;
        assert!(Format::Json.line(&line, &sources).starts_with(json));
    }
}
