//! Pulls of what has not changed: they ask one question, and read, send, count and note nothing; whatever was written since is found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::common::Fixture;
use crate::support::counting;
use rowferry::{
    ApprovalMode, Auth, CancelToken, Client, ConnectOptions, ConnectionEdit, Direction, ErrorKind, NewConnection,
    PullOptions, Report, Result, Server, ServerHandle, Site, Strategy, TransferFilter,
};
use uuid::Uuid;

const TWO: &str = "CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE none(x);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO a SELECT i, 'row ' || i FROM n;
    INSERT INTO b SELECT * FROM a WHERE id < 10;";

/// A shop that serves through a relay which counts bytes, and a backup that is connected to it.
struct World {
    shop: Fixture,
    backup: Fixture,
    server: Option<ServerHandle>,
    url: String,
    bytes: Arc<AtomicU64>,
    sender: Uuid,
    receiver: Uuid,
}

impl World {
    fn new() -> Self {
        World::of(Fixture::new(TWO))
    }

    fn of(shop: Fixture) -> Self {
        let backup = Fixture::new("");
        let server = Server::bind(&shop.site, "127.0.0.1:0").unwrap().spawn().unwrap();
        let (url, bytes) = counting::relay(server.url());
        let made = shop.site.connections().create(NewConnection::sender("backup", "https://backup.example")).unwrap();
        backup.site.settings().set_allow_internal_urls(true).unwrap();
        let receiver = NewConnection::receiver("shop", &url, made.token);
        let receiver = backup.site.connections().create(receiver).unwrap().connection.uuid;
        World { shop, backup, server: Some(server), url, bytes, sender: made.connection.uuid, receiver }
    }

    fn try_pull(&self, options: PullOptions<'_>) -> Result<Report> {
        self.backup.site.pull(self.receiver, ConnectOptions::default(), options)
    }

