//! Tables that refer to each other or to themselves: staged rows that are applied together.

use super::*;
use crate::clock::SystemClock;
use crate::error::ErrorKind;
use crate::import::{Finish, Staged, apply_group};

use crate::ledger::stages;
use crate::store::PageBounds;

on_each_store!(
    rows_that_refer_to_nothing_are_left_out_with_all_that_refer_to_them,
    a_long_chain_of_orphans_takes_no_other_row_along,
    orphans_are_only_what_was_written,
    rows_that_were_broken_before_stay_as_they_are,
    orphans_among_rows_without_a_key,
    orphans_among_rows_that_followed,
    a_second_row_with_the_same_value_keeps_the_children,
    what_was_applied_leaves_the_stage,
    a_dry_run_finds_the_same_and_keeps_nothing,
    orphans_by_the_second_of_two_references,
    a_value_that_changes_while_it_is_referred_to,
    a_group_that_fails_leaves_the_next_one_alone,
    a_default_may_refer_to_nothing,
    nothing_is_applied_to_a_table_that_is_not_the_planned_one,
    staged_rows_come_back_as_they_were,
);

/// Stages the records of each table and applies all of them as one group.
#[track_caller]
pub(super) fn group<const N: usize>(store: &dyn Store, tables: [(&TableSchema, Strategy, Rows); N]) -> [Outcome; N] {
    try_group(store, tables, Finish::Commit).must("apply a group")
}

fn try_group<const N: usize>(
    store: &dyn Store,
    tables: [(&TableSchema, Strategy, Rows); N],
    finish: Finish,
) -> Result<[Outcome; N]> {
    let plans = plans(std::array::from_fn::<_, N, _>(|at| (tables[at].0, tables[at].1)));
    let limits = Limits::default();
    let mut import = Ledger::new(here(store, &limits, &SystemClock), Patience::unbounded());
    let mut writer = import.open()?;
    import.begin(&mut *writer, None, Begin::Resume, &[])?;
    writer.commit()?;
    drop(writer);
    let mut staged = Vec::new();
    for (plan, (_, strategy, rows)) in plans.into_iter().zip(&tables) {
        let stage = import.stage(rows.width());
        let checkpoint = Checkpoint::new(&plan.table.name, *strategy, String::new(), rows.len() as u64);
        let mut table = Staged::new(&import, plan, stage, checkpoint, true);
        table.push(&import, rows, &[], &Reached::default())?;
        staged.push(table);
    }
    let mut tx = Transaction::begin(&import)?;
    apply_group(&import, &mut tx, &mut staged, true, finish)?;
    Ok(std::array::from_fn(|at| staged[at].outcome()))
}

/// Applies records as a group of one table, in a transaction that is not committed.
pub(super) fn apply_in_tx(
    store: &dyn Store,
    tx: &mut Transaction,
    table: &TableSchema,
    strategy: Strategy,
    rows: &Rows,
) -> Result<()> {
    let limits = Limits::default();
    let import = Ledger::new(here(store, &limits, &SystemClock), Patience::unbounded());
    let [plan] = plans([(table, strategy)]);
    let stage = stages::Stage { scope: tx.scope.clone(), number: 1, width: rows.width() };
    stages::append(tx.writer.state(), &stage, rows, 0..rows.len())?;
    let checkpoint = Checkpoint::new(&table.name, strategy, String::new(), rows.len() as u64);
    let mut staged = [Staged::new(&import, plan, stage, checkpoint, true)];
    apply_group(&import, tx, &mut staged, true, Finish::Keep)
}

pub(super) fn node(store: &dyn Store, name: &str) -> TableSchema {
    let [node] = create(store, [table(name, "id integer!, name text, up integer", "id").with_parent("up", name, "id")]);
    node
}

pub(super) fn nodes(rows_of: impl IntoIterator<Item = (i64, Option<i64>)>) -> Rows {
    rows(rows_of.into_iter().map(|(id, up)| [v(id), v(format!("n{id}")), up.map_or(NULL, v)]))
}

