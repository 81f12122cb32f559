//! Nothing escapes: what a child has forked is listed under it while it lives and gone when it is stopped, with control
//! groups and without, as root and as a user without rights. Rows F12 to F15 of the fault matrix are here too.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Launcher, Project, alive, eventually, kill, read, stat, wait_gone};

/// One of each kind below one child: of its own group, in a session of its own, and a daemon whose parents are gone.
const FAMILY: &str = r#"
(bash -c 'trap "" TERM HUP; echo $$ > same.part; mv same.part same; exec -a same-group tail -f /dev/null' &)
setsid bash -c 'trap "" TERM HUP; echo $$ > setsid.part; mv setsid.part setsid; exec -a in-session tail -f /dev/null' &
(setsid bash -c '(setsid bash -c "trap \"\" TERM HUP; echo \$\$ > daemon.part; mv daemon.part daemon; exec tail -f /dev/null" </dev/null >/dev/null 2>&1 &)' &)
exec tail -f /dev/null
"#;

const KINDS: [&str; 3] = ["same", "setsid", "daemon"];

/// How a launcher contains its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// By control groups, if they can be made here.
    Groups,
    /// By control groups that children enter by themselves, where they cannot be born into them.
    Entered,
    /// By sessions and adoption.
    Sweep,
}

fn project(config: &str) -> Project {
    Project::new(config)
}

fn family(keys: &str) -> String {
    format!(
        "[supervisor]\nintensity = 100\n[[child]]\nname = \"family\"\nshutdown = \"20s\"\n{keys}\n\
         command = [\"bash\", \"-c\", '''{FAMILY}''']\n"
    )
}

fn up(project: Project, means: Means) -> Launcher {
    let mut command = project.provost(&["up"]);
    match means {
        Means::Groups => &mut command,
        Means::Entered => command.env("PROVOST_FORCE_FALLBACK", "clone3"),
        Means::Sweep => command.env("PROVOST_FORCE_FALLBACK", "cgroup2"),
    };
    let launcher = project.start_by(command);
    launcher.wait_line("distinct PIDs");
    launcher
}

/// The check with and without control groups, and as a user without rights.
fn in_every_way(config: &str, check: impl Fn(&Launcher, Means)) {
    for means in [Means::Groups, Means::Entered, Means::Sweep] {
        check(&up(project(config), means), means);
    }
    if let Some(project) = project(config).by_nobody() {
        check(&up(project, Means::Sweep), Means::Sweep);
    }
}

/// Where the launcher says that its control groups are.
fn groups(launcher: &Launcher) -> Option<PathBuf> {
    let path = read(&launcher.project.path("run/cgroup"));
    (!path.is_empty()).then(|| path.into())
}

fn pid_in(launcher: &Launcher, file: &str) -> i32 {
    eventually(&format!("the process that writes {file}"), || {
        read(&launcher.project.path(file)).trim().parse().ok()
    })
}

fn forked(launcher: &Launcher) -> [i32; 3] {
    KINDS.map(|kind| pid_in(launcher, kind))
}

/// Pids that stand under this child in the process table, itself first.
fn listed(launcher: &Launcher, name: &str) -> Vec<i32> {
    let rows = launcher.ps();
    let of_name = rows.iter().filter(|row| row["name"] == name);
    of_name.filter_map(|row| i32::try_from(row["pid"].as_i64()?).ok()).collect()
}

fn forget(launcher: &Launcher) {
    KINDS.iter().for_each(|kind| fs::remove_file(launcher.project.path(kind)).unwrap());
}

