//! Each program is started as it is, and pulled from by rowferry's own client: over its WebSocket, and by calls over HTTP.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use rowferry::{Api, Auth, Client, ConnectOptions, Direction, ErrorKind, NewConnection, PullOptions, Site};

const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_on_tiny_http"), env!("CARGO_BIN_EXE_on_axum")];

/// More rows than one page has, so that several are on their way.
const ROWS: u64 = 30_000;

struct Shop {
    folder: tempfile::TempDir,
    program: Child,
    url: String,
    code: String,
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Shop {
    fn open(program: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = rowferry::rusqlite::Connection::open(folder.path().join("shop.db")).unwrap();
        let sql = format!(
            "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT UNIQUE NOT NULL);
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
            INSERT INTO users SELECT i, 'user' || i || '@example.com' FROM n;"
        );
        database.execute_batch(&sql).unwrap();
        drop(database);
        let mut command = Command::new(program);
        command.arg(folder.path().join("shop.db")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (url, code) = line.trim().split_once(' ').unwrap();
        Shop { url: url.to_owned(), code: code.to_owned(), folder, program }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same site, in this process.
    fn site(&self) -> Site {
        Site::open(self.path("shop.db")).unwrap()
    }

    fn pull(&self, auth: Auth, name: &str) {
        let backup = Site::open(self.path(name)).unwrap();
        let client = Client::connect(&self.url, auth, ConnectOptions::default()).unwrap();
        let report = client.pull(&backup, PullOptions::new()).unwrap();
        report.ok().unwrap();
        assert_eq!(backup.table_checksum("users").unwrap(), self.site().table_checksum("users").unwrap());
    }
}

#[test]
fn a_code_pulls_once() {
    for program in PROGRAMS {
        let shop = Shop::open(program);
        shop.pull(Auth::code(&shop.code), "backup.db");
        let again = Client::connect(&shop.url, Auth::code(&shop.code), ConnectOptions::default());
        assert_eq!(again.err().map(|error| error.kind()), Some(ErrorKind::CodeUsed), "{program}");
    }
}

#[test]
fn a_program_ends_although_a_peer_is_connected() {
    for program in PROGRAMS {
        let mut shop = Shop::open(program);
        let client = Client::connect(&shop.url, Auth::code(&shop.code), ConnectOptions::default()).unwrap();
        assert_eq!(client.list_tables().unwrap().len(), 1, "{program}");
        drop(shop.program.stdin.take());
        assert!(shop.program.wait().unwrap().success(), "{program}");
        assert!(client.list_tables().is_err(), "{program}");
    }
}

#[test]
fn a_wrong_code_is_refused() {
    for program in PROGRAMS {
        let shop = Shop::open(program);
        let refused = Client::connect(&shop.url, Auth::code("AAAA2222"), ConnectOptions::default());
        assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::InvalidCode), "{program}");
        // The one that was given out is as good as before.
        shop.pull(Auth::code(&shop.code), "backup.db");
    }
}

#[test]
fn two_pull_at_once() {
    for program in PROGRAMS {
        let shop = Shop::open(program);
        let other = shop.site().sessions().create(Direction::Send).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| shop.pull(Auth::code(&shop.code), "one.db"));
            scope.spawn(|| shop.pull(Auth::code(other.code()), "other.db"));
        });
    }
}

#[test]
fn a_connection_pulls_by_its_token_and_asks_over_http() {
    for program in PROGRAMS {
        let shop = Shop::open(program);
        let made = shop.site().connections().create(NewConnection::sender("Nightly", "https://backup.example")).unwrap();
        shop.pull(Auth::token(made.token.as_str()), "backup.db");
        let api = Api::new(&shop.url, &ConnectOptions::default()).unwrap().token(&made.token);
        let tables: Vec<(String, u64)> =
            api.list_tables().unwrap().into_iter().map(|table| (table.name, table.row_count)).collect();
        assert_eq!(tables, [("users".to_owned(), ROWS)], "{program}");
        // An answer that is read from the database while it is sent.
        let users = api.table_schema("users").unwrap();
        let records = api.pull_data(&users).unwrap();
        assert_eq!((records.rows.len(), records.failures.len()), (10_000, 0), "{program}");
        let refused = api.table_schema("ghosts");
        assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::TableNotFound), "{program}");
    }
}
