//! One value as bytes: a tag, and what follows it. There is exactly one way to write each value, so that equal rows are equal bytes.
//!
//! Binary pages carry values so (`wire::native`, which reads them again), and rows are hashed in this form ([`row_sum`](super::row_sum)).

use crate::domain::value::ValueRef;

pub(crate) const ABSENT: u8 = 0x00;
pub(crate) const NULL: u8 = 0x01;
pub(crate) const REAL: u8 = 0x02;
pub(crate) const TEXT: u8 = 0x03;
pub(crate) const BLOB: u8 = 0x04;
/// Not a value: the row that begins with it was too large to be sent.
pub(crate) const LEFT_OUT: u8 = 0x05;
/// `INTEGER + n`: n bytes follow.
pub(crate) const INTEGER: u8 = 0x10;
pub(crate) const INTEGER_MAX: u8 = INTEGER + 8;
/// `SHORT_TEXT + n`: n bytes of text follow, fewer than [`LONG`].
pub(crate) const SHORT_TEXT: u8 = 0x80;
/// The length from which on a text has its length after the tag.
pub(crate) const LONG: usize = 0x80;

/// Adds a value.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, value: Option<ValueRef<'_>>) {
    match value {
        None => out.push(ABSENT),
        Some(ValueRef::Null) => out.push(NULL),
        Some(ValueRef::Integer(v)) => {
            let length = integer_length(v);
            // All eight bytes and then back: that is faster than a copy of a length that varies.
            out.extend_from_slice(&tagged(INTEGER + length as u8, v.to_le_bytes()));
            out.truncate(out.len() - 8 + length);
        }
        Some(ValueRef::Real(v)) => out.extend_from_slice(&tagged(REAL, v.to_bits().to_le_bytes())),
        Some(ValueRef::Text(v)) => {
            match v.len() {
                short @ ..LONG => out.push(SHORT_TEXT + short as u8),
                long => put_length(out, TEXT, long),
            }
            out.extend_from_slice(v);
        }
        Some(ValueRef::Blob(v)) => {
            put_length(out, BLOB, v.len());
            out.extend_from_slice(v);
        }
    }
}

/// Adds a tag and a number: seven bits a byte, the lowest first, the top bit set in all bytes but the last.
pub(crate) fn put_length(out: &mut Vec<u8>, tag: u8, number: usize) {
    out.push(tag);
    let mut rest = number as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes of two's complement an integer needs; none for 0.
#[inline]
pub(crate) fn integer_length(v: i64) -> usize {
    let bits = 64 - (v ^ (v >> 63)).leading_zeros() as usize;
    if v == 0 { 0 } else { bits / 8 + 1 }
}

#[inline]
fn tagged(tag: u8, bytes: [u8; 8]) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = bytes;
    [tag, a, b, c, d, e, f, g, h]
}

/// A row as it is written.
#[cfg(test)]
pub(crate) fn row<'v>(cells: impl Iterator<Item = Option<ValueRef<'v>>>) -> Vec<u8> {
    let mut out = Vec::new();
    cells.for_each(|cell| put(&mut out, cell));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_written_as_the_layout_says() {
        let written = |value| {
            let mut out = vec![0xee];
            put(&mut out, value);
            out.split_off(1)
        };
        assert_eq!(written(None), [0x00]);
        assert_eq!(written(Some(ValueRef::Null)), [0x01]);
        assert_eq!(written(Some(ValueRef::Integer(0))), [0x10]);
        assert_eq!(written(Some(ValueRef::Integer(-1))), [0x11, 0xff]);
        assert_eq!(written(Some(ValueRef::Integer(128))), [0x12, 0x80, 0x00]);
        assert_eq!(written(Some(ValueRef::Real(1.0))), [0x02, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        assert_eq!(written(Some(ValueRef::Text(b"ab"))), [0x82, b'a', b'b']);
        assert_eq!(written(Some(ValueRef::Blob(b"ab"))), [0x04, 2, b'a', b'b']);
        assert_eq!(written(Some(ValueRef::Text(&[b'a'; 200])))[..4], [0x03, 0xc8, 0x01, b'a']);
    }
}
