//! Pulls of values that move on, interrupted at every place there is.

use super::fate::How;
use super::world::World;
use super::{Sums, all, is_whole, sums};
use crate::domain::strategy::Strategy;
use crate::pull::PullOptions;

const TABLES: &str = "
    CREATE TABLE places(id INTEGER PRIMARY KEY, pos INT NOT NULL UNIQUE);
    CREATE TABLE members(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE posts(id INTEGER PRIMARY KEY, author TEXT REFERENCES members(name));
    CREATE TABLE notes(id INTEGER PRIMARY KEY, post INT REFERENCES posts(id), up INT REFERENCES notes(id));
    CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12) SELECT i FROM n;";

/// A list that goes round; members of whom some exchange names and some have new ones, with their posts, and with new ones.
const THERE: &str = "
    INSERT INTO places SELECT i, 1 + i % 12 FROM n;
    INSERT INTO members SELECT i, CASE WHEN i < 4 THEN 'm' || (1 + i % 3) ELSE 'new' || i END FROM n;
    INSERT INTO posts SELECT i, (SELECT name FROM members WHERE id = i) FROM n;
    INSERT INTO posts SELECT 20 + i, (SELECT name FROM members WHERE id = 13 - i) FROM n;
    INSERT INTO notes SELECT i, 20 + i, 13 - i FROM n;";

/// The post 50 is of nobody there, and holds a name.
const HERE: &str = "
    INSERT INTO places SELECT i, i FROM n;
    INSERT INTO members SELECT i, 'm' || i FROM n; INSERT INTO posts SELECT i, 'm' || i FROM n;
    INSERT INTO posts VALUES (50, 'm12');";

/// What a pull comes to that is interrupted at these steps, and how many it has.
fn pulled(cut: Option<(i64, How)>, streams: bool) -> (Sums, Vec<String>, i64) {
    let mut world = World::new(true);
    world.fake.streams = streams;
    world.there(&format!("PRAGMA foreign_keys = OFF; {TABLES} {THERE}"));
    world.run(&format!("{TABLES} {HERE}"));
    let options = || -> PullOptions<'static> { all(Strategy::Overwrite).tables(["places", "members", "posts", "notes"]) };
    let first = cut.and_then(|(at, how)| world.pull_until(at, how, options()).ok()).filter(is_whole);
    // One that was whole when it was interrupted leaves its checkpoints.
    let report = first.unwrap_or_else(|| {
        let report = world.pull(options());
        assert_eq!(world.kept(), [""; 0], "{cut:?}");
        report
    });
    assert!(is_whole(&report), "{cut:?}: {report:#?}");
    let sqlite = world.sqlite();
    let rows = "SELECT 'l' || id || ' ' || pos FROM places UNION ALL SELECT 'm' || id || name FROM members
                UNION ALL SELECT 'p' || id || author FROM posts UNION ALL SELECT 'n' || id || ' ' || post || ' ' || up FROM notes
                UNION ALL SELECT 'waits' FROM rowferry_waiting UNION ALL SELECT 'broken' FROM pragma_foreign_key_check
                WHERE \"table\" IN ('posts', 'notes')";
    let mut rows = sqlite.prepare(rows).unwrap();
    let rows = rows.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    (sums(&report), rows, world.steps())
}

#[test]
fn what_waits_for_others_is_neither_lost_nor_done_twice() {
    let (sums, rows, steps) = pulled(None, true);
    let failed: u64 = sums.0.iter().map(|(.., outcome)| outcome.failed).sum();
    // The member 12, its posts, and the notes of those.
    assert!(failed >= 4 && rows.contains(&"m12m12".to_owned()) && rows.contains(&"m1m2".to_owned()), "{sums:?} {rows:?}");
    assert!(rows.contains(&"m4new4".to_owned()) && rows.contains(&"p4new4".to_owned()), "{rows:?}");
    assert!(rows.contains(&"l12 1".to_owned()) && !rows.iter().any(|row| row == "waits" || row == "broken"), "{rows:?}");
    // Each step would take long.
    for at in (0..steps).step_by(7) {
        let found = pulled(Some((at, How::Killed)), true);
        assert_eq!((&found.0, &found.1), (&sums, &rows), "at step {at} of {steps}");
    }
}
