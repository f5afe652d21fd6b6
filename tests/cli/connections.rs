//! Two sites that pair permanently, by the command line alone: each is a process that serves, and all else are commands.

use crate::support::command::{Pair, text, until};
use serde_json::{Value, json};

#[test]
fn what_waits_for_approval_is_deleted_at_once() {
    let pair = Pair::new();
    let folder = &pair.folder;
    pair.connect("");
    assert_eq!(text(&pair.received(), "status"), "pending");
    folder.run("connections delete --pending --db backup.db").failed(2, &["1 connection waits for approval", "--yes"]);
    for wrong in ["delete", "delete Shop --pending", "delete Shop --yes"] {
        assert_eq!(folder.run(&format!("connections {wrong} --db backup.db")).status, 2, "{wrong}");
    }
    assert_eq!(folder.list("connections list --db backup.db").len(), 1);
    assert_eq!(folder.json("connections delete --pending --yes --db backup.db"), json!({"deleted": 1}));
    assert_eq!(folder.json("connections delete --pending --db backup.db"), json!({"deleted": 0}), "nothing to ask about");
    assert_eq!(folder.list("connections list --db backup.db"), Vec::<Value>::new());
    let deleted = folder.list("events --db backup.db").into_iter().find(|event| event["kind"] == "connection.deleted");
    assert_eq!(deleted.unwrap()["details"]["reason"], "dropped");
}

