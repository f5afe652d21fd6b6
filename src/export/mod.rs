//! What a site gives away: tables, counts, pages of records and digests, out of snapshots.

// Only the server cuts pages for peers.
#![cfg_attr(not(feature = "server"), allow(dead_code, unused_imports))]

mod digest;
#[cfg(test)]
pub(crate) mod fake;
mod look;
mod offer;
mod places;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

pub use digest::Digest;
pub(crate) use digest::digest;
pub(crate) use look::{Ids, TableDetails};
pub(crate) use offer::Offer;
use places::{Place, Places};

use crate::domain::not_copied::NotCopied;
use crate::domain::schema::TableSchema;
use crate::domain::table::TableInfo;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::plan::table::key_of;
use crate::store::{Cursor, PageBounds, Snapshot, StateToken, Store};

/// Reads a store for one peer: it holds at most one snapshot, and remembers where the last pages ended, so that a pull by
/// offset and limit takes time in proportion to the table.
#[derive(Debug)]
pub(crate) struct Exporter {
    source: Source,
    places: Places,
}

/// A store and the snapshot of it that is in use.
#[derive(Debug)]
struct Source {
    store: Arc<dyn Store>,
    offer: Arc<Offer>,
    limits: Limits,
    view: Option<View>,
}

/// A snapshot and what was read of its catalogue.
struct View {
    snapshot: Box<dyn Snapshot>,
    opened: Instant,
    pinned_before: u64,
    state: u64,
    /// What tells its state from others, if that was asked for when it was opened.
    token: Option<StateToken>,
    offer: Arc<Offer>,
    schemas: HashMap<String, Arc<TableSchema>>,
    remembered: usize,
}

/// What came of a request for records; the rows themselves are in the caller's buffer.
#[derive(Debug)]
pub(crate) struct Page {
    /// The table: its columns are those of the rows.
    pub(crate) table: Arc<TableSchema>,
    /// Whether there are rows after these. Never with an empty page.
    pub(crate) more: bool,
    /// The number of the snapshot that the rows are from: two pages of the same number are of one state.
    pub(crate) state: u64,
    /// The place after the last row; `None` if there are no rows.
    pub(crate) cursor: Option<Cursor>,
}

impl Exporter {
    pub(crate) fn new(store: Arc<dyn Store>, offer: Arc<Offer>, limits: Limits) -> Self {
        let places = Places::new(limits.server.remembered_places);
        Exporter { source: Source { store, offer, limits, view: None }, places }
    }

