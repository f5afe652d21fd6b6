//! Events: what happened, and a subscription to what happens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Site;
use crate::clock;
use crate::domain::event::{Event, EventFilter};
use crate::error::Result;
use crate::state::{self, events};

/// How often a subscription looks for events of other processes while it waits.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How many events a subscription reads at a time.
const READ: u32 = 100;

impl Site {
    /// What happened to connections and transfers.
    pub fn events(&self) -> Events<'_> {
        Events::new(self)
    }
}

/// What happened to the connections and transfers of a [`Site`]. Events are kept for
/// [`RetentionLimits::event_time`](crate::RetentionLimits::event_time).
///
/// Every method fails with what the store says.
#[derive(Debug, Clone, Copy)]
pub struct Events<'s> {
    site: &'s Site,
}

impl<'s> Events<'s> {
    pub(super) fn new(site: &'s Site) -> Self {
        Events { site }
    }

    /// The events that match a filter.
    pub fn list(&self, filter: &EventFilter) -> Result<Vec<Event>> {
        state::read(self.site.store_ref(), |sql| events::list(sql, filter, self.site.limits().server.listed))
    }

    /// The events that come from now on, those of other processes on the same database too.
    pub fn subscribe(&self) -> Result<EventStream> {
        let last = state::read(self.site.store_ref(), events::newest)?;
        Ok(EventStream { site: self.site.clone(), last, ready: VecDeque::new() })
    }
}

/// The events that came since it was made, in their order, each once. It holds no resource but a little memory, and no thread:
/// it looks when it is asked. One that is asked more rarely than events are kept for misses those that were dropped.
///
/// ```
/// # fn main() -> rowferry::Result<()> {
/// # let folder = tempfile::tempdir().map_err(|e| rowferry::Error::new(rowferry::ErrorKind::Io, e.to_string()))?;
/// # let path = folder.path().join("shop.db");
/// use std::time::Duration;
/// use rowferry::{EventKind, NewConnection, Site};
///
/// let shop = Site::open(&path)?;
/// let mut news = shop.events().subscribe()?;
/// shop.connections().by("alice").create(NewConnection::sender("Nightly", "https://backup.example"))?;
/// // A program has a thread that does this in a loop, and looks in between whether it is to end.
/// while let Some(event) = news.next(Duration::from_millis(10))? {
///     assert_eq!((event.kind, event.actor.as_str()), (EventKind::ConnectionCreated, "alice"));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventStream {
    site: Site,
    last: u64,
    ready: VecDeque<Event>,
}

