//! Hashes of rows, and the sum of a table: whether two sites have the same rows, whatever the order they are read in.
//!
//! A row is hashed as the bytes of its values ([`canonical`](super::canonical)), one after the other. The seed is chosen for each
//! pull or comparison, so that nobody can make rows beforehand whose hashes collide. It does not protect from the one who knows
//! the seed: for that there is [`digest`](super::digest).

use std::fmt;
use std::str::FromStr;

use twox_hash::XxHash3_128;
use uuid::Uuid;

/// How many bytes a sum takes.
pub const SUM_BYTES: usize = 24;

/// Hashes rows: XXH3 of 128 bits with a seed.
#[derive(Debug, Clone, Copy)]
pub struct RowHasher {
    seed: u64,
}

impl RowHasher {
    /// With this seed: rows hashed with another one have nothing in common with these.
    pub fn new(seed: u64) -> Self {
        RowHasher { seed }
    }

    /// As the rows of this pull are hashed: its name is random, and the same when it is resumed.
    pub fn of_pull(pull: Uuid) -> Self {
        RowHasher::new(pull.as_u64_pair().1)
    }

    /// The hash of a row, as it is written.
    #[inline]
    pub fn hash_bytes(&self, row: &[u8]) -> u128 {
        XxHash3_128::oneshot_with_seed(self.seed, row)
    }
}

/// How many rows there are, and the sum of their hashes: equal for equal rows in any order. It wraps around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowSum {
    /// The number of rows.
    pub rows: u64,
    /// The sum of their hashes.
    pub sum: u128,
}

impl RowSum {
    /// Adds a row.
    #[inline]
    pub fn add(&mut self, hash: u128) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash);
    }

    /// As bytes: the rows, then the sum, the lowest byte first.
    pub fn to_bytes(self) -> [u8; SUM_BYTES] {
        let mut out = [0; SUM_BYTES];
        out[..8].copy_from_slice(&self.rows.to_le_bytes());
        out[8..].copy_from_slice(&self.sum.to_le_bytes());
        out
    }

    /// Back from [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: [u8; SUM_BYTES]) -> RowSum {
        let (mut rows, mut sum) = ([0; 8], [0; 16]);
        rows.copy_from_slice(&bytes[..8]);
        sum.copy_from_slice(&bytes[8..]);
        RowSum { rows: u64::from_le_bytes(rows), sum: u128::from_le_bytes(sum) }
    }
}

/// Sums rows as they are written or read.
#[derive(Debug, Clone)]
pub struct Summing {
    hasher: RowHasher,
    sum: RowSum,
}

impl Summing {
    /// Continues from the sum of the rows before.
    pub fn new(hasher: RowHasher, before: RowSum) -> Self {
        Summing { hasher, sum: before }
    }

    /// Adds a row that is written already.
    #[inline]
    pub fn add(&mut self, row: &[u8]) {
        self.sum.add(self.hasher.hash_bytes(row));
    }

    /// The sum of all rows so far.
    pub fn sum(&self) -> RowSum {
        self.sum
    }
}

/// `ROWS:SUM`, the sum as 32 hexadecimal digits.
impl fmt::Display for RowSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:032x}", self.rows, self.sum)
    }
}

/// As it is displayed, and in no other way.
impl FromStr for RowSum {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (rows, sum) = text.split_once(':').ok_or(())?;
        let read = RowSum { rows: rows.parse().map_err(|_| ())?, sum: u128::from_str_radix(sum, 16).map_err(|_| ())? };
        if read.to_string() == text { Ok(read) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hash_is_xxh3_with_a_seed() {
        // XXH3_128bits_withSeed of the reference implementation: nothing, with seed 0.
        assert_eq!(RowHasher::new(0).hash_bytes(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        assert_ne!(RowHasher::new(7).hash_bytes(b"a"), RowHasher::new(8).hash_bytes(b"a"));
        let pull = Uuid::from_u64_pair(1, 7);
        assert_eq!(RowHasher::of_pull(pull).hash_bytes(b"a"), RowHasher::new(7).hash_bytes(b"a"));
    }

    #[test]
    fn what_is_displayed_can_be_read() {
        let sum = RowSum { rows: 3, sum: 0xab };
        assert_eq!(sum.to_string(), "3:000000000000000000000000000000ab");
        assert_eq!(sum.to_string().parse(), Ok(sum));
        for bad in ["", "3", "3:", "3:ab", ":", "+3:000000000000000000000000000000ab", "3:000000000000000000000000000000AB"]
        {
            assert_eq!(bad.parse::<RowSum>(), Err(()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_sum_knows_no_order(
            mut rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..30), cut in any::<prop::sample::Index>(),
        ) {
            let hasher = RowHasher::new(5);
            let after = |before, rows: &[Vec<u8>]| {
                let mut summing = Summing::new(hasher, before);
                rows.iter().for_each(|row| summing.add(row));
                summing.sum()
            };
            let sum = |rows: &[Vec<u8>]| after(RowSum::default(), rows);
            let whole = sum(&rows);
            let (left, right) = rows.split_at(cut.index(rows.len() + 1));
            prop_assert_eq!(after(sum(left), right), whole);
            prop_assert_eq!(RowSum::from_bytes(whole.to_bytes()), whole);
            rows.reverse();
            prop_assert_eq!(sum(&rows), whole);
            rows.push(vec![1]);
            prop_assert_ne!(sum(&rows), whole);
        }
    }
}
