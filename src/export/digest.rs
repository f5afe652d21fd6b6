//! A digest of a table's content that does not depend on the order of its rows.

use std::fmt;

use crate::domain::digest::RowDigest;
use crate::domain::names::NameRules;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Credential;
use crate::store::{PageBounds, Snapshot};

/// What a table holds, in a few bytes: two tables with the same columns and the same rows have the same digest, whatever
/// the order of either and wherever they are.
///
/// It is the sum, modulo 2^128, of the first half of each row's SHA-256 over column names, storage classes and bytes. The names are
/// taken without case in ASCII, whatever the rules of the store: digests of different stores are compared with each other. It tells
/// apart what happens by accident; who can choose the rows can make two tables of one digest.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest {
    /// How many rows there are.
    pub rows: u64,
    sum: u128,
}

impl Digest {
    /// As a list of tables has it for the peer with this credential: it says whether that peer's own rows are the same, and to nobody else
    /// what a table holds. Text of 32 hex digits, or `empty`.
    pub(crate) fn listed(&self, for_whom: &Credential) -> String {
        match self.rows {
            0 => "empty".to_owned(),
            rows => for_whom.tag("rowferry digest", &format!("{rows} {self}")),
        }
    }
}

impl fmt::Display for Digest {
    /// The sum as 32 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.sum)
    }
}

/// The digest of all rows of a table, read page by page.
pub(crate) fn digest(snapshot: &mut dyn Snapshot, table: &TableSchema, bounds: PageBounds) -> Result<Digest> {
    let hasher = RowHasher::new(table);
    let mut digest = Digest::default();
    let mut rows = Rows::new(table.columns.len());
    let mut after = None;
    loop {
        let end = snapshot.page(table, after.as_ref(), 0, bounds, &mut rows)?;
        for row in 0..rows.len() {
            digest.sum = digest.sum.wrapping_add(hasher.hash(&rows, row)?);
            digest.rows += 1;
        }
        match end.cursor {
            Some(cursor) if end.more => after = Some(cursor),
            _ => return Ok(digest),
        }
    }
}

/// How a digest takes the names of columns: it is the same for every store.
const FOLDED: NameRules = NameRules::IgnoreAsciiCase;

/// Hashes rows of one table, its columns in the order of their folded names; those that fold to the same, in the order of the names.
struct RowHasher {
    order: Vec<usize>,
    names: RowDigest,
}

impl RowHasher {
    fn new(table: &TableSchema) -> Self {
        let written = |column: usize| table.columns[column].name.as_str();
        let name = |column: &usize| FOLDED.fold(written(*column));
        let mut order: Vec<usize> = (0..table.columns.len()).collect();
        order.sort_by(|one, other| name(one).cmp(&name(other)).then_with(|| written(*one).cmp(written(*other))));
        let mut names = RowDigest::new();
        order.iter().for_each(|column| names.name(&name(column)));
        RowHasher { order, names }
    }

    fn hash(&self, rows: &Rows, row: usize) -> Result<u128> {
        let mut hash = self.names.clone();
        for column in &self.order {
            let missing = || Error::new(ErrorKind::Database, "the store gave a row without all of its columns");
            hash.value(rows.get(row, *column).ok_or_else(missing)?);
        }
        Ok(u128::from_be_bytes(hash.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeSnapshot, table};
    use super::*;
    use crate::domain::value::Value;

    fn of(columns: &[&str], rows: Vec<Vec<Value>>) -> Digest {
        let schema = table("t", columns);
        digest(&mut FakeSnapshot::new(schema.clone(), rows), &schema, PageBounds { rows: 2, bytes: 1 << 20 }).unwrap()
    }

    #[test]
    fn order_of_rows_and_columns_does_not_matter() {
        let one = of(&["a", "b"], vec![vec![1.into(), "x".into()], vec![2.into(), "y".into()], vec![3.into(), "z".into()]]);
        let other =
            of(&["B", "a"], vec![vec!["z".into(), 3.into()], vec!["x".into(), 1.into()], vec!["y".into(), 2.into()]]);
        assert_eq!(one, other);
        assert_eq!(one.rows, 3);
        assert_eq!(one.to_string().len(), 32);
        assert_ne!(
            one,
            of(&["a", "c"], vec![vec![1.into(), "x".into()], vec![2.into(), "y".into()], vec![3.into(), "z".into()]])
        );
    }

    #[test]
    fn columns_that_differ_by_case_only_have_an_order_too() {
        let one = of(&["a", "A"], vec![vec![1.into(), 2.into()]]);
        assert_eq!(one, of(&["A", "a"], vec![vec![2.into(), 1.into()]]));
        assert_ne!(one, of(&["A", "a"], vec![vec![1.into(), 2.into()]]));
    }

    #[test]
    fn classes_bits_and_copies_matter() {
        let values: [Value; 8] = [
            Value::Null,
            1.into(),
            1.0.into(),
            "1".into(),
            Value::Blob(b"1".to_vec()),
            0.0.into(),
            (-0.0).into(),
            "".into(),
        ];
        for a in &values {
            for b in &values {
                let same = a.as_ref().same(b.as_ref());
                let (one, other) = (of(&["v"], vec![vec![a.clone()]]), of(&["v"], vec![vec![b.clone()]]));
                assert_eq!(one == other, same, "{a:?} {b:?}");
            }
        }
        let twice = of(&["v"], vec![vec![1.into()], vec![1.into()]]);
        assert_ne!(twice, of(&["v"], vec![vec![1.into()]]));
        assert_ne!(of(&["a", "b"], vec![vec!["x".into(), "".into()]]), of(&["a", "b"], vec![vec!["".into(), "x".into()]]));
    }
}
