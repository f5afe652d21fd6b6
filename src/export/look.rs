//! What is asked over HTTP only: records by their ids, and what a list of tables says beside their names.

use uuid::Uuid;

use super::{Digest, Exporter, Page, digest};
use crate::domain::schema::{LogicalType, TableSchema};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::table::key_of;
use crate::store::{Keys, PageBounds, Snapshot};

/// From how many rows the size of a table is estimated.
const SAMPLE_ROWS: usize = 200;

/// The records that are meant, by their key of one column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ids {
    /// Those of these keys.
    These(Vec<Value>),
    /// All from the first to the second, both included; none is no bound.
    Between(Option<Value>, Option<Value>),
}

/// A table with what a list says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableDetails {
    pub(crate) name: String,
    pub(crate) row_count: u64,
    /// About how many bytes its values take.
    pub(crate) size_bytes: u64,
    /// `None` where the table is too large for it to be made.
    pub(crate) digest: Option<Digest>,
    /// The other tables that its foreign keys refer to, of those that are offered, sorted by name.
    pub(crate) depends_on: Vec<String>,
}

impl Exporter {
    /// Reads records by their keys, in the order of these, into `rows`, which is cleared first: `skip` of them left out, and at
    /// most `most`. An id of a uuid column may be its text or its bytes, whichever of them is stored.
    ///
    /// # Errors
    /// Those of [`Exporter::schema`]; [`InvalidInput`](ErrorKind::InvalidInput) for a table whose key is not one column.
    pub(crate) fn find(&mut self, table: &str, ids: &Ids, skip: u64, most: u64, rows: &mut Rows) -> Result<Page> {
        let limits = &self.source.limits;
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(limits.wire.page_rows).max(1);
        let bounds = PageBounds { rows: most, bytes: limits.wire.page_bytes };
        let view = self.source.view()?;
        let table = view.schema(table)?;
        let column = match key_of(&table)? {
            Some((columns, _)) if columns.len() == 1 => columns.first().copied().unwrap_or_default(),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "the records of this table have no ids: its key is not one column",
                ));
            }
        };
        let is_uuid = table.columns.get(column).is_some_and(|column| column.logical == LogicalType::Uuid);
        let spellings;
        let keys = match ids {
            Ids::These(these) if is_uuid => {
                spellings = these.iter().flat_map(uuid_spellings).collect::<Vec<_>>();
                Keys::These(&spellings)
            }
            Ids::These(these) => Keys::These(these),
            Ids::Between(from, to) => Keys::Between(from.as_ref(), to.as_ref()),
        };
        let more = view.snapshot.find(&table, column, &keys, skip, bounds, rows)?;
        Ok(Page { table, more, state: view.state, cursor: None })
    }

    /// The tables with what a list says of them. Sizes are estimated from the first rows. Digests read whole tables: there are
    /// some only of tables with at most [`ServerLimits::digest_rows`](crate::ServerLimits::digest_rows) rows and
    /// [`ServerLimits::digest_bytes`](crate::ServerLimits::digest_bytes) by the estimate, the latter for all of the list together. Of tables that are
    /// `guarded` neither is told: from them it can be found out what a table holds.
    pub(crate) fn details(&mut self, guarded: impl Fn(&str) -> bool) -> Result<Vec<TableDetails>> {
        let tables = self.tables()?;
        let limits = self.source.limits.clone();
        let mut left = limits.server.digest_bytes;
        let mut all = Vec::with_capacity(tables.len());
        for table in tables {
            let view = self.source.view()?;
            // One that cannot be read is listed all the same: see `tables`.
            let Ok(schema) = view.schema(&table.name) else { continue };
            let is_guarded = guarded(&table.name);
            let size_bytes = match is_guarded {
                true => 0,
                false => size(&mut *view.snapshot, &schema, table.row_count, limits.wire.page_bytes).unwrap_or(0),
            };
            let mut details = TableDetails {
                size_bytes,
                digest: None,
                depends_on: Vec::new(),
                name: table.name,
                row_count: table.row_count,
            };
            for key in &schema.foreign_keys {
                let is_own = schema.names.same(&key.parent, &schema.name);
                // Its name as the parent has it, and only if it is there.
                if let Some(parent) = if is_own { None } else { view.schema(&key.parent).ok() }
                    && !details.depends_on.contains(&parent.name)
                {
                    details.depends_on.push(parent.name.clone());
                }
            }
            details.depends_on.sort();
            if !is_guarded && details.row_count <= limits.server.digest_rows && details.size_bytes <= left {
                left = left.saturating_sub(details.size_bytes);
                let bounds = PageBounds { rows: limits.wire.page_rows, bytes: limits.wire.page_bytes };
                details.digest = digest(&mut *view.snapshot, &schema, bounds).ok();
            }
            all.push(details);
        }
        Ok(all)
    }
}

