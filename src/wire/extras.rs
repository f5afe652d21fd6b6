//! What a database knows of a table beside PhoenixKit's fields, as rowferry tells it to rowferry.
//!
//! What version 0.1.0 knows not is in fields that it does not look at: it makes tables without that.

use serde::{Deserialize, Serialize};

use super::excerpt;
use crate::domain::schema::{
    ForeignKey, ForeignKeyAction, Index, IndexPart, OnConflict, Origin, TableSchema, UniqueKind, UniqueSet,
};
use crate::domain::table::FileNumbers;
use crate::error::{Error, ErrorKind, Result};

/// How Postgres is named as an origin.
const POSTGRES: &str = "postgres";

#[derive(Serialize, Deserialize)]
pub(super) struct Extras {
    #[serde(default, skip_serializing_if = "is_zero")]
    application_id: i32,
    #[serde(default)]
    autoincrement: bool,
    /// Indexes that compare otherwise than their columns do: version 0.1.0 would make others of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    collated_indexes: Vec<WireIndex>,
    #[serde(default)]
    foreign_keys: Vec<WireForeignKey>,
    #[serde(default)]
    indexes: Vec<WireIndex>,
    /// Only where the key compares otherwise than its columns; a peer of an earlier version does not know it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    key_collations: Vec<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_on_conflict: Option<String>,
    /// Only where it is not SQLite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    other_indexes: Vec<String>,
    #[serde(default)]
    rowid_alias: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
    #[serde(default)]
    strict: bool,
    #[serde(default)]
    unique: Vec<WireUnique>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unread: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    user_version: i32,
    #[serde(default)]
    without_rowid: bool,
}

#[derive(Serialize, Deserialize)]
struct WireForeignKey {
    columns: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deferred: bool,
    on_delete: String,
    on_update: String,
    parent: String,
    parent_columns: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct WireIndex {
    /// Each column once.
    columns: Vec<WirePart>,
    name: String,
    /// The columns as the index lists them, where one stands in it several times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<WirePart>,
}

#[derive(Clone, Serialize, Deserialize)]
struct WirePart {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collation: Option<String>,
    #[serde(default)]
    descending: bool,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct WireUnique {
    columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<String>,
    kind: WireUniqueKind,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    nulls_not_distinct: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_conflict: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<WirePart>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireUniqueKind {
    Full,
    Partial,
    Expression,
}

// The signature is serde's.
fn is_zero(number: &i32) -> bool {
    *number == 0
}

pub(super) fn refused(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Protocol, why)
}

/// What is told of a constraint: nothing where it does what SQLite does anyway.
pub(super) fn said(on_conflict: OnConflict) -> Option<String> {
    (on_conflict != OnConflict::Abort).then(|| on_conflict.as_sql().to_owned())
}

pub(super) fn read_on_conflict(word: Option<&str>) -> Result<OnConflict> {
    let read = |word: &str| {
        OnConflict::from_sql(word).ok_or_else(|| refused(format!("{:?} is nothing that a constraint does", excerpt(word))))
    };
    word.map_or(Ok(OnConflict::Abort), read)
}

impl Extras {
    pub(super) fn of(table: &TableSchema) -> Self {
        let foreign_key = |key: &ForeignKey| WireForeignKey {
            columns: key.columns.clone(),
            deferred: key.deferred,
            on_delete: key.on_delete.as_sql().to_owned(),
            on_update: key.on_update.as_sql().to_owned(),
            parent: key.parent.clone(),
            parent_columns: key.parent_columns.clone(),
        };
        let unique = |set: &UniqueSet| WireUnique {
            columns: set.columns.clone(),
            index: set.index.clone(),
            kind: match set.kind {
                UniqueKind::Full => WireUniqueKind::Full,
                UniqueKind::Partial => WireUniqueKind::Partial,
                UniqueKind::Expression => WireUniqueKind::Expression,
            },
            nulls_not_distinct: set.nulls_not_distinct,
            on_conflict: said(set.on_conflict),
            parts: set.parts.iter().map(WirePart::of).collect(),
        };
        let is_collated = |index: &&Index| index.parts.iter().any(|part| part.collation.is_some());
        Extras {
            application_id: table.file.application_id,
            autoincrement: table.autoincrement,
            collated_indexes: table.indexes.iter().filter(is_collated).map(WireIndex::of).collect(),
            foreign_keys: table.foreign_keys.iter().map(foreign_key).collect(),
            indexes: table.indexes.iter().filter(|index| !is_collated(index)).map(WireIndex::of).collect(),
            key_collations: table.key_collations.clone(),
            key_on_conflict: said(table.key_on_conflict),
            origin: match table.origin {
                Origin::Sqlite => None,
                Origin::Postgres => Some(POSTGRES.to_owned()),
                Origin::Other => Some("other".to_owned()),
            },
            other_indexes: table.other_indexes.clone(),
            rowid_alias: table.rowid_alias,
            sequence: table.sequence,
            strict: table.strict,
            unique: table.unique.iter().map(unique).collect(),
            unread: table.is_unread,
            user_version: table.file.user_version,
            without_rowid: table.without_rowid,
        }
    }

