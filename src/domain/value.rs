//! Values and runs of rows.
//!
//! A value is one of SQLite's storage classes. Text is bytes, because SQLite stores text that is not UTF-8 and rowferry
//! moves it bit for bit. A page of rows is one [`Rows`]: one run of bytes and one of cells, so that a page costs two
//! allocations and not one per value.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

/// A value on its own.
#[derive(Clone, PartialEq, Default)]
pub enum Value {
    /// SQL's NULL.
    #[default]
    Null,
    /// A signed integer of 64 bits.
    Integer(i64),
    /// A double. SQLite has no NaN: it stores NULL instead.
    Real(f64),
    /// Text, usually UTF-8.
    Text(Vec<u8>),
    /// Bytes.
    Blob(Vec<u8>),
}

/// A value that borrows its bytes.
#[derive(Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL's NULL.
    Null,
    /// A signed integer of 64 bits.
    Integer(i64),
    /// A double.
    Real(f64),
    /// Text, usually UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

impl Value {
    /// The value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Integer(v) => ValueRef::Integer(*v),
            Value::Real(v) => ValueRef::Real(*v),
            Value::Text(v) => ValueRef::Text(v),
            Value::Blob(v) => ValueRef::Blob(v),
        }
    }

    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The integer, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(v) => Some(*v),
            _ => None,
        }
    }

    /// The text, if it is text and UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        self.as_ref().as_str()
    }
}

