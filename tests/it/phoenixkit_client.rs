//! What PhoenixKit's client sends, in its own spelling, against our server over a real socket, and the exact
//! frames that it gets back. Its frames are written after recordings of the real client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rowferry::{Direction, Limits, Server, ServerHandle, Site};
use tempfile::TempDir;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

struct Shop {
    server: ServerHandle,
    site: Site,
    folder: TempDir,
}

fn shop(limits: Limits) -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database
        .execute_batch(
            "CREATE TABLE memberships (org TEXT NOT NULL, member INTEGER NOT NULL, role TEXT NOT NULL, since DATE,
                                       PRIMARY KEY (org, member));
             INSERT INTO memberships VALUES
                 ('zeta', 1, 'member', '2021-06-01'), ('acme', 2, 'member', NULL), ('acme', 1, 'owner', '2020-01-01');
             CREATE TABLE plain (id INTEGER PRIMARY KEY, email TEXT UNIQUE, ok BOOLEAN, ratio REAL, big BIGINT,
                                 price NUMERIC, note VARCHAR(80) DEFAULT 'n', seen DATETIME, photo BLOB);
             INSERT INTO plain VALUES
                 (1, 'Řehoř 😀', 1, 0.1, 9007199254740993, 1.5, 'n', '2024-05-06 07:08:09', x'6869'),
                 (2, NULL, 0, -2.5, 9223372036854775807, NULL, '2024-05-06', NULL, x'ff00'),
                 (3, 'q\"\\', NULL, 1e21, -1, 100, '', NULL, NULL);
             CREATE TABLE many (id INTEGER PRIMARY KEY, v TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
             INSERT INTO many SELECT i, 'row ' || i FROM n;
             CREATE TABLE no_pk (a INTEGER, b TEXT);
             INSERT INTO no_pk VALUES (1, 'x'), (2, 'y');
             CREATE TABLE empty_table (id INTEGER PRIMARY KEY);
             CREATE TABLE \"odd-name\" (id INTEGER PRIMARY KEY, v TEXT);
             INSERT INTO \"odd-name\" VALUES (1, 'a name with a dash');
             CREATE VIEW a_view AS SELECT 1;",
        )
        .unwrap();
    let site = Site::builder().limits(limits).open(&path).unwrap();
    let server = Server::bind(&site, "127.0.0.1:0").unwrap().spawn().unwrap();
    Shop { server, site, folder }
}

/// PhoenixKit's client: one session with one code.
struct Client {
    socket: WebSocket<TcpStream>,
    code: String,
}

impl Client {
    /// Its handshake, header by header.
    fn connect(shop: &Shop) -> Client {
        let code = shop.site.sessions().create(Direction::Send).unwrap().code().to_owned();
        let (status, stream, _) = handshake(shop, &code);
        assert_eq!(status, 101);
        Client { socket: WebSocket::from_raw_socket(stream, Role::Client, None), code }
    }

