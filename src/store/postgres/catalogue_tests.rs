use super::*;
use crate::domain::schema::{ForeignKeyAction, LogicalType, Numbering, UniqueKind};
use crate::store::postgres::testing::{test, test_with};

fn table(connection: &mut Connection, name: &str) -> Table {
    read(connection, name).unwrap().unwrap_or_else(|| panic!("no table {name:?}"))
}

#[test]
fn ordinary_and_partitioned_tables_are_offered() {
    let sql = "CREATE TABLE plain(a int); CREATE UNLOGGED TABLE unlogged(a int); CREATE TEMP TABLE temporary(a int);
        CREATE TABLE parted(a int PRIMARY KEY, b text) PARTITION BY RANGE (a);
        CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
        CREATE TABLE child(c int) INHERITS (plain); CREATE VIEW v AS SELECT 1; CREATE MATERIALIZED VIEW mv AS SELECT 1;
        CREATE SEQUENCE s; CREATE TABLE \"a.b\"(a int); CREATE TABLE rowferry_x(a int); CREATE TABLE \"Ünï \"\"q\"(\"x y\" int);
        CREATE SCHEMA a; CREATE TABLE a.b(x int); CREATE TABLE a.c(x int); CREATE SCHEMA other; CREATE TABLE other.d(x int)";
    let mut connection = test_with(sql, &["public", "a"]);
    assert_eq!(table_names(&mut connection).unwrap(), ["a.b", "a.c", "child", "parted", "plain", "unlogged", "Ünï \"q"]);
    // The first schema's comes first.
    let names = |table: Table| (table.relation, table.source, table.schema.columns[0].name.clone());
    assert_eq!(
        names(table(&mut connection, "a.b")),
        (r#""public"."a.b""#.into(), r#"ONLY "public"."a.b""#.into(), "a".into())
    );
    assert_eq!(names(table(&mut connection, "a.c")).0, r#""a"."c""#);
    let parted = table(&mut connection, "parted");
    assert!(parted.is_partitioned && parted.source == r#""public"."parted""# && parted.schema.primary_key == ["a"]);
    assert_eq!(parted.order, [(0, String::new())]);
    for none in ["v", "mv", "s", "part_1", "temporary", "d", "other.d", "rowferry_x", "public.plain", "PLAIN", "", "c"] {
        assert!(read(&mut connection, none).unwrap().is_none(), "{none}");
    }
    let mut all: Vec<String> = read_all(&mut connection).unwrap().into_iter().map(|table| table.schema.name).collect();
    all.sort_unstable();
    assert_eq!(all, table_names(&mut connection).unwrap());
}

#[test]
fn columns_have_their_types_defaults_and_collations() {
    let sql = "CREATE TYPE mood AS ENUM ('sad', 'it''s'); CREATE DOMAIN short AS varchar(5) NOT NULL; CREATE DOMAIN shorter AS short DEFAULT 'x';
        CREATE DOMAIN rowferry_any AS jsonb; CREATE DOMAIN number AS bigint; CREATE SCHEMA other; CREATE TYPE other.pair AS (a int, b int);
        CREATE TABLE t(id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n numeric(10, 2) DEFAULT -1.5, v varchar(80) NOT NULL DEFAULT 'it''s',
          c char(4), s short, s2 shorter, x rowferry_any, big number, m mood DEFAULT 'sad', gone int, p other.pair, ts timestamptz(3) DEFAULT now(),
          arr text[], tri numeric(3, -2), g bigint GENERATED ALWAYS AS (n * 2) STORED, \"C\" text COLLATE \"C\", nx smallserial, j jsonb, i inet, b bytea,
          r int4range, f real, d double precision, u uuid, da date, ti time, ts0 timestamp, bo boolean NOT NULL, neg int DEFAULT -5);
        ALTER TABLE t DROP COLUMN gone";
    let table = table(&mut test(sql), "t");
    let told = |name: &str| {
        let at = table.schema.column_index(name).unwrap();
        (&table.schema.columns[at], &table.columns[at])
    };
    let (id, more) = told("id");
    assert!(table.schema.autoincrement && table.schema.rowid_alias);
    assert_eq!((id.nullable, id.default.clone(), more.carried), (false, None, Carried::Int4));
    assert_eq!(more.sequence.as_deref(), Some("public.t_id_seq"));
    assert_eq!((id.numbering, told("nx").0.numbering), (Some(Numbering::Always), Some(Numbering::ByDefault)));
    let (n, _) = told("n");
    assert_eq!(
        (n.precision, n.scale, n.declared_type.as_str(), n.default.as_deref()),
        (Some(10), Some(2), "numeric(10,2)", Some("'-1.5'"))
    );
    assert_eq!(told("neg").0.default.as_deref(), Some("-5"));
    let (v, _) = told("v");
    assert_eq!((v.max_length, v.nullable, v.default.as_deref()), (Some(80), false, Some("'it''s'")));
    let (c, more) = told("c");
    assert_eq!(
        (c.max_length, &c.logical, more.carried, more.base.sql.as_str()),
        (Some(4), &LogicalType::Text, Carried::Cast, "bpchar")
    );
    assert_eq!(more.select(), r#"pg_catalog.textin("pg_catalog"."bpcharout"("c"))"#);
    for name in ["s", "s2"] {
        let (s, more) = told(name);
        assert_eq!((s.max_length, s.nullable, more.carried), (Some(5), false, Carried::Text), "{name}");
    }
    assert_eq!(told("x").1.carried, Carried::Any);
    assert_eq!((told("big").1.carried, told("big").0.declared_type.as_str()), (Carried::Int8, "number"));
    assert_eq!((&told("m").0.logical, told("m").1.type_sql.as_str()), (&LogicalType::Other("mood".into()), "mood"));
    assert_eq!(told("p").1.type_sql, "other.pair");
    assert_eq!(
        (&told("ts").0.logical, told("ts").0.default.as_deref()),
        (&LogicalType::TimestampTz, Some("CURRENT_TIMESTAMP"))
    );
    assert_eq!(told("arr").0.logical, LogicalType::Other("text[]".into()));
    assert_eq!((told("tri").0.precision, told("tri").0.scale), (Some(3), None));
    let (g, more) = told("g");
    assert!(g.generated && more.is_generated && g.default.is_none());
    assert_eq!(told("C").0.collation.as_deref(), Some("C"));
    assert_eq!((told("nx").1.sequence.as_deref(), told("nx").0.default.as_deref()), (Some("public.t_nx_seq"), None));
    assert_eq!(told("i").1.select(), r#"pg_catalog.textin("pg_catalog"."inet_out"("i"))"#);
    assert_eq!((told("j").1.select(), told("v").1.select()), (r#"("j")::text"#.into(), r#""v""#.into()));
    let carried = ["b", "r", "f", "d", "u", "da", "bo"].map(|name| told(name).1.carried);
    use Carried::{Bool, Bytes, Cast, Float4, Float8};
    assert_eq!(carried, [Bytes, Cast, Float4, Float8, Cast, Cast, Bool]);
    use LogicalType::{Boolean, Date, Time, Timestamp, Uuid};
    assert_eq!(
        ["u", "da", "ti", "ts0", "bo"].map(|name| told(name).0.logical.clone()),
        [Uuid, Date, Time, Timestamp, Boolean]
    );
}

#[test]
fn keys_sets_indexes_and_references_are_told() {
    let sql = "CREATE COLLATION blind (provider = icu, locale = 'und', deterministic = false);
        CREATE TABLE p(b text, a int, c int UNIQUE NULLS NOT DISTINCT, PRIMARY KEY (b, a));
        CREATE TABLE t(id serial PRIMARY KEY, b text, a int, n text NOT NULL, m int, UNIQUE (n, m) DEFERRABLE, EXCLUDE USING gist (int4range(m, a) WITH &&),
          CONSTRAINT one FOREIGN KEY (b, a) REFERENCES p ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED);
        ALTER TABLE t ADD CONSTRAINT two FOREIGN KEY (m) REFERENCES p(c) ON DELETE RESTRICT NOT VALID;
        CREATE UNIQUE INDEX part ON t(a) WHERE m > 0; CREATE UNIQUE INDEX expr ON t(lower(n), a); CREATE UNIQUE INDEX turned ON t(n DESC, a);
        CREATE UNIQUE INDEX apart ON t(n COLLATE \"C\"); CREATE UNIQUE INDEX coarse ON t(n COLLATE blind);
        CREATE INDEX plain ON t(a, n DESC) INCLUDE (m); CREATE INDEX partly ON t(a) WHERE m = 1; CREATE INDEX ex ON t((a + 1));
        CREATE INDEX hashed ON t USING hash (a); CREATE INDEX pattern ON t(n text_pattern_ops); CREATE INDEX twice ON t(a, a)";
    let mut connection = test(sql);
    let t = table(&mut connection, "t");
    assert!(t.schema.autoincrement && t.schema.columns[0].default.is_none());
    let primary = t.primary.as_ref().unwrap();
    assert_eq!((primary.columns.as_slice(), primary.constraint.as_deref()), (&[0][..], Some("t_pkey")));
    let set = |name: &str| {
        let at = t.unique.iter().position(|set| set.name == name).unwrap();
        (&t.schema.unique[at], &t.unique[at])
    };
    let (deferrable, more) = set("t_n_m_key");
    assert_eq!((deferrable.columns.join(" "), deferrable.kind, &deferrable.index), ("n m".into(), UniqueKind::Full, &None));
    assert!(more.is_deferrable && !more.nulls_not_distinct && more.constraint.as_deref() == Some("t_n_m_key"));
    let (part, more) = set("part");
    assert_eq!(
        (part.kind, part.index.as_deref(), more.predicate.as_deref()),
        (UniqueKind::Partial, Some("part"), Some("(m > 0)"))
    );
    assert_eq!(
        (set("expr").0.kind, set("expr").0.columns.len(), set("expr").1.columns.len()),
        (UniqueKind::Expression, 0, 0)
    );
    let (turned, _) = set("turned");
    assert!(
        turned.kind == UniqueKind::Full
            && turned.parts.len() == 2
            && turned.parts[0].descending
            && !turned.parts[1].descending
    );
    let (apart, more) = set("apart");
    assert_eq!((apart.kind, apart.parts[0].collation.as_deref()), (UniqueKind::Full, Some("C")));
    assert_eq!(more.collates, [r#" COLLATE "pg_catalog"."C""#]);
    let (coarse, more) = set("coarse");
    assert!(coarse.kind == UniqueKind::Expression && coarse.columns.is_empty() && more.is_coarser && more.columns == [3]);
    let indexes: Vec<_> = t.schema.indexes.iter().map(|index| (index.name.as_str(), index.parts.len())).collect();
    assert_eq!(indexes, [("plain", 2), ("twice", 2)]);
    assert_eq!(t.schema.other_indexes, ["t_int4range_excl", "partly", "ex", "hashed", "pattern"]);
    let [one, two] = &t.schema.foreign_keys[..] else { panic!("{:?}", t.schema.foreign_keys) };
    assert_eq!(
        (one.columns.join(" "), one.parent.as_str(), one.parent_columns.join(" ")),
        ("b a".into(), "p", "b a".into())
    );
    assert_eq!((one.on_delete, one.on_update, one.deferred), (ForeignKeyAction::Cascade, ForeignKeyAction::SetNull, true));
    assert_eq!((two.on_delete, two.deferred, two.parent_columns.join(" ")), (ForeignKeyAction::Restrict, false, "c".into()));
    let facts: Vec<_> = t.references.iter().map(|r| (r.name.as_str(), r.is_deferrable, r.is_deferred, r.is_valid)).collect();
    assert_eq!(facts, [("one", true, true, true), ("two", false, false, false)]);
    assert!(t.schema.deferred);
    let p = table(&mut connection, "p");
    assert_eq!((p.schema.primary_key.join(" "), p.order), ("b a".into(), vec![(0, String::new()), (1, String::new())]));
    assert!(p.unique[0].nulls_not_distinct && !p.schema.deferred);
}

#[test]
fn many_tables_are_read_at_once() {
    let sql: String = (0..20).map(|at| format!("CREATE TABLE t{at}(id int PRIMARY KEY);")).collect();
    let mut connection = test(&sql);
    for at in 0..20 {
        let name = format!("t{at}");
        assert_eq!(connection.table(&name).unwrap().unwrap().schema.name, name);
    }
    connection.batch("CREATE TABLE later(x int)").unwrap();
    assert!(connection.table("later").unwrap().is_some() && connection.table("never").unwrap().is_none());
    connection.forget();
    assert!(connection.table("t19").unwrap().is_some());
}

#[test]
fn a_key_is_paged_by_the_collation_of_its_index() {
    let mut connection = test("CREATE TABLE t(x int, n text NOT NULL); CREATE UNIQUE INDEX i ON t(n COLLATE \"C\")");
    assert_eq!(table(&mut connection, "t").order, [(1, r#" COLLATE "pg_catalog"."C""#.to_owned())]);
}

#[test]
fn what_runs_on_a_table_is_told() {
    let sql = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TABLE quiet(a int REFERENCES quiet(a), UNIQUE (a)); CREATE TABLE loud(a int); CREATE TABLE off(a int); CREATE TABLE ruled(a int);
        CREATE TRIGGER t BEFORE INSERT ON loud FOR EACH ROW EXECUTE FUNCTION f(); CREATE TRIGGER t BEFORE INSERT ON off FOR EACH ROW EXECUTE FUNCTION f();
        ALTER TABLE off DISABLE TRIGGER t; CREATE RULE r AS ON INSERT TO ruled DO INSTEAD NOTHING;
        CREATE TABLE hidden(a int); CREATE TABLE secured(a int); ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
        CREATE ROLE someone; GRANT USAGE ON SCHEMA public TO someone; GRANT SELECT ON loud, off, ruled, secured TO someone; SET ROLE someone";
    let mut connection = test(sql);
    assert_eq!(table_names(&mut connection).unwrap(), ["loud", "off", "ruled", "secured"]);
    let facts = ["loud", "off", "ruled", "secured"].map(|name| {
        let table = table(&mut connection, name);
        (table.schema.has_triggers, table.has_rules, table.has_row_security)
    });
    let none = (false, false, false);
    assert_eq!(facts, [(true, false, false), none, (false, true, false), (false, false, true)]);
    connection.batch("RESET ROLE; DROP OWNED BY someone; DROP ROLE someone").unwrap();
    let quiet = table(&mut connection, "quiet");
    assert!(!quiet.schema.has_triggers && !quiet.has_rules);
}

#[test]
fn an_action_on_some_of_the_columns_is_none_on_all() {
    let sql = "CREATE TABLE p(a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t(a int, b int,
        CONSTRAINT parted FOREIGN KEY (a, b) REFERENCES p ON DELETE SET NULL (b), CONSTRAINT whole FOREIGN KEY (a, b) REFERENCES p ON DELETE SET NULL)";
    let keys = table(&mut test(sql), "t").schema.foreign_keys;
    let actions: Vec<ForeignKeyAction> = keys.iter().map(|key| key.on_delete).collect();
    assert_eq!(actions, [ForeignKeyAction::NoAction, ForeignKeyAction::SetNull]);
}
