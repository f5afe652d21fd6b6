//! SQLite's SQL and SQLite's errors.

use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::types::ValueRef as SqliteRef;

use crate::domain::record::Reason;
use crate::domain::value::{Value, ValueRef};
use crate::error::{Error, ErrorKind};

/// A name as an identifier: in double quotes, doubled inside.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names as a list of identifiers.
pub(super) fn quote_all<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

/// SQLite's value as ours.
pub(super) fn borrowed(value: SqliteRef<'_>) -> ValueRef<'_> {
    match value {
        SqliteRef::Null => ValueRef::Null,
        SqliteRef::Integer(v) => ValueRef::Integer(v),
        SqliteRef::Real(v) => ValueRef::Real(v),
        SqliteRef::Text(v) => ValueRef::Text(v),
        SqliteRef::Blob(v) => ValueRef::Blob(v),
    }
}

/// Our value as a parameter that borrows it.
pub(super) struct Parameter<'v>(pub(super) ValueRef<'v>);

impl rusqlite::ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self.0 {
            ValueRef::Null => SqliteRef::Null,
            ValueRef::Integer(v) => SqliteRef::Integer(v),
            ValueRef::Real(v) => SqliteRef::Real(v),
            ValueRef::Text(v) => SqliteRef::Text(v),
            ValueRef::Blob(v) => SqliteRef::Blob(v),
        }))
    }
}

/// Borrowed values as parameters.
pub(super) fn bound<'v>(values: impl IntoIterator<Item = ValueRef<'v>>) -> impl rusqlite::Params {
    rusqlite::params_from_iter(values.into_iter().map(Parameter).collect::<Vec<_>>())
}

/// Values as parameters.
pub(super) fn parameters(values: &[Value]) -> impl rusqlite::Params + '_ {
    rusqlite::params_from_iter(values.iter().map(|value| Parameter(value.as_ref())))
}

/// The error of opening this file.
pub(super) fn opening(path: &Path, error: rusqlite::Error) -> Error {
    let error = failed(error).while_doing(format_args!("cannot open {}", path.display()));
    match (error.kind(), error.hint()) {
        (ErrorKind::Database, None) => error.with_hint("Check the path and the file's permissions."),
        _ => error,
    }
}

/// What to do about a file that is damaged.
pub(super) const DAMAGED: &str = "The file is damaged: restore it from a backup, or try SQLite's .recover command.";

/// What to do about what SQLite does not know.
pub(super) const REGISTER: &str =
    "Only the program that made the table has this: register it with SiteBuilder::on_connection.";

/// What to do about a schema that calls what is not known to be harmless.
const UNSAFE: &str = "The schema (a trigger, view, default, check, index or generated column) calls what is not known to be harmless: \
    something of SQLite's own, such as pragma_table_info, or what the program registered (on_connection). Register a function of your \
    own with SQLITE_INNOCUOUS, or, if you trust all that wrote this file, say so when the site is opened: \
    `SiteBuilder::trust_schema`.";

/// The collation that a statement lacks, by SQLite's message.
pub(super) fn missing_collation(message: &str) -> Option<&str> {
    message.strip_prefix("no such collation sequence: ")
}

/// How the message begins when rowferry's own tables are not there, though they were when the file was opened.
const LOST_STATE: &str = "no such table: rowferry_";
const LOST: &str = "rowferry's tables were deleted, or another database was written into the file while it was open: put the right one \
    there, and restart the program that has it open.";

/// Whether the schema calls what is not known to be harmless. Of some places SQLite says so when it reads the schema.
fn is_unsafe_use(message: &str) -> bool {
    let reading = message.strip_prefix("malformed database schema (").and_then(|rest| rest.split_once(") - "));
    reading.map_or(message, |(_, why)| why).starts_with("unsafe use of ")
}

/// What SQLite says. The error of a statement that makes no sense also holds the statement, and that maybe a secret: it is left out.
/// That is a variant that not every version of rusqlite has, so that it cannot be named here.
pub(super) fn message(error: &rusqlite::Error) -> String {
    if let rusqlite::Error::SqliteFailure(_, Some(message)) = error {
        return message.clone();
    }
    let (shown, fields) = (error.to_string(), format!("{error:?}"));
    let mut ends = shown.match_indices(" in ").map(|(at, _)| &shown[..at]);
    ends.find(|text| fields.contains(&format!("msg: {text:?}, sql: "))).unwrap_or(&shown).to_owned()
}

