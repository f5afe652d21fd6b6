//! The peak memory of both ends: a table of many rows, and a few large rows.

use std::path::Path;
use std::process::Command;

use rowferry::Strategy;

use crate::common::{Content, HUGE_BLOBS, KILOBYTES, Table};
use crate::pair::pull_once;

/// What either end may have, besides the largest row twice.
const TARGET_BYTES: u64 = 100_000_000;
/// The source, the target, and logs and room for others: the disk must have so many times the table's size.
const COPIES: u64 = 3;

pub fn measure(megabytes: u64) {
    let asked = megabytes.saturating_mul(1_000_000);
    let bytes = match free_bytes(&std::env::temp_dir()) {
        Some(free) => asked.min(free / COPIES),
        None => asked,
    };
    if bytes < asked {
        println!("The disk has room for {} MB only, instead of {megabytes} MB.", bytes / 1_000_000);
    }
    println!("{:<6} {:>8} {:>9} {:>9} {:>9} {:>9}", "rows", "number", "took", "sender", "receiver", "target");
    measure_table(&KILOBYTES, (bytes / 1_000).max(1), 1_000);
    measure_table(&HUGE_BLOBS, HUGE_BLOBS.rows, 50_000_000);
}

fn measure_table(table: &Table, rows: u64, row_bytes: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, target) = (folder.path().join("source.db"), folder.path().join("target.db"));
    table.make(&source, rows, Content::Source);
    table.make(&target, rows, Content::Empty);
    let pulled = pull_once(&source, &target, Strategy::Overwrite);
    let most = TARGET_BYTES + 2 * row_bytes;
    let met = [pulled.sender_kb, pulled.receiver_kb].iter().all(|kb| *kb > 0 && kb * 1024 <= most);
    println!(
        "{:<6} {rows:>8} {:>7.1} s {:>6} MB {:>6} MB {:>6} MB  {}{}",
        table.name,
        pulled.took.as_secs_f64(),
        pulled.sender_kb * 1024 / 1_000_000,
        pulled.receiver_kb * 1024 / 1_000_000,
        most / 1_000_000,
        if met { "met" } else { "NOT MET" },
        match pulled.counts {
            [created, 0, 0, 0, 0] if created == rows => String::new(),
            counts => format!("; created, updated, unchanged, skipped, failed: {counts:?}"),
        }
    );
}

/// What `df` says is free; `None` where there is no `df`.
fn free_bytes(folder: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kilobytes: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kilobytes * 1024)
}
