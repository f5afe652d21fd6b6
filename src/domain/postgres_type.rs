//! Names of PostgreSQL's types, as `format_type` writes them and as peers tell them.
//!
//! Such a name is read by a small strict parser and written again from its parts: the text itself never becomes part of a statement.
//! `numeric(10,2)[]`, `timestamp(3) with time zone`, `audit."Mood"` and `geometry(Point,4326)` are names of types, `text CHECK (f())` is none.

use std::fmt;

use crate::domain::schema::{DefaultValue, LogicalType};
use crate::domain::value::Value;

/// The longest name that is read, in bytes.
const LONGEST: usize = 512;

/// The longest name of anything in Postgres, in bytes.
pub const LONGEST_NAME: usize = 63;

/// The domain that columns without a type become: see [`LogicalType::Any`].
pub const ANY: &str = "rowferry_any";

/// Types whose names are words of SQL's grammar. In quotes Postgres would look for others.
const WORDS: [&str; 14] = [
    "bigint",
    "integer",
    "smallint",
    "boolean",
    "real",
    "double precision",
    "numeric",
    "character varying",
    "character",
    "bit varying",
    "bit",
    "interval",
    "time",
    "timestamp",
];

/// What may stand behind `interval`.
const FIELDS: [&str; 13] = [
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "second",
    "year to month",
    "day to hour",
    "day to minute",
    "day to second",
    "hour to minute",
    "hour to second",
    "minute to second",
];

/// The name of a type, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresType {
    /// The schema, where one is named.
    pub schema: Option<String>,
    /// The name without quotes: one of the words of SQL's grammar where [`is_word`](PostgresType::is_word) is set.
    pub name: String,
    /// Whether the name is a part of SQL's grammar, and not the name of an object.
    pub is_word: bool,
    /// What stands in parentheses: whole numbers and plain words.
    pub parameters: Vec<String>,
    /// `with time zone`, `without time zone`, or the fields of an interval; mostly empty.
    pub rest: String,
    /// Whether it is an array of this.
    pub is_array: bool,
}

impl PostgresType {
    /// Reads the name of a type; `None` if the text is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut reader = Reader { rest: text.trim_matches(' ') };
        let mut read = match reader.word() {
            Some(read) => read,
            None => reader.named()?,
        };
        read.parameters = reader.parameters()?;
        if read.is_word {
            read.rest = reader.rest(&read.name)?;
            if read.parameters.is_empty() {
                // `interval day to second(3)`
                read.parameters = reader.parameters()?;
            }
        }
        while let Some(rest) = reader.rest.strip_prefix("[]") {
            // The number of dimensions is not kept by Postgres.
            (read.is_array, reader.rest) = (true, rest);
        }
        reader.rest.is_empty().then_some(read)
    }

    /// The name in lower case without schema, parameters and quotes; `text[]` for an array of `text`.
    pub fn plain(&self) -> String {
        let words = [self.name.as_str(), self.rest.as_str()];
        let is_fields = self.name == "interval";
        let mut plain = if self.rest.is_empty() || is_fields { words[0].to_owned() } else { words.join(" ") };
        if self.is_array {
            plain.push_str("[]");
        }
        plain
    }
}

