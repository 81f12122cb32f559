//! The control API over a real socket, answered by a made-up supervisor.

use std::path::PathBuf;
use std::time::Duration;

use provost::control::{
    ApiError, Call, ChildJson, Client, ClientError, ErrorCode, ErrorJson, ExitJson, Heard, Member,
    NoLauncher, Request, Response, Role, SOCKET, SupervisorJson, TreeJson, VERSION, serve,
};
use provost::rules::{Phase, Restart, Strategy};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes, shorter than the deadlines that would hide a fault.
const SOON: Duration = Duration::from_secs(3);

/// The length of an answer that no socket buffer holds.
const BIG: usize = 8 << 20;

/// A server in a directory of its own, and the loop behind it.
struct Fake {
    dir: TempDir,
    events: broadcast::Sender<String>,
    /// Requests for the child `slow`, unanswered.
    slow: mpsc::Receiver<Call>,
    supervisor: JoinHandle<()>,
    server: JoinHandle<()>,
}

impl Fake {
    fn start() -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let (calls, inbox) = mpsc::channel(8);
        let (events, _) = broadcast::channel(4);
        let (slow_sink, slow) = mpsc::channel(100);
        let supervisor = tokio::spawn(answer_all(inbox, events.clone(), slow_sink));
        let server = tokio::spawn(serve(listener, calls, watch::channel(None).1));
        Fake { dir, events, slow, supervisor, server }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join(SOCKET)
    }

    async fn client(&self) -> Client {
        Client::connect(self.dir.path()).await.unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        let length = body.len();
        self.send(&format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")).await
    }

    async fn send(&self, request: &str) -> Answer {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(SOON, stream.read_to_string(&mut text)).await.expect("no answer").unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("no response head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }

    fn error(&self) -> ApiError {
        let ErrorJson { version, error } = serde_json::from_str(&self.body).unwrap();
        assert_eq!(version, VERSION);
        error
    }
}

fn child(name: &str, phase: Phase, pid: Option<i32>) -> ChildJson {
    ChildJson {
        name: name.into(),
        kind: "worker".into(),
        restart: Restart::Permanent,
        significant: false,
        phase,
        pid,
        run: 3,
        restarts: 2,
        last_exit: None,
        left_behind: None,
        spec: None,
        supervisor: None,
    }
}

/// A supervisor over a child that was killed once.
fn root() -> ChildJson {
    let mut engine = child("engine", Phase::Ready, Some(1));
    engine.last_exit = Some(ExitJson::Signal { signal: 9, name: "KILL".into(), core: false });
    let mut root = child("demo", Phase::Running, None);
    root.supervisor = Some(SupervisorJson {
        strategy: Strategy::RestForOne,
        intensity: 10,
        period_ms: 10_000,
        restarts_left: 9,
        children: vec![engine],
    });
    root
}

async fn answer_all(
    mut inbox: mpsc::Receiver<Call>,
    events: broadcast::Sender<String>,
    slow: mpsc::Sender<Call>,
) {
    while let Some(call) = inbox.recv().await {
        match &call.request {
            Request::Start(name) | Request::Stop(name) | Request::Restart(name) if name == "slow" => {
                slow.send(call).await.unwrap();
            }
            request => {
                let answer = answer(request, &events);
                // The caller may be gone.
                let _ = call.reply.send(answer);
            }
        }
    }
}

fn answer(request: &Request, events: &broadcast::Sender<String>) -> Result<Response, ApiError> {
    let me = std::process::id().cast_signed();
    match request {
        Request::Logs(_) | Request::History => Err(refusal(ErrorCode::NotFound)),
        Request::Tree => {
            Ok(Response::Tree(TreeJson { version: VERSION, project: "demo".into(), root: root() }))
        }
        Request::Members => {
            let phase = Some(Phase::Ready);
            let engine = Member {
                name: "engine".into(),
                role: Role::Child,
                phase,
                pid: Some(me),
                run: 3,
                restarts: 2,
                marks: None,
            };
            Ok(Response::Members("demo".into(), vec![engine]))
        }
        Request::Child(name) if name == "big" => {
            Ok(Response::Child(child(&"x".repeat(BIG), Phase::Ready, None)))
        }
        Request::Child(name) => known(name).map(|()| Response::Child(child(name, Phase::Ready, Some(me)))),
        Request::Start(name) => {
            known(name)?;
            Err(refusal(ErrorCode::Running))
        }
        Request::Stop(name) => known(name).map(|()| Response::Child(child(name, Phase::Stopped, None))),
        Request::Restart(name) => match name.strip_prefix("fail-") {
            Some(code) => Err(refusal(serde_json::from_value(code.into()).unwrap())),
            None => known(name).map(|()| Response::Child(child(name, Phase::Running, Some(me)))),
        },
        Request::Signal(name, signal) => {
            known(name)?;
            let mut child = child(name, Phase::Ready, Some(me));
            child.run = signal.cast_unsigned();
            Ok(Response::Child(child))
        }
        Request::Down | Request::Health | Request::Upgrade(_) => Ok(Response::Done),
        Request::Events { since } => {
            let past = since.map_or(Vec::new(), |since| (since + 1..=3).map(seq).collect());
            Ok(Response::Events { past, coming: events.subscribe() })
        }
        Request::About => Err(refusal(ErrorCode::NotRunning)),
        Request::Why(_)
        | Request::Counts(_)
        | Request::Add(_)
        | Request::Remove(_)
        | Request::Scale(..)
        | Request::Plan
        | Request::Reload(_) => Err(refusal(ErrorCode::BadRequest)),
    }
}

fn known(name: &str) -> Result<(), ApiError> {
    if name == "engine" {
        Ok(())
    } else {
        Err(ApiError { name: Some(name.to_owned()), ..ApiError::new(ErrorCode::NotFound, "no such child") })
    }
}

fn refusal(code: ErrorCode) -> ApiError {
    ApiError { name: Some("engine".into()), ..ApiError::new(code, "no") }
}

#[tokio::test]
async fn every_route_answers_json() {
    let fake = Fake::start();
    assert_eq!(fake.get("/v1/tree").await.json()["root"]["name"], "demo");
    let ps = fake.get("/v1/ps").await.json();
    assert_eq!((&ps["version"], &ps["project"]), (&1.into(), &"demo".into()));
    assert_eq!(ps["processes"][0]["pid"], std::process::id());
    assert_eq!(ps["processes"][0]["ppid"], std::os::unix::process::parent_id());
    assert_eq!(fake.get("/v1/children/engine").await.json()["child"]["phase"], "ready");
    assert_eq!(fake.get("/healthz").await.json()["version"], 1);
    assert_eq!(fake.post("/v1/down", "").await.json()["version"], 1);
    assert_eq!(
        fake.post("/v1/children/engine/stop", "").await.json()["child"]["pid"],
        serde_json::Value::Null
    );
    assert_eq!(fake.post("/v1/children/engine/restart", "").await.json()["child"]["phase"], "running");
    for (body, number) in [(r#"{"signal": 10}"#, 10), (r#"{"signal": "SIGHUP"}"#, 1)] {
        assert_eq!(fake.post("/v1/children/engine/signal", body).await.json()["child"]["run"], number);
    }
}

#[tokio::test]
async fn the_client_gets_what_the_server_says() {
    let fake = Fake::start();
    let client = fake.client().await;
    assert_eq!(client.tree().await.unwrap().root, root());
    assert_eq!(client.ps().await.unwrap().processes[0].name, "engine");
    assert_eq!(client.health().await.unwrap().version, VERSION);
    assert_eq!(client.child("engine").await.unwrap().child.run, 3);
    assert_eq!(client.stop("engine").await.unwrap().child.phase, Phase::Stopped);
    assert_eq!(client.restart("engine").await.unwrap().child.phase, Phase::Running);
    assert_eq!(client.signal("engine", 12).await.unwrap().child.run, 12);
    assert_eq!(client.down().await.unwrap().version, VERSION);
    match client.start("engine").await {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::Running),
        other => panic!("{other:?}"),
    }
    match client.child("engin/e 1%").await {
        Err(ClientError::Refused(error)) => {
            assert_eq!((error.code, error.to_string().as_str()), (ErrorCode::NotFound, "no such child"));
            assert_eq!(error.name.as_deref(), Some("engin/e 1%"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let fake = Fake::start();
    let cases = [
        ("not_found", 404),
        ("already_started", 409),
        ("already_present", 409),
        ("running", 409),
        ("restarting", 409),
        ("not_running", 409),
        ("bad_request", 400),
        ("bad_config", 400),
        ("not_permitted", 403),
        ("start_failed", 500),
        ("internal", 500),
        ("timeout", 504),
    ];
    for (code, status) in cases {
        let answer = fake.post(&format!("/v1/children/fail-{code}/restart"), "").await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &code.into()));
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_json() {
    let fake = Fake::start();
    let answer = fake.get("/v1/nothing").await;
    assert_eq!((answer.status, answer.error().code), (404, ErrorCode::NotFound));
    let answer = fake.post("/v1/ps", "").await;
    assert_eq!((answer.status, answer.error().code), (405, ErrorCode::BadRequest));
    assert!(answer.head.contains("allow: get"), "{}", answer.head);
    assert_eq!(fake.get("/v1/children/engine/stop").await.status, 405);
    for body in ["", "{}", "15", r#"{"signal": 0}"#, r#"{"signal": "TREM"}"#, r#"{"signal": null}"#] {
        let answer = fake.post("/v1/children/engine/signal", body).await;
        assert_eq!((answer.status, answer.error().code), (400, ErrorCode::BadRequest), "{body}");
    }
    assert_eq!(fake.send("HELLO\r\n\r\n").await.status, 400, "not HTTP at all");
}

#[tokio::test]
async fn a_body_over_64_kib_is_refused() {
    let fake = Fake::start();
    let path = "/v1/children/engine/signal";
    let announced = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n");
    assert_eq!(fake.send(&announced).await.status, 413);
    let chunk = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n");
    assert_eq!(fake.send(&format!("{chunk}{}\r\n", "x".repeat(0x10001))).await.status, 413);
    assert_eq!(
        fake.post(path, &format!("{}{}", r#"{"signal":1}"#, " ".repeat(65536 - 12))).await.status,
        200
    );
}

#[tokio::test]
async fn seventy_silent_clients_cost_another_nothing() {
    let mut fake = Fake::start();
    let client = fake.client().await;
    let stop = tokio::spawn(async move { client.stop("slow").await });
    let call = timeout(SOON, fake.slow.recv()).await.unwrap().unwrap();
    let mut silent = Vec::new();
    for number in 0..70 {
        let mut stream = UnixStream::connect(fake.socket()).await.unwrap();
        let head =
            ["", "GET /v1/p", "POST /v1/down HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"][number % 3];
        stream.write_all(head.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    // Sooner than the deadline that ends the silent ones.
    assert_eq!(fake.get("/v1/ps").await.status, 200);
    // What was asked before them is still waited for.
    call.reply.send(Ok(Response::Child(child("slow", Phase::Stopped, None)))).unwrap();
    assert_eq!(timeout(SOON, stop).await.unwrap().unwrap().unwrap().child.name, "slow");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed_after_the_deadline() {
    let fake = Fake::start();
    for head in ["", "GET /v1/ps HTTP/1.1\r\nHost:"] {
        let mut stream = UnixStream::connect(fake.socket()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let began = tokio::time::Instant::now();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        let waited = began.elapsed();
        assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(6), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_given_up() {
    let fake = Fake::start();
    let mut stream = UnixStream::connect(fake.socket()).await.unwrap();
    stream.write_all(b"GET /v1/children/big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    timeout(Duration::from_secs(11), std::future::pending::<()>()).await.unwrap_err();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    assert!(got.starts_with(b"HTTP/1.1 200 OK") && got.len() < BIG, "{} bytes came", got.len());
    // Who reads gets all of it.
    assert_eq!(fake.client().await.child("big").await.unwrap().child.name.len(), BIG);
}

#[tokio::test]
async fn readers_take_no_place_of_a_verb() {
    let mut fake = Fake::start();
    let client = fake.client().await;
    let mut streams = Vec::new();
    while let Ok(stream) = client.events().await {
        streams.push(stream);
    }
    let refused = fake.get("/v1/events").await;
    assert_eq!((refused.status, refused.error().code), (503, ErrorCode::Internal));
    assert!(refused.error().message.contains("too many clients read events or logs"), "{}", refused.body);
    assert_eq!(fake.get("/v1/tree").await.status, 200);
    // Nor do verbs that wait take the place of readers, or of what is answered at once: there are as many of them.
    let mut waits = Vec::new();
    for _ in 0..streams.len() {
        let mut stream = UnixStream::connect(fake.socket()).await.unwrap();
        stream.write_all(b"POST /v1/children/slow/stop HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        waits.push((stream, timeout(SOON, fake.slow.recv()).await.unwrap().unwrap()));
    }
    assert_eq!(fake.post("/v1/children/slow/stop", "").await.status, 503);
    assert_eq!(fake.get("/v1/tree").await.status, 200);
    streams.pop();
    let again = async {
        while client.events().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, again).await.expect("the place of a client that left is given again");
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_wait() {
    let mut fake = Fake::start();
    let mut stream = UnixStream::connect(fake.socket()).await.unwrap();
    stream.write_all(b"POST /v1/children/slow/stop HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut call = timeout(SOON, fake.slow.recv()).await.unwrap().unwrap();
    assert!(!call.reply.is_closed());
    drop(stream);
    timeout(SOON, call.reply.closed()).await.expect("the request outlives its caller");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_does_not_answer_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
    let (calls, _never_read) = mpsc::channel(1);
    let server = tokio::spawn(serve(listener, calls, watch::channel(None).1));
    let client = Client::connect(dir.path()).await.unwrap();
    for (case, tried) in [("taken", client.tree().await), ("not taken", client.tree().await)] {
        let told = matches!(&tried, Err(ClientError::Refused(error)) if error.code == ErrorCode::Timeout);
        assert!(told, "{case}: {tried:?}");
    }
    server.abort();
}

#[tokio::test]
async fn events_of_before_come_first() {
    let fake = Fake::start();
    let mut events = fake.client().await.events_since(1).await.unwrap();
    fake.events.send(seq(4)).unwrap();
    for number in 2..=4 {
        assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(Heard::Event(seq(number))));
    }
    for query in ["since", "since=", "since=x", "since=-1", "until=1"] {
        assert_eq!(fake.get(&format!("/v1/events?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn events_come_in_order_and_losses_are_told() {
    let fake = Fake::start();
    let mut events = fake.client().await.events().await.unwrap();
    for number in 1..=3 {
        fake.events.send(seq(number)).unwrap();
        assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(Heard::Event(seq(number))));
    }
    // The channel holds 4, and this task does not yield: the oldest of 10 are lost.
    for number in 1..=10 {
        fake.events.send(seq(number)).unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(timeout(SOON, events.next()).await.unwrap().unwrap());
    }
    let kept = (7..=10).map(|number| Heard::Event(seq(number)));
    let expected: Vec<Heard> = std::iter::once(Heard::Missed(6)).chain(kept).collect();
    assert_eq!(seen, expected);
}

fn seq(number: u64) -> String {
    format!(r#"{{"seq":{number}}}"#)
}

#[tokio::test]
async fn events_are_server_sent_events() {
    let fake = Fake::start();
    let mut stream = UnixStream::connect(fake.socket()).await.unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    let mut buf = [0; 1024];
    let whole = async {
        while !text.contains("data: {\"seq\":1}\n\n") {
            let count = stream.read(&mut buf).await.unwrap();
            assert_ne!(count, 0, "{text}");
            if text.is_empty() {
                fake.events.send(r#"{"seq":1}"#.into()).unwrap();
            }
            text.push_str(std::str::from_utf8(&buf[..count]).unwrap());
        }
    };
    timeout(SOON, whole).await.unwrap();
    assert!(text.contains("content-type: text/event-stream"), "{text}");
}

#[tokio::test]
async fn the_server_ends_with_its_supervisor() {
    let Fake { dir, events, slow, supervisor, server } = Fake::start();
    let mut stream = Client::connect(dir.path()).await.unwrap().events().await.unwrap();
    supervisor.abort();
    drop((events, slow));
    assert_eq!(timeout(SOON, stream.next()).await.unwrap(), None);
    timeout(SOON, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn without_a_launcher_the_client_says_which_socket_it_tried() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join(SOCKET);
    let refused = |error| match error {
        ClientError::NoLauncher(reason) => reason,
        other => panic!("{other}"),
    };
    let reason = refused(Client::connect(dir.path()).await.unwrap_err());
    assert_eq!(reason.to_string(), format!("no control socket at {}", socket.display()));
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(refused(Client::connect(dir.path()).await.unwrap_err()), NoLauncher::Stale(socket));
}

#[tokio::test]
async fn reading_is_tried_again_while_the_supervisor_is_replaced_and_changing_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join(SOCKET);
    let listener = UnixListener::bind(&socket).unwrap();
    let client = Client::connect(dir.path()).await.unwrap();
    drop(listener.accept().await.unwrap());
    let (broke, breaking) = oneshot::channel();
    let caller = tokio::spawn(async move {
        broke.send(client.stop("engine").await).unwrap();
        client.tree().await
    });
    drop_request(&listener).await;
    let broken = timeout(SOON, breaking).await.unwrap().unwrap();
    assert!(matches!(broken, Err(ClientError::Broken(_))), "{broken:?}");
    drop_request(&listener).await;
    drop_request(&listener).await;
    // The socket is taken away and made anew, as a new supervisor process may do.
    drop(listener);
    std::fs::remove_file(&socket).unwrap();
    let (calls, inbox) = mpsc::channel(8);
    tokio::spawn(answer_all(inbox, broadcast::channel(4).0, mpsc::channel(1).0));
    tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), calls, watch::channel(None).1));
    assert_eq!(timeout(SOON, caller).await.unwrap().unwrap().unwrap().project, "demo");
}

/// Takes a request and goes away without an answer, as a process that is killed does.
async fn drop_request(listener: &UnixListener) {
    let (mut stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
}
