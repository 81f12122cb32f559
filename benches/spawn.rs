//! The birth of a process, from the call to the moment it has exec'ed, and to its reaping: ours beside
//! `std::process::Command`, which does what `posix_spawn(3)` does. In turn, so that both see the same noise; with little memory
//! and with much, of which neither may depend.

use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use provost::os::cgroup::{Home, home_name};
use provost::os::spawn::{Birth, Parent, Terms, spawn};
use provost::os::wait;

const ROUNDS: usize = 500;
const PROGRAM: &str = "/bin/true";
const MEMORY: usize = 200 << 20;

fn main() {
    println!("{PROGRAM}, {ROUNDS} rounds each, p50\n");
    println!("{:<30}{:>14}{:>18}", "", "to exec", "exec to reaped");
    measure("");
    let memory = black_box(vec![1_u8; MEMORY]);
    measure(" beside 200 MiB");
    black_box(memory);
}

/// Microseconds until it has exec'ed, and from then until it is reaped.
#[derive(Default)]
struct Times {
    born: Vec<f64>,
    reaped: Vec<f64>,
}

impl Times {
    fn add(&mut self, began: Instant, born: Instant) {
        self.born.push((born - began).as_secs_f64() * 1e6);
        self.reaped.push(born.elapsed().as_secs_f64() * 1e6);
    }

    fn print(&mut self, name: &str) {
        let middle = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        println!("{name:<30}{:>11.0} us{:>15.0} us", middle(&mut self.born), middle(&mut self.reaped));
    }
}

fn measure(beside: &str) {
    let null = File::open("/dev/null").expect("/dev/null");
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::make(&home_name(folder.path()));
    let (mut bare, mut plain, mut grouped) = (Times::default(), Times::default(), Times::default());
    for round in 0..ROUNDS {
        let began = Instant::now();
        let mut command = Command::new(PROGRAM);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("spawn");
        let born = Instant::now();
        child.wait().expect("wait");
        bare.add(began, born);

        let (began, born) = ours(&null, Terms::default());
        plain.add(began, born);

        let cell = (1, u32::try_from(round).expect("few rounds"));
        let before = Instant::now();
        let group = home.group(cell, &[]).expect("a control group, or none");
        let terms = Terms { cgroup: group.tree.as_ref().map(AsFd::as_fd), ..Terms::default() };
        let (_, born) = ours(&null, terms);
        home.remove(cell);
        grouped.add(before, born);
    }
    bare.print(&format!("std::process{beside}"));
    plain.print(&format!("ours{beside}"));
    if home.contains() {
        grouped.print(&format!("ours, control group{beside}"));
    }
    home.remove_all();
}

fn ours(null: &File, terms: Terms) -> (Instant, Instant) {
    let began = Instant::now();
    let birth = Birth {
        program: c"/bin/true".into(),
        argv: vec![c"true".into()],
        env: Vec::new(),
        cwd: c"/".into(),
        umask: 0o022,
        stdio: [null.as_fd(); 3],
        pass: Vec::new(),
        listen_pid: false,
        nofile: None,
        terms,
        parent: Parent::Caller,
    };
    let child = spawn(&birth).expect("spawn");
    let born = Instant::now();
    wait::reap_by_pidfd(&child.pidfd).expect("wait");
    (began, born)
}
