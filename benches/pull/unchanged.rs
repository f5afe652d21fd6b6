//! Pulls of what has not changed since the last one: the time of a call through a stored connection, and of a whole command, and how many
//! bytes go over the wire in both directions.

use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rowferry::{Auth, ConnectOptions, NewConnection, PullOptions, Server, Site, Strategy};

use crate::common::{Content, NARROW, scale};
use crate::counting;
use crate::pair::COMMAND;

/// Rows of the table.
const ROWS: [u64; 2] = [1_000, 1_000_000];

/// Pulls in one run.
const PULLS: usize = 50;

pub fn measure(runs: usize) {
    println!("{:>9} {:<9} {:>9} {:>9} {:>9} {:>7}", "rows", "case", "median", "least", "most", "bytes");
    for rows in ROWS {
        let rows = (rows / scale()).max(1);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (source, target) = (folder.path().join("source.db"), folder.path().join("target.db"));
        NARROW.make(&source, rows, Content::Source);
        let shop = Site::open(&source).expect("a site");
        let server = Server::bind(&shop, "127.0.0.1:0").expect("a server").spawn().expect("a server");
        let (url, bytes) = counting::relay(server.url());
        let mut policy = rowferry::Policy::default();
        policy.rate_limit_requests_per_minute = 1_000_000;
        let made = NewConnection::sender("backup", "https://backup.example").policy(policy);
        let made = shop.connections().create(made).expect("a connection");
        let backup = Site::open(&target).expect("a site");
        let pull = |url: &str| {
            let options = PullOptions::new().strategy(Strategy::Overwrite);
            let began = Instant::now();
            let auth = Auth::token(made.token.as_str());
            let report = backup.pull_from(url, auth, ConnectOptions::default(), options).expect("a pull");
            (began.elapsed(), report)
        };
        let (_, first) = pull(server.url());
        assert!(first.is_clean() && first.records == rows, "{first:?}");
        let mut calls = Vec::new();
        for _ in 0..runs.max(1) * PULLS {
            let (took, report) = pull(server.url());
            assert!(report.unchanged && report.notes.is_empty(), "{report:?}");
            calls.push(took);
        }
        let before = bytes.load(Ordering::SeqCst);
        assert!(pull(&url).1.unchanged);
        print(rows, "call", calls, Some(bytes.load(Ordering::SeqCst) - before));
        drop(backup);
        let Some(command) = COMMAND else { continue };
        let command = || {
            let began = Instant::now();
            let mut command = Command::new(command);
            command.args([
                "pull",
                server.url(),
                "--strategy",
                "overwrite",
                "--json",
                "--token",
                made.token.as_str(),
                "--db",
            ]);
            let output = command.arg(&target).stdin(Stdio::null()).output().expect("a command");
            let took = began.elapsed();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("\"unchanged\":true"), "{output:?}");
            took
        };
        print(rows, "command", (0..runs.max(1) * PULLS).map(|_| command()).collect(), None);
    }
}

fn print(rows: u64, case: &str, mut times: Vec<Duration>, bytes: Option<u64>) {
    times.sort();
    let ms = |time: &Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let (median, least, most) = (&times[times.len() / 2], &times[0], &times[times.len() - 1]);
    let bytes = bytes.map_or(String::new(), |bytes| bytes.to_string());
    println!("{rows:>9} {case:<9} {:>9} {:>9} {:>9} {bytes:>7}", ms(median), ms(least), ms(most));
}
