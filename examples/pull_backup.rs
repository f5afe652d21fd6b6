//! Pulls all tables of another site into a SQLite file, and keeps them up to date when it is run again. It shows how far it is, and
//! ends early when Enter is pressed: run again, it resumes where it was.
//!
//! ```text
//! cargo run --example pull_backup -- http://127.0.0.1:7171 A7X9K2M4 backup.db
//! ```
//!
//! The code comes from the other site, for example from `rowferry serve --db shop.db --code`, or from the example
//! `serve_from_program`. It works for one pull, and for resuming that pull.

use std::process::ExitCode;
use std::thread;

use rowferry::{Auth, CancelToken, ConnectOptions, ErrorKind, Phase, PullOptions, Result, Site, Strategy};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, code, path] = &arguments[..] else {
        eprintln!("usage: pull_backup URL CODE DATABASE");
        return ExitCode::from(2);
    };
    match pull(url, code, path, cancelled_by_enter()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::Cancelled => {
            println!("cancelled; run it again with the same code to resume");
            ExitCode::from(3)
        }
        // An error says what failed, why, and what to do about it.
        Err(error) => {
            eprintln!("pull_backup: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A token that is cancelled when somebody presses Enter.
fn cancelled_by_enter() -> CancelToken {
    let token = CancelToken::new();
    let kept = token.clone();
    thread::spawn(move || {
        if std::io::stdin().read_line(&mut String::new()).is_ok_and(|length| length > 0) {
            kept.cancel();
        }
    });
    token
}

pub fn pull(url: &str, code: &str, path: &str, cancel: CancelToken) -> Result<()> {
    // The file is made if it is not there. Beside the tables that are pulled it gets a few of rowferry's own (`rowferry_*`).
    let backup = Site::open(path)?;

    // Rows that are here already become what they are at the other site; new ones are added; none is ever deleted.
    let options =
        PullOptions::new().strategy(Strategy::Overwrite).cancel(cancel).on_progress(|progress| match progress.phase {
            Phase::Started => println!("{} (table {} of {})", progress.table, progress.table_index + 1, progress.tables),
            Phase::Receiving => println!("  {} of {} records", progress.records, progress.announced),
            _ => {}
        });
    let report = backup.pull_from(url, Auth::code(code), ConnectOptions::default(), options)?;

    println!("{} records in {:.1} s", report.records, report.duration.as_secs_f64());
    // What goes wrong with one table or one record does not stop the others: it stands in the report, and the first of it is this
    // error. So is a cancelled pull.
    report.ok()
}
