//! The client against frames as PhoenixKit writes them: a scripted server on loopback says each in the
//! reference's exact spelling, and checks each frame that the client sends, byte by byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rowferry::{Auth, CancelToken, Client, ConnectOptions, Error, ErrorKind, FetchOptions, Limits, Reason, ValueRef};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{Message, WebSocket};

const CODE: &str = "A7X9K2M4";
const JOIN: &str = r#"[null,"1","transfer:A7X9K2M4","phx_join",{"receiver_info":{"project":"peer","rowferry":{"message_bytes":67108864,"version":1}}}]"#;
const JOINED: &str = r#"[null,"1","transfer:A7X9K2M4","phx_reply",{"response":{},"status":"ok"}]"#;

/// A server on loopback that follows a script; [`Fake::end`] passes on what went wrong in it.
struct Fake {
    url: String,
    script: JoinHandle<()>,
}

impl Fake {
    fn new(script: impl FnOnce(&TcpListener) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Fake { url, script: std::thread::spawn(move || script(&listener)) }
    }

    /// A server that lets the client join, and then follows the script.
    fn joined(script: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        Fake::new(move |listener| {
            let mut peer = Peer::accept(listener, IN_QUERY);
            peer.hears(JOIN);
            peer.says(JOINED);
            script(&mut peer);
        })
    }

    fn connect_with(&self, options: ConnectOptions) -> Result<Client, Error> {
        Client::connect(&self.url, Auth::code(CODE), options.receiver_info("project", "peer"))
    }

    fn connect(&self) -> Client {
        self.connect_with(quick()).unwrap()
    }

