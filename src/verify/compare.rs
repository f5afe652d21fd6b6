//! One table compared: both ends scan it at the same time, and what differs is found by a sketch.

use std::collections::HashSet;
use std::time::Duration;

use super::keys::Pairs;
use super::local::Here;
use super::table::{Key, Planned};
use super::{DifferingKeys, TableVerification, VerifyReason};
use crate::cancel::Patience;
use crate::client::{Client, Comparing};
use crate::domain::row_sum::RowHasher;
use crate::domain::schema::TableSchema;
use crate::domain::sketch::{Difference, Estimate, MOST_CELLS};
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Snapshot;
use crate::wire::native::Summary;

/// How often it is looked whether the local scan has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Hashes of the local rows are kept for tables of at most so many; larger ones are read again.
const KEPT_ROWS: usize = 4 << 20;

/// What is compared.
pub(super) struct Job<'j> {
    pub(super) client: &'j Client,
    /// The table as the sender describes it.
    pub(super) table: &'j TableSchema,
    pub(super) planned: &'j Planned,
    /// How many keys are listed of each kind.
    pub(super) keys: usize,
}

/// Compares one table. `progress` is told of the rows that the sender has read.
///
/// # Errors
/// [`CursorExpired`](ErrorKind::CursorExpired) if the sender let go of what was compared; those of the channel and of the local store.
pub(super) fn compare(
    job: &Job<'_>,
    snapshot: &mut dyn Snapshot,
    patience: &Patience,
    progress: &mut dyn FnMut(u64),
) -> Result<TableVerification> {
    let seed = random()?;
    let key = job.planned.key.as_ref().map_or(&[][..], |key| &key.there);
    let mut there = job.client.compare(&job.table.name, (&job.planned.columns, key), seed, patience)?;
    let (mut here, summary) = scan(job, snapshot, seed, &mut there, patience, progress)?;
    let name = &job.table.name;
    if summary.sum == here.sum {
        return Ok(TableVerification::equal(name, here.sum.rows));
    }
    let different = TableVerification::different(name, summary.sum.rows, here.sum.rows);
    if let Some(otherwise) = &job.planned.otherwise {
        let unknown = TableVerification::inconclusive(name, VerifyReason::SchemaDiffers, stores_otherwise(name, otherwise));
        return Ok(unknown.with_rows(summary.sum.rows, here.sum.rows));
    }
    let Some(key) = &job.planned.key else {
        return Ok(different.because(VerifyReason::NoKey, has_no_key(name)));
    };
    let differing = match differing(&mut there, &mut here, &summary, snapshot, patience)? {
        Differing::Known(differing) => differing,
        Differing::About(rows) => return Ok(estimated(different, rows)),
    };
    let paired = pair(job, key, (&mut there, &mut here), &differing, snapshot, (seed, patience));
    let (counts, keys) = match paired {
        Ok(paired) => paired,
        // That something differs is known all the same.
        Err(error) if error.is_from_peer() && error.kind() != ErrorKind::CursorExpired => {
            return Ok(different.because(VerifyReason::NotAllowed, error));
        }
        Err(error) => return Err(error),
    };
    Ok(TableVerification { keys, ..different.with_counts(counts) })
}

/// Scans both tables at the same time.
fn scan<'j>(
    job: &Job<'j>,
    snapshot: &mut dyn Snapshot,
    seed: u64,
    there: &mut Comparing<'_>,
    patience: &Patience,
    progress: &mut dyn FnMut(u64),
) -> Result<(Here<'j>, Summary)> {
    let local = patience.child();
    let planned = job.planned;
    std::thread::scope(|threads| {
        let scan = || Here::scan(snapshot, planned, seed, KEPT_ROWS, &mut || local.check("reading the local table"));
        let scanning =
            std::thread::Builder::new().name("rowferry-verify".to_owned()).spawn_scoped(threads, scan).map_err(|error| {
                Error::new(ErrorKind::System, format!("no thread to read the local table on: {error}"))
                    .with_hint("The system is out of threads or memory; try again later.")
                    .with_source(error)
            })?;
        let mut summary = there.summary(patience, progress);
        while summary.is_ok() && !scanning.is_finished() {
            std::thread::sleep(POLL_INTERVAL);
            if let Err(error) = there.wait(patience) {
                summary = Err(error);
            }
        }
        if summary.is_err() {
            local.cancel.cancel();
        }
        let panicked = || Error::new(ErrorKind::System, "the thread that reads the local table panicked");
        let here = scanning.join().unwrap_or_else(|_| Err(panicked()));
        let summary = summary?;
        Ok((here?, summary))
    })
}

enum Differing {
    /// Rows that only one end has, by their hashes.
    Known(Difference),
    /// More than can be told apart: about so many.
    About(u64),
}

/// Finds out which rows differ, in two more round trips at most.
fn differing(
    there: &mut Comparing<'_>,
    here: &mut Here<'_>,
    summary: &Summary,
    snapshot: &mut dyn Snapshot,
    patience: &Patience,
) -> Result<Differing> {
    let estimate = here.first.clone().difference(&summary.first, (here.sum.rows, summary.sum.rows));
    let (mut cells, about) = match estimate {
        Some(Estimate::Exact(found)) => return known(found, summary, here),
        Some(Estimate::About(about)) => (Estimate::About(about).cells(), about),
        None => return Err(Error::new(ErrorKind::Protocol, "the other site's first sketch is of another size")),
    };
    for _ in 0..2 {
        let sketch = there.sketch(cells, patience)?;
        let mut own = here.sketch(snapshot, cells, &mut || there.wait(patience))?;
        if own.subtract(&sketch)
            && let Some(found) = own.peel()
        {
            return known(found, summary, here);
        }
        if cells >= MOST_CELLS {
            break;
        }
        cells = cells.saturating_mul(2).min(MOST_CELLS);
    }
    Ok(Differing::About(about))
}

