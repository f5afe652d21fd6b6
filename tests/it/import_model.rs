//! Imports against a model: random tables, rows and records, each strategy, on each path that rows may take.

use crate::support::common::Fixture;
use crate::support::model::make::{Draft, drafts, rows, tables};
use crate::support::model::sql::{fill, read};
use crate::support::model::{Column, Counts, Model, Record, Row, Table, sorted};
use proptest::collection::vec;
use proptest::prelude::*;
use rowferry::{Limits, PullOptions, Records, Site, Strategy as Choice, Value};

#[derive(Debug)]
struct Case {
    table: Table,
    local: Vec<Row>,
    columns: Vec<usize>,
    records: Vec<Record>,
    strategy: Choice,
    commit_rows: usize,
    batch_size: u32,
}

#[derive(Clone, Debug)]
struct Cut {
    commit_rows: usize,
    batch_size: u32,
}

fn cuts() -> impl Strategy<Value = Cut> {
    (prop_oneof![1 => 1..5usize, 4 => 5..200usize], 1..60u32)
        .prop_map(|(commit_rows, batch_size)| Cut { commit_rows, batch_size })
}

fn cases(may_lack_columns: bool, strategies: &'static [Choice]) -> impl Strategy<Value = Case> {
    let table = tables().prop_flat_map(move |table| {
        let (local, incoming) = (vec(rows(&table), 0..70), vec(drafts(&table, may_lack_columns), 0..150));
        (Just(table), local, incoming)
    });
    let shape = (any::<u16>(), any::<bool>(), any::<bool>());
    (table, shape, proptest::sample::select(strategies), cuts()).prop_map(
        |((table, local, incoming), (lacking, shuffled, in_order), strategy, cut)| {
            let mut model = Model::new(table);
            local.iter().for_each(|row| _ = model.insert(row));
            let Model { table, rows: local, .. } = model;
            // The key's columns are always among them; of the others a record may be without any.
            let is_there = |at: &usize| table.key.contains(at) || lacking & (0x11 << at) != 0;
            let mut columns: Vec<usize> = (0..table.columns.len()).filter(is_there).collect();
            if columns.is_empty() {
                columns.push(0);
            }
            if shuffled {
                columns.reverse();
            }
            let mut records: Vec<Record> = incoming.iter().map(|draft: &Draft| draft.record(&local, &columns)).collect();
            if in_order {
                let key = |record: &Record| -> Option<Row> {
                    let at = |column: &usize| columns.iter().position(|at| at == column);
                    table.key.iter().map(|column| record[at(column)?].clone()).collect()
                };
                let order = |left: &Record, right: &Record| match (key(left), key(right)) {
                    (Some(left), Some(right)) => {
                        let pairs = table.key.iter().zip(left.iter().zip(&right));
                        pairs.fold(std::cmp::Ordering::Equal, |order, (at, (l, r))| order.then(table.order(*at, l, r)))
                    }
                    (left, right) => left.is_some().cmp(&right.is_some()),
                };
                records.sort_by(order);
            }
            let Cut { commit_rows, batch_size } = cut;
            Case { table, local, columns, records, strategy, commit_rows, batch_size }
        },
    )
}

/// The table three times, in a site that commits as often as the case says: as it is (`t`), with a trigger that does nothing,
/// so that records are looked up one by one (`careful`), and with a reference to itself, so that they are staged (`staged`).
struct World {
    fixture: Fixture,
    site: Site,
}

const TABLES: [&str; 3] = ["t", "careful", "staged"];

impl World {
    fn new(case: &Case) -> Self {
        let mut sql = String::new();
        for name in TABLES {
            sql += &case.table.sql(name);
        }
        sql += "CREATE TRIGGER inserted AFTER INSERT ON careful BEGIN SELECT 1; END;
                CREATE TRIGGER updated AFTER UPDATE ON careful BEGIN SELECT 1; END;
                ALTER TABLE staged ADD COLUMN up INT REFERENCES staged(up); CREATE UNIQUE INDEX ups ON staged(up);";
        let fixture = Fixture::new(&sql);
        for name in TABLES {
            let up = |row: &Row| row.iter().cloned().chain((name == "staged").then(Default::default)).collect();
            fill(&fixture.sqlite, name, &case.local.iter().map(up).collect::<Vec<_>>());
        }
        let mut limits = Limits::default();
        limits.pull.commit_rows = case.commit_rows;
        let site = Site::builder().limits(limits).open(fixture.path()).unwrap();
        World { fixture, site }
    }

    fn rows(&self, case: &Case, table: &str) -> Vec<String> {
        let names: Vec<_> = case.table.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        sorted(&read(&self.fixture.sqlite, &format!("SELECT {} FROM {table}", names.join(", "))))
    }

    fn import(&self, case: &Case, table: &str, dry_run: bool) -> Counts {
        let mut records = Records::new(case.columns.iter().map(|at| case.table.columns[*at].name.as_str()));
        for record in &case.records {
            records.rows.start_row();
            for (at, value) in record.iter().enumerate() {
                if let Some(value) = value {
                    records.rows.set(at, value.as_ref());
                }
            }
        }
        let options = PullOptions::new().strategy(case.strategy).batch_size(case.batch_size).dry_run(dry_run);
        let outcome = self.site.import_records(table, &records, options).unwrap().outcome;
        assert_eq!(outcome.total(), case.records.len() as u64);
        Counts::of(&outcome)
    }
}