    fn joined(shop: &Shop) -> Client {
        let mut client = Client::connect(shop);
        client
            .send(r#"[null,"1","transfer:CODE","phx_join",{"receiver_info":{"project":"peer","user":"peer@example.com"}}]"#);
        client.expect(r#"[null,"1","transfer:CODE","phx_reply",{"response":{},"status":"ok"}]"#);
        client
    }

    fn send(&mut self, frame: &str) {
        self.socket.send(Message::text(frame.replace("CODE", &self.code))).unwrap();
    }

    fn read(&mut self) -> String {
        self.socket.read().unwrap().into_text().unwrap().replace(&self.code, "CODE")
    }

    fn expect(&mut self, frame: &str) {
        assert_eq!(self.read(), frame);
    }

    /// What its `transfer` does: a schema, then pages, the offset moved on by the limit. Gives the ids that arrived.
    fn transfer(&mut self, table: &str, limit: u64, first_ref: u64) -> Vec<i64> {
        self.send(&format!(
            r#"[null,"{first_ref}","transfer:CODE","request:schema",{{"ref":"{first_ref}","table":"{table}"}}]"#
        ));
        assert!(self.read().contains(r#""response:schema""#));
        let (mut ids, mut offset, mut reference) = (Vec::new(), 0, first_ref + 1);
        loop {
            self.send(&format!(
                r#"[null,"{reference}","transfer:CODE","request:records",{{"limit":{limit},"offset":{offset},"ref":"{reference}","table":"{table}"}}]"#
            ));
            let frame = self.read();
            assert!(frame.len() <= 1_000_000, "its parser is quadratic");
            let frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
            assert_eq!((&frame[3], &frame[4]["offset"]), (&"response:records".into(), &offset.into()));
            assert_eq!(frame[4]["ref"], reference.to_string());
            let records = frame[4]["records"].as_array().unwrap();
            ids.extend(records.iter().map(|record| record["id"].as_i64().unwrap()));
            if frame[4]["has_more"] == false {
                return ids;
            }
            assert!(!records.is_empty(), "it would ask for ever");
            offset += limit;
            reference += 1;
        }
    }
}

fn handshake(shop: &Shop, code: &str) -> (u16, TcpStream, String) {
    let mut stream = TcpStream::connect(shop.server.local_addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!(
        "GET /phoenix_kit/sync/websocket?code={code}&vsn=2.0.0 HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: UXtXpF8ap11s6/3O4OucWQ==\r\n\r\n",
        shop.server.local_addr()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    (head[9..12].parse().unwrap(), stream, head)
}

#[test]
fn a_whole_session() {
    let shop = shop(Limits::default());
    let mut client = Client::joined(&shop);
    for (sent, back) in [
        (
            // The first request has the ref of the join.
            r#"[null,"1","transfer:CODE","request:capabilities",{"ref":"1"}]"#,
            r#"[null,null,"transfer:CODE","response:capabilities",{"capabilities":{"features":["list_tables","get_schema","fetch_records"],"phoenix_kit_version":"0.1.6","version":"1.0.0"},"ref":"1"}]"#,
        ),
        (
            r#"[null,"2","transfer:CODE","request:tables",{"ref":"2"}]"#,
            r#"[null,null,"transfer:CODE","response:tables",{"ref":"2","tables":[{"estimated_count":0,"name":"empty_table"},{"estimated_count":2500,"name":"many"},{"estimated_count":3,"name":"memberships"},{"estimated_count":2,"name":"no_pk"},{"estimated_count":1,"name":"odd-name"},{"estimated_count":3,"name":"plain"}]}]"#,
        ),
        (
            r#"[null,"3","transfer:CODE","request:schema",{"ref":"3","table":"memberships"}]"#,
            r#"[null,null,"transfer:CODE","response:schema",{"ref":"3","schema":{"columns":[{"default":null,"max_length":null,"name":"org","nullable":false,"precision":null,"primary_key":true,"scale":null,"type":"text"},{"default":null,"max_length":null,"name":"member","nullable":false,"precision":64,"primary_key":true,"scale":0,"type":"bigint"},{"default":null,"max_length":null,"name":"role","nullable":false,"precision":null,"primary_key":false,"scale":null,"type":"text"},{"default":null,"max_length":null,"name":"since","nullable":true,"precision":null,"primary_key":false,"scale":null,"type":"date"}],"primary_key":["org","member"],"schema":"public","table":"memberships"}}]"#,
        ),
        (
            r#"[null,"5","transfer:CODE","request:schema",{"ref":"5","table":"ghost"}]"#,
            r#"[null,null,"transfer:CODE","response:error",{"error":"Table not found: ghost","ref":"5"}]"#,
        ),
        (
            r#"[null,"6","transfer:CODE","request:count",{"ref":"6","table":"many"}]"#,
            r#"[null,null,"transfer:CODE","response:count",{"count":2500,"ref":"6"}]"#,
        ),
        (
            r#"[null,"7","transfer:CODE","request:count",{"ref":"7","table":"ghost"}]"#,
            r#"[null,null,"transfer:CODE","response:error",{"error":"Failed to get count: :table_not_found","ref":"7"}]"#,
        ),
        (
            r#"[null,"8","transfer:CODE","request:records",{"limit":2,"offset":0,"ref":"8","table":"memberships"}]"#,
            r#"[null,null,"transfer:CODE","response:records",{"has_more":true,"offset":0,"records":[{"org":"acme","member":1,"role":"owner","since":"2020-01-01"},{"org":"acme","member":2,"role":"member","since":null}],"ref":"8"}]"#,
        ),
        (
            r#"[null,"9","transfer:CODE","request:records",{"limit":2,"offset":2,"ref":"9","table":"memberships"}]"#,
            r#"[null,null,"transfer:CODE","response:records",{"has_more":false,"offset":2,"records":[{"org":"zeta","member":1,"role":"member","since":"2021-06-01"}],"ref":"9"}]"#,
        ),
        (
            r#"[null,"11","transfer:CODE","request:records",{"limit":100,"offset":0,"ref":"11","table":"ghost"}]"#,
            r#"[null,null,"transfer:CODE","response:error",{"error":"Failed to fetch records: :table_not_found","ref":"11"}]"#,
        ),
        (
            r#"[null,"12","transfer:CODE","request:records",{"limit":100,"offset":0,"ref":"12","table":"a_view"}]"#,
            r#"[null,null,"transfer:CODE","response:error",{"error":"Failed to fetch records: :table_not_found","ref":"12"}]"#,
        ),
        (
            r#"[null,"13","transfer:CODE","request:records",{"limit":100,"offset":0,"ref":"13","table":"empty_table"}]"#,
            r#"[null,null,"transfer:CODE","response:records",{"has_more":false,"offset":0,"records":[],"ref":"13"}]"#,
        ),
        (
            r#"[null,"14","transfer:CODE","request:records",{"limit":100,"offset":0,"ref":"14","table":"no_pk"}]"#,
            r#"[null,null,"transfer:CODE","response:records",{"has_more":false,"offset":0,"records":[{"a":1,"b":"x"},{"a":2,"b":"y"}],"ref":"14"}]"#,
        ),
        (
            r#"[null,"15","transfer:CODE","request:records",{"limit":100,"offset":0,"ref":"15","table":"odd-name"}]"#,
            r#"[null,null,"transfer:CODE","response:records",{"has_more":false,"offset":0,"records":[{"id":1,"v":"a name with a dash"}],"ref":"15"}]"#,
        ),
        (r#"[null,"25","phoenix","heartbeat",{}]"#, r#"[null,"25","phoenix","phx_reply",{"response":{},"status":"ok"}]"#),
    ] {
        client.send(sent);
        client.expect(back);
    }
    // Its close frame has no code.
    client.socket.close(None).unwrap();
    assert!(matches!(client.socket.read().unwrap(), Message::Close(_)));
    assert!(client.socket.read().is_err());
}

#[test]
fn values_are_what_it_binds_to_typed_columns() {
    let shop = shop(Limits::default());
    let mut client = Client::joined(&shop);
    client.send(r#"[null,"1","transfer:CODE","request:schema",{"ref":"1","table":"plain"}]"#);
    let schema: serde_json::Value = serde_json::from_str(&client.read()).unwrap();
    let columns = schema[4]["schema"]["columns"].as_array().unwrap();
    let types: Vec<_> = columns.iter().map(|column| column["type"].as_str().unwrap()).collect();
    let timestamp = "timestamp without time zone";
    assert_eq!(types, ["bigint", "text", "boolean", "double precision", "bigint", "numeric", "text", timestamp, "bytea"]);
    client.send(r#"[null,"2","transfer:CODE","request:records",{"limit":100,"offset":0,"ref":"2","table":"plain"}]"#);
    client.expect(
        r#"[null,null,"transfer:CODE","response:records",{"has_more":false,"offset":0,"records":[{"id":1,"email":"Řehoř 😀","ok":true,"ratio":0.1,"big":9007199254740993,"price":1.5,"note":"n","seen":"2024-05-06T07:08:09","photo":"hi"},{"id":2,"email":null,"ok":false,"ratio":-2.5,"big":9223372036854775807,"price":null,"note":"2024-05-06","seen":null,"photo":{"__phoenix_kit_binary__":"/wA="}},{"id":3,"email":"q\"\\","ok":null,"ratio":1e+21,"big":-1,"price":100,"note":"","seen":null,"photo":null}],"ref":"2"}]"#,
    );
}

#[test]
fn transfers_bring_every_row_once_however_pages_are_cut() {
    for page_bytes in [Limits::default().wire.page_bytes, 10_000, 100] {
        let mut limits = Limits::default();
        limits.wire.page_bytes = page_bytes;
        let shop = shop(limits);
        let mut client = Client::joined(&shop);
        for limit in [1000, 500, 2000] {
            assert_eq!(client.transfer("many", limit, 20), (1..=2500).collect::<Vec<_>>(), "{page_bytes} {limit}");
        }
        assert_eq!(client.transfer("odd-name", 500, 90), [1]);
    }
}

/// One frame as it crosses the wire: whether it is the last one of its message, its opcode and its payload.
fn frame(stream: &mut TcpStream) -> (bool, u8, Vec<u8>) {
    let mut take = |length: usize| {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    };
    let head = take(2);
    let length = match head[1] {
        126 => u16::from_be_bytes(take(2).try_into().unwrap()).into(),
        127 => u64::from_be_bytes(take(8).try_into().unwrap()),
        short => short.into(),
    };
    (head[0] & 0x80 != 0, head[0] & 0x0F, take(usize::try_from(length).unwrap()))
}

#[test]
fn a_large_answer_comes_in_fragments_that_it_reads_fast() {
    let shop = shop(Limits::default());
    let database = rusqlite::Connection::open(shop.folder.path().join("shop.db")).unwrap();
    // Three bytes a character, so that 64 KiB do not end with one.
    let text = "\u{20ac}".repeat(1_000_000);
    database.execute_batch("CREATE TABLE large (id INTEGER PRIMARY KEY, v TEXT)").unwrap();
    database.execute("INSERT INTO large VALUES (1, ?1)", [&text]).unwrap();
    let mut client = Client::joined(&shop);
    client.send(r#"[null,"2","transfer:CODE","request:records",{"limit":500,"offset":0,"ref":"2","table":"large"}]"#);
    let stream = client.socket.get_mut();
    let mut message = Vec::new();
    for at in 0.. {
        let (is_last, kind, part) = frame(stream);
        assert!(part.len() <= 64 << 10 && std::str::from_utf8(&part).is_ok(), "{}", part.len());
        assert_eq!(kind, u8::from(at == 0), "a text frame, and then continuations of it");
        message.extend(part);
        if is_last {
            assert!(at > 40);
            break;
        }
    }
    let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
    assert_eq!(message[4]["records"][0]["v"], text);
}

#[test]
fn codes_work_once() {
    let shop = shop(Limits::default());
    let client = Client::joined(&shop);
    for (code, why) in [(client.code.as_str(), "Code already used"), ("ZZZZZZZZ", "Invalid code")] {
        let (status, mut stream, head) = handshake(&shop, code);
        let mut body = vec![0; why.len()];
        stream.read_exact(&mut body).unwrap();
        assert_eq!((status, String::from_utf8(body).unwrap().as_str()), (403, why));
        assert!(head.contains("content-type: text/plain; charset=utf-8\r\n"), "{head}");
    }
}

#[test]
fn joins_of_another_code_are_refused() {
    let shop = shop(Limits::default());
    let mut client = Client::connect(&shop);
    client.send(r#"[null,"1","transfer:x","phx_join",{"receiver_info":{"project":"peer","user":"peer@example.com"}}]"#);
    client.expect(r#"[null,"1","transfer:x","phx_reply",{"response":{"reason":"code_mismatch"},"status":"error"}]"#);
}

#[test]
fn sync_that_is_switched_off_and_a_session_that_is_deleted_end_a_channel() {
    let shop = shop(Limits::default());
    let mut client = Client::joined(&shop);
    let count = r#"[null,"37","transfer:CODE","request:count",{"ref":"37","table":"many"}]"#;
    client.send(count);
    client.expect(r#"[null,null,"transfer:CODE","response:count",{"count":2500,"ref":"37"}]"#);
    shop.site.settings().set_enabled(false).unwrap();
    client.send(count);
    client.expect(r#"[null,null,"transfer:CODE","response:error",{"error":"Module disabled","ref":"37"}]"#);
    shop.site.settings().set_enabled(true).unwrap();
    let session = shop.site.sessions().list().unwrap().remove(0);
    shop.site.sessions().delete(session.uuid).unwrap();
    client.send(count);
    client.expect(r#"[null,null,"transfer:CODE","response:error",{"error":"Invalid code","ref":"37"}]"#);
}
