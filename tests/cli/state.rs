//! `rowferry state remove` takes rowferry's tables out of a file again.

use crate::support::command::Folder;

const OWN: &str = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'rowferry%'";
const ROWS: &str = "SELECT (SELECT count(*) FROM users) * 10000 + (SELECT count(*) FROM posts)";

#[test]
fn what_rowferry_keeps_is_removed_when_it_is_said_so() {
    let folder = Folder::new();
    let rows = folder.number("shop.db", ROWS);
    folder.code();
    assert!(folder.number("shop.db", OWN) > 0 && folder.path("shop.db.rowferry-key").exists());
    // Who does not answer yes keeps it.
    for answer in ["", "\n", "no\n", "yesterday"] {
        let ran = folder.run_with_input("state remove --db shop.db", answer);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.stderr.contains("Remove it? [y/N]") && ran.stderr.contains("nothing was removed"), "{}", ran.stderr);
        assert!(folder.number("shop.db", OWN) > 0);
    }
    let ran = folder.run_with_input("state remove --db shop.db", "y\n");
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.contains("of rowferry removed from shop.db") && ran.stdout.contains("rowferry-key was removed"));
    assert_eq!((folder.number("shop.db", OWN), folder.number("shop.db", ROWS)), (0, rows));
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 1, "no key and no log stays");
    let ran = folder.run("state remove --db shop.db --yes").ok();
    assert_eq!(ran.stdout, "rowferry was not used with shop.db: nothing was changed.\n");
    // It can be used again.
    folder.code();
    let removed = folder.json("state remove --db shop.db -y --journal-mode delete");
    assert_eq!(removed["event"], "removed");
    assert!(removed["tables"].as_array().unwrap().len() > 20 && removed["key_file"].is_string(), "{removed}");
    assert_eq!(folder.number("shop.db", "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'delete'"), 1);
}

#[test]
fn tables_of_your_own_stay_whatever_their_names() {
    let folder = Folder::new();
    folder.sql("shop.db", "CREATE TABLE rowferry_mine(x); INSERT INTO rowferry_mine VALUES (1)");
    folder.code();
    let removed = folder.json("state remove --db shop.db --yes");
    assert_eq!(removed["left"], serde_json::json!(["rowferry_mine"]));
    assert_eq!((folder.number("shop.db", OWN), folder.number("shop.db", "SELECT count(*) FROM rowferry_mine")), (1, 1));
    folder.code();
    let ran = folder.run("state remove --db shop.db --yes").ok();
    assert!(ran.stdout.contains("left as they are: rowferry_mine."), "{}", ran.stdout);
}

#[test]
fn nothing_is_removed_while_a_server_has_it_open() {
    let folder = Folder::new();
    let server = folder.serve();
    folder.run("state remove --db shop.db --yes").failed(1, &["shop.db open", "End every program"]);
    assert!(folder.number("shop.db", OWN) > 0);
    folder.run(&format!("pull {} --code {} --db backup.db", server.url, server.code));
    assert_eq!(server.signal("-TERM"), 0);
    folder.run("state remove --db shop.db --yes").ok();
    folder.run("state remove --db shup.db --yes").failed(1, &["shup.db"]);
    assert!(!folder.path("shup.db").exists());
    assert_eq!(folder.run("state remove --db shop.db --journal-mode memory").status, 2);
}
