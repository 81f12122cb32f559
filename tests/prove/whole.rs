//! As a user runs it.

use std::os::unix::process::CommandExt;

use super::support::{NOBODY, alive, stat};
use super::{claim, found, pid, prove_in, shipped, temporary};

const CLAIMS: [&str; 6] = ["identity", "sockets", "memory", "deaths", "terminals", "contrast"];

#[test]
fn the_shipped_project_is_proven_and_nothing_of_it_is_left() {
    let dir = temporary();
    let output = prove_in(&dir, &["--json"]).output().unwrap();
    let (proof, proven) = found(&output);
    assert!(proven, "{proof:#}");
    for name in CLAIMS {
        let claim = claim(&proof, name);
        assert_eq!(claim["proven"], true, "{claim:#}");
        assert!(!claim["by_hand"].as_array().unwrap().is_empty(), "{claim:#}");
    }
    let seen = &claim(&proof, "identity")["evidence"]["processes"];
    for row in seen.as_array().unwrap() {
        // A number may belong to somebody else by now.
        let same = stat(pid(&row["pid"])).is_some_and(|stat| Some(stat.start) == row["start_ticks"].as_u64());
        assert!(!same || !alive(pid(&row["pid"])), "{row:#} is left");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the temporary directory is empty");
}

#[test]
fn the_text_fits_eighty_columns_and_the_page_stands_alone() {
    let dir = temporary();
    let page = dir.path().join("page.html");
    let output = prove_in(&dir, &["--report", page.to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
    for words in [
        if text.contains("SKIPPED: ") { "6 of 7 claims proven" } else { "7 of 7 claims proven" },
        "$ ps -o ",
        "$ ss -xp",
        "$ kill -9 ",
        "smaps_rollup",
        "reddit-engine --listen",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("<section>").count(), 7);
    assert_eq!(page.matches("<svg").count(), 3, "memory, who lived when, latency");
    for outside in ["http", "<script", "<link", "<img", "url("] {
        assert!(!page.contains(outside), "the page needs nothing else: {outside}");
    }
    assert!(!text.contains("NO   ") && !text.contains("NOT PROVEN"), "{text}");
}

#[test]
fn a_user_without_rights_can_prove_it() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become another user; the other tests ran as one already");
        return;
    }
    let dir = temporary();
    std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let output = prove_in(
        &dir,
        &["--json", "--only", "identity", "--only", "sockets", "--only", "memory", "--only", "deaths"],
    )
    .uid(NOBODY)
    .gid(NOBODY)
    .output()
    .unwrap();
    let (proof, proven) = found(&output);
    assert!(proven, "{proof:#}");
}

#[test]
fn a_running_launcher_is_examined_and_goes_on() {
    let launcher = shipped().up();
    let output = launcher
        .project
        .provost(&["prove", "--attach", "--json", "--only", "identity", "--only", "deaths"])
        .output()
        .unwrap();
    let (proof, proven) = found(&output);
    assert!(proven, "{proof:#}");
    let keeper = &claim(&proof, "identity")["evidence"]["processes"][0];
    assert_eq!((pid(&keeper["pid"]), keeper["name"].as_str()), (launcher.pid(), Some("keeper")));
    assert_eq!(launcher.json("tree")["project"], launcher.json("ps")["project"]);
    assert!(alive(launcher.pid()));
}

#[test]
fn without_a_launcher_there_is_nothing_to_attach_to() {
    let project = shipped();
    let output = project.run(&["prove", "--attach"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

#[test]
fn one_claim_alone_can_be_asked_for() {
    let dir = temporary();
    let (proof, proven) = found(&prove_in(&dir, &["--only", "identity", "--json"]).output().unwrap());
    assert!(proven && proof["claims"].as_array().unwrap().len() == 1, "{proof:#}");
}
