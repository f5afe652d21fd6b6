//! Types: what goes from PostgreSQL or SQLite to the other and back arrives exactly, or is told.

use rowferry::{
    Auth, Client, ConnectOptions, Direction, OnLossy, PostgresOptions, PullOptions, Report, Server, Site, SiteKey,
};

use crate::postgres::server;

fn site(url: &str) -> Site {
    let options = PostgresOptions::parse(url).unwrap();
    Site::builder().key(SiteKey::from_bytes([7; 32])).open_postgres(options).unwrap()
}

/// A SQLite file in a folder of its own.
struct File {
    folder: tempfile::TempDir,
    site: Site,
}

impl File {
    fn new(sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        rusqlite::Connection::open(folder.path().join("site.db"))
            .unwrap()
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}"))
            .unwrap();
        let site = Site::open(folder.path().join("site.db")).unwrap();
        File { folder, site }
    }

    fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("site.db")).unwrap()
    }

    /// What a query of one column gives.
    fn column(&self, sql: &str) -> Vec<String> {
        let sqlite = self.sqlite();
        let mut statement = sqlite.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

fn pull(there: &Site, here: &Site, options: PullOptions<'_>) -> Report {
    let server = Server::bind(there, "127.0.0.1:0").unwrap().spawn().unwrap();
    let session = there.sessions().create(Direction::Send).unwrap();
    let client = Client::connect(server.url(), Auth::code(session.code()), ConnectOptions::default()).unwrap();
    client.pull(here, options).unwrap()
}

#[track_caller]
fn pull_all(there: &Site, here: &Site) -> Report {
    let report = pull(there, here, PullOptions::new());
    let failures: Vec<_> = report.tables.iter().flat_map(|table| &table.outcome.failures).collect();
    assert!(failures.is_empty() && report.ok().is_ok(), "{failures:?} {report:?}");
    report
}

const TYPES: &str = "CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
    CREATE DOMAIN code AS varchar(5); CREATE TYPE pair AS (a integer, b text);";

const EVERY: &str = "CREATE TABLE every (id bigint PRIMARY KEY, i2 smallint, i4 integer, i8 bigint, b boolean, f4 real, f8 double precision,
    n numeric, n2 numeric(10,2), t text, vc character varying(10), c character(5), nm name, ch \"char\", by bytea, d date, tm time(3),
    tmz time with time zone, ts timestamp without time zone, tsz timestamp(3) with time zone, iv interval, ivd interval day to second(3), u uuid,
    j json, jb jsonb, ia integer[], ta text[], na numeric(5,2)[], ba bytea[], ip inet, ci cidr, mac macaddr, mac8 macaddr8, bt bit(3),
    vb bit varying(5), mo money, pt point, ln line, ls lseg, bx box, pa path, po polygon, ce circle, tv tsvector, tq tsquery, x xml, o oid,
    lsn pg_lsn, r4 int4range, nr numrange, tr tstzrange, mr int4multirange, md mood, mda mood[], ps positive, co code, pr pair, jp jsonpath);";

