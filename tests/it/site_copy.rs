//! A site moves into another database, with all that rowferry keeps of it.

use crate::support::common::Fixture;
use rowferry::{
    Auth, Client, ConnectOptions, ConnectionFilter, Direction, ErrorKind, EventFilter, NewConnection, OnLossy, PullOptions,
    Site, Strategy, TransferFilter,
};

const SHOP: &str = "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT UNIQUE, up INT REFERENCES users(id));
    CREATE TABLE log(at TEXT, what);
    INSERT INTO users VALUES (1, 'a@x', NULL), (2, 'b@x', 1);
    INSERT INTO log VALUES ('a', 1), ('a', 1), (NULL, x'00ff');";

/// All that a site says of itself.
fn told(site: &Site) -> Vec<String> {
    let mut told = vec![site.uuid().unwrap().to_string(), format!("{:?}", site.settings().site_url().unwrap())];
    told.extend(
        site.connections().list(&ConnectionFilter::new()).unwrap().iter().map(|connection| format!("{connection:?}")),
    );
    told.extend(site.transfers().list(&TransferFilter::new().oldest_first()).unwrap().iter().map(|one| format!("{one:?}")));
    told.extend(site.events().list(&EventFilter::new()).unwrap().iter().map(|event| format!("{event:?}")));
    told.extend(site.sessions().list().unwrap().iter().map(|session| format!("{session:?}")));
    told.extend(site.key_map("users").entries().map(|mapping| format!("{:?}", mapping.unwrap())));
    told
}

fn copy(site: &Site, target: &Site) -> rowferry::Result<rowferry::CopiedSite> {
    site.copy_to(target, PullOptions::new().strategy(Strategy::Overwrite))
}

#[test]
fn a_copy_is_the_site() {
    let (shop, other) = (Fixture::new(SHOP), Fixture::new(SHOP));
    // A history, a key map, a connection with its token, a code, and a setting.
    let theirs = other.site.sessions().create(Direction::Send).unwrap();
    let client = Client::link(&other.site, Auth::code(theirs.code()), ConnectOptions::default()).unwrap();
    drop(client.pull(&shop.site, PullOptions::new().strategy(Strategy::Append).tables(["users"])).unwrap());
    let made = shop.site.connections().create(NewConnection::sender("Backup", "http://backup.example")).unwrap();
    let code = shop.site.sessions().create(Direction::Send).unwrap();
    shop.site.settings().set_site_url("http://shop.example").unwrap();

    let folder = tempfile::tempdir().unwrap();
    let target = Site::open(folder.path().join("moved.db")).unwrap();
    let old = target.uuid().unwrap();
    let copied = copy(&shop.site, &target).unwrap();
    assert!(copied.is_complete() && copied.notes.is_empty(), "{copied:?}");
    assert_ne!(target.uuid().unwrap(), old);
    assert_eq!(told(&target), told(&shop.site));
    assert_ne!(target.incarnation().unwrap(), shop.site.incarnation().unwrap());
    for table in ["users", "log"] {
        assert_eq!(target.table_checksum(table).unwrap(), shop.site.table_checksum(table).unwrap());
    }
    let key = std::fs::read(folder.path().join("moved.db.rowferry-key")).unwrap();
    assert_eq!(key, std::fs::read(format!("{}.rowferry-key", shop.path().display())).unwrap());

    // The code and the token work there.
    for auth in [Auth::code(code.code()), Auth::token(made.token.as_str())] {
        let backup = Fixture::new("");
        let client = Client::link(&target, auth, ConnectOptions::default()).unwrap();
        assert!(client.pull(&backup.site, PullOptions::new()).unwrap().is_clean());
    }
}

#[test]
fn a_database_that_has_a_site_is_refused() {
    let (shop, target) = (Fixture::new(SHOP), Fixture::new(""));
    drop(target.site.sessions().create(Direction::Send).unwrap());
    let error = copy(&shop.site, &target.site).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("rows in rowferry_sessions"), "{error}");
    target.site.settings().set_site_url("http://x.example").unwrap();
    assert!(copy(&shop.site, &target.site).unwrap_err().message().contains("the setting site_url"));
    assert_eq!(copy(&shop.site, &shop.site).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn another_key_is_refused_and_stays() {
    let shop = Fixture::new(SHOP);
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let target = Site::builder().key_file(&key).open(folder.path().join("moved.db")).unwrap();
    assert_eq!(copy(&shop.site, &target).unwrap_err().kind(), ErrorKind::SiteKey);
    assert_eq!(std::fs::read(&key).unwrap(), [7; 32]);
}

#[test]
fn a_record_that_fails_keeps_the_state_back() {
    let (shop, target) = (Fixture::new(SHOP), Fixture::new("CREATE TABLE log(at TEXT, what TEXT)"));
    let copied = copy(&shop.site, &target.site).unwrap();
    assert_eq!(copied.report.ok().unwrap_err().kind(), ErrorKind::RecordsFailed);
    assert!(!copied.is_complete() && copied.state.is_empty(), "{copied:?}");
    assert_ne!(target.site.uuid().unwrap(), shop.site.uuid().unwrap());
    let options = PullOptions::new().strategy(Strategy::Overwrite).on_lossy(OnLossy::Replace);
    let copied = shop.site.copy_to(&target.site, options).unwrap();
    assert!(copied.is_complete(), "{copied:?}");
    assert_eq!(told(&target.site), told(&shop.site));
}

#[test]
fn a_copy_that_was_interrupted_resumes() {
    let (shop, target) = (Fixture::new(SHOP), Fixture::new("CREATE TABLE log(at TEXT NOT NULL)"));
    let copied = copy(&shop.site, &target.site).unwrap();
    assert!(!copied.is_complete() && copied.state.is_empty(), "{copied:?}");
    target.run("DROP TABLE log");
    let other = Fixture::new(SHOP);
    let error = copy(&other.site, &target.site).unwrap_err();
    assert!(error.message().contains("another site's copy"), "{error}");
    let copied = copy(&shop.site, &target.site).unwrap();
    assert!(copied.is_complete(), "{copied:?}");
    assert_eq!(told(&target.site), told(&shop.site));
}