    fn end(self) {
        if let Err(panic) = self.script.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Options with which a test that goes wrong does not take a minute; no heartbeats, so that all frames are the calls'.
fn quick() -> ConnectOptions {
    let time = Duration::from_secs(5);
    ConnectOptions::default().connect_timeout(time).join_timeout(time).request_timeout(time).heartbeat(None)
}

struct Peer(WebSocket<TcpStream>);

impl Peer {
    /// As PhoenixKit does, which takes a code in the query only.
    fn accept(listener: &TcpListener, target: &str) -> Peer {
        let asked = miss(&mut listener.accept().unwrap().0);
        assert!(asked.starts_with(&format!("GET {} HTTP/1.1\r\n", target.replace(&format!("code={CODE}&"), ""))), "{asked}");
        assert!(asked.contains(&format!("\r\nx-rowferry-auth: code={CODE}&vsn=2.0.0&receiver=")), "{asked}");
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut asked = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
        let check = |request: &Request, response: Response| {
            assert!(!request.headers().contains_key("x-rowferry-auth"));
            asked = request.uri().to_string();
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(stream, check).unwrap();
        assert_eq!(asked, target);
        Peer(socket)
    }

    fn hears(&mut self, text: &str) {
        assert_eq!(self.0.read().unwrap(), Message::text(text));
    }

    fn says(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    fn closes(&mut self, code: u16) {
        self.0.close(Some(CloseFrame { code: CloseCode::from(code), reason: "".into() })).unwrap();
        while self.0.read().is_ok() {}
    }

    fn hears_the_end(&mut self) {
        assert!(matches!(self.0.read(), Ok(Message::Close(None))));
        while self.0.read().is_ok() {}
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

/// Reads a request, and answers that nothing lets it in.
fn miss(stream: &mut TcpStream) -> String {
    let request = read_request(stream);
    stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 22\r\n\r\nMissing authentication").unwrap();
    request
}

/// Answers each HTTP request with the next of these, in two packets: head and body.
fn refusing(answers: Vec<(&'static str, &'static str, &'static str)>) -> Fake {
    Fake::new(move |listener| {
        for (target, head, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut stream);
            assert!(request.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{request}");
            write!(stream, "HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
            std::thread::sleep(Duration::from_millis(30));
            stream.write_all(body.as_bytes()).unwrap();
        }
    })
}

const IN_QUERY: &str = "/sync/websocket?code=A7X9K2M4&vsn=2.0.0";
const AT_ROOT: &str = "/sync/websocket?vsn=2.0.0";
const AT_PREFIX: &str = "/phoenix_kit/sync/websocket?vsn=2.0.0";

fn refusal(answers: Vec<(&'static str, &'static str, &'static str)>) -> Error {
    let fake = refusing(answers);
    let error = fake.connect_with(quick()).unwrap_err();
    fake.end();
    assert!(!error.to_string().contains(CODE), "{error}");
    error
}

const SCHEMA: &str = concat!(
    r#"{"columns":[{"default":"nextval('users_id_seq'::regclass)","max_length":null,"name":"id","nullable":false,"#,
    r#""precision":64,"primary_key":true,"scale":0,"type":"bigint"},"#,
    r#"{"default":null,"max_length":20,"name":"name","nullable":true,"precision":null,"primary_key":false,"#,
    r#""scale":null,"type":"character varying"},"#,
    r#"{"default":null,"max_length":null,"name":"key","nullable":true,"precision":null,"primary_key":false,"#,
    r#""scale":null,"type":"uuid"},"#,
    r#"{"default":null,"max_length":null,"name":"ratio","nullable":true,"precision":53,"primary_key":false,"#,
    r#""scale":null,"type":"double precision"}],"primary_key":["id"],"schema":"public","table":"users"}"#
);

fn asked_for_schema(peer: &mut Peer, reference: &str) {
    peer.hears(&format!(
        r#"[null,"{reference}","transfer:A7X9K2M4","request:schema",{{"ref":"{reference}","table":"users"}}]"#
    ));
    peer.says(&format!(r#"[null,null,"transfer:A7X9K2M4","response:schema",{{"ref":"{reference}","schema":{SCHEMA}}}]"#));
}

const ASK_COUNT: &str = r#"[null,"2","transfer:A7X9K2M4","request:count",{"ref":"2","table":"users"}]"#;
const COUNT: &str = r#"[null,null,"transfer:A7X9K2M4","response:count",{"count":2500,"ref":"2"}]"#;

#[test]
fn a_session_from_join_to_goodbye() {
    let fake = Fake::joined(|peer| {
        peer.hears(r#"[null,"2","transfer:A7X9K2M4","request:capabilities",{"ref":"2"}]"#);
        peer.says(
            r#"[null,null,"transfer:A7X9K2M4","response:capabilities",{"capabilities":{"features":["list_tables","get_schema","fetch_records"],"phoenix_kit_version":"0.1.6","version":"1.0.0"},"ref":"2"}]"#,
        );
        peer.hears(r#"[null,"3","transfer:A7X9K2M4","request:tables",{"ref":"3"}]"#);
        peer.says(
            r#"[null,null,"transfer:A7X9K2M4","response:tables",{"ref":"3","tables":[{"estimated_count":1,"name":"MixedCase"},{"estimated_count":2500,"name":"many"}]}]"#,
        );
        asked_for_schema(peer, "4");
        peer.hears(r#"[null,"5","transfer:A7X9K2M4","request:count",{"ref":"5","table":"users"}]"#);
        peer.says(r#"[null,null,"transfer:A7X9K2M4","response:count",{"count":4,"ref":"5"}]"#);
        asked_for_schema(peer, "6");
        peer.hears(r#"[null,"7","transfer:A7X9K2M4","request:records",{"limit":2,"offset":10,"ref":"7","table":"users"}]"#);
        peer.says(
            r#"[null,null,"transfer:A7X9K2M4","response:records",{"has_more":true,"offset":10,"records":[{"id":9007199254740993,"key":"ABCDEFGHIJKLMNOP","name":"Řehoř 😀","ratio":1.0e21},{"id":2,"key":null,"name":"2024-05-06","ratio":":NaN"}],"ref":"7"}]"#,
        );
        peer.hears_the_end();
    });
    let client = fake.connect();
    assert!(client.is_connected() && client.peer().is_none());
    assert_eq!(client.url(), fake.url);
    assert_eq!(client.capabilities().unwrap().features, ["list_tables", "get_schema", "fetch_records"]);
    let tables = client.list_tables().unwrap();
    assert_eq!((tables[1].name.as_str(), tables[1].row_count), ("many", 2500));
    let schema = client.get_schema("users").unwrap();
    assert_eq!(schema.primary_key, ["id"]);
    assert_eq!(schema.columns[1].max_length, Some(20));
    assert_eq!(client.get_count("users").unwrap(), 4);
    let records = client.fetch_records("users", FetchOptions::default().offset(10).limit(2)).unwrap();
    assert_eq!((records.offset, records.has_more, records.rows.len()), (10, true, 1));
    assert_eq!(records.rows.get(0, 0), Some(ValueRef::Integer(9_007_199_254_740_993)));
    assert_eq!(records.rows.get(0, 1), Some(ValueRef::Text("Řehoř 😀".as_bytes())));
    assert_eq!(records.rows.get(0, 2), Some(ValueRef::Text(b"41424344-4546-4748-494a-4b4c4d4e4f50")));
    assert_eq!(records.rows.get(0, 3), Some(ValueRef::Real(1e21)));
    assert_eq!(records.failures.len(), 1);
    assert_eq!(records.failures[0].reason, Reason::ValueOutOfRange);
    assert_eq!(records.failures[0].key, [2.into()]);
    client.disconnect();
    client.disconnect();
    assert!(!client.is_connected());
    assert_eq!(client.get_count("users").unwrap_err().kind(), ErrorKind::Disconnected);
    fake.end();
}

#[test]
fn a_rowferry_sender_is_known_by_its_reply() {
    let fake = Fake::new(|listener| {
        let mut peer = Peer::accept(listener, IN_QUERY);
        peer.hears(JOIN);
        peer.says(
            r#"[null,"1","transfer:A7X9K2M4","phx_reply",{"response":{"rowferry":{"features":["snapshot"],"site":"01a1fd47-5df5-7ba7-b22c-70a5524cd4c4","version":1}},"status":"ok"}]"#,
        );
        asked_for_schema(&mut peer, "2");
        // More than the 1000 that a PhoenixKit sender is asked for at most.
        peer.hears(
            r#"[null,"3","transfer:A7X9K2M4","request:records",{"limit":5000,"look":true,"offset":0,"ref":"3","table":"users"}]"#,
        );
        peer.says(
            r#"[null,null,"transfer:A7X9K2M4","response:records",{"has_more":false,"offset":0,"records":[{"id":1,"name":{"__rowferry_text__":"/w=="},"key":{"__phoenix_kit_binary__":"AAE="},"ratio":{"__rowferry_real__":"-inf"}}],"ref":"3","state":7}]"#,
        );
    });
    let client = fake.connect();
    let peer = client.peer().unwrap();
    assert_eq!(peer.site.to_string(), "01a1fd47-5df5-7ba7-b22c-70a5524cd4c4");
    assert_eq!(peer.features, ["snapshot"]);
    let records = client.fetch_records("users", FetchOptions::default().limit(5000)).unwrap();
    assert_eq!(records.rows.get(0, 1), Some(ValueRef::Text(b"\xff")));
    assert_eq!(records.rows.get(0, 2), Some(ValueRef::Blob(&[0, 1])));
    assert_eq!(records.rows.get(0, 3), Some(ValueRef::Real(f64::NEG_INFINITY)));
    fake.end();
}

#[test]
fn a_reference_sender_is_never_asked_for_more_than_1000() {
    let fake = Fake::joined(|peer| {
        asked_for_schema(peer, "2");
        peer.hears(
            r#"[null,"3","transfer:A7X9K2M4","request:records",{"limit":1000,"offset":0,"ref":"3","table":"users"}]"#,
        );
        peer.says(
            r#"[null,null,"transfer:A7X9K2M4","response:records",{"has_more":false,"offset":0,"records":[],"ref":"3"}]"#,
        );
    });
    let records = fake.connect().fetch_records("users", FetchOptions::default().limit(2000)).unwrap();
    assert!(records.rows.is_empty() && !records.has_more);
    fake.end();
}

/// A message in fragments of so many bytes, with pings in between.
fn says_in_fragments(peer: &mut Peer, text: &str, most: usize) {
    let parts: Vec<&[u8]> = text.as_bytes().chunks(most).collect();
    for (at, part) in parts.iter().enumerate() {
        let kind = if at == 0 { Data::Text } else { Data::Continue };
        let frame = Frame::message(part.to_vec(), OpCode::Data(kind), at + 1 == parts.len());
        peer.0.send(Message::Frame(frame)).unwrap();
        if at % 3 == 0 {
            peer.0.send(Message::Ping("p".into())).unwrap();
        }
    }
}

#[test]
fn answers_in_fragments_are_read_with_pings_in_between() {
    let fake = Fake::joined(|peer| {
        peer.hears(r#"[null,"2","transfer:A7X9K2M4","request:tables",{"ref":"2"}]"#);
        let name = "\u{159}".repeat(400);
        let answer = format!(
            r#"[null,null,"transfer:A7X9K2M4","response:tables",{{"ref":"2","tables":[{{"estimated_count":3,"name":"{name}"}}]}}]"#
        );
        says_in_fragments(peer, &answer, 7);
        assert_eq!(peer.0.read().unwrap(), Message::Pong("p".into()));
        // What is left unread at the end would take the answer along.
        while peer.0.read().is_ok() {}
    });
    let client = fake.connect();
    assert_eq!(client.list_tables().unwrap()[0].name, "\u{159}".repeat(400));
    client.disconnect();
    fake.end();
}

#[test]
fn fragments_together_are_no_larger_than_a_message_may_be() {
    let fake = Fake::new(|listener| {
        let mut peer = Peer::accept(listener, IN_QUERY);
        // It says how long messages may be.
        assert!(peer.0.read().unwrap().to_text().unwrap().contains("phx_join"));
        peer.says(JOINED);
        peer.hears(r#"[null,"2","transfer:A7X9K2M4","request:tables",{"ref":"2"}]"#);
        let part = || Frame::message(vec![b' '; 600], OpCode::Data(Data::Text), false);
        peer.0.send(Message::Frame(part())).unwrap();
        let more = Frame::message(vec![b' '; 600], OpCode::Data(Data::Continue), true);
        peer.0.send(Message::Frame(more)).unwrap();
        while peer.0.read().is_ok() {}
    });
    let mut limits = Limits::default();
    limits.wire.message_bytes = 1_000;
    let client = fake.connect_with(quick().limits(limits)).unwrap();
    assert_eq!(client.list_tables().unwrap_err().kind(), ErrorKind::TooLarge);
    fake.end();
}

/// What a person puts into the join may be long.
#[test]
fn a_long_request_goes_out_in_fragments() {
    let fake = Fake::new(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| line.to_lowercase().starts_with("sec-websocket-key:").then(|| &line[18..]));
        let accept = tungstenite::handshake::derive_accept_key(key.unwrap().trim().as_bytes());
        let upgrade =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ";
        write!(stream, "{upgrade}{accept}\r\n\r\n").unwrap();
        let mut take = |length: usize| {
            let mut bytes = vec![0; length];
            stream.read_exact(&mut bytes).unwrap();
            bytes
        };
        let mut lengths = Vec::new();
        loop {
            let head = take(2);
            let length = match head[1] & 0x7F {
                126 => u16::from_be_bytes(take(2).try_into().unwrap()).into(),
                127 => u64::from_be_bytes(take(8).try_into().unwrap()),
                short => short.into(),
            };
            take(4 + usize::try_from(length).unwrap());
            lengths.push(length);
            if head[0] & 0x80 != 0 {
                break;
            }
        }
        assert!(lengths.len() > 3 && lengths.iter().all(|length| *length <= 64 << 10), "{lengths:?}");
    });
    let long = "x".repeat(200_000);
    assert!(Client::connect(&fake.url, Auth::code(CODE), quick().receiver_info("project", long)).is_err());
    fake.end();
}

#[test]
fn refusals_of_the_upgrade() {
    let kind = |head, body| refusal(vec![(AT_ROOT, head, body)]).kind();
    assert_eq!(kind("403 Forbidden", "Invalid code"), ErrorKind::InvalidCode);
    assert_eq!(kind("403 Forbidden", "Code already used"), ErrorKind::CodeUsed);
    assert_eq!(kind("403 Forbidden", "Module disabled"), ErrorKind::Disabled);
    let missing = |target| (target, "403 Forbidden", "Missing authentication");
    assert_eq!(refusal(vec![missing(AT_ROOT), missing(IN_QUERY)]).kind(), ErrorKind::Refused);
    assert_eq!(kind("500 Internal Server Error", "Internal Server Error"), ErrorKind::Refused);
    assert_eq!(kind("429 Too Many Requests\r\nretry-after: 42", "slow down"), ErrorKind::TooManyAttempts);
    let used = refusal(vec![(AT_ROOT, "403 Forbidden", "Code already used")]);
    assert!(used.hint().unwrap().contains("works once"), "{used}");
}

#[test]
fn only_a_404_leads_to_the_next_prefix() {
    let error = refusal(vec![(AT_ROOT, "404 Not Found", "nothing here"), (AT_PREFIX, "403 Forbidden", "Invalid code")]);
    assert_eq!(error.kind(), ErrorKind::InvalidCode);
    let error = refusal(vec![(AT_ROOT, "404 Not Found", ""), (AT_PREFIX, "404 Not Found", "")]);
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("/phoenix_kit/sync/websocket"), "{error}");
}

#[test]
fn a_join_with_another_code() {
    let fake = Fake::new(|listener| {
        let mut peer = Peer::accept(listener, IN_QUERY);
        peer.hears(JOIN);
        peer.says(r#"[null,"1","transfer:A7X9K2M4","phx_reply",{"response":{"reason":"code_mismatch"},"status":"error"}]"#);
    });
    assert_eq!(fake.connect_with(quick()).unwrap_err().kind(), ErrorKind::InvalidCode);
    fake.end();
}

#[test]
fn errors_of_a_request_leave_the_connection_as_it_was() {
    let fake = Fake::joined(|peer| {
        peer.hears(r#"[null,"2","transfer:A7X9K2M4","request:schema",{"ref":"2","table":"ghost"}]"#);
        peer.says(r#"[null,null,"transfer:A7X9K2M4","response:error",{"error":"Table not found: ghost","ref":"2"}]"#);
        peer.hears(r#"[null,"3","transfer:A7X9K2M4","request:count",{"ref":"3","table":"ghost"}]"#);
        peer.says(
            r#"[null,null,"transfer:A7X9K2M4","response:error",{"error":"Failed to get count: :table_not_found","ref":"3"}]"#,
        );
        peer.hears(r#"[null,"4","transfer:A7X9K2M4","request:count",{"ref":"4","table":"secret"}]"#);
        peer.says(
            r#"[null,null,"transfer:A7X9K2M4","response:error",{"error":"Access denied to table: secret","ref":"4"}]"#,
        );
        asked_for_schema(peer, "5");
        peer.hears(r#"[null,"6","transfer:A7X9K2M4","request:records",{"limit":100,"offset":0,"ref":"6","table":"users"}]"#);
        peer.says(
            r#"[null,null,"transfer:A7X9K2M4","response:error",{"error":"Failed to fetch records: type `money`","ref":"6"}]"#,
        );
    });
    let client = fake.connect();
    assert_eq!(client.get_schema("ghost").unwrap_err().kind(), ErrorKind::TableNotFound);
    assert_eq!(client.get_count("ghost").unwrap_err().kind(), ErrorKind::TableNotFound);
    assert_eq!(client.get_count("secret").unwrap_err().kind(), ErrorKind::TableNotAllowed);
    let error = client.fetch_records("users", FetchOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Peer);
    assert!(error.message().contains("type `money`"), "{error}");
    assert!(client.is_connected());
    fake.end();
}

#[test]
fn what_is_not_the_answer_is_ignored() {
    let fake = Fake::joined(|peer| {
        peer.hears(ASK_COUNT);
        peer.says("hello");
        peer.says("[]");
        peer.says(r#"{"a":1}"#);
        peer.0.send(Message::binary(vec![0, 159, 146, 150])).unwrap();
        peer.0.send(Message::Ping(vec![1].into())).unwrap();
        peer.says(r#"[null,null,"transfer:A7X9K2M4","something",{}]"#);
        peer.says(r#"[null,"2","phoenix","phx_reply",{"response":{},"status":"ok"}]"#);
        peer.says(r#"[null,null,"transfer:A7X9K2M4","response:count",{"count":1,"ref":"77"}]"#);
        peer.says(r#"[null,null,"transfer:A7X9K2M4","response:error",{"error":"E","ref":"77"}]"#);
        peer.says(r#"[null,null,"transfer:A7X9K2M4","response:count",null]"#);
        peer.says(COUNT);
    });
    assert_eq!(fake.connect().get_count("users").unwrap(), 2500);
    fake.end();
}

#[test]
fn an_answer_of_another_kind_is_an_error_at_once() {
    let fake = Fake::joined(|peer| {
        peer.hears(ASK_COUNT);
        peer.says(r#"[null,null,"transfer:A7X9K2M4","response:tables",{"ref":"2","tables":[]}]"#);
        peer.hears(r#"[null,"3","transfer:A7X9K2M4","request:count",{"ref":"3","table":"users"}]"#);
        peer.says(r#"[null,null,"transfer:A7X9K2M4","response:count",{"count":"many","ref":"3"}]"#);
        asked_for_schema(peer, "4");
        let ask = r#"[null,"5","transfer:A7X9K2M4","request:records",{"limit":1,"offset":0,"ref":"5","table":"users"}]"#;
        peer.hears(ask);
        peer.says(
            r#"[null,null,"transfer:A7X9K2M4","response:records",{"has_more":false,"offset":0,"records":[{"id":1},{"id":2}],"ref":"5"}]"#,
        );
    });
    let client = fake.connect();
    assert_eq!(client.get_count("users").unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(client.get_count("users").unwrap_err().kind(), ErrorKind::Protocol);
    let more = client.fetch_records("users", FetchOptions::default().limit(1)).unwrap_err();
    assert_eq!(more.kind(), ErrorKind::Protocol);
    fake.end();
}

#[test]
fn a_page_that_leads_nowhere_is_an_error() {
    let pages = [r#""has_more":true,"offset":0,"records":[]"#, r#""has_more":false,"offset":100,"records":[{"id":1}]"#];
    for page in pages {
        let fake = Fake::joined(move |peer| {
            asked_for_schema(peer, "2");
            peer.hears(
                r#"[null,"3","transfer:A7X9K2M4","request:records",{"limit":100,"offset":0,"ref":"3","table":"users"}]"#,
            );
            peer.says(&format!(r#"[null,null,"transfer:A7X9K2M4","response:records",{{{page},"ref":"3"}}]"#));
        });
        let error = fake.connect().fetch_records("users", FetchOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        fake.end();
    }
}

#[test]
fn a_silent_sender_is_given_up_and_its_late_answer_ignored() {
    let fake = Fake::joined(|peer| {
        asked_for_schema(peer, "2");
        peer.hears(r#"[null,"3","transfer:A7X9K2M4","request:records",{"limit":100,"offset":0,"ref":"3","table":"users"}]"#);
        peer.hears(r#"[null,"4","transfer:A7X9K2M4","request:schema",{"ref":"4","table":"users"}]"#);
        let late = r#"[null,null,"transfer:A7X9K2M4","response:records",{"has_more":false,"records":[{"id":1}],"ref":"3"}]"#;
        peer.says(late);
        peer.says(&format!(r#"[null,null,"transfer:A7X9K2M4","response:schema",{{"ref":"4","schema":{SCHEMA}}}]"#));
        peer.hears(r#"[null,"5","transfer:A7X9K2M4","request:records",{"limit":100,"offset":0,"ref":"5","table":"users"}]"#);
        peer.says(r#"[null,null,"transfer:A7X9K2M4","response:records",{"records":7,"ref":"3"}]"#);
        peer.says(late);
        peer.says(r#"[null,null,"transfer:A7X9K2M4","response:records",{"has_more":false,"records":[{"id":2}],"ref":"5"}]"#);
    });
    // Long enough for what is answered.
    let client = fake.connect_with(quick().request_timeout(Duration::from_millis(2500))).unwrap();
    let error = client.fetch_records("users", FetchOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.message(), "the other site did not answer request:records for \"users\" within 2.5 s");
    let records = client.fetch_records("users", FetchOptions::default()).unwrap();
    assert_eq!((records.rows.len(), records.rows.get(0, 0)), (1, Some(ValueRef::Integer(2))));
    fake.end();
}

#[test]
fn a_flood_of_junk_does_not_outlast_the_time_out() {
    let fake = Fake::joined(|peer| {
        peer.hears(ASK_COUNT);
        while peer.0.send(Message::text("junk")).is_ok() {}
    });
    let client = fake.connect_with(quick().request_timeout(Duration::from_millis(300))).unwrap();
    // It would not end.
    assert_eq!(client.get_count("users").unwrap_err().kind(), ErrorKind::Timeout);
    drop(client);
    fake.end();
}

#[test]
fn nobody_answers_the_upgrade_or_the_join() {
    let fake = Fake::new(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = fake.connect_with(quick().connect_timeout(Duration::from_millis(200))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().ends_with("within 0.2 s"), "{error}");
    fake.end();

    let fake = Fake::new(|listener| {
        let mut peer = Peer::accept(listener, IN_QUERY);
        peer.hears(JOIN);
        while peer.0.read().is_ok() {}
    });
    let error = fake.connect_with(quick().join_timeout(Duration::from_millis(200))).unwrap_err();
    assert_eq!(error.message(), "the other site did not answer the join within 0.2 s");
    fake.end();
}

#[test]
fn a_sender_that_dies_on_a_table_is_told_from_a_lost_connection() {
    for (code, kind) in [(1011, ErrorKind::Peer), (1002, ErrorKind::Disconnected)] {
        let fake = Fake::joined(move |peer| {
            asked_for_schema(peer, "2");
            peer.hears(
                r#"[null,"3","transfer:A7X9K2M4","request:records",{"limit":100,"offset":0,"ref":"3","table":"users"}]"#,
            );
            peer.closes(code);
        });
        let client = fake.connect();
        let error = client.fetch_records("users", FetchOptions::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains("request:records for \"users\""), "{error}");
        assert!(error.hint().is_some() && !client.is_connected());
        assert_eq!(client.get_count("users").unwrap_err().kind(), ErrorKind::Disconnected);
        fake.end();
    }
}

#[test]
fn a_connection_that_is_cut_is_an_error() {
    let fake = Fake::joined(|peer| peer.hears(ASK_COUNT));
    let client = fake.connect();
    let error = client.get_count("users").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(!client.is_connected());
    fake.end();
}

#[test]
fn a_channel_that_is_closed_is_an_error() {
    let fake = Fake::joined(|peer| {
        peer.hears(ASK_COUNT);
        peer.says(r#"[null,"1","transfer:A7X9K2M4","phx_close",{}]"#);
    });
    assert_eq!(fake.connect().get_count("users").unwrap_err().kind(), ErrorKind::Disconnected);
    fake.end();
}

#[test]
fn an_oversized_message_is_refused() {
    let fake = Fake::new(|listener| {
        let mut peer = Peer::accept(listener, IN_QUERY);
        peer.hears(&JOIN.replace("67108864", "10000"));
        peer.says(JOINED);
        peer.hears(ASK_COUNT);
        let _ = peer.0.send(Message::text(format!("\"{}\"", "x".repeat(100_000))));
        while peer.0.read().is_ok() {}
    });
    let mut limits = Limits::default();
    limits.wire.message_bytes = 10_000;
    let client = fake.connect_with(quick().limits(limits)).unwrap();
    let error = client.get_count("users").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.message().contains("10000") && !client.is_connected(), "{error}");
    drop(client);
    fake.end();
}

/// Long enough for a test that waits for it to be seen to hang.
const EVER: Duration = Duration::from_secs(3600);

const BEAT: &str = r#"[null,"2","phoenix","heartbeat",{}]"#;

#[test]
fn heartbeats_between_calls_keep_the_connection() {
    let fake = Fake::joined(|peer| {
        peer.hears(BEAT);
        peer.says(r#"[null,"2","phoenix","phx_reply",{"response":{},"status":"ok"}]"#);
        peer.hears(r#"[null,"3","phoenix","heartbeat",{}]"#);
        peer.says(r#"[null,"3","phoenix","phx_reply",{"response":{},"status":"ok"}]"#);
        peer.closes(1001);
    });
    let client = fake.connect_with(quick().heartbeat(Some(Duration::from_millis(60)))).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while client.is_connected() {
        assert!(Instant::now() < end, "the end of an idle connection goes unnoticed");
        std::thread::sleep(Duration::from_millis(10));
    }
    let error = client.get_count("users").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.message().contains("1001"), "{error}");
    fake.end();
}

#[test]
fn heartbeats_go_on_while_a_call_waits() {
    let fake = Fake::joined(|peer| {
        peer.hears(ASK_COUNT);
        peer.hears(r#"[null,"3","phoenix","heartbeat",{}]"#);
        peer.says(r#"[null,"3","phoenix","phx_reply",{"response":{},"status":"ok"}]"#);
        peer.hears(r#"[null,"4","phoenix","heartbeat",{}]"#);
        peer.says(COUNT);
    });
    // Long enough that the call is surely running when the first is due.
    let client = fake.connect_with(quick().heartbeat(Some(Duration::from_secs(2)))).unwrap();
    assert_eq!(client.get_count("users").unwrap(), 2500);
    drop(client);
    fake.end();
}

#[test]
fn a_sender_that_answers_no_heartbeat_is_given_up() {
    let fake = Fake::joined(|peer| {
        peer.hears(BEAT);
        while peer.0.read().is_ok() {}
    });
    let mut limits = Limits::default();
    limits.server.idle_time = Duration::from_millis(300);
    let client = fake.connect_with(quick().limits(limits).heartbeat(Some(Duration::from_millis(50)))).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while client.is_connected() {
        assert!(Instant::now() < end, "a dead connection goes unnoticed");
        std::thread::sleep(Duration::from_millis(10));
    }
    fake.end();
}

#[test]
fn waiting_can_be_cancelled() {
    let (asked, is_asked) = mpsc::channel();
    let fake = Fake::joined(move |peer| {
        peer.hears(ASK_COUNT);
        asked.send(()).unwrap();
        while peer.0.read().is_ok() {}
    });
    let token = CancelToken::new();
    let client = fake.connect_with(quick().request_timeout(EVER).cancel_token(token.clone())).unwrap();
    let error = std::thread::scope(|scope| {
        let call = scope.spawn(|| client.get_count("users"));
        is_asked.recv().unwrap();
        token.cancel();
        call.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    drop(client);
    fake.end();
}

#[test]
fn disconnecting_ends_a_call_of_another_thread() {
    let (asked, is_asked) = mpsc::channel();
    let fake = Fake::joined(move |peer| {
        peer.hears(ASK_COUNT);
        asked.send(()).unwrap();
        peer.hears_the_end();
    });
    let client = fake.connect();
    let error = std::thread::scope(|scope| {
        let call = scope.spawn(|| client.get_count("users"));
        is_asked.recv().unwrap();
        client.disconnect();
        call.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    fake.end();
}

#[test]
fn the_status_is_found_under_the_second_prefix() {
    let fake = refusing(vec![
        ("/sync/api/status", "404 Not Found", ""),
        (
            "/phoenix_kit/sync/api/status",
            "200 OK\r\ncontent-type: application/json; charset=utf-8",
            r#"{"enabled":true,"incoming_mode":"require_approval","password_required":false}"#,
        ),
    ]);
    let status = rowferry::remote_status(&fake.url, &quick()).unwrap();
    assert!(status.enabled && !status.password_required);
    assert_eq!(status.incoming_mode, "require_approval");
    fake.end();
}

#[test]
fn a_status_that_is_none() {
    let kind = |head, body| {
        let fake = refusing(vec![("/sync/api/status", head, body)]);
        let kind = rowferry::remote_status(&fake.url, &quick()).unwrap_err().kind();
        fake.end();
        kind
    };
    assert_eq!(kind("200 OK", "<html>"), ErrorKind::Protocol);
    assert_eq!(kind("302 Found\r\nlocation: http://127.0.0.1:1/", ""), ErrorKind::Refused);
    assert_eq!(kind("500 Internal Server Error", ""), ErrorKind::Peer);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = rowferry::remote_status(&format!("http://{nobody}"), &quick()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let options = quick().request_timeout(Duration::from_millis(200));
    assert_eq!(rowferry::remote_status(&url, &options).unwrap_err().kind(), ErrorKind::Timeout);
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use super::*;

    /// A server with a certificate of its own that answers the connection with a refusal, and the status with a status.
    fn encrypted(answers: usize) -> (String, String, JoinHandle<()>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let script = std::thread::spawn(move || {
            for _ in 0..answers {
                let (tcp, _) = listener.accept().unwrap();
                let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::clone(&config)).unwrap(), tcp);
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    request.push(byte[0]);
                }
                let (status, body) = match request.starts_with(b"GET /sync/api/status ") {
                    true => ("200 OK", r#"{"enabled":true,"incoming_mode":"deny_all","password_required":true}"#),
                    false => ("403 Forbidden", "Code already used"),
                };
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        (url, made.cert.pem(), script)
    }

    #[test]
    fn a_certificate_authority_of_ones_own() {
        let (url, pem, script) = encrypted(2);
        let options = quick().root_certificate(pem);
        let error = Client::connect(&url, Auth::code(CODE), options.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CodeUsed, "{error}");
        assert_eq!(rowferry::remote_status(&url, &options).unwrap().incoming_mode, "deny_all");
        script.join().unwrap();
    }

    #[test]
    fn an_unknown_certificate_authority_is_refused() {
        let (url, _, script) = encrypted(2);
        let error = Client::connect(&url, Auth::code(CODE), quick()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
        let error = rowferry::remote_status(&url, &quick()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls);
        assert_eq!(error.message().matches(url.trim_start_matches("https://")).count(), 1, "{error}");
        script.join().unwrap();
    }

    #[test]
    fn plain_http_where_tls_is_expected() {
        let fake = Fake::new(|listener| {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let url = fake.url.replace("http://", "https://");
        let error = Client::connect(&url, Auth::code(CODE), quick()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
        fake.end();
    }
}
