//! Appending records as new rows.

use super::*;

on_each_store!(
    integer_keys_go_on,
    children_follow_their_parents,
    children_follow_over_transactions_in_one_scope_only,
    children_of_any_strategy_follow,
    a_row_with_the_same_unique_values_is_the_same,
    a_record_whose_parent_was_not_appended_fails,
    uuids_are_made_again,
    other_keys_are_kept_if_free,
    parts_of_a_key_follow,
    rows_without_a_key_are_added,
    an_undone_append_leaves_no_keys,
    failures_do_not_sink_their_batch,
);

/// Users with unique addresses, and posts that belong to them.
fn blog(store: &dyn Store) -> [TableSchema; 2] {
    let described = [
        table("users", "id integer!, mail text", "id").with_unique("mail"),
        table("posts", "id integer!, author integer, title text", "id").with_parent("author", "users", "id"),
    ];
    create(store, described)
}

/// The key of the row that has this text in this column.
#[track_caller]
fn key_by(store: &dyn Store, table: &TableSchema, column: usize, text: &str) -> i64 {
    let all = contents(store, table);
    let mut found = all.iter().filter(|row| row[column].as_str() == Some(text));
    let (Some(row), None) = (found.next(), found.next()) else {
        panic!("not one row of {:?} has {text:?}: {all:?}", table.name);
    };
    row[0].as_integer().unwrap_or_else(|| panic!("the key {:?} is no integer", row[0]))
}

fn integer_keys_go_on(store: &dyn Store) {
    let [users, _] = blog(store);
    fill(store, &users, &rows([[v(5), v("a")], [v(40), v("b")]]));
    let records = rows([[v(5), v("c")], [v(1), v("d")], [v(41), v("e")], [v(900), v("f")]]);
    let plan = plan(&users, Strategy::Append);
    expect_counts(&import(store, &plan, &records), Counts { created: 4, ..NONE });
    let all = contents(store, &users);
    assert!(are_same(&all[..2], &owned(&rows([[v(5), v("a")], [v(40), v("b")]]))), "the rows that were there: {all:?}");
    let mails: Vec<_> = all.iter().filter_map(|row| row[1].as_str()).collect();
    assert_eq!(mails, ["a", "b", "c", "d", "e", "f"], "new keys are larger, in the order of the records");
    assert_eq!(integers(&all, 0), [5, 40, 41, 42, 43, 44], "each new key is the next one");
    // The same again is new again, but for what is unique.
    expect_counts(&import(store, &plan, &rows([[v(5), NULL], [v(5), NULL]])), Counts { created: 2, ..NONE });
}

fn children_follow_their_parents(store: &dyn Store) {
    let [users, posts] = blog(store);
    fill(store, &users, &rows([[v(1), v("local")], [v(2), v("too")]]));
    fill(store, &posts, &rows([[v(1), v(1), v("local post")]]));
    let [user_plan, post_plan] = plans([(&users, Strategy::Append), (&posts, Strategy::Append)]);
    let scope = Scope::new();
    write_in(store, &scope, |tx| {
        let outcome = apply_in(tx, &user_plan, &rows([[v(1), v("p")], [v(7), v("q")]]))?;
        expect_counts(&outcome, Counts { created: 2, ..NONE });
        let records = rows([
            [v(1), v(1), v("of p")],
            [v(2), v(7), v("of q")],
            [v(3), NULL, v("of nobody")],
            [v(4), ABSENT, v("of none")],
        ]);
        let outcome = apply_in(tx, &post_plan, &records)?;
        expect_counts(&outcome, Counts { created: 4, ..NONE });
        end(tx)
    });
    let (p, q) = (key_by(store, &users, 1, "p"), key_by(store, &users, 1, "q"));
    let authors: Vec<Vec<Value>> = contents(store, &posts).into_iter().map(|row| row[1..].to_vec()).collect();
    let expected =
        rows([[v(1), v("local post")], [v(p), v("of p")], [v(q), v("of q")], [NULL, v("of nobody")], [NULL, v("of none")]]);
    assert!(are_same(&authors, &owned(&expected)), "the posts are {authors:?} instead of {expected:?}");
}

