//! Telling a supervisor how it goes: the `sd_notify` protocol (sd_notify(3)).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A supervisor that does not read holds nobody up for longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Speaks to `NOTIFY_SOCKET`, or to nobody when there is none: a process started by hand needs no other path.
#[derive(Debug)]
pub struct Notifier {
    supervisor: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// The notifier of this process. A `NOTIFY_SOCKET` that cannot be used is logged and counts as none.
    #[must_use]
    pub fn from_env() -> Notifier {
        let supervisor = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            open(&name)
                .inspect_err(|error| tracing::warn!("cannot use NOTIFY_SOCKET {}: {error}", name.display()))
                .ok()
        });
        Notifier { supervisor }
    }

    /// `READY=1`: serving from now on.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// `STATUS=`: one line for people.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// `STOPPING=1`: asked to end, ending.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.supervisor else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!("cannot tell the supervisor {message:?}: {error}");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    // "@name" is how the environment spells a socket of the abstract namespace.
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn notifier(name: &str) -> Notifier {
        Notifier { supervisor: Some(open(OsStr::new(name)).unwrap()) }
    }

    #[test]
    fn a_socket_file_hears_ready_status_and_stopping() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        let notifier = notifier(path.to_str().unwrap());
        notifier.ready("serving");
        notifier.status("busy");
        notifier.stopping();
        let heard = [received(&supervisor), received(&supervisor), received(&supervisor)];
        assert_eq!(heard, ["READY=1\nSTATUS=serving", "STATUS=busy", "STOPPING=1"]);
    }

    #[test]
    fn an_abstract_name_is_reached_too() {
        let name = format!("provost-notify-test-{}", std::process::id());
        let supervisor = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        notifier(&format!("@{name}")).stopping();
        assert_eq!(received(&supervisor), "STOPPING=1");
    }
}
