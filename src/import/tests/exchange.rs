//! Unique values that move from row to row.

use proptest::prelude::{Just, ProptestConfig, Strategy as Generated, any, prop, prop_assert_eq, proptest};
use rusqlite::Connection;

use super::*;
use crate::clock::SystemClock;
use crate::domain::strategy::Strategy;
use crate::domain::verified::Verified;
use crate::import::{Direct, Finish, Staged, Writing, apply_group};
use crate::ledger::pulls::Sender;

on_each_store!(
    values_go_round,
    a_list_moves_by_one_either_way,
    what_a_row_that_stays_keeps_out_fails_with_those_behind_it,
    merge_moves_what_is_not_null,
    skip_leaves_what_is_there,
    rows_that_refer_to_each_other_exchange_values,
    a_dry_run_says_the_same,
    two_sets_go_round_at_once,
    a_pull_that_is_cut_off_goes_on_with_what_waits,
);

/// Pulls records as they come, so many a page, and each page in a transaction of its own.
fn pull(store: &dyn Store, plan: &TablePlan, records: &Rows, page: usize) -> Outcome {
    let limits = Limits::with(|limits| limits.pull.commit_rows = 1);
    let mut import = Ledger::new(here(store, &limits, &SystemClock), Patience::unbounded());
    let mut writer = import.open().must("open");
    import.begin(&mut *writer, None, Begin::Resume, &[]).must("begin");
    writer.commit().must("commit");
    drop(writer);
    let stage = Direct::needs_stage(plan).then(|| import.stage(records.width()));
    let checkpoint = Checkpoint::new(&plan.table.name, plan.strategy, String::new(), records.len() as u64);
    let (mut direct, mut writing) = (Direct::new(plan.clone(), stage, checkpoint), Writing::default());
    for first in (0..records.len()).step_by(page) {
        let mut rows = Rows::new(records.width());
        rows.push_rows(records, first..records.len().min(first + page));
        direct.push(&import, &mut writing, &rows, &[], &Reached::default()).must("push");
        writing.commit(&import, [&mut direct]).must("commit");
    }
    direct.finish(&import, &mut writing, Verified::None).must("finish");
    writing.commit(&import, [&mut direct]).must("commit");
    let left = crate::state::read(store, |sql| sql.query("SELECT record FROM rowferry_waiting", &[]));
    assert!(left.must("look").is_empty(), "records wait after the end");
    direct.outcome().clone()
}

fn items(store: &dyn Store, name: &str, positions: impl IntoIterator<Item = i64>) -> TableSchema {
    let [items] = create(store, [table(name, "id integer!, pos integer!", "id").with_unique("pos")]);
    fill(store, &items, &list(positions));
    items
}

/// Rows 1, 2, ... with these positions.
fn list(positions: impl IntoIterator<Item = i64>) -> Rows {
    rows((1..).zip(positions).map(|(id, pos)| [v(id), v(pos)]))
}

fn values_go_round(store: &dyn Store) {
    for (number, page) in [1, 2, 100].into_iter().enumerate() {
        let items = items(store, &format!("t{number}"), 1..=9);
        // A pair, three, four.
        let records = list([2, 1, 4, 5, 3, 9, 6, 7, 8]);
        let outcome = pull(store, &plan(&items, Strategy::Overwrite), &records, page);
        expect_counts(&outcome, Counts { updated: 9, ..NONE });
        expect_rows(store, &items, &records);
        let again = pull(store, &plan(&items, Strategy::Overwrite), &records, page);
        expect_counts(&again, Counts { unchanged: 9, ..NONE });
    }
}

fn a_list_moves_by_one_either_way(store: &dyn Store) {
    let up = items(store, "up", 1..=200);
    let records = list((2..=201).chain([1]));
    let outcome = pull(store, &plan(&up, Strategy::Overwrite), &records, 30);
    expect_counts(&outcome, Counts { updated: 200, created: 1, ..NONE });
    expect_rows(store, &up, &records);
    let records = list(0..=200);
    let outcome = pull(store, &plan(&up, Strategy::Overwrite), &records, 30);
    expect_counts(&outcome, Counts { updated: 201, ..NONE });
    expect_rows(store, &up, &records);
}

