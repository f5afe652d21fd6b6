//! Pulls that run or were interrupted, by their scope: so that what a dead one kept can be told from what a running one needs, and
//! which one may be resumed.

use time::OffsetDateTime;
use uuid::Uuid;

use super::scope::Scope;
use crate::clock;
use crate::domain::value::Value;
use crate::error::Result;
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
    /// Which copy of the sender's database its rows come from, if that is known.
    pub(crate) incarnation: Option<Uuid>,
}

impl KeptPull {
    /// Who its rows come from.
    pub(super) fn of(&self) -> Sender {
        Sender { name: self.sender.clone(), incarnation: self.incarnation }
    }
}

/// Who the rows of a pull come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sender {
    /// `site:` and the other site's id, or `url:` and its URL where it told none.
    pub(crate) name: String,
    /// Which copy of its database it has, if it told that.
    pub(crate) incarnation: Option<Uuid>,
}

impl Sender {
    /// Whether rows that came from this copy of the sender's database are rows of this sender. One of which nothing is known may be.
    pub(crate) fn is_of(&self, incarnation: Option<Uuid>) -> bool {
        self.incarnation.is_none() || incarnation.is_none() || self.incarnation == incarnation
    }
}

/// Notes a new pull, of this owner; one with a `sender` may be resumed.
pub(crate) fn begin(
    sql: &mut dyn Sql,
    scope: &Scope,
    sender: Option<&Sender>,
    owner: &str,
    now: OffsetDateTime,
) -> Result<()> {
    let insert =
        "INSERT INTO rowferry_pulls (scope, sender, incarnation, owner, stages, touched_at) VALUES (?1, ?2, ?3, ?4, 0, ?5)";
    let incarnation = sender.and_then(|sender| sender.incarnation).map(|incarnation| incarnation.to_string());
    let sender = sender.map(|sender| sender.name.as_str());
    let row = [scope.as_str().into(), sender.into(), incarnation.into(), owner.into(), clock::to_text(now).into()];
    sql.execute(insert, &row).map(|_| ())
}

/// Makes another run the owner of a pull: the one before learns of that in its next transaction.
pub(crate) fn take_over(sql: &mut dyn Sql, scope: &Scope, owner: &str, now: OffsetDateTime) -> Result<()> {
    let update = "UPDATE rowferry_pulls SET owner = ?2, touched_at = ?3 WHERE scope = ?1";
    sql.execute(update, &[scope.as_str().into(), owner.into(), clock::to_text(now).into()]).map(|_| ())
}

/// Notes that no run has a pull any more: the next one may resume it at once.
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
    /// Another run has it now.
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

/// The pulls of a sender that may be resumed, or those of all senders; the newest first.
pub(crate) fn kept(sql: &mut dyn Sql, sender: Option<&str>) -> Result<Vec<KeptPull>> {
    let select =
        "SELECT scope, sender, stages, owner <> '', touched_at, incarnation FROM rowferry_pulls WHERE sender IS NOT NULL";
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
        incarnation: fields.optional_word()?,
    })
}

/// The pull that was untouched for longest: since before `before` where it could be resumed, since before `alone` where it
/// could not. Gives its sender, too.
pub(crate) fn abandoned(
    sql: &mut dyn Sql,
    before: Option<OffsetDateTime>,
    alone: Option<OffsetDateTime>,
) -> Result<Option<(Scope, Option<Sender>)>> {
    let select = "SELECT scope, sender, incarnation FROM rowferry_pulls WHERE (sender IS NOT NULL AND touched_at < ?1) \
                  OR (sender IS NULL AND touched_at < ?2) ORDER BY touched_at LIMIT 1";
    let rows = sql.query(select, &[before.map(clock::to_text).into(), alone.map(clock::to_text).into()])?;
    let abandoned = |row: &Vec<Value>| {
        let mut fields = Fields::of(row);
        let (scope, name, incarnation) = (fields.text()?, fields.optional_text()?, fields.optional_word()?);
        Ok((Scope::named(scope), name.map(|name| Sender { name, incarnation })))
    };
    rows.first().map(abandoned).transpose()
}

pub(crate) fn end(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    for table in ["rowferry_marks", "rowferry_pulls"] {
        sql.execute(&format!("DELETE FROM {table} WHERE scope = ?1"), &[scope.as_str().into()])?;
    }
    Ok(())
}
