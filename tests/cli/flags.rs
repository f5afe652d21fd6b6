//! Every flag of connections, transfers and events: what it sets, and what it does not take.

use crate::support::command::{Folder, text};
use serde_json::{Value, json};

#[test]
fn every_field_can_be_set_changed_and_taken_away() {
    let folder = Folder::new();
    folder.sql("shop.db", "CREATE TABLE secret (id)");
    let all = "--approval-mode per_table --allowed-tables users,posts --excluded-tables secret --auto-approve-tables users \
               --expires-at 2099-01-31 --max-downloads 5 --max-records-total 6 --max-records-per-request 7 --rate-limit 8 \
               --ip-whitelist 10.0.0.0/8,::1 --allowed-hours 22-5 --default-conflict-strategy merge --auto-sync true \
               --auto-sync-tables users --auto-sync-interval 9";
    let made =
        folder.json(&format!("connections create --db shop.db --name B --site-url https://b.example --no-notify {all}"));
    for (field, value) in [
        ("approval_mode", json!("per_table")),
        ("allowed_tables", json!(["users", "posts"])),
        ("excluded_tables", json!(["secret"])),
        ("auto_approve_tables", json!(["users"])),
        ("expires_at", json!("2099-01-31T00:00:00Z")),
        ("max_downloads", json!(5)),
        ("remaining_downloads", json!(5)),
        ("max_records_total", json!(6)),
        ("remaining_records", json!(6)),
        ("max_records_per_request", json!(7)),
        ("rate_limit_requests_per_minute", json!(8)),
        ("ip_whitelist", json!(["10.0.0.0/8", "::1"])),
        ("allowed_hours", json!({"start": 22, "end": 5})),
        ("default_conflict_strategy", json!("merge")),
        ("auto_sync_enabled", json!(true)),
        ("auto_sync_tables", json!(["users"])),
        ("auto_sync_interval_minutes", json!(9)),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    let none = "--allowed-tables none --excluded-tables none --auto-approve-tables none --expires-at none --max-downloads none \
                --max-records-total none --ip-whitelist none --allowed-hours none --auto-sync false --auto-sync-tables none";
    let cleared = folder.json(&format!("connections update B --db shop.db --name C --site-url https://c.example {none}"));
    assert_eq!((text(&cleared, "name"), text(&cleared, "site_url")), ("C", "https://c.example"));
    for field in ["expires_at", "max_downloads", "max_records_total", "allowed_hours", "remaining_downloads"] {
        assert_eq!(cleared[field], Value::Null, "{field}");
    }
    assert_eq!((&cleared["allowed_tables"], &cleared["ip_whitelist"]), (&json!([]), &json!([])));
    // What was not named stays.
    assert_eq!((&cleared["rate_limit_requests_per_minute"], &cleared["approval_mode"]), (&json!(8), &json!("per_table")));

    for at in 0..3 {
        folder.run(&format!("connections create --db shop.db --name B --site-url https://b{at}.example --no-notify")).ok();
    }
    folder.run("connections show B --db shop.db").failed(2, &["several connections", "uuid"]);
    folder.run("connections suspend C --db shop.db --no-notify").ok();
    let list = |more: &str| folder.list(&format!("connections list --db shop.db {more}")).len();
    assert_eq!(
        [list(""), list("--status active"), list("--limit 2"), list("--offset 3"), list("--direction receiver")],
        [4, 3, 2, 1, 0]
    );
    let people = folder.run("connections list --db shop.db").ok().stdout;
    assert!(people.contains("https://c.example") && people.contains("suspended"), "{people}");
    let status = folder.json("status --db shop.db");
    assert_eq!((&status["connections"]["active"], &status["connections"]["suspended"]), (&json!(3), &json!(1)));
    assert!(folder.run("status --db shop.db").ok().stdout.contains("active connections"));
}

#[test]
fn the_strategy_of_a_sender_reaches_the_other_site_or_is_refused() {
    let folder = Folder::new();
    let create = |name: &str, more: &str| {
        let url = format!("https://{name}.example");
        folder.run(&format!("connections create --db shop.db --name {name} --site-url {url} --no-notify {more}")).ok().stdout
    };
    let made = create("a", "--default-conflict-strategy merge");
    assert!(made.contains("--token-file FILE --default-conflict-strategy merge --db DB"), "{made}");
    for same in ["", "--default-conflict-strategy skip"] {
        let made = create(&format!("b{}", same.len()), same);
        assert!(made.contains("--token-file FILE --db DB"), "{made}");
    }
    let update = "connections update a --db shop.db --max-downloads 3 --default-conflict-strategy append";
    folder.run(update).failed(2, &["when it is registered", "other site's people", "--default-conflict-strategy append"]);
    let kept = folder.json("connections show a --db shop.db");
    assert_eq!(
        (&kept["default_conflict_strategy"], &kept["max_downloads"]),
        (&json!("merge"), &Value::Null),
        "nothing changed"
    );
    std::fs::write(folder.path("token"), "zq81zq81zq81zq81zq81zq81").unwrap();
    let receiver = "--name r --site-url https://r.example --direction receiver --token-file token";
    folder.run(&format!("connections create --db shop.db {receiver}")).ok();
    let updated = folder.json("connections update r --db shop.db --default-conflict-strategy append");
    assert_eq!(updated["default_conflict_strategy"], "append");
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let folder = Folder::new();
    let create = "connections create --db shop.db --name N --site-url https://b.example";
    let made = folder.json(&format!("{create} --no-notify"));
    for (name, bad) in [
        ("approval-mode", "sometimes"),
        ("allowed-tables", ",a"),
        ("excluded-tables", "a,"),
        ("auto-approve-tables", "\""),
        ("expires-at", "soon"),
        ("max-downloads", "-1"),
        ("max-records-total", "many"),
        ("max-records-per-request", "0"),
        ("rate-limit", "0"),
        ("ip-whitelist", "10.0.0.0/33"),
        ("allowed-hours", "5-24"),
        ("default-conflict-strategy", "replace"),
        ("auto-sync", "maybe"),
        ("auto-sync-tables", ","),
        ("auto-sync-interval", "0"),
        ("metadata", "[]"),
    ] {
        for command in [create, "connections update N --db shop.db"] {
            let ran = folder.run(&format!("{command} --{name}={bad}"));
            assert!(ran.status == 2 && ran.stderr.contains(&format!("--{name}")), "{command} --{name}: {ran:?}");
        }
    }
    for line in [
        "connections",
        "connections create --db shop.db --name N",
        "connections create --db shop.db --name N --site-url nonsense --no-notify",
        "connections create --db shop.db --name N --site-url https://x.example --token T",
        "connections create --db shop.db --name N --site-url https://x.example --direction receiver",
        "connections create --db shop.db --name N --site-url https://x.example --direction sideways",
        "connections create --db shop.db --name N --site-url https://x.example --no-notify --remote-password P",
        "connections create --db shop.db --name N --site-url https://x.example --direction receiver --token T --no-notify",
        "connections create --db shop.db --name N --site-url https://x.example --direction receiver --token T --prefix p",
        "connections create --db shop.db --name N --site-url https://x.example --direction receiver --token T --ca-cert c",
        "connections create --db shop.db --name N --site-url https://x.example --direction receiver --token T --timeout 5",
        "connections delete --db shop.db --pending --yes --no-notify",
        "connections delete --db shop.db --pending --yes --prefix p",
        "connections delete --db shop.db --pending --yes --ca-cert c",
        "connections delete --db shop.db --pending --yes --timeout 5",
        "connections list --db shop.db --status open",
        "connections list --db shop.db --limit 0",
        "connections show --db shop.db",
        "connections update N --db shop.db --token T",
        "connections update N --db shop.db --download-password P --no-download-password",
        "transfers list --db shop.db --status open",
        "transfers list --db shop.db --direction up",
        "transfers list --db shop.db --pending --status failed",
        "transfers list --db shop.db --from yesterday",
        "transfers show not-a-uuid --db shop.db",
        "events --db shop.db --kind connection.painted",
        "events --db shop.db --limit 0",
        "status",
        "status http://127.0.0.1:1 --db shop.db",
        "pull --db shop.db --code A7X9K2M4",
        "pull --db shop.db",
        "pull http://127.0.0.1:1 --connection N --db shop.db",
        "pull http://127.0.0.1:1 --db shop.db --code C --token T",
        "pull http://127.0.0.1:1 --db shop.db --code C --password P",
        "pull http://127.0.0.1:1 --db shop.db --code C --wait-for-approval 5",
        "pull http://127.0.0.1:1 --db shop.db --code-file nosuch --wait-for-approval 5",
        "pull --connection N --db shop.db --wait-for-approval 0",
        "tables http://127.0.0.1:1 --password P",
        "serve --db shop.db --trusted-proxy nonsense",
        "settings set enabled --db shop.db",
        "settings set enabled true --value-file token --db shop.db",
    ] {
        let ran = folder.run(line);
        assert_eq!(ran.status, 2, "{line}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{line}");
    }
    for line in ["connections list", "transfers list", "events", "status"] {
        folder.run(&format!("{line} --db typo.db")).failed(1, &["typo.db"]);
    }
    let unknown = "0199c2f8-0000-7000-8000-000000000000";
    for line in ["show", "approve", "deny", "cancel", "delete"] {
        folder.run(&format!("transfers {line} {unknown} --db shop.db --json")).failed(1, &["no transfer"]);
    }
    for line in ["show", "approve", "suspend", "reactivate", "revoke", "rotate-token", "delete", "check"] {
        let ran = folder.run(&format!("connections {line} {unknown} --db shop.db --json"));
        assert_eq!(ran.failed(1, &["no connection"]).json()["code"], "not_found", "{line}");
    }
    assert_eq!(folder.list("connections list --db shop.db").len(), 1);
    assert_eq!(folder.json("connections show N --db shop.db")["updated_at"], made["updated_at"]);
}

#[test]
fn nothing_is_changed_when_the_options_cannot_be_used() {
    let folder = Folder::new();
    let create = "connections create --db shop.db --name N --site-url https://b.example";
    folder.run(&format!("{create} --ca-cert nosuch.pem")).failed(1, &["nosuch.pem"]);
    assert!(folder.list("connections list --db shop.db").is_empty());
    folder.run("serve --db shop.db --ca-cert nosuch.pem --site-url https://a.example").failed(1, &["nosuch.pem"]);
    assert_eq!(folder.json("settings get site_url --db shop.db")["value"], Value::Null);
    folder.run("pull http://127.0.0.1:1 --token-file nosuch --db new.db").failed(1, &["nosuch"]);
    assert!(!folder.path("new.db").exists());
    folder.run(&format!("{create} --no-notify")).ok();
    let before = folder.list("events --db shop.db");
    for line in ["rotate-token", "suspend", "revoke", "delete"] {
        folder.run(&format!("connections {line} N --db shop.db --ca-cert nosuch.pem")).failed(1, &["nosuch.pem"]);
    }
    assert_eq!(folder.list("events --db shop.db"), before);
    folder.run("connections update N --db shop.db --name M --token T").failed(2, &["made here"]);
    std::fs::write(folder.path("token"), "T").unwrap();
    let receiver = format!("{create} --direction receiver --token-file token").replace("--name N", "--name R");
    folder.run(&receiver).ok();
    std::fs::write(folder.path("token"), "not a token\n").unwrap();
    folder.run("connections update R --db shop.db --name M --token-file token").failed(2, &["token"]);
    folder.run("connections show M --db shop.db").failed(1, &["no connection"]);
}

#[test]
fn long_lists_are_listed_whole() {
    let folder = Folder::new();
    folder.run("connections create --db shop.db --name N --site-url https://b.example --no-notify").ok();
    folder.sql(
        "shop.db",
        "INSERT INTO rowferry_transfers (uuid, direction, table_name, records_transferred, records_created, records_updated,
           records_skipped, records_failed, bytes_transferred, status, requires_approval, touched_at, metadata, inserted_at)
         SELECT printf('0199c2f8-0000-7000-8000-%012x', value), 'send', 'users', 0, 0, 0, 0, 0, 0, 'completed', 0, at, '{}', at
         FROM (WITH RECURSIVE s(value) AS (VALUES (1) UNION ALL SELECT value + 1 FROM s WHERE value < 1200) SELECT value FROM s),
              (SELECT at FROM rowferry_events LIMIT 1)",
    );
    let list = |more: &str| folder.list(&format!("transfers list --db shop.db {more}"));
    assert_eq!([list("--limit 5000").len(), list("--limit 1100").len(), list("").len()], [1200, 1100, 100]);
    let rest = list("--limit 5000 --offset 1199");
    assert_eq!((rest.len(), text(&rest[0], "uuid")), (1, "0199c2f8-0000-7000-8000-000000000001"));
}

#[test]
fn a_new_token_that_cannot_be_sent_goes_by_hand() {
    let folder = Folder::new();
    folder.run("connections create --db shop.db --name N --site-url https://b.example --no-notify").ok();
    folder.run("sessions reset-key --db shop.db").ok();
    let rotated = folder.json("connections rotate-token N --db shop.db");
    assert_eq!((&rotated["queued"], text(&rotated["notified"], "outcome")), (&json!(false), "by_hand"));
    assert_eq!(text(&rotated, "token").len(), 43);
    folder.run("sessions reset-key --db shop.db").ok();
    let people = folder.run("connections rotate-token N --db shop.db").ok().stdout;
    assert!(people.contains("by hand"), "{people}");
}
