//! Each table in each case, through both protocols, and other ways to copy it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rowferry::Strategy;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::common::ratio::{Ratio, Times, verdict};
use crate::common::{BLOBS, Content, NARROW, Table, WIDE, scale};
use crate::others::{self, Other};
use crate::pair::{Manners, Pulled, Sender, pull_from, pull_once};
use crate::relay;

/// What is pulled into what.
pub struct Case {
    name: &'static str,
    pub strategy: Strategy,
    before: Content,
    /// What the limit's statement finds. Where all is equal, the limit is that of rows that differ.
    limit_before: Content,
    /// Which of a report's counts all records must be in.
    counted: usize,
}

/// A first pull.
pub const INTO_EMPTY: Case = Case {
    name: "into empty",
    strategy: Strategy::Overwrite,
    before: Content::Empty,
    limit_before: Content::Empty,
    counted: 0,
};

const CASES: [Case; 4] = [
    INTO_EMPTY,
    Case {
        name: "overwrite, all differ",
        strategy: Strategy::Overwrite,
        before: Content::Changed,
        limit_before: Content::Changed,
        counted: 1,
    },
    Case {
        name: "overwrite, all equal",
        strategy: Strategy::Overwrite,
        before: Content::Source,
        limit_before: Content::Changed,
        counted: 2,
    },
    Case { name: "skip all", strategy: Strategy::Skip, before: Content::Source, limit_before: Content::Source, counted: 3 },
];

/// What is aimed at: the ratio of a whole pull to its limit, at most.
const TARGETS: [(&str, &str, f64); 4] = [
    (NARROW.name, "into empty", 1.25),
    (WIDE.name, "into empty", 1.35),
    (NARROW.name, "overwrite, all equal", 0.85),
    (WIDE.name, "overwrite, all equal", 0.30),
];
/// The same for PhoenixKit's protocol's JSON, narrow into empty.
const REFERENCE_TARGET: f64 = 4.0;
/// How much larger the ratio to the limit may be with ten times the rows.
const GROWTH_TARGET: f64 = 1.1;

pub fn measure(runs: usize) {
    let others = others::installed();
    print_head(runs);
    let tenth = measure_cases(&Bench::new(NARROW, usual_rows(&NARROW) / 10), runs, None);
    let mut usual = Vec::new();
    for table in [NARROW, WIDE, BLOBS] {
        let bench = Bench::new(table, usual_rows(&table));
        usual.push(measure_cases(&bench, runs, Some(&others)));
    }
    print_growth(&tenth, &usual[0]);
}

/// The narrow table as usual, and with ten times the rows.
pub fn measure_growth(runs: usize) {
    print_head(runs);
    let [usual, tenfold] = [1, 10].map(|times| measure_cases(&Bench::new(NARROW, usual_rows(&NARROW) * times), runs, None));
    print_growth(&usual, &tenfold);
}

fn print_head(runs: usize) {
    println!("{runs} runs: medians, with the least and the most; `limit` is SQLite's own statement in the same run.");
    println!("\n{:<7} {:>8} {:<24} {:>9} {:>9} {:>6} {:>13}", "table", "rows", "case", "limit", "took", "ratio", "");
}

fn print_growth(few: &[Ratio], many: &[Ratio]) {
    println!("\nThe ratio with ten times the rows, narrow:");
    for (case, (few, many)) in CASES.iter().zip(few.iter().zip(many)) {
        let growth = many.median / few.median;
        println!("{:<24} {growth:>6.2} times  {}", case.name, verdict(growth, Some(GROWTH_TARGET)));
    }
}

pub fn usual_rows(table: &Table) -> u64 {
    (table.rows / scale()).max(1)
}

/// A table in a file, as it is to be pulled, and files to pull it into.
pub struct Bench {
    folder: TempDir,
    table: Table,
    pub rows: u64,
}

impl Bench {
    pub fn new(table: Table, rows: u64) -> Bench {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bench = Bench { folder, table, rows };
        for content in [Content::Source, Content::Changed, Content::Empty] {
            bench.table.make(&bench.file(content), rows, content);
        }
        bench
    }

    fn file(&self, content: Content) -> PathBuf {
        self.folder.path().join(match content {
            Content::Source => "source.db",
            Content::Changed => "changed.db",
            Content::Empty => "empty.db",
        })
    }

    /// A file with this content to write to, in a folder of its own.
    fn target(&self, content: Content) -> (TempDir, PathBuf) {
        let (folder, path) = self.no_target();
        std::fs::copy(self.file(content), &path).expect("a copy");
        (folder, path)
    }

    /// A path where no file is, in a folder of its own.
    fn no_target(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a temporary folder");
        let path = folder.path().join("target.db");
        (folder, path)
    }

    pub fn limit(&self, case: &Case) -> Duration {
        let (_folder, path) = self.target(case.limit_before);
        self.table.limit(&self.file(Content::Source), &path, case.strategy)
    }