fn what_a_row_that_stays_keeps_out_fails_with_those_behind_it(store: &dyn Store) {
    let items = items(store, "t", 1..=6);
    // The row 6 is not among them; 1 waits for 2, which waits for 3, which it keeps out. 4 and 5 change places.
    let records = rows([[v(1), v(2)], [v(2), v(3)], [v(3), v(6)], [v(4), v(5)], [v(5), v(4)]]);
    let outcome = pull(store, &plan(&items, Strategy::Overwrite), &records, 2);
    expect_counts(&outcome, Counts { updated: 2, failed: 3, ..NONE });
    for key in [1, 2, 3] {
        expect_failure(&outcome, &[key.into()], Reason::UniqueConflict, Some("pos"));
    }
    expect_rows(store, &items, &list([1, 2, 3, 5, 4, 6]));
}

fn merge_moves_what_is_not_null(store: &dyn Store) {
    let described = table("t", "id integer!, mail text, name text", "id").with_unique("mail");
    let [t] = create(store, [described]);
    fill(store, &t, &rows([[v(1), v("a"), v("x")], [v(2), v("b"), v("y")], [v(3), v("c"), v("z")]]));
    // The row 3 keeps its mail under merge, so that 4 does not get it.
    let records = rows([[v(1), v("b"), NULL], [v(2), v("a"), v("Y")], [v(3), NULL, v("Z")], [v(4), v("c"), v("w")]]);
    let outcome = pull(store, &plan(&t, Strategy::Merge), &records, 2);
    expect_counts(&outcome, Counts { updated: 3, failed: 1, ..NONE });
    expect_failure(&outcome, &[4.into()], Reason::UniqueConflict, Some("mail"));
    expect_rows(store, &t, &rows([[v(1), v("b"), v("x")], [v(2), v("a"), v("Y")], [v(3), v("c"), v("Z")]]));
    // A circle that one of them does not leave is none.
    let records = rows([[v(1), v("a"), v("no")], [v(2), v("c"), v("no")], [v(3), NULL, v("yes")]]);
    let outcome = pull(store, &plan(&t, Strategy::Merge), &records, 1);
    expect_counts(&outcome, Counts { updated: 1, failed: 2, ..NONE });
    expect_rows(store, &t, &rows([[v(1), v("b"), v("x")], [v(2), v("a"), v("Y")], [v(3), v("c"), v("yes")]]));
}

fn skip_leaves_what_is_there(store: &dyn Store) {
    let items = items(store, "t", [1, 2]);
    let records = rows([[v(1), v(2)], [v(2), v(1)], [v(3), v(1)], [v(4), v(4)]]);
    let outcome = pull(store, &plan(&items, Strategy::Skip), &records, 3);
    expect_counts(&outcome, Counts { created: 1, skipped: 2, failed: 1, ..NONE });
    expect_failure(&outcome, &[3.into()], Reason::UniqueConflict, Some("pos"));
    expect_rows(store, &items, &rows([[v(1), v(1)], [v(2), v(2)], [v(4), v(4)]]));
}

/// Applies the records of a table that refers to itself, as a group.
fn group(store: &dyn Store, table: &TableSchema, records: &Rows, finish: Finish) -> Outcome {
    let limits = Limits::default();
    let mut import = Ledger::new(here(store, &limits, &SystemClock), Patience::unbounded());
    let mut writer = import.open().must("open");
    import.begin(&mut *writer, None, Begin::Resume, &[]).must("begin");
    writer.commit().must("commit");
    drop(writer);
    let plan = plan(table, Strategy::Overwrite);
    let (stage, checkpoint) = (import.stage(records.width()), Checkpoint::new(&table.name, plan.strategy, String::new(), 0));
    let mut staged = [Staged::new(&import, plan, stage, checkpoint, true)];
    staged[0].push(&import, records, &[], &Reached::default()).must("stage");
    let mut tx = Transaction::begin(&import).must("begin");
    apply_group(&import, &mut tx, &mut staged, true, finish).must("apply");
    staged[0].outcome()
}

fn rows_that_refer_to_each_other_exchange_values(store: &dyn Store) {
    let described =
        table("node", "id integer!, name text!, up integer", "id").with_unique("name").with_parent("up", "node", "id");
    let [node] = create(store, [described]);
    fill(store, &node, &rows([[v(1), v("a"), NULL], [v(2), v("b"), NULL], [v(3), v("c"), NULL], [v(4), v("d"), NULL]]));
    // 3 and 4 change names, too, but 4 is to have a parent that is nowhere; so 3 cannot have its name.
    let records = rows([
        [v(1), v("b"), v(2)],
        [v(2), v("a"), v(5)],
        [v(3), v("d"), NULL],
        [v(4), v("c"), v(99)],
        [v(5), v("e"), v(1)],
    ]);
    let outcome = group(store, &node, &records, Finish::Commit);
    expect_counts(&outcome, Counts { updated: 2, created: 1, failed: 2, ..NONE });
    expect_failure(&outcome, &[4.into()], Reason::ForeignKey, Some("up"));
    expect_failure(&outcome, &[3.into()], Reason::UniqueConflict, Some("name"));
    let expected =
        [[v(1), v("b"), v(2)], [v(2), v("a"), v(5)], [v(3), v("c"), NULL], [v(4), v("d"), NULL], [v(5), v("e"), v(1)]];
    expect_rows(store, &node, &rows(expected));
}

