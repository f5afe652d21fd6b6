//! A pull between two sites in memory, of any rows and by any strategy, against a model that says what must be here afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Choices;
use crate::domain::schema::{Column, ForeignKey, LogicalType, TableSchema};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Records, Value, ValueRef};
use crate::limits::Limits;
use crate::store::MemoryStore;
use crate::{Auth, Client, ConnectOptions, Direction, Outcome, PullOptions, Site, SiteKey};

/// Rows at most on either side: enough for several pages of some rows each.
const MOST_ROWS: usize = 60;

/// What is pulled.
#[derive(Debug, Clone)]
pub struct Case {
    kind: Kind,
    strategy: Strategy,
    /// Columns beside the key and the reference.
    columns: usize,
    there: Vec<Row>,
    here: Vec<Row>,
    page_records: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// An integer key.
    Integer,
    /// A text key.
    Text,
    /// No key: rows are told apart by their content.
    None,
    /// An integer key, and a column that refers to it.
    Tree,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    key: i64,
    up: Option<i64>,
    values: Vec<Value>,
}

impl Choices<'_> {
    fn value(&mut self) -> Value {
        match self.below(10) {
            0 | 1 => Value::Null,
            2 => Value::Integer(1),
            3 => Value::Integer(i64::MIN),
            4 => Value::Real(1.0),
            5 => Value::Real(-0.0),
            6 => "a".into(),
            7 => Value::Text(b"\xff\0".to_vec()),
            8 => Value::Blob(b"a".to_vec()),
            _ => Value::Blob(Vec::new()),
        }
    }

    fn rows(&mut self, kind: Kind, columns: usize, is_whole: bool) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for _ in 0..usize::from(self.below(MOST_ROWS as u8)) {
            let key = i64::from(self.below(40)) + 1;
            let up = (kind == Kind::Tree && self.below(3) > 0).then(|| i64::from(self.below(44)) + 1);
            let values = (0..columns).map(|_| self.value()).collect();
            if kind == Kind::None || rows.iter().all(|row| row.key != key) {
                rows.push(Row { key, up, values });
            }
        }
        if is_whole {
            // A site whose references are checked has no row that refers to nothing.
            let keys: BTreeSet<i64> = rows.iter().map(|row| row.key).collect();
            rows.iter_mut().for_each(|row| row.up = row.up.filter(|up| keys.contains(up)));
        }
        rows
    }
}

impl Case {
    fn read(bytes: &[u8]) -> Self {
        let mut choices = Choices(bytes);
        let kind = [Kind::Integer, Kind::Text, Kind::None, Kind::Tree][usize::from(choices.below(4))];
        let strategy = Strategy::ALL[usize::from(choices.below(4))];
        let columns = usize::from(choices.below(3)) + 1;
        let page_records = [1, 7, 500][usize::from(choices.below(3))];
        let there = choices.rows(kind, columns, false);
        let here = choices.rows(kind, columns, true);
        Case { kind, strategy, columns, there, here, page_records }
    }

    fn table(&self, with_reference: bool) -> TableSchema {
        let column = |name: String, logical, nullable| Column { name, logical, nullable, ..Column::default() };
        let mut table = TableSchema { name: "t".into(), ..TableSchema::default() };
        let key = if self.kind == Kind::Text { LogicalType::Text } else { LogicalType::Integer };
        if self.kind != Kind::None {
            table.columns.push(Column { declared_type: declared(&key).into(), ..column("id".into(), key, false) });
            table.primary_key = vec!["id".into()];
            table.rowid_alias = self.kind != Kind::Text;
        }
        if self.kind == Kind::Tree {
            table
                .columns
                .push(Column { declared_type: "INTEGER".into(), ..column("up".into(), LogicalType::Integer, true) });
            if with_reference {
                let up = ForeignKey { columns: vec!["up".into()], parent: "t".into(), ..ForeignKey::default() };
                table.foreign_keys = vec![ForeignKey { parent_columns: vec!["id".into()], ..up }];
            }
        }
        table.columns.extend((0..self.columns).map(|at| column(format!("v{at}"), LogicalType::Any, true)));
        table
    }

