//! One write transaction of an import, and what the importer remembers while it lasts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::recorder::Recorder;
use super::settling::{Moved, Settling};
use crate::cancel::Patience;
use crate::domain::conflict::ConflictRules;
use crate::domain::record::{Failure, Outcome, Reason, Tally};
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::key_map::{self, Became, KeyMap, Known};
use crate::ledger::{Ledger, Scope, counts, references};
use crate::plan::{Identity, TablePlan};
use crate::store::{Change, Check, Fitted, Found, KeyColumns, Lookup, Referring, Refused, Sql, Writer};

/// Records that are given to a store at once. Between two such runs the pull can be cancelled.
pub(super) const RUN: usize = 2_000;

/// The fewest where what undoes the writes is kept.
const SMALLEST_RUN: usize = 16;

/// Records that came and are not kept yet, at most. It bounds memory.
const MOST_CAME: usize = 200_000;

/// A transaction: dropped without a commit, all of it is undone.
pub(crate) struct Transaction<'r> {
    pub(super) writer: Box<dyn Writer>,
    /// What the caller decides, if anything.
    pub(super) rules: Option<&'r dyn ConflictRules>,
    pub(super) scope: Scope,
    /// Whose keys and counts of appended rows are kept.
    kept: Scope,
    patience: Patience,
    /// The key maps that were asked for, by the names of their tables.
    key_maps: HashMap<String, Option<KeyMap>>,
    /// Which of them are written to.
    opened: HashSet<String>,
    /// Whether records of tables are rows here under other keys, as far as it was asked.
    has_moved: HashMap<String, bool>,
    /// What rows of a group had that others of it may refer to, before records of these keys changed them.
    pub(super) renamed: Vec<(TableSchema, Vec<u8>, Rows)>,
    /// What a pass over a group finds out of its records.
    pub(super) settling: Settling,
    /// The last integer key that was given to a row, per table.
    last_keys: HashMap<String, i64>,
    /// The first one, per table.
    first_keys: HashMap<String, i64>,
    /// Up to which number rows of a table are expected to bring their own keys, per table.
    expected: HashMap<String, i64>,
    /// The tables that were compared with their plans.
    compared: HashSet<String>,
    /// Records of a table without a key that came, and are not kept yet: how often each did.
    came: Option<(String, BTreeMap<counts::Digest, i64>)>,
    /// Whether records of tables without a key came in earlier pulls, as far as it was asked.
    came_earlier: HashMap<String, bool>,
    /// When references are checked that rows of other tables have.
    pub(super) references: References,
    /// What refers to tables, as far as it was asked.
    referring: HashMap<String, Arc<[Referring]>>,
    /// The columns of tables whose changes must wait for other tables, while they are known.
    pub(super) held: HashMap<String, Vec<usize>>,
    refused: Vec<Refused>,
    savepoints: usize,
    /// What undoes its writes, if that is kept.
    recorder: Option<Recorder>,
    /// How many records are given to the store at once while it is.
    bulk_run: usize,
}

/// When references to rows that change are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum References {
    /// With each row, unless the database itself puts them off.
    Now,
    /// When the rows of these tables are there.
    With(Vec<String>),
    /// When all tables are there.
    Late,
}

impl<'r> Transaction<'r> {
    /// Begins a transaction of a pull.
    pub(crate) fn begin(ledger: &Ledger<'r>) -> Result<Self> {
        let (scope, kept) = (ledger.scope().clone(), ledger.kept().clone());
        let tx = Transaction::of(ledger.transaction()?, scope, kept, ledger.patience().clone());
        Ok(Transaction { rules: ledger.rules(), recorder: ledger.undo_keeper().map(Recorder::new), ..tx })
    }

    pub(super) fn of(writer: Box<dyn Writer>, scope: Scope, kept: Scope, patience: Patience) -> Self {
        Transaction {
            writer,
            rules: None,
            scope,
            kept,
            patience,
            key_maps: HashMap::new(),
            opened: HashSet::new(),
            has_moved: HashMap::new(),
            renamed: Vec::new(),
            settling: Settling::default(),
            last_keys: HashMap::new(),
            first_keys: HashMap::new(),
            expected: HashMap::new(),
            compared: HashSet::new(),
            came: None,
            came_earlier: HashMap::new(),
            references: References::Now,
            referring: HashMap::new(),
            held: HashMap::new(),
            refused: Vec::new(),
            savepoints: 0,
            recorder: None,
            bulk_run: RUN,
        }
    }

