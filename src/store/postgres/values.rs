//! Values on their way out of PostgreSQL: the cells of binary COPY, and values as SQL where they are compared.
//!
//! A cell of a number or a boolean is what the type's own binary form is; all others are texts or bytes as they are, because
//! [`Column::select`](super::table::Column::select) asks for their texts.

use super::any;
use super::quote::literal;
use super::table::Column;
use super::types::Carried;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};

/// What stands before the rows of a binary COPY.
pub(super) const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The signature, flags, and the length of an extension that no version has.
const HEADER: usize = SIGNATURE.len() + 8;

/// Reads the rows of a binary COPY out of the pieces that they come in.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a row whose end has not come.
    begun: Vec<u8>,
    has_header: bool,
    is_done: bool,
}

impl Decoder {
    /// Gives each whole row to `each`, which says whether it takes more. Gives whether all rows of this piece were taken.
    pub(super) fn feed(&mut self, piece: &[u8], mut each: impl FnMut(Cells<'_>) -> Result<bool>) -> Result<bool> {
        if !self.begun.is_empty() {
            self.begun.extend_from_slice(piece);
            let begun = std::mem::take(&mut self.begun);
            return self.read(&begun, &mut each);
        }
        self.read(piece, &mut each)
    }

    fn read(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Cells<'_>) -> Result<bool>) -> Result<bool> {
        if !self.has_header {
            let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
                self.begun = bytes.to_vec();
                return Ok(true);
            };
            if !header.starts_with(SIGNATURE) || header[SIGNATURE.len()..] != [0; 8] {
                return Err(garbled());
            }
            (self.has_header, bytes) = (true, rest);
        }
        while let Some(row) = row(bytes)? {
            let Some((cells, length)) = row else {
                self.is_done = true;
                return Ok(true);
            };
            if !each(cells)? {
                return Ok(false);
            }
            bytes = &bytes[length..];
        }
        // Most pieces are whole rows.
        if !bytes.is_empty() {
            self.begun = bytes.to_vec();
        }
        Ok(true)
    }

    /// Whether the mark of the end has come.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }
}

/// The first row of these bytes and its length; `None` inside is the mark of the end. `None` if its end has not come.
fn row(bytes: &[u8]) -> Result<Option<Option<(Cells<'_>, usize)>>> {
    let Some((count, _)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
    let Ok(count) = u16::try_from(i16::from_be_bytes(*count)) else { return Ok(Some(None)) };
    let mut at = 2;
    for _ in 0..count {
        let Some(length) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        if length < -1 {
            return Err(garbled());
        }
        at += 4 + usize::try_from(length).unwrap_or(0);
    }
    Ok(bytes.get(2..at).map(|cells| Some((Cells { bytes: cells, left: count }, at))))
}

/// The cells of a row that is there as a whole.
#[derive(Debug)]
pub(super) struct Cells<'b> {
    bytes: &'b [u8],
    left: u16,
}

impl<'b> Iterator for Cells<'b> {
    type Item = Option<&'b [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let (length, rest) = self.bytes.split_first_chunk::<4>()?;
        self.left -= 1;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.bytes = rest;
            return Some(None);
        };
        let (cell, rest) = rest.split_at_checked(length)?;
        self.bytes = rest;
        Some(Some(cell))
    }
}

/// Sets a cell of the last of these rows to what COPY gave.
#[inline]
pub(super) fn set(rows: &mut Rows, column: usize, carried: Carried, cell: Option<&[u8]>) -> Result<()> {
    let Some(bytes) = cell else {
        rows.set(column, ValueRef::Null);
        return Ok(());
    };
    let value = match carried {
        Carried::Text | Carried::Cast => ValueRef::Text(bytes),
        Carried::Int4 => ValueRef::Integer(i32::from_be_bytes(whole(bytes)?).into()),
        Carried::Int8 => ValueRef::Integer(i64::from_be_bytes(whole(bytes)?)),
        Carried::Float8 => ValueRef::Real(f64::from_be_bytes(whole(bytes)?)),
        Carried::Bytes => ValueRef::Blob(bytes),
        Carried::Bool => ValueRef::Integer(u8::from_be_bytes(whole(bytes)?).into()),
        Carried::Int2 => ValueRef::Integer(i16::from_be_bytes(whole(bytes)?).into()),
        Carried::Float4 => ValueRef::Real(f32::from_be_bytes(whole(bytes)?).into()),
        Carried::Any => {
            rows.set(column, any::decode(bytes).as_ref());
            return Ok(());
        }
    };
    rows.set(column, value);
    Ok(())
}

fn whole<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| garbled())
}

pub(super) fn garbled() -> Error {
    Error::new(ErrorKind::Database, "the server sent rows in a form that is unknown here")
        .with_hint("Connect to PostgreSQL itself and not to something that speaks for it.")
}

/// A value that the column had, as SQL of the column's type: compared with the column, it finds its place in the column's indexes. `None`
/// if no value of the column is like it.
pub(super) fn compared(column: &Column, value: &Value) -> Option<String> {
    let of_type = |text: &str| (!text.contains('\0')).then(|| format!("{}::{}", literal(text), column.base.sql));
    match (column.carried, value) {
        (_, Value::Null) => None,
        (Carried::Any, value) => Some(format!("{}::jsonb", literal(&any::json(value.as_ref())?))),
        (Carried::Bool, Value::Integer(value @ (0 | 1))) => Some((*value == 1).to_string()),
        (Carried::Bool, _) => None,
        // Whatever the width of the column's integers is: those of all widths are compared with each other.
        (Carried::Int2 | Carried::Int4 | Carried::Int8, value) => integer(value).map(|value| format!("'{value}'::bigint")),
        (Carried::Float4 | Carried::Float8, Value::Real(value)) => of_type(&real(*value)),
        (Carried::Float4 | Carried::Float8, Value::Integer(value)) => of_type(&value.to_string()),
        (Carried::Float4 | Carried::Float8, Value::Text(text)) => {
            let value: f64 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
            of_type(&real(value))
        }
        (Carried::Float4 | Carried::Float8, Value::Blob(_)) => None,
        (Carried::Bytes, Value::Blob(bytes)) => Some(format!("{}::bytea", literal(&hex(bytes)))),
        (Carried::Bytes, _) => None,
        (Carried::Text | Carried::Cast, Value::Text(text)) => of_type(std::str::from_utf8(text).ok()?),
        (Carried::Text | Carried::Cast, Value::Integer(value)) => of_type(&value.to_string()),
        (Carried::Text | Carried::Cast, Value::Real(value)) => of_type(&real(*value)),
        (Carried::Text | Carried::Cast, Value::Blob(_)) => None,
    }
}

