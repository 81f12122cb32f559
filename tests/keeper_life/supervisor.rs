//! Supervisor processes: one that does what it reads from standard input and prints what it is told, and one that starts
//! children as fast as it can.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::CString;
use std::fs::File;
use std::io::{PipeReader, Read, Write, pipe, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::exit;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, read};
use provost::keeper::{FromKeeper, JOURNAL_FD, Key, Link, Reach, ToKeeper};
use provost::os::memfd;
use provost::os::spawn::{Birth, BirthError, Born, Parent, Terms, spawn};
use provost::os::{process, socket};

fn print(line: String) {
    let mut out = stdout().lock();
    // Nobody may be left to read it.
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

fn key(node: &str, run: &str) -> Key {
    Key { node: node.parse().unwrap(), run: run.parse().unwrap() }
}

fn show(key: Key) -> String {
    format!("{} {}", key.node, key.run)
}

fn shell(script: &str) -> Vec<CString> {
    ["sh", "-c", script].map(|word| CString::new(word).unwrap()).into()
}

/// A child of the keeper.
fn bear(
    link: &Link,
    key: Key,
    program: &str,
    argv: Vec<CString>,
    out: Option<OwnedFd>,
    read: Option<&OwnedFd>,
) -> Result<Born, BirthError> {
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let out = out.unwrap_or_else(|| null.try_clone().unwrap().into());
    spawn(&Birth {
        program: CString::new(program).unwrap(),
        argv,
        env: vec![c"PATH=/usr/bin:/bin".into()],
        cwd: c"/".into(),
        umask: 0o022,
        stdio: [null.as_fd(), out.as_fd(), null.as_fd()],
        pass: Vec::new(),
        listen_pid: false,
        nofile: None,
        terms: Terms::default(),
        parent: link.parent(key, Reach::Tree, 0, read.map(AsFd::as_fd).into_iter().collect()),
    })
}

/// Does what it is told, line by line.
pub(crate) fn run() -> ! {
    let mut script = Script { link: Some(Link::inherited().unwrap()), outputs: BTreeMap::new() };
    print(format!("hello {} {}", Pid::this(), Pid::parent()));
    let mut typed = Vec::new();
    loop {
        script.hear();
        let stdin = stdin();
        let mut polled = vec![PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if let Some(link) = &script.link {
            polled.push(PollFd::new(link.as_fd(), PollFlags::POLLIN));
        }
        poll(&mut polled, PollTimeout::NONE).unwrap();
        if polled[0].revents().is_some_and(|found| !found.is_empty()) {
            let mut buffer = [0; 4096];
            let len = read(stdin.as_fd(), &mut buffer).unwrap();
            if len == 0 {
                exit(0);
            }
            typed.extend_from_slice(&buffer[..len]);
            while let Some(end) = typed.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = typed.drain(..=end).collect();
                script.obey(String::from_utf8(line).unwrap().trim());
            }
        }
    }
}

struct Script {
    link: Option<Link>,
    outputs: BTreeMap<Key, PipeReader>,
}

impl Script {
    fn link(&self) -> &Link {
        self.link.as_ref().unwrap()
    }

    fn hear(&mut self) {
        while let Some(message) = self.link.as_ref().and_then(|link| link.recv().unwrap()) {
            match message {
                FromKeeper::Child { key, pid, pidfd, outputs, .. } => {
                    let held = provost::os::pidfd::signal(pidfd.as_fd(), 0).is_ok();
                    print(format!("child {} {pid} alive={held} outputs={}", show(key), outputs.len()));
                    if let Some(output) = outputs.into_iter().next() {
                        self.outputs.insert(key, output.into());
                    }
                }
                FromKeeper::Stored { name, fd } => {
                    let text = whole(&File::from(fd));
                    print(format!("stored {name} {}", String::from_utf8(text).unwrap()));
                }
                FromKeeper::SnapshotEnd { incarnation, orphans, .. } => {
                    print(format!("end {incarnation} {orphans}"));
                }
                FromKeeper::Exited(record) => {
                    let failed = record
                        .birth_failed
                        .map_or(String::new(), |(step, errno)| format!(" {step} {errno:?}"));
                    print(format!("exited {} {} {}{failed}", show(record.key), record.pid, record.status));
                }
                FromKeeper::Stop => print("stop".into()),
                FromKeeper::StopNow => print("stop-now".into()),
                FromKeeper::Ping => {}
                FromKeeper::Gone => {
                    print("gone".into());
                    exit(0)
                }
            }
            // The keeper may be gone by now.
            let _ = self.link().send(&ToKeeper::Alive);
        }
    }

    fn obey(&mut self, line: &str) {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["spawn", node, run, script] => {
                let (read, write) = pipe().unwrap();
                let read = OwnedFd::from(read);
                let key = key(node, run);
                let born = bear(self.link(), key, "/bin/sh", shell(script), Some(write.into()), Some(&read))
                    .unwrap();
                self.outputs.insert(key, read.into());
                print(format!("born {} {}", show(key), born.pid));
            }
            ["exec", node, run, program] => {
                let key = key(node, run);
                let error = bear(self.link(), key, program, shell(""), None, None).unwrap_err();
                print(format!("unborn {} {} {:?}", show(key), error.step, error.errno));
            }
            ["crowd", count] => {
                for node in 0..count.parse().unwrap() {
                    let argv = ["tail", "-f", "/dev/null"].map(|word| CString::new(word).unwrap()).into();
                    bear(self.link(), Key { node, run: 1 }, "/usr/bin/tail", argv, None, None).unwrap();
                }
                print(format!("crowded {count}"));
            }
            ["babble"] => {
                let own_registration = Link::registration(Key { node: 9, run: 9 }, Reach::Tree, 0);
                let packets: [&[u8]; 5] = [b"", b"x", &[0; 127], &[255; 600], &own_registration];
                for packet in packets {
                    socket::send(self.link().as_fd(), packet, &[self.link().as_fd()]).unwrap();
                }
                print("babbled".into());
            }
            ["again", node, run] => {
                let argv = ["tail", "-f", "/dev/null"].map(|word| CString::new(word).unwrap()).into();
                let born = bear(self.link(), key(node, run), "/usr/bin/tail", argv, None, None);
                print(format!("again {}", born.map_or_else(|error| error.pid.unwrap(), |born| born.pid)));
            }
            ["forger", node, run] => {
                let key = key(node, run);
                self.bear_forger(key, node, run);
            }
            ["stuck"] => print(format!("stuck {}", self.bear_stuck().pid)),
            ["read", node, run] => {
                let mut text = String::new();
                let key = key(node, run);
                self.outputs.remove(&key).unwrap().read_to_string(&mut text).unwrap();
                print(format!("output {} {}", show(key), text.escape_debug()));
            }
            ["ack", node, run] => self.link().send(&ToKeeper::Ack(key(node, run))).unwrap(),
            ["store", name, text] => {
                let file = File::from(memfd::create(c"stored").unwrap());
                file.write_all_at(text.as_bytes(), 0).unwrap();
                self.link().send(&ToKeeper::Store(name, file.as_fd())).unwrap();
            }
            ["unstore", name] => self.link().send(&ToKeeper::Unstore(name)).unwrap(),
            ["up"] => self.link().send(&ToKeeper::Up).unwrap(),
            ["finish", code] => {
                self.link().send(&ToKeeper::Finish(code.parse().unwrap())).unwrap();
                exit(0)
            }
            ["finish-but-stay", code] => self.link().send(&ToKeeper::Finish(code.parse().unwrap())).unwrap(),
            ["exit", code] => exit(code.parse().unwrap()),
            ["mute"] => drop(self.link.take()),
            ["echo", word] => print(format!("echo {word}")),
            _ => panic!("unknown command '{line}'"),
        }
    }
}

