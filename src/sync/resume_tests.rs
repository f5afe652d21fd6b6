//! Pulls that are cut off at every place there is, and started again: their end is that of a pull that was never cut off.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use time::macros::datetime;
use uuid::Uuid;

use super::source::{Page, Position, Source, Stream};
use super::{Origin, Report, TableStatus, TransferOptions, pull};
use crate::cancel::Patience;
use crate::clock::ManualClock;
use crate::domain::record::{Outcome, Tally};
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::table::TableInfo;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::plan::TablePlan;
use crate::site::{RememberedKind, Site};
use crate::store::sqlite::SqliteStore;
use crate::store::{AppendKeys, PageBounds, Scope, Snapshot, Sql, Stage, Store, Writer};

/// What happens at the steps of a pull: requests, and calls of the store.
#[derive(Debug, Default)]
struct Fate {
    /// Steps until it strikes; below zero it has struck.
    left: AtomicI64,
    /// Steps that were made.
    made: AtomicUsize,
    transactions: AtomicUsize,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum How {
    /// From then on nothing works any more: as if the process had been killed there.
    #[default]
    Killed,
    /// The step alone fails.
    Once,
}

impl Fate {
    fn new(left: i64, how: How) -> Arc<Self> {
        Arc::new(Fate { left: AtomicI64::new(left), how, ..Fate::default() })
    }

    fn step(&self, kind: ErrorKind) -> Result<()> {
        self.made.fetch_add(1, Ordering::SeqCst);
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let strikes = match self.how {
            How::Killed => left <= 0,
            How::Once => left == 0,
        };
        if strikes { Err(Error::new(kind, "struck")) } else { Ok(()) }
    }

    fn store_step(&self) -> Result<()> {
        self.step(ErrorKind::DiskFull)
    }
}

/// A store each call of which may fail.
#[derive(Debug)]
struct Fated {
    store: SqliteStore,
    fate: Arc<Fate>,
}

impl Store for Fated {
    fn name(&self) -> String {
        self.store.name()
    }

    fn key_path(&self) -> Option<PathBuf> {
        None
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.store.snapshot()
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        self.fate.transactions.fetch_add(1, Ordering::SeqCst);
        self.fate.store_step()?;
        Ok(Box::new(FatedWriter { writer: self.store.writer()?, fate: Arc::clone(&self.fate) }))
    }

    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.fate.transactions.fetch_add(1, Ordering::SeqCst);
        self.fate.store_step()?;
        self.store.state(work)
    }

    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.store.read_state(work)
    }
}

struct FatedWriter {
    writer: Box<dyn Writer>,
    fate: Arc<Fate>,
}

impl Writer for FatedWriter {
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        self.writer.schema(table)
    }

    fn count(&mut self, table: &TableSchema) -> Result<u64> {
        self.writer.count(table)
    }

    fn create_table(&mut self, table: &TableSchema) -> Result<()> {
        self.writer.create_table(table)
    }

    fn apply(&mut self, plan: &TablePlan, scope: &Scope, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<()> {
        self.fate.store_step()?;
        self.writer.apply(plan, scope, rows, range, tally)
    }

    fn count_whole(&mut self, plan: &TablePlan, scope: &Scope) -> Result<()> {
        self.writer.count_whole(plan, scope)
    }

    fn apply_whole(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        rows: &Rows,
        range: Range<usize>,
        tally: &mut Tally,
    ) -> Result<()> {
        self.fate.store_step()?;
        self.writer.apply_whole(plan, scope, rows, range, tally)
    }

    fn stage_create(&mut self, stage: &Stage) -> Result<()> {
        self.fate.store_step()?;
        self.writer.stage_create(stage)
    }

    fn stage_append(&mut self, stage: &Stage, rows: &Rows, range: Range<usize>) -> Result<()> {
        self.fate.store_step()?;
        self.writer.stage_append(stage, rows, range)
    }

    fn stage_page(
        &mut self,
        stage: &Stage,
        after: i64,
        bounds: PageBounds,
        rows: &mut Rows,
        numbers: &mut Vec<i64>,
    ) -> Result<()> {
        self.writer.stage_page(stage, after, bounds, rows, numbers)
    }

    fn stage_remove(&mut self, stage: &Stage, numbers: &[i64]) -> Result<()> {
        self.fate.store_step()?;
        self.writer.stage_remove(stage, numbers)
    }

    fn orphans(&mut self, plan: &TablePlan, stage: &Stage, limit: usize) -> Result<Vec<(i64, usize)>> {
        self.writer.orphans(plan, stage, limit)
    }

    fn append(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        keys: AppendKeys,
        rows: &Rows,
        range: Range<usize>,
        tally: &mut Tally,
    ) -> Result<()> {
        self.fate.store_step()?;
        self.writer.append(plan, scope, keys, rows, range, tally)
    }

    fn append_keys(&mut self, plan: &TablePlan, scope: &Scope, rows: &Rows, range: Range<usize>) -> Result<()> {
        self.fate.store_step()?;
        self.writer.append_keys(plan, scope, rows, range)
    }

    fn end_scope(&mut self, scope: &Scope) -> Result<()> {
        self.writer.end_scope(scope)
    }

    fn defer_foreign_keys(&mut self, deferred: bool) -> Result<()> {
        self.writer.defer_foreign_keys(deferred)
    }

    fn mark(&mut self) -> Result<()> {
        self.writer.mark()
    }

    fn undo(&mut self) -> Result<()> {
        self.writer.undo()
    }

    fn state(&mut self) -> &mut dyn Sql {
        self.writer.state()
    }

    /// It may fail before anything is kept. A process may also be killed right behind it: with [`How::Killed`] the next step
    /// then does not come.
    fn commit(&mut self) -> Result<()> {
        self.fate.store_step()?;
        self.writer.commit()
    }
}

