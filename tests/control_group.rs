//! The key `control`: who may use the control socket, and for what. Each test needs several users, which only root has.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use support::{Launcher, Project, eventually, scripted};

/// The group that the config names; it need not be in the database.
const OPS: u32 = 54_321;
/// A user in that group and one outside it, neither in the database.
const MEMBER: u32 = 54_322;
const STRANGER: u32 = 54_323;

/// A project that others may look up, with this value of `control`; `None`, with a reason, without root.
fn project(control: &str) -> Option<Project> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become other users");
        return None;
    }
    let project = Project::new("");
    project.configure(&config(control));
    fs::set_permissions(project.dir.path(), Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(project.config(), Permissions::from_mode(0o644)).unwrap();
    Some(project)
}

fn config(control: &str) -> String {
    format!("{control}\n{}", scripted("a", "echo words of a; exec sleep 1000", ""))
}

/// `provost ARGS...` by a user without any right, in these groups.
fn by(project: &Project, uid: u32, groups: &[u32], args: &[&str]) -> Output {
    command(project, uid, groups, args).output().unwrap()
}

fn command(project: &Project, uid: u32, groups: &[u32], args: &[&str]) -> Command {
    let groups = groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={groups}") };
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--reuid={uid}"), &format!("--regid={uid}"), &groups])
        .arg(env!("CARGO_BIN_EXE_provost"))
        .arg("-f")
        .arg(project.config())
        .args(args)
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

fn member(launcher: &Launcher, args: &[&str]) -> Output {
    by(&launcher.project, MEMBER, &[OPS], args)
}

fn assert_done(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains(words), "{words:?}: {output:?}");
}

/// One sentence, exit code 1, and nothing changed.
fn assert_refused(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains(words) && text.trim_end().lines().count() == 1, "{words:?}: {output:?}");
}

const OWNERS: &str = "only the launcher's own user and root may do that";
const CLOSED: &str = "you may not use the control socket";

#[test]
fn a_group_that_may_read_looks_at_everything_and_changes_nothing() {
    let Some(project) = project(&format!("control = {{ group = {OPS}, allow = \"read\" }}")) else { return };
    let launcher = project.up();
    let first = launcher.pid_of("a").unwrap();
    eventually("the child's words", || launcher.ok(&["logs", "a"]).contains("words of a").then_some(()));
    for (verb, words) in
        [("ps", "supervisor"), ("tree", "one_for_one"), ("counts", "workers"), ("plan", "nothing differs")]
    {
        let output = member(&launcher, &[verb]);
        assert_done(&output, words);
    }
    assert_done(&member(&launcher, &["status", "a"]), "words of a");
    assert_done(&member(&launcher, &["why", "a"]), "");
    assert_done(&member(&launcher, &["logs"]), "words of a");
    assert_done(&member(&launcher, &["logs", "a", "--json"]), "\"line\":\"words of a\"");
    assert_eq!(member(&launcher, &["logs", "b"]).status.code(), Some(4));
    for verb in [&["stop", "a"][..], &["restart", "a"], &["start", "a"], &["kill", "a"], &["scale", "a", "2"]]
    {
        assert_refused(&member(&launcher, verb), "your group may only read here");
    }
    for verb in [&["down"][..], &["reload"], &["remove", "a"], &["upgrade"]] {
        assert_refused(&member(&launcher, verb), OWNERS);
    }
    assert_eq!(launcher.pid_of("a"), Some(first));
    launcher.ok(&["restart", "a"]);
    assert_done(&member(&launcher, &["history"]), "stopped");
}

#[test]
fn a_group_that_may_operate_restarts_children_and_no_more() {
    let Some(project) = project(&format!("control = {{ group = {OPS}, allow = \"operate\" }}")) else {
        return;
    };
    let launcher = project.up();
    let first = launcher.pid_of("a").unwrap();
    assert_done(&member(&launcher, &["restart", "a"]), "a");
    let second = launcher.wait_new_pid("a", first);
    assert_done(&member(&launcher, &["stop", "a"]), "a");
    assert_eq!(launcher.pid_of("a"), None);
    assert_done(&member(&launcher, &["start", "a"]), "a");
    launcher.wait_new_pid("a", second);
    let child = launcher.project.path("b.toml");
    fs::write(&child, "[[child]]\nname = \"b\"\ncommand = [\"sleep\", \"1000\"]\n").unwrap();
    fs::set_permissions(&child, Permissions::from_mode(0o644)).unwrap();
    for verb in
        [&["down"][..], &["reload"], &["remove", "a"], &["upgrade"], &["add", child.to_str().unwrap()]]
    {
        assert_refused(&member(&launcher, verb), OWNERS);
    }
    assert!(launcher.pid_of("a").is_some());
}

