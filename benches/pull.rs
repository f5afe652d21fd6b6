//! Whole pulls over loopback, sender and receiver each a process of its own, against SQLite's own limit on the same rows.
//!
//! Prints the medians, their ratio, and the peak memory of both processes (where `/proc` tells it). The narrow table is
//! measured with a tenth of its rows too: the ratio should not grow with the rows. Run with `cargo bench --bench pull`;
//! `-- --runs 5` for more runs.

#[path = "common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Content, NARROW, Table, WIDE, median, scale};
use rowferry::{Auth, Client, ConnectOptions, Direction, Server, Site, Strategy, TransferOptions};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", database] => serve(Path::new(database)),
        ["pull", url, code, database, strategy] => {
            pull(url, code, Path::new(database), strategy.parse().expect("a strategy"))
        }
        _ => measure_all(&arguments),
    }
}

fn measure_all(arguments: &[String]) {
    let runs = arguments.iter().skip_while(|word| *word != "--runs").nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    println!(
        "{:<8} {:>9} {:<22} {:>9} {:>9} {:>6} {:>12} {:>12}",
        "table", "rows", "case", "limit", "pull", "ratio", "sender", "receiver"
    );
    for (table, divide) in [(NARROW, 10), (NARROW, 1), (WIDE, 1)] {
        let rows = (table.rows / divide / scale()).max(1);
        for (case, strategy, before) in [
            ("into empty", Strategy::Overwrite, Content::Empty),
            ("overwrite, all differ", Strategy::Overwrite, Content::Changed),
            ("overwrite, all equal", Strategy::Overwrite, Content::Source),
            ("skip all", Strategy::Skip, Content::Source),
        ] {
            measure(&table, rows, case, strategy, before, runs);
        }
    }
}

fn measure(table: &Table, rows: u64, case: &str, strategy: Strategy, before: Content, runs: usize) {
    let (mut limits, mut pulls, mut sender_kb, mut receiver_kb) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..runs {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name);
        table.make(&file("source.db"), rows, Content::Source);
        for target in ["limit.db", "pull.db"] {
            table.make(&file(target), rows, before);
        }
        limits.push(table.limit(&file("source.db"), &file("limit.db"), strategy));
        let (took, sender, receiver) = pull_once(&file("source.db"), &file("pull.db"), strategy);
        pulls.push(took);
        sender_kb = sender_kb.max(sender);
        receiver_kb = receiver_kb.max(receiver);
    }
    let (limit, pull) = (median(limits).unwrap_or(0), median(pulls).unwrap_or(0));
    println!(
        "{:<8} {rows:>9} {case:<22} {limit:>6} ms {pull:>6} ms {:>6.2} {:>9} MB {:>9} MB",
        table.name,
        pull as f64 / limit.max(1) as f64,
        sender_kb / 1024,
        receiver_kb / 1024
    );
}

/// One pull between two processes: its time without their starts, and the peak memory of sender and receiver in kB.
fn pull_once(source: &Path, target: &Path, strategy: Strategy) -> (Duration, u64, u64) {
    let this = std::env::current_exe().expect("this program");
    let mut server =
        Command::new(&this).arg("serve").arg(source).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a server");
    let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    let (url, code) = (next(), next());
    let output =
        Command::new(&this).args(["pull", &url, &code]).arg(target).arg(strategy.as_str()).output().expect("a pull");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).expect("text");
    let mut told = told.split_whitespace().map(|word| word.parse::<u64>().expect("a number"));
    let (micros, receiver) = (told.next().expect("the time"), told.next().expect("the memory"));
    drop(server.stdin.take());
    let sender = next().parse().expect("a number");
    server.wait().expect("the server's end");
    (Duration::from_micros(micros), sender, receiver)
}

fn serve(database: &Path) {
    let site = Site::open(database).expect("a site");
    let session = site.sessions().create(Direction::Send).expect("a code");
    let server = Server::bind(&site, "127.0.0.1:0").expect("a port").spawn().expect("a server");
    println!("{}\n{}", server.url(), session.code());
    // Until the parent closes our input.
    let _ = std::io::stdin().read(&mut [0]);
    println!("{}", peak_kb());
}

fn pull(url: &str, code: &str, database: &Path, strategy: Strategy) {
    let site = Site::open(database).expect("a site");
    let began = Instant::now();
    let client = Client::connect(url, Auth::code(code), ConnectOptions::default()).expect("a connection");
    let report = client.transfer(&site, "t", TransferOptions::new().strategy(strategy)).expect("a pull");
    let took = began.elapsed();
    assert_eq!(report.outcome.failed, 0);
    println!("{} {}", took.as_micros(), peak_kb());
}

/// The most memory that this process ever had resident, in kB; 0 where that is not told.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
