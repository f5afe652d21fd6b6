//! Looks a database file over and changes nothing in it: what SQLite itself says of it, and of its references and tables.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::OpenFlags;

use super::dialect::{self, failed, quote};
use super::keys::collations_of;
use super::pool::Connection;
use super::setup::Setup;
use super::{database_file::DatabaseFile, faults, stand_in, write};
use crate::domain::finding::{Finding, FindingLevel, IntegrityCheck};
use crate::domain::schema::TableSchema;
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::table::key_of;
use crate::store::Sql;

/// How many findings of one kind are told one by one.
const MOST: usize = 20;

/// How many rows of a table that refer to nothing are counted.
const MOST_ROWS: usize = 1_000;

/// The first version of SQLite without the fault that can damage a file in WAL mode: two programs that write and move the log into the
/// database at the same moment.
const SAFE_VERSION: (i32, &str) = (3_051_003, "3.51.3");

/// How long the file's lock is waited for.
const LOCK_TIME: Duration = Duration::from_secs(5);

/// A database file that is open to be looked at.
pub(crate) struct Examination {
    connection: Connection,
    /// As it was given.
    given: PathBuf,
    /// Without symbolic links.
    path: PathBuf,
}

impl Examination {
    /// Opens a file that is there.
    ///
    /// A file in WAL mode whose log is empty has none beside it. It is opened for writing then, though nothing is written: such a
    /// connection takes the log away again that SQLite makes to read the file. Otherwise it is opened to be read only, so that no log is
    /// moved into the database, and no interrupted transaction is undone.
    pub(crate) fn open(path: &Path, setup: &Setup) -> Result<Self> {
        let opening = |error| dialect::opening(path, error);
        super::refuse_what_is_no_file(path)?;
        path.metadata().map_err(|error| {
            Error::new(ErrorKind::CannotOpen, format!("cannot open the database {}: {error}", path.display()))
                .with_hint("Check the path.")
                .with_source(error)
        })?;
        let real = DatabaseFile::opened(path).path().to_owned();
        let is_beside = |end: &str| super::beside(&real, end).exists();
        let has_journal = is_beside("-journal");
        let flags = match has_journal || is_beside("-wal") {
            true => OpenFlags::SQLITE_OPEN_READ_ONLY,
            false => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let sqlite = rusqlite::Connection::open_with_flags(&real, flags).map_err(opening)?;
        sqlite.busy_timeout(LOCK_TIME).map_err(opening)?;
        setup.run(&sqlite, path)?;
        setup.harden(&sqlite).map_err(opening)?;
        sqlite.pragma_update(None, "query_only", true).map_err(opening)?;
        sqlite.busy_timeout(LOCK_TIME).map_err(opening)?;
        let read = sqlite.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        read.map_err(opening).map_err(|error| match has_journal {
            true => error.with_hint(
                "A transaction in it was interrupted: open it with the program that wrote it, which undoes that.",
            ),
            false => error,
        })?;
        let connection = Connection::new(sqlite, Arc::default()).map_err(opening)?;
        Ok(Examination { connection, given: path.to_owned(), path: real })
    }

    /// The file itself, without symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the key of a site in it is kept when the host gives none, and where rowferry 0.1.0 kept it, if that is another place.
    pub(crate) fn key_paths(&self) -> (PathBuf, Option<PathBuf>) {
        (super::beside(&self.path, super::KEY_END), super::older_key_path(&self.given, &self.path))
    }

    /// What is found in the file. Tables of these names are hidden on purpose.
    pub(crate) fn findings(&self, check: IntegrityCheck, is_hidden: &dyn Fn(&str) -> bool) -> Vec<Finding> {
        let mut found = vec![version(rusqlite::version_number(), rusqlite::version())];
        let mut look = |code, looked: Result<Vec<Finding>>| match looked {
            Ok(more) => found.extend(more),
            Err(error) => {
                let hint = error.hint().unwrap_or("See SQLite's documentation of this error.").to_owned();
                found.push(match error.kind() {
                    ErrorKind::UnknownCollation => {
                        Finding::warning(code, format!("this could not be looked at: {}", error.message()), hint)
                    }
                    _ => Finding::problem(code, format!("this could not be looked at: {}", error.message()), hint),
                });
            }
        };
        look("journal_mode", self.journal_mode());
        look("integrity", self.integrity(check));
        look("foreign_keys", self.foreign_keys());
        look("references", self.references());
        look("collations", self.collations());
        look("modules", self.modules());
        look("tables", self.tables(is_hidden));
        if found.iter().any(|finding| finding.hint.as_deref() == Some(dialect::DAMAGED)) {
            found.iter_mut().filter(|finding| finding.code == "references" && finding.level == FindingLevel::Ok).for_each(
                |finding| {
                    let what = "whether all rows are there that rows refer to cannot be told of a damaged file";
                    *finding = Finding::warning("references", what, "Mend the file first, and look again.");
                },
            );
        }
        found
    }

    fn journal_mode(&self) -> Result<Vec<Finding>> {
        const CODE: &str = "journal_mode";
        let mode: String = self.connection.sqlite.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
        Ok(vec![match mode.as_str() {
            "wal" => Finding::ok(CODE, "the file is in WAL mode"),
            mode => Finding::ok(
                CODE,
                format!("the file is in the journal mode {mode}; a site that is opened switches it to WAL"),
            ),
        }])
    }

    fn integrity(&self, check: IntegrityCheck) -> Result<Vec<Finding>> {
        const CODE: &str = "integrity";
        let (check, name) = match check {
            IntegrityCheck::Full => ("integrity_check", "integrity check"),
            IntegrityCheck::Quick => ("quick_check", "quick check"),
        };
        let sql = format!("PRAGMA {check}({MOST})");
        let mut statement = self.connection.sqlite.prepare(&sql).map_err(failed)?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        let lines = lines.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?;
        if lines == ["ok"] {
            return Ok(vec![Finding::ok(CODE, format!("SQLite's {name} found nothing wrong"))]);
        }
        Ok(lines.iter().map(|line| fault(name, line)).collect())
    }

    /// Foreign keys that SQLite cannot check, because of what they name.
    fn foreign_keys(&self) -> Result<Vec<Finding>> {
        const CODE: &str = "foreign_keys";
        const HINT: &str = "SQLite refuses rows of this table while foreign keys are on, which they are in a pull: make the table or the \
            unique index that it names, or make the table again without this foreign key.";
        let mut found = Vec::new();
        let mut keys = 0;
        for table in self.schemas()? {
            keys += table.foreign_keys.len();
            let faults = faults::of_own_keys(&self.connection, &table)?;
            found.extend(faults.into_iter().map(|why| Finding::problem(CODE, format!("{:?}: {why}", table.name), HINT)));
        }
        if found.is_empty() {
            found.push(Finding::ok(CODE, format!("no foreign key of {keys} names what is not there")));
        }
        Ok(bounded(found, CODE))
    }

    /// Rows that refer to rows which are not there. Tables with foreign keys that cannot be checked are left out.
    fn references(&self) -> Result<Vec<Finding>> {
        const CODE: &str = "references";
        const HINT: &str = "Such a row fails in a pull (`foreign_key`), unless the pull keeps dangling rows: add the rows that are \
            missing, or delete these.";
        let mut found = Vec::new();
        for table in self.schemas()? {
            if table.foreign_keys.is_empty() || !faults::of_own_keys(&self.connection, &table)?.is_empty() {
                continue;
            }
            let sql = format!("PRAGMA foreign_key_check({})", quote(&table.name));
            let mut statement = self.connection.sqlite.prepare(&sql).map_err(failed)?;
            let parents = statement.query_map([], |row| row.get::<_, String>(2)).map_err(failed)?;
            let parents = parents.take(MOST_ROWS).collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?;
            if let Some(parent) = parents.first() {
                let count = match parents.len() {
                    MOST_ROWS => format!("at least {MOST_ROWS}"),
                    count => count.to_string(),
                };
                let what = format!(
                    "{count} references from {:?} lead to rows that are not there, of {parent:?} for example",
                    table.name
                );
                found.push(Finding::problem(CODE, what, HINT));
            }
        }
        if found.is_empty() {
            found.push(Finding::ok(CODE, "no row refers to a row that is not there"));
        }
        Ok(bounded(found, CODE))
    }

    fn collations(&self) -> Result<Vec<Finding>> {
        const CODE: &str = "collations";
        let mut found = Vec::new();
        for table in self.schemas()? {
            let order = key_of(&table)?.map_or(Vec::new(), |(columns, _)| columns);
            let in_key = self.missing(&table, &order)?;
            let all: Vec<usize> = (0..table.columns.len()).collect();
            for collation in self.missing(&table, &all)? {
                let told = format!("{:?} has a column of the collation {collation:?}, which is not registered", table.name);
                found.push(match in_key.contains(&collation) {
                    true => Finding::warning(
                        CODE,
                        format!("{told}; its key is ordered by it, so that it is not offered"),
                        dialect::REGISTER,
                    ),
                    false => Finding::warning(CODE, told, dialect::REGISTER),
                });
            }
        }
        if found.is_empty() {
            found.push(Finding::ok(CODE, "all collations are known"));
        }
        Ok(bounded(found, CODE))
    }

    /// The collations of these columns that are not registered, each once.
    fn missing(&self, table: &TableSchema, columns: &[usize]) -> Result<Vec<String>> {
        let mut missing: Vec<String> = Vec::new();
        for (_, collation) in collations_of(table, columns) {
            if let Some(collation) = collation
                && !missing.contains(&collation)
                && !stand_in::is_registered(&self.connection.sqlite, &collation)?
            {
                missing.push(collation);
            }
        }
        Ok(missing)
    }

    fn modules(&self) -> Result<Vec<Finding>> {
        const CODE: &str = "modules";
        let overview = self.connection.overview()?;
        let told = overview.unknown_modules().map(|(table, module)| {
            let message = format!(
                "the virtual table {table:?} is of the module {module:?}, which is not registered: tables named {:?} are taken for part of it",
                format!("{table}_...")
            );
            Finding::warning(CODE, message, dialect::REGISTER)
        });
        let mut found: Vec<Finding> = told.collect();
        if found.is_empty() {
            found.push(Finding::ok(CODE, "all modules of virtual tables are known"));
        }
        Ok(bounded(found, CODE))
    }

    /// What is offered to other sites, and what is not.
    fn tables(&self, is_hidden: &dyn Fn(&str) -> bool) -> Result<Vec<Finding>> {
        const CODE: &str = "tables";
        let overview = self.connection.overview()?;
        let (hidden, offered): (Vec<String>, Vec<String>) = overview.names().into_iter().partition(|name| is_hidden(name));
        let mut found = vec![Finding::ok(CODE, format!("tables that can be offered: {}", offered.len()))];
        if !hidden.is_empty() {
            found.push(Finding::ok(CODE, format!("hidden by the program: {}", hidden.join(", "))));
        }
        let mut beside = overview.not_copied(&self.connection.sqlite)?;
        beside.checks.clear();
        beside.triggers.clear();
        for name in std::mem::take(&mut beside.not_utf8) {
            let what = format!("{name:?} is not offered: its name, or a name or default in it, is no UTF-8");
            found.push(Finding::warning(CODE, what, "Rename what is named so."));
        }
        if !beside.is_empty() {
            found.push(Finding::ok(CODE, format!("not offered, because only rows of ordinary tables are: {beside}")));
        }
        Ok(bounded(found, CODE))
    }

    fn schemas(&self) -> Result<Vec<TableSchema>> {
        let names = self.connection.overview()?.names();
        let schemas = names.iter().map(|name| self.connection.schema(name).transpose());
        schemas.flatten().collect()
    }
}

/// What is found about a file that could not be opened to be looked at, and its path without symbolic links.
///
/// # Errors
/// The same error, if it is no database, or nobody can tell.
pub(crate) fn unopened(path: &Path, error: Error) -> Result<(Vec<Finding>, PathBuf)> {
    use ErrorKind::{CannotOpen, Corrupt, Io, NotADatabase, ReadOnly};
    let is_of_the_file = matches!(error.kind(), CannotOpen | Corrupt | Io | NotADatabase | ReadOnly);
    match is_database(path) {
        Ok(true) if is_of_the_file => {}
        Err(why) if why.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(error.with_hint("Check that you may read the file."));
        }
        _ => return Err(error),
    }
    let hint = match error.kind() {
        NotADatabase => dialect::DAMAGED.to_owned(),
        _ => error.hint().unwrap_or(dialect::DAMAGED).to_owned(),
    };
    let unread = Finding::problem("integrity", format!("the file could not be read: {}", error.message()), hint);
    let found = vec![version(rusqlite::version_number(), rusqlite::version()), unread];
    Ok((found, DatabaseFile::opened(path).path().to_owned()))
}

