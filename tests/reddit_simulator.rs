//! Simulated users against real engines: the same again from the same seed, every write once whatever is lost, honest
//! latencies, reports that add up.

mod payload;

use std::fs;
use std::io::Read;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use payload::{CLIENT, ENGINE, Place, Process, ask, place, stats};
use serde_json::Value;

impl Place {
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// An engine with a store.
    fn keeper(&self, options: &[&str]) -> Process {
        let mut command = Command::new(ENGINE);
        command.arg("--listen").arg(&self.socket).args(["--store", &self.path("store")]).args(options);
        let mut engine = Process::start(&mut command);
        engine.wait_for("listening on");
        engine
    }

    /// Stops the engine and checks its store against these ledgers.
    fn check(&self, mut engine: Process, ledgers: &[&str]) -> Output {
        engine.signal(Signal::SIGTERM);
        assert_eq!(engine.wait().code(), Some(0), "{:?}", engine.seen);
        let mut command = Command::new(ENGINE);
        command.args(["check", "--json", "--store", &self.path("store"), "--ledger"]);
        command.args(ledgers.iter().map(|ledger| self.path(ledger)));
        command.output().unwrap()
    }

    /// What the checker says of these ledgers, which must be right.
    fn account(&self, engine: Process, ledgers: &[&str]) -> Value {
        let checked = self.check(engine, ledgers);
        let told = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.status.success(), "{told} {}", String::from_utf8_lossy(&checked.stderr));
        serde_json::from_str::<Value>(&told).unwrap()["ledgers"].clone()
    }

    fn report(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }
}

