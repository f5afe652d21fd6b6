//! A model of a table and of what an import does to it, after the strategy table of the design: rows in a `Vec`, one record
//! after the other, no SQL but for making the table.

pub mod make;
pub mod moves;
pub mod sql;

use std::cmp::Ordering;

use rowferry::{Outcome, Strategy, Value};

pub type Row = Vec<Value>;
/// A record: `None` stands for a column that it lacks.
pub type Record = Vec<Option<Value>>;

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub declared: &'static str,
    pub not_null: bool,
    /// Has `CHECK (c IS NOT 13)`.
    pub check: bool,
    pub nocase: bool,
    pub unique: bool,
    pub default: bool,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub columns: Vec<Column>,
    /// Positions; empty for a table without a key.
    pub key: Vec<usize>,
    /// Whether the key is the primary key; a unique set of NOT NULL columns otherwise.
    pub primary: bool,
    pub strict: bool,
    pub without_rowid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Affinity {
    Any,
    Integer,
    Real,
    Text,
}

impl Column {
    pub fn affinity(&self) -> Affinity {
        match self.declared {
            "INT" | "INTEGER" | "INTEGER DESC" | "NUMERIC" => Affinity::Integer,
            "REAL" => Affinity::Real,
            "TEXT" => Affinity::Text,
            _ => Affinity::Any,
        }
    }
}

impl Table {
    pub fn sql(&self, name: &str) -> String {
        let mut parts = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let alone = self.key == [at];
            let (declared, descending) = column.declared.split_once(' ').unwrap_or((column.declared, ""));
            let mut part = format!("\"{}\" {declared}", column.name);
            for (set, words) in [
                (alone && self.primary, format!(" PRIMARY KEY {descending}")),
                (alone && !self.primary || column.unique, " UNIQUE".into()),
                (column.not_null, " NOT NULL".into()),
                (column.nocase, " COLLATE NOCASE".into()),
                (column.check, format!(" CHECK (\"{}\" IS NOT 13)", column.name)),
                (column.default, if column.affinity() == Affinity::Text { " DEFAULT 'd'" } else { " DEFAULT 7" }.into()),
            ] {
                part += if set { &words } else { "" };
            }
            parts.push(part);
        }
        if self.key.len() > 1 {
            let names: Vec<_> = self.key.iter().map(|at| format!("\"{}\"", self.columns[*at].name)).collect();
            let words = if self.primary { "PRIMARY KEY" } else { "UNIQUE" };
            parts.push(format!("{words} ({})", names.join(", ")));
        }
        let mut options = vec![];
        options.extend(self.strict.then_some("STRICT"));
        options.extend(self.without_rowid.then_some("WITHOUT ROWID"));
        format!("CREATE TABLE \"{name}\" ({}) {};", parts.join(", "), options.join(", "))
    }

    /// Whether the column is the rowid: it refuses all but integers.
    fn is_rowid(&self, at: usize) -> bool {
        self.primary && self.key == [at] && !self.without_rowid && self.columns[at].declared == "INTEGER"
    }

    /// Whether NULL is refused in the column.
    fn refuses_null(&self, at: usize) -> bool {
        let implied = self.strict || self.without_rowid || self.is_rowid(at);
        self.columns[at].not_null || (self.primary && self.key.contains(&at) && implied)
    }

    pub fn has_nullable_key(&self) -> bool {
        self.key.iter().any(|at| !self.refuses_null(*at))
    }

    fn default(&self, at: usize) -> Value {
        match (self.columns[at].default, self.columns[at].affinity()) {
            (false, _) => Value::Null,
            (true, Affinity::Text) => "d".into(),
            (true, Affinity::Real) => 7.0.into(),
            (true, _) => 7.into(),
        }
    }

    /// The value as the column stores it; `None` if it would change it or refuses it.
    pub fn stored(&self, at: usize, value: &Value) -> Option<Value> {
        let column = &self.columns[at];
        let strict = (self.strict && column.declared != "ANY") || self.is_rowid(at);
        let unsuited = || (!strict).then(|| value.clone());
        match (column.affinity(), value) {
            (_, Value::Null) => Some(Value::Null),
            (_, Value::Real(v)) if v.is_nan() => None,
            (Affinity::Any, Value::Blob(_)) | (Affinity::Text, Value::Text(_)) => Some(value.clone()),
            (Affinity::Any, _) | (_, Value::Blob(_)) => unsuited(),
            (Affinity::Text, _) => None,
            (_, Value::Text(text)) => unsuited().filter(|_| !is_numeric(text)),
            (Affinity::Integer, Value::Integer(_)) => Some(value.clone()),
            // What no integer of 64 bits is stays a double.
            (Affinity::Integer, Value::Real(v)) if v.fract() == 0.0 && v.abs() < 9e18 => Some((*v as i64).into()),
            (Affinity::Integer, Value::Real(_)) => unsuited(),
            (Affinity::Real, Value::Real(v)) => Some((if *v == 0.0 { 0.0 } else { *v }).into()),
            (Affinity::Real, Value::Integer(v)) => (*v as f64 as i128 == i128::from(*v)).then_some(Value::Real(*v as f64)),
        }
    }

    /// The order of two values in a column, as SQLite has it.
    pub fn order(&self, at: usize, left: &Value, right: &Value) -> Ordering {
        match (left, right) {
            (Value::Text(left), Value::Text(right)) if self.columns[at].nocase => {
                left.to_ascii_lowercase().cmp(&right.to_ascii_lowercase())
            }
            _ => order(left, right),
        }
    }

    pub fn key_order(&self, left: &[Value], right: &[Value]) -> Ordering {
        let orders = self.key.iter().map(|at| self.order(*at, &left[*at], &right[*at]));
        orders.fold(Ordering::Equal, Ordering::then)
    }

    /// The rows in the order in which pages give them: those with NULL in their key first, as they were inserted, then by key.
    pub fn ordered(&self, rows: &[Row]) -> Vec<Row> {
        let mut rows = rows.to_vec();
        rows.sort_by(|left, right| match (self.key_has_null(left), self.key_has_null(right)) {
            (false, false) => self.key_order(left, right),
            (left, right) => right.cmp(&left),
        });
        rows
    }

    pub fn key_has_null(&self, row: &[Value]) -> bool {
        self.key.iter().any(|at| row[*at].is_null())
    }
}

