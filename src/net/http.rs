//! HTTP over our own connections: the one place that touches ureq's transport layer, which its promises of stability do not
//! cover yet.
//!
//! ureq speaks HTTP/1.1 (heads, chunks, kept-alive connections); names, addresses, TLS and time are those of [`Stream`] and
//! [`Budget`], so that the address policy has one place, and a call ends in time and when it is cancelled.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

use super::stream::TlsOptions;
use super::{AddressPolicy, Budget, Stream};
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::{REASON_HEADER, STATUS_HEADER};

/// How long an unused connection is kept for the next call. Servers keep them for longer, so that none is closed just when it
/// is used again.
const KEPT: Duration = Duration::from_secs(5);

/// How a site is connected to.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) url: SiteUrl,
    pub(crate) policy: AddressPolicy,
    pub(crate) tls: TlsOptions,
    pub(crate) connect_timeout: Duration,
    /// Largest head of an answer.
    pub(crate) head_bytes: usize,
}

/// Speaks HTTP with one site, whatever the URL of a request says. One call at a time.
pub(crate) struct Http {
    agent: Agent,
    running: Arc<Mutex<Running>>,
}

/// The call that is running.
#[derive(Debug, Clone)]
struct Running {
    budget: Budget,
    keep: bool,
    /// Whether it connected, and had to use no connection that was kept.
    connected: bool,
    /// Whether something of an answer came.
    answered: bool,
}

impl Running {
    fn new(budget: Budget, keep: bool) -> Self {
        Running { budget, keep, connected: false, answered: false }
    }
}

/// An answer, whatever its status.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// The headers that tell how a connection stands that is not active, and why.
    pub(crate) standing: (Option<String>, Option<String>),
    pub(crate) body: Vec<u8>,
}

impl HttpAnswer {
    /// The header `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<&str> {
        self.retry_after.as_deref()
    }
}

impl Http {
    pub(crate) fn new(route: Route) -> Self {
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(KEPT)
            .max_response_header_size(route.head_bytes)
            .build();
        let running = Arc::new(Mutex::new(Running::new(Budget::new(Duration::ZERO, &[]), false)));
        let dialer = Dialer { route, running: Arc::clone(&running) };
        Http { agent: Agent::with_parts(config, dialer, Unresolved), running }
    }

    /// Sends a request and reads the answer, of which at most so many bytes are taken. Redirects are answers like others.
    ///
    /// `keep` says whether a connection that an earlier call left may be used, and this one's left for a later call. The other
    /// side may close such a connection just when it is used again: then nobody knows whether the call was made.
    ///
    /// # Errors
    /// [`ErrorKind::ForbiddenAddress`], [`ErrorKind::Unreachable`], [`ErrorKind::Tls`] when there is no connection,
    /// [`ErrorKind::Disconnected`] when it ends; [`ErrorKind::Timeout`], [`ErrorKind::Cancelled`]; [`ErrorKind::TooLarge`]
    /// and [`ErrorKind::Protocol`] for an answer that cannot be read.
    pub(crate) fn call(
        &self,
        request: ureq::http::Request<&[u8]>,
        most: usize,
        keep: bool,
        budget: Budget,
    ) -> Result<HttpAnswer> {
        *lock(&self.running) = Running::new(budget, keep);
        let mut answer = self.agent.run(request).map_err(|error| failed(error, most))?;
        let header = |name| {
            let value = answer.headers().get(name)?;
            std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned)
        };
        let (retry_after, standing) = (header("retry-after"), (header(STATUS_HEADER), header(REASON_HEADER)));
        let status = answer.status().as_u16();
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        let body = answer.body_mut().with_config().limit(limit).read_to_vec().map_err(|error| failed(error, most))?;
        Ok(HttpAnswer { status, retry_after, standing, body })
    }
}

