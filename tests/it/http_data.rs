//! The calls about tables and records, over real sockets, with the requests that PhoenixKit was recorded with.

use std::io::Write;

use crate::support::http_common::{served, served_with};
use rowferry::ApprovalMode;
use serde_json::{Value, json};

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn refused(text: &str) -> Value {
    json!({"error": text, "success": false})
}

fn ids(records: &Value) -> Vec<i64> {
    records.as_array().unwrap().iter().map(|record| record["id"].as_i64().unwrap()).collect()
}

#[test]
fn tables_are_listed_with_what_they_hold() {
    let served = served();
    let puller = served.puller(|_| {});
    let (status, body) = served.data("list-tables", &puller, json!({}));
    assert_eq!((status, &body["success"]), (200, &json!(true)));
    let tables = body["tables"].as_array().unwrap();
    let names: Vec<_> = tables.iter().map(|table| table["name"].as_str().unwrap()).collect();
    let expected = ["MixedCase", "empty_table", "many", "memberships", "no_pk", "odd-name", "posts", "users"];
    assert_eq!(names, expected);
    let of = |name: &str| tables.iter().find(|table| table["name"] == name).unwrap();
    assert_eq!(
        of("empty_table"),
        &json!({"checksum": "empty", "depends_on": [], "name": "empty_table", "row_count": 0, "size_bytes": 0})
    );
    assert_eq!((&of("posts")["depends_on"], &of("posts")["row_count"]), (&json!(["users"]), &json!(2)));
    assert!(of("many")["size_bytes"].as_u64().unwrap() > 2500 * 8);
    let checksum = of("many")["checksum"].as_str().unwrap().to_owned();
    assert_eq!(checksum.len(), 32);
    let again = served.data("list-tables", &puller, json!({})).1;
    assert_eq!(again, body, "stable");
    let sqlite = rusqlite::Connection::open(served.folder.path().join("shop.db")).unwrap();
    sqlite.execute("UPDATE many SET v = 'x' WHERE id = 7", []).unwrap();
    let changed = served.data("list-tables", &puller, json!({})).1;
    assert_ne!(changed["tables"][2]["checksum"], json!(checksum));
}

#[test]
fn what_a_table_holds_is_told_to_the_connection_alone() {
    let served = served();
    let listed = |url: &str| {
        let puller = served.puller_of(url, |new| new, |_| {});
        let tables = served.data("list-tables", &puller, json!({})).1["tables"].take();
        (puller, tables.as_array().unwrap()[2]["checksum"].as_str().unwrap().to_owned())
    };
    let (puller, one) = listed("http://127.0.0.1:9/a");
    let (other, another) = listed("http://127.0.0.1:9/b");
    // Without the token nobody can guess what is in the table; with it, a peer learns whether its own table is the same.
    let plain = served.site.table_checksum("many").unwrap().to_string();
    assert!(one != another && one != plain && another != plain);
    assert_eq!(served.site.table_checksum_for("many", &puller.token).unwrap(), one);
    assert_eq!(served.site.table_checksum_for("many", &other.token).unwrap(), another);
    assert_eq!(served.site.table_checksum_for("empty_table", &puller.token).unwrap(), "empty");
}

