//! Random tables of a small family, and rows for them: values and keys that meet often.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rowferry::Value;

use super::{Affinity, Column, Record, Row, Table};

fn texts() -> impl Strategy<Value = Value> {
    let odd: Vec<&[u8]> = vec![
        b"",
        b"007",
        b" 5 ",
        b"1e3",
        b"5",
        b"5.0",
        b"13",
        b"2024-05-06",
        "é".as_bytes(),
        "É".as_bytes(),
        b"\xff",
        b"a\0b",
    ];
    prop_oneof![
        4 => select(vec!["a", "A", "b", "B", "c"]).prop_map(Value::from),
        1 => select(odd).prop_map(|text| Value::Text(text.to_vec())),
    ]
}

fn integers() -> impl Strategy<Value = Value> {
    let odd = vec![i64::MIN, i64::MAX, (1 << 53) + 1, -1];
    prop_oneof![8 => (0i64..8).prop_map(Value::from), 1 => Just(13.into()), 1 => select(odd).prop_map(Value::from)]
}

fn reals() -> impl Strategy<Value = Value> {
    let reals = vec![0.0, -0.0, 1.0, 1.5, 2.0, -2.5, 13.0, 9007199254740992.0, 1e300, f64::INFINITY, f64::NEG_INFINITY];
    prop_oneof![20 => select(reals).prop_map(Value::from), 1 => Just(Value::Real(f64::NAN))]
}

fn blobs() -> impl Strategy<Value = Value> {
    select(vec![&b""[..], b"a", b"\0\xff", b"0123456789abcdef"]).prop_map(|bytes| Value::Blob(bytes.to_vec()))
}

fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![integers(), reals(), texts(), blobs()]
}

fn suited(column: &Column) -> BoxedStrategy<Value> {
    match (column.affinity(), column.declared) {
        (Affinity::Integer, _) => integers().boxed(),
        (Affinity::Real, _) => reals().boxed(),
        (Affinity::Text, _) => texts().boxed(),
        (Affinity::Any, "BLOB") => prop_oneof![3 => blobs(), 1 => anything()].boxed(),
        (Affinity::Any, _) => anything().boxed(),
    }
}

/// Values of a key: few enough to meet, enough for a statement of many records.
fn key_values(column: &Column, of_many: bool) -> BoxedStrategy<Value> {
    let most = if of_many { 6i64 } else { 60 };
    let integers = (0..most).prop_map(Value::from);
    let text = move |n: i64| if n % 5 == 0 { format!("K{n}") } else { format!("k{n}") };
    let texts = prop_oneof![(0..most).prop_map(text), (0..most).prop_map(|n| format!("k{n}"))].prop_map(Value::from);
    match column.affinity() {
        Affinity::Integer => prop_oneof![6 => integers, 1 => suited(column)].boxed(),
        Affinity::Text => prop_oneof![6 => texts, 1 => suited(column)].boxed(),
        _ => {
            prop_oneof![2 => integers, 2 => texts, 1 => (0..9i64).prop_map(|n| Value::Real(n as f64 / 2.0)), 1 => anything()]
                .boxed()
        }
    }
}

/// A value for each column.
pub fn rows(table: &Table) -> impl Strategy<Value = Row> + use<> {
    let value = |(at, column): (usize, &Column)| match table.key.contains(&at) {
        true => {
            let nulls = if table.has_nullable_key() { 12 } else { 1 };
            let good = key_values(column, table.key.len() > 1);
            prop_oneof![100 => good, nulls => Just(Value::Null), 1 => anything()].boxed()
        }
        false => prop_oneof![24 => suited(column), 3 => Just(Value::Null), 1 => anything()].boxed(),
    };
    table.columns.iter().enumerate().map(value).collect::<Vec<_>>()
}

/// A record in the making: a copy of a local row with at most one change, or a row of its own.
#[derive(Clone, Debug)]
pub struct Draft {
    copied: Option<Index>,
    changed: Option<Index>,
    row: Row,
    absent: Option<Index>,
}

