//! A table that a peer compares with its own: the hashes of its rows, and the rows of which it wants more than that.
//!
//! The table is read once, in whatever order the store gives its rows, from one snapshot. As long as there is room, the hashes are kept, and
//! the place before each block of rows: then sketches are made of them, and rows are found again by their position. Where there is no room
//! the table is read again.

use std::mem;
use std::sync::Arc;

use super::room::{Room, Taken};
use super::{Exporter, Source, View};
use crate::domain::row_sum::{RowHasher, RowSum};
use crate::domain::schema::TableSchema;
use crate::domain::sketch::{FIRST_CELLS, Sketch};
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::table::key_of;
use crate::store::{Cursor, PageBounds};

/// How many bits a filter of hashes has: many more than hashes are looked for at once.
const FILTER_BITS: u64 = 1 << 20;

/// A table that is compared.
pub(crate) struct Compared {
    table: Arc<TableSchema>,
    /// The columns in the order in which they are hashed.
    columns: Vec<usize>,
    hasher: RowHasher,
    state: u64,
    sum: RowSum,
    first: Sketch,
    /// What is kept of the rows, if there was room.
    kept: Option<Kept>,
    scan: Scan,
}

/// Hashes, and how to come back to the rows that they are of.
struct Kept {
    /// In the order in which rows were read.
    hashes: Vec<u64>,
    /// The places before blocks of rows, each with the number of rows before it.
    blocks: Vec<(u64, Option<Cursor>)>,
    taken: Taken,
}

/// How far a table is read.
#[derive(Debug, Default)]
struct Scan {
    after: Option<Cursor>,
    rows: u64,
    ended: bool,
}

/// A sketch in the making.
pub(crate) struct Sketching {
    sketch: Sketch,
    scan: Scan,
}

/// Rows that are looked for.
pub(crate) enum Search {
    /// At these positions, in ascending order, from the `next` one on.
    At { positions: Vec<u64>, next: usize },
    /// By these hashes, wherever they are.
    Through { wanted: Wanted, scan: Box<ScanState> },
}

/// See [`Scan`].
pub(crate) struct ScanState(Scan);

/// A set of hashes.
pub(crate) struct Wanted {
    /// In ascending order.
    hashes: Vec<u64>,
    /// A bit for the lowest bits of each of them.
    filter: Vec<u64>,
}

impl Wanted {
    fn new(hashes: Vec<u64>) -> Self {
        let mut filter = vec![0; (FILTER_BITS / 64) as usize];
        for hash in &hashes {
            filter[Self::word(*hash)] |= 1 << (hash % 64);
        }
        Wanted { hashes, filter }
    }

    fn word(hash: u64) -> usize {
        (hash % FILTER_BITS / 64) as usize
    }

    fn has(&self, hash: u64) -> bool {
        self.filter[Self::word(hash)] & (1 << (hash % 64)) != 0 && self.hashes.binary_search(&hash).is_ok()
    }
}

impl Exporter {
    /// Begins to compare a table by these columns, hashed in this order with this seed. What is kept of it is taken from the room.
    ///
    /// # Errors
    /// Those of [`Exporter::schema`]; [`SchemaMismatch`](ErrorKind::SchemaMismatch) if it has no such column, [`InvalidInput`](ErrorKind::InvalidInput)
    /// if one is there twice.
    pub(crate) fn compare(&mut self, table: &str, columns: &[String], seed: u64, room: &Room) -> Result<Compared> {
        let view = self.source.view()?;
        let (table, state) = (view.schema(table)?, view.state);
        let mut order = Vec::with_capacity(columns.len());
        let mut seen = vec![false; table.columns.len()];
        for name in columns {
            let found = table.columns.iter().position(|column| column.name == *name);
            let found =
                found.ok_or_else(|| Error::new(ErrorKind::SchemaMismatch, format!("there is no column {name:?}")))?;
            if mem::replace(&mut seen[found], true) {
                return Err(Error::new(ErrorKind::InvalidInput, format!("the column {name:?} is compared twice")));
            }
            order.push(found);
        }
        Ok(Compared {
            table,
            columns: order,
            hasher: RowHasher::new(seed),
            state,
            sum: RowSum::default(),
            first: Sketch::new(FIRST_CELLS),
            kept: Some(Kept { hashes: Vec::new(), blocks: Vec::new(), taken: room.take() }),
            scan: Scan::default(),
        })
    }
}

