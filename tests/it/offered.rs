//! What a site offers and takes of what its database has: ordinary tables, whatever stands beside them.

use crate::support::common::Fixture;
use crate::support::common::served::Sender;
use rowferry::{Client, ConnectOptions, Direction, ErrorKind, EventFilter, EventKind, PullOptions, Report, Site};

fn pull(there: &Sender, here: &Site) -> Report {
    there.client().pull(here, PullOptions::new()).unwrap()
}

fn names(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = report.tables.iter().map(|table| table.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// A virtual table of a module that no SQLite has here, and what lies behind it.
const UNKNOWN_MODULE: &str = "CREATE TABLE doc(id INTEGER PRIMARY KEY, t TEXT); INSERT INTO doc VALUES (1, 'x');
    CREATE TABLE doc_vec_info(key TEXT PRIMARY KEY, value ANY); INSERT INTO doc_vec_info VALUES ('v', 1);
    CREATE TABLE DOC_VEC_chunks(id INTEGER PRIMARY KEY, validity BLOB); INSERT INTO DOC_VEC_chunks VALUES (1, x'01');
    CREATE TABLE doc_vecchio(id INTEGER PRIMARY KEY); INSERT INTO doc_vecchio VALUES (1);
    PRAGMA writable_schema = ON;
    INSERT INTO sqlite_schema VALUES ('table', 'doc_vec', 'doc_vec', 0, 'CREATE VIRTUAL TABLE doc_vec USING vec0(e float[4])');
    PRAGMA writable_schema = RESET;";

#[test]
fn what_lies_behind_a_virtual_table_of_an_unknown_module_is_not_offered() {
    let there =
        Sender::new(&format!("{UNKNOWN_MODULE} CREATE VIRTUAL TABLE notes USING fts5(x); CREATE TABLE notes_tags(x);"));
    let here = Fixture::new("");
    let report = pull(&there, &here.site);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(names(&report), ["doc", "doc_vecchio", "notes_tags"]);
}

/// Tables that hide all that SQLite has under names of its own, and say of what is asked what is not so.
fn hiding_tables() -> String {
    let sqlite = rusqlite::Connection::open_in_memory().unwrap();
    let sql = "SELECT 'pragma_' || name FROM pragma_pragma_list UNION SELECT name FROM pragma_module_list WHERE name NOT LIKE 'sqlite%'";
    let mut statement = sqlite.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let sql = |name: String| {
        format!(
            "CREATE TABLE \"{name}\"(id INTEGER PRIMARY KEY, schema, name, type, wr, strict, \"table\", \"from\", \"to\");
             INSERT INTO \"{name}\" VALUES (1, 'main', 'looks', 'table', 0, 0, 'users', 'id', 'id');"
        )
    };
    names.map(|name| sql(name.unwrap())).collect()
}

#[test]
fn tables_that_hide_what_sqlite_has_of_its_own_change_nothing() {
    let tables = "CREATE TABLE users(id INTEGER PRIMARY KEY, mail TEXT NOT NULL UNIQUE COLLATE NOCASE, big AS (upper(mail)));
         CREATE TABLE posts(id INTEGER PRIMARY KEY, author INTEGER REFERENCES users ON DELETE CASCADE, at TEXT DEFAULT 'x');
         CREATE INDEX by_author ON posts(author, at DESC); CREATE UNIQUE INDEX by_at ON posts(at, id);
         CREATE TABLE tags(name TEXT, post INTEGER REFERENCES posts(id), PRIMARY KEY (post, name)) WITHOUT ROWID;
         CREATE VIEW looks AS SELECT * FROM users; CREATE VIRTUAL TABLE words USING fts5(x);
         INSERT INTO users(id, mail) VALUES (1, 'a'), (2, 'B'); INSERT INTO posts VALUES (1, 2, 'y'); INSERT INTO tags VALUES ('n', 1);";
    let hiding = hiding_tables();
    let (plain, hidden) = (Sender::new(tables), Sender::new(&format!("{tables}{hiding}")));
    let made = |here: &Fixture| here.rows("SELECT sql FROM sqlite_schema WHERE tbl_name IN ('users', 'posts', 'tags')");
    let expected = Fixture::new("");
    assert!(pull(&plain, &expected.site).is_clean());
    // They are served, and written, as other tables are.
    for sender in [&plain, &hidden] {
        let here = Fixture::new(&hiding);
        let report = pull(sender, &here.site);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(made(&here), made(&expected));
        for table in ["users", "posts", "tags"] {
            assert_eq!(here.site.table_checksum(table).unwrap(), expected.site.table_checksum(table).unwrap());
        }
    }
    // Where they are not yet, they are not made, and the others arrive.
    let here = Fixture::new("");
    let report = pull(&hidden, &here.site);
    let (whole, refused): (Vec<_>, Vec<_>) = report.tables.iter().partition(|table| table.error.is_none());
    assert_eq!((whole.len(), refused.len() > 60), (3, true), "{report:?}");
    for table in refused {
        let error = table.error.as_ref().unwrap();
        assert_eq!((error.kind(), error.hint().is_some()), (ErrorKind::ReservedName, true), "{}: {error}", table.name);
    }
    assert_eq!(made(&here), made(&expected));
}

/// An older sender offers what it takes for ordinary tables.
#[test]
fn what_lies_behind_a_virtual_table_here_is_not_written() {
    let there = Sender::new(
        "CREATE TABLE doc_vec_chunks(id INTEGER PRIMARY KEY, validity BLOB); INSERT INTO doc_vec_chunks VALUES (1, x'ff'), (2, x'ff');
         CREATE TABLE doc_vec_new(id INTEGER PRIMARY KEY); CREATE TABLE notes_data(id INTEGER PRIMARY KEY, block BLOB);
         CREATE TABLE notes_tags(x INTEGER PRIMARY KEY); INSERT INTO notes_tags VALUES (1);",
    );
    let here = Fixture::new(&format!("{UNKNOWN_MODULE} CREATE VIRTUAL TABLE notes USING fts5(x);"));
    let report = there.client().pull(&here.site, PullOptions::new().strategy(rowferry::Strategy::Overwrite)).unwrap();
    for table in ["doc_vec_chunks", "doc_vec_new", "notes_data"] {
        let error = report.table(table).unwrap().error.as_ref().unwrap();
        assert_eq!(error.kind(), ErrorKind::ShadowTable, "{error}");
        assert!(error.message().contains(table) && error.hint().is_some(), "{error}");
    }
    assert!(report.table("notes_tags").unwrap().is_clean(), "{report:?}");
    assert_eq!(here.rows("SELECT * FROM DOC_VEC_chunks"), ["1|x'01'"]);
    assert_eq!(here.rows("SELECT name FROM sqlite_schema WHERE name LIKE 'doc_vec_new'"), [""; 0]);
}

#[test]
fn a_table_named_like_one_of_another_database_is_ordinary() {
    let there =
        Sender::new("CREATE TABLE pg_ratings(id INTEGER PRIMARY KEY, film TEXT); INSERT INTO pg_ratings VALUES (1, 'x');");
    let here = Fixture::new("");
    assert!(pull(&there, &here.site).is_clean());
    assert_eq!(here.rows("SELECT * FROM pg_ratings"), ["1|'x'"]);
}

/// Puts a byte that is no UTF-8 for each `_` of the database's own statements.
const SPOIL: &str = "PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET name = replace(name, '_', CAST(x'e9' AS TEXT)), tbl_name = replace(tbl_name, '_', CAST(x'e9' AS TEXT)),
        sql = replace(sql, '_', CAST(x'e9' AS TEXT));
    PRAGMA writable_schema = RESET;";

#[test]
fn a_name_that_is_no_utf8_is_no_trouble_of_the_other_tables() {
    let there = Sender::new(&format!(
        "CREATE TABLE na_me(x INTEGER PRIMARY KEY); CREATE TABLE bad(c_c); CREATE TABLE defaults(x DEFAULT 'd_d');
         CREATE TABLE ind(x); CREATE INDEX i_i ON ind(x); CREATE TABLE good(x INTEGER PRIMARY KEY, y REFERENCES na_me);
         CREATE TABLE better(x INTEGER PRIMARY KEY); INSERT INTO better VALUES (1);
         CREATE VIEW v_v AS SELECT 1; CREATE TRIGGER t_t AFTER INSERT ON better BEGIN SELECT 1; END; {SPOIL}"
    ));
    let here = Fixture::new("");
    let report = pull(&there, &here.site);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(names(&report), ["better"]);
    // A table here whose column is named so does not keep others from being written.
    let there =
        Sender::new("CREATE TABLE bad(cc); CREATE TABLE better(x INTEGER PRIMARY KEY); INSERT INTO better VALUES (1)");
    let here = Fixture::new(&format!(
        "CREATE TABLE bad(c_c); CREATE TABLE na_me(x REFERENCES better(x)); CREATE TABLE better(x INTEGER PRIMARY KEY);
         CREATE TRIGGER t_t AFTER INSERT ON better BEGIN SELECT 1; END; {SPOIL}"
    ));
    let report = pull(&there, &here.site);
    let kind = report.table("bad").and_then(|bad| bad.error.as_ref()).map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::NotUtf8), "{report:?}");
    assert_eq!(report.table("better").unwrap().outcome.created, 1);
}

