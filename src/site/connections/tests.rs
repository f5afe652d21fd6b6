use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::clock::ManualClock;
use crate::domain::connection::{AllowedHours, ConnectionDirection, ConnectionFilter, ConnectionStatus, Policy};
use crate::domain::event::{Event, EventFilter};
use crate::domain::url::SiteUrl;
use crate::limits::Limits;
use crate::secret::Token;
use crate::state::{self, outbox};

/// A site with a clock that stands still.
pub(super) fn site() -> (tempfile::TempDir, Site, Arc<ManualClock>) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(datetime!(2026-01-02 03:04:05 UTC)));
    let site = open(folder.path(), &clock);
    (folder, site, clock)
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Site {
    Site::builder().clock(clock.clone()).open(folder.join("a.db")).unwrap()
}

fn sender(site: &Site) -> ConnectionWithToken {
    site.connections().create(NewConnection::sender("Backup", "https://backup.example")).unwrap()
}

pub(super) fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

pub(super) fn events(site: &Site) -> Vec<Event> {
    site.events().list(&EventFilter::new()).unwrap()
}

pub(super) fn registration(url: &str, token: &Token) -> Registration {
    let token = token.clone();
    Registration {
        site_url: SiteUrl::of_site(url).unwrap(),
        name: "Shop".into(),
        token,
        active: true,
        from: None,
        strategy: None,
    }
}

/// What waits in the outbox, in its order: the connection and the kind of message.
pub(super) fn waiting(site: &Site) -> Vec<(Uuid, String)> {
    let select = "SELECT connection, kind, coalesce(status, '') FROM rowferry_outbox ORDER BY id";
    let rows = state::read(site.store_ref(), |sql| sql.query(select, &[])).unwrap();
    let text = |row: &[crate::Value], column: usize| row[column].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, 0).parse().unwrap(), format!("{}{}", text(row, 1), text(row, 2)))).collect()
}

#[test]
fn a_connection_is_kept_with_every_field() {
    let (folder, site, clock) = site();
    let policy = Policy {
        approval_mode: crate::ApprovalMode::PerTable,
        allowed_tables: vec!["users".into(), "po'sts".into()],
        excluded_tables: vec!["secret".into()],
        auto_approve_tables: vec!["users".into()],
        expires_at: Some(datetime!(2027-01-01 00:00 UTC)),
        max_downloads: Some(100),
        max_records_total: Some(i64::MAX as u64),
        max_records_per_request: 5,
        rate_limit_requests_per_minute: 7,
        ip_whitelist: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        allowed_hours: Some(AllowedHours::new(22, 5).unwrap()),
        default_conflict_strategy: crate::Strategy::Merge,
        auto_sync_enabled: true,
        auto_sync_tables: vec!["users".into()],
        auto_sync_interval_minutes: 9,
    };
    let metadata = Metadata::from_iter([("note".to_owned(), serde_json::json!({"a": [1, null]}))]);
    let new = NewConnection::sender("Backup", "https://backup.example/app/")
        .policy(policy.clone())
        .metadata(metadata.clone())
        .download_password("hunter2");
    let made = site.connections().by(" alice\n").create(new).unwrap().connection;
    assert_eq!((&made.policy, &made.metadata), (&policy, &metadata));
    assert_eq!((made.created_by.as_str(), made.created_at), ("alice", site.now()));
    assert_eq!((made.site_url.as_str(), made.status), ("https://backup.example/app", ConnectionStatus::Active));
    assert!(made.has_download_password && made.uuid.get_version_num() == 7);
    assert_eq!((made.remaining_downloads(), made.remaining_records()), (Some(100), Some(i64::MAX as u64)));
    assert_eq!(open(folder.path(), &clock).connections().get(made.uuid).unwrap(), made);

    let connections = site.connections();
    assert!(connections.validate_download_password(made.uuid, "hunter2").unwrap());
    for wrong in ["hunter3", "", &"x".repeat(5_000)] {
        assert!(!connections.validate_download_password(made.uuid, wrong).unwrap());
    }
    connections.update(made.uuid, ConnectionEdit::clear_download_password).unwrap();
    assert!(connections.validate_download_password(made.uuid, "").unwrap(), "it needs none");
}

