//! What a connection allows over HTTP: every limit, each refusal, and that they cannot be got around.

use std::time::Duration;

use crate::support::http_common::{Puller, Served, served, served_by, served_with};
use rowferry::{AllowedHours, ApprovalMode, EventFilter, EventKind, Handler, Policy};
use serde_json::{Value, json};
use time::macros::datetime;

fn pull(served: &Served, puller: &Puller, table: &str) -> (u16, Value) {
    served.data("pull-data", puller, json!({"table_name": table}))
}

fn json_request(path: &str, body: Vec<u8>) -> http::Request<Vec<u8>> {
    http::Request::post(path).header("content-type", "application/json").body(body).unwrap()
}

/// The status and the reason's code of a refusal.
fn code(answer: (u16, Value)) -> (u16, String) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn dates_downloads_and_records_end() {
    let served = served();
    let puller = |policy: fn(&mut Policy)| {
        let url = format!("http://127.0.0.1:9/{}", uuid::Uuid::new_v4());
        served.puller_of(&url, |new| new, policy)
    };
    let dated = puller(|policy| policy.expires_at = Some(datetime!(2026-01-02 03:05:05 UTC)));
    assert_eq!(pull(&served, &dated, "many").0, 200);
    served.clock.advance(Duration::from_secs(60));
    for call in ["list-tables", "pull-data", "table-schema", "table-records"] {
        let answer = served.data(call, &dated, json!({"table_name": "many"}));
        assert_eq!(
            (code(answer.clone()), answer.1["error"].as_str()),
            (is(403, "connection_expired"), Some("Connection expired"))
        );
    }

    let twice = puller(|policy| policy.max_downloads = Some(2));
    assert_eq!((pull(&served, &twice, "many").0, pull(&served, &twice, "no_pk").0), (200, 200));
    let answer = pull(&served, &twice, "many");
    assert_eq!(answer.1["error"], "Download limit reached");
    assert_eq!(code(answer), is(403, "download_limit_reached"));
    assert_eq!(code(served.data("list-tables", &twice, json!({}))), is(403, "download_limit_reached"));
    assert_eq!(served.connection(&twice).downloads_used, 2);

    let few = puller(|policy| policy.max_records_total = Some(4));
    assert_eq!(pull(&served, &few, "memberships").1["data"].as_array().unwrap().len(), 3);
    let (_, cut) = served.data("pull-data", &few, json!({"table_name": "many", "mark_cut": true}));
    assert_eq!((cut["data"].as_array().unwrap().len(), &cut["has_more"]), (1, &json!(true)));
    assert_eq!(code(pull(&served, &few, "many")), is(403, "record_limit_reached"));
    assert_eq!(served.connection(&few).records_downloaded, 4);
    let history = served.history();
    assert_eq!(history[history.len() - 2..], ["memberships completed 3", "many failed 1"], "a cut is no completion");
}

