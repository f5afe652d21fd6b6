//! When references between rows are checked, and rows that are written although theirs are missing.
//!
//! PostgreSQL puts the checks of deferrable foreign keys off where it is told so. One that is not deferrable is made so within the
//! transaction, by an owner of its table, and restored before the commit. It forgets no check that it owes: a row that is to refer to
//! nothing is written while its foreign key is away, which then comes back as NOT VALID: so it stands in the catalogue that not
//! all rows keep to it.

use super::constraint_checks::{Loosened, broken, set};
use super::quote::quote;
use super::table::Table;
use super::transaction::Transaction;
use super::write;
use crate::domain::record::Reason;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::store::{Change, Check, Referring, Refused, Target};

/// See [`Writer::check_references`](crate::store::Writer::check_references).
pub(super) fn check(transaction: &mut Transaction, when: Check, tables: &[Target<'_>]) -> Result<bool> {
    match when {
        Check::ByCaller => return Ok(false),
        Check::Now if transaction.check == Check::Now => return Ok(true),
        Check::Now => {}
        Check::AtCommit => {
            for target in tables {
                if !loosen(transaction, target)? {
                    return Ok(false);
                }
            }
        }
    }
    set(&mut transaction.connection, when)?;
    transaction.check = when;
    transaction.was_put_off = true;
    Ok(true)
}

/// Makes the foreign keys deferrable that rows of a table may break for a while. Gives whether all of them are.
fn loosen(transaction: &mut Transaction, target: &Target<'_>) -> Result<bool> {
    let table = transaction.table(&target.table.name)?;
    let sql = "SELECT n.nspname::text, r.relname::text, c.conname::text
            FROM pg_catalog.pg_constraint AS c
            JOIN pg_catalog.pg_class AS r ON r.oid = c.conrelid
            JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
        WHERE c.contype = 'f' AND NOT c.condeferrable AND c.conparentid = 0
            AND (c.conrelid = $1 OR ($2 AND c.confrelid = $1))";
    let rows = transaction.connection.rows(sql, &[&table.oid, &target.updates])?;
    for row in rows {
        let relation = format!("{}.{}", quote(row.get(0)), quote(row.get(1)));
        let key = Loosened { depth: transaction.depth(), relation, name: row.get(2) };
        let alter = key.alter("DEFERRABLE INITIALLY IMMEDIATE");
        match transaction.attempt_locking(|transaction| transaction.connection.batch(&alter), |()| true)? {
            Ok(()) => {
                transaction.loosened.push(key);
            }
            Err(error) => {
                log::info!(target: "rowferry::store", "the foreign key {:?} cannot be put off: {error}", key.name);
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Says again when references are checked: PostgreSQL has undone it with a savepoint.
pub(super) fn after_rollback(transaction: &mut Transaction) -> Result<()> {
    let depth = transaction.depth();
    let (kept, undone) = std::mem::take(&mut transaction.loosened).into_iter().partition(|key| key.depth <= depth);
    transaction.loosened = kept;
    let undone: Vec<Loosened> = undone;
    for key in undone {
        // A table that was made after the savepoint is gone, with its keys.
        let alter = key.alter("DEFERRABLE INITIALLY IMMEDIATE");
        if transaction.attempt_locking(|transaction| transaction.connection.batch(&alter), |()| true)?.is_ok() {
            transaction.loosened.push(Loosened { depth, ..key });
        }
    }
    match transaction.was_put_off {
        true => set(&mut transaction.connection, transaction.check),
        false => Ok(()),
    }
}

/// Checks what was put off, and restores what was loosened for it.
pub(super) fn before_commit(transaction: &mut Transaction) -> Result<()> {
    let checked = transaction.attempt(|transaction| transaction.connection.batch("SET CONSTRAINTS ALL IMMEDIATE"))?;
    checked.map_err(|error| broken(error).while_doing("cannot commit"))?;
    for key in std::mem::take(&mut transaction.loosened) {
        transaction.connection.batch(&key.alter("NOT DEFERRABLE"))?;
    }
    Ok(())
}

/// See [`Writer::referring`](crate::store::Writer::referring).
pub(super) fn referring(transaction: &mut Transaction, schema: &TableSchema) -> Result<Vec<Referring>> {
    let table = transaction.table(&schema.name)?;
    let sql = "SELECT DISTINCT n.nspname::text, r.relname::text FROM pg_catalog.pg_constraint AS c
            JOIN pg_catalog.pg_class AS r ON r.oid = c.conrelid
            JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
        WHERE c.contype = 'f' AND c.confrelid = $1 AND NOT r.relispartition ORDER BY 1, 2";
    let rows = transaction.connection.rows(sql, &[&table.oid])?;
    let mut referring = Vec::new();
    for row in rows {
        let (namespace, name): (String, String) = (row.get(0), row.get(1));
        let is_first = transaction.connection.schemas().first() == Some(&namespace);
        let name = if is_first { name } else { format!("{namespace}.{name}") };
        let Some(child) = transaction.connection.table(&name)? else { continue };
        let keys = child.schema.foreign_keys.iter().filter(|key| key.parent == schema.name);
        referring.extend(keys.map(|key| Referring { table: name.clone(), key: key.clone(), deferred: key.deferred }));
    }
    Ok(referring)
}

/// A foreign key of a table.
struct Key {
    name: String,
    definition: String,
    is_deferred: bool,
}

fn own_keys(transaction: &mut Transaction, table: &Table) -> Result<Vec<Key>> {
    let sql =
        "SELECT conname::text, pg_catalog.pg_get_constraintdef(oid), condeferred, convalidated FROM pg_catalog.pg_constraint
        WHERE conrelid = $1 AND contype = 'f'";
    let rows = transaction.connection.rows(sql, &[&table.oid])?;
    let key = |row: &postgres::Row| {
        let definition: String = row.get(1);
        let definition = if row.get(3) { format!("{definition} NOT VALID") } else { definition };
        Key { name: row.get(0), definition, is_deferred: row.get(2) }
    };
    Ok(rows.iter().map(key).collect())
}

/// See [`Writer::write_dangling`](crate::store::Writer::write_dangling).
pub(super) fn write_dangling(
    transaction: &mut Transaction,
    schema: &TableSchema,
    change: Change<'_>,
    rows: &Rows,
    row: usize,
    refused: &mut Vec<Refused>,
) -> Result<()> {
    let (table, _) = transaction.local(schema)?;
    transaction.lock(&table)?;
    let keys = own_keys(transaction, &table)?;
    // One that is deferred says nothing now, and all the more at the commit.
    let mut away: Vec<&Key> = keys.iter().filter(|key| key.is_deferred).collect();
    loop {
        let done = transaction.attempt_locking(
            |transaction| put_aside(transaction, &table, &away, (schema, change, rows, row)),
            |found: &Vec<Refused>| found.is_empty(),
        )?;
        let found = match done {
            Ok(found) => found,
            Err(error) => {
                let why = error.message();
                let message =
                    format!("rows are missing that it refers to, and its foreign key cannot be put aside here: {why}");
                refused.push(Refused { row, reason: Reason::ForeignKey, column: None, message, is_left_out: false });
                return Ok(());
            }
        };
        let is_away = |key: &Key| away.iter().any(|other| other.name == key.name);
        let mut left = keys.iter().filter(|key| !is_away(key)).peekable();
        let is_broken = found.first().is_some_and(|found| found.reason == Reason::ForeignKey);
        let (Some(first), true) = (left.peek().copied(), is_broken) else {
            refused.extend(found);
            return Ok(());
        };
        // The server names the key that is broken; whatever language it says it in.
        let is_named = |key: &&Key| found.iter().any(|found| found.message.contains(&key.name));
        away.push(left.find(is_named).unwrap_or(first));
    }
}

/// Writes a row while these foreign keys are away.
fn put_aside(
    transaction: &mut Transaction,
    table: &Table,
    away: &[&Key],
    (schema, change, rows, row): (&TableSchema, Change<'_>, &Rows, usize),
) -> Result<Vec<Refused>> {
    for key in away {
        let drop = format!("ALTER TABLE {} DROP CONSTRAINT {}", table.relation, quote(&key.name));
        transaction.connection.batch(&drop)?;
    }
    let mut found = Vec::new();
    write::write(transaction, schema, change, rows, row..row + 1, &mut found)?;
    for key in away {
        let (name, definition) = (quote(&key.name), &key.definition);
        let add = format!("ALTER TABLE {} ADD CONSTRAINT {name} {definition}", table.relation);
        transaction.connection.batch(&add)?;
    }
    Ok(found)
}
