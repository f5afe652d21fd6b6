//! A channel over a stream of another server.

use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::channel::ChannelSession;
use super::socket::{Timed, passing};
use super::websocket;
use crate::cancel::CancelToken;
use crate::clock;

/// How long after a read or a write that did not wait at all the next one is tried: the stream is one that never waits.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long a write may still take when the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// How long, and for how many bytes, the peer is still read after it was told that its channel is closed.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

impl ChannelSession {
    /// Serves the channel to its end over a stream of your own server, on this thread. The server has sent
    /// [`Upgrade::response`](crate::serve::Upgrade::response), so that only WebSocket frames follow; bytes that it has read beyond the
    /// request must come out of the stream again.
    ///
    /// It is the loop of rowferry's own [`Server`](crate::Server), with the same [`Limits`](crate::Limits): the largest message
    /// (`body_bytes`), the silence after which the peer is sent away (`idle_time`), the time for a write (`write_time`), one page in
    /// memory. How many connections there may be, and how many of one address, is for your server to bound. What ends the channel is
    /// logged at level debug.
    ///
    /// **Set time-outs before.** A stream does not say how long its reads and writes wait. Let both end after about a second
    /// ([`TcpStream::set_read_timeout`](std::net::TcpStream::set_read_timeout), for example): whatever fails with
    /// [`WouldBlock`](ErrorKind::WouldBlock) or [`TimedOut`](ErrorKind::TimedOut) is tried again until the time is over that the limits
    /// allow. Where a read never ends, a peer that is silent keeps its thread, and its snapshot of the tables, until the connection
    /// ends. A stream that is set to be non-blocking works, too, but slowly: it is tried 100 times in a second.
    ///
    /// ```
    /// # #[cfg(all(feature = "sqlite", feature = "client"))] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # rusqlite::Connection::open(folder.path().join("shop.db"))?.execute_batch("CREATE TABLE users(id INTEGER PRIMARY KEY); INSERT INTO users VALUES (1)")?;
    /// # let shop = rowferry::Site::open(folder.path().join("shop.db"))?;
    /// # let code = shop.sessions().create(rowferry::Direction::Send)?.code().to_owned();
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let url = format!("http://{}", listener.local_addr()?);
    /// # let handler = shop.handler();
    /// # let host = std::thread::spawn(move || -> std::io::Result<()> {
    /// # let (mut stream, peer) = listener.accept()?;
    /// # let request = read_head(&mut stream)?;
    /// // What a server does with a `request: http::Request<_>` that came through `stream: TcpStream` from `peer`.
    /// match handler.upgrade(&request, Some(peer.ip())) {
    ///     Ok(upgrade) => {
    ///         write_head(&mut stream, &upgrade.response)?;
    ///         stream.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
    ///         stream.set_write_timeout(Some(std::time::Duration::from_secs(1)))?;
    ///         upgrade.session.serve(stream);
    ///     }
    ///     Err(answer) => write_answer(stream, answer)?,
    /// }
    /// # Ok(())
    /// # });
    /// # let backup = rowferry::Site::open(folder.path().join("backup.db"))?;
    /// # let client = rowferry::Client::connect(&url, rowferry::Auth::code(&code), rowferry::ConnectOptions::default())?;
    /// # client.pull(&backup, rowferry::PullOptions::new())?.ok()?;
    /// # drop(client);
    /// # host.join().expect("the host does not panic")?;
    /// # Ok(())
    /// # }
    /// # #[cfg(all(feature = "sqlite", feature = "client"))]
    /// # fn read_head(stream: &mut std::net::TcpStream) -> std::io::Result<http::Request<()>> {
    /// #     use std::io::{BufRead, BufReader};
    /// #     let mut lines = BufReader::new(stream).lines();
    /// #     let first = lines.next().expect("a request")?;
    /// #     let mut request = http::Request::get(first.split(' ').nth(1).unwrap_or("/"));
    /// #     for line in lines {
    /// #         let line = line?;
    /// #         let Some((name, value)) = line.split_once(": ") else { break };
    /// #         request = request.header(name, value);
    /// #     }
    /// #     Ok(request.body(()).expect("a request"))
    /// # }
    /// # #[cfg(all(feature = "sqlite", feature = "client"))]
    /// # fn write_head(stream: &mut std::net::TcpStream, head: &http::Response<()>) -> std::io::Result<()> {
    /// #     use std::io::Write;
    /// #     write!(stream, "HTTP/1.1 {}\r\n", head.status())?;
    /// #     for (name, value) in head.headers() {
    /// #         write!(stream, "{name}: {}\r\n", value.to_str().unwrap_or_default())?;
    /// #     }
    /// #     stream.write_all(b"\r\n")
    /// # }
    /// # #[cfg(all(feature = "sqlite", feature = "client"))]
    /// # fn write_answer(_: std::net::TcpStream, answer: http::Response<rowferry::Body>) -> std::io::Result<()> {
    /// #     panic!("refused: {}", answer.status())
    /// # }
    /// # #[cfg(not(all(feature = "sqlite", feature = "client")))] fn main() {}
    /// ```
    pub fn serve(self, stream: impl Read + Write) {
        self.serve_until(stream, &CancelToken::new());
    }

