//! Pulls that are killed, and taken over by another process.
//!
//! The children are this program again, told to run the one test that is ignored otherwise.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::support::common::rows;
use crate::support::common::served::Sender;
use rowferry::{
    Auth, Client, ConnectOptions, ErrorKind, Limits, PullOptions, Report, Server, ServerHandle, Site, Strategy, TableStatus,
};
use rusqlite::Connection;

/// What a child says, so that it can be told from the lines of the test's frame.
const SAYS: &str = "child: ";

const SHOP: &str = "
    CREATE TABLE parents(id INTEGER PRIMARY KEY, v TEXT NOT NULL);
    CREATE TABLE children(id INTEGER PRIMARY KEY, parent INT REFERENCES parents(id), v BLOB);
    CREATE TABLE words(k TEXT PRIMARY KEY, v);
    CREATE TABLE tree(id INTEGER PRIMARY KEY, up INT REFERENCES tree(id));
    CREATE TABLE log(at, what);
    CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n;
    INSERT INTO parents SELECT i, 'parent ' || i FROM n;
    INSERT INTO children SELECT i, 1 + (i * 7) % 2000, 'child ' || i FROM n;
    INSERT INTO words SELECT CASE WHEN i % 9 THEN 'w' || i END, i FROM n;
    PRAGMA foreign_keys = OFF; INSERT INTO tree SELECT i, 1 + (i * 7) % 2000 FROM n;
    INSERT INTO log SELECT i % 100, i % 3 FROM n;";

/// What the receiver has of it before.
const HERE: &str = "
    DELETE FROM parents WHERE id % 3 = 0; DELETE FROM children WHERE parent NOT IN (SELECT id FROM parents) OR id % 2;
    UPDATE children SET v = 'old' WHERE id > 1000; DELETE FROM words WHERE v % 5; DELETE FROM tree; DELETE FROM log WHERE at < 50;";

/// What an append must keep together: rows and those that they refer to.
const PAIRS: &str = "SELECT c.v, p.v FROM children c LEFT JOIN parents p ON p.id = c.parent ORDER BY 1, 2";

impl Sender {
    /// Starts a child that pulls into the folder's database.
    fn child(&self, folder: &Path, strategy: Strategy, stop: &str) -> Child {
        let job = [self.server.url(), &self.code(), strategy.as_str(), stop].join("\n");
        std::fs::write(folder.join("job"), job).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "resume::child", "--ignored", "--nocapture"]).current_dir(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }
}

fn receiver(folder: &Path) -> Connection {
    let sqlite = Connection::open(folder.join("here.db")).unwrap();
    sqlite.execute_batch(&format!("{SHOP} {HERE}")).unwrap();
    sqlite
}

/// What a report sums up to.
fn sums(report: &Report) -> String {
    let table = |table: &rowferry::TableReport| {
        let o = &table.outcome;
        let status = table.status.as_str();
        format!("{} {status} {} {} {} {} {}", table.name, o.created, o.updated, o.unchanged, o.skipped, o.failed)
    };
    let mut tables: Vec<String> = report.tables.iter().map(table).collect();
    tables.sort();
    format!("{} records: {}", report.records, tables.join(", "))
}