#[test]
fn what_cannot_be_connected_is_refused_and_leaves_nothing() {
    let (_folder, site, _) = site();
    site.settings().set_site_url("https://Shop.example/").unwrap();
    let connections = site.connections();
    let token = || Token::parse("a-token-of-another-site").unwrap();
    let backup = sender(&site);
    let count = |site: &Site| (site.connections().count(&ConnectionFilter::new()).unwrap(), events(site).len());
    let before = count(&site);
    let policy = Policy { max_records_per_request: 0, ..Policy::default() };
    for (new, expected) in [
        (NewConnection::sender("", "https://a.example"), ErrorKind::InvalidInput),
        (NewConnection::sender("a", "ftp://a.example"), ErrorKind::InvalidInput),
        (NewConnection::sender("a", "ws://a.example"), ErrorKind::InvalidInput),
        (NewConnection::sender("a", "https://a.example").policy(policy), ErrorKind::InvalidInput),
        (NewConnection::sender("a", "https://a.example").download_password(""), ErrorKind::InvalidInput),
        (NewConnection::sender("a", "https://a.example").download_password("x".repeat(1_025)), ErrorKind::InvalidInput),
        (NewConnection::sender("a", "http://127.0.0.1:7171"), ErrorKind::ForbiddenAddress),
        (NewConnection::sender("a", "http://0x7f.1"), ErrorKind::ForbiddenAddress),
        (NewConnection::receiver("a", "http://localhost", token()), ErrorKind::ForbiddenAddress),
        (NewConnection::sender("a", "https://shop.example."), ErrorKind::SelfConnection),
        (NewConnection::receiver("a", "https://a.example", backup.token.clone()), ErrorKind::SelfConnection),
        (NewConnection::sender("a", "HTTPS://Backup.example:443/"), ErrorKind::AlreadyExists),
    ] {
        assert_eq!(kind(connections.create(new)), expected);
    }
    let peer = connections.by_peer("peer https://a.example");
    assert_eq!(kind(peer.register(registration("https://a.example", &backup.token))), ErrorKind::SelfConnection);
    assert_eq!(kind(peer.register(registration("https://shop.example", &token()))), ErrorKind::SelfConnection);
    assert_eq!(kind(peer.register(registration("http://10.0.0.1", &token()))), ErrorKind::ForbiddenAddress);
    assert_eq!(count(&site), before);

    site.settings().set_allow_internal_urls(true).unwrap();
    peer.register(registration("http://10.0.0.1", &token())).unwrap();
    let replay = peer.register(registration("http://10.0.0.1", &Token::generate().unwrap()));
    assert_eq!(kind(replay), ErrorKind::AlreadyExists, "registration never overwrites");
    assert_eq!(kind(peer.register(registration("https://b.example", &token()))), ErrorKind::AlreadyExists);
    // The other direction with the same site is another connection.
    assert!(connections.create(NewConnection::sender("a", "http://10.0.0.1")).is_ok());
    assert_eq!(waiting(&site), []);
}

#[test]
fn a_storm_of_registrations_ends_at_the_limit() {
    let (folder, _, clock) = site();
    let limits = Limits::with(|limits| limits.server.registered = 3);
    let site = Site::builder().clock(clock).limits(limits).open(folder.path().join("a.db")).unwrap();
    let register = |number: usize| {
        let url = format!("https://{number}.site.example");
        site.connections().by_peer("peer").register(registration(&url, &Token::generate().unwrap()))
    };
    for number in 0..3 {
        assert_eq!(register(number).unwrap().status, ConnectionStatus::Active);
    }
    assert_eq!(kind(register(3)), ErrorKind::Refused);
    let own = NewConnection::receiver("own", "https://own.example", Token::generate().unwrap());
    assert!(site.connections().create(own).is_ok(), "the owner may");
}

