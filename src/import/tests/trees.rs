//! Appending tables that refer to themselves or to each other: what comes out does not depend on how the sender numbers its rows.

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assume, proptest};
use proptest::strategy::Strategy as _;

use super::groups::group;
use super::*;
use crate::domain::strategy::Strategy;

on_each_store!(
    rows_may_refer_to_later_ones,
    keys_serve_tables_that_nothing_follows,
    a_tree_is_merged_however_it_is_numbered,
    a_root_may_refer_to_itself,
    rows_in_a_circle_with_unique_sets_are_new,
    a_child_of_an_ambiguous_row_fails,
    tables_that_refer_to_each_other_are_merged,
    a_row_that_fails_takes_its_children_along,
    a_circle_is_decided_before_what_hangs_on_it,
    rows_that_have_each_others_key_are_new,
);

fn rows_may_refer_to_later_ones(store: &dyn Store) {
    let [nodes] = create(store, [table("node", "id integer!, up integer, name text", "id").with_parent("up", "node", "id")]);
    fill(store, &nodes, &rows([[v(1), NULL, v("local")]]));
    let records = rows([[v(1), v(3), v("a")], [v(2), v(1), v("b")], [v(3), v(2), v("c")], [v(4), v(4), v("d")]]);
    let [outcome] = group(store, [(&nodes, Strategy::Append, records)]);
    expect_counts(&outcome, Counts { created: 4, ..NONE });
    let all = contents(store, &nodes);
    let name = |key: &Value| all.iter().find(|row| row[0] == *key).and_then(|row| row[2].as_str()).unwrap_or("nothing");
    let references: Vec<_> = all.iter().map(|row| format!("{} -> {}", name(&row[0]), name(&row[1]))).collect();
    assert_eq!(references, ["local -> nothing", "a -> c", "b -> a", "c -> b", "d -> d"], "what refers to what");
}

fn keys_serve_tables_that_nothing_follows(store: &dyn Store) {
    // What refers to a code does not follow the key, and yet the records need their keys.
    let nodes =
        table("node", "id integer!, code text!, up text", "id").with_unique("code").with_parent("up", "node", "code");
    let [nodes] = create(store, [nodes]);
    fill(store, &nodes, &rows([[v(1), v("x"), NULL]]));
    let records = rows([[v(1), v("a"), v("b")], [v(2), v("b"), v("x")], [v(3), v("x"), NULL]]);
    let [outcome] = group(store, [(&nodes, Strategy::Append, records)]);
    expect_counts(&outcome, Counts { created: 2, skipped: 1, ..NONE });
    expect_rows(store, &nodes, &rows([[v(1), v("x"), NULL], [v(2), v("a"), v("b")], [v(3), v("b"), v("x")]]));
}

/// A tree of tags: no two of the same name under one parent, roots by a name of their own.
fn tags(store: &dyn Store, name: &str) -> TableSchema {
    let described = table(name, "id integer!, up integer, name text!, root text", "id")
        .with_parent("up", name, "id")
        .with_unique("up name")
        .with_unique("root");
    let [tags] = create(store, [described]);
    tags
}

/// The paths of a tree's rows, sorted.
fn paths(store: &dyn Store, tags: &TableSchema) -> Vec<String> {
    let all = contents(store, tags);
    let path = |row: &Vec<Value>| {
        let (mut path, mut row) = (row[2].as_str().unwrap_or_default().to_owned(), row);
        for _ in 0..all.len() {
            let Some(up) = all.iter().find(|other| other[0] == row[1] && other[0] != row[0]) else { break };
            path = format!("{}/{path}", up[2].as_str().unwrap_or_default());
            row = up;
        }
        path
    };
    let mut paths: Vec<String> = all.iter().map(path).collect();
    paths.sort();
    paths
}

fn a_tree_is_merged_however_it_is_numbered(store: &dyn Store) {
    for (round, [root, places, rome, old, people]) in
        [[1, 2, 3, 4, 5], [9, 8, 3, 2, 5], [5, 4, 3, 2, 1]].into_iter().enumerate()
    {
        let tags = tags(store, &format!("tags{round}"));
        let local = rows([
            [v(1), NULL, v("root"), v("R")],
            [v(2), v(1), v("people"), NULL],
            [v(3), v(1), v("places"), NULL],
            [v(4), v(3), v("oslo"), NULL],
            [v(5), v(3), v("rome"), NULL],
        ]);
        fill(store, &tags, &local);
        let mut records = [
            [v(root), NULL, v("root"), v("R")],
            [v(places), v(root), v("places"), NULL],
            [v(rome), v(places), v("rome"), NULL],
            [v(old), v(rome), v("old"), NULL],
            [v(people), v(root), v("people"), NULL],
        ];
        records.sort_by_key(|row| row[0].as_ref().and_then(Value::as_integer));
        let [outcome] = group(store, [(&tags, Strategy::Append, rows(records))]);
        expect_counts(&outcome, Counts { created: 1, skipped: 4, ..NONE });
        let expected =
            ["root", "root/people", "root/places", "root/places/oslo", "root/places/rome", "root/places/rome/old"];
        assert_eq!(paths(store, &tags), expected, "the tree in round {round}");
    }
}

