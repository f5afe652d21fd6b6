//! Approvals, the history and the events, by the command line.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::command::{Folder, Pair, Ran, kill, text, until};
use serde_json::{Value, json};

#[test]
fn a_pull_that_needs_approval_waits_for_it() {
    let pair = Pair::new();
    let folder = &pair.folder;
    let made = pair.connected("--approval-mode per_table --auto-approve-tables posts --allowed-tables users,posts");
    let report = pair.pull("").failed(3, &["1 of 2 tables"]).json();
    let users = &report["tables"]["users"];
    assert_eq!(
        (text(users, "error_code"), &report["tables"]["posts"]["status"]),
        ("approval_required", &json!("completed"))
    );
    let waiting = folder.json("transfers list --pending --db shop.db");
    assert_eq!((&waiting["uuid"], text(&waiting, "status")), (&users["approval"], "pending_approval"));
    assert_eq!(folder.json("status --db shop.db")["pending_approvals"], 1);
    // Asked again, it is the same one that waits.
    let again = pair.pull("--table users").failed(4, &["Approval"]).json();
    assert_eq!(again["tables"]["users"]["approval"], users["approval"]);

    let uuid = text(&waiting, "uuid");
    let approved = folder.json(&format!("transfers approve {uuid} --db shop.db --by alice"));
    assert_eq!((text(&approved, "status"), text(&approved, "approved_by")), ("approved", "alice"));
    folder.run(&format!("transfers approve {uuid} --db shop.db")).failed(1, &["approved"]);
    pair.pull("--table users").ok();
    // An approval is good for one pull.
    let next = pair.pull("--table users").failed(4, &["Approval"]).json()["tables"]["users"]["approval"].clone();
    assert_ne!(next, users["approval"]);
    let denied = folder.run(&format!("transfers deny {} --db shop.db --reason not-now", next.as_str().unwrap())).ok();
    assert!(denied.stdout.contains("users is denied"), "{}", denied.stdout);
    let refused = pair.pull("--table users").failed(6, &["denied", "not-now"]).json();
    assert_eq!(refused["tables"]["users"]["error_code"], "approval_denied");

    // One that waits goes on as soon as it is approved.
    folder.run("connections update Backup --db shop.db --approval-mode require_approval --auto-approve-tables none").ok();
    let receiver = text(&pair.received(), "uuid").to_owned();
    let line =
        format!("pull --connection {receiver} --db backup.db --table posts --wait-for-approval 60 --strategy overwrite");
    let child = folder.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    let uuid = until(|| folder.list("transfers list --pending --table posts --db shop.db").first().cloned());
    folder.run(&format!("transfers approve {} --db shop.db", text(&uuid, "uuid"))).ok();
    Ran::of(child.wait_with_output().unwrap()).ok();

    pair.pull("--table posts").failed(4, &["Approval"]);
    let pending = folder.json("transfers list --pending --db shop.db");
    let cancelled = folder.json(&format!("transfers cancel {} --db shop.db --reason enough", text(&pending, "uuid")));
    assert_eq!((text(&cancelled, "status"), text(&cancelled, "error_message")), ("cancelled", "enough"));
    folder.run(&format!("transfers delete {} --db shop.db", text(&pending, "uuid"))).ok();
    folder.run(&format!("transfers show {} --db shop.db", text(&pending, "uuid"))).failed(1, &["no transfer"]);
    let with = |more: &str| folder.list(&format!("transfers list --db shop.db {more}")).len();
    assert_eq!(with("--limit 1"), 1);
    assert_eq!(with("--limit 1000") - with("--limit 1000 --offset 1"), 1);
    assert_eq!((with("--to 2001-01-01"), with("--from 2001-01-01") > 0), (0, true));
    assert_eq!((with("--direction receive"), with("--status denied --status cancelled")), (0, 1));
    assert!(with("--requires-approval false") > 0 && with("--requires-approval") > with("--requires-approval false"));
    assert_eq!(with(&format!("--connection {}", text(&made, "uuid"))), with("--connection Backup"));
}

