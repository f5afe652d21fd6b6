//! Brings rowferry's own tables up to date: numbered scripts, each run once. A [`Store`] does this when it is opened.

use time::OffsetDateTime;

use super::{Sql, Store};
use crate::clock;
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};

/// A step of the state from one version to the next.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// The version that it leads to, counted from 1.
    pub version: u32,
    /// Its SQL. A statement ends with a semicolon at the end of a line; a line that begins with `--` is a comment.
    pub sql: &'static str,
    /// What is done before, where SQL alone cannot say it.
    pub before: Option<fn(&mut dyn Sql) -> Result<()>>,
}

const fn script(version: u32, sql: &'static str) -> Script {
    Script { version, sql, before: None }
}

/// How state of any version comes to the newest one.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The steps, by their versions.
    pub scripts: &'static [Script],
    /// What all of them together make of a database without state, in the form of [`Script::sql`]: in a new database it is run in
    /// their place.
    pub whole: Option<&'static str>,
}

/// The schema for stores that speak SQLite's dialect.
pub const SQLITE: Schema = Schema { scripts: SCRIPTS, whole: Some(include_str!("../../schema/sqlite/whole.sql")) };

/// The schema of the PostgreSQL store: its first script makes what all those of SQLite make.
#[cfg(feature = "postgres")]
pub(crate) const POSTGRES: Schema = Schema { scripts: POSTGRES_SCRIPTS, whole: None };

#[cfg(feature = "postgres")]
const POSTGRES_SCRIPTS: &[Script] = &[
    script(1, include_str!("../../schema/postgres/0001_state.sql")),
    script(2, include_str!("../../schema/postgres/0002_verified.sql")),
    script(3, include_str!("../../schema/postgres/0003_undo.sql")),
];

const SCRIPTS: &[Script] = &[
    script(1, include_str!("../../schema/sqlite/0001_state.sql")),
    script(2, include_str!("../../schema/sqlite/0002_connections.sql")),
    script(3, include_str!("../../schema/sqlite/0003_resume.sql")),
    script(4, include_str!("../../schema/sqlite/0004_tickets.sql")),
    Script { before: Some(drop_old_stages), ..script(5, include_str!("../../schema/sqlite/0005_stages.sql")) },
    script(6, include_str!("../../schema/sqlite/0006_keys.sql")),
    script(7, include_str!("../../schema/sqlite/0007_moves.sql")),
    script(8, include_str!("../../schema/sqlite/0008_named_pulls.sql")),
    script(9, include_str!("../../schema/sqlite/0009_copies.sql")),
    script(10, include_str!("../../schema/sqlite/0010_guesses.sql")),
    script(11, include_str!("../../schema/sqlite/0011_ticket_scope.sql")),
    script(12, include_str!("../../schema/sqlite/0012_sessions_over.sql")),
    script(13, include_str!("../../schema/sqlite/0013_made.sql")),
    script(14, include_str!("../../schema/sqlite/0014_verified.sql")),
    script(15, include_str!("../../schema/sqlite/0015_undo.sql")),
];

/// Brings a store up to date, if it is not: its state is then there, although others may have opened it at the same time.
///
/// # Errors
/// [`NewerState`](ErrorKind::NewerState) when a newer rowferry has been here; what the store says otherwise.
pub fn store(store: &dyn Store, schema: Schema, now: OffsetDateTime) -> Result<()> {
    let mut current = false;
    let look = store.read_state(&mut |sql| {
        current = is_current(sql, schema);
        Ok(())
    });
    if look.is_ok() && current {
        return Ok(());
    }
    store.state(&mut |sql| run(sql, schema, now))
}

/// Whether the state is up to date: a look that needs no write lock and no write permission. Whatever keeps it from an answer, the
/// missing table of a new database above all, shows again in [`run`] if it is an error.
pub fn is_current(sql: &mut dyn Sql, schema: Schema) -> bool {
    done(sql).is_ok_and(|done| done == newest(schema.scripts))
}

/// The query for the tables whose names begin as those of rowferry's own tables do, sorted by name.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedSo(&'static str);

