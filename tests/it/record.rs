//! Writes what `frames/` keeps of a version: a site's database with its key file, pulls as they are said, and each binary message.
//! `frames/README.md` says when to.

use std::fs;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::recorded::hex;
use crate::support::recorded::recorder::{Cut, Recorder};
use rowferry::internals::native::{End, Fetch, Refusal, Request};
use rowferry::{Auth, Client, ConnectOptions, Direction, ManualClock, NewConnection, Policy, PullOptions, Site, Strategy};
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

/// When everything was written.
pub const NOW: OffsetDateTime = datetime!(2026-11-30 12:00 UTC);

/// Rows of a page.
pub const BATCH: u32 = 10;

/// Who comes back with the ticket.
pub const RECEIVER: Uuid = Uuid::from_u128(0x0f1e_2d3c_4b5a_4978_8695_a4b3_c2d1_e0ff);

pub const PASSWORD: &str = "swordfish";

/// What the other site has. `nodes` refers to itself, so that its rows wait in a stage.
const THERE: &str = "CREATE TABLE big(id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25) INSERT INTO big SELECT i, 'row ' || i FROM n;
CREATE TABLE nodes(id INTEGER PRIMARY KEY, up INTEGER REFERENCES nodes(id), name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 35)
INSERT INTO nodes SELECT i, nullif(i % 35 + 1, 1), 'node ' || i FROM n;
CREATE TABLE loose(a, b);
INSERT INTO loose VALUES (1, 'one'), (1, 'one'), (NULL, 'none'), ('two', 2.5), (x'00ff', NULL);
CREATE TABLE empty(id INTEGER PRIMARY KEY, v TEXT);
CREATE TABLE mixed(id INTEGER PRIMARY KEY, t TEXT, r REAL, b BLOB, n INTEGER);
INSERT INTO mixed VALUES
    (-9223372036854775808, '', -0.0, x'', 0), (1, NULL, NULL, NULL, NULL),
    (2, 'nul' || char(0) || 'in it', 1e999, x'00ff80', -1), (3, printf('%.200c', 'x'), 0.1, zeroblob(300), 9223372036854775807);
CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
INSERT INTO people VALUES (1, 'Ada'), (2, 'Grace'), (3, 'Edsger');
CREATE TABLE words(w TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
INSERT INTO words VALUES ('a', 1), ('b', 2), ('ü', 3), ('zz', 4);
";

/// What the recorded site has of its own: two of the people who come.
const HERE: &str = "PRAGMA page_size = 1024;
CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
INSERT INTO people VALUES (1, 'Barbara'), (2, 'Grace');";

pub fn open(path: &Path, sql: &str) -> Site {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    Site::builder().clock(Arc::new(ManualClock::new(NOW))).open(path).unwrap()
}

pub fn connecting() -> ConnectOptions {
    ConnectOptions::default().request_timeout(Duration::from_secs(20)).heartbeat(None)
}

/// The pull that was interrupted. It brings what is missing, and nothing again.
pub fn interrupted() -> PullOptions<'static> {
    let options = PullOptions::new().strategy(Strategy::Overwrite).tables(["nodes"]);
    options.batch_size(BATCH).retry_time(Duration::ZERO).refresh(false)
}

pub fn append() -> PullOptions<'static> {
    PullOptions::new().strategy(Strategy::Append).tables(["people"]).retry_time(Duration::ZERO)
}

