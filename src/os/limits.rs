//! Resource limits of this process (`getrlimit(2)`).

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How many descriptors a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What applies.
    pub soft: u64,
    /// What it may be raised to without privilege.
    pub hard: u64,
}

/// The limit of this process.
///
/// # Errors
/// Those of `getrlimit(2)`; not to be expected.
pub fn open_files() -> nix::Result<OpenFiles> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(OpenFiles { soft, hard })
}

/// Raises the soft limit to the hard one, and returns what it was: children get that back.
///
/// # Errors
/// Those of `setrlimit(2)`; not to be expected.
pub fn raise_open_files() -> nix::Result<OpenFiles> {
    let before = open_files()?;
    setrlimit(Resource::RLIMIT_NOFILE, before.hard, before.hard)?;
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_goes_to_the_hard_limit_and_tells_what_was() {
        let before = open_files().unwrap();
        let told = raise_open_files().unwrap();
        assert_eq!(told, before);
        assert_eq!(open_files().unwrap().soft, before.hard);
        setrlimit(Resource::RLIMIT_NOFILE, before.soft, before.hard).unwrap();
    }
}
