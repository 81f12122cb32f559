//! `provost logs` where this user may not read the files but may ask the launcher: by way of its control API.

use humantime::parse_rfc3339;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::args::LogsArgs;
use super::exit::Exit;
use super::logs::{Format, is_meant, lines_of, no_such_log};
use super::{Failure, print_styled, say};
use crate::capture::{Line, Source, Start};
use crate::config::Place;
use crate::control::{ChildJson, Client, ClientError, EventReader, Heard, LogLineJson};

/// Lines that wait to be printed, of all children.
const WAITING: usize = 64;

/// Whether the files are closed to this user.
pub(super) fn is_needed(place: &Place) -> bool {
    let closed = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    std::fs::read_dir(&place.log_dir).is_err_and(closed)
}

pub(super) async fn run(place: &Place, args: &LogsArgs) -> Result<Exit, Failure> {
    let client = Client::connect_to(&place.run_dir, place.owner).await?;
    let mut known = Vec::new();
    collect_workers(&client.tree().await?.root, &mut known);
    let unknown = args.names.iter().find(|name| !known.iter().any(|child| is_meant(name, child)));
    if let Some(name) = unknown {
        say(no_such_log(name, known.iter().map(String::as_str)));
        return Ok(Exit::NoSuchChild);
    }
    let wanted =
        |child: &&String| args.names.is_empty() || args.names.iter().any(|name| is_meant(name, child));
    let names: Vec<String> = known.iter().filter(wanted).cloned().collect();
    let sources: Vec<Source> =
        names.iter().map(|name| Source { label: name.clone(), path: place.log_dir.clone() }).collect();
    let format = Format::new(&sources, args);
    let query = query(args);
    if args.follow {
        return follow(&client, &names, &query, &format).await;
    }
    let mut lines = Vec::new();
    for name in &names {
        let mut reader = client.logs(name, &query).await?;
        while let Some(line) = next(&mut reader).await? {
            lines.push(line);
        }
    }
    // RFC 3339 in UTC with the same number of digits: the order of the text is that of the time.
    lines.sort_by(|one, other| one.at.cmp(&other.at));
    let text: String = lines.iter().map(|line| shown(line, &format)).collect();
    print_styled(&text)?;
    Ok(Exit::Ok)
}

/// Prints what comes, until the launcher ends.
async fn follow(client: &Client, names: &[String], query: &str, format: &Format) -> Result<Exit, Failure> {
    let (sink, mut lines) = mpsc::channel(WAITING);
    let mut readers = JoinSet::new();
    for name in names {
        let mut reader = client.logs(name, query).await?;
        let sink = sink.clone();
        readers.spawn(async move {
            while let Ok(Some(line)) = next(&mut reader).await {
                if sink.send(line).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(sink);
    while let Some(line) = lines.recv().await {
        print_styled(&shown(&line, format))?;
    }
    Ok(Exit::Ok)
}

async fn next(reader: &mut EventReader) -> Result<Option<LogLineJson>, Failure> {
    match reader.next().await {
        Some(Heard::Event(json)) => {
            let line = serde_json::from_str(&json);
            Ok(Some(line.map_err(|error| ClientError::Nonsense(error.to_string()))?))
        }
        Some(Heard::Missed(_)) | None => Ok(None),
    }
}

fn shown(line: &LogLineJson, format: &Format) -> String {
    let at = parse_rfc3339(&line.at).map(Start::micros).unwrap_or_default();
    let source = Source { label: line.name.clone(), path: std::path::PathBuf::new() };
    let line = Line { source: 0, at, bytes: line.line.as_bytes().into(), partial: line.partial };
    format.line(&line, &[source])
}

/// What `GET /v1/logs/NAME` is asked.
fn query(args: &LogsArgs) -> String {
    let mut query = Vec::new();
    if let Some(since) = args.since {
        query.push(format!("since={}", humantime::format_rfc3339_micros(since)));
    }
    match lines_of(args) {
        Some(lines) => query.push(format!("lines={lines}")),
        None if args.since.is_none() => query.push(format!("lines={}", usize::MAX)),
        None => {}
    }
    if args.follow {
        query.push("follow".to_owned());
    }
    query.join("&")
}

fn collect_workers(node: &ChildJson, names: &mut Vec<String>) {
    match &node.supervisor {
        None => names.push(node.name.clone()),
        Some(supervisor) => supervisor.children.iter().for_each(|child| collect_workers(child, names)),
    }
}
