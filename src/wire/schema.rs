//! A table's structure as JSON, in the form of PhoenixKit's `response:schema`.
//!
//! PhoenixKit makes missing tables from the type names that it is told, so those are names of Postgres that work without a
//! length: never `character varying` (it becomes 255 there), never an array. A `uuid` is declared `text`, because its socket
//! cannot carry most uuids into a uuid column; a SQLite column without a type is declared `jsonb`, which takes numbers and
//! strings as what they are. Towards rowferry the same answer has fields beside these that say all that the database knows.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::dialect::{Dialect, announced};
use super::extras::{Extras, read_on_conflict, refused, said};
use super::{NAME_BYTES, excerpt};
use crate::domain::names::NameRules;
use crate::domain::postgres_type::in_sqlite;
use crate::domain::schema::{Column, DefaultValue, IndexPart, LogicalType, Numbering, Origin, TableSchema};
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

impl TableSchema {
    /// The structure as JSON, as one rowferry site describes it to another.
    pub fn to_json(&self) -> String {
        encode_schema(self, Dialect::Rowferry).get().to_owned()
    }
}

/// Writes a table's structure for this reader.
pub fn encode_schema(table: &TableSchema, dialect: Dialect) -> Box<RawValue> {
    let exact = dialect == Dialect::Rowferry;
    let wire = WireTable {
        columns: table.columns.iter().map(|column| wire_column(table, column, exact)).collect(),
        primary_key: table.primary_key.clone(),
        rowferry: exact.then(|| Extras::of(table)),
        schema: Some("public".to_owned()),
        table: table.name.clone(),
    };
    serde_json::value::to_raw_value(&wire).expect("structures of strings and numbers are always JSON")
}

/// Reads a table's structure as a peer describes it. What SQLite knows beside PhoenixKit's fields is there only if the
/// peer is rowferry; otherwise the declared types are the peer's own type names.
///
/// # Errors
/// [`ErrorKind::Protocol`] for anything that is no such description: columns that do not exist, names twice (SQLite does
/// not tell ASCII letters by case, so neither may the columns of its tables), names with a NUL in them.
/// [`ErrorKind::TooLarge`] for a description, columns, or names in keys and indexes beyond the [limits](Limits), or names that are too
/// long.
///
/// A column that a key, an index or a foreign key names in other letters is named there as it is among the columns.
pub fn decode_schema(json: &str, limits: &Limits) -> Result<TableSchema> {
    within_bytes(json.len(), limits)?;
    let wire: WireTable = serde_json::from_str(json).map_err(|error| {
        let why = excerpt(&error.to_string());
        Error::new(ErrorKind::Protocol, format!("the other site's description of a table cannot be read: {why}"))
    })?;
    let name = excerpt(&wire.table);
    let table = table_from(wire).and_then(|mut table| {
        check(&table, limits)?;
        name_as_columns(&mut table);
        Ok(table)
    });
    table.map_err(|error| error.while_doing(format!("the other site's description of table {name:?}")))
}

#[derive(Serialize, Deserialize)]
struct WireTable {
    columns: Vec<WireColumn>,
    #[serde(default)]
    primary_key: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rowferry: Option<Extras>,
    #[serde(default)]
    schema: Option<String>,
    table: String,
}

#[derive(Serialize, Deserialize)]
struct WireColumn {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    declared_type: Option<String>,
    #[serde(default)]
    default: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generated: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logical: Option<String>,
    #[serde(default)]
    max_length: Option<i64>,
    name: String,
    /// Only where NOT NULL says what becomes of a row that breaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_null_on_conflict: Option<String>,
    nullable: bool,
    /// Of a column of Postgres that numbers itself: `always` or `by_default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    numbering: Option<String>,
    /// The type as Postgres declares it: in `declared_type` is then what keeps its values in SQLite, for a peer of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postgres_type: Option<String>,
    #[serde(default)]
    precision: Option<i64>,
    #[serde(default)]
    primary_key: bool,
    #[serde(default)]
    scale: Option<i64>,
    #[serde(rename = "type")]
    type_name: String,
}