impl fmt::Display for PostgresType {
    /// The name as SQL: what is no word of the grammar is quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quote(schema))?;
        }
        match self.is_word {
            true => f.write_str(&self.name)?,
            false => f.write_str(&quote(&self.name))?,
        }
        let parameters = match self.parameters.is_empty() {
            true => String::new(),
            false => format!("({})", self.parameters.join(",")),
        };
        match (self.rest.is_empty(), self.name == "interval") {
            (true, _) => f.write_str(&parameters)?,
            (false, true) => write!(f, " {}{parameters}", self.rest)?,
            (false, false) => write!(f, "{parameters} {}", self.rest)?,
        }
        f.write_str(if self.is_array { "[]" } else { "" })
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    /// Takes these words, which no letter or digit follows.
    fn take(&mut self, words: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(words) else { return false };
        let ends = !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '"'));
        if ends {
            self.rest = rest.trim_start_matches(' ');
        }
        ends
    }

    /// A type that is a word of the grammar.
    fn word(&mut self) -> Option<PostgresType> {
        let name = WORDS.iter().find(|words| self.take(words))?;
        Some(PostgresType { is_word: true, ..named(None, (*name).to_owned()) })
    }

    /// A type by its name, with a schema or without.
    fn named(&mut self) -> Option<PostgresType> {
        let first = self.name()?;
        let read = match self.rest.strip_prefix('.') {
            Some(rest) => {
                self.rest = rest;
                named(Some(first), self.name()?)
            }
            None => named(None, first),
        };
        self.rest = self.rest.trim_start_matches(' ');
        Some(read)
    }

    fn name(&mut self) -> Option<String> {
        let name = match self.rest.strip_prefix('"') {
            Some(rest) => {
                let (name, rest) = quoted(rest)?;
                self.rest = rest;
                name
            }
            None => {
                let end = self.rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
                let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                self.rest = rest;
                name.to_owned()
            }
        };
        let is_name = !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains('\0');
        (is_name && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
    }

    /// What stands in parentheses; nothing where there are none.
    fn parameters(&mut self) -> Option<Vec<String>> {
        let Some(rest) = self.rest.strip_prefix('(') else { return Some(Vec::new()) };
        let (inner, rest) = rest.split_once(')')?;
        self.rest = rest.trim_start_matches(' ');
        let is_number = |text: &str| {
            let digits = text.strip_prefix('-').unwrap_or(text);
            (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        };
        let is_word = |text: &str| {
            text.len() <= LONGEST_NAME
                && text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        let parameter = |text: &str| {
            let text = text.trim_matches(' ');
            (is_number(text) || is_word(text)).then(|| text.to_owned())
        };
        let parameters: Vec<String> = inner.split(',').map(parameter).collect::<Option<_>>()?;
        (parameters.len() <= 4).then_some(parameters)
    }

    /// What follows the name of such a type.
    fn rest(&mut self, name: &str) -> Option<String> {
        let known: &[&str] = match name {
            "interval" => &FIELDS,
            "time" | "timestamp" => &["with time zone", "without time zone"],
            _ => &[],
        };
        // The longest first: `day to second` begins with `day`.
        let found = known.iter().rev().find(|words| self.take(words));
        Some(match (found, name) {
            (Some(words), _) => (*words).to_owned(),
            (None, "time" | "timestamp") => "without time zone".to_owned(),
            (None, _) => String::new(),
        })
    }
}

fn named(schema: Option<String>, name: String) -> PostgresType {
    PostgresType { schema, name, is_word: false, parameters: Vec::new(), rest: String::new(), is_array: false }
}

/// A name in quotes of which the first was taken, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, after)),
        }
    }
}

/// The type of the SQLite column that keeps the values of a Postgres column of this type exactly. What travels as its text gets the
/// affinity of TEXT, which changes no text; the first word says what it means.
///
/// Of a type that is not Postgres' own only the meaning is known.
pub fn in_sqlite(declared: &str, logical: &LogicalType) -> &'static str {
    let Some(read) = PostgresType::parse(declared) else { return by_meaning(logical) };
    let is_own = read.schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
    match read.plain().as_str() {
        ANY => "",
        _ if !is_own => by_meaning(logical),
        "bigint" | "integer" | "smallint" | "int8" | "int4" | "int2" => "INTEGER",
        "boolean" | "bool" => "BOOLEAN",
        "double precision" | "real" | "float8" | "float4" => "REAL",
        "bytea" => "BLOB",
        "numeric" => "NUMERIC TEXT",
        "uuid" => "UUID TEXT",
        "date" => "DATE TEXT",
        "time without time zone" => "TIME TEXT",
        "timestamp without time zone" => "TIMESTAMP TEXT",
        "timestamp with time zone" => "TIMESTAMPTZ TEXT",
        "json" | "jsonb" => "JSON TEXT",
        _ if read.is_array || OTHERS.contains(&read.name.as_str()) => "TEXT",
        _ => by_meaning(logical),
    }
}

/// What a default of Postgres' is to a column that means this, as `pg_get_expr` writes it; `None` if it is anything but a literal of
/// its kind or the current date or time. The answer as [SQL that every database reads](DefaultValue::to_sql) gives the same answer.
pub fn default_value(text: &str, logical: &LogicalType) -> Option<DefaultValue> {
    if let Some((_, value)) = TEXTS_OF_NOW.iter().find(|(known, _)| *known == text) {
        return Some(value.clone());
    }
    let value = DefaultValue::parse(text)?;
    let DefaultValue::Literal(Value::Text(literal)) = &value else { return Some(value) };
    let literal = std::str::from_utf8(literal).ok()?;
    let read = match logical {
        // A number that is negative, or of another type than its digits say, stands in quotes.
        LogicalType::Integer | LogicalType::Real => DefaultValue::parse(literal)
            .filter(|value| matches!(value, DefaultValue::Literal(Value::Integer(_) | Value::Real(_))))?,
        LogicalType::Boolean => match literal {
            "t" | "true" => DefaultValue::Literal(Value::Integer(1)),
            "f" | "false" => DefaultValue::Literal(Value::Integer(0)),
            _ => return None,
        },
        LogicalType::Blob => DefaultValue::parse(&format!("x'{}'", literal.strip_prefix("\\x")?))?,
        _ => return Some(value),
    };
    Some(read)
}

