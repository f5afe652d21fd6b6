//! Copies that are there already: what it costs to find out what differs. Sender and receiver are each a process of its own.
//!
//! - `cargo bench --bench resync`: `verify` of a table that is equal at both ends, and with some rows changed, against the longer of two plain
//!   scans: a SQLite statement that reads every value of each row, at either end. Contender and limit take turns, run after run, so that a
//!   machine that is slow for a while is slow for both; what is printed is the median of the runs' ratios, with the smallest and the largest.
//!
//! `--runs N` measures N times (3 if nothing is said). `ROWFERRY_BENCH_SCALE=10` measures a tenth of the rows.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)] // It has more of the pull.
#[path = "../pull/pair.rs"]
mod pair;
mod verify;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo adds the word `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [pair::SERVE, database] => pair::serve(Path::new(database)),
        [verify::VERIFY, url, code, database] => verify::once(url, code, Path::new(database)),
        [] => verify::measure(3),
        ["--runs", runs] if runs.parse().is_ok_and(|runs: usize| runs > 0) => verify::measure(runs.parse().unwrap_or(1)),
        _ => {
            eprintln!("usage: [--runs N]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
