//! What SQLite keeps of a file beside rows and structure: the sequences of AUTOINCREMENT, and the numbers of its head.

use rusqlite::Connection;

use super::dialect::failed;
use crate::domain::schema::TableSchema;
use crate::domain::table::FileNumbers;
use crate::error::Result;

/// The largest number that AUTOINCREMENT ever gave to a table.
pub(super) fn sequence(sqlite: &Connection, table: &TableSchema) -> Result<Option<i64>> {
    if !table.autoincrement {
        return Ok(None);
    }
    // Anyone can write anything into it.
    let sql = "SELECT max(seq) FROM sqlite_sequence WHERE name = ?1 AND typeof(seq) = 'integer'";
    let found = sqlite.prepare_cached(sql).and_then(|mut found| found.query_one([&table.name], |row| row.get(0)));
    found.map_err(failed)
}

/// See [`raise_sequence`](crate::store::Writer::raise_sequence).
pub(super) fn raise_sequence(sqlite: &Connection, table: &TableSchema, to: i64) -> Result<()> {
    if !table.autoincrement || sequence(sqlite, table)?.is_some_and(|now| now >= to) {
        return Ok(());
    }
    let run = |sql: &str| sqlite.prepare_cached(sql).and_then(|mut raise| raise.execute((&table.name, to))).map_err(failed);
    if run("UPDATE sqlite_sequence SET seq = ?2 WHERE name = ?1")? == 0 {
        run("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)")?;
    }
    Ok(())
}

pub(super) fn numbers(sqlite: &Connection) -> Result<FileNumbers> {
    let number = |pragma: &str| {
        sqlite.prepare_cached(pragma).and_then(|mut found| found.query_one([], |row| row.get(0))).map_err(failed)
    };
    Ok(FileNumbers { user_version: number("PRAGMA user_version")?, application_id: number("PRAGMA application_id")? })
}

pub(super) fn set_numbers(sqlite: &Connection, numbers: FileNumbers) -> Result<()> {
    let FileNumbers { user_version, application_id } = numbers;
    let sql = format!("PRAGMA user_version = {user_version}; PRAGMA application_id = {application_id}");
    sqlite.execute_batch(&sql).map_err(failed)
}

/// Whether there is nothing but rowferry's own, and these tables with their indexes.
pub(super) fn has_only(sqlite: &Connection, tables: &[&str]) -> Result<bool> {
    let sql = "SELECT type, tbl_name FROM sqlite_schema
               WHERE tbl_name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name NOT LIKE 'rowferry\\_%' ESCAPE '\\'";
    let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let known: std::collections::HashSet<String> = tables.iter().map(|name| name.to_ascii_lowercase()).collect();
    while let Some(row) = rows.next().map_err(failed)? {
        let kind = row.get_ref(0).map_err(failed)?.as_bytes().unwrap_or_default();
        let name = row.get_ref(1).map_err(failed)?.as_str().map(str::to_ascii_lowercase);
        if !matches!(kind, b"table" | b"index") || !name.is_ok_and(|name| known.contains(&name)) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::tests::schema;
    use super::*;

    #[test]
    fn a_sequence_is_raised_and_never_lowered() {
        let sqlite = Connection::open_in_memory().unwrap();
        sqlite
            .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE u(id INTEGER PRIMARY KEY)")
            .unwrap();
        let (t, u) = (schema(&sqlite, "t").unwrap(), schema(&sqlite, "u").unwrap());
        assert_eq!((sequence(&sqlite, &t).unwrap(), sequence(&sqlite, &u).unwrap()), (None, None));
        for (to, now) in [(5, 5), (3, 5), (7, 7), (i64::MIN, 7)] {
            raise_sequence(&sqlite, &t, to).unwrap();
            assert_eq!(sequence(&sqlite, &t).unwrap(), Some(now));
        }
        raise_sequence(&sqlite, &u, 5).unwrap();
        sqlite.execute_batch("INSERT INTO t DEFAULT VALUES; INSERT INTO u DEFAULT VALUES").unwrap();
        let rows: String =
            sqlite.query_one("SELECT (SELECT id FROM t) || ' ' || (SELECT id FROM u)", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, "8 1");
        sqlite.execute_batch("UPDATE sqlite_sequence SET seq = 'many'").unwrap();
        raise_sequence(&sqlite, &t, 9).unwrap();
        assert_eq!(sequence(&sqlite, &t).unwrap(), Some(9));
    }

    #[test]
    fn what_is_in_a_file_is_known() {
        let has_only = |sql: &str, tables: &[&str]| {
            let sqlite = Connection::open_in_memory().unwrap();
            sqlite
                .execute_batch(
                    "CREATE TABLE rowferry_x(a INTEGER PRIMARY KEY AUTOINCREMENT); CREATE INDEX x ON rowferry_x(a)",
                )
                .unwrap();
            sqlite.execute_batch(sql).unwrap();
            has_only(&sqlite, tables).unwrap()
        };
        assert!(has_only("", &[]));
        assert!(has_only("CREATE TABLE T(a UNIQUE); CREATE INDEX i ON t(a)", &["t", "u"]));
        assert!(!has_only("CREATE TABLE t(a)", &["u"]));
        assert!(!has_only("CREATE TABLE t(a); CREATE VIEW v AS SELECT 1", &["t", "v"]));
        assert!(!has_only("CREATE TABLE t(a); CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END", &["t"]));
        let sqlite = Connection::open_in_memory().unwrap();
        let set = FileNumbers { user_version: -27, application_id: 1_196_444_487 };
        set_numbers(&sqlite, set).unwrap();
        assert_eq!(numbers(&sqlite).unwrap(), set);
    }
}
