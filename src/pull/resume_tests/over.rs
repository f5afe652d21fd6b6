//! What is kept of pulls that are over, and of tables that are done: no table stays behind for a mark of it, and nothing is appended
//! twice.

use std::time::Duration;

use super::world::World;
use super::{all, is_whole};
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind};
use crate::pull::resume_tests::fate::How;
use crate::pull::{PullOptions, Report, TableReport};
use crate::site::CheckpointKind;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn overwrite(tables: &[&str]) -> PullOptions<'static> {
    all(Strategy::Overwrite).tables(tables.iter().copied())
}

fn append(tables: &[&str]) -> PullOptions<'static> {
    all(Strategy::Append).tables(tables.iter().copied())
}

fn table<'r>(report: &'r Report, name: &str) -> &'r TableReport {
    report.table(name).unwrap()
}

fn kind(report: &Report, name: &str) -> Option<ErrorKind> {
    table(report, name).error.as_ref().map(Error::kind)
}

fn count(world: &World, sql: &str) -> i64 {
    world.sqlite().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Something changes at the sender in the first rows.
fn change(world: &World, to: &str) {
    world.there(&format!("UPDATE parents SET v = '{to}' WHERE id = 2"));
}

fn has(world: &World, change: &str) -> bool {
    count(world, &format!("SELECT count(*) FROM parents WHERE id = 2 AND v = '{change}'")) == 1
}

fn marks(world: &World) -> Vec<(String, CheckpointKind)> {
    world.here().checkpoints().list().unwrap().into_iter().map(|mark| (mark.table, mark.kind)).collect()
}

#[test]
fn a_table_whose_pull_ends_is_pulled_whole_again_though_another_one_was_interrupted() {
    let mut world = World::new(true);
    world.fake.fails = vec![("parents", 10, ErrorKind::System), ("words", 10, ErrorKind::System)];
    let _ = world.pull(overwrite(&["parents", "words"]));
    world.fake.fails.clear();
    let report = world.pull(overwrite(&["parents"]));
    assert!(table(&report, "parents").is_clean() && table(&report, "parents").resumed, "{report:?}");
    assert_eq!(marks(&world), [("words".to_owned(), CheckpointKind::Unfinished)]);
    for update in ["first", "second"] {
        change(&world, update);
        let report = world.pull(overwrite(&["parents"]));
        assert!(table(&report, "parents").is_clean() && !table(&report, "parents").resumed, "{report:?}");
        assert!(has(&world, update));
    }
    let report = world.pull(overwrite(&["parents", "words"]));
    assert!(is_whole(&report) && table(&report, "words").resumed && !table(&report, "parents").resumed, "{report:?}");
    assert_eq!(world.kept(), [""; 0]);
}

#[test]
fn a_table_that_is_done_does_not_wait_for_one_that_is_not_pulled() {
    let mut world = World::new(true);
    world.fake.fails = vec![("words", 10, ErrorKind::System)];
    let _ = world.pull(overwrite(&["parents", "words"]));
    assert_eq!(marks(&world).iter().filter(|(_, kind)| *kind == CheckpointKind::Done).count(), 1);
    change(&world, "new");
    let report = world.pull(overwrite(&["parents"]));
    assert!(!table(&report, "parents").resumed && has(&world, "new"), "{report:?}");
    world.fake.fails.clear();
    assert!(table(&world.pull(overwrite(&["words"])), "words").resumed);
    assert_eq!(world.kept(), [""; 0]);
}

#[test]
fn a_table_that_fails_again_at_the_same_place_begins_again_and_holds_up_no_other() {
    for rows in [10, 0] {
        let mut world = World::new(true);
        world.fake.fails = vec![("words", rows, ErrorKind::Database)];
        let _ = world.pull(overwrite(&["parents", "words"]));
        change(&world, "new");
        let report = world.pull(overwrite(&["parents", "words"]));
        assert!(table(&report, "parents").resumed && kind(&report, "words") == Some(ErrorKind::Database), "{report:?}");
        assert_eq!(world.kept(), [""; 0]);
        let report = world.pull(overwrite(&["parents", "words"]));
        assert!(!table(&report, "parents").resumed && has(&world, "new"), "{report:?}");
    }
}

#[test]
fn a_table_is_not_taken_for_done_for_more_than_a_day() {
    let mut world = World::new(true);
    world.fake.fails = vec![("words", 10, ErrorKind::System)];
    let _ = world.pull(overwrite(&["parents", "words"]));
    change(&world, "new");
    for resumed in [true, false] {
        world.clock.advance(DAY * 4 / 5);
        let report = world.pull(overwrite(&["parents", "words"]).refresh(false));
        assert_eq!(table(&report, "parents").resumed, resumed, "{report:?}");
        assert!(table(&report, "words").resumed);
    }
    assert!(has(&world, "new"));
}

#[test]
fn an_append_that_lacks_rows_is_not_appended_again() {
    // With and without a transaction that is open at the end.
    for more in ["", "DELETE FROM children; DELETE FROM parents WHERE id > 20"] {
        let mut world = World::new(true);
        world.there(more);
        world.fake.lacks = 5;
        let report = world.pull(append(&["parents"]));
        assert_eq!(kind(&report, "parents"), Some(ErrorKind::Incomplete), "{report:?}");
        let rows = world.rows();
        for _ in 0..2 {
            assert_eq!(kind(&world.pull(append(&["parents"])), "parents"), Some(ErrorKind::AlreadyAppended));
        }
        assert_eq!((world.rows(), world.kept()), (rows, vec![]));
    }
}

#[test]
fn rows_of_several_states_are_not_counted_against_one() {
    let mut world = World::new(true);
    (world.fake.lacks, world.fake.renews) = (5, true);
    let report = world.pull(overwrite(&["parents"]));
    assert!(is_whole(&report) && !report.one_state, "{report:?}");
    world.fake.renews = false;
    assert_eq!(kind(&world.pull(overwrite(&["parents"])), "parents"), Some(ErrorKind::Incomplete));
}

#[test]
fn appends_that_were_interrupted_in_several_pulls_are_not_begun_again() {
    let mut world = World::new(true);
    world.fake.fails = vec![("parents", 10, ErrorKind::System), ("words", 10, ErrorKind::System)];
    let _ = world.pull(append(&["parents"]));
    world.clock.advance(Duration::from_secs(1));
    let _ = world.pull(append(&["words"]));
    world.fake.fails.clear();
    let both = append(&["parents", "words"]);
    let report = world.pull(both);
    assert!(kind(&report, "words").is_none() && table(&report, "words").resumed, "{report:?}");
    assert_eq!(kind(&report, "parents"), Some(ErrorKind::AlreadyAppended));
    assert!(table(&report, "parents").error.as_ref().unwrap().hint().is_some());
    let report = world.pull(append(&["parents"]));
    assert!(table(&report, "parents").is_clean() && table(&report, "parents").resumed, "{report:?}");
    assert_eq!((count(&world, "SELECT count(*) FROM parents"), world.kept()), (46, vec![]));
    let report = world.pull(append(&["parents", "words"]));
    assert!(report.tables.iter().all(|table| kind(&report, &table.name) == Some(ErrorKind::AlreadyAppended)), "{report:?}");
}

#[test]
fn what_is_appended_again_is_not_resumed_elsewhere() {
    let mut world = World::new(true);
    world.fake.fails = vec![("parents", 10, ErrorKind::System), ("words", 10, ErrorKind::System)];
    let _ = world.pull(append(&["parents"]));
    world.clock.advance(Duration::from_secs(1));
    let _ = world.pull(append(&["words"]));
    world.fake.fails = vec![("parents", 0, ErrorKind::System)];
    // It begins again, and fails before anything came: what was appended before is remembered.
    let report = world.pull(append(&["parents", "words"]).append_again(true));
    assert_eq!(kind(&report, "parents"), Some(ErrorKind::System), "{report:?}");
    world.fake.fails.clear();
    assert_eq!(kind(&world.pull(append(&["parents"])), "parents"), Some(ErrorKind::AlreadyAppended));
    assert!(is_whole(&world.pull(append(&["parents"]).append_again(true))));
    assert_eq!(count(&world, "SELECT count(*) FROM parents"), 23 + 10 + 23);
}

#[test]
fn an_append_that_was_done_when_its_pull_was_killed_is_remembered() {
    let mut world = World::new(true);
    world.fake.fails = vec![("words", 10, ErrorKind::System)];
    let _ = world.pull(append(&["parents", "words"]));
    // As if it had been killed instead.
    world.run("DELETE FROM rowferry_appends; UPDATE rowferry_pulls SET owner = 'killed'");
    world.fake.fails.clear();
    assert_eq!(kind(&world.pull(append(&["parents"])), "parents"), Some(ErrorKind::AlreadyAppended));
    world.clock.advance(Duration::from_secs(180));
    assert!(table(&world.pull(append(&["words"])), "words").resumed);
    assert_eq!(world.kept(), [""; 0]);
    assert_eq!(kind(&world.pull(append(&["parents"])), "parents"), Some(ErrorKind::AlreadyAppended));
}

#[test]
fn an_append_that_is_done_is_not_resumed_for_another_table() {
    for again in [false, true] {
        let mut world = World::new(true);
        world.fake.fails = vec![("words", 10, ErrorKind::System)];
        let _ = world.pull(append(&["parents", "words"]));
        world.there("INSERT INTO parents VALUES (100, 'new')");
        let report = world.pull(append(&["parents"]).append_again(again));
        let rows = count(&world, "SELECT count(*) FROM parents");
        match again {
            true => assert!(is_whole(&report) && rows == 46 + 24, "{rows}: {report:?}"),
            false => assert!(kind(&report, "parents") == Some(ErrorKind::AlreadyAppended) && rows == 46, "{rows}"),
        }
    }
}

#[test]
fn an_append_that_is_too_old_to_resume_is_refused() {
    for maintained in [false, true] {
        let mut world = super::interrupted_in_parents(Strategy::Append);
        let rows = world.rows();
        world.clock.advance(DAY + Duration::from_secs(60));
        if maintained {
            assert_eq!(world.here().maintain().unwrap().dropped_pulls, 1);
        }
        let report = world.pull(append(&["parents"]));
        let error = table(&report, "parents").error.as_ref().unwrap();
        assert!(error.kind() == ErrorKind::AlreadyAppended && error.hint().is_some(), "{error}");
        assert!(error.message().contains("was begun before, and interrupted after 10 records"), "{error}");
        assert_eq!((world.rows(), world.kept()), (rows, vec![]));
        assert_eq!(marks(&world), [("parents".to_owned(), CheckpointKind::Begun)]);
        assert!(is_whole(&world.pull(append(&["parents"]).append_again(true))));
        assert_eq!(marks(&world), [("parents".to_owned(), CheckpointKind::Appended)]);
    }
}

#[test]
fn a_pull_that_may_run_is_taken_over_only_by_one_of_all_its_tables() {
    let interrupted = || {
        let mut world = World::new(true);
        world.fake.fails = vec![("parents", 10, ErrorKind::System), ("words", 10, ErrorKind::System)];
        let _ = world.pull(overwrite(&["parents", "words"]));
        world.fake.fails.clear();
        world.run("UPDATE rowferry_pulls SET owner = 'another process'");
        world
    };
    let mut world = interrupted();
    assert!(!table(&world.pull(overwrite(&["words"])), "words").resumed);
    let both = ["parents", "words"].map(|table| (table.to_owned(), CheckpointKind::Unfinished));
    assert_eq!(marks(&world), both, "it may run: what it keeps is left to it");
    let mut world = interrupted();
    let report = world.pull(overwrite(&["log", "parents", "words"]));
    assert!(table(&report, "words").resumed && table(&report, "parents").resumed, "{report:?}");
    let mut world = interrupted();
    world.clock.advance(Duration::from_secs(121));
    assert!(table(&world.pull(overwrite(&["words"])), "words").resumed);
}

#[test]
fn the_history_has_each_record_once() {
    for strategy in [Strategy::Overwrite, Strategy::Append] {
        // One that is applied as it comes, and one that waits in a stage.
        for (name, rows) in [("parents", 23), ("tree", 23)] {
            let mut world = World::new(true);
            world.fake.fails = vec![(name, 10, ErrorKind::System)];
            let _ = world.pull(all(strategy).tables([name]));
            world.fake.fails.clear();
            let report = world.pull(all(strategy).tables([name]));
            assert!(table(&report, name).resumed && report.records == rows, "{report:?}");
            let sum = |column: &str| count(&world, &format!("SELECT sum({column}) FROM rowferry_transfers"));
            assert_eq!(count(&world, "SELECT count(*) FROM rowferry_transfers"), 2);
            assert_eq!((sum("records_transferred"), sum("bytes_transferred")), (23, 230), "{strategy} {name}");
        }
    }
}

/// Small tables share a transaction: what one of them wrote, and what is known of it, stays when another one is undone.
#[test]
fn what_was_appended_is_known_although_another_table_failed() {
    let mut world = World::new(true);
    world.limits.pull.commit_rows = 1_000;
    world.there("CREATE TABLE notes(k TEXT PRIMARY KEY, b); INSERT INTO notes SELECT NULL, id FROM parents WHERE id < 10");
    let (append, sqlite) = (|| all(Strategy::Append).tables(["notes", "words"]), world.sqlite());
    let mut changed = false;
    let report = world.pull(append().on_progress(|progress| {
        if progress.table == "notes" && !changed {
            sqlite.execute_batch("ALTER TABLE words ADD COLUMN more").unwrap();
            changed = true;
        }
    }));
    assert_eq!(kind(&report, "words"), Some(ErrorKind::SchemaMismatch), "{report:?}");
    assert_eq!(table(&report, "notes").outcome.created, 9, "{report:?}");
    let before = count(&world, "SELECT count(*) FROM notes");
    let again = world.pull(append().append_new(true));
    assert!(is_whole(&again), "{again:?}");
    assert_eq!(
        (table(&again, "notes").outcome.created, count(&world, "SELECT count(*) FROM notes")),
        (0, before),
        "{again:?}"
    );
}

/// The disk was full for a moment: what was tried again counts once.
#[test]
fn what_is_tried_again_counts_once() {
    for strategy in [Strategy::Overwrite, Strategy::Append] {
        let mut tried = 0;
        for at in (0..).step_by(7) {
            let mut world = World::new(true);
            world.limits.pull.retry_time = Duration::from_secs(60);
            let tables = ["parents", "children", "log", "tree"];
            let Ok(report) = world.pull_until(at, How::Once, all(strategy).tables(tables)) else { continue };
            if world.steps() <= at {
                break;
            }
            // It came no further than to the plan, or it was a request that failed.
            let was_lost =
                |table: &TableReport| table.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Disconnected);
            if report.tables.iter().all(|table| table.transfer.is_none()) || report.tables.iter().any(was_lost) {
                continue;
            }
            let failed = table(&report, "children").outcome.failed;
            assert!(is_whole(&report) && world.kept().is_empty(), "at step {at}: {report:?}");
            let sum = |column: &str| count(&world, &format!("SELECT sum({column}) FROM rowferry_transfers"));
            tried += usize::from(count(&world, "SELECT count(*) FROM rowferry_transfers") > 4);
            assert_eq!((sum("records_transferred"), sum("records_failed")), (92, failed as i64), "{strategy} at step {at}");
            for table in &report.tables {
                let sentences: std::collections::BTreeSet<_> = table.notes.iter().collect();
                assert_eq!(sentences.len(), table.notes.len(), "at step {at}: {table:?}");
            }
        }
        assert!(tried > 4, "{tried}");
    }
}

#[test]
fn a_dry_run_holds_up_what_the_run_would() {
    let dry = || all(Strategy::Skip).dry_run(true);
    let mut held = 0;
    for at in 0.. {
        let mut world = World::new(true);
        world.run("DELETE FROM children; DELETE FROM parents");
        let Ok(report) = world.pull_until(at, How::Once, dry().tables(["children", "parents"])) else { continue };
        if is_whole(&report) {
            break;
        }
        let (parents, children) = (table(&report, "parents"), table(&report, "children"));
        if parents.error.is_some() {
            held += 1;
            let error = children.error.as_ref().unwrap();
            assert!(error.message().contains("not tried") || error.message() == "struck", "at step {at}: {error}");
        }
    }
    assert!(held > 4, "{held}");
}

#[test]
fn a_dry_run_tells_which_table_cannot_be_made() {
    let mut world = World::new(false);
    world.run("CREATE VIEW words AS SELECT 1");
    let report = world.pull(all(Strategy::Skip).dry_run(true));
    assert!(kind(&report, "words").is_some() && table(&report, "parents").outcome.created == 23, "{report:?}");
    let made = world.pull(all(Strategy::Skip));
    assert_eq!(kind(&report, "words"), kind(&made, "words"));
}
