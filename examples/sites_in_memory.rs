//! Two sites in one process, in memory, and a pull between them without a socket: for tests, fuzzers and benchmarks.
//!
//! ```text
//! cargo run --example sites_in_memory
//! ```

use std::error::Error;
use std::sync::Arc;

use rowferry::schema::{Column, LogicalType, TableSchema};
use rowferry::store::MemoryStore;
use rowferry::{Auth, Client, ConnectOptions, Direction, Limits, PullOptions, Records, Site, SiteKey, Strategy, Value};

pub fn main() -> Result<(), Box<dyn Error>> {
    // Nothing of these sites outlives the program, so that their keys need not either.
    let shop = Site::builder().key(SiteKey::generate()?).with_store(Arc::new(MemoryStore::open(&Limits::default())?));
    let backup = Site::builder().key(SiteKey::generate()?).with_store(Arc::new(MemoryStore::open(&Limits::default())?));

    shop.create_table(&users())?;
    let mut records = Records::new(["id", "name"]);
    records.push([Value::Integer(1), "Ada".into()]);
    records.push([Value::Integer(2), "Grace".into()]);
    shop.import_records("users", &records, PullOptions::new())?;

    // The link stands in for a socket. Codes, access, limits and history are those of any other pull.
    let session = shop.sessions().create(Direction::Send)?;
    let client = Client::link(&shop, Auth::code(session.code()), ConnectOptions::default())?;
    let report = client.pull(&backup, PullOptions::new().strategy(Strategy::Overwrite))?;

    for table in &report.tables {
        println!("{}: {} created, {} failed", table.name, table.outcome.created, table.outcome.failed);
    }
    if shop.table_checksum("users")? != backup.table_checksum("users")? {
        return Err("the two tables differ".into());
    }
    Ok(())
}

fn users() -> TableSchema {
    let column = |name: &str, declared: &str, logical, nullable| Column {
        name: name.into(),
        declared_type: declared.into(),
        logical,
        nullable,
        ..Column::default()
    };
    TableSchema {
        name: "users".into(),
        columns: vec![column("id", "INTEGER", LogicalType::Integer, false), column("name", "TEXT", LogicalType::Text, true)],
        primary_key: vec!["id".into()],
        rowid_alias: true,
        ..TableSchema::default()
    }
}
