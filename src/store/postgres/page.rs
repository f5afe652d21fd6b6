//! Pages of a table: runs of rows in the order of its key, read by binary COPY straight into [`Rows`].
//!
//! The rows of a table with a key come in the order of the key's index, in its collation, so that a page costs a look into the index
//! wherever it begins. Rows without a key come as they lie in the table: their place is the number of the file, which changes when the
//! table is rewritten, and that of the row in it. A partitioned table without a key is read partition by partition.

use std::collections::HashMap;
use std::io::BufRead;

use super::connection::Connection;
use super::faults::failed;
use super::quote::quote;
use super::table::Table;
use super::values::{self, Cells, Decoder};
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Cursor, PageBounds, PageEnd};

/// Rows as they lie in the table.
const UNKEYED: u8 = 0;
/// Rows by key.
const KEYED: u8 = 1;

/// How many rows of a table are read at first, when nothing is known of their size.
const FIRST_ROWS: usize = 16;

/// By how much the number of rows that are read at once may grow, while few rows tell how large the others are.
const GROWTH: usize = 16;

/// What is read of a row in vain is sent all the same: a table with rows this many times as large as others is read in smaller pieces.
const UNEVEN: usize = 64;

/// Reads pages, and remembers how large the rows of each table are.
#[derive(Debug, Default)]
pub(super) struct Pager {
    sizes: HashMap<u32, Size>,
}

/// How large the rows of a table are, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    /// Those of the last page, on average.
    average: usize,
    largest: usize,
    /// Of how many rows that is known, at most.
    seen: usize,
}

impl Pager {
    /// Reads a page: see [`Snapshot::page`](crate::store::Snapshot::page).
    pub(super) fn page(
        &mut self,
        connection: &mut Connection,
        table: &Table,
        after: Option<&Cursor>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<PageEnd> {
        rows.clear(table.columns.len());
        check_readable(table)?;
        let heaps = if table.order.is_empty() { heaps(connection, table)? } else { Vec::new() };
        let mut place = Place::begin(table, &heaps, after)?;
        let mut fill = Fill { table, rows, bounds, more: false, row: None, ascends: true, largest: 0 };
        let mut skip = skip;
        loop {
            let limit = self.limit(&fill);
            let Some(sql) = place.select(table, &heaps, limit, skip)? else { break };
            let before = fill.rows.len();
            let found = each_row(connection, &sql, &mut |cells| fill.add(cells))?;
            self.learn(&fill);
            if fill.rows.len() > before {
                skip = 0;
                place.set(table, &heaps, &fill)?;
            }
            if fill.more {
                break;
            }
            if found < limit {
                // Of a table that lies in several files, those before the next one have used some of the skipped rows up.
                if skip > 0 && place.has_next(&heaps) {
                    skip = skip.saturating_sub(place.count(connection, &heaps)?);
                }
                if !place.next(&heaps) {
                    break;
                }
                fill.row = None;
            }
        }
        let more = fill.more;
        let cursor = if fill.rows.is_empty() { None } else { Some(place.cursor(&heaps)) };
        Ok(PageEnd { cursor, more })
    }

    /// How many rows to read at once: those that fill the page, and one that tells whether there are more.
    fn limit(&self, fill: &Fill<'_>) -> usize {
        let missing = fill.bounds.rows.saturating_sub(fill.rows.len());
        let room = fill.bounds.bytes.saturating_sub(fill.rows.size_bytes());
        let fitting = match self.sizes.get(&fill.table.oid) {
            Some(size) => {
                let rows = room / size.average.max(size.largest / UNEVEN).max(1);
                (rows + rows / 32).min(size.seen.saturating_mul(GROWTH))
            }
            None => FIRST_ROWS,
        };
        missing.min(fitting).saturating_add(1)
    }

    fn learn(&mut self, fill: &Fill<'_>) {
        if let Some(average) = fill.rows.size_bytes().checked_div(fill.rows.len()) {
            let size = self.sizes.entry(fill.table.oid).or_default();
            *size = Size { average, largest: fill.largest.max(size.largest), seen: size.seen.max(fill.rows.len()) };
        }
    }
}

/// An error if not all rows of a table can be seen.
pub(super) fn check_readable(table: &Table) -> Result<()> {
    if !table.has_row_security {
        return Ok(());
    }
    let name = &table.schema.name;
    let why =
        format!("row level security hides rows of the table {name:?} from this role: a part would be taken for the whole");
    Err(Error::new(ErrorKind::Database, why).with_hint("Use a role with BYPASSRLS, or hide the table from others."))
}

/// An error if a description of a table is not the one that is here now.
pub(super) fn check_columns(table: &Table, described: &TableSchema) -> Result<()> {
    let names = |schema: &TableSchema| schema.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    if names(&table.schema) == names(described) {
        return Ok(());
    }
    let why = format!("the columns of the table {:?} changed meanwhile", described.name);
    Err(Error::new(ErrorKind::SchemaMismatch, why).with_hint("Begin again."))
}

/// A file that rows lie in: that of a table, or of a partition.
#[derive(Debug)]
struct Heap {
    oid: u32,
    /// What its rows are read from, as SQL.
    source: String,
    /// The number of its file.
    file: u32,
}

/// Where the rows of a table lie, in the order in which they are read.
fn heaps(connection: &mut Connection, table: &Table) -> Result<Vec<Heap>> {
    let sql = "SELECT c.oid, n.nspname, c.relname, coalesce(pg_relation_filenode(c.oid), 0), c.relkind = 'r'
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = $1 AND c.relkind <> 'p' OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid::regclass) WHERE isleaf) AND c.relkind <> 'p'
        ORDER BY c.oid";
    let heap = |row: &postgres::Row| {
        let (schema, name): (String, String) = (row.try_get(1).map_err(failed)?, row.try_get(2).map_err(failed)?);
        let is_ordinary: bool = row.try_get(4).map_err(failed)?;
        if !is_ordinary {
            let why = format!(
                "the rows of the table {:?} have no order: it has no key, and a foreign partition",
                table.schema.name
            );
            return Err(
                Error::new(ErrorKind::SchemaMismatch, why).with_hint("Give the table a primary key, or leave it out.")
            );
        }
        let source = format!("ONLY {}.{}", quote(&schema), quote(&name));
        Ok(Heap { oid: row.try_get(0).map_err(failed)?, source, file: row.try_get(3).map_err(failed)? })
    };
    connection.rows(sql, &[&table.oid])?.iter().map(heap).collect()
}

