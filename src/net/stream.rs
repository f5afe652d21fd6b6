//! A connection, encrypted or not, whose reads and writes end in time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Budget;
use super::dial::{Network, System, dial};
use super::policy::AddressPolicy;
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};

/// A TCP connection whose reads and writes end at a set moment with [`io::ErrorKind::WouldBlock`], however many bytes trickle
/// in until then: a time-out of the socket alone would begin again with each byte.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    until: Instant,
    /// Bytes that were read.
    received: u64,
}

/// A connection to another site.
pub(crate) enum Stream {
    /// As it is.
    Plain(Socket),
    /// Encrypted.
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, Socket>>),
}

/// How TLS connections are made; nothing in a build without the feature `tls`.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsOptions {
    /// Certificate authorities to trust besides the usual ones, each PEM or DER.
    #[cfg(feature = "tls")]
    pub(crate) roots: Vec<Vec<u8>>,
    /// Whether those that the operating system trusts are trusted, too.
    #[cfg(feature = "native-certs")]
    pub(crate) system: bool,
}

impl Stream {
    /// Connects to an address that the policy allows.
    ///
    /// # Errors
    /// [`ErrorKind::ForbiddenAddress`], [`ErrorKind::Unreachable`], [`ErrorKind::Timeout`], [`ErrorKind::Tls`], [`ErrorKind::Cancelled`].
    pub(crate) fn connect(url: &SiteUrl, policy: AddressPolicy, tls: &TlsOptions, budget: &Budget) -> Result<Self> {
        refuse_without_tls(url)?;
        let network: Arc<dyn Network> = Arc::new(System);
        let socket = Socket { tcp: dial(&network, url, policy, budget)?, until: Instant::now(), received: 0 };
        #[cfg(feature = "tls")]
        if url.tls() {
            return super::tls::handshake(socket, url, tls, budget).map(|stream| Stream::Tls(Box::new(stream)));
        }
        let _ = tls;
        Ok(Stream::Plain(socket))
    }

    fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// Whether it is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        !matches!(self, Stream::Plain(_))
    }

    /// Whether the other end is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.socket().tcp.peer_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
    }

    /// Whether it is there and silent, as far as can be told without waiting. What came without being asked for cannot be the
    /// answer to the next question.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let tcp = &self.socket().tcp;
        let wait = tcp.set_read_timeout(Some(Duration::from_millis(1)));
        wait.is_ok() && patiently(|| tcp.peek(&mut [0])).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// How many bytes came so far, as they are on the wire.
    pub(crate) fn received(&self) -> u64 {
        self.socket().received
    }

    /// Sets when reads and writes end.
    pub(crate) fn set_until(&mut self, until: Instant) {
        match self {
            Stream::Plain(socket) => socket.until = until,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.sock.until = until,
        }
    }
}

impl Socket {
    /// Sets when reads and writes end.
    #[cfg(feature = "tls")]
    pub(crate) fn set_until(&mut self, until: Instant) {
        self.until = until;
    }

    /// What is left until then.
    fn left(&self) -> io::Result<Duration> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::WouldBlock.into()),
            // Some systems round a shorter time-out down to none, which would wait forever.
            left => Ok(left.max(Duration::from_millis(1))),
        }
    }
}

/// Runs a read or write again where a signal came in between; a time-out has one name on all systems.
fn patiently<T>(mut io: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match io() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(io::ErrorKind::WouldBlock.into()),
            done => return done,
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = patiently(|| {
            self.tcp.set_read_timeout(Some(self.left()?))?;
            self.tcp.read(buffer)
        })?;
        self.received = self.received.wrapping_add(read as u64);
        Ok(read)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        patiently(|| {
            self.tcp.set_write_timeout(Some(self.left()?))?;
            self.tcp.write(bytes)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// An error for an encrypted address in a build that cannot encrypt.
pub(crate) fn refuse_without_tls(url: &SiteUrl) -> Result<()> {
    match url.tls() && cfg!(not(feature = "tls")) {
        true => Err(Error::new(ErrorKind::InvalidInput, "this build of rowferry cannot encrypt connections")
            .with_hint("Build it with the feature `tls`, or use an address that begins with http://.")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn budget() -> Budget {
        Budget::new(Duration::from_secs(5), &[])
    }

    #[test]
    fn a_read_ends_in_time_though_bytes_trickle_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = SiteUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let mut stream = Stream::connect(&url, AddressPolicy::CallersChoice, &TlsOptions::default(), &budget()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let end = Instant::now() + Duration::from_millis(150);
        stream.set_until(end);
        let trickle = std::thread::spawn(move || {
            while Instant::now() < end + Duration::from_millis(100) && peer.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let mut buffer = [0; 1 << 16];
        let error = loop {
            match stream.read(&mut buffer) {
                Ok(read) => assert!(read > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(Instant::now() >= end - Duration::from_millis(5));
        trickle.join().unwrap();
    }

    #[test]
    fn nobody_there() {
        // Bound and dropped: nobody listens on this port.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = SiteUrl::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let error =
            Stream::connect(&url, AddressPolicy::CallersChoice, &TlsOptions::default(), &budget()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.message().contains(&port.to_string()) && error.hint().is_some());
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn https_without_the_feature_is_told() {
        let url = SiteUrl::parse("https://127.0.0.1:1").unwrap();
        let error =
            Stream::connect(&url, AddressPolicy::CallersChoice, &TlsOptions::default(), &budget()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
