//! The children of tests: this program again, told to run the one test that is ignored otherwise, in a folder with a job for it.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rowferry::{Auth, ConnectOptions, Limits, Server, Strategy};

use crate::common::{open, open_with, options};

/// What a child says, so that it can be told from the lines of the test's frame.
const SAYS: &str = "child: ";

/// A child that runs.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts one with this job.
    pub fn start(job: &[&str]) -> Running {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("job"), job.join("\n")).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child::child", "--ignored", "--nocapture"]).current_dir(folder.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines, _folder: folder }
    }

    /// The next thing that it says; `None` where it has ended.
    pub fn says(&mut self) -> Option<String> {
        self.lines.find_map(|line| line.ok()?.split_once(SAYS).map(|(_, said)| said.to_owned()))
    }

    /// Kills it, as SIGKILL does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A child that serves a database, and its URL.
pub fn serving(database: &str) -> (Running, String) {
    serving_at(database, "127.0.0.1:0")
}

/// The same at this address.
pub fn serving_at(database: &str, address: &str) -> (Running, String) {
    let mut child = Running::start(&["serve", database, address]);
    let url = child.says().expect("it serves");
    (child, url)
}

#[test]
#[ignore = "it is started by the others, in a folder with a job for it"]
fn child() {
    if !Path::new("job").exists() {
        return;
    }
    let job = std::fs::read_to_string("job").unwrap();
    match job.lines().collect::<Vec<_>>()[..] {
        ["serve", database, address] => {
            let site = open(database);
            let server = Server::bind(&site, address).unwrap().spawn().unwrap();
            println!("{SAYS}{}", server.url());
            std::thread::sleep(Duration::MAX);
        }
        ["pull", database, url, code, strategy, stop] => {
            let mut limits = Limits::default();
            limits.pull.commit_rows = 20;
            let (site, stop): (_, usize) = (open_with(database, limits), stop.parse().unwrap());
            let mut step = 0;
            let strategy: Strategy = strategy.parse().unwrap();
            let options = options(strategy).batch_size(20).on_progress(|_| {
                println!("{SAYS}{step}");
                if step == stop {
                    std::thread::sleep(Duration::MAX);
                }
                step += 1;
            });
            drop(site.pull_from(url, Auth::code(code), ConnectOptions::default(), options).unwrap());
            println!("{SAYS}done");
        }
        _ => panic!("no such job"),
    }
}
