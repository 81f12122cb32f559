//! What an accepted file means: defaults, every key, instances, places, and the way into a journal and back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use provost::config::{
    Account, Context, ControlGroup, GroupMay, Inherit, KeeperLoss, KillMode, Limits, Listen, LogFile, Output,
    ProcessSpec, Project, Ready, ReadyKind, StderrMode, parse,
};
use provost::os::limits::Rlimit;
use provost::rules::{
    AutoShutdown, Backoff, ChildSpec, Flags, GiveUp, Kind, Restart, Shutdown, Signal, Start, StopStep,
    Strategy, SupervisorSpec, WorkerSpec,
};

const MINIMAL: &str = include_str!("config/good/minimal.toml");
const EVERY_KEY: &str = include_str!("config/good/every_key.toml");
const SHIPPED: &str = include_str!("../supervisor.toml");

const TERM: Signal = Signal(15);

fn user(variables: &[(&str, &str)]) -> Context {
    let env = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    Context { env, uid: 1000, ..Context::default() }
}

fn project(text: &str, context: &Context) -> Project {
    match parse(Path::new("/srv/app/supervisor.toml"), text, context) {
        Ok(loaded) => loaded.project,
        Err(errors) => panic!("{errors:?}"),
    }
}

fn polite(signal: i32, wait: Option<u64>) -> StopStep {
    StopStep { signal: Signal(signal), wait: wait.map(Duration::from_millis) }
}

fn child<'t>(tree: &'t SupervisorSpec, name: &str) -> &'t ChildSpec {
    tree.children.iter().find(|child| child.name == name).expect("a child of this name")
}

fn inner<'t>(tree: &'t SupervisorSpec, name: &str) -> &'t SupervisorSpec {
    match &child(tree, name).kind {
        Kind::Supervisor(inner) => inner,
        Kind::Worker(_) => panic!("{name} is a worker"),
    }
}

fn worker(child: &ChildSpec) -> &WorkerSpec {
    match &child.kind {
        Kind::Worker(worker) => worker,
        Kind::Supervisor(_) => panic!("{} is a supervisor", child.name),
    }
}

#[test]
fn a_file_of_names_and_commands_has_otps_defaults() {
    let project = project(MINIMAL, &user(&[("HOME", "/home/ann")]));
    let web = ChildSpec {
        name: "web".into(),
        restart: Restart::Permanent,
        significant: false,
        shutdown: Shutdown::Polite(vec![polite(15, Some(5_000))]),
        backoff: None,
        kind: Kind::Worker(WorkerSpec::default()),
    };
    assert_eq!(project.tree, SupervisorSpec { flags: Flags::default(), children: vec![web] });
    let run = ProcessSpec {
        program: "/bin/sleep".into(),
        argv: vec!["/bin/sleep".into(), "60".into()],
        base_name: "web".into(),
        instance: None,
        cwd: "/srv/app".into(),
        env: BTreeMap::new(),
        env_inherit: Inherit::Basic,
        umask: 0o022,
        listen: Vec::new(),
        ready: None,
        output: Output::File(LogFile {
            path: "/home/ann/.local/state/provost/app/web.log".into(),
            max_size: 10 << 20,
            max_files: 5,
            stderr: StderrMode::Merge,
        }),
        condition_exists: None,
        kill_mode: KillMode::Tree,
        account: None,
        nice: None,
        oom_score_adj: None,
        limits: Limits::default(),
        no_new_privs: false,
    };
    assert_eq!(project.processes, BTreeMap::from([("web".into(), run)]));
    assert_eq!(project.on_keeper_loss, KeeperLoss::Kill);
    assert_eq!(project.control, None);
    assert_eq!(project.file, Path::new("/srv/app/supervisor.toml"));
}