#[test]
fn events_are_listed_and_followed() {
    let folder = Folder::new();
    let create = |name: &str| {
        let url = format!("https://{}.example", name.to_lowercase());
        folder.json(&format!("connections create --db shop.db --name {name} --site-url {url} --no-notify --by alice"))
    };
    let first = create("First");
    create("Second");
    let events = folder.list("events --db shop.db");
    assert_eq!(events.iter().map(|event| text(event, "actor")).collect::<Vec<_>>(), ["alice", "alice"]);
    assert!(events[0]["id"].as_u64() < events[1]["id"].as_u64());
    assert_eq!(folder.json("events --db shop.db --limit 1")["id"], events[1]["id"]);
    assert_eq!(folder.json("events --db shop.db --connection First")["connection"], first["uuid"]);
    assert!(folder.list("events --db shop.db --kind connection.deleted").is_empty());
    assert!(folder.run("events --db shop.db").ok().stdout.contains("connection.created"));
    assert!(folder.run("events --db shop.db --kind transfer.failed").ok().stdout.contains("no such events"));

    let line = "events --db shop.db --connection First --follow --json --limit 1";
    let mut child = folder.command(line).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(text(&next(), "kind"), "connection.created");
    folder.run("connections suspend Second --db shop.db --no-notify").ok();
    folder.run("connections suspend First --db shop.db --no-notify").ok();
    let event = next();
    assert_eq!((text(&event, "kind"), &event["connection"]), ("connection.suspended", &first["uuid"]));
    kill(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_a_connection_does_not_allow_is_refused_with_its_reason() {
    let pair = Pair::new();
    let folder = &pair.folder;
    pair.connected("--allowed-tables users,posts --excluded-tables posts --max-downloads 2 --ip-whitelist 10.0.0.0/8");
    let refused = |more: &str| {
        let ran = pair.pull(more).failed(6, &[]).json();
        ran["code"].as_str().or(ran["tables"]["users"]["error_code"].as_str()).unwrap().to_owned()
    };
    assert_eq!(refused(""), "ip_not_allowed");
    folder.run("connections update Backup --db shop.db --ip-whitelist none").ok();
    folder.run("settings set enabled false --db shop.db").ok();
    assert_eq!(refused(""), "disabled");
    folder.run("settings set enabled true --db shop.db").ok();
    pair.pull("--table posts").failed(1, &["posts"]);
    let report = pair.pull("").ok().json();
    assert_eq!(report["tables"].as_object().unwrap().keys().collect::<Vec<_>>(), ["users"]);
    assert_eq!(folder.json("connections show Backup --db shop.db")["remaining_downloads"], 1);
    pair.pull("").ok();
    let denied = folder.list("events --db shop.db --kind access.denied");
    assert!(!denied.is_empty() && denied.iter().all(|event| text(event, "actor").starts_with("peer")), "{denied:?}");
    // Last of all: maintenance of the shop may let the connection expire at any moment now.
    let code = refused("");
    assert!(["download_limit_reached", "connection_not_active"].contains(&code.as_str()), "{code}");
}

#[test]
fn a_pull_is_undone() {
    let pair = Pair::new();
    let folder = &pair.folder;
    pair.connected("");
    let report = pair.pull("--undoable").ok().json();
    let uuid = text(&report["tables"]["users"], "transfer").to_owned();
    let rows = || {
        let count = |table: &str| folder.number("backup.db", &format!("SELECT count(*) FROM {table}"));
        ["users", "posts", "\"order by \"\"x\"\"\""].map(count).iter().sum::<i64>()
    };
    let pulled = rows();
    assert!(pulled > 0);
    let tried = folder.json(&format!("transfers undo {uuid} --pull --dry-run --db backup.db"));
    let deleted: i64 = tried["tables"].as_array().unwrap().iter().map(|table| table["deleted"].as_i64().unwrap()).sum();
    assert_eq!((rows(), deleted, &tried["dry_run"]), (pulled, pulled, &json!(true)));
    let undone = folder.run(&format!("transfers undo {uuid} --pull --db backup.db")).ok();
    assert!(undone.stdout.contains("restored"), "{}", undone.stdout);
    assert_eq!(rows(), 0);
    folder.run(&format!("transfers undo {uuid} --db backup.db")).failed(1, &["undone before"]);

    let report = pair.pull("--strategy overwrite").ok().json();
    let uuid = text(&report["tables"]["users"], "transfer").to_owned();
    folder.run(&format!("transfers undo {uuid} --db backup.db")).failed(1, &["nothing is kept", "--undoable"]);

    folder.sql("backup.db", "DELETE FROM posts; DELETE FROM users");
    let report = pair.pull("--undoable --strategy overwrite --table users").ok().json();
    let uuid = text(&report["tables"]["users"], "transfer").to_owned();
    folder.sql("backup.db", "UPDATE users SET name = 'mine' WHERE id = (SELECT min(id) FROM users)");
    folder.run(&format!("transfers undo {uuid} --db backup.db")).failed(3, &["users [1] is kept (changed)"]);
    assert_eq!(folder.number("backup.db", "SELECT count(*) FROM users"), 1);
}
