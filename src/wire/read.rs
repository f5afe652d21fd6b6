//! Reading one value from JSON: see the table at [`Dialect`].

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use uuid::Uuid;

use super::dialect::Dialect;
use super::postgrex::{self, Meant};
use crate::domain::record::Reason;
use crate::domain::schema::{Column, LogicalType};
use crate::domain::value::ValueRef;

/// Both with and without padding: peers differ, and the bytes are the same.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a value cannot be taken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Fault { reason, message: message.into() }
    }

    fn unknown_term() -> Self {
        let message = "the sender sent a term of Elixir in place of the value, and it is not known what it stands for";
        Fault::new(Reason::UnknownTerm, message)
    }

    fn malformed(message: &str) -> Self {
        Fault::new(Reason::Malformed, message)
    }
}

/// Memory that one value after the other is unescaped or decoded into.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    text: String,
    bytes: Vec<u8>,
}

/// What stands for values that JSON has no form for; exactly one key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tagged<'a> {
    #[serde(borrow, default, rename = "__phoenix_kit_binary__")]
    binary: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "__rowferry_text__")]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "__rowferry_real__")]
    real: Option<Cow<'a, str>>,
}

/// Reads the JSON of one value, which is known to be well-formed and has no space around it.
pub(crate) fn value<'v>(
    raw: &'v str,
    dialect: Dialect,
    logical: &LogicalType,
    scratch: &'v mut Scratch,
) -> Result<ValueRef<'v>, Fault> {
    match dialect {
        Dialect::Rowferry => exact(raw, scratch),
        Dialect::ReferenceSocket | Dialect::ReferenceHttp => by_meaning(raw, logical, scratch),
    }
}

/// Reads the JSON of a value of a column of the sender's.
pub(crate) fn of_column<'v>(
    raw: &'v str,
    dialect: Dialect,
    column: &Column,
    scratch: &'v mut Scratch,
) -> Result<ValueRef<'v>, Fault> {
    if dialect != Dialect::Rowferry && column.declared_type.eq_ignore_ascii_case("ARRAY") && has_terms(raw) {
        // The type of the elements is not told.
        return Err(Fault::unknown_term());
    }
    value(raw, dialect, &column.logical, scratch)
}

/// Whether an array has terms of Elixir as elements. A quote within a text has a backslash before it.
fn has_terms(raw: &str) -> bool {
    raw.starts_with('[') && ["[\"%Postgrex.", ",\"%Postgrex."].into_iter().any(|term| raw.contains(term))
}

fn exact<'v>(raw: &'v str, scratch: &'v mut Scratch) -> Result<ValueRef<'v>, Fault> {
    match raw.as_bytes().first() {
        Some(b'"') => Ok(ValueRef::Text(string(raw, &mut scratch.text)?.as_bytes())),
        Some(b'n') => Ok(ValueRef::Null),
        Some(b'{') => tagged(raw, scratch),
        Some(b'-' | b'0'..=b'9') => number(raw),
        _ => Err(Fault::malformed("neither a number nor a string nor one of the agreed objects")),
    }
}

fn by_meaning<'v>(raw: &'v str, logical: &LogicalType, scratch: &'v mut Scratch) -> Result<ValueRef<'v>, Fault> {
    let first = raw.as_bytes().first().copied().unwrap_or_default();
    if first == b'n' {
        return Ok(ValueRef::Null);
    }
    if *logical == LogicalType::Json {
        return Ok(ValueRef::Text(raw.as_bytes()));
    }
    match first {
        b'"' => string_by_meaning(raw, logical, scratch),
        b't' => Ok(ValueRef::Integer(1)),
        b'f' => Ok(ValueRef::Integer(0)),
        b'{' if raw.contains(super::dialect::BINARY) => binary_by_meaning(raw, logical, scratch),
        b'[' if matches!(logical, LogicalType::Other(name) if name.eq_ignore_ascii_case("tsvector")) => {
            let text = serde_json::from_str::<Vec<Cow<'_, str>>>(raw).ok().and_then(|lexemes| {
                let lexemes: Vec<&str> = lexemes.iter().map(|lexeme| &**lexeme).collect();
                postgrex::tsvector(&lexemes)
            });
            scratch.text = text.ok_or_else(Fault::unknown_term)?;
            Ok(ValueRef::Text(scratch.text.as_bytes()))
        }
        b'{' | b'[' => match logical {
            // Types that have no counterpart here come as whatever the sender's JSON makes of them.
            LogicalType::Any | LogicalType::Other(_) => Ok(ValueRef::Text(raw.as_bytes())),
            _ => Err(Fault::malformed("an object or array in a column that holds single values")),
        },
        // Kept digit by digit: a double would round it.
        _ if *logical == LogicalType::Numeric => Ok(ValueRef::Text(raw.as_bytes())),
        _ if *logical == LogicalType::Real => real(raw),
        _ => number(raw),
    }
}

