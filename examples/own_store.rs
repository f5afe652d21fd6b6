//! A store of one's own: it does as the store in memory does, and counts the transactions that write to it. A store for another
//! database implements the same trait from the ground up; `rowferry::store::conformance` then says whether it keeps the contract.
//!
//! ```text
//! cargo run --example own_store -- shop.db
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rowferry::rusqlite::Connection;
use rowferry::store::{MemoryStore, Snapshot, Sql, Store, Writer};
use rowferry::{Auth, Client, ConnectOptions, Direction, Limits, NameRules, PullOptions, Result, Site, SiteKey};

/// A store in memory that counts.
#[derive(Debug)]
struct Counting {
    rows: MemoryStore,
    writes: AtomicU64,
}

impl Store for Counting {
    fn name(&self) -> String {
        "a store that counts".to_owned()
    }

    fn names(&self) -> NameRules {
        self.rows.names()
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.rows.snapshot()
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.rows.writer()
    }

    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.rows.state(work)
    }

    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.rows.read_state(work)
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: own_store SHOP_DATABASE")?;
    pull_into_it(Path::new(&path))
}

pub fn pull_into_it(shop_db: &Path) -> std::result::Result<(), Box<dyn Error>> {
    let store = Arc::new(Counting { rows: MemoryStore::open(&Limits::default())?, writes: AtomicU64::new(0) });
    // A store that is no file has no place for a key file: the program keeps the site's key.
    let here = Site::builder().key(SiteKey::generate()?).with_store(Arc::clone(&store) as Arc<dyn Store>);

    // Anything that a site can do works on it. Here it pulls from a site on SQLite, in the same process.
    Connection::open(shop_db)?.execute_batch(
        "CREATE TABLE IF NOT EXISTS users(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users(name) VALUES ('Ada'), ('Grace');",
    )?;
    let shop = Site::open(shop_db)?;
    let session = shop.sessions().create(Direction::Send)?;
    let report =
        Client::link(&shop, Auth::code(session.code()), ConnectOptions::default())?.pull(&here, PullOptions::new())?;
    report.ok()?;

    println!("{} records in {} transactions", report.records, store.writes.load(Ordering::Relaxed));
    if shop.table_checksum("users")? != here.table_checksum("users")? {
        return Err("the two tables differ".into());
    }
    Ok(())
}
