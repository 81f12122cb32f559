//! Where a node can be reached.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address a node's name resolves to. It says which transport is used: `unix:/run/provost/x/nodes/engine.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Location {
    /// A Unix socket.
    Unix(PathBuf),
    /// A host and a port.
    Tcp(String),
}

impl Location {
    /// The socket of the node `name` in the folder where nodes have theirs.
    #[must_use]
    pub fn in_folder(folder: &Path, name: &str) -> Location {
        Location::Unix(folder.join(format!("{name}.sock")))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Unix(path) => write!(f, "unix:{}", path.display()),
            Location::Tcp(place) => write!(f, "tcp:{place}"),
        }
    }
}

/// A text that is no location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a location is unix:/PATH or tcp:HOST:PORT")]
pub struct LocationError;

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Location, LocationError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Location::Unix(path.into())) } else { Err(LocationError) };
        }
        let place = text.strip_prefix("tcp:").ok_or(LocationError)?;
        match place.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Location::Tcp(place.to_owned()))
            }
            Some(_) | None => Err(LocationError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_as_they_are_shown() {
        for text in ["unix:/run/x.sock", "tcp:localhost:4000", "tcp:[::1]:4000"] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        for text in ["", "unix:x.sock", "tcp:localhost", "tcp::1", "tcp:x:70000", "http://x"] {
            assert_eq!(text.parse::<Location>(), Err(LocationError), "{text}");
        }
    }
}