#[test]
fn f14_everything_a_child_forked_is_listed_under_it_and_gone_with_it() {
    in_every_way(&family(""), |launcher, means| {
        let forked = forked(launcher);
        eventually("a daemon without parents", || (stat(forked[2])?.ppid == launcher.pid()).then_some(()));
        // These and nobody else: whoever only helped to start them is gone.
        let mut family = [launcher.pid_of("family").unwrap(), forked[0], forked[1], forked[2]];
        family.sort_unstable();
        eventually("all of them under their child", || {
            let mut listed = listed(launcher, "family");
            listed.sort_unstable();
            (listed == family).then_some(())
        });
        let told = launcher.ok(&["stop", "family"]);
        let left: Vec<i32> = forked.into_iter().filter(|pid| alive(*pid)).collect();
        assert_eq!(left, [0; 0], "{means:?}: left when stop had returned; {told}");
        for pid in forked {
            assert!(told.contains(&format!("(PID {pid})")), "{means:?}: {pid} is not named in {told:?}");
        }
        let past = launcher.json("history")["exits"][0]["left_behind"]["processes"].clone();
        assert_eq!(past.as_array().map(Vec::len), Some(3), "{past}");
    });
}

#[test]
fn what_a_killed_child_left_is_gone_before_its_next_run() {
    in_every_way(&family(""), |launcher, means| {
        for _ in 0..3 {
            let forked = forked(launcher);
            let main = launcher.pid_of("family").unwrap();
            forget(launcher);
            kill(main, libc::SIGKILL);
            // Whatever the next run writes, it writes after the first is gone.
            KINDS.iter().for_each(|kind| {
                pid_in(launcher, kind);
                let left: Vec<i32> = forked.into_iter().filter(|pid| alive(*pid)).collect();
                assert_eq!(left, [0; 0], "{means:?}");
            });
        }
    });
}

#[test]
fn kill_mode_says_whom_the_end_of_a_child_takes_along() {
    for (mode, left) in [("group", &KINDS[1..]), ("process", &KINDS[..])] {
        in_every_way(&family(&format!("kill_mode = \"{mode}\"")), |launcher, means| {
            let forked = forked(launcher);
            launcher.ok(&["stop", "family"]);
            for (kind, pid) in KINDS.iter().zip(forked) {
                assert_eq!(alive(pid), left.contains(kind), "{mode}, {means:?}: {kind}");
            }
            launcher.ok(&["down"]);
            wait_gone(&forked);
        });
    }
}

#[test]
fn each_run_has_a_control_group_of_its_own_and_none_is_left() {
    let mut launcher = up(project(&family("")), Means::Groups);
    let Some(home) = groups(&launcher) else {
        return println!("skipped: no control group can be made here");
    };
    let main = launcher.pid_of("family").unwrap();
    let group = read(Path::new(&format!("/proc/{main}/cgroup")));
    let name = home.file_name().unwrap().to_str().unwrap();
    let inside = group.lines().find(|line| line.starts_with("0::")).unwrap();
    assert!(inside.contains(&format!("/{name}/")), "{group}");
    assert_eq!(inside.rsplit('.').next(), Some("1"), "the first run: {inside}");
    forked(&launcher);
    launcher.ok(&["stop", "family"]);
    let folders = || fs::read_dir(&home).unwrap().flatten().filter(|it| it.path().is_dir()).count();
    eventually("no group of an ended run", || (folders() == 0).then_some(()));
    launcher.ok(&["start", "family"]);
    launcher.ok(&["down"]);
    launcher.wait_exit();
    assert!(!home.exists(), "the home is left");
}

#[test]
fn control_groups_of_a_killed_keeper_are_emptied_by_the_next_launcher() {
    // Without its environment it is known by its control group alone.
    let script = "(setsid env -i /bin/bash -c 'trap \"\" TERM HUP; echo $$ > daemon.part; /bin/mv daemon.part daemon; \
                  exec /usr/bin/tail -f /dev/null' </dev/null >/dev/null 2>&1 &)\nexec tail -f /dev/null";
    let config = format!("[[child]]\nname = \"family\"\ncommand = [\"bash\", \"-c\", '''\n{script}''']\n");
    let mut launcher = up(project(&config), Means::Groups);
    let Some(home) = groups(&launcher) else {
        return println!("skipped: no control group can be made here");
    };
    let daemon = pid_in(&launcher, "daemon");
    let supervisor = launcher.pid_of("supervisor").unwrap();
    // Neither of the two that would end it lives to do so.
    kill(supervisor, libc::SIGSTOP);
    kill(launcher.pid(), libc::SIGKILL);
    launcher.child.wait().unwrap();
    assert!(alive(daemon), "there is nothing to remove");
    let mut next = launcher.project.clone().start();
    next.wait_line("left behind");
    next.wait_line("distinct PIDs");
    assert!(!alive(daemon) && !alive(supervisor));
    next.ok(&["down"]);
    next.wait_exit();
    assert!(!home.exists(), "the home is left");
}

