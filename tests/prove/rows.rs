//! The rows of the comparison between actors in one process and processes, each named after its row, each checked a
//! second time by what any user has.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::Value;

use super::support::{Launcher, Project, alive, eventually, kill, read, stat, status_number};
use super::{against, claim, found, one_process, pid, shipped, text, whole};

/// Runs it on a running launcher, for one claim.
fn attached(launcher: &Launcher, args: &[&str]) -> (Value, bool) {
    let args = [&["prove", "--attach", "--json"], args].concat();
    found(&launcher.project.provost(&args).output().unwrap())
}

/// The text a program of the system prints; `None`, with a word, where there is none.
fn printed(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            println!("not compared with {program}: {error}");
            None
        }
    }
}

/// Waits until a client has written a line about new work.
fn wait_work(launcher: &Launcher, client: &str) {
    let log = launcher.project.path(&format!("log/{client}.log"));
    let since = read(&log).len();
    eventually(&format!("{client} at work"), || {
        let at_work = |line: &str| line.contains("ops/s") && !line.contains(" 0 ops/s");
        read(&log).get(since..)?.lines().any(at_work).then_some(())
    });
}

fn identity(pid: i32) -> (i32, u64) {
    (pid, stat(pid).map_or(0, |stat| stat.start))
}

#[test]
fn s8_ps_shows_a_pid_for_each() {
    let launcher = shipped().up();
    let (proof, proven) = attached(&launcher, &["--only", "identity"]);
    assert!(proven, "{proof:#}");
    let rows = claim(&proof, "identity")["evidence"]["processes"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 6);
    assert_eq!(rows.iter().map(|row| pid(&row["pid"])).collect::<BTreeSet<_>>().len(), 6);
    for row in &rows {
        let stat = stat(pid(&row["pid"])).unwrap();
        assert_eq!(row["start_ticks"].as_u64(), Some(stat.start));
        assert_eq!((pid(&row["ppid"]), pid(&row["sid"])), (stat.ppid, stat.sid));
        if row["name"] != "keeper" {
            assert_eq!(stat.ppid, launcher.pid());
        }
        let args = ["-o", "pid=,ppid=", "-p", &row["pid"].to_string()];
        if let Some(line) = printed("ps", &args) {
            let words: Vec<i32> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
            assert_eq!(words, [pid(&row["pid"]), pid(&row["ppid"])]);
        }
    }
    assert!(against(claim(one_process(), "identity"))[0].contains("are all PID"));
}

#[test]
fn s9_a_killed_client_or_engine_dies_alone() {
    let launcher = shipped().up();
    for victim in ["client@1", "client@2", "client@3", "engine"] {
        let others: Vec<&str> = ["engine", "client@1", "client@2", "client@3"]
            .into_iter()
            .filter(|name| *name != victim)
            .collect();
        let before: Vec<_> = others.iter().map(|name| identity(launcher.pid_of(name).unwrap())).collect();
        let old = launcher.pid_of(victim).unwrap();
        kill(old, libc::SIGKILL);
        launcher.wait_new_pid(victim, old);
        let after: Vec<_> = others.iter().map(|name| identity(launcher.pid_of(name).unwrap())).collect();
        assert_eq!(before, after, "kill -9 of {victim}");
        let witness = if victim == "client@3" { "client@2" } else { "client@3" };
        wait_work(&launcher, witness);
    }
    let (proof, proven) = attached(&launcher, &["--only", "deaths", "--signal", "ABRT"]);
    assert!(proven, "{proof:#}");
    assert!(against(claim(one_process(), "deaths")).join("\n").contains("is gone too"));
}

#[test]
fn s10_ss_shows_a_pair_of_sockets_for_each_client() {
    let launcher = shipped().up();
    let (proof, proven) = attached(&launcher, &["--only", "sockets"]);
    assert!(proven, "{proof:#}");
    let seen = &claim(&proof, "sockets")["evidence"];
    let links = seen["links"].as_array().unwrap();
    assert_eq!(links.len(), 3);
    let ss = printed("ss", &["-xpH"]);
    let engine = launcher.pid_of("engine").unwrap();
    for link in links {
        let client = launcher.pid_of(link["client"].as_str().unwrap()).unwrap();
        for (end, holder) in [(&link["near"], client), (&link["far"], engine)] {
            assert_eq!(pid(&end["holders"][0]["pid"]), holder);
            let fd = pid(&end["holders"][0]["fd"]);
            let target = std::fs::read_link(format!("/proc/{holder}/fd/{fd}")).unwrap();
            assert_eq!(target.to_str(), Some(&*format!("socket:[{}]", end["inode"])));
        }
        let pair = [link["near"]["inode"].to_string(), link["far"]["inode"].to_string()];
        let shown = ss.as_ref().is_none_or(|text| {
            let line =
                |line: &str| pair.iter().all(|inode| line.split_whitespace().any(|word| word == inode));
            text.lines().any(line)
        });
        assert!(shown, "{pair:?} is not in {ss:?}");
    }
    let one = one_process();
    let seen = claim(one, "sockets");
    assert_eq!(seen["evidence"]["links"].as_array().unwrap().len(), 0, "{seen:#}");
    assert!(against(seen).join("\n").contains("both ends inside PID"), "{seen:#}");
}

