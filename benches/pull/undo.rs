//! What it costs to keep what undoes a pull: an overwrite of rows that all differ, with and without it, and the undo itself.

use std::path::Path;
use std::time::Instant;

use rowferry::{Site, Strategy, TransferFilter, UndoOptions};

use crate::common::ratio::{Times, verdict};
use crate::common::{Content, NARROW, scale};
use crate::pair::{Manners, Sender, pull_from};

/// What is aimed at: the time of such a pull to that of one that keeps nothing, at most.
const TARGET: f64 = 1.3;

pub fn measure(runs: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, rows) = (folder.path().join("source.db"), (NARROW.rows / scale()).max(1));
    NARROW.make(&source, rows, Content::Source);
    let (mut plain, mut kept, mut undone, mut bytes) = (Times::default(), Times::default(), Times::default(), 0);
    for _ in 0..runs {
        for (manners, times) in [(Manners::Default, &mut plain), (Manners::Undoable, &mut kept)] {
            let folder = tempfile::tempdir_in(folder.path()).expect("a temporary folder");
            let target = folder.path().join("target.db");
            NARROW.make(&target, rows, Content::Changed);
            let pulled = pull_from(Sender::start(&source), None, &target, Strategy::Overwrite, manners, || {});
            assert_eq!(pulled.counts, [0, rows, 0, 0, 0], "created, updated, unchanged, skipped, failed");
            times.push(pulled.took);
            if manners == Manners::Undoable {
                bytes = kept_bytes(&target);
                let site = Site::open(&target).expect("a site");
                let transfer = site.transfers().list(&TransferFilter::new()).expect("transfers").remove(0);
                let began = Instant::now();
                let report = site.transfers().undo(transfer.uuid, UndoOptions::new()).expect("an undo");
                undone.push(began.elapsed());
                assert_eq!((report.tables[0].restored, report.kept()), (rows, 0));
            }
        }
    }
    let ratio = kept.ratio_to(&plain);
    println!("{runs} runs: medians, with the least and the most.");
    println!(
        "{rows} rows: {:.0} ms, {:.0} ms with what undoes it, {ratio}  {}; {:.1} MB kept; undone in {:.0} ms",
        plain.median_ms(),
        kept.median_ms(),
        verdict(ratio.median, Some(TARGET)),
        bytes as f64 / 1e6,
        undone.median_ms(),
    );
}

fn kept_bytes(database: &Path) -> i64 {
    let sqlite = rusqlite::Connection::open(database).expect("a database");
    sqlite.query_row("SELECT sum(bytes) FROM rowferry_undo", [], |row| row.get(0)).expect("a sum")
}
