//! What columns compare of values.

use std::ops::Range;

use super::harness::*;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::store::{Found, KeyColumns, Lookup, Store, Writer};

#[track_caller]
fn compare(
    writer: &mut dyn Writer,
    table: &TableSchema,
    columns: &[usize],
    cells: &[usize],
    rows: &Rows,
    range: Range<usize>,
) -> Rows {
    // What a caller used before must not be seen again.
    let mut to = Rows::new(7);
    to.push([ValueRef::Null; 7]);
    writer.comparable(&KeyColumns { table, columns }, cells, rows, range.clone(), &mut to).must("compare values");
    assert_eq!((to.width(), to.len()), (cells.len(), range.len()), "the values of a range");
    to
}

/// A table whose columns have these values, each in a row of its own.
fn kinds(store: &dyn Store) -> (TableSchema, [Vec<Value>; 3]) {
    let [kinds] = create(store, [table("kinds", "id integer!, i integer, r real, t text", "id")]);
    let texts = ["", "a", "A", "a ", "1", "1.0", "é"].map(Value::from).to_vec();
    let integers = [-1, 0, 1, 2, i64::MAX].map(Value::from).to_vec();
    let reals = [-1.0, 0.0, 0.5, 1.0, 1e300].map(Value::Real).to_vec();
    let longest = 0..texts.len();
    let records = longest.map(|at| {
        let value = |values: &[Value]| values.get(at).cloned().map_or(NULL, Some);
        [v(at as i64), value(&integers), value(&reals), value(&texts)]
    });
    fill(store, &kinds, &rows(records));
    (kinds, [integers, reals, texts])
}

pub(super) fn what_a_lookup_finds_is_the_same(store: &dyn Store) {
    let (kinds, values) = kinds(store);
    let mut writer = begin(store);
    for (column, name) in [(1, "i"), (2, "r"), (3, "t")] {
        // Numbers of either class are asked for in columns of numbers.
        let asked: Vec<Value> = match column {
            3 => values[2].clone(),
            _ => values[..2].concat().into_iter().filter(|value| *value != Value::from(i64::MAX)).collect(),
        };
        let asked = rows(asked.into_iter().map(|value| [Some(value)]));
        let stored = rows(values[column - 1].iter().map(|value| [Some(value.clone())]));
        let compared = compare(&mut *writer, &kinds, &[column], &[0], &asked, 0..asked.len());
        let there = compare(&mut *writer, &kinds, &[column], &[0], &stored, 0..stored.len());
        let lookup = Lookup { table: "kinds", columns: &[name], collations: &[], cells: &[0], read: &["id"] };
        let mut found = Found::default();
        writer.lookup(&lookup, &asked, 0..asked.len(), &mut found).must("look rows up");
        for row in 0..asked.len() {
            let is_there = (0..there.len()).any(|at| same(&there, at, &compared, row));
            let value = asked.get(row, 0);
            assert_eq!(is_there, found.has(row), "whether {value:?} is a value of the column {name}");
        }
    }
}

fn same(one: &Rows, row: usize, other: &Rows, other_row: usize) -> bool {
    let mut cells = one.row(row).zip(other.row(other_row));
    cells.all(|(one, other)| one.zip(other).is_some_and(|(one, other)| one.same(other)))
}

pub(super) fn each_value_is_that_of_its_cell(store: &dyn Store) {
    let (kinds, _) = kinds(store);
    let mut writer = begin(store);
    let records = rows([[v("x"), v(1), v("a")], [v("y"), v(2), v("b")], [v("z"), ABSENT, NULL], [v("u"), NULL, ABSENT]]);
    let all = compare(&mut *writer, &kinds, &[3, 1], &[2, 1], &records, 0..4);
    let first = |row: usize| all.row(row).map(|cell| cell.map(ValueRef::to_owned)).collect::<Vec<_>>();
    assert_eq!([first(0), first(1)], [[v("a"), v(1)], [v("b"), v(2)]], "values of cells in another order");
    assert_eq!([first(2), first(3)], [[NULL, ABSENT], [ABSENT, NULL]], "what is absent or NULL stays so");
    let second = compare(&mut *writer, &kinds, &[3, 1], &[2, 1], &records, 1..2);
    assert!(same(&all, 1, &second, 0), "the values of a range");
}
