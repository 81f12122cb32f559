//! The keys of authors as they were first seen on this computer (trust on first use, as ssh keeps those of hosts).
//!
//! ```text
//! ENGINE NAME KEY      one line each; the key is a SubjectPublicKeyInfo in hexadecimal digits
//! ```

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use super::failure::Failure;
use super::people::failed;
use crate::reddit::model::PublicKey;

/// What was seen of one engine.
#[derive(Debug)]
pub(super) struct Known {
    file: PathBuf,
    engine: String,
    /// By the name in lower case; `None` until the file was read.
    keys: Option<BTreeMap<String, PublicKey>>,
}

impl Known {
    pub(super) fn new(file: PathBuf, engine: &str) -> Known {
        Known { file, engine: engine.split_whitespace().collect(), keys: None }
    }

    /// Whether this is the key that was first seen of `name`; one that is seen for the first time is kept. Of whom no key
    /// was ever seen there may be none.
    pub(super) fn agrees(&mut self, name: &str, key: Option<&PublicKey>) -> Result<bool, Failure> {
        let keys = match self.keys.take().map_or_else(|| self.read(), Ok) {
            Ok(keys) => self.keys.insert(keys),
            Err(error) => return Err(failed("cannot read", &self.file, error)),
        };
        let name = name.to_ascii_lowercase();
        match (keys.get(&name), key) {
            (None, None) => Ok(true),
            (Some(first), key) => Ok(key == Some(first)),
            (None, Some(key)) => {
                keys.insert(name.clone(), key.clone());
                // Where nothing can be kept, every time is the first.
                let _ = self.append(&name, key);
                Ok(true)
            }
        }
    }

    /// What another process appends just now is seen next time. A line that makes no sense says nothing.
    fn read(&self) -> io::Result<BTreeMap<String, PublicKey>> {
        let text = match fs::read_to_string(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let mut keys = BTreeMap::new();
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [engine, name, digits] = words[..] else { continue };
            if let (true, Some(der)) = (engine == self.engine, bytes(digits)) {
                // The first one counts.
                keys.entry(name.to_owned()).or_insert_with(|| PublicKey::from_spki(&der));
            }
        }
        Ok(keys)
    }

    fn append(&self, name: &str, key: &PublicKey) -> io::Result<()> {
        let digits: String = key.spki().iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{} {name} {digits}\n", self.engine);
        if let Some(folder) = self.file.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file)?;
        // In one piece, so that two processes do not write into each other's line.
        file.write_all(line.as_bytes())
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks_exact(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reddit::Signer;

    #[test]
    fn the_first_key_of_a_name_is_the_one_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let known = |engine: &str| Known::new(dir.path().join("state/known-keys"), engine);
        let [one, other] = [7, 8].map(|number| Signer::from_number([number; 32]).unwrap().public_key());
        let mut first = known("engine");
        assert!(first.agrees("bob", None).unwrap(), "he has none");
        assert!(first.agrees("Ada", Some(&one)).unwrap(), "seen for the first time");
        for known in [&mut first, &mut known("engine")] {
            assert!(known.agrees("ada", Some(&one)).unwrap());
            assert!(!known.agrees("ada", Some(&other)).unwrap() && !known.agrees("ADA", None).unwrap());
        }
        assert!(known("another engine").agrees("ada", Some(&other)).unwrap(), "her of another engine");
        fs::write(dir.path().join("state/known-keys"), "engine ada\nengine ada nonsense\n").unwrap();
        assert!(known("engine").agrees("ada", Some(&other)).unwrap(), "no line of hers makes sense");
    }
}