impl EventStream {
    /// The next event, waited for at most this long; `None` if there was none. Events of this process come at once, those of
    /// others within a second.
    ///
    /// # Errors
    /// What the store says; the next call continues where this one was.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Event>> {
        let until = clock::later(Instant::now(), timeout);
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last = event.id;
                return Ok(Some(event));
            }
            // Counted before the look, so that a change between the two is not slept through.
            let seen = self.site.wake().count();
            let filter = EventFilter::new().after(self.last).limit(READ);
            self.ready = state::read(self.site.store_ref(), |sql| events::list(sql, &filter, READ))?.into();
            if !self.ready.is_empty() {
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.site.wake().wait(seen, left.min(POLL_INTERVAL));
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::Arc;

    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::domain::connection::Metadata;
    use crate::domain::event::EventKind;

    const LONG: Duration = Duration::from_secs(60);

    fn site() -> (tempfile::TempDir, Site, Arc<ManualClock>) {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(datetime!(2026-01-02 03:04:05 UTC)));
        let site = Site::builder().clock(clock.clone()).open(folder.path().join("a.db")).unwrap();
        (folder, site, clock)
    }

    fn add(site: &Site, kind: EventKind, actor: &str, connection: Option<Uuid>, transfer: Option<Uuid>) {
        let now = site.now();
        site.change(|sql| events::add(sql, now, kind, actor, connection, transfer, Metadata::new())).unwrap();
    }

    #[test]
    fn events_are_listed_as_asked() {
        let (_folder, site, clock) = site();
        let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
        assert!(site.events().list(&EventFilter::new()).unwrap().is_empty());
        add(&site, EventKind::AccessDenied, " peer\u{7} x\n", Some(a), None);
        clock.advance(LONG);
        add(&site, EventKind::TransferStarted, &"y".repeat(1_000), Some(a), Some(b));
        add(&site, EventKind::TransferFailed, "z", Some(b), Some(a));
        let ids =
            |filter: EventFilter| site.events().list(&filter).unwrap().into_iter().map(|event| event.id).collect::<Vec<_>>();
        let all = EventFilter::new;
        assert_eq!(ids(all()), [1, 2, 3]);
        assert_eq!(ids(all().newest_first().limit(2)), [3, 2]);
        assert_eq!(ids(all().after(1)), [2, 3]);
        assert_eq!(ids(all().after(u64::MAX)), Vec::<u64>::new());
        assert_eq!(ids(all().connection(a)), [1, 2]);
        assert_eq!(ids(all().transfer(a)), [3]);
        assert_eq!(ids(all().kinds([EventKind::TransferFailed, EventKind::AccessDenied])), [1, 3]);
        assert_eq!(ids(all().connection(a).kinds([EventKind::TransferFailed])), Vec::<u64>::new());
        let listed = site.events().list(&all()).unwrap();
        assert_eq!((listed[0].actor.as_str(), listed[1].actor.len()), ("peer  x", 300));
        assert_eq!((listed[1].connection, listed[1].transfer), (Some(a), Some(b)));
        assert_eq!(listed[2].at, clock.now());

        let before = clock.now();
        assert_eq!(state::write(site.store_ref(), |sql| events::prune(sql, before, 9)).unwrap(), 1);
        assert_eq!(ids(all()), [2, 3]);
        assert_eq!(state::write(site.store_ref(), |sql| events::prune(sql, before + LONG, 9)).unwrap(), 2);
        add(&site, EventKind::AccessDenied, "x", None, None);
        assert_eq!(ids(all()), [4], "no number is given twice");
    }

    #[test]
    fn what_a_peer_wrote_is_cut_and_cleaned() {
        let (_folder, site, clock) = site();
        let mut details = Metadata::new();
        details.insert("table".to_owned(), "a\u{1b}[2J\nb".into());
        details.insert(
            "error".to_owned(),
            serde_json::json!({"message": "x".repeat(1_000), "names": ["\u{7}y"], "http_status": 403}),
        );
        site.change(|sql| events::add(sql, clock.now(), EventKind::AccessDenied, "x", None, None, details.clone())).unwrap();
        let kept = site.events().list(&EventFilter::new()).unwrap().remove(0).details;
        assert_eq!(kept["table"], "a [2J b");
        let expected = serde_json::json!({"message": "x".repeat(300), "names": ["y"], "http_status": 403});
        assert_eq!(kept["error"], expected);
    }

    #[test]
    fn a_subscription_gives_what_comes_after_it_once() {
        let (folder, site, _) = site();
        add(&site, EventKind::AccessDenied, "before", None, None);
        let mut stream = site.events().subscribe().unwrap();
        assert_eq!(stream.next(Duration::ZERO).unwrap(), None);
        let other = Site::open(folder.path().join("a.db")).unwrap();
        for number in 0..250 {
            add(if number % 2 == 0 { &site } else { &other }, EventKind::AccessDenied, &number.to_string(), None, None);
        }
        for number in 0..250 {
            assert_eq!(stream.next(Duration::ZERO).unwrap().unwrap().actor, number.to_string());
        }
        assert_eq!(stream.next(Duration::ZERO).unwrap(), None);
        // What is not kept is not told.
        let undone = site.change(|sql| {
            events::add(sql, site.now(), EventKind::AccessDenied, "undone", None, None, Metadata::new())?;
            Err::<(), _>(crate::Error::new(crate::ErrorKind::Cancelled, "no"))
        });
        assert!(undone.is_err() && stream.next(Duration::ZERO).unwrap().is_none());
    }

    #[test]
    fn who_waits_is_woken_by_this_process_and_finds_what_others_did() {
        let (folder, site, _) = site();
        let other = Site::open(folder.path().join("a.db")).unwrap();
        for changing in [&site, &other] {
            let mut stream = site.events().subscribe().unwrap();
            let event = std::thread::scope(|scope| {
                let waiting = scope.spawn(|| stream.next(LONG).unwrap());
                add(changing, EventKind::AccessDenied, "x", None, None);
                waiting.join().unwrap()
            });
            assert_eq!(event.map(|event| event.actor), Some("x".to_owned()));
        }
    }
}