/// A sender that is a site in the same process.
struct Fake {
    site: Site,
    id: Option<Uuid>,
    fate: Arc<Fate>,
    /// Whether its pages come by themselves, from places of its own.
    streams: bool,
    /// Whether it is a site of the reference system.
    is_reference: bool,
    /// A table that it does not let anyone have.
    refused: Option<&'static str>,
    state: AtomicU64,
    pages: AtomicUsize,
}

impl Fake {
    fn cut(&self, table: &str, offset: u64, limit: u64, rows: &mut Rows) -> Result<Page> {
        if self.refused == Some(table) {
            return Err(Error::new(ErrorKind::TableNotAllowed, "no"));
        }
        self.fate.step(ErrorKind::Disconnected)?;
        self.pages.fetch_add(1, Ordering::SeqCst);
        let records = self.site.export_records(table, offset, limit)?;
        (0..records.rows.len()).for_each(|row| rows.push_from(&records.rows, row));
        let received = records.rows.len() as u64;
        let has_more = offset + received < self.site.get_count(table)?;
        let state = Some(self.state.load(Ordering::SeqCst)).filter(|_| !self.is_reference);
        let place = self.streams.then(|| format!("{table} {}", offset + received).into_bytes());
        Ok(Page { received, has_more, state, place, bytes: 10 * received, ..Page::default() })
    }
}

impl Source for Fake {
    fn is_rowferry(&self) -> bool {
        !self.is_reference
    }

    fn site(&self) -> Option<Uuid> {
        self.id
    }

    fn is_open(&self) -> bool {
        true
    }

    fn tables(&self, _: &Patience) -> Result<Vec<TableInfo>> {
        self.site.list_tables()
    }

    fn schema(&self, table: &str, _: &Patience) -> Result<TableSchema> {
        self.site.get_schema(table)
    }

    fn count(&self, table: &str, _: &Patience) -> Result<u64> {
        self.site.get_count(table)
    }

    fn stream<'s>(
        &'s self,
        table: &'s TableSchema,
        from: &Position,
        _: Option<u32>,
        _: &Patience,
    ) -> Result<Option<Box<dyn Stream + 's>>> {
        if !self.streams {
            return Ok(None);
        }
        let next = match &from.place {
            None => 0,
            Some(place) => {
                let place = String::from_utf8(place.clone()).unwrap();
                let (of, next) = place.rsplit_once(' ').unwrap();
                assert_eq!(of, table.name, "places are given back as they came");
                next.parse().unwrap()
            }
        };
        assert_eq!(next, from.records);
        Ok(Some(Box::new(Streaming { fake: self, table: &table.name, next })))
    }

    fn page(&self, table: &TableSchema, offset: u64, limit: u32, rows: &mut Rows, _: &Patience) -> Result<Page> {
        self.cut(&table.name, offset, u64::from(limit), rows)
    }
}

struct Streaming<'f> {
    fake: &'f Fake,
    table: &'f str,
    next: u64,
}