    /// The rows with new integer keys counted from 1: which numbers a record gets is not said where others fail.
    fn ranked(&self, mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
        if self.strategy != Strategy::Append || !matches!(self.kind, Kind::Integer | Kind::Tree) {
            return rows;
        }
        let last = self.here.iter().map(|row| row.key).max().unwrap_or(0);
        let new: BTreeSet<i64> = rows.iter().filter_map(|row| row[0].as_integer()).filter(|key| *key > last).collect();
        let rank = |value: &mut Value| {
            if let Some(rank) = value.as_integer().and_then(|key| new.iter().position(|new| *new == key)) {
                *value = format!("new {rank}").into();
            }
        };
        let numbers = if self.kind == Kind::Tree { 2 } else { 1 };
        rows.iter_mut().for_each(|row| row[..numbers].iter_mut().for_each(rank));
        rows
    }

    fn cells(&self, row: &Row) -> Vec<Value> {
        let key = match self.kind {
            Kind::None => None,
            Kind::Text => Some(format!("k{:02}", row.key).into()),
            Kind::Integer | Kind::Tree => Some(row.key.into()),
        };
        let up = (self.kind == Kind::Tree).then(|| row.up.into());
        key.into_iter().chain(up).chain(row.values.iter().cloned()).collect()
    }
}

fn declared(logical: &LogicalType) -> &'static str {
    if *logical == LogicalType::Text { "TEXT" } else { "INTEGER" }
}

/// Reads a case, pulls, and compares.
pub fn pull(bytes: &[u8]) {
    let case = Case::read(bytes);
    let site = |rows: &[Row], with_reference| {
        let store = MemoryStore::open(&Limits::default()).expect("memory can be had");
        let site = Site::builder().key(SiteKey::from_bytes([7; 32])).with_store(Arc::new(store));
        let table = case.table(with_reference);
        assert_eq!(site.create_table(&table).expect("the table can be made"), Vec::<String>::new());
        let mut records = Records::new(table.columns.iter().map(|column| column.name.clone()));
        rows.iter().for_each(|row| records.push(case.cells(row)));
        let filled = site.import_records("t", &records, PullOptions::new()).expect("rows can be imported");
        assert_eq!(filled.outcome.created, rows.len() as u64, "{:?}", filled.outcome);
        site
    };
    // The sender does not check its references: some refer to nothing.
    let (there, here) = (site(&case.there, false), site(&case.here, true));
    let session = there.sessions().create(Direction::Send).expect("a code can be made");
    let client = Client::link(&there, Auth::code(session.code()), ConnectOptions::default()).expect("the link holds");
    let options = PullOptions::new().strategy(case.strategy).batch_size(case.page_records);
    let report = client.pull_table(&here, "t", options).expect("the table can be pulled");
    let (expected, counts) = model(&case);
    assert_eq!(counts_of(&report.outcome), counts, "{case:?}: {:?}", report.outcome.failures);
    let expected = expected.iter().map(|row| case.cells(row)).collect();
    assert_eq!(sorted(case.ranked(contents(&here))), sorted(case.ranked(expected)), "{case:?}");
}

/// Created, updated, unchanged, skipped, failed.
type Counts = [u64; 5];

fn counts_of(outcome: &Outcome) -> Counts {
    [outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed]
}

fn contents(site: &Site) -> Vec<Vec<Value>> {
    let records = site.export_records("t", 0, 1_000).expect("rows can be read");
    let owned = |row| records.rows.row(row).map(|value| value.map_or(Value::Null, ValueRef::to_owned)).collect();
    (0..records.rows.len()).map(owned).collect()
}

/// Rows as texts that tell storage classes and bits apart, in any order.
fn sorted(rows: Vec<Vec<Value>>) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(|row| text(row)).collect();
    rows.sort();
    rows
}

fn text(row: &[Value]) -> String {
    row.iter().map(|value| format!("{}:{value:?}", value.as_ref().class())).collect::<Vec<_>>().join("|")
}

/// What must be here afterwards, and what must have become of the records.
fn model(case: &Case) -> (Vec<Row>, Counts) {
    match (case.kind, case.strategy) {
        (Kind::None, Strategy::Append) => {
            let rows = case.here.iter().chain(&case.there).cloned().collect();
            (rows, [case.there.len() as u64, 0, 0, 0, 0])
        }
        (Kind::None, strategy) => multiset(case, strategy),
        (_, Strategy::Append) => append(case),
        _ => keyed(case),
    }
}