/// A client that ends by itself; everything it said.
fn finished(mut client: Process) -> Vec<String> {
    assert_eq!(client.wait().code(), Some(0), "{:#?}", client.seen);
    std::mem::take(&mut client.seen)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn the_same_seed_makes_the_same_requests_and_the_same_tables() {
    let run = |seed: &str, more: &[&str]| {
        let place = place();
        let _engine = place.keeper(&["--lockstep"]);
        let (trace, report) = (place.path("trace"), place.path("report"));
        let options =
            ["--lockstep", "--actions", "1500", "--seed", seed, "--trace", &trace, "--report-json", &report];
        let said = finished(Process::client(
            &place.socket,
            "client@1",
            &[&options[..], &["--time-scale", "0.02", "--rate", "1000"], more].concat(),
        ));
        let hash = said.iter().find_map(|line| Some(line.split_once("hash ")?.1.to_owned())).unwrap();
        let report = place.report("report");
        for kind in ["feed", "vote", "comment", "post", "repost", "thread", "message", "login", "logout"] {
            assert!(report["actions"][kind].is_array(), "no {kind} in {report}");
        }
        let client = &report["clients"][0];
        assert_eq!(client["trace"]["hash"], *hash);
        let fingerprint = client["fingerprint"].as_str().unwrap().to_owned();
        (fs::read_to_string(trace).unwrap(), hash, fingerprint)
    };
    let first = run("7", &[]);
    assert_eq!(first, run("7", &["--think", "1h"]), "nobody thinks where no time passes");
    let other = run("8", &[]);
    assert!(first.0 != other.0 && first.1 != other.1 && first.2 != other.2);
}

#[test]
fn lost_connections_lose_and_double_nothing() {
    let place = place();
    let engine = place.keeper(&[]);
    let (ledger, report) = (place.path("ledger"), place.path("report"));
    let client = Process::client(
        &place.socket,
        "client@1",
        &[
            "--rate",
            "0",
            "--duration",
            "3s",
            "--drop-every",
            "300ms",
            "--time-scale",
            "0.02",
            "--ledger",
            &ledger,
            "--report-json",
            &report,
        ],
    );
    let said = finished(client);
    let client = &place.report("report")["clients"][0];
    assert!(number(&client["reconnects"]) > 0, "{said:#?}");
    let outages = client["outages"].as_array().unwrap();
    assert!(!outages.is_empty() && outages.iter().all(|outage| outage["engine_ended"] == false), "{said:#?}");
    assert!(said.last().unwrap().contains("errors 0"), "{said:#?}");
    let account = place.account(engine, &["ledger"]);
    assert!(number(&account["acknowledged"]) > 100, "{account}");
    // Only what was in flight when it stopped can have gone unread: it asks again for everything else.
    assert!(number(&account["unread"]) <= 16, "{account}");
}

#[test]
fn a_client_that_is_killed_goes_on_in_its_ledger() {
    let place = place();
    let engine = place.keeper(&[]);
    let ledger = place.path("ledger");
    let options = ["--rate", "0", "--ledger", &ledger];
    let mut client = Process::client(&place.socket, "client@1", &options);
    client.wait_for("ops/s");
    client.child.kill().unwrap();
    client.child.wait().unwrap();
    let before = fs::metadata(&ledger).unwrap().len();
    finished(Process::client(&place.socket, "client@1", &[&options[..], &["--actions", "500"]].concat()));
    assert!(fs::metadata(&ledger).unwrap().len() > before);
    place.account(engine, &["ledger"]);
}

#[test]
fn what_is_in_a_ledger_and_not_in_the_store_is_found() {
    let place = place();
    let engine = place.keeper(&[]);
    let ledger = place.path("ledger");
    let options = ["--rate", "0", "--actions", "300", "--ledger", &ledger];
    finished(Process::client(&place.socket, "client@1", &options));
    let text = fs::read_to_string(&ledger).unwrap();
    let post = text.lines().find(|line| line.contains("\"post\"")).unwrap();
    let mut invented: Value = serde_json::from_str(post).unwrap();
    invented["op"]["number"] = 1_000_000.into();
    fs::write(&ledger, format!("{text}{invented}\n")).unwrap();
    let checked = place.check(engine, &["ledger"]);
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{told}");
    assert!(told.starts_with("I14 does not hold: acknowledged and not there: operation "), "{told}");
}

#[test]
fn an_open_loop_tells_how_late_actions_were_and_not_only_how_long_they_took() {
    let place = place();
    let engine = place.keeper(&[]);
    let report = place.path("report");
    let mut client = Process::client(
        &place.socket,
        "client@1",
        &["--rate", "200", "--depth", "4", "--report-json", &report],
    );
    client.wait_for("ops/s");
    engine.signal(Signal::SIGSTOP);
    let until = Instant::now() + Duration::from_secs(1);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    engine.signal(Signal::SIGCONT);
    client.wait_for("ops/s");
    client.wait_for("ops/s");
    client.signal(Signal::SIGTERM);
    let said = finished(client);
    let report = place.report("report");
    // In that second 200 actions should have begun; at most 4 were in flight, and a closed loop would tell of those.
    let actions = report["actions"].as_object().unwrap();
    let latencies = actions.values().flat_map(|kind| kind.as_array().unwrap());
    let late: u64 = latencies.filter(|pair| number(&pair[0]) > 200_000).map(|pair| number(&pair[1])).sum();
    assert!(late >= 50, "{late}: {said:#?}");
}

#[test]
fn reports_of_several_clients_add_up_to_one_page() {
    let place = place();
    let engine = place.keeper(&[]);
    let names = ["client@1", "client@2"];
    let reports = names.map(|name| place.path(name));
    let clients = [0, 1].map(|at| {
        let options = ["--rate", "0", "--duration", "1500ms", "--warm-up", "200ms", "--report-json"];
        Process::client(&place.socket, names[at], &[&options[..], &[&reports[at]]].concat())
    });
    for client in clients {
        let said = finished(client).join("\n");
        for part in [
            "p99.9 ms",
            "members by rank: slope",
            "turns",
            "groups",
            "us a request",
            "for 1,000 users",
            "bytes an action",
            "online",
        ] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
    let tell = |options: &[&str]| {
        let told = Command::new(CLIENT).arg("report").args(&reports).args(options).output().unwrap();
        assert!(told.status.success(), "{told:?}");
        String::from_utf8(told.stdout).unwrap()
    };
    let both: Value = serde_json::from_str(&tell(&["--json"])).unwrap();
    let count = |report: &Value, kind: &str| -> u64 {
        report["actions"][kind].as_array().unwrap().iter().map(|pair| number(&pair[1])).sum()
    };
    let each = names.map(|name| place.report(name));
    assert_eq!(count(&both, "feed"), each.iter().map(|report| count(report, "feed")).sum::<u64>());
    for client in both["clients"].as_array().unwrap() {
        let seen = &client["engines"][0];
        assert_eq!(number(&seen["pid"]), u64::from(engine.child.id()));
        assert!((1..=number(&seen["records"])).contains(&number(&seen["groups"])), "{seen}");
        assert_eq!(number(&seen["syncs"]), 0, "it was not told to wait for the disk");
        // A request and its reply have at least their headers.
        let (sent, received) = (number(&client["sent_bytes"]), number(&client["received_bytes"]));
        assert!(sent.min(received) > 8 * number(&client["acknowledged"]), "{client}");
    }
    let page = place.path("page.html");
    assert!(tell(&["--html", &page]).contains("2 clients: "));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("client@1, client@2") && page.contains("bytes an action"));
    let twice = Command::new(CLIENT).args(["report", &reports[0], &reports[0]]).output().unwrap();
    assert_eq!(twice.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&twice.stderr).contains("client@1 (pid"), "{twice:?}");
}

