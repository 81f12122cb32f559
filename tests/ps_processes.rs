//! The process table against real processes, and against three other witnesses: `/proc` read here, `ps(1)`, and sysinfo.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use provost::control::{Member, ProcessJson, PsJson, Role, Totals, ps};
use provost::os::proc::Table;
use provost::rules::Phase;

/// How far the kernel's cheap count of resident memory, which the witnesses use, may lag behind: each CPU keeps some
/// pages of three kinds to itself.
const LATE_KIB: u64 = 1024;

/// A session of processes, as a child has: killed as a whole when the test ends.
struct Session {
    leader: Child,
}

impl Session {
    /// Runs a script in a new session and waits until it has printed a line.
    fn start(script: &str) -> Session {
        let mut leader = Command::new("setsid")
            .args(["sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(leader.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Session { leader }
    }

    fn pid(&self) -> i32 {
        self.leader.id().cast_signed()
    }

    fn member(&self, name: &str) -> Member {
        let phase = Some(Phase::Running);
        Member {
            name: name.into(),
            role: Role::Child,
            phase,
            pid: Some(self.pid()),
            run: 4,
            restarts: 3,
            marks: None,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // First what left the session, found by its parents. An error means that it is gone already.
        for row in Table::read().unwrap().descendants(self.pid()) {
            let _ = kill(Pid::from_raw(row.pid), Signal::SIGKILL);
        }
        let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        self.leader.wait().unwrap();
    }
}

/// The table, read until it shows these command lines, all asleep: what a shell forks needs a moment to become its
/// program.
async fn table(members: Vec<Member>, commands: &[&str]) -> PsJson {
    let until = Instant::now() + Duration::from_secs(10);
    let mut expected = commands.to_vec();
    expected.sort_unstable();
    loop {
        let table = ps("demo".into(), members.clone()).await;
        let mut seen: Vec<&str> = table.processes.iter().map(command).collect();
        seen.sort_unstable();
        if seen == expected && table.processes.iter().all(|row| row.state.as_deref() == Some("S")) {
            return table;
        }
        assert!(Instant::now() < until, "{table:#?}");
    }
}

/// The command line; of a shell with a script only `sh`.
fn command(row: &ProcessJson) -> &str {
    let line = row.cmdline.as_deref().unwrap_or_default();
    if line.starts_with("sh -c ") { "sh" } else { line }
}

/// One column of `ps(1)` for one process.
fn ps1(pid: i32, column: &str) -> String {
    let output =
        Command::new("ps").args(["-o", &format!("{column}="), "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn rows_say_what_ps_and_proc_say() {
    let session = Session::start("sleep 600 & echo ready; wait");
    let table = table(vec![session.member("family")], &["sh", "sleep 600"]).await;
    for row in &table.processes {
        let pid = row.pid.unwrap();
        let text = |field: Option<i32>| field.unwrap().to_string();
        assert_eq!(text(row.ppid), ps1(pid, "ppid"));
        assert_eq!(text(row.pgid), ps1(pid, "pgid"));
        assert_eq!(text(row.sid), ps1(pid, "sid"));
        assert_eq!(row.tty.as_deref().unwrap_or("?"), ps1(pid, "tty"));
        assert_eq!(row.state.as_deref(), Some(&ps1(pid, "state")[..]));
        assert_eq!(row.threads.unwrap().to_string(), ps1(pid, "nlwp"));
        assert_eq!(row.cmdline.as_deref(), Some(&ps1(pid, "args")[..]));
        let seconds: u64 = ps1(pid, "etimes").parse().unwrap();
        assert!(seconds.abs_diff(row.uptime_ms.unwrap() / 1000) <= 1, "{row:?}");
        let kib: u64 = ps1(pid, "rss").parse().unwrap();
        assert!(kib.abs_diff(row.rss_bytes.unwrap() / 1024) <= LATE_KIB, "{kib} KiB, {row:?}");
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let [rss, pss] = ["\nRss:", "\nPss:"].map(|name| {
            let (_, rest) = rollup.split_once(name).unwrap();
            rest.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
        });
        assert_eq!(row.rss_bytes, Some(rss));
        // Others that map the same pages come and go.
        assert!(
            row.pss_bytes.unwrap().abs_diff(pss) <= rss / 2 && row.pss_bytes <= row.rss_bytes,
            "{pss} {row:?}"
        );
        assert!(row.private_bytes <= row.pss_bytes, "{row:?}");
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert_eq!(row.exe.as_deref(), exe.to_str());
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert_eq!(row.fds, Some(fds as u64));
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
        assert_eq!(row.start_ticks.unwrap().to_string(), fields[20]);
    }
    let [shell, sleep] = &table.processes[..] else { unreachable!() };
    assert_eq!((shell.role, sleep.role, sleep.name.as_str()), (Role::Child, Role::Descendant, "family"));
    assert_eq!((shell.run, shell.restarts, sleep.run), (Some(4), Some(3), None));
    assert_eq!((sleep.ppid, sleep.sid), (shell.pid, shell.pid));
}

#[tokio::test]
async fn rows_say_what_sysinfo_says() {
    let session = Session::start("sleep 600 & echo ready; wait");
    let table = table(vec![session.member("family")], &["sh", "sleep 600"]).await;
    let system = sysinfo::System::new_all();
    for row in &table.processes {
        let witness = system.process(sysinfo::Pid::from_u32(row.pid.unwrap().cast_unsigned())).unwrap();
        assert_eq!(witness.parent().map(|pid| pid.as_u32().cast_signed()), row.ppid);
        assert_eq!(witness.session_id().map(|pid| pid.as_u32().cast_signed()), row.sid);
        assert_eq!(witness.exe().and_then(|exe| exe.to_str()), row.exe.as_deref());
        assert!(witness.memory().abs_diff(row.rss_bytes.unwrap()) <= LATE_KIB * 1024);
        let start = humantime::parse_rfc3339(row.start_time.as_deref().unwrap()).unwrap();
        let start = start.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(witness.start_time().abs_diff(start) <= 1, "{} {start}", witness.start_time());
    }
}

#[tokio::test]
async fn everything_a_child_forked_stands_below_it() {
    // A pipeline, an orphan of the session, a child of that orphan, and one in a session of its own.
    let first = Session::start(
        "sleep 601 | cat & (sh -c 'sleep 602 & wait' &) ; setsid sleep 603 & echo ready; wait",
    );
    let second = Session::start("sleep 604 & echo ready; wait");
    let members = vec![second.member("second"), first.member("first")];
    let table =
        table(members, &["sh", "sleep 604", "sh", "sleep 601", "cat", "sh", "sleep 602", "sleep 603"]).await;
    let below = |name| table.processes.iter().filter(move |row| row.name == name).map(command);
    assert_eq!(below("second").collect::<Vec<_>>(), ["sh", "sleep 604"]);
    let first: Vec<&str> = below("first").collect();
    assert_eq!(first.len(), 6);
    let place = |command| first.iter().rposition(|seen| *seen == command).unwrap();
    assert!(place("sh") < place("sleep 602"), "a parent before its child: {first:?}");
    let order: Vec<&str> = table.processes.iter().map(|row| row.name.as_str()).collect();
    assert!(order.is_sorted_by_key(|name| *name != "second"), "each child is followed by its own: {order:?}");
    let own_session = table.processes.iter().find(|row| command(row) == "sleep 603").unwrap();
    assert_eq!(own_session.sid, own_session.pid);
    let totals = Totals::of(&table.processes);
    assert_eq!((totals.processes, totals.pids, totals.sessions, totals.untold), (8, 8, 3, 0));
}

#[tokio::test]
async fn a_process_that_ended_has_no_row_and_a_zombie_has_one() {
    let mut session = Session::start("echo ready; exec sleep 600");
    table(vec![session.member("single")], &["sleep 600"]).await;
    session.leader.kill().unwrap();
    // Not waited for: the leader is a zombie.
    let until = Instant::now() + Duration::from_secs(10);
    let zombie = loop {
        let row = ps("demo".into(), vec![session.member("single")]).await.processes.swap_remove(0);
        if row.state.as_deref() == Some("Z") {
            break row;
        }
        assert!(Instant::now() < until, "{row:?}");
    };
    assert_eq!((zombie.pss_bytes, zombie.rss_bytes, zombie.exe), (None, Some(0), None));
    assert_eq!(zombie.cmdline.as_deref(), Some("[sleep]"));
    session.leader.wait().unwrap();
    let table = ps("demo".into(), vec![session.member("single")]).await;
    assert_eq!(table.processes.len(), 1);
    assert_eq!((table.processes[0].run, table.processes[0].start_ticks), (Some(4), None));
}

#[tokio::test]
async fn reading_the_table_lets_others_run() {
    let pid = Some(std::process::id().cast_signed());
    let member =
        Member { name: "me".into(), role: Role::Child, phase: None, pid, run: 1, restarts: 0, marks: None };
    let members = vec![member; 64];
    let turns = std::rc::Rc::new(std::cell::Cell::new(0));
    let counting = {
        let turns = turns.clone();
        async move {
            loop {
                turns.set(turns.get() + 1);
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        table = ps("demo".into(), members) => {
            // Other tests of this process have children, too.
            assert_eq!(table.processes.iter().filter(|row| row.role == Role::Child).count(), 64);
        }
        () = counting => unreachable!(),
    }
    assert!(turns.get() >= 4, "{} turns", turns.get());
}