    /// The database that the description comes from.
    pub(super) fn origin(&self) -> Origin {
        match self.origin.as_deref() {
            None => Origin::Sqlite,
            Some(POSTGRES) => Origin::Postgres,
            Some(_) => Origin::Other,
        }
    }

    /// Adds it to a table's structure.
    pub(super) fn tell(self, table: &mut TableSchema) -> Result<()> {
        table.origin = self.origin();
        table.autoincrement = self.autoincrement;
        table.key_collations = self.key_collations;
        table.key_on_conflict = read_on_conflict(self.key_on_conflict.as_deref())?;
        table.other_indexes = self.other_indexes;
        table.rowid_alias = self.rowid_alias;
        table.sequence = self.sequence;
        table.strict = self.strict;
        table.is_unread = self.unread;
        table.file = FileNumbers { user_version: self.user_version, application_id: self.application_id };
        table.without_rowid = self.without_rowid;
        for key in self.foreign_keys {
            let action = |words: &str| {
                ForeignKeyAction::from_sql(words).ok_or_else(|| refused(format!("{:?} is no action", excerpt(words))))
            };
            let (on_delete, on_update) = (action(&key.on_delete)?, action(&key.on_update)?);
            let WireForeignKey { columns, parent, parent_columns, deferred, .. } = key;
            table.foreign_keys.push(ForeignKey { columns, parent, parent_columns, on_delete, on_update, deferred });
        }
        table.indexes = self.indexes.into_iter().chain(self.collated_indexes).map(WireIndex::index).collect();
        for set in self.unique {
            let kind = match set.kind {
                WireUniqueKind::Full => UniqueKind::Full,
                WireUniqueKind::Partial => UniqueKind::Partial,
                WireUniqueKind::Expression => UniqueKind::Expression,
            };
            let on_conflict = read_on_conflict(set.on_conflict.as_deref())?;
            let parts = set.parts.into_iter().map(WirePart::part).collect();
            let WireUnique { columns, index, nulls_not_distinct, .. } = set;
            table.unique.push(UniqueSet { columns, kind, index, parts, on_conflict, nulls_not_distinct });
        }
        Ok(())
    }
}

impl WireIndex {
    fn of(index: &Index) -> Self {
        let parts: Vec<WirePart> = index.parts.iter().map(WirePart::of).collect();
        let mut columns: Vec<WirePart> = Vec::with_capacity(parts.len());
        for part in &parts {
            if !columns.iter().any(|column| column.name == part.name) {
                columns.push(part.clone());
            }
        }
        let repeats = columns.len() < parts.len();
        WireIndex { columns, name: index.name.clone(), parts: if repeats { parts } else { Vec::new() } }
    }

    fn index(self) -> Index {
        let parts = if self.parts.is_empty() { self.columns } else { self.parts };
        Index { name: self.name, parts: parts.into_iter().map(WirePart::part).collect() }
    }
}

impl WirePart {
    fn of(part: &IndexPart) -> Self {
        let IndexPart { column, collation, descending } = part.clone();
        WirePart { collation, descending, name: column }
    }

    fn part(self) -> IndexPart {
        IndexPart { column: self.name, collation: self.collation, descending: self.descending }
    }
}
