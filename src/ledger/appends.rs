//! Appends that were finished, or can no longer be: the same one again would add rows a second time.

use time::OffsetDateTime;
use uuid::Uuid;

use super::checkpoints::{Checkpoint, Step};
use super::pulls::Sender;
use crate::clock;
use crate::domain::names::NameRules;
use crate::domain::strategy::Strategy;
use crate::domain::value::Value;
use crate::error::Result;
use crate::state::fields::Fields;
use crate::store::Sql;

/// An append that was finished, or can no longer be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) sender: String,
    pub(crate) table: String,
    pub(crate) records: u64,
    /// Whether it was finished.
    pub(crate) whole: bool,
    /// Whether records failed for want of a row that they refer to: the next append brings them.
    pub(crate) lacks_parents: bool,
    /// Whether it is known what its records became.
    pub(crate) keys_kept: bool,
    pub(crate) finished_at: OffsetDateTime,
    /// Which copy of the sender's database it was appended from, if that is known.
    pub(crate) incarnation: Option<Uuid>,
}

/// Remembers the appends among these checkpoints that added rows, before they are forgotten: whole ones, and those that will not be
/// resumed.
pub(crate) fn remember(
    sql: &mut dyn Sql,
    sender: &Sender,
    checkpoints: &[Checkpoint],
    names: NameRules,
    now: OffsetDateTime,
) -> Result<()> {
    for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.strategy == Strategy::Append) {
        let whole = checkpoint.step == Step::Done;
        // Of an empty table nothing was appended, and what only waits in a stage was not either.
        let added = if whole { checkpoint.records } else { checkpoint.outcome.created };
        if added > 0 {
            let append = Appended {
                sender: sender.name.clone(),
                table: checkpoint.table.clone(),
                records: checkpoint.records,
                whole,
                lacks_parents: checkpoint.lacks_parents,
                keys_kept: true,
                finished_at: now,
                incarnation: sender.incarnation,
            };
            put(sql, &append, names)?;
        }
    }
    Ok(())
}

fn put(sql: &mut dyn Sql, append: &Appended, names: NameRules) -> Result<()> {
    // What was appended whole once is not less so when it was only begun the next time.
    let upsert = "INSERT INTO rowferry_appends (sender, table_name, name, records, finished_at, whole, lacks_parents, keys_kept, incarnation) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
                  ON CONFLICT (sender, table_name) DO UPDATE SET name = excluded.name, records = excluded.records, \
                  finished_at = excluded.finished_at, whole = excluded.whole, \
                  lacks_parents = excluded.lacks_parents, keys_kept = excluded.keys_kept, incarnation = excluded.incarnation WHERE excluded.whole >= rowferry_appends.whole";
    let row = [
        append.sender.as_str().into(),
        names.fold(&append.table).as_ref().into(),
        append.table.as_str().into(),
        Value::Integer(i64::try_from(append.records).unwrap_or(i64::MAX)),
        clock::to_text(append.finished_at).into(),
        i64::from(append.whole).into(),
        i64::from(append.lacks_parents).into(),
        i64::from(append.keys_kept).into(),
        append.incarnation.map(|incarnation| incarnation.to_string()).into(),
    ];
    sql.execute(upsert, &row).map(|_| ())
}

/// The append of a sender's table that is remembered, if there is one.
pub(crate) fn of_table(sql: &mut dyn Sql, sender: &str, table: &str, names: NameRules) -> Result<Option<Appended>> {
    let select = "SELECT sender, name, records, whole, lacks_parents, keys_kept, finished_at, incarnation FROM rowferry_appends WHERE sender = ?1 AND table_name = ?2";
    let rows = sql.query(select, &[sender.into(), names.fold(table).as_ref().into()])?;
    rows.first().map(|row| appended(row)).transpose()
}

/// All appends that are remembered.
pub(crate) fn all(sql: &mut dyn Sql) -> Result<Vec<Appended>> {
    let select = "SELECT sender, name, records, whole, lacks_parents, keys_kept, finished_at, incarnation FROM rowferry_appends ORDER BY sender, table_name";
    sql.query(select, &[])?.iter().map(|row| appended(row)).collect()
}

fn appended(row: &[Value]) -> Result<Appended> {
    let mut fields = Fields::of(row);
    Ok(Appended {
        sender: fields.text()?,
        table: fields.text()?,
        records: fields.number()?,
        whole: fields.flag()?,
        lacks_parents: fields.flag()?,
        keys_kept: fields.flag()?,
        finished_at: fields.moment()?,
        incarnation: fields.optional_word()?,
    })
}

/// It is not known any more what the records of these appends became: those of a table, of all senders.
pub(crate) fn forget_keys(sql: &mut dyn Sql, table: &str, names: NameRules) -> Result<()> {
    let update = "UPDATE rowferry_appends SET keys_kept = 0 WHERE table_name = ?1";
    sql.execute(update, &[names.fold(table).as_ref().into()]).map(|_| ())
}

/// Forgets an append that is remembered: `false` if there was none.
pub(crate) fn forget(sql: &mut dyn Sql, sender: &str, table: &str, names: NameRules) -> Result<bool> {
    let delete = "DELETE FROM rowferry_appends WHERE sender = ?1 AND table_name = ?2";
    Ok(sql.execute(delete, &[sender.into(), names.fold(table).as_ref().into()])? > 0)
}
