//! Config files and what is said about them: every `tests/config/bad/*.toml` with exactly the complaints in the `.txt`
//! beside it, every `tests/config/good/*.toml` with exactly the warnings beside it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use provost::config::{Context, Diagnostic, Loaded, parse};

/// An ordinary user with a home, whose PATH holds nothing.
fn context() -> Context {
    let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    Context {
        env: [
            variable("HOME", "/home/ann"),
            variable("XDG_RUNTIME_DIR", "/run/user/1000"),
            variable("PATH", "/nowhere/bin"),
        ]
        .into(),
        uid: 1000,
        sudo_uid: None,
        beside: Some("/opt/provost".into()),
    }
}

fn parsed(text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    parse(Path::new("/srv/app/supervisor.toml"), text, &context())
}

fn said(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| format!("{diagnostic}\n").replace("/srv/app/supervisor.toml", ""))
        .collect()
}

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let entries = fs::read_dir(&folder).expect("the folder of fixtures");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no fixtures in {}", folder.display());
    files
}

/// Compares all fixtures before it fails, so that one run shows every difference.
fn compare(folder: &str, saying: impl Fn(&str) -> String) {
    let mut different = String::new();
    for file in fixtures(folder) {
        let text = fs::read_to_string(&file).expect("a fixture");
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap_or_default();
        let said = saying(&text);
        if said != expected {
            different += &format!("{}\n--- expected\n{expected}--- said\n{said}\n", file.display());
        }
    }
    assert!(different.is_empty(), "{different}");
}

#[test]
fn bad_files_are_refused_with_every_complaint_in_its_place() {
    compare("bad", |text| match parsed(text) {
        Ok(_) => "accepted\n".into(),
        Err(errors) => said(&errors),
    });
}

#[test]
fn good_files_are_accepted_with_their_warnings() {
    compare("good", |text| match parsed(text) {
        Ok(loaded) => said(&loaded.warnings),
        Err(errors) => format!("refused:\n{}", said(&errors)),
    });
}
