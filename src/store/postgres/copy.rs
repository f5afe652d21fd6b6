//! Rows into a table by COPY: in the binary format where each column has one that is known here, else in the text format, which the input
//! function of every type reads.

use std::io::Write;
use std::ops::Range;

use super::any;
use super::casts::{Adapted, Cast};
use super::connection::Connection;
use super::copy_binary;
use super::faults::failed;
use super::table::Table;
use super::types::Carried;
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, ErrorKind, Result};

/// How many bytes are sent at once.
const PIECE: usize = 32 << 10;

/// Adds rows to a table; gives how many that were. `cells` says where the values of the columns are; they fit them. Where a row is
/// refused, none is added, and the transaction must go back to a savepoint.
pub(super) fn copy(
    connection: &mut Connection,
    table: &Table,
    cells: &[(usize, &Cast)],
    rows: &Rows,
    range: Range<usize>,
) -> Result<u64> {
    let names: Vec<&str> = cells.iter().map(|(_, cast)| cast.quoted()).collect();
    let is_binary = cells.iter().all(|(_, cast)| copy_binary::is_known(cast.carried));
    let format = if is_binary { " (FORMAT binary)" } else { "" };
    let statement = connection.prepared(&format!("COPY {} ({}) FROM STDIN{format}", table.relation, names.join(", ")))?;
    let mut writer = connection.client.copy_in(&statement).map_err(failed)?;
    // The server reads rows while the next ones are encoded.
    let mut buffer = Vec::with_capacity(2 * PIECE);
    if is_binary {
        copy_binary::begin(&mut buffer);
    }
    for row in range {
        match is_binary {
            true => copy_binary::encode(cells, rows, row, &mut buffer)?,
            false => encode_row(cells, rows, row, &mut buffer)?,
        }
        if buffer.len() >= PIECE {
            writer.write_all(&buffer).and_then(|()| writer.flush()).map_err(not_sent)?;
            buffer.clear();
        }
    }
    if is_binary {
        copy_binary::end(&mut buffer);
    }
    writer.write_all(&buffer).map_err(not_sent)?;
    writer.finish().map_err(failed)
}

/// Why rows could not be sent.
fn not_sent(error: std::io::Error) -> Error {
    match error.downcast::<postgres::Error>() {
        Ok(error) => failed(error),
        Err(error) => Error::new(ErrorKind::Disconnected, format!("rows cannot be sent to the database: {error}")),
    }
}

/// The line of a COPY that was refused, counted from 1, where the server says so.
pub(super) fn refused_line(error: &Error) -> Option<usize> {
    let context = super::faults::told_by(error)?.where_()?;
    let digits = context.strip_prefix("COPY ")?.split(", ").nth(1)?;
    digits.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
}

fn encode_row(cells: &[(usize, &Cast)], rows: &Rows, row: usize, buffer: &mut Vec<u8>) -> Result<()> {
    for (at, (cell, cast)) in cells.iter().enumerate() {
        if at > 0 {
            buffer.push(b'\t');
        }
        encode(cast, rows.get(row, *cell).unwrap_or(ValueRef::Null), buffer)?;
    }
    buffer.push(b'\n');
    Ok(())
}

fn encode(cast: &Cast, value: ValueRef<'_>, buffer: &mut Vec<u8>) -> Result<()> {
    // Writing to memory does not fail.
    let written = match cast.adapt(value) {
        Adapted::Ready(ValueRef::Null) => buffer.write_all(b"\\N"),
        Adapted::Ready(value) if cast.carried == Carried::Any => {
            escape(any::json(value).unwrap_or_default().as_bytes(), buffer);
            Ok(())
        }
        Adapted::Ready(ValueRef::Integer(v)) if cast.carried == Carried::Bool => {
            buffer.write_all(if v != 0 { b"t" } else { b"f" })
        }
        Adapted::Ready(ValueRef::Integer(v)) => write!(buffer, "{v}"),
        Adapted::Ready(ValueRef::Real(v)) => write!(buffer, "{v:?}"),
        Adapted::Ready(ValueRef::Text(text)) => {
            escape(text, buffer);
            Ok(())
        }
        Adapted::Ready(ValueRef::Blob(bytes)) => {
            buffer.extend_from_slice(b"\\\\x");
            buffer.reserve(bytes.len() * 2);
            bytes.iter().for_each(|byte| buffer.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]));
            Ok(())
        }
        Adapted::Text(text) => {
            escape(text.as_bytes(), buffer);
            Ok(())
        }
        Adapted::Misfit(..) => return Err(copy_binary::misfit()),
    };
    written.map_err(|error| Error::new(ErrorKind::System, format!("a row cannot be encoded: {error}")))
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Adds a text. A backslash begins what stands for a character that would end the value or the row.
fn escape(mut text: &[u8], buffer: &mut Vec<u8>) {
    while let Some(at) = text.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        buffer.extend_from_slice(&text[..at]);
        buffer.extend_from_slice(match text[at] {
            b'\\' => b"\\\\",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\r",
        });
        text = &text[at + 1..];
    }
    buffer.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_value_is_escaped() {
        let mut buffer = Vec::new();
        escape(b"a\tb\\.\nc\r\\N", &mut buffer);
        assert_eq!(buffer, br"a\tb\\.\nc\r\\N");
    }
}
