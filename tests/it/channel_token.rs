//! Channels by a connection's token: who is let in, what he may see, and what a pull counts for.

use std::time::Duration;

use crate::support::http_common::{Puller, Served, served, served_with};
use rowferry::{
    AllowedHours, ApprovalMode, Auth, Client, ConnectOptions, Direction, ErrorKind, Limits, Policy, PullOptions, Site,
};
use serde_json::{Value, json};
use time::macros::datetime;

fn refusal(served: &Served, query: &str) -> (u16, String) {
    served.upgrade(query, "").err().unwrap_or_else(|| (101, String::new()))
}

#[test]
fn upgrades_are_refused_in_the_references_words() {
    let served = served();
    let mut number = 0;
    let mut puller = |policy: fn(&mut Policy)| {
        number += 1;
        served.puller_of(&format!("http://127.0.0.1:9/{number}"), |new| new, policy)
    };
    let by = |puller: &Puller| refusal(&served, &format!("token={}&vsn=2.0.0", puller.token.as_str()));
    let forbidden = |text: &str| (403, text.to_owned());
    let plain = puller(|_| {});
    assert_eq!((by(&plain).0, by(&plain).0), (101, 101), "a token works again and again");
    assert_eq!(refusal(&served, "token=nope"), forbidden("Invalid token"));
    assert_eq!(refusal(&served, "token="), forbidden("Invalid token"));
    assert_eq!(refusal(&served, &format!("token={}", plain.hash)), forbidden("Invalid token"));
    let session = served.site.sessions().create(Direction::Send).unwrap();
    assert_eq!(refusal(&served, &format!("token=bad&code={}", session.code())), forbidden("Invalid token"));

    let connections = served.site.connections();
    connections.suspend(plain.connection.uuid, None).unwrap();
    assert_eq!(by(&plain), forbidden("Connection not active"));
    connections.revoke(plain.connection.uuid, None).unwrap();
    assert_eq!(by(&plain), forbidden("Connection not active"));
    let pending = served.puller_of("http://127.0.0.1:9/pending", |new| new.pending(), |_| {});
    assert_eq!(by(&pending), forbidden("Connection not active"));
    assert_eq!(
        by(&puller(|policy| policy.expires_at = Some(datetime!(2026-01-02 03:04:05 UTC)))),
        forbidden("Connection expired")
    );
    let used = puller(|policy| (policy.max_downloads, policy.max_records_total) = (Some(1), Some(2)));
    served.channel(&used, false).page("no_pk", 0, 10).unwrap();
    assert_eq!(by(&used), forbidden("Download limit reached"));
    connections.update(used.connection.uuid, |edit| edit.policy.max_downloads = None).unwrap();
    assert_eq!(by(&used), forbidden("Record limit reached"));
    assert_eq!(by(&puller(|policy| policy.ip_whitelist = vec!["192.0.2.1".parse().unwrap()])), forbidden("IP not allowed"));
    let hours = puller(|policy| policy.allowed_hours = Some(AllowedHours::new(4, 5).unwrap()));
    assert_eq!(by(&hours), forbidden("Outside allowed hours"));
    served.site.settings().set_enabled(false).unwrap();
    assert_eq!(by(&hours), forbidden("Module disabled"));
}

#[test]
fn passwords_are_checked_and_guesses_bounded() {
    let served = served_with(|limits| limits.server.password_attempts_per_minute = 2);
    let puller = served.puller_of("http://127.0.0.1:9/b", |new| new.download_password("p w&1"), |_| {});
    let token = puller.token.as_str();
    let by = |password: &str| refusal(&served, &format!("token={token}{password}"));
    let invalid = (403, "Invalid password".to_owned());
    assert_eq!((by(""), by("&password=")), (invalid.clone(), invalid.clone()));
    assert_eq!((by("&password=x"), by("&password=y")), (invalid.clone(), invalid));
    assert_eq!(by("&password=p+w%261"), (429, "Too many attempts".to_owned()));
    let other = served_with(|_| {});
    let puller = other.puller_of("http://127.0.0.1:9/b", |new| new.download_password("p w&1"), |_| {});
    assert_eq!(refusal(&other, &format!("token={}&password=p+w%261", puller.token.as_str())).0, 101);
}

