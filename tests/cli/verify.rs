//! `rowferry verify`: exit status, JSON, and what people read.

use crate::support::command::{Folder, Pair, text};
use serde_json::{Value, json};

/// A folder with a shop and a copy of it, and the shop's server.
fn copied() -> (Folder, crate::support::command::Served) {
    let folder = Folder::new();
    let served = folder.serve();
    folder.run(&format!("pull {} --code {} --db backup.db -q", served.url, served.code)).ok();
    (folder, served)
}

#[test]
fn a_copy_is_equal_until_a_row_differs() {
    let (folder, served) = copied();
    let verify = |more: &str| folder.run(&format!("verify {} --code {} --db backup.db {more}", served.url, folder.code()));
    let ran = verify("--json").ok();
    let verified = ran.json();
    assert_eq!((&verified["event"], &verified["status"]), (&json!("verified"), &json!("equal")));
    let users = &verified["tables"]["users"];
    assert_eq!([&users["only_there"], &users["only_here"], &users["different"]], [0, 0, 0]);
    assert_eq!((&users["rows_here"], &users["reason"]), (&json!(3), &Value::Null));
    let ran = verify("").ok();
    assert!(ran.stdout.contains("posts: equal, 1,500 rows\n") && ran.stdout.contains("3 tables compared"), "{}", ran.stdout);
    assert_eq!(verify("-q").ok().stdout, "");

    folder.sql("backup.db", "DELETE FROM posts WHERE id = 5; UPDATE posts SET body = 'mine' WHERE id IN (7, 8); INSERT INTO posts VALUES (9000, 1, 'new'); INSERT INTO \"order by \"\"x\"\"\" VALUES ('k', 9)");
    let ran = verify("--json");
    assert_eq!(ran.status, 3, "{ran:?}");
    let tables = &ran.json()["tables"];
    let posts = &tables["posts"];
    assert_eq!(posts["status"], "different");
    assert_eq!([&posts["only_there"], &posts["only_here"], &posts["different"]], [1, 1, 2]);
    assert_eq!(posts["keys"]["only_there"], json!([5]));
    assert_eq!(posts["keys"]["only_here"], json!([9000]));
    let mut different: Vec<i64> = serde_json::from_value(posts["keys"]["different"].clone()).unwrap();
    different.sort_unstable();
    assert_eq!(different, [7, 8]);
    assert_eq!(tables["order by \"x\""]["keys"]["only_here"], json!([["k", 9]]));
    assert_eq!(tables["users"]["status"], "equal");
    let ran = verify("--table posts --keys 1 -q");
    assert_eq!((ran.status, ran.stderr.lines().count()), (3, 1), "{ran:?}");
    assert!(
        ran.stdout.starts_with("posts: different, 1 only there, 1 only here, 2 with other values\n  only there: 5\n"),
        "{}",
        ran.stdout
    );
}

#[test]
fn where_nothing_can_be_said_it_fails() {
    let (folder, served) = copied();
    folder.sql("backup.db", "ALTER TABLE users ADD COLUMN note TEXT");
    let verify = |more: &str| folder.run(&format!("verify {} --code {} --db backup.db {more}", served.url, folder.code()));
    let ran = verify("--json");
    assert_eq!((ran.status, ran.stderr.lines().count()), (1, 1), "{ran:?}");
    let verified = ran.json();
    assert_eq!(
        (&verified["status"], &verified["tables"]["users"]["reason"]),
        (&json!("inconclusive"), &json!("schema_differs"))
    );
    assert_eq!(verified["tables"]["posts"]["status"], "equal");
    assert!(ran.stderr.contains("--ignore-extra-columns"), "{}", ran.stderr);
    verify("--ignore-extra-columns").ok();
    verify("--exclude users").ok();
    // One that differs is more than what is not known.
    folder.sql("backup.db", "DELETE FROM posts WHERE id = 5");
    assert_eq!(verify("--json").status, 3);
    // No database is made.
    folder.run(&format!("verify {} --code {} --db none.db", served.url, folder.code())).failed(1, &["none.db"]);
    assert!(!folder.path("none.db").exists());
    folder.run("verify http://127.0.0.1:1 --code A7X9K2M4 --db backup.db --retry-time 0").failed(5, &["connect"]);
    assert_eq!(folder.run("verify --db backup.db").status, 2);
}

#[test]
fn a_connection_that_is_kept_is_compared_through() {
    let pair = Pair::new();
    let folder = &pair.folder;
    folder.json(&format!(
        "connections create --db shop.db --name Backup --site-url {} --allowed-tables users,posts",
        pair.backup_url()
    ));
    let theirs = text(&pair.received(), "uuid").to_owned();
    folder.run(&format!("connections approve {theirs} --db backup.db")).ok();
    folder.run(&format!("pull --connection {theirs} --db backup.db -q")).ok();
    let verified = folder.run(&format!("verify --connection {theirs} --db backup.db --json -q")).ok().json();
    assert_eq!(verified["tables"].as_object().unwrap().len(), 2);
    assert_eq!(verified["status"], "equal");
    let shown = folder.json("connections show Backup --db shop.db");
    assert_eq!(shown["downloads_used"], 2, "those of the pull alone");
}
