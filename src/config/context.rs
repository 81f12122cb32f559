//! What a config file may depend on beside itself.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Everything the reading of a config file takes from its surroundings, so that a test can choose it.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Environment variables: for `${...}`, the XDG folders and `PATH`.
    pub env: BTreeMap<OsString, OsString>,
    /// Effective user id: 0 makes the rules about ownership strict and chooses the system's folders.
    pub uid: u32,
    /// The user who called sudo, whose files root may obey then.
    pub sudo_uid: Option<u32>,
    /// Folder of the provost binary, where commands without a slash are looked up first.
    pub beside: Option<PathBuf>,
}

impl Context {
    /// The surroundings of this process.
    #[must_use]
    pub fn of_process() -> Context {
        let uid = nix::unistd::geteuid().as_raw();
        let sudo_uid = || std::env::var("SUDO_UID").ok()?.parse().ok();
        Context {
            sudo_uid: if uid == 0 { sudo_uid() } else { None },
            env: std::env::vars_os().collect(),
            uid,
            beside: std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf)),
        }
    }

    /// The surroundings that another user most likely has: for finding a launcher that belongs to that user.
    pub(crate) fn of_user(&self, uid: u32) -> Context {
        let mut env = self.env.clone();
        for name in ["XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"] {
            env.remove(OsStr::new(name));
        }
        if let Ok(Some(user)) = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
            env.insert("HOME".into(), user.dir.into());
        }
        let runtime = PathBuf::from(format!("/run/user/{uid}"));
        if runtime.is_dir() {
            env.insert("XDG_RUNTIME_DIR".into(), runtime.into());
        }
        Context { env, uid, sudo_uid: None, beside: self.beside.clone() }
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.env.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable that holds an absolute path. Others are ignored, as the XDG base directory specification asks.
    pub(crate) fn folder(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).and_then(OsStr::to_str).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// Where a command without a slash is looked up that is not beside provost, in order: the absolute entries of `PATH`
    /// (what `confstr(3)` gives as `_CS_PATH` when it is not set).
    pub(crate) fn search_path(&self) -> Vec<PathBuf> {
        let path = self.variable("PATH").unwrap_or(OsStr::new("/bin:/usr/bin"));
        std::env::split_paths(path).filter(|entry| entry.is_absolute()).collect()
    }
}