#[test]
fn the_references_conversation_by_token() {
    let served = served();
    let puller = served.puller(|policy| {
        policy.allowed_tables = vec!["many".into(), "plain".into(), "posts".into(), "users".into()];
        policy.excluded_tables = vec!["users".into()];
        policy.max_records_per_request = 2;
    });
    let mut channel = served.channel(&puller, false);
    let own = std::mem::replace(&mut channel.topic, format!("transfer:{}", puller.token.as_str()));
    assert_eq!(channel.say("phx_join", json!({}))[4], json!({"response": {"reason": "code_mismatch"}, "status": "error"}));
    channel.topic = "transfer:conn:01a1fd47-5df5-7ba7-b22c-70a5524cd4c4".into();
    assert_eq!(channel.say("phx_join", json!({}))[4]["response"]["reason"], "code_mismatch");
    channel.topic = "transfer:self".into();
    assert_eq!(channel.say("phx_join", json!({}))[4], json!({"response": {}, "status": "ok"}));
    channel.topic = own;
    assert_eq!(channel.say("phx_join", json!({}))[4], json!({"response": {}, "status": "ok"}));
    assert_eq!(
        channel.ask("tables", json!({})).1["tables"],
        json!([
            {"estimated_count": 2500, "name": "many"}, {"estimated_count": 2, "name": "posts"}
        ])
    );
    for event in ["schema", "count", "records"] {
        let (kind, payload) = channel.ask(event, json!({"table": "memberships"}));
        assert_eq!((kind.as_str(), &payload["error"]), ("error", &json!("Access denied to table: memberships")));
        assert_eq!(payload.as_object().unwrap().len(), 2, "PhoenixKit gets nothing else");
    }
    let error = |answer: (String, Value)| answer.1["error"].as_str().unwrap().to_owned();
    assert_eq!(error(channel.ask("schema", json!({"table": "users"}))), "Table not found: users");
    assert_eq!(error(channel.ask("count", json!({"table": "users"}))), "Failed to get count: :table_not_found");
    assert_eq!(error(channel.ask("records", json!({"table": "Users"}))), "Failed to fetch records: :table_not_found");
    assert_eq!(channel.ask("count", json!({"table": "many"})).1["count"], 2500);
    // Cut to what one answer may have; PhoenixKit's client goes on by the limit that it asked for.
    assert_eq!(
        channel.ask("records", json!({"table": "many", "limit": 100})).1["records"],
        json!([
            {"id": 1, "v": "row 1"}, {"id": 2, "v": "row 2"}
        ])
    );
    assert_eq!(
        channel.ask("records", json!({"table": "many", "limit": 100, "offset": 100})).1["records"],
        json!([
            {"id": 3, "v": "row 3"}, {"id": 4, "v": "row 4"}
        ])
    );
    assert_eq!(served.connection(&puller).downloads_used, 1);
    channel.close();
    assert_eq!(served.history(), ["many failed 4"]);
    assert_eq!(served.connection(&puller).records_downloaded, 4);
}

#[test]
fn foreign_keys_name_no_table_that_may_not_be_seen() {
    let served = served();
    let puller = served.puller(|policy| policy.excluded_tables = vec!["users".into()]);
    let mut channel = served.channel(&puller, true);
    let keys = |channel: &mut crate::support::http_common::Channel| {
        channel.ask("schema", json!({"table": "posts"})).1["schema"]["rowferry"]["foreign_keys"].as_array().unwrap().len()
    };
    assert_eq!(keys(&mut channel), 0);
    // What the owner changes holds at once.
    served.site.connections().update(puller.connection.uuid, |edit| edit.policy.excluded_tables.clear()).unwrap();
    assert_eq!(keys(&mut channel), 1);
}