/// What gives the current time as the text that it is in SQLite.
pub const TIMESTAMP_TEXT: &str = "to_char((CURRENT_TIMESTAMP AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD HH24:MI:SS'::text)";
/// The same for the date.
pub const DATE_TEXT: &str = "to_char((CURRENT_TIMESTAMP AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD'::text)";
/// The same for the time of day.
pub const TIME_TEXT: &str = "to_char((CURRENT_TIMESTAMP AT TIME ZONE 'UTC'::text), 'HH24:MI:SS'::text)";

/// How Postgres writes these down: before version 14 otherwise.
const TEXTS_OF_NOW: [(&str, DefaultValue); 6] = [
    (TIMESTAMP_TEXT, DefaultValue::CurrentTimestamp),
    (DATE_TEXT, DefaultValue::CurrentDate),
    (TIME_TEXT, DefaultValue::CurrentTime),
    ("to_char(timezone('UTC'::text, CURRENT_TIMESTAMP), 'YYYY-MM-DD HH24:MI:SS'::text)", DefaultValue::CurrentTimestamp),
    ("to_char(timezone('UTC'::text, CURRENT_TIMESTAMP), 'YYYY-MM-DD'::text)", DefaultValue::CurrentDate),
    ("to_char(timezone('UTC'::text, CURRENT_TIMESTAMP), 'HH24:MI:SS'::text)", DefaultValue::CurrentTime),
];

/// Types of Postgres' own that travel as their text and mean nothing that SQLite has a word for.
const OTHERS: [&str; 36] = [
    "text",
    "character varying",
    "character",
    "bpchar",
    "varchar",
    "char",
    "name",
    "bit",
    "bit varying",
    "interval",
    "time",
    "money",
    "oid",
    "xid",
    "xid8",
    "cid",
    "tid",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "tsvector",
    "tsquery",
    "xml",
    "jsonpath",
    "pg_lsn",
    "pg_snapshot",
    "txid_snapshot",
    "regclass",
];

