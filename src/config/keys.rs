//! Every key and every word a config file may say, and whether provost reads it yet.
//!
//! This is the one list: a key is known because it stands here, and a feature that becomes supported changes its entry
//! from `Later`. A test sees to it that every entry that is not `Later` is really read.

use super::project::{GroupMay, KeeperLoss, KillMode, StderrMode};
use crate::rules::{AutoShutdown, GiveUp, Restart, Strategy};

/// The keys of one table.
pub(crate) struct Keys {
    /// Where the table stands, to be read after "it belongs".
    pub(crate) place: &'static str,
    /// What may stand in it.
    pub(crate) keys: &'static [Key],
}

/// One key.
pub(crate) struct Key {
    /// As written.
    pub(crate) name: &'static str,
    /// Whether, and for whom, it is read.
    pub(crate) standing: Standing,
}

/// Whether, and for whom, a key is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Wherever the table may stand.
    Read,
    /// Only in a `[[child]]` that is a process.
    Process,
    /// Only in a `[[child]]` of type supervisor.
    Supervisor,
    /// Documented, not supported yet: refused by name.
    Later,
}

/// A word's meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word<T> {
    /// This.
    Is(T),
    /// Documented, not supported yet: refused by name.
    Later,
}

/// The words a key may say.
pub(crate) type Words<T> = &'static [(&'static str, Word<T>)];

/// `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildType {
    Worker,
    Oneshot,
    Supervisor,
}

use Standing::{Later, Process, Read, Supervisor};
use Word::Is;

const fn key(name: &'static str, standing: Standing) -> Key {
    Key { name, standing }
}

pub(crate) const ROOT: Keys = Keys {
    place: "at the top of the file",
    keys: &[
        key("name", Read),
        key("run_dir", Read),
        key("log_dir", Read),
        key("on_keeper_loss", Read),
        key("supervisor", Read),
        key("child", Read),
        key("control", Read),
        key("metrics", Later),
    ],
};

/// A child file says nothing about the project.
pub(crate) const ADDITION: Keys = Keys { place: "at the top of a child file", keys: &[key("child", Read)] };

pub(crate) const CONTROL: Keys =
    Keys { place: "in control", keys: &[key("group", Read), key("allow", Read)] };

pub(crate) const SUPERVISOR: Keys = Keys {
    place: "in [supervisor]",
    keys: &[
        key("strategy", Read),
        key("intensity", Read),
        key("period", Read),
        key("auto_shutdown", Read),
        key("give_up", Read),
    ],
};

pub(crate) const CHILD: Keys = Keys {
    place: "in [[child]]",
    keys: &[
        key("name", Read),
        key("type", Read),
        key("parent", Read),
        key("restart", Read),
        key("significant", Read),
        key("shutdown", Read),
        key("command", Process),
        key("shell", Process),
        key("instances", Process),
        key("success_codes", Process),
        key("success_signals", Process),
        key("backoff", Process),
        key("ready", Process),
        key("listen", Process),
        key("kill_mode", Process),
        key("cwd", Process),
        key("env", Process),
        key("env_inherit", Process),
        key("umask", Process),
        key("log", Process),
        key("condition", Process),
        key("user", Process),
        key("group", Process),
        key("nice", Process),
        key("oom_score_adj", Process),
        key("limits", Process),
        key("no_new_privs", Process),
        key("strategy", Supervisor),
        key("intensity", Supervisor),
        key("period", Supervisor),
        key("auto_shutdown", Supervisor),
        key("give_up", Supervisor),
        key("liveness", Later),
        key("watchdog", Later),
        key("depends_on", Later),
        key("env_file", Later),
        key("hooks", Later),
        key("secrets", Later),
        key("capabilities", Later),
        key("landlock", Later),
        key("seccomp", Later),
        key("private_tmp", Later),
        key("private_pid", Later),
    ],
};

pub(crate) const BACKOFF: Keys = Keys {
    place: "in backoff",
    keys: &[
        key("initial", Read),
        key("factor", Read),
        key("max", Read),
        key("jitter", Read),
        key("reset_after", Read),
    ],
};

pub(crate) const READY: Keys = Keys {
    place: "in ready",
    keys: &[
        key("notify", Read),
        key("timeout", Read),
        key("fd", Later),
        key("tcp", Later),
        key("unix", Later),
        key("http", Later),
        key("exec", Later),
        key("log", Later),
        key("file", Later),
        key("delay", Later),
    ],
};

pub(crate) const STOP_STEP: Keys =
    Keys { place: "in a step of shutdown", keys: &[key("signal", Read), key("wait", Read)] };

pub(crate) const LISTEN: Keys =
    Keys { place: "in listen", keys: &[key("name", Read), key("unix", Read), key("mode", Read)] };

pub(crate) const LOG: Keys = Keys {
    place: "in log",
    keys: &[key("file", Read), key("max_size", Read), key("max_files", Read), key("stderr", Read)],
};

