//! Connections as a host uses them, on real files.

mod common;

use common::Fixture;
use rowferry::{ConnectionDirection, ConnectionFilter, ConnectionStatus, ErrorKind, EventFilter, NewConnection};

#[test]
fn a_connection_lives_from_creation_to_deletion() {
    let site = Fixture::new("");
    let connections = site.site.connections().by("alice");
    let made = connections.create(NewConnection::sender(" Backup ", "https://Backup.example/")).unwrap();
    let uuid = made.connection.uuid;
    assert_eq!((&*made.connection.name, &*made.connection.site_url), ("Backup", "https://backup.example"));
    assert_eq!(connections.validate(made.token.as_str(), None).unwrap(), made.connection);
    assert_eq!(connections.find("Backup").unwrap().uuid, uuid);
    assert_eq!(connections.suspend(uuid, Some("holidays")).unwrap().status, ConnectionStatus::Suspended);
    let error = connections.validate(made.token.as_str(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionNotActive);
    connections.reactivate(uuid).unwrap();
    connections.update(uuid, |edit| edit.policy.max_downloads = Some(3)).unwrap();
    connections.revoke(uuid, None).unwrap();
    let senders = ConnectionFilter::new().direction(ConnectionDirection::Sender);
    assert_eq!(connections.count(&senders).unwrap(), 1);
    connections.delete(uuid).unwrap();
    assert!(connections.list(&senders).unwrap().is_empty());
    let events = site.site.events().list(&EventFilter::new()).unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    let expected = ["created", "suspended", "reactivated", "updated", "revoked", "deleted"];
    assert_eq!(kinds, expected.map(|kind| format!("connection.{kind}")));
}
