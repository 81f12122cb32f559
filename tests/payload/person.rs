//! Somebody who uses the system by hand.

use std::io::{Read, Write};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use provost::os::command::{self, on_own_terminal};

use super::{BOUND, CLIENT, Place};

/// Somebody at a terminal.
pub struct Person {
    seat: command::Seat,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Person {
    pub fn sits_down(place: &Place, words: &[&str]) -> Person {
        let seat = on_own_terminal(place.command(CLIENT).arg("interactive").args(words)).unwrap();
        let (tell, output) = mpsc::channel();
        let mut screen = seat.screen.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails, or ends, when the terminal is closed.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                if tell.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Person { seat, output, seen: String::new() }
    }

    pub fn types(&mut self, line: &str) {
        self.begins(&format!("{line}\n"));
    }

    /// Types without ending the line.
    pub fn begins(&mut self, line: &str) {
        self.seat.screen.write_all(line.as_bytes()).unwrap();
    }

    /// Waits until that stands on the screen, and returns what stood before it and had not been looked at.
    pub fn sees(&mut self, text: &str) -> String {
        let deadline = Instant::now() + BOUND;
        loop {
            if let Some(at) = self.seen.find(text) {
                let before: String = self.seen.drain(..at + text.len()).collect();
                return before[..at].to_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let more = self.output.recv_timeout(left);
            let more = more.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    pub fn leaves(mut self) {
        self.types("quit");
        assert!(self.seat.child.wait().unwrap().success());
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.seat.child.kill();
        let _ = self.seat.child.wait();
    }
}
