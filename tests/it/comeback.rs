//! Pulls whose connection is lost: they come back, and for both ends they are the pulls that they were.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::common::{Fixture, rows};
use rowferry::{
    Api, ApprovalMode, Auth, CancelToken, Client, ConnectOptions, Direction, ErrorKind, Limits, NewConnection, Phase,
    Policy, PullOptions, Report, Server, ServerHandle, Site, Strategy, TransferFilter,
};

/// Three tables of two thousand rows.
const THREE: &str = "CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT NOT NULL);
    CREATE TABLE b(id TEXT PRIMARY KEY NOT NULL, v REAL); CREATE TABLE c(id INTEGER PRIMARY KEY, v TEXT NOT NULL);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO a SELECT i, 'row ' || i FROM n;
    INSERT INTO b SELECT 'key ' || id, id / 3.0 FROM a; INSERT INTO c SELECT * FROM a;";

struct Shop {
    fixture: Fixture,
    server: Option<ServerHandle>,
    address: SocketAddr,
}

fn shop() -> Shop {
    let fixture = Fixture::new(THREE);
    let server = Server::bind(&fixture.site, "127.0.0.1:0").unwrap().spawn().unwrap();
    Shop { address: server.local_addr(), fixture, server: Some(server) }
}

impl Shop {
    fn code(&self) -> String {
        self.fixture.site.sessions().create(Direction::Send).unwrap().code().to_owned()
    }

    fn token(&self, change: impl FnOnce(&mut Policy)) -> (uuid::Uuid, Auth) {
        let mut policy = Policy::default();
        change(&mut policy);
        let new = NewConnection::sender("backup", "https://backup.example").policy(policy);
        let made = self.fixture.site.connections().create(new).unwrap();
        (made.connection.uuid, Auth::token(made.token.as_str()))
    }

    /// Each transfer as `table status records`, the oldest first, when none is running any more.
    fn history(&self) -> Vec<String> {
        let all = || self.fixture.site.transfers().list(&TransferFilter::new().oldest_first().limit(1000)).unwrap();
        for _ in 0..1_000 {
            if all().iter().all(|transfer| transfer.status.is_final()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let line = |t: &rowferry::Transfer| format!("{} {} {}", t.table_name, t.status, t.counters.records_transferred);
        all().iter().map(line).collect()
    }
}

/// A proxy that cuts what comes from the server. It is told of each connection, the first being 0, after how many bytes.
fn proxy(to: SocketAddr, cut: impl Fn(usize) -> Option<usize> + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let left = cut(counted.fetch_add(1, Ordering::SeqCst));
            let Ok(server) = TcpStream::connect(to) else { continue };
            let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || forward(from, into, None));
            std::thread::spawn(move || forward(server, client, left));
        }
    });
    (url, count)
}