fn wire_column(table: &TableSchema, column: &Column, exact: bool) -> WireColumn {
    let primary_key = table.names.is_among(&column.name, &table.primary_key);
    let type_name = postgres_name(&column.logical).to_owned();
    let numbers = |a: Option<u32>| a.map(i64::from);
    let is_postgres = exact && table.origin == Origin::Postgres;
    // SQLite enforces neither lengths nor digits, so a peer that did would refuse or round what is stored: it is not told.
    let (max_length, precision, scale) = match (exact, type_name.as_str()) {
        (true, _) => (numbers(column.max_length), numbers(column.precision), numbers(column.scale)),
        (false, "bigint") => (None, Some(64), Some(0)),
        (false, "double precision") => (None, Some(53), None),
        (false, _) => (None, None, None),
    };
    WireColumn {
        collation: if exact { column.collation.clone() } else { None },
        declared_type: exact.then(|| match is_postgres {
            true => in_sqlite(&column.declared_type, &column.logical).to_owned(),
            false => column.declared_type.clone(),
        }),
        default: if exact { column.default.clone() } else { portable_default(column) },
        generated: exact.then_some(column.generated),
        logical: exact.then(|| logical_name(&column.logical)),
        max_length,
        name: column.name.clone(),
        not_null_on_conflict: exact.then(|| said(column.not_null_on_conflict)).flatten(),
        // SQLite lets NULL into most primary keys; Postgres has no such keys.
        nullable: column.nullable && (exact || !primary_key),
        numbering: column.numbering.filter(|_| exact).map(|numbering| numbering_name(numbering).to_owned()),
        postgres_type: is_postgres.then(|| column.declared_type.clone()),
        precision,
        primary_key,
        scale,
        type_name,
    }
}

fn table_from(wire: WireTable) -> Result<TableSchema> {
    let origin = wire.rowferry.as_ref().map(Extras::origin).unwrap_or_default();
    let mut table = TableSchema {
        name: wire.table,
        // Names that are two in Postgres are two.
        names: if origin == Origin::Postgres { NameRules::Exact } else { NameRules::default() },
        columns: wire.columns.into_iter().map(|column| column_from(column, origin)).collect::<Result<_>>()?,
        primary_key: wire.primary_key,
        ..TableSchema::default()
    };
    if let Some(extras) = wire.rowferry {
        extras.tell(&mut table)?;
    }
    Ok(table)
}

fn column_from(wire: WireColumn, origin: Origin) -> Result<Column> {
    // Numbers that make no sense as a length are none.
    let number = |a: Option<i64>| a.and_then(|a| u32::try_from(a).ok());
    Ok(Column {
        logical: match &wire.logical {
            Some(name) => logical_from_name(name),
            None => LogicalType::from_postgres(&wire.type_name),
        },
        declared_type: wire
            .postgres_type
            .filter(|_| origin == Origin::Postgres)
            .or(wire.declared_type)
            .unwrap_or(wire.type_name),
        name: wire.name,
        nullable: wire.nullable,
        not_null_on_conflict: read_on_conflict(wire.not_null_on_conflict.as_deref())?,
        default: wire.default,
        generated: wire.generated.unwrap_or(false),
        numbering: wire.numbering.as_deref().and_then(numbering_from_name),
        collation: wire.collation,
        max_length: number(wire.max_length),
        precision: number(wire.precision),
        scale: number(wire.scale),
    })
}

fn numbering_name(numbering: Numbering) -> &'static str {
    match numbering {
        Numbering::Always => "always",
        Numbering::ByDefault => "by_default",
    }
}

fn numbering_from_name(name: &str) -> Option<Numbering> {
    [Numbering::Always, Numbering::ByDefault].into_iter().find(|known| numbering_name(*known) == name)
}

/// An error if a description of so many bytes is too large to be read.
pub(super) fn within_bytes(bytes: usize, limits: &Limits) -> Result<()> {
    if bytes <= limits.wire.schema_bytes {
        return Ok(());
    }
    let why = format!("the other site's description of a table has {bytes} bytes, more than {}", limits.wire.schema_bytes);
    Err(Error::new(ErrorKind::TooLarge, why).with_hint("Leave the table out, or raise `Limits::wire.schema_bytes`."))
}

