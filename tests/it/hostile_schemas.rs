//! A pull from a sender that is broken or means harm, in what it says of its tables: their names, their number, their
//! structure. See `hostile_server.rs` for what must hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::common::Fixture;
use crate::support::fake::{
    Ask, BOTH, FakeTable, Kind, MINE, Peer, Pulled, connect, nothing_left, pull, pull_with, quick, schema, three,
};
use rowferry::{CancelToken, Error, ErrorKind, Limits, PullOptions, TableStatus};
use serde_json::{Value as Json, json};

/// A sender whose middle table has this structure and these records.
fn described(kind: Kind, schema: Json, records: Vec<Json>) -> Pulled {
    let mut tables = three();
    tables[1].schema = schema;
    tables[1].count = records.len().into();
    tables[1].records = records;
    pull_with(kind, tables, quick(), PullOptions::new(), |_, _| false)
}

/// A sender that lists these tables beside two good ones.
fn listing(kind: Kind, tables: Json) -> Result<rowferry::Report, Error> {
    let here = Fixture::new(MINE);
    let twist = move |ask: &Ask, peer: &mut Peer| {
        let hit = ask.what == "tables";
        if hit {
            peer.answer(ask, "response:tables", json!({"tables": tables}));
        }
        hit
    };
    let report = connect(kind, three(), quick(), Arc::new(twist)).pull(&here.site, PullOptions::new());
    nothing_left(&here);
    report
}

#[test]
fn structures_that_are_none() {
    for kind in BOTH {
        let good = || schema("evil", &[("id", "INTEGER", "integer"), ("name", "TEXT", "text")]);
        let with = |path: &str, value: Json| {
            let mut schema = good();
            *schema.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
            schema
        };
        let extra = |name: &str, value: Json| with("/rowferry", json!({name: value}));
        let key = |parent: &str, columns: Json, action: &str| json!([{"parent": parent, "columns": columns, "parent_columns": ["id"], "on_delete": action, "on_update": "CASCADE"}]);
        let many: Vec<Json> = (0..10_000).map(|n| json!({"name": format!("c{n}"), "type": "t", "nullable": true})).collect();
        let sets: Vec<Json> = (0..3_000).map(|_| json!({"columns": ["id"], "kind": "full"})).collect();
        for (schema, expected) in [
            (json!(null), ErrorKind::Protocol),
            (json!([]), ErrorKind::Protocol),
            (json!("evil"), ErrorKind::Protocol),
            (json!({"table": "evil"}), ErrorKind::Protocol),
            (with("/columns", json!([])), ErrorKind::Protocol),
            (with("/columns", json!({})), ErrorKind::Protocol),
            (with("/columns/1/name", json!("ID")), ErrorKind::Protocol),
            (with("/columns/1/name", json!("na\0me")), ErrorKind::Protocol),
            (with("/columns/1/name", json!(7)), ErrorKind::Protocol),
            (with("/columns/1/name", json!("x".repeat(100_000))), ErrorKind::TooLarge),
            (with("/columns/1/declared_type", json!("x".repeat(100_000))), ErrorKind::TooLarge),
            (with("/columns", json!(many)), ErrorKind::TooLarge),
            (with("/primary_key", json!(["nowhere"])), ErrorKind::Protocol),
            (with("/primary_key", json!(["id", "ID"])), ErrorKind::Protocol),
            (with("/table", json!("mine")), ErrorKind::Protocol),
            (with("/table", json!("rowferry_settings")), ErrorKind::Protocol),
            (with("/table", json!("evil\0")), ErrorKind::Protocol),
            (extra("unique", json!(sets)), ErrorKind::TooLarge),
            (extra("unique", json!([{"columns": ["nowhere"], "kind": "full"}])), ErrorKind::Protocol),
            (extra("unique", json!([{"columns": ["id"], "kind": "whatever"}])), ErrorKind::Protocol),
            (extra("indexes", json!([{"name": "i\0", "columns": [{"name": "id"}]}])), ErrorKind::Protocol),
            (extra("foreign_keys", key("mine", json!(["nowhere"]), "CASCADE")), ErrorKind::Protocol),
            (extra("foreign_keys", key("mine", json!([]), "CASCADE")), ErrorKind::Protocol),
            (extra("foreign_keys", key("mine", json!(["id"]), "CASCADE; DROP TABLE mine")), ErrorKind::Protocol),
        ] {
            let shown: String = schema.to_string().chars().take(200).collect();
            let pulled = described(kind, schema, vec![]);
            assert_eq!(pulled.error().kind(), expected, "{shown}: {}", pulled.error());
            assert_eq!(pulled.here.rows("SELECT 1 FROM sqlite_schema WHERE name LIKE 'evil%'"), [""; 0], "{shown}");
            pulled.others_arrived();
        }
    }
}