impl Script {
    /// A child that keeps the socket and never registers, as one stuck between clone and registration would.
    fn bear_stuck(&self) -> Born {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let mut parent = self.link().parent(Key { node: 0, run: 0 }, Reach::Tree, 0, Vec::new());
        if let Parent::Keeper { message, .. } = &mut parent {
            *message = b"no packet".to_vec();
        }
        let birth = Birth {
            program: c"/bin/sh".into(),
            argv: shell("exec tail -f /dev/null"),
            env: vec![c"PATH=/usr/bin:/bin".into()],
            cwd: c"/".into(),
            umask: 0o022,
            stdio: [null.as_fd(); 3],
            pass: vec![self.link().as_fd()],
            listen_pid: false,
            nofile: None,
            terms: Terms::default(),
            parent,
        };
        spawn(&birth).unwrap()
    }
}

impl Script {
    /// A child that keeps the socket behind its exec, and uses it.
    fn bear_forger(&self, key: Key, node: &str, run: &str) {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let own = CString::new(env::current_exe().unwrap().to_str().unwrap()).unwrap();
        let argv = ["forger", "role:forger", node, run].map(|word| CString::new(word).unwrap());
        let out = stdout();
        let birth = Birth {
            program: own,
            argv: argv.into(),
            env: vec![c"PATH=/usr/bin:/bin".into()],
            cwd: c"/".into(),
            umask: 0o022,
            stdio: [null.as_fd(), out.as_fd(), null.as_fd()],
            pass: vec![self.link().as_fd()],
            listen_pid: false,
            nofile: None,
            terms: Terms::default(),
            parent: self.link().parent(key, Reach::Tree, 0, Vec::new()),
        };
        spawn(&birth).unwrap();
    }
}

