//! What the verbs use to ask a running launcher. Requests of administration are in `client/admin.rs`.

mod admin;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::Uid;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::history::HistoryJson;
use super::route::encode;
use super::{AboutJson, ApiError, DoneJson, ErrorJson, PsJson, SOCKET, StatusJson, TreeJson};

/// How long reading verbs keep trying while the supervisor process is being replaced.
const RETRY_FOR: Duration = Duration::from_secs(2);
/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How long an answer that is due at once may take. Longer than the server's own limits, so that its reason arrives.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// The largest answer we take.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// The longest event we take.
const MAX_EVENT: usize = 1024 * 1024;

/// Asks the launcher of one run directory. Holds no connection: each request makes its own, so a supervisor process that
/// was replaced in between is not noticed.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    /// The user whose launcher may answer, beside our own and root's.
    owner: u32,
}

/// Nobody answers on the control socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLauncher {
    /// The file does not exist.
    #[error("no control socket at {}", .0.display())]
    Missing(PathBuf),
    /// The file was left behind; nobody listens.
    #[error("nobody listens on {}", .0.display())]
    Stale(PathBuf),
}

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No launcher is running.
    #[error(transparent)]
    NoLauncher(#[from] NoLauncher),
    /// The launcher refused the request.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// The control socket is another user's.
    #[error(
        "you may not use the control socket {}: it is for its owner, for root, and for members of the group that \
         `control` in the config file names",
        .0.display()
    )]
    NotPermitted(PathBuf),
    /// Another user than the project's listens on the control socket.
    #[error("user {uid} listens on {}, who does not own this project; choose another run_dir", socket.display())]
    Stranger {
        /// The control socket.
        socket: PathBuf,
        /// Who listens on it.
        uid: u32,
    },
    /// It did not answer in time.
    #[error("the supervisor did not answer within {} s; look at its log", ANSWER_WAIT.as_secs())]
    Timeout,
    /// The connection could not be made, or broke before the answer had come.
    #[error("the connection to the supervisor broke: {0}")]
    Broken(String),
    /// What came is no answer of ours.
    #[error("the supervisor's answer makes no sense to this version of provost: {0}")]
    Nonsense(String),
}

impl Client {
    /// A client for our own user's or root's launcher of this run directory.
    ///
    /// # Errors
    /// No launcher is running there now, or it is not ours to ask.
    pub async fn connect(run_dir: &Path) -> Result<Client, ClientError> {
        Client::connect_to(run_dir, Uid::effective().as_raw()).await
    }

    /// The same, where `owner` may run it too.
    ///
    /// # Errors
    /// See [`Client::connect`].
    pub async fn connect_to(run_dir: &Path, owner: u32) -> Result<Client, ClientError> {
        let client = Client { socket: run_dir.join(SOCKET), owner };
        client.stream().await?;
        Ok(client)
    }

    /// `GET /v1/tree`.
    ///
    /// # Errors
    /// See [`ClientError`]; the same of all that follow.
    pub async fn tree(&self) -> Result<TreeJson, ClientError> {
        self.read("/v1/tree").await
    }

