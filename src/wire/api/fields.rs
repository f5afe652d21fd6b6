//! The fields of a request, as they came.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Secret, encode};
use crate::domain::value::{Value, ValueRef};
use crate::wire::Dialect;
use crate::wire::read::{self, Scratch};

/// Most fields of a body. Those that are not known are looked at no further than their names.
const MOST_FIELDS: usize = 64;

/// The fields of a request's body: a JSON object, read no further than its keys.
#[derive(Debug, Default)]
pub struct Fields<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

/// Why a request is answered with 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadRequest {
    /// The body is no JSON, names a field twice, or has more than 64.
    NotJson,
    /// These fields are missing. An empty text and null count as missing.
    Missing(Vec<&'static str>),
    /// The same, of a call that names the fields in its text.
    MissingInText(Vec<&'static str>),
    /// `update-status` knows no such status.
    Status,
    /// A field cannot be used.
    Wrong {
        /// The field.
        field: &'static str,
        /// Why, as the end of a sentence: `must be a string`.
        why: String,
    },
}

impl BadRequest {
    /// The answer's body.
    pub fn body(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            fields: Option<&'a [&'static str]>,
            success: bool,
        }
        let body = |error: &str, fields| encode(&Body { error, fields, success: false });
        match self {
            BadRequest::NotJson => r#"{"errors":{"detail":"Bad Request"}}"#.to_owned(),
            BadRequest::Missing(fields) => body("Missing required fields", Some(fields)),
            BadRequest::MissingInText(fields) => body(&format!("Missing required fields: {}", fields.join(", ")), None),
            BadRequest::Status => body("Invalid status value", None),
            BadRequest::Wrong { field, why } => body(&format!("The field {field} {why}"), None),
        }
    }

    pub(super) fn wrong(field: &'static str, why: impl Into<String>) -> Self {
        BadRequest::Wrong { field, why: why.into() }
    }
}

impl<'a> Fields<'a> {
    /// Reads a body. An empty one, and JSON that is no object, have no fields, as in PhoenixKit.
    ///
    /// # Errors
    /// [`BadRequest::NotJson`], also for an object that names a field twice: which one counts would be a guess. And for one of more
    /// than 64 fields: many small ones would take many times the memory of the body.
    pub fn read(body: &'a [u8]) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(body).map_err(|_| BadRequest::NotJson)?.trim();
        if text.is_empty() {
            return Ok(Fields::default());
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = match text.starts_with('{') {
            true => deserializer.deserialize_map(Object),
            false => IgnoredAny::deserialize(&mut deserializer).map(|_| Fields::default()),
        };
        read.and_then(|fields| deserializer.end().map(|()| fields)).map_err(|_| BadRequest::NotJson)
    }

    /// The field's JSON, unless it is missing: not there, null, or an empty text.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|raw| raw.get()).filter(|raw| !matches!(*raw, "null" | "\"\""))
    }

    /// Those of these fields that are missing.
    pub(super) fn missing(&self, names: &[&'static str]) -> Vec<&'static str> {
        names.iter().copied().filter(|name| self.raw(name).is_none()).collect()
    }

    /// The text of a field of at most so many bytes; `None` if it is missing.
    pub(super) fn text(&self, name: &'static str, most: usize) -> Result<Option<String>, BadRequest> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let text: String =
            serde_json::from_str(raw).map_err(|_| BadRequest::wrong(name, "must be a string of valid characters"))?;
        match text.len() <= most {
            true => Ok(Some(text)),
            false => Err(BadRequest::wrong(name, format!("must not be longer than {most} bytes"))),
        }
    }

    /// The same; a number counts as its digits, where PhoenixKit takes one.
    pub(super) fn text_or_number(&self, name: &'static str, most: usize) -> Result<Option<String>, BadRequest> {
        match self.raw(name) {
            Some(raw) if raw.len() <= most && raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                Ok(Some(raw.to_owned()))
            }
            _ => self.text(name, most),
        }
    }

    /// A secret of at most so many bytes; `None` if it is missing.
    pub(super) fn secret(&self, name: &'static str, most: usize) -> Result<Option<Secret>, BadRequest> {
        Ok(self.text(name, most)?.map(|text| Secret(text.into())))
    }

    /// A whole number, which may stand in a string; `None` for anything else, which PhoenixKit takes for nothing given.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, BadRequest> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let digits = raw.trim_matches('"');
        match digits.parse::<i128>() {
            Ok(number) if number < 0 => Err(BadRequest::wrong(name, "must not be negative")),
            Ok(number) => Ok(Some(u64::try_from(number).unwrap_or(u64::MAX))),
            Err(_) => Ok(None),
        }
    }

