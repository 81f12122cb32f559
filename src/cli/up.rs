//! `provost up`: checks everything that can be checked, then becomes the keeper.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::{Exit, UpArgs, enforcement, leftovers, print, say};
use crate::capture::{LOG_DIR_MODE, open_own_for_appending};
use crate::config::{self, Context, Loaded, Project};
use crate::keeper::{self, LAUNCH_VARIABLE, Plan, RUN_DIR_VARIABLE, Survivor};
use crate::os::cgroup::Home;
use crate::os::folder::{Access, Folder};
use crate::os::leftovers::Launch;
use crate::os::lock::{Lock, LockError};
use crate::os::spawn::{Birth, Born, Parent, Terms};
use crate::os::{self, memfd, pidfd, process, rundir, wait};
use crate::runtime::{Journal, World};

/// How long a background launcher that said nothing more may take to end.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// How much of the end of its log is looked at for its last line.
const LOG_END: usize = 4096;

/// Starts the project described by `file`.
pub fn run(file: Option<&Path>, args: UpArgs) -> Exit {
    match start(file, args) {
        Ok(exit) => exit,
        Err(refusal) => {
            for sentence in &refusal.sentences {
                say(sentence);
            }
            refusal.exit
        }
    }
}

/// Why nothing was started, or why it ended.
struct Refusal {
    exit: Exit,
    sentences: Vec<String>,
}

fn refuse(exit: Exit, sentence: String) -> Refusal {
    Refusal { exit, sentences: vec![sentence] }
}

fn cannot(what: &str) -> impl Fn(io::Error) -> Refusal {
    move |error| refuse(Exit::BootFailed, format!("cannot {what}: {error}"))
}

fn start(file: Option<&Path>, args: UpArgs) -> Result<Exit, Refusal> {
    // Taken over first: a number that nothing was passed at may be anybody's later.
    let ready = args.ready_fd.map(process::inherited).transpose();
    let ready = ready
        .map_err(|errno| refuse(Exit::Usage, format!("--ready-fd is for provost's own use: {errno}")))?;
    let project = load(file)?;
    if let Some(sentence) = enforcement::obstacle(&project) {
        return Err(refuse(Exit::BootFailed, sentence));
    }
    prepare_folders(&project)?;
    let lock = lock(&project)?;
    if args.detach {
        drop(lock);
        return detach(&project);
    }
    // In the background it was started as `/proc/self/exe`, which says nothing in `ps`.
    let _ = process::set_name("provost");
    let journal = memfd::create(c"provost-journal").map_err(cannot("make the journal by memfd_create(2)"))?;
    let (run_dir, file) = (project.run_dir.clone(), project.file.clone());
    let cgroups = leftovers::remove(&run_dir).map_err(|sentence| refuse(Exit::BootFailed, sentence))?;
    for sentence in enforcement::doubts(&project, Some(&cgroups)) {
        say(format_args!("warning: {sentence}"));
    }
    let longest_stop = project.tree.longest_stop();
    write_world(&journal, project)?;
    let plan = plan(journal, lock, &run_dir, &file, cgroups, ready, longest_stop)
        .map_err(cannot("prepare the supervisor process"))?;
    // What the config file took is not needed any more, and this process stays.
    process::return_free_memory();
    let ended = keeper::run(plan).map_err(cannot("keep the processes"))?;
    for Survivor { pid, name, state } in &ended.left {
        say(format_args!(
            "PID {pid} ({name}, state {state}) could not be killed: it is frozen or waits in the kernel; it ends \
             when that is over"
        ));
    }
    Ok(Exit::Of(ended.code))
}

fn load(file: Option<&Path>) -> Result<Project, Refusal> {
    let refused = |diagnostics: Vec<config::Diagnostic>| Refusal {
        exit: Exit::BadConfig,
        sentences: diagnostics.iter().map(ToString::to_string).collect(),
    };
    let path = config::locate(file, None).map_err(|diagnostic| refused(vec![diagnostic]))?;
    let Loaded { project, warnings } = config::load(&path, &Context::of_process()).map_err(refused)?;
    for warning in warnings {
        say(format_args!("warning: {warning}"));
    }
    Ok(project)
}

fn prepare_folders(project: &Project) -> Result<(), Refusal> {
    let (run, log) = (project.run_dir.display(), project.log_dir.display());
    rundir::create(&project.run_dir).map_err(|error| {
        refuse(Exit::BootFailed, format!("cannot use the run dir {run}: {error}; choose another run_dir"))
    })?;
    Folder::make(&project.log_dir, LOG_DIR_MODE).map(drop).map_err(|error| {
        refuse(Exit::BootFailed, format!("cannot use the log dir {log}: {error}; choose another log_dir"))
    })
}

fn lock(project: &Project) -> Result<Lock, Refusal> {
    let run_dir = project.run_dir.display();
    let lock = Lock::acquire(&project.run_dir).map_err(|error| match error {
        LockError::Held { pid } => {
            let holder = pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
            let name = &project.name;
            let advice = "see it with: provost ps, end it with: provost down";
            refuse(Exit::AnotherLauncher, format!("another launcher{holder} runs project {name}; {advice}"))
        }
        LockError::Io(error) => {
            refuse(Exit::BootFailed, format!("cannot lock {run_dir}/lock: {error}; is it yours?"))
        }
    })?;
    if let Some(uid) = lock.foreign() {
        say(format_args!(
            "warning: user {uid} holds the name of this project's lock; should {run_dir}/lock be removed, \
             nothing would keep a second launcher away"
        ));
    }
    Ok(lock)
}

