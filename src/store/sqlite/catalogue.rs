//! Reads SQLite's catalogue: what a table looks like. Which there are, [`overview`](super::overview) tells.
//!
//! Sources: `pragma_table_xinfo` (which, unlike `table_info`, shows generated columns),
//! `pragma_index_list`, `pragma_index_xinfo`, `pragma_foreign_key_list`, and `sqlite3_table_column_metadata` for what no
//! pragma tells: a column's collation and AUTOINCREMENT.
//!
//! All of them are asked as `temp.pragma_...`: a database may have a table of such a name, which a name without a schema, or with `main`,
//! would mean. In `temp` there is none, and then SQLite takes its own.

use std::collections::{HashMap, hash_map};

use rusqlite::Connection;

use super::dialect::failed;
use super::keys::{UniqueColumns, key_collations};
use super::overview::{Entry, Overview, Reference};

use super::tokens::{self, Token};
use crate::domain::schema::{
    Column, DefaultValue, ForeignKey, ForeignKeyAction, Index, IndexPart as Part, LogicalType, TableSchema, UniqueKind,
    UniqueSet,
};
use crate::domain::value::Value;
use crate::error::Result;
use crate::plan::table::key_of;
use crate::store::{Check, Target};

/// The structure of an ordinary table.
pub(super) fn read(sqlite: &Connection, entry: &Entry) -> Result<TableSchema> {
    let Entry { name, without_rowid, strict, deferred, has_triggers, .. } = entry.clone();
    let mut table = TableSchema { name, without_rowid, strict, has_triggers, ..TableSchema::default() };
    columns(sqlite, &mut table).map_err(failed)?;
    let has_key_index = indexes(sqlite, &mut table).map_err(failed)?;
    table.rowid_alias = !table.without_rowid
        && !has_key_index
        && table.primary_key.len() == 1
        && table.column(&table.primary_key[0]).is_some_and(|c| c.declared_type.eq_ignore_ascii_case("INTEGER"));
    // SQLite lets NULL into the key of an ordinary table unless each column says NOT NULL: a bug of old that it keeps
    // (https://www.sqlite.org/lang_createtable.html, 3.5). Not into a rowid, nor into the key of a STRICT or WITHOUT ROWID table,
    // although `table_xinfo` may not say so.
    if table.rowid_alias || table.without_rowid || table.strict {
        for key in table.primary_key.clone() {
            if let Some(at) = table.column_index(&key) {
                table.columns[at].nullable = false;
            }
        }
    }
    table.foreign_keys = foreign_keys(sqlite, &table.name).map_err(failed)?;
    table.deferred = !table.foreign_keys.is_empty() && deferred;
    Ok(table)
}

fn columns(sqlite: &Connection, table: &mut TableSchema) -> rusqlite::Result<()> {
    let mut statement = sqlite.prepare_cached(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM temp.pragma_table_xinfo(?1) ORDER BY cid",
    )?;
    let mut rows = statement.query([&table.name])?;
    let mut key = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let declared_type: String = row.get(1)?;
        let (_, collation, _, _, autoincrement) = sqlite.column_metadata(None, table.name.as_str(), name.as_str())?;
        let collation = collation.map(|c| c.to_string_lossy().into_owned()).filter(|c| !c.eq_ignore_ascii_case("BINARY"));
        table.autoincrement |= autoincrement;
        let place: i64 = row.get(4)?;
        if place > 0 {
            key.push((place, name.clone()));
        }
        table.columns.push(Column {
            logical: LogicalType::from_declared(&declared_type),
            name,
            declared_type,
            nullable: !row.get::<_, bool>(2)?,
            default: row.get::<_, Option<String>>(3)?.map(plain_default),
            generated: matches!(row.get::<_, i64>(5)?, 2 | 3),
            collation,
            ..Column::default()
        });
    }
    key.sort();
    table.primary_key = key.into_iter().map(|(_, name)| name).collect();
    Ok(())
}

