//! Pulls that are interrupted at every place there is, and started again: their end is that of a pull that never was.

mod copies;
mod fate;
mod indexes;
mod moves;
mod over;
mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use self::fate::How;
use self::world::{TABLES, World};
use super::{PullOptions, Report, TableStatus};
use crate::cancel::CancelToken;
use crate::domain::record::{Outcome, Reason};
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind};
use crate::limits::Limits;
use crate::site::CheckpointKind;

/// What a pull comes to. Its bytes are left out: a run that fetches nothing does not know the sender's state, and pulls all again.
type Sums = (Vec<(String, TableStatus, bool, Outcome)>, u64, bool);

fn sums(report: &Report) -> Sums {
    let table = |table: &super::TableReport| (table.name.clone(), table.status, table.created_table, table.outcome.clone());
    (report.tables.iter().map(table).collect(), report.records, report.one_state)
}

fn is_whole(report: &Report) -> bool {
    report.tables.iter().all(|table| table.status == TableStatus::Completed)
}

fn all(strategy: Strategy) -> PullOptions<'static> {
    PullOptions::new().strategy(strategy)
}

/// What a pull that is not interrupted comes to: its sums, the rows, and the number of its steps.
fn uninterrupted(strategy: Strategy, exists: bool, streams: bool) -> (Sums, Vec<Vec<String>>, i64) {
    let mut world = World::new(exists);
    world.fake.streams = streams;
    let report = world.pull(all(strategy));
    assert!(is_whole(&report) && report.tables.iter().all(|table| !table.resumed), "{report:?}");
    assert_eq!(world.kept(), [""; 0]);
    let words = &report.table("words").unwrap().outcome.failures;
    let has_duplicates = words.iter().any(|failure| failure.reason == Reason::DuplicateKey);
    assert_eq!(has_duplicates, exists && strategy != Strategy::Append, "{words:?}");
    (sums(&report), world.rows(), world.steps())
}

/// Pulls that are interrupted at these steps, each in a run of its own, until one is whole. No sums if all was done before the last one:
/// it is a new pull, so that nothing that changed meanwhile is missing.
fn interrupted(strategy: Strategy, exists: bool, streams: bool, cuts: &[(i64, How)]) -> (Option<Sums>, Vec<Vec<String>>) {
    let mut world = World::new(exists);
    world.fake.streams = streams;
    let mut was_done = false;
    for (at, how) in cuts {
        match world.pull_until(*at, *how, all(strategy)) {
            // The numbers of a file that is made come with the end of the pull that made it.
            Ok(report) if is_whole(&report) && (exists || (report.error.is_none() && !was_done)) => {
                return ((!was_done).then(|| sums(&report)), world.rows());
            }
            _ => was_done |= world.is_done() && !(exists && strategy == Strategy::Append),
        }
    }
    if was_done {
        // Until then another process may be about to note the end.
        world.clock.advance(Duration::from_secs(180));
    }
    // An append that was done is not done again: the next one adds what is new, and there is nothing.
    let report = world.pull(all(strategy).append_new(was_done && strategy == Strategy::Append));
    assert!(is_whole(&report), "{cuts:?}: {report:#?}");
    assert_eq!(world.kept(), [""; 0], "{cuts:?}");
    ((!was_done).then(|| sums(&report)), world.rows())
}

enum Steps {
    All,
    Even,
    Odd,
}

/// Interrupts a pull at each step of these: two tests that do much the same share the even and the odd ones.
fn each_step(strategy: Strategy, exists: bool, streams: bool, how: How, which: Steps) {
    let (sums, rows, steps) = uninterrupted(strategy, exists, streams);
    assert!(steps > 40, "{steps}");
    let taken = |at: &i64| match which {
        Steps::All => true,
        Steps::Even => at % 2 == 0,
        Steps::Odd => at % 2 == 1,
    };
    for at in (0..steps).filter(taken) {
        let found = interrupted(strategy, exists, streams, &[(at, how)]);
        assert_eq!(found.0.as_ref().unwrap_or(&sums), &sums, "{strategy} at step {at} of {steps}, {how:?}");
        assert_eq!(found.1, rows, "{strategy} at step {at} of {steps}, {how:?}");
    }
}

