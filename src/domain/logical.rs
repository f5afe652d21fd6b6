//! What a declared type means.

use crate::domain::schema::LogicalType;

impl LogicalType {
    /// What the values of a SQLite column of this declared type mean. SQLite itself stores anything under any type outside
    /// of STRICT tables; the declaration says what the author had in mind. The first word decides where it is a type of its
    /// own (`NUMERIC TEXT` holds decimal numbers, kept as text); after that the rules of SQLite's own affinity.
    ///
    /// ```
    /// use rowferry::schema::LogicalType;
    /// assert_eq!(LogicalType::from_declared("VARCHAR(80)"), LogicalType::Text);
    /// assert_eq!(LogicalType::from_declared("numeric text"), LogicalType::Numeric);
    /// assert_eq!(LogicalType::from_declared(""), LogicalType::Any);
    /// ```
    pub fn from_declared(declared: &str) -> LogicalType {
        let plain = without_arguments(declared).to_ascii_uppercase();
        let words: Vec<&str> = plain.split_whitespace().collect();
        let Some(first) = words.first().copied() else { return LogicalType::Any };
        let has_zone = || plain.contains("WITH TIME ZONE") || plain.contains("WITH TIMEZONE");
        match first {
            "ANY" => return LogicalType::Any,
            "BOOL" | "BOOLEAN" => return LogicalType::Boolean,
            "UUID" | "GUID" | "UNIQUEIDENTIFIER" => return LogicalType::Uuid,
            "JSON" | "JSONB" => return LogicalType::Json,
            "DATE" => return LogicalType::Date,
            "TIME" | "TIMETZ" => return LogicalType::Time,
            "TIMESTAMPTZ" | "DATETIMEOFFSET" => return LogicalType::TimestampTz,
            "TIMESTAMP" | "DATETIME" if has_zone() => return LogicalType::TimestampTz,
            "TIMESTAMP" | "DATETIME" | "DATETIME2" => return LogicalType::Timestamp,
            "NUMERIC" | "DECIMAL" | "DEC" | "NUMBER" => return LogicalType::Numeric,
            "STRING" => return LogicalType::Text,
            "BYTEA" | "BINARY" | "VARBINARY" => return LogicalType::Blob,
            "SERIAL" | "BIGSERIAL" | "SMALLSERIAL" => return LogicalType::Integer,
            // They contain INT and are no integers.
            "INTERVAL" | "POINT" => return LogicalType::Other(declared.to_owned()),
            _ => {}
        }
        let any = |parts: &[&str]| parts.iter().any(|part| plain.contains(part));
        if any(&["BOOL"]) {
            LogicalType::Boolean
        } else if any(&["INT"]) {
            LogicalType::Integer
        } else if any(&["CHAR", "CLOB", "TEXT"]) {
            LogicalType::Text
        } else if any(&["BLOB"]) {
            LogicalType::Blob
        } else if any(&["REAL", "FLOA", "DOUB"]) {
            LogicalType::Real
        } else {
            LogicalType::Other(declared.to_owned())
        }
    }

    /// What the values of a Postgres column mean, by the type's name as its information schema writes it. An array is
    /// [`LogicalType::Json`], because its values come as JSON arrays.
    pub fn from_postgres(name: &str) -> LogicalType {
        let plain = without_arguments(name).to_ascii_lowercase();
        match plain.split_whitespace().collect::<Vec<_>>().join(" ").as_str() {
            "bigint" | "integer" | "smallint" | "oid" | "int2" | "int4" | "int8" => LogicalType::Integer,
            "double precision" | "real" | "float4" | "float8" => LogicalType::Real,
            "numeric" | "decimal" => LogicalType::Numeric,
            "boolean" | "bool" => LogicalType::Boolean,
            "text" | "character varying" | "character" | "varchar" | "char" | "bpchar" | "name" | "citext" => {
                LogicalType::Text
            }
            "bytea" => LogicalType::Blob,
            "uuid" => LogicalType::Uuid,
            "date" => LogicalType::Date,
            "time without time zone" | "time with time zone" | "time" | "timetz" => LogicalType::Time,
            "timestamp without time zone" | "timestamp" => LogicalType::Timestamp,
            "timestamp with time zone" | "timestamptz" => LogicalType::TimestampTz,
            "json" | "jsonb" | "array" => LogicalType::Json,
            _ => LogicalType::Other(name.to_owned()),
        }
    }
}

/// The type's words without what stands in parentheses.
fn without_arguments(declared: &str) -> String {
    let mut depth = 0usize;
    let mut plain = String::with_capacity(declared.len());
    for c in declared.chars() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                plain.push(' ');
            }
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_of_sqlite() {
        let cases = [
            ("", LogicalType::Any),
            ("BOOLEAN", LogicalType::Boolean),
            ("tinyint(1)", LogicalType::Integer),
            ("INTEGER", LogicalType::Integer),
            ("UNSIGNED BIG INT", LogicalType::Integer),
            ("Double Precision", LogicalType::Real),
            ("FLOAT", LogicalType::Real),
            ("DECIMAL(10,2)", LogicalType::Numeric),
            ("NUMERIC TEXT", LogicalType::Numeric),
            ("VARCHAR(80)", LogicalType::Text),
            ("NATIVE CHARACTER(70)", LogicalType::Text),
            ("BLOB", LogicalType::Blob),
            ("uuid", LogicalType::Uuid),
            ("DATE", LogicalType::Date),
            ("time", LogicalType::Time),
            ("DATETIME", LogicalType::Timestamp),
            ("TIMESTAMP(6) WITHOUT TIME ZONE", LogicalType::Timestamp),
            ("TIMESTAMP(6) WITH TIME ZONE", LogicalType::TimestampTz),
            ("TIMESTAMPTZ", LogicalType::TimestampTz),
            ("JSON", LogicalType::Json),
            ("JSON TEXT", LogicalType::Json),
            ("JSONB", LogicalType::Json),
            ("INTERVAL", LogicalType::Other("INTERVAL".into())),
            ("geometry", LogicalType::Other("geometry".into())),
        ];
        for (declared, expected) in cases {
            assert_eq!(LogicalType::from_declared(declared), expected, "{declared:?}");
        }
    }

    #[test]
    fn type_names_of_postgres() {
        assert_eq!(LogicalType::from_postgres("timestamp(6) with time zone"), LogicalType::TimestampTz);
        assert_eq!(LogicalType::from_postgres("ARRAY"), LogicalType::Json);
        assert_eq!(LogicalType::from_postgres("USER-DEFINED"), LogicalType::Other("USER-DEFINED".into()));
    }
}