#[test]
fn s11_each_has_memory_of_its_own() {
    let launcher = shipped().up();
    let (proof, proven) = attached(&launcher, &["--only", "memory"]);
    assert!(proven, "{proof:#}");
    let seen = &claim(&proof, "memory")["evidence"];
    for one in seen["uses"].as_array().unwrap() {
        let [rss, pss, private] = ["rss", "pss", "private"].map(|field| one[field].as_u64().unwrap());
        assert!(rss >= pss && pss >= private && private > 0, "{one:#}");
        assert!(status_number(pid(&one["pid"]), "VmRSS").unwrap() > 0);
    }
    assert!(seen["pairs"].as_array().unwrap().iter().all(|pair| pair["same"] == false), "{seen:#}");
    assert_eq!(seen["thread"]["same"], true);
    let steps = seen["canary"]["steps"].as_array().unwrap();
    assert_ne!(steps[0]["after"], steps[1]["after"]);
    assert!(alive(launcher.pid_of("client@1").unwrap()), "it was only padding");
    let steps = &claim(whole(), "memory")["evidence"]["canary"]["steps"];
    assert_eq!(steps[0]["address"], steps[1]["address"], "one virtual address in two processes");
    let one = one_process();
    assert!(against(claim(one, "memory")).join("\n").contains("and \"another\" was read"), "{one:#}");
}

#[test]
fn s12_each_can_sit_at_a_terminal_of_its_own() {
    let seen = &claim(whole(), "terminals")["evidence"];
    let seats = seen["seats"].as_array().unwrap();
    let ttys: BTreeSet<&str> = seats.iter().map(|seat| seat["process"]["tty"].as_str().unwrap()).collect();
    assert_eq!((seats.len(), ttys.len()), (3, 3), "{ttys:?}");
    assert_eq!(seen["hang_up"]["name"], "client@2");
    assert_eq!(seen["hang_up"]["gone_too"], Value::Array(vec![]));
    assert!(against(claim(one_process(), "terminals")).join("\n").contains("is gone with client@2"));
}

/// The two sides of the contrast.
fn contrast() -> &'static Value {
    &claim(whole(), "contrast")["evidence"]
}

#[test]
fn s13_side_by_side_only_separate_processes_have_pids_memory_and_sockets_of_their_own() {
    let seen = contrast();
    for field in ["pids", "spaces"] {
        assert_eq!((&seen["one"][field], &seen["separate"][field]), (&1.into(), &4.into()), "{seen:#}");
    }
    assert_eq!((&seen["one"]["links"], &seen["separate"]["links"]), (&0.into(), &3.into()));
    assert_eq!(seen["one"]["death"]["back_ms"], Value::Null);
    let alone = against(claim(one_process(), "contrast")).join("\n");
    assert!(!alone.is_empty());
}

#[test]
fn s14_a_call_inside_a_process_is_faster_and_both_are_measured() {
    let seen = contrast();
    let p50 = |calls: &Value| calls["p50_ns"].as_u64().unwrap();
    for (inside, between) in
        [(&seen["one"]["calls"], &seen["separate"]["calls"]), (&seen["one_core"][0], &seen["one_core"][1])]
    {
        assert!(p50(inside) > 0 && p50(inside) < p50(between), "{inside} {between}");
        assert!(
            between["p99_ns"].as_u64() >= between["p50_ns"].as_u64()
                && between["per_second"].as_u64() > Some(0)
        );
    }
}

