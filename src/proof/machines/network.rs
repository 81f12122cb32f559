//! A network of this machine's own making: a namespace for the engine and one for each client, a cable to each.
//!
//! The engine has an address that no cable has, as a host behind several links would; each client's way to it leads over
//! its own cable. Everything is gone with the namespaces, and those with the last who is in or holds them.

use std::fmt;
use std::io;
use std::process::{Command, Stdio};

use nix::errno::Errno;

use crate::os::netns::Namespace;

/// The engine's address.
pub(super) const ENGINE: &str = "10.77.0.1";

/// The interface at a client's end of its cable.
pub(super) const PLUG: &str = "eth0";

/// The namespaces, and the cables between them.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) engine: Namespace,
    pub(super) clients: Vec<Namespace>,
}

/// Why there is no network.
#[derive(Debug)]
pub(super) enum Unable {
    /// This process may not, or lacks a program: there is nothing to examine.
    Skip(String),
    /// It should have worked.
    Broken(io::Error),
}

impl From<io::Error> for Unable {
    fn from(error: io::Error) -> Unable {
        Unable::Broken(error)
    }
}

impl fmt::Display for Unable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unable::Skip(why) => f.write_str(why),
            Unable::Broken(error) => error.fmt(f),
        }
    }
}

impl Network {
    /// Lays it, with so many clients.
    pub(super) fn lay(clients: u8) -> Result<Network, Unable> {
        let engine = Namespace::new().map_err(forbidden)?;
        let clients =
            (0..clients).map(|_| Namespace::new().map_err(forbidden)).collect::<Result<Vec<_>, _>>()?;
        let network = Network { engine, clients };
        network.set_up(&network.engine, &format!("link set lo up; address add {ENGINE}/32 dev lo"))?;
        for (client, number) in network.clients.iter().zip(1u8..) {
            let (cable, there) = (cable(number), client.path());
            network.set_up(
                &network.engine,
                &format!(
                    "link add {cable} type veth peer name {PLUG} netns {}; \
                     address add 10.77.{number}.1/24 dev {cable}; link set {cable} up",
                    there.display()
                ),
            )?;
            network.set_up(
                client,
                &format!(
                    "link set lo up; address add 10.77.{number}.2/24 dev {PLUG}; link set {PLUG} up; \
                     route add default via 10.77.{number}.1"
                ),
            )?;
        }
        Ok(network)
    }

    /// Pulls a client's cable out of the engine's side, or puts it back. The first client is 1.
    pub(super) fn plug(&self, client: u8, state: &str) -> Result<(), Unable> {
        self.set_up(&self.engine, &format!("link set {} {state}", cable(client)))
    }

    /// Commands for `ip(8)`, in this namespace.
    fn set_up(&self, namespace: &Namespace, commands: &str) -> Result<(), Unable> {
        for command in commands.split(';').map(str::trim) {
            let mut ip = Command::new("ip");
            ip.args(command.split(' ')).stdin(Stdio::null());
            let output = namespace.within(|| ip.output())?.map_err(missing)?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let error = io::Error::other(format!("ip {command}: {}", said.trim()));
                return Err(if said.contains("not supported") {
                    Unable::Skip(format!("this kernel has no such interfaces: {error}"))
                } else {
                    Unable::Broken(error)
                });
            }
        }
        Ok(())
    }
}

/// The interface at the engine's end of a client's cable.
fn cable(client: u8) -> String {
    format!("cable{client}")
}

fn forbidden(error: io::Error) -> Unable {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM) => Unable::Skip("only root may make network namespaces".into()),
        Some(Errno::ENOSYS | Errno::EINVAL | Errno::ENOSPC) => {
            Unable::Skip(format!("this kernel makes no network namespaces: {error}"))
        }
        _ => Unable::Broken(error),
    }
}

fn missing(error: io::Error) -> Unable {
    match error.kind() {
        io::ErrorKind::NotFound => Unable::Skip("it needs the program ip (iproute2)".into()),
        _ => Unable::Broken(error),
    }
}
