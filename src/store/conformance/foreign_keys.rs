//! When foreign keys are checked, and what is done about rows that refer to nothing.

use super::harness::*;
use crate::domain::record::{Outcome, Reason};
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value};
use crate::error::{ErrorKind, Result};
use crate::plan::TablePlan;
use crate::store::{AppendKeys, Scope, Stage, Store, Writer};

fn family(store: &dyn Store) -> [TableSchema; 2] {
    let described = [
        table("parent", "id integer!", "id"),
        table("child", "id integer!, parent integer", "id").with_parent("parent", "parent", "id"),
    ];
    create(store, described)
}

#[track_caller]
fn expect_broken(result: Result<()>) {
    match result {
        Ok(()) => panic!("rows that refer to nothing were committed"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ForeignKey, "a commit of rows that refer to nothing says {error}"),
    }
}

pub(super) fn they_are_checked_at_once(store: &dyn Store) {
    let [parent, child] = family(store);
    let [parent_plan, child_plan] = plans([(&parent, Strategy::Skip), (&child, Strategy::Overwrite)]);
    let scope = Scope::new();
    write(store, |writer| {
        let early = apply_in(writer, &child_plan, &scope, &rows([[v(1), v(5)], [v(2), NULL]]))?;
        expect_counts(&early, Counts { created: 1, failed: 1, ..NONE });
        expect_failure(&early, &[1.into()], Reason::ForeignKey, Some("parent"));
        apply_in(writer, &parent_plan, &scope, &rows([[v(5)]]))?;
        let late = apply_in(writer, &child_plan, &scope, &rows([[v(1), v(5)], [v(2), v(6)]]))?;
        expect_counts(&late, Counts { created: 1, failed: 1, ..NONE });
        Ok(())
    });
    expect_rows(store, &child, &rows([[v(1), v(5)], [v(2), NULL]]));
}

pub(super) fn they_are_checked_at_the_commit_if_deferred(store: &dyn Store) {
    let [parent, child] = family(store);
    let [parent_plan, child_plan] = plans([(&parent, Strategy::Skip), (&child, Strategy::Skip)]);
    let scope = Scope::new();
    let children = rows([[v(1), v(5)], [v(2), v(6)]]);
    let mut writer = begin(store);
    writer.defer_foreign_keys(true).must("defer foreign keys");
    let outcome = apply_in(&mut *writer, &child_plan, &scope, &children).must("write");
    expect_counts(&outcome, Counts { created: 2, ..NONE });
    expect_broken(writer.commit());
    // Nothing is kept yet, and what is missing can still come.
    expect_rows(store, &child, &Rows::new(2));
    assert_eq!(writer.count(&child).must("count"), 2, "the transaction lost its rows");
    apply_in(&mut *writer, &parent_plan, &scope, &rows([[v(5)]])).must("write after a commit that failed");
    expect_broken(writer.commit());
    apply_in(&mut *writer, &parent_plan, &scope, &rows([[v(6)]])).must("write after a commit that failed");
    writer.commit().must("commit");
    drop(writer);
    expect_rows(store, &child, &children);
    // The other way to end it.
    let mut writer = begin(store);
    writer.defer_foreign_keys(true).must("defer foreign keys");
    apply_in(&mut *writer, &child_plan, &scope, &rows([[v(3), v(7)]])).must("write");
    expect_broken(writer.commit());
    drop(writer);
    expect_rows(store, &child, &children);
}

pub(super) fn deferring_ends(store: &dyn Store) {
    let [parent, child] = family(store);
    let [parent_plan, child_plan] = plans([(&parent, Strategy::Skip), (&child, Strategy::Skip)]);
    let scope = Scope::new();
    let expect_checked = |writer: &mut dyn Writer| {
        let outcome = apply_in(writer, &child_plan, &scope, &rows([[v(100), v(99)]]))?;
        expect_counts(&outcome, Counts { failed: 1, ..NONE });
        Ok(())
    };
    // When it is told so.
    write(store, |writer| {
        writer.defer_foreign_keys(true)?;
        apply_in(writer, &child_plan, &scope, &rows([[v(1), v(1)]]))?;
        apply_in(writer, &parent_plan, &scope, &rows([[v(1)]]))?;
        writer.defer_foreign_keys(false)?;
        expect_checked(writer)
    });
    // With the transaction, which ended well.
    write(store, |writer| {
        writer.defer_foreign_keys(true)?;
        apply_in(writer, &child_plan, &scope, &rows([[v(2), v(2)]]))?;
        apply_in(writer, &parent_plan, &scope, &rows([[v(2)]])).map(|_| ())
    });
    write(store, expect_checked);
    // And with one that did not.
    begin(store).defer_foreign_keys(true).must("defer foreign keys");
    write(store, expect_checked);
}

