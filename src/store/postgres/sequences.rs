//! The numbers that a database gives to rows: identity columns and those of serial types.
//!
//! Rows come with their numbers. So the sequences behind them are raised before the commit, never lowered: else the next row of the
//! host's would get a number that is taken.

use std::sync::Arc;

use super::faults;
use super::quote::quote;
use super::table::Table;
use super::transaction::Transaction;
use super::types::Carried;
use crate::domain::schema::TableSchema;
use crate::domain::value::Value;
use crate::error::Result;

/// The sequence of a column.
struct Sequence {
    oid: u32,
    column: String,
}

/// The sequences that belong to columns of a table.
fn of(transaction: &mut Transaction, table: &Table) -> Result<Vec<Sequence>> {
    let sql = "SELECT s.oid, a.attname FROM pg_catalog.pg_depend AS d
            JOIN pg_catalog.pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
            AND d.refobjid = $1 AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0";
    let rows = transaction.connection.rows(sql, &[&table.oid])?;
    Ok(rows.iter().map(|row| Sequence { oid: row.get(0), column: row.get(1) }).collect())
}

/// Raises the sequences of tables that were written to.
pub(super) fn raise_written(transaction: &mut Transaction, tables: &[Arc<Table>]) -> Result<()> {
    for table in tables {
        for sequence in of(transaction, table)? {
            let largest = format!("(SELECT max({}::int8) FROM {})", quote(&sequence.column), table.source);
            raise(transaction, table, &sequence, &largest)?;
        }
    }
    Ok(())
}

/// Lets the numbers of a table begin after this one.
pub(super) fn raise_to(transaction: &mut Transaction, schema: &TableSchema, to: i64) -> Result<()> {
    let table = transaction.table(&schema.name)?;
    let key = schema.primary_key.first();
    for sequence in of(transaction, &table)?.iter().filter(|sequence| Some(&sequence.column) == key) {
        raise(transaction, &table, sequence, &format!("{to}::int8"))?;
    }
    Ok(())
}

fn raise(transaction: &mut Transaction, table: &Table, sequence: &Sequence, to: &str) -> Result<()> {
    let sql = format!(
        "SELECT setval(q.seqrelid::regclass, least(m.most, q.seqmax))
        FROM pg_catalog.pg_sequence AS q, (SELECT {to} AS most) AS m
        WHERE q.seqrelid = $1 AND q.seqincrement > 0 AND m.most >= q.seqmin
            AND m.most > coalesce(pg_sequence_last_value(q.seqrelid), q.seqstart - 1)"
    );
    match transaction.attempt(|transaction| transaction.connection.run(&sql, &[&sequence.oid]))? {
        Ok(_) => Ok(()),
        Err(error) if faults::is_denied(&error) => {
            let (name, column) = (&table.schema.name, &sequence.column);
            log::warn!(target: "rowferry::store", "the numbers that {name:?}.{column:?} gives are not raised: {error}");
            Ok(())
        }
        Err(error) => Err(error.while_doing(format_args!("raising the numbers of {:?}", table.schema.name))),
    }
}

/// The largest integer of a column, or that was ever given to it; at least 0.
pub(super) fn last_integer(transaction: &mut Transaction, schema: &TableSchema, column: usize) -> Result<i64> {
    let (table, casts) = transaction.local(schema)?;
    let cast = casts.get(column);
    let largest = match cast.carried {
        Carried::Int2 | Carried::Int4 | Carried::Int8 => {
            let sql = format!("SELECT max({})::int8 FROM {}", cast.quoted(), table.source);
            transaction.connection.rows(&sql, &[])?.first().and_then(|row| row.get::<_, Option<i64>>(0))
        }
        Carried::Any => {
            // Integers are its only numbers.
            let sql = format!(
                "SELECT {} FROM {} WHERE jsonb_typeof({}) = 'number' ORDER BY {}::jsonb DESC LIMIT 1",
                cast.selected(cast.quoted()),
                table.source,
                cast.quoted(),
                cast.quoted()
            );
            let rows = transaction.connection.rows(&sql, &[])?;
            let value = rows.first().map(|row| super::lookup::value(cast, row, 0)).transpose()?;
            value.as_ref().and_then(Value::as_integer)
        }
        _ => None,
    };
    let name = &schema.columns[column].name;
    let mut given = None;
    for sequence in of(transaction, &table)?.iter().filter(|sequence| sequence.column == *name) {
        let sql = "SELECT pg_sequence_last_value($1::oid::regclass)";
        if let Ok(rows) = transaction.attempt(|transaction| transaction.connection.rows(sql, &[&sequence.oid]))? {
            given = given.max(rows.first().and_then(|row| row.get::<_, Option<i64>>(0)));
        }
    }
    Ok(largest.max(given).unwrap_or(0).max(0))
}