/// The integer that a value is, whatever its class.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(value) => Some(*value),
        Value::Real(value) if value.fract() == 0.0 && value.abs() < 9.2e18 => Some(*value as i64),
        Value::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// A double as PostgreSQL reads it.
pub(super) fn real(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => format!("{value:?}"),
    }
}

/// Bytes as PostgreSQL reads them.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::types::BaseType;

    /// The bytes of a COPY of rows of two cells.
    fn copied(rows: &[[Option<&[u8]>; 2]]) -> Vec<u8> {
        let mut bytes = [SIGNATURE, &[0; 8]].concat();
        for row in rows {
            bytes.extend_from_slice(&2_i16.to_be_bytes());
            for cell in row {
                let length = cell.map_or(-1, |cell| i32::try_from(cell.len()).unwrap());
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(cell.unwrap_or_default());
            }
        }
        bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        bytes
    }

    #[test]
    fn rows_are_read_however_they_are_cut() {
        let sent: [[Option<&[u8]>; 2]; 3] = [[Some(b"a"), None], [Some(b""), Some(b"bcd")], [None, None]];
        let bytes = copied(&sent);
        for size in 1..=bytes.len() {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                let each = |cells: Cells<'_>| {
                    found.push(cells.map(|cell| cell.map(<[u8]>::to_vec)).collect::<Vec<_>>());
                    Ok(true)
                };
                assert!(decoder.feed(piece, each).unwrap());
            }
            assert!(decoder.is_done());
            let expected: Vec<Vec<_>> =
                sent.iter().map(|row| row.iter().map(|cell| cell.map(<[u8]>::to_vec)).collect()).collect();
            assert_eq!(found, expected, "{size}");
        }
        let mut taken = 0;
        let one = |_: Cells<'_>| {
            taken += 1;
            Ok(false)
        };
        assert!(!Decoder::default().feed(&bytes, one).unwrap());
        assert_eq!(taken, 1);
    }

    #[test]
    fn what_is_no_copy_is_an_error() {
        let good = copied(&[[Some(b"a"), None]]);
        let mut bad = good.clone();
        bad[3] = b'x';
        assert!(Decoder::default().feed(&bad, |_| Ok(true)).is_err());
        let mut bad = good.clone();
        bad[HEADER + 2..HEADER + 6].copy_from_slice(&(-2_i32).to_be_bytes());
        assert!(Decoder::default().feed(&bad, |_| Ok(true)).is_err());
        let mut rows = Rows::new(1);
        rows.start_row();
        assert!(set(&mut rows, 0, Carried::Int4, Some(b"abc")).is_err());
        // A length that no row has is waited for and never comes.
        let mut far = good;
        far[HEADER + 2..HEADER + 6].copy_from_slice(&i32::MAX.to_be_bytes());
        let mut decoder = Decoder::default();
        assert!(decoder.feed(&far, |_| panic!("it is not whole")).unwrap() && !decoder.is_done());
    }

    fn column(carried: Carried, sql: &str) -> Column {
        Column {
            quoted: "\"x\"".into(),
            type_sql: sql.into(),
            base: BaseType { sql: sql.into(), ..BaseType::default() },
            carried,
            is_generated: false,
            sequence: None,
        }
    }

    #[test]
    fn a_value_is_compared_as_the_column_compares() {
        let told = |carried, sql, value: Value| compared(&column(carried, sql), &value);
        assert_eq!(told(Carried::Int2, "smallint", 70_000.into()).as_deref(), Some("'70000'::bigint"));
        assert_eq!(told(Carried::Int4, "integer", " 7 ".into()).as_deref(), Some("'7'::bigint"));
        assert_eq!(told(Carried::Int4, "integer", Value::Real(-7.0)).as_deref(), Some("'-7'::bigint"));
        for none in [Value::Null, "x".into(), Value::Real(0.5), Value::Real(1e19), Value::Blob(vec![1])] {
            assert_eq!(told(Carried::Int8, "bigint", none), None);
        }
        assert_eq!(
            told(Carried::Float8, "double precision", Value::Real(f64::NAN)).as_deref(),
            Some("'NaN'::double precision")
        );
        assert_eq!(told(Carried::Text, "text", r"it's\".into()).as_deref(), Some(r"E'it''s\\'::text"));
        assert_eq!(told(Carried::Bytes, "bytea", Value::Blob(vec![0, 255])).as_deref(), Some(r"E'\\x00ff'::bytea"));
        assert_eq!(told(Carried::Cast, "numeric", "1.50".into()).as_deref(), Some("'1.50'::numeric"));
        assert_eq!(told(Carried::Text, "text", Value::Text(vec![0xff])), None);
        assert_eq!(told(Carried::Text, "text", "a\0".into()), None);
        assert_eq!(told(Carried::Bool, "boolean", 1.into()).as_deref(), Some("true"));
    }
}
