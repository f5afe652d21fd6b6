//! A snapshot of a SQLite database: a connection with a read transaction.
//!
//! Pages are cut by key and not by offset, so that the last page costs what the first does. Rows with NULL in their key have
//! no place in that order and come first, in the order of their rowids; so do all rows of a table without a key.

use rusqlite::Connection;

use super::catalogue;
use super::creatable::MOST_COLUMNS;
use super::dialect::{borrowed, failed, parameters, quote, quote_all};
use super::keys::key_parts;
use super::pool::Pooled;
use super::stand_in;
use super::{ddl, file};
use crate::domain::not_copied::NotCopied;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::table::key_of;
use crate::store::{Cursor, Keys, NewTable, PageBounds, PageEnd, Snapshot};

/// Rows by rowid: those with NULL in their key, or all of a table without one.
const UNKEYED: u8 = 0;
/// Rows by key.
const KEYED: u8 = 1;
/// Rows by position: a table without key and without a name or room for its rowid.
const COUNTED: u8 = 2;

/// A read transaction on a connection of its own.
pub(super) struct SqliteSnapshot {
    connection: Pooled,
    wal: std::path::PathBuf,
}

impl SqliteSnapshot {
    pub(super) fn begin(connection: Pooled, database: &std::path::Path) -> Result<Self> {
        connection.sqlite.execute_batch("BEGIN").map_err(failed)?;
        let mut wal = database.as_os_str().to_owned();
        wal.push("-wal");
        let snapshot = SqliteSnapshot { connection, wal: wal.into() };
        // BEGIN alone takes no snapshot: the first read does.
        snapshot.connection.sqlite.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;
        Ok(snapshot)
    }
}

impl Drop for SqliteSnapshot {
    fn drop(&mut self) {
        if let Err(error) = self.connection.sqlite.execute_batch("ROLLBACK") {
            log::warn!(target: "rowferry::store", "ending a read transaction failed: {error}");
        }
    }
}

impl Snapshot for SqliteSnapshot {
    fn tables(&mut self) -> Result<Vec<String>> {
        Ok(self.connection.overview()?.names())
    }

    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        self.connection.schema(table)
    }

    fn not_copied(&mut self) -> Result<NotCopied> {
        self.connection.overview()?.not_copied(&self.connection.sqlite)
    }

    fn tell(&mut self, table: &mut TableSchema) -> Result<()> {
        table.sequence = file::sequence(&self.connection.sqlite, table)?;
        table.file = file::numbers(&self.connection.sqlite)?;
        Ok(())
    }

    fn try_table(&mut self, table: &NewTable<'_>) -> Result<()> {
        ddl::try_out(&self.connection, table)
    }

    fn count(&mut self, table: &TableSchema) -> Result<u64> {
        // Rows are counted in any order.
        stand_in::reading((&self.connection.sqlite, &self.connection.stand_ins), table, &[], || {
            count(&self.connection.sqlite, table)
        })
    }

    fn page(
        &mut self,
        table: &TableSchema,
        after: Option<&Cursor>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<PageEnd> {
        let order = key_of(table)?.map_or(Vec::new(), |(columns, _)| columns);
        stand_in::reading((&self.connection.sqlite, &self.connection.stand_ins), table, &order, || {
            page(&self.connection.sqlite, table, after, skip, bounds, rows)
        })
    }

    fn find(
        &mut self,
        table: &TableSchema,
        column: usize,
        keys: &Keys<'_>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<bool> {
        let column = (column < table.columns.len()).then_some(column);
        stand_in::reading((&self.connection.sqlite, &self.connection.stand_ins), table, column.as_slice(), || {
            find(&self.connection.sqlite, table, column, keys, (skip, bounds), rows)
        })
    }

    fn pinned_bytes(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |wal| wal.len())
    }

    fn block_rows(&self) -> usize {
        256
    }
}

pub(super) fn count(sqlite: &Connection, table: &TableSchema) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM {}", quote(&table.name));
    let count: i64 = sqlite.query_row(&sql, [], |row| row.get(0)).map_err(failed)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// One run of the order that the rows of a table come in.
