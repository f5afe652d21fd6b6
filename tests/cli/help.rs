//! Help, completions, manual pages, the environment, and how much is said.

use std::process::{Command, Stdio};

use crate::support::command::{Folder, Ran};

/// Every command, as it is typed.
const COMMANDS: &[&str] = &[
    "demo",
    "serve",
    "pull",
    "tables",
    "schema",
    "count",
    "records",
    "sessions",
    "sessions create",
    "sessions list",
    "settings",
    "settings set",
    "connections",
    "connections create",
    "connections update",
    "connections list",
    "transfers",
    "transfers list",
    "transfers approve",
    "keymap",
    "keymap list",
    "events",
    "status",
    "doctor",
    "state",
    "state remove",
    "completions",
    "man",
];

#[test]
fn help_is_short_or_long_and_fits_the_terminal() {
    let folder = Folder::new();
    assert_eq!(folder.run("--version").ok().stdout, format!("rowferry {}\n", env!("CARGO_PKG_VERSION")));
    for command in COMMANDS {
        let help = |flag: &str, columns: &str| {
            let mut run = folder.command(&format!("{command} {flag}"));
            Ran::of(run.env("COLUMNS", columns).output().unwrap()).ok().stdout
        };
        let (short, long) = (help("-h", "100"), help("--help", "100"));
        assert!(long.contains("  rowferry ") && long.contains("Example"), "{command}: {long}");
        assert!(!short.contains("Example") && short.len() < long.len(), "{command}: {short}");
        // An option has one line, beside it or below it.
        let lines: Vec<&str> = short.lines().collect();
        let is_second =
            |two: &[&str]| two[1].starts_with(&" ".repeat(20)) || two.iter().all(|line| line.starts_with(&" ".repeat(10)));
        assert_eq!(lines.windows(2).find(|two| is_second(two)), None, "{command}");
        for text in [&short, &long] {
            let too_long = text.lines().find(|line| line.len() > 100 && !line.starts_with("  rowferry "));
            assert_eq!(too_long, None, "{command}");
        }
    }
    let narrow = Ran::of(folder.command("pull --help").env("COLUMNS", "60").output().unwrap()).ok().stdout;
    let prose = narrow.lines().filter(|line| line.starts_with("          ")).map(str::len).max();
    assert!(prose.is_some_and(|widest| widest <= 60), "{prose:?}");
    let help = folder.run("pull -h").ok().stdout;
    for heading in ["Database:", "The other site:", "Tables and rows:", "Bounds:", "Output:"] {
        assert!(help.contains(heading), "{heading}");
    }
}

#[test]
fn shells_take_their_completions() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = folder.run(&format!("completions {shell}")).ok().stdout;
        assert!(script.contains("rowferry") && script.contains("wait-for-approval"), "{shell}");
        std::fs::write(folder.path(shell), script).unwrap();
    }
    let checked = Command::new("bash").arg("-n").arg(folder.path("bash")).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(folder.run("completions tcsh").status, 2);
}