#[test]
fn code_in_a_structure_stays_text() {
    for kind in BOTH {
        let bad = "x); DROP TABLE mine; --";
        let columns = json!([
            {"name": bad, "type": bad, "declared_type": "INTEGER PRIMARY KEY); DROP TABLE mine; --", "nullable": false,
                "default": "(SELECT v FROM mine)", "collation": "x\"; DROP TABLE mine; --", "max_length": -5, "precision": 1u64 << 40},
            {"name": "a\"b'c`d]", "type": "text", "declared_type": "TEXT DEFAULT (load_extension('x'))", "nullable": true,
                "default": "'x'); DROP TABLE mine; --", "generated": true},
            {"name": "", "type": "text", "declared_type": "TEXT", "nullable": true, "default": "'it''s'; DROP TABLE mine"},
            {"name": "select", "type": "text", "declared_type": "ANY", "logical": bad, "nullable": true, "default": "CURRENT_TIMESTAMP"},
        ]);
        let rowferry = json!({
            "rowid_alias": true, "autoincrement": true,
            "unique": [{"columns": ["select", "a\"b'c`d]"], "kind": "full"}, {"columns": [], "kind": "expression"}],
            "indexes": [
                {"name": "i\"; DROP TABLE mine; --", "columns": [{"name": "select", "descending": true}]},
                {"name": "mine", "columns": [{"name": "select"}]}, {"name": "sqlite_autoindex_mine_1", "columns": [{"name": "select"}]},
            ],
            "foreign_keys": [
                {"parent": "mine\"; DROP TABLE mine; --", "columns": ["select"], "parent_columns": ["x"], "on_delete": "CASCADE", "on_update": "CASCADE"},
                {"parent": "rowferry_sessions", "columns": ["select"], "parent_columns": ["uuid"], "on_delete": "CASCADE", "on_update": "CASCADE"},
                {"parent": "sqlite_schema", "columns": ["select"], "parent_columns": ["name"], "on_delete": "CASCADE", "on_update": "CASCADE"},
                {"parent": "words", "columns": ["select"], "parent_columns": ["w"], "on_delete": "CASCADE", "on_update": "CASCADE"},
                {"parent": "looks", "columns": ["select"], "parent_columns": ["v"], "on_delete": "CASCADE", "on_update": "CASCADE"},
                {"parent": "mine", "columns": ["select"], "parent_columns": ["nowhere"], "on_delete": "CASCADE", "on_update": "CASCADE"},
            ],
        });
        let mut tables = three();
        tables[1].name = bad.into();
        tables[1].schema = json!({"table": bad, "primary_key": [bad], "columns": columns, "rowferry": rowferry});
        // Only JSON names the columns in each record.
        let (key, failed) = if kind == Kind::PhoenixKit { (json!("1"), 1) } else { (json!(1), 0) };
        tables[1].records =
            vec![json!({bad: key, "a\"b'c`d]": bad, "": bad, "select": null}), json!({bad: "2", "' OR 1=1; --": 1})];
        tables[1].records.truncate(1 + failed);
        tables[1].count = tables[1].records.len().into();
        let pulled = pull_with(kind, tables, quick(), PullOptions::new(), |_, _| false);
        let evil = pulled.report.table(bad).unwrap();
        assert_eq!(
            (evil.status, evil.outcome.created, evil.outcome.failed),
            (TableStatus::Completed, 1, failed as u64),
            "{evil:?}"
        );
        assert!(evil.created_table && evil.notes.len() >= 9, "{:#?}", evil.notes);
        assert_eq!(
            pulled.here.rows(&format!("SELECT * FROM \"{bad}\"")),
            [format!("{key}|'{bad}'|'{bad}'|NULL").replace('"', "'")]
        );
        pulled.others_arrived();
    }
}

