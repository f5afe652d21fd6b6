//! What needs a process of its own: pulls that are killed, users who may not write, and memory.
//!
//! The children are this program again, told to run the one test that is ignored otherwise.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::support::common::served::Sender;
use crate::support::common::{Fixture, rows};
use rowferry::{
    Auth, Client, Clock, ConnectOptions, ErrorKind, Limits, ManualClock, PullOptions, Site, Strategy, SystemClock,
};
use rusqlite::Connection;

/// What a child says when it has begun, so that its lines can be told from those of the test's frame.
const SAYS: &str = "child: ";

fn start(folder: &Path, job: &[&str]) -> Child {
    std::fs::write(folder.join("job"), job.join("\n")).unwrap();
    let arguments = ["--exact", "processes::child", "--ignored", "--nocapture"];
    let program = std::env::current_exe().unwrap();
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "it is started by the others, in a folder with a job for it"]
fn child() {
    let Ok(job) = std::fs::read_to_string("job") else { return };
    match job.lines().collect::<Vec<_>>()[..] {
        ["pull", url, code, stop] => pulling_child(url, code, stop.parse().unwrap()),
        ["append", url, code] => {
            println!("{SAYS}ready");
            let _ = std::io::stdin().read_line(&mut String::new());
            println!("{SAYS}{}", append(&Site::open("here.db").unwrap(), url, code));
        }
        ["open", path] => println!("{SAYS}{:?}", opened(path)),
        #[cfg(target_os = "linux")]
        ["bear junk"] => println!("{SAYS}{}", bear_junk()),
        _ => panic!("no such job"),
    }
}

/// Pulls, and says so at each step; at one of them it stops for ever.
fn pulling_child(url: &str, code: &str, stop: usize) {
    let mut limits = Limits::default();
    limits.pull.commit_rows = 20;
    let site = Site::builder().limits(limits).open("here.db").unwrap();
    let client = Client::connect(url, Auth::code(code), ConnectOptions::default()).unwrap();
    let mut step = 0;
    let options = PullOptions::new().strategy(Strategy::Overwrite).batch_size(20).on_progress(|_| {
        println!("{SAYS}{step}");
        if step == stop {
            std::thread::sleep(Duration::MAX);
        }
        step += 1;
    });
    let _ = client.pull(&site, options).unwrap();
}

const SHOP: &str = "
    CREATE TABLE parents(id INTEGER PRIMARY KEY, v TEXT NOT NULL UNIQUE);
    CREATE TABLE children(k TEXT PRIMARY KEY, parent INT REFERENCES parents(id), v BLOB) WITHOUT ROWID;
    CREATE TABLE tree(id INTEGER PRIMARY KEY, up INT REFERENCES tree(id));
    CREATE TABLE log(at, what);
    CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n;
    INSERT INTO parents SELECT i, 'parent ' || i FROM n;
    INSERT INTO children SELECT 'k' || i, 1 + i % 1000, randomblob(i) FROM n;
    PRAGMA foreign_keys = OFF; INSERT INTO tree SELECT i, 1 + (i * 7) % 1000 FROM n;
    INSERT INTO log SELECT i % 100, i % 3 FROM n; INSERT INTO log SELECT NULL, NULL FROM n LIMIT 50;";

const TABLES: [&str; 4] = ["parents", "children", "tree", "log"];

const STATE: [&str; 6] =
    ["rowferry_pulls", "rowferry_marks", "rowferry_staged", "rowferry_waiting", "rowferry_counts", "rowferry_taken_keys"];

impl Sender {
    fn is_equal(&self, here: &Site) {
        for table in TABLES {
            let digest = |site: &Site| site.table_checksum(table).unwrap();
            assert_eq!(digest(&self.there.site), digest(here), "{table}");
        }
    }
}

/// The receiver's file: it has some of the rows, some of them changed.
fn receiver(folder: &Path) -> Connection {
    let sqlite = Connection::open(folder.join("here.db")).unwrap();
    sqlite.execute_batch(&format!("PRAGMA foreign_keys = OFF; {SHOP}")).unwrap();
    let changes =
        "DELETE FROM parents WHERE id % 3 = 0; UPDATE children SET v = 'changed' WHERE parent > 500; DELETE FROM log
        WHERE at < 50; DELETE FROM tree";
    sqlite.execute_batch(changes).unwrap();
    // What the receiver has alone would keep the two from being equal at the end.
    sqlite.execute_batch("DELETE FROM children WHERE parent % 3 = 0").unwrap();
    sqlite
}

