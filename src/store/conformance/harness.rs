//! What the cases share: tables described in a line, records, and a look at what became of them.

pub(crate) use super::one_by_one::{apply_each, apply_one_by_one};
use crate::domain::record::{Outcome, Reason, Tally};
use crate::domain::schema::{Column, ForeignKey, LogicalType, TableSchema, UniqueKind, UniqueSet};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::table::{ExtraColumns, plan_table};
use crate::plan::{Identity, TablePlan};
use crate::store::{Change, NewTable, PageBounds, Refused, Snapshot, Store, Writer};

/// More rows and bytes than any case has.
pub(crate) const ALL: PageBounds = PageBounds { rows: 100_000, bytes: 1 << 30 };

/// A value of a record, or none.
pub(crate) type Cell = Option<Value>;

/// NULL in a record.
pub(crate) const NULL: Cell = Some(Value::Null);

/// A column that a record does not have.
pub(crate) const ABSENT: Cell = None;

/// A value in a record.
pub(crate) fn v(value: impl Into<Value>) -> Cell {
    Some(value.into())
}

/// Unwraps with a sentence.
pub(crate) trait Must<T> {
    /// The value, or a panic that says what could not be done.
    fn must(self, doing: &str) -> T;
}

impl<T> Must<T> for Result<T> {
    #[track_caller]
    fn must(self, doing: &str) -> T {
        self.unwrap_or_else(|error| panic!("cannot {doing}: {error} ({})", error.code()))
    }
}

pub(crate) fn rows<const N: usize>(records: impl IntoIterator<Item = [Cell; N]>) -> Rows {
    let mut rows = Rows::new(N);
    for record in records {
        rows.start_row();
        for (at, cell) in record.iter().enumerate() {
            if let Some(value) = cell {
                rows.set(at, value.as_ref());
            }
        }
    }
    rows
}

fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

/// A table as a sender describes it. `columns` is `id integer!, mail text`: names and what they mean, `!` for NOT NULL.
pub(crate) fn table(name: &str, columns: &str, key: &str) -> TableSchema {
    let column = |text: &str| {
        let (name, meaning) = text.trim().rsplit_once(' ').expect("a column has a name and a type");
        let logical = match meaning.trim_end_matches('!') {
            "integer" => LogicalType::Integer,
            "real" => LogicalType::Real,
            "text" => LogicalType::Text,
            "blob" => LogicalType::Blob,
            "uuid" => LogicalType::Uuid,
            "any" => LogicalType::Any,
            other => panic!("no case uses the type {other:?}"),
        };
        Column { name: name.into(), logical, nullable: !meaning.ends_with('!'), ..Column::default() }
    };
    TableSchema {
        name: name.into(),
        columns: columns.split(',').map(column).collect(),
        primary_key: names(key),
        ..TableSchema::default()
    }
}

/// Adds to the description of a table.
pub(crate) trait Describe {
    fn with_unique(self, columns: &str) -> Self;
    fn with_parent(self, columns: &str, parent: &str, parent_columns: &str) -> Self;
}

impl Describe for TableSchema {
    fn with_unique(mut self, columns: &str) -> Self {
        self.unique.push(UniqueSet { columns: names(columns), kind: UniqueKind::Full, ..UniqueSet::default() });
        self
    }

    fn with_parent(mut self, columns: &str, parent: &str, parent_columns: &str) -> Self {
        let (columns, parent_columns) = (names(columns), names(parent_columns));
        self.foreign_keys.push(ForeignKey { columns, parent: parent.into(), parent_columns, ..ForeignKey::default() });
        self
    }
}

/// Makes tables in this transaction, which may refer to each other.
#[track_caller]
pub(crate) fn make(writer: &mut dyn Writer, tables: &[TableSchema]) -> Result<()> {
    let parents = |name: &str| tables.iter().find(|table| table.name == name);
    for schema in tables {
        let notes = writer.create_table(&NewTable { schema, exact: false, parents: &parents })?;
        assert!(notes.is_empty(), "the table {:?} is not made as a case describes it: {notes:?}", schema.name);
    }
    Ok(())
}

