//! How keys compare: by the collations of their columns, or by others that the key itself names.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use super::catalogue::{IndexPart, compares_alike, distinct, index_parts};
use super::dialect::{failed, quote, quote_all};
use crate::domain::schema::{Column, TableSchema, UniqueKind};
use crate::error::Result;

/// An expression that is compared by this collation; by its own if there is none.
pub(super) fn collated(expression: &str, collation: Option<&str>) -> String {
    match collation {
        Some(collation) => format!("{expression} COLLATE {}", quote(collation)),
        None => expression.to_owned(),
    }
}

/// The columns of a key as they are compared: those at `key` in this table, by the collations of its primary key where it is that.
pub(super) fn key_parts(table: &TableSchema, key: &[usize]) -> Vec<String> {
    let collations = table.key_collations_of(key);
    let part = |(at, column): (usize, &usize)| {
        collated(&quote(&table.columns[*column].name), collations.get(at).copied().flatten())
    };
    key.iter().enumerate().map(part).collect()
}

/// The columns of a key, each with the collation that the key compares it by; `None` byte for byte.
pub(super) fn collations_of(table: &TableSchema, key: &[usize]) -> Vec<(usize, Option<String>)> {
    let collations = table.key_collations_of(key);
    let part = |(at, column): (usize, &usize)| {
        let of_column = table.columns[*column].collation.as_deref();
        let collation = collations.get(at).copied().flatten().or(of_column);
        (*column, collation.filter(|collation| !collation.eq_ignore_ascii_case("BINARY")).map(str::to_owned))
    };
    key.iter().enumerate().map(part).collect()
}

/// How the key compares where it does not as its columns do. A column that stands in it under several collations is compared byte
/// for byte: what is equal in each of them is equal so, or else found to be a conflict when it is written.
pub(super) fn key_collations(table: &TableSchema, parts: &[IndexPart]) -> Vec<Option<String>> {
    let collation = |name: &String| {
        let mut of_column = parts.iter().filter(|part| part.column.as_ref() == Some(name)).map(|part| &part.collation);
        let first = of_column.next()?;
        let same = of_column.all(|other| other.eq_ignore_ascii_case(first));
        let collation = if same { first.as_str() } else { "BINARY" };
        (!compares_alike(table, name, collation)).then(|| collation.to_owned())
    };
    let collations: Vec<_> = table.primary_key.iter().map(collation).collect();
    if collations.iter().all(Option::is_none) { Vec::new() } else { collations }
}

/// What an upsert names for it to be about this key: the columns at `key` as the index over them lists and compares them, so that
/// SQLite finds that index.
pub(super) fn conflict_target(sqlite: &Connection, table: &TableSchema, key: &[usize]) -> Result<String> {
    let plain = quote_all(key.iter().map(|at| table.columns[*at].name.as_str()));
    if table.rowid_alias {
        return Ok(plain);
    }
    let is_key = !table.primary_key.is_empty();
    let sql = "SELECT name FROM temp.pragma_index_list(?1) WHERE \"unique\" AND NOT partial AND (origin = 'pk') = ?2 ORDER BY seq DESC";
    let names = sqlite.prepare_cached(sql).and_then(|mut statement| {
        statement.query_map((&table.name, is_key), |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
    });
    for name in names.map_err(failed)? {
        let parts = index_parts(sqlite, &name).map_err(failed)?;
        let columns: Vec<String> = distinct(&parts).map(|(column, _)| column).collect();
        let is_plain = |part: &IndexPart| {
            part.column.as_deref().is_some_and(|column| is_key || compares_alike(table, column, &part.collation))
        };
        if parts.iter().all(is_plain) && table.column_indexes(&columns).as_deref() == Some(key) {
            let part = |part: &IndexPart| Some(collated(&quote(part.column.as_ref()?), Some(&part.collation)));
            return Ok(parts.iter().filter_map(part).collect::<Vec<_>>().join(", "));
        }
    }
    Ok(plain)
}

/// Whether every SQLite has this collation.
pub(super) fn is_known(collation: &str) -> bool {
    ["BINARY", "NOCASE", "RTRIM"].iter().any(|known| known.eq_ignore_ascii_case(collation))
}

/// Lets the key of a table that is made compare as the sender's does. Gives what is left out: the columns with the collations that
/// are unknown here.
pub(super) fn take_over<'s>(made: &mut TableSchema, sender: &'s TableSchema) -> Vec<(&'s str, &'s str)> {
    let (mut collations, mut left_out) = (Vec::new(), Vec::new());
    for (name, collation) in sender.primary_key.iter().zip(&sender.key_collations) {
        let known = collation.as_deref().filter(|collation| is_known(collation));
        left_out.extend(collation.as_deref().filter(|_| known.is_none()).map(|collation| (name.as_str(), collation)));
        let own = made.column(name).and_then(|column| column.collation.as_deref()).unwrap_or("BINARY");
        collations.push(known.filter(|collation| !collation.eq_ignore_ascii_case(own)).map(str::to_owned));
    }
    made.key_collations = if collations.iter().all(Option::is_none) { Vec::new() } else { collations };
    left_out
}

