//! Which request a method and a path mean.

use hyper::{Method, StatusCode};

use super::{ApiError, ErrorCode, Request};

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Ask the supervisor's loop.
    Ask(Request),
    /// Ask it for the members, then the kernel for their processes.
    Ps,
    /// A signal for this child; which one stands in the body.
    Signal(String),
    /// A new program; which one stands in the body.
    Upgrade,
    /// What to add stands in the body.
    Add,
    /// What to scale stands in the body.
    Scale,
    /// How far to go stands in the body.
    Reload,
    /// Ask it where the logs of this child are, then read them as the query says.
    Logs(String),
    /// Ask it where the history is, then read it as the query says.
    History,
}

/// A request that is refused, with the HTTP status that fits.
#[derive(Debug)]
pub(super) struct Refused {
    /// HTTP status.
    pub(super) status: StatusCode,
    /// What the body says.
    pub(super) error: ApiError,
    /// The method that would have been right (`Allow`).
    pub(super) allow: Option<Method>,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Refused {
        let status = match error.code {
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::AlreadyStarted
            | ErrorCode::AlreadyPresent
            | ErrorCode::Running
            | ErrorCode::Restarting
            | ErrorCode::NotRunning => StatusCode::CONFLICT,
            ErrorCode::BadRequest | ErrorCode::BadConfig => StatusCode::BAD_REQUEST,
            ErrorCode::NotPermitted => StatusCode::FORBIDDEN,
            ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::StartFailed | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refused { status, error, allow: None }
    }
}

/// The closed set of what can be asked.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, Refused> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (right_method, route) = match segments[..] {
        ["healthz"] => (Method::GET, Route::Ask(Request::Health)),
        ["v1", "tree"] => (Method::GET, Route::Ask(Request::Tree)),
        ["v1", "ps"] => (Method::GET, Route::Ps),
        ["v1", "events"] => (Method::GET, Route::Ask(Request::Events { since: None })),
        ["v1", "about"] => (Method::GET, Route::Ask(Request::About)),
        ["v1", "upgrade"] => (Method::POST, Route::Upgrade),
        ["v1", "history"] => (Method::GET, Route::History),
        ["v1", "logs", name] => (Method::GET, Route::Logs(decode(name)?)),
        ["v1", "down"] => (Method::POST, Route::Ask(Request::Down)),
        ["v1", "plan"] => (Method::GET, Route::Ask(Request::Plan)),
        ["v1", "reload"] => (Method::POST, Route::Reload),
        ["v1", "scale"] => (Method::POST, Route::Scale),
        ["v1", "counts"] => (Method::GET, Route::Ask(Request::Counts(None))),
        ["v1", "counts", name] => (Method::GET, Route::Ask(Request::Counts(Some(decode(name)?)))),
        ["v1", "children"] => (Method::POST, Route::Add),
        ["v1", "children", name] if *method == Method::DELETE => {
            (Method::DELETE, Route::Ask(Request::Remove(decode(name)?)))
        }
        ["v1", "children", name] => (Method::GET, Route::Ask(Request::Child(decode(name)?))),
        ["v1", "children", name, "why"] => (Method::GET, Route::Ask(Request::Why(decode(name)?))),
        ["v1", "children", name, verb] => {
            (Method::POST, about_child(decode(name)?, verb).ok_or_else(unknown)?)
        }
        _ => return Err(unknown()),
    };
    if *method == right_method {
        return Ok(route);
    }
    let error = ApiError::new(ErrorCode::BadRequest, format!("{path} takes {right_method}, not {method}"));
    Err(Refused { status: StatusCode::METHOD_NOT_ALLOWED, error, allow: Some(right_method) })
}

fn about_child(name: String, verb: &str) -> Option<Route> {
    match verb {
        "start" => Some(Route::Ask(Request::Start(name))),
        "stop" => Some(Route::Ask(Request::Stop(name))),
        "restart" => Some(Route::Ask(Request::Restart(name))),
        "signal" => Some(Route::Signal(name)),
        _ => None,
    }
}