impl<'a> ValueRef<'a> {
    /// The value with bytes of its own.
    pub fn to_owned(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(v) => Value::Integer(v),
            ValueRef::Real(v) => Value::Real(v),
            ValueRef::Text(v) => Value::Text(v.to_vec()),
            ValueRef::Blob(v) => Value::Blob(v.to_vec()),
        }
    }

    /// The text, if it is text and UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            ValueRef::Text(v) => std::str::from_utf8(v).ok(),
            _ => None,
        }
    }

    /// Whether this is NULL.
    pub fn is_null(self) -> bool {
        matches!(self, ValueRef::Null)
    }

    /// Whether both are of the same storage class and of the same bits. Unlike `==` it tells `0.0` from `-0.0`.
    pub fn same(self, other: ValueRef<'_>) -> bool {
        match (self, other) {
            (ValueRef::Real(a), ValueRef::Real(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }

    /// The name of the storage class, as SQLite's `typeof` says it.
    pub fn class(self) -> &'static str {
        match self {
            ValueRef::Null => "null",
            ValueRef::Integer(_) => "integer",
            ValueRef::Real(_) => "real",
            ValueRef::Text(_) => "text",
            ValueRef::Blob(_) => "blob",
        }
    }

    /// The order in which SQLite sorts values without a collation: NULL, numbers by their value whatever their class, text by its
    /// bytes, blobs by theirs. Integers and doubles are compared exactly, also where a double cannot be the integer.
    pub fn order(self, other: ValueRef<'_>) -> Ordering {
        let class = |value: ValueRef<'_>| match value {
            ValueRef::Null => 0,
            ValueRef::Integer(_) | ValueRef::Real(_) => 1,
            ValueRef::Text(_) => 2,
            ValueRef::Blob(_) => 3,
        };
        match (self, other) {
            (ValueRef::Integer(left), ValueRef::Integer(right)) => left.cmp(&right),
            (ValueRef::Real(left), ValueRef::Real(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
            (ValueRef::Integer(left), ValueRef::Real(right)) => order_mixed(left, right),
            (ValueRef::Real(left), ValueRef::Integer(right)) => order_mixed(right, left).reverse(),
            (ValueRef::Text(left), ValueRef::Text(right)) | (ValueRef::Blob(left), ValueRef::Blob(right)) => left.cmp(right),
            (left, right) => class(left).cmp(&class(right)),
        }
    }
}

/// An integer beside a double, compared exactly: not every integer is a double.
fn order_mixed(integer: i64, real: f64) -> Ordering {
    if real >= 9_223_372_036_854_775_808.0 {
        Ordering::Less
    } else if real < -9_223_372_036_854_775_808.0 {
        Ordering::Greater
    } else {
        let whole = real.trunc();
        integer.cmp(&(whole as i64)).then(0.0_f64.partial_cmp(&(real - whole)).unwrap_or(Ordering::Equal))
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueRef::Null => f.write_str("NULL"),
            ValueRef::Integer(v) => write!(f, "{v}"),
            ValueRef::Real(v) => write!(f, "{v:?}"),
            ValueRef::Text(v) => write!(f, "{:?}", String::from_utf8_lossy(v)),
            ValueRef::Blob(v) => write!(f, "blob of {} bytes", v.len()),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Value::Integer(v)
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Value::Real(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Value::Text(v.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(v: String) -> Self {
        Value::Text(v.into_bytes())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Value::Null, Into::into)
    }
}

/// A run of rows of one table, all of the same width, in one block of memory.
///
/// A cell may be absent: the record that it came from did not have that column.
#[derive(Clone, Default)]
pub struct Rows {
    width: usize,
    cells: Vec<Cell>,
    bytes: Vec<u8>,
}

/// A cell of [`Rows`]. Texts and blobs lie in the bytes of the rows, `start` counted from the first of those.
#[derive(Clone, Copy)]
pub(crate) enum Cell {
    Absent,
    Null,
    Integer(i64),
    Real(f64),
    Text { start: usize, length: usize },
    Blob { start: usize, length: usize },
}

impl Cell {
    /// What the cell holds; `None` if it is absent. `bytes` are those that its text or blob lies in.
    #[inline]
    pub(crate) fn value(self, bytes: &[u8]) -> Option<ValueRef<'_>> {
        Some(match self {
            Cell::Absent => return None,
            Cell::Null => ValueRef::Null,
            Cell::Integer(v) => ValueRef::Integer(v),
            Cell::Real(v) => ValueRef::Real(v),
            Cell::Text { start, length } => ValueRef::Text(&bytes[start..start + length]),
            Cell::Blob { start, length } => ValueRef::Blob(&bytes[start..start + length]),
        })
    }
}

impl Rows {
    /// No rows yet, of this many columns.
    pub fn new(width: usize) -> Self {
        Rows { width, cells: Vec::new(), bytes: Vec::new() }
    }

    /// How many columns a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.cells.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// About how much memory the rows take, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.cells.len() * size_of::<Cell>()
    }

    /// Removes all rows and keeps the memory; the width may change.
    pub fn clear(&mut self, width: usize) {
        self.width = width;
        self.cells.clear();
        self.bytes.clear();
    }

    /// Begins a row whose cells are all absent. [`Rows::set`] fills the last row.
    pub fn start_row(&mut self) {
        self.cells.resize(self.cells.len() + self.width, Cell::Absent);
    }

    /// Takes the last row away again.
    pub fn drop_row(&mut self) {
        let keep = self.cells.len().saturating_sub(self.width);
        self.cells.truncate(keep);
    }

    /// Sets a cell of the last row.
    ///
    /// # Panics
    /// If there is no row, or no such column.
    #[inline]
    pub fn set(&mut self, column: usize, value: ValueRef<'_>) {
        assert!(column < self.width && !self.cells.is_empty(), "no such cell");
        let at = self.cells.len() - self.width + column;
        let start = self.bytes.len();
        self.cells[at] = match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(v) => Cell::Integer(v),
            ValueRef::Real(v) => Cell::Real(v),
            ValueRef::Text(v) => {
                self.bytes.extend_from_slice(v);
                Cell::Text { start, length: v.len() }
            }
            ValueRef::Blob(v) => {
                self.bytes.extend_from_slice(v);
                Cell::Blob { start, length: v.len() }
            }
        };
    }

    /// Keeps only this many rows.
    pub fn truncate(&mut self, rows: usize) {
        self.cells.truncate(rows * self.width);
    }

    /// Adds a whole row.
    ///
    /// # Panics
    /// If the row has another width.
    pub fn push<'v>(&mut self, row: impl IntoIterator<Item = ValueRef<'v>>) {
        self.start_row();
        let mut filled = 0;
        for value in row {
            self.set(filled, value);
            filled += 1;
        }
        assert_eq!(filled, self.width, "a row of another width");
    }

    /// Adds copies of a run of rows of other rows, absent cells included; both have the same width.
    ///
    /// # Panics
    /// If the widths differ, or there are no such rows.
    pub fn push_rows(&mut self, other: &Rows, rows: Range<usize>) {
        assert_eq!(self.width, other.width, "rows of another width");
        let cells = &other.cells[rows.start * self.width..rows.end * self.width];
        // Where their bytes begin and end: they are copied in one piece.
        let pieces = cells.iter().filter_map(|cell| match cell {
            Cell::Text { start, length } | Cell::Blob { start, length } => Some((*start, start + length)),
            _ => None,
        });
        let around = |all: Option<(usize, usize)>, (start, end): (usize, usize)| match all {
            Some((first, last)) => Some((first.min(start), last.max(end))),
            None => Some((start, end)),
        };
        let (first, last) = pieces.fold(None, around).unwrap_or_default();
        let moved = |start: usize| start - first + self.bytes.len();
        self.cells.extend(cells.iter().map(|cell| match *cell {
            Cell::Text { start, length } => Cell::Text { start: moved(start), length },
            Cell::Blob { start, length } => Cell::Blob { start: moved(start), length },
            cell => cell,
        }));
        self.bytes.extend_from_slice(&other.bytes[first..last]);
    }

    /// Lets `fill` append the block of bytes that the texts and blobs of the next `rows` rows lie in, and gives where the block
    /// starts: rows that come encoded are then added by [`Rows::add_row`] without a copy of each value. On an error nothing is
    /// changed.
    pub(crate) fn add_block<E>(
        &mut self,
        rows: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let start = self.bytes.len();
        let filled = fill(&mut self.bytes);
        match filled {
            Ok(()) => self.cells.reserve(rows.saturating_mul(self.width)),
            Err(_) => self.bytes.truncate(start),
        }
        filled.map(|()| start)
    }

    /// Adds a row whose cells, absent at first, are set by `read` out of all bytes of the rows. Each text and blob must lie within
    /// those. On an error the row is not added.
    #[inline]
    pub(crate) fn add_row<E>(&mut self, read: impl FnOnce(&[u8], &mut [Cell]) -> Result<(), E>) -> Result<(), E> {
        let start = self.cells.len();
        self.start_row();
        let done = read(&self.bytes, &mut self.cells[start..]);
        if done.is_err() {
            self.cells.truncate(start);
        }
        done
    }

    /// A cell; `None` if it is absent.
    ///
    /// # Panics
    /// If there is no such row or column.
    #[inline(always)]
    pub fn get(&self, row: usize, column: usize) -> Option<ValueRef<'_>> {
        assert!(column < self.width, "no such column");
        self.cells[row * self.width + column].value(&self.bytes)
    }

    /// The cells of a row, in the order of the columns; `None` for those that are absent.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row(&self, row: usize) -> impl ExactSizeIterator<Item = Option<ValueRef<'_>>> {
        self.cells[row * self.width..(row + 1) * self.width].iter().map(|cell| cell.value(&self.bytes))
    }

    /// The cells of a row as they are kept, and the bytes that their texts and blobs lie in.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub(crate) fn cells(&self, row: usize) -> (&[Cell], &[u8]) {
        (&self.cells[row * self.width..(row + 1) * self.width], &self.bytes)
    }

    /// Whether the last row already has this column.
    pub fn last_has(&self, column: usize) -> bool {
        !self.is_empty() && !matches!(self.cells[self.cells.len() - self.width + column], Cell::Absent)
    }

    /// Whether each column of this row is there.
    pub fn is_whole(&self, row: usize) -> bool {
        self.cells[row * self.width..(row + 1) * self.width].iter().all(|cell| !matches!(cell, Cell::Absent))
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = (0..self.len()).map(|row| (0..self.width).map(|column| self.get(row, column)).collect::<Vec<_>>());
        f.debug_list().entries(rows).finish()
    }
}