/// Every combination of what a structure may claim is made as a table that takes its record, or refused in words of ours.
#[test]
fn contradictions_in_a_structure() {
    for kind in BOTH {
        let types = ["INTEGER", "INT", "TEXT", "ANY", "", "VARCHAR(3)"];
        let mut tables = Vec::new();
        for bits in 0..64u32 {
            for (at, declared) in types.iter().enumerate() {
                let flag = |bit: u32| bits & (1 << bit) != 0;
                let name = format!("t{bits}_{at}");
                let mut table = schema(&name, &[("id", declared, "any"), ("other", declared, "any")]);
                let key = if flag(4) { json!(["other", "id"]) } else { json!(["id"]) };
                table["primary_key"] = if flag(5) { json!([]) } else { key };
                table["columns"][0]["generated"] = flag(4).into();
                table["columns"][0]["nullable"] = flag(3).into();
                table["rowferry"] = json!({"strict": flag(0), "without_rowid": flag(1), "autoincrement": flag(2), "rowid_alias": flag(3),
                "unique": [{"columns": ["other", "id"], "kind": "full"}]});
                let record = json!({"id": if *declared == "TEXT" { json!("1") } else { json!(1) }, "other": null});
                tables.push(FakeTable { name, count: json!(1), schema: table, records: vec![record] });
            }
        }
        let (names, all) = (tables.clone(), tables.len());
        let pulled = pull_with(kind, tables, quick(), PullOptions::new(), |_, _| false);
        assert_eq!(pulled.report.tables.len(), all);
        for table in names {
            let report = pulled.report.table(&table.name).unwrap();
            assert!(report.error.is_none(), "{}: {report:?}", table.schema);
            assert_eq!(report.outcome.total(), 1);
            assert!(pulled.here.site.get_count(&table.name).unwrap() == report.outcome.created);
        }
    }
}