#[test]
fn a_connection_is_registered_approved_pulled_through_and_ended() {
    let pair = Pair::new();
    let folder = &pair.folder;
    let made = pair.connect("--allowed-tables users,posts --by alice");
    assert_eq!((text(&made, "status"), text(&made, "created_by")), ("active", "alice"));
    assert_eq!((made["token"].as_str().unwrap().len(), text(&made["notified"], "outcome")), (43, "pending"));
    let there = pair.received();
    assert_eq!((text(&there, "status"), &made["notified"]["remote_uuid"]), ("pending", &there["uuid"]));
    assert_eq!(text(&there, "site_url"), pair.shop.url);

    assert_eq!(pair.pull("").failed(1, &["pending", "Approve"]).json()["code"], "connection_not_active");
    let approved = folder.json(&format!("connections approve {} --db backup.db --by bob", text(&there, "uuid")));
    assert_eq!((text(&approved, "status"), text(&approved, "approved_by")), ("active", "bob"));
    assert_eq!(text(&approved["notified"], "outcome"), "told");
    let report = pair.pull("").ok().json();
    assert_eq!(report["tables"].as_object().unwrap().keys().collect::<Vec<_>>(), ["posts", "users"]);
    assert_eq!(report["tables"]["posts"]["approval"], Value::Null);
    assert_eq!(folder.number("backup.db", "SELECT count(*) FROM posts JOIN users ON users.id = user_id"), 1500);

    // Both sides know what was pulled.
    let received = folder.list("transfers list --db backup.db --table posts");
    assert_eq!(received[0]["uuid"], report["tables"]["posts"]["transfer"]);
    assert_eq!((text(&received[0], "direction"), text(&received[0], "initiated_by")), ("receive", "command line"));
    let sent = folder.json("transfers list --db shop.db --connection Backup --table posts --status completed");
    assert_eq!((text(&sent, "direction"), sent["records_transferred"].as_u64()), ("send", Some(1500)));
    let shown = folder.json(&format!("transfers show {} --db shop.db", text(&sent, "uuid")));
    assert_eq!((&shown["success_rate"], &shown["uuid"]), (&json!(1.0), &sent["uuid"]));
    let stats = folder.json("transfers stats --db shop.db --connection Backup");
    assert_eq!((&stats["completed"], &stats["total_records"]), (&json!(2), &json!(1503)));
    assert_eq!(stats["tables"][0]["table_name"], "posts");
    let connection = folder.json("connections show Backup --db shop.db");
    assert_eq!((&connection["downloads_used"], &connection["total_records_transferred"]), (&json!(2), &json!(1503)));

    let suspended = folder.json("connections suspend Backup --db shop.db --reason stocktaking --by carol");
    assert_eq!((text(&suspended, "status"), text(&suspended, "suspended_reason")), ("suspended", "stocktaking"));
    assert_eq!((text(&suspended["notified"], "outcome"), text(&pair.received(), "status")), ("told", "suspended"));
    pair.pull("").failed(1, &["suspended"]);
    let by_token = folder.run(&format!("tables {} --token {}", pair.shop.url, text(&made, "token")));
    by_token.failed(6, &["the connection is suspended by the other site: stocktaking", "reactivate the connection"]);
    folder.run("connections suspend Backup --db shop.db").failed(1, &["suspended"]);
    let back = folder.run("connections reactivate Backup --db shop.db").ok();
    assert!(back.stdout.contains("active again") && back.stdout.contains("The other site was told"), "{}", back.stdout);
    pair.pull("--strategy overwrite").ok();

    let old = text(&made, "token");
    let rotated = folder.json("connections rotate-token Backup --db shop.db");
    assert_eq!((text(&rotated["notified"], "outcome"), &rotated["queued"]), ("told", &json!(true)));
    let look = |token: &str| folder.run(&format!("tables {} --token {token} --json", pair.shop.url));
    assert_eq!(look(old).failed(6, &[]).json()["code"], "invalid_token");
    assert_eq!(look(text(&rotated, "token")).ok().json()["tables"].as_array().unwrap().len(), 2);
    pair.pull("--table users").ok();

    let revoked = folder.json("connections revoke Backup --db shop.db --reason sold");
    assert_eq!((text(&revoked, "status"), text(&pair.received(), "status")), ("revoked", "revoked"));
    folder.run("connections reactivate Backup --db shop.db").failed(1, &["revoked"]);
    let deleted = folder.json("connections delete Backup --db shop.db");
    assert_eq!((&deleted["uuid"], text(&deleted["notified"], "outcome")), (&made["uuid"], "told"));
    folder.run("connections show Backup --db shop.db").failed(1, &["no connection"]);
    assert!(folder.list("connections list --db backup.db").is_empty());
    // What went through it is still known.
    assert!(!folder.list(&format!("transfers list --db shop.db --connection {}", text(&made, "uuid"))).is_empty());
    let kinds: Vec<_> = folder.list(&format!("events --db shop.db --connection {}", text(&made, "uuid")));
    let kinds: Vec<_> = kinds.iter().map(|event| text(event, "kind")).collect();
    assert_eq!(kinds.first(), Some(&"connection.created"));
    for kind in ["connection.suspended", "connection.reactivated", "connection.token_rotated", "connection.deleted"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
}

#[test]
fn what_the_other_site_answers_to_a_registration_is_told() {
    let pair = Pair::new();
    let folder = &pair.folder;
    let mode = |mode: &str| folder.run(&format!("settings set incoming_mode {mode} --db backup.db")).ok();
    let delete = || folder.run("connections delete Backup --no-notify --db shop.db").ok();
    mode("deny_all");
    let refused = pair.connect("");
    assert_eq!((text(&refused["notified"], "outcome"), &refused["notified"]["http_status"]), ("failed", &json!(403)));
    assert_eq!((text(&refused, "status"), text(&refused, "token").len()), ("active", 43));
    delete();
    let people = folder.run(&format!("connections create --db shop.db --name Backup --site-url {}", pair.backup_url())).ok();
    for says in ["refused it (HTTP 403)", "not allowed", "by hand", "--direction receiver", "shown only now"] {
        assert!(people.stdout.contains(says), "{says} in {}", people.stdout);
    }
    delete();

    mode("require_password");
    folder.run_with_input("settings set incoming_password --value-file - --db backup.db", "hunter2\n").ok();
    for (more, status) in [("", 401), ("--remote-password wrong", 401)] {
        assert_eq!(pair.connect(more)["notified"]["http_status"], status);
        delete();
    }
    std::fs::write(folder.path("password"), "hunter2\n").unwrap();
    let taken = pair.connect("--remote-password-file password");
    assert_eq!(text(&taken["notified"], "outcome"), "registered");
    // The other site has it already.
    delete();
    let again = pair.connect("--remote-password hunter2");
    assert_eq!(again["notified"]["http_status"], 409);
    assert_eq!(again["metadata"]["notification"]["outcome"], "failed");
    delete();

    let cleared = folder.command("settings set site_url").args(["", "--db", "shop.db"]).output().unwrap();
    assert!(cleared.status.success());
    let nameless = pair.connect("");
    assert_eq!(text(&nameless["notified"], "outcome"), "skipped");
    let told = text(&nameless["notified"], "message");
    assert!(told.contains("settings set site_url") && told.contains("connections delete"), "{nameless}");
    delete();
    assert_eq!(pair.connect("--no-notify")["notified"], Value::Null);
    delete();

    folder.run(&format!("settings set site_url {} --db shop.db", pair.shop.url)).ok();
    let offline = folder.json("connections create --db shop.db --name Gone --site-url http://127.0.0.1:1");
    assert_eq!((text(&offline["notified"], "outcome"), &offline["notified"]["http_status"]), ("failed", &Value::Null));
    let create = |url: &str, more: &str| {
        folder.run(&format!("connections create --db shop.db --name N --site-url {url} {more} --json"))
    };
    assert_eq!(create("http://127.0.0.1:1", "").failed(1, &["already"]).json()["code"], "already_exists");
    assert_eq!(create(&pair.shop.url, "").failed(1, &["own URL"]).json()["code"], "self_connection");
    folder.run("settings set allow_internal_urls false --db shop.db").ok();
    let internal =
        create("http://10.0.0.1", "").failed(1, &["public", "rowferry settings set allow_internal_urls true --db"]);
    assert_eq!(internal.json()["code"], "forbidden_address");
}

#[test]
fn a_connection_made_by_hand_works_and_keeps_its_secrets_out_of_sight() {
    let pair = Pair::new();
    let folder = &pair.folder;
    std::fs::write(folder.path("password"), "hunter2\r\n").unwrap();
    let made = pair.connect("--no-notify --download-password-file password --metadata {\"a\":1}");
    assert_eq!(
        (&made["has_download_password"], &made["metadata"]["a"], &made["notified"]),
        (&json!(true), &json!(1), &Value::Null)
    );
    let token = text(&made, "token");
    let receive = format!("connections create --direction receiver --name Shop --site-url {} --db backup.db", pair.shop.url);
    let received = folder.run_with_input(&format!("{receive} --token-file - --json"), &format!("{token}\n")).ok().json();
    assert_eq!(
        (text(&received, "status"), &received["token"], &received["notified"]),
        ("active", &Value::Null, &Value::Null)
    );

    let pull = |more: &str| folder.run(&format!("pull --connection Shop --db backup.db --json {more}"));
    assert_eq!(pull("").failed(6, &["password"]).json()["code"], "invalid_password");
    assert_eq!(pull("--password wrong").failed(6, &[]).json()["code"], "invalid_password");
    pull("--password-file password --table users").ok();
    let look = |more: &str| folder.run(&format!("count users {} {more}", pair.shop.url));
    std::fs::write(folder.path("token"), token).unwrap();
    assert_eq!(look("--token-file token --password hunter2").ok().stdout, "3\n");
    assert_eq!(
        folder
            .run_with_input(&format!("count users {} --token-file token --password-file -", pair.shop.url), "hunter2")
            .ok()
            .stdout,
        "3\n"
    );
    look("--token-file - --password-file -").failed(2, &["only one secret"]);
    look("--token-file nosuch").failed(1, &["nosuch"]);
    folder.run_with_input(&format!("count users {} --token-file -", pair.shop.url), "\n").failed(1, &["no secret"]);
    folder.run(&format!("pull {} --token-file token --password-file password --db copy.db", pair.shop.url)).ok();

    folder.run("connections update Backup --db shop.db --no-download-password --max-downloads 1000").ok();
    pull("--table users").ok();
    // Tokens may begin with a hyphen, as options do.
    assert_eq!(look("--token -x --password -y").failed(6, &[]).stdout, "");
    let rotated = folder.json("connections rotate-token Backup --db shop.db --no-notify");
    assert_eq!((&rotated["notified"], &rotated["queued"]), (&Value::Null, &json!(true)));
    folder.run(&format!("connections update Shop --db backup.db --token {}", text(&rotated, "token"))).ok();
    pull("--table users").ok();
    folder.run("connections rotate-token Shop --db backup.db").failed(2, &["made by the other site", "update --token-file"]);
    folder.run("pull --connection Backup --db shop.db").failed(2, &["for the other site"]);
    folder.run("pull --connection Nobody --db shop.db").failed(1, &["no connection"]);
    let shown = folder.run("connections show Backup --db shop.db").ok().stdout;
    assert!(shown.contains("  name") && shown.contains("Backup") && !shown.contains("null"), "{shown}");

    let mut everything = format!("{shown}{}", std::fs::read_to_string(folder.path("served.log")).unwrap());
    for line in ["connections list", "transfers list", "events", "settings get"] {
        everything += &folder.run(&format!("{line} --db shop.db")).ok().stdout;
        everything += &folder.run(&format!("{line} --db backup.db")).ok().stdout;
    }
    for file in ["shop.db", "shop.db-wal", "backup.db", "backup.db-wal"] {
        everything += &String::from_utf8_lossy(&std::fs::read(folder.path(file)).unwrap_or_default());
    }
    for secret in [token, text(&rotated, "token"), "hunter2", &sha256(token), &sha256(text(&rotated, "token"))] {
        assert!(!everything.contains(secret), "a secret is in sight");
    }
}

fn sha256(text: &str) -> String {
    use sha2::Digest;

    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn messages_wait_for_a_site_that_is_offline() {
    let mut pair = Pair::new();
    let made = pair.connected("");
    pair.backup = None;
    let folder = &pair.folder;
    let suspended = folder.json("connections suspend Backup --db shop.db");
    assert_eq!((text(&suspended, "status"), text(&suspended["notified"], "outcome")), ("suspended", "offline"));
    assert!(!text(&suspended["notified"], "next_at").is_empty());
    assert_eq!(folder.json("status --db shop.db")["outbox"], 1);
    let check = |more: &str| folder.list(&format!("connections check --db shop.db {more}"));
    assert_eq!(text(&check("Backup")[0], "remote_status"), "offline");

    // It comes back elsewhere.
    let backup = folder.serve_db("backup.db", "");
    assert_eq!(text(&pair.received(), "status"), "active");
    folder.run(&format!("connections update Backup --db shop.db --site-url {}", backup.url)).ok();
    assert_eq!(text(&folder.list("connections check --db backup.db")[0], "remote_status"), "suspended");
    let reactivated = folder.json("connections reactivate Backup --db shop.db --no-notify");
    assert_eq!((&reactivated["notified"], &folder.json("status --db shop.db")["outbox"]), (&Value::Null, &json!(1)));
    let suspended = folder.json("connections suspend Backup --db shop.db --no-notify");
    assert_eq!(text(&suspended, "status"), "suspended");
    // Whoever serves sends what waits when it starts.
    drop(pair.shop);
    pair.shop = folder.serve_db("shop.db", "");
    until(|| (text(&folder.list("connections list --db backup.db")[0], "status") == "suspended").then_some(()));
    until(|| (folder.json("status --db shop.db")["outbox"] == 0).then_some(()));
    let log = std::fs::read_to_string(folder.path("served.log")).unwrap();
    assert!(log.contains("1 messages sent to other sites"), "{log}");

    // The other side forgets it: here it is found out.
    folder.run("connections reactivate Backup --db shop.db").ok();
    let theirs = text(&folder.list("connections list --db backup.db")[0], "uuid").to_owned();
    assert_eq!(text(&check("")[0], "remote_status"), "exists");
    folder.sql("backup.db", "DELETE FROM rowferry_connections");
    let severed = check("");
    assert_eq!((text(&severed[0], "remote_status"), &severed[0]["suspended_now"]), ("not_found", &json!(true)));
    assert_eq!(text(&severed[0], "status"), "suspended");
    let people = folder.run("connections check --db shop.db").ok().stdout;
    assert!(people.contains("not_found") && people.contains("Backup"), "{people}");
    let revoked = folder.json("connections revoke Backup --db shop.db");
    assert_eq!(text(&revoked["notified"], "outcome"), "not_found");
    folder.run("connections delete Backup --db shop.db").ok();
    assert!(folder.run("connections check --db shop.db").ok().stdout.contains("no connections"));
    folder.run(&format!("connections check {theirs} --db backup.db")).failed(1, &["no connection"]);
    assert!(!folder.list(&format!("events --db shop.db --connection {}", text(&made, "uuid"))).is_empty());
}
