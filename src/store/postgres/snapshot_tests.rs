use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::store::postgres::test_server::server;
use crate::store::postgres::{PostgresOptions, PostgresStore};
use crate::store::{Cursor, Keys, PageBounds, Snapshot, Store};

const ALL: PageBounds = PageBounds { rows: 100_000, bytes: 1 << 30 };

/// A store on a fresh database in which these statements were run, and the database's URL.
fn store(sql: &str) -> (PostgresStore, String) {
    let url = server().database();
    server().run(&url, sql);
    (PostgresStore::open(&PostgresOptions::parse(&url).unwrap(), &Limits::default()).unwrap(), url)
}

fn schema(snapshot: &mut dyn Snapshot, name: &str) -> TableSchema {
    snapshot.schema(name).unwrap().unwrap_or_else(|| panic!("no table {name:?}"))
}

fn owned(rows: &Rows) -> Vec<Vec<Value>> {
    (0..rows.len()).map(|row| rows.row(row).map(|cell| cell.map_or(Value::Null, ValueRef::to_owned)).collect()).collect()
}

/// All rows of a table, by pages of so many.
fn read(snapshot: &mut dyn Snapshot, name: &str, most: usize) -> Vec<Vec<Value>> {
    let table = schema(snapshot, name);
    let (mut all, mut after, mut rows) = (Vec::new(), None, Rows::default());
    loop {
        let end = snapshot.page(&table, after.as_ref(), 0, PageBounds { rows: most, ..ALL }, &mut rows).unwrap();
        assert!(rows.len() <= most && (rows.len() == most || !end.more), "{} rows, more: {}", rows.len(), end.more);
        all.extend(owned(&rows));
        if !end.more {
            return all;
        }
        after = end.cursor;
    }
}

/// The first column of rows as it is, for a look.
fn first(rows: &[Vec<Value>]) -> Vec<String> {
    rows.iter().map(|row| format!("{:?}", row[0]).trim_matches('"').to_owned()).collect()
}

