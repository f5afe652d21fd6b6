//! What the notifier tells a peer over HTTP and asks it, and what it makes of the answers. The peer answers as recordings of
//! PhoenixKit's server do, and as no server should.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::support::common::Fixture;
use crate::support::notify_peer::{Asked, FakePeer, Reply, no, no_route, nobody, ok};
use rowferry::{
    ConnectOptions, Connection, ConnectionFilter, ConnectionStatus, ConnectionWithToken, ErrorKind, EventFilter, EventKind,
    NewConnection, Notifier, NotifyOutcome, PeerStatus, RecordsQuery, RegisterOutcome, RemoteStatus, Token, Value,
};
use serde_json::{Value as Json, json};

const OWN: &str = "http://127.0.0.1:4802";

fn site() -> Fixture {
    let fixture = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY)");
    fixture.site.settings().set_allow_internal_urls(true).unwrap();
    fixture.site.settings().set_site_url(OWN).unwrap();
    fixture
}

fn notifier(fixture: &Fixture) -> Notifier {
    let options = ConnectOptions::default().connect_timeout(Duration::from_secs(20));
    fixture.site.notifier(options.request_timeout(Duration::from_secs(20))).by("alice")
}

fn sender(fixture: &Fixture, url: &str) -> ConnectionWithToken {
    fixture.site.connections().create(NewConnection::sender("notifier test", url)).unwrap()
}

fn receiver(fixture: &Fixture, url: &str) -> Connection {
    let token = Token::generate().unwrap();
    fixture.site.connections().create(NewConnection::receiver("cli", url, token)).unwrap().connection
}

/// What was kept of what other sites were told, the newest last.
fn notified(fixture: &Fixture) -> Vec<Json> {
    let filter = EventFilter::new().kinds([EventKind::ConnectionNotified]);
    let events = fixture.site.events().list(&filter).unwrap();
    assert!(events.iter().all(|event| event.actor == "alice"));
    events.into_iter().map(|event| Json::Object(event.details)).collect()
}

fn status_of(fixture: &Fixture, connection: &Connection) -> ConnectionStatus {
    fixture.site.connections().get(connection.uuid).unwrap().status
}

/// Everything in rowferry's own tables, as text.
fn stored(fixture: &Fixture) -> String {
    let tables = fixture.rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'rowferry%'");
    let rows = |table: &String| fixture.rows(&format!("SELECT * FROM {}", table.trim_matches('\''))).join("\n");
    tables.iter().map(rows).collect()
}

#[test]
fn a_sender_registers_as_the_reference_does() {
    let peer = FakePeer::new(|_| {
        ok(json!({"connection_status":"active","connection_uuid":"01a1fd45-5c02-7cb2-bf0b-f8e2e8e27121",
            "message":"Connection registered and activated","success":true}))
    });
    let fixture = site();
    let made = sender(&fixture, &peer.url());
    let answer = notifier(&fixture).register(made.connection.uuid, &made.token, None).unwrap();
    assert_eq!((answer.outcome, answer.http_status), (RegisterOutcome::Registered, Some(200)));
    assert_eq!(answer.message, "Connection registered and activated");
    assert_eq!(answer.remote_uuid.unwrap().to_string(), "01a1fd45-5c02-7cb2-bf0b-f8e2e8e27121");

    let [asked] = &peer.asked()[..] else { panic!("{:?}", peer.calls()) };
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/sync/api/register-connection"));
    let token = made.token.as_str();
    assert_eq!(asked.body, json!({"auth_token":token,"connection_name":"notifier test","sender_url":OWN}));

    let kept = fixture.site.connections().get(made.connection.uuid).unwrap().metadata["notification"].clone();
    assert_eq!((&kept["outcome"], &kept["http_status"]), (&json!("registered"), &json!(200)));
    assert_eq!(kept["remote_uuid"], json!("01a1fd45-5c02-7cb2-bf0b-f8e2e8e27121"));
    assert_eq!(notified(&fixture)[0]["outcome"], json!("registered"));
    assert!(!stored(&fixture).contains(token));
}