fn forward(mut from: TcpStream, mut to: TcpStream, mut left: Option<usize>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let sent = left.map_or(length, |left| left.min(length));
        left = left.map(|left| left - sent);
        if to.write_all(&buffer[..sent]).is_err() || left == Some(0) {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

fn options<'p>() -> PullOptions<'p> {
    PullOptions::new().strategy(Strategy::Overwrite).batch_size(50)
}

fn same_rows(shop: &Fixture, backup: &Fixture) {
    for table in ["a", "b", "c"] {
        let sql = format!("SELECT * FROM {table} ORDER BY 1");
        assert!(rows(&shop.sqlite, &sql) == rows(&backup.sqlite, &sql), "{table}");
    }
}

fn sums(report: &Report) -> Vec<String> {
    let line = |table: &rowferry::TableReport| {
        format!("{} {:?} {} {}", table.name, table.status, table.outcome.created, table.outcome.total())
    };
    let mut lines: Vec<_> = report.tables.iter().map(line).collect();
    lines.sort();
    lines
}

const WHOLE: [&str; 3] = ["a Completed 2000 2000", "b Completed 2000 2000", "c Completed 2000 2000"];

#[test]
fn a_pull_that_is_cut_many_times_is_one_pull() {
    let shop = shop();
    for auth in [Auth::code(shop.code()), shop.token(|_| {}).1] {
        let backup = Fixture::new("");
        // At all kinds of places, also before the first page is there, and long enough for some to come.
        let (url, connections) =
            proxy(shop.address, |number| Some(if number == 0 { 2_500 } else { 500 + number * 3_571 % 20_000 }));
        let mut reconnecting = 0;
        let report = {
            let options =
                options().on_progress(|progress| reconnecting += usize::from(progress.phase == Phase::Reconnecting));
            backup.site.pull_from(&url, auth, ConnectOptions::default(), options).unwrap()
        };
        assert_eq!(sums(&report), WHOLE, "{report:?}");
        assert!(!report.one_state, "its pages came from several snapshots");
        assert!(
            connections.load(Ordering::SeqCst) > 10 && reconnecting > 5,
            "it was really cut: {connections:?} {reconnecting}"
        );
        same_rows(&shop.fixture, &backup);
        let history = shop.history();
        let latest: Vec<_> = history.iter().rev().take(3).collect();
        assert!(latest.iter().all(|line| line.ends_with("completed 2000")), "{history:?}");
    }
    assert_eq!(shop.history().len(), 6, "one transfer for each table of each pull");
}

#[test]
fn a_pull_that_is_cut_takes_no_more_of_its_limits() {
    let shop = shop();
    let (uuid, auth) = shop.token(|policy| {
        policy.max_downloads = Some(1);
        // Rows that are sent again in another state of the database count.
        policy.max_records_total = Some(9_000);
        policy.allowed_tables = vec!["a".to_owned()];
        policy.approval_mode = ApprovalMode::RequireApproval;
    });
    let backup = Fixture::new("");
    let (url, connections) = proxy(shop.address, |number| (number % 4 != 3).then_some(2_000 + number * 2_111 % 9_000));
    let client = Client::connect(&url, auth.clone(), ConnectOptions::default()).unwrap();
    let waiting = client.pull_table(&backup.site, "a", options()).unwrap_err();
    assert_eq!(waiting.kind(), ErrorKind::ApprovalRequired);
    shop.fixture.site.transfers().by("alice").approve(waiting.transfer().unwrap()).unwrap();
    let report = client.pull_table(&backup.site, "a", options()).unwrap();
    assert_eq!((report.outcome.created, report.outcome.total()), (2_000, 2_000));
    assert!(connections.load(Ordering::SeqCst) > 3, "it was really cut");
    assert_eq!(shop.history(), ["a completed 2000"]);
    let connection = shop.fixture.site.connections().get(uuid).unwrap();
    assert_eq!(connection.downloads_used, 1);
    assert!((2_000..=9_000).contains(&connection.records_downloaded), "{}", connection.records_downloaded);
    let again = Client::connect(&url, auth, ConnectOptions::default()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::DownloadLimit, "the pull is over");
}

#[test]
fn a_sender_that_starts_again_is_found_again() {
    let mut shop = shop();
    let (address, backup) = (shop.address, Fixture::new(""));
    let url = format!("http://{address}");
    for auth in [Auth::code(shop.code()), shop.token(|_| {}).1] {
        let (server, path) = (Mutex::new(shop.server.take()), shop.fixture.path());
        let mut restarted = None;
        let report = {
            let options = options().on_progress(|progress| {
                if progress.table == "b"
                    && progress.phase == Phase::Started
                    && let Some(server) = server.lock().unwrap().take()
                {
                    server.stop();
                }
                if progress.phase == Phase::Reconnecting && restarted.is_none() {
                    // Another program, on the same file and port.
                    let site = Site::open(&path).unwrap();
                    restarted = Some(Server::bind(&site, address).unwrap().spawn().unwrap());
                }
            });
            backup.site.pull_from(&url, auth, ConnectOptions::default(), options).unwrap()
        };
        assert!(report.is_clean() && restarted.is_some(), "{report:?}");
        same_rows(&shop.fixture, &backup);
        backup.run("DROP TABLE b");
        shop.server = restarted;
    }
}

#[test]
fn a_pull_that_was_killed_goes_on_with_its_spent_code() {
    let shop = shop();
    let (code, backup) = (shop.code(), Fixture::new(""));
    let pull =
        |url: &str, code: &str, options| backup.site.pull_from(url, Auth::code(code), ConnectOptions::default(), options);
    let (url, _) = proxy(shop.address, |number| (number < 2).then_some(12_000));
    for _ in 0..2 {
        let report = pull(&url, &code, options().retry_time(Duration::ZERO)).unwrap();
        assert!(!report.is_clean(), "cut off, and nothing tried: {report:?}");
    }
    let stranger = Fixture::new("");
    let other = stranger.site.pull_from(&url, Auth::code(&code), ConnectOptions::default(), options()).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::CodeUsed, "another site has no ticket");
    // Another program, with another spelling of the URL.
    let later = Site::open(backup.path()).unwrap();
    let report = later.pull_from(&format!("{url}/"), Auth::code(&code), ConnectOptions::default(), options()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    same_rows(&shop.fixture, &backup);
    assert_eq!(
        pull(&url, &code, options()).unwrap_err().kind(),
        ErrorKind::CodeUsed,
        "it is complete: the ticket is forgotten"
    );
    assert_eq!(backup.rows("SELECT count(*) FROM rowferry_kept_tickets"), ["0"]);
}

#[test]
fn a_session_that_was_deleted_takes_nobody_back() {
    let shop = shop();
    let (session, backup) = (shop.fixture.site.sessions().create(Direction::Send).unwrap(), Fixture::new(""));
    let pull = |url: &str| {
        backup.site.pull_from(
            url,
            Auth::code(session.code()),
            ConnectOptions::default(),
            options().retry_time(Duration::ZERO),
        )
    };
    let (url, _) = proxy(shop.address, |number| (number == 0).then_some(12_000));
    assert!(!pull(&url).unwrap().is_clean());
    shop.fixture.site.sessions().delete(session.uuid()).unwrap();
    assert_eq!(shop.fixture.rows("SELECT count(*) FROM rowferry_tickets"), ["0"]);
    assert_eq!(pull(&url).unwrap_err().kind(), ErrorKind::InvalidCode);
    assert_eq!(backup.rows("SELECT count(*) FROM rowferry_kept_tickets"), ["0"]);

    // In the middle of a pull, too.
    let session = shop.fixture.site.sessions().create(Direction::Send).unwrap();
    let (site, uuid) = (shop.fixture.site.clone(), session.uuid());
    let (url, _) = proxy(shop.address, move |number| {
        if number == 1 {
            site.sessions().delete(uuid).unwrap();
        }
        (number == 0).then_some(12_000)
    });
    let client = Client::connect(&url, Auth::code(session.code()), ConnectOptions::default()).unwrap();
    let report = client.pull(&backup.site, options().tables(["c"])).unwrap();
    let error = report.tables[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidCode, "{error}");
    assert!(error.to_string().contains("session has ended"), "{error}");
}

/// A shop that has one place for all its peers.
fn small_shop() -> Shop {
    let fixture = Fixture::new(THREE);
    let mut limits = Limits::default();
    limits.server.connections = 1;
    let site = Site::builder().limits(limits).open(fixture.path()).unwrap();
    let server = Server::bind(&site, "127.0.0.1:0").unwrap().spawn().unwrap();
    Shop { address: server.local_addr(), fixture, server: Some(server) }
}

/// Long enough for a test that waits for it to be seen to hang.
const EVER: Duration = Duration::from_secs(3600);

/// By what a pull is let in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Code,
    Token,
    StoredConnection,
}

#[test]
fn a_pull_waits_for_a_site_that_is_busy() {
    // The site says to wait for seconds.
    std::thread::scope(|threads| {
        for by in [By::Code, By::Token, By::StoredConnection] {
            threads.spawn(move || waits_for_a_site_that_is_busy(by));
        }
    });
}

fn waits_for_a_site_that_is_busy(by: By) {
    let (shop, backup) = (small_shop(), Fixture::new(""));
    let url = format!("http://{}", shop.address);
    backup.site.settings().set_allow_internal_urls(true).unwrap();
    let made = shop.fixture.site.connections().create(NewConnection::sender("backup", "https://backup.example")).unwrap();
    let auth = if by == By::Code { Auth::code(shop.code()) } else { Auth::token(made.token.as_str()) };
    let new = NewConnection::receiver("shop", &url, made.token);
    let stored = backup.site.connections().create(new).unwrap().connection.uuid;
    let pull = |options: PullOptions<'_>| match by {
        By::StoredConnection => backup.site.pull(stored, ConnectOptions::default(), options),
        _ => backup.site.pull_from(&url, auth.clone(), ConnectOptions::default(), options),
    };
    let mut held = Some(Client::connect(&url, Auth::code(shop.code()), ConnectOptions::default()).unwrap());

    let error = pull(options().retry_time(Duration::ZERO)).unwrap_err();
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::Unreachable, Some(503)), "{error}");
    assert!(error.retry_after().is_some() && error.message().contains("busy"), "{error}");

    // Somebody loses patience while it waits.
    let token = CancelToken::new();
    let kept = token.clone();
    let report = pull(options().retry_time(EVER).cancel(token).on_progress(|_| kept.cancel())).unwrap();
    assert!(report.cancelled && report.tables.is_empty(), "{report:?}");
    assert_eq!(report.error.map(|error| error.kind()), Some(ErrorKind::Cancelled));

    // There is a place again.
    let mut told = Vec::new();
    let options = options().retry_time(EVER).on_progress(|progress| {
        if progress.phase == Phase::Connecting {
            told.push((progress.table.to_owned(), progress.tables, progress.wait));
            held = None;
        }
    });
    let report = pull(options).unwrap();
    assert_eq!(sums(&report), WHOLE, "{report:?}");
    same_rows(&shop.fixture, &backup);
    assert!(!told.is_empty() && held.is_none());
    assert!(told.iter().all(|(table, tables, _)| table.is_empty() && *tables == 0), "{told:?}");
    assert!(told.iter().all(|(.., wait)| wait.is_some_and(|wait| !wait.is_zero() && wait <= EVER)), "{told:?}");
}

