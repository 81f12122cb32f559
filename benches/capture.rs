//! Captured output: MB/s, and CPU seconds a GB of whoever captures it.
//!
//! Three sides in one run, the same writer on each: provost with its default rotation (keeper and supervisor process
//! counted), a bare loop of `splice(2)` from the pipe into a file, and a bare loop of read and write. The bare loops begin
//! their file anew where provost would rotate. Rounds alternate, so all see the same noise; the best of each is shown.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;

const ROUNDS: usize = 5;
/// Bytes a write, and bytes in all.
const LOADS: [(usize, u64); 3] = [(64 << 10, 1 << 30), (4 << 10, 1 << 30), (120, 200 << 20)];
const ROTATE_AT: u64 = 10 << 20;
const CHUNK: usize = 64 << 10;

const ROLE: &str = "CAPTURE_ROLE";
const SOCKET: &str = "CAPTURE_SOCKET";
const LOAD: &str = "CAPTURE_LOAD";

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("write") => write(),
        Ok("splice") => capture(splice_chunk),
        Ok("copy") => capture(copy_chunk),
        _ => measure(),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set"))
}

/// Tells the bench a number.
fn tell(number: u64) {
    let socket = UnixDatagram::unbound().expect("socket");
    socket.send_to(&number.to_le_bytes(), variable(SOCKET)).expect("the bench listens");
}

/// The child: writes its load and tells how long that took, in nanoseconds.
fn write() {
    let load = variable(LOAD);
    let (size, total) = load.split_once('/').expect("SIZE/TOTAL");
    let (size, total): (usize, u64) = (size.parse().expect("size"), total.parse().expect("total"));
    let mut line = vec![b'x'; size];
    line[size - 1] = b'\n';
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned().expect("stdout"));
    let began = Instant::now();
    for _ in 0..total / size as u64 {
        out.write_all(&line).expect("somebody captures it");
    }
    tell(u64::try_from(began.elapsed().as_nanos()).expect("short"));
}

/// A bare loop: captures its stdin until the end and tells how much CPU time it took, in nanoseconds.
fn capture(chunk: fn(&File, &File) -> usize) {
    let input = File::from(std::io::stdin().as_fd().try_clone_to_owned().expect("stdin"));
    let path = PathBuf::from(variable(LOAD));
    let mut file = File::create(path).expect("the log");
    let mut size = 0;
    loop {
        match chunk(&input, &file) {
            0 => break,
            bytes => size += bytes as u64,
        }
        if size >= ROTATE_AT {
            file.set_len(0).expect("truncate");
            file.seek(SeekFrom::Start(0)).expect("seek");
            size = 0;
        }
    }
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage");
    tell((usage.user_time() + usage.system_time()).num_microseconds().cast_unsigned() * 1_000);
}

fn splice_chunk(from: &File, to: &File) -> usize {
    splice(from, None, to, None, CHUNK, SpliceFFlags::empty()).expect("splice")
}

fn copy_chunk(mut from: &File, mut to: &File) -> usize {
    let mut buffer = [0; CHUNK];
    let read = from.read(&mut buffer).expect("read");
    to.write_all(&buffer[..read]).expect("write");
    read
}

/// What one round gave.
#[derive(Clone, Copy)]
struct Result {
    wall_ns: u64,
    cpu_ns: u64,
}

struct Bench {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().expect("temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("socket")).expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(300))).expect("timeout");
        Bench { folder, socket }
    }

    fn hear(&self) -> u64 {
        let mut number = [0; 8];
        self.socket.recv(&mut number).expect("a number");
        u64::from_le_bytes(number)
    }

    fn command(&self, role: &str, load: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("own program"));
        command.env(ROLE, role).env(SOCKET, self.folder.path().join("socket")).env(LOAD, load);
        command
    }

    fn bare(&self, role: &str, load: &str) -> Result {
        let log = self.folder.path().join("bare.log");
        let mut reader =
            self.command(role, log.to_str().expect("text")).stdin(Stdio::piped()).spawn().expect("spawn");
        let pipe = reader.stdin.take().expect("piped");
        let mut writer = self.command("write", load).stdout(pipe).spawn().expect("spawn");
        let wall_ns = self.hear();
        let cpu_ns = self.hear();
        writer.wait().expect("wait");
        reader.wait().expect("wait");
        fs::remove_file(log).expect("remove");
        Result { wall_ns, cpu_ns }
    }

    fn provost(&self, launcher: &Launcher) -> Result {
        let before = launcher.cpu_ns();
        launcher.verb("start");
        let wall_ns = self.hear();
        let cpu_ns = launcher.cpu_ns() - before;
        launcher.verb("stop");
        Result { wall_ns, cpu_ns }
    }
}

