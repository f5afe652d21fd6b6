//! Defaults of columns of tables that are made here, as SQL.

use super::any;
use super::quote::literal;
use crate::domain::postgres_type::{self, DATE_TEXT, PostgresType, TIME_TEXT, TIMESTAMP_TEXT, default_value};
use crate::domain::schema::{Column, DefaultValue, Origin};
use crate::domain::value::{Value, ValueRef};

/// What a column's default becomes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Default {
    /// There is none, or NULL.
    None,
    /// This SQL.
    Sql(String),
    /// It is code, or nothing that the type takes.
    LeftOut,
}

/// The default of a column that has this type here.
pub(super) fn of(column: &Column, origin: Origin, type_of: &str) -> Default {
    let Some(text) = &column.default else { return Default::None };
    let value = match origin {
        Origin::Postgres => default_value(text, &column.logical),
        _ => DefaultValue::parse(text),
    };
    match value {
        None => Default::LeftOut,
        Some(DefaultValue::Literal(Value::Null)) => Default::None,
        Some(value) => sql(&value, type_of).map_or(Default::LeftOut, Default::Sql),
    }
}

/// A default as SQL that this type takes without changing it; `None` where it takes it not.
fn sql(value: &DefaultValue, type_of: &str) -> Option<String> {
    let read = PostgresType::parse(type_of);
    let plain = read.as_ref().map(PostgresType::plain).unwrap_or_default();
    let value = match value {
        DefaultValue::Literal(value) => value.as_ref(),
        now => return of_now(now, &plain),
    };
    let quoted = |value: ValueRef<'_>| Some(literal(&text(value)?));
    match (plain.as_str(), value) {
        (_, ValueRef::Null) => None,
        (postgres_type::ANY, value) => any::json(value).map(|json| literal(&json)),
        ("boolean", ValueRef::Integer(v @ (0 | 1))) => Some((v == 1).to_string()),
        ("boolean" | "bytea", ValueRef::Integer(_) | ValueRef::Real(_)) => None,
        ("bytea", ValueRef::Blob(bytes)) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(literal(&format!("\\x{hex}")))
        }
        // To SQLite it is a text, and to Postgres it would be the name of bytes.
        ("bytea", _) | (_, ValueRef::Blob(_)) => None,
        ("smallint" | "integer" | "bigint" | "numeric" | "double precision" | "real", ValueRef::Integer(v)) => {
            Some(v.to_string())
        }
        // It would be rounded.
        ("smallint" | "integer" | "bigint", ValueRef::Real(_)) => None,
        ("numeric" | "double precision" | "real", ValueRef::Real(v)) => Some(format!("{v:?}")),
        (_, value) => quoted(value),
    }
}

/// A value as the text that it is, where every database writes it alike.
fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Integer(v) => Some(v.to_string()),
        ValueRef::Real(v) => Some(format!("{v:?}")).filter(|text| !text.contains('e')),
        ValueRef::Text(v) => std::str::from_utf8(v).ok().filter(|text| !text.contains('\0')).map(str::to_owned),
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

/// The current date or time: of a column of texts as SQLite writes it.
fn of_now(now: &DefaultValue, plain: &str) -> Option<String> {
    let is_text = matches!(plain, "text" | "character varying");
    let sql = match (now, plain) {
        (DefaultValue::CurrentTimestamp, _) if is_text => TIMESTAMP_TEXT,
        (DefaultValue::CurrentDate, _) if is_text => DATE_TEXT,
        (DefaultValue::CurrentTime, _) if is_text => TIME_TEXT,
        (DefaultValue::CurrentTimestamp, "timestamp without time zone" | "timestamp with time zone" | "date") => {
            "CURRENT_TIMESTAMP"
        }
        (DefaultValue::CurrentDate, "timestamp without time zone" | "timestamp with time zone" | "date") => "CURRENT_DATE",
        (DefaultValue::CurrentTime, "time without time zone" | "time with time zone") => "CURRENT_TIME",
        _ => return None,
    };
    Some(sql.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::LogicalType;

    #[test]
    fn defaults_are_what_their_type_takes() {
        let of_sqlite = |text: &str, type_of: &str| {
            of(&Column { default: Some(text.into()), ..Column::default() }, Origin::Sqlite, type_of)
        };
        let sql = |sql: &str| Default::Sql(sql.into());
        for (text, type_of, expected) in [
            ("-5", "bigint", sql("-5")),
            ("1.5", "bigint", Default::LeftOut),
            ("'7'", "bigint", sql("'7'")),
            ("1.5", "double precision", sql("1.5")),
            ("1e300", "double precision", sql("1e300")),
            ("1", "boolean", sql("true")),
            ("2", "boolean", Default::LeftOut),
            ("'it''s'", "text", sql("'it''s'")),
            ("5", "text", sql("'5'")),
            ("1e300", "text", Default::LeftOut),
            ("x'00ff'", "bytea", sql("E'\\\\x00ff'")),
            ("'abc'", "bytea", Default::LeftOut),
            ("x'00'", "text", Default::LeftOut),
            ("1.5", "\"public\".\"rowferry_any\"", sql("'{\"r\": \"1.5e0\"}'")),
            ("'a'", "\"public\".\"rowferry_any\"", sql("'\"a\"'")),
            ("CURRENT_TIMESTAMP", "text", sql(TIMESTAMP_TEXT)),
            ("CURRENT_DATE", "date", sql("CURRENT_DATE")),
            ("CURRENT_TIMESTAMP", "bigint", Default::LeftOut),
            ("random()", "bigint", Default::LeftOut),
            ("NULL", "bigint", Default::None),
            ("'{}'", "json", sql("'{}'")),
            ("0); DROP TABLE t; --", "bigint", Default::LeftOut),
        ] {
            assert_eq!(of_sqlite(text, type_of), expected, "{text} of {type_of}");
        }
        let column = Column { default: Some("'\\x00ff'::bytea".into()), logical: LogicalType::Blob, ..Column::default() };
        assert_eq!(of(&column, Origin::Postgres, "bytea"), sql("E'\\\\x00ff'"));
    }
}