    /// Keeps everything; nothing can be written after it.
    pub(super) fn commit(&mut self, ledger: &Ledger<'_>) -> Result<()> {
        self.keep_came()?;
        self.keep_recorded()?;
        ledger.commit(&mut *self.writer)
    }

    pub(crate) fn writer(&mut self) -> &mut dyn Writer {
        &mut *self.writer
    }

    /// rowferry's own tables, and whose rows in them are meant.
    pub(super) fn state(&mut self) -> (&mut dyn Sql, &Scope) {
        (self.writer.state(), &self.scope)
    }

    /// Whose keys and counts of appended rows are kept after the pull, if anyone's are.
    pub(super) fn kept(&self) -> Option<&Scope> {
        Some(&self.kept).filter(|kept| **kept != self.scope)
    }

    /// Whether a record without a key came in an earlier pull: then one less of it is left that did.
    pub(super) fn came_before(&mut self, table: &str, digest: &counts::Digest) -> Result<bool> {
        let any = match self.came_earlier.get(table) {
            Some(any) => *any,
            None => {
                let any = self.kept().is_some() && counts::knows(self.writer.state(), &self.scope, table)?;
                self.came_earlier.insert(table.to_owned(), any);
                any
            }
        };
        Ok(any && counts::take(self.writer.state(), &self.scope, table, digest)?)
    }

    /// Notes in the key map which numbers were given to rows of its table.
    pub(super) fn note_given(&mut self, table: &TableSchema, map: KeyMap) -> Result<()> {
        match self.last_keys.get(&table.name) {
            Some(last) => key_map::note_given(self.writer.state(), map, *last),
            None => Ok(()),
        }
    }

    /// Notes that a record of a table without a key came, by the digest of its content.
    pub(super) fn note_came(&mut self, table: &str, digest: counts::Digest) -> Result<()> {
        if self.kept().is_none() {
            return Ok(());
        }
        if self.came.as_ref().is_some_and(|(other, came)| other != table || came.len() >= MOST_CAME) {
            self.keep_came()?;
        }
        let (_, came) = self.came.get_or_insert_with(|| (table.to_owned(), BTreeMap::new()));
        *came.entry(digest).or_default() += 1;
        Ok(())
    }

    /// Keeps what was noted of records that came: in the order of their digests, which takes a fraction of the time that it takes in
    /// the order in which they come.
    pub(super) fn keep_came(&mut self) -> Result<()> {
        match self.came.take() {
            Some((table, came)) => counts::add(self.writer.state(), &self.kept, &table, &came),
            None => Ok(()),
        }
    }

    /// The key map of a table, to write what its records became.
    pub(super) fn key_map(&mut self, table: &TableSchema) -> Result<KeyMap> {
        if self.opened.contains(&table.name)
            && let Some(Some(map)) = self.key_maps.get(&table.name)
        {
            return Ok(*map);
        }
        let map = key_map::open(self.writer.state(), &self.kept, &key_map::name_of(table), &self.scope)?;
        self.key_maps.insert(table.name.clone(), Some(map));
        self.opened.insert(table.name.clone());
        Ok(map)
    }

    /// What is known of an old key of this table.
    pub(super) fn known_key(&mut self, table: &TableSchema, old: &[u8]) -> Result<Option<Known>> {
        let map = self.find_key_map(table)?;
        map.map_or(Ok(None), |map| key_map::get(self.writer.state(), map, old))
    }

    /// Whether records of this table are known to be rows here under other keys, but for appended ones.
    pub(super) fn has_moved(&mut self, table: &TableSchema) -> Result<bool> {
        if let Some(has_moved) = self.has_moved.get(&table.name) {
            return Ok(*has_moved);
        }
        let map = self.find_key_map(table)?;
        let has_moved = map.map_or(Ok(false), |map| key_map::has_moved(self.writer.state(), map))?;
        self.has_moved.insert(table.name.clone(), has_moved);
        Ok(has_moved)
    }

