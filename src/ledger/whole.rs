//! All of a site's own rows, as they move with it into another store: which tables move, and which are of use only where they are.

use super::indexed::{indexed, is_digest};
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Sql, Store};

/// A table whose rows move.
struct Moved {
    name: &'static str,
    /// Its columns, apart by spaces.
    columns: &'static str,
    /// Its primary key, which rows are read by.
    key: &'static [&'static str],
}

/// What moves.
const MOVED: &[Moved] = &[
    Moved { name: "rowferry_settings", columns: "key value", key: &["key"] },
    Moved {
        name: "rowferry_sessions",
        columns: "uuid direction code_hash created_at expires_at used_at used_by over_at",
        key: &["uuid"],
    },
    Moved {
        name: "rowferry_connections",
        columns: "uuid name direction site_url token_lookup token_sealed status approval_mode allowed_tables excluded_tables \
              auto_approve_tables expires_at max_downloads max_records_total max_records_per_request rate_limit_requests_per_minute \
              ip_whitelist allowed_hours_start allowed_hours_end download_password_hash default_conflict_strategy auto_sync_enabled \
              auto_sync_tables auto_sync_interval_minutes downloads_used records_downloaded approved_at approved_by suspended_at \
              suspended_by suspended_reason suspended_by_peer revoked_at revoked_by revoked_reason created_by created_at updated_at \
              last_connected_at last_transfer_at total_transfers total_records_transferred total_bytes_transferred rate_window \
              rate_count metadata",
        key: &["uuid"],
    },
    Moved {
        name: "rowferry_transfers",
        columns: "uuid direction connection session remote_site_url table_name records_requested records_transferred records_created \
              records_updated records_skipped records_failed bytes_transferred conflict_strategy status requires_approval approved_at \
              approved_by denied_at denied_by denial_reason approval_expires_at requester_ip requester_user_agent initiated_by \
              error_message started_at completed_at touched_at metadata inserted_at pull schema_digest approved_records pull_turn \
              pull_base pull_from pull_reached pull_acked pull_again pull_state pull_state_from pull_state_to verified",
        key: &["uuid"],
    },
    Moved { name: "rowferry_events", columns: "id at kind actor connection transfer details", key: &["id"] },
    Moved {
        name: "rowferry_outbox",
        columns: "id connection direction site_url kind status credential_sealed token_sealed attempts next_at last_error created_at",
        key: &["id"],
    },
    Moved {
        name: "rowferry_appends",
        columns: "sender table_name name records whole finished_at lacks_parents keys_kept incarnation",
        key: &["sender", "table_name"],
    },
    Moved { name: "rowferry_made", columns: "sender table_name columns", key: &["sender", "table_name"] },
    Moved { name: "rowferry_undo", columns: "seq transfer pull table_name entries bytes written_at page", key: &["seq"] },
    Moved { name: "rowferry_key_maps", columns: "id scope parent pull runs last_given", key: &["id"] },
    Moved { name: "rowferry_keys", columns: "map old stored new existing appended run", key: &["map", "old"] },
    Moved { name: "rowferry_tickets", columns: "lookup session expires_at receiver tables", key: &["lookup"] },
    Moved { name: "rowferry_kept_tickets", columns: "place site_url sender ticket_sealed expires_at", key: &["place"] },
    Moved { name: "rowferry_guesses", columns: "kind whose began_at wrong", key: &["kind", "whose"] },
];

/// What stays: how far interrupted pulls are, what they staged for that, and who is about to deliver messages.
const LEFT: &[&str] = &[
    "rowferry_pulls",
    "rowferry_counts",
    "rowferry_outbox_leases",
    "rowferry_marks",
    "rowferry_staged",
    "rowferry_pending",
    "rowferry_values",
    "rowferry_links",
    "rowferry_orphans",
    "rowferry_taken_keys",
    "rowferry_waiting",
];

/// How many rows are read at a time.
const PAGE: usize = 500;

/// How many values a statement takes at most.
const MOST_VALUES: usize = 2_000;

