//! How a child is born: who it is, what it may use, and that it is not started at all when any of that cannot be had.
//! Rows F05, F06 and F08 of the fault matrix are here too.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{
    Launcher, NOBODY, Project, alive, child_named, eventually, kill, read, status_number, wait_gone,
};

/// A child that says in a file that it was started, and stays.
fn child(name: &str, keys: &str) -> String {
    format!(
        "[[child]]\nname = \"{name}\"\n{keys}\n\
         command = [\"bash\", \"-c\", 'env > ${{NAME}}.env; ulimit -a > ${{NAME}}.limits; echo $$ > ${{NAME}}.part; \
         mv ${{NAME}}.part ${{NAME}}; exec tail -f /dev/null']\n"
    )
}

fn root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: {test} needs root");
    }
    root
}

/// A project in whose folder everybody may write.
fn open_project(config: &str) -> Project {
    let project = Project::new(config);
    fs::set_permissions(project.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // A folder that others can write in is refused as the folder of a config file that root uses.
    let folder = project.path("work");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(project.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    project
}

const WORK: &str = "cwd = \"work\"\n";

fn started(launcher: &Launcher, name: &str) -> i32 {
    let path = launcher.project.path("work").join(name);
    eventually(&format!("the start of {name}"), || read(&path).trim().parse().ok())
}

/// A line of `/proc/PID/status`.
fn status(pid: i32, field: &str) -> String {
    let text = read(Path::new(&format!("/proc/{pid}/status")));
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_child_is_who_it_is_said_to_be_and_may_use_what_it_is_given() {
    if !root("becoming another user") {
        return;
    }
    let keys = format!(
        "{WORK}user = {NOBODY}\ngroup = 64001\nnice = 5\noom_score_adj = 321\nno_new_privs = true\n\
         limits = {{ nofile = 77, core = \"0B\", cpu_time = \"1h\", stack = \"1MiB\", fsize = \"unlimited\" }}"
    );
    let launcher = open_project(&child("a", &keys)).up();
    let pid = started(&launcher, "a");
    assert_eq!(pid, launcher.pid_of("a").unwrap());
    let nobody = NOBODY.to_string();
    assert_eq!(status(pid, "Uid"), [nobody.as_str(); 4].join(" "));
    assert_eq!(status(pid, "Gid"), "64001 64001 64001 64001");
    assert!(!status(pid, "Groups").split(' ').any(|group| group == "0"), "root's groups are left");
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(status(pid, "CapEff"), "0000000000000000");
    assert_eq!(read(Path::new(&format!("/proc/{pid}/oom_score_adj"))).trim(), "321");
    let stat = read(Path::new(&format!("/proc/{pid}/stat")));
    assert_eq!(stat.rsplit(')').next().unwrap().split_whitespace().nth(16), Some("5"), "nice: {stat}");
    let limits = read(Path::new(&format!("/proc/{pid}/limits")));
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(limit("Max open files"), "77 77");
    assert_eq!(limit("Max core file size"), "0 0");
    assert_eq!(limit("Max cpu time"), "3600 3600");
    assert_eq!(limit("Max stack size"), "1048576 1048576");
    assert_eq!(limit("Max file size"), "unlimited unlimited");
    if let Ok(Some(user)) = nix::unistd::User::from_uid(NOBODY.into()) {
        let env = read(&launcher.project.path("work/a.env"));
        for entry in [format!("USER={}", user.name), format!("HOME={}", user.dir.display())] {
            assert!(env.lines().any(|line| line == entry), "no {entry} in {env}");
        }
    }
}

/// No test: what the child of the next one runs.
#[test]
fn role_of_a_child_that_notifies() {
    if std::env::var_os("NOTIFY_ROLE").is_none() {
        return;
    }
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.send_to(b"READY=1\n", std::env::var_os("NOTIFY_SOCKET").unwrap()).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_child_that_is_somebody_else_tells_that_it_is_ready() {
    if !root("becoming another user") {
        return;
    }
    let own = std::env::current_exe().unwrap();
    let config = format!(
        "[[child]]\nname = \"a\"\nuser = {NOBODY}\ncwd = \"/\"\nready = {{ notify = true, timeout = \"60s\" }}\n\
         command = [{own:?}, \"--exact\", \"role_of_a_child_that_notifies\"]\nenv = {{ NOTIFY_ROLE = \"yes\" }}\n"
    );
    let launcher = open_project(&config).up();
    assert_eq!(
        status(launcher.pid_of("a").unwrap(), "Uid").split(' ').next(),
        Some(NOBODY.to_string().as_str())
    );
    let modes = ["run", "run/notify"].map(|folder| mode(&launcher.project.path(folder)));
    assert_eq!(modes, [0o711; 2], "others may pass through, not look");
    assert_eq!(mode(&launcher.project.path("run/control.sock")), 0o600);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Each way not to be started, with the words that name the step.
fn not_started(launcher: &Launcher, name: &str, step: &str) {
    let output = launcher.project.run(&["start", name]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{name}: {told}");
    assert!(told.contains(step), "{name}: no {step:?} in {told:?}");
    for folder in ["", "work"] {
        assert!(!launcher.project.path(folder).join(format!("{name}.env")).exists(), "{name} was started");
    }
    assert_eq!(launcher.pid_of(name), None);
}

/// Children that wait to be started by hand: until there is a file, their condition says no.
fn waiting(name: &str, keys: &str) -> String {
    child(name, &format!("restart = \"transient\"\ncondition = {{ exists = \"now\" }}\n{keys}"))
}

fn by_hand(config: &str, wrap: &[&str]) -> Launcher {
    let project = open_project(&format!("[supervisor]\nintensity = 100\n{}{config}", child("other", WORK)));
    let provost = project.provost(&["up"]);
    let mut command = Command::new(wrap[0]);
    command.args(&wrap[1..]).arg(provost.get_program()).args(provost.get_args()).stdin(Stdio::null());
    let launcher = project.start_by(command);
    launcher.wait_line("distinct PIDs");
    fs::write(launcher.project.path("now"), "").unwrap();
    launcher
}

#[test]
fn f06_an_unknown_user_is_refused_with_its_line() {
    let project = Project::new(&child("a", "user = \"no-such-user\""));
    let output = project.run(&["up"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("\"no-such-user\"") && told.contains("supervisor.toml:"), "{told}");
    assert!(!project.path("a.env").exists(), "it was started");
}

/// Root without the right to become somebody else, or to change its groups.
#[test]
fn f06_a_child_whose_user_cannot_be_had_is_not_started_as_root() {
    if !root("taking rights from root") {
        return;
    }
    let keys = format!("{WORK}user = {NOBODY}");
    for (right, step) in [("setuid", "cannot become its user"), ("setgid", "cannot set its further groups")] {
        let bound = format!("--bounding-set=-{right}");
        let launcher = by_hand(&waiting("a", &keys), &["setpriv", &bound]);
        not_started(&launcher, "a", step);
    }
}

#[test]
fn f06_an_ordinary_user_cannot_start_a_child_as_root() {
    let project = Project::new(&format!("{}{}", child("other", ""), waiting("a", "user = \"root\"")));
    let own = project.clone().by_nobody();
    if own.is_none() && nix::unistd::geteuid().is_root() {
        return;
    }
    let launcher = own.unwrap_or(project).start();
    launcher.wait_line("only root can start it as user 0");
    launcher.wait_line("distinct PIDs");
    fs::write(launcher.project.path("now"), "").unwrap();
    not_started(&launcher, "a", "cannot set its further groups");
}

/// What an ordinary user may not give is not given half.
#[test]
fn a_step_that_fails_is_named_and_nothing_is_started() {
    let cases = [
        ("nicer", "nice = -5", "cannot set its nice value"),
        ("safer", "oom_score_adj = -900", "cannot set its oom_score_adj"),
        ("larger", "limits = { nofile = 4000000000 }", "cannot set its limits"),
        ("elsewhere", "cwd = \"/no/such/folder\"", "cannot change to its folder /no/such/folder"),
        ("absent", "", "cannot execute"),
    ];
    let config: String = cases
        .iter()
        .map(|(name, keys, _)| match *name {
            "absent" => waiting(name, keys).replace("\"bash\"", "\"/no/such/program\""),
            _ => waiting(name, keys),
        })
        .collect();
    let project = Project::new(&format!("[supervisor]\nintensity = 100\n{}{config}", child("other", "")));
    let own = project.clone().by_nobody();
    if own.is_none() && nix::unistd::geteuid().is_root() {
        return;
    }
    let launcher = own.unwrap_or(project).up();
    fs::write(launcher.project.path("now"), "").unwrap();
    for (name, _, step) in cases {
        not_started(&launcher, name, step);
    }
}

/// The death signal is asked for after the user has changed: else the kernel would forget it.
#[test]
fn the_killed_keeper_takes_children_of_another_user_with_it() {
    if !root("becoming another user") {
        return;
    }
    let both = child("a", &format!("{WORK}user = {NOBODY}")) + &child("b", WORK);
    for supervisor_lives in [true, false] {
        let mut launcher = open_project(&both).up();
        let pids = [started(&launcher, "a"), started(&launcher, "b")];
        let supervisor = launcher.pid_of("supervisor").unwrap();
        if !supervisor_lives {
            kill(supervisor, libc::SIGSTOP);
        }
        kill(launcher.pid(), libc::SIGKILL);
        launcher.child.wait().unwrap();
        wait_gone(&pids);
        if !supervisor_lives {
            // The next launcher also removes the control groups of those.
            let mut next = launcher.project.clone().up();
            next.ok(&["down"]);
            next.wait_exit();
        }
        wait_gone(&[supervisor]);
    }
}

#[test]
fn limits_of_memory_and_cpu_are_enforced_by_whatever_controller_there_is() {
    let config = format!(
        "{}[[child]]\nname = \"glutton\"\nrestart = \"temporary\"\nlog = \"null\"\nlimits = {{ memory = \"24MiB\" }}\n\
         command = [\"tail\", \"/dev/zero\"]\n",
        child("half", "limits = { cpu = 0.5 }")
    );
    let project = Project::new(&config);
    let told = String::from_utf8_lossy(&project.run(&["check"]).stderr).into_owned();
    if told.contains("cannot be enforced") {
        return println!("skipped: {told}");
    }
    let launcher = project.up();
    let exit = eventually("the end of who takes too much", || {
        let exits = launcher.json("history")["exits"].clone();
        exits.as_array()?.iter().find(|exit| exit["name"] == "glutton").cloned()
    });
    assert_eq!(exit["exit"]["name"], "SIGKILL", "{exit}");
    assert!(exit["rusage"]["max_rss_bytes"].as_u64().unwrap() < 64 << 20, "{exit}");
    let half = launcher.pid_of("half").unwrap();
    let groups = read(Path::new(&format!("/proc/{half}/cgroup")));
    assert!(groups.matches("/provost-run-").count() >= 1, "{groups}");
}

#[test]
fn limits_that_nothing_enforces_are_said_and_passed_over() {
    let project = Project::new(&child("a", "limits = { memory = \"64MiB\", pids = 20 }"));
    let forced = |mut command: Command| {
        command.env("PROVOST_FORCE_FALLBACK", "cgroup2,cgroup_limits");
        command
    };
    let check = forced(project.provost(&["check"])).output().unwrap();
    let told = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(check.status.success(), "{told}");
    for what in ["memory", "pids"] {
        assert!(told.contains(&format!("a: limits.{what} cannot be enforced here")), "{told}");
    }
    let command = forced(project.provost(&["up"]));
    let launcher = project.start_by(command);
    launcher.wait_line("limits.memory cannot be enforced here");
    launcher.wait_line("distinct PIDs");
    assert!(launcher.pid_of("a").is_some());
}

/// A user of this test alone: its number of processes is nobody else's business.
const LONELY: u32 = 64_008;

#[test]
fn f08_a_shortage_of_processes_is_waited_out_and_not_counted() {
    if !root("becoming a user of its own") {
        return;
    }
    let config =
        format!("[supervisor]\nintensity = 1\nperiod = \"1h\"\n{}{}", child("a", ""), child("b", ""));
    let project = Project::new(&config);
    for path in [project.dir.path().to_owned(), project.config()] {
        std::os::unix::fs::chown(path, Some(LONELY), Some(LONELY)).unwrap();
    }
    let as_lonely = |verb: &[&str]| {
        let provost = project.provost(verb);
        let mut command = Command::new("setpriv");
        let user = LONELY.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
        command.arg(provost.get_program()).args(provost.get_args()).stdin(Stdio::null());
        command
    };
    let command = as_lonely(&["up"]);
    let launcher = project.clone().start_by(command);
    launcher.wait_line("distinct PIDs");
    let table = || {
        let output = as_lonely(&["tree", "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let tree: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        tree["root"].clone()
    };
    let pid =
        |index: usize| table()["children"][index]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let supervisor = child_named(launcher.pid(), "provost-super").unwrap();
    let limit = |most: &str| {
        // Softly: the hard limit stays, so that it can be lifted again.
        let (user, pid) = (LONELY.to_string(), supervisor.to_string());
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--", "prlimit", "--pid", &pid]);
        assert!(command.arg(format!("--nproc={most}:")).status().unwrap().success());
    };
    let (a, b) = (pid(0).unwrap(), pid(1).unwrap());
    let limits = read(Path::new(&format!("/proc/{supervisor}/limits")));
    let before = limits.lines().find_map(|line| line.strip_prefix("Max processes")).unwrap();
    let before = before.split_whitespace().next().unwrap();
    limit("1");
    kill(a, libc::SIGKILL);
    launcher.wait_line("tried again shortly, not counted");
    launcher.wait_line("tried again shortly, not counted");
    // It answers meanwhile, and its other child is as it was.
    assert_eq!((pid(0), pid(1)), (None, Some(b)));
    limit(before);
    let again = eventually("another a", || pid(0));
    assert!(again != a && alive(again));
    let root = table();
    assert_eq!(root["restarts_left"], 0, "one restart, for one death: {root}");
    assert_eq!(root["children"][0]["restarts"], 1);
    assert_eq!(child_named(launcher.pid(), "provost-super"), Some(supervisor), "it was replaced");
}

/// In a namespace of its own, where the next number can be chosen without getting in anybody's way.
#[test]
fn f05_who_got_the_number_of_an_ended_child_is_left_alone() {
    let project = Project::new(
        "[[child]]\nname = \"a\"\nrestart = \"transient\"\n\
         command = [\"bash\", \"-c\", 'echo $$ > a.part; mv a.part a; read x < fifo']\n\
         [[child]]\nname = \"b\"\ncommand = [\"tail\", \"-f\", \"/dev/null\"]\n",
    );
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = r#"
        provost() { "$PROVOST" -f "$CONFIG" "$@"; }
        cd "${CONFIG%/*}"
        provost up >up.out 2>&1 &
        up=$!
        until [ -s a ]; do
            kill -0 $up 2>/dev/null || { cat up.out; echo untaken; exit 0; }
            read -t 0.02 x <>idle
        done
        pid=$(cat a)
        echo >fifo
        until provost tree --json | grep -q '"phase": *"exited"'; do read -t 0.02 x <>idle; done
        # Whoever is forked next gets the number of the ended child.
        taken=
        for attempt in 1 2 3 4 5 6 7 8 9 10; do
            echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid || break
            tail -f /dev/null &
            if [ $! = $pid ]; then taken=$!; break; fi
            kill -KILL $!
        done
        if [ -z "$taken" ]; then echo untaken; kill $up; wait $up; exit 0; fi
        provost kill a; echo "kill $?"
        provost stop a >/dev/null; echo "stop $?"
        # A supervisor process that has still to hear of it knows it by more than its number, too.
        kill -0 $pid && echo unharmed
        provost down >/dev/null
        kill -0 $pid && echo unharmed
        kill -KILL $pid
    "#;
    nix::unistd::mkfifo(&project.path("idle"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "60", "unshare"]);
    let own: &[&str] = match nix::unistd::geteuid().is_root() {
        true => &["-fp", "--mount-proc", "--kill-child"],
        false => &["-Urfp", "--mount-proc", "--kill-child"],
    };
    command.args(own).args(["bash", "-c", script]).stdin(Stdio::null());
    command.env("PROVOST", env!("CARGO_BIN_EXE_provost")).env("CONFIG", project.config());
    let output = command.output().unwrap();
    let (told, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() && told.is_empty() || told.contains("untaken") {
        return println!("skipped: no namespace in which a number can be chosen: {told} {wrong}");
    }
    assert_eq!(told, "kill 3\nstop 0\nunharmed\nunharmed\n", "{wrong}");
    assert!(wrong.contains("a has no process to signal"), "{wrong}");
}

#[test]
fn limits_are_given_back_as_they_were_found() {
    let project = Project::new(&child("a", ""));
    let provost = project.provost(&["up"]);
    let mut command = Command::new("prlimit");
    command.args(["--nofile=200:300", "--core=0:0"]).arg(provost.get_program()).args(provost.get_args());
    let launcher = project.start_by(command);
    launcher.wait_line("distinct PIDs");
    let pid = launcher.pid_of("a").unwrap();
    let limits = read(Path::new(&format!("/proc/{pid}/limits")));
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["200", "300"]);
    assert!(status_number(pid, "Threads").is_some());
}

/// A child that is ready when it has said so, and lives until it is killed.
fn notifier(name: &str, keys: &str) -> String {
    let own = std::env::current_exe().unwrap();
    format!(
        "[[child]]\nname = \"{name}\"\nready = {{ notify = true, timeout = \"60s\" }}\n\
         command = [{own:?}, \"--exact\", \"role_of_a_child_that_notifies\"]\nenv = {{ NOTIFY_ROLE = \"yes\" }}\n{keys}"
    )
}

/// The supervisor of a temporary child restarts in the step in which the child's death is decided: the old node is forgotten
/// after the new one, of the same name, was given its sockets.
#[test]
fn a_temporary_child_keeps_its_sockets_over_its_supervisors_restart() {
    let supervisor = "[supervisor]\nintensity = 100\n[[child]]\nname = \"s\"\ntype = \"supervisor\"\n";
    let listen = "listen = [{ name = \"x\", unix = \"${RUN_DIR}/x.sock\" }]\n";
    let significant = format!(
        "{supervisor}auto_shutdown = \"any_significant\"\n{}",
        notifier("a", &format!("parent = \"s\"\nrestart = \"temporary\"\nsignificant = true\n{listen}"))
    );
    let given_up = format!(
        "{supervisor}intensity = 0\n{}{}",
        notifier("a", &format!("parent = \"s\"\nrestart = \"temporary\"\n{listen}")),
        notifier("b", "parent = \"s\"\n")
    );
    for (config, victims) in [(significant, &["a"][..]), (given_up, &["a", "b"])] {
        let launcher = Project::new(&config).up();
        let socket = launcher.project.path("run/x.sock");
        for _ in 0..3 {
            let old = launcher.pid_of("a").unwrap();
            launcher.ok(&[&["kill", "-s", "KILL"], victims].concat());
            eventually("a is ready again", || {
                let tree = launcher.json("tree");
                let a = &tree["root"]["children"][0]["children"][0];
                (a["phase"] == "ready" && a["pid"] != old).then_some(())
            });
            UnixStream::connect(&socket).unwrap();
        }
    }
}

/// Has a lease on a program: nobody can execute it as long as this lives.
fn lease(program: &Path) -> Option<support::Aside> {
    let script = "import fcntl, signal, sys\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\nfile = open(sys.argv[1])\n\
                  fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\nprint('held', flush=True)\n\
                  while True: signal.pause()\n";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(program).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(child) = command.spawn() else {
        println!("skipped: there is no python3 to take a lease");
        return None;
    };
    let mut holder = support::Aside(child);
    let mut word = [0; 5];
    let held = std::io::Read::read_exact(holder.0.stdout.as_mut().unwrap(), &mut word).is_ok();
    if !held {
        println!("skipped: no lease can be taken here");
    }
    held.then_some(holder)
}

/// A child whose program can be leased, and one beside it.
fn leasable() -> (Project, std::path::PathBuf) {
    let project = Project::new(
        "[supervisor]\nintensity = 100\n[[child]]\nname = \"a\"\ncommand = [\"./program\", \"-f\", \"/dev/null\"]\n\
         [[child]]\nname = \"b\"\ncommand = [\"tail\", \"-f\", \"/dev/null\"]\n",
    );
    let program = project.path("program");
    fs::copy("/usr/bin/tail", &program).unwrap();
    (project, program)
}

fn why(launcher: &Launcher, name: &str) -> String {
    String::from_utf8_lossy(&launcher.project.run(&["why", name]).stdout).into_owned()
}

/// The newborn that waits for its program.
fn hanging(launcher: &Launcher) -> i32 {
    eventually("a child in its exec", || {
        let known = [launcher.pid_of("supervisor"), launcher.pid_of("b")];
        launcher.below().into_iter().find(|pid| !known.contains(&Some(*pid)))
    })
}

#[test]
fn an_exec_that_does_not_return_keeps_nobody_else_waiting() {
    let (project, program) = leasable();
    let launcher = project.up();
    let [a, b, supervisor] = ["a", "b", "supervisor"].map(|name| launcher.pid_of(name).unwrap());
    let Some(mut leased) = lease(&program) else { return };
    kill(a, libc::SIGKILL);
    let newborn = launcher.wait_new_pid("a", a);
    kill(b, libc::SIGKILL);
    launcher.wait_new_pid("b", b);
    assert!(alive(newborn), "b had to wait for it");
    eventually("the blame", || why(&launcher, "a").contains("did not return within 5 s").then_some(()));
    wait_gone(&[newborn]);
    leased.0.kill().unwrap();
    eventually("a runs once it may", || {
        let tree = launcher.json("tree");
        let children = tree["root"]["children"].as_array().unwrap();
        children.iter().any(|child| child["name"] == "a" && child["phase"] == "running").then_some(())
    });
    assert_eq!(launcher.pid_of("supervisor"), Some(supervisor), "it was taken for hung");
}

#[test]
fn a_supervisor_process_killed_during_an_exec_is_replaced_at_once() {
    let (project, program) = leasable();
    let launcher = project.up();
    launcher.ok(&["stop", "a"]);
    let Some(_leased) = lease(&program) else { return };
    let start = launcher.project.provost(&["start", "a"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut start = support::Aside(start.unwrap());
    let newborn = hanging(&launcher);
    launcher.replace_supervisor();
    assert!(alive(newborn), "it was killed so that the next one could start");
    eventually("the blame by the next one", || {
        why(&launcher, "a").contains("did not return within 5 s").then_some(())
    });
    wait_gone(&[newborn]);
    let _ = start.0.wait();
}

/// In no user database, and without any right.
const UNKNOWN: u32 = 54_325;

#[test]
fn a_child_of_another_user_keeps_nothing_of_root() {
    if !root("becoming another user") {
        return;
    }
    // The launcher has what a change of user alone would leave: an ambient capability, and the securebit that keeps all.
    let number = libc::SYS_keyctl;
    let script = format!(
        "grep -E 'Cap|NoNew' /proc/self/status > caps; perl -e 'print syscall({number}, 0, -3, 0)' > keyring; \
         echo by name > /dev/stdout; echo by name too > /dev/stderr; echo $$ > b; exec sleep 1000"
    );
    let config = |more: &str| {
        format!(
            "[[child]]\nname = \"b\"\n{WORK}user = {UNKNOWN}\n{more}\ncommand = [\"bash\", \"-c\", {script:?}]\n"
        ) + &child("c", &format!("{WORK}user = {UNKNOWN}\nno_new_privs = false"))
    };
    let project = open_project(&config(""));
    let mut command = Command::new("setpriv");
    command
        .args(["--securebits", "+no_setuid_fixup", "--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"])
        .arg(env!("CARGO_BIN_EXE_provost"))
        .arg("-f")
        .arg(project.config())
        .arg("up")
        .env("HOME", "/root")
        .stdin(Stdio::null());
    let launcher = project.start_by(command);
    launcher.wait_line("distinct PIDs");
    let (b, c) = (started(&launcher, "b"), started(&launcher, "c"));
    let caps = read(&launcher.project.path("work/caps"));
    for (pid, no_new_privs) in [(b, "1"), (c, "0")] {
        assert_eq!(status(pid, "Uid"), [UNKNOWN; 4].map(|uid| uid.to_string()).join(" "));
        assert_eq!(status(pid, "NoNewPrivs"), no_new_privs);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(pid, set), "0000000000000000", "{set}: {caps}");
        }
    }
    let env = read(&launcher.project.path("work/c.env"));
    assert!(env.lines().any(|line| line == "HOME=/"), "{env}");
    assert!(!env.lines().any(|line| line.starts_with("USER=") || line.starts_with("SHELL=")), "{env}");
    eventually("what was written by the names of the streams", || {
        let log = launcher.ok(&["logs", "b"]);
        (log.contains("by name\n") && log.contains("by name too")).then_some(())
    });
    let ours =
        Command::new("perl").args(["-e", &format!("print syscall({number}, 0, -3, 0)")]).output().unwrap();
    let (ours, its) = (String::from_utf8(ours.stdout).unwrap(), read(&launcher.project.path("work/keyring")));
    if its == "-1" {
        println!("skipped in part: there are no keyrings here");
    } else {
        assert_ne!(its, ours, "the launcher's session keyring");
    }
}

#[test]
fn a_child_of_another_user_gets_no_terminal_to_read() {
    if !root("becoming another user") {
        return;
    }
    let script = "{ : <&1; } 2> refused; head -c 1 <&1 > typed 2>> refused; echo $$ > b; exec sleep 1000";
    let config = format!(
        "[[child]]\nname = \"b\"\n{WORK}user = {UNKNOWN}\nlog = \"inherit\"\ncommand = [\"bash\", \"-c\", {script:?}]\n"
    );
    let project = open_project(&config);
    // script(1) is the terminal; what it sends comes back as its output.
    let run = format!("{} -f {} up", env!("CARGO_BIN_EXE_provost"), project.config().display());
    let mut command = Command::new("script");
    command.args(["-qec", &run, "/dev/null"]).stdin(Stdio::null());
    if Command::new("script").arg("--version").output().is_err() {
        return println!("skipped: it needs script(1)");
    }
    let launcher = project.start_by(command);
    let pid = started(&launcher, "b");
    let flags = read(Path::new(&format!("/proc/{pid}/fdinfo/1")));
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    assert_eq!(u32::from_str_radix(flags, 8).unwrap() & 3, 1, "O_WRONLY: {flags}");
    assert!(fs::read_link(format!("/proc/{pid}/fd/1")).unwrap().starts_with("/dev/pts"));
    assert_eq!(read(&launcher.project.path("work/typed")), "");
    launcher.project.run(&["down"]);
}
