//! What a child is made of: from its specification to the bytes that exec gets.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::unistd::{Gid, Pid, Uid};

use crate::config::{Inherit, KillMode, Limits, ProcessSpec, Project, ReadyKind};
use crate::keeper::{KEY_VARIABLE, Key, LAUNCH_VARIABLE, Link, RUN_DIR_VARIABLE, Reach};
use crate::os::cgroup::{Group, Home, Limit};
use crate::os::limits::OpenFiles;
use crate::os::spawn::{Birth, Identity, Terms};

/// A child's own name, in its environment.
pub(super) const NAME_VARIABLE: &str = "PROVOST_NAME";

/// Variables that nearly every program needs.
const BASIC: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TERM", "TMPDIR"];

/// The descriptors one birth needs; they must live until it is done.
pub(super) struct Grants<'a> {
    /// 0, 1 and 2.
    pub(super) stdio: [BorrowedFd<'a>; 3],
    /// Read ends of its output pipes, for the keeper.
    pub(super) outputs: Vec<BorrowedFd<'a>>,
    /// Its listening sockets.
    pub(super) listen: Vec<BorrowedFd<'a>>,
    /// Its control group.
    pub(super) group: &'a Group,
    /// The way to the keeper.
    pub(super) link: &'a Link,
    /// Now.
    pub(super) born_ns: u64,
}

/// The birth of this run.
///
/// # Errors
/// A string contains a NUL byte: one sentence.
pub(super) fn birth<'a>(
    project: &Project,
    name: &str,
    spec: &ProcessSpec,
    key: Key,
    grants: Grants<'a>,
    context: &Context,
) -> Result<Birth<'a>, String> {
    let text = |bytes: &[u8]| {
        CString::new(bytes).map_err(|_| format!("{:?} contains a NUL byte", String::from_utf8_lossy(bytes)))
    };
    let env = environment(project, name, spec, key, grants.link.keeper(), &context.inherited);
    Ok(Birth {
        program: text(spec.program.as_os_str().as_bytes())?,
        argv: spec.argv.iter().map(|word| text(word.as_bytes())).collect::<Result<_, _>>()?,
        env: env.iter().map(|pair| text(pair.as_bytes())).collect::<Result<_, _>>()?,
        cwd: text(spec.cwd.as_os_str().as_bytes())?,
        umask: spec.umask,
        stdio: grants.stdio,
        listen_pid: !grants.listen.is_empty(),
        pass: grants.listen,
        nofile: Some((context.open_files.soft, context.open_files.hard)),
        terms: Terms {
            cgroup: grants.group.tree.as_ref().map(AsFd::as_fd),
            limit_groups: grants.group.limits.iter().map(AsFd::as_fd).collect(),
            limits: spec.limits.each.iter().map(|(what, most)| (*what, *most)).collect(),
            nice: spec.nice,
            oom_score: spec.oom_score_adj,
            identity: spec.account.as_ref().map(|account| Identity {
                uid: account.uid,
                gid: account.gid,
                groups: account.groups.clone(),
            }),
            no_new_privs: spec.no_new_privs,
        },
        parent: grants.link.parent(key, reach(spec.kill_mode), grants.born_ns, grants.outputs),
    })
}

/// The user and group of a child that is not the launcher's own user.
pub(super) fn other_user(spec: &ProcessSpec) -> Option<(Uid, Gid)> {
    let account = spec.account.as_ref()?;
    let uid = Uid::from_raw(account.uid);
    (uid != Uid::effective()).then_some((uid, Gid::from_raw(account.gid)))
}

fn reach(kill_mode: KillMode) -> Reach {
    match kill_mode {
        KillMode::Tree => Reach::Tree,
        KillMode::Group => Reach::Group,
        KillMode::Process => Reach::Process,
    }
}

/// The limits for which a child needs a control group.
pub(super) fn group_limits(limits: &Limits) -> Vec<Limit> {
    let memory = limits.memory.map(Limit::Memory);
    let cpu = limits.cpu_milli.map(Limit::Cpu);
    let pids = limits.pids.map(Limit::Pids);
    memory.into_iter().chain(cpu).chain(pids).collect()
}