fn by_meaning(logical: &LogicalType) -> &'static str {
    match logical {
        LogicalType::Integer => "INTEGER",
        LogicalType::Boolean => "BOOLEAN",
        LogicalType::Real => "REAL",
        LogicalType::Blob => "BLOB",
        LogicalType::Any => "",
        LogicalType::Numeric => "NUMERIC TEXT",
        LogicalType::Uuid => "UUID TEXT",
        LogicalType::Date => "DATE TEXT",
        LogicalType::Time => "TIME TEXT",
        LogicalType::Timestamp => "TIMESTAMP TEXT",
        LogicalType::TimestampTz => "TIMESTAMPTZ TEXT",
        LogicalType::Json => "JSON TEXT",
        LogicalType::Text | LogicalType::Other(_) => "TEXT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_are_written_as_they_are_read() {
        for (text, sql) in [
            ("bigint", "bigint"),
            ("text", "\"text\""),
            ("character varying(20)", "character varying(20)"),
            ("character varying", "character varying"),
            ("numeric(10,2)", "numeric(10,2)"),
            ("numeric(3,-2)", "numeric(3,-2)"),
            ("numeric( 10 , 2 )[]", "numeric(10,2)[]"),
            ("timestamp(3) with time zone", "timestamp(3) with time zone"),
            ("timestamp", "timestamp without time zone"),
            ("time(0) without time zone[]", "time(0) without time zone[]"),
            ("double precision", "double precision"),
            ("bit varying(5)", "bit varying(5)"),
            ("bit(1)[][]", "bit(1)[]"),
            ("interval", "interval"),
            ("interval(3)", "interval(3)"),
            ("interval day to second(3)", "interval day to second(3)"),
            ("interval day", "interval day"),
            ("interval year to month", "interval year to month"),
            ("\"char\"", "\"char\""),
            ("\"My \"\"type\"\"\"[]", "\"My \"\"type\"\"\"[]"),
            ("audit.mood", "\"audit\".\"mood\""),
            ("\"A.b\".\"c d\"(3)", "\"A.b\".\"c d\"(3)"),
            ("geometry(Point,4326)", "\"geometry\"(Point,4326)"),
            ("integer_list", "\"integer_list\""),
            ("bits", "\"bits\""),
            ("int4range", "\"int4range\""),
        ] {
            let read = PostgresType::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(read.to_string(), sql);
            assert_eq!(PostgresType::parse(sql), Some(read), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_of_a_type_is_none() {
        let code = [
            "",
            " ",
            "text CHECK (f())",
            "text; DROP TABLE t",
            "text) --",
            "text DEFAULT 1",
            "numeric(1",
            "numeric(1,2,3,4,5)",
            "numeric(f())",
            "numeric('x')",
            "numeric()",
            "numeric(1.5)",
            "bigint NOT NULL",
            "integer[",
            "integer[3]",
            "integer[] x",
            "\"unclosed",
            "\"\"",
            "a.b.c",
            "a.",
            ".a",
            "5a",
            "Größe",
            "UPPER",
            "a\0b",
            "setof text",
            "interval day to fortnight",
            "timestamp with time zone x",
            "time with zone",
        ];
        for code in code {
            assert_eq!(PostgresType::parse(code), None, "{code}");
        }
        let long = "x".repeat(64);
        assert!(PostgresType::parse(&long[..63]).is_some() && PostgresType::parse(&long).is_none());
        assert_eq!(PostgresType::parse(&format!("{}bigint", " ".repeat(LONGEST))), None);
    }

    #[test]
    fn plain_names_say_what_decides() {
        let plain = |text: &str| PostgresType::parse(text).unwrap().plain();
        assert_eq!(plain("timestamp(3) with time zone"), "timestamp with time zone");
        assert_eq!(plain("numeric(10,2)[]"), "numeric[]");
        assert_eq!(plain("interval day to second(3)"), "interval");
        assert_eq!(plain("public.rowferry_any"), ANY);
    }

    #[test]
    fn defaults_are_read_as_their_column_means_them() {
        let literal = |value: Value| Some(DefaultValue::Literal(value));
        for (text, logical, expected) in [
            ("'-5'::integer", LogicalType::Integer, literal((-5).into())),
            ("0", LogicalType::Integer, literal(0.into())),
            ("'1.5'::double precision", LogicalType::Real, literal(1.5.into())),
            ("'NaN'::double precision", LogicalType::Real, None),
            ("true", LogicalType::Boolean, literal(1.into())),
            ("'-5'::text", LogicalType::Text, literal("-5".into())),
            ("'{}'::text[]", LogicalType::Other("text[]".into()), literal("{}".into())),
            ("'1.50'::numeric", LogicalType::Numeric, literal("1.50".into())),
            ("1.50", LogicalType::Numeric, literal(1.5.into())),
            ("'\\x00ff'::bytea", LogicalType::Blob, literal(Value::Blob(vec![0, 255]))),
            ("'a\\000'::bytea", LogicalType::Blob, None),
            ("now()", LogicalType::TimestampTz, Some(DefaultValue::CurrentTimestamp)),
            (TIMESTAMP_TEXT, LogicalType::Text, Some(DefaultValue::CurrentTimestamp)),
            ("nextval('s'::regclass)", LogicalType::Integer, None),
            ("gen_random_uuid()", LogicalType::Uuid, None),
            ("'a'", LogicalType::Any, literal("a".into())),
        ] {
            let found = default_value(text, &logical);
            assert_eq!(found, expected, "{text}");
            if let Some(found) = found {
                assert_eq!(default_value(&found.to_sql(), &logical), expected, "{text}");
            }
        }
    }

    #[test]
    fn sqlite_gets_types_that_keep_what_travels() {
        let other = || LogicalType::Other(String::new());
        for (declared, logical, expected) in [
            ("bigint", LogicalType::Integer, "INTEGER"),
            ("integer[]", other(), "TEXT"),
            ("bytea[]", LogicalType::Json, "TEXT"),
            ("numeric(10,2)", LogicalType::Numeric, "NUMERIC TEXT"),
            ("boolean", LogicalType::Boolean, "BOOLEAN"),
            ("bytea", LogicalType::Blob, "BLOB"),
            ("oid", LogicalType::Integer, "TEXT"),
            ("interval day", other(), "TEXT"),
            ("point", other(), "TEXT"),
            ("int8range", other(), "TEXT"),
            // Were it TIME, nothing would tell it from the type without a zone.
            ("time with time zone", LogicalType::Time, "TEXT"),
            ("timestamp(3) with time zone", LogicalType::TimestampTz, "TIMESTAMPTZ TEXT"),
            ("rowferry_any", LogicalType::Any, ""),
            ("public.rowferry_any", LogicalType::Any, ""),
            // Domains and enums of the sender's.
            ("positive", LogicalType::Integer, "INTEGER"),
            ("audit.mood", other(), "TEXT"),
            ("audit.uuid", LogicalType::Integer, "INTEGER"),
            ("pg_catalog.uuid", LogicalType::Uuid, "UUID TEXT"),
            ("no type", LogicalType::Blob, "BLOB"),
        ] {
            assert_eq!(in_sqlite(declared, &logical), expected, "{declared}");
        }
    }
}
