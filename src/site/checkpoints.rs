//! What a site remembers of pulls: how far interrupted ones are, and which appends were finished.

use time::OffsetDateTime;

use super::Site;
use crate::domain::strategy::Strategy;
use crate::domain::string_enum::string_enum;
use crate::error::Result;
use crate::ledger::checkpoints::{self, Step};
use crate::ledger::{Scope, appends, counts, indexes, key_map, pulls, same};
use crate::state;

impl Site {
    /// What is remembered of pulls: how far interrupted ones are, and which appends were finished.
    pub fn checkpoints(&self) -> Checkpoints<'_> {
        Checkpoints::new(self)
    }
}

/// What a [`Site`] remembers of the tables that it pulled.
///
/// A pull that was interrupted leaves a checkpoint for each of its tables: the same pull, started again within
/// [`RetentionLimits::resume_time`](crate::RetentionLimits::resume_time), resumes there. An append that was finished, or that added rows and was not
/// resumed in that time, is remembered until it is forgotten: the same one again is refused, unless
/// [what is new](crate::PullOptions::append_new) or [all of it again](crate::PullOptions::append_again) is asked for.
///
/// Every method fails with what the store says.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoints<'s> {
    site: &'s Site,
}

/// What is remembered of a table of a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Who its rows come from: `site:` and the other site's id, or `url:` and its URL where it told none.
    pub sender: String,
    /// The sender's name of the table.
    pub table: String,
    /// How it is pulled.
    pub strategy: Strategy,
    /// What is remembered.
    pub kind: CheckpointKind,
    /// Records received.
    pub records: u64,
    /// When the pull last wrote; when the append was finished or given up.
    pub at: OffsetDateTime,
}

string_enum! {
    /// What is remembered of a table.
    #[non_exhaustive]
    pub enum CheckpointKind("kind of checkpoint") {
        /// A pull that is not whole was interrupted in this table, or is running.
        Unfinished = "unfinished",
        /// A pull that is not whole is done with this table.
        Done = "done",
        /// An append that was finished.
        Appended = "appended",
        /// An append that was finished, but for records that lacked a row which they refer to: the next append brings those.
        LacksParents = "lacks_parents",
        /// An append that was interrupted, and too long ago to resume.
        Begun = "begun",
    }
}

impl<'s> Checkpoints<'s> {
    pub(super) fn new(site: &'s Site) -> Self {
        Checkpoints { site }
    }

    /// All that is remembered: first the pulls that are not whole, the newest first, then the appends.
    pub fn list(&self) -> Result<Vec<CheckpointInfo>> {
        state::read(self.site.store_ref(), |sql| {
            let mut all = Vec::new();
            for pull in pulls::kept(sql, None)? {
                for mark in checkpoints::of_scope(sql, &pull.scope)? {
                    let done = mark.step == Step::Done;
                    all.push(CheckpointInfo {
                        sender: pull.sender.clone(),
                        table: mark.table,
                        strategy: mark.strategy,
                        kind: if done { CheckpointKind::Done } else { CheckpointKind::Unfinished },
                        records: mark.records,
                        at: pull.touched_at,
                    });
                }
            }
            all.extend(appends::all(sql)?.into_iter().map(|append| CheckpointInfo {
                sender: append.sender,
                table: append.table,
                strategy: Strategy::Append,
                kind: match (append.whole, append.lacks_parents) {
                    (false, _) => CheckpointKind::Begun,
                    (true, true) => CheckpointKind::LacksParents,
                    (true, false) => CheckpointKind::Appended,
                },
                records: append.records,
                at: append.finished_at,
            }));
            Ok(all)
        })
    }

    /// Forgets what is remembered of a table of this sender, named as [`Checkpoints::list`] names it; the table's name is compared
    /// as the store compares names. Its next pull begins from the start, and it may be appended again: its part of the
    /// [key map](Site::key_map) is forgotten too. Rows stay as they are. Gives whether there was anything.
    pub fn forget(&self, sender: &str, table: &str) -> Result<bool> {
        let names = self.site.names();
        let mut writer = self.site.store_ref().writer()?;
        let mut found = appends::forget(writer.state(), sender, table, names)?;
        let (kept, name) = (Scope::named(sender.to_owned()), names.fold(table));
        found |= key_map::forget_table(writer.state(), &kept, &name)?;
        counts::forget_table(writer.state(), &kept, &name)?;
        same::forget_all(writer.state())?;
        for pull in pulls::kept(writer.state(), Some(sender))? {
            let kept = checkpoints::tables(writer.state(), &pull.scope)?;
            let (of_table, others): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(name, _)| names.same(name, table));
            if !of_table.is_empty() {
                // Rows stay as they are, and get their indexes.
                indexes::build_all(&mut *writer, &pull.scope)?;
            }
            for (name, strategy) in &of_table {
                checkpoints::remove(writer.state(), &pull.scope, name, *strategy, names)?;
            }
            found |= !of_table.is_empty();
            if others.is_empty() && !of_table.is_empty() {
                crate::ledger::forget_scope(writer.state(), &pull.scope)?;
                pulls::end(writer.state(), &pull.scope)?;
            }
        }
        writer.commit()?;
        Ok(found)
    }

    /// Forgets everything, key maps included, and drops what unfinished pulls keep for themselves. One that is running ends with an error.
    pub fn clear(&self) -> Result<()> {
        let mut writer = self.site.store_ref().writer()?;
        for pull in pulls::kept(writer.state(), None)? {
            indexes::build_all(&mut *writer, &pull.scope)?;
            crate::ledger::forget_scope(writer.state(), &pull.scope)?;
            pulls::end(writer.state(), &pull.scope)?;
        }
        for append in appends::all(writer.state())? {
            appends::forget(writer.state(), &append.sender, &append.table, self.site.names())?;
        }
        key_map::forget_all(writer.state())?;
        counts::forget_all(writer.state())?;
        same::forget_all(writer.state())?;
        writer.commit()
    }
}