fn a_root_may_refer_to_itself(store: &dyn Store) {
    let described =
        table("dirs", "id integer!, up integer!, name text!", "id").with_parent("up", "dirs", "id").with_unique("up name");
    let [dirs] = create(store, [described]);
    fill(store, &dirs, &rows([[v(1), v(1), v("/")], [v(2), v(1), v("home")]]));
    // The child is numbered before its parent.
    let records = rows([[v(3), v(7), v("usr")], [v(7), v(7), v("/")], [v(8), v(3), v("bin")]]);
    let [outcome] = group(store, [(&dirs, Strategy::Append, records)]);
    // Nothing says that the one root is the other: each has its own key in the set.
    expect_counts(&outcome, Counts { created: 3, ..NONE });
    assert_eq!(paths(store, &dirs), ["/", "/", "//home", "//usr", "//usr/bin"], "the tree");
}

fn rows_in_a_circle_with_unique_sets_are_new(store: &dyn Store) {
    let tags = tags(store, "tags");
    fill(store, &tags, &rows([[v(1), NULL, v("a"), NULL], [v(2), v(1), v("b"), NULL]]));
    let records = rows([
        [v(1), v(2), v("a"), NULL],
        [v(2), v(1), v("b"), NULL],
        // Below the circle, and below nothing.
        [v(3), v(2), v("c"), NULL],
        [v(4), v(99), v("d"), NULL],
        [v(5), v(4), v("e"), NULL],
    ]);
    let [outcome] = group(store, [(&tags, Strategy::Append, records)]);
    expect_counts(&outcome, Counts { created: 3, failed: 2, ..NONE });
    for key in [4, 5] {
        expect_failure(&outcome, &[key.into()], Reason::ForeignKey, Some("up"));
    }
    assert_eq!(contents(store, &tags).len(), 5, "the rows that are there");
}

fn a_child_of_an_ambiguous_row_fails(store: &dyn Store) {
    let described = table("tags", "id integer!, up integer, name text, code text", "id")
        .with_parent("up", "tags", "id")
        .with_unique("name")
        .with_unique("code");
    let [tags] = create(store, [described]);
    fill(store, &tags, &rows([[v(1), NULL, v("a"), NULL], [v(2), NULL, NULL, v("A")]]));
    let records = rows([[v(1), NULL, v("a"), v("A")], [v(2), v(1), v("b"), NULL], [v(3), NULL, v("a"), NULL]]);
    let [outcome] = group(store, [(&tags, Strategy::Append, records)]);
    expect_counts(&outcome, Counts { skipped: 1, failed: 2, ..NONE });
    expect_failure(&outcome, &[1.into()], Reason::Ambiguous, None);
    expect_failure(&outcome, &[2.into()], Reason::ForeignKey, Some("up"));
    assert_eq!(contents(store, &tags).len(), 2, "the rows that are there");
}

fn tables_that_refer_to_each_other_are_merged(store: &dyn Store) {
    let described = [
        table("team", "id integer!, name text!, lead integer", "id").with_parent("lead", "person", "id").with_unique("name"),
        table("person", "id integer!, team integer!, nick text!", "id")
            .with_parent("team", "team", "id")
            .with_unique("team nick"),
    ];
    let [team, person] = create(store, described);
    write_in(store, &Scope::new(), |tx| {
        tx.writer.check_references(crate::store::Check::AtCommit, &[])?;
        apply_in(tx, &plan(&team, Strategy::Skip), &rows([[v(1), v("red"), v(1)]]))?;
        apply_in(tx, &plan(&person, Strategy::Skip), &rows([[v(1), v(1), v("ann")]]))
    });
    let teams = rows([[v(1), v("blue"), v(3)], [v(2), v("red"), v(2)]]);
    let people = rows([[v(2), v(2), v("ann")], [v(3), v(1), v("ann")], [v(4), v(2), v("bo")]]);
    let [teams, people] = group(store, [(&team, Strategy::Append, teams), (&person, Strategy::Append, people)]);
    expect_counts(&teams, Counts { created: 1, skipped: 1, ..NONE });
    expect_counts(&people, Counts { created: 2, skipped: 1, ..NONE });
    expect_rows(store, &team, &rows([[v(1), v("red"), v(1)], [v(2), v("blue"), v(2)]]));
    expect_rows(store, &person, &rows([[v(1), v(1), v("ann")], [v(2), v(2), v("ann")], [v(3), v(1), v("bo")]]));
}

