//! The verbs' exit codes and requests, against a made-up launcher.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use clap::Parser;
use provost::cli::{self, Args, Exit, Launch, SuperviseArgs, UpArgs};
use provost::control::{
    ApiError, Call, ChildJson, ErrorCode, Member, Request, Response, Role, SOCKET, TreeJson, VERSION, serve,
};
use provost::rules::{Phase, Restart};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::{broadcast, mpsc, watch};

/// A project in a directory of its own, without a launcher.
struct Project {
    dir: TempDir,
}

impl Project {
    fn new() -> Project {
        let project = Project { dir: tempfile::tempdir().unwrap() };
        let run_dir = project.dir.path().join("run");
        std::fs::create_dir(&run_dir).unwrap();
        project.configure(&format!(
            "run_dir = {run_dir:?}\n[[child]]\nname = \"a\"\ncommand = [\"sleep\", \"9\"]\n"
        ));
        project
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("supervisor.toml")
    }

    /// Does what `provost -f FILE LINE` does.
    fn run(&self, line: &str) -> Exit {
        let file = self.file();
        let words = ["provost", "-f", file.to_str().unwrap()].into_iter().chain(line.split(' '));
        let args = Args::try_parse_from(words).unwrap();
        cli::run(args, |_, launch| panic!("{launch:?}"))
    }
}

/// A project with a launcher: a server in a thread, and a process in the place of the keeper.
struct Launcher {
    project: Project,
    asked: Arc<Mutex<Vec<Request>>>,
    keeper: Arc<Mutex<Child>>,
    /// Whether the keeper outlives a `down`.
    stays: Arc<AtomicBool>,
}

impl Launcher {
    fn start() -> Launcher {
        let project = Project::new();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keeper = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let keeper = Arc::new(Mutex::new(keeper));
        let listener =
            std::os::unix::net::UnixListener::bind(project.dir.path().join("run").join(SOCKET)).unwrap();
        let stays = Arc::new(AtomicBool::new(false));
        let (remembered, kept, staying) = (Arc::clone(&asked), Arc::clone(&keeper), Arc::clone(&stays));
        std::thread::spawn(move || live(listener, &remembered, &kept, &staying));
        Launcher { project, asked, keeper, stays }
    }

    /// Runs a verb; returns its exit code and the requests it made.
    fn run(&self, line: &str) -> (Exit, Vec<Request>) {
        let exit = self.project.run(line);
        (exit, std::mem::take(&mut *self.asked.lock().unwrap()))
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let mut keeper = self.keeper.lock().unwrap();
        keeper.kill().unwrap();
        keeper.wait().unwrap();
    }
}

fn live(
    listener: std::os::unix::net::UnixListener,
    asked: &Mutex<Vec<Request>>,
    keeper: &Mutex<Child>,
    stays: &AtomicBool,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let (calls, mut inbox) = mpsc::channel::<Call>(8);
        tokio::spawn(serve(UnixListener::from_std(listener).unwrap(), calls, watch::channel(None).1));
        while let Some(Call { request, reply }) = inbox.recv().await {
            let answer = answer(&request, keeper, stays);
            asked.lock().unwrap().push(request);
            // The caller may be gone.
            let _ = reply.send(answer);
        }
    });
}

fn answer(request: &Request, keeper: &Mutex<Child>, stays: &AtomicBool) -> Result<Response, ApiError> {
    match request {
        Request::Logs(_) | Request::History => Err(refusal(ErrorCode::NotFound)),
        Request::Tree => {
            let root = child("demo", Phase::Running);
            Ok(Response::Tree(TreeJson { version: VERSION, project: "demo".into(), root }))
        }
        Request::Members => {
            let pid = Some(keeper.lock().unwrap().id().cast_signed());
            let keeper = Member {
                name: "keeper".into(),
                role: Role::Keeper,
                phase: None,
                pid,
                run: 1,
                restarts: 0,
                marks: None,
            };
            Ok(Response::Members("demo".into(), vec![keeper]))
        }
        Request::Child(name)
        | Request::Start(name)
        | Request::Stop(name)
        | Request::Restart(name)
        | Request::Signal(name, _) => match name.as_str() {
            "running" => Ok(Response::Child(child(name, Phase::Running))),
            "stopped" if matches!(request, Request::Signal(..)) => Err(refusal(ErrorCode::NotRunning)),
            "stopped" => Ok(Response::Child(child(name, Phase::Stopped))),
            "busy" => Err(refusal(ErrorCode::Running)),
            "slow" => Err(refusal(ErrorCode::Timeout)),
            _ => Err(refusal(ErrorCode::NotFound)),
        },
        Request::About | Request::Upgrade(_) => Err(refusal(ErrorCode::NotRunning)),
        Request::Down => {
            if !stays.load(Ordering::Relaxed) {
                keeper.lock().unwrap().kill().unwrap();
            }
            Ok(Response::Done)
        }
        // The sender is gone at once, so the stream ends.
        Request::Events { .. } => Ok(Response::Events { past: Vec::new(), coming: broadcast::channel(1).1 }),
        Request::Health => Ok(Response::Done),
        Request::Why(_)
        | Request::Counts(_)
        | Request::Add(_)
        | Request::Remove(_)
        | Request::Scale(..)
        | Request::Plan
        | Request::Reload(_) => Err(refusal(ErrorCode::BadRequest)),
    }
}