    /// [`ChannelSession::serve`] until the token is cancelled, as when your server stops: the peer is then told that this end goes away
    /// (1001), and may come back later. That is noticed when a read ends, and so within the stream's time-out.
    pub fn serve_until(self, stream: impl Read + Write, cancel: &CancelToken) {
        let site = self.site.clone();
        let now = Instant::now();
        let stream = Mounted { stream, cancel, read_by: now, write_by: now, write_time: Duration::ZERO };
        websocket::serve(stream, Vec::new(), self, site.limits());
    }
}

/// A stream that waits as long as it was set to by its own server.
struct Mounted<'c, S> {
    stream: S,
    cancel: &'c CancelToken,
    read_by: Instant,
    write_by: Instant,
    /// How long after a byte was accepted the next one must be.
    write_time: Duration,
}

/// Waits where an attempt that began then and failed so did not.
fn wait_after(error: &io::Error, began: Instant) {
    if error.kind() == ErrorKind::WouldBlock && began.elapsed() < POLL_INTERVAL {
        thread::sleep(POLL_INTERVAL);
    }
}

impl<S: Read> Read for Mounted<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            let now = Instant::now();
            if now >= self.read_by {
                return Err(ErrorKind::WouldBlock.into());
            }
            match self.stream.read(buffer) {
                Err(error) if passing(&error) => wait_after(&error, now),
                result => return result,
            }
        }
    }
}

impl<S: Write> Mounted<'_, S> {
    /// Tries until it is accepted, or the time for writes is over.
    fn attempt<T>(&mut self, mut write: impl FnMut(&mut S) -> io::Result<T>) -> io::Result<T> {
        loop {
            let now = Instant::now();
            if self.cancel.is_cancelled() {
                self.write_by = self.write_by.min(now + GRACE);
            }
            match write(&mut self.stream) {
                // Not `WouldBlock`: the writer would try again.
                Err(error) if passing(&error) && now >= self.write_by => return Err(ErrorKind::TimedOut.into()),
                Err(error) if passing(&error) => wait_after(&error, now),
                result => return result,
            }
        }
    }
}

impl<S: Write> Write for Mounted<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let accepted = self.attempt(|stream| stream.write(bytes))?;
        if accepted > 0 && !self.cancel.is_cancelled() {
            self.write_by = self.write_by.max(clock::later(Instant::now(), self.write_time));
        }
        Ok(accepted)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(S::flush)
    }
}

