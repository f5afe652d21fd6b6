//! What the conformance suite does not see: types, constraints and triggers that only PostgreSQL has.

use postgres::{Client, NoTls};

use crate::domain::record::{Outcome, Reason};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value};
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::store::conformance::harness::*;
use crate::store::postgres::{PostgresOptions, PostgresStore, test_server};
use crate::store::{Change, Check, Fitted, Refused, Sets, Store, Target};

/// A store of a fresh database in which these statements were run, and another connection to it.
fn store(sql: &str) -> (PostgresStore, Client) {
    let url = test_server::server().database();
    let mut client = Client::connect(&url, NoTls).unwrap();
    client.batch_execute(sql).unwrap();
    let store = PostgresStore::open(&PostgresOptions::parse(&url).unwrap(), &Limits::default()).unwrap();
    (store, client)
}

fn text(client: &mut Client, sql: &str) -> String {
    client.query_one(sql, &[]).unwrap().get(0)
}

/// Applies records in bulk as far as the store does, and the others one by one.
fn bulk(store: &dyn Store, table: &str, strategy: Strategy, rows: &Rows) -> (Outcome, usize) {
    let plan = plan(&schema(store, table), strategy);
    let (mut tally, mut next, mut in_bulk) = (tally(), 0, 0);
    write(store, |writer| {
        while next < rows.len() {
            let applied = writer.apply_bulk(&plan, rows, next..rows.len(), &mut tally)?;
            (next, in_bulk) = (next + applied, in_bulk + applied);
            if next < rows.len() {
                apply_each(writer, &plan, rows, next..next + 1, &mut tally)?;
                next += 1;
            }
        }
        Ok(())
    });
    (tally.outcome, in_bulk)
}

fn insert(store: &dyn Store, table: &str, rows: &Rows) -> Vec<Refused> {
    let table = schema(store, table);
    write(store, |writer| add(writer, &table, rows))
}

#[test]
fn each_refusal_has_its_reason() {
    let (store, _) = store(
        "CREATE DOMAIN small AS int CHECK (VALUE < 10);
         CREATE TABLE parent(id int PRIMARY KEY); INSERT INTO parent VALUES (1);
         CREATE TABLE t(id int PRIMARY KEY, a text NOT NULL, b int UNIQUE, c int CHECK (c > 0), p int REFERENCES parent,
             r int4range, d small, s varchar(3), EXCLUDE USING gist (r WITH &&));
         CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.a = 'raise' THEN RAISE EXCEPTION 'it is not wanted'; END IF;
             IF NEW.a = 'out' THEN RETURN NULL; END IF;
             RETURN NEW; END $$;
         CREATE TRIGGER no BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION no();",
    );
    let x = || v("x");
    let given = rows([
        [v(1), x(), v(1), v(1), v(1), v("[1,5)"), v(1), v("abc")],
        [v(2), NULL, NULL, NULL, NULL, NULL, NULL, NULL],
        [v(3), x(), v(1), NULL, NULL, NULL, NULL, NULL],
        [v(4), x(), NULL, v(0), NULL, NULL, NULL, NULL],
        [v(5), x(), NULL, NULL, v(9), NULL, NULL, NULL],
        [v(6), x(), NULL, NULL, NULL, v("[4,6)"), NULL, NULL],
        [v(7), x(), NULL, NULL, NULL, NULL, v(10), NULL],
        [v(8), v("raise"), NULL, NULL, NULL, NULL, NULL, NULL],
        [v(9), v("out"), NULL, NULL, NULL, NULL, NULL, NULL],
        [v(10), x(), NULL, NULL, NULL, NULL, NULL, v("abcd")],
        [v(1), x(), NULL, NULL, NULL, NULL, NULL, NULL],
    ]);
    let refused = insert(&store, "t", &given);
    let found: Vec<_> = refused.iter().map(|r| (r.row, r.reason, r.column.as_deref(), r.is_left_out)).collect();
    assert_eq!(
        found,
        [
            (1, Reason::NotNull, Some("a"), false),
            (2, Reason::UniqueConflict, Some("b"), false),
            (3, Reason::Check, None, false),
            (4, Reason::ForeignKey, Some("p"), false),
            (5, Reason::Refused, Some("r"), false),
            (6, Reason::Check, None, false),
            (7, Reason::Trigger, None, false),
            (8, Reason::Trigger, None, true),
            (9, Reason::ValueOutOfRange, Some("s"), false),
            (10, Reason::UniqueConflict, Some("id"), false),
        ]
    );
    assert!(refused.iter().all(|refused| !refused.message.contains("[4,6)")), "{refused:?}");
    assert!(refused[6].message.contains("it is not wanted"));
}