/// Everything in a file, wherever its position is.
fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len().try_into().unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Nodes 0 to 7 run all the time: whatever is not alive is started again. The journal holds `node run` of each start, so
/// that a run is never used twice; each record is written before its birth.
pub(crate) fn storm(folder: &str) -> ! {
    const NODES: u32 = 8;
    let link = Link::inherited().unwrap();
    let journal = File::from(process::inherited(JOURNAL_FD).unwrap());
    let mut runs: BTreeMap<u32, u32> = BTreeMap::new();
    let records = whole(&journal);
    for record in records.chunks_exact(8) {
        let [node, run] = [0, 4].map(|at| u32::from_le_bytes(record[at..at + 4].try_into().unwrap()));
        runs.insert(node, run);
    }
    // The last record may have been cut off.
    let mut end = records.len() as u64 / 8 * 8;
    let mut alive: BTreeSet<Key> = BTreeSet::new();
    let mut known = false;
    let mut stopping = false;
    print(format!("hello {}", Pid::this()));
    loop {
        while let Some(message) = link.recv().unwrap() {
            match message {
                FromKeeper::Child { key, .. } => drop(alive.insert(key)),
                FromKeeper::SnapshotEnd { incarnation, orphans, .. } => {
                    print(format!("end {incarnation} {orphans}"));
                    known = true;
                }
                FromKeeper::Exited(record) => {
                    alive.remove(&record.key);
                    link.send(&ToKeeper::Ack(record.key)).unwrap();
                }
                FromKeeper::Stop | FromKeeper::StopNow => stopping = true,
                FromKeeper::Stored { .. } => {}
                FromKeeper::Ping => {}
                FromKeeper::Gone => exit(0),
            }
            link.send(&ToKeeper::Alive).unwrap();
        }
        if stopping && alive.is_empty() {
            link.send(&ToKeeper::Finish(0)).unwrap();
            exit(0);
        }
        let missing: Vec<u32> = (0..NODES)
            .filter(|node| known && !stopping && !alive.iter().any(|key| key.node == *node))
            .collect();
        for node in missing {
            let run = runs.get(&node).map_or(1, |run| run + 1);
            runs.insert(node, run);
            journal.write_all_at(&[node.to_le_bytes(), run.to_le_bytes()].concat(), end).unwrap();
            end += 8;
            let key = Key { node, run };
            let own = env::current_exe().unwrap();
            let argv = ["child", "role:child", folder, &node.to_string(), &run.to_string()]
                .map(|word| CString::new(word).unwrap())
                .into();
            if bear(&link, key, own.to_str().unwrap(), argv, None, None).is_ok() {
                alive.insert(key);
            }
        }
        let mut polled = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::NONE).unwrap();
    }
}