/// A stage with these rows in it.
fn staged(writer: &mut dyn Writer, scope: &Scope, rows: &Rows) -> Result<(Stage, Vec<i64>)> {
    let stage = Stage { scope: scope.clone(), number: 1, width: rows.width() };
    writer.stage_create(&stage)?;
    writer.stage_append(&stage, rows, 0..rows.len())?;
    let numbers = numbers(writer, &stage)?;
    Ok((stage, numbers))
}

fn numbers(writer: &mut dyn Writer, stage: &Stage) -> Result<Vec<i64>> {
    let (mut rows, mut numbers) = (Rows::default(), Vec::new());
    writer.stage_page(stage, 0, ALL, &mut rows, &mut numbers)?;
    Ok(numbers)
}

/// Applies what is staged, with checks deferred.
fn apply_staged(writer: &mut dyn Writer, plan: &TablePlan, stage: &Stage) -> Result<Outcome> {
    let (mut rows, mut numbers) = (Rows::default(), Vec::new());
    writer.stage_page(stage, 0, ALL, &mut rows, &mut numbers)?;
    writer.mark()?;
    writer.defer_foreign_keys(true)?;
    if plan.strategy != Strategy::Append {
        return apply_in(writer, plan, &stage.scope, &rows);
    }
    let mut tally = tally();
    writer.append_keys(plan, &stage.scope, &rows, 0..rows.len())?;
    writer.append(plan, &stage.scope, AppendKeys::Known, &rows, 0..rows.len(), &mut tally)?;
    Ok(tally.outcome)
}

/// As an import does it: again and again without what refers to nothing. `passes` has for each time how many records are
/// created and fail, and which of the six is then found to refer to nothing.
fn expect_passes(store: &dyn Store, name: &str, strategy: Strategy, passes: &[(u64, u64, Option<usize>)]) {
    let node = table(name, "id integer!, name text, up integer", "id").with_parent("up", name, "id");
    let [node] = create(store, [node]);
    let [plan] = plans([(&node, strategy)]);
    // The first two refer to each other, 3 to nothing, 4 to 3, 5 to 4, and 6 to itself.
    let records = [(1, 2), (2, 1), (3, 99), (4, 3), (5, 4), (6, 6)].map(|(id, up)| [v(id), v(format!("n{id}")), v(up)]);
    let scope = Scope::new();
    let mut writer = begin(store);
    let (stage, all) = staged(&mut *writer, &scope, &rows(records)).must("stage rows");
    for (created, failed, orphan) in passes {
        let outcome = apply_staged(&mut *writer, &plan, &stage).must("apply what is staged");
        expect_counts(&outcome, Counts { created: *created, failed: *failed, ..NONE });
        let orphans = writer.orphans(&plan, &stage, 10).must("look for orphans");
        let expected: Vec<_> = orphan.iter().map(|record| (all[record - 1], 0)).collect();
        assert_eq!(orphans, expected, "of the rows {all:?} these refer to nothing under {strategy}");
        let Some(record) = orphan else { break };
        expect_broken(writer.commit());
        assert_eq!(writer.orphans(&plan, &stage, 10).must("look for orphans"), expected, "after a commit that failed");
        writer.undo().must("undo after a commit that failed");
        assert_eq!(writer.count(&node).must("count"), 0, "what was undone is still there");
        writer.stage_remove(&stage, &[all[record - 1]]).must("take a row out of its stage");
    }
    writer.end_scope(&scope).must("end a scope");
    writer.commit().must("commit");
    drop(writer);
    let names: Vec<_> = contents(store, &node).into_iter().map(|mut row| row.swap_remove(1)).collect();
    assert_eq!(names, ["n1", "n2", "n6"].map(Value::from), "the rows that are there under {strategy}");
}

pub(super) fn orphans_are_named_taken_back_and_left_out(store: &dyn Store) {
    let passes = [(6, 0, Some(3)), (5, 0, Some(4)), (4, 0, Some(5)), (3, 0, None)];
    expect_passes(store, "overwrite", Strategy::Overwrite, &passes);
    // A record whose parent is not among the appended ones fails at once.
    expect_passes(store, "append", Strategy::Append, &[(5, 1, Some(4)), (3, 2, None)]);
}

