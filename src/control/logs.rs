//! Output of children, as data: what `provost logs --json` and `GET /v1/logs/NAME` give.

use std::io;
use std::time::SystemTime;

use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::route::decode;
use super::{ApiError, ErrorCode};
use crate::capture::{Line, Reader, Source, Start};

/// Lines of each log that are given when nothing else is said.
pub const DEFAULT_LINES: usize = 10;
/// Bytes of output sent to a client at once.
const PORTION: usize = 16 * 1024;

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLineJson {
    /// Whose: the child's name, with `.err` for a stderr that has its own file.
    pub name: String,
    /// When it was captured, RFC 3339.
    pub at: String,
    /// Without its newline. What is not UTF-8 is replaced.
    pub line: String,
    /// Its line goes on: longer than 16 KiB, or not ended so far.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl LogLineJson {
    /// A line of one of these sources.
    #[must_use]
    pub fn new(line: &Line, sources: &[Source]) -> LogLineJson {
        LogLineJson {
            name: sources.get(line.source).map(|source| source.label.clone()).unwrap_or_default(),
            at: humantime::format_rfc3339_micros(line.time()).to_string(),
            line: String::from_utf8_lossy(&line.bytes).into_owned(),
            partial: line.partial,
        }
    }
}

/// The query of `GET /v1/logs/NAME`: `follow`, `lines=N`, `since=T`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogQuery {
    pub(super) start: Start,
    pub(super) follow: bool,
}

impl LogQuery {
    pub(super) fn parse(query: &str) -> Result<LogQuery, ApiError> {
        let bad = |what: String| ApiError::new(ErrorCode::BadRequest, what);
        let mut parsed = LogQuery::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("follow", "" | "true" | "1") => parsed.follow = true,
                ("follow", "false" | "0") => parsed.follow = false,
                ("lines", number) => {
                    let lines = number.parse().map_err(|_| bad(format!("lines={number} is not a number")))?;
                    parsed.start.lines = Some(lines);
                }
                ("since", time) => {
                    parsed.start.since = Some(Start::micros(parse_since(&decode(time)?).map_err(bad)?));
                }
                (key, _) => {
                    return Err(bad(format!("{key:?} is not known; there are follow, lines=N and since=T")));
                }
            }
        }
        if parsed.start.lines.is_none() && parsed.start.since.is_none() {
            parsed.start.lines = Some(DEFAULT_LINES);
        }
        Ok(parsed)
    }
}

/// A point in time: RFC 3339 (`2026-11-23T08:30:00Z`, `2026-11-23 08:30:00`, UTC), or a length like `10min`, which means
/// that long ago.
///
/// # Errors
/// It is neither; one sentence.
pub fn parse_since(text: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH));
    }
    humantime::parse_rfc3339_weak(text).map_err(|_| {
        format!("{text:?} is no time; write 10min for ten minutes ago, or 2026-11-23T08:30:00Z (UTC)")
    })
}

/// Sends lines to `sink` as server-sent events until there are no more, or, following, until nobody takes them. Files are
/// read beside the loop, a portion at a time, as fast as the client takes them and no faster.
pub(super) async fn pump(sources: Vec<Source>, query: LogQuery, sink: mpsc::Sender<Bytes>) {
    let opened = spawn_blocking(move || Reader::open(&sources, query.start).map(|reader| (reader, sources)));
    let Ok(Ok((mut reader, mut sources))) = opened.await else { return };
    loop {
        let portion = spawn_blocking(move || {
            let portion = portion(&mut reader, &sources, query.follow);
            (reader, sources, portion)
        });
        let Ok((back, names, portion)) = portion.await else { return };
        (reader, sources) = (back, names);
        match portion {
            Ok(bytes) if bytes.is_empty() && query.follow => tokio::select! {
                () = reader.changed() => {}
                () = sink.closed() => return,
            },
            Ok(bytes) if bytes.is_empty() => return,
            Ok(bytes) => {
                if sink.send(bytes.into()).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // The answer has begun: the client sees its end, the reason stands in our own log.
                tracing::warn!(%error, "cannot read a log");
                return;
            }
        }
    }
}

fn portion(reader: &mut Reader, sources: &[Source], follow: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut put = |line: &Line| {
        let json = serde_json::to_string(&LogLineJson::new(line, sources)).unwrap_or_default();
        bytes.extend_from_slice(format!("data: {json}\n\n").as_bytes());
        bytes.len()
    };
    while let Some(line) = reader.next_line()? {
        if put(&line) >= PORTION {
            return Ok(bytes);
        }
    }
    if !follow {
        reader.rest().iter().for_each(|line| {
            put(line);
        });
    }
    Ok(bytes)
}
