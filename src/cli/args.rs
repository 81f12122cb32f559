//! The command line: the one definition behind parsing and help.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Parser, Subcommand};

use super::exit;
use crate::control::{parse_signal, parse_since};
use crate::proof::Topic;

/// Erlang/OTP's supervision for operating-system processes: one config file, one launcher command.
///
/// The config file describes a tree of supervisors and processes. `provost up` starts it and keeps it as described: what
/// dies is restarted by its restart type, together with the siblings its supervisor's strategy names, until the restart
/// intensity is exceeded. All other verbs talk to the running launcher of the same config file; without a verb, `up` is
/// meant.
#[derive(Debug, Parser)]
#[command(name = "provost", version, after_help = exit::help(), max_term_width = 100)]
pub struct Args {
    /// Config file of the project [default: $PROVOST_CONFIG, else ./supervisor.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Start the tree and stay with it
    ///
    /// Prints the process table once everything is up, then a line for everything worth notice. Ctrl-C or SIGTERM stops
    /// the children in reverse order; a second one kills them at once.
    Up(UpArgs),
    /// Run one command in the foreground, without a config file, as an init does
    ///
    /// For the first process of a container: signals are passed on, orphans are reaped, and the command's exit code is
    /// ours (128 + n if signal n killed it, 127 if it does not exist). What it leaves behind is killed.
    Run(RunArgs),
    /// Stop everything in reverse order, and wait until the launcher has ended
    Down(DownArgs),
    /// Show the processes, from the kernel's own tables
    ///
    /// One row for the launcher's own process (keeper), the supervisor process and each child; below a child, indented,
    /// what it has forked. START is UTC. RSS counts a page once for every process that maps it, PSS divides it among
    /// them. CPU is CPU time over life time, as in ps(1). `-` stands for what does not exist or may not be read. On a
    /// narrow terminal columns are left out and named below the table.
    Ps(PsArgs),
    /// Show the supervision tree
    ///
    /// For a supervisor: its strategy, its restart intensity, and how many restarts are left before it gives up.
    Tree(JsonArgs),
    /// Show one child; ends with 3 if it is not running
    Status(StatusArgs),
    /// Say why a child is running or not: what it waits for, when it is tried next, how many restarts are left
    Why(StatusArgs),
    /// Count children (OTP's count_children)
    ///
    /// specs: specifications, always 1 for a simple_one_for_one supervisor. active: children with a process. supervisors
    /// and workers: children by type, running or not.
    Counts(CountsArgs),
    /// Start children that are stopped (OTP's restart_child)
    ///
    /// A child that runs already is an error. Waits until each is started (with readiness: ready). All names are tried
    /// in the order given; the exit code is the highest of all.
    Start(NameArgs),
    /// Stop children, and keep them stopped (OTP's terminate_child)
    ///
    /// Waits until each is gone with everything it forked. A child that is stopped already is no error. All names are
    /// tried in the order given; the exit code is the highest of all.
    Stop(NameArgs),
    /// Stop children, if running, and start them again
    ///
    /// Is not counted as a restart. All names are tried in the order given; the exit code is the highest of all.
    Restart(NameArgs),
    /// Remove the specifications of children that are stopped (OTP's delete_child)
    ///
    /// A child that runs or is being restarted is an error: stop it first. One that the config file describes comes back
    /// when its supervisor starts anew, and with a reload. All names are tried in the order given; the exit code is the
    /// highest of all.
    Remove(NameArgs),
    /// Add a child to the running tree and start it (OTP's start_child)
    ///
    /// CHILD.toml holds one [[child]], or one of type "supervisor" with its children; it means what it would mean in the
    /// project's own file, to which its paths are relative. The child stands last in its supervisor's order, and is lost
    /// when that one starts anew. If it cannot be started nothing of it is kept. A name that exists anywhere in the project
    /// is an error.
    ///
    /// Without CHILD.toml an instance of the simple_one_for_one supervisor --parent is added: its template's command with
    /// ARGS appended, under the name TEMPLATE@K, with a K that is never given again.
    Add(AddArgs),
    /// Make so many instances of a child there (NAME is its name without @)
    ///
    /// For children with `instances` in the config file. Instances are added behind the others of their supervisor, under
    /// the numbers after the highest one; the last ones are stopped and removed. The others are not touched. Like added
    /// children, they are lost when their supervisor starts anew.
    Scale(ScaleArgs),
    /// Say what a reload would change, key by key, and change nothing
    Plan(JsonArgs),
    /// Read the config file again and take it over as a whole, or not at all (OTP's code_change)
    ///
    /// Processes are not touched: strategy, intensity and period count at once, restart types at the next exit, shutdown
    /// settings at the next stop, commands at the next start. New children are added without a process, missing ones kept
    /// with their settings. If anything is wrong, nothing is changed and the exit code is 78.
    Reload(ReloadArgs),
    /// Wait until a child is ready, or stopped
    ///
    /// ready: it has reported ready, or runs and has no readiness configured. stopped: it has no process and none is owed.
    /// Ends with 124 when the time is over.
    Wait(WaitArgs),
    /// Send a signal to children's main processes
    ///
    /// What follows is up to the child and its restart type. Of a supervisor, KILL kills all that is below it, and its own
    /// restart type decides; it takes no other signal. A child without a process is an error (3). All names are
    /// tried in the order given; the exit code is the highest of all.
    Kill(KillArgs),
    /// Show what children have written, with times
    ///
    /// Without a name of all children, together in the order of time; `client` means `client@1` and all the others. A
    /// stderr with a file of its own is called NAME.err. Reads the log files themselves, so it also works when no
    /// launcher is running. Control characters are shown as \x1b; `…` ends what is longer than 16 KiB or has no end yet.
    Logs(LogsArgs),
    /// Show how children have ended, and what followed
    ///
    /// Kept over launchers, newest last. With a name: in full, with the last lines of output. Works when no launcher is
    /// running.
    History(HistoryArgs),
    /// Replace the program of the supervisor process; no child and no connection of a child notices
    ///
    /// The new program must be able to read the running state, else it is refused and nothing changes. One that ends
    /// before it has taken over is rolled back. The keeper stays as it is until the next `provost up`. Also the way out of
    /// safe mode, in which nothing is started because the supervisor process kept crashing.
    Upgrade(UpgradeArgs),
    /// Print what happens from now on, one JSON object a line
    ///
    /// Goes on when the supervisor process is replaced; ends when the launcher does.
    Events(EventsArgs),
    /// Show by the kernel's own tables that engine and clients are separate processes
    ///
    /// Starts the shipped project for itself, in a directory that is removed afterwards, and examines it: PIDs, start times,
    /// sessions and programs; what `kill -9` of a client, of the engine and of the supervisor process changes; who holds the
    /// two ends of each connection, and what goes over it; whose memory is whose. Prints each piece of evidence with the
    /// command that shows the same from outside. Ends with 0 only if every claim holds, else with 1.
    Prove(ProveArgs),
    /// Show every name that is registered on the message layer: node, PID, address
    ///
    /// Asks each node that has a socket on this machine: those of the project, and unless -f or $PROVOST_CONFIG names one,
    /// also those that were started by hand without a launcher. No launcher need be running. The PID is that of the process
    /// which holds the other end of the connection, as the kernel tells it; `-` where it may not be read. A node without
    /// names has a row too. A node that cannot be asked is told below the table; ends with 1 if one of those seems to be
    /// alive.
    Names(NamesArgs),
    /// Make certificates for nodes that talk over TCP
    #[command(subcommand)]
    Certs(CertsVerb),
    /// Check the config file and change nothing
    ///
    /// Prints every error and warning with file, line and column. Ends with 0 or 78.
    Check,
    /// The supervisor process; for provost's own use
    #[command(hide = true)]
    Supervise(SuperviseArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct UpgradeArgs {
    /// The new program [default: the one that runs this command]
    #[arg(long, value_name = "PATH")]
    pub(super) binary: Option<PathBuf>,
}

/// Arguments of `supervise`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct SuperviseArgs {
    /// Adopt, report and stop, but start nothing
    #[arg(long)]
    pub safe: bool,
    /// Only read the journal and say what is spoken
    #[arg(long, conflicts_with = "safe")]
    pub check: bool,
}

impl Verb {
    /// How its answer is to be printed.
    pub(super) fn output(&self) -> Format {
        let args = match self {
            Verb::Ps(args) => args.output,
            Verb::Tree(args) | Verb::Plan(args) => *args,
            Verb::Status(args) | Verb::Why(args) => args.output,
            Verb::Counts(args) => args.output,
            Verb::Start(args) | Verb::Stop(args) | Verb::Restart(args) | Verb::Remove(args) => args.output,
            Verb::Kill(args) => args.children.output,
            Verb::Add(args) => args.output,
            Verb::Scale(args) => args.output,
            Verb::Reload(args) => args.output,
            Verb::Wait(args) => args.output,
            Verb::Logs(args) => args.output,
            Verb::History(args) => args.output,
            Verb::Prove(args) => args.output,
            Verb::Names(args) => args.output,
            Verb::Up(_)
            | Verb::Run(_)
            | Verb::Down(_)
            | Verb::Upgrade(_)
            | Verb::Events(_)
            | Verb::Certs(_)
            | Verb::Check
            | Verb::Supervise(_) => JsonArgs::default(),
        };
        args.format()
    }
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct NamesArgs {
    /// Wait at most so long for a node to answer
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum CertsVerb {
    /// Make an authority of your own, once for all machines of a project
    ///
    /// Writes authority.pem, its certificate, which every node needs, and authority.key, with which certificates are
    /// issued; keep that where you issue them. Nodes accept each other if the same authority has issued both their
    /// certificates.
    Init(InitArgs),
    /// Issue a certificate for each node named
    ///
    /// Writes NAME.pem and NAME.key. The certificate is for the node of that name (the URI provost:NAME) on any machine, and
    /// good for both sides of a connection. To a node's machine belong NAME.pem, NAME.key and authority.pem, in one folder
    /// that PROVOST_NODE_TLS_DIR names. Existing keys are never overwritten: to renew one, move its two files away first. A node
    /// that runs shows a renewed certificate as soon as both files are there.
    Issue(IssueArgs),
    /// Revoke certificates, so that no node accepts them any more
    ///
    /// Adds them to authority.crl, the signed list of what the authority revoked. Put it beside authority.pem on every node's
    /// machine: nodes that run take it within a second and end the sessions of those that it names. Then remove the two files
    /// of the name, and issue it a new certificate if it is to have one.
    Revoke(RevokeArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// The nodes, as in engine or client@1, or files of certificates, as in old/engine.pem
    #[arg(required = true, value_name = "NAME")]
    pub(super) certificates: Vec<PathBuf>,
    /// The folder of certificates
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub(super) dir: PathBuf,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct InitArgs {
    /// The folder of certificates, made (for you alone) if it is missing
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub(super) dir: PathBuf,
    /// How long the authority's certificate is valid
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(super) days: u32,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct IssueArgs {
    /// The nodes, as in engine or client@1
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// A host name or IP address to put into the certificate too, for other programs that check it; nodes go by NAME alone
    #[arg(long = "host", value_name = "HOST")]
    pub(super) hosts: Vec<String>,
    /// The folder of certificates
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub(super) dir: PathBuf,
    /// How long the certificate is valid
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(super) days: u32,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// As the control API gives them, one a line.
    Json,
}

impl JsonArgs {
    pub(super) fn format(self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }
}

/// Arguments of `up`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct UpArgs {
    /// Go to the background; returns once the tree is up
    #[arg(short, long)]
    pub detach: bool,
    /// The descriptor on which a launcher in the background tells its starter that it is up
    #[arg(long, hide = true, value_name = "FD")]
    pub ready_fd: Option<i32>,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct DownArgs {
    /// Wait at most so long, as in 30s or 2min; the stop goes on after that
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct PsArgs {
    /// Show it anew every second, until Ctrl-C
    #[arg(short, long)]
    pub(super) watch: bool,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct JsonArgs {
    /// Print JSON, as the control API gives it
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct LogsArgs {
    /// Go on with what is written from now on, until Ctrl-C
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Config file of the project; -f FILE stands before the verb here
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Begin with the last N lines of each child, or "all" [default: 10, with --since: all]
    #[arg(short = 'n', long, value_name = "N", value_parser = Lines::parse)]
    pub(super) lines: Option<Lines>,
    /// Nothing older than this: 10min for ten minutes ago, or 2026-11-23T08:30:00Z
    #[arg(long, value_name = "T", value_parser = parse_since)]
    pub(super) since: Option<SystemTime>,
    /// The children
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct HistoryArgs {
    /// Only of this child
    pub(super) name: Option<String>,
    /// The last N exits, or "all" [default: 20]
    #[arg(short = 'n', long, value_name = "N", value_parser = Lines::parse)]
    pub(super) lines: Option<Lines>,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

/// How many; `None`: all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines(pub(super) Option<usize>);

impl Lines {
    fn parse(text: &str) -> Result<Lines, String> {
        if text == "all" {
            return Ok(Lines(None));
        }
        text.parse().map(|lines| Lines(Some(lines))).map_err(|_| "write a number or all".to_owned())
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// The child
    pub(super) name: String,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct NameArgs {
    /// The children
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<String>,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct CountsArgs {
    /// The supervisor [default: the root]
    pub(super) supervisor: Option<String>,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// The file that describes the child
    #[arg(value_name = "CHILD.toml", conflicts_with_all = ["name", "args"])]
    pub(super) child: Option<PathBuf>,
    /// The same, as an option; so the project's -f FILE stands before the verb here
    #[arg(short = 'f', long = "child", value_name = "CHILD.toml", conflicts_with_all = ["child", "name", "args"])]
    pub(super) child_option: Option<PathBuf>,
    /// Config file of the project; -f FILE stands before the verb here
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The supervisor [default: the one CHILD.toml names, else the root]
    #[arg(long, value_name = "SUPERVISOR")]
    pub(super) parent: Option<String>,
    /// A name for the new instance [default: TEMPLATE@K]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Arguments of the new instance
    #[arg(last = true)]
    pub(super) args: Vec<String>,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ScaleArgs {
    /// The child, without an instance
    pub(super) name: String,
    /// How many there shall be
    #[arg(value_name = "N")]
    pub(super) instances: u32,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct ReloadArgs {
    /// Then start what is new, and stop and remove what is missing in the file
    #[arg(long)]
    pub(super) apply: bool,
    /// As --apply, then restart what runs with settings that count from the next start
    #[arg(long)]
    pub(super) restart: bool,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct WaitArgs {
    /// The child
    pub(super) name: String,
    /// What to wait for
    #[arg(long = "for", value_name = "WHAT")]
    pub(super) goal: Goal,
    /// Wait at most so long, as in 30s or 2min [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) timeout: Option<Duration>,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Goal {
    /// Started, and ready if it tells readiness
    Ready,
    /// Without a process, and none owed
    Stopped,
}

#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// Begin with what has happened after this event, as far as it is remembered; 0: with all of it
    #[arg(long, value_name = "SEQ")]
    pub(super) since: Option<u64>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ProveArgs {
    /// Examine the project that runs already; its processes are killed where that is the proof
    #[arg(long)]
    pub(super) attach: bool,
    /// Examine the contrast instead, engine and clients as tasks of one process: no claim holds then
    #[arg(long, conflicts_with = "attach")]
    pub(super) one_process: bool,
    /// Only this claim (can be repeated)
    #[arg(long, value_name = "CLAIM")]
    pub(super) only: Vec<Topic>,
    /// The signal that kills, as in KILL, SIGABRT or 9
    #[arg(short, long, value_name = "SIG", default_value = "KILL", value_parser = parse_signal)]
    pub(super) signal: i32,
    /// How long everybody may take to find the others before it is judged that they do not
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = humantime::parse_duration)]
    pub(super) settle: Duration,
    /// Also write a page with the evidence, tables and plots
    #[arg(long, value_name = "FILE.html")]
    pub(super) report: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: JsonArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct KillArgs {
    /// The signal, as in TERM, SIGTERM or 15
    #[arg(short, long, value_name = "SIG", default_value = "TERM", value_parser = parse_signal)]
    pub(super) signal: i32,
    #[command(flatten)]
    pub(super) children: NameArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_file_may_stand_before_and_after_the_verb() {
        for line in
            ["provost -f a.toml ps", "provost ps -f a.toml", "provost ps --file=a.toml", "provost -f a.toml"]
        {
            assert_eq!(parse(line).unwrap().file, Some("a.toml".into()), "{line}");
        }
        assert!(parse("provost").unwrap().verb.is_none());
    }

    #[test]
    fn after_logs_f_means_follow() {
        for line in ["provost -f a.toml logs -f", "provost logs --follow --file a.toml"] {
            let args = parse(line).unwrap();
            assert_eq!(args.file, Some("a.toml".into()), "{line}");
            assert!(matches!(args.verb, Some(Verb::Logs(LogsArgs { follow: true, .. }))), "{line}");
        }
    }

    #[test]
    fn after_add_f_means_the_child_file() {
        for line in [
            "provost -f a.toml add b.toml",
            "provost -f a.toml add -f b.toml",
            "provost -f a.toml add --child b.toml",
            "provost add --file a.toml -f b.toml",
        ] {
            let args = parse(line).unwrap();
            let Some(Verb::Add(AddArgs { child, child_option, .. })) = args.verb else { panic!("{line}") };
            assert_eq!(
                (args.file, child.or(child_option)),
                (Some("a.toml".into()), Some("b.toml".into())),
                "{line}"
            );
        }
        assert!(parse("provost add -f b.toml c.toml").is_err());
    }

    #[test]
    fn signals_are_understood() {
        let signal = |line| match parse(line).unwrap().verb {
            Some(Verb::Kill(KillArgs { signal, .. })) => signal,
            other => panic!("{other:?}"),
        };
        assert_eq!(signal("provost kill engine"), 15);
        assert_eq!(signal("provost kill -s 9 engine"), 9);
        assert_eq!(signal("provost kill -s SIGUSR1 engine client@1"), 10);
        assert_eq!(signal("provost kill engine --signal hup"), 1);
    }

    #[test]
    fn wrong_usage_ends_with_2_and_says_what_was_meant() {
        let cases = [
            ("provost kill -s TREM engine", "did you mean TERM?"),
            ("provost stpo engine", "'stop'"),
            ("provost stop", "<NAME>"),
            ("provost kill -s HUP", "<NAME>"),
            ("provost add a.toml -- x", "cannot be used with"),
            ("provost wait engine --for redy", "ready"),
            ("provost scale client", "<N>"),
            ("provost logs --since yesterday", "10min for ten minutes ago"),
            ("provost logs -n few", "a number or all"),
            ("provost down --timeout soon", "'--timeout <DURATION>'"),
        ];
        for (line, hint) in cases {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(super::super::Exit::Usage.code()), "{line}");
            assert!(error.to_string().contains(hint), "{error}");
        }
    }

    #[test]
    fn help_is_the_manual() {
        let help = Args::command().render_long_help().to_string();
        for word in ["events", "restart intensity", "$PROVOST_CONFIG", "124  timed out"] {
            assert!(help.contains(word), "{word:?} is not in: {help}");
        }
        assert!(!help.contains("supervise ") && !help.contains("ready-fd"), "{help}");
    }
}
