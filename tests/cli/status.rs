//! The exit status: one for each way to end, as `rowferry --help` lists them.

use crate::support::command::{Folder, Pair};

#[test]
fn each_way_to_end_has_its_status() {
    let pair = Pair::new();
    let folder = &pair.folder;
    pair.connected("--approval-mode per_table --auto-approve-tables posts --allowed-tables users,posts");
    let count = |url: &str, code: &str| folder.run(&format!("count users {url} --code {code}")).status;
    let url = &pair.shop.url;
    assert_eq!(count(url, &folder.code()), 0);
    assert_eq!(folder.run("status --db nosuch.db").status, 1);
    assert_eq!(count(url, "A/B"), 2);
    assert_eq!(pair.pull("").status, 3, "one table came, the other one waits");
    assert_eq!(pair.pull("--table users").status, 4, "what waits is all that was asked for");
    assert_eq!(count("http://127.0.0.1:1", "A7X9K2M4"), 5);
    assert_eq!(count(url, "A7X9K2M4"), 6);
    let help = folder.run("--help").ok().stdout;
    for (status, meaning) in
        ["done", "failed", "wrong usage", "done, but", "approve", "reached", "refused"].iter().enumerate()
    {
        let line = help.lines().find(|line| line.trim_start().starts_with(&format!("{status}  ")));
        assert!(line.is_some_and(|line| line.contains(meaning)), "{status}: {help}");
    }
}

#[test]
fn a_refusal_by_this_side_is_another_one_than_by_the_other() {
    let pair = Pair::new();
    let folder = &pair.folder;
    pair.connected("--allowed-tables users");
    let suspended = |db: &str, name: &str| {
        folder.run(&format!("connections suspend {name} --db {db} --no-notify")).ok();
        let ran = pair.pull("");
        folder.run(&format!("connections reactivate {name} --db {db} --no-notify")).ok();
        assert_eq!(ran.json()["code"], "connection_not_active");
        (ran.status, ran.stderr)
    };
    let uuid = pair.received()["uuid"].as_str().unwrap().to_owned();
    let (status, here) = suspended("backup.db", &uuid);
    assert!(status == 1 && here.contains("on this side") && here.contains("`rowferry connections"), "{status} {here}");
    assert_eq!(suspended("shop.db", "Backup").0, 6);
    pair.pull("--strategy append").ok();
    // All is refused by this side; that is not what the other site says.
    pair.pull("--strategy append --always").failed(1, &["appended before", "--append-again"]);
}

#[test]
fn a_pull_that_took_as_long_as_it_may_is_no_fault_of_the_other_site() {
    let folder = Folder::new();
    let rows = "WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < 100000) INSERT INTO many SELECT n FROM s";
    folder.sql("shop.db", &format!("CREATE TABLE many (id INTEGER PRIMARY KEY); {rows}"));
    let served = folder.serve();
    let pull = format!("pull {} --code {} --db backup.db --table many --batch-size 1", served.url, served.code);
    folder.run(&format!("{pull} --max-time 0.3")).failed(1, &["whole pull may take", "Pull again"]);
}
