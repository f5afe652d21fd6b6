//! What undoes the writes of a pull: for each row that was written what it was before, and how to tell that it is still as it was
//! written. Entries of one table stand together in pages.
//!
//! A page: its format (1 byte), the names of the stored columns and which of them are the key, and the entries one after the other. An
//! entry: its kind (1 byte), the [cells](super::cells) of the kind, and, where the row is expected to be there, 8 bytes of its
//! [hash](super::row_sum).

use super::cells::{put, take};
use super::row_sum::RowHasher;
use super::value::{Value, ValueRef};

const FORMAT: u8 = 1;

/// A row's values, in the order of the page's columns; `None` where the entry does not say.
pub(crate) type Cells = Vec<Option<Value>>;

/// What was done to a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// It was added.
    Created {
        /// The values of its key.
        key: Vec<Value>,
        /// Its hash afterwards.
        after: u64,
    },
    /// It was added, and only all of its values tell which it is.
    CreatedKeyless {
        /// All of its values.
        row: Cells,
    },
    /// It was changed.
    Updated {
        /// The values of its key afterwards.
        key: Vec<Value>,
        /// What stood in the columns that changed.
        before: Cells,
        /// Its hash afterwards.
        after: u64,
    },
    /// It was deleted. No strategy deletes yet.
    #[allow(dead_code)]
    Deleted {
        /// All of its values.
        before: Cells,
    },
}

/// The columns that entries of a page are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns {
    /// The names of the columns whose values are stored, generated ones left out.
    pub(crate) names: Vec<String>,
    /// The positions of the key among them; empty where the table has none.
    pub(crate) key: Vec<usize>,
}

/// The hash of a row's stored values, as entries keep it: half of what [`RowHasher`] gives. The seed is the transfer's own.
pub(crate) fn hash_of<'v>(hasher: &mut RowHasher, row: impl Iterator<Item = ValueRef<'v>>) -> u64 {
    hasher.hash_row(row.map(Some)) as u64
}

/// A page that is being filled.
#[derive(Debug)]
pub(crate) struct PageBuilder {
    pub(crate) columns: Columns,
    pub(crate) entries: usize,
    bytes: Vec<u8>,
}

