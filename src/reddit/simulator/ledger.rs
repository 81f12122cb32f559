//! What the engine said has happened, written down before it is counted.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::reddit::model::check::Acknowledged;

/// A file with one line for each acknowledged operation. A line is one `write(2)`: once it has returned, no end of this
/// process takes it back.
#[derive(Debug)]
pub(super) struct Ledger(RefCell<File>);

impl Ledger {
    /// Goes on behind what is in the file already. A line that an earlier life of the client did not finish was not
    /// counted by it, and is cut off.
    pub(super) fn open(path: &Path) -> io::Result<Ledger> {
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        let mut text = Vec::new();
        let length = file.metadata()?.len();
        // No line is as long as that.
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        file.read_to_end(&mut text)?;
        let unfinished = text.len() - text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if unfinished > 0 {
            file.set_len(length - unfinished as u64)?;
        }
        Ok(Ledger(RefCell::new(file)))
    }

    pub(super) fn write(&self, line: &Acknowledged) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.0.borrow_mut().write_all(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reddit::model::check::Deed;
    use crate::reddit::model::{Effect, OpId, SubredditId, UserId};

    #[test]
    fn an_unfinished_line_is_cut_off_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let line = |number| Acknowledged {
            op: OpId { stream: u64::MAX, number },
            by: Some(UserId(1)),
            deed: Deed::Join { subreddit: SubredditId(2) },
            effect: Effect::Membership { members: 3 },
        };
        Ledger::open(&path).unwrap().write(&line(1)).unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"{\"op\":{\"str").unwrap();
        Ledger::open(&path).unwrap().write(&line(2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Acknowledged> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, [line(1), line(2)]);
    }
}
