//! How long another writer of the receiving table waits while a pull writes there.
//!
//! It is a connection of another process, which adds a row, rests for 20 ms, and so on while the pull runs. The waits of all runs are
//! taken together. One pull treats others as it does when nothing is said, the other one keeps its lock for a short time only.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ::postgres::{Client, NoTls};
use rowferry::Strategy;

use crate::bench::Bench;
use crate::common::waits::Waits;
use crate::databases::Before;
use crate::pair::{Manners, Sender, pull_from};

const REST: Duration = Duration::from_millis(20);

pub fn measure(bench: &Bench) {
    for manners in [Manners::Default, Manners::Polite] {
        let mut waits = Waits::default();
        (0..bench.runs).for_each(|_| waits.add(pull_beside_writer(bench, manners)));
        waits.times.sort();
        println!(
            "{:<34} {} writes: median {:.1} ms, 99 % {:.1} ms, longest {:.1} ms",
            format!("locks, {} pull", manners.word()),
            waits.times.len(),
            waits.at_percent(50),
            waits.at_percent(99),
            waits.at_percent(100)
        );
    }
}

fn pull_beside_writer(bench: &Bench, manners: Manners) -> Waits {
    let target = bench.databases.target(Before::Empty);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut writer = None;
        let sender = Sender::start(Path::new(&bench.databases.source));
        let begun = || writer = Some(scope.spawn(|| write_beside(&target.url, &over)));
        let pulled = pull_from(sender, None, Path::new(&target.url), Strategy::Overwrite, manners, begun);
        over.store(true, Ordering::SeqCst);
        assert_eq!(pulled.counts, [bench.rows, 0, 0, 0, 0], "created, updated, unchanged, skipped, failed");
        writer.expect("it begins with the pull").join().expect("the other writer")
    })
}

/// Adds rows whose keys the source does not have.
fn write_beside(url: &str, over: &AtomicBool) -> Waits {
    let mut client = Client::connect(url, NoTls).expect("a connection");
    let insert = client.prepare("INSERT INTO t (id, name) VALUES ($1, 'beside')").expect("a statement");
    let (mut waits, mut id) = (Waits::default(), -1_i64);
    while !over.load(Ordering::SeqCst) {
        let began = Instant::now();
        client.execute(&insert, &[&id]).expect("a row");
        waits.times.push(began.elapsed());
        id -= 1;
        thread::sleep(REST);
    }
    waits
}
