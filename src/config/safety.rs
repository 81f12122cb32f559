//! Who could have written this file: provost runs what it says.
//!
//! The file must belong to root or to us, as root also to the user who called sudo, and be writable by nobody else; a group
//! that is its owner's private one is nobody else, so that a umask of 002 is fine. As root the same holds for its folder, for
//! every folder above it and for every symbolic link on the way; a sticky folder that all may write, such as `/tmp`, is
//! accepted further up, because there nobody can move what others own.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};

use super::context::Context;

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

/// Whose files are obeyed, beside root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trusted {
    uid: u32,
    sudo_uid: Option<u32>,
}

impl Trusted {
    pub(crate) fn of(context: &Context) -> Trusted {
        Trusted { uid: context.uid, sudo_uid: context.sudo_uid }
    }

    /// This user's files, too.
    pub(crate) fn and(self, uid: u32) -> Trusted {
        Trusted { sudo_uid: Some(uid), ..self }
    }

    pub(crate) fn is_root(self) -> bool {
        self.uid == 0
    }

    fn owns(self, owner: u32) -> bool {
        owner == 0 || owner == self.uid || self.sudo_uid == Some(owner)
    }
}

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// `path_resolution(7)` gives up after as many.
const MOST_LINKS: u32 = 40;

/// Checks a file by its descriptor's metadata.
pub(crate) fn check_file(path: &Path, metadata: &Metadata, trusted: Trusted) -> Result<(), Fault> {
    check_owner(path, metadata, trusted)?;
    check_writers(path, metadata)
}

/// Why a program at this path, absolute, is not to be run: somebody else could have put it there.
pub(crate) fn why_no_program(path: &Path, context: &Context) -> Option<String> {
    let trusted = Trusted::of(context);
    let real = match walk(path, trusted) {
        Ok(real) => real,
        Err(WalkError::Unsafe(fault)) => return Some(fault.message),
        Err(WalkError::Io(error)) => return Some(error.to_string()),
    };
    let found = fs::symlink_metadata(&real).map_err(|error| error.to_string());
    found.and_then(|found| check_file(&real, &found, trusted).map_err(|fault| fault.message)).err()
}

/// Why an open file is no program that provost obeys: it belongs to somebody else, or others can write it.
#[must_use]
pub fn why_not_obeyed(path: &Path, metadata: &Metadata, context: &Context) -> Option<String> {
    check_file(path, metadata, Trusted::of(context)).err().map(|fault| fault.message)
}

/// Resolves an absolute path step by step and checks every folder and link it passes. The result has no links in it.
pub(crate) fn walk(path: &Path, trusted: Trusted) -> Result<PathBuf, WalkError> {
    let mut here = PathBuf::from("/");
    let mut ahead = steps(path);
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        let folder = if ahead.is_empty() { Folder::Own } else { Folder::Above };
        check_folder(&here, folder, trusted)?;
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
        check_owner(&next, &metadata, trusted).map_err(WalkError::Unsafe)?;
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

fn check_folder(path: &Path, folder: Folder, trusted: Trusted) -> Result<(), WalkError> {
    let metadata = fs::symlink_metadata(path)?;
    check_owner(path, &metadata, trusted).map_err(WalkError::Unsafe)?;
    if folder == Folder::Above && metadata.mode() & STICKY != 0 {
        return Ok(());
    }
    check_writers(path, &metadata).map_err(WalkError::Unsafe)
}

fn check_owner(path: &Path, metadata: &Metadata, trusted: Trusted) -> Result<(), Fault> {
    let owner = metadata.uid();
    if trusted.owns(owner) {
        return Ok(());
    }
    let name = user_name(owner);
    let hint = if trusted.is_root() {
        format!("copy the config file below /etc, or run provost as {name}")
    } else {
        format!("copy the config file into a folder of your own, or run provost as {name}")
    };
    Err(Fault { message: format!("{} belongs to {name}, whom provost would obey", path.display()), hint })
}

fn check_writers(path: &Path, metadata: &Metadata) -> Result<(), Fault> {
    let mode = metadata.mode() & 0o7777;
    let by_group = mode & GROUP_WRITES != 0 && !is_private_group(metadata.gid(), metadata.uid());
    if mode & OTHERS_WRITE == 0 && !by_group {
        return Ok(());
    }
    Err(Fault {
        message: format!("{} can be written by others than its owner (mode {mode:04o})", path.display()),
        hint: format!("chmod go-w {}", path.display()),
    })
}

fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("uid {uid}"), |user| format!("user {} (uid {uid})", user.name))
}

/// Whether a group is the private one of this user: his primary one, of his name, and nobody else is in it.
fn is_private_group(gid: u32, uid: u32) -> bool {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    let (Some(user), Some(group)) = (user, group) else { return false };
    let is_his = user.gid == group.gid && user.name == group.name;
    is_his && group.mem.iter().all(|member| *member == user.name) && !is_primary_of_another(gid, &user.name)
}

/// Users whose primary group it is stand nowhere but in the list of users.
fn is_primary_of_another(gid: u32, name: &str) -> bool {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().any(|line| {
        let mut fields = line.split(':');
        let is_another = fields.next() != Some(name);
        is_another && fields.nth(2).and_then(|number| number.parse().ok()) == Some(gid)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;

    fn me() -> Trusted {
        Trusted { uid: nix::unistd::geteuid().as_raw(), sudo_uid: None }
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
        chmod(parent, 0o772);
        let fault = refused(&file);
        assert_eq!(
            fault.message,
            format!("{} can be written by others than its owner (mode 0772)", parent.display())
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
        chmod(&file, 0o666);
        let fault = check_file(&file, &fs::metadata(&file).expect("metadata"), me()).expect_err("refused");
        assert_eq!(fault.hint, format!("chmod go-w {}", file.display()));
    }

    #[test]
    fn a_group_with_others_in_it_is_not_private() {
        let own = User::from_uid(Uid::effective()).unwrap().unwrap();
        // Everybody may be in it, and it has another name.
        assert!(!is_private_group(65_534, own.uid.as_raw()) || own.uid.as_raw() == 65_534);
        // A number without a name is nobody's.
        assert!(!is_private_group(4_000_000_000, own.uid.as_raw()));
        assert!(!is_private_group(own.gid.as_raw(), 4_000_000_000));
    }

    #[test]
    fn root_obeys_the_user_who_called_sudo_and_nobody_else() {
        let (_folder, file) = folder_with_file();
        let metadata = fs::metadata(&file).expect("metadata");
        let (owner, sudo_uid) = (metadata.uid(), Some(metadata.uid()));
        if owner == 0 {
            return println!("skipped: its own files are root's");
        }
        assert_eq!(check_file(&file, &metadata, Trusted { uid: 0, sudo_uid }), Ok(()));
        let fault = check_file(&file, &metadata, Trusted { uid: 0, sudo_uid: None }).expect_err("refused");
        assert!(
            fault.hint.starts_with("copy the config file below /etc, or run provost as "),
            "{}",
            fault.hint
        );
        assert!(!fault.hint.contains("chown"), "{}", fault.hint);
    }
}
