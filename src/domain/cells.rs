//! Rows and keys as bytes, for rowferry's own tables.
//!
//! Each cell is a tag for what it is, and its content: integers and reals in eight bytes, text and blobs behind their length in
//! four.

use crate::domain::value::{Value, ValueRef};

const ABSENT: u8 = b'-';

/// Adds a cell; `None` for one that is absent.
pub(crate) fn put(bytes: &mut Vec<u8>, cell: Option<ValueRef<'_>>) {
    let mut put = |tag: u8, content: &[u8]| {
        bytes.push(tag);
        bytes.extend_from_slice(content);
    };
    match cell {
        None => put(ABSENT, &[]),
        Some(ValueRef::Null) => put(b'0', &[]),
        Some(ValueRef::Integer(v)) => put(b'i', &v.to_be_bytes()),
        Some(ValueRef::Real(v)) => put(b'r', &v.to_bits().to_be_bytes()),
        Some(ValueRef::Text(v)) => {
            put(b't', &length(v));
            bytes.extend_from_slice(v);
        }
        Some(ValueRef::Blob(v)) => {
            put(b'b', &length(v));
            bytes.extend_from_slice(v);
        }
    }
}

/// SQLite's values are shorter than 2 GiB.
fn length(content: &[u8]) -> [u8; 4] {
    u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Takes the first cell off; `None` if the bytes do not begin with one.
pub(crate) fn take<'b>(bytes: &mut &'b [u8]) -> Option<Option<ValueRef<'b>>> {
    let (tag, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(match tag {
        &ABSENT => None,
        b'0' => Some(ValueRef::Null),
        b'i' => Some(ValueRef::Integer(i64::from_be_bytes(*fixed(bytes)?))),
        b'r' => Some(ValueRef::Real(f64::from_bits(u64::from_be_bytes(*fixed(bytes)?)))),
        b't' => Some(ValueRef::Text(sized(bytes)?)),
        b'b' => Some(ValueRef::Blob(sized(bytes)?)),
        _ => return None,
    })
}

fn fixed<'b, const N: usize>(bytes: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (content, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(content)
}

fn sized<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(u32::from_be_bytes(*fixed(bytes)?)).ok()?;
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(content)
}

/// A number that is whole as an integer, so that numbers that are equal are the same; every other value as it is.
pub(crate) fn whole(value: ValueRef<'_>) -> ValueRef<'_> {
    match value {
        // As integers end before 2^63, so do doubles that are one.
        ValueRef::Real(v) if v < 9_223_372_036_854_775_808.0 && v == (v as i64) as f64 => ValueRef::Integer(v as i64),
        value => value,
    }
}

/// Values as bytes, each in its storage class.
pub(crate) fn encode<'v>(values: impl IntoIterator<Item = ValueRef<'v>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.into_iter().for_each(|value| put(&mut bytes, Some(value)));
    bytes
}

/// The values of [`encode`]; `None` if the bytes are of something else.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(take(&mut bytes)??.to_owned());
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_taken_as_they_were_put() {
        let cells = [
            None,
            Some(ValueRef::Null),
            Some(ValueRef::Integer(i64::MIN)),
            Some(ValueRef::Real(-0.0)),
            Some(ValueRef::Text(b"a\xff")),
            Some(ValueRef::Blob(b"")),
        ];
        let mut bytes = Vec::new();
        cells.iter().for_each(|cell| put(&mut bytes, *cell));
        let mut rest = &bytes[..];
        for cell in cells {
            let taken = take(&mut rest).unwrap();
            assert!(taken == cell && taken.zip(cell).is_none_or(|(one, other)| one.same(other)), "{taken:?}");
        }
        assert!(rest.is_empty() && take(&mut rest).is_none());
        for junk in [&b"x"[..], b"i\0\0", b"t\0\0\0\x05abc", b"b\0"] {
            assert!(take(&mut &*junk).is_none(), "{junk:?}");
        }
    }

    #[test]
    fn keys_round_trip_as_bytes() {
        let encode = |values: &[Value]| encode(values.iter().map(Value::as_ref));
        let key = vec![Value::Null, 5.into(), Value::Real(1.5), "a".into(), Value::Blob(vec![0, 255])];
        assert_eq!(decode(&encode(&key)), Some(key));
        assert_eq!(decode(b"i\0\0\0\x08abc"), None);
        assert_eq!(decode(b"-"), None);
    }

    #[test]
    fn numbers_that_are_equal_are_the_same_as_whole_ones() {
        let whole = |real| whole(ValueRef::Real(real)).to_owned();
        assert_eq!(whole(7.0), 7.into());
        assert_eq!(whole(-0.0), 0.into());
        assert_eq!(whole(-9_223_372_036_854_775_808.0), i64::MIN.into());
        for other in [9_223_372_036_854_775_808.0, 1e300, 0.5] {
            assert_eq!(whole(other), Value::Real(other));
        }
    }
}