/// A row's place in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowId {
    block: u32,
    line: u16,
}

impl RowId {
    const FIRST: RowId = RowId { block: 0, line: 0 };

    fn read(cell: &[u8]) -> Result<Self> {
        let (Some(block), Some(line)) = (cell.first_chunk(), cell.get(4..).and_then(<[u8]>::first_chunk)) else {
            return Err(values::garbled());
        };
        Ok(RowId { block: u32::from_be_bytes(*block), line: u16::from_be_bytes(*line) })
    }

    fn number(self) -> i64 {
        i64::from(self.block) << 16 | i64::from(self.line)
    }

    fn from_number(number: i64) -> Option<Self> {
        Some(RowId { block: u32::try_from(number >> 16).ok()?, line: u16::try_from(number & 0xffff).ok()? })
    }
}

/// Where reading resumes.
enum Place {
    /// After the row with this key; at the first row without.
    Key(Option<Vec<Value>>),
    /// In this of the heaps, after this row.
    Row(usize, RowId),
}

impl Place {
    fn begin(table: &Table, heaps: &[Heap], after: Option<&Cursor>) -> Result<Self> {
        let name = &table.schema.name;
        let foreign = || Error::new(ErrorKind::InvalidInput, format!("the cursor does not belong to table {name:?}"));
        match (after, table.order.is_empty()) {
            (None, false) => Ok(Place::Key(None)),
            (None, true) => Ok(Place::Row(0, RowId::FIRST)),
            (Some(cursor), false) if cursor.run == KEYED && cursor.values.len() == table.order.len() => {
                Ok(Place::Key(Some(cursor.values.clone())))
            }
            (Some(cursor), true) if cursor.run == UNKEYED => {
                let numbers: Option<Vec<i64>> = cursor.values.iter().map(Value::as_integer).collect();
                let Some([oid, file, row]) = numbers.as_deref() else { return Err(foreign()) };
                let row = RowId::from_number(*row).ok_or_else(foreign)?;
                let at = heaps.iter().position(|heap| i64::from(heap.oid) == *oid && i64::from(heap.file) == *file);
                let expired = || {
                    let why = format!("the rows of {name:?}, which has no key, may have been reordered since");
                    Error::new(ErrorKind::CursorExpired, why)
                };
                Ok(Place::Row(at.ok_or_else(expired)?, row))
            }
            _ => Err(foreign()),
        }
    }

