//! Pulls over HTTP from a fake site that answers as PhoenixKit's does, by the recordings: its types, its cuts without
//! a word, its pages by offset, and what it cannot send.

use std::time::Duration;

use crate::support::common::Fixture;
use crate::support::fake_http::{Asked, FakeSite, Reply, ok, refused};
use rowferry::{
    Api, Auth, ConnectOptions, ErrorKind, Limits, PullOptions, Report, Strategy, TableReport, TableStatus, Token,
};
use serde_json::{Value as Json, json};

/// A table of the sender.
#[derive(Clone)]
struct Table {
    name: &'static str,
    /// Names and types with commas between them.
    columns: &'static str,
    row_count: usize,
    records: Vec<Json>,
    /// Where `pull-data` is cut.
    most: usize,
    /// Whether `table-records` works: the table has a key, and a name that needs no quotes.
    pages: bool,
}

fn table(name: &'static str, columns: &'static str, records: Vec<Json>) -> Table {
    Table { name, columns, row_count: records.len(), records, most: 10_000, pages: true }
}

impl Table {
    fn schema(&self) -> Json {
        let column = |column: &str| {
            let (name, data_type) = column.split_once(' ').unwrap();
            json!({"character_maximum_length": null, "column_default": null, "column_name": name, "data_type": data_type, "is_nullable": "YES"})
        };
        let columns: Vec<Json> = self.columns.split(", ").map(column).collect();
        json!({"schema": {"columns": columns, "table_name": self.name}, "success": true})
    }
}

fn numbered(records: usize) -> Vec<Json> {
    (1..=records).map(|id| json!({"id": id, "v": format!("row {id}")})).collect()
}

/// A site with these tables, unless the test answers otherwise.
fn site(tables: Vec<Table>, twist: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> FakeSite {
    FakeSite::new(move |asked| {
        if let Some(reply) = twist(asked) {
            return reply;
        }
        if asked.call() == "list-tables" {
            let listed = |table: &Table| json!({"checksum": "x", "depends_on": [], "name": table.name, "row_count": table.row_count, "size_bytes": 8192});
            let tables: Vec<Json> = tables.iter().map(listed).collect();
            return ok(json!({"success": true, "tables": tables}).to_string());
        }
        let body = asked.json();
        let Some(table) = tables.iter().find(|table| body["table_name"] == table.name) else {
            return refused(404, "Table not found");
        };
        let number = |name: &str| usize::try_from(body[name].as_u64().unwrap()).unwrap();
        match asked.call() {
            "table-schema" => ok(table.schema().to_string()),
            "pull-data" => {
                let data = &table.records[..table.most.min(table.records.len())];
                ok(json!({"data": data, "success": true, "table": table.name}).to_string())
            }
            "table-records" if table.pages => {
                let from = number("offset").min(table.records.len());
                let to = (from + number("limit").min(100)).min(table.records.len());
                ok(json!({"records": table.records[from..to], "success": true}).to_string())
            }
            _ => refused(500, "Failed to get records: %Postgrex.Error{message: nil}"),
        }
    })
}

fn honest(tables: Vec<Table>) -> FakeSite {
    site(tables, |_| None)
}

fn api(site: &FakeSite, limits: Limits) -> Api {
    let time = Duration::from_secs(20);
    let options = ConnectOptions::default().connect_timeout(time).request_timeout(time).limits(limits);
    Api::new(&site.url, &options).unwrap().token(&Token::parse("is3W3OM_JqU3b556SxC6yMkHs_niLrwhXX3fnoS47Jw").unwrap())
}

fn pull(site: &FakeSite, here: &Fixture, options: PullOptions<'_>) -> Report {
    api(site, Limits::default()).pull(&here.site, options).unwrap()
}

fn of<'r>(report: &'r Report, table: &str) -> &'r TableReport {
    report.table(table).unwrap_or_else(|| panic!("{report:?}"))
}

fn noted(report: &TableReport, what: &str) -> bool {
    report.notes.iter().any(|note| note.contains(what))
}

/// How often each call was made.
fn calls(site: &FakeSite, call: &str) -> usize {
    site.asked().iter().filter(|asked| asked.call() == call).count()
}

