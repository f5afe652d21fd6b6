//! Sketches of sets of row hashes: from the sketches of two tables follows which rows only one of them has, at a size that grows with
//! the difference and not with the tables.
//!
//! A [`Sketch`] is an invertible Bloom lookup table: each hash is put into one cell of each of [`PARTS`] parts. What is in both sets
//! vanishes when one sketch is subtracted from the other. A cell that is left with one hash gives it away; taken out of its other
//! cells, it leaves further cells with one, and so on ([`Sketch::peel`]). The first sketch has [`FIRST_CELLS`] cells: it finds few
//! differences at once, and otherwise tells how many there are ([`Sketch::difference`]), for one of the right size.
//!
//! Measured over 1,000 random sets for each number d of differences (`measured`, below): the first sketch finds 150 in 99.9 % of
//! all cases and 200 in 99.2 %; otherwise its estimate is off by 6 % (one standard deviation). [`cells_for`] is enough for 20, 61, 200, 1,000 and
//! 10,000 differences in 99.8 % or more, and [`Estimate::cells`] for an estimate in 99.6 % or more. A sketch of twice the size finds the rest.
//!
//! Sketches come from peers. What never peels, peels twice or does not fit is no difference but `None`, after a time that is bounded
//! by the number of cells.

#![cfg_attr(not(feature = "server"), allow(dead_code))]

/// In how many cells each hash is, one of each part.
const PARTS: usize = 4;

/// Bytes of a cell.
pub(crate) const CELL_BYTES: usize = 12;

/// The most cells of a sketch.
pub(crate) const MOST_CELLS: u32 = 1 << 20;

/// The cells of the first sketch that is exchanged: see [`Sketch::difference`].
pub(crate) const FIRST_CELLS: u32 = 288;

/// How many cells a sketch needs for so many differences to be found.
pub(crate) fn cells_for(differences: u64) -> u32 {
    let cells = differences.saturating_mul(3).div_ceil(2).saturating_add(32);
    u32::try_from(cells).unwrap_or(u32::MAX).min(MOST_CELLS)
}

/// What only one of two sets has: see [`Sketch::peel`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Difference {
    /// The hashes that only the sketch has that was subtracted from, in ascending order.
    pub(crate) here: Vec<u64>,
    /// Those that only the subtracted one has.
    pub(crate) there: Vec<u64>,
}

/// How much two sets differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Estimate {
    /// These are the differences, all of them.
    Exact(Difference),
    /// There are about so many, in both sets together.
    About(u64),
}

impl Estimate {
    /// How many cells a sketch should have to find what is only estimated: enough for an estimate that is off by as much as is usual.
    pub(crate) fn cells(&self) -> u32 {
        match self {
            Estimate::Exact(_) => 0,
            Estimate::About(differences) => cells_for(differences.saturating_add(differences / 8)),
        }
    }
}

/// Hashes that came together. All of it is wrapped around, so that subtracting undoes adding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cell {
    hash: u64,
    check: u16,
    count: i16,
}

impl Cell {
    fn put(&mut self, hash: u64, check: u16, count: i16) {
        self.hash ^= hash;
        self.check ^= check;
        self.count = self.count.wrapping_add(count);
    }
}

/// A sketch of a set of hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sketch {
    cells: Vec<Cell>,
}

impl Sketch {
    /// Of no hashes, with at least so many cells (and no more than [`MOST_CELLS`]).
    pub(crate) fn new(cells: u32) -> Self {
        let cells = cells.clamp(1, MOST_CELLS) as usize;
        Sketch { cells: vec![Cell::default(); cells.next_multiple_of(PARTS)] }
    }

    /// How many cells there are.
    pub(crate) fn len(&self) -> u32 {
        // No more than `MOST_CELLS`.
        self.cells.len() as u32
    }

    /// Adds a hash.
    pub(crate) fn add(&mut self, hash: u64) {
        self.put(hash, 1);
    }

    fn put(&mut self, hash: u64, count: i16) {
        let (places, check) = places(hash, self.cells.len());
        for place in places {
            self.cells[place].put(hash, check, count);
        }
    }

    /// Takes away what is in the other one. Gives whether that is possible: it is not if it has another number of cells, and then nothing
    /// is changed.
    #[must_use]
    pub(crate) fn subtract(&mut self, other: &Sketch) -> bool {
        if self.cells.len() != other.cells.len() {
            return false;
        }
        for (cell, other) in self.cells.iter_mut().zip(&other.cells) {
            cell.put(other.hash, other.check, other.count.wrapping_neg());
        }
        true
    }

