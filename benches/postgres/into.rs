//! SQLite to PostgreSQL.

use std::path::Path;
use std::time::{Duration, Instant};

use rowferry::{PullOptions, Records, Strategy};

use crate::bench::Bench;
use crate::common::ratio::Times;
use crate::common::read;
use crate::databases::Before;
use crate::{pair, psql};

/// What is aimed at: the ratio of the import of decoded rows to psql's COPY of the same rows from a file, at most.
const TARGET: f64 = 1.3;

pub fn measure(bench: &Bench) {
    let source = bench.databases.sqlite_source();
    let file = bench.databases.folder.path().join("rows.copy");
    psql::write_file(&bench.databases, &file);
    let records = read(&source);
    let (mut limits, mut times) = (Times::default(), Times::default());
    for _ in 0..bench.runs {
        limits.push(psql::copy_file(&bench.databases, &file));
        times.push(import(bench, &records));
    }
    bench.report("into, the import", Some(TARGET), &limits, &times, "");
    let pull = || bench.pull_into_postgres(&source, Before::Empty, [bench.rows, 0, 0]);
    bench.compare("into, the whole pull", None, || psql::copy_file(&bench.databases, &file), pull);
}

fn import(bench: &Bench, records: &Records) -> Duration {
    let target = bench.databases.target(Before::Empty);
    let site = pair::open(Path::new(&target.url));
    let began = Instant::now();
    let options = PullOptions::new().strategy(Strategy::Overwrite).batch_size(5_000);
    let report = site.import_records("t", records, options).expect("an import");
    let took = began.elapsed();
    assert_eq!((report.outcome.created, report.outcome.failed), (bench.rows, 0), "created, failed");
    drop(site);
    bench.databases.check(&target.url);
    took
}
