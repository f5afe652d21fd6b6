//! How a table is compared: which columns, and what tells its rows apart.

use crate::domain::schema::{Column, LogicalType, Origin, TableSchema};
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Identity;
use crate::plan::table::{ExtraColumns, key_of, plan_table};

/// A table of the sender's beside the local one.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) local: TableSchema,
    /// The columns that are compared, by the sender's names, in the order in which they are hashed.
    pub(super) columns: Vec<String>,
    /// The same columns as positions in the local table.
    pub(super) here: Vec<usize>,
    /// What tells rows apart at both ends.
    pub(super) key: Option<Key>,
    /// The first column in which the two stores may keep the same value otherwise, as a sentence says it.
    pub(super) otherwise: Option<String>,
}

/// The key of the local table.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Its columns, as positions in the local table.
    pub(super) here: Vec<usize>,
    /// The same columns, as positions among those that are compared.
    pub(super) there: Vec<usize>,
}

/// # Errors
/// [`SchemaMismatch`](ErrorKind::SchemaMismatch) where only one of the two has a column, and that is not to be ignored.
pub(super) fn plan(sender: &TableSchema, local: TableSchema, extra: ExtraColumns) -> Result<Planned> {
    // Only an append leaves it at rows without their key.
    let plan = plan_table(sender, &local, Strategy::Append, extra)?;
    let is_there = |name: &str| sender.columns.iter().any(|column| local.names.same(&column.name, name));
    let lacks = |column: &&Column| !column.generated && !is_there(&column.name);
    if let Some(column) = local.columns.iter().find(lacks).filter(|_| extra == ExtraColumns::Refuse) {
        let what = format!("table {:?}: the column {:?} is missing at the other site", local.name, column.name);
        return Err(
            Error::new(ErrorKind::SchemaMismatch, what).with_hint("To compare the others: `VerifyOptions::extra_columns`.")
        );
    }
    let both =
        sender.columns.iter().enumerate().filter_map(|(of, column)| Some((of, column, local.column_index(&column.name)?)));
    let (mut columns, mut here, mut there, mut otherwise) = (Vec::new(), Vec::new(), Vec::new(), None);
    for (of, column, at) in both {
        let local_column = &local.columns[at];
        if !stores_alike((sender, column), (&local, local_column)) && otherwise.is_none() {
            let type_of = |column: &Column| match column.declared_type.as_str() {
                "" => "without a type".to_owned(),
                declared => declared.to_owned(),
            };
            let (one, other) = (type_of(column), type_of(local_column));
            otherwise = Some(format!("its column {:?} is {one} there and {other} here", column.name));
        }
        columns.push(column.name.clone());
        here.push(at);
        there.push(of);
    }
    let key = match plan.identity {
        Identity::Key { columns: here, incoming, .. } if key_of(sender)?.is_some() => {
            let among = |column: &usize| there.iter().position(|other| other == column);
            incoming.iter().map(among).collect::<Option<_>>().map(|there| Key { here, there })
        }
        _ => None,
    };
    Ok(Planned { local, columns, here, key, otherwise })
}

/// Whether a value that the sender's column holds is, after a pull, the very same value in the local one.
fn stores_alike((sender, there): (&TableSchema, &Column), (local, here): (&TableSchema, &Column)) -> bool {
    match (sender.origin, local.origin) {
        (Origin::Sqlite, Origin::Sqlite) => classes(sender, there) == classes(local, here),
        (Origin::Postgres, Origin::Postgres) => there.declared_type == here.declared_type,
        // What a type writes is text here, and stays what it is unless the column makes numbers of it.
        (Origin::Postgres, Origin::Sqlite) => match (classes(local, here), class_of_postgres(&there.declared_type)) {
            (Classes::Text | Classes::Numbers, None) if is_never_a_number(&there.logical) => true,
            (Classes::Text | Classes::Any, None) => true,
            (here, Some(there)) => here == there || here == Classes::Any,
            _ => false,
        },
        (Origin::Sqlite, Origin::Postgres) => Some(classes(sender, there)) == class_of_postgres(&here.declared_type),
        _ => false,
    }
}

/// What a column turns values into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Classes {
    Text,
    /// Integers, and doubles that are not whole.
    Numbers,
    Doubles,
    /// Nothing is turned.
    Any,
}

/// What a column of SQLite turns values into, by its five rules (<https://www.sqlite.org/datatype3.html#determination_of_column_affinity>).
fn classes(table: &TableSchema, column: &Column) -> Classes {
    let declared = column.declared_type.to_ascii_uppercase();
    let has = |parts: &[&str]| parts.iter().any(|part| declared.contains(part));
    if table.strict && declared == "ANY" {
        Classes::Any
    } else if has(&["INT"]) {
        Classes::Numbers
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Classes::Text
    } else if has(&["BLOB"]) || declared.is_empty() {
        Classes::Any
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Classes::Doubles
    } else {
        Classes::Numbers
    }
}