fn kept(sqlite: &Connection) -> Vec<String> {
    let counts = STATE.map(|table| format!("SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})"));
    rows(sqlite, &counts.join(" UNION ALL "))
}

fn is_sound(sqlite: &Connection) {
    assert_eq!(rows(sqlite, "PRAGMA integrity_check"), ["'ok'"]);
    assert_eq!(rows(sqlite, "PRAGMA foreign_key_check"), [""; 0]);
    assert_eq!(rows(sqlite, "SELECT count(*) FROM tree WHERE id NOT BETWEEN 1 AND 1000"), ["0"]);
    assert!(["'all'", "'none'"].contains(
        &&*rows(sqlite, "SELECT CASE count(*) WHEN 0 THEN 'none' WHEN 1000 THEN 'all' ELSE count(*) END FROM tree")[0]
    ));
}

#[test]
fn a_killed_pull_is_finished_by_the_next_and_leaves_nothing_for_ever() {
    let sender = Sender::new(SHOP);
    let folder = tempfile::tempdir().unwrap();
    let sqlite = receiver(folder.path());
    // First at known steps, then wherever it happens to be.
    for (stop, kill_at, wait) in [
        (0, 0, 0),
        (3, 3, 0),
        (12, 12, 0),
        (30, 30, 0),
        (usize::MAX, 1, 3),
        (usize::MAX, 5, 1),
        (usize::MAX, 14, 2),
        (usize::MAX, 25, 4),
    ] {
        let (url, code, stop) = (sender.server.url().to_owned(), sender.code(), stop.to_string());
        let mut child = start(folder.path(), &["pull", &url, &code, &stop]);
        let wanted = format!("{SAYS}{kill_at}");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with(&wanted)), "the child ended before step {kill_at}");
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        is_sound(&sqlite);
    }
    let left = kept(&sqlite);
    assert!(left.len() >= 2, "{left:?}");
    let path = folder.path().join("here.db");
    let overwrite = || PullOptions::new().strategy(Strategy::Overwrite);
    // Another pull leaves what is kept for the one that was killed alone, until that is too old.
    let here = Site::open(&path).unwrap();
    assert!(sender.client().pull(&here, PullOptions::new().strategy(Strategy::Skip)).unwrap().is_clean());
    assert_eq!(kept(&sqlite), left);
    let copy = folder.path().join("copy.db");
    sqlite.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    let report = sender.client().pull(&here, overwrite()).unwrap();
    assert!(report.is_clean() && report.tables.iter().any(|table| table.resumed), "{report:?}");
    sender.is_equal(&here);
    assert_eq!(kept(&sqlite), [""; 0]);
    is_sound(&sqlite);
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    clock.advance(Duration::from_secs(25 * 3_600));
    let late = Site::builder().clock(clock).open(&copy).unwrap();
    let report = sender.client().pull(&late, overwrite()).unwrap();
    assert!(report.is_clean() && report.tables.iter().all(|table| !table.resumed), "{report:?}");
    sender.is_equal(&late);
    assert_eq!(kept(&Connection::open(&copy).unwrap()), [""; 0]);
    let clean = Fixture::new("");
    assert!(sender.client().pull(&clean.site, overwrite()).unwrap().is_clean());
    sender.is_equal(&clean.site);
}

#[test]
fn pulls_at_the_same_time_leave_each_other_alone() {
    let sender = Sender::new(SHOP);
    let here = Fixture::new("");
    let clients = [sender.client(), sender.client(), sender.client()];
    std::thread::scope(|threads| {
        for client in &clients {
            let site = here.site.clone();
            threads.spawn(move || {
                let options = PullOptions::new().strategy(Strategy::Overwrite).batch_size(100);
                assert!(client.pull(&site, options).unwrap().is_clean());
            });
        }
    });
    sender.is_equal(&here.site);
    assert_eq!(kept(&here.sqlite), [""; 0]);
}

const ITEMS: &str = "
    CREATE TABLE items(id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE log(at, what);
    CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n;
    INSERT INTO items SELECT i, 'item ' || i FROM n; INSERT INTO log SELECT i % 100, i % 3 FROM n;";

/// Appends all tables in small steps. Gives how many tables it did, all of which are whole; the others are refused.
fn append(site: &Site, url: &str, code: &str) -> usize {
    let client = Client::connect(url, Auth::code(code), ConnectOptions::default()).unwrap();
    let options = PullOptions::new().strategy(Strategy::Append).batch_size(50);
    let report = client.pull(site, options).unwrap();
    for done in &report.tables {
        if let Some(error) = &done.error {
            // The last: another one has finished the pull, so that it is no longer this one's.
            let kinds = [ErrorKind::AlreadyAppended, ErrorKind::TakenOver, ErrorKind::Timeout];
            assert!(kinds.contains(&error.kind()), "{}: {error:?}", done.name);
        }
    }
    report.tables.iter().filter(|done| done.is_clean()).count()
}

fn is_there_once(sqlite: &Connection) {
    let counts = "SELECT count(*) || ' ' || count(DISTINCT v) FROM items UNION ALL SELECT count(*) FROM log";
    assert_eq!(rows(sqlite, counts), ["'5000 5000'", "5000"]);
}

/// The next thing that a child says.
fn said(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if let Some((_, said)) = line.split_once(SAYS) {
            return said.trim().to_owned();
        }
        line.clear();
    }
    panic!("the child has ended");
}

