use super::*;
use crate::domain::schema::{ForeignKey, Index, IndexPart, LogicalType, UniqueKind, UniqueSet};
use crate::store::postgres::testing::test;

fn begin(sql: &str) -> Connection {
    let mut connection = test(sql);
    connection.batch("BEGIN").unwrap();
    connection
}

fn described(connection: &mut Connection, name: &str) -> TableSchema {
    connection.forget();
    connection.table(name).unwrap().unwrap_or_else(|| panic!("there is no table {name:?}")).schema.clone()
}

fn make(connection: &mut Connection, schema: &TableSchema) -> Vec<String> {
    let new = NewTable { schema, exact: true, parents: &|_| None };
    create(connection, &new, &mut Pending::default()).unwrap()
}

/// A table of SQLite's: columns as `name:TYPE`.
fn table(name: &str, columns: &str, key: &str) -> TableSchema {
    let column = |word: &str| {
        let (name, declared) = word.split_once(':').unwrap();
        let logical = LogicalType::from_declared(declared);
        Column { name: name.into(), declared_type: declared.into(), logical, nullable: true, ..Column::default() }
    };
    let names = |text: &str| text.split_whitespace().map(String::from).collect();
    TableSchema {
        name: name.into(),
        columns: columns.split_whitespace().map(column).collect(),
        primary_key: names(key),
        ..TableSchema::default()
    }
}

fn key(columns: &str, parent: &str, parent_columns: &str) -> ForeignKey {
    let names = |text: &str| text.split_whitespace().map(String::from).collect();
    ForeignKey {
        columns: names(columns),
        parent: parent.into(),
        parent_columns: names(parent_columns),
        ..ForeignKey::default()
    }
}

const TYPES: &str = "CREATE TYPE mood AS ENUM ('sad'); CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE pair AS (a int, b text);";

#[test]
fn a_table_made_from_its_structure_has_the_same_structure() {
    let sql = format!(
        "{TYPES} CREATE TABLE parent (id bigint PRIMARY KEY, code varchar(9) UNIQUE);
        CREATE TABLE \"Käse \"\"q\"\"\" (id int GENERATED ALWAYS AS IDENTITY, serial bigserial, t text NOT NULL DEFAULT 'it''s \\\\',
          n numeric(10,2) DEFAULT 1.50, neg int DEFAULT -5, f float8 DEFAULT 1.5, b bool DEFAULT true, y bytea DEFAULT '\\x00ff', at timestamptz(3) DEFAULT now(),
          tags text[] DEFAULT '{{}}', m mood DEFAULT 'sad', ms mood[], p positive, pr pair, iv interval day to second(3), bits bit varying(5),
          c text COLLATE \"C\", \"group by\" char(3), parent bigint REFERENCES parent ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
          code varchar(9) REFERENCES parent(code) ON UPDATE SET NULL, PRIMARY KEY (t, id), UNIQUE (n, f), UNIQUE NULLS NOT DISTINCT (neg));
        CREATE INDEX \"by n\" ON \"Käse \"\"q\"\"\" (n DESC, c, \"group by\" COLLATE \"C\"); CREATE UNIQUE INDEX one ON \"Käse \"\"q\"\"\" (c, n DESC, t COLLATE \"C\") NULLS NOT DISTINCT"
    );
    let mut there = test(&sql);
    let mut here = begin(TYPES);
    for name in ["parent", "Käse \"q\""] {
        let original = described(&mut there, name);
        assert_eq!(make(&mut here, &original), Vec::<String>::new());
        let made = described(&mut here, name);
        assert_eq!(made, original);
    }
}

#[test]
fn types_that_are_not_here_become_others_and_it_is_said() {
    let mut there = test(&format!(
        "{TYPES} CREATE SCHEMA s; CREATE TYPE s.e AS ENUM ('a'); CREATE TABLE users (id int);
        CREATE TABLE t (m mood, ms mood[], p positive, e s.e, u users, i int4range)"
    ));
    let original = described(&mut there, "t");
    let mut here = begin("CREATE TYPE e AS ENUM ('a'); CREATE TABLE users (id int)");
    let notes = make(&mut here, &original);
    let made = described(&mut here, "t");
    let types: Vec<&str> = made.columns.iter().map(|column| column.declared_type.as_str()).collect();
    // The type of rows of a table is none: the table could not be changed any more.
    assert_eq!(types, ["text", "text", "bigint", "e", "text", "int4range"]);
    assert_eq!(notes.len(), 4, "{notes:#?}");
    assert!(notes[0].contains("\"mood\"") && notes.iter().all(|note| note.starts_with("Table \"t\": ")), "{notes:#?}");
}

