//! What tables have and a copy of them does not get is in the report.

use rowferry::{EventFilter, EventKind, Site, Strategy};

use crate::common::{Lite, Pg, link, loopback, options};

const SQL: &str = "CREATE TABLE p(a int, b int, note text, PRIMARY KEY (a, b)); COMMENT ON COLUMN p.note IS 'for us';
    CREATE TABLE c(id int PRIMARY KEY DEFERRABLE, a int, b int, CONSTRAINT up FOREIGN KEY (a, b) REFERENCES p MATCH FULL);
    CREATE UNIQUE INDEX c_a ON c (a) INCLUDE (b); ALTER TABLE c ENABLE ROW LEVEL SECURITY;
    CREATE TABLE log(at int) PARTITION BY LIST (at); CREATE TABLE log_0 PARTITION OF log DEFAULT;
    INSERT INTO p VALUES (1, 2, 'x'); INSERT INTO c VALUES (1, 1, 2); INSERT INTO log VALUES (7)";

fn told(site: &Site) -> Option<String> {
    let events = site.events().list(&EventFilter::new()).unwrap();
    let event = events.iter().find(|event| event.kind == EventKind::PullNotCopied)?;
    event.details.get("parts").map(ToString::to_string)
}

#[test]
fn parts_of_tables_that_a_pull_makes_are_named() {
    for (at, pull) in [link, loopback].into_iter().enumerate() {
        let from = Pg::new(SQL);
        let (pg, lite) = (Pg::new(""), Lite::new(""));
        for to in [&pg.site, &lite.site] {
            let report = pull(&from.site, to, options(Strategy::Overwrite));
            report.ok().unwrap();
            let mut lines: Vec<String> = Vec::new();
            for (table, kinds) in &report.not_copied.parts {
                lines.extend(kinds.iter().map(|(kind, names)| format!("{table} {kind}: {}", names.join(", "))));
            }
            let expected = [
                "c deferrable_keys: c_pkey",
                "c include_columns: c_a",
                "c match_full: up",
                "c row_security: c",
                "log partitioned: LIST (at)",
                "p comments: note",
            ];
            assert_eq!(lines, expected, "{report:#?}");
            assert!(report.not_copied.to_string().contains("6 other parts of tables (comments, deferrable_keys, "));
            assert_eq!(told(to).as_deref(), Some("6"), "{at}");
            // The tables are there now: nobody expects them to change.
            assert!(pull(&from.site, to, options(Strategy::Overwrite)).not_copied.is_empty());
        }
    }
}