    /// Whether the row of this key is a record with another key, but for appended ones.
    pub(super) fn is_moved_to(&mut self, table: &TableSchema, key: &[u8]) -> Result<bool> {
        match self.find_key_map(table)? {
            Some(map) if self.has_moved(table)? => key_map::is_moved_to(self.writer.state(), map, key),
            _ => Ok(false),
        }
    }

    /// Remembers that a record is the row of another key.
    pub(super) fn remember_moved(&mut self, table: &TableSchema, became: Became) -> Result<()> {
        let map = self.key_map(table)?;
        self.has_moved.insert(table.name.clone(), true);
        self.settling.note(self.writer.state(), map, table, &became.old)?;
        key_map::put(self.writer.state(), map, vec![became])
    }

    /// Forgets that a record is the row of another key: it has its own.
    pub(super) fn forget_moved(&mut self, table: &TableSchema, old: &[u8]) -> Result<()> {
        let map = self.key_map(table)?;
        self.has_moved.remove(&table.name);
        self.settling.note(self.writer.state(), map, table, old)?;
        key_map::remove(self.writer.state(), map, old)
    }

    /// Which entries of key maps are others than when the pass began.
    pub(super) fn take_moved(&mut self) -> Result<Vec<Moved>> {
        let mut moved = Vec::new();
        for (table, before) in std::mem::take(&mut self.settling.before).into_values() {
            let map = self.key_map(&table)?;
            for (old, before) in before {
                let now = key_map::entry(self.writer.state(), map, &old)?;
                if now.as_ref().map(|now| &now.new.key) != before.as_ref() {
                    moved.push(Moved { table: Arc::clone(&table), old, now });
                }
            }
        }
        Ok(moved)
    }

    /// Remembers what was undone with the pass that found it out.
    pub(super) fn move_again(&mut self, moved: Vec<Moved>) -> Result<()> {
        for Moved { table, old, now } in moved {
            let map = self.key_map(&table)?;
            self.has_moved.remove(&table.name);
            match now {
                Some(now) => key_map::put(self.writer.state(), map, vec![now])?,
                None => key_map::remove(self.writer.state(), map, &old)?,
            }
        }
        Ok(())
    }

    fn find_key_map(&mut self, table: &TableSchema) -> Result<Option<KeyMap>> {
        if let Some(map) = self.key_maps.get(&table.name) {
            return Ok(*map);
        }
        let map = key_map::find(self.writer.state(), &self.kept, &key_map::name_of(table))?;
        self.key_maps.insert(table.name.clone(), map);
        Ok(map)
    }

    /// What columns compare of the values at these cells.
    pub(super) fn comparable(
        &mut self,
        columns: &KeyColumns<'_>,
        cells: &[usize],
        rows: &Rows,
        range: Range<usize>,
    ) -> Result<Rows> {
        let mut compared = Rows::default();
        self.writer.comparable(columns, cells, rows, range, &mut compared)?;
        Ok(compared)
    }

    /// An error if the pull was cancelled, or its time is over. To be asked every few thousand rows, and more often where a row may
    /// take long.
    pub(super) fn check_cancelled(&self) -> Result<()> {
        self.patience.check("writing rows")
    }

    /// An error if the table is not the one that was planned for: another program may have changed it since the last
    /// transaction, and its columns would make other values of those that come.
    pub(super) fn compare_table(&mut self, plan: &TablePlan) -> Result<()> {
        if self.compared.contains(&plan.table.name) {
            return Ok(());
        }
        let changed = |what: &str| {
            let message = format!("table {:?} {what} while it was pulled", plan.table.name);
            Err(Error::new(ErrorKind::SchemaMismatch, message)
                .with_hint("What was written before stays where it is; look at the table, then pull it again."))
        };
        let Some(now) = self.writer.schema(&plan.table.name)? else {
            return changed("was dropped or renamed");
        };
        if !are_alike(&now, &plan.table) {
            return changed("was changed");
        }
        self.compared.insert(plan.table.name.clone());
        Ok(())
    }

