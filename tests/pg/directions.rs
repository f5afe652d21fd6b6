//! Tables move in all directions, by every strategy, over the link and over a socket.

use rowferry::{Auth, Client, ConnectOptions, Dangling, PullOptions, Report, Site, Strategy, VerifyOptions};

use crate::common::{Lite, Pg, clean, code, link, loopback, options, same};

const TABLES: [&str; 5] = ["users", "posts", "tree", "log", "plain"];

/// A shop in SQLite's words.
const LITE: &str = "
    CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, score REAL, photo BLOB, boss INT REFERENCES posts(id));
    CREATE TABLE posts(id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id) DEFERRABLE INITIALLY DEFERRED, body TEXT);
    CREATE TABLE tree(id INTEGER PRIMARY KEY, up INT REFERENCES tree(id));
    CREATE TABLE log(at TEXT, what INTEGER);
    CREATE TABLE plain(a TEXT, b INTEGER, v TEXT, PRIMARY KEY (a, b));
    BEGIN; PRAGMA defer_foreign_keys = ON;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
    INSERT INTO users SELECT i, 'user' || i || '@x', i / 4.0, CASE i % 3 WHEN 0 THEN x'00ff' END, nullif(i % 5, 0) FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
    INSERT INTO posts SELECT i, 1 + i % 200, 'post ' || i || char(10) || 'Zoë\\t' FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
    INSERT INTO tree SELECT i, 1 + (i * 7) % 100 FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 90) INSERT INTO log SELECT 'at ' || i % 7, i % 3 FROM n;
    INSERT INTO log VALUES (NULL, NULL), (NULL, NULL);
    INSERT INTO plain VALUES ('', 1, NULL), ('a', 1, ''), ('a', 2, '\\N'), ('B', -1, 'x');
    COMMIT;";

/// The same in PostgreSQL's.
const PG: &str = "
    CREATE TABLE users(id bigint PRIMARY KEY, email text NOT NULL UNIQUE, score float8, photo bytea, boss bigint);
    CREATE TABLE posts(id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users(id) DEFERRABLE INITIALLY DEFERRED, body text);
    ALTER TABLE users ADD FOREIGN KEY (boss) REFERENCES posts(id);
    CREATE TABLE tree(id bigint PRIMARY KEY, up bigint REFERENCES tree(id));
    CREATE TABLE log(at text, what bigint);
    CREATE TABLE plain(a text, b bigint, v text, PRIMARY KEY (a, b));
    BEGIN;
    INSERT INTO users SELECT i, 'user' || i || '@x', i / 4.0, CASE i % 3 WHEN 0 THEN '\\x00ff'::bytea END, NULL FROM generate_series(1, 200) i;
    INSERT INTO posts SELECT i, 1 + i % 200, 'post ' || i || chr(10) || 'Zoë\\t' FROM generate_series(1, 600) i;
    UPDATE users SET boss = nullif(id % 5, 0);
    INSERT INTO tree SELECT i, 1 + (i * 7) % 100 FROM generate_series(1, 100) i;
    INSERT INTO log SELECT 'at ' || i % 7, i % 3 FROM generate_series(1, 90) i; INSERT INTO log VALUES (NULL, NULL), (NULL, NULL);
    INSERT INTO plain VALUES ('', 1, NULL), ('a', 1, ''), ('a', 2, '\\N'), ('B', -1, 'x');
    COMMIT;";

