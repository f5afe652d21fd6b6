//! Names of tables and columns that foreign keys refer to, where the sender compares names without case and this side does not.

use std::collections::HashMap;

use super::offer::Offered;
use crate::domain::names::NameRules;
use crate::domain::schema::TableSchema;

/// Names what foreign keys refer to as the tables of the pull name it.
pub(super) fn as_tables(tables: &mut [Offered]) {
    let is_foreign = |table: &TableSchema| table.names == NameRules::IgnoreAsciiCase && !table.foreign_keys.is_empty();
    if !tables.iter().any(|table| is_foreign(&table.schema)) {
        return;
    }
    let names = |table: &Offered| {
        let columns = table.schema.columns.iter().map(|column| (column.name.to_ascii_lowercase(), column.name.clone()));
        (table.schema.name.to_ascii_lowercase(), (table.schema.name.clone(), columns.collect()))
    };
    let known: HashMap<String, (String, HashMap<String, String>)> = tables.iter().map(names).collect();
    let keys = tables.iter_mut().map(|table| &mut table.schema).filter(|table| is_foreign(table));
    for key in keys.flat_map(|table| &mut table.foreign_keys) {
        let Some((name, columns)) = known.get(&key.parent.to_ascii_lowercase()) else { continue };
        key.parent.clone_from(name);
        for column in &mut key.parent_columns {
            if let Some(name) = columns.get(&column.to_ascii_lowercase()) {
                column.clone_from(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, ForeignKey};
    use crate::pull::wait::Allowance;

    #[test]
    fn what_is_referred_to_is_named_as_it_is() {
        let offered = |name: &str, column: &str| {
            let schema = TableSchema {
                name: name.into(),
                columns: vec![Column { name: column.into(), ..Column::default() }],
                ..TableSchema::default()
            };
            Offered { name: name.into(), schema, announced: 0, allowance: Allowance::default() }
        };
        let key = |parent: &str, column: &str| ForeignKey {
            parent: parent.into(),
            parent_columns: vec![column.into()],
            ..ForeignKey::default()
        };
        let mut tables = vec![offered("Users", "Id"), offered("posts", "id")];
        tables[1].schema.foreign_keys = vec![key("USERS", "ID"), key("nowhere", "ID"), key("users", "other")];
        as_tables(&mut tables);
        assert_eq!(tables[1].schema.foreign_keys, [key("Users", "Id"), key("nowhere", "ID"), key("Users", "other")]);
        tables[1].schema.names = NameRules::Exact;
        tables[1].schema.foreign_keys = vec![key("USERS", "ID")];
        as_tables(&mut tables);
        assert_eq!(tables[1].schema.foreign_keys, [key("USERS", "ID")]);
    }
}
