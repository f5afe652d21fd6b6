//! What another program does to the receiving table, or to its file, while a pull runs: an error, and never a value that silently
//! became another one.

use std::path::Path;

use rowferry::{Auth, Client, ConnectOptions, Direction, Limits, Phase, PullOptions, Site, Strategy, TableReport};
use rusqlite::Connection;

/// Rows that are committed in several transactions.
const ROWS: i64 = 4_000;

/// Tables whose rows are applied as they come, and when all are there.
const DIRECT: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, w INT, x)";
const STAGED: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, w INT REFERENCES t(id), x)";

/// Pulls the table `t`, and does something once when the first rows were committed or staged.
fn pull_and(table: &str, action: impl FnOnce(&Path)) -> (tempfile::TempDir, rowferry::Result<TableReport>) {
    let folder = tempfile::tempdir().unwrap();
    let (there, here) = (folder.path().join("there.db"), folder.path().join("here.db"));
    for path in [&there, &here] {
        Connection::open(path).unwrap().execute_batch(table).unwrap();
    }
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                INSERT INTO t SELECT i, '0' || i, 1, i * 1.5 FROM n";
    Connection::open(&there).unwrap().execute(fill, [ROWS]).unwrap();
    let mut limits = Limits::default();
    limits.pull.commit_rows = 500;
    let shop = Site::open(&there).unwrap();
    let backup = Site::builder().limits(limits).open(&here).unwrap();
    let session = shop.sessions().create(Direction::Send).unwrap();
    let client = Client::link(&shop, Auth::code(session.code()), ConnectOptions::default()).unwrap();
    let mut action = Some(action);
    let options = PullOptions::new().strategy(Strategy::Overwrite).batch_size(100).on_progress(|progress| {
        if progress.phase == Phase::Receiving && (1..ROWS as u64).contains(&progress.records) {
            action.take().into_iter().for_each(|action| action(&here));
        }
    });
    let report = client.pull_table(&backup, "t", options);
    assert!(action.is_none(), "the pull came in one piece");
    (folder, report)
}

fn run(sql: &str) -> impl FnOnce(&Path) + use<'_> {
    move |path| Connection::open(path).unwrap().execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap()
}

#[test]
fn a_table_that_becomes_another_one_is_an_error() {
    let swapped = "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, w TEXT, x TEXT);";
    for table in [DIRECT, STAGED] {
        for (change, says) in [
            (swapped, "was changed"),
            ("ALTER TABLE t RENAME COLUMN v TO words", "was changed"),
            ("ALTER TABLE t ADD COLUMN more", "was changed"),
            ("CREATE UNIQUE INDEX once ON t(v)", "was changed"),
            ("DROP TABLE t", "was dropped"),
            ("ALTER TABLE t RENAME TO u", "was dropped"),
        ] {
            let (folder, report) = pull_and(table, run(change));
            let error = report.expect_err(change);
            assert_eq!(error.code(), "schema_mismatch", "{change}: {error}");
            assert!(error.message().contains(says) && error.hint().is_some(), "{change}: {error}");
            let here = Connection::open(folder.path().join("here.db")).unwrap();
            if change == swapped {
                let count: i64 = here.query_one("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
                assert_eq!(count, 0, "rows in a table that is not the planned one");
            }
        }
    }
}

#[test]
fn what_changes_no_meaning_is_no_error() {
    for table in [DIRECT, STAGED] {
        for change in ["CREATE INDEX by_v ON t(v)", "CREATE TABLE other(a)", "CREATE VIEW seen AS SELECT * FROM t"] {
            let (_folder, report) = pull_and(table, run(change));
            let report = report.unwrap_or_else(|error| panic!("{change}: {error}"));
            assert!(report.is_clean() && report.outcome.created == ROWS as u64, "{change}: {report:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_is_deleted_or_replaced_is_an_error() {
    type Action = fn(&Path);
    let delete: Action = |path| std::fs::remove_file(path).unwrap();
    let replace: Action = |path| {
        let other = path.with_file_name("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, v, w, x)").unwrap();
        std::fs::rename(&other, path).unwrap();
    };
    for table in [DIRECT, STAGED] {
        for (action, is_there, says) in [(delete, false, "was deleted or moved"), (replace, true, "was replaced")] {
            let (folder, report) = pull_and(table, action);
            let error = report.expect_err("the file is another one");
            assert!(error.message().contains(says) && error.hint().is_some(), "{error}");
            let path = folder.path().join("here.db");
            assert_eq!(path.exists(), is_there);
            if is_there {
                // Without the log of the file that was there before.
                let alone = folder.path().join("alone.db");
                std::fs::copy(&path, &alone).unwrap();
                let here = Connection::open(&alone).unwrap();
                let count: i64 = here.query_one("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
                assert_eq!(count, 0, "rows in a file that was put there by another program");
            }
        }
    }
}