#[test]
fn connections_are_found_in_every_way() {
    let (_folder, site, _) = site();
    let connections = site.connections();
    let a = sender(&site);
    let token = Token::generate().unwrap();
    let b = connections.create(NewConnection::receiver("Shop", "https://shop.example", token.clone()).pending()).unwrap();
    assert_eq!(b.connection.status, ConnectionStatus::Pending);
    let same = connections.create(NewConnection::sender("Shop", "https://other.example")).unwrap();
    use ConnectionDirection::{Receiver, Sender};
    let uuid = |found: Result<Option<Connection>>| found.unwrap().map(|connection| connection.uuid);
    let (a_uuid, b_uuid) = (Some(a.connection.uuid), Some(b.connection.uuid));
    let hash = |token: &Token| token.credential().as_str().to_owned();

    assert_eq!(connections.find("Backup").unwrap().uuid, a.connection.uuid);
    assert_eq!(connections.find(&format!(" {} ", b.connection.uuid)).unwrap().uuid, b.connection.uuid);
    assert_eq!(kind(connections.find("Shop")), ErrorKind::InvalidInput, "two are named so");
    for unknown in ["backup", "", &Uuid::nil().to_string()] {
        assert_eq!(kind(connections.find(unknown)), ErrorKind::NotFound);
    }
    assert_eq!(kind(connections.get(Uuid::nil())), ErrorKind::NotFound);

    assert_eq!(uuid(connections.find_by_token(a.token.as_str())), a_uuid);
    assert_eq!(uuid(connections.find_by_token(token.as_str())), b_uuid);
    assert_eq!(uuid(connections.find_by_token("nonsense\0")), None);
    assert_eq!(uuid(connections.find_by_site_url("HTTPS://backup.example:443/", Sender)), a_uuid);
    assert_eq!(uuid(connections.find_by_site_url("https://backup.example", Receiver)), None);
    assert_eq!(uuid(connections.find_by_site_url("nonsense", Sender)), None);
    assert_eq!(uuid(connections.find_by_site_url_and_hash("https://shop.example/", &hash(&token))), b_uuid);
    assert_eq!(uuid(connections.find_by_site_url_and_hash("https://backup.example", &hash(&a.token))), a_uuid);
    assert_eq!(uuid(connections.find_by_site_url_and_hash("https://backup.example", &hash(&token))), None);
    assert_eq!(uuid(connections.find_by_hash(&hash(&a.token), Sender)), a_uuid);
    assert_eq!(uuid(connections.find_by_hash(&hash(&a.token), Receiver)), None);
    let stored = a.token.credential().lookup();
    assert_eq!(uuid(connections.find_by_hash(&stored, Sender)), None, "what is stored is no credential");
    assert_eq!(kind(connections.validate(&stored, None)), ErrorKind::InvalidToken);
    assert_eq!(kind(connections.validate(&hash(&a.token), None)), ErrorKind::InvalidToken);
    assert_eq!(kind(connections.validate(token.as_str(), None)), ErrorKind::InvalidToken, "it is for pulling from here");

    let listed = |filter: ConnectionFilter| {
        connections.list(&filter).unwrap().into_iter().map(|connection| connection.uuid).collect::<Vec<_>>()
    };
    let all = [a.connection.uuid, b.connection.uuid, same.connection.uuid];
    assert_eq!(listed(ConnectionFilter::new()), all);
    assert_eq!(listed(ConnectionFilter::new().offset(1).limit(1)), all[1..2]);
    assert!(listed(ConnectionFilter::new().limit(0)).is_empty());
    assert_eq!(listed(ConnectionFilter::new().direction(Sender)), [all[0], all[2]]);
    assert_eq!(listed(ConnectionFilter::new().status(ConnectionStatus::Pending)), all[1..2]);
    let both = ConnectionFilter::new().direction(Sender).status(ConnectionStatus::Pending).offset(7);
    assert_eq!((listed(both.clone()), connections.count(&both).unwrap()), (vec![], 0));
    assert_eq!(connections.count(&ConnectionFilter::new().limit(1).offset(2)).unwrap(), 3);
}