#[test]
fn appends_at_the_same_time_add_the_rows_once() {
    let sender = Sender::new(ITEMS);
    // Through one site, and through three that are open on one file.
    for is_one in [true, false] {
        for _ in 0..3 {
            let here = Fixture::new("");
            let sites: Vec<Site> =
                (0..3).map(|_| if is_one { here.site.clone() } else { Site::open(here.path()).unwrap() }).collect();
            let begin = std::sync::Barrier::new(sites.len());
            let done: usize = std::thread::scope(|threads| {
                let all: Vec<_> = sites
                    .iter()
                    .map(|site| {
                        let (begin, url, code) = (&begin, sender.server.url(), sender.code());
                        threads.spawn(move || {
                            begin.wait();
                            append(site, url, &code)
                        })
                    })
                    .collect();
                all.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert!(done >= 2, "{done}");
            is_there_once(&here.sqlite);
        }
    }
}

#[test]
fn appends_of_two_processes_add_the_rows_once() {
    let sender = Sender::new(ITEMS);
    for _ in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let begin = || {
            let mut child = start(folder.path(), &["append", sender.server.url(), &sender.code()]);
            let mut says = BufReader::new(child.stdout.take().unwrap());
            assert_eq!(said(&mut says), "ready");
            (child, says)
        };
        let mut children = [begin(), begin()];
        children.iter_mut().for_each(|(child, _)| drop(child.stdin.take()));
        let done: usize = children.iter_mut().map(|(_, says)| said(says).parse::<usize>().unwrap()).sum();
        assert!(done >= 2, "{done}");
        assert!(children.iter_mut().all(|(child, _)| child.wait().unwrap().success()));
        is_there_once(&Connection::open(folder.path().join("here.db")).unwrap());
    }
}

#[test]
fn the_host_may_write_while_it_is_told_of_the_progress() {
    let sender = Sender::new(SHOP);
    let here = Fixture::new("CREATE TABLE mine(n)");
    let mut limits = Limits::default();
    limits.pull.batch_bytes = 1_000;
    let site = Site::builder().limits(limits).open(here.path()).unwrap();
    let other = Connection::open(here.path()).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    let mut calls = 0;
    let options = PullOptions::new().batch_size(10).on_progress(|progress| {
        other.execute("INSERT INTO mine VALUES (1)", []).unwrap_or_else(|error| panic!("{progress:?}: {error}"));
        calls += 1;
    });
    assert!(sender.client().pull(&site, options).unwrap().is_clean());
    assert_eq!(here.rows("SELECT count(*) FROM mine"), [calls.to_string()]);
    sender.is_equal(&site);
}

#[test]
fn a_pull_that_slept_learns_that_it_was_taken_for_dead() {
    let sender = Sender::new(SHOP);
    let here = Fixture::new("");
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let mut limits = Limits::default();
    limits.pull.commit_rows = 100;
    let site = Site::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).limits(limits).open(here.path()).unwrap();
    for table in TABLES {
        let mut asleep = false;
        let options = PullOptions::new().tables([table]).batch_size(100).on_progress(|progress| {
            if progress.records >= 200 && !asleep {
                asleep = true;
                clock.advance(Duration::from_secs(25 * 3_600));
                let other = sender.client().pull(&site, PullOptions::new().tables([table])).unwrap();
                assert!(other.is_clean());
            }
        });
        let error = sender.client().pull_table(&site, table, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{table}: {error}");
        assert!(error.is_retryable() && error.hint().is_some());
    }
    sender.is_equal(&site);
    assert_eq!(kept(&here.sqlite), [""; 0]);
    is_sound(&here.sqlite);
}

/// The kind of the error, in a process whose user may not write.
fn opened(path: &str) -> Option<ErrorKind> {
    Site::open(path).err().map(|error| {
        assert!(error.hint().is_some(), "{error}");
        error.kind()
    })
}

/// Runs the child as a user who may not do everything, which the one who runs the tests may.
#[cfg(unix)]
fn open_as_user(folder: &Path, path: &str) -> String {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let program = folder.join("program");
    if !program.exists() {
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::write(folder.join("job"), format!("open\n{path}")).unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "processes::child", "--ignored", "--nocapture"]).current_dir(folder).stdout(Stdio::piped());
    if std::fs::metadata(folder).unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    let mut said = String::new();
    let mut child = command.spawn().unwrap();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    let line =
        said.lines().find_map(|line| line.split_once(SAYS)).unwrap_or_else(|| panic!("the child says nothing: {said}"));
    line.1.to_owned()
}

