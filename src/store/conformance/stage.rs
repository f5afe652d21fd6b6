//! Stages: tables of rowferry's own for rows that wait.

use super::harness::*;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::store::{PageBounds, Scope, Stage, Store, Writer};

fn stage(scope: &Scope, number: u32, width: usize) -> Stage {
    Stage { scope: scope.clone(), number, width }
}

/// A page of a stage: the rows with their numbers.
#[track_caller]
fn page(writer: &mut dyn Writer, stage: &Stage, after: i64, bounds: PageBounds) -> (Vec<i64>, Vec<Vec<Value>>) {
    // What a caller used before must not be seen again.
    let (mut rows, mut numbers) = (Rows::new(1), vec![-7]);
    rows.push([ValueRef::Text(b"left over")]);
    writer.stage_page(stage, after, bounds, &mut rows, &mut numbers).must("read a stage");
    assert_eq!(rows.len(), numbers.len(), "rows and their numbers");
    assert_eq!(rows.width(), stage.width, "the width of the rows");
    (numbers, owned(&rows))
}

fn first(writer: &mut dyn Writer, stage: &Stage) -> Vec<i64> {
    integers(&page(writer, stage, 0, ALL).1, 0)
}

pub(super) fn rows_come_back_by_number(store: &dyn Store) {
    let stage = stage(&Scope::new(), 1, 1);
    let records = rows((0..20).map(|n| [v(n)]));
    write(store, |writer| {
        writer.stage_create(&stage)?;
        writer.stage_append(&stage, &records, 5..10)?;
        writer.stage_append(&stage, &records, 3..3)
    });
    // Later transactions find them, and add to them.
    write(store, |writer| writer.stage_append(&stage, &records, 0..2));
    let mut writer = begin(store);
    let (numbers, found) = page(&mut *writer, &stage, 0, ALL);
    assert_eq!(integers(&found, 0), [5, 6, 7, 8, 9, 0, 1], "rows come in the order in which they were added");
    assert!(numbers.is_sorted_by(|a, b| a < b) && numbers[0] > 0, "their numbers are {numbers:?}");
    for (at, number) in numbers.iter().enumerate() {
        let behind = page(&mut *writer, &stage, *number, ALL);
        assert_eq!(behind.0, numbers[at + 1..], "the rows behind number {number}");
        let (one, row) = page(&mut *writer, &stage, number - 1, PageBounds { rows: 1, ..ALL });
        assert_eq!((&one[..], &row[0]), (&[*number][..], &found[at]), "the row of number {number}");
    }
}

pub(super) fn absent_is_not_null(store: &dyn Store) {
    let width = 40;
    let stage = stage(&Scope::new(), 1, width);
    // Each row lacks other columns; the first one none, the last one all.
    let is_there = |row: usize, at: usize| row == 0 || (row < 39 && (at * row) % 3 != 1);
    let mut records = Rows::new(width);
    for row in 0..width {
        records.start_row();
        for at in (0..width).filter(|at| is_there(row, *at)) {
            records.set(at, if at % 2 == 0 { ValueRef::Null } else { ValueRef::Integer(1) });
        }
    }
    let mut writer = begin(store);
    writer.stage_create(&stage).must("make a stage");
    writer.stage_append(&stage, &records, 0..records.len()).must("fill a stage");
    let (mut found, mut numbers) = (Rows::default(), Vec::new());
    writer.stage_page(&stage, 0, ALL, &mut found, &mut numbers).must("read a stage");
    for row in 0..width {
        for at in 0..width {
            let (found, given) = (found.get(row, at), records.get(row, at));
            assert_eq!(found, given, "column {at} of row {row} (None is a value that is absent)");
        }
    }
}

pub(super) fn pages_are_bounded(store: &dyn Store) {
    let stage = stage(&Scope::new(), 1, 2);
    let content = Value::Blob(vec![7; 10_000]);
    let mut writer = begin(store);
    writer.stage_create(&stage).must("make a stage");
    let records = rows((0..10).map(|n| [v(n), Some(content.clone())]));
    writer.stage_append(&stage, &records, 0..10).must("fill a stage");
    for (bounds, expected) in [
        (PageBounds { rows: 1, ..ALL }, 1),
        (PageBounds { rows: 4, ..ALL }, 4),
        (PageBounds { bytes: 1, ..ALL }, 1),
        (PageBounds { bytes: 45_000, ..ALL }, 5),
        (ALL, 10),
    ] {
        let (numbers, found) = page(&mut *writer, &stage, 0, bounds);
        assert_eq!(integers(&found, 0), (0..expected).collect::<Vec<_>>(), "a page of {bounds:?}");
        let last = numbers.last().copied().unwrap_or(0);
        let (_, next) = page(&mut *writer, &stage, last, ALL);
        assert_eq!(integers(&next, 0), (expected..10).collect::<Vec<_>>(), "what is behind a page of {bounds:?}");
    }
}

