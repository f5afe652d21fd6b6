//! PostgreSQL to PostgreSQL, where the rows are there already.

use crate::bench::Bench;
use crate::databases::Before;
use crate::psql;

/// What is aimed at where all rows differ: the ratio of a whole pull to COPY into a temporary table and one upsert, at most.
const TARGET: f64 = 1.5;

pub fn measure(bench: &Bench) {
    let (rows, few) = (bench.rows, bench.rows / 100);
    let limit = || psql::overwrite(&bench.databases);
    bench.compare("overwrite, all differ", Some(TARGET), limit, || bench.pull(Before::AllDiffer, [0, rows, 0]));
    bench.compare("overwrite, 1 % differ", None, limit, || bench.pull(Before::FewDiffer, [0, few, rows - few]));
    bench.compare("overwrite, none differ", None, limit, || bench.pull(Before::Same, [0, 0, rows]));
}
