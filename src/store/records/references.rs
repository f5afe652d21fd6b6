//! What an import keeps of references while it applies tables that refer to each other: see `import::orphans`.

use super::{Scope, fields::Fields, unreadable};
use crate::domain::value::Value;
use crate::error::Result;
use crate::store::Sql;

/// A staged row: the number of its stage, and its own in it.
pub(crate) type Staged = (u32, i64);

/// A reference that no row satisfied yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending {
    pub(crate) row: Staged,
    /// The position of the foreign key in the table.
    pub(crate) reference: usize,
    /// The values that the parent must have, as bytes.
    pub(crate) parent: Vec<u8>,
}

/// Notes a reference that is to be looked at again when all rows are there.
pub(crate) fn wait(sql: &mut dyn Sql, scope: &Scope, pending: Pending) -> Result<()> {
    let insert = "INSERT INTO rowferry_pending (scope, stage, record, reference, parent) VALUES (?1, ?2, ?3, ?4, ?5)";
    let reference = i64::try_from(pending.reference).unwrap_or(i64::MAX);
    let (stage, record) = pending.row;
    let row = [scope.as_str().into(), i64::from(stage).into(), record.into(), reference.into(), Value::Blob(pending.parent)];
    sql.execute(insert, &row).map(|_| ())
}

/// References that wait, after the last one that was given: so many at most.
pub(crate) fn pending(sql: &mut dyn Sql, scope: &Scope, after: Option<&Pending>, most: i64) -> Result<Vec<Pending>> {
    let select = "SELECT stage, record, reference, parent FROM rowferry_pending WHERE scope = ?1 \
                  AND (stage > ?2 OR (stage = ?2 AND (record > ?3 OR (record = ?3 AND reference > ?4)))) \
                  ORDER BY stage, record, reference LIMIT ?5";
    let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let (stage, record, reference) =
        after.map_or((-1, 0, 0), |last| (i64::from(last.row.0), last.row.1, number(last.reference)));
    let found = sql.query(select, &[scope.as_str().into(), stage.into(), record.into(), reference.into(), most.into()])?;
    found.into_iter().map(pending_of).collect()
}

fn pending_of(row: Vec<Value>) -> Result<Pending> {
    match <[Value; 4]>::try_from(row) {
        Ok([Value::Integer(stage), Value::Integer(record), Value::Integer(reference), Value::Blob(parent)]) => {
            let stage = u32::try_from(stage).map_err(|_| unreadable("reference"))?;
            let reference = usize::try_from(reference).map_err(|_| unreadable("reference"))?;
            Ok(Pending { row: (stage, record), reference, parent })
        }
        _ => Err(unreadable("reference")),
    }
}

/// Notes that a staged row has a value of the set of columns with this number.
pub(crate) fn has(sql: &mut dyn Sql, scope: &Scope, row: Staged, set: usize, value: Vec<u8>) -> Result<()> {
    link(sql, scope, &value, false, row)?;
    wait(sql, scope, Pending { row, reference: set, parent: value })
}

/// The values that were noted of a staged row, each with the number of its set.
pub(crate) fn values(sql: &mut dyn Sql, scope: &Scope, row: Staged) -> Result<Vec<(usize, Vec<u8>)>> {
    let select = "SELECT stage, record, reference, parent FROM rowferry_pending \
                  WHERE scope = ?1 AND stage = ?2 AND record = ?3 ORDER BY reference";
    let found = sql.query(select, &[scope.as_str().into(), i64::from(row.0).into(), row.1.into()])?;
    found.into_iter().map(|row| pending_of(row).map(|found| (found.reference, found.parent))).collect()
}

/// Notes that a staged row has a value (`refers` is false), or refers to a row that has it.
pub(crate) fn link(sql: &mut dyn Sql, scope: &Scope, value: &[u8], refers: bool, row: Staged) -> Result<()> {
    let insert = "INSERT INTO rowferry_links (scope, value, refers, stage, record) VALUES (?1, ?2, ?3, ?4, ?5) \
                  ON CONFLICT (scope, value, refers, stage, record) DO NOTHING";
    let (scope, value) = (scope.as_str().into(), Value::Blob(value.to_vec()));
    sql.execute(insert, &[scope, value, i64::from(refers).into(), i64::from(row.0).into(), row.1.into()]).map(|_| ())
}

/// The staged rows that have a value, or refer to it.
pub(crate) fn linked(sql: &mut dyn Sql, scope: &Scope, value: &[u8], refers: bool) -> Result<Vec<Staged>> {
    let select = "SELECT stage, record FROM rowferry_links WHERE scope = ?1 AND value = ?2 AND refers = ?3";
    let found = sql.query(select, &[scope.as_str().into(), Value::Blob(value.to_vec()), i64::from(refers).into()])?;
    let staged = |row: &Vec<Value>| {
        let mut fields = Fields::of(row);
        let (stage, record) = (fields.number()?, fields.number()?);
        Ok((u32::try_from(stage).unwrap_or(u32::MAX), i64::try_from(record).unwrap_or(i64::MAX)))
    };
    found.iter().map(staged).collect()
}

/// Forgets all of it.
pub(crate) fn forget(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    for table in ["rowferry_pending", "rowferry_links"] {
        sql.execute(&format!("DELETE FROM {table} WHERE scope = ?1"), &[scope.as_str().into()])?;
    }
    Ok(())
}