/// Names the columns of a table everywhere as they are named among its columns. What is no column stays.
fn name_as_columns(table: &mut TableSchema) {
    let names = table.names;
    let column = |column: &Column| (names.fold(&column.name).into_owned(), column.name.clone());
    let columns: HashMap<String, String> = table.columns.iter().map(column).collect();
    let set = |name: &mut String| {
        if let Some(column) = columns.get(&*names.fold(name)).filter(|column| *column != name) {
            name.clone_from(column);
        }
    };
    table.primary_key.iter_mut().for_each(set);
    for unique in &mut table.unique {
        unique.columns.iter_mut().for_each(set);
        unique.parts.iter_mut().for_each(|part| set(&mut part.column));
    }
    table.indexes.iter_mut().flat_map(|index| &mut index.parts).for_each(|part| set(&mut part.column));
    for key in &mut table.foreign_keys {
        key.columns.iter_mut().for_each(set);
        if names.same(&key.parent, &table.name) {
            key.parent_columns.iter_mut().for_each(set);
        }
    }
}

/// What must hold before anyone looks names up in the structure.
pub(super) fn check(table: &TableSchema, limits: &Limits) -> Result<()> {
    let too_large = |why: String| Error::new(ErrorKind::TooLarge, why);
    if table.columns.is_empty() {
        return Err(refused("it has no columns"));
    }
    let lists =
        [table.columns.len(), table.unique.len(), table.foreign_keys.len(), table.indexes.len(), table.other_indexes.len()];
    let parts = table.unique.iter().map(|set| &set.parts).chain(table.indexes.iter().map(|index| &index.parts));
    if lists.into_iter().chain(parts.map(Vec::len)).any(|length| length > limits.wire.columns) {
        return Err(too_large(format!("it has more than {} columns, keys or indexes", limits.wire.columns)));
    }
    if table.key_names() > limits.wire.key_names {
        let most = limits.wire.key_names;
        return Err(too_large(format!("its keys and indexes have more than {most} columns together"))
            .with_hint("Leave the table out, or raise `Limits::wire.key_names`."));
    }
    let name = |name: &str| match name {
        _ if name.len() > NAME_BYTES => Err(too_large(format!("a name is longer than {NAME_BYTES} bytes"))),
        _ if name.contains('\0') => Err(refused("a name has a NUL in it")),
        _ => Ok(()),
    };
    name(&table.name)?;
    let mut known = HashSet::new();
    for column in &table.columns {
        name(&column.name)?;
        name(&column.declared_type)?;
        name(column.collation.as_deref().unwrap_or_default())?;
        if !known.insert(table.names.fold(&column.name)) {
            let counting = if table.names == NameRules::Exact { "" } else { ", not counting case" };
            let why = format!("it has more than one column {:?}{counting}", excerpt(&column.name));
            return Err(refused(why));
        }
    }
    let set = |names: &mut dyn Iterator<Item = &String>| {
        let mut seen = HashSet::new();
        for name in names {
            let folded = table.names.fold(name);
            if !known.contains(&folded) || !seen.insert(folded) {
                return Err(refused(format!("a key names {:?}, which is not a column or is named twice", excerpt(name))));
            }
        }
        Ok(())
    };
    set(&mut table.primary_key.iter())?;
    if !table.key_collations.is_empty() && table.key_collations.len() != table.primary_key.len() {
        return Err(refused("its key has not as many collations as columns"));
    }
    table.key_collations.iter().flatten().try_for_each(|collation| name(collation))?;
    let is_column = |column: &str| match known.contains(&table.names.fold(column)) {
        true => Ok(()),
        false => Err(refused(format!("an index or foreign key names {:?}, which is not a column", excerpt(column)))),
    };
    // SQLite lets a column stand in an index or a foreign key several times.
    let parts = |parts: &[IndexPart]| {
        parts.iter().try_for_each(|part| {
            name(part.collation.as_deref().unwrap_or_default())?;
            is_column(&part.column)
        })
    };
    for unique in &table.unique {
        set(&mut unique.columns.iter())?;
        name(unique.index.as_deref().unwrap_or_default())?;
        parts(&unique.parts)?;
    }
    for index in &table.indexes {
        name(&index.name)?;
        parts(&index.parts)?;
    }
    table.other_indexes.iter().try_for_each(|index| name(index))?;
    for key in &table.foreign_keys {
        key.columns.iter().try_for_each(|column| is_column(column))?;
        name(&key.parent)?;
        key.parent_columns.iter().try_for_each(|column| name(column))?;
        // It may refer to more columns or fewer: SQLite takes that, and cannot check it.
        if key.columns.is_empty() || key.parent_columns.len() > limits.wire.columns {
            return Err(refused("a foreign key without columns, or to too many"));
        }
    }
    Ok(())
}

