//! Rows of the fault matrix that are about what runs out, what is wrong from the start, and what must stay secret. Verdicts
//! come from the kernel and from what children write.

mod support;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Aside, Launcher, Project, eventually, kill, let_pass, read};

const IDLE: &str = "command = [\"tail\", \"-f\", \"/dev/null\"]\n";

fn idle(names: &[&str]) -> String {
    let child = |name: &&str| format!("[[child]]\nname = \"{name}\"\n{IDLE}");
    names.iter().map(child).collect()
}

#[test]
fn f07_what_cannot_be_executed_is_said_with_errno_and_path_and_not_tried_again() {
    let names = ["enoent", "eacces", "enoexec", "eloop", "etxtbsy"];
    let child = |name: &&str| {
        format!(
            "[[child]]\nname = \"{name}\"\nrestart = \"transient\"\ncondition = {{ exists = \"now\" }}\n\
             command = [\"./{name}.program\"]\n"
        )
    };
    let folder = "[[child]]\nname = \"cwd\"\nrestart = \"transient\"\ncondition = { exists = \"now\" }\ncwd = \"gone\"\n";
    let config = names.iter().map(child).collect::<String>() + folder + IDLE + &idle(&["other"]);
    let project = Project::new(&config);
    let program = |name: &str| project.path(&format!("{name}.program"));
    // Config checks look at programs: they are spoilt only afterwards.
    for name in names {
        fs::copy("/bin/true", program(name)).unwrap();
    }
    fs::create_dir(project.path("gone")).unwrap();
    let launcher = project.clone().up();
    fs::remove_file(program("enoent")).unwrap();
    fs::set_permissions(program("eacces"), Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(program("enoexec")).unwrap();
    fs::write(program("enoexec"), [0x7f, 0x0b, 0xad]).unwrap();
    fs::set_permissions(program("enoexec"), Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(program("eloop")).unwrap();
    symlink(program("eloop"), program("eloop")).unwrap();
    let _held: File = OpenOptions::new().append(true).open(program("etxtbsy")).unwrap();
    fs::remove_dir(project.path("gone")).unwrap();
    fs::write(project.path("now"), "").unwrap();
    for (name, path) in
        names.map(|name| (name, format!("{name}.program"))).into_iter().chain([("cwd", "gone".into())])
    {
        let output = launcher.project.run(&["start", name]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        let errno = if name == "cwd" { "ENOENT".to_owned() } else { name.to_uppercase() };
        assert!(told.contains(&errno) && told.contains(&path), "{name}: {told}");
        let tree = launcher.json("tree");
        let child =
            tree["root"]["children"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap();
        assert_eq!((&child["pid"], &child["restarts"]), (&serde_json::Value::Null, &0.into()), "{child}");
    }
    assert!(launcher.pid_of("other").is_some());
}

/// Fails the next two births for want of memory.
#[test]
fn f09_a_birth_without_memory_is_tried_again_and_not_counted() {
    let launcher =
        Project::new(&format!("[supervisor]\nintensity = 1\nperiod = \"1h\"\n{}", idle(&["a", "b"]))).up();
    let supervisor = launcher.pid_of("supervisor").unwrap();
    let mut tracer = Command::new("strace");
    tracer.args(["-e", "trace=clone3", "-e", "inject=clone3:error=ENOMEM:when=1..2", "-o"]);
    tracer.arg(launcher.project.path("trace"));
    // A thread of its own makes the children.
    for thread in fs::read_dir(format!("/proc/{supervisor}/task")).unwrap() {
        tracer.arg("-p").arg(thread.unwrap().file_name());
    }
    let Ok(mut tracer) = tracer.stdin(Stdio::null()).stderr(Stdio::piped()).spawn() else {
        return println!("skipped: there is no strace");
    };
    let mut line = String::new();
    BufReader::new(tracer.stderr.take().unwrap()).read_line(&mut line).unwrap();
    if !line.contains("attached") {
        tracer.wait().unwrap();
        return println!("skipped: strace may not attach: {line}");
    }
    let (a, b) = (launcher.pid_of("a").unwrap(), launcher.pid_of("b"));
    kill(a, libc::SIGKILL);
    launcher.wait_line("tried again shortly, not counted");
    launcher.wait_new_pid("a", a);
    kill(i32::try_from(tracer.id()).unwrap(), libc::SIGINT);
    tracer.wait().unwrap();
    let trace = read(&launcher.project.path("trace"));
    assert_eq!(trace.matches("(INJECTED)").count(), 2, "{trace}");
    let root = launcher.json("tree")["root"].clone();
    assert_eq!((&root["restarts_left"], &root["children"][0]["restarts"]), (&0.into(), &1.into()), "{root}");
    assert_eq!((launcher.pid_of("b"), launcher.pid_of("supervisor")), (b, Some(supervisor)));
}

/// CPU time of a process, in clock ticks.
fn ticks(pid: i32) -> u64 {
    let stat = read(Path::new(&format!("/proc/{pid}/stat")));
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn f10_without_descriptors_it_waits_without_spinning_and_recovers() {
    let launcher = Project::new(&idle(&["a", "b"])).up();
    let supervisor = launcher.pid_of("supervisor").unwrap();
    let (a, b) = (launcher.pid_of("a").unwrap(), launcher.pid_of("b"));
    let limit = |most: &str| {
        let most = format!("--nofile={most}:");
        let done = Command::new("prlimit").args(["--pid", &supervisor.to_string(), &most]).status();
        done.is_ok_and(|done| done.success())
    };
    if !limit("3") {
        return println!("skipped: there is no prlimit");
    }
    let clients: Vec<_> =
        (0..5).map(|_| UnixStream::connect(launcher.project.path("run/control.sock")).unwrap()).collect();
    kill(a, libc::SIGKILL);
    launcher.wait_line("tried again shortly, not counted");
    let before = ticks(supervisor);
    let_pass(Duration::from_secs(2));
    let used = ticks(supervisor) - before;
    assert!(used < 60, "it took {used} of 200 ticks to wait");
    assert!(limit("1024"));
    launcher.wait_new_pid("a", a);
    drop(clients);
    assert_eq!((launcher.pid_of("b"), launcher.pid_of("supervisor")), (b, Some(supervisor)));
}

#[test]
fn f23_secrets_in_our_environment_and_in_the_file_are_told_to_nobody() {
    let (ours, theirs) = ("canary-of-the-launcher", "canary-of-the-child");
    let project = Project::new(&format!(
        "[[child]]\nname = \"a\"\nenv = {{ TOKEN = \"{theirs}\" }}\nrestart = \"transient\"\n\
         command = [\"bash\", \"-c\", 'env > env.txt; echo $TOKEN | wc -c > env.part; mv env.part env.done; \
         exec tail -f /dev/null']\n{}",
        idle(&["b"])
    ));
    let mut command = project.provost(&["up"]);
    command.env("SECRET", ours);
    let launcher = project.start_by(command);
    launcher.wait_line("distinct PIDs");
    eventually("the child's word", || launcher.project.path("env.done").exists().then_some(()));
    let env = read(&launcher.project.path("env.txt"));
    assert!(env.contains(theirs) && !env.contains(ours), "{env}");
    launcher.project.configure(&idle(&["a", "b"]));
    let verbs: [&[&str]; 9] = [
        &["ps", "--json"],
        &["tree", "--json"],
        &["status", "a", "--json"],
        &["status", "a"],
        &["why", "a"],
        &["plan"],
        &["reload"],
        &["history", "--json"],
        &["logs", "-n", "100"],
    ];
    let mut said: Vec<(String, String)> = verbs
        .iter()
        .map(|verb| {
            let output = launcher.project.run(verb);
            let text = [output.stdout, output.stderr].concat();
            (verb.join(" "), String::from_utf8_lossy(&text).into_owned())
        })
        .collect();
    said.push(("stop".into(), launcher.ok(&["stop", "a"])));
    for folder in ["log", "run"] {
        for entry in fs::read_dir(launcher.project.path(folder)).unwrap().flatten() {
            said.push((entry.path().display().to_string(), read(&entry.path())));
        }
    }
    for (source, text) in said {
        assert!(!text.contains(ours) && !text.contains(theirs), "{source}: {text}");
    }
}

fn pids(launcher: &Launcher, names: &[&str]) -> Vec<Option<i32>> {
    names.iter().map(|name| launcher.pid_of(name)).collect()
}

#[test]
fn f35_a_reload_takes_all_or_nothing() {
    let good = idle(&["a", "b"]);
    let launcher = Project::new(&good).up();
    let before = pids(&launcher, &["a", "b"]);
    let supervisor = |name: &str, parent: &str| {
        format!("[[child]]\nname = \"{name}\"\ntype = \"supervisor\"\nparent = \"{parent}\"\n")
    };
    let wrong = [
        "[[child]\n".to_owned(),
        good.clone() + &supervisor("x", "y") + &supervisor("y", "x"),
        idle(&["a", "new"]) + "restrat = \"no\"\n",
    ];
    for text in wrong {
        launcher.project.configure(&text);
        let output = launcher.project.run(&["reload", "--apply"]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("supervisor.toml"), "{output:?}");
        // The other verbs read the file, too.
        launcher.project.configure(&good);
        assert_eq!(pids(&launcher, &["a", "b"]), before);
    }
    // Renamed: the old one is stopped and gone, the new one runs, the other is not touched.
    launcher.project.configure(&idle(&["a", "c"]));
    launcher.ok(&["reload", "--apply"]);
    support::wait_gone(&[before[1].unwrap()]);
    assert_eq!(launcher.pid_of("a"), before[0]);
    assert!(launcher.pid_of("c").is_some());
    assert!(!launcher.ps().iter().any(|row| row["name"] == "b"));
}

/// A verb under a hard limit of this many descriptors.
fn limited(project: &Project, descriptors: u64, verb: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &descriptors.to_string()]);
    command.arg(env!("CARGO_BIN_EXE_provost")).arg("-f").arg(project.config()).args(verb);
    command.stdin(Stdio::null());
    command
}

fn numbered(count: usize) -> String {
    (0..count).map(|number| support::worker(&format!("c{number}"), "")).collect()
}

/// The number of descriptors in the sentence of a refusal.
fn told_need(text: &str) -> u64 {
    let (before, _) = text.split_once(" descriptors").unwrap_or_else(|| panic!("{text}"));
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn too_few_descriptors_are_said_before_anything_starts() {
    let project = Project::new(&numbered(60));
    let mut need = 0;
    for verb in [["check"].as_slice(), &["up"], &["up", "-d"]] {
        let output = limited(&project, 256, verb).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{verb:?}: {told}");
        assert!(told.contains("60 children need") && told.contains("the hard limit is 256"), "{told}");
        need = told_need(&told);
    }
    assert!(!project.path("run").exists(), "something was begun");
    assert!(!limited(&project, need - 1, &["check"]).output().unwrap().status.success());
    let command = limited(&project, need, &["up"]);
    let launcher = project.start_by(command);
    launcher.wait_line("distinct PIDs");
    launcher.ok(&["down"]);
}

/// As many as fit, every connection of the control API in use by a reader of files, and all children killed at once.
#[test]
fn at_the_limit_of_descriptors_children_still_restart_and_stop() {
    const LIMIT: u64 = 256;
    let text = |count| "[supervisor]\nintensity = 1000\n".to_owned() + &numbered(count);
    let project = Project::new("");
    let fits = |count: &usize| {
        project.configure(&text(*count));
        limited(&project, LIMIT, &["check"]).output().unwrap().status.success()
    };
    let count = (1..LIMIT as usize).take_while(fits).last().unwrap();
    project.configure(&(text(count) + "\n"));
    let command = limited(&project, LIMIT, &["up"]);
    let mut launcher = project.start_by(command);
    launcher.wait_line("distinct PIDs");
    let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let followers: Vec<Aside> = names
        .iter()
        .take(16)
        .map(|name| {
            let mut follower = launcher.project.provost(&["logs", "-f", name]);
            Aside(follower.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        })
        .collect();
    let streams: Vec<UnixStream> = (0..16)
        .map(|_| {
            let mut stream = UnixStream::connect(launcher.project.path("run/control.sock")).unwrap();
            stream.write_all(b"GET /v1/logs/c0?follow HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let supervisor = launcher.pid_of("supervisor");
    let before = pids(&launcher, &names);
    before.iter().flatten().for_each(|pid| kill(*pid, libc::SIGKILL));
    for (name, pid) in names.iter().zip(&before) {
        launcher.wait_new_pid(name, pid.unwrap());
    }
    assert_eq!(launcher.pid_of("supervisor"), supervisor);
    drop(streams);
    drop(followers);

    // One more is refused, by whatever way it would come.
    fs::write(launcher.project.path("more.toml"), support::worker("more", "")).unwrap();
    let output = launcher.project.run(&["add", launcher.project.path("more.toml").to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("the hard limit is 256"), "{told}");
    launcher.project.configure(&text(count + 1));
    let output = launcher.project.run(&["reload", "--apply"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("the hard limit is 256"), "{told}");
    // Fewer are taken.
    launcher.project.configure(&text(count - 1));
    launcher.ok(&["reload", "--apply"]);
    launcher.ok(&["stop", "c0"]);
    launcher.ok(&["down"]);
    assert_eq!(launcher.wait_exit(), 0);
}

#[test]
fn instances_beyond_the_limit_of_descriptors_are_refused() {
    let one = support::worker("many", "instances = 1");
    let project = Project::new(&one);
    let command = limited(&project, 256, &["up"]);
    let launcher = project.start_by(command);
    launcher.wait_line("distinct PIDs");
    let output = launcher.project.run(&["scale", "many", "200"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("200 children need") && told.contains("the hard limit is 256"), "{told}");
    assert_eq!(launcher.json("counts")["specs"], 1);
    launcher.ok(&["scale", "many", "10"]);
    assert_eq!(launcher.json("counts")["active"], 10);
}

/// The command under a tracer that has a system call fail, in it and in all it starts. The process is the command's own.
fn with_refused(command: &Command, calls: &str, errno: &str) -> Option<Command> {
    let mut traced = Command::new("strace");
    traced.args(["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "signal=none"]);
    traced.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error={errno}"), "--"]);
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        println!("skipped with refused calls: there is no strace, or it may not trace");
        return None;
    }
    traced.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    Some(traced)
}

#[test]
fn a_call_that_is_refused_is_named_before_anything_starts() {
    let project = Project::new(&idle(&["a"]));
    for call in ["pidfd_open", "pidfd_send_signal", "memfd_create"] {
        for errno in ["ENOSYS", "EPERM"] {
            let verbs: &[&[&str]] = if call == "memfd_create" { &[&["up"]] } else { &[&["check"], &["up"]] };
            for verb in verbs {
                let Some(mut command) = with_refused(&project.provost(verb), call, errno) else { return };
                let output = command.output().unwrap();
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(69), "{call} {verb:?}: {told}");
                assert!(told.contains(&format!("{call}(2)")), "{told}");
            }
        }
    }
    assert!(!project.path("log/history.jsonl").exists());
}

#[test]
fn output_is_taken_where_splice_is_refused() {
    let script = "for n in $(seq 3000); do echo \"line $n\"; done; echo whole > done; exec tail -f /dev/null";
    for (calls, errno) in [("splice", "EPERM"), ("splice", "ENOSYS"), ("splice,tee", "EPERM")] {
        let project =
            Project::new(&support::scripted("a", script, "log = { max_size = \"8KiB\", max_files = 50 }"));
        let Some(command) = with_refused(&project.provost(&["up"]), calls, errno) else { return };
        let launcher = project.start_by(command);
        let expected: String = (1..=3000).map(|n| format!("line {n}\n")).collect();
        eventually("the whole output", || {
            let log = support::whole_log(&launcher.project.path("log/a.log"));
            (log.len() >= expected.len()).then_some(log).map(|log| assert_eq!(log, expected.as_bytes()))
        });
    }
}

/// A user of its own holds as many pipes as the kernel gives a user in full size.
#[test]
fn output_pipes_that_are_smaller_than_usual_are_said() {
    const USER: u32 = 61_234;
    let pages: usize = read(Path::new("/proc/sys/fs/pipe-user-pages-soft")).trim().parse().unwrap_or(0);
    if !(16..=65_536).contains(&pages) {
        return println!("skipped: fs.pipe-user-pages-soft is {pages}");
    }
    let Some(project) = Project::new(&idle(&["a"])).by_user(USER) else { return };
    let output = project.run(&["check"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("pipe"), "{output:?}");
    let holder = format!(
        "ulimit -n 8192; mkdir pipes; mkfifo pipes/p{{1..{0}}}; for f in pipes/*; do exec {{fd}}<>$f; done; \
         echo held > held; exec tail -f /dev/null",
        pages / 16 + 1
    );
    let mut command = Command::new("bash");
    command.args(["-c", &holder]).current_dir(project.dir.path()).uid(USER).gid(USER);
    let _holder = Aside(command.stdin(Stdio::null()).spawn().unwrap());
    eventually("all pipes", || project.path("held").exists().then_some(()));
    let output = project.run(&["check"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("output pipes hold less than 64 KiB"), "{told}");
    let launcher = project.start();
    launcher.wait_line("output pipes hold less than 64 KiB");
    launcher.wait_line("the output pipe of a holds only");
}

/// Children of each kind more cost as many descriptors as `check` counts for them, or less.
#[test]
fn what_children_hold_is_what_is_counted() {
    let kinds = |count: usize| -> String {
        let of = |n: usize| {
            let listen = format!(
                "listen = [{{ name = \"a\", unix = \"${{RUN_DIR}}/a{n}\" }}, {{ name = \"b\", unix = \"${{RUN_DIR}}/b{n}\" }}]"
            );
            support::worker(&format!("plain{n}"), "")
                + &support::worker(&format!("two{n}"), "log = { stderr = \"separate\" }")
                + &support::worker(&format!("null{n}"), "log = \"null\"")
                + &support::worker(&format!("listens{n}"), &listen)
        };
        (0..count).map(of).collect()
    };
    let project = Project::new("");
    let measured = |count: usize| {
        project.configure(&kinds(count));
        // Too few for any project.
        let output = limited(&project, 64, &["check"]).output().unwrap();
        let need = told_need(&String::from_utf8_lossy(&output.stderr));
        let launcher = project.clone().up();
        let supervisor = launcher.pid_of("supervisor").unwrap();
        let open = |pid: i32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
        let held = [open(supervisor), open(launcher.pid())];
        launcher.ok(&["down"]);
        (need, held)
    };
    let ((few, before), (many, after)) = (measured(1), measured(6));
    for (before, after) in before.into_iter().zip(after) {
        assert!(after - before <= many - few, "{} of {} descriptors", after - before, many - few);
        assert!(after < many, "{after} of {many} descriptors");
    }
}