/// SQLite's error as ours.
pub(in crate::store) fn failed(error: rusqlite::Error) -> Error {
    let (kind, hint) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Locked, Some("Another program is writing to this database: wait for it to finish, then try again."))
        }
        Some(ErrorCode::ReadOnly) => {
            (ErrorKind::ReadOnly, Some("rowferry keeps its state in the database: make the file and its folder writable."))
        }
        Some(ErrorCode::DatabaseCorrupt) => (ErrorKind::Corrupt, Some(DAMAGED)),
        Some(ErrorCode::NotADatabase) => {
            (ErrorKind::NotADatabase, Some("Check the path: the file is not a SQLite database, or it is encrypted."))
        }
        Some(ErrorCode::DiskFull) => (ErrorKind::DiskFull, Some("Free some room; nothing half-done was kept.")),
        Some(ErrorCode::CannotOpen) => {
            (ErrorKind::CannotOpen, Some("Check that the folder exists, and that you may read and write there."))
        }
        Some(ErrorCode::SystemIoFailure) => {
            (ErrorKind::Io, Some("The disk or its file system failed: see the system's log; nothing half-done was kept."))
        }
        Some(ErrorCode::TooBig) => (ErrorKind::TooLarge, None),
        _ => (ErrorKind::Database, None),
    };
    let text = message(&error);
    let foreign = ["no such function", "unknown function"].iter().any(|what| text.starts_with(what));
    let (kind, hint) = match missing_collation(&text) {
        Some(_) => (ErrorKind::UnknownCollation, Some(REGISTER)),
        None if text.starts_with(LOST_STATE) => (kind, hint.or(Some(LOST))),
        None if is_unsafe_use(&text) => (ErrorKind::Database, Some(UNSAFE)),
        None => (kind, hint.or(foreign.then_some(REGISTER))),
    };
    let error = Error::new(kind, text).with_source(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// `SQLITE_CONSTRAINT_DATATYPE`, which came with STRICT tables: the bindings of rusqlite before 0.38 do not have it.
const DATATYPE: i32 = rusqlite::ffi::SQLITE_CONSTRAINT | (12 << 8);

/// Why SQLite refused one row, when it refused it for the row's own sake; `None` for a failure of another kind.
pub(super) fn refusal(error: &rusqlite::Error) -> Option<Reason> {
    use rusqlite::ffi;
    let rusqlite::Error::SqliteFailure(failure, message) = error else {
        return None;
    };
    // SQLite carries out a foreign key's actions, RESTRICT among them, as triggers.
    let is_restricted = || message.as_deref() == Some("FOREIGN KEY constraint failed");
    match failure.code {
        ErrorCode::ConstraintViolation => Some(match failure.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
                Reason::UniqueConflict
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Reason::ForeignKey,
            ffi::SQLITE_CONSTRAINT_NOTNULL => Reason::NotNull,
            ffi::SQLITE_CONSTRAINT_CHECK => Reason::Check,
            ffi::SQLITE_CONSTRAINT_TRIGGER if is_restricted() => Reason::ForeignKey,
            ffi::SQLITE_CONSTRAINT_TRIGGER => Reason::Trigger,
            DATATYPE => Reason::WrongType,
            _ => Reason::Refused,
        }),
        ErrorCode::TypeMismatch => Some(Reason::WrongType),
        ErrorCode::TooBig => Some(Reason::TooLarge),
        _ => None,
    }
}

/// The failure of a statement that was prepared and then run. A function in a CHECK, an index or a generated column that fails
/// (`json_extract` of malformed JSON) refuses the row as a constraint does, and undoes the statement, but SQLite says no more
/// of it than of a statement that makes no sense.
pub(super) fn of_run(error: rusqlite::Error) -> rusqlite::Error {
    use rusqlite::ffi;
    match error {
        rusqlite::Error::SqliteFailure(failure, message) if failure.extended_code == ffi::SQLITE_ERROR => {
            rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CONSTRAINT_FUNCTION), message)
        }
        error => error,
    }
}

