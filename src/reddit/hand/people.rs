//! Who one is, from one command to the next: the secret of each name, in a file that only its owner reads.
//!
//! A session lasts as long as the engine that gave it, so it is not kept; the secret is, and each command logs in with it. It
//! is a random key and no password: nobody can guess it, and whoever has the file is that person.

use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::failure::Failure;
use crate::reddit::model::{Error, Field, Flaw, Secret, Text};

/// Somebody this program can speak for.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) name: Text,
    pub(super) secret: Secret,
}

/// Everybody this program can speak for.
#[derive(Debug)]
pub(super) struct People {
    folder: PathBuf,
}

/// Whether a secret was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Before,
    Now,
}

impl People {
    /// Those of this user: `XDG_STATE_HOME/reddit-client`, or `~/.local/state/reddit-client`.
    pub(super) fn at_home() -> Result<People, Failure> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let state = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
        let nowhere =
            || Failure::Usage("neither XDG_STATE_HOME nor HOME says where to keep who you are".into());
        Ok(People { folder: state.ok_or_else(nowhere)?.join("reddit-client") })
    }

    /// The one who is `named`, or the only one.
    pub(super) fn who(&self, named: Option<&str>) -> Result<Person, Failure> {
        if let Some(name) = named {
            let known = self.find(name)?;
            return known.ok_or_else(|| {
                Failure::Usage(format!("{name} is not registered here: reddit-client register {name}"))
            });
        }
        let names = self.names()?;
        match &names[..] {
            [] => Err(Failure::Usage("nobody is registered here: reddit-client register NAME".to_owned())),
            [name] => self.who(Some(name)),
            _ => Err(Failure::Usage(format!("say who you are: --as {}", names.join(" or --as ")))),
        }
    }

    /// The one called `name`, with a new secret if there is none yet. It is kept before it is used: a registration whose
    /// answer is lost can be asked for again.
    pub(super) fn enter(&self, name: &str) -> Result<(Person, Kept), Failure> {
        if let Some(person) = self.find(name)? {
            return Ok((person, Kept::Before));
        }
        let secret = Secret(ChaCha20Rng::from_os_rng().random());
        self.keep(name, secret)?;
        Ok((Person { name: name.into(), secret }, Kept::Now))
    }

    /// Removes the secret of a name that turned out to be somebody else's.
    pub(super) fn forget(&self, name: &str) -> Result<(), Failure> {
        let path = self.file(name, "secret")?;
        fs::remove_file(&path).map_err(|error| failed("cannot remove", &path, error))
    }

    /// Where the keys of others are kept as they were first seen.
    pub(super) fn known_keys(&self) -> PathBuf {
        self.folder.join("known-keys")
    }

    fn keep(&self, name: &str, secret: Secret) -> Result<(), Failure> {
        let path = self.file(name, "secret")?;
        let digits: String = secret.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let written = self.write(&path, &format!("{digits}\n"));
        written.map_err(|error| failed("cannot keep the secret in", &path, error))
    }

    /// Writes a file that is not there yet.
    pub(super) fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    }

    fn find(&self, name: &str) -> Result<Option<Person>, Failure> {
        let path = self.file(name, "secret")?;
        let looked = || {
            if fs::metadata(&path)?.mode() & 0o077 != 0 {
                return Err(io::Error::other(
                    "others can read it: chmod 600, or register under another name",
                ));
            }
            secret(&fs::read_to_string(&path)?).ok_or_else(|| io::Error::other("it holds no secret"))
        };
        match looked() {
            Ok(secret) => Ok(Some(Person { name: name.into(), secret })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("cannot use", &path, error)),
        }
    }

    fn names(&self) -> Result<Vec<String>, Failure> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("cannot read", &self.folder, error)),
        };
        let names = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".secret")?.to_owned())
        });
        let mut names: Vec<_> = names.collect();
        names.sort();
        Ok(names)
    }

    /// Names are one in any case, so the file is too; and what is no name is no path.
    pub(super) fn file(&self, name: &str, ending: &str) -> Result<PathBuf, Failure> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(Error::BadRequest { field: Field::Username, flaw: Flaw::Character }.into());
        }
        Ok(self.folder.join(format!("{}.{ending}", name.to_ascii_lowercase())))
    }
}

fn secret(digits: &str) -> Option<Secret> {
    let digits = digits.trim_end();
    let value = u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(Secret(value.to_be_bytes()))
}

pub(super) fn failed(what: &str, path: &Path, error: io::Error) -> Failure {
    Failure::File { what: format!("{what} {}", path.display()), error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn people() -> (tempfile::TempDir, People) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state/reddit-client");
        (dir, People { folder })
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let (_dir, people) = people();
        let (ada, kept) = people.enter("Ada").unwrap();
        assert_eq!(kept, Kept::Now);
        let (again, kept) = people.enter("ada").unwrap();
        assert_eq!((again.secret, kept), (ada.secret, Kept::Before));
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&people.folder), mode(&people.file("ada", "secret").unwrap())), (0o700, 0o600));
        people.forget("ADA").unwrap();
        assert!(people.names().unwrap().is_empty());
    }

    #[test]
    fn the_only_one_needs_no_name_and_several_do() {
        let (_dir, people) = people();
        assert!(people.who(None).unwrap_err().to_string().contains("register"));
        people.enter("ada").unwrap();
        assert_eq!(&*people.who(None).unwrap().name, "ada");
        people.enter("bob").unwrap();
        assert_eq!(people.who(None).unwrap_err().to_string(), "say who you are: --as ada or --as bob");
        assert_eq!(&*people.who(Some("Bob")).unwrap().name, "Bob");
        assert!(people.who(Some("eve")).is_err());
    }

    #[test]
    fn what_is_no_name_is_no_path_and_a_spoilt_file_is_told() {
        let (_dir, people) = people();
        for name in ["../x", "", "a/b", "."] {
            assert!(people.enter(name).is_err(), "{name}");
        }
        people.enter("ada").unwrap();
        let path = people.file("ada", "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(people.who(None).unwrap_err().to_string().contains("others can read it"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "no\n").unwrap();
        assert!(people.who(None).unwrap_err().to_string().contains("holds no secret"));
    }
}