fn names_of(store: &dyn Store, table: &TableSchema) -> Vec<String> {
    let all = contents(store, table);
    all.iter().map(|row| row[1].as_str().unwrap_or_default().to_owned()).collect()
}

fn rows_that_refer_to_nothing_are_left_out_with_all_that_refer_to_them(store: &dyn Store) {
    // The first two refer to each other, 3 to nothing, 4 to 3, 5 to 4, and 6 to itself.
    let records = || nodes([(1, 2), (2, 1), (3, 99), (4, 3), (5, 4), (6, 6)].map(|(id, up)| (id, Some(up))));
    for strategy in [Strategy::Overwrite, Strategy::Skip, Strategy::Append] {
        let node = node(store, strategy.as_str());
        let [outcome] = group(store, [(&node, strategy, records())]);
        expect_counts(&outcome, Counts { created: 3, failed: 3, ..NONE });
        for key in [3, 4, 5] {
            expect_failure(&outcome, &[key.into()], Reason::ForeignKey, Some("up"));
        }
        assert_eq!(names_of(store, &node), ["n1", "n2", "n6"], "the rows that are there under {strategy}");
    }
}

fn a_long_chain_of_orphans_takes_no_other_row_along(store: &dyn Store) {
    let node = node(store, "node");
    // Each refers to the one after it, and the last to nothing. Three others are whole.
    let chain = (1..=2_000).map(|id| (id, Some(id + 1)));
    let whole = [(3_000, None), (3_001, Some(3_002)), (3_002, Some(3_000))];
    let [outcome] = group(store, [(&node, Strategy::Overwrite, nodes(chain.chain(whole)))]);
    expect_counts(&outcome, Counts { created: 3, failed: 2_000, ..NONE });
    assert_eq!(names_of(store, &node), ["n3000", "n3001", "n3002"], "the rows that are there");
}

fn family(store: &dyn Store) -> [TableSchema; 2] {
    let described = [
        table("parent", "id integer!, code text", "id").with_unique("code"),
        table("child", "id integer!, code text, parent integer", "id")
            .with_parent("code", "parent", "code")
            .with_parent("parent", "parent", "id"),
    ];
    create(store, described)
}

fn orphans_are_only_what_was_written(store: &dyn Store) {
    let [parent, child] = family(store);
    fill(store, &parent, &rows([[v(1), v("a")]]));
    fill(store, &child, &rows([[v(1), v("a"), v(1)]]));
    let records = rows([
        // The local row stays, and its parent is there.
        [v(1), v("?"), v(99)],
        [v(2), v("a"), v(99)],
        [v(3), v("?"), v(1)],
        [v(4), NULL, v(1)],
        [v(5), NULL, NULL],
        [v(6), v("a"), ABSENT],
    ]);
    let [outcome] = group(store, [(&child, Strategy::Skip, records)]);
    expect_counts(&outcome, Counts { created: 3, skipped: 1, failed: 2, ..NONE });
    expect_failure(&outcome, &[2.into()], Reason::ForeignKey, Some("parent"));
    expect_failure(&outcome, &[3.into()], Reason::ForeignKey, Some("code"));
    let expected = [[v(1), v("a"), v(1)], [v(4), NULL, v(1)], [v(5), NULL, NULL], [v(6), v("a"), NULL]];
    expect_rows(store, &child, &rows(expected));
    // A record that changes its row's reference to nothing leaves the row as it was; merge ignores NULL.
    let records = rows([[v(1), v("a"), v(99)], [v(4), v("?"), NULL]]);
    let [outcome] = group(store, [(&child, Strategy::Merge, records)]);
    expect_counts(&outcome, Counts { failed: 2, ..NONE });
    let expected = [[v(1), v("a"), v(1)], [v(4), NULL, v(1)], [v(5), NULL, NULL], [v(6), v("a"), NULL]];
    expect_rows(store, &child, &rows(expected));
}

