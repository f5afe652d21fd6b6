//! Which tables go first.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::domain::names::NameRules;
use crate::domain::schema::{Column, LogicalType, TableSchema};
use crate::plan::order::order;

/// Groups of tables in the order in which they are pulled: parents before children, tables that refer to each other in one
/// group. A PhoenixKit sender's connection dies on some values, and its code is then spent: so the groups come in the order of their
/// [`Risk`], each no earlier than those that it needs.
pub(super) fn groups(tables: &[TableSchema], names: NameRules, sender_is_rowferry: bool) -> Vec<Vec<usize>> {
    let groups = order(tables, names);
    if sender_is_rowferry {
        return groups;
    }
    let mut ranked: Vec<(Risk, Vec<usize>)> = Vec::new();
    // Of the tables before the group at hand, by their folded names.
    let mut risks: HashMap<Cow<'_, str>, Risk> = HashMap::new();
    for mut group in groups {
        let parents = |table: &TableSchema| {
            let risks = table.foreign_keys.iter().filter_map(|key| risks.get(&*names.fold(&key.parent)));
            risks.copied().max().unwrap_or_default()
        };
        let risk = group.iter().map(|at| risk_of(&tables[*at]).max(parents(&tables[*at]))).max().unwrap_or_default();
        risks.extend(group.iter().map(|at| (names.fold(&tables[*at].name), risk)));
        group.sort_by_key(|at| risk_of(&tables[*at]));
        ranked.push((risk, group));
    }
    ranked.sort_by_key(|(risk, _)| *risk);
    ranked.into_iter().map(|(_, group)| group).collect()
}

/// How likely it is that a PhoenixKit sender's connection dies on a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Risk {
    /// All values of these types come.
    #[default]
    None,
    /// Some values end it: an infinite timestamp, 24:00, an array of uuids, an interval, types that are not known here.
    Some,
    /// Most values end it: what is no UTF-8.
    Most,
}

fn risk_of(table: &TableSchema) -> Risk {
    let risk = |column: &Column| match column.logical {
        LogicalType::Uuid | LogicalType::Blob => Risk::Most,
        LogicalType::Timestamp | LogicalType::TimestampTz | LogicalType::Time | LogicalType::Other(_) => Risk::Some,
        LogicalType::Json if column.declared_type.eq_ignore_ascii_case("ARRAY") => Risk::Some,
        _ => Risk::None,
    };
    table.columns.iter().map(risk).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::ForeignKey;

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

    #[test]
    fn safe_tables_come_first_then_those_that_may_crash_it_then_those_that_do() {
        let mut array = table("arrays", LogicalType::Json, None);
        array.columns[0].declared_type = "ARRAY".into();
        let tables = [
            table("bytes", LogicalType::Blob, None),
            table("moments", LogicalType::TimestampTz, None),
            table("children", LogicalType::Text, Some("moments")),
            array,
            table("documents", LogicalType::Json, None),
            table("intervals", LogicalType::Other("interval".into()), None),
            table("grandchildren", LogicalType::Text, Some("children")),
            table("plain", LogicalType::Integer, None),
        ];
        let rules = NameRules::Exact;
        let order: Vec<usize> = groups(&tables, rules, false).into_iter().flatten().collect();
        let at = |table: usize| order.iter().position(|at| *at == table).unwrap();
        assert!(at(4) < at(1) && at(7) < at(1), "{order:?}");
        assert!([1, 2, 3, 5, 6].iter().all(|table| at(*table) < at(0)), "{order:?}");
        assert!(at(1) < at(2) && at(2) < at(6), "{order:?}");
    }
}
