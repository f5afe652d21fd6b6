//! Several sites on one database file at once, as several processes have it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use time::macros::datetime;
use uuid::Uuid;

use crate::clock::ManualClock;
use crate::domain::connection::Policy;
use crate::domain::event::EventFilter;
use crate::limits::Limits;
use crate::site::{NewConnection, Site};
use crate::state::connections;

/// Sites on one file, with a connection of this policy.
fn sites(change: impl FnOnce(&mut Policy)) -> (tempfile::TempDir, Vec<Site>, Uuid) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(datetime!(2026-01-02 03:04:05 UTC)));
    // The machine may be busy: a writer waits for its turn as long as it takes.
    let limits = Limits::with(|limits| limits.store.busy_timeout = Duration::from_secs(120));
    let open = || Site::builder().clock(clock.clone()).limits(limits.clone()).open(folder.path().join("a.db")).unwrap();
    let sites: Vec<_> = (0..3).map(|_| open()).collect();
    let mut policy = Policy::default();
    change(&mut policy);
    let new = NewConnection::sender("Backup", "https://backup.example").policy(policy);
    let uuid = sites[0].connections().create(new).unwrap().connection.uuid;
    (folder, sites, uuid)
}

/// What each of several threads got when all did the same.
fn at_once<T: Send>(sites: &[Site], work: impl Fn(&Site) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = sites.iter().map(|site| scope.spawn(move || work(site))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn downloads_are_never_more_than_allowed() {
    let (_folder, sites, uuid) = sites(|policy| policy.max_downloads = Some(20));
    let taken = at_once(&sites, |site| {
        (0..15).filter(|_| site.change(|sql| connections::take_download(sql, uuid)).unwrap()).count()
    });
    assert_eq!(taken.iter().sum::<usize>(), 20, "{taken:?}");
    assert_eq!(sites[0].connections().get(uuid).unwrap().remaining_downloads(), Some(0));
}

#[test]
fn records_are_never_more_than_allowed() {
    let (_folder, sites, uuid) = sites(|policy| policy.max_records_total = Some(100));
    let taken = at_once(&sites, |site| {
        let take = |want| site.change(|sql| connections::take_records(sql, uuid, want)).unwrap();
        (0..15).map(|_| take(7)).sum::<u64>()
    });
    assert_eq!(taken.iter().sum::<u64>(), 100, "{taken:?}");
    at_once(&sites, |site| {
        (0..10).for_each(|_| site.change(|sql| connections::count_records(sql, uuid, 3)).unwrap());
    });
    let used = sites[0].connections().get(uuid).unwrap().records_downloaded;
    assert_eq!(used, 100 + taken.len() as u64 * 30, "what was sent is counted, whatever is allowed");
}

#[test]
fn calls_are_never_more_than_the_bucket_holds() {
    let (_folder, sites, uuid) = sites(|policy| policy.rate_limit_requests_per_minute = 4);
    let now = datetime!(2026-01-02 03:04:05.5 UTC);
    let call = |site: &Site, now| site.change(|sql| connections::take_call(sql, uuid, now)).unwrap();
    let taken = at_once(&sites, |site| (0..15).filter(|_| call(site, now).is_ok()).count());
    assert_eq!(taken.iter().sum::<usize>(), 20, "{taken:?}");
    assert_eq!(call(&sites[0], now), Err(Duration::from_secs(15)), "one of four in a minute");
    assert_eq!(call(&sites[0], datetime!(2026-01-02 03:04:19 UTC)), Err(Duration::from_secs(1)));
    assert_eq!(call(&sites[0], datetime!(2026-01-02 03:04:20.2 UTC)), Ok(()), "it has come back");
    assert_eq!(call(&sites[0], datetime!(2026-01-02 03:04:20.9 UTC)), Err(Duration::from_secs(15)));
    let calls = |at| (0..25).filter(|_| call(&sites[0], at).is_ok()).count();
    assert_eq!(calls(datetime!(2026-01-02 03:06:20 UTC)), 8, "two minutes");
    assert_eq!(calls(datetime!(2026-01-02 04:00:00 UTC)), 20, "it holds no more than five times as many");
    assert_eq!(call(&sites[0], datetime!(2025-01-02 03:04:05 UTC)), Ok(()), "a clock that was set back");
}

#[test]
fn changes_of_several_processes_are_all_kept() {
    let (_folder, sites, uuid) = sites(|_| ());
    at_once(&sites, |site| {
        for _ in 0..10 {
            site.connections().record_transfer(uuid, 1, 2).unwrap();
        }
    });
    let counted = sites[0].connections().get(uuid).unwrap();
    assert_eq!((counted.total_transfers, counted.total_records_transferred), (30, 30));
    assert_eq!((counted.total_bytes_transferred, counted.downloads_used), (60, 30));
    // Of several that suspend it one does; the others are told how it stands.
    let suspended = at_once(&sites, |site| site.connections().suspend(uuid, None).is_ok());
    assert_eq!(suspended.iter().filter(|done| **done).count(), 1);
    let events = sites[0].events().list(&EventFilter::new().connection(uuid)).unwrap();
    assert_eq!(events.len(), 2, "{events:?}");
}
