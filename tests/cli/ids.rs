//! Ids by a part of them, and all of a connection at once.

use crate::support::command::{Folder, Pair, text};

#[test]
fn ids_may_be_short() {
    let folder = Folder::new();
    let create = "connections create --db shop.db --name N --site-url https://b.example --no-notify";
    let made = folder.json(create);
    folder.sql(
        "shop.db",
        "INSERT INTO rowferry_transfers (uuid, direction, table_name, records_transferred, records_created, records_updated,
           records_skipped, records_failed, bytes_transferred, status, requires_approval, touched_at, metadata, inserted_at)
         SELECT '0199c2f8-0000-7000-8000-' || value, 'send', 'users', 0, 0, 0, 0, 0, 0, 'completed', 0, at, '{}', at
         FROM (SELECT '0000aaaa1111' AS value UNION ALL SELECT '0000bbbb1111' UNION ALL SELECT '0000cccc2222'),
              (SELECT at FROM rowferry_events LIMIT 1)",
    );
    let show = |id: &str| folder.run(&format!("transfers show {id} --db shop.db --json"));
    for id in [
        "2222",
        "cccc2222",
        "CCCC-2222",
        "8000-0000cccc2222",
        "0199c2f8-0000-7000-8000-0000c",
        "0199c2f80000700080000000cccc",
    ] {
        assert_eq!(text(&show(id).ok().json(), "uuid"), "0199c2f8-0000-7000-8000-0000cccc2222", "{id}");
    }
    let both =
        ["several transfers", "0199c2f8-0000-7000-8000-0000aaaa1111, 0199c2f8-0000-7000-8000-0000bbbb1111", "Give more"];
    show("1111").failed(2, &both);
    show("0199").failed(2, &["several transfers"]);
    show("3333").failed(1, &["no transfer", "rowferry transfers list"]);
    for none in ["222", "user", "%%%%", "a-b-c"] {
        let ran = show(none);
        assert!(ran.status == 2 && ran.stderr.contains("at least 4 of its digits"), "{none}: {ran:?}");
    }
    let list = folder.run("transfers list --db shop.db").ok().stdout;
    assert!(list.contains("  aaaa1111  ") && list.contains("  cccc2222  ") && !list.contains("7000-8000"), "{list}");
    assert_eq!(folder.list("transfers list --db shop.db")[0]["uuid"].as_str().map(str::len), Some(36));
    folder.run("transfers delete cccc2222 --db shop.db").ok();
    show("cccc2222").failed(1, &["no transfer"]);

    let (uuid, end) = (text(&made, "uuid"), &text(&made, "uuid")[28..]);
    assert!(folder.run("connections list --db shop.db").ok().stdout.contains(&format!("  {end}\n")));
    for part in [end, &uuid[..13]] {
        assert_eq!(folder.json(&format!("connections show {part} --db shop.db"))["uuid"], made["uuid"], "{part}");
        assert_eq!(folder.list(&format!("events --connection {part} --db shop.db")).len(), 1, "{part}");
    }
    // A name goes first.
    let named = folder.json(&create.replace("--name N", &format!("--name {end}")).replace("b.example", "c.example"));
    assert_eq!(folder.json(&format!("connections show {end} --db shop.db"))["uuid"], named["uuid"]);

    let session = folder.json("sessions create --db shop.db");
    let end = &text(&session, "uuid")[28..];
    assert!(folder.run("sessions list --db shop.db").ok().stdout.contains(end));
    assert_eq!(folder.json(&format!("sessions delete {end} --db shop.db"))["deleted"], session["uuid"]);
    folder.run(&format!("sessions delete {end} --db shop.db")).failed(1, &["sessions list"]);
}

