//! The replacement of the program that the supervisor process runs.
//!
//! A new one is on trial until its first supervisor process has taken over and said so. If that one ends before, the
//! program before it comes back, and the next supervisor process is told why. Until then the new one works on a copy of the
//! journal: whatever it does to it is forgotten with the copy.

use std::mem;
use std::os::fd::OwnedFd;

use super::protocol::Beginning;
use crate::os::memfd;

/// Wait status of a program that could not be executed, as shells have it: exit code 126.
pub(super) const NOT_STARTED: i32 = 126 << 8;

#[derive(Debug, Default)]
pub(super) struct Programs {
    before: Option<OwnedFd>,
    /// The journal as it was before the trial.
    journal: Option<OwnedFd>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Settled,
    /// Its predecessor's process still has to end.
    Proposed,
    /// Its first process runs.
    OnTrial,
    /// It failed with this wait status; the one before is back, and its process has not taken over yet.
    RolledBack(i32),
}

impl Programs {
    /// Puts a program in place of the present one, from the next supervisor process on.
    pub(super) fn propose(&mut self, present: &mut OwnedFd, program: OwnedFd) {
        let before = mem::replace(present, program);
        self.before.get_or_insert(before);
        self.stage = Stage::Proposed;
    }

    /// A supervisor process is about to be started. On trial it gets a copy of the journal; without one there is no trial.
    pub(super) fn begin(&mut self, present: &mut OwnedFd, journal: &mut OwnedFd) -> Beginning {
        if self.stage == Stage::Proposed {
            self.stage = Stage::OnTrial;
            match memfd::copy(&*journal, c"provost-journal") {
                Ok(copy) => self.journal = Some(mem::replace(journal, copy)),
                Err(_) => drop(self.ended(present, journal, NOT_STARTED)),
            }
        }
        match self.stage {
            Stage::Settled | Stage::Proposed => Beginning::Usual,
            Stage::OnTrial => Beginning::Upgraded,
            Stage::RolledBack(status) => Beginning::RolledBack { status },
        }
    }

    /// Whether its end now would be the end of a trial.
    pub(super) fn on_trial(&self) -> bool {
        self.stage == Stage::OnTrial
    }

    /// It has taken over. `true`: so a program has passed its trial.
    pub(super) fn took_over(&mut self) -> bool {
        let passed = self.stage == Stage::OnTrial;
        if passed {
            self.before = None;
            self.journal = None;
        }
        if self.stage != Stage::Proposed {
            self.stage = Stage::Settled;
        }
        passed
    }

    /// It ended, or could not be started. `true`: because of a change of program, so this is no crash.
    pub(super) fn ended(&mut self, present: &mut OwnedFd, journal: &mut OwnedFd, status: i32) -> bool {
        match self.stage {
            Stage::Settled | Stage::RolledBack(_) => false,
            Stage::Proposed => true,
            Stage::OnTrial => {
                if let Some(before) = self.before.take() {
                    *present = before;
                }
                if let Some(before) = self.journal.take() {
                    *journal = before;
                }
                self.stage = Stage::RolledBack(status);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn program() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    fn text(journal: &OwnedFd) -> String {
        let mut bytes = [0; 16];
        let len = nix::sys::uio::pread(journal, &mut bytes, 0).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    fn write(journal: &OwnedFd, text: &str) {
        nix::sys::uio::pwrite(journal, text.as_bytes(), 0).unwrap();
    }

    #[test]
    fn a_program_that_takes_over_stays() {
        let (mut present, new, mut journal) = (program(), program(), program());
        write(&journal, "old");
        let number = new.as_raw_fd();
        let mut programs = Programs::default();
        assert_eq!(programs.begin(&mut present, &mut journal), Beginning::Usual);
        assert!(!programs.took_over());
        programs.propose(&mut present, new);
        assert!(!programs.took_over(), "a word of the old process is no word of the new one");
        assert!(programs.ended(&mut present, &mut journal, 0), "the old process made room");
        assert_eq!(programs.begin(&mut present, &mut journal), Beginning::Upgraded);
        write(&journal, "new");
        assert!(programs.took_over());
        assert!(!programs.ended(&mut present, &mut journal, 256));
        assert_eq!(programs.begin(&mut present, &mut journal), Beginning::Usual);
        assert_eq!(present.as_raw_fd(), number);
        assert_eq!(text(&journal), "new");
        assert!(programs.before.is_none() && programs.journal.is_none());
    }

    #[test]
    fn a_program_that_ends_on_trial_gives_way_to_the_one_before_and_so_does_its_journal() {
        let (mut present, mut journal) = (program(), program());
        write(&journal, "old");
        let number = present.as_raw_fd();
        let mut programs = Programs::default();
        programs.propose(&mut present, program());
        programs.propose(&mut present, program());
        programs.ended(&mut present, &mut journal, 0);
        programs.begin(&mut present, &mut journal);
        assert_eq!(text(&journal), "old");
        write(&journal, "spoilt");
        assert!(programs.ended(&mut present, &mut journal, 256), "no crash of the supervisor process");
        assert_eq!(present.as_raw_fd(), number);
        assert_eq!(text(&journal), "old");
        for _ in 0..2 {
            assert_eq!(programs.begin(&mut present, &mut journal), Beginning::RolledBack { status: 256 });
            let counts = !programs.ended(&mut present, &mut journal, 9);
            assert!(counts, "an end of the old program counts as ever");
        }
        assert!(!programs.took_over());
        assert_eq!(programs.begin(&mut present, &mut journal), Beginning::Usual);
    }
}
