//! Sites on databases of their own, and pulls between them.

use rowferry::{
    Auth, Client, ConnectOptions, Direction, Limits, PostgresOptions, PullOptions, Report, Server, Site, SiteKey, Strategy,
};
use rusqlite::Connection;

use crate::postgres::server;

/// A site on a PostgreSQL database.
pub struct Pg {
    pub site: Site,
    pub url: String,
}

/// The key of all of them, so that children have it, too.
pub const KEY: [u8; 32] = [7; 32];

/// Opens a site of a database that is there.
pub fn open(url: &str) -> Site {
    open_with(url, Limits::default())
}

/// The same with these limits.
pub fn open_with(url: &str, limits: Limits) -> Site {
    let options = PostgresOptions::parse(url).unwrap();
    Site::builder().key(SiteKey::from_bytes(KEY)).limits(limits).open_postgres(options).unwrap()
}

impl Pg {
    /// A site on a new database, made by this SQL.
    pub fn new(sql: &str) -> Pg {
        let url = server().database();
        server().run(&url, sql);
        Pg { site: open(&url), url }
    }

    /// Runs SQL by psql; gives what it selects.
    pub fn run(&self, sql: &str) -> String {
        server().run(&self.url, sql)
    }
}

/// A site on a SQLite file.
pub struct Lite {
    pub site: Site,
    pub sqlite: Connection,
    _folder: tempfile::TempDir,
}

impl Lite {
    pub fn new(sql: &str) -> Lite {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.db");
        let sqlite = Connection::open(&path).unwrap();
        sqlite.execute_batch(sql).unwrap();
        let site = Site::open(&path).unwrap();
        Lite { site, sqlite, _folder: folder }
    }

    /// The only cell of an answer, as text.
    pub fn cell(&self, sql: &str) -> String {
        let cell = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
        match self.sqlite.query_row(sql, [], cell).unwrap() {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        }
    }
}

/// A code of a site.
pub fn code(site: &Site) -> String {
    site.sessions().create(Direction::Send).unwrap().code().to_owned()
}

/// Pulls over the in-process link.
pub fn link(from: &Site, to: &Site, options: PullOptions<'_>) -> Report {
    Client::link(from, Auth::code(code(from)), ConnectOptions::default()).unwrap().pull(to, options).unwrap()
}

/// Pulls over a loopback server.
pub fn loopback(from: &Site, to: &Site, options: PullOptions<'_>) -> Report {
    let server = Server::bind(from, "127.0.0.1:0").unwrap().spawn().unwrap();
    let client = Client::connect(server.url(), Auth::code(code(from)), ConnectOptions::default()).unwrap();
    client.pull(to, options).unwrap()
}

pub fn options(strategy: Strategy) -> PullOptions<'static> {
    PullOptions::new().strategy(strategy)
}

/// Nothing failed, nothing was left out.
#[track_caller]
pub fn clean(report: &Report) {
    assert!(report.is_clean(), "{report:#?}");
}

/// Both sites have the same rows in these tables.
#[track_caller]
pub fn same(one: &Site, other: &Site, tables: &[&str]) {
    for table in tables {
        let digest = |site: &Site| site.table_checksum(table).unwrap();
        assert_eq!(digest(one), digest(other), "{table}");
        assert_eq!(one.get_count(table).unwrap(), other.get_count(table).unwrap(), "{table}");
    }
}