#[test]
fn a_token_is_judged_in_a_fixed_order() {
    let (_folder, site, clock) = site();
    let connections = site.connections();
    let made = sender(&site);
    let uuid = made.connection.uuid;
    let judge = |address: Option<&str>| {
        let address = address.map(|address| address.parse::<IpAddr>().unwrap());
        connections.validate(made.token.as_str(), address).err().map(|error| error.code())
    };
    assert_eq!(judge(None), None);
    // From the last in the order to the first, each on top of those before.
    connections.update(uuid, |edit| edit.policy.allowed_hours = Some(AllowedHours::new(10, 11).unwrap())).unwrap();
    assert_eq!(judge(None), Some("outside_allowed_hours"));
    connections.update(uuid, |edit| edit.policy.ip_whitelist = vec!["192.0.2.0/24".parse().unwrap()]).unwrap();
    assert_eq!(judge(None), Some("ip_not_allowed"));
    assert_eq!(judge(Some("192.0.3.1")), Some("ip_not_allowed"));
    assert_eq!(judge(Some("::ffff:192.0.2.1")), Some("outside_allowed_hours"));
    connections.update(uuid, |edit| edit.policy.max_records_total = Some(7)).unwrap();
    connections.record_transfer(uuid, 7, 70).unwrap();
    assert_eq!(judge(None), Some("record_limit_reached"));
    connections.update(uuid, |edit| edit.policy.max_downloads = Some(1)).unwrap();
    assert_eq!(judge(None), Some("download_limit_reached"));
    connections.update(uuid, |edit| edit.policy.expires_at = Some(datetime!(2026-01-02 03:04:06 UTC))).unwrap();
    assert_eq!(judge(None), Some("download_limit_reached"));
    clock.advance(Duration::from_secs(1));
    assert_eq!(judge(None), Some("connection_expired"));
    connections.suspend(uuid, None).unwrap();
    assert_eq!(judge(None), Some("connection_not_active"));
    connections.delete(uuid).unwrap();
    assert_eq!(judge(None), Some("invalid_token"));
}

#[test]
fn steps_keep_who_when_and_why() {
    let (_folder, site, clock) = site();
    let made = site.connections().create(NewConnection::sender("a", "https://a.example").pending()).unwrap();
    let uuid = made.connection.uuid;
    let bob = site.connections().by("bob");
    let approved = bob.approve(uuid).unwrap();
    assert_eq!((approved.approved_by.as_deref(), approved.approved_at), (Some("bob"), Some(site.now())));
    clock.advance(Duration::from_secs(60));
    let why = format!(" too\tmuch {}", "x".repeat(2_000));
    let suspended = bob.suspend(uuid, Some(&why)).unwrap();
    let reason = suspended.suspended_reason.unwrap();
    assert!(reason.starts_with("too much x") && reason.chars().count() == 1_000);
    assert_eq!((suspended.suspended_by.as_deref(), suspended.suspended_at), (Some("bob"), Some(site.now())));
    assert_eq!(bob.reactivate(uuid).unwrap().status, ConnectionStatus::Active);
    let revoked = bob.revoke(uuid, Some("  ")).unwrap();
    assert_eq!((revoked.revoked_by.as_deref(), revoked.revoked_reason), (Some("bob"), None));
    for refused in [bob.approve(uuid), bob.suspend(uuid, None), bob.reactivate(uuid), bob.revoke(uuid, None)] {
        assert_eq!(kind(refused), ErrorKind::InvalidTransition);
    }
    assert_eq!(kind(bob.regenerate_token(uuid)), ErrorKind::InvalidTransition);
    let events = events(&site);
    assert_eq!(events.iter().filter(|event| event.actor == "bob").count(), 4);
    assert!(events.iter().all(|event| event.connection == Some(uuid)));
    assert_eq!(
        serde_json::Value::Object(events[3].details.clone()),
        serde_json::json!({"from": "suspended", "to": "active"})
    );
    assert_eq!(kind(bob.suspend(Uuid::nil(), None)), ErrorKind::NotFound);
    assert_eq!(kind(bob.delete(Uuid::nil())), ErrorKind::NotFound);
}

