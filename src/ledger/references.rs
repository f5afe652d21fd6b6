//! What an import keeps of references while it applies tables that refer to each other: see `import::orphans` and
//! `import::descendants`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Scope;
use crate::domain::value::Value;
use crate::error::Result;
use crate::state::fields::Fields;
use crate::state::unreadable;
use crate::store::Sql;

/// A staged row: the number of its stage, and its own in it.
pub(crate) type StagedRow = (u32, i64);

/// A reference that no row satisfied yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending {
    pub(crate) row: StagedRow,
    /// The position of the foreign key in the table.
    pub(crate) reference: usize,
    /// The values that the parent must have, as bytes.
    pub(crate) parent: Vec<u8>,
}

/// A staged row that refers to a value, by the foreign key at this position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) row: StagedRow,
    pub(crate) reference: usize,
}

fn number(number: usize) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn place(scope: &Scope, row: StagedRow) -> [Value; 3] {
    [scope.as_str().into(), i64::from(row.0).into(), row.1.into()]
}

/// Notes a reference that is to be looked at again when all rows are there.
pub(crate) fn wait(sql: &mut dyn Sql, scope: &Scope, pending: Pending) -> Result<()> {
    let insert = "INSERT INTO rowferry_pending (scope, stage, record, reference, parent) VALUES (?1, ?2, ?3, ?4, ?5) \
                  ON CONFLICT (scope, stage, record, reference) DO UPDATE SET parent = excluded.parent";
    let [scope, stage, record] = place(scope, pending.row);
    sql.execute(insert, &[scope, stage, record, number(pending.reference), Value::Blob(pending.parent)]).map(|_| ())
}

/// References that wait, after the last one that was given: so many at most.
pub(crate) fn pending(sql: &mut dyn Sql, scope: &Scope, after: Option<&Pending>, most: i64) -> Result<Vec<Pending>> {
    let select = "SELECT stage, record, reference, parent FROM rowferry_pending WHERE scope = ?1 \
                  AND (stage > ?2 OR (stage = ?2 AND (record > ?3 OR (record = ?3 AND reference > ?4)))) \
                  ORDER BY stage, record, reference LIMIT ?5";
    let (stage, record, reference) =
        after.map_or((-1, 0, 0.into()), |last| (i64::from(last.row.0), last.row.1, number(last.reference)));
    let found = sql.query(select, &[scope.as_str().into(), stage.into(), record.into(), reference, most.into()])?;
    let pending = |row: Vec<Value>| {
        let mut fields = Fields::of(&row);
        let (row_id, reference) = (staged_row(&mut fields)?, position(&mut fields)?);
        match row.last() {
            Some(Value::Blob(parent)) => Ok(Pending { row: row_id, reference, parent: parent.clone() }),
            _ => Err(unreadable("reference")),
        }
    };
    found.into_iter().map(pending).collect()
}

fn staged_row(fields: &mut Fields<'_>) -> Result<StagedRow> {
    let (stage, record) = (fields.number()?, fields.number()?);
    match (u32::try_from(stage), i64::try_from(record)) {
        (Ok(stage), Ok(record)) => Ok((stage, record)),
        _ => Err(unreadable("reference")),
    }
}

fn position(fields: &mut Fields<'_>) -> Result<usize> {
    usize::try_from(fields.number()?).map_err(|_| unreadable("reference"))
}

/// Notes that a staged row has a value of the set of columns with this number.
pub(crate) fn has(sql: &mut dyn Sql, scope: &Scope, row: StagedRow, set: usize, value: Vec<u8>) -> Result<()> {
    let insert = "INSERT INTO rowferry_values (scope, stage, record, set_number, value) VALUES (?1, ?2, ?3, ?4, ?5)";
    let [scope, stage, record] = place(scope, row);
    sql.execute(insert, &[scope, stage, record, number(set), Value::Blob(value)]).map(|_| ())
}