#[test]
fn a_pull_is_counted_once_and_its_pages_not() {
    let served = served();
    let puller = served.puller(|policy| {
        policy.max_downloads = Some(2);
        policy.max_records_total = Some(1_000_000);
        policy.rate_limit_requests_per_minute = 2;
    });
    let mut channel = served.channel(&puller, true);
    let mut offset = 0;
    while let (count, true) = channel.page("many", offset, 100).unwrap() {
        offset += count as u64;
        assert!(served.connection(&puller).records_downloaded >= offset);
    }
    assert_eq!(channel.page("no_pk", 0, 10), Ok((2, false)));
    assert_eq!(channel.page("no_pk", 0, 10), Err("Download limit reached".into()), "a table that is through is a new pull");
    assert_eq!(channel.ask("count", json!({"table": "many"})).0, "count", "looking takes no download");
    assert_eq!(served.history(), ["many completed 2500", "no_pk completed 2"]);
    let connection = served.connection(&puller);
    assert_eq!((connection.downloads_used, connection.records_downloaded), (2, 2502));
}

#[test]
fn another_offset_is_a_new_pull() {
    let served = served();
    let puller = served.puller(|policy| (policy.max_downloads, policy.rate_limit_requests_per_minute) = (Some(9), 1));
    // Of the five that there may be at once two are left.
    (0..3).for_each(|_| assert_eq!(served.data("list-tables", &puller, json!({})).0, 200));
    let mut channel = served.channel(&puller, true);
    assert_eq!((channel.page("many", 0, 10), channel.page("many", 10, 10)), (Ok((10, true)), Ok((10, true))));
    assert_eq!(channel.page("many", 500, 10), Ok((10, true)));
    let (_, limited) = channel.ask("records", json!({"table": "many", "offset": 30}));
    assert_eq!((&limited["error"], &limited["code"]), (&json!("Too many requests"), &json!("rate_limited")));
    assert_eq!(limited["retry_after"], 60);
    assert_eq!(served.history(), ["many failed 20", "many failed 10"]);
    served.clock.advance(Duration::from_secs(60));
    assert_eq!(channel.page("many", 30, 10), Ok((10, true)));
    assert_eq!(served.connection(&puller).downloads_used, 3);
}

#[test]
fn records_end_where_the_limit_does() {
    let served = served();
    let puller = served.puller(|policy| policy.max_records_total = Some(25));
    let mut channel = served.channel(&puller, true);
    assert_eq!(channel.page("many", 0, 10), Ok((10, true)));
    assert_eq!(channel.page("many", 10, 10), Ok((10, true)));
    assert_eq!(channel.page("many", 20, 10), Ok((5, true)));
    assert_eq!(channel.page("many", 25, 10), Err("Record limit reached".into()));
    assert_eq!(channel.page("no_pk", 0, 10), Err("Record limit reached".into()));
    assert_eq!(served.history(), ["many failed 25"]);
    assert_eq!(served.connection(&puller).records_downloaded, 25);
}

#[test]
fn what_happens_meanwhile_holds_at_the_next_page() {
    let served = served();
    let puller = served.puller(|policy| policy.expires_at = Some(datetime!(2026-01-02 04:00 UTC)));
    let connections = served.site.connections();
    let mut channel = served.channel(&puller, true);
    let next = |channel: &mut crate::support::http_common::Channel| channel.page("many", 0, 10).map(|_| ());
    let offset = 10;
    next(&mut channel).unwrap();
    connections.suspend(puller.connection.uuid, None).unwrap();
    assert_eq!(channel.page("many", offset, 10), Err("Connection not active".into()));
    assert_eq!(channel.ask("tables", json!({})).1["code"], "connection_not_active");
    connections.reactivate(puller.connection.uuid).unwrap();
    next(&mut channel).unwrap();
    served.site.settings().set_enabled(false).unwrap();
    assert_eq!(channel.page("many", offset, 10), Err("Module disabled".into()));
    served.site.settings().set_enabled(true).unwrap();
    next(&mut channel).unwrap();
    let running = served.site.transfers().active().unwrap().remove(0);
    served.site.transfers().cancel(running.uuid, Some("enough")).unwrap();
    assert_eq!(channel.page("many", offset, 10), Err("The transfer was ended by the other site".into()));
    next(&mut channel).unwrap();
    served.clock.advance(Duration::from_secs(3600));
    assert_eq!(channel.page("many", offset, 10), Err("Connection expired".into()));
    connections.delete(puller.connection.uuid).unwrap();
    assert_eq!(channel.ask("count", json!({"table": "many"})).1["error"], "Invalid token");
    let statuses: Vec<String> = served.history();
    assert_eq!(statuses.iter().filter(|line| line.as_str() == "many cancelled 10").count(), 1, "{statuses:?}");
}

