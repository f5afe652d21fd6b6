//! The peak memory of both ends, without PostgreSQL's own processes.

use crate::bench::{Bench, Pulls};
use crate::databases::Before;
use crate::pair::Pulled;

/// What either end may have, at most.
const TARGET_BYTES: u64 = 80_000_000;

pub fn measure(bench: &Bench) {
    measure_one(bench, "memory, PostgreSQL to PostgreSQL", || bench.pull(Before::Empty, [bench.rows, 0, 0]));
    measure_one(bench, "memory, PostgreSQL to SQLite", || bench.pull_into_sqlite());
}

fn measure_one(bench: &Bench, name: &str, pull: impl Fn() -> Pulled) {
    let mut pulls = Pulls::default();
    (0..bench.runs).for_each(|_| pulls.push(&pull()));
    let ends = [pulls.sender_kb, pulls.receiver_kb].map(|kb| kb * 1024);
    let is_met = ends.iter().all(|bytes| (1..TARGET_BYTES).contains(bytes));
    let [sender, receiver] = ends.map(|bytes| bytes as f64 / 1e6);
    println!(
        "{name:<34} sender {sender:.1} MB, receiver {receiver:.1} MB  < {} MB  {}",
        TARGET_BYTES / 1_000_000,
        if is_met { "met" } else { "NOT MET" }
    );
}
