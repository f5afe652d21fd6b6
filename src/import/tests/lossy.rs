//! Values that do not fit: their records fail, or something else is stored.

use super::*;
use crate::domain::strategy::OnLossy;

/// Memory's columns hold everything: see [`MemoryStore`].
macro_rules! on_sqlite {
    ($($test:ident,)*) => { mod on_sqlite { $(#[test] fn $test() { super::super::on_sqlite(super::$test); })* } };
}

on_sqlite!(
    what_does_not_fit_is_counted_and_fails,
    what_does_not_fit_is_replaced,
    a_record_that_cannot_be_mended_fails_whole,
    a_key_is_never_replaced,
    what_comes_twice_is_unchanged,
);

/// Text, NaN and numbers for columns that take no such thing. The counts are those of its columns `n` and `t`.
fn records() -> Rows {
    rows([
        [v(1), v("word"), v("a")],
        [v(2), v("007"), v(5)],
        [v(3), v(f64::NAN), v(1.5)],
        [v(4), v(4), v("d")],
        [v(5), v(5), NULL],
    ])
}

fn keeper(store: &dyn Store, n: &str) -> TableSchema {
    let [keeper] = create(store, [table("t", &format!("id integer!, n {n}, t text"), "id")]);
    keeper
}

fn replacing(table: &TableSchema, strategy: Strategy) -> TablePlan {
    TablePlan { on_lossy: OnLossy::Replace, ..plan(table, strategy) }
}

fn lossy(outcome: &Outcome) -> Vec<(&str, u64)> {
    outcome.lossy.iter().map(|(column, count)| (column.as_str(), *count)).collect()
}

fn what_does_not_fit_is_counted_and_fails(store: &dyn Store) {
    let keeper = keeper(store, "integer");
    let outcome = import(store, &plan(&keeper, Strategy::Overwrite), &records());
    assert_eq!(outcome.created + outcome.failed, 5);
    assert_eq!(outcome.lossy.values().sum::<u64>(), outcome.failed, "each record has one failure: {:?}", outcome.failures);
    assert!(outcome.failed >= 2, "{:?}", outcome.failures);
}

fn what_does_not_fit_is_replaced(store: &dyn Store) {
    let keeper = keeper(store, "integer");
    let outcome = import(store, &replacing(&keeper, Strategy::Overwrite), &records());
    expect_counts(&outcome, Counts { created: 5, ..NONE });
    let found = contents(store, &keeper);
    assert_eq!(found[1][1..], [Value::Integer(7), "5".into()], "the number, and the digits");
    assert_eq!(found[2][1..], [Value::Null, "1.5".into()], "NaN is nothing that the column takes");
    assert_eq!(found[3][1..], [Value::Integer(4), "d".into()]);
    assert_eq!(lossy(&outcome).last(), Some(&("t", 2)));
    assert!(outcome.lossy["n"] >= 2, "{:?}", outcome.lossy);
}

fn a_record_that_cannot_be_mended_fails_whole(store: &dyn Store) {
    let keeper = keeper(store, "integer!");
    let outcome = import(store, &replacing(&keeper, Strategy::Overwrite), &records());
    expect_counts(&outcome, Counts { created: 5 - outcome.failed, failed: outcome.failed, ..NONE });
    let failure = outcome.failures.iter().find(|failure| failure.key == [Value::Integer(3)]);
    assert_eq!(failure.and_then(|failure| failure.column.as_deref()), Some("n"), "NULL may not stand there");
    assert!(contents(store, &keeper).iter().all(|row| row[0] != Value::Integer(3)));
}

fn a_key_is_never_replaced(store: &dyn Store) {
    let [keeper] = create(store, [table("t", "id text!, n integer", "id")]);
    let outcome = import(store, &replacing(&keeper, Strategy::Skip), &rows([[v(1), v(1)], [v("1"), v(2)]]));
    expect_counts(&outcome, Counts { created: 1, failed: 1, ..NONE });
    expect_failure(&outcome, &[1.into()], Reason::ValueWouldChange, Some("id"));
}

fn what_comes_twice_is_unchanged(store: &dyn Store) {
    let keeper = keeper(store, "integer");
    for counts in [Counts { created: 5, ..NONE }, Counts { unchanged: 5, ..NONE }] {
        let outcome = import(store, &replacing(&keeper, Strategy::Overwrite), &records());
        expect_counts(&outcome, counts);
    }
}
