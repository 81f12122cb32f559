//! Opening files that must be nobody else's, and the names that rotation gives them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::os::folder::{Access, Folder};

/// Mode of a new file.
const FILE_MODE: u32 = 0o640;
/// Mode of a log folder that is made.
pub const LOG_DIR_MODE: u32 = 0o750;

/// Device and inode: what a name means at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    pub(super) inode: u64,
}

impl Identity {
    pub(super) fn of(metadata: &fs::Metadata) -> Identity {
        Identity { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Opens a file for reading and writing at any position, creating it (0640) and its folder (0750) where missing.
///
/// Never for appending: `splice(2)` refuses that.
///
/// # Errors
/// It cannot be opened or created, or is not a plain file of our own: a symbolic link, a FIFO, a device, a second name of
/// another file or somebody else's file is refused, because whoever made it could have what is written land elsewhere.
pub fn open_own(path: &Path) -> io::Result<File> {
    open(path, Access::Write(FILE_MODE))
}

/// The same for appending.
///
/// # Errors
/// As [`open_own`].
pub fn open_own_for_appending(path: &Path) -> io::Result<File> {
    open(path, Access::Append(FILE_MODE))
}

fn open(path: &Path, access: Access) -> io::Result<File> {
    let (folder, name) = Folder::make_of(path, LOG_DIR_MODE)?;
    folder.file(name, access)
}

/// Opens a plain file for reading, without ever waiting for it.
///
/// # Errors
/// It cannot be opened, or is not a plain file with one name. It must belong to this user, to root or to the owner of its
/// folder, who can put there what he likes anyway; what others can have put there is refused.
pub fn open_for_reading(path: &Path) -> io::Result<File> {
    let (folder, name) = Folder::of(path)?;
    let file = folder.file(name, Access::Read)?;
    let found = file.metadata()?;
    let refused = |why: String| Err(io::Error::new(ErrorKind::PermissionDenied, why));
    if found.nlink() > 1 {
        return refused("it is a hard link to another file; remove it".into());
    }
    if ![0, geteuid().as_raw(), folder.owner()?].contains(&found.uid()) {
        return refused(format!("it belongs to another user (uid {}); remove it", found.uid()));
    }
    Ok(file)
}

/// `web.log` as it is called after so many rotations: `web.log`, `web.log.1`, `web.log.2` ...
#[must_use]
pub fn numbered(path: &Path, rotations: u32) -> PathBuf {
    if rotations == 0 { path.to_owned() } else { with_suffix(path, &format!(".{rotations}")) }
}

/// The index of times beside a log: `web.log.idx`, `web.log.1.idx` ...
pub(super) fn index_of(path: &Path) -> PathBuf {
    with_suffix(path, ".idx")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Makes room at `path`: `web.log` becomes `web.log.1`, that becomes `.2`, and so on; what would be the file after
/// `max_files` is removed. Afterwards there is no file at `path`.
///
/// May be cut short at any instant and done again: each file has a name at all times, and a number that an interrupted
/// shift left free is filled before anything is removed. An index moves before its log, so that a log which was moved
/// never stands beside the index of another one.
///
/// # Errors
/// Those of `rename(2)`; the file may still be at `path` then.
pub fn shift(path: &Path, max_files: u32) -> io::Result<()> {
    let (folder, name) = Folder::of(path)?;
    let name = Path::new(name);
    let remove = |path: &Path| folder.remove(path.as_os_str());
    let rename = |from: &Path, to: &Path| ignore_missing(folder.rename(from.as_os_str(), to.as_os_str()));
    let exists = |path: &Path| folder.look(path.as_os_str()).is_ok();
    if max_files == 0 {
        return remove(name);
    }
    let free = (1..=max_files).find(|number| !exists(&numbered(name, *number)));
    if free.is_none() {
        // Removed, not replaced: a rename onto another file makes ext4 write out at once what is renamed.
        let last = numbered(name, max_files);
        remove(&index_of(&last))?;
        remove(&last)?;
    }
    for number in (0..free.unwrap_or(max_files)).rev() {
        let (from, to) = (numbered(name, number), numbered(name, number + 1));
        rename(&index_of(&from), &index_of(&to))?;
        rename(&from, &to)?;
    }
    // Left by a larger `max_files`.
    for surplus in (max_files + 1..).map(|number| numbered(name, number)) {
        if !exists(&surplus) || remove(&surplus).is_err() {
            break;
        }
        remove(&index_of(&surplus))?;
    }
    Ok(())
}

/// Gives a file another name in its folder.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (folder, name) = Folder::of(from)?;
    folder.rename(name, to.file_name().ok_or(ErrorKind::InvalidInput)?)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, numbers: &[u32]) {
        for number in numbers {
            fs::write(numbered(path, *number), format!("{number}")).unwrap();
            fs::write(index_of(&numbered(path, *number)), format!("{number}")).unwrap();
        }
    }

    /// What each number holds, and whether its index holds the same.
    fn contents(path: &Path) -> Vec<(u32, String)> {
        let text = |path: &Path| fs::read_to_string(path).ok();
        (0..9)
            .filter_map(|number| {
                let log = text(&numbered(path, number))?;
                assert_eq!(text(&index_of(&numbered(path, number))).as_deref(), Some(log.as_str()));
                Some((number, log))
            })
            .collect()
    }

    #[test]
    fn each_file_moves_one_up_and_the_last_one_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        put(&path, &[0, 1, 2, 3]);
        shift(&path, 3).unwrap();
        assert_eq!(contents(&path), [(1, "0".into()), (2, "1".into()), (3, "2".into())]);
    }

    #[test]
    fn a_free_number_is_filled_before_anything_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        put(&path, &[0, 1, 3]);
        shift(&path, 3).unwrap();
        assert_eq!(contents(&path), [(1, "0".into()), (2, "1".into()), (3, "3".into())]);
    }

