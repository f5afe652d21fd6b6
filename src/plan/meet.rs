//! Whether two of the sender's rows can have one key here, so that their records would take turns in one row.
//!
//! It is only a matter of which columns the keys have and how they compare texts: a value that does not keep its class here, as a
//! number in a text column, fails for that.

use crate::domain::schema::{TableSchema, UniqueKind};
use crate::domain::strategy::Strategy;
use crate::plan::{Identity, TablePlan};

/// Whether two of the sender's rows may have one key in the local table.
///
/// They may not where one of the sender's keys, the primary key or a unique set, tells them apart by columns of the local key
/// alone: where values that are equal to the local key are equal to that one. Rows with NULL in the local key are no matter here,
/// and an append makes keys of its own.
pub fn keys_may_meet(sender: &TableSchema, plan: &TablePlan) -> bool {
    let Identity::Key { columns, .. } = &plan.identity else { return false };
    if plan.strategy == Strategy::Append {
        return false;
    }
    let here: Vec<Part<'_>> = parts(&plan.table, columns);
    let is_told_by = |part: &Part<'_>| {
        let target = plan.targets.get(part.column).copied().flatten();
        here.iter().find(|here| Some(here.column) == target).is_some_and(|here| is_as_fine(here, part))
    };
    !keys_of(sender).any(|key| parts(sender, &key).iter().all(is_told_by))
}

/// The columns of the sender's keys.
fn keys_of(sender: &TableSchema) -> impl Iterator<Item = Vec<usize>> {
    let full = sender.unique.iter().filter(|set| set.kind == UniqueKind::Full).map(|set| &set.columns);
    let keys = std::iter::once(&sender.primary_key).chain(full).filter(|key| !key.is_empty());
    keys.filter_map(|key| sender.column_indexes(key))
}

/// A column of a key.
struct Part<'t> {
    column: usize,
    /// How texts in it are compared; `None` where none can stand in it.
    collation: Option<&'t str>,
}

fn parts<'t>(table: &'t TableSchema, key: &[usize]) -> Vec<Part<'t>> {
    let collations = table.key_collations_of(key);
    let part = |(at, column): (usize, &usize)| {
        let of_column = table.columns[*column].collation.as_deref();
        let collation = collations.get(at).copied().flatten().or(of_column).unwrap_or("BINARY");
        Part { column: *column, collation: Some(collation).filter(|_| !holds_no_text(table, *column)) }
    };
    key.iter().enumerate().map(part).collect()
}

/// Whether the column is the rowid, or refuses what is no number.
fn holds_no_text(table: &TableSchema, column: usize) -> bool {
    let column = &table.columns[column];
    let is_rowid = table.rowid_alias && table.names.is_among(&column.name, &table.primary_key);
    let is_number = ["INT", "INTEGER", "REAL"].iter().any(|number| number.eq_ignore_ascii_case(&column.declared_type));
    is_rowid || (table.strict && is_number)
}

/// Whether values that are equal in the one are equal in the other.
fn is_as_fine(here: &Part<'_>, there: &Part<'_>) -> bool {
    match (here.collation, there.collation) {
        (Some(here), Some(there)) => here.eq_ignore_ascii_case("BINARY") || here.eq_ignore_ascii_case(there),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, UniqueSet};
    use crate::plan::table::{ExtraColumns, plan_table};

    /// A table of columns `name` or `name:COLLATION`.
    fn table(columns: &str, key: &str) -> TableSchema {
        let column = |word: &str| {
            let (name, collation) = word.split_once(':').map_or((word, None), |(name, by)| (name, Some(by.to_owned())));
            Column { name: name.into(), collation, ..Column::default() }
        };
        TableSchema {
            name: "t".into(),
            columns: columns.split_whitespace().map(column).collect(),
            primary_key: key.split_whitespace().map(String::from).collect(),
            ..TableSchema::default()
        }
    }

    fn by(collation: &str, mut table: TableSchema) -> TableSchema {
        table.key_collations = vec![Some(collation.into())];
        table
    }

    fn unique(columns: &str, kind: UniqueKind, mut table: TableSchema) -> TableSchema {
        table.unique.push(UniqueSet {
            columns: columns.split_whitespace().map(String::from).collect(),
            kind,
            ..UniqueSet::default()
        });
        table
    }

    #[track_caller]
    fn expect(may_meet: bool, sender: &TableSchema, local: &TableSchema) {
        for strategy in [Strategy::Skip, Strategy::Overwrite, Strategy::Merge] {
            let plan = plan_table(sender, local, strategy, ExtraColumns::Refuse).unwrap();
            assert_eq!(keys_may_meet(sender, &plan), may_meet, "{strategy}");
        }
        let plan = plan_table(sender, local, Strategy::Append, ExtraColumns::Refuse).unwrap();
        assert!(!keys_may_meet(sender, &plan), "an append makes its keys");
    }

    #[test]
    fn the_collation_of_either_key_decides() {
        let (plain, nocase, rtrim) = (table("a b", "a"), table("a:NOCASE b", "a"), table("a:RTRIM b", "a"));
        for same in [&plain, &nocase, &rtrim] {
            expect(false, same, same);
            expect(false, same, &plain);
        }
        expect(false, &table("a:nocase b", "A"), &nocase);
        for (sender, local) in [(&plain, &nocase), (&plain, &rtrim), (&nocase, &rtrim), (&rtrim, &nocase)] {
            expect(true, sender, local);
        }
        expect(true, &by("BINARY", nocase.clone()), &nocase);
        expect(true, &plain, &by("NOCASE", plain.clone()));
        expect(false, &nocase, &by("NOCASE", plain.clone()));
        expect(false, &plain, &by("BINARY", nocase.clone()));
        // Numbers have no case.
        let rowid = TableSchema { rowid_alias: true, ..nocase.clone() };
        expect(false, &plain, &rowid);
        expect(false, &rowid, &by("RTRIM", nocase.clone()));
        let mut strict = TableSchema { strict: true, ..nocase };
        expect(true, &plain, &strict);
        strict.columns[0].declared_type = "int".into();
        expect(false, &plain, &strict);
    }

    #[test]
    fn the_sender_must_tell_its_rows_apart_by_columns_of_the_local_key() {
        let (one, two, none) = (table("a b", "a"), table("b a", "b a"), table("a b", ""));
        expect(false, &one, &two);
        expect(true, &two, &one);
        expect(true, &none, &one);
        expect(false, &none, &none);
        // Any of its keys will do, if it is one of all rows.
        expect(false, &unique("a", UniqueKind::Full, none.clone()), &one);
        expect(true, &unique("a", UniqueKind::Partial, none.clone()), &one);
        expect(true, &unique("", UniqueKind::Expression, none.clone()), &one);
        expect(true, &unique("a b", UniqueKind::Full, none.clone()), &one);
        // The local key may be a unique set.
        let set = unique("b", UniqueKind::Full, none.clone());
        expect(false, &set, &set);
        expect(true, &one, &set);
        let mut nocase = set.clone();
        nocase.columns[1].collation = Some("NOCASE".into());
        expect(true, &set, &nocase);
        // What is computed here tells nothing.
        let mut computed = table("a b", "a");
        computed.columns[1].generated = true;
        expect(true, &table("a b", "b"), &computed);
    }
}
