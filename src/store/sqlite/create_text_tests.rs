use proptest::prelude::{Just, ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use rusqlite::Connection;

use super::*;

/// What SQLite keeps of a table's statement.
fn kept(sql: &str) -> Option<(Connection, String)> {
    let sqlite = Connection::open_in_memory().unwrap();
    sqlite.execute_batch(sql).ok()?;
    let text = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid DESC LIMIT 1";
    let text = sqlite.query_one(text, [], |row| row.get(0)).ok()?;
    Some((sqlite, text))
}

fn of(sql: &str) -> CreateText {
    let (_, text) = kept(sql).unwrap();
    read(&text).unwrap_or_else(|| panic!("{text}"))
}

fn key(is_primary: bool, parts: &[(&str, Option<&str>)], on_conflict: OnConflict) -> KeyText {
    let part = |(column, by): &(&str, Option<&str>)| KeyPart { column: (*column).into(), collation: by.map(str::to_owned) };
    KeyText { is_primary, parts: parts.iter().map(part).collect(), on_conflict, autoincrement: false }
}

#[test]
fn tells_what_no_pragma_does() {
    let found = of(r#"CREATE TABLE IF NOT EXISTS "we""ird -- (" ( -- CHECK (1)
        id INTEGER /* PRIMARY KEY */ CONSTRAINT pk PRIMARY KEY ON CONFLICT REPLACE,
        'a b' VARCHAR (10, 2) NOT NULL ON CONFLICT IGNORE DEFAULT ' CHECK (1) ' UNIQUE ON CONFLICT fail COLLATE nocase,
        [c] "my type" NULL ON CONFLICT ABORT DEFAULT -1 CHECK (([c] > ')') OR (1)) CHECK ("c" <> '(('),
        d GENERATED ALWAYS AS (id + 1) STORED NOT NULL ON CONFLICT ROLLBACK, e AS (d), `f` DEFAULT (1 + (2)) REFERENCES p
          MATCH FULL ON DELETE SET NULL ON UPDATE NO ACTION DEFERRABLE INITIALLY DEFERRED, g DEFAULT check_1,
        "check" REFERENCES "p q"("x") NOT DEFERRABLE INITIALLY DEFERRED, key REFERENCES p DEFERRABLE,
        CONSTRAINT u UNIQUE (('a b') COLLATE rtrim DESC, ([c] COLLATE nocase)) ON CONFLICT IGNORE
        CONSTRAINT named CHECK (1) ON CONFLICT FAIL, FOREIGN KEY (id, key) REFERENCES p(a, b) ON UPDATE SET DEFAULT
          DEFERRABLE INITIALLY DEFERRED FOREIGN KEY ([c]) REFERENCES p DEFERRABLE INITIALLY IMMEDIATE
      )"#);
    let names: Vec<_> = found.columns.iter().map(|column| (column.name.as_str(), column.not_null)).collect();
    let abort = OnConflict::Abort;
    assert_eq!(
        names,
        [
            ("id", abort),
            ("a b", OnConflict::Ignore),
            ("c", abort),
            ("d", OnConflict::Rollback),
            ("e", abort),
            ("f", abort),
            ("g", abort),
            ("check", abort),
            ("key", abort)
        ]
    );
    assert_eq!(found.checks, 3);
    assert_eq!(
        found.keys,
        [
            key(true, &[("id", None)], OnConflict::Replace),
            key(false, &[("a b", None)], OnConflict::Fail),
            key(false, &[("a b", Some("rtrim")), ("c", Some("nocase"))], OnConflict::Ignore),
        ]
    );
    let references: Vec<_> =
        found.foreign_keys.iter().map(|key| (key.columns.join("+"), key.parent.as_str(), key.deferred)).collect();
    let reference = |columns: &str, parent: &'static str, deferred| (columns.to_owned(), parent, deferred);
    assert_eq!(
        references,
        [
            reference("f", "p", true),
            reference("check", "p q", false),
            reference("key", "p", false),
            reference("id+key", "p", true),
            reference("c", "p", false)
        ]
    );
}

#[test]
fn texts_that_sqlite_writes_itself_are_read() {
    let found =
        of("CREATE TABLE a(x INT, \"y z\" TEXT, UNIQUE (x)); ALTER TABLE a ADD COLUMN w TEXT CHECK (w <> ',') DEFAULT '';
         ALTER TABLE a RENAME COLUMN \"y z\" TO \"v\"; ALTER TABLE a RENAME TO \"b)\"");
    assert_eq!(found.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["x", "v", "w"]);
    assert_eq!((found.checks, found.keys.len()), (1, 1));
    let found = of("CREATE TABLE a(x INT, \"y)\" TEXT); CREATE TABLE b AS SELECT *, 1 AS \"CHECK (\", x || 'a' FROM a");
    assert_eq!(
        found.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
        ["x", "y)", "CHECK (", "x || 'a'"]
    );
    let found = of("CREATE TABLE t(id INTEGER, PRIMARY KEY (id AUTOINCREMENT)); ");
    assert!(found.keys[0].autoincrement);
    assert!(of("CREATE TABLE t(id INTEGER PRIMARY KEY ASC AUTOINCREMENT)").keys[0].autoincrement);
    assert_eq!(of("CREATE TABLE t(a PRIMARY KEY) WITHOUT ROWID, STRICT".replace("(a ", "(a INT ").as_str()).keys.len(), 1);
    // One that stands behind another column is about the key that was named last.
    let found = of("CREATE TABLE t(a REFERENCES t, b REFERENCES t, c DEFERRABLE INITIALLY DEFERRED)");
    assert_eq!(found.foreign_keys.iter().map(|key| key.deferred).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn what_makes_no_sense_is_not_guessed() {
    for text in [
        "",
        "CREATE",
        "CREATE TABLE t",
        "CREATE TABLE t(",
        "CREATE TABLE t()",
        "CREATE TABLE t(a",
        "CREATE TABLE t(a) x",
        "CREATE TABLE t(a) WITHOUT",
        "CREATE TABLE t(a,)",
        "CREATE TABLE t(a 'b)",
        "CREATE TABLE t(a \0)",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "CREATE VIEW t(a) AS SELECT 1",
        "CREATE TABLE t(a INT CHECK)",
        "CREATE TABLE t(a INT CHECK (1)",
        "CREATE TABLE t(a INT CHECK (1)))",
        "CREATE TABLE t(a UNIQUE ON CONFLICT NOTHING)",
        "CREATE TABLE t(a REFERENCES)",
        "CREATE TABLE t(a REFERENCES t DEFERRABLE INITIALLY LATER)",
        "CREATE TABLE t(a REFERENCES t ON DELETE PANIC)",
        "CREATE TABLE t(UNIQUE (a))",
        "CREATE TABLE t(a, UNIQUE ())",
        "CREATE TABLE t(a, UNIQUE (a + 1))",
        "CREATE TABLE t(a, UNIQUE ((a))",
        "CREATE TABLE t(a, FOREIGN KEY (a))",
        "CREATE TABLE t(a DEFAULT )",
        "CREATE TABLE t(a NOT)",
        "CREATE TABLE t(a 5)",
        "CREATE TABLE t(a; DROP TABLE x)",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
    let deep = format!("CREATE TABLE t(a CHECK ({}1{}))", "(".repeat(1_000_000), ")".repeat(1_000_000));
    assert_eq!(read(&deep).unwrap().checks, 1);
    assert_eq!(read(&deep[..deep.len() - 1]), None);
}

/// A column with the constraints that it has of the kinds that are counted.
#[derive(Debug, Clone)]
struct Made {
    text: String,
    checks: usize,
    keys: usize,
    deferred: Vec<bool>,
}

fn space() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![" ", "\n\t", "/*,)*/", " -- ( '\n", " /* \" */ "])
}

/// Constraints of a column, each with how many CHECKs and keys it is, and with the foreign key that it is.
fn constraint() -> impl Strategy<Value = (&'static str, usize, usize, Option<bool>)> {
    let plain = prop::sample::select(vec![
        "NOT NULL",
        "NOT NULL ON CONFLICT IGNORE",
        "NULL",
        "CONSTRAINT \"c(\"",
        "CONSTRAINT [,]",
        "DEFAULT ')'",
        "DEFAULT -1e-5",
        "DEFAULT + 0x1F",
        "DEFAULT x'00'",
        "DEFAULT word",
        "DEFAULT [w)]",
        "DEFAULT (1 + (2))",
        "DEFAULT (')')",
        "DEFAULT CURRENT_TIMESTAMP",
        "COLLATE nocase",
        "COLLATE \"rtrim\"",
    ]);
    let check = prop::sample::select(vec!["CHECK (1)", "CHECK(('a(') <> \")\")", "check (1 IN (1, (2)))"]);
    let unique = prop::sample::select(vec!["UNIQUE", "unique ON CONFLICT REPLACE"]);
    let reference = prop::sample::select(vec![
        ("REFERENCES p", false),
        ("REFERENCES \"p(\" (\"x)\")", false),
        ("REFERENCES p(x) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED", true),
        ("REFERENCES p ON UPDATE NO ACTION MATCH FULL NOT DEFERRABLE INITIALLY DEFERRED", false),
        ("REFERENCES p deferrable initially deferred", true),
        ("REFERENCES p DEFERRABLE INITIALLY IMMEDIATE", false),
        ("REFERENCES p DEFERRABLE", false),
    ]);
    prop_oneof![
        4 => plain.prop_map(|text| (text, 0, 0, None)),
        2 => check.prop_map(|text| (text, 1, 0, None)),
        1 => unique.prop_map(|text| (text, 0, 1, None)),
        2 => reference.prop_map(|(text, deferred)| (text, 0, 0, Some(deferred))),
    ]
}

fn column() -> impl Strategy<Value = Made> {
    let name = prop::sample::select(vec![
        "\"a)\"",
        "[b,(]",
        "'c''\"'",
        "`d`",
        "é",
        "key",
        "deferred",
        "\"check\"",
        "generated",
        "always",
        "_$1",
        "initially",
        "action",
    ]);
    let kind = prop::sample::select(vec![
        "",
        "INT",
        "VARCHAR(3)",
        "\"a b\" c (1, -2)",
        "double precision",
        "'t'",
        "generated",
        "no action",
    ]);
    (name, kind, prop::collection::vec((space(), constraint()), 0..4)).prop_map(|(name, kind, constraints)| {
        let mut made = Made { text: format!("{name} {kind}"), checks: 0, keys: 0, deferred: Vec::new() };
        for (space, (text, checks, keys, deferred)) in constraints {
            made.text += space;
            made.text += text;
            made.checks += checks;
            made.keys += keys;
            made.deferred.extend(deferred);
        }
        made
    })
}

fn words() -> impl Strategy<Value = Vec<String>> {
    let word = prop::sample::select(
        "a b \"c\" [d] 'e' ( ) ( ) , , INT CHECK UNIQUE PRIMARY KEY NOT NULL DEFAULT 1 - x'0' CONSTRAINT COLLATE nocase REFERENCES p \
         ON CONFLICT REPLACE DELETE CASCADE FOREIGN DEFERRABLE INITIALLY DEFERRED AS GENERATED ALWAYS STORED AUTOINCREMENT DESC \
         MATCH -- /* */ ; WITHOUT ROWID STRICT '"
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(word.prop_map(str::to_owned), 0..14)
}

/// What SQLite says of the table is what was read, as far as it tells.
fn agrees(sqlite: &Connection, found: &CreateText) {
    let strings = |sql: &str| {
        let mut statement = sqlite.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<Vec<String>>>().unwrap()
    };
    let name =
        "(SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid DESC LIMIT 1)";
    let names: Vec<&String> = found.columns.iter().map(|column| &column.name).collect();
    assert_eq!(
        strings(&format!("SELECT name FROM pragma_table_xinfo({name}) ORDER BY cid")),
        names.into_iter().cloned().collect::<Vec<_>>()
    );
    let keys = "SELECT group_concat(\"from\", '+') || '>' || \"table\" FROM (SELECT * FROM pragma_foreign_key_list";
    let references: Vec<String> =
        found.foreign_keys.iter().map(|key| format!("{}>{}", key.columns.join("+"), key.parent)).collect();
    assert_eq!(strings(&format!("{keys}({name}) ORDER BY id DESC, seq) GROUP BY id ORDER BY id DESC")), references);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_sqlite_takes_is_read_as_it_was_meant(
        columns in prop::collection::vec((column(), space()), 1..6),
        ends in prop::collection::vec(prop_oneof![
            Just(("", 0, 0, None)),
            Just(("CONSTRAINT x CHECK (')' = (''))", 1, 0, None)),
            Just(("UNIQUE (z COLLATE nocase DESC, (z)) ON CONFLICT FAIL", 0, 1, None)),
            Just(("FOREIGN KEY (z, z) REFERENCES q(\"a\", b) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED", 0, 0, Some(true))),
            Just(("FOREIGN KEY (z) REFERENCES q", 0, 0, Some(false))),
            Just(("PRIMARY KEY (z)", 0, 1, None)),
        ], 0..4),
        commas in prop::bool::ANY,
    ) {
        let mut seen = std::collections::HashSet::new();
        let first = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
        let columns: Vec<_> = columns.into_iter().filter(|(column, _)| seen.insert(first(&column.text))).collect();
        let mut text: String = columns.iter().map(|(column, space)| format!("{}{space}, ", column.text)).collect();
        text += "z INT";
        for (end, ..) in ends.iter().filter(|(end, ..)| !end.is_empty()) {
            text += if commas || !text.contains("z INT ") && !text.contains("z INT,") { ", " } else { " " };
            text += end;
        }
        let sql = format!("CREATE TABLE t({text})");
        if let Some((sqlite, kept)) = kept(&sql) {
            let found = read(&kept);
            prop_assert!(found.is_some(), "{}", kept);
            let found = found.unwrap_or_default();
            agrees(&sqlite, &found);
            let sum = |of: fn(&Made) -> usize| columns.iter().map(|(column, _)| of(column)).sum::<usize>();
            prop_assert_eq!(found.checks, sum(|made| made.checks) + ends.iter().map(|end| end.1).sum::<usize>(), "{}", kept);
            prop_assert_eq!(found.keys.len(), sum(|made| made.keys) + ends.iter().map(|end| end.2).sum::<usize>(), "{}", kept);
            let mut deferred: Vec<bool> = columns.iter().flat_map(|(column, _)| column.deferred.clone()).collect();
            deferred.extend(ends.iter().filter_map(|end| end.3));
            prop_assert_eq!(found.foreign_keys.iter().map(|key| key.deferred).collect::<Vec<_>>(), deferred, "{}", kept);
        }
    }

    /// Words in any order: what SQLite takes of them is read as SQLite reads it, and nothing panics.
    #[test]
    fn any_words_are_read_as_sqlite_does_or_not_at_all(words in words(), text in "\\PC{0,40}") {
        let sql = format!("CREATE TABLE t(a {})", words.join(" "));
        let _ = (read(&sql), read(&words.join(" ")), read(&text), read(&format!("CREATE TABLE t(a {text})")));
        if let Some((sqlite, kept)) = kept(&sql) {
            let found = read(&kept);
            prop_assert!(found.is_some(), "{}", kept);
            agrees(&sqlite, &found.unwrap_or_default());
        }
    }
}

#[test]
fn what_does_not_say_after_may_run_before() {
    for after in [
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END",
        "CREATE TRIGGER IF NOT EXISTS \"before\" /* BEFORE */ after UPDATE ON a BEGIN SELECT 1; END",
        "CREATE TRIGGER main.t AFTER DELETE ON a BEGIN SELECT 1; END",
        "CREATE TRIGGER after AFTER DELETE ON a BEGIN SELECT 1; END",
    ] {
        assert!(runs_after(after), "{after}");
    }
    for before in [
        "CREATE TRIGGER t BEFORE INSERT ON a BEGIN SELECT 1; END",
        "CREATE TRIGGER after INSERT ON a BEGIN SELECT 1; END",
        "CREATE TRIGGER t INSERT ON a BEGIN SELECT 'AFTER'; END",
        "CREATE TRIGGER IF NOT EXISTS t INSERT ON after BEGIN SELECT 1; END",
        "CREATE TRIGGER",
        "CREATE TRIGGER IF NOT",
        "",
    ] {
        assert!(!runs_after(before), "{before}");
    }
}
