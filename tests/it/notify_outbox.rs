//! The outbox: what happens to a connection here reaches the other site once, in order, and later if it must.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::time::Duration;

use crate::support::notify_peer::{Asked, FakePeer, Reply, no, no_route, nobody, ok};
use rowferry::{
    CancelToken, ConnectOptions, ConnectionStatus, ConnectionWithToken, DeliveryOutcome, DeliveryReport, ErrorKind, Event,
    EventFilter, EventKind, Limits, ManualClock, NewConnection, NotifyOutcome, PeerStatus, RemoteStatus, Site, Token,
};
use serde_json::json;
use tempfile::TempDir;
use time::macros::datetime;
use uuid::Uuid;

const OWN: &str = "http://127.0.0.1:4802";

struct Home {
    folder: TempDir,
    clock: Arc<ManualClock>,
    site: Site,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(datetime!(2026-01-02 03:04:05 UTC)));
        let site = open(&folder, &clock);
        site.settings().set_allow_internal_urls(true).unwrap();
        site.settings().set_site_url(OWN).unwrap();
        Home { folder, clock, site }
    }

    /// The site as another process has it.
    fn again(&self) -> Site {
        open(&self.folder, &self.clock)
    }

    fn sender(&self, url: &str) -> ConnectionWithToken {
        self.site.connections().create(NewConnection::sender("Backup", url)).unwrap()
    }

    /// The new token.
    fn rotate(&self, uuid: Uuid) -> Token {
        self.site.connections().regenerate_token(uuid).unwrap().token
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("a.db")).unwrap()
    }

    /// How many messages wait.
    fn waiting(&self) -> u64 {
        self.site.notifier(options()).pending().unwrap()
    }

    fn notified(&self) -> Vec<Event> {
        let filter = EventFilter::new().kinds([EventKind::ConnectionNotified]);
        self.site.events().list(&filter).unwrap()
    }

    /// What became of the messages, as the events tell it.
    fn outcomes(&self) -> Vec<String> {
        let text = |event: &Event, key: &str| event.details[key].as_str().unwrap().to_owned();
        self.notified().iter().map(|event| format!("{} {}", text(event, "call"), text(event, "outcome"))).collect()
    }
}

fn open(folder: &TempDir, clock: &Arc<ManualClock>) -> Site {
    let clock: Arc<ManualClock> = Arc::clone(clock);
    Site::builder().clock(clock).open(folder.path().join("a.db")).unwrap()
}

fn deliver(site: &Site) -> DeliveryReport {
    site.notifier(options()).deliver().unwrap()
}

fn options() -> ConnectOptions {
    ConnectOptions::default().connect_timeout(Duration::from_secs(20)).request_timeout(Duration::from_secs(20))
}

fn counts(delivered: &DeliveryReport) -> (u64, u64, u64, u64) {
    assert_eq!(delivered.messages.len() as u64, delivered.sent + delivered.refused + delivered.waiting + delivered.given_up);
    (delivered.sent, delivered.refused, delivered.waiting, delivered.given_up)
}

/// A good answer to whatever does not ask for one of its own.
fn done() -> Reply {
    ok(json!({"message": "Done", "success": true}))
}

fn registered() -> Reply {
    ok(json!({"connection_status":"active","connection_uuid":"01a1fd45-5c02-7cb2-bf0b-f8e2e8e27121",
        "message":"Connection registered and activated","success":true}))
}

/// A site of PhoenixKit, which does not know that tokens are rotated.
fn reference(asked: &Asked) -> Reply {
    match asked.call() {
        "status" => ok(json!({"enabled":true,"incoming_mode":"auto_accept","password_required":false})),
        "rotate-token" => no_route(),
        "register-connection" => registered(),
        _ => done(),
    }
}

