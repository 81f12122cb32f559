//! Tables: columns as wide as their widest cell, no space at the end of a line.

use super::human;
use super::screen::{Colour, Screen};
use crate::rules::Phase;
use crate::text;

/// A column. The last one of a table is shortened where the screen ends; of the others, some may be left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) align: Align,
    pub(super) keep: Keep,
}

/// At which side cells begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// What happens to a column when the screen is too narrow for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It stays.
    Always,
    /// It is left out; those with low numbers first.
    After(u8),
}

/// What a cell says, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

/// Colours, by meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tone {
    #[default]
    Plain,
    Good,
    Passing,
    Bad,
}

impl Cell {
    /// A phase, coloured by what it means.
    pub(super) fn phase(phase: Phase) -> Cell {
        let tone = match phase {
            Phase::Running | Phase::Ready => Tone::Good,
            Phase::Starting | Phase::Backoff | Phase::Restarting | Phase::Stopping => Tone::Passing,
            Phase::Unhealthy | Phase::Failed => Tone::Bad,
            Phase::Waiting | Phase::Stopped | Phase::Exited => Tone::Plain,
        };
        Cell { text: human::phase(phase).to_owned(), tone }
    }

    /// A value, or a dash.
    pub(super) fn maybe(value: Option<impl ToString>) -> Cell {
        value.map_or_else(|| human::NONE.into(), |value| value.to_string().into())
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    /// A tab, which is as wide as it likes, is escaped too.
    fn from(text: T) -> Cell {
        let text = text::escaped(text.as_ref().as_bytes()).replace('\t', "\\x09");
        Cell { text, tone: Tone::Plain }
    }
}

/// A table as text, each line ended.
pub(super) struct Rendered {
    pub(super) text: String,
    /// Titles of the columns that are left out.
    pub(super) hidden: Vec<&'static str>,
}

/// Space between two columns.
const GAP: usize = 2;
/// The last column is not shortened below this.
const LEAST: usize = 12;

/// Renders rows, each with one cell a column.
pub(super) fn render(columns: &[Column], rows: &[Vec<Cell>], screen: &Screen) -> Rendered {
    let natural: Vec<usize> = (0..columns.len()).map(|at| natural_width(columns, rows, at)).collect();
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let mut hidden = Vec::new();
    let mut last_width = usize::MAX;
    if let Some(width) = screen.width {
        while needed(&shown, &natural) > width {
            let Some(at) = first_to_go(&shown, columns) else { break };
            hidden.push(columns[shown.remove(at)].title);
        }
        let before = needed(&shown, &natural) - last(&shown, &natural).min(LEAST);
        last_width = width.saturating_sub(before).max(LEAST);
    }
    let titles: Vec<Cell> = columns.iter().map(|column| column.title.into()).collect();
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (position, &at) in shown.iter().enumerate() {
            let width = if position + 1 == shown.len() { natural[at].min(last_width) } else { natural[at] };
            put(&mut line, &row[at], columns[at].align, width, screen.colour);
            line.push_str(&" ".repeat(GAP));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Rendered { text, hidden }
}

fn natural_width(columns: &[Column], rows: &[Vec<Cell>], at: usize) -> usize {
    let cells = rows.iter().map(|row| text::width(&row[at].text));
    cells.max().unwrap_or(0).max(text::width(columns[at].title))
}

fn last(shown: &[usize], natural: &[usize]) -> usize {
    shown.last().map_or(0, |&at| natural[at])
}

/// The width of all columns shown, the last one shortened as far as it may be.
fn needed(shown: &[usize], natural: &[usize]) -> usize {
    let all: usize = shown.iter().map(|&at| natural[at] + GAP).sum();
    all.saturating_sub(GAP + last(shown, natural)) + last(shown, natural).min(LEAST)
}

fn first_to_go(shown: &[usize], columns: &[Column]) -> Option<usize> {
    let rank = |at: usize| match columns[at].keep {
        Keep::Always => None,
        Keep::After(rank) => Some(rank),
    };
    (0..shown.len())
        .filter(|&position| rank(shown[position]).is_some())
        .min_by_key(|&position| rank(shown[position]))
}

/// Appends a cell; of a text that is too long the end is kept, which tells more of a path.
fn put(line: &mut String, cell: &Cell, align: Align, width: usize, colour: Colour) {
    let shown = if text::width(&cell.text) <= width {
        cell.text.clone()
    } else {
        format!("…{}", text::end(&cell.text, width.saturating_sub(1)))
    };
    let padding = text::padding(&shown, width);
    let (before, after) = match align {
        Align::Left => ("", padding.as_str()),
        Align::Right => (padding.as_str(), ""),
    };
    let (on, off) = match (colour, cell.tone) {
        (Colour::Never, _) | (Colour::Always, Tone::Plain) => ("", ""),
        (Colour::Always, Tone::Good) => ("\x1b[32m", "\x1b[0m"),
        (Colour::Always, Tone::Passing) => ("\x1b[33m", "\x1b[0m"),
        (Colour::Always, Tone::Bad) => ("\x1b[31m", "\x1b[0m"),
    };
    line.extend([before, on, &shown, off, after]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { title: "NAME", align: Align::Left, keep: Keep::Always },
        Column { title: "PID", align: Align::Right, keep: Keep::After(2) },
        Column { title: "THR", align: Align::Right, keep: Keep::After(1) },
        Column { title: "EXE", align: Align::Left, keep: Keep::Always },
    ];

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec!["engine".into(), "4242".into(), "3".into(), "/usr/local/bin/reddit-engine".into()],
            vec!["web".into(), "7".into(), "-".into(), "-".into()],
        ]
    }