/// Fills the unique sets and plain indexes; tells whether the primary key has an index of its own.
fn indexes(sqlite: &Connection, table: &mut TableSchema) -> rusqlite::Result<bool> {
    let mut statement = sqlite
        .prepare_cached("SELECT name, \"unique\", origin, partial FROM temp.pragma_index_list(?1) ORDER BY seq DESC")?;
    let list = statement
        .query_map([&table.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<Vec<(String, bool, String, bool)>>>()?;
    let mut has_key_index = false;
    for (name, unique, origin, partial) in list {
        let parts = index_parts(sqlite, &name)?;
        if origin == "pk" {
            has_key_index = true;
            table.key_collations = key_collations(table, &parts);
            continue;
        }
        // An index that compares otherwise than its column does is like one over an expression: it is no set of columns.
        let plain = parts
            .iter()
            .all(|part| part.column.as_deref().is_some_and(|column| compares_alike(table, column, &part.collation)));
        match (unique, plain) {
            (true, true) => {
                let kind = if partial { UniqueKind::Partial } else { UniqueKind::Full };
                let columns: Vec<String> = distinct(&parts).map(|(column, _)| column).collect();
                let says_more =
                    kind == UniqueKind::Full && (columns.len() < parts.len() || parts.iter().any(|p| p.descending));
                let parts = if says_more { listed(table, &parts).unwrap_or_default() } else { Vec::new() };
                table.unique.push(UniqueSet { columns, kind, index: named(&origin, name), parts, ..UniqueSet::default() });
            }
            (true, false) => {
                let parts = listed(table, &parts).filter(|_| !partial).unwrap_or_default();
                let (kind, index) = (UniqueKind::Expression, named(&origin, name));
                table.unique.push(UniqueSet { kind, index, parts, ..UniqueSet::default() });
            }
            (false, _) => match listed(table, &parts).filter(|_| !partial) {
                Some(parts) => table.indexes.push(Index { name, parts }),
                None => table.other_indexes.push(name),
            },
        }
    }
    Ok(has_key_index)
}

pub(super) struct IndexPart {
    pub(super) column: Option<String>,
    descending: bool,
    pub(super) collation: String,
}

pub(super) fn index_parts(sqlite: &Connection, index: &str) -> rusqlite::Result<Vec<IndexPart>> {
    let mut statement = sqlite
        .prepare_cached("SELECT name, \"desc\", coll FROM temp.pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno")?;
    statement
        .query_map([index], |row| Ok(IndexPart { column: row.get(0)?, descending: row.get(1)?, collation: row.get(2)? }))?
        .collect()
}

/// The columns of an index, each with whether it is descending. One may stand in it twice, which changes nothing.
pub(super) fn distinct(parts: &[IndexPart]) -> impl Iterator<Item = (String, bool)> {
    let first = |at: usize, column: &String| parts[..at].iter().all(|before| before.column.as_ref() != Some(column));
    let columns = parts.iter().enumerate().filter_map(|(at, part)| Some((at, part.column.as_ref()?, part.descending)));
    columns.filter(move |(at, column, _)| first(*at, column)).map(|(_, column, descending)| (column.clone(), descending))
}

/// The name of an index that was made as one.
fn named(origin: &str, name: String) -> Option<String> {
    (origin == "c").then_some(name)
}

/// The columns of an index as it lists them; `None` if there is an expression among them.
fn listed(table: &TableSchema, parts: &[IndexPart]) -> Option<Vec<Part>> {
    let part = |part: &IndexPart| {
        let column = part.column.clone()?;
        let collation = (!compares_alike(table, &column, &part.collation)).then(|| part.collation.clone());
        Some(Part { column, collation, descending: part.descending })
    };
    parts.iter().map(part).collect()
}

/// A default as SQL that every database reads alike, if it is a literal; otherwise as it is. To SQLite a name is a string there: in
/// parentheses it would have refused it.
fn plain_default(text: String) -> String {
    let Some(found) = tokens::tokens(&text) else { return text };
    let mut tokens = &found[..];
    while let [Token::Sign('('), inner @ .., Token::Sign(')')] = tokens {
        tokens = inner;
    }
    let read = |text: &str| DefaultValue::parse(text);
    let plain = match tokens {
        [Token::Word(word)] => read(word).or_else(|| Some(DefaultValue::Literal(Value::from(*word)))),
        [quoted @ Token::Quoted(_)] => quoted.name().map(|text| DefaultValue::Literal(text.into())),
        [Token::Number(text) | Token::Blob(text)] => read(text),
        [Token::Sign(sign @ ('-' | '+')), Token::Number(text)] => read(&format!("{sign}{text}")),
        _ => None,
    };
    plain.map_or(text, |plain| plain.to_sql())
}

pub(super) fn compares_alike(table: &TableSchema, column: &str, collation: &str) -> bool {
    table.column(column).is_some_and(|c| c.collation.as_deref().unwrap_or("BINARY").eq_ignore_ascii_case(collation))
}

fn foreign_keys(sqlite: &Connection, table: &str) -> rusqlite::Result<Vec<ForeignKey>> {
    let sql = "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete FROM temp.pragma_foreign_key_list(?1) ORDER BY id DESC, seq";
    let mut statement = sqlite.prepare_cached(sql)?;
    let mut rows = statement.query([table])?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let (column, parent_column): (String, Option<String>) = (row.get(2)?, row.get(3)?);
        if keys.last().is_none_or(|(last, _)| *last != id) {
            let (on_update, on_delete): (String, String) = (row.get(4)?, row.get(5)?);
            let key = ForeignKey {
                parent: row.get(1)?,
                on_update: ForeignKeyAction::from_sql(&on_update).unwrap_or_default(),
                on_delete: ForeignKeyAction::from_sql(&on_delete).unwrap_or_default(),
                ..ForeignKey::default()
            };
            keys.push((id, key));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.columns.push(column);
            key.parent_columns.extend(parent_column);
        }
    }
    drop(rows);
    let mut keys: Vec<ForeignKey> = keys.into_iter().map(|(_, key)| key).collect();
    for key in &mut keys {
        // A reference that names no columns means the parent's primary key.
        if key.parent_columns.is_empty() {
            let mut statement =
                sqlite.prepare_cached("SELECT name FROM temp.pragma_table_xinfo(?1) WHERE pk > 0 ORDER BY pk")?;
            key.parent_columns = statement.query_map([&key.parent], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        }
    }
    Ok(keys)
}

/// The references to columns of this table that may change where its rows are found by the key at `key`.
pub(super) fn references_to_changing<'o>(
    overview: &'o Overview,
    table: &'o TableSchema,
    key: &'o [usize],
) -> impl Iterator<Item = &'o Reference> {
    let collations = table.key_collations_of(key);
    // What the key calls equal may be another value to the column.
    let is_coarse =
        move |at: usize| collations.get(at).copied().flatten().is_some_and(|by| !by.eq_ignore_ascii_case("BINARY"));
    let stays = move |name: &String| {
        let part = table.column_index(name).and_then(|column| key.iter().position(|part| *part == column));
        part.is_some_and(|at| !is_coarse(at))
    };
    let changes = move |reference: &&Reference| match &reference.to {
        Some(to) => !stays(to),
        None => !table.primary_key.iter().all(&stays),
    };
    overview.references_to(&table.name).iter().filter(changes)
}

