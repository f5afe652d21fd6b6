//! What is answered over HTTP, and who is let onto a channel. No sockets: a host may mount this in its own server.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::USER_AGENT;
use http::{Method, Request, Response};

use super::answers::{bad_request, broken, expected_upgrade, for_nobody_else, good, not_allowed, not_found, too_large};
use super::body::Body;
#[cfg(feature = "client")]
use super::channel::ChannelSession;
use super::gate::{self, Announced};
use super::routes::{self, Route, route};
use super::upgrade::{self, Upgrade};
use super::{calls, data, forwarded};
use crate::access::{Access, Caller};
use crate::domain::connection::AddressRange;
use crate::error::Result;
use crate::site::Site;
use crate::wire::api::{self, Call, Fields};
use crate::wire::excerpt;

/// Answers the HTTP requests of peers for one site. A clone is the same handler.
///
/// It serves `/sync/...` and `/db-sync/...`, at the root, under `/phoenix_kit` and under [`Handler::with_prefix`]. Make one and
/// clone it: each remembers pulls that resume with a later call for itself, and knows of the wrong codes and passwords that others
/// were given only what they have told.
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
    /// Whether the log has it that a proxy is not trusted.
    said: Arc<AtomicBool>,
}

impl Site {
    /// What answers peers over HTTP. Make one and clone it: see [`Handler`].
    pub fn handler(&self) -> Handler {
        Handler { access: Access::new(self), prefix: Arc::from(""), proxies: Arc::from([]), said: Arc::default() }
    }
}