#[test]
#[ignore = "it is started by the others, in a folder with a job for it"]
fn child() {
    let Ok(job) = std::fs::read_to_string("job") else { return };
    let [url, code, strategy, stop] = job.lines().collect::<Vec<_>>()[..] else { panic!("no such job") };
    let mut limits = Limits::default();
    limits.pull.commit_rows = 100;
    let site = Site::builder().limits(limits).open("here.db").unwrap();
    let client = Client::connect(url, Auth::code(code), ConnectOptions::default()).unwrap();
    let (stop, mut step) = (stop.parse::<usize>().unwrap(), 0);
    let options = PullOptions::new().strategy(strategy.parse().unwrap()).batch_size(100).on_progress(|_| {
        println!("{SAYS}{step}");
        if step == stop {
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        step += 1;
    });
    let report = client.pull(&site, options).unwrap();
    for table in &report.tables {
        if let Some(error) = &table.error {
            println!("{SAYS}error {}", error.code());
        }
    }
    println!("{SAYS}done {}", sums(&report));
}

/// What the child says until it has said one of these, or ends.
fn said(lines: &mut impl Iterator<Item = std::io::Result<String>>, until: impl Fn(&str) -> bool) -> Option<String> {
    lines.find_map(|line| {
        let line = line.ok()?;
        let (_, said) = line.split_once(SAYS)?;
        until(said).then(|| said.to_owned())
    })
}

fn lines(child: &mut Child) -> std::io::Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

#[test]
fn a_pull_that_is_killed_again_and_again_comes_to_the_same() {
    let sender = Sender::new(SHOP);
    for strategy in [Strategy::Overwrite, Strategy::Append, Strategy::Merge, Strategy::Skip] {
        let whole = tempfile::tempdir().unwrap();
        let expected = receiver(whole.path());
        let report = sender.pull(&Site::open(whole.path().join("here.db")).unwrap(), PullOptions::new().strategy(strategy));
        assert!(report.tables.iter().all(|table| table.status == TableStatus::Completed), "{report:?}");

        let folder = tempfile::tempdir().unwrap();
        let sqlite = receiver(folder.path());
        let mut killed = 0;
        let done = loop {
            let mut child = sender.child(folder.path(), strategy, &usize::MAX.to_string());
            let mut lines = lines(&mut child);
            // Each time a little further, somewhere behind a step; at last it may come to its end.
            let step = (killed * 3 % 7).to_string();
            let first = said(&mut lines, |said| said == step || said.starts_with("done"));
            if killed < 12 && first.as_ref().is_some_and(|said| !said.starts_with("done")) {
                std::thread::sleep(Duration::from_micros(killed * 1_700 % 9_000));
                child.kill().unwrap();
                child.wait().unwrap();
                // It may have been done before it was killed, and have said so.
                if let Some(done) = said(&mut lines, |said| said.starts_with("done")) {
                    break done;
                }
                killed += 1;
                assert_eq!(rows(&sqlite, "PRAGMA integrity_check"), ["'ok'"]);
                continue;
            }
            let done = first.filter(|said| said.starts_with("done"));
            let done = done.or_else(|| said(&mut lines, |said| said.starts_with("done")));
            child.wait().unwrap();
            break done.unwrap();
        };
        assert!(killed > 0);
        assert_eq!(done, format!("done {}", sums(&report)), "{strategy}, killed {killed} times");
        assert_eq!(rows(&sqlite, PAIRS), rows(&expected, PAIRS), "{strategy}, killed {killed} times");
        for table in ["parents", "children", "words", "tree", "log"] {
            let count = format!("SELECT count(*) FROM {table}");
            assert_eq!(rows(&sqlite, &count), rows(&expected, &count), "{strategy}: {table}");
        }
        assert_eq!(rows(&sqlite, "PRAGMA foreign_key_check"), [""; 0]);
        assert_eq!(rows(&sqlite, "SELECT scope FROM rowferry_pulls"), [""; 0]);
    }
}

#[test]
fn a_pull_that_another_process_takes_over_ends_there_and_applies_nothing_twice() {
    let sender = Sender::new(SHOP);
    for (strategy, stop) in [(Strategy::Append, "3"), (Strategy::Append, "30"), (Strategy::Overwrite, "12")] {
        let whole = tempfile::tempdir().unwrap();
        let expected = receiver(whole.path());
        let report = sender.pull(&Site::open(whole.path().join("here.db")).unwrap(), PullOptions::new().strategy(strategy));

        let folder = tempfile::tempdir().unwrap();
        let sqlite = receiver(folder.path());
        let mut child = sender.child(folder.path(), strategy, stop);
        let mut lines = lines(&mut child);
        assert!(said(&mut lines, |said| said == stop).is_some());
        // The child stands still at its step, and its pull goes on here.
        let taken_over =
            sender.pull(&Site::open(folder.path().join("here.db")).unwrap(), PullOptions::new().strategy(strategy));
        assert!(taken_over.tables.iter().any(|table| table.resumed), "{taken_over:?}");
        assert_eq!(sums(&taken_over), sums(&report));
        writeln!(child.stdin.take().unwrap()).unwrap();
        let error = said(&mut lines, |said| said.starts_with("error")).unwrap();
        child.wait().unwrap();
        // The other one is at its end already, so that nothing is left to go on with.
        assert_eq!(error, format!("error {}", ErrorKind::Timeout.code()));
        assert_eq!(rows(&sqlite, PAIRS), rows(&expected, PAIRS), "{strategy}");
        assert_eq!(rows(&sqlite, "SELECT count(*) FROM log"), rows(&expected, "SELECT count(*) FROM log"));
    }
}

#[test]
fn a_sender_that_went_away_and_comes_back_elsewhere_is_resumed() {
    for strategy in [Strategy::Append, Strategy::Overwrite] {
        for steps in [5, 20, 40] {
            let sender = Sender::new(SHOP);
            let whole = tempfile::tempdir().unwrap();
            let expected = receiver(whole.path());
            let report =
                sender.pull(&Site::open(whole.path().join("here.db")).unwrap(), PullOptions::new().strategy(strategy));

            let folder = tempfile::tempdir().unwrap();
            let sqlite = receiver(folder.path());
            let mut limits = Limits::default();
            limits.pull.commit_rows = 100;
            let here = Site::builder().limits(limits).open(folder.path().join("here.db")).unwrap();
            // Little is on its way when the sender goes.
            let mut limits = Limits::default();
            limits.pull.stream_window_bytes = 4 << 10;
            let connect = ConnectOptions::default().limits(limits);
            let client = Client::connect(sender.server.url(), Auth::code(sender.code()), connect).unwrap();
            let Sender { there, server } = sender;
            let (mut server, mut step) = (Some(server), 0);
            let options = PullOptions::new().strategy(strategy).batch_size(100).retry_time(Duration::ZERO);
            let interrupted = client.pull(
                &here,
                options.on_progress(|_| {
                    step += 1;
                    if step == steps {
                        server.take().into_iter().for_each(ServerHandle::stop);
                    }
                }),
            );
            let interrupted = interrupted.unwrap();
            assert!(interrupted.tables.iter().any(|table| table.status != TableStatus::Completed), "{interrupted:?}");
            // The same site under another URL, with another code.
            let server = Server::bind(&there.site, "127.0.0.1:0").unwrap().spawn().unwrap();
            let sender = Sender { there, server };
            let resumed = sender.pull(&here, PullOptions::new().strategy(strategy));
            assert!(resumed.tables.iter().any(|table| table.resumed), "{resumed:?}");
            assert_eq!(sums(&resumed), sums(&report), "{strategy}, stopped at step {steps}");
            assert_eq!(rows(&sqlite, PAIRS), rows(&expected, PAIRS), "{strategy}, stopped at step {steps}");
            assert_eq!(rows(&sqlite, "SELECT scope FROM rowferry_pulls"), [""; 0]);
        }
    }
}
