//! What an earlier launcher of the same project left running: removed before anything is started.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::say;
use crate::keeper::RUN_DIR_VARIABLE;
use crate::os::cgroup::{self, Home};
use crate::os::leftovers::{self, Removed};

/// How long they may take to die; they are killed, so only the kernel can make one stay.
const LIMIT: Duration = Duration::from_secs(10);

/// Removes them, says so, and makes the home of the new launcher's control groups. To be called with the run directory's
/// lock held: then no launcher of it is alive, and whoever was started with its name, or stands in its control groups,
/// belongs to a dead one.
///
/// # Errors
/// One sentence: some cannot be removed, and what to start would run beside them.
pub(super) fn remove(run_dir: &Path) -> Result<Home, String> {
    let name = cgroup::home_name(run_dir);
    let earlier = Home::remembered(run_dir, &name);
    let mut removed = empty(earlier.iter().chain([&Home::make(&name)]));
    let pair = [RUN_DIR_VARIABLE.as_bytes(), b"=", run_dir.as_os_str().as_bytes()].concat();
    let by_name = leftovers::remove(&pair, LIMIT)
        .map_err(|error| format!("cannot look for what an earlier launcher left behind: {error}"))?;
    removed = Removed { gone: removed.gone + by_name.gone, left: removed.left + by_name.left };
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
