//! Imports records that a program has in memory: strategies, exact counts and failures are those of a pull, without another site.
//!
//! ```text
//! cargo run --example import_from_memory -- people.db
//! ```

use std::error::Error;
use std::path::Path;

use rowferry::rusqlite::Connection;
use rowferry::{PullOptions, Records, Site, Strategy, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: import_from_memory DATABASE")?;
    import(Path::new(&path))
}

pub fn import(path: &Path) -> Result<(), Box<dyn Error>> {
    // The program's own table, and a person who is in it.
    let own = Connection::open(path)?;
    own.execute_batch(
        "CREATE TABLE IF NOT EXISTS people(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE);
        INSERT INTO people VALUES (1, 'Ada', 'ada@example.com') ON CONFLICT DO NOTHING;",
    )?;

    // What came from elsewhere, as from a file or an API. The second record is new, the third one has no name.
    let mut records = Records::new(["id", "name", "email"]);
    records.push([Value::Integer(1), "Ada Lovelace".into(), Value::Null]);
    records.push([Value::Integer(2), "Grace Hopper".into(), "grace@example.com".into()]);
    records.push([Value::Integer(3), Value::Null, Value::Null]);

    // Merged: what is not NULL replaces what is there. All of it is one transaction, and a bad record leaves the others alone.
    let site = Site::open(path)?;
    let done = site.import_records("people", &records, PullOptions::new().strategy(Strategy::Merge))?.outcome;
    println!("{} created, {} updated, {} failed", done.created, done.updated, done.failed);
    for failure in &done.failures {
        println!("  {}: {}", failure.reason.code(), failure.message);
    }

    let ada: String = own.query_row("SELECT name || ' <' || email || '>' FROM people WHERE id = 1", [], |row| row.get(0))?;
    println!("{ada}");
    Ok(())
}