impl Http {
    /// Whether the last call was sent on a kept connection and heard nothing: then that may have ended just before.
    pub(crate) fn was_stale(&self) -> bool {
        let running = lock(&self.running);
        !running.connected && !running.answered
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    // It holds plain values, which a panic elsewhere leaves whole.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Our own errors come back as they went into ureq.
fn failed(error: ureq::Error, most: usize) -> Error {
    let why = error.to_string();
    match error {
        ureq::Error::Other(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(inner) => Error::new(ErrorKind::Unreachable, format!("the call failed: {inner}")).with_source(inner),
        },
        ureq::Error::BodyExceedsLimit(_) => {
            Error::new(ErrorKind::TooLarge, format!("the other site's answer has more than {most} bytes"))
        }
        ureq::Error::LargeResponseHeader(..) => {
            Error::new(ErrorKind::TooLarge, format!("the other site's answer has too large a head: {why}"))
        }
        ureq::Error::Io(inner) => Error::new(ErrorKind::Disconnected, format!("the other site's answer broke off: {why}"))
            .with_hint("Try again.")
            .with_source(inner),
        error => Error::new(ErrorKind::Protocol, format!("the other side does not answer in HTTP: {why}"))
            .with_hint("Check the address and the port, and whether it should begin with https://.")
            .with_source(error),
    }
}

/// ureq resolves before it connects. We do both in one step, by the policy, so there is nothing to do here.
#[derive(Debug)]
struct Unresolved;

impl Resolver for Unresolved {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

#[derive(Debug)]
struct Dialer {
    route: Route,
    running: Arc<Mutex<Running>>,
}

impl Connector for Dialer {
    type Out = Line;

    fn connect(&self, details: &ConnectionDetails<'_>, _chained: Option<()>) -> Result<Option<Line>, ureq::Error> {
        let Route { url, policy, tls, connect_timeout, .. } = &self.route;
        let budget = {
            let mut running = lock(&self.running);
            running.connected = true;
            running.budget.part(*connect_timeout)
        };
        let stream = Stream::connect(url, *policy, tls, &budget).map_err(other)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Line { stream, buffers, running: Arc::clone(&self.running), authority: url.authority() }))
    }
}

fn other(error: Error) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}

/// One of our connections, as ureq uses it. The time is the running call's budget; ureq's own time-outs are off.
struct Line {
    stream: Stream,
    buffers: LazyBuffers,
    running: Arc<Mutex<Running>>,
    authority: String,
}

impl Line {
    /// Does something with the stream in slices of the budget.
    fn patiently(
        &mut self,
        mut work: impl FnMut(&mut Stream, &mut LazyBuffers) -> io::Result<usize>,
    ) -> Result<usize, ureq::Error> {
        let late = || format!("{} did not answer", self.authority);
        loop {
            let slice = lock(&self.running).budget.slice(&late).map_err(other)?;
            self.stream.set_until(slice);
            match work(&mut self.stream, &mut self.buffers) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    let why = format!("the connection to {} was lost: {error}", self.authority);
                    return Err(other(Error::new(ErrorKind::Disconnected, why).with_hint("Try again.").with_source(error)));
                }
                Ok(done) => return Ok(done),
            }
        }
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _timeout: NextTimeout) -> Result<(), ureq::Error> {
        let mut sent = 0;
        while sent < amount {
            sent += self.patiently(|stream, buffers| match stream.write(&buffers.output()[sent..amount])? {
                0 => Err(io::ErrorKind::WriteZero.into()),
                written => Ok(written),
            })?;
        }
        self.patiently(|stream, _| stream.flush().map(|()| 0)).map(|_| ())
    }

    fn await_input(&mut self, _timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let read = self.patiently(|stream, buffers| stream.read(buffers.input_append_buf()))?;
        self.buffers.input_appended(read);
        lock(&self.running).answered |= read > 0;
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        lock(&self.running).keep && self.stream.is_quiet()
    }

    fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("authority", &self.authority).finish_non_exhaustive()
    }
}