/// The name of a type in Postgres that takes the values of such a column.
pub fn postgres_name(logical: &LogicalType) -> &'static str {
    match &*announced(logical) {
        LogicalType::Boolean => "boolean",
        LogicalType::Integer => "bigint",
        LogicalType::Real => "double precision",
        LogicalType::Numeric => "numeric",
        LogicalType::Text | LogicalType::Uuid | LogicalType::Other(_) => "text",
        LogicalType::Blob => "bytea",
        LogicalType::Date => "date",
        LogicalType::Time => "time without time zone",
        LogicalType::Timestamp => "timestamp without time zone",
        LogicalType::TimestampTz => "timestamp with time zone",
        LogicalType::Json | LogicalType::Any => "jsonb",
    }
}

const LOGICAL_NAMES: [(LogicalType, &str); 13] = [
    (LogicalType::Boolean, "boolean"),
    (LogicalType::Integer, "integer"),
    (LogicalType::Real, "real"),
    (LogicalType::Numeric, "numeric"),
    (LogicalType::Text, "text"),
    (LogicalType::Blob, "blob"),
    (LogicalType::Uuid, "uuid"),
    (LogicalType::Date, "date"),
    (LogicalType::Time, "time"),
    (LogicalType::Timestamp, "timestamp"),
    (LogicalType::TimestampTz, "timestamptz"),
    (LogicalType::Json, "json"),
    (LogicalType::Any, "any"),
];

/// Stands before the name of a type that is none of the above.
const OTHER: &str = "other:";

fn logical_name(logical: &LogicalType) -> String {
    match (logical, LOGICAL_NAMES.iter().find(|(known, _)| known == logical)) {
        (_, Some((_, name))) => (*name).to_owned(),
        (LogicalType::Other(name), None) => format!("{OTHER}{name}"),
        // All that are not `Other` are in the list.
        (_, None) => "any".to_owned(),
    }
}

fn logical_from_name(name: &str) -> LogicalType {
    match LOGICAL_NAMES.iter().find(|(_, known)| *known == name) {
        Some((logical, _)) => logical.clone(),
        // A name that a newer version may know is kept as it is.
        None => LogicalType::Other(name.strip_prefix(OTHER).unwrap_or(name).to_owned()),
    }
}

/// A default that means the same in a Postgres column of this type; `None` for any other. The peer may put it into SQL.
pub(super) fn portable_default(column: &Column) -> Option<String> {
    let logical = &*announced(&column.logical);
    match (DefaultValue::parse(column.default.as_deref()?)?, logical) {
        (DefaultValue::Literal(Value::Integer(v @ (0 | 1))), LogicalType::Boolean) => Some((v == 1).to_string()),
        (DefaultValue::Literal(Value::Integer(v)), LogicalType::Integer | LogicalType::Numeric | LogicalType::Real) => {
            Some(v.to_string())
        }
        (DefaultValue::Literal(Value::Real(v)), LogicalType::Numeric | LogicalType::Real) => Some(v.to_string()),
        (DefaultValue::Literal(Value::Text(text)), LogicalType::Text) => {
            let text = String::from_utf8(text).ok().filter(|text| !text.contains(['\0', '\\']))?;
            Some(format!("'{}'", text.replace('\'', "''")))
        }
        (DefaultValue::CurrentTimestamp, LogicalType::Timestamp | LogicalType::TimestampTz) => {
            Some("CURRENT_TIMESTAMP".to_owned())
        }
        (DefaultValue::CurrentDate, LogicalType::Date) => Some("CURRENT_DATE".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