impl<S: Read + Write> Timed for Mounted<'_, S> {
    fn read_by(&mut self, moment: Instant) {
        self.read_by = moment;
    }

    fn write_within(&mut self, time: Duration) {
        (self.write_by, self.write_time) = (clock::later(Instant::now(), time), time);
    }

    fn stopping(&mut self) -> bool {
        self.cancel.is_cancelled()
    }

    fn has_input(&mut self) -> bool {
        // A read would wait. What the peer says meanwhile is read when its credit is used up.
        false
    }

    fn finish(mut self, closed: bool) {
        let until = Instant::now() + LINGER;
        let (mut scratch, mut drained) = ([0; 4096], 0);
        while !closed && drained < LINGER_BYTES && Instant::now() < until {
            // What was not read would reset the connection, and lose the last message.
            match self.stream.read(&mut scratch) {
                Ok(0) => return,
                Ok(some) => drained += some,
                Err(error) if passing(&error) => thread::sleep(POLL_INTERVAL),
                Err(_) => return,
            }
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use http::Request;
    use tungstenite::protocol::Role;
    use tungstenite::{Error, Message, WebSocket};

    use super::*;
    use crate::domain::session::Direction;
    use crate::limits::Limits;
    use crate::site::Site;

    /// One end of a connection in memory, which fails with this when it would have to wait longer than it may.
    struct Pipe {
        from: mpsc::Receiver<Vec<u8>>,
        rest: Vec<u8>,
        to: mpsc::Sender<Vec<u8>>,
        time: Duration,
        late: ErrorKind,
        reads: Arc<AtomicUsize>,
    }

    fn pipe(time: Duration, late: ErrorKind) -> (Pipe, Pipe, Arc<AtomicUsize>) {
        let ((to_there, there), (to_here, here)) = (mpsc::channel(), mpsc::channel());
        let end = |from, to, time, late| Pipe { from, rest: Vec::new(), to, time, late, reads: Arc::default() };
        let (host, peer) =
            (end(there, to_here, time, late), end(here, to_there, Duration::from_secs(20), ErrorKind::TimedOut));
        let reads = Arc::clone(&host.reads);
        (host, peer, reads)
    }

    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            if self.rest.is_empty() {
                self.rest = match self.from.recv_timeout(self.time) {
                    Ok(bytes) => bytes,
                    Err(mpsc::RecvTimeoutError::Timeout) => return Err(self.late.into()),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(0),
                };
            }
            let length = self.rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.rest[..length]);
            self.rest.drain(..length);
            Ok(length)
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.to.send(bytes.to_vec()).map(|()| bytes.len()).map_err(|_| ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Served {
        _folder: tempfile::TempDir,
        peer: WebSocket<Pipe>,
        cancel: CancelToken,
        reads: Arc<AtomicUsize>,
        thread: thread::JoinHandle<()>,
    }

    /// A channel that a host serves over a pipe, to which a peer was let in by a code.
    fn served(limits: Limits, time: Duration, late: ErrorKind) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::builder().limits(limits).open(folder.path().join("a.db")).unwrap();
        let code = site.sessions().create(Direction::Send).unwrap().code().to_owned();
        let request = Request::get(format!("/sync/websocket?code={code}&vsn=2.0.0"))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let upgrade = site.handler().upgrade(&request.body(()).unwrap(), None).unwrap();
        assert_eq!(upgrade.response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let (host, peer, reads) = pipe(time, late);
        let cancel = CancelToken::new();
        let token = cancel.clone();
        let thread = thread::spawn(move || upgrade.session.serve_until(host, &token));
        Served { _folder: folder, peer: WebSocket::from_raw_socket(peer, Role::Client, None), cancel, reads, thread }
    }

    const HEARTBEAT: &str = r#"[null,"1","phoenix","heartbeat",{}]"#;

    fn is_answered(peer: &mut WebSocket<Pipe>) {
        peer.send(Message::text(HEARTBEAT)).unwrap();
        assert!(peer.read().unwrap().into_text().unwrap().contains(r#""status":"ok""#));
    }

    /// The number that the host closes with.
    fn closed(peer: &mut WebSocket<Pipe>) -> u16 {
        loop {
            match peer.read() {
                Ok(Message::Close(frame)) => return frame.unwrap().code.into(),
                Ok(_) => {}
                Err(error) => panic!("the connection ended without a close: {error}"),
            }
        }
    }

    #[test]
    fn a_peer_is_answered_whatever_the_stream_says_when_it_waits() {
        for late in [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted] {
            let mut served = served(Limits::default(), Duration::from_millis(1), late);
            while served.reads.load(Ordering::SeqCst) < 3 {
                thread::yield_now();
            }
            is_answered(&mut served.peer);
            served.peer.close(None).unwrap();
            assert!(served.peer.read().unwrap().is_close());
            assert!(matches!(served.peer.read(), Err(Error::ConnectionClosed)));
            served.thread.join().unwrap();
        }
    }

    #[test]
    fn a_silent_peer_is_sent_away() {
        let limits = Limits::with(|limits| limits.server.idle_time = Duration::from_millis(50));
        let mut served = served(limits, Duration::from_millis(5), ErrorKind::WouldBlock);
        assert_eq!(closed(&mut served.peer), 1002);
        drop(served.peer);
        served.thread.join().unwrap();
    }

    #[test]
    fn a_peer_that_sends_a_byte_at_a_time_is_sent_away() {
        let limits = Limits::with(|limits| limits.server.idle_time = Duration::from_millis(100));
        let mut served = served(limits, Duration::from_millis(5), ErrorKind::TimedOut);
        // The head of a text message of 125 bytes, and its bytes one by one. Had it come whole, it would be no frame: 1007.
        let to = served.peer.get_ref().to.clone();
        to.send(vec![0x81, 0xfd, 0, 0, 0, 0]).unwrap();
        let trickle = thread::spawn(move || {
            for _ in 0..125 {
                thread::sleep(Duration::from_millis(3));
                if to.send(vec![b'x']).is_err() {
                    return;
                }
            }
        });
        assert_eq!(closed(&mut served.peer), 1002);
        drop(served.peer);
        trickle.join().unwrap();
        served.thread.join().unwrap();
    }

    #[test]
    fn a_message_that_is_too_large_ends_the_channel() {
        let limits = Limits::with(|limits| limits.server.body_bytes = 1_000);
        let mut served = served(limits, Duration::from_millis(5), ErrorKind::TimedOut);
        is_answered(&mut served.peer);
        served.peer.send(Message::text("x".repeat(1_001))).unwrap();
        assert_eq!(closed(&mut served.peer), 1009);
        drop(served.peer);
        served.thread.join().unwrap();
    }

    #[test]
    fn a_host_that_stops_says_so_to_its_peers() {
        let mut served = served(Limits::default(), Duration::from_millis(5), ErrorKind::TimedOut);
        is_answered(&mut served.peer);
        served.cancel.cancel();
        assert_eq!(closed(&mut served.peer), 1001);
        drop(served.peer);
        served.thread.join().unwrap();
    }

    /// A stream that takes nothing, as one to a peer that reads nothing.
    struct Stuck;

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_has_its_time_and_little_of_it_when_the_host_stops() {
        for (time, is_cancelled) in [(Duration::from_millis(30), false), (Duration::from_secs(600), true)] {
            let cancel = CancelToken::new();
            let now = Instant::now();
            let mut mounted =
                Mounted { stream: Stuck, cancel: &cancel, read_by: now, write_by: now + time, write_time: time };
            if is_cancelled {
                cancel.cancel();
            }
            assert_eq!(mounted.write(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
        }
    }

    #[test]
    fn a_session_may_be_served_by_another_thread_than_let_the_peer_in() {
        fn is_send<T: Send>() {}
        is_send::<ChannelSession>();
    }
}