    /// The tables that the site offers, sorted by name, with their exact numbers of rows. One that cannot be read is listed with
    /// none: that of one table hides the others is worse, and a peer that asks for its records learns what is wrong.
    pub(crate) fn tables(&mut self) -> Result<Vec<TableInfo>> {
        let view = self.source.view()?;
        let names = view.snapshot.tables()?;
        let mut tables = Vec::with_capacity(names.len());
        for name in names {
            if view.offer.allows(&name) {
                let row_count = match view.schema(&name).and_then(|table| view.snapshot.count(&table)) {
                    Ok(count) => count,
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::Corrupt | ErrorKind::Database | ErrorKind::UnknownCollation
                        ) =>
                    {
                        log::warn!(target: "rowferry::serve", "the rows of {name:?} cannot be counted: {error}");
                        0
                    }
                    Err(error) => return Err(error),
                };
                tables.push(TableInfo { name, row_count });
            }
        }
        Ok(tables)
    }

    /// What a pull does not copy, as far as its names are no secret.
    pub(crate) fn not_copied(&mut self) -> Result<NotCopied> {
        let view = self.source.view()?;
        let mut found = view.snapshot.not_copied()?;
        found.retain(|name| view.offer.allows(name));
        Ok(found)
    }

    /// The structure of a table.
    ///
    /// # Errors
    /// [`TableNotFound`](ErrorKind::TableNotFound) if there is none of this name, or the site does not offer it.
    pub(crate) fn schema(&mut self, table: &str) -> Result<Arc<TableSchema>> {
        self.source.view()?.schema(table)
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// Those of [`Exporter::schema`].
    pub(crate) fn count(&mut self, table: &str) -> Result<u64> {
        let view = self.source.view()?;
        let table = view.schema(table)?;
        view.snapshot.count(&table)
    }

    /// The digest of a table's content.
    ///
    /// # Errors
    /// Those of [`Exporter::schema`].
    pub(crate) fn digest(&mut self, table: &str) -> Result<Digest> {
        let bounds = PageBounds { rows: self.source.limits.wire.page_rows, bytes: self.source.limits.wire.page_bytes };
        let view = self.source.view()?;
        let table = view.schema(table)?;
        digest(&mut *view.snapshot, &table, bounds)
    }

    /// Reads records into `rows`, which is cleared first: at most `limit`, fewer where the page's bounds cut it.
    ///
    /// The request that follows one for the same table, with the same limit and its offset moved on by that limit, continues
    /// after the last row of it, even if the page was cut short: that is how PhoenixKit's client moves. So does an offset
    /// that is moved on by the rows that came. Any other offset is counted off.
    ///
    /// # Errors
    /// Those of [`Exporter::schema`]; [`InvalidInput`](ErrorKind::InvalidInput) for a limit of 0.
    pub(crate) fn records(&mut self, table: &str, offset: u64, limit: u64, rows: &mut Rows) -> Result<Page> {
        self.records_at_most(table, offset, limit, limit, rows)
    }

    /// The same, with no more than `most` records whatever the limit is: a page that is cut by that is one that is cut short.
    ///
    /// # Errors
    /// Those of [`Exporter::records`].
    pub(crate) fn records_at_most(
        &mut self,
        table: &str,
        offset: u64,
        limit: u64,
        most: u64,
        rows: &mut Rows,
    ) -> Result<Page> {
        if limit == 0 || most == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "a page has at least one record"));
        }
        let limits = &self.source.limits;
        let most = usize::try_from(limit.min(most)).unwrap_or(usize::MAX).min(limits.wire.page_rows).max(1);
        let bounds = PageBounds { rows: most, bytes: limits.wire.page_bytes };
        let view = self.source.view()?;
        let table = view.schema(table)?;
        let from = self.places.find(&table, offset, limit);
        let end = view.snapshot.page(&table, from.cursor.as_ref(), from.skip, bounds, rows)?;
        let more = end.more && !rows.is_empty();
        if let Some(cursor) = end.cursor.clone() {
            let position = from.position().saturating_add(rows.len() as u64);
            self.places.remember(&table, offset, limit, from, Place::after(cursor, position));
        }
        Ok(Page { table, more, state: view.state, cursor: end.cursor })
    }

    /// The columns of a table's key; none if it has no key.
    ///
    /// # Errors
    /// Those of [`Exporter::schema`].
    pub(crate) fn key(&mut self, table: &str) -> Result<Vec<usize>> {
        let table = self.schema(table)?;
        Ok(key_of(&table)?.map_or(Vec::new(), |(columns, _)| columns))
    }

    /// Reads the records after a place into `rows`, which is cleared first: those from the first on without one.
    ///
    /// # Errors
    /// Those of [`Exporter::schema`]; [`InvalidInput`](ErrorKind::InvalidInput) for a place that is none of this table.
    pub(crate) fn after(
        &mut self,
        table: &str,
        after: Option<&Cursor>,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<Page> {
        let view = self.source.view()?;
        let table = view.schema(table)?;
        let end = view.snapshot.page(&table, after, 0, bounds, rows)?;
        Ok(Page { table, more: end.more && !rows.is_empty(), state: view.state, cursor: end.cursor })
    }

    /// The number of the snapshot that the next answer comes from.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn state(&mut self) -> Result<u64> {
        Ok(self.source.view()?.state)
    }

    /// The same, with what tells the state of that snapshot from others, if that is known: of one that was opened for something else it
    /// is not.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn state_and_token(&mut self) -> Result<(u64, Option<StateToken>)> {
        // A token that is the same before and after a snapshot was opened is of what is seen in it.
        let before = self.source.store.state_token()?;
        let old = self.source.view.as_ref().map(|view| view.state);
        let state = self.source.view()?.state;
        let is_new = old != Some(state);
        let token = before.filter(|_| is_new);
        let token = if token.is_some() && self.source.store.state_token()? == token { token } else { None };
        let view = self.source.view.as_mut();
        let known = view.and_then(|view| {
            if is_new {
                view.token = token;
            }
            view.token
        });
        Ok((state, known))
    }

    /// Whether a request by this offset and limit begins right where the last page of this table ended.
    ///
    /// # Errors
    /// Those of [`Exporter::schema`].
    pub(crate) fn goes_on(&mut self, table: &str, offset: u64, limit: u64) -> Result<bool> {
        let table = self.source.view()?.schema(table)?;
        Ok(self.places.goes_on(&table, offset, limit))
    }

    /// From now on only this is offered. Nothing happens if it was before.
    pub(crate) fn offer(&mut self, offer: Offer) {
        if *self.source.offer != offer {
            self.source.offer = Arc::new(offer);
            self.source.view = None;
        }
    }

    /// Takes back the end of the last page: only so many of its rows were sent, because their encoded form had reached its
    /// bound. The next request continues after those.
    pub(crate) fn truncate_last_page(&mut self, rows: u64) {
        self.places.shorten_last(rows);
    }

    /// Lets go of the snapshot: nothing came for a while. What comes next is answered from a new one.
    pub(crate) fn idle(&mut self) {
        self.source.view = None;
    }

    /// Lets go of the snapshot only if it is too old or holds back too much.
    pub(crate) fn let_go_if_spent(&mut self) {
        self.source.let_go_if_spent();
    }
}

