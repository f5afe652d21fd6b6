//! Scratch driver, not committed.
#[path = "../benches/common/mod.rs"]
mod common;
use common::{Content, NARROW, Table, WIDE};
use rowferry::{Records, Site, Strategy, TransferOptions, Value};
use std::path::Path;
use std::time::Instant;

fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}
fn read(path: &Path) -> Records {
    let sqlite = rusqlite::Connection::open(path).expect("a database");
    let mut statement = sqlite.prepare("SELECT * FROM t ORDER BY id").expect("a query");
    let mut records = Records::new(statement.column_names());
    let width = records.columns.len();
    let mut rows = statement.query([]).expect("rows");
    while let Some(row) = rows.next().expect("a row") {
        records.push((0..width).map(|at| match row.get_ref(at).expect("a value") {
            rusqlite::types::ValueRef::Null => Value::Null,
            rusqlite::types::ValueRef::Integer(v) => Value::Integer(v),
            rusqlite::types::ValueRef::Real(v) => Value::Real(v),
            rusqlite::types::ValueRef::Text(v) => Value::Text(v.to_vec()),
            rusqlite::types::ValueRef::Blob(v) => Value::Blob(v.to_vec()),
        }));
    }
    records
}
#[inline(never)]
#[unsafe(no_mangle)]
fn run_limit(table: &Table, source: &Path, target: &Path, strategy: Strategy) -> f64 {
    table.limit(source, target, strategy).as_secs_f64() * 1e3
}
#[inline(never)]
#[unsafe(no_mangle)]
fn run_import(site: &Site, records: &Records, strategy: Strategy) -> rowferry::TableReport {
    site.import_records("t", records, TransferOptions::new().strategy(strategy).batch_size(5_000)).unwrap()
}
fn ctl(what: &str) { if let Ok(p) = std::env::var("CTL") { use std::io::Write; std::fs::OpenOptions::new().write(true).open(p).unwrap().write_all(what.as_bytes()).unwrap(); std::thread::sleep(std::time::Duration::from_millis(30)); } }
fn med(v: &mut Vec<f64>) -> f64 { v.sort_by(|a, b| a.partial_cmp(b).unwrap()); v[v.len() / 2] }
fn low(v: &mut Vec<f64>) -> f64 { v.sort_by(|a, b| a.partial_cmp(b).unwrap()); v[0] }
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let which = args.get(1).map_or("", |s| s);
    let n: usize = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(5);
    let only = args.get(3).is_some();
    for table in [NARROW, WIDE] {
        if !format!("{} ", table.name).contains(which.split(':').next().unwrap()) && which != "" { continue; }
        let base = tempfile::tempdir().unwrap();
        let rows = table.rows / common::scale();
        for (f, c) in [("source.db", Content::Source), ("other.db", Content::Changed), ("empty.db", Content::Empty)] {
            table.make(&base.path().join(f), rows, c);
        }
        let records = read(&base.path().join("source.db"));
        for (case, strategy, before) in [
            ("empty", Strategy::Overwrite, "empty.db"),
            ("differ", Strategy::Overwrite, "other.db"),
            ("equal", Strategy::Overwrite, "source.db"),
            ("merge", Strategy::Merge, "other.db"),
            ("skip", Strategy::Skip, "source.db"),
        ] {
            if let Some(c) = which.split(':').nth(1) { if c != case { continue; } }
            let (mut lw, mut lc, mut iw, mut ic) = (vec![], vec![], vec![], vec![]);
            for _ in 0..n {
                if !only {
                    let folder = tempfile::tempdir().unwrap();
                    std::fs::copy(base.path().join(before), folder.path().join("target.db")).unwrap();
                    let c = cpu();
                    lw.push(run_limit(&table, &base.path().join("source.db"), &folder.path().join("target.db"), strategy));
                    lc.push(cpu() - c);
                }
                let folder = tempfile::tempdir().unwrap();
                std::fs::copy(base.path().join(before), folder.path().join("target.db")).unwrap();
                let mut limits = rowferry::Limits::default(); if std::env::var("BIG").is_ok() { limits.commit_bytes = 1 << 30; limits.commit_rows = 10_000_000; limits.commit_time = std::time::Duration::from_secs(20); } let site = Site::builder().limits(limits).open(folder.path().join("target.db")).unwrap();
                ctl("enable\n");
                let (began, c) = (Instant::now(), cpu());
                let report = run_import(&site, &records, strategy);
                iw.push(began.elapsed().as_secs_f64() * 1e3);
                ic.push(cpu() - c);
                ctl("disable\n");
                assert_eq!(report.outcome.total(), rows);
                if only { continue; }
            }
            if only { println!("{} {case}: {:.0} ms cpu {:.0}", table.name, med(&mut iw), med(&mut ic)); continue; }
            let (lw, lc, iw, ic) = (low(&mut lw), low(&mut lc), low(&mut iw), low(&mut ic));
            println!("{:<7} {case:<8} wall {lw:>6.0} {iw:>6.0} = {:.2}   cpu {lc:>6.0} {ic:>6.0} = {:.2}", table.name, iw / lw, ic / lc);
        }
    }
}
