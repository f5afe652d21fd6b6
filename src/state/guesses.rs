//! How many wrong codes and passwords there were within a minute, as the processes that serve one database tell each other.

use std::time::Duration;

use time::OffsetDateTime;

use super::Fields;
use crate::clock;
use crate::error::Result;
use crate::store::Sql;

/// How long the wrong ones are counted together.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// Those of a minute that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) count: u64,
    /// For how long the minute still lasts.
    pub(crate) left: Duration,
}

/// Those of a kind and of one whose they are, if a minute of them is not over.
pub(crate) fn wrong(sql: &mut dyn Sql, kind: &str, whose: &str, now: OffsetDateTime) -> Result<Option<Wrong>> {
    let select = "SELECT began_at, wrong FROM rowferry_guesses WHERE kind = ?1 AND whose = ?2";
    let rows = sql.query(select, &[kind.into(), whose.into()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut fields = Fields::of(row);
    let (began, count) = (fields.moment()?, fields.number()?);
    // A minute that begins later than now began before the clock was set back.
    let passed = Duration::try_from(now - began).ok();
    let left = passed.and_then(|passed| WINDOW.checked_sub(passed)).filter(|left| !left.is_zero());
    Ok(left.map(|left| Wrong { count, left }))
}

/// Counts more of them: with those of the minute, or as the first ones of another.
pub(crate) fn add(sql: &mut dyn Sql, kind: &str, whose: &str, more: u32, now: OffsetDateTime) -> Result<()> {
    let over = now.checked_sub(time::Duration::MINUTE).unwrap_or(now);
    let (now, over) = (clock::to_text(now), clock::to_text(over));
    // Nothing is left of an attack but its last minute.
    sql.execute("DELETE FROM rowferry_guesses WHERE began_at <= ?1 OR began_at > ?2", &[over.into(), now.as_str().into()])?;
    let upsert = "INSERT INTO rowferry_guesses (kind, whose, began_at, wrong) VALUES (?1, ?2, ?3, ?4) \
                  ON CONFLICT (kind, whose) DO UPDATE SET wrong = rowferry_guesses.wrong + excluded.wrong";
    sql.execute(upsert, &[kind.into(), whose.into(), now.into(), i64::from(more).into()]).map(|_| ())
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::site::testing::Home;
    use crate::state;

    #[test]
    fn they_are_counted_for_a_minute() {
        for home in Home::each() {
            let site = home.open(crate::Site::builder());
            let start = datetime!(2026-01-02 03:04:05 UTC);
            let at = |seconds| start + Duration::from_secs(seconds);
            let add =
                |whose: &str, more, seconds| site.write(|sql| super::add(sql, "code", whose, more, at(seconds))).unwrap();
            let wrong = |whose: &str, seconds| {
                let found = state::read(&**site.store(), |sql| super::wrong(sql, "code", whose, at(seconds))).unwrap();
                found.map(|wrong| (wrong.count, wrong.left.as_secs()))
            };
            assert_eq!(wrong("a", 0), None);
            add("a", 3, 0);
            add("b", 1, 5);
            add("a", 2, 10);
            assert_eq!((wrong("a", 20), wrong("b", 20)), (Some((5, 40)), Some((1, 45))));
            assert_eq!((wrong("a", 60), wrong("b", 60)), (None, Some((1, 5))));
            add("a", 1, 64);
            assert_eq!((wrong("a", 65), wrong("b", 65)), (Some((1, 59)), None));
            // A clock that was set back makes nobody wait for long.
            let before = start - Duration::from_secs(3600);
            assert_eq!(state::read(&**site.store(), |sql| super::wrong(sql, "code", "a", before)).unwrap(), None);
            site.write(|sql| super::add(sql, "code", "a", 7, before)).unwrap();
            let count =
                |sql: &mut dyn Sql| super::wrong(sql, "code", "a", before).map(|wrong| wrong.map(|wrong| wrong.count));
            assert_eq!(state::read(&**site.store(), count).unwrap(), Some(7));
        }
    }
}