fn a_dry_run_says_the_same(store: &dyn Store) {
    let items = items(store, "t", 1..=4);
    let records = list([2, 1, 9, 9]);
    let tried = group(store, &items, &records, Finish::Keep);
    expect_rows(store, &items, &list(1..=4));
    let done = pull(store, &plan(&items, Strategy::Overwrite), &records, 1);
    assert_eq!(tried, done);
    expect_counts(&done, Counts { updated: 3, failed: 1, ..NONE });
}

fn two_sets_go_round_at_once(store: &dyn Store) {
    let described = table("t", "id integer!, a integer!, b integer", "id").with_unique("a").with_unique("b");
    let [t] = create(store, [described]);
    fill(store, &t, &rows((1..=4).map(|id| [v(id), v(id), v(id)])));
    let records = rows([[v(1), v(2), v(3)], [v(2), v(3), v(4)], [v(3), v(4), v(1)], [v(4), v(1), v(2)]]);
    let outcome = pull(store, &plan(&t, Strategy::Overwrite), &records, 1);
    expect_counts(&outcome, Counts { updated: 4, ..NONE });
    expect_rows(store, &t, &records);
}

/// Begins or resumes a pull of this sender.
fn begun<'s>(store: &'s dyn Store, limits: &'s Limits, plan: &TablePlan) -> (Ledger<'s>, Option<Checkpoint>) {
    let mut import = Ledger::new(here(store, limits, &SystemClock), Patience::unbounded());
    let mut writer = import.open().must("open");
    let wanted = [(plan.table.name.clone(), plan.strategy)];
    let sender = Sender { name: "sender".into(), incarnation: None };
    let checkpoint = import.begin(&mut *writer, Some(sender), Begin::Resume, &wanted).must("begin").pop();
    writer.commit().must("commit");
    (import, checkpoint)
}

fn a_pull_that_is_cut_off_goes_on_with_what_waits(store: &dyn Store) {
    let (items, limits) = (items(store, "t", 1..=6), Limits::default());
    let plan = plan(&items, Strategy::Overwrite);
    let records = list([2, 3, 1, 6, 4, 5]);
    let part = |from: usize, to: usize| {
        let mut rows = Rows::new(2);
        rows.push_rows(&records, from..to);
        rows
    };
    let (mut import, found) = begun(store, &limits, &plan);
    assert!(found.is_none());
    let stage = import.stage(2);
    let checkpoint = Checkpoint { stage: Some(stage.number), ..Checkpoint::new("t", plan.strategy, String::new(), 6) };
    let mut writer = import.transaction().must("begin");
    import.begin_checkpoint(&mut *writer, &checkpoint).must("begin");
    import.commit(&mut *writer).must("begin");
    drop(writer);
    let (mut direct, mut writing) = (Direct::new(plan.clone(), Some(stage), checkpoint), Writing::default());
    let reached = |records| Reached { records, continues: true, ..Reached::default() };
    direct.push(&import, &mut writing, &part(0, 2), &[], &reached(2)).must("push");
    writing.commit(&import, [&mut direct]).must("commit");
    // What is not committed is not kept, whether it waits or not.
    direct.push(&import, &mut writing, &part(2, 4), &[], &reached(4)).must("push");
    drop((direct, writing, import));
    expect_rows(store, &items, &list(1..=6));
    let (import, checkpoint) = begun(store, &limits, &plan);
    let checkpoint = checkpoint.expect("a checkpoint is left");
    assert_eq!((checkpoint.records, checkpoint.outcome.total()), (2, 0));
    let stage = checkpoint.stage.map(|number| import.stage_of(number, 2));
    let (mut direct, mut writing) = (Direct::new(plan, stage, checkpoint), Writing::default());
    direct.push(&import, &mut writing, &part(2, 6), &[], &reached(6)).must("push");
    direct.finish(&import, &mut writing, Verified::None).must("finish");
    writing.commit(&import, [&mut direct]).must("commit");
    expect_counts(direct.outcome(), Counts { updated: 6, ..NONE });
    expect_rows(store, &items, &records);
}

