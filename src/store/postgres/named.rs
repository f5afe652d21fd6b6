//! Types and collations that a description names: whether they are here; and rowferry's own.

use super::connection::Connection;
use super::quote::quote;
use crate::domain::postgres_type::{ANY, PostgresType};
use crate::error::Result;

/// A type of this name that columns may have here, as SQL without what stands in parentheses; `None` if there is none.
///
/// Not every type is one for columns: the row of a table is none that a peer may choose, since the table could not be changed then.
pub(super) fn find_type(connection: &mut Connection, named: &PostgresType) -> Result<Option<PostgresType>> {
    let sql = "SELECT b.typtype IN ('b', 'd', 'e', 'r', 'm') OR b.typtype = 'c' AND c.relkind = 'c'
               FROM pg_type t
               JOIN pg_type b ON b.oid = CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE t.oid END
               LEFT JOIN pg_class c ON c.oid = b.typrelid
               WHERE t.oid = to_regtype($1)";
    // What is in a schema of the sender's may be in another here.
    let bare = PostgresType { schema: None, ..named.clone() };
    let both = [named, &bare];
    for candidate in &both[..if named.schema.is_some() { 2 } else { 1 }] {
        // What stands in parentheses is not looked at here, and could be an error.
        let name = PostgresType { parameters: Vec::new(), ..(*candidate).clone() }.to_string();
        let found = connection.rows(sql, &[&name])?;
        if found.first().is_some_and(|row| row.get(0)) {
            return Ok(Some((*candidate).clone()));
        }
    }
    Ok(None)
}

/// A collation of PostgreSQL's own, or of the site's first schema, as SQL.
pub(super) fn find_collation(connection: &mut Connection, name: &str) -> Result<Option<String>> {
    let sql = "SELECT n.nspname FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
               WHERE c.collname = $1 AND n.nspname IN ('pg_catalog', current_schema())
                 AND c.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))
               ORDER BY n.nspname = 'pg_catalog' DESC";
    let found = connection.rows(sql, &[&name])?;
    Ok(found.first().map(|row| format!("{}.{}", quote(row.get(0)), quote(name))))
}

/// Makes [the domain for values of every class](super::any) in the site's first schema, where it is missing; gives its name as SQL.
pub(super) fn any(connection: &mut Connection) -> Result<String> {
    let schema = connection.schemas().first().cloned().unwrap_or_else(|| "public".to_owned());
    let find = "SELECT 1 FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
                WHERE n.nspname = $1 AND t.typname = $2 AND t.typtype = 'd'";
    let name = format!("{}.{}", quote(&schema), quote(ANY));
    if connection.rows(find, &[&schema, &ANY])?.is_empty() {
        connection.batch(&format!("CREATE DOMAIN {name} AS jsonb"))?;
    }
    Ok(name)
}
