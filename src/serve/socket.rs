//! A connection's socket: reads have a deadline that a peer cannot put off by sending a byte at a time, and a write fails when nothing
//! of it is accepted for too long.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// How often a waiting thread looks whether the server stops.
const TICK: Duration = Duration::from_millis(200);

/// How long a write may still take when the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// How long, and for how many bytes, a connection that is closed is still read, so that the last answer is not lost to the
/// reset that unread bytes cause.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// A TCP socket whose reads and writes end at a moment: then they fail with `WouldBlock` and `TimedOut`. That of writes moves on
/// with each byte that is accepted, however slow the link is. When the server stops, a read fails with `ConnectionAborted`.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: Arc<TcpStream>,
    stop: Arc<AtomicBool>,
    read_by: Instant,
    write_by: Instant,
    /// How long after a byte was accepted the next one must be.
    write_time: Duration,
}

impl Socket {
    pub(crate) fn new(tcp: Arc<TcpStream>, stop: Arc<AtomicBool>) -> Self {
        let now = Instant::now();
        Socket { tcp, stop, read_by: now, write_by: now, write_time: Duration::ZERO }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stopping() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            let left = self.read_by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.tcp.set_read_timeout(Some(left.min(TICK)))?;
            match (&*self.tcp).read(buffer) {
                Err(error) if passing(&error) => {}
                result => return result,
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if self.stopping() {
                self.write_by = self.write_by.min(Instant::now() + GRACE);
            }
            let left = self.write_by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Not `WouldBlock`: the writer would try again.
                return Err(ErrorKind::TimedOut.into());
            }
            self.tcp.set_write_timeout(Some(left.min(TICK)))?;
            match (&*self.tcp).write(bytes) {
                Err(error) if passing(&error) => {}
                Ok(accepted) => {
                    if accepted > 0 && !self.stopping() {
                        self.write_by = self.write_by.max(clock::later(Instant::now(), self.write_time));
                    }
                    return Ok(accepted);
                }
                failed => return failed,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.tcp).flush()
    }
}

/// Whether a read or a write that failed so may be tried again.
pub(super) fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A stream whose reads and writes end at a moment, as a [`Socket`]'s do: what a channel is served over.
pub(super) trait Timed: Read + Write {
    /// From now on reads fail with `WouldBlock` after this moment.
    fn read_by(&mut self, moment: Instant);

    /// From now on writes fail with `TimedOut` when not a byte of them was accepted for this time.
    fn write_within(&mut self, time: Duration);

    /// Whether the server stops. Reads then fail with `ConnectionAborted`.
    fn stopping(&mut self) -> bool;

    /// Whether something has arrived, the end of the connection included. `false` where that cannot be known without waiting.
    fn has_input(&mut self) -> bool;

    /// Ends the connection, and waits a little for the peer to take what was sent. `closed` says that the peer has ended it.
    fn finish(self, closed: bool);
}

/// A connection: plain, or TLS around it.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ServerConnection, Socket>>),
}

impl Transport {
    fn socket(&mut self) -> &mut Socket {
        match self {
            Transport::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => &mut stream.sock,
        }
    }

    /// Says that nothing more comes, and waits a little for the peer to take what was sent.
    pub(crate) fn end(mut self) {
        self.write_within(LINGER);
        if let Err(error) = self.say_goodbye() {
            log::debug!(target: "rowferry::serve", "a connection ended before its goodbye: {error}");
            return;
        }
        let socket = self.socket();
        let until = Instant::now() + LINGER;
        let (mut scratch, mut drained) = ([0; 4096], 0);
        while drained < LINGER_BYTES {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || socket.tcp.set_read_timeout(Some(left)).is_err() {
                return;
            }
            match (&*socket.tcp).read(&mut scratch) {
                Ok(0) | Err(_) => return,
                Ok(some) => drained += some,
            }
        }
    }

    fn say_goodbye(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Transport::Tls(stream) = self {
            stream.conn.send_close_notify();
            // Not `flush`: that would continue a handshake that has failed, and wait for the peer.
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut stream.sock)?;
            }
        }
        self.socket().tcp.shutdown(Shutdown::Write)
    }
}

impl Timed for Transport {
    fn read_by(&mut self, moment: Instant) {
        let socket = self.socket();
        socket.read_by = moment;
        // TLS writes while it reads: its handshake has the same time.
        socket.write_by = socket.write_by.max(moment);
    }

    fn write_within(&mut self, time: Duration) {
        let socket = self.socket();
        (socket.write_by, socket.write_time) = (clock::later(Instant::now(), time), time);
    }

    fn stopping(&mut self) -> bool {
        self.socket().stopping()
    }

    fn has_input(&mut self) -> bool {
        let tcp = &self.socket().tcp;
        if tcp.set_nonblocking(true).is_err() {
            return false;
        }
        let peeked = tcp.peek(&mut [0]);
        // What is wrong with the connection is for the next read to find.
        tcp.set_nonblocking(false).is_err() || !matches!(&peeked, Err(error) if passing(error))
    }

    fn finish(self, _closed: bool) {
        self.end();
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.read(buffer),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.write(bytes),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(socket) => socket.flush(),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Both ends of a connection.
    fn pair() -> (Transport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Socket::new(Arc::new(listener.accept().unwrap().0), Arc::default());
        (Transport::Plain(socket), peer)
    }

    #[test]
    fn a_slow_peer_has_time_as_long_as_it_takes_something() {
        let (mut transport, mut peer) = pair();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 64 << 10];
            while peer.read(&mut buffer).is_ok_and(|read| read > 0) {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let time = Duration::from_millis(1_500);
        transport.write_within(time);
        let (began, message) = (Instant::now(), vec![0; 256 << 10]);
        while began.elapsed() < time * 2 {
            transport.write_all(&message).unwrap();
        }
        drop(transport);
        reader.join().unwrap();
    }

    #[test]
    fn what_has_arrived_is_noticed_without_waiting() {
        let (mut transport, mut peer) = pair();
        assert!(!transport.has_input());
        peer.write_all(b"x").unwrap();
        while !transport.has_input() {
            std::thread::yield_now();
        }
        transport.read_by(clock::later(Instant::now(), Duration::from_secs(60)));
        assert_eq!((transport.read(&mut [0; 2]).unwrap(), transport.has_input()), (1, false));
        drop(peer);
        while !transport.has_input() {
            std::thread::yield_now();
        }
        assert_eq!(transport.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_peer_that_takes_nothing_has_its_time() {
        let (mut transport, _peer) = pair();
        transport.write_within(Duration::from_millis(50));
        let message = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = transport.write_all(&message) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