#[test]
fn the_other_site_lifts_only_what_it_put_on() {
    let (_folder, site, _) = site();
    let uuid = sender(&site).connection.uuid;
    let (own, peer) = (site.connections(), site.connections().by_peer("peer https://backup.example"));
    peer.suspend(uuid, None).unwrap();
    assert_eq!(peer.reactivate(uuid).unwrap().status, ConnectionStatus::Active);
    assert_eq!(waiting(&site), [], "it knows");
    let before = events(&site).len();
    assert_eq!(peer.reactivate(uuid).unwrap().status, ConnectionStatus::Active, "it is so already");
    assert_eq!(events(&site).len(), before);

    own.suspend(uuid, None).unwrap();
    assert_eq!(kind(peer.reactivate(uuid)), ErrorKind::InvalidTransition);
    assert_eq!(peer.suspend(uuid, None).unwrap().suspended_by.as_deref(), Some("host"), "it stays the own one");
    assert_eq!(kind(peer.reactivate(uuid)), ErrorKind::InvalidTransition);
    own.reactivate(uuid).unwrap();

    peer.suspend(uuid, None).unwrap();
    assert_eq!(own.suspend(uuid, Some("mine")).unwrap().suspended_by.as_deref(), Some("host"), "taken over");
    assert_eq!(kind(own.suspend(uuid, None)), ErrorKind::InvalidTransition);
    assert_eq!(kind(peer.reactivate(uuid)), ErrorKind::InvalidTransition);
    assert_eq!(waiting(&site), [(uuid, "statussuspended".to_owned())], "the newest only");

    peer.revoke(uuid, None).unwrap();
    assert_eq!(kind(peer.reactivate(uuid)), ErrorKind::InvalidTransition);
    peer.delete(uuid).unwrap();
    assert_eq!(waiting(&site), [], "there is nobody to be told");
    let asked =
        peer.register(Registration { active: false, ..registration("https://shop.example", &Token::generate().unwrap()) });
    let asked = asked.unwrap();
    assert_eq!((asked.status, asked.direction), (ConnectionStatus::Pending, ConnectionDirection::Receiver));
    assert_eq!(asked.created_by, "peer https://backup.example");
    assert_eq!(kind(peer.approve(asked.uuid)), ErrorKind::InvalidTransition, "only the owner approves it");
    assert_eq!(kind(peer.suspend(asked.uuid, None)), ErrorKind::InvalidTransition);
    assert_eq!(own.approve(asked.uuid).unwrap().status, ConnectionStatus::Active);
    let new = NewConnection::sender("b", "https://b.example").pending();
    let pending = own.create(new).unwrap().connection.uuid;
    assert_eq!(peer.approve(pending).unwrap().status, ConnectionStatus::Active, "by being asked how it stands");
}

#[test]
fn what_has_passed_expires_and_comes_back_when_the_policy_allows_it() {
    let (_folder, site, clock) = site();
    let connections = site.connections();
    let create = |name: &str, change: fn(&mut Policy)| {
        let mut policy = Policy::default();
        change(&mut policy);
        let new = NewConnection::sender(name, format!("https://{name}.example")).policy(policy);
        connections.create(new).unwrap().connection.uuid
    };
    let soon = |policy: &mut Policy| policy.expires_at = Some(datetime!(2026-01-02 03:05:05 UTC));
    let date = create("date", soon);
    let suspended = create("suspended", soon);
    connections.suspend(suspended, None).unwrap();
    let downloads = create("downloads", |policy| policy.max_downloads = Some(1));
    let records = create("records", |policy| policy.max_records_total = Some(10));
    let free = create("free", |_| ());
    let named = |connections: Vec<Connection>| connections.into_iter().map(|c| c.name).collect::<Vec<_>>();
    assert_eq!(named(connections.expiring_soon(Duration::from_secs(60)).unwrap()), ["date"]);
    assert!(connections.expiring_soon(Duration::from_secs(59)).unwrap().is_empty());
    assert_eq!(connections.expire().unwrap(), 0);

    connections.record_transfer(downloads, 1, 1).unwrap();
    connections.record_transfer(records, 10, 1).unwrap();
    connections.record_transfer(free, 1 << 40, 1).unwrap();
    // A pull that runs may go on with what it took.
    let running = "INSERT INTO rowferry_transfers (uuid, direction, connection, table_name, records_transferred, \
        records_created, records_updated, records_skipped, records_failed, bytes_transferred, status, requires_approval, \
        touched_at, metadata, inserted_at) VALUES ('t', 'send', ?1, 'users', 0, 0, 0, 0, 0, 0, 'in_progress', 0, '', '{}', '')";
    site.change(|sql| sql.execute(running, &[records.to_string().into()])).unwrap();
    clock.advance(Duration::from_secs(60));
    assert_eq!(connections.expire().unwrap(), 3);
    site.change(|sql| sql.execute("DELETE FROM rowferry_transfers", &[])).unwrap();
    assert_eq!(connections.expire().unwrap(), 1);
    assert_eq!(connections.expire().unwrap(), 0);
    assert_eq!(connections.get(free).unwrap().status, ConnectionStatus::Active);
    assert!(connections.expiring_soon(Duration::MAX).unwrap().is_empty());
    let expired: Vec<_> = events(&site).into_iter().filter(|event| event.kind == EventKind::ConnectionExpired).collect();
    assert!(expired.len() == 4 && expired.iter().all(|event| event.actor == "maintenance"));
    let reasons: BTreeSet<_> = expired.iter().map(|event| event.details["reason"].as_str().unwrap()).collect();
    assert_eq!(Vec::from_iter(reasons), ["connection_expired", "download_limit_reached", "record_limit_reached"]);
    assert_eq!(waiting(&site).len(), 1, "only the suspension is told");

    for (uuid, refused, change) in [
        (date, ErrorKind::ConnectionExpired, (|policy| policy.expires_at = None) as fn(&mut Policy)),
        (suspended, ErrorKind::ConnectionExpired, |policy| policy.expires_at = None),
        (downloads, ErrorKind::DownloadLimit, |policy| policy.max_downloads = Some(2)),
        (records, ErrorKind::RecordLimit, |policy| policy.max_records_total = Some(11)),
    ] {
        assert_eq!(connections.get(uuid).unwrap().status, ConnectionStatus::Expired);
        assert_eq!(kind(connections.reactivate(uuid)), refused);
        connections.update(uuid, |edit| change(&mut edit.policy)).unwrap();
        assert_eq!(connections.reactivate(uuid).unwrap().status, ConnectionStatus::Active);
    }
}

