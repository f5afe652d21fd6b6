//! What the strategies make of records that have a key. A store's bulk applies must do it, and an importer, by whatever path.

use super::harness::*;
use crate::domain::record::Outcome;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::plan::TablePlan;
use crate::plan::table::{ExtraColumns, plan_table};
use crate::store::Store;

/// Applies records in a transaction of their own.
pub(crate) type Apply = fn(&dyn Store, &TablePlan, &Rows) -> Outcome;

/// Strategies that meet rows which are there; an append never does.
pub(crate) const KEYED: [Strategy; 3] = [Strategy::Skip, Strategy::Overwrite, Strategy::Merge];

/// The cases of this module, for one way to apply records.
macro_rules! strategies_applied_by {
    ($apply:ident) => {
        strategies_applied_by!($apply:
            skip_leaves_what_is_there,
            overwrite_takes_everything,
            merge_takes_what_is_not_null,
            columns_that_a_record_lacks_stay,
            columns_that_are_left_out_are_not_written,
            a_key_twice_in_a_batch_is_applied_twice,
        );
    };
    ($apply:ident: $($case:ident,)*) => {
        $(pub(super) fn $case(store: &dyn $crate::store::Store) {
            $crate::store::conformance::strategies::$case(store, $apply);
        })*
    };
}
pub(crate) use strategies_applied_by;

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

pub(crate) fn skip_leaves_what_is_there(store: &dyn Store, apply: Apply) {
    let users = filled(store);
    let outcome = apply(store, &plan(&users, Strategy::Skip), &incoming());
    expect_counts(&outcome, Counts { created: 100, skipped: 200, ..NONE });
    let same = |id| [v(id), v(id), v("local")];
    expect_rows(store, &users, &expected(same, same));
    let again = apply(store, &plan(&users, Strategy::Skip), &incoming());
    expect_counts(&again, Counts { skipped: 300, ..NONE });
}

pub(crate) fn overwrite_takes_everything(store: &dyn Store, apply: Apply) {
    let users = filled(store);
    let outcome = apply(store, &plan(&users, Strategy::Overwrite), &incoming());
    expect_counts(&outcome, Counts { created: 100, updated: 100, unchanged: 100, ..NONE });
    expect_rows(store, &users, &expected(|id| [v(id), v(-id - 1), v("new")], |id| [v(id), NULL, v("new")]));
    let again = apply(store, &plan(&users, Strategy::Overwrite), &incoming());
    expect_counts(&again, Counts { unchanged: 300, ..NONE });
}

pub(crate) fn merge_takes_what_is_not_null(store: &dyn Store, apply: Apply) {
    let users = filled(store);
    let outcome = apply(store, &plan(&users, Strategy::Merge), &incoming());
    expect_counts(&outcome, Counts { created: 100, updated: 100, unchanged: 100, ..NONE });
    expect_rows(store, &users, &expected(|id| [v(id), v(-id - 1), v("new")], |id| [v(id), v(id), v("new")]));
    // A record whose only difference is NULL changes nothing.
    let nulls = apply(store, &plan(&users, Strategy::Merge), &rows([[v(1), NULL, NULL], [v(200), NULL, v("local")]]));
    expect_counts(&nulls, Counts { unchanged: 2, ..NONE });
}

pub(crate) fn columns_that_a_record_lacks_stay(store: &dyn Store, apply: Apply) {
    let users = filled(store);
    let records = rows([[v(0), v(7), ABSENT], [v(1), ABSENT, v("new")], [v(2), ABSENT, ABSENT], [v(3), ABSENT, v("local")]]);
    let skipped = apply(store, &plan(&users, Strategy::Skip), &records);
    expect_counts(&skipped, Counts { skipped: 4, ..NONE });
    expect_rows(store, &users, &local());
    let outcome = apply(store, &plan(&users, Strategy::Overwrite), &records);
    expect_counts(&outcome, Counts { updated: 2, unchanged: 2, ..NONE });
    let changed = [[v(0), v(7), v("local")], [v(1), v(1), v("new")]];
    expect_rows(store, &users, &rows(changed.into_iter().chain((2..300).map(|id| [v(id), v(id), v("local")]))));
    let merged = apply(store, &plan(&users, Strategy::Merge), &rows([[v(2), ABSENT, NULL], [v(3), NULL, ABSENT]]));
    expect_counts(&merged, Counts { unchanged: 2, ..NONE });
}

pub(crate) fn columns_that_are_left_out_are_not_written(store: &dyn Store, apply: Apply) {
    let users = filled(store);
    // The sender has its columns in another order, lacks one, and has one that is not taken.
    let sender = table("users", "extra text, name text, id integer!", "id");
    let plan = plan_table(&sender, &users, Strategy::Overwrite, ExtraColumns::Ignore).must("plan the import of a table");
    let records = rows([[v("?"), v("new"), v(1)], [v("?"), v("new"), v(999)], [NULL, v("local"), v(2)]]);
    let outcome = apply(store, &plan, &records);
    expect_counts(&outcome, Counts { created: 1, updated: 1, unchanged: 1, ..NONE });
    let mut expected: Vec<_> = (0..300).map(|id| [v(id), v(id), v("local")]).collect();
    expected[1][2] = v("new");
    expected.push([v(999), NULL, v("new")]);
    expect_rows(store, &users, &rows(expected));
}

pub(crate) fn a_key_twice_in_a_batch_is_applied_twice(store: &dyn Store, apply: Apply) {
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
        let outcome = apply(store, &plan(table, strategy), &records);
        let (counts, first) = match strategy {
            Strategy::Skip => (Counts { created: 3, skipped: 3, ..NONE }, [v(1), v("first"), v("x")]),
            Strategy::Overwrite => (Counts { created: 3, updated: 2, unchanged: 1, ..NONE }, [v(1), v("third"), NULL]),
            _ => (Counts { created: 3, updated: 2, unchanged: 1, ..NONE }, [v(1), v("third"), v("x")]),
        };
        expect_counts(&outcome, counts);
        expect_rows(store, table, &rows([first].into_iter().chain(rest.clone())));
    }
}