struct Run {
    id: u8,
    condition: String,
    order: String,
    /// `(a, b) > (?2, ?3)`, to resume after a row.
    after: String,
    /// What makes up the cursor: the values of these columns, or the rowid by this name.
    place: Vec<usize>,
    rowid: Option<&'static str>,
}

impl Run {
    /// Whether a cursor has the values of this run, with or without the layout that they were noted in.
    fn takes(&self, cursor: &Cursor) -> bool {
        let values = self.place.len().max(1);
        cursor.values.len() == values || (self.id != KEYED && cursor.values.len() == values + 1)
    }
}

/// The number of the layout of the database's tables. VACUUM, which gives new rowids to rows without a key, changes it; so does any
/// change of a table.
fn layout(sqlite: &Connection) -> Result<i64> {
    let version = sqlite.prepare_cached("PRAGMA schema_version");
    version.and_then(|mut version| version.query_row([], |row| row.get(0))).map_err(failed)
}

/// The layout in which a cursor of rows without a key was noted. Older versions did not note it.
fn noted_layout(runs: &[Run], cursor: &Cursor) -> Option<i64> {
    let run = runs.iter().find(|run| run.id == cursor.run && run.id != KEYED)?;
    cursor.values.get(run.place.len().max(1))?.as_integer()
}

fn runs(table: &TableSchema) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    let key = key_of(table)?;
    if key.as_ref().is_none_or(|(_, nullable)| *nullable) {
        let condition = match &key {
            Some((columns, _)) => columns
                .iter()
                .map(|at| format!("{} IS NULL", quote(&table.columns[*at].name)))
                .collect::<Vec<_>>()
                .join(" OR "),
            None => "1".to_owned(),
        };
        // SQLite gives back no more columns than a table may have.
        let room = table.columns.len() < MOST_COLUMNS;
        runs.push(match catalogue::rowid_name(table).filter(|_| room) {
            Some(rowid) => Run {
                id: UNKEYED,
                condition,
                order: rowid.to_owned(),
                after: format!("{rowid} > ?2"),
                place: vec![table.columns.len()],
                rowid: Some(rowid),
            },
            None => {
                Run { id: COUNTED, condition, order: String::new(), after: String::new(), place: Vec::new(), rowid: None }
            }
        });
    }
    if let Some((columns, nullable)) = key {
        let names = columns.iter().map(|at| quote(&table.columns[*at].name));
        let condition = match nullable {
            true => names.map(|name| format!("{name} IS NOT NULL")).collect::<Vec<_>>().join(" AND "),
            false => "1".to_owned(),
        };
        // As the key compares them: by the collation of the column, rows that are two to the key would be one place.
        let parts = key_parts(table, &columns);
        let is_collated = matches!(table.key_collations_of(&columns).first(), Some(Some(_)));
        let after = after(&parts, is_collated);
        runs.push(Run { id: KEYED, condition, after, order: parts.join(", "), place: columns, rowid: None });
    }
    Ok(runs)
}