#[test]
fn refused_registrations_have_the_status_and_the_words_of_the_peer() {
    for (status, words) in [
        (409, "A connection already exists"),
        (403, "Incoming connections are not allowed"),
        (401, "Password required"),
        (401, "Invalid password"),
        (503, "Sync module is disabled"),
        (400, "sender_url leads to an address that is not public"),
        (500, "Internal Server Error"),
        (429, "Too many"),
    ] {
        let peer = FakePeer::new(move |_| no(status, words));
        let fixture = site();
        let made = sender(&fixture, &peer.url());
        let answer = notifier(&fixture).register(made.connection.uuid, &made.token, Some("bad")).unwrap();
        assert_eq!(answer.outcome, RegisterOutcome::Failed);
        assert_eq!((answer.http_status, answer.message.as_str()), (Some(status), words));
        assert_eq!(peer.asked()[0].field("password"), "bad");
        let kept = fixture.site.connections().get(made.connection.uuid).unwrap();
        assert_eq!(kept.status, ConnectionStatus::Active, "a refusal there changes nothing here");
        assert_eq!(kept.metadata["notification"]["message"], json!(words));
        assert_eq!(notified(&fixture)[0]["http_status"], json!(status));
    }
}

#[test]
fn a_registration_may_be_pending_skipped_or_offline() {
    let peer = FakePeer::new(|_| {
        ok(json!({"connection_status":"pending","connection_uuid":"01a1fd45-5c02-7cb2-bf0b-f8e2e8e27121",
            "message":"Connection registered, pending approval","success":true}))
    });
    let fixture = site();
    let made = sender(&fixture, &peer.url());
    let answer = notifier(&fixture).register(made.connection.uuid, &made.token, None).unwrap();
    assert_eq!(answer.outcome, RegisterOutcome::Pending);

    let received = receiver(&fixture, &peer.url());
    let answer = notifier(&fixture).register(received.uuid, &made.token, None).unwrap();
    assert_eq!((answer.outcome, answer.http_status), (RegisterOutcome::Skipped, None));
    assert_eq!(peer.asked().len(), 1, "nothing was sent");

    let made = sender(&fixture, &nobody());
    let answer = notifier(&fixture).register(made.connection.uuid, &made.token, None).unwrap();
    assert_eq!((answer.outcome, answer.http_status, answer.remote_uuid), (RegisterOutcome::Failed, None, None));
    assert!(!answer.message.is_empty());
}

#[test]
fn a_registration_needs_the_own_url_and_the_right_token() {
    let peer = FakePeer::new(|_| no(409, "never asked"));
    let fixture = site();
    let made = sender(&fixture, &peer.url());
    let other = sender(&fixture, &nobody());
    for wrong in [&other.token, &Token::generate().unwrap()] {
        let error = notifier(&fixture).register(made.connection.uuid, wrong, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error} {error:?}").contains(wrong.as_str()));
    }
    fixture.site.settings().clear_site_url().unwrap();
    let error = notifier(&fixture).register(made.connection.uuid, &made.token, None).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.hint().unwrap().contains("site_url"), "{error}");
    assert!(peer.asked().is_empty() && notified(&fixture).is_empty());
}

#[test]
fn stored_urls_lead_to_public_addresses_only() {
    let peer = FakePeer::new(|_| no(409, "never asked"));
    let fixture = site();
    let (made, received) = (sender(&fixture, &peer.url()), receiver(&fixture, &peer.url()));
    fixture.site.settings().set_allow_internal_urls(false).unwrap();
    let answer = notifier(&fixture).register(made.connection.uuid, &made.token, None).unwrap();
    assert!(answer.outcome == RegisterOutcome::Failed && answer.message.contains("no public address"), "{answer:?}");
    let checked = notifier(&fixture).check(&[made.connection, received], |_| {});
    assert!(checked.iter().all(|one| one.status == RemoteStatus::Error && !one.suspended));
    assert!(peer.asked().is_empty());
}

