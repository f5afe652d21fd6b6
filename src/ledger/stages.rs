//! Stages: rows that wait in a table of rowferry's own until they can be applied.
//!
//! Rows are kept in runs of [`cells`], so that each value is kept as it is, a row may have as many columns as a table can, and a
//! run costs one statement. Each row begins with a byte that says whether it is still there.

use std::collections::BTreeSet;

use super::Scope;
use crate::domain::cells;
use crate::domain::value::{Rows, Value};
use crate::error::Result;
use crate::state::unreadable;
use crate::store::{PageBounds, Sql};

/// At about how many bytes a run is cut.
const RUN_BYTES: usize = 64 << 10;

const HERE: u8 = 1;
const REMOVED: u8 = 0;

/// A stage of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) scope: Scope,
    /// Its number within the pull.
    pub(crate) number: u32,
    /// How many columns its rows have.
    pub(crate) width: usize,
}

impl Stage {
    fn place(&self) -> [Value; 2] {
        [self.scope.as_str().into(), i64::from(self.number).into()]
    }
}

/// Adds rows to a stage.
pub(crate) fn append(sql: &mut dyn Sql, stage: &Stage, rows: &Rows, range: std::ops::Range<usize>) -> Result<()> {
    let last = "SELECT first + records FROM rowferry_staged WHERE scope = ?1 AND stage = ?2 ORDER BY first DESC LIMIT 1";
    let next = sql.query(last, &stage.place())?;
    let mut next = next.first().and_then(|row| row.first()).and_then(Value::as_integer).unwrap_or(1);
    let (mut run, mut records) = (Vec::new(), 0);
    for row in range.clone() {
        run.push(HERE);
        (0..stage.width).for_each(|at| cells::put(&mut run, rows.get(row, at)));
        records += 1;
        if run.len() >= RUN_BYTES || row + 1 == range.end {
            put(sql, stage, next, records, std::mem::take(&mut run))?;
            next += std::mem::take(&mut records);
        }
    }
    Ok(())
}

fn put(sql: &mut dyn Sql, stage: &Stage, first: i64, records: i64, run: Vec<u8>) -> Result<()> {
    let insert = "INSERT INTO rowferry_staged (scope, stage, first, records, cells) VALUES (?1, ?2, ?3, ?4, ?5) \
                  ON CONFLICT (scope, stage, first) DO UPDATE SET cells = excluded.cells";
    let [scope, number] = stage.place();
    sql.execute(insert, &[scope, number, first.into(), records.into(), Value::Blob(run)]).map(|_| ())
}

/// Reads staged rows after the row number `after` into `rows`, and their numbers into `numbers`, both cleared first: whole runs up
/// to the bounds, one at least. Numbers are larger than 0 and grow. Gives the number of the last row that was looked at, removed
/// ones included; `None` at the end.
pub(crate) fn page(
    sql: &mut dyn Sql,
    stage: &Stage,
    after: i64,
    bounds: PageBounds,
    rows: &mut Rows,
    numbers: &mut Vec<i64>,
) -> Result<Option<i64>> {
    rows.clear(stage.width);
    numbers.clear();
    let mut last = None;
    while rows.len() < bounds.rows && rows.size_bytes() < bounds.bytes {
        let Some((first, records, run)) = run_after(sql, stage, last.unwrap_or(after))? else { break };
        read(&run, first, records, stage.width, rows, numbers)?;
        last = Some(first + records - 1);
    }
    Ok(last)
}

fn run_after(sql: &mut dyn Sql, stage: &Stage, after: i64) -> Result<Option<Run>> {
    let select = "SELECT first, records, cells FROM rowferry_staged WHERE scope = ?1 AND stage = ?2 AND first > ?3 \
                  ORDER BY first LIMIT 1";
    let [scope, number] = stage.place();
    run_from(sql.query(select, &[scope, number, after.into()])?.pop())
}

/// The run that the row of this number is in, or would be in.
fn run_of(sql: &mut dyn Sql, stage: &Stage, number: i64) -> Result<Option<Run>> {
    let select = "SELECT first, records, cells FROM rowferry_staged WHERE scope = ?1 AND stage = ?2 AND first <= ?3 \
                  ORDER BY first DESC LIMIT 1";
    let [scope, stage_number] = stage.place();
    run_from(sql.query(select, &[scope, stage_number, number.into()])?.pop())
}

/// The number of its first row, how many rows it has, and their cells.
type Run = (i64, i64, Vec<u8>);

fn run_from(row: Option<Vec<Value>>) -> Result<Option<Run>> {
    match row.map(<[Value; 3]>::try_from) {
        None => Ok(None),
        Some(Ok([Value::Integer(first), Value::Integer(records), Value::Blob(run)])) => Ok(Some((first, records, run))),
        Some(_) => Err(unreadable("staged row")),
    }
}

