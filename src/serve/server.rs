//! A small blocking server: one thread for each connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::connection::{self, Sending};
use super::handler::Handler;
use super::head::Refusal;
use super::socket::{Socket, Transport};
#[cfg(feature = "tls")]
use super::tls::ServerTls;
use crate::domain::connection::AddressRange;
use crate::error::{Error, ErrorKind, Result};
use crate::site::Site;

/// How long the server waits after it could not accept or start a thread: the lack of files or threads may pass.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections beyond the limit that are told so at the same time; further ones are just closed.
const REFUSED_AT_ONCE: usize = 8;

/// How long a stop waits for the connections to end.
const STOP_TIME: Duration = Duration::from_secs(10);

/// A small blocking HTTP/1.1 and WebSocket server around a site's [`Handler`].
///
/// It keeps [`Limits`](crate::Limits) on heads, bodies, messages, connections and the time that all of them may take, so that it
/// may face the internet; for more (HTTP/2, virtual hosts, access logs) mount the handler in a server of your own.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    handler: Handler,
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
    stop: Arc<AtomicBool>,
    open: Mutex<usize>,
    closed: Condvar,
}

/// What can be chosen for a [`Server`].
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder {
    handler: Handler,
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
}

impl Server {
    /// Listens on this address, such as `127.0.0.1:7171`, with [`ServerBuilder`]'s defaults; port 0 picks a free one.
    ///
    /// # Errors
    /// Those of [`ServerBuilder::bind`].
    pub fn bind(site: &Site, address: impl ToSocketAddrs) -> Result<Self> {
        Server::builder(site).bind(address)
    }

    /// What can be chosen.
    pub fn builder(site: &Site) -> ServerBuilder {
        ServerBuilder {
            handler: site.handler(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The address that it listens on, with the port that was picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL to reach it by from this machine.
    pub fn url(&self) -> String {
        #[cfg(feature = "tls")]
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        #[cfg(not(feature = "tls"))]
        let scheme = "http";
        format!("{scheme}://{}", reachable(self.address))
    }

    /// Serves on this thread, for as long as the program runs.
    pub fn run(self) {
        accept(&self.listener, &self.shared);
    }

    /// Serves on a thread of its own until the handle is stopped or dropped.
    ///
    /// # Errors
    /// [`System`](ErrorKind::System) when the operating system gives no thread.
    pub fn spawn(self) -> Result<ServerHandle> {
        let (address, url) = (self.address, self.url());
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("rowferry-server".into())
            .spawn(move || accept(&self.listener, &self.shared))
            .map_err(|error| {
                Error::new(ErrorKind::System, format!("cannot start the server's thread: {error}")).with_source(error)
            })?;
        Ok(ServerHandle { address, url, shared, thread: Some(thread) })
    }
}

impl ServerBuilder {
    /// Answers under this path too: see [`Handler::with_prefix`]. Defaults to none.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what is no path.
    pub fn prefix(mut self, prefix: &str) -> Result<Self> {
        self.handler = self.handler.with_prefix(prefix)?;
        Ok(self)
    }

    /// Believes these proxies about where a request comes from: see [`Handler::trust_proxies`]. Defaults to none.
    pub fn trust_proxies(mut self, ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        self.handler = self.handler.trust_proxies(ranges);
        self
    }

    /// Speaks TLS with this certificate, and nothing else. Defaults to none: plain HTTP.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Listens on this address; port 0 picks a free one.
    ///
    /// # Errors
    /// [`System`](ErrorKind::System) when the address cannot be listened on.
    pub fn bind(self, address: impl ToSocketAddrs) -> Result<Server> {
        let bound = TcpListener::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| {
            Error::new(ErrorKind::System, format!("cannot listen on this address: {error}"))
                .with_hint("Give an address of this machine and a free port; port 0 picks one.")
        })?;
        let shared = Shared {
            handler: self.handler,
            #[cfg(feature = "tls")]
            tls: self.tls,
            stop: Arc::new(AtomicBool::new(false)),
            open: Mutex::new(0),
            closed: Condvar::new(),
        };
        Ok(Server { listener, address, shared: Arc::new(shared) })
    }
}

/// A running server. Dropping it stops the server.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    url: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ServerHandle {
    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL to reach it by from this machine.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server: no further connection is accepted, requests that have arrived are answered, open WebSockets are
    /// closed with 1001. It waits until all is over, for ten seconds at most.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.stop.store(true, Ordering::SeqCst);
        let until = Instant::now() + STOP_TIME;
        // A connection wakes the thread that waits for one.
        while !thread.is_finished() && Instant::now() < until {
            if TcpStream::connect_timeout(&reachable(self.address), PAUSE).is_err() {
                thread::sleep(PAUSE / 10);
            }
        }
        match thread.is_finished() {
            true if thread.join().is_err() => log::error!("the server's thread panicked"),
            true => {}
            false => log::warn!("the server's thread does not end"),
        }
        let open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let (open, _) =
            self.shared.closed.wait_timeout_while(open, left, |open| *open > 0).unwrap_or_else(PoisonError::into_inner);
        if *open > 0 {
            log::warn!("{} connections do not end", *open);
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// An address that one can connect to: what listens on all addresses listens on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stop.load(Ordering::SeqCst) {
        let (tcp, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // The peer went before it was accepted.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => continue,
            Err(error) => {
                log::warn!("no connection can be accepted: {error}");
                thread::sleep(PAUSE);
                continue;
            }
        };
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Some((place, full)) = Place::take(shared) else {
            log::debug!("{peer} is turned away: too many connections");
            continue;
        };
        let started = thread::Builder::new().name("rowferry-peer".into()).spawn(move || place.serve(tcp, peer.ip(), full));
        if let Err(error) = started {
            log::warn!("no thread for a connection: {error}");
            thread::sleep(PAUSE);
        }
    }
}

/// One of the connections that may be open at the same time.
struct Place(Arc<Shared>);

impl Place {
    /// A place, and whether it is one beyond the limit, only to say so; `None` if there are none of those either.
    fn take(shared: &Arc<Shared>) -> Option<(Place, bool)> {
        let most = shared.handler.site().limits().connections;
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *open >= most.saturating_add(REFUSED_AT_ONCE) {
            return None;
        }
        *open += 1;
        Some((Place(Arc::clone(shared)), *open > most))
    }

    fn serve(self, tcp: TcpStream, peer: IpAddr, full: bool) {
        let shared = &*self.0;
        if let Err(error) = tcp.set_nodelay(true) {
            log::debug!("{peer}: {error}");
            return;
        }
        let socket = Socket::new(tcp, Arc::clone(&shared.stop));
        #[cfg(feature = "tls")]
        let transport = match &shared.tls {
            None => Transport::Plain(socket),
            Some(tls) => match rustls::ServerConnection::new(Arc::clone(&tls.0)) {
                Ok(connection) => Transport::Tls(Box::new(rustls::StreamOwned::new(connection, socket))),
                Err(error) => {
                    log::error!("TLS cannot begin: {error}");
                    return;
                }
            },
        };
        #[cfg(not(feature = "tls"))]
        let transport = Transport::Plain(socket);
        if full {
            let refusal = Refusal { status: StatusCode::SERVICE_UNAVAILABLE, why: "too many connections" };
            let sent = connection::send(transport, connection::refuse(refusal), Sending::LAST, &shared.handler);
            return sent.map_or((), Transport::finish);
        }
        connection::serve(transport, &shared.handler, peer);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.closed.notify_all();
    }
}
