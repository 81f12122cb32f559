//! What an earlier launcher of the same project left running: removed before anything is started.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::keeper::RUN_DIR_VARIABLE;
use crate::os::leftovers::{self, Removed};

/// How long they may take to die; they are killed, so only the kernel can make one stay.
const LIMIT: Duration = Duration::from_secs(10);

/// Removes them and says so. To be called with the run directory's lock held: then no launcher of it is alive, and whoever
/// was started with its name belongs to a dead one.
///
/// # Errors
/// One sentence: some cannot be removed, and what to start would run beside them.
pub(super) fn remove(run_dir: &Path) -> Result<(), String> {
    let pair = [RUN_DIR_VARIABLE.as_bytes(), b"=", run_dir.as_os_str().as_bytes()].concat();
    let Removed { gone, left } = leftovers::remove(&pair, LIMIT)
        .map_err(|error| format!("cannot look for what an earlier launcher left behind: {error}"))?;
    if gone > 0 {
        eprintln!("provost: removed {} that an earlier launcher left behind", processes(gone));
    }
    match left {
        0 => Ok(()),
        _ => Err(format!(
            "{} that an earlier launcher left behind cannot be killed; look for {RUN_DIR_VARIABLE}={} in \
             /proc/PID/environ",
            processes(left),
            run_dir.display()
        )),
    }
}

fn processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}