#[test]
fn every_key_of_the_root_and_of_supervisors_is_taken() {
    let project = project(EVERY_KEY, &user(&[("HOME", "/home/ann")]));
    assert_eq!(project.name, "shop");
    assert_eq!(project.run_dir, Path::new("/run/shop"));
    assert_eq!(project.log_dir, Path::new("/run/shop/log"));
    assert_eq!(project.control, Some(ControlGroup { gid: 4321, allow: GroupMay::Operate }));
    assert_eq!(
        project.tree.flags,
        Flags {
            strategy: Strategy::RestForOne,
            intensity: 3,
            period: Duration::from_secs(60),
            auto_shutdown: AutoShutdown::AnySignificant,
            give_up: GiveUp::Child,
        }
    );
    let names: Vec<_> = project.tree.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["migrate", "pool", "tail", "quiet"]);
    let pool = child(&project.tree, "pool");
    assert_eq!((pool.restart, pool.significant), (Restart::Transient, true));
    assert_eq!(pool.shutdown, Shutdown::Polite(vec![polite(15, Some(60_000))]));
    assert_eq!(
        inner(&project.tree, "pool").flags,
        Flags {
            strategy: Strategy::OneForAll,
            intensity: 5,
            period: Duration::from_secs(30),
            auto_shutdown: AutoShutdown::AllSignificant,
            give_up: GiveUp::Escalate,
        }
    );
}

#[test]
fn every_key_of_a_process_is_taken() {
    let project = project(EVERY_KEY, &user(&[("HOME", "/home/ann")]));
    let pool = inner(&project.tree, "pool");
    let names: Vec<_> = pool.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["web@1", "web@2"]);
    assert_eq!(
        pool.children[1],
        ChildSpec {
            name: "web@2".into(),
            restart: Restart::Transient,
            significant: true,
            shutdown: Shutdown::Polite(vec![polite(2, Some(1_000)), polite(15, Some(500))]),
            backoff: Some(Backoff {
                initial: Duration::from_millis(100),
                factor_milli: 1_500,
                max: Duration::from_secs(2),
                jitter_milli: 100,
                reset_after: Some(Duration::from_secs(60)),
            }),
            kind: Kind::Worker(WorkerSpec {
                start: Start::Ready { timeout: Some(Duration::from_secs(10)) },
                success_codes: [2, 3].into(),
                success_signals: [TERM, Signal(2), Signal(40)].into(),
            }),
        }
    );
    let argv = ["./bin/web", "--socket", "/run/shop/web@2.sock", "--index=2", "${literal}", "$HOME"];
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        project.processes["web@2"],
        ProcessSpec {
            program: "/srv/app/work/./bin/web".into(),
            argv: argv.map(str::to_owned).into(),
            base_name: "web".into(),
            instance: Some(2),
            cwd: "/srv/app/work".into(),
            env: [variable("HOME_OF_WEB", "/home/ann/web"), variable("EMPTY", "")].into(),
            env_inherit: Inherit::These(vec!["SSH_AUTH_SOCK".into()]),
            umask: 0o027,
            listen: vec![
                Listen { name: "web".into(), unix: "/run/shop/web@2.sock".into(), mode: 0o660 },
                Listen { name: "admin".into(), unix: "/run/shop/web@2-admin.sock".into(), mode: 0o600 },
            ],
            ready: Some(Ready { kind: ReadyKind::Notify, timeout: Some(Duration::from_secs(10)) }),
            output: Output::File(LogFile {
                path: "/run/shop/log/web@2.out".into(),
                max_size: 64 << 20,
                max_files: 2,
                stderr: StderrMode::Merge,
            }),
            condition_exists: Some("/srv/app/enabled".into()),
            kill_mode: KillMode::Group,
            account: Some(Account { uid: 4_000_000, gid: 4_000_001, groups: vec![4_000_001], login: None }),
            nice: Some(-5),
            oom_score_adj: Some(300),
            limits: Limits {
                each: [(Rlimit::Nofile, 512), (Rlimit::Core, 0), (Rlimit::CpuTime, 120)].into(),
                memory: Some(64 << 20),
                cpu_milli: Some(1_500),
                pids: Some(20),
            },
            no_new_privs: true,
        }
    );
}

