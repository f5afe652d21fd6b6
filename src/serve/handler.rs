//! What is answered over HTTP, and who is let onto a channel. No sockets: a host may mount this in its own server.

// A refusal is an answer to send, of the type that all answers have; it is made once for each connection.
#![expect(clippy::result_large_err)]

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use tungstenite::handshake::derive_accept_key;

use super::channel::ChannelSession;
use super::head::has_token;
use super::query::parameter;
use super::rate::Attempts;
use crate::domain::session::Direction;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Code;
use crate::site::Site;

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The prefix under which the reference's installations are by default: it calls other sites under its own prefix.
const REFERENCE_PREFIX: &str = "/phoenix_kit";

/// Answers the HTTP requests of peers for one site. A clone is the same handler.
///
/// It serves `/sync/...` and `/db-sync/...`, at the root, under `/phoenix_kit` and under [`Handler::with_prefix`]. Make one and
/// clone it: each counts the wrong codes of each address for itself.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # let folder = tempfile::tempdir().unwrap();
/// let site = rowferry::Site::open(folder.path().join("shop.db")).unwrap();
/// let request = http::Request::get("/sync/api/status").body(Vec::new()).unwrap();
/// let answer = site.handler().handle(&request, None);
/// assert_eq!(answer.status(), 200);
/// # }
/// ```
#[derive(Clone)]
pub struct Handler {
    shared: Arc<Shared>,
    prefix: Arc<str>,
}

struct Shared {
    site: Site,
    attempts: Mutex<Attempts>,
    began: Instant,
}

/// A peer that is let onto a channel.
#[derive(Debug)]
pub struct Upgrade {
    /// The answer that turns the connection into a WebSocket: 101, with nothing to follow but WebSocket frames.
    pub response: Response<()>,
    /// The peer's channel.
    pub session: ChannelSession,
}

/// The calls that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Status,
    WebSocket,
}

impl Site {
    /// What answers peers over HTTP. Make one and clone it: each made anew counts the wrong codes of an address from nothing.
    pub fn handler(&self) -> Handler {
        let limits = self.limits();
        let attempts = Attempts::new(limits.code_attempts_per_minute, limits.remembered_addresses);
        let shared = Shared { site: self.clone(), attempts: Mutex::new(attempts), began: Instant::now() };
        Handler { shared: Arc::new(shared), prefix: Arc::from("") }
    }
}

