//! Files and sockets that only one process can have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::child::Child;
use super::report::{At, Report};

/// A path that a process wants for itself.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) path: PathBuf,
    /// The value that says so.
    pub(crate) at: At,
    /// The process, with its instance.
    pub(crate) owner: String,
}

/// Reports the paths that two processes want, once for each place of the file. Not for children whose names are in doubt.
pub(crate) fn check<'c>(report: &Report, children: impl Iterator<Item = &'c Child>) {
    let mut taken: BTreeMap<&Path, &Claim> = BTreeMap::new();
    let mut reported: BTreeSet<At> = BTreeSet::new();
    for claim in children.flat_map(Child::claims) {
        let Some(first) = taken.get(claim.path.as_path()) else {
            taken.insert(&claim.path, claim);
            continue;
        };
        if !reported.insert(claim.at) {
            continue;
        }
        let shared = format!("\"{}\" and \"{}\" both want {:?}", first.owner, claim.owner, claim.path);
        if first.at == claim.at {
            report.error(
                claim.at,
                shared,
                "write ${NAME} or ${INSTANCE} into the path, so that each has its own",
            );
        } else {
            let message = format!("{shared}, the first on line {}", report.line(first.at));
            report.error(claim.at, message, "give each its own path");
        }
    }
}
