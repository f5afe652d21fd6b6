//! Tickets that other sites gave to this one: with them a pull resumes although its code is spent, also after this program was
//! killed.

use time::OffsetDateTime;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Site;
use crate::error::Result;
use crate::state::{self, tickets};

/// The ticket of another site's that a pull by a code resumes with.
pub(crate) struct KeptTicket {
    pub(crate) ticket: Zeroizing<String>,
    /// The id of the site that gave it.
    pub(crate) sender: Uuid,
}

impl Site {
    /// The ticket that is kept of this code at this URL.
    pub(crate) fn kept_ticket(&self, url: &str, code: &str) -> Result<Option<KeptTicket>> {
        let (store, now) = (self.store_ref(), self.now());
        // Where nothing is kept no key is needed: none is made for a code that may be wrong.
        if !state::read(store, |sql| tickets::any_kept(sql, url, now))? {
            return Ok(None);
        }
        let key = self.key()?;
        let place = key.ticket_place(url, code);
        let Some(kept) = state::read(store, |sql| tickets::kept(sql, &place, now))? else { return Ok(None) };
        Ok(Some(KeptTicket { ticket: key.open(&about(&place), &kept.ticket_sealed)?, sender: kept.sender }))
    }

    /// Keeps the ticket that came of this code at this URL.
    pub(crate) fn keep_ticket(&self, url: &str, code: &str, ticket: &str, sender: Uuid) -> Result<()> {
        let key = self.key()?;
        let place = key.ticket_place(url, code);
        let kept = tickets::Kept { sender, ticket_sealed: key.seal(&about(&place), ticket)? };
        let time = time::Duration::try_from(self.limits().retention.ticket_time).ok();
        let ends = time.and_then(|time| self.now().checked_add(time)).filter(|ends| ends.year() <= 9999);
        let ends = ends.unwrap_or(FAR);
        state::write(self.store_ref(), |sql| tickets::keep(sql, &place, url, &kept, ends))
    }

    /// Forgets the ticket of this code, if one is kept.
    pub(crate) fn forget_ticket(&self, url: &str, code: &str) -> Result<()> {
        let (store, now) = (self.store_ref(), self.now());
        if !state::read(store, |sql| tickets::any_kept(sql, url, now))? {
            return Ok(());
        }
        let place = self.key()?.ticket_place(url, code);
        state::write(store, |sql| tickets::forget(sql, &place))
    }
}

/// The last moment that text tells.
const FAR: OffsetDateTime = time::macros::datetime!(9999-12-31 23:59:59 UTC);

/// What a ticket is sealed with: it opens in its own place only.
fn about(place: &str) -> String {
    format!("ticket {place}")
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    const URL: &str = "http://127.0.0.1:7171";

    #[test]
    fn tickets_are_kept_by_url_and_code_until_their_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(time::macros::datetime!(2026-01-02 03:04:05 UTC)));
        let site = Site::builder().clock(clock.clone() as Arc<dyn Clock>).open(folder.path().join("a.db")).unwrap();
        assert!(site.kept_ticket(URL, "A7X9K2M4").unwrap().is_none());
        assert!(!folder.path().join("a.db.rowferry-key").exists(), "a look makes no key");
        let (ticket, sender) = ("tick-et_1", Uuid::new_v4());
        site.keep_ticket(URL, "A7X9K2M4", "tick-et_0", Uuid::nil()).unwrap();
        site.keep_ticket(URL, "A7X9K2M4", ticket, sender).unwrap();
        let kept = site.kept_ticket(URL, "A7X9K2M4").unwrap().unwrap();
        assert_eq!((kept.ticket.as_str(), kept.sender), (ticket, sender));
        assert!(site.kept_ticket(URL, "B7X9K2M4").unwrap().is_none());
        assert!(site.kept_ticket("http://127.0.0.1:7172", "A7X9K2M4").unwrap().is_none());
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for secret in [ticket, "tick-et_0", "A7X9K2M4"] {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
            }
        }
        clock.advance(Duration::from_secs(24 * 3600));
        assert!(site.kept_ticket(URL, "A7X9K2M4").unwrap().is_none());
        assert_eq!(site.maintain().unwrap().deleted_tickets, 1);

        site.keep_ticket(URL, "A7X9K2M4", ticket, sender).unwrap();
        site.forget_ticket(URL, "B7X9K2M4").unwrap();
        assert!(site.kept_ticket(URL, "A7X9K2M4").unwrap().is_some());
        site.forget_ticket(URL, "A7X9K2M4").unwrap();
        assert!(site.kept_ticket(URL, "A7X9K2M4").unwrap().is_none());
        site.keep_ticket(URL, "A7X9K2M4", ticket, sender).unwrap();
        site.reset_key().unwrap();
        assert!(site.kept_ticket(URL, "A7X9K2M4").unwrap().is_none());
    }
}
