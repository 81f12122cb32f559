//! `listen`: sockets that provost holds and hands down.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::claims::Claim;
use super::expand::Scope;
use super::keys;
use super::name::name;
use super::project::Listen;
use super::table::Table;
use super::value::Value;

/// Longest path of a Unix socket: `sun_path` of `unix(7)` without its terminating NUL.
const LONGEST_PATH: usize = 107;

/// Only the owner may connect.
const MODE: u32 = 0o600;

const HINT: &str = "write [{ name = \"web\", unix = \"${RUN_DIR}/web.sock\", mode = \"0600\" }]";

/// The sockets of a child in the order of their descriptors. Their paths are claimed: one path is one socket.
pub(crate) fn listen(table: &Table, scope: &Scope, claims: &mut Vec<Claim>) -> Vec<Listen> {
    let Some(list) = table.get("listen").and_then(|value| value.list(HINT)) else {
        return Vec::new();
    };
    let mut sockets: Vec<Listen> = Vec::new();
    for value in list {
        let Some(socket) = read(value, scope, claims) else { continue };
        if sockets.iter().any(|earlier| earlier.name == socket.name) {
            value.wrong("has the name of an earlier socket of this child", "give each socket its own name");
        }
        sockets.push(socket);
    }
    sockets
}

fn read(value: Value, scope: &Scope, claims: &mut Vec<Claim>) -> Option<Listen> {
    let table = value.table(&keys::LISTEN, HINT)?;
    let (Some(name_value), Some(path_value)) = (table.get("name"), table.get("unix")) else {
        value.wrong("needs both name and unix", HINT);
        return None;
    };
    let name = name(name_value);
    let mode = table.get("mode").map_or(Some(MODE), |value| value.octal("0600"));
    let unix = path_value.path(scope, scope.config_dir)?;
    if let Some(excess) = excess(&unix) {
        let length = LONGEST_PATH + excess;
        path_value.wrong(
            &format!(
                "is {length} bytes long as {unix:?}, {excess} more than the {LONGEST_PATH} of a Unix socket"
            ),
            "write a shorter path, or a shorter run_dir",
        );
        return None;
    }
    claims.push(Claim {
        path: unix.clone(),
        at: path_value.at,
        owner: scope.name.unwrap_or_default().to_owned(),
    });
    Some(Listen { name: name?, unix, mode: mode? })
}

/// By how many bytes a path is too long for a Unix socket.
pub(crate) fn excess(path: &Path) -> Option<usize> {
    path.as_os_str().as_bytes().len().checked_sub(LONGEST_PATH).filter(|excess| *excess > 0)
}