#[cfg(feature = "sqlite")]
pub(crate) const NAMED_SO_SQLITE: NamedSo =
    NamedSo("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'rowferry\\_%' ESCAPE '\\' ORDER BY name");

#[cfg(feature = "postgres")]
pub(crate) const NAMED_SO_POSTGRES: NamedSo = NamedSo(
    "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND starts_with(c.relname::text, 'rowferry_') ORDER BY c.relname",
);

/// The version of the state, and the newest that is known here; `None` where there is no state.
///
/// # Errors
/// What the store says.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn version(sql: &mut dyn Sql, schema: Schema, named_so: NamedSo) -> Result<Option<(i64, i64)>> {
    match tables_named_so(sql, named_so)?.iter().any(|table| table == "rowferry_migrations") {
        false => Ok(None),
        true => Ok(Some((done(sql)?, newest(schema.scripts)))),
    }
}

/// The names of the tables that the scripts of a schema make, and that stay.
#[cfg(feature = "postgres")]
pub(crate) fn made_by(schema: Schema) -> Vec<String> {
    let lines = schema.scripts.iter().flat_map(|script| script.sql.lines());
    let made = lines.filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split([' ', '(']).next().map(str::to_owned));
    made.chain(["rowferry_migrations".to_owned()]).collect()
}

/// The tables whose names begin as those of rowferry's own tables do, sorted by name; in a database that has nothing else, all are its own.
///
/// # Errors
/// What the store says.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn tables_named_so(sql: &mut dyn Sql, named_so: NamedSo) -> Result<Vec<String>> {
    let rows = sql.query(named_so.0, &[])?;
    Ok(rows.iter().filter_map(|row| row.first().and_then(Value::as_str).map(str::to_owned)).collect())
}

/// Whether a table is named as [stages](drop_old_stages) were.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn is_old_stage(table: &str) -> bool {
    let parts = table.strip_prefix("rowferry_stage_").and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(scope, number)| {
        let all = |part: &str, is_fit: fn(&u8) -> bool| !part.is_empty() && part.bytes().all(|byte| is_fit(&byte));
        all(scope, u8::is_ascii_alphanumeric) && all(number, u8::is_ascii_digit)
    })
}

/// What [`remove`] found.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) struct Removed {
    /// rowferry's own tables, which are gone.
    pub(crate) tables: Vec<String>,
    /// Those of others that are named so, which stay.
    pub(crate) left: Vec<String>,
}

/// Removes rowferry's own tables, with all that is in them. The caller gives a write transaction, of a state that is up to date, and the
/// tables that the scripts make.
///
/// # Errors
/// What the store says.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn remove(sql: &mut dyn Sql, made: &[String], named_so: NamedSo) -> Result<Removed> {
    let is_own = |name: &String| made.contains(name) || is_old_stage(name);
    let (tables, left): (Vec<_>, Vec<_>) = tables_named_so(sql, named_so)?.into_iter().partition(is_own);
    for table in &tables {
        sql.execute(&format!("DROP TABLE \"{table}\""), &[])?;
    }
    Ok(Removed { tables, left })
}

/// Runs the scripts that have not been run yet. The caller gives a write transaction, so that of two who begin at once the
/// second finds everything done.
///
/// # Errors
/// [`NewerState`](ErrorKind::NewerState) when a script has been run that is not known here.
pub fn run(sql: &mut dyn Sql, schema: Schema, now: OffsetDateTime) -> Result<()> {
    let scripts = schema.scripts;
    sql.execute(
        "CREATE TABLE IF NOT EXISTS rowferry_migrations (version INTEGER PRIMARY KEY NOT NULL, applied_at TEXT NOT NULL)",
        &[],
    )?;
    let done = done(sql)?;
    if done > newest(scripts) {
        return Err(Error::new(
            ErrorKind::NewerState,
            format!("this database was used with a newer rowferry (state {done}, known here up to {})", newest(scripts)),
        )
        .with_hint("Update this program, or use another database."));
    }
    let whole = schema.whole.filter(|_| done == 0);
    if let Some(whole) = whole {
        execute(sql, whole).map_err(|error| failed(error, "making rowferry's own tables"))?;
    }
    for script in scripts.iter().filter(|script| i64::from(script.version) > done) {
        let version = script.version;
        if whole.is_none() {
            let before = script.before.map_or(Ok(()), |before| before(sql));
            before
                .and_then(|()| execute(sql, script.sql))
                .map_err(|error| failed(error, &format!("migration {version}")))?;
        }
        let row = [Value::Integer(i64::from(version)), clock::to_text(now).into()];
        sql.execute("INSERT INTO rowferry_migrations (version, applied_at) VALUES (?1, ?2)", &row)?;
    }
    Ok(())
}