#[test]
fn f12_a_child_that_ignores_term_is_killed_when_its_time_is_over() {
    let config = "[[child]]\nname = \"deaf\"\nshutdown = \"300ms\"\n\
                  command = [\"bash\", \"-c\", 'trap \"\" TERM; echo $$ > deaf; exec tail -f /dev/null']\n";
    in_every_way(config, |launcher, _| {
        let deaf = pid_in(launcher, "deaf");
        let began = std::time::Instant::now();
        launcher.ok(&["stop", "deaf"]);
        assert!(!alive(deaf));
        assert!(began.elapsed() >= std::time::Duration::from_millis(300), "{:?}", began.elapsed());
        let exit = &launcher.json("history")["exits"][0];
        assert_eq!((&exit["exit"]["name"], &exit["killed"]), (&"SIGKILL".into(), &true.into()), "{exit}");
    });
}

#[test]
fn f13_a_stopped_child_acts_on_its_stop() {
    let config =
        "[[child]]\nname = \"held\"\nshutdown = \"20s\"\ncommand = [\"tail\", \"-f\", \"/dev/null\"]\n";
    in_every_way(config, |launcher, _| {
        let held = launcher.pid_of("held").unwrap();
        kill(held, libc::SIGSTOP);
        eventually("a stopped process", || (stat(held)?.state == 'T').then_some(()));
        launcher.ok(&["stop", "held"]);
        assert!(!alive(held));
        let exit = &launcher.json("history")["exits"][0];
        assert_eq!((&exit["exit"]["name"], &exit["killed"]), (&"SIGTERM".into(), &false.into()), "{exit}");
    });
}

/// Forks as fast as it may, and every fork does the same.
#[test]
fn f15_a_fork_bomb_is_held_by_its_limit_and_emptied_by_stop() {
    let config = "[[child]]\nname = \"bomb\"\nlimits = { pids = 40 }\nshutdown = \"brutal_kill\"\nlog = \"null\"\n\
                  command = [\"bash\", \"-c\", 'bomb() { bomb & bomb & read -t 1000 x <> fifo; }; echo $$ > bomb; bomb']\n\
                  [[child]]\nname = \"other\"\ncommand = [\"tail\", \"-f\", \"/dev/null\"]\n";
    let project = project(config);
    let check = project.run(&["check"]);
    if String::from_utf8_lossy(&check.stderr).contains("cannot be enforced") {
        return println!("skipped: {}", String::from_utf8_lossy(&check.stderr));
    }
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = up(project, Means::Groups);
    eventually("a bomb that has gone off", || (listed(&launcher, "bomb").len() >= 20).then_some(()));
    let other = launcher.pid_of("other").unwrap();
    kill(other, libc::SIGKILL);
    launcher.wait_new_pid("other", other);
    let bomb = listed(&launcher, "bomb");
    assert!(bomb.len() <= 40, "{}", bomb.len());
    launcher.ok(&["stop", "bomb"]);
    wait_gone(&bomb);
    let rest = launcher.below();
    assert_eq!(rest.len(), 2, "the supervisor process and the other child: {rest:?}");
}

/// A control group that root has given to an ordinary user; removed when dropped.
struct Delegated(PathBuf);