#[test]
fn words_with_two_names_and_times_with_two_ends() {
    let project = project(EVERY_KEY, &user(&[("HOME", "/home/ann")]));
    let migrate = worker(child(&project.tree, "migrate"));
    assert_eq!(migrate.start, Start::Oneshot { timeout: Some(Duration::from_secs(600)) });
    assert_eq!(migrate.success_codes, [77].into());
    assert_eq!(project.processes["migrate"].ready, None);

    let tail = child(&project.tree, "tail");
    assert_eq!((tail.restart, &tail.shutdown), (Restart::Temporary, &Shutdown::BrutalKill));
    let run = &project.processes["tail"];
    assert_eq!(run.program, Path::new("/bin/sh"));
    assert_eq!(run.argv, ["/bin/sh", "-c", "tail -F '/run/shop/log/web@1.out' | grep $$"]);
    assert_eq!((&run.env_inherit, &run.output), (&Inherit::All, &Output::Inherit));

    let quiet = child(&project.tree, "quiet");
    assert_eq!(quiet.restart, Restart::Permanent);
    assert_eq!(quiet.shutdown, Shutdown::Polite(vec![polite(15, Some(0))]));
    assert_eq!(worker(quiet).start, Start::Ready { timeout: None });
    assert_eq!(project.processes["quiet"].output, Output::Null);
}

#[test]
fn readiness_waits_30_seconds_and_a_oneshot_as_long_as_it_takes() {
    let text = "[[child]]\nname = 'a'\ncommand = ['/x']\nready = { notify = true }\n\
                [[child]]\nname = 'b'\ntype = 'oneshot'\ncommand = ['/x']\n";
    let project = project(text, &user(&[]));
    let start = |name| worker(child(&project.tree, name)).start;
    assert_eq!(start("a"), Start::Ready { timeout: Some(Duration::from_secs(30)) });
    assert_eq!(start("b"), Start::Oneshot { timeout: None });
}

#[test]
fn one_instance_asked_for_is_numbered_too() {
    let text = "[[child]]\nname = 'a'\ninstances = 1\ncommand = ['/x', '${NAME}']\n";
    let project = project(text, &user(&[]));
    assert_eq!(project.tree.children[0].name, "a@1");
    assert_eq!(project.processes["a@1"].argv, ["/x", "a@1"]);
}

#[test]
fn a_parent_may_stand_below_its_children() {
    let text = "[[child]]\nname = 'a'\nparent = 's'\ncommand = ['/x']\n\
                [[child]]\nname = 's'\ntype = 'supervisor'\n";
    let project = project(text, &user(&[]));
    assert_eq!(inner(&project.tree, "s").children[0].name, "a");
}

#[test]
fn a_template_is_the_one_child_of_its_supervisor() {
    let text = "[supervisor]\nstrategy = 'simple_one_for_one'\n\
                [[child]]\nname = 'job'\nrestart = 'temporary'\ncommand = ['/x']\n";
    let project = project(text, &user(&[]));
    assert_eq!(project.tree.flags.strategy, Strategy::SimpleOneForOne);
    let names: Vec<_> = project.tree.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["job"]);
    assert!(project.processes.contains_key("job"));
}

#[test]
fn the_places_follow_the_user_and_the_folder() {
    let at = |context: &Context, file: &str| {
        let loaded = parse(Path::new(file), MINIMAL, context).expect("a good file");
        (loaded.project.name, loaded.project.run_dir, loaded.project.log_dir)
    };
    let places = |name: &str, run: &str, log: &str| (name.to_owned(), PathBuf::from(run), PathBuf::from(log));
    let root = Context { uid: 0, ..user(&[("XDG_RUNTIME_DIR", "/run/user/0"), ("HOME", "/root")]) };
    assert_eq!(
        at(&root, "/srv/My App/supervisor.toml"),
        places("my-app", "/run/provost/my-app", "/var/log/provost/my-app")
    );
    let session = user(&[("XDG_RUNTIME_DIR", "/run/user/1000"), ("XDG_STATE_HOME", "/state")]);
    assert_eq!(
        at(&session, "/srv/app/x.toml"),
        places("app", "/run/user/1000/provost/app", "/state/provost/app")
    );
    let bare = user(&[("XDG_RUNTIME_DIR", "relative"), ("HOME", "")]);
    assert_eq!(
        at(&bare, "/supervisor.toml"),
        places("project", "/tmp/provost-1000/project", "/tmp/provost-1000/project/log")
    );
}