#[test]
fn the_newest_status_is_sent_and_then_nothing_more() {
    let peer = FakePeer::new(|_| done());
    let home = Home::new();
    let uuid = home.sender(&peer.url()).connection.uuid;
    let connections = home.site.connections();
    connections.suspend(uuid, Some("holidays")).unwrap();
    connections.reactivate(uuid).unwrap();
    connections.revoke(uuid, None).unwrap();
    let delivered = deliver(&home.site);
    assert_eq!(counts(&delivered), (1, 0, 0, 0));
    let message = &delivered.messages[0];
    assert_eq!((message.connection, message.site_url.as_str(), message.call), (uuid, peer.url().as_str(), "status"));
    let [asked] = &peer.asked()[..] else { panic!("{:?}", peer.calls()) };
    assert_eq!((asked.call(), asked.field("status"), asked.field("sender_url")), ("update-status", "revoked", OWN));
    assert_eq!(counts(&deliver(&home.site)), (0, 0, 0, 0));
    assert_eq!((home.waiting(), home.outcomes()), (0, vec!["status sent".to_owned()]));
    let event = &home.notified()[0];
    assert_eq!((event.connection, &event.details["status"]), (Some(uuid), &json!("revoked")));
}

#[test]
fn a_deleted_connection_still_says_so() {
    let peer = FakePeer::new(|_| done());
    let home = Home::new();
    let made = home.sender(&peer.url());
    let token = Token::generate().unwrap();
    let received = home.site.connections().create(NewConnection::receiver("r", peer.url(), token)).unwrap();
    for uuid in [made.connection.uuid, received.connection.uuid] {
        home.site.connections().delete(uuid).unwrap();
    }
    assert_eq!(counts(&deliver(&home.site)), (2, 0, 0, 0));
    assert_eq!(peer.calls(), ["delete-connection"; 2]);
    let hashes: Vec<_> = peer.asked().iter().map(|asked| asked.field("auth_token_hash").to_owned()).collect();
    assert!(hashes[0] != hashes[1] && hashes.iter().all(|hash| hash.len() == 64));
    // That the other site has it no more is as it should be, but nobody was told.
    let gone = FakePeer::new(|_| no(404, "Connection not found"));
    let uuid = home.sender(&gone.url()).connection.uuid;
    home.site.connections().delete(uuid).unwrap();
    let delivered = home.site.notifier(options()).deliver_to(uuid).unwrap();
    assert_eq!((counts(&delivered), home.waiting()), ((0, 1, 0, 0), 0));
    assert_eq!(delivered.messages[0].error.as_ref().unwrap().kind(), rowferry::ErrorKind::NotFound);
    assert_eq!(gone.calls(), ["delete-connection"; 2], "with a slash and without");
}

/// A site of PhoenixKit keeps URLs as they were typed.
#[test]
fn a_connection_that_is_kept_under_a_url_with_a_slash_is_found() {
    let peer = FakePeer::new(|asked| match asked.field("sender_url").ends_with('/') {
        true => done(),
        false => no(404, "Connection not found"),
    });
    let home = Home::new();
    let uuid = home.sender(&peer.url()).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    assert_eq!(counts(&deliver(&home.site)), (1, 0, 0, 0));
    home.site.connections().delete(uuid).unwrap();
    assert_eq!(counts(&deliver(&home.site)), (1, 0, 0, 0));
    assert_eq!(peer.calls(), ["update-status", "update-status", "delete-connection", "delete-connection"]);
}