impl Source {
    fn let_go_if_spent(&mut self) {
        let limits = &self.limits;
        let spent = |view: &View| {
            // What was there before is not this snapshot's doing: a write-ahead log keeps its size when it is reused.
            let held = view.snapshot.pinned_bytes().saturating_sub(view.pinned_before);
            view.opened.elapsed() >= limits.store.snapshot_time || held > limits.store.snapshot_wal_bytes
        };
        if self.view.as_ref().is_some_and(spent) {
            self.view = None;
        }
    }

    /// The snapshot in use, or a new one if there is none, or if it is too old or holds back too much.
    fn view(&mut self) -> Result<&mut View> {
        // The old one goes first: both together would hold back what the old one does.
        self.let_go_if_spent();
        match &mut self.view {
            Some(view) => Ok(view),
            empty => {
                let snapshot = self.store.snapshot()?;
                Ok(empty.insert(View {
                    pinned_before: snapshot.pinned_bytes(),
                    snapshot,
                    opened: Instant::now(),
                    state: new_state()?,
                    token: None,
                    offer: Arc::clone(&self.offer),
                    schemas: HashMap::new(),
                    remembered: self.limits.server.remembered_places,
                }))
            }
        }
    }
}

/// A number for a snapshot that no other one has, of whichever run of whichever program. It is one that JSON can say in any
/// language: of 53 bits, and not 0.
fn new_state() -> Result<u64> {
    let random = getrandom::u64().map_err(|error| {
        Error::new(ErrorKind::System, format!("the operating system gives no random numbers: {error}")).with_source(error)
    })?;
    Ok((random >> 11).max(1))
}

impl View {
    fn schema(&mut self, name: &str) -> Result<Arc<TableSchema>> {
        if let Some(known) = self.schemas.get(name) {
            return Ok(Arc::clone(known));
        }
        // Checked before and after: the store may know the table by another spelling than the one that was asked for.
        let found = if self.offer.allows(name) { self.snapshot.schema(name)? } else { None };
        let mut schema = found.filter(|schema| self.offer.allows(&schema.name)).ok_or_else(|| not_found(name))?;
        // A reference would tell the name of a table that is hidden, and its key.
        schema.foreign_keys.retain(|key| self.offer.allows(&key.parent));
        self.snapshot.tell(&mut schema)?;
        if self.schemas.len() >= self.remembered {
            self.schemas.clear();
        }
        let schema = Arc::new(schema);
        self.schemas.insert(name.to_owned(), Arc::clone(&schema));
        Ok(schema)
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("opened", &self.opened).finish_non_exhaustive()
    }
}