/// The values that a staged row has, each with the number of its set.
pub(crate) fn values(sql: &mut dyn Sql, scope: &Scope, row: StagedRow) -> Result<Vec<(usize, Vec<u8>)>> {
    let select = "SELECT set_number, value FROM rowferry_values WHERE scope = ?1 AND stage = ?2 AND record = ?3";
    let found = sql.query(select, &place(scope, row))?;
    let value = |row: Vec<Value>| match <[Value; 2]>::try_from(row) {
        Ok([Value::Integer(set), Value::Blob(value)]) => {
            Ok((usize::try_from(set).map_err(|_| unreadable("reference"))?, value))
        }
        _ => Err(unreadable("reference")),
    };
    found.into_iter().map(value).collect()
}

/// Whether a staged row has this value that is no orphan.
pub(crate) fn is_had_by_another(sql: &mut dyn Sql, scope: &Scope, value: &[u8]) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_values AS v WHERE v.scope = ?1 AND v.value = ?2 AND NOT EXISTS \
                  (SELECT 1 FROM rowferry_orphans AS o WHERE o.scope = v.scope AND o.stage = v.stage AND o.record = v.record) \
                  LIMIT 1";
    Ok(!sql.query(select, &[scope.as_str().into(), Value::Blob(value.to_vec())])?.is_empty())
}

/// Notes that a staged row refers to a value.
pub(crate) fn refers(sql: &mut dyn Sql, scope: &Scope, link: Link, value: Vec<u8>) -> Result<()> {
    let insert = "INSERT INTO rowferry_links (scope, value, stage, record, reference) VALUES (?1, ?2, ?3, ?4, ?5)";
    let [scope, stage, record] = place(scope, link.row);
    sql.execute(insert, &[scope, Value::Blob(value), stage, record, number(link.reference)]).map(|_| ())
}

/// The staged rows that refer to a value, after the last one that was given: so many at most.
pub(crate) fn children(sql: &mut dyn Sql, scope: &Scope, value: &[u8], after: Option<Link>, most: i64) -> Result<Vec<Link>> {
    let select = "SELECT stage, record, reference FROM rowferry_links WHERE scope = ?1 AND value = ?2 \
                  AND (stage > ?3 OR (stage = ?3 AND (record > ?4 OR (record = ?4 AND reference > ?5)))) \
                  ORDER BY stage, record, reference LIMIT ?6";
    let (stage, record, reference) =
        after.map_or((-1, 0, 0.into()), |last| (i64::from(last.row.0), last.row.1, number(last.reference)));
    let parameters =
        [scope.as_str().into(), Value::Blob(value.to_vec()), stage.into(), record.into(), reference, most.into()];
    let link = |row: &Vec<Value>| {
        let mut fields = Fields::of(row);
        Ok(Link { row: staged_row(&mut fields)?, reference: position(&mut fields)? })
    };
    sql.query(select, &parameters)?.iter().map(link).collect()
}

/// Takes back that a staged row refers to a value.
pub(crate) fn unlink(sql: &mut dyn Sql, scope: &Scope, link: Link, value: &[u8]) -> Result<()> {
    let delete = "DELETE FROM rowferry_links \
                  WHERE scope = ?1 AND value = ?2 AND stage = ?3 AND record = ?4 AND reference = ?5";
    let [scope, stage, record] = place(scope, link.row);
    let value = Value::Blob(value.to_vec());
    sql.execute(delete, &[scope, value, stage, record, number(link.reference)]).map(|_| ())
}

/// The staged row that has this value in the set of this number.
pub(crate) fn own_of(sql: &mut dyn Sql, scope: &Scope, value: &[u8], set: usize) -> Result<Option<StagedRow>> {
    let select = "SELECT stage, record FROM rowferry_values WHERE scope = ?1 AND value = ?2 AND set_number = ?3 LIMIT 1";
    let found = sql.query(select, &[scope.as_str().into(), Value::Blob(value.to_vec()), number(set)])?;
    found.first().map(|row| staged_row(&mut Fields::of(row))).transpose()
}