#[test]
fn what_cannot_be_sent_waits_longer_each_time_and_survives_a_restart() {
    let mut home = Home::new();
    let url = nobody();
    let uuid = home.sender(&url).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    let delivered = deliver(&home.site);
    assert_eq!(counts(&delivered), (0, 0, 1, 0));
    assert_eq!(delivered.messages[0].error.as_ref().unwrap().kind(), ErrorKind::Unreachable);
    assert!(delivered.messages[0].next_at.unwrap() >= datetime!(2026-01-02 03:05:05 UTC));
    for seconds in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
        home.wait(seconds - 1);
        assert_eq!(counts(&deliver(&home.site)), (0, 0, 0, 0), "not due {seconds} s after the last time");
        home.wait(2 + seconds / 10);
        home.site = home.again();
        assert_eq!(counts(&deliver(&home.site)), (0, 0, 1, 0), "due {seconds} s after the last time");
    }
    assert!(home.outcomes().is_empty(), "waiting is no event");
    // The one who has just changed it need not wait.
    let peer = FakePeer::at(url.trim_start_matches("http://"), |_| done());
    assert_eq!(counts(&deliver(&home.site)), (0, 0, 0, 0));
    assert_eq!(counts(&home.site.notifier(options()).deliver_to(uuid).unwrap()), (1, 0, 0, 0));
    assert_eq!((peer.calls(), home.waiting()), (vec!["update-status".to_owned()], 0));
    assert_eq!(home.notified()[0].details["attempts"], json!(10));
}

#[test]
fn a_clock_that_is_set_back_does_not_hold_a_message_up() {
    let home = Home::new();
    let url = nobody();
    let uuid = home.sender(&url).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    assert_eq!(counts(&deliver(&home.site)), (0, 0, 1, 0));
    let clock = Arc::new(ManualClock::new(datetime!(2025-12-02 03:04:05 UTC)));
    let earlier = open(&home.folder, &clock);
    assert_eq!(counts(&deliver(&earlier)), (0, 0, 1, 0));
    assert_eq!(counts(&deliver(&earlier)), (0, 0, 0, 0));
}

#[test]
fn final_answers_end_a_message_and_others_do_not() {
    for (status, text) in [
        (404, "Connection not found"),
        (409, "The connection is revoked"),
        (400, "Invalid status value"),
        (401, "Invalid connection"),
    ] {
        let peer = FakePeer::new(move |_| no(status, text));
        let home = Home::new();
        let uuid = home.sender(&peer.url()).connection.uuid;
        home.site.connections().suspend(uuid, None).unwrap();
        let delivered = deliver(&home.site);
        assert_eq!((counts(&delivered), home.waiting()), ((0, 1, 0, 0), 0), "{status}");
        assert_eq!(delivered.messages[0].outcome, DeliveryOutcome::Refused);
        assert_eq!(home.notified()[0].details["error"]["http_status"], json!(status));
    }
    for answer in [
        (|| no(503, "DB Sync module is disabled")) as fn() -> Reply,
        || no(500, "Failed"),
        || no(429, "Too many"),
        || no(403, "Not from here"),
        || Reply::Raw(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_vec()),
        || Reply::Raw(b"junk\r\n\r\n".to_vec()),
        || Reply::Json(404, json!("a page of the host's")),
        || ok(json!({"success": false})),
        || Reply::Close,
    ] {
        let peer = FakePeer::new(move |_| answer());
        let home = Home::new();
        let uuid = home.sender(&peer.url()).connection.uuid;
        home.site.connections().suspend(uuid, None).unwrap();
        let delivered = deliver(&home.site);
        assert_eq!((counts(&delivered), home.waiting()), ((0, 0, 1, 0), 1), "{:?}", delivered.messages);
        assert!(home.outcomes().is_empty());
    }
}

#[test]
fn when_its_time_is_over_a_delivery_begins_no_more_messages() {
    let peer = FakePeer::new(|_| done());
    let home = Home::new();
    let uuid = home.sender(&peer.url()).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    let mut limits = Limits::default();
    limits.retention.delivery_time = Duration::ZERO;
    let clock: Arc<ManualClock> = Arc::clone(&home.clock);
    let hurried = Site::builder().clock(clock).limits(limits).open(home.folder.path().join("a.db")).unwrap();
    assert_eq!((counts(&deliver(&hurried)), peer.asked().len()), ((0, 0, 0, 0), 0));
    assert_eq!(counts(&deliver(&home.site)), (1, 0, 0, 0), "the rest waits for the next one");
}