impl Delegated {
    /// `None`, with a word why: none can be made.
    fn make(launcher: &Launcher) -> Option<Delegated> {
        // Beside the one of a launcher of root's: there is room for one more.
        let above = groups(launcher)?.parent()?.to_owned();
        let path = above.join(format!("provost-test-delegated-{}", launcher.pid()));
        fs::create_dir(&path).ok()?;
        let delegated = Delegated(path);
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            std::os::unix::fs::chown(delegated.0.join(file), Some(support::NOBODY), Some(support::NOBODY))
                .ok()?;
        }
        Some(delegated)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let until = std::time::Instant::now() + support::BOUND;
        while fs::remove_dir(&self.0).is_err() && std::time::Instant::now() < until {
            std::thread::park_timeout(std::time::Duration::from_millis(2));
        }
    }
}

#[test]
fn an_ordinary_user_has_control_groups_in_a_delegated_one() {
    let by_root = up(project(&family("")), Means::Groups);
    let Some(own) = project(&family("")).by_nobody() else { return };
    let Some(delegated) = Delegated::make(&by_root) else {
        return println!("skipped: no control group can be made here");
    };
    let mut command = std::process::Command::new("sh");
    let enter =
        "echo $$ > \"$0/cgroup.procs\" && exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$@\"";
    let provost = env!("CARGO_BIN_EXE_provost");
    command.args(["-c", enter]).arg(&delegated.0).args([provost, "-f"]).arg(own.config()).arg("up");
    let mut launcher = own.start_by(command);
    launcher.wait_line("distinct PIDs");
    let home = groups(&launcher).expect("a home in the delegated group");
    assert_eq!(home.parent(), Some(delegated.0.as_path()));
    let forked = forked(&launcher);
    assert!(read(&home.join("1.1/cgroup.procs")).contains(&forked[2].to_string()), "the daemon is elsewhere");
    launcher.ok(&["stop", "family"]);
    assert!(forked.iter().all(|pid| !alive(*pid)));
    launcher.ok(&["down"]);
    launcher.wait_exit();
}

/// A control group beside the launcher's own; dropped, it is removed.
struct OtherGroup(PathBuf);

impl Drop for OtherGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_process_that_moved_to_another_control_group_ends_with_its_run() {
    let flee = "setsid bash -c 'echo $$ > $OTHER/cgroup.procs; trap \"\" TERM HUP; echo $$ >> fled; while :; do sleep 1; done' & \
                exec tail -f /dev/null";
    let child = |other: &str| {
        format!(
            "[supervisor]\nintensity = 100\n[[child]]\nname = \"g\"\nenv = {{ OTHER = {other:?} }}\n\
             command = [\"bash\", \"-c\", {flee:?}]\n"
        )
    };
    let probe = up(project(&child("/nowhere")), Means::Groups);
    let Some(own) = groups(&probe) else {
        return println!("skipped: no control groups can be made here");
    };
    let other = OtherGroup(own.with_file_name(format!("provost-test-other-{}", std::process::id())));
    drop(probe);
    fs::create_dir(&other.0).unwrap();
    let launcher = up(project(&child(other.0.to_str().unwrap())), Means::Groups);
    let fled = |number: usize| {
        eventually("the process that fled", || {
            read(&launcher.project.path("fled")).lines().nth(number)?.parse::<i32>().ok()
        })
    };
    let (first, main) = (fled(0), launcher.pid_of("g").unwrap());
    assert!(read(Path::new(&format!("/proc/{first}/cgroup"))).contains("provost-test-other"));
    kill(main, libc::SIGKILL);
    launcher.wait_new_pid("g", main);
    wait_gone(&[first]);
    let second = fled(1);
    launcher.ok(&["stop", "g"]);
    assert!(!alive(second), "a stop is over when the whole tree is gone");
}

#[test]
fn containment_without_control_groups_is_said() {
    let project = project(&family(""));
    let mut check = project.provost(&["check"]);
    let output = check.env("PROVOST_FORCE_FALLBACK", "cgroup2").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("can make no control groups"), "{said}");
    let mut command = project.provost(&["up"]);
    command.env("PROVOST_FORCE_FALLBACK", "cgroup2");
    project.start_by(command).wait_line("can make no control groups");
}