fn children_follow_over_transactions_in_one_scope_only(store: &dyn Store) {
    let [users, posts] = blog(store);
    fill(store, &users, &rows([[v(1), v("local")]]));
    let [user_plan, post_plan] = plans([(&users, Strategy::Append), (&posts, Strategy::Append)]);
    let (scope, other) = (Scope::new(), Scope::new());
    let post = |scope: &Scope, id: i64| {
        let outcome = write_in(store, scope, |tx| apply_in(tx, &post_plan, &rows([[v(id), v(1), v("x")]])));
        outcome.created
    };
    write_in(store, &scope, |tx| apply_in(tx, &user_plan, &rows([[v(1), v("p")]])));
    assert_eq!(post(&scope, 1), 1, "a child in a later transaction");
    assert_eq!(post(&other, 2), 0, "a child in another scope");
    write_in(store, &other, end);
    assert_eq!(post(&scope, 3), 1, "a child when another scope has ended");
    write_in(store, &scope, end);
    assert_eq!(post(&scope, 4), 0, "a child when its scope has ended");
    let p = key_by(store, &users, 1, "p");
    assert_eq!(integers(&contents(store, &posts), 1), [p, p], "whose the posts are");
}

fn children_of_any_strategy_follow(store: &dyn Store) {
    let described = [
        table("users", "id integer!, mail text", "id"),
        table("posts", "id integer!, author integer", "id").with_parent("author", "users", "id"),
        table("lines", "owner integer!, n integer!, x text", "owner n").with_parent("owner", "users", "id"),
        table("visits", "visitor integer, x text", "").with_parent("visitor", "users", "id"),
    ];
    let [users, posts, lines, visits] = create(store, described);
    fill(store, &users, &rows([[v(1), v("local")]]));
    fill(store, &lines, &rows([[v(1), v(1), v("local")]]));
    fill(store, &visits, &rows([[v(1), v("x")]]));
    let plans = plans([
        (&users, Strategy::Append),
        (&posts, Strategy::Overwrite),
        (&lines, Strategy::Skip),
        (&visits, Strategy::Merge),
    ]);
    let scope = Scope::new();
    write_in(store, &scope, |tx| {
        apply_in(tx, &plans[0], &rows([[v(1), v("p")]]))?;
        let outcome = apply_in(tx, &plans[1], &rows([[v(1), v(1)]]))?;
        expect_counts(&outcome, Counts { created: 1, ..NONE });
        // Neither a local line nor a local visit is the one that followed.
        let outcome = apply_in(tx, &plans[2], &rows([[v(1), v(1), v("new")]]))?;
        expect_counts(&outcome, Counts { created: 1, ..NONE });
        let outcome = apply_in(tx, &plans[3], &rows([[v(1), v("x")]]))?;
        expect_counts(&outcome, Counts { created: 1, ..NONE });
        end(tx)
    });
    let p = key_by(store, &users, 1, "p");
    expect_rows(store, &posts, &rows([[v(1), v(p)]]));
    expect_rows(store, &lines, &rows([[v(1), v(1), v("local")], [v(p), v(1), v("new")]]));
    expect_multiset(store, &visits, &rows([[v(1), v("x")], [v(p), v("x")]]));
}

fn a_row_with_the_same_unique_values_is_the_same(store: &dyn Store) {
    let [users, posts] = blog(store);
    fill(store, &users, &rows([[v(3), v("known")], [v(4), NULL]]));
    let [user_plan, post_plan] = plans([(&users, Strategy::Append), (&posts, Strategy::Append)]);
    let scope = Scope::new();
    write_in(store, &scope, |tx| {
        let records = rows([[v(1), v("known")], [v(2), v("new")], [v(3), NULL]]);
        let outcome = apply_in(tx, &user_plan, &records)?;
        expect_counts(&outcome, Counts { created: 2, skipped: 1, ..NONE });
        let outcome = apply_in(tx, &post_plan, &rows([[v(1), v(1), v("of known")], [v(2), v(2), v("of new")]]))?;
        expect_counts(&outcome, Counts { created: 2, ..NONE });
        end(tx)
    });
    let new = key_by(store, &users, 1, "new");
    assert_eq!(integers(&contents(store, &posts), 1), [3, new], "whose the posts are");
}