#[test]
fn edits_at_once_all_hold() {
    let (_folder, site, clock) = site();
    let connections = site.connections();
    let uuid = sender(&site).connection.uuid;
    let note = |key: &str| Metadata::from_iter([(key.to_owned(), "noted".into())]);
    connections.update(uuid, |edit| edit.metadata = note("old")).unwrap();
    clock.advance(Duration::from_secs(5));
    // Others change it while this one is thinking.
    let edited = connections.update(uuid, |edit| {
        connections.update(uuid, |edit| edit.policy.max_downloads = Some(5)).unwrap();
        connections.update(uuid, |edit| edit.metadata.extend(note("theirs"))).unwrap();
        connections.note_notification(uuid, note("status")).unwrap();
        connections.suspend(uuid, None).unwrap();
        edit.name = "Renamed".into();
        edit.metadata = note("mine");
    });
    let edited = edited.unwrap();
    assert_eq!((edited.name.as_str(), edited.policy.max_downloads), ("Renamed", Some(5)));
    assert_eq!((edited.status, edited.updated_at), (ConnectionStatus::Suspended, site.now()));
    assert_eq!(edited.metadata.keys().collect::<Vec<_>>(), ["mine", "notification", "theirs"]);
    assert_eq!(edited.metadata["notification"]["status"], "noted");
    assert_eq!(events(&site).last().unwrap().details["changed"], serde_json::json!(["name", "metadata"]));

    let before = events(&site).len();
    assert_eq!(connections.update(uuid, |_| ()).unwrap(), edited);
    assert_eq!(events(&site).len(), before, "nothing was changed");
    let other = connections.create(NewConnection::sender("other", "https://other.example")).unwrap().connection;
    let moved = |url: &'static str| connections.update(uuid, move |edit| edit.site_url = url.into());
    assert_eq!(kind(moved("https://other.example/")), ErrorKind::AlreadyExists);
    assert_eq!(kind(moved("http://192.168.0.1")), ErrorKind::ForbiddenAddress);
    assert_eq!(kind(moved("nonsense")), ErrorKind::InvalidInput);
    site.settings().set_site_url("https://me.example").unwrap();
    assert_eq!(kind(moved("https://me.example")), ErrorKind::SelfConnection);
    assert_eq!(moved("https://moved.example").unwrap().site_url, "https://moved.example");
    let next = state::read(site.store_ref(), |sql| outbox::next_of(sql, uuid)).unwrap().unwrap();
    assert_eq!(next.site_url, "https://moved.example", "what waits goes there");
    assert_eq!(kind(connections.update(other.uuid, |edit| edit.name.clear())), ErrorKind::InvalidInput);
    let large = connections.update(other.uuid, |edit| edit.metadata = note(&"x".repeat(70_000)));
    assert_eq!(kind(large), ErrorKind::InvalidInput);
    assert_eq!(connections.get(other.uuid).unwrap(), other);
}

