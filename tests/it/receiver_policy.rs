//! What a receiver's own end of a connection says holds for its own pulls; what it cannot enforce it refuses to keep.

use std::sync::Arc;
use std::time::Duration;

use crate::support::common::Fixture;
use rowferry::{
    AllowedHours, ApprovalMode, Clock, ConnectOptions, Connection, ConnectionEdit, ErrorKind, ManualClock, NewConnection,
    Policy, PullOptions, Report, Result, Server, ServerHandle, Site, Strategy,
};
use time::macros::datetime;
use uuid::Uuid;

/// Three tables of ten rows each.
const THREE: &str = "CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE Secret(id INTEGER PRIMARY KEY, v TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) INSERT INTO a SELECT i, 'row ' || i FROM n;
    INSERT INTO b SELECT * FROM a; INSERT INTO secret SELECT * FROM a;";

/// A shop that serves, and a backup that may pull from it.
struct World {
    backup: Site,
    clock: Arc<ManualClock>,
    sqlite: rusqlite::Connection,
    _folder: tempfile::TempDir,
    shop: Fixture,
    _server: ServerHandle,
    receiver: Uuid,
}

impl World {
    fn new(policy: impl FnOnce(&mut Policy)) -> Self {
        World::hiding(&[], policy)
    }

    fn hiding(hidden: &[&str], policy: impl FnOnce(&mut Policy)) -> Self {
        let shop = Fixture::new(THREE);
        let server = Server::bind(&shop.site, "127.0.0.1:0").unwrap().spawn().unwrap();
        let made = shop.site.connections().create(NewConnection::sender("backup", "https://backup.example")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.db");
        let clock = Arc::new(ManualClock::new(datetime!(2030-01-02 12:30 UTC)));
        let backup = Site::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let backup = backup.hide_tables(hidden.iter().copied()).open(&path).unwrap();
        backup.settings().set_allow_internal_urls(true).unwrap();
        let new = NewConnection::receiver("shop", server.url(), made.token);
        let receiver = backup.connections().create(new).unwrap().connection.uuid;
        let sqlite = rusqlite::Connection::open(&path).unwrap();
        let world = World { backup, clock, sqlite, _folder: folder, shop, _server: server, receiver };
        world.allow(policy);
        world
    }

    fn allow(&self, policy: impl FnOnce(&mut Policy)) {
        self.backup.connections().update(self.receiver, |edit| policy(&mut edit.policy)).unwrap();
    }

    fn pull(&self, options: PullOptions<'_>) -> Result<Report> {
        self.backup.pull(self.receiver, ConnectOptions::default(), options)
    }

    fn connection(&self) -> Connection {
        self.backup.connections().get(self.receiver).unwrap()
    }

    /// How many records were counted.
    fn used(&self) -> u64 {
        self.connection().records_downloaded
    }

    fn count(&self, table: &str) -> i64 {
        self.sqlite.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    fn has(&self, table: &str) -> bool {
        self.count(&format!("sqlite_schema WHERE type = 'table' AND name = '{table}' COLLATE NOCASE")) == 1
    }
}

fn names(report: &Report) -> Vec<&str> {
    report.tables.iter().map(|table| table.name.as_str()).collect()
}

fn kind(report: &Report, table: &str) -> Option<ErrorKind> {
    report.table(table).unwrap().error.as_ref().map(rowferry::Error::kind)
}

#[test]
fn tables_that_are_not_allowed_here_are_left_out_or_refused() {
    type Change = fn(&mut Policy);
    let lists: [Change; 2] = [
        |policy| policy.allowed_tables = vec!["A".into(), "b".into()],
        |policy| policy.excluded_tables = vec!["secret".into()],
    ];
    for list in lists {
        let world = World::new(list);
        let report = world.pull(PullOptions::new()).unwrap();
        assert!(report.is_clean() && names(&report) == ["a", "b"], "{report:?}");
        let notes: Vec<_> = report.notes.iter().filter(|note| note.contains("(table_not_allowed)")).collect();
        assert!(notes.len() == 1 && notes[0].contains("\"Secret\""), "{report:?}");
        assert!(!world.has("secret"));
        // Named, it is an error of that table.
        let report = world.pull(PullOptions::new().tables(["a", "Secret"])).unwrap();
        assert_eq!((kind(&report, "a"), kind(&report, "Secret")), (None, Some(ErrorKind::TableNotAllowed)));
        assert!(!world.has("secret"));
    }
}

#[test]
fn tables_that_the_site_hides_are_not_written_either() {
    let world = World::hiding(&["SECRET", "b"], |_| ());
    world
        .sqlite
        .execute_batch("CREATE TABLE secret(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO secret VALUES (1, 'mine')")
        .unwrap();
    let overwrite = || PullOptions::new().strategy(Strategy::Overwrite);
    let report = world.pull(overwrite()).unwrap();
    assert!(report.is_clean() && names(&report) == ["a"], "{report:?}");
    let notes: Vec<_> = report.notes.iter().filter(|note| note.contains("(hidden_table)")).collect();
    assert!(notes.len() == 1 && notes[0].contains("\"Secret\"") && notes[0].contains("\"b\""), "{report:?}");
    let report = world.pull(overwrite().tables(["Secret"])).unwrap();
    assert_eq!(kind(&report, "Secret"), Some(ErrorKind::TableNotAllowed));
    assert_eq!(world.sqlite.query_row("SELECT v FROM secret", [], |row| row.get::<_, String>(0)).unwrap(), "mine");
    assert!(!world.has("b"));
}

#[test]
fn hours_and_expiry_hold_here() {
    let world = World::new(|policy| policy.allowed_hours = Some(AllowedHours::new(13, 14).unwrap()));
    let error = world.pull(PullOptions::new()).unwrap_err();
    assert!(error.kind() == ErrorKind::OutsideAllowedHours && error.hint().is_some(), "{error}");
    assert!(!world.has("a"));
    world.clock.advance(Duration::from_secs(3600));
    assert!(world.pull(PullOptions::new()).unwrap().is_clean());
    world.allow(|policy| policy.expires_at = Some(datetime!(2030-01-02 13:00 UTC)));
    assert_eq!(world.pull(PullOptions::new()).unwrap_err().kind(), ErrorKind::ConnectionExpired);
}

#[test]
fn records_are_bounded_here_in_all_pulls_together() {
    let world = World::new(|policy| {
        policy.max_records_total = Some(25);
        policy.max_records_per_request = 4;
    });
    let report = world.pull(PullOptions::new()).unwrap();
    assert_eq!(
        (kind(&report, "Secret"), kind(&report, "a"), kind(&report, "b")),
        (None, None, Some(ErrorKind::RecordLimit))
    );
    // The last page is smaller than the others.
    assert_eq!([world.count("a"), world.count("b"), world.count("secret")], [10, 5, 10]);
    assert_eq!((world.used(), world.connection().remaining_records()), (25, Some(0)));
    let error = report.table("b").unwrap().error.as_ref().unwrap();
    assert!(error.message().contains("allows 25 records in all"), "{error}");
    assert_eq!(world.pull(PullOptions::new()).unwrap_err().kind(), ErrorKind::RecordLimit);
    // More is allowed: it resumes.
    world.allow(|policy| policy.max_records_total = Some(40));
    let report = world.pull(PullOptions::new().tables(["b"]).refresh(false)).unwrap();
    assert!(report.is_clean() && report.table("b").unwrap().resumed, "{report:?}");
    assert_eq!(world.count("b"), 10);
    assert_eq!(world.used(), 30);
    // The other end has no such limit.
    assert_eq!(world.shop.site.connections().find("backup").unwrap().remaining_records(), None);
}

#[test]
fn a_receiver_that_may_take_no_more_does_not_ask_for_rows() {
    let world = World::new(|policy| policy.max_records_total = Some(10));
    let report = world.pull(PullOptions::new()).unwrap();
    let kinds: Vec<_> = ["a", "b", "Secret"].iter().filter_map(|table| kind(&report, table)).collect();
    assert_eq!((kinds, world.used()), (vec![ErrorKind::RecordLimit; 2], 10), "{report:?}");
    assert_eq!(world.shop.site.connections().find("backup").unwrap().records_downloaded, 10);
    // A table without rows costs nothing.
    let world = World::new(|policy| policy.max_records_total = Some(20));
    world.shop.run("DELETE FROM secret");
    assert!(world.pull(PullOptions::new()).unwrap().is_clean());
    assert_eq!(world.used(), 20);
}

#[test]
fn the_last_records_of_a_limit_come_in_a_page_that_is_smaller() {
    for left in [1, 3, 7] {
        let world = World::new(|policy| policy.max_records_total = Some(left));
        let report = world.pull(PullOptions::new().tables(["a"])).unwrap();
        assert_eq!(kind(&report, "a"), Some(ErrorKind::RecordLimit), "{report:?}");
        assert_eq!((world.count("a"), world.used()), (left as i64, left));
    }
}

/// So a pull that is killed, or taken over, has cost what it kept, and those that run at the same time do not refuse each other.
#[test]
fn what_is_kept_is_counted_with_it() {
    let world = World::new(|policy| {
        policy.max_records_total = Some(20);
        policy.max_records_per_request = 2;
    });
    let mut seen = Vec::new();
    let mut within = None;
    let options = PullOptions::new().tables(["a"]).lock_time(Duration::from_millis(1)).on_progress(|_| {
        let here = if world.has("a") { world.count("a") } else { 0 };
        let other = if world.has("b") { world.count("b") } else { 0 };
        seen.push((world.used() as i64, here + other));
        if here > 0 && within.is_none() {
            within = Some(world.pull(PullOptions::new().tables(["b"])).unwrap());
        }
    });
    let report = world.pull(options).unwrap();
    assert!(report.is_clean() && within.is_some_and(|report| report.is_clean()), "{report:?}");
    assert!(seen.iter().all(|(used, here)| used == here), "{seen:?}");
    assert_eq!(world.used(), 20);
    // What only looks keeps nothing.
    let world = World::new(|policy| policy.max_records_total = Some(40));
    assert!(world.pull(PullOptions::new().dry_run(true)).unwrap().is_clean());
    assert_eq!(world.used(), 0);
}

#[test]
fn a_limit_that_is_set_while_a_pull_runs_holds() {
    let world = World::new(|_| ());
    let mut is_set = false;
    let options = PullOptions::new().on_progress(|_| {
        if !std::mem::replace(&mut is_set, true) {
            world.allow(|policy| policy.max_records_total = Some(13));
        }
    });
    let report = world.pull(options).unwrap();
    assert!(report.tables.iter().any(|table| kind(&report, &table.name) == Some(ErrorKind::RecordLimit)), "{report:?}");
    let here: i64 = ["a", "b", "secret"].iter().filter(|table| world.has(table)).map(|table| world.count(table)).sum();
    assert!(here <= 13 && world.used() as i64 == here, "{here} of {}", world.used());
}

#[test]
fn a_receiver_keeps_nothing_that_it_cannot_enforce() {
    type Change = fn(&mut ConnectionEdit);
    let refused: [(&str, Change); 6] = [
        ("approval_mode", |edit| edit.policy.approval_mode = ApprovalMode::RequireApproval),
        ("auto_approve_tables", |edit| edit.policy.auto_approve_tables = vec!["t".into()]),
        ("max_downloads", |edit| edit.policy.max_downloads = Some(1)),
        ("rate_limit_requests_per_minute", |edit| edit.policy.rate_limit_requests_per_minute = 1),
        ("ip_whitelist", |edit| edit.policy.ip_whitelist = vec!["192.0.2.1".parse().unwrap()]),
        ("download_password", |edit| edit.set_download_password("secret")),
    ];
    let world = World::new(|_| ());
    let connections = world.backup.connections();
    for (field, change) in refused {
        let error = connections.update(world.receiver, change).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.message().contains(field), "{field}: {error}");
    }
    let mut policy = Policy::default();
    policy.max_downloads = Some(1);
    let token = world.shop.site.connections().create(NewConnection::sender("other", "https://other.example")).unwrap().token;
    let new = |token| NewConnection::receiver("other", "https://other.example", token);
    let error = connections.create(new(token).policy(policy)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    // One that an earlier version kept still opens, pulls, and can be changed otherwise.
    world
        .sqlite
        .execute_batch("UPDATE rowferry_connections SET max_downloads = 7, approval_mode = 'require_approval'")
        .unwrap();
    assert!(world.pull(PullOptions::new()).unwrap().is_clean());
    world.allow(|policy| policy.excluded_tables = vec!["b".into()]);
    world.allow(|policy| policy.max_downloads = None);
    let kept = connections.get(world.receiver).unwrap().policy;
    assert_eq!((kept.max_downloads, kept.approval_mode), (None, ApprovalMode::RequireApproval));
    assert!(connections.update(world.receiver, |edit| edit.policy.max_downloads = Some(7)).is_err());
}

#[test]
fn a_pull_takes_no_more_than_the_caller_allows_and_resumes() {
    let world = World::new(|_| ());
    let report = world.pull(PullOptions::new().max_records(13)).unwrap();
    let error = report.tables.iter().find_map(|table| table.error.as_ref()).unwrap();
    assert!(error.kind() == ErrorKind::PullLimit && error.hint().is_some_and(|hint| hint.contains("resumes")), "{error}");
    assert_eq!((report.records, report.is_clean()), (10, false), "pages are taken whole");
    let report = world.pull(PullOptions::new().max_records(20)).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(["a", "b", "secret"].map(|table| world.count(table)), [10; 3]);

    let world = World::new(|_| ());
    let report = world.pull(PullOptions::new().max_bytes(10)).unwrap();
    assert!(report.tables.iter().all(|table| kind(&report, &table.name) == Some(ErrorKind::PullLimit)), "{report:?}");
    let error = world.pull(PullOptions::new().timeout(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(world.pull(PullOptions::new().timeout(Duration::MAX)).unwrap().is_clean());
}