/// The same of the types of PostgreSQL that travel as a class of SQLite's; the others travel as their text.
fn class_of_postgres(declared: &str) -> Option<Classes> {
    let name = declared.split('(').next().unwrap_or_default().trim();
    match name {
        "bigint" | "integer" | "smallint" | "boolean" => Some(Classes::Numbers),
        "text" | "character varying" => Some(Classes::Text),
        "double precision" | "real" => Some(Classes::Doubles),
        "bytea" => Some(Classes::Any),
        _ => None,
    }
}

/// Whether no text of this meaning looks like a number.
fn is_never_a_number(logical: &LogicalType) -> bool {
    use LogicalType::{Date, Time, Timestamp, TimestampTz, Uuid};
    matches!(logical, Date | Time | Timestamp | TimestampTz | Uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of columns `name:TYPE`; `=` after the name is generated.
    fn table(columns: &str, key: &str) -> TableSchema {
        let column = |word: &str| {
            let (name, declared) = word.split_once(':').unwrap_or((word, ""));
            Column {
                name: name.trim_end_matches('=').into(),
                declared_type: declared.replace('_', " "),
                generated: name.ends_with('='),
                logical: LogicalType::from_declared(declared),
                ..Column::default()
            }
        };
        TableSchema {
            name: "t".into(),
            columns: columns.split_whitespace().map(column).collect(),
            primary_key: key.split_whitespace().map(String::from).collect(),
            ..TableSchema::default()
        }
    }

    fn postgres(table: TableSchema) -> TableSchema {
        TableSchema { origin: Origin::Postgres, ..table }
    }

    fn planned(sender: &TableSchema, local: &TableSchema) -> Planned {
        plan(sender, local.clone(), ExtraColumns::Refuse).unwrap()
    }

    #[test]
    fn columns_that_one_of_both_lacks_are_refused_or_ignored() {
        let (more, less) = (table("id v x", "id"), table("V ID", "ID"));
        for (sender, local) in [(&more, &less), (&less, &more)] {
            let error = plan(sender, local.clone(), ExtraColumns::Refuse).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
            assert!(error.message().contains("\"x\""), "{error}");
            let planned = plan(sender, local.clone(), ExtraColumns::Ignore).unwrap();
            assert_eq!(planned.columns.len(), 2);
            let names: Vec<&str> = planned.here.iter().map(|at| local.columns[*at].name.as_str()).collect();
            assert!(names.iter().zip(&planned.columns).all(|(here, there)| here.eq_ignore_ascii_case(there)));
        }
        // What is computed is no difference, and is compared where both have it.
        let (there, here) = (table("id v= w=", "id"), table("id v x=", "id"));
        assert_eq!(planned(&there, &here).columns, ["id", "v"]);
    }

    #[test]
    fn a_key_must_tell_rows_apart_at_both_ends() {
        let (keyed, keyless) = (table("a b", "a"), table("a b", ""));
        let key = planned(&table("b a", "a"), &keyed).key.unwrap();
        assert_eq!((key.here, key.there), (vec![0], vec![1]));
        assert!(planned(&keyless, &keyed).key.is_none());
        assert!(planned(&keyed, &keyless).key.is_none());
        // The key is not among the columns that both have.
        let ignored = plan(&table("b c", "c"), keyed, ExtraColumns::Ignore).unwrap();
        assert!(ignored.key.is_none());
    }

    #[test]
    fn columns_that_store_otherwise_are_named() {
        let otherwise = |there: TableSchema, here: TableSchema| planned(&there, &here).otherwise.is_some();
        for (there, here, expected) in [
            ("v:TEXT", "v:varchar(9)", false),
            ("v:INTEGER", "v:NUMERIC", false),
            ("v:INTEGER", "v:TEXT", true),
            ("v:REAL", "v:INTEGER", true),
            ("v:BLOB", "v", false),
            ("v:TEXT", "v:BLOB", true),
        ] {
            assert_eq!(otherwise(table(there, ""), table(here, "")), expected, "{there} {here}");
        }
        let from_postgres = |there: &str, here: &str| {
            let mut sender = postgres(table(there, ""));
            sender.columns[0].logical = LogicalType::from_postgres(&sender.columns[0].declared_type);
            otherwise(sender, table(here, ""))
        };
        for (there, here, expected) in [
            ("v:bigint", "v:BIGINT", false),
            ("v:text", "v:TEXT", false),
            ("v:double_precision", "v:REAL", false),
            ("v:timestamp_without_time_zone", "v:TIMESTAMP", false),
            ("v:uuid", "v:UUID", false),
            ("v:numeric", "v:TEXT", false),
            ("v:numeric", "v:NUMERIC", true),
            ("v:jsonb", "v:JSON", true),
            ("v:bigint", "v:TEXT", true),
        ] {
            assert_eq!(from_postgres(there, here), expected, "{there} {here}");
        }
        let to_postgres = |there: &str, here: &str| otherwise(table(there, ""), postgres(table(here, "")));
        assert!(!to_postgres("v:INTEGER", "v:bigint") && !to_postgres("v:TEXT", "v:text"));
        assert!(to_postgres("v:TEXT", "v:uuid") && to_postgres("v:TIMESTAMP", "v:timestamp_without_time_zone"));
        let other = planned(&table("v:TEXT", ""), &table("v:INT", "")).otherwise.unwrap();
        assert_eq!(other, "its column \"v\" is TEXT there and INT here");
    }
}