    /// The differences, once one sketch was subtracted from another; `None` if there are too many of them for so few cells, or
    /// the cells are not what a sketch has.
    pub(crate) fn peel(mut self) -> Option<Difference> {
        let mut found = Difference::default();
        let mut single: Vec<u32> = (0..self.len()).filter(|cell| self.hash_in(*cell).is_some()).collect();
        let mut left = self.cells.len();
        while let Some(cell) = single.pop() {
            // It may have been taken out with another of its cells.
            let Some((hash, count)) = self.hash_in(cell) else { continue };
            // An honest sketch has fewer differences than cells.
            left = left.checked_sub(1)?;
            if count > 0 {
                found.here.push(hash)
            } else {
                found.there.push(hash)
            }
            self.put(hash, count.wrapping_neg());
            let (places, _) = places(hash, self.cells.len());
            single.extend(places.into_iter().map(|place| place as u32).filter(|place| self.hash_in(*place).is_some()));
        }
        if self.cells.iter().any(|cell| *cell != Cell::default()) {
            return None;
        }
        found.here.sort_unstable();
        found.there.sort_unstable();
        // A set has no hash twice, and what both have is no difference.
        let mut all: Vec<u64> = found.here.iter().chain(&found.there).copied().collect();
        all.sort_unstable();
        if all.windows(2).any(|pair| pair[0] == pair[1]) { None } else { Some(found) }
    }

    /// The hash that is alone in a cell, and the sign that it is there with.
    fn hash_in(&self, cell: u32) -> Option<(u64, i16)> {
        let Cell { hash, check, count } = self.cells[cell as usize];
        if !matches!(count, 1 | -1) {
            return None;
        }
        let (places, expected) = places(hash, self.cells.len());
        (check == expected && places.contains(&(cell as usize))).then_some((hash, count))
    }