/// `provost up` with one child, the writer, which is started anew for each round.
struct Launcher {
    config: PathBuf,
    process: Child,
}

impl Launcher {
    fn start(bench: &Bench, load: &str) -> Launcher {
        let folder = bench.folder.path();
        let config = folder.join("supervisor.toml");
        let own = std::env::current_exe().expect("own program");
        let (run, socket) = (folder.join("run"), folder.join("socket"));
        let text = format!(
            "name = \"bench\"\nrun_dir = {run:?}\nlog_dir = {:?}\n[[child]]\nname = \"writer\"\nrestart = \"transient\"\n\
             command = [{own:?}]\ncondition = {{ exists = {:?} }}\n\
             env = {{ {ROLE} = \"write\", {SOCKET} = {socket:?}, {LOAD} = {load:?} }}\n",
            folder.join("log"),
            folder.join("go"),
        );
        fs::write(&config, text).expect("write the config");
        let process = Command::new(env!("CARGO_BIN_EXE_provost"))
            .args(["-f", config.to_str().expect("text"), "up"])
            .stdout(Stdio::null())
            .spawn()
            .expect("provost starts");
        let launcher = Launcher { config, process };
        let until = Instant::now() + Duration::from_secs(20);
        while launcher.try_verb("ps").is_none() {
            assert!(Instant::now() < until, "provost is up");
            std::thread::sleep(Duration::from_millis(20));
        }
        fs::write(folder.join("go"), "").expect("write");
        launcher
    }

    fn try_verb(&self, verb: &str) -> Option<()> {
        let name: &[&str] = if verb == "ps" { &[] } else { &["writer"] };
        let status = Command::new(env!("CARGO_BIN_EXE_provost"))
            .args(["-f", self.config.to_str().expect("text"), verb])
            .args(name)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.expect("spawn").success().then_some(())
    }

    fn verb(&self, verb: &str) {
        self.try_verb(verb).unwrap_or_else(|| panic!("provost {verb}"));
    }

    /// CPU time of the keeper and of the supervisor process with all its threads.
    fn cpu_ns(&self) -> u64 {
        let keeper = self.process.id();
        let children =
            fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).expect("children");
        let is_ours = |pid: &&str| {
            fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.starts_with("provost-super"))
        };
        let supervisor = children.split_whitespace().find(is_ours).expect("a supervisor process").to_owned();
        [keeper.to_string(), supervisor].iter().map(|pid| cpu_of(Path::new("/proc").join(pid))).sum()
    }
}

fn cpu_of(process: PathBuf) -> u64 {
    let tasks = fs::read_dir(process.join("task")).expect("it lives").flatten();
    let spent = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    spent.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

fn measure() {
    println!("captured output, best of {ROUNDS} rounds each\n");
    println!("{:<22}{:>14}{:>16}", "", "MB/s", "CPU s/GB");
    for (size, total) in LOADS {
        let bench = Bench::new();
        let load = format!("{size}/{total}");
        let launcher = Launcher::start(&bench, &load);
        let mut sides =
            [("provost", Vec::new()), ("bare splice", Vec::new()), ("bare read, write", Vec::new())];
        for _ in 0..ROUNDS {
            sides[0].1.push(bench.provost(&launcher));
            sides[1].1.push(bench.bare("splice", &load));
            sides[2].1.push(bench.bare("copy", &load));
        }
        println!("writes of {size} bytes");
        for (name, results) in &sides {
            let best = |of: fn(&Result) -> u64| results.iter().map(of).min().expect("rounds") as f64;
            let rate = total as f64 / 1e6 / (best(|result| result.wall_ns) / 1e9);
            let cpu = best(|result| result.cpu_ns) / 1e9 / (total as f64 / 1e9);
            println!("  {name:<20}{rate:>14.0}{cpu:>16.2}");
        }
    }
}
