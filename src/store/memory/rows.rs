//! Writes rows one by one: each is there as a whole with all that follows from it, or refused and nothing is changed.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::table::{Row, Table, Tables, is_nan};
use crate::clock::{Clock, SystemClock};
use crate::domain::collation::Collation;
use crate::domain::record::Reason;
use crate::domain::schema::{Column, DefaultValue, TableSchema};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, Result};
use crate::store::{Change, Check, Refused};

/// What a transaction changes: a savepoint is a copy of it.
#[derive(Clone)]
pub(super) struct Data {
    pub(super) tables: Tables,
    /// Rows, by the names of their tables, whose references are to be looked at at the commit.
    pub(super) unchecked: BTreeSet<(String, u64)>,
}

/// Why a row is not written.
#[derive(Debug)]
pub(super) enum Stop {
    /// For its own sake.
    Refused { reason: Reason, column: Option<String>, message: String },
    /// The write as a whole cannot be done.
    Failed(Error),
}

impl Stop {
    pub(super) fn refused(reason: Reason, column: Option<&str>, message: String) -> Self {
        Stop::Refused { reason, column: column.map(str::to_owned), message }
    }

    /// The same for the row that another one should have followed: the column is none of its own.
    pub(super) fn of_follower(self) -> Self {
        match self {
            Stop::Refused { reason, message, .. } => Stop::Refused { reason, column: None, message },
            failed => failed,
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

/// What a row was before it was changed; `None` for one that is new.
struct Before {
    table: String,
    id: u64,
    row: Option<Row>,
}

/// The write of one row, and all that follows from it.
pub(super) struct Write<'d> {
    pub(super) data: &'d mut Data,
    pub(super) check: Check,
    undo: Vec<Before>,
}

/// Writes the local rows of a range: see [`Writer::write`](crate::store::Writer::write).
pub(super) fn write(
    data: &mut Data,
    check: Check,
    table: &TableSchema,
    change: Change<'_>,
    (rows, range): (&Rows, Range<usize>),
    refused: &mut Vec<Refused>,
) -> Result<()> {
    let positions = data.tables.table(&table.name)?.positions(table)?;
    for row in range {
        let mut write = Write { data: &mut *data, check, undo: Vec::new() };
        let done = match change {
            Change::Insert => write.insert(&table.name, &positions, rows, row),
            Change::Update { key, set } => {
                let value = |at: &usize| (positions[*at], rows.get(row, *at).unwrap_or(ValueRef::Null));
                let (columns, values): (Vec<_>, Vec<_>) = key.iter().map(value).unzip();
                let set: Vec<_> = set.iter().map(value).map(|(at, value)| (at, value.to_owned())).collect();
                let by = Collation::all(&table.key_collations_of(key), key.len())?;
                let ids = write.data.tables.table(&table.name)?.matching_by(&columns, &by, &values);
                write.update_all(&table.name, ids, &set)
            }
        };
        if done.is_err() {
            write.undo()?;
        }
        match done {
            Ok(()) => {}
            Err(Stop::Refused { reason, column, message }) => {
                refused.push(Refused { row, reason, column, message, is_left_out: false });
            }
            Err(Stop::Failed(error)) => return Err(error.while_doing(format_args!("writing to {:?}", table.name))),
        }
    }
    Ok(())
}

/// Deletes one row: see [`Writer::delete`](crate::store::Writer::delete).
pub(super) fn delete(data: &mut Data, table: &TableSchema, columns: &[usize], (rows, row): (&Rows, usize)) -> Result<bool> {
    let found = data.tables.table(&table.name)?;
    let positions = found.positions(table)?;
    let is_same = |local: &Row| {
        columns.iter().all(|at| local[positions[*at]].as_ref().same(rows.get(row, *at).unwrap_or(ValueRef::Null)))
    };
    let Some((id, _)) = found.rows_after(None).find(|(_, local)| is_same(local)) else { return Ok(false) };
    data.tables.table_mut(&table.name)?.put(id, None);
    Ok(true)
}

impl Write<'_> {
    fn insert(&mut self, name: &str, positions: &[usize], rows: &Rows, number: usize) -> Result<(), Stop> {
        let table = self.data.tables.table(name)?;
        let mut row = whole(table, positions, rows, number);
        if let Some(at) = number_column(&table.schema)
            && row[at].is_null()
        {
            row[at] = next_number(table, at)?.into();
        }
        let row: Row = row.into();
        accept(table, &row, None)?;
        let id = self.data.tables.table_mut(name)?.insert(row);
        self.undo.push(Before { table: name.to_owned(), id, row: None });
        self.check_references(name, id, None)
    }

    fn update_all(&mut self, name: &str, ids: Vec<u64>, set: &[(usize, Value)]) -> Result<(), Stop> {
        if ids.is_empty() {
            return Err(Stop::refused(Reason::Refused, None, format!("no row of {name:?} has its key")));
        }
        ids.into_iter().try_for_each(|id| self.update(name, id, set, 0))
    }

    /// Changes a row. `depth` says how many others were changed for it to follow.
    pub(super) fn update(&mut self, name: &str, id: u64, set: &[(usize, Value)], depth: usize) -> Result<(), Stop> {
        let table = self.data.tables.table(name)?;
        let Some(old) = table.row(id).cloned() else { return Ok(()) };
        let mut new = old.to_vec();
        set.iter().for_each(|(at, value)| new[*at] = value.clone());
        accept(table, &new, Some(id))?;
        let new: Row = new.into();
        self.data.tables.table_mut(name)?.put(id, Some(Arc::clone(&new)));
        self.undo.push(Before { table: name.to_owned(), id, row: Some(Arc::clone(&old)) });
        let columns: Vec<usize> = set.iter().map(|(at, _)| *at).collect();
        self.check_references(name, id, Some(&columns))?;
        self.follow(name, (&old, &new), depth)
    }

    /// Puts everything back as it was before, the last change first.
    fn undo(&mut self) -> Result<()> {
        while let Some(Before { table, id, row }) = self.undo.pop() {
            self.data.tables.table_mut(&table)?.put(id, row);
        }
        Ok(())
    }
}

/// A local row whose columns have these positions in the table, with defaults for what it lacks.
pub(super) fn whole(table: &Table, positions: &[usize], rows: &Rows, number: usize) -> Vec<Value> {
    let mut values: Vec<Option<Value>> = vec![None; table.schema.columns.len()];
    for (at, value) in positions.iter().zip(rows.row(number)) {
        values[*at] = value.map(ValueRef::to_owned);
    }
    values.into_iter().zip(&table.schema.columns).map(|(value, column)| value.unwrap_or_else(|| default(column))).collect()
}

/// Whether the values may stand in the table beside the other rows.
fn accept(table: &Table, row: &[Value], itself: Option<u64>) -> Result<(), Stop> {
    let name = &table.schema.name;
    for (value, column) in row.iter().zip(&table.schema.columns) {
        let column_name = &column.name;
        if value.is_null() && !column.nullable {
            let message = format!("the column {column_name:?} of {name:?} must have a value");
            return Err(Stop::refused(Reason::NotNull, Some(column_name), message));
        }
        if is_nan(value.as_ref()) {
            return Err(Stop::refused(Reason::ValueOutOfRange, Some(column_name), no_nan(column_name)));
        }
    }
    match table.conflict(row, itself) {
        None => Ok(()),
        Some(columns) => {
            let names: Vec<&str> = columns.iter().map(|at| table.schema.columns[*at].name.as_str()).collect();
            let message = format!("another row of {name:?} has the same {}", names.join(", "));
            Err(Stop::refused(Reason::UniqueConflict, names.first().copied(), message))
        }
    }
}

pub(super) fn no_nan(column: &str) -> String {
    format!("{column:?} would be NaN, which has no place in the order of values")
}

/// The column that numbers itself, if there is one.
fn number_column(table: &TableSchema) -> Option<usize> {
    table.primary_key.first().filter(|_| table.rowid_alias).and_then(|name| table.column_index(name))
}

fn next_number(table: &Table, column: usize) -> Result<i64, Stop> {
    let none_left = || {
        let message = format!("{:?} has a row with the largest number that there is", table.schema.name);
        Stop::refused(Reason::Refused, table.schema.columns.get(column).map(|column| column.name.as_str()), message)
    };
    table.largest(column).checked_add(1).ok_or_else(none_left)
}

/// What stands in a column that a row lacks.
pub(super) fn default(column: &Column) -> Value {
    let now = || {
        let now = SystemClock.now();
        let date = format!("{:04}-{:02}-{:02}", now.year(), u8::from(now.month()), now.day());
        (date, format!("{:02}:{:02}:{:02}", now.hour(), now.minute(), now.second()))
    };
    match column.default.as_deref().and_then(DefaultValue::parse) {
        None => Value::Null,
        Some(DefaultValue::Literal(value)) => value,
        Some(DefaultValue::CurrentDate) => now().0.into(),
        Some(DefaultValue::CurrentTime) => now().1.into(),
        Some(DefaultValue::CurrentTimestamp) => {
            let (date, time) = now();
            format!("{date} {time}").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(declared_type: &str, rowid_alias: bool) -> (Data, TableSchema) {
        let column = |name: &str| Column { name: name.into(), nullable: true, ..Column::default() };
        let mut schema = TableSchema {
            name: "t".into(),
            columns: vec![column("id"), column("n"), column("at")],
            primary_key: vec!["id".into()],
            rowid_alias,
            ..TableSchema::default()
        };
        schema.columns[0].declared_type = declared_type.into();
        schema.columns[0].nullable = false;
        schema.columns[1].nullable = false;
        schema.columns[1].default = Some("'five'".into());
        schema.columns[2].default = Some("CURRENT_TIMESTAMP".into());
        let mut tables = Tables::default();
        tables.add(Table::new(schema.clone()).unwrap());
        (Data { tables, unchecked: BTreeSet::new() }, schema)
    }

    fn rows(cells: &[[Option<Value>; 2]]) -> Rows {
        let mut rows = Rows::new(3);
        for cell in cells {
            rows.start_row();
            cell.iter().enumerate().for_each(|(at, value)| value.iter().for_each(|value| rows.set(at, value.as_ref())));
        }
        rows
    }

    fn put(data: &mut Data, table: &TableSchema, change: Change<'_>, rows: &Rows) -> Vec<(usize, Reason, Option<String>)> {
        let mut refused = Vec::new();
        write(data, Check::Now, table, change, (rows, 0..rows.len()), &mut refused).unwrap();
        refused.into_iter().map(|refused| (refused.row, refused.reason, refused.column)).collect()
    }

    fn contents(data: &Data) -> Vec<(Value, Value)> {
        let table = data.tables.table("t").unwrap();
        table.rows_after(None).map(|(_, row)| (row[0].clone(), row[1].clone())).collect()
    }

    #[test]
    fn a_row_is_refused_alone_and_for_its_reason() {
        let (mut data, table) = data("INT", false);
        let v = |value: i64| Some(Value::Integer(value));
        let given = rows(&[
            [v(1), v(10)],
            [Some(1.0.into()), v(11)],
            [None, v(12)],
            [v(2), Some(Value::Null)],
            [v(3), Some(f64::NAN.into())],
            [v(4), None],
        ]);
        let expected = [
            (1, Reason::UniqueConflict, Some("id".into())),
            (2, Reason::NotNull, Some("id".into())),
            (3, Reason::NotNull, Some("n".into())),
            (4, Reason::ValueOutOfRange, Some("n".into())),
        ];
        assert_eq!(put(&mut data, &table, Change::Insert, &given), expected);
        assert_eq!(contents(&data), [(1.into(), 10.into()), (4.into(), "five".into())]);
        let at = data.tables.table("t").unwrap().row(1).or(data.tables.table("t").unwrap().row(0)).unwrap()[2].clone();
        assert!(at.as_str().is_some_and(|at| at.len() == 19 && at.as_bytes()[10] == b' '), "{at:?}");
        let change = Change::Update { key: &[0], set: &[1] };
        let refused = put(&mut data, &table, change, &rows(&[[v(1), v(20)], [v(9), v(20)], [v(4), Some(Value::Null)]]));
        assert_eq!(refused, [(1, Reason::Refused, None), (2, Reason::NotNull, Some("n".into()))]);
        assert_eq!(contents(&data), [(1.into(), 20.into()), (4.into(), "five".into())]);
        let refused =
            put(&mut data, &table, Change::Update { key: &[1], set: &[0] }, &rows(&[[v(4), v(20)], [v(7), v(20)]]));
        assert_eq!(refused, [(0, Reason::UniqueConflict, Some("id".into()))]);
        assert_eq!(contents(&data), [(7.into(), 20.into()), (4.into(), "five".into())]);
    }

    #[test]
    fn a_key_that_is_the_rowid_numbers_itself() {
        let (mut data, table) = data("INTEGER", true);
        let most = Some(Value::Integer(i64::MAX));
        let given = rows(&[[None, None], [Some(7.into()), None], [Some(Value::Null), None], [most, None], [None, None]]);
        let refused = put(&mut data, &table, Change::Insert, &given);
        assert_eq!(refused, [(4, Reason::Refused, Some("id".into()))]);
        let keys: Vec<_> = contents(&data).into_iter().map(|(key, _)| key.as_integer().unwrap()).collect();
        assert_eq!(keys, [1, 7, 8, i64::MAX]);
    }
}