/// The same of what constraints and indexes may claim.
#[test]
fn contradictions_in_constraints_and_indexes() {
    let kind = Kind::Rowferry;
    let parts = [
        json!([]),
        json!([{"name": "ID"}]),
        json!([{"name": "id", "collation": "BINARY"}, {"name": "id", "descending": true}]),
        json!([{"name": "other", "collation": "nocase"}, {"name": "id"}, {"name": "OTHER"}]),
        json!([{"name": "other", "collation": "x\"; DROP TABLE mine; --"}]),
    ];
    let mut tables = Vec::new();
    for bits in 0..32u32 {
        for (at, parts) in parts.iter().enumerate() {
            let flag = |bit: u32| bits & (1 << bit) != 0;
            let name = format!("t{bits}_{at}");
            let declared = if flag(0) { "INTEGER" } else { "TEXT" };
            let mut table = schema(&name, &[("id", declared, "any"), ("other", "TEXT", "any")]);
            table["columns"][1]["not_null_on_conflict"] = if flag(1) { json!("replace") } else { json!(null) };
            let clause = |word: &str, bit| if flag(bit) { json!(word) } else { json!(null) };
            let set = |index: Json, word: &str| json!({"columns": ["id"], "kind": "full", "index": index, "parts": parts, "on_conflict": clause(word, 2)});
            table["rowferry"] = json!({
                "rowid_alias": flag(0), "autoincrement": flag(3), "without_rowid": flag(4), "sequence": i64::MIN + i64::from(flag(1)),
                "key_on_conflict": clause("ROLLBACK", 3), "key_collations": if flag(2) { json!(["NOCASE"]) } else { json!([]) },
                "unique": [set(json!(null), "IGNORE"), set(json!(null), "REPLACE"), set(json!("i"), "FAIL"), set(json!("mine"), "FAIL")],
                "indexes": [{"name": format!("i{bits}_{at}"), "columns": [{"name": "id"}], "parts": parts}, {"name": "i", "columns": [{"name": "id"}]}],
                "collated_indexes": [{"name": "sqlite_c", "columns": parts}, {"name": format!("c{bits}_{at}"), "columns": parts}],
                "foreign_keys": [{"parent": name, "columns": ["id", "id"], "parent_columns": ["id", "id"], "on_delete": "CASCADE", "on_update": "CASCADE", "deferred": flag(4)},
                    {"parent": name, "columns": ["other"], "parent_columns": ["id"], "on_delete": "CASCADE", "on_update": "CASCADE", "deferred": flag(4)}],
                "other_indexes": ["; DROP TABLE mine; --"], "unread": flag(1), "user_version": i32::MIN, "application_id": -1,
            });
            let record = json!({"id": if flag(0) { json!(1) } else { json!("1") }, "other": null});
            tables.push(FakeTable { name, count: json!(1), schema: table, records: vec![record] });
        }
    }
    let (names, all) = (tables.clone(), tables.len());
    let pulled = pull_with(kind, tables, quick(), PullOptions::new(), |_, _| false);
    assert_eq!(pulled.report.tables.len(), all);
    for table in names {
        let report = pulled.report.table(&table.name).unwrap();
        if let Some(error) = &report.error {
            // SQLite itself refuses a table whose constraints contradict each other; nothing of it stays.
            assert!(error.message().starts_with("cannot create the table"), "{}: {report:?}", table.schema);
            let left = format!("SELECT name FROM sqlite_schema WHERE tbl_name = '{}'", table.name);
            assert_eq!(pulled.here.rows(&left), [""; 0]);
            continue;
        }
        assert_eq!((report.outcome.total(), report.outcome.created), (1, 1), "{}: {report:?}", table.schema);
    }
    assert_eq!(pulled.here.rows("SELECT user_version FROM pragma_user_version"), ["0"], "the file has tables of its own");
}

#[test]
fn names_that_are_not_theirs_to_use() {
    for kind in BOTH {
        let reserved =
            ["rowferry_settings", "RowFerry_Sessions", "rowferry_new", "sqlite_master", "SQLITE_x", "sqlite_sequence"];
        // What SQLite has under a name without anybody making it, and what one may have that is built otherwise.
        let built_in = [
            "json_each",
            "JSON_Tree",
            "dbstat",
            "bytecode",
            "generate_series",
            "fts5",
            "fts5vocab",
            "pragma_table_list",
            "PRAGMA_foreign_key_list",
            "pragma_",
        ];
        let mut tables = three();
        let names = || reserved.into_iter().chain(built_in);
        tables.extend(names().map(|name| FakeTable::new(name, &["x"])));
        let pulled = pull_with(kind, tables, quick(), PullOptions::new(), |_, _| false);
        for name in names() {
            let error = pulled.report.table(name).unwrap().error.as_ref().unwrap();
            assert_eq!((error.kind(), error.hint().is_some()), (ErrorKind::ReservedName, true), "{name}");
        }
        assert_eq!(pulled.here.rows("SELECT count(*) FROM rowferry_settings"), ["0"]);
        assert_eq!(pulled.here.rows("SELECT value FROM json_each('[7]')"), ["7"]);
        pulled.others_arrived();

        // What is here under the same name and is no ordinary table: a view, a virtual table, its shadow, a shadow to be, an index.
        for name in ["looks", "words", "words_data", "WORDS_content", "bare_content", "mine_v"] {
            let mut tables = three();
            tables.push(FakeTable::new(name, &["x"]));
            let pulled = pull_with(kind, tables, quick(), PullOptions::new(), |_, _| false);
            let report = pulled.report.table(name).unwrap();
            let error = report.error.as_ref().unwrap_or_else(|| panic!("{name}: {report:?}"));
            let expected = match name {
                "words_data" | "WORDS_content" | "bare_content" => ErrorKind::ShadowTable,
                _ => ErrorKind::SchemaMismatch,
            };
            assert_eq!((error.kind(), report.created_table), (expected, false), "{name}: {error}");
            assert!(error.hint().is_some(), "{name}: {error}");
            assert_eq!(pulled.here.rows("SELECT name FROM sqlite_schema WHERE name = 'bare_content'"), [""; 0]);
            pulled.others_arrived();
        }
    }
}

