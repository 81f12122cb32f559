//! A neighbourhood of nodes in a directory of its own.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use provost::node::{Identity, Kind, Listen, Node, Options, frame};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::LocalSet;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on the runtime that nodes are made for, with a bound on all its waits.
pub fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(3 * PATIENCE, test).await.expect("the test did not end") };
    LocalSet::new().block_on(&runtime, bounded)
}

pub struct Hood {
    dir: TempDir,
}

impl Hood {
    pub fn new() -> Hood {
        Hood { dir: tempfile::Builder::new().prefix("hood-").tempdir().unwrap() }
    }

    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("nodes")
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.sock"))
    }

    pub fn options(&self) -> Options {
        Options { folder: self.folder(), patience: PATIENCE, ..Options::default() }
    }

    pub fn start(&self, name: &str) -> Node {
        self.start_with(name, |_| {})
    }

    pub fn start_with(&self, name: &str, change: impl FnOnce(&mut Options)) -> Node {
        let mut options = self.options();
        change(&mut options);
        Node::start_with(name, options).unwrap()
    }

    /// A node that others cannot connect to.
    pub fn hidden(&self, name: &str) -> Node {
        self.start_with(name, |options| options.listen = Listen::Nowhere)
    }
}

/// A peer that says what the test wants, byte by byte.
pub struct Raw {
    pub stream: UnixStream,
}

/// A socket on which such a peer waits.
pub struct RawListener(UnixListener, String);

impl Raw {
    pub fn listen(hood: &Hood, name: &str) -> RawListener {
        std::fs::create_dir_all(hood.folder()).unwrap();
        RawListener(UnixListener::bind(hood.socket(name)).unwrap(), name.to_owned())
    }

    /// Connects and says no hello.
    pub async fn stranger(hood: &Hood, node: &str) -> Raw {
        Raw { stream: UnixStream::connect(hood.socket(node)).await.unwrap() }
    }

    /// Connects to a node under a name, and is let in.
    pub async fn enter(hood: &Hood, node: &str, name: &str) -> Raw {
        Raw::enter_as(hood, node, Identity::of_this_process(name)).await
    }

    /// As [`enter`](Raw::enter), as one life of a peer.
    pub async fn enter_as(hood: &Hood, node: &str, identity: Identity) -> Raw {
        let mut raw = Raw::stranger(hood, node).await;
        let greeting = (*b"PRVL", 1u16, 1u16);
        raw.send(Kind::Hello, 0, &(greeting, introduction(identity))).await;
        let mut answer = Vec::new();
        loop {
            assert_ne!(raw.stream.read_buf(&mut answer).await.unwrap(), 0, "not welcome");
            if let Some(frame) = frame::parse(&answer).unwrap() {
                assert_eq!(frame.kind, Kind::Welcome);
                // NOTICE_READY: no names.
                raw.send(Kind::Notice, 0, &1u32).await;
                return raw;
            }
        }
    }

    pub async fn send<T: serde::Serialize>(&mut self, kind: Kind, request: u32, body: &T) {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, kind, request, body).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// Says that it wants a name, for its mailbox 9.
    pub async fn claim(&mut self, name: &str) {
        self.send(Kind::Notice, 0, &(2u32, name, 9u32)).await;
    }

    pub async fn read_some(&mut self) {
        let mut buffer = Vec::new();
        assert_ne!(self.stream.read_buf(&mut buffer).await.unwrap(), 0, "the peer closed it");
    }

    /// Reads until a frame of this kind has come, and returns its body.
    pub async fn hear(&mut self, kind: Kind) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            while let Some(frame) = frame::parse(&bytes).unwrap() {
                if frame.kind == kind {
                    return frame.body.to_vec();
                }
                let size = frame.size;
                bytes.drain(..size);
            }
            assert_ne!(self.stream.read_buf(&mut bytes).await.unwrap(), 0, "the peer closed it");
        }
    }

    /// Reads until the peer closes the connection.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

impl RawListener {
    /// Takes a connection and says nothing.
    pub async fn accept(&self) -> Raw {
        Raw { stream: self.0.accept().await.unwrap().0 }
    }

    /// Lets one node in and tells it no names.
    pub async fn welcome(self) -> Raw {
        let mut raw = self.accept().await;
        raw.read_some().await;
        raw.send(Kind::Welcome, 0, &(1u16, 1u16, introduction(Identity::of_this_process(&self.1)))).await;
        raw.send(Kind::Notice, 0, &1u32).await;
        raw
    }
}

fn introduction(identity: Identity) -> impl serde::Serialize {
    (identity, (1u16, 1u16), 64u16, 1u32 << 20, "unix:/raw")
}
