//! Reads one value. There is exactly one way to write each value (`domain::canonical`), and any other is refused.

use super::frame::{CUT_SHORT, Fault};
use crate::domain::canonical::{ABSENT, BLOB, INTEGER, INTEGER_MAX, LONG, NULL, REAL, SHORT_TEXT, TEXT, integer_length};
use crate::domain::value::Cell;

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

/// Reads a number as `put_length` writes it.
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