/// The texts among the tests' values that look like numbers to SQLite.
fn is_numeric(text: &[u8]) -> bool {
    matches!(text, b"007" | b" 5 " | b"1e3" | b"5" | b"5.0" | b"13")
}

/// NULL, numbers by value, text, blobs; and NaN, which is never stored.
pub fn order(left: &Value, right: &Value) -> Ordering {
    let class = |value: &Value| match value {
        Value::Null => 0,
        Value::Real(v) if v.is_nan() => 4,
        Value::Integer(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    };
    // An integer beside a double: each as its whole part (what is too large ends at the ends of i128) and its fraction.
    let parts = |value: &Value| match value {
        Value::Integer(v) => (i128::from(*v), 0.0),
        Value::Real(v) => (v.floor() as i128, if v.is_finite() { v - v.floor() } else { 0.0 }),
        _ => (0, 0.0),
    };
    class(left).cmp(&class(right)).then_with(|| match (left, right) {
        (Value::Text(left), Value::Text(right)) | (Value::Blob(left), Value::Blob(right)) => left.cmp(right),
        (Value::Real(left), Value::Real(right)) if left == right => Ordering::Equal,
        (Value::Real(left), Value::Real(right)) => left.total_cmp(right),
        _ => {
            let (left, right) = (parts(left), parts(right));
            left.0.cmp(&right.0).then(left.1.total_cmp(&right.1))
        }
    })
}

/// The same storage class and bits.
pub fn same(left: &Value, right: &Value) -> bool {
    left.as_ref().same(right.as_ref())
}

/// A row as text that differs where rows are not the same.
pub fn show(row: &[Value]) -> String {
    let cell = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(v) => v.to_string(),
        Value::Real(v) => format!("{v:?}"),
        Value::Text(v) => format!("'{}'", v.escape_ascii()),
        Value::Blob(v) => format!("x'{}'", v.escape_ascii()),
    };
    row.iter().map(cell).collect::<Vec<_>>().join("|")
}

pub fn sorted(rows: &[Row]) -> Vec<String> {
    let mut rows: Vec<_> = rows.iter().map(|row| show(row)).collect();
    rows.sort();
    rows
}

