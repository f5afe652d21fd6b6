//! Foreign keys.

use std::collections::HashMap;

use postgres::Row;

use super::connection::Connection;
use super::faults::failed;
use super::relations::called;
use super::table::Reference;
use crate::domain::schema::{ForeignKey, ForeignKeyAction};
use crate::error::{Error, Result};

/// The foreign keys of these tables, in the order in which they were made.
pub(super) fn read(connection: &mut Connection, tables: &[u32]) -> Result<HashMap<u32, Vec<(ForeignKey, Reference)>>> {
    let schemas = connection.schemas().to_vec();
    let mut keys: HashMap<u32, Vec<(ForeignKey, Reference)>> = HashMap::new();
    for row in &connection.rows(KEYS, &[&tables])? {
        keys.entry(row.try_get(0).map_err(failed)?).or_default().push(key(&schemas, row)?);
    }
    Ok(keys)
}

/// What has a parent is made by PostgreSQL itself, for partitions.
/// `confdelsetcols` came with version 15: where there is no such column, the name means that of `old`.
const KEYS: &str = "SELECT x.* FROM (SELECT NULL::int2[] AS confdelsetcols) old CROSS JOIN LATERAL (
  SELECT k.conrelid, k.conname, n.nspname, p.relname, k.confdeltype::text, k.confupdtype::text,
    k.condeferrable, k.condeferred, k.convalidated, own.names AS own_names, others.names,
    coalesce(cardinality(confdelsetcols), 0) > 0 AS some, k.oid
  FROM pg_constraint k JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace n ON n.oid = p.relnamespace
  CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(a.attname::text ORDER BY at) AS names
    FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY c(number, at) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.number) own
  CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(a.attname::text ORDER BY at) AS names
    FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY c(number, at) JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = c.number) others
  WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY($1)) x ORDER BY x.oid";

fn key(schemas: &[String], row: &Row) -> Result<(ForeignKey, Reference)> {
    let text = |at: usize| row.try_get::<_, String>(at).map_err(failed);
    let flag = |at: usize| row.try_get::<_, bool>(at).map_err(failed);
    let action = |at: usize| {
        Ok::<_, Error>(match text(at)?.as_str() {
            "r" => ForeignKeyAction::Restrict,
            "c" => ForeignKeyAction::Cascade,
            "n" => ForeignKeyAction::SetNull,
            "d" => ForeignKeyAction::SetDefault,
            _ => ForeignKeyAction::NoAction,
        })
    };
    let names = |at: usize| row.try_get::<_, Vec<String>>(at).map_err(failed);
    // SET NULL or SET DEFAULT of some of the columns only: to say it of all would be another action.
    let on_delete = if flag(11)? { ForeignKeyAction::NoAction } else { action(4)? };
    let key = ForeignKey {
        columns: names(9)?,
        parent: called(schemas, &text(2)?, &text(3)?),
        parent_columns: names(10)?,
        on_delete,
        on_update: action(5)?,
        deferred: flag(7)?,
    };
    let reference = Reference { name: text(1)?, is_deferrable: flag(6)?, is_deferred: flag(7)?, is_valid: flag(8)? };
    Ok((key, reference))
}