#[test]
fn rotated_tokens_replace_old_ones_on_both_sides() {
    let (_folder, site, _) = site();
    let connections = site.connections();
    let first = sender(&site);
    let uuid = first.connection.uuid;
    let second = connections.regenerate_token(uuid).unwrap();
    let third = connections.regenerate_token(uuid).unwrap();
    assert!(second.queued && third.queued);
    for old in [&first.token, &second.token] {
        assert_eq!(kind(connections.validate(old.as_str(), None)), ErrorKind::InvalidToken);
    }
    assert!(connections.validate(third.token.as_str(), None).is_ok());
    assert_eq!(connections.credential(uuid).unwrap().as_str(), third.token.credential().as_str());
    assert_eq!(kind(connections.token(uuid)), ErrorKind::InvalidInput);
    connections.delete(uuid).unwrap();

    // The other site is told in the order in which it can understand.
    let mut told = Vec::new();
    while let Some(message) = state::read(site.store_ref(), |sql| outbox::next_of(sql, uuid)).unwrap() {
        let credential = connections.outgoing_credential(&message).unwrap();
        let token = match &message.message {
            outbox::Message::Rotate { token_sealed } => Some(connections.outgoing_token(uuid, token_sealed).unwrap()),
            _ => None,
        };
        told.push((credential.as_str().to_owned(), token.map(|token| token.as_str().to_owned())));
        assert!(site.change(|sql| outbox::done(sql, message.id)).unwrap());
    }
    let hash = |made: &ConnectionWithToken| made.token.credential().as_str().to_owned();
    let text = |made: &ConnectionWithToken| Some(made.token.as_str().to_owned());
    let expected = [(hash(&first), text(&second)), (hash(&second), text(&third)), (hash(&third), None)];
    assert_eq!(told, expected);

    let old = Token::generate().unwrap();
    let receiver = connections.create(NewConnection::receiver("Shop", "https://shop.example", old.clone())).unwrap();
    let receiver = receiver.connection.uuid;
    assert_eq!(connections.token(receiver).unwrap().as_str(), old.as_str());
    assert_eq!(kind(connections.regenerate_token(receiver)), ErrorKind::InvalidInput);
    let new = Token::generate().unwrap();
    connections.by_peer("peer https://shop.example").set_token(receiver, new.clone()).unwrap();
    assert_eq!(connections.token(receiver).unwrap().as_str(), new.as_str());
    assert_eq!(connections.credential(receiver).unwrap().as_str(), new.credential().as_str());
    assert!(connections.find_by_token(old.as_str()).unwrap().is_none());
    let own = sender(&site);
    assert_eq!(kind(connections.set_token(receiver, own.token.clone())), ErrorKind::SelfConnection);
    assert_eq!(kind(connections.set_token(own.connection.uuid, new.clone())), ErrorKind::InvalidInput);
    let other = connections.create(NewConnection::receiver("b", "https://b.example", old.clone())).unwrap().connection;
    assert_eq!(kind(connections.set_token(other.uuid, new)), ErrorKind::AlreadyExists);
    let rotated = events(&site).iter().filter(|event| event.kind == EventKind::ConnectionTokenRotated).count();
    assert_eq!(rotated, 3);
    assert_eq!(kind(connections.regenerate_token(Uuid::nil())), ErrorKind::NotFound);
}

#[test]
fn a_lost_key_costs_what_was_sealed_and_nothing_else() {
    let (folder, site, _) = site();
    let connections = site.connections();
    let made = sender(&site);
    let uuid = made.connection.uuid;
    let shop = NewConnection::receiver("Shop", "https://shop.example", Token::generate().unwrap());
    let receiver = connections.create(shop).unwrap().connection.uuid;
    connections.suspend(receiver, None).unwrap();
    std::fs::remove_file(folder.path().join("a.db.rowferry-key")).unwrap();
    site.reset_key().unwrap();
    assert_eq!(waiting(&site), [], "what cannot be opened cannot be sent");
    assert!(connections.validate(made.token.as_str(), None).is_ok(), "the other site goes on");
    for lost in
        [connections.credential(uuid).err(), connections.credential(receiver).err(), connections.token(receiver).err()]
    {
        let lost = lost.unwrap();
        assert_eq!(lost.kind(), ErrorKind::SiteKey);
        assert!(lost.hint().unwrap().contains("rotate"));
    }
    connections.suspend(uuid, None).unwrap();
    connections.reactivate(uuid).unwrap();
    let new = connections.regenerate_token(uuid).unwrap();
    assert!(!new.queued, "by hand");
    assert!(connections.regenerate_token(uuid).unwrap().queued, "this one can be told");
    connections.set_token(receiver, Token::parse("by-hand").unwrap()).unwrap();
    assert_eq!(connections.token(receiver).unwrap().as_str(), "by-hand");
}

