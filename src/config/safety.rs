//! Who could have written this file: as root, provost runs what it says.
//!
//! The file must belong to root or to us and be writable by nobody else. As root the same holds for its folder, for
//! every folder above it and for every symbolic link on the way; a sticky folder that all may write, such as `/tmp`, is
//! accepted further up, because there nobody can move what others own.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Why the file is not trusted, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Why the way to the file could not be walked.
#[derive(Debug)]
pub(crate) enum WalkError {
    Io(io::Error),
    Unsafe(Fault),
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        WalkError::Io(error)
    }
}

/// What a folder has to withstand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folder {
    /// The file, or the link to it, lies in it.
    Own,
    /// Further up.
    Above,
}

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// `path_resolution(7)` gives up after as many.
const MOST_LINKS: u32 = 40;

/// Checks a file by its descriptor's metadata.
pub(crate) fn check_file(path: &Path, metadata: &Metadata, uid: u32) -> Result<(), Fault> {
    check_owner(path, metadata, uid)?;
    check_writers(path, metadata)
}

/// Resolves an absolute path step by step and checks every folder and link it passes. The result has no links in it.
pub(crate) fn walk(path: &Path, uid: u32) -> Result<PathBuf, WalkError> {
    let mut here = PathBuf::from("/");
    let mut ahead = steps(path);
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        let folder = if ahead.is_empty() { Folder::Own } else { Folder::Above };
        check_folder(&here, folder, uid)?;
        if step == ".." {
            here.pop();
            continue;
        }
        let next = here.join(step);
        let metadata = fs::symlink_metadata(&next)?;
        if !metadata.is_symlink() {
            here = next;
            continue;
        }
        check_owner(&next, &metadata, uid).map_err(WalkError::Unsafe)?;
        links += 1;
        if links > MOST_LINKS {
            return Err(io::Error::from_raw_os_error(nix::libc::ELOOP).into());
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        ahead.extend(steps(&target));
    }
    Ok(here)
}

/// The components of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let kept = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    kept.map(|part| part.as_os_str().to_owned()).rev().collect()
}

fn check_folder(path: &Path, folder: Folder, uid: u32) -> Result<(), WalkError> {
    let metadata = fs::symlink_metadata(path)?;
    check_owner(path, &metadata, uid).map_err(WalkError::Unsafe)?;
    if folder == Folder::Above && metadata.mode() & STICKY != 0 {
        return Ok(());
    }
    check_writers(path, &metadata).map_err(WalkError::Unsafe)
}

fn check_owner(path: &Path, metadata: &Metadata, uid: u32) -> Result<(), Fault> {
    let owner = metadata.uid();
    if owner == 0 || owner == uid {
        return Ok(());
    }
    let us = if uid == 0 { "root".to_owned() } else { format!("root or uid {uid}") };
    Err(Fault {
        message: format!("{} belongs to uid {owner}, whom provost would obey", path.display()),
        hint: format!("give it to {us}: chown -h {uid} {}", path.display()),
    })
}

fn check_writers(path: &Path, metadata: &Metadata) -> Result<(), Fault> {
    let mode = metadata.mode() & 0o7777;
    if mode & GROUP_OR_OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(Fault {
        message: format!("{} can be written by others than its owner (mode {mode:04o})", path.display()),
        hint: format!("chmod go-w {}", path.display()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;

    fn me() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn folder_with_file() -> (TempDir, PathBuf) {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().canonicalize().expect("a real path").join("supervisor.toml");
        fs::write(&file, "").expect("a file");
        chmod(&file, 0o600);
        (folder, file)
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    }

    fn refused(path: &Path) -> Fault {
        match walk(path, me()) {
            Err(WalkError::Unsafe(fault)) => fault,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_private_folder_is_trusted() {
        let (_folder, file) = folder_with_file();
        assert_eq!(walk(&file, me()).expect("trusted"), file);
    }

    #[test]
    fn a_folder_that_others_can_write_is_named() {
        let (_folder, file) = folder_with_file();
        let parent = file.parent().expect("a parent");
        chmod(parent, 0o770);
        let fault = refused(&file);
        assert_eq!(
            fault.message,
            format!("{} can be written by others than its owner (mode 0770)", parent.display())
        );
        assert_eq!(fault.hint, format!("chmod go-w {}", parent.display()));
        chmod(parent, 0o1777);
        assert_eq!(
            refused(&file).hint,
            format!("chmod go-w {}", parent.display()),
            "sticky, and its own folder"
        );
    }

    #[test]
    fn a_sticky_folder_is_trusted_further_up_only() {
        let (_folder, file) = folder_with_file();
        let parent = file.parent().expect("a parent");
        let inner = parent.join("inner");
        fs::create_dir(&inner).expect("a folder");
        chmod(&inner, 0o700);
        fs::rename(&file, inner.join("x.toml")).expect("a move");
        chmod(parent, 0o1777);
        assert_eq!(walk(&inner.join("x.toml"), me()).expect("trusted"), inner.join("x.toml"));
        chmod(parent, 0o777);
        assert_eq!(refused(&inner.join("x.toml")).hint, format!("chmod go-w {}", parent.display()));
    }

    #[test]
    fn links_are_followed_through_folders_that_are_checked_too() {
        let (_folder, file) = folder_with_file();
        let (_elsewhere, other_file) = folder_with_file();
        let (parent, elsewhere) = (file.parent().expect("a parent"), other_file.parent().expect("a parent"));
        let link = elsewhere.join("link.toml");
        symlink(&file, &link).expect("a link");
        assert_eq!(walk(&link, me()).expect("trusted"), file);
        chmod(elsewhere, 0o777);
        assert_eq!(refused(&link).hint, format!("chmod go-w {}", elsewhere.display()));
        chmod(elsewhere, 0o700);
        chmod(parent, 0o777);
        assert_eq!(refused(&link).hint, format!("chmod go-w {}", parent.display()));
    }

    #[test]
    fn two_dots_lead_up_from_where_a_link_led() {
        let (_folder, file) = folder_with_file();
        let parent = file.parent().expect("a parent");
        let inner = parent.join("inner");
        fs::create_dir(&inner).expect("a folder");
        chmod(&inner, 0o700);
        let (_elsewhere, other_file) = folder_with_file();
        let link = other_file.with_file_name("link");
        symlink(&inner, &link).expect("a link");
        assert_eq!(walk(&link.join("../supervisor.toml"), me()).expect("trusted"), file);
    }

    #[test]
    fn a_link_to_itself_ends() {
        let (folder, _) = folder_with_file();
        let link = folder.path().canonicalize().expect("a real path").join("loop");
        symlink("loop", &link).expect("a link");
        assert!(
            matches!(walk(&link, me()), Err(WalkError::Io(error)) if error.raw_os_error() == Some(nix::libc::ELOOP))
        );
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let (_folder, file) = folder_with_file();
        chmod(&file, 0o664);
        let fault = check_file(&file, &fs::metadata(&file).expect("metadata"), me()).expect_err("refused");
        assert_eq!(fault.hint, format!("chmod go-w {}", file.display()));
    }
}
