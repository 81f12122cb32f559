//! What a checked config file says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::os::limits::Rlimit;
use crate::rules::SupervisorSpec;

/// A project: one config file, resolved. Nothing in it needs the file or the environment any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Project name; default the name of the config file's folder.
    pub name: String,
    /// The config file, absolute.
    pub file: PathBuf,
    /// Sockets, lock, state: private to the owner.
    pub run_dir: PathBuf,
    /// Output of the children.
    pub log_dir: PathBuf,
    /// Whose members may use the control socket beside the owner and root.
    pub control: Option<ControlGroup>,
    /// What happens to the children when the keeper is killed.
    pub on_keeper_loss: KeeperLoss,
    /// The tree as the rules see it. Instances are expanded (`client@1`, `client@2` ...).
    pub tree: SupervisorSpec,
    /// What to run, by the name of the worker in `tree`.
    pub processes: BTreeMap<String, ProcessSpec>,
    /// The text it was read from. Further instances are read from it later, whatever the file says by then.
    pub text: String,
}

/// `control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlGroup {
    /// The group.
    pub gid: u32,
    /// What its members may do.
    pub allow: GroupMay,
}

/// `control.allow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupMay {
    /// Look at everything.
    #[default]
    Read,
    /// Start, stop, restart, signal and scale children too.
    Operate,
}

/// `on_keeper_loss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperLoss {
    /// Everything below it is killed.
    #[default]
    Kill,
}

/// How one worker is run. All `${...}` are expanded, all paths absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// The program file: what exec gets.
    pub program: PathBuf,
    /// argv, the command as it was written first.
    pub argv: Vec<String>,
    /// The name without the instance.
    pub base_name: String,
    /// The instance, from 1, when there are several.
    pub instance: Option<u32>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Variables set by the file (`env`), after those inherited.
    pub env: BTreeMap<String, String>,
    /// Which of provost's own variables are passed on.
    pub env_inherit: Inherit,
    /// File mode creation mask.
    pub umask: u32,
    /// Sockets handed down, in the order of their descriptors (3, 4, ...).
    pub listen: Vec<Listen>,
    /// How readiness is told; the timeout stands in the rules' specification too.
    pub ready: Option<Ready>,
    /// Where stdout and stderr go.
    pub output: Output,
    /// Start only while this path exists; otherwise the attempt is ignored (OTP `ignore`).
    pub condition_exists: Option<PathBuf>,
    /// Whom its end takes with it.
    pub kill_mode: KillMode,
    /// Who it is; `None`: whoever provost is.
    pub account: Option<Account>,
    /// Nice value, -20 to 19.
    pub nice: Option<i32>,
    /// `oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// What it may use.
    pub limits: Limits,
    /// Whether exec gives it no privileges (setuid programs and the like); true by default where `user` is set.
    pub no_new_privs: bool,
}

/// `kill_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillMode {
    /// All it has forked.
    #[default]
    Tree,
    /// Its process group.
    Group,
    /// Nobody but itself.
    Process,
}

/// `user` and `group`, looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups of the user.
    pub groups: Vec<u32>,
    /// What the user is called, where it lives and its shell, if it is in the user database and `user` says so.
    pub login: Option<Login>,
}

/// What a user's environment says of the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// `USER` and `LOGNAME`.
    pub name: String,
    /// `HOME`.
    pub home: PathBuf,
    /// `SHELL`.
    pub shell: PathBuf,
}

/// `limits`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of one process, by `setrlimit(2)`; `u64::MAX`: none.
    pub each: BTreeMap<Rlimit, u64>,
    /// Bytes of memory of all its processes together.
    pub memory: Option<u64>,
    /// Thousandths of a CPU for all its processes together.
    pub cpu_milli: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// `env_inherit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inherit {
    /// Only what nearly every program needs: PATH, HOME, USER, LOGNAME, SHELL, LANG, LC_*, TZ, TERM, TMPDIR.
    Basic,
    /// Basic and these.
    These(Vec<String>),
    /// Everything.
    All,
}

/// A socket the keeper holds and a child gets as `LISTEN_FDS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// Path of a Unix stream socket (at most 107 bytes).
    pub unix: PathBuf,
    /// Mode of the socket file.
    pub mode: u32,
}

/// `ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// How it is told.
    pub kind: ReadyKind,
    /// How long it may take; `None` = for ever.
    pub timeout: Option<Duration>,
}

/// How readiness is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyKind {
    /// `READY=1` on `NOTIFY_SOCKET` (`sd_notify(3)`).
    Notify,
}

/// `log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Captured to a file in `log_dir`.
    File(LogFile),
    /// `/dev/null`.
    Null,
    /// provost's own stdout and stderr.
    Inherit,
}

/// A captured log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The file.
    pub path: PathBuf,
    /// Rotated when larger than this, in bytes.
    pub max_size: u64,
    /// Rotated files kept beside the current one.
    pub max_files: u32,
    /// Where stderr goes.
    pub stderr: StderrMode,
}

impl LogFile {
    /// The files, stdout's first.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let err = match self.stderr {
            StderrMode::Merge => None,
            StderrMode::Separate => Some(self.err_path()),
        };
        [self.path.clone()].into_iter().chain(err).collect()
    }

    /// The files of the child of this name, each with what its lines are called: `web` and `web.err`.
    #[must_use]
    pub fn sources(&self, name: &str) -> Vec<(String, PathBuf)> {
        [name.to_owned(), format!("{name}.err")].into_iter().zip(self.paths()).collect()
    }

    /// `web.log` to `web.err.log`.
    fn err_path(&self) -> PathBuf {
        let extension = self.path.extension().unwrap_or_default().to_owned();
        let mut err = std::ffi::OsString::from("err");
        if !extension.is_empty() {
            err.push(".");
            err.push(extension);
        }
        self.path.with_extension(err)
    }
}

/// `log.stderr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StderrMode {
    /// Into the same file.
    #[default]
    Merge,
    /// Into a file beside it: `web.err.log`.
    Separate,
}