/// Writes all files of this version.
pub fn record(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("source.sql", THERE);
    write("messages.json", &format!("{:#}\n", messages()));
    let work = tempfile::tempdir().unwrap();
    let there = open(&work.path().join("there.db"), THERE);

    // A pull by a code.
    let recorder = Recorder::new(there.handler(), None);
    let code = there.sessions().create(Direction::Send).unwrap();
    let client = Client::connect(&recorder.url, Auth::code(code.code()), connecting()).unwrap();
    let fresh = open(&work.path().join("fresh.db"), "");
    client.pull(&fresh, PullOptions::new().batch_size(BATCH)).unwrap().ok().unwrap();
    drop(client);
    write("pull.json", &recorder.end());

    // The recorded site lets another one pull, by a connection and by a code. With that one's ticket it may come back.
    let path = work.path().join("here.db");
    let here = open(&path, HERE);
    here.settings().set_allow_internal_urls(true).unwrap();
    here.settings().set_site_url("https://here.example").unwrap();
    let mut policy = Policy::default();
    policy.allowed_tables = vec!["people".into()];
    policy.max_downloads = Some(5);
    let nightly = NewConnection::sender("Nightly", "https://backup.example").policy(policy).download_password(PASSWORD);
    let nightly = here.connections().by("alice").create(nightly).unwrap();
    let spent = here.sessions().create(Direction::Send).unwrap();
    let open_code = here.sessions().create(Direction::Send).unwrap();
    let ticket = ticket(&here, spent.code());

    // It pulls through a connection: an append, and a pull that loses its connection. So it stands in `site.db`.
    let cut = Cut { connection: 1, table: "nodes", pages: 2 };
    let recorder = Recorder::new(there.handler(), Some(cut));
    let made = there.connections().create(NewConnection::sender("here", "https://here.example")).unwrap();
    let shop = NewConnection::receiver("Shop", &recorder.url, made.token.clone());
    let shop = here.connections().by("alice").create(shop).unwrap().connection;
    here.pull(shop.uuid, connecting(), append()).unwrap().ok().unwrap();
    let lost = here.pull(shop.uuid, connecting(), interrupted());
    assert!(lost.and_then(|report| report.ok()).is_err());
    let sqlite = rusqlite::Connection::open(&path).unwrap();
    sqlite.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    fs::copy(&path, folder.join("site.db")).unwrap();
    fs::copy(work.path().join("here.db.rowferry-key"), folder.join("site.key")).unwrap();

    // What is said when the pull resumes, and when the append is tried again.
    here.pull(shop.uuid, connecting(), interrupted()).unwrap().ok().unwrap();
    here.pull(shop.uuid, connecting(), append()).unwrap().ok().unwrap_err();
    write("resumed_pull.json", &recorder.end());
    let secrets = json!({
        "open_code": open_code.code(),
        "ticket": ticket,
        "token": nightly.token.as_str(),
    });
    write("secrets.json", &format!("{secrets:#}\n"));
}

/// What a request for a WebSocket gives to be let in.
pub fn asking(given: &str) -> http::Request<()> {
    let request = http::Request::get("/sync/websocket?vsn=2.0.0")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("x-rowferry-auth", given);
    request.body(()).unwrap()
}

/// The ticket that a peer gets who comes by this code.
fn ticket(site: &Site, code: &str) -> String {
    let asked = asking(&format!("code={code}&receiver={RECEIVER}"));
    let mut session = site.handler().upgrade(&asked, None).unwrap().session;
    let join = json!([null, "1", format!("transfer:{code}"), "phx_join", {"receiver_info": {"rowferry": {"version": 1}}}]);
    let joined: Json = serde_json::from_str(&session.on_text(&join.to_string()).frames[0]).unwrap();
    let of = json!([null, "2", format!("transfer:{code}"), "pull:of", {"tables": ["people"]}]);
    assert_eq!(session.on_text(&of.to_string()).close, None);
    joined[4]["response"]["rowferry"]["ticket"].as_str().unwrap().to_owned()
}

/// Each kind of binary message but for pages, which are in the pulls, as this version writes it.
pub fn messages() -> Json {
    let number = |number| NonZeroU32::new(number).unwrap();
    let fetch = Fetch {
        request: 7,
        table: "people".into(),
        after: None,
        records: 0,
        page_bytes: number(1 << 20),
        page_rows: number(500),
        window: number(8 << 20),
        compress: true,
        pull: Some(RECEIVER),
        sums: false,
    };
    let request = |request: Request| hex(&request.encode().unwrap());
    let refusal = Refusal {
        request: 10,
        code: "pending_approval".into(),
        text: "the pull waits for approval".into(),
        transfer: Some(RECEIVER),
        retry_after: Some(Duration::from_secs(90)),
    };
    json!({
        "fetch": request(Request::Fetch(fetch.clone())),
        "fetch without a name": request(Request::Fetch(Fetch { pull: None, compress: false, ..fetch })),
        "credit": request(Request::Credit { request: 7, bytes: number(65_536) }),
        "cancel": request(Request::Cancel { request: 8 }),
        "done": request(Request::Done { request: 9 }),
        "end": hex(&End { request: 7, rows: 3, state: None, sum: None }.encode()),
        "end of a named pull": hex(&End { request: 7, rows: 3, state: NonZeroU64::new(5), sum: None }.encode()),
        "error": hex(&refusal.encode()),
    })
}
