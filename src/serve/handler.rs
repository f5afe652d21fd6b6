//! What is answered over HTTP, and who is let onto a channel. No sockets: a host may mount this in its own server.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::{Method, Request, Response};

use super::answers::{bad_request, broken, expected_upgrade, good, not_found, too_large};
use super::body::Body;
#[cfg(feature = "client")]
use super::channel::ChannelSession;
use super::routes::{self, Route, route};
use super::upgrade::{self, Upgrade};
use super::{calls, data, forwarded};
use crate::access::{Access, Caller};
use crate::domain::connection::AddressRange;
use crate::error::Result;
use crate::site::Site;
use crate::wire::api::{Call, Fields};
use crate::wire::excerpt;

/// Answers the HTTP requests of peers for one site. A clone is the same handler.
///
/// It serves `/sync/...` and `/db-sync/...`, at the root, under `/phoenix_kit` and under [`Handler::with_prefix`]. Make one and
/// clone it: each counts wrong codes and passwords, and remembers pulls that resume with a later call, for itself.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # let folder = tempfile::tempdir().unwrap();
/// let site = rowferry::Site::open(folder.path().join("shop.db")).unwrap();
/// let request = http::Request::get("/sync/api/status").body(Vec::new()).unwrap();
/// let answer = site.handler().handle(&request, None);
/// assert_eq!(answer.status(), 200);
/// assert!(answer.into_body().into_bytes().unwrap().starts_with(b"{"));
/// # }
/// ```
#[derive(Clone)]
pub struct Handler {
    access: Access,
    prefix: Arc<str>,
    proxies: Arc<[AddressRange]>,
}

impl Site {
    /// What answers peers over HTTP. Make one and clone it: each new one counts wrong codes and passwords from nothing.
    pub fn handler(&self) -> Handler {
        Handler { access: Access::new(self), prefix: Arc::from(""), proxies: Arc::from([]) }
    }
}