/// Forgets which values a staged row has.
pub(crate) fn has_none(sql: &mut dyn Sql, scope: &Scope, row: StagedRow) -> Result<()> {
    let delete = "DELETE FROM rowferry_values WHERE scope = ?1 AND stage = ?2 AND record = ?3";
    sql.execute(delete, &place(scope, row)).map(|_| ())
}

/// One of the staged rows that refer to a value, with the value.
pub(crate) fn any_link(sql: &mut dyn Sql, scope: &Scope) -> Result<Option<(Link, Vec<u8>)>> {
    let select = "SELECT stage, record, reference, value FROM rowferry_links WHERE scope = ?1 LIMIT 1";
    let found = sql.query(select, &[scope.as_str().into()])?;
    let Some(row) = found.first() else { return Ok(None) };
    let mut fields = Fields::of(row);
    let link = Link { row: staged_row(&mut fields)?, reference: position(&mut fields)? };
    match row.last() {
        Some(Value::Blob(value)) => Ok(Some((link, value.clone()))),
        _ => Err(unreadable("reference")),
    }
}

/// Notes that a staged row is an orphan, by this foreign key; nothing if that is known.
pub(crate) fn add_orphan(sql: &mut dyn Sql, scope: &Scope, row: StagedRow, reference: usize) -> Result<()> {
    let insert = "INSERT INTO rowferry_orphans (scope, stage, record, reference, children) VALUES (?1, ?2, ?3, ?4, 0) \
                  ON CONFLICT (scope, stage, record) DO NOTHING";
    let [scope, stage, record] = place(scope, row);
    sql.execute(insert, &[scope, stage, record, number(reference)]).map(|_| ())
}

/// Orphans whose children were not looked for, which are taken to be looked for now: so many at most.
pub(crate) fn next_orphans(sql: &mut dyn Sql, scope: &Scope, most: i64) -> Result<Vec<StagedRow>> {
    let select = "SELECT stage, record FROM rowferry_orphans WHERE scope = ?1 AND children = 0 LIMIT ?2";
    let found = sql.query(select, &[scope.as_str().into(), most.into()])?;
    let found = found.iter().map(|row| staged_row(&mut Fields::of(row))).collect::<Result<Vec<_>>>()?;
    for row in &found {
        let update = "UPDATE rowferry_orphans SET children = 1 WHERE scope = ?1 AND stage = ?2 AND record = ?3";
        sql.execute(update, &place(scope, *row))?;
    }
    Ok(found)
}

/// The orphans among the rows of a stage with these numbers, each with the position of its broken foreign key.
pub(crate) fn orphans_among(
    sql: &mut dyn Sql,
    scope: &Scope,
    stage: u32,
    numbers: RangeInclusive<i64>,
) -> Result<BTreeMap<i64, usize>> {
    let select = "SELECT record, reference FROM rowferry_orphans \
                  WHERE scope = ?1 AND stage = ?2 AND record BETWEEN ?3 AND ?4";
    let range = [(*numbers.start()).into(), (*numbers.end()).into()];
    let [first, last] = range;
    let found = sql.query(select, &[scope.as_str().into(), i64::from(stage).into(), first, last])?;
    let orphan = |row: &Vec<Value>| {
        let mut fields = Fields::of(row);
        let record = i64::try_from(fields.number()?).map_err(|_| unreadable("reference"))?;
        Ok((record, position(&mut fields)?))
    };
    found.iter().map(orphan).collect()
}

/// Forgets all of it.
pub(crate) fn forget(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    for table in ["rowferry_pending", "rowferry_values", "rowferry_links", "rowferry_orphans"] {
        sql.execute(&format!("DELETE FROM {table} WHERE scope = ?1"), &[scope.as_str().into()])?;
    }
    Ok(())
}
