//! Our server against clients that are broken or mean harm, over real sockets: each is refused, slowed or sent away, the
//! others are served meanwhile, and the server stops when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::support::common::Fixture;
use rowferry::{Direction, Limits, Server, ServerHandle, Site};
use serde_json::{Value as Json, json};
use tungstenite::{Message, WebSocket};

const SHOP: &str = "
    CREATE TABLE secret(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO secret VALUES (1, 'hush');
    CREATE TABLE shown(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT, of INT REFERENCES secret(id));
    INSERT INTO shown VALUES (1, 'a', 1), (2, 'b', NULL), (3, 'c', NULL);
    CREATE TABLE large(id INTEGER PRIMARY KEY, v TEXT);
    INSERT INTO large WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i, printf('%1000d', i) FROM n;
    CREATE VIEW look AS SELECT * FROM secret;
    CREATE VIRTUAL TABLE words USING fts5(w); INSERT INTO words VALUES ('hush');";

struct Served {
    there: Fixture,
    site: Site,
    server: ServerHandle,
}

impl Served {
    fn new(change: impl FnOnce(&mut Limits)) -> Self {
        let there = Fixture::new(SHOP);
        let mut limits = Limits::default();
        change(&mut limits);
        let site = Site::builder().limits(limits).hide_tables(["Secret"]).open(there.path()).unwrap();
        let server = Server::bind(&site, "127.0.0.1:0").unwrap().spawn().unwrap();
        Served { there, site, server }
    }

    fn tcp(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.server.local_addr()).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        tcp
    }

    /// Sends bytes and gives what is answered until the server closes, or the answer to the first request.
    fn say(&self, bytes: &[u8]) -> String {
        let mut tcp = self.tcp();
        // The server may have said no before all of it was sent.
        let _ = tcp.write_all(bytes);
        answer(&mut tcp)
    }

    fn status(&self) -> String {
        self.say(b"GET /sync/api/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    }

    fn is_well(&self) {
        let status = self.status();
        assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
        let mut peer = self.peer();
        assert_eq!(peer.ask("count", json!({"table": "shown"}))["count"], 3);
    }

    fn code(&self) -> String {
        self.site.sessions().create(Direction::Send).unwrap().code().to_owned()
    }

    /// A peer that has connected and has not joined.
    fn stranger(&self) -> Peer {
        let code = self.code();
        let url = format!("ws://{}/sync/websocket?code={code}&vsn=2.0.0", self.server.local_addr());
        let (socket, _) = tungstenite::client(url, self.tcp()).unwrap();
        Peer { socket, topic: format!("transfer:{code}"), next: 1 }
    }

    fn peer(&self) -> Peer {
        let mut peer = self.stranger();
        let topic = peer.topic.clone();
        let joined = peer.join(&topic);
        assert_eq!(joined["status"], "ok");
        peer
    }
}

fn answer(tcp: &mut TcpStream) -> String {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read) = tcp.read(&mut piece) {
        all.extend_from_slice(&piece[..read]);
        if read == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

struct Peer {
    socket: WebSocket<TcpStream>,
    topic: String,
    next: u64,
}

impl Peer {
    fn text(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).unwrap();
    }

    fn raw(&mut self, bytes: &[u8]) {
        let _ = self.socket.get_mut().write_all(bytes);
    }

    /// A frame with a mask of zeros, which is a mask.
    fn frame(&mut self, first: u8, content: &[u8]) {
        let length = (content.len() as u64).to_be_bytes();
        let length = if content.len() < 126 { vec![0x80 | content.len() as u8] } else { [&[0xff][..], &length].concat() };
        self.raw(&[&[first], &length[..], &[0; 4], content].concat());
    }

    fn hear(&mut self) -> Json {
        loop {
            if let Message::Text(text) = self.socket.read().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    fn join(&mut self, topic: &str) -> Json {
        self.join_as(topic, json!({"rowferry": {"version": 1}}))
    }

    fn join_as(&mut self, topic: &str, receiver_info: Json) -> Json {
        self.text(json!([null, "j", topic, "phx_join", {"receiver_info": receiver_info}]).to_string());
        self.hear()[4].clone()
    }

    fn ask(&mut self, what: &str, mut payload: Json) -> Json {
        self.next += 1;
        payload["ref"] = json!(self.next.to_string());
        self.text(json!([null, null, self.topic, format!("request:{what}"), payload]).to_string());
        let heard = self.hear();
        assert_eq!(heard[4]["ref"], payload["ref"]);
        heard[4].clone()
    }

    /// The code with which the server closes; 0 if it says none.
    fn closed(&mut self) -> u16 {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map_or(0, |frame| frame.code.into()),
                Ok(_) => {}
                Err(error) => panic!("the server did not say goodbye: {error}"),
            }
        }
    }
}

#[test]
fn what_is_hidden_stays_hidden() {
    let served = Served::new(|_| ());
    let mut peer = served.peer();
    let tables = peer.ask("tables", json!({}));
    assert_eq!(
        tables["tables"],
        json!([{"estimated_count": 2000, "name": "large"}, {"estimated_count": 3, "name": "shown"}])
    );
    let hidden = [
        "secret",
        "SECRET",
        "look",
        "words",
        "words_data",
        "Words_Content",
        "sqlite_schema",
        "SQLITE_master",
        "sqlite_sequence",
        "sqlite_autoindex_rowferry_settings_1",
        "rowferry_settings",
        "RowFerry_Sessions",
        "rowferry_pulls",
        "pragma_table_list",
        "main.secret",
        "\"secret\"",
        "shown\"; SELECT * FROM secret; --",
        "secret\0",
        "",
        "json_each",
        "dbstat",
        "temp.secret",
    ];
    for table in hidden {
        for what in ["schema", "count", "records"] {
            let answer = peer.ask(what, json!({"table": table, "limit": 10})).to_string();
            assert!(answer.contains("\"error\"") && answer.contains("not"), "{what} {table}: {answer}");
            assert!(!answer.contains("hush"), "{what} {table}: {answer}");
        }
    }
    // What refers to a hidden table does not tell of it.
    let schema = peer.ask("schema", json!({"table": "SHOWN"})).to_string();
    assert!(schema.contains("\"shown\"") && !schema.to_lowercase().contains("secret"), "{schema}");
}

#[test]
fn strange_requests_are_answered_and_the_channel_goes_on() {
    let served = Served::new(|_| ());
    let mut peer = served.peer();
    let records = |offset: Json, limit: Json| json!({"table": "shown", "offset": offset, "limit": limit});
    for (payload, count) in [
        (records(json!(0), json!(u64::MAX)), Some(3)),
        (records(json!(-5), json!(1)), Some(1)),
        (records(json!(i64::MIN), json!(2)), Some(2)),
        (records(json!(i64::MAX), json!(2)), Some(0)),
        (records(json!(u64::MAX), json!(2)), None),
        (records(json!(1e300), json!(2)), None),
        (records(json!(1.5), json!(2)), None),
        (records(json!("1"), json!(2)), None),
        (records(json!([]), json!(2)), None),
        (records(json!(0), json!(0)), None),
        (records(json!(0), json!(-1)), None),
        (records(json!(0), json!("2")), None),
        (records(json!(0), json!(1e300)), None),
        (records(json!(0), json!({})), None),
        (json!({"table": null}), None),
        (json!({"table": {"a": 1}}), None),
        (json!({"table": "x".repeat(100_000)}), None),
        (json!({}), None),
    ] {
        let answer = peer.ask("records", payload.clone());
        match count {
            Some(count) => assert_eq!(answer["records"].as_array().unwrap().len(), count, "{payload}"),
            None => assert!(answer["error"].is_string(), "{payload}: {answer}"),
        }
    }
    for quiet in [
        json!([null, "1", peer.topic, "request:nothing", {}]),
        json!([null, "1", "room:1", "phx_join", {}]),
        json!([null, null, peer.topic, "request:tables", []]),
        json!([null, "1", peer.topic, "phx_leave", {}]),
    ] {
        peer.text(quiet.to_string());
    }
    assert_eq!(peer.ask("count", json!({"table": "shown"}))["count"], 3);
}

#[test]
fn peers_without_a_join_and_with_a_wrong_one() {
    let served = Served::new(|_| ());
    let mut peer = served.stranger();
    for what in ["tables", "records", "schema", "count", "capabilities"] {
        peer.text(json!([null, "1", peer.topic, format!("request:{what}"), {"table": "shown", "ref": "1"}]).to_string());
    }
    for wrong in ["transfer:ZZZZZZZZ", "transfer:", "transfer:self", "transfer:conn:1"] {
        assert_eq!(peer.join(wrong)["response"]["reason"], "code_mismatch", "{wrong}");
    }
    let topic = peer.topic.to_lowercase();
    assert_eq!(peer.join(&topic)["response"]["reason"], "code_mismatch");
    let topic = peer.topic.clone();
    assert_eq!(peer.join(&topic)["status"], "ok");
    assert_eq!(peer.ask("count", json!({"table": "shown"}))["count"], 3);
}

#[test]
fn frames_that_break_the_rules() {
    type Breach = fn(&mut Peer);
    let served = Served::new(|limits| limits.server.body_bytes = 64 << 10);
    let cases: [(&str, u16, Breach); 13] = [
        ("no JSON", 1007, |peer| peer.text("junk")),
        ("deep JSON", 1007, |peer| peer.text("[".repeat(60_000))),
        ("no frame", 1002, |peer| peer.text("{}")),
        ("not UTF-8", 1007, |peer| peer.frame(0x81, &[0xff, 0xfe])),
        ("half a character in two frames", 1007, |peer| {
            peer.frame(0x01, "ř".as_bytes().get(..1).unwrap());
            peer.frame(0x80, b"x");
        }),
        ("no mask", 1002, |peer| peer.raw(&[0x81, 0x02, b'{', b'}'])),
        ("reserved bits", 1002, |peer| peer.frame(0xf1, b"{}")),
        ("unknown opcode", 1002, |peer| peer.frame(0x83, b"{}")),
        ("a long ping", 1002, |peer| peer.frame(0x89, &[0; 200])),
        ("a ping in two frames", 1002, |peer| peer.frame(0x09, b"x")),
        ("the end of nothing", 1002, |peer| peer.frame(0x80, b"x")),
        ("too large", 1009, |peer| peer.frame(0x81, &[b' '; 70_000])),
        ("no end of fragments", 1009, |peer| {
            peer.frame(0x01, b"[");
            (0..1_000).for_each(|_| peer.frame(0x00, &[b' '; 100]));
        }),
    ];
    for (name, code, breach) in cases {
        let mut peer = served.peer();
        breach(&mut peer);
        assert_eq!(peer.closed(), code, "{name}");
    }
    let mut peer = served.peer();
    peer.raw(&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    peer.raw(&[b' '; 1_000]);
    assert!(matches!(peer.closed(), 1002 | 1009), "an absurd length");
    served.is_well();
}

#[test]
fn floods_and_fragments_are_borne() {
    let served = Served::new(|_| ());
    // Binary messages of a peer of PhoenixKit mean nothing.
    let mut peer = served.stranger();
    let topic = peer.topic.clone();
    assert_eq!(peer.join_as(&topic, json!({}))["status"], "ok");
    for _ in 0..5_000 {
        peer.frame(0x89, b"ping");
        peer.frame(0x8a, b"pong");
        peer.frame(0x82, b"binary");
    }
    let text = json!([null, null, peer.topic, "request:count", {"table": "shown", "ref": "9"}]).to_string();
    let (first, rest) = text.as_bytes().split_first().unwrap();
    peer.frame(0x01, &[*first]);
    for byte in rest {
        peer.frame(0x00, &[*byte]);
        peer.frame(0x89, b"in between");
    }
    peer.frame(0x80, b"");
    assert_eq!(peer.hear()[4]["count"], 3);
    for _ in 0..200 {
        peer.text(r#"[null,"1","phoenix","heartbeat",{}]"#);
    }
    for _ in 0..200 {
        assert_eq!(peer.hear()[4]["status"], "ok");
    }
    served.is_well();
}

#[test]
fn binary_junk_of_a_rowferry_peer_ends_its_channel() {
    let served = Served::new(|_| ());
    for junk in [&b""[..], b"binary", b"rf\x01\x01\0\0\0\x01", b"rf\x02\x01\0\0\0\x01\0\0\0\0"] {
        let mut peer = served.peer();
        peer.frame(0x82, junk);
        assert_eq!(peer.closed(), 1002, "{junk:?}");
    }
    served.is_well();
}

#[test]
fn heads_and_bodies_that_break_the_rules() {
    let served = Served::new(|limits| limits.server.request_time = Duration::from_millis(500));
    let status = "GET /sync/api/status HTTP/1.1\r\nHost: a\r\n";
    let post = "POST /sync/api/list-tables HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    for (request, expected) in [
        ("\0\0\0\0\r\n\r\n".to_owned(), "400"),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".to_owned(), "400"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "505"),
        (format!("{status}X: {}\r\n\r\n", "x".repeat(1 << 20)), "431"),
        (format!("{status}{}\r\n", "x: y\r\n".repeat(1_000)), "431"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1 << 20)), "431"),
        (format!("{post}Content-Length: 99999999999999999999\r\n\r\n"), "413"),
        (format!("{post}Content-Length: 1048577\r\n\r\n{}", "x".repeat(1_048_577)), "413"),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\nffffffff\r\n{}", "x".repeat(100_000)), "413"),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "400"),
        (format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), "400"),
        // Whole heads are promised and do not come.
        ("GET /sync/api/st".to_owned(), "408"),
        (format!("{post}Content-Length: 10\r\n\r\nhalf"), "408"),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\nhal"), "408"),
    ] {
        let shown: String = request.chars().take(100).collect();
        let answer = served.say(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{shown}: {answer}");
    }
    served.is_well();
}

#[test]
fn slow_and_silent_peers_hold_their_places_for_a_while_only() {
    let served = Served::new(|limits| {
        (limits.server.connections, limits.server.connections_per_address) = (6, Some(6));
        limits.server.request_time = Duration::from_millis(700);
    });
    let mut slow: Vec<TcpStream> = (0..6).map(|_| served.tcp()).collect();
    let began = Instant::now();
    // A client that comes now is told so, unless it comes before the slow ones have begun to ask, or after they have gone.
    let mut answers = Vec::new();
    while !answers.iter().any(|answer: &String| answer.starts_with("HTTP/1.1 200 ")) {
        for peer in &mut slow {
            let _ = peer.write_all(b"x");
        }
        answers.push(served.status());
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    assert!(
        answers
            .iter()
            .all(|answer| answer.is_empty() || answer.starts_with("HTTP/1.1 503 ") || answer.starts_with("HTTP/1.1 200 "))
    );
    // Until the last of them is gone, each that comes may be told so again.
    drop(slow);
    while !served.status().starts_with("HTTP/1.1 200 ") || !served.status().starts_with("HTTP/1.1 200 ") {
        std::thread::sleep(Duration::from_millis(100));
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    served.is_well();
}

#[test]
fn peers_that_take_nothing_do_not_keep_the_server() {
    let served = Served::new(|_| ());
    let mut peers: Vec<Peer> = (0..4).map(|_| served.peer()).collect();
    for peer in &mut peers {
        // Far more than the buffers in between hold, and none of it is read.
        for _ in 0..60 {
            let request =
                json!([null, null, peer.topic, "request:records", {"table": "large", "limit": 10_000, "ref": "1"}]);
            peer.text(request.to_string());
        }
    }
    let mut half_open: Vec<TcpStream> = (0..4).map(|_| served.tcp()).collect();
    half_open.iter_mut().for_each(|tcp| tcp.write_all(b"GET /sync/").unwrap());
    half_open[0].shutdown(Shutdown::Write).unwrap();
    served.is_well();
    let began = Instant::now();
    let there = served.there;
    served.server.stop();
    assert!(began.elapsed() < Duration::from_secs(9), "it gave up waiting");
    assert_eq!(there.rows("SELECT count(*) FROM shown"), ["3"]);
    drop((peers, half_open));
}

fn upgrade(code: &str) -> String {
    format!(
        "GET /sync/websocket?code={code} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

#[test]
fn guesses_are_slowed() {
    let served = Served::new(|limits| limits.server.code_attempts_per_minute = 5);
    let code = served.code();
    let closing = |code: &str| upgrade(code).replace("Host: a", "Host: a\r\nConnection: close");
    let answers: Vec<String> = (0..8).map(|_| served.say(closing("ZZZZZZZZ").as_bytes())).collect();
    assert!(answers[..5].iter().all(|answer| answer.starts_with("HTTP/1.1 403 ")), "{answers:?}");
    assert!(answers[5..].iter().all(|answer| answer.starts_with("HTTP/1.1 429 ") && answer.contains("retry-after: ")));
    assert!(served.say(closing(&code).as_bytes()).starts_with("HTTP/1.1 429 "), "the right code must not stand out");
    let sessions = served.site.sessions().list_active().unwrap();
    assert_eq!(sessions.len(), 1, "the code is not spent");
}

#[test]
fn of_many_who_use_a_code_at_once_one_gets_in() {
    let served = Served::new(|_| ());
    for _ in 0..5 {
        let (code, address) = (served.code(), served.server.local_addr());
        let answers: Vec<String> = std::thread::scope(|threads| {
            let ask = || {
                let mut tcp = TcpStream::connect(address).unwrap();
                tcp.write_all(upgrade(&code).as_bytes()).unwrap();
                let mut first = [0; 12];
                tcp.read_exact(&mut first).unwrap();
                String::from_utf8_lossy(&first).into_owned()
            };
            let threads: Vec<_> = (0..16).map(|_| threads.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let of = |status: &str| answers.iter().filter(|answer| answer.as_str() == format!("HTTP/1.1 {status}")).count();
        assert_eq!((of("101"), of("403") + of("429")), (1, 15), "{answers:?}");
    }
}
