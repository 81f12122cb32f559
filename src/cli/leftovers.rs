//! What an earlier launcher of the same project left running: removed before anything is started.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::say;
use crate::keeper::{LAUNCH_VARIABLE, RUN_DIR_VARIABLE};
use crate::os::cgroup::{self, Home};
use crate::os::leftovers::{self, Environment, Launch, Removed};

/// How long they may take to die; they are killed, so only the kernel can make one stay.
const LIMIT: Duration = Duration::from_secs(10);

/// Removes them, says so, and makes the home of the new launcher's control groups. To be called with the run directory's
/// lock held: then no launcher of it is alive. What stands in its control groups belongs to a dead one, and what was started
/// with its name by a launcher that is dead; the name alone, which people export in their shells, is no proof.
///
/// # Errors
/// One sentence: some cannot be removed, and what to start would run beside them.
pub(super) fn remove(run_dir: &Path) -> Result<Home, String> {
    let name = cgroup::home_name(run_dir);
    let earlier = Home::remembered(run_dir, &name);
    let mut removed = empty(earlier.iter().chain([&Home::make(&name)]));
    let is_left = |process: &Environment| {
        let is_of_here = process.get(RUN_DIR_VARIABLE) == Some(run_dir.as_os_str().as_bytes());
        is_of_here && process.get(LAUNCH_VARIABLE).and_then(Launch::parse).is_some_and(Launch::is_dead)
    };
    let by_launch = leftovers::remove(is_left, LIMIT)
        .map_err(|error| format!("cannot look for what an earlier launcher left behind: {error}"))?;
    removed = Removed { gone: removed.gone + by_launch.gone, left: removed.left + by_launch.left };
    if removed.gone > 0 {
        say(format_args!("removed {} that an earlier launcher left behind", processes(removed.gone)));
    }
    if removed.left > 0 {
        return Err(format!(
            "{} that an earlier launcher left behind cannot be killed; look for {RUN_DIR_VARIABLE}={} in \
             /proc/PID/environ",
            processes(removed.left),
            run_dir.display()
        ));
    }
    let home = Home::make(&name);
    home.remember(run_dir);
    Ok(home)
}

/// Empties these homes and removes them.
fn empty<'a>(homes: impl Iterator<Item = &'a Home>) -> Removed {
    let mut sum = Removed::default();
    // One that this launcher itself was started in is somebody's who lives.
    for home in homes.filter(|home| !home.holds_us()) {
        let Removed { gone, left } = home.empty(LIMIT);
        sum = Removed { gone: sum.gone + gone, left: sum.left + left };
        home.remove_all();
    }
    sum
}

fn processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}