#[test]
fn calls_are_counted_and_pages_are_not() {
    let served = served_with(|limits| limits.server.look_records_per_hour = 0);
    let puller = served.puller(|policy| policy.rate_limit_requests_per_minute = 1);
    // The bucket holds five.
    (0..2).for_each(|_| assert_eq!(served.data("list-tables", &puller, json!({})).0, 200));
    let page =
        |offset: u64| served.data("table-records", &puller, json!({"table_name": "many", "limit": 100, "offset": offset}));
    for offset in (0..2500).step_by(100) {
        assert_eq!(page(offset).0, 200, "the pages of one pull are one call: {offset}");
    }
    assert_eq!((served.data("list-tables", &puller, json!({})).0, pull(&served, &puller, "no_pk").0), (200, 200));
    for call in ["list-tables", "pull-data", "table-schema", "table-records"] {
        let body = json!({"auth_token_hash": puller.hash, "table_name": "many"}).to_string();
        let answer = served.post(&format!("/sync/api/{call}"), body.as_bytes(), "");
        assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (429, "60"), "{call}");
        assert!(answer.body.contains(r#""error":"Too many requests""#), "{}", answer.body);
    }
    served.clock.advance(Duration::from_secs(60));
    assert_eq!(pull(&served, &puller, "no_pk").0, 200);
    assert_eq!(served.history(), ["many completed 2500", "no_pk completed 2", "no_pk completed 2"]);
}

#[test]
fn a_call_for_no_records_is_a_call() {
    let served = served();
    let puller = served.puller(|policy| policy.rate_limit_requests_per_minute = 1);
    let page = |offset: u64, limit: u64| {
        served.data("table-records", &puller, json!({"table_name": "many", "limit": limit, "offset": offset})).0
    };
    // The bucket holds five. The look that they are asked of continues after them.
    assert_eq!((page(0, 10), page(10, 0), page(10, 10), page(20, 0), page(5, 0)), (200, 200, 200, 200, 200));
    assert_eq!((page(20, 10), page(20, 0), page(20, 0)), (200, 200, 429));
    assert_eq!((page(30, 10), served.history()), (200, vec!["many completed 40".to_owned()]));
}

#[test]
fn a_site_that_asks_for_all_tables_at_once_is_no_flood() {
    let served = served();
    let puller = served.puller(|_| {});
    // So many calls a "sync all" of PhoenixKit makes within two seconds.
    for _ in 0..80 {
        assert_eq!(served.data("table-schema", &puller, json!({"table_name": "many"})).0, 200);
    }
}

#[test]
fn another_offset_another_table_and_a_long_pause_are_new_pulls() {
    let served = served_with(|limits| limits.server.look_records_per_hour = 0);
    let puller = served.puller(|policy| policy.max_downloads = Some(4));
    let page = |offset: u64| code(served.data("table-records", &puller, json!({"table_name": "many", "offset": offset})));
    let used = || served.connection(&puller).downloads_used;
    assert_eq!((page(0).0, page(10).0, page(20).0, used()), (200, 200, 200, 1));
    assert_eq!((page(20).0, used()), (200, 2), "again the same page");
    assert_eq!((page(500).0, used()), (200, 3));
    served.clock.advance(Duration::from_secs(301));
    assert_eq!((page(510).0, used()), (200, 4));
    assert_eq!((page(520).0, used()), (200, 4), "one that runs is not ended by the limit that it has used up");
    assert_eq!(page(0), is(403, "download_limit_reached"));
    let states: Vec<String> = served.history();
    assert_eq!(states.iter().filter(|line| line.contains("failed")).count(), 3, "{states:?}");
    let puller = served.puller_of("http://127.0.0.1:9/b", |new| new, |policy| policy.max_downloads = Some(1));
    let ids = |ids: Value| served.data("table-records", &puller, json!({"table_name": "many", "ids": ids})).0;
    assert_eq!((ids(json!([1])), ids(json!([2]))), (200, 403));
}

#[test]
fn a_look_takes_no_download_and_no_approval_but_is_counted_and_bounded() {
    let served = served_with(|limits| limits.server.look_records_per_hour = 25);
    let puller = served.puller(|policy| policy.max_downloads = Some(1));
    let look = |puller: &Puller, table: &str, fields: Value| {
        let mut asked = json!({"table_name": table});
        asked.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        served.data("table-records", puller, asked).0
    };
    let used = |puller: &Puller| (served.connection(puller).downloads_used, served.connection(puller).records_downloaded);
    assert_eq!((look(&puller, "many", json!({})), look(&puller, "many", json!({"ids": [1, 2]}))), (200, 200));
    assert_eq!(used(&puller), (0, 12));
    assert_eq!(served.history(), ["many completed 10", "many completed 2"], "nothing is left open");
    assert_eq!((look(&puller, "many", json!({"offset": 500})), used(&puller)), (200, (0, 22)));
    assert_eq!((look(&puller, "no_pk", json!({})), used(&puller)), (200, (0, 24)), "another table");
    // More than may be looked at is a download, whose records are counted at its end.
    assert_eq!((look(&puller, "many", json!({"offset": 700})), used(&puller)), (200, (1, 24)));
    assert_eq!(look(&puller, "many", json!({})), 403, "there are no more of them");
    let fresh = served.puller_of("http://127.0.0.1:9/f", |new| new, |policy| policy.max_downloads = Some(1));
    assert_eq!((look(&fresh, "many", json!({"limit": 25})), used(&fresh)), (200, (0, 25)));
    served.clock.advance(Duration::from_secs(3_601));
    assert_eq!((look(&fresh, "many", json!({"limit": 25})), used(&fresh)), (200, (0, 50)));

    let url = "http://127.0.0.1:9/a";
    let approved = served.puller_of(url, |new| new, |policy| policy.approval_mode = ApprovalMode::RequireApproval);
    let asked = served.data("table-records", &approved, json!({"table_name": "many"}));
    assert_eq!(code(asked.clone()), is(403, "approval_required"));
    let transfer: uuid::Uuid = asked.1["transfer_uuid"].as_str().unwrap().parse().unwrap();
    served.site.transfers().by("alice").approve(transfer).unwrap();
    assert_eq!((look(&approved, "many", json!({})), look(&approved, "many", json!({}))), (200, 200));
    assert_eq!(served.site.transfers().get(transfer).unwrap().status.as_str(), "approved", "it is still good");
    assert_eq!((pull(&served, &approved, "many").0, used(&approved)), (200, (1, 2_520)));
}

#[test]
fn who_pages_by_offset_takes_one_look_and_loses_no_record_that_moves() {
    let served = served();
    let puller = served.puller(|policy| policy.rate_limit_requests_per_minute = 1);
    let page = |offset: u64, limit: u64| {
        let asked = json!({"table_name": "many", "limit": limit, "offset": offset});
        let (status, answer) = served.data("table-records", &puller, asked);
        assert_eq!(status, 200, "{answer}");
        answer["records"].as_array().unwrap().iter().map(|record| record["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let used = || (served.connection(&puller).downloads_used, served.connection(&puller).records_downloaded);
    let mut seen = page(0, 100);
    let first = seen[0];
    let database = rusqlite::Connection::open(served.folder.path().join("shop.db")).unwrap();
    database.execute("DELETE FROM many WHERE id = ?1", [first]).unwrap();
    assert_eq!(page(100, 0), Vec::<i64>::new(), "nothing is asked for, and the place is kept");
    for offset in (100..1_000).step_by(100) {
        seen.extend(page(offset, 100));
        let history = served.history();
        assert_eq!((history.len(), history[0].clone()), (1, format!("many completed {}", offset + 100)));
    }
    assert_eq!(used(), (0, 1_000), "all of them were looked at");
    let completed = EventFilter::new().kinds([EventKind::TransferCompleted]);
    assert_eq!(served.site.events().list(&completed).unwrap().len(), 1, "it is told once");
    // Beyond that it is a download, which begins in the same place.
    for offset in (1_000..2_500).step_by(100) {
        seen.extend(page(offset, 100));
    }
    assert_eq!(seen, (first..first + 2_500).collect::<Vec<_>>(), "no record is missing and none is there twice");
    assert_eq!(used(), (1, 2_500));
    assert_eq!(served.history(), ["many completed 1000", "many completed 1500"]);
    served.clock.advance(Duration::from_secs(3_601));
    page(0, 100);
    served.clock.advance(Duration::from_secs(301));
    page(100, 100);
    assert_eq!(served.history().len(), 4, "after a long pause it is another look");
}

#[test]
fn looks_push_no_download_out() {
    let served = served_with(|limits| limits.server.look_records_per_hour = 25);
    let puller = served.puller(|_| {});
    let page = |offset: u64, limit: u64| {
        served.data("table-records", &puller, json!({"table_name": "many", "limit": limit, "offset": offset})).0
    };
    assert_eq!(page(0, 30), 200, "more than may be looked at");
    for _ in 0..6 {
        assert_eq!(page(0, 1), 200);
    }
    assert_eq!((page(30, 30), served.connection(&puller).downloads_used), (200, 1), "the same download");
    assert_eq!(served.history()[0], "many in_progress 0");
}

#[test]
fn pauses_of_one_peer_end_none_of_another() {
    let served = served_with(|limits| (limits.server.paused_pulls, limits.server.look_records_per_hour) = (4, 0));
    let (one, other) = (
        served.puller(|policy| policy.max_downloads = Some(1)),
        served.puller_of("http://127.0.0.1:9/b", |new| new, |_| {}),
    );
    let page = |puller: &Puller, table: &str, offset: u64| {
        served.data("table-records", puller, json!({"table_name": table, "limit": 1, "offset": offset})).0
    };
    assert_eq!(page(&one, "many", 0), 200);
    for table in ["many", "memberships", "users", "posts", "no_pk"] {
        assert_eq!(page(&other, table, 0), 200);
    }
    assert_eq!(page(&one, "many", 1), 200, "the same pull");
    served.clock.advance(Duration::from_secs(301));
    assert_eq!(served.data("list-tables", &other, json!({})).0, 200);
    assert!(served.site.transfers().active().unwrap().is_empty(), "any call ends those that are late");
}

#[test]
fn addresses_are_those_that_the_host_trusts() {
    let ask = |handler: &Handler, puller: &Puller, peer: &str, forwarded: Option<&str>| {
        let body = json!({"auth_token_hash": puller.hash}).to_string().into_bytes();
        let request = http::Request::post("/sync/api/list-tables").header("content-type", "application/json");
        let request = forwarded.iter().fold(request, |request, value| request.header("x-forwarded-for", *value));
        handler.handle(&request.body(body).unwrap(), peer.parse().ok()).status().as_u16()
    };
    let served = served();
    let puller = served.puller(|policy| {
        policy.ip_whitelist = ["203.0.113.0/24", "2001:db8::/32"].map(|range| range.parse().unwrap()).to_vec();
        policy.rate_limit_requests_per_minute = 1000;
    });
    let plain = served.site.handler();
    for (peer, status) in [
        ("203.0.113.9", 200),
        ("::ffff:203.0.113.9", 200),
        ("2001:db8::7", 200),
        ("198.51.100.1", 403),
        ("::ffff:198.51.100.1", 403),
        ("nobody knows", 403),
    ] {
        assert_eq!(ask(&plain, &puller, peer, None), status, "{peer}");
    }
    assert_eq!(ask(&plain, &puller, "10.0.0.1", Some("203.0.113.9")), 403, "anyone can write a header");
    let proxied = plain.clone().trust_proxies(["10.0.0.0/8".parse().unwrap()]);
    for (peer, forwarded, status) in [
        ("10.0.0.1", "203.0.113.9", 200),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2", 200),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1", 403),
        ("198.51.100.1", "203.0.113.9", 403),
    ] {
        assert_eq!(ask(&proxied, &puller, peer, Some(forwarded)), status, "{peer} {forwarded}");
    }
    let behind = served_by(|_| {}, |builder| builder.trust_proxies(["127.0.0.1".parse().unwrap()]));
    let puller = behind.puller(|policy| policy.ip_whitelist = vec!["203.0.113.9".parse().unwrap()]);
    let body = json!({"auth_token_hash": puller.hash}).to_string();
    let status = |headers: &str| behind.post("/sync/api/list-tables", body.as_bytes(), headers).status;
    assert_eq!((status("X-Forwarded-For: 203.0.113.9\r\n"), status("")), (200, 403));
}

#[test]
fn hours_may_span_midnight() {
    let served = served();
    let puller = served.puller(|policy| policy.allowed_hours = Some(AllowedHours::new(22, 3).unwrap()));
    let ask = || code(served.data("list-tables", &puller, json!({})));
    assert_eq!(ask().0, 200, "03:04");
    served.clock.advance(Duration::from_secs(56 * 60));
    assert_eq!(ask(), is(403, "outside_allowed_hours"), "04:00");
    served.clock.advance(Duration::from_secs(18 * 3600 - 60));
    assert_eq!(ask().0, 403, "21:59");
    served.clock.advance(Duration::from_secs(60));
    assert_eq!(ask().0, 200, "22:00");
}

#[test]
fn a_password_is_a_field_of_the_body() {
    let served = served_with(|limits| limits.server.password_attempts_per_minute = 2);
    let puller = served.puller_of("http://127.0.0.1:9/b", |new| new.download_password("pw"), |_| {});
    let ask = |password: Value| code(served.data("list-tables", &puller, json!({ "password": password })));
    assert_eq!(ask(Value::Null), is(401, "password_required"));
    assert_eq!(ask(json!("pw")).0, 200);
    for _ in 0..2 {
        assert_eq!(ask(json!("wr0ng")), is(401, "invalid_password"));
    }
    assert_eq!(ask(json!("wr0ng")), is(429, "too_many_attempts"));
    assert_eq!(ask(json!("pw")), is(429, "too_many_attempts"), "nothing is compared");
    let connections = served.site.connections();
    connections.update(puller.connection.uuid, |edit| edit.set_download_password("new")).unwrap();
    assert_eq!(ask(json!("pw")), is(429, "too_many_attempts"), "no longer");
    let refusals = [["password_required", "invalid_password", "invalid_password"], ["too_many_attempts"; 3]].concat();
    assert_eq!(served.refusals(), refusals);
    let stored = std::fs::read(served.folder.path().join("shop.db-wal")).unwrap();
    assert!(!stored.windows(5).any(|window| window == b"wr0ng"));
}

#[test]
fn a_pull_that_needs_approval_waits_for_it() {
    let served = served();
    let puller = served.puller(|policy| {
        policy.approval_mode = ApprovalMode::PerTable;
        policy.auto_approve_tables = vec!["no_pk".into()];
        policy.max_downloads = Some(3);
    });
    assert_eq!(pull(&served, &puller, "no_pk").0, 200);
    let (status, body) = pull(&served, &puller, "many");
    assert_eq!((status, &body["error"], &body["code"]), (403, &json!("Approval required"), &json!("approval_required")));
    let transfer: uuid::Uuid = body["transfer_uuid"].as_str().unwrap().parse().unwrap();
    assert_eq!(pull(&served, &puller, "MANY").1["transfer_uuid"], body["transfer_uuid"], "the same, asked again");
    let waiting = served.site.transfers().get(transfer).unwrap();
    assert_eq!(
        (waiting.status.as_str(), waiting.approval_expires_at),
        ("pending_approval", Some(datetime!(2026-01-03 03:04:05 UTC)))
    );
    assert_eq!(served.connection(&puller).downloads_used, 1, "nothing moved, nothing is counted");
    served.site.transfers().by("alice").approve(transfer).unwrap();
    assert_eq!(pull(&served, &puller, "many").0, 200);
    assert_eq!(served.site.transfers().get(transfer).unwrap().status.as_str(), "completed");
    let (_, again) = pull(&served, &puller, "many");
    assert_ne!(again["transfer_uuid"], body["transfer_uuid"], "an approval is for one pull");

    let second: uuid::Uuid = again["transfer_uuid"].as_str().unwrap().parse().unwrap();
    served.site.transfers().deny(second, Some("not today")).unwrap();
    let denied = pull(&served, &puller, "many");
    assert_eq!(denied.1["error"], "Approval denied: not today");
    assert_eq!(code(denied), is(403, "approval_denied"));
    served.clock.advance(Duration::from_secs(24 * 3600));
    let third = pull(&served, &puller, "many").1;
    assert_ne!(third["transfer_uuid"], again["transfer_uuid"], "a denial holds for as long as an approval could be given");
    served.clock.advance(Duration::from_secs(24 * 3600));
    // Too late: who comes back is told so once, and then asks again.
    let told = pull(&served, &puller, "many").1;
    assert_eq!((&told["code"], &told["transfer_uuid"]), (&json!("approval_expired"), &third["transfer_uuid"]));
    let fourth = pull(&served, &puller, "many").1;
    assert_eq!(fourth["code"], "approval_required");
    assert_ne!(fourth["transfer_uuid"], third["transfer_uuid"]);
    // The same if maintenance was faster.
    served.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(served.site.transfers().expire_pending_approvals().unwrap(), 1);
    let told = pull(&served, &puller, "many").1;
    assert_eq!((&told["code"], &told["transfer_uuid"]), (&json!("approval_expired"), &fourth["transfer_uuid"]));
    let overdue: uuid::Uuid = third["transfer_uuid"].as_str().unwrap().parse().unwrap();
    assert_eq!(served.site.transfers().get(overdue).unwrap().status.as_str(), "expired");
}

#[test]
fn parallel_pulls_cannot_pass_a_limit() {
    let served = served_with(|limits| limits.wire.page_rows = 100);
    let other = served.again();
    let puller = served.puller(|policy| {
        policy.max_downloads = Some(7);
        policy.rate_limit_requests_per_minute = 1000;
    });
    let limited = served.puller_of(
        "http://127.0.0.1:9/b",
        |new| new,
        |policy| {
            policy.max_records_total = Some(3_333);
            policy.rate_limit_requests_per_minute = 1000;
        },
    );
    let handlers = [served.site.handler(), other.handler()];
    let pull = |handler: &Handler, puller: &Puller| {
        let body = json!({"auth_token_hash": puller.hash, "table_name": "many"}).to_string().into_bytes();
        let answer = handler.handle(&json_request("/sync/api/pull-data", body), None);
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_slice(&answer.into_body().into_bytes().unwrap()).unwrap();
        (status, body["data"].as_array().map_or(0, Vec::len))
    };
    let all = |puller: &Puller| {
        std::thread::scope(|threads| {
            let running: Vec<_> = (0..16)
                .map(|n| {
                    threads.spawn({
                        let handler = &handlers[n % 2];
                        move || pull(handler, puller)
                    })
                })
                .collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let answers = all(&puller);
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 7, "{answers:?}");
    assert_eq!(served.connection(&puller).downloads_used, 7);
    let answers = all(&limited);
    let records: usize = answers.iter().map(|(_, records)| records).sum();
    assert_eq!(served.connection(&limited).records_downloaded, records as u64, "{answers:?}");
    assert!(records <= 3_333 && records > 3_000, "{answers:?}");
}

#[test]
fn a_look_at_a_few_records_leaves_the_others() {
    let served = served_with(|limits| limits.server.look_records_per_hour = 0);
    let puller = served.puller(|policy| policy.max_records_total = Some(2_530));
    let page =
        |offset: u64| served.data("table-records", &puller, json!({"table_name": "many", "limit": 10, "offset": offset})).0;
    let used = || served.connection(&puller).records_downloaded;
    assert_eq!((page(0), used()), (200, 10), "no more is taken than what was sent");
    assert_eq!((page(500), used()), (200, 20), "another pull, while the first may still go on");
    let mut channel = served.channel(&puller, true);
    assert_eq!((channel.page("many", 0, 10), used()), (Ok((10, true)), 30));
    assert_eq!((pull(&served, &puller, "many").0, used()), (200, 2_530));
    assert_eq!(channel.page("many", 10, 10), Err("Record limit reached".into()));
    assert_eq!(page(10), 403);
}

#[test]
fn a_connection_that_is_suspended_stops_within_an_answer() {
    let served = served_with(|limits| limits.wire.page_bytes = 1_000);
    let puller = served.puller(|_| {});
    let body = json!({"auth_token_hash": puller.hash, "table_name": "many"}).to_string().into_bytes();
    let answer = served.site.handler().handle(&json_request("/sync/api/pull-data", body), None);
    assert_eq!((answer.status().as_u16(), answer.body().known_length()), (200, None));
    let mut answer = answer.into_body();
    std::io::Read::read_exact(&mut answer, &mut [0; 500]).unwrap();
    served.site.connections().suspend(puller.connection.uuid, None).unwrap();
    let error = answer.into_bytes().unwrap_err();
    assert!(error.to_string().contains("Connection not active"), "{error}");
    let transfer = served.site.transfers().recent(1).unwrap().remove(0);
    assert_eq!((transfer.status.as_str(), transfer.error_message.as_deref()), ("failed", Some("Connection not active")));
    assert_eq!(served.connection(&puller).records_downloaded, transfer.counters.records_transferred);
}

#[test]
fn a_slow_peer_holds_no_snapshot_that_is_spent() {
    let served = served_with(|limits| (limits.wire.page_bytes, limits.store.snapshot_time) = (1_000, Duration::ZERO));
    let puller = served.puller(|_| {});
    let body = json!({"auth_token_hash": puller.hash, "table_name": "many"}).to_string().into_bytes();
    let answer = served.site.handler().handle(&json_request("/sync/api/pull-data", body), None);
    let mut answer = answer.into_body();
    // Of the first page, so that none is read after it.
    std::io::Read::read_exact(&mut answer, &mut [0; 1]).unwrap();
    let database = rusqlite::Connection::open(served.folder.path().join("shop.db")).unwrap();
    database.execute("UPDATE users SET email = 'c@example.com' WHERE balance = '1.50'", []).unwrap();
    let busy: i64 = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0, "the log can be emptied");
    assert!(answer.into_bytes().is_ok());
}

#[test]
fn a_table_that_is_taken_away_stops_within_an_answer() {
    let served = served_with(|limits| limits.wire.page_bytes = 1_000);
    let puller = served.puller(|_| {});
    let body = json!({"auth_token_hash": puller.hash, "table_name": "many"}).to_string().into_bytes();
    let answer = served.site.handler().handle(&json_request("/sync/api/pull-data", body), None);
    let mut answer = answer.into_body();
    std::io::Read::read_exact(&mut answer, &mut [0; 500]).unwrap();
    let exclude = |edit: &mut rowferry::ConnectionEdit| edit.policy.excluded_tables = vec!["many".into()];
    served.site.connections().update(puller.connection.uuid, exclude).unwrap();
    let error = answer.into_bytes().unwrap_err();
    assert!(error.to_string().contains("Table not found"), "{error}");
}

#[test]
fn refusals_are_kept_but_no_storm_of_them() {
    let served = served();
    let puller = served.puller(|policy| policy.allowed_tables = vec!["many".into()]);
    for _ in 0..50 {
        assert_eq!(pull(&served, &puller, "users").0, 403);
        assert_eq!(served.call("list-tables", &json!({"auth_token_hash": "guess"})).0, 401);
    }
    let refusals = served.refusals();
    assert_eq!(refusals.iter().filter(|reason| *reason == "table_not_allowed").count(), 10);
    assert_eq!(refusals.iter().filter(|reason| *reason == "invalid_token").count(), 10);
    let events = served.site.events().list(&rowferry::EventFilter::new().limit(1000)).unwrap();
    let denied = events.iter().find(|event| event.kind == rowferry::EventKind::AccessDenied).unwrap();
    assert_eq!((denied.actor.as_str(), denied.connection), ("peer http://127.0.0.1:9/backup", Some(puller.connection.uuid)));
    assert_eq!((&denied.details["table"], &denied.details["address"]), (&json!("users"), &json!("127.0.0.1")));
}
