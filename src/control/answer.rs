//! One request, from HTTP to the supervisor's loop and back.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::access::Access;
use super::api::{
    ApiError, Call, ChildJson, DoneJson, ErrorCode, ErrorJson, OutputState, Request, Response, StatusJson,
    TreeJson, VERSION,
};
use super::body;
use super::history::{DEFAULT_EXITS, HistoryJson, read_history};
use super::logs::{DEFAULT_LINES, LogLineJson, LogQuery, pump};
use super::places::Places;
use super::ps::ps;
use super::route::{Refused, Route, decode, route};
use super::signal::parse_signal;
use super::stream::{StreamBody, events};
use crate::capture::{Reader, Start};

/// Largest request body.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// How long a request may take to come in whole.
pub(super) const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// How long the loop may take to answer what it can answer at once.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Callers whose files are read at a time.
static READERS: Semaphore = Semaphore::const_new(2);

pub(super) type HttpResponse = hyper::Response<Either<Full<Bytes>, StreamBody>>;

/// Answers requests; one for all connections.
#[derive(Clone)]
pub(super) struct Desk {
    calls: mpsc::Sender<Call>,
    access: Access,
    places: Places,
}

#[derive(Deserialize)]
struct SignalBody {
    signal: SignalWord,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SignalWord {
    Number(i32),
    Name(String),
}

impl Desk {
    /// For callers who may do what `access` says and share `places`.
    pub(super) fn new(calls: mpsc::Sender<Call>, access: Access, places: Places) -> Desk {
        Desk { calls, access, places }
    }

    /// Answers; what goes wrong is an answer too. `asked` becomes true once the request has come in whole.
    pub(super) async fn answer<B>(&self, request: hyper::Request<B>, asked: &AtomicBool) -> HttpResponse
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        self.handle(request, asked).await.unwrap_or_else(refusal)
    }

    async fn handle<B>(&self, request: hyper::Request<B>, asked: &AtomicBool) -> Result<HttpResponse, Refused>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let route = match route(request.method(), request.uri().path())? {
            Route::Ask(Request::Events { .. }) => Route::Ask(Request::Events { since: since(&query)? }),
            route => route,
        };
        self.access.check(&route)?;
        let body = if request.method() == Method::POST {
            read_body(request.into_body()).await?
        } else {
            Bytes::new()
        };
        asked.store(true, Ordering::Relaxed);
        match route {
            Route::Ask(request) => self.ask(request, &query).await,
            Route::Ps => self.ask(Request::Members, &query).await,
            Route::Logs(name) => self.ask(Request::Logs(name), &query).await,
            Route::History => self.ask(Request::History, &query).await,
            Route::Upgrade => self.ask(body::upgrade(&body)?, &query).await,
            Route::Add => self.ask(body::add(&body)?, &query).await,
            Route::Scale => self.ask(body::scale(&body)?, &query).await,
            Route::Reload => self.ask(body::reload(&body)?, &query).await,
            Route::Signal(name) => self.ask(Request::Signal(name, signal_of(&body)?), &query).await,
        }
    }

    async fn ask(&self, request: Request, query: &str) -> Result<HttpResponse, Refused> {
        let place = self.places.take(&request).map_err(|error| Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error,
            allow: None,
        })?;
        let (reply, answer) = oneshot::channel();
        match timeout(ANSWER_WAIT, self.calls.send(Call { request, reply })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                return Err(unavailable("the supervisor is going down; it answers nothing any more"));
            }
            Err(_) => return Err(late()),
        }
        // Without a place the answer is due at once. With one it may take as long as the process it is about; the
        // wait ends when the caller goes away, because hyper then drops this future.
        let answer = match &place {
            None => timeout(ANSWER_WAIT, answer).await.map_err(|_| late())?,
            Some(_) => answer.await,
        };
        match answer.map_err(|_| unavailable("the supervisor dropped the request; ask again"))?? {
            Response::Tree(TreeJson { version: _, project, root }) => {
                Ok(json(StatusCode::OK, &TreeJson { version: VERSION, project, root }))
            }
            Response::Members(project, members) => Ok(json(StatusCode::OK, &ps(project, members).await)),
            Response::Child(child) => Ok(json(StatusCode::OK, &StatusJson::new(child))),
            Response::Status(child, output) => Ok(json(StatusCode::OK, &status(child, output).await)),
            Response::About(about) => Ok(json(StatusCode::OK, &about)),
            Response::Why(why) => Ok(json(StatusCode::OK, &why)),
            Response::Counts(counts) => Ok(json(StatusCode::OK, &counts)),
            Response::Scale(scale) => Ok(json(StatusCode::OK, &scale)),
            Response::Plan(plan) => Ok(json(StatusCode::OK, &plan)),
            Response::Reload(reload) => Ok(json(StatusCode::OK, &reload)),
            Response::Done => Ok(json(StatusCode::OK, &DoneJson { version: VERSION })),
            Response::Events { past, coming } => match place {
                Some(place) => {
                    Ok(stream(StreamBody::new(place, |sink| tokio::spawn(events(past, coming, sink)))))
                }
                None => Err(ApiError::new(ErrorCode::Internal, "events answer another question").into()),
            },
            Response::Logs(sources) => match place {
                Some(place) => {
                    let query = LogQuery::parse(query)?;
                    Ok(stream(StreamBody::new(place, |sink| tokio::spawn(pump(sources, query, sink)))))
                }
                None => Err(ApiError::new(ErrorCode::Internal, "logs answer another question").into()),
            },
            Response::History(log_dir) => Ok(json(StatusCode::OK, &history(log_dir, query).await?)),
        }
    }
}

