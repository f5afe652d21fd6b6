//! Applying records that have a key.

use super::*;
use crate::import::row_by_row;
use crate::store::conformance::strategies::{KEYED, strategies_applied_by};

on_each_store!(
    skip_leaves_what_is_there,
    overwrite_takes_everything,
    merge_takes_what_is_not_null,
    columns_that_a_record_lacks_stay,
    new_rows_take_defaults_for_what_they_lack,
    columns_that_are_left_out_are_not_written,
    a_key_twice_in_a_batch_is_applied_twice,
    a_record_without_its_key_fails,
    failures_do_not_sink_their_batch,
    a_unique_conflict_leaves_both_rows,
    only_the_range_is_applied,
    a_key_may_have_several_columns,
);

strategies_applied_by!(import);

fn new_rows_take_defaults_for_what_they_lack(store: &dyn Store) {
    let mut users = table("users", "id integer!, n integer, name text!, must text!", "id");
    users.columns[1].default = Some("5".into());
    users.columns[2].default = Some("'nobody'".into());
    let [users] = create(store, [users]);
    for (id, strategy) in (0..).step_by(10).zip(KEYED) {
        let records = rows([
            [v(id), ABSENT, ABSENT, v("x")],
            [v(id + 1), NULL, v("a"), v("x")],
            [v(id + 2), v(1), v("a"), ABSENT],
            [v(id + 3), ABSENT, v("a"), v("x")],
        ]);
        let outcome = import(store, &plan(&users, strategy), &records);
        expect_counts(&outcome, Counts { created: 3, failed: 1, ..NONE });
        expect_failure(&outcome, &[(id + 2).into()], Reason::NotNull, Some("must"));
    }
    let expected = [0, 10, 20].into_iter().flat_map(|id| {
        [[v(id), v(5), v("nobody"), v("x")], [v(id + 1), NULL, v("a"), v("x")], [v(id + 3), v(5), v("a"), v("x")]]
    });
    expect_rows(store, &users, &rows(expected));
}

fn a_record_without_its_key_fails(store: &dyn Store) {
    let [pairs] = create(store, [table("pairs", "a integer!, b integer!, x text", "a b")]);
    for strategy in KEYED {
        let outcome = import(store, &plan(&pairs, strategy), &rows([[v(1), NULL, v("x")], [ABSENT, v(2), v("x")]]));
        expect_counts(&outcome, Counts { failed: 2, ..NONE });
        for failure in &outcome.failures {
            assert_eq!(failure.reason, Reason::MissingKey, "a record without its key: {}", failure.message);
        }
    }
    expect_rows(store, &pairs, &Rows::new(3));
}

fn failures_do_not_sink_their_batch(store: &dyn Store) {
    let described = [
        table("teams", "id integer!", "id"),
        table("users", "id integer!, mail text, name text!, team integer", "id")
            .with_unique("mail")
            .with_parent("team", "teams", "id"),
    ];
    let [teams, users] = create(store, described);
    fill(store, &teams, &rows([[v(1)]]));
    for (round, strategy) in (0..).zip(KEYED) {
        let first = round * 1_000;
        let mail = |id: i64| v(format!("{id}@example.org"));
        let good = |id: i64| [v(id), mail(id), v("x"), if id % 2 == 0 { v(1) } else { NULL }];
        let records = rows((first..first + 200).map(|id| match id - first {
            7 => [v(id), mail(first + 3), v("x"), v(1)],
            40 => [v(id), mail(id), NULL, v(1)],
            41 => [v(id), mail(id), v("x"), v(99)],
            199 => [v(id), mail(id), v("x"), v(-1)],
            _ => good(id),
        }));
        let outcome = import(store, &plan(&users, strategy), &records);
        expect_counts(&outcome, Counts { created: 196, failed: 4, ..NONE });
        expect_failure(&outcome, &[(first + 7).into()], Reason::UniqueConflict, Some("mail"));
        expect_failure(&outcome, &[(first + 40).into()], Reason::NotNull, Some("name"));
        expect_failure(&outcome, &[(first + 41).into()], Reason::ForeignKey, Some("team"));
        expect_failure(&outcome, &[(first + 199).into()], Reason::ForeignKey, Some("team"));
    }
    let failed = [7, 40, 41, 199];
    let ids = integers(&contents(store, &users), 0);
    let expected: Vec<i64> =
        (0..3).flat_map(|r| (0..200).filter(|n| !failed.contains(n)).map(move |n| r * 1_000 + n)).collect();
    assert_eq!(ids, expected, "the rows that are there");
}

fn a_unique_conflict_leaves_both_rows(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, mail text, n integer", "id").with_unique("mail")]);
    let before = rows([[v(1), v("a"), v(1)], [v(2), v("b"), v(2)], [v(3), NULL, v(3)], [v(4), NULL, v(4)]]);
    fill(store, &users, &before);
    for strategy in [Strategy::Overwrite, Strategy::Merge] {
        let outcome = import(store, &plan(&users, strategy), &rows([[v(2), v("a"), v(9)], [v(5), v("b"), v(9)]]));
        expect_counts(&outcome, Counts { failed: 2, ..NONE });
        expect_failure(&outcome, &[2.into()], Reason::UniqueConflict, Some("mail"));
        expect_failure(&outcome, &[5.into()], Reason::UniqueConflict, Some("mail"));
        expect_rows(store, &users, &before);
    }
    // Under skip a row that is there is not looked at any further.
    let skipped = import(store, &plan(&users, Strategy::Skip), &rows([[v(2), v("a"), v(9)], [v(5), v("b"), v(9)]]));
    expect_counts(&skipped, Counts { skipped: 1, failed: 1, ..NONE });
    expect_rows(store, &users, &before);
}

fn only_the_range_is_applied(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!", "id")]);
    let records = rows((0..100).map(|id| [v(id)]));
    let (plan, scope) = (plan(&users, Strategy::Skip), Scope::new());
    let outcome = write_in(store, &scope, |tx| {
        let mut tally = tally();
        // A tally goes on over batches; an empty one adds nothing.
        for range in [10..20, 20..20, 50..51, 99..100] {
            row_by_row::apply(tx, &plan, &records, range, &mut tally, &mut Written::ignored())?;
        }
        Ok(tally.outcome)
    });
    expect_counts(&outcome, Counts { created: 12, ..NONE });
    expect_rows(store, &users, &rows((10..20).chain([50, 99]).map(|id| [v(id)])));
}

fn a_key_may_have_several_columns(store: &dyn Store) {
    let [pairs] = create(store, [table("pairs", "x text, a integer!, b text!", "b a")]);
    fill(store, &pairs, &rows([[v("local"), v(1), v("p")], [v("local"), v(2), v("p")], [v("local"), v(1), v("q")]]));
    let records = rows([[v("new"), v(1), v("p")], [v("new"), v(2), v("q")], [v("local"), v(1), v("q")]]);
    let outcome = import(store, &plan(&pairs, Strategy::Overwrite), &records);
    expect_counts(&outcome, Counts { created: 1, updated: 1, unchanged: 1, ..NONE });
    let expected =
        [[v("new"), v(1), v("p")], [v("local"), v(2), v("p")], [v("local"), v(1), v("q")], [v("new"), v(2), v("q")]];
    expect_rows(store, &pairs, &rows(expected));
}