#[test]
fn who_may_no_longer_come_in_may_not_stay() {
    let served = served();
    let connections = served.site.connections();
    let puller = served.puller(|_| {});
    let mut channel = served.channel(&puller, true);
    channel.page("many", 0, 10).unwrap();
    connections.regenerate_token(puller.connection.uuid).unwrap();
    assert_eq!(channel.page("many", 10, 10), Err("Invalid token".into()), "the pull that runs");
    assert_eq!(channel.page("no_pk", 0, 10), Err("Invalid token".into()), "a new one");
    assert_eq!(channel.ask("tables", json!({})).1["error"], "Invalid token");
    channel.close();
    assert_eq!(served.history(), ["many failed 10"]);

    let puller = served.puller_of("http://127.0.0.1:9/other", |new| new, |_| {});
    let mut channel = served.channel(&puller, true);
    channel.page("many", 0, 10).unwrap();
    connections.update(puller.connection.uuid, |edit| edit.set_download_password("new")).unwrap();
    assert_eq!(channel.page("many", 10, 10), Err("Invalid token".into()), "he was never asked for the password");

    let session = served.site.sessions().create(Direction::Send).unwrap();
    let socket = served.upgrade(&format!("code={}", session.code()), "").unwrap();
    let mut channel = crate::support::http_common::Channel::joined(socket, &format!("transfer:{}", session.code()));
    channel.page("many", 0, 10).unwrap();
    served.site.sessions().delete(session.uuid()).unwrap();
    assert_eq!(channel.page("many", 10, 10), Err("Invalid code".into()));
}

#[test]
fn pulls_wait_for_approval_and_can_ask_for_all_at_once() {
    let served = served();
    let puller = served.puller(|policy| {
        policy.approval_mode = ApprovalMode::PerTable;
        policy.auto_approve_tables = vec!["no_pk".into()];
        policy.allowed_tables = ["many", "no_pk", "posts", "ghost"].map(String::from).to_vec();
    });
    let transfers = served.site.transfers();
    let mut channel = served.channel(&puller, true);
    let ask = |channel: &mut crate::support::http_common::Channel, tables: Value| {
        let (event, mut payload) = channel.ask("approvals", json!({ "tables": tables }));
        assert_eq!(event, "approvals", "{payload}");
        payload["approvals"].take()
    };
    let of = |approvals: &Value, table: &str| {
        let found = approvals.as_array().unwrap().iter().find(|approval| approval["table"] == table).unwrap().clone();
        (found["status"].as_str().unwrap().to_owned(), found["transfer_uuid"].clone(), found["reason"].clone())
    };
    let tables = json!(["MANY", "no_pk", "posts", "ghost", "users"]);
    let first = ask(&mut channel, tables.clone());
    assert_eq!(of(&first, "no_pk"), ("granted".into(), Value::Null, Value::Null));
    assert_eq!(of(&first, "ghost"), ("denied".into(), Value::Null, json!("Table not found: ghost")));
    assert_eq!(of(&first, "users"), ("denied".into(), Value::Null, json!("Access denied to table: users")));
    let (status, many, _) = of(&first, "MANY");
    assert_eq!(status, "pending");
    assert_eq!(ask(&mut channel, tables.clone()), first, "asked once, told again");
    let refused = channel.ask("records", json!({"table": "many"})).1;
    assert_eq!((&refused["code"], &refused["transfer_uuid"]), (&json!("approval_required"), &many));

    let id = |value: &Value| value.as_str().unwrap().parse::<uuid::Uuid>().unwrap();
    transfers.approve(id(&many)).unwrap();
    let posts = of(&first, "posts").1;
    transfers.deny(id(&posts), Some("private")).unwrap();
    let second = ask(&mut channel, tables);
    assert_eq!(of(&second, "MANY"), ("granted".into(), many.clone(), Value::Null));
    assert_eq!(of(&second, "posts"), ("denied".into(), posts, json!("private")));
    assert_eq!(channel.page("posts", 0, 10), Err("Approval denied: private".into()));
    assert_eq!(channel.page("many", 0, 10), Ok((10, true)));
    assert_eq!(transfers.get(id(&many)).unwrap().status.as_str(), "in_progress");
    assert_eq!(channel.page("many", 10, 10), Ok((10, true)), "one approval is for all pages");
    channel.close();

    let mut channel = served.channel(&puller, true);
    let again = channel.ask("records", json!({"table": "many"})).1["transfer_uuid"].clone();
    assert_ne!(again, many, "used once");
    served.clock.advance(Duration::from_secs(24 * 3600));
    let overdue = channel.ask("records", json!({"table": "many"})).1;
    assert_eq!((&overdue["code"], &overdue["transfer_uuid"]), (&json!("approval_expired"), &again));
    let new = channel.ask("records", json!({"table": "many"})).1;
    assert_eq!(new["code"], "approval_required");
    let reference = served.channel(&puller, false).ask("approvals", json!({"tables": ["many"]}));
    assert_eq!(reference.1["error"], "This is no request");
}

