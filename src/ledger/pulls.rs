//! Pulls that run or were cut off, by their scope: so that what a dead one kept can be told from what a running one needs, and
//! who may go on with it.

use time::OffsetDateTime;

use crate::clock;
use crate::domain::value::Value;
use crate::error::Result;
use crate::ledger::Scope;
use crate::state::fields::Fields;
use crate::store::Sql;

/// A pull as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptPull {
    pub(crate) scope: Scope,
    /// Who its rows come from.
    pub(crate) sender: String,
    /// How many stages were made in its scope.
    pub(crate) stages: u32,
    /// Whether a run has it that did not say that it ended.
    pub(crate) owned: bool,
    pub(crate) touched_at: OffsetDateTime,
}

/// Notes a new pull, of this owner; one with a `sender` may be gone on with.
pub(crate) fn begin(sql: &mut dyn Sql, scope: &Scope, sender: Option<&str>, owner: &str, now: OffsetDateTime) -> Result<()> {
    let insert = "INSERT INTO rowferry_pulls (scope, sender, owner, stages, touched_at) VALUES (?1, ?2, ?3, 0, ?4)";
    let row = [scope.as_str().into(), sender.into(), owner.into(), clock::to_text(now).into()];
    sql.execute(insert, &row).map(|_| ())
}

/// Makes somebody else the owner of a pull: whoever was it learns of that in its next transaction.
pub(crate) fn take_over(sql: &mut dyn Sql, scope: &Scope, owner: &str, now: OffsetDateTime) -> Result<()> {
    let update = "UPDATE rowferry_pulls SET owner = ?2, touched_at = ?3 WHERE scope = ?1";
    sql.execute(update, &[scope.as_str().into(), owner.into(), clock::to_text(now).into()]).map(|_| ())
}

/// Notes that nobody runs a pull any more: whoever comes may go on with it at once.
pub(crate) fn release(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    sql.execute("UPDATE rowferry_pulls SET owner = '' WHERE scope = ?1", &[scope.as_str().into()]).map(|_| ())
}

/// Notes how many stages were made in a scope: their numbers are never used again.
pub(crate) fn set_stages(sql: &mut dyn Sql, scope: &Scope, stages: u32) -> Result<()> {
    let update = "UPDATE rowferry_pulls SET stages = ?2 WHERE scope = ?1";
    sql.execute(update, &[scope.as_str().into(), i64::from(stages).into()]).map(|_| ())
}

/// What became of a pull that says that it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touched {
    Alive,
    /// It was taken for dead, and what it kept is gone.
    Gone,
    /// Another owner goes on with it.
    TakenOver,
}

/// Says that the pull is alive.
pub(crate) fn touch(sql: &mut dyn Sql, scope: &Scope, owner: &str, now: OffsetDateTime) -> Result<Touched> {
    let update = "UPDATE rowferry_pulls SET touched_at = ?3 WHERE scope = ?1 AND owner = ?2";
    if sql.execute(update, &[scope.as_str().into(), owner.into(), clock::to_text(now).into()])? == 1 {
        return Ok(Touched::Alive);
    }
    let others = sql.query("SELECT 1 FROM rowferry_pulls WHERE scope = ?1", &[scope.as_str().into()])?;
    Ok(if others.is_empty() { Touched::Gone } else { Touched::TakenOver })
}

/// The pulls of a sender that may be gone on with, or those of all senders; the newest first.
pub(crate) fn kept(sql: &mut dyn Sql, sender: Option<&str>) -> Result<Vec<KeptPull>> {
    let select = "SELECT scope, sender, stages, owner <> '', touched_at FROM rowferry_pulls WHERE sender IS NOT NULL";
    let order = "ORDER BY touched_at DESC, scope DESC";
    let rows = match sender {
        Some(sender) => sql.query(&format!("{select} AND sender = ?1 {order}"), &[sender.into()])?,
        None => sql.query(&format!("{select} {order}"), &[])?,
    };
    rows.iter().map(|row| kept_pull(row)).collect()
}

fn kept_pull(row: &[Value]) -> Result<KeptPull> {
    let mut fields = Fields::of(row);
    Ok(KeptPull {
        scope: Scope::named(fields.text()?),
        sender: fields.text()?,
        stages: u32::try_from(fields.number()?).unwrap_or(u32::MAX),
        owned: fields.flag()?,
        touched_at: fields.moment()?,
    })
}

/// The pull that was untouched for longest: since before `before` where it could be gone on with, since before `alone` where it
/// could not. Gives its sender, too.
pub(crate) fn abandoned(
    sql: &mut dyn Sql,
    before: Option<OffsetDateTime>,
    alone: Option<OffsetDateTime>,
) -> Result<Option<(Scope, Option<String>)>> {
    let select = "SELECT scope, sender FROM rowferry_pulls WHERE (sender IS NOT NULL AND touched_at < ?1) \
                  OR (sender IS NULL AND touched_at < ?2) ORDER BY touched_at LIMIT 1";
    let rows = sql.query(select, &[before.map(clock::to_text).into(), alone.map(clock::to_text).into()])?;
    let abandoned = |row: &Vec<Value>| {
        let mut fields = Fields::of(row);
        Ok((Scope::named(fields.text()?), fields.optional_text()?))
    };
    rows.first().map(abandoned).transpose()
}

pub(crate) fn end(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    for table in ["rowferry_marks", "rowferry_pulls"] {
        sql.execute(&format!("DELETE FROM {table} WHERE scope = ?1"), &[scope.as_str().into()])?;
    }
    Ok(())
}