#[test]
fn values_arrive_by_the_senders_types() {
    let binary = |base64: &str| json!({"__phoenix_kit_binary__": base64});
    let columns = "id bigint, u uuid, b bytea, n numeric, f double precision, ok boolean, j jsonb, a ARRAY, ts timestamp without time zone, tz timestamp with time zone, e USER-DEFINED";
    let row = |id: u64, more: Json| {
        let mut row = json!({"id": id, "u": null, "b": null, "n": null, "f": null, "ok": null, "j": null, "a": null, "ts": null, "tz": null, "e": null});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let records = vec![
        row(
            1,
            json!({"u": binary("my8cPnpNTFWOIQ86a3yNng=="), "b": binary("//4AAX+A"), "n": "12345678901234567890.123456789", "f": 0.1}),
        ),
        row(
            2,
            json!({"u": "ABCDEFGHIJKLMNOP", "b": "plain ascii", "n": "NaN", "f": "inf", "ok": true, "j": {"k": [1, null]}}),
        ),
        row(3, json!({"u": "\u{0}".repeat(16), "b": "", "n": "1E-7", "f": "-inf", "ok": false, "a": ["a", null]})),
        row(4, json!({"ts": "2024-05-06T07:08:09.100000", "tz": "2024-05-06T05:08:09Z", "e": "happy"})),
        row(5, json!({"f": "NaN"})),
        row(6, json!({"u": "short"})),
    ];
    let sender = honest(vec![table("things", columns, records)]);
    let here = Fixture::new("");
    let report = pull(&sender, &here, PullOptions::new());
    let things = of(&report, "things");
    assert_eq!((things.status, things.outcome.created, things.outcome.failed), (TableStatus::Completed, 4, 2), "{report:?}");
    assert!(things.created_table && noted(things, "without one"), "{things:?}");
    assert_eq!(
        here.rows("SELECT id, u, b, n, f, ok, j, a, ts, tz, e FROM things ORDER BY id"),
        [
            "1|'9b2f1c3e-7a4d-4c55-8e21-0f3a6b7c8d9e'|x'fffe00017f80'|'12345678901234567890.123456789'|0.1|NULL|NULL|NULL|NULL|NULL|NULL",
            "2|'41424344-4546-4748-494a-4b4c4d4e4f50'|x'706c61696e206173636969'|'NaN'|inf|1|'{\"k\":[1,null]}'|NULL|NULL|NULL|NULL",
            "3|'00000000-0000-0000-0000-000000000000'|x''|'1E-7'|-inf|0|NULL|'[\"a\",null]'|NULL|NULL|NULL",
            "4|NULL|NULL|NULL|NULL|NULL|NULL|NULL|'2024-05-06T07:08:09.100000'|'2024-05-06T05:08:09Z'|'happy'",
        ]
    );
    assert_eq!(here.rows("SELECT count(*) FROM pragma_table_info('things') WHERE pk > 0"), ["0"]);
    assert_eq!(calls(&sender, "table-records"), 0);
}

const LOCAL: &str =
    "CREATE TABLE many(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO many VALUES (1, 'mine'), (9999, 'only here')";

#[test]
fn what_was_cut_is_fetched_in_pages() {
    for (row_count, most) in [(2_500, 1_000), (2_500, 700), (0, 1_000)] {
        let many = Table { row_count, most, ..table("many", "id bigint, v text", numbered(2_500)) };
        let sender = honest(vec![many]);
        let here = Fixture::new(LOCAL);
        let report = pull(&sender, &here, PullOptions::new().strategy(Strategy::Overwrite));
        let many = of(&report, "many");
        assert_eq!(
            (many.status, many.outcome.created, many.outcome.updated),
            (TableStatus::Completed, 2_499, 1),
            "{report:?}"
        );
        assert!(noted(many, "fetched in pages") && !many.created_table && !noted(many, "without one"));
        assert_eq!(here.rows("SELECT count(*), min(v), max(id) FROM many"), ["2501|'only here'|9999"]);
        assert_eq!((calls(&sender, "pull-data"), calls(&sender, "table-records")), (1, 26), "{row_count}");
        assert!(!report.one_state && report.notes.iter().any(|note| note.contains("(unverified)")), "{report:?}");
    }
}

#[test]
fn a_table_that_is_whole_costs_one_call() {
    let sender = honest(vec![table("many", "id bigint, v text", numbered(2_501))]);
    let here = Fixture::new(LOCAL);
    let report = pull(&sender, &here, PullOptions::new().batch_size(10));
    assert_eq!((of(&report, "many").outcome.created, of(&report, "many").outcome.skipped), (2_500, 1));
    assert_eq!((calls(&sender, "pull-data"), calls(&sender, "table-records")), (1, 0));
    assert!(report.one_state && of(&report, "many").notes.is_empty());
}

#[test]
fn an_answer_as_long_as_the_table_is_whole_also_at_a_round_number() {
    for records in [1_000, 10_000] {
        let sender = honest(vec![table("many", "id bigint, v text", numbered(records))]);
        let here = Fixture::new("");
        let report = pull(&sender, &here, PullOptions::new());
        assert_eq!(of(&report, "many").outcome.created, records as u64, "{report:?}");
        assert!(!noted(of(&report, "many"), "in pages") && report.one_state, "{report:?}");
        assert_eq!((calls(&sender, "pull-data"), calls(&sender, "table-records")), (1, 0));
    }
}

/// A sender that counts so many rows when it is asked again.
fn counting_again(many: Table, rows: usize) -> FakeSite {
    let asked_before = std::sync::atomic::AtomicBool::new(false);
    site(vec![many], move |asked| {
        let again = asked.call() == "list-tables" && asked_before.swap(true, std::sync::atomic::Ordering::SeqCst);
        let listed = json!({"checksum": null, "depends_on": [], "name": "many", "row_count": rows, "size_bytes": null});
        again.then(|| ok(json!({"success": true, "tables": [listed]}).to_string()))
    })
}

#[test]
fn rows_that_come_or_go_after_the_list_do_not_make_an_answer_cut() {
    // Announced, received, counted again.
    for (announced, received, again) in [(1_500, 1_200, 1_200), (900, 2_000, 2_000), (1_500, 1_000, 1_000)] {
        let many = Table { row_count: announced, ..table("many", "id bigint, v text", numbered(received)) };
        let sender = counting_again(many, again);
        let here = Fixture::new(LOCAL);
        let report = pull(&sender, &here, PullOptions::new());
        assert_eq!(of(&report, "many").status, TableStatus::Completed, "{report:?}");
        assert_eq!(of(&report, "many").outcome.created, received as u64 - 1, "{report:?}");
        assert_eq!((calls(&sender, "pull-data"), calls(&sender, "table-records")), (1, 0), "{announced} {received}");
    }
    // It was cut exactly where the table ended when it was listed.
    let many = Table { row_count: 1_000, most: 1_000, ..table("many", "id bigint, v text", numbered(1_007)) };
    let (sender, here) = (counting_again(many, 1_007), Fixture::new(LOCAL));
    let report = pull(&sender, &here, PullOptions::new());
    assert_eq!(of(&report, "many").outcome.created, 1_006, "{report:?}");
    assert!(noted(of(&report, "many"), "fetched in pages"));
}

#[test]
fn more_records_at_once_than_are_taken_are_fetched_in_pages() {
    let many = Table { most: usize::MAX, ..table("many", "id bigint", (1..=100_001).map(|id| json!({"id": id})).collect()) };
    let here = Fixture::new("CREATE TABLE many(id INTEGER PRIMARY KEY)");
    let report = pull(&honest(vec![many]), &here, PullOptions::new());
    assert_eq!(of(&report, "many").outcome.created, 100_001, "{:?}", of(&report, "many").error);
    assert!(noted(of(&report, "many"), "fetched in pages"));
}

#[test]
fn too_large_an_answer_is_fetched_in_pages() {
    let sender = honest(vec![table("many", "id bigint, v text", numbered(2_501))]);
    let here = Fixture::new(LOCAL);
    let mut limits = Limits::default();
    limits.wire.message_bytes = 10_000;
    let report = api(&sender, limits).pull(&here.site, PullOptions::new()).unwrap();
    assert_eq!(of(&report, "many").outcome.created, 2_500, "{report:?}");
    assert!(noted(of(&report, "many"), "fetched in pages"));
}

#[test]
fn a_sender_whose_pages_are_shorter_than_asked_for() {
    let many = Table { most: 1_000, ..table("many", "id bigint, v text", numbered(1_234)) };
    let records = many.records.clone();
    let sender = site(vec![many], move |asked| {
        (asked.call() == "table-records").then(|| {
            let from = usize::try_from(asked.json()["offset"].as_u64().unwrap()).unwrap().min(records.len());
            let to = (from + 30).min(records.len());
            ok(json!({"records": records[from..to], "success": true}).to_string())
        })
    });
    let here = Fixture::new(LOCAL);
    let report = pull(&sender, &here, PullOptions::new());
    assert_eq!(
        (of(&report, "many").status, of(&report, "many").outcome.created),
        (TableStatus::Completed, 1_233),
        "{report:?}"
    );
}

#[test]
fn a_table_without_a_key_may_be_incomplete_and_says_so() {
    let keyless =
        |name, row_count| Table { row_count, pages: false, most: 1_000, ..table(name, "a bigint, b text", Vec::new()) };
    let records: Vec<Json> = (0..1_500).map(|at| json!({"a": at, "b": "x"})).collect();
    let short = Table { records: records.clone(), ..keyless("short", 1_500) };
    let unknown = Table { records, ..keyless("unknown", 0) };
    let here = Fixture::new("");
    let report = pull(&honest(vec![short, unknown]), &here, PullOptions::new());
    let short = of(&report, "short");
    // Rows without a key are applied all together, and all of them are not there.
    assert_eq!((short.status, short.error.as_ref().unwrap().kind()), (TableStatus::Failed, ErrorKind::Incomplete));
    let unknown = of(&report, "unknown");
    assert_eq!((unknown.status, unknown.outcome.created), (TableStatus::Completed, 1_000));
    assert!(noted(unknown, "may be incomplete: the other site may have cut it at 1000 records"), "{unknown:?}");
    assert_eq!(here.rows("SELECT count(*) FROM unknown"), ["1000"]);
}

#[test]
fn what_the_reference_cannot_send_fails_alone_and_is_explained() {
    let failing = |name: &'static str| Table { row_count: 0, ..table(name, "id bigint, v text", Vec::new()) };
    let tables = vec![
        failing("MixedCase"),
        failing("odd-name"),
        failing("v_interval"),
        table("plain", "id bigint, v text", numbered(3)),
    ];
    let sender = site(tables, |asked| {
        let table = if asked.call() == "list-tables" { String::new() } else { asked.table() };
        match (asked.call(), table.as_str()) {
            (_, "odd-name") => Some(refused(404, "Table not found")),
            ("pull-data", "MixedCase") => Some(refused(500, "Failed to pull data")),
            ("pull-data", "v_interval") => Some(Reply::Json(500, r#"{"errors":{"detail":"Internal Server Error"}}"#.into())),
            _ => None,
        }
    });
    let here = Fixture::new("");
    let report = pull(&sender, &here, PullOptions::new());
    let failed = |name| {
        let error = of(&report, name).error.as_ref().unwrap_or_else(|| panic!("{report:?}"));
        (error.kind(), error.hint().unwrap_or_default().to_owned())
    };
    let (kind, hint) = failed("MixedCase");
    assert!(kind == ErrorKind::Peer && hint.contains("capital letters"), "{hint}");
    let (kind, hint) = failed("odd-name");
    assert!(kind == ErrorKind::TableNotFound && hint.contains("letters, digits"), "{hint}");
    let (kind, hint) = failed("v_interval");
    assert!(kind == ErrorKind::Peer && hint.contains("interval"), "{hint}");
    assert!(of(&report, "plain").is_clean());
}

#[test]
fn a_connection_that_is_suspended_in_the_middle_ends_the_pull() {
    let many = |name| Table { most: 1_000, ..table(name, "id bigint, v text", numbered(2_500)) };
    let sender = site(vec![many("many"), many("more")], |asked| {
        let late = asked.call() == "table-records" && asked.json()["offset"].as_u64() >= Some(300);
        late.then(|| refused(403, "Connection is not active"))
    });
    let here = Fixture::new(LOCAL);
    let report = pull(&sender, &here, PullOptions::new());
    let many = of(&report, "many");
    assert_ne!(many.status, TableStatus::Completed);
    assert_eq!(many.error.as_ref().unwrap().kind(), ErrorKind::ConnectionNotActive);
    assert_eq!(of(&report, "more").error.as_ref().unwrap().kind(), ErrorKind::ConnectionNotActive);
    assert!(!sender.asked().iter().any(|asked| asked.call() == "pull-data" && asked.table() == "more"));
}

#[test]
fn a_table_that_takes_too_long_is_fetched_in_pages_and_ends_nothing_else() {
    let tables: Vec<Table> = ["a", "b", "c", "d"].map(|name| table(name, "id bigint, v text", numbered(3))).into();
    let sender = site(tables, |asked| match (asked.call(), &*asked.table()) {
        ("pull-data", "a") => Some(Reply::Json(504, "Gateway Timeout".into())),
        ("pull-data", "b") => {
            Some(Reply::Trickle("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n".into(), Duration::from_millis(100), 300))
        }
        ("pull-data", "c") => Some(Reply::Json(503, "Service Unavailable".into())),
        _ => None,
    });
    let here = Fixture::new("");
    let options = ConnectOptions::default().request_timeout(Duration::from_secs(3));
    let api = Api::new(&sender.url, &options).unwrap().token(&Token::parse("x").unwrap());
    let report = api.pull(&here.site, at_once()).unwrap();
    for name in ["a", "b"] {
        assert_eq!(of(&report, name).status, TableStatus::Completed, "{report:?}");
        assert!(noted(of(&report, name), "fetched in pages"), "{report:?}");
    }
    assert_eq!(of(&report, "c").error.as_ref().unwrap().kind(), ErrorKind::Unreachable);
    assert_eq!(of(&report, "d").status, TableStatus::Completed, "{report:?}");
}

#[test]
fn a_site_that_goes_away_is_not_asked_for_each_table() {
    let tables: Vec<Table> = ["a", "b", "c"].map(|name| table(name, "id bigint, v text", numbered(3))).into();
    let sender = site(tables, |asked| (asked.call() == "pull-data").then_some(Reply::Close));
    let here = Fixture::new("");
    let report = pull(&sender, &here, at_once());
    // The first was asked for twice: it may have been the kept connection's fault.
    assert_eq!(of(&report, "a").error.as_ref().unwrap().kind(), ErrorKind::Disconnected);
    assert_eq!(calls(&sender, "pull-data"), 4);

    let nobody = "http://127.0.0.1:1";
    let api = Api::new(nobody, &ConnectOptions::default()).unwrap().token(&Token::parse("x").unwrap());
    assert_eq!(api.pull(&here.site, at_once()).unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(api.pull_table(&here.site, "a", at_once()).unwrap_err().kind(), ErrorKind::Unreachable);
}

/// What is lost is not tried again.
fn at_once<'p>() -> PullOptions<'p> {
    PullOptions::new().retry_time(Duration::ZERO)
}

#[test]
fn a_site_that_is_away_for_a_moment_is_asked_again() {
    let tables: Vec<Table> = ["a", "b"].map(|name| table(name, "id bigint, v text", numbered(3))).into();
    let away = std::sync::atomic::AtomicUsize::new(0);
    let sender = site(tables, move |asked| {
        let calls = away.fetch_add(usize::from(asked.call() == "pull-data"), std::sync::atomic::Ordering::SeqCst);
        (asked.call() == "pull-data" && calls < 5).then_some(Reply::Close)
    });
    let here = Fixture::new("");
    let report = pull(&sender, &here, PullOptions::new());
    assert!(report.is_clean(), "{report:?}");
}

/// What PhoenixKit answers to a WebSocket by token: it takes the token, and refuses the topic of the join.
fn wrong_topic(asked: &Asked) -> Reply {
    let accept = tungstenite::handshake::derive_accept_key(asked.header("sec-websocket-key").unwrap().as_bytes());
    let frame = r#"[null,"1","transfer:self","phx_reply",{"response":{"reason":"code_mismatch"},"status":"error"}]"#;
    let mut bytes = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    bytes.extend([0x81, u8::try_from(frame.len()).unwrap()]);
    bytes.extend_from_slice(frame.as_bytes());
    Reply::Raw(bytes)
}

#[test]
fn what_came_before_and_after_an_interruption_is_not_one_state() {
    let tables: Vec<Table> = ["a", "b"].map(|name| table(name, "id bigint, v text", numbered(3))).into();
    let is_down = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let down = std::sync::Arc::clone(&is_down);
    let sender = site(tables, move |asked| {
        let fails = asked.call() == "pull-data" && asked.table() == "b" && down.load(std::sync::atomic::Ordering::SeqCst);
        fails.then_some(Reply::Close)
    });
    for no_refresh in [false, true] {
        is_down.store(true, std::sync::atomic::Ordering::SeqCst);
        let here =
            Fixture::new("CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT)");
        let options = || if no_refresh { at_once().refresh(false) } else { at_once() };
        let report = pull(&sender, &here, options());
        assert_eq!(of(&report, "b").error.as_ref().unwrap().kind(), ErrorKind::Disconnected);
        is_down.store(false, std::sync::atomic::Ordering::SeqCst);
        let report = pull(&sender, &here, options());
        assert!(report.is_clean() && !report.one_state, "{report:?}");
    }
}

#[test]
fn the_sender_is_told_the_strategy() {
    let sender = honest(["a", "b"].map(|name| table(name, "id bigint, v text", numbered(1))).into());
    let options = PullOptions::new().strategy(Strategy::Merge).table_strategy("b", Strategy::Overwrite);
    assert!(pull(&sender, &Fixture::new(""), options).is_clean());
    let told = sender.asked().into_iter().filter(|asked| asked.call() == "pull-data");
    let told: Vec<_> = told.map(|asked| (asked.table(), asked.json()["conflict_strategy"].clone())).collect();
    assert_eq!(told, [("a".into(), json!("merge")), ("b".into(), json!("overwrite"))]);
}

#[test]
fn a_url_and_a_token_are_enough_for_either_kind_of_site() {
    let tables = vec![table("plain", "id bigint, v text", numbered(3))];
    let sender = site(tables, |asked| {
        asked.line.contains("/sync/websocket?").then(|| match asked.line.contains("token=") {
            true => wrong_topic(asked),
            false => Reply::Raw(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 22\r\n\r\nMissing authentication".to_vec()),
        })
    });
    let here = Fixture::new("");
    let auth = Auth::token("is3W3OM").password("hunter2");
    let report = here.site.pull_from(&sender.url, auth, ConnectOptions::default(), PullOptions::new()).unwrap();
    assert!(report.is_clean() && report.records == 3, "{report:?}");
    let asked = sender.asked();
    assert_eq!(asked[0].line, "GET /sync/websocket?vsn=2.0.0");
    assert_eq!(
        asked[0].header("x-rowferry-auth").map(|given| given.starts_with("token=is3W3OM&password=hunter2&")),
        Some(true)
    );
    assert_eq!(asked[1].line, "GET /sync/websocket?token=is3W3OM&password=hunter2&vsn=2.0.0");
    assert!(
        asked[2..].iter().all(|asked| asked.line.starts_with("POST /sync/api/") && asked.json()["password"] == "hunter2")
    );
}

#[test]
fn the_references_own_state_is_left_out() {
    let own = ["phoenix_kit_sync_connections", "phoenix_kit_sync_transfers"];
    let mut tables: Vec<Table> = own.map(|name| table(name, "id bigint, v text", numbered(1))).into();
    tables.push(table("plain", "id bigint, v text", numbered(1)));
    let report = pull(&honest(tables), &Fixture::new(""), PullOptions::new());
    assert_eq!(report.tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["plain"]);
}
