//! `rowferry serve` stays up: signals, limits of the system, and peers that do their worst.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::command::{Folder, Ran, kill};

const STATUS: &str = "GET /sync/api/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A command that begins after this was done in a shell.
fn after(folder: &Folder, before: &str, line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_rowferry")]);
    command.args(line.split_whitespace()).current_dir(folder.0.path()).stdin(Stdio::null());
    command
}

/// A server that began so. Its log is `served.log`.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn new(folder: &Folder, before: &str, more: &str) -> Self {
        let log = std::fs::File::create(folder.path("served.log")).unwrap();
        let mut command = after(folder, before, &format!("serve --db shop.db --listen 127.0.0.1:0 --json {more}"));
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let listening: serde_json::Value = serde_json::from_str(&line).unwrap();
        Serving { child, address: listening["url"].as_str().unwrap().trim_start_matches("http://").to_owned() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // What came before a reset counts.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    /// Until it answers: what has just ended may have been in the way.
    fn is_well(&self) {
        let began = Instant::now();
        while !self.ask(STATUS).starts_with("HTTP/1.1 200 ") {
            assert!(began.elapsed() < Duration::from_secs(30), "it is not well");
        }
    }

    fn end(mut self) {
        kill(&self.child, "-TERM");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A set of signals of a process, such as `SigIgn`.
fn signals(child: &Child, set: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
}

/// SIGHUP, in such a set.
const HUP: u64 = 1;

#[test]
fn a_server_outlives_its_terminal_if_it_began_so() {
    let folder = Folder::new();
    let server = Serving::new(&folder, "trap '' HUP", "");
    assert_eq!((signals(&server.child, "SigIgn") & HUP, signals(&server.child, "SigCgt") & HUP), (HUP, 0));
    kill(&server.child, "-HUP");
    server.is_well();
    server.end();
    let mut server = Serving::new(&folder, "true", "");
    kill(&server.child, "-HUP");
    // These tests may have begun so themselves, as under nohup: then all that they start did.
    if signals(&server.child, "SigIgn") & HUP != 0 {
        server.is_well();
        return server.end();
    }
    assert_eq!(server.child.wait().unwrap().code(), Some(0), "else it ends cleanly");
}

#[test]
fn a_file_that_may_not_grow_is_an_error() {
    let folder = Folder::new();
    folder.sql(
        "shop.db",
        "CREATE TABLE large (id INTEGER PRIMARY KEY, v BLOB);
         INSERT INTO large SELECT id, randomblob(1000) FROM posts LIMIT 1000;",
    );
    let server = folder.serve();
    // In blocks of 512 bytes.
    let line = format!("pull {} --code {} --db backup.db", server.url, server.code);
    let pulled = Ran::of(after(&folder, "ulimit -f 400", &line).output().unwrap());
    pulled.failed(1, &["disk"]);
    drop(server);

    let server = Serving::new(&folder, "ulimit -f 4000", "");
    let grown = "INSERT INTO large SELECT id + 100000, randomblob(1000) FROM posts; SELECT 1";
    // The log of the database is now longer than this server may write.
    let other = rusqlite::Connection::open(folder.path("shop.db")).unwrap();
    other.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    other.execute_batch(grown).unwrap();
    other.execute_batch(&grown.replace("100000", "200000")).unwrap();
    let body = r#"{"sender_url":"http://192.0.2.1","connection_name":"x","auth_token":"0123456789abcdef0123456789abcdef"}"#;
    let register = format!(
        "POST /sync/api/register-connection HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    folder.run("settings set allow_internal_urls true --db shop.db").ok();
    let answer = server.ask(&register);
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    server.is_well();
    server.end();
}

#[test]
fn without_threads_peers_are_refused_and_the_server_stays() {
    let folder = Folder::new();
    // Threads take so much that there is room for a few, and what is left is plenty for all else.
    let before = "export RUST_MIN_STACK=268435456 MALLOC_ARENA_MAX=1 && ulimit -v 2000000";
    let server = Serving::new(&folder, before, "");
    let mut peers: Vec<TcpStream> = (0..60).map(|_| server.connect()).collect();
    for peer in &mut peers {
        // It may have been refused already.
        let _ = peer.write_all(b"GET /sync/api/st");
    }
    let began = Instant::now();
    let told = |peer: &TcpStream| {
        peer.set_nonblocking(true).unwrap();
        let mut first = [0; 12];
        peer.peek(&mut first).is_ok() && &first == b"HTTP/1.1 503"
    };
    while !peers.iter().any(told) {
        assert!(began.elapsed() < Duration::from_secs(30), "nobody is refused");
    }
    drop(peers);
    server.is_well();
    server.end();
    let log = std::fs::read_to_string(folder.path("served.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(log.matches("the system gives no thread").count(), 1, "once a minute: {log}");
}

#[test]
fn a_storm_of_refusals_does_not_fill_the_log() {
    let folder = Folder::new();
    let server = Serving::new(&folder, "true", "");
    let body = r#"{"auth_token_hash":"0000"}"#;
    let wrong = format!(
        "POST /sync/api/list-tables HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // One line of each refusal is far more than there may be.
    let answers = server.ask(&format!("{}{STATUS}", wrong.repeat(400)));
    assert_eq!(answers.matches("HTTP/1.1 401 ").count(), 400);
    server.end();
    let log = std::fs::read_to_string(folder.path("served.log")).unwrap();
    assert!(log.lines().count() <= 22, "at most those of two minutes, and how many were left out: {log}");
    assert!(log.contains("further refusals were left out of the log"), "{log}");
}

#[test]
fn the_log_has_no_secrets_whatever_is_asked_of_it() {
    let folder = Folder::new();
    let everything =
        "export RUST_LOG=trace,tungstenite::protocol=trace,ureq=trace,ureq_proto::client=trace,rustls::conn=trace";
    let server = Serving::new(&folder, everything, "");
    let code = folder.code();
    let line = format!("pull http://{} --code {code} --db backup.db", server.address);
    let pulled = Ran::of(after(&folder, everything, &line).output().unwrap());
    assert_eq!(pulled.status, 0, "{}", pulled.stderr);
    server.end();
    let log = std::fs::read_to_string(folder.path("served.log")).unwrap() + &pulled.stderr;
    assert!(log.contains("rowferry::"), "{log}");
    for secret in [&code, "tungstenite", "ureq", "rustls", "post 17"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn an_address_has_as_many_connections_as_it_is_given() {
    let folder = Folder::new();
    let server = Serving::new(&folder, "true", "--connections 9 --connections-per-address 1");
    let mut first = server.connect();
    first.write_all(b"GET /sync/api/st").unwrap();
    // Until its first bytes are read, it gives way to the next one.
    let began = Instant::now();
    while !server.ask(STATUS).starts_with("HTTP/1.1 503 ") {
        assert!(began.elapsed() < Duration::from_secs(30), "nobody is refused");
        first = server.connect();
        first.write_all(b"GET /sync/api/st").unwrap();
    }
    drop(first);
    server.is_well();
    server.end();
    let log = std::fs::read_to_string(folder.path("served.log")).unwrap();
    assert!(log.contains("one address may have 1 connections"), "{log}");
}

#[test]
fn a_code_is_read_from_a_file_and_a_warning_says_what_can_be_read_on_the_way() {
    let folder = Folder::new();
    let served = folder.serve();
    let ran = folder.run_with_input(&format!("count users {} --code-file -", served.url), &format!("{}\n", served.code));
    assert_eq!(ran.ok().stdout, "3\n");
    std::fs::write(folder.path("code"), format!(" {}\nmore\n", served.code)).unwrap();
    folder.run(&format!("pull {} --code-file code --db backup.db", served.url)).ok();
    for both in ["--code-file code --code X", "--code-file code --token X", "--code-file code --password X"] {
        assert_eq!(folder.run(&format!("count users {} {both}", served.url)).status, 2, "{both}");
    }
    folder.run(&format!("count users {} --code-file nosuch", served.url)).failed(1, &["nosuch"]);

    let made = "connections create --db shop.db --name Far --site-url http://shop.example --no-notify";
    assert_eq!(folder.run(made).stderr, "", "nothing is sent");
    let server = Serving::new(&folder, "true", "");
    server.end();
    let log = std::fs::read_to_string(folder.path("served.log")).unwrap();
    assert_eq!(log.matches("Use https.").count(), 1, "what changes is told to the other site: {log}");

    // Nobody is there: what matters is what is said before.
    let ran = folder.run("count users http://shop.invalid --code A7X9K2M4 --timeout 5");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(ran.status == 5 && lines.len() == 2 && lines[0].contains("warning") && lines[0].contains("https"), "{ran:?}");
    assert_eq!(folder.run("count users https://shop.invalid --code A7X9K2M4 --timeout 5").stderr.lines().count(), 1);
}

/// What `serve` says to people until it comes to the word.
fn said(folder: &Folder, more: &str, until: &str) -> String {
    let log = std::fs::File::create(folder.path("served.log")).unwrap();
    let mut command = folder.command(&format!("serve --db shop.db --code {more}"));
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    while !said.contains(until) {
        said += &lines.next().unwrap().unwrap();
        said.push('\n');
    }
    kill(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    said
}

#[test]
fn a_server_says_how_others_reach_it() {
    let folder = Folder::new();
    let until = "--db backup.db";
    let here = said(&folder, "--listen 127.0.0.1:0", until);
    let port = here.split("http://127.0.0.1:").nth(1).unwrap().lines().next().unwrap();
    let others = format!("Only this machine reaches it. For others: --listen 0.0.0.0:{port} with");
    assert!(port.parse::<u16>().is_ok() && here.contains(&others), "{here}");
    assert!(here.contains("run this on this machine") && here.contains("rowferry pull http://127.0.0.1:"), "{here}");

    let everywhere = said(&folder, "--listen 0.0.0.0:0", until);
    // A machine without a network has no such address.
    if everywhere.contains("Other machines reach it") {
        assert!(everywhere.contains("run this on another machine"), "{everywhere}");
        let pull = everywhere.lines().find(|line| line.contains("rowferry pull http://")).unwrap();
        assert!(!pull.contains("127.0.0.1") && !pull.contains("0.0.0.0"), "{everywhere}");
    } else {
        assert!(everywhere.contains("Only this machine reaches it"), "{everywhere}");
    }

    let proxied = said(&folder, "--listen 127.0.0.1:0 --site-url https://shop.example", until);
    assert!(proxied.contains("Other sites reach it at https://shop.example, the setting site_url."), "{proxied}");
    assert!(
        proxied.contains("on another machine") && proxied.contains("rowferry pull https://shop.example --code"),
        "{proxied}"
    );
}
