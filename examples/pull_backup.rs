//! Pulls all tables of another site into a SQLite file, and keeps them up to date when it is run again.
//!
//! ```text
//! cargo run --example pull_backup -- http://127.0.0.1:7171 A7X9K2M4 backup.db
//! ```
//!
//! The code comes from the other site, for example from `rowferry serve --db shop.db --code`, or from the example
//! `serve_from_program`. It works once.

use std::process::ExitCode;

use rowferry::{Auth, Client, ConnectOptions, Phase, Result, Site, Strategy, TransferOptions};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, code, path] = &arguments[..] else {
        eprintln!("usage: pull_backup URL CODE DATABASE");
        return ExitCode::from(2);
    };
    match pull(url, code, path) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        // An error says what failed, why, and what to do about it.
        Err(error) => {
            eprintln!("pull_backup: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Pulls everything; gives whether all of it arrived.
fn pull(url: &str, code: &str, path: &str) -> Result<bool> {
    // The file is made if it is not there. Beside the tables that are pulled it gets a few of rowferry's own (`rowferry_*`).
    let backup = Site::open(path)?;
    let client = Client::connect(url, Auth::code(code), ConnectOptions::default())?;

    // Rows that are here already become what they are at the other site; new ones are added; none is ever deleted.
    let options = TransferOptions::new().strategy(Strategy::Overwrite).on_progress(|progress| {
        if progress.phase == Phase::Started {
            println!("{} ({} records)", progress.table, progress.announced);
        }
    });
    let report = client.transfer_all(&backup, options)?;

    // What goes wrong with one table or one record does not stop the others: it stands in the report.
    for (name, table) in &report.tables {
        if let Some(error) = &table.error {
            println!("{name} is {}: {error}", table.status.as_str());
        }
        for failure in &table.outcome.failures {
            println!("{name}: the record {:?} failed: {}", failure.key, failure.message);
        }
    }
    println!("{} records in {:.1} s", report.records, report.duration.as_secs_f64());
    Ok(report.is_clean())
}
