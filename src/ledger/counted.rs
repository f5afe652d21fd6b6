//! What a connection's total counts of a pull through it: the records that are kept, with the checkpoint that says so. So a pull that is
//! killed, or taken over, has cost what it kept.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::error::Result;
use crate::state::connections;
use crate::store::Sql;

/// What one run of a pull counts for its connection.
#[derive(Debug)]
pub(crate) struct Counted {
    connection: Uuid,
    records: AtomicU64,
}

impl Counted {
    pub(crate) fn new(connection: Uuid) -> Self {
        Counted { connection, records: AtomicU64::new(0) }
    }

    /// How many records it has counted, those of the transaction in progress included.
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::SeqCst)
    }

    /// Counts records, as part of the transaction that keeps them.
    ///
    /// # Errors
    /// [`RecordLimit`](crate::ErrorKind::RecordLimit) if the connection does not allow so many more.
    pub(super) fn add(&self, sql: &mut dyn Sql, records: u64) -> Result<()> {
        if records > 0 {
            connections::count_pulled(sql, self.connection, records)?;
            self.records.fetch_add(records, Ordering::SeqCst);
        }
        Ok(())
    }
}