    fn pull(&self) -> Report {
        let report = self.try_pull(PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
        assert!(report.is_clean() && report.ok().is_ok() && report.one_state, "{report:?}");
        assert_eq!(report.unchanged, report.tables.is_empty());
        report
    }

    /// A pull that found something to do, and whether the next one does not.
    fn pull_changed(&self, what: &str) {
        assert!(!self.pull().unchanged, "{what}");
        assert!(self.pull().unchanged, "{what}");
    }

    fn edit_sender(&self, edit: impl FnOnce(&mut ConnectionEdit)) {
        self.shop.site.connections().update(self.sender, edit).unwrap();
    }
}

fn transfers(site: &Site) -> usize {
    site.transfers().list(&TransferFilter::new()).unwrap().len()
}

fn not_checked(report: &Report) -> bool {
    report.notes.iter().any(|note| note.contains("(rows_not_checked)"))
}

#[test]
fn an_unchanged_sender_is_asked_one_question() {
    let world = World::new();
    assert_eq!(world.pull().records, 5_009);
    let kept = (transfers(&world.shop.site), transfers(&world.backup.site));
    for _ in 0..3 {
        let before = world.bytes.load(Ordering::SeqCst);
        let report = world.pull();
        assert!(report.unchanged && report.records == 0 && report.tables.is_empty(), "{report:?}");
        assert!(!not_checked(&report), "nothing was written here: {report:?}");
        let bytes = world.bytes.load(Ordering::SeqCst) - before;
        assert!(bytes < 2_000, "{bytes}");
    }
    assert_eq!((transfers(&world.shop.site), transfers(&world.backup.site)), kept, "no download");
    let json = serde_json::to_value(world.pull()).unwrap();
    assert_eq!(json["unchanged"], true);
    let always = world.try_pull(PullOptions::new().strategy(Strategy::Overwrite).always(true)).unwrap();
    assert!(!always.unchanged && always.records == 5_009, "{always:?}");
    assert!(world.pull().unchanged);
}

#[test]
fn what_others_write_to_the_sender_is_found_and_what_it_notes_itself_is_not() {
    let world = World::new();
    drop(world.pull());
    let other = rusqlite::Connection::open(world.shop.path()).unwrap();
    for (number, statement) in [
        "INSERT INTO a VALUES (6000, 'new')",
        "UPDATE b SET v = 'other' WHERE id = 3",
        "DELETE FROM a WHERE id = 5",
        "CREATE TABLE c(id INTEGER PRIMARY KEY)",
        "ALTER TABLE b ADD COLUMN w DEFAULT 5",
        "VACUUM",
    ]
    .into_iter()
    .enumerate()
    {
        if number == 4 {
            world.backup.run("ALTER TABLE b ADD COLUMN w DEFAULT 5");
        }
        other.execute_batch(statement).unwrap();
        world.pull_changed(statement);
        // Sessions, settings, events: the sender's own affairs.
        drop(world.shop.site.sessions().create(Direction::Send).unwrap());
        world.shop.site.settings().set_allow_internal_urls(number % 2 == 0).unwrap();
        assert!(world.pull().unchanged, "{statement}");
    }
    assert_eq!(world.backup.rows("SELECT v FROM b WHERE id = 3"), ["'other'"]);
    // Another process of its own is another program.
    let again = Site::open(world.shop.path()).unwrap();
    again.settings().set_allow_internal_urls(true).unwrap();
    drop(again.sessions().create(Direction::Send).unwrap());
    world.pull_changed("another process");
}

#[test]
fn a_server_that_was_started_again_cannot_say() {
    let mut world = World::new();
    drop(world.pull());
    assert!(world.pull().unchanged);
    // The same database, as another process opens it.
    drop(world.server.take());
    let site = Site::open(world.shop.path()).unwrap();
    let server = Server::bind(&site, "127.0.0.1:0").unwrap().spawn().unwrap();
    world.backup.site.connections().update(world.receiver, |edit| edit.site_url = server.url().to_owned()).unwrap();
    world.pull_changed("another run");
}

#[test]
fn rights_are_part_of_it() {
    let world = World::new();
    drop(world.pull());
    world.edit_sender(|edit| edit.policy.excluded_tables = vec!["b".into()]);
    world.pull_changed("fewer tables");
    world.edit_sender(|edit| edit.policy.excluded_tables = Vec::new());
    world.pull_changed("more tables");
    world.edit_sender(|edit| edit.policy.max_downloads = Some(1_000));
    world.pull_changed("a limit");
    world.edit_sender(|edit| edit.policy.approval_mode = ApprovalMode::RequireApproval);
    let report = world.try_pull(PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
    let error = report.ok().unwrap_err();
    assert_eq!((report.unchanged, error.kind()), (false, ErrorKind::ApprovalRequired), "{error}");
    world.edit_sender(|edit| edit.policy.approval_mode = ApprovalMode::AutoApprove);
    world.pull_changed("approvals");
    world.shop.site.connections().by("a").suspend(world.sender, None).unwrap();
    let refused = world.try_pull(PullOptions::new().strategy(Strategy::Overwrite)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionNotActive);
}

#[test]
fn it_is_one_call_of_the_rate_and_no_download() {
    let world = World::new();
    world.edit_sender(|edit| {
        edit.policy.max_downloads = Some(3);
        edit.policy.rate_limit_requests_per_minute = 1;
    });
    drop(world.pull());
    let used = || world.shop.site.connections().get(world.sender).unwrap().downloads_used;
    assert_eq!(used(), 3);
    // The three downloads are used up: nobody is told anything more, as for a pull.
    let refused = world.try_pull(PullOptions::new().strategy(Strategy::Overwrite)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::DownloadLimit);
    world.edit_sender(|edit| edit.policy.max_downloads = Some(10));
    assert!(!world.pull().unchanged);
    assert_eq!(used(), 6);
    let limited = (0..10).find_map(|_| {
        let options = PullOptions::new().strategy(Strategy::Overwrite).retry_time(std::time::Duration::ZERO);
        let cancel = CancelToken::new();
        let stopped = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_secs(3));
            stopped.cancel();
        });
        // One that waits for its turn is called off.
        match world.try_pull(options.cancel(cancel)) {
            Ok(report) if report.unchanged => None,
            other => Some(other),
        }
    });
    assert!(limited.is_some(), "ten at once are more than five");
    assert_eq!(used(), 6);
}