/// Whether one of these references does not follow, and is checked only at the commit.
pub(super) fn is_held<'o>(overview: &Overview, mut references: impl Iterator<Item = &'o Reference>, check: Check) -> bool {
    let is_late = |child: &str| check == Check::AtCommit || overview.table(child).is_some_and(|entry| entry.deferred);
    references.any(|reference| !reference.follows && is_late(&reference.child))
}

/// Whether more than the references of the rows that are written depends on foreign keys being enforced: what triggers do, and rows
/// that refer to columns which may change (all but those of the key).
pub(super) fn depends_on_checks(
    overview: &Overview,
    schema: impl Fn(&str) -> Result<Option<TableSchema>>,
    target: &Target<'_>,
) -> Result<bool> {
    if overview.has_triggers(&target.table.name) {
        return Ok(true);
    }
    // SQLite says of a reference to what is not unique that it is none, and refuses all rows.
    // Each parent is looked at once: a table may have thousands of references to one that is large.
    let mut parents: HashMap<&str, Option<UniqueColumns>> = HashMap::new();
    for reference in &target.table.foreign_keys {
        let unique = match parents.entry(&reference.parent) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(unknown) => {
                if overview.is_view(&reference.parent) {
                    return Ok(true);
                }
                unknown.insert(schema(&reference.parent)?.map(|parent| UniqueColumns::of(&parent)))
            }
        };
        if unique.as_ref().is_some_and(|unique| !unique.has(&reference.parent_columns)) {
            return Ok(true);
        }
    }
    let key = key_of(target.table)?.map_or(Vec::new(), |(columns, _)| columns);
    Ok(target.updates && references_to_changing(overview, target.table, &key).next().is_some())
}

