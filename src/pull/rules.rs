//! Rules of the caller's own: which tables are left out, what tells their rows apart, and which rows a record may change.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::PullOptions;
use super::callbacks::{FailureAction, OnConflict};
use super::offer::Offered;
use crate::domain::conflict::{ConflictRules, Record, Resolution};
use crate::domain::names::{NameRules, nearest};
use crate::domain::record::Failure;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Identity, TablePlan};
use crate::store::Store;

impl<'p> PullOptions<'p> {
    /// Leaves these tables out, by the sender's names for them, and those of `exclude` before it. Defaults to none. The report does not
    /// mention them.
    ///
    /// A name that the sender does not offer is an error of the pull, before anything is pulled: behind it may be a table that is meant to
    /// stay there. So is one that [`tables`](Self::tables) names, too.
    #[must_use]
    pub fn exclude<T: Into<String>>(mut self, tables: impl IntoIterator<Item = T>) -> Self {
        self.exclude.extend(tables.into_iter().map(Into::into));
        self
    }

    /// The columns by which records of this table, by the sender's name for it, meet rows here. Defaults to the primary key, else a unique
    /// set of NOT NULL columns, else the whole row.
    ///
    /// A row that is here keeps its primary key. A new one gets the record's if that is free; otherwise a new UUID in the same form, or an
    /// integer; any other kind fails with [`NoNewKey`](crate::Reason::NoNewKey). The integer is larger than all that are here, that records
    /// of the same page bring, and than the number of the sender's rows; a record that comes later with an integer that was given so gets
    /// another one in turn. Rows of other tables that refer to the record follow to the key that it has here, in this pull and in later
    /// ones: see [`Site::key_map`](crate::Site::key_map). Records are applied one by one then, which takes some times as long.
    ///
    /// The columns must be a unique set of the local table, in any order, or the table fails with
    /// [`SchemaMismatch`](ErrorKind::SchemaMismatch) before a row is moved; so it does if records lack one of them. A record with NULL in
    /// one has no key, and fails with [`MissingKey`](crate::Reason::MissingKey). With [`Append`](Strategy::Append), which meets no rows, it
    /// is an error of the pull. A pull that was interrupted begins the table again if it resumes with another key.
    #[must_use]
    pub fn key<C: Into<String>>(mut self, table: impl Into<String>, columns: impl IntoIterator<Item = C>) -> Self {
        self.keys.insert(table.into(), columns.into_iter().map(Into::into).collect());
        self
    }

    /// Lets a record change its row only where it is newer: where its value in this column is greater than that of the row, `updated_at`
    /// for example. For tables that are overwritten or merged. Defaults to no such column: each record changes its row.
    ///
    /// A record that says something else than its row, and is not newer, is skipped, and counts as
    /// [`differing`](crate::Outcome::differing). Values are compared as SQLite sorts them without a collation: NULL, or nothing, is oldest;
    /// then come numbers by their value, texts by their bytes, and blobs. Dates as ISO texts compare as they should if all are written
    /// alike. Store them in one class: any text is newer than any number.
    ///
    /// A table in which no record can be newer, because it or the records lack the column, or it has no key, is pulled as without, and its
    /// report says so (`no_newer_by`). It is an error of the pull, before a row is moved, if no table is overwritten or merged, or if none of
    /// those has the column.
    #[must_use]
    pub fn newer_by(mut self, column: impl Into<String>) -> Self {
        self.newer_by = Some(column.into());
        self
    }

    /// The same for one table, by the sender's name for it, with a column of its own. The table fails with
    /// [`SchemaMismatch`](ErrorKind::SchemaMismatch), before a row is moved, if no record can be newer.
    #[must_use]
    pub fn table_newer_by(mut self, table: impl Into<String>, column: impl Into<String>) -> Self {
        self.table_newer_by.insert(table.into(), column.into());
        self
    }