fn a_row_that_fails_takes_its_children_along(store: &dyn Store) {
    let described = table("node", "id integer!, up integer, name text!", "id").with_parent("up", "node", "id");
    let [node] = create(store, [described]);
    let records = rows([[v(1), v(2), v("a")], [v(2), NULL, NULL], [v(3), v(1), v("c")], [v(4), NULL, v("d")]]);
    let [outcome] = group(store, [(&node, Strategy::Append, records)]);
    expect_counts(&outcome, Counts { created: 1, failed: 3, ..NONE });
    expect_failure(&outcome, &[2.into()], Reason::NotNull, Some("name"));
    for key in [1, 3] {
        expect_failure(&outcome, &[key.into()], Reason::ForeignKey, Some("up"));
    }
}

fn a_circle_is_decided_before_what_hangs_on_it(store: &dyn Store) {
    // The child is numbered before or after the circle that it hangs on; the circle is known by its codes.
    for (round, child) in [1, 9].into_iter().enumerate() {
        let name = format!("node{round}");
        let described = table(&name, "id integer!, up integer!, name text!, code text", "id")
            .with_parent("up", &name, "id")
            .with_unique("up name")
            .with_unique("code");
        let [node] = create(store, [described]);
        write_in(store, &Scope::new(), |tx| {
            tx.writer.check_references(crate::store::Check::AtCommit, &[])?;
            let local = rows([[v(5), v(6), v("a"), v("A")], [v(6), v(5), v("b"), v("B")], [v(7), v(5), v("c"), NULL]]);
            apply_in(tx, &plan(&node, Strategy::Skip), &local)
        });
        let mut records = [
            [v(2), v(3), v("a"), v("A")],
            [v(3), v(2), v("b"), v("B")],
            [v(child), v(2), v("c"), NULL],
            [v(4), v(child), v("d"), NULL],
        ];
        records.sort_by_key(|row| row[0].as_ref().and_then(Value::as_integer));
        let [outcome] = group(store, [(&node, Strategy::Append, rows(records))]);
        expect_counts(&outcome, Counts { created: 1, skipped: 3, ..NONE });
        let all = contents(store, &node);
        assert_eq!(all[3][1], Value::from(7), "the parent of the new row: {all:?}");
    }
}

fn rows_that_have_each_others_key_are_new(store: &dyn Store) {
    let described = [
        table("user", "id integer!, name text", "id").with_parent("id", "profile", "id"),
        table("profile", "id integer!, text text", "id").with_parent("id", "user", "id"),
    ];
    let [user, profile] = create(store, described);
    let users = rows([[v(1), v("a")], [v(2), v("b")], [v(3), v("no profile")]]);
    let profiles = rows([[v(2), v("of b")], [v(1), v("of a")]]);
    let [users, profiles] = group(store, [(&user, Strategy::Append, users), (&profile, Strategy::Append, profiles)]);
    expect_counts(&users, Counts { created: 2, failed: 1, ..NONE });
    expect_counts(&profiles, Counts { created: 2, ..NONE });
    let (users, profiles) = (contents(store, &user), contents(store, &profile));
    for (user, profile) in users.iter().zip(&profiles) {
        let name = user[1].as_str().unwrap_or_default();
        assert_eq!((&user[0], profile[1].as_str()), (&profile[0], Some(format!("of {name}").as_str())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A tree merged into itself is as it was, whatever its rows are numbered.
    #[test]
    fn a_tree_is_found_again_by_its_names(
        parents in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
        numbers in Just((1..=13i64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        // Row n hangs below one of the rows before it; its name is its own.
        let up = |at: usize| (at > 0).then(|| parents[at - 1].index(at));
        let size = parents.len() + 1;
        let tree = |number: &dyn Fn(usize) -> i64| {
            let mut all: Vec<_> = (0..size)
                .map(|at| {
                    let root = if at == 0 { v("R") } else { NULL };
                    [v(number(at)), up(at).map_or(NULL, |up| v(number(up))), v(format!("n{}", at % 3)), root]
                })
                .collect();
            all.sort_by_key(|row| row[0].as_ref().and_then(Value::as_integer));
            all
        };
        // No two of one name under one parent.
        let mut pairs: Vec<_> = (1..size).map(|at| (up(at), at % 3)).collect();
        pairs.sort();
        let before = pairs.len();
        pairs.dedup();
        prop_assume!(pairs.len() == before);
        on_memory_with(|store| {
            let tags = tags(store, "tags");
            write_in(store, &Scope::new(), |tx| {
                tx.writer.check_references(crate::store::Check::AtCommit, &[])?;
                apply_in(tx, &plan(&tags, Strategy::Skip), &rows(tree(&|at| at as i64 + 1)))
            });
            let was = paths(store, &tags);
            let [outcome] = group(store, [(&tags, Strategy::Append, rows(tree(&|at| numbers[at])))]);
            expect_counts(&outcome, Counts { skipped: size as u64, ..NONE });
            assert_eq!(paths(store, &tags), was);
        });
    }
}

fn on_memory_with(test: impl FnOnce(&dyn Store)) {
    test(&MemoryStore::open(&Limits::default()).unwrap());
}