type Pull = fn(&Site, &Site, PullOptions<'_>) -> Report;

const WAYS: [Pull; 2] = [link, loopback];

/// Into an empty database, again, and after both sides changed.
fn there_and_again(from: &Site, change: &dyn Fn(), to: &Site, spoil: &dyn Fn(), pull: Pull) {
    let report = pull(from, to, options(Strategy::Overwrite));
    clean(&report);
    assert_eq!(report.tables.len(), 5);
    assert!(report.one_state && report.tables.iter().all(|table| table.created_table), "{report:#?}");
    same(from, to, &TABLES);
    let again = pull(from, to, options(Strategy::Overwrite));
    clean(&again);
    assert!(again.tables.iter().all(|table| (table.outcome.created, table.outcome.updated) == (0, 0)), "{again:#?}");
    change();
    spoil();
    clean(&pull(from, to, options(Strategy::Overwrite)));
    same(from, to, &["users", "posts", "tree", "plain"]);
    compared(from, to, spoil);
}

/// A comparison says that the copy is the same, and after it was spoilt which rows are not.
fn compared(from: &Site, to: &Site, spoil: &dyn Fn()) {
    let client = Client::link(from, Auth::code(code(from)), ConnectOptions::default()).unwrap();
    let verify = || client.verify(to, VerifyOptions::new().exclude(["log"])).unwrap();
    let report = verify();
    assert!(report.is_equal(), "{report:#?}");
    spoil();
    let report = verify();
    let counts = |table: &str| {
        let table = report.table(table).unwrap();
        [table.only_there, table.only_here, table.different].map(Option::unwrap)
    };
    assert_eq!((counts("users"), counts("posts")), ([0, 0, 8], [100, 0, 0]), "{report:#?}");
    assert_eq!(report.table("posts").unwrap().keys.only_there.len(), 20);
}

const CHANGE: &str = "UPDATE users SET score = id, email = 'new' || email WHERE id % 2 = 0; UPDATE posts SET body = 'changed' WHERE id % 3 = 0;
    UPDATE tree SET up = NULL WHERE id < 10; INSERT INTO plain VALUES ('new', 9, 'y'); INSERT INTO tree VALUES (1000, 5);";

const SPOIL: &str = "UPDATE users SET email = 'spoilt' || id WHERE id < 9; DELETE FROM posts WHERE id > 500; DELETE FROM tree WHERE id = 1000;
    UPDATE plain SET v = 'spoilt';";

#[test]
fn sqlite_to_postgres() {
    for pull in WAYS {
        let (from, to) = (Lite::new(LITE), Pg::new(""));
        there_and_again(&from.site, &|| from.sqlite.execute_batch(CHANGE).unwrap(), &to.site, &|| drop(to.run(SPOIL)), pull);
        assert_eq!(
            to.run("SELECT photo FROM users WHERE id = 3; SELECT body FROM posts WHERE id = 1"),
            "\\x00ff\npost 1\nZoë\\t"
        );
    }
}

#[test]
fn postgres_to_sqlite() {
    for pull in WAYS {
        let (from, to) = (Pg::new(PG), Lite::new(""));
        there_and_again(&from.site, &|| drop(from.run(CHANGE)), &to.site, &|| to.sqlite.execute_batch(SPOIL).unwrap(), pull);
        assert_eq!(to.cell("SELECT typeof(photo) || quote(photo) FROM users WHERE id = 3"), "blobX'00FF'");
    }
}

#[test]
fn postgres_to_postgres() {
    for pull in WAYS {
        let (from, to) = (Pg::new(PG), Pg::new(""));
        there_and_again(&from.site, &|| drop(from.run(CHANGE)), &to.site, &|| drop(to.run(SPOIL)), pull);
        let declared = "SELECT string_agg(format('%s %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0";
        assert_eq!(to.run(declared), from.run(declared));
    }
}

#[test]
fn what_went_to_sqlite_comes_back() {
    let (from, between, to) = (Pg::new(PG), Lite::new(""), Pg::new(PG));
    to.run("DELETE FROM log; UPDATE users SET boss = NULL; DELETE FROM posts; DELETE FROM users; DELETE FROM tree; DELETE FROM plain");
    clean(&link(&from.site, &between.site, options(Strategy::Skip)));
    clean(&link(&between.site, &to.site, options(Strategy::Skip)));
    same(&from.site, &to.site, &TABLES);
}

#[test]
fn each_strategy_does_what_it_says() {
    let sql = "CREATE TABLE t(id bigint PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'theirs', 'x'), (2, NULL, 'theirs'), (3, 'c', 'c')";
    let here =
        "CREATE TABLE t(id bigint PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'ours', 'x'), (2, 'ours', NULL)";
    for (strategy, rows) in [
        (Strategy::Skip, "1|ours|x\n2|ours|\n3|c|c"),
        (Strategy::Overwrite, "1|theirs|x\n2||theirs\n3|c|c"),
        (Strategy::Merge, "1|theirs|x\n2|ours|theirs\n3|c|c"),
        (Strategy::Append, "1|ours|x\n2|ours|\n3|theirs|x\n4||theirs\n5|c|c"),
    ] {
        let from_pg = Pg::new(sql);
        let from_lite = Lite::new(&sql.replace("bigint", "integer"));
        for from in [&from_pg.site, &from_lite.site] {
            let to = Pg::new(&here.replace("bigint PRIMARY KEY", "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"));
            let report = link(from, &to.site, options(strategy));
            clean(&report);
            assert_eq!(to.run("SELECT * FROM t ORDER BY id"), rows, "{strategy}: {report:#?}");
        }
        let to = Lite::new(&here.replace("bigint", "integer"));
        clean(&link(&from_pg.site, &to.site, options(strategy)));
        let list = "SELECT group_concat(id || '|' || ifnull(a, '') || '|' || ifnull(b, ''), char(10)) FROM (SELECT * FROM t ORDER BY id)";
        assert_eq!(to.cell(list), rows, "{strategy}");
    }
}

#[test]
fn appended_rows_refer_to_their_new_parents() {
    let from = Lite::new(
        "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE posts(id INTEGER PRIMARY KEY, user_id INT REFERENCES users(id));
         INSERT INTO users VALUES (1, 'a'), (2, 'b'); INSERT INTO posts VALUES (1, 2), (2, 1);",
    );
    let to = Pg::new("");
    clean(&link(&from.site, &to.site, options(Strategy::Append)));
    from.sqlite.execute_batch("INSERT INTO users VALUES (3, 'c'); INSERT INTO posts VALUES (3, 3)").unwrap();
    clean(&link(&from.site, &to.site, options(Strategy::Append).append_new(true)));
    let pairs = "SELECT string_agg(p.id || name, ' ' ORDER BY p.id) FROM posts p JOIN users u ON u.id = user_id";
    assert_eq!(to.run(pairs), "1b 2a 3c");
    clean(&link(&from.site, &to.site, options(Strategy::Append).append_again(true)));
    assert_eq!(to.run(pairs), "1b 2a 3c 4b 5a 6c");
    assert_eq!(to.run("INSERT INTO users (name) VALUES ('own') RETURNING id > 6"), "t", "the sequence is raised");
}

#[test]
fn three_hundred_tables() {
    let table = |n: u32| {
        let reference = if n > 0 { format!("REFERENCES t{}(id)", n - 1) } else { String::new() };
        format!("CREATE TABLE t{n}(id INTEGER PRIMARY KEY, up INT {reference}); INSERT INTO t{n} VALUES (1, 1), (2, 1);")
    };
    let from = Lite::new(&(0..300).map(table).collect::<String>());
    let (between, to) = (Pg::new(""), Pg::new(""));
    let names: Vec<String> = (0..300).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    clean(&link(&from.site, &between.site, options(Strategy::Overwrite)));
    assert_eq!(between.site.list_tables().unwrap().iter().map(|table| table.row_count).sum::<u64>(), 600);
    let keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f'";
    assert_eq!(between.run(keys), "299");
    clean(&loopback(&between.site, &to.site, options(Strategy::Overwrite).tables(names[..30].iter().copied())));
    same(&from.site, &to.site, &names[..30]);
}

#[test]
fn an_orphan_that_may_stay_fails_alone_where_the_database_forgets_no_check() {
    let from = Lite::new(
        "PRAGMA foreign_keys = OFF; CREATE TABLE tree(id INTEGER PRIMARY KEY, up INT REFERENCES tree(id));
         INSERT INTO tree VALUES (1, 3), (2, 99), (3, 1);",
    );
    let to = Pg::new("CREATE TABLE tree(id bigint PRIMARY KEY, up bigint REFERENCES tree(id));");
    let report = link(&from.site, &to.site, options(Strategy::Overwrite).dangling(Dangling::Keep));
    let tree = report.table("tree").unwrap();
    assert!(tree.error.is_none(), "{report:#?}");
    assert_eq!((tree.outcome.created, tree.outcome.failed), (2, 1), "{report:#?}");
    assert_eq!(to.run("SELECT string_agg(id::text, ',' ORDER BY id) FROM tree"), "1,3");
}
