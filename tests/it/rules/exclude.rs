//! Tables that are left out though all are wanted.

use crate::support::common::Fixture;
use crate::support::common::served::Sender;
use rowferry::{ErrorKind, PullOptions, Strategy};

const SHOP: &str = "CREATE TABLE users(id INTEGER PRIMARY KEY); INSERT INTO users VALUES (1);
    CREATE TABLE log(id INTEGER PRIMARY KEY, user REFERENCES users); INSERT INTO log VALUES (1, 1);
    CREATE TABLE sessions(id INTEGER PRIMARY KEY); PRAGMA user_version = 7;";

#[test]
fn all_tables_but_those_that_are_left_out_are_pulled() {
    let (sender, here) = (Sender::new(SHOP), Fixture::new(""));
    let report = sender.pull(&here.site, PullOptions::new().exclude(["log"]).exclude(["sessions"]));
    assert!(report.is_clean(), "{report:?}");
    let tables: Vec<_> = report.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!((tables, report.tables[0].notes.len()), (vec!["users"], 0));
    assert_eq!(here.rows("SELECT name FROM sqlite_schema WHERE name IN ('users', 'log', 'sessions')"), ["'users'"]);
    // That is not the whole file.
    assert_eq!(here.rows("PRAGMA user_version"), ["0"]);
    let named = sender.pull(&here.site, PullOptions::new().tables(["users", "log"]).exclude(["sessions"]));
    assert_eq!((named.is_clean(), named.tables.len()), (true, 2));
}

#[test]
fn what_cannot_be_meant_is_an_error_before_anything_is_pulled() {
    let (sender, here) = (Sender::new(SHOP), Fixture::new(""));
    for (options, what) in [
        (PullOptions::new().exclude(["logs"]), "Did you mean \"log\"?"),
        (PullOptions::new().exclude(["Log"]), "Did you mean \"log\"?"),
        (PullOptions::new().table("log").exclude(["log"]), "both to be pulled and to be left out"),
        (PullOptions::new().exclude(["log"]).table_strategy("log", Strategy::Merge), "which is not pulled"),
        (PullOptions::new().exclude(["log", "users", "sessions"]), "all tables"),
    ] {
        let error = sender.client().pull(&here.site, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(what), "{error}");
    }
    assert!(here.site.list_tables().unwrap().is_empty());
}
