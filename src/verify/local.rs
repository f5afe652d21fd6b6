//! The local side of a comparison: one scan of a table gives its sum and the hashes of its rows; what differs is then read again.

use std::collections::HashSet;

use super::table::Planned;
use crate::domain::row_sum::{RowHasher, RowSum};
use crate::domain::sketch::{FIRST_CELLS, Sketch};
use crate::domain::value::Rows;
use crate::error::Result;
use crate::store::{Cursor, PageBounds, Snapshot};

/// Rows that are read at a time, and read again where one of them differs.
const BLOCK: PageBounds = PageBounds { rows: 1_024, bytes: 256 << 10 };

/// A local table, and what one scan of it found.
pub(super) struct Here<'p> {
    planned: &'p Planned,
    hasher: RowHasher,
    pub(super) sum: RowSum,
    /// The sketch that is exchanged first.
    pub(super) first: Sketch,
    /// The hash of each row in the order of the scan, block after block; `None` where there are more rows than are kept: then the table is
    /// scanned again.
    hashes: Option<Vec<u64>>,
    blocks: Vec<Block>,
}

/// Called before each block is read, for an error if that is to end.
pub(super) type Check<'c> = &'c mut dyn FnMut() -> Result<()>;

/// A run of rows that was read.
struct Block {
    /// The place before its first row.
    after: Option<Cursor>,
    rows: usize,
}

impl<'p> Here<'p> {
    /// Reads all rows and hashes them with this seed. The hashes of at most `kept` rows are kept.
    pub(super) fn scan(
        snapshot: &mut dyn Snapshot,
        planned: &'p Planned,
        seed: u64,
        kept: usize,
        check: Check<'_>,
    ) -> Result<Self> {
        let (mut sum, mut first) = (RowSum::default(), Sketch::new(FIRST_CELLS));
        let (mut hashes, mut blocks, mut hasher) = (Some(Vec::new()), Vec::new(), RowHasher::new(seed));
        each_block(snapshot, planned, None, check, |rows, after| {
            for row in 0..rows.len() {
                let hash = hash(&mut hasher, planned, rows, row);
                sum.add(hash);
                first.add(hash as u64);
                if let Some(hashes) = &mut hashes {
                    hashes.push(hash as u64);
                }
            }
            match hashes.as_ref().is_some_and(|hashes| hashes.len() <= kept) {
                true => blocks.push(Block { after, rows: rows.len() }),
                false => (hashes, blocks) = (None, Vec::new()),
            }
            Ok(true)
        })?;
        Ok(Here { planned, hasher, sum, first, hashes, blocks })
    }

    /// A sketch of all rows.
    pub(super) fn sketch(&mut self, snapshot: &mut dyn Snapshot, cells: u32, check: Check<'_>) -> Result<Sketch> {
        let mut sketch = Sketch::new(cells);
        if let Some(hashes) = &self.hashes {
            hashes.iter().for_each(|hash| sketch.add(*hash));
            return Ok(sketch);
        }
        let (planned, hasher) = (self.planned, &mut self.hasher);
        each_block(snapshot, planned, None, check, |rows, _| {
            (0..rows.len()).for_each(|row| sketch.add(hash(hasher, planned, rows, row) as u64));
            Ok(true)
        })?;
        Ok(sketch)
    }

    /// Reads the rows with these hashes again, and gives each to `take`, until it wants no more.
    pub(super) fn rows(
        &mut self,
        snapshot: &mut dyn Snapshot,
        wanted: &HashSet<u64>,
        check: Check<'_>,
        mut take: impl FnMut(&Rows, usize) -> bool,
    ) -> Result<()> {
        let (planned, hasher) = (self.planned, &mut self.hasher);
        let mut take_of = |rows: &Rows| {
            (0..rows.len()).all(|row| !wanted.contains(&(hash(hasher, planned, rows, row) as u64)) || take(rows, row))
        };
        let Some(hashes) = &self.hashes else {
            return each_block(snapshot, planned, None, check, |rows, _| Ok(take_of(rows)));
        };
        let (mut rows, mut at) = (Rows::default(), 0);
        for block in &self.blocks {
            let of_block = at..at + block.rows;
            at = of_block.end;
            if !hashes[of_block].iter().any(|hash| wanted.contains(hash)) {
                continue;
            }
            check()?;
            snapshot.page(&planned.local, block.after.as_ref(), 0, BLOCK, &mut rows)?;
            if !take_of(&rows) {
                break;
            }
        }
        Ok(())
    }
}

fn hash(hasher: &mut RowHasher, planned: &Planned, rows: &Rows, row: usize) -> u128 {
    hasher.hash_row(planned.here.iter().map(|column| rows.get(row, *column)))
}

/// Reads a table block by block, and gives each with the place before it, as long as `take` wants more.
fn each_block(
    snapshot: &mut dyn Snapshot,
    planned: &Planned,
    mut after: Option<Cursor>,
    check: Check<'_>,
    mut take: impl FnMut(&Rows, Option<Cursor>) -> Result<bool>,
) -> Result<()> {
    let mut rows = Rows::new(planned.local.columns.len());
    loop {
        check()?;
        let end = snapshot.page(&planned.local, after.as_ref(), 0, BLOCK, &mut rows)?;
        if rows.is_empty() || !take(&rows, after.take())? {
            return Ok(());
        }
        match end.cursor {
            Some(cursor) if end.more => after = Some(cursor),
            _ => return Ok(()),
        }
    }
}