const ROWS: &str = r#"INSERT INTO every VALUES
    (1, -32768, -2147483648, -9223372036854775808, true, 0.1, 0.30000000000000004, 1.50, -99999999.99, E'it''s\t"\\', '', 'ab', 'a name', 'x',
     '\x00ff', '0044-03-15 BC', '23:59:59.999', '12:00:00.000001+02', '2025-12-15 10:11:12.123456', '2025-12-15 10:11:12.123+05', '1 year -2 days 03:04:05.678',
     '3 days 04:05:06.789', '0E984725-C51C-4BF4-9960-E1C80E27ABA0', '{"b": 1,  "a": [null]}', '{"b": 1, "a": [1.50]}', '{1,NULL,-3}',
     ARRAY['a,b', 'NULL', NULL, '', '"q"'], '{1.50,-2.25}', ARRAY['\x00'::bytea, '\xff'], '192.168.1.5/24', '10.0.0.0/8', '08:00:2b:01:02:03',
     '08:00:2b:01:02:03:04:05', B'101', B'10', 1234.56, '(0.1,-2e10)', '{1,2,3}', '[(0,0),(1,1)]', '(1,1),(0,0)', '((0,0),(1,1))', '((0,0),(1,1),(1,0))',
     '<(0,0),1.5>', 'a fat cat', 'fat & cat', '<a b="c">d</a>', 4294967295, '16/B374D848', '[1,5)', '(0.5,]', '["2025-01-01 00:00:00+00",)',
     '{[1,3),[7,9)}', 'it''s ok', '{sad,"it''s ok"}', 7, 'abc', '(1,"x, y")', '$.a[*] ? (@ > 1)'),
    (3, 0, 0, 0, false, -3.4028235e38, 1.7976931348623157e308, 'NaN', 0, '𝄞 Größe', '0123456789', '     ', '', '', '', 'infinity', '00:00',
     '00:00-12', '-infinity', 'infinity', '0', '0', '00000000-0000-0000-0000-000000000000', '1', 'null', '{}', '{}', '{}', '{}', '::1', '::/0',
     'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff', B'000', B'', -0.01, '(1e-300,0)', '{0,1,0}', '[(0,0),(0,0)]', '(0,0),(0,0)', '[(0,0)]', '((0,0))',
     '<(0,0),0>', '', '', '', 0, '0/0', 'empty', '(,)', 'empty', '{}', 'sad', '{}', 1, '', '(,)', '$');
    INSERT INTO every (id) VALUES (2);"#;

const COLUMNS: &str = "SELECT attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull FROM pg_attribute
    WHERE attrelid = 'every'::regclass AND attnum > 0 ORDER BY attnum";

const CONTENT: &str = "SET TimeZone = 'UTC'; SELECT every::text FROM every ORDER BY id";

#[test]
fn every_type_goes_to_postgres_and_through_sqlite() {
    let [there, near, again] = [(); 3].map(|()| server().database());
    server().run(&there, &format!("{TYPES} {EVERY} {ROWS}"));
    let expected = server().run(&there, CONTENT);
    // A new table in another database that has the types.
    server().run(&near, TYPES);
    let report = pull_all(&site(&there), &site(&near));
    assert_eq!(report.tables[0].notes, Vec::<String>::new());
    assert_eq!(server().run(&near, COLUMNS), server().run(&there, COLUMNS));
    assert_eq!(server().run(&near, CONTENT), expected);
    // SQLite keeps all of it, and gives it back to such a table.
    let file = File::new("");
    drop(pull_all(&site(&there), &file.site));
    server().run(&again, &format!("{TYPES} {EVERY}"));
    drop(pull_all(&file.site, &site(&again)));
    assert_eq!(server().run(&again, CONTENT), expected);
    // A second pull finds all of it equal.
    let report = pull(&file.site, &site(&again), PullOptions::new().strategy(rowferry::Strategy::Overwrite));
    assert_eq!(report.tables[0].outcome.unchanged, 3, "{:?}", report.tables[0]);
    // Without the types, and from SQLite, a new table takes all values.
    for there in [&site(&there), &file.site] {
        let bare = server().database();
        let report = pull_all(there, &site(&bare));
        assert_eq!(server().run(&bare, "SELECT count(*), count(md), min(ps) FROM every"), "3|2|1");
        let notes = &report.tables[0].notes;
        assert!(notes.iter().all(|note| note.ends_with('.') && note.contains("every")), "{notes:#?}");
    }
}