#[test]
fn an_overwrite_that_is_killed_at_any_step_resumes_there() {
    each_step(Strategy::Overwrite, true, true, How::Killed, Steps::Even);
}

#[test]
fn an_append_that_is_killed_at_any_step_resumes_there() {
    each_step(Strategy::Append, true, false, How::Killed, Steps::Even);
}

#[test]
fn an_append_any_step_of_which_fails_resumes_there() {
    each_step(Strategy::Append, true, true, How::Once, Steps::Odd);
}

#[test]
fn a_merge_any_step_of_which_fails_resumes_there() {
    each_step(Strategy::Merge, true, false, How::Once, Steps::Odd);
}

#[test]
fn a_pull_into_nothing_that_is_killed_at_any_step_resumes_there() {
    each_step(Strategy::Skip, false, true, How::Killed, Steps::All);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn pulls_that_are_interrupted_often_come_to_the_same(
        strategy in proptest::sample::select(Strategy::ALL.to_vec()),
        exists: bool,
        streams: bool,
        cuts in proptest::collection::vec((0_i64..70, proptest::sample::select(vec![How::Killed, How::Once])), 1..6),
    ) {
        let (sums, rows, _) = uninterrupted(strategy, exists, streams);
        let found = interrupted(strategy, exists, streams, &cuts);
        prop_assert_eq!(found.0.as_ref().unwrap_or(&sums), &sums);
        prop_assert_eq!(found.1, rows);
    }
}

/// A pull that was done and could not note it is followed by another one, which is killed before it is known that the first has ended.
#[test]
fn the_numbers_of_a_file_come_however_the_pull_that_made_it_ended() {
    for (strategy, streams) in [(Strategy::Skip, false), (Strategy::Skip, true), (Strategy::Append, false)] {
        let (_, rows, steps) = uninterrupted(strategy, false, streams);
        for then in [&[][..], &[(7, How::Killed)], &[(12, How::Killed), (7, How::Killed)], &[(steps, How::Once)]] {
            for at in steps - 3..steps {
                let cuts: Vec<_> = [(at, How::Once)].into_iter().chain(then.iter().copied()).collect();
                assert_eq!(interrupted(strategy, false, streams, &cuts).1, rows, "{strategy} {cuts:?}");
            }
        }
    }
}

#[test]
fn what_was_done_is_not_fetched_again() {
    let mut world = World::new(false);
    let _ = world.pull(all(Strategy::Skip));
    let (pages, steps) = (world.fake.pages.load(Ordering::SeqCst), world.steps());
    let mut world = World::new(false);
    let _ = world.pull_until(steps / 2, How::Killed, all(Strategy::Skip)).unwrap();
    let before = world.fake.pages.swap(0, Ordering::SeqCst);
    let report = world.pull(all(Strategy::Skip));
    let after = world.fake.pages.load(Ordering::SeqCst);
    assert!(before > 5 && before + after <= pages + TABLES.len(), "{before} and {after} pages of {pages}");
    let resumed: Vec<bool> = report.tables.iter().map(|table| table.resumed).collect();
    assert!(resumed.contains(&true) && resumed.contains(&false), "{resumed:?}");
    assert!(report.table("parents").unwrap().created_table, "it was made by this pull");
}

#[test]
fn rows_of_two_states_are_told() {
    let mut world = World::new(false);
    let _ = world.pull_until(40, How::Killed, all(Strategy::Skip)).unwrap();
    world.fake.state.store(2, Ordering::SeqCst);
    world.there("INSERT INTO parents VALUES (100, 'new'); UPDATE children SET parent = 100 WHERE id = 23");
    let report = world.pull(all(Strategy::Skip).refresh(false));
    assert!(is_whole(&report) && !report.one_state, "{report:?}");
    let resumed = |table: &&super::TableReport| table.resumed;
    assert!(report.tables.iter().any(|table| resumed(&table)), "{report:?}");
    assert!(report.tables.iter().filter(resumed).all(|table| table.age.is_some()), "{report:?}");
}