/// Counts, and the reason of each failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub skipped: u64,
    pub failed: u64,
    /// Sorted.
    pub reasons: Vec<&'static str>,
}

impl Counts {
    /// Those of an outcome. Why a value does not fit is one reason here.
    pub fn of(outcome: &Outcome) -> Counts {
        let reason = |code| if code == "wrong_type" { "value_would_change" } else { code };
        let mut reasons: Vec<_> = outcome.failures.iter().map(|failure| reason(failure.reason.code())).collect();
        reasons.sort_unstable();
        let Outcome { created, updated, unchanged, skipped, failed, .. } = *outcome;
        Counts { created, updated, unchanged, skipped, failed, reasons }
    }
}

#[derive(Clone, Debug)]
pub struct Model {
    pub table: Table,
    pub rows: Vec<Row>,
    /// The keys of records that have other keys here: theirs, and those of their rows.
    pub key_map: Vec<(Vec<Value>, Vec<Value>)>,
    /// Whether records come from a sender, so that they are all that there is.
    pub has_sender: bool,
}

impl Model {
    pub fn new(table: Table) -> Self {
        Model { table, rows: Vec::new(), key_map: Vec::new(), has_sender: false }
    }

    /// Puts a row in if it may be there.
    pub fn insert(&mut self, row: &[Value]) -> bool {
        let stored: Option<Row> = row.iter().enumerate().map(|(at, value)| self.table.stored(at, value)).collect();
        stored.is_some_and(|row| self.write(row, None).is_ok())
    }

    /// Imports records, which have these columns of the table.
    pub fn import(&mut self, strategy: Strategy, columns: &[usize], records: &[Record]) -> Counts {
        let mut counts = Counts::default();
        let mut results: Vec<Result<Done, &'static str>> = Vec::new();
        // Records without a whole key are compared with all such rows, when all others are through.
        let mut late: Vec<Record> = Vec::new();
        // Those that another row keeps out are tried again before that.
        let mut waiting: Vec<moves::Waiting> = Vec::new();
        let mut received = moves::Received::new(self);
        for record in records {
            let mut whole: Record = vec![None; self.table.columns.len()];
            columns.iter().zip(record).for_each(|(at, value)| whole[*at] = value.clone());
            let is_anothers = self.translate(&mut whole);
            let key = |is: fn(&Option<Value>) -> bool| self.table.key.iter().any(|at| is(&whole[*at]));
            if !(self.table.has_nullable_key() && key(|v| v == &Some(Value::Null))) {
                received.add(&self.table, &whole);
            }
            if is_anothers {
                results.push(Err("duplicate_key"));
                received.is_exact = false;
            } else if key(Option::is_none) || (key(|v| v == &Some(Value::Null)) && !self.table.has_nullable_key()) {
                results.push(Err("missing_key"));
            } else if self.table.key.is_empty() || key(|v| v == &Some(Value::Null)) {
                late.push(whole);
            } else {
                let became = self.keyed(strategy, &whole);
                match became {
                    Err("unique_conflict") => {
                        let key = self.table.key.iter().map(|at| whole[*at].clone().unwrap_or_default());
                        let fitted = key.zip(&self.table.key).map(|(value, at)| self.table.stored(*at, &value).unwrap());
                        let mut row = vec![Value::Null; whole.len()];
                        self.table.key.iter().zip(fitted).for_each(|(at, value)| row[*at] = value);
                        let row = self.place(&row).map_or(row, |place| self.rows[place].clone());
                        waiting.push((whole, self.table.key.iter().map(|at| row[*at].clone()).collect()));
                    }
                    became => results.push(became),
                }
            }
        }
        results.extend(self.settle(strategy, waiting, &received));
        let is_late = |row: &&Row| self.table.key.is_empty() || self.table.key_has_null(row);
        let content = |row: &Row| show(&columns.iter().map(|at| row[*at].clone()).collect::<Row>());
        let mut here: Vec<String> = self.rows.iter().filter(is_late).map(content).collect();
        results.extend(late.iter().map(|record| self.whole(strategy, columns, record, &mut here)));
        for result in results {
            match result {
                Ok(Done::Created) => counts.created += 1,
                Ok(Done::Updated) => counts.updated += 1,
                Ok(Done::Unchanged) => counts.unchanged += 1,
                Ok(Done::Skipped) => counts.skipped += 1,
                Err(reason) => {
                    counts.failed += 1;
                    counts.reasons.push(reason);
                }
            }
        }
        counts.reasons.sort_unstable();
        counts
    }

