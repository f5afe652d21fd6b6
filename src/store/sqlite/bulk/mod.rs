//! Applies many records at once: what `fit`, `lookup`, `decide` and `write` would do one by one, at a fraction of the time.
//!
//! First what changes nothing is found by reading ([`skip_unchanged`]). What is left is written in as few statements as possible
//! ([`upsert`]), with values that are bound where they lie ([`bind`](super::raw::bind)). The first record that needs more care ends it: one that
//! lacks a column, holds what its column would store otherwise, or is refused; in a table with triggers, or with a foreign key that SQLite
//! cannot check, each that is written.

use std::ops::Range;
use std::rc::Rc;

use super::transaction::Transaction;
use crate::domain::record::Tally;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::plan::{Identity, TablePlan};

mod shape;
mod skip_unchanged;
mod upsert;

use shape::Shape;
use skip_unchanged::{Found, Unchanged};
use upsert::Upsert;

/// What earlier records of the transaction say of those to come.
#[derive(Default)]
pub(super) struct Pace {
    unchanged: skip_unchanged::Pause,
    streak: upsert::Streak,
}

/// The shape of the last plan, and its pace.
#[derive(Default)]
pub(super) struct Cache(Option<(Rc<Shape>, Pace)>);

impl Cache {
    /// Forgets what it knows of the catalogue.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

/// Applies the first records of the range; gives how many that were.
pub(super) fn apply(
    transaction: &Transaction,
    cache: &mut Cache,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<usize> {
    let Identity::Key { columns: key, .. } = &plan.identity else {
        return Ok(0);
    };
    // A database in UTF-16 orders texts otherwise than the importer does.
    if plan.newer_by.is_some() && !transaction.any_text {
        return Ok(0);
    }
    let (shape, mut pace) = match cache.0.take() {
        Some((shape, pace)) if shape.plan == *plan => (shape, pace),
        _ => (Rc::new(Shape::new(transaction, plan, key)?), Pace::default()),
    };
    let applied = apply_shape(transaction, &shape, &mut pace, rows, range, tally);
    cache.0 = Some((shape, pace));
    applied
}

fn apply_shape(
    transaction: &Transaction,
    shape: &Shape,
    pace: &mut Pace,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<usize> {
    let plain = range.clone().take_while(|row| shape.is_plain(rows, *row)).count();
    let range = range.start..range.start + plain;
    let unchanged = Unchanged { transaction, shape, rows }.find(&mut pace.unchanged, range.clone())?;
    let found = |row: usize| unchanged.get(row - range.start).copied().unwrap_or(Found::New);
    let others: Vec<usize> = range.clone().filter(|row| found(*row).is_new()).collect();
    let mut upsert = Upsert::new(transaction, shape, rows, &mut pace.streak);
    let written = match (shape.one_by_one, shape.is_held) {
        (true, _) => 0,
        // Nothing refers to a row that is new.
        (false, true) => upsert.insert(&others, tally)?,
        (false, false) => upsert.write(&others, tally)?,
    };
    // The first one that was not written ends it; of those before it each is applied.
    let end = others.get(written).copied().unwrap_or(range.end);
    let passed_over = (range.start..end).map(found).filter(|found| !found.is_new());
    passed_over.for_each(|found| found.count(shape.plan.strategy, tally));
    Ok(end - range.start)
}
