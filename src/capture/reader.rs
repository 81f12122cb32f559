//! Several logs as one stream of lines, in the order of their times.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cursor::Cursor;
use crate::os::watch::Changes;

/// How long to wait when nothing tells of changes, or a file is about to appear.
const GLANCE: Duration = Duration::from_millis(50);
/// Most bytes of a tail. Past that, what a file gains while it is read is no part of it.
const MOST_TAIL: usize = 4 << 20;
/// How long to trust that nothing changes when nothing was told: some file systems tell nothing.
const TRUST: Duration = Duration::from_secs(1);

/// One log, by the name its lines are shown with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// For people.
    pub label: String,
    /// The present file.
    pub path: PathBuf,
}

/// Where to begin, no earlier than either says, and where to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// With the last so many lines of each log; `None`: with its first.
    pub lines: Option<usize>,
    /// With what came at this time, in microseconds since 1970, or later.
    pub since: Option<u64>,
    /// Before what came at this time or later; `None`: never, what is yet to come included.
    pub until: Option<u64>,
}

impl Start {
    /// A time as this type has it.
    #[must_use]
    pub fn micros(time: SystemTime) -> u64 {
        let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
    }
}

/// One line of output, or a piece of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which of the sources, by position.
    pub source: usize,
    /// When its first byte was taken out of the pipe, microseconds since 1970.
    pub at: u64,
    /// Without the newline. Any bytes: nothing is known of what a child writes.
    pub bytes: Vec<u8>,
    /// It is not the end of its line: the line is longer than 16 KiB, or has no end so far.
    pub partial: bool,
}

impl Line {
    /// When it came.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.at)
    }
}

/// Reads logs by their files alone, whether or not a launcher is running.
#[derive(Debug)]
pub struct Reader {
    places: Vec<Place>,
    changes: Option<Changes>,
}

#[derive(Debug)]
struct Place {
    cursor: Cursor,
    /// Its next line, read already to be compared with the others'.
    next: Option<Line>,
}

impl Reader {
    /// Opens the logs where `start` says; one that does not exist yet is empty so far.
    ///
    /// # Errors
    /// A log cannot be read, or is not a plain file.
    pub fn open(sources: &[Source], start: Start) -> io::Result<Reader> {
        let named = |source: &Source, error: io::Error| {
            io::Error::new(error.kind(), format!("cannot read {}: {error}", source.path.display()))
        };
        let open = |source: &Source| match Cursor::open(&source.path, start) {
            Ok(cursor) => Ok(Place { cursor, next: None }),
            Err(error) => Err(named(source, error)),
        };
        let places = sources.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Reader { places, changes: None })
    }

    /// The line that came first of all that are not read yet; `None`: there is none at the moment.
    ///
    /// # Errors
    /// Those of reading a file.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut first: Option<(u64, usize)> = None;
        for (source, place) in self.places.iter_mut().enumerate() {
            if place.next.is_none() {
                place.next = place.cursor.next_line()?;
            }
            if let Some(line) = &place.next
                && first.is_none_or(|first| (line.at, source) < first)
            {
                first = Some((line.at, source));
            }
        }
        Ok(first.and_then(|(_, source)| {
            let line = self.places.get_mut(source)?.next.take()?;
            Some(Line { source, ..line })
        }))
    }

    /// Lines that have begun and have no end so far: for whoever does not wait for their ends.
    pub fn rest(&mut self) -> Vec<Line> {
        let places = self.places.iter_mut().enumerate();
        let rest = places.filter_map(|(source, place)| Some(Line { source, ..place.cursor.rest()? }));
        let mut rest: Vec<Line> = rest.collect();
        rest.sort_by_key(|line| line.at);
        rest
    }

    /// Everything from `start` on, as it is now, the unended last lines included; of more than 4 MiB the first.
    ///
    /// # Errors
    /// See [`Reader::open`].
    pub fn tail(sources: &[Source], start: Start) -> io::Result<Vec<Line>> {
        let mut reader = Reader::open(sources, start)?;
        let mut lines = Vec::new();
        let mut bytes = 0;
        while let Some(line) = reader.next_line()? {
            bytes += line.bytes.len() + size_of::<Line>();
            lines.push(line);
            if bytes > MOST_TAIL {
                return Ok(lines);
            }
        }
        lines.extend(reader.rest());
        Ok(lines)
    }

    /// Waits until there may be more. Must be called inside a tokio runtime.
    pub async fn changed(&mut self) {
        if self.changes.is_none() {
            self.changes = Changes::new().ok();
        }
        let Some(changes) = &self.changes else { return tokio::time::sleep(GLANCE).await };
        let mut patience = TRUST;
        for Place { cursor, .. } in &self.places {
            // Watched first, looked at then: what came before the watch is seen by the look.
            let watched = changes.add(cursor.path());
            match cursor.has_more() {
                Some(true) => return,
                Some(false) if watched.is_ok() => {}
                Some(false) | None => patience = GLANCE,
            }
        }
        let _ = tokio::time::timeout(patience, changes.next()).await;
    }
}
