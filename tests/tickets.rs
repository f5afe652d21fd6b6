//! Tickets as a peer sees them on the wire: who gets one, whom it lets in, and when no more.
#![cfg(all(feature = "server", feature = "sqlite"))]

mod http_common;

use std::time::Duration;

use http_common::{Channel, Served, served, served_with};
use rowferry::Direction;
use serde_json::{Value, json};

/// Joins a topic as rowferry, or as the reference's client; gives the reply.
fn join(served: &Served, query: &str, topic: &str, rowferry: bool) -> Value {
    let socket = served.upgrade(query, "").unwrap();
    let mut channel = Channel::of(socket, topic);
    let info = if rowferry { json!({"rowferry": {"version": 1}}) } else { json!({}) };
    channel.say("phx_join", json!({ "receiver_info": info }))[4].take()
}

fn ticket(reply: &Value) -> Option<String> {
    reply["response"]["rowferry"]["ticket"].as_str().map(str::to_owned)
}

fn refused(served: &Served, query: &str) -> (u16, String) {
    served.upgrade(query, "").err().unwrap_or((101, String::new()))
}

#[test]
fn only_rowferry_peers_that_came_by_a_code_get_one() {
    let served = served();
    let code = || served.site.sessions().create(Direction::Send).unwrap().code().to_owned();
    let (one, other) = (code(), code());
    let reply = join(&served, &format!("code={one}"), &format!("transfer:{one}"), false);
    assert_eq!(reply, json!({"response": {}, "status": "ok"}), "the reference sees nothing of it");
    let reply = join(&served, &format!("code={other}"), &format!("transfer:{other}"), true);
    assert_eq!(ticket(&reply).map(|ticket| ticket.len()), Some(43), "{reply}");
    let puller = served.puller(|_| {});
    let reply = join(&served, &format!("token={}", puller.token.as_str()), "transfer:self", true);
    assert!(reply["response"]["rowferry"]["site"].is_string() && ticket(&reply).is_none(), "a token works again");
}

#[test]
fn a_ticket_lets_in_again_and_again_while_its_session_is_there() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let socket = served.upgrade(&format!("code={}", session.code()), "").unwrap();
    let mut channel = Channel::of(socket, &format!("transfer:{}", session.code()));
    let join_again = |channel: &mut Channel| {
        ticket(&channel.say("phx_join", json!({"receiver_info": {"rowferry": {"version": 1}}}))[4]).unwrap()
    };
    let given = join_again(&mut channel);
    assert_eq!(join_again(&mut channel), given, "joining twice makes no second one");
    assert_eq!(refused(&served, &format!("code={}", session.code())), (403, "Code already used".to_owned()));
    let query = format!("ticket={given}&vsn=2.0.0");
    for _ in 0..2 {
        let reply = join(&served, &query, "transfer:self", true);
        assert!(reply["status"] == "ok" && ticket(&reply).is_none(), "{reply}");
    }
    let mismatch = json!({"response": {"reason": "code_mismatch"}, "status": "error"});
    assert_eq!(join(&served, &query, &format!("transfer:{}", session.code()), true), mismatch);
    assert_eq!(join(&served, &query, &format!("transfer:{given}"), true), mismatch);

    served.clock.advance(Duration::from_secs(24 * 3600 - 1));
    assert_eq!(refused(&served, &query).0, 101, "also when the code's own time is over");
    served.site.settings().set_enabled(false).unwrap();
    assert_eq!(refused(&served, &query), (403, "Module disabled".to_owned()));
    served.site.settings().set_enabled(true).unwrap();
    served.clock.advance(Duration::from_secs(1));
    assert_eq!(refused(&served, &query), (403, "Invalid code".to_owned()));
    assert_eq!(served.site.maintain().unwrap().deleted_tickets, 1);

    let session = served.site.sessions().create(Direction::Send).unwrap();
    let reply = join(&served, &format!("code={}", session.code()), &format!("transfer:{}", session.code()), true);
    let query = format!("ticket={}", ticket(&reply).unwrap());
    served.site.sessions().delete(session.uuid()).unwrap();
    assert_eq!(refused(&served, &query), (403, "Invalid code".to_owned()));
}

#[test]
fn guessing_tickets_is_slowed() {
    let served = served_with(|limits| limits.code_attempts_per_minute = 3);
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let reply = join(&served, &format!("code={}", session.code()), &format!("transfer:{}", session.code()), true);
    let query = format!("ticket={}", ticket(&reply).unwrap());
    (0..5).for_each(|_| assert_eq!(refused(&served, &query).0, 101, "a right one is no guess"));
    for junk in ["", "A7X9K2M4", &"x".repeat(43)] {
        assert_eq!(refused(&served, &format!("ticket={junk}")), (403, "Invalid code".to_owned()));
    }
    assert_eq!(refused(&served, &query).0, 429);
    assert_eq!(served.refusals(), ["invalid_code"; 3]);
}