/// What has moved.
#[derive(Debug, Default)]
pub(crate) struct MovedRows {
    /// The tables that had rows, without `rowferry_`, with the number of their rows.
    pub(crate) tables: Vec<(&'static str, u64)>,
    /// How many interrupted pulls stay behind.
    pub(crate) interrupted: u64,
    /// How many entries of key maps are known by their digests only.
    pub(crate) digests: u64,
}

/// Which of the tables have rows, but for settings: the first of them.
pub(crate) fn used(sql: &mut dyn Sql) -> Result<Option<&'static str>> {
    let tables = MOVED.iter().map(|moved| moved.name).filter(|name| *name != SETTINGS).chain(LEFT.iter().copied());
    for name in tables {
        if !sql.query(&format!("SELECT 1 FROM {name} LIMIT 1"), &[])?.is_empty() {
            return Ok(Some(name.trim_start_matches(crate::store::STATE_PREFIX)));
        }
    }
    Ok(None)
}

const SETTINGS: &str = "rowferry_settings";

/// Makes the state of a site that of another one, in the caller's transaction: whatever was there is gone, but for these settings, which
/// do not move.
///
/// # Errors
/// What the stores say.
pub(crate) fn fill(sql: &mut dyn Sql, from: &dyn Store, own: &[&str]) -> Result<MovedRows> {
    let mut done = MovedRows::default();
    let mut kept = Vec::new();
    for key in own {
        kept.extend(sql.query("SELECT key, value FROM rowferry_settings WHERE key = ?1", &[(*key).into()])?);
    }
    for name in LEFT.iter().copied().chain(MOVED.iter().map(|moved| moved.name)) {
        sql.execute(&format!("DELETE FROM {name}"), &[])?;
    }
    // One state of all of it.
    from.read_state(&mut |from| {
        for moved in MOVED {
            let mut count = 0;
            let mut after: Option<Vec<Value>> = None;
            loop {
                let rows = page(from, moved, after.as_deref())?;
                let Some(last) = rows.last() else { break };
                let last = positions(moved).map(|at| last.get(at).cloned().unwrap_or(Value::Null)).collect();
                let is_last = rows.len() < PAGE;
                let rows: Vec<_> = rows
                    .into_iter()
                    .filter(|row| {
                        moved.name != SETTINGS || !row.first().and_then(Value::as_str).is_some_and(|key| own.contains(&key))
                    })
                    .collect();
                count += rows.len() as u64;
                insert(sql, moved, rows, &mut done)?;
                if is_last {
                    break;
                }
                after = Some(last);
            }
            if count > 0 {
                done.tables.push((moved.name.trim_start_matches(crate::store::STATE_PREFIX), count));
            }
        }
        let pulls = from.query("SELECT count(*) FROM rowferry_pulls", &[])?;
        done.interrupted = number(&pulls)?;
        Ok(())
    })?;
    for row in kept {
        sql.execute("INSERT INTO rowferry_settings (key, value) VALUES (?1, ?2)", &row)?;
    }
    for name in ["rowferry_events", "rowferry_outbox", "rowferry_key_maps"] {
        sql.numbers_were_given(name)?;
    }
    Ok(done)
}

fn number(rows: &[Vec<Value>]) -> Result<u64> {
    let number = rows.first().and_then(|row| row.first()).and_then(Value::as_integer).and_then(|n| u64::try_from(n).ok());
    number.ok_or_else(|| Error::new(ErrorKind::Corrupt, "rowferry's own rows cannot be counted"))
}

/// Where the columns of the key are among all.
fn positions(moved: &Moved) -> impl Iterator<Item = usize> {
    moved.key.iter().filter_map(|key| moved.columns.split_whitespace().position(|column| column == *key))
}

/// The rows after a key, in its order.
fn page(sql: &mut dyn Sql, moved: &Moved, after: Option<&[Value]>) -> Result<Vec<Vec<Value>>> {
    let columns = quoted(moved.columns.split_whitespace());
    let key = quoted(moved.key.iter().copied());
    let bound = match after {
        Some(after) => format!("WHERE ({key}) > ({})", marks(1, after.len())),
        None => String::new(),
    };
    let select = format!("SELECT {columns} FROM {} {bound} ORDER BY {key} LIMIT {PAGE}", moved.name);
    sql.query(&select, after.unwrap_or_default())
}

