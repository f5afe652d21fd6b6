//! A connection's socket, with deadlines that a peer cannot put off by sending or taking a byte at a time.

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

/// A TCP socket whose reads and writes end at a moment: then they fail with `WouldBlock`. When the server stops, a read fails
/// with `ConnectionAborted`.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    stop: Arc<AtomicBool>,
    read_by: Instant,
    write_by: Instant,
}

impl Socket {
    pub(crate) fn new(tcp: TcpStream, stop: Arc<AtomicBool>) -> Self {
        let now = Instant::now();
        Socket { tcp, stop, read_by: now, write_by: now }
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
            match self.tcp.read(buffer) {
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
                // Not `WouldBlock`: whoever writes would try again.
                return Err(ErrorKind::TimedOut.into());
            }
            self.tcp.set_write_timeout(Some(left.min(TICK)))?;
            match self.tcp.write(bytes) {
                Err(error) if passing(&error) => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
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

    /// From now on reads fail after this moment.
    pub(crate) fn read_by(&mut self, moment: Instant) {
        let socket = self.socket();
        socket.read_by = moment;
        // TLS writes while it reads: its handshake has the same time.
        socket.write_by = socket.write_by.max(moment);
    }

    /// From now on writes fail after this time, all together.
    pub(crate) fn write_within(&mut self, time: Duration) {
        self.socket().write_by = clock::later(Instant::now(), time);
    }

    /// Whether the server stops.
    pub(crate) fn stopping(&mut self) -> bool {
        self.socket().stopping()
    }

    /// Says that nothing more comes, and waits a little for the peer to take what was sent.
    pub(crate) fn finish(mut self) {
        self.write_within(LINGER);
        if let Err(error) = self.say_goodbye() {
            log::debug!("a connection ended before its goodbye: {error}");
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
            match socket.tcp.read(&mut scratch) {
                Ok(0) | Err(_) => return,
                Ok(some) => drained += some,
            }
        }
    }

    fn say_goodbye(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Transport::Tls(stream) = self {
            stream.conn.send_close_notify();
            // Not `flush`: that would go on with a handshake that has failed, and wait for the peer.
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut stream.sock)?;
            }
        }
        self.socket().tcp.shutdown(Shutdown::Write)
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
