//! Sender and receiver, each a process of its own.

use std::io::{BufRead, BufReader, Lines, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rowferry::{Auth, Client, ConnectOptions, Direction, PullOptions, Server, Site, Strategy};

/// The first word of a sending process's arguments.
const SERVE: &str = "serve";
/// The first word of a receiving process's arguments.
const PULL: &str = "pull";
/// The same for one that pulls all tables and says nothing.
const PULL_ALL: &str = "pull_all";

/// How a pull treats others who write to the same database.
#[derive(Clone, Copy, PartialEq)]
pub enum Manners {
    /// As it does when nothing is said.
    Default,
    /// It keeps the lock for a short time only.
    Polite,
}

impl Manners {
    pub fn of(word: &str) -> Manners {
        if word == "polite" { Manners::Polite } else { Manners::Default }
    }

    pub fn word(self) -> &'static str {
        if self == Manners::Polite { "polite" } else { "default" }
    }
}

/// What a pull came to.
pub struct Pulled {
    /// Connecting and pulling, without the start of either process.
    pub took: Duration,
    /// Records created, updated, unchanged, skipped, failed.
    pub counts: [u64; 5],
    /// The most memory that the sender had.
    pub sender_kb: u64,
    /// The most memory that the receiver had.
    pub receiver_kb: u64,
}

/// A sending process, until it is dropped or ended.
pub struct Sender {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub url: String,
    code: String,
}

impl Sender {
    pub fn start(database: &Path) -> Sender {
        let mut process =
            this().arg(SERVE).arg(database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a sender");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let (url, code) = (next(&mut lines), next(&mut lines));
        Sender { process, lines, url, code }
    }

    /// Ends it, and says the most memory that it had, in kB.
    fn end(mut self) -> u64 {
        drop(self.process.stdin.take());
        let peak_kb = next(&mut self.lines).parse().expect("a number");
        self.process.wait().expect("the sender's end");
        peak_kb
    }
}

/// Plays one of the two parts, if these are the arguments of a process that does.
pub fn plays(words: &[String]) -> bool {
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [SERVE, database] => serve(Path::new(database)),
        [PULL, url, code, database, strategy, manners] => {
            pull(url, code, Path::new(database), strategy.parse().expect("a strategy"), Manners::of(manners));
        }
        [PULL_ALL, url, code, database] => pull_all(url, code, Path::new(database)),
        _ => return false,
    }
    true
}

/// One pull of the table from this database into that one.
pub fn pull_once(source: &Path, target: &Path, strategy: Strategy) -> Pulled {
    pull_from(Sender::start(source), None, target, strategy, Manners::Default, || {})
}

/// One pull from this sender, which is reached under another URL if one is given. `begun` is called when the receiver begins.
pub fn pull_from(
    sender: Sender,
    url: Option<&str>,
    target: &Path,
    strategy: Strategy,
    manners: Manners,
    begun: impl FnOnce(),
) -> Pulled {
    let arguments = [PULL, url.unwrap_or(&sender.url), &sender.code];
    let mut receiver = this()
        .args(arguments)
        .arg(target)
        .args([strategy.as_str(), manners.word()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a receiver");
    let mut lines = BufReader::new(receiver.stdout.take().expect("its output")).lines();
    assert_eq!(next(&mut lines), BEGUN);
    begun();
    let told = next(&mut lines);
    assert!(receiver.wait().expect("the receiver's end").success());
    let told: Vec<u64> = told.split(' ').map(|word| word.parse().expect("a number")).collect();
    let [micros, receiver_kb, counts @ ..] = &told[..] else { panic!("{told:?}") };
    Pulled {
        took: Duration::from_micros(*micros),
        counts: counts.try_into().expect("five counts"),
        sender_kb: sender.end(),
        receiver_kb: *receiver_kb,
    }
}

/// A pull of all tables from this sender as a command of its own: its time from the start of the process to its end. It is the
/// `rowferry` command where that is built with this benchmark, else a process that does the same.
pub fn pull_by_command(sender: Sender, target: &Path) -> Duration {
    let mut command = match COMMAND {
        Some(command) => {
            let mut command = Command::new(command);
            command.args(["pull", &sender.url, "--code", &sender.code, "--strategy", Strategy::Overwrite.as_str(), "--db"]);
            command
        }
        None => {
            let mut command = this();
            command.args([PULL_ALL, &sender.url, &sender.code]);
            command
        }
    };
    let began = Instant::now();
    let output = command.arg(target).stdin(Stdio::null()).output().expect("a command");
    let took = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    sender.end();
    took
}

/// Where the `rowferry` command is, if it was built.
pub const COMMAND: Option<&str> = option_env!("CARGO_BIN_EXE_rowferry");

/// What stands for the command where it is not built.
fn pull_all(url: &str, code: &str, database: &Path) {
    let site = Site::open(database).expect("a site");
    let client = Client::connect(url, Auth::code(code), ConnectOptions::default()).expect("a connection");
    let report = client.pull(&site, PullOptions::new().strategy(Strategy::Overwrite)).expect("a pull");
    assert!(report.is_clean(), "{report:?}");
}

/// What a receiver says when it is ready and begins.
const BEGUN: &str = "begun";

/// What the sending process does.
fn serve(database: &Path) {
    let site = open(database);
    let session = site.sessions().create(Direction::Send).expect("a code");
    let server = Server::bind(&site, "127.0.0.1:0").expect("a port").spawn().expect("a server");
    println!("{}\n{}", server.url(), session.code());
    // Until the parent closes our input.
    let _ = std::io::stdin().read(&mut [0]);
    println!("{}", peak_kb());
}

/// What the receiving process does.
fn pull(url: &str, code: &str, database: &Path, strategy: Strategy, manners: Manners) {
    let site = open(database);
    println!("{BEGUN}");
    let began = Instant::now();
    let client = Client::connect(url, Auth::code(code), ConnectOptions::default()).expect("a connection");
    let mut options = PullOptions::new().strategy(strategy);
    if manners == Manners::Polite {
        options = options.lock_time(Duration::from_millis(100));
    }
    let report = client.pull_table(&site, "t", options).expect("a pull");
    let took = began.elapsed();
    let of = report.outcome;
    for failure in of.failures.iter().take(3) {
        eprintln!("{failure:?}");
    }
    let counts = [of.created, of.updated, of.unchanged, of.skipped, of.failed].map(|count| count.to_string()).join(" ");
    println!("{} {} {counts}", took.as_micros(), peak_kb());
}

/// The site in a file, or in the PostgreSQL database of a URL.
pub fn open(database: &Path) -> Site {
    #[cfg(feature = "postgres")]
    if let Some(url) = database.to_str().filter(|text| rowferry::PostgresOptions::is_url(text)) {
        let options = rowferry::PostgresOptions::parse(url).expect("a URL");
        // All processes of a site have the same key.
        let site = Site::builder().key(rowferry::SiteKey::from_bytes([7; 32]));
        return site.open_postgres(options).expect("a site");
    }
    Site::open(database).expect("a site")
}

fn this() -> Command {
    Command::new(std::env::current_exe().expect("this program"))
}

fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    lines.next().expect("a line, unless the process failed").expect("text")
}

/// The most memory that this process ever had resident, in kB; 0 where that is not told.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
