//! Two rowferry sites that tell each other about their connection, over real sockets.

use crate::support::common::Fixture;
use rowferry::{
    ConnectOptions, Connection, ConnectionDirection, ConnectionFilter, ConnectionStatus, ConnectionWithToken,
    DeliveryReport, ErrorKind, EventFilter, EventKind, IncomingMode, NewConnection, Notifier, PullOptions, RecordsQuery,
    RegisterOutcome, RemoteStatus, Server, ServerHandle, Strategy, TableStatus,
};

/// A site that is served.
struct Served {
    fixture: Fixture,
    server: ServerHandle,
}

impl Served {
    fn new(sql: &str) -> Self {
        let fixture = Fixture::new(sql);
        let server = Server::bind(&fixture.site, "127.0.0.1:0").unwrap().spawn().unwrap();
        fixture.site.settings().set_allow_internal_urls(true).unwrap();
        fixture.site.settings().set_site_url(server.url()).unwrap();
        fixture.site.settings().set_incoming_mode(IncomingMode::AutoAccept).unwrap();
        Served { fixture, server }
    }

    fn notifier(&self) -> Notifier {
        self.fixture.site.notifier(ConnectOptions::default())
    }

    fn deliver(&self) -> DeliveryReport {
        self.notifier().deliver().unwrap()
    }

    fn status(&self, connection: &Connection) -> ConnectionStatus {
        self.fixture.site.connections().get(connection.uuid).unwrap().status
    }

    /// The connection that the other site registered here.
    fn received(&self) -> Connection {
        let filter = ConnectionFilter::new().direction(ConnectionDirection::Receiver);
        self.fixture.site.connections().list(&filter).unwrap().pop().unwrap()
    }
}

const TABLES: &str = "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT);
    INSERT INTO users VALUES (1, 'a@example.com'), (2, 'b@example.com'), (3, NULL)";

/// A shop, and a backup that it lets pull: the shop's end of the connection.
fn shop_and_backup() -> (Served, Served, ConnectionWithToken) {
    let (shop, backup) = (Served::new(TABLES), Served::new(""));
    let made = shop.fixture.site.connections().create(NewConnection::sender("Backup", backup.server.url())).unwrap();
    (shop, backup, made)
}

fn paired() -> (Served, Served, Connection, Connection) {
    let (shop, backup, made) = shop_and_backup();
    let answer = shop.notifier().register(made.connection.uuid, &made.token, None).unwrap();
    assert_eq!(answer.outcome, RegisterOutcome::Registered, "{answer:?}");
    let received = backup.received();
    assert_eq!(answer.remote_uuid, Some(received.uuid));
    (shop, backup, made.connection, received)
}