/// Makes tables, and gives them as the store describes them.
#[track_caller]
pub(crate) fn create<const N: usize>(store: &dyn Store, tables: [TableSchema; N]) -> [TableSchema; N] {
    write(store, |writer| make(writer, &tables));
    tables.map(|table| schema(store, &table.name))
}

/// Makes a table whose key, if the store has such keys, may hold NULL; `None` if it has none.
#[track_caller]
pub(crate) fn create_nullable(store: &dyn Store, mut table: TableSchema) -> Option<TableSchema> {
    for column in &mut table.columns {
        column.declared_type = if column.logical == LogicalType::Integer { "BIGINT" } else { "TEXT" }.into();
    }
    write(store, |writer| writer.create_table(&NewTable { schema: &table, exact: true, parents: &|_| None }));
    let found = schema(store, &table.name);
    let nullable = matches!(plan(&found, Strategy::Skip).identity, Identity::Key { nullable: true, .. });
    nullable.then_some(found)
}

/// Makes a table whose key compares each of its columns by such a collation, `-` for the column's own; `None` if the store says
/// that its keys do not.
#[track_caller]
pub(crate) fn create_collated(store: &dyn Store, mut table: TableSchema, collations: &str) -> Option<TableSchema> {
    for column in &mut table.columns {
        column.declared_type = if column.logical == LogicalType::Integer { "INT" } else { "TEXT" }.into();
    }
    table.key_collations = collations.split_whitespace().map(|name| (name != "-").then(|| name.to_owned())).collect();
    let notes = write(store, |writer| writer.create_table(&NewTable { schema: &table, exact: true, parents: &|_| None }));
    let found = schema(store, &table.name);
    let alike = found.key_collations == table.key_collations;
    assert!(alike || !notes.is_empty(), "a key that compares by {collations} is made otherwise, and nothing is said");
    alike.then_some(found)
}

#[track_caller]
pub(crate) fn schema(store: &dyn Store, table: &str) -> TableSchema {
    let found = look(store).schema(table).must("read a schema");
    found.unwrap_or_else(|| panic!("the table {table:?} is not there"))
}

#[track_caller]
pub(crate) fn look(store: &dyn Store) -> Box<dyn Snapshot> {
    store.snapshot().must("take a snapshot")
}

#[track_caller]
pub(crate) fn begin(store: &dyn Store) -> Box<dyn Writer> {
    store.writer().must("begin a transaction")
}

/// Runs `work` in one transaction, which is committed.
#[track_caller]
pub(crate) fn write<T>(store: &dyn Store, work: impl FnOnce(&mut dyn Writer) -> Result<T>) -> T {
    let mut writer = begin(store);
    let done = work(&mut *writer).must("write");
    writer.commit().must("commit");
    done
}

/// The plan of taking records with the columns of `table` into it.
pub(crate) fn plan(table: &TableSchema, strategy: Strategy) -> TablePlan {
    plan_table(table, table, strategy, ExtraColumns::Refuse).must("plan the import of a table")
}

pub(crate) fn tally() -> Tally {
    Tally::new(1_000)
}

/// What becomes of records, [one by one](super::one_by_one), in a transaction of its own.
#[track_caller]
pub(crate) fn apply(store: &dyn Store, plan: &TablePlan, rows: &Rows) -> Outcome {
    write(store, |writer| apply_one_by_one(writer, plan, rows))
}

/// Puts rows into a table, all of them new.
#[track_caller]
pub(crate) fn fill(store: &dyn Store, table: &TableSchema, rows: &Rows) {
    let outcome = apply(store, &plan(table, Strategy::Skip), rows);
    expect_counts(&outcome, Counts { created: rows.len() as u64, ..NONE });
}

/// Adds local rows, and gives which of them were refused.
pub(crate) fn add(writer: &mut dyn Writer, table: &TableSchema, rows: &Rows) -> Result<Vec<Refused>> {
    let mut refused = Vec::new();
    writer.write(table, Change::Insert, rows, 0..rows.len(), &mut refused)?;
    Ok(refused)
}

