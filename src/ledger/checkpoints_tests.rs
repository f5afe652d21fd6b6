use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use time::macros::datetime;

use super::*;
use crate::ledger::appends;
use crate::ledger::pulls::Sender;
use crate::site::testing::Home;
use crate::state;

fn value() -> impl Generator<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        proptest::num::f64::ANY.prop_map(Value::Real),
        any::<Vec<u8>>().prop_map(Value::Text),
        any::<String>().prop_map(|text| Value::Text(text.into_bytes())),
        any::<Vec<u8>>().prop_map(Value::Blob),
    ]
}

fn outcome() -> impl Generator<Value = Outcome> {
    let reasons = [Reason::UniqueConflict, Reason::Check, Reason::Malformed, Reason::Refused];
    let parts = (proptest::collection::vec(value(), 0..4), any::<Option<String>>(), 0..4_usize, any::<String>());
    let failure = parts.prop_map(move |(key, column, at, message)| Failure { key, column, reason: reasons[at], message });
    (any::<[u64; 5]>(), proptest::collection::vec(failure, 0..4)).prop_map(|(counts, failures)| {
        let [created, updated, unchanged, skipped, failed] = counts;
        let (differing, dangling) = (skipped / 2, created / 2);
        let lossy = (failed > 0).then(|| ("c".to_owned(), failed)).into_iter().collect();
        Outcome { created, updated, unchanged, skipped, differing, failed, dangling, lossy, failures }
    })
}

/// Values with all their bits, which `==` does not tell apart.
fn same(left: &Checkpoint, right: &Checkpoint) -> bool {
    let keys =
        |checkpoint: &Checkpoint| -> Vec<Value> { checkpoint.outcome.failures.iter().flat_map(|f| f.key.clone()).collect() };
    let (a, b) = (keys(left), keys(right));
    let bare = |checkpoint: &Checkpoint| {
        let mut checkpoint = checkpoint.clone();
        checkpoint.outcome.failures.iter_mut().for_each(|failure| failure.key.clear());
        checkpoint
    };
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.as_ref().same(b.as_ref())) && bare(left) == bare(right)
}

#[test]
fn marks_come_back_as_they_were() {
    // One on each kind of database, for all cases: each has a scope of its own.
    let homes = Home::each();
    let sites: Vec<_> = homes.iter().map(|home| home.open(crate::Site::builder())).collect();
    let config = ProptestConfig { cases: 64, ..ProptestConfig::default() };
    proptest!(config, |(
        table: String,
        at in 0..4_usize,
        step in proptest::sample::select(vec![Step::Fetching, Step::Staged, Step::Done]),
        numbers in (0..=i64::MAX as u64, 0..=i64::MAX as u64, any::<u64>()),
        place: Option<Vec<u8>>,
        states: Vec<u64>,
        sum: Option<(u64, u128)>,
        stage: Option<u32>,
        flags: (bool, bool, bool, bool),
        notes: Vec<String>,
        outcome in outcome(),
    )| {
        let fresh = Checkpoint::new(&table, Strategy::ALL[at], "plan".into(), numbers.0);
        let (continues, created, counted, verified) = flags;
        let part = |name: &String| IndexPart { collation: Some(name.clone()), descending: true, ..IndexPart::plain(name) };
        let indexes = vec![Index { name: "i".into(), parts: notes.iter().map(part).collect() }];
        let before = Outcome { failures: Vec::new(), differing: 0, lossy: Default::default(), ..outcome.clone() };
        let (first, later) = (datetime!(2026-01-02 03:04:05 UTC), datetime!(2026-01-03 03:04:05 UTC));
        let checkpoint = Checkpoint {
            step,
            records: numbers.1,
            bytes: numbers.2,
            place,
            states,
            sum: sum.map(|(rows, sum)| RowSum { rows, sum }),
            verified: if verified { Verified::Received } else { Verified::None },
            stage,
            continues,
            created,
            counted,
            indexes: if step == Step::Done { Vec::new() } else { indexes },
            notes,
            before: counted.then_some(before),
            done_at: Some(first).filter(|_| step == Step::Done),
            outcome,
            ..fresh.clone()
        };
        for site in &sites {
            let scope = Scope::new();
            let kept = state::write(&**site.store(), |sql| {
                assert!(!update(sql, &scope, &fresh, NameRules::Exact, first)?, "one that was taken away is not written again");
                insert(sql, &scope, &fresh, NameRules::Exact, first)?;
                assert!(update(sql, &scope, &checkpoint, NameRules::Exact, if created { first } else { later })?);
                of_scope(sql, &scope)
            }).unwrap();
            prop_assert!(kept.len() == 1 && same(&kept[0], &checkpoint), "{:?} is not {:?}", kept, checkpoint);
        }
    });
}

#[test]
fn tables_are_told_apart_by_the_rules_of_the_store() {
    for home in Home::each() {
        let site = home.open(crate::Site::builder());
        let now = datetime!(2026-01-02 03:04:05 UTC);
        for (names, count) in [(NameRules::IgnoreAsciiCase, 1), (NameRules::Exact, 2)] {
            let scope = Scope::new();
            let checkpoint = |table: &str| Checkpoint {
                step: Step::Done,
                records: 1,
                ..Checkpoint::new(table, Strategy::Append, String::new(), 1)
            };
            let checkpoints = [checkpoint("users"), checkpoint("Users")];
            let (kept, forgotten, left) = state::write(&**site.store(), |sql| {
                checkpoints.iter().try_for_each(|checkpoint| insert(sql, &scope, checkpoint, names, now))?;
                let sender = Sender { name: scope.as_str().to_owned(), incarnation: None };
                appends::remember(sql, &sender, &checkpoints, names, now)?;
                let kept = of_scope(sql, &scope)?.len();
                remove(sql, &scope, "USERS", Strategy::Append, names)?;
                remove(sql, &scope, "users", Strategy::Append, names)?;
                let forgotten = [
                    appends::forget(sql, scope.as_str(), "USERS", names)?,
                    appends::of_table(sql, scope.as_str(), "users", names)?.is_some(),
                ];
                Ok((kept, forgotten, tables(sql, &scope)?.len()))
            })
            .unwrap();
            assert_eq!((kept, left), (count, count - 1));
            assert_eq!(forgotten, if count == 1 { [true, false] } else { [false, true] });
        }
    }
}

#[test]
fn every_reason_is_found_by_its_code() {
    assert_eq!(Reason::from_code(Reason::NoNewKey.code()), Some(Reason::NoNewKey));
    assert_eq!(Reason::from_code("nothing"), None);
}
