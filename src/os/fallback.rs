//! Forcing the degraded paths, so that they can be tested on kernels that would not take them.

use std::env;
use std::sync::OnceLock;

/// Whether `PROVOST_FORCE_FALLBACK` (a comma-separated list, read once) names this facility: `clone3`, `close_range`,
/// `openat2`, `splice`.
pub(crate) fn forced(facility: &str) -> bool {
    static LIST: OnceLock<String> = OnceLock::new();
    let list = LIST.get_or_init(|| env::var("PROVOST_FORCE_FALLBACK").unwrap_or_default());
    list.split(',').any(|name| name.trim() == facility)
}
