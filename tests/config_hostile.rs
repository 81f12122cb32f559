//! Whatever a file holds, it is accepted or refused with places that lie in it; nothing panics and nothing hangs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use provost::config::{Context, Diagnostic, load, parse};

const GOOD: [&str; 3] = [
    include_str!("config/good/every_key.toml"),
    include_str!("config/good/unwise.toml"),
    include_str!("../supervisor.toml"),
];

/// Words that mean something, in any order: gets further into the reader than random bytes.
const WORDS: [&str; 41] = [
    "[[child]]\n",
    "[supervisor]\n",
    "name",
    "type",
    "parent",
    "command",
    "shell",
    "instances",
    "shutdown",
    "ready",
    "listen",
    "log",
    "backoff",
    "env",
    "strategy",
    "period",
    " = ",
    "\"a\"",
    "\"b\"",
    "\"supervisor\"",
    "\"oneshot\"",
    "\"simple_one_for_one\"",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "\n",
    "1000",
    "-1",
    "1.5",
    "true",
    "\"5s\"",
    "\"infinity\"",
    "\"${NAME}\"",
    "\"${\"",
    "\"${a\\tb\\n}\"",
    "\"$${x}\"",
    "signal",
    "wait",
    "9999999999999999999999",
];

fn check(text: &str) -> Result<(), TestCaseError> {
    let context = Context { uid: 1000, ..Context::default() };
    match parse(Path::new("/srv/app/supervisor.toml"), text, &context) {
        Ok(loaded) => {
            let bytes = postcard::to_stdvec(&loaded.project).expect("a project fits into the journal");
            prop_assert_eq!(postcard::from_bytes(&bytes), Ok(loaded.project));
            in_the_file(text, &loaded.warnings)
        }
        Err(errors) => {
            prop_assert!(!errors.is_empty());
            in_the_file(text, &errors)
        }
    }
}

fn in_the_file(text: &str, diagnostics: &[Diagnostic]) -> Result<(), TestCaseError> {
    let lines = text.split('\n').count();
    for diagnostic in diagnostics {
        let (line, column) = diagnostic.place.unwrap_or((1, 1));
        prop_assert!((1..=lines).contains(&line), "{diagnostic}");
        let length = text.split('\n').nth(line - 1).map_or(0, |line| line.chars().count());
        prop_assert!((1..=length + 1).contains(&column), "{diagnostic}");
        prop_assert!(!diagnostic.message.chars().any(char::is_control), "{diagnostic:?}");
        prop_assert!(!diagnostic.hint.chars().any(char::is_control), "{diagnostic:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn arbitrary_sentences_are_judged(words in proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..80)) {
        check(&words.concat())?;
    }

    #[test]
    fn good_files_with_a_piece_replaced_are_judged(
        which in 0..GOOD.len(),
        from in any::<proptest::sample::Index>(),
        length in 0..40_usize,
        piece in "\\PC{0,12}|[\\[\\]{}=\"'\n.$]{0,6}",
    ) {
        let mut characters: Vec<char> = GOOD[which].chars().collect();
        let from = from.index(characters.len());
        let to = (from + length).min(characters.len());
        characters.splice(from..to, piece.chars());
        check(&characters.iter().collect::<String>())?;
    }
}

#[test]
fn files_made_to_exhaust_are_refused() {
    let nested: String = (0..5_000)
        .map(|i| format!("[[child]]\nname = 's{}'\ntype = 'supervisor'\nparent = 's{i}'\n", i + 1))
        .collect();
    let dotted_key = "a.".repeat(200_000) + "b = 1";
    let many_processes: String = (0..1_000)
        .map(|i| format!("[[child]]\nname = 'c{i}'\ncommand = ['/x']\ninstances = 1000\n"))
        .collect();
    for text in [
        "[".repeat(500_000),
        format!("x = {}", "[".repeat(500_000)),
        format!("x = {}", "{a=".repeat(200_000)),
        dotted_key,
        "=\n".repeat(300_000),
        format!("x = [{}", "=".repeat(300_000)),
        format!("[[child]]\nname = 's0'\ntype = 'supervisor'\n{nested}"),
        many_processes,
        (0..100_000).map(|i| format!("k{i}=1\n")).collect(),
    ] {
        let errors = parse(Path::new("/x.toml"), &text, &Context::default()).expect_err("refused");
        assert!(errors.len() <= 101, "{} complaints", errors.len());
    }
}

#[test]
fn a_file_of_arbitrary_bytes_is_refused_with_the_place_of_the_first_that_is_not_utf8() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("supervisor.toml");
    fs::write(&file, b"name = \"x\"\n# \xc3\xa9 \xff\n").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
    let errors = load(&file, &Context::of_process()).expect_err("refused");
    assert_eq!(errors[0].place, Some((2, 5)));
    assert_eq!(errors[0].message, "this byte is not UTF-8");
}