/// A name under which the rowid of this table can be reached: none if it has none, or if columns have taken all three names.
pub(super) fn rowid_name(table: &TableSchema) -> Option<&'static str> {
    if table.without_rowid {
        return None;
    }
    ["rowid", "_rowid_", "oid"].into_iter().find(|name| table.column_index(name).is_none())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::statements::Statements;
    use super::*;
    use crate::domain::schema::UniqueKind;

    /// What a table of this database looks like.
    pub(in crate::store::sqlite) fn inspect(sql: &str, table: &str) -> TableSchema {
        let sqlite = Connection::open_in_memory().unwrap();
        sqlite.execute_batch(sql).unwrap();
        schema(&sqlite, table).unwrap()
    }

    /// The structure of a table, if there is one.
    pub(in crate::store::sqlite) fn schema(sqlite: &Connection, table: &str) -> Option<TableSchema> {
        let overview = Overview::read(sqlite).unwrap();
        let mut found = overview.table(table).map(|entry| read(sqlite, entry).unwrap());
        found.iter_mut().for_each(|found| Statements::read(sqlite).unwrap().tell(found));
        found
    }

    #[test]
    fn reads_columns_key_and_sets() {
        let table = inspect(
            "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL COLLATE NOCASE UNIQUE, a INT DEFAULT 5,
                b INT, c AS (a + b) VIRTUAL, d INT AS (a * 2) STORED);
             CREATE UNIQUE INDEX part ON t(a) WHERE a > 0;
             CREATE UNIQUE INDEX expr ON t(lower(email));
             CREATE UNIQUE INDEX other ON t(email COLLATE BINARY);
             CREATE INDEX plain ON t(b, a DESC);
             CREATE INDEX partial_plain ON t(b) WHERE b > 0;",
            "T",
        );
        assert_eq!(table.name, "t");
        assert!(table.rowid_alias && table.autoincrement && !table.strict && !table.without_rowid);
        assert_eq!(table.primary_key, ["id"]);
        let generated: Vec<bool> = table.columns.iter().map(|c| c.generated).collect();
        assert_eq!(generated, [false, false, false, false, true, true]);
        assert_eq!(table.columns[1].collation.as_deref(), Some("NOCASE"));
        assert!(!table.columns[0].nullable && !table.columns[1].nullable && table.columns[2].nullable);
        assert_eq!(table.columns[2].default.as_deref(), Some("5"));
        let kinds: Vec<UniqueKind> = table.unique.iter().map(|set| set.kind).collect();
        assert_eq!(kinds, [UniqueKind::Full, UniqueKind::Partial, UniqueKind::Expression, UniqueKind::Expression]);
        let part = |column: &str, descending| Part { descending, ..Part::plain(column) };
        assert_eq!(table.indexes, [Index { name: "plain".into(), parts: vec![part("b", false), part("a", true)] }]);
        assert_eq!(table.other_indexes, ["partial_plain"]);
        let names: Vec<_> = table.unique.iter().map(|set| set.index.as_deref()).collect();
        assert_eq!(names, [None, Some("part"), Some("expr"), Some("other")]);
        assert_eq!(table.unique[3].parts, [Part { collation: Some("BINARY".into()), ..Part::plain("email") }]);
        assert!(table.unique[..3].iter().all(|set| set.parts.is_empty()));
    }

    /// What the catalogue calls a default is what SQLite makes of it.
    #[test]
    fn defaults_that_are_literals_are_told_as_every_database_reads_them() {
        for (text, plain) in [
            ("\"x \"\"y\"", "'x \"y'"),
            ("word", "'word'"),
            ("[br ack]", "'br ack'"),
            ("`tick`", "'tick'"),
            ("\"\"", "''"),
            ("'it''s'", "'it''s'"),
            ("\"true\"", "'true'"),
            ("TRUE", "1"),
            ("[current_time]", "'current_time'"),
            ("current_Time", "CURRENT_TIME"),
            ("NULL", "NULL"),
            ("0x10", "16"),
            ("-0x10", "-16"),
            ("- /* minus */ 5", "-5"),
            ("+ 1", "1"),
            ("- 1.5e3", "-1500.0"),
            ("9223372036854775808", "9.223372036854776e18"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("X'00FF'", "x'00ff'"),
            ("((5))", "5"),
            ("( 'a' -- x\n)", "'a'"),
        ] {
            let sqlite = Connection::open_in_memory().unwrap();
            sqlite.execute_batch(&format!("CREATE TABLE t(id INTEGER PRIMARY KEY, a DEFAULT {text})")).unwrap();
            let found = schema(&sqlite, "t").unwrap().columns[1].default.clone().unwrap();
            assert_eq!(found, plain, "{text}");
            let copy = format!(
                "CREATE TABLE u(id INTEGER PRIMARY KEY, a DEFAULT {found}); INSERT INTO t(id) VALUES (1);
                                INSERT INTO u(id) VALUES (1)"
            );
            sqlite.execute_batch(&copy).unwrap();
            let same = "SELECT t.a IS u.a AND typeof(t.a) = typeof(u.a) FROM t, u";
            assert!(sqlite.query_one::<bool, _, _>(same, [], |row| row.get(0)).unwrap(), "{text}: {found}");
        }
        for code in
            ["(1 + 1)", "(random())", "('a' || 'b')", "(- - 5)", "(-'5')", "1e999", "(datetime('now'))", "(x'00' || 1)"]
        {
            let found = inspect(&format!("CREATE TABLE t(a DEFAULT {code})"), "t").columns[0].default.clone().unwrap();
            assert_eq!(DefaultValue::parse(&found), None, "{found}");
        }
    }

    #[test]
    fn tells_the_rowid_from_keys_that_look_like_it() {
        assert!(inspect("CREATE TABLE t(id INTEGER PRIMARY KEY)", "t").rowid_alias);
        for sql in [
            "CREATE TABLE t(id INTEGER PRIMARY KEY DESC)",
            "CREATE TABLE t(id INT PRIMARY KEY)",
            "CREATE TABLE t(id BIGINT PRIMARY KEY)",
        ] {
            let table = inspect(sql, "t");
            assert!(!table.rowid_alias, "{sql}");
            assert!(table.columns[0].nullable, "{sql}");
        }
        for sql in ["CREATE TABLE t(id INTEGER PRIMARY KEY) WITHOUT ROWID", "CREATE TABLE t(id INT PRIMARY KEY) STRICT"] {
            let table = inspect(sql, "t");
            assert!(!table.rowid_alias && !table.columns[0].nullable, "{sql}");
        }
    }

    /// What the catalogue says is what SQLite does.
    #[test]
    fn a_key_is_nullable_where_sqlite_lets_null_in() {
        for (definition, nullable) in [
            ("(a TEXT PRIMARY KEY)", true),
            ("(a TEXT PRIMARY KEY NOT NULL)", false),
            ("(a INTEGER PRIMARY KEY DESC)", true),
            ("(a BIGINT PRIMARY KEY)", true),
            ("(b TEXT NOT NULL DEFAULT 'x', a TEXT, PRIMARY KEY (b, a))", true),
            ("(b TEXT DEFAULT 'x', a TEXT NOT NULL, PRIMARY KEY (a))", false),
            ("(a INTEGER PRIMARY KEY)", false),
            ("(a INTEGER, PRIMARY KEY (A DESC))", false),
            ("(a TEXT PRIMARY KEY) STRICT", false),
            ("(a INTEGER PRIMARY KEY) STRICT", false),
            ("(a TEXT, b TEXT NOT NULL DEFAULT 'x', PRIMARY KEY (b, a)) STRICT", false),
            ("(a TEXT PRIMARY KEY) WITHOUT ROWID", false),
            ("(a INTEGER PRIMARY KEY) WITHOUT ROWID", false),
            ("(a TEXT, b TEXT NOT NULL DEFAULT 'x', PRIMARY KEY (b, a)) WITHOUT ROWID", false),
            ("(a ANY PRIMARY KEY) STRICT, WITHOUT ROWID", false),
        ] {
            let sqlite = Connection::open_in_memory().unwrap();
            sqlite.execute_batch(&format!("CREATE TABLE t{definition}")).unwrap();
            let takes_null = sqlite.execute("INSERT INTO t(a) VALUES (NULL)", []).is_ok()
                && sqlite.query_one("SELECT a IS NULL FROM t", [], |row| row.get(0)).unwrap();
            let table = schema(&sqlite, "t").unwrap();
            let key = key_of(&table).unwrap().unwrap();
            assert_eq!(
                (takes_null, table.column("a").unwrap().nullable, key.1),
                (nullable, nullable, nullable),
                "{definition}"
            );
        }
    }

    #[test]
    fn reads_foreign_keys_in_order_and_fills_in_the_parents_key() {
        let table = inspect(
            "CREATE TABLE p(a INT, b INT, PRIMARY KEY(b, a));
             CREATE TABLE q(id INTEGER PRIMARY KEY);
             CREATE TABLE t(x INT, y INT, z INT REFERENCES q(id) ON DELETE CASCADE, FOREIGN KEY(x, y) REFERENCES p);",
            "t",
        );
        assert_eq!(table.foreign_keys.len(), 2);
        assert_eq!(table.foreign_keys[0].parent, "q");
        assert_eq!(table.foreign_keys[0].on_delete, ForeignKeyAction::Cascade);
        assert_eq!(table.foreign_keys[1].columns, ["x", "y"]);
        assert_eq!(table.foreign_keys[1].parent_columns, ["b", "a"]);
        assert!(!table.deferred);
        assert!(inspect("CREATE TABLE t(x INT REFERENCES t(x) DEFERRABLE INITIALLY deferred)", "t").deferred);
    }

    #[test]
    fn each_parent_is_looked_at_once() {
        let sqlite = Connection::open_in_memory().unwrap();
        let columns: Vec<String> = (0..100).map(|number| format!("c{number} REFERENCES P(id)")).collect();
        let table = format!(
            "CREATE TABLE p(id INTEGER PRIMARY KEY, v); CREATE TABLE t(id INTEGER PRIMARY KEY, {}, %)",
            columns.join(", ")
        );
        for (more, depends) in
            [("w REFERENCES p(ID)", false), ("w REFERENCES p(v)", true), ("w REFERENCES nowhere(id)", false)]
        {
            sqlite
                .execute_batch(&format!("DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS p; {}", table.replace('%', more)))
                .unwrap();
            let (overview, t) = (Overview::read(&sqlite).unwrap(), schema(&sqlite, "t").unwrap());
            let looked = std::cell::RefCell::new(Vec::new());
            let look = |name: &str| {
                looked.borrow_mut().push(name.to_ascii_lowercase());
                Ok(schema(&sqlite, name))
            };
            assert_eq!(
                depends_on_checks(&overview, look, &Target { table: &t, updates: false }).unwrap(),
                depends,
                "{more}"
            );
            let looked = looked.into_inner();
            assert!(looked.len() <= 3 && looked.iter().filter(|name| *name == "p").count() <= 2, "{looked:?}");
        }
    }

    #[test]
    fn only_ordinary_tables_are_tables() {
        let sqlite = Connection::open_in_memory().unwrap();
        sqlite
            .execute_batch(
                "CREATE TABLE b(x); CREATE TABLE a(x); CREATE VIEW v AS SELECT 1; CREATE TABLE rowferry_x(x);
                 CREATE TABLE rowferryx(x); CREATE VIRTUAL TABLE f USING fts5(x); CREATE TABLE \"we\"\"ird \"(x);",
            )
            .unwrap();
        assert_eq!(Overview::read(&sqlite).unwrap().names(), ["a", "b", "rowferryx", "we\"ird "]);
        for hidden in ["v", "f", "f_data", "rowferry_x", "sqlite_schema", "nope"] {
            assert_eq!(schema(&sqlite, hidden), None, "{hidden}");
        }
    }
}