#[test]
fn hostile_answers_are_errors_and_change_nothing() {
    let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: 90000000\r\n\r\n{}", "x".repeat(1 << 20));
    let answers: Vec<(&str, String)> = vec![
        ("redirect", "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into()),
        ("junk", "\u{1}\u{2}junk\r\n\r\n".into()),
        ("no JSON", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>".into()),
        ("null", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull".into()),
        ("types", "HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n{\"success\":true,\"exists\":\"no\",\"status\":[1]}".into()),
        ("huge", huge),
        ("proxy", "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n".into()),
        ("cut", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".into()),
        ("no route", "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}".into()),
        ("crash", "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".into()),
    ];
    for (what, answer) in answers {
        let peer = FakePeer::new(move |_| Reply::Raw(answer.clone().into_bytes()));
        let fixture = site();
        let (made, received) = (sender(&fixture, &peer.url()), receiver(&fixture, &peer.url()));
        let notifier = notifier(&fixture);
        let answer = notifier.register(made.connection.uuid, &made.token, None).unwrap();
        assert!(answer.outcome == RegisterOutcome::Failed && answer.message.len() < 1000, "{what}: {answer:?}");
        for checked in notifier.check(&[made.connection.clone(), received.clone()], |_| {}) {
            assert!(matches!(checked.status, RemoteStatus::Error | RemoteStatus::Offline), "{what}: {checked:?}");
            assert!(!checked.suspended && checked.error.is_some());
        }
        assert_eq!(status_of(&fixture, &made.connection), ConnectionStatus::Active, "{what}");
        assert_eq!(status_of(&fixture, &received), ConnectionStatus::Active, "{what}");
        for told in [notifier.delete(received.uuid), notifier.status_change(received.uuid, PeerStatus::Suspended)] {
            assert!(!matches!(told, Ok(NotifyOutcome::Done | NotifyOutcome::NotFound)), "{what}: {told:?}");
        }
        let error = notifier.fetch_sender_tables(received.uuid).unwrap_err();
        assert!(error.to_string().len() < 1000, "{what}: {error}");
    }
}

#[test]
fn a_peer_that_repeats_secrets_does_not_bring_them_into_what_is_kept() {
    // It answers with whatever it was sent, as a refusal, or where something else should be.
    repeats_nothing(|asked| no(400, &format!("bad request: {}", asked.body)));
    repeats_nothing(|asked| no(503, &asked.body.to_string()));
    repeats_nothing(|asked| {
        let text = asked.body.to_string();
        ok(json!({"success":text,"exists":text,"status":text,"message":text,"connection_status":text}))
    });
    repeats_nothing(|asked| {
        let hash = asked.body["auth_token_hash"].as_str().unwrap_or("x");
        ok(json!({"success":true,"exists":hash,"status":hash,"name":hash,"tables":hash,"connection_status":"active",
            "message":asked.body["auth_token"],"connection_uuid":"01a1fd45-5c02-7cb2-bf0b-f8e2e8e27121"}))
    });
}

fn repeats_nothing(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
    let peer = FakePeer::new(answer);
    let fixture = site();
    let (made, received) = (sender(&fixture, &peer.url()), receiver(&fixture, &peer.url()));
    let notifier = notifier(&fixture);
    let mut shown = Vec::new();
    let answer = notifier.register(made.connection.uuid, &made.token, Some("s3cret-password")).unwrap();
    shown.push(format!("{answer:?}"));
    shown.push(format!("{:?}", notifier.delete(made.connection.uuid)));
    shown.push(format!("{:?}", notifier.status_change(received.uuid, PeerStatus::Revoked)));
    let asking = fixture.site.notifier(ConnectOptions::default().download_password("s3cret-password"));
    shown.push(format!("{:?}", asking.fetch_sender_tables(received.uuid)));
    shown.push(format!("{asking:?}"));
    shown.push(format!("{:?}", notifier.check(&[made.connection, received], |_| {})));
    fixture.site.connections().suspend(notifier_target(&fixture), None).unwrap();
    shown.push(format!("{:?}", notifier.deliver()));
    shown.push(stored(&fixture));

    let mut secrets = vec!["s3cret-password".to_owned(), made.token.as_str().to_owned()];
    secrets.extend(peer.asked().iter().filter_map(|asked| Some(asked.body["auth_token_hash"].as_str()?.to_owned())));
    assert!(secrets.len() > 4, "{secrets:?}");
    for secret in &secrets {
        for text in &shown {
            assert!(!text.contains(secret.as_str()), "{secret} is in {text}");
        }
    }
}

/// One of the site's connections that is active.
fn notifier_target(fixture: &Fixture) -> uuid::Uuid {
    let filter = ConnectionFilter::new().status(ConnectionStatus::Active);
    fixture.site.connections().list(&filter).unwrap()[0].uuid
}

#[test]
fn messages_and_their_answers_are_those_of_the_recordings() {
    let peer = FakePeer::new(|asked: &Asked| match (asked.call(), asked.body["status"].as_str()) {
        ("update-status", Some("active")) => no(409, "The connection cannot be reactivated"),
        ("update-status", Some("revoked")) => no(404, "Connection not found"),
        ("update-status", Some(status)) => ok(json!({"message":format!("Status updated to {status}"),"success":true})),
        ("delete-connection", _) => ok(json!({"message":"Connection deleted","success":true})),
        _ => no_route(),
    });
    let fixture = site();
    let made = sender(&fixture, &peer.url());
    let (uuid, notifier) = (made.connection.uuid, notifier(&fixture));
    assert_eq!(notifier.status_change(uuid, PeerStatus::Suspended).unwrap(), NotifyOutcome::Done);
    assert_eq!(notifier.status_change(uuid, PeerStatus::Revoked).unwrap(), NotifyOutcome::NotFound);
    assert_eq!(notifier.status_change(uuid, PeerStatus::Active).unwrap_err().kind(), ErrorKind::InvalidTransition);
    assert_eq!(notifier.delete(uuid).unwrap(), NotifyOutcome::Done);
    assert_eq!(status_of(&fixture, &made.connection), ConnectionStatus::Active, "nothing changes here");
    let asked = peer.asked();
    let mut fields: Vec<_> = asked[0].body.as_object().unwrap().keys().cloned().collect();
    fields.sort();
    assert_eq!(fields, ["auth_token_hash", "sender_url", "status"]);
    assert_eq!(asked[0].field("sender_url"), OWN);
    let outcomes: Vec<_> = notified(&fixture).iter().map(|kept| kept["outcome"].clone()).collect();
    assert_eq!(outcomes, ["done", "not_found", "error", "done"]);

    let away = sender(&fixture, &nobody()).connection;
    assert_eq!(notifier.delete(away.uuid).unwrap(), NotifyOutcome::Offline);
    assert_eq!(notifier.status_change(away.uuid, PeerStatus::Active).unwrap(), NotifyOutcome::Offline);
}

#[test]
fn checks_tell_apart_what_the_other_sites_say() {
    let saying = |status: &'static str| {
        FakePeer::new(move |asked: &Asked| {
            assert_eq!(asked.call(), "get-connection-status");
            assert_eq!(asked.field("receiver_url"), OWN);
            ok(json!({"name":"cli","status":status,"success":true}))
        })
    };
    let words = ["active", "suspended", "revoked", "pending", "expired", "frozen"];
    let peers: Vec<_> = words.iter().map(|word| saying(word)).collect();
    let fixture = site();
    let mut connections: Vec<_> = peers.iter().map(|peer| receiver(&fixture, &peer.url())).collect();
    let gone = FakePeer::new(|_| no(404, "Connection not found"));
    let off = FakePeer::new(|_| no(503, "DB Sync module is disabled"));
    connections.push(receiver(&fixture, &gone.url()));
    connections.push(receiver(&fixture, &off.url()));
    connections.push(receiver(&fixture, &nobody()));
    connections.push(sender(&fixture, &gone.url()).connection);

    let mut came = 0;
    let checked = notifier(&fixture).fetch_sender_statuses(&connections, |_| came += 1);
    use RemoteStatus::{Active, Error, Expired, NotFound, Offline, Pending, Revoked, Suspended};
    let found: Vec<_> = checked.iter().map(|one| one.status).collect();
    assert_eq!(found, [Active, Suspended, Revoked, Pending, Expired, Error, NotFound, Error, Offline, Error]);
    assert_eq!(came, connections.len());
    let kinds: Vec<_> = checked.iter().filter_map(|one| Some(one.error.as_ref()?.kind())).collect();
    use ErrorKind::{Disabled, InvalidInput, Protocol, Unreachable};
    assert_eq!(kinds, [Protocol, Disabled, Unreachable, InvalidInput]);
    assert!(checked.iter().zip(&connections).all(|(one, connection)| one.connection.uuid == connection.uuid));

    // Only the one that is gone there was stopped here, and nobody is told.
    let statuses: Vec<_> = connections.iter().map(|connection| status_of(&fixture, connection)).collect();
    let mut expected = [ConnectionStatus::Active; 10];
    expected[6] = ConnectionStatus::Suspended;
    assert_eq!(statuses, expected);
    assert!(checked[6].suspended && checked[6].connection.status == ConnectionStatus::Suspended);
    assert!(checked[6].connection.suspended_reason.as_ref().unwrap().contains("does not have"));
    assert_eq!(fixture.rows("SELECT count(*) FROM rowferry_outbox"), ["0"]);
    let filter = EventFilter::new().kinds([EventKind::ConnectionSuspended]);
    let [event] = &fixture.site.events().list(&filter).unwrap()[..] else { panic!("one was suspended") };
    assert_eq!((event.connection, event.actor.as_str()), (Some(connections[6].uuid), "alice"));
    // Once more: there is nothing more to do.
    assert!(!notifier(&fixture).query_sender_status(connections[6].uuid).unwrap().suspended);
}

#[test]
fn receivers_are_verified_and_severed_ones_suspended() {
    let there = FakePeer::new(|_| ok(json!({"exists":true,"success":true})));
    let gone = FakePeer::new(|_| Reply::Json(404, json!({"exists":false,"success":false})));
    let off = FakePeer::new(|_| no(503, "DB Sync module is disabled"));
    let fixture = site();
    let connections: Vec<_> =
        [there.url(), gone.url(), off.url(), nobody()].iter().map(|url| sender(&fixture, url).connection).collect();
    let checked = notifier(&fixture).verify_receiver_connections(&connections, |_| {});
    let found: Vec<_> = checked.iter().map(|one| (one.status, one.suspended)).collect();
    let expected = [
        (RemoteStatus::Exists, false),
        (RemoteStatus::NotFound, true),
        (RemoteStatus::Error, false),
        (RemoteStatus::Offline, false),
    ];
    assert_eq!(found, expected);
    assert_eq!(there.calls(), ["verify-connection"]);
    let statuses: Vec<_> = connections.iter().map(|connection| status_of(&fixture, connection)).collect();
    assert_eq!(statuses.iter().filter(|status| **status == ConnectionStatus::Suspended).count(), 1);

    let received = receiver(&fixture, &there.url());
    assert_eq!(notifier(&fixture).verify(received.uuid).unwrap_err().kind(), ErrorKind::InvalidInput);
    let error = notifier(&fixture).query_sender_status(connections[0].uuid).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(notifier(&fixture).verify(uuid::Uuid::nil()).unwrap_err().kind(), ErrorKind::NotFound);
    fixture.site.settings().clear_site_url().unwrap();
    assert_eq!(notifier(&fixture).verify(connections[0].uuid).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn answers_are_handed_on_as_they_come_in_while_others_are_waited_for() {
    // The slow peer answers only when the answer of the quick one was handed on: one after the other would never end.
    let gate = Arc::new(Barrier::new(2));
    let waiting = Arc::clone(&gate);
    let active = || ok(json!({"name":"x","status":"active","success":true}));
    let slow = FakePeer::new(move |_| {
        waiting.wait();
        active()
    });
    let quick = FakePeer::new(move |_| active());
    let fixture = site();
    let connections = [receiver(&fixture, &slow.url()), receiver(&fixture, &quick.url())];
    let mut order = Vec::new();
    let checked = notifier(&fixture).check(&connections, |one| {
        order.push(one.connection.uuid);
        if one.connection.uuid == connections[1].uuid {
            gate.wait();
        }
    });
    assert_eq!(order, [connections[1].uuid, connections[0].uuid]);
    let in_order: Vec<_> = checked.iter().map(|one| one.connection.uuid).collect();
    assert_eq!(in_order, [connections[0].uuid, connections[1].uuid]);
}

#[test]
fn a_receiver_without_a_url_of_its_own_can_ask() {
    let peer = FakePeer::new(|_| ok(json!({"name":"x","status":"active","success":true})));
    let fixture = site();
    fixture.site.settings().clear_site_url().unwrap();
    let received = receiver(&fixture, &peer.url());
    assert_eq!(notifier(&fixture).announce(received.uuid).unwrap().status, RemoteStatus::Active);
    // The call wants a text there.
    assert!(!peer.asked()[0].field("receiver_url").is_empty());
    assert_eq!(notifier(&fixture).delete(received.uuid).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn tables_schemas_and_records_are_fetched() {
    let peer = FakePeer::new(|asked: &Asked| match asked.call() {
        "list-tables" => ok(json!({"success":true,"tables":[
            {"checksum":"21ae","depends_on":["users"],"name":"many","row_count":2500,"size_bytes":229376}]})),
        "table-schema" if asked.field("table_name") == "ghost" => no(404, "Table not found"),
        "table-schema" => ok(json!({"success":true,"schema":{"table_name":"many","columns":[
            {"column_name":"id","data_type":"bigint","is_nullable":"NO","column_default":null,
             "character_maximum_length":null},
            {"column_name":"v","data_type":"text","is_nullable":"YES","column_default":null,
             "character_maximum_length":null}]}})),
        "table-records" => ok(json!({"success":true,"records":[{"id":6,"v":"row 6"},{"id":7,"v":null}]})),
        _ => no_route(),
    });
    let fixture = site();
    let received = receiver(&fixture, &peer.url());
    let notifier = notifier(&fixture);
    let [table] = &notifier.fetch_sender_tables(received.uuid).unwrap()[..] else { panic!("one table") };
    assert_eq!((table.name.as_str(), table.row_count, table.size_bytes), ("many", 2500, 229_376));
    assert_eq!((table.checksum.as_deref(), &table.depends_on[..]), (Some("21ae"), &["users".to_owned()][..]));
    let schema = notifier.fetch_table_schema(received.uuid, "many").unwrap();
    assert_eq!(schema.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "v"]);
    let asking = fixture.site.notifier(ConnectOptions::default().download_password("pw"));
    let query = RecordsQuery::default().limit(3).offset(5).ids([Value::from(6), Value::from(7)]);
    let fetched = asking.fetch_table_records(received.uuid, "many", &query).unwrap();
    assert_eq!(fetched.to_json(), r#"[{"id":6,"v":"row 6"},{"id":7,"v":null}]"#);
    let asked = peer.asked().pop().unwrap();
    assert_eq!((&asked.body["limit"], &asked.body["offset"]), (&json!(3), &json!(5)));
    assert_eq!((&asked.body["ids"], asked.field("password")), (&json!([6, 7]), "pw"));

    let error = notifier.fetch_table_schema(received.uuid, "ghost").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableNotFound);
    let made = sender(&fixture, &peer.url());
    assert_eq!(notifier.fetch_sender_tables(made.connection.uuid).unwrap_err().kind(), ErrorKind::InvalidInput);
    let away = receiver(&fixture, &nobody());
    assert_eq!(notifier.fetch_sender_tables(away.uuid).unwrap_err().kind(), ErrorKind::Unreachable);
}
