//! PostgreSQL to PostgreSQL.

use crate::bench::Bench;
use crate::databases::Before;
use crate::psql;

/// What is aimed at: the ratio of a whole pull to COPY between two psqls, at most.
const TARGET: f64 = 1.3;

pub fn measure(bench: &Bench) {
    let limit = || psql::copy(&bench.databases);
    bench.compare("copy, into an empty table", Some(TARGET), limit, || bench.pull(Before::Empty, [bench.rows, 0, 0]));
    bench.compare("copy, the table is made", Some(TARGET), limit, || bench.pull(Before::Nothing, [bench.rows, 0, 0]));
}
