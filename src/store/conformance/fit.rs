//! Fitting: what columns make of records before anything is written.

use super::harness::*;
use crate::domain::record::Reason;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::plan::TablePlan;
use crate::plan::table::{ExtraColumns, plan_table};
use crate::store::{Fitted, Misfit, Store};

/// The records of a range as the local table will store them.
#[track_caller]
fn fit(store: &dyn Store, plan: &TablePlan, rows: &Rows, range: std::ops::Range<usize>) -> Fitted {
    // What a caller used before must not be seen again.
    let mut fitted = Fitted::default();
    fitted.rows.clear(1);
    fitted.rows.push([ValueRef::Integer(7)]);
    fitted.misfits.push(Misfit { row: 0, column: 0, reason: Reason::Refused, message: "left over".into() });
    begin(store).fit(plan, rows, range.clone(), &mut fitted).must("fit records");
    assert_eq!(fitted.rows.width(), plan.table.columns.len(), "the columns of a local row");
    assert_eq!(fitted.rows.len(), range.len(), "the local rows of a range of records");
    fitted
}

/// The cells of a row, those that are absent included.
fn cells(rows: &Rows, row: usize) -> Vec<Cell> {
    rows.row(row).map(|cell| cell.map(ValueRef::to_owned)).collect()
}

fn users(store: &dyn Store) -> TableSchema {
    let [users] = create(store, [table("users", "id integer!, n integer, name text", "id")]);
    users
}

pub(super) fn rows_have_the_columns_of_the_local_table(store: &dyn Store) {
    let users = users(store);
    // The sender has its columns in another order, lacks one, and has one that is not taken.
    let sender = table("users", "extra blob, name text, id integer!", "id");
    let plan = plan_table(&sender, &users, Strategy::Skip, ExtraColumns::Ignore).must("plan the import of a table");
    let records = rows([[v("?"), v("a"), v(1)], [NULL, NULL, v(2)], [ABSENT, v("c"), v(3)]]);
    let fitted = fit(store, &plan, &records, 0..3);
    assert_eq!(fitted.misfits, [], "a value of a column that is not taken, or one that fits");
    assert_eq!(cells(&fitted.rows, 0), [v(1), ABSENT, v("a")], "a record whose columns are in another order");
    assert_eq!(cells(&fitted.rows, 1), [v(2), ABSENT, NULL], "a record whose columns are in another order");
    assert_eq!(cells(&fitted.rows, 2), [v(3), ABSENT, v("c")], "a record whose columns are in another order");
}

pub(super) fn what_a_record_lacks_stays_absent(store: &dyn Store) {
    let users = users(store);
    let given = [[v(1), ABSENT, NULL], [ABSENT, NULL, ABSENT], [ABSENT, ABSENT, ABSENT], [v(4), v(4), v("d")]];
    let fitted = fit(store, &plan(&users, Strategy::Overwrite), &rows(given.clone()), 0..4);
    assert_eq!(fitted.misfits, [], "what a record lacks does not fit");
    for (row, given) in given.iter().enumerate() {
        assert_eq!(cells(&fitted.rows, row), given, "the local row of record {row}");
    }
}

pub(super) fn null_fits_every_column(store: &dyn Store) {
    let [strict] = create(store, [table("strict", "id integer!, a text!, b integer!, c blob!, d real!", "id")]);
    let given = [NULL, NULL, NULL, NULL, NULL];
    let fitted = fit(store, &plan(&strict, Strategy::Skip), &rows([given.clone()]), 0..1);
    assert_eq!(fitted.misfits, [], "whether a column takes NULL is found when it is written");
    assert_eq!(cells(&fitted.rows, 0), given, "NULL in a column that is NOT NULL");
}

/// A value that no column of `users` can hold, if the store has one: a column may hold more than its type says.
fn misfit(store: &dyn Store, plan: &TablePlan) -> Option<Value> {
    let candidates = [f64::NAN.into(), Value::Text(b"0\xff".to_vec()), Value::Text(b"0\0".to_vec())];
    candidates.into_iter().find(|value| {
        (0..3).all(|column| {
            let mut record = [ABSENT; 3];
            record[column] = Some(value.clone());
            !fit(store, plan, &rows([record]), 0..1).misfits.is_empty()
        })
    })
}

/// Whether both are the same, NaN included.
fn is_same(found: &Cell, given: &Cell) -> bool {
    match (found, given) {
        (Some(Value::Real(a)), Some(Value::Real(b))) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        _ => found == given,
    }
}