fn child(name: &str, phase: Phase) -> ChildJson {
    ChildJson {
        name: name.into(),
        kind: "worker".into(),
        restart: Restart::Permanent,
        significant: false,
        phase,
        pid: (phase == Phase::Running).then_some(1),
        run: 1,
        restarts: 0,
        last_exit: None,
        left_behind: None,
        spec: None,
        supervisor: None,
    }
}

fn refusal(code: ErrorCode) -> ApiError {
    ApiError::new(code, format!("{code:?}"))
}

fn named(of: fn(String) -> Request, names: &[&str]) -> Vec<Request> {
    names.iter().map(|name| of((*name).to_owned())).collect()
}

#[test]
fn all_names_are_tried_in_order_and_the_highest_code_wins() {
    let launcher = Launcher::start();
    assert_eq!(
        launcher.run("stop nobody stopped busy running"),
        (Exit::NoSuchChild, named(Request::Stop, &["nobody", "stopped", "busy", "running"]))
    );
    assert_eq!(
        launcher.run("start busy running"),
        (Exit::Failed, named(Request::Start, &["busy", "running"]))
    );
    assert_eq!(launcher.run("restart running"), (Exit::Ok, named(Request::Restart, &["running"])));
    let hup = |name: &str| Request::Signal(name.into(), 1);
    assert_eq!(
        launcher.run("kill -s HUP running stopped running"),
        (Exit::NotRunning, vec![hup("running"), hup("stopped"), hup("running")])
    );
}

#[test]
fn a_child_that_takes_too_long_is_told_and_the_next_name_is_tried() {
    let launcher = Launcher::start();
    let asked = named(Request::Stop, &["slow", "running"]);
    assert_eq!(launcher.run("stop slow running"), (Exit::TimedOut, asked));
}

/// Before they show anything, some ask whether that is the whole truth (safe mode).
#[test]
fn reading_verbs_read() {
    let launcher = Launcher::start();
    for flag in ["", " --json"] {
        assert_eq!(launcher.run(&format!("ps{flag}")), (Exit::Ok, vec![Request::About, Request::Members]));
        assert_eq!(launcher.run(&format!("tree{flag}")), (Exit::Ok, vec![Request::About, Request::Tree]));
        let status = |name: &str, exit| {
            assert_eq!(
                launcher.run(&format!("status {name}{flag}")),
                (exit, vec![Request::About, Request::Child(name.into())])
            );
        };
        status("running", Exit::Ok);
        status("stopped", Exit::NotRunning);
        status("nobody", Exit::NoSuchChild);
    }
}

#[test]
fn down_waits_for_the_launcher_itself() {
    let launcher = Launcher::start();
    assert_eq!(launcher.run("down"), (Exit::Ok, vec![Request::Members, Request::Down]));
    let state = launcher.keeper.lock().unwrap().try_wait().unwrap();
    assert!(state.is_some(), "down came back before the keeper had ended");
}

#[test]
fn down_says_that_it_waits_no_longer() {
    let launcher = Launcher::start();
    launcher.stays.store(true, Ordering::Relaxed);
    assert_eq!(launcher.run("down --timeout 20ms").0, Exit::TimedOut);
}

#[test]
fn without_a_launcher_every_verb_ends_with_7() {
    let project = Project::new();
    for line in ["ps", "tree", "status a", "start a", "stop a", "restart a", "kill a", "down", "events"] {
        assert_eq!(project.run(line), Exit::NoLauncher, "{line}");
    }
    drop(std::os::unix::net::UnixListener::bind(project.dir.path().join("run").join(SOCKET)).unwrap());
    assert_eq!(project.run("ps"), Exit::NoLauncher, "a socket that was left behind");
}

#[test]
fn a_bad_config_file_ends_with_78() {
    let project = Project::new();
    assert_eq!(project.run("check"), Exit::Ok);
    project.configure("nonsense = true\n");
    assert_eq!(project.run("check"), Exit::BadConfig);
    project.configure("run_dir = 7\n");
    for line in ["ps", "check"] {
        assert_eq!(project.run(line), Exit::BadConfig, "{line}");
    }
    std::fs::remove_file(project.file()).unwrap();
    for line in ["ps", "check"] {
        assert_eq!(project.run(line), Exit::BadConfig, "{line}");
    }
}

#[test]
fn up_and_supervise_are_handed_on() {
    let launched = |line: &str| {
        let seen = Cell::new(None);
        let exit = cli::run(Args::try_parse_from(line.split(' ')).unwrap(), |file, launch| {
            seen.set(Some((file.map(PathBuf::from), launch)));
            Exit::Of(9)
        });
        assert_eq!(exit, Exit::Of(9));
        seen.into_inner().unwrap()
    };
    let up = |detach, ready_fd| Launch::Up(UpArgs { detach, ready_fd });
    assert_eq!(launched("provost -f x.toml"), (Some("x.toml".into()), up(false, None)));
    assert_eq!(launched("provost up -d -f x.toml"), (Some("x.toml".into()), up(true, None)));
    assert_eq!(launched("provost -f x.toml up --ready-fd 3"), (Some("x.toml".into()), up(false, Some(3))));
    assert_eq!(launched("provost supervise"), (None, Launch::Supervise(SuperviseArgs::default())));
}
