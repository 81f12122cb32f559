//! Nodes over TCP: certificates on both sides, peers that are killed, cut off or hostile.

mod node_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use node_support::{Hood, PATIENCE, local};
use provost::node::{
    ConnectError, Identity, Kind, Listen, Mailbox, Network, Node, Options, Ping, Reason, Refusal, Request,
    Tls, frame,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;

const ROLE: &str = "NODE_TEST_ROLE";

/// An authority of its own, as `provost certs` makes it.
struct Authority(TempDir);

impl Authority {
    fn new(names: &[&str]) -> Authority {
        let authority = Authority(tempfile::Builder::new().prefix("certs-").tempdir().unwrap());
        authority.certs(&["init"]);
        authority.certs(&[&["issue", "--host", "127.0.0.1"], names].concat());
        authority
    }

    fn certs(&self, args: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_provost"));
        command.arg("certs").args(args).arg("--dir").arg(self.folder());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn tls(&self) -> Option<Tls> {
        Some(Tls::Folder(self.folder().to_owned()))
    }

    /// A node that listens on a port, and nowhere else.
    fn server(&self, hood: &Hood, name: &str) -> (Node, SocketAddr) {
        let network =
            Network { listen: Some("127.0.0.1:0".to_owned()), tls: self.tls(), ..Network::default() };
        server(hood, name, network)
    }

    /// A node that finds `peer` at an address.
    fn client(&self, hood: &Hood, name: &str, peer: &str, at: SocketAddr) -> Node {
        client(hood, name, (peer, at), Network { tls: self.tls(), ..Network::default() })
    }
}

fn server(hood: &Hood, name: &str, network: Network) -> (Node, SocketAddr) {
    let node = hood.start_with(name, |options| {
        options.listen = Listen::Nowhere;
        options.network = Some(network);
    });
    let address = node.tcp_address().unwrap();
    (node, address)
}

fn client(hood: &Hood, name: &str, (peer, at): (&str, SocketAddr), network: Network) -> Node {
    hood.start_with(name, |options| {
        options.listen = Listen::Nowhere;
        options.elsewhere = [(peer.to_owned(), format!("tcp:{at}").parse().unwrap())].into();
        options.network = Some(network);
    })
}

/// Another node's process, which is told everything by environment variables. Dropped, it is killed.
struct Peer {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(hood: &Hood, role: &str, variables: &[(&str, &str)]) -> Peer {
        Peer::of(Peer::command(hood, role, variables))
    }

    fn command(hood: &Hood, role: &str, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "plays_a_role", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).env("PROVOST_RUN_DIR", hood.folder().parent().unwrap());
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stdin(Stdio::null());
        command
    }

    fn of(mut command: Command) -> Peer {
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Peer { process, output }
    }

    /// Waits for a line that has this before a word, and returns the word.
    fn hear(&mut self, before: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it ended before it said {before}");
            if let Some((_, word)) = line.split_once(before) {
                return word.trim().to_owned();
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An engine in a process of its own that listens there, and its address.
fn engine(hood: &Hood, certs: &Authority, listen: &str) -> (Peer, SocketAddr) {
    let folder = certs.folder().to_str().unwrap();
    let variables = [("PROVOST_NODE_LISTEN", listen), ("PROVOST_NODE_TLS_DIR", folder)];
    let mut peer = Peer::start(hood, "engine", &variables);
    let address = peer.hear("listens on ").parse().unwrap();
    (peer, address)
}

/// Not a test of its own: what the other processes do.
#[test]
fn plays_a_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    local(async {
        match role.as_str() {
            // Answers a number with its pid and with what the caller's own name makes of the number.
            "engine" => {
                let node = Node::start("engine").unwrap();
                let mut mailbox: Mailbox<u32, (u32, u32)> = node.mailbox();
                node.register("ask", &mailbox).await.unwrap();
                println!("listens on {}", node.tcp_address().unwrap());
                let mut requests = Vec::new();
                loop {
                    mailbox.turn(&mut requests).await;
                    for Request { from, body } in requests.drain(..) {
                        let doubled = node.call("double", &body, PATIENCE).await.unwrap_or(0);
                        mailbox.reply(from, &(std::process::id(), doubled));
                    }
                    mailbox.flush();
                }
            }
            "cut" => is_cut_off().await,
            other => panic!("no role {other}"),
        }
    });
}

#[test]
fn two_processes_call_each_other_over_mutual_tls() {
    local(async {
        let (here, there) = (Hood::new(), Hood::new());
        let certs = Authority::new(&["engine", "client@1"]);
        let (peer, at) = engine(&there, &certs, "tcp:127.0.0.1:0");
        let client = certs.client(&here, "client@1", "engine", at);
        let _double = client.serve("double", |number: u32| 2 * number).await.unwrap();
        let met = client.connect("engine").await.unwrap();
        assert_eq!((met.node.as_str(), met.pid), ("engine", peer.process.id()));
        for number in 1..50 {
            let reply = client.call::<_, (u32, u32)>("ask", &number, PATIENCE).await;
            assert_eq!(reply, Ok((peer.process.id(), 2 * number)));
        }
        assert_eq!(client.whereis("ask").unwrap().location(), format!("tcp:{at}"));
        assert!(matches!(client.ping("engine").await, Ping::Pong(_)));
    });
}

#[test]
fn a_killed_peer_is_down_and_its_successor_is_found_again() {
    local(async {
        let (here, there) = (Hood::new(), Hood::new());
        let certs = Authority::new(&["engine", "client@1"]);
        // An address that nobody else uses, so that the port is still free for the successor.
        let own = std::process::id();
        let listen = format!("tcp:127.7.{}.{}:0", own / 250 % 250 + 1, own % 250 + 1);
        let (mut first, at) = engine(&there, &certs, &listen);
        let client = certs.client(&here, "client@1", "engine", at);
        let _double = client.serve("double", |number: u32| 2 * number).await.unwrap();
        let _keeper = client.keep_connected("engine");
        let found = client.find("ask", PATIENCE).await.unwrap();
        let (of_node, of_name) = (client.monitor_node("engine").await, client.monitor(&found));
        first.process.kill().unwrap();
        assert_eq!(
            (of_node.await.reason, of_name.await.reason),
            (Reason::ConnectionLost, Reason::ConnectionLost)
        );
        assert!(client.whereis("ask").is_none());
        client.call::<_, (u32, u32)>(&found, &1u32, 10 * PATIENCE).await.unwrap_err();
        first.process.wait().unwrap();
        let (second, _) = engine(&there, &certs, &format!("tcp:{at}"));
        client.find("ask", PATIENCE).await.unwrap();
        let reply = client.call::<_, (u32, u32)>("ask", &21u32, PATIENCE).await;
        assert_eq!(reply, Ok((second.process.id(), 42)));
    });
}

#[test]
fn large_messages_arrive_whole_both_ways() {
    local(async {
        let hood = Hood::new();
        let certs = Authority::new(&["engine", "client@1"]);
        let (engine, at) = certs.server(&hood, "engine");
        let _echo = engine.serve("echo", |bytes: Vec<u8>| bytes).await.unwrap();
        let client = certs.client(&hood, "client@1", "engine", at);
        client.connect("engine").await.unwrap();
        let calls: Vec<_> = (0..12usize)
            .map(|number| {
                let client = client.clone();
                tokio::task::spawn_local(async move {
                    let bytes: Vec<u8> = (0..90_000 * number).map(|at| (at * number) as u8).collect();
                    let reply: Vec<u8> = client.call("echo", &bytes, 3 * PATIENCE).await.unwrap();
                    assert!(reply == bytes, "{number} came back changed");
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    });
}

#[test]
fn who_asks_over_a_network_is_not_taken_for_the_own_user() {
    local(async {
        let hood = Hood::new();
        let certs = Authority::new(&["engine", "client@1"]);
        let (engine, at) = certs.server(&hood, "engine");
        let near = hood.start("near");
        let mut mailbox = near.mailbox::<u32, bool>();
        near.register("near.asked", &mailbox).await.unwrap();
        let mut far = engine.mailbox::<u32, bool>();
        engine.register("far.asked", &far).await.unwrap();
        let client = certs.client(&hood, "client@1", "engine", at);
        for (name, node, mailbox, own) in
            [("near", "near.asked", &mut mailbox, true), ("engine", "far.asked", &mut far, false)]
        {
            client.connect(name).await.unwrap();
            let client = client.clone();
            let call = tokio::task::spawn_local(async move {
                client.call::<u32, bool>(node, &1, PATIENCE).await.unwrap()
            });
            let mut arrived = Vec::new();
            mailbox.turn(&mut arrived).await;
            let request = arrived.pop().unwrap();
            let is_own = request.from.is_own_user();
            mailbox.reply(request.from, &is_own);
            mailbox.flush();
            assert_eq!(call.await.unwrap(), own, "{name}");
        }
    });
}

#[test]
fn another_authority_is_refused_both_ways_and_told() {
    local(async {
        let hood = Hood::new();
        let ours = Authority::new(&["engine", "client@1"]);
        let theirs = Authority::new(&["engine", "client@1"]);
        let (_engine, at) = ours.server(&hood, "engine");

        // The one that connects does not take what it is shown.
        let stranger = theirs.client(&hood, "client@1", "engine", at);
        let error = stranger.connect("engine").await.unwrap_err();
        assert!(matches!(error, ConnectError::Certificate { .. }), "{error}");
        let authority = theirs.file("authority.pem").display().to_string();
        let told = format!(
            "the certificate shown at tcp:{at} is not accepted: it was not issued by the authority of"
        );
        assert_eq!(error.to_string(), format!("{told} {authority}"));
        assert!(!error.is_temporary());
        drop(stranger);

        // The one that answers does not: this one takes both authorities, but is known to the other alone.
        let both = theirs.file("both.pem");
        let read = |from: &Authority| std::fs::read_to_string(from.file("authority.pem")).unwrap();
        write_private(&both, (read(&ours) + &read(&theirs)).as_bytes());
        let tls = Tls::Files {
            certificate: theirs.file("client@1.pem"),
            key: theirs.file("client@1.key"),
            authority: both,
        };
        let stranger =
            client(&hood, "client@1", ("engine", at), Network { tls: Some(tls), ..Network::default() });
        let error = stranger.connect("engine").await.unwrap_err();
        assert!(matches!(error, ConnectError::CertificateRefused { .. }), "{error}");
        let told = format!("does not accept the certificate {}", theirs.file("client@1.pem").display());
        assert!(error.to_string().contains(&told), "{error}");
        assert!(
            error.to_string().ends_with("it was issued by another authority than that node's"),
            "{error}"
        );
        drop(stranger);

        let good = ours.client(&hood, "client@1", "engine", at);
        good.connect("engine").await.unwrap();
    });
}

#[test]
fn a_certificate_for_another_name_is_refused_and_told() {
    local(async {
        let hood = Hood::new();
        let certs = Authority::new(&["engine", "other", "client@1", "client@2"]);
        let (_other, at) = certs.server(&hood, "other");
        let client = certs.client(&hood, "client@1", "engine", at);
        let error = client.connect("engine").await.unwrap_err();
        let told = format!(
            "the certificate shown at tcp:{at} is not accepted: it is for provost:other, not for provost:engine"
        );
        assert_eq!(error.to_string(), told);

        // A node does not start with what its peers would refuse.
        let tls = Tls::Files {
            certificate: certs.file("client@2.pem"),
            key: certs.file("client@2.key"),
            authority: certs.file("authority.pem"),
        };
        let network = Network { tls: Some(tls), ..Network::default() };
        let options = Options { network: Some(network), ..hood.options() };
        let error = Node::start_with("client@3", options).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "client@2.pem cannot be used: it is for provost:client@2, not for provost:client@3"
            ),
            "{error}"
        );
    });
}

#[test]
fn a_hello_must_name_the_node_of_the_certificate() {
    local(async {
        let hood = Hood::new();
        let certs = Authority::new(&["engine", "client@1", "client@2"]);
        let (_engine, at) = certs.server(&hood, "engine");
        let liar = tokio::task::spawn_blocking(move || {
            let mut stream = Secure::connect(&certs, "client@2", at);
            stream.send(Kind::Hello, 0, &hello("client@1"));
            stream.answer()
        });
        let (kind, body) = liar.await.unwrap();
        assert_eq!(kind, Kind::Refusal);
        let refusal: Refusal = postcard::from_bytes(&body).unwrap();
        let (of, claimed) = ("provost:client@2".to_owned(), "client@1".to_owned());
        assert_eq!(refusal, Refusal::Certificate { of, claimed });
        let told = "the certificate of this node is for provost:client@2, and its hello says client@1";
        assert_eq!(refusal.to_string(), told);
    });
}

#[test]
fn a_revoked_certificate_ends_its_sessions_and_is_refused_from_then_on() {
    local(async {
        let hood = Hood::new();
        let certs = Authority::new(&["engine", "client@1", "client@2"]);
        let (engine, at) = certs.server(&hood, "engine");
        let _echo = engine.serve("echo", |text: String| text).await.unwrap();
        let [first, second] = ["client@1", "client@2"].map(|name| certs.client(&hood, name, "engine", at));
        let echo = async |client: &Node| client.call::<_, String>("echo", &"here", PATIENCE).await;
        for client in [&first, &second] {
            client.connect("engine").await.unwrap();
            echo(client).await.unwrap();
        }
        let [near, far] = [first.monitor_node("engine").await, engine.monitor_node("client@1").await];
        certs.certs(&["revoke", "client@1"]);
        near.await;
        far.await;
        let error = first.connect("engine").await.unwrap_err();
        assert!(matches!(error, ConnectError::CertificateRefused { .. }) && !error.is_temporary(), "{error}");
        assert!(error.to_string().ends_with("client@1.pem: it was revoked"), "{error}");
        echo(&second).await.unwrap();
        assert_eq!(engine.nodes().len(), 1);
        // Nor does a node start with it.
        let network = Network { tls: certs.tls(), ..Network::default() };
        let options = Options { network: Some(network), ..hood.options() };
        let error = Node::start_with("client@1", options).unwrap_err().to_string();
        assert!(error.ends_with("client@1.pem cannot be used: it was revoked"), "{error}");

        // The list grows, and holds for the side that answers too.
        let down = second.monitor_node("engine").await;
        certs.certs(&["revoke", "engine"]);
        down.await;
        let error = second.connect("engine").await.unwrap_err();
        assert!(error.to_string().ends_with("is not accepted: it was revoked"), "{error}");
        let error = first.connect("engine").await.unwrap_err();
        assert!(error.to_string().ends_with("it was revoked"), "{error}");
    });
}

#[test]
fn a_list_that_is_not_the_authority_s_or_goes_away_changes_nothing() {
    local(async {
        let hood = Hood::new();
        let (certs, others) = (Authority::new(&["engine", "client@1", "client@2"]), Authority::new(&["x"]));
        let (_engine, at) = certs.server(&hood, "engine");
        certs.certs(&["revoke", "client@1"]);
        others.certs(&["revoke", "x"]);
        let list = certs.file("authority.crl");
        let theirs = std::fs::read(others.file("authority.crl")).unwrap();
        let refused = async || {
            let revoked = tokio::task::spawn_blocking({
                let (folder, authority) = (certs.folder().to_owned(), certs.file("authority.pem"));
                move || Secure::with(&folder, &authority, "client@1", at).map(|mut stream| stream.is_closed())
            });
            revoked.await.unwrap().unwrap_or(true)
        };
        assert!(refused().await);
        for spoilt in [None, Some(&b"nonsense"[..]), Some(&theirs)] {
            match spoilt {
                None => std::fs::remove_file(&list).unwrap(),
                Some(bytes) => write_private(&list, bytes),
            }
            assert!(refused().await, "{:?}", spoilt.map(String::from_utf8_lossy));
            // Everybody else is served as before; a node that starts now says what is wrong with the list.
            if spoilt.is_none() {
                certs.client(&hood, "client@2", "engine", at).connect("engine").await.unwrap();
            } else {
                let network = Network { tls: certs.tls(), ..Network::default() };
                let options = Options { network: Some(network), ..hood.options() };
                let error = Node::start_with("client@2", options).unwrap_err().to_string();
                assert!(error.contains("authority.crl cannot be used: "), "{error}");
            }
        }
    });
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    local(async {
        let hood = Hood::new();
        let certs = Authority::new(&["engine", "client@1"]);
        let (_engine, at) = certs.server(&hood, "engine");
        let shown = async || {
            let (folder, authority) = (certs.folder().to_owned(), certs.file("authority.pem"));
            let connect = move || Secure::with(&folder, &authority, "client@1", at).unwrap().certificate();
            tokio::task::spawn_blocking(connect).await.unwrap()
        };
        let read = || CertificateDer::from_pem_file(certs.file("engine.pem")).unwrap();
        let before = read();
        assert_eq!(shown().await, before);
        for file in ["engine.pem", "engine.key"] {
            std::fs::remove_file(certs.file(file)).unwrap();
            assert_eq!(shown().await, before, "without its files it goes on with what they said");
        }
        certs.certs(&["issue", "--host", "127.0.0.1", "engine"]);
        assert_ne!(read(), before);
        assert_eq!(shown().await, read());
    });
}

fn write_private(file: &Path, bytes: &[u8]) {
    std::fs::write(file, bytes).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A TLS client that knows nothing of nodes, and checks the machine's address as such clients do.
struct Secure(rustls::StreamOwned<rustls::ClientConnection, TcpStream>);

impl Secure {
    fn connect(certs: &Authority, name: &str, at: SocketAddr) -> Secure {
        Secure::with(certs.folder(), &certs.file("authority.pem"), name, at).unwrap()
    }

    /// Shakes hands, as far as this side sees it.
    fn with(folder: &Path, authority: &Path, name: &str, at: SocketAddr) -> std::io::Result<Secure> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap()];
        let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        let session =
            rustls::ClientConnection::new(Arc::new(config), ServerName::IpAddress(at.ip().into())).unwrap();
        let socket = TcpStream::connect(at).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = Secure(rustls::StreamOwned::new(session, socket));
        stream.0.conn.complete_io(&mut stream.0.sock)?;
        Ok(stream)
    }

    /// What the other side showed.
    fn certificate(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Whether the other side does not go on with it.
    fn is_closed(&mut self) -> bool {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, Kind::Hello, 0, &hello("nobody")).unwrap();
        let _ = self.0.write_all(&bytes);
        !matches!(self.0.read(&mut [0]), Ok(1))
    }

    fn send<T: serde::Serialize>(&mut self, kind: Kind, request: u32, body: &T) {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, kind, request, body).unwrap();
        self.0.write_all(&bytes).unwrap();
    }

    fn answer(&mut self) -> (Kind, Vec<u8>) {
        let mut bytes = Vec::new();
        let mut some = [0; 4096];
        loop {
            if let Some(frame) = frame::parse(&bytes).unwrap() {
                return (frame.kind, frame.body.to_vec());
            }
            let count = self.0.read(&mut some).unwrap();
            assert_ne!(count, 0, "it was closed without an answer");
            bytes.extend_from_slice(&some[..count]);
        }
    }
}

fn hello(name: &str) -> impl serde::Serialize {
    let introduction = (Identity::of_this_process(name), (1u16, 1u16), 64u16, 1u32 << 20, "nowhere");
    ((*b"PRVL", 1u16, 1u16), introduction)
}

#[test]
fn plain_tcp_needs_the_flag_and_a_loopback_address() {
    local(async {
        let hood = Hood::new();
        let plain = |plain_loopback| Network { plain_loopback, ..Network::default() };
        let at = |place: &str, flag| Network { listen: Some(place.to_owned()), ..plain(flag) };
        for (place, flag) in
            [("127.0.0.1:0", false), ("0.0.0.0:0", true), ("0.0.0.0:0", false), ("[::]:0", true)]
        {
            let options = Options { network: Some(at(place, flag)), ..hood.options() };
            let error = Node::start_with("engine", options).unwrap_err().to_string();
            let told = format!(
                "tcp:{place} needs certificates: make them with `provost certs` and set PROVOST_NODE_TLS_DIR"
            );
            assert!(error.starts_with(&told), "{error}");
            assert!(error.contains("PROVOST_NODE_PLAIN_LOOPBACK=1"), "{error}");
        }
        let (engine, address) = server(&hood, "engine", at("127.0.0.1:0", true));
        let _echo = engine.serve("echo", |text: String| text).await.unwrap();
        // Refused before anything is sent.
        let elsewhere = "192.0.2.1:4000".parse().unwrap();
        for (peer, flag) in [(address, false), (elsewhere, false), (elsewhere, true)] {
            let client = client(&hood, "client@1", ("engine", peer), plain(flag));
            let error = client.connect("engine").await.unwrap_err();
            assert_eq!(error, ConnectError::Insecure(format!("tcp:{peer}").into()));
            assert!(error.to_string().contains("needs certificates"), "{error}");
        }
        let client = client(&hood, "client@1", ("engine", address), plain(true));
        client.connect("engine").await.unwrap();
        assert_eq!(client.call::<_, String>("echo", &"plain", PATIENCE).await.as_deref(), Ok("plain"));
    });
}

#[test]
fn a_plain_peer_and_a_certified_one_do_not_come_together() {
    local(async {
        let hood = Hood::new();
        let certs = Authority::new(&["engine", "client@1"]);
        let plain = Network { plain_loopback: true, ..Network::default() };
        let (_secure, secure_at) = certs.server(&hood, "engine");
        let known = client(&hood, "client@1", ("engine", secure_at), plain.clone());
        let error = known.connect("engine").await.unwrap_err();
        assert!(matches!(error, ConnectError::Protocol { .. } | ConnectError::Failed { .. }), "{error}");
        let listen = Some("127.0.0.1:0".to_owned());
        let (_plain, plain_at) = server(&hood, "other", Network { listen, ..plain });
        let error = certs.client(&hood, "client@1", "engine", plain_at).connect("engine").await.unwrap_err();
        assert!(error.to_string().ends_with("the other side does not speak TLS"), "{error}");
    });
}

#[test]
fn garbage_and_half_open_connections_cost_only_themselves() {
    local(async {
        let hood = Hood::new();
        let certs = Authority::new(&["engine", "client@1"]);
        let engine = hood.start_with("engine", |options| {
            let listen = Some("127.0.0.1:0".to_owned());
            options.network = Some(Network { listen, tls: certs.tls(), ..Network::default() });
            options.limits.connections = 2;
        });
        let at = engine.tcp_address().unwrap();
        let _echo = engine.serve("echo", |text: String| text).await.unwrap();
        let client = certs.client(&hood, "client@1", "engine", at);
        client.connect("engine").await.unwrap();
        // More of them than may be on their way in at once, and more than have a place among those that are served.
        let mut sockets = Vec::new();
        let client_hello = [22, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3];
        let beginnings: [&[u8]; 7] = [
            &[],
            &[0; 64],
            &[0xff; 64],
            &u32::MAX.to_le_bytes(),
            b"GET / HTTP/1.1\r\n\r\n",
            &client_hello,
            &[22],
        ];
        for number in 0..200 {
            let mut socket = TcpStream::connect(at).unwrap();
            // It may have been closed already.
            let _ = socket.write_all(beginnings[number % beginnings.len()]);
            sockets.push(socket);
            if number % 20 == 0 {
                let reply: String = client.call("echo", &"still there?", PATIENCE).await.unwrap();
                assert_eq!(reply, "still there?");
            }
        }
        drop(client);
        let late = certs.client(&hood, "client@1", "engine", at);
        let _keeper = late.keep_connected("engine");
        late.find("echo", PATIENCE).await.expect("it is let in all the same");
        // Each of them is closed, also those that go on saying nothing.
        let closed = tokio::task::spawn_blocking(move || {
            for mut socket in sockets {
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut rest = Vec::new();
                if let Err(error) = socket.read_to_end(&mut rest) {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                }
            }
        });
        closed.await.unwrap();
        let reply: String = late.call("echo", &"still there?", PATIENCE).await.unwrap();
        assert_eq!(reply, "still there?");
    });
}

/// Opens connections from an address, one after the other, that say nothing, until it is told to stop; returns how many.
fn flood(from: &str, at: SocketAddr, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    let from = format!("{from}:0").parse().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut open, mut count) = (std::collections::VecDeque::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.bind(from).unwrap();
                if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, socket.connect(at)).await {
                    open.push_back(stream);
                    count += 1;
                }
                if open.len() > 300 {
                    open.pop_front();
                }
            }
            count
        })
    })
}

