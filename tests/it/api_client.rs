//! The calls over HTTP against a fake site that answers as the recordings of PhoenixKit have it, and worse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::fake_http::{Asked, FakeSite, Reply, no_route, ok, refused};
use rowferry::{Api, CancelToken, ConnectOptions, Error, ErrorKind, Limits, PeerStatus, RecordsQuery, Token, Value};
use serde_json::json;

const TOKEN: &str = "is3W3OM_JqU3b556SxC6yMkHs_niLrwhXX3fnoS47Jw";
const STATUS: &str = r#"{"enabled":true,"incoming_mode":"require_approval","password_required":false}"#;

fn token() -> Token {
    Token::parse(TOKEN).unwrap()
}

/// The hash of the token.
fn hash() -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn options() -> ConnectOptions {
    let time = Duration::from_secs(10);
    ConnectOptions::default().connect_timeout(time).request_timeout(time)
}

fn api(site: &FakeSite) -> Api {
    Api::new(&site.url, &options()).unwrap().token(&token())
}

/// A site that has one answer.
fn always(reply: impl Fn() -> Reply + Send + Sync + 'static) -> FakeSite {
    FakeSite::new(move |_| reply())
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.map(|_| ()).unwrap_err().kind()
}

/// What a call sends, and what it makes of the answer.
fn call<T>(answer: &'static str, ask: impl FnOnce(&Api) -> Result<T, Error>) -> (Asked, T) {
    let site = always(move || ok(answer));
    let answer = ask(&api(&site)).unwrap();
    let mut asked = site.asked();
    assert_eq!(asked.len(), 1);
    (asked.remove(0), answer)
}

