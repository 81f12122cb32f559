//! `provost up`: checks everything that can be checked, then becomes the keeper.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::exit::Exit;
use crate::config::{self, Context, Loaded, Project};
use crate::runtime::{Journal, World};
use crate::{keeper, os};

/// Starts the project described by `file`.
pub fn run(file: Option<&Path>, mode: Mode) -> Exit {
    match start(file, mode) {
        Ok(exit) => exit,
        Err(refusal) => {
            for line in &refusal.sentences {
                eprintln!("provost: {line}");
            }
            refusal.exit
        }
    }
}

/// How `up` runs.
#[derive(Debug)]
pub enum Mode {
    /// In the foreground, as the process that was started.
    Foreground,
    /// In a session of its own; returns when the tree is up.
    Detached,
    /// The detached launcher itself; tells its starter over this descriptor.
    Background(OwnedFd),
}

/// Why nothing was started.
struct Refusal {
    exit: Exit,
    sentences: Vec<String>,
}

fn refuse(exit: Exit, sentence: impl Into<String>) -> Refusal {
    Refusal { exit, sentences: vec![sentence.into()] }
}

fn start(file: Option<&Path>, mode: Mode) -> Result<Exit, Refusal> {
    let project = load(file)?;
    prepare_folders(&project)?;
    let lock = lock(&project)?;
    let ready = match mode {
        Mode::Foreground => None,
        Mode::Background(ready) => Some(ready),
        Mode::Detached => {
            drop(lock);
            return detach(&project);
        }
    };
    let cannot = |what: &str, error: &dyn std::fmt::Display| {
        refuse(Exit::BootFailed, format!("cannot {what}: {error}"))
    };
    let state = os::memfd::create(c"provost-journal").map_err(|error| cannot("make the journal", &error))?;
    let copy = state.try_clone().map_err(|error| cannot("make the journal", &error))?;
    let world = World::new(project).map_err(|error| cannot("understand the tree", &format!("{error:?}")))?;
    Journal::create(copy, &world).map_err(|error| cannot("write the journal", &error))?;
    let plan = keeper::Plan::of_own_program(&[c"provost", c"supervise"], state, lock, ready)
        .map_err(|error| cannot("find the provost program", &error))?;
    keeper::run(plan).map(Exit::Of).map_err(|error| cannot("keep the processes", &error))
}

fn load(file: Option<&Path>) -> Result<Project, Refusal> {
    let refused = |diagnostics: Vec<config::Diagnostic>| Refusal {
        exit: Exit::BadConfig,
        sentences: diagnostics.iter().map(ToString::to_string).collect(),
    };
    let path = config::locate(file).map_err(|diagnostic| refused(vec![diagnostic]))?;
    let Loaded { project, warnings } = config::load(&path, &Context::of_process()).map_err(refused)?;
    for warning in warnings {
        eprintln!("provost: warning: {warning}");
    }
    let control = project.run_dir.join(crate::control::SOCKET);
    os::socket::check_path(&control).map_err(|error| {
        refuse(Exit::BadConfig, format!("{}: {error}; choose a shorter run_dir", project.file.display()))
    })?;
    Ok(project)
}

fn prepare_folders(project: &Project) -> Result<(), Refusal> {
    os::rundir::create(&project.run_dir).map_err(|error| {
        let place = project.run_dir.display();
        refuse(Exit::BootFailed, format!("cannot use the run dir {place}: {error}; set run_dir in the config file"))
    })?;
    std::fs::create_dir_all(&project.log_dir).map_err(|error| {
        let place = project.log_dir.display();
        refuse(Exit::BootFailed, format!("cannot make the log dir {place}: {error}; set log_dir in the config file"))
    })
}

fn lock(project: &Project) -> Result<os::lock::Lock, Refusal> {
    let path = project.run_dir.join("lock");
    os::lock::Lock::acquire(&path).map_err(|error| match error {
        os::lock::LockError::Held { pid } => refuse(
            Exit::AnotherLauncher,
            format!(
                "another launcher (PID {pid}) runs project {}; look at it with provost ps, end it with provost down",
                project.name
            ),
        ),
        os::lock::LockError::Io(error) => {
            refuse(Exit::BootFailed, format!("cannot lock {}: {error}; is it yours?", path.display()))
        }
    })
}

/// Starts the launcher anew in the background and waits until its tree is up or it has ended.
fn detach(project: &Project) -> Result<Exit, Refusal> {
    let cannot = |error: &dyn std::fmt::Display| {
        refuse(Exit::BootFailed, format!("cannot start in the background: {error}"))
    };
    let log = project.log_dir.join("provost.log");
    let output = os::files::append(&log).map_err(|error| cannot(&error))?;
    let (mut told, tell) = std::io::pipe().map_err(|error| cannot(&error))?;
    let launcher = os::process::start_in_background(
        &[c"provost", c"-f", &os::files::c_path(&project.file), c"up", c"--ready-fd", c"3"],
        output.as_fd(),
        OwnedFd::from(tell).as_fd(),
    )
    .map_err(|error| cannot(&error))?;
    let mut byte = [0];
    if told.read(&mut byte).map_err(|error| cannot(&error))? == 1 {
        println!("provost: {} is up (PID {}); output goes to {}", project.name, launcher.pid, log.display());
        return Ok(Exit::Ok);
    }
    let code = os::wait::exit_code(&launcher).map_err(|error| cannot(&error))?;
    Err(Refusal { exit: Exit::Of(code), sentences: vec![last_line(&log)] })
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().next_back().unwrap_or("it said nothing");
    format!("the launcher ended before its tree was up: {line} (more in {})", log.display())
}

/// The descriptor a background launcher tells its starter over.
///
/// # Errors
/// There is no such descriptor.
pub fn ready_fd(number: i32) -> std::io::Result<OwnedFd> {
    os::files::inherited(number)
}
