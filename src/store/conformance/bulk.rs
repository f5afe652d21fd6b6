//! Bulk applies, with what must come of them written out. A store without one is asked the same, and does it one by one.

use std::ops::Range;

use super::harness::*;
use super::strategies::strategies_applied_by;
use crate::domain::record::{Outcome, Tally};
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::plan::TablePlan;
use crate::store::{Store, Writer};

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

strategies_applied_by!(bulk);

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
            match round {
                2 => writer.rollback_to()?,
                _ => writer.release()?,
            }
        }
        Ok(())
    });
    expect_counts(&tally.outcome, Counts { created: 100, updated: 150, skipped: 150, ..NONE });
    expect_rows(store, &a, &rows((0..50).map(|id| [v(id), v("3")])));
}
