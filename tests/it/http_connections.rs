//! The calls about connections, over real sockets, with the requests that PhoenixKit's notifier sends.

use crate::support::http_common::{hash, served, served_by, served_with};
use rowferry::{
    ApprovalMode, ConnectionDirection, ConnectionStatus, EventFilter, EventKind, IncomingMode, NewConnection, Token,
};
use serde_json::{Value, json};

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn error(text: &str) -> String {
    json!({"error": text, "success": false}).to_string()
}

fn register(url: &str, token: &str) -> Value {
    json!({"sender_url": url, "connection_name": "From tests", "auth_token": token})
}

#[test]
fn status_is_told_in_every_mode_even_when_disabled() {
    let served = served();
    let settings = served.site.settings();
    let status = |path: &str| {
        let answer = served.get(path, "");
        assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
        (answer.status, answer.body)
    };
    let body = |enabled, mode: &str, password| {
        (200, format!(r#"{{"enabled":{enabled},"incoming_mode":"{mode}","password_required":{password}}}"#))
    };
    assert_eq!(status("/sync/api/status"), body(true, "require_approval", false));
    settings.set_incoming_mode(IncomingMode::RequirePassword).unwrap();
    assert_eq!(status("/phoenix_kit/sync/api/status"), body(true, "require_password", true));
    settings.set_incoming_mode(IncomingMode::DenyAll).unwrap();
    settings.set_enabled(false).unwrap();
    assert_eq!(status("/db-sync/api/status/"), body(false, "deny_all", false));
    for (method, path) in [("POST", "/sync/api/status"), ("GET", "/sync/api/list-tables"), ("POST", "/sync/api/nope")] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\ncontent-length: 2\r\n\r\n{{}}");
        let answer = crate::support::http_common::ask(served.server.local_addr(), request.as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (404, r#"{"errors":{"detail":"Not Found"}}"#), "{path}");
    }
}

#[test]
fn registrations_are_answered_as_the_incoming_mode_says() {
    let served = served();
    let settings = served.site.settings();
    let ask = |body: &Value| served.call("register-connection", body);
    let missing =
        r#"{"error":"Missing required fields","fields":["sender_url","connection_name","auth_token"],"success":false}"#;
    assert_eq!(ask(&json!({})), (400, missing.into()));
    let some = json!({"sender_url": "", "connection_name": "x", "auth_token": null});
    let missing = r#"{"error":"Missing required fields","fields":["sender_url","auth_token"],"success":false}"#;
    assert_eq!(ask(&some), (400, missing.into()));

    // Where PhoenixKit activates at once, we do what its documents say.
    let (status, body) = ask(&register("http://127.0.0.1:4802/s1", "tok-1"));
    let made: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &made["connection_status"], &made["success"]), (200, &json!("pending"), &json!(true)));
    let connection = served.site.connections().find(made["connection_uuid"].as_str().unwrap()).unwrap();
    assert_eq!((connection.direction, connection.status), (ConnectionDirection::Receiver, ConnectionStatus::Pending));
    assert_eq!((connection.name.as_str(), connection.site_url.as_str()), ("From tests", "http://127.0.0.1:4802/s1"));

    settings.set_incoming_mode(IncomingMode::AutoAccept).unwrap();
    for (url, token) in [("http://127.0.0.1:4802/s1", "tok-1"), ("HTTP://127.0.0.1:4802/s1/", "other")] {
        assert_eq!(ask(&register(url, token)), (409, error("A connection already exists")), "{url}");
    }
    let mut full = register("http://127.0.0.1:4802/s2", "tok-2");
    (full["connection_name"], full["foo"], full["password"]) = (json!("Žluť 🐎"), json!([1]), json!("zzz"));
    let (status, body) = ask(&full);
    assert!(status == 200 && body.starts_with(r#"{"connection_status":"active","connection_uuid":""#), "{body}");
    assert!(body.ends_with(r#"","message":"Connection registered and activated","success":true}"#), "{body}");

    settings.set_incoming_mode(IncomingMode::DenyAll).unwrap();
    for body in [json!({}), register("http://127.0.0.1:4802/s3", "tok-3")] {
        assert_eq!(ask(&body), (403, error("Incoming connections are not allowed")));
    }
    settings.set_enabled(false).unwrap();
    assert_eq!(ask(&json!({})), (503, error("Sync module is disabled")));
    let refused = ["already_exists", "already_exists", "refused", "refused"];
    assert_eq!(served.refusals(), refused);
}

#[test]
fn a_password_is_asked_for_where_the_mode_says_so_and_guesses_are_bounded() {
    let served = served_with(|limits| {
        limits.server.password_attempts_per_minute = 2;
        limits.server.registrations_per_minute = 8;
    });
    let settings = served.site.settings();
    settings.set_incoming_mode(IncomingMode::RequirePassword).unwrap();
    let ask = |password: Value| {
        let mut body = register("http://127.0.0.1:4802/s1", "tok-1");
        body["password"] = password;
        let answer = served.post("/sync/api/register-connection", body.to_string().as_bytes(), "");
        (answer.status, answer.body, answer.headers.contains_key("retry-after"))
    };
    assert_eq!(ask(json!("x")), (401, error("Password required"), false), "none is set, so none is right");
    settings.set_incoming_password("s3cret").unwrap();
    assert_eq!(ask(Value::Null), (401, error("Password required"), false));
    assert_eq!(ask(json!("")), (401, error("Password required"), false));
    assert_eq!(ask(json!(5)), (400, error("The field password must be a string of valid characters"), false));
    assert_eq!(ask(json!("nope")), (401, error("Invalid password"), false));
    assert_eq!(ask(json!("nope")), (401, error("Invalid password"), false));
    assert_eq!((ask(json!("s3cret")).0, ask(json!("s3cret")).2), (429, true), "for the rest of the minute");
    // Not even the password is looked at any more.
    assert_eq!(ask(Value::Null).0, 401);
    assert_eq!(ask(Value::Null).0, 429);
    assert_eq!(served.site.connections().count(&rowferry::ConnectionFilter::new()).unwrap(), 0);
}

#[test]
fn the_right_password_connects() {
    let served = served();
    served.site.settings().set_incoming_mode(IncomingMode::RequirePassword).unwrap();
    served.site.settings().set_incoming_password("s3cret").unwrap();
    let mut body = register("http://127.0.0.1:4802/s1", "tok-1");
    body["password"] = json!("s3cret");
    let (status, answer) = served.call("register-connection", &body);
    assert!(status == 200 && answer.contains(r#""connection_status":"active""#), "{answer}");
}

#[test]
fn what_cannot_be_connected_is_told_why() {
    let served = served();
    let settings = served.site.settings();
    settings.set_incoming_mode(IncomingMode::AutoAccept).unwrap();
    settings.set_site_url("https://shop.example").unwrap();
    settings.set_allow_internal_urls(false).unwrap();
    let refused = |url: Value, name: Value, token: Value| {
        let body = json!({"sender_url": url, "connection_name": name, "auth_token": token});
        let (status, body) = served.call("register-connection", &body);
        (status, serde_json::from_str::<Value>(&body).unwrap()["code"].as_str().unwrap_or("none").to_owned())
    };
    let ok = || json!("https://backup.example");
    for (url, name, token, status, code) in [
        (json!("ftp://x"), json!("x"), json!("t"), 400, "invalid_input"),
        (json!("example.com"), json!("x"), json!("t"), 400, "invalid_input"),
        (json!("http://user:pw@backup.example"), json!("x"), json!("t"), 400, "invalid_input"),
        (json!("http://127.0.0.1:4802"), json!("x"), json!("t"), 400, "forbidden_address"),
        (json!("http://[::ffff:10.0.0.1]/"), json!("x"), json!("t"), 400, "forbidden_address"),
        (json!("https://SHOP.example:443/"), json!("x"), json!("t"), 400, "self_connection"),
        (json!(5), json!("x"), json!("t"), 400, "none"),
        (json!("http://a".repeat(500)), json!("x"), json!("t"), 400, "none"),
        (ok(), json!("x".repeat(256)), json!("t"), 400, "none"),
        (ok(), json!(["x"]), json!("t"), 400, "none"),
        (ok(), json!("x"), json!(12345), 400, "none"),
        (ok(), json!("x"), json!("two words"), 400, "invalid_input"),
        (ok(), json!("x"), json!("t".repeat(600)), 400, "none"),
    ] {
        assert_eq!(refused(url.clone(), name, token), (status, code.to_owned()), "{url}");
    }
    assert_eq!(refused(ok(), json!(5), json!("t")).0, 200, "a number is taken for a name, as in PhoenixKit");
    let own = served.puller_of("https://other.example", |new| new, |_| {});
    assert_eq!(refused(json!("https://third.example"), json!("x"), json!(own.token.as_str())).1, "self_connection");
    let stored = format!("{:?}", served.site.events().list(&rowferry::EventFilter::new()).unwrap());
    assert!(!stored.contains(own.token.as_str()) && !stored.contains("user:pw"));
}

#[test]
fn what_cannot_be_seen_is_refused_and_a_name_that_is_taken_gets_a_number() {
    let served = served();
    let ask = |url: &str, name: &str| {
        let body = json!({"sender_url": url, "connection_name": name, "auth_token": format!("t{}", url.len())});
        let (status, body) = served.call("register-connection", &body);
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    for (url, name) in [
        ("https://a.example", "Night\u{200b}ly"),
        ("https://a.example", "\u{202e}ylthgiN"),
        ("https://a.example", "a\tb"),
        ("https://a.example/\u{200b}", "Nightly"),
        ("https://a\u{202e}.example", "Nightly"),
    ] {
        let (status, body) = ask(url, name);
        assert_eq!(
            (status, &body["code"], &body["success"]),
            (400, &json!("invalid_input"), &json!(false)),
            "{url} {name:?}"
        );
        let said = body["error"].as_str().unwrap();
        assert!(said.contains("invisible"), "{said}");
    }
    let own = served.site.connections().create(NewConnection::sender("Nightly", "https://own.example")).unwrap();
    let (status, made) = ask("https://b.example", "Nightly");
    assert_eq!((status, &made["message"]), (200, &json!("Connection registered, pending approval")));
    let connections = served.site.connections();
    assert_eq!(connections.find("Nightly").unwrap().uuid, own.connection.uuid);
    let registered = connections.find("Nightly (2)").unwrap();
    assert_eq!(json!(registered.uuid.to_string()), made["connection_uuid"]);
    assert_eq!(registered.metadata["registered_from"], "127.0.0.1");
}

#[test]
fn so_many_registrations_wait_for_approval() {
    let served = served_with(|limits| limits.server.pending_per_host = 2);
    let ask = |number: usize| {
        let body = register(&format!("http://127.0.0.1:4802/s{number}"), &format!("t{number}"));
        served.post("/sync/api/register-connection", body.to_string().as_bytes(), "")
    };
    assert_eq!([ask(0).status, ask(1).status], [200; 2]);
    let answer = ask(2);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (answer.status, &body["code"], &body["success"]),
        (429, &json!("too_many_attempts"), &json!(false)),
        "{body}"
    );
    let wait: u64 = answer.headers["retry-after"].parse().unwrap();
    assert!((500..=600).contains(&wait), "{wait}");
    assert_eq!(served.site.connections().delete_pending().unwrap(), 2);
    assert_eq!(ask(2).status, 200);
}

#[test]
fn a_storm_of_registrations_is_bounded_and_so_are_its_events() {
    let served = served_with(|limits| limits.server.refused_events_per_minute = 3);
    served.site.settings().set_incoming_mode(IncomingMode::AutoAccept).unwrap();
    let statuses: Vec<u16> = (0..30)
        .map(|n| served.call("register-connection", &register(&format!("http://127.0.0.1:4802/s{n}"), &format!("t{n}"))).0)
        .collect();
    assert_eq!((statuses.iter().filter(|s| **s == 200).count(), statuses[29]), (20, 429));
    assert_eq!(served.refusals(), ["too_many_attempts"; 3]);
}

#[test]
fn the_calls_about_a_registered_connection() {
    let served = served();
    served.site.settings().set_incoming_mode(IncomingMode::AutoAccept).unwrap();
    let url = "http://127.0.0.1:4802/s1";
    assert_eq!(served.call("register-connection", &register(url, "tok-1")).0, 200);
    let token_hash = hash("tok-1");
    let named = |url: &str, hash: &str| json!({"sender_url": url, "auth_token_hash": hash});
    let verify = |url: &str, hash: &str| served.call("verify-connection", &named(url, hash));
    let (yes, no) = ((200, r#"{"exists":true,"success":true}"#), (404, r#"{"exists":false,"success":false}"#));
    let owned = |(status, text): (u16, &str)| (status, text.to_owned());
    assert_eq!(verify(url, &token_hash), owned(yes));
    assert_eq!(verify("HTTP://127.0.0.1:4802/s1/", &token_hash), owned(yes), "spelled otherwise");
    for (url, hash) in [
        (url, ZEROS),
        (url, token_hash.to_uppercase().as_str()),
        (url, "tok-1"),
        ("http://127.0.0.1:1", &*token_hash),
        ("nonsense", &*token_hash),
    ] {
        assert_eq!(verify(url, hash), owned(no), "{url} {hash}");
    }
    let missing = r#"{"error":"Missing required fields","fields":["sender_url","auth_token_hash"],"success":false}"#;
    assert_eq!(served.call("verify-connection", &json!({})), (400, missing.into()));
    let number = json!({"sender_url": url, "auth_token_hash": 5});
    assert_eq!(served.call("verify-connection", &number).0, 400, "500 in PhoenixKit");

    let update = |status: Value| {
        let mut body = named(url, &token_hash);
        body["status"] = status;
        served.call("update-status", &body)
    };
    let updated = |to: &str| (200, format!(r#"{{"message":"Status updated to {to}","success":true}}"#));
    assert_eq!(update(json!("suspended")), updated("suspended"));
    assert_eq!(update(json!("suspended")), updated("suspended"), "again");
    assert_eq!(update(json!("active")), updated("active"));
    for odd in [json!("pending"), json!(5), json!("ACTIVE"), json!(["active"])] {
        assert_eq!(update(odd), (400, error("Invalid status value")));
    }
    let missing = r#"{"error":"Missing required fields","fields":["status"],"success":false}"#;
    assert_eq!(update(Value::Null), (400, missing.into()));
    let mut unknown = named(url, ZEROS);
    unknown["status"] = json!("active");
    assert_eq!(served.call("update-status", &unknown), (404, error("Connection not found")));
    assert_eq!(update(json!("revoked")), updated("revoked"));
    let (status, body) = update(json!("active"));
    assert!(status == 409 && body.contains(r#""code":"invalid_transition""#), "never lifted: {status} {body}");

    let delete = |hash: &str| served.call("delete-connection", &named(url, hash));
    assert_eq!(delete(ZEROS), (404, error("Connection not found")));
    let missing = r#"{"error":"Missing required fields","fields":["auth_token_hash"],"success":false}"#;
    assert_eq!(served.call("delete-connection", &json!({"sender_url": url})), (400, missing.into()));
    assert_eq!(delete(&token_hash), (200, r#"{"message":"Connection deleted","success":true}"#.into()));
    assert_eq!(delete(&token_hash), (404, error("Connection not found")));
    assert_eq!(verify(url, &token_hash), owned(no));
    let deleted = served.site.events().list(&rowferry::EventFilter::new().kinds([rowferry::EventKind::ConnectionDeleted]));
    assert_eq!(deleted.unwrap()[0].actor, "peer http://127.0.0.1:4802/s1");
}

#[test]
fn a_peer_lifts_only_what_it_put_on_itself() {
    let served = served();
    let puller = served.puller_of("http://127.0.0.1:9/backup", |new| new.pending(), |_| {});
    let update = |status: &str| {
        let fields = json!({"sender_url": "http://127.0.0.1:9/backup", "auth_token_hash": puller.hash, "status": status});
        served.call("update-status", &fields).0
    };
    let connections = served.site.connections();
    let uuid = puller.connection.uuid;
    assert_eq!((update("active"), update("suspended")), (409, 409), "pending");
    connections.approve(uuid).unwrap();
    assert_eq!((update("suspended"), update("active")), (200, 200));
    connections.suspend(uuid, Some("ours")).unwrap();
    assert_eq!((update("suspended"), update("active")), (200, 409), "a suspension of ours stays ours");
    assert_eq!(served.connection(&puller).status, ConnectionStatus::Suspended);
    assert_eq!(update("revoked"), 200);
    assert_eq!(update("active"), 409);
}

#[test]
fn a_peer_does_not_get_around_a_stop_by_deleting_and_registering_again() {
    let served = served();
    served.site.settings().set_incoming_mode(IncomingMode::AutoAccept).unwrap();
    let connections = served.site.connections();
    let stopped = |name: &str, stop: &dyn Fn(&str, uuid::Uuid)| {
        let url = format!("http://127.0.0.1:4802/{name}");
        assert_eq!(served.call("register-connection", &register(&url, name)).0, 200);
        stop(&url, connections.find_by_token(name).unwrap().unwrap().uuid);
        let deleted = served.call("delete-connection", &json!({"sender_url": url, "auth_token_hash": hash(name)}));
        let code = serde_json::from_str::<Value>(&deleted.1).unwrap()["code"].as_str().map(str::to_owned);
        (deleted.0, code, served.call("register-connection", &register(&url, name)).0)
    };
    let by_peer = |url: &str, name: &str, status: &str| {
        let body = json!({"sender_url": url, "auth_token_hash": hash(name), "status": status});
        assert_eq!(served.call("update-status", &body).0, 200);
    };
    let refused = || (409, Some("refused".to_owned()), 409);
    assert_eq!(stopped("a", &|_, uuid| drop(connections.suspend(uuid, None).unwrap())), refused());
    assert_eq!(stopped("b", &|_, uuid| drop(connections.revoke(uuid, None).unwrap())), refused());
    let revoked_on_top = stopped("c", &|url, uuid| {
        let _suspended = connections.suspend(uuid, None).unwrap();
        by_peer(url, "c", "revoked");
    });
    assert_eq!(revoked_on_top, refused());
    assert_eq!(stopped("d", &|url, _| by_peer(url, "d", "suspended")), (200, None, 200), "its own suspension");
    assert_eq!(stopped("e", &|url, _| by_peer(url, "e", "revoked")), (200, None, 200), "its own revocation");
}

#[test]
fn asking_for_the_status_activates_a_pending_sender() {
    let served = served();
    let puller = served.puller_of("http://127.0.0.1:9/backup", |new| new.pending(), |_| {});
    let query = |hash: &str| {
        served.call("get-connection-status", &json!({"receiver_url": "http://anywhere", "auth_token_hash": hash}))
    };
    let told = |status: &str| (200, format!(r#"{{"name":"Backup","status":"{status}","success":true}}"#));
    assert_eq!(query(&puller.hash), told("active"));
    assert_eq!(served.connection(&puller).status, ConnectionStatus::Active);
    assert_eq!(query(&puller.hash), told("active"));
    let connections = served.site.connections();
    connections.suspend(puller.connection.uuid, None).unwrap();
    assert_eq!(query(&puller.hash), told("suspended"));
    connections.revoke(puller.connection.uuid, None).unwrap();
    assert_eq!(query(&puller.hash), told("revoked"));
    assert_eq!(query(ZEROS), (404, error("Connection not found")));
    // What this site pulls through is none of a peer's business.
    let token = Token::parse("tok-receiver").unwrap();
    let receiver = NewConnection::receiver("Other", "http://127.0.0.1:9/other", token);
    let _made = connections.create(receiver).unwrap();
    assert_eq!(query(&hash("tok-receiver")), (404, error("Connection not found")));
    let missing =
        |fields: &str| (400, format!(r#"{{"error":"Missing required fields","fields":[{fields}],"success":false}}"#));
    let ask = |body| served.call("get-connection-status", &body);
    assert_eq!(ask(json!({})), missing(r#""receiver_url","auth_token_hash""#));
    assert_eq!(ask(json!({"auth_token_hash": "x"})), missing(r#""receiver_url""#));
}

#[test]
fn a_rotated_token_replaces_the_old_one() {
    let served = served();
    served.site.settings().set_incoming_mode(IncomingMode::AutoAccept).unwrap();
    let url = "http://127.0.0.1:4802/s1";
    served.call("register-connection", &register(url, "tok-1"));
    let rotate = |url: &str, old: &str, new: &str| {
        served.call("rotate-token", &json!({"sender_url": url, "auth_token_hash": hash(old), "auth_token": new}))
    };
    assert_eq!(rotate(url, "tok-0", "tok-2"), (404, error("Connection not found")));
    assert_eq!(rotate("http://127.0.0.1:4802/s2", "tok-1", "tok-2").0, 404);
    assert_eq!(rotate(url, "tok-1", "two words").0, 400);
    assert_eq!(rotate(url, "tok-1", "tok-2"), (200, r#"{"message":"Token updated","success":true}"#.into()));
    assert_eq!(rotate(url, "tok-1", "tok-3").0, 404, "a replay changes nothing");
    let found = served.site.connections().find_by_token("tok-2").unwrap().unwrap();
    assert_eq!(found.site_url, url);
    assert_eq!(rotate(url, "tok-2", "tok-2").0, 200, "the same again");
    let rotated = EventFilter::new().kinds([EventKind::ConnectionTokenRotated]);
    assert_eq!(served.site.events().list(&rotated).unwrap().len(), 1, "changes nothing");
    let puller = served.puller(|_| {});
    let body = json!({"sender_url": "http://127.0.0.1:9/backup", "auth_token_hash": puller.hash, "auth_token": "tok-9"});
    assert_eq!(served.call("rotate-token", &body).0, 409, "the token of a sender is made here");
    let missing =
        r#"{"error":"Missing required fields","fields":["sender_url","auth_token_hash","auth_token"],"success":false}"#;
    assert_eq!(served.call("rotate-token", &json!({})), (400, missing.into()));
}

#[test]
fn the_calls_about_a_connection_are_counted_and_kept_to_its_addresses() {
    let served = served_with(|limits| limits.server.refused_events_per_minute = 5);
    let url = "http://127.0.0.1:9/backup";
    let puller = served.puller_of(url, |new| new, |policy| policy.rate_limit_requests_per_minute = 1);
    let calls = ["verify-connection", "update-status", "get-connection-status", "rotate-token", "delete-connection"];
    let status = |call: &str, hash: &str| {
        let body =
            json!({"sender_url": url, "receiver_url": url, "auth_token_hash": hash, "status": "active", "auth_token": "t"});
        let answer = served.post(&format!("/sync/api/{call}"), body.to_string().as_bytes(), "");
        (answer.status, answer.headers.contains_key("retry-after"))
    };
    for call in calls {
        assert_eq!(status(call, ZEROS), (404, false), "{call}");
    }
    assert_eq!(status("verify-connection", ZEROS), (404, false));
    assert_eq!(served.refusals(), ["invalid_token"; 5], "no more of them than the limit");
    for _ in 0..5 {
        assert_eq!(status("verify-connection", &puller.hash), (200, false));
    }
    for call in calls {
        assert_eq!(status(call, &puller.hash), (429, true), "{call}");
    }
    served.clock.advance(std::time::Duration::from_secs(60));
    let elsewhere = |edit: &mut rowferry::ConnectionEdit| edit.policy.ip_whitelist = vec!["192.0.2.1".parse().unwrap()];
    served.site.connections().update(puller.connection.uuid, elsewhere).unwrap();
    for call in calls {
        assert_eq!(status(call, &puller.hash), (403, false), "{call}");
    }
    assert_eq!(served.connection(&puller).status, ConnectionStatus::Active);
}

#[test]
fn disabled_comes_before_everything_but_what_is_no_json() {
    let served = served();
    served.site.settings().set_enabled(false).unwrap();
    for call in [
        "delete-connection",
        "verify-connection",
        "update-status",
        "get-connection-status",
        "rotate-token",
        "list-tables",
        "pull-data",
        "table-schema",
        "table-records",
    ] {
        assert_eq!(served.call(call, &json!({})), (503, error("DB Sync module is disabled")), "{call}");
        let answer = served.post(&format!("/sync/api/{call}"), b"{nope", "");
        assert_eq!((answer.status, answer.body.as_str()), (400, r#"{"errors":{"detail":"Bad Request"}}"#), "{call}");
    }
}

#[test]
fn approvals_of_many_tables_are_asked_for_once_each_and_are_one_call() {
    let served = served();
    let puller = served.puller(|policy| {
        policy.approval_mode = ApprovalMode::RequireApproval;
        policy.rate_limit_requests_per_minute = 1;
    });
    let mut channel = served.channel(&puller, true);
    let (event, payload) = channel.ask("approvals", json!({"tables": ["many", "MANY", "users", "many"]}));
    assert_eq!(event, "approvals", "{payload}");
    let approvals = payload["approvals"].as_array().unwrap();
    let told = |at: usize| (approvals[at]["table"].as_str().unwrap(), approvals[at]["status"].as_str().unwrap());
    assert_eq!([0, 1, 2, 3].map(told), ["many", "MANY", "users", "many"].map(|table| (table, "pending")));
    assert_eq!(approvals[0]["transfer_uuid"], approvals[1]["transfer_uuid"]);
    assert_eq!(served.history(), ["many pending_approval 0", "users pending_approval 0"]);
    let (event, payload) = channel.ask("approvals", json!({"tables": vec!["many"; 1_001]}));
    assert_eq!((event.as_str(), &payload["error"]), ("error", &json!("The tables are more than 1000")));
}

#[test]
fn calls_that_are_refused_count_and_those_beyond_the_rate_write_nothing() {
    let served = served();
    let seconds = std::time::Duration::from_secs;
    let puller = served.puller(|policy| policy.rate_limit_requests_per_minute = 1);
    let schema = || served.data("table-schema", &puller, json!({"table_name": "ghost"})).0;
    let seen = || served.connection(&puller).last_connected_at.unwrap();
    (0..5).for_each(|_| assert_eq!(schema(), 404));
    let first = seen();
    served.clock.advance(seconds(10));
    assert_eq!((schema(), seen()), (429, first));
    // Channels have no rate: they are noted once a minute.
    served.channel(&puller, true).close();
    assert_eq!(seen(), first);
    served.clock.advance(seconds(50));
    served.channel(&puller, true).close();
    assert_eq!(seen(), first + seconds(60));
}

#[test]
fn a_stranger_who_is_refused_much_does_not_silence_the_others() {
    let few = |limits: &mut rowferry::Limits| limits.server.refused_events_per_minute = 1;
    let served = served_by(few, |builder| builder.trust_proxies(["127.0.0.1".parse().unwrap()]));
    let body = json!({"sender_url": "http://127.0.0.1:9/backup", "auth_token_hash": ZEROS}).to_string();
    let ask = |from: &str| {
        served.post("/sync/api/verify-connection", body.as_bytes(), &format!("X-Forwarded-For: {from}\r\n"));
    };
    (0..20).for_each(|_| ask("203.0.113.1"));
    ask("203.0.113.2");
    let events = served.site.events().list(&EventFilter::new().kinds([EventKind::AccessDenied])).unwrap();
    let from: Vec<_> = events.iter().map(|event| event.details["address"].as_str().unwrap()).collect();
    assert_eq!(from, ["203.0.113.1", "203.0.113.2"]);
}
