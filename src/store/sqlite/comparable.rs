//! What a column compares of a value: the value with the column's affinity, as its collation sees it.
//!
//! So SQLite compares a foreign key with what it refers to (<https://www.sqlite.org/foreignkeys.html#fk_schemacommands>, 3: the
//! collation and affinity are those of the parent's column).

use std::ops::Range;

use rusqlite::Connection;

use super::affinity::{Affinity, Fit, fit};
use super::dialect::{Parameter, borrowed, failed};
use crate::domain::cells::whole;
use crate::domain::collation::Collation;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::store::KeyColumns;

pub(super) fn of(
    sqlite: &Connection,
    columns: &KeyColumns<'_>,
    cells: &[usize],
    rows: &Rows,
    range: Range<usize>,
    to: &mut Rows,
) -> Result<()> {
    to.clear(cells.len());
    let affinities = Affinity::of_columns(columns.table);
    let of_key = columns.table.key_collations_of(columns.columns);
    let compared: Vec<(Affinity, Collation)> = columns
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let of_column = columns.table.columns[*column].collation.as_deref();
            let name = of_key.get(at).copied().flatten().or(of_column);
            // One of the host's own can only be asked by SQLite: what is not the same byte for byte is something else.
            (affinities[*column].0, Collation::named(name).unwrap_or(Collation::Binary))
        })
        .collect();
    for row in range {
        to.start_row();
        for (at, (cell, (affinity, collation))) in cells.iter().zip(&compared).enumerate() {
            let Some(value) = rows.get(row, *cell) else { continue };
            match turned(sqlite, value, *affinity)? {
                None => to.set(at, whole(collation.fold(value).as_ref())),
                Some(value) => to.set(at, whole(collation.fold(value.as_ref()).as_ref())),
            }
        }
    }
    Ok(())
}

/// What a column of this affinity makes of a value that it would store as one of another class; `None` if it leaves it.
fn turned(sqlite: &Connection, value: ValueRef<'_>, affinity: Affinity) -> Result<Option<Value>> {
    let Fit::Changed { would_be } = fit(value, affinity, false) else { return Ok(None) };
    if let (ValueRef::Integer(v), "text") = (value, would_be) {
        return Ok(Some(v.to_string().into()));
    }
    // SQLite reads and writes numbers in its own way.
    let to = match would_be {
        "null" => return Ok(Some(Value::Null)),
        "text" => "TEXT",
        _ => "NUMERIC",
    };
    let mut cast = sqlite.prepare_cached(&format!("SELECT CAST(?1 AS {to})")).map_err(failed)?;
    let value = cast.query_row([Parameter(value)], |row| Ok(borrowed(row.get_ref(0)?).to_owned()));
    value.map(Some).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, TableSchema};

    /// Two values are the same to the function exactly if SQLite finds the one by the other.
    #[test]
    fn what_sqlite_calls_equal_is_the_same() {
        let values: Vec<Value> = vec![
            1.into(),
            Value::Real(1.0),
            "1".into(),
            " 1 ".into(),
            "01".into(),
            "1.0".into(),
            "1e0".into(),
            "1x".into(),
            "x".into(),
            "X".into(),
            "x ".into(),
            "é".into(),
            "É".into(),
            "".into(),
            " ".into(),
            Value::Real(0.1),
            "0.1".into(),
            Value::Real(-0.0),
            0.into(),
            i64::MAX.into(),
            i64::MIN.into(),
            Value::Real(9_223_372_036_854_775_808.0),
            "9223372036854775807".into(),
            Value::Real(1e20),
            "1e20".into(),
            Value::Blob(b"1".to_vec()),
            Value::Blob(Vec::new()),
            Value::Text(b"\xff".to_vec()),
        ];
        for declared in ["INTEGER", "INT", "TEXT", "REAL", "NUMERIC", "BLOB", ""] {
            for collation in ["BINARY", "NOCASE", "RTRIM"] {
                let sqlite = Connection::open_in_memory().unwrap();
                sqlite.execute_batch(&format!("CREATE TABLE t(k {declared} COLLATE {collation})")).unwrap();
                let column =
                    Column { declared_type: declared.into(), collation: Some(collation.into()), ..Column::default() };
                let table = TableSchema { columns: vec![column], ..TableSchema::default() };
                let seen = |value: &Value| {
                    let (mut rows, mut to) = (Rows::new(1), Rows::default());
                    rows.push([value.as_ref()]);
                    of(&sqlite, &KeyColumns { table: &table, columns: &[0] }, &[0], &rows, 0..1, &mut to).unwrap();
                    to.get(0, 0).unwrap().to_owned()
                };
                for stored in &values {
                    sqlite.execute("DELETE FROM t", []).unwrap();
                    sqlite.execute("INSERT INTO t VALUES (?1)", [Parameter(stored.as_ref())]).unwrap();
                    let stored: Value =
                        sqlite.query_row("SELECT k FROM t", [], |row| Ok(borrowed(row.get_ref(0)?).to_owned())).unwrap();
                    let mut equal = sqlite.prepare_cached("SELECT count(*) FROM t WHERE k = ?1").unwrap();
                    for other in &values {
                        let found: i64 = equal.query_row([Parameter(other.as_ref())], |row| row.get(0)).unwrap();
                        let same = seen(&stored).as_ref().same(seen(other).as_ref());
                        assert_eq!(same, found == 1, "{stored:?} and {other:?} in a column {declared} {collation}");
                    }
                }
            }
        }
    }
}
