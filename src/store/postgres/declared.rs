//! Which type a column of a table that is made here gets, by what its description says.
//!
//! `docs/guide/postgres-types.md` has it as one table.

use crate::domain::postgres_type::{self, PostgresType};
use crate::domain::schema::{Column, LogicalType, Numbering, Origin, TableSchema};

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One that every PostgreSQL has, as SQL.
    Own(String),
    /// Rowferry's domain for values of every class.
    Any,
    /// The sender's own type, if it is here; else one that keeps its values.
    Named(PostgresType, &'static str),
    /// What the description says is no name of a type: one that keeps its values.
    Unnamed(&'static str),
}

/// Decides on the type of a column. `exact` says that the sender is rowferry.
pub(super) fn wanted(table: &TableSchema, column: &Column, exact: bool) -> Wanted {
    match (exact, table.origin) {
        (true, Origin::Sqlite) => from_sqlite(&column.declared_type),
        (true, Origin::Postgres) => match PostgresType::parse(&column.declared_type) {
            Some(named) if named.name == postgres_type::ANY && !named.is_array => Wanted::Any,
            Some(named) => Wanted::Named(named, by_meaning(&column.logical)),
            None => Wanted::Unnamed(by_meaning(&column.logical)),
        },
        (true, Origin::Other) => match &column.logical {
            LogicalType::Any => Wanted::Any,
            logical => own(by_meaning(logical)),
        },
        (false, _) => from_phoenixkit(column),
    }
}

/// Whether a column numbers itself.
pub(super) fn numbering(table: &TableSchema, column: &Column, exact: bool) -> Option<Numbering> {
    let is_key = table.names.is_among(&column.name, &table.primary_key);
    let is_sequence = || {
        let default = column.default.as_deref().unwrap_or_default();
        let takes_null = column.nullable && !is_key;
        default.trim_start().starts_with("nextval(") && column.logical == LogicalType::Integer && !takes_null
    };
    match (exact, table.origin) {
        (true, Origin::Sqlite) => (table.rowid_alias && is_key).then_some(Numbering::ByDefault),
        _ => column.numbering.or_else(|| is_sequence().then_some(Numbering::ByDefault)),
    }
}

fn own(name: impl Into<String>) -> Wanted {
    Wanted::Own(name.into())
}

/// What a SQLite column prefers to store: <https://www.sqlite.org/datatype3.html>, 3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

fn affinity(declared: &str) -> Affinity {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    // In the order in which the rules apply.
    if has(&["INT"]) {
        Affinity::Integer
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if declared.is_empty() || has(&["BLOB"]) {
        Affinity::Blob
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// The type for a SQLite column. Lengths and digits are left out: SQLite keeps to none.
fn from_sqlite(declared: &str) -> Wanted {
    let declared = declared.trim();
    if declared.is_empty() || declared.eq_ignore_ascii_case("ANY") {
        return Wanted::Any;
    }
    if let Some((_, type_of)) = TEXTS.iter().find(|(text, _)| text.eq_ignore_ascii_case(declared)) {
        return own(*type_of);
    }
    match (affinity(declared), LogicalType::from_declared(declared)) {
        (Affinity::Text, _) => own("text"),
        (_, LogicalType::Boolean) => own("boolean"),
        // INTERVAL and POINT have INT in their names. What is in them nobody knows.
        (_, LogicalType::Any | LogicalType::Other(_)) => Wanted::Any,
        (Affinity::Integer, _) | (Affinity::Numeric, LogicalType::Integer) => own("bigint"),
        (Affinity::Real, _) => own("double precision"),
        (Affinity::Blob, _) | (Affinity::Numeric, LogicalType::Blob) => own("bytea"),
        (Affinity::Numeric, LogicalType::Numeric) => own("numeric"),
        (Affinity::Numeric, _) => own("text"),
    }
}

/// Types that rowferry gave to SQLite columns for values of PostgreSQL and PhoenixKit.
const TEXTS: [(&str, &str); 7] = [
    ("NUMERIC TEXT", "numeric"),
    ("UUID TEXT", "uuid"),
    ("DATE TEXT", "date"),
    ("TIME TEXT", "time without time zone"),
    ("TIMESTAMP TEXT", "timestamp without time zone"),
    ("TIMESTAMPTZ TEXT", "timestamp with time zone"),
    // Its text stays as it is: jsonb would change it.
    ("JSON TEXT", "json"),
];

/// The type for a column of PhoenixKit's, as the original has it.
fn from_phoenixkit(column: &Column) -> Wanted {
    let declared = PostgresType::parse(&column.declared_type);
    let is = |name: &str| declared.as_ref().is_some_and(|declared| declared.name == name && !declared.is_array);
    match &column.logical {
        LogicalType::Integer if is("smallint") => own("smallint"),
        LogicalType::Integer if is("integer") => own("integer"),
        LogicalType::Text if is("character varying") => match column.max_length {
            Some(length @ 1..=10_485_760) => own(format!("character varying({length})")),
            _ => own("character varying"),
        },
        LogicalType::Numeric => match (column.precision, column.scale) {
            (Some(precision @ 1..=1_000), Some(scale)) if scale <= precision => own(format!("numeric({precision},{scale})")),
            _ => own("numeric"),
        },
        LogicalType::Json if is("json") => own("json"),
        LogicalType::Any => Wanted::Any,
        logical => own(by_meaning(logical)),
    }
}

/// A type that keeps values which mean this.
fn by_meaning(logical: &LogicalType) -> &'static str {
    match logical {
        LogicalType::Boolean => "boolean",
        LogicalType::Integer => "bigint",
        LogicalType::Real => "double precision",
        LogicalType::Numeric => "numeric",
        LogicalType::Blob => "bytea",
        LogicalType::Uuid => "uuid",
        LogicalType::Date => "date",
        LogicalType::Time => "time without time zone",
        LogicalType::Timestamp => "timestamp without time zone",
        LogicalType::TimestampTz => "timestamp with time zone",
        LogicalType::Json => "jsonb",
        LogicalType::Text | LogicalType::Any | LogicalType::Other(_) => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(declared: &str, logical: LogicalType) -> Column {
        Column { name: "c".into(), declared_type: declared.into(), logical, nullable: true, ..Column::default() }
    }

    fn of(origin: Origin) -> TableSchema {
        TableSchema { origin, ..TableSchema::default() }
    }

    #[test]
    fn sqlites_types() {
        for (declared, expected) in [
            ("INTEGER", "bigint"),
            ("int", "bigint"),
            ("TINYINT(1)", "bigint"),
            ("UNSIGNED BIG INT", "bigint"),
            ("BIGSERIAL", "bigint"),
            ("REAL", "double precision"),
            ("FLOAT", "double precision"),
            ("DOUBLE PRECISION", "double precision"),
            ("TEXT", "text"),
            ("VARCHAR(20)", "text"),
            ("CLOB", "text"),
            ("STRING", "text"),
            ("BLOB", "bytea"),
            ("VARBINARY(16)", "bytea"),
            ("NUMERIC", "numeric"),
            ("DECIMAL(10,2)", "numeric"),
            ("BOOLEAN", "boolean"),
            ("bool", "boolean"),
            ("DATE", "text"),
            ("DATETIME", "text"),
            ("TIMESTAMP", "text"),
            ("TIME", "text"),
            ("JSON", "text"),
            ("UUID", "text"),
            ("NUMERIC TEXT", "numeric"),
            ("json text", "json"),
            ("UUID TEXT", "uuid"),
            ("TIMESTAMPTZ TEXT", "timestamp with time zone"),
        ] {
            assert_eq!(from_sqlite(declared), own(expected), "{declared}");
        }
        for declared in ["", " ", "ANY", "any", "INTERVAL", "POINT", "MONEY", "x"] {
            assert_eq!(from_sqlite(declared), Wanted::Any, "{declared}");
        }
    }

    /// Each type that a Postgres column becomes in SQLite becomes one here that takes its values.
    #[test]
    fn sqlites_rules_are_the_same_everywhere() {
        #[cfg(feature = "sqlite")]
        for declared in ["", "INTEGER", "CHARINT", "TEXT", "BLOB", "REAL", "FLOATING POINT", "BOOLEAN", "NUMERIC", "ГОД"]
        {
            let theirs = crate::store::sqlite::affinity::Affinity::of(declared, false);
            assert_eq!(format!("{:?}", affinity(declared)), format!("{theirs:?}"), "{declared}");
        }
        for (_, type_of) in TEXTS {
            let in_sqlite = postgres_type::in_sqlite(type_of, &LogicalType::Text);
            assert_eq!(from_sqlite(in_sqlite), own(type_of));
        }
    }

    #[test]
    fn postgres_types_are_taken_by_their_name() {
        let wanted = |declared: &str, logical| wanted(&of(Origin::Postgres), &column(declared, logical), true);
        let named = |declared: &str, instead| Wanted::Named(PostgresType::parse(declared).unwrap(), instead);
        assert_eq!(wanted("numeric(10,2)", LogicalType::Numeric), named("numeric(10,2)", "numeric"));
        assert_eq!(wanted("mood[]", LogicalType::Other("mood[]".into())), named("mood[]", "text"));
        assert_eq!(wanted("positive", LogicalType::Integer), named("positive", "bigint"));
        assert_eq!(wanted("public.rowferry_any", LogicalType::Any), Wanted::Any);
        assert_eq!(wanted("text CHECK (f())", LogicalType::Blob), Wanted::Unnamed("bytea"));
    }

    #[test]
    fn phoenixkits_types_are_those_of_the_original() {
        let mut title = column("character varying", LogicalType::Text);
        title.max_length = Some(80);
        let mut price = column("numeric", LogicalType::Numeric);
        (price.precision, price.scale) = (Some(10), Some(2));
        for (column, expected) in [
            (title, "character varying(80)"),
            (price, "numeric(10,2)"),
            (column("integer", LogicalType::Integer), "integer"),
            (column("bigint", LogicalType::Integer), "bigint"),
            (column("", LogicalType::Integer), "bigint"),
            // A number of JSON is a double.
            (column("real", LogicalType::Real), "double precision"),
            (column("jsonb", LogicalType::Json), "jsonb"),
            (column("ARRAY", LogicalType::Json), "jsonb"),
            (column("uuid", LogicalType::Uuid), "uuid"),
            (column("timestamp without time zone", LogicalType::Timestamp), "timestamp without time zone"),
            (column("USER-DEFINED", LogicalType::Other("USER-DEFINED".into())), "text"),
            (column("character varying", LogicalType::Text), "character varying"),
            (column("hostile CHECK (1)", LogicalType::Text), "text"),
        ] {
            assert_eq!(wanted(&of(Origin::Sqlite), &column, false), own(expected), "{}", column.declared_type);
        }
    }

    #[test]
    fn columns_number_themselves_as_at_the_sender() {
        let mut id = column("bigint", LogicalType::Integer);
        (id.nullable, id.default) = (false, Some("nextval('t_id_seq'::regclass)".into()));
        assert_eq!(numbering(&of(Origin::Sqlite), &id, false), Some(Numbering::ByDefault));
        assert_eq!(numbering(&of(Origin::Postgres), &id, true), Some(Numbering::ByDefault));
        assert_eq!(numbering(&of(Origin::Sqlite), &id, true), None);
        id.nullable = true;
        assert_eq!(numbering(&of(Origin::Postgres), &id, true), None, "a number of its own would forbid NULL");
        id.numbering = Some(Numbering::Always);
        assert_eq!(numbering(&of(Origin::Postgres), &id, true), Some(Numbering::Always));
        let table = TableSchema { rowid_alias: true, primary_key: vec!["C".into()], ..of(Origin::Sqlite) };
        assert_eq!(numbering(&table, &column("INTEGER", LogicalType::Integer), true), Some(Numbering::ByDefault));
    }
}