#[test]
fn s15_they_can_run_on_different_machines() {
    assert!(against(claim(one_process(), "machines")).join("\n").contains("are all in network namespace"));
    let claim = claim(whole(), "machines");
    if let Some(why) = claim["skipped"].as_str() {
        println!("skipped: {why}");
        assert!(!nix::unistd::geteuid().is_root() || !why.contains("root"), "{claim:#}");
        return;
    }
    let seen = &claim["evidence"];
    let machines = seen["machines"].as_array().unwrap();
    let ours = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
    let mut networks: BTreeSet<u64> = machines.iter().map(|one| one["namespace"].as_u64().unwrap()).collect();
    assert!(networks.insert(ours), "nobody was in our own network: {seen:#}");
    assert_eq!((machines.len(), networks.len()), (3, 4), "{seen:#}");
    for wire in seen["wires"].as_array().unwrap() {
        assert!(text(&wire["near"]["address"]).starts_with("10.77."), "{wire:#}");
        assert_eq!(text(&wire["far"]["address"]), "10.77.0.1:4000");
    }
    let strangers = seen["strangers"].as_array().unwrap();
    assert_eq!(strangers.len(), 2);
    for stranger in strangers {
        assert!(text(&stranger["said"]).contains("not available"), "{stranger:#}");
        assert_ne!(stranger["code"], 0);
    }
    let cut = &seen["cut"];
    assert_eq!(
        (&cut["client"], &cut["received"], &cut["changed"]),
        (&"client@1".into(), &0.into(), &Value::Array(vec![]))
    );
    assert!(cut["gone_ms"].as_u64().is_some() && cut["back_ms"].as_u64().is_some(), "{cut:#}");
}

#[test]
fn s16_a_crash_of_any_kind_is_nobody_elses() {
    let crashes = [
        ("exit-0", "exit 0"),
        ("exit-1", "exit 1"),
        ("abort", "kill -ABRT $$"),
        ("segv", "kill -SEGV $$"),
        // The loader itself does not fit into that.
        ("memory-limit", "ulimit -v 200; exec tail -f /dev/null"),
    ];
    let child = |(name, script): &(&str, &str)| {
        format!("[[child]]\nname = {name:?}\ncommand = {script:?}\nshell = true\nrestart = \"temporary\"\n")
    };
    let project = Project::new(&format!(
        r#"
[[child]]
name = "engine"
command = ["reddit-engine"]
listen = [{{ name = "engine", unix = "${{RUN_DIR}}/engine.sock", mode = "0600" }}]
ready = {{ notify = true }}

[[child]]
name = "client"
command = ["reddit-client", "--engine", "${{RUN_DIR}}/engine.sock", "--users", "50"]

[[child]]
name = "hanging"
command = ["reddit-client", "--engine", "${{RUN_DIR}}/engine.sock", "--users", "50"]
{}"#,
        crashes.iter().map(child).collect::<String>()
    ));
    let launcher = project.start();
    launcher.wait_line("distinct PIDs");
    let lives = ["engine", "client"].map(|name| identity(launcher.pid_of(name).unwrap()));
    eventually("the end of all five", || {
        let history = launcher.ok(&["history"]);
        crashes.iter().all(|(name, _)| history.contains(name)).then_some(())
    });
    let hanging = launcher.pid_of("hanging").unwrap();
    kill(hanging, libc::SIGSTOP);
    wait_work(&launcher, "client");
    kill(hanging, libc::SIGCONT);
    wait_work(&launcher, "hanging");
    assert_eq!(lives, ["engine", "client"].map(|name| identity(launcher.pid_of(name).unwrap())));
}

#[test]
fn s17_a_process_costs_more_to_start_and_keep_and_both_are_measured() {
    let seen = contrast();
    let [task, process] = ["one", "separate"].map(|side| seen[side]["start_ns"].as_u64().unwrap());
    assert!(task > 0 && task < process, "{task} ns a task, {process} ns a process");
    let [one, separate] = ["one", "separate"].map(|side| seen[side]["pss"].as_u64().unwrap());
    assert!(one > 0 && separate > one, "{one} B in one process, {separate} B in four");
}

#[test]
fn s21_one_command_shows_both_halves_and_its_exit_code_is_the_verdict() {
    let seen = contrast();
    let alive_after = |side: &str| {
        let after = seen[side]["death"]["after"].as_array().unwrap().clone();
        after.iter().filter(|life| life["pid"] != Value::Null).count()
    };
    assert_eq!(alive_after("one"), 0, "kill -9 of one client took all: {seen:#}");
    assert_eq!(alive_after("separate"), 6, "kill -9 of one client took only that: {seen:#}");
    let claims = one_process()["claims"].as_array().unwrap();
    assert!(claims.len() == 7 && claims.iter().all(|claim| claim["proven"] == false), "{claims:#?}");
}