#[test]
fn bash_offers_what_an_option_takes() {
    let folder = Folder::new();
    std::fs::write(folder.path("script"), folder.run("completions bash").ok().stdout).unwrap();
    let offered = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let script = format!(
            ". ./script; COMP_WORDS=({line} ''); COMP_CWORD={}; _rowferry rowferry '' {}; echo \"${{COMPREPLY[@]}}\"",
            words.len(),
            words[words.len() - 1]
        );
        let ran = Command::new("bash").args(["-c", &script]).current_dir(folder.0.path()).output().unwrap();
        String::from_utf8(ran.stdout).unwrap().trim_end().to_owned()
    };
    for (option, words) in [
        ("pull --strategy", "skip overwrite merge append"),
        ("pull --dangling", "fail keep"),
        ("pull --on-lossy", "fail replace"),
        ("pull --on-taken-key", "fail map"),
        ("sessions create --direction", "send receive"),
        ("transfers list --direction", "send receive"),
        ("connections list --direction", "sender receiver"),
        ("connections list --status", "pending active suspended revoked expired"),
        ("connections create --approval-mode", "auto_approve require_approval per_table"),
        ("connections update --default-conflict-strategy", "skip overwrite merge append"),
        ("state remove --journal-mode", "wal delete"),
        // No files where none is meant.
        ("pull --table-strategy", ""),
        ("pull --max-records", ""),
        ("pull --connection", ""),
        ("connections create --site-url", ""),
    ] {
        assert_eq!(offered(&format!("rowferry {option}")), words, "{option}");
    }
    assert!(offered("rowferry events --kind").contains("connection.created "));
    for option in ["pull --db", "status --db", "pull --token-file", "serve --tls-cert"] {
        let mut files: Vec<String> = offered(&format!("rowferry {option}")).split(' ').map(str::to_owned).collect();
        files.sort();
        assert_eq!(files, ["script", "shop.db"], "{option}");
    }
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let folder = Folder::new();
    let main = folder.run("man").ok().stdout;
    for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES"] {
        let is_there = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")].iter().any(|line| main.contains(line));
        assert!(is_there, "{section}: {main}");
    }
    assert!(main.contains("ROWFERRY_DB") && !main.contains('\u{1b}'), "{main}");
    assert_eq!(folder.run("man --out pages -q").ok().stdout, "");
    for command in COMMANDS {
        let name = format!("rowferry-{}.1", command.replace(' ', "-"));
        let page = std::fs::read_to_string(folder.path("pages").join(&name)).unwrap_or_else(|_| panic!("{name} is missing"));
        assert_eq!(page, folder.run(&format!("man {command}")).ok().stdout);
        let title = format!(".TH {} 1 ", name.trim_end_matches(".1"));
        assert!(page.contains(&title) && page.contains("EXAMPLES") && page.contains("rowferry "), "{name}: {page}");
        assert!(!page.contains('\u{1b}'), "{name}");
    }
    folder.run("man fly").failed(2, &["no command \"fly\""]);
    folder.run("man --out shop.db").failed(1, &["shop.db"]);
}

#[test]
fn variables_stand_for_what_is_not_typed() {
    let pair = crate::support::command::Pair::new();
    let folder = &pair.folder;
    let made = pair.connect("--no-notify");
    std::fs::write(folder.path("token"), made["token"].as_str().unwrap()).unwrap();
    let run = |line: &str| {
        let mut command = folder.command(line);
        command.env("ROWFERRY_DB", "shop.db").env("ROWFERRY_TOKEN_FILE", "token").env("ROWFERRY_PASSWORD_FILE", "nosuch");
        command.env("ROWFERRY_KEY_FILE", "shop.db.rowferry-key");
        Ran::of(command.output().unwrap())
    };
    let code = run("sessions create -q").ok().stdout;
    assert!(run("status").ok().stdout.contains("active connections"));
    // What is typed goes first: a code goes without the token, its password, and a URL without the database.
    assert_eq!(run(&format!("count users {} --code {code}", pair.shop.url)).ok().stdout, "3\n");
    assert!(!run(&format!("status {}", pair.shop.url)).ok().stdout.contains("active connections"));
    run(&format!("count users {}", pair.shop.url)).failed(1, &["nosuch"]);
    std::fs::write(folder.path("nosuch"), "a password\n").unwrap();
    assert_eq!(run(&format!("count users {}", pair.shop.url)).ok().stdout, "3\n");
    assert_eq!(run("settings get --db typo.db").status, 1);
    // What is typed twice is still wrong.
    assert_eq!(run(&format!("count users {} --token T --token-file token", pair.shop.url)).status, 2);
    assert_eq!(run(&format!("status {} --db shop.db", pair.shop.url)).status, 2);
    run("status --timeout 5").failed(2, &["--timeout"]);
    let help = run("pull --help").ok().stdout;
    assert!(help.contains("[env: ROWFERRY_TOKEN_FILE]") && help.contains("[env: ROWFERRY_DB=shop.db]"), "{help}");
}

