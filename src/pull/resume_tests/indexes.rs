//! Indexes that are made after the rows of a table: whatever becomes of the pull, the table gets them.

use std::time::Duration;

use super::all;
use super::fate::How;
use super::world::World;
use crate::domain::strategy::Strategy;
use crate::pull::{Report, TableStatus};

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