/// Up to version 4 each stage was a table of its own.
fn drop_old_stages(sql: &mut dyn Sql) -> Result<()> {
    for stage in sql.query("SELECT scope, number FROM rowferry_stages", &[])? {
        if let [Value::Text(scope), Value::Integer(number)] = &stage[..]
            && scope.iter().all(u8::is_ascii_alphanumeric)
        {
            let table = format!("rowferry_stage_{}_{number}", String::from_utf8_lossy(scope));
            sql.execute(&format!("DROP TABLE IF EXISTS {table}"), &[])?;
        }
    }
    Ok(())
}

fn execute(sql: &mut dyn Sql, script: &str) -> Result<()> {
    statements(script).iter().try_for_each(|statement| sql.execute(statement, &[]).map(|_| ()))
}

fn failed(error: Error, doing: &str) -> Error {
    const HINT: &str =
        "Names that begin with rowferry_ are rowferry's own: if another program uses one in this database, rename it.";
    let error = error.while_doing(doing);
    if error.hint().is_some() { error } else { error.with_hint(HINT) }
}

fn newest(scripts: &[Script]) -> i64 {
    scripts.iter().map(|script| i64::from(script.version)).max().unwrap_or(0)
}

/// The newest script that has been run; 0 for none.
fn done(sql: &mut dyn Sql) -> Result<i64> {
    let rows = sql.query("SELECT max(version) FROM rowferry_migrations", &[])?;
    Ok(rows.first().and_then(|row| row.first()).and_then(Value::as_integer).unwrap_or(0))
}

