//! Records that wait for a unique value that another row has yet to give up, or for the records of other tables: see `import::exchange`
//! and `import::late`.
//!
//! They go by the number of their table's stage, whether rows lie in that or not, and by a number of their own.

use super::Scope;
use super::stages::Stage;
use crate::domain::cells;
use crate::domain::value::{Rows, Value};
use crate::error::Result;
use crate::state::unreadable;
use crate::store::Sql;

/// A record that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// The record: a single row.
    pub(crate) record: Rows,
    /// Its number in the table's stage; 0 if it was in none.
    pub(crate) staged: i64,
}

/// What a record that waits does so for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// For its turn.
    Free,
    /// For those that are settled now.
    Busy,
    /// For all tables to be there.
    Late,
}

fn place(stage: &Stage, number: i64) -> [Value; 3] {
    [stage.scope.as_str().into(), i64::from(stage.number).into(), number.into()]
}

/// Adds a record, after all others; `key` is that of the row which it changes or becomes, as bytes. With the name of its table it waits
/// for those of others.
pub(crate) fn add(
    sql: &mut dyn Sql,
    stage: &Stage,
    (rows, row): (&Rows, usize),
    key: &[u8],
    staged: i64,
    late: Option<&str>,
) -> Result<()> {
    let last = "SELECT record FROM rowferry_waiting WHERE scope = ?1 AND stage = ?2 ORDER BY record DESC LIMIT 1";
    let [scope, number, _] = place(stage, 0);
    let last = integer(sql.query(last, &[scope, number])?).unwrap_or(0);
    let mut record = Vec::new();
    (0..stage.width).for_each(|at| cells::put(&mut record, rows.get(row, at)));
    let insert = "INSERT INTO rowferry_waiting (scope, stage, record, key, staged, busy, cells, late) \
                  VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7)";
    let [scope, number, record_number] = place(stage, last + 1);
    let values = [scope, number, record_number, Value::Blob(key.to_vec()), staged.into(), Value::Blob(record), late.into()];
    sql.execute(insert, &values).map(|_| ())
}

fn integer(rows: Vec<Vec<Value>>) -> Option<i64> {
    rows.first().and_then(|row| row.first()).and_then(Value::as_integer)
}

/// The number of the first record that waits for its turn.
pub(crate) fn first(sql: &mut dyn Sql, stage: &Stage) -> Result<Option<i64>> {
    let select = "SELECT record FROM rowferry_waiting WHERE scope = ?1 AND stage = ?2 AND busy = 0 AND late IS NULL \
                  ORDER BY record LIMIT 1";
    let [scope, number, _] = place(stage, 0);
    Ok(integer(sql.query(select, &[scope, number])?))
}

/// The record of this number.
pub(crate) fn get(sql: &mut dyn Sql, stage: &Stage, number: i64) -> Result<Waiting> {
    let select = "SELECT staged, cells FROM rowferry_waiting WHERE scope = ?1 AND stage = ?2 AND record = ?3";
    let found = sql.query(select, &place(stage, number))?.pop().map(<[Value; 2]>::try_from);
    let Some(Ok([Value::Integer(staged), Value::Blob(bytes)])) = found else { return Err(unreadable("waiting record")) };
    let (mut rest, mut record) = (&bytes[..], Rows::new(stage.width));
    record.start_row();
    for at in 0..stage.width {
        if let Some(value) = cells::take(&mut rest).ok_or_else(|| unreadable("waiting record"))? {
            record.set(at, value);
        }
    }
    Ok(Waiting { record, staged })
}

/// The last record that waits to change the row of this key, if there is one, and what for.
pub(crate) fn of_key(sql: &mut dyn Sql, stage: &Stage, key: &[u8]) -> Result<Option<(i64, State)>> {
    let select = "SELECT record, busy, late IS NOT NULL FROM rowferry_waiting \
                  WHERE scope = ?1 AND stage = ?2 AND key = ?3 AND busy < 2 \
                  ORDER BY record DESC LIMIT 1";
    let [scope, number, _] = place(stage, 0);
    match sql.query(select, &[scope, number, Value::Blob(key.to_vec())])?.pop().map(<[Value; 3]>::try_from) {
        None => Ok(None),
        Some(Ok([Value::Integer(record), Value::Integer(busy), Value::Integer(late)])) => Ok(Some((
            record,
            match (busy, late) {
                (_, 1) => State::Late,
                (0, _) => State::Free,
                _ => State::Busy,
            },
        ))),
        Some(_) => Err(unreadable("waiting record")),
    }
}

/// Notes that those are settled now that this record waits for.
pub(crate) fn set_busy(sql: &mut dyn Sql, stage: &Stage, number: i64) -> Result<()> {
    let update = "UPDATE rowferry_waiting SET busy = 1 WHERE scope = ?1 AND stage = ?2 AND record = ?3";
    sql.execute(update, &place(stage, number)).map(|_| ())
}