#[test]
fn a_table_of_sqlite_gets_the_types_that_its_declarations_mean() {
    let mut here = begin("");
    let mut sender = table("Größe", "id:INTEGER n:NUMERIC t:VARCHAR(3) b:BLOB r:REAL x: f:BOOLEAN at:DATETIME s:INT", "id");
    sender.rowid_alias = true;
    sender.columns[0].nullable = false;
    for (at, default) in
        [(1, "0"), (2, "'a'"), (3, "x'00'"), (4, "-1.5"), (5, "7"), (6, "1"), (7, "CURRENT_TIMESTAMP"), (8, "1.5")]
    {
        sender.columns[at].default = Some(default.into());
    }
    sender.columns[2].collation = Some("NOCASE".into());
    sender.strict = true;
    let notes = make(&mut here, &sender);
    let made = described(&mut here, "Größe");
    let types: Vec<&str> = made.columns.iter().map(|column| column.declared_type.as_str()).collect();
    let expected = ["bigint", "numeric", "text", "bytea", "double precision", "rowferry_any", "boolean", "text", "bigint"];
    assert_eq!(types, expected);
    assert_eq!(made.columns[0].numbering, Some(Numbering::ByDefault));
    let defaults: Vec<_> = made.columns.iter().map(|column| column.default.as_deref()).collect();
    let expected =
        [None, Some("0"), Some("'a'"), Some("x'00'"), Some("-1.5"), Some("7"), Some("1"), Some("CURRENT_TIMESTAMP"), None];
    assert_eq!(defaults, expected);
    assert!(notes.len() == 2 && notes[0].contains("NOCASE") && notes[1].contains("\"s\""), "{notes:#?}");
}

#[test]
fn what_cannot_be_taken_over_is_left_out_and_said() {
    let mut here = begin("CREATE TABLE taken (a int); CREATE INDEX i ON taken (a)");
    let mut sender = table("t", "a:TEXT b:INT c:INT j:JSON", "a");
    sender.columns[1].default = Some("random()".into());
    sender.columns[2].generated = true;
    sender.columns[3].declared_type = "JSON TEXT".into();
    sender.key_on_conflict = OnConflict::Replace;
    sender.key_collations = vec![Some("NOCASE".into())];
    let unique = |columns: &[&str], kind| UniqueSet {
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        kind,
        ..UniqueSet::default()
    };
    sender.unique = vec![
        unique(&["b"], UniqueKind::Partial),
        unique(&[], UniqueKind::Expression),
        unique(&["j"], UniqueKind::Full),
        unique(&["b", "c"], UniqueKind::Full),
    ];
    let index = |name: &str, column: &str| Index { name: name.into(), parts: vec![IndexPart::plain(column)] };
    let long = "ß".repeat(40);
    sender.indexes = vec![index("i", "b"), index(&long, "c"), index("", "b"), index("j", "j"), index("k", "nowhere")];
    sender.other_indexes = vec!["o".into()];
    sender.foreign_keys =
        vec![key("b", "nowhere", "id"), key("b", "taken", "a"), key("b c", "taken", "a"), key("a", "t", "a")];
    let notes = make(&mut here, &sender);
    assert_eq!(notes.len(), 4 + 3 + 3 + 3, "{notes:#?}");
    assert!(notes.iter().all(|note| note.starts_with("Table \"t\": ") && note.ends_with('.')), "{notes:#?}");
    let made = described(&mut here, "t");
    let names: Vec<&str> = made.indexes.iter().map(|index| index.name.as_str()).collect();
    assert_eq!(names, ["i 2", &"ß".repeat(31), "t_b_idx"]);
    assert_eq!((made.unique.len(), made.foreign_keys.len()), (1, 1));
}

