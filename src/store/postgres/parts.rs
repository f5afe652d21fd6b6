//! What tables have that a table which is made from their description does not get: see
//! [`NotCopied::parts`](crate::NotCopied::parts).

use std::collections::{BTreeMap, HashMap};

use super::connection::Connection;
use super::faults::failed;
use crate::error::Result;

/// By the table and then by the kind of it: names.
type Parts = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Reads it of these tables.
pub(super) fn read(connection: &mut Connection, tables: &HashMap<u32, String>) -> Result<Parts> {
    let oids: Vec<u32> = tables.keys().copied().collect();
    let mut parts = Parts::new();
    for sql in [OF_TABLES, OF_CONSTRAINTS, OF_INDEXES, COMMENTS] {
        for row in &connection.rows(sql, &[&oids])? {
            let (table, code): (u32, String) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
            let Some(table) = tables.get(&table) else { continue };
            let name: String = row.try_get(2).map_err(failed)?;
            parts.entry(table.clone()).or_default().entry(code).or_default().push(name);
        }
    }
    Ok(parts)
}

/// An identity or serial column has a sequence: `d.refobjsubid` is its number. A table that was never granted to anyone has no list of
/// rights.
const OF_TABLES: &str = "
  SELECT c.oid, 'partitioned', pg_catalog.pg_get_partkeydef(c.oid) FROM pg_class c WHERE c.oid = ANY($1) AND c.relkind = 'p'
  UNION ALL SELECT c.oid, 'unlogged', c.relname::text FROM pg_class c WHERE c.oid = ANY($1) AND c.relpersistence = 'u'
  UNION ALL SELECT c.oid, 'of_type', pg_catalog.format_type(c.reloftype, NULL) FROM pg_class c WHERE c.oid = ANY($1) AND c.reloftype <> 0
  UNION ALL SELECT c.oid, 'replica_identity', c.relname::text FROM pg_class c WHERE c.oid = ANY($1) AND c.relreplident NOT IN ('d', 'n')
  UNION ALL SELECT c.oid, 'storage', o.name FROM pg_class c CROSS JOIN LATERAL (SELECT pg_catalog.split_part(one, '=', 1) AS name
      FROM pg_catalog.unnest(c.reloptions) one UNION ALL SELECT t.spcname::text FROM pg_tablespace t WHERE t.oid = c.reltablespace) o
    WHERE c.oid = ANY($1)
  UNION ALL SELECT i.inhrelid, 'inherits', p.relname::text FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent WHERE i.inhrelid = ANY($1)
  UNION ALL SELECT c.oid, 'row_security', coalesce(p.polname, c.relname)::text FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
    WHERE c.oid = ANY($1) AND (c.relrowsecurity OR p.oid IS NOT NULL)
  UNION ALL SELECT ev_class, 'rules', rulename::text FROM pg_rewrite WHERE ev_class = ANY($1)
  UNION ALL SELECT stxrelid, 'statistics', stxname::text FROM pg_statistic_ext WHERE stxrelid = ANY($1)
  UNION ALL SELECT r.prrelid, 'publications', p.pubname::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
    WHERE r.prrelid = ANY($1)
  UNION ALL SELECT DISTINCT c.oid, 'grants', coalesce(r.rolname::text, 'public') FROM pg_class c
    CROSS JOIN LATERAL (SELECT c.relacl AS list UNION ALL SELECT a.attacl FROM pg_attribute a WHERE a.attrelid = c.oid) l
    CROSS JOIN LATERAL pg_catalog.aclexplode(l.list) g LEFT JOIN pg_roles r ON r.oid = g.grantee
    WHERE c.oid = ANY($1) AND g.grantee <> c.relowner
  UNION ALL SELECT d.refobjid, 'sequence_options', s.relname::text FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_sequence q ON q.seqrelid = s.oid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjid = ANY($1)
      AND (q.seqstart, q.seqincrement, q.seqmin, q.seqcache, q.seqcycle) IS DISTINCT FROM (1::int8, 1::int8, 1::int8, 1::int8, false)";