impl Handler {
    /// Answers under this path too, such as `/shop`. Defaults to none.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for what is no path.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self> {
        self.prefix = Arc::from(routes::prefix(prefix)?);
        Ok(self)
    }

    /// Believes the header `X-Forwarded-For` of peers at these addresses, and of no others: it is read from the right, past
    /// further trusted proxies. Addresses that connections allow, and those that wrong codes and passwords are counted for,
    /// are then the ones behind the proxies. Defaults to none, so that the header says nothing.
    #[must_use]
    pub fn trust_proxies(mut self, ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        self.proxies = ranges.into_iter().collect();
        self
    }

    /// The site that is answered for.
    pub fn site(&self) -> &Site {
        self.access.site()
    }

    /// Answers a request. A request for a WebSocket is for [`Handler::upgrade`]; here it is refused.
    ///
    /// `peer` is the peer's address: of the connection, before anything that headers say. A connection that allows only some
    /// addresses refuses a peer without one.
    ///
    /// The answer's [`Body`] may be read from the store while it is sent.
    pub fn handle(&self, request: &Request<Vec<u8>>, peer: Option<IpAddr>) -> Response<Body> {
        let answer = match (route(request.uri().path(), &self.prefix), request.method()) {
            (Some(Route::Api(Call::Status)), &Method::GET | &Method::HEAD) => self.status(),
            (Some(Route::Api(call)), &Method::POST) if call != Call::Status => {
                self.call(call, request.body(), &self.caller(request, peer))
            }
            (Some(Route::WebSocket), &Method::GET) => expected_upgrade(),
            _ => not_found(),
        };
        if request.method() == Method::HEAD { answer.map(|_| Body::empty()) } else { answer }
    }

    /// Whether a request is for a WebSocket, and so for [`Handler::upgrade`].
    pub fn is_upgrade<T>(&self, request: &Request<T>) -> bool {
        request.method() == Method::GET && route(request.uri().path(), &self.prefix) == Some(Route::WebSocket)
    }

    /// Lets a peer onto a channel, by a connection's token, a session's code or the ticket that came of one, or gives the answer that
    /// refuses it.
    ///
    /// A code is used up only if everything else is as it should be. Wrong codes and passwords are counted for each `peer`, as
    /// in [`Handler::handle`] (a peer without an address counts together with all others of the kind): after
    /// [`Limits::code_attempts_per_minute`](crate::Limits::code_attempts_per_minute) or
    /// [`Limits::password_attempts_per_minute`](crate::Limits::password_attempts_per_minute) of them the answer is 429 for the
    /// rest of the minute, whatever is given.
    ///
    /// # Errors
    /// The answer to send instead: 403 with `Module disabled`, `Missing authentication`, `Invalid code`, `Code already used`,
    /// `Invalid token`, `Connection not active`, `Connection expired`, `Download limit reached`, `Record limit reached`,
    /// `IP not allowed`, `Outside allowed hours` or `Invalid password`; 400 with `Expected WebSocket upgrade`; 404; 429; 500
    /// and 503.
    #[expect(clippy::result_large_err, reason = "the error is an answer to send, made once for each connection")]
    pub fn upgrade<T>(&self, request: &Request<T>, peer: Option<IpAddr>) -> Result<Upgrade, Response<Body>> {
        if !self.is_upgrade(request) {
            return Err(not_found());
        }
        upgrade::upgrade(&self.access, request, &self.caller(request, peer))
    }

    /// [`Handler::upgrade`] of a peer in this process, which has no address, by the query of its request.
    #[cfg(feature = "client")]
    #[expect(clippy::result_large_err, reason = "as in `Handler::upgrade`")]
    pub(crate) fn let_in(&self, query: &str, user_agent: &str) -> Result<ChannelSession, Response<Body>> {
        upgrade::let_in(&self.access, Some(query), &Caller { address: None, user_agent: Some(user_agent.to_owned()) })
    }

    fn status(&self) -> Response<Body> {
        match self.site().settings().status() {
            Ok(status) => good(&status),
            Err(error) => broken(&error),
        }
    }

    fn call(&self, call: Call, body: &[u8], caller: &Caller) -> Response<Body> {
        if body.len() > self.site().limits().body_bytes {
            return too_large();
        }
        let fields = match Fields::read(body) {
            Ok(fields) => fields,
            Err(bad) => return bad_request(&bad),
        };
        let access = &self.access;
        access.paused().end_late(self.site());
        // Whether the site takes part at all comes before what is asked; a registration has its own words for it.
        if call != Call::Register
            && let Err(refused) = access.enabled()
        {
            return super::answers::not_allowed(&refused, "Fetch failed");
        }
        match call {
            Call::Status => not_found(),
            Call::Register => calls::register(access, &fields, caller),
            Call::Delete => calls::delete(access, &fields, caller),
            Call::Verify => calls::verify(access, &fields, caller),
            Call::UpdateStatus => calls::update_status(access, &fields, caller),
            Call::QueryStatus => calls::query_status(access, &fields, caller),
            Call::RotateToken => calls::rotate_token(access, &fields, caller),
            Call::ListTables => data::list_tables(access, &fields, caller),
            Call::PullData => data::pull_data(access, &fields, caller),
            Call::DescribeTable => data::table_schema(access, &fields, caller),
            Call::TableRecords => data::table_records(access, &fields, caller),
        }
    }

    fn caller<T>(&self, request: &Request<T>, peer: Option<IpAddr>) -> Caller {
        let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        Caller {
            address: forwarded::origin(peer, request.headers(), &self.proxies),
            user_agent: agent.map(excerpt).filter(|agent| !agent.is_empty()),
        }
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("site", self.site()).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::domain::session::Direction;

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
        (answer.status().as_u16(), String::from_utf8(answer.into_body().into_bytes().unwrap()).unwrap())
    }

    fn refused(handler: &Handler, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let answer = handler.upgrade(&request("GET", path, headers), None).unwrap_err();
        (answer.status().as_u16(), String::from_utf8(answer.into_body().into_bytes().unwrap()).unwrap())
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
        assert_eq!((head.headers()["content-length"].as_bytes(), head.body().known_length()), (&b"78"[..], Some(0)));
        assert_eq!(head.headers()["content-type"], "application/json; charset=utf-8");
    }

    #[test]
    fn everything_else_is_not_found() {
        let (_folder, site) = site();
        let handler = site.handler();
        let body = r#"{"errors":{"detail":"Not Found"}}"#.to_owned();
        for (method, path) in [
            ("POST", "/sync/api/status"),
            ("POST", "/sync/api/nope"),
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
        assert!(site.handler().with_prefix("shop").is_err());
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
