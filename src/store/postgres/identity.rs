//! What tells a database from a copy of it: the server's cluster, the database and the schema.

use super::connection::Connection;
use crate::error::Result;
use crate::store::StoreIdentity;

/// The identity of the site's database.
///
/// A dump that is restored elsewhere, and a database that another one is the template of, have another name and another number: they
/// are copies. One that is renamed, or restored under its name, is not. A standby that takes over is the same database.
pub(super) fn read(connection: &mut Connection) -> Result<StoreIdentity> {
    let found = connection.rows(
        "SELECT current_database()::text, current_schema()::text,
                (SELECT oid FROM pg_database WHERE datname = current_database())::text,
                (SELECT oid FROM pg_namespace WHERE nspname = current_schema())::text",
        &[],
    )?;
    let text = |at: usize| -> String {
        found.first().and_then(|row| row.try_get::<_, Option<String>>(at).ok().flatten()).unwrap_or_default()
    };
    let identity = StoreIdentity::new(format!("{}/{}", text(0), text(1))).object(format!("{}/{}", text(2), text(3)));
    // A service may keep this from its users.
    let cluster = connection.rows("SELECT system_identifier::text FROM pg_control_system()", &[]);
    Ok(match cluster.ok().and_then(|rows| rows.first().and_then(|row| row.try_get::<_, String>(0).ok())) {
        Some(cluster) => identity.machine(cluster),
        None => identity,
    })
}