/// Reads files beside the loop, for a few callers at a time: each may take as much memory as a history file.
async fn read_files<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let _turn = READERS.acquire().await.ok()?;
    spawn_blocking(read).await.ok()
}

/// A child with what is read from files: its last exit and its last lines.
async fn status(child: ChildJson, output: OutputState) -> StatusJson {
    let name = child.name.clone();
    let mut status = StatusJson::new(child);
    (status.log_stalled, status.log_stalls) = (output.stalled, output.stalls);
    let read = read_files(move || {
        let exits = read_history(&output.log_dir, Some(&name), 1).unwrap_or_default();
        let start = Start { lines: Some(DEFAULT_LINES), ..Start::default() };
        let lines = Reader::tail(&output.sources, start).unwrap_or_default();
        let tail = lines.iter().map(|line| LogLineJson::new(line, &output.sources)).collect();
        (exits.into_iter().next_back(), tail)
    });
    // Files that cannot be read leave the rest as it is.
    (status.last_exit, status.log_tail) = read.await.unwrap_or_default();
    status
}

/// The query of `GET /v1/history`: `name=NAME`, `lines=N`.
async fn history(log_dir: PathBuf, query: &str) -> Result<HistoryJson, Refused> {
    let (mut name, mut limit) = (None, DEFAULT_EXITS);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("name", wanted)) => name = Some(decode(wanted)?),
            Some(("lines", number)) => {
                limit = number.parse().map_err(|_| bad(format!("lines={number} is not a number")))?;
            }
            _ => return Err(bad(format!("{pair:?} is not known; there are name=NAME and lines=N"))),
        }
    }
    match read_files(move || read_history(&log_dir, name.as_deref(), limit)).await {
        Some(Ok(exits)) => Ok(HistoryJson { version: VERSION, exits }),
        Some(Err(error)) => {
            Err(ApiError::new(ErrorCode::Internal, format!("cannot read the history: {error}")).into())
        }
        None => Err(unavailable("the supervisor is going down; it answers nothing any more")),
    }
}

async fn read_body<B>(body: B) -> Result<Bytes, Refused>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let too_large = || Refused {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        error: ApiError::new(ErrorCode::BadRequest, format!("the body is larger than {MAX_BODY} bytes")),
        allow: None,
    };
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    match timeout(REQUEST_WAIT, std::pin::pin!(Limited::new(body, MAX_BODY)).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(bad(format!("the body could not be read: {error}"))),
        Err(_) => Err(Refused {
            status: StatusCode::REQUEST_TIMEOUT,
            error: ApiError::new(ErrorCode::Timeout, "the body did not come in time"),
            allow: None,
        }),
    }
}

/// `since=SEQ`, the only thing a query can say.
fn since(query: &str) -> Result<Option<u64>, Refused> {
    if query.is_empty() {
        return Ok(None);
    }
    let number = query.strip_prefix("since=").and_then(|number| number.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| bad("the only query here is since=SEQ, with the number of an event".into()))
}

fn signal_of(body: &[u8]) -> Result<i32, Refused> {
    let usage = "write {\"signal\": 15} or {\"signal\": \"TERM\"}";
    let body: SignalBody =
        serde_json::from_slice(body).map_err(|_| bad(format!("no signal in the body; {usage}")))?;
    let word = match body.signal {
        SignalWord::Number(number) => number.to_string(),
        SignalWord::Name(name) => name,
    };
    parse_signal(&word).map_err(|error| bad(error.to_string()))
}

fn bad(message: String) -> Refused {
    ApiError::new(ErrorCode::BadRequest, message).into()
}

fn late() -> Refused {
    ApiError::new(ErrorCode::Timeout, "the supervisor did not answer in time; try again").into()
}

fn unavailable(message: &str) -> Refused {
    Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        error: ApiError::new(ErrorCode::Internal, message),
        allow: None,
    }
}

fn refusal(refused: Refused) -> HttpResponse {
    let mut response = json(refused.status, &ErrorJson { version: VERSION, error: refused.error });
    if let Some(allow) = refused.allow.and_then(|method| HeaderValue::from_str(method.as_str()).ok()) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    // Our shapes have string keys and finite numbers, so this cannot fail; if it did, the caller would see an empty body.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    respond(status, "application/json", Either::Left(Full::new(text.into())))
}

fn stream(events: StreamBody) -> HttpResponse {
    respond(StatusCode::OK, "text/event-stream", Either::Right(events))
}

fn respond(status: StatusCode, kind: &'static str, body: Either<Full<Bytes>, StreamBody>) -> HttpResponse {
    let mut response = hyper::Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