#[test]
fn what_only_doubles_of_postgres_are_arrives_there_and_is_refused_by_sqlite() {
    let [there, here] = [(); 2].map(|()| server().database());
    let sql = "CREATE TABLE t (id integer PRIMARY KEY, f4 real, f8 double precision);
        INSERT INTO t VALUES (1, 'NaN', 'NaN'), (2, '-0', '-0'), (3, 'Infinity', '-Infinity'), (4, 1e-45, 5e-324)";
    server().run(&there, sql);
    drop(pull_all(&site(&there), &site(&here)));
    let content = "SELECT t::text FROM t ORDER BY id";
    assert_eq!(server().run(&here, content), server().run(&there, content));
    let file = File::new("");
    let report = pull(&site(&there), &file.site, PullOptions::new());
    let outcome = &report.tables[0].outcome;
    assert_eq!((outcome.created, outcome.failed), (3, 1), "{outcome:?}");
    assert_eq!(outcome.failures[0].reason, rowferry::Reason::ValueWouldChange);
    assert_eq!(outcome.lossy.values().sum::<u64>(), 1);
}

const NASTY: &str = "CREATE TABLE nasty(id INTEGER PRIMARY KEY, v, t TEXT, i INT, r REAL, b BLOB, n NUMERIC);
    INSERT INTO nasty(id, v) VALUES (1, 9223372036854775807), (2, -9223372036854775808), (3, -0.0), (4, 9e999), (5, 0.1), (6, 5.0), (7, ''),
        (8, 'it''s \"\\'), (9, CAST(x'61006200' AS TEXT)), (10, CAST(x'ff' AS TEXT)), (11, x''), (12, x'00ff'), (13, NULL), (14, '5'), (15, 5);
    INSERT INTO nasty(id, t, i, r, b) VALUES (20, '', 0, 0.1, x''), (21, '007', -9223372036854775808, 1e300, x'00'), (22, 'Größe', 1, 5.0, x'ff');
    CREATE TABLE keyed(k PRIMARY KEY, x) WITHOUT ROWID; INSERT INTO keyed VALUES (1, 1), ('1', 2), (x'31', 3), (1.5, 4);
    CREATE TABLE flags(id INTEGER PRIMARY KEY, on_ BOOLEAN DEFAULT 1, at DATETIME DEFAULT CURRENT_TIMESTAMP, price DECIMAL(10,2) DEFAULT 0);
    INSERT INTO flags VALUES (1, 0, '2025-12-15 10:00:00', 5), (2, NULL, NULL, 0.1);";

#[test]
fn values_of_sqlite_go_to_postgres_and_back() {
    let there = File::new(NASTY);
    let url = server().database();
    let here = site(&url);
    let report = pull_all(&there.site, &here);
    assert!(report.tables.iter().all(|table| table.notes.is_empty()), "{report:?}");
    let types = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attidentity::text, ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attnum > 0 AND attrelid = ";
    assert_eq!(
        server().run(&url, &format!("{types} 'nasty'::regclass")),
        "id bigint d, v rowferry_any , t text , i bigint , r double precision , b bytea , n numeric "
    );
    assert_eq!(
        server().run(&url, &format!("{types} 'flags'::regclass")),
        "id bigint d, on_ boolean , at text , price numeric "
    );
    // Its defaults are those of SQLite, and its numbers come after those that it has.
    let insert = "INSERT INTO flags DEFAULT VALUES RETURNING id, on_, length(at), price";
    assert_eq!(server().run(&url, insert), "3|t|19|0");
    server().run(&url, "DELETE FROM flags WHERE id = 3");
    // A table that is there takes the numbers as what they are.
    let emptied = File::new(&format!("{NASTY} DELETE FROM nasty; DELETE FROM keyed; DELETE FROM flags;"));
    drop(pull_all(&here, &emptied.site));
    let prices = "SELECT id || quote(price) FROM flags ORDER BY id";
    assert_eq!(emptied.column(prices), there.column(prices));
    let back = File::new("");
    drop(pull_all(&here, &back.site));
    for sql in [
        "SELECT id || typeof(v) || hex(v) || quote(t) || quote(i) || quote(r) || quote(b) FROM nasty ORDER BY id",
        "SELECT typeof(k) || quote(k) || x FROM keyed ORDER BY x",
        "SELECT id || quote(on_) || quote(at) FROM flags ORDER BY id",
    ] {
        assert_eq!(back.column(sql), there.column(sql), "{sql}");
    }
}