fn rows_that_were_broken_before_stay_as_they_are(store: &dyn Store) {
    let node = node(store, "node");
    // As a program that does not check its references leaves them.
    if !begin(store).check_references(crate::store::Check::ByCaller, &[]).must("leave references unchecked") {
        // Then no row can be broken here.
        return;
    }
    write(store, |writer| {
        writer.check_references(crate::store::Check::ByCaller, &[])?;
        let mut refused = Vec::new();
        let broken = nodes([(1, Some(98)), (2, Some(99))]);
        writer.write(&node, crate::store::Change::Insert, &broken, 0..2, &mut refused)?;
        assert_eq!(refused, []);
        Ok(())
    });
    let records = rows([[v(1), v("n1"), v(98)], [v(2), v("changed"), v(99)], [v(3), v("n3"), v(1)], [v(4), v("n4"), v(97)]]);
    let [outcome] = group(store, [(&node, Strategy::Overwrite, records)]);
    expect_counts(&outcome, Counts { created: 1, updated: 1, unchanged: 1, failed: 1, ..NONE });
    assert_eq!(names_of(store, &node), ["n1", "changed", "n3"], "the rows that are there");
}

fn orphans_among_rows_without_a_key(store: &dyn Store) {
    let described = [
        table("parent", "id integer!", "id"),
        table("visit", "parent integer, x text", "").with_parent("parent", "parent", "id"),
    ];
    let [parent, visit] = create(store, described);
    fill(store, &parent, &rows([[v(1)]]));
    let records = rows([[v(1), v("x")], [v(9), v("x")], [v(2), v("x")], [NULL, v("x")]]);
    let [_, outcome] = group(store, [(&parent, Strategy::Skip, rows([[v(2)]])), (&visit, Strategy::Skip, records)]);
    expect_counts(&outcome, Counts { created: 3, failed: 1, ..NONE });
    expect_multiset(store, &visit, &rows([[v(1), v("x")], [v(2), v("x")], [NULL, v("x")]]));
}

fn orphans_among_rows_that_followed(store: &dyn Store) {
    let described = [
        table("parent", "id integer!, x text", "id"),
        table("visit", "parent integer, x text", "").with_parent("parent", "parent", "id"),
        table("other", "id integer!", "id"),
        table("line", "parent integer!, n integer!, other integer", "parent n")
            .with_parent("parent", "parent", "id")
            .with_parent("other", "other", "id"),
    ];
    let [parent, visit, _, line] = create(store, described);
    fill(store, &parent, &rows([[v(50), v("local")]]));
    let [_, visits, lines] = group(
        store,
        [
            (&parent, Strategy::Append, rows([[v(1), v("p")]])),
            // A visit of somebody who was not appended fails.
            (&visit, Strategy::Skip, rows([[v(1), v("follows")], [v(9), v("does not")]])),
            (&line, Strategy::Skip, rows([[v(1), v(1), v(99)], [v(1), v(2), NULL], [v(9), v(1), v(99)]])),
        ],
    );
    expect_counts(&visits, Counts { created: 1, failed: 1, ..NONE });
    expect_counts(&lines, Counts { created: 1, failed: 2, ..NONE });
    expect_rows(store, &line, &rows([[v(51), v(2), NULL]]));
    expect_multiset(store, &visit, &rows([[v(51), v("follows")]]));
}

fn a_second_row_with_the_same_value_keeps_the_children(store: &dyn Store) {
    let node = node(store, "node");
    // The first record of 1 refers to nothing, the second one to itself; 2 refers to it.
    let records = nodes([(1, Some(99)), (1, Some(1)), (2, Some(1)), (3, Some(2))]);
    let [outcome] = group(store, [(&node, Strategy::Overwrite, records)]);
    expect_counts(&outcome, Counts { created: 3, updated: 1, ..NONE });
    assert_eq!(names_of(store, &node), ["n1", "n2", "n3"], "the last record of a key counts");
    // And a row that is here keeps its children, whatever becomes of its record.
    let records = nodes([(1, Some(99)), (4, Some(1)), (5, Some(98))]);
    let [outcome] = group(store, [(&node, Strategy::Overwrite, records)]);
    expect_counts(&outcome, Counts { created: 1, failed: 2, ..NONE });
    assert_eq!(names_of(store, &node), ["n1", "n2", "n3", "n4"], "the rows that are there");
}