fn read(mut run: &[u8], first: i64, records: i64, width: usize, rows: &mut Rows, numbers: &mut Vec<i64>) -> Result<()> {
    for number in first..first + records {
        let (is_here, rest) = run.split_first().ok_or_else(|| unreadable("staged row"))?;
        run = rest;
        if *is_here == REMOVED {
            continue;
        }
        rows.start_row();
        numbers.push(number);
        for at in 0..width {
            if let Some(value) = cells::take(&mut run).ok_or_else(|| unreadable("staged row"))? {
                rows.set(at, value);
            }
        }
    }
    Ok(())
}

/// Reads single rows by their numbers. It keeps the last run, because rows that are read one after the other are often of one.
#[derive(Default)]
pub(crate) struct Reader {
    /// The stage that the run is of, and the number after its last row.
    place: Option<(Stage, i64)>,
    rows: Rows,
    numbers: Vec<i64>,
}

impl Reader {
    /// The staged row of this number, if there is one.
    pub(crate) fn row(&mut self, sql: &mut dyn Sql, stage: &Stage, number: i64) -> Result<Option<Rows>> {
        let is_in = |first: Option<&i64>, end: i64| first.is_some_and(|first| (*first..end).contains(&number));
        if !matches!(&self.place, Some((of, end)) if of == stage && is_in(self.numbers.first(), *end)) {
            let Some((first, records, run)) = run_of(sql, stage, number)? else { return Ok(None) };
            self.rows.clear(stage.width);
            self.numbers.clear();
            read(&run, first, records, stage.width, &mut self.rows, &mut self.numbers)?;
            self.place = Some((stage.clone(), first + records));
        }
        let Ok(row) = self.numbers.binary_search(&number) else { return Ok(None) };
        let mut one = Rows::new(stage.width);
        one.push_rows(&self.rows, row..row + 1);
        Ok(Some(one))
    }
}

/// Forgets the rows up to this number, which was given by [`page`].
pub(crate) fn remove_to(sql: &mut dyn Sql, stage: &Stage, last: i64) -> Result<()> {
    let [scope, number] = stage.place();
    let delete = "DELETE FROM rowferry_staged WHERE scope = ?1 AND stage = ?2 AND first <= ?3";
    sql.execute(delete, &[scope, number, last.into()]).map(|_| ())
}

/// Takes rows out of a stage; numbers that it does not have are ignored.
pub(crate) fn remove(sql: &mut dyn Sql, stage: &Stage, removed: &BTreeSet<i64>) -> Result<()> {
    let mut rest = removed.iter().copied().peekable();
    while let Some(number) = rest.peek().copied() {
        let Some((first, records, run)) = run_of(sql, stage, number)? else {
            rest.next();
            continue;
        };
        let (mut rows, mut numbers) = (Rows::new(stage.width), Vec::new());
        read(&run, first, records, stage.width, &mut rows, &mut numbers)?;
        let mut kept = Vec::with_capacity(run.len());
        for number in first..first + records {
            match numbers.binary_search(&number) {
                Ok(row) if !removed.contains(&number) => {
                    kept.push(HERE);
                    (0..stage.width).for_each(|at| cells::put(&mut kept, rows.get(row, at)));
                }
                _ => kept.push(REMOVED),
            }
        }
        put(sql, stage, first, records, kept)?;
        while rest.next_if(|number| *number < first + records).is_some() {}
        // A number after this run is in none.
        rest.next_if_eq(&number);
    }
    Ok(())
}

/// Copies what waits in a stage to another one.
pub(crate) fn copy(sql: &mut dyn Sql, from: &Stage, to: &Stage) -> Result<()> {
    let insert = "INSERT INTO rowferry_staged (scope, stage, first, records, cells) \
                  SELECT ?1, ?2, first, records, cells FROM rowferry_staged WHERE scope = ?3 AND stage = ?4";
    let ([to, number], [from, original]) = (to.place(), from.place());
    sql.execute(insert, &[to, number, from, original]).map(|_| ())
}

/// Forgets the rows of one stage.
pub(crate) fn forget_one(sql: &mut dyn Sql, scope: &Scope, number: u32) -> Result<()> {
    let delete = "DELETE FROM rowferry_staged WHERE scope = ?1 AND stage = ?2";
    sql.execute(delete, &[scope.as_str().into(), i64::from(number).into()]).map(|_| ())
}

/// Forgets all stages of a pull.
pub(crate) fn forget(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    sql.execute("DELETE FROM rowferry_staged WHERE scope = ?1", &[scope.as_str().into()]).map(|_| ())
}
