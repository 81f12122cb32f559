//! What provost itself costs while its children are idle: memory of keeper and supervisor process a child (PSS, logging on),
//! and their context switches.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const COUNTS: [usize; 2] = [100, 1_000];
const IDLE: Duration = Duration::from_secs(20);

fn main() {
    println!(
        "{:<10}{:>18}{:>20}{:>16}{:>26}",
        "children", "keeper PSS", "supervisor PSS", "a child", "switches in 20 idle s"
    );
    for count in COUNTS {
        measure(count);
    }
}

fn measure(count: usize) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut launcher = start(folder.path(), count);
    let keeper = launcher.id();
    let supervisor = wait_until_up(keeper, count);
    // Connections of whoever asked, and threads that read for them, are gone by then.
    std::thread::sleep(Duration::from_secs(2));
    let before = switches(keeper) + switches(supervisor);
    std::thread::sleep(IDLE);
    let switches = switches(keeper) + switches(supervisor) - before;
    let (keeper_kib, supervisor_kib) = (pss_kib(keeper), pss_kib(supervisor));
    let each = (keeper_kib + supervisor_kib) as f64 / count as f64;
    println!("{count:<10}{keeper_kib:>14} KiB{supervisor_kib:>16} KiB{each:>12.1} KiB{switches:>26}");
    kill(Pid::from_raw(keeper.cast_signed()), Signal::SIGTERM).expect("the launcher lives");
    launcher.wait().expect("wait");
}

fn start(folder: &Path, count: usize) -> Child {
    let config = folder.join("supervisor.toml");
    let text = format!(
        "name = \"bench\"\nrun_dir = {:?}\nlog_dir = {:?}\n\
         [[child]]\nname = \"idle\"\ncommand = [\"sleep\", \"100000\"]\ninstances = {count}\n",
        folder.join("run"),
        folder.join("log")
    );
    fs::write(&config, text).expect("write the config");
    Command::new(env!("CARGO_BIN_EXE_provost"))
        .arg("-f")
        .arg(config)
        .arg("up")
        .stdout(Stdio::null())
        .spawn()
        .expect("provost starts")
}

/// Returns the supervisor process when all children exist.
fn wait_until_up(keeper: u32, count: usize) -> u32 {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let list = format!("/proc/{keeper}/task/{keeper}/children");
        let children = fs::read_to_string(list).unwrap_or_default();
        let pids: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        if pids.len() > count {
            let named = |pid: &&u32| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("provost"))
            };
            return *pids.iter().find(named).expect("a supervisor process");
        }
        assert!(Instant::now() < until, "{} of {count} children", pids.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn number(path: String, name: &str) -> u64 {
    let text = fs::read_to_string(&path).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

fn pss_kib(pid: u32) -> u64 {
    number(format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn switches(pid: u32) -> u64 {
    let status = |name| number(format!("/proc/{pid}/status"), name);
    status("voluntary_ctxt_switches:") + status("nonvoluntary_ctxt_switches:")
}