#[test]
fn rows_come_in_the_order_of_their_key_by_pages_of_every_size() {
    let keys = [
        ("numbers", "numeric", "'-Infinity', -1, 0.5, 1.00, 20, 'NaN'"),
        ("doubles", "double precision", "'-Infinity', -1.5, 0, 1e300, 'Infinity', 'NaN'"),
        ("singles", "real", "-1.1, 0.1, 0.3, 16777216"),
        (
            "moments",
            "timestamptz",
            "'-infinity', '0044-03-15 12:00 BC', '2020-01-01 00:00:00.000001', '2020-01-01 00:00:00.000002', 'infinity'",
        ),
        ("moods", "mood", "'sad', 'it''s', 'a'"),
        ("bits", "boolean", "false, true"),
        ("blobs", "bytea", r"'', '\x00', '\x0001', '\xff'"),
        ("uuids", "uuid", "'00000000-0000-0000-0000-000000000001', 'ffffffff-0000-0000-0000-000000000000'"),
        ("padded", "char(3)", "'', 'a', 'b c'"),
        ("small", "smallint", "'-32768', 0, 32767"),
        ("texts", "text", r"'', 'A''x', 'a\b', 'b', 'é'"),
        ("nets", "inet", "'10.0.0.1', '10.0.0.1/8', '::1'"),
        ("arrays", "int[]", "'{}', '{1}', '{1,NULL}', '{2}'"),
        ("jsons", "jsonb", r#"'null', '1', '"a"', '{"a": 1}'"#),
        ("shorts", "short", "'a', 'b'"),
    ];
    let mut sql =
        "CREATE TYPE mood AS ENUM ('sad', 'it''s', 'a'); CREATE DOMAIN short AS varchar(3) CHECK (value <> 'x');".to_owned();
    for (name, kind, values) in keys {
        let values: Vec<String> = values.split(", ").map(|value| format!("({value}::{kind})")).collect();
        let sorted = format!("SELECT value FROM (VALUES {}) v(value)", values.join(", "));
        sql.push_str(&format!("CREATE TABLE {name}(k {kind} PRIMARY KEY, n int); INSERT INTO {name} SELECT value, 1 FROM ({sorted} ORDER BY 1 DESC) v;"));
    }
    let (store, url) = store(&sql);
    let mut snapshot = store.snapshot().unwrap();
    for (name, _, values) in keys {
        let whole = read(&mut *snapshot, name, 100);
        assert_eq!(whole.len(), values.matches(", ").count() + 1, "{name}: {whole:?}");
        for most in 1..whole.len() + 1 {
            assert_eq!(first(&read(&mut *snapshot, name, most)), first(&whole), "{name} by {most}");
        }
        let sorted = server().run(&url, &format!("SELECT count(*) FROM {name}"));
        assert_eq!(sorted, whole.len().to_string());
    }
    let order = |name: &str| {
        server().run(&url, &format!("SELECT k FROM {name} ORDER BY k")).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["numbers", "moods", "texts", "arrays", "uuids", "shorts"] {
        let found: Vec<String> =
            read(&mut *snapshot, name, 2).iter().map(|row| row[0].as_str().unwrap().to_owned()).collect();
        assert_eq!(found, order(name), "{name}");
    }
    assert_eq!(read(&mut *snapshot, "padded", 1)[1][0], Value::from("a  "));
    assert_eq!(read(&mut *snapshot, "nets", 9)[0][0], Value::from("10.0.0.1/8"));
    assert_eq!(read(&mut *snapshot, "singles", 1)[1][0], Value::Real(0.1_f32.into()));
}

#[test]
fn values_arrive_as_they_are() {
    let sql = r#"CREATE TABLE t(id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 real, f8 float8, t text, v varchar(9), c char(4), y bytea,
            n numeric, j json, ts timestamptz, iv interval, m money, a text[], r int4range, x xml, na name, ch "char", o oid, p point);
        INSERT INTO t VALUES (1, true, -1, 9223372036854775807, 1.5, 'NaN', E'é\n\\', '', 'a', '\x00ff', 1.50, '{"a":  1}', '2020-01-02 03:04:05.678901+02',
            '1 mon -2 days 03:04:05.6', '$1,234.50', ARRAY['a,b', NULL, '"'], '[1,5)', '<a/>', 'nä', 'x', 5, '(1,2)'); INSERT INTO t(id) VALUES (2)"#;
    let (store, _) = store(sql);
    let mut snapshot = store.snapshot().unwrap();
    let rows = read(&mut *snapshot, "t", 10);
    let text = |text: &str| Value::from(text);
    let found = format!("{:?}", rows[0]);
    let expected: Vec<Value> = vec![
        1.into(),
        1.into(),
        (-1).into(),
        i64::MAX.into(),
        1.5.into(),
        f64::NAN.into(),
        text("é\n\\"),
        text(""),
        text("a   "),
        Value::Blob(vec![0, 255]),
        text("1.50"),
        text(r#"{"a":  1}"#),
        text("2020-01-02 01:04:05.678901+00"),
        text("1 mon -2 days +03:04:05.6"),
        text("$1,234.50"),
        text(r#"{"a,b",NULL,"\""}"#),
        text("[1,5)"),
        text("<a/>"),
        text("nä"),
        text("x"),
        text("5"),
        text("(1,2)"),
    ];
    assert_eq!(found, format!("{expected:?}"));
    assert!(rows[1][1..].iter().all(Value::is_null));
}

#[test]
fn rows_without_a_key_come_as_they_lie() {
    let sql = "CREATE TABLE log(n int, t text); INSERT INTO log SELECT n, repeat('x', n % 50) FROM generate_series(1, 3000) n;
        DELETE FROM log WHERE n % 7 = 0; UPDATE log SET t = 'changed' WHERE n = 1;
        CREATE TABLE parts(n int, t text) PARTITION BY LIST (n); CREATE TABLE p3 PARTITION OF parts FOR VALUES IN (3);
        CREATE TABLE p1 (t text, n int); ALTER TABLE parts ATTACH PARTITION p1 FOR VALUES IN (1);
        CREATE TABLE p2 PARTITION OF parts FOR VALUES IN (2); INSERT INTO parts SELECT 1 + n % 3, n FROM generate_series(0, 29) n;
        CREATE TABLE mother(n int); CREATE TABLE child() INHERITS (mother); INSERT INTO mother VALUES (1); INSERT INTO child VALUES (2);
        CREATE TABLE empty(n int)";
    let (store, url) = store(sql);
    let mut snapshot = store.snapshot().unwrap();
    let whole = read(&mut *snapshot, "log", 10_000);
    assert_eq!(whole.len(), 3000 - 3000 / 7);
    for most in [1000, 517, 2571, 2572] {
        assert_eq!(read(&mut *snapshot, "log", most), whole, "{most}");
    }
    let parts = read(&mut *snapshot, "parts", 100);
    assert_eq!(parts.len(), 30);
    let table = schema(&mut *snapshot, "parts");
    for most in 1..=31 {
        assert_eq!(read(&mut *snapshot, "parts", most), parts, "{most}");
    }
    let mut page = Rows::default();
    for skip in 0..33 {
        let end = snapshot.page(&table, None, skip, PageBounds { rows: 4, ..ALL }, &mut page).unwrap();
        let from = (skip as usize).min(30);
        assert_eq!((owned(&page), end.more), (parts[from..(from + 4).min(30)].to_vec(), from + 4 < 30), "{skip}");
        assert_eq!(end.cursor.is_some(), from < 30);
    }
    assert_eq!(
        (first(&read(&mut *snapshot, "mother", 9)), first(&read(&mut *snapshot, "child", 9))),
        (vec!["1".into()], vec!["2".into()])
    );
    let mother = schema(&mut *snapshot, "mother");
    assert_eq!(snapshot.count(&mother).unwrap(), 1);
    assert!(read(&mut *snapshot, "empty", 1).is_empty());
    // A place in a table that was rewritten is none.
    let log = schema(&mut *snapshot, "log");
    let end = snapshot.page(&log, None, 0, PageBounds { rows: 10, ..ALL }, &mut page).unwrap();
    drop(snapshot);
    let mut later = store.snapshot().unwrap();
    later.page(&log, end.cursor.as_ref(), 0, PageBounds { rows: 10, ..ALL }, &mut page).unwrap();
    assert_eq!(owned(&page), whole[10..20]);
    drop(later);
    server().run(&url, "VACUUM FULL log");
    let mut later = store.snapshot().unwrap();
    let expired = later.page(&log, end.cursor.as_ref(), 0, ALL, &mut page).unwrap_err();
    assert_eq!(expired.kind(), ErrorKind::CursorExpired);
    for foreign in [Cursor { run: 1, values: vec![1.into()] }, Cursor { run: 0, values: vec![1.into()] }] {
        assert_eq!(later.page(&log, Some(&foreign), 0, ALL, &mut page).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_page_ends_at_its_bytes_and_the_next_one_knows_how_large_rows_are() {
    let sql = "CREATE TABLE t(id int PRIMARY KEY, x text); INSERT INTO t SELECT n, repeat('x', CASE WHEN n > 400 THEN 5000 ELSE 1 END) FROM generate_series(1, 700) n";
    let (store, _) = store(sql);
    let mut snapshot = store.snapshot().unwrap();
    let table = schema(&mut *snapshot, "t");
    let (mut page, mut after, mut total) = (Rows::default(), None, 0);
    let bounds = PageBounds { bytes: 20_000, ..ALL };
    loop {
        let end = snapshot.page(&table, after.as_ref(), 0, bounds, &mut page).unwrap();
        total += page.len();
        assert!(page.size_bytes() < 20_000 + 5_100 && (page.size_bytes() >= 20_000 || !end.more), "{}", page.size_bytes());
        if !end.more {
            break;
        }
        after = end.cursor;
    }
    assert_eq!(total, 700);
    snapshot.page(&table, None, 0, PageBounds { rows: 9, bytes: 1 }, &mut page).unwrap();
    assert_eq!(page.len(), 1);
}

#[test]
fn a_table_that_changed_meanwhile_is_an_error_and_no_smaller_one() {
    let sql = "CREATE TABLE emptied(id int PRIMARY KEY); CREATE TABLE altered(id int PRIMARY KEY, x int); CREATE TABLE kept(id int PRIMARY KEY);
        CREATE TABLE parts(id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF parts FOR VALUES FROM (0) TO (9);
        INSERT INTO emptied VALUES (1); INSERT INTO altered VALUES (1, 1); INSERT INTO kept VALUES (1); INSERT INTO parts VALUES (1)";
    let (store, url) = store(sql);
    let mut snapshot = store.snapshot().unwrap();
    let tables = ["emptied", "altered", "kept", "parts"].map(|name| schema(&mut *snapshot, name));
    server().run(&url, "TRUNCATE emptied; ALTER TABLE altered ALTER x TYPE text; DELETE FROM kept; TRUNCATE parts");
    let mut page = Rows::default();
    let mut read = |table: &TableSchema| {
        snapshot.page(table, None, 0, ALL, &mut page).map(|_| page.len()).map_err(|error| error.kind())
    };
    assert_eq!(
        tables.each_ref().map(&mut read),
        [Err(ErrorKind::Database), Err(ErrorKind::Database), Ok(1), Err(ErrorKind::Database)]
    );
    assert!(snapshot.count(&tables[0]).is_err());
}

#[test]
fn rows_are_found_as_their_column_compares() {
    let sql = "CREATE TABLE t(id bigint PRIMARY KEY, u uuid UNIQUE, t text, n numeric, f real, b bool);
        INSERT INTO t SELECT n, ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'x' || n, n + 0.50, n * 0.1, n > 5 FROM generate_series(1, 9) n";
    let (store, _) = store(sql);
    let mut snapshot = store.snapshot().unwrap();
    let table = schema(&mut *snapshot, "t");
    let mut find = |column: usize, keys: Keys<'_>| {
        let mut page = Rows::default();
        snapshot
            .find(&table, column, &keys, 0, ALL, &mut page)
            .map(|_| first(&owned(&page)).join(" "))
            .map_err(|error| error.kind())
    };
    let (one, half): (Value, Value) = ("1".into(), 1.5.into());
    let these =
        [Value::from("7"), 3.0.into(), "x".into(), Value::Null, 2.into(), Value::Blob(vec![1]), i64::MAX.into(), 2.5.into()];
    assert_eq!(find(0, Keys::These(&these)), Ok("2 3 7".into()));
    assert_eq!(find(0, Keys::Between(Some(&half), Some(&Value::from(3.9)))), Ok("2 3".into()));
    assert_eq!(find(0, Keys::Between(Some(&one), Some(&Value::from(1e300)))), Ok("1 2 3 4 5 6 7 8 9".into()));
    assert_eq!(find(0, Keys::Between(Some(&Value::from("y")), None)), Err(ErrorKind::InvalidInput));
    let uuid = |n: i32| Value::from(format!("00000000-0000-0000-0000-00000000000{n}"));
    assert_eq!(find(1, Keys::These(&[uuid(4), "no uuid".into(), uuid(2)])), Ok("2 4".into()));
    assert_eq!(find(1, Keys::These(&["no uuid".into()])), Ok(String::new()));
    assert_eq!(find(1, Keys::Between(Some(&uuid(8)), None)), Ok("8 9".into()));
    assert_eq!(find(1, Keys::Between(None, Some(&"no uuid".into()))), Err(ErrorKind::InvalidInput));
    assert_eq!(find(2, Keys::These(&["x3".into(), "X3".into(), Value::Text(vec![0xff])])), Ok("3".into()));
    assert_eq!(find(3, Keys::These(&["2.5".into(), 3.5.into()])), Ok("2 3".into()));
    assert_eq!(find(4, Keys::These(&[Value::Real(0.5_f32.into())])), Ok("5".into()));
    assert_eq!(find(5, Keys::These(&[1.into(), 7.into()])), Ok("6 7 8 9".into()));
    assert_eq!(find(9, Keys::These(&[])), Err(ErrorKind::SchemaMismatch));
}

#[test]
fn types_of_extensions_in_other_schemas_are_compared_by_their_own_operators() {
    let sql = "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION ltree SCHEMA ext;
        CREATE TABLE names(k ext.citext PRIMARY KEY); INSERT INTO names VALUES ('a'), ('B'), ('c'), ('D'), ('e');
        CREATE DOMAIN way AS ext.ltree;
        CREATE TABLE paths(k ext.citext, p way, n int, PRIMARY KEY (k, p, n));
        INSERT INTO paths SELECT k, p::ext.ltree, n FROM unnest(ARRAY['a', 'B', 'c']) k, unnest(ARRAY['A.b', 'a.c']) p, generate_series(1, 3) n";
    let (store, _) = store(sql);
    let mut snapshot = store.snapshot().unwrap();
    for most in 1..6 {
        assert_eq!(first(&read(&mut *snapshot, "names", most)).join(""), "aBcDe");
    }
    let whole = read(&mut *snapshot, "paths", 100);
    assert_eq!(whole.len(), 18);
    for most in 1..18 {
        assert_eq!(read(&mut *snapshot, "paths", most), whole, "by {most}");
    }
    let mut find = |table: &str, column: usize, keys: Keys<'_>| {
        let mut page = Rows::default();
        let table = schema(&mut *snapshot, table);
        snapshot.find(&table, column, &keys, 0, ALL, &mut page).unwrap();
        first(&owned(&page)).join("")
    };
    assert_eq!(find("names", 0, Keys::These(&["b".into(), "d".into(), "x".into()])), "BD");
    assert_eq!(find("names", 0, Keys::Between(Some(&"b".into()), Some(&"d".into()))), "BcD");
    assert_eq!(find("paths", 1, Keys::These(&["a.c".into()])).len(), 9);
    assert_eq!(find("paths", 1, Keys::Between(Some(&"a.c".into()), None)).len(), 9);
}

#[test]
fn rows_with_one_value_are_found_in_the_same_order_each_time() {
    let sql =
        "CREATE TABLE keyed(id int PRIMARY KEY, g int); INSERT INTO keyed SELECT n, n % 2 FROM generate_series(9, 1, -1) n;
        CREATE TABLE bare(id int, g int); INSERT INTO bare SELECT n, n % 2 FROM generate_series(1, 9) n";
    let (store, _) = store(sql);
    let mut snapshot = store.snapshot().unwrap();
    for name in ["keyed", "bare"] {
        let table = schema(&mut *snapshot, name);
        let (mut found, mut page) = (Vec::new(), Rows::default());
        for skip in 0..9 {
            let bounds = PageBounds { rows: 1, ..ALL };
            snapshot.find(&table, 1, &Keys::These(&[0.into(), 1.into()]), skip, bounds, &mut page).unwrap();
            found.extend(first(&owned(&page)));
        }
        assert_eq!(found.join(" "), "2 4 6 8 1 3 5 7 9", "{name}");
    }
}

#[test]
fn a_statement_that_fails_leaves_the_snapshot_as_it_is() {
    let sql = "CREATE TABLE t(id int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE TABLE gone(id int PRIMARY KEY)";
    let (store, url) = store(sql);
    let mut snapshot = store.snapshot().unwrap();
    let (table, gone) = (schema(&mut *snapshot, "t"), schema(&mut *snapshot, "gone"));
    let mut page = Rows::default();
    snapshot.page(&table, None, 0, ALL, &mut page).unwrap();
    server().run(&url, "INSERT INTO t VALUES (2); DROP TABLE gone");
    for _ in 0..2 {
        assert!(snapshot.page(&gone, None, 0, ALL, &mut page).is_err());
        assert!(snapshot.count(&gone).is_err());
        snapshot.page(&table, None, 0, ALL, &mut page).unwrap();
        assert_eq!(
            (page.len(), snapshot.count(&table).unwrap(), snapshot.tables().unwrap().contains(&"t".into())),
            (1, 1, true)
        );
    }
    // What was read before is locked still.
    let truncated = server().run(&url, "SET lock_timeout = 50; DO $$ BEGIN TRUNCATE t; RAISE 'not locked'; EXCEPTION WHEN lock_not_available THEN END $$; SELECT 1");
    assert!(truncated.ends_with('1'), "{truncated}");
}

#[test]
fn a_partitioned_table_without_a_key_is_offered_where_its_partitions_may_be_read() {
    let url = server().database();
    let role = format!("reader_{}", std::process::id());
    let sql = "CREATE TABLE bare(n int) PARTITION BY LIST (n); CREATE TABLE p1 PARTITION OF bare FOR VALUES IN (1);
        CREATE TABLE keyed(n int PRIMARY KEY) PARTITION BY LIST (n); CREATE TABLE p2 PARTITION OF keyed FOR VALUES IN (1);
        INSERT INTO bare VALUES (1); INSERT INTO keyed VALUES (1);";
    let grant =
        format!("CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}; GRANT SELECT ON bare, keyed TO {role}");
    server().run(&url, &format!("{sql} {grant}"));
    let limited = url.replace("postgres@", &format!("{role}@"));
    let store = PostgresStore::open(&PostgresOptions::parse(&limited).unwrap(), &Limits::default()).unwrap();
    let mut snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.tables().unwrap(), ["keyed"]);
    assert_eq!(
        (read(&mut *snapshot, "keyed", 9).len(), snapshot.not_copied().unwrap().not_readable),
        (1, vec!["bare".into()])
    );
    drop(snapshot);
    server().run(&url, &format!("GRANT SELECT ON p1 TO {role}"));
    assert_eq!(read(&mut *store.snapshot().unwrap(), "bare", 9).len(), 1);
}

#[test]
fn what_is_beside_the_tables_is_told() {
    let sql = "CREATE TABLE t(id int PRIMARY KEY CHECK (id > 0), own int GENERATED BY DEFAULT AS IDENTITY, CHECK (own > 0)); CREATE TABLE bare();
        CREATE VIEW v AS SELECT 1; CREATE MATERIALIZED VIEW mv AS SELECT 1; CREATE SEQUENCE alone; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
        CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE far(x int) SERVER s; CREATE EXTENSION pgcrypto";
    let (store, _) = store(sql);
    let mut snapshot = store.snapshot().unwrap();
    let beside = snapshot.not_copied().unwrap();
    assert_eq!(
        (beside.views.join(" "), beside.sequences.join(" "), beside.functions.join(" ")),
        ("mv v".into(), "alone".into(), "f".into())
    );
    assert_eq!((beside.foreign_tables.join(" "), beside.not_readable.join(" ")), ("far".into(), "bare".into()));
    assert_eq!((beside.checks, beside.triggers), ([("t".into(), 2)].into(), [("t".into(), vec!["tr".into()])].into()));
}

#[test]
fn a_sequence_tells_its_last_number() {
    let sql = "CREATE TABLE used(id serial PRIMARY KEY); INSERT INTO used DEFAULT VALUES; INSERT INTO used DEFAULT VALUES; DELETE FROM used;
        CREATE TABLE fresh(id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY); CREATE TABLE other(id int PRIMARY KEY)";
    let (store, _) = store(sql);
    let mut snapshot = store.snapshot().unwrap();
    let told = ["used", "fresh", "other"].map(|name| {
        let mut table = schema(&mut *snapshot, name);
        snapshot.tell(&mut table).unwrap();
        (table.autoincrement, table.sequence)
    });
    assert_eq!(told, [(true, Some(2)), (true, None), (false, None)]);
}

#[test]
fn rows_that_policies_hide_are_an_error() {
    let (opened, url) = store("CREATE TABLE t(id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    drop(opened);
    let sql = "CREATE ROLE limited LOGIN; GRANT ALL ON SCHEMA public TO limited; GRANT SELECT ON ALL TABLES IN SCHEMA public TO limited;
        GRANT ALL ON ALL TABLES IN SCHEMA public TO limited; ALTER TABLE t ENABLE ROW LEVEL SECURITY";
    server().run(&url, sql);
    let url = url.replace("postgres@", "limited@");
    let store = PostgresStore::open(&PostgresOptions::parse(&url).unwrap(), &Limits::default()).unwrap();
    let mut snapshot = store.snapshot().unwrap();
    let table = schema(&mut *snapshot, "t");
    let mut page = Rows::default();
    let error = snapshot.page(&table, None, 0, ALL, &mut page).unwrap_err();
    assert!(error.message().contains("row level security") && error.hint().is_some(), "{error}");
    assert!(snapshot.count(&table).is_err());
}

#[test]
fn a_lost_connection_is_an_error_of_its_own_kind() {
    let (store, url) = store("CREATE TABLE t(id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let mut snapshot = store.snapshot().unwrap();
    let table = schema(&mut *snapshot, "t");
    server().run(&url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
    let error = snapshot.page(&table, None, 0, ALL, &mut Rows::default()).unwrap_err();
    assert!(error.kind() == ErrorKind::Disconnected && error.hint().is_some(), "{error:?}");
    drop(snapshot);
    assert_eq!(read(&mut *store.snapshot().unwrap(), "t", 1).len(), 1);
}
