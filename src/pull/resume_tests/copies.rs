//! Copies of a sender's database: rows of one are not taken for rows of the other.

use std::time::Duration;

use uuid::Uuid;

use super::fate::How;
use super::world::World;
use super::{all, is_whole};
use crate::domain::strategy::Strategy;
use crate::error::ErrorKind;
use crate::pull::{Report, TableReport, TableStatus};

const ORIGINAL: Uuid = Uuid::from_u128(1);
const COPY: Uuid = Uuid::from_u128(2);

fn parents(report: &Report) -> &TableReport {
    report.table("parents").unwrap()
}

/// A pull of the parents that was interrupted after the first rows.
fn interrupted(strategy: Strategy) -> World {
    for step in 0..200 {
        let mut world = World::new(false);
        world.fake.incarnation = Some(ORIGINAL);
        if let Ok(report) = world.pull_until(step, How::Killed, all(strategy).tables(["parents"]))
            && parents(&report).status == TableStatus::Incomplete
        {
            return world;
        }
    }
    panic!("no step leaves some of the rows here");
}

/// From now on the copy is pulled from, in which other rows have the same keys.
fn turn_to_the_copy(world: &mut World) {
    world.fake.incarnation = Some(COPY);
    world.there("UPDATE parents SET v = 'copy ' || id");
}

fn rows(world: &World, like: &str) -> i64 {
    let select = "SELECT count(*) FROM parents WHERE v LIKE ?1";
    world.sqlite().query_row(select, [like], |row| row.get(0)).unwrap()
}

#[test]
fn a_pull_of_another_copy_begins_again_and_so_does_the_next_one_of_the_original() {
    let mut world = interrupted(Strategy::Overwrite);
    turn_to_the_copy(&mut world);
    let report = world.pull(all(Strategy::Overwrite).tables(["parents"]));
    assert!(is_whole(&report) && !parents(&report).resumed, "{report:?}");
    assert_eq!(rows(&world, "copy %"), 23);
    world.fake.incarnation = Some(ORIGINAL);
    world.there("UPDATE parents SET v = 'original ' || id");
    let report = world.pull(all(Strategy::Overwrite).tables(["parents"]));
    assert!(is_whole(&report) && !parents(&report).resumed, "its first rows are the copy's by now: {report:?}");
    assert_eq!(rows(&world, "original %"), 23);
}

#[test]
fn an_append_says_that_another_copy_was_appended_before() {
    let append = || all(Strategy::Append).tables(["parents"]);
    let is_refused = |world: &mut World| {
        let before = rows(world, "%");
        for options in [append(), append().append_new(true)] {
            let report = world.pull(options);
            let error = parents(&report).error.as_ref().unwrap();
            assert_eq!(error.kind(), ErrorKind::AlreadyAppended);
            assert!(error.message().contains("another copy"), "{error}");
            assert!(error.hint().unwrap().contains("`PullOptions::append_again`"), "{error}");
        }
        assert_eq!(rows(world, "%"), before);
    };
    // Interrupted, and finished.
    let mut finished = World::new(false);
    finished.fake.incarnation = Some(ORIGINAL);
    assert!(is_whole(&finished.pull(append())));
    for mut world in [interrupted(Strategy::Append), finished] {
        // A process that was killed was not heard of for so long.
        world.clock.advance(Duration::from_secs(121));
        turn_to_the_copy(&mut world);
        is_refused(&mut world);
        let report = world.pull(append().append_again(true));
        assert!(is_whole(&report) && parents(&report).outcome.created == 23, "{report:?}");
        assert_eq!(rows(&world, "copy %"), 23);
        // Now it is the copy's rows that were appended last.
        world.fake.incarnation = Some(ORIGINAL);
        is_refused(&mut world);
    }
}

#[test]
fn an_append_of_another_copy_that_may_run_is_waited_for() {
    let mut world = World::new(false);
    world.fake.incarnation = Some(ORIGINAL);
    let _ = world.pull_until(14, How::Killed, all(Strategy::Append).tables(["parents"])).unwrap();
    world.run("UPDATE rowferry_pulls SET owner = 'another process'");
    turn_to_the_copy(&mut world);
    let before = rows(&world, "%");
    let report = world.pull(all(Strategy::Append).append_again(true).tables(["parents"]));
    let error = parents(&report).error.as_ref().unwrap();
    assert!(error.kind() == ErrorKind::AlreadyAppended && error.message().contains("is appending"), "{error}");
    assert_eq!(rows(&world, "%"), before);
}

#[test]
fn a_copy_that_is_not_known_for_one_is_taken_for_the_sender() {
    let mut world = interrupted(Strategy::Overwrite);
    world.fake.incarnation = None;
    assert!(parents(&world.pull(all(Strategy::Overwrite).tables(["parents"]))).resumed);
}
