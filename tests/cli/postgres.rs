//! The command on PostgreSQL databases: every command takes their URLs, and no password is ever shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::postgres::{Server, Setup, server};
use crate::support::command::{Folder, Ran};

const SHOP: &str = "CREATE TABLE users (id bigint PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'Zoë'), (2, NULL);
    CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users(id)); INSERT INTO posts VALUES (1, 2);";

fn shop() -> String {
    let url = server().database();
    server().run(&url, SHOP);
    url
}

#[test]
fn a_database_is_served_and_pulled_in_both_directions() {
    let folder = Folder::new();
    let (there, here) = (shop(), server().database());
    let served = folder.serve_db(&there, "--code --key-file there.key");
    let pulled = folder.run(&format!("pull {} --code {} --db copy.db --json", served.url, served.code)).ok();
    assert_eq!(pulled.json()["event"], "report");
    assert_eq!(folder.number("copy.db", "SELECT count(*) FROM users u JOIN posts p ON p.user_id = u.id"), 1);
    // From a SQLite file.
    let shop = folder.serve();
    folder.run(&format!("pull {} --code {} --db {here} --key-file here.key", shop.url, shop.code)).ok();
    assert_eq!(server().run(&here, "SELECT name FROM users WHERE id = 1; SELECT count(*) FROM posts"), "Zoë\n1500");
    assert_eq!(folder.run(&format!("status --db {here}")).ok().status, 0);
    let transfers = folder.list(&format!("transfers list --db {here}"));
    assert_eq!(transfers.len(), 3);
    assert!(folder.run(&format!("doctor --db {here} --key-file here.key --json")).stdout.contains("server_version"));
}

#[test]
fn every_command_works() {
    let folder = Folder::new();
    let db = format!("--db {} --key-file key", shop());
    folder.json(&format!("sessions create {db}"));
    assert_eq!(folder.list(&format!("sessions list {db}")).len(), 1);
    folder.run(&format!("settings set site_url http://shop.example {db}")).ok();
    assert_eq!(folder.json(&format!("settings get site_url {db}"))["value"], "http://shop.example");
    let made = folder.json(&format!("connections create --name Backup --site-url http://b.example --no-notify {db}"));
    assert_eq!(folder.list(&format!("connections list {db}")).len(), 1);
    folder.run(&format!("connections suspend Backup --no-notify {db}")).ok();
    assert_eq!(folder.list(&format!("connections list --status suspended {db}"))[0]["uuid"], made["uuid"]);
    assert!(folder.list(&format!("events {db}")).len() >= 2);
    assert!(folder.list(&format!("keymap list {db}")).is_empty());
    assert!(folder.list(&format!("transfers list {db}")).is_empty());
    assert_eq!(folder.json(&format!("status --db {}", db.split(' ').nth(1).unwrap()))["site_url"], "http://shop.example");
    folder.run(&format!("sessions reset-key {db}")).ok();
    let removed = folder.json(&format!("state remove --yes {db}"));
    assert!(removed["tables"].as_array().unwrap().len() > 20 && folder.path("key").exists());
}

#[test]
fn what_needs_a_key_asks_for_its_file() {
    let folder = Folder::new();
    let url = shop();
    for line in [format!("serve --db {url}"), format!("sessions create --db {url}")] {
        folder.run(&line).failed(1, &["key", "--key-file"]);
    }
    folder.run(&format!("pull http://127.0.0.1:1 --code AAAAAAAA --db {url}")).failed(1, &["--key-file"]);
    folder.run("status --db shop.db --db-schema x").failed(2, &["--db-schema"]);
    folder.run(&format!("status --db {url} --trust-schema")).failed(2, &["--trust-schema"]);
    folder.run("status --db postgres://ann:sesame@/x").failed(2, &["URL"]);
}

#[test]
fn a_site_moves_to_postgres() {
    let folder = Folder::new();
    folder.code();
    folder.run("settings set site_url http://shop.example --db shop.db").ok();
    let to = server().database();
    let copied = folder.run(&format!("site copy --from shop.db --to {to} --key-file moved.key --json")).ok().json();
    assert_eq!((&copied["event"], &copied["rows"]["sessions"]), (&"copied".into(), &1.into()));
    assert_eq!(fs::read(folder.path("moved.key")).unwrap(), fs::read(folder.path("shop.db.rowferry-key")).unwrap());
    assert_eq!(folder.json(&format!("settings get site_url --db {to}"))["value"], "http://shop.example");
    folder
        .run(&format!("site copy --from shop.db --to {to} --key-file moved.key"))
        .failed(1, &["has a site already", "state remove"]);
    folder.run(&format!("site copy --from {to} --from-key-file moved.key --to back.db")).ok_but_said();
    assert_eq!(folder.number("back.db", "SELECT count(*) FROM posts"), 1500);
    assert_eq!(folder.list("sessions list --db back.db").len(), 1);
}