fn string_by_meaning<'v>(raw: &'v str, logical: &LogicalType, scratch: &'v mut Scratch) -> Result<ValueRef<'v>, Fault> {
    let Scratch { text: unescaped, bytes } = scratch;
    let text = string(raw, unescaped)?;
    match logical {
        LogicalType::Blob => Ok(ValueRef::Blob(text.as_bytes())),
        LogicalType::Uuid if Uuid::try_parse(text).is_ok() => Ok(ValueRef::Text(text.as_bytes())),
        LogicalType::Uuid => uuid_text(uuid(text.as_bytes())?, bytes),
        // As PhoenixKit writes them over HTTP, over the socket, and as Postgres does.
        LogicalType::Real => match text {
            "inf" | ":inf" | "Infinity" => Ok(ValueRef::Real(f64::INFINITY)),
            "-inf" | ":\"-inf\"" | "-Infinity" => Ok(ValueRef::Real(f64::NEG_INFINITY)),
            "NaN" | ":NaN" => Err(Fault::new(Reason::ValueOutOfRange, "NaN cannot be stored: SQLite has no NaN")),
            _ => Ok(ValueRef::Text(text.as_bytes())),
        },
        LogicalType::Other(name) => match postgrex::meant(name, text) {
            Meant::Itself => Ok(ValueRef::Text(text.as_bytes())),
            Meant::Text(text) => {
                *bytes = text.into_bytes();
                Ok(ValueRef::Text(bytes))
            }
            Meant::Unknown => Err(Fault::unknown_term()),
        },
        _ => Ok(ValueRef::Text(text.as_bytes())),
    }
}

fn binary_by_meaning<'v>(raw: &'v str, logical: &LogicalType, scratch: &'v mut Scratch) -> Result<ValueRef<'v>, Fault> {
    let Ok(Tagged { binary: Some(encoded), text: None, real: None }) = serde_json::from_str::<Tagged<'_>>(raw) else {
        return Err(Fault::malformed("an object that is not the agreed one for bytes"));
    };
    base64(&encoded, &mut scratch.bytes)?;
    match logical {
        LogicalType::Uuid => uuid_text(uuid(&scratch.bytes)?, &mut scratch.bytes),
        LogicalType::Text => Ok(ValueRef::Text(&scratch.bytes)),
        LogicalType::Other(name) if postgrex::is_bits(name) => {
            scratch.bytes = postgrex::bits_of_bytes(&scratch.bytes).into_bytes();
            Ok(ValueRef::Text(&scratch.bytes))
        }
        _ => Ok(ValueRef::Blob(&scratch.bytes)),
    }
}

fn uuid(bytes: &[u8]) -> Result<Uuid, Fault> {
    Uuid::from_slice(bytes).map_err(|_| Fault::malformed("a uuid is 16 bytes"))
}

fn uuid_text(uuid: Uuid, out: &mut Vec<u8>) -> Result<ValueRef<'_>, Fault> {
    out.clear();
    out.extend_from_slice(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
    Ok(ValueRef::Text(out))
}

fn tagged<'v>(raw: &str, scratch: &'v mut Scratch) -> Result<ValueRef<'v>, Fault> {
    let tagged: Tagged<'_> =
        serde_json::from_str(raw).map_err(|_| Fault::malformed("an object that is none of the agreed ones"))?;
    match (tagged.binary, tagged.text, tagged.real.as_deref()) {
        (Some(encoded), None, None) => {
            base64(&encoded, &mut scratch.bytes)?;
            Ok(ValueRef::Blob(&scratch.bytes))
        }
        (None, Some(encoded), None) => {
            base64(&encoded, &mut scratch.bytes)?;
            Ok(ValueRef::Text(&scratch.bytes))
        }
        (None, None, Some("inf")) => Ok(ValueRef::Real(f64::INFINITY)),
        (None, None, Some("-inf")) => Ok(ValueRef::Real(f64::NEG_INFINITY)),
        _ => Err(Fault::malformed("an object that is none of the agreed ones")),
    }
}

fn base64(encoded: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    out.clear();
    BASE64.decode_vec(encoded, out).map_err(|_| Fault::malformed("bytes that are not base64"))
}

fn number(raw: &str) -> Result<ValueRef<'_>, Fault> {
    if raw.contains(['.', 'e', 'E']) {
        return real(raw);
    }
    // Never by way of a double: a whole number that does not fit is an error, not another number.
    raw.parse()
        .map(ValueRef::Integer)
        .map_err(|_| Fault::new(Reason::ValueOutOfRange, "a whole number that does not fit into 64 bits with a sign"))
}

