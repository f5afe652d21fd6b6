//! The databases that are measured: rows to pull, and a new database to pull them into for each run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::common::{Content, NARROW};
use crate::server::{Server, Setup};

/// What a receiving database has before.
#[derive(Clone, Copy, PartialEq)]
pub enum Before {
    /// Not even the table.
    Nothing,
    /// The table without rows.
    Empty,
    /// The rows of the source.
    Same,
    /// The same keys, one row in a hundred with other values.
    FewDiffer,
    /// The same keys, all with other values.
    AllDiffer,
}

const ALL: [Before; 5] = [Before::Nothing, Before::Empty, Before::Same, Before::FewDiffer, Before::AllDiffer];

/// The narrow table of the other benchmarks.
const TABLE: &str = "CREATE TABLE t(id int8 PRIMARY KEY, name text, age int4, score float8)";

impl Before {
    /// The database that has it.
    fn template(self) -> &'static str {
        match self {
            Before::Nothing => "nothing",
            Before::Empty => "empty",
            Before::Same => "same",
            Before::FewDiffer => "few_differ",
            Before::AllDiffer => "all_differ",
        }
    }

    /// What makes the table in it.
    fn sql(self, rows: u64) -> String {
        let fill = format!(
            "INSERT INTO t SELECT i, 'name ' || lpad(i::text, 7, '0'), i % 90, i * 0.37::float8 FROM generate_series(1, {rows}) i"
        );
        let change = "UPDATE t SET name = name || '!', age = age + 1, score = score + 1";
        match self {
            Before::Nothing => String::new(),
            Before::Empty => TABLE.to_owned(),
            Before::Same => format!("{TABLE}; {fill}"),
            Before::FewDiffer => format!("{TABLE}; {fill}; {change} WHERE id % 100 = 0"),
            Before::AllDiffer => format!("{TABLE}; {fill}; {change}"),
        }
    }
}

/// A server with the databases, and the same rows in a SQLite file.
pub struct Databases {
    pub server: Server,
    /// Where files are.
    pub folder: TempDir,
    /// The database of the sender.
    pub source: String,
    rows: u64,
    made: AtomicU32,
}

impl Databases {
    pub fn make(rows: u64) -> Databases {
        let server = Server::start_with(&Setup { settings: &[("shared_buffers", "128MB")], ..Setup::default() });
        let folder = tempfile::tempdir().expect("a temporary folder");
        let admin = server.url(crate::server::SUPERUSER);
        for (name, before) in ALL.map(|before| (before.template(), before)).into_iter().chain([("source", Before::Same)]) {
            server.run(&admin, &format!("CREATE DATABASE {name}"));
            server.run(&server.url(name), &before.sql(rows));
            server.run(&server.url(name), "VACUUM (FULL, ANALYZE)");
        }
        NARROW.make(&folder.path().join("source.db"), rows, Content::Source);
        NARROW.make(&folder.path().join("empty.db"), 0, Content::Empty);
        let source = server.url("source");
        Databases { server, folder, source, rows, made: AtomicU32::new(0) }
    }

    /// The sender's rows in a SQLite file.
    pub fn sqlite_source(&self) -> PathBuf {
        self.folder.path().join("source.db")
    }

    /// A new SQLite file with the empty table, in a folder of its own.
    pub fn sqlite_target(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a temporary folder");
        let path = folder.path().join("target.db");
        std::fs::copy(self.folder.path().join("empty.db"), &path).expect("a copy");
        (folder, path)
    }

    /// A new database, which is gone when it is dropped. What was written before is on the disk when this returns.
    pub fn target(&self, before: Before) -> Target<'_> {
        let name = format!("target_{}", self.made.fetch_add(1, Ordering::Relaxed));
        let admin = self.server.url(crate::server::SUPERUSER);
        self.server.run(&admin, &format!("CREATE DATABASE {name} TEMPLATE {}", before.template()));
        self.server.run(&admin, "CHECKPOINT");
        Target { databases: self, url: self.server.url(&name), name }
    }

    /// Asserts that the table in a database has just the rows of the source.
    pub fn check(&self, url: &str) {
        let sql = "SELECT count(*), sum(hashtextextended(concat_ws('|', id, name, age, score), 0)) FROM t";
        let [found, expected] = [url, &self.source].map(|url| self.server.run(url, sql));
        assert_eq!(found, expected, "the rows that were pulled");
        assert!(expected.starts_with(&format!("{}|", self.rows)), "the rows of the source: {expected}");
    }

    /// The same of a SQLite file.
    pub fn check_sqlite(&self, path: &Path) {
        let sqlite = rusqlite::Connection::open(path).expect("a database");
        sqlite.execute("ATTACH ?1 AS src", [self.sqlite_source().to_string_lossy()]).expect("the source");
        let query = "SELECT (SELECT count(*) FROM src.t NATURAL JOIN main.t), (SELECT count(*) FROM main.t)";
        let counts: (i64, i64) = sqlite.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("counts");
        assert_eq!(counts, (self.rows as i64, self.rows as i64), "rows that are those of the source, and all");
    }
}

/// A database to pull into.
pub struct Target<'d> {
    databases: &'d Databases,
    pub url: String,
    name: String,
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        let server = &self.databases.server;
        let dropped = server.try_run(&server.url(crate::server::SUPERUSER), &format!("DROP DATABASE {} (FORCE)", self.name));
        if let Err(error) = dropped {
            eprintln!("{error}");
        }
    }
}