    pub(super) fn savepoint(&mut self) -> Result<()> {
        // What came before it stays when it is rolled back.
        self.keep_came()?;
        self.keep_recorded()?;
        self.writer.savepoint()?;
        self.savepoints += 1;
        Ok(())
    }

    /// Notes when references are checked from now on.
    pub(super) fn put_off(&mut self, references: References) {
        self.references = references;
        self.held.clear();
    }

    /// Takes a group of tables back that failed half-way: the next one begins as if it had not been.
    pub(crate) fn take_back(&mut self) -> Result<()> {
        while self.savepoints > 0 {
            self.rollback_to()?;
        }
        let (sql, scope) = self.state();
        references::forget(sql, scope)?;
        self.settling = Settling::default();
        self.put_off(References::Now);
        self.writer.check_references(Check::Now, &[]).map(|_| ())
    }

    pub(super) fn rollback_to(&mut self) -> Result<()> {
        self.savepoints = self.savepoints.saturating_sub(1);
        self.last_keys.clear();
        self.first_keys.clear();
        self.compared.clear();
        self.key_maps.clear();
        self.came = None;
        self.came_earlier.clear();
        self.opened.clear();
        self.has_moved.clear();
        self.held.clear();
        self.referring.clear();
        if let Some(recorder) = &mut self.recorder {
            recorder.forget();
        }
        self.writer.rollback_to()
    }

    fn keep_recorded(&mut self) -> Result<()> {
        match &mut self.recorder {
            Some(recorder) => recorder.keep(self.writer.state()),
            None => Ok(()),
        }
    }

    /// Keeps what was done since the innermost savepoint.
    pub(super) fn release(&mut self) -> Result<()> {
        self.savepoints = self.savepoints.saturating_sub(1);
        self.writer.release()
    }

    /// Records as the local table will store them.
    pub(super) fn fit(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>) -> Result<Fitted> {
        let mut fitted = Fitted::default();
        self.writer.fit(plan, rows, range, &mut fitted)?;
        Ok(fitted)
    }

    /// The local columns at `read` of the row whose key, the columns at `key`, has the values of this local row.
    pub(super) fn find_by_key(
        &mut self,
        table: &TableSchema,
        key: &[usize],
        read: &[usize],
        rows: &Rows,
        row: usize,
    ) -> Result<Option<Vec<Value>>> {
        let (columns, read) = (names(table, key), names(table, read));
        let collations = table.key_collations_of(key);
        let lookup = Lookup { table: &table.name, columns: &columns, collations: &collations, cells: key, read: &read };
        self.look_up(&lookup, rows, row)
    }

    /// The same by columns that need not be the key, each compared as the column is.
    pub(super) fn find(
        &mut self,
        table: &TableSchema,
        by: &[usize],
        read: &[usize],
        rows: &Rows,
        row: usize,
    ) -> Result<Option<Vec<Value>>> {
        let (columns, read) = (names(table, by), names(table, read));
        let lookup = Lookup { table: &table.name, columns: &columns, collations: &[], cells: by, read: &read };
        self.look_up(&lookup, rows, row)
    }

    fn look_up(&mut self, lookup: &Lookup<'_>, rows: &Rows, row: usize) -> Result<Option<Vec<Value>>> {
        let mut found = Found::default();
        self.writer.lookup(lookup, rows, row..row + 1, &mut found)?;
        Ok(found.get(0).map(|values| values.into_iter().map(ValueRef::to_owned).collect()))
    }

    /// The foreign keys that refer to a table.
    pub(super) fn referring(&mut self, table: &TableSchema) -> Result<Arc<[Referring]>> {
        if let Some(known) = self.referring.get(&table.name) {
            return Ok(Arc::clone(known));
        }
        let found: Arc<[Referring]> = self.writer.referring(table)?.into();
        self.referring.insert(table.name.clone(), Arc::clone(&found));
        Ok(found)
    }

    /// Writes one local row. Gives why it was refused, if it was.
    pub(super) fn write(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        row: usize,
    ) -> Result<Option<Refused>> {
        self.write_recorded(table, change, (rows, row), false)
    }

    /// Writes one local row although rows are missing that it refers to. Gives why it was refused, if it was.
    pub(super) fn write_dangling(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        row: usize,
    ) -> Result<Option<Refused>> {
        self.write_recorded(table, change, (rows, row), true)
    }