impl PageBuilder {
    pub(crate) fn new(columns: Columns) -> Self {
        let mut bytes = vec![FORMAT];
        put(&mut bytes, Some(ValueRef::Integer(columns.names.len() as i64)));
        columns.names.iter().for_each(|name| put(&mut bytes, Some(ValueRef::Text(name.as_bytes()))));
        put(&mut bytes, Some(ValueRef::Integer(columns.key.len() as i64)));
        columns.key.iter().for_each(|at| put(&mut bytes, Some(ValueRef::Integer(*at as i64))));
        PageBuilder { columns, entries: 0, bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds that a row was created that has these values.
    pub(crate) fn created(&mut self, row: &[ValueRef<'_>], after: u64) {
        self.start(b'c');
        self.put_key(row);
        self.bytes.extend_from_slice(&after.to_be_bytes());
    }

    /// The same where the table has no key that tells it.
    pub(crate) fn created_keyless(&mut self, row: &[ValueRef<'_>]) {
        self.start(b'w');
        row.iter().for_each(|value| put(&mut self.bytes, Some(*value)));
    }

    /// Adds that a row was changed from these values to those.
    pub(crate) fn updated(&mut self, before: &[ValueRef<'_>], now: &[ValueRef<'_>], after: u64) {
        self.start(b'u');
        self.put_key(now);
        for (before, now) in before.iter().zip(now) {
            put(&mut self.bytes, Some(*before).filter(|before| !before.same(*now)));
        }
        self.bytes.extend_from_slice(&after.to_be_bytes());
    }

    /// Adds that a row was deleted that had these values.
    #[allow(dead_code)]
    pub(crate) fn deleted(&mut self, before: &[ValueRef<'_>]) {
        self.start(b'd');
        before.iter().for_each(|value| put(&mut self.bytes, Some(*value)));
    }

    fn start(&mut self, kind: u8) {
        self.entries += 1;
        self.bytes.push(kind);
    }

    fn put_key(&mut self, row: &[ValueRef<'_>]) {
        for at in &self.columns.key {
            put(&mut self.bytes, row.get(*at).copied());
        }
    }
}

/// The columns and entries of a page; `None` if it is damaged.
pub(crate) fn read(mut bytes: &[u8]) -> Option<(Columns, Vec<Entry>)> {
    let bytes = &mut bytes;
    if byte(bytes)? != FORMAT {
        return None;
    }
    let names = (0..count(bytes)?).map(|_| match take(bytes)?? {
        ValueRef::Text(name) => String::from_utf8(name.to_vec()).ok(),
        _ => None,
    });
    let names = names.collect::<Option<Vec<String>>>()?;
    let key = (0..count(bytes)?).map(|_| count(bytes).filter(|at| *at < names.len())).collect::<Option<Vec<usize>>>()?;
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        entries.push(match byte(bytes)? {
            b'c' => Entry::Created { key: values(bytes, key.len())?, after: hash(bytes)? },
            b'w' => Entry::CreatedKeyless { row: cells(bytes, names.len())? },
            b'u' => {
                Entry::Updated { key: values(bytes, key.len())?, before: cells(bytes, names.len())?, after: hash(bytes)? }
            }
            b'd' => Entry::Deleted { before: cells(bytes, names.len())? },
            _ => return None,
        });
    }
    Some((Columns { names, key }, entries))
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

fn count(bytes: &mut &[u8]) -> Option<usize> {
    match take(bytes)?? {
        ValueRef::Integer(count) => usize::try_from(count).ok(),
        _ => None,
    }
}

fn hash(bytes: &mut &[u8]) -> Option<u64> {
    let (hash, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*hash))
}

fn cells(bytes: &mut &[u8], width: usize) -> Option<Cells> {
    (0..width).map(|_| take(bytes).map(|cell| cell.map(ValueRef::to_owned))).collect()
}

fn values(bytes: &mut &[u8], width: usize) -> Option<Vec<Value>> {
    cells(bytes, width)?.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_as_it_was_written() {
        let columns = Columns { names: vec!["id".to_owned(), "name".to_owned()], key: vec![0] };
        let mut page = PageBuilder::new(columns.clone());
        let (old, new) = ([ValueRef::Integer(1), ValueRef::Text(b"a")], [ValueRef::Integer(1), ValueRef::Null]);
        page.created(&old, 7);
        page.updated(&old, &new, 8);
        page.deleted(&new);
        page.created_keyless(&new);
        let (read_columns, entries) = read(page.bytes()).unwrap();
        assert_eq!((read_columns, page.entries), (columns, 4));
        let key = || vec![Value::Integer(1)];
        let row = || vec![Some(Value::Integer(1)), Some(Value::Null)];
        let expected = [
            Entry::Created { key: key(), after: 7 },
            Entry::Updated { key: key(), before: vec![None, Some(Value::Text(b"a".to_vec()))], after: 8 },
            Entry::Deleted { before: row() },
            Entry::CreatedKeyless { row: row() },
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn what_is_cut_or_of_another_format_is_no_page() {
        let mut page = PageBuilder::new(Columns { names: vec!["id".to_owned()], key: vec![0] });
        page.updated(&[ValueRef::Integer(1)], &[ValueRef::Integer(2)], 8);
        let whole = page.bytes();
        let header = PageBuilder::new(page.columns.clone()).bytes().len();
        assert!((0..whole.len()).filter(|cut| *cut != header).all(|cut| read(&whole[..cut]).is_none()));
        assert!(read(&[&[9], &whole[1..]].concat()).is_none());
    }
}