#[test]
fn what_was_written_here_is_said_not_to_be_checked() {
    let world = World::new();
    drop(world.pull());
    // By the site itself: sessions, settings.
    drop(world.backup.site.sessions().create(Direction::Receive).unwrap());
    assert!(!not_checked(&world.pull()));
    world.backup.run("DELETE FROM a WHERE id < 100");
    let report = world.pull();
    assert!(report.unchanged && not_checked(&report), "{report:?}");
    let always = world.try_pull(PullOptions::new().strategy(Strategy::Overwrite).always(true)).unwrap();
    assert_eq!(always.table("a").unwrap().outcome.created, 99);
    assert!(!not_checked(&world.pull()));
    // Another process knows nothing of what was written before it.
    let again = Site::open(world.backup.path()).unwrap();
    let report =
        again.pull(world.receiver, ConnectOptions::default(), PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
    assert!(report.unchanged && not_checked(&report), "{report:?}");
    // A table that is gone is no matter of rows.
    world.backup.run("DROP TABLE b");
    assert!(world.pull().table("b").unwrap().created_table);
}

#[test]
fn pulls_of_another_kind_are_others() {
    let world = World::new();
    drop(world.pull());
    let others: [fn(PullOptions<'static>) -> PullOptions<'static>; 4] = [
        |options| options.strategy(Strategy::Skip),
        |options| options.strategy(Strategy::Overwrite).table("a"),
        |options| options.strategy(Strategy::Overwrite).exclude(["a"]),
        |options| options.strategy(Strategy::Overwrite).table_strategy("a", Strategy::Merge),
    ];
    for other in others {
        assert!(!world.try_pull(other(PullOptions::new())).unwrap().unchanged);
        assert!(world.try_pull(other(PullOptions::new())).unwrap().unchanged);
        // It wrote nothing: what is known of the first stands.
        assert!(world.pull().unchanged);
    }
    assert!(!world.try_pull(PullOptions::new().strategy(Strategy::Overwrite).dry_run(true)).unwrap().unchanged);
    assert!(world.pull().unchanged, "a dry run is none");
    // Rows that another pull writes may be the same.
    let third = Fixture::new("CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO a VALUES (1, 'third')");
    let server = Server::bind(&third.site, "127.0.0.1:0").unwrap().spawn().unwrap();
    let session = third.site.sessions().create(Direction::Send).unwrap();
    let client = Client::connect(server.url(), Auth::code(session.code()), ConnectOptions::default()).unwrap();
    let report = client.pull(&world.backup.site, PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
    assert!(report.is_clean() && report.table("a").unwrap().outcome.updated == 1, "{report:?}");
    world.pull_changed("another sender's rows");
    assert_eq!(world.backup.rows("SELECT v FROM a WHERE id = 1"), ["'row 1'"]);
}

#[test]
fn an_append_of_what_was_appended_has_nothing_to_append() {
    let world = World::new();
    let append = || PullOptions::new().strategy(Strategy::Append);
    assert!(world.try_pull(append()).unwrap().is_clean());
    for options in [append(), append().append_new(true)] {
        assert!(world.try_pull(options).unwrap().unchanged);
    }
    assert_eq!(world.backup.rows("SELECT count(*) FROM a"), ["5000"]);
    let again = world.try_pull(append().append_again(true)).unwrap();
    assert!(!again.unchanged && again.table("a").unwrap().outcome.created == 5_000, "{again:?}");
}

#[test]
fn what_did_not_come_whole_is_not_known() {
    let world = World::new();
    world.backup.run("CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT CHECK (v <> 'row 3'))");
    for _ in 0..2 {
        let report = world.try_pull(PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
        assert!(!report.unchanged && report.table("b").unwrap().outcome.failed == 1, "{report:?}");
    }
    world.backup.run("DROP TABLE b");
    let short = world.try_pull(PullOptions::new().strategy(Strategy::Overwrite).max_records(1)).unwrap();
    assert_eq!(short.ok().unwrap_err().kind(), ErrorKind::PullLimit);
    let resumed = world.pull();
    assert!(!resumed.unchanged && resumed.tables.iter().any(|table| table.resumed), "{resumed:?}");
    world.pull_changed("after one that resumed");
}

#[test]
fn a_receiver_that_is_killed_in_a_pull_knows_nothing_of_earlier_ones() {
    let world = World::new();
    drop(world.pull());
    world.shop.run("UPDATE a SET v = v || '!'");
    // What is known is gone before the first row is written: looked at while the pull runs.
    let path = world.backup.path().to_owned();
    let mut known = Vec::new();
    let options = PullOptions::new().strategy(Strategy::Overwrite).on_progress(|_| {
        let look = rusqlite::Connection::open(&path).unwrap();
        known.push(look.query_row("SELECT count(*) FROM rowferry_same", [], |row| row.get::<_, i64>(0)).unwrap());
    });
    assert!(world.try_pull(options).unwrap().is_clean());
    assert!(!known.is_empty() && known.iter().all(|known| *known == 0), "{known:?}");
    assert!(world.pull().unchanged);
}

#[test]
fn another_code_asks_the_same() {
    let world = World::new();
    let pull = || {
        let session = world.shop.site.sessions().create(Direction::Send).unwrap();
        let options = PullOptions::new().strategy(Strategy::Overwrite);
        world.backup.site.pull_from(&world.url, Auth::code(session.code()), ConnectOptions::default(), options).unwrap()
    };
    assert!(!pull().unchanged);
    assert!(pull().unchanged);
    world.shop.run("INSERT INTO b VALUES (77, 'new')");
    assert!(!pull().unchanged);
    assert_eq!(world.backup.rows("SELECT v FROM b WHERE id = 77"), ["'new'"]);
}

#[test]
fn a_copy_of_the_receiver_or_the_sender_begins_again() {
    let world = World::new();
    drop(world.pull());
    let copy = world.backup.path().with_file_name("copy.db");
    world.backup.run(&format!("VACUUM INTO '{}'", copy.display()));
    std::fs::copy(world.backup.path().with_extension("db.rowferry-key"), copy.with_extension("db.rowferry-key")).unwrap();
    let site = Site::open(&copy).unwrap();
    let report =
        site.pull(world.receiver, ConnectOptions::default(), PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
    assert!(!report.unchanged && report.is_clean(), "{report:?}");
}

/// Another program writes to the sender while it serves, and while it notes things for itself: what was written before a pull began is
/// here after it, whatever it says.
#[test]
fn a_write_is_never_missed() {
    let world = World::new();
    let site = world.shop.site.clone();
    let other = rusqlite::Connection::open(world.shop.path()).unwrap();
    other.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    let is_over = CancelToken::new();
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !is_over.is_cancelled() {
                    drop(site.sessions().create(Direction::Send).unwrap());
                    std::thread::yield_now();
                }
            });
        }
        let mut unchanged = 0;
        for number in 0..40 {
            if number % 3 != 1 {
                other.execute("INSERT INTO b VALUES (?1, 'late')", [1_000 + number]).unwrap();
            }
            unchanged += u32::from(world.pull().unchanged);
            let count = "SELECT count(*) FROM b WHERE v = 'late'";
            let there: i64 = other.query_row(count, [], |row| row.get(0)).unwrap();
            assert_eq!(world.backup.rows(count), [there.to_string()]);
        }
        is_over.cancel();
        println!("{unchanged} of 40 were unchanged");
    });
}
