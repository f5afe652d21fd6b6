//! Foreign keys that SQLite cannot check: what they refer to is missing, or not unique. Applications that leave foreign keys unchecked
//! never notice.
//!
//! SQLite says so when it prepares a statement that would have to check one, and not of others: one row may be added to the parent, but not
//! two by one statement. So rows of such tables are written one by one, and each one that SQLite refuses fails with what is wrong.

use super::dialect::{failed, message, quote};
use super::keys::is_unique;
use super::pool::Connection;
use crate::domain::schema::{ForeignKey, TableSchema};
use crate::error::Result;

/// A foreign key that SQLite cannot check.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    /// The table that has it.
    child: String,
    key: ForeignKey,
    why: String,
}

impl Fault {
    /// What is wrong, for a record of this table, and which of its columns it is about.
    fn told(&self, table: &TableSchema) -> (Option<String>, String) {
        let ForeignKey { columns, parent, parent_columns, .. } = &self.key;
        let to = if parent_columns.is_empty() { parent.clone() } else { format!("{parent}({})", parent_columns.join(", ")) };
        let (of, about) = match table.names.same(&self.child, &table.name) {
            true => (String::new(), columns.first()),
            false => (format!(" of {}", self.child), parent_columns.first()),
        };
        let message = format!("foreign key ({}){of} refers to {to}, {}", columns.join(", "), self.why);
        (about.filter(|column| table.column(column).is_some()).cloned(), message)
    }

    /// Whether this is what SQLite says.
    fn is_behind(&self, message: &str) -> bool {
        let mismatch = format!("foreign key mismatch - {} referencing {}", quote(&self.child), quote(&self.key.parent));
        let missing = format!("no such table: main.{}", self.key.parent);
        message.eq_ignore_ascii_case(&mismatch) || message.eq_ignore_ascii_case(&missing)
    }
}

/// Whether a table has a foreign key that SQLite cannot check, or is referred to by one.
pub(super) fn has_any(connection: &Connection, table: &TableSchema) -> Result<bool> {
    Ok(!find(connection, table)?.is_empty())
}

/// Why a statement that writes to this table could not be prepared, if it is for such a foreign key: the column of the table that it is
/// about, and a sentence.
pub(super) fn behind(
    connection: &Connection,
    table: &TableSchema,
    error: &rusqlite::Error,
) -> Result<Option<(Option<String>, String)>> {
    let message = message(error);
    let faults = find(connection, table)?;
    Ok(faults.iter().find(|fault| fault.is_behind(&message)).map(|fault| fault.told(table)))
}

/// What is wrong with the foreign keys of this table, a sentence for each.
pub(super) fn of_own_keys(connection: &Connection, table: &TableSchema) -> Result<Vec<String>> {
    Ok(own(connection, table)?.iter().map(|fault| fault.told(table).1).collect())
}

fn own(connection: &Connection, table: &TableSchema) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for key in &table.foreign_keys {
        let parent = match table.names.same(&key.parent, &table.name) {
            true => Some(table.clone()),
            false => connection.schema(&key.parent)?,
        };
        if let Some(why) = fault_of(connection, key, parent.as_ref())? {
            faults.push(Fault { child: table.name.clone(), key: key.clone(), why });
        }
    }
    Ok(faults)
}

fn find(connection: &Connection, table: &TableSchema) -> Result<Vec<Fault>> {
    let mut faults = own(connection, table)?;
    let children = connection.overview()?.children(&table.name);
    for child in children.iter().filter(|child| !table.names.same(child, &table.name)) {
        let Some(child) = connection.schema(child)? else { continue };
        for key in child.foreign_keys.iter().filter(|key| table.names.same(&key.parent, &table.name)) {
            if let Some(why) = fault_of(connection, key, Some(table))? {
                faults.push(Fault { child: child.name.clone(), key: key.clone(), why });
            }
        }
    }
    Ok(faults)
}