/// A store whose tables are made with this SQL; the connection sees what others commit.
fn sqlite(sql: &str) -> (tempfile::TempDir, SqliteStore, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    connection.execute_batch(sql).unwrap();
    let store = SqliteStore::open(&path, &Limits::default()).unwrap();
    (folder, store, connection)
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn every_kind_of_set_goes_round() {
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INT NOT NULL, gone TEXT,";
    for (rest, index) in [
        ("UNIQUE(a))", ""),
        ("CHECK (length(a) = 8), UNIQUE(a COLLATE NOCASE)) STRICT", ""),
        ("UNIQUE(b, a)) WITHOUT ROWID", ""),
        ("CHECK (a <> ''))", "CREATE UNIQUE INDEX i ON t(a) WHERE gone IS NULL;"),
        ("CHECK (a <> ''))", "CREATE UNIQUE INDEX i ON t(lower(a), b);"),
        ("g INT AS (b * 2 + id) STORED UNIQUE)", "CREATE UNIQUE INDEX i ON t(a COLLATE RTRIM);"),
        (
            "CHECK (a <> ''))",
            "CREATE TRIGGER log AFTER UPDATE ON t BEGIN INSERT INTO seen VALUES (NEW.a); END; CREATE UNIQUE INDEX i ON t(a);",
        ),
    ] {
        let strict = table.replace(" INT ", " INTEGER ");
        let values = "INSERT INTO t(id, a, b) VALUES (1, 'aaaaaaaa', 1), (2, 'bbbbbbbb', 1), (3, 'cccccccc', 2);";
        let sql = format!("CREATE TABLE seen(a); {strict} {rest}; {values} {index}");
        let (_folder, store, connection) = sqlite(&sql);
        let t = schema(&store, "t");
        let records =
            rows([[v(1), v("BBBBBBBB"), v(1), NULL], [v(2), v("aaaaaaaa"), v(1), NULL], [v(3), v("cccccccc"), v(3), NULL]]);
        let mut sender = t.clone();
        sender.columns.truncate(4);
        let plan =
            crate::plan::table::plan_table(&sender, &t, Strategy::Overwrite, crate::plan::table::ExtraColumns::Refuse)
                .unwrap();
        let outcome = pull(&store, &plan, &records, 1);
        expect_counts(&outcome, Counts { updated: 3, ..NONE });
        let found = texts(&connection, "SELECT id || a || b FROM t ORDER BY id");
        assert_eq!(found, ["1BBBBBBBB1", "2aaaaaaaa1", "3cccccccc3"], "{rest} {index}");
    }
}

#[test]
fn who_is_deleted_makes_room_for_a_successor() {
    for (old, new) in [("aaa", "bbb"), ("bbb", "aaa")] {
        let (_folder, store, connection) = sqlite(&format!(
            "CREATE TABLE company(id TEXT PRIMARY KEY, domain TEXT NOT NULL, deleted_at TEXT);
             CREATE UNIQUE INDEX living ON company(domain) WHERE deleted_at IS NULL;
             INSERT INTO company VALUES ('{old}', 'x', NULL);"
        ));
        let mut records = [[v(old), v("x"), v("then")], [v(new), v("x"), NULL]];
        records.sort_by_key(|row| format!("{:?}", row[0]));
        let outcome = pull(&store, &plan(&schema(&store, "company"), Strategy::Overwrite), &rows(records), 1);
        expect_counts(&outcome, Counts { updated: 1, created: 1, ..NONE });
        assert_eq!(texts(&connection, "SELECT id FROM company WHERE deleted_at IS NULL"), [new]);
    }
}

#[test]
fn a_circle_that_is_refused_is_as_it_was() {
    let (_folder, store, connection) = sqlite(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, pos INT NOT NULL UNIQUE CHECK (pos BETWEEN 1 AND 3), name TEXT);
         CREATE TABLE u(id INTEGER PRIMARY KEY, pos INT UNIQUE, name TEXT CHECK (name <> 'bad'));
         INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'); INSERT INTO u VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'), (4, 4, 'd');",
    );
    // The value in between is refused; the row outside of the circle is written.
    let records = rows([[v(1), v(2), v("A")], [v(2), v(1), v("B")], [v(3), v(3), v("C")]]);
    let outcome = pull(&store, &plan(&schema(&store, "t"), Strategy::Overwrite), &records, 1);
    expect_counts(&outcome, Counts { updated: 1, failed: 2, ..NONE });
    for key in [1, 2] {
        expect_failure(&outcome, &[key.into()], Reason::Check, None);
    }
    assert!(outcome.failures.iter().all(|failure| failure.message.contains("exchange of unique values")), "{outcome:?}");
    assert_eq!(texts(&connection, "SELECT id || name || pos FROM t"), ["1a1", "2b2", "3C3"]);
    // A record of the circle is refused for itself; 4, which waits for one of them, fails with them.
    let records = rows([[v(1), v(2), v("A")], [v(2), v(3), v("bad")], [v(3), v(1), v("C")], [v(4), v(1), v("D")]]);
    let outcome = pull(&store, &plan(&schema(&store, "u"), Strategy::Overwrite), &records, 1);
    expect_counts(&outcome, Counts { failed: 4, ..NONE });
    assert_eq!(texts(&connection, "SELECT id || name || pos FROM u"), ["1a1", "2b2", "3c3", "4d4"]);
}

