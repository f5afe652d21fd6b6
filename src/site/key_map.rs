//! Which local row each record of a sender became.

use std::collections::VecDeque;

use super::Site;
use crate::domain::value::Value;
use crate::error::Result;
use crate::ledger::key_map::{self, After};
use crate::ledger::{appends, counts, same};
use crate::state;

impl Site {
    /// What records of other sites became in this table, whose name is compared as the store compares names.
    pub fn key_map(&self, table: &str) -> KeyMap<'_> {
        KeyMap::new(self, table)
    }
}

/// What records of other sites became in one table here: see [`Site::key_map`].
///
/// An append gives records new keys, or finds that they are rows which are here; a pull that does not append may find a record here
/// under another key. The site keeps which: references that come later follow, and
/// [`append_new`](crate::PullOptions::append_new) skips what came before. It is kept until it is
/// [forgotten](crate::site::Checkpoints::forget) with the append.
#[derive(Debug, Clone)]
pub struct KeyMap<'s> {
    site: &'s Site,
    table: String,
}

/// What a record of a sender became.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KeyMapping {
    /// Who the record came from, as [`CheckpointInfo::sender`](crate::CheckpointInfo::sender) says it.
    pub sender: String,
    /// Its key there.
    pub old: Vec<Value>,
    /// The key of its row here. Empty where it became none, while the row that has its key is another record's: see
    /// [`PullOptions::key`](crate::PullOptions::key).
    pub new: Vec<Value>,
    /// Whether that row was here before the record came.
    pub existing: bool,
}

/// How many entries are read at a time.
const TOGETHER: i64 = 1_000;

impl<'s> KeyMap<'s> {
    pub(super) fn new(site: &'s Site, table: &str) -> Self {
        KeyMap { site, table: site.names().fold(table).into_owned() }
    }

    /// Forgets all entries, of all senders: references to those records are not followed any more, and what is new in a later append
    /// can no longer be told. Gives whether there were any.
    ///
    /// # Errors
    /// What the store says.
    pub fn clear(&self) -> Result<bool> {
        state::write(self.site.store_ref(), |sql| {
            appends::forget_keys(sql, &self.table, self.site.names())?;
            counts::forget_all_of(sql, &self.table)?;
            same::forget_all(sql)?;
            Ok(key_map::forget_all_of(sql, &self.table)? > 0)
        })
    }

    /// All entries, those of a sender together. They are read some at a time: what a pull adds meanwhile may be among them or not.
    pub fn entries(&self) -> KeyMappings<'s> {
        KeyMappings { site: self.site, table: self.table.clone(), read: VecDeque::new(), after: None, done: false }
    }
}

/// The entries of a [`KeyMap`]. After an error it ends.
#[derive(Debug)]
pub struct KeyMappings<'s> {
    site: &'s Site,
    table: String,
    read: VecDeque<KeyMapping>,
    after: Option<After>,
    done: bool,
}

impl Iterator for KeyMappings<'_> {
    type Item = Result<KeyMapping>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.is_empty() && !self.done {
            let after = self.after.take();
            let page =
                state::read(self.site.store_ref(), |sql| key_map::entries(sql, &self.table, after.as_ref(), TOGETHER));
            match page {
                Ok((entries, after)) => {
                    self.done = after.is_none();
                    self.after = after;
                    self.read.extend(entries.into_iter().map(|entry| KeyMapping {
                        sender: entry.scope,
                        old: entry.old,
                        new: entry.new.key,
                        existing: entry.new.existing,
                    }));
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        self.read.pop_front().map(Ok)
    }
}
