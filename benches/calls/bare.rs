//! A socket and nothing else.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

use crate::{CALLS, REPLY, REQUEST};

#[derive(Clone, Copy)]
pub(crate) enum Wait {
    Parked,
    Spinning,
}

/// Reads until the buffer is full; `false`: the peer left.
fn fill(stream: &mut UnixStream, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return false,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(_) => return false,
        }
    }
    true
}

pub(crate) fn echo(path: &Path, wait: Wait) {
    let listener = UnixListener::bind(path).expect("bind");
    println!("ready");
    for stream in listener.incoming() {
        let mut stream = stream.expect("accept");
        stream.set_nonblocking(matches!(wait, Wait::Spinning)).expect("mode");
        let mut request = [0; REQUEST];
        while fill(&mut stream, &mut request) {
            stream.write_all(&[1; REPLY]).expect("write");
        }
    }
}

pub(crate) fn ping_pong(path: &Path, wait: Wait) -> Vec<u64> {
    let mut stream = UnixStream::connect(path).expect("connect");
    stream.set_nonblocking(matches!(wait, Wait::Spinning)).expect("mode");
    let one = || {
        let begun = Instant::now();
        stream.write_all(&[1; REQUEST]).expect("write");
        assert!(fill(&mut stream, &mut [0; REPLY]), "an answer");
        begun.elapsed().as_nanos() as u64
    };
    std::iter::repeat_with(one).take(CALLS).collect()
}