#[test]
fn what_came_from_an_older_state_is_pulled_again() {
    let mut world = World::new(false);
    world.fake.streams = true;
    let _ = world.pull_until(60, How::Killed, all(Strategy::Overwrite)).unwrap();
    world.fake.state.store(2, Ordering::SeqCst);
    world.there("UPDATE parents SET v = 'new'; INSERT INTO parents VALUES (100, 'new')");
    world.there("UPDATE children SET parent = 100 WHERE id > 20; DELETE FROM children WHERE id = 2");
    let report = world.pull(all(Strategy::Overwrite));
    assert!(is_whole(&report) && report.one_state && world.kept().is_empty(), "{report:?}");
    let parents = report.table("parents").unwrap();
    assert!(parents.resumed && parents.created_table && parents.age.is_none(), "{parents:?}");
    assert_eq!((parents.outcome.created, parents.outcome.total()), (24, 24), "{parents:?}");
    let count = |sql: &str| world.sqlite().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM parents WHERE v <> 'new'"), 0);
    // Those that refer to what was missing until then are there, too.
    assert_eq!(count("SELECT count(*) FROM children WHERE parent = 100"), 3, "{report:?}");
}

#[test]
fn a_table_that_cannot_be_pulled_a_second_time_stays_as_it_is() {
    for (fails_at, kind) in [(0, ErrorKind::Disconnected), (10, ErrorKind::Disconnected), (0, ErrorKind::DownloadLimit)] {
        let mut world = World::new(false);
        let first = world.pull_until(60, How::Killed, all(Strategy::Overwrite)).unwrap();
        assert_eq!(first.table("parents").unwrap().status, TableStatus::Completed, "{first:?}");
        world.fake.state.store(2, Ordering::SeqCst);
        world.there("UPDATE parents SET v = 'new'");
        // Its rows are here already: it is asked for only to have all tables of one state.
        world.fake.fails = vec![("parents", fails_at, kind)];
        let report = world.pull(all(Strategy::Overwrite));
        let parents = report.table("parents").unwrap();
        assert!(is_whole(&report) && parents.error.is_none() && parents.age.is_some(), "{parents:?}");
        assert_eq!((parents.outcome.created, parents.outcome.total()), (23, 23), "{parents:?}");
        assert!(parents.notes.iter().any(|note| note.contains("older state") && note.contains(kind.code())), "{parents:?}");
        assert!(world.kept().is_empty(), "the pull is over");
        let new: i64 =
            world.sqlite().query_row("SELECT count(*) FROM parents WHERE v = 'new'", [], |row| row.get(0)).unwrap();
        assert_eq!(new, fails_at as i64, "{kind:?}");
        world.fake.fails.clear();
        assert!(is_whole(&world.pull(all(Strategy::Overwrite))));
    }
}

#[test]
fn a_reference_sender_is_resumed_by_offset() {
    let mut world = World::new(true);
    (world.fake.is_reference, world.fake.id) = (true, None);
    let options = || all(Strategy::Overwrite).tables(["parents"]);
    let at = 12;
    let first = world.pull_until(at, How::Killed, options()).unwrap();
    assert_eq!(first.tables[0].status, TableStatus::Incomplete, "{first:?}");
    let kept = world.here().checkpoints().list().unwrap();
    assert_eq!((kept.len(), &*kept[0].sender, &*kept[0].table), (1, "url:https://shop.example", "parents"));
    assert!(kept[0].kind == CheckpointKind::Unfinished && kept[0].records > 0 && kept[0].strategy == Strategy::Overwrite);
    let report = world.pull(options().refresh(false));
    let table = report.table("parents").unwrap();
    assert!(table.is_clean() && table.resumed && !report.one_state && table.outcome.total() == 23, "{report:?}");
    assert!(table.age.is_some() && table.notes.iter().any(|note| note.contains("resumed after the first")), "{table:?}");
}

/// A pull of the parents that is interrupted after the first rows: at the first step that leaves some of them here.
fn interrupted_in_parents(strategy: Strategy) -> World {
    for step in 0..200 {
        let mut world = World::new(true);
        if let Ok(report) = world.pull_until(step, How::Killed, all(strategy).tables(["parents"]))
            && report.tables[0].status == TableStatus::Incomplete
        {
            assert!(report.tables[0].outcome.total() < 23, "{report:?}");
            return world;
        }
    }
    panic!("no step leaves some of the rows here");
}

