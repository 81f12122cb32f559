//! Private keys of the people this program speaks for: beside their secrets, in files that only their owner reads.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pem::Pem;

use super::failure::Failure;
use super::people::{People, failed};
use crate::reddit::Signer;
use crate::reddit::model::Algorithm;

/// What the PEM file of a PKCS #8 document is marked with.
const MARK: &str = "PRIVATE KEY";

impl People {
    /// The key of `name`, if there is one here.
    pub(super) fn key(&self, name: &str) -> Result<Option<Signer>, Failure> {
        let path = self.file(name, "key")?;
        let looked = || {
            if fs::metadata(&path)?.mode() & 0o077 != 0 {
                return Err(io::Error::other("others can read it: chmod 600, or register with another key"));
            }
            read(&path).map(|(signer, _)| signer)
        };
        match looked() {
            Ok(signer) => Ok(Some(signer)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("cannot use", &path, error)),
        }
    }

    /// Makes a key for `name`, who has none yet.
    pub(super) fn make_key(&self, name: &str) -> Result<Signer, Failure> {
        let path = self.file(name, "key")?;
        let (signer, document) =
            Signer::generate().map_err(|error| failed("cannot make", &path, io::Error::other(error)))?;
        self.write_key(&path, document)?;
        Ok(signer)
    }

    /// Keeps the key of a PEM file as that of `name`, and says what it is.
    pub(super) fn import_key(&self, name: &str, file: &Path) -> Result<Algorithm, Failure> {
        let path = self.file(name, "key")?;
        let (signer, document) = read(file).map_err(|error| failed("cannot import", file, error))?;
        self.write_key(&path, document)?;
        Ok(signer.public_key().check()?)
    }

    /// Removes a key that came to nothing.
    pub(super) fn forget_key(&self, name: &str) -> Result<(), Failure> {
        let path = self.file(name, "key")?;
        fs::remove_file(&path).map_err(|error| failed("cannot remove", &path, error))
    }

    fn write_key(&self, path: &Path, document: Vec<u8>) -> Result<(), Failure> {
        let text = pem::encode_config(&Pem::new(MARK, document), super::show::PEM);
        self.write(path, &text).map_err(|error| failed("cannot keep the key in", path, error))
    }
}

/// The private key in a PEM file, and its PKCS #8 document.
fn read(path: &Path) -> io::Result<(Signer, Vec<u8>)> {
    let parsed = pem::parse(fs::read(path)?).map_err(io::Error::other)?;
    if parsed.tag() != MARK {
        let found = format!("it begins with {:?}, not with \"BEGIN {MARK}\" (PKCS #8)", parsed.tag());
        return Err(io::Error::other(found));
    }
    let signer = Signer::from_pkcs8(parsed.contents()).map_err(io::Error::other)?;
    Ok((signer, parsed.into_contents()))
}