pub(crate) const LIMITS: Keys = Keys {
    place: "in limits",
    keys: &[
        key("nofile", Read),
        key("nproc", Read),
        key("core", Read),
        key("as", Read),
        key("data", Read),
        key("stack", Read),
        key("fsize", Read),
        key("memlock", Read),
        key("cpu_time", Read),
        key("memory", Read),
        key("cpu", Read),
        key("pids", Read),
    ],
};

pub(crate) const CONDITION: Keys = Keys { place: "in condition", keys: &[key("exists", Read)] };

/// Every table, for "it belongs into".
pub(crate) const TABLES: &[&Keys] =
    &[&ROOT, &SUPERVISOR, &CHILD, &BACKOFF, &READY, &STOP_STEP, &LISTEN, &LOG, &LIMITS, &CONDITION];

pub(crate) const CHILD_TYPES: Words<ChildType> = &[
    ("worker", Is(ChildType::Worker)),
    ("supervisor", Is(ChildType::Supervisor)),
    ("oneshot", Is(ChildType::Oneshot)),
];

pub(crate) const STRATEGIES: Words<Strategy> = &[
    ("one_for_one", Is(Strategy::OneForOne)),
    ("one_for_all", Is(Strategy::OneForAll)),
    ("rest_for_one", Is(Strategy::RestForOne)),
    ("simple_one_for_one", Is(Strategy::SimpleOneForOne)),
];

pub(crate) const AUTO_SHUTDOWNS: Words<AutoShutdown> = &[
    ("never", Is(AutoShutdown::Never)),
    ("any_significant", Is(AutoShutdown::AnySignificant)),
    ("all_significant", Is(AutoShutdown::AllSignificant)),
];

pub(crate) const GIVE_UPS: Words<GiveUp> =
    &[("escalate", Is(GiveUp::Escalate)), ("child", Is(GiveUp::Child))];

pub(crate) const RESTARTS: Words<Restart> = &[
    ("permanent", Is(Restart::Permanent)),
    ("transient", Is(Restart::Transient)),
    ("temporary", Is(Restart::Temporary)),
    ("always", Is(Restart::Permanent)),
    ("on-failure", Is(Restart::Transient)),
    ("no", Is(Restart::Temporary)),
];

pub(crate) const GROUP_MAY: Words<GroupMay> =
    &[("read", Is(GroupMay::Read)), ("operate", Is(GroupMay::Operate))];

pub(crate) const KEEPER_LOSSES: Words<KeeperLoss> =
    &[("kill", Is(KeeperLoss::Kill)), ("survive", Word::Later)];

pub(crate) const KILL_MODES: Words<KillMode> =
    &[("tree", Is(KillMode::Tree)), ("group", Is(KillMode::Group)), ("process", Is(KillMode::Process))];

pub(crate) const STDERR_MODES: Words<StderrMode> =
    &[("merge", Is(StderrMode::Merge)), ("separate", Is(StderrMode::Separate))];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Context, parse};

    /// A table with a key whose value nothing accepts, in a file that is good otherwise.
    fn file_with(table: &Keys, key: &Key) -> String {
        let date = format!("{} = 1979-05-27", key.name);
        let other = |line: &str| if line.starts_with(key.name) { String::new() } else { format!("{line}\n") };
        let child = |line: &str| format!("[[child]]\nname = 'a'\ncommand = ['/x']\n{line}\n");
        let beside =
            |line: &str| if line.starts_with(key.name) { String::new() } else { format!(", {line}") };
        match table.place {
            "at the top of the file" => date,
            "in [supervisor]" => format!("[supervisor]\n{date}"),
            "in [[child]]" if key.standing == Standing::Supervisor => {
                format!("[[child]]\nname = 'a'\ntype = 'supervisor'\n{date}")
            }
            "in [[child]]" => {
                format!("[[child]]\n{}{}{date}", other("name = 'a'"), other("command = ['/x']"))
            }
            "in a step of shutdown" => child(&format!(
                "shutdown = [{{ {date}{}{} }}]",
                beside("signal = 'INT'"),
                beside("wait = '1s'")
            )),
            "in listen" => {
                child(&format!("listen = [{{ {date}{}{} }}]", beside("name = 'x'"), beside("unix = 'x'")))
            }
            place => child(&format!("{} = {{ {date} }}", place.trim_start_matches("in "))),
        }
    }

    #[test]
    fn every_key_is_read_or_refused_by_name() {
        for table in TABLES {
            for key in table.keys {
                let text = file_with(table, key);
                let errors = parse(Path::new("/x.toml"), &text, &Context::default()).expect_err(&text);
                let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
                let expected = match key.standing {
                    Standing::Later => format!("`{}` {} is not supported yet", key.name, table.place),
                    _ => format!("`{} = 1979-05-27`", key.name),
                };
                assert!(messages.iter().any(|m| m.starts_with(&expected)), "{text}\n{messages:?}");
            }
        }
    }
}
