//! Settings: texts by name.

use crate::error::Result;
use crate::store::Sql;

use super::text;

pub(crate) fn get(sql: &mut dyn Sql, key: &str) -> Result<Option<String>> {
    let rows = sql.query("SELECT value FROM rowferry_settings WHERE key = ?1", &[key.into()])?;
    rows.into_iter().next().map(|row| text(&row, 0)).transpose()
}

/// The names of those that are set, sorted.
#[cfg(all(feature = "client", feature = "server"))]
pub(crate) fn keys(sql: &mut dyn Sql) -> Result<Vec<String>> {
    sql.query("SELECT key FROM rowferry_settings ORDER BY key", &[])?.iter().map(|row| text(row, 0)).collect()
}

pub(crate) fn set(sql: &mut dyn Sql, key: &str, value: &str) -> Result<()> {
    let upsert = "INSERT INTO rowferry_settings (key, value) VALUES (?1, ?2) \
                  ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    sql.execute(upsert, &[key.into(), value.into()]).map(|_| ())
}

/// Sets it unless it is set; gives what is there then.
pub(crate) fn settle(sql: &mut dyn Sql, key: &str, value: &str) -> Result<String> {
    let insert = "INSERT INTO rowferry_settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING";
    sql.execute(insert, &[key.into(), value.into()])?;
    Ok(get(sql, key)?.unwrap_or_else(|| value.to_owned()))
}

pub(crate) fn remove(sql: &mut dyn Sql, key: &str) -> Result<()> {
    sql.execute("DELETE FROM rowferry_settings WHERE key = ?1", &[key.into()]).map(|_| ())
}