const STRATEGIES: &[Choice] = &[Choice::Skip, Choice::Overwrite, Choice::Merge];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_import_does_what_the_table_of_strategies_says(case in cases(true, STRATEGIES)) {
        let world = World::new(&case);
        let mut model = Model { rows: case.local.clone(), ..Model::new(case.table.clone()) };
        for table in TABLES {
            prop_assert_eq!(world.rows(&case, table), sorted(&model.rows), "before: {}", table);
        }
        let expected = model.import(case.strategy, &case.columns, &case.records);
        for table in TABLES {
            prop_assert_eq!(&world.import(&case, table, true), &expected, "a dry run on {}", table);
            prop_assert_eq!(&world.import(&case, table, false), &expected, "{}", table);
            prop_assert_eq!(world.rows(&case, table), sorted(&model.rows), "{}", table);
        }
    }

    #[test]
    fn an_overwrite_that_is_repeated_changes_nothing(case in cases(false, &[Choice::Overwrite])) {
        let world = World::new(&case);
        let mut model = Model { rows: case.local.clone(), ..Model::new(case.table.clone()) };
        let first = model.import(case.strategy, &case.columns, &case.records);
        let second = model.import(case.strategy, &case.columns, &case.records);
        for table in TABLES {
            prop_assert_eq!(&world.import(&case, table, false), &first, "{}", table);
            let rows = world.rows(&case, table);
            let again = world.import(&case, table, false);
            prop_assert_eq!(&again, &second, "{}", table);
            // A record that made way for one that failed lets it in the second time.
            if !has_a_key_twice(&case) && !first.reasons.contains(&"unique_conflict") {
                prop_assert_eq!((again.created, again.updated, again.failed), (0, 0, first.failed), "{}", table);
                prop_assert_eq!(world.rows(&case, table), rows, "{}", table);
            }
        }
    }
}

/// Long runs of records in key order beside long runs of rows, which are compared without a look-up for each: some rows are
/// passed over, many at a time, some records change nothing, and now and then one comes again.
fn long_runs() -> impl Strategy<Value = Case> {
    let column = |name: &str, declared| Column {
        name: name.to_owned(),
        declared,
        not_null: false,
        check: false,
        nocase: false,
        unique: false,
        default: false,
    };
    let declared = proptest::sample::select(vec!["INTEGER", "TEXT", "REAL", "INT"]);
    let rows = (1..90usize, 1..90usize, 1..9i64, 0..1000i64, 0..2000i64);
    (declared, rows, proptest::sample::select(STRATEGIES), 200..2000usize).prop_map(
        move |(declared, (local, incoming, same, from, to), strategy, commit_rows)| {
            let columns = vec![column("id", declared), column("n", "INT")];
            let table = Table { columns, key: vec![0], primary: true, strict: false, without_rowid: false };
            let id = |n: i64| match declared {
                "TEXT" => format!("{n:05}/{n}").into(),
                "REAL" => Value::Real(n as f64),
                _ => Value::Integer(n),
            };
            let rows = (0..2000).step_by(local).map(|n| vec![id(n), Value::Integer(n % 5)]).collect();
            // A stretch of them in which nothing has changed, and others in which much has.
            let change = |n: i64| if (from..to).contains(&n) { n % 5 } else { n % 5 + i64::from(n % same == 0) };
            let once = (0..2400).step_by(incoming).map(|n| vec![Some(id(n)), Some(Value::Integer(change(n)))]);
            let records =
                once.enumerate().flat_map(|(at, record)| vec![record; if at % 400 == 399 { 2 } else { 1 }]).collect();
            Case { table, local: rows, columns: vec![0, 1], records, strategy, commit_rows, batch_size: 700 }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn long_runs_are_no_different(case in long_runs()) {
        let world = World::new(&case);
        let mut model = Model { rows: case.local.clone(), ..Model::new(case.table.clone()) };
        let expected = model.import(case.strategy, &case.columns, &case.records);
        for table in TABLES {
            prop_assert_eq!(&world.import(&case, table, false), &expected, "{}", table);
            prop_assert_eq!(world.rows(&case, table), sorted(&model.rows), "{}", table);
        }
    }
}

fn has_a_key_twice(case: &Case) -> bool {
    let whole = |record: &Record| -> Row {
        let mut row = vec![Default::default(); case.table.columns.len()];
        case.columns.iter().zip(record).for_each(|(at, value)| row[*at] = value.clone().unwrap_or_default());
        row
    };
    let rows: Vec<Row> = case.records.iter().map(whole).filter(|row| !case.table.key_has_null(row)).collect();
    !case.table.key.is_empty()
        && rows.iter().enumerate().any(|(at, row)| rows[..at].iter().any(|other| case.table.key_order(row, other).is_eq()))
}