#[test]
fn a_busy_site_says_how_long_to_wait() {
    let answer = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7200\r\ncontent-length: 0\r\n\r\n";
    let peer = FakePeer::new(move |_| Reply::Raw(answer.to_vec()));
    let home = Home::new();
    let uuid = home.sender(&peer.url()).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    deliver(&home.site);
    home.wait(7199);
    assert_eq!(counts(&deliver(&home.site)), (0, 0, 0, 0));
    home.wait(721);
    assert_eq!(counts(&deliver(&home.site)), (0, 0, 1, 0));
}

#[test]
fn after_thirty_days_a_message_is_given_up_but_not_before_it_was_tried_ten_times() {
    let home = Home::new();
    let uuid = home.sender(&nobody()).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    home.wait(30 * 24 * 3600 - 1);
    assert_eq!(counts(&deliver(&home.site)), (0, 0, 1, 0));
    for _ in 2..10 {
        home.wait(2 * 3600);
        assert_eq!(counts(&deliver(&home.site)), (0, 0, 1, 0));
    }
    home.wait(2 * 3600);
    let delivered = deliver(&home.site);
    assert_eq!((counts(&delivered), home.waiting()), ((0, 0, 0, 1), 0));
    assert_eq!(home.outcomes(), ["status given_up"]);
    assert_eq!(home.notified()[0].details["error"]["code"], json!("unreachable"));

    let peer = FakePeer::new(|_| done());
    let uuid = home.sender(&peer.url()).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    home.wait(365 * 24 * 3600);
    assert_eq!(counts(&deliver(&home.site)), (1, 0, 0, 0), "a clock that jumped does not lose it");
}

#[test]
fn without_an_own_url_messages_wait_for_one() {
    let peer = FakePeer::new(|_| done());
    let home = Home::new();
    let uuid = home.sender(&peer.url()).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    home.site.settings().clear_site_url().unwrap();
    let delivered = deliver(&home.site);
    assert_eq!(counts(&delivered), (0, 0, 1, 0));
    assert!(delivered.messages[0].error.as_ref().unwrap().hint().unwrap().contains("site_url"));
    home.site.settings().set_site_url(OWN).unwrap();
    assert_eq!(counts(&home.site.notifier(options()).deliver_to(uuid).unwrap()), (1, 0, 0, 0));
}

#[test]
fn a_secret_that_does_not_open_is_given_up_and_a_key_that_is_away_is_waited_for() {
    let peer = FakePeer::new(|_| done());
    let home = Home::new();
    let (one, two) = (home.sender(&peer.url()).connection.uuid, home.sender(&nobody()).connection.uuid);
    home.site.connections().suspend(one, None).unwrap();
    home.site.connections().suspend(two, None).unwrap();
    // Sealed for another connection: as good as under another key.
    let swap = "UPDATE rowferry_outbox SET credential_sealed = \
                (SELECT token_sealed FROM rowferry_connections WHERE uuid <> rowferry_outbox.connection)";
    home.sqlite().execute(swap, []).unwrap();

    let key = home.folder.path().join("a.db.rowferry-key");
    let aside = home.folder.path().join("aside");
    std::fs::rename(&key, &aside).unwrap();
    let delivered = deliver(&home.again());
    assert_eq!((counts(&delivered), home.waiting()), ((0, 0, 2, 0), 2));
    assert!(delivered.messages.iter().all(|one| one.error.as_ref().unwrap().kind() == ErrorKind::SiteKey));

    std::fs::rename(&aside, &key).unwrap();
    home.wait(120);
    let delivered = deliver(&home.again());
    assert_eq!((counts(&delivered), home.waiting()), ((0, 0, 0, 2), 0));
    assert_eq!(home.outcomes(), ["status given_up"; 2]);
    assert!(home.notified().iter().all(|event| event.details["error"]["code"] == json!("site_key")));
    assert!(peer.asked().is_empty());
}