impl Stream for Streaming<'_> {
    fn next(&mut self, rows: &mut Rows, _: &Patience) -> Result<Page> {
        let page = self.fake.cut(self.table, self.next, 7, rows)?;
        self.next += page.received;
        Ok(page)
    }

    fn may_come(&self) -> bool {
        true
    }

    fn done_with(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn keep_open(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Parents and children; a key with NULL in it; a table that refers to itself; two that refer to each other; one without a key.
const SHOP: &str = "
    CREATE TABLE parents(id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE children(id INTEGER PRIMARY KEY, parent INT REFERENCES parents(id), v TEXT);
    CREATE TABLE words(k TEXT PRIMARY KEY, v INT);
    CREATE TABLE tree(id INTEGER PRIMARY KEY, up INT REFERENCES tree(id));
    CREATE TABLE hens(id INTEGER PRIMARY KEY, egg INT REFERENCES eggs(id));
    CREATE TABLE eggs(id INTEGER PRIMARY KEY, hen INT REFERENCES hens(id));
    CREATE TABLE log(at INT, what TEXT);";

const ROWS: &str = "
    CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 23) SELECT i FROM n;
    INSERT INTO parents SELECT i, 'parent ' || i FROM n;
    INSERT INTO children SELECT i, nullif(1 + (i * 5) % 24, 24), 'child ' || i FROM n;
    INSERT INTO words SELECT CASE WHEN i % 4 THEN 'w' || i END, i % 5 FROM n;
    INSERT INTO tree SELECT i, 1 + (i * 7) % 23 FROM n;
    INSERT INTO hens SELECT i, 1 + (i * 3) % 23 FROM n; INSERT INTO eggs SELECT i, 24 - i FROM n;
    INSERT INTO log SELECT i % 4, 'x' FROM n;";

const TABLES: [&str; 7] = ["children", "eggs", "hens", "log", "parents", "tree", "words"];

/// What is here before: some of the rows, some of them changed, and a trigger that refuses one. It is the last one, because an
/// append that goes on gives the next row the number that a row which failed was to have.
const HERE: &str = "
    DELETE FROM children WHERE id % 2; UPDATE children SET v = 'old' WHERE id % 4 = 0;
    DELETE FROM words WHERE v = 1; DELETE FROM tree WHERE id > 5; DELETE FROM log WHERE at = 2;
    DELETE FROM hens; DELETE FROM eggs; UPDATE parents SET v = NULL WHERE id < 9;
    CREATE TRIGGER no BEFORE INSERT ON children WHEN new.v = 'child 23' BEGIN SELECT RAISE(ABORT, 'not this one'); END;";

struct World {
    folder: tempfile::TempDir,
    fake: Fake,
    clock: Arc<ManualClock>,
    limits: Limits,
}

impl World {
    fn new(exists: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there.db");
        let make = |path: &PathBuf, sql: &[&str]| {
            let sqlite = rusqlite::Connection::open(path).unwrap();
            sqlite.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
            sql.iter().for_each(|sql| sqlite.execute_batch(sql).unwrap());
        };
        make(&there, &[SHOP, ROWS]);
        if exists {
            make(&folder.path().join("here.db"), &[SHOP, ROWS, HERE]);
        }
        let fake = Fake {
            site: Site::open(&there).unwrap(),
            id: Some(Uuid::nil()),
            fate: Fate::new(i64::MAX, How::Killed),
            streams: false,
            is_reference: false,
            refused: None,
            state: AtomicU64::new(1),
            pages: AtomicUsize::new(0),
        };
        let clock = Arc::new(ManualClock::new(datetime!(2026-01-02 03:04:05 UTC)));
        let limits = Limits { commit_rows: 10, lock_pause_percent: 0, ..Limits::default() };
        World { folder, fake, clock, limits }
    }

    fn here(&self) -> Site {
        let path = self.folder.path().join("here.db");
        Site::builder().clock(self.clock.clone()).limits(self.limits.clone()).open(path).unwrap()
    }

    fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("here.db")).unwrap()
    }

    fn run(&self, sql: &str) {
        self.sqlite().execute_batch(sql).unwrap();
    }

    fn there(&self, sql: &str) {
        rusqlite::Connection::open(self.folder.path().join("there.db")).unwrap().execute_batch(sql).unwrap();
    }

    /// Pulls; from step `left` on it goes wrong.
    fn pull_until(&mut self, left: i64, how: How, options: TransferOptions<'_>) -> Result<Report> {
        let fate = Fate::new(left, how);
        self.fake.fate = Arc::clone(&fate);
        let store = SqliteStore::open(self.folder.path().join("here.db"), &self.limits).unwrap();
        let store = Fated { store, fate };
        let origin = Origin { connection: None, site_url: "https://shop.example".to_owned() };
        pull(&self.fake, &store, &self.limits, &*self.clock, options.batch_size(5), Some(origin))
    }

    fn pull(&mut self, options: TransferOptions<'_>) -> Report {
        self.pull_until(i64::MAX, How::Killed, options).unwrap()
    }

    /// How many steps a pull has.
    fn steps(&self) -> i64 {
        self.fake.fate.made.load(Ordering::SeqCst) as i64
    }

    /// All rows here.
    fn rows(&self) -> Vec<Vec<String>> {
        let sqlite = self.sqlite();
        let of = |table: &str| {
            let mut columns = Vec::new();
            let mut info = sqlite.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
            let names = info.query_map([], |row| row.get::<_, String>(0)).unwrap();
            names.for_each(|name| columns.push(format!("quote({})", name.unwrap())));
            let all = columns.join(" || ' ' || ");
            let mut select = sqlite.prepare(&format!("SELECT {all} FROM {table} ORDER BY 1")).unwrap();
            select.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect()
        };
        TABLES.iter().map(|table| of(table)).collect()
    }

    fn kept(&self) -> Vec<String> {
        let sqlite = self.sqlite();
        let tables = ["rowferry_pulls", "rowferry_marks", "rowferry_stages", "rowferry_key_map", "rowferry_counts"];
        let holds = |table: &str| sqlite.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
        let mut kept: Vec<String> = tables.iter().filter(|t| holds(t).unwrap() > 0).map(|t| t.to_string()).collect();
        let mut stages = sqlite.prepare("SELECT name FROM sqlite_schema WHERE name GLOB 'rowferry_stage_*'").unwrap();
        kept.extend(stages.query_map([], |row| row.get::<_, String>(0)).unwrap().map(|name| name.unwrap()));
        kept
    }
}