fn statements(script: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut statement = String::new();
    for line in script.lines().filter(|line| !line.trim_start().starts_with("--") && !line.trim().is_empty()) {
        statement.push_str(line);
        if line.trim_end().ends_with(';') {
            all.push(std::mem::take(&mut statement));
        } else {
            statement.push('\n');
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_numbered_and_cut_into_whole_statements() {
        for (index, Script { version, sql: script, .. }) in SCRIPTS.iter().enumerate() {
            assert_eq!(*version as usize, index + 1);
            let found = statements(script);
            let written = ["CREATE ", "DELETE FROM ", "DROP TABLE ", "INSERT INTO ", "ALTER TABLE "]
                .map(|words| script.matches(words).count());
            assert_eq!(found.len(), written.iter().sum::<usize>());
            let begins = |statement: &String| {
                ["CREATE ", "DELETE ", "DROP ", "INSERT ", "ALTER "].iter().any(|word| statement.starts_with(word))
            };
            assert!(found.iter().all(|statement| begins(statement) && statement.ends_with(';')), "{found:?}");
        }
    }

    /// Pretends to have run scripts up to a version.
    struct At(i64);

    impl Sql for At {
        fn execute(&mut self, _: &str, _: &[Value]) -> Result<usize> {
            Ok(0)
        }

        fn query(&mut self, _: &str, _: &[Value]) -> Result<Vec<Vec<Value>>> {
            Ok(vec![vec![Value::Integer(self.0)]])
        }
    }

    #[test]
    fn a_newer_state_is_refused() {
        let error = run(&mut At(99), SQLITE, OffsetDateTime::UNIX_EPOCH).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerState);
        assert!(error.hint().is_some());
        assert!(run(&mut At(newest(SCRIPTS)), SQLITE, OffsetDateTime::UNIX_EPOCH).is_ok());
    }

    /// State of version 4, in which each stage was a table of its own.
    #[cfg(feature = "sqlite")]
    #[test]
    fn stages_of_their_own_tables_are_dropped_and_their_rows_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let sqlite = rusqlite::Connection::open(&path).unwrap();
        for script in SCRIPTS.iter().filter(|script| script.version <= 4) {
            sqlite.execute_batch(script.sql).unwrap();
        }
        let old = "CREATE TABLE rowferry_migrations (version INTEGER PRIMARY KEY NOT NULL, applied_at TEXT NOT NULL);
            INSERT INTO rowferry_migrations SELECT value, '2026-01-01T00:00:00Z' FROM json_each('[1,2,3,4]');
            INSERT INTO rowferry_stages VALUES ('abc', 1, 2, 'then'), ('abc', 2, 2, 'then');
            CREATE TABLE rowferry_stage_abc_1(row INTEGER PRIMARY KEY, cells BLOB NOT NULL);
            CREATE TABLE rowferry_stage_abc_2(row INTEGER PRIMARY KEY, cells BLOB NOT NULL);
            INSERT INTO rowferry_marks (scope, table_name, strategy, name, plan, step, records, announced, progress) VALUES
                ('abc', 'tree', 'overwrite', 'tree', 'p', 'staged', 5, 5, '{\"stage\":1}'),
                ('abc', 'log', 'append', 'log', 'p', 'done', 5, 5, '{\"stage\":2}'),
                ('abc', 'users', 'overwrite', 'users', 'p', 'fetching', 5, 9, '{\"notes\":[]}');";
        sqlite.execute_batch(old).unwrap();
        crate::store::sqlite::SqliteStore::open(&path, &crate::Limits::default()).unwrap();
        let names = |sql: &str| -> Vec<String> {
            sqlite.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        assert_eq!(names("SELECT name FROM rowferry_marks ORDER BY name"), ["log", "users"]);
        assert_eq!(names("SELECT name FROM sqlite_schema WHERE name GLOB 'rowferry_stage[s_]*'"), [""; 0]);
    }

    /// All tables and indexes, in the order in which they were made.
    #[cfg(feature = "sqlite")]
    fn made(schema: Schema) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.db");
        let store = crate::store::sqlite::SqliteStore::open(&path, &crate::Limits::default()).unwrap();
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
        let mut made = Vec::new();
        let work = &mut |sql: &mut dyn Sql| {
            for table in sql.query(tables, &[])? {
                sql.execute(&format!("DROP TABLE {}", table[0].as_str().unwrap()), &[])?;
            }
            run(sql, schema, OffsetDateTime::UNIX_EPOCH)?;
            assert!(is_current(sql, schema));
            for table in sql.query(tables, &[])? {
                let count = format!("SELECT count(*) FROM {}", table[0].as_str().unwrap());
                let rows = if table[0].as_str() == Some("rowferry_migrations") { schema.scripts.len() } else { 0 };
                assert_eq!(sql.query(&count, &[])?, [[Value::Integer(rows as i64)]], "{table:?}");
            }
            let all = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name <> 'rowferry_migrations' ORDER BY rowid";
            made = sql.query(all, &[])?.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect();
            Ok(())
        };
        store.state(work).unwrap();
        made
    }

    /// After a new script, or a changed one: `ROWFERRY_WRITE_SCHEMA=1 cargo test --lib the_whole_schema`.
    #[cfg(feature = "sqlite")]
    #[test]
    #[expect(clippy::disallowed_methods, reason = "it asks the person who runs the test, not the library's user")]
    fn the_whole_schema_is_what_all_scripts_make() {
        let by_steps = made(Schema { whole: None, ..SQLITE });
        if std::env::var_os("ROWFERRY_WRITE_SCHEMA").is_some() {
            let head = "-- What all scripts make of a new database. Written by a test of src/store/migrate.rs: see there.\n";
            let whole: String = by_steps.iter().map(|sql| format!("{sql};\n")).collect();
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/sqlite/whole.sql");
            std::fs::write(path, head.to_owned() + &whole).unwrap();
            return;
        }
        assert_eq!(made(SQLITE), by_steps, "schema/sqlite/whole.sql is to be written again: see this test");
    }
}