#[test]
fn a_code_counts_for_no_connection_but_for_the_history() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let socket = served.upgrade(&format!("code={}", session.code()), "user-agent: tester\r\n").unwrap();
    let mut channel = crate::support::http_common::Channel::joined(socket, &format!("transfer:{}", session.code()));
    assert_eq!(channel.page("no_pk", 0, 10), Ok((2, false)));
    assert_eq!(channel.page("many", 0, 10), Ok((10, true)));
    assert_eq!(channel.page("many", 10, 5_000), Ok((2490, false)));
    channel.close();
    assert_eq!(served.history(), ["no_pk completed 2", "many completed 2500"]);
    let transfer = served.site.transfers().recent(1).unwrap().remove(0);
    assert_eq!((transfer.session, transfer.connection), (Some(session.uuid()), None));
    assert_eq!(transfer.requester_user_agent.as_deref(), Some("tester"));
    for file in std::fs::read_dir(served.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(8).any(|window| window == session.code().as_bytes()));
    }
}

#[test]
fn a_code_lets_a_bounded_number_of_pulls_begin() {
    let served = served_with(|limits| (limits.server.session_pulls, limits.server.repeated_pulls_per_minute) = (4, 2));
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let socket = served.upgrade(&format!("code={}", session.code()), "").unwrap();
    let mut channel = crate::support::http_common::Channel::joined(socket, &format!("transfer:{}", session.code()));
    let mut begin = |table: &str| channel.page(table, 0, 1).map(|_| ());
    assert_eq!((begin("many"), begin("MANY"), begin("no_pk")), (Ok(()), Ok(()), Ok(())));
    assert_eq!(begin("many"), Err("Too many requests".into()), "twice in a minute is enough");
    served.clock.advance(Duration::from_secs(60));
    assert_eq!((begin("many"), begin("posts")), (Ok(()), Err("Download limit reached".into())));
    assert_eq!(served.history().len(), 4);
}

#[test]
fn nobody_waits_for_a_peer_that_is_slow() {
    let served = served();
    let puller = served.puller(|policy| policy.max_records_total = Some(1_000_000));
    let mut channel = served.channel(&puller, true);
    channel.page("many", 0, 10).unwrap();
    // The peer says nothing now. The site's own writes go on at once: no lock and no transaction is held for it.
    let other = served.again();
    other.settings().set_site_url("https://shop.example").unwrap();
    other.connections().update(puller.connection.uuid, |edit| edit.name = "renamed".into()).unwrap();
    assert_eq!(channel.page("many", 10, 10), Ok((10, true)));
}