#[test]
fn a_registered_connection_is_pulled_through() {
    let (shop, backup, _, received) = paired();
    assert_eq!((received.status, received.name.as_str()), (ConnectionStatus::Active, "Backup"));
    let notifier = backup.notifier();
    let tables = notifier.fetch_sender_tables(received.uuid).unwrap();
    assert_eq!((tables[0].name.as_str(), tables[0].row_count), ("users", 3));
    let query = RecordsQuery::default().limit(1).offset(1);
    let fetched = notifier.fetch_table_records(received.uuid, "users", &query).unwrap();
    assert_eq!(fetched.to_json(), r#"[{"id":2,"email":"b@example.com"}]"#);
    let options = PullOptions::new().strategy(Strategy::Overwrite);
    let report = notifier.pull_table(received.uuid, "users", options).unwrap();
    assert_eq!((report.status, report.outcome.created), (TableStatus::Completed, 3));
    let (there, here) = (&shop.fixture.site, &backup.fixture.site);
    assert_eq!(there.table_checksum("users").unwrap(), here.table_checksum("users").unwrap());
    let error = notifier.pull_table(received.uuid, "ghost", PullOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableNotFound);
}

#[test]
fn a_senders_strategy_reaches_the_receiver() {
    let (shop, backup, made) = shop_and_backup();
    let uuid = made.connection.uuid;
    let merge = |edit: &mut rowferry::ConnectionEdit| edit.policy.default_conflict_strategy = Strategy::Merge;
    shop.fixture.site.connections().update(uuid, merge).unwrap();
    assert_eq!(shop.notifier().register(uuid, &made.token, None).unwrap().outcome, RegisterOutcome::Registered);
    assert_eq!(backup.received().policy.default_conflict_strategy, Strategy::Merge);
}

#[test]
fn what_a_registration_gets_is_the_other_sites_decision() {
    let (shop, backup, made) = shop_and_backup();
    let settings = backup.fixture.site.settings();
    let register = |password| shop.notifier().register(made.connection.uuid, &made.token, password).unwrap();
    settings.set_incoming_mode(IncomingMode::DenyAll).unwrap();
    assert_eq!((register(None).outcome, register(None).http_status), (RegisterOutcome::Failed, Some(403)));
    settings.set_incoming_mode(IncomingMode::RequirePassword).unwrap();
    settings.set_incoming_password("s3cret").unwrap();
    assert_eq!((register(None).http_status, register(Some("bad")).http_status), (Some(401), Some(401)));
    settings.set_enabled(false).unwrap();
    assert_eq!(register(Some("s3cret")).http_status, Some(503));
    settings.set_enabled(true).unwrap();
    assert_eq!(register(Some("s3cret")).outcome, RegisterOutcome::Registered);
    assert_eq!(register(Some("s3cret")).http_status, Some(409), "it never overwrites what is there");

    let (shop, backup, made) = shop_and_backup();
    backup.fixture.site.settings().set_incoming_mode(IncomingMode::RequireApproval).unwrap();
    let answer = shop.notifier().register(made.connection.uuid, &made.token, None).unwrap();
    assert_eq!(answer.outcome, RegisterOutcome::Pending);
    let received = backup.received();
    assert_eq!(received.status, ConnectionStatus::Pending);
    backup.fixture.site.connections().approve(received.uuid).unwrap();
    assert_eq!(backup.notifier().announce(received.uuid).unwrap().status, RemoteStatus::Active);
}

#[test]
fn a_pending_sender_becomes_active_when_the_receiver_announces_itself() {
    let (shop, backup) = (Served::new(TABLES), Served::new(""));
    let new = NewConnection::sender("Backup", backup.server.url()).pending();
    let made = shop.fixture.site.connections().create(new).unwrap();
    assert_eq!(made.connection.status, ConnectionStatus::Pending);
    let new = NewConnection::receiver("Shop", shop.server.url(), made.token);
    let received = backup.fixture.site.connections().create(new).unwrap().connection;
    assert_eq!(backup.notifier().announce(received.uuid).unwrap().status, RemoteStatus::Active);
    assert_eq!(shop.status(&made.connection), ConnectionStatus::Active);
}

#[test]
fn changes_on_one_side_reach_the_other_and_do_not_come_back() {
    let (shop, backup, sent, received) = paired();
    let (there, here) = (shop.fixture.site.connections(), backup.fixture.site.connections());
    there.suspend(sent.uuid, Some("too much")).unwrap();
    assert_eq!(shop.deliver().sent, 1);
    let suspended = here.get(received.uuid).unwrap();
    assert_eq!(suspended.status, ConnectionStatus::Suspended);
    assert_eq!(suspended.suspended_reason.as_deref(), Some("the other site says: too much"));
    let refused = backup.fixture.site.pull(received.uuid, ConnectOptions::default(), PullOptions::new()).unwrap_err();
    assert!(refused.to_string().contains("by the other site (the other site says: too much)"), "{refused}");
    assert!(refused.hint().unwrap().contains("reactivate it there"), "{refused}");
    assert_eq!(backup.notifier().pending().unwrap(), 0, "the other site is not told what it said itself");
    there.reactivate(sent.uuid).unwrap();
    assert_eq!(shop.deliver().sent, 1);
    assert_eq!(backup.status(&received), ConnectionStatus::Active);

    // The receiver's own suspension is not lifted by the sender.
    here.suspend(received.uuid, None).unwrap();
    assert_eq!(backup.deliver().sent, 1);
    assert_eq!(shop.status(&sent), ConnectionStatus::Suspended);
    let told = shop.notifier().status_change(sent.uuid, rowferry::PeerStatus::Active);
    assert_eq!(told.unwrap_err().kind(), ErrorKind::InvalidTransition);
    assert_eq!(backup.status(&received), ConnectionStatus::Suspended);

    there.revoke(sent.uuid, None).unwrap();
    assert_eq!(shop.deliver().sent, 1);
    assert_eq!(backup.status(&received), ConnectionStatus::Revoked);
    here.delete(received.uuid).unwrap();
    assert_eq!(backup.deliver().sent, 1);
    assert_eq!(there.get(sent.uuid).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(shop.notifier().pending().unwrap(), 0);
    let actor = format!("peer {}", shop.server.url());
    let filter = EventFilter::new().kinds([EventKind::ConnectionRevoked]);
    assert_eq!(backup.fixture.site.events().list(&filter).unwrap()[0].actor, actor);
}

#[test]
fn a_rotated_token_works_on_the_other_side() {
    let (shop, backup, sent, received) = paired();
    let rotated = shop.fixture.site.connections().regenerate_token(sent.uuid).unwrap();
    assert!(rotated.queued);
    let old = backup.notifier().fetch_sender_tables(received.uuid).unwrap_err();
    assert_eq!(old.kind(), ErrorKind::InvalidToken);
    assert_eq!(shop.deliver().sent, 1);
    assert_eq!(backup.notifier().fetch_sender_tables(received.uuid).unwrap().len(), 1);
    assert_eq!(shop.notifier().verify(sent.uuid).unwrap().status, RemoteStatus::Exists);
    assert_eq!(backup.received().uuid, received.uuid, "it is the same connection");
}

#[test]
fn what_the_other_site_no_longer_has_is_suspended() {
    let (shop, backup, sent, received) = paired();
    assert_eq!(backup.notifier().query_sender_status(received.uuid).unwrap().status, RemoteStatus::Active);
    // Its database was put back to how it was before.
    backup.fixture.run("DELETE FROM rowferry_connections");
    let checked = shop.notifier().check(std::slice::from_ref(&sent), |_| {});
    assert!(checked[0].status == RemoteStatus::NotFound && checked[0].suspended);
    assert_eq!(shop.status(&sent), ConnectionStatus::Suspended);
    assert_eq!(shop.notifier().pending().unwrap(), 0);

    let (shop, backup, _, received) = paired();
    shop.fixture.run("DELETE FROM rowferry_connections");
    let checked = backup.notifier().check(&[received], |_| {});
    assert!(checked[0].status == RemoteStatus::NotFound && checked[0].suspended);

    let (shop, backup, sent, _) = paired();
    backup.fixture.site.settings().set_enabled(false).unwrap();
    let checked = shop.notifier().check(std::slice::from_ref(&sent), |_| {});
    assert!(checked[0].status == RemoteStatus::Error && !checked[0].suspended);
    assert_eq!(checked[0].error.as_ref().unwrap().kind(), ErrorKind::Disabled);
}

#[test]
fn maintenance_sends_what_waits() {
    let (shop, backup, sent, received) = paired();
    shop.fixture.site.connections().suspend(sent.uuid, None).unwrap();
    let done = shop.fixture.site.maintain().unwrap();
    assert_eq!((done.delivered.sent, done.errors.len()), (1, 0));
    assert_eq!(backup.status(&received), ConnectionStatus::Suspended);
}