#[test]
fn empty_connections_of_one_address_cost_another_one_no_handshake() {
    local(async {
        let hood = Hood::new();
        let certs = Authority::new(&["engine", "client@1"]);
        let (_engine, at) = certs.server(&hood, "engine");
        let stop = Arc::new(AtomicBool::new(false));
        let flood = flood("127.0.0.2", at, Arc::clone(&stop));
        let begun = std::time::Instant::now();
        for _ in 0..30 {
            let client = certs.client(&hood, "client@1", "engine", at);
            client.connect("engine").await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let count = tokio::task::spawn_blocking(|| flood.join().unwrap()).await.unwrap();
        println!("30 handshakes beside {count} empty connections in {:?}", begun.elapsed());
    });
}

#[test]
fn a_handshake_one_byte_at_a_time_is_given_up() {
    local(async {
        let hood = Hood::new();
        let certs = Authority::new(&["engine"]);
        let (_engine, at) = certs.server(&hood, "engine");
        let mut socket = tokio::net::TcpStream::connect(at).await.unwrap();
        // A record of 64 KiB less one that never comes to its end.
        let mut bytes =
            [22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3].into_iter().chain(std::iter::repeat(7));
        let mut interval = tokio::time::interval(Duration::from_millis(100));
        while tokio::io::AsyncWriteExt::write_all(&mut socket, &[bytes.next().unwrap()]).await.is_ok() {
            interval.tick().await;
        }
    });
}

/// Runs in a network namespace of its own, whose only network it takes down.
async fn is_cut_off() {
    let hood = Hood::new();
    let certs = Authority::new(&["engine", "client@1"]);
    let (engine, at) = certs.server(&hood, "engine");
    let client = certs.client(&hood, "client@1", "engine", at);
    client.connect("engine").await.unwrap();
    let [near, far] = [client.monitor_node("engine").await, engine.monitor_node("client@1").await];
    // Nothing is under way.
    assert!(Command::new("ip").args(["link", "set", "lo", "down"]).status().unwrap().success());
    println!("cut: {}, {}", near.await.reason, far.await.reason);
}

#[test]
fn a_cut_cable_is_noticed_also_when_nothing_is_under_way() {
    let tools = ["unshare", "ip"].map(|tool| Command::new(tool).arg("--help").output().is_ok());
    let alone = ["--user", "--map-root-user", "--net"];
    if tools != [true, true] || !Command::new("unshare").args(alone).arg("true").status().unwrap().success() {
        println!("skipped: needs unshare and ip, and the right to make a network namespace");
        return;
    }
    let hood = Hood::new();
    let plain = Peer::command(&hood, "cut", &[]);
    let mut command = Command::new("unshare");
    command.args(alone).args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    command.arg(plain.get_program()).args(plain.get_args());
    command.env(ROLE, "cut").stdout(Stdio::piped()).stdin(Stdio::null());
    let reasons = Peer::of(command).hear("cut: ");
    assert_eq!(reasons, "unreachable, unreachable");
}