#[test]
fn lists_that_are_none() {
    for kind in BOTH {
        let many: Vec<Json> = (0..200_000).map(|n| json!({"name": format!("t{n}"), "estimated_count": 1})).collect();
        for (tables, expected) in [
            (json!(null), ErrorKind::Protocol),
            (json!({}), ErrorKind::Protocol),
            (json!(["evil"]), ErrorKind::Protocol),
            (json!([{"estimated_count": 1}]), ErrorKind::Protocol),
            (json!([{"name": null}]), ErrorKind::Protocol),
            (json!([{"name": "evil", "estimated_count": "many"}]), ErrorKind::Protocol),
            (json!([{"name": "evil", "estimated_count": 1e30}]), ErrorKind::Protocol),
            (json!([{"name": "evil", "estimated_count": u64::MAX}]), ErrorKind::Protocol),
            (json!([{"name": "x".repeat(2_000)}]), ErrorKind::TooLarge),
            (json!(many), ErrorKind::TooLarge),
        ] {
            let shown: String = tables.to_string().chars().take(100).collect();
            let error = listing(kind, tables).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), expected, "{shown}: {error}");
        }
        let report = listing(kind, json!([])).unwrap();
        assert!(report.tables.is_empty() && !report.is_clean());
        assert_eq!(report.ok().unwrap_err().kind(), ErrorKind::TableNotFound);
    }
}

#[test]
fn lists_with_doubtful_entries() {
    for kind in BOTH {
        let report = listing(
            kind,
            json!([
                {"name": "apples", "estimated_count": 2}, {"name": "apples", "estimated_count": -7}, {"name": "Apples"},
                {"name": "evil", "estimated_count": -1}, {"name": "ghost", "estimated_count": 5}, {"name": "gh\0st"}, {"name": ""},
                {"name": "zebras", "estimated_count": i64::MAX, "more": []},
            ]),
        );
        let report = report.unwrap();
        assert_eq!(report.tables.len(), 7);
        let kind = |name: &str| report.table(name).unwrap().error.as_ref().map(|error| error.kind());
        assert_eq!((kind("apples"), kind("evil")), (None, None));
        // Both are one table here: the first one wins, and its rows do not mix with the other's.
        assert_eq!(kind("Apples"), Some(ErrorKind::SchemaMismatch));
        for name in ["ghost", "gh\0st", ""] {
            assert_eq!(kind(name), Some(ErrorKind::TableNotFound), "{name:?}");
        }
        // Asked again it says two.
        assert_eq!(kind("zebras"), None);
        assert!(report.tables.iter().any(|table| table.name == "zebras" && table.outcome.created == 2));
    }
}

#[test]
fn fewer_records_than_the_sender_insists_on() {
    for kind in BOTH {
        let mut tables = three();
        tables[1].count = json!(i64::MAX);
        let pulled = pull_with(kind, tables, quick(), PullOptions::new(), |_, _| false);
        assert_eq!((pulled.evil().status, pulled.error().kind()), (TableStatus::Incomplete, ErrorKind::Incomplete));
        assert_eq!(pulled.here.rows("SELECT count(*) FROM evil"), ["2"]);
        pulled.others_arrived();
        for count in [json!(-1), json!("2"), json!(1e30), json!(null)] {
            let mut tables = three();
            tables[1].count = json!(3);
            let pulled = pull_with(kind, tables, quick(), PullOptions::new(), move |ask, peer| {
                let hit = ask.is("count", "evil");
                if hit {
                    peer.answer(ask, "response:count", json!({"count": count}));
                }
                hit
            });
            assert_eq!(pulled.error().kind(), ErrorKind::Protocol);
            pulled.others_arrived();
        }
    }
}

