//! Wrong codes and passwords are bounded whatever was given before; right ones are none of them, however many come at once.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::support::http_common::{served, served_with};
use http::Request;
use rowferry::{Direction, Handler, IncomingMode, Site};
use serde_json::json;

/// The status of an upgrade by this query, for a peer at this address.
fn upgrade(handler: &Handler, query: &str, from: impl Into<IpAddr>) -> u16 {
    let request = Request::get(format!("/sync/websocket?{query}"))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    match handler.upgrade(&request.body(()).unwrap(), Some(from.into())) {
        Ok(upgrade) => upgrade.response.status().as_u16(),
        Err(answer) => answer.status().as_u16(),
    }
}

fn code(site: &Site) -> String {
    site.sessions().create(Direction::Send).unwrap().code().to_owned()
}

/// Gives a right answer and then wrong ones; gives the statuses of those, and of a right one behind them.
fn guessed(ask: impl Fn(&str) -> u16) -> (Vec<u16>, u16) {
    ask("right");
    ((0..6).map(|_| ask("wrong")).collect(), ask("right"))
}

#[test]
fn a_right_download_password_opens_no_way_to_guess() {
    let over_http = || {
        let served = served_with(|limits| limits.server.password_attempts_per_minute = 3);
        let puller = served.puller_of("http://127.0.0.1:9/b", |new| new.download_password("right"), |_| {});
        guessed(|password| served.data("list-tables", &puller, json!({ "password": password })).0)
    };
    assert_eq!(over_http(), (vec![401, 401, 401, 429, 429, 429], 429));
    let over_websocket = || {
        let served = served_with(|limits| limits.server.password_attempts_per_minute = 3);
        let puller = served.puller_of("http://127.0.0.1:9/b", |new| new.download_password("right"), |_| {});
        let query = |password: &str| format!("token={}&password={password}", puller.token.as_str());
        guessed(|password| served.upgrade(&query(password), "").map_or_else(|refused| refused.0, |_| 101))
    };
    assert_eq!(over_websocket(), (vec![403, 403, 403, 429, 429, 429], 429));
}

#[test]
fn a_right_incoming_password_opens_no_way_to_guess() {
    let served = served_with(|limits| limits.server.password_attempts_per_minute = 3);
    served.site.settings().set_incoming_mode(IncomingMode::RequirePassword).unwrap();
    served.site.settings().set_incoming_password("right").unwrap();
    let register = |password: &str| {
        let url = format!("http://127.0.0.1:9/{}", uuid::Uuid::new_v4());
        let token = rowferry::Token::generate().unwrap();
        let asked =
            json!({"sender_url": url, "connection_name": "Nightly", "auth_token": token.as_str(), "password": password});
        served.call("register-connection", &asked).0
    };
    assert_eq!(guessed(register), (vec![401, 401, 401, 429, 429, 429], 429));
}

#[test]
fn processes_on_one_database_count_wrong_codes_together() {
    let served = served();
    let handlers = [served.site.handler(), served.again().handler()];
    let from = [192, 0, 2, 1];
    let wrong = |handler: &Handler| upgrade(handler, "code=ZZZZZZZZ", from);
    // Each tells the others of three at a time, so that they do not know of up to two.
    let statuses: Vec<_> = (0..20).map(|at| wrong(&handlers[at % 2])).collect();
    let let_through = statuses.iter().filter(|status| **status == 403).count();
    assert!((10..=12).contains(&let_through), "{statuses:?}");
    let right = format!("code={}", code(&served.site));
    assert!(handlers.iter().all(|handler| upgrade(handler, &right, from) == 429));
    assert_eq!(upgrade(&handlers[0], &right, [192, 0, 2, 2]), 101);
}

#[test]
fn a_network_of_48_bits_guesses_codes_as_one() {
    let served = served_with(|limits| limits.server.code_attempts_per_minute = 3);
    let handler = served.site.handler();
    let wrong = |from: [u16; 8]| upgrade(&handler, "code=ZZZZZZZZ", from);
    let statuses: Vec<_> = (0..5).map(|at| wrong([0x2001, 0xdb8, 0, at, 0, 0, 0, 1])).collect();
    assert_eq!(statuses, [403, 403, 403, 429, 429]);
    assert_eq!(wrong([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]), 403);
    // Behind NAT64 each address of IPv4 is one.
    let statuses: Vec<_> = (0..5).map(|at| wrong([0x64, 0xff9b, 0, 0, 0, 0, 0xc000, at])).collect();
    assert_eq!(statuses, [403; 5]);
}

/// Lets forty right codes come at once from one address; gives how they were answered. `other` is a program that holds the database
/// until they were told to come.
fn forty(site: &Site, handler: &Handler, other: Option<&rusqlite::Connection>) -> Vec<u16> {
    let (codes, look): (Vec<String>, String) = ((0..40).map(|_| code(site)).collect(), code(site));
    let from = [192, 0, 2, 1];
    other.inspect(|other| other.execute_batch("BEGIN IMMEDIATE").unwrap());
    std::thread::scope(|threads| {
        let enter = |code: String| threads.spawn(move || upgrade(handler, &format!("code={code}"), from));
        let threads: Vec<_> = codes.into_iter().map(enter).collect();
        // What writes nothing is judged although others wait to be spent.
        assert_eq!(upgrade(handler, &format!("look=1&code={look}"), from), 101);
        other.inspect(|other| other.execute_batch("COMMIT").unwrap());
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn forty_right_codes_at_once_are_let_in() {
    let served = served_with(|limits| limits.store.busy_timeout = Duration::from_secs(60));
    let handler = served.site.handler();
    assert_eq!(forty(&served.site, &handler, None), [101; 40]);
    let other = rusqlite::Connection::open(served.folder.path().join("shop.db")).unwrap();
    assert_eq!(forty(&served.site, &handler, Some(&other)), [101; 40]);
}

#[test]
fn of_many_processes_one_gets_a_code_and_none_has_guessed() {
    let served = served();
    let handlers: Vec<Handler> = (0..3).map(|_| served.again().handler()).collect();
    let (from, query) = ([192, 0, 2, 1], format!("code={}", code(&served.site)));
    let mut statuses = std::thread::scope(|threads| {
        let enter = |at: usize| {
            let (handler, query) = (&handlers[at % 3], &query);
            threads.spawn(move || upgrade(handler, query, from))
        };
        let threads: Vec<_> = (0..30).map(enter).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (101, &[403; 29][..]));
    let another = format!("code={}", code(&served.site));
    assert_eq!(upgrade(&handlers[0], &another, from), 101, "a code that was used is no guess");
}

#[test]
fn very_many_wrong_codes_from_everywhere_delay_and_refuse_nobody() {
    let served = served_with(|limits| limits.server.all_code_attempts_per_minute = 8);
    let handler = served.site.handler();
    for from in 1..=8 {
        assert_eq!(upgrade(&handler, "code=ZZZZZZZZ", [192, 0, 2, from]), 403);
    }
    let began = Instant::now();
    assert_eq!(upgrade(&handler, &format!("code={}", code(&served.site)), [192, 0, 2, 99]), 101);
    assert!(began.elapsed() >= Duration::from_secs(1));
}