#[test]
fn another_sender_strategy_or_table_does_not_resume() {
    let is_new = |world: &mut World, options: PullOptions<'_>| {
        let report = world.pull(options);
        assert!(report.tables.iter().all(|table| !table.resumed), "{report:?}");
        // The marks of the other one are left alone.
        let kept = world.here().checkpoints().list().unwrap();
        assert!(kept.iter().any(|mark| mark.table == "parents" && mark.kind == CheckpointKind::Unfinished), "{kept:?}");
    };
    let mut world = interrupted_in_parents(Strategy::Overwrite);
    is_new(&mut world, all(Strategy::Merge).tables(["parents"]));
    is_new(&mut world, all(Strategy::Overwrite).tables(["words"]));
    // A dry run tells what would be resumed, and leaves it as it is.
    let kept = world.kept();
    let dry = world.pull(all(Strategy::Overwrite).tables(["parents"]).dry_run(true));
    assert!(dry.tables[0].resumed && dry.records == 23 && world.kept() == kept, "{dry:?}");
    world.fake.id = Some(Uuid::max());
    is_new(&mut world, all(Strategy::Overwrite).tables(["parents"]));
    world.fake.id = Some(Uuid::nil());
    let report = world.pull(all(Strategy::Overwrite).tables(["parents"]));
    assert!(report.tables[0].resumed && report.records == 23, "{report:?}");
    assert_eq!(world.kept(), [""; 0]);
}

#[test]
fn a_table_that_changed_begins_again_and_an_append_of_it_is_refused() {
    let mut world = interrupted_in_parents(Strategy::Overwrite);
    world.run("ALTER TABLE parents ADD COLUMN more");
    let report = world.pull(all(Strategy::Overwrite).tables(["parents"]));
    assert!(report.tables[0].is_clean() && !report.tables[0].resumed && report.records == 23, "{report:?}");

    let mut world = interrupted_in_parents(Strategy::Append);
    world.run("ALTER TABLE parents ADD COLUMN more");
    let append = || all(Strategy::Append).tables(["parents", "children"]);
    let report = world.pull(append());
    for table in ["parents", "children"] {
        let error = report.table(table).unwrap().error.as_ref().unwrap();
        assert!(error.kind() == ErrorKind::AlreadyAppended && error.hint().is_some(), "{table}: {error}");
    }
    let report = world.pull(append().append_again(true));
    assert!(is_whole(&report) && report.table("parents").unwrap().outcome.created == 23, "{report:?}");
}

#[test]
fn an_append_resumes_as_it_began() {
    for (begins, resumes) in [(true, false), (false, true)] {
        let mut resumed = false;
        for step in (0..200).step_by(5) {
            let mut world = World::new(true);
            let append = |again| all(Strategy::Append).tables(["parents"]).append_again(again).append_new(!again);
            assert!(is_whole(&world.pull(append(false))));
            world.run("INSERT INTO parents(v) VALUES ('own')");
            let count = |world: &World| -> i64 {
                world.sqlite().query_row("SELECT count(*) FROM parents", [], |row| row.get(0)).unwrap()
            };
            let rows = count(&world);
            let cut = world.pull_until(step, How::Killed, append(begins));
            if cut.is_ok_and(|report| is_whole(&report)) {
                break;
            }
            let report = world.pull(append(resumes));
            let table = report.table("parents").unwrap();
            if table.resumed && table.error.is_none() {
                resumed = true;
                let created = if begins { 23 } else { 0 };
                assert_eq!((table.outcome.created, count(&world) - rows), (created, created as i64), "step {step}");
            }
        }
        assert!(resumed, "no step leaves an append that resumes");
    }
}

