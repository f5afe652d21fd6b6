//! The names of connections. The owner's may be alike; what another site calls itself never makes a name mean two.

use time::OffsetDateTime;

use super::{Connections, details};
use crate::domain::connection::{Connection, ConnectionDirection, NAME};
use crate::domain::event::EventKind;
use crate::error::Result;
use crate::state::connections;
use crate::store::Sql;

/// The name that is asked for, or one with a number behind it that no connection has: `Nightly`, `Nightly (2)`.
pub(super) fn free_name(sql: &mut dyn Sql, asked: &str) -> Result<String> {
    // Room for a number in the longest name.
    const ROOM: usize = 8;
    let base: String = asked.chars().take(NAME - ROOM).collect();
    let base = base.trim_end();
    let taken = connections::names_from(sql, base)?;
    if !taken.contains(asked) {
        return Ok(asked.to_owned());
    }
    let mut number = 2;
    loop {
        let name = format!("{base} ({number})");
        if !taken.contains(&name) {
            return Ok(name);
        }
        number += 1;
    }
}

/// Whether another site asked for a connection and the owner has never approved it: one that waits, or one that works at once because
/// the incoming mode lets it. Who approved one has seen its name.
fn is_named_by_peer(connection: &Connection) -> bool {
    let Connection { direction, approved_at, created_by, .. } = connection;
    *direction == ConnectionDirection::Receiver && approved_at.is_none() && created_by.starts_with("peer ")
}

impl Connections<'_> {
    /// Gives connections that bear the name which another site gave itself another one, where the owner wants it for this one.
    pub(super) fn make_room(&self, sql: &mut dyn Sql, now: OffsetDateTime, wanted_by: &Connection) -> Result<()> {
        for other in connections::by_name(sql, &wanted_by.name)? {
            if other.uuid == wanted_by.uuid || !is_named_by_peer(&other) {
                continue;
            }
            let name = free_name(sql, &other.name)?;
            connections::change(sql, other.uuid, now, vec![("name", name.as_str().into())])?;
            let mut about = details([("from", &other.name), ("to", &name)]);
            about.insert("changed".to_owned(), vec!["name"].into());
            self.tell(sql, now, EventKind::ConnectionUpdated, other.uuid, about)?;
        }
        Ok(())
    }
}