type Sums = (Vec<(String, TableStatus, bool, Outcome)>, u64, u64, bool);

fn sums(report: &Report) -> Sums {
    let table = |(name, table): &(String, super::TableReport)| {
        (name.clone(), table.status, table.created_table, table.outcome.clone())
    };
    (report.tables.iter().map(table).collect(), report.records, report.bytes, report.one_state)
}

fn is_whole(report: &Report) -> bool {
    report.tables.iter().all(|(_, table)| table.status == TableStatus::Completed)
}

fn all(strategy: Strategy) -> TransferOptions<'static> {
    TransferOptions::new().strategy(strategy)
}

/// What a pull that is not cut off comes to: its sums, the rows, and the number of its steps.
fn uninterrupted(strategy: Strategy, exists: bool, streams: bool) -> (Sums, Vec<Vec<String>>, i64) {
    let mut world = World::new(exists);
    world.fake.streams = streams;
    let report = world.pull(all(strategy));
    assert!(is_whole(&report) && report.tables.iter().all(|(_, table)| !table.resumed), "{report:?}");
    assert_eq!(world.kept(), [""; 0]);
    (sums(&report), world.rows(), world.steps())
}

/// Pulls that are cut off at these steps, each in a run of its own, until one is whole.
fn interrupted(strategy: Strategy, exists: bool, streams: bool, cuts: &[(i64, How)]) -> (Sums, Vec<Vec<String>>) {
    let mut world = World::new(exists);
    world.fake.streams = streams;
    for (at, how) in cuts {
        match world.pull_until(*at, *how, all(strategy)) {
            Ok(report) if is_whole(&report) => return (sums(&report), world.rows()),
            _ => {}
        }
    }
    let report = world.pull(all(strategy));
    assert!(is_whole(&report), "{cuts:?}: {report:#?}");
    assert_eq!(world.kept(), [""; 0], "{cuts:?}");
    (sums(&report), world.rows())
}

fn each_step(strategy: Strategy, exists: bool, streams: bool, how: How) {
    let (sums, rows, steps) = uninterrupted(strategy, exists, streams);
    assert!(steps > 40, "{steps}");
    for at in 0..steps {
        let found = interrupted(strategy, exists, streams, &[(at, how)]);
        assert_eq!(found.0, sums, "{strategy} at step {at} of {steps}, {how:?}");
        assert_eq!(found.1, rows, "{strategy} at step {at} of {steps}, {how:?}");
    }
}