#[test]
fn a_pull_over_http_waits_for_a_site_that_is_busy() {
    let shop = shop();
    let (_, auth) = shop.token(|_| {});
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (to, count) = (shop.address, Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            if counted.fetch_add(1, Ordering::SeqCst) < 2 {
                let _ = client.read(&mut [0; 4096]);
                let said =
                    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                client.write_all(said.as_bytes()).unwrap();
                continue;
            }
            let Ok(server) = TcpStream::connect(to) else { continue };
            let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || forward(from, into, None));
            std::thread::spawn(move || forward(server, client, None));
        }
    });
    let api = Api::with_auth(&url, &auth, &ConnectOptions::default()).unwrap();
    let backup = Fixture::new("");
    let error = api.pull(&backup.site, options().retry_time(Duration::ZERO)).unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Unreachable, Some(Duration::ZERO)), "{error}");
    let report = api.pull(&backup.site, options().retry_time(EVER)).unwrap();
    assert_eq!(sums(&report), WHOLE, "{report:?}");
    assert!(count.load(Ordering::SeqCst) > 2, "{count:?}");
}

#[test]
fn a_client_that_disconnects_does_not_come_back() {
    let shop = shop();
    let (url, connections) = proxy(shop.address, |number| Some(if number == 0 { 12_000 } else { 0 }));
    let client = Client::connect(&url, Auth::code(shop.code()), ConnectOptions::default()).unwrap();
    let backup = Fixture::new("");
    let options = options().retry_time(Duration::MAX).on_progress(|progress| {
        if progress.phase == Phase::Reconnecting {
            client.disconnect();
        }
    });
    let report = client.pull(&backup.site, options).unwrap();
    assert!(report.tables.iter().any(|table| table.error.is_some()), "{report:?}");
    assert!(!client.is_connected());
    let tried = connections.load(Ordering::SeqCst);
    assert!(client.list_tables().is_err());
    assert_eq!(connections.load(Ordering::SeqCst), tried);
}

