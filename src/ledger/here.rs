//! The site that rows come to, and what dead pulls left in it.

use super::appends;
use super::checkpoints;
use super::forget::forget_scope;
use super::indexes;
use super::pulls::{self, Sender};
use super::resume::RunningPulls;
use super::scope::Scope;
use crate::clock::Clock;
use crate::error::Result;
use crate::limits::Limits;
use crate::state::{self, Wake};
use crate::store::{Store, Writer};

/// The site that rows come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here<'s> {
    pub(crate) store: &'s dyn Store,
    pub(crate) limits: &'s Limits,
    pub(crate) clock: &'s dyn Clock,
    /// Wakes those that wait for the site's events.
    pub(crate) wake: &'s Wake,
    pub(crate) running: &'s RunningPulls,
    /// Tables that no other site's rows are written to.
    pub(crate) protected: &'s [String],
}

impl Here<'_> {
    /// Drops the scopes of dead pulls, each in a transaction of its own. Gives how many there were.
    pub(crate) fn drop_abandoned(&self) -> Result<u64> {
        let earlier = |age| self.clock.now().checked_sub(time::Duration::try_from(age).ok()?);
        let (before, alone) = (earlier(self.limits.retention.resume_time), earlier(self.limits.retention.abandoned_time));
        let mut dropped = 0;
        // A look first, which needs no write lock.
        while state::read(self.store, |sql| pulls::abandoned(sql, before, alone))?.is_some() {
            let mut writer = self.store.writer()?;
            if let Some((scope, sender)) = pulls::abandoned(writer.state(), before, alone)? {
                log::info!(target: "rowferry::pull", "dropping what the dead pull {} left", scope.as_str());
                self.drop_pull(&mut *writer, &scope, sender.as_ref())?;
                dropped += 1;
            }
            writer.commit()?;
        }
        Ok(dropped)
    }

    /// Drops what a pull kept for itself, but for what it appended.
    pub(super) fn drop_pull(&self, writer: &mut dyn Writer, scope: &Scope, sender: Option<&Sender>) -> Result<()> {
        if let Some(sender) = sender {
            let kept = checkpoints::of_scope(writer.state(), scope)?;
            appends::remember(writer.state(), sender, &kept, self.store.names(), self.clock.now())?;
        }
        indexes::build_all(writer, scope)?;
        forget_scope(writer.state(), scope)?;
        pulls::end(writer.state(), scope)
    }
}