    /// What reads so many rows from here, so many left out; `None` if there is nothing to read from.
    fn select(&self, table: &Table, heaps: &[Heap], limit: usize, skip: u64) -> Result<Option<String>> {
        let columns: Vec<String> = table.columns.iter().map(|column| column.select()).collect();
        let columns = columns.join(", ");
        let offset = if skip > 0 { format!(" OFFSET {}", i64::try_from(skip).unwrap_or(i64::MAX)) } else { String::new() };
        Ok(Some(match self {
            // A name alone would be that of what is selected, which may be the text of the column.
            Place::Key(after) => {
                let parts: Vec<String> =
                    table.order.iter().map(|(at, collate)| format!("t.{}{collate}", table.columns[*at].quoted)).collect();
                let condition = match after {
                    Some(values) => format!(" WHERE {}", after_key(table, &parts, values)?),
                    None => String::new(),
                };
                let source = &table.source;
                format!("SELECT {columns} FROM {source} AS t{condition} ORDER BY {} LIMIT {limit}{offset}", parts.join(", "))
            }
            // Rows of a scan come as they lie there; to be asked to sort them PostgreSQL would read the whole rest for each page.
            Place::Row(at, RowId { block, line }) => {
                let Some(heap) = heaps.get(*at) else { return Ok(None) };
                let source = &heap.source;
                format!("SELECT {columns}, ctid FROM {source} WHERE ctid > '({block},{line})'::tid LIMIT {limit}{offset}")
            }
        }))
    }

    /// Moves to the place after the last row that was read.
    fn set(&mut self, table: &Table, heaps: &[Heap], fill: &Fill<'_>) -> Result<()> {
        let last = fill.rows.len() - 1;
        match self {
            Place::Key(after) => {
                let value = |at: usize| fill.rows.get(last, at).map_or(Value::Null, |value| value.to_owned());
                *after = Some(table.order.iter().map(|(at, _)| value(*at)).collect());
            }
            Place::Row(at, row) => {
                let now = fill.row.ok_or_else(values::garbled)?;
                if !fill.ascends || now <= *row {
                    let why = format!("the rows of {} do not come as they lie there", heaps[*at].source);
                    return Err(Error::new(ErrorKind::Database, why).with_hint("Give the table a primary key."));
                }
                *row = now;
            }
        }
        Ok(())
    }

    fn has_next(&self, heaps: &[Heap]) -> bool {
        matches!(self, Place::Row(at, _) if at + 1 < heaps.len())
    }

    /// Moves to the next heap; not if there is none.
    fn next(&mut self, heaps: &[Heap]) -> bool {
        if !self.has_next(heaps) {
            return false;
        }
        if let Place::Row(at, _) = self {
            *self = Place::Row(*at + 1, RowId::FIRST);
        }
        true
    }

    /// How many rows there are after it in its heap.
    fn count(&self, connection: &mut Connection, heaps: &[Heap]) -> Result<u64> {
        let Place::Row(at, RowId { block, line }) = self else { return Ok(0) };
        let Some(heap) = heaps.get(*at) else { return Ok(0) };
        let sql = format!("SELECT count(*) FROM {} WHERE ctid > '({block},{line})'::tid", heap.source);
        count(connection, &sql)
    }

    fn cursor(self, heaps: &[Heap]) -> Cursor {
        match self {
            Place::Key(after) => Cursor { run: KEYED, values: after.unwrap_or_default() },
            Place::Row(at, row) => {
                let (oid, file) = heaps.get(at).map_or((0, 0), |heap| (heap.oid, heap.file));
                Cursor { run: UNKEYED, values: vec![i64::from(oid).into(), i64::from(file).into(), row.number().into()] }
            }
        }
    }
}

