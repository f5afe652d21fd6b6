//! Two server processes on one database: they share codes, limits and guesses, however many ask at once.

use std::sync::Barrier;
use std::thread;

use rowferry::{Auth, Client, ConnectOptions, ErrorKind, NewConnection, Policy, Strategy};

use crate::child::serving;
use crate::common::{Lite, Pg, code, options};

const TABLES: usize = 8;

/// A site with eight small tables, and two processes that serve it.
struct Twins {
    site: Pg,
    urls: [String; 2],
    _children: [crate::child::Running; 2],
}

impl Twins {
    fn new() -> Twins {
        let tables =
            (0..TABLES).map(|n| format!("CREATE TABLE t{n}(id int PRIMARY KEY); INSERT INTO t{n} VALUES (1), (2), (3);"));
        let site = Pg::new(&tables.collect::<String>());
        let ((one, first), (other, second)) = (serving(&site.url), serving(&site.url));
        Twins { site, urls: [first, second], _children: [one, other] }
    }

    fn token(&self, change: impl FnOnce(&mut Policy)) -> String {
        let mut policy = Policy::default();
        change(&mut policy);
        let new = NewConnection::sender("Backup", "http://backup.example").policy(policy);
        self.site.site.connections().create(new).unwrap().token.as_str().to_owned()
    }

    /// Does something at once on as many threads, half of them with each process.
    fn at_once<T: Send>(&self, work: impl Fn(usize, &str) -> T + Sync) -> Vec<T> {
        let start = Barrier::new(TABLES);
        let (start, work) = (&start, &work);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..TABLES)
                .map(|n| {
                    scope.spawn(move || {
                        start.wait();
                        work(n, &self.urls[n % 2])
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }
}

/// Pulls a table, each caller its own; what came of it.
fn pull(url: &str, auth: Auth, table: usize) -> Result<u64, ErrorKind> {
    let connect = ConnectOptions::default();
    let client = Client::connect(url, auth, connect).map_err(|error| error.kind())?;
    let to = Lite::new("");
    let options = options(Strategy::Skip).tables([format!("t{table}")]).retry_time(std::time::Duration::ZERO);
    let report = client.pull(&to.site, options).map_err(|error| error.kind())?;
    report.ok().map_err(|error| error.kind())?;
    Ok(report.records)
}

#[test]
fn downloads_are_counted_once_for_both() {
    let twins = Twins::new();
    let token = twins.token(|policy| policy.max_downloads = Some(5));
    let came = twins.at_once(|n, url| pull(url, Auth::token(&token), n));
    let (came, refused): (Vec<_>, Vec<_>) = came.into_iter().partition(Result::is_ok);
    assert_eq!(came.len(), 5, "{refused:?}");
    assert!(refused.iter().all(|refused| *refused == Err(ErrorKind::DownloadLimit)), "{refused:?}");
    assert_eq!(twins.site.run("SELECT downloads_used, records_downloaded FROM rowferry_connections"), "5|15");
}

#[test]
fn records_are_counted_once_for_both() {
    let twins = Twins::new();
    let token = twins.token(|policy| policy.max_records_total = Some(10));
    let came = twins.at_once(|n, url| pull(url, Auth::token(&token), n));
    let records: u64 = came.iter().flatten().sum();
    assert!((3..=10).contains(&records), "{came:?}");
    let counted: u64 = twins.site.run("SELECT records_downloaded FROM rowferry_connections").parse().unwrap();
    assert!(counted <= 10 && came.iter().filter(|one| one.is_ok()).count() <= 3, "{came:?}");
}

#[test]
fn a_code_works_once() {
    let twins = Twins::new();
    let code = code(&twins.site.site);
    let came = twins.at_once(|_, url| Client::connect(url, Auth::code(&code), ConnectOptions::default()).map(drop));
    assert_eq!(came.iter().filter(|one| one.is_ok()).count(), 1, "{came:?}");
}

#[test]
fn wrong_codes_are_counted_together() {
    let twins = Twins::new();
    let ask =
        |url: &str| Client::connect(url, Auth::code("AAAAAAAA"), ConnectOptions::default()).map(drop).unwrap_err().kind();
    let kinds: Vec<ErrorKind> = (0..4).flat_map(|_| twins.at_once(|_, url| ask(url))).collect();
    let wrong = kinds.iter().filter(|kind| **kind == ErrorKind::InvalidCode).count();
    let refused = kinds.iter().filter(|kind| **kind == ErrorKind::TooManyAttempts).count();
    assert_eq!(wrong + refused, kinds.len(), "{kinds:?}");
    // Each process alone would let through so many. They tell each other some at a time.
    let most = rowferry::Limits::default().server.code_attempts_per_minute as usize;
    assert!((most..most * 2).contains(&wrong), "{wrong} of {}", kinds.len());
}

#[test]
fn what_one_process_changes_the_other_knows() {
    let twins = Twins::new();
    let token = twins.token(|_| ());
    assert_eq!(pull(&twins.urls[0], Auth::token(&token), 0), Ok(3));
    let connection = twins.site.site.connections().list(&Default::default()).unwrap().remove(0);
    twins.site.site.connections().suspend(connection.uuid, None).unwrap();
    for url in &twins.urls {
        assert!(pull(url, Auth::token(&token), 1).is_err());
    }
}
