//! Which tables go first.

use crate::domain::names::NameRules;
use crate::domain::schema::{LogicalType, TableSchema};
use crate::plan::order::order;

/// Groups of tables in the order in which they are pulled: parents before children, tables that refer to each other in one
/// group. A reference sender's connection dies on some values of uuid and bytea columns, and its code is then spent; so the
/// groups with such columns, and those that need them first, come last.
pub(super) fn groups(tables: &[TableSchema], names: NameRules, sender_is_rowferry: bool) -> Vec<Vec<usize>> {
    let groups = order(tables, names);
    if sender_is_rowferry {
        return groups;
    }
    let risky =
        |table: &TableSchema| table.columns.iter().any(|c| matches!(c.logical, LogicalType::Uuid | LogicalType::Blob));
    let mut late: Vec<&str> = Vec::new();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for group in groups {
        let refers_to_late = |table: &TableSchema| table.foreign_keys.iter().any(|key| names.is_among(&key.parent, &late));
        let is_late = group.iter().any(|at| risky(&tables[*at]) || refers_to_late(&tables[*at]));
        if is_late {
            late.extend(group.iter().map(|at| tables[*at].name.as_str()));
            last.push(group);
        } else {
            first.push(group);
        }
    }
    first.extend(last);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, ForeignKey};

    fn table(name: &str, logical: LogicalType, parent: Option<&str>) -> TableSchema {
        let column = Column { name: "c".into(), logical, ..Column::default() };
        let key = parent.map(|parent| ForeignKey {
            columns: vec!["c".into()],
            parent: parent.into(),
            parent_columns: vec!["c".into()],
            ..ForeignKey::default()
        });
        TableSchema {
            name: name.into(),
            columns: vec![column],
            foreign_keys: key.into_iter().collect(),
            ..TableSchema::default()
        }
    }

    #[test]
    fn tables_that_may_end_a_reference_connection_come_last() {
        let tables = [
            table("a", LogicalType::Uuid, None),
            table("b", LogicalType::Integer, Some("A")),
            table("c", LogicalType::Integer, None),
        ];
        let rules = NameRules::IgnoreAsciiCase;
        assert_eq!(groups(&tables, rules, false), [[2], [0], [1]]);
        assert_eq!(groups(&tables, rules, true), [[0], [1], [2]]);
        assert_eq!(groups(&tables, NameRules::Exact, false), [[1], [2], [0]]);
    }
}
