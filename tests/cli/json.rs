//! The JSON lines: `schema/output.schema.json` says what each command prints, and every run of a command in these tests is held to it.

use std::collections::BTreeSet;

use crate::support::command::{Folder, Pair, Ran, text};
use crate::support::schema;

#[test]
fn every_command_prints_what_the_schema_says() {
    let pair = Pair::new();
    let folder = &pair.folder;
    let mut tried = BTreeSet::new();
    let mut run = |status: i32, line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let name = schema::commands().into_iter().find(|name| line == name || line.starts_with(&format!("{name} ")));
        tried.insert(name.unwrap_or_else(|| panic!("{words:?} is not in the schema")));
        // The lines are held to the schema where it runs.
        let ran = folder.run(&format!("{line} --json"));
        assert!(ran.status == status && !ran.stdout.is_empty(), "{line}: {ran:?}");
        ran
    };
    let url = &pair.shop.url;
    run(0, "settings set incoming_mode require_approval --db backup.db").ok();
    run(0, "settings get --db shop.db");
    let code = folder.code();
    let lines = ["tables", "schema posts", "schema users", "count users", "records users"].map(|line| (0, line));
    for (status, line) in lines.into_iter().chain([(6, "count ghost")]) {
        run(status, &format!("{line} {url} --code {code}"));
    }
    run(0, &format!("status {url}"));
    run(0, "status --db shop.db");
    run(5, "status http://127.0.0.1:1");
    let session = run(0, "sessions create --db shop.db").json();
    run(0, "sessions list --db shop.db");
    run(0, &format!("sessions delete {} --db shop.db", text(&session, "uuid")));

    let create = format!("connections create --db shop.db --name Backup --site-url {}", pair.backup_url());
    run(0, &format!("{create} --approval-mode require_approval --allowed-tables users,posts"));
    let theirs = text(&pair.received(), "uuid").to_owned();
    run(0, &format!("connections approve {theirs} --db backup.db"));
    run(0, "connections list --db shop.db");
    run(0, "connections show Backup --db shop.db");
    run(0, "connections check --db shop.db");
    run(0, "connections update Backup --db shop.db --max-downloads 5 --allowed-hours 0-23 --expires-at 2099-01-31");
    let pull = format!("pull --connection {theirs} --db backup.db --strategy append --retry-time 0");
    run(4, &pull);
    let waiting = run(0, "transfers list --pending --db shop.db").json();
    run(0, &format!("transfers show {} --db shop.db", text(&waiting, "uuid")));
    run(0, &format!("transfers deny {} --db shop.db", text(&waiting, "uuid")));
    run(0, "transfers approve --connection Backup --all --db shop.db");
    run(6, &pull);
    // A pull that was denied is asked for again when that is forgotten.
    run(0, &format!("transfers delete {} --db shop.db", text(&waiting, "uuid")));
    run(4, &pull);
    run(0, "transfers approve --connection Backup --all --db shop.db");
    // The approval of posts was spent by the pull that was denied.
    run(3, &pull);
    run(0, "transfers approve --connection Backup --all --db shop.db");
    run(0, &pull);
    run(3, &format!("verify {url} --code {} --db backup.db --keys 3", folder.code()));
    run(0, "transfers stats --db shop.db");
    run(0, "keymap list --db backup.db");
    run(0, "keymap show users --db backup.db");
    run(0, "keymap show posts --db backup.db");
    run(0, "keymap clear --db backup.db");
    run(4, &pull);
    let waiting = run(0, "transfers list --pending --db shop.db").json();
    run(0, &format!("transfers cancel {} --db shop.db", text(&waiting, "uuid")));
    run(0, "events --db shop.db --limit 1000");
    for change in ["suspend", "reactivate", "rotate-token", "revoke", "delete"] {
        run(0, &format!("connections {change} Backup --db shop.db")).ok();
    }
    run(0, "doctor --db shop.db");
    folder.sql("other.db", "CREATE TABLE t (a)");
    folder.run("status --db other.db").ok();
    run(0, "state remove --yes --db other.db").ok();
    run(0, "connections delete --pending --yes --db shop.db");
    run(0, "sessions reset-key --db shop.db");
    run(0, "doctor --db shop.db");
    run(0, "settings set enabled false --db other.db").ok();
    run(0, "state remove --db other.db --yes").ok();
    run(0, "site copy --from shop.db --to moved.db");
    tried.insert("serve".to_owned()); // Which serves all of this.
    let all: BTreeSet<String> = schema::commands().into_iter().collect();
    assert_eq!(tried, all);
}

#[test]
fn words_that_cannot_be_read_are_an_error_line_too() {
    let folder = Folder::new();
    for (line, message, hint) in [
        ("pull --json --db d.db", "required arguments were not provided: <--code", "--help"),
        (
            "pull http://127.0.0.1:1 --code C --token T --db d.db --json",
            "cannot be used together: --code, --token",
            "--help",
        ),
        ("pull http://127.0.0.1:1 --code C --db d.db --strategy replace --json", "'replace' for '--strategy", "--help"),
        ("status --jsno --db shop.db --json", "unexpected argument '--jsno'", "'--json'"),
        ("connections list --json --db shop.db --limit 0", "--limit", "--help"),
    ] {
        let ran = folder.run(line);
        assert!(ran.status == 2 && ran.stderr.starts_with("error: "), "{ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
        let said = ran.json();
        assert_eq!((text(&said, "event"), text(&said, "code")), ("error", "invalid_input"));
        assert!(text(&said, "message").contains(message) && text(&said, "hint").contains(hint), "{said}");
    }
    assert_eq!(folder.run("pull --db d.db").stdout, "");
    assert!(Ran::of(folder.command("status --help --json").output().unwrap()).ok().stdout.contains("Usage:"));
}

#[test]
#[should_panic(expected = "no line says why")]
fn a_failure_without_a_reason_is_found() {
    schema::check("count users", 1, "");
}

#[test]
#[should_panic(expected = "is none of its lines")]
fn an_error_of_a_command_that_did_its_work_is_found() {
    schema::check("count users", 0, r#"{"event":"error","code":"c","message":"m","hint":null}"#);
}

#[test]
#[should_panic(expected = "records: more is not in the schema")]
fn a_field_that_the_schema_does_not_know_is_found() {
    schema::check("records users", 0, r#"{"table":"users","records":[],"offset":0,"has_more":false,"more":1}"#);
}

#[test]
#[should_panic(expected = "is of another type")]
fn a_field_of_another_type_is_found() {
    schema::check("count users", 0, r#"{"table":"users","count":"3"}"#);
}