#[test]
fn calls_are_those_of_the_reference() {
    let url = "http://127.0.0.1:4802/s1";
    let (asked, status) = call(STATUS, Api::status);
    assert_eq!((asked.line.as_str(), asked.body.as_str()), ("GET /sync/api/status", ""));
    assert!(status.enabled && status.incoming_mode == "require_approval");

    let answer = r#"{"connection_status":"active","connection_uuid":"01a1fd46-7325-7232-98b7-56487b50f09e","message":"Connection registered and activated","success":true}"#;
    let (asked, registered) = call(answer, |api| api.register_connection(url, "From tests", &token(), Some("s3cret")));
    assert_eq!(asked.line, "POST /sync/api/register-connection");
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(asked.header("accept"), Some("application/json"));
    assert_eq!(asked.header("accept-encoding"), None);
    let body = r#"{"auth_token":"TOKEN","connection_name":"From tests","password":"s3cret","sender_url":"http://127.0.0.1:4802/s1"}"#;
    assert_eq!(asked.body, body.replace("TOKEN", TOKEN));
    assert_eq!(registered.connection_status, "active");
    assert_eq!(registered.connection_uuid.to_string(), "01a1fd46-7325-7232-98b7-56487b50f09e");

    let named = format!(r#"{{"auth_token_hash":"{}","sender_url":"{url}"}}"#, hash());
    let (asked, ()) = call(r#"{"message":"Connection deleted","success":true}"#, |api| api.delete_connection(url));
    assert_eq!((asked.call(), &asked.body), ("delete-connection", &named));
    let (asked, exists) = call(r#"{"exists":true,"success":true}"#, |api| api.verify_connection(url));
    assert_eq!((asked.call(), &asked.body, exists), ("verify-connection", &named, true));
    let answer = r#"{"message":"Status updated to suspended","success":true}"#;
    let (asked, ()) = call(answer, |api| api.update_status(url, PeerStatus::Suspended));
    let status = asked.json();
    assert_eq!((asked.call(), status["status"].as_str()), ("update-status", Some("suspended")));
    let answer = r#"{"name":"Pending sender","status":"active","success":true}"#;
    let (asked, queried) = call(answer, |api| api.get_connection_status(url));
    assert_eq!((asked.call(), asked.json()["receiver_url"].as_str()), ("get-connection-status", Some(url)));
    assert_eq!((queried.name.as_str(), queried.status.as_str()), ("Pending sender", "active"));
    let (asked, known) =
        call(r#"{"message":"Token updated","success":true}"#, |api| api.rotate_token(url, &Token::parse("new")?));
    let body = format!(r#"{{"auth_token":"new","auth_token_hash":"{}","sender_url":"{url}"}}"#, hash());
    assert_eq!((asked.call(), &asked.body, known), ("rotate-token", &body, true));
}

const POSTS: &str = r#"{"schema":{"columns":[{"character_maximum_length":null,"column_default":"nextval('posts_id_seq'::regclass)","column_name":"id","data_type":"bigint","is_nullable":"NO"},{"character_maximum_length":null,"column_default":null,"column_name":"user","data_type":"uuid","is_nullable":"YES"},{"character_maximum_length":80,"column_default":null,"column_name":"title","data_type":"character varying","is_nullable":"YES"}],"table_name":"posts"},"success":true}"#;

#[test]
fn tables_and_records_are_those_of_the_reference() {
    let answer = r#"{"success":true,"tables":[{"checksum":"135f7e3f535de0f7cb045640ea65db3d","depends_on":["users"],"name":"posts","row_count":4,"size_bytes":32768}]}"#;
    let (asked, tables) = call(answer, Api::list_tables);
    assert_eq!((asked.call(), &asked.body), ("list-tables", &format!(r#"{{"auth_token_hash":"{}"}}"#, hash())));
    assert_eq!((tables[0].name.as_str(), tables[0].row_count, tables[0].size_bytes), ("posts", 4, 32_768));
    let (asked, posts) = call(POSTS, |api| api.table_schema("posts"));
    assert_eq!((asked.call(), asked.table()), ("table-schema", "posts".to_owned()));
    assert_eq!((posts.columns.len(), posts.primary_key.len(), posts.columns[2].max_length), (3, 0, Some(80)));

    let records = r#"[{"id":1,"title":"first","user":"ABCDEFGHIJKLMNOP"},{"id":2,"title":null,"user":{"__phoenix_kit_binary__":"my8cPnpNTFWOIQ86a3yNng=="}},{"id":"x","title":"t","user":"short"}]"#;
    let answer: &'static str = format!(r#"{{"data":{records},"success":true,"table":"posts"}}"#).leak();
    let (asked, pulled) = call(answer, |api| api.pull_data(&posts));
    assert_eq!((asked.call(), asked.table()), ("pull-data", "posts".to_owned()));
    let uuid = |row| pulled.rows.get(row, 1).unwrap().to_owned();
    assert_eq!(uuid(0), Value::from("41424344-4546-4748-494a-4b4c4d4e4f50"));
    assert_eq!(uuid(1), Value::from("9b2f1c3e-7a4d-4c55-8e21-0f3a6b7c8d9e"));
    assert_eq!((pulled.rows.len(), pulled.failures.len(), pulled.has_more), (2, 1, false));

    let answer: &'static str = format!(r#"{{"records":{records},"success":true}}"#).leak();
    let query = RecordsQuery::default().limit(3).offset(7).ids([Value::Integer(3), Value::from("x")]);
    let (asked, some) = call(answer, |api| api.table_records(&posts, &query.id_start(5).id_end(9)));
    let body = asked.json();
    assert_eq!((body["limit"].as_u64(), body["offset"].as_u64(), body["id_start"].as_u64()), (Some(3), Some(7), Some(5)));
    assert_eq!(body["ids"].to_string(), r#"[3,"x"]"#);
    assert_eq!((some.rows.len(), some.offset, some.has_more), (2, 7, true));
    // PhoenixKit caps it, so that more could never be told from all.
    assert_eq!(RecordsQuery::default().limit(1_000), RecordsQuery::default().limit(100));
}

#[test]
fn a_download_password_goes_with_what_is_downloaded() {
    let site = always(|| ok(r#"{"success":true,"tables":[]}"#));
    api(&site).password("pässword").list_tables().unwrap();
    assert_eq!(site.asked()[0].json()["password"], "pässword");
}

#[test]
fn the_prefix_is_found_and_remembered() {
    let site = FakeSite::new(|asked| match asked.line.as_str() {
        "GET /phoenix_kit/sync/api/status" => ok(STATUS),
        line if line.starts_with("POST /phoenix_kit/sync/api/") => ok(r#"{"success":true,"tables":[]}"#),
        _ => no_route(),
    });
    let calls = Api::new(&site.url, &options().prefix("/app")).unwrap().token(&token());
    calls.list_tables().unwrap();
    calls.list_tables().unwrap();
    assert_eq!(
        site.lines(),
        [
            "POST /app/sync/api/list-tables",
            "GET /app/sync/api/status",
            "GET /sync/api/status",
            "GET /phoenix_kit/sync/api/status",
            "POST /phoenix_kit/sync/api/list-tables",
            "POST /phoenix_kit/sync/api/list-tables",
        ]
    );
}

#[test]
fn a_404_of_the_call_is_an_answer_and_any_other_is_not() {
    let own = || Reply::Json(404, r#"{"exists":false,"success":false}"#.to_owned());
    let site = always(own);
    assert!(!api(&site).verify_connection("http://a").unwrap());
    // With and without a slash at the end of the URL.
    assert_eq!(site.lines(), ["POST /sync/api/verify-connection"; 2]);
    let site = always(|| refused(404, "Connection not found"));
    assert_eq!(kind(api(&site).delete_connection("http://a")), ErrorKind::NotFound);
    assert_eq!(kind(api(&site).get_connection_status("http://a")), ErrorKind::NotFound);

    // Nobody is there any more: that says nothing about the connection.
    for page in [no_route as fn() -> Reply, || Reply::Head("404 Not Found\r\ncontent-type: text/html", "<h1>".into())] {
        let site = always(page);
        for kind in [
            kind(api(&site).verify_connection("http://a")),
            kind(api(&site).delete_connection("http://a")),
            kind(api(&site).rotate_token("http://a", &token())),
            kind(api(&site).status()),
        ] {
            assert_eq!(kind, ErrorKind::Unreachable);
        }
    }

    // A site that does not know one call.
    let site = FakeSite::new(|asked| if asked.call() == "status" { ok(STATUS) } else { no_route() });
    let calls = api(&site);
    assert!(!calls.rotate_token("http://a", &token()).unwrap());
    assert_eq!(kind(calls.delete_connection("http://a")), ErrorKind::Protocol);
}

#[test]
fn refusals_are_told_apart() {
    let with = |status, text: &'static str| kind(api(&always(move || refused(status, text))).list_tables());
    assert_eq!(with(401, "Invalid connection"), ErrorKind::InvalidToken);
    assert_eq!(with(403, "Connection is not active"), ErrorKind::ConnectionNotActive);
    assert_eq!(with(403, "This connection is not authorised to access that table"), ErrorKind::TableNotAllowed);
    assert_eq!(with(503, "DB Sync module is disabled"), ErrorKind::Disabled);
    assert_eq!(with(404, "Table not found"), ErrorKind::TableNotFound);
    assert_eq!(with(500, "Failed to pull data"), ErrorKind::Peer);
    let register = |status, text: &'static str| {
        kind(api(&always(move || refused(status, text))).register_connection("http://a", "n", &token(), None))
    };
    assert_eq!(register(401, "Password required"), ErrorKind::PasswordRequired);
    assert_eq!(register(401, "Invalid password"), ErrorKind::InvalidPassword);
    assert_eq!(register(403, "Incoming connections are not allowed"), ErrorKind::Refused);
    assert_eq!(register(409, "A connection already exists"), ErrorKind::AlreadyExists);
    assert_eq!(register(503, "Sync module is disabled"), ErrorKind::Disabled);

    let site = always(|| Reply::Head("429 Too Many Requests\r\nretry-after: 17", "slow down".into()));
    let error = api(&site).list_tables().unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(17))));
    let uuid = "01a1fd46-7325-7232-98b7-56487b50f09e";
    let body = format!(r#"{{"error":"The transfer needs approval","success":false,"transfer_uuid":"{uuid}"}}"#);
    let error = api(&always(move || Reply::Json(403, body.clone()))).list_tables().unwrap_err();
    assert_eq!((error.kind(), error.transfer()), (ErrorKind::ApprovalRequired, uuid.parse().ok()));

    let site = always(|| ok("{}"));
    assert_eq!(kind(Api::new(&site.url, &options()).unwrap().list_tables()), ErrorKind::InvalidInput);
    assert!(site.asked().is_empty());
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = always(|| ok(STATUS));
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let head: &'static str = format!("{status}\r\nlocation: {}/sync/api/status", elsewhere.url).leak();
        let site = always(move || Reply::Head(head, String::new()));
        for error in [api(&site).status().unwrap_err(), api(&site).delete_connection("http://a").unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            assert!(error.message().contains("redirect"), "{error}");
        }
    }
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn bodies_have_an_end() {
    let long = format!(r#"{{"success":true,"tables":[{}]}}"#, " ".repeat(300_000));
    let with_length = long.clone();
    let mut limits = Limits::default();
    limits.wire.message_bytes = 100_000;
    let options = options().limits(limits);
    let api = |site: &FakeSite| Api::new(&site.url, &options).unwrap().token(&token());
    let site = always(move || ok(with_length.clone()));
    assert_eq!(kind(api(&site).list_tables()), ErrorKind::TooLarge);
    let site = always(move || Reply::Raw(format!("HTTP/1.1 200 OK\r\n\r\n{long}").into_bytes()));
    assert_eq!(kind(api(&site).list_tables()), ErrorKind::TooLarge);
    // Short answers have a shorter bound.
    let site = always(|| ok(format!(r#"{{"exists":true,"success":true,"x":"{}"}}"#, "x".repeat(70_000))));
    assert_eq!(kind(api(&site).verify_connection("http://a")), ErrorKind::TooLarge);
    let site = always(|| Reply::Raw(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(20_000)).into_bytes()));
    assert_eq!(kind(api(&site).list_tables()), ErrorKind::TooLarge);
}

#[test]
fn answers_end_in_time_or_when_cancelled() {
    let trickle = |head: &'static str| always(move || Reply::Trickle(head.to_owned(), Duration::from_millis(20), 500));
    for head in [
        "HTTP/1.1 200 ",
        "HTTP/1.1 200 OK\r\nx: ",
        "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{",
        "HTTP/1.1 200 OK\r\n\r\n{",
    ] {
        let site = trickle(head);
        let began = Instant::now();
        let calls = Api::new(&site.url, &options().request_timeout(Duration::from_millis(300))).unwrap().token(&token());
        let error = calls.list_tables().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{head:?}: {error}");
        assert!(began.elapsed() < Duration::from_secs(8), "{head:?}");
    }
    let site = trickle("HTTP/1.1 200 OK\r\n\r\n{");
    let cancel = CancelToken::new();
    let calls = Api::new(&site.url, &options().cancel_token(cancel.clone())).unwrap().token(&token());
    let kind = std::thread::scope(|scope| {
        let call = scope.spawn(|| kind(calls.list_tables()));
        while site.asked().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        cancel.cancel();
        call.join().unwrap()
    });
    assert_eq!(kind, ErrorKind::Cancelled);
}

#[test]
fn what_is_no_answer() {
    let raw = |text: &'static str| kind(api(&always(move || Reply::Raw(text.into()))).verify_connection("http://a"));
    assert_eq!(raw("SSH-2.0-OpenSSH\r\n\r\n"), ErrorKind::Protocol);
    assert_eq!(raw("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"exists\""), ErrorKind::Disconnected);
    assert_eq!(raw(""), ErrorKind::Disconnected);
    let json = |text: &'static str| kind(api(&always(move || ok(text))).list_tables());
    for junk in [
        "",
        "null",
        "[]",
        "<html>",
        r#"{"success":true}"#,
        r#"{"success":false,"tables":[]}"#,
        r#"{"success":true,"tables":[{"name":5}]}"#,
        r#"{"success":true,"tables":[],"tables":[]}"#,
    ] {
        assert_eq!(json(junk), ErrorKind::Protocol, "{junk}");
    }
    let deep: &'static str = format!(r#"{{"success":true,"tables":{}"#, "[".repeat(200_000)).leak();
    assert_eq!(json(deep), ErrorKind::Protocol);
    let name: &'static str = format!(r#"{{"success":true,"tables":[{{"name":"{}"}}]}}"#, "x".repeat(1_025)).leak();
    assert_eq!(json(name), ErrorKind::TooLarge);
    // Any content type will do, and none.
    let site = always(|| Reply::Head("200 OK\r\ncontent-type: text/plain", r#"{"exists":true,"success":true}"#.into()));
    assert!(api(&site).verify_connection("http://a").unwrap());
}

#[test]
fn connections_are_kept_for_reading_only() {
    let site = FakeSite::new(|asked| match asked.call() {
        "list-tables" => ok(r#"{"success":true,"tables":[]}"#),
        _ => ok(r#"{"exists":true,"message":"x","success":true}"#),
    });
    let calls = api(&site);
    for _ in 0..3 {
        calls.list_tables().unwrap();
    }
    calls.delete_connection("http://a").unwrap();
    calls.delete_connection("http://a").unwrap();
    let connections: Vec<usize> = site.asked().iter().map(|asked| asked.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1, 2]);
}

#[test]
fn a_question_is_asked_again_when_its_connection_breaks_and_an_order_is_not() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let site = FakeSite::new(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        1 | 4 => Reply::Close,
        6 => Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"succ".to_vec()),
        _ => ok(r#"{"success":true,"tables":[]}"#),
    });
    let calls = api(&site);
    calls.list_tables().unwrap();
    calls.list_tables().unwrap();
    assert_eq!(site.asked().len(), 3);
    calls.list_tables().unwrap();
    // Not where the connection was new, nor where the answer had begun.
    assert_eq!(kind(api(&site).list_tables()), ErrorKind::Disconnected);
    let calls = api(&site);
    calls.list_tables().unwrap();
    assert_eq!(kind(calls.list_tables()), ErrorKind::Disconnected);
    assert_eq!(site.asked().len(), 7);
    count.store(1, Ordering::SeqCst);
    assert_eq!(kind(api(&site).delete_connection("http://a")), ErrorKind::Disconnected);
    assert_eq!(site.asked().len(), 8);
}

#[test]
fn no_secret_is_in_what_is_shown() {
    let echo = FakeSite::new(|asked| match asked.call() {
        "list-tables" => Reply::Json(403, asked.body.clone()),
        "register-connection" => Reply::Json(403, json!({"error": asked.body, "success": false}).to_string()),
        _ => Reply::Head("400 Bad Request\r\ncontent-type: text/plain", format!("cannot read {}", asked.body)),
    });
    let calls = api(&echo).password("hunter2");
    let mut shown = format!("{calls:?}");
    assert!(calls.delete_connection("http://a").unwrap_err().message().contains("cannot read"));
    for error in [
        calls.list_tables().unwrap_err(),
        calls.register_connection("http://a", "n", &token(), Some("hunter2")).unwrap_err(),
        calls.rotate_token("http://a", &Token::parse("another-token").unwrap()).unwrap_err(),
        calls.delete_connection("http://a").unwrap_err(),
        Api::new("http://127.0.0.1:1", &options()).unwrap().token(&token()).list_tables().unwrap_err(),
    ] {
        shown.push_str(&format!("{error} {error:?}"));
    }
    for secret in [TOKEN, &hash(), "hunter2", "another-token"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
