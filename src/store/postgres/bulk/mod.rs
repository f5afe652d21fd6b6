//! Applies many records at once: what `fit`, `lookup`, `decide` and `write` would do one by one, at a fraction of the time.
//!
//! New rows go by COPY ([`copy`](super::copy)): into a table whose rows are all this transaction's, and where the records before them were
//! all new. A COPY that meets a row that is there adds none. Elsewhere one statement does it for as
//! many records as it is given ([`upsert`]). Each runs under a savepoint; where one fails, the first record that it fails for is found by
//! halves, and left to the caller, who says why.
//!
//! What one statement does at once must not differ from what it would do one after the other. So a statement ends before a key comes a
//! second time ([`chunk`]), and before a record that an earlier one refers to.

use std::ops::Range;
use std::sync::Arc;

use super::transaction::Transaction;
use super::{copy, faults};
use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Identity, TablePlan};

mod chunk;
mod shape;
mod upsert;

use shape::Shape;
use upsert::Counts;

/// Records in one statement at first, and after one that failed.
const FIRST: usize = 512;

/// Records in one statement at most.
pub(super) const MOST: usize = 10_000;

/// After how many rows that were there after all no COPY is tried any more.
const MOST_TAKEN: u32 = 4;

/// The shape of the last plan, and its pace.
#[derive(Default)]
pub(super) struct Cache(Option<(Arc<Shape>, Pace)>);

/// What earlier statements of the transaction say of those to come.
struct Pace {
    size: usize,
    /// How often a COPY met a row that was there.
    taken: u32,
    /// Whether all records of the last statement were new: those of a table that takes many transactions mostly are, or are not.
    all_new: bool,
    /// Whether a statement failed for another reason than its rows.
    is_over: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { size: FIRST, taken: 0, all_new: false, is_over: false }
    }
}

impl Cache {
    /// Forgets what it knows of the catalogue, and of who wrote the rows of a table.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

/// Applies the first records of the range; gives how many that were.
pub(super) fn apply(
    transaction: &mut Transaction,
    cache: &mut Cache,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<usize> {
    let Identity::Key { columns: key, .. } = &plan.identity else { return Ok(0) };
    if plan.strategy == Strategy::Append || range.is_empty() {
        return Ok(0);
    }
    let (shape, mut pace) = match cache.0.take() {
        Some((shape, pace)) if shape.plan == *plan => (shape, pace),
        _ => (Arc::new(Shape::new(transaction, plan, key)?), Pace::default()),
    };
    let applied = match shape.one_by_one || pace.is_over {
        true => Ok(0),
        false => Applying { transaction, shape: &shape, rows, pace: &mut pace }.all(range, tally),
    };
    cache.0 = Some((shape, pace));
    applied
}

struct Applying<'a> {
    transaction: &'a mut Transaction,
    shape: &'a Shape,
    rows: &'a Rows,
    pace: &'a mut Pace,
}

impl Applying<'_> {
    fn all(&mut self, range: Range<usize>, tally: &mut Tally) -> Result<usize> {
        let mut next = range.start;
        while next < range.end && !self.pace.is_over {
            let most = range.end.min(next + self.pace.size);
            let chunk = next..chunk::end(self.shape, self.rows, next..most);
            if chunk.is_empty() {
                break;
            }
            let done = match self.together(chunk.clone())? {
                Ok(counts) => {
                    self.count(chunk.len(), counts, tally);
                    self.pace.size = (self.pace.size * 2).min(MOST);
                    chunk.len()
                }
                Err(error) => {
                    let done = self.halves(chunk.clone(), error, tally)?;
                    self.pace.size = (done * 2).clamp(16, FIRST);
                    next += done;
                    break;
                }
            };
            next += done;
        }
        Ok(next - range.start)
    }

    /// Applies what comes before the first record that a statement fails for; the whole chunk has failed.
    fn halves(&mut self, chunk: Range<usize>, error: Error, tally: &mut Tally) -> Result<usize> {
        let Range { mut start, mut end } = chunk.clone();
        // A COPY says which line it was.
        let line = |start: usize, error: &Error| copy::refused_line(error).map(|line| start + line - 1);
        let mut guess = line(start, &error).filter(|at| (start..end).contains(at));
        while end - start > 1 && !self.pace.is_over {
            let middle = guess.unwrap_or(start + (end - start) / 2);
            if middle == start {
                // It is the first one that fails.
                break;
            }
            match self.together(start..middle)? {
                Ok(counts) => {
                    self.count(middle - start, counts, tally);
                    start = middle;
                    if guess.is_some() {
                        break;
                    }
                }
                Err(error) => {
                    end = middle;
                    guess = line(start, &error).filter(|at| (start..end).contains(at));
                }
            }
        }
        Ok(start - chunk.start)
    }

    /// Applies all records of a range, or none.
    fn together(&mut self, range: Range<usize>) -> Result<Result<Counts>> {
        let (shape, rows) = (self.shape, self.rows);
        let may_be_new = shape.was_empty || (shape.may_upsert && self.pace.all_new);
        if may_be_new && self.pace.taken < MOST_TAKEN {
            let cells = shape.cells();
            let copied = self.transaction.attempt_kept(
                |transaction| copy::copy(&mut transaction.connection, &shape.table, &cells, rows, range.clone()),
                |copied| *copied == range.len() as u64,
            )?;
            match copied {
                Ok(created) if created != range.len() as u64 => {
                    // One by one it shows which ones.
                    self.pace.is_over = true;
                    return Ok(Err(Error::new(ErrorKind::Database, "some rows were left out")));
                }
                Ok(created) => return Ok(Ok(Counts { created, ..Counts::default() })),
                Err(error) if !shape.may_upsert => return Ok(Err(self.noted(error))),
                Err(error) if faults::is_taken(&error) => self.pace.taken += 1,
                Err(error) if faults::refusal(&error, &shape.table).is_some() => return Ok(Err(error)),
                // It is about COPY, which policies of a table refuse.
                Err(_) => self.pace.taken = MOST_TAKEN,
            }
        }
        if !shape.may_upsert {
            self.pace.is_over = true;
            return Ok(Err(Error::new(ErrorKind::Database, "rows of this table are changed one by one")));
        }
        let records = range.len() as u64;
        let run = |transaction: &mut Transaction| upsert::run(transaction, shape, rows, range);
        match self.transaction.attempt_kept(run, |counts: &Counts| !counts.is_twice)? {
            Ok(counts) if counts.is_twice => Ok(Err(Error::new(ErrorKind::Database, "a key comes twice"))),
            Ok(counts) => {
                self.pace.all_new = counts.created == records;
                Ok(Ok(counts))
            }
            Err(error) => Ok(Err(self.noted(error))),
        }
    }

    /// Notes an error that is not about the rows: the next statement would give it again.
    fn noted(&mut self, error: Error) -> Error {
        self.pace.is_over |= faults::refusal(&error, &self.shape.table).is_none() && !faults::is_twice(&error);
        error
    }

    fn count(&self, records: usize, counts: Counts, tally: &mut Tally) {
        let Counts { created, updated, differing, .. } = counts;
        let outcome = &mut tally.outcome;
        outcome.created += created;
        outcome.updated += updated;
        let kept = differing.saturating_sub(updated);
        let rest = (records as u64).saturating_sub(created + updated);
        outcome.differing += kept;
        match self.shape.plan.strategy {
            Strategy::Skip | Strategy::Append => outcome.skipped += rest,
            Strategy::Overwrite | Strategy::Merge => {
                outcome.skipped += kept;
                outcome.unchanged += rest.saturating_sub(kept);
            }
        }
    }
}