fn not_found(table: &str) -> Error {
    Error::new(ErrorKind::TableNotFound, format!("there is no table {table:?}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::fake::{FakeStore, table};
    use super::*;
    use crate::domain::value::Value;

    fn numbers(count: usize) -> Vec<Vec<Value>> {
        (0..count).map(|n| vec![Value::Integer(n as i64)]).collect()
    }

    fn exporter(store: &FakeStore, limits: Limits) -> Exporter {
        Exporter::new(Arc::new(store.clone()), Arc::new(Offer::hiding(["secret"], store.names())), limits)
    }

    fn limits(page_rows: usize, page_bytes: usize) -> Limits {
        Limits::with(|limits| {
            limits.wire.page_rows = page_rows;
            limits.wire.page_bytes = page_bytes;
        })
    }

    fn ask(exporter: &mut Exporter, table: &str, offset: u64, limit: u64) -> (Vec<i64>, bool) {
        let mut rows = Rows::default();
        let page = exporter.records(table, offset, limit, &mut rows).unwrap();
        let numbers = (0..rows.len()).map(|row| rows.get(row, 0).unwrap().to_owned().as_integer().unwrap()).collect();
        (numbers, page.more)
    }

    #[test]
    fn hidden_tables_are_like_absent_ones() {
        let names = ["a", "secret", "rowferry_x", "b"];
        let store = FakeStore::of(names.iter().map(|name| (table(name, &["n"]), numbers(2))).collect());
        let mut exporter = exporter(&store, Limits::default());
        let tables = exporter.tables().unwrap();
        assert_eq!(tables.iter().map(|t| (t.name.as_str(), t.row_count)).collect::<Vec<_>>(), [("a", 2), ("b", 2)]);
        for name in ["secret", "SECRET", "rowferry_x", "ghost"] {
            let kinds = [
                exporter.schema(name).map(|_| ()).unwrap_err().kind(),
                exporter.count(name).unwrap_err().kind(),
                exporter.digest(name).unwrap_err().kind(),
                exporter.records(name, 0, 1, &mut Rows::default()).unwrap_err().kind(),
            ];
            assert_eq!(kinds, [ErrorKind::TableNotFound; 4], "{name}");
        }
    }

    #[test]
    fn one_snapshot_serves_until_it_is_let_go_or_too_old_or_too_large() {
        let store = FakeStore::of(vec![(table("t", &["n"]), numbers(3))]);
        let mut first = exporter(&store, Limits::default());
        let before = first.records("t", 0, 1, &mut Rows::default()).unwrap().state;
        store.tables.lock().unwrap()[0].1.pop();
        assert_eq!(first.count("t").unwrap(), 3);
        first.idle();
        assert_eq!(first.count("t").unwrap(), 2);
        let page = first.records("t", 1, 1, &mut Rows::default()).unwrap();
        assert!(page.state != before && !page.more);

        // The log grows by ten bytes with each page. A state has any number: which ones are the same is what counts.
        let states = |limits: Limits| {
            let mut exporter = exporter(&store, limits);
            let mut state = || {
                store.pinned_bytes.fetch_add(10, Ordering::SeqCst);
                exporter.records("t", 0, 1, &mut Rows::default()).unwrap().state
            };
            let states = [state(), state(), state(), state()];
            states.map(|state| 1 + states.iter().position(|first| *first == state).unwrap_or_default())
        };
        assert_eq!(states(Limits::default()), [1, 1, 1, 1]);
        assert_eq!(states(Limits::with(|limits| limits.store.snapshot_time = Duration::ZERO)), [1, 2, 3, 4]);
        assert_eq!(states(Limits::with(|limits| limits.store.snapshot_wal_bytes = 9)), [1, 2, 3, 4]);
        assert_eq!(states(Limits::with(|limits| limits.store.snapshot_wal_bytes = 10)), [1, 1, 3, 3]);
    }

    #[test]
    fn a_limit_of_nothing_is_refused() {
        let store = FakeStore::of(vec![(table("t", &["n"]), numbers(3))]);
        let error = exporter(&store, Limits::default()).records("t", 0, 0, &mut Rows::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_repeated_request_gets_the_same_page() {
        let store = FakeStore::of(vec![(table("t", &["n"]), numbers(100))]);
        let mut exporter = exporter(&store, limits(3, 1 << 20));
        assert_eq!(ask(&mut exporter, "t", 0, 10).0, [0, 1, 2]);
        assert_eq!(ask(&mut exporter, "t", 10, 10).0, [3, 4, 5]);
        assert_eq!(ask(&mut exporter, "t", 10, 10).0, [3, 4, 5]);
        assert_eq!(ask(&mut exporter, "t", 20, 10).0, [6, 7, 8]);
        assert_eq!(ask(&mut exporter, "t", 9, 10).0, [9, 10, 11], "the true position");
        assert_eq!(ask(&mut exporter, "t", 50, 7).0, [50, 51, 52]);
        assert_eq!(ask(&mut exporter, "t", 1, 7).0, [1, 2, 3]);
    }

    #[test]
    fn places_of_few_tables_are_remembered() {
        let names = ["a", "b", "c"];
        let store = FakeStore::of(names.iter().map(|name| (table(name, &["n"]), numbers(50))).collect());
        let mut exporter = exporter(&store, {
            let mut limits = limits(3, 1 << 20);
            limits.server.remembered_places = 2;
            limits
        });
        for name in names {
            ask(&mut exporter, name, 0, 10);
        }
        assert_eq!(ask(&mut exporter, "c", 10, 10).0, [3, 4, 5]);
        assert_eq!(ask(&mut exporter, "b", 10, 10).0, [3, 4, 5]);
        assert_eq!(ask(&mut exporter, "a", 10, 10).0, [10, 11, 12], "forgotten, so counted off");
    }

    #[test]
    fn a_table_of_another_structure_is_counted_again() {
        let store = FakeStore::of(vec![(table("t", &["n"]), numbers(50))]);
        let mut exporter = exporter(&store, limits(3, 1 << 20));
        ask(&mut exporter, "t", 0, 10);
        store.tables.lock().unwrap()[0].0 = table("t", &["m"]);
        exporter.idle();
        assert_eq!(ask(&mut exporter, "t", 10, 10).0, [10, 11, 12]);
    }

    proptest! {
        /// A client that moves by its limit, one that moves by what came, and one that jumps: each gets what it must,
        /// however pages are cut by rows, by bytes, or by what their encoded form took.
        #[test]
        fn every_row_arrives_once(
            count in 0usize..60,
            limit in 1u64..20,
            page_rows in 1usize..12,
            page_bytes in 1usize..200,
            sent_rows in 1u64..12,
            by_limit: bool,
            fresh: bool,
            jumps in proptest::collection::vec((0u64..80, 1u64..20), 0..6),
        ) {
            let store = FakeStore::of(vec![(table("t", &["n"]), numbers(count)), (table("u", &["n"]), numbers(count))]);
            let mut limits = limits(page_rows, page_bytes);
            if fresh {
                limits.store.snapshot_time = Duration::ZERO;
            }
            let mut exporter = exporter(&store, limits);
            let (mut got, mut offset) = (Vec::new(), 0);
            loop {
                let (mut rows, mut more) = ask(&mut exporter, "t", offset, limit);
                prop_assert!(rows.len() as u64 <= limit && rows.len() <= page_rows);
                if rows.len() as u64 > sent_rows {
                    rows.truncate(sent_rows as usize);
                    exporter.truncate_last_page(sent_rows);
                    more = true;
                }
                prop_assert!(!more || !rows.is_empty());
                offset += if by_limit { limit } else { rows.len() as u64 };
                got.extend(rows);
                // Others ask for other tables meanwhile.
                ask(&mut exporter, "u", offset, limit);
                if !more { break }
            }
            prop_assert_eq!(got, (0..count as i64).collect::<Vec<_>>());
            for (offset, limit) in jumps {
                // Apart from the offsets that mean "resume here", an offset is a count of rows.
                let mut fresh = Exporter::new(Arc::new(store.clone()), Arc::new(Offer::default()), Limits::default());
                let warm = limit + 1000;
                ask(&mut fresh, "t", offset / 2, warm);
                let (rows, more) = ask(&mut fresh, "t", offset, limit);
                let expected: Vec<i64> = (0..count as i64).skip(offset as usize).take(limit as usize).collect();
                prop_assert_eq!(more, offset as usize + expected.len() < count && !expected.is_empty());
                prop_assert_eq!(rows, expected);
            }
        }
    }
}