#[test]
fn a_new_token_is_told_to_a_rowferry_site() {
    let peer = FakePeer::new(|_| done());
    let home = Home::new();
    let made = home.sender(&peer.url());
    let first = home.rotate(made.connection.uuid);
    let second = home.rotate(made.connection.uuid);
    home.site.connections().suspend(made.connection.uuid, None).unwrap();
    assert_eq!(counts(&deliver(&home.site)), (3, 0, 0, 0));
    assert_eq!(peer.calls(), ["rotate-token", "rotate-token", "update-status"]);
    let asked = peer.asked();
    assert_eq!(asked[0].field("auth_token"), first.as_str());
    assert_eq!(asked[1].field("auth_token"), second.as_str());
    let hashes: Vec<_> = asked.iter().map(|asked| asked.field("auth_token_hash").to_owned()).collect();
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2], "each message has the token that is known then");
    let dump = format!("{:?}", home.notified());
    assert!([&first, &second].iter().all(|token| !dump.contains(token.as_str())));
}

#[test]
fn what_comes_behind_a_rotation_that_was_refused_goes_by_the_old_token() {
    let peer = FakePeer::new(|asked: &Asked| match asked.call() {
        "rotate-token" => no(409, "The connection is suspended"),
        _ => done(),
    });
    let home = Home::new();
    let made = home.sender(&peer.url());
    home.rotate(made.connection.uuid);
    home.site.connections().suspend(made.connection.uuid, None).unwrap();
    assert_eq!(counts(&deliver(&home.site)), (1, 1, 0, 0));
    let asked = peer.asked().pop().unwrap();
    assert_eq!((asked.call(), asked.field("auth_token_hash")), ("update-status", hash(made.token.as_str()).as_str()));
}

#[test]
fn until_a_new_token_is_told_the_old_one_is_asked_for() {
    let known = Arc::new(OnceLock::new());
    let old = Arc::clone(&known);
    let peer = FakePeer::new(move |asked: &Asked| match asked.call() {
        "rotate-token" => no(503, "DB Sync module is disabled"),
        _ if Some(asked.field("auth_token_hash")) != old.get().map(String::as_str) => no(404, "Connection not found"),
        "verify-connection" => ok(json!({"exists": true, "success": true})),
        _ => done(),
    });
    let home = Home::new();
    let made = home.sender(&peer.url());
    known.set(hash(made.token.as_str())).unwrap();
    let uuid = made.connection.uuid;
    home.rotate(uuid);
    assert_eq!(counts(&deliver(&home.site)), (0, 0, 1, 0));
    home.rotate(uuid);
    let notifier = home.site.notifier(options());
    let checked = notifier.verify(uuid).unwrap();
    assert_eq!((checked.status, checked.connection.status), (RemoteStatus::Exists, ConnectionStatus::Active));
    assert_eq!(notifier.status_change(uuid, PeerStatus::Suspended).unwrap(), NotifyOutcome::Done);
    assert_eq!(notifier.delete(uuid).unwrap(), NotifyOutcome::Done);
}

#[test]
fn an_answer_about_a_token_that_was_replaced_suspends_nothing() {
    // The new token is told while the question about the old one is on its way.
    let home = Arc::new(OnceLock::<Site>::new());
    let other = Arc::clone(&home);
    let peer = FakePeer::new(move |asked: &Asked| match asked.call() {
        "verify-connection" if asked.field("sender_url").ends_with('/') => no(404, "Connection not found"),
        "verify-connection" => {
            assert_eq!(deliver(other.get().unwrap()).sent, 1);
            no(404, "Connection not found")
        }
        _ => done(),
    });
    let here = Home::new();
    assert!(home.set(here.again()).is_ok());
    let uuid = here.sender(&peer.url()).connection.uuid;
    here.rotate(uuid);
    let checked = here.site.notifier(options()).verify(uuid).unwrap();
    assert_eq!((checked.suspended, checked.connection.status), (false, ConnectionStatus::Active));
    assert_eq!(peer.calls(), ["verify-connection", "rotate-token", "verify-connection"]);
}

