//! Pulls between two sites of one process, without a socket.

use std::time::{Duration, Instant};

use crate::support::common::Fixture;
use rowferry::{
    Auth, CancelToken, Client, ConnectOptions, Direction, ErrorKind, Limits, NewConnection, Policy, PullOptions, Report,
    Site, Strategy, TableStatus, TransferFilter,
};

const SHOP: &str = "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT UNIQUE, up INT REFERENCES users(id));
    CREATE TABLE lines(a INT, b TEXT, v REAL, PRIMARY KEY(a, b)) WITHOUT ROWID;
    CREATE TABLE log(at TEXT, what);
    CREATE TABLE many(id INTEGER PRIMARY KEY, n INT, s TEXT);
    INSERT INTO users VALUES (1, 'a@x', NULL), (2, 'b@x', 1);
    INSERT INTO lines VALUES (1, 'x', 0.5), (1, 'y', -0.0), (2, '', 9e999);
    INSERT INTO log VALUES ('a', 1), ('a', 1), (NULL, x'00ff');
    WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50000)
    INSERT INTO many SELECT n, n * 7919, 'row ' || n FROM c;";

fn code(site: &Site) -> Auth {
    Auth::code(site.sessions().create(Direction::Send).unwrap().code())
}

fn link(site: &Site) -> Client {
    Client::link(site, code(site), ConnectOptions::default()).unwrap()
}

fn kind<T>(result: rowferry::Result<T>) -> ErrorKind {
    result.map(|_| ()).unwrap_err().kind()
}

fn assert_equal(shop: &Site, backup: &Site, tables: &[&str]) {
    for table in tables {
        assert_eq!(shop.table_checksum(table).unwrap(), backup.table_checksum(table).unwrap(), "{table}");
    }
}

fn with(shop: &Fixture, change: impl FnOnce(&mut Limits)) -> Site {
    let mut limits = Limits::default();
    change(&mut limits);
    Site::builder().limits(limits).open(shop.path()).unwrap()
}

/// What the sender's history says of each transfer, the oldest first.
fn history(site: &Site) -> Vec<String> {
    let all = site.transfers().list(&TransferFilter::new().oldest_first()).unwrap();
    let line = |t: &rowferry::Transfer| format!("{} {} {}", t.table_name, t.status, t.counters.records_transferred);
    all.iter().map(line).collect()
}

fn table_kind(report: &Report, table: &str) -> Option<ErrorKind> {
    report.table(table).unwrap().error.as_ref().map(rowferry::Error::kind)
}

