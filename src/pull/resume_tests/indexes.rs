//! Indexes that are made after the rows of a table: whatever becomes of the pull, the table gets them.

use std::time::Duration;

use super::all;
use super::fate::How;
use super::world::World;
use crate::domain::strategy::Strategy;
use crate::pull::{Report, TableReport, TableStatus};

fn indexes(world: &World) -> String {
    let select = "SELECT coalesce(group_concat(name), '') FROM (SELECT name FROM sqlite_schema WHERE type = 'index' \
                  AND tbl_name = 'children' ORDER BY name)";
    world.sqlite().query_row(select, [], |row| row.get(0)).unwrap()
}

const BOTH: &str = "by_parent,by_v";

fn is_told(report: &Report) -> bool {
    let notes = &report.table("children").unwrap().notes;
    notes.iter().any(|note| note.contains("indexes_put_off") && note.contains("\"by_v\""))
}

/// A pull that was killed when some of the children were here.
fn killed() -> World {
    for step in 0..200 {
        let mut world = World::new(false);
        world.fake.streams = true;
        if let Ok(report) = world.pull_until(step, How::Killed, all(Strategy::Skip).tables(["parents", "children"]))
            && report.table("children").unwrap().status == TableStatus::Incomplete
        {
            assert!(is_told(&report), "{report:#?}");
            assert_eq!(indexes(&world), "");
            return world;
        }
    }
    panic!("no step leaves some of the rows here");
}

#[test]
fn a_pull_that_resumes_makes_the_indexes_that_were_put_off() {
    let mut world = killed();
    let report = world.pull(all(Strategy::Skip).tables(["parents", "children"]));
    assert!(report.is_clean() && report.table("children").unwrap().resumed && !is_told(&report), "{report:#?}");
    assert_eq!(indexes(&world), BOTH);
}

#[test]
fn a_pull_that_is_forgotten_leaves_no_table_without_its_indexes() {
    let world = killed();
    world.here().checkpoints().clear().unwrap();
    assert_eq!(indexes(&world), BOTH);
    let world = killed();
    world.remove_state();
    assert_eq!(indexes(&world), BOTH);
    let mut world = killed();
    world.clock.advance(Duration::from_secs(25 * 3600));
    let _ = world.pull(all(Strategy::Skip).tables(["log"]));
    assert_eq!(indexes(&world), BOTH);
    let mut world = killed();
    let sender = world.here().checkpoints().list().unwrap()[0].sender.clone();
    world.run("ALTER TABLE children DROP COLUMN v; ALTER TABLE children ADD COLUMN w");
    assert!(world.here().checkpoints().forget(&sender, "children").unwrap(), "one that cannot be made is in nobody's way");
    let _ = world.pull(all(Strategy::Skip).tables(["log"]));
}

#[test]
fn a_table_that_begins_again_gets_its_indexes_too() {
    let mut world = killed();
    // Another column is another plan.
    world.there("ALTER TABLE children ADD COLUMN more");
    world.run("ALTER TABLE children ADD COLUMN more");
    let report = world.pull(all(Strategy::Skip).tables(["parents", "children"]));
    assert!(report.is_clean() && !report.table("children").unwrap().resumed, "{report:#?}");
    assert_eq!(indexes(&world), BOTH);
}

#[test]
fn another_pull_of_the_table_makes_what_one_that_was_killed_put_off() {
    let skip = || all(Strategy::Skip).tables(["children"]);
    let merge = || all(Strategy::Merge).tables(["parents", "children"]);
    for (is_other, is_merge) in [(true, false), (false, true), (true, true)] {
        let options = || if is_merge { merge() } else { skip() };
        let mut world = killed();
        if is_other {
            world.fake.id = Some(uuid::Uuid::max());
        }
        // It may run yet: that is said, and no more.
        let report = world.pull(options());
        assert!(report.table("children").unwrap().status == TableStatus::Completed && is_told(&report), "{report:#?}");
        assert!(
            report.table("children").unwrap().notes.iter().any(|note| note.contains("`Checkpoints::clear`")),
            "{report:#?}"
        );
        assert_eq!(indexes(&world), "");
        // A pull of other tables has nothing to do with it, and a dry run changes nothing.
        world.clock.advance(Duration::from_secs(180));
        let _ = world.pull(all(Strategy::Overwrite).tables(["log"]));
        let _ = world.pull(options().dry_run(true));
        assert_eq!(indexes(&world), "");
        let report = world.pull(options());
        assert!(report.table("children").unwrap().status == TableStatus::Completed && !is_told(&report), "{report:#?}");
        assert_eq!(indexes(&world), BOTH);
        // The other one lacks none any more.
        world.run("DROP INDEX by_v");
        let _ = world.pull(options());
        world.fake.id = Some(uuid::Uuid::nil());
        let report = world.pull(all(Strategy::Skip).tables(["parents", "children"]));
        assert!(report.table("children").unwrap().status == TableStatus::Completed && !is_told(&report), "{report:#?}");
        assert_eq!(indexes(&world), "by_parent");
    }
}

#[test]
fn a_pull_of_some_of_the_tables_tells_what_one_of_all_put_off() {
    let killed_in_all = |step| {
        let mut world = World::new(false);
        world.fake.streams = true;
        let report = world.pull_until(step, How::Killed, all(Strategy::Skip)).ok()?;
        let is_open = |table: &TableReport| table.name != "children" && table.status != TableStatus::Completed;
        let is_begun = report.table("children")?.status == TableStatus::Incomplete;
        (is_begun && report.tables.iter().any(is_open)).then_some(world)
    };
    let mut world = (0..200).find_map(killed_in_all).unwrap();
    let some = || all(Strategy::Skip).tables(["children"]);
    assert_eq!(indexes(&world), "");
    let report = world.pull(some());
    assert!(report.table("children").unwrap().status == TableStatus::Completed && is_told(&report), "{report:#?}");
    world.clock.advance(Duration::from_secs(180));
    let report = world.pull(some());
    assert!(report.table("children").unwrap().status == TableStatus::Completed && !is_told(&report), "{report:#?}");
    assert_eq!(indexes(&world), BOTH);
}

#[test]
fn an_index_of_a_killed_pull_that_cannot_be_made_is_told() {
    let mut world = killed();
    world.run("ALTER TABLE children RENAME COLUMN v TO w");
    world.there("ALTER TABLE children RENAME COLUMN v TO w");
    world.fake.id = Some(uuid::Uuid::max());
    world.clock.advance(Duration::from_secs(180));
    let report = world.pull(all(Strategy::Skip).tables(["children"]));
    assert!(report.table("children").unwrap().status == TableStatus::Completed && is_told(&report), "{report:#?}");
    assert_eq!(indexes(&world), "");
    // The pull itself goes without, and says so once.
    world.fake.id = Some(uuid::Uuid::nil());
    let report = world.pull(all(Strategy::Skip).tables(["parents", "children"]));
    let children = report.table("children").unwrap();
    assert!(children.status == TableStatus::Completed && !is_told(&report), "{report:#?}");
    let left_out = |note: &&String| note.contains("is left out, because the table has no column \"v\"");
    assert_eq!(children.notes.iter().filter(left_out).count(), 2, "{report:#?}");
}