#[test]
fn counters_add_up() {
    let (_folder, site, _) = site();
    let connections = site.connections();
    let uuid = sender(&site).connection.uuid;
    connections.record_transfer(uuid, 10, 1_000).unwrap();
    connections.record_transfer(uuid, u64::MAX, u64::MAX).unwrap();
    connections.record_transfer(uuid, 1, 1).unwrap();
    connections.touch_connected(uuid).unwrap();
    let counted = connections.get(uuid).unwrap();
    let most = i64::MAX as u64;
    assert_eq!((counted.downloads_used, counted.records_downloaded, counted.total_transfers), (3, most, 3));
    assert_eq!((counted.total_records_transferred, counted.total_bytes_transferred), (most, most), "they stop at the top");
    assert_eq!((counted.last_connected_at, counted.last_transfer_at), (Some(site.now()), Some(site.now())));
    assert_eq!(kind(connections.record_transfer(Uuid::nil(), 1, 1)), ErrorKind::NotFound);
    assert_eq!(kind(connections.touch_connected(Uuid::nil())), ErrorKind::NotFound);
}

#[test]
fn nothing_kept_or_shown_gives_a_secret_away() {
    let (folder, site, _) = site();
    let connections = site.connections();
    let new = NewConnection::sender("Backup", "https://backup.example").download_password("correct-horse-1");
    let shown = format!("{new:?}");
    let made = connections.create(new).unwrap();
    let shop = Token::generate().unwrap();
    let receiver = connections.by_peer("peer").register(registration("https://shop.example", &shop)).unwrap();
    let rotated = connections.regenerate_token(made.connection.uuid).unwrap();
    let edited = connections.update(made.connection.uuid, |edit| {
        edit.set_download_password("correct-horse-2");
        assert!(!format!("{edit:?}").contains("correct-horse"));
    });
    connections.suspend(receiver.uuid, None).unwrap();
    let waiting = state::read(site.store_ref(), |sql| outbox::due(sql, site.now(), 10)).unwrap();
    assert_eq!(waiting.len(), 2);
    let stored = state::read(site.store_ref(), |sql| connections_stored(sql, receiver.uuid)).unwrap();
    let shown = format!("{shown} {made:?} {rotated:?} {edited:?} {waiting:?} {stored:?} {:?}", events(&site));
    let listed = serde_json::to_string(&connections.list(&ConnectionFilter::new()).unwrap()).unwrap();

    let mut secrets = vec!["correct-horse".to_owned()];
    for token in [&made.token, &rotated.token, &shop] {
        secrets.extend([token.as_str().to_owned(), token.credential().as_str().to_owned()]);
    }
    let mut kept = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        kept.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has(&kept, "https://backup.example"), "the search finds what is there");
    assert!(has(&kept, &shop.credential().lookup()));
    for secret in &secrets {
        assert!(!has(&kept, secret) && !shown.contains(secret.as_str()) && !listed.contains(secret.as_str()));
    }
    assert!(!shown.contains(&shop.credential().lookup()) && !shown.contains("1:"), "sealed and looked-up forms stay inside");
}

#[test]
fn tables_that_a_policy_names_and_nobody_has_are_told() {
    let (folder, site, _) = site();
    let sqlite = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
    sqlite.execute_batch("CREATE TABLE users (id); CREATE TABLE posts (id);").unwrap();
    let policy = Policy {
        allowed_tables: vec!["USERS".into(), "post".into(), "rowferry_settings".into()],
        excluded_tables: vec!["post".into(), "customers".into()],
        ..Policy::default()
    };
    let near = |name: &str, near: Option<&str>| (name.to_owned(), near.map(str::to_owned));
    let expected = [near("post", Some("posts")), near("rowferry_settings", None), near("customers", None)];
    assert_eq!(site.connections().unknown_tables(&policy).unwrap(), expected);
}

fn connections_stored(sql: &mut dyn Sql, uuid: Uuid) -> Result<Option<connections::Stored>> {
    connections::stored(sql, uuid)
}