/// The column that a constraint's message names: `UNIQUE constraint failed: t.email`.
pub(super) fn column_of(message: &str, table: &str) -> Option<String> {
    let (_, names) = message.split_once(": ")?;
    let first = names.split(", ").next()?;
    first.strip_prefix(table)?.strip_prefix('.').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        assert_eq!(quote("order"), "\"order\"");
        assert_eq!(quote("a\"b; --"), "\"a\"\"b; --\"");
        assert_eq!(quote_all(["a", "b c"]), "\"a\", \"b c\"");
    }

    #[test]
    fn what_sqlite_says_is_told_without_the_statement() {
        let sqlite = rusqlite::Connection::open_in_memory().unwrap();
        sqlite.execute_batch("CREATE TABLE t(a UNIQUE)").unwrap();
        let said = |sql: &str| message(&sqlite.execute_batch(sql).unwrap_err());
        assert_eq!(said("SELECT \"one in two\"('secret in all')"), "no such function: one in two");
        assert_eq!(said("SELECT 'secret' FROM t WHERE \"it's \\ in\n\u{1}\".b"), "no such column: it's \\ in\n\u{1}.b");
        assert_eq!(said("INSERT INTO t VALUES (1), (1)"), "UNIQUE constraint failed: t.a");
        assert_eq!(message(&rusqlite::Error::InvalidQuery), rusqlite::Error::InvalidQuery.to_string());
    }

    #[test]
    fn a_constraint_names_its_column() {
        assert_eq!(column_of("UNIQUE constraint failed: users.email", "users"), Some("email".into()));
        assert_eq!(column_of("UNIQUE constraint failed: a.b.x, a.b.y", "a.b"), Some("x".into()));
        assert_eq!(column_of("FOREIGN KEY constraint failed", "users"), None);
    }

    #[test]
    fn a_refusal_by_a_foreign_key_is_told_from_one_by_a_trigger() {
        let sqlite = rusqlite::Connection::open_in_memory().unwrap();
        let tables = "PRAGMA foreign_keys = ON; CREATE TABLE lang(id INTEGER PRIMARY KEY, code TEXT UNIQUE);
            CREATE TABLE book(lang TEXT REFERENCES lang(code) ON UPDATE RESTRICT);
            CREATE TABLE word(lang TEXT REFERENCES lang(code));
            CREATE TRIGGER no_x BEFORE UPDATE ON lang WHEN NEW.code = 'x' BEGIN SELECT RAISE(ABORT, 'no x'); END;
            INSERT INTO lang VALUES (1, 'en'), (2, 'de'), (3, 'fr'); INSERT INTO book VALUES ('en');
            INSERT INTO word VALUES ('de');";
        sqlite.execute_batch(tables).unwrap();
        let refused = |sql: &str| refusal(&sqlite.execute(sql, []).unwrap_err());
        assert_eq!(refused("UPDATE lang SET code = 'eng' WHERE id = 1"), Some(Reason::ForeignKey));
        assert_eq!(refused("UPDATE lang SET code = 'deu' WHERE id = 2"), Some(Reason::ForeignKey));
        assert_eq!(refused("UPDATE lang SET code = 'x' WHERE id = 3"), Some(Reason::Trigger));
    }

    #[test]
    fn values_are_ordered_as_sqlite_orders_them() {
        let sqlite = rusqlite::Connection::open_in_memory().unwrap();
        let values = [
            ValueRef::Null,
            ValueRef::Real(f64::NEG_INFINITY),
            ValueRef::Integer(i64::MIN),
            ValueRef::Real(-9.3e18),
            ValueRef::Real(-1.5),
            ValueRef::Integer(-1),
            ValueRef::Integer(0),
            ValueRef::Real(-0.0),
            ValueRef::Real(0.5),
            ValueRef::Integer(1),
            ValueRef::Real(1.0),
            ValueRef::Integer(9_007_199_254_740_993),
            ValueRef::Real(9_007_199_254_740_992.0),
            ValueRef::Integer(i64::MAX),
            ValueRef::Real(9_223_372_036_854_775_808.0),
            ValueRef::Real(f64::INFINITY),
            ValueRef::Text(b""),
            ValueRef::Text(b"A"),
            ValueRef::Text(b"a\0b"),
            ValueRef::Text("é".as_bytes()),
            ValueRef::Text(b"\xff"),
            ValueRef::Blob(b""),
            ValueRef::Blob(b"A"),
        ];
        for left in values {
            for right in values {
                if left.is_null() || right.is_null() {
                    continue;
                }
                let sql = "SELECT CASE WHEN ?1 < ?2 THEN -1 WHEN ?1 > ?2 THEN 1 ELSE 0 END";
                let expected: i64 = sqlite.query_row(sql, bound([left, right]), |row| row.get(0)).unwrap();
                assert_eq!(left.order(right) as i64, expected, "{left:?} beside {right:?}");
            }
        }
    }
}
