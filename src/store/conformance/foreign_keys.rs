//! When foreign keys are checked, and what is done about rows that refer to nothing.

use super::harness::*;
use crate::domain::record::Reason;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
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
fn apply_staged(writer: &mut dyn Writer, plan: &TablePlan, stage: &Stage) -> Result<()> {
    let (mut rows, mut numbers) = (Rows::default(), Vec::new());
    writer.stage_page(stage, 0, ALL, &mut rows, &mut numbers)?;
    writer.mark()?;
    writer.defer_foreign_keys(true)?;
    let outcome = if plan.strategy == Strategy::Append {
        let mut tally = tally();
        writer.append_keys(plan, &stage.scope, &rows, 0..rows.len())?;
        writer.append(plan, &stage.scope, AppendKeys::Known, &rows, 0..rows.len(), &mut tally)?;
        tally.outcome
    } else {
        apply_in(writer, plan, &stage.scope, &rows)?
    };
    expect_counts(&outcome, Counts { created: rows.len() as u64, ..NONE });
    Ok(())
}

/// As an import does it: again and again without what refers to nothing.
pub(super) fn orphans_are_named_taken_back_and_left_out(store: &dyn Store) {
    let tables = create(
        store,
        ["overwrite", "append"]
            .map(|name| table(name, "id integer!, name text, up integer", "id").with_parent("up", name, "id")),
    );
    // 3 refers to nothing, 4 to 3, 5 to 4; 1 and 2 refer to each other, 6 to itself.
    let records = [(1, 2), (2, 1), (3, 99), (4, 3), (5, 4), (6, 6)].map(|(id, up)| [v(id), v(format!("n{id}")), v(up)]);
    for (table, strategy) in tables.iter().zip([Strategy::Overwrite, Strategy::Append]) {
        let [plan] = plans([(table, strategy)]);
        let scope = Scope::new();
        let mut writer = begin(store);
        let (stage, all) = staged(&mut *writer, &scope, &rows(records.clone())).must("stage rows");
        for at in [2, 3, 4] {
            apply_staged(&mut *writer, &plan, &stage).must("apply what is staged");
            expect_broken(writer.commit());
            let orphans = writer.orphans(&plan, &stage, 10).must("look for orphans");
            assert_eq!(orphans, [(all[at], 0)], "of the rows {all:?} that one refers to nothing under {strategy}");
            writer.undo().must("undo after a commit that failed");
            assert_eq!(writer.count(table).must("count"), 0, "what was undone is still there");
            writer.stage_remove(&stage, &[all[at]]).must("take a row out of its stage");
        }
        apply_staged(&mut *writer, &plan, &stage).must("apply what is staged");
        assert_eq!(writer.orphans(&plan, &stage, 10).must("look for orphans"), [], "no row refers to nothing");
        writer.end_scope(&scope).must("end a scope");
        writer.commit().must("commit");
        drop(writer);
        let names: Vec<_> = contents(store, table).iter().filter_map(|row| row[1].as_str().map(String::from)).collect();
        assert_eq!(names, ["n1", "n2", "n6"], "the rows that are there under {strategy}");
    }
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
    apply_staged(&mut *writer, &plan, &stage).must("apply what is staged");
    expect_broken(writer.commit());
    assert_eq!(writer.orphans(&plan, &stage, 10).must("look for orphans"), [(all[1], 0)], "of the rows {all:?}");
}

pub(super) fn orphans_among_rows_that_followed(store: &dyn Store) {
    let described = [
        table("parent", "id integer!, x text", "id"),
        table("visit", "parent integer, x text", "").with_parent("parent", "parent", "id"),
        table("line", "parent integer!, n integer!, up integer", "parent n")
            .with_parent("parent", "parent", "id")
            .with_parent("up", "parent", "id"),
    ];
    let [parent, visit, line] = create(store, described);
    fill(store, &parent, &rows([[v(50), v("local")]]));
    let plans = plans([(&parent, Strategy::Append), (&visit, Strategy::Skip), (&line, Strategy::Skip)]);
    let up = line.foreign_keys.iter().position(|key| key.columns == ["up"]).expect("it has that foreign key");
    for (plan, records, expected) in [
        (&plans[1], rows([[v(1), v("follows")], [v(9), v("does not")]]), [(1, 0)]),
        (&plans[2], rows([[v(1), v(1), v(1)], [v(1), v(2), v(9)]]), [(1, up)]),
    ] {
        let scope = Scope::new();
        let mut writer = begin(store);
        apply_in(&mut *writer, &plans[0], &scope, &rows([[v(1), v("p")]])).must("append the parent");
        let (stage, all) = staged(&mut *writer, &scope, &records).must("stage rows");
        apply_staged(&mut *writer, plan, &stage).must("apply what is staged");
        let orphans = writer.orphans(plan, &stage, 10).must("look for orphans");
        let expected = expected.map(|(at, key): (usize, usize)| (all[at], key));
        assert_eq!(orphans, expected, "of the rows {all:?} of {:?}, whose parent was appended", plan.table.name);
    }
}