#[test]
fn at_a_site_of_the_reference_a_rotated_connection_is_made_again() {
    let peer = FakePeer::new(reference);
    let home = Home::new();
    let made = home.sender(&peer.url());
    let new = home.rotate(made.connection.uuid);
    assert_eq!(counts(&deliver(&home.site)), (1, 0, 0, 0));
    let calls: Vec<_> = peer.calls().into_iter().filter(|call| call != "status").collect();
    assert_eq!(calls, ["rotate-token", "delete-connection", "register-connection"]);
    let asked = peer.asked().pop().unwrap();
    assert_eq!((asked.field("auth_token"), asked.field("connection_name")), (new.as_str(), "Backup"));
}

#[test]
fn a_reference_site_that_does_not_register_again_leaves_the_token_to_be_given_by_hand() {
    let peer = FakePeer::new(|asked: &Asked| match asked.call() {
        "register-connection" => no(403, "Incoming connections are not allowed"),
        _ => reference(asked),
    });
    let home = Home::new();
    let made = home.sender(&peer.url());
    let new = home.rotate(made.connection.uuid);
    let delivered = deliver(&home.site);
    assert_eq!((counts(&delivered), home.waiting()), ((0, 1, 0, 0), 0));
    let error = delivered.messages[0].error.as_ref().unwrap();
    assert!(error.message().contains("Incoming connections are not allowed"), "{error}");
    assert!(error.hint().unwrap().contains("by hand"), "{error}");
    assert!(!format!("{delivered:?}").contains(new.as_str()));
    assert!(home.notified()[0].details["error"]["message"].as_str().unwrap().contains("by hand"));
}

#[test]
fn what_is_made_again_at_a_site_of_the_reference_gets_the_status_of_the_old_one() {
    let peer = FakePeer::new(reference);
    let home = Home::new();
    let uuid = home.sender(&peer.url()).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    assert_eq!(counts(&deliver(&home.site)), (1, 0, 0, 0));
    let new = home.rotate(uuid);
    assert_eq!(counts(&deliver(&home.site)), (1, 0, 0, 0));
    let calls = peer.calls();
    assert_eq!(calls[calls.len() - 3..], ["delete-connection", "register-connection", "update-status"]);
    let asked = peer.asked().pop().unwrap();
    assert_eq!((asked.field("status"), asked.field("auth_token_hash")), ("suspended", hash(new.as_str()).as_str()));

    // While it cannot be said, the message waits; that it is made again already is no obstacle later.
    let made = AtomicBool::new(false);
    let busy = FakePeer::new(move |asked: &Asked| match asked.call() {
        "update-status" if !made.swap(true, Ordering::SeqCst) => no(503, "busy"),
        "register-connection" if made.load(Ordering::SeqCst) => no(409, "A connection already exists"),
        "verify-connection" => ok(json!({"exists": true, "success": true})),
        _ => reference(asked),
    });
    let uuid = home.sender(&busy.url()).connection.uuid;
    home.rotate(uuid);
    home.site.connections().suspend(uuid, None).unwrap();
    let notifier = home.site.notifier(options());
    let delivered = notifier.deliver_to(uuid).unwrap();
    assert_eq!((counts(&delivered), delivered.messages[0].call), ((0, 0, 1, 0), "rotate"));
    assert_eq!(counts(&notifier.deliver_to(uuid).unwrap()), (2, 0, 0, 0));
}

#[test]
fn a_reference_site_that_would_not_register_again_keeps_the_old_connection() {
    for (enabled, mode, password, outcome) in [
        (true, "auto_accept", true, DeliveryOutcome::Refused),
        (true, "deny_all", false, DeliveryOutcome::Refused),
        (false, "auto_accept", false, DeliveryOutcome::Waiting),
    ] {
        let peer = FakePeer::new(move |asked: &Asked| match asked.call() {
            "status" => ok(json!({"enabled": enabled, "incoming_mode": mode, "password_required": password})),
            "verify-connection" => Reply::Json(404, json!({"exists": false, "success": false})),
            _ => reference(asked),
        });
        let home = Home::new();
        home.rotate(home.sender(&peer.url()).connection.uuid);
        let delivered = deliver(&home.site);
        let [message] = &delivered.messages[..] else { panic!("{delivered:?}") };
        assert_eq!(message.outcome, outcome, "{mode}");
        let changing = |call: &String| ["delete-connection", "register-connection"].contains(&call.as_str());
        assert!(!peer.calls().iter().any(changing), "{:?}", peer.calls());
        let hint = message.error.as_ref().unwrap().hint().unwrap_or_default();
        assert_eq!(hint.contains("Pair the two sites again"), outcome == DeliveryOutcome::Refused, "{hint}");
    }
}

