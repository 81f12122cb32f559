//! Where text goes to, as far as it matters for its looks.

use std::io::{IsTerminal, stdout};

use terminal_size::{Height, Width, terminal_size_of};

/// What can be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Columns; `None`: as many as are wanted (a file or a pipe).
    pub width: Option<usize>,
    /// Lines; likewise.
    pub height: Option<usize>,
    /// Whether phases are coloured.
    pub colour: Colour,
}

/// Whether text may be coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    #[default]
    Never,
    /// With the escape sequences of ECMA-48.
    Always,
}

impl Screen {
    /// What our stdout shows. Coloured only on a terminal that is not dumb, and while `NO_COLOR` is unset or empty
    /// (<https://no-color.org>).
    #[must_use]
    pub fn of_stdout() -> Screen {
        if !stdout().is_terminal() {
            return Screen::default();
        }
        let size = terminal_size_of(stdout());
        let says_no = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
        Screen {
            width: size.map(|(Width(columns), _)| columns.into()),
            height: size.map(|(_, Height(lines))| lines.into()),
            colour: if dumb || says_no("NO_COLOR") { Colour::Never } else { Colour::Always },
        }
    }
}
