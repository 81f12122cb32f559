//! A config file's bytes: opened once, checked through the descriptor, read from it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};

use super::diagnostic::Diagnostic;
use super::report::line_and_column;
use super::safety::{self, Trusted};

/// Larger than any config file, small enough to be read by mistake.
const LARGEST: u64 = 1 << 20;

/// What a config file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To do what it says: its owner must be obeyed.
    Run,
    /// To find the launcher that runs it: for an ordinary user it may be another user's too.
    Find,
}

/// The text of a config file that may be obeyed.
pub(crate) fn read(file: &Path, trusted: Trusted) -> Result<String, Diagnostic> {
    checked(file, trusted, Purpose::Run).map(|(text, _)| text)
}

/// The text of a config file whose launcher is looked for, and the file's owner.
pub(crate) fn read_to_find(file: &Path, trusted: Trusted) -> Result<(String, u32), Diagnostic> {
    checked(file, trusted, Purpose::Find)
}

fn checked(file: &Path, trusted: Trusted, purpose: Purpose) -> Result<(String, u32), Diagnostic> {
    let complain = |message: String, hint: &str| Diagnostic {
        file: file.to_path_buf(),
        place: None,
        message,
        hint: hint.to_owned(),
    };
    let (bytes, owner) = bytes(file, trusted, purpose).map_err(|fault| match fault {
        Fault::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            complain("there is no such file".into(), "check the path, or write the file")
        }
        Fault::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            complain("may not be read by this user".into(), "chmod u+r it, or run provost as its owner")
        }
        Fault::Io(error) => complain(format!("cannot be read: {error}"), ""),
        Fault::NotAFile => complain("is not a regular file".into(), "name the file itself"),
        Fault::TooLarge => complain("is larger than 1 MiB".into(), "check that this is the config file"),
        Fault::Unsafe(fault) => complain(fault.message, &fault.hint),
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let place = line_and_column(error.as_bytes(), error.utf8_error().valid_up_to());
        let message = "this byte is not UTF-8".to_owned();
        Diagnostic {
            file: file.to_path_buf(),
            place: Some(place),
            message,
            hint: "save the file as UTF-8".into(),
        }
    })?;
    Ok((text, owner))
}

enum Fault {
    Io(io::Error),
    NotAFile,
    TooLarge,
    Unsafe(safety::Fault),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

fn bytes(file: &Path, trusted: Trusted, purpose: Purpose) -> Result<(Vec<u8>, u32), Fault> {
    // NONBLOCK: a FIFO or a device must not hold up the launcher before fstat has told what it is.
    let flags = O_NOCTTY | O_NONBLOCK;
    let opened = if trusted.is_root() {
        // Only those who are obeyed and sticky folders' owners can move anything on this way, so the walked path stays true.
        let walked = safety::walk(file, trusted)?;
        OpenOptions::new().read(true).custom_flags(flags | O_NOFOLLOW).open(walked)?
    } else {
        OpenOptions::new().read(true).custom_flags(flags).open(file)?
    };
    let metadata = opened.metadata()?;
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    let owner = metadata.uid();
    let finds = purpose == Purpose::Find && !trusted.is_root();
    let obeyed = if finds { trusted.and(owner) } else { trusted };
    safety::check_file(file, &metadata, obeyed).map_err(Fault::Unsafe)?;
    Ok((read_at_most(opened, LARGEST)?, owner))
}

fn read_at_most(file: File, most: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(Fault::TooLarge) } else { Ok(bytes) }
}

impl From<safety::WalkError> for Fault {
    fn from(error: safety::WalkError) -> Self {
        match error {
            safety::WalkError::Io(error) => Fault::Io(error),
            safety::WalkError::Unsafe(fault) => Fault::Unsafe(fault),
        }
    }
}
