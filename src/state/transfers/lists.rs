//! Lists, counts and sums of transfers.

use time::OffsetDateTime;
use uuid::Uuid;

use super::row::{integer, select, total};
use crate::clock;
use crate::domain::transfer::{ConnectionStats, TableStats, Transfer, TransferFilter, TransferStatus};
use crate::domain::value::Value;
use crate::error::Result;
use crate::state::text;
use crate::store::Sql;

/// A condition in the making, with its parameters.
#[derive(Default)]
struct Which {
    conditions: Vec<String>,
    parameters: Vec<Value>,
}

impl Which {
    fn of(filter: &TransferFilter) -> Self {
        let mut which = Which::default();
        which.only("direction =", filter.direction.map(|direction| direction.as_str().into()));
        which.one_of(&filter.statuses);
        which.only("connection =", filter.connection.map(|uuid| uuid.to_string().into()));
        which.only("table_name =", filter.table.as_deref().map(Value::from));
        which.only("requires_approval =", filter.requires_approval.map(|required| i64::from(required).into()));
        which.only("inserted_at >=", filter.from.map(|at| clock::to_text(at).into()));
        which.only("inserted_at <=", filter.to.map(|at| clock::to_text(at).into()));
        which
    }

    /// Adds `condition ?n`, if there is a value for it.
    fn only(&mut self, condition: &str, value: Option<Value>) {
        if let Some(value) = value {
            let place = self.place(value);
            self.conditions.push(format!("{condition} {place}"));
        }
    }

    fn one_of(&mut self, statuses: &[TransferStatus]) {
        if !statuses.is_empty() {
            let places: Vec<String> = statuses.iter().map(|status| self.place(status.as_str().into())).collect();
            self.conditions.push(format!("status IN ({})", places.join(", ")));
        }
    }

    fn place(&mut self, value: Value) -> String {
        self.parameters.push(value);
        format!("?{}", self.parameters.len())
    }

    fn clause(&self) -> String {
        match self.conditions.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", self.conditions.join(" AND ")),
        }
    }

    /// The transfers in their order, cut as the filter says.
    fn list(mut self, sql: &mut dyn Sql, filter: &TransferFilter) -> Result<Vec<Transfer>> {
        let clause = self.clause();
        let (limit, offset) = (self.place(i64::from(filter.limit).into()), self.place(integer(filter.offset)));
        // Ids grow with the time that they are made at, so that those of one second have an order too.
        let order = if filter.oldest_first { "inserted_at, uuid" } else { "inserted_at DESC, uuid DESC" };
        select(sql, &format!("{clause} ORDER BY {order} LIMIT {limit} OFFSET {offset}"), &self.parameters)
    }

    fn count(&self, sql: &mut dyn Sql) -> Result<u64> {
        let rows = sql.query(&format!("SELECT count(*) FROM rowferry_transfers {}", self.clause()), &self.parameters)?;
        total(rows.first().map_or(&[], Vec::as_slice), 0)
    }
}

pub(crate) fn list(sql: &mut dyn Sql, filter: &TransferFilter) -> Result<Vec<Transfer>> {
    Which::of(filter).list(sql, filter)
}

pub(crate) fn count(sql: &mut dyn Sql, filter: &TransferFilter) -> Result<u64> {
    Which::of(filter).count(sql)
}

/// Those that can still be approved at this moment.
pub(crate) fn pending_approvals(sql: &mut dyn Sql, filter: &TransferFilter, now: OffsetDateTime) -> Result<Vec<Transfer>> {
    approvable(filter, now).list(sql, filter)
}

/// How many can still be approved at this moment.
pub(crate) fn count_pending_approvals(sql: &mut dyn Sql, now: OffsetDateTime) -> Result<u64> {
    approvable(&TransferFilter::new(), now).count(sql)
}

fn approvable(filter: &TransferFilter, now: OffsetDateTime) -> Which {
    let mut which = Which::of(filter);
    which.one_of(&[TransferStatus::PendingApproval]);
    which.only("approval_expires_at >", Some(clock::to_text(now).into()));
    which
}