#[test]
fn a_value_that_does_not_fit_says_why() {
    let (store, _) = store(
        "CREATE DOMAIN money2 AS numeric(6, 2);
         CREATE TABLE t(id int PRIMARY KEY, b bool, i2 int2, f4 float4, f8 float8, n numeric(6, 2), m money2, ts timestamptz(3),
             u uuid, j jsonb, v varchar(3), c char(3), bits bit(3), a int[], w varchar(2)[], d date, t0 timestamp,
             tz timestamptz, tm time, nm name, mo money, iv interval);",
    );
    let t = schema(&store, "t");
    let fit = |column: &str, value: Value| {
        let at = t.column_index(column).unwrap();
        let mut rows = Rows::new(t.columns.len());
        rows.start_row();
        rows.set(at, value.as_ref());
        let mut fitted = Fitted::default();
        begin(&store).fit(&plan(&t, Strategy::Skip), &rows, 0..1, &mut fitted).unwrap();
        match fitted.misfits.first() {
            Some(misfit) => Err(misfit.reason),
            None => Ok(fitted.rows.get(0, at).unwrap().to_owned()),
        }
    };
    use Reason::{ValueOutOfRange, ValueWouldChange, WrongType};
    let ok = |value: &str| Ok(Value::from(value));
    for (column, value, expected) in [
        ("b", 1.into(), Ok(1.into())),
        ("b", 2.into(), Err(ValueOutOfRange)),
        ("b", "t".into(), Err(WrongType)),
        ("i2", 40_000.into(), Err(ValueOutOfRange)),
        ("i2", Value::Real(7.0), Ok(7.into())),
        ("i2", Value::Real(7.5), Err(ValueWouldChange)),
        ("f4", Value::Real(0.5), Ok(Value::Real(0.5))),
        ("f4", Value::Real(0.1), Err(ValueWouldChange)),
        ("f8", ((1_i64 << 53) + 1).into(), Err(ValueWouldChange)),
        ("n", "1.5".into(), ok("1.50")),
        ("n", 3.into(), ok("3.00")),
        ("n", Value::Real(0.25), ok("0.25")),
        ("n", "1.234".into(), Err(ValueWouldChange)),
        ("n", "12345".into(), Err(ValueOutOfRange)),
        ("n", "x".into(), Err(WrongType)),
        ("m", "1.234".into(), Err(ValueWouldChange)),
        ("ts", "2025-12-15T07:08:09.123Z".into(), ok("2025-12-15 07:08:09.123+00")),
        ("ts", "2025-12-15T07:08:09.1234Z".into(), Err(ValueWouldChange)),
        ("ts", "25:00".into(), Err(ValueOutOfRange)),
        ("u", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11".into(), ok("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("u", Value::Blob(vec![0; 16]), Err(WrongType)),
        ("j", "{\"b\":1, \"a\" : 2}".into(), ok("{\"a\": 2, \"b\": 1}")),
        ("v", "abc".into(), ok("abc")),
        ("v", "äöü".into(), ok("äöü")),
        ("v", "abcd".into(), Err(ValueOutOfRange)),
        ("c", "a".into(), ok("a  ")),
        ("c", "abcd".into(), Err(ValueWouldChange)),
        ("bits", "101".into(), ok("101")),
        ("bits", "10".into(), Err(ValueWouldChange)),
        ("a", "{1,NULL,3}".into(), ok("{1,NULL,3}")),
        ("a", "{1".into(), Err(WrongType)),
        ("w", "{ab,c}".into(), ok("{ab,c}")),
        ("w", "{abc}".into(), Err(ValueWouldChange)),
        ("d", "2025-02-30".into(), Err(ValueOutOfRange)),
        ("d", "2025-02-28".into(), ok("2025-02-28")),
        ("d", "2025-02-28 00:00:00".into(), ok("2025-02-28")),
        ("d", "2025-02-28 10:00:00".into(), Err(ValueWouldChange)),
        ("d", "300000-01-01".into(), ok("300000-01-01")),
        ("t0", "2025-02-28T10:00:00Z".into(), ok("2025-02-28 10:00:00")),
        ("t0", "2025-02-28 10:00:00.000001".into(), ok("2025-02-28 10:00:00.000001")),
        ("t0", "2025-02-28 10:00:00+05".into(), Err(ValueWouldChange)),
        ("t0", "2025-02-28 10:00:00-05:30".into(), Err(ValueWouldChange)),
        ("t0", "infinity".into(), ok("infinity")),
        ("t0", "2025-02-28 10:00:00.1234567".into(), Err(ValueWouldChange)),
        ("tz", "2025-02-28 10:00:00.1234567Z".into(), Err(ValueWouldChange)),
        ("tz", "2025-02-28 10:00:00.1234560+02".into(), ok("2025-02-28 08:00:00.123456+00")),
        ("tm", "10:00:00.5".into(), ok("10:00:00.5")),
        ("tm", "10:00:00+02".into(), Err(ValueWouldChange)),
        ("tm", "2025-02-28 10:00".into(), Err(ValueWouldChange)),
        ("nm", "a".repeat(64).into(), Err(ValueWouldChange)),
        ("mo", "1.239".into(), Err(ValueWouldChange)),
        ("mo", "$1.23".into(), ok("$1.23")),
        ("iv", "0.1234567 s".into(), Err(ValueWouldChange)),
        ("d", Value::Text(b"a\0b".to_vec()), Err(ValueOutOfRange)),
    ] {
        assert_eq!(fit(column, value.clone()), expected, "{column} of {value:?}");
    }
}

/// The same numbers each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Applies batches of records to two tables that are alike, in bulk and one by one: both must come to the same.
#[track_caller]
fn expect_alike(columns: &str, pools: &[&[Cell]]) {
    let tables: Vec<String> = ["bulk", "single"].iter().map(|name| format!("CREATE TABLE {name}({columns});")).collect();
    let (store, mut client) = store(&tables.concat());
    let mut dice = Dice(7);
    for strategy in [Strategy::Skip, Strategy::Overwrite, Strategy::Merge] {
        for size in [1, 20, 150, 40] {
            let width = pools.len();
            let mut records = Rows::new(width);
            for _ in 0..size {
                records.start_row();
                for (at, pool) in pools.iter().enumerate() {
                    if let Some(value) = &pool[dice.roll(pool.len())] {
                        records.set(at, value.as_ref());
                    }
                }
            }
            let (found, _) = bulk(&store, "bulk", strategy, &records);
            let expected = apply(&store, &plan(&schema(&store, "single"), strategy), &records);
            let counts = |o: &Outcome| [o.created, o.updated, o.unchanged, o.skipped, o.differing, o.failed];
            assert_eq!(counts(&found), counts(&expected), "{strategy} {size}: {:?}", expected.failures);
            let reasons = |o: &Outcome| o.failures.iter().map(|f| (f.reason, f.column.clone())).collect::<Vec<_>>();
            assert_eq!(reasons(&found), reasons(&expected), "{strategy} {size}");
            let mut all = |table: &str| {
                text(
                    &mut client,
                    &format!(
                        "SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\"), '') FROM {table} t"
                    ),
                )
            };
            assert_eq!(all("bulk"), all("single"), "{strategy} {size}");
        }
        client.batch_execute("TRUNCATE bulk, single").unwrap();
    }
}

#[test]
fn types_in_bulk_are_as_one_by_one() {
    let keys: Vec<Cell> = (0..40).map(v).collect();
    expect_alike(
        "id int4 PRIMARY KEY, n numeric(6, 2), ts timestamptz(3), j jsonb, c char(3), a int[], d date",
        &[
            &keys,
            &[v("1.5"), v("1.50"), v("2"), NULL, v("1.234"), v(3), v("x"), v("1e2")],
            &[
                v("2025-12-15 07:08:09Z"),
                v("2025-12-15 07:08:09.000+00"),
                v("2025-12-15T08:08:09+01:00"),
                NULL,
                v("2025-12-15 07:08:09.1234Z"),
            ],
            &[v("{\"a\":1}"), v("{\"a\": 1}"), v("{"), NULL],
            &[v("a"), v("a  "), v("abc"), NULL],
            &[v("{1,2}"), v("{ 1, 2 }"), NULL],
            &[v("2025-01-01"), v("20250101"), NULL],
        ],
    );
    expect_alike(
        "id int2 PRIMARY KEY, b bool, f float4, g float8, y bytea, e text COLLATE \"C\", s varchar(3) NOT NULL",
        &[
            &keys,
            &[v(0), v(1), NULL, v(2)],
            &[v(0.5), v(-0.0), v(0.0), NULL, v(0.1)],
            &[v(-0.0), v(0.0), v(f64::INFINITY), v(f64::NAN), v(1), NULL],
            &[Some(Value::Blob(vec![0, 92, 255])), Some(Value::Blob(vec![])), NULL],
            &[v("a\tb\n\\"), v("\\N"), v(""), NULL, v("ä")],
            &[v("abc"), v(""), v("\\."), NULL, v("abcd")],
        ],
    );
}

#[test]
fn keys_that_are_written_in_several_ways_are_one() {
    let values: &[Cell] = &[v(1), v(2), NULL];
    let upper = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";
    let ids: Vec<Cell> = [upper.to_owned(), upper.to_lowercase(), format!("{{{upper}}}")]
        .into_iter()
        .chain((10..30).map(|n| format!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a{n}")))
        .map(v)
        .collect();
    expect_alike("k uuid PRIMARY KEY, x int8", &[&ids, values]);
    let numbers: Vec<Cell> = ["1", "1.0", "1.00", "01", "2", "3.5", "x"].map(v).into_iter().chain((10..30).map(v)).collect();
    expect_alike("k numeric PRIMARY KEY, x int8", &[&numbers, values]);
    let reals: Vec<Cell> = [-0.0, 0.0, 1.0, f64::NAN].map(v).into_iter().chain((1..20).map(v)).collect();
    expect_alike("k float8 PRIMARY KEY, x int8", &[&reals, values]);
    let moments: Vec<Cell> = ["2025-12-15 07:00Z", "2025-12-15T08:00:00+01:00", "2025-12-15"].map(v).into();
    expect_alike("k timestamptz, l int2, x int8, PRIMARY KEY (l, k)", &[&moments, &[v(1), v(2), v(3), v(4), v(5)], values]);
}

#[test]
fn tables_of_every_kind_take_records_in_bulk() {
    let ids: Vec<Cell> = (0..60).map(v).collect();
    let values: &[Cell] = &[v(1), v(2), NULL];
    let both = |columns: &str| expect_alike(columns, &[&ids, values]);
    both("id int8 PRIMARY KEY DEFERRABLE, x int8");
    both("id int8 PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, x int8 UNIQUE DEFERRABLE INITIALLY DEFERRED");
    both("id int8 PRIMARY KEY, x int8, g int8 GENERATED ALWAYS AS (x * 2) STORED");
    both("id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x int8 CHECK (x > 1)");
    let parts =
        "PARTITION OF %s FOR VALUES FROM (MINVALUE) TO (30); CREATE TABLE %s_2 PARTITION OF %s FOR VALUES FROM (30) TO (50)";
    let partitioned = |name: &str| {
        format!(
            "CREATE TABLE {name}(id int8 PRIMARY KEY, x int8) PARTITION BY RANGE (id); CREATE TABLE {name}_1 {};",
            parts.replace("%s", name)
        )
    };
    let (store, _) = store(&partitioned("p"));
    let records = |x: i64| rows((0..60).map(|id| [v(id), v(if id % 2 == 0 { x } else { 0 })]));
    let counts = |strategy, x| {
        let (o, _) = bulk(&store, "p", strategy, &records(x));
        (o.created, o.updated, o.unchanged, o.skipped, o.failed)
    };
    assert_eq!(counts(Strategy::Overwrite, 1), (50, 0, 0, 0, 10));
    assert_eq!(counts(Strategy::Overwrite, 2), (0, 25, 25, 0, 10));
    assert_eq!(counts(Strategy::Skip, 3), (0, 0, 0, 50, 10));
}

/// Where the records before were all new, COPY is tried; it must take nothing of a chunk in which one meets a row.
#[test]
fn new_records_beside_rows_that_are_there_are_told_from_those_that_meet_one() {
    for (types, at) in [("x int8", 1_500), ("x numeric", 1_500), ("x int8", 5_000), ("x int8 CHECK (x < 9999999)", 600)] {
        let (store, mut client) = store(&format!(
            "CREATE TABLE t(id int8 PRIMARY KEY, {types}, u int8 UNIQUE);
             INSERT INTO t VALUES (0, 0, NULL), ({at}, 0, NULL), (-1, 0, {at} + 7);"
        ));
        // One meets a row by its key, one by another unique value, and one comes twice.
        let mut records: Vec<_> = (1..4_000).map(|id| [v(id), v(1), v(id)]).collect();
        records.push([v(3_999), v(1), v(3_999)]);
        let (outcome, in_bulk) = bulk(&store, "t", Strategy::Overwrite, &rows(records));
        let (met, clashes) = (u64::from(at < 4_000), u64::from(at + 7 < 4_000));
        assert_eq!(
            [outcome.created, outcome.updated, outcome.unchanged, outcome.failed],
            [3_999 - met - clashes, met, 1, clashes],
            "{types} {at}"
        );
        assert!(in_bulk > 3_900, "{in_bulk}");
        let left = text(&mut client, "SELECT count(*)::text || ' ' || sum(x)::text FROM t");
        assert_eq!(left, format!("{} {}", 4_002 - met - clashes, 3_999 - clashes), "{types} {at}");
    }
}

#[test]
fn numbers_that_the_database_gives_come_after_those_of_records() {
    let (store, mut client) = store(
        "CREATE TABLE a(id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x int);
         CREATE TABLE s(id serial PRIMARY KEY, x int);
         INSERT INTO s(x) SELECT 1 FROM generate_series(1, 50);",
    );
    let (outcome, in_bulk) = bulk(&store, "a", Strategy::Overwrite, &rows((1..40).map(|id| [v(id), v(id)])));
    assert_eq!((outcome.created, in_bulk), (39, 39));
    bulk(&store, "s", Strategy::Overwrite, &rows((1..40).map(|id| [v(id), v(id)])));
    assert_eq!(text(&mut client, "INSERT INTO a(x) VALUES (0) RETURNING id::text"), "40");
    assert_eq!(text(&mut client, "INSERT INTO s(x) VALUES (0) RETURNING id::text"), "51", "it is never lowered");
    let a = schema(&store, "a");
    write(&store, |writer| {
        assert_eq!(writer.last_integer(&a, 0)?, 40);
        writer.raise_sequence(&a, 99)
    });
    assert_eq!(text(&mut client, "INSERT INTO a(x) VALUES (0) RETURNING id::text"), "100");
}

#[test]
fn indexes_over_some_rows_and_over_expressions_keep_rows_out() {
    let (store, _) = store(
        "CREATE TABLE t(id int PRIMARY KEY, a text, b int, gone text, g text GENERATED ALWAYS AS (lower(a)) STORED, d int DEFAULT 7);
         CREATE UNIQUE INDEX living ON t(a) WHERE gone IS NULL;
         CREATE UNIQUE INDEX lower ON t(g, b);
         CREATE UNIQUE INDEX expression ON t((b % 10), lower(gone));
         CREATE UNIQUE INDEX plain ON t(d);
         INSERT INTO t(id, a, b, gone, d) VALUES (1, 'x', 1, NULL, 1), (2, 'y', 12, 'P', 2), (3, 'Q', 3, 'then', 7);",
    );
    let t = schema(&store, "t");
    let clashes = |row: [Cell; 6], sets: Sets| {
        let (given, mut found) = (rows([row]), Rows::default());
        begin(&store).clashes(&t, &[0], sets, &given, 0, &mut found).unwrap();
        let mut found: Vec<i64> = integers(&owned(&found), 0);
        found.sort_unstable();
        found
    };
    let all = |row| clashes(row, Sets::All);
    assert_eq!(all([v(9), v("x"), NULL, NULL, ABSENT, v(9)]), [1]);
    assert_eq!(all([v(9), v("x"), NULL, v("z"), ABSENT, v(9)]), [0; 0], "it is not among those of the condition");
    assert_eq!(all([v(9), v("q"), v(3), v("z"), ABSENT, v(9)]), [3], "by what is computed");
    assert_eq!(all([v(9), v("z"), v(22), v("p"), ABSENT, v(9)]), [2], "by an expression");
    assert_eq!(all([v(9), v("z"), v(22), v("o"), ABSENT, ABSENT]), [3], "by a default");
    assert_eq!(all([v(1), v("x"), v(12), v("p"), ABSENT, v(2)]), [2], "its own row is in nobody's way");
    assert_eq!(clashes([v(9), v("x"), NULL, NULL, ABSENT, v(2)], Sets::Full), [2]);
}

#[test]
fn foreign_keys_that_are_not_deferrable_are_put_off_and_restored() {
    let (store, mut client) = store(
        "CREATE TABLE parent(id int PRIMARY KEY);
         CREATE TABLE child(id int PRIMARY KEY, p int REFERENCES parent);",
    );
    let [parent, child] = ["parent", "child"].map(|table| schema(&store, table));
    let deferrable = "SELECT condeferrable::text || convalidated::text FROM pg_constraint WHERE contype = 'f'";
    write(&store, |writer| {
        let tables = [Target { table: &child, updates: true }];
        writer.savepoint()?;
        assert!(writer.check_references(Check::AtCommit, &tables)?);
        writer.rollback_to()?;
        assert!(add(writer, &child, &rows([[v(1), v(5)]]))?.is_empty(), "it is put off still");
        assert_eq!(writer.commit().unwrap_err().kind(), ErrorKind::ForeignKey);
        assert!(add(writer, &parent, &rows([[v(5)]]))?.is_empty(), "the transaction continues");
        Ok(())
    });
    assert_eq!(text(&mut client, deferrable), "falsetrue");
    // A row that refers to nothing, and says so.
    write(&store, |writer| {
        let mut refused = Vec::new();
        writer.write_dangling(&child, Change::Insert, &rows([[v(2), v(9)]]), 0, &mut refused)?;
        assert_eq!(refused, []);
        assert_eq!(add(writer, &child, &rows([[v(3), v(9)]]))?.len(), 1);
        Ok(())
    });
    assert_eq!(text(&mut client, deferrable), "falsefalse");
}

#[test]
fn a_role_that_owns_nothing_writes_what_it_may() {
    let (_, mut client) = store(
        "CREATE TABLE t(id int PRIMARY KEY, x int); CREATE TABLE closed(id int PRIMARY KEY);
         CREATE TABLE child(id int PRIMARY KEY, p int REFERENCES t);
         INSERT INTO t VALUES (1, 1);",
    );
    let name = text(&mut client, "SELECT current_database()::text");
    let role = format!("role_{name}");
    client
        .batch_execute(&format!(
            "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE ON t, child TO {role}; GRANT SELECT ON closed TO {role};
             DO $$ DECLARE r record; BEGIN FOR r IN SELECT tablename FROM pg_tables WHERE tablename LIKE 'rowferry%' LOOP
                 EXECUTE format('GRANT ALL ON %I TO {role}', r.tablename); END LOOP; END $$;
             GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {role};"
        ))
        .unwrap();
    let url = test_server::server().url_as(&role, &name);
    let store = PostgresStore::open(&PostgresOptions::parse(&url).unwrap(), &Limits::default()).unwrap();
    let (outcome, _) = bulk(&store, "t", Strategy::Overwrite, &rows((1..20).map(|id| [v(id), v(2)])));
    assert_eq!((outcome.created, outcome.updated), (18, 1));
    let child = schema(&store, "child");
    write(&store, |writer| {
        let tables = [Target { table: &child, updates: false }];
        assert!(!writer.check_references(Check::AtCommit, &tables)?, "it may not change the foreign key");
        let mut refused = Vec::new();
        writer.write_dangling(&child, Change::Insert, &rows([[v(1), v(99)]]), 0, &mut refused)?;
        assert_eq!(refused.iter().map(|refused| refused.reason).collect::<Vec<_>>(), [Reason::ForeignKey]);
        assert!(add(writer, &child, &rows([[v(1), v(1)]]))?.is_empty());
        Ok(())
    });
    let closed = schema(&store, "closed");
    let mut writer = begin(&store);
    let error = add(&mut *writer, &closed, &rows([[v(1)]])).unwrap_err();
    assert!(error.message().contains("closed"), "{error}");
}

#[test]
fn a_sequence_that_was_set_is_never_lowered() {
    let (store, mut client) = store(
        "CREATE TABLE t(id serial PRIMARY KEY, x int); ALTER SEQUENCE t_id_seq RESTART WITH 100;
         CREATE TABLE words(id int PRIMARY KEY, name text DEFAULT 'w' || nextval('t_id_seq'));
         CREATE SEQUENCE named OWNED BY words.name;",
    );
    assert!(insert(&store, "t", &rows([[v(7), v(1)]])).is_empty());
    assert!(insert(&store, "words", &rows([[v(7), v("a name")]])).is_empty());
    let next = "SELECT nextval('t_id_seq')::text";
    assert_eq!(text(&mut client, next), "100");
    client.batch_execute("SELECT setval('t_id_seq', 200, false)").unwrap();
    assert!(insert(&store, "t", &rows([[v(200), v(1)]])).is_empty());
    assert_eq!(text(&mut client, next), "201", "200 is taken");
}

#[test]
fn triggers_of_partitions_and_rules_leave_rows_out_one_by_one() {
    let (store, mut client) = store(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.x = 5 THEN RETURN NULL; END IF; RETURN NEW; END $$;
         CREATE TABLE t(id int PRIMARY KEY, x int) PARTITION BY RANGE (id);
         CREATE TABLE t_part PARTITION OF t DEFAULT;
         CREATE TRIGGER no BEFORE INSERT ON t_part FOR EACH ROW EXECUTE FUNCTION no();
         CREATE TABLE ruled(id int PRIMARY KEY, x int);
         CREATE RULE no AS ON INSERT TO ruled WHERE NEW.x = 5 DO INSTEAD NOTHING;",
    );
    for table in ["t", "ruled"] {
        let refused = insert(&store, table, &rows((1..=9).map(|id| [v(id), v(id)])));
        assert_eq!(
            refused.iter().map(|refused| (refused.row, refused.is_left_out)).collect::<Vec<_>>(),
            [(4, true)],
            "{table}"
        );
        assert_eq!(text(&mut client, &format!("SELECT count(*)::text FROM {table}")), "8");
    }
}

#[test]
fn looks_are_counted() {
    let (store, _) = store("");
    let mut counted = None;
    store
        .state(&mut |sql| {
            counted = Some(crate::state::transfers::looks::records(
                sql,
                uuid::Uuid::nil(),
                "t",
                time::OffsetDateTime::UNIX_EPOCH,
            )?);
            Ok(())
        })
        .unwrap();
    assert_eq!(counted, Some(0));
}

#[test]
fn keys_of_an_extension_in_another_schema_are_compared_as_it_does() {
    let (store, mut client) = store(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE TABLE t(k ext.citext PRIMARY KEY, x text); INSERT INTO t VALUES ('Ann', 'old');",
    );
    bulk(&store, "t", Strategy::Overwrite, &rows([[v("ann"), v("new")]]));
    assert_eq!(text(&mut client, "SELECT string_agg(x, ',') FROM t"), "new");
}
