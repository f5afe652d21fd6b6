//! Calls over HTTP: [`Api`].

mod answer;
mod calls;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use zeroize::Zeroizing;

use super::auth::Auth;
use super::options::ConnectOptions;
use super::refusal::without;
use crate::cancel::{CancelToken, Patience};
use crate::domain::settings::SiteStatus;
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Budget;
use crate::net::http::{Http, HttpAnswer, Route};
use crate::net::stream::refuse_without_tls;
use crate::secret::{Credential, Token};
use crate::wire::api::{Call, Secret};

pub use calls::RecordsQuery;

/// How long a call may take that fetches no records.
const CALL_TIME: Duration = Duration::from_secs(30);

/// Longest answer that is read of a call that lists nothing; a good one has a few hundred bytes.
const ANSWER_BYTES: usize = 64 << 10;

/// Asks another site over HTTP, one call at a time; calls of several threads wait for each other. All calls block.
///
/// Most calls are about one connection: give its token with [`Api::token`]. They do not send the token, but its hash.
///
/// A call may take 30 s, one that fetches records 60 s, or [`ConnectOptions::request_timeout`] if that is shorter; connecting
/// no longer than [`ConnectOptions::connect_timeout`] of these. Redirects are not followed.
///
/// # Errors
/// Each call may fail with [`ErrorKind::Unreachable`], [`ErrorKind::Timeout`], [`ErrorKind::Tls`] or
/// [`ErrorKind::Disconnected`] when the other site is offline or there is none at the address, and with
/// [`ErrorKind::Cancelled`]. What the other site refuses with has the kind of its reason: [`ErrorKind::Disabled`],
/// [`ErrorKind::InvalidToken`], [`ErrorKind::ConnectionNotActive`], [`ErrorKind::TableNotAllowed`],
/// [`ErrorKind::TableNotFound`], [`ErrorKind::ApprovalRequired`] with the [transfer](Error::transfer) that waits,
/// [`ErrorKind::RateLimited`] with [how long to wait](Error::retry_after), and so on; [`ErrorKind::Refused`] for a reason that
/// has no kind. [`ErrorKind::Peer`] says that the other site failed. [`ErrorKind::Protocol`] and [`ErrorKind::TooLarge`] are
/// answers that cannot be used. A call about a connection without a token is [`ErrorKind::InvalidInput`].
///
/// ```no_run
/// use rowferry::{Api, ConnectOptions, Token};
///
/// let api = Api::new("https://shop.example", &ConnectOptions::default())?;
/// println!("{}", api.status()?.incoming_mode);
/// let api = api.token(&Token::parse("is3W3OM_JqU3b556SxC6yMkHs_niLrwhXX3fnoS47Jw")?);
/// for table in api.list_tables()? {
///     println!("{} {}", table.name, table.row_count);
/// }
/// # Ok::<(), rowferry::Error>(())
/// ```
pub struct Api {
    url: SiteUrl,
    options: ConnectOptions,
    credential: Option<Credential>,
    password: Option<Zeroizing<String>>,
    line: Mutex<Line>,
}

struct Line {
    http: Http,
    /// The prefixes that the site may have, in the order in which they are tried.
    prefixes: Vec<String>,
    /// Which one of them leads to the site, once that is known.
    found: Option<usize>,
}

/// What is sent.
struct Question {
    call: Call,
    body: Zeroizing<String>,
    /// How long it may take.
    time: Duration,
    /// Largest body of an answer.
    most: usize,
    /// Whether it changes nothing on the other side, so that it may be asked twice.
    reads: bool,
    /// What is in the body and must not come back in an error.
    secrets: Vec<Secret>,
}

impl Question {
    /// A question whose answer is short.
    fn new(call: Call, body: String) -> Self {
        Question { call, body: Zeroizing::new(body), time: CALL_TIME, most: ANSWER_BYTES, reads: false, secrets: Vec::new() }
    }
}

/// What another site tells anyone about itself: whether it takes part, and how it takes requests to be connected. No code or
/// token is needed or spent.
///
/// Of the options the time-outs, the prefix, the limits, the certificates and the cancel token count.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a URL that cannot be one, and those of [`Api`].
pub fn remote_status(url: &str, options: &ConnectOptions) -> Result<SiteStatus> {
    Api::new(url, options)?.status()
}