/// Whether these columns are the table's primary key or one of its unique sets: see [`UniqueColumns`].
pub(super) fn is_unique(columns: &[String], table: &TableSchema) -> bool {
    UniqueColumns::of(table).has(columns)
}

/// The sets of columns of a table that a foreign key may refer to, in any order. A key that compares otherwise than its columns is none.
pub(super) struct UniqueColumns {
    places: HashMap<String, usize>,
    /// The sorted places of each set.
    sets: HashSet<Vec<usize>>,
}

impl UniqueColumns {
    pub(super) fn of(table: &TableSchema) -> Self {
        let place = |(at, column): (usize, &Column)| (column.name.to_ascii_lowercase(), at);
        let places = table.columns.iter().enumerate().map(place).collect();
        let mut found = UniqueColumns { places, sets: HashSet::new() };
        let key = Some(&table.primary_key).filter(|_| table.key_collations.iter().all(Option::is_none));
        let full = table.unique.iter().filter(|set| set.kind == UniqueKind::Full).map(|set| &set.columns);
        let sets = key.into_iter().chain(full).filter_map(|set| found.sorted(set)).collect();
        found.sets = sets;
        found
    }

    pub(super) fn has(&self, columns: &[String]) -> bool {
        self.sorted(columns).is_some_and(|columns| self.sets.contains(&columns))
    }

    /// The places of these columns; `None` if one is missing, or is named twice, or there are none.
    fn sorted(&self, columns: &[String]) -> Option<Vec<usize>> {
        let place = |name: &String| self.places.get(&name.to_ascii_lowercase()).copied();
        let mut sorted = columns.iter().map(place).collect::<Option<Vec<usize>>>()?;
        sorted.sort_unstable();
        (!sorted.is_empty() && sorted.windows(2).all(|pair| pair[0] != pair[1])).then_some(sorted)
    }
}

