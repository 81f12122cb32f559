//! The control API, asked as `curl --unix-socket` would ask it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::support::BOUND;

/// Where a launcher answers.
pub(crate) struct Control {
    socket: PathBuf,
}

/// What it answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Control {
    pub(crate) fn new(socket: PathBuf) -> Control {
        Control { socket }
    }

    pub(crate) fn get(&self, path: &str) -> Option<Answer> {
        self.ask("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Option<Answer> {
        self.ask("POST", path, body)
    }

    pub(crate) fn delete(&self, path: &str) -> Option<Answer> {
        self.ask("DELETE", path, "")
    }

    /// The events after this one, and all to come; the channel ends with the supervisor process.
    pub(crate) fn events(&self, since: u64) -> Option<Receiver<Value>> {
        let mut answer = BufReader::new(self.send("GET", &format!("/v1/events?since={since}"), "")?);
        let mut head = String::new();
        answer.read_line(&mut head).ok()?;
        assert!(head.contains(" 200 "), "{head}");
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in answer.lines().map_while(Result::ok) {
                assert!(line != "event: missed", "the test reads events too slowly");
                let Some(json) = line.strip_prefix("data: ") else { continue };
                if sender.send(serde_json::from_str(json).unwrap()).is_err() {
                    return;
                }
            }
        });
        Some(events)
    }

    /// `None` if nobody answers.
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let mut answer = String::new();
        let mut socket = self.send(method, path, body)?;
        socket.set_read_timeout(Some(BOUND)).unwrap();
        socket.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, body: serde_json::from_str(body).ok()? })
    }

    /// HTTP/1.0: the answer ends where the connection does.
    fn send(&self, method: &str, path: &str, body: &str) -> Option<UnixStream> {
        let mut socket = UnixStream::connect(&self.socket).ok()?;
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
        socket.write_all(head.as_bytes()).ok()?;
        Some(socket)
    }
}