#[test]
fn a_pull_through_a_link_makes_an_equal_database() {
    let (shop, backup) = (Fixture::new(SHOP), Fixture::new(""));
    let client = link(&shop.site);
    assert_eq!(client.list_tables().unwrap().len(), 4);
    assert_eq!(client.get_count("many").unwrap(), 50_000);
    assert!(client.url().starts_with("link:") && client.peer().is_some() && client.is_connected());
    let report = client.pull(&backup.site, PullOptions::new()).unwrap();
    assert!(report.is_clean() && report.one_state && report.notes.is_empty(), "{report:?}");
    assert_eq!((report.records, report.verified()), (50_008, rowferry::Verified::Received));
    assert_equal(&shop.site, &backup.site, &["users", "lines", "log", "many"]);
    // The sender counts as it does over a WebSocket, and knows at once that all has arrived.
    let mut told = history(&shop.site);
    told.sort();
    assert_eq!(told, ["lines completed 3", "log completed 3", "many completed 50000", "users completed 2"]);
    let again = client.pull_table(&backup.site, "many", PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
    assert_eq!(again.outcome.unchanged, 50_000);
}

#[test]
fn a_code_must_be_right_and_works_once() {
    let shop = Fixture::new(SHOP);
    let by = |auth| Client::link(&shop.site, auth, ConnectOptions::default());
    assert_eq!(kind(by(Auth::code("ZZZZZZZZ"))), ErrorKind::InvalidCode);
    assert_eq!(kind(by(Auth::code("no code"))), ErrorKind::InvalidInput);
    assert_eq!(kind(by(Auth::token("nobody's"))), ErrorKind::InvalidToken);
    let good = code(&shop.site);
    let client = by(good.clone()).unwrap();
    assert_eq!(kind(by(good.clone())), ErrorKind::CodeUsed);
    assert!(client.list_tables().is_ok());
    drop(client);
    assert_eq!(kind(by(good)), ErrorKind::CodeUsed);
    shop.site.settings().set_enabled(false).unwrap();
    assert_eq!(kind(by(code(&shop.site))), ErrorKind::Disabled);
}

#[test]
fn guesses_are_counted_by_the_handler() {
    let shop = Fixture::new(SHOP);
    let handler = shop.site.handler();
    let guess = || kind(Client::link_to(&handler, Auth::code("ZZZZZZZZ"), ConnectOptions::default()));
    for _ in 0..shop.site.limits().server.code_attempts_per_minute {
        assert_eq!(guess(), ErrorKind::InvalidCode);
    }
    assert_eq!(guess(), ErrorKind::TooManyAttempts);
}

#[test]
fn a_token_gives_what_its_connection_allows() {
    let (shop, backup) = (Fixture::new(SHOP), Fixture::new(""));
    let token = |name: &str, change: &dyn Fn(&mut Policy)| {
        let mut policy = Policy::default();
        change(&mut policy);
        let new = NewConnection::sender(name, format!("https://{name}.example")).policy(policy);
        Auth::token(shop.site.connections().create(new).unwrap().token.as_str())
    };
    let two = token("two", &|policy| {
        policy.allowed_tables = vec!["users".to_owned(), "log".to_owned()];
        policy.max_downloads = Some(2);
    });
    let client = Client::link(&shop.site, two.clone(), ConnectOptions::default()).unwrap();
    let report = client.pull(&backup.site, PullOptions::new()).unwrap();
    assert!(report.is_clean() && report.tables.len() == 2, "{report:?}");
    let error = kind(client.pull_table(&backup.site, "users", PullOptions::new().strategy(Strategy::Overwrite)));
    assert_eq!(error, ErrorKind::DownloadLimit);
    drop(client);
    assert_eq!(kind(Client::link(&shop.site, two, ConnectOptions::default())), ErrorKind::DownloadLimit);
    let elsewhere = token("elsewhere", &|policy| policy.ip_whitelist = vec!["127.0.0.1".parse().unwrap()]);
    assert_eq!(kind(Client::link(&shop.site, elsewhere, ConnectOptions::default())), ErrorKind::AddressNotAllowed);
}

#[test]
fn a_cancelled_pull_is_gone_on_with_by_the_next_one() {
    let (shop, backup) = (Fixture::new(SHOP), Fixture::new(""));
    let site = with(&backup, |limits| limits.pull.commit_rows = 1_000);
    let token = CancelToken::new();
    let options = PullOptions::new().tables(["many"]).batch_size(500).cancel(token.clone()).on_progress(|progress| {
        if progress.records >= 2_000 {
            token.cancel();
        }
    });
    let report = link(&shop.site).pull(&site, options).unwrap();
    assert_eq!(report.table("many").unwrap().status, TableStatus::Incomplete);
    assert_eq!(table_kind(&report, "many"), Some(ErrorKind::Cancelled));
    let kept = site.get_count("many").unwrap();
    assert!((2_000..50_000).contains(&kept), "{kept}");
    let report = link(&shop.site).pull(&site, PullOptions::new().tables(["many"])).unwrap();
    let table = report.table("many").unwrap();
    assert!(table.resumed && table.outcome.created == 50_000, "{table:?}");
    assert_equal(&shop.site, &site, &["many"]);
}

#[test]
fn two_links_at_once() {
    let shop = Fixture::new(SHOP);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let backup = Fixture::new("");
                let report = link(&shop.site).pull(&backup.site, PullOptions::new()).unwrap();
                assert!(report.is_clean(), "{report:?}");
                assert_equal(&shop.site, &backup.site, &["users", "lines", "log", "many"]);
            });
        }
    });
}

#[test]
fn a_large_row_arrives_if_it_fits_into_a_message() {
    let shop = Fixture::new(
        "CREATE TABLE big(id INTEGER PRIMARY KEY, b BLOB);
         INSERT INTO big VALUES (1, x'00'), (2, randomblob(5000000)), (3, x'01')",
    );
    let backup = Fixture::new("");
    let mut limits = Limits::default();
    limits.wire.message_bytes = 1_000_000;
    let small = Client::link(&shop.site, code(&shop.site), ConnectOptions::default().limits(limits)).unwrap();
    let report = small.pull_table(&backup.site, "big", PullOptions::new()).unwrap();
    assert_eq!((report.outcome.created, report.outcome.failed), (2, 1));
    assert_eq!(report.outcome.failures[0].reason.code(), "too_large");
    assert!(link(&shop.site).pull_table(&backup.site, "big", PullOptions::new()).unwrap().is_clean());
    assert_equal(&shop.site, &backup.site, &["big"]);
}

