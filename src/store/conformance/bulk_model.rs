//! Bulk applies beside [one by one](super::one_by_one): whatever the records, both must come to the same.

use super::bulk::apply_in_bulk;
use super::harness::*;
use super::strategies::KEYED;
use super::values::all_values;
use crate::domain::record::Outcome;
use crate::domain::schema::{ForeignKeyAction, TableSchema};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value};
use crate::plan::TablePlan;
use crate::plan::table::{ExtraColumns, plan_table};
use crate::store::Store;

/// The same numbers each time, in no order to speak of.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn number(&mut self, below: u64) -> i64 {
        i64::try_from(self.roll(below)).expect("it is small")
    }

    fn one_of<T: Clone>(&mut self, these: &[T]) -> T {
        let at = usize::try_from(self.roll(these.len() as u64)).expect("it is small");
        these[at].clone()
    }
}

/// Two tables alike: one is written in bulk, the other one by one.
struct Pair {
    bulk: TablePlan,
    single: TablePlan,
}

impl Pair {
    /// Two tables like this one. What refers to the table itself refers to the copy.
    #[track_caller]
    fn new(store: &dyn Store, described: &TableSchema, strategy: Strategy) -> Self {
        let [bulk, single] = create(store, Pair::copies(described, strategy)).map(|table| plan(&table, strategy));
        Pair { bulk, single }
    }

    /// The same with a key that compares by these collations, if the store has such keys.
    #[track_caller]
    fn collated(store: &dyn Store, described: &TableSchema, collations: &str, strategy: Strategy) -> Option<Self> {
        let [bulk, single] = Pair::copies(described, strategy)
            .map(|table| create_collated(store, table, collations).map(|table| plan(&table, strategy)));
        Some(Pair { bulk: bulk?, single: single? })
    }

    fn copies(described: &TableSchema, strategy: Strategy) -> [TableSchema; 2] {
        ["bulk", "single"].map(|kind| {
            let mut copy = described.clone();
            copy.name = format!("{kind} {strategy} {}", described.name);
            for key in copy.foreign_keys.iter_mut().filter(|key| key.parent == described.name) {
                key.parent.clone_from(&copy.name);
            }
            copy
        })
    }

    /// Applies the records both ways, and compares counts, failures and what the tables hold.
    #[track_caller]
    fn expect_alike(&self, store: &dyn Store, rows: &Rows, most: usize) {
        let mut tally = tally();
        let bulk = write(store, |writer| {
            apply_in_bulk(writer, &self.bulk, rows, 0..rows.len(), most, &mut tally)?;
            rows_in(writer, &self.bulk.table)
        });
        let single = apply(store, &self.single, rows);
        let strategy = self.bulk.strategy;
        let doing = format!("{} records under {strategy}, at most {most} at once", rows.len());
        let counts = |o: &Outcome| [o.created, o.updated, o.unchanged, o.skipped, o.differing, o.failed];
        assert_eq!(
            counts(&tally.outcome),
            counts(&single),
            "{doing} count otherwise than one by one: {:?}",
            single.failures
        );
        let failures = |o: &Outcome| o.failures.iter().map(|f| (f.key.clone(), f.reason)).collect::<Vec<_>>();
        let (found, expected) = (failures(&tally.outcome), failures(&single));
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{doing} fail otherwise than one by one");
        let expected = contents(store, &self.single.table);
        assert!(are_same(&bulk, &expected), "{doing} leave {bulk:?}, and one by one {expected:?}");
        let kept = contents(store, &self.bulk.table);
        assert!(are_same(&kept, &expected), "{doing} are kept as {kept:?}, and one by one as {expected:?}");
    }
}

/// How many records a batch has, and how many of them the store gets at once.
const SIZES: [(usize, usize); 7] = [(1, 9), (9, 4), (30, 1), (80, 80), (300, 37), (700, 700), (250, 100)];

/// A batch of records `(id, n, name)`: in key order or in none, mostly known or mostly new.
fn batch(dice: &mut Dice, records: usize) -> Vec<[Cell; 3]> {
    let (keys, sorted, first) = (dice.one_of(&[20, 300, 5_000]), dice.roll(2) == 0, dice.number(400));
    // How seldom something else than a plain value comes.
    let seldom = dice.one_of(&[2, 20, 1_000]);
    let cell = |dice: &mut Dice, value: Cell| match dice.roll(seldom) {
        0 => dice.one_of(&[NULL, ABSENT, v(1), v("x"), value]),
        _ => value,
    };
    let mut batch = Vec::with_capacity(records);
    for record in (0..).take(records) {
        let id = if sorted { first + record } else { dice.number(keys) };
        let id = if dice.roll(100) == 0 { dice.one_of(&[NULL, ABSENT, v(id - 1), v("no number")]) } else { v(id) };
        let (n, name) = (v(dice.number(3)), v(dice.one_of(&["a", "b", "long enough not to be short"])));
        batch.push([id, cell(dice, n), cell(dice, name)]);
    }
    batch
}

