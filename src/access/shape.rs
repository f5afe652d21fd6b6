//! What of a table's schema must stay the same for a download to be resumed, and for an approval to be good.

use sha2::{Digest, Sha256};

use crate::domain::schema::{LogicalType, TableSchema, UniqueKind};
use crate::secret::hex;

/// The version of what is digested: another one is another digest.
const VERSION: u8 = 1;

/// The digest of a table's columns and keys: what its rows look like, and what order they are sent in. References to other tables,
/// plain indexes and defaults are left out: they change neither.
pub(crate) fn schema_digest(table: &TableSchema) -> String {
    let mut fields = Fields(Sha256::new());
    fields.0.update([VERSION]);
    fields.text("table", &table.name);
    for column in &table.columns {
        fields.text("column", &column.name);
        fields.text("declared", &column.declared_type);
        fields.text("logical", logical(&column.logical));
        fields.flag("nullable", column.nullable);
        fields.flag("generated", column.generated);
        fields.text("collation", column.collation.as_deref().unwrap_or_default());
        for (name, number) in [("length", column.max_length), ("precision", column.precision), ("scale", column.scale)] {
            fields.number(name, number);
        }
    }
    table.primary_key.iter().for_each(|column| fields.text("key", column));
    table.key_collations.iter().for_each(|name| fields.text("key collation", name.as_deref().unwrap_or_default()));
    let full = table.unique.iter().filter(|set| set.kind == UniqueKind::Full);
    let mut sets: Vec<&[String]> = full.map(|set| &set.columns[..]).collect();
    sets.sort_unstable();
    for set in sets {
        fields.number("unique", u32::try_from(set.len()).ok());
        set.iter().for_each(|column| fields.text("of", column));
    }
    fields.flag("strict", table.strict);
    fields.flag("without rowid", table.without_rowid);
    fields.flag("rowid alias", table.rowid_alias);
    hex(&fields.0.finalize())
}

struct Fields(Sha256);

impl Fields {
    fn text(&mut self, name: &str, value: &str) {
        for part in [name, value] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part.as_bytes());
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.text(name, if value { "1" } else { "0" });
    }

    fn number(&mut self, name: &str, value: Option<u32>) {
        self.text(name, &value.map(|value| value.to_string()).unwrap_or_default());
    }
}

fn logical(of: &LogicalType) -> &str {
    match of {
        LogicalType::Boolean => "boolean",
        LogicalType::Integer => "integer",
        LogicalType::Real => "real",
        LogicalType::Numeric => "numeric",
        LogicalType::Text => "text",
        LogicalType::Blob => "blob",
        LogicalType::Uuid => "uuid",
        LogicalType::Date => "date",
        LogicalType::Time => "time",
        LogicalType::Timestamp => "timestamp",
        LogicalType::TimestampTz => "timestamptz",
        LogicalType::Json => "json",
        LogicalType::Any => "any",
        LogicalType::Other(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, ForeignKey, Index, UniqueSet};

    #[test]
    fn what_rows_look_like_counts_and_nothing_else() {
        let column = |name: &str| Column { name: name.to_owned(), declared_type: "TEXT".to_owned(), ..Column::default() };
        let table = TableSchema {
            name: "t".to_owned(),
            columns: vec![column("a"), column("bc")],
            primary_key: vec!["a".to_owned()],
            ..TableSchema::default()
        };
        let digest = schema_digest(&table);
        // It is kept in databases: a change of it needs another version.
        assert_eq!(digest, schema_digest(&table));
        let changed = |change: &dyn Fn(&mut TableSchema)| {
            let mut other = table.clone();
            change(&mut other);
            schema_digest(&other) != digest
        };
        assert!(changed(&|table| table.columns[1].name = "b".to_owned()));
        assert!(changed(&|table| table.columns[0].nullable = true));
        assert!(changed(&|table| table.columns[0].declared_type = "INT".to_owned()));
        assert!(changed(&|table| table.columns[0].collation = Some("NOCASE".to_owned())));
        assert!(changed(&|table| table.columns.swap(0, 1)));
        assert!(changed(&|table| table.primary_key.push("bc".to_owned())));
        assert!(changed(&|table| table.unique.push(UniqueSet {
            columns: vec!["bc".into()],
            kind: UniqueKind::Full,
            ..UniqueSet::default()
        })));
        assert!(!changed(&|table| table.columns[1].default = Some("1".to_owned())));
        assert!(!changed(&|table| table.indexes.push(Index::default())));
        assert!(!changed(&|table| table.foreign_keys.push(ForeignKey::default())));
    }
}
