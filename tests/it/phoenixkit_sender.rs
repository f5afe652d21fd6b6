//! A whole pull from a sender that behaves as PhoenixKit's server does, over a real socket: its spelling, its types,
//! its pages by offset, and its way of dying. Its frames are written after recordings of the real server.

use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::common::Fixture;
use rowferry::{Auth, Client, ConnectOptions, ErrorKind, PullOptions, Report, Strategy, TableStatus};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

const CODE: &str = "A7X9K2M4";

/// A table of the sender.
#[derive(Clone)]
struct Table {
    name: &'static str,
    /// What the list of tables says: an estimate, which is 0 for some names.
    estimated: usize,
    /// Names and types with commas between them.
    columns: &'static str,
    /// How many of the first columns are the primary key.
    key: usize,
    records: Vec<String>,
    /// Whether the server dies when it is asked for records.
    dies: bool,
}

fn table(name: &'static str, key: usize, columns: &'static str, records: &[&str]) -> Table {
    let records: Vec<String> = records.iter().map(|record| (*record).to_owned()).collect();
    Table { name, estimated: records.len(), columns, key, records, dies: false }
}

impl Table {
    fn columns(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.columns.split(", ").filter_map(|column| column.split_once(' '))
    }

    fn schema(&self) -> String {
        let column = |(at, (name, declared)): (usize, (&str, &str))| {
            let (precision, scale) = match declared {
                "bigint" => ("64", "0"),
                "integer" => ("32", "0"),
                "smallint" => ("16", "0"),
                "double precision" => ("53", "null"),
                _ => ("null", "null"),
            };
            let is_key = at < self.key;
            let (declared, length) = match declared.strip_suffix("(80)") {
                Some(declared) => (declared, "80"),
                None => (declared, "null"),
            };
            let default = match is_key && scale == "0" {
                true => format!(r#""nextval('{}_{name}_seq'::regclass)""#, self.name),
                false => "null".to_owned(),
            };
            format!(
                r#"{{"default":{default},"max_length":{length},"name":"{name}","nullable":{},"precision":{precision},"primary_key":{is_key},"scale":{scale},"type":"{declared}"}}"#,
                !is_key
            )
        };
        let columns: Vec<String> = self.columns().enumerate().map(column).collect();
        let key: Vec<String> = self.columns().take(self.key).map(|(name, _)| format!("{name:?}")).collect();
        let (columns, key) = (columns.join(","), key.join(","));
        format!(r#"{{"columns":[{columns}],"primary_key":[{key}],"schema":"public","table":"{}"}}"#, self.name)
    }
}

/// The server. It takes connections one after the other, each code once, as often as the test connects.
struct Sender {
    url: String,
    thread: JoinHandle<()>,
}

impl Sender {
    fn new(tables: Vec<Table>, connections: usize) -> Sender {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = move || (0..connections).for_each(|_| serve(&mut accept(&listener), &tables));
        Sender { url, thread: std::thread::spawn(serve) }
    }

    fn pull(&self, receiver: &Fixture, options: PullOptions<'_>) -> Report {
        let client = Client::connect(&self.url, Auth::code(CODE), ConnectOptions::default()).unwrap();
        assert!(client.peer().is_none());
        client.pull(&receiver.site, options).unwrap()
    }

    fn end(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

#[expect(clippy::result_large_err, reason = "tungstenite's signature")]
fn accept(listener: &TcpListener) -> WebSocket<TcpStream> {
    // It looks at the query only, where a client of rowferry puts its code when it is missed.
    let (stream, _) = listener.accept().unwrap();
    let missing = |request: &Request, _: Response| {
        assert_eq!(request.uri().to_string(), "/sync/websocket?vsn=2.0.0");
        let answer = http::Response::builder().status(403).body(Some("Missing authentication".to_owned()));
        Err::<Response, _>(answer.unwrap())
    };
    assert!(tungstenite::accept_hdr(stream, missing).is_err());
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let check = |request: &Request, response: Response| {
        assert_eq!(request.uri().to_string(), format!("/sync/websocket?code={CODE}&vsn=2.0.0"));
        Ok(response)
    };
    tungstenite::accept_hdr(stream, check).unwrap()
}

fn serve(socket: &mut WebSocket<TcpStream>, tables: &[Table]) {
    loop {
        let frame = match socket.read() {
            Ok(Message::Text(text)) => serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            Ok(Message::Close(_)) | Err(_) => return,
            Ok(other) => panic!("PhoenixKit's client sends no {other:?}"),
        };
        let (reference, event, payload) = (frame[1].as_str().unwrap(), frame[3].as_str().unwrap(), &frame[4]);
        let reply = |topic: &str| format!(r#"[null,"{reference}","{topic}","phx_reply",{{"response":{{}},"status":"ok"}}]"#);
        let answer = match event {
            "phx_join" => reply(&format!("transfer:{CODE}")),
            "heartbeat" => reply("phoenix"),
            _ => {
                assert_eq!((payload["ref"].as_str(), frame[2].as_str()), (Some(reference), Some("transfer:A7X9K2M4")));
                let Some((event, payload)) = answer(event, payload, tables) else {
                    // Its process ends; the WebSocket says so, and then the connection.
                    let died = CloseFrame { code: CloseCode::Error, reason: "".into() };
                    return socket.close(Some(died)).and_then(|()| socket.flush()).unwrap();
                };
                format!(r#"[null,null,"transfer:{CODE}","response:{event}",{}]"#, payload.replace("REF", reference))
            }
        };
        socket.send(Message::text(answer)).unwrap();
    }
}

/// Event and payload of the answer; `None` if the server dies of it.
fn answer(event: &str, payload: &serde_json::Value, tables: &[Table]) -> Option<(&'static str, String)> {
    let table = || tables.iter().find(|table| payload["table"] == table.name).expect("only what was listed is asked for");
    Some(match event {
        "request:tables" => {
            let info = |table: &Table| format!(r#"{{"estimated_count":{},"name":"{}"}}"#, table.estimated, table.name);
            let tables: Vec<String> = tables.iter().map(info).collect();
            ("tables", format!(r#"{{"ref":"REF","tables":[{}]}}"#, tables.join(",")))
        }
        "request:schema" => ("schema", format!(r#"{{"ref":"REF","schema":{}}}"#, table().schema())),
        "request:count" => ("count", format!(r#"{{"count":{},"ref":"REF"}}"#, table().records.len())),
        "request:records" => {
            let (offset, limit) = (payload["offset"].as_u64().unwrap(), payload["limit"].as_u64().unwrap());
            let table = table();
            assert!(!table.name.starts_with("phoenix_kit"), "its secrets are pulled");
            if table.dies {
                return None;
            }
            let from = usize::try_from(offset).unwrap().min(table.records.len());
            // It sends no more than 1000, and has more if it sent as many as it was asked for.
            let page: Vec<_> = table.records[from..].iter().take(limit.min(1000) as usize).cloned().collect();
            let has_more = page.len() as u64 == limit;
            let records = page.join(",");
            ("records", format!(r#"{{"has_more":{has_more},"offset":{offset},"records":[{records}],"ref":"REF"}}"#))
        }
        event => panic!("PhoenixKit's server does not know {event}"),
    })
}

/// The sender's tables in the order of its list: by name.
fn tables() -> Vec<Table> {
    let many = Table {
        records: (1..=2500).map(|id| format!(r#"{{"id":{id},"v":"row {id}"}}"#)).collect(),
        estimated: 2500,
        ..table("many", 1, "id integer, v text", &[])
    };
    vec![
        Table { estimated: 0, ..table("MixedCase", 1, "id integer, v text", &[r#"{"id":1,"v":"x"}"#]) },
        table("empty_table", 1, "id bigint", &[]),
        // The bytes of uuids and bytea as text: here they happen to be UTF-8.
        table(
            "events",
            1,
            "id uuid, by uuid, data bytea",
            &[
                r#"{"by":"\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000","data":"\u0000\u0001\u0002","id":"ABCDEFGHIJKLMNOP"}"#,
                r#"{"by":null,"data":"řé","id":"0123456789abcdef"}"#,
                r#"{"by":"\"\\/\b\n\u001fABCDEFGHIJ","data":"","id":"řřřřřřřř"}"#,
            ],
        ),
        table(
            "floats",
            1,
            "id integer, v double precision",
            &[
                r#"{"id":1,"v":0.1}"#,
                r#"{"id":2,"v":-0.0}"#,
                r#"{"id":3,"v":1.0e21}"#,
                r#"{"id":4,"v":5.0e-324}"#,
                r#"{"id":5,"v":":inf"}"#,
                r#"{"id":6,"v":":\"-inf\""}"#,
                r#"{"id":7,"v":":NaN"}"#,
                r#"{"id":8,"v":null}"#,
            ],
        ),
        table(
            "json",
            1,
            "id bigint, v jsonb, tags ARRAY",
            &[
                r#"{"id":1,"tags":["a",null,"b c","č"],"v":{"a":[1.0,2000,null,"ř"],"big":9007199254740993}}"#,
                r#"{"id":2,"tags":[],"v":"str"}"#,
                r#"{"id":3,"tags":null,"v":12}"#,
                r#"{"id":4,"tags":[["a"],["b"]],"v":null}"#,
                r#"{"id":5,"tags":[1,2],"v":true}"#,
            ],
        ),
        many,
        table(
            "memberships",
            2,
            "org text, member integer, role text",
            &[
                r#"{"member":1,"org":"acme","role":"owner"}"#,
                r#"{"member":2,"org":"acme","role":"member"}"#,
                r#"{"member":1,"org":"zeta","role":null}"#,
            ],
        ),
        table("no_pk", 0, "a integer, b text", &[r#"{"a":1,"b":"x"}"#, r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":null}"#]),
        table("phoenix_kit_sync_connections", 1, "uuid uuid", &["{}"]),
        table("phoenix_kit_sync_transfers", 1, "uuid uuid", &[]),
        table(
            "plain",
            1,
            "id bigint, email character varying(80), ok boolean, big bigint, small smallint, price numeric, d date, \
             t time without time zone, ts timestamp without time zone, tz timestamp with time zone, mood USER-DEFINED",
            &[
                r#"{"big":9007199254740993,"d":"2024-05-06","email":"ř 😀 \" \\ / \u0001\t\n","id":1,"mood":"happy","ok":true,"price":"1.50","small":7,"t":"07:08:09.500000","ts":"2024-05-06T07:08:09.123456","tz":"2024-05-06T05:08:09.123456Z"}"#,
                r#"{"big":-9223372036854775808,"d":"0001-01-01","email":"2024-05-06","id":2,"mood":null,"ok":false,"price":"12345678901234567890.123456789","small":-32768,"t":"00:00:00.000000","ts":"2024-05-06T07:08:09","tz":null}"#,
                r#"{"big":null,"d":null,"email":"007","id":3,"mood":null,"ok":null,"price":"1E-7","small":null,"t":null,"ts":null,"tz":null}"#,
                r#"{"big":0,"d":null,"email":"","id":4,"mood":null,"ok":null,"price":"NaN","small":null,"t":null,"ts":null,"tz":null}"#,
            ],
        ),
        Table { dies: true, ..table("users", 1, "uuid uuid, name text", &["{}", "{}"]) },
    ]
}

/// `created/updated/unchanged/skipped/failed`, and the reasons.
fn counts(report: &Report, table: &str) -> String {
    let outcome = &report.table(table).unwrap().outcome;
    let reasons: Vec<_> = outcome.failures.iter().map(|failure| failure.reason.code()).collect();
    let rowferry::Outcome { created, updated, unchanged, skipped, failed, .. } = outcome;
    format!("{created}/{updated}/{unchanged}/{skipped}/{failed}{}", reasons.join(","))
}

fn types(receiver: &Fixture, table: &str) -> String {
    let sql = format!("SELECT group_concat(name || ' ' || type, ', ') FROM pragma_table_info('{table}')");
    receiver.rows(&sql).concat()
}

#[test]
fn a_whole_database_arrives_and_arrives_again_unchanged() {
    let sender = Sender::new(tables(), 2);
    let receiver = Fixture::new("");
    let report = sender.pull(&receiver, PullOptions::new().batch_size(5000));

    // What may end the connection comes last, and what did end it is reported.
    let order: Vec<&str> = report.tables.iter().map(|table| table.name.as_str()).collect();
    // `json` has an array, and `plain` moments.
    let safe = ["MixedCase", "empty_table", "floats", "many", "memberships", "no_pk", "json", "plain"];
    assert_eq!(order, [&safe[..], &["events", "users"]].concat());
    let users = report.table("users").unwrap();
    let error = users.error.as_ref().unwrap();
    assert_eq!((users.status, error.kind()), (TableStatus::Failed, ErrorKind::Peer));
    assert!(error.message().contains("1011") && error.hint().is_some(), "{error}");
    for name in safe.iter().chain(&["events"]) {
        assert_eq!(report.table(name).unwrap().status, TableStatus::Completed, "{name}");
    }
    assert!(!report.one_state, "pages by offset may be of several states");
    let created: Vec<String> = order.iter().map(|name| counts(&report, name)).collect();
    let floats = "7/0/0/0/1value_out_of_range";
    let one = |n| format!("{n}/0/0/0/0");
    assert_eq!(created, [&one(1), &one(0), floats, &one(2500), &one(3), &one(3), &one(5), &one(4), &one(3), &one(0)]);
    assert_eq!(report.records, 1 + 8 + 5 + 2500 + 3 + 3 + 4 + 3);

    assert_eq!(receiver.rows("SELECT v FROM floats"), ["0.1", "0.0", "1e21", "5e-324", "inf", "-inf", "NULL"]);
    assert_eq!(
        receiver.rows("SELECT v, tags FROM json"),
        [
            r#"'{"a":[1.0,2000,null,"ř"],"big":9007199254740993}'|'["a",null,"b c","č"]'"#,
            r#"'"str"'|'[]'"#,
            "'12'|NULL",
            r#"NULL|'[["a"],["b"]]'"#,
            "'true'|'[1,2]'",
        ]
    );
    assert_eq!(
        receiver.rows("SELECT * FROM plain"),
        [
            "1|'ř 😀 \" \\ / \u{1}\t\n'|1|9007199254740993|7|'1.50'|'2024-05-06'|'07:08:09.500000'|'2024-05-06T07:08:09.123456'|'2024-05-06T05:08:09.123456Z'|'happy'",
            "2|'2024-05-06'|0|-9223372036854775808|-32768|'12345678901234567890.123456789'|'0001-01-01'|'00:00:00.000000'|'2024-05-06T07:08:09'|NULL|NULL",
            "3|'007'|NULL|NULL|NULL|'1E-7'|NULL|NULL|NULL|NULL|NULL",
            "4|''|NULL|0|NULL|'NaN'|NULL|NULL|NULL|NULL|NULL",
        ]
    );
    assert_eq!(
        receiver.rows("SELECT * FROM events ORDER BY id"),
        [
            "'30313233-3435-3637-3839-616263646566'|NULL|x'c599c3a9'",
            "'41424344-4546-4748-494a-4b4c4d4e4f50'|'00000000-0000-0000-0000-000000000000'|x'000102'",
            "'c599c599-c599-c599-c599-c599c599c599'|'225c2f08-0a1f-4142-4344-45464748494a'|x''",
        ]
    );
    assert_eq!(receiver.rows("SELECT count(*), sum(id), max(v) FROM many"), ["2500|3126250|'row 999'"]);
    assert_eq!(
        types(&receiver, "plain"),
        "'id INTEGER, email TEXT, ok BOOLEAN, big INTEGER, small INTEGER, price NUMERIC TEXT, d DATE, t TIME, ts TIMESTAMP, \
         tz TIMESTAMPTZ, mood TEXT'"
    );
    assert_eq!(types(&receiver, "events"), "'id UUID, by UUID, data BLOB'");
    let keys = "SELECT group_concat(name || pk) FROM pragma_table_info('memberships') WHERE pk > 0";
    assert_eq!(receiver.rows(keys), ["'org1,member2'"]);
    assert!(receiver.rows("SELECT 1 FROM sqlite_schema WHERE name GLOB 'phoenix_kit*'").is_empty());

    // In pages that end where the table does, as well: the sender then says that there is more, and sends none.
    let before = receiver.rows("SELECT * FROM plain UNION ALL SELECT id, v, 0,0,0,0,0,0,0,0,0 FROM many");
    let again = sender.pull(&receiver, PullOptions::new().strategy(Strategy::Overwrite).batch_size(500));
    for (name, records) in [("many", 2500), ("plain", 4), ("json", 5), ("memberships", 3), ("no_pk", 3), ("events", 3)] {
        assert_eq!(counts(&again, name), format!("0/0/{records}/0/0"), "{name}");
    }
    assert_eq!(counts(&again, "floats"), "0/0/7/0/1value_out_of_range");
    assert_eq!(receiver.rows("SELECT * FROM plain UNION ALL SELECT id, v, 0,0,0,0,0,0,0,0,0 FROM many"), before);
    sender.end();
}

#[test]
fn tables_behind_one_that_ends_the_connection_say_so() {
    let dying = Table { dies: true, ..table("a_users", 1, "uuid uuid", &["{}"]) };
    let behind = table("b_files", 1, "id integer, content bytea", &[r#"{"content":"x","id":1}"#]);
    let safe = table("c_words", 1, "id integer, word text", &[r#"{"id":1,"word":"x"}"#]);
    let sender = Sender::new(vec![dying, behind, safe], 2);
    let receiver = Fixture::new("");
    let report = sender.pull(&receiver, PullOptions::new());
    let kind = |name: &str| report.table(name).unwrap().error.as_ref().map(rowferry::Error::kind);
    assert_eq!(kind("c_words"), None);
    assert_eq!(kind("a_users"), Some(ErrorKind::Peer));
    assert_eq!(kind("b_files"), Some(ErrorKind::Disconnected));
    assert!(report.one_state, "one page came");
    // Without it, the rest arrives; the words are those of the pull that was cut off.
    let report = sender.pull(&receiver, PullOptions::new().tables(["b_files", "c_words"]));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((counts(&report, "b_files").as_str(), counts(&report, "c_words").as_str()), ("1/0/0/0/0", "1/0/0/0/0"));
    assert!(report.table("c_words").unwrap().resumed && !report.one_state, "{report:?}");
    sender.end();
}