#[test]
fn another_site_at_the_address_is_not_pulled_from() {
    let shop = shop();
    let (_, auth) = shop.token(|_| {});
    // A copy of the shop that has become a site of its own, and takes the same token.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    shop.fixture.site.uuid().unwrap();
    shop.fixture.run(&format!("VACUUM INTO '{}'", copy.display()));
    let key = |path: &std::path::Path| std::path::PathBuf::from(format!("{}.rowferry-key", path.display()));
    std::fs::copy(key(&shop.fixture.path()), key(&copy)).unwrap();
    rusqlite::Connection::open(&copy)
        .unwrap()
        .execute_batch("DELETE FROM rowferry_settings WHERE key = 'site_uuid'; DELETE FROM c")
        .unwrap();
    let other = Server::bind(&Site::open(&copy).unwrap(), "127.0.0.1:0").unwrap().spawn().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sites = [(shop.address, Some(12_000)), (other.local_addr(), None)];
    std::thread::spawn(move || {
        for (client, (to, left)) in listener.incoming().map_while(Result::ok).zip(sites) {
            let server = TcpStream::connect(to).unwrap();
            let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || forward(from, into, None));
            std::thread::spawn(move || forward(server, client, left));
        }
    });
    let client = Client::connect(&url, auth, ConnectOptions::default()).unwrap();
    let backup = Fixture::new("");
    let report = client.pull(&backup.site, options().tables(["a"])).unwrap();
    let error = report.tables[0].error.as_ref().unwrap();
    assert!(error.kind() == ErrorKind::Protocol && error.message().contains("another site"), "{error}");
}