/// Whether a file begins as a database does.
fn is_database(path: &Path) -> std::io::Result<bool> {
    const BEGINS: &[u8] = b"SQLite format 3\0";
    let mut begins = Vec::new();
    std::fs::File::open(path)?.take(BEGINS.len() as u64).read_to_end(&mut begins)?;
    Ok(begins == BEGINS)
}

impl Sql for Examination {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize> {
        write::execute(&self.connection.sqlite, sql, values)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        write::query(&self.connection.sqlite, sql, values)
    }
}

fn version(number: i32, name: &str) -> Finding {
    const CODE: &str = "sqlite_version";
    let (safe, safe_name) = SAFE_VERSION;
    match number < safe {
        true => Finding::problem(
            CODE,
            format!("SQLite {name} can damage a file in WAL mode when two programs write to it"),
            format!("Link SQLite {safe_name} or newer: the feature `bundled` brings one."),
        ),
        false => Finding::ok(CODE, format!("SQLite {name}; other programs that write here need {safe_name} or newer, too")),
    }
}

/// A line of SQLite's check. It also names rows that break constraints, which is no damage.
fn fault(check: &str, line: &str) -> Finding {
    let breaks = ["NULL value in ", "CHECK constraint failed in ", "non-", "TEXT value in ", "NUMERIC value in "];
    let is_row = breaks.iter().any(|start| line.starts_with(start)) && !line.contains("index");
    let hint = match is_row {
        true => "Rows like that fail in a pull: mend them.",
        false => dialect::DAMAGED,
    };
    Finding::problem("integrity", format!("SQLite's {check} says: {}", line.replace('\n', " ")), hint)
}