    /// The value of a key; `None` if it is missing.
    pub(super) fn key(&self, name: &'static str) -> Result<Option<Value>, BadRequest> {
        self.raw(name).map(|raw| key(name, raw)).transpose()
    }

    /// A list of values of a key; empty where the field is no list, which PhoenixKit takes for nothing given.
    pub(super) fn keys(&self, name: &'static str, most: usize) -> Result<Vec<Value>, BadRequest> {
        let raw = match self.raw(name) {
            Some(raw) if raw.starts_with('[') => raw,
            _ => return Ok(Vec::new()),
        };
        // It is JSON, as all of the body is: only its length may be wrong.
        let list = serde_json::Deserializer::from_str(raw).deserialize_seq(AtMost(most));
        let list = list.map_err(|_| BadRequest::wrong(name, format!("must not have more than {most} elements")))?;
        list.into_iter().map(|raw| key(name, raw.get())).collect()
    }
}

fn key(name: &'static str, raw: &str) -> Result<Value, BadRequest> {
    let mut scratch = Scratch::default();
    let logical = crate::domain::schema::LogicalType::Any;
    match read::value(raw, Dialect::Rowferry, &logical, &mut scratch).map(ValueRef::to_owned) {
        Ok(Value::Null) | Err(_) => Err(BadRequest::wrong(name, "must have texts or numbers")),
        Ok(value) => Ok(value),
    }
}

/// The text of the field `auth_token_hash` where a body begins with it, as those of PhoenixKit and of rowferry do: their fields are
/// sorted. `None` also where it is written with escapes, which no hash needs.
pub(crate) fn leading_hash(body: &[u8]) -> Option<&str> {
    fn after<'b>(text: &'b [u8], token: &[u8]) -> Option<&'b [u8]> {
        text.trim_ascii_start().strip_prefix(token)
    }
    let field = after(after(body, b"{")?, b"\"auth_token_hash\"")?;
    let text = after(after(field, b":")?, b"\"")?;
    let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    if text.get(end) == Some(&b'"') { std::str::from_utf8(text.get(..end)?).ok() } else { None }
}

/// A list of at most so many values.
struct AtMost(usize);

impl<'de> Visitor<'de> for AtMost {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {} values", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            if list.len() >= self.0 {
                return Err(A::Error::invalid_length(list.len() + 1, &self));
            }
            list.push(value);
        }
        Ok(list)
    }
}