pub(super) fn orphans_are_only_what_is_here(store: &dyn Store) {
    let described = [
        table("parent", "id integer!, code text", "id").with_unique("code"),
        table("child", "id integer!, code text, parent integer", "id")
            .with_parent("code", "parent", "code")
            .with_parent("parent", "parent", "id"),
    ];
    let [parent, child] = create(store, described);
    fill(store, &parent, &rows([[v(1), v("a")]]));
    fill(store, &child, &rows([[v(1), v("a"), v(1)]]));
    let plan = plan(&child, Strategy::Skip);
    let by_id = child.foreign_keys.iter().position(|key| key.columns == ["parent"]).expect("it has that foreign key");
    let scope = Scope::new();
    let mut writer = begin(store);
    let records = rows([
        // The local row stays, and its parent is there.
        [v(1), v("?"), v(99)],
        [v(2), v("a"), v(99)],
        [v(3), v("?"), v(1)],
        [v(4), NULL, v(1)],
        [v(5), NULL, NULL],
        [v(6), v("a"), ABSENT],
    ]);
    let (stage, all) = staged(&mut *writer, &scope, &records).must("stage rows");
    writer.defer_foreign_keys(true).must("defer foreign keys");
    let outcome = apply_in(&mut *writer, &plan, &scope, &records).must("write");
    expect_counts(&outcome, Counts { created: 5, skipped: 1, ..NONE });
    // They can be asked for before a commit fails: a dry run does.
    let mut orphans = writer.orphans(&plan, &stage, 10).must("look for orphans");
    orphans.sort();
    assert_eq!(orphans, [(all[1], by_id), (all[2], 1 - by_id)], "of the rows {all:?} these refer to nothing");
    assert_eq!(writer.orphans(&plan, &stage, 1).must("look for orphans").len(), 1, "at most one was asked for");
}

pub(super) fn orphans_among_rows_without_a_key(store: &dyn Store) {
    let described = [
        table("parent", "id integer!", "id"),
        table("visit", "parent integer, x text", "").with_parent("parent", "parent", "id"),
    ];
    let [parent, visit] = create(store, described);
    fill(store, &parent, &rows([[v(1)]]));
    let plan = plan(&visit, Strategy::Skip);
    let scope = Scope::new();
    let mut writer = begin(store);
    let records = rows([[v(1), v("x")], [v(9), v("x")], [NULL, v("x")]]);
    let (stage, all) = staged(&mut *writer, &scope, &records).must("stage rows");
    let outcome = apply_staged(&mut *writer, &plan, &stage).must("apply what is staged");
    expect_counts(&outcome, Counts { created: 3, ..NONE });
    expect_broken(writer.commit());
    assert_eq!(writer.orphans(&plan, &stage, 10).must("look for orphans"), [(all[1], 0)], "of the rows {all:?}");
}

pub(super) fn orphans_among_rows_that_followed(store: &dyn Store) {
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
    let plans = plans([(&parent, Strategy::Append), (&visit, Strategy::Skip), (&line, Strategy::Skip)]);
    let other = line.foreign_keys.iter().position(|key| key.columns == ["other"]).expect("it has that foreign key");
    for (plan, records, created, expected) in [
        // A visit of somebody who was not appended fails.
        (&plans[1], rows([[v(1), v("follows")], [v(9), v("does not")]]), 1, vec![]),
        (&plans[2], rows([[v(1), v(1), v(99)], [v(1), v(2), NULL], [v(9), v(1), v(99)]]), 2, vec![(0, other)]),
    ] {
        let scope = Scope::new();
        let mut writer = begin(store);
        apply_in(&mut *writer, &plans[0], &scope, &rows([[v(1), v("p")]])).must("append the parent");
        let (stage, all) = staged(&mut *writer, &scope, &records).must("stage rows");
        let outcome = apply_staged(&mut *writer, plan, &stage).must("apply what is staged");
        expect_counts(&outcome, Counts { created, failed: 1, ..NONE });
        let orphans = writer.orphans(plan, &stage, 10).must("look for orphans");
        let expected: Vec<_> = expected.into_iter().map(|(at, key): (usize, usize)| (all[at], key)).collect();
        assert_eq!(orphans, expected, "of the rows {all:?} of {:?}, whose parent was appended", plan.table.name);
    }
}