/// Rows with the names of their columns.
#[non_exhaustive]
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// The names of the columns, in the order of the cells.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Rows,
}

impl Records {
    /// No rows yet, of these columns.
    pub fn new<C: Into<String>>(columns: impl IntoIterator<Item = C>) -> Self {
        let columns: Vec<String> = columns.into_iter().map(Into::into).collect();
        Records { rows: Rows::new(columns.len()), columns }
    }

    /// Adds a row; the values stand in the order of the columns.
    ///
    /// # Panics
    /// If the row has another width.
    pub fn push<V: Into<Value>>(&mut self, values: impl IntoIterator<Item = V>) {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        self.rows.push(values.iter().map(Value::as_ref));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_give_back_what_was_put_in() {
        let mut rows = Rows::new(3);
        rows.push([ValueRef::Integer(1), ValueRef::Text(b"a"), ValueRef::Blob(b"")]);
        rows.start_row();
        rows.set(1, ValueRef::Real(-0.0));
        assert_eq!(rows.len(), 2);
        assert_eq!(rows.get(0, 1), Some(ValueRef::Text(b"a")));
        assert_eq!(rows.get(0, 2), Some(ValueRef::Blob(b"")));
        assert_eq!(rows.get(1, 0), None);
        assert!(rows.is_whole(0) && !rows.is_whole(1));
        assert!(rows.last_has(1) && !rows.last_has(2));
        let mut copy = Rows::new(3);
        copy.push([ValueRef::Text(b"before"), ValueRef::Null, ValueRef::Null]);
        copy.push_rows(&rows, 0..0);
        copy.push_rows(&rows, 0..2);
        let cells = |rows: &Rows, row| rows.row(row).map(|cell| cell.map(ValueRef::to_owned)).collect::<Vec<_>>();
        assert_eq!((cells(&copy, 1), cells(&copy, 2), copy.len()), (cells(&rows, 0), cells(&rows, 1), 3));
        rows.drop_row();
        assert_eq!(rows.len(), 1);
    }

    #[test]
    fn rows_are_read_out_of_blocks() {
        let mut rows = Rows::new(2);
        rows.push([ValueRef::Text(b"before"), ValueRef::Null]);
        let fill = |rows: &mut Rows, block: &[u8], done| {
            rows.add_block(2, |bytes| {
                bytes.extend_from_slice(block);
                done
            })
        };
        let start = fill(&mut rows, b"-abc-", Ok(())).unwrap();
        let text = |start, length| Cell::Text { start, length };
        rows.add_row(|bytes, cells| {
            assert_eq!(&bytes[start..], b"-abc-");
            cells[0] = text(start + 1, 3);
            Ok::<_, ()>(())
        })
        .unwrap();
        let size = rows.size_bytes();
        let failed = rows.add_row(|_, cells| {
            cells[0] = text(start, 1);
            Err(())
        });
        assert_eq!((failed, fill(&mut rows, b"more", Err(()))), (Err(()), Err(())));
        assert_eq!((rows.size_bytes(), rows.len()), (size, 2));
        assert_eq!(rows.row(0).collect::<Vec<_>>(), [Some(ValueRef::Text(b"before")), Some(ValueRef::Null)]);
        assert_eq!(rows.row(1).collect::<Vec<_>>(), [Some(ValueRef::Text(b"abc")), None]);
    }

    #[test]
    fn sameness_is_of_class_and_bits() {
        assert!(!ValueRef::Real(0.0).same(ValueRef::Real(-0.0)));
        assert!(!ValueRef::Integer(1).same(ValueRef::Real(1.0)));
        assert!(!ValueRef::Text(b"a").same(ValueRef::Blob(b"a")));
        assert!(ValueRef::Null.same(ValueRef::Null));
    }
}