#[test]
fn what_a_member_may_not_ask_is_refused_before_its_body_is_read() {
    let Some(project) = project(&format!("control = {{ group = {OPS}, allow = \"read\" }}")) else { return };
    let launcher = project.up();
    let ask = "use IO::Socket::UNIX; my ($socket, $path) = @ARGV; my $to = IO::Socket::UNIX->new(Peer => $socket); \
               print $to \"POST /v1/$path HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\n\"; \
               print while <$to>;";
    for path in ["upgrade", "children", "reload", "scale", "children/a/signal"] {
        let output = Command::new("setpriv")
            .args([&format!("--reuid={MEMBER}"), &format!("--regid={MEMBER}"), &format!("--groups={OPS}")])
            .args(["perl", "-e", ask])
            .arg(launcher.project.path("run/control.sock"))
            .arg(path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(" 403 ") && text.contains("not_permitted"), "{path}: {output:?}");
    }
}

#[test]
fn everyone_else_is_refused_with_one_sentence() {
    let Some(project) = project(&format!("control = {{ group = {OPS}, allow = \"operate\" }}")) else {
        return;
    };
    let launcher = project.up();
    for verb in [&["ps"][..], &["logs"], &["history"], &["stop", "a"], &["down"]] {
        assert_refused(&by(&launcher.project, STRANGER, &[], verb), CLOSED);
        assert_refused(&by(&launcher.project, STRANGER, &[STRANGER, 54_324], verb), CLOSED);
    }
    assert!(launcher.pid_of("a").is_some());
}

#[test]
fn without_the_key_only_the_owner_and_root_are_served() {
    let Some(project) = project("") else { return };
    let launcher = project.up();
    assert_refused(&member(&launcher, &["ps"]), CLOSED);
    let socket = fs::metadata(launcher.project.path("run/control.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_reload_changes_who_is_served() {
    let Some(project) = project("") else { return };
    let launcher = project.up();
    let open = format!("control = {{ group = {OPS} }}");
    launcher.project.configure(&config(&open));
    assert!(launcher.ok(&["plan"]).contains("control"), "the plan tells of the key");
    launcher.ok(&["reload", "--apply"]);
    assert_done(&member(&launcher, &["ps"]), "supervisor");
    // It stays so over another supervisor process.
    launcher.replace_supervisor();
    assert_done(&member(&launcher, &["ps"]), "supervisor");
    launcher.project.configure(&config(""));
    launcher.ok(&["reload", "--apply"]);
    assert_refused(&member(&launcher, &["ps"]), CLOSED);
}

#[test]
fn the_launcher_of_an_ordinary_user_may_be_shared_too() {
    // Its own group is the one group that it may give a file to.
    let own = support::NOBODY;
    let Some(project) = project(&format!("control = {{ group = {own}, allow = \"operate\" }}")) else {
        return;
    };
    let launcher = project.by_nobody().unwrap().up();
    let first = launcher.pid_of("a").unwrap();
    assert_done(&by(&launcher.project, MEMBER, &[own], &["ps"]), "supervisor");
    assert_done(&by(&launcher.project, MEMBER, &[own], &["restart", "a"]), "a");
    launcher.wait_new_pid("a", first);
    assert_refused(&by(&launcher.project, MEMBER, &[own], &["down"]), OWNERS);
    assert_refused(&by(&launcher.project, STRANGER, &[], &["ps"]), CLOSED);
}

#[test]
fn a_member_finds_the_launcher_in_the_default_folders_of_the_files_owner() {
    let Some(project) = project("") else { return };
    let name = format!("group-{}", std::process::id());
    let [run, log] =
        ["/run/provost", "/var/log/provost"].map(|folder| std::path::Path::new(folder).join(&name));
    fs::write(project.config(), format!("name = \"{name}\"\ncontrol = {{ group = {OPS} }}\n{}", config("")))
        .unwrap();
    let mut launcher = project.up();
    assert_done(&member(&launcher, &["ps"]), "supervisor");
    eventually("the child's words", || launcher.ok(&["logs", "a"]).contains("words of a").then_some(()));
    assert_done(&member(&launcher, &["logs", "a"]), "words of a");
    launcher.ok(&["down"]);
    assert_eq!(launcher.wait_exit(), 0);
    assert_eq!(member(&launcher, &["ps"]).status.code(), Some(7));
    for folder in [run, log] {
        let _ = fs::remove_dir_all(folder);
    }
}

#[test]
fn a_stranger_who_listens_in_our_place_is_asked_nothing() {
    let Some(project) = project("") else { return };
    for folder in ["run", "log"] {
        let folder = project.path(folder);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&folder, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    let launcher = project.clone().start_by(command(&project, STRANGER, &[], &["up"]));
    launcher.wait_line("distinct PIDs");
    for verb in [&["ps"][..], &["stop", "a"], &["down"]] {
        assert_refused(&launcher.project.run(verb), &format!("user {STRANGER} listens on"));
    }
    assert_done(&by(&launcher.project, STRANGER, &[], &["ps"]), "supervisor");
    by(&launcher.project, STRANGER, &[], &["down"]);
}
