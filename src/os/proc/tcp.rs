//! TCP sockets and traffic as a process sees them: its own network namespace's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// The number by which `/proc/PID/fd` names it; 0 once no process holds it.
    pub inode: u64,
    /// This end.
    pub local: SocketAddr,
    /// The other end; of one that listens, nothing.
    pub remote: SocketAddr,
    /// What it is doing.
    pub state: TcpState,
}

/// What a TCP socket is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    /// Waiting for connections.
    Listening,
    /// Connected.
    Established,
    /// Any other, by its number in `tcp_states.h`.
    Other(u8),
}

/// The TCP sockets of the network namespace this process is in (`/proc/PID/net/tcp`); none if it is gone.
#[must_use]
pub fn tcp_sockets(pid: i32) -> Vec<TcpSocket> {
    let tables = ["net/tcp", "net/tcp6"].into_iter().filter_map(|file| super::read(pid, file, 16 << 20));
    let texts: Vec<String> = tables.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
    texts.iter().flat_map(|text| text.lines().skip(1).filter_map(socket)).collect()
}

/// Bytes that came in and went out over an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Came in.
    pub received: u64,
    /// Went out.
    pub sent: u64,
}

/// What went over an interface of the network namespace this process is in (`/proc/PID/net/dev`).
#[must_use]
pub fn carried(pid: i32, interface: &str) -> Option<Carried> {
    let bytes = super::read(pid, "net/dev", 1 << 20)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut rows = text.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = rows.find(|(name, _)| name.trim() == interface)?;
    let number = |at| numbers.split_whitespace().nth(at)?.parse().ok();
    Some(Carried { received: number(0)?, sent: number(8)? })
}

/// One line: number, local, remote, state, queues, timer, retransmits, uid, timeout, inode.
fn socket(line: &str) -> Option<TcpSocket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let state = match u8::from_str_radix(words.get(3)?, 16).ok()? {
        1 => TcpState::Established,
        10 => TcpState::Listening,
        other => TcpState::Other(other),
    };
    Some(TcpSocket {
        inode: words.get(9)?.parse().ok()?,
        local: place(words.get(1)?)?,
        remote: place(words.get(2)?)?,
        state,
    })
}

/// The address as words in the byte order of the machine, then the port as a number.
fn place(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(8 * at..8 * (at + 1))?, 16).ok();
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            // An IPv4 peer of a socket that takes both.
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn both_ends(at: &str) {
        let listener = match TcpListener::bind(at) {
            Ok(listener) => listener,
            Err(error) => return println!("skipped: no {at} here: {error}"),
        };
        let place = listener.local_addr().unwrap();
        let mut near = TcpStream::connect(place).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"hello").unwrap();
        far.read_exact(&mut [0; 5]).unwrap();
        let me = std::process::id().cast_signed();
        let all = tcp_sockets(me);
        let of = |fd: &dyn AsRawFd| {
            let inode = super::super::socket_of(me, fd.as_raw_fd()).unwrap();
            *all.iter().find(|socket| socket.inode == inode).unwrap()
        };
        assert_eq!((of(&listener).state, of(&listener).local), (TcpState::Listening, place));
        let (one, other) = (of(&near), of(&far));
        assert_eq!((one.state, other.state), (TcpState::Established, TcpState::Established));
        assert_eq!((one.local, one.remote), (other.remote, other.local));
        assert_eq!((one.local, one.remote), (near.local_addr().unwrap(), place));
        let carried = carried(me, "lo").unwrap();
        assert!(carried.received >= 5 && carried.sent >= 5, "{carried:?}");
    }

    #[test]
    fn both_ends_of_a_connection_are_told_with_their_addresses() {
        both_ends("127.0.0.1:0");
        both_ends("[::1]:0");
    }

    #[test]
    fn strange_lines_are_passed_over() {
        for line in ["", "0: 0100007F:0016", "0: 01:0016 00:0 0A 0 0 0 0 0 7", "x y z 0A 0 0 0 0 0 7"] {
            assert_eq!(socket(line), None, "{line}");
        }
        assert_eq!(tcp_sockets(-1), []);
        assert_eq!(carried(std::process::id().cast_signed(), "none"), None);
    }
}
