//! What a pass over a group finds out of its records: which rows they are here.
//!
//! Rows of a group may refer to records that come after them. So what key maps say at the end of a pass must be what they said at its
//! beginning: where it is not, the pass is undone, the maps are told, and all is applied again. What an earlier pull left in a map is
//! replaced so by what this one found, before anything that stays is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::schema::TableSchema;
use crate::domain::value::Value;
use crate::error::Result;
use crate::ledger::key_map::{self, Became, KeyMap};
use crate::store::Sql;

/// New keys by the old ones, as those are compared.
type NewKeys = BTreeMap<Vec<u8>, Option<Vec<Value>>>;

#[derive(Default)]
pub(super) struct Settling {
    /// Whether it is asked what changes.
    wanted: bool,
    /// The entries that changed, with the new keys that they had at the beginning of the pass, by the names of their tables.
    pub(super) before: BTreeMap<String, (Arc<TableSchema>, NewKeys)>,
    /// The tables of which the map may still say what an earlier pull found: what seems to refer to no record of theirs may do so.
    stale: Vec<String>,
    /// Whether anything seemed to.
    doubted: bool,
}

/// An entry of a key map that a pass changed.
pub(super) struct Moved {
    pub(super) table: Arc<TableSchema>,
    pub(super) old: Vec<u8>,
    /// `None` where there is none any more.
    pub(super) now: Option<Became>,
}

impl Settling {
    /// At the beginning of a pass.
    pub(super) fn of_pass(stale: Vec<String>) -> Self {
        Settling { wanted: true, stale, ..Settling::default() }
    }

    /// Notes what a map says before it is changed.
    pub(super) fn note(&mut self, sql: &mut dyn Sql, map: KeyMap, table: &TableSchema, old: &[u8]) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        if !self.before.contains_key(&table.name) {
            self.before.insert(table.name.clone(), (Arc::new(table.clone()), BTreeMap::new()));
        }
        if let Some((_, before)) = self.before.get_mut(&table.name)
            && !before.contains_key(old)
        {
            before.insert(old.to_vec(), key_map::get(sql, map, old)?.map(|known| known.new.key));
        }
        Ok(())
    }

    /// Whether what seems to refer to no record of this table may do so.
    pub(super) fn doubts(&mut self, table: &str) -> bool {
        let doubts = self.stale.iter().any(|stale| stale == table);
        self.doubted |= doubts;
        doubts
    }

    pub(super) fn doubted(&self) -> bool {
        self.doubted
    }
}