#[test]
fn questions_on_a_channel_are_calls_of_the_rate() {
    let served = served();
    let puller = served.puller(|policy| policy.rate_limit_requests_per_minute = 1);
    // The bucket holds five. To PhoenixKit each question is a call.
    let mut channel = served.channel(&puller, false);
    assert_eq!(channel.ask("tables", json!({})).0, "tables");
    for call in ["schema", "count", "schema"] {
        assert_eq!(channel.ask(call, json!({"table": "many"})).0, call);
    }
    assert_eq!(channel.ask("records", json!({"table": "many", "limit": 0})).1["error"], "The limit must be at least 1");
    for (call, payload) in [("tables", json!({})), ("schema", json!({"table": "many"})), ("count", json!({"table": "many"}))]
    {
        assert_eq!(channel.ask(call, payload).1["error"], "Too many requests", "{call}");
    }
    assert_eq!(channel.ask("records", json!({"table": "many", "limit": 0})).1["error"], "Too many requests");
    assert_eq!(channel.ask("capabilities", json!({})).0, "capabilities");
    served.clock.advance(Duration::from_secs(5 * 60));

    // Those of a rowferry peer's pull are one, however many its tables are; those that are asked again are another.
    let mut channel = served.channel(&puller, true);
    let mut round = || {
        let mut answers = vec![channel.ask("tables", json!({})).0];
        for table in ["many", "memberships", "users", "posts"] {
            answers.push(channel.ask("schema", json!({ "table": table })).0);
            answers.push(channel.ask("count", json!({ "table": table })).0);
        }
        answers.iter().all(|answer| answer != "error")
    };
    assert_eq!((0..7).map(|_| round()).collect::<Vec<_>>(), [true, true, true, true, true, false, false]);
    served.clock.advance(Duration::from_secs(5 * 60));
    // What is not there, or in another spelling, is no way round it.
    let mut ask =
        |table: &str| channel.ask("count", json!({ "table": table })).1["code"].as_str().unwrap_or_default().to_owned();
    assert_eq!((0..5).map(|n| ask(&format!("ghost{n}"))).collect::<Vec<_>>(), ["table_not_found"; 5]);
    assert_eq!(ask("ghost"), "rate_limited");
    served.clock.advance(Duration::from_secs(5 * 60));
    assert_eq!(["many", "MANY", "Many", "mANY", "maNY"].map(&mut ask), [""; 5]);
    assert_eq!(ask("manY"), "rate_limited");
}

#[test]
fn questions_are_answered_while_another_program_holds_the_database() {
    let served = served_with(|limits| limits.store.busy_timeout = Duration::from_millis(1));
    let mut channel = served.channel(&served.puller(|_| {}), true);
    let other = rusqlite::Connection::open(served.folder.path().join("shop.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(channel.ask("tables", json!({})).0, "tables");
    assert_eq!(channel.ask("schema", json!({"table": "many"})).0, "schema");
}

#[test]
fn a_site_of_the_reference_that_asks_for_all_tables_on_a_channel_is_no_flood() {
    let served = served();
    let puller = served.puller(|_| {});
    let mut channel = served.channel(&puller, false);
    assert!((0..80).all(|_| channel.ask("schema", json!({"table": "many"})).0 == "schema"));
}

#[test]
fn a_named_pull_is_one_call_with_all_its_questions() {
    let served = served();
    let puller = served.puller(|policy| policy.rate_limit_requests_per_minute = 1);
    let folder = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    limits.pull.rate_wait_time = Duration::ZERO;
    let backup = Site::builder().limits(limits).open(folder.path().join("backup.db")).unwrap();
    let pull = || {
        let client = Client::connect(served.server.url(), Auth::token(puller.token.as_str()), ConnectOptions::default());
        client.unwrap().pull(&backup, PullOptions::new())
    };
    for _ in 0..5 {
        assert!(pull().unwrap().is_clean());
    }
    assert_eq!(pull().unwrap_err().kind(), ErrorKind::RateLimited);
}
