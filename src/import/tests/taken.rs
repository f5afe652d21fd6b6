//! Records whose keys are two at the sender and one here.

use super::*;
use crate::clock::SystemClock;
use crate::import::{Finish, Staged, apply_group};

use crate::plan::meet::keys_may_meet;
use crate::store::conformance::strategies::KEYED;

on_embedded_stores!(
    the_first_record_has_the_row,
    what_is_taken_is_what_stands_here,
    a_record_that_fails_takes_nothing,
    a_pull_goes_on_with_what_was_taken,
    the_one_that_has_the_row_falls_alone,
);

/// `codes(code, n)`, of which two codes that differ in case only are one.
fn codes(store: &dyn Store) -> TableSchema {
    create_collated(store, table("codes", "code text!, n integer!", "code"), "NOCASE").expect("each store has such keys")
}

/// The plan for a sender whose key compares byte for byte.
fn meeting(table: &TableSchema, strategy: Strategy) -> TablePlan {
    let sender = TableSchema { key_collations: Vec::new(), ..table.clone() };
    let mut plan = plan(table, strategy);
    plan.keys_may_meet = keys_may_meet(&sender, &plan);
    assert!(plan.keys_may_meet, "the keys may meet");
    plan
}

#[track_caller]
fn expect_duplicate(outcome: &Outcome, key: &str) {
    expect_failure(outcome, &[key.into()], Reason::DuplicateKey, None);
}

fn the_first_record_has_the_row(store: &dyn Store) {
    let codes = codes(store);
    for strategy in KEYED {
        let plan = meeting(&codes, strategy);
        let outcome = import(store, &plan, &rows([[v("X"), v(1)], [v("y"), v(2)], [v("x"), v(3)], [v("Y"), v(4)]]));
        let mut expected = match strategy {
            Strategy::Skip => Counts { created: 2, ..NONE },
            _ => Counts { unchanged: 2, ..NONE },
        };
        expected.failed = 2;
        expect_counts(&outcome, expected);
        expect_duplicate(&outcome, "x");
        expect_duplicate(&outcome, "Y");
        expect_rows(store, &codes, &rows([[v("X"), v(1)], [v("y"), v(2)]]));
    }
}

fn what_is_taken_is_what_stands_here(store: &dyn Store) {
    let codes = codes(store);
    fill(store, &codes, &rows([[v("x"), v(0)]]));
    // Under skip the row stays as it is, and is the first one's; else it is that in the form that it then has.
    let records = rows([[v("X"), v(1)], [v("x"), v(2)]]);
    for (strategy, left) in [(Strategy::Skip, [v("x"), v(0)]), (Strategy::Overwrite, [v("X"), v(1)])] {
        let outcome = import(store, &meeting(&codes, strategy), &records);
        assert_eq!((outcome.failed, outcome.skipped + outcome.updated), (1, 1), "{outcome:?}");
        expect_duplicate(&outcome, "x");
        expect_rows(store, &codes, &rows([left]));
    }
}

fn a_record_that_fails_takes_nothing(store: &dyn Store) {
    let codes = codes(store);
    let records = rows([[v("x"), NULL], [ABSENT, v(1)], [NULL, v(1)], [v("X"), v(2)], [v("x"), v(3)]]);
    let outcome = import(store, &meeting(&codes, Strategy::Overwrite), &records);
    expect_counts(&outcome, Counts { created: 1, failed: 4, ..NONE });
    expect_failure(&outcome, &["x".into()], Reason::NotNull, Some("n"));
    expect_failure(&outcome, &[Value::Null], Reason::MissingKey, Some("code"));
    expect_rows(store, &codes, &rows([[v("X"), v(2)]]));
}

fn a_pull_goes_on_with_what_was_taken(store: &dyn Store) {
    let codes = codes(store);
    let (plan, scope) = (meeting(&codes, Strategy::Overwrite), Scope::new());
    let run = |scope: &Scope, code: &str| write_in(store, scope, |tx| apply_in(tx, &plan, &rows([[v(code), v(1)]])));
    expect_counts(&run(&scope, "X"), Counts { created: 1, ..NONE });
    expect_duplicate(&run(&scope, "x"), "x");
    // What is undone is not taken.
    let mut tx = begin_in(store, &scope);
    apply_in(&mut tx, &plan, &rows([[v("y"), v(1)]])).must("write");
    drop(tx);
    expect_counts(&run(&scope, "Y"), Counts { created: 1, ..NONE });
    // Another pull begins from the start.
    expect_counts(&run(&Scope::new(), "x"), Counts { updated: 1, ..NONE });
    write_in(store, &scope, end);
    expect_counts(&run(&scope, "X"), Counts { updated: 1, ..NONE });
}

/// The record of a row that refers to nothing is left out; the next one with its key then has the row.
fn the_one_that_has_the_row_falls_alone(store: &dyn Store) {
    let [teams] = create(store, [table("teams", "id integer!", "id")]);
    fill(store, &teams, &rows([[v(1)]]));
    let described = table("users", "code text!, team integer", "code").with_parent("team", "teams", "id");
    let users = create_collated(store, described, "NOCASE").expect("each store has such keys");
    let plan = meeting(&users, Strategy::Overwrite);
    let (limits, clock) = (Limits::default(), SystemClock);
    let mut import = Ledger::new(here(store, &limits, &clock), Patience::unbounded());
    let mut writer = import.open().must("open");
    import.begin(&mut *writer, None, Begin::Resume, &[]).must("begin");
    writer.commit().must("commit");
    drop(writer);
    let (stage, mark) = (import.stage(2), Checkpoint::new("users", Strategy::Overwrite, String::new(), 2));
    let mut staged = [Staged::new(&import, plan, stage, mark, true)];
    let records = rows([[v("X"), v(9)], [v("x"), v(1)], [v("X "), v(1)], [v("x "), v(9)]]);
    staged[0].push(&import, &records, &[], &Reached::default()).must("stage");
    let mut tx = Transaction::begin(&import).must("begin");
    apply_group(&import, &mut tx, &mut staged, true, Finish::Commit).must("apply");
    drop(tx);
    let outcome = staged[0].outcome();
    expect_counts(&outcome, Counts { created: 2, failed: 2, ..NONE });
    expect_failure(&outcome, &["X".into()], Reason::ForeignKey, Some("team"));
    expect_duplicate(&outcome, "x ");
    expect_rows(store, &users, &rows([[v("x"), v(1)], [v("X "), v(1)]]));
}
