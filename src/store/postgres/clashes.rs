//! Which rows keep another one out by a unique set: see [`Writer::clashes`](crate::store::Writer::clashes).
//!
//! The database itself says what an index makes of the row: the row is put together as a row of the table, with the defaults of what it
//! lacks, and the expressions of the index and its condition are evaluated over it as over the rows that are there. Nothing is written.

use std::sync::Arc;

use super::arrays::{Array, parameters};
use super::casts::{Adapted, Casts};
use super::lookup;
use super::quote::quote;
use super::table::Table;
use super::transaction::Transaction;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::store::Sets;

/// A unique index beside the primary key.
struct Unique {
    /// Its columns as expressions.
    parts: Vec<String>,
    /// Over which rows, if not over all.
    condition: Option<String>,
    /// Whether NULL is equal to NULL.
    nulls_are_equal: bool,
}

pub(super) fn clashes(
    transaction: &mut Transaction,
    schema: &TableSchema,
    key: &[usize],
    sets: Sets,
    rows: &Rows,
    row: usize,
    found: &mut Rows,
) -> Result<()> {
    found.clear(key.len());
    let (table, casts) = transaction.local(schema)?;
    let uniques = uniques(transaction, &table, sets)?;
    if uniques.is_empty() {
        return Ok(());
    }
    let computed = computed(transaction, &table)?;
    let clashing = Clashing { table, casts, key, rows, row };
    let Some((candidate, arrays)) = clashing.candidate(&computed) else { return Ok(()) };
    let mut keys: Vec<Vec<Value>> = Vec::new();
    for unique in &uniques {
        let sql = clashing.sql(unique, &candidate, arrays.len());
        let mut given = parameters(&arrays);
        let own = clashing.own_key();
        given.extend(own.iter().map(Array::as_parameter));
        // A default, an expression or a text may be one that the database does not take: then it takes no such row, either.
        let answer = transaction.attempt(|transaction| transaction.connection.rows(&sql, &given))?;
        for answer in answer.unwrap_or_default() {
            let values = key.iter().enumerate().map(|(at, column)| lookup::value(clashing.casts.get(*column), &answer, at));
            let values = values.collect::<Result<Vec<Value>>>()?;
            if !keys.contains(&values) {
                keys.push(values);
            }
        }
    }
    keys.iter().for_each(|key| found.push(key.iter().map(Value::as_ref)));
    Ok(())
}

/// The unique indexes of a table beside its primary key.
fn uniques(transaction: &mut Transaction, table: &Table, sets: Sets) -> Result<Vec<Unique>> {
    let sql = "SELECT i.indkey::int2[], i.indnkeyatts::int4,
            ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) AS k),
            pg_get_expr(i.indpred, i.indrelid), coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false)
        FROM pg_catalog.pg_index AS i
        WHERE i.indrelid = $1 AND i.indisunique AND NOT i.indisprimary AND i.indislive ORDER BY i.indexrelid";
    let rows = transaction.connection.rows(sql, &[&table.oid])?;
    let unique = |row: &postgres::Row| {
        let (columns, parts): (Vec<i16>, usize) = (row.get(0), usize::try_from(row.get::<_, i32>(1)).unwrap_or(0));
        let is_plain = columns.iter().take(parts).all(|column| *column != 0);
        let condition: Option<String> = row.get(3);
        let is_full = is_plain && condition.is_none();
        (sets == Sets::All || is_full).then(|| Unique { parts: row.get(2), condition, nulls_are_equal: row.get(4) })
    };
    Ok(rows.iter().filter_map(unique).collect())
}

/// The expressions of the columns that the database computes, by their names.
fn computed(transaction: &mut Transaction, table: &Table) -> Result<Vec<(String, String)>> {
    if !table.columns.iter().any(|column| column.is_generated) {
        return Ok(Vec::new());
    }
    let sql = "SELECT a.attname::text, pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attribute AS a
            JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = $1 AND a.attgenerated <> ''";
    let rows = transaction.connection.rows(sql, &[&table.oid])?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

struct Clashing<'c> {
    table: Arc<Table>,
    casts: Arc<Casts>,
    key: &'c [usize],
    rows: &'c Rows,
    row: usize,
}