pub(super) fn what_does_not_fit_is_named_and_stands_as_it_came(store: &dyn Store) {
    let users = users(store);
    let plan = plan(&users, Strategy::Skip);
    let values: [Value; 4] = ["007".into(), "9.5e3".into(), f64::NAN.into(), Value::Blob(vec![1])];
    for (column, value) in [0, 1, 2].into_iter().flat_map(|column| values.iter().map(move |value| (column, value))) {
        let mut given = [v(1), v(2), v("c")];
        given[column] = Some(value.clone());
        let fitted = fit(store, &plan, &rows([given.clone()]), 0..1);
        for (at, (found, given)) in cells(&fitted.rows, 0).iter().zip(&given).enumerate() {
            assert!(is_same(found, given), "with {value:?} in column {column}, {found:?} stands in column {at}");
        }
        assert!(fitted.misfits.len() <= 1, "of {value:?} in column {column} this is said: {:?}", fitted.misfits);
        for misfit in &fitted.misfits {
            assert_eq!((misfit.row, misfit.column), (0, column), "where {value:?} is that does not fit");
            let reasons = [Reason::ValueWouldChange, Reason::ValueOutOfRange, Reason::WrongType];
            assert!(reasons.contains(&misfit.reason), "{value:?} does not fit for {:?}", misfit.reason);
            assert!(!misfit.message.is_empty(), "nothing is said about {value:?}, which does not fit");
        }
    }
}

pub(super) fn all_that_does_not_fit_is_named_in_order(store: &dyn Store) {
    let users = users(store);
    // The sender's columns are in another order than the local ones.
    let sender = table("users", "name text, n integer, id integer!", "id");
    let plan = plan_table(&sender, &users, Strategy::Skip, ExtraColumns::Refuse).must("plan the import of a table");
    let Some(bad) = misfit(store, &plan) else { return };
    let bad = || Some(bad.clone());
    let records = rows([
        [v("a"), bad(), v(1)],
        [v("b"), v(2), v(2)],
        [bad(), bad(), bad()],
        [v("d"), NULL, v(4)],
        [bad(), ABSENT, v(5)],
    ]);
    let fitted = fit(store, &plan, &records, 0..5);
    let mut found: Vec<_> = fitted.misfits.iter().map(|misfit| (misfit.row, misfit.column)).collect();
    assert!(found.is_sorted_by_key(|(row, _)| *row), "what does not fit comes in no order: {found:?}");
    found.sort_unstable();
    assert_eq!(found, [(0, 1), (2, 0), (2, 1), (2, 2), (4, 2)], "the values that do not fit");
}

pub(super) fn only_the_range_is_fitted(store: &dyn Store) {
    let users = users(store);
    let plan = plan(&users, Strategy::Skip);
    let bad = misfit(store, &plan);
    let is_bad = |row: &usize| row % 10 == 5 && bad.is_some();
    let records = rows((0..).zip(0..100).map(|(id, row)| [v(id), if is_bad(&row) { bad.clone() } else { v(id) }, ABSENT]));
    for range in [0..100, 10..20, 15..16, 16..17, 30..30, 99..100, 100..100] {
        let fitted = fit(store, &plan, &records, range.clone());
        for (number, row) in range.clone().enumerate() {
            let alike = cells(&fitted.rows, number).iter().zip(&cells(&records, row)).all(|(a, b)| is_same(a, b));
            assert!(alike, "row {number} of the records {range:?} is {:?}", cells(&fitted.rows, number));
        }
        let expected: Vec<_> = range.clone().filter(is_bad).map(|row| (row - range.start, 1)).collect();
        let found: Vec<_> = fitted.misfits.iter().map(|misfit| (misfit.row, misfit.column)).collect();
        assert_eq!(found, expected, "what does not fit of the records {range:?}");
    }
}

pub(super) fn nothing_is_written(store: &dyn Store) {
    let users = users(store);
    fill(store, &users, &rows([[v(1), v(1), v("a")]]));
    let records = rows([[v(1), v(2), v("b")], [v(2), v(2), v("b")]]);
    write(store, |writer| writer.fit(&plan(&users, Strategy::Overwrite), &records, 0..2, &mut Fitted::default()));
    expect_rows(store, &users, &rows([[v(1), v(1), v("a")]]));
}
