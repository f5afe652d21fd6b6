//! Applying records that are identified by their whole content.

use super::*;
use crate::domain::record::Tally;
use crate::domain::value::ValueRef;
use crate::import::route::runs;

on_each_store!(
    as_many_equal_rows_as_the_sender_has,
    nothing_is_taken_away,
    counts_go_on_over_batches_and_transactions,
    a_second_count_starts_at_zero,
    failures_do_not_sink_their_batch,
    rows_with_null_in_their_key_are_told_apart_by_content,
);

/// Counts, and applies all records as whole ones under skip.
#[track_caller]
fn apply_whole(store: &dyn Store, table: &TableSchema, records: &Rows) -> Outcome {
    let (plan, scope) = (plan(table, Strategy::Skip), Scope::new());
    write_in(store, &scope, |tx| {
        let mut tally = tally();
        multiset::count(tx, &plan)?;
        take(tx, &plan, records, 0..records.len(), &mut tally)?;
        end(tx)?;
        Ok(tally.outcome)
    })
}

fn take(
    tx: &mut Transaction,
    plan: &TablePlan,
    records: &Rows,
    range: std::ops::Range<usize>,
    tally: &mut Tally,
) -> Result<()> {
    multiset::apply(tx, plan, records, range, tally, &mut Written::ignored())
}

fn log(name: &str) -> TableSchema {
    table(name, "a integer, b text", "")
}

fn as_many_equal_rows_as_the_sender_has(store: &dyn Store) {
    let tables = create(store, [log("skip"), log("overwrite"), log("merge")]);
    let there = [[v(1), v("x")], [v(1), v("x")], [v(2), NULL], [NULL, NULL]];
    let records = rows([
        [v(1), v("x")],
        [v(1), v("x")],
        [v(1), v("x")],
        [v(2), NULL],
        [v(2), v("x")],
        [NULL, NULL],
        [NULL, NULL],
        [v(1), v("X")],
    ]);
    for (table, strategy) in tables.iter().zip([Strategy::Skip, Strategy::Overwrite, Strategy::Merge]) {
        fill(store, table, &rows(there.clone()));
        let outcome = import(store, &plan(table, strategy), &records);
        let found = match strategy {
            Strategy::Skip => Counts { created: 4, skipped: 4, ..NONE },
            _ => Counts { created: 4, unchanged: 4, ..NONE },
        };
        expect_counts(&outcome, found);
        expect_multiset(store, table, &records);
    }
}

fn nothing_is_taken_away(store: &dyn Store) {
    let [log] = create(store, [log("log")]);
    let there = rows([[v(1), v("x")], [v(1), v("x")], [v(9), v("only here")]]);
    fill(store, &log, &there);
    let outcome = import(store, &plan(&log, Strategy::Overwrite), &rows([[v(1), v("x")]]));
    expect_counts(&outcome, Counts { unchanged: 1, ..NONE });
    expect_multiset(store, &log, &there);
}

fn counts_go_on_over_batches_and_transactions(store: &dyn Store) {
    let [log, other] = create(store, [log("log"), log("other")]);
    fill(store, &log, &rows([[v(1), v("x")], [v(1), v("x")]]));
    fill(store, &other, &rows([[v(1), v("x")]]));
    let [log_plan, other_plan] = plans([(&log, Strategy::Skip), (&other, Strategy::Skip)]);
    let (scope, records) = (Scope::new(), rows([[v(1), v("x")], [v(1), v("x")], [v(1), v("x")]]));
    let (mut in_log, mut in_other) = (tally(), tally());
    write_in(store, &scope, |tx| {
        multiset::count(tx, &log_plan)?;
        multiset::count(tx, &other_plan)?;
        take(tx, &log_plan, &records, 0..1, &mut in_log)?;
        take(tx, &log_plan, &records, 1..2, &mut in_log)?;
        take(tx, &other_plan, &records, 0..2, &mut in_other)
    });
    expect_counts(&in_log.outcome, Counts { skipped: 2, ..NONE });
    expect_counts(&in_other.outcome, Counts { created: 1, skipped: 1, ..NONE });
    // What was created is no local row that another record could be.
    write_in(store, &scope, |tx| {
        take(tx, &log_plan, &records, 2..3, &mut in_log)?;
        take(tx, &other_plan, &records, 2..3, &mut in_other)?;
        end(tx)
    });
    expect_counts(&in_log.outcome, Counts { created: 1, skipped: 2, ..NONE });
    expect_counts(&in_other.outcome, Counts { created: 2, skipped: 1, ..NONE });
    expect_multiset(store, &log, &records);
    expect_multiset(store, &other, &records);
}

fn a_second_count_starts_at_zero(store: &dyn Store) {
    let [log] = create(store, [log("log")]);
    let records = rows([[v(1), v("x")], [v(1), v("x")]]);
    fill(store, &log, &records);
    let (plan, scope) = (plan(&log, Strategy::Skip), Scope::new());
    write_in(store, &scope, |tx| {
        let mut tally = tally();
        for _ in 0..2 {
            multiset::count(tx, &plan)?;
            take(tx, &plan, &records, 0..2, &mut tally)?;
        }
        expect_counts(&tally.outcome, Counts { skipped: 4, ..NONE });
        end(tx)
    });
    expect_multiset(store, &log, &records);
}

fn failures_do_not_sink_their_batch(store: &dyn Store) {
    let described =
        [table("teams", "id integer!", "id"), table("log", "team integer, b text!", "").with_parent("team", "teams", "id")];
    let [teams, log] = create(store, described);
    fill(store, &teams, &rows([[v(1)]]));
    let records = rows([[v(1), v("a")], [v(1), NULL], [v(2), v("b")], [NULL, v("c")]]);
    let outcome = import(store, &plan(&log, Strategy::Skip), &records);
    expect_counts(&outcome, Counts { created: 2, failed: 2, ..NONE });
    let reasons: Vec<Reason> = outcome.failures.iter().map(|failure| failure.reason).collect();
    assert!(reasons.contains(&Reason::NotNull) && reasons.contains(&Reason::ForeignKey), "the reasons are {reasons:?}");
    expect_multiset(store, &log, &rows([[v(1), v("a")], [NULL, v("c")]]));
}

fn rows_with_null_in_their_key_are_told_apart_by_content(store: &dyn Store) {
    let Some(pairs) = create_nullable(store, table("pairs", "a integer, b integer, x text", "a b")) else { return };
    fill(store, &pairs, &rows([[v(1), v(1), v("keyed")]]));
    let records = rows([[NULL, v(1), v("p")], [NULL, v(1), v("p")], [NULL, v(1), v("q")], [NULL, NULL, NULL]]);
    expect_counts(&apply_whole(store, &pairs, &records), Counts { created: 4, ..NONE });
    expect_counts(&apply_whole(store, &pairs, &records), Counts { skipped: 4, ..NONE });
    let keyed = import(store, &plan(&pairs, Strategy::Overwrite), &rows([[v(1), v(1), v("changed")]]));
    expect_counts(&keyed, Counts { updated: 1, ..NONE });
    assert_eq!(contents(store, &pairs).len(), 5, "the rows that are there");
}

#[test]
fn runs_cover_all_rows_in_order() {
    let mut rows = Rows::new(1);
    for value in [ValueRef::Integer(1), ValueRef::Integer(2), ValueRef::Null, ValueRef::Null, ValueRef::Integer(3)] {
        rows.push([value]);
    }
    assert_eq!(runs(&rows, &[0]), [(0..2, false), (2..4, true), (4..5, false)]);
    assert_eq!(runs(&Rows::new(1), &[0]), []);
}
