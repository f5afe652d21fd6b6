//! Connections that wait for approval: their names, how many there may be, and how they end.

use std::net::IpAddr;
use std::time::Duration;

use super::tests::{events, kind, registration, site, waiting};
use super::*;
use crate::domain::connection::{ConnectionDirection, ConnectionFilter, ConnectionStatus};
use crate::domain::event::EventFilter;
use crate::limits::Limits;
use crate::secret::Token;
use crate::state;

const HOUR: u64 = 3600;

/// Another site asks to be connected.
fn ask(site: &Site, url: &str, name: &str, from: &str) -> Result<Connection> {
    let from = from.parse::<IpAddr>().ok();
    let asked = Registration { name: name.into(), active: false, from, ..registration(url, &Token::generate().unwrap()) };
    site.connections().by_peer("peer https://a.example").register(asked)
}

fn receiver(name: &str, url: &str) -> NewConnection {
    NewConnection::receiver(name, url, Token::generate().unwrap())
}

fn names(site: &Site) -> Vec<String> {
    site.connections().list(&ConnectionFilter::new()).unwrap().into_iter().map(|connection| connection.name).collect()
}

#[test]
fn so_many_wait_and_the_oldest_gives_way() {
    let (folder, _, clock) = site();
    let limits = Limits::with(|limits| {
        limits.server.pending = 5;
        limits.server.pending_per_address = 3;
        limits.server.pending_per_host = 2;
    });
    let site = Site::builder().clock(clock.clone()).limits(limits).open(folder.path().join("a.db")).unwrap();
    let asks = |url: &str, from: &str| {
        clock.advance(Duration::from_secs(60));
        ask(&site, url, url, from)
    };
    let refused = |url: &str, from: &str, says: &str, minutes: u64| {
        let error = asks(url, from).unwrap_err();
        assert!(error.kind() == ErrorKind::TooManyAttempts && error.message().contains(says), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(minutes * 60)), "{error}");
    };
    let has = |urls: &[&str]| assert_eq!(names(&site), urls);
    // At the first to the fifth minute.
    let made = asks("https://a.example/1", "192.0.2.1").unwrap();
    assert_eq!(made.metadata["registered_from"], "192.0.2.1");
    asks("https://a.example/2", "192.0.2.1").unwrap();
    refused("https://a.example:99/3", "192.0.2.1", "from this address with this host", 8);
    asks("https://b.example", "192.0.2.1").unwrap();
    refused("https://c.example", "192.0.2.1", "from this address wait", 6);
    // That others name its host, and that another address has its share, is nothing to one from elsewhere.
    asks("https://a.example/4", "192.0.2.2").unwrap();
    // Those whose address is not known are one.
    asks("https://d.example", "").unwrap();
    refused("https://e.example", "192.0.2.9", "in all", 3);
    has(&["https://a.example/1", "https://a.example/2", "https://b.example", "https://a.example/4", "https://d.example"]);

    // Of the address that asked for most, and there of the host.
    clock.advance(Duration::from_secs(180));
    asks("https://e.example", "192.0.2.9").unwrap();
    has(&["https://a.example/2", "https://b.example", "https://a.example/4", "https://d.example", "https://e.example"]);
    let last = events(&site).into_iter().find(|event| event.kind == EventKind::ConnectionDeleted).unwrap();
    let reason = last.details["reason"].as_str();
    assert_eq!((last.connection, reason), (Some(made.uuid), Some("made room for a later one")));
    assert_eq!((last.actor.as_str(), waiting(&site)), ("peer https://a.example", vec![]));
    asks("https://f.example", "192.0.2.10").unwrap();
    has(&["https://b.example", "https://a.example/4", "https://d.example", "https://e.example", "https://f.example"]);

    // One that works at once, and one of the owner's, wait for nothing.
    let token = Token::generate().unwrap();
    let active = Registration { from: "192.0.2.1".parse().ok(), ..registration("https://a.example/5", &token) };
    site.connections().by_peer("peer").register(active).unwrap();
    site.connections().create(NewConnection::sender("own", "https://a.example/6").pending()).unwrap();
    site.connections().approve(site.connections().find("https://f.example").unwrap().uuid).unwrap();
    asks("https://g.example", "192.0.2.11").unwrap();
    assert_eq!(site.connections().count_pending().unwrap(), 5);
}

