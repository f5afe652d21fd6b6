//! Two sites that pair permanently: the shop makes a connection and tells the backup of it, the backup accepts it, and pulls through
//! it as often as the shop allows.
//!
//! ```text
//! cargo run --example paired_sites -- shop.db backup.db
//! ```
//!
//! Here both are in one program and talk over loopback. As a rule each is a program of its own, and has a public address.

use std::error::Error;
use std::path::Path;

use rowferry::rusqlite::Connection;
use rowferry::{ConnectOptions, ConnectionFilter, NewConnection, Policy, PullOptions, Server, Site, Strategy};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(shop_db), Some(backup_db)) = (arguments.next(), arguments.next()) else {
        return Err("usage: paired_sites SHOP_DATABASE BACKUP_DATABASE".into());
    };
    pair(Path::new(&shop_db), Path::new(&backup_db))
}

pub fn pair(shop_db: &Path, backup_db: &Path) -> Result<(), Box<dyn Error>> {
    Connection::open(shop_db)?.execute_batch(
        "CREATE TABLE IF NOT EXISTS users(id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE IF NOT EXISTS visits(id INTEGER PRIMARY KEY, at TEXT);
        INSERT INTO users(name) VALUES ('Ada'), ('Grace'); INSERT INTO visits(at) VALUES ('2026-11-30');",
    )?;

    // Each site serves, and knows its own URL, which it tells the other. Addresses of this machine must be allowed.
    let (shop, backup) = (Site::open(shop_db)?, Site::open(backup_db)?);
    let (shop_server, backup_server) =
        (Server::bind(&shop, "127.0.0.1:0")?.spawn()?, Server::bind(&backup, "127.0.0.1:0")?.spawn()?);
    for (site, server) in [(&shop, &shop_server), (&backup, &backup_server)] {
        site.settings().set_allow_internal_urls(true)?;
        site.settings().set_site_url(server.url())?;
    }

    // The shop lets the backup pull one of its tables, ten times, and tells it so over HTTP. The token goes with it.
    let mut policy = Policy::default();
    policy.allowed_tables = vec!["users".into()];
    policy.max_downloads = Some(10);
    let made = shop.connections().by("alice").create(NewConnection::sender("Backup", backup_server.url()).policy(policy))?;
    let told = shop.notifier(ConnectOptions::default()).register(made.connection.uuid, &made.token, None)?;
    println!("the backup was told: {told:?}");

    // A person at the backup decides.
    for offered in backup.connections().list(&ConnectionFilter::default())? {
        println!("{} offers a connection; it is {}", offered.site_url, offered.status.as_str());
        let accepted = backup.connections().by("bob").approve(offered.uuid)?;

        // From now on it is one call. Tables that the shop does not allow are not seen.
        let report =
            backup.pull(accepted.uuid, ConnectOptions::default(), PullOptions::new().strategy(Strategy::Overwrite))?;
        println!("{} records", report.records);
        report.ok()?;
    }

    // Both sites have it in their history; the shop knows how much was pulled.
    let connection = shop.connections().get(made.connection.uuid)?;
    println!("{} of 10 downloads", connection.downloads_used);
    if shop.table_checksum("users")? != backup.table_checksum("users")? {
        return Err("the two tables differ".into());
    }
    shop_server.stop();
    backup_server.stop();
    Ok(())
}
