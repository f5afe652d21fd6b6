//! What maintenance does, and that one part that fails does not keep the others from being done.

use std::sync::Arc;
use std::time::Duration;

use rowferry::{
    ConnectionStatus, Direction, ErrorKind, EventFilter, EventKind, ManualClock, NewConnection, NewTransfer, Policy, Site,
    TransferStatus,
};
use time::macros::datetime;

use crate::support::homes::Home;

/// One on each kind of database.
fn sites() -> impl Iterator<Item = (Home, Site, Arc<ManualClock>)> {
    Home::each().into_iter().map(|home| {
        let clock = Arc::new(ManualClock::new(datetime!(2026-01-02 03:04:05 UTC)));
        let site = home.open(Site::builder().clock(clock.clone()));
        site.settings().set_allow_internal_urls(true).unwrap();
        (home, site, clock)
    })
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[test]
fn what_has_passed_expires_and_what_is_old_goes() {
    for (home, site, clock) in sites() {
        let mut policy = Policy::default();
        policy.expires_at = Some(datetime!(2026-01-02 04:00:00 UTC));
        let new = NewConnection::sender("short", "http://127.0.0.1:1").policy(policy);
        let short = site.connections().create(new).unwrap().connection;
        let long = site.connections().create(NewConnection::sender("long", "http://127.0.0.1:2")).unwrap().connection;
        let asked = site.transfers().create(NewTransfer::new(Direction::Send, "a")).unwrap();
        site.transfers().request_approval(asked.uuid, Duration::from_secs(HOUR)).unwrap();
        let running = site.transfers().create(NewTransfer::new(Direction::Receive, "b")).unwrap();
        site.transfers().start(running.uuid).unwrap();
        let (used, open) =
            (site.sessions().create(Direction::Send).unwrap(), site.sessions().create(Direction::Send).unwrap());
        site.sessions().use_code(used.code(), None).unwrap();
        let dead =
            "INSERT INTO rowferry_pulls (scope, owner, stages, touched_at) VALUES ('dead', 'x', 0, '2026-01-02T03:04:05Z')";
        home.execute(dead);

        let done = site.maintain().unwrap();
        assert!(done.errors.is_empty(), "{:?}", done.errors);
        let counts = [done.expired_connections, done.expired_approvals, done.failed_transfers, done.dropped_pulls];
        assert_eq!((counts, done.deleted_sessions, done.pruned_events), ([0; 4], 0, 0));

        clock.advance(Duration::from_secs(2 * HOUR));
        let done = site.maintain().unwrap();
        let counts = [done.expired_connections, done.expired_approvals, done.failed_transfers, done.dropped_pulls];
        assert_eq!((counts, done.deleted_sessions, done.pruned_events), ([1; 4], 0, 0));
        assert_eq!(site.connections().get(short.uuid).unwrap().status, ConnectionStatus::Expired);
        assert_eq!(site.connections().get(long.uuid).unwrap().status, ConnectionStatus::Active);
        assert_eq!(site.transfers().get(asked.uuid).unwrap().status, TransferStatus::Expired);
        assert_eq!(site.transfers().get(running.uuid).unwrap().status, TransferStatus::Failed);
        let kinds = [EventKind::ConnectionExpired, EventKind::TransferExpired, EventKind::TransferFailed];
        let events = site.events().list(&EventFilter::new().kinds(kinds)).unwrap();
        assert!(events.len() == 3 && events.iter().all(|event| event.actor == "maintenance"), "{events:?}");

        clock.advance(Duration::from_secs(7 * DAY));
        let done = site.maintain().unwrap();
        // The one that was used; the other one ended a day later than it was made.
        assert_eq!((done.deleted_sessions, done.expired_connections), (1, 0));
        assert!(site.sessions().get(open.uuid()).is_ok());
        clock.advance(Duration::from_secs(DAY));
        assert_eq!(site.maintain().unwrap().deleted_sessions, 1);

        clock.advance(Duration::from_secs(90 * DAY));
        let done = site.maintain().unwrap();
        assert!(done.pruned_events > 5 && done.errors.is_empty());
        assert_eq!(site.events().list(&EventFilter::new()).unwrap().len(), 0);
        assert_eq!(done.pruned_transfers, 0, "the history stays for longer");
        assert_eq!(site.transfers().recent(10).unwrap().len(), 2);
        let pending = site.transfers().create(NewTransfer::new(Direction::Send, "c")).unwrap();
        clock.advance(Duration::from_secs(366 * DAY));
        let done = site.maintain().unwrap();
        assert!(done.pruned_transfers == 2 && done.errors.is_empty(), "{done:?}");
        let left: Vec<_> = site.transfers().recent(10).unwrap().iter().map(|transfer| transfer.uuid).collect();
        assert_eq!(left, [pending.uuid], "it has not ended");
        assert_eq!(site.maintain().unwrap().pruned_transfers, 0);
    }
}

#[test]
fn a_part_that_fails_is_told_and_the_others_are_done() {
    for (home, site, clock) in sites() {
        let running = site.transfers().create(NewTransfer::new(Direction::Receive, "b")).unwrap();
        site.transfers().start(running.uuid).unwrap();
        clock.advance(Duration::from_secs(2 * HOUR));
        home.execute("DROP TABLE rowferry_connections; DROP TABLE rowferry_outbox;");
        let done = site.maintain().unwrap();
        assert_eq!(done.failed_transfers, 1);
        let expected = if cfg!(feature = "client") { 3 } else { 2 };
        assert_eq!(done.errors.len(), expected, "{:?}", done.errors);
        assert!(done.errors[0].message().starts_with("expiring connections: "), "{}", done.errors[0]);
    }
}

#[test]
fn where_nothing_can_be_done_it_is_an_error() {
    for (home, site, clock) in sites() {
        clock.advance(Duration::from_secs(2 * HOUR));
        home.drop_state();
        assert_eq!(site.maintain().unwrap_err().kind(), ErrorKind::Database);
    }
}

#[test]
fn several_processes_may_maintain_at_once() {
    for (home, site, clock) in sites() {
        for number in 0..20 {
            let transfer = site.transfers().create(NewTransfer::new(Direction::Receive, format!("t{number}"))).unwrap();
            site.transfers().start(transfer.uuid).unwrap();
        }
        clock.advance(Duration::from_secs(2 * HOUR));
        let sites: Vec<_> = (0..4).map(|_| home.open(Site::builder().clock(clock.clone()))).collect();
        let failed: u64 = std::thread::scope(|scope| {
            let maintain = |site: &Site| {
                let done = site.maintain().unwrap();
                assert!(done.errors.is_empty(), "{:?}", done.errors);
                done.failed_transfers
            };
            let threads: Vec<_> = sites.iter().map(|site| scope.spawn(move || maintain(site))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(failed, 20);
        let filter = EventFilter::new().kinds([EventKind::TransferFailed]);
        assert_eq!(site.events().list(&filter).unwrap().len(), 20, "each failed once");
    }
}

#[cfg(feature = "client")]
mod outbox {
    use rowferry::ConnectOptions;

    use super::*;

    #[test]
    fn what_other_sites_are_to_be_told_is_tried() {
        for (_home, site, clock) in sites() {
            site.settings().set_site_url("http://127.0.0.1:4802").unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            drop(listener);
            let uuid = site.connections().create(NewConnection::sender("x", url)).unwrap().connection.uuid;
            site.connections().suspend(uuid, None).unwrap();
            let done = site.maintain_with(ConnectOptions::default()).unwrap();
            assert_eq!((done.delivered.waiting, done.errors.len()), (1, 0));
            clock.advance(Duration::from_secs(31 * DAY));
            for _ in 2..10 {
                assert_eq!(site.maintain().unwrap().delivered.waiting, 1);
                clock.advance(Duration::from_secs(2 * 3600));
            }
            assert_eq!(site.maintain().unwrap().delivered.given_up, 1);
            let events = site.events().list(&EventFilter::new().kinds([EventKind::ConnectionNotified])).unwrap();
            assert_eq!(events[0].actor, "maintenance");
        }
    }
}
