//! What the README's chart shows: measured, kept in `docs/speed.json`, and drawn as `docs/speed.svg`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::chart::{Measured, Speed, Way, svg};
use crate::common::ratio::Times;
use crate::common::{BLOBS, NARROW, Table, WIDE, scale};
use crate::others::{self, Other};
use crate::pair::pull_once;
use crate::standard::{Bench, INTO_EMPTY, usual_rows};

/// The name of the limit in the chart.
const LIMIT: &str = "SQLite: INSERT ... SELECT";

/// Measures pulls into an empty table beside the other ways, and writes both files.
pub fn measure(runs: usize) -> Result<(), String> {
    let others = others::for_chart()?;
    let tables = [NARROW, WIDE, BLOBS].map(|table| measure_table(table, runs, &others));
    if scale() != 1 {
        println!("nothing is written: the chart shows whole tables, and ROWFERRY_BENCH_SCALE is set");
        return Ok(());
    }
    let speed = Speed { tables: tables.into() };
    let json = serde_json::to_string_pretty(&speed).map_err(|error| error.to_string())?;
    write("speed.json", &(json + "\n"))?;
    draw()
}

/// Draws what was measured last.
pub fn draw() -> Result<(), String> {
    let path = docs("speed.json");
    let json = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let speed: Speed = serde_json::from_str(&json).map_err(|error| format!("{}: {error}", path.display()))?;
    write("speed.svg", &svg(&speed))
}

fn measure_table(table: Table, runs: usize, others: &[Other]) -> Measured {
    let bench = Bench::new(table, usual_rows(&table));
    let (mut limits, mut pulls) = (Times::default(), Times::default());
    let mut times: Vec<Times> = others.iter().map(|_| Times::default()).collect();
    for _ in 0..runs {
        limits.push(bench.limit(&INTO_EMPTY));
        pulls.push(bench.pull(&INTO_EMPTY, |source, target| pull_once(source, target, INTO_EMPTY.strategy)).took);
        for (other, times) in others.iter().zip(&mut times) {
            times.push(bench.copy(other));
        }
    }
    let way = |name: &str, times: &Times| Way { way: name.into(), of_pull: hundredths(times.ratio_to(&pulls).median) };
    let mut ways = vec![way(LIMIT, &limits)];
    ways.extend(others.iter().zip(&times).map(|(other, times)| way(other.name, times)));
    ways.iter().for_each(|way| println!("{:<7} {:<26} {:>6.2} times a pull", table.name, way.way, way.of_pull));
    Measured { table: table.name.into(), rows: bench.rows, pull_ms: pulls.median_ms().round(), others: ways }
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn write(name: &str, text: &str) -> Result<(), String> {
    let path = docs(name);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}
