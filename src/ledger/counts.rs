//! How often each row of a table without a key is here, by the digest of its content, for as long as the pull runs; and how often
//! each record of such a table of a sender was appended, which is kept.

use std::collections::BTreeMap;

use super::Scope;
use crate::domain::value::Value;
use crate::error::Result;
use crate::state::insert;
use crate::store::Sql;

/// What stands for a row's content.
pub(crate) type Digest = [u8; 16];

/// Adds copies of rows to the counts of a table.
pub(crate) fn add(sql: &mut dyn Sql, scope: &Scope, table: &str, copies: &BTreeMap<Digest, i64>) -> Result<()> {
    let rows = copies
        .iter()
        .map(|(digest, copies)| [scope.as_str().into(), table.into(), Value::Blob(digest.to_vec()), (*copies).into()]);
    insert(
        sql,
        "INSERT INTO rowferry_counts (scope, parent, digest, copies)",
        "ON CONFLICT (scope, parent, digest) DO UPDATE SET copies = rowferry_counts.copies + excluded.copies",
        rows,
    )
}

/// Takes one copy of a row, if one is left.
pub(crate) fn take(sql: &mut dyn Sql, scope: &Scope, table: &str, digest: &Digest) -> Result<bool> {
    let update =
        "UPDATE rowferry_counts SET copies = copies - 1 WHERE scope = ?1 AND parent = ?2 AND digest = ?3 AND copies > 0";
    Ok(sql.execute(update, &[scope.as_str().into(), table.into(), Value::Blob(digest.to_vec())])? > 0)
}

/// Copies the counts of a table to another scope, in place of those that are there.
pub(crate) fn copy(sql: &mut dyn Sql, from: &Scope, to: &Scope, table: &str) -> Result<()> {
    forget_table(sql, to, table)?;
    let insert = "INSERT INTO rowferry_counts (scope, parent, digest, copies) \
                  SELECT ?1, parent, digest, copies FROM rowferry_counts WHERE scope = ?2 AND parent = ?3";
    sql.execute(insert, &[to.as_str().into(), from.as_str().into(), table.into()]).map(|_| ())
}

/// Copies all counts of a scope.
pub(crate) fn copy_all(sql: &mut dyn Sql, from: &Scope, to: &Scope) -> Result<()> {
    let insert = "INSERT INTO rowferry_counts (scope, parent, digest, copies) \
                  SELECT ?1, parent, digest, copies FROM rowferry_counts WHERE scope = ?2";
    sql.execute(insert, &[to.as_str().into(), from.as_str().into()]).map(|_| ())
}

/// Whether there are counts of a table.
pub(crate) fn knows(sql: &mut dyn Sql, scope: &Scope, table: &str) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_counts WHERE scope = ?1 AND parent = ?2 LIMIT 1";
    Ok(!sql.query(select, &[scope.as_str().into(), table.into()])?.is_empty())
}

/// Forgets the counts of a table.
pub(crate) fn forget_table(sql: &mut dyn Sql, scope: &Scope, table: &str) -> Result<()> {
    let delete = "DELETE FROM rowferry_counts WHERE scope = ?1 AND parent = ?2";
    sql.execute(delete, &[scope.as_str().into(), table.into()]).map(|_| ())
}

/// Forgets the counts of a table that are kept of senders.
pub(crate) fn forget_all_of(sql: &mut dyn Sql, table: &str) -> Result<()> {
    sql.execute("DELETE FROM rowferry_counts WHERE parent = ?1 AND scope LIKE '%:%'", &[table.into()]).map(|_| ())
}

/// Forgets all counts.
pub(crate) fn forget_all(sql: &mut dyn Sql) -> Result<()> {
    sql.execute("DELETE FROM rowferry_counts", &[]).map(|_| ())
}

/// Forgets all counts of a pull.
pub(crate) fn forget(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    sql.execute("DELETE FROM rowferry_counts WHERE scope = ?1", &[scope.as_str().into()]).map(|_| ())
}
