//! One value: a tag, and its bytes. There is exactly one way to write each value, and any other is refused.

use super::frame::{CUT_SHORT, Fault};
use crate::domain::value::{Cell, ValueRef};

const ABSENT: u8 = 0x00;
const NULL: u8 = 0x01;
const REAL: u8 = 0x02;
const TEXT: u8 = 0x03;
const BLOB: u8 = 0x04;
/// Not a value: the row that begins with it was too large to be sent.
pub(super) const LEFT_OUT: u8 = 0x05;
/// `INTEGER + n`: n bytes follow.
const INTEGER: u8 = 0x10;
const INTEGER_MAX: u8 = INTEGER + 8;
/// `SHORT_TEXT + n`: n bytes of text follow, fewer than [`LONG`].
const SHORT_TEXT: u8 = 0x80;
/// The length from which on a text has its length after the tag.
const LONG: usize = 0x80;

/// Adds a value.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, value: Option<ValueRef<'_>>) {
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
pub(super) fn put_length(out: &mut Vec<u8>, tag: u8, number: usize) {
    out.push(tag);
    let mut rest = number as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads the value that begins at `at`, and moves `at` after it. Texts and blobs are given by their place in `bytes`.
#[inline]
pub(super) fn take(bytes: &[u8], at: &mut usize) -> Result<Cell, Fault> {
    let tag = *bytes.get(*at).ok_or(CUT_SHORT)?;
    *at += 1;
    Ok(match tag {
        SHORT_TEXT.. => {
            let length = usize::from(tag - SHORT_TEXT);
            Cell::Text { start: take_bytes(bytes, at, length)?, length }
        }
        INTEGER..=INTEGER_MAX => Cell::Integer(take_integer(bytes, at, usize::from(tag - INTEGER))?),
        REAL => {
            let start = take_bytes(bytes, at, 8)?;
            let bits = bytes[start..].first_chunk().ok_or(CUT_SHORT)?;
            Cell::Real(f64::from_bits(u64::from_le_bytes(*bits)))
        }
        NULL => Cell::Null,
        ABSENT => Cell::Absent,
        TEXT => {
            let length = take_length(bytes, at)?;
            if length < LONG {
                return Err(Fault::Protocol("a short text in it is written as a long one"));
            }
            Cell::Text { start: take_bytes(bytes, at, length)?, length }
        }
        BLOB => {
            let length = take_length(bytes, at)?;
            Cell::Blob { start: take_bytes(bytes, at, length)?, length }
        }
        _ => return Err(Fault::Protocol("a value in it is of an unknown class")),
    })
}

/// Reads a number as [`put_length`] writes it.
pub(super) fn take_length(bytes: &[u8], at: &mut usize) -> Result<usize, Fault> {
    let (mut number, mut shift) = (0u64, 0);
    loop {
        let byte = *bytes.get(*at).ok_or(CUT_SHORT)?;
        *at += 1;
        if shift > 56 {
            return Err(Fault::TooLarge("a length in it has more than 63 bits"));
        }
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            if byte == 0 && shift > 7 {
                return Err(Fault::Protocol("a length in it has bytes that it does not need"));
            }
            return usize::try_from(number).map_err(|_| Fault::TooLarge("a length in it is too large for this machine"));
        }
    }
}

/// Moves `at` over so many bytes, which must be there, and gives where they begin.
#[inline]
fn take_bytes(bytes: &[u8], at: &mut usize, length: usize) -> Result<usize, Fault> {
    let start = *at;
    // No overflow: `start` is within `bytes`.
    if length > bytes.len() - start {
        return Err(CUT_SHORT);
    }
    *at = start + length;
    Ok(start)
}

#[inline]
fn take_integer(bytes: &[u8], at: &mut usize, length: usize) -> Result<i64, Fault> {
    let start = take_bytes(bytes, at, length)?;
    let whole = match bytes[start..].first_chunk() {
        Some(eight) => *eight,
        None => {
            let mut eight = [0; 8];
            eight[..length].copy_from_slice(&bytes[start..start + length]);
            eight
        }
    };
    // Up and down again: what is behind the integer falls out, and the sign is spread.
    let spare = 64 - 8 * length as u32;
    let value = if length == 0 { 0 } else { i64::from_le_bytes(whole) << spare >> spare };
    if integer_length(value) != length {
        return Err(Fault::Protocol("an integer in it has bytes that it does not need"));
    }
    Ok(value)
}

/// How many bytes of two's complement an integer needs; none for 0.
#[inline]
fn integer_length(v: i64) -> usize {
    let bits = 64 - (v ^ (v >> 63)).leading_zeros() as usize;
    if v == 0 { 0 } else { bits / 8 + 1 }
}

#[inline]
fn tagged(tag: u8, bytes: [u8; 8]) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = bytes;
    [tag, a, b, c, d, e, f, g, h]
}