    fn write_recorded(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        (rows, row): (&Rows, usize),
        dangling: bool,
    ) -> Result<Option<Refused>> {
        self.refused.clear();
        let writer = &mut *self.writer;
        let before = match &mut self.recorder {
            Some(recorder) => Some(recorder.look(writer, table, change, (rows, row))?),
            None => None,
        };
        match dangling {
            true => writer.write_dangling(table, change, rows, row, &mut self.refused)?,
            false => writer.write(table, change, rows, row..row + 1, &mut self.refused)?,
        }
        let refused = self.refused.pop();
        if let (None, Some(recorder), Some(before)) = (&refused, &mut self.recorder, before) {
            recorder.note(writer, table, change, (rows, row), before)?;
        }
        Ok(refused)
    }

    /// How many records are to be given to [`Transaction::apply_bulk`] at once.
    pub(super) fn bulk_run(&self) -> usize {
        if self.recorder.is_some() { self.bulk_run } else { RUN }
    }

    /// Applies the first records of a range as the store does it; gives how many that were.
    pub(super) fn apply_bulk(
        &mut self,
        plan: &TablePlan,
        rows: &Rows,
        range: Range<usize>,
        tally: &mut Tally,
    ) -> Result<usize> {
        let (Some(recorder), Identity::Key { columns: key, .. }) = (&mut self.recorder, &plan.identity) else {
            return self.writer.apply_bulk(plan, rows, range, tally);
        };
        let asked = range.len();
        let before = recorder.look_at_all(&mut *self.writer, plan, key, rows, range.clone())?;
        let applied = self.writer.apply_bulk(plan, rows, range, tally)?;
        recorder.note_all(&mut *self.writer, plan, key, before, applied)?;
        // Where the store leaves much to the caller, little is looked at in vain.
        self.bulk_run = if applied == asked { self.bulk_run * 2 } else { applied * 2 }.clamp(SMALLEST_RUN, RUN);
        Ok(applied)
    }

    /// Rows of this table are expected to bring keys up to this one: none of these is given to another row.
    pub(super) fn expect_integers(&mut self, table: &TableSchema, largest: i64) {
        self.expected.insert(table.name.clone(), largest);
    }

    /// The next integer for this column of a table: one more than the largest that is there, was given, or is expected.
    pub(super) fn next_integer(&mut self, table: &TableSchema, column: usize) -> Result<Option<i64>> {
        let next = self.peek_integer(table, column)?;
        if let Some(next) = next {
            self.last_keys.insert(table.name.clone(), next);
            self.first_keys.entry(table.name.clone()).or_insert(next);
        }
        Ok(next)
    }

    /// The same, which is not taken.
    pub(super) fn peek_integer(&mut self, table: &TableSchema, column: usize) -> Result<Option<i64>> {
        let last = match self.last_keys.get(&table.name) {
            Some(last) => *last,
            None => {
                let given = key_map::last_given(self.writer.state(), &key_map::name_of(table))?;
                let expected = self.expected.get(&table.name).copied().unwrap_or(0);
                self.writer.last_integer(table, column)?.max(given).max(expected)
            }
        };
        Ok(last.checked_add(1))
    }

    /// Whether a row of this table that is not written yet may get the key that stands in these rows: all new keys of tables that are
    /// appended together are made before the first row is written.
    pub(super) fn may_be_given(&mut self, table: &TableSchema, key: &[usize], rows: &Rows, row: usize) -> Result<bool> {
        match (&self.references, key) {
            (References::With(tables), [_, _, ..]) => Ok(table.names.is_among(&table.name, tables)),
            (References::With(_), [column]) => match (self.first_keys.get(&table.name).copied(), rows.get(row, 0)) {
                (Some(first), Some(ValueRef::Integer(wanted))) => {
                    let next = self.peek_integer(table, *column)?;
                    Ok(wanted >= first && next.is_none_or(|next| wanted < next))
                }
                _ => Ok(false),
            },
            _ => Ok(false),
        }
    }

    /// Forgets which integers were given: something else may have written to the table. Gives whether there were any.
    pub(super) fn forget_integers(&mut self, table: &TableSchema) -> bool {
        self.last_keys.remove(&table.name).is_some()
    }

