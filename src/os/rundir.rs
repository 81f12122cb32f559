//! Directories that are nobody else's: sockets and state in them are protected by the directory alone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use nix::unistd::geteuid;

/// Mode of a private directory.
const PRIVATE: u32 = 0o700;

/// Makes sure that this is a directory of our own that nobody else can enter, creating it (0700) and what is missing
/// above it (0755).
///
/// # Errors
/// It cannot be created, is no directory (a symbolic link is none), is owned by somebody else, or others may enter it:
/// then it is left as it is.
pub fn create(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match DirBuilder::new().mode(PRIVATE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(path),
        other => other,
    }
}

fn check(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if !metadata.is_dir() {
        return refuse("it is not a directory".into());
    }
    if metadata.uid() != geteuid().as_raw() {
        return refuse(format!("it belongs to another user (uid {})", metadata.uid()));
    }
    if metadata.mode() & 0o077 != 0 {
        return refuse(format!("others may enter it (mode {:04o}); chmod 0700 it", metadata.mode() & 0o7777));
    }
    Ok(())
}