/// `(a, b) > (?2, ?3)`.
fn after(parts: &[String], is_collated: bool) -> String {
    let marks = (2..2 + parts.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
    match parts {
        [part] => format!("{part} > {marks}"),
        // SQLite looks nothing up in an index by a row value that begins with a COLLATE.
        [first, ..] if is_collated => format!("{first} >= ?2 AND ({}) > ({marks})", parts.join(", ")),
        _ => format!("({}) > ({marks})", parts.join(", ")),
    }
}

pub(super) fn page(
    sqlite: &Connection,
    table: &TableSchema,
    after: Option<&Cursor>,
    skip: u64,
    bounds: PageBounds,
    rows: &mut Rows,
) -> Result<PageEnd> {
    rows.clear(table.columns.len());
    let mut end = PageEnd { cursor: None, more: false };
    let mut left_to_skip = skip;
    let runs = runs(table)?;
    if let Some(cursor) = after
        && !runs.iter().any(|run| run.id == cursor.run && run.takes(cursor))
    {
        return Err(Error::new(ErrorKind::InvalidInput, format!("the cursor does not belong to table {:?}", table.name)));
    }
    let layout = layout(sqlite)?;
    if after.and_then(|cursor| noted_layout(&runs, cursor)).is_some_and(|noted| noted != layout) {
        let why = format!("the rows of {:?} without a key may have been reordered since", table.name);
        return Err(Error::new(ErrorKind::CursorExpired, why));
    }
    for run in runs {
        // The runs come in the order of their numbers, but for the counted one, which stands for the first.
        if after.is_some_and(|cursor| cursor.run == KEYED && run.id != KEYED) {
            continue;
        }
        let from = after.filter(|cursor| cursor.run == run.id);
        let mut fill = Fill { rows, end: &mut end, bounds, left_to_skip: &mut left_to_skip };
        if fill.is_full() {
            end.more = has_row(sqlite, table, &run)?;
        } else {
            read_run(sqlite, table, &run, (from, layout), &mut fill)?;
        }
        if end.more {
            break;
        }
    }
    Ok(end)
}

fn has_row(sqlite: &Connection, table: &TableSchema, run: &Run) -> Result<bool> {
    let sql = format!("SELECT EXISTS(SELECT 1 FROM {} WHERE {})", quote(&table.name), run.condition);
    sqlite.prepare_cached(&sql).and_then(|mut statement| statement.query_row([], |row| row.get(0))).map_err(failed)
}

struct Fill<'r> {
    rows: &'r mut Rows,
    end: &'r mut PageEnd,
    bounds: PageBounds,
    left_to_skip: &'r mut u64,
}

impl Fill<'_> {
    fn is_full(&self) -> bool {
        self.rows.len() >= self.bounds.rows || (self.rows.size_bytes() >= self.bounds.bytes && !self.rows.is_empty())
    }
}

fn read_run(
    sqlite: &Connection,
    table: &TableSchema,
    run: &Run,
    (from, layout): (Option<&Cursor>, i64),
    fill: &mut Fill<'_>,
) -> Result<()> {
    let width = table.columns.len();
    // A counted run's place is how many of its rows were passed.
    let counted = from.filter(|_| run.id == COUNTED).and_then(|cursor| cursor.values.first()).and_then(Value::as_integer);
    let counted = counted.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let mut left_to_pass = counted;
    let limit = (fill.bounds.rows.saturating_sub(fill.rows.len()) as u64)
        .saturating_add(1)
        .saturating_add(counted)
        .saturating_add(*fill.left_to_skip);
    let mut values = vec![Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX))];
    let keyed_from = from.filter(|_| run.id != COUNTED);
    values.extend(keyed_from.iter().flat_map(|cursor| cursor.values.iter().take(run.place.len()).cloned()));
    let sql = format!(
        "SELECT {}{} FROM {} WHERE ({}){}{} LIMIT ?1",
        quote_all(table.columns.iter().map(|column| column.name.as_str())),
        prefixed(", ", run.rowid.unwrap_or_default()),
        quote(&table.name),
        run.condition,
        if keyed_from.is_some() { prefixed(" AND ", &run.after) } else { String::new() },
        prefixed(" ORDER BY ", &run.order),
    );
    let mut statement = sqlite.prepare_cached(&sql).map_err(failed)?;
    let mut found = statement.query(parameters(&values)).map_err(failed)?;
    let mut position = counted;
    let mut place = Vec::new();
    let before = fill.rows.len();
    while let Some(row) = found.next().map_err(failed)? {
        if left_to_pass > 0 {
            left_to_pass -= 1;
            continue;
        }
        if fill.is_full() {
            fill.end.more = true;
            break;
        }
        position += 1;
        if *fill.left_to_skip > 0 {
            *fill.left_to_skip -= 1;
            continue;
        }
        fill.rows.start_row();
        for column in 0..width {
            fill.rows.set(column, borrowed(row.get_ref(column).map_err(failed)?));
        }
        place.clear();
        for at in &run.place {
            place.push(borrowed(row.get_ref(*at).map_err(failed)?).to_owned());
        }
    }
    if fill.rows.len() > before {
        if run.id == COUNTED {
            place.push(Value::Integer(i64::try_from(position).unwrap_or(i64::MAX)));
        }
        if run.id != KEYED {
            place.push(Value::Integer(layout));
        }
        fill.end.cursor = Some(Cursor { run: run.id, values: place });
    }
    Ok(())
}

