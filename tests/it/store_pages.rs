//! Pages of a snapshot against a model: whatever the key and however pages are cut, each row comes once, in key order.

use crate::support::common::Fixture;
use crate::support::model::make::{rows, tables};
use crate::support::model::sql::fill;
use crate::support::model::{Column, Model, Row, Table, show};
use proptest::collection::vec;
use proptest::prelude::*;
use rowferry::store::SqliteStore;
use rowferry::store::{PageBounds, Snapshot, Store};
use rowferry::{Limits, Rows, ValueRef};

/// Names that SQLite may know the rowid by, taken by columns.
const ROWID_NAMES: [&str; 3] = ["rowid", "oid", "_ROWID_"];

/// A table with rows that are in it, in the order of their rowids.
#[derive(Debug)]
struct Case {
    table: Table,
    rows: Vec<Row>,
}

fn cases() -> impl Strategy<Value = Case> {
    let filled = |table: Table| (Just(table.clone()), vec(rows(&table), 0..90));
    let any = || {
        (tables(), 0..5usize).prop_map(|(mut table, taken)| {
            // A column more, for each name of the rowid that is taken.
            for name in ROWID_NAMES.iter().take(taken) {
                if table.columns.iter().all(|column| !column.name.eq_ignore_ascii_case(name)) {
                    let column = Column { name: (*name).to_owned(), declared: "INT", ..plain() };
                    table.columns.push(column);
                }
            }
            table
        })
    };
    prop_oneof![3 => any(), 1 => wide_keys()].prop_flat_map(filled).prop_map(|(table, rows)| {
        let mut model = Model::new(table);
        rows.iter().for_each(|row| _ = model.insert(row));
        Case { table: model.table, rows: model.rows }
    })
}

fn plain() -> Column {
    let name = String::new();
    Column { name, declared: "", not_null: false, check: false, nocase: false, unique: false, default: false }
}

/// Keys of two and three columns of any class, NULL among them.
fn wide_keys() -> impl Strategy<Value = Table> {
    (2..4usize, any::<bool>(), any::<bool>()).prop_map(|(width, not_null, without_rowid)| {
        let column = |at| Column { name: format!("k{at}"), not_null: not_null && at == 0, ..plain() };
        let mut columns: Vec<Column> = (0..width).map(column).collect();
        columns.push(Column { name: "v".into(), ..plain() });
        let key = (0..width).rev().collect();
        Table { columns, key, primary: true, strict: false, without_rowid }
    })
}

impl Case {
    fn store(&self) -> (Fixture, SqliteStore) {
        let fixture = Fixture::new(&self.table.sql("t"));
        fill(&fixture.sqlite, "t", &self.rows);
        let store = SqliteStore::open(fixture.path(), &Limits::default()).unwrap();
        (fixture, store)
    }
}

/// Where a page is cut, and how many rows are left out before it.
#[derive(Clone, Copy, Debug)]
struct Cut {
    bounds: PageBounds,
    skip: u64,
}

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let bytes = prop_oneof![2 => Just(usize::MAX), 1 => 1..1500usize];
    let skip = prop_oneof![40 => Just(0), 10 => 1..20u64, 1 => Just(u64::MAX)];
    let cut = (1..25usize, bytes, skip).prop_map(|(rows, bytes, skip)| Cut { bounds: PageBounds { rows, bytes }, skip });
    vec(cut, 1..8)
}

fn row(rows: &Rows, at: usize) -> Row {
    (0..rows.width()).map(|column| rows.get(at, column).map(ValueRef::to_owned).expect("no cell is absent")).collect()
}

/// Goes through all pages of the snapshot, which must be of these rows; `between` is called behind each page.
fn walk(
    snapshot: &mut dyn Snapshot,
    cuts: &[Cut],
    expected: &[Row],
    mut between: impl FnMut(),
) -> Result<(), TestCaseError> {
    let table = snapshot.schema("T").unwrap().unwrap();
    prop_assert_eq!(snapshot.count(&table).unwrap(), expected.len() as u64);
    let (mut cursor, mut position, mut rows) = (None, 0usize, Rows::default());
    for Cut { bounds, skip } in cuts.iter().cycle() {
        let end = snapshot.page(&table, cursor.as_ref(), *skip, *bounds, &mut rows).unwrap();
        position = position.saturating_add(usize::try_from(*skip).unwrap_or(usize::MAX)).min(expected.len());
        let got: Vec<String> = (0..rows.len()).map(|at| show(&row(&rows, at))).collect();
        let wanted: Vec<String> = expected[position..].iter().take(got.len()).map(|row| show(row)).collect();
        prop_assert_eq!(&got, &wanted, "behind {}", position);
        position += got.len();

        let is_full = |records: usize| {
            let mut some = Rows::new(rows.width());
            some.push_rows(&rows, 0..records);
            records >= bounds.rows || (some.size_bytes() >= bounds.bytes && records > 0)
        };
        prop_assert!(position == expected.len() || is_full(got.len()), "a page of {} rows for {:?}", got.len(), bounds);
        prop_assert!(got.is_empty() || !is_full(got.len() - 1), "a page of {} rows for {:?}", got.len(), bounds);
        prop_assert_eq!(end.more, position < expected.len());
        prop_assert_eq!(end.cursor.is_some(), !got.is_empty());
        if !end.more {
            return Ok(());
        }
        cursor = end.cursor;
        between();
    }
    unreachable!("the cuts are repeated")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn each_row_comes_once_and_in_order(case in cases(), cuts in cuts()) {
        let (_fixture, store) = case.store();
        walk(&mut *store.snapshot().unwrap(), &cuts, &case.table.ordered(&case.rows), || ())?;
    }

    #[test]
    fn a_snapshot_does_not_see_later_writes(case in cases(), cuts in cuts(), other in cases()) {
        let (fixture, store) = case.store();
        let mut snapshot = store.snapshot().unwrap();
        let mut step = 0;
        let mut write = || {
            match step {
                0 => fixture.run("DELETE FROM t WHERE abs(random()) % 2 = 0"),
                1 => fixture.run("DELETE FROM t"),
                2 => fixture.run(&format!("ALTER TABLE t RENAME TO gone; {}", other.table.sql("t"))),
                _ => {}
            }
            step += 1;
        };
        write();
        walk(&mut *snapshot, &cuts, &case.table.ordered(&case.rows), write)?;
    }
}