fn a_record_whose_parent_was_not_appended_fails(store: &dyn Store) {
    let described = [
        table("users", "id integer!, name text!", "id"),
        table("posts", "id integer!, author integer", "id").with_parent("author", "users", "id"),
        table("lines", "id integer!, author integer", "id").with_parent("author", "users", "id"),
        table("visits", "visitor integer", "").with_parent("visitor", "users", "id"),
    ];
    let [users, posts, lines, visits] = create(store, described);
    // These happen to have the keys that the records' parents had at the sender.
    fill(store, &users, &rows([[v(1), v("local")], [v(2), v("local")]]));
    let [user_plan, children @ ..] = plans([
        (&users, Strategy::Append),
        (&posts, Strategy::Append),
        (&lines, Strategy::Overwrite),
        (&visits, Strategy::Skip),
    ]);
    let scope = Scope::new();
    write_in(store, &scope, |tx| {
        let outcome = apply_in(tx, &user_plan, &rows([[v(1), NULL], [v(3), v("p")]]))?;
        expect_counts(&outcome, Counts { created: 1, failed: 1, ..NONE });
        for plan in &children {
            // The first one's parent failed, the second one's was never sent.
            let records = match plan.targets.len() {
                1 => rows([[v(1)], [v(2)], [v(3)]]),
                _ => rows([1, 2, 3].map(|id| [v(id), v(id)])),
            };
            let outcome = apply_in(tx, plan, &records)?;
            expect_counts(&outcome, Counts { created: 1, failed: 2, ..NONE });
            for failure in &outcome.failures {
                assert_eq!(failure.reason, Reason::ForeignKey, "without its parent a record fails: {}", failure.message);
            }
        }
        end(tx)
    });
    let p = key_by(store, &users, 1, "p");
    for (table, column) in [(&posts, 1), (&lines, 1), (&visits, 0)] {
        assert_eq!(integers(&contents(store, table), column), [p], "what the rows of {:?} refer to", table.name);
    }
}

fn is_new_uuid(key: &Value, old: &str) -> bool {
    let uuid = key.as_str().filter(|text| text.len() == 36).and_then(|text| uuid::Uuid::try_parse(text).ok());
    uuid.is_some_and(|uuid| uuid.get_version_num() == 7 && uuid.hyphenated().to_string() != old)
}

fn uuids_are_made_again(store: &dyn Store) {
    let described = [
        table("users", "id uuid!, name text", "id"),
        table("posts", "id integer!, author uuid", "id").with_parent("author", "users", "id"),
    ];
    let [users, posts] = create(store, described);
    let old = ["0190b7a0-0000-7000-8000-00000000000a", "11111111-2222-4333-8444-55555555555b"];
    fill(store, &users, &rows([[v(old[0]), v("local")]]));
    let [user_plan, post_plan] = plans([(&users, Strategy::Append), (&posts, Strategy::Append)]);
    let scope = Scope::new();
    write_in(store, &scope, |tx| {
        let outcome = apply_in(tx, &user_plan, &rows([[v(old[0]), v("p")], [v(old[1]), v("q")]]))?;
        expect_counts(&outcome, Counts { created: 2, ..NONE });
        let outcome = apply_in(tx, &post_plan, &rows([[v(1), v(old[0])], [v(2), v(old[1])]]))?;
        expect_counts(&outcome, Counts { created: 2, ..NONE });
        end(tx)
    });
    let all = contents(store, &users);
    let key =
        |name: &str| all.iter().find(|row| row[1].as_str() == Some(name)).map(|row| row[0].clone()).expect("it is there");
    assert_eq!(key("local"), Value::from(old[0]), "the row that was there");
    assert!(is_new_uuid(&key("p"), old[0]) && is_new_uuid(&key("q"), old[1]), "the keys are {all:?}");
    let authors: Vec<Value> = contents(store, &posts).into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(authors, [key("p"), key("q")], "whose the posts are");
}

fn other_keys_are_kept_if_free(store: &dyn Store) {
    let [words] = create(store, [table("words", "word text!, x text", "word")]);
    fill(store, &words, &rows([[v("a"), v("local")]]));
    let records = rows([[v("a"), v("new")], [v("b"), v("new")], [v("b"), v("again")]]);
    let outcome = import(store, &plan(&words, Strategy::Append), &records);
    expect_counts(&outcome, Counts { created: 1, failed: 2, ..NONE });
    expect_failure(&outcome, &["a".into()], Reason::NoNewKey, None);
    expect_failure(&outcome, &["b".into()], Reason::NoNewKey, None);
    expect_rows(store, &words, &rows([[v("a"), v("local")], [v("b"), v("new")]]));
}

