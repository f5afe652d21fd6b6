//! What is kept of the downloads of named pulls, so that any process finds them again, and of what an approval is good for.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{NOTHING_NEW, RESUMABLE, by_uuid, event, not_found, reopen};
use crate::clock;
use crate::domain::event::EventKind;
use crate::domain::transfer::{TransferCounters, TransferStatus};
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::state::Fields;
use crate::store::Sql;

/// Whose pulls are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    Connection(Uuid),
    Session(Uuid),
}

impl Owner {
    fn column(self) -> (&'static str, Value) {
        match self {
            Owner::Connection(uuid) => ("connection", uuid.to_string().into()),
            Owner::Session(uuid) => ("session", uuid.to_string().into()),
        }
    }
}

/// How far a download is, in records of its table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Course {
    /// It began after so many, of which it knows nothing.
    pub(crate) base: u64,
    /// The furthest that it was.
    pub(crate) reached: u64,
    /// So many its receiver has for sure: it does not go back behind them.
    pub(crate) safe: u64,
    /// Records that were sent again from another snapshot, or may have been.
    pub(crate) again: u64,
    /// The number of the snapshot of the last page, and the records that were sent from it: from the first to the second.
    pub(crate) state: u64,
    pub(crate) state_from: u64,
    pub(crate) state_to: u64,
}

/// A download of a named pull, as it was kept last.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) transfer: Uuid,
    pub(crate) status: TransferStatus,
    pub(crate) started_at: OffsetDateTime,
    pub(crate) counters: TransferCounters,
    pub(crate) schema_digest: Option<String>,
    pub(crate) approved_records: Option<u64>,
    /// Who resumed it last, counted from 1.
    pub(crate) turn: u64,
    /// The digest of the place that it began after.
    pub(crate) from: Option<String>,
    pub(crate) course: Course,
    error: Option<String>,
}

impl Kept {
    /// Whether it ended only because its receiver, or the process that sent it, was lost; or runs, as far as anyone knows.
    pub(crate) fn is_open(&self) -> bool {
        match self.status {
            TransferStatus::InProgress => true,
            TransferStatus::Failed => self.error.as_deref().is_some_and(|why| RESUMABLE.contains(&why)),
            _ => false,
        }
    }

    /// Whether there is no event of its last end, or none is needed of what follows: see [`NOTHING_NEW`].
    fn ended_quietly(&self) -> bool {
        self.status == TransferStatus::Completed || self.error.as_deref() == Some(NOTHING_NEW)
    }
}

/// The newest download of a table in a pull; by the table's own name.
pub(crate) fn newest_of_pull(sql: &mut dyn Sql, owner: Owner, pull: Uuid, table: &str) -> Result<Option<Kept>> {
    let (column, owner) = owner.column();
    let select = format!(
        "SELECT uuid, status, started_at, records_transferred, bytes_transferred, schema_digest, approved_records, \
         pull_turn, pull_from, error_message, pull_base, pull_reached, pull_acked, pull_again, \
         pull_state, pull_state_from, pull_state_to FROM rowferry_transfers \
         WHERE pull = ?1 AND table_name = ?2 AND {column} = ?3 AND started_at IS NOT NULL \
         ORDER BY started_at DESC, uuid DESC LIMIT 1"
    );
    let rows = sql.query(&select, &[pull.to_string().into(), table.into(), owner])?;
    rows.first().map(|row| kept(row)).transpose()
}

fn kept(row: &[Value]) -> Result<Kept> {
    let mut next = Fields::of(row);
    Ok(Kept {
        transfer: next.word()?,
        status: next.word()?,
        started_at: next.moment()?,
        counters: TransferCounters {
            records_transferred: next.number()?,
            bytes_transferred: next.number()?,
            ..TransferCounters::default()
        },
        schema_digest: next.optional_text()?,
        approved_records: next.optional_number()?,
        turn: next.number()?,
        from: next.optional_text()?,
        error: next.optional_text()?,
        course: Course {
            base: next.number()?,
            reached: next.number()?,
            safe: next.number()?,
            again: next.number()?,
            state: next.number()?,
            state_from: next.number()?,
            state_to: next.number()?,
        },
    })
}

/// Whether a pull began a download at this moment or later: it has paid its call.
pub(crate) fn has_begun(sql: &mut dyn Sql, owner: Owner, pull: Uuid, since: OffsetDateTime) -> Result<bool> {
    let (column, owner) = owner.column();
    let select = format!("SELECT 1 FROM rowferry_transfers WHERE pull = ?1 AND {column} = ?2 AND started_at > ?3 LIMIT 1");
    Ok(!sql.query(&select, &[pull.to_string().into(), owner, clock::to_text(since).into()])?.is_empty())
}

/// Whether a connection has a download of a named pull that began at this moment or later and may be resumed.
pub(crate) fn has_open(sql: &mut dyn Sql, connection: Uuid, since: OffsetDateTime) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_transfers WHERE connection = ?1 AND pull IS NOT NULL AND started_at > ?2 \
                  AND (status = ?3 OR (status = ?4 AND error_message IN (?5, ?6, ?7))) LIMIT 1";
    let (runs, failed) = (TransferStatus::InProgress.as_str(), TransferStatus::Failed.as_str());
    let mut parameters = vec![connection.to_string().into(), clock::to_text(since).into(), runs.into(), failed.into()];
    parameters.extend(RESUMABLE.map(Value::from));
    Ok(!sql.query(select, &parameters)?.is_empty())
}

