//! Applying records that have a key.

use super::*;
use crate::import::row_by_row;
use crate::plan::table::{ExtraColumns, plan_table};

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

/// Strategies that meet rows which are there; an append never does.
const KEYED: [Strategy; 3] = [Strategy::Skip, Strategy::Overwrite, Strategy::Merge];

/// A table with as many rows as it takes to fill statements and pages, each `(id, n, name)`.
fn filled(store: &dyn Store) -> TableSchema {
    let [users] = create(store, [table("users", "id integer!, n integer, name text", "id")]);
    fill(store, &users, &local());
    users
}

fn local() -> Rows {
    rows((0..300).map(|id| [v(id), v(id), v("local")]))
}

/// Of 300 local rows 100 differ in the record, of which 50 have NULL, 100 are the same, and 100 are not among the records;
/// 100 records are new.
fn incoming() -> Rows {
    let differ = (0..50).map(|id| [v(id), v(-id - 1), v("new")]);
    let nulls = (50..100).map(|id| [v(id), NULL, v("new")]);
    let same = (100..200).map(|id| [v(id), v(id), v("local")]);
    let new = (1000..1100).map(|id| [v(id), NULL, v("new")]);
    // Neither in key order nor sorted by what becomes of them.
    let records: Vec<_> = differ.chain(nulls).chain(same).chain(new).collect();
    rows((0..records.len()).map(|at| records[at * 7 % records.len()].clone()))
}

fn expected(differ: impl Fn(i64) -> [Cell; 3], nulls: impl Fn(i64) -> [Cell; 3]) -> Rows {
    let rest = (100..300).map(|id| [v(id), v(id), v("local")]);
    let new = (1000..1100).map(|id| [v(id), NULL, v("new")]);
    rows((0..50).map(differ).chain((50..100).map(nulls)).chain(rest).chain(new))
}

fn skip_leaves_what_is_there(store: &dyn Store) {
    let users = filled(store);
    let outcome = import(store, &plan(&users, Strategy::Skip), &incoming());
    expect_counts(&outcome, Counts { created: 100, skipped: 200, ..NONE });
    let same = |id| [v(id), v(id), v("local")];
    expect_rows(store, &users, &expected(same, same));
    let again = import(store, &plan(&users, Strategy::Skip), &incoming());
    expect_counts(&again, Counts { skipped: 300, ..NONE });
}

fn overwrite_takes_everything(store: &dyn Store) {
    let users = filled(store);
    let outcome = import(store, &plan(&users, Strategy::Overwrite), &incoming());
    expect_counts(&outcome, Counts { created: 100, updated: 100, unchanged: 100, ..NONE });
    expect_rows(store, &users, &expected(|id| [v(id), v(-id - 1), v("new")], |id| [v(id), NULL, v("new")]));
    let again = import(store, &plan(&users, Strategy::Overwrite), &incoming());
    expect_counts(&again, Counts { unchanged: 300, ..NONE });
}

fn merge_takes_what_is_not_null(store: &dyn Store) {
    let users = filled(store);
    let outcome = import(store, &plan(&users, Strategy::Merge), &incoming());
    expect_counts(&outcome, Counts { created: 100, updated: 100, unchanged: 100, ..NONE });
    expect_rows(store, &users, &expected(|id| [v(id), v(-id - 1), v("new")], |id| [v(id), v(id), v("new")]));
    // A record whose only difference is NULL changes nothing.
    let nulls = import(store, &plan(&users, Strategy::Merge), &rows([[v(1), NULL, NULL], [v(200), NULL, v("local")]]));
    expect_counts(&nulls, Counts { unchanged: 2, ..NONE });
}

fn columns_that_a_record_lacks_stay(store: &dyn Store) {
    let users = filled(store);
    let records = rows([[v(0), v(7), ABSENT], [v(1), ABSENT, v("new")], [v(2), ABSENT, ABSENT], [v(3), ABSENT, v("local")]]);
    let skipped = import(store, &plan(&users, Strategy::Skip), &records);
    expect_counts(&skipped, Counts { skipped: 4, ..NONE });
    expect_rows(store, &users, &local());
    let outcome = import(store, &plan(&users, Strategy::Overwrite), &records);
    expect_counts(&outcome, Counts { updated: 2, unchanged: 2, ..NONE });
    let changed = [[v(0), v(7), v("local")], [v(1), v(1), v("new")]];
    expect_rows(store, &users, &rows(changed.into_iter().chain((2..300).map(|id| [v(id), v(id), v("local")]))));
    let merged = import(store, &plan(&users, Strategy::Merge), &rows([[v(2), ABSENT, NULL], [v(3), NULL, ABSENT]]));
    expect_counts(&merged, Counts { unchanged: 2, ..NONE });
}

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

fn columns_that_are_left_out_are_not_written(store: &dyn Store) {
    let users = filled(store);
    // The sender has its columns in another order, lacks one, and has one that is not taken.
    let sender = table("users", "extra text, name text, id integer!", "id");
    let plan = plan_table(&sender, &users, Strategy::Overwrite, ExtraColumns::Ignore).must("plan the import of a table");
    let outcome =
        import(store, &plan, &rows([[v("?"), v("new"), v(1)], [v("?"), v("new"), v(999)], [NULL, v("local"), v(2)]]));
    expect_counts(&outcome, Counts { created: 1, updated: 1, unchanged: 1, ..NONE });
    let mut expected: Vec<_> = (0..300).map(|id| [v(id), v(id), v("local")]).collect();
    expected[1][2] = v("new");
    expected.push([v(999), NULL, v("new")]);
    expect_rows(store, &users, &rows(expected));
}

fn a_key_twice_in_a_batch_is_applied_twice(store: &dyn Store) {
    let described = ["skip", "overwrite", "merge"].map(|name| table(name, "id integer!, a text, b text", "id"));
    let tables = create(store, described);
    let records = rows([
        [v(1), v("first"), v("x")],
        [v(2), v("other"), v("x")],
        [v(1), v("second"), NULL],
        [v(3), v("same"), v("x")],
        [v(3), v("same"), v("x")],
        [v(1), v("third"), NULL],
    ]);
    let rest = [[v(2), v("other"), v("x")], [v(3), v("same"), v("x")]];
    for (table, strategy) in tables.iter().zip(KEYED) {
        let outcome = import(store, &plan(table, strategy), &records);
        let (counts, first) = match strategy {
            Strategy::Skip => (Counts { created: 3, skipped: 3, ..NONE }, [v(1), v("first"), v("x")]),
            Strategy::Overwrite => (Counts { created: 3, updated: 2, unchanged: 1, ..NONE }, [v(1), v("third"), NULL]),
            _ => (Counts { created: 3, updated: 2, unchanged: 1, ..NONE }, [v(1), v("third"), v("x")]),
        };
        expect_counts(&outcome, counts);
        expect_rows(store, table, &rows([first].into_iter().chain(rest.clone())));
    }
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
            row_by_row::apply(tx, &plan, &records, range, &mut tally)?;
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