#[test]
fn a_list_tells_nothing_of_tables_that_must_be_approved() {
    let served = served();
    let puller = served.puller(|policy| {
        policy.approval_mode = ApprovalMode::PerTable;
        policy.auto_approve_tables = vec!["memberships".into()];
    });
    let tables = served.data("list-tables", &puller, json!({})).1["tables"].take();
    let of = |name: &str| tables.as_array().unwrap().iter().find(|table| table["name"] == name).unwrap().clone();
    for (name, rows, depends_on) in
        [("many", 2500, json!([])), ("posts", 2, json!(["users"])), ("empty_table", 0, json!([]))]
    {
        let guarded = json!({"checksum": null, "depends_on": depends_on, "name": name, "row_count": rows, "size_bytes": 0});
        assert_eq!(of(name), guarded, "the count says for how much approval is asked");
    }
    assert!(of("memberships")["checksum"].is_string() && of("memberships")["size_bytes"] != 0);
    // No other call tells more before the approval.
    let call = |fields: Value| served.data("table-records", &puller, fields);
    for more in
        [json!({}), json!({"limit": 1}), json!({"ids": [1]}), json!({"id_start": 1, "id_end": 2}), json!({"offset": 5})]
    {
        let mut fields = more.clone();
        fields["table_name"] = "many".into();
        assert_eq!(call(fields).1["code"], "approval_required", "{more}");
    }
    assert_eq!(call(json!({"table_name": "many", "limit": 0})).1, json!({"success": true, "records": []}));
    let mut channel = served.channel(&puller, true);
    assert!(channel.page("many", 0, 10).unwrap_err().contains("Approval required"));
}

#[test]
fn a_connection_sees_only_its_tables() {
    let served = served();
    let list = |puller: &crate::support::http_common::Puller| {
        let (_, body) = served.data("list-tables", puller, json!({}));
        let name = |table: &Value| table["name"].as_str().unwrap().to_owned();
        (body["tables"].as_array().unwrap().iter().map(name).collect::<Vec<_>>(), body["tables"][0]["depends_on"].clone())
    };
    let some = served.puller(|policy| policy.allowed_tables = vec!["POSTS".into(), "many".into(), "ghost".into()]);
    assert_eq!(list(&some).0, ["many", "posts"]);
    let fewer = served.puller_of(
        "http://127.0.0.1:9/b",
        |new| new,
        |policy| {
            policy.allowed_tables = vec!["posts".into(), "users".into()];
            policy.excluded_tables = vec!["Users".into()];
        },
    );
    // What it may not see is not named as a parent either.
    assert_eq!(list(&fewer), (vec!["posts".to_owned()], json!([])));
    for call in ["pull-data", "table-schema", "table-records"] {
        let ask = |puller, table: &str| served.data(call, puller, json!({"table_name": table}));
        let denied = (403, refused("This connection is not authorised to access that table"));
        assert_eq!(ask(&some, "users"), denied, "{call}");
        assert_eq!(ask(&some, "nothing"), denied, "whether it exists or not: {call}");
        let not_found = (404, refused("Table not found"));
        for table in ["users", "USERS"] {
            assert_eq!(ask(&fewer, table), not_found, "{call}");
        }
        assert_eq!(ask(&some, "ghost"), not_found, "{call}");
        assert_eq!(ask(&some, "Many").0, 200, "{call}");
    }
}

#[test]
fn what_does_not_exist_for_peers_is_not_found() {
    let served = served();
    let puller = served.puller(|_| {});
    for call in ["pull-data", "table-schema", "table-records"] {
        for table in
            ["ghost", "a_view", "hidden", "rowferry_connections", "sqlite_schema", "users; drop table users", "\"users\""]
        {
            let answer = served.data(call, &puller, json!({"table_name": table}));
            assert_eq!(answer, (404, refused("Table not found")), "{call} {table}");
        }
        let number = served.data(call, &puller, json!({"table_name": 5}));
        assert_eq!(number, (404, refused("Table not found")), "{call}");
    }
    assert_eq!(served.history(), Vec::<String>::new(), "nothing was pulled, nothing is counted");
}