#[test]
fn a_window_smaller_than_a_page_holds_nothing_up() {
    let (shop, backup) = (Fixture::new(SHOP), Fixture::new(""));
    let mut limits = Limits::default();
    limits.pull.stream_window_bytes = 1;
    limits.pull.stream_page_bytes = 1;
    let client = Client::link(&shop.site, code(&shop.site), ConnectOptions::default().limits(limits)).unwrap();
    assert!(client.pull(&backup.site, PullOptions::new()).unwrap().is_clean());
    assert_equal(&shop.site, &backup.site, &["users", "lines", "log", "many"]);
}

#[test]
fn calls_have_their_turn_and_a_disconnect_ends_a_pull() {
    let (shop, backup) = (Fixture::new(SHOP), Fixture::new(""));
    let site = with(&backup, |limits| limits.pull.commit_rows = 1_000);
    let client = link(&shop.site);
    let since = Instant::now();
    let report = std::thread::scope(|threads| {
        let mut asked = false;
        let client = &client;
        let options = PullOptions::new().tables(["many", "log"]).batch_size(500).on_progress(move |progress| {
            if progress.records >= 2_000 && !std::mem::replace(&mut asked, true) {
                threads.spawn(move || {
                    assert_eq!(client.get_count("log").unwrap(), 3);
                    client.disconnect();
                });
            }
        });
        client.pull(&site, options).unwrap()
    });
    assert!(since.elapsed() < Duration::from_secs(30));
    assert!(!client.is_connected() && kind(client.list_tables()) == ErrorKind::Disconnected);
    let statuses: Vec<_> = report.tables.iter().map(|table| table.status).collect();
    // A machine that is fast enough is done before.
    assert!(report.is_clean() || statuses.iter().any(|status| *status != TableStatus::Completed), "{report:?}");
    let rest = link(&shop.site).pull(&site, PullOptions::new().strategy(Strategy::Merge)).unwrap();
    assert!(rest.is_clean(), "{rest:?}");
    assert_equal(&shop.site, &site, &["many", "log"]);
}

#[test]
fn who_gives_up_in_the_middle_ends_the_session() {
    let (shop, backup) = (Fixture::new(SHOP), Fixture::new(""));
    let site = with(&backup, |limits| limits.pull.commit_rows = 1_000);
    let handler = shop.site.handler();
    let token = CancelToken::new();
    let options = PullOptions::new().tables(["many"]).batch_size(500).cancel(token.clone()).on_progress(|progress| {
        if progress.records >= 2_000 {
            token.cancel();
        }
    });
    let client = Client::link_to(&handler, code(&shop.site), ConnectOptions::default()).unwrap();
    let report = client.pull(&site, options).unwrap();
    assert_eq!(table_kind(&report, "many"), Some(ErrorKind::Cancelled));
    drop(client);
    // The pull waits for the one who may come back, as after a lost connection, and ends with what remembers it.
    drop(handler);
    let told = history(&shop.site);
    assert!(told.len() == 1 && !told[0].contains("in_progress"), "{told:?}");
}

#[test]
fn a_silent_client_is_sent_away_and_comes_back_for_a_pull() {
    let (shop, backup) = (Fixture::new(SHOP), Fixture::new(""));
    let site = with(&shop, |limits| limits.server.idle_time = Duration::from_secs(2));
    let client = Client::link(&site, code(&site), ConnectOptions::default().heartbeat(None)).unwrap();
    assert!(client.list_tables().is_ok());
    std::thread::sleep(Duration::from_millis(2100));
    let error = client.list_tables().unwrap_err();
    assert!(error.kind() == ErrorKind::Disconnected && error.message().contains("1002"), "{error}");
    assert!(!client.is_connected());
    let report = client.pull(&backup.site, PullOptions::new()).unwrap();
    assert!(report.is_clean() && client.is_connected(), "{report:?}");
    assert_equal(&shop.site, &backup.site, &["users", "lines", "log", "many"]);
    // Heartbeats keep another one open.
    let kept =
        Client::link(&site, code(&site), ConnectOptions::default().heartbeat(Some(Duration::from_millis(100)))).unwrap();
    std::thread::sleep(Duration::from_millis(3000));
    assert!(kept.list_tables().is_ok());
}

#[test]
fn time_outs_and_cancellation_are_noticed() {
    let shop = Fixture::new(SHOP);
    let by = |options| Client::link(&shop.site, code(&shop.site), options);
    let client = by(ConnectOptions::default().request_timeout(Duration::ZERO)).unwrap();
    assert_eq!(kind(client.list_tables()), ErrorKind::Timeout);
    let token = CancelToken::new();
    let client = by(ConnectOptions::default().cancel_token(token.clone())).unwrap();
    assert!(client.list_tables().is_ok());
    token.cancel();
    assert_eq!(kind(client.list_tables()), ErrorKind::Cancelled);
    assert_eq!(kind(by(ConnectOptions::default().cancel_token(token))), ErrorKind::Cancelled);
}