fn multiset(case: &Case, strategy: Strategy) -> (Vec<Row>, Counts) {
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    case.here.iter().for_each(|row| *left.entry(text(&row.values)).or_default() += 1);
    let (mut rows, mut found) = (case.here.clone(), 0);
    for row in &case.there {
        match left.get_mut(&text(&row.values)).filter(|copies| **copies > 0) {
            Some(copies) => {
                *copies -= 1;
                found += 1;
            }
            None => rows.push(row.clone()),
        }
    }
    let created = (rows.len() - case.here.len()) as u64;
    match strategy {
        Strategy::Skip => (rows, [created, 0, 0, found, 0]),
        _ => (rows, [created, 0, found, 0, 0]),
    }
}

/// What a record makes of the row that has its key, if there is one.
fn changed(strategy: Strategy, old: Option<&Row>, new: &Row) -> Row {
    match (strategy, old) {
        (_, None) => new.clone(),
        (Strategy::Skip | Strategy::Append, Some(old)) => old.clone(),
        (Strategy::Overwrite, Some(_)) => new.clone(),
        (Strategy::Merge, Some(old)) => Row {
            key: old.key,
            up: new.up.or(old.up),
            values: old
                .values
                .iter()
                .zip(&new.values)
                .map(|(old, new)| if new.is_null() { old } else { new }.clone())
                .collect(),
        },
    }
}

fn keyed(case: &Case) -> (Vec<Row>, Counts) {
    let before: BTreeMap<i64, &Row> = case.here.iter().map(|row| (row.key, row)).collect();
    let mut good: BTreeMap<i64, &Row> = case.there.iter().map(|row| (row.key, row)).collect();
    // Records fall whose row would refer to nothing, and with them those that refer to their rows.
    loop {
        let is_there = |up: &i64| before.contains_key(up) || good.contains_key(up);
        let falls = |row: &Row| {
            let old = before.get(&row.key).copied();
            let now = changed(case.strategy, old, row);
            old.is_none_or(|old| old.up != now.up) && !now.up.iter().all(is_there)
        };
        let fallen: Vec<i64> = good.values().filter(|row| falls(row)).map(|row| row.key).collect();
        if fallen.is_empty() {
            break;
        }
        fallen.iter().for_each(|key| _ = good.remove(key));
    }
    let failed = (case.there.len() - good.len()) as u64;
    let mut counts = [0, 0, 0, 0, failed];
    let mut after: BTreeMap<i64, Row> = before.iter().map(|(key, row)| (*key, (*row).clone())).collect();
    for (key, row) in good {
        let old = before.get(&key).copied();
        let now = changed(case.strategy, old, row);
        let same = |old: &Row| text(&case.cells(old)) == text(&case.cells(&now));
        let became = match old {
            None => 0,
            Some(_) if case.strategy == Strategy::Skip => 3,
            Some(old) => 1 + usize::from(same(old)),
        };
        counts[became] += 1;
        after.insert(key, now);
    }
    (after.into_values().collect(), counts)
}

fn append(case: &Case) -> (Vec<Row>, Counts) {
    let mut rows = case.here.clone();
    let mut there = case.there.clone();
    there.sort_by_key(|row| row.key);
    if case.kind == Kind::Text {
        // Such a key is kept if it is free.
        let taken: BTreeSet<i64> = rows.iter().map(|row| row.key).collect();
        let free: Vec<Row> = there.iter().filter(|row| !taken.contains(&row.key)).cloned().collect();
        let counts = [free.len() as u64, 0, 0, 0, (there.len() - free.len()) as u64];
        rows.extend(free);
        return (rows, counts);
    }
    // Records refer to records: one without its parent falls, and with it those that refer to it.
    let all = there.len();
    loop {
        let keys: BTreeSet<i64> = there.iter().map(|row| row.key).collect();
        let before = there.len();
        there.retain(|row| row.up.is_none_or(|up| keys.contains(&up)));
        if there.len() == before {
            break;
        }
    }
    let last = rows.iter().map(|row| row.key).max().unwrap_or(0);
    let new: BTreeMap<i64, i64> = there.iter().map(|row| row.key).zip(last + 1..).collect();
    let counts = [there.len() as u64, 0, 0, 0, (all - there.len()) as u64];
    rows.extend(there.into_iter().map(|row| Row { key: new[&row.key], up: row.up.map(|up| new[&up]), ..row }));
    (rows, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn a_pull_in_memory_does_what_the_model_says(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            pull(&bytes);
        }
    }
}