pub fn drafts(table: &Table, may_lack_columns: bool) -> impl Strategy<Value = Draft> + use<> {
    let index = any::<Index>;
    let absent = proptest::option::weighted(0.1, index()).prop_map(move |at| at.filter(|_| may_lack_columns));
    (proptest::option::of(index()), proptest::option::of(index()), rows(table), absent)
        .prop_map(|(copied, changed, row, absent)| Draft { copied, changed, row, absent })
}

impl Draft {
    /// The record, in these columns of the table.
    pub fn record(&self, local: &[Row], columns: &[usize]) -> Record {
        let mut row = self.row.clone();
        if let (Some(copied), false) = (&self.copied, local.is_empty()) {
            row = copied.get(local).clone();
            if let Some(changed) = &self.changed {
                let at = changed.index(row.len());
                row[at] = self.row[at].clone();
            }
        }
        let mut record: Record = columns.iter().map(|at| Some(row[*at].clone())).collect();
        if let Some(absent) = &self.absent {
            let at = absent.index(record.len());
            record[at] = None;
        }
        record
    }
}

const TYPES: [&str; 7] = ["INT", "TEXT", "REAL", "NUMERIC", "BLOB", "ANY", "TEXT"];

/// Tables of every kind of key, with up to five more columns.
pub fn tables() -> impl Strategy<Value = Table> {
    let plain = |name: &str, declared| Column {
        name: name.to_owned(),
        declared,
        not_null: false,
        check: false,
        nocase: false,
        unique: false,
        default: false,
    };
    let key = move |kind: u8| {
        let not_null = |mut column: Column| {
            column.not_null = true;
            column
        };
        let nocase = |mut column: Column| {
            column.nocase = true;
            column
        };
        match kind {
            0 => vec![plain("id", "INTEGER")],
            1 => vec![plain("id", "INT")],
            2 => vec![plain("id", "TEXT")],
            3 => vec![not_null(plain("id", "TEXT"))],
            4 => vec![not_null(nocase(plain("id", "TEXT")))],
            5 => vec![plain("a", "INT"), plain("b", "TEXT")],
            6 => vec![not_null(plain("a", "INT")), not_null(nocase(plain("b", "TEXT")))],
            7 => vec![plain("id", "ANY")],
            8 => vec![plain("id", "INTEGER DESC")],
            9 => vec![plain("rowid", "REAL")],
            _ => Vec::new(),
        }
    };
    let other = (select(TYPES.to_vec()), any::<[bool; 2]>(), 0..12u8);
    (0..13u8, vec(other, 0..5), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        move |(kind, others, strict, without_rowid, primary, reversed)| {
            let mut columns = key(kind);
            let mut key: Vec<usize> = (0..columns.len()).collect();
            if reversed {
                key.reverse();
            }
            // A unique set is a key only where its columns are NOT NULL.
            let primary = key.is_empty() || primary || columns.iter().any(|column| !column.not_null);
            for (at, (declared, [default, rest], what)) in others.into_iter().enumerate() {
                let mut column = plain(&format!("c{at}"), declared);
                column.default = default && rest;
                match what {
                    // Not both: it would be a key where there is no other.
                    0 | 1 => column.not_null = true,
                    2 => column.unique = true,
                    3 => column.check = true,
                    4 | 5 => column.nocase = true,
                    6 => (column.unique, column.nocase) = (true, declared == "TEXT"),
                    _ => {}
                }
                column.check &= column.affinity() != Affinity::Text;
                columns.push(column);
            }
            if columns.is_empty() {
                columns.push(plain("c0", "ANY"));
            }
            for column in &mut columns {
                match column.declared {
                    "NUMERIC" if strict => column.declared = "INTEGER",
                    // Outside of STRICT tables ANY is a number: no type there keeps all.
                    "ANY" if !strict => column.declared = "",
                    _ => {}
                }
                if strict && column.declared != "ANY" && column.affinity() == Affinity::Any {
                    column.declared = "BLOB";
                }
                // The default must suit it.
                column.default &= !(strict && column.declared == "BLOB");
            }
            let without_rowid = without_rowid && primary && !key.is_empty();
            Table { columns, key, primary, strict, without_rowid }
        },
    )
}