/// The newest transfer of a table through a connection that stands at one of these.
#[cfg(feature = "server")]
pub(crate) fn newest(
    sql: &mut dyn Sql,
    connection: Uuid,
    table: &str,
    statuses: &[TransferStatus],
) -> Result<Option<Transfer>> {
    let filter = TransferFilter::new().connection(connection).table(table).statuses(statuses.iter().copied()).limit(1);
    Ok(list(sql, &filter)?.into_iter().next())
}

/// Transfers that wait for approval and whose time for it is over, at most `limit`.
pub(crate) fn expired_approvals(sql: &mut dyn Sql, now: OffsetDateTime, limit: u32) -> Result<Vec<Uuid>> {
    ids(sql, "approval_expires_at <=", now, TransferStatus::PendingApproval, limit)
}

/// Transfers that run, and of which nothing was heard since before this moment, at most `limit`.
pub(crate) fn abandoned(sql: &mut dyn Sql, before: OffsetDateTime, limit: u32) -> Result<Vec<Uuid>> {
    ids(sql, "touched_at <", before, TransferStatus::InProgress, limit)
}

/// Whether there are transfers that ended before this moment.
pub(crate) fn any_ended(sql: &mut dyn Sql, before: OffsetDateTime) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_transfers WHERE completed_at < ?1 LIMIT 1";
    Ok(!sql.query(select, &[clock::to_text(before).into()])?.is_empty())
}

/// Drops transfers that ended before this moment, at most `limit`; gives how many.
pub(crate) fn prune(sql: &mut dyn Sql, before: OffsetDateTime, limit: u32) -> Result<u64> {
    let delete = "DELETE FROM rowferry_transfers WHERE uuid IN \
                  (SELECT uuid FROM rowferry_transfers WHERE completed_at < ?1 LIMIT ?2)";
    Ok(sql.execute(delete, &[clock::to_text(before).into(), i64::from(limit).into()])? as u64)
}

fn ids(sql: &mut dyn Sql, condition: &str, at: OffsetDateTime, status: TransferStatus, limit: u32) -> Result<Vec<Uuid>> {
    let which = format!("WHERE {condition} ?1 AND status = ?2 ORDER BY inserted_at, uuid LIMIT ?3");
    let parameters = [clock::to_text(at).into(), status.as_str().into(), i64::from(limit).into()];
    Ok(select(sql, &which, &parameters)?.into_iter().map(|transfer| transfer.uuid).collect())
}

/// What stands behind `count(*)` in both kinds of statistics. A sum is cast because some databases widen it.
const SUMS: &str = "CAST(sum(records_transferred) AS BIGINT), CAST(sum(bytes_transferred) AS BIGINT)";

pub(crate) fn connection_stats(sql: &mut dyn Sql, connection: Uuid) -> Result<ConnectionStats> {
    let select = format!(
        "SELECT count(*), sum(CASE WHEN status = ?2 THEN 1 ELSE 0 END), sum(CASE WHEN status = ?3 THEN 1 ELSE 0 END), {SUMS} \
         FROM rowferry_transfers WHERE connection = ?1"
    );
    let (completed, failed) = (TransferStatus::Completed.as_str(), TransferStatus::Failed.as_str());
    let rows = sql.query(&select, &[connection.to_string().into(), completed.into(), failed.into()])?;
    let row = rows.first().map_or(&[][..], Vec::as_slice);
    Ok(ConnectionStats {
        total_transfers: total(row, 0)?,
        completed: total(row, 1)?,
        failed: total(row, 2)?,
        total_records: total(row, 3)?,
        total_bytes: total(row, 4)?,
    })
}

/// By the names of the tables.
pub(crate) fn table_stats(sql: &mut dyn Sql, filter: &TransferFilter) -> Result<Vec<TableStats>> {
    let which = Which::of(filter);
    let select = format!(
        "SELECT table_name, count(*), {SUMS} FROM rowferry_transfers {} GROUP BY table_name ORDER BY table_name",
        which.clause()
    );
    let stats = |row: &Vec<Value>| {
        Ok(TableStats {
            table_name: text(row, 0)?,
            transfers: total(row, 1)?,
            records: total(row, 2)?,
            bytes: total(row, 3)?,
        })
    };
    sql.query(&select, &which.parameters)?.iter().map(stats).collect()
}
