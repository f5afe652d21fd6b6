//! `rowferry doctor` tells what could go wrong, and changes nothing.

use std::process::Stdio;

use serde_json::Value;

use crate::support::command::{Folder, Ran, kill, text, until};

/// The findings that are no `ok`, as `level code`.
fn told(found: &[Value]) -> Vec<String> {
    let wrong = found.iter().filter(|finding| finding["level"] != "ok");
    wrong.map(|finding| format!("{} {}", text(finding, "level"), text(finding, "code"))).collect()
}

#[test]
fn a_sound_database_is_all_ok() {
    let folder = Folder::new();
    let before = std::fs::read(folder.path("shop.db")).unwrap();
    let ran = folder.run("doctor --db shop.db").ok();
    assert!(ran.stdout.lines().all(|line| line.starts_with("ok ")), "{}", ran.stdout);
    assert!(ran.stdout.contains("journal mode: ") && ran.stdout.contains("key: there is no key yet"), "{}", ran.stdout);
    let found = folder.list("doctor --db shop.db --full");
    assert!(told(&found).is_empty() && found.iter().all(|finding| finding["event"] == "finding"));
    assert_eq!(std::fs::read(folder.path("shop.db")).unwrap(), before);
    let files = std::fs::read_dir(folder.0.path()).unwrap().count();
    assert_eq!(files, 1, "no log, no key and no other file was made");
}

#[test]
fn a_problem_is_told_with_what_to_do() {
    let folder = Folder::new();
    folder.sql(
        "shop.db",
        "PRAGMA foreign_keys = OFF; CREATE TABLE lost (id INTEGER PRIMARY KEY, r INT REFERENCES ghosts (id))",
    );
    folder.code();
    let ran = folder.run("doctor --db shop.db");
    assert_eq!((ran.status, ran.stderr.as_str()), (3, ""), "{}", ran.stdout);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("problem  foreign keys: \"lost\"")).expect("the problem");
    assert!(lines[at + 1].starts_with("         SQLite refuses"), "{}", ran.stdout);
    let ran = folder.run("doctor --db shop.db --json");
    let found: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((ran.status, told(&found)), (3, vec!["problem foreign_keys".to_owned()]));
    // A server has it open meanwhile.
    let server = folder.serve();
    assert_eq!(folder.run("doctor --db shop.db").status, 3);
    drop(server);
}

#[test]
fn a_database_that_is_not_there_is_not_made() {
    let folder = Folder::new();
    folder.run("doctor --db shup.db").failed(1, &["shup.db", "Check the path"]);
    assert!(!folder.path("shup.db").exists());
    std::fs::write(folder.path("notes.txt"), "these are only words, and no database. ".repeat(40)).unwrap();
    folder.run("doctor --db notes.txt").failed(1, &["notes.txt"]);
    assert_eq!(folder.run("doctor").status, 2);
}

#[test]
fn what_waits_is_told_with_the_command_for_it() {
    let folder = Folder::new();
    folder.run("connections create --db shop.db --name N --site-url https://b.example --no-notify").ok();
    folder.run("connections suspend N --db shop.db --no-notify").ok();
    let found = folder.list("doctor --db shop.db");
    let outbox = found.iter().find(|finding| finding["code"] == "outbox").unwrap();
    assert_eq!(outbox["level"], "warning", "{outbox}");
    assert!(text(outbox, "hint").contains("`rowferry serve`"), "{outbox}");
}

#[test]
fn a_damaged_database_is_a_problem() {
    let folder = Folder::new();
    std::fs::File::options().write(true).open(folder.path("shop.db")).unwrap().set_len(5000).unwrap();
    let ran = folder.run("doctor --db shop.db");
    assert_eq!((ran.status, ran.stderr.as_str()), (3, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("problem  integrity: ") && ran.stdout.contains("from a backup"), "{}", ran.stdout);
}

#[test]
fn what_is_told_of_the_key_names_commands() {
    let folder = Folder::new();
    folder.code();
    std::fs::remove_file(folder.path("shop.db.rowferry-key")).unwrap();
    let ran = folder.run("doctor --db shop.db");
    assert_eq!(ran.status, 3, "{}", ran.stdout);
    assert!(ran.stdout.contains("rowferry sessions reset-key") && !ran.stdout.contains("Site::"), "{}", ran.stdout);
}

#[test]
fn one_that_is_interrupted_leaves_no_log() {
    let folder = Folder::new();
    // To check a row takes a while.
    let slow = "PRAGMA journal_mode = WAL; PRAGMA ignore_check_constraints = ON;
        CREATE TABLE slow (a INTEGER PRIMARY KEY CHECK (replace(hex(zeroblob(1000000 + a)), '0', 'x') <> ''));
        WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < 10000) INSERT INTO slow SELECT n FROM s";
    folder.sql("slow.db", slow);
    let files = || std::fs::read_dir(folder.0.path()).unwrap().count();
    let before = files();
    for signal in ["-INT", "-TERM"] {
        let mut command = folder.command("doctor --db slow.db --full");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until(|| folder.path("slow.db-wal").exists().then_some(()));
        kill(&child, signal);
        Ran::of(child.wait_with_output().unwrap()).failed(1, &["cancelled"]);
        assert_eq!(files(), before);
    }
}
