//! What one would take instead of a pull to copy a table into another file.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{NARROW, WIDE};

/// Another way to copy a database, or its table `t`, into a file that does not exist yet.
pub struct Other {
    pub name: &'static str,
    pub copy: fn(source: &Path, target: &Path) -> Duration,
    tool: &'static str,
    /// A whole pull's time should be at most so much of this one's, by table.
    pub targets: &'static [(&'static str, f64)],
}

const BACKUP: &str = "sqlite3 .backup";

const ALL: [Other; 3] = [
    Other {
        name: "sqlite3 .dump | sqlite3",
        copy: dump,
        tool: "sqlite3",
        targets: &[(NARROW.name, 0.25), (WIDE.name, 0.45)],
    },
    Other { name: BACKUP, copy: backup, tool: "sqlite3", targets: &[] },
    Other { name: "python3, row by row", copy: script, tool: "python3", targets: &[] },
];

/// Those whose tools are installed. The others are named.
pub fn installed() -> Vec<Other> {
    let (installed, missing): (Vec<Other>, Vec<Other>) = ALL.into_iter().partition(|other| runs(other.tool));
    for other in missing {
        println!("left out, because {} is not installed: {}", other.tool, other.name);
    }
    installed
}

/// Those that write rows as a pull does; `.backup` copies pages and merges nothing.
pub fn for_chart() -> Result<Vec<Other>, String> {
    let rows: Vec<Other> = ALL.into_iter().filter(|other| other.name != BACKUP).collect();
    match rows.iter().find(|other| !runs(other.tool)) {
        Some(missing) => Err(format!("the chart needs {}, which is not installed", missing.tool)),
        None => Ok(rows),
    }
}

fn runs(tool: &str) -> bool {
    let status = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// `sqlite3 source .dump | sqlite3 target`, if the tool is installed; if it is not, that is said.
pub fn installed_dump() -> Option<fn(source: &Path, target: &Path) -> Duration> {
    let is_there = runs("sqlite3");
    if !is_there {
        println!("left out, because sqlite3 is not installed: sqlite3 .dump | sqlite3");
    }
    is_there.then_some(dump)
}

/// `sqlite3 source .dump | sqlite3 target`
fn dump(source: &Path, target: &Path) -> Duration {
    let began = Instant::now();
    let mut reader = Command::new("sqlite3").arg(source).arg(".dump").stdout(Stdio::piped()).spawn().expect("sqlite3");
    let dumped = reader.stdout.take().expect("its output");
    let writer = Command::new("sqlite3").arg(target).stdin(dumped).status().expect("sqlite3");
    assert!(writer.success() && reader.wait().expect("its end").success());
    began.elapsed()
}

/// `sqlite3 source ".backup target"`
fn backup(source: &Path, target: &Path) -> Duration {
    let began = Instant::now();
    let status = Command::new("sqlite3").arg(source).arg(format!(".backup '{}'", target.display())).status();
    assert!(status.expect("sqlite3").success());
    began.elapsed()
}

/// One INSERT for each row, in one transaction.
const SCRIPT: &str = "
import sqlite3, sys, time
source, target = (sqlite3.connect(file, isolation_level=None) for file in sys.argv[1:])
began = time.monotonic()
target.execute(source.execute(\"SELECT sql FROM sqlite_schema WHERE name = 't'\").fetchone()[0])
rows = source.execute('SELECT * FROM t')
insert = 'INSERT INTO t VALUES (' + ', '.join('?' for _ in rows.description) + ')'
target.execute('BEGIN')
for row in rows:
    target.execute(insert, row)
target.execute('COMMIT')
print(time.monotonic() - began)
";

/// The script's own time, without the start of Python.
fn script(source: &Path, target: &Path) -> Duration {
    let output = Command::new("python3").args(["-c", SCRIPT]).args([source, target]).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seconds = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    Duration::from_secs_f64(seconds)
}
