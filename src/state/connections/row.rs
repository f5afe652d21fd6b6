//! A connection as a row.

use std::fmt;

use time::OffsetDateTime;

use crate::clock;
use crate::domain::connection::{AllowedHours, Connection, Policy};
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::state::{Fields, unreadable};
use crate::store::Sql;

/// A column and what it is to hold.
pub(crate) type Change = (&'static str, Value);

/// What is kept of a connection's secrets.
#[derive(Clone)]
pub(crate) struct Stored {
    /// Finds the connection of a token.
    pub token_lookup: String,
    /// What this site must be able to send, sealed under its key.
    pub token_sealed: String,
    /// The argon2 hash of the password of pulls.
    pub password_hash: Option<String>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stored(..)")
    }
}

/// In the order in which [`connection`] reads them.
const COLUMNS: &str = "uuid, name, direction, site_url, status, \
    approval_mode, allowed_tables, excluded_tables, auto_approve_tables, expires_at, max_downloads, max_records_total, \
    max_records_per_request, rate_limit_requests_per_minute, ip_whitelist, allowed_hours_start, allowed_hours_end, \
    default_conflict_strategy, auto_sync_enabled, auto_sync_tables, auto_sync_interval_minutes, \
    download_password_hash IS NOT NULL, downloads_used, records_downloaded, approved_at, approved_by, \
    suspended_at, suspended_by, suspended_reason, revoked_at, revoked_by, revoked_reason, \
    created_by, created_at, updated_at, last_connected_at, last_transfer_at, \
    total_transfers, total_records_transferred, total_bytes_transferred, metadata";

/// The connections that `which` chooses: what stands behind FROM.
pub(super) fn select(sql: &mut dyn Sql, which: &str, parameters: &[Value]) -> Result<Vec<Connection>> {
    let rows = sql.query(&format!("SELECT {COLUMNS} FROM rowferry_connections {which}"), parameters)?;
    rows.iter().map(|row| connection(&mut Fields::of(row))).collect()
}

fn connection(row: &mut Fields<'_>) -> Result<Connection> {
    Ok(Connection {
        uuid: row.word()?,
        name: row.text()?,
        direction: row.word()?,
        site_url: row.text()?,
        status: row.word()?,
        policy: policy(row)?,
        has_download_password: row.flag()?,
        downloads_used: row.number()?,
        records_downloaded: row.number()?,
        approved_at: row.optional_moment()?,
        approved_by: row.optional_text()?,
        suspended_at: row.optional_moment()?,
        suspended_by: row.optional_text()?,
        suspended_reason: row.optional_text()?,
        revoked_at: row.optional_moment()?,
        revoked_by: row.optional_text()?,
        revoked_reason: row.optional_text()?,
        created_by: row.text()?,
        created_at: row.moment()?,
        updated_at: row.moment()?,
        last_connected_at: row.optional_moment()?,
        last_transfer_at: row.optional_moment()?,
        total_transfers: row.number()?,
        total_records_transferred: row.number()?,
        total_bytes_transferred: row.number()?,
        metadata: row.json()?,
    })
}

fn policy(row: &mut Fields<'_>) -> Result<Policy> {
    Ok(Policy {
        approval_mode: row.word()?,
        allowed_tables: row.json()?,
        excluded_tables: row.json()?,
        auto_approve_tables: row.json()?,
        expires_at: row.optional_moment()?,
        max_downloads: row.optional_number()?,
        max_records_total: row.optional_number()?,
        max_records_per_request: row.number()?,
        rate_limit_requests_per_minute: small(row.number()?)?,
        ip_whitelist: {
            let ranges: Vec<String> = row.json()?;
            ranges.iter().map(|range| range.parse()).collect::<Result<_>>().map_err(|_| unreadable("range of addresses"))?
        },
        allowed_hours: match (row.optional_number()?, row.optional_number()?) {
            (Some(start), Some(end)) => Some(AllowedHours::new(small(start)?, small(end)?).map_err(|_| unreadable("hour"))?),
            _ => None,
        },
        default_conflict_strategy: row.word()?,
        auto_sync_enabled: row.flag()?,
        auto_sync_tables: row.json()?,
        auto_sync_interval_minutes: small(row.number()?)?,
    })
}

fn small<T: TryFrom<u64>>(number: u64) -> Result<T> {
    T::try_from(number).map_err(|_| unreadable("number"))
}

/// What a connection's owner sets, by column.
pub(super) fn settings(connection: &Connection) -> Result<Vec<Change>> {
    let policy = &connection.policy;
    let most = |most: Option<u64>| most.map(integer).transpose().map(Value::from);
    let hour = |hour: Option<u8>| Value::from(hour.map(i64::from));
    Ok(vec![
        ("name", connection.name.as_str().into()),
        ("site_url", connection.site_url.as_str().into()),
        ("approval_mode", policy.approval_mode.as_str().into()),
        ("allowed_tables", json(&policy.allowed_tables)?),
        ("excluded_tables", json(&policy.excluded_tables)?),
        ("auto_approve_tables", json(&policy.auto_approve_tables)?),
        ("expires_at", at(policy.expires_at)),
        ("max_downloads", most(policy.max_downloads)?),
        ("max_records_total", most(policy.max_records_total)?),
        ("max_records_per_request", integer(policy.max_records_per_request)?.into()),
        ("rate_limit_requests_per_minute", i64::from(policy.rate_limit_requests_per_minute).into()),
        ("ip_whitelist", json(&policy.ip_whitelist)?),
        ("allowed_hours_start", hour(policy.allowed_hours.map(AllowedHours::start))),
        ("allowed_hours_end", hour(policy.allowed_hours.map(AllowedHours::end))),
        ("default_conflict_strategy", policy.default_conflict_strategy.as_str().into()),
        ("auto_sync_enabled", i64::from(policy.auto_sync_enabled).into()),
        ("auto_sync_tables", json(&policy.auto_sync_tables)?),
        ("auto_sync_interval_minutes", i64::from(policy.auto_sync_interval_minutes).into()),
        ("metadata", json(&connection.metadata)?),
    ])
}

/// A new connection by column: nothing was approved, suspended, pulled or counted yet.
pub(super) fn all(connection: &Connection, stored: &Stored) -> Result<Vec<Change>> {
    let mut columns = settings(connection)?;
    columns.extend([
        ("uuid", connection.uuid.to_string().into()),
        ("direction", connection.direction.as_str().into()),
        ("token_lookup", stored.token_lookup.as_str().into()),
        ("token_sealed", stored.token_sealed.as_str().into()),
        ("status", connection.status.as_str().into()),
        ("download_password_hash", stored.password_hash.clone().into()),
        ("created_by", connection.created_by.as_str().into()),
        ("created_at", clock::to_text(connection.created_at).into()),
        ("updated_at", clock::to_text(connection.updated_at).into()),
    ]);
    let zero = [
        "downloads_used",
        "records_downloaded",
        "suspended_by_peer",
        "total_transfers",
        "total_records_transferred",
        "total_bytes_transferred",
        "rate_count",
    ];
    columns.extend(zero.map(|column| (column, Value::from(0))));
    Ok(columns)
}

fn at(moment: Option<OffsetDateTime>) -> Value {
    moment.map(clock::to_text).into()
}

fn integer(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::new(ErrorKind::InvalidInput, format!("{number} is too large a number")))
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Value> {
    let text = serde_json::to_string(value).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("a list or note of a connection cannot be kept as JSON: {error}"))
    })?;
    Ok(text.into())
}