impl Handler {
    /// Answers under this path too, such as `/shop`. Defaults to none.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for what is not a path.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self> {
        self.prefix = Arc::from(routes::prefix(prefix)?);
        Ok(self)
    }

    /// Trusts the header `X-Forwarded-For` of peers at these addresses, and of no others: it is read from the right, past
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
    /// What a browser asks for a web page (with `Origin`, or with `Sec-Fetch-Site` of another site) is refused with 403 and the code
    /// `cross_site`, also by [`Handler::upgrade`]. A body must say by its content type that it is JSON, or the answer is 415, and may
    /// have 64 KiB, or 413; that of `table-records` may have [`ServerLimits::body_bytes`](crate::ServerLimits::body_bytes). No answer may be
    /// kept by anything on its way (`no-store`), or taken for another type than it says (`nosniff`).
    ///
    /// The answer's [`Body`] may be read from the store while it is sent.
    pub fn handle(&self, request: &Request<Vec<u8>>, peer: Option<IpAddr>) -> Response<Body> {
        let announced = match request.body().len() {
            0 => Announced::Nothing,
            bytes => Announced::Bytes(bytes),
        };
        let answer = self.most_body(request, announced).map_or_else(|refused| refused, |_| self.answer(request, peer));
        if request.method() == Method::HEAD { answer.map(|_| Body::empty()) } else { answer }
    }

    /// How many bytes the body of a request may have, by its head.
    ///
    /// # Errors
    /// The answer that refuses it.
    #[expect(clippy::result_large_err, reason = "as in `Handler::upgrade`")]
    pub(super) fn most_body<T>(&self, request: &Request<T>, announced: Announced) -> Result<usize, Response<Body>> {
        gate::most_body(request, announced, &self.prefix, self.site().limits())
    }

    fn answer(&self, request: &Request<Vec<u8>>, peer: Option<IpAddr>) -> Response<Body> {
        match (route(request.uri().path(), &self.prefix), request.method()) {
            (Some(Route::Api(Call::Status)), &Method::GET | &Method::HEAD) => self.status(),
            (Some(Route::Api(call)), &Method::POST) if call != Call::Status => {
                self.call(call, request.body(), &self.caller(request, peer))
            }
            (Some(Route::WebSocket), &Method::GET) => expected_upgrade(),
            _ => not_found(),
        }
    }

    /// Whether the peer whose body begins so may send more than [`SMALL_BODY_BYTES`](gate::SMALL_BODY_BYTES): it begins with the
    /// hash of a connection's token, as those of PhoenixKit and of rowferry do.
    ///
    /// # Errors
    /// The answer that refuses it.
    #[expect(clippy::result_large_err, reason = "as in `Handler::upgrade`")]
    pub(super) fn may_be_large<T>(
        &self,
        request: &Request<T>,
        peer: Option<IpAddr>,
        beginning: &[u8],
    ) -> Result<(), Response<Body>> {
        let hash = api::leading_hash(beginning).ok_or_else(too_large)?;
        self.access.is_known(hash, &self.caller(request, peer)).map_err(|refused| not_allowed(&refused, "Fetch failed"))
    }

    /// Whether a request is for a WebSocket, and so for [`Handler::upgrade`].
    pub fn is_upgrade<T>(&self, request: &Request<T>) -> bool {
        request.method() == Method::GET && route(request.uri().path(), &self.prefix) == Some(Route::WebSocket)
    }

    /// Opens a channel for a peer, by a connection's token, a session's code or the ticket of one, or gives the answer that
    /// refuses it. Send [`Upgrade::response`], and give the stream to [`ChannelSession::serve`](crate::ChannelSession::serve).
    ///
    /// What lets it in stands in the header `x-rowferry-auth`, in the form of a query, or in the query of the URL. A server on the way that
    /// writes requests into its log writes the latter: rowferry's own client gives it to no site that looks at the header.
    ///
    /// A code is used up only if everything else is as it should be. Wrong codes are counted for each `peer`, as in
    /// [`Handler::handle`] (a peer without an address counts together with all others of the kind), and wrong passwords for each
    /// connection: after
    /// [`ServerLimits::code_attempts_per_minute`](crate::ServerLimits::code_attempts_per_minute) or
    /// [`ServerLimits::password_attempts_per_minute`](crate::ServerLimits::password_attempts_per_minute) of them the answer is 429 for the
    /// rest of the minute, whatever is given.
    ///
    /// # Errors
    /// The answer to send instead: 403 with `Module disabled`, `Missing authentication`, `Invalid code`, `Code already used`,
    /// `Invalid token`, `Connection not active`, `Connection expired`, `Download limit reached`, `Record limit reached`,
    /// `IP not allowed`, `Outside allowed hours` or `Invalid password`, or for a web page, as in [`Handler::handle`]; 400 with `Expected WebSocket upgrade`; 404; 429; 500
    /// and 503.
    #[expect(clippy::result_large_err, reason = "the error is an answer to send, made once for each connection")]
    pub fn upgrade<T>(&self, request: &Request<T>, peer: Option<IpAddr>) -> Result<Upgrade, Response<Body>> {
        if !self.is_upgrade(request) {
            return Err(not_found());
        }
        self.most_body(request, Announced::Nothing)?;
        let mut upgrade = upgrade::upgrade(&self.access, request, &self.caller(request, peer))?;
        for_nobody_else(upgrade.response.headers_mut());
        Ok(upgrade)
    }

    /// [`Handler::upgrade`] of a peer in this process, which has no address, by what it gives to be let in.
    #[cfg(feature = "client")]
    #[expect(clippy::result_large_err, reason = "as in `Handler::upgrade`")]
    pub(crate) fn let_in(&self, given: &str, user_agent: &str) -> Result<ChannelSession, Response<Body>> {
        let caller = Caller { address: None, user_agent: Some(user_agent.to_owned()) };
        upgrade::let_in(&self.access, &upgrade::Given::by_rowferry(given), &caller)
    }

    fn status(&self) -> Response<Body> {
        match self.site().settings().status() {
            Ok(status) => good(&status),
            Err(error) => broken(&error),
        }
    }

    fn call(&self, call: Call, body: &[u8], caller: &Caller) -> Response<Body> {
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
            return not_allowed(&refused, "Fetch failed");
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

    /// Whether a peer is a proxy that is believed.
    pub(super) fn is_proxy(&self, peer: IpAddr) -> bool {
        forwarded::is_trusted(peer, &self.proxies)
    }

    /// Where a request comes from.
    pub(super) fn origin<T>(&self, request: &Request<T>, peer: Option<IpAddr>) -> Option<IpAddr> {
        if let Some(peer) = peer.filter(|peer| self.is_news(*peer, request)) {
            log::warn!(
                target: "rowferry::serve",
                "requests come from {peer} with X-Forwarded-For, which is not believed: all peers behind it count as one address, \
                 whose connections, guesses and registrations are bounded together; if it is a proxy, trust it: `ServerBuilder::trust_proxies`"
            );
        }
        forwarded::origin(peer, request.headers(), &self.proxies)
    }

    /// Whether a request comes through a proxy that is not trusted, and the log does not have it yet.
    fn is_news<T>(&self, peer: IpAddr, request: &Request<T>) -> bool {
        forwarded::is_unbelieved(peer, request.headers(), &self.proxies) && !self.said.swap(true, Ordering::Relaxed)
    }

    fn caller<T>(&self, request: &Request<T>, peer: Option<IpAddr>) -> Caller {
        let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        Caller { address: self.origin(request, peer), user_agent: agent.map(excerpt).filter(|agent| !agent.is_empty()) }
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

    #[test]
    fn a_proxy_that_is_not_trusted_is_said_once() {
        let (_folder, site) = site();
        let (forwarded, plain) = (&[("x-forwarded-for", "192.0.2.1")][..], &[][..]);
        for (peer, headers, is_said) in [
            ("127.0.0.1", forwarded, true),
            ("::1", forwarded, true),
            ("172.17.0.1", forwarded, true),
            ("127.0.0.1", plain, false),
            ("10.1.2.3", forwarded, false),
            // Anybody may write the header.
            ("8.8.8.8", forwarded, false),
        ] {
            let handler = site.handler().trust_proxies(["10.0.0.0/8".parse().unwrap()]);
            let request = request("GET", "/sync/api/status", headers);
            let clone = handler.clone();
            let said = [&handler, &handler, &clone].map(|handler| handler.is_news(peer.parse().unwrap(), &request));
            assert_eq!(said, [is_said, false, false], "{peer}");
        }
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
        for _ in 0..site.limits().server.code_attempts_per_minute {
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