    /// Adds cells as bytes, `count` from `first` on, as far as there are so many.
    pub(crate) fn encode(&self, first: u32, count: u32, out: &mut Vec<u8>) {
        for Cell { hash, check, count } in self.cells.iter().skip(first as usize).take(count as usize) {
            out.extend_from_slice(&hash.to_le_bytes());
            out.extend_from_slice(&check.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        }
    }

    /// Puts cells that [`Sketch::encode`] wrote in the place of those from `first` on. Gives whether they are whole cells and there is room
    /// for them; if not, nothing is changed.
    #[must_use]
    pub(crate) fn decode(&mut self, first: u32, bytes: &[u8]) -> bool {
        let (written, rest) = bytes.as_chunks::<CELL_BYTES>();
        let room = self.cells.get_mut(first as usize..).and_then(|cells| cells.get_mut(..written.len()));
        let (Some(room), true) = (room, rest.is_empty()) else { return false };
        for (cell, bytes) in room.iter_mut().zip(written) {
            let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
            *cell = Cell {
                hash: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
                check: u16::from_le_bytes([i, j]),
                count: i16::from_le_bytes([k, l]),
            };
        }
        true
    }

    /// How much the set differs from another one, of which there is a sketch of as many cells; `None` if it has another number. `rows`
    /// says how many hashes are in this one, and in the other.
    pub(crate) fn difference(mut self, other: &Sketch, rows: (u64, u64)) -> Option<Estimate> {
        if !self.subtract(other) {
            return None;
        }
        let surplus = i64::try_from(i128::from(rows.0) - i128::from(rows.1)).unwrap_or(i64::MAX);
        // No fewer than what one has more than the other, and no more than there are.
        let (fewest, most) = (surplus.unsigned_abs().max(1), rows.0.saturating_add(rows.1).max(1));
        let about = (self.estimate(surplus).round() as u64).clamp(fewest.min(most), most);
        Some(self.peel().map_or(Estimate::About(about), Estimate::Exact))
    }

    /// About how many hashes are in it, after one sketch was subtracted from another, if `surplus` more of them are from here than from
    /// there: each comes into a random cell of a part, so that the variance of the counts is their number, divided by that of the cells.
    fn estimate(&self, surplus: i64) -> f64 {
        let part = (self.cells.len() / PARTS) as f64;
        let mean = surplus as f64 / part;
        // The counts have 16 bits, and what they differ by from the mean is small, even if that is large.
        let base = mean.round() as i64;
        let off = |cell: &Cell| f64::from(cell.count.wrapping_sub(base as i16)) - (mean - base as f64);
        let squares: f64 = self.cells.iter().map(off).map(|off| off * off).sum();
        // Of each part the mean is known, which takes a degree of freedom.
        squares / PARTS as f64 * part / (part - 1.0).max(1.0)
    }
}

/// The cell of each part that a hash is in, if there are so many cells, and what its cells are checked by.
fn places(hash: u64, cells: usize) -> ([usize; PARTS], u16) {
    let part = (cells / PARTS) as u64;
    let (one, two, three) = (mixed(hash, 1), mixed(hash, 2), mixed(hash, 3));
    // A number of 32 bits as a fraction of a part.
    let place = |n: usize, bits: u64| n * part as usize + (((bits & 0xffff_ffff) * part) >> 32) as usize;
    ([place(0, one), place(1, one >> 32), place(2, two), place(3, two >> 32)], three as u16)
}

/// The finalizer of SplitMix64: all bits of the result depend on all bits of the hash.
fn mixed(hash: u64, which: u64) -> u64 {
    let mut bits = hash.wrapping_add(which.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hashes as of rows: any, and different ones.
    fn hashes(seed: u64) -> impl Iterator<Item = u64> {
        (0..).map(move |n: u64| mixed(mixed(seed, 77).wrapping_add(n), 5))
    }

    fn sketch(cells: u32, hashes: &[u64]) -> Sketch {
        let mut sketch = Sketch::new(cells);
        hashes.iter().for_each(|hash| sketch.add(*hash));
        sketch
    }

    /// Two sets that have `common` hashes in common, and what only one of them has.
    fn sets(seed: u64, common: usize, here: usize, there: usize) -> (Vec<u64>, Vec<u64>, Difference) {
        let all: Vec<u64> = hashes(seed).take(common + here + there).collect();
        let (ours, theirs) = (all[..common + here].to_vec(), [&all[..common], &all[common + here..]].concat());
        let mut difference = Difference { here: all[common..common + here].to_vec(), there: all[common + here..].to_vec() };
        difference.here.sort_unstable();
        difference.there.sort_unstable();
        (ours, theirs, difference)
    }

    fn found(seed: u64, cells: u32, (here, there): (usize, usize)) -> bool {
        let (ours, theirs, difference) = sets(seed, 0, here, there);
        let mut one = sketch(cells, &ours);
        assert!(one.subtract(&sketch(cells, &theirs)));
        match one.peel() {
            Some(found) => {
                assert_eq!(found, difference);
                true
            }
            None => false,
        }
    }

    #[test]
    fn differences_are_found_whatever_the_tables_have_in_common() {
        for (here, there) in [(0, 0), (1, 0), (0, 1), (30, 30), (31, 30), (500, 500), (1_000, 0), (750, 750)] {
            for seed in 0..4 {
                let (ours, theirs, difference) = sets(seed, 5_000, here, there);
                let cells = cells_for((here + there) as u64);
                let mut one = sketch(cells, &ours);
                assert!(one.subtract(&sketch(cells, &theirs)));
                assert_eq!(one.peel(), Some(difference), "{here} and {there}, {seed}");
            }
        }
    }

    #[test]
    fn the_first_sketch_finds_few_differences_and_tells_how_many_others_are() {
        let of = |ours: &[u64], theirs: &[u64]| {
            let rows = (ours.len() as u64, theirs.len() as u64);
            sketch(FIRST_CELLS, ours).difference(&sketch(FIRST_CELLS, theirs), rows).unwrap()
        };
        let (ours, theirs, difference) = sets(1, 10_000, 100, 60);
        assert_eq!(of(&ours, &theirs), Estimate::Exact(difference));
        for (here, there) in [(500, 500), (0, 3_000), (40_000, 100), (60_000, 60_000)] {
            let (ours, theirs, _) = sets(2, 1_000, here, there);
            let Estimate::About(about) = of(&ours, &theirs) else { panic!("{here} and {there} were found") };
            let ratio = about as f64 / (here + there) as f64;
            assert!((0.7..1.3).contains(&ratio), "{here} and {there}: {about}");
        }
        assert_eq!(sketch(288, &[]).difference(&sketch(284, &[]), (0, 0)), None);
    }

    /// What the documentation of the module says, in its figures: `cargo test --release --lib sketch -- --ignored --nocapture`.
    #[test]
    #[ignore = "it measures"]
    #[expect(clippy::print_stdout, reason = "figures are what it is for")]
    fn measured() {
        const RUNS: u64 = 1_000;
        for differences in [20, 60, 100, 150, 160, 170, 180, 190, 200] {
            let good = (0..RUNS).filter(|seed| found(*seed, FIRST_CELLS, (differences / 2, differences / 2))).count();
            println!("the first sketch, d = {differences}: {good} of {RUNS}");
        }
        for differences in [2, 20, 61, 200, 1_000, 10_000] {
            let cells = cells_for(differences as u64);
            let good =
                (0..RUNS).filter(|seed| found(*seed, cells, (differences / 2, differences - differences / 2))).count();
            println!("{cells} cells, d = {differences}: {good} of {RUNS}");
        }
        for (here, there) in [(150, 150), (500, 500), (1_000, 0), (10_000, 100), (20_000, 20_000)] {
            let (mut squares, mut enough) = (0.0, 0);
            for seed in 0..RUNS {
                let (ours, theirs, _) = sets(seed, 0, here, there);
                let rows = (here as u64, there as u64);
                let estimate = sketch(FIRST_CELLS, &ours).difference(&sketch(FIRST_CELLS, &theirs), rows).unwrap();
                let Estimate::About(about) = estimate else { continue };
                squares += (about as f64 / (here + there) as f64 - 1.0).powi(2);
                enough += u64::from(f64::from(estimate.cells()) > 1.32 * (here + there) as f64);
            }
            println!("{here} and {there}: off by {:.3}, enough cells {enough}", (squares / RUNS as f64).sqrt());
        }
    }

    #[test]
    fn a_hash_that_is_there_twice_is_no_difference() {
        assert_eq!(sketch(64, &[5, 5]).peel(), None);
        assert_eq!(sketch(64, &[5, 5, 5]).peel(), None);
        // One that claims to have what it does not have.
        let mut hostile = Sketch::new(64);
        (0..8).for_each(|_| hostile.put(9, -1));
        let _ = hostile.subtract(&sketch(64, &[9, 10]));
        assert_eq!(hostile.peel(), None);
        // The same hash from both sides, in cells that fit each other only in part.
        let mut both = sketch(64, &[7]);
        let ([place, ..], check) = places(7, 64);
        both.cells[place].put(7, check, -2);
        assert_eq!(both.peel(), None);
    }

    proptest! {
        #[test]
        fn any_sets_are_told_apart(common in 0usize..300, here in 0usize..80, there in 0usize..80, seed: u64) {
            let (ours, theirs, difference) = sets(seed, common, here, there);
            let rows = (ours.len() as u64, theirs.len() as u64);
            let first = sketch(FIRST_CELLS, &ours).difference(&sketch(FIRST_CELLS, &theirs), rows);
            if let Some(Estimate::Exact(found)) = first {
                prop_assert_eq!(found, difference);
            } else {
                prop_assert!(here + there > 100);
            }
        }

        #[test]
        fn cells_of_a_peer_end_the_search(bytes in prop::collection::vec(any::<u8>(), 0..4_000), same: u8, cells in 1u32..400) {
            let mut sketch = Sketch::new(cells);
            let whole = bytes.len() / CELL_BYTES * CELL_BYTES;
            prop_assert_eq!(sketch.decode(0, &bytes[..whole]), whole / CELL_BYTES <= sketch.len() as usize);
            prop_assert!(whole == bytes.len() || !sketch.decode(0, &bytes));
            let _ = sketch.clone().peel();
            let _ = sketch.difference(&Sketch::new(cells), (u64::MAX, 0));
            // Cells that each have a hash by itself, in the wrong place.
            let mut repeated = Sketch::new(cells + 4);
            let mut cell = Sketch::new(cells + 4);
            cell.add(same.into());
            let full = cell.cells.iter().find(|cell| cell.count == 1).copied().unwrap_or_default();
            repeated.cells.fill(full);
            prop_assert_eq!(repeated.peel(), None);
        }

        #[test]
        fn cells_are_written_and_read_in_pieces(seed: u64, count in 0usize..200, cells in 1u32..300, piece in 1u32..100) {
            let rows: Vec<u64> = hashes(seed).take(count).collect();
            let (whole, mut back) = (sketch(cells, &rows), Sketch::new(cells));
            for first in (0..whole.len()).step_by(piece as usize) {
                let mut bytes = Vec::new();
                whole.encode(first, piece, &mut bytes);
                prop_assert!(back.decode(first, &bytes));
            }
            prop_assert_eq!(&back, &whole);
            prop_assert!(!back.decode(whole.len(), &[0; CELL_BYTES]));
        }
    }
}