fn parts_of_a_key_follow(store: &dyn Store) {
    let described = [
        table("users", "id integer!, mail text", "id"),
        table("profiles", "user_id integer!, x text", "user_id").with_parent("user_id", "users", "id"),
        table("tags", "tag text!, user_id integer!", "user_id tag").with_parent("user_id", "users", "id"),
    ];
    let [users, profiles, tags] = create(store, described);
    fill(store, &users, &rows([[v(1), v("local")]]));
    fill(store, &profiles, &rows([[v(1), v("local")]]));
    fill(store, &tags, &rows([[v("t"), v(1)]]));
    let plans = plans([(&users, Strategy::Append), (&profiles, Strategy::Append), (&tags, Strategy::Append)]);
    let scope = Scope::new();
    write_in(store, &scope, |tx| {
        let records = [rows([[v(1), v("p")]]), rows([[v(1), v("of p")]]), rows([[v("t"), v(1)], [v("u"), v(1)]])];
        for (plan, records) in plans.iter().zip(&records) {
            let outcome = apply_in(tx, plan, records)?;
            expect_counts(&outcome, Counts { created: records.len() as u64, ..NONE });
        }
        end(tx)
    });
    let p = key_by(store, &users, 1, "p");
    expect_rows(store, &profiles, &rows([[v(1), v("local")], [v(p), v("of p")]]));
    expect_rows(store, &tags, &rows([[v("t"), v(1)], [v("t"), v(p)], [v("u"), v(p)]]));
}

fn rows_without_a_key_are_added(store: &dyn Store) {
    let [log] = create(store, [table("log", "a integer, b text", "")]);
    let records = rows([[v(1), v("x")], [v(1), v("x")], [NULL, NULL]]);
    for round in 1..=2 {
        let outcome = import(store, &plan(&log, Strategy::Append), &records);
        expect_counts(&outcome, Counts { created: 3, ..NONE });
        assert_eq!(contents(store, &log).len(), 3 * round, "rows without a key are added each time");
    }
}

fn an_undone_append_leaves_no_keys(store: &dyn Store) {
    let [users, posts] = blog(store);
    fill(store, &users, &rows([[v(1), v("local")]]));
    let [user_plan, post_plan] = plans([(&users, Strategy::Append), (&posts, Strategy::Append)]);
    let scope = Scope::new();
    write_in(store, &scope, |tx| {
        tx.savepoint()?;
        apply_in(tx, &user_plan, &rows([[v(1), v("p")], [v(2), v("q")]]))?;
        tx.rollback_to()?;
        let outcome = apply_in(tx, &post_plan, &rows([[v(1), v(1), v("x")]]))?;
        expect_counts(&outcome, Counts { failed: 1, ..NONE });
        // The keys that were given are free again.
        apply_in(tx, &user_plan, &rows([[v(9), v("r")]]))?;
        end(tx)
    });
    assert_eq!(contents(store, &posts).len(), 0, "a post follows what was undone");
    expect_rows(store, &users, &rows([[v(1), v("local")], [v(2), v("r")]]));
}

fn failures_do_not_sink_their_batch(store: &dyn Store) {
    let described = [
        table("users", "id integer!, name text!", "id"),
        table("posts", "id integer!, author integer", "id").with_parent("author", "users", "id"),
    ];
    let [users, posts] = create(store, described);
    let outcome = import(store, &plan(&users, Strategy::Append), &rows([[v(1), v("a")], [v(2), NULL], [v(3), v("c")]]));
    expect_counts(&outcome, Counts { created: 2, failed: 1, ..NONE });
    expect_failure(&outcome, &[2.into()], Reason::NotNull, Some("name"));
    let outcome = import(store, &plan(&posts, Strategy::Append), &rows([[v(1), v(99)], [v(2), NULL]]));
    expect_counts(&outcome, Counts { created: 1, failed: 1, ..NONE });
    expect_failure(&outcome, &[1.into()], Reason::ForeignKey, Some("author"));
    assert_eq!(contents(store, &users).len(), 2, "users that are there");
    assert_eq!(contents(store, &posts).len(), 1, "posts that are there");
}

/// Rows of SQLite's own kind: a trigger takes the number that would be next.
#[test]
fn a_number_that_a_trigger_took_is_not_given_again() {
    for key in ["INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT", "INT PRIMARY KEY"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.db");
        let sql = format!(
            "CREATE TABLE t(id {key}, note TEXT);
             CREATE TRIGGER log AFTER INSERT ON t WHEN NEW.note <> 'log' BEGIN
               INSERT INTO t(id, note) SELECT max(id) + 1, 'log' FROM t;
             END;"
        );
        rusqlite::Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
        let store = SqliteStore::open(&path, &Limits::default()).unwrap();
        let outcome =
            import(&store, &plan(&schema(&store, "t"), Strategy::Append), &rows((1..=4).map(|id| [v(id), v("a")])));
        expect_counts(&outcome, Counts { created: 4, ..NONE });
    }
}
