//! The blocking server over real sockets: what it takes, what it refuses, and how it ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rowferry::{Direction, Limits, Server, ServerHandle, Site};
use tempfile::TempDir;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

const STATUS: &str = "GET /sync/api/status HTTP/1.1\r\nHost: a\r\n\r\n";
const STATUS_BODY: &str = r#"{"enabled":true,"incoming_mode":"require_approval","password_required":false}"#;
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A running server. The folder goes last.
struct Fixture {
    server: ServerHandle,
    site: Site,
    _folder: TempDir,
}

fn fixture(change: impl FnOnce(&mut Limits)) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    change(&mut limits);
    let site = Site::builder().limits(limits).open(folder.path().join("shop.db")).unwrap();
    let server = Server::bind(&site, "127.0.0.1:0").unwrap().spawn().unwrap();
    Fixture { server, site, _folder: folder }
}

/// A peer with a time-out that only a hanging test meets.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Reads one answer: status, head, body.
fn answer(stream: &mut impl Read) -> (u16, String, String) {
    answer_to(stream, true)
}

fn answer_to(stream: &mut impl Read, has_body: bool) -> (u16, String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; if has_body { length } else { 0 }];
    stream.read_exact(&mut body).unwrap();
    (status, head, String::from_utf8(body).unwrap())
}

/// Whether the peer has closed: nothing more comes.
fn is_closed(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
    }
}

fn ask(fixture: &Fixture, request: &str) -> (u16, String) {
    let mut stream = connect(fixture.server.local_addr());
    stream.write_all(request.as_bytes()).unwrap();
    let (status, _, body) = answer(&mut stream);
    (status, body)
}

fn websocket(fixture: &Fixture, behind: &[u8]) -> (WebSocket<TcpStream>, String) {
    let session = fixture.site.sessions().create(Direction::Send).unwrap();
    let mut stream = connect(fixture.server.local_addr());
    let head = format!("GET /sync/websocket?code={}&vsn=2.0.0 HTTP/1.1\r\nHost: a\r\n{UPGRADE}", session.code());
    stream.write_all(&[head.as_bytes(), behind].concat()).unwrap();
    let (status, head, _) = answer(&mut stream);
    assert_eq!(status, 101);
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    (WebSocket::from_raw_socket(stream, Role::Client, None), session.code().to_owned())
}

/// The code of the close frame that comes next; whatever came before is dropped.
fn close_code(socket: &mut WebSocket<TcpStream>) -> u16 {
    loop {
        if let Message::Close(frame) = socket.read().unwrap() {
            return frame.unwrap().code.into();
        }
    }
}

#[test]
fn many_requests_on_one_connection() {
    let fixture = fixture(|_| {});
    let mut stream = connect(fixture.server.local_addr());
    for _ in 0..3 {
        stream.write_all(STATUS.as_bytes()).unwrap();
        let (status, head, body) = answer(&mut stream);
        assert_eq!((status, body.as_str()), (200, STATUS_BODY));
        for line in
            ["content-type: application/json; charset=utf-8", "content-length: 77", "connection: keep-alive", "date: "]
        {
            assert!(head.contains(line), "{head}");
        }
    }
    stream.write_all(STATUS.replace("GET", "HEAD").as_bytes()).unwrap();
    let (status, head, _) = answer_to(&mut stream, false);
    assert!(status == 200 && head.contains("content-length: 77"), "{head}");
    stream.write_all(STATUS.repeat(5).as_bytes()).unwrap();
    for _ in 0..5 {
        assert_eq!(answer(&mut stream).2, STATUS_BODY, "pipelined");
    }
    stream.write_all(STATUS.replace("Host: a", "Host: a\r\nConnection: close").as_bytes()).unwrap();
    let (status, head, _) = answer(&mut stream);
    assert!(status == 200 && head.contains("connection: close"), "{head}");
    assert!(is_closed(&mut stream));
}

#[test]
fn bodies_are_read_however_they_are_framed() {
    let fixture = fixture(|_| {});
    let mut stream = connect(fixture.server.local_addr());
    let not_found = r#"{"errors":{"detail":"Not Found"}}"#;
    for body in [
        "Content-Length: 2\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nT: x\r\n\r\n",
        "Content-Length: 0\r\n\r\n",
    ] {
        stream.write_all(format!("POST /sync/api/nope HTTP/1.1\r\nHost: a\r\n{body}").as_bytes()).unwrap();
        let (status, _, body) = answer(&mut stream);
        assert_eq!((status, body.as_str()), (404, not_found));
    }
    let head = "POST /sync/api/nope HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).0, 100);
    stream.write_all(b"{}").unwrap();
    assert_eq!(answer(&mut stream).0, 404);
    stream.write_all(STATUS.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).0, 200);
}

