//! Which tables there are, and what they are called: those of the site's first schema by their names alone, those of the others by
//! `schema.table`.

use postgres::Row;
use postgres::types::ToSql;

use super::connection::Connection;
use super::faults::failed;
use super::quote::quote;
use crate::domain::names::is_reserved;
use crate::error::Result;

/// A table in the catalogue.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) oid: u32,
    /// What the site calls it.
    pub(super) name: String,
    pub(super) schema: String,
    /// Its name within the schema.
    pub(super) relname: String,
    pub(super) is_partitioned: bool,
    pub(super) is_readable: bool,
    pub(super) has_row_security: bool,
    pub(super) has_rules: bool,
    pub(super) has_triggers: bool,
}

impl Relation {
    /// Its name as SQL, with its schema.
    pub(super) fn sql(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.relname))
    }

    /// What its rows are read from: see [`Table::source`](super::table::Table::source).
    pub(super) fn source(&self) -> String {
        if self.is_partitioned { self.sql() } else { format!("ONLY {}", self.sql()) }
    }
}

/// What a table or anything else of a schema is called, if the site's schemas are these.
pub(super) fn called(schemas: &[String], schema: &str, name: &str) -> String {
    match schemas.first() {
        Some(first) if first == schema => name.to_owned(),
        _ => format!("{schema}.{name}"),
    }
}

/// Ordinary and partitioned tables: no partitions, which belong to their parent, and none that are temporary. The rows of a partitioned
/// table without a key are read from its partitions, which need rights of their own.
const TABLES: &str = "SELECT c.oid, n.nspname, c.relname, c.relkind = 'p' AS partitioned,
    coalesce(has_table_privilege(c.oid, 'SELECT'), false)
      AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
      AND (c.relkind <> 'p' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL
          AND i.indexprs IS NULL AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY(i.indkey::int2[])
            AND NOT a.attnotnull))
        OR NOT EXISTS (SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf
          AND NOT (has_schema_privilege(l.relnamespace, 'USAGE') AND has_table_privilege(l.oid, 'SELECT')))) AS readable,
    c.relrowsecurity AND coalesce(row_security_active(c.oid), false) AS secured,
    c.relhasrules AND EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_enabled NOT IN ('D', 'R')) AS ruled,
    (c.relhastriggers AND EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
        AND t.tgenabled NOT IN ('D', 'R')))
      OR (c.relkind = 'p' AND EXISTS (SELECT FROM pg_partition_tree(c.oid) p JOIN pg_trigger t ON t.tgrelid = p.relid
        WHERE NOT t.tgisinternal AND t.tgenabled NOT IN ('D', 'R'))) AS triggered
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'";

/// All tables of the site, those that the role may not read and those whose name stands for another included, in the order of the
/// schemas and then of the names.
pub(super) fn all(connection: &mut Connection) -> Result<Vec<Relation>> {
    let schemas = connection.schemas().to_vec();
    let order = "pg_catalog.array_position($1::text[], n.nspname::text), c.relname COLLATE \"C\"";
    let sql = format!("{TABLES} AND n.nspname::text = ANY($1::text[]) ORDER BY {order}");
    let rows = connection.rows(&sql, &[&schemas])?;
    rows.iter().map(|row| relation(&schemas, row)).filter(is_ours).collect()
}

/// The tables of the site that have no columns.
pub(super) fn without_columns(connection: &mut Connection) -> Result<Vec<String>> {
    let schemas = connection.schemas().to_vec();
    let sql = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname::text = ANY($1::text[])
          AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)";
    let name = |row: &Row| {
        let (schema, relname): (String, String) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        Ok(called(&schemas, &schema, &relname))
    };
    connection.rows(sql, &[&schemas])?.iter().map(name).collect()
}

/// The tables that the site offers.
pub(super) fn offered(connection: &mut Connection) -> Result<Vec<Relation>> {
    let mut relations = all(connection)?;
    relations.retain(|relation| relation.is_readable);
    let mut taken = std::collections::HashSet::new();
    relations.retain(|relation| taken.insert(relation.name.clone()));
    Ok(relations)
}

/// The table of this name that the site offers.
pub(super) fn find(connection: &mut Connection, name: &str) -> Result<Option<Relation>> {
    let schemas = connection.schemas().to_vec();
    let Some(first) = schemas.first() else { return Ok(None) };
    let further = schemas.iter().skip(1);
    let further = further.filter_map(|schema| Some((schema, name.strip_prefix(schema.as_str())?.strip_prefix('.')?)));
    let sql = format!("{TABLES} AND n.nspname = $1::text AND c.relname = $2::text");
    for (schema, relname) in std::iter::once((first, name)).chain(further) {
        let parameters: [&(dyn ToSql + Sync); 2] = [schema, &relname];
        let rows = connection.rows(&sql, &parameters)?;
        let found = rows.first().map(|row| relation(&schemas, row)).filter(is_ours).transpose()?;
        if let Some(found) = found.filter(|found| found.is_readable) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Nothing of rowferry's own or a database's. What cannot be read is an error, which is not left out.
fn is_ours(relation: &Result<Relation>) -> bool {
    relation.as_ref().map_or(true, |relation| !is_reserved(&relation.relname))
}

fn relation(schemas: &[String], row: &Row) -> Result<Relation> {
    let flag = |at: usize| row.try_get::<_, bool>(at).map_err(failed);
    let (schema, relname): (String, String) = (row.try_get(1).map_err(failed)?, row.try_get(2).map_err(failed)?);
    Ok(Relation {
        oid: row.try_get(0).map_err(failed)?,
        name: called(schemas, &schema, &relname),
        schema,
        relname,
        is_partitioned: flag(3)?,
        is_readable: flag(4)?,
        has_row_security: flag(5)?,
        has_rules: flag(6)?,
        has_triggers: flag(7)?,
    })
}