    #[test]
    fn fewer_files_are_kept_when_fewer_are_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        put(&path, &[0, 1, 2, 3, 4]);
        shift(&path, 2).unwrap();
        assert_eq!(contents(&path), [(1, "0".into()), (2, "1".into())]);
        put(&path, &[0]);
        shift(&path, 0).unwrap();
        assert!(!path.exists());
    }

    /// The process is killed after any number of its renames, and the next one begins again.
    #[test]
    fn a_shift_cut_short_at_any_instant_loses_nothing() {
        for cut in 0..6 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("web.log");
            put(&path, &[0, 1, 2]);
            for step in 0..cut {
                let (from, to) = (numbered(&path, 2 - step / 2), numbered(&path, 3 - step / 2));
                match step % 2 {
                    0 => fs::rename(index_of(&from), index_of(&to)).unwrap(),
                    _ => fs::rename(from, to).unwrap(),
                }
            }
            if path.exists() {
                shift(&path, 3).unwrap();
            }
            let expected = [(1, "0".into()), (2, "1".into()), (3, "2".into())];
            assert_eq!(contents(&path), expected, "cut after {cut} renames");
        }
    }

    #[test]
    fn links_and_special_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("target"), "precious").unwrap();
        std::os::unix::fs::symlink(at("target"), at("symlink")).unwrap();
        fs::hard_link(at("target"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for name in ["symlink", "link", "fifo", "folder"] {
            assert!(open_own(&at(name)).is_err(), "{name}");
            assert!(open_own_for_appending(&at(name)).is_err(), "{name}");
        }
        assert!(open_own(Path::new("/dev/null")).is_err());
        assert_eq!(fs::read(at("target")).unwrap(), b"precious");
    }

    #[test]
    fn new_files_and_folders_are_not_for_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/web.log");
        open_own(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path) & 0o137, mode(path.parent().unwrap()) & 0o027), (0, 0));
    }
}