/// What is the same for every birth.
pub(super) struct Context {
    /// provost's own environment.
    pub(super) inherited: Vec<(OsString, OsString)>,
    /// `RLIMIT_NOFILE` as provost found it.
    pub(super) open_files: OpenFiles,
    /// Stdin of every child.
    pub(super) null: OwnedFd,
    /// Where their control groups are.
    pub(super) cgroups: Home,
    /// What that place is called.
    pub(super) home_name: String,
}

impl Context {
    pub(super) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }
}

/// The folder of the notification sockets, in the run directory.
pub(super) const NOTIFY: &str = "notify";

/// Path of a child's notification socket.
pub(super) fn notify_path(project: &Project, name: &str) -> std::path::PathBuf {
    project.run_dir.join(NOTIFY).join(name)
}

fn environment(
    project: &Project,
    name: &str,
    spec: &ProcessSpec,
    key: Key,
    keeper: Pid,
    inherited: &[(OsString, OsString)],
) -> Vec<OsString> {
    let mut env: Vec<(OsString, OsString)> =
        inherited.iter().filter(|(key, _)| inherits(&spec.env_inherit, key)).cloned().collect();
    let mut set = |key: &str, value: OsString| {
        env.retain(|(other, _)| other != key);
        env.push((key.into(), value));
    };
    if let Some(login) = spec.account.as_ref().and_then(|account| account.login.as_ref()) {
        set("USER", login.name.clone().into());
        set("LOGNAME", login.name.clone().into());
        set("HOME", login.home.clone().into());
        set("SHELL", login.shell.clone().into());
    } else if other_user(spec).is_some() {
        // It is in no user database: what is inherited speaks of the launcher's user.
        set("HOME", "/".into());
        env.retain(|(key, _)| !["USER", "LOGNAME", "SHELL"].iter().any(|name| key == name));
    }
    let mut set = |key: &str, value: OsString| {
        env.retain(|(other, _)| other != key);
        env.push((key.into(), value));
    };
    for (name, value) in &spec.env {
        set(name, value.into());
    }
    set(NAME_VARIABLE, name.into());
    if let Some(instance) = spec.instance {
        set("PROVOST_INSTANCE", instance.to_string().into());
    }
    set("PROVOST_RUN", key.run.to_string().into());
    set(KEY_VARIABLE, format!("{keeper}.{}.{}", key.node, key.run).into());
    set(RUN_DIR_VARIABLE, project.run_dir.clone().into());
    if let Some((_, launch)) = inherited.iter().find(|(key, _)| key == LAUNCH_VARIABLE) {
        set(LAUNCH_VARIABLE, launch.clone());
    }
    if let Some(ready) = &spec.ready {
        match ready.kind {
            ReadyKind::Notify => set("NOTIFY_SOCKET", notify_path(project, name).into()),
        }
    }
    if !spec.listen.is_empty() {
        set("LISTEN_FDS", spec.listen.len().to_string().into());
        let names: Vec<&str> = spec.listen.iter().map(|listen| listen.name.as_str()).collect();
        set("LISTEN_FDNAMES", names.join(":").into());
    }
    env.into_iter().map(|(key, value)| join(&key, &value)).collect()
}

/// Names that speak of another process's sockets are never passed on, whatever `env_inherit` says.
fn inherits(inherit: &Inherit, key: &OsString) -> bool {
    let Some(key) = key.to_str() else { return *inherit == Inherit::All };
    if ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]
        .contains(&key)
        || key.starts_with("PROVOST_")
    {
        return false;
    }
    let basic = BASIC.contains(&key) || key.starts_with("LC_");
    match inherit {
        Inherit::Basic => basic,
        Inherit::These(names) => basic || names.iter().any(|name| name == key),
        Inherit::All => true,
    }
}

fn join(key: &OsString, value: &OsString) -> OsString {
    let mut pair = key.clone().into_vec();
    pair.push(b'=');
    pair.extend_from_slice(value.as_bytes());
    OsString::from_vec(pair)
}

/// Whether the start condition holds.
pub(super) fn condition_holds(path: Option<&Path>) -> bool {
    path.is_none_or(Path::exists)
}
