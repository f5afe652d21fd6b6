//! A site moves from SQLite to PostgreSQL and back.

use rowferry::{
    ConnectionFilter, Direction, EventFilter, NewConnection, PullOptions, Site, SiteKey, Strategy, TransferFilter,
};

use crate::common::{KEY, Pg, link, options, same};

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

#[test]
fn a_site_moves_to_postgres_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| Site::builder().key(SiteKey::from_bytes(KEY)).open(folder.path().join(name)).unwrap();
    let sql = "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, up INTEGER REFERENCES users(id)); INSERT INTO users VALUES (1, 'a', NULL), (2, 'b', 1)";
    let sqlite = rusqlite::Connection::open(folder.path().join("shop.db")).unwrap();
    sqlite.execute_batch(sql).unwrap();
    let shop = open("shop.db");
    let other = Pg::new(
        "CREATE TABLE users(id bigint PRIMARY KEY, name text, up bigint REFERENCES users(id)); INSERT INTO users VALUES (7, 'x', NULL)",
    );
    drop(link(&other.site, &shop, options(Strategy::Append)));
    drop(shop.connections().create(NewConnection::sender("Backup", "http://backup.example")).unwrap());
    drop(shop.sessions().create(Direction::Send).unwrap());
    shop.settings().set_site_url("http://shop.example").unwrap();

    let moved = Pg::new("");
    let copied = shop.copy_to(&moved.site, PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
    assert!(copied.is_complete(), "{copied:#?}");
    assert_eq!(told(&moved.site), told(&shop));
    same(&shop, &moved.site, &["users"]);
    // New events and key maps get numbers after those that came.
    drop(moved.site.sessions().create(Direction::Send).unwrap());
    drop(link(&other.site, &moved.site, options(Strategy::Append).append_again(true)));

    let back = open("back.db");
    let copied = moved.site.copy_to(&back, PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
    assert!(copied.is_complete(), "{copied:#?}");
    assert_eq!(told(&back), told(&moved.site));
    same(&back, &moved.site, &["users"]);
}