#[test]
fn a_finished_append_is_remembered() {
    let mut world = World::new(true);
    let append = || all(Strategy::Append).tables(["parents", "log"]);
    assert!(is_whole(&world.pull(append())));
    let pages = world.fake.pages.load(Ordering::SeqCst);
    let rows = world.rows();
    let report = world.pull(append());
    for table in ["parents", "log"] {
        let error = report.table(table).unwrap().error.as_ref().unwrap();
        assert_eq!((error.kind(), error.code()), (ErrorKind::AlreadyAppended, "already_appended"), "{error}");
    }
    assert_eq!(world.fake.pages.load(Ordering::SeqCst), pages, "no row was asked for");
    assert_eq!((world.rows(), world.kept()), (rows, vec![]));
    // Another strategy is another matter, and so is another sender.
    assert!(is_whole(&world.pull(all(Strategy::Skip).tables(["parents"]))));
    world.fake.id = Some(Uuid::max());
    assert!(is_whole(&world.pull(append())));
    world.fake.id = Some(Uuid::nil());
    assert!(is_whole(&world.pull(append().append_again(true))));
    let here = world.here();
    let kept: Vec<_> = here.checkpoints().list().unwrap();
    assert!(kept.len() == 4 && kept.iter().all(|mark| mark.kind == CheckpointKind::Appended), "{kept:?}");
    let sender = format!("site:{}", Uuid::nil());
    assert!(
        here.checkpoints().forget(&sender, "PARENTS").unwrap() && !here.checkpoints().forget(&sender, "parents").unwrap()
    );
    assert!(is_whole(&world.pull(all(Strategy::Append).tables(["parents"]))));
    here.checkpoints().clear().unwrap();
    assert_eq!(here.checkpoints().list().unwrap(), []);
    assert!(is_whole(&world.pull(append())));
    // A table that was taken away since has none of the rows.
    world.run("DROP TABLE log");
    assert!(world.pull(all(Strategy::Append).tables(["log"])).table("log").unwrap().is_clean());
}

#[test]
fn checkpoints_that_are_too_old_are_dropped() {
    for maintained in [false, true] {
        let mut world = interrupted_in_parents(Strategy::Overwrite);
        world.clock.advance(Duration::from_secs(24 * 3600 - 60));
        assert_eq!(world.here().maintain().unwrap().dropped_pulls, 0);
        world.clock.advance(Duration::from_secs(120));
        if maintained {
            assert_eq!(world.here().maintain().unwrap().dropped_pulls, 1);
            assert_eq!(world.kept(), [""; 0]);
        }
        let report = world.pull(all(Strategy::Overwrite).tables(["parents"]));
        assert!(report.tables[0].is_clean() && !report.tables[0].resumed, "{report:?}");
        assert_eq!(world.kept(), [""; 0]);
    }
}

#[test]
fn a_pull_whose_checkpoints_are_forgotten_meanwhile_ends() {
    let mut world = World::new(true);
    let here = world.here();
    let options = all(Strategy::Overwrite).tables(["parents"]).on_progress(move |progress| {
        if progress.records == 10 {
            here.checkpoints().clear().unwrap();
        }
    });
    let report = world.pull(options);
    let error = report.tables[0].error.as_ref().unwrap();
    assert!(error.kind() == ErrorKind::Timeout && error.hint().is_some(), "{error}");
    assert_eq!((report.tables[0].outcome.total(), world.kept()), (10, vec![]));
}

#[test]
fn a_small_pull_makes_few_transactions() {
    let mut world = World::new(true);
    world.limits = Limits::default();
    // Its beginning, its end, and the rows of all small tables with their checkpoints and transfers.
    for (tables, transactions) in [(&["parents"][..], 3), (&["parents", "words"], 3)] {
        assert!(is_whole(&world.pull(all(Strategy::Overwrite).tables(tables.iter().copied()))));
        assert_eq!(world.fake.fate.transactions.load(Ordering::SeqCst), transactions, "{tables:?}");
    }
}

#[test]
fn a_pull_that_was_taken_over_ends_and_leaves_everything_to_the_other() {
    let mut world = World::new(true);
    let sqlite = world.sqlite();
    let options = all(Strategy::Overwrite).tables(["parents", "words"]).on_progress(move |progress| {
        if progress.records == 10 {
            sqlite.execute("UPDATE rowferry_pulls SET owner = 'another'", []).unwrap();
        }
    });
    let report = world.pull(options);
    let parents = report.table("parents").unwrap();
    let error = parents.error.as_ref().unwrap();
    assert!(error.kind() == ErrorKind::TakenOver && error.hint().is_some(), "{error}");
    assert_eq!((parents.status, parents.outcome.total()), (TableStatus::Incomplete, 10));
    let words = report.table("words").unwrap();
    assert_eq!((words.status, words.error.as_ref().map(Error::kind)), (TableStatus::Failed, Some(ErrorKind::TakenOver)));
    let kept = world.here().checkpoints().list().unwrap();
    assert_eq!(kept.iter().map(|mark| (&*mark.table, mark.records)).collect::<Vec<_>>(), [("parents", 10), ("words", 0)]);
}

