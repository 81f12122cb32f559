//! What an earlier launcher of the same project left running: removed before anything is started.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::keeper::RUN_DIR_VARIABLE;
use crate::os::cgroup::{self, Home};
use crate::os::leftovers::{self, Removed};

/// How long they may take to die; they are killed, so only the kernel can make one stay.
const LIMIT: Duration = Duration::from_secs(10);

/// The file in the run directory that tells where the control groups are.
const PLACE: &str = "cgroup";

/// Removes them, says so, and makes the home of the new launcher's control groups. To be called with the run directory's
/// lock held: then no launcher of it is alive, and whoever was started with its name, or stands in its control groups,
/// belongs to a dead one.
///
/// # Errors
/// One sentence: some cannot be removed, and what to start would run beside them.
pub(super) fn remove(run_dir: &Path) -> Result<Home, String> {
    let name = cgroup::home_name(run_dir);
    let place = run_dir.join(PLACE);
    // What the file says is believed only of a control group of this very name.
    let known = std::fs::read(&place).unwrap_or_default();
    let earlier = Home::elsewhere(Path::new(OsStr::from_bytes(&known)), &name);
    let mut removed = empty(earlier.iter().chain([&Home::make(&name)]));
    let pair = [RUN_DIR_VARIABLE.as_bytes(), b"=", run_dir.as_os_str().as_bytes()].concat();
    let by_name = leftovers::remove(&pair, LIMIT)
        .map_err(|error| format!("cannot look for what an earlier launcher left behind: {error}"))?;
    removed = Removed { gone: removed.gone + by_name.gone, left: removed.left + by_name.left };
    if removed.gone > 0 {
        eprintln!("provost: removed {} that an earlier launcher left behind", processes(removed.gone));
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
    remember(&place, &home);
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

/// Best effort: leftovers are also known by their environment.
fn remember(place: &Path, home: &Home) {
    let _ = std::fs::remove_file(place);
    if let Some(path) = home.path() {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place);
        let _ = file.and_then(|mut file| file.write_all(path.as_os_str().as_bytes()));
    }
}

fn processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}