#[test]
fn every_mix_does_what_it_says() {
    let share = |report: &Value, kinds: &[&str]| {
        let count =
            |kind: &Value| -> u64 { kind.as_array().unwrap().iter().map(|pair| number(&pair[1])).sum() };
        let actions = report["actions"].as_object().unwrap();
        let all: u64 = actions.values().map(count).sum();
        let these: u64 =
            actions.iter().filter(|(kind, _)| kinds.contains(&kind.as_str())).map(|(_, of)| count(of)).sum();
        100 * these / all
    };
    // What each does more of than the others; wishes for which there is nothing yet become looks at the feed.
    for (mix, kinds, least) in [
        ("read-heavy", &["feed", "vote"][..], 50),
        ("sheet", &["join", "leave", "message", "reply"][..], 15),
        ("post-flood", &["post", "repost", "message", "reply"][..], 35),
    ] {
        let place = place();
        let _engine = place.keeper(&[]);
        let report = place.path("report");
        let options = ["--rate", "0", "--actions", "4000", "--mix", mix, "--report-json", &report];
        finished(Process::client(&place.socket, "client@1", &options));
        let report = place.report("report");
        let found = share(&report, kinds);
        assert!(found >= least, "{mix}: {found} % of {report}");
        assert_eq!(report["clients"][0]["mix"], mix);
    }
}

/// Who thinks for weeks acts once, whatever the time allows.
#[test]
fn users_who_think_act_less() {
    let place = place();
    let _engine = place.keeper(&[]);
    let report = place.path("report");
    let options = ["--think", "1000h", "--text-scale", "40", "--duration", "2s", "--report-json", &report];
    let said = finished(Process::client(&place.socket, "client@1", &options)).join("\n");
    assert!(said.contains("16 in flight, thinking 3600000 s on average, texts 40 times as long"), "{said}");
    let client = &place.report("report")["clients"][0];
    let done = number(&client["acknowledged"]);
    // 50 users; the few who come meanwhile also log in and read two lists.
    assert!((1..=200).contains(&done), "{done}: {said}");
    assert!(said.contains("no request was refused"), "{said}");
    // Fewer than 40 are there at first, and more than may act in flight: who waits for somebody to be free and need not any
    // more does not wait for ever.
    let options = ["--think", "1000h", "--actions", "40", "--depth", "50", "--time-scale", "0.02"];
    finished(Process::client(&place.socket, "client@1", &options));
    let both = ["--think", "1s", "--rate", "5"];
    let refused = Command::new(CLIENT).args(both).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("does not go together with --rate above 0"));
}