#[test]
fn a_site_does_not_move_without_all_its_records() {
    let folder = Folder::new();
    folder.code();
    let to = server().database();
    server().run(&to, "CREATE TABLE users (id bigint PRIMARY KEY, name integer, photo bytea, score double precision)");
    let copy = format!("site copy --from shop.db --to {to} --key-file moved.key");
    folder.run(&copy).failed(3, &["records failed in users (", "--on-lossy replace", "copy again"]);
    assert_eq!(folder.run(&format!("settings get site_url --db {to}")).ok().status, 0);
    assert!(folder.list(&format!("sessions list --db {to}")).is_empty());
    assert_eq!(folder.run(&format!("{copy} --on-lossy replace")).status, 0);
    assert_eq!(folder.list(&format!("sessions list --db {to}")).len(), 1);
}

#[test]
fn what_is_printed_to_be_run_names_the_database_again() {
    let folder = Folder::new();
    let url = server().database();
    server().run(&url, "CREATE SCHEMA shop");
    let db = format!("--db {url} --db-schema shop --key-file my.key");
    let token = "t".repeat(43);
    let made = folder
        .run(&format!("connections create --direction receiver --name B --site-url http://b.example --token {token} {db}"));
    assert!(made.stdout.contains("rowferry pull --connection "), "{made:?}");
    assert!(made.stdout.contains(" --db-schema shop --key-file my.key"), "{made:?}");
    folder.run(&format!("doctor --full --db {url}")).failed(2, &["--full", "pg_amcheck"]);
}

impl Ran {
    /// Done, whatever was said on stderr.
    #[track_caller]
    fn ok_but_said(self) -> Self {
        assert_eq!(self.status, 0, "{self:?}");
        self
    }
}

#[test]
fn passwords_come_from_where_psql_has_them_and_are_never_shown() {
    let hba = "local all postgres trust\nlocal all all scram-sha-256\n";
    let own = Server::start_with(&Setup { files: &[("pg_hba.conf", hba)], ..Setup::default() });
    own.run(&own.url("postgres"), "CREATE ROLE ann LOGIN PASSWORD 'se:sa\\me'; CREATE DATABASE shop OWNER ann");
    let folder = Folder::new();
    let url = own.url_as("ann", "shop");
    let with = |line: &str, variables: &[(&str, &str)]| {
        let mut command = folder.command(line);
        command.env_remove("PGPASSWORD").env_remove("PGPASSFILE").env("HOME", folder.0.path());
        let ran = Ran::of(command.envs(variables.iter().copied()).output().unwrap());
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains("sa\\me") && !text.contains("sesame") && !text.contains("sa%5Cme"), "{text}");
        }
        ran
    };
    let status = format!("status --db {url} --json -vv");
    assert_eq!(with(&status, &[]).status, 1, "no password");
    assert_eq!(with(&status, &[("PGPASSWORD", "sesame")]).status, 1, "a wrong one");
    assert_eq!(with(&status, &[("PGPASSWORD", "se:sa\\me")]).status, 0);
    fs::write(folder.path(".pgpass"), "localhost:*:*:ann:se\\:sa\\\\me\n").unwrap();
    let mode = |mode| fs::set_permissions(folder.path(".pgpass"), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let ran = with(&status, &[]);
    assert!(ran.status == 1 && ran.stderr.contains("others may read it"), "{ran:?}");
    mode(0o600);
    assert_eq!(with(&status, &[]).status, 0);
    fs::rename(folder.path(".pgpass"), folder.path("elsewhere")).unwrap();
    let file = folder.path("elsewhere").display().to_string();
    assert_eq!(with(&status, &[("PGPASSFILE", &file)]).status, 0);

    // In the URL, and what prints the database's name.
    let full = own.url_as("ann:se%3Asa%5Cme", "shop");
    for line in [
        format!("status --db {full} -vvv"),
        format!(
            "connections create --direction receiver --name B --site-url http://b.example --token {} --key-file key --db {full} -vvv",
            "t".repeat(43)
        ),
        format!("doctor --db {full} -vvv"),
        format!("state remove --db {full} --yes -vvv"),
        format!("tables --help --db {full}"),
    ] {
        with(&line, &[("ROWFERRY_LOG", "trace")]);
    }
    with("status --help", &[("ROWFERRY_DB", &full)]);
    assert!(!own.log().contains("sesame"));
    let wrong = own.url_as("ann:sesame", "shop");
    assert_eq!(with(&format!("serve --db {wrong} --key-file key --json"), &[]).status, 1);
}
