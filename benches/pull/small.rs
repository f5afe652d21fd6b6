//! Small pulls as whole commands: from the start of the receiving process to its end. What is not the rows weighs most here.
//!
//! Beside each in the same run stand `sqlite3 .dump | sqlite3` into a new file, which are whole commands too, and the limit:
//! SQLite's own statements between two attached files in this process, from the opening of the new file on; of the large table
//! the one statement alone, into a table that is there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rowferry::Strategy;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::common::ratio::Times;
use crate::common::{Content, NARROW, scale};
use crate::others::installed_dump;
use crate::pair::{COMMAND, Sender, pull_by_command};

/// How many small tables there are.
const TABLES: [u64; 4] = [1, 60, 400, 1_000];
/// Rows of a small table.
const ROWS: u64 = 2;
/// Rows of the narrow table.
const NARROW_ROWS: u64 = 100_000;

/// Another way to copy a database into a new file.
type Dump = Option<fn(source: &Path, target: &Path) -> Duration>;

pub fn measure(runs: usize) {
    let dump = installed_dump();
    match COMMAND {
        Some(_) => println!("The command is `rowferry pull`."),
        None => println!("`rowferry` is not built (--features cli): a process that does the same stands for the command."),
    }
    println!("{runs} runs: medians; ratios within one run, with the least and the most.");
    println!(
        "\n{:>6} {:>7} {:<16} {:>9} {:>9} {:>9} {:>8} {:>13} {:>8} {:>13}",
        "tables", "rows", "case", "limit", "dump", "pull", "to limit", "", "to dump", ""
    );
    let mut all: Vec<Measured> = TABLES.iter().map(|tables| Measured::new(Source::small(*tables))).collect();
    all.push(Measured::new(Source::narrow((NARROW_ROWS / scale()).max(1))));
    for _ in 0..runs {
        all.iter_mut().for_each(|measured| measured.run(dump));
    }
    all.iter().for_each(Measured::print);
}

/// A database to pull from.
struct Source {
    folder: TempDir,
    tables: u64,
    rows: u64,
}

impl Source {
    /// So many tables of two rows.
    fn small(tables: u64) -> Source {
        let source = Source { folder: tempfile::tempdir().expect("a temporary folder"), tables, rows: tables * ROWS };
        let sqlite = Connection::open(source.path()).expect("a database");
        sqlite.execute_batch("PRAGMA journal_mode = WAL; BEGIN").expect("a transaction");
        for name in source.names() {
            let (create, insert) = (create(&name), format!("INSERT INTO {name} VALUES (1, 'one'), (2, 'two')"));
            sqlite.execute_batch(&format!("{create}; {insert}")).expect("a table");
        }
        sqlite.execute_batch("COMMIT").expect("a commit");
        drop(sqlite);
        source.kept()
    }

    fn narrow(rows: u64) -> Source {
        let source = Source { folder: tempfile::tempdir().expect("a temporary folder"), tables: 1, rows };
        NARROW.make(&source.path(), rows, Content::Source);
        source.kept()
    }

    /// With a copy of it to which a sender adds nothing.
    fn kept(self) -> Source {
        std::fs::copy(self.path(), self.plain()).expect("a copy");
        self
    }

    fn plain(&self) -> PathBuf {
        self.folder.path().join("plain.db")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("source.db")
    }

    fn is_narrow(&self) -> bool {
        self.rows > self.tables * ROWS
    }

    fn names(&self) -> Vec<String> {
        if self.is_narrow() { vec!["t".to_owned()] } else { (0..self.tables).map(|at| format!("table_{at:04}")).collect() }
    }

    /// A path where no file is, in a folder of its own.
    fn no_target(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a temporary folder");
        let path = folder.path().join("target.db");
        (folder, path)
    }

    /// The limit into a new file, and again into the same one, where each row is equal.
    fn limits(&self) -> [Duration; 2] {
        let (_folder, path) = self.no_target();
        if self.is_narrow() {
            NARROW.make(&path, 0, Content::Empty);
            return [(); 2].map(|()| NARROW.limit(&self.path(), &path, Strategy::Overwrite));
        }
        let copy = |statement: &dyn Fn(&str) -> String| {
            let began = Instant::now();
            let sqlite = Connection::open(&path).expect("a database");
            sqlite.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").expect("pragmas");
            sqlite.execute("ATTACH ?1 AS src", [self.path().to_string_lossy()]).expect("the source");
            sqlite.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
            for name in self.names() {
                sqlite.execute_batch(&statement(&name)).expect("the limit's statements");
            }
            sqlite.execute_batch("COMMIT").expect("a commit");
            began.elapsed()
        };
        let insert = |name: &str| format!("INSERT INTO main.{name} SELECT * FROM src.{name} WHERE true");
        let upsert = |name: &str| format!("{} ON CONFLICT(id) DO UPDATE SET name = excluded.name", insert(name));
        [copy(&|name| format!("{}; {}", create(name), insert(name))), copy(&upsert)]
    }

    /// A pull into a new file, and again into the same one. The rows must be those of the source after each.
    fn pulls(&self) -> [Duration; 2] {
        let (_folder, path) = self.no_target();
        [(); 2].map(|()| {
            let took = pull_by_command(Sender::start(&self.path()), &path);
            let sqlite = Connection::open(&path).expect("a database");
            sqlite.execute("ATTACH ?1 AS src", [self.path().to_string_lossy()]).expect("the source");
            let same = |name: &String| {
                let count = format!("SELECT count(*) FROM src.{name} NATURAL JOIN main.{name}");
                sqlite.query_row(&count, [], |row| row.get::<_, i64>(0)).expect("a count")
            };
            assert_eq!(self.names().iter().map(same).sum::<i64>(), self.rows as i64, "rows that are the same");
            took
        })
    }
}

fn create(name: &str) -> String {
    format!("CREATE TABLE {name}(id INTEGER PRIMARY KEY, name TEXT)")
}

/// A source with its times: into a new file, and again.
struct Measured {
    source: Source,
    limits: [Times; 2],
    pulls: [Times; 2],
    dumps: Times,
}

impl Measured {
    fn new(source: Source) -> Measured {
        Measured { source, limits: Default::default(), pulls: Default::default(), dumps: Times::default() }
    }

    fn run(&mut self, dump: Dump) {
        for (times, took) in self.limits.iter_mut().zip(self.source.limits()) {
            times.push(took);
        }
        if let Some(dump) = dump {
            let (_folder, path) = self.source.no_target();
            self.dumps.push(dump(&self.source.plain(), &path));
        }
        for (times, took) in self.pulls.iter_mut().zip(self.source.pulls()) {
            times.push(took);
        }
    }

    fn print(&self) {
        for (at, case) in ["into a new file", "again, all equal"].into_iter().enumerate() {
            let (limits, pulls) = (&self.limits[at], &self.pulls[at]);
            let (dump, to_dump) = match self.dumps.is_empty() {
                true => ("-".to_owned(), String::new()),
                false => (format!("{:.1} ms", self.dumps.median_ms()), pulls.ratio_to(&self.dumps).to_string()),
            };
            println!(
                "{:>6} {:>7} {case:<16} {:>6.1} ms {dump:>9} {:>6.1} ms   {}   {to_dump}",
                self.source.tables,
                self.source.rows,
                limits.median_ms(),
                pulls.median_ms(),
                pulls.ratio_to(limits)
            );
        }
    }
}
