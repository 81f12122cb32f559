//! The child: it does what the plan of its next start says, and writes down what happens to it.
//!
//! Everything lies in one directory: `log` (one line an event, one write a line), `plan/LABEL` (one line a start, taken from
//! the top), `order/LABEL` (a FIFO: `exit N`), `gate` (a FIFO at which the first children wait until the test listens).

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::mkfifo;

/// The variable that makes this program a probe: its directory.
pub(crate) const DIR: &str = "PROBE_DIR";

/// What one start does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Ready at once, ends with 0 when asked.
    #[default]
    Ok,
    /// Exits 1 so many milliseconds after its start, never ready.
    Fail(u64),
    /// The start condition says no: there is no process.
    Ignore,
    /// Takes so many milliseconds to end when asked.
    Slow(u64),
    /// Does not end when asked.
    Hang,
    /// Ends with this code when asked.
    StopAs(u8),
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Plan::Ok => f.write_str("ok"),
            Plan::Fail(millis) => write!(f, "fail:{millis}"),
            Plan::Ignore => f.write_str("ignore"),
            Plan::Slow(millis) => write!(f, "slow:{millis}"),
            Plan::Hang => f.write_str("hang"),
            Plan::StopAs(code) => write!(f, "stop_as:{code}"),
        }
    }
}

impl FromStr for Plan {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Plan, Self::Err> {
        let (word, number) = text.split_once(':').unwrap_or((text, "0"));
        Ok(match word {
            "fail" => Plan::Fail(number.parse()?),
            "ignore" => Plan::Ignore,
            "slow" => Plan::Slow(number.parse()?),
            "hang" => Plan::Hang,
            "stop_as" => Plan::StopAs(number.parse()?),
            _ => Plan::Ok,
        })
    }
}

/// The plans of the starts to come, under a lock: a probe takes the first while the test may replace them all.
pub(crate) struct Plans(Flock<File>, PathBuf);

impl Plans {
    pub(crate) fn lock(dir: &Path, label: &str) -> Plans {
        let path = dir.join("plan").join(label);
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).unwrap();
        Plans(Flock::lock(file, FlockArg::LockExclusive).unwrap(), path)
    }

    pub(crate) fn read(&mut self) -> Vec<Plan> {
        let text = fs::read_to_string(&self.1).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    pub(crate) fn write(&mut self, plans: &[Plan]) {
        let text: String = plans.iter().map(|plan| format!("{plan}\n")).collect();
        self.0.set_len(0).unwrap();
        fs::write(&self.1, text).unwrap();
    }

    /// The next plan, which is then used up.
    pub(crate) fn take(&mut self) -> Plan {
        let plans = self.read();
        let Some((first, rest)) = plans.split_first() else { return Plan::Ok };
        self.write(rest);
        *first
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
    u64::try_from(now.as_nanos()).unwrap()
}

struct Probe {
    log: File,
    label: String,
    run: String,
}

/// One life. What it is called here is its argument if it has one, as instances of a template have, else its name.
pub(crate) fn run(dir: &Path) -> ! {
    let variable = |name: &str| std::env::var(name).unwrap();
    let log = OpenOptions::new().append(true).open(dir.join("log")).unwrap();
    let label = std::env::args().nth(1).unwrap_or_else(|| variable("PROVOST_NAME"));
    let probe = Probe { log, label, run: variable("PROVOST_RUN") };
    let signals = SigSet::from(Signal::SIGTERM);
    signals.thread_block().unwrap();
    let signals = SignalFd::new(&signals).unwrap();
    let orders = orders(dir, &probe.label);
    // Opening a FIFO to read waits for somebody who opens it to write. No gate: nobody has to wait any more.
    let _ = File::open(dir.join("gate"));
    let plan = Plans::lock(dir, &probe.label).take();
    probe.say("start", &plan.to_string());
    if let Plan::Fail(millis) = plan {
        let _ = poll(&mut [], PollTimeout::try_from(millis).unwrap());
        probe.exit(1);
    }
    probe.say("ready", "");
    let notify = variable("NOTIFY_SOCKET");
    UnixDatagram::unbound().unwrap().send_to(b"READY=1", notify).unwrap();
    probe.live(plan, &signals, orders)
}

/// Open for writing too, so that it does not end when the test has written.
fn orders(dir: &Path, label: &str) -> File {
    let path = dir.join("order").join(label);
    match mkfifo(&path, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => panic!("cannot make {}: {errno}", path.display()),
    }
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap()
}

impl Probe {
    fn live(&self, plan: Plan, signals: &SignalFd, mut orders: File) -> ! {
        let mut end = PollTimeout::NONE;
        loop {
            let mut fds = [signals.as_fd(), orders.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            if poll(&mut fds, end) == Ok(0) {
                self.exit(0);
            }
            let [asked, ordered] = fds.map(|fd| fd.any().unwrap_or(false));
            if asked && end.is_none() {
                let _ = signals.read_signal();
                self.say("term", "");
                match plan {
                    Plan::Hang => {}
                    Plan::Slow(millis) => end = PollTimeout::try_from(millis).unwrap(),
                    Plan::StopAs(code) => self.exit(code),
                    Plan::Ok | Plan::Fail(_) | Plan::Ignore => self.exit(0),
                }
            }
            let mut order = [0; 64];
            if ordered && let Ok(length) = orders.read(&mut order) {
                let order = std::str::from_utf8(&order[..length]).unwrap();
                self.exit(order.trim().strip_prefix("exit ").unwrap().parse().unwrap());
            }
        }
    }

    fn exit(&self, code: u8) -> ! {
        self.say("exit", &code.to_string());
        std::process::exit(code.into());
    }

    fn say(&self, event: &str, detail: &str) {
        let Probe { log, label, run } = self;
        let line = format!("{} {label} {run} {} {event} {detail}\n", now_ns(), std::process::id());
        let mut log: &File = log;
        assert_eq!(log.write(line.as_bytes()).unwrap(), line.len());
    }
}