fn unknown() -> Refused {
    ApiError::new(
        ErrorCode::NotFound,
        "nothing is at this path; there are GET /v1/tree, /v1/ps, /v1/events, /v1/history, /v1/logs/NAME, \
         /v1/plan, /v1/counts, /v1/counts/NAME, /v1/about, /v1/children/NAME, /v1/children/NAME/why, /healthz, \
         POST /v1/children, /v1/children/NAME/{start,stop,restart,signal}, /v1/scale, /v1/reload, /v1/upgrade, \
         /v1/down and DELETE /v1/children/NAME",
    )
    .into()
}

/// Undoes percent encoding (RFC 3986 section 2.1): `client%401` is `client@1`.
pub(super) fn decode(segment: &str) -> Result<String, ApiError> {
    let bad = || ApiError::new(ErrorCode::BadRequest, "the address is not properly percent-encoded");
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next()).ok_or_else(bad)?, digit(rest.next()).ok_or_else(bad)?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// Percent-encodes a name as one segment of a path.
pub(super) fn encode(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Result<Route, StatusCode> {
        route(&Method::GET, path).map_err(|refused| refused.status)
    }

    #[test]
    fn every_path_has_its_request() {
        let ask = |request| Ok(Route::Ask(request));
        assert_eq!(get("/v1/tree"), ask(Request::Tree));
        assert_eq!(get("/v1/ps"), Ok(Route::Ps));
        assert_eq!(get("/v1/plan"), ask(Request::Plan));
        assert_eq!(get("/v1/counts"), ask(Request::Counts(None)));
        assert_eq!(get("/v1/counts/clients"), ask(Request::Counts(Some("clients".into()))));
        assert_eq!(get("/v1/children/client%401/why"), ask(Request::Why("client@1".into())));
        let other = |method, path| route(method, path).map_err(|refused| refused.status);
        assert_eq!(other(&Method::POST, "/v1/children"), Ok(Route::Add));
        assert_eq!(other(&Method::POST, "/v1/scale"), Ok(Route::Scale));
        assert_eq!(other(&Method::POST, "/v1/reload"), Ok(Route::Reload));
        assert_eq!(other(&Method::DELETE, "/v1/children/client@1"), ask(Request::Remove("client@1".into())));
        assert_eq!(other(&Method::DELETE, "/v1/children/a/why"), Err(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(get("/v1/logs/client%401"), Ok(Route::Logs("client@1".into())));
        assert_eq!(get("/v1/history"), Ok(Route::History));
        assert_eq!(get("/v1/children/client%401"), ask(Request::Child("client@1".into())));
        let post = |path| route(&Method::POST, path).unwrap();
        assert_eq!(post("/v1/children/a/stop"), Route::Ask(Request::Stop("a".into())));
        assert_eq!(post("/v1/children/a/signal"), Route::Signal("a".into()));
        assert_eq!(get("/v1/about"), ask(Request::About));
        assert_eq!(post("/v1/upgrade"), Route::Upgrade);
        assert_eq!(post("/v1/down"), Route::Ask(Request::Down));
    }

    #[test]
    fn everything_else_is_refused_with_the_fitting_status() {
        for path in [
            "",
            "/",
            "*",
            "/v1",
            "/v2/ps",
            "/v1/ps/",
            "//v1/ps",
            "/v1/children/a/eat",
            "/v1/children/a/stop/x",
        ] {
            assert_eq!(get(path), Err(StatusCode::NOT_FOUND), "{path}");
        }
        for path in ["/v1/children/%4", "/v1/children/%zz", "/v1/children/%ff", "/v1/children/%+1"] {
            assert_eq!(get(path), Err(StatusCode::BAD_REQUEST), "{path}");
        }
        let refused = route(&Method::DELETE, "/v1/ps").unwrap_err();
        assert_eq!((refused.status, refused.allow), (StatusCode::METHOD_NOT_ALLOWED, Some(Method::GET)));
        assert_eq!(refused.error.message, "/v1/ps takes GET, not DELETE");
    }

    #[test]
    fn names_survive_encoding() {
        for name in ["client@1", "a b/c%", "größe", "?#"] {
            assert_eq!(decode(&encode(name)), Ok(name.to_owned()));
        }
    }
}