#[test]
fn a_rotation_whose_answer_was_lost_is_not_undone() {
    // The other site has taken the new token, and no longer knows the old one.
    let peer = FakePeer::new(|asked: &Asked| match asked.call() {
        "rotate-token" => no(404, "Connection not found"),
        _ => ok(json!({"exists": true, "success": true})),
    });
    let home = Home::new();
    let made = home.sender(&peer.url());
    home.rotate(made.connection.uuid);
    assert_eq!(counts(&deliver(&home.site)), (1, 0, 0, 0));
    assert_eq!(peer.calls(), ["rotate-token", "verify-connection"]);

    // It has neither.
    let gone = FakePeer::new(|_| no(404, "Connection not found"));
    let made = home.sender(&gone.url());
    home.rotate(made.connection.uuid);
    let delivered = deliver(&home.site);
    assert_eq!(counts(&delivered), (0, 1, 0, 0));
    assert!(delivered.messages[0].error.as_ref().unwrap().hint().unwrap().contains("by hand"));

    // A PhoenixKit site has deleted the old connection and made the new one, but we were not told of the latter.
    let again = FakePeer::new(|asked: &Asked| match asked.call() {
        "delete-connection" => no(404, "Connection not found"),
        "register-connection" => no(409, "A connection already exists"),
        "verify-connection" => ok(json!({"exists": true, "success": true})),
        _ => reference(asked),
    });
    let made = home.sender(&again.url());
    home.rotate(made.connection.uuid);
    assert_eq!(counts(&deliver(&home.site)), (1, 0, 0, 0));
}