#[test]
fn bad_requests_are_refused_and_the_connection_closed() {
    let fixture = fixture(|limits| limits.server.body_bytes = 100);
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    for (request, status) in [
        ("hello\r\n\r\n".to_owned(), 400),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
        (post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\n") + "5\nhello\r\n0\r\n\r\n", 400),
        (post("Transfer-Encoding: chunked\r\n") + "zz\r\n", 400),
        (post("Transfer-Encoding: gzip\r\n"), 501),
        (post("Content-Length: 101\r\n"), 413),
        (post("Transfer-Encoding: chunked\r\n") + "65\r\n", 413),
        ("GET / HTTP/2.5\r\n\r\n".to_owned(), 505),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(100)), 431),
    ] {
        let mut stream = connect(fixture.server.local_addr());
        stream.write_all(request.as_bytes()).unwrap();
        let (got, head, _) = answer(&mut stream);
        assert!(got == status && head.contains("connection: close"), "{request:.60} {head}");
        assert!(is_closed(&mut stream), "{request:.60}");
    }
    assert_eq!(ask(&fixture, STATUS).0, 200);
}

#[test]
fn who_sends_a_byte_at_a_time_gets_no_more_time() {
    let fixture = fixture(|limits| limits.server.request_time = Duration::from_secs(1));
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n";
    let taken = |error: std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    for begin in ["GET / HTTP/1.1\r\nHost: ", body] {
        let mut stream = connect(fixture.server.local_addr());
        stream.write_all(begin.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // Far fewer bytes than either limit, sent for far longer than the time.
        let answered = (0..1000).any(|_| stream.write_all(b"x").is_err() || !stream.peek(&mut [0]).is_err_and(taken));
        assert!(answered, "{begin}");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(answer(&mut stream).0, 408);
    }
}

#[test]
fn silent_connections_are_closed() {
    let impatient = fixture(|limits| limits.server.request_time = Duration::from_millis(50));
    assert!(is_closed(&mut connect(impatient.server.local_addr())));
    let fixture = fixture(|limits| limits.server.keep_alive_time = Duration::from_millis(50));
    let mut once = connect(fixture.server.local_addr());
    once.write_all(STATUS.as_bytes()).unwrap();
    assert_eq!(answer(&mut once).0, 200);
    assert!(is_closed(&mut once));
}

/// Asks until the answer is 200: a place is free only once a thread has noticed that its peer has gone.
fn is_let_in(fixture: &Fixture) -> bool {
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while std::time::Instant::now() < until {
        let mut next = connect(fixture.server.local_addr());
        if next.write_all(STATUS.as_bytes()).is_ok() && answer(&mut next).0 == 200 {
            return true;
        }
    }
    false
}

/// The answer to a connection that there is no place for.
fn is_told_to_wait(stream: &mut TcpStream) -> bool {
    let (status, head, body) = answer(stream);
    assert_eq!((status, body.as_str()), (503, r#"{"errors":{"detail":"too many connections"}}"#));
    assert!(head.contains("retry-after: 5\r\n") && head.contains("connection: close\r\n"), "{head}");
    is_closed(stream)
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let fixture = fixture(|limits| limits.server.connections = 1);
    let (socket, _) = websocket(&fixture, b"");
    let mut many: Vec<_> = (0..50).map(|_| connect(fixture.server.local_addr())).collect();
    for next in &mut many {
        assert!(is_told_to_wait(next), "each of them, however many there are");
    }
    drop((socket, many));
    assert!(is_let_in(&fixture));
}

#[test]
fn an_address_cannot_take_all_connections() {
    let fixture = fixture(|limits| (limits.server.connections, limits.server.connections_per_address) = (20, Some(2)));
    let sockets = [websocket(&fixture, b""), websocket(&fixture, b"")];
    assert!(is_told_to_wait(&mut connect(fixture.server.local_addr())));
    drop(sockets);
    assert!(is_let_in(&fixture));
}

#[test]
fn who_waits_gives_way_to_who_comes() {
    let fixture = fixture(|limits| limits.server.connections = 2);
    let asked = || {
        let mut stream = connect(fixture.server.local_addr());
        stream.write_all(STATUS.as_bytes()).unwrap();
        assert_eq!(answer(&mut stream).0, 200);
        stream
    };
    let mut both = [asked(), asked()];
    // Which of them waits longest only the server knows: its threads may be late.
    assert!(is_let_in(&fixture));
    let closed = both.each_mut().map(|stream| stream.write_all(STATUS.as_bytes()).is_err() || is_closed(stream));
    assert!(closed[0] != closed[1], "one of them is kept: {closed:?}");
}

#[test]
fn silent_peers_keep_nobody_out() {
    let fixture = fixture(|limits| limits.server.connections = 4);
    let _silent: Vec<_> = (0..40).map(|_| connect(fixture.server.local_addr())).collect();
    assert!(is_let_in(&fixture));
}

#[test]
fn behind_a_trusted_proxy_each_address_has_its_share() {
    let fixture = fixture(|limits| (limits.server.connections, limits.server.connections_per_address) = (20, Some(1)));
    let builder = Server::builder(&fixture.site).trust_proxies(["127.0.0.0/8".parse().unwrap()]);
    let server = builder.bind("127.0.0.1:0").unwrap().spawn().unwrap();
    let ask = |address: &str, end: &str| {
        let session = fixture.site.sessions().create(Direction::Send).unwrap();
        let mut stream = connect(server.local_addr());
        let head = format!(
            "GET /sync/websocket?code={} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n{end}",
            session.code()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let (status, head, _) = answer(&mut stream);
        (status, head.contains("retry-after: 5\r\n"), stream)
    };
    let first = ask("192.0.2.1", UPGRADE);
    assert_eq!(first.0, 101);
    let refused = ask("192.0.2.1", UPGRADE);
    assert_eq!((refused.0, refused.1), (503, true));
    let other = ask("192.0.2.2", UPGRADE);
    assert_eq!(other.0, 101);
}

#[test]
fn refused_upgrades_leave_the_code_alone() {
    let fixture = fixture(|_| {});
    let session = fixture.site.sessions().create(Direction::Send).unwrap();
    let good = format!("/sync/websocket?code={}", session.code());
    let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}");
    for (request, status, text) in [
        (get(&good, "\r\n"), 400, "Expected WebSocket upgrade"),
        (get(&good, &UPGRADE.replace("13", "8")), 400, "Expected WebSocket upgrade"),
        (get(&good, &format!("Content-Length: 1\r\n{UPGRADE}x")), 400, "Expected WebSocket upgrade"),
        (get(&good, UPGRADE).replace("HTTP/1.1", "HTTP/1.0"), 400, "Expected WebSocket upgrade"),
        (get("/sync/websocket", UPGRADE), 403, "Missing authentication"),
        (get("/sync/websocket?code=ZZZZZZZZ", UPGRADE), 403, "Invalid code"),
        (get(&format!("{good}&token=x"), UPGRADE), 403, "Invalid token"),
    ] {
        assert_eq!(ask(&fixture, &request), (status, text.to_owned()), "{request}");
    }
    assert_eq!(ask(&fixture, &get(&good, UPGRADE)).0, 101);
    assert_eq!(ask(&fixture, &get(&good, UPGRADE)), (403, "Code already used".into()));
    let used = fixture.site.sessions().get(session.uuid()).unwrap();
    assert_eq!(used.used_by.as_deref(), Some("127.0.0.1"));
}

#[test]
fn a_channel_works_from_its_first_bytes() {
    let fixture = fixture(|_| {});
    // A masked frame in the same packet as the request: a ping with one byte.
    let (mut socket, code) = websocket(&fixture, &[0x89, 0x81, 0, 0, 0, 0, b'x']);
    assert_eq!(socket.read().unwrap(), Message::Pong(b"x".to_vec().into()));
    let join = format!(r#"[null,"1","transfer:{code}","phx_join",{{"receiver_info":{{}}}}]"#);
    socket.send(Message::text(join)).unwrap();
    let ok = format!(r#"[null,"1","transfer:{code}","phx_reply",{{"response":{{}},"status":"ok"}}]"#);
    assert_eq!(socket.read().unwrap(), Message::text(ok));
    socket.send(Message::binary(b"ignored".to_vec())).unwrap();
    socket.send(Message::text(r#"[null,"2","phoenix","heartbeat",{}]"#)).unwrap();
    let beat = r#"[null,"2","phoenix","phx_reply",{"response":{},"status":"ok"}]"#;
    assert_eq!(socket.read().unwrap(), Message::text(beat));
    socket.close(None).unwrap();
    assert!(matches!(socket.read().unwrap(), Message::Close(_)));
    assert!(socket.read().is_err());
}

#[test]
fn channels_that_break_the_protocol_are_closed() {
    let fixture = fixture(|limits| limits.server.body_bytes = 1000);
    for (frame, code) in [
        (&b"\x81\x85\0\0\0\0hello"[..], 1007),
        (b"\x81\x81\0\0\0\x005", 1002),
        (b"\x81\x82\0\0\0\0\xff\xfe", 1007),
        (b"\x81\x02[]", 1002),
        (b"\x81\xfe\x7f\xff\0\0\0\0", 1009),
        (b"\x83\x80\0\0\0\0", 1002),
    ] {
        let (mut socket, _) = websocket(&fixture, frame);
        assert_eq!(close_code(&mut socket), code, "{frame:?}");
    }
}

#[test]
fn idle_channels_are_closed() {
    let fixture = fixture(|limits| limits.server.idle_time = Duration::from_millis(50));
    let (mut socket, _) = websocket(&fixture, b"");
    assert_eq!(close_code(&mut socket), 1002);
}

#[test]
fn a_stop_ends_everything() {
    let fixture = fixture(|_| {});
    let address = fixture.server.local_addr();
    let (mut socket, _) = websocket(&fixture, b"");
    let mut silent = connect(address);
    let mut kept = connect(address);
    kept.write_all(STATUS.as_bytes()).unwrap();
    assert_eq!(answer(&mut kept).0, 200);
    let reader = std::thread::spawn(move || close_code(&mut socket));
    fixture.server.stop();
    assert_eq!(reader.join().unwrap(), 1001);
    assert!(is_closed(&mut silent) && is_closed(&mut kept));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_dropped_handle_stops_too_and_addresses_in_use_are_said_to_be() {
    let fixture = fixture(|_| {});
    let address = fixture.server.local_addr();
    let error = Server::bind(&fixture.site, address).unwrap_err();
    assert!(error.message().contains("cannot listen") && error.hint().is_some(), "{error}");
    assert_eq!(fixture.server.url(), format!("http://{address}"));
    drop(fixture);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_prefix_is_answered_under() {
    let fixture = fixture(|_| {});
    let builder = Server::builder(&fixture.site).prefix("/shop").unwrap();
    let server = builder.bind("127.0.0.1:0").unwrap().spawn().unwrap();
    let mut stream = connect(server.local_addr());
    for (path, status) in [("/shop/sync/api/status", 200), ("/sync/api/status", 200), ("/other/sync/api/status", 404)] {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(answer(&mut stream).0, status);
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    use super::*;

    /// A server that speaks TLS, and its certificate.
    fn served(fixture: &Fixture) -> (ServerHandle, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem();
        let tls = rowferry::ServerTls::from_pem(made.cert.pem().as_bytes(), key.as_bytes()).unwrap();
        let server = Server::builder(&fixture.site).tls(tls).bind("127.0.0.1:0").unwrap().spawn().unwrap();
        (server, made.cert.der().clone())
    }

    fn client(address: SocketAddr, certificate: &CertificateDer<'static>) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let client = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        StreamOwned::new(client, connect(address))
    }

    #[test]
    fn tls_is_spoken_and_plain_http_is_not_then() {
        let fixture = fixture(|_| {});
        let (server, certificate) = served(&fixture);
        assert!(server.url().starts_with("https://"));
        let mut stream = client(server.local_addr(), &certificate);
        for _ in 0..2 {
            stream.write_all(STATUS.as_bytes()).unwrap();
            assert_eq!(answer(&mut stream).2, STATUS_BODY);
        }
        let session = fixture.site.sessions().create(Direction::Send).unwrap();
        let head = format!("GET /sync/websocket?code={} HTTP/1.1\r\nHost: a\r\n{UPGRADE}", session.code());
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(answer(&mut stream).0, 101);
        let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
        socket.send(Message::text(r#"[null,"2","phoenix","heartbeat",{}]"#)).unwrap();
        assert!(socket.read().unwrap().to_text().unwrap().contains("phx_reply"));

        let mut plain = connect(server.local_addr());
        plain.write_all(STATUS.as_bytes()).unwrap();
        let mut got = Vec::new();
        let _ = plain.read_to_end(&mut got);
        assert!(!got.starts_with(b"HTTP"), "{got:?}");
    }

    #[test]
    fn who_is_refused_is_told_so_over_tls() {
        let fixture = fixture(|limits| limits.server.connections = 1);
        let (server, certificate) = served(&fixture);
        let session = fixture.site.sessions().create(Direction::Send).unwrap();
        let mut first = client(server.local_addr(), &certificate);
        let head = format!("GET /sync/websocket?code={} HTTP/1.1\r\nHost: a\r\n{UPGRADE}", session.code());
        first.write_all(head.as_bytes()).unwrap();
        assert_eq!(answer(&mut first).0, 101);
        let mut second = client(server.local_addr(), &certificate);
        let (status, head, _) = answer(&mut second);
        assert!(status == 503 && head.contains("retry-after: 5\r\n"), "{head}");
    }
}