fn write_world(journal: &OwnedFd, project: Project) -> Result<(), Refusal> {
    let world = World::new(project)
        .map_err(|error| refuse(Exit::BadConfig, format!("the tree is not acceptable: {error:?}")))?;
    let copy = journal.try_clone().map_err(cannot("write the journal"))?;
    Journal::create(copy, &world).map_err(|error| refuse(Exit::BootFailed, error.to_string()))?;
    Ok(())
}

/// The supervisor process: this very program, whatever becomes of its file.
fn plan(
    journal: OwnedFd,
    lock: Lock,
    run_dir: &Path,
    file: &Path,
    cgroups: Home,
    ready: Option<OwnedFd>,
    longest_stop: Option<Duration>,
) -> io::Result<Plan> {
    let mut env = environment()?;
    // By the first two a later launcher finds it if it is left behind; the third it reads if its journal is lost.
    let launch = Launch::own()?.to_string();
    for (variable, value) in [
        (RUN_DIR_VARIABLE, run_dir.as_os_str().as_bytes()),
        (LAUNCH_VARIABLE, launch.as_bytes()),
        (config::CONFIG_VARIABLE, file.as_os_str().as_bytes()),
    ] {
        let name = [variable.as_bytes(), b"="].concat();
        env.retain(|pair| !pair.as_bytes().starts_with(&name));
        env.push(CString::new([&name, value].concat())?);
    }
    Ok(Plan {
        program: process::own_program()?,
        argv: vec![c"provost".into(), c"supervise".into()],
        safe: c"--safe".into(),
        env,
        // Where this process is, also when that has lost its name.
        cwd: c".".into(),
        longest_stop,
        journal,
        lock: Some(lock),
        cgroups,
        ready,
    })
}

pub(super) fn environment() -> io::Result<Vec<CString>> {
    std::env::vars_os()
        .map(|(name, value)| Ok(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?))
        .collect()
}

pub(super) fn here() -> io::Result<CString> {
    Ok(CString::new(std::env::current_dir()?.as_os_str().as_bytes())?)
}

/// Starts the launcher anew in the background and waits until its tree is up or it has ended.
fn detach(project: &Project) -> Result<Exit, Refusal> {
    let log = project.log_dir.join("provost.log");
    let failed = cannot("start in the background");
    let (mut told, tell) = io::pipe().map_err(&failed)?;
    let launcher = launch_in_background(project, &log, tell.into()).map_err(&failed)?;
    if told.read(&mut [0]).map_err(&failed)? == 1 {
        let name = &project.name;
        let told = format!("{name} is up: PID {}, what it says goes to {}\n", launcher.pid, log.display());
        // It is up whether this is read or not.
        let _ = print(&told);
        return Ok(Exit::Ok);
    }
    let code = exit_code(&launcher).map_err(&failed)?;
    let sentence = format!("the launcher ended before its tree was up: {}", last_line(&log));
    Err(refuse(Exit::Of(code), sentence))
}

fn launch_in_background(project: &Project, log: &Path, tell: OwnedFd) -> io::Result<Born> {
    let output = open_own_for_appending(log)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot write {}: {error}", log.display())))?;
    let null = File::open("/dev/null")?;
    let open_files = os::limits::open_files()?;
    let file = CString::new(project.file.as_os_str().as_bytes())?;
    let birth = Birth {
        program: c"/proc/self/exe".into(),
        argv: [c"provost", c"--file", &file, c"up", c"--ready-fd", c"3"].map(CString::from).into(),
        env: environment()?,
        cwd: here()?,
        umask: process::file_mode_mask(),
        stdio: [null.as_fd(), output.as_fd(), output.as_fd()],
        pass: vec![tell.as_fd()],
        listen_pid: false,
        nofile: Some((open_files.soft, open_files.hard)),
        terms: Terms::default(),
        parent: Parent::Caller,
    };
    os::spawn::spawn(&birth).map_err(|error| io::Error::other(error.to_string()))
}

/// The exit code of a launcher that is at its end.
fn exit_code(launcher: &Born) -> io::Result<u8> {
    pidfd::wait(launcher.pidfd.as_fd(), LAST_WORDS)?;
    let end = wait::reap(launcher.pid)?.ok_or(io::ErrorKind::TimedOut)?;
    Ok(if libc::WIFEXITED(end.status) { libc::WEXITSTATUS(end.status).to_le_bytes()[0] } else { 1 })
}

fn last_line(log: &Path) -> String {
    let text = end_of(log).unwrap_or_default();
    match String::from_utf8_lossy(&text).lines().next_back() {
        Some(line) => format!("{line} (more in {})", log.display()),
        None => format!("see {}", log.display()),
    }
}

/// The end of a log.
fn end_of(log: &Path) -> io::Result<Vec<u8>> {
    let (folder, name) = Folder::of(log)?;
    let file = folder.file(name, Access::Read)?;
    let mut text = vec![0; LOG_END];
    let len = file.read_at(&mut text, file.metadata()?.len().saturating_sub(LOG_END as u64))?;
    text.truncate(len);
    Ok(text)
}