    /// Asks what becomes of a row of this table, by the sender's name for it, that a record would change: the row as it is here comes first,
    /// then the record as it would be stored. Defaults to not asking. Under [`Overwrite`](Strategy::Overwrite) and
    /// [`Merge`](Strategy::Merge); with the others, which change no rows, it is an error of the pull. Records that are not
    /// [newer](Self::newer_by), where that is asked, change nothing.
    ///
    /// It is called on the calling thread, in dry runs as well, while the pull has the database locked: it must not use the database, or the
    /// pull waits for itself. If it panics, so does the pull, and what was not committed is undone. It may be called more than once for a
    /// record, where what was written is undone and written again; the last answer counts. A table that is [pulled again](Self::refresh)
    /// is asked for again: what a rule adds up is added twice then. Records are applied one by one, which takes some times as long.
    ///
    /// An interrupted pull resumes if the table has a rule again; whether it is the same cannot be told.
    ///
    /// ```
    /// use rowferry::{PullOptions, Resolution, Strategy, ValueRef};
    ///
    /// // The larger stock wins.
    /// let stock = |row: &rowferry::Record<'_>| match row.get("stock") {
    ///     Some(ValueRef::Integer(stock)) => stock,
    ///     _ => 0,
    /// };
    /// let options = PullOptions::new().strategy(Strategy::Overwrite).on_conflict("articles", |local, incoming| {
    ///     match stock(local) >= stock(incoming) {
    ///         true => Resolution::Keep,
    ///         false => Resolution::Merge(vec![("stock".into(), stock(incoming).into())]),
    ///     }
    /// });
    /// # drop(options);
    /// ```
    #[must_use]
    pub fn on_conflict(
        mut self,
        table: impl Into<String>,
        rule: impl FnMut(&Record<'_>, &Record<'_>) -> Resolution + 'p,
    ) -> Self {
        self.on_conflict.insert(table.into(), Some(Box::new(rule)));
        self
    }

    /// Is told of each record that failed, with the sender's name of its table, and says whether to continue. Defaults to continuing; the
    /// report names the first failures of a table in any case ([`PullLimits::reported_failures`](crate::PullLimits::reported_failures)).
    ///
    /// It is called on the calling thread, after the transaction that the record was in: the database is not locked by the pull meanwhile,
    /// and the records after it may have been applied as well. Of one transaction the first 100,000 failures are told. A table that is
    /// stopped ends with the error [`Stopped`](ErrorKind::Stopped), and so do those that are not pulled any more; what was committed stays,
    /// and the same pull again resumes after it. A table of which all records are here by then is complete. Failures of earlier runs are
    /// not told again, but for tables that are [pulled again](Self::refresh).
    ///
    /// ```
    /// use rowferry::{FailureAction, PullOptions};
    ///
    /// let mut failed = 0;
    /// let options = PullOptions::new().on_failure(|table, failure| {
    ///     eprintln!("{table} {:?}: {} ({})", failure.key, failure.message, failure.reason.code());
    ///     failed += 1;
    ///     if failed < 1_000 { FailureAction::Continue } else { FailureAction::StopPull }
    /// });
    /// # drop(options);
    /// ```
    #[must_use]
    pub fn on_failure(mut self, call: impl FnMut(&str, &Failure) -> FailureAction + 'p) -> Self {
        self.on_failure = Some(Box::new(call));
        self
    }

    /// An error if a rule can have no effect in a pull of these tables.
    pub(super) fn check_rules(&self, wanted: &[String]) -> Result<()> {
        let changes = |table: &str| matches!(self.strategy_of(table), Strategy::Overwrite | Strategy::Merge);
        let refused = |what: String, hint: &str| Err(Error::new(ErrorKind::InvalidInput, what).with_hint(hint));
        if let Some(table) = self.keys.keys().find(|table| self.strategy_of(table) == Strategy::Append) {
            let what = format!("a key is given for {table:?}, which is appended: its records meet no rows");
            return refused(what, "Choose another strategy for the table, or no key.");
        }
        let hint = "Choose the strategy overwrite or merge: the others change no rows.";
        if let Some(table) = self.table_newer_by.keys().find(|table| !changes(table)) {
            let strategy = self.strategy_of(table);
            return refused(
                format!("only newer records are to change rows of {table:?}, under the strategy {strategy}"),
                hint,
            );
        }
        if let Some(table) = self.on_conflict.keys().find(|table| !changes(table)) {
            let strategy = self.strategy_of(table);
            return refused(
                format!("a rule is given for rows of {table:?} that change, under the strategy {strategy}"),
                hint,
            );
        }
        match &self.newer_by {
            Some(column) if !wanted.iter().any(|table| changes(table)) => refused(
                format!("only records that are newer by {column:?} are to change rows, and no table's rows change"),
                hint,
            ),
            _ => Ok(()),
        }
    }