pub(super) fn is_in(names: &[String], name: &str) -> bool {
    names.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// Whether these are columns of the table, each once.
pub(super) fn are_columns(names: &[String], table: &TableSchema) -> bool {
    let mut seen = HashSet::with_capacity(names.len());
    names.iter().all(|name| table.column_index(name).is_some_and(|at| seen.insert(at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::ForeignKey;
    use crate::store::sqlite::catalogue::tests::{inspect, schema};
    use crate::store::sqlite::creatable::creatable;

    #[test]
    fn tells_how_a_key_compares_where_its_columns_do_otherwise() {
        let table = |columns: &str, key: &str, more: &str| {
            let table = inspect(&format!("CREATE TABLE t({columns}, PRIMARY KEY ({key})) {more}"), "t");
            (table.primary_key, table.key_collations)
        };
        let some = |name: &str| Some(name.to_owned());
        for more in ["", "WITHOUT ROWID"] {
            let collations = |columns: &str, key: &str| table(columns, key, more).1;
            assert_eq!(collations("a TEXT COLLATE NOCASE", "a"), [None; 0]);
            assert_eq!(collations("a TEXT COLLATE NOCASE", "a COLLATE nocase"), [None; 0]);
            assert_eq!(collations("a TEXT COLLATE NOCASE", "a COLLATE BINARY"), [some("BINARY")]);
            assert_eq!(collations("a TEXT", "a COLLATE NOCASE"), [some("NOCASE")]);
            assert_eq!(collations("a TEXT, b TEXT COLLATE RTRIM", "b, a COLLATE NOCASE"), [None, some("NOCASE")]);
            // One column twice: what is equal by both collations is the same text.
            assert_eq!(table("a TEXT", "a COLLATE NOCASE, a", more), (vec!["a".to_owned()], vec![]));
            assert_eq!(collations("a TEXT COLLATE NOCASE", "a COLLATE RTRIM, a"), [some("BINARY")]);
            assert_eq!(collations("a TEXT", "a COLLATE NOCASE, a COLLATE NOCASE"), [some("NOCASE")]);
        }
        let rowid = inspect("CREATE TABLE t(a INTEGER, PRIMARY KEY (a COLLATE NOCASE))", "t");
        assert!(rowid.rowid_alias && rowid.key_collations.is_empty());
    }

    /// SQLite takes each of them for the index over the key, and for no other.
    #[test]
    fn an_upsert_names_the_index_over_the_key() {
        for (definition, key, target) in [
            ("(a TEXT PRIMARY KEY)", &[0][..], r#""a" COLLATE "BINARY""#),
            ("(a INTEGER PRIMARY KEY UNIQUE)", &[0], r#""a""#),
            (
                "(a TEXT, b, PRIMARY KEY (a COLLATE NOCASE, a), UNIQUE (a))",
                &[0],
                r#""a" COLLATE "NOCASE", "a" COLLATE "BINARY""#,
            ),
            ("(a TEXT NOT NULL, b, UNIQUE (a, a))", &[0], r#""a" COLLATE "BINARY", "a" COLLATE "BINARY""#),
            ("(a TEXT NOT NULL, b, UNIQUE (a), UNIQUE (a COLLATE NOCASE))", &[0], r#""a" COLLATE "BINARY""#),
            (
                "(a TEXT, b, PRIMARY KEY (b, a COLLATE RTRIM)) WITHOUT ROWID",
                &[1, 0],
                r#""b" COLLATE "BINARY", "a" COLLATE "RTRIM""#,
            ),
        ] {
            let sqlite = Connection::open_in_memory().unwrap();
            sqlite.execute_batch(&format!("CREATE TABLE t{definition}")).unwrap();
            let table = schema(&sqlite, "t").unwrap();
            let found = conflict_target(&sqlite, &table, key).unwrap();
            assert_eq!(found, target, "{definition}");
            sqlite.prepare(&format!("INSERT INTO t(a) VALUES (1) ON CONFLICT({found}) DO NOTHING")).unwrap();
        }
    }

    #[test]
    fn a_key_compares_as_the_senders_does_where_that_can_be() {
        let column = |name: &str| Column { name: name.into(), declared_type: "TEXT".into(), ..Column::default() };
        let columns = || ["a", "b", "c"].map(column).into();
        let key = || ["c", "a", "b"].map(String::from).to_vec();
        let mut sender = TableSchema { name: "t".into(), columns: columns(), primary_key: key(), ..TableSchema::default() };
        let made = |sender: &TableSchema| creatable(sender, true, &|_| None).unwrap();
        sender.columns[1].collation = Some("nocase".into());
        sender.key_collations = vec![None, Some("rtrim".into()), Some("BINARY".into())];
        assert_eq!(made(&sender), (sender.clone(), vec![]));
        // It is no key that a foreign key may refer to.
        let reference = ForeignKey { columns: key(), parent: "t".into(), parent_columns: key(), ..ForeignKey::default() };
        let child = TableSchema {
            name: "child".into(),
            columns: columns(),
            foreign_keys: vec![reference],
            ..TableSchema::default()
        };
        let (child, notes) = creatable(&child, true, &|_| Some(&sender)).unwrap();
        assert_eq!((child.foreign_keys.len(), notes.len()), (0, 1), "{notes:?}");
        // What the column does itself is not said of the key.
        sender.columns[0].collation = Some("RTRIM".into());
        sender.columns[1].collation = Some("german".into());
        sender.key_collations[0] = Some("german".into());
        let (table, notes) = made(&sender);
        assert!(table.key_collations.is_empty());
        assert_eq!(notes.len(), 2);
        assert_eq!(notes[1], "Table \"t\": the collation \"german\" of column \"c\" in the key is left out.");
        assert!(creatable(&sender, false, &|_| None).unwrap().0.key_collations.is_empty());
    }
}
