//! Tables in ordinary maps: rows by a number that grows, and an ordered index for the key and for each unique set.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::collation::Collation;
use crate::domain::names::NameRules;
use crate::domain::schema::{TableSchema, UniqueKind};
use crate::domain::value::{Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::table::key_of;

/// How names are compared here.
pub(super) const NAMES: NameRules = NameRules::IgnoreAsciiCase;

/// Values in the order that SQLite sorts them in; a NaN, which no row has, comes before all numbers.
#[derive(Debug, Clone)]
pub(super) struct Key(pub(super) Vec<Value>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let each = self.0.iter().zip(&other.0).map(|(left, right)| order(left.as_ref(), right.as_ref()));
        each.fold(Ordering::Equal, Ordering::then).then(self.0.len().cmp(&other.0.len()))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

/// [`ValueRef::order`], which is no order where there is NaN.
pub(super) fn order(left: ValueRef<'_>, right: ValueRef<'_>) -> Ordering {
    match (is_nan(left), is_nan(right)) {
        (false, false) => left.order(right),
        (true, true) => Ordering::Equal,
        (true, false) => {
            if right.is_null() {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (false, true) => {
            if left.is_null() {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
    }
}

pub(super) fn is_nan(value: ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Real(real) if real.is_nan())
}

/// A row's values, in the order of the columns. A copy of a table shares them.
pub(super) type Row = Arc<[Value]>;

/// A set of columns of which no two rows have the same values.
#[derive(Clone)]
pub(super) struct Index {
    pub(super) columns: Vec<usize>,
    /// How it compares each of them.
    collations: Vec<Collation>,
    keyed: BTreeMap<Key, u64>,
    /// Rows with NULL among the values: they are equal to none.
    loose: BTreeSet<u64>,
}

impl Index {
    fn new(columns: Vec<usize>, collations: Vec<Collation>) -> Self {
        Index { columns, collations, keyed: BTreeMap::new(), loose: BTreeSet::new() }
    }

    /// The row's values as the index compares them, if none is NULL.
    pub(super) fn key(&self, row: &[Value]) -> Option<Key> {
        self.key_of(self.columns.iter().map(|at| row.get(*at).filter(|value| !value.is_null()).map(Value::as_ref)))
    }

    /// The same of values in the order of its columns.
    fn key_of<'v>(&self, values: impl Iterator<Item = Option<ValueRef<'v>>>) -> Option<Key> {
        let folded = values.zip(&self.collations).map(|(value, collation)| Some(collation.fold(value?).to_owned()));
        folded.collect::<Option<Vec<Value>>>().map(Key)
    }

    fn add(&mut self, row: &[Value], id: u64) {
        match self.key(row) {
            Some(key) => drop(self.keyed.insert(key, id)),
            None => drop(self.loose.insert(id)),
        }
    }

    fn remove(&mut self, row: &[Value], id: u64) {
        match self.key(row) {
            Some(key) => drop(self.keyed.remove(&key)),
            None => drop(self.loose.remove(&id)),
        }
    }

    /// The rows without a value here, after this one.
    pub(super) fn loose_after(&self, id: Option<u64>) -> impl Iterator<Item = u64> {
        self.loose.range((after(id), Bound::Unbounded)).copied()
    }

    /// The other rows in their order, after this place.
    pub(super) fn keyed_after(&self, key: Option<Key>) -> impl Iterator<Item = u64> {
        self.keyed.range((after(key), Bound::Unbounded)).map(|(_, id)| *id)
    }

    /// The rows from the first of these values to the second. For an index over one column.
    pub(super) fn between(&self, from: Option<&Value>, to: Option<&Value>) -> Vec<u64> {
        let from = from.map_or(Bound::Unbounded, |from| Bound::Included(Key(vec![from.clone()])));
        let to = to.map(|to| Key(vec![to.clone()]));
        let found = self.keyed.range((from, Bound::Unbounded));
        found.take_while(|(key, _)| to.as_ref().is_none_or(|to| *key <= to)).map(|(_, id)| *id).collect()
    }
}

fn after<T>(place: Option<T>) -> Bound<T> {
    place.map_or(Bound::Unbounded, Bound::Excluded)
}

/// A table: what it looks like, and its rows.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) schema: Arc<TableSchema>,
    rows: BTreeMap<u64, Row>,
    next: u64,
    indexes: Vec<Index>,
    /// Which index has the order of the pages, if one has.
    paged_by: Option<usize>,
}

impl Table {
    /// A table of this structure without rows.
    pub(super) fn new(schema: TableSchema) -> Result<Self> {
        let mut indexes: Vec<Index> = Vec::new();
        let full = schema.unique.iter().filter(|set| set.kind == UniqueKind::Full).map(|set| &set.columns);
        let sets = std::iter::once((&schema.primary_key, true)).chain(full.map(|names| (names, false)));
        for (names, is_key) in sets.filter(|(names, _)| !names.is_empty()) {
            let missing = || Error::new(ErrorKind::SchemaMismatch, format!("a key of {:?} has no such column", schema.name));
            let columns = schema.column_indexes(names).ok_or_else(missing)?;
            let collations = if is_key { schema.key_collations_of(&columns) } else { Vec::new() };
            let collations = Collation::all(&collations, columns.len())?;
            let index = Index::new(columns, collations);
            if !indexes.iter().any(|other| (&other.columns, &other.collations) == (&index.columns, &index.collations)) {
                indexes.push(index);
            }
        }
        let paged_by = key_of(&schema)?.and_then(|(key, _)| indexes.iter().position(|index| index.columns == key));
        Ok(Table { schema: Arc::new(schema), rows: BTreeMap::new(), next: 0, indexes, paged_by })
    }

    pub(super) fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    pub(super) fn row(&self, id: u64) -> Option<&Row> {
        self.rows.get(&id)
    }

    /// The rows by their numbers, after this one.
    pub(super) fn rows_after(&self, id: Option<u64>) -> impl Iterator<Item = (u64, &Row)> {
        self.rows.range((after(id), Bound::Unbounded)).map(|(id, row)| (*id, row))
    }

    pub(super) fn paged_by(&self) -> Option<&Index> {
        self.paged_by.and_then(|at| self.indexes.get(at))
    }

    /// The index over exactly these columns, in any order, that compares byte for byte.
    pub(super) fn index_of(&self, columns: &[usize]) -> Option<&Index> {
        self.index_that_compares(columns, &vec![Collation::Binary; columns.len()])
    }

    /// The index over exactly these columns, in any order, that compares each so.
    fn index_that_compares(&self, columns: &[usize], collations: &[Collation]) -> Option<&Index> {
        let has = |index: &Index, column: &usize, collation: &Collation| {
            index.columns.iter().zip(&index.collations).any(|part| part == (column, collation))
        };
        let same = |index: &&Index| {
            index.columns.len() == columns.len() && columns.iter().zip(collations).all(|(at, by)| has(index, at, by))
        };
        self.indexes.iter().find(same)
    }

    /// Whether rows can be told apart by this column, alone or with others.
    pub(super) fn identifies(&self, column: usize) -> bool {
        self.indexes.iter().any(|index| index.columns.contains(&column))
    }

    /// Where the columns of such a description of this table stand.
    pub(super) fn positions(&self, described: &TableSchema) -> Result<Vec<usize>> {
        let position = |(at, name): (usize, &str)| {
            // Mostly it is the same description.
            let same = self.schema.columns.get(at).is_some_and(|column| column.name == name);
            let found = if same { Some(at) } else { self.schema.column_index(name) };
            let missing = || format!("the table {:?} has no column {name:?}", self.schema.name);
            found.ok_or_else(|| Error::new(ErrorKind::SchemaMismatch, missing()))
        };
        described.columns.iter().map(|column| column.name.as_str()).enumerate().map(position).collect()
    }

    /// The rows that have these values in these columns, byte for byte. NULL and NaN are equal to nothing.
    pub(super) fn matching(&self, columns: &[usize], values: &[ValueRef<'_>]) -> Vec<u64> {
        self.matching_by(columns, &vec![Collation::Binary; columns.len()], values)
    }

    /// The same by these collations.
    pub(super) fn matching_by(&self, columns: &[usize], by: &[Collation], values: &[ValueRef<'_>]) -> Vec<u64> {
        if values.len() != columns.len() || values.iter().any(|value| value.is_null() || is_nan(*value)) {
            return Vec::new();
        }
        if let Some(index) = self.index_that_compares(columns, by) {
            let value = |at: &usize| columns.iter().position(|column| column == at).map(|place| values[place]);
            let key = index.key_of(index.columns.iter().map(value));
            return key.and_then(|key| index.keyed.get(&key)).copied().into_iter().collect();
        }
        let wanted: Vec<Value> = by.iter().zip(values).map(|(by, value)| by.fold(*value).to_owned()).collect();
        let equal = |row: &Row| {
            let mut parts = columns.iter().zip(by).zip(&wanted);
            parts.all(|((at, by), wanted)| {
                row.get(*at).is_some_and(|found| order(by.fold(found.as_ref()).as_ref(), wanted.as_ref()).is_eq())
            })
        };
        self.rows.iter().filter(|(_, row)| equal(row)).map(|(id, _)| *id).collect()
    }

    /// The columns of a unique set of which another row has the same values.
    pub(super) fn conflict(&self, row: &[Value], itself: Option<u64>) -> Option<&[usize]> {
        let taken = |index: &&Index| {
            let other = index.key(row).and_then(|key| index.keyed.get(&key).copied());
            other.is_some() && other != itself
        };
        self.indexes.iter().find(taken).map(|index| index.columns.as_slice())
    }

    /// The rows that have the same values in a unique set.
    pub(super) fn conflicts(&self, row: &[Value], itself: Option<u64>) -> BTreeSet<u64> {
        let other = |index: &Index| index.key(row).and_then(|key| index.keyed.get(&key).copied());
        self.indexes.iter().filter_map(other).filter(|id| Some(*id) != itself).collect()
    }

    /// Adds a row that has no conflict; gives its number, which no other row ever had.
    pub(super) fn insert(&mut self, row: Row) -> u64 {
        let id = self.next;
        self.next += 1;
        self.put(id, Some(row));
        id
    }

    /// Puts a row in the place of another, or takes it away; gives what was there.
    pub(super) fn put(&mut self, id: u64, row: Option<Row>) -> Option<Row> {
        let old = self.rows.remove(&id);
        for index in &mut self.indexes {
            old.iter().for_each(|old| index.remove(old, id));
            row.iter().for_each(|row| index.add(row, id));
        }
        row.into_iter().for_each(|row| drop(self.rows.insert(id, row)));
        old
    }

    /// The largest integer in a column; at least 0.
    pub(super) fn largest(&self, column: usize) -> i64 {
        let integer = |value: &Value| value.as_integer();
        let found = match self.index_of(&[column]) {
            Some(index) => {
                // Numbers end where text begins.
                let text = Key(vec![Value::Text(Vec::new())]);
                index.keyed.range(..text).rev().find_map(|(key, _)| key.0.first().and_then(integer))
            }
            None => self.rows.values().filter_map(|row| row.get(column).and_then(integer)).max(),
        };
        found.unwrap_or(0).max(0)
    }
}

/// All tables. A copy shares those that are not written to afterwards.
#[derive(Clone, Default)]
pub(super) struct Tables(BTreeMap<String, Arc<Table>>);

impl Tables {
    pub(super) fn get(&self, name: &str) -> Option<&Table> {
        self.0.get(&*NAMES.fold(name)).map(|table| &**table)
    }

    /// A table that must be there.
    pub(super) fn table(&self, name: &str) -> Result<&Table> {
        self.get(name).ok_or_else(|| missing(name))
    }

    /// A table that must be there, to be changed.
    pub(super) fn table_mut(&mut self, name: &str) -> Result<&mut Table> {
        self.0.get_mut(&*NAMES.fold(name)).map(Arc::make_mut).ok_or_else(|| missing(name))
    }

    pub(super) fn add(&mut self, table: Table) {
        self.0.insert(NAMES.fold(&table.schema.name).into_owned(), Arc::new(table));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Table> {
        self.0.values().map(|table| &**table)
    }
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::TableNotFound, format!("there is no table {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, UniqueSet};

    fn table(key: &[&str], unique: &[&str]) -> Table {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let column = |name: &str| Column { name: name.into(), nullable: true, ..Column::default() };
        Table::new(TableSchema {
            name: "t".into(),
            columns: ["a", "b"].map(column).into(),
            primary_key: names(key),
            unique: vec![UniqueSet { columns: names(unique), kind: UniqueKind::Full, ..UniqueSet::default() }],
            ..TableSchema::default()
        })
        .unwrap()
    }

    fn row(values: [Value; 2]) -> Row {
        Arc::from(values)
    }

    #[test]
    fn keys_are_ordered_and_equal_as_in_sqlite() {
        let sorted = [Value::Null, f64::NAN.into(), Value::Real(-1.5), 0.into(), 1.into(), "".into(), "a".into()];
        for (at, left) in sorted.iter().enumerate() {
            for (beside, right) in sorted.iter().enumerate() {
                let order = Key(vec![left.clone()]).cmp(&Key(vec![right.clone()]));
                assert_eq!(order, at.cmp(&beside), "{left:?} beside {right:?}");
            }
        }
        assert_eq!(Key(vec![1.into()]), Key(vec![1.0.into()]));
        assert_ne!(Key(vec![i64::MAX.into()]), Key(vec![9_223_372_036_854_775_808.0.into()]));
    }

    #[test]
    fn a_key_and_a_unique_set_of_one_column_may_compare_differently() {
        let columns = ["a", "b"].map(|name| Column { name: name.into(), nullable: true, ..Column::default() });
        let mut table = Table::new(TableSchema {
            columns: columns.into(),
            primary_key: vec!["b".into(), "a".into()],
            key_collations: vec![Some("rtrim".into()), Some("NOCASE".into())],
            unique: vec![UniqueSet {
                columns: vec!["a".into(), "b".into()],
                kind: UniqueKind::Full,
                ..UniqueSet::default()
            }],
            ..TableSchema::default()
        })
        .unwrap();
        let id = table.insert(row(["x".into(), "y ".into()]));
        assert_eq!(table.conflict(&["X".into(), "y".into()], None), Some(&[1, 0][..]));
        for other in [["X".into(), "Y ".into()], ["x ".into(), "y ".into()], ["É".into(), "y ".into()]] {
            assert_eq!(table.conflict(&other, None), None, "{other:?}");
        }
        let found = |by: [Collation; 2], values: [&[u8]; 2]| table.matching_by(&[0, 1], &by, &values.map(ValueRef::Text));
        assert_eq!(found([Collation::NoCase, Collation::RTrim], [b"X", b"y   "]), [id]);
        assert_eq!(found([Collation::Binary, Collation::RTrim], [b"x", b"y"]), [id], "no index compares so");
        assert!(found([Collation::Binary, Collation::Binary], [b"X", b"y "]).is_empty());
        assert!(Collation::named(Some("german")).is_err());
    }

    #[test]
    fn a_row_conflicts_with_others_only() {
        let mut table = table(&["a"], &["b"]);
        let id = table.insert(row([1.into(), "x".into()]));
        assert_eq!(table.conflict(&[1.0.into(), "y".into()], None), Some(&[0][..]));
        assert_eq!(table.conflict(&[2.into(), "x".into()], None), Some(&[1][..]));
        assert_eq!(table.conflict(&[1.into(), "x".into()], Some(id)), None);
        table.insert(row([Value::Null, Value::Null]));
        assert_eq!(table.conflict(&[Value::Null, Value::Null], None), None);
        // What is taken away is free again, and comes back with what it had.
        let old = table.put(id, None);
        assert_eq!(table.conflict(&[1.into(), "x".into()], None), None);
        table.put(id, old);
        assert_eq!(table.matching(&[1], &[ValueRef::Text(b"x")]), [id]);
        assert_eq!(table.matching(&[1, 0], &[ValueRef::Text(b"x"), ValueRef::Real(1.0)]), [id]);
        assert!(table.matching(&[0], &[ValueRef::Null]).is_empty());
        assert!(table.matching(&[0], &[ValueRef::Real(f64::NAN)]).is_empty());
    }

    #[test]
    fn the_largest_integer_is_found_among_other_values() {
        for mut table in [table(&["a"], &["b"]), table(&["b"], &["b"])] {
            assert_eq!(table.largest(0), 0);
            for (number, value) in [(-5).into(), 7.into(), 9.5.into(), "99".into(), Value::Null].into_iter().enumerate() {
                table.insert(row([value, (number as i64).into()]));
            }
            assert_eq!(table.largest(0), 7);
        }
    }
}
