//! Reading tables: snapshots, pages in the order of the key, and rows by a value.

use std::sync::Arc;

use super::make;
use super::table::{Key, Row, Table, Tables, is_nan, order};
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Cursor, Keys, NewTable, PageBounds, PageEnd, Snapshot};

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

    fn try_table(&mut self, table: &NewTable<'_>) -> Result<()> {
        make::create(&mut Tables::default(), table).map(|_| ())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::tests::{owned, put, rows, store, table};
    use crate::store::{Change, Store};

    const ALL: PageBounds = PageBounds { rows: 1_000, bytes: 1 << 20 };

    #[test]
    fn pages_come_in_the_order_of_the_key_and_follow_each_other() {
        let pairs = table("pairs", "a b x", "b a");
        let store = store(&[&pairs]);
        let mut writer = store.writer().unwrap();
        let given = [
            [Value::Null, 1.into(), "second".into()],
            [2.into(), "t".into(), "sixth".into()],
            [2.into(), 1.into(), "fifth".into()],
            [Value::Null, 1.into(), "third".into()],
            [1.5.into(), 1.into(), "fourth".into()],
        ];
        assert!(put(&mut *writer, &pairs, Change::Insert, &rows(given)).is_empty());
        writer.commit().unwrap();
        let names = |rows: &Rows| owned(rows).into_iter().map(|row| row[2].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        for most in 1..=6 {
            let (mut all, mut after, mut page) = (Vec::new(), None, Rows::default());
            loop {
                // Each from a snapshot of its own.
                let mut snapshot = store.snapshot().unwrap();
                let bounds = PageBounds { rows: most, ..ALL };
                let end = snapshot.page(&pairs, after.as_ref(), 0, bounds, &mut page).unwrap();
                all.extend(names(&page));
                assert_eq!(end.more, all.len() < 5);
                if !end.more {
                    break;
                }
                after = end.cursor;
            }
            assert_eq!(all, ["second", "third", "fourth", "fifth", "sixth"], "pages of {most}");
        }
        let mut page = Rows::default();
        let mut snapshot = store.snapshot().unwrap();
        let end = snapshot.page(&pairs, None, 4, PageBounds { bytes: 1, ..ALL }, &mut page).unwrap();
        assert_eq!((names(&page), end.more), (vec!["sixth".to_owned()], false));
        assert_eq!(end.cursor.map(|cursor| cursor.run), Some(KEYED));
        let strange = Cursor { run: KEYED, values: vec![1.into()] };
        let error = snapshot.page(&pairs, Some(&strange), 0, ALL, &mut page).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn rows_are_found_by_a_value_with_and_without_an_index() {
        let numbers = table("numbers", "n id!", "id");
        let store = store(&[&numbers]);
        let mut writer = store.writer().unwrap();
        let given = [3.into(), Value::Null, 2.5.into(), "3".into(), 3.0.into()];
        let given = rows(given.into_iter().enumerate().map(|(id, n)| [n, (id as i64).into()]));
        assert!(put(&mut *writer, &numbers, Change::Insert, &given).is_empty());
        writer.commit().unwrap();
        let mut snapshot = store.snapshot().unwrap();
        let mut find = |column: usize, keys: Keys<'_>, skip: u64, most: usize| {
            let mut found = Rows::default();
            let bounds = PageBounds { rows: most, ..ALL };
            let more = snapshot.find(&numbers, column, &keys, skip, bounds, &mut found).unwrap();
            (owned(&found).into_iter().map(|row| row[1].as_integer().unwrap()).collect::<Vec<_>>(), more)
        };
        let [two, three, nan] = [Value::Integer(2), Value::Integer(3), Value::Real(f64::NAN)];
        let these = [three.clone(), Value::Null, nan.clone(), three.clone(), 2.5.into()];
        assert_eq!(find(0, Keys::These(&these), 0, 9), (vec![2, 0, 4], false));
        assert_eq!(find(0, Keys::These(&these), 1, 1), (vec![0], true));
        assert_eq!(find(0, Keys::Between(Some(&two), Some(&three)), 0, 9), (vec![2, 0, 4], false));
        assert_eq!(find(0, Keys::Between(Some(&three), None), 1, 9), (vec![4, 3], false));
        assert_eq!(find(0, Keys::Between(None, Some(&two)), 0, 9), (vec![], false));
        assert_eq!(find(0, Keys::Between(None, None), 0, 1), (vec![1], true));
        assert_eq!(find(0, Keys::Between(Some(&nan), None), 0, 9), (vec![], false));
        assert_eq!(find(1, Keys::Between(Some(&two), Some(&three)), 0, 9), (vec![2, 3], false));
        assert_eq!(find(1, Keys::Between(Some(&three), Some(&two)), 0, 9), (vec![], false));
        assert_eq!(find(1, Keys::Between(None, None), 4, 9), (vec![4], false));
        assert_eq!(find(1, Keys::These(&[9.into(), 1.0.into()]), 0, 9), (vec![1], false));
        assert!(snapshot.find(&numbers, 2, &Keys::These(&[]), 0, ALL, &mut Rows::default()).is_err());
        assert!(snapshot.count(&table("gone", "id", "")).is_err());
    }
}
