//! Config files as files: which one is meant, who may have written it, what is no config file at all.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use provost::config::{Context, Diagnostic, Loaded, load, locate, place_of};
use tempfile::TempDir;

const GOOD: &str = "name = 'shop'\n[[child]]\nname = 'web'\ncommand = ['/bin/sleep', '60']\n";

/// A private folder with a config file in it.
struct Folder {
    _folder: TempDir,
    path: PathBuf,
    file: PathBuf,
}

fn folder(text: impl AsRef<[u8]>) -> Folder {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().canonicalize().expect("a real path");
    let file = path.join("supervisor.toml");
    fs::write(&file, text).expect("a file");
    chmod(&file, 0o600);
    Folder { _folder: folder, path, file }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

fn running_as_root() -> bool {
    Context::of_process().uid == 0
}

/// The only complaint.
fn complaint(outcome: Result<Loaded, Vec<Diagnostic>>) -> Diagnostic {
    let mut errors = outcome.expect_err("refused");
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

fn message(file: &Path) -> String {
    complaint(load(file, &Context::of_process())).message
}

#[test]
fn a_good_file_is_loaded() {
    let folder = folder(GOOD);
    let loaded = load(&folder.file, &Context::of_process()).expect("accepted");
    assert_eq!((loaded.project.name.as_str(), &loaded.project.file), ("shop", &folder.file));
    assert_eq!(loaded.project.processes["web"].cwd, folder.path);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
    let text = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
    assert!(load(&folder(text).file, &Context::of_process()).is_ok());
    let wrong = folder("\u{feff}nam = 1\r\nnick = 2\r\n");
    let errors = load(&wrong.file, &Context::of_process()).expect_err("refused");
    let places: Vec<_> = errors.iter().map(|error| error.place).collect();
    assert_eq!(places, [Some((1, 1)), Some((2, 1))]);
}

#[test]
fn what_is_no_config_file_is_said() {
    let folder = folder(GOOD);
    let missing = folder.path.join("missing.toml");
    assert_eq!(message(&missing), "there is no such file");
    let inner = folder.path.join("inner");
    fs::create_dir(&inner).expect("a folder");
    assert_eq!(message(&inner), "is not a regular file");
    let fifo = folder.path.join("fifo");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&fifo).status().expect("mkfifo").success());
    assert_eq!(message(&fifo), "is not a regular file", "and nobody waited for a writer");
    let large = folder.path.join("large.toml");
    fs::write(&large, "#".repeat((1 << 20) + 1)).expect("a file");
    chmod(&large, 0o600);
    assert_eq!(message(&large), "is larger than 1 MiB");
    if !running_as_root() {
        chmod(&folder.file, 0o000);
        assert_eq!(message(&folder.file), "may not be read by this user");
    }
}

#[test]
fn f32_a_file_that_group_or_others_can_write_is_refused_by_its_path() {
    let folder = folder(GOOD);
    if running_as_root() {
        // Not root's own.
        chown(&folder.file, None, Some(65_534)).expect("chown");
    }
    let by_group = running_as_root().then_some(0o620);
    for mode in by_group.into_iter().chain([0o602, 0o666]) {
        chmod(&folder.file, mode);
        let complaint = complaint(load(&folder.file, &Context::of_process()));
        let path = folder.file.display();
        assert_eq!(
            complaint.message,
            format!("{path} can be written by others than its owner (mode {mode:04o})")
        );
        assert_eq!(complaint.hint, format!("chmod go-w {path}"));
    }
    chmod(&folder.file, 0o644);
    assert!(load(&folder.file, &Context::of_process()).is_ok());
}

#[test]
fn f32_a_file_of_a_stranger_is_refused() {
    let folder = folder(GOOD);
    let mut context = Context::of_process();
    if running_as_root() {
        chown(&folder.file, Some(12_345), None).expect("chown");
    } else {
        context.uid += 1;
    }
    let complaint = complaint(load(&folder.file, &context));
    assert!(complaint.message.contains("whom provost would obey"), "{complaint}");
    assert!(
        complaint.hint.contains("or run provost as ") && !complaint.hint.contains("chown"),
        "{complaint}"
    );
}

#[test]
fn f32_as_root_the_folder_counts_too() {
    let folder = folder(GOOD);
    let root = Context { uid: 0, ..Context::of_process() };
    for mode in [0o770, 0o777, 0o1777] {
        if running_as_root() {
            chown(&folder.path, None, Some(65_534)).expect("chown");
        }
        chmod(&folder.path, mode);
        let complaint = complaint(load(&folder.file, &root));
        if running_as_root() {
            assert_eq!(complaint.hint, format!("chmod go-w {}", folder.path.display()));
        } else {
            assert!(complaint.message.contains("whom provost would obey"), "{complaint}");
        }
    }
}

#[test]
fn a_project_keeps_its_name_behind_a_link() {
    let folder = folder("[[child]]\nname = 'web'\ncommand = ['/bin/true']\n");
    let releases = folder.path.join("releases");
    fs::create_dir(&releases).expect("a folder");
    chmod(&releases, 0o700);
    fs::rename(&folder.file, releases.join("supervisor.toml")).expect("a move");
    symlink("releases", folder.path.join("current")).expect("a link");
    let loaded =
        load(&folder.path.join("current/supervisor.toml"), &Context::of_process()).expect("accepted");
    assert_eq!(loaded.project.name, "current");
    let dotted = load(&folder.path.join("current/../current/supervisor.toml"), &Context::of_process());
    assert_eq!(dotted.expect("accepted").project.name, "releases");
}

#[test]
fn a_running_project_is_found_through_a_file_that_is_broken_further_down() {
    let folder = folder("name = 'shop'\nrun_dir = '/run/shop'\nbananas = 1\n[[child]]\nnme = 'web'\n");
    let place = place_of(&folder.file, &Context::of_process()).expect("found");
    assert_eq!((place.name.as_str(), place.run_dir.as_path()), ("shop", Path::new("/run/shop")));
    assert_eq!(place.file, folder.file);
    assert!(load(&folder.file, &Context::of_process()).is_err());
    fs::write(&folder.file, "name = 'shop'\n[[child\n").expect("a file");
    let place = place_of(&folder.file, &Context::of_process()).expect("the keys above the tables are whole");
    assert_eq!(place.name, "shop");
    fs::write(&folder.file, "name = 'shop\n[[child]]\n").expect("a file");
    assert!(place_of(&folder.file, &Context::of_process()).is_err(), "these are not");
    fs::write(&folder.file, "name = 'Shop'\n").expect("a file");
    assert!(place_of(&folder.file, &Context::of_process()).is_err(), "no legal name");
}

#[test]
fn place_and_project_agree() {
    let folder = folder(GOOD);
    let context = Context::of_process();
    let project = load(&folder.file, &context).expect("accepted").project;
    let place = place_of(&folder.file, &context).expect("found");
    assert_eq!((place.name, place.run_dir, place.file), (project.name, project.run_dir, project.file));
}

#[test]
fn an_empty_variable_names_no_file() {
    let flag = Path::new("/a/x.toml");
    assert_eq!(locate(Some(flag), Some(OsStr::new(""))), Ok(flag.to_path_buf()));
    // The tests run in the crate's folder, which ships a config file.
    let shipped = locate(None, Some(OsStr::new(""))).expect("located");
    assert_eq!(shipped, std::env::current_dir().expect("a folder").join("supervisor.toml"));
}
