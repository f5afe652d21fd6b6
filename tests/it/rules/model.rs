//! Rules against a model: random rows on both sides, with a chosen key, an age and a rule of each kind.

use std::collections::BTreeMap;

use super::of;
use crate::support::common::Fixture;
use crate::support::common::served::Sender;
use proptest::collection::btree_map;
use proptest::prelude::*;
use rowferry::{PullOptions, Record, Resolution, Strategy as Choice, ValueRef};

/// What a row has beside its keys: a value and an age.
type Row = (Option<i64>, Option<i64>);

/// The rows of a table by their chosen key, each with its primary key.
type Table = BTreeMap<i64, (i64, Row)>;

/// What the rule does with a row of this value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    None,
    Keep,
    Take,
    /// Adds the two values.
    Add,
    Fail,
}

#[derive(Clone, Debug)]
struct Case {
    there: Table,
    /// What the sender has when it is pulled again: other records may have the same primary keys, and the same ones others.
    later: Table,
    here: Table,
    strategy: Choice,
    by_age: bool,
    rule: Rule,
    is_circular: bool,
}

fn tables() -> impl Strategy<Value = Table> {
    let row = (prop::option::of(0..4i64), prop::option::of(0..3i64));
    // Primary keys in another order than the chosen ones, and each once.
    btree_map(0..30i64, (0..7i64, row), 0..20).prop_map(|rows| {
        let all = rows.into_iter().enumerate();
        all.map(|(at, (key, (shift, row)))| (key, ((at as i64 * 11 + shift) % 23 + 23 * (at as i64 / 23), row)))
            .collect::<Table>()
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let strategy = prop::sample::select(vec![Choice::Overwrite, Choice::Merge]);
    let rule = prop::sample::select(vec![Rule::None, Rule::None, Rule::Keep, Rule::Take, Rule::Add, Rule::Fail]);
    (tables(), tables(), tables(), strategy, any::<bool>(), rule, any::<bool>()).prop_map(
        |(there, later, here, strategy, by_age, rule, is_circular)| Case {
            there: distinct(there),
            later: distinct(later),
            here: distinct(here),
            strategy,
            by_age,
            rule,
            is_circular,
        },
    )
}

/// The same without rows whose primary keys others have.
fn distinct(table: Table) -> Table {
    let mut seen = std::collections::BTreeSet::new();
    table.into_iter().filter(|(_, (id, _))| seen.insert(*id)).collect()
}

fn schema(is_circular: bool) -> String {
    let up = if is_circular { ", up INTEGER REFERENCES t(id)" } else { "" };
    format!(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, k INT NOT NULL UNIQUE, v INT, at INT{up});
         CREATE TABLE child(k INTEGER PRIMARY KEY, t INTEGER NOT NULL REFERENCES t(id));"
    )
}

fn rows_of(table: &Table, is_circular: bool, has_children: bool) -> String {
    let mut sql = "PRAGMA foreign_keys = OFF; DELETE FROM child; DELETE FROM t;".to_owned();
    let text = |value: Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
    for (key, (id, (value, age))) in table {
        sql += &format!("INSERT INTO t(id, k, v, at) VALUES ({id}, {key}, {}, {});", text(*value), text(*age));
        if has_children {
            sql += &format!("INSERT INTO child VALUES ({key}, {id});");
        }
    }
    if is_circular && has_children {
        // Each refers to the one with the next primary key, or to the first.
        sql += "UPDATE t SET up = ifnull((SELECT min(id) FROM t n WHERE n.id > t.id), (SELECT min(id) FROM t));";
    }
    sql
}

/// What becomes of the rows when these come: created, updated, unchanged, skipped, failed.
fn expected(case: &Case, there: &Table, rows: &mut BTreeMap<i64, Row>) -> [u64; 5] {
    let mut counts = [0; 5];
    for (key, (_, (value, age))) in there {
        let Some(row) = rows.get_mut(key) else {
            rows.insert(*key, (*value, *age));
            counts[0] += 1;
            continue;
        };
        let taken = match case.strategy {
            Choice::Merge => (value.or(row.0), age.or(row.1)),
            _ => (*value, *age),
        };
        let sum = (Some(value.unwrap_or(0) + row.0.unwrap_or(0)), row.1);
        let at = match (case.rule, taken == *row) {
            (_, true) => 2,
            // NULL is less than any number to Rust, too.
            _ if case.by_age && *age <= row.1 => 3,
            (Rule::Keep, _) => 3,
            (Rule::Fail, _) => 4,
            (Rule::Add, _) if sum == *row => 2,
            (Rule::Add, _) => {
                *row = sum;
                1
            }
            (Rule::None | Rule::Take, _) => {
                *row = taken;
                1
            }
        };
        counts[at] += 1;
    }
    counts
}

fn value(row: &Record<'_>) -> i64 {
    match row.get("v") {
        Some(ValueRef::Integer(value)) => value,
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_become_what_the_rules_say(case in cases()) {
        // A row that refers to another one differs where that does, which the model does not know.
        let circular = case.is_circular && case.rule == Rule::None && !case.by_age;
        let sender = Sender::new(&schema(circular));
        let here = Fixture::new(&(schema(circular) + &rows_of(&case.here, circular, false)));
        let mut rows: BTreeMap<i64, Row> = case.here.iter().map(|(key, (_, row))| (*key, *row)).collect();
        let mut children: Vec<i64> = Vec::new();
        let text = |value: Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
        for there in [&case.there, &case.later] {
            sender.there.run(&rows_of(there, circular, true));
            let mut options = PullOptions::new().strategy(case.strategy).key("t", ["k"]).batch_size(7).table_strategy("child", Choice::Skip);
            if case.by_age {
                options = options.newer_by("at").table_strategy("child", Choice::Skip);
            }
            let rule = case.rule;
            if rule != Rule::None {
                options = options.on_conflict("t", move |local, incoming| match rule {
                    Rule::Keep => Resolution::Keep,
                    Rule::Add => Resolution::Merge(vec![("v".into(), (value(local) + value(incoming)).into())]),
                    Rule::Fail => Resolution::Fail("no".into()),
                    _ => Resolution::Take,
                });
            }
            let report = sender.pull(&here.site, options);
            let counts = expected(&case, there, &mut rows);
            let outcome = of(&report, "t");
            if !circular {
                let found = [outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed];
                prop_assert_eq!(found, counts, "{:?}", report);
            }
            let all: Vec<String> = rows.iter().map(|(key, (value, age))| format!("{key}|{}|{}", text(*value), text(*age))).collect();
            prop_assert_eq!(here.rows("SELECT k, v, at FROM t ORDER BY k"), all);
            // What refers to a record refers to the row that it is.
            children.extend(there.keys());
            children.sort_unstable();
            children.dedup();
            let all: Vec<String> = children.iter().map(|key| format!("{key}|{key}")).collect();
            prop_assert_eq!(here.rows("SELECT child.k, t.k FROM child JOIN t ON t.id = child.t ORDER BY 1"), all);
            if circular {
                let keys: Vec<String> = there.keys().map(i64::to_string).collect();
                let next = format!("SELECT t.k, n.k FROM t JOIN t n ON n.id = t.up WHERE t.k IN ({}) ORDER BY 1", keys.join(", "));
                prop_assert_eq!(here.rows(&next), sender.there.rows(&next));
            }
        }
    }
}
