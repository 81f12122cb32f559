//! As a user runs it.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use super::support::{NOBODY, alive, eventually, kill, stat};
use super::{claim, found, pid, prove_in, shipped, temporary};

const CLAIMS: [&str; 7] = ["identity", "sockets", "memory", "deaths", "terminals", "machines", "contrast"];

#[test]
fn the_shipped_project_is_proven_and_nothing_of_it_is_left() {
    let dir = temporary();
    let output = prove_in(&dir, &["--json"]).output().unwrap();
    let (proof, proven) = found(&output);
    assert!(proven, "{proof:#}");
    for name in CLAIMS {
        let claim = claim(&proof, name);
        if let (Some(why), "machines") = (claim["skipped"].as_str(), name) {
            println!("machines skipped: {why}");
            continue;
        }
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
fn interrupted_it_leaves_nothing() {
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let dir = temporary();
        let mut command = prove_in(&dir, &["--only", "deaths"]);
        // A group of its own, as at a terminal: the signal of the test goes to it alone.
        let mut process = command.stdout(Stdio::null()).process_group(0).spawn().unwrap();
        let own = process.id().cast_signed();
        let launcher = eventually("the launcher", || {
            let found = std::fs::read_dir(dir.path()).unwrap().next()?.unwrap().path();
            let run = std::fs::read_dir(found).ok()?.find_map(|entry| {
                let socket = entry.ok()?.path().join("run/control.sock");
                socket.exists().then_some(socket)
            });
            run.and_then(|_| children(own).first().copied())
        });
        let below: Vec<i32> = children(launcher);
        kill(own, signal);
        assert_eq!(process.wait().unwrap().code(), Some(code));
        for pid in below.into_iter().chain([launcher]) {
            eventually("the end of all", || (!alive(pid)).then_some(()));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the temporary directory is empty");
    }
}

fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
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