impl<'c> Clashing<'c> {
    /// The row as a query that gives it, and its values; `None` if a column cannot hold one.
    fn candidate(&self, computed: &[(String, String)]) -> Option<(String, Vec<Array<'c>>)> {
        let (mut values, mut arrays) = (Vec::new(), Vec::new());
        let mut after = Vec::new();
        for (at, column) in self.table.schema.columns.iter().enumerate() {
            let (cast, name) = (self.casts.get(at), quote(&column.name));
            let declared = &self.table.columns[at].type_sql;
            match self.rows.get(self.row, at) {
                Some(value) => {
                    if matches!(cast.adapt(value), Adapted::Misfit(..)) {
                        return None;
                    }
                    let mut array = Array::new(cast, 1);
                    array.push(cast, value);
                    arrays.push(array);
                    let given = cast.typed(&format!("(${}::{})[1]", arrays.len(), cast.array_type()));
                    values.push(format!("{given}::{declared} AS {name}"));
                }
                None => match computed.iter().find(|(computed, _)| *computed == column.name) {
                    Some((_, expression)) => after.push(format!("({expression})::{declared} AS {name}")),
                    None => {
                        // A number that the database gives is nobody else's, and asking for one would use it up.
                        let default = column.default.as_deref().filter(|default| !default.contains("nextval("));
                        values.push(format!("({})::{declared} AS {name}", default.unwrap_or("NULL")));
                    }
                },
            }
        }
        let mut query = format!("SELECT {}", values.join(", "));
        if !after.is_empty() {
            query = format!("SELECT b.*, {} FROM ({query}) AS b", after.join(", "));
        }
        Some((query, arrays))
    }

    /// The values of the row's own key; none if it lacks one.
    fn own_key(&self) -> Vec<Array<'c>> {
        let value =
            |column: &usize| self.rows.get(self.row, *column).filter(|value| !value.is_null()).map(|value| (*column, value));
        let values: Option<Vec<(usize, ValueRef<'c>)>> = self.key.iter().map(value).collect();
        let array = |(column, value)| {
            let cast = self.casts.get(column);
            let mut array = Array::new(cast, 1);
            array.push(cast, value);
            array
        };
        values.unwrap_or_default().into_iter().map(array).collect()
    }

    /// A query for the keys of the rows that an index calls equal to the row, but for its own. `given` parameters come before its own key.
    fn sql(&self, unique: &Unique, candidate: &str, given: usize) -> String {
        let parts: Vec<String> = unique.parts.iter().enumerate().map(|(at, part)| format!("({part}) AS e{at}")).collect();
        let parts = parts.join(", ");
        let condition = unique.condition.as_ref().map_or(String::new(), |condition| format!(" WHERE {condition}"));
        let keys: Vec<String> = self
            .key
            .iter()
            .enumerate()
            .map(|(at, column)| format!("{} AS k{at}", self.casts.get(*column).quoted()))
            .collect();
        let read: Vec<String> =
            self.key.iter().enumerate().map(|(at, column)| self.casts.get(*column).selected(&format!("o.k{at}"))).collect();
        let equal = if unique.nulls_are_equal { "IS NOT DISTINCT FROM" } else { "=" };
        let mut conditions: Vec<String> = (0..unique.parts.len()).map(|at| format!("o.e{at} {equal} r.e{at}")).collect();
        let own = self.own_key();
        if !own.is_empty() {
            let same = self.key.iter().enumerate().map(|(at, column)| {
                let cast = self.casts.get(*column);
                cast.equal(&format!("o.k{at}"), &cast.typed(&format!("(${}::{})[1]", given + at + 1, cast.array_type())))
            });
            conditions.push(format!("({}) IS NOT TRUE", same.collect::<Vec<_>>().join(" AND ")));
        }
        format!(
            "SELECT {} FROM (SELECT {parts} FROM ({candidate}) AS c{condition}) AS r,
                (SELECT {}, {parts} FROM {}{condition}) AS o WHERE {}",
            read.join(", "),
            keys.join(", "),
            self.table.source,
            conditions.join(" AND "),
        )
    }
}