#[test]
fn each_life_of_the_engine_and_its_end_are_in_the_report() {
    let place = place();
    let mut engine = place.keeper(&[]);
    let report = place.path("report");
    let mut client = Process::client(&place.socket, "client@1", &["--rate", "0", "--report-json", &report]);
    client.wait_for("ops/s");
    engine.child.kill().unwrap();
    engine.wait();
    client.wait_for("looking for it again");
    let engine = place.keeper(&["--durability", "power"]);
    client.wait_for("reconnects 1");
    client.wait_for("reconnects 1");
    client.signal(Signal::SIGTERM);
    let said = finished(client).join("\n");
    let client = &place.report("report")["clients"][0];
    let lives = client["engines"].as_array().unwrap();
    let last = lives.last().unwrap();
    assert_eq!(number(&last["pid"]), u64::from(engine.child.id()), "{said}");
    assert!(number(&last["groups"]) > 0, "{said}");
    assert_eq!(last["syncs"], last["groups"], "every group waited for the disk: {said}");
    let ended = |outage: &Value| outage["engine_ended"] == true;
    assert!(client["outages"].as_array().unwrap().iter().any(ended), "{said}");
    assert!(said.contains("when the engine ended without an answer for "), "{said}");
    let counted =
        Command::new(ENGINE).args(["stats", "--json", "--engine"]).arg(&place.socket).output().unwrap();
    let counted: Value = serde_json::from_slice(&counted.stdout).unwrap();
    assert_eq!(number(&counted["pid"]), u64::from(engine.child.id()));
    assert!(number(&counted["groups"]) >= number(&last["groups"]), "{counted}");
}

