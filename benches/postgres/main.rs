//! Pulls from and into PostgreSQL, against what PostgreSQL's own tools take for the same rows.
//!
//! One server of the benchmark's own runs them all, on a socket, with PostgreSQL's default of 128 MB of shared buffers. It does not wait
//! for the disk (`fsync`, `synchronous_commit` and `full_page_writes` are off) and has no autovacuum, for both contenders alike. Sender and
//! receiver are each a process of its own, and talk over loopback. Each case is measured in turn with its limit, run after run, so that a
//! machine that is slow for a while is slow for both; what is printed is the median of the runs' ratios, with the smallest and the largest.
//!
//! `cargo bench --features postgres --bench postgres -- [NAME..] [--runs N] [--rows N]`; without a name all are measured, 3 times
//! with 1,000,000 rows if nothing else is said.
//!
//! - `copy`: PostgreSQL to PostgreSQL, into an empty table and into none, against `COPY` out of psql into another psql.
//! - `into`: SQLite to PostgreSQL: the import of decoded rows, against psql's COPY of the same rows from a file; and the whole pull.
//! - `overwrite`: rows that are there and differ, against COPY into a temporary table and one `INSERT .. ON CONFLICT DO UPDATE`.
//! - `out`: PostgreSQL to SQLite, against the larger of a binary COPY to nowhere and SQLite's own INSERT of the same rows.
//! - `memory`: the peak memory of both ends, without PostgreSQL's processes.
//! - `locks`: how long another writer of the receiving table waits.
//! - `others`: the same rows by pg_dump and psql, and by pgloader where that is installed.

mod bench;
#[path = "../common/mod.rs"]
mod common;
mod copy;
mod databases;
mod into;
mod locks;
mod memory;
mod others;
mod out;
mod overwrite;
#[allow(dead_code)] // Each benchmark uses a part of it.
#[path = "../pull/pair.rs"]
mod pair;
mod psql;
#[allow(dead_code)] // Each binary uses a part of it.
#[path = "../../tests/support/postgres/mod.rs"]
mod server;

use std::process::ExitCode;

use bench::Bench;

/// Measures something, and prints what came of it.
type Measure = fn(&Bench);

/// What is measured, by name.
const CASES: [(&str, Measure); 7] = [
    ("copy", copy::measure),
    ("into", into::measure),
    ("overwrite", overwrite::measure),
    ("out", out::measure),
    ("memory", memory::measure),
    ("locks", locks::measure),
    ("others", others::measure),
];

fn main() -> ExitCode {
    // Cargo adds the word `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if pair::plays(&words) {
        return ExitCode::SUCCESS;
    }
    match Arguments::parse(&words) {
        Ok(arguments) => arguments.measure(),
        Err(why) => {
            let names = CASES.map(|(name, _)| name).join(" | ");
            eprintln!("{why}\nusage: [{names}].. [--runs N] [--rows N]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

struct Arguments {
    cases: Vec<fn(&Bench)>,
    runs: usize,
    rows: u64,
}

impl Arguments {
    fn parse(words: &[String]) -> Result<Arguments, String> {
        let mut arguments = Arguments { cases: Vec::new(), runs: 3, rows: 1_000_000 };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut number = || common::number_after(word, &mut words);
            match word {
                "--runs" => arguments.runs = number()? as usize,
                "--rows" => arguments.rows = number()?,
                _ => {
                    let case = CASES.iter().find(|(name, _)| *name == word);
                    arguments.cases.push(case.ok_or_else(|| format!("{word:?} is not known"))?.1);
                }
            }
        }
        if arguments.cases.is_empty() {
            arguments.cases = CASES.map(|(_, measure)| measure).to_vec();
        }
        Ok(arguments)
    }

    fn measure(&self) {
        let bench = Bench::new(self.runs, self.rows);
        bench.print_head();
        self.cases.iter().for_each(|measure| measure(&bench));
    }
}
