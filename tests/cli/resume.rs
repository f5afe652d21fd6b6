//! What the command line remembers of pulls.

use crate::support::command::Folder;
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
    append("--table users")
        .failed(1, &["\"users\" was appended before as a whole (number of records: 3)", "--append-again"]);
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
    assert!(folder.run("keymap clear --db backup.db").ok().stdout.contains("2 checkpoints forgotten"));
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

#[test]
fn what_came_from_an_older_state_is_pulled_again_unless_it_is_to_stay() {
    let folder = Folder::new();
    folder.sql("shop.db", "CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO names VALUES (1, 'old')");
    let served = folder.serve();
    for (db, options, name) in [("new.db", "", "new"), ("old.db", "--no-refresh", "old")] {
        folder.sql("shop.db", "UPDATE names SET name = 'old'");
        let create = "connections create --db shop.db --no-notify --max-records-total 500";
        let made = folder.json(&format!("{create} --name {name} --site-url https://{name}.example"));
        let token = made["token"].as_str().unwrap();
        let pull =
            format!("pull {} --token {token} --db {db} --table names --table posts --strategy overwrite --json", served.url);
        let report = |ran: &crate::support::command::Ran| -> Value {
            serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap()
        };
        let cut = folder.run(&pull).failed(3, &[]);
        assert_eq!(report(&cut)["tables"]["posts"]["error_code"], "record_limit_reached");
        folder.sql("shop.db", "UPDATE names SET name = 'new'");
        folder.run(&format!("connections update {name} --db shop.db --max-records-total 100000")).ok();
        let resumed = report(&folder.run(&format!("{pull} {options}")).ok());
        let is_fresh = options.is_empty();
        assert_eq!(resumed["one_state"], is_fresh, "{resumed}");
        assert_eq!(resumed["tables"]["names"]["age_seconds"].is_null(), is_fresh, "{resumed}");
        let found = format!("SELECT count(*) FROM names WHERE name = '{name}'");
        assert_eq!((folder.number(db, &found), folder.number(db, "SELECT count(*) FROM posts")), (1, 1_500));
    }
    served.signal("-TERM");
}

#[test]
fn a_table_with_a_key_map_is_named_and_a_conflict_says_how_to_forget_it() {
    let folder = Folder::new();
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, e TEXT NOT NULL UNIQUE)";
    folder.sql("shop.db", &format!("{table}; INSERT INTO t VALUES (1, 'a')"));
    folder.sql("backup.db", &format!("{table}; INSERT INTO t VALUES (2, 'a')"));
    let served = folder.serve();
    let pull = |more: &str| {
        let code = folder.code();
        folder.run(&format!("pull {} --code {code} --db backup.db --table t --strategy overwrite {more}", served.url))
    };
    pull("--key t=e").ok();
    assert!(folder.run("keymap list --db backup.db").ok().stdout.contains("kept for t: see `rowferry keymap show`"));
    folder.sql("shop.db", "INSERT INTO t VALUES (2, 'b')");
    let refused = pull("");
    assert!(refused.stdout.contains("`rowferry keymap clear`"), "{}", refused.stdout);
    folder.run("keymap clear --table t --db backup.db").ok();
    assert!(folder.run("keymap list --db backup.db").ok().stdout.contains("Nothing is remembered"));
    served.signal("-TERM");
}