#[test]
fn the_verdict_of_the_checker_stands_in_the_report() {
    let place = place();
    let mut engine = place.keeper(&[]);
    let [ledger, report, store] = ["ledger", "report", "store"].map(|name| place.path(name));
    let options = ["--rate", "0", "--actions", "300", "--ledger", &ledger, "--report-json", &report];
    finished(Process::client(&place.socket, "client@1", &options));
    engine.signal(Signal::SIGTERM);
    engine.wait();
    let tell = |more: &[&str]| {
        let words = ["report", &report, "--store", &store, "--ledger", &ledger];
        let told = Command::new(CLIENT).args(words).args(more).output().unwrap();
        (told.status.code(), String::from_utf8(told.stdout).unwrap())
    };
    let (code, told) = tell(&["--json"]);
    let check = &serde_json::from_str::<Value>(&told).unwrap()["check"];
    assert_eq!((code, &check["violation"]), (Some(0), &Value::Null), "{told}");
    assert!(number(&check["acknowledged"]) > 100 && number(&check["records"]) > 100, "{told}");
    let (_, told) = tell(&[]);
    assert!(
        told.contains("check: I1 I2 ") && told.contains(" acknowledged operations are there, each once"),
        "{told}"
    );
    let text = fs::read_to_string(&ledger).unwrap();
    let mut invented: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    invented["op"]["number"] = 1_000_000.into();
    fs::write(&ledger, format!("{text}{invented}\n")).unwrap();
    let (code, told) = tell(&[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("check: I14 does not hold: acknowledged and not there"), "{told}");
}

#[test]
fn who_watches_a_terminal_sees_a_bar() {
    let place = place();
    let _engine = place.keeper(&[]);
    let mut command = Command::new(CLIENT);
    command.arg("--engine").arg(&place.socket).args(["--name", "client@1", "--users", "20"]);
    command.args(["--duration", "3s"]).env_remove("RUST_LOG");
    let mut seat = provost::os::command::on_own_terminal(&mut command).unwrap();
    let mut shown = Vec::new();
    // A terminal whose process has ended is an error and not an end.
    let _ = seat.screen.read_to_end(&mut shown);
    assert!(seat.child.wait().unwrap().success());
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(shown.contains("\u{1b}[2K[") && shown.contains("of 3 s"), "{shown}");
    assert!(shown.contains("client@1 (pid") && shown.contains(" actions in "), "{shown}");
}

#[test]
fn files_that_cannot_be_written_are_told_before_anything_is_done() {
    let place = place();
    let nowhere = place.path("none/file");
    for (option, text) in [("--ledger", "the ledger cannot be opened"), ("--trace", "the trace cannot be")] {
        let mut client = Process::client(&place.socket, "client@1", &[option, &nowhere]);
        assert_eq!(client.wait().code(), Some(74));
        assert_eq!(client.count(text), 1, "{:?}", client.seen);
    }
}

/// "Keep THIS OS process alive": an engine without clients lives and does nothing.
#[test]
fn s18_idle_engine() {
    const WINDOW: Duration = Duration::from_secs(3);
    let place = place();
    let mut engine = place.keeper(&[]);
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", engine.child.id())).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    let until = Instant::now() + WINDOW;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    // Its own processor time, which no other process can add to: in hundredths of a second, so 1 % are 3.
    let used = ticks() - before;
    assert!(used <= 3, "{used} ticks in {WINDOW:?}");
    assert!(engine.child.try_wait().unwrap().is_none(), "it ended");
    assert_eq!(ask(&place.socket, async |engine| stats(&engine).await.users), 0);
}

/// "Three OS processes": thousands of users in four client processes, all at one engine.
#[test]
fn s20_scale() {
    let place = place();
    let engine = place.keeper(&[]);
    let names = ["client@1", "client@2", "client@3", "client@4"];
    let mut clients = names.map(|name| {
        let (ledger, report) = (place.path(&format!("{name}.ledger")), place.path(name));
        let options = ["--rate", "0", "--users", "2500", "--joins", "1", "--ledger", &ledger];
        let mut command = Command::new(CLIENT);
        command.arg("--engine").arg(&place.socket).args(["--name", name]).args(options);
        Process::start(command.args(["--report-json", &report]))
    });
    for client in &mut clients {
        client.wait_for("2,500 users, 200 subreddits");
        client.wait_for("ops/s");
    }
    let seen = ask(&place.socket, async |engine| stats(&engine).await);
    assert_eq!((seen.users, seen.subreddits), (10_000, 200));
    for client in &mut clients {
        client.signal(Signal::SIGTERM);
        assert_eq!(client.wait().code(), Some(0), "{:#?}", client.seen);
    }
    for name in names {
        let seen_by = &place.report(name)["clients"][0];
        assert_eq!(number(&seen_by["engines"][0]["pid"]), u64::from(engine.child.id()), "{name}");
        assert!(number(&seen_by["acknowledged"]) > 0, "{name}");
    }
    let ledgers = names.map(|name| format!("{name}.ledger"));
    let account = place.account(engine, &ledgers.each_ref().map(String::as_str));
    assert!(number(&account["acknowledged"]) > 10_000, "{account}");
}

#[test]
fn b3_what_simulated_users_sign_is_verified_by_everybody_who_reads_it() {
    let place = place();
    let engine = place.keeper(&[]);
    let report = place.path("report");
    let run = |name: &str, more: &[&str]| {
        let ledger = place.path(name);
        let options = ["--rate", "0", "--mix", "post-flood", "--report-json", &report, "--ledger", &ledger];
        finished(Process::client(&place.socket, name, &[&options[..], more].concat()));
        let report = place.report("report");
        // Twice the same name is twice the same users: those who signed sign again, with the keys they registered.
        let errors = report["errors"].to_string();
        assert!(!errors.contains("sign") && !errors.contains("key"), "{errors}");
        let signatures = report["clients"][0]["signatures"].clone();
        ["signed", "verified", "cut", "bad"].map(|what| number(&signatures[what]))
    };
    for _ in 0..2 {
        let [signed, verified, _, bad] = run("client@1", &["--signed", "0.5", "--actions", "400"]);
        assert!(signed > 0 && verified > 0 && bad == 0, "{signed} {verified} {bad}");
    }
    let [signed, verified, _, bad] = run("client@2", &["--actions", "200"]);
    assert!(signed == 0 && verified > 0 && bad == 0, "{signed} {verified} {bad}");
    place.account(engine, &["client@1", "client@2"]);
}