    fn keyed(&mut self, strategy: Strategy, record: &Record) -> Result<Done, &'static str> {
        const MISFIT: &str = "value_would_change";
        let fitted = |at: usize| match &record[at] {
            None => Some(None),
            Some(value) => self.table.stored(at, value).map(Some),
        };
        let key: Option<Vec<Value>> = self.table.key.iter().map(|at| fitted(*at).flatten()).collect();
        let key = key.ok_or(MISFIT)?;
        let is_this =
            |row: &Row| self.table.key.iter().zip(&key).all(|(at, value)| self.table.order(*at, &row[*at], value).is_eq());
        let existing = self.rows.iter().position(is_this);
        if existing.is_some() && strategy == Strategy::Skip {
            return Ok(Done::Skipped);
        }
        let record: Record = (0..record.len()).map(fitted).collect::<Option<_>>().ok_or(MISFIT)?;
        let Some(existing) = existing else { return self.create(&record) };
        let mut row = self.rows[existing].clone();
        let taken = |value: &&Value| !(strategy == Strategy::Merge && value.is_null());
        for (cell, value) in row.iter_mut().zip(&record) {
            if let Some(value) = value.as_ref().filter(taken) {
                *cell = value.clone();
            }
        }
        if row.iter().zip(&self.rows[existing]).all(|(new, old)| same(new, old)) {
            return Ok(Done::Unchanged);
        }
        self.write(row, Some(existing)).map(|()| Done::Updated)
    }

    fn whole(
        &mut self,
        strategy: Strategy,
        columns: &[usize],
        record: &Record,
        here: &mut Vec<String>,
    ) -> Result<Done, &'static str> {
        let fitted = |at: usize| record[at].as_ref().map(|value| self.table.stored(at, value));
        let record: Record = (0..record.len())
            .map(|at| fitted(at).map_or(Ok(None), |stored| stored.map(Some).ok_or("value_would_change")))
            .collect::<Result<_, _>>()?;
        let content: Option<Row> = columns.iter().map(|at| record[*at].clone()).collect();
        let copy = content.and_then(|content| here.iter().position(|row| *row == show(&content)));
        match (copy, strategy) {
            (None, _) => self.create(&record),
            (Some(copy), strategy) => {
                here.swap_remove(copy);
                Ok(if strategy == Strategy::Skip { Done::Skipped } else { Done::Unchanged })
            }
        }
    }

    fn create(&mut self, record: &Record) -> Result<Done, &'static str> {
        let cells = record.iter().enumerate();
        let row = cells.map(|(at, value)| value.clone().unwrap_or_else(|| self.table.default(at))).collect();
        self.write(row, None).map(|()| Done::Created)
    }

    /// Puts a row in the place of another one, or adds it, unless a constraint is against it.
    fn write(&mut self, row: Row, place: Option<usize>) -> Result<(), &'static str> {
        let table = &self.table;
        let columns = || 0..row.len();
        if columns().any(|at| row[at].is_null() && table.refuses_null(at)) {
            return Err("not_null");
        }
        if columns().any(|at| table.columns[at].check && order(&row[at], &13.into()).is_eq()) {
            return Err("check");
        }
        let sets = columns().filter(|at| table.columns[*at].unique).map(|at| vec![at]).chain([table.key.clone()]);
        for set in sets.filter(|set| !set.is_empty() && set.iter().all(|at| !row[*at].is_null())) {
            let others = self.rows.iter().enumerate().filter(|(at, _)| Some(*at) != place);
            let clashes = |other: &Row| set.iter().all(|at| table.order(*at, &other[*at], &row[*at]).is_eq());
            if others.map(|(_, other)| other).any(clashes) {
                return Err("unique_conflict");
            }
        }
        match place {
            Some(place) => self.rows[place] = row,
            None => self.rows.push(row),
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Done {
    Created,
    Updated,
    Unchanged,
    Skipped,
}