/// `confdelsetcols` came with version 15, `conperiod` with 18: where there is no such column, the name means that of `old`. MATCH FULL
/// is MATCH SIMPLE where there is one column. What has a parent is made by PostgreSQL itself, for partitions.
const OF_CONSTRAINTS: &str = "
  SELECT x.conrelid, x.code, x.name FROM (SELECT NULL::int2[] AS confdelsetcols, false AS conperiod) old CROSS JOIN LATERAL (
    SELECT k.conrelid, w.code, k.conname::text AS name FROM pg_constraint k CROSS JOIN LATERAL (VALUES
      ('exclude', k.contype = 'x'),
      ('deferrable_keys', k.contype IN ('p', 'u') AND k.condeferrable),
      ('temporal_keys', k.contype IN ('p', 'u', 'f') AND conperiod),
      ('match_full', k.contype = 'f' AND k.confmatchtype = 'f' AND pg_catalog.cardinality(k.conkey) > 1),
      ('delete_sets_some', k.contype = 'f' AND coalesce(pg_catalog.cardinality(confdelsetcols), 0) > 0),
      ('not_valid', k.contype = 'f' AND NOT k.convalidated)) w(code, is_so)
    WHERE k.conrelid = ANY($1) AND k.conparentid = 0 AND w.is_so) x";

/// An index that goes down puts NULL first and one that goes up puts it last, unless it says otherwise.
const OF_INDEXES: &str = "
  SELECT i.indrelid, w.code, c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid CROSS JOIN LATERAL (VALUES
    ('include_columns', i.indnatts > i.indnkeyatts),
    ('nulls_order', EXISTS (SELECT FROM pg_catalog.unnest(i.indoption::int2[]) o(option) WHERE o.option IN (1, 2))),
    ('operator_classes', i.indisunique
      AND EXISTS (SELECT FROM pg_catalog.unnest(i.indclass::oid[]) o(oid) JOIN pg_opclass USING (oid) WHERE NOT opcdefault))) w(code, is_so)
  WHERE i.indrelid = ANY($1) AND i.indisvalid AND i.indislive AND w.is_so";

/// Of the table itself, its columns, constraints and indexes, by the names of these.
const COMMENTS: &str = "
  SELECT d.objoid, 'comments', coalesce(a.attname, c.relname)::text FROM pg_description d JOIN pg_class c ON c.oid = d.objoid
    LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0
    WHERE d.classoid = 'pg_class'::regclass AND d.objoid = ANY($1)
  UNION ALL SELECT k.conrelid, 'comments', k.conname::text FROM pg_description d JOIN pg_constraint k ON k.oid = d.objoid
    WHERE d.classoid = 'pg_constraint'::regclass AND k.conrelid = ANY($1)
  UNION ALL SELECT i.indrelid, 'comments', c.relname::text FROM pg_description d JOIN pg_index i ON i.indexrelid = d.objoid
    JOIN pg_class c ON c.oid = i.indexrelid WHERE d.classoid = 'pg_class'::regclass AND i.indrelid = ANY($1)";

#[cfg(test)]
mod tests {
    use crate::store::postgres::beside;
    use crate::store::postgres::testing::test;

    fn told(sql: &str) -> Vec<String> {
        let parts = beside::not_copied(&mut test(sql)).unwrap().parts;
        let lines = parts.iter().flat_map(|(table, kinds)| {
            kinds.iter().map(move |(kind, names)| format!("{table} {kind}: {}", names.join(", ")))
        });
        lines.collect()
    }

    #[test]
    fn an_ordinary_table_has_none() {
        let sql = "CREATE TABLE p(id serial PRIMARY KEY, a int GENERATED ALWAYS AS IDENTITY, b text UNIQUE NOT NULL);
            CREATE TABLE c(id int PRIMARY KEY, p int REFERENCES p MATCH FULL ON DELETE SET NULL DEFERRABLE, x int);
            CREATE INDEX i ON c (x DESC); CREATE INDEX j ON c (x)";
        assert_eq!(told(sql), Vec::<String>::new());
    }