    fn shown(width: Option<usize>) -> (String, Vec<&'static str>) {
        let Rendered { text, hidden } = render(&COLUMNS, &rows(), &Screen { width, ..Screen::default() });
        assert!(width.is_none_or(|width| text.lines().all(|line| line.chars().count() <= width)), "{text}");
        (text, hidden)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = "NAME     PID  THR  EXE\n\
                    engine  4242    3  /usr/local/bin/reddit-engine\n\
                    web        7    -  -\n";
        assert_eq!(shown(None), (text.to_owned(), vec![]));
        assert_eq!(shown(Some(47)), (text.to_owned(), vec![]), "exactly as wide as needed");
    }

    #[test]
    fn the_last_column_is_shortened_first() {
        let text = "NAME     PID  THR  EXE\n\
                    engine  4242    3  …eddit-engine\n\
                    web        7    -  -\n";
        assert_eq!(shown(Some(32)), (text.to_owned(), vec![]));
    }

    #[test]
    fn then_columns_are_left_out_in_their_order() {
        assert_eq!(shown(Some(30)).1, ["THR"]);
        let (text, hidden) = shown(Some(20));
        assert_eq!(hidden, ["THR", "PID"]);
        assert_eq!(text, "NAME    EXE\nengine  …ddit-engine\nweb     -\n");
    }

    #[test]
    fn what_must_stay_stays_on_the_narrowest_screen() {
        let screen = Screen { width: Some(3), ..Screen::default() };
        assert!(render(&COLUMNS, &rows(), &screen).text.starts_with("NAME    EXE\n"));
    }

    #[test]
    fn a_process_cannot_play_with_the_terminal() {
        let cell = Cell::from("a\x1b[2Jb\n\u{202e}\t");
        assert_eq!(cell.text, "a\\x1b[2Jb\\x0a\\xe2\\x80\\xae\\x09");
    }

    #[test]
    fn wide_letters_take_two_columns() {
        let rows = [vec!["日本".into(), "x".into()], vec!["web".into(), "/srv/データベース".into()]];
        let screen = Screen { width: Some(18), ..Screen::default() };
        let text = render(&[COLUMNS[0], COLUMNS[3]], &rows, &screen).text;
        assert_eq!(text, "NAME  EXE\n日本  x\nweb   …ータベース\n");
        assert!(text.lines().all(|line| text::width(line) <= 18));
    }

    #[test]
    fn colour_does_not_move_columns() {
        let columns = [COLUMNS[0], COLUMNS[3]];
        let rows =
            [vec![Cell::phase(Phase::Ready), "x".into()], vec![Cell::phase(Phase::Unhealthy), "y".into()]];
        let screen = Screen { colour: Colour::Always, ..Screen::default() };
        let text = render(&columns, &rows, &screen).text;
        assert_eq!(text, "NAME       EXE\n\x1b[32mready\x1b[0m      x\n\x1b[31munhealthy\x1b[0m  y\n");
    }
}