#[test]
fn a_command_is_looked_up_beside_provost_before_path() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let program = |place: &str, name: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let place = folder.path().join(place);
        std::fs::create_dir_all(&place).expect("a folder");
        std::fs::write(place.join(name), "").expect("a file");
        std::fs::set_permissions(place.join(name), std::fs::Permissions::from_mode(mode)).expect("chmod");
        place.join(name)
    };
    let beside = program("beside", "both", 0o755);
    program("path", "both", 0o755);
    program("beside", "not-executable", 0o644);
    let second = program("path", "not-executable", 0o755);
    let path = format!("relative:{}", folder.path().join("path").display());
    let uid = nix::unistd::geteuid().as_raw();
    let context = Context { beside: Some(folder.path().join("beside")), uid, ..user(&[("PATH", &path)]) };
    let text = "[[child]]\nname = 'a'\ncommand = ['both', 'x']\n[[child]]\nname = 'b'\ncommand = ['not-executable']\n";
    let project = project(text, &context);
    assert_eq!(project.processes["a"].program, beside);
    assert_eq!(project.processes["a"].argv, ["both", "x"]);
    assert_eq!(project.processes["b"].program, second);
}

#[test]
fn what_others_could_have_put_beside_provost_is_not_taken() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::TempDir::new().expect("a folder");
    let chmod = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    };
    let program = |place: &str| {
        let place = folder.path().join(place);
        std::fs::create_dir_all(&place).expect("a folder");
        std::fs::write(place.join("both"), "").expect("a file");
        chmod(&place.join("both"), 0o755);
        place
    };
    let (beside, path) = (program("beside"), program("path"));
    let uid = nix::unistd::geteuid().as_raw();
    let text = "[[child]]\nname = 'a'\ncommand = ['both']\n";
    for (changed, mode) in [(beside.clone(), 0o777), (beside.join("both"), 0o757)] {
        chmod(&changed, mode);
        let variables = [("PATH", path.to_str().expect("text"))];
        let context = Context { beside: Some(beside.clone()), uid, ..user(&variables) };
        let loaded = parse(Path::new("/srv/app/supervisor.toml"), text, &context).expect("accepted");
        assert_eq!(loaded.project.processes["a"].program, path.join("both"));
        let warning = loaded.warnings.iter().map(ToString::to_string).collect::<String>();
        assert!(warning.contains("beside provost is not taken"), "{warning}");
        assert!(warning.contains("can be written by others"), "{warning}");
        chmod(&changed, 0o755);
    }
}

#[test]
fn a_project_survives_the_journal() {
    let project = project(EVERY_KEY, &user(&[("HOME", "/home/ann")]));
    let bytes = postcard::to_stdvec(&project).expect("encoded");
    assert_eq!(postcard::from_bytes::<Project>(&bytes).expect("decoded"), project);
}

#[test]
fn the_shipped_file_is_accepted_without_a_warning() {
    let engine = Path::new(env!("CARGO_BIN_EXE_reddit-engine"));
    let client = Path::new(env!("CARGO_BIN_EXE_reddit-client"));
    let uid = nix::unistd::geteuid().as_raw();
    let context = Context { beside: engine.parent().map(Path::to_path_buf), uid, ..user(&[]) };
    let loaded = parse(Path::new("/srv/app/supervisor.toml"), SHIPPED, &context).expect("the shipped file");
    assert_eq!(loaded.warnings, []);
    let project = loaded.project;
    assert_eq!(project.name, "reddit");
    assert_eq!(project.tree.flags.strategy, Strategy::OneForOne, "the clients survive the engine");
    assert_eq!(project.processes["engine"].program, engine);
    assert_eq!(project.processes["client@3"].program, client);
    assert_eq!(project.processes.len(), 4);
    assert_eq!(project.processes["engine"].listen[0].name, "engine", "the node that the clients look for");
}
