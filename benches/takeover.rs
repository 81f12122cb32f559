//! Takeover: from `kill -9` of the supervisor process to its successor's first answer on the control socket, as a client sees
//! it that asks right after the kill.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ROUNDS: usize = 300;
/// How many children are taken over.
const CHILDREN: [usize; 2] = [10, 100];

fn main() {
    println!("kill -9 of the supervisor process to its successor's first answer, {ROUNDS} rounds each\n");
    println!("{:<14}{:>12}{:>12}{:>12}", "children", "p50", "p99", "max");
    for children in CHILDREN {
        let mut times = measure(children);
        times.sort_unstable();
        let quantile = |q: f64| times[((times.len() - 1) as f64 * q).round() as usize].as_secs_f64() * 1e3;
        println!(
            "{children:<14}{:>9.2} ms{:>9.2} ms{:>9.2} ms",
            quantile(0.5),
            quantile(0.99),
            quantile(1.0)
        );
    }
}

fn measure(children: usize) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut launcher = launch(folder.path(), children);
    let socket = folder.path().join("run/control.sock");
    let mut pid = ask(&socket).expect("an answer");
    let times = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        kill(pid, Signal::SIGKILL).expect("the supervisor process lives");
        // A connection that the dying one had taken breaks.
        let next = loop {
            if let Some(next) = ask(&socket).filter(|next| *next != pid) {
                break next;
            }
        };
        pid = next;
        began.elapsed()
    });
    let times = times.collect();
    kill(Pid::from_raw(launcher.id().cast_signed()), Signal::SIGTERM).expect("the launcher lives");
    launcher.wait().expect("wait");
    times
}

/// The answering supervisor process; `None` if the connection broke.
fn ask(socket: &Path) -> Option<Pid> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.write_all(b"GET /v1/about HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, number) = answer.split_once("\"pid\":")?;
    let end = number.find(|letter: char| !letter.is_ascii_digit())?;
    number[..end].parse().ok().map(Pid::from_raw)
}

fn launch(folder: &Path, children: usize) -> Child {
    let config = folder.join("supervisor.toml");
    let text = format!(
        "name = \"bench\"\nrun_dir = \"{0}/run\"\nlog_dir = \"{0}/log\"\n[[child]]\nname = \"idle\"\n\
         instances = {children}\ncommand = [\"tail\", \"-f\", \"/dev/null\"]\n",
        folder.display()
    );
    fs::write(&config, text).expect("write the config");
    let mut launcher = Command::new(env!("CARGO_BIN_EXE_provost"))
        .arg("-f")
        .arg(config)
        .arg("up")
        .stdout(Stdio::piped())
        .spawn()
        .expect("provost starts");
    let lines = BufReader::new(launcher.stdout.take().expect("piped")).lines();
    let up = lines.map_while(Result::ok).any(|line| line.contains("distinct PIDs"));
    assert!(up, "the tree is up");
    launcher
}