    /// The table by another way, into a new file.
    pub fn copy(&self, other: &Other) -> Duration {
        let (_folder, path) = self.no_target();
        (other.copy)(&self.file(Content::Source), &path)
    }

    /// A pull, after which the rows must be those of the source.
    pub fn pull(&self, case: &Case, pull: impl FnOnce(&Path, &Path) -> Pulled) -> Pulled {
        let (_folder, path) = self.target(case.before);
        let source = self.file(Content::Source);
        let pulled = pull(&source, &path);
        let mut expected = [0; 5];
        expected[case.counted] = self.rows;
        assert_eq!(pulled.counts, expected, "created, updated, unchanged, skipped, failed");
        assert_eq!(missing(&source, &path), 0, "rows that differ");
        pulled
    }

    fn report(&self, what: &str, limits: &Times, times: &Times, target: Option<f64>, more: &str) -> Ratio {
        let ratio = times.ratio_to(limits);
        println!(
            "{:<7} {:>8} {what:<24} {:>6.0} ms {:>6.0} ms {ratio}  {:<15}{more}",
            self.table.name,
            self.rows,
            limits.median_ms(),
            times.median_ms(),
            verdict(ratio.median, target)
        );
        ratio
    }
}

/// How many rows of the source are not the same in the target; none of them has a NULL.
fn missing(source: &Path, target: &Path) -> i64 {
    let sqlite = Connection::open(target).expect("a database");
    sqlite.execute("ATTACH ?1 AS src", [source.to_string_lossy()]).expect("the source");
    let query = "SELECT (SELECT count(*) FROM src.t) - (SELECT count(*) FROM src.t NATURAL JOIN main.t)";
    sqlite.query_row(query, [], |row| row.get(0)).expect("a count")
}

/// Pulls in each case; gives the ratios to the limit. Into an empty table the rows are copied in other ways too, if any are
/// given: through PhoenixKit's protocol, and by these.
fn measure_cases(bench: &Bench, runs: usize, others: Option<&[Other]>) -> Vec<Ratio> {
    let others = |case: &Case| others.filter(|_| case.before == Content::Empty);
    CASES.iter().map(|case| measure_case(bench, case, runs, others(case))).collect()
}

fn measure_case(bench: &Bench, case: &Case, runs: usize, others: Option<&[Other]>) -> Ratio {
    let (mut limits, mut pulls, mut sender_kb, mut receiver_kb) = (Times::default(), Times::default(), 0, 0);
    let mut instead = others.map(Instead::new);
    for _ in 0..runs {
        limits.push(bench.limit(case));
        let pulled = bench.pull(case, |source, target| pull_once(source, target, case.strategy));
        pulls.push(pulled.took);
        sender_kb = sender_kb.max(pulled.sender_kb);
        receiver_kb = receiver_kb.max(pulled.receiver_kb);
        if let Some(instead) = &mut instead {
            instead.run(bench, case);
        }
    }
    let usual = bench.rows == usual_rows(&bench.table);
    let target = TARGETS.iter().find(|(table, name, _)| usual && (*table, *name) == (bench.table.name, case.name));
    let memory = format!("  sender {} MB, receiver {} MB", sender_kb / 1024, receiver_kb / 1024);
    let ratio = bench.report(case.name, &limits, &pulls, target.map(|(_, _, most)| *most), &memory);
    if let Some(instead) = &instead {
        instead.report(bench, &limits, &pulls);
    }
    ratio
}

/// The times of other ways to copy the same rows.
struct Instead<'a> {
    reference: Times,
    others: Vec<(&'a Other, Times)>,
}

impl<'a> Instead<'a> {
    fn new(others: &'a [Other]) -> Self {
        Instead { reference: Times::default(), others: others.iter().map(|other| (other, Times::default())).collect() }
    }

    fn run(&mut self, bench: &Bench, case: &Case) {
        let by_reference = bench.pull(case, |source, target| pull_by_reference(source, target, case.strategy));
        self.reference.push(by_reference.took);
        for (other, times) in &mut self.others {
            times.push(bench.copy(other));
        }
    }

    fn report(&self, bench: &Bench, limits: &Times, pulls: &Times) {
        let target = (bench.table.name == NARROW.name).then_some(REFERENCE_TARGET);
        bench.report("by PhoenixKit's JSON", limits, &self.reference, target, "");
        for (other, times) in &self.others {
            let ratio = pulls.ratio_to(times).median;
            let target = other.targets.iter().find(|(table, _)| *table == bench.table.name);
            let pull = format!("  a pull takes {ratio:.2} of it  {}", verdict(ratio, target.map(|(_, most)| *most)));
            bench.report(other.name, limits, times, None, &pull);
        }
    }
}

/// A pull through PhoenixKit's protocol's JSON.
fn pull_by_reference(source: &Path, target: &Path, strategy: Strategy) -> Pulled {
    let sender = Sender::start(source);
    let relay = relay::start(&sender.url);
    pull_from(sender, Some(&relay), target, strategy, Manners::Default, || {})
}
