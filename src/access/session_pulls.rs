//! How many pulls the codes of sessions let begin. Who came by a code may come back with a ticket, so that this is counted for the
//! session and not for the channel.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::Denial;
use crate::error::ErrorKind;
use crate::limits::Limits;

const MINUTE: Duration = Duration::from_secs(60);

/// Those of one site's sessions; of a bounded number.
#[derive(Debug)]
pub(super) struct SessionPulls {
    sessions: Mutex<HashMap<Uuid, Begun>>,
    most: usize,
}

/// Those of one session.
#[derive(Debug)]
struct Begun {
    all: u32,
    /// When the last one began.
    last: OffsetDateTime,
    /// Of each table since when, and how many since then.
    tables: HashMap<String, (OffsetDateTime, u32)>,
}

impl SessionPulls {
    pub(super) fn new(most: usize) -> Self {
        SessionPulls { sessions: Mutex::default(), most: most.max(1) }
    }

    /// Counts one more, or says why there may be none.
    pub(super) fn count(&self, session: Uuid, table: &str, now: OffsetDateTime, limits: &Limits) -> Result<(), Denial> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if !sessions.contains_key(&session) && sessions.len() >= self.most {
            let oldest = sessions.iter().min_by_key(|(_, begun)| begun.last).map(|(session, _)| *session);
            oldest.map(|oldest| sessions.remove(&oldest));
        }
        let begun = sessions.entry(session).or_insert_with(|| Begun { all: 0, last: now, tables: HashMap::new() });
        begun.last = now;
        if begun.all >= limits.server.session_pulls {
            return Err(Denial::new(ErrorKind::DownloadLimit));
        }
        let (since, count) = begun.tables.entry(table.to_owned()).or_insert((now, 0));
        let passed = (now - *since).unsigned_abs();
        if passed >= MINUTE {
            (*since, *count) = (now, 0);
        }
        if *count >= limits.server.repeated_pulls_per_minute {
            return Err(Denial::wait(ErrorKind::RateLimited, MINUTE.saturating_sub(passed).max(Duration::from_secs(1))));
        }
        (begun.all, *count) = (begun.all + 1, *count + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_so_many_pulls_however_often_it_comes_back() {
        let limits = Limits::with(|limits| {
            limits.server.session_pulls = 3;
            limits.server.repeated_pulls_per_minute = 2;
        });
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        let begun = SessionPulls::new(2);
        let at = |seconds| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let count =
            |session, table, seconds| begun.count(session, table, at(seconds), &limits).map_err(|denial| denial.kind);
        assert_eq!((count(one, "a", 0), count(one, "a", 1)), (Ok(()), Ok(())));
        assert_eq!(count(one, "a", 2), Err(ErrorKind::RateLimited));
        assert_eq!((count(other, "a", 2), count(one, "a", 60)), (Ok(()), Ok(())));
        assert_eq!(count(one, "b", 61), Err(ErrorKind::DownloadLimit));
        // A third session takes the place of the one that was quiet for longest.
        assert_eq!((count(Uuid::new_v4(), "a", 62), begun.sessions.lock().unwrap().len()), (Ok(()), 2));
        assert_eq!(count(one, "b", 63), Err(ErrorKind::DownloadLimit));
    }
}