#[test]
fn several_processes_send_each_message_once_and_in_order() {
    let peers: Vec<_> = (0..6).map(|_| FakePeer::new(|_| done())).collect();
    let home = Home::new();
    for peer in &peers {
        let uuid = home.sender(&peer.url()).connection.uuid;
        for _ in 0..4 {
            home.rotate(uuid);
        }
        home.site.connections().delete(uuid).unwrap();
    }
    let together = Barrier::new(4);
    let sites: Vec<_> = (0..4).map(|_| home.again()).collect();
    let mut sent: u64 = std::thread::scope(|scope| {
        let deliver = |site| {
            together.wait();
            deliver(site).sent
        };
        let threads: Vec<_> = sites.iter().map(|site| scope.spawn(move || deliver(site))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    // Who came first may have passed by what another one was at just then.
    sent += deliver(&home.site).sent;
    assert_eq!((sent, home.waiting()), (30, 0));
    for peer in &peers {
        let mut expected = vec!["rotate-token"; 4];
        expected.push("delete-connection");
        assert_eq!(peer.calls(), expected);
        let hashes: Vec<_> = peer.asked().iter().map(|asked| asked.field("auth_token_hash").to_owned()).collect();
        let tokens: Vec<_> = peer.asked().iter().filter_map(|asked| asked.body["auth_token"].as_str().map(hash)).collect();
        assert_eq!(hashes[1..], tokens[..], "each is known by the token that was told before");
    }
}

fn hash(token: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn while_a_message_is_on_its_way_nobody_else_sends_for_that_connection() {
    // The peer answers the first message when the second process has looked for what there is to send.
    let gate = Arc::new((Barrier::new(2), Barrier::new(2)));
    let held = Arc::clone(&gate);
    let first = Mutex::new(true);
    let peer = FakePeer::new(move |_| {
        if std::mem::take(&mut *first.lock().unwrap()) {
            held.0.wait();
            held.1.wait();
        }
        done()
    });
    let home = Home::new();
    let uuid = home.sender(&peer.url()).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    let other = home.again();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| deliver(&home.site));
        gate.0.wait();
        // It was superseded on its way: the newer one must not overtake it.
        other.connections().reactivate(uuid).unwrap();
        assert_eq!(counts(&other.notifier(options()).deliver_to(uuid).unwrap()), (0, 0, 0, 0));
        gate.1.wait();
        assert_eq!(counts(&sending.join().unwrap()), (2, 0, 0, 0));
    });
    let statuses: Vec<_> = peer.asked().iter().map(|asked| asked.field("status").to_owned()).collect();
    assert_eq!((statuses, home.waiting()), (vec!["suspended".to_owned(), "active".to_owned()], 0));
}

#[test]
fn a_cancelled_delivery_leaves_the_message_as_it_was() {
    let peer = FakePeer::new(|_| done());
    let home = Home::new();
    let uuid = home.sender(&peer.url()).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    let token = CancelToken::new();
    token.cancel();
    // It does not write either, which it could not do now.
    let mut writer = home.sqlite();
    let locked = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let error = home.site.notifier(options().cancel_token(token)).deliver().unwrap_err();
    assert_eq!((error.kind(), home.waiting()), (ErrorKind::Cancelled, 1));
    drop(locked);
    assert_eq!(counts(&deliver(&home.site)), (1, 0, 0, 0), "nor is it put off");
}

#[test]
fn a_site_that_says_cancelled_has_not_cancelled_us() {
    let peer = FakePeer::new(|_| Reply::Json(409, json!({"success": false, "error": "x", "code": "cancelled"})));
    let home = Home::new();
    let uuid = home.sender(&peer.url()).connection.uuid;
    home.site.connections().suspend(uuid, None).unwrap();
    assert_eq!(counts(&deliver(&home.site)), (0, 1, 0, 0));
    assert_eq!(home.site.notifier(options()).verify(uuid).unwrap().error.unwrap().kind(), ErrorKind::Refused);
}

#[test]
fn what_was_sent_is_told_although_the_rest_was_cancelled() {
    // The caller has enough while the second message is on its way, which is not answered before the test ends.
    let (end, ended) = mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let token = CancelToken::new();
    let cancel = token.clone();
    let peer = FakePeer::new(move |asked: &Asked| match asked.call() {
        "rotate-token" => done(),
        _ => {
            cancel.cancel();
            let _ = ended.lock().unwrap().recv();
            Reply::Close
        }
    });
    let home = Home::new();
    let uuid = home.sender(&peer.url()).connection.uuid;
    home.rotate(uuid);
    home.site.connections().suspend(uuid, None).unwrap();
    let delivered = home.site.notifier(options().cancel_token(token)).deliver().unwrap();
    assert_eq!((counts(&delivered), home.waiting()), ((1, 0, 0, 0), 1));
    assert_eq!(delivered.error.map(|error| error.kind()), Some(ErrorKind::Cancelled));
    drop(end);
}

#[test]
fn of_a_message_that_waits_nothing_secret_is_stored() {
    let peer = FakePeer::new(|asked: &Asked| no(503, &asked.body.to_string()));
    let home = Home::new();
    let made = home.sender(&peer.url());
    let new = home.rotate(made.connection.uuid);
    let delivered = deliver(&home.site);
    assert_eq!(counts(&delivered), (0, 0, 1, 0));
    drop(home.site);
    let mut secrets = vec![made.token.as_str().to_owned(), new.as_str().to_owned()];
    secrets.extend(peer.asked().iter().map(|asked| asked.field("auth_token_hash").to_owned()));
    let mut bytes = format!("{delivered:?}").into_bytes();
    for file in std::fs::read_dir(home.folder.path()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    for secret in secrets {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}
