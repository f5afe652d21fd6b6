//! Transfers that were looks at a few records.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::clock;
use crate::domain::transfer::Transfer;
use crate::error::Result;
use crate::state::number;
use crate::store::Sql;

/// What stands in the notes of a look.
const MARK: &str = "look";

/// Notes that a transfer is a look.
pub(crate) fn mark(transfer: &mut Transfer) {
    transfer.metadata.insert(MARK.to_owned(), true.into());
}

/// How many records of a table were looked at through a connection, by looks that began or ended since a moment; of looks that run, as
/// many as they asked for.
pub(crate) fn records(sql: &mut dyn Sql, connection: Uuid, table: &str, since: OffsetDateTime) -> Result<u64> {
    let select = "SELECT CAST(COALESCE(SUM(CASE WHEN status = 'in_progress' THEN records_requested ELSE records_transferred END), 0) AS BIGINT) \
                  FROM rowferry_transfers \
                  WHERE connection = ?1 AND table_name = ?2 AND (inserted_at >= ?3 OR completed_at >= ?3) AND metadata LIKE ?4";
    let like = format!("%\"{MARK}\":true%");
    let rows =
        sql.query(select, &[connection.to_string().into(), table.into(), clock::to_text(since).into(), like.into()])?;
    rows.first().map_or(Ok(0), |row| number(row, 0))
}
