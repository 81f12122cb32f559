//! The layer table: who may import whom, where `unsafe` may stand, and that no test sleeps.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of `src/` and the folders it may name as `crate::...`.
const LAYERS: &[(&str, &[&str])] = &[
    ("rules", &["rules"]),
    ("os", &["os"]),
    ("keeper", &["keeper", "os"]),
    // Of `os`, only the one list of signals and that of resource limits: see `config_takes_only_names_from_os`.
    ("config", &["config", "rules", "os"]),
    ("capture", &["capture", "os"]),
    // It streams logs and answers questions about them with the same reader as the verb.
    ("control", &["control", "os", "rules", "capture"]),
    ("runtime", &["runtime", "rules", "os", "capture", "config", "control", "keeper"]),
    // Of `os`, only what holds a process, watches a descriptor, makes a private folder and tells whose one is: see `node_takes_little_from_os`.
    ("node", &["node", "os"]),
    ("reddit", &["reddit", "node"]),
    // Of `control` only its client, and of `rules` the phases that it tells.
    ("proof", &["proof", "control", "os", "rules"]),
    // `logs` reads the files themselves, because they outlive the launcher; `names` is a node, which the launcher is not,
    // and `certs` must write what nodes read.
    ("cli", &["cli", "node", "proof", "control", "os", "config", "keeper", "runtime", "rules", "capture"]),
];

/// Of `cli`, only the entry points of the launcher's own processes may reach below the control API.
const CLI_ENTRY_POINTS: &[&str] = &["up.rs", "leftovers.rs", "enforcement.rs", "supervise.rs", "console.rs"];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The code of a file without comments: a doc link to another layer is not a use of it.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every `crate::NAME` in the code, groups (`crate::{a, b::c}`) included.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut name)),
                    _ if depth == 0 => name.push(letter),
                    _ => {}
                }
            }
            found.push(name);
        } else {
            found.push(rest.to_owned());
        }
    }
    let first = |text: &String| -> String {
        text.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
    };
    found.iter().map(first).filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_folder_is_a_layer() {
    let known: Vec<&str> = LAYERS.iter().map(|(layer, _)| *layer).chain(["bin"]).collect();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(!entry.path().is_dir() || known.contains(&name.as_str()), "src/{name} is in no layer");
    }
}

#[test]
fn layers_import_only_what_they_may() {
    let mut seen = 0;
    for (layer, allowed) in LAYERS {
        for file in rust_files(&root().join("src").join(layer)) {
            for name in imports(&code(&file)) {
                let is_layer = LAYERS.iter().any(|(layer, _)| *layer == name);
                seen += usize::from(is_layer);
                assert!(!is_layer || allowed.contains(&name.as_str()), "{} uses {name}", file.display());
            }
        }
    }
    assert!(seen > 50, "the search found only {seen} imports: it has gone blind");
}

#[test]
fn only_entry_points_of_cli_reach_below_the_api() {
    for file in rust_files(&root().join("src/cli")) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let below =
            imports(&code(&file)).into_iter().find(|name| ["keeper", "runtime"].contains(&name.as_str()));
        assert!(
            below.is_none() || CLI_ENTRY_POINTS.contains(&name.as_str()),
            "{name} uses {}",
            below.unwrap()
        );
    }
}

#[test]
fn config_takes_only_names_from_os() {
    for file in rust_files(&root().join("src/config")) {
        let code = code(&file);
        let uses = code.split("crate::os").skip(1);
        assert!(
            uses.clone().all(|rest| rest.starts_with("::signals") || rest.starts_with("::limits::Rlimit")),
            "{} uses os",
            file.display()
        );
    }
}

#[test]
fn node_takes_little_from_os() {
    for file in rust_files(&root().join("src/node")) {
        let code = code(&file);
        let allowed = ["::rundir", "::trust", "::{pidfd, watch}"];
        let sound = |rest: &str| allowed.iter().any(|allowed| rest.starts_with(allowed));
        assert!(code.split("crate::os").skip(1).all(sound), "{} uses os", file.display());
    }
}

#[test]
fn suggestions_use_nothing_of_ours() {
    assert_eq!(imports(&code(&root().join("src/suggest.rs"))), Vec::<String>::new());
}

#[test]
fn rules_are_pure() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::thread",
        "std::os",
        "std::io",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "tokio",
        "nix::",
        "libc",
        "tracing",
        "println",
        "use rand",
        "unsafe ",
        "async ",
    ];
    for file in rust_files(&root().join("src/rules")) {
        let code = code(&file);
        for word in forbidden {
            assert!(!code.contains(word), "{} says {word:?}", file.display());
        }
    }
    assert!(fs::read_to_string(root().join("src/rules/mod.rs")).unwrap().contains("#![forbid(unsafe_code)]"));
}

#[test]
fn the_payload_does_not_know_its_supervisor() {
    for file in ["src/bin/reddit-engine.rs", "src/bin/reddit-client.rs"] {
        let code = code(&root().join(file));
        for layer in ["rules", "os", "keeper", "runtime", "config", "control", "cli", "capture"] {
            assert!(!code.contains(&format!("provost::{layer}")), "{file} uses {layer}");
        }
    }
}

#[test]
fn the_keeper_does_without_tokio() {
    for file in rust_files(&root().join("src/keeper")) {
        assert!(!code(&file).contains("tokio"), "{} uses tokio", file.display());
    }
}

#[test]
fn unsafe_stands_only_in_os() {
    for file in rust_files(&root().join("src")) {
        let inside = file.strip_prefix(root().join("src")).unwrap().starts_with("os");
        let code = code(&file);
        let says = code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
        assert!(inside || !says, "{} says unsafe", file.display());
    }
}

#[test]
fn no_test_sleeps() {
    let word = ["::sle", "ep("].concat();
    for file in rust_files(&root().join("tests")) {
        let code = code(&file);
        let found = code.lines().find(|line| line.contains(&word) && !line.contains('"'));
        assert!(found.is_none(), "{}: {}", file.display(), found.unwrap());
    }
}

/// `cli::print` and `cli::say` make text fit for a terminal; nothing goes round them.
#[test]
fn verbs_print_by_one_way() {
    let ways = ["print!(", "println!(", "eprint!(", "eprintln!(", "stdout().lock()", "stderr().lock()"];
    for file in rust_files(&root().join("src/cli")) {
        let code = code(&file);
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        let found = ways.iter().find(|way| code.contains(**way));
        assert!(
            found.is_none() || file.ends_with("cli/mod.rs"),
            "{} uses {}",
            file.display(),
            found.unwrap()
        );
    }
}

#[test]
fn every_test_that_a_document_names_exists() {
    let sources: String = ["src", "tests"]
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let document = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let paragraphs = document.split("\n\n").filter_map(|paragraph| paragraph.strip_prefix("Tests: "));
    let named: Vec<&str> = paragraphs.flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 40, "the search found only {}", named.len());
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}
