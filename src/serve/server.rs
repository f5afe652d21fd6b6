//! A small blocking server: one thread for each connection.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::handler::Handler;
use super::places::{Full, Places, Unsaid};
use super::socket::{Socket, Transport};
#[cfg(feature = "tls")]
use super::tls::ServerTls;
use super::{answers, connection};
use crate::domain::connection::AddressRange;
use crate::error::{Error, ErrorKind, Result};
use crate::site::Site;

/// How long the server waits after it could not accept: the lack of files may pass.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections without a place that are told so at the same time, each by a thread that waits until the peer has read it. Further
/// ones are told without waiting.
const REFUSED_AT_ONCE: usize = 8;

const TOO_MANY: &str = "too many connections";

/// How long a stop waits for the connections to end.
const STOP_TIME: Duration = Duration::from_secs(10);

/// A small blocking HTTP/1.1 and WebSocket server around a site's [`Handler`].
///
/// It keeps [`Limits`](crate::Limits) on heads, bodies, messages, connections and the time that all of them may take, so that it
/// may face the internet; for more (HTTP/2, virtual hosts, access logs) mount the handler in a server of your own. One address has
/// [a quarter](crate::ServerLimits::connections_per_address) of the connections at most. A peer that is refused is told when to try again, in plain
/// HTTP always, over TLS as far as a few threads allow.
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
    places: Arc<Places>,
    refusing: AtomicUsize,
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
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what is not a path.
    pub fn prefix(mut self, prefix: &str) -> Result<Self> {
        self.handler = self.handler.with_prefix(prefix)?;
        Ok(self)
    }

    /// Trusts these proxies about where a request comes from: see [`Handler::trust_proxies`]. They may have all connections; each
    /// address behind them has its [share](crate::ServerLimits::connections_per_address) of the requests that are answered at the same time,
    /// and of the channels. Defaults to none.
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
            places: Arc::new(Places::new(self.handler.site().limits())),
            handler: self.handler,
            #[cfg(feature = "tls")]
            tls: self.tls,
            stop: Arc::new(AtomicBool::new(false)),
            refusing: AtomicUsize::new(0),
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
            true if thread.join().is_err() => log::error!(target: "rowferry::serve", "the server's thread panicked"),
            true => {}
            false => log::warn!(target: "rowferry::serve", "the server's thread does not end"),
        }
        match self.shared.places.wait_until_left(until) {
            0 => {}
            left => log::warn!(target: "rowferry::serve", "{left} connections do not end"),
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
    let mut unaccepted = Unsaid::default();
    while !shared.stop.load(Ordering::SeqCst) {
        let (tcp, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // The peer went before it was accepted.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => continue,
            Err(error) => {
                if let Some(times) = unaccepted.happened() {
                    log::warn!(
                        target: "rowferry::serve",
                        "no connection can be accepted, as {times} times since this was said last: {error}"
                    );
                }
                // Open files may be what is lacking.
                shared.places.make_room();
                thread::sleep(PAUSE);
                continue;
            }
        };
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let tcp = Arc::new(tcp);
        let taken = shared.places.take(peer.ip(), shared.handler.is_proxy(peer.ip()), &tcp);
        let place = match taken {
            Ok(place) => place,
            Err(full) => {
                shared.places.refused(peer.ip(), full);
                refuse(shared, tcp);
                continue;
            }
        };
        let (theirs, its) = (Arc::clone(shared), Arc::clone(&tcp));
        let work = move || {
            if let Some(transport) = theirs.transport(its) {
                connection::serve(transport, &theirs.handler, peer.ip(), &place);
            }
        };
        if thread::Builder::new().name("rowferry-peer".into()).spawn(work).is_err() {
            shared.places.refused(peer.ip(), Full::Threads);
            shared.tell_at_once(&tcp);
        }
    }
}

/// Tells a peer that there is no place for it.
fn refuse(shared: &Arc<Shared>, tcp: Arc<TcpStream>) {
    if shared.refusing.fetch_add(1, Ordering::SeqCst) < REFUSED_AT_ONCE {
        let (theirs, its) = (Refusing(Arc::clone(shared)), Arc::clone(&tcp));
        let work = move || {
            let shared = &*theirs.0;
            if let Some(transport) = shared.transport(its) {
                connection::send_last(transport, answers::busy(TOO_MANY), &shared.handler);
            }
        };
        if thread::Builder::new().name("rowferry-refusal".into()).spawn(work).is_ok() {
            return;
        }
        // What was not begun has given its turn back.
    } else {
        shared.refusing.fetch_sub(1, Ordering::SeqCst);
    }
    shared.tell_at_once(&tcp);
}

/// A peer that is being told that there is no place for it.
struct Refusing(Arc<Shared>);

impl Drop for Refusing {
    fn drop(&mut self) {
        self.0.refusing.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// What is spoken over a connection; `None` if it cannot begin.
    fn transport(&self, tcp: Arc<TcpStream>) -> Option<Transport> {
        if let Err(error) = tcp.set_nodelay(true) {
            log::debug!(target: "rowferry::serve", "a connection has ended: {error}");
            return None;
        }
        let socket = Socket::new(tcp, Arc::clone(&self.stop));
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return match rustls::ServerConnection::new(Arc::clone(&tls.0)) {
                Ok(connection) => Some(Transport::Tls(Box::new(rustls::StreamOwned::new(connection, socket)))),
                Err(error) => {
                    log::error!(target: "rowferry::serve", "TLS cannot begin: {error}");
                    None
                }
            };
        }
        Some(Transport::Plain(socket))
    }

    /// Tells a peer that there is no place for it as far as that takes no time: what it has sent is read, so that the answer is not
    /// lost to a reset. Over TLS nothing can be said so fast.
    fn tell_at_once(&self, tcp: &TcpStream) {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return;
        }
        let told = connection::last_bytes(answers::busy(TOO_MANY), self.handler.site().clock().now())
            .and_then(|said| tcp.set_nonblocking(true).and_then(|()| (&*tcp).write_all(&said)));
        let mut scratch = [0; 4096];
        for _ in 0..4 {
            if !matches!((&*tcp).read(&mut scratch), Ok(some) if some > 0) {
                break;
            }
        }
        if let Err(error) = told.and_then(|()| tcp.shutdown(Shutdown::Write)) {
            log::debug!(target: "rowferry::serve", "a peer cannot be told that it is refused: {error}");
        }
    }
}