fn real(raw: &str) -> Result<ValueRef<'_>, Fault> {
    match raw.parse::<f64>() {
        Ok(v) if v.is_finite() => Ok(ValueRef::Real(v)),
        _ => Err(Fault::new(Reason::ValueOutOfRange, "a number that does not fit into a double")),
    }
}

/// The content of a JSON string, borrowed where nothing is escaped in it.
fn string<'v>(raw: &'v str, unescaped: &'v mut String) -> Result<&'v str, Fault> {
    match raw.get(1..raw.len().saturating_sub(1)) {
        Some(plain) if !plain.as_bytes().contains(&b'\\') => Ok(plain),
        _ => {
            *unescaped = serde_json::from_str(raw)
                .map_err(|_| Fault::malformed("a string with an escape that stands for no character"))?;
            Ok(unescaped)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::Value;

    fn read(raw: &str, dialect: Dialect, logical: LogicalType) -> Result<Value, Reason> {
        let mut scratch = Scratch::default();
        value(raw, dialect, &logical, &mut scratch).map(ValueRef::to_owned).map_err(|fault| fault.reason)
    }

    #[test]
    fn between_rowferry_sites_only_the_agreed_forms() {
        let exact = |raw| read(raw, Dialect::Rowferry, LogicalType::Text);
        assert_eq!(exact("-9223372036854775808"), Ok(Value::Integer(i64::MIN)));
        assert_eq!(exact("9223372036854775808"), Err(Reason::ValueOutOfRange));
        assert_eq!(exact("123456789012345678901234567890"), Err(Reason::ValueOutOfRange));
        assert_eq!(exact("1e400"), Err(Reason::ValueOutOfRange));
        assert_eq!(exact("1e21"), Ok(Value::Real(1e21)));
        assert_eq!(exact(r#""a\u0000\ud83d\ude00""#), Ok(Value::from("a\0😀")));
        assert_eq!(exact(r#""\ud800""#), Err(Reason::Malformed));
        assert_eq!(exact(r#"{"__phoenix_kit_binary__":"//4="}"#), Ok(Value::Blob(vec![255, 254])));
        assert_eq!(exact(r#"{"__phoenix_kit_binary__":"//4"}"#), Ok(Value::Blob(vec![255, 254])));
        assert_eq!(exact(r#"{"__rowferry_text__":"/w=="}"#), Ok(Value::Text(vec![255])));
        assert_eq!(exact(r#"{"__rowferry_real__":"-inf"}"#), Ok(Value::Real(f64::NEG_INFINITY)));
        for raw in [
            "true",
            "[]",
            "{}",
            r#"{"__rowferry_real__":"nan"}"#,
            r#"{"__rowferry_real__":1.5}"#,
            r#"{"__phoenix_kit_binary__":null}"#,
            r#"{"__phoenix_kit_binary__":"not base64!"}"#,
            r#"{"__phoenix_kit_binary__":"","x":1}"#,
            r#"{"__phoenix_kit_binary__":"","__phoenix_kit_binary__":""}"#,
            r#"{"__phoenix_kit_binary__":"","__rowferry_text__":""}"#,
        ] {
            assert_eq!(exact(raw), Err(Reason::Malformed), "{raw}");
        }
    }

    #[test]
    fn from_the_reference_by_the_senders_type() {
        let reference = |raw, logical| read(raw, Dialect::ReferenceSocket, logical);
        let uuid = Value::from("41424344-4546-4748-494a-4b4c4d4e4f50");
        assert_eq!(reference("\"ABCDEFGHIJKLMNOP\"", LogicalType::Uuid), Ok(uuid.clone()));
        let object = r#"{"__phoenix_kit_binary__":"QUJDREVGR0hJSktMTU5PUA=="}"#;
        assert_eq!(reference(object, LogicalType::Uuid), Ok(uuid));
        assert_eq!(reference(object, LogicalType::Blob), Ok(Value::Blob(b"ABCDEFGHIJKLMNOP".to_vec())));
        assert_eq!(reference(object, LogicalType::Json), Ok(Value::from(object)));
        let nil = format!("\"{}\"", "\\u0000".repeat(16));
        assert_eq!(reference(&nil, LogicalType::Uuid), Ok(Value::from("00000000-0000-0000-0000-000000000000")));
        assert_eq!(
            reference("\"9b2f1c3e-7a4d-4c55-8e21-0f3a6b7c8d9e\"", LogicalType::Uuid),
            Ok(Value::from("9b2f1c3e-7a4d-4c55-8e21-0f3a6b7c8d9e"))
        );
        assert_eq!(reference("\"short\"", LogicalType::Uuid), Err(Reason::Malformed));
        assert_eq!(reference("\"\\u0000\\u0001\"", LogicalType::Blob), Ok(Value::Blob(vec![0, 1])));
        assert_eq!(reference("\"1.50\"", LogicalType::Numeric), Ok(Value::from("1.50")));
        assert_eq!(reference("\"1E-20\"", LogicalType::Numeric), Ok(Value::from("1E-20")));
        assert_eq!(reference("12345678901234567890.5", LogicalType::Numeric), Ok(Value::from("12345678901234567890.5")));
        assert_eq!(reference("\":inf\"", LogicalType::Real), Ok(Value::Real(f64::INFINITY)));
        assert_eq!(reference(r#"":\"-inf\"""#, LogicalType::Real), Ok(Value::Real(f64::NEG_INFINITY)));
        assert_eq!(reference("\"-inf\"", LogicalType::Real), Ok(Value::Real(f64::NEG_INFINITY)));
        assert_eq!(reference("\":NaN\"", LogicalType::Real), Err(Reason::ValueOutOfRange));
        assert_eq!(reference("1", LogicalType::Real), Ok(Value::Real(1.0)));
        assert_eq!(reference("-0.0", LogicalType::Real).map(|v| v.as_ref().same(ValueRef::Real(-0.0))), Ok(true));
        assert_eq!(reference("9223372036854775808", LogicalType::Integer), Err(Reason::ValueOutOfRange));
        assert_eq!(reference("true", LogicalType::Boolean), Ok(Value::Integer(1)));
        assert_eq!(reference("\"NaN\"", LogicalType::Text), Ok(Value::from("NaN")));
        assert_eq!(reference("\"2024-05-06\"", LogicalType::Text), Ok(Value::from("2024-05-06")));
        assert_eq!(
            reference("\"2024-05-06T07:08:09.000000\"", LogicalType::Timestamp),
            Ok(Value::from("2024-05-06T07:08:09.000000"))
        );
        assert_eq!(reference(r#"{"a":[1.0,2.0e3,null]}"#, LogicalType::Json), Ok(Value::from(r#"{"a":[1.0,2.0e3,null]}"#)));
        assert_eq!(reference("\"str\"", LogicalType::Json), Ok(Value::from("\"str\"")));
        assert_eq!(reference("null", LogicalType::Json), Ok(Value::Null));
        assert_eq!(reference("[\"a\"]", LogicalType::Other("int2vector".into())), Ok(Value::from("[\"a\"]")));
        assert_eq!(reference("[\"a\"]", LogicalType::Other("tsvector".into())), Err(Reason::UnknownTerm));
        let other = |raw, name: &str| reference(raw, LogicalType::Other(name.into()));
        let inet = r#""%Postgrex.INET{address: {192, 168, 0, 1}, netmask: 24}""#;
        assert_eq!(other(inet, "inet"), Ok(Value::from("192.168.0.1/24")));
        assert_eq!(reference(inet, LogicalType::Text), Ok(Value::from(inet.trim_matches('"'))));
        assert_eq!(other(r#""%Postgrex.INET{address: {1}, netmask: 24}""#, "inet"), Err(Reason::UnknownTerm));
        assert_eq!(other("\"<<5::size(4)>>\"", "bit"), Ok(Value::from("0101")));
        assert_eq!(other(r#"{"__phoenix_kit_binary__":"/w=="}"#, "bit varying"), Ok(Value::from("11111111")));
        let lexemes = r#"["%Postgrex.Lexeme{word: \"cat\", positions: [{1, nil}]}"]"#;
        assert_eq!(other(lexemes, "tsvector"), Ok(Value::from("'cat':1")));
        let array = |raw, declared_type: &str| {
            let column = Column { declared_type: declared_type.into(), logical: LogicalType::Json, ..Column::default() };
            let mut scratch = Scratch::default();
            of_column(raw, Dialect::ReferenceSocket, &column, &mut scratch).map(ValueRef::to_owned).map_err(|f| f.reason)
        };
        let inets = format!("[null,{inet}]");
        assert_eq!(array(&inets, "ARRAY"), Err(Reason::UnknownTerm));
        assert_eq!(array(&inets, "jsonb"), Ok(Value::from(&*inets)));
        let quoted = r#"["a,\"%Postgrex.INET{"]"#;
        assert_eq!(array(quoted, "ARRAY"), Ok(Value::from(quoted)));
        assert_eq!(reference("{\"a\":1}", LogicalType::Text), Err(Reason::Malformed));
    }
}