pub(super) fn records_of_every_kind(store: &dyn Store) {
    let users = table("users", "id integer!, n integer, name text!", "id");
    for strategy in KEYED {
        let pair = Pair::new(store, &users, strategy);
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for (records, most) in SIZES.into_iter().chain(SIZES) {
            pair.expect_alike(store, &rows(batch(&mut dice, records)), most);
        }
    }
}

pub(super) fn records_that_are_refused(store: &dyn Store) {
    let [teams] = create(store, [table("teams", "id integer!", "id")]);
    fill(store, &teams, &rows((0..10).map(|id| [v(id)])));
    let mut users = table("users", "id integer!, n integer, name text!, mail text, team integer", "id");
    users = users.with_unique("mail").with_unique("n name").with_parent("team", "teams", "id");
    for strategy in KEYED {
        for seldom in [3, 30, 400] {
            users.name = format!("users {seldom}");
            let pair = Pair::new(store, &users, strategy);
            let mut dice = Dice(0xdead_beef_cafe ^ seldom);
            for (records, most) in SIZES {
                let mut records = batch(&mut dice, records);
                // Else hardly any two names and numbers would differ.
                for record in &mut records {
                    record[2] = if dice.roll(seldom) == 0 { NULL } else { v(format!("{}", dice.roll(1 << 40))) };
                }
                let records = records.into_iter().map(|[id, n, name]| {
                    let mail = v(format!("{}@example.org", dice.roll(100 * seldom)));
                    let mail = if dice.roll(2) == 0 { NULL } else { mail };
                    let team = if dice.roll(seldom) == 0 { v(99) } else { v(dice.number(10)) };
                    [id, n, name, mail, team]
                });
                pair.expect_alike(store, &rows(records.collect::<Vec<_>>()), most);
            }
        }
    }
}

pub(super) fn keys_of_several_columns(store: &dyn Store) {
    let pairs = table("pairs", "x text, a integer!, b text!", "b a");
    for strategy in KEYED {
        let pair = Pair::new(store, &pairs, strategy);
        let mut dice = Dice(0x1234_5678_9abc);
        for (records, most) in SIZES {
            let records = (0..records).map(|_| {
                let (x, a) = (dice.one_of(&[v("1"), v("2"), NULL, ABSENT]), v(dice.number(40)));
                let b = dice.one_of(&[v("p"), v("P"), v("q"), v("p "), v(""), v("ä"), NULL]);
                [x, a, b]
            });
            pair.expect_alike(store, &rows(records.collect::<Vec<_>>()), most);
        }
    }
}

pub(super) fn keys_of_a_unique_set(store: &dyn Store) {
    let codes = table("codes", "x text, code text!, n integer", "").with_unique("code");
    for strategy in KEYED {
        let pair = Pair::new(store, &codes, strategy);
        let mut dice = Dice(0x0bad_c0de);
        for (records, most) in SIZES {
            let record = |dice: &mut Dice| [v("x"), v(format!("c{}", dice.roll(200))), v(dice.number(3))];
            pair.expect_alike(store, &rows((0..records).map(|_| record(&mut dice)).collect::<Vec<_>>()), most);
        }
    }
}

pub(super) fn keys_that_look_alike(store: &dyn Store) {
    let any = table("any", "id any!, x text", "id");
    let keys =
        [v(1), v(1.0), v("1"), Some(Value::Blob(b"1".to_vec())), v(2), v(2.0), v("2 "), v(i64::MIN), v(i64::MIN as f64)];
    for strategy in KEYED {
        let pair = Pair::new(store, &any, strategy);
        let mut dice = Dice(0x5eed);
        for (records, most) in SIZES {
            let record = |dice: &mut Dice| [dice.one_of(&keys), dice.one_of(&[v("a"), v("b"), NULL])];
            pair.expect_alike(store, &rows((0..records).map(|_| record(&mut dice)).collect::<Vec<_>>()), most);
        }
    }
}

