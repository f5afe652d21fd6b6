//! Whole pulls over loopback, sender and receiver each a process of its own, against SQLite's own limit on the same rows.
//!
//! The limit is one statement between two attached files, `INSERT INTO t SELECT ... FROM src.t WHERE true [ON CONFLICT ...]`.
//! Every contender is measured in turn with it, run after run, so that a machine that is slow for a while is slow for all; what
//! is printed is the median of the runs' ratios, with the smallest and the largest.
//!
//! - `cargo bench --bench pull`: pulls of each table in each case, through both protocols, and what one would take instead on
//!   the same files. A few minutes.
//! - `cargo bench --bench pull -- chart`: pulls into empty tables beside other ways, for the chart in the README: writes
//!   `docs/speed.json`, and draws it as `docs/speed.svg`. `-- draw` only draws.
//! - `cargo bench --bench pull -- growth`: the narrow table with its usual rows and with ten times as many.
//! - `cargo bench --bench pull -- memory`: the peak memory of both ends for large tables and large rows.
//! - `cargo bench --bench pull -- locks`: how long another writer on the receiving database waits for its lock.
//! - `cargo bench --bench pull --features cli -- small`: pulls of one small table, of many, and of 100,000 rows, each as a whole
//!   command from the start of its process to its end, beside `sqlite3 .dump | sqlite3`.
//! - `cargo bench --bench pull -- indexed`: a table with three plain indexes into a new file, which gets them after its rows.
//! - `cargo bench --bench pull --features cli -- unchanged`: a pull of what has not changed, as a call and as a whole command.
//! - `cargo bench --bench pull -- link`: a pull through a link of 10 Mbit/s with a round trip of 100 ms.
//!
//! `--runs N` measures N times (3 if nothing is said). `memory` takes `--megabytes N` for the size of its table (1,000), and
//! `--large` for 5 GB; it takes what the disk has room for. `ROWFERRY_BENCH_SCALE=10` measures a tenth of the rows.

mod chart;
#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/support/counting.rs"]
mod counting;
mod indexed;
mod link;
mod locks;
mod memory;
mod others;
mod pair;
mod relay;
mod small;
mod speed;
mod standard;
mod unchanged;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo adds the word `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if pair::plays(&words) {
        return ExitCode::SUCCESS;
    }
    match Arguments::parse(&words) {
        Ok(Arguments { what: What::Standard, runs, .. }) => standard::measure(runs),
        Ok(Arguments { what: What::Growth, runs, .. }) => standard::measure_growth(runs),
        Ok(Arguments { what: What::Memory, megabytes, .. }) => memory::measure(megabytes),
        Ok(Arguments { what: What::Locks, runs, .. }) => locks::measure(runs),
        Ok(Arguments { what: What::Small, runs, .. }) => small::measure(runs),
        Ok(Arguments { what: What::Indexed, runs, .. }) => indexed::measure(runs),
        Ok(Arguments { what: What::Link, runs, .. }) => link::measure(runs),
        Ok(Arguments { what: What::Unchanged, runs, .. }) => unchanged::measure(runs),
        Ok(Arguments { what: What::Chart, runs, .. }) => return exit(speed::measure(runs)),
        Ok(Arguments { what: What::Draw, .. }) => return exit(speed::draw()),
        Err(why) => {
            eprintln!(
                "{why}\nusage: [chart | draw | growth | memory [--megabytes N | --large] | locks | small | indexed | link | unchanged] [--runs N]"
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn exit(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

enum What {
    Standard,
    Chart,
    Draw,
    Growth,
    Memory,
    Locks,
    Small,
    Indexed,
    Link,
    Unchanged,
}

struct Arguments {
    what: What,
    runs: usize,
    megabytes: u64,
}

impl Arguments {
    fn parse(words: &[String]) -> Result<Arguments, String> {
        let mut arguments = Arguments { what: What::Standard, runs: 3, megabytes: 1_000 };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut number = || common::number_after(word, &mut words);
            match word {
                "chart" => arguments.what = What::Chart,
                "draw" => arguments.what = What::Draw,
                "growth" => arguments.what = What::Growth,
                "memory" => arguments.what = What::Memory,
                "locks" => arguments.what = What::Locks,
                "small" => arguments.what = What::Small,
                "indexed" => arguments.what = What::Indexed,
                "link" => arguments.what = What::Link,
                "unchanged" => arguments.what = What::Unchanged,
                "--runs" => arguments.runs = number()? as usize,
                "--megabytes" => arguments.megabytes = number()?,
                "--large" => arguments.megabytes = 5_000,
                _ => return Err(format!("{word:?} is not known")),
            }
        }
        Ok(arguments)
    }
}