/// An object's fields, each at most once.
struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = BTreeMap::new();
        // Not as a `Cow` of its own accord: serde would copy each key.
        while let Some(Key(key)) = map.next_key()? {
            if fields.len() >= MOST_FIELDS {
                return Err(A::Error::custom("too many fields"));
            }
            if fields.insert(key, map.next_value::<&RawValue>()?).is_some() {
                return Err(A::Error::custom("a field twice"));
            }
        }
        Ok(Fields(fields))
    }
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_objects_or_have_no_fields() {
        for none in ["", " \n", "[1]", "12", "null", "{}", "\"x\""] {
            assert!(Fields::read(none.as_bytes()).unwrap().0.is_empty(), "{none}");
        }
        for bad in ["{nope", "{\"a\":1,\"a\":2}", "{\"a\":1}x", "[1", "{\"a\":\"\\ud800\"", "\u{feff}{}"] {
            assert_eq!(Fields::read(bad.as_bytes()).unwrap_err(), BadRequest::NotJson, "{bad}");
        }
        assert!(Fields::read(b"{\"\xff\":1}").is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let fields = Fields::read(deep.as_bytes());
        assert!(fields.is_err() || fields.unwrap().keys("a", 5).is_err(), "no overflow of the stack");
    }

    #[test]
    fn fields_and_lists_have_bounds() {
        let object = |fields: usize| {
            let fields: Vec<_> = (0..fields).map(|n| format!("\"{n}\":[{{}}]")).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert!(Fields::read(object(MOST_FIELDS).as_bytes()).is_ok());
        assert_eq!(Fields::read(object(MOST_FIELDS + 1).as_bytes()).unwrap_err(), BadRequest::NotJson);
        let list = format!("{{\"a\":[{}1]}}", "1,".repeat(500_000));
        let fields = Fields::read(list.as_bytes()).unwrap();
        let why = fields.keys("a", 3).unwrap_err();
        assert_eq!(why, BadRequest::wrong("a", "must not have more than 3 elements"));
    }

    #[test]
    fn a_hash_is_found_where_a_body_begins_with_it() {
        for (body, hash) in [
            (r#"{"auth_token_hash":"46e1","ids":["#, Some("46e1")),
            (" {\n \"auth_token_hash\" : \"46e1\"", Some("46e1")),
            (r#"{"auth_token_hash":"46e"#, None),
            (r#"{"auth_token_hash":"46\"e1"}"#, None),
            (r#"{"auth_token_hash":46}"#, None),
            (r#"{"ids":[],"auth_token_hash":"46e1"}"#, None),
            (r#"["auth_token_hash","46e1"]"#, None),
            ("", None),
        ] {
            assert_eq!(leading_hash(body.as_bytes()), hash, "{body}");
        }
        assert_eq!(leading_hash(b"{\"auth_token_hash\":\"\xff\"}"), None);
    }

    #[test]
    fn empty_and_null_are_missing_and_wrong_types_are_told() {
        let fields = Fields::read(br#"{"a":"","b":null,"c":"x","d":5,"e":"\ud800","f":[1,"2"],"g":"12","h":-1,"i":2.5}"#);
        let fields = fields.unwrap();
        assert_eq!(fields.missing(&["a", "b", "c", "z"]), ["a", "b", "z"]);
        assert_eq!(fields.text("c", 1), Ok(Some("x".into())));
        assert_eq!(fields.text("a", 1), Ok(None));
        assert!(fields.text("c", 0).is_err() && fields.text("d", 9).is_err() && fields.text("e", 9).is_err());
        assert_eq!(fields.text_or_number("d", 9), Ok(Some("5".into())));
        assert_eq!((fields.number("d"), fields.number("g"), fields.number("i")), (Ok(Some(5)), Ok(Some(12)), Ok(None)));
        let negative = fields.number("h").unwrap_err();
        assert_eq!(negative.body(), r#"{"error":"The field h must not be negative","success":false}"#);
        assert_eq!(fields.keys("f", 2), Ok(vec![Value::Integer(1), Value::from("2")]));
        assert!(fields.keys("f", 1).is_err());
        assert_eq!(fields.keys("d", 1), Ok(vec![]));
    }

    #[test]
    fn refusals_are_the_references() {
        let missing = BadRequest::Missing(vec!["sender_url", "auth_token"]);
        let body = r#"{"error":"Missing required fields","fields":["sender_url","auth_token"],"success":false}"#;
        assert_eq!(missing.body(), body);
        let in_text = BadRequest::MissingInText(vec!["auth_token_hash", "table_name"]);
        let body = r#"{"error":"Missing required fields: auth_token_hash, table_name","success":false}"#;
        assert_eq!(in_text.body(), body);
        assert_eq!(BadRequest::Status.body(), r#"{"error":"Invalid status value","success":false}"#);
    }
}