pub(super) fn keys_that_compare_otherwise_than_their_columns(store: &dyn Store) {
    for (column, collations) in
        [(None, "NOCASE -"), (None, "RTRIM -"), (Some("NOCASE"), "BINARY -"), (Some("RTRIM"), "NOCASE -")]
    {
        for strategy in KEYED {
            let mut pairs = table(&format!("{column:?} {collations}"), "a text!, x text, n integer!", "a n");
            pairs.columns[0].collation = column.map(String::from);
            let Some(pair) = Pair::collated(store, &pairs, collations, strategy) else { continue };
            let mut dice = Dice(0xca5e);
            for (records, most) in SIZES {
                let record = |dice: &mut Dice| {
                    let a = dice.one_of(&[v("x"), v("X"), v("x "), v("y"), v("Y "), v("é"), v("É"), NULL]);
                    [a, dice.one_of(&[v("p"), v("P"), NULL]), v(dice.number(40))]
                };
                let mut records: Vec<_> = (0..records).map(|_| record(&mut dice)).collect();
                // In key order they may be found by reading alone.
                if dice.roll(2) == 0 {
                    records.sort_by_key(|[a, _, n]| format!("{a:?} {n:?}"));
                }
                pair.expect_alike(store, &rows(records), most);
            }
        }
    }
}

pub(super) fn values_of_every_kind(store: &dyn Store) {
    for name in ["integer", "real", "text", "blob", "any"] {
        for strategy in [Strategy::Overwrite, Strategy::Skip] {
            let pair = Pair::new(store, &table(name, &format!("id integer!, value {name}"), "id"), strategy);
            let values = all_values();
            for shift in [0, 0, 1, 7] {
                let value = |at: usize| Some(values[(at + shift) % values.len()].clone());
                pair.expect_alike(store, &rows((0..).zip(0..values.len()).map(|(id, at)| [v(id), value(at)])), usize::MAX);
            }
        }
    }
}

pub(super) fn rows_that_refer_to_their_own_table(store: &dyn Store) {
    let mut node = table("node", "id integer!, up integer, code text", "id").with_unique("code");
    node = node.with_parent("up", "node", "id");
    for strategy in KEYED {
        for later in [true, false] {
            node.name = format!("node {later}");
            node.foreign_keys[0].parent.clone_from(&node.name);
            let pair = Pair::new(store, &node, strategy);
            let mut dice = Dice(0x7ee5);
            let mut known = 0_i64;
            for (records, most) in SIZES {
                let first = dice.number(known.unsigned_abs() + 1);
                // Parents before their children, or some of them after.
                let records: Vec<_> = (first..)
                    .take(records)
                    .map(|id| {
                        let before = dice.number(id.unsigned_abs().min(10) + 1);
                        let up = if later && dice.roll(50) == 0 { id + 1 } else { before };
                        [v(id), if dice.roll(3) == 0 { NULL } else { v(up) }, NULL]
                    })
                    .collect();
                known = known.max(first + i64::try_from(records.len()).expect("it is small"));
                pair.expect_alike(store, &rows(records), most);
            }
        }
    }
}

pub(super) fn rows_whose_parents_change(store: &dyn Store) {
    // They follow, or they keep their parents from changing.
    for action in [ForeignKeyAction::Cascade, ForeignKeyAction::NoAction] {
        let name = action.as_sql();
        let mut node = table(name, "id integer!, code text!, up text", "id").with_unique("code");
        node = node.with_parent("up", name, "code");
        node.foreign_keys[0].on_update = action;
        for strategy in KEYED {
            let pair = Pair::new(store, &node, strategy);
            let mut dice = Dice(0xca5c_ade5);
            let code = |id: i64, round: i64| format!("c{id}.{round}");
            pair.expect_alike(store, &rows((0..60).map(|id| [v(id), v(code(id, 0)), v(code(id / 2, 0))])), usize::MAX);
            for round in 1..8 {
                // Some of the codes change, and some go to another row; what refers to them comes with the old one or the new.
                let records = (0..60).map(|id| {
                    let known = [round - 1, round].map(|round| code(id / 2, round));
                    let own = if dice.roll(10) == 0 {
                        code(id ^ 1, round - 1)
                    } else {
                        code(id, dice.one_of(&[round - 1, round]))
                    };
                    [v(id), v(own), v(dice.one_of(&known))]
                });
                pair.expect_alike(store, &rows(records.collect::<Vec<_>>()), dice.one_of(&[7, 1_000]));
            }
        }
    }
}

pub(super) fn columns_that_are_not_the_local_ones(store: &dyn Store) {
    let mut users = table("users", "id integer!, n integer!, name text!, at text", "id");
    users.columns[1].default = Some("5".into());
    users.columns[2].default = Some("'nobody'".into());
    let sender = table("users", "gone text, name text, id integer!", "id");
    for strategy in KEYED {
        let mut pair = Pair::new(store, &users, strategy);
        for plan in [&mut pair.bulk, &mut pair.single] {
            *plan = plan_table(&sender, &plan.table, strategy, ExtraColumns::Ignore).must("plan the import of a table");
        }
        let mut dice = Dice(0xc0_1a77);
        for (records, most) in SIZES {
            let record = |[id, _, name]: [Cell; 3]| [v("?"), name, id];
            pair.expect_alike(store, &rows(batch(&mut dice, records).into_iter().map(record)), most);
        }
    }
}