#[test]
#[cfg(unix)]
fn files_and_folders_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &str, mode| {
        std::fs::set_permissions(folder.path().join(path), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("", 0o755);
    std::fs::create_dir(folder.path().join("closed")).unwrap();
    for (name, sql) in
        [("plain.db", ""), ("wal.db", "PRAGMA journal_mode = WAL;"), ("closed/inside.db", ""), ("hidden.db", "")]
    {
        let sqlite = Connection::open(folder.path().join(name)).unwrap();
        sqlite.execute_batch(&format!("{sql} CREATE TABLE t(x)")).unwrap();
        drop(sqlite);
        mode(name, 0o444);
    }
    mode("hidden.db", 0);
    mode("closed/inside.db", 0o666);
    mode("closed", 0o555);
    assert_eq!(open_as_user(folder.path(), "plain.db"), "Some(ReadOnly)");
    assert!(["Some(ReadOnly)", "Some(CannotOpen)"].contains(&&*open_as_user(folder.path(), "wal.db")));
    assert_eq!(open_as_user(folder.path(), "hidden.db"), "Some(CannotOpen)");
    assert!(["Some(ReadOnly)", "Some(CannotOpen)"].contains(&&*open_as_user(folder.path(), "closed/inside.db")));
    assert_eq!(open_as_user(folder.path(), "closed/new.db"), "Some(CannotOpen)");
    mode("closed", 0o755);
}

/// A server that is sent far more than it may keep: the most memory that this process ever had, in MB.
#[cfg(target_os = "linux")]
fn bear_junk() -> u64 {
    let sender = Sender::new(SHOP);
    let address = sender.server.local_addr();
    let post = "POST /sync/api/x HTTP/1.1\r\nHost: a\r\n";
    let junk = [
        "x".repeat(1 << 20),
        format!("GET /{}", "x".repeat(1 << 20)),
        format!("{post}X: {}", "x\r\nX: ".repeat(1 << 18)),
        format!("{post}Content-Length: 1048576\r\n\r\n{}", "x".repeat(1_048_575)),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n{}", "1\r\nx\r\n".repeat(1 << 18)),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n1;{}", "x".repeat(1 << 20)),
    ];
    let mut peers = Vec::new();
    for round in 0..40 {
        let mut peer = TcpStream::connect(address).unwrap();
        let _ = peer.write_all(junk[round % junk.len()].as_bytes());
        peers.push(peer);
        peers.drain(..peers.len().saturating_sub(8));
    }
    drop(peers);
    // Bodies that are JSON, and take many times their size when each field of them is looked at; all at once.
    for (call, begin) in [("list-tables", ""), ("table-records", "\"auth_token_hash\":\"0\",")] {
        let fields: Vec<String> = (0..90_000).map(|number| format!("\"{number}\":1")).collect();
        let body = format!("{{{begin}{}}}", fields.join(","));
        let head = format!("POST /sync/api/{call} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let (most, last) = request.split_at(request.len() - 1);
        let mut peers: Vec<_> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
        for part in [most, last] {
            peers.iter_mut().for_each(|peer| peer.write_all(part.as_bytes()).unwrap_or_default());
        }
        peers.iter_mut().for_each(|peer| peer.read_to_end(&mut Vec::new()).map_or((), |_| ()));
    }
    let url = format!("ws://{address}/sync/websocket?code={}", sender.code());
    let (mut socket, _) = tungstenite::client(url, TcpStream::connect(address).unwrap()).unwrap();
    for _ in 0..200 {
        let _ = socket.send(tungstenite::Message::binary(vec![0; 1_000_000]));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    most.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_000
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_junk() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(folder.path(), &["bear junk"]);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    let most = said.lines().find_map(|line| line.split_once(SAYS)).unwrap_or_else(|| panic!("the child died: {said}")).1;
    assert!(most.parse::<u64>().unwrap() < 100, "{most} MB for 360 MB of junk");
}