/// About how many bytes the values of a table take.
fn size(snapshot: &mut dyn Snapshot, table: &TableSchema, row_count: u64, bytes: usize) -> Result<u64> {
    let mut rows = Rows::default();
    snapshot.page(table, None, 0, PageBounds { rows: SAMPLE_ROWS, bytes }, &mut rows)?;
    let value = |value: ValueRef<'_>| match value {
        ValueRef::Null => 1,
        ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() as u64,
    };
    let row = |row| (0..rows.width()).filter_map(|column| rows.get(row, column).map(value)).sum::<u64>();
    let sum: u64 = (0..rows.len()).map(row).sum();
    let count = rows.len() as u64;
    Ok(sum.saturating_mul(row_count).checked_div(count).unwrap_or(0))
}

/// A uuid as it may be stored: as text, or as 16 bytes.
fn uuid_spellings(id: &Value) -> Vec<Value> {
    let uuid = match id {
        Value::Text(text) => std::str::from_utf8(text).ok().and_then(|text| Uuid::try_parse(text).ok()),
        Value::Blob(bytes) => Uuid::from_slice(bytes).ok(),
        _ => None,
    };
    // PhoenixKit's own client sends the bytes as a text where they happen to be one.
    let bytes = match id {
        Value::Text(text) => Uuid::from_slice(text).ok(),
        _ => None,
    };
    match uuid.or(bytes) {
        Some(uuid) => {
            vec![Value::from(uuid.hyphenated().to_string().as_str()), Value::Blob(uuid.as_bytes().to_vec()), id.clone()]
        }
        None => vec![id.clone()],
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fake::{FakeStore, table};
    use super::super::{Exporter, Offer};
    use super::*;
    use crate::domain::names::NameRules;
    use crate::domain::schema::ForeignKey;
    use crate::limits::Limits;

    fn exporter(limits: Limits) -> Exporter {
        let mut users = table("users", &["id"]);
        users.primary_key = vec!["id".into()];
        users.columns[0].nullable = false;
        let mut posts = table("posts", &["id", "user", "secret"]);
        for (parent, column) in [("USERS", "user"), ("hidden", "secret"), ("posts", "id"), ("ghost", "id")] {
            let (columns, parent_columns) = (vec![column.to_owned()], vec!["id".to_owned()]);
            posts.foreign_keys.push(ForeignKey { columns, parent: parent.into(), parent_columns, ..ForeignKey::default() });
        }
        let numbers = |count: i64| (1..=count).map(|n| vec![Value::Integer(n)]).collect::<Vec<_>>();
        let tables = vec![(users, numbers(9)), (posts, vec![]), (table("hidden", &["id"]), numbers(1))];
        Exporter::new(Arc::new(FakeStore::of(tables)), Arc::new(Offer::hiding(["hidden"], NameRules::default())), limits)
    }

    #[test]
    fn a_list_tells_sizes_digests_and_parents_that_are_offered() {
        let list = exporter(Limits::default()).details(|_| false).unwrap();
        let seen: Vec<_> = list.iter().map(|t| (&*t.name, t.row_count, t.size_bytes, t.digest.is_some())).collect();
        assert_eq!(seen, [("users", 9, 72, true), ("posts", 0, 0, true)]);
        assert_eq!(list[1].depends_on, ["users"]);
        let few = exporter(Limits::with(|limits| limits.server.digest_rows = 8)).details(|_| false).unwrap();
        assert_eq!(few.iter().map(|t| t.digest.is_some()).collect::<Vec<_>>(), [false, true]);
        let small = exporter(Limits::with(|limits| limits.server.digest_bytes = 71)).details(|_| false).unwrap();
        assert_eq!(small.iter().map(|t| t.digest.is_some()).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn records_are_found_where_the_key_is_one_column() {
        let mut exporter = exporter(Limits::default());
        let mut rows = Rows::default();
        let ids = Ids::These(vec![Value::Integer(3), Value::Integer(1)]);
        let page = exporter.find("users", &ids, 0, 1, &mut rows).unwrap();
        assert_eq!((rows.get(0, 0).map(ValueRef::to_owned), page.more), (Some(Value::Integer(1)), true));
        let error = exporter.find("posts", &ids, 0, 1, &mut rows).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = exporter.find("hidden", &ids, 0, 1, &mut rows).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TableNotFound);
    }

    #[test]
    fn uuids_are_looked_for_in_every_spelling() {
        let bytes = *b"ABCDEFGHIJKLMNOP";
        let text = Value::from("41424344-4546-4748-494a-4b4c4d4e4f50");
        for id in [text.clone(), Value::Blob(bytes.to_vec()), Value::from("ABCDEFGHIJKLMNOP")] {
            let all = uuid_spellings(&id);
            assert!(all.contains(&text) && all.contains(&Value::Blob(bytes.to_vec())), "{id:?}");
        }
        assert_eq!(uuid_spellings(&Value::Integer(1)), [Value::Integer(1)]);
    }
}