/// Looks whether just these rows were refused, for these reasons.
#[track_caller]
pub(crate) fn expect_refused(refused: &[Refused], expected: &[(usize, Reason)]) {
    let found: Vec<_> = refused.iter().map(|refused| (refused.row, refused.reason)).collect();
    assert!(found == expected, "the rows {found:?} were refused instead of {expected:?}");
    let silent = refused.iter().find(|refused| refused.message.is_empty());
    assert!(silent.is_none(), "the refusal of a row says nothing: {silent:?}");
}

/// All rows of a table as a transaction sees them, in the order of its pages.
pub(crate) fn rows_in(writer: &mut dyn Writer, table: &TableSchema) -> Result<Vec<Vec<Value>>> {
    let mut rows = Rows::default();
    let end = writer.page(table, None, ALL, &mut rows)?;
    assert!(!end.more, "a page without bounds leaves rows of {:?} out", table.name);
    Ok(owned(&rows))
}

/// The five counts of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) created: u64,
    pub(crate) updated: u64,
    pub(crate) unchanged: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
}

pub(crate) const NONE: Counts = Counts { created: 0, updated: 0, unchanged: 0, skipped: 0, failed: 0 };

#[track_caller]
pub(crate) fn expect_counts(outcome: &Outcome, expected: Counts) {
    let Outcome { created, updated, unchanged, skipped, failed, failures, .. } = outcome;
    let (created, updated, unchanged, skipped, failed) = (*created, *updated, *unchanged, *skipped, *failed);
    let found = Counts { created, updated, unchanged, skipped, failed };
    assert!(found == expected, "the records count as {found:?} instead of {expected:?}; failures: {failures:?}");
}

/// All rows of a table, in the order of its pages.
#[track_caller]
pub(crate) fn contents(store: &dyn Store, table: &TableSchema) -> Vec<Vec<Value>> {
    let mut rows = Rows::default();
    let end = look(store).page(table, None, 0, ALL, &mut rows).must("read a page");
    assert!(!end.more, "a page without bounds leaves rows of {:?} out", table.name);
    owned(&rows)
}

/// The rows as values; no cell may be absent.
#[track_caller]
pub(crate) fn owned(rows: &Rows) -> Vec<Vec<Value>> {
    let cell = |row, at| rows.get(row, at).map(ValueRef::to_owned).unwrap_or_else(|| panic!("a cell is absent"));
    (0..rows.len()).map(|row| (0..rows.width()).map(|at| cell(row, at)).collect()).collect()
}

/// Whether these are the same rows, in the same order, each value of the same storage class and bits.
pub(crate) fn are_same(found: &[Vec<Value>], expected: &[Vec<Value>]) -> bool {
    let same =
        |a: &Vec<Value>, b: &Vec<Value>| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.as_ref().same(b.as_ref()));
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| same(a, b))
}

/// Looks whether a table holds these rows, in key order.
#[track_caller]
pub(crate) fn expect_rows(store: &dyn Store, table: &TableSchema, expected: &Rows) {
    let (found, expected) = (contents(store, table), owned(expected));
    assert!(are_same(&found, &expected), "the table {:?} holds {found:?} instead of {expected:?}", table.name);
}

/// Looks whether a table without a key holds these rows, in any order.
#[track_caller]
pub(crate) fn expect_multiset(store: &dyn Store, table: &TableSchema, expected: &Rows) {
    let sorted = |mut rows: Vec<Vec<Value>>| {
        rows.sort_by_key(|row| format!("{row:?}"));
        rows
    };
    let (found, expected) = (sorted(contents(store, table)), sorted(owned(expected)));
    assert!(are_same(&found, &expected), "the table {:?} holds {found:?} instead of {expected:?}", table.name);
}

/// The first column of each row as an integer.
#[track_caller]
pub(crate) fn integers(rows: &[Vec<Value>], column: usize) -> Vec<i64> {
    let integer = |row: &Vec<Value>| row[column].as_integer().unwrap_or_else(|| panic!("{:?} is no integer", row[column]));
    rows.iter().map(integer).collect()
}
