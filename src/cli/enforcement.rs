//! What a config file asks for and this machine, or this user, cannot give: said before it matters.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use nix::unistd::geteuid;

use crate::config::{KillMode, Output, ProcessSpec, Project};
use crate::os::cgroup::{Controller, Home};
use crate::os::{pidfd, pipe};
use crate::runtime;

/// Why nothing of it can be started here, in one sentence.
pub(super) fn obstacle(project: &Project) -> Option<String> {
    if let Some((call, errno)) = pidfd::refused() {
        return Some(format!(
            "{call}(2) is refused here ({errno:?}), and every child is held by it: this needs Linux 5.3; in a container \
             allow {call} in its seccomp profile (older profiles refuse it)"
        ));
    }
    runtime::lack(project.processes.values())
}

/// One sentence for each. `home`: where the children's control groups will be; `None`: tried out and left no trace.
pub(super) fn doubts(project: &Project, home: Option<&Home>) -> Vec<String> {
    let mut doubts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, spec) in &project.processes {
        for doubt in of_user(spec) {
            doubts.entry(doubt).or_default().push(name);
        }
    }
    let tried = home.is_none().then(|| Home::make(&format!("provost-check-{}", std::process::id())));
    let groups = home.or(tried.as_ref());
    if let Some(home) = groups {
        for (name, spec) in &project.processes {
            for controller in asked(spec).filter(|controller| !home.limits(*controller)) {
                let what = controller.name();
                let doubt = format!(
                    "limits.{what} cannot be enforced here: there is no control group with the {what} controller \
                     that this user may make groups in; it is passed over"
                );
                doubts.entry(doubt).or_default().push(name);
            }
        }
    }
    let uncontained = groups.filter(|home| !home.contains()).and_then(|_| uncontained(project));
    if let Some(home) = &tried {
        home.remove_all();
    }
    let each = doubts.into_iter().map(|(doubt, names)| format!("{}: {doubt}", names.join(", ")));
    each.chain(uncontained).chain(small_pipes(project)).collect()
}

/// What the end of a child may miss without control groups.
fn uncontained(project: &Project) -> Option<String> {
    let whole = |spec: &ProcessSpec| spec.kill_mode == KillMode::Tree;
    project.processes.values().any(whole).then(|| {
        "this user can make no control groups (version 2) here: what a child has forked is found by its session and by its \
         environment, so a process that leaves both runs on until the launcher ends; a delegated control group contains it \
         (systemd: Delegate=yes)"
            .to_owned()
    })
}

/// Output pipes that hold less than usual: this user has too many pipes, or will have.
fn small_pipes(project: &Project) -> Option<String> {
    let outputs: usize = project.processes.values().map(outputs).sum();
    let (read, _write) = pipe::output().ok().filter(|_| outputs > 0)?;
    let small = pipe::size(read.as_fd()).is_ok_and(|bytes| bytes < pipe::USUAL_SIZE);
    let most = pipe::usual_pipes().filter(|most| small || (outputs > *most && !geteuid().is_root()))?;
    Some(format!(
        "output pipes hold less than {} KiB once this user has {most} of them (fs.pipe-user-pages-soft), and {} here: a \
         child that writes much at once waits more often; raise that limit as root",
        pipe::USUAL_SIZE / 1024,
        if small { "it has them already".to_owned() } else { format!("{outputs} are wanted") },
    ))
}

fn outputs(spec: &ProcessSpec) -> usize {
    match &spec.output {
        Output::File(log) => log.paths().len(),
        Output::Null | Output::Inherit => 0,
    }
}

/// What needs a control group.
fn asked(spec: &ProcessSpec) -> impl Iterator<Item = Controller> {
    let limits = &spec.limits;
    let memory = limits.memory.map(|_| Controller::Memory);
    let cpu = limits.cpu_milli.map(|_| Controller::Cpu);
    let pids = limits.pids.map(|_| Controller::Pids);
    memory.into_iter().chain(cpu).chain(pids)
}

/// What an ordinary user may not do.
fn of_user(spec: &ProcessSpec) -> Vec<String> {
    let mut doubts = Vec::new();
    if geteuid().is_root() {
        return doubts;
    }
    if let Some(account) = &spec.account
        && (account.uid != geteuid().as_raw() || account.gid != nix::unistd::getegid().as_raw())
    {
        doubts.push(format!(
            "only root can start it as user {} and group {}; it will not start",
            account.uid, account.gid
        ));
    }
    for (what, most) in &spec.limits.each {
        if let Ok(hard) = what.hard()
            && *most > hard
        {
            let key = format!("{what:?}").to_lowercase();
            doubts.push(format!("only root can raise limits.{key} above {hard}; it will not start"));
        }
    }
    doubts
}