#[test]
fn who_is_not_let_in_is_told_so() {
    let served = served();
    let puller = served.puller(|_| {});
    for call in ["list-tables", "pull-data", "table-schema", "table-records"] {
        let ask = |hash: &str| served.call(call, &json!({"auth_token_hash": hash, "table_name": "users"}));
        for hash in [ZEROS, puller.token.as_str(), puller.hash.to_uppercase().as_str(), "x"] {
            assert_eq!(ask(hash), (401, refused("Invalid connection").to_string()), "{call}");
        }
        served.site.connections().suspend(puller.connection.uuid, None).unwrap();
        assert_eq!(ask(&puller.hash), (403, refused("Connection is not active").to_string()), "{call}");
        served.site.connections().reactivate(puller.connection.uuid).unwrap();
    }
    let missing = |call: &str, body: Value| served.call(call, &body).1;
    assert_eq!(
        missing("list-tables", json!([1])),
        r#"{"error":"Missing required fields","fields":["auth_token_hash"],"success":false}"#
    );
    assert_eq!(
        missing("pull-data", json!({"auth_token_hash": "x", "table_name": ""})),
        r#"{"error":"Missing required fields","fields":["table_name"],"success":false}"#
    );
    for call in ["table-schema", "table-records"] {
        let text = r#"{"error":"Missing required fields: auth_token_hash, table_name","success":false}"#;
        assert_eq!(missing(call, json!({})), text);
    }
}