#[test]
fn a_network_that_asks_for_much_pushes_nobody_else_out() {
    let (folder, _, clock) = site();
    let limits = Limits::with(|limits| limits.server.pending = 10);
    let site = Site::builder().clock(clock.clone()).limits(limits).open(folder.path().join("a.db")).unwrap();
    ask(&site, "https://honest.example", "honest", "198.51.100.1").unwrap();
    for number in 0..30 {
        clock.advance(Duration::from_secs(600));
        // One network of 48 bits has as many of 64 bits as it likes.
        ask(&site, &format!("https://{number}.example"), "x", &format!("2001:db8:0:{number:x}::")).unwrap();
    }
    assert_eq!((names(&site).len(), site.connections().find("honest").is_ok()), (10, true));
    let none = Limits::with(|limits| limits.server.pending = 0);
    let site = Site::builder().clock(clock).limits(none).open(folder.path().join("b.db")).unwrap();
    assert_eq!(kind(ask(&site, "https://a.example", "x", "")), ErrorKind::Refused);
}

#[test]
fn many_at_once_pass_no_bound_and_share_no_name() {
    let (folder, _, clock) = site();
    let limits = Limits::with(|limits| limits.server.pending_per_address = 10);
    let open = || Site::builder().clock(clock.clone()).limits(limits.clone()).open(folder.path().join("a.db")).unwrap();
    let storm = |thread: usize| {
        let site = open();
        let asked = (0..5).map(|number| ask(&site, &format!("https://{thread}.{number}.example"), "Nightly", "192.0.2.1"));
        asked.filter(Result::is_ok).count()
    };
    let storm = &storm;
    let made: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || storm(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let names = names(&open());
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!((made, names.len(), distinct.len()), (10, 10, 10), "{names:?}");
}

#[test]
fn what_nobody_approves_is_deleted_after_its_time() {
    let (_folder, site, clock) = site();
    let early = ask(&site, "https://a.example", "early", "192.0.2.1").unwrap();
    let approved = ask(&site, "https://b.example", "approved", "192.0.2.1").unwrap();
    site.connections().approve(approved.uuid).unwrap();
    clock.advance(Duration::from_secs(24 * HOUR));
    ask(&site, "https://c.example", "late", "192.0.2.1").unwrap();
    clock.advance(Duration::from_secs(6 * 24 * HOUR));
    assert_eq!(site.maintain().unwrap().deleted_pending, 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(site.maintain().unwrap().deleted_pending, 1);
    assert_eq!(names(&site), ["approved", "late"]);
    let last = events(&site).into_iter().find(|event| event.kind == EventKind::ConnectionDeleted).unwrap();
    assert_eq!((last.connection, last.details["reason"].as_str()), (Some(early.uuid), Some("not approved in time")));
    assert_eq!(last.actor, "maintenance");
    assert_eq!(waiting(&site), [], "nobody is told");
    ask(&site, "https://a.example", "again", "192.0.2.1").unwrap();
}

#[test]
fn all_that_wait_can_be_deleted_at_once() {
    let (folder, _, clock) = site();
    let limits = Limits::with(|limits| {
        limits.server.pending = 1_000;
        limits.server.pending_per_address = 1_000;
        limits.server.pending_per_host = 1_000;
    });
    let site = Site::builder().clock(clock).limits(limits).open(folder.path().join("a.db")).unwrap();
    site.connections().create(receiver("own", "https://own.example").pending()).unwrap();
    site.connections().create(NewConnection::sender("their", "https://their.example").pending()).unwrap();
    for number in 0..205 {
        ask(&site, &format!("https://a.example/{number}"), "x", "192.0.2.1").unwrap();
    }
    assert_eq!(site.connections().count_pending().unwrap(), 205);
    assert_eq!(site.connections().by("alice").delete_pending().unwrap(), 205);
    assert_eq!(names(&site), ["own", "their"]);
    let deleted = EventFilter::new().kinds([EventKind::ConnectionDeleted]).limit(1_000);
    let deleted = site.events().list(&deleted).unwrap();
    assert_eq!(deleted.len(), 205);
    let deleted = &deleted[0];
    assert_eq!((deleted.actor.as_str(), deleted.details["reason"].as_str()), ("alice", Some("dropped")));
    assert_eq!((site.connections().delete_pending().unwrap(), waiting(&site)), (0, vec![]));
}

#[test]
fn what_another_site_calls_itself_makes_no_name_mean_two() {
    let (_folder, site, _) = site();
    let connections = site.connections();
    let own = connections.create(NewConnection::sender("Nightly", "https://own.example")).unwrap().connection;
    let asked = |number: usize, name: &str| ask(&site, &format!("https://{number}.example"), name, "").unwrap().name;
    assert_eq!(asked(1, "Nightly"), "Nightly (2)");
    assert_eq!(asked(2, " Nightly "), "Nightly (3)");
    assert_eq!(asked(3, "Nightly (2)"), "Nightly (2) (2)");
    assert_eq!(asked(4, "Night"), "Night");
    assert_eq!(connections.find("Nightly").unwrap(), own);
    let longest = "ä".repeat(255);
    assert_eq!(asked(5, &longest), longest);
    let numbered = asked(6, &longest);
    assert!(numbered.chars().count() <= 255 && numbered.ends_with("ä (2)"), "{numbered}");

    // The owner takes a name that one has which waits; and may take one that is in use.
    let night = connections.create(receiver("Night", "https://night.example")).unwrap().connection;
    assert_eq!(connections.find("Night").unwrap(), night);
    let renamed = connections.find("Night (2)").unwrap();
    assert_eq!((renamed.direction, renamed.status), (ConnectionDirection::Receiver, ConnectionStatus::Pending));
    let updated = events(&site).into_iter().find(|event| event.kind == EventKind::ConnectionUpdated).unwrap();
    assert_eq!((updated.connection, updated.details["to"].as_str()), (Some(renamed.uuid), Some("Night (2)")));
    connections.update(own.uuid, |edit| edit.name = "Nightly (3)".into()).unwrap();
    assert_eq!(connections.find("Nightly (3)").unwrap().uuid, own.uuid);
    assert_eq!(connections.find("Nightly (3) (2)").unwrap().status, ConnectionStatus::Pending);
    connections.create(NewConnection::sender("Night", "https://night.example")).unwrap();
    assert_eq!(kind(connections.find("Night")), ErrorKind::InvalidInput);
}

#[test]
fn one_that_works_at_once_gives_its_name_up_too() {
    let (_folder, site, _) = site();
    let connections = site.connections();
    let asked = |number: usize, active| {
        let url = format!("https://{number}.example");
        let asked = Registration { name: "Nightly".into(), active, ..registration(&url, &Token::generate().unwrap()) };
        connections.by_peer(&format!("peer {url}")).register(asked).unwrap()
    };
    let at_once = asked(1, true);
    assert_eq!((at_once.name.as_str(), at_once.status), ("Nightly", ConnectionStatus::Active));
    connections.suspend(at_once.uuid, None).unwrap();
    let own = connections.create(receiver("Nightly", "https://own.example")).unwrap().connection;
    assert_eq!(connections.find("Nightly").unwrap(), own);
    assert_eq!(connections.find("Nightly (2)").unwrap().uuid, at_once.uuid);
    // Who approves one sees its name, which it then keeps.
    let approved = asked(2, false);
    assert_eq!(approved.name, "Nightly (3)");
    connections.approve(approved.uuid).unwrap();
    connections.create(receiver("Nightly (3)", "https://night.example")).unwrap();
    assert_eq!(kind(connections.find("Nightly (3)")), ErrorKind::InvalidInput);
}

#[test]
fn names_and_reasons_are_seen_as_they_are() {
    let (_folder, site, _) = site();
    for name in ["Night\u{200b}ly", "\u{202e}ylthgiN", "Nightly\u{2066}", "a\u{1b}[2J"] {
        assert_eq!(kind(ask(&site, "https://a.example", name, "")), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(
            kind(site.connections().create(receiver(name, "https://a.example"))),
            ErrorKind::InvalidInput,
            "{name:?}"
        );
    }
    let made = ask(&site, "https://a.example", "Nightly", "").unwrap();
    assert_eq!(kind(site.connections().update(made.uuid, |edit| edit.name = "a\u{feff}".into())), ErrorKind::InvalidInput);
    // What an older version took can still be changed.
    let old = "UPDATE rowferry_connections SET name = 'a\u{200d}b'";
    state::write(site.store_ref(), |sql| sql.execute(old, &[])).unwrap();
    let renamed = site.connections().update(made.uuid, |edit| edit.policy.auto_sync_enabled = true).unwrap();
    assert_eq!(renamed.name, "a\u{200d}b");
    let revoked = site.connections().by_peer("peer \u{202e}x").revoke(made.uuid, Some("\u{2066}sold\u{200d}out\n")).unwrap();
    assert_eq!(revoked.revoked_reason.as_deref(), Some("sold out"));
    assert_eq!(revoked.revoked_by.as_deref(), Some("peer  x"));
}