#[test]
fn rows_that_refer_to_a_value_follow_it_round() {
    let (_folder, store, connection) = sqlite(
        "CREATE TABLE member(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
         CREATE TABLE post(id INTEGER PRIMARY KEY, author TEXT REFERENCES member(name) ON UPDATE CASCADE);
         INSERT INTO member VALUES (1, 'a'), (2, 'b'); INSERT INTO post VALUES (1, 'a'), (2, 'b');",
    );
    let records = rows([[v(1), v("b")], [v(2), v("a")]]);
    let outcome = pull(&store, &plan(&schema(&store, "member"), Strategy::Overwrite), &records, 1);
    expect_counts(&outcome, Counts { updated: 2, ..NONE });
    assert_eq!(texts(&connection, "SELECT id || author FROM post ORDER BY id"), ["1b", "2a"]);
}

/// Rows of (key, two unique values), no two with the same.
fn state() -> impl Generated<Value = Vec<(i64, i64, Option<i64>)>> {
    let values = || Just((1..=7).collect::<Vec<i64>>()).prop_shuffle();
    let kept = prop::collection::vec(any::<(bool, bool)>(), 7);
    (values(), values(), kept).prop_map(|(a, b, kept)| {
        let all = (1..).zip(a).zip(b).zip(kept);
        all.filter(|(_, (here, _))| *here).map(|(((id, a), b), (_, set))| (id, a, set.then_some(b))).collect()
    })
}

fn rows_of(state: &[(i64, i64, Option<i64>)]) -> Rows {
    rows(state.iter().map(|(id, a, b)| [v(*id), v(*a), b.map_or(NULL, v)]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn one_pull_is_enough_wherever_values_can_move(here in state(), there in state(), page in 1_usize..8) {
        let store = MemoryStore::open(&Limits::default()).unwrap();
        let described = table("t", "id integer!, a integer!, b integer", "id").with_unique("a").with_unique("b");
        let [t] = create(&store, [described]);
        fill(&store, &t, &rows_of(&here));
        let outcome = pull(&store, &plan(&t, Strategy::Overwrite), &rows_of(&there), page);
        let stays = here.iter().filter(|row| there.iter().all(|other| other.0 != row.0));
        let mut wanted: Vec<_> = there.iter().chain(stays).copied().collect();
        wanted.sort_unstable();
        let clash = |one: &(i64, i64, Option<i64>), other: &(i64, i64, Option<i64>)| {
            one.0 != other.0 && (one.1 == other.1 || (one.2.is_some() && one.2 == other.2))
        };
        let possible = !wanted.iter().any(|one| wanted.iter().any(|other| clash(one, other)));
        prop_assert_eq!(outcome.failed == 0, possible, "{:?}", outcome);
        prop_assert_eq!(outcome.total(), there.len() as u64);
        let found = contents(&store, &t);
        for row in &found {
            let id = row[0].as_integer().unwrap();
            let failed = outcome.failures.iter().any(|failure| failure.key == [row[0].clone()]);
            let expected = if failed { &here } else { &wanted };
            let expected = expected.iter().find(|row| row.0 == id).map(|row| owned(&rows_of(&[*row])).remove(0));
            prop_assert_eq!(Some(row.clone()), expected);
        }
        let created = there.iter().filter(|row| here.iter().all(|other| other.0 != row.0)).count();
        let failed_new = outcome.failures.iter().filter(|failure| here.iter().all(|row| failure.key != [row.0.into()])).count();
        prop_assert_eq!(found.len(), here.len() + created - failed_new);
    }
}