#[cfg(unix)]
#[test]
fn a_site_does_not_pull_from_itself() {
    let there = Sender::new("CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)");
    let linked = || {
        let session = there.there.site.sessions().create(Direction::Send).unwrap();
        Client::link(&there.there.site, rowferry::Auth::code(session.code()), ConnectOptions::default()).unwrap()
    };
    // The same file under another name, too.
    let other = there.there.folder.path().join("other.db");
    std::os::unix::fs::symlink(there.there.path(), &other).unwrap();
    let opened = Site::open(&other).unwrap();
    for (client, here) in [(there.client(), &there.there.site), (linked(), &there.there.site), (there.client(), &opened)] {
        let error = client.pull(here, PullOptions::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SelfConnection, "{error}");
    }
    // A copy is another database.
    let copy = there.there.folder.path().join("copy.db");
    there.there.sqlite.execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
    let report = pull(&there, &Site::open(&copy).unwrap());
    assert_eq!(report.table("t").unwrap().outcome.skipped, 1);
}

/// A little of everything beside rows.
const BESIDE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY CHECK (id > 0), n INT CHECK (n < 9), CHECK (id <> n));
    CREATE TABLE u(id INTEGER PRIMARY KEY CHECK (id <> 5)); INSERT INTO t VALUES (1, 2);
    CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END; CREATE TRIGGER ur AFTER INSERT ON u BEGIN SELECT 1; END;
    CREATE VIEW seen AS SELECT * FROM t; CREATE VIEW both_have AS SELECT 1; CREATE VIEW secret AS SELECT 1;
    CREATE VIRTUAL TABLE docs USING fts5(x); CREATE VIRTUAL TABLE Here_Too USING fts5(x); CREATE TABLE bad(c_c);
    UPDATE t SET id = id;";

