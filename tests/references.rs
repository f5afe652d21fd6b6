//! References that lead nowhere: to tables that cannot be made here, and to rows that the sender lacks.
#![cfg(all(feature = "client", feature = "server", feature = "sqlite"))]

mod common;

use common::Fixture;
use rowferry::{Auth, Client, ConnectOptions, Direction, Report, TransferOptions};

fn pull(from: &Fixture, to: &Fixture, options: TransferOptions<'_>) -> Report {
    let code = Auth::code(from.site.sessions().create(Direction::Send).unwrap().code());
    let client = Client::link(&from.site, code, ConnectOptions::default()).unwrap();
    client.transfer_all(&to.site, options).unwrap()
}

#[test]
fn a_table_that_cannot_be_made_leaves_nothing_and_its_children_come_without_the_reference() {
    // Children that are made before and after it; what is in its way is found before it is made, or after.
    for (parent, in_the_way) in [
        ("m", "CREATE VIEW m AS SELECT 1 AS id"),
        ("m_data", "CREATE VIRTUAL TABLE m USING fts5(x, content='')"),
        ("m", "CREATE TABLE other(x); CREATE INDEX m ON other(x)"),
    ] {
        let from = Fixture::new(&format!(
            "CREATE TABLE {parent}(id INTEGER PRIMARY KEY, x INT, up INT REFERENCES a(id)); CREATE INDEX of_m ON {parent}(x);
             CREATE TABLE a(id INTEGER PRIMARY KEY, m INT REFERENCES {parent}(id), z INT REFERENCES z(id));
             CREATE TABLE z(id INTEGER PRIMARY KEY, m INT REFERENCES {parent}(id));
             INSERT INTO {parent} VALUES (1, 1, NULL); INSERT INTO z VALUES (1, 1); INSERT INTO a VALUES (1, 1, 1), (2, NULL, 1);"
        ));
        let to = Fixture::new(in_the_way);
        let before = to.rows("SELECT name FROM sqlite_schema ORDER BY name");
        let dry = pull(&from, &to, TransferOptions::new().dry_run(true));
        assert_eq!(to.rows("SELECT name FROM sqlite_schema ORDER BY name"), before, "{parent}");
        let report = pull(&from, &to, TransferOptions::new());
        for report in [dry, report] {
            let failed = report.table(parent).unwrap();
            assert!(failed.error.is_some() && !failed.created_table, "{parent} {failed:?}");
            for child in ["a", "z"] {
                let child = report.table(child).unwrap();
                assert!(child.error.is_none() && child.created_table, "{parent} {child:?}");
                assert!(child.notes.iter().any(|note| note.contains(&format!("to {parent:?} is left out"))), "{child:?}");
            }
        }
        assert_eq!(to.rows("SELECT * FROM a"), ["1|1|1", "2|NULL|1"], "{parent}");
        assert_eq!(to.rows("SELECT * FROM z"), ["1|1"], "{parent}");
        let foreign =
            "SELECT s.name, \"table\" FROM sqlite_schema s, pragma_foreign_key_list(s.name) WHERE s.name IN ('a', 'z')";
        assert_eq!(to.rows(foreign), ["'a'|'z'"], "{parent}");
        assert_eq!(to.rows("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'of_m%'"), ["0"], "{parent}");
    }
}