/// `(a, b) > (1, 'x')`; where a type's operators are an extension's `a >= 1 AND (a > 1 OR a = 1 AND b > 'x')`, since a comparison of rows
/// looks for them by their names alone.
fn after_key(table: &Table, parts: &[String], values: &[Value]) -> Result<String> {
    let literal = |((at, _), value): (&(usize, String), &Value)| {
        values::compared(&table.columns[*at], value).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("the cursor does not belong to table {:?}", table.schema.name))
        })
    };
    let literals: Vec<String> = table.order.iter().zip(values).map(literal).collect::<Result<_>>()?;
    Ok(match (parts, literals.as_slice()) {
        _ if table.order.iter().any(|(at, _)| table.columns[*at].base.operators.is_some()) => {
            let mut condition = String::new();
            for (((at, _), part), literal) in table.order.iter().zip(parts).zip(&literals).rev() {
                let by = |name: &str| format!("{part} {} {literal}", table.columns[*at].base.operator(name));
                condition = match condition.as_str() {
                    "" => by(">"),
                    rest => format!("({} AND ({} OR {} AND {rest}))", by(">="), by(">"), by("=")),
                };
            }
            condition
        }
        ([part], [literal]) => format!("{part} > {literal}"),
        _ => format!("({}) > ({})", parts.join(", "), literals.join(", ")),
    })
}

/// A page that is filled.
struct Fill<'f> {
    table: &'f Table,
    rows: &'f mut Rows,
    bounds: PageBounds,
    more: bool,
    /// Where the last row of this file lies, of a table without a key.
    row: Option<RowId>,
    /// Whether each row lies behind the one before it.
    ascends: bool,
    /// The bytes of the largest row.
    largest: usize,
}

impl Fill<'_> {
    /// Adds a row, if there is room for it: says whether there was.
    fn add(&mut self, mut cells: Cells<'_>) -> Result<bool> {
        if is_full(self.rows, self.bounds) {
            self.more = true;
            return Ok(false);
        }
        let before = self.rows.size_bytes();
        add_row(self.table, &mut cells, self.rows)?;
        self.largest = self.largest.max(self.rows.size_bytes() - before);
        if self.table.order.is_empty() {
            let cell = cells.next().flatten().ok_or_else(values::garbled)?;
            let row = RowId::read(cell)?;
            self.ascends &= self.row.is_none_or(|before| row > before);
            self.row = Some(row);
        }
        Ok(true)
    }
}

/// Whether no further row is taken.
pub(super) fn is_full(rows: &Rows, bounds: PageBounds) -> bool {
    rows.len() >= bounds.rows || (rows.size_bytes() >= bounds.bytes && !rows.is_empty())
}

/// Adds a row with the columns of a table.
pub(super) fn add_row(table: &Table, cells: &mut Cells<'_>, rows: &mut Rows) -> Result<()> {
    rows.start_row();
    for (at, column) in table.columns.iter().enumerate() {
        let cell = cells.next().ok_or_else(values::garbled)?;
        values::set(rows, at, column.carried, cell)?;
    }
    Ok(())
}

/// Gives the rows of a query to `each`, until it takes no more; gives how many it was given.
pub(super) fn each_row(
    connection: &mut Connection,
    select: &str,
    each: &mut dyn FnMut(Cells<'_>) -> Result<bool>,
) -> Result<usize> {
    let mut reader = connection.client.copy_out(&format!("COPY ({select}) TO STDOUT (FORMAT binary)")).map_err(failed)?;
    let mut decoder = Decoder::default();
    let mut found = 0;
    loop {
        let piece = reader.fill_buf().map_err(interrupted)?;
        if piece.is_empty() {
            break;
        }
        let length = piece.len();
        let takes_more = decoder.feed(piece, |cells| {
            found += 1;
            each(cells)
        })?;
        if !takes_more {
            return Ok(found);
        }
        reader.consume(length);
    }
    if decoder.is_done() { Ok(found) } else { Err(values::garbled()) }
}

/// What PostgreSQL says in the middle of a COPY.
fn interrupted(error: std::io::Error) -> Error {
    match error.downcast::<postgres::Error>() {
        Ok(error) => failed(error),
        Err(error) => Error::new(ErrorKind::Disconnected, format!("the database's rows cannot be read: {error}"))
            .with_source(error)
            .with_hint("The connection to the database was lost: see whether the server runs, then try again."),
    }
}

/// The number that a query counts.
pub(super) fn count(connection: &mut Connection, sql: &str) -> Result<u64> {
    let rows = connection.rows(sql, &[])?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(failed)?;
    Ok(u64::try_from(count).unwrap_or(0))
}