/// The record waits for those of other tables now; `table` is the name of its own.
pub(crate) fn set_late(sql: &mut dyn Sql, stage: &Stage, number: i64, table: &str) -> Result<()> {
    let update = "UPDATE rowferry_waiting SET busy = 0, late = ?4 WHERE scope = ?1 AND stage = ?2 AND record = ?3";
    let [scope, stage, record] = place(stage, number);
    sql.execute(update, &[scope, stage, record, table.into()]).map(|_| ())
}

/// Whether records of the table of this name wait for those of other tables.
pub(crate) fn has_late(sql: &mut dyn Sql, scope: &Scope, table: &str) -> Result<bool> {
    let select = "SELECT record FROM rowferry_waiting WHERE scope = ?1 AND late = ?2 LIMIT 1";
    Ok(!sql.query(select, &[scope.as_str().into(), table.into()])?.is_empty())
}

/// Whether records of this stage wait for those of other tables.
pub(crate) fn is_late(sql: &mut dyn Sql, stage: &Stage) -> Result<bool> {
    let select = "SELECT record FROM rowferry_waiting WHERE scope = ?1 AND stage = ?2 AND late IS NOT NULL LIMIT 1";
    let [scope, number, _] = place(stage, 0);
    Ok(!sql.query(select, &[scope, number])?.is_empty())
}

/// It is the turn of the records that waited for those of other tables.
pub(crate) fn begin_late(sql: &mut dyn Sql, stage: &Stage) -> Result<()> {
    let update = "UPDATE rowferry_waiting SET late = NULL WHERE scope = ?1 AND stage = ?2";
    let [scope, number, _] = place(stage, 0);
    sql.execute(update, &[scope, number]).map(|_| ())
}

/// The record is settled, but it is yet to be seen whether all that were settled with it are.
pub(crate) fn set_settled(sql: &mut dyn Sql, stage: &Stage, number: i64) -> Result<()> {
    let update = "UPDATE rowferry_waiting SET busy = 2 WHERE scope = ?1 AND stage = ?2 AND record = ?3";
    sql.execute(update, &place(stage, number)).map(|_| ())
}

/// The number of the first record after this one that is settled.
pub(crate) fn next_settled(sql: &mut dyn Sql, stage: &Stage, after: i64) -> Result<Option<i64>> {
    let select = "SELECT record FROM rowferry_waiting WHERE scope = ?1 AND stage = ?2 AND record > ?3 AND busy = 2 \
                  ORDER BY record LIMIT 1";
    Ok(integer(sql.query(select, &place(stage, after))?))
}

/// The record is kept out by a row that no record changes, for all that is known now.
pub(crate) fn set_stuck(sql: &mut dyn Sql, stage: &Stage, number: i64) -> Result<()> {
    let update = "UPDATE rowferry_waiting SET busy = 3 WHERE scope = ?1 AND stage = ?2 AND record = ?3";
    sql.execute(update, &place(stage, number)).map(|_| ())
}

/// Those that are stuck are tried again.
pub(crate) fn free_stuck(sql: &mut dyn Sql, stage: &Stage) -> Result<()> {
    let update = "UPDATE rowferry_waiting SET busy = 0 WHERE scope = ?1 AND stage = ?2 AND busy = 3";
    let [scope, number, _] = place(stage, 0);
    sql.execute(update, &[scope, number]).map(|_| ())
}

/// The first record that is stuck.
pub(crate) fn first_stuck(sql: &mut dyn Sql, stage: &Stage) -> Result<Option<i64>> {
    let select = "SELECT record FROM rowferry_waiting WHERE scope = ?1 AND stage = ?2 AND busy = 3 ORDER BY record LIMIT 1";
    let [scope, number, _] = place(stage, 0);
    Ok(integer(sql.query(select, &[scope, number])?))
}

/// The record waits no more.
pub(crate) fn remove(sql: &mut dyn Sql, stage: &Stage, number: i64) -> Result<()> {
    let delete = "DELETE FROM rowferry_waiting WHERE scope = ?1 AND stage = ?2 AND record = ?3";
    sql.execute(delete, &place(stage, number)).map(|_| ())
}

/// Copies the records that wait in a stage to another one.
pub(crate) fn copy(sql: &mut dyn Sql, from: &Stage, to: &Stage) -> Result<()> {
    let insert = "INSERT INTO rowferry_waiting (scope, stage, record, key, staged, busy, late, cells) \
                  SELECT ?1, ?2, record, key, staged, busy, late, cells FROM rowferry_waiting WHERE scope = ?3 AND stage = ?4";
    let place = |stage: &Stage| (Value::from(stage.scope.as_str()), Value::from(i64::from(stage.number)));
    let ((to, number), (from, original)) = (place(to), place(from));
    sql.execute(insert, &[to, number, from, original]).map(|_| ())
}

/// Forgets the records of one table.
pub(crate) fn forget_one(sql: &mut dyn Sql, scope: &Scope, number: u32) -> Result<()> {
    let delete = "DELETE FROM rowferry_waiting WHERE scope = ?1 AND stage = ?2";
    sql.execute(delete, &[scope.as_str().into(), i64::from(number).into()]).map(|_| ())
}

/// Forgets all records of a pull.
pub(crate) fn forget(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    sql.execute("DELETE FROM rowferry_waiting WHERE scope = ?1", &[scope.as_str().into()]).map(|_| ())
}
