//! Which file is meant.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::diagnostic::Diagnostic;

/// The environment variable that names the config file.
pub const CONFIG_VARIABLE: &str = "PROVOST_CONFIG";

/// The file that is taken from the working directory when none is named.
pub const DEFAULT_FILE: &str = "supervisor.toml";

/// The config file: `-f FILE`, else `$PROVOST_CONFIG` if it is not empty, else `./supervisor.toml`. Absolute.
///
/// # Errors
/// None is named and there is no `./supervisor.toml`; or the working directory is gone. A file that is named is not
/// looked at here.
pub fn locate(explicit: Option<&Path>, variable: Option<&OsStr>) -> Result<PathBuf, Diagnostic> {
    let named = explicit.or(variable.filter(|value| !value.is_empty()).map(Path::new));
    let file = named.unwrap_or(Path::new(DEFAULT_FILE));
    if named.is_none() && !file.exists() {
        return Err(Diagnostic {
            file: file.to_path_buf(),
            place: None,
            message: "there is no such file in this folder".into(),
            hint: format!("write one, or name yours with -f FILE or ${CONFIG_VARIABLE}"),
        });
    }
    std::path::absolute(file).map_err(|error| Diagnostic {
        file: file.to_path_buf(),
        place: None,
        message: format!("the working directory cannot be found: {error}"),
        hint: "name the file by its full path".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_comes_before_the_variable() {
        let flag = Path::new("/a/x.toml");
        let variable = OsStr::new("/b/y.toml");
        assert_eq!(locate(Some(flag), Some(variable)), Ok("/a/x.toml".into()));
        assert_eq!(locate(None, Some(variable)), Ok("/b/y.toml".into()));
    }

    #[test]
    fn a_relative_file_is_made_absolute() {
        let found = locate(Some(Path::new("x.toml")), None).expect("located");
        assert!(found.is_absolute() && found.ends_with("x.toml"), "{found:?}");
    }
}