impl Handler {
    /// Answers under this path too, such as `/shop`. Defaults to none.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what is no path.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self> {
        let trimmed = prefix.trim_end_matches('/');
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '%');
        if !(trimmed.is_empty() || trimmed.starts_with('/')) || !trimmed.chars().all(plain) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{prefix:?} cannot be a prefix"))
                .with_hint("Write it like /shop: a path without a query and without percent signs."));
        }
        self.prefix = Arc::from(trimmed);
        Ok(self)
    }

    /// The site that is answered for.
    pub fn site(&self) -> &Site {
        &self.shared.site
    }

    /// Answers a request. A request for a WebSocket is for [`Handler::upgrade`]; here it is refused.
    ///
    /// `peer` is the peer's address, as far as the host trusts it. No call that is answered here depends on it yet: it is
    /// there for the calls that will.
    pub fn handle(&self, request: &Request<Vec<u8>>, _peer: Option<IpAddr>) -> Response<Vec<u8>> {
        let answer = match (self.call(request.uri().path()), request.method()) {
            (Some(Call::Status), &Method::GET | &Method::HEAD) => self.status(),
            (Some(Call::WebSocket), &Method::GET) => expected_upgrade(),
            _ => not_found(),
        };
        if request.method() == Method::HEAD { answer.map(|_| Vec::new()) } else { answer }
    }

    /// Whether a request is for a WebSocket, and so for [`Handler::upgrade`].
    pub fn is_upgrade<T>(&self, request: &Request<T>) -> bool {
        request.method() == Method::GET && self.call(request.uri().path()) == Some(Call::WebSocket)
    }

    /// Lets a peer onto a channel, or gives the answer that refuses it.
    ///
    /// Its code is used up only if everything else is as it should be. Wrong codes are counted for each `peer`, as the host
    /// knows and trusts it (a peer without an address counts together with all others of the kind): after
    /// [`Limits::code_attempts_per_minute`](crate::Limits::code_attempts_per_minute) of them the answer is 429 for the rest of
    /// the minute, whatever the code.
    ///
    /// # Errors
    /// The answer to send instead: 403 with `Module disabled`, `Missing authentication`, `Invalid code`, `Code already used` or
    /// `Invalid token`; 400 with `Expected WebSocket upgrade`; 404; 429; 500 and 503.
    pub fn upgrade<T>(&self, request: &Request<T>, peer: Option<IpAddr>) -> Result<Upgrade, Response<Vec<u8>>> {
        if !self.is_upgrade(request) {
            return Err(not_found());
        }
        let site = &self.shared.site;
        if !site.settings().enabled().map_err(|error| broken(&error))? {
            return Err(forbidden("Module disabled"));
        }
        let spoken = request.version() == Version::HTTP_11;
        let accept = accept_key(request.headers()).filter(|_| spoken).ok_or_else(expected_upgrade)?;
        let query = request.uri().query();
        // A token wins over a code. Nobody has a token yet, so none is right.
        if parameter(query, "token").is_some() {
            return Err(forbidden("Invalid token"));
        }
        let given = parameter(query, "code").ok_or_else(|| forbidden("Missing authentication"))?;
        let code = self.spend(&given, peer)?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        Ok(Upgrade { response, session: ChannelSession::new(site, code) })
    }

    /// Uses a code up, if it is right.
    fn spend(&self, given: &str, peer: Option<IpAddr>) -> Result<Code, Response<Vec<u8>>> {
        let attempts = || self.shared.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts().take(peer, self.shared.began.elapsed()).map_err(too_many)?;
        let spent = self.try_spend(given, peer);
        if !matches!(&spent, Err(error) if error.kind() == ErrorKind::InvalidCode) {
            attempts().give_back(peer);
        }
        spent.map_err(|error| match error.kind() {
            ErrorKind::InvalidCode => forbidden("Invalid code"),
            ErrorKind::CodeUsed => forbidden("Code already used"),
            _ => broken(&error),
        })
    }

    fn try_spend(&self, given: &str, peer: Option<IpAddr>) -> Result<Code> {
        let invalid = || Error::new(ErrorKind::InvalidCode, "there is no session to send with this code");
        let code = Code::parse(given).ok_or_else(invalid)?;
        let sessions = self.shared.site.sessions();
        // A session to receive is for this site to pull; nobody pulls from here with it.
        if sessions.validate(code.as_str())?.direction != Direction::Send {
            return Err(invalid());
        }
        let by = peer.map(|address| address.to_string());
        let session = sessions.use_code(code.as_str(), by.as_deref())?;
        log::info!("session {} is used by {}", session.uuid, by.as_deref().unwrap_or("an unknown address"));
        Ok(code)
    }

    fn status(&self) -> Response<Vec<u8>> {
        let status = match self.shared.site.settings().status() {
            Ok(status) => status,
            Err(error) => return broken(&error),
        };
        let body = serde_json::json!({
            "enabled": status.enabled,
            "incoming_mode": status.incoming_mode,
            "password_required": status.password_required,
        });
        answer(StatusCode::OK, JSON, body.to_string())
    }

    /// What a path asks for. A slash at the end makes no difference.
    fn call(&self, path: &str) -> Option<Call> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let prefixes = [&*self.prefix, "", REFERENCE_PREFIX];
        prefixes.iter().filter_map(|prefix| path.strip_prefix(prefix)).find_map(|path| match path {
            "/sync/api/status" | "/db-sync/api/status" => Some(Call::Status),
            "/sync/websocket" | "/db-sync/websocket" => Some(Call::WebSocket),
            _ => None,
        })
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("site", &self.shared.site).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The accept key for a request that asks for a WebSocket as RFC 6455 says; `None` for any other.
fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let single = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let wants = has_token(headers, &UPGRADE, "websocket") && has_token(headers, &CONNECTION, "upgrade");
    let version = single(&SEC_WEBSOCKET_VERSION)?.as_bytes() == b"13";
    let key = single(&SEC_WEBSOCKET_KEY)?.as_bytes();
    // Sixteen bytes in base64.
    let right =
        key.len() == 24 && key.ends_with(b"==") && base64::Engine::decode(&base64::prelude::BASE64_STANDARD, key).is_ok();
    if wants && version && right { HeaderValue::try_from(derive_accept_key(key)).ok() } else { None }
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Vec<u8>>) -> Response<Vec<u8>> {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Said here and not by whoever sends it: the answer to HEAD has the length of a body that it does not have.
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=0, private, must-revalidate"));
    response
}