    /// An error if the column by which records are to be newer is in none of these tables: nothing would keep rows from being changed by
    /// older records then. A misspelt name, most likely.
    pub(super) fn check_newer_by(&self, offered: &[Offered], store: &dyn Store) -> Result<()> {
        let Some(name) = &self.newer_by else { return Ok(()) };
        let is_meant = |table: &&Offered| {
            let changes = matches!(self.strategy_of(&table.name), Strategy::Overwrite | Strategy::Merge);
            changes && !self.table_newer_by.contains_key(&table.name)
        };
        let meant: Vec<&Offered> = offered.iter().filter(is_meant).collect();
        if meant.is_empty() {
            return Ok(());
        }
        let mut here = store.snapshot()?;
        let mut has_it = |table: &&Offered| {
            // A table that is missing here gets it. What is wrong with one that cannot be read is told with that table.
            let mut here = || here.schema(&table.name).ok().flatten().is_none_or(|local| local.column(name).is_some());
            table.schema.column(name).is_some() && here()
        };
        if meant.iter().any(&mut has_it) {
            return Ok(());
        }
        let columns = || meant.iter().flat_map(|table| &table.schema.columns).map(|column| column.name.as_str());
        let begins_so = |column: &&str| column.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        let others = || columns().filter(|column| !column.eq_ignore_ascii_case(name));
        let hint = match nearest(name, others()).or_else(|| others().find(begins_so)) {
            Some(near) => format!("Did you mean {near:?}?"),
            None => "Name a column that a table has both here and at the other site.".to_owned(),
        };
        let message = format!(
            "only records that are newer by {name:?} are to change rows, and no table that is pulled has this column, both here and \
             at the other site"
        );
        Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint))
    }

    /// The column of a planned table by which records must be newer, if they must; or why they need not, for the report.
    ///
    /// # Errors
    /// [`SchemaMismatch`](ErrorKind::SchemaMismatch) if none can be, and it was asked of this table.
    pub(super) fn newer_by_of(&self, table: &str, plan: &TablePlan) -> Result<(Option<usize>, Option<String>)> {
        let asked = self.table_newer_by.get(table);
        let general = self.newer_by.as_ref().filter(|_| matches!(plan.strategy, Strategy::Overwrite | Strategy::Merge));
        let Some(name) = asked.or(general) else { return Ok((None, None)) };
        match (newer_column(plan, name), asked) {
            (Ok(column), _) => Ok((Some(column), None)),
            (Err(why), Some(_)) => {
                let message = format!("table {table:?}: no record can be newer by {name:?}, because {why}");
                Err(Error::new(ErrorKind::SchemaMismatch, message).with_hint("Name another column for this table, or none."))
            }
            (Err(why), None) => Ok((
                None,
                Some(format!(
                    "Table {table:?}: records change rows whether they are newer or not (no_newer_by), because {why}."
                )),
            )),
        }
    }
}

/// The local column of this name, or why no record can be newer by it.
fn newer_column(plan: &TablePlan, name: &str) -> std::result::Result<usize, String> {
    if plan.identity == Identity::WholeRow {
        return Err("the table has no key".to_owned());
    }
    let Some(column) = plan.table.column_index(name) else {
        return Err(format!("it has no column {name:?} here"));
    };
    match plan.targets.contains(&Some(column)) {
        true => Ok(column),
        false if plan.table.columns[column].generated => Err(format!("the column {name:?} is computed here")),
        false => Err(format!("the records have no column {name:?}")),
    }
}

/// The rules that are asked while rows are written, by the local names of their tables.
pub(super) struct Rules<'p> {
    names: NameRules,
    of_tables: RefCell<BTreeMap<String, OnConflict<'p>>>,
}

impl<'p> Rules<'p> {
    /// Takes them out of the options, which still say which tables have one.
    pub(super) fn take(options: &mut PullOptions<'p>, names: NameRules) -> Self {
        let rules = options.on_conflict.iter_mut();
        let of_tables = rules.filter_map(|(table, rule)| Some((names.fold(table).into_owned(), rule.take()?)));
        Rules { names, of_tables: RefCell::new(of_tables.collect()) }
    }
}

impl ConflictRules for Rules<'_> {
    fn resolve(&self, local: &Record<'_>, incoming: &Record<'_>) -> Resolution {
        match self.of_tables.borrow_mut().get_mut(&*self.names.fold(local.table())) {
            Some(rule) => rule(local, incoming),
            None => Resolution::Take,
        }
    }
}