impl Compared {
    /// The number of the snapshot that all is of.
    pub(crate) fn state(&self) -> u64 {
        self.state
    }

    /// How many rows there are, and the sum of their hashes, so far.
    pub(crate) fn sum(&self) -> RowSum {
        self.sum
    }

    /// The first sketch.
    pub(crate) fn first(&self) -> &Sketch {
        &self.first
    }

    /// How many columns are compared.
    pub(crate) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The columns of the key among those that are compared.
    pub(crate) fn key(&self) -> Result<Vec<usize>> {
        let key = key_of(&self.table)?.map_or(Vec::new(), |(columns, _)| columns);
        Ok(key.iter().filter_map(|column| self.columns.iter().position(|compared| compared == column)).collect())
    }

    /// Whether what comes after the first scan needs none of its own.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Reads on, a page of rows. Gives whether all are read.
    pub(crate) fn scan(&mut self, exporter: &mut Exporter, rows: &mut Rows) -> Result<bool> {
        let mut scan = mem::take(&mut self.scan);
        let (before, most) = (scan.after.clone(), exporter.source.limits.server.compared_bytes);
        self.read_on(&mut exporter.source, &mut scan, (usize::MAX, usize::MAX), rows)?;
        let hashes: Vec<u128> = (0..rows.len()).map(|row| self.hash(rows, row)).collect();
        if let Some(kept) = &mut self.kept {
            let place = before.as_ref().map_or(0, place_bytes);
            let bytes = hashes.len() * size_of::<u64>() + size_of::<(u64, Option<Cursor>)>() + place;
            if kept.taken.grow(bytes, most) {
                kept.blocks.push((self.sum.rows, before));
                kept.hashes.extend(hashes.iter().map(|hash| *hash as u64));
            } else {
                self.kept = None;
            }
        }
        for hash in hashes {
            self.sum.add(hash);
            self.first.add(hash as u64);
        }
        self.scan = scan;
        Ok(self.scan.ended)
    }

    /// Begins a sketch of all rows.
    pub(crate) fn sketch(&self, cells: u32) -> Sketching {
        Sketching { sketch: Sketch::new(cells), scan: Scan::default() }
    }

    /// Begins to look for the rows of these hashes, which are in ascending order.
    pub(crate) fn search(&self, hashes: Vec<u64>) -> Search {
        let wanted = Wanted::new(hashes);
        match &self.kept {
            Some(kept) => {
                let positions = kept.hashes.iter().zip(0..).filter(|(hash, _)| wanted.has(**hash)).map(|(_, at)| at);
                Search::At { positions: positions.collect(), next: 0 }
            }
            None => Search::Through { wanted, scan: Box::new(ScanState(Scan::default())) },
        }
    }

    fn hash(&mut self, rows: &Rows, row: usize) -> u128 {
        self.hasher.hash_row(self.columns.iter().map(|column| rows.get(row, *column)))
    }

    /// Reads a page after those that were read, of no more rows and about as many bytes.
    fn read_on(&self, source: &mut Source, scan: &mut Scan, (most, bytes): (usize, usize), rows: &mut Rows) -> Result<()> {
        let (page_rows, page_bytes) = (source.limits.wire.page_rows, source.limits.wire.page_bytes);
        let view = self.view(source)?;
        let most = view.snapshot.block_rows().min(page_rows).min(most).max(1);
        let bounds = PageBounds { rows: most, bytes: page_bytes.min(bytes).max(1) };
        let end = view.snapshot.page(&self.table, scan.after.as_ref(), 0, bounds, rows)?;
        scan.rows = scan.rows.saturating_add(rows.len() as u64);
        scan.ended = !end.more || rows.is_empty();
        scan.after = end.cursor;
        Ok(())
    }

    /// The snapshot, as long as it is the one that was compared.
    fn view<'s>(&self, source: &'s mut Source) -> Result<&'s mut View> {
        let view = source.view()?;
        if view.state == self.state { Ok(view) } else { Err(gone()) }
    }

    /// Adds a row to others, with the columns that are compared in their order.
    fn copy(&self, rows: &Rows, row: usize, out: &mut Rows) {
        out.start_row();
        for (to, from) in self.columns.iter().enumerate() {
            if let Some(value) = rows.get(row, *from) {
                out.set(to, value);
            }
        }
    }
}

