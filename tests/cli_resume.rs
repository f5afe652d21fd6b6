//! What the command line remembers of pulls.
#![cfg(feature = "cli")]

mod cli_common;

use cli_common::Folder;
use serde_json::{Value, json};

#[test]
fn an_append_is_remembered_until_it_is_forgotten_or_asked_for_again() {
    let folder = Folder::new();
    let served = folder.serve();
    let append = |more: &str| {
        let code = folder.code();
        folder.run(&format!("pull {} --code {code} --db backup.db --strategy append {more}", served.url))
    };
    let users = || folder.number("backup.db", "SELECT count(*) FROM users");
    append("--table users --table posts").ok();
    append("--table users").failed(1, &["\"users\" was appended before", "--append-again"]);
    let refused = append("--table users --json").failed(1, &["--append-again"]);
    let report = refused.stdout.lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap()).unwrap();
    assert_eq!(report["tables"]["users"]["error_code"], "already_appended", "{report}");
    assert_eq!(users(), 3);
    append("--table users --append-again").ok();
    assert_eq!(users(), 6);

    let kept = folder.list("keymap list --db backup.db");
    let tables: Vec<&Value> = kept.iter().map(|one| &one["table"]).collect();
    assert_eq!(tables, ["posts", "users"], "{kept:?}");
    assert_eq!((&kept[1]["kind"], &kept[1]["records"]), (&json!("appended"), &json!(3)));
    assert!(folder.run("keymap list --db backup.db").ok().stdout.contains("appended"));
    assert_eq!(folder.json("keymap clear --table USERS --db backup.db"), json!({"cleared": 1}));
    append("--table posts").failed(1, &["appended before"]);
    append("--table users").ok();
    assert_eq!(users(), 9);
    assert!(folder.run("keymap clear --db backup.db").ok().stdout.contains("2 marks forgotten"));
    assert!(folder.run("keymap list --db backup.db").ok().stdout.contains("Nothing is remembered"));
    served.signal("-TERM");
}

#[test]
fn a_pull_that_was_whole_leaves_nothing_to_go_on_with() {
    let folder = Folder::new();
    let served = folder.serve();
    folder.run(&format!("pull {} --code {} --db backup.db --table users", served.url, served.code)).ok();
    let code = folder.code();
    let report = folder.run(&format!("pull {} --code {code} --db backup.db --json", served.url)).ok();
    assert_eq!(folder.list("keymap list --db backup.db"), [json!(null); 0]);
    let report: Value = serde_json::from_str(report.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(report["tables"]["users"]["resumed"], false, "{report}");
    served.signal("-TERM");
}