fn insert(sql: &mut dyn Sql, moved: &Moved, mut rows: Vec<Vec<Value>>, done: &mut MovedRows) -> Result<()> {
    let columns: Vec<&str> = moved.columns.split_whitespace().collect();
    if moved.name == "rowferry_keys" {
        let longest = sql.longest_indexed();
        for row in &mut rows {
            done.digests += u64::from(!keyed_for(row, longest));
        }
    }
    for rows in rows.chunks((MOST_VALUES / columns.len()).max(1)) {
        let values: Vec<String> =
            (0..rows.len()).map(|row| format!("({})", marks(row * columns.len() + 1, columns.len()))).collect();
        let names = quoted(columns.iter().copied());
        let statement = format!("INSERT INTO {} ({names}) VALUES {}", moved.name, values.join(", "));
        sql.execute(&statement, &rows.concat())?;
    }
    Ok(())
}

/// Makes a row of a key map fit a store whose indexes hold so many bytes: with the digest of a key that is longer, and without one of a
/// key that is not. Gives whether that can be done.
fn keyed_for(row: &mut [Value], longest: usize) -> bool {
    let [_, old, stored, ..] = row else { return true };
    let Value::Blob(key) = &*old else { return true };
    if key.len() > longest {
        let digest = indexed(key, longest);
        let key = std::mem::replace(old, digest);
        // As a key map keeps it beside its digest.
        if *stored == Value::Null {
            *stored = key;
        }
        return true;
    }
    match &*stored {
        _ if !is_digest(key) => true,
        Value::Blob(whole) if whole.len() > longest => true,
        Value::Blob(whole) if indexed(whole, 0) == *old => {
            *old = std::mem::replace(stored, Value::Null);
            true
        }
        _ => false,
    }
}

fn marks(first: usize, count: usize) -> String {
    (first..first + count).map(|at| format!("?{at}")).collect::<Vec<_>>().join(", ")
}

fn quoted<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn a_long_key_is_a_digest_where_an_index_needs_it() {
        let row = |old: &[u8], stored: Value| vec![1.into(), Value::Blob(old.to_vec()), stored, Value::Blob(vec![7])];
        let long = [5; 2_000];
        let mut moved = row(&long, Value::Null);
        assert!(keyed_for(&mut moved, 1_000));
        assert_eq!(moved, [1.into(), indexed(&long, 0), Value::Blob(long.to_vec()), Value::Blob(vec![7])]);
        assert!(keyed_for(&mut moved, 1_000) && keyed_for(&mut moved, usize::MAX));
        assert_eq!(moved, row(&long, Value::Null));
        // Stored otherwise than compared: only the digest of what was compared is known.
        let mut moved = row(&long, Value::Blob(vec![6; 2_000]));
        assert!(keyed_for(&mut moved, 1_000) && !keyed_for(&mut moved, usize::MAX));
    }

    /// A table that is neither here nor there would be lost.
    #[test]
    fn every_table_moves_or_stays_with_all_its_columns() {
        let store = MemoryStore::new().unwrap();
        store
            .read_state(&mut |sql| {
                let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'rowferry%' ORDER BY name";
                let made: Vec<String> =
                    sql.query(names, &[])?.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect();
                let mut known: Vec<&str> = MOVED.iter().map(|moved| moved.name).chain(LEFT.iter().copied()).collect();
                known.push("rowferry_migrations");
                known.sort();
                assert_eq!(made, known);
                for moved in MOVED {
                    let columns = format!("SELECT name FROM pragma_table_info('{}') ORDER BY cid", moved.name);
                    let columns = sql.query(&columns, &[])?;
                    let columns: Vec<&str> = columns.iter().map(|row| row[0].as_str().unwrap()).collect();
                    assert_eq!(columns.join(" "), moved.columns, "{}", moved.name);
                    assert_eq!(positions(moved).count(), moved.key.len());
                }
                Ok(())
            })
            .unwrap();
    }
}
