//! PostgreSQL to SQLite.

use rowferry::Strategy;

use crate::bench::Bench;
use crate::common::NARROW;
use crate::psql;

/// What is aimed at: the ratio of a whole pull to the larger of its two limits, at most.
const TARGET: f64 = 1.25;

pub fn measure(bench: &Bench) {
    let databases = &bench.databases;
    let limit = || {
        let read = psql::to_nowhere(databases);
        let (_folder, path) = databases.sqlite_target();
        read.max(NARROW.limit(&databases.sqlite_source(), &path, Strategy::Overwrite))
    };
    bench.compare("out, into an empty SQLite table", Some(TARGET), limit, || bench.pull_into_sqlite());
}