/// What is wrong with a reference to this parent, if anything.
fn fault_of(connection: &Connection, key: &ForeignKey, parent: Option<&TableSchema>) -> Result<Option<String>> {
    let Some(parent) = parent else {
        let sql = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = lower(?1))";
        let is_there =
            connection.sqlite.prepare_cached(sql).and_then(|mut found| found.query_one([&key.parent], |row| row.get(0)));
        return Ok(Some(match is_there.map_err(failed)? {
            true => "which is not an ordinary table".to_owned(),
            false => "and there is no such table".to_owned(),
        }));
    };
    let missing = key.parent_columns.iter().find(|column| parent.column(column).is_none());
    Ok(match missing {
        Some(column) => Some(format!("and that table has no column {column}")),
        None if key.parent_columns.is_empty() => Some("which has no primary key".to_owned()),
        None if key.parent_columns.len() != key.columns.len() => {
            Some(format!("whose primary key has {} columns", key.parent_columns.len()))
        }
        None if !is_unique(&key.parent_columns, parent) => Some("which is not unique".to_owned()),
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SQLite says of a statement on a table, and what is made of it.
    fn told(tables: &str, table: &str, statement: &str) -> (Option<String>, String) {
        let sqlite = rusqlite::Connection::open_in_memory().unwrap();
        sqlite.execute_batch(&format!("PRAGMA foreign_keys = ON; {tables}")).unwrap();
        let connection = Connection::new(sqlite, std::sync::Arc::default()).unwrap();
        let schema = connection.schema(table).unwrap().unwrap();
        assert!(has_any(&connection, &schema).unwrap(), "{tables}");
        let error = connection.sqlite.execute(statement, []).unwrap_err();
        behind(&connection, &schema, &error).unwrap().unwrap_or_else(|| panic!("{error}"))
    }

    #[test]
    fn says_of_each_fault_what_is_wrong() {
        let child = "INSERT INTO c(r) VALUES (1)";
        for (tables, message) in [
            ("CREATE TABLE p(x); CREATE TABLE c(r REFERENCES p(x))", "foreign key (r) refers to p(x), which is not unique"),
            (
                "CREATE TABLE p(x UNIQUE); CREATE TABLE c(r REFERENCES p(y))",
                "foreign key (r) refers to p(y), and that table has no column y",
            ),
            ("CREATE TABLE p(x); CREATE TABLE c(r REFERENCES p)", "foreign key (r) refers to p, which has no primary key"),
            (
                "CREATE TABLE p(x, y, PRIMARY KEY (x, y)); CREATE TABLE c(r REFERENCES p)",
                "foreign key (r) refers to p(x, y), whose primary key has 2 columns",
            ),
            (
                "CREATE TABLE c(r REFERENCES \"the \"\"old\"(x))",
                "foreign key (r) refers to the \"old(x), and there is no such table",
            ),
            (
                "CREATE VIEW v AS SELECT 1 AS x; CREATE TABLE c(r REFERENCES v(x))",
                "foreign key (r) refers to v(x), which is not an ordinary table",
            ),
            (
                "CREATE TABLE p(x); CREATE UNIQUE INDEX i ON p(x) WHERE x > 0; CREATE TABLE c(r REFERENCES p(x))",
                "foreign key (r) refers to p(x), which is not unique",
            ),
            ("CREATE TABLE c(r REFERENCES c(q), q)", "foreign key (r) refers to c(q), which is not unique"),
        ] {
            assert_eq!(told(tables, "c", child), (Some("r".to_owned()), message.to_owned()), "{tables}");
        }
        let tables = "CREATE TABLE p(id INTEGER PRIMARY KEY, x); CREATE TABLE c(r REFERENCES p(x))";
        let message = "foreign key (r) of c refers to p(x), which is not unique".to_owned();
        assert_eq!(told(tables, "p", "INSERT INTO p(x) VALUES (1), (2)"), (Some("x".to_owned()), message));
    }

    #[test]
    fn whole_references_are_no_faults() {
        let sqlite = rusqlite::Connection::open_in_memory().unwrap();
        let tables = "CREATE TABLE p(id INTEGER PRIMARY KEY, a UNIQUE, b, c, UNIQUE (c, b));
            CREATE TABLE c(r REFERENCES P, s REFERENCES p(A), t, u, FOREIGN KEY (t, u) REFERENCES p(b, c));";
        sqlite.execute_batch(tables).unwrap();
        let connection = Connection::new(sqlite, std::sync::Arc::default()).unwrap();
        for table in ["p", "c"] {
            assert!(!has_any(&connection, &connection.schema(table).unwrap().unwrap()).unwrap());
        }
    }
}
