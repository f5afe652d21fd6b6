//! Reading tables: snapshots, pages in the order of the key, and rows by a value.

use std::sync::Arc;

use super::table::{Key, Row, Table, Tables, is_nan, order};
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Cursor, Keys, PageBounds, PageEnd, Snapshot};

/// Rows by their number: those with NULL in the key, or all of a table without one.
const UNKEYED: u8 = 0;
/// Rows by key.
const KEYED: u8 = 1;

/// The tables as they were committed at some moment: a commit puts others in their place and leaves these as they are.
pub(super) struct MemorySnapshot(pub(super) Arc<Tables>);

impl Snapshot for MemorySnapshot {
    fn tables(&mut self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.0.iter().map(|table| table.schema.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        Ok(self.0.get(table).map(|table| (*table.schema).clone()))
    }

    fn count(&mut self, table: &TableSchema) -> Result<u64> {
        self.0.table(&table.name).map(Table::count)
    }

    fn page(
        &mut self,
        table: &TableSchema,
        after: Option<&Cursor>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<PageEnd> {
        page(&self.0, table, after, skip, bounds, rows)
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
        let found = self.0.table(&table.name)?;
        let positions = found.positions(table)?;
        let Some(at) = positions.get(column) else {
            return Err(Error::new(ErrorKind::SchemaMismatch, format!("table {:?} has no such column", table.name)));
        };
        let ids = by_value(found, *at, keys).into_iter();
        let mut page = Page::new(&positions, bounds, rows);
        page.fill(found, ids, skip);
        Ok(page.more)
    }

    fn pinned_bytes(&self) -> u64 {
        0
    }
}

/// A page: see [`Snapshot::page`].
pub(super) fn page(
    tables: &Tables,
    table: &TableSchema,
    after: Option<&Cursor>,
    skip: u64,
    bounds: PageBounds,
    rows: &mut Rows,
) -> Result<PageEnd> {
    let found = tables.table(&table.name)?;
    let positions = found.positions(table)?;
    let ids = ids_after(found, after)?;
    let mut page = Page::new(&positions, bounds, rows);
    page.fill(found, ids, skip);
    let cursor = page.last.map(|(id, row)| place(found, id, &row));
    Ok(PageEnd { cursor, more: page.more })
}

/// The numbers of the rows after this place, in the order of the pages.
fn ids_after<'t>(table: &'t Table, after: Option<&Cursor>) -> Result<Box<dyn Iterator<Item = u64> + 't>> {
    let (id, key) = match after {
        None => (None, None),
        Some(cursor) => match (cursor.run, &cursor.values[..], table.paged_by()) {
            (UNKEYED, [Value::Integer(id)], _) => (u64::try_from(*id).ok(), None),
            (KEYED, values, Some(index)) if values.len() == index.columns.len() => (None, Some(Key(values.to_vec()))),
            _ => {
                let message = format!("the cursor does not belong to table {:?}", table.schema.name);
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        },
    };
    Ok(match (table.paged_by(), key) {
        (None, _) => Box::new(table.rows_after(id).map(|(id, _)| id)),
        (Some(index), None) => Box::new(index.loose_after(id).chain(index.keyed_after(None))),
        (Some(index), key) => Box::new(index.keyed_after(key)),
    })
}

/// The place of a row in the order of the pages.
fn place(table: &Table, id: u64, row: &Row) -> Cursor {
    match table.paged_by().and_then(|index| index.key(row)) {
        Some(Key(values)) => Cursor { run: KEYED, values },
        None => Cursor { run: UNKEYED, values: vec![Value::Integer(i64::try_from(id).unwrap_or(i64::MAX))] },
    }
}

/// The numbers of the rows with such values in a column, in the order of the values.
fn by_value(table: &Table, column: usize, keys: &Keys<'_>) -> Vec<u64> {
    let index = table.index_of(&[column]);
    let is_none = |value: &&Value| value.is_null() || is_nan(value.as_ref());
    match keys {
        Keys::These(these) => {
            let mut keys: Vec<Key> = these.iter().filter(|key| !is_none(key)).map(|key| Key(vec![key.clone()])).collect();
            keys.sort();
            keys.dedup();
            keys.iter().flat_map(|key| table.matching(&[column], &[key.0[0].as_ref()])).collect()
        }
        // Nothing is less or more than NULL, or equal to it.
        Keys::Between(from, to) if from.iter().chain(to).any(is_none) => Vec::new(),
        Keys::Between(from, to) => match (index, from, to) {
            (Some(index), None, None) => index.loose_after(None).chain(index.keyed_after(None)).collect(),
            (Some(index), from, to) => index.between(*from, *to),
            (None, from, to) => {
                let is_within = |value: &Value| {
                    let value = value.as_ref();
                    let bounded = from.is_some() || to.is_some();
                    !(bounded && value.is_null())
                        && from.is_none_or(|from| order(value, from.as_ref()).is_ge())
                        && to.is_none_or(|to| order(value, to.as_ref()).is_le())
                };
                let rows = table.rows_after(None).filter_map(|(id, row)| Some((row.get(column)?, id)));
                let mut rows: Vec<(&Value, u64)> = rows.filter(|(value, _)| is_within(value)).collect();
                rows.sort_by(|(left, _), (right, _)| order(left.as_ref(), right.as_ref()));
                rows.into_iter().map(|(_, id)| id).collect()
            }
        },
    }
}

/// A page that is filled.
struct Page<'r> {
    /// Where the columns of the page stand in the table.
    positions: &'r [usize],
    bounds: PageBounds,
    rows: &'r mut Rows,
    last: Option<(u64, Row)>,
    more: bool,
}

impl<'r> Page<'r> {
    fn new(positions: &'r [usize], bounds: PageBounds, rows: &'r mut Rows) -> Self {
        rows.clear(positions.len());
        Page { positions, bounds, rows, last: None, more: false }
    }

    fn fill(&mut self, table: &Table, ids: impl Iterator<Item = u64>, skip: u64) {
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        for (id, row) in ids.skip(skip).filter_map(|id| Some((id, table.row(id)?))) {
            let is_full = self.rows.len() >= self.bounds.rows || self.rows.size_bytes() >= self.bounds.bytes;
            if is_full && !self.rows.is_empty() {
                self.more = true;
                return;
            }
            self.rows.push(self.positions.iter().map(|at| row[*at].as_ref()));
            self.last = Some((id, Arc::clone(row)));
        }
    }
}
