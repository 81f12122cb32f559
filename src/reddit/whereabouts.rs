//! Where the engine is, as people say it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::protocol;
use crate::node::{Identity, Listen, Location, NameError, Options};

/// The engine's node: by its name alone, found where nodes of this user are, or by the path of its socket, which then is
/// called after the node: `/tmp/engine.sock` is that of `engine`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    node: String,
    socket: Option<PathBuf>,
}

impl Whereabouts {
    /// Its name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// How a node is set up that talks with it. Beside an engine that has its socket where nodes have theirs the node has
    /// one too, and can be called; else it only connects.
    #[must_use]
    pub fn options(&self) -> Options {
        let speaks = Options { messages: protocol::VERSION..=protocol::VERSION, ..Options::default() };
        match &self.socket {
            None => speaks,
            Some(path) => Options {
                listen: Listen::Nowhere,
                elsewhere: [(self.node.clone(), Location::Unix(path.clone()))].into(),
                ..speaks
            },
        }
    }

    /// How the engine itself is set up there.
    #[must_use]
    pub fn engine_options(&self) -> Options {
        let listen = self.socket.clone().map_or(Listen::Socket, Listen::At);
        Options { listen, messages: protocol::VERSION..=protocol::VERSION, ..Options::default() }
    }

    /// The engine at the same place under another name.
    #[must_use]
    pub fn called(self, node: String) -> Whereabouts {
        Whereabouts { node, ..self }
    }
}

impl From<&Path> for Whereabouts {
    fn from(path: &Path) -> Whereabouts {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let node = stem.and_then(|stem| Identity::check_name(stem).ok());
        Whereabouts { node: node.unwrap_or_else(|| "engine".to_owned()), socket: Some(path.to_owned()) }
    }
}

impl FromStr for Whereabouts {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Whereabouts, NameError> {
        if text.contains('/') {
            return Ok(Path::new(text).into());
        }
        Ok(Whereabouts { node: Identity::check_name(text)?, socket: None })
    }
}

impl Default for Whereabouts {
    fn default() -> Whereabouts {
        Whereabouts { node: "engine".to_owned(), socket: None }
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            None => f.write_str(&self.node),
            Some(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_named_or_shown() {
        let named: Whereabouts = "engine".parse().unwrap();
        assert_eq!((named.node(), named.options().listen), ("engine", Listen::Socket));
        let shown: Whereabouts = "/tmp/second.sock".parse().unwrap();
        assert_eq!((shown.node(), shown.options().listen), ("second", Listen::Nowhere));
        assert_eq!(shown.engine_options().listen, Listen::At("/tmp/second.sock".into()));
        assert_eq!(shown.to_string(), "/tmp/second.sock");
        assert!("a b".parse::<Whereabouts>().is_err());
    }
}