#[test]
fn what_cannot_be_a_table_is_an_error() {
    let sql = "CREATE SCHEMA more; CREATE TABLE here (a int); CREATE VIEW seen AS SELECT 1";
    let mut here = crate::store::postgres::testing::test_with(sql, &["public", "more"]);
    here.batch("BEGIN").unwrap();
    let long = "x".repeat(64);
    for (name, columns, key, kind) in [
        ("rowferry_x", "a:INT", "", ErrorKind::ReservedName),
        ("pg_x", "a:INT", "", ErrorKind::ReservedName),
        ("more.rowferry_x", "a:INT", "", ErrorKind::ReservedName),
        ("more.pg_x", "a:INT", "", ErrorKind::ReservedName),
        (&format!("{}.b", &long[1..]), "a:INT", "", ErrorKind::TooLarge),
        (&format!("more.{long}"), "a:INT", "", ErrorKind::TooLarge),
        ("t", "", "", ErrorKind::SchemaMismatch),
        ("", "a:INT", "", ErrorKind::SchemaMismatch),
        ("t\0", "a:INT", "", ErrorKind::SchemaMismatch),
        ("t", "a:INT a:INT", "", ErrorKind::SchemaMismatch),
        ("t", "a:INT", "b", ErrorKind::SchemaMismatch),
        ("t", "a:INT", "a a", ErrorKind::SchemaMismatch),
        (&long, "a:INT", "", ErrorKind::TooLarge),
        ("t", &format!("{long}:INT"), "", ErrorKind::TooLarge),
        ("here", "a:INT", "", ErrorKind::SchemaMismatch),
        ("seen", "a:INT", "", ErrorKind::SchemaMismatch),
    ] {
        let schema = table(name, columns, key);
        here.batch("SAVEPOINT s").unwrap();
        let new = NewTable { schema: &schema, exact: true, parents: &|_| None };
        let error = create(&mut here, &new, &mut Pending::default()).unwrap_err();
        here.batch("ROLLBACK TO s").unwrap();
        assert_eq!(error.kind(), kind, "{name:?} {columns:?}: {error}");
    }
    // The name of a further schema does not count.
    assert_eq!(make(&mut here, &table(&format!("more.{}", &long[1..]), "a:INT", "")), [""; 0]);
    // Letters tell names apart.
    assert_eq!(
        make(&mut here, &TableSchema { names: crate::domain::names::NameRules::Exact, ..table("Here", "a:INT A:INT", "a") }),
        [""; 0]
    );
}

#[test]
fn nothing_of_a_description_is_run() {
    let attack = "x\" int); DROP TABLE kept; --";
    let mut here = begin("CREATE TABLE kept (a int)");
    let mut sender = table("t", "a:INT", "");
    (sender.name, sender.columns[0].name) = (attack.into(), attack.into());
    sender.columns[0].declared_type = "int); DROP TABLE kept; --".into();
    sender.columns[0].default = Some("'0'); DROP TABLE kept; --".into());
    sender.columns[0].collation = Some("C\"; DROP TABLE kept; --".into());
    sender.indexes = vec![Index { name: attack.into(), parts: vec![IndexPart::plain(attack)] }];
    for (number, (origin, exact)) in
        [(Origin::Sqlite, true), (Origin::Postgres, true), (Origin::Other, true), (Origin::Sqlite, false)]
            .into_iter()
            .enumerate()
    {
        sender.origin = origin;
        sender.name = format!("{number}{attack}");
        let new = NewTable { schema: &sender, exact, parents: &|_| None };
        create(&mut here, &new, &mut Pending::default()).unwrap();
        assert_eq!(described(&mut here, &sender.name).columns[0].name, attack);
        described(&mut here, "kept");
    }
}

#[test]
fn tables_refer_to_what_is_made_after_them() {
    let mut here = begin("");
    let mut a = table("a", "id:INTEGER b:INT c:INT d:INT", "id");
    a.foreign_keys = vec![key("b", "b", "id"), key("c", "c", "x"), ForeignKey { deferred: true, ..key("d", "b", "") }];
    let b =
        TableSchema { foreign_keys: vec![key("a", "a", "id"), key("id", "b", "id")], ..table("b", "id:INT a:INT", "id") };
    let c = table("c", "x:INT", "");
    let tables = [&a, &b, &c];
    let parents = |name: &str| tables.into_iter().find(|table| table.name == name);
    let mut pending = Pending::default();
    for schema in tables {
        let notes = create(&mut here, &NewTable { schema, exact: true, parents: &parents }, &mut pending).unwrap();
        assert_eq!(notes, [""; 0]);
    }
    let made = described(&mut here, "a").foreign_keys;
    assert_eq!(made, [key("b", "b", "id"), ForeignKey { deferred: true, ..key("d", "b", "id") }]);
    assert_eq!(described(&mut here, "b").foreign_keys, b.foreign_keys);
    // What could not be is told at the end, once for each time that it is asked.
    let notes = foreign_keys::complete(&mut here, &NewTable { schema: &a, exact: true, parents: &|_| None }).unwrap();
    assert!(notes.len() == 1 && notes[0].contains("\"c\"") && notes[0].contains("not unique"), "{notes:#?}");
    // In a later transaction, what waited is not known any more.
    let mut late = table("late", "id:INTEGER z:INT", "id");
    late.foreign_keys = vec![key("z", "z", "id")];
    let z = table("z", "id:INTEGER", "id");
    create(&mut here, &NewTable { schema: &late, exact: true, parents: &|_| Some(&z) }, &mut Pending::default()).unwrap();
    let new = NewTable { schema: &late, exact: true, parents: &|_| None };
    assert!(foreign_keys::complete(&mut here, &new).unwrap()[0].contains("neither here nor pulled"));
    make(&mut here, &z);
    assert_eq!(foreign_keys::complete(&mut here, &new).unwrap(), [""; 0]);
    assert_eq!(described(&mut here, "late").foreign_keys, late.foreign_keys);
}