/// The first findings, and how many more there are.
fn bounded(mut found: Vec<Finding>, code: &'static str) -> Vec<Finding> {
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        found.push(Finding::warning(code, format!("{more} more like these"), "Mend these first, and look again."));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_of_sqlite_are_a_problem() {
        let level = |number| version(number, "3.x").level;
        assert_eq!(
            [level(3_051_002), level(3_051_003), level(3_054_001)],
            [FindingLevel::Problem, FindingLevel::Ok, FindingLevel::Ok]
        );
    }

    #[test]
    fn rows_that_break_constraints_are_no_damage() {
        let hint = |line: &str| fault("quick check", line).hint.unwrap();
        for line in ["NULL value in t.a", "CHECK constraint failed in t", "non-INTEGER value in t.a"] {
            assert!(hint(line).contains("mend them"), "{line}");
        }
        for line in [
            "non-unique entry in index i",
            "row 1 missing from index i",
            "Tree 2 page 2: btreeInitPage() returns error code 11",
        ] {
            assert!(hint(line).contains("backup"), "{line}");
        }
    }

    #[test]
    fn a_file_with_an_interrupted_transaction_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("a.db"), folder.path().join("copy.db"));
        let sqlite = rusqlite::Connection::open(&path).unwrap();
        let begun = "CREATE TABLE t(a); PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN;
            INSERT INTO t SELECT zeroblob(1000) FROM json_each('[1,2,3,4,5,6,7,8,9]'), json_each('[1,2,3,4,5,6,7,8,9]')";
        sqlite.execute_batch(begun).unwrap();
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(super::super::beside(&path, "-journal"), super::super::beside(&copy, "-journal")).unwrap();
        let before = std::fs::read(&copy).unwrap();
        let error = Examination::open(&copy, &Setup::default()).err().expect("it cannot be read");
        assert!(error.hint().unwrap().contains("interrupted"), "{error}");
        assert_eq!(std::fs::read(&copy).unwrap(), before);
        assert!(super::super::beside(&copy, "-journal").exists());
    }
}