impl Api {
    /// Calls to the site at this URL. Nothing is sent yet.
    ///
    /// Of the options all count but the join's and the heartbeat.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a URL or prefix that cannot be one; [`ErrorKind::File`] for a certificate.
    pub fn new(url: &str, options: &ConnectOptions) -> Result<Api> {
        let url = SiteUrl::parse(url)?;
        refuse_without_tls(&url)?;
        #[cfg(feature = "tls")]
        crate::net::tls::certificates(&options.tls)?;
        let route = Route {
            url: url.clone(),
            policy: options.policy,
            tls: options.tls.clone(),
            connect_timeout: options.connect_timeout,
            head_bytes: options.limits.wire.head_bytes,
        };
        let line = Line { http: Http::new(route), prefixes: options.prefixes()?, found: None };
        Ok(Api { url, options: options.clone(), credential: None, password: None, line: Mutex::new(line) })
    }

    /// The same with credentials: a token and its password.
    ///
    /// # Errors
    /// Those of [`Api::new`]; [`ErrorKind::InvalidInput`] also for a code, which is good for a channel only.
    pub fn with_auth(url: &str, auth: &Auth, options: &ConnectOptions) -> Result<Api> {
        let (token, password) = auth.token_and_password()?;
        let api = Api::new(url, options)?.token(&token);
        Ok(match password {
            Some(password) => api.password(password),
            None => api,
        })
    }

    /// The token of the connection that the calls are about.
    #[must_use]
    pub fn token(self, token: &Token) -> Self {
        self.credential(token.credential())
    }

    /// What is sent of that token, where the token itself is not known.
    pub(crate) fn credential(mut self, credential: Credential) -> Self {
        self.credential = Some(credential);
        self
    }