impl Sketching {
    /// Goes on, if all rows must be read again for a page of them. Gives whether it is complete.
    pub(crate) fn step(&mut self, compared: &mut Compared, exporter: &mut Exporter, rows: &mut Rows) -> Result<bool> {
        if let Some(kept) = &compared.kept {
            kept.hashes.iter().for_each(|hash| self.sketch.add(*hash));
            return Ok(true);
        }
        compared.read_on(&mut exporter.source, &mut self.scan, (usize::MAX, usize::MAX), rows)?;
        for row in 0..rows.len() {
            let hash = compared.hash(rows, row);
            self.sketch.add(hash as u64);
        }
        Ok(self.scan.ended)
    }

    /// How many rows were read for it.
    pub(crate) fn rows(&self) -> u64 {
        self.scan.rows
    }

    /// The sketch.
    pub(crate) fn into_sketch(self) -> Sketch {
        self.sketch
    }
}

impl Search {
    /// Looks for further rows and adds them to `out`, which comes to at most so many rows by that and to about so many bytes. `rows` is to read
    /// into.
    pub(crate) fn step(
        &mut self,
        compared: &mut Compared,
        exporter: &mut Exporter,
        (most, bytes): (usize, usize),
        rows: &mut Rows,
        out: &mut Rows,
    ) -> Result<()> {
        let left = (most.saturating_sub(out.len()).max(1), bytes.saturating_sub(out.size_bytes()).max(1));
        match self {
            Search::Through { wanted, scan: state } => {
                compared.read_on(&mut exporter.source, &mut state.0, left, rows)?;
                for row in 0..rows.len() {
                    if wanted.has(compared.hash(rows, row) as u64) {
                        compared.copy(rows, row, out);
                    }
                }
            }
            Search::At { positions, next } => {
                let Some(at) = positions.get(*next).copied() else { return Ok(()) };
                let kept = compared.kept.as_ref().ok_or_else(gone)?;
                let block = kept.blocks.partition_point(|(first, _)| *first <= at);
                let (first, after) = block.checked_sub(1).and_then(|block| kept.blocks.get(block)).ok_or_else(gone)?;
                let end = kept.blocks.get(block).map_or(kept.hashes.len() as u64, |(first, _)| *first);
                let run = positions.iter().skip(*next).take_while(|position| **position < end).last().copied().unwrap_or(at);
                let bounds =
                    PageBounds { rows: usize::try_from(run - at + 1).unwrap_or(usize::MAX).min(left.0), bytes: left.1 };
                let view = compared.view(&mut exporter.source)?;
                view.snapshot.page(&compared.table, after.as_ref(), at - first, bounds, rows)?;
                let read = at..at.saturating_add(rows.len() as u64);
                if read.is_empty() {
                    return Err(gone());
                }
                while let Some(position) = positions.get(*next).copied().filter(|position| read.contains(position)) {
                    let row = (position - at) as usize;
                    let expected = compared.kept.as_ref().and_then(|kept| kept.hashes.get(position as usize)).copied();
                    if Some(compared.hash(rows, row) as u64) != expected {
                        return Err(gone());
                    }
                    compared.copy(rows, row, out);
                    *next += 1;
                }
            }
        }
        Ok(())
    }

    /// Whether there is nothing more to look for.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Search::At { positions, next } => *next >= positions.len(),
            Search::Through { scan, .. } => scan.0.ended,
        }
    }

    /// How many rows were read through for it.
    pub(crate) fn rows(&self) -> u64 {
        match self {
            Search::At { .. } => 0,
            Search::Through { scan, .. } => scan.0.rows,
        }
    }
}

fn place_bytes(cursor: &Cursor) -> usize {
    let value = |value: &Value| match value {
        Value::Text(bytes) | Value::Blob(bytes) => size_of::<Value>() + bytes.len(),
        _ => size_of::<Value>(),
    };
    cursor.values.iter().map(value).sum()
}

fn gone() -> Error {
    Error::new(ErrorKind::CursorExpired, "the snapshot of the table that was compared is let go: compare again")
}
