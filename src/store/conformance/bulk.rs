//! Bulk applies, with what must come of them written out. A store without one is asked the same, and does it one by one.

use std::ops::Range;

use super::harness::*;
use crate::domain::record::{Outcome, Tally};
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::plan::TablePlan;
use crate::plan::table::{ExtraColumns, plan_table};
use crate::store::{Store, Writer};

/// Strategies that meet rows which are there; an append never does.
pub(super) const KEYED: [Strategy; 3] = [Strategy::Skip, Strategy::Overwrite, Strategy::Merge];

/// Applies the records of a range in bulk as far as the store likes, and each that it leaves one by one. The store gets at most
/// so many at once.
pub(super) fn apply_in_bulk(
    writer: &mut dyn Writer,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    most: usize,
    tally: &mut Tally,
) -> Result<()> {
    let mut next = range.start;
    while next < range.end {
        let run = next..range.end.min(next.saturating_add(most));
        let before = tally.outcome.total();
        let applied = writer.apply_bulk(plan, rows, run.clone(), tally)?;
        assert!(applied <= run.len(), "of {} records {applied} were applied", run.len());
        let counted = tally.outcome.total() - before;
        assert_eq!(counted, applied as u64, "the records that are counted when {applied} were applied");
        next += applied;
        if applied < run.len() {
            apply_each(writer, plan, rows, next..next + 1, tally)?;
            next += 1;
        }
    }
    Ok(())
}

#[track_caller]
fn bulk(store: &dyn Store, plan: &TablePlan, rows: &Rows) -> Outcome {
    let mut tally = tally();
    write(store, |writer| apply_in_bulk(writer, plan, rows, 0..rows.len(), usize::MAX, &mut tally));
    tally.outcome
}

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

pub(super) fn skip_leaves_what_is_there(store: &dyn Store) {
    let users = filled(store);
    let outcome = bulk(store, &plan(&users, Strategy::Skip), &incoming());
    expect_counts(&outcome, Counts { created: 100, skipped: 200, ..NONE });
    let same = |id| [v(id), v(id), v("local")];
    expect_rows(store, &users, &expected(same, same));
    let again = bulk(store, &plan(&users, Strategy::Skip), &incoming());
    expect_counts(&again, Counts { skipped: 300, ..NONE });
}

pub(super) fn overwrite_takes_everything(store: &dyn Store) {
    let users = filled(store);
    let outcome = bulk(store, &plan(&users, Strategy::Overwrite), &incoming());
    expect_counts(&outcome, Counts { created: 100, updated: 100, unchanged: 100, ..NONE });
    expect_rows(store, &users, &expected(|id| [v(id), v(-id - 1), v("new")], |id| [v(id), NULL, v("new")]));
    let again = bulk(store, &plan(&users, Strategy::Overwrite), &incoming());
    expect_counts(&again, Counts { unchanged: 300, ..NONE });
}

pub(super) fn merge_takes_what_is_not_null(store: &dyn Store) {
    let users = filled(store);
    let outcome = bulk(store, &plan(&users, Strategy::Merge), &incoming());
    expect_counts(&outcome, Counts { created: 100, updated: 100, unchanged: 100, ..NONE });
    expect_rows(store, &users, &expected(|id| [v(id), v(-id - 1), v("new")], |id| [v(id), v(id), v("new")]));
    // A record whose only difference is NULL changes nothing.
    let nulls = bulk(store, &plan(&users, Strategy::Merge), &rows([[v(1), NULL, NULL], [v(200), NULL, v("local")]]));
    expect_counts(&nulls, Counts { unchanged: 2, ..NONE });
}

pub(super) fn columns_that_a_record_lacks_stay(store: &dyn Store) {
    let users = filled(store);
    let records = rows([[v(0), v(7), ABSENT], [v(1), ABSENT, v("new")], [v(2), ABSENT, ABSENT], [v(3), ABSENT, v("local")]]);
    let skipped = bulk(store, &plan(&users, Strategy::Skip), &records);
    expect_counts(&skipped, Counts { skipped: 4, ..NONE });
    expect_rows(store, &users, &local());
    let outcome = bulk(store, &plan(&users, Strategy::Overwrite), &records);
    expect_counts(&outcome, Counts { updated: 2, unchanged: 2, ..NONE });
    let changed = [[v(0), v(7), v("local")], [v(1), v(1), v("new")]];
    expect_rows(store, &users, &rows(changed.into_iter().chain((2..300).map(|id| [v(id), v(id), v("local")]))));
    let merged = bulk(store, &plan(&users, Strategy::Merge), &rows([[v(2), ABSENT, NULL], [v(3), NULL, ABSENT]]));
    expect_counts(&merged, Counts { unchanged: 2, ..NONE });
}