#[test]
fn a_table_that_will_never_come_keeps_no_checkpoints_of_the_others() {
    let mut world = World::new(true);
    world.fake.refused = Some("words");
    for _ in 0..2 {
        let report = world.pull(all(Strategy::Overwrite).tables(["parents", "words"]));
        let words = report.table("words").unwrap();
        assert_eq!(words.error.as_ref().map(Error::kind), Some(ErrorKind::TableNotAllowed));
        assert!(!report.table("parents").unwrap().resumed, "the next pull gets all that is there then");
        assert_eq!(world.kept(), [""; 0]);
    }
}

#[test]
fn children_of_an_append_wait_for_their_parents() {
    let mut world = World::new(true);
    let append = || all(Strategy::Append).tables(["parents", "children"]);
    // The children are not allowed yet; their parents' new keys are kept for them.
    world.fake.refused = Some("children");
    assert!(world.pull(append()).table("parents").unwrap().is_clean());
    world.fake.refused = None;
    let report = world.pull(append());
    assert!(is_whole(&report) && report.table("parents").unwrap().resumed, "{report:?}");
    let strays = "SELECT count(*) FROM children c JOIN parents p ON p.id = c.parent WHERE c.id > 22 AND p.id < 24";
    assert_eq!(world.sqlite().query_row(strays, [], |row| row.get(0)), Ok(0));
    assert_eq!(world.kept(), [""; 0]);
}

#[test]
fn a_pull_that_was_cancelled_resumes() {
    let mut world = World::new(true);
    let token = CancelToken::new();
    world.fake.cancels = Some(token.clone());
    let report = world.pull(all(Strategy::Overwrite).tables(["parents", "children"]).cancel(token));
    let parents = report.table("parents").unwrap();
    assert_eq!(parents.error.as_ref().map(Error::kind), Some(ErrorKind::Cancelled));
    let written = parents.outcome.total();
    assert!(written < 23, "{parents:?}");
    world.fake.cancels = None;
    let report = world.pull(all(Strategy::Overwrite).tables(["parents", "children"]));
    assert!(is_whole(&report), "{report:?}");
    assert_eq!(report.table("parents").unwrap().resumed, written > 0);
    assert_eq!((report.table("parents").unwrap().outcome.total(), world.kept()), (23, vec![]));
}

#[test]
fn what_comes_at_once_and_in_no_order_is_not_asked_for_again() {
    let mut world = World::new(true);
    (world.fake.is_reference, world.fake.asks_apart) = (true, true);
    let options = || all(Strategy::Overwrite).tables(["parents", "words"]);
    let mut done = 0;
    let _ = world.pull_until(22, How::Killed, options()).unwrap();
    for mark in world.here().checkpoints().list().unwrap() {
        done += usize::from(mark.kind == CheckpointKind::Done);
    }
    assert_eq!(done, 1, "{:?}", world.here().checkpoints().list().unwrap());
    let before = world.fake.pages.load(Ordering::SeqCst);
    let report = world.pull(options().refresh(false));
    assert!(is_whole(&report) && report.table("parents").unwrap().outcome.total() == 23, "{report:?}");
    assert!(world.fake.pages.load(Ordering::SeqCst) - before <= 5, "only the other table's");
}

#[test]
fn an_empty_table_is_not_appended() {
    let mut world = World::new(true);
    world.there("DELETE FROM log");
    let append = || all(Strategy::Append).tables(["log"]);
    assert!(is_whole(&world.pull(append())));
    world.there("INSERT INTO log VALUES (1, 'new')");
    assert!(is_whole(&world.pull(append())));
    assert!(!is_whole(&world.pull(append())));
}

#[test]
fn a_pull_wakes_those_who_wait_for_events() {
    let mut world = World::new(false);
    let before = world.wake.count();
    assert!(is_whole(&world.pull(all(Strategy::Skip))));
    assert_ne!(world.wake.count(), before);
}