#[test]
fn an_empty_variable_is_none() {
    let folder = Folder::new();
    let served = folder.serve();
    let run = |line: &str| {
        let mut command = folder.command(line);
        for variable in ["DB", "KEY_FILE", "TOKEN_FILE", "PASSWORD_FILE", "LOG"] {
            command.env(format!("ROWFERRY_{variable}"), "");
        }
        Ran::of(command.env("RUST_LOG", "").output().unwrap())
    };
    assert_eq!(run(&format!("count users {} --code {}", served.url, served.code)).ok().stdout, "3\n");
    run("doctor --db shop.db").ok();
    run("settings get --db shop.db").ok();
    run(&format!("status {}", served.url)).ok();
    run(&format!("pull {} --code {} --db backup.db", served.url, folder.code())).ok();
    for line in ["status", "settings get", "tables http://127.0.0.1:1"] {
        let ran = run(line);
        assert!(ran.status == 2 && ran.stderr.contains("required"), "{line}: {ran:?}");
    }
}

#[test]
fn a_quiet_command_prints_only_what_was_asked_for() {
    let folder = Folder::new();
    let code = folder.run("sessions create --db shop.db -q").ok().stdout;
    assert_eq!(code.trim().len(), 8, "{code}");
    let served = folder.serve();
    assert_eq!(folder.run(&format!("pull {} --code {code} --db backup.db -q", served.url)).ok().stdout, "");
    let report = folder.run(&format!("pull {} --code {} --db backup.db --quiet --json", served.url, folder.code())).ok();
    assert_eq!((report.stdout.lines().count(), &report.json()["event"]), (1, &"report".into()));
    folder.sql("other.db", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT CHECK (name <> 'c'), photo, score)");
    let failed = folder.run(&format!("-q pull {} --code {} --db other.db", served.url, folder.code()));
    assert!(failed.failed(3, &["see the report"]).stdout.contains("(check)"));
    assert_eq!(folder.run("settings set enabled true --db shop.db -q").ok().stdout, "");
    assert_eq!(folder.run("settings get enabled --db shop.db -q").ok().stdout, "true\n");
    let create = "connections create --db shop.db --name N --site-url https://b.example --no-notify -q";
    assert_eq!(folder.run(create).ok().stdout.trim().len(), 43);
    assert_eq!(folder.run("-q -v status --db shop.db").status, 2);
}

#[test]
fn the_log_says_as_much_as_is_asked_for() {
    let folder = Folder::new();
    let served = folder.serve();
    let logged = |flags: &str, variable: &str| {
        let line = format!("pull {} --code {} --db backup.db {flags}", served.url, folder.code());
        let mut command = folder.command(&line);
        if !variable.is_empty() {
            command.env("ROWFERRY_LOG", variable);
        }
        let ran = Ran::of(command.stderr(Stdio::piped()).output().unwrap());
        assert_eq!(ran.status, 0, "{ran:?}");
        let count = |level: &str| ran.stderr.lines().filter(|line| line.contains(level)).count();
        [count("INFO"), count("DEBUG")].map(|lines| lines > 0)
    };
    assert_eq!(logged("", ""), [false, false]);
    assert_eq!(logged("-v", ""), [true, false]);
    assert_eq!(logged("-vv --json", ""), [true, true]);
    assert_eq!(logged("", "rowferry=debug"), [true, true]);
    assert_eq!(logged("--log info", "off"), [true, false]);
    assert_eq!(logged("-q", "rowferry=trace"), [false, false]);
    for wrong in ["nonsense=???", "debgu"] {
        let ran = folder.run(&format!("settings get --db shop.db --log {wrong}"));
        assert!(ran.status == 2 && ran.stderr.contains("--log") && ran.stderr.contains("rowferry::pull=debug"), "{ran:?}");
    }
}
