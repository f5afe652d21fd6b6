//! The command line as scripts use it: exit codes, JSON lines, one line on stderr.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::command::{Folder, Ran, Served, kill, until};
use serde_json::Value;

#[test]
fn the_demo_is_as_it_should_be() {
    let folder = Folder::new();
    let ran = Ran::of(folder.command("demo --rows 1500").env("TMPDIR", folder.0.path()).output().unwrap()).ok();
    assert!(ran.stdout.contains("Everything is as it should be: 5 pulls"), "{}", ran.stdout);
    let line = |start: &str| ran.stdout.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default();
    assert!(line("... says which record failed").contains("check: NZ"), "{}", ran.stdout);
    let resumed = line("the same pull again resumes it");
    assert!(resumed.contains(" resumed ") && resumed.ends_with(" right"), "{}", ran.stdout);
    let left = || std::fs::read_dir(folder.0.path()).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(left(), 0);
    Ran::of(folder.command("demo --rows 100 --keep").env("TMPDIR", folder.0.path()).output().unwrap()).ok();
    assert_eq!(left(), 1);
}

/// The folders that a demo in this one has.
#[cfg(unix)]
fn folders(folder: &Folder) -> usize {
    std::fs::read_dir(folder.0.path()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
}

#[cfg(unix)]
#[test]
fn a_demo_that_is_interrupted_leaves_nothing() {
    let folder = Folder::new();
    let begin = || {
        let mut command = folder.command("demo --rows 10000000");
        let child = command.env("TMPDIR", folder.0.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until(|| (folders(&folder) == 1).then_some(()));
        child
    };
    for signal in ["-INT", "-TERM"] {
        let child = begin();
        kill(&child, signal);
        Ran::of(child.wait_with_output().unwrap()).failed(1, &["cancelled"]);
        assert_eq!(folders(&folder), 0, "{signal}");
    }
    // Who asks again does not wait.
    let child = begin();
    kill(&child, "-INT");
    kill(&child, "-INT");
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert!([1, 130].contains(&ran.status), "{ran:?}");
    assert_eq!(folders(&folder), 0);
}

#[test]
fn a_pull_reports_what_it_did() {
    let folder = Folder::new();
    let served = folder.serve();
    let pull =
        |code: &str, more: &str| folder.run(&format!("pull {} --code {code} --db backup.db --json {more}", served.url));
    let report = pull(&served.code, "").ok().json();
    assert_eq!(report["event"], "report");
    assert_eq!((&report["records"], &report["one_state"]), (&1505.into(), &true.into()));
    assert_eq!((&report["verified"], &report["tables"]["posts"]["verified"]), (&"received".into(), &"received".into()));
    let transfers = folder.run("transfers list --db backup.db --json").ok().stdout;
    assert_eq!(transfers.matches(r#""verified":"received""#).count(), 3, "{transfers}");
    assert!(report["bytes"].as_u64().unwrap() > 1000 && report["seconds"].as_f64().unwrap() > 0.0);
    let posts = &report["tables"]["posts"];
    assert_eq!((&posts["status"], &posts["created"], &posts["error"]), (&"completed".into(), &1500.into(), &Value::Null));
    assert_eq!((&posts["resumed"], &posts["errors"]), (&false.into(), &Value::Array(vec![])));
    assert_eq!(report["tables"].as_object().unwrap().len(), 3);
    assert_eq!(folder.number("backup.db", "SELECT count(*) FROM posts JOIN users ON users.id = user_id"), 1500);
    assert_eq!(folder.number("backup.db", "SELECT length(photo) FROM users WHERE id = 1 AND score = 1.0"), 2);

    folder.sql(
        "shop.db",
        "UPDATE users SET name = 'new', photo = NULL WHERE id = 1; INSERT INTO users (id, name) VALUES (9, 'n')",
    );
    let counts = |report: &Value, table: &str| {
        ["created", "updated", "unchanged", "skipped", "failed"].map(|what| report["tables"][table][what].as_u64().unwrap())
    };
    let dry = pull(&folder.code(), "--strategy overwrite --dry-run").ok().json();
    assert_eq!(counts(&dry, "users"), [1, 1, 2, 0, 0]);
    assert_eq!(folder.number("backup.db", "SELECT count(*) FROM users"), 3);
    let merged =
        pull(&folder.code(), "--table users --table posts --strategy skip --table-strategy users=merge").ok().json();
    assert_eq!((counts(&merged, "users"), counts(&merged, "posts")), ([1, 1, 2, 0, 0], [0, 0, 0, 1500, 0]));
    assert_eq!(folder.number("backup.db", "SELECT length(photo) FROM users WHERE name = 'new'"), 2);

    let people =
        folder.run(&format!("pull {} --code {} --db new.db --batch-size 7 --timeout 1e18", served.url, folder.code())).ok();
    assert!(people.stdout.contains("completed, new table") && people.stdout.contains("1,506 records"), "{}", people.stdout);
    assert_eq!(served.signal("-TERM"), 0);
}

#[test]
fn a_pull_of_what_has_not_changed_says_so() {
    let folder = Folder::new();
    let served = folder.serve();
    let create = "connections create --db shop.db --name Nightly --site-url https://backup.example --no-notify --json";
    let made = folder.run(create).ok().json();
    let token = made["token"].as_str().unwrap();
    let pull = |more: &str| folder.run(&format!("pull {} --token {token} --db backup.db {more}", served.url)).ok();
    assert_eq!(pull("--json").json()["unchanged"], false);
    let report = pull("--json").json();
    assert_eq!(
        (&report["unchanged"], &report["records"], &report["tables"]),
        (&true.into(), &0.into(), &serde_json::json!({}))
    );
    assert!(report["notes"][0].as_str().unwrap().contains("(rows_not_checked)"), "{report}");
    let people = pull("").stdout;
    assert!(people.contains("Unchanged since the last pull") && people.contains("rows here were not checked"), "{people}");
    assert_eq!(pull("--json --always").json()["records"], 1505);
    folder.sql("shop.db", "INSERT INTO users (id, name) VALUES (9, 'n')");
    let report = pull("--json").json();
    assert_eq!((&report["unchanged"], &report["tables"]["users"]["created"]), (&false.into(), &1.into()));
    assert_eq!(served.signal("-TERM"), 0);
}

#[test]
fn records_and_tables_that_fail_are_listed() {
    let folder = Folder::new();
    let served = folder.serve();
    folder.sql(
        "backup.db",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT CHECK (name <> 'c'), photo, score);
         CREATE TABLE \"order by \"\"x\"\"\" (a TEXT NOT NULL, b INTEGER NOT NULL CHECK (b < 2), PRIMARY KEY (a, b));",
    );
    let pull = |more: &str| folder.run(&format!("pull {} --code {} --db backup.db {more}", served.url, folder.code()));
    let report = pull("--json --table users --table ghost").failed(3, &["1 of 2 tables", "1 record failed"]).json();
    let error = &report["tables"]["users"]["errors"][0];
    assert_eq!((&error["key"], &error["code"]), (&3.into(), &"check".into()));
    let ghost = &report["tables"]["ghost"];
    assert_eq!((&ghost["status"], &ghost["error_code"]), (&"failed".into(), &"table_not_found".into()));
    assert!(ghost["error"].as_str().unwrap().contains("ghost"));
    let composite = pull("--json").failed(3, &["2 records"]).json();
    assert_eq!(composite["tables"]["order by \"x\""]["errors"][0]["key"].to_string(), r#"["k",2]"#);
    let people = pull("").failed(3, &["see the report"]);
    assert!(people.stdout.contains("key k, 2") && people.stdout.contains("(check)"), "{}", people.stdout);
    pull("--table ghost").failed(1, &["no table \"ghost\""]);
    let missing = folder.run(&format!("pull {} --code {} --db empty.db --no-create-tables", served.url, folder.code()));
    missing.failed(1, &["no table", "here"]);
    pull("--table users --table-strategy posts=merge").failed(2, &["posts"]);
    pull("--exclude users,post").failed(2, &["post", "posts"]);
    pull("--key users=name --table users").failed(1, &["no key here", "CREATE UNIQUE INDEX"]);
    for (option, one, other) in [
        ("--key", "users=name", "users=id"),
        ("--key", "users=id", "users=id"),
        ("--newer-by", "users=score", "users=photo"),
        ("--table-strategy", "users=skip", "users=merge"),
    ] {
        let twice = format!("{option} {one} {option} posts={} {option} {other}", one.split_once('=').unwrap().1);
        pull(&twice).failed(2, &[option, "twice", "\"users\""]);
    }
    pull("--newer-by score --newer-by photo --strategy merge").failed(2, &["twice for all tables", "--newer-by TABLE="]);
    // The names of the other site's tables are compared exactly, so that this is another one, which it does not have.
    pull("--key users=id --key USERS=name").failed(2, &["\"USERS\"", "not pulled"]);
    pull("--newer-by score").failed(2, &["overwrite or merge"]);
    pull("-q --newer-by scor --strategy overwrite").failed(2, &["newer by \"scor\"", "Did you mean \"score\"?"]);
}

#[test]
fn options_that_cannot_be_meant_cost_no_code() {
    let folder = Folder::new();
    let served = folder.serve();
    let (code, key) = (folder.code(), folder.path("n.db.rowferry-key"));
    let pull = |more: &str| folder.run(&format!("pull {} --code {code} --db n.db {more}", served.url));
    for (more, says) in [
        ("--table posts --exclude posts", "both"),
        ("--table users --table-strategy posts=merge", "posts"),
        ("--strategy append --key users=name", "appended"),
        ("--newer-by score", "overwrite or merge"),
    ] {
        pull(more).failed(2, &[says]);
        assert!(!folder.path("n.db").exists() && !key.exists(), "{more}");
    }
    // What only the other site can tell spends the code, and this database has what comes back with it.
    for _ in 0..2 {
        pull("--exclude post").failed(2, &["\"post\"", "Did you mean \"posts\"?", "the same code"]);
        assert!(folder.path("n.db").exists() && key.exists());
    }
    pull("--strategy overwrite --key zz=p").failed(2, &["\"zz\"", "the same code"]);
    pull("--exclude posts").ok();
    assert_eq!(folder.number("n.db", "SELECT count(*) FROM users"), 3);
    pull("--exclude posts").failed(6, &["used already"]);
}

#[test]
fn tables_are_left_out_and_records_meet_rows_by_keys_and_age() {
    let folder = Folder::new();
    let served = folder.serve();
    let users = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, photo BLOB, score REAL);";
    folder.sql("backup.db", &format!("{users} INSERT INTO users VALUES (9, 'Zoë', NULL, 2.0), (3, 'd', NULL, NULL);"));
    let rules = "--exclude posts --strategy overwrite --key users=name --newer-by users=score --json";
    let line = format!("pull {} --code {} --db backup.db {rules}", served.url, folder.code());
    let report = folder.run(&line).ok().json();
    assert!(report["tables"].get("posts").is_none(), "{report}");
    let users = &report["tables"]["users"];
    assert_eq!((&users["created"], &users["skipped"]), (&2.into(), &1.into()), "{report}");
    assert_eq!(folder.number("backup.db", "SELECT id FROM users WHERE name = 'c'"), 10);
}

#[test]
fn another_site_can_be_looked_at() {
    let folder = Folder::new();
    let served = folder.serve();
    let look = |what: &str| folder.run(&format!("{what} {} --code {}", served.url, folder.code()));
    let tables = look("tables --json").ok().json();
    assert_eq!(tables["tables"][1], serde_json::json!({ "name": "posts", "row_count": 1500 }));
    assert!(look("tables").ok().stdout.contains("  posts         1,500\n"));
    let schema = look("schema users --json").ok().json();
    assert_eq!((&schema["table"], &schema["primary_key"][0]), (&"users".into(), &"id".into()));
    assert_eq!((&schema["columns"][1]["name"], &schema["columns"][1]["nullable"]), (&"name".into(), &false.into()));
    assert!(look("schema posts").ok().stdout.contains("foreign key: user_id -> users (id)"));
    assert_eq!(look("count posts --json").ok().json()["count"], 1500);
    assert_eq!(look("count posts").ok().stdout, "1500\n");

    let page = look("records users --limit 2 --offset 1 --json").ok();
    assert!(
        page.stdout.contains(r#"{"id":3,"name":"c","photo":{"__phoenix_kit_binary__":""},"score":-1e+300}"#),
        "{}",
        page.stdout
    );
    let page = page.json();
    assert_eq!(
        (page["records"].as_array().unwrap().len(), &page["offset"], &page["has_more"]),
        (2, &1.into(), &false.into())
    );
    let people = look("records users --limit 2").ok().stdout;
    assert!(people.contains("Zoë         blob of 2 bytes  1.0"), "{people}");
    assert!(people.contains(r"b\u{1b}[2J") && !people.contains('\u{1b}') && people.contains("--offset 2"), "{people}");
    look("records ghost").failed(1, &["ghost"]);

    let status = folder.run(&format!("status {} --json", served.url)).ok().json();
    assert_eq!((&status["enabled"], &status["password_required"]), (&true.into(), &false.into()));
    folder.run("settings set enabled false --db shop.db").ok();
    assert!(folder.run(&format!("status {}", served.url)).ok().stdout.contains("switched off"));
    let disabled = look("tables --json").failed(6, &["switched off"]).json();
    assert_eq!((&disabled["event"], &disabled["code"]), (&"error".into(), &"disabled".into()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_code_that_could_not_be_shown_works_not() {
    let folder = Folder::new();
    for json in ["", "--json"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = folder.command(&format!("sessions create --db shop.db {json}"));
        let ran = Ran::of(command.stdout(full).output().unwrap());
        assert!(ran.status == 1 && ran.stderr.contains("standard output"), "{ran:?}");
    }
    assert!(folder.list("sessions list --db shop.db").is_empty());
}

#[test]
fn codes_work_once_and_only_while_they_should() {
    let folder = Folder::new();
    let served = folder.serve();
    let count = |code: &str| folder.run(&format!("count users {} --code {code} --json", served.url));
    // Who only looks does not spend it; who gets records does.
    (0..3).for_each(|_| drop(count(&served.code).ok()));
    folder.run(&format!("schema users {} --code {}", served.url, served.code)).ok();
    folder.run(&format!("tables {} --code {}", served.url, served.code)).ok();
    folder.run(&format!("records users {} --code {} --limit 1", served.url, served.code)).ok();
    let transfers = folder.run("transfers list --db shop.db --json").ok().stdout;
    assert!(transfers.contains(r#""status":"completed""#) && !transfers.contains(r#""status":"failed""#), "{transfers}");
    assert_eq!(count(&served.code).failed(6, &["used already"]).json()["code"], "code_used");
    assert_eq!(count("AAAAAAAA").failed(6, &["does not know"]).json()["code"], "invalid_code");
    count("A/B").failed(2, &["letters and digits"]);

    let made = folder.run("sessions create --db shop.db --expires-in 0.5 --json").ok().json();
    let code = made["code"].as_str().unwrap();
    let listed = folder.run("sessions list --db shop.db --json").ok();
    assert_eq!((listed.stdout.lines().count(), &listed.json()["uuid"]), (2, &made["uuid"]));
    assert!(!listed.stdout.contains(code) && listed.stdout.contains(r#""status":"used""#));
    folder.run(&format!("sessions delete {code} --db shop.db")).ok();
    count(code).failed(6, &["does not know"]);
    folder.run(&format!("sessions delete {code} --db shop.db")).failed(1, &["sessions list"]);
    let used = serde_json::from_str::<Value>(listed.stdout.lines().next().unwrap()).unwrap();
    folder.run(&format!("sessions delete {} --db shop.db --json", used["uuid"].as_str().unwrap())).ok();
    assert!(folder.run("sessions list --db shop.db").ok().stdout.contains("no sessions"));

    std::fs::remove_file(folder.path("shop.db.rowferry-key")).unwrap();
    folder.run("sessions create --db shop.db").failed(1, &["key is gone", "rowferry sessions reset-key"]);
    folder.run("sessions reset-key --db shop.db").ok();
    folder.run("sessions create --db shop.db").ok();
}

#[test]
fn settings_are_read_and_set() {
    let folder = Folder::new();
    let get = |key: &str| folder.run(&format!("settings get {key} --db shop.db --json")).ok().json()["value"].clone();
    assert_eq!((get("enabled"), get("site_url")), ("true".into(), Value::Null));
    let set = folder.run("settings set site_url HTTPS://Shop.example:443/ --db shop.db --json").ok().json();
    assert_eq!((&set["value"], &get("site_url")), (&"https://shop.example".into(), &"https://shop.example".into()));
    folder.run("settings set incoming_password hunter2 --db shop.db").ok();
    let all = folder.run("settings get --db shop.db").ok().stdout;
    assert!(all.contains("require_approval") && !all.contains("hunter2"), "{all}");
    folder.run("settings set enabled maybe --db shop.db").failed(2, &["true or false"]);
    folder.run("settings get nosuch --db shop.db").failed(2, &["no setting", "incoming_mode"]);
}

#[test]
fn commands_leave_one_file() {
    let folder = Folder::new();
    for attempt in 0..10 {
        folder.run("sessions list --db shop.db").ok();
        folder.run("pull http://127.0.0.1:1 --code A7X9K2M4 --db shop.db").failed(5, &["127.0.0.1:1"]);
        for beside in ["shop.db-wal", "shop.db-shm"] {
            assert!(!folder.path(beside).exists(), "{beside} stays after attempt {attempt}");
        }
    }
}

#[test]
fn databases_that_cannot_be_used_are_said_to_be() {
    let folder = Folder::new();
    for line in ["serve --db typo.db", "sessions list --db typo.db", "settings get --db typo.db"] {
        folder.run(line).failed(1, &["typo.db", "Check the path"]);
        assert!(!folder.path("typo.db").exists());
    }
    std::fs::write(folder.path("letter.db"), "Dear Sir or Madam, this is no database. ".repeat(50)).unwrap();
    folder.run("serve --db letter.db --listen 127.0.0.1:0").failed(1, &["letter.db"]);
    let served = folder.serve();
    let pull = |db: &str| folder.run(&format!("pull {} --code {} --db {db}", served.url, served.code));
    pull("letter.db").failed(1, &["letter.db"]);
    pull("no/such/folder/a.db").failed(1, &["no/such/folder/a.db"]);
    let why = if cfg!(feature = "postgres") { "--key-file" } else { "built without PostgreSQL" };
    pull("postgres://me:secret@host/db").failed(1, &[why]);
    assert!(!pull("postgres://me:secret@host/db").stderr.contains("secret"));
    read_only(&folder.path("locked"), || pull("locked/a.db").failed(1, &["locked/a.db"]));
    // None of them has cost the code.
    pull("backup.db").ok();
    let dry = folder.run(&format!("pull {} --code {} --db never.db --dry-run", served.url, folder.code())).ok();
    assert!(dry.stdout.contains("dry run") && !folder.path("never.db").exists());
}

/// Such a trigger is nothing of a program's that registered something: there is none.
#[test]
fn a_schema_is_trusted_when_the_command_says_so() {
    let folder = Folder::new();
    let served = folder.serve();
    folder.sql(
        "backup.db",
        "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE seen(columns INT);
         CREATE TRIGGER t AFTER INSERT ON users BEGIN INSERT INTO seen SELECT count(*) FROM pragma_table_info('users'); END;",
    );
    let pull = |more: &str| {
        let line = format!(
            "pull {} --code {} --db backup.db --table users --ignore-extra-columns --json {more}",
            served.url,
            folder.code()
        );
        folder.run(&line)
    };
    let failed = pull("");
    assert_eq!(failed.status, 1, "{}", failed.stdout);
    let report = failed.json();
    let error = report["tables"]["users"]["error"].as_str().unwrap();
    assert!(error.contains("unsafe use of") && error.contains("--trust-schema"), "{error}");
    assert_eq!(folder.number("backup.db", "SELECT count(*) FROM users"), 0);
    pull("--trust-schema").ok();
    assert_eq!(folder.number("backup.db", "SELECT max(columns) FROM seen"), 2);
    folder.run("status --db backup.db --trust-schema").ok();
    assert_eq!(folder.run("status https://shop.example --trust-schema").status, 2);
}

/// Only the database goes that the pull has made; the link to it is the user's.
#[cfg(unix)]
#[test]
fn a_failed_first_pull_leaves_a_link_as_it_was() {
    let folder = Folder::new();
    let served = folder.serve();
    std::os::unix::fs::symlink("real.db", folder.path("link.db")).unwrap();
    let pull = |code: &str| folder.run(&format!("pull {} --code {code} --db link.db", served.url));
    for _ in 0..2 {
        pull("ZZZZZZZZ").failed(6, &["code"]);
        assert_eq!(std::fs::read_link(folder.path("link.db")).unwrap(), Path::new("real.db"));
        assert!(!folder.path("real.db").exists());
    }
    pull(&served.code).ok();
    assert!(std::fs::read_link(folder.path("link.db")).is_ok());
    assert_eq!(folder.number("real.db", "SELECT count(*) FROM posts"), 1500);
}

/// Runs this with a folder that cannot be written. Whoever may write everywhere (root) cannot try it.
fn read_only(folder: &Path, run: impl FnOnce() -> Ran) {
    use std::os::unix::fs::PermissionsExt;

    std::fs::create_dir(folder).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(folder.join("probe"), "").is_err() {
        run();
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn wrong_usage_is_told_apart() {
    let folder = Folder::new();
    for line in [
        "",
        "fly",
        "pull http://127.0.0.1:1 --db a.db",
        "pull http://127.0.0.1:1 --code A7X9K2M4 --db a.db --strategy replace",
        "pull http://127.0.0.1:1 --code A7X9K2M4 --db a.db --token T",
        "pull not-a-url --code A7X9K2M4 --db a.db",
        "tables ftp://127.0.0.1 --code A7X9K2M4",
        "records users http://127.0.0.1:1 --code A7X9K2M4 --limit 0",
        "serve --db shop.db --listen nowhere",
        "serve --db shop.db --prefix a?b",
        "sessions create --db shop.db --expires-in never",
    ] {
        let ran = folder.run(line);
        assert_eq!(ran.status, 2, "{line}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{line}");
    }
    assert_eq!(folder.run("pull --help").ok().stdout.matches("Examples:").count(), 1);
}

#[test]
fn sites_that_do_not_answer_are_given_up() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let pull = format!("pull {silent} --code A7X9K2M4 --db backup.db");
    let began = Instant::now();
    let ran = folder.run(&format!("{pull} --timeout 0.5 --json")).failed(5, &[]);
    assert_eq!(ran.json()["code"], "timeout");
    folder.run(&format!("status {silent} --timeout 0.5")).failed(5, &[]);

    let child = folder.command(&pull).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let accepted: Vec<_> = (0..3).map(|_| listener.accept().unwrap()).collect();
    kill(&child, "-INT");
    Ran::of(child.wait_with_output().unwrap()).failed(1, &["cancelled"]);
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    drop((listener, accepted));
    folder.run(&format!("{pull} --json")).failed(5, &["Connection refused"]);
}

#[test]
fn serving_takes_a_prefix_a_certificate_and_a_name() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let served = folder.serve_with("--tls-cert cert.pem --tls-key key.pem --prefix /shop --site-url https://shop.example/");
    assert!(served.url.starts_with("https://127.0.0.1:"));
    assert_eq!(folder.run("settings get site_url --db shop.db").ok().stdout, "https://shop.example\n");
    folder.run(&format!("status {}", served.url)).failed(5, &[]);
    folder.run(&format!("status {} --ca-cert cert.pem --prefix shop", served.url)).ok();
    folder.run(&format!("pull {} --code {} --db backup.db --ca-cert cert.pem", served.url, served.code)).ok();
    let missing = format!("status {} --ca-cert missing.pem", served.url);
    folder.run(&missing).failed(1, &["missing.pem"]);
    assert_eq!(served.signal("-INT"), 0);
    folder.run("serve --db shop.db --tls-cert key.pem --tls-key cert.pem").failed(1, &["certificate"]);
}

#[test]
fn serving_says_what_to_type_and_ends_at_once() {
    let folder = Folder::new();
    let mut command = folder.command("serve --db shop.db --listen 0.0.0.0:0 --code");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.take_while(|line| !line.contains("rowferry pull")).last().unwrap();
    // Its reader goes away here: it serves on.
    assert_eq!(said, "");
    kill(&child, "-TERM");
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.status, 0);
    assert!(ran.stderr.contains("warning") && ran.stderr.contains("nothing is encrypted"), "{}", ran.stderr);

    let served = folder.serve();
    let taken = served.url.strip_prefix("http://").unwrap();
    folder.run(&format!("serve --db shop.db --listen {taken}")).failed(1, &[taken, "in use"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::new();
    let served = folder.serve();
    let line = format!("records posts --limit 1500 {} --code {}", served.url, served.code);
    let mut child = folder.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    Ran::of(child.wait_with_output().unwrap()).ok();
}

#[test]
fn a_pull_that_is_cut_off_is_reported_and_can_be_made_again() {
    let folder = Folder::new();
    let rows = "WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < 100000) INSERT INTO many SELECT n FROM s";
    folder.sql("shop.db", &format!("CREATE TABLE many (id INTEGER PRIMARY KEY); {rows}"));
    let begun = |served: &Served, code: &str| {
        // One record at a time, so that it lasts.
        let line =
            format!("pull {} --code {code} --db backup.db --table many --batch-size 1 --retry-time 0 --json", served.url);
        let mut child = folder.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        assert!(first.contains(r#""event":"progress""#), "{first}");
        (child, stdout)
    };
    let ended = |child: Child, stdout: BufReader<std::process::ChildStdout>, status: i32, says: &[&str]| {
        let last = stdout.lines().last().unwrap().unwrap();
        Ran::of(child.wait_with_output().unwrap()).failed(status, says);
        let report: Value = serde_json::from_str(&last).unwrap();
        assert_eq!(report["event"], "report");
        report["tables"]["many"].clone()
    };
    let served = folder.serve();
    let (child, stdout) = begun(&served, &served.code);
    kill(&child, "-INT");
    let says = ["cancelled", "Pull again with the same code: it resumes, although the code is spent."];
    assert_eq!(ended(child, stdout, 1, &says)["error_code"], "cancelled");
    // Its code is spent, and takes it up all the same; when it is complete no more.
    let again = format!("pull {} --code {} --db backup.db --table many", served.url, served.code);
    folder.run(&again).ok();
    assert_eq!(folder.number("backup.db", "SELECT count(*) FROM many"), 100_000);
    folder.run(&again).failed(6, &["used already"]);

    let (child, stdout) = begun(&served, &folder.code());
    kill(&served.child, "-KILL");
    let many = ended(child, stdout, 5, &["lost", "Pull again with the same code"]);
    assert_eq!(many["error_code"], "disconnected");
    assert!(many["error"].as_str().unwrap().ends_with("although the code is spent."), "{many}");

    let served = folder.serve();
    folder.run(&format!("pull {} --code {} --db backup.db", served.url, served.code)).ok();
    assert_eq!(folder.number("backup.db", "SELECT count(*) FROM many"), 100_000);
}

#[test]
fn tables_are_named_apart_by_commas_and_near_names_are_suggested() {
    let folder = Folder::new();
    let served = folder.serve();
    let url = &served.url;
    let pulled = folder.run(&format!("pull {url} --code {} --db a.db --table users,posts --json", served.code)).ok();
    let report: Value = serde_json::from_str(pulled.stdout.lines().last().unwrap()).unwrap();
    let tables = report["tables"].as_object().unwrap();
    assert!(tables.len() == 2 && tables.contains_key("users") && tables.contains_key("posts"), "{report}");
    let (code, again) = (folder.code(), folder.code());
    folder.run(&format!("pull {url} --code {code} --db b.db --table user")).failed(1, &["Did you mean \"users\"?"]);
    let line = format!("pull {url} --code {again} --db b.db --table users,customers --table-strategy user=skip");
    folder.run(&line).failed(2, &["a strategy is given for \"user\"", "Did you mean \"users\"?"]);
    let ran = folder.run(&format!("pull {url} --code {} --db b.db --table a,", folder.code()));
    assert!(ran.status == 2 && ran.stderr.contains("write it like a,b"), "{ran:?}");
}

#[test]
fn a_pull_that_finds_no_table_is_no_success() {
    let folder = Folder::new();
    folder.sql("empty.db", "CREATE VIEW v AS SELECT 1");
    let served = folder.serve_db("empty.db", "--code");
    let ran = folder.run(&format!("pull {} --code {} --db backup.db --json", served.url, served.code));
    assert_eq!(ran.status, 3, "{ran:?}");
    assert!(ran.stderr.contains("nothing was pulled: the other site offers no table"), "{ran:?}");
    let report: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&report["event"], report["tables"].as_object().unwrap().len()), (&Value::from("report"), 0));

    // A connection whose tables are all misspelt says so when it is made, and to those who pull by it.
    let served = folder.serve();
    let create = "connections create --db shop.db --name Nightly --site-url https://backup.example --no-notify --json";
    let made = folder.run(&format!("{create} --allowed-tables user,customers"));
    assert_eq!(made.status, 0, "{made:?}");
    assert!(made.stderr.contains("this site offers no table \"user\". Did you mean \"users\"?"), "{made:?}");
    assert!(made.stderr.contains("this site offers no table \"customers\"."), "{made:?}");
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let ran = folder.run(&format!("pull {} --token {token} --db nightly.db", served.url));
    assert_eq!((ran.status, ran.stdout.as_str()), (3, ""), "{ran:?}");
    assert!(ran.stderr.contains("nothing was pulled"), "{ran:?}");
    let update = "connections update Nightly --db shop.db --allowed-tables users,posts --json";
    assert_eq!(folder.run(update).ok().json()["allowed_tables"][0], "users");
}

#[test]
fn a_skip_says_how_many_rows_differ() {
    let folder = Folder::new();
    let served = folder.serve();
    folder.run(&format!("pull {} --code {} --db backup.db", served.url, served.code)).ok();
    folder.sql("backup.db", "UPDATE posts SET body = 'mine' WHERE id IN (7, 700, 1400); DELETE FROM posts WHERE id = 8");
    let pull = |more: &str| folder.run(&format!("pull {} --code {} --db backup.db {more}", served.url, folder.code())).ok();
    let report: Value = serde_json::from_str(pull("--json").stdout.lines().last().unwrap()).unwrap();
    let posts = &report["tables"]["posts"];
    assert_eq!((&posts["created"], &posts["skipped"], &posts["differing"]), (&1.into(), &1499.into(), &3.into()));
    assert_eq!(report["tables"]["users"]["differing"], 0);
    let text = pull("").stdout;
    assert!(text.contains("posts: 3 rows left as they are, although the other site's differ (skip)."), "{text}");
    assert!(!pull("--strategy overwrite").stdout.contains("differ"));
}