fn what_was_applied_leaves_the_stage(store: &dyn Store) {
    let node = node(store, "node");
    group(store, [(&node, Strategy::Overwrite, nodes((1..=3_000).map(|id| (id, Some(3_001 - id)))))]);
    for state in ["staged", "pending", "values", "links", "orphans"].map(|name| format!("rowferry_{name}")) {
        let mut left = -1;
        let counted = store.read_state(&mut |sql| {
            left = sql.query(&format!("SELECT count(*) FROM {state}"), &[])?[0][0].as_integer().unwrap_or(-1);
            Ok(())
        });
        counted.must("count");
        assert_eq!(left, 0, "{state} is empty again");
    }
}

fn a_dry_run_finds_the_same_and_keeps_nothing(store: &dyn Store) {
    let node = node(store, "node");
    let records = nodes([(1, Some(2)), (2, Some(1)), (3, Some(99)), (4, Some(3))]);
    let [outcome] = try_group(store, [(&node, Strategy::Overwrite, records)], Finish::Keep).must("try a group");
    expect_counts(&outcome, Counts { created: 2, failed: 2, ..NONE });
    expect_rows(store, &node, &Rows::new(3));
}

fn nothing_is_applied_to_a_table_that_is_not_the_planned_one(store: &dyn Store) {
    let [other] = create(store, [table("other", "id integer!, name text, up text", "id")]);
    let planned = TableSchema { name: "gone".into(), ..other.clone() };
    for (planned, says) in [(planned, "dropped"), (TableSchema { name: "other".into(), ..node(store, "node") }, "changed")] {
        let refused = try_group(store, [(&planned, Strategy::Skip, nodes([(1, None)]))], Finish::Commit);
        let error = refused.map(|_| ()).expect_err("the table is another one");
        assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error}");
        assert!(error.message().contains(says), "{error}");
    }
    expect_rows(store, &other, &Rows::new(3));
}

fn staged_rows_come_back_as_they_were(store: &dyn Store) {
    let stage = |number| stages::Stage { scope: Scope::new(), number, width: 2 };
    let stages_of = [stage(1), stage(2)];
    let cells = |n: i64| [v(n), if n % 3 == 0 { ABSENT } else { Some(Value::Blob(vec![7; (n % 5) as usize * 9_000])) }];
    let all = rows((1..=100).map(cells));
    let bounds = PageBounds { rows: 7, bytes: 1 << 30 };
    write(store, |writer| {
        stages::append(writer.state(), &stages_of[0], &all, 0..60)?;
        stages::append(writer.state(), &stages_of[1], &all, 0..1)?;
        stages::append(writer.state(), &stages_of[0], &all, 60..100)
    });
    write(store, |writer| {
        let sql = writer.state();
        // All but these, and numbers that are in no stage.
        let removed = [1, 2, 50, 60, 61, 100, 101, 5_000].into();
        stages::remove(sql, &stages_of[0], &removed)?;
        let (mut page, mut numbers, mut after, mut found) = (Rows::default(), Vec::new(), 0, Vec::new());
        while let Some(last) = stages::page(sql, &stages_of[0], after, bounds, &mut page, &mut numbers)? {
            assert!(numbers.iter().all(|number| (after + 1..=last).contains(number)), "{numbers:?} up to {last}");
            for (row, number) in numbers.iter().enumerate() {
                let cells = cells(*number);
                let same = (0..2).all(|at| page.get(row, at) == cells[at].as_ref().map(Value::as_ref));
                assert!(same, "row {number} is {:?}", page.row(row).collect::<Vec<_>>());
            }
            found.extend_from_slice(&numbers);
            after = last;
        }
        let expected: Vec<i64> = (1..=100).filter(|number| !removed.contains(number)).collect();
        assert_eq!(found, expected);
        stages::remove_to(sql, &stages_of[0], after)?;
        assert_eq!(stages::page(sql, &stages_of[0], 0, bounds, &mut page, &mut numbers)?, None);
        assert_eq!(stages::page(sql, &stages_of[1], 0, bounds, &mut page, &mut numbers)?, Some(1));
        Ok(())
    });
}