#[test]
fn what_is_deleted_or_revoked_is_named_by_more_than_four_digits() {
    let folder = Folder::new();
    let create = "connections create --db shop.db --name Backup --site-url https://b.example --no-notify";
    let connection = text(&folder.json(create), "uuid").to_owned();
    let session = text(&folder.json("sessions create --db shop.db"), "uuid").to_owned();
    let transfer = "0199c2f8-0000-7000-8000-0000cccc2222";
    folder.sql(
        "shop.db",
        "INSERT INTO rowferry_transfers (uuid, direction, table_name, records_transferred, records_created, records_updated,
           records_skipped, records_failed, bytes_transferred, status, requires_approval, touched_at, metadata, inserted_at)
         SELECT '0199c2f8-0000-7000-8000-0000cccc2222', 'send', 'users', 0, 0, 0, 0, 0, 0, 'completed', 0, at, '{}', at
         FROM rowferry_events LIMIT 1",
    );
    for (command, id, named) in [
        ("connections delete", connection.as_str(), "\"Backup\""),
        ("connections revoke", &connection, "\"Backup\""),
        ("sessions delete", &session, "session"),
        ("transfers delete", transfer, "\"users\""),
    ] {
        for part in [&id[32..], &id[29..]] {
            let ran = folder.run(&format!("{command} {part} --db shop.db"));
            ran.failed(2, &[id, named, "too short", "at least 8 digits"]);
        }
    }
    assert_eq!(folder.json("connections show Backup --db shop.db")["status"], "active");
    // What is only looked at, or can be undone, goes by less.
    folder.run(&format!("connections suspend {} --no-notify --db shop.db", &connection[32..])).ok();
    // A name is whole however short it is, also where an id ends with it.
    let cafe = create.replace("Backup", &connection[32..]).replace("b.example", "c.example");
    let uuid = text(&folder.json(&cafe), "uuid").to_owned();
    let deleted = folder.json(&format!("connections delete {} --no-notify --db shop.db", &connection[32..]));
    assert_eq!(text(&deleted, "uuid"), uuid);
    let end = &connection[28..];
    let revoked = folder.run(&format!("connections revoke {end} --no-notify --db shop.db")).ok().stdout;
    assert!(revoked.starts_with(&format!("Connection Backup ({connection}) is revoked.")), "{revoked}");
    for (command, id) in [("sessions", session.as_str()), ("transfers", transfer)] {
        let deleted = folder.run(&format!("{command} delete {} --db shop.db", &id[28..])).ok().stdout;
        assert!(deleted.contains(id), "{deleted}");
    }
}

#[test]
fn all_that_wait_through_a_connection_are_decided_at_once() {
    let pair = Pair::new();
    let folder = &pair.folder;
    pair.connected("--approval-mode require_approval --allowed-tables users,posts");
    let decide =
        |how: &str, more: &str| folder.run(&format!("transfers {how} --connection Backup --all --db shop.db {more}"));
    assert!(decide("approve", "").ok().stdout.contains("No transfers of Backup wait for approval."));
    assert_eq!(decide("approve", "--json").ok().stdout, "");
    pair.pull("").failed(4, &["Approval"]);
    let approved = decide("approve", "--by alice").ok().stdout;
    assert_eq!(approved, "The transfer of posts is approved.\nThe transfer of users is approved.\n");
    pair.pull("").ok();
    pair.pull("").failed(4, &["Approval"]);
    let denied = decide("deny", "--reason later --json").ok().stdout;
    assert!(denied.lines().count() == 2 && denied.matches(r#""status":"denied""#).count() == 2, "{denied}");
    pair.pull("").failed(6, &["later"]);
    for wrong in ["--all", "--connection Backup", "7f94a28d --connection Backup --all", ""] {
        assert_eq!(folder.run(&format!("transfers approve --db shop.db {wrong}")).status, 2, "{wrong}");
    }
    // What is missing is the connection, not a transfer.
    for line in ["transfers deny --all", "transfers list", "transfers stats", "events", "pull"] {
        let ran = folder.run(&format!("{line} --connection Nobody --db shop.db"));
        let ran = ran.failed(1, &["no connection", "`rowferry connections list --db DB`"]);
        assert!(!ran.stderr.contains("transfers list"), "{ran:?}");
    }
}
