//! Writing one value as JSON: see the table at [`Dialect`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use uuid::Uuid;

use super::dialect::{BINARY, Dialect, REAL, TEXT};
use crate::domain::schema::LogicalType;
use crate::domain::value::ValueRef;

/// Appends a value of a column of this logical type.
pub(crate) fn value(out: &mut Vec<u8>, dialect: Dialect, logical: &LogicalType, value: ValueRef<'_>) {
    match dialect {
        Dialect::Rowferry => exact(out, value),
        Dialect::ReferenceSocket | Dialect::ReferenceHttp => {
            by_meaning(out, dialect == Dialect::ReferenceHttp, logical, value);
        }
    }
}

fn exact(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"null"),
        ValueRef::Integer(v) => json(out, &v),
        ValueRef::Real(v) if v.is_finite() => json(out, &v),
        // SQLite has no NaN; what it makes of one is NULL.
        ValueRef::Real(v) if v.is_nan() => out.extend_from_slice(b"null"),
        ValueRef::Real(v) => tagged(out, REAL, if v > 0.0 { b"inf" } else { b"-inf" }),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json(out, text),
            Err(_) => base64(out, TEXT, bytes),
        },
        ValueRef::Blob(bytes) => base64(out, BINARY, bytes),
    }
}

fn by_meaning(out: &mut Vec<u8>, http: bool, logical: &LogicalType, value: ValueRef<'_>) {
    match value {
        ValueRef::Integer(v @ (0 | 1)) if *logical == LogicalType::Boolean => json(out, &(v == 1)),
        ValueRef::Integer(_) | ValueRef::Real(_) if is_text(logical) && !is_infinite(value) => {
            out.push(b'"');
            exact(out, value);
            out.push(b'"');
        }
        ValueRef::Null | ValueRef::Integer(_) => exact(out, value),
        ValueRef::Real(v) if v.is_infinite() => json(
            out,
            match (v > 0.0, http) {
                (true, true) => "inf",
                (false, true) => "-inf",
                (true, false) => ":inf",
                (false, false) => ":\"-inf\"",
            },
        ),
        ValueRef::Real(_) => exact(out, value),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text_by_meaning(out, http, logical, text),
            Err(_) => base64(out, BINARY, bytes),
        },
        ValueRef::Blob(bytes) if http => base64(out, BINARY, bytes),
        ValueRef::Blob(bytes) => {
            if let (LogicalType::Uuid, Ok(uuid)) = (logical, Uuid::from_slice(bytes)) {
                json(out, &*uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
            } else {
                match std::str::from_utf8(bytes) {
                    Ok(text) => json(out, text),
                    Err(_) => base64(out, BINARY, bytes),
                }
            }
        }
    }
}

/// Whether such a column is announced as text. See [`announced`](super::dialect::announced).
fn is_text(logical: &LogicalType) -> bool {
    matches!(logical, LogicalType::Text | LogicalType::Uuid | LogicalType::Other(_))
}

fn is_infinite(value: ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Real(v) if v.is_infinite())
}

fn text_by_meaning(out: &mut Vec<u8>, http: bool, logical: &LogicalType, text: &str) {
    match logical {
        LogicalType::Uuid if http => match Uuid::try_parse(text) {
            Ok(uuid) => base64(out, BINARY, uuid.as_bytes()),
            Err(_) => json(out, text),
        },
        LogicalType::Numeric => {
            let kept_as_string = http && text.contains('.') && !text.contains(['e', 'E']);
            match !kept_as_string && exact_as_number(text) {
                true => out.extend_from_slice(text.as_bytes()),
                false => json(out, text),
            }
        }
        // Read in full and not only skipped over: that also refuses numbers beyond a double and broken surrogates.
        LogicalType::Json => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(_) => out.extend_from_slice(text.as_bytes()),
            Err(_) => json(out, text),
        },
        LogicalType::Timestamp => json(out, &*moment(text, false)),
        LogicalType::TimestampTz => json(out, &*moment(text, true)),
        _ => json(out, text),
    }
}

