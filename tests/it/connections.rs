//! Connections as a host uses them, on real files.

use std::time::Duration;

use crate::support::common::Fixture;
use rowferry::{
    ApprovalMode, ConnectionDirection, ConnectionFilter, ConnectionStatus, ErrorKind, EventFilter, EventKind, Metadata,
    NewConnection, Policy, Site, Token,
};

#[test]
fn a_connection_lives_from_creation_to_deletion() {
    let site = Fixture::new("");
    let connections = site.site.connections().by("alice");
    let made = connections.create(NewConnection::sender(" Backup ", "https://Backup.example/")).unwrap();
    let uuid = made.connection.uuid;
    assert_eq!((&*made.connection.name, &*made.connection.site_url), ("Backup", "https://backup.example"));
    assert!(!made.queued);
    assert_eq!(connections.validate(made.token.as_str(), None).unwrap(), made.connection);
    assert_eq!(connections.find("Backup").unwrap().uuid, uuid);
    assert_eq!(connections.suspend(uuid, Some("holidays")).unwrap().status, ConnectionStatus::Suspended);
    let error = connections.validate(made.token.as_str(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionNotActive);
    connections.reactivate(uuid).unwrap();
    let rotated = connections.regenerate_token(uuid).unwrap();
    assert!(rotated.queued && connections.validate(rotated.token.as_str(), None).is_ok());
    assert_eq!(connections.validate(made.token.as_str(), None).unwrap_err().kind(), ErrorKind::InvalidToken);
    connections.update(uuid, |edit| edit.policy.max_downloads = Some(3)).unwrap();
    connections.revoke(uuid, None).unwrap();
    let senders = ConnectionFilter::new().direction(ConnectionDirection::Sender);
    assert_eq!(connections.count(&senders).unwrap(), 1);
    assert_eq!(connections.delete(uuid).unwrap().status, ConnectionStatus::Revoked);
    assert!(connections.list(&senders).unwrap().is_empty());
    assert_eq!(connections.get(uuid).unwrap_err().kind(), ErrorKind::NotFound);
    let events = site.site.events().list(&EventFilter::new().connection(uuid)).unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    let expected = ["created", "suspended", "reactivated", "token_rotated", "updated", "revoked", "deleted"];
    assert_eq!(kinds, expected.map(|kind| format!("connection.{kind}")));
    assert!(events.iter().all(|event| event.actor == "alice"));
}

#[test]
fn two_programs_share_connections_and_hear_of_each_other() {
    let fixture = Fixture::new("CREATE TABLE users (id INTEGER PRIMARY KEY)");
    let (one, other) = (&fixture.site, Site::open(fixture.path()).unwrap());
    let mut heard = one.events().subscribe().unwrap();
    let mut policy = Policy::default();
    policy.approval_mode = ApprovalMode::PerTable;
    policy.auto_approve_tables = vec!["users".into()];
    let new = NewConnection::sender("Backup", "https://backup.example").policy(policy).download_password("hunter2");
    let made = other.connections().create(new).unwrap();
    let seen = one.connections().find(&made.connection.uuid.to_string()).unwrap();
    assert_eq!(seen, made.connection);
    let names = fixture.site.store().names();
    assert!(seen.requires_approval("posts", names) && !seen.requires_approval("Users", names));
    assert!(one.connections().validate_download_password(seen.uuid, "hunter2").unwrap());
    assert!(!one.connections().validate_download_password(seen.uuid, "hunter3").unwrap());
    let event = heard.next(Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!((event.kind, event.connection), (EventKind::ConnectionCreated, Some(seen.uuid)));
    assert_eq!(heard.next(Duration::ZERO).unwrap(), None);
    // One key for both.
    let token = Token::parse("made-by-the-shop").unwrap();
    let shop = one.connections().create(NewConnection::receiver("Shop", "https://shop.example", token)).unwrap();
    let shop = other.connections().set_token(shop.connection.uuid, Token::parse("newer").unwrap()).unwrap();
    assert_eq!(one.connections().find_by_token("newer").unwrap().unwrap(), shop);
}

#[test]
fn a_reader_of_the_database_can_use_nothing_in_it() {
    let fixture = Fixture::new("");
    let connections = fixture.site.connections();
    let note = Metadata::from_iter([("note".to_owned(), "for the night".into())]);
    let new = NewConnection::sender("Backup", "https://backup.example").metadata(note).download_password("correct-horse");
    let made = connections.create(new).unwrap();
    let rotated = connections.regenerate_token(made.connection.uuid).unwrap();
    let tables = fixture.rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'rowferry%'");
    let mut kept = String::new();
    for table in tables {
        kept.push_str(&fixture.rows(&format!("SELECT * FROM {}", table.trim_matches('\''))).join("\n"));
    }
    assert!(kept.contains("for the night") && kept.contains("$argon2id$"));
    for secret in [made.token.as_str(), rotated.token.as_str(), "correct-horse"] {
        assert!(!kept.contains(secret));
    }
    // Nothing in it is taken for a token or for what is sent instead of one.
    for text in kept.split(['|', '\n', '\'', '"', ':', ',', '{', '}']) {
        assert!(connections.find_by_token(text).unwrap().is_none(), "{text}");
        assert!(connections.find_by_hash(text, ConnectionDirection::Sender).unwrap().is_none(), "{text}");
        assert_eq!(connections.validate(text, None).unwrap_err().kind(), ErrorKind::InvalidToken);
    }
    assert!(connections.find_by_token(rotated.token.as_str()).unwrap().is_some());
}

#[test]
fn hostile_texts_are_refused_or_kept_as_they_are() {
    let fixture = Fixture::new("");
    let connections = fixture.site.connections();
    let name = "Robert'); DROP TABLE rowferry_connections;--";
    let made = connections.by(name).create(NewConnection::sender(name, "https://a.example/';--")).unwrap();
    assert_eq!(connections.find(name).unwrap(), made.connection);
    assert_eq!(connections.suspend(made.connection.uuid, Some(name)).unwrap().suspended_reason.as_deref(), Some(name));
    for text in ["", "\0", "' OR 1=1 --", "%", "../../etc/passwd", &"x".repeat(100_000)] {
        assert_eq!(connections.find(text).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(connections.validate(text, None).unwrap_err().kind(), ErrorKind::InvalidToken);
        assert!(connections.find_by_site_url(text, ConnectionDirection::Sender).unwrap().is_none());
        assert!(connections.find_by_site_url_and_hash(text, text).unwrap().is_none());
        let refused = connections.create(NewConnection::sender("b", text)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    }
    assert_eq!(connections.count(&ConnectionFilter::new()).unwrap(), 1);
}
