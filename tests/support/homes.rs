//! Databases that tests open sites of, one of each kind that this program is built with.

use std::path::PathBuf;

#[cfg(feature = "postgres")]
use super::postgres::server;
#[cfg(feature = "postgres")]
use super::rowferry::{PostgresOptions, SiteKey};
use super::rowferry::{Site, SiteBuilder};

/// An empty database.
pub struct Home {
    _folder: tempfile::TempDir,
    place: Place,
}

enum Place {
    File(PathBuf),
    /// A URL of the tests' own server.
    #[cfg(feature = "postgres")]
    Postgres(String),
}

impl Home {
    /// A fresh one of each kind.
    pub fn each() -> Vec<Home> {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::File(folder.path().join("a.db"));
        vec![
            Home { _folder: folder, place },
            #[cfg(feature = "postgres")]
            Home { _folder: tempfile::tempdir().unwrap(), place: Place::Postgres(server().database()) },
        ]
    }

    /// A site of it, with connections of its own: as in another process.
    pub fn open(&self, builder: SiteBuilder) -> Site {
        match &self.place {
            Place::File(path) => builder.open(path).unwrap(),
            #[cfg(feature = "postgres")]
            Place::Postgres(url) => {
                builder.key(SiteKey::from_bytes([7; 32])).open_postgres(PostgresOptions::parse(url).unwrap()).unwrap()
            }
        }
    }

    /// Drops all of rowferry's own tables behind the site's back.
    pub fn drop_state(&self) {
        match &self.place {
            Place::File(path) => {
                let tables = "SELECT group_concat('DROP TABLE ' || name, ';') FROM sqlite_schema WHERE name GLOB 'rowferry_*' AND type = 'table'";
                let sqlite = rusqlite::Connection::open(path).unwrap();
                let drop: String = sqlite.query_row(tables, [], |row| row.get(0)).unwrap();
                sqlite.execute_batch(&drop).unwrap();
            }
            #[cfg(feature = "postgres")]
            Place::Postgres(url) => {
                let tables = "SELECT string_agg('DROP TABLE ' || relname || ' CASCADE', ';') FROM pg_class WHERE relname LIKE 'rowferry\\_%' AND relkind = 'r'";
                let drop = server().run(url, tables);
                assert!(!drop.is_empty());
                server().run(url, &drop);
            }
        }
    }

    /// Runs statements behind the site's back.
    pub fn execute(&self, sql: &str) {
        match &self.place {
            Place::File(path) => rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap(),
            #[cfg(feature = "postgres")]
            Place::Postgres(url) => drop(server().run(url, sql)),
        }
    }
}