fn find(
    sqlite: &Connection,
    table: &TableSchema,
    column: Option<usize>,
    keys: &Keys<'_>,
    (skip, bounds): (u64, PageBounds),
    rows: &mut Rows,
) -> Result<bool> {
    rows.clear(table.columns.len());
    let Some(key) = column.and_then(|column| table.columns.get(column)).map(|column| quote(&column.name)) else {
        return Err(Error::new(ErrorKind::SchemaMismatch, format!("table {:?} has no such column", table.name)));
    };
    let number = |n: u64| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    let mut values = vec![number((bounds.rows as u64).saturating_add(1)), number(skip)];
    let mut place = |value: &Value| {
        values.push(value.clone());
        format!("?{}", values.len())
    };
    let condition = match keys {
        Keys::These(these) => format!("{key} IN ({})", these.iter().map(&mut place).collect::<Vec<_>>().join(", ")),
        Keys::Between(from, to) => {
            let from = from.map(|from| format!("{key} >= {}", place(from)));
            let to = to.map(|to| format!("{key} <= {}", place(to)));
            let both: Vec<String> = from.into_iter().chain(to).collect();
            if both.is_empty() { "1".to_owned() } else { both.join(" AND ") }
        }
    };
    let columns = quote_all(table.columns.iter().map(|column| column.name.as_str()));
    let sql = format!("SELECT {columns} FROM {} WHERE {condition} ORDER BY {key} LIMIT ?1 OFFSET ?2", quote(&table.name));
    let mut statement = sqlite.prepare(&sql).map_err(failed)?;
    let mut found = statement.query(parameters(&values)).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        if rows.len() >= bounds.rows || (rows.size_bytes() >= bounds.bytes && !rows.is_empty()) {
            return Ok(true);
        }
        rows.start_row();
        for column in 0..table.columns.len() {
            rows.set(column, borrowed(row.get_ref(column).map_err(failed)?));
        }
    }
    Ok(false)
}

/// The text with something before it; nothing if it is empty.
fn prefixed(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::catalogue::tests::schema;

    const TWO: PageBounds = PageBounds { rows: 2, bytes: usize::MAX };

    #[test]
    fn a_place_among_rows_without_a_key_expires_when_they_are_put_in_order_again() {
        let sqlite = Connection::open_in_memory().unwrap();
        let sql = "CREATE TABLE loose(v); CREATE TABLE keyed(k TEXT PRIMARY KEY NOT NULL);
                   CREATE TABLE nullable(k TEXT PRIMARY KEY); CREATE TABLE taken(rowid, oid, _rowid_);
                   INSERT INTO loose VALUES (1), (2), (3), (4); INSERT INTO keyed VALUES ('a'), ('b'), ('c');
                   INSERT INTO nullable VALUES (NULL), (NULL), (NULL), ('a'), ('b'); INSERT INTO taken VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3);
                   DELETE FROM loose WHERE v = 1;";
        sqlite.execute_batch(sql).unwrap();
        let mut rows = Rows::default();
        let mut next = |table: &str, after: Option<&Cursor>| {
            page(&sqlite, &schema(&sqlite, table).unwrap(), after, 0, TWO, &mut rows).map(|end| end.cursor)
        };
        let tables = ["loose", "keyed", "nullable", "taken"];
        let cursors = tables.map(|table| next(table, None).unwrap());
        for (table, cursor) in tables.iter().zip(&cursors) {
            assert!(next(table, cursor.as_ref()).unwrap().is_some(), "{table}");
        }
        sqlite.execute_batch("VACUUM").unwrap();
        let kinds =
            tables.iter().zip(&cursors).map(|(table, cursor)| next(table, cursor.as_ref()).map_err(|error| error.kind()));
        let kinds: Vec<Option<ErrorKind>> = kinds.map(Result::err).collect();
        let expired = Some(ErrorKind::CursorExpired);
        assert_eq!(kinds, [expired, None, expired, expired]);
        // One that an older version made says nothing of the order.
        let old = Cursor { run: UNKEYED, values: vec![Value::Integer(1)] };
        assert!(next("loose", Some(&old)).unwrap().is_some());
    }
}