#[test]
fn an_overwrite_that_is_killed_at_any_step_goes_on_there() {
    each_step(Strategy::Overwrite, true, true, How::Killed);
}

#[test]
fn an_append_that_is_killed_at_any_step_goes_on_there() {
    each_step(Strategy::Append, true, false, How::Killed);
}

#[test]
fn a_merge_any_step_of_which_fails_goes_on_there() {
    each_step(Strategy::Merge, true, false, How::Once);
}

#[test]
fn a_pull_into_nothing_that_is_killed_at_any_step_goes_on_there() {
    each_step(Strategy::Skip, false, true, How::Killed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn pulls_that_are_cut_off_often_come_to_the_same(
        strategy in proptest::sample::select(Strategy::ALL.to_vec()),
        exists: bool,
        streams: bool,
        cuts in proptest::collection::vec((0_i64..70, proptest::sample::select(vec![How::Killed, How::Once])), 1..6),
    ) {
        let (sums, rows, _) = uninterrupted(strategy, exists, streams);
        let found = interrupted(strategy, exists, streams, &cuts);
        prop_assert_eq!(found.0, sums);
        prop_assert_eq!(found.1, rows);
    }
}

#[test]
fn what_was_done_is_not_fetched_again() {
    let mut world = World::new(false);
    world.pull(all(Strategy::Skip));
    let (pages, steps) = (world.fake.pages.load(Ordering::SeqCst), world.steps());
    let mut world = World::new(false);
    world.pull_until(steps / 2, How::Killed, all(Strategy::Skip)).unwrap();
    let before = world.fake.pages.swap(0, Ordering::SeqCst);
    let report = world.pull(all(Strategy::Skip));
    let after = world.fake.pages.load(Ordering::SeqCst);
    assert!(before > 5 && before + after <= pages + TABLES.len(), "{before} and {after} pages of {pages}");
    let resumed: Vec<bool> = report.tables.iter().map(|(_, table)| table.resumed).collect();
    assert!(resumed.contains(&true) && resumed.contains(&false), "{resumed:?}");
    assert!(report.table("parents").unwrap().created_table, "it was made by this pull");
}

#[test]
fn rows_of_two_states_are_told() {
    let mut world = World::new(false);
    world.pull_until(40, How::Killed, all(Strategy::Skip)).unwrap();
    world.fake.state.store(2, Ordering::SeqCst);
    world.there("INSERT INTO parents VALUES (100, 'new'); UPDATE children SET parent = 100 WHERE id = 23");
    let report = world.pull(all(Strategy::Skip));
    assert!(is_whole(&report) && !report.one_state, "{report:?}");
    assert!(report.tables.iter().any(|(_, table)| table.resumed));
    assert_eq!(world.sqlite().query_row("SELECT count(*) FROM parents WHERE id = 100", [], |r| r.get(0)), Ok(1));
}

#[test]
fn a_reference_sender_is_gone_on_with_by_offset() {
    let mut world = World::new(true);
    (world.fake.is_reference, world.fake.id) = (true, None);
    let options = || all(Strategy::Overwrite).tables(["parents"]);
    let at = 12;
    let first = world.pull_until(at, How::Killed, options()).unwrap();
    assert_eq!(first.tables[0].1.status, TableStatus::Incomplete, "{first:?}");
    let kept = world.here().marks().list().unwrap();
    assert_eq!((kept.len(), &*kept[0].sender, &*kept[0].table), (1, "url:https://shop.example", "parents"));
    assert!(kept[0].kind == RememberedKind::Unfinished && kept[0].records > 0 && kept[0].strategy == Strategy::Overwrite);
    let report = world.pull(options());
    let table = report.table("parents").unwrap();
    assert!(table.is_clean() && table.resumed && !report.one_state && table.outcome.total() == 23, "{report:?}");
    assert!(table.notes.iter().any(|note| note.contains("went on behind the first")), "{table:?}");
}

/// A pull of the parents that is cut off behind the first rows.
fn cut_off(strategy: Strategy) -> World {
    let mut world = World::new(true);
    let report = world.pull_until(12, How::Killed, all(strategy).tables(["parents"])).unwrap();
    assert_eq!(report.tables[0].1.status, TableStatus::Incomplete, "{report:?}");
    assert!(report.tables[0].1.outcome.total() < 23);
    world
}

#[test]
fn another_sender_strategy_or_table_does_not_go_on() {
    let is_new = |world: &mut World, options: TransferOptions<'_>| {
        let report = world.pull(options);
        assert!(report.tables.iter().all(|(_, table)| !table.resumed), "{report:?}");
        // The marks of the other one are left alone.
        let kept = world.here().marks().list().unwrap();
        assert!(kept.iter().any(|mark| mark.table == "parents" && mark.kind == RememberedKind::Unfinished), "{kept:?}");
    };
    let mut world = cut_off(Strategy::Overwrite);
    is_new(&mut world, all(Strategy::Merge).tables(["parents"]));
    is_new(&mut world, all(Strategy::Overwrite).tables(["words"]));
    is_new(&mut world, all(Strategy::Overwrite).tables(["parents"]).dry_run(true));
    world.fake.id = Some(Uuid::max());
    is_new(&mut world, all(Strategy::Overwrite).tables(["parents"]));
    world.fake.id = Some(Uuid::nil());
    let report = world.pull(all(Strategy::Overwrite).tables(["parents"]));
    assert!(report.tables[0].1.resumed && report.records == 23, "{report:?}");
    assert_eq!(world.kept(), [""; 0]);
}