fn not_copied_events(site: &Site) -> Vec<serde_json::Value> {
    let filter = EventFilter::new().kinds([EventKind::PullNotCopied]);
    site.events().list(&filter).unwrap().into_iter().map(|event| event.details.into()).collect()
}

#[test]
fn a_report_says_what_was_not_copied() {
    let there = Sender::new(BESIDE);
    there.there.run(
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'c_c', CAST(x'e9' AS TEXT)) WHERE name = 'bad';
         PRAGMA writable_schema = RESET",
    );
    let hiding = Site::builder().hide_tables(["secret"]).open(there.there.path()).unwrap();
    let session = hiding.sessions().create(Direction::Send).unwrap();
    let client = Client::link(&hiding, rowferry::Auth::code(session.code()), ConnectOptions::default()).unwrap();
    let here = Fixture::new(
        "CREATE TABLE u(id INTEGER PRIMARY KEY); CREATE VIEW BOTH_have AS SELECT 1; CREATE VIRTUAL TABLE here_too USING fts5(x);",
    );
    let looked = client.pull(&here.site, PullOptions::new().dry_run(true)).unwrap();
    assert!(!looked.not_copied.is_empty() && not_copied_events(&here.site).is_empty());
    let report = client.pull(&here.site, PullOptions::new()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let of_docs = ["docs_config", "docs_content", "docs_data", "docs_docsize", "docs_idx"];
    let left = &report.not_copied;
    assert_eq!(left.checks, [("t".to_owned(), 3)].into(), "the other table was here");
    assert_eq!(left.triggers, [("t".to_owned(), vec!["tr".to_owned()])].into());
    assert_eq!((&left.views[..], &left.virtual_tables[..]), (&["seen".to_owned()][..], &["docs".to_owned()][..]));
    assert_eq!((&left.shadow_tables[..], &left.not_utf8[..]), (&of_docs.map(String::from)[..], &["bad".to_owned()][..]));
    let line = "3 CHECK constraints, 1 trigger, 1 view, 1 virtual table (docs), 5 shadow tables (docs_config, docs_content, docs_data, docs_docsize, docs_idx), \
                1 table with a name that is not UTF-8 (bad)";
    assert_eq!(left.to_string(), line);
    let counts = serde_json::json!({
        "checks": 3, "triggers": 1, "views": 1, "virtual_tables": 1, "shadow_tables": 5, "not_utf8": 1, "more": 0
    });
    assert_eq!(not_copied_events(&here.site), [counts]);

    // The tables are here now. Who names some tables wants no views.
    let again = client.pull(&here.site, PullOptions::new().always(true)).unwrap();
    assert!(
        again.not_copied.checks.is_empty() && again.not_copied.triggers.is_empty() && again.not_copied.views == ["seen"]
    );
    let empty = Fixture::new("");
    let named = client.pull(&empty.site, PullOptions::new().tables(["u"])).unwrap();
    assert_eq!(named.not_copied.to_string(), "1 CHECK constraint, 1 trigger");
    let error = client.pull(&empty.site, PullOptions::new().tables(["docs"])).unwrap();
    let error = error.table("docs").unwrap().error.as_ref().unwrap();
    assert!(error.kind() == ErrorKind::TableNotFound && error.message().contains("a virtual table"), "{error}");
    assert!(!format!("{report:?}").contains("secret"));
}
