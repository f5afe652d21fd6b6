//! A sender and a receiver of these tests.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use time::macros::datetime;
use uuid::Uuid;

use super::fate::{Fate, Fated, How};
use crate::cancel::{CancelToken, Patience};
use crate::clock::ManualClock;
use crate::domain::schema::TableSchema;
use crate::domain::table::TableInfo;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::history::Origin;
use crate::ledger::{Here, RunningPulls};
use crate::limits::Limits;
use crate::pull::run::pull;
use crate::pull::source::{Page, Position, Source, Stream};
use crate::pull::{PullOptions, Report};
use crate::site::Site;
use crate::state::Wake;
use crate::store::sqlite::SqliteStore;

/// A sender that is a site in the same process.
pub(super) struct Fake {
    pub(super) site: Site,
    pub(super) id: Option<Uuid>,
    /// Which copy of its database it is.
    pub(super) incarnation: Option<Uuid>,
    pub(super) fate: Arc<Fate>,
    /// Whether its pages come by themselves, from places of its own.
    pub(super) streams: bool,
    /// Whether it is a site of PhoenixKit.
    pub(super) is_reference: bool,
    /// Whether each question is asked on its own, as over HTTP.
    pub(super) asks_apart: bool,
    /// Is cancelled when rows behind the first page are asked for.
    pub(super) cancels: Option<CancelToken>,
    /// A table that it does not let anyone have.
    pub(super) refused: Option<&'static str>,
    /// Tables that it gives only so many rows of, and with what it then fails.
    pub(super) fails: Vec<(&'static str, u64, ErrorKind)>,
    /// How many rows more it says there are than it sends.
    pub(super) lacks: u64,
    /// Whether rows behind the first page come from another state.
    pub(super) renews: bool,
    pub(super) state: AtomicU64,
    pub(super) pages: AtomicUsize,
}

impl Fake {
    fn cut(&self, table: &str, offset: u64, limit: u64, rows: &mut Rows) -> Result<Page> {
        if self.refused == Some(table) {
            return Err(Error::new(ErrorKind::TableNotAllowed, "no"));
        }
        if let Some(token) = self.cancels.as_ref().filter(|_| offset >= 10) {
            token.cancel();
        }
        if let Some((_, _, kind)) = self.fails.iter().find(|(name, rows, _)| *name == table && offset >= *rows) {
            return Err(Error::new(*kind, "no more"));
        }
        self.fate.step(ErrorKind::Disconnected)?;
        self.pages.fetch_add(1, Ordering::SeqCst);
        let records = self.site.export_records(table, offset, limit)?;
        rows.push_rows(&records.rows, 0..records.rows.len());
        let received = records.rows.len() as u64;
        let has_more = offset + received < self.site.get_count(table)?;
        let state = self.state.load(Ordering::SeqCst) + u64::from(self.renews && offset > 0);
        let state = Some(state).filter(|_| !self.is_reference);
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

    fn incarnation(&self) -> Option<Uuid> {
        self.incarnation
    }

    fn is_open(&self) -> bool {
        true
    }

    fn asks_apart(&self) -> bool {
        self.asks_apart
    }

    fn tables(&self, _: &Patience) -> Result<Vec<TableInfo>> {
        let mut tables = self.site.list_tables()?;
        tables.iter_mut().for_each(|table| table.row_count += self.lacks);
        Ok(tables)
    }

    fn schema(&self, table: &str, _: &Patience) -> Result<TableSchema> {
        self.site.get_schema(table)
    }

    fn count(&self, table: &str, _: &Patience) -> Result<u64> {
        Ok(self.site.get_count(table)? + self.lacks)
    }

    fn stream<'s>(&'s self, _: Uuid, _: Option<u32>, _: &Patience) -> Result<Option<Box<dyn Stream + 's>>> {
        let stream: Box<dyn Stream + 's> = Box::new(Streaming { fake: self, asked: VecDeque::new() });
        Ok(self.streams.then_some(stream))
    }

    fn page(&self, table: &TableSchema, offset: u64, limit: u32, rows: &mut Rows, _: &Patience) -> Result<Page> {
        self.cut(&table.name, offset, u64::from(limit), rows)
    }
}

struct Streaming<'f> {
    fake: &'f Fake,
    /// Tables, and the next row of each.
    asked: VecDeque<(String, u64)>,
}