/// Makes a transfer that starts the download of a named pull, which begins after so many records at the place of this digest.
pub(crate) fn name(
    sql: &mut dyn Sql,
    transfer: Uuid,
    pull: Uuid,
    schema_digest: &str,
    (base, from): (u64, Option<&str>),
) -> Result<()> {
    let update = "UPDATE rowferry_transfers SET pull = ?2, schema_digest = ?3, pull_turn = 1, pull_base = ?4, \
                  pull_reached = ?4, pull_acked = ?4, pull_from = ?5 WHERE uuid = ?1";
    let parameters =
        [transfer.to_string().into(), pull.to_string().into(), schema_digest.into(), integer(base)?, from.into()];
    sql.execute(update, &parameters).map(|_| ())
}

/// What the approval of a transfer is good for: the digest of its table's schema, and most records.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ApprovalTerms {
    pub(crate) schema_digest: Option<String>,
    pub(crate) records: Option<u64>,
}

pub(crate) fn set_terms(sql: &mut dyn Sql, transfer: Uuid, terms: &ApprovalTerms) -> Result<()> {
    let update = "UPDATE rowferry_transfers SET schema_digest = ?2, approved_records = ?3 WHERE uuid = ?1";
    let records = terms.records.map_or(Ok(Value::Null), integer)?;
    sql.execute(update, &[transfer.to_string().into(), terms.schema_digest.as_deref().into(), records]).map(|_| ())
}

pub(crate) fn terms(sql: &mut dyn Sql, transfer: Uuid) -> Result<ApprovalTerms> {
    let select = "SELECT schema_digest, approved_records FROM rowferry_transfers WHERE uuid = ?1";
    let rows = sql.query(select, &[transfer.to_string().into()])?;
    let Some(row) = rows.first() else { return Ok(ApprovalTerms::default()) };
    let mut next = Fields::of(row);
    Ok(ApprovalTerms { schema_digest: next.optional_text()?, records: next.optional_number()? })
}

/// Resumes a download: it is in progress again, for the next one in turn, with this course and these counters. There is no event of it
/// where there was none of its end.
pub(crate) fn resume(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    actor: &str,
    kept: &Kept,
    course: &Course,
    counters: &TransferCounters,
) -> Result<()> {
    let known = by_uuid(sql, kept.transfer)?.ok_or_else(|| not_found(kept.transfer))?;
    let transfer = reopen(sql, now, &known, counters)?;
    write(sql, kept.transfer, kept.turn, kept.turn.saturating_add(1), course)?;
    match known.status.is_final() && !kept.ended_quietly() {
        true => event(sql, now, actor, &transfer, EventKind::TransferStarted, Some("it is resumed")),
        false => Ok(()),
    }
}

/// Keeps the course of a download: `false` if somebody else resumed it meanwhile.
pub(crate) fn save(sql: &mut dyn Sql, transfer: Uuid, turn: u64, course: &Course) -> Result<bool> {
    write(sql, transfer, turn, turn, course)
}

fn write(sql: &mut dyn Sql, transfer: Uuid, turn: u64, next: u64, course: &Course) -> Result<bool> {
    let update = "UPDATE rowferry_transfers SET pull_turn = ?3, pull_reached = ?4, pull_acked = ?5, pull_again = ?6, \
                  pull_state = ?7, pull_state_from = ?8, pull_state_to = ?9 WHERE uuid = ?1 AND pull_turn = ?2";
    let numbers = [turn, next, course.reached, course.safe, course.again, course.state, course.state_from, course.state_to];
    let mut parameters = vec![transfer.to_string().into()];
    for number in numbers {
        parameters.push(integer(number)?);
    }
    Ok(sql.execute(update, &parameters)? == 1)
}

/// Keeps how far a download is: `false` if somebody else resumed it meanwhile.
pub(crate) fn reach(sql: &mut dyn Sql, transfer: Uuid, turn: u64, reached: u64) -> Result<bool> {
    let update = "UPDATE rowferry_transfers SET pull_reached = ?3 WHERE uuid = ?1 AND pull_turn = ?2";
    Ok(sql.execute(update, &[transfer.to_string().into(), integer(turn)?, integer(reached)?])? == 1)
}

/// Notes that a download that somebody else resumed had come so far before: gives by how many records it is further than was known.
pub(crate) fn raise(sql: &mut dyn Sql, transfer: Uuid, reached: u64) -> Result<u64> {
    let select = "SELECT pull_reached FROM rowferry_transfers WHERE uuid = ?1";
    let rows = sql.query(select, &[transfer.to_string().into()])?;
    let Some(row) = rows.first() else { return Ok(reached) };
    let more = reached.saturating_sub(Fields::of(row).number()?);
    if more > 0 {
        let update = "UPDATE rowferry_transfers SET pull_reached = ?2 WHERE uuid = ?1";
        sql.execute(update, &[transfer.to_string().into(), integer(reached)?])?;
    }
    Ok(more)
}

/// Whose turn a download is: see [`Kept::turn`]. 0 if there is none.
pub(crate) fn turn(sql: &mut dyn Sql, transfer: Uuid) -> Result<u64> {
    let rows = sql.query("SELECT pull_turn FROM rowferry_transfers WHERE uuid = ?1", &[transfer.to_string().into()])?;
    rows.first().map_or(Ok(0), |row| Fields::of(row).number())
}

/// A number that is kept: one that the store cannot hold must not be taken for a smaller one.
fn integer(number: u64) -> Result<Value> {
    let kept = i64::try_from(number).map(Value::Integer);
    kept.map_err(|_| Error::new(ErrorKind::InvalidInput, format!("{number} is too large a number of records")))
}
