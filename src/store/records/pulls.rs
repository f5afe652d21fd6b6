//! Pulls that run, by their scope: so that what a killed one kept can be told from what a running one needs.

use time::OffsetDateTime;

use super::text;
use crate::clock;
use crate::error::Result;
use crate::store::{Scope, Sql};

pub(crate) fn begin(sql: &mut dyn Sql, scope: &Scope, now: OffsetDateTime) -> Result<()> {
    let insert = "INSERT INTO rowferry_pulls (scope, touched_at) VALUES (?1, ?2)";
    sql.execute(insert, &[scope.as_str().into(), clock::to_text(now).into()]).map(|_| ())
}

/// Says that the pull is alive: `false` if it was taken for dead, and what it kept is gone.
pub(crate) fn touch(sql: &mut dyn Sql, scope: &Scope, now: OffsetDateTime) -> Result<bool> {
    let update = "UPDATE rowferry_pulls SET touched_at = ?2 WHERE scope = ?1";
    Ok(sql.execute(update, &[scope.as_str().into(), clock::to_text(now).into()])? == 1)
}

/// The pull that was untouched for longest, if that is since before this moment.
pub(crate) fn abandoned(sql: &mut dyn Sql, before: OffsetDateTime) -> Result<Option<Scope>> {
    let select = "SELECT scope FROM rowferry_pulls WHERE touched_at < ?1 ORDER BY touched_at LIMIT 1";
    let rows = sql.query(select, &[clock::to_text(before).into()])?;
    Ok(rows.first().map(|row| text(row, 0)).transpose()?.map(Scope::named))
}

pub(crate) fn end(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    sql.execute("DELETE FROM rowferry_pulls WHERE scope = ?1", &[scope.as_str().into()]).map(|_| ())
}