pub(super) fn rows_are_taken_out(store: &dyn Store) {
    let stage = stage(&Scope::new(), 1, 1);
    let mut writer = begin(store);
    writer.stage_create(&stage).must("make a stage");
    writer.stage_append(&stage, &rows((0..6).map(|n| [v(n)])), 0..6).must("fill a stage");
    let (numbers, _) = page(&mut *writer, &stage, 0, ALL);
    writer.stage_remove(&stage, &[numbers[1], numbers[5], numbers[2]]).must("take rows out");
    assert_eq!(first(&mut *writer, &stage), [0, 3, 4], "the rows that are left");
    let (_, next) = page(&mut *writer, &stage, numbers[2], PageBounds { rows: 1, ..ALL });
    assert_eq!(integers(&next, 0), [3], "the row behind one that was taken out");
    // What is not there need not be taken out.
    writer.stage_remove(&stage, &[numbers[1], i64::MAX]).must("take rows out again");
    writer.stage_remove(&stage, &[]).must("take no rows out");
    assert_eq!(first(&mut *writer, &stage), [0, 3, 4], "the rows that are left");
}

pub(super) fn stages_are_apart(store: &dyn Store) {
    let (one, other) = (Scope::new(), Scope::new());
    let stages = [stage(&one, 1, 1), stage(&one, 2, 1), stage(&other, 1, 1)];
    for (stage, value) in stages.iter().zip(0..) {
        write(store, |writer| {
            writer.stage_create(stage)?;
            writer.stage_append(stage, &rows([[v(value)]]), 0..1)
        });
    }
    let mut writer = begin(store);
    for (stage, value) in stages.iter().zip(0..) {
        assert_eq!(first(&mut *writer, stage), [value], "the rows of {stage:?}");
    }
}

pub(super) fn the_end_of_a_scope_is_the_end_of_its_stages(store: &dyn Store) {
    let (one, other) = (Scope::new(), Scope::new());
    let stages = [stage(&one, 1, 1), stage(&one, 2, 1), stage(&other, 1, 1)];
    let fill = |writer: &mut dyn Writer, stage: &Stage| {
        writer.stage_create(stage)?;
        writer.stage_append(stage, &rows([[v(1)]]), 0..1)
    };
    write(store, |writer| stages.iter().try_for_each(|stage| fill(writer, stage)));
    write(store, |writer| writer.end_scope(&one));
    let mut writer = begin(store);
    assert_eq!(first(&mut *writer, &stages[2]), [1], "the stage of another scope");
    // There is room for new ones, which are empty.
    for stage in &stages[..2] {
        writer.stage_create(stage).must("make a stage anew");
        assert_eq!(first(&mut *writer, stage), [0_i64; 0], "a stage that was made anew");
    }
    // A scope may end twice, or without having begun.
    for scope in [&one, &one, &Scope::new()] {
        writer.end_scope(scope).must("end a scope");
    }
    writer.commit().must("commit");
}

pub(super) fn a_stage_is_part_of_its_transaction(store: &dyn Store) {
    let stage = stage(&Scope::new(), 1, 1);
    let records = rows((0..3).map(|n| [v(n)]));
    begin(store).stage_create(&stage).must("make a stage");
    write(store, |writer| {
        // The one above was not committed.
        writer.stage_create(&stage)?;
        writer.stage_append(&stage, &records, 0..1)?;
        writer.mark()?;
        writer.stage_append(&stage, &records, 1..2)?;
        writer.undo()?;
        writer.stage_append(&stage, &records, 2..3)
    });
    begin(store).end_scope(&stage.scope).must("end a scope");
    assert_eq!(first(&mut *begin(store), &stage), [0, 2], "the rows that were kept");
}