/// SQLite's `2024-05-06 07:08:09` as `2024-05-06T07:08:09`, with a `Z` behind it where a zone must be and none is, because
/// SQLite's own functions give UTC. Any other text stays as it is.
fn moment(text: &str, zone: bool) -> std::borrow::Cow<'_, str> {
    let digits = |range: std::ops::Range<usize>| text.as_bytes()[range].iter().all(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 19
        && text.is_ascii()
        && digits(0..4)
        && bytes[4] == b'-'
        && digits(5..7)
        && bytes[7] == b'-'
        && digits(8..10)
        && matches!(bytes[10], b' ' | b'T')
        && digits(11..13)
        && bytes[13] == b':'
        && digits(14..16)
        && bytes[16] == b':'
        && digits(17..19);
    if !shaped {
        return text.into();
    }
    let bare = bytes[19..].iter().all(|b| b.is_ascii_digit() || *b == b'.');
    format!("{}T{}{}", &text[..10], &text[11..], if zone && bare { "Z" } else { "" }).into()
}

/// Whether a reader that takes JSON numbers with a point as doubles gets the same number from this text.
fn exact_as_number(text: &str) -> bool {
    // The parser would take space around it.
    let bare = text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && text.ends_with(|c: char| c.is_ascii_digit());
    if !bare || serde_json::from_str::<f64>(text).is_err() {
        return false;
    }
    if !text.contains(['.', 'e', 'E']) {
        return true;
    }
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() => decimal(text) == decimal(&format!("{v:e}")),
        _ => false,
    }
}

/// A JSON number as its sign, its digits without zeros at either end, and the power of ten of the last digit.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    let dropped = digits.len() - kept.len();
    let significant = kept.trim_start_matches('0');
    if significant.is_empty() {
        return Some((negative, String::new(), 0));
    }
    let power = exponent.checked_sub(fraction.len() as i64)?.checked_add(dropped as i64)?;
    Some((negative, significant.to_owned(), power))
}

fn tagged(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":\"");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\"}");
}

fn base64(out: &mut Vec<u8>, key: &str, bytes: &[u8]) {
    tagged(out, key, b"");
    out.truncate(out.len() - 2);
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).expect("bytes in memory are far from half of the address space");
    out.resize(start + length, 0);
    STANDARD.encode_slice(bytes, &mut out[start..]).expect("the room is what the encoding takes");
    out.extend_from_slice(b"\"}");
}

fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("numbers, booleans and strings are always JSON, and memory takes all writes");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(dialect: Dialect, logical: LogicalType, v: ValueRef<'_>) -> String {
        let mut out = Vec::new();
        value(&mut out, dialect, &logical, v);
        String::from_utf8(out).unwrap()
    }

    fn text(text: &str) -> ValueRef<'_> {
        ValueRef::Text(text.as_bytes())
    }

    #[test]
    fn between_rowferry_sites_by_storage_class_only() {
        let exact = |logical, v| rendered(Dialect::Rowferry, logical, v);
        assert_eq!(exact(LogicalType::Boolean, ValueRef::Integer(1)), "1");
        assert_eq!(exact(LogicalType::Real, ValueRef::Real(1.0)), "1.0");
        assert_eq!(exact(LogicalType::Real, ValueRef::Real(-0.0)), "-0.0");
        assert!(exact(LogicalType::Real, ValueRef::Real(1e21)).contains('e'));
        assert_eq!(exact(LogicalType::Real, ValueRef::Real(f64::NEG_INFINITY)), r#"{"__rowferry_real__":"-inf"}"#);
        assert_eq!(exact(LogicalType::Json, text("{}")), r#""{}""#);
        assert_eq!(exact(LogicalType::Text, ValueRef::Text(b"\xff")), r#"{"__rowferry_text__":"/w=="}"#);
        assert_eq!(exact(LogicalType::Blob, ValueRef::Blob(b"")), r#"{"__phoenix_kit_binary__":""}"#);
        assert_eq!(exact(LogicalType::Text, text("a\0\u{1}\"")), r#""a\u0000\u0001\"""#);
    }

    #[test]
    fn to_the_reference_over_the_socket_by_meaning() {
        let socket = |logical, v: ValueRef<'_>| rendered(Dialect::ReferenceSocket, logical, v);
        let uuid =
            Uuid::from_bytes([0x9b, 0x2f, 0x1c, 0x3e, 0x7a, 0x4d, 0x4c, 0x55, 0x8e, 0x21, 15, 58, 107, 124, 141, 158]);
        assert_eq!(socket(LogicalType::Boolean, ValueRef::Integer(0)), "false");
        assert_eq!(socket(LogicalType::Boolean, ValueRef::Integer(2)), "2");
        assert_eq!(socket(LogicalType::Integer, ValueRef::Integer(1)), "1");
        assert_eq!(socket(LogicalType::Uuid, ValueRef::Blob(uuid.as_bytes())), format!("\"{uuid}\""));
        assert_eq!(socket(LogicalType::Uuid, text(&uuid.to_string())), format!("\"{uuid}\""));
        assert_eq!(socket(LogicalType::Blob, ValueRef::Blob("řé".as_bytes())), "\"řé\"");
        assert_eq!(socket(LogicalType::Blob, ValueRef::Blob(b"\xff\xfe")), r#"{"__phoenix_kit_binary__":"//4="}"#);
        assert_eq!(socket(LogicalType::Real, ValueRef::Real(f64::INFINITY)), "\":inf\"");
        assert_eq!(socket(LogicalType::Real, ValueRef::Real(f64::NEG_INFINITY)), r#"":\"-inf\"""#);
        assert_eq!(socket(LogicalType::Numeric, text("1.50")), "1.50");
        assert_eq!(socket(LogicalType::Numeric, text("12345678901234567890")), "12345678901234567890");
        assert_eq!(
            socket(LogicalType::Numeric, text("12345678901234567890.123456789")),
            "\"12345678901234567890.123456789\""
        );
        assert_eq!(socket(LogicalType::Numeric, text("NaN")), "\"NaN\"");
        assert_eq!(socket(LogicalType::Numeric, text("007")), "\"007\"");
        assert_eq!(socket(LogicalType::Json, text(r#"{"a": [1, "x"]}"#)), r#"{"a": [1, "x"]}"#);
        assert_eq!(socket(LogicalType::Json, text("not json")), "\"not json\"");
        assert_eq!(socket(LogicalType::Json, text("[1e400]")), "\"[1e400]\"");
        assert_eq!(socket(LogicalType::Json, text(r#""\ud800""#)), r#""\"\\ud800\"""#);
        assert_eq!(socket(LogicalType::Timestamp, text("2024-05-06 07:08:09.5")), "\"2024-05-06T07:08:09.5\"");
        assert_eq!(socket(LogicalType::TimestampTz, text("2024-05-06 07:08:09")), "\"2024-05-06T07:08:09Z\"");
        assert_eq!(socket(LogicalType::TimestampTz, text("2024-05-06T07:08:09+02:00")), "\"2024-05-06T07:08:09+02:00\"");
        assert_eq!(socket(LogicalType::Timestamp, text("yesterday, quite lateř")), "\"yesterday, quite lateř\"");
        assert_eq!(socket(LogicalType::Text, text("2024-05-06 07:08:09")), "\"2024-05-06 07:08:09\"");
    }

    #[test]
    fn to_the_reference_over_http_by_meaning() {
        let http = |logical, v| rendered(Dialect::ReferenceHttp, logical, v);
        assert_eq!(
            http(LogicalType::Uuid, text("9b2f1c3e-7a4d-4c55-8e21-0f3a6b7c8d9e")),
            r#"{"__phoenix_kit_binary__":"my8cPnpNTFWOIQ86a3yNng=="}"#
        );
        assert_eq!(http(LogicalType::Uuid, text("nobody")), "\"nobody\"");
        assert_eq!(http(LogicalType::Blob, ValueRef::Blob(b"abc")), r#"{"__phoenix_kit_binary__":"YWJj"}"#);
        assert_eq!(http(LogicalType::Numeric, text("1.50")), "\"1.50\"");
        assert_eq!(http(LogicalType::Numeric, text("100")), "100");
        assert_eq!(http(LogicalType::Numeric, text("1E-7")), "1E-7");
        assert_eq!(http(LogicalType::Real, ValueRef::Real(f64::INFINITY)), "\"inf\"");
    }

    #[test]
    fn a_numeric_is_a_number_only_where_a_double_says_the_same() {
        for exact in ["0", "-1.5", "0.1", "1e3", "-0.0", "1.7976931348623157e308", "123456789.125"] {
            assert!(exact_as_number(exact), "{exact}");
        }
        for other in ["", "+1", ".5", "1.", "0x10", " 1", "1 ", "1e400", "0.10000000000000000001", "--1", "Infinity", "null"]
        {
            assert!(!exact_as_number(other), "{other}");
        }
    }
}
