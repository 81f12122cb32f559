//! Nothing piles up.

use std::fs;

use crate::support::{Project, kill, stat};
use crate::watched::{Watched, flags, idle};

const DEATHS: u32 = 500;

#[test]
fn o35_a_crash_storm_leaves_nothing() {
    let mut watched =
        Watched::up(Project::new(&(flags("one_for_one", 2 * DEATHS) + &idle("a", "") + &idle("b", ""))));
    let (keeper, supervisor) = (watched.launcher.pid(), watched.launcher.pid_of("supervisor").unwrap());
    let b = watched.pid("b");
    let mut a = watched.wait("started", "a")["pid"].as_i64().unwrap() as i32;
    let mut die = |watched: &mut Watched, times: u32| {
        for _ in 0..times {
            kill(a, libc::SIGKILL);
            a = watched.wait("started", "a")["pid"].as_i64().unwrap() as i32;
            watched.seen.clear();
        }
    };
    let open = |pid: i32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    // What is opened once and kept, such as buffers that grew, is open before the count.
    die(&mut watched, 10);
    let before = (open(keeper), open(supervisor));
    die(&mut watched, DEATHS);
    assert_eq!(watched.child("a")["restarts"], DEATHS + 10);
    assert_eq!(watched.pid("b"), b);
    let mut all = watched.launcher.below();
    all.sort_unstable();
    let mut expected = vec![supervisor, watched.pid("a"), b];
    expected.sort_unstable();
    assert_eq!(all, expected);
    assert_eq!(zombies_of(keeper) + zombies_of(supervisor), 0);
    crate::support::eventually("no descriptor more than before", || {
        // A few come and go with what is under way; a leak would be one for each death.
        (open(keeper) <= before.0 + 8 && open(supervisor) <= before.1 + 8).then_some(())
    });
}

fn zombies_of(parent: i32) -> usize {
    let pids = fs::read_dir("/proc").unwrap();
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(stat).filter(|stat| stat.ppid == parent && stat.state == 'Z').count()
}
