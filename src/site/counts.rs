//! How much a site has of what it keeps.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Site;
use crate::domain::connection::{ConnectionFilter, ConnectionStatus};
use crate::domain::transfer::{TransferFilter, TransferStatus};
use crate::error::Result;
use crate::state::{self, connections, outbox, sessions, transfers};

/// What a site has, in numbers, for a status page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SiteCounts {
    /// How many connections stand where; each status is there.
    pub connections: BTreeMap<ConnectionStatus, u64>,
    /// Transfers that wait for approval and can still get it.
    pub pending_approvals: u64,
    /// Transfers that move records.
    pub active_transfers: u64,
    /// Sessions whose code works.
    pub active_sessions: u64,
    /// Messages that other sites are still to be told.
    pub outbox: u64,
}

impl Site {
    /// What this site has, in numbers, all of one moment.
    ///
    /// # Errors
    /// What the store says.
    pub fn counts(&self) -> Result<SiteCounts> {
        let now = self.now();
        state::read(self.store_ref(), |sql| {
            let mut by_status = BTreeMap::new();
            for status in ConnectionStatus::ALL.iter().copied() {
                by_status.insert(status, connections::count(sql, &ConnectionFilter::new().status(status))?);
            }
            let running = TransferFilter::new().status(TransferStatus::InProgress);
            Ok(SiteCounts {
                connections: by_status,
                pending_approvals: transfers::count_pending_approvals(sql, now)?,
                active_transfers: transfers::count(sql, &running)?,
                active_sessions: sessions::list_active(sql, now)?.len() as u64,
                outbox: outbox::pending(sql)?,
            })
        })
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::session::Direction;
    use crate::domain::transfer::NewTransfer;
    use crate::site::NewConnection;

    #[test]
    fn everything_is_counted_where_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::open(folder.path().join("a.db")).unwrap();
        let empty = site.counts().unwrap();
        assert_eq!((empty.connections.len(), empty.connections.values().sum::<u64>()), (ConnectionStatus::ALL.len(), 0));

        let made: Vec<_> = (0..3)
            .map(|at| {
                let new = NewConnection::sender(format!("c{at}"), format!("https://c{at}.example"));
                site.connections().create(new).unwrap().connection.uuid
            })
            .collect();
        site.connections().suspend(made[0], None).unwrap();
        let _session = site.sessions().create(Direction::Send).unwrap();
        let running = site.transfers().create(NewTransfer::new(Direction::Send, "t")).unwrap();
        site.transfers().start(running.uuid).unwrap();
        let waiting = site.transfers().create(NewTransfer::new(Direction::Send, "t")).unwrap();
        site.transfers().request_approval(waiting.uuid, Duration::from_secs(60)).unwrap();

        let counts = site.counts().unwrap();
        let connections = [ConnectionStatus::Active, ConnectionStatus::Suspended, ConnectionStatus::Revoked];
        assert_eq!(connections.map(|status| counts.connections[&status]), [2, 1, 0]);
        let others = [counts.pending_approvals, counts.active_transfers, counts.active_sessions, counts.outbox];
        assert_eq!(others, [1, 1, 1, 1]);
    }
}
