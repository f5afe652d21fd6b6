//! Rows in the binary format of COPY, which the server need not parse: of columns whose types have a form that every version reads alike.

use super::casts::{Adapted, Cast};
use super::types::Carried;
use super::values::SIGNATURE;
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, ErrorKind, Result};

/// What stands for NULL in the place of a length, and for the end in that of the number of columns.
const NONE: i32 = -1;

/// Whether values that travel so have a form that is known here.
pub(super) fn is_known(carried: Carried) -> bool {
    match carried {
        Carried::Bool | Carried::Int2 | Carried::Int4 | Carried::Int8 => true,
        Carried::Float4 | Carried::Float8 | Carried::Text | Carried::Bytes => true,
        Carried::Any | Carried::Cast => false,
    }
}

/// What stands before the rows: the signature, no flags, and no extension.
pub(super) fn begin(buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(SIGNATURE);
    buffer.extend_from_slice(&[0; 8]);
}

/// What stands after the rows.
pub(super) fn end(buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&(NONE as i16).to_be_bytes());
}

/// Adds a row. `cells` says where the values of the columns are; they fit them.
pub(super) fn encode(cells: &[(usize, &Cast)], rows: &Rows, row: usize, buffer: &mut Vec<u8>) -> Result<()> {
    let columns = i16::try_from(cells.len()).map_err(|_| Error::new(ErrorKind::TooLarge, "a row has too many columns"))?;
    buffer.extend_from_slice(&columns.to_be_bytes());
    for (cell, cast) in cells {
        let Adapted::Ready(value) = cast.adapt(rows.get(row, *cell).unwrap_or(ValueRef::Null)) else { return Err(misfit()) };
        match (cast.carried, value) {
            (_, ValueRef::Null) => buffer.extend_from_slice(&NONE.to_be_bytes()),
            (Carried::Bool, ValueRef::Integer(v)) => put(buffer, &[u8::from(v != 0)])?,
            (Carried::Int2, ValueRef::Integer(v)) => put(buffer, &i16::try_from(v).map_err(|_| misfit())?.to_be_bytes())?,
            (Carried::Int4, ValueRef::Integer(v)) => put(buffer, &i32::try_from(v).map_err(|_| misfit())?.to_be_bytes())?,
            (Carried::Int8, ValueRef::Integer(v)) => put(buffer, &v.to_be_bytes())?,
            // There is one NaN only, as in a text.
            (Carried::Float4, ValueRef::Real(v)) => {
                put(buffer, &if v.is_nan() { f32::NAN } else { v as f32 }.to_be_bytes())?;
            }
            (Carried::Float8, ValueRef::Real(v)) => put(buffer, &if v.is_nan() { f64::NAN } else { v }.to_be_bytes())?,
            (Carried::Text, ValueRef::Text(bytes)) | (Carried::Bytes, ValueRef::Blob(bytes)) => put(buffer, bytes)?,
            _ => return Err(misfit()),
        }
    }
    Ok(())
}

/// Adds a value after its length.
#[inline]
fn put(buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    let length =
        i32::try_from(bytes.len()).map_err(|_| Error::new(ErrorKind::TooLarge, "a value is too large to be sent"))?;
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(bytes);
    Ok(())
}

/// Values that do not fit are not given to COPY.
pub(super) fn misfit() -> Error {
    Error::new(ErrorKind::InvalidInput, "a value does not fit its column")
}