#[test]
fn a_table_that_changed_begins_anew_and_an_append_of_it_is_refused() {
    let mut world = cut_off(Strategy::Overwrite);
    world.run("ALTER TABLE parents ADD COLUMN more");
    let report = world.pull(all(Strategy::Overwrite).tables(["parents"]));
    assert!(report.tables[0].1.is_clean() && !report.tables[0].1.resumed && report.records == 23, "{report:?}");

    let mut world = cut_off(Strategy::Append);
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
    let kept: Vec<_> = here.marks().list().unwrap();
    assert!(kept.len() == 4 && kept.iter().all(|mark| mark.kind == RememberedKind::Appended), "{kept:?}");
    let sender = format!("site:{}", Uuid::nil());
    assert!(here.marks().forget(&sender, "PARENTS").unwrap() && !here.marks().forget(&sender, "parents").unwrap());
    assert!(is_whole(&world.pull(all(Strategy::Append).tables(["parents"]))));
    here.marks().clear().unwrap();
    assert_eq!(here.marks().list().unwrap(), []);
    assert!(is_whole(&world.pull(append())));
    // A table that was taken away since has none of the rows.
    world.run("DROP TABLE log");
    assert!(world.pull(all(Strategy::Append).tables(["log"])).table("log").unwrap().is_clean());
}

#[test]
fn marks_that_are_too_old_are_dropped() {
    for maintained in [false, true] {
        let mut world = cut_off(Strategy::Overwrite);
        world.clock.advance(Duration::from_secs(24 * 3600 - 60));
        assert_eq!(world.here().maintain().unwrap().dropped_pulls, 0);
        world.clock.advance(Duration::from_secs(120));
        if maintained {
            assert_eq!(world.here().maintain().unwrap().dropped_pulls, 1);
            assert_eq!(world.kept(), [""; 0]);
        }
        let report = world.pull(all(Strategy::Overwrite).tables(["parents"]));
        assert!(report.tables[0].1.is_clean() && !report.tables[0].1.resumed, "{report:?}");
        assert_eq!(world.kept(), [""; 0]);
    }
}

#[test]
fn a_pull_whose_marks_are_forgotten_meanwhile_ends() {
    let mut world = World::new(true);
    let here = world.here();
    let options = all(Strategy::Overwrite).tables(["parents"]).on_progress(move |progress| {
        if progress.records == 10 {
            here.marks().clear().unwrap();
        }
    });
    let report = world.pull(options);
    let error = report.tables[0].1.error.as_ref().unwrap();
    assert!(error.kind() == ErrorKind::Timeout && error.hint().is_some(), "{error}");
    assert_eq!((report.tables[0].1.outcome.total(), world.kept()), (10, vec![]));
}

#[test]
fn a_small_pull_makes_few_transactions() {
    let mut world = World::new(true);
    world.limits = Limits::default();
    // Its beginning, its end, the beginning and the end of the transfer, and the rows with their mark.
    for (tables, transactions) in [(&["parents"][..], 5), (&["parents", "children"], 8)] {
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
    let kept = world.here().marks().list().unwrap();
    assert_eq!(kept.iter().map(|mark| (&*mark.table, mark.records)).collect::<Vec<_>>(), [("parents", 10), ("words", 0)]);
}

#[test]
fn a_table_that_will_never_come_keeps_no_marks_of_the_others() {
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
