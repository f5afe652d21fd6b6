//! What there is beside the tables that are offered.

use std::collections::HashMap;

use super::connection::Connection;
use super::faults::failed;
use super::parts;
use super::relations::{self, called};
use crate::domain::names::is_reserved;
use crate::domain::not_copied::NotCopied;
use crate::error::Result;

/// What belongs to an extension comes with it, and is nobody's to copy.
const NO_EXTENSION: &str =
    "NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '%'::regclass AND d.objid = %.oid AND d.deptype = 'e')";

/// What a pull does not take over.
pub(super) fn not_copied(connection: &mut Connection) -> Result<NotCopied> {
    let all = relations::all(connection)?;
    let offered: HashMap<u32, String> =
        relations::offered(connection)?.into_iter().map(|relation| (relation.oid, relation.name)).collect();
    let unread = all.into_iter().filter(|relation| !offered.contains_key(&relation.oid)).map(|relation| relation.name);
    let mut found = NotCopied { not_readable: unread.collect(), ..NotCopied::default() };
    others(connection, &mut found)?;
    of_tables(connection, &offered, &mut found)?;
    found.parts = parts::read(connection, &offered)?;
    found.sort();
    Ok(found)
}

/// Views, foreign tables, sequences that no column has, and functions.
fn others(connection: &mut Connection, found: &mut NotCopied) -> Result<()> {
    let schemas = connection.schemas().to_vec();
    let (class, function) = (member("pg_class", "c"), member("pg_proc", "f"));
    let sql = format!(
        "SELECT c.relkind::text, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname::text = ANY($1::text[]) AND c.relkind IN ('v', 'm', 'f', 'S') AND NOT c.relispartition AND {class}
         AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend o WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid
             AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i')))
         UNION ALL SELECT DISTINCT 'function', n.nspname, f.proname FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
         WHERE n.nspname::text = ANY($1::text[]) AND {function}"
    );
    for row in &connection.rows(&sql, &[&schemas])? {
        let text = |at: usize| row.try_get::<_, String>(at).map_err(failed);
        let (kind, schema, name) = (text(0)?, text(1)?, text(2)?);
        if is_reserved(&name) {
            continue;
        }
        let list = match kind.as_str() {
            "f" => &mut found.foreign_tables,
            "S" => &mut found.sequences,
            "function" => &mut found.functions,
            _ => &mut found.views,
        };
        list.push(called(&schemas, &schema, &name));
    }
    Ok(())
}

/// CHECK constraints and triggers of tables.
fn of_tables(connection: &mut Connection, tables: &HashMap<u32, String>, found: &mut NotCopied) -> Result<()> {
    let oids: Vec<u32> = tables.keys().copied().collect();
    let sql = "SELECT conrelid, count(*), NULL::text FROM pg_constraint WHERE contype = 'c' AND conrelid = ANY($1) GROUP BY conrelid
        UNION ALL SELECT tgrelid, 1, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = ANY($1)";
    for row in &connection.rows(sql, &[&oids])? {
        let (table, count): (u32, i64) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        let trigger: Option<String> = row.try_get(2).map_err(failed)?;
        let Some(table) = tables.get(&table) else { continue };
        match trigger {
            Some(trigger) => found.triggers.entry(table.clone()).or_default().push(trigger),
            None => {
                found.checks.insert(table.clone(), u64::try_from(count).unwrap_or(0));
            }
        }
    }
    Ok(())
}

fn member(catalogue: &str, alias: &str) -> String {
    NO_EXTENSION.replacen('%', catalogue, 1).replacen('%', alias, 1)
}
