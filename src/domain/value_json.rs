//! A value as JSON, for reports: as it goes in the JSON between two rowferry sites.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::value::Value;

/// Numbers, text and NULL as they are. What JSON cannot hold is an object: a blob `{"__phoenix_kit_binary__": base64}`, text that is not
/// UTF-8 `{"__rowferry_text__": base64}`, and an infinity `{"__rowferry_real__": "inf"}` or `"-inf"`.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, text) = match self {
            Value::Null => return serializer.serialize_unit(),
            Value::Integer(v) => return serializer.serialize_i64(*v),
            Value::Real(v) if v.is_finite() => return serializer.serialize_f64(*v),
            Value::Real(v) => ("__rowferry_real__", v.to_string()),
            Value::Text(v) => match std::str::from_utf8(v) {
                Ok(text) => return serializer.serialize_str(text),
                Err(_) => ("__rowferry_text__", STANDARD.encode(v)),
            },
            Value::Blob(v) => ("__phoenix_kit_binary__", STANDARD.encode(v)),
        };
        let mut object = serializer.serialize_map(Some(1))?;
        object.serialize_entry(kind, &text)?;
        object.end()
    }
}

/// A key for reports: a value, a list of several, or null.
pub(crate) struct KeyJson<'v>(pub(crate) &'v [Value]);

impl Serialize for KeyJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [] => serializer.serialize_unit(),
            [value] => value.serialize(serializer),
            values => values.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_that_loses_nothing() {
        for (value, text) in [
            (Value::Null, "null"),
            (Value::Integer(i64::MAX), "9223372036854775807"),
            (Value::Real(1.0), "1.0"),
            (Value::Real(f64::NEG_INFINITY), r#"{"__rowferry_real__":"-inf"}"#),
            (Value::Text(b"a\"".to_vec()), r#""a\"""#),
            (Value::Text(vec![0xff]), r#"{"__rowferry_text__":"/w=="}"#),
            (Value::Blob(vec![0, 255]), r#"{"__phoenix_kit_binary__":"AP8="}"#),
        ] {
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
    }
}
