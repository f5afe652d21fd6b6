//! Imports from memory: the same way in as a pull, without a sender.

use super::run::pull;
use super::source::{Page, Source};
use super::{PullOptions, Report, TableReport};
use crate::cancel::Patience;
use crate::domain::schema::TableSchema;
use crate::domain::table::TableInfo;
use crate::domain::value::{Records, Rows};
use crate::error::{Error, ErrorKind, Result};
use crate::site::Site;
use crate::store::NewTable;

impl Site {
    /// Imports records into a local table, as a pull does with the records of a sender: the strategy, counts and failures are
    /// the same. Columns are matched by name; the table must exist.
    ///
    /// # Errors
    /// [`TableNotFound`](ErrorKind::TableNotFound), [`SchemaMismatch`](ErrorKind::SchemaMismatch) for columns that the table
    /// does not have, and what the database says. A record that cannot be taken is no error: see
    /// [`Outcome::failures`](crate::Outcome::failures).
    pub fn import_records(&self, table: &str, records: &Records, options: PullOptions<'_>) -> Result<TableReport> {
        self.import_multiple(&[(table, records)], options)?.into_table(table)
    }

    /// Imports records into several local tables, in the order of their foreign keys: see [`Site::import_records`].
    ///
    /// # Errors
    /// [`TableNotFound`](ErrorKind::TableNotFound) and [`SchemaMismatch`](ErrorKind::SchemaMismatch) for records that do not fit
    /// a table here; what becomes of each table is in the report.
    pub fn import_multiple(&self, tables: &[(&str, &Records)], options: PullOptions<'_>) -> Result<Report> {
        let mut memory = Vec::with_capacity(tables.len());
        for (name, records) in tables {
            memory.push((self.described(name, records)?, &records.rows));
        }
        let options = options.create_missing_tables(false);
        pull(&Memory(memory), self.here(), options, None)
    }

    /// Makes a table of this structure. Names and types only are taken from it; what cannot be made is left out and told, in
    /// whole sentences.
    ///
    /// # Errors
    /// [`ReservedName`](ErrorKind::ReservedName), [`SchemaMismatch`](ErrorKind::SchemaMismatch),
    /// [`TooLarge`](ErrorKind::TooLarge), and what the database says, for example that the table exists.
    pub fn create_table(&self, table: &TableSchema) -> Result<Vec<String>> {
        let mut writer = self.store().writer()?;
        let notes = writer.create_table(&NewTable { schema: table, exact: true, parents: &|_| None })?;
        writer.commit()?;
        Ok(notes)
    }

    /// The structure that records of these columns have, as the local table says it.
    fn described(&self, table: &str, records: &Records) -> Result<TableSchema> {
        let mut schema = self.get_schema(table)?;
        let columns = records.columns.iter().map(|name| {
            schema.column(name).cloned().ok_or_else(|| {
                let message = format!("the table {:?} has no column {name:?}", schema.name);
                Error::new(ErrorKind::SchemaMismatch, message)
            })
        });
        schema.columns = columns.collect::<Result<_>>()?;
        Ok(schema)
    }
}

#[cfg(any(fuzzing, all(test, feature = "sqlite", feature = "client", feature = "server")))]
impl Site {
    /// Pulls tables as another site describes them, with these rows.
    pub(crate) fn pull_described(&self, tables: &[(TableSchema, Rows)], options: PullOptions<'_>) -> Result<Report> {
        let memory = tables.iter().map(|(schema, rows)| (schema.clone(), rows)).collect();
        let origin = crate::ledger::history::Origin { connection: None, site_url: "https://there.example".to_owned() };
        pull(&Memory(memory), self.here(), options, Some(origin))
    }
}

/// Records in memory, as something to pull from.
struct Memory<'m>(Vec<(TableSchema, &'m Rows)>);

impl Memory<'_> {
    fn table(&self, name: &str) -> Result<&(TableSchema, &Rows)> {
        let missing = || Error::new(ErrorKind::TableNotFound, format!("there is no table {name:?}"));
        self.0.iter().find(|(schema, _)| schema.name == name).ok_or_else(missing)
    }
}

impl Source for Memory<'_> {
    fn is_rowferry(&self) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        true
    }

    fn tables(&self, _patience: &Patience) -> Result<Vec<TableInfo>> {
        let info =
            |(schema, rows): &(TableSchema, &Rows)| TableInfo { name: schema.name.clone(), row_count: rows.len() as u64 };
        Ok(self.0.iter().map(info).collect())
    }

    fn schema(&self, table: &str, _patience: &Patience) -> Result<TableSchema> {
        Ok(self.table(table)?.0.clone())
    }

    fn count(&self, table: &str, _patience: &Patience) -> Result<u64> {
        Ok(self.table(table)?.1.len() as u64)
    }

    fn page(&self, table: &TableSchema, offset: u64, limit: u32, rows: &mut Rows, _patience: &Patience) -> Result<Page> {
        let all = self.table(&table.name)?.1;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
        let to = from.saturating_add(limit as usize).min(all.len());
        rows.push_rows(all, from..to);
        let state = Some(1);
        Ok(Page { received: (to - from) as u64, has_more: to < all.len(), state, ..Page::default() })
    }
}