    #[test]
    fn constraints_and_indexes_are_told() {
        let sql = "CREATE TABLE p(a int, b int, r int4range, PRIMARY KEY (a, b) DEFERRABLE, CONSTRAINT apart EXCLUDE USING gist (r WITH &&));
            CREATE UNIQUE INDEX whole ON p (a, b) INCLUDE (r);
            CREATE TABLE c(a int, b int, t text, CONSTRAINT full_key FOREIGN KEY (a, b) REFERENCES p (a, b) MATCH FULL);
            CREATE UNIQUE INDEX early ON c (a NULLS FIRST); CREATE UNIQUE INDEX likely ON c (t text_pattern_ops);
            CREATE TABLE d(a int UNIQUE); CREATE TABLE e(a int);
            ALTER TABLE e ADD CONSTRAINT later FOREIGN KEY (a) REFERENCES d (a) NOT VALID";
        assert_eq!(
            told(sql),
            [
                "c match_full: full_key",
                "c nulls_order: early",
                "c operator_classes: likely",
                "e not_valid: later",
                "p deferrable_keys: p_pkey",
                "p exclude: apart",
                "p include_columns: whole"
            ]
        );
    }

    #[test]
    fn what_a_delete_sets_to_null_is_told_from_version_15_on() {
        let mut connection = test("CREATE TABLE p(a int, b int, PRIMARY KEY (a, b))");
        let sql =
            "CREATE TABLE c(a int NOT NULL, b int, CONSTRAINT some FOREIGN KEY (a, b) REFERENCES p ON DELETE SET NULL (b))";
        let is_known = connection.batch(sql).is_ok();
        let parts = beside::not_copied(&mut connection).unwrap().parts;
        let names = parts.get("c").and_then(|kinds| kinds.get("delete_sets_some")).cloned();
        assert_eq!(names, is_known.then(|| vec!["some".to_owned()]));
    }

    #[test]
    fn what_a_table_is_as_a_whole_is_told() {
        let sql = "CREATE TABLE log(at int, what text) PARTITION BY RANGE (at); CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (9);
            CREATE TYPE pair AS (a int, b int); CREATE TABLE typed OF pair; CREATE TABLE base(id int PRIMARY KEY); CREATE TABLE more() INHERITS (base);
            CREATE UNLOGGED TABLE fast(id int GENERATED BY DEFAULT AS IDENTITY (START 1000 INCREMENT 5)) WITH (fillfactor = 70);
            CREATE TABLE safe(id int, who text); ALTER TABLE safe ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON safe USING (who = current_user);
            ALTER TABLE safe REPLICA IDENTITY FULL; GRANT SELECT ON safe TO public; GRANT UPDATE (who) ON safe TO public;
            CREATE RULE loud AS ON INSERT TO base DO ALSO NOTIFY base; CREATE STATISTICS two ON id, who FROM safe;
            COMMENT ON TABLE base IS 'x'; COMMENT ON COLUMN base.id IS 'y'; COMMENT ON CONSTRAINT base_pkey ON base IS 'z';
            CREATE TABLE closed(id int); ALTER TABLE closed ENABLE ROW LEVEL SECURITY";
        assert_eq!(
            told(sql),
            [
                "base comments: base, base_pkey, id",
                "base rules: loud",
                "closed row_security: closed",
                "fast sequence_options: fast_id_seq",
                "fast storage: fillfactor",
                "fast unlogged: fast",
                "log partitioned: RANGE (at)",
                "more inherits: base",
                "safe grants: public",
                "safe replica_identity: safe",
                "safe row_security: own",
                "safe statistics: two",
                "typed of_type: pair"
            ]
        );
    }
}