    /// The connection's download password. A site of PhoenixKit does not ask for it over HTTP. Defaults to none.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Zeroizing::new(password.into()));
        self
    }

    /// The other site's URL in its normal form: two spellings of one address have one.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// That of a call on its own: the call's time is its only bound.
    fn patience() -> Patience {
        Patience::new(CancelToken::new(), None)
    }

    /// Asks, and gives the body of a good answer; `None` if the other site does not know the call at all.
    fn ask(&self, question: &Question, patience: &Patience) -> Result<Option<Vec<u8>>> {
        let answer = self.answer(question, patience);
        let good = |answer| answer::good(self.without_secrets(question, answer));
        answer.and_then(|answer| answer.map(good).transpose()).map_err(|error| self.doing(question, error))
    }

    /// An error of this question. Where there was no connection, it names the site already.
    fn doing(&self, question: &Question, error: Error) -> Error {
        let site = self.url.authority();
        match [format!(" to {site}"), format!(" of {site}")].iter().any(|named| error.message().contains(named)) {
            true => error.while_doing(question.call),
            false => error.while_doing(format!("{} of {site}", question.call)),
        }
    }

    /// A refusal that does not give back what was sent: it is shown and kept.
    fn without_secrets(&self, question: &Question, answer: HttpAnswer) -> HttpAnswer {
        match answer.status {
            200 => answer,
            _ => {
                let body = self.clean(question, &String::from_utf8_lossy(&answer.body)).into_bytes();
                let (status, reason) = answer.standing;
                let standing = (status, reason.map(|reason| self.clean(question, &reason)));
                HttpAnswer { body, standing, ..answer }
            }
        }
    }

    fn clean(&self, question: &Question, text: &str) -> String {
        let own = [self.credential.as_ref().map(Credential::as_str), self.password.as_deref().map(String::as_str)];
        without(text, own.into_iter().flatten().chain(question.secrets.iter().map(Secret::as_str)))
    }

    /// An answer of the call's own, whatever its status.
    fn answer(&self, question: &Question, patience: &Patience) -> Result<Option<HttpAnswer>> {
        let mut line = self.lock();
        let time = patience.within(question.time.min(self.options.request_timeout));
        let budget = Budget::new(time, &[&self.options.cancel, &patience.cancel]);
        let first = line.found.unwrap_or(0);
        let answer = self.send(&line, first, question, &budget)?;
        if !answer::is_no_route(&answer) {
            line.found = Some(first);
            return Ok(Some(answer));
        }
        if line.found.is_some() {
            return Ok(None);
        }
        let Some((found, status)) = self.find(&line, first, question, &budget)? else {
            let tried = line.prefixes.iter().map(|prefix| self.url.path(prefix, "/sync")).collect::<Vec<_>>().join(", ");
            // Not as if it had said of something that it is not there: the site may have moved, and may come back.
            return Err(Error::new(ErrorKind::Unreachable, format!("there is no site at {tried}"))
                .with_hint("Check the address; a path before /sync is given as the prefix."));
        };
        line.found = Some(found);
        let answer = match question.call {
            Call::Status => status,
            _ if found == first => return Ok(None),
            _ => self.send(&line, found, question, &budget)?,
        };
        Ok(if answer::is_no_route(&answer) { None } else { Some(answer) })
    }

    /// Finds the prefix that leads to the site by asking for its status, which is sure to be there whatever it knows of the
    /// other calls, and gives the answer with it. `first` is the prefix under which the question itself was in vain.
    fn find(&self, line: &Line, first: usize, question: &Question, budget: &Budget) -> Result<Option<(usize, HttpAnswer)>> {
        let status = Question::new(Call::Status, String::new());
        for prefix in (0..line.prefixes.len()).filter(|prefix| *prefix != first || question.call != Call::Status) {
            let answer = self.send(line, prefix, &status, budget)?;
            if !answer::is_no_route(&answer) {
                return Ok(Some((prefix, answer)));
            }
        }
        Ok(None)
    }

    fn send(&self, line: &Line, prefix: usize, question: &Question, budget: &Budget) -> Result<HttpAnswer> {
        let prefix = line.prefixes.get(prefix).map_or("", String::as_str);
        let scheme = if self.url.tls() { "https" } else { "http" };
        let target = format!("{scheme}://{}{}", self.url.authority(), self.url.path(prefix, &question.call.path()));
        let (method, body) = match question.call {
            Call::Status => (Method::GET, None),
            _ => (Method::POST, Some(question.body.as_bytes())),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("accept", "application/json")
            .header("user-agent", concat!("rowferry/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let unusable =
            |error: http::Error| Error::new(ErrorKind::InvalidInput, format!("the address cannot be called: {error}"));
        let request = request.body(body.unwrap_or_default()).map_err(unusable)?;
        let call = |keep| line.http.call(request.clone(), question.most, keep, budget.clone());
        match call(question.reads) {
            // A connection that was kept may have ended just then. An answer that breaks off is no reason to ask for it again.
            Err(error) if question.reads && error.kind() == ErrorKind::Disconnected && line.http.was_stale() => call(false),
            answer => answer,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // What a panic can leave behind is a prefix that is not known yet.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::TcpListener;

    use super::*;
    use crate::client::Client;
    use crate::net::AddressPolicy;

    #[test]
    fn stored_urls_do_not_lead_inside() {
        let inside = TcpListener::bind("127.0.0.1:0").unwrap();
        inside.set_nonblocking(true).unwrap();
        let options = || ConnectOptions::default().policy(AddressPolicy::PublicOnly);
        let port = inside.local_addr().unwrap().port();
        // The second is a name for it to a resolver, and the last an IPv6 form of it.
        for host in ["127.0.0.1", "127.1", "localhost", "[::ffff:127.0.0.1]"] {
            let url = format!("http://{host}:{port}");
            let errors = [
                Api::new(&url, &options()).unwrap().status().unwrap_err(),
                remote_status(&url, &options()).unwrap_err(),
                Client::connect(&url, Auth::token("x"), options()).map(|_| ()).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::ForbiddenAddress, "{url}: {error}");
                assert!(error.hint().is_some_and(|hint| hint.contains("allow_internal_urls")), "{error}");
            }
        }
        assert_eq!(inside.accept().map(|_| ()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
