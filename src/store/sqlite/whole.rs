//! Applies records that are identified by their whole content: tables without a key, and rows with NULL in theirs.
//!
//! Such rows form a multiset: the same row may stand there several times, and afterwards it stands there as often as at the
//! sender, or as often as it did if that was more. The local rows are counted by a digest of their content once, into a
//! table of rowferry's own; each record then takes one of its count, or is inserted where none is left.

use std::ops::Range;

use super::apply::{Batch, Column, insert};
use super::dialect::{failed, quote, quote_all};
use super::write::SqliteWriter;
use crate::domain::digest::RowDigest;
use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::{Identity, TablePlan};
use crate::store::{Scope, Sql};

/// Values that are digested at once.
const DIGESTED: usize = 500;

pub(super) fn count(writer: &mut SqliteWriter, plan: &TablePlan, scope: &Scope) -> Result<()> {
    let of_table = [Value::from(scope.as_str()), Value::from(plan.table.name.as_str())];
    writer.execute("DELETE FROM rowferry_counts WHERE scope = ?1 AND parent = ?2", &of_table)?;
    let empty = Rows::new(plan.targets.len());
    let batch = Batch::new(writer, plan, &empty);
    let condition = match &plan.identity {
        Identity::WholeRow => "1".to_owned(),
        Identity::Key { columns, .. } => {
            let is_null = columns.iter().map(|at| format!("{} IS NULL", quote(&plan.table.columns[*at].name)));
            is_null.collect::<Vec<_>>().join(" OR ")
        }
    };
    let sql = format!(
        "INSERT INTO rowferry_counts(scope, parent, digest, copies)
         SELECT ?1, ?2, {}, count(*) FROM {} WHERE {condition} GROUP BY 3",
        digest_sql(&batch.names().collect::<Vec<_>>()),
        quote(&plan.table.name)
    );
    writer.execute(&sql, &of_table)?;
    Ok(())
}

pub(super) fn apply(
    writer: &mut SqliteWriter,
    plan: &TablePlan,
    scope: &Scope,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<()> {
    let batch = Batch::new(writer, plan, rows);
    for row in range {
        if let Some(failure) = batch.misfit(row) {
            tally.fail(failure);
            continue;
        }
        if plan.strategy != Strategy::Append && take_copy(writer, &batch, scope, row)? {
            match plan.strategy {
                Strategy::Skip | Strategy::Append => tally.outcome.skipped += 1,
                Strategy::Overwrite | Strategy::Merge => tally.outcome.unchanged += 1,
            }
            continue;
        }
        let present: Vec<&Column> = batch.columns.iter().filter(|c| rows.get(row, c.incoming).is_some()).collect();
        let values: Vec<ValueRef<'_>> = present.iter().filter_map(|c| rows.get(row, c.incoming)).collect();
        match insert(writer, &batch, &present, &values) {
            Ok(0) => tally.fail(batch.left_out(row)),
            Ok(_) => tally.outcome.created += 1,
            Err(error) => tally.fail(batch.refused(writer, row, error)?),
        }
    }
    Ok(())
}

/// `rowferry_digest("a", "b")`; of many columns the digest of their digests, because a function has at most 1,000 arguments.
fn digest_sql(names: &[&str]) -> String {
    match names.chunks(DIGESTED) {
        chunks if chunks.len() <= 1 => format!("rowferry_digest({})", quote_all(names.iter().copied())),
        chunks => format!("rowferry_digest({})", chunks.map(digest_sql).collect::<Vec<_>>().join(", ")),
    }
}

/// The same of values.
fn digest(values: &[ValueRef<'_>]) -> [u8; 16] {
    let mut digest = RowDigest::new();
    match values.chunks(DIGESTED) {
        chunks if chunks.len() <= 1 => values.iter().for_each(|value| digest.value(*value)),
        chunks => chunks.for_each(|chunk| digest.value(ValueRef::Blob(&self::digest(chunk)))),
    }
    digest.finish()
}

/// Takes one of the local rows of the same content, if one is left. A record that lacks a column has no whole content to
/// compare: it is new.
fn take_copy(writer: &SqliteWriter, batch: &Batch<'_>, scope: &Scope, row: usize) -> Result<bool> {
    let stored = batch.columns.iter().map(|column| Some(batch.stored(column, batch.rows.get(row, column.incoming)?)));
    let Some(values) = stored.collect::<Option<Vec<_>>>() else {
        return Ok(false);
    };
    let sql =
        "UPDATE rowferry_counts SET copies = copies - 1 WHERE scope = ?1 AND parent = ?2 AND digest = ?3 AND copies > 0";
    let mut statement = writer.connection.sqlite.prepare_cached(sql).map_err(failed)?;
    let taken = statement.execute((scope.as_str(), &batch.plan.table.name, digest(&values).as_slice())).map_err(failed)?;
    Ok(taken > 0)
}
