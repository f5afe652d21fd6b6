//! Who is sending the messages of a connection: while one process does, no other one begins.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::clock;
use crate::error::Result;
use crate::store::Sql;

/// For how long a process may send without taking the lease again: if it dies, the messages wait for so long.
const TIME: Duration = Duration::minutes(10);

/// Takes the lease of a connection, or prolongs one's own: `false` while somebody else has it.
pub(crate) fn take(sql: &mut dyn Sql, connection: Uuid, holder: Uuid, now: OffsetDateTime) -> Result<bool> {
    // One that ends much later than it can was given before the clock was set back.
    let upsert = "INSERT INTO rowferry_outbox_leases (connection, holder, leased_until) VALUES (?1, ?2, ?3) \
                  ON CONFLICT (connection) DO UPDATE SET holder = excluded.holder, leased_until = excluded.leased_until \
                  WHERE rowferry_outbox_leases.holder = ?2 OR rowferry_outbox_leases.leased_until <= ?4 \
                  OR rowferry_outbox_leases.leased_until > ?5";
    let after = |time| now.checked_add(time).unwrap_or(now);
    let row = [
        connection.to_string().into(),
        holder.to_string().into(),
        clock::to_text(after(TIME)).into(),
        clock::to_text(now).into(),
        clock::to_text(after(TIME * 2)).into(),
    ];
    Ok(sql.execute(upsert, &row)? == 1)
}

/// Gives one's lease back.
pub(crate) fn end(sql: &mut dyn Sql, connection: Uuid, holder: Uuid) -> Result<()> {
    let delete = "DELETE FROM rowferry_outbox_leases WHERE connection = ?1 AND holder = ?2";
    sql.execute(delete, &[connection.to_string().into(), holder.to_string().into()]).map(|_| ())
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::site::testing::Home;
    use crate::state;

    #[test]
    fn one_at_a_time_has_it() {
        for home in Home::each() {
            let site = home.open(crate::Site::builder());
            let (connection, other) = (Uuid::now_v7(), Uuid::now_v7());
            let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
            let start = datetime!(2026-01-02 03:04:05 UTC);
            let take = |connection, holder, seconds| {
                let now = start + Duration::seconds(seconds);
                state::write(&**site.store(), |sql| take(sql, connection, holder, now)).unwrap()
            };
            assert!(take(connection, one, 0));
            assert!(!take(connection, two, 0) && take(other, two, 0));
            // Prolonged, and then left alone until its time is over.
            assert!(take(connection, one, 500));
            assert!(!take(connection, two, 1099) && take(connection, two, 1100));
            assert!(!take(connection, one, 1100));
            // Given back by its holder only.
            state::write(&**site.store(), |sql| end(sql, connection, one)).unwrap();
            assert!(!take(connection, one, 1101));
            state::write(&**site.store(), |sql| end(sql, connection, two)).unwrap();
            assert!(take(connection, one, 1101));
            // A clock that was set back does not keep it for long.
            assert!(take(connection, two, -100_000));
        }
    }
}