impl Stream for Streaming<'_> {
    fn ask(&mut self, _: usize, table: &TableSchema, from: &Position, _: &Patience) -> Result<()> {
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
        self.asked.push_back((table.name.clone(), next));
        Ok(())
    }

    fn most_asked(&self) -> usize {
        3
    }

    fn next(&mut self, rows: &mut Rows, _: &Patience) -> Result<Option<Page>> {
        let (table, next) = self.asked.front_mut().unwrap();
        let page = self.fake.cut(table, *next, 7, rows);
        *next += page.as_ref().map_or(0, |page| page.received);
        if page.as_ref().is_ok_and(|page| !page.has_more) {
            self.asked.pop_front();
        }
        page.map(Some)
    }

    fn is_usable(&self) -> bool {
        false
    }

    fn has_credit(&self) -> bool {
        true
    }

    fn ack(&mut self, _: u64, _: bool) -> Result<()> {
        Ok(())
    }

    fn keep_open(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Parents and children; a key with NULL in it, which is of fewer rows than there are where it is compared without case; a table that refers to itself; two that refer to each other; one without a key.
const SHOP: &str = "
    CREATE TABLE parents(id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE children(id INTEGER PRIMARY KEY, parent INT REFERENCES parents(id), v TEXT);
    CREATE TABLE words(k TEXT PRIMARY KEY, v INT);
    CREATE TABLE tree(id INTEGER PRIMARY KEY, up INT REFERENCES tree(id));
    CREATE TABLE hens(id INTEGER PRIMARY KEY, egg INT REFERENCES eggs(id));
    CREATE TABLE eggs(id INTEGER PRIMARY KEY, hen INT REFERENCES hens(id));
    CREATE TABLE log(at INT, what TEXT);
    CREATE INDEX by_parent ON children(parent, v); CREATE INDEX by_v ON children(v); CREATE INDEX words_by_v ON words(v, k);
    CREATE INDEX by_hen ON eggs(hen); CREATE INDEX by_at ON log(at, what);";

/// Numbers of the sender's file.
const NUMBERS: &str = "PRAGMA user_version = 27; PRAGMA application_id = 5";

const ROWS: &str = "
    CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 23) SELECT i FROM n;
    INSERT INTO parents SELECT i, 'parent ' || i FROM n;
    INSERT INTO children SELECT i, nullif(1 + (i * 5) % 24, 24), 'child ' || i FROM n;
    INSERT OR IGNORE INTO words SELECT CASE WHEN i % 4 THEN substr('wW', 1 + i % 2, 1) || (i / 2) END, i % 5 FROM n;
    INSERT INTO tree SELECT i, 1 + (i * 7) % 23 FROM n;
    INSERT INTO hens SELECT i, 1 + (i * 3) % 23 FROM n; INSERT INTO eggs SELECT i, 24 - i FROM n;
    INSERT INTO log SELECT i % 4, 'x' FROM n;";

pub(super) const TABLES: [&str; 7] = ["children", "eggs", "hens", "log", "parents", "tree", "words"];

/// What is here before: some of the rows, some of them changed, and a trigger that refuses one. It is the last one, because an
/// append that goes on gives the next row the number that a row which failed was to have.
const HERE: &str = "
    DELETE FROM children WHERE id % 2; UPDATE children SET v = 'old' WHERE id % 4 = 0;
    DELETE FROM words WHERE v = 1; DELETE FROM tree WHERE id > 5; DELETE FROM log WHERE at = 2;
    DELETE FROM hens; DELETE FROM eggs; UPDATE parents SET v = NULL WHERE id < 9;
    CREATE TRIGGER no BEFORE INSERT ON children WHEN new.v = 'child 23' BEGIN SELECT RAISE(ABORT, 'not this one'); END;";

pub(super) struct World {
    folder: tempfile::TempDir,
    pub(super) fake: Fake,
    pub(super) clock: Arc<ManualClock>,
    pub(super) limits: Limits,
    pub(super) wake: Wake,
    running: RunningPulls,
}

impl World {
    pub(super) fn new(exists: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there.db");
        let make = |path: &PathBuf, sql: &[&str]| {
            let sqlite = rusqlite::Connection::open(path).unwrap();
            sqlite.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
            sql.iter().for_each(|sql| sqlite.execute_batch(sql).unwrap());
        };
        make(&there, &[SHOP, ROWS, NUMBERS]);
        if exists {
            // Two words that differ in case only are one here.
            let shop = SHOP.replace("k TEXT PRIMARY KEY", "k TEXT COLLATE NOCASE PRIMARY KEY");
            make(&folder.path().join("here.db"), &[&shop, ROWS, HERE]);
        }
        let fake = Fake {
            site: Site::open(&there).unwrap(),
            id: Some(Uuid::nil()),
            incarnation: None,
            fate: Fate::new(i64::MAX, How::Killed),
            streams: false,
            is_reference: false,
            asks_apart: false,
            cancels: None,
            refused: None,
            fails: Vec::new(),
            lacks: 0,
            renews: false,
            state: AtomicU64::new(1),
            pages: AtomicUsize::new(0),
        };
        let clock = Arc::new(ManualClock::new(datetime!(2026-01-02 03:04:05 UTC)));
        let limits = Limits::with(|limits| {
            limits.pull.commit_rows = 10;
            limits.pull.lock_pause_percent = 0;
            limits.pull.retry_time = Duration::ZERO;
        });
        World { folder, fake, clock, limits, wake: Wake::default(), running: RunningPulls::default() }
    }

    pub(super) fn here(&self) -> Site {
        let path = self.folder.path().join("here.db");
        Site::builder().clock(self.clock.clone()).limits(self.limits.clone()).open(path).unwrap()
    }

    /// Removes what rowferry keeps.
    pub(super) fn remove_state(&self) {
        let path = self.folder.path().join("here.db");
        Site::builder().remove_state(path, crate::JournalMode::Wal).unwrap();
    }

    pub(super) fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("here.db")).unwrap()
    }

    pub(super) fn run(&self, sql: &str) {
        self.sqlite().execute_batch(sql).unwrap();
    }

    pub(super) fn there(&self, sql: &str) {
        rusqlite::Connection::open(self.folder.path().join("there.db")).unwrap().execute_batch(sql).unwrap();
    }

    /// Pulls; from step `left` on it goes wrong.
    pub(super) fn pull_until(&mut self, left: i64, how: How, options: PullOptions<'_>) -> Result<Report> {
        let fate = Fate::new(left, how);
        self.fake.fate = Arc::clone(&fate);
        let store = SqliteStore::open(self.folder.path().join("here.db"), &self.limits).unwrap();
        let store = Fated { store, fate };
        let origin = Origin { connection: None, site_url: "https://shop.example".to_owned() };
        let here = Here {
            store: &store,
            limits: &self.limits,
            clock: &*self.clock,
            wake: &self.wake,
            running: &self.running,
            protected: &[],
        };
        pull(&self.fake, here, options.batch_size(5), Some(origin))
    }

    pub(super) fn pull(&mut self, options: PullOptions<'_>) -> Report {
        self.pull_until(i64::MAX, How::Killed, options).unwrap()
    }

    /// How many steps a pull has.
    pub(super) fn steps(&self) -> i64 {
        self.fake.fate.made.load(Ordering::SeqCst) as i64
    }

    /// All rows here; and the indexes, and the numbers of the file.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let sqlite = self.sqlite();
        let beside = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name NOT LIKE 'rowferry%' AND sql IS NOT NULL
                      UNION ALL SELECT user_version || ' ' || application_id FROM pragma_user_version, pragma_application_id ORDER BY 1";
        let mut beside = sqlite.prepare(beside).unwrap();
        let beside: Vec<String> = beside.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect();
        assert!(beside.len() >= 6, "an index is missing: {beside:?}");
        let of = |table: &str| {
            let mut columns = Vec::new();
            let mut info = sqlite.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
            let names = info.query_map([], |row| row.get::<_, String>(0)).unwrap();
            names.for_each(|name| columns.push(format!("quote({})", name.unwrap())));
            let all = columns.join(" || ' ' || ");
            let mut select = sqlite.prepare(&format!("SELECT {all} FROM {table} ORDER BY 1")).unwrap();
            select.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect()
        };
        TABLES.iter().map(|table| of(table)).chain([beside]).collect()
    }

    /// Whether a pull left all its tables done, and could not note its end.
    pub(super) fn is_done(&self) -> bool {
        let select = "SELECT count(*) FROM rowferry_marks WHERE step = 'done'";
        self.sqlite().query_row(select, [], |row| row.get::<_, i64>(0)).unwrap() == TABLES.len() as i64
    }

    /// The tables that hold something of a pull. What is kept of a sender is no part of a pull.
    pub(super) fn kept(&self) -> Vec<String> {
        let sqlite = self.sqlite();
        let tables = [
            "rowferry_pulls",
            "rowferry_marks",
            "rowferry_staged",
            "rowferry_key_maps",
            "rowferry_counts",
            "rowferry_taken_keys",
        ];
        let of_pulls = "scope NOT LIKE 'site:%' AND scope NOT LIKE 'url:%'";
        let holds = |table: &str| {
            sqlite.query_row(&format!("SELECT count(*) FROM {table} WHERE {of_pulls}"), [], |row| row.get::<_, i64>(0))
        };
        tables.iter().filter(|table| holds(table).unwrap() > 0).map(|table| table.to_string()).collect()
    }
}
