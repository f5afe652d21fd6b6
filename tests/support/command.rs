//! What the tests of the command line share: a folder with databases, commands that run in it, and a server.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use super::schema;

const SHOP: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, photo BLOB, score REAL);
    INSERT INTO users VALUES (1, 'Zoë', x'00ff', 1.0), (2, 'b\u{1b}[2J', NULL, NULL), (3, 'c', x'', -1e300);
    CREATE TABLE posts (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id), body TEXT);
    INSERT INTO posts SELECT value, value % 3 + 1, 'post ' || value FROM generate_series_here;
    CREATE TABLE \"order by \"\"x\"\"\" (a TEXT NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (a, b));
    INSERT INTO \"order by \"\"x\"\"\" VALUES ('k', 1), ('k', 2);";

/// A folder with a shop in it.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        let series = "(WITH RECURSIVE s(value) AS (VALUES (1) UNION ALL SELECT value + 1 FROM s WHERE value < 1500) SELECT value FROM s)";
        folder.sql("shop.db", &SHOP.replace("generate_series_here", series));
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn sql(&self, name: &str, sql: &str) {
        Connection::open(self.path(name)).unwrap().execute_batch(sql).unwrap();
    }

    pub fn number(&self, name: &str, sql: &str) -> i64 {
        Connection::open(self.path(name)).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowferry"));
        command.args(line.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command. What it prints as JSON is held to the schema.
    #[track_caller]
    pub fn run(&self, line: &str) -> Ran {
        let ran = Ran::of(self.command(line).output().unwrap());
        if line.split_whitespace().any(|word| word == "--json") {
            schema::check(line, ran.status, &ran.stdout);
        }
        ran
    }

    /// A new code for the shop.
    pub fn code(&self) -> String {
        let made = self.run("sessions create --db shop.db --json").ok();
        made.json()["code"].as_str().unwrap().to_owned()
    }

    pub fn serve(&self) -> Served {
        self.serve_with("")
    }

    pub fn serve_with(&self, more: &str) -> Served {
        self.serve_db("shop.db", &format!("--code {more}"))
    }

    /// Serves one of the databases; what it logs is added to `served.log`.
    pub fn serve_db(&self, db: &str, more: &str) -> Served {
        let log = std::fs::File::options().create(true).append(true).open(self.path("served.log")).unwrap();
        let mut command = self.command(&format!("serve --db {db} --listen 127.0.0.1:0 --json {more}"));
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut event = || -> Value {
            let line = lines.next().unwrap().unwrap();
            schema::check("serve", 0, &line);
            serde_json::from_str(&line).unwrap()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let listening = event();
        assert_eq!(listening["event"], "listening");
        let code = more.contains("--code").then(|| text(&event()["code"]));
        Served { child, url: text(&listening["url"]), code: code.unwrap_or_default() }
    }

    /// Runs a command in this folder and gives the one JSON object that it prints.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        let ran = self.run(&format!("{line} --json")).ok();
        assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
        ran.json()
    }

    /// The JSON objects that a command prints.
    #[track_caller]
    pub fn list(&self, line: &str) -> Vec<Value> {
        let ran = self.run(&format!("{line} --json")).ok();
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs a command with this on its standard input.
    pub fn run_with_input(&self, line: &str, input: &str) -> Ran {
        let mut command = self.command(line);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end without having read it all.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::of(child.wait_with_output().unwrap())
    }
}

/// A running `rowferry serve`.
pub struct Served {
    pub child: Child,
    pub url: String,
    pub code: String,
}

impl Served {
    pub fn signal(mut self, signal: &str) -> i32 {
        kill(&self.child, signal);
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn kill(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Ran { status: output.status.code().expect("no signal ended it"), stdout, stderr }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{:.2000}", self.stdout);
        self
    }

    /// Failed with this status, and with one line on stderr that says each of these.
    #[track_caller]
    pub fn failed(self, status: i32, says: &[&str]) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(says.iter().all(|text| self.stderr.contains(text)), "{says:?} in {}", self.stderr);
        self
    }

    /// The last line of stdout; all lines must be JSON objects.
    #[track_caller]
    pub fn json(&self) -> Value {
        let lines: Vec<Value> = self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().all(Value::is_object), "{}", self.stdout);
        lines.last().expect("a line").clone()
    }
}

/// Two sites in one folder that serve and know each other's URLs: `shop.db` and `backup.db`.
pub struct Pair {
    pub folder: Folder,
    pub shop: Served,
    pub backup: Option<Served>,
}

impl Pair {
    pub fn new() -> Self {
        let folder = Folder::new();
        folder.sql("backup.db", "CREATE TABLE notes (id INTEGER PRIMARY KEY)");
        let (shop, backup) = (folder.serve_db("shop.db", ""), folder.serve_db("backup.db", ""));
        for (db, served) in [("shop.db", &shop), ("backup.db", &backup)] {
            folder.run(&format!("settings set site_url {} --db {db}", served.url)).ok();
            folder.run(&format!("settings set allow_internal_urls true --db {db}")).ok();
        }
        Pair { folder, shop, backup: Some(backup) }
    }

    pub fn backup_url(&self) -> String {
        self.backup.as_ref().map(|backup| backup.url.clone()).unwrap()
    }

    /// Lets the shop connect the backup, with these options. Gives what the command printed.
    #[track_caller]
    pub fn connect(&self, more: &str) -> Value {
        self.folder.json(&format!("connections create --db shop.db --name Backup --site-url {} {more}", self.backup_url()))
    }

    /// A connection that works on both sides. The backup calls it by its name there.
    #[track_caller]
    pub fn connected(&self, more: &str) -> Value {
        self.folder.run("settings set incoming_mode auto_accept --db backup.db").ok();
        let made = self.connect(more);
        assert_eq!(made["notified"]["outcome"], "registered", "{made}");
        made
    }

    /// The backup's end.
    #[track_caller]
    pub fn received(&self) -> Value {
        let connections = self.folder.list("connections list --db backup.db --direction receiver");
        assert_eq!(connections.len(), 1);
        connections[0].clone()
    }

    /// Pulls into the backup through its only connection.
    pub fn pull(&self, more: &str) -> Ran {
        let uuid = self.received()["uuid"].as_str().unwrap().to_owned();
        self.folder.run(&format!("pull --connection {uuid} --db backup.db --json {more}"))
    }
}

/// The text of a field.
#[track_caller]
pub fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

/// Waits for something that another process is about to do.
#[track_caller]
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Some(found) => return found,
            None => assert!(began.elapsed() < Duration::from_secs(60), "it never came"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
