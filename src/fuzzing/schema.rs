//! What a peer says of its tables, all the way: its description, the tables that are made of it in a real SQLite file, and rows in them.

use std::cell::RefCell;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::Choices;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value};
use crate::limits::Limits;
use crate::pull::{PullOptions, Report, TableStatus};
use crate::site::Site;
use crate::wire::schema;

/// What stands between the descriptions of tables, and between the last of them and the rows: no JSON has it.
const SEPARATOR: u8 = 0x1e;

/// Names of columns, each in two spellings.
const NAMES: [&str; 8] = ["id", "ID", "a", "A", "rowid", "RowId", "b c", "B C"];

/// Tables at most.
const MOST_TABLES: usize = 3;

/// Runs after which the file is made again: it keeps the history of its pulls.
const RUNS: u32 = 400;

/// Descriptions of tables, and bytes that decide on their rows and on how they are pulled. After a NUL, bytes decide on the descriptions,
/// too.
pub fn schema(bytes: &[u8]) {
    if let [0, bytes @ ..] = bytes {
        let mut choices = Choices(bytes);
        let described: Vec<Vec<u8>> = (0..=choices.below(3)).map(|at| choices.table(at).to_string().into_bytes()).collect();
        let bytes = [described.join(&SEPARATOR), choices.0.to_vec()].join(&SEPARATOR);
        return schema(&bytes);
    }
    let limits = Limits::default();
    let mut parts: Vec<&[u8]> = bytes.split(|byte| *byte == SEPARATOR).collect();
    let mut choices = Choices(if parts.len() > 1 { parts.pop().unwrap_or_default() } else { &[] });
    let mut tables: Vec<(TableSchema, Rows)> = Vec::new();
    for part in parts.into_iter().take(MOST_TABLES) {
        let Some(table) = std::str::from_utf8(part).ok().and_then(|json| schema::decode_schema(json, &limits).ok()) else {
            return;
        };
        if table.columns.len() > 40 || tables.iter().any(|(other, _)| other.name.eq_ignore_ascii_case(&table.name)) {
            return;
        }
        let rows = choices.any_rows(table.columns.len());
        tables.push((table, rows));
    }
    let strategy = Strategy::ALL[usize::from(choices.below(4)) % Strategy::ALL.len()];
    WORLD.with_borrow_mut(|world| {
        let world = match world {
            Some(world) if world.runs < RUNS => world,
            world => world.insert(World::new()),
        };
        world.runs += 1;
        world.try_out(&tables, strategy);
        world.clear();
    });
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// A site to pull into.
struct World {
    site: Site,
    sqlite: rusqlite::Connection,
    path: PathBuf,
    runs: u32,
}

impl World {
    fn new() -> Self {
        let name = format!("rowferry-fuzz-{}-{}.db", std::process::id(), uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        let site = Site::open(&path).expect("a new file can be opened");
        let sqlite = rusqlite::Connection::open(&path).expect("it can be opened again");
        sqlite.pragma_update(None, "synchronous", "OFF").expect("a pragma");
        World { site, sqlite, path, runs: 0 }
    }

    fn try_out(&self, tables: &[(TableSchema, Rows)], strategy: Strategy) {
        let pull = || self.site.pull_described(tables, PullOptions::new().strategy(strategy));
        let Ok(report) = pull() else { return };
        self.check(tables, &report, true);
        if strategy == Strategy::Append {
            return;
        }
        // The same once more brings nothing new.
        let Ok(again) = pull() else { return };
        self.check(tables, &again, false);
        for table in &again.tables {
            let first = report.table(&table.name).expect("the first pull was of the same tables");
            let is_whole = [first, table].iter().all(|table| table.status == TableStatus::Completed);
            assert!(!is_whole || table.outcome.created == 0 || first.outcome.failed > 0, "{report:?}\n{again:?}");
        }
    }

    /// What a report says is so.
    fn check(&self, tables: &[(TableSchema, Rows)], report: &Report, is_first: bool) {
        for (table, rows) in tables {
            let Some(report) = report.table(&table.name) else { continue };
            if let Some(error) = &report.error {
                assert!(!error.message().is_empty());
                continue;
            }
            assert_eq!(report.outcome.total(), rows.len() as u64, "{report:?}");
            let count = self.site.get_count(&table.name).expect("a table that was pulled is there");
            assert!(!is_first || !report.created_table || count == report.outcome.created, "{count} {report:?}");
        }
        let sound: String = self.sqlite.query_one("PRAGMA quick_check", [], |row| row.get(0)).expect("it can be checked");
        assert_eq!(sound, "ok");
    }

    /// Takes everything away again.
    fn clear(&self) {
        self.site.checkpoints().clear().expect("checkpoints can be forgotten");
        self.sqlite.pragma_update(None, "foreign_keys", false).expect("a pragma");
        for table in self.site.list_tables().expect("tables can be listed") {
            let drop = format!("DROP TABLE \"{}\"", table.name.replace('"', "\"\""));
            self.sqlite.execute_batch(&drop).expect("a table that was made can be dropped");
        }
        let names = "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'rowferry!_%' ESCAPE '!' \
                     AND name NOT LIKE 'sqlite!_%' ESCAPE '!'";
        let left: i64 = self.sqlite.query_one(names, [], |row| row.get(0)).expect("a count");
        assert_eq!(left, 0, "something was made that is no table");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for more in ["", "-wal", "-shm", ".rowferry-key"] {
            let mut path = self.path.clone().into_os_string();
            path.push(more);
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Choices<'_> {
    fn any_value(&mut self) -> Value {
        match self.below(14) {
            0 | 1 => Value::Null,
            2 => Value::Integer(1),
            3 => Value::Integer(i64::from(self.below(8))),
            4 => Value::Integer(i64::MAX),
            5 => Value::Integer(i64::MIN),
            6 => Value::Real(1.0),
            7 => Value::Real(-0.0),
            8 => Value::Real(9.3e18),
            9 => "1".into(),
            10 => "a".into(),
            11 => Value::Text(b"\xff\0".to_vec()),
            12 => Value::Blob(b"a".to_vec()),
            _ => "A ".into(),
        }
    }

    fn word<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[usize::from(self.below(words.len() as u8))]
    }

    fn flag(&mut self) -> bool {
        self.below(4) == 0
    }

    /// A column of the first so many, in either spelling.
    fn name(&mut self, columns: u8) -> &'static str {
        NAMES[usize::from(self.below(columns)) * 2 + usize::from(self.below(2))]
    }

    /// Some of them, each once.
    fn names(&mut self, columns: u8) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = (0..=self.below(3)).map(|_| self.name(columns)).collect();
        names.sort_by_key(|name| name.to_ascii_lowercase());
        names.dedup_by_key(|name| name.to_ascii_lowercase());
        names
    }

    /// A description of a table, as strange as it can be and be read: three in four are.
    fn table(&mut self, at: u8) -> Json {
        let types = ["INTEGER", "INT", "TEXT", "ANY", "", "REAL", "BLOB", "NUMERIC", "VARCHAR(3)"];
        let clauses = ["ABORT", "IGNORE", "REPLACE", "FAIL", "ROLLBACK"];
        let collations = [None, Some("NOCASE"), Some("RTRIM"), Some("BINARY"), Some("nocase")];
        let defaults = [None, Some("1"), Some("'x'"), Some("CURRENT_TIME"), Some("random()"), Some("NULL")];
        let count = 1 + self.below(NAMES.len() as u8 / 2);
        let columns: Vec<Json> = (0..usize::from(count))
            .map(|column| {
                json!({
                    "name": NAMES[column * 2], "type": "text", "nullable": !self.flag(), "declared_type": self.word(&types),
                    "logical": "any", "collation": collations[usize::from(self.below(5))], "generated": self.below(9) == 0,
                    "default": defaults[usize::from(self.below(6))], "not_null_on_conflict": self.word(&clauses),
                })
            })
            .collect();
        let part = |me: &mut Self| json!({"name": me.name(count), "descending": me.flag(), "collation": collations[usize::from(me.below(5))]});
        let kinds = ["full", "full", "partial", "expression"];
        let sets: Vec<Json> = (0..self.below(3))
            .map(|_| {
                let parts: Vec<Json> = (0..self.below(3)).map(|_| part(self)).collect();
                let index = self.flag().then(|| self.word(&["i", "I", "t1", "i 2"]));
                json!({"columns": self.names(count), "kind": self.word(&kinds), "on_conflict": self.word(&clauses), "index": index, "parts": parts})
            })
            .collect();
        let indexes: Vec<Json> = (0..self.below(3))
            .map(|_| json!({"name": self.word(&["i", "J", "t0", "i 2"]), "columns": [part(self)], "parts": []}))
            .collect();
        let actions = ["CASCADE", "RESTRICT", "SET NULL", "SET DEFAULT", "NO ACTION"];
        let keys: Vec<Json> = (0..self.below(3))
            .map(|_| {
                json!({
                    "columns": self.names(count), "parent": self.word(&["t0", "T1", "t2", "nowhere"]), "parent_columns": self.names(4),
                    "on_delete": self.word(&actions), "on_update": self.word(&actions), "deferred": self.flag(),
                })
            })
            .collect();
        let key = if self.flag() { Vec::new() } else { self.names(count) };
        json!({
            "table": format!("t{at}"), "columns": columns, "primary_key": key,
            "rowferry": {
                "strict": self.flag(), "without_rowid": self.flag(), "autoincrement": self.flag(), "rowid_alias": self.flag(),
                "sequence": self.flag().then_some(i64::MAX), "key_on_conflict": self.word(&clauses),
                "unique": sets, "indexes": indexes, "foreign_keys": keys, "unread": self.flag(),
            },
        })
    }

    fn any_rows(&mut self, columns: usize) -> Rows {
        let mut rows = Rows::new(columns);
        for _ in 0..self.below(6) {
            let values: Vec<Value> = (0..columns).map(|_| self.any_value()).collect();
            rows.push(values.iter().map(Value::as_ref));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the seeds are for: each is a description that is read and made.
    #[test]
    fn the_seeds_are_pulled() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/schema");
        let seeds: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(seeds.len() >= 4, "{seeds:?}");
        for seed in seeds {
            schema(&std::fs::read(seed).unwrap());
        }
    }

    proptest::proptest! {
        #[test]
        fn strange_descriptions_are_pulled(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 60..400)) {
            schema(&[&[0], &bytes[..]].concat());
        }
    }
}