#[test]
fn a_table_that_vanishes_or_changes() {
    for kind in BOTH {
        // What one of rowferry does with records is tested beside the pull.
        let asked: &[&str] = if kind == Kind::PhoenixKit { &["schema", "records"] } else { &["schema"] };
        for what in asked.iter().copied() {
            let pulled = pull(kind, move |ask, peer| {
                let hit = ask.is(what, "evil");
                if hit {
                    let text =
                        if what == "schema" { "Table not found: evil" } else { "Failed to fetch records: :table_not_found" };
                    peer.answer(ask, "response:error", json!({"error": text}));
                }
                hit
            });
            assert_eq!(
                (pulled.evil().status, pulled.error().kind()),
                (TableStatus::Failed, ErrorKind::TableNotFound),
                "{what}"
            );
            pulled.others_arrived();
        }
        if kind == Kind::Rowferry {
            continue;
        }
        let pulled = pull_with(kind, three(), quick(), PullOptions::new().batch_size(1), |ask, peer| {
            let hit = ask.is("records", "evil") && ask.offset == 1;
            if hit {
                peer.page(ask, json!([{"id": 2, "other": "renamed"}]), false);
            }
            hit
        });
        assert_eq!((pulled.evil().outcome.created, pulled.evil().outcome.failed), (1, 1));
        pulled.others_arrived();
    }
}

#[test]
fn a_page_that_takes_far_more_memory_than_its_message_fails_alone() {
    let kind = Kind::PhoenixKit;
    let columns: Vec<(String, &str, &str)> = (0..2_000).map(|n| (format!("c{n}"), "TEXT", "text")).collect();
    let columns: Vec<(&str, &str, &str)> = columns.iter().map(|(name, a, b)| (name.as_str(), *a, *b)).collect();
    let mut tables = three();
    tables[1].schema = schema("evil", &columns);
    tables[1].records = vec![json!({}); 500];
    let mut limits = Limits::default();
    limits.wire.message_bytes = 300_000;
    let pulled = pull_with(kind, tables, quick().limits(limits), PullOptions::new(), |_, _| false);
    assert_eq!(pulled.error().kind(), ErrorKind::TooLarge);
    pulled.others_arrived();
}

#[test]
fn the_pull_has_its_own_time_and_can_be_cancelled_wherever_it_waits() {
    for kind in BOTH {
        for what in ["tables", "schema", "records"] {
            for by_time in [true, false] {
                let here = Fixture::new(MINE);
                let token = CancelToken::new();
                let options = PullOptions::new().cancel(token.clone()).timeout(Duration::from_millis(if by_time {
                    300
                } else {
                    60_000
                }));
                let client = connect(
                    kind,
                    three(),
                    quick().request_timeout(Duration::MAX),
                    Arc::new(move |ask, _| {
                        if ask.what == what && !by_time {
                            token.cancel();
                        }
                        ask.what == what
                    }),
                );
                let began = Instant::now();
                let error = match client.pull(&here.site, options) {
                    Ok(report) => {
                        assert_eq!(report.cancelled, !by_time, "{what}");
                        report.ok().unwrap_err()
                    }
                    Err(error) => error,
                };
                assert_eq!(error.kind(), if by_time { ErrorKind::Timeout } else { ErrorKind::Cancelled }, "{what}: {error}");
                assert!(!by_time || error.message().contains("0.3 s that the whole pull may take"), "{error}");
                assert!(began.elapsed() < Duration::from_secs(20), "{what}");
            }
        }
        let here = Fixture::new(MINE);
        let client = connect(kind, three(), quick(), Arc::new(|_, _| false));
        assert!(client.pull(&here.site, PullOptions::new().timeout(Duration::MAX)).unwrap().is_clean());
    }
}