fn orphans_by_the_second_of_two_references(store: &dyn Store) {
    let notes = table("note", "id integer!, made integer, changed integer", "id")
        .with_parent("made", "note", "id")
        .with_parent("changed", "note", "id");
    let [notes] = create(store, [notes]);
    fill(store, &notes, &rows([[v(1), NULL, NULL], [v(10), v(1), NULL]]));
    // The first reference is whole everywhere; by the second one each refers to the next, and the last to nothing.
    let chain = (10..=300).map(|id| [v(id), v(1), v(id + 1)]);
    let [outcome] = group(store, [(&notes, Strategy::Overwrite, rows(chain.chain([[v(5), v(1), v(1)]])))]);
    expect_counts(&outcome, Counts { created: 1, failed: 291, ..NONE });
    for key in [10, 11, 299, 300] {
        expect_failure(&outcome, &[key.into()], Reason::ForeignKey, Some("changed"));
    }
    expect_rows(store, &notes, &rows([[v(1), NULL, NULL], [v(5), v(1), v(1)], [v(10), v(1), NULL]]));
}

fn a_value_that_changes_while_it_is_referred_to(store: &dyn Store) {
    let codes = table("code", "id integer!, code text, up text", "id").with_unique("code").with_parent("up", "code", "code");
    let [codes] = create(store, [codes]);
    // Two records of one key: the second one takes the value away that 2 refers to.
    let records = rows([[v(1), v("a"), NULL], [v(2), v("b"), v("a")], [v(1), v("c"), NULL], [v(3), v("d"), v("b")]]);
    let [outcome] = group(store, [(&codes, Strategy::Overwrite, records)]);
    assert_eq!(outcome.total(), 4, "{outcome:?}");
    let codes_of = |column: usize| contents(store, &codes).into_iter().map(move |row| row[column].clone());
    let there: Vec<Value> = codes_of(1).collect();
    let broken: Vec<Value> = codes_of(2).filter(|up| *up != Value::Null && !there.contains(up)).collect();
    assert_eq!(broken, [], "rows that refer to nothing, of {there:?}");
}

fn a_group_that_fails_leaves_the_next_one_alone(store: &dyn Store) {
    let [parent, child] = family(store);
    let node = node(store, "node");
    let scope = Scope::new();
    let mut tx = begin_in(store, &scope);
    let gone = TableSchema { name: "gone".into(), ..node.clone() };
    let failed = apply_in_tx(store, &mut tx, &gone, Strategy::Overwrite, &nodes([(1, None)]));
    assert_eq!(failed.map_err(|error| error.kind()), Err(ErrorKind::SchemaMismatch));
    tx.take_back().must("take a group back");
    // References are checked at once again.
    let [_, plan] = plans([(&parent, Strategy::Skip), (&child, Strategy::Skip)]);
    let outcome = apply_in(&mut tx, &plan, &rows([[v(1), v("?"), v(99)]])).must("write");
    expect_counts(&outcome, Counts { failed: 1, ..NONE });
}

fn a_default_may_refer_to_nothing(store: &dyn Store) {
    let mut notes = table("note", "a integer, up integer", "").with_parent("up", "code", "id");
    notes.columns[1].default = Some("7".into());
    let [codes, notes] = create(store, [table("code", "id integer!", "id"), notes]);
    let records = || rows([[v(1), ABSENT], [v(2), v(1)]]);
    for strategy in [Strategy::Skip, Strategy::Append] {
        let tables = [(&codes, strategy, rows([[v(1)]])), (&notes, strategy, records())];
        let error = try_group(store, tables, Finish::Commit).map(|_| ()).expect_err("7 is not there");
        assert_eq!(error.kind(), ErrorKind::ForeignKey, "{error}");
    }
    let [_, outcome] = group(store, [(&codes, Strategy::Skip, rows([[v(1)], [v(7)]])), (&notes, Strategy::Skip, records())]);
    expect_counts(&outcome, Counts { created: 2, ..NONE });
}