/// An answer as the reference gives it where no call of its own answers.
fn plain_error(status: StatusCode) -> Response<Vec<u8>> {
    let detail = status.canonical_reason().unwrap_or("Error");
    answer(status, JSON, serde_json::json!({ "errors": { "detail": detail } }).to_string())
}

fn not_found() -> Response<Vec<u8>> {
    plain_error(StatusCode::NOT_FOUND)
}

fn forbidden(why: &'static str) -> Response<Vec<u8>> {
    answer(StatusCode::FORBIDDEN, TEXT, why)
}

fn expected_upgrade() -> Response<Vec<u8>> {
    let mut response = answer(StatusCode::BAD_REQUEST, TEXT, "Expected WebSocket upgrade");
    response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

fn too_many(wait: Duration) -> Response<Vec<u8>> {
    let mut response = answer(StatusCode::TOO_MANY_REQUESTS, TEXT, "Too many attempts");
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The peer learns that it failed; the log learns why.
fn broken(error: &Error) -> Response<Vec<u8>> {
    log::error!("a request failed: {error}");
    plain_error(if error.is_retryable() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR })
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;

    /// What a WebSocket request says beside its path.
    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn site() -> (tempfile::TempDir, Site) {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::open(folder.path().join("a.db")).unwrap();
        (folder, site)
    }

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Vec<u8>> {
        let request = Request::builder().method(method).uri(path);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(Vec::new()).unwrap()
    }

    fn get(handler: &Handler, method: &str, path: &str) -> (u16, String) {
        let answer = handler.handle(&request(method, path, &[]), None);
        (answer.status().as_u16(), String::from_utf8(answer.into_body()).unwrap())
    }

    fn refused(handler: &Handler, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let answer = handler.upgrade(&request("GET", path, headers), None).unwrap_err();
        (answer.status().as_u16(), String::from_utf8(answer.into_body()).unwrap())
    }

    #[test]
    fn status_is_told_everywhere_even_when_disabled() {
        let (_folder, site) = site();
        let handler = site.handler().with_prefix("/shop/").unwrap();
        let body = r#"{"enabled":true,"incoming_mode":"require_approval","password_required":false}"#;
        for prefix in ["", "/phoenix_kit", "/shop"] {
            for rest in ["/sync/api/status", "/db-sync/api/status", "/sync/api/status/", "/sync/api/status?x=1"] {
                assert_eq!(get(&handler, "GET", &format!("{prefix}{rest}")), (200, body.to_owned()));
            }
        }
        site.settings().set_enabled(false).unwrap();
        assert_eq!(get(&handler, "GET", "/sync/api/status"), (200, body.replacen("true", "false", 1)));
        let head = handler.handle(&request("HEAD", "/sync/api/status", &[]), None);
        assert_eq!((head.headers()["content-length"].as_bytes(), head.body().len()), (&b"78"[..], 0));
        assert_eq!(head.headers()["content-type"], JSON);
    }

    #[test]
    fn everything_else_is_not_found() {
        let (_folder, site) = site();
        let handler = site.handler();
        let body = r#"{"errors":{"detail":"Not Found"}}"#.to_owned();
        for (method, path) in [
            ("POST", "/sync/api/status"),
            ("POST", "/sync/api/list-tables"),
            ("GET", "/sync/api/list-tables"),
            ("GET", "/"),
            ("GET", "/sync/api"),
            ("GET", "/shop/sync/api/status"),
            ("GET", "/sync/api/status//"),
            ("GET", "/phoenix_kit/phoenix_kit/sync/api/status"),
            ("POST", "/sync/websocket"),
        ] {
            assert_eq!(get(&handler, method, path), (404, body.clone()), "{method} {path}");
        }
        assert_eq!(get(&handler, "GET", "/sync/websocket").0, 400);
        for wrong in ["shop", "/a b", "/a?b", "/%2f", "/ä"] {
            assert!(site.handler().with_prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_code_lets_one_peer_in() {
        let (_folder, site) = site();
        let session = site.sessions().create(Direction::Send).unwrap();
        let handler = site.handler();
        let path = format!("/phoenix_kit/sync/websocket?code={}&vsn=2.0.0", session.code());
        let peer = Some("192.0.2.7".parse().unwrap());
        let upgrade = handler.upgrade(&request("GET", &path, &GOOD), peer).unwrap();
        assert_eq!(upgrade.response.status(), 101);
        // The example of RFC 6455.
        assert_eq!(upgrade.response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(site.sessions().get(session.uuid()).unwrap().used_by.as_deref(), Some("192.0.2.7"));
        assert_eq!(refused(&handler, &path, &GOOD), (403, "Code already used".into()));
        assert!(!format!("{upgrade:?}{handler:?}").contains(session.code()));
    }

    #[test]
    fn refusals_are_the_references_and_use_no_code_up() {
        let (_folder, site) = site();
        let session = site.sessions().create(Direction::Send).unwrap();
        let handler = site.handler();
        let good = format!("/sync/websocket?code={}", session.code());
        for missing in 0..GOOD.len() {
            let mut headers = GOOD.to_vec();
            headers.remove(missing);
            assert_eq!(refused(&handler, &good, &headers), (400, "Expected WebSocket upgrade".into()), "{missing}");
        }
        for (name, value) in [
            ("upgrade", "h2c"),
            ("connection", "close"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "short"),
            ("sec-websocket-key", "!!!!!!!!!!!!!!!!!!!!!!=="),
        ] {
            let headers: Vec<_> = GOOD.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect();
            assert_eq!(refused(&handler, &good, &headers).0, 400, "{name}: {value}");
        }
        for (path, why) in [
            ("/sync/websocket", "Missing authentication"),
            ("/sync/websocket?vsn=2.0.0", "Missing authentication"),
            ("/sync/websocket?code=", "Invalid code"),
            ("/sync/websocket?code=ZZZZZZZZ", "Invalid code"),
            ("/sync/websocket?token=abc", "Invalid token"),
            (&format!("{good}&token=abc"), "Invalid token"),
            (&good.to_lowercase(), "Invalid code"),
        ] {
            assert_eq!(refused(&handler, path, &GOOD), (403, why.into()), "{path}");
        }
        let receiving = site.sessions().create(Direction::Receive).unwrap();
        let path = format!("/sync/websocket?code={}", receiving.code());
        assert_eq!(refused(&handler, &path, &GOOD), (403, "Invalid code".into()));
        site.settings().set_enabled(false).unwrap();
        assert_eq!(refused(&handler, &good, &GOOD), (403, "Module disabled".into()));
        site.settings().set_enabled(true).unwrap();
        assert!(handler.upgrade(&request("GET", &good, &GOOD), None).is_ok(), "never used up");
    }

    #[test]
    fn guessing_is_slowed() {
        let (_folder, site) = site();
        let session = site.sessions().create(Direction::Send).unwrap();
        let handler = site.handler();
        for _ in 0..site.limits().code_attempts_per_minute {
            assert_eq!(refused(&handler, "/sync/websocket?code=ZZZZZZZZ", &GOOD).0, 403);
        }
        let path = format!("/sync/websocket?code={}", session.code());
        let answer = handler.clone().upgrade(&request("GET", &path, &GOOD), None).unwrap_err();
        assert_eq!(answer.status(), 429);
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait));
        let other = Some("192.0.2.8".parse().unwrap());
        assert!(handler.upgrade(&request("GET", &path, &GOOD), other).is_ok());
    }
}