/// What was found, if it is what the sums of the two tables differ by: else the other site lied in one of them.
fn known(found: Difference, summary: &Summary, here: &Here<'_>) -> Result<Differing> {
    let sum = |hashes: &[u64]| hashes.iter().fold(0u64, |sum, hash| sum.wrapping_add(*hash));
    let rows = here.sum.rows.wrapping_sub(summary.sum.rows);
    let difference = (here.sum.sum as u64).wrapping_sub(summary.sum.sum as u64);
    let is_it = rows == (found.here.len() as u64).wrapping_sub(found.there.len() as u64)
        && difference == sum(&found.here).wrapping_sub(sum(&found.there));
    match is_it {
        true => Ok(Differing::Known(found)),
        false => {
            Err(Error::new(ErrorKind::Protocol, "the other site's sum of a table and its sketch contradict each other"))
        }
    }
}

/// Tells the rows that differ apart by their keys: the rows here are read again, and the sender is asked for its own.
fn pair(
    job: &Job<'_>,
    key: &Key,
    (there, here): (&mut Comparing<'_>, &mut Here<'_>),
    differing: &Difference,
    snapshot: &mut dyn Snapshot,
    (seed, patience): (u64, &Patience),
) -> Result<([u64; 3], DifferingKeys)> {
    let planned = job.planned;
    // What keys are remembered by is not for the sender to know.
    let mut pairs = Pairs::new(&planned.local, &key.here, job.keys, random()?);
    let ours: HashSet<u64> = differing.here.iter().copied().collect();
    if !ours.is_empty() {
        here.rows(snapshot, &ours, &mut || there.wait(patience), |rows, row| {
            pairs.note_here(rows, row, &key.here);
            true
        })?;
    }
    let mut missing: HashSet<u64> = differing.there.iter().copied().collect();
    if !missing.is_empty() {
        let mut hasher = RowHasher::new(seed);
        let mut too_large = 0;
        there.rows(&differing.there, patience, &mut |rows, failures| {
            for row in 0..rows.len() {
                let hash = hasher.hash_row(rows.row(row)) as u64;
                if !missing.remove(&hash) {
                    let why = format!("the other site sent rows of {:?} that nobody asked for", job.table.name);
                    return Err(Error::new(ErrorKind::Protocol, why));
                }
                pairs.note_there(rows, row, &key.there);
            }
            for failure in failures {
                too_large += 1;
                let mut key = Rows::new(failure.key.len());
                key.push(failure.key.iter().map(Value::as_ref));
                let cells: Vec<usize> = (0..failure.key.len()).collect();
                pairs.note_there(&key, 0, &cells);
            }
            Ok(())
        })?;
        if missing.len() != too_large {
            let why = format!("the other site did not send all rows of {:?} that differ", job.table.name);
            return Err(Error::new(ErrorKind::Protocol, why));
        }
    }
    if pairs.wants_here() {
        here.rows(snapshot, &ours, &mut || there.wait(patience), |rows, row| {
            pairs.name_here(rows, row, &key.here);
            pairs.wants_here()
        })?;
    }
    Ok(pairs.end())
}

/// Counts where about so many hashes differ: as many rows as can be are taken for changed ones.
fn estimated(different: TableVerification, about: u64) -> TableVerification {
    let (there, here) = (different.rows_there.unwrap_or_default(), different.rows_here.unwrap_or_default());
    let more = there.abs_diff(here);
    let changed = (about.saturating_sub(more) / 2).min(there.min(here));
    let (only_there, only_here) = if there > here { (more, 0) } else { (0, more) };
    TableVerification { estimated: true, ..different.with_counts([only_there, only_here, changed]) }
}

fn stores_otherwise(table: &str, otherwise: &str) -> Error {
    let why = format!(
        "table {table:?} has other values at the two sites, and that may be only because the tables store the same ones otherwise: \
         {otherwise}"
    );
    Error::new(ErrorKind::SchemaMismatch, why).with_hint("Give the column the same type at both ends.")
}

fn has_no_key(table: &str) -> Error {
    let why = format!(
        "table {table:?} has no key at both ends, so that only its sums were compared: which rows differ is not known"
    );
    Error::new(ErrorKind::SchemaMismatch, why).with_hint("Give it a primary key.")
}

/// A number that the other site cannot know beforehand.
fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| Error::new(ErrorKind::System, format!("the system gives no random numbers: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_fit_the_numbers_of_rows() {
        let counts = |there, here, about| {
            let table = estimated(TableVerification::different("t", there, here), about);
            assert!(table.estimated);
            [table.only_there, table.only_here, table.different].map(Option::unwrap)
        };
        assert_eq!(counts(100, 100, 200), [0, 0, 100]);
        assert_eq!(counts(100, 90, 30), [10, 0, 10]);
        assert_eq!(counts(0, 90, 90), [0, 90, 0]);
        assert_eq!(counts(100, 90, 5), [10, 0, 0]);
        assert_eq!(counts(5, 5, u64::MAX), [0, 0, 5]);
    }
}