    /// `GET /v1/ps`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ps(&self) -> Result<PsJson, ClientError> {
        self.read("/v1/ps").await
    }

    /// `GET /healthz`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn health(&self) -> Result<DoneJson, ClientError> {
        self.read("/healthz").await
    }

    /// `GET /v1/children/NAME`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn child(&self, name: &str) -> Result<StatusJson, ClientError> {
        self.read(&format!("/v1/children/{}", encode(name))).await
    }

    /// `POST /v1/children/NAME/start`. As the next two, this takes as long as the child takes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn start(&self, name: &str) -> Result<StatusJson, ClientError> {
        self.change(name, "start").await
    }

    /// `POST /v1/children/NAME/stop`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stop(&self, name: &str) -> Result<StatusJson, ClientError> {
        self.change(name, "stop").await
    }

    /// `POST /v1/children/NAME/restart`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn restart(&self, name: &str) -> Result<StatusJson, ClientError> {
        self.change(name, "restart").await
    }

    /// `POST /v1/children/NAME/signal`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn signal(&self, name: &str, signal: i32) -> Result<StatusJson, ClientError> {
        let path = format!("/v1/children/{}/signal", encode(name));
        let answer = self.once(Method::POST, &path, format!("{{\"signal\":{signal}}}"));
        parse(&timeout(ANSWER_WAIT, answer).await.map_err(|_| ClientError::Timeout)??)
    }

    /// `POST /v1/down`; returns when the stop has begun.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn down(&self) -> Result<DoneJson, ClientError> {
        let answer = self.once(Method::POST, "/v1/down", String::new());
        parse(&timeout(ANSWER_WAIT, answer).await.map_err(|_| ClientError::Timeout)??)
    }

    /// `GET /v1/about`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn about(&self) -> Result<AboutJson, ClientError> {
        self.read("/v1/about").await
    }

    /// `POST /v1/upgrade`; returns when the program has passed the examination.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn upgrade(&self, binary: &Path) -> Result<DoneJson, ClientError> {
        let body = serde_json::json!({ "binary": binary }).to_string();
        let answer = self.once(Method::POST, "/v1/upgrade", body);
        parse(&timeout(ANSWER_WAIT, answer).await.map_err(|_| ClientError::Timeout)??)
    }

    /// `GET /v1/events`: what happens from now on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self) -> Result<EventReader, ClientError> {
        self.follow("/v1/events").await
    }

    /// `GET /v1/events?since=SEQ`: what has happened after this event, as far as it is remembered, and what happens from now
    /// on. Numbers are those of the present supervisor process; 0 is before its first event.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events_since(&self, seq: u64) -> Result<EventReader, ClientError> {
        self.follow(&format!("/v1/events?since={seq}")).await
    }

    /// `GET /v1/history`: the last `limit` exits, of one child or of all.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn history(&self, name: Option<&str>, limit: usize) -> Result<HistoryJson, ClientError> {
        let name = name.map(|name| format!("name={}&", encode(name))).unwrap_or_default();
        self.read(&format!("/v1/history?{name}lines={limit}")).await
    }

    /// `GET /v1/logs/NAME`: each event is a [`LogLineJson`](super::LogLineJson). `query` as the API has it
    /// (`follow&lines=10`).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn logs(&self, name: &str, query: &str) -> Result<EventReader, ClientError> {
        self.follow(&format!("/v1/logs/{}?{query}", encode(name))).await
    }

    async fn follow(&self, path: &str) -> Result<EventReader, ClientError> {
        let mut retry = Retry::new();
        loop {
            let response = timeout(ANSWER_WAIT, self.send(Method::GET, path, String::new())).await;
            match response.map_err(|_| ClientError::Timeout)? {
                Ok(response) if response.status() == StatusCode::OK => {
                    return Ok(EventReader { body: response.into_body(), buffer: Vec::new() });
                }
                Ok(response) => return Err(refusal(&whole(response.into_body()).await?)),
                Err(error) => retry.pause_or_give_up(error).await?,
            }
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let mut retry = Retry::new();
        loop {
            let answer = timeout(ANSWER_WAIT, self.once(Method::GET, path, String::new())).await;
            match answer.map_err(|_| ClientError::Timeout)? {
                Ok(bytes) => return parse(&bytes),
                Err(error) => retry.pause_or_give_up(error).await?,
            }
        }
    }

    async fn change(&self, name: &str, verb: &str) -> Result<StatusJson, ClientError> {
        parse(
            &self.once(Method::POST, &format!("/v1/children/{}/{verb}", encode(name)), String::new()).await?,
        )
    }

    /// One request, one answer.
    async fn once(&self, method: Method, path: &str, body: String) -> Result<Bytes, ClientError> {
        let response = self.send(method, path, body).await?;
        let good = response.status().is_success();
        let bytes = whole(response.into_body()).await?;
        if good { Ok(bytes) } else { Err(refusal(&bytes)) }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<hyper::Response<Incoming>, ClientError> {
        let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::<Bytes>::from(body))
            .map_err(|error| ClientError::Broken(error.to_string()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(self.stream().await?)).await.map_err(broken)?;
        // Ends by itself with the response or when its body is dropped; what breaks it is told to the request.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(broken)
    }

    async fn stream(&self) -> Result<UnixStream, ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| connect_error(&self.socket, &error))?;
        // A socket in a folder below /tmp may be of anyone who made that folder first.
        let peer = stream.peer_cred().map_err(|error| ClientError::Broken(error.to_string()))?.uid();
        if ![0, self.owner, Uid::effective().as_raw()].contains(&peer) {
            return Err(ClientError::Stranger { socket: self.socket.clone(), uid: peer });
        }
        Ok(stream)
    }
}

/// The running event stream.
#[derive(Debug)]
pub struct EventReader {
    body: Incoming,
    buffer: Vec<u8>,
}

/// What the event stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something happened: an [`EventJson`](super::EventJson) as the text it came as, without a newline.
    Event(String),
    /// We read too slowly: so many events, the oldest ones, are lost.
    Missed(u64),
}

impl EventReader {
    /// The next event; `None` when the stream has ended, which it does when the supervisor process ends or is replaced.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(heard) = heard(&String::from_utf8_lossy(&block)) {
                    return Some(heard);
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
            if self.buffer.len() > MAX_EVENT {
                return None;
            }
        }
    }
}

/// One block of the stream; `None` for what carries no data of ours.
fn heard(block: &str) -> Option<Heard> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let data = field("data:")?;
    match field("event:") {
        None => Some(Heard::Event(data.to_owned())),
        Some("missed") => data.parse().ok().map(Heard::Missed),
        Some(_) => None,
    }
}

/// While the supervisor process is being replaced a connection breaks, and for a moment there may be no socket either.
/// Without a broken connection before it, "no socket" is the answer.
struct Retry {
    until: Instant,
    broke: bool,
}

impl Retry {
    fn new() -> Retry {
        Retry { until: Instant::now() + RETRY_FOR, broke: false }
    }

    async fn pause_or_give_up(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.broke |= matches!(error, ClientError::Broken(_));
        let passing = matches!(error, ClientError::Broken(_) | ClientError::NoLauncher(_));
        if !(passing && self.broke) || Instant::now() >= self.until {
            return Err(error);
        }
        sleep(RETRY_PAUSE).await;
        Ok(())
    }
}

fn connect_error(socket: &Path, error: &io::Error) -> ClientError {
    match error.kind() {
        ErrorKind::NotFound => NoLauncher::Missing(socket.to_owned()).into(),
        ErrorKind::PermissionDenied => ClientError::NotPermitted(socket.to_owned()),
        ErrorKind::ConnectionRefused => NoLauncher::Stale(socket.to_owned()).into(),
        _ => ClientError::Broken(format!("failed to connect to {}: {error}", socket.display())),
    }
}

async fn whole(body: Incoming) -> Result<Bytes, ClientError> {
    match Limited::new(body, MAX_ANSWER).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(ClientError::Broken(error.to_string())),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes).map_err(|error| ClientError::Nonsense(error.to_string()))
}

fn refusal(bytes: &[u8]) -> ClientError {
    match serde_json::from_slice::<ErrorJson>(bytes) {
        Ok(ErrorJson { error, .. }) => ClientError::Refused(error),
        Err(error) => ClientError::Nonsense(error.to_string()),
    }
}