    /// The failure of a record whose local row was refused.
    pub(super) fn failure_of(
        &mut self,
        plan: &TablePlan,
        key: Vec<Value>,
        local: (&Rows, usize),
        refused: Refused,
    ) -> Result<Failure> {
        let Refused { reason, column, message, .. } = refused;
        if reason == Reason::ForeignKey
            && column.is_none()
            && let Some((column, message)) = self.missing_parent(&plan.table, local.0, local.1)?
        {
            return Ok(Failure { key, column: Some(column), reason, message });
        }
        Ok(Failure { key, column, reason, message })
    }

    /// Which of a local row's references has no parent, as its first column and a sentence.
    pub(super) fn missing_parent(
        &mut self,
        table: &TableSchema,
        rows: &Rows,
        row: usize,
    ) -> Result<Option<(String, String)>> {
        for reference in &table.foreign_keys {
            let Some(cells) = table.column_indexes(&reference.columns) else { continue };
            let values: Vec<_> = cells.iter().filter_map(|cell| rows.get(row, *cell)).collect();
            if values.len() < cells.len() || values.iter().any(|value| value.is_null()) {
                continue;
            }
            let columns: Vec<&str> = reference.parent_columns.iter().map(String::as_str).collect();
            let lookup = Lookup { table: &reference.parent, columns: &columns, collations: &[], cells: &cells, read: &[] };
            let mut found = Found::default();
            self.writer.lookup(&lookup, rows, row..row + 1, &mut found)?;
            if !found.has(0) {
                let message = format!("no row of {:?} has {} = {values:?}", reference.parent, columns.join(", "));
                return Ok(reference.columns.first().map(|column| (column.clone(), message)));
            }
        }
        Ok(None)
    }
}

/// Whether rows mean the same in both: an index that is not unique makes no difference. What a reference refers to where it names
/// no columns is known only when its parent is there.
fn are_alike(one: &TableSchema, other: &TableSchema) -> bool {
    let flags = |table: &TableSchema| (table.strict, table.without_rowid, table.rowid_alias, table.autoincrement);
    let same_references = one.foreign_keys.len() == other.foreign_keys.len()
        && one.foreign_keys.iter().zip(&other.foreign_keys).all(|(one, other)| {
            one.columns == other.columns && one.parent == other.parent && one.on_update == other.on_update
        });
    let same_columns = one.columns == other.columns && one.unique == other.unique;
    let same_key = one.primary_key == other.primary_key && one.key_collations == other.key_collations;
    same_columns && same_key && same_references && flags(one) == flags(other)
}

/// The names of these columns.
pub(super) fn names<'t>(table: &'t TableSchema, columns: &[usize]) -> Vec<&'t str> {
    columns.iter().map(|column| table.columns[*column].name.as_str()).collect()
}

/// The key that a record came with; parts that it lacks are left out.
pub(super) fn key_of_record(plan: &TablePlan, rows: &Rows, row: usize) -> Vec<Value> {
    match &plan.identity {
        Identity::Key { incoming, .. } => {
            incoming.iter().filter_map(|at| rows.get(row, *at)).map(ValueRef::to_owned).collect()
        }
        Identity::WholeRow => Vec::new(),
    }
}

/// A record's first value that does not fit, if there is one, as a failure.
pub(super) fn misfit_of(
    plan: &TablePlan,
    fitted: &Fitted,
    number: usize,
    key: impl FnOnce() -> Vec<Value>,
) -> Option<Failure> {
    let first = fitted.misfits.partition_point(|misfit| misfit.row < number);
    let misfit = fitted.misfits.get(first).filter(|misfit| misfit.row == number)?;
    let column = Some(plan.table.columns[misfit.column].name.clone());
    Some(Failure { key: key(), column, reason: misfit.reason, message: misfit.message.clone() })
}

/// A tally that adds to what became of records before.
pub(super) fn tally(ledger: &Ledger<'_>, outcome: &Outcome) -> Tally {
    let tally = Tally::after(outcome.clone(), ledger.limits().pull.reported_failures);
    if ledger.tells_failures() { tally.telling() } else { tally }
}
