//! What the tests share: sites on real files, and a look at what is in them.

pub mod served;

use rowferry::Site;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

/// A site on a database of its own, made by this SQL.
pub struct Fixture {
    pub folder: TempDir,
    pub site: Site,
    pub sqlite: rusqlite::Connection,
}

impl Fixture {
    pub fn new(sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.db");
        let sqlite = rusqlite::Connection::open(&path).unwrap();
        sqlite.execute_batch(sql).unwrap();
        let site = Site::open(&path).unwrap();
        Fixture { folder, site, sqlite }
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("site.db")
    }

    pub fn run(&self, sql: &str) {
        self.sqlite.execute_batch(sql).unwrap();
    }

    /// The rows of a query, each as text: `1|'a'|NULL|1.0|x'00'`.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        rows(&self.sqlite, sql)
    }
}

/// The rows of a query, each as text that tells storage classes apart.
pub fn rows(sqlite: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut statement = sqlite.prepare(sql).unwrap();
    let width = statement.column_count();
    let mut found = statement.query([]).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = found.next().unwrap() {
        let cells: Vec<String> = (0..width).map(|at| text(row.get_ref(at).unwrap())).collect();
        rows.push(cells.join("|"));
    }
    rows
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(v) => v.to_string(),
        ValueRef::Real(v) => format!("{v:?}"),
        ValueRef::Text(v) => format!("'{}'", String::from_utf8_lossy(v)),
        ValueRef::Blob(v) => format!("x'{}'", v.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}