#[test]
fn what_a_column_cannot_hold_is_counted_and_replaced_where_that_is_asked_for() {
    let there = File::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, n INT, must INT NOT NULL, at DATETIME, is_on BOOLEAN);
         INSERT INTO t VALUES (1, 'a' || CAST(x'ff' AS TEXT), 1, 1, NULL, 1), (2, CAST(x'610062' AS TEXT), 2, 2, NULL, 0),
            (3, 'c', 'word', 3, 1765792000, 7), (4, 'd', 4, 'word', NULL, NULL), (5, 'e', 1.5, 5, NULL, NULL), (6, 'f', 6, 6, 'now', 1);",
    );
    let url = server().database();
    let here = site(&url);
    let report = pull(&there.site, &here, PullOptions::new());
    let outcome = &report.tables[0].outcome;
    assert_eq!((outcome.created, outcome.failed), (1, 5), "{outcome:?}");
    let lossy: Vec<_> = outcome.lossy.iter().map(|(column, count)| (column.as_str(), *count)).collect();
    assert_eq!(lossy, [("must", 1), ("n", 2), ("name", 2)], "the first of each record: {:?}", outcome.failures);
    let report = pull(&there.site, &here, PullOptions::new().on_lossy(OnLossy::Replace));
    let outcome = &report.tables[0].outcome;
    assert_eq!((outcome.created, outcome.skipped, outcome.failed), (4, 1, 1), "{outcome:?}");
    assert_eq!(outcome.lossy["at"], 1);
    let content = server().run(&url, "SELECT * FROM t ORDER BY id");
    let expected = "1|a\u{fffd}|1|1||t\n2|a\u{fffd}b|2|2||f\n3|c||3|1765792000|\n5|e||5||\n6|f|6|6|now|t";
    assert_eq!(content, expected);
}

#[test]
fn references_are_made_whatever_the_order_and_what_cannot_be_is_told() {
    let there = File::new(
        "CREATE TABLE Users(Id INTEGER PRIMARY KEY, best INT REFERENCES posts(id), up INT REFERENCES users(id));
         CREATE TABLE posts(id INTEGER PRIMARY KEY, author INT REFERENCES USERS(ID) ON DELETE CASCADE, code INT REFERENCES codes(code),
            no INT REFERENCES nowhere(id));
         CREATE TABLE codes(id INTEGER PRIMARY KEY, code INT);
         CREATE INDEX by_author ON posts(author); CREATE INDEX \"by code\" ON posts(code DESC, id); CREATE UNIQUE INDEX one ON posts(id, author);
         INSERT INTO Users VALUES (1, NULL, 1), (2, 1, 1); INSERT INTO posts VALUES (1, 2, NULL, NULL);",
    );
    let url = server().database();
    let report = pull_all(&there.site, &site(&url));
    let notes: Vec<&String> = report.tables.iter().flat_map(|table| &table.notes).collect();
    assert_eq!(notes.len(), 2, "{notes:#?}");
    assert!(notes.iter().any(|note| note.contains("\"nowhere\"")) && notes.iter().any(|note| note.contains("not unique")));
    let keys = "SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'
        AND NOT conrelid::regclass::text LIKE 'rowferry%' ORDER BY 1";
    assert_eq!(
        server().run(&url, keys),
        "\"Users\" FOREIGN KEY (best) REFERENCES posts(id) DEFERRABLE\n\
         \"Users\" FOREIGN KEY (up) REFERENCES \"Users\"(\"Id\") DEFERRABLE\n\
         posts FOREIGN KEY (author) REFERENCES \"Users\"(\"Id\") ON DELETE CASCADE DEFERRABLE"
    );
    let indexes = "SELECT indexdef FROM pg_indexes WHERE tablename = 'posts' ORDER BY indexname";
    let found = server().run(&url, indexes);
    assert!(
        found.contains("(code DESC, id)") && found.contains("UNIQUE INDEX one") && found.contains("(author)"),
        "{found}"
    );
}