#[test]
fn a_pull_that_nobody_resumes_has_failed() {
    use rowferry::{Clock, ManualClock};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(THREE).unwrap();
    let clock = Arc::new(ManualClock::new(time::macros::datetime!(2026-01-02 03:04:05 UTC)));
    let limits = Limits::default();
    let pause = limits.server.pull_pause_time;
    let site = Site::builder().clock(clock.clone() as Arc<dyn Clock>).limits(limits).open(&path).unwrap();
    let server = Server::bind(&site, "127.0.0.1:0").unwrap().spawn().unwrap();
    let (url, _) = proxy(server.local_addr(), |_| Some(12_000));
    let session = site.sessions().create(Direction::Send).unwrap();
    let client = Client::connect(&url, Auth::code(session.code()), ConnectOptions::default()).unwrap();
    let backup = Fixture::new("");
    assert!(client.pull_table(&backup.site, "a", options().retry_time(Duration::ZERO)).is_err());
    drop(client);
    let statuses = || {
        let all = site.transfers().list(&TransferFilter::new()).unwrap();
        all.iter().map(|t| (t.status.to_string(), t.error_message.clone())).collect::<Vec<_>>()
    };
    let knock = || Client::connect(server.url(), Auth::code("A7X9K2M4"), ConnectOptions::default()).unwrap_err();
    clock.advance(pause);
    knock();
    assert_eq!(statuses(), [("failed".to_owned(), Some("the receiver ended before the last page".to_owned()))]);
}

#[test]
fn many_tables_over_a_link_that_is_cut_take_one_download_each() {
    let shop = shop();
    for number in 0..60 {
        let create = format!("CREATE TABLE t{number}(id INTEGER PRIMARY KEY, v BLOB NOT NULL)");
        shop.fixture.run(&format!("{create}; INSERT INTO t{number} SELECT id, randomblob(1000) FROM a LIMIT 20;"));
    }
    let (uuid, auth) = shop.token(|policy| {
        policy.max_downloads = Some(60);
        policy.excluded_tables = ["a", "b", "c"].map(str::to_owned).to_vec();
    });
    let backup = Fixture::new("");
    let (url, connections) = proxy(shop.address, |_| Some(300_000));
    let report = backup.site.pull_from(&url, auth, ConnectOptions::default(), options()).unwrap();
    assert!(report.is_clean(), "{:?}", report.tables.iter().find(|table| table.error.is_some()));
    assert!(connections.load(Ordering::SeqCst) > 3, "it was really cut");
    assert_eq!(shop.fixture.site.connections().get(uuid).unwrap().downloads_used, 60);
}
