//! Stages: rows that wait in a table of rowferry's own.
//!
//! Each row is one blob of [`cells`], so that it keeps each value as it is, and may have as many columns as a table can.

use std::ops::Range;

use super::apply::{Batch, equals, row_exists};
use super::dialect::{Parameter, failed, quote, quote_all};
use super::write::SqliteWriter;
use super::{append, cells};
use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Identity, TablePlan};
use crate::store::{PageBounds, Scope, Sql, Stage};

fn table_name(stage: &Stage) -> String {
    quote(&format!("rowferry_stage_{}_{}", stage.scope.as_str(), stage.number))
}

pub(super) fn create(writer: &mut SqliteWriter, stage: &Stage) -> Result<()> {
    let sql = format!("CREATE TABLE {}(row INTEGER PRIMARY KEY, cells BLOB NOT NULL)", table_name(stage));
    writer.connection.sqlite.execute_batch(&sql).map_err(failed)?;
    let values = [stage.scope.as_str().into(), i64::from(stage.number).into(), (stage.width as i64).into()];
    writer.execute(
        "INSERT INTO rowferry_stages(scope, number, width, created_at) VALUES (?1, ?2, ?3, CURRENT_TIMESTAMP)",
        &values,
    )?;
    Ok(())
}

pub(super) fn append(writer: &mut SqliteWriter, stage: &Stage, rows: &Rows, range: Range<usize>) -> Result<()> {
    let sql = format!("INSERT INTO {}(cells) VALUES (?1)", table_name(stage));
    let mut statement = writer.connection.sqlite.prepare_cached(&sql).map_err(failed)?;
    let mut bytes = Vec::new();
    for row in range {
        bytes.clear();
        (0..stage.width).for_each(|at| cells::put(&mut bytes, rows.get(row, at)));
        statement.execute([Parameter(ValueRef::Blob(&bytes))]).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn page(
    writer: &SqliteWriter,
    stage: &Stage,
    after: i64,
    bounds: PageBounds,
    rows: &mut Rows,
    numbers: &mut Vec<i64>,
) -> Result<()> {
    rows.clear(stage.width);
    numbers.clear();
    let sql = format!("SELECT row, cells FROM {} WHERE row > ?1 ORDER BY row LIMIT ?2", table_name(stage));
    let mut statement = writer.connection.sqlite.prepare_cached(&sql).map_err(failed)?;
    let limit = i64::try_from(bounds.rows).unwrap_or(i64::MAX);
    let mut found = statement.query([after, limit]).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        numbers.push(row.get(0).map_err(failed)?);
        let mut bytes = row.get_ref(1).and_then(|cell| Ok(cell.as_blob()?)).map_err(failed)?;
        rows.start_row();
        for at in 0..stage.width {
            let cell = cells::take(&mut bytes).ok_or_else(foreign_row)?;
            if let Some(value) = cell {
                rows.set(at, value);
            }
        }
        if rows.size_bytes() >= bounds.bytes {
            break;
        }
    }
    Ok(())
}

fn foreign_row() -> Error {
    Error::new(ErrorKind::Corrupt, "a stage holds a row that rowferry did not write")
}

pub(super) fn remove(writer: &SqliteWriter, stage: &Stage, numbers: &[i64]) -> Result<()> {
    let sql = format!("DELETE FROM {} WHERE row = ?1", table_name(stage));
    let mut statement = writer.connection.sqlite.prepare_cached(&sql).map_err(failed)?;
    for number in numbers {
        statement.execute([number]).map_err(failed)?;
    }
    Ok(())
}

/// Goes through the staged rows and looks up, for each, its local row and that row's parents. It is only called when there
/// is something to be found.
pub(super) fn orphans(
    writer: &mut SqliteWriter,
    plan: &TablePlan,
    stage: &Stage,
    limit: usize,
) -> Result<Vec<(i64, usize)>> {
    let bounds = PageBounds { rows: 1_000, bytes: 1 << 20 };
    let (mut rows, mut numbers) = (Rows::default(), Vec::new());
    let (mut after, mut orphans) = (0, Vec::new());
    loop {
        page(writer, stage, after, bounds, &mut rows, &mut numbers)?;
        let Some(last) = numbers.last() else {
            return Ok(orphans);
        };
        after = *last;
        for (row, number) in numbers.iter().enumerate() {
            if let Some(key) = first_broken(writer, plan, &stage.scope, &rows, row)? {
                orphans.push((*number, key));
                if orphans.len() >= limit {
                    return Ok(orphans);
                }
            }
        }
    }
}

fn first_broken(
    writer: &mut SqliteWriter,
    plan: &TablePlan,
    scope: &Scope,
    rows: &Rows,
    row: usize,
) -> Result<Option<usize>> {
    // The local row has what the record's references became.
    let followed = append::followed_rows(writer, plan, scope, rows, row..row + 1, &mut Tally::new(0))?;
    let written = match &followed {
        Some(written) if written.is_empty() => return Ok(None),
        Some(written) => (Batch::new(writer, plan, written), 0),
        None => (Batch::new(writer, plan, rows), row),
    };
    let received = Batch::new(writer, plan, rows);
    let has_key = append::has_key(plan, &received, row);
    let key = match plan.strategy {
        _ if !has_key => None,
        Strategy::Append => append::new_key_of(writer, scope, &plan.table.name, &received.key(row))?,
        _ => Some(written.0.key(written.1)).filter(|key| is_whole(plan, key)),
    };
    if key.is_none() && has_key {
        // A record that lacks its key, or could get none, has no local row.
        return Ok(None);
    }
    for (position, foreign_key) in plan.table.foreign_keys.iter().enumerate() {
        let values = match &key {
            Some(key) => local_values(writer, plan, key, &foreign_key.columns)?,
            None => staged_values(&written.0, written.1, &foreign_key.columns),
        };
        let Some(values) = values.filter(|values| values.iter().all(|value| !value.is_null())) else {
            continue;
        };
        let values: Vec<ValueRef<'_>> = values.iter().map(Value::as_ref).collect();
        if !row_exists(writer, &foreign_key.parent, &foreign_key.parent_columns, &values)? {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

fn is_whole(plan: &TablePlan, key: &[Value]) -> bool {
    matches!(&plan.identity, Identity::Key { columns, .. } if columns.len() == key.len()) && !key.iter().any(Value::is_null)
}

/// The values of these columns in the local row of this key; `None` if there is no such row.
fn local_values(
    writer: &mut SqliteWriter,
    plan: &TablePlan,
    key: &[Value],
    columns: &[String],
) -> Result<Option<Vec<Value>>> {
    let Identity::Key { columns: key_columns, .. } = &plan.identity else {
        return Ok(None);
    };
    let condition = equals(key_columns.iter().map(|at| plan.table.columns[*at].name.as_str()));
    let names = quote_all(columns.iter().map(String::as_str));
    let sql = format!("SELECT {names} FROM {} WHERE {condition}", quote(&plan.table.name));
    Ok(writer.query(&sql, key)?.pop())
}

/// The values that a staged row has for these local columns; `None` if it lacks one.
fn staged_values(batch: &Batch<'_>, row: usize, columns: &[String]) -> Option<Vec<Value>> {
    let of = |name: &String| {
        let column = batch.columns.iter().find(|column| batch.name(column).eq_ignore_ascii_case(name))?;
        batch.rows.get(row, column.incoming).map(ValueRef::to_owned)
    };
    columns.iter().map(of).collect()
}

pub(super) fn end_scope(writer: &mut SqliteWriter, scope: &Scope) -> Result<()> {
    let of_scope = [Value::from(scope.as_str())];
    for row in writer.query("SELECT number, width FROM rowferry_stages WHERE scope = ?1", &of_scope)? {
        let (Some(number), Some(width)) = (row[0].as_integer(), row[1].as_integer()) else {
            return Err(Error::new(ErrorKind::Corrupt, "rowferry_stages holds a row that rowferry did not write"));
        };
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let stage = Stage { scope: scope.clone(), number, width: usize::try_from(width).unwrap_or(0) };
        writer.connection.sqlite.execute_batch(&format!("DROP TABLE IF EXISTS {}", table_name(&stage))).map_err(failed)?;
    }
    for table in ["rowferry_stages", "rowferry_key_map", "rowferry_counts"] {
        writer.execute(&format!("DELETE FROM {table} WHERE scope = ?1"), &of_scope)?;
    }
    Ok(())
}