#[test]
fn a_pull_gives_records_in_key_order_as_the_reference_takes_them() {
    let served = served();
    let puller = served.puller(|_| {});
    let pull = |table: &str| {
        let body = json!({"auth_token_hash": puller.hash, "conflict_strategy": "skip", "table_name": table});
        served.call("pull-data", &body)
    };
    assert_eq!(pull("empty_table"), (200, r#"{"data":[],"success":true,"table":"empty_table"}"#.into()));
    assert_eq!(
        pull("memberships"),
        (200, r#"{"data":[{"org":"acme","member":1,"role":"owner","since":"2020-01-01"},{"org":"acme","member":2,"role":"member","since":null},{"org":"zeta","member":1,"role":"member","since":"2021-06-01"}],"success":true,"table":"memberships"}"#.into())
    );
    let users: Value = serde_json::from_str(&pull("users").1).unwrap();
    let user = &users["data"][0];
    // A uuid is 16 bytes over HTTP, however it is stored; numerics with a point are strings, blobs binary objects.
    assert_eq!(user["uuid"], json!({"__phoenix_kit_binary__": "my8cPnpNTFWOIQ86a3yNng=="}));
    assert_eq!(users["data"][1]["uuid"], json!({"__phoenix_kit_binary__": "QUJDREVGR0hJSktMTU5PUA=="}));
    assert_eq!((&user["active"], &user["avatar"]), (&json!(true), &json!({"__phoenix_kit_binary__": "//4="})));
    assert!(pull("posts").1.contains(r#""id":9007199254740993,"#), "integers are exact");
    let many: Value = serde_json::from_str(&pull("many").1).unwrap();
    assert_eq!(ids(&many["data"]), (1..=2500).collect::<Vec<_>>());
    assert_eq!(pull("no_pk").0, 200);
    assert_eq!(pull("MixedCase").0, 200);
    assert_eq!(
        served.history(),
        [
            "empty_table completed 0",
            "memberships completed 3",
            "users completed 2",
            "posts completed 2",
            "many completed 2500",
            "no_pk completed 2",
            "MixedCase completed 0",
        ]
    );
    let transfer = served.site.transfers().recent(7).unwrap().pop().unwrap();
    assert_eq!(transfer.requester_user_agent.as_deref(), Some("PhoenixKit-Sync/1.0"));
    assert_eq!((transfer.requester_ip.as_deref(), transfer.connection), (Some("127.0.0.1"), Some(puller.connection.uuid)));
    assert_eq!(transfer.conflict_strategy, Some(rowferry::Strategy::Skip));
    let connection = served.connection(&puller);
    assert_eq!((connection.downloads_used, connection.records_downloaded), (7, 2509));
    assert_eq!((connection.total_transfers, connection.total_records_transferred), (7, 2509));
    assert!(connection.last_connected_at.is_some());
}

#[test]
fn long_answers_come_in_chunks_and_short_ones_with_their_length() {
    let served = served_with(|limits| limits.wire.page_bytes = 1_000);
    let puller = served.puller(|_| {});
    let pull = |table: &str| {
        let body = json!({"auth_token_hash": puller.hash, "table_name": table});
        served.post("/db-sync/api/pull-data/", body.to_string().as_bytes(), "")
    };
    let many = pull("many");
    assert_eq!(many.headers["transfer-encoding"], "chunked");
    let data: Value = serde_json::from_str(&many.body).unwrap();
    assert_eq!(ids(&data["data"]), (1..=2500).collect::<Vec<_>>());
    assert!(pull("memberships").headers.contains_key("content-length"));
    // HTTP/1.0 knows no chunks: the answer ends with the connection.
    let body = json!({"auth_token_hash": puller.hash, "table_name": "many"}).to_string();
    let request = format!(
        "POST /sync/api/pull-data HTTP/1.0\r\ncontent-type: application/json\r\nconnection: keep-alive\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = crate::support::http_common::connect(served.server.local_addr());
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut all = String::new();
    std::io::Read::read_to_string(&mut stream, &mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("connection: close") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(ids(&serde_json::from_str::<Value>(body).unwrap()["data"]).len(), 2500);
}

#[test]
fn a_pull_is_cut_at_the_most_records_of_an_answer_and_says_so_if_asked() {
    let served = served();
    let puller = served.puller(|policy| policy.max_records_per_request = 2);
    let (_, plain) = served.data("pull-data", &puller, json!({"table_name": "memberships"}));
    assert_eq!((plain["data"].as_array().unwrap().len(), plain.get("has_more")), (2, None));
    let (_, marked) = served.data("pull-data", &puller, json!({"table_name": "memberships", "mark_cut": true}));
    assert_eq!(marked["has_more"], json!(true));
    let (_, whole) = served.data("pull-data", &puller, json!({"table_name": "no_pk", "mark_cut": true}));
    assert_eq!(whole["has_more"], json!(false));
    assert_eq!(served.history(), ["memberships failed 2", "memberships failed 2", "no_pk completed 2"]);
}

#[test]
fn a_receiver_that_goes_away_ends_its_pull() {
    let served = served_with(|limits| {
        (limits.wire.page_bytes, limits.server.write_time) = (1_000, std::time::Duration::from_millis(50))
    });
    let puller = served.puller(|policy| policy.max_records_total = Some(1_000_000));
    // More than fits into the buffers of both sockets.
    let sqlite = rusqlite::Connection::open(served.folder.path().join("shop.db")).unwrap();
    let fill = "CREATE TABLE large (id INTEGER PRIMARY KEY, v TEXT);
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
                INSERT INTO large SELECT i, hex(zeroblob(2000)) FROM n;";
    sqlite.execute_batch(fill).unwrap();
    let body = json!({"auth_token_hash": puller.hash, "table_name": "large"}).to_string();
    let request = format!(
        "POST /sync/api/pull-data HTTP/1.1\r\nHost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = crate::support::http_common::connect(served.server.local_addr());
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    std::io::Read::read_exact(&mut stream, &mut [0; 100]).unwrap();
    drop(stream);
    let ended = || served.history().first().is_some_and(|line| line.starts_with("large failed"));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !ended() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let transfer = served.site.transfers().recent(1).unwrap().remove(0);
    assert_eq!(transfer.error_message.as_deref(), Some("the receiver ended before the last page"));
    // What was set aside and not sent is there again.
    assert_eq!(served.connection(&puller).records_downloaded, transfer.counters.records_transferred);
}

#[test]
fn schemas_are_as_postgres_describes_them() {
    let served = served();
    let puller = served.puller(|_| {});
    let (status, body) = served.data("table-schema", &puller, json!({"table_name": "posts"}));
    let column = |name: &str, data_type: &str, nullable: &str, default: Value| {
        json!({"character_maximum_length": null, "column_default": default, "column_name": name, "data_type": data_type,
            "is_nullable": nullable})
    };
    let columns = [
        column("id", "bigint", "NO", Value::Null),
        column("user", "uuid", "YES", Value::Null),
        column("title", "text", "NO", json!("'none'")),
    ];
    assert_eq!((status, body), (200, json!({"schema": {"columns": columns, "table_name": "posts"}, "success": true})));
    let types: Vec<Value> = served.data("table-schema", &puller, json!({"table_name": "USERS"})).1["schema"]["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["data_type"].clone())
        .collect();
    assert_eq!(types, ["uuid", "text", "boolean", "numeric", "bytea"]);
}

#[test]
fn some_records_as_the_reference_gives_them() {
    let served = served();
    let puller = served.puller(|policy| policy.rate_limit_requests_per_minute = 1000);
    let ask = |mut fields: Value| {
        fields["table_name"] = json!("many");
        let (status, body) = served.data("table-records", &puller, fields);
        assert_eq!(status, 200, "{body}");
        ids(&body["records"])
    };
    let first = |count: i64| (1..=count).collect::<Vec<_>>();
    assert_eq!(ask(json!({})), first(10));
    assert_eq!(ask(json!({"limit": 3, "offset": 5})), [6, 7, 8]);
    assert_eq!(ask(json!({"limit": 1000})), first(100));
    assert_eq!(ask(json!({"limit": "2", "offset": "1"})), [2, 3]);
    for odd in [json!("abc"), json!(2.5), Value::Null, json!([]), json!("")] {
        assert_eq!(ask(json!({"limit": odd})), first(10));
    }
    // Nothing is an answer, too, before a look, within one, and whatever is asked for.
    for more in [json!({}), json!({"offset": 13}), json!({"offset": 99999}), json!({"ids": [3]}), json!({"id_start": 5})] {
        let mut fields = more;
        for limit in [json!(0), json!("0")] {
            fields["limit"] = limit;
            assert_eq!(ask(fields.clone()), first(0), "{fields}");
        }
    }
    assert_eq!(served.data("table-records", &puller, json!({"table_name": "nowhere", "limit": 0})).0, 404);
    assert_eq!(ask(json!({"offset": 2499})), [2500]);
    assert_eq!(ask(json!({"offset": 99999})), first(0));
    assert_eq!(ask(json!({"ids": [3, 1]})), [1, 3]);
    assert_eq!(ask(json!({"ids": ["3"]})), [3], "500 in PhoenixKit");
    assert_eq!(ask(json!({"ids": []})), first(10));
    assert_eq!(ask(json!({"ids": 3})), first(10));
    assert_eq!(ask(json!({"id_start": 5, "id_end": 7})), [5, 6, 7]);
    assert_eq!(ask(json!({"id_start": "2499"})), [2499, 2500]);
    assert_eq!(ask(json!({"id_end": 2})), [1, 2]);
    assert_eq!(ask(json!({"ids": [1], "id_start": 5, "id_end": 7})), [1]);
    assert_eq!(ask(json!({"id_start": 5, "id_end": 7, "offset": 1, "limit": 1})), [6]);
    let negative = |fields| served.data("table-records", &puller, fields);
    for fields in [json!({"table_name": "many", "limit": -1}), json!({"table_name": "many", "offset": "-1"})] {
        assert_eq!(negative(fields).0, 400);
    }
}

#[test]
fn ids_of_keys_that_are_no_numbers() {
    let served = served();
    let puller = served.puller(|_| {});
    let ask = |table: &str, ids: Value| served.data("table-records", &puller, json!({"table_name": table, "ids": ids}));
    let emails = |answer: (u16, Value)| {
        let email = |record: &Value| record["email"].as_str().unwrap().to_owned();
        answer.1["records"].as_array().unwrap().iter().map(email).collect::<Vec<_>>()
    };
    assert_eq!(emails(ask("users", json!(["9b2f1c3e-7a4d-4c55-8e21-0f3a6b7c8d9e"]))), ["a@example.com"]);
    assert_eq!(emails(ask("users", json!(["ABCDEFGHIJKLMNOP"]))), ["b@example.com"]);
    assert_eq!(emails(ask("users", json!([{"__phoenix_kit_binary__": "my8cPnpNTFWOIQ86a3yNng=="}]))), ["a@example.com"]);
    assert_eq!(emails(ask("users", json!(["nobody", 5]))), Vec::<String>::new());
    for table in ["memberships", "no_pk"] {
        let (status, body) = ask(table, json!(["acme"]));
        assert_eq!((status, &body["code"]), (400, &json!("invalid_input")));
        assert!(body["error"].as_str().unwrap().contains("not one column"), "{body}");
    }
    for bad in [json!([[1]]), json!([{"a": 1}]), json!([null]), json!([true]), json!(vec![1; 1001])] {
        assert_eq!(ask("many", bad).0, 400);
    }
}

#[test]
fn bodies_are_json_and_never_too_large() {
    let served = served();
    let puller = served.puller(|_| {});
    let good = json!({"auth_token_hash": puller.hash, "table_name": "no_pk"}).to_string();
    for (kind, status) in [
        ("content-type: application/json\r\n", 200),
        ("content-type: application/json; charset=utf-8\r\n", 200),
        ("content-type: text/plain\r\n", 415),
        ("content-type: application/x-www-form-urlencoded\r\n", 415),
        ("", 415),
    ] {
        let head =
            format!("POST /sync/api/table-schema HTTP/1.1\r\nHost: a\r\n{kind}content-length: {}\r\n\r\n{good}", good.len());
        let answer = crate::support::http_common::ask(served.server.local_addr(), head.as_bytes());
        assert_eq!(answer.status, status, "{kind}");
        assert_eq!(answer.body.contains(r#""code":"not_json""#), status == 415, "{}", answer.body);
    }
    let bad = |body: &[u8]| served.post("/sync/api/table-schema", body, "").status;
    let twice = good.replacen('{', r#"{"table_name":"many","#, 1);
    let deep = format!(r#"{{"auth_token_hash":"x","table_name":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    for body in [b"{nope".as_slice(), b"\xff\xfe", b"{\"a\":1}}", b"[1", twice.as_bytes(), deep.as_bytes()] {
        assert_eq!(bad(body), 400);
    }
    let long = json!({"auth_token_hash": puller.hash, "table_name": "x".repeat(2000)}).to_string();
    assert_eq!(bad(long.as_bytes()), 400);
    assert_eq!((bad(&[b' '; 64 << 10]), bad(&[b' '; (64 << 10) + 1])), (400, 413));
    // The same without the server around it.
    let ask = |path: &str, bytes: usize| {
        let request = http::Request::post(path).header("content-type", "application/json").body(vec![b' '; bytes]).unwrap();
        served.site.handler().handle(&request, None).status().as_u16()
    };
    assert_eq!(ask("/sync/api/table-schema", (64 << 10) + 1), 413);
    assert_eq!((ask("/sync/api/table-records", 1 << 20), ask("/sync/api/table-records", (1 << 20) + 1)), (400, 413));
}

#[test]
fn a_large_body_is_read_of_a_known_peer_only() {
    let served = served_with(|limits| limits.server.large_bodies_bytes = 400_000);
    let puller = served.puller(|_| {});
    let ids: Vec<String> = (0..900).map(|n| format!("{n}{}", "x".repeat(300))).collect();
    let ask = |hash: &str| json!({"auth_token_hash": hash, "ids": ids, "limit": 1, "table_name": "users"}).to_string();
    let good = ask(&puller.hash);
    assert!((200_000..400_000).contains(&good.len()));
    assert_eq!(served.post("/sync/api/table-records", good.as_bytes(), "").status, 200);
    let head = |length: &str| {
        format!("POST /sync/api/table-records HTTP/1.1\r\nHost: a\r\ncontent-type: application/json\r\n{length}\r\n\r\n")
    };
    // Most of the body never comes: the answer does not wait for it.
    let begin = |body: &str, length: &str| {
        let request = [&head(length), &body[..5_000]].concat();
        crate::support::http_common::ask(served.server.local_addr(), request.as_bytes())
    };
    let length = format!("content-length: {}", good.len());
    let wrong = begin(&ask(&"0".repeat(64)), &length);
    assert_eq!((wrong.status, wrong.body.contains("Invalid connection")), (401, true), "{}", wrong.body);
    assert_eq!(served.refusals(), ["invalid_token"]);
    let late = format!(r#"{{"a":"{}",{}"#, "x".repeat(4_000), &good[1..]);
    assert_eq!(begin(&late, &format!("content-length: {}", late.len())).status, 413, "it does not say whose it is");
    // In chunks as well, where the length is not known before.
    let wrong = ask(&"0".repeat(64));
    let chunked = format!("{}{:x}\r\n{wrong}\r\n", head("transfer-encoding: chunked"), wrong.len());
    assert_eq!(crate::support::http_common::ask(served.server.local_addr(), chunked.as_bytes()).status, 401);
    let first = {
        let mut stream = std::net::TcpStream::connect(served.server.local_addr()).unwrap();
        stream.write_all([&head(&length), &good[..good.len() - 1]].concat().as_bytes()).unwrap();
        stream
    };
    // The other one has the memory as soon as its beginning was read.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let refused = loop {
        let answer = served.post("/sync/api/table-records", good.as_bytes(), "");
        if answer.status != 200 || std::time::Instant::now() > until {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (503, "5"));
    drop(first);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while served.post("/sync/api/table-records", good.as_bytes(), "").status != 200 {
        assert!(std::time::Instant::now() < until, "the memory is given back");
    }
}

#[test]
fn what_web_pages_ask_is_refused_and_answers_are_for_nobody_else() {
    let served = served();
    let puller = served.puller(|_| {});
    let body = json!({"auth_token_hash": puller.hash}).to_string();
    for header in ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let answers = [
            served.post("/sync/api/list-tables", body.as_bytes(), header),
            served.get("/sync/api/status", header),
            served.get("/nope", header),
        ];
        for answer in answers {
            let refusal = r#"{"code":"cross_site","error":"Web pages may not ask here","success":false}"#;
            assert_eq!((answer.status, answer.body.as_str()), (403, refusal), "{header}");
        }
        let session = served.site.sessions().create(rowferry::Direction::Send).unwrap();
        let query = format!("code={}", session.code());
        let refused = served.upgrade(&query, header).unwrap_err();
        assert!(refused.0 == 403 && refused.1.contains("cross_site"), "{refused:?}");
        assert!(served.upgrade(&query, "Sec-Fetch-Site: none\r\n").is_ok(), "the code is still good");
    }
    assert!(served.refusals().is_empty());
    let session = served.site.sessions().create(rowferry::Direction::Send).unwrap();
    let upgrade = concat!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (answer, status) in [
        (served.post("/sync/api/list-tables", body.as_bytes(), ""), 200),
        (served.post("/sync/api/list-tables", b"{}", ""), 400),
        (served.get("/sync/api/status", ""), 200),
        (served.get("/nope", ""), 404),
        (served.get("/sync/websocket", ""), 400),
        (served.get("/sync/websocket", upgrade), 403),
        (served.get(&format!("/sync/websocket?code={}", session.code()), upgrade), 101),
        (served.get("/sync/api/status", "Content-Length: x\r\n"), 400),
    ] {
        assert_eq!(answer.status, status);
        let head = |name: &str| answer.headers.get(name).map(String::as_str);
        assert_eq!((head("x-content-type-options"), head("cache-control")), (Some("nosniff"), Some("no-store")), "{status}");
    }
}
