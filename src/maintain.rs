//! What a site does from time to time, because nothing runs by itself.

#[cfg(feature = "client")]
use crate::client::ConnectOptions;
use crate::error::{Error, Result};
use crate::ledger::prune::{Pruned, earlier, prune_some};
#[cfg(feature = "client")]
use crate::notify::DeliveryReport;
use crate::site::Site;
use crate::state::{self, sessions, tickets};

/// Who it is that does all this, as events tell it.
const MAINTENANCE: &str = "maintenance";

/// What maintenance did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct MaintenanceReport {
    /// Connections whose date or a limit of which has passed.
    pub expired_connections: u64,
    /// Connections that other sites asked for and that nobody approved in time.
    pub deleted_pending: u64,
    /// Transfers that nobody approved in time.
    pub expired_approvals: u64,
    /// Transfers whose program has died.
    pub failed_transfers: u64,
    /// Pulls that have died: what they kept for themselves was dropped.
    pub dropped_pulls: u64,
    /// Sessions that had ended.
    pub deleted_sessions: u64,
    /// Tickets for coming back whose time is over, given out or kept.
    pub deleted_tickets: u64,
    /// Transfers that ended long ago.
    pub pruned_transfers: u64,
    /// Transfers that can no longer be undone.
    pub pruned_undo: u64,
    /// Old events.
    pub pruned_events: u64,
    /// What other sites were told.
    #[cfg(feature = "client")]
    pub delivered: DeliveryReport,
    /// What went wrong. Each part is tried whatever became of the others.
    pub errors: Vec<Error>,
}

impl MaintenanceReport {
    /// Does one part.
    fn part<T: Default>(&mut self, doing: &str, part: impl FnOnce() -> Result<T>) -> T {
        part().unwrap_or_else(|error| {
            let error = error.while_doing(doing);
            log::warn!(target: "rowferry::notify", "maintenance: {error}");
            self.errors.push(error);
            T::default()
        })
    }
}

impl Site {
    /// Does what is to be done from time to time: lets connections and approvals expire whose time is over; deletes connections that other
    /// sites asked for and that waited for [`RetentionLimits::pending_time`](crate::RetentionLimits::pending_time); fails transfers
    /// that are in progress, and drops what imports and dry runs kept for themselves, when nothing was heard of them for
    /// [`RetentionLimits::abandoned_time`](crate::RetentionLimits::abandoned_time), and the checkpoints of interrupted pulls, when they wrote nothing
    /// for [`RetentionLimits::resume_time`](crate::RetentionLimits::resume_time); deletes tickets whose time is over,
    /// sessions that ended before [`RetentionLimits::ended_session_time`](crate::RetentionLimits::ended_session_time), transfers that ended before
    /// [`RetentionLimits::transfer_time`](crate::RetentionLimits::transfer_time) and events older than
    /// [`RetentionLimits::event_time`](crate::RetentionLimits::event_time); forgets how to undo pulls after
    /// [`RetentionLimits::undo_time`](crate::RetentionLimits::undo_time), or sooner where that takes more than
    /// [`RetentionLimits::undo_bytes`](crate::RetentionLimits::undo_bytes); and, with the feature `client`, sends what other sites are still to
    /// be told.
    ///
    /// Nothing calls it but the host: every minute is often enough. `rowferry serve` does so. Several programs may call it
    /// at once. Where other sites are slow, it takes [`RetentionLimits::delivery_time`](crate::RetentionLimits::delivery_time) and a few minutes
    /// more at most; see [`Notifier::deliver`](crate::Notifier::deliver).
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let site = rowferry::Site::open(folder.path().join("shop.db"))?;
    /// let done = site.maintain()?;
    /// for error in &done.errors {
    ///     eprintln!("{error}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first one, if nothing could be done at all; otherwise what went wrong is in [`MaintenanceReport::errors`].
    pub fn maintain(&self) -> Result<MaintenanceReport> {
        #[cfg(feature = "client")]
        return self.maintain_with(ConnectOptions::default());
        #[cfg(not(feature = "client"))]
        self.maintain_here().finished()
    }

    /// [`Site::maintain`], asking other sites with these options: see [`Site::notifier`].
    ///
    /// # Errors
    /// Those of [`Site::maintain`].
    #[cfg(feature = "client")]
    pub fn maintain_with(&self, options: ConnectOptions) -> Result<MaintenanceReport> {
        let mut done = self.maintain_here();
        let notifier = self.notifier(options).by(MAINTENANCE);
        const TELLING: &str = "telling other sites";
        done.delivered = done.part(TELLING, || notifier.deliver());
        if let Some(error) = done.delivered.error.take() {
            done.part(TELLING, || Err::<(), _>(error));
        }
        done.finished()
    }

    /// All but what needs the network.
    fn maintain_here(&self) -> MaintenanceReport {
        let (store, limits, now) = (self.store_ref(), self.limits(), self.now());
        let mut done = MaintenanceReport::default();
        done.expired_connections = done.part("expiring connections", || self.connections().by(MAINTENANCE).expire());
        if let Some(before) = earlier(now, limits.retention.pending_time) {
            let connections = self.connections().by(MAINTENANCE);
            done.deleted_pending = done.part("deleting connections that wait", || connections.delete_pending_before(before));
        }
        let transfers = self.transfers().by(MAINTENANCE);
        done.expired_approvals = done.part("expiring approvals", || transfers.expire_pending_approvals());
        if let Some(before) = earlier(now, limits.retention.abandoned_time) {
            done.failed_transfers = done.part("failing dead transfers", || transfers.fail_abandoned(before));
        }
        done.dropped_pulls = done.part("dropping what dead pulls left", || self.here().drop_abandoned());
        // A look first, which needs no write lock.
        if let Some(before) = earlier(now, limits.retention.ended_session_time) {
            done.deleted_sessions =
                done.part("deleting sessions", || match state::read(store, |sql| sessions::any_ended(sql, before))? {
                    true => self.write(|sql| sessions::delete_ended(sql, before)),
                    false => Ok(0),
                });
        }
        done.deleted_tickets =
            done.part("deleting tickets", || match state::read(store, |sql| tickets::any_late(sql, now))? {
                true => self.write(|sql| tickets::end_late(sql, now)),
                false => Ok(0),
            });
        let pruned = done.part("pruning the history", || {
            let mut all = Pruned::default();
            loop {
                match prune_some(store, limits, now)? {
                    pruned if pruned == Pruned::default() => return Ok(all),
                    pruned => all += pruned,
                }
            }
        });
        (done.pruned_events, done.pruned_transfers) = (pruned.events, pruned.transfers);
        done.pruned_undo = pruned.undo;
        done
    }
}

impl MaintenanceReport {
    fn finished(mut self) -> Result<Self> {
        // Each part begins with the store: if it cannot be asked, none of them can be done.
        const PARTS: usize = if cfg!(feature = "client") { 9 } else { 8 };
        match self.errors.len() >= PARTS {
            true => Err(self.errors.swap_remove(0)),
            false => Ok(self),
        }
    }
}