pub(super) fn columns_that_are_left_out_are_not_written(store: &dyn Store) {
    let users = filled(store);
    // The sender has its columns in another order, lacks one, and has one that is not taken.
    let sender = table("users", "extra text, name text, id integer!", "id");
    let plan = plan_table(&sender, &users, Strategy::Overwrite, ExtraColumns::Ignore).must("plan the import of a table");
    let records = rows([[v("?"), v("new"), v(1)], [v("?"), v("new"), v(999)], [NULL, v("local"), v(2)]]);
    let outcome = bulk(store, &plan, &records);
    expect_counts(&outcome, Counts { created: 1, updated: 1, unchanged: 1, ..NONE });
    let mut expected: Vec<_> = (0..300).map(|id| [v(id), v(id), v("local")]).collect();
    expected[1][2] = v("new");
    expected.push([v(999), NULL, v("new")]);
    expect_rows(store, &users, &rows(expected));
}

pub(super) fn a_key_twice_in_a_batch_is_applied_twice(store: &dyn Store) {
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
        let outcome = bulk(store, &plan(table, strategy), &records);
        let (counts, first) = match strategy {
            Strategy::Skip => (Counts { created: 3, skipped: 3, ..NONE }, [v(1), v("first"), v("x")]),
            Strategy::Overwrite => (Counts { created: 3, updated: 2, unchanged: 1, ..NONE }, [v(1), v("third"), NULL]),
            _ => (Counts { created: 3, updated: 2, unchanged: 1, ..NONE }, [v(1), v("third"), v("x")]),
        };
        expect_counts(&outcome, counts);
        expect_rows(store, table, &rows([first].into_iter().chain(rest.clone())));
    }
}

pub(super) fn only_the_range_is_applied(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!", "id")]);
    let records = rows((0..100).map(|id| [v(id)]));
    let mut tally = tally();
    write(store, |writer| {
        // A tally is added to, and an empty range adds nothing.
        for range in [10..20, 20..20, 50..51, 99..100] {
            apply_in_bulk(writer, &plan(&users, Strategy::Skip), &records, range, usize::MAX, &mut tally)?;
        }
        let none = writer.apply_bulk(&plan(&users, Strategy::Skip), &records, 30..30, &mut tally)?;
        assert_eq!(none, 0, "the records of an empty range that were applied");
        Ok(())
    });
    expect_counts(&tally.outcome, Counts { created: 12, ..NONE });
    expect_rows(store, &users, &rows((10..20).chain([50, 99]).map(|id| [v(id)])));
}

pub(super) fn plans_take_turns_in_a_transaction(store: &dyn Store) {
    let described = [table("a", "id integer!, x text", "id"), table("b", "id integer!, x text, y text", "id")];
    let [a, b] = create(store, described);
    let mut tally = tally();
    write(store, |writer| {
        let most = usize::MAX;
        for round in 0..4 {
            writer.savepoint()?;
            let (name, ids) = (format!("{round}"), 0..50);
            let of_a = rows(ids.clone().map(|id| [v(id), v(name.as_str())]));
            let of_b = rows(ids.map(|id| [v(id), v("x"), v(name.as_str())]));
            apply_in_bulk(writer, &plan(&a, Strategy::Overwrite), &of_a, 0..50, most, &mut tally)?;
            apply_in_bulk(writer, &plan(&b, Strategy::Skip), &of_b, 0..50, most, &mut tally)?;
            if round == 2 {
                writer.rollback_to()?;
            }
        }
        Ok(())
    });
    expect_counts(&tally.outcome, Counts { created: 100, updated: 150, skipped: 150, ..NONE });
    expect_rows(store, &a, &rows((0..50).map(|id| [v(id), v("3")])));
}
