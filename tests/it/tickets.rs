//! Tickets as a peer sees them on the wire: who gets one, whom it lets in, and when no more.

use std::time::{Duration, Instant};

use crate::support::http_common::{Channel, Served, served, served_with};
use rowferry::{Auth, CancelToken, ConnectOptions, Direction, ErrorKind, EventFilter, EventKind, PullOptions, Site};
use serde_json::{Value, json};

/// Joins a topic as rowferry, or as PhoenixKit's client; gives the reply.
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
    assert_eq!(reply, json!({"response": {}, "status": "ok"}), "PhoenixKit sees nothing of it");
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
    let served = served_with(|limits| limits.server.code_attempts_per_minute = 3);
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

/// The channel of a rowferry peer that gives this in its header, joined at this topic.
fn enter(served: &Served, given: &str, topic: &str) -> (Channel, Value) {
    let mut channel = Channel::of(served.upgrade("vsn=2.0.0", &format!("x-rowferry-auth: {given}\r\n")).unwrap(), topic);
    let reply = channel.say("phx_join", json!({"receiver_info": {"rowferry": {"version": 1}}}))[4].take();
    (channel, reply)
}

fn refused_by_header(served: &Served, given: &str) -> (u16, String) {
    served.upgrade("vsn=2.0.0", &format!("x-rowferry-auth: {given}\r\n")).err().unwrap_or((101, String::new()))
}

/// Sends a message that has no answer.
fn tell(channel: &mut Channel, event: &str, payload: Value) {
    let frame = json!([null, null, channel.topic, event, payload]);
    channel.socket.send(tungstenite::Message::text(frame.to_string())).unwrap();
}

const ONE: &str = "0190a1fd-0000-7000-8000-000000000001";
const OTHER: &str = "0190a1fd-0000-7000-8000-000000000002";

#[test]
fn a_ticket_is_for_the_receiver_and_the_tables_that_it_began_with() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let listed = || served.site.sessions().get(session.uuid()).unwrap();
    assert_eq!(listed().ticket, None);
    let given = format!("code={}&receiver={ONE}", session.code());
    let (mut channel, reply) = enter(&served, &given, &format!("transfer:{}", session.code()));
    let ticket = ticket(&reply).unwrap();
    let until = time::macros::datetime!(2026-01-03 03:04:05 UTC);
    let info = listed().ticket.unwrap();
    assert_eq!((info.expires_at, info.tables), (until, None));
    assert_eq!(info.receiver.map(|receiver| receiver.to_string()).as_deref(), Some(ONE));
    tell(&mut channel, "pull:of", json!({"tables": ["many", "MEMBERSHIPS"]}));
    tell(&mut channel, "pull:of", json!({"tables": ["users"]}));
    assert_eq!(channel.page("many", 0, 10).unwrap(), (10, true));
    assert_eq!(channel.page("posts", 0, 10).unwrap().0, 2, "a code gives all tables");
    let tables = ["MEMBERSHIPS", "many", "users"].map(str::to_owned).to_vec();
    assert_eq!(listed().ticket.unwrap().tables, Some(tables));
    drop(channel);

    for other in
        [format!("ticket={ticket}"), format!("ticket={ticket}&receiver={OTHER}"), format!("ticket={ticket}&receiver=x")]
    {
        assert_eq!(refused_by_header(&served, &other), (403, "Invalid code".to_owned()), "{other}");
    }
    let (mut channel, reply) = enter(&served, &format!("ticket={ticket}&receiver={ONE}"), "transfer:self");
    assert_eq!(reply["status"], "ok");
    let names: Vec<_> = channel.ask("tables", json!({})).1["tables"].as_array().unwrap().clone();
    assert_eq!(
        names.iter().map(|table| table["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["many", "memberships", "users"]
    );
    assert_eq!(channel.page("memberships", 0, 10).unwrap().0, 3);
    // What it says of its pull now makes no difference.
    tell(&mut channel, "pull:of", json!({"tables": ["posts"]}));
    assert_eq!(channel.page("posts", 0, 10).unwrap_err(), "Access denied to table: posts");
    for call in ["schema", "count"] {
        assert_eq!(channel.ask(call, json!({"table": "posts"})).1["error"], "Access denied to table: posts", "{call}");
    }

    tell(&mut channel, "pull:over", json!({}));
    assert_eq!(channel.ask("tables", json!({})).0, "tables");
    assert_eq!(refused_by_header(&served, &format!("ticket={ticket}&receiver={ONE}")), (403, "Invalid code".to_owned()));
    assert_eq!(listed().ticket, None);
    let kinds = [EventKind::SessionUsed, EventKind::SessionResumed];
    let events = served.site.events().list(&EventFilter::new().kinds(kinds)).unwrap();
    let told: Vec<_> = events.iter().map(|event| (event.kind, event.details["session"].as_str().unwrap())).collect();
    let id = session.uuid().to_string();
    assert_eq!(told, [(EventKind::SessionUsed, id.as_str()), (EventKind::SessionResumed, id.as_str())]);
}

#[test]
fn who_only_looks_by_a_code_has_no_say_about_its_pull() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let topic = format!("transfer:{}", session.code());
    let (mut looking, _) = enter(&served, &format!("code={}&look=1", session.code()), &topic);
    let (mut channel, reply) = enter(&served, &format!("code={}", session.code()), &topic);
    tell(&mut looking, "pull:of", json!({"tables": ["posts"]}));
    tell(&mut looking, "pull:over", json!({}));
    assert_eq!(looking.ask("tables", json!({})).0, "tables");
    tell(&mut channel, "pull:of", json!({"tables": ["many"]}));
    assert_eq!(channel.page("many", 0, 10).unwrap(), (10, true));
    let kept = served.site.sessions().get(session.uuid()).unwrap().ticket.unwrap();
    assert_eq!(kept.tables, Some(vec!["many".to_owned()]));
    drop(channel);
    assert_eq!(refused_by_header(&served, &format!("ticket={}", ticket(&reply).unwrap())).0, 101);
}

#[test]
fn a_ticket_of_a_pull_that_told_no_tables_learns_them_when_it_is_used() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let (channel, reply) = enter(&served, &format!("code={}", session.code()), &format!("transfer:{}", session.code()));
    // The connection was lost before anything began.
    drop(channel);
    let given = format!("ticket={}", ticket(&reply).unwrap());
    let (mut channel, _) = enter(&served, &given, "transfer:self");
    tell(&mut channel, "pull:of", json!({"tables": ["many", 5]}));
    tell(&mut channel, "pull:of", json!({"tables": ["many"]}));
    assert_eq!(channel.page("many", 0, 10).unwrap(), (10, true));
    drop(channel);
    let (mut channel, _) = enter(&served, &given, "transfer:self");
    assert_eq!(channel.page("posts", 0, 10).unwrap_err(), "Access denied to table: posts");
}

/// All records of a table, of which nothing was fetched on this channel.
fn whole(channel: &mut Channel, table: &str) -> Result<usize, String> {
    let (mut all, mut more) = (0, true);
    while more {
        let (records, has_more) = channel.page(table, all as u64, 500)?;
        (all, more) = (all + records, has_more);
    }
    Ok(all)
}

fn wait_until(is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "it does not come about");
        std::thread::yield_now();
    }
}

const USED: &str = "Code already used";

#[test]
fn a_receiver_that_stays_silent_gets_its_pull_once_and_once_more_at_most() {
    for told in [Some(["many", "posts"]), None] {
        let served = served();
        let session = served.site.sessions().create(Direction::Send).unwrap();
        let topic = format!("transfer:{}", session.code());
        let (mut channel, reply) = enter(&served, &format!("code={}", session.code()), &topic);
        let given = format!("ticket={}", ticket(&reply).unwrap());
        if let Some(tables) = told {
            tell(&mut channel, "pull:of", json!({ "tables": tables }));
        }
        let many = whole(&mut channel, "many").unwrap();
        drop(channel);
        // The pull has not completed: what was received is pulled once more at its end, so that all is of one state.
        let (mut channel, _) = enter(&served, &given, "transfer:self");
        assert_eq!((whole(&mut channel, "posts"), whole(&mut channel, "many")), (Ok(2), Ok(many)), "{told:?}");
        assert_eq!(channel.ask("tables", json!({})).0, "tables");
        drop(channel);
        // Its channel may have ended with the last page on its way, and a receiver that was killed at its end pulls all once more.
        for table in ["posts", "many"] {
            let refused = (0..5).find_map(|_| whole(&mut enter(&served, &given, "transfer:self").0, table).err());
            assert_eq!(refused.as_deref(), Some(USED), "{told:?} {table}");
        }
        let sqlite = rusqlite::Connection::open(served.folder.path().join("shop.db")).unwrap();
        let most = "SELECT max(n) FROM (SELECT count(*) AS n FROM rowferry_transfers GROUP BY table_name)";
        assert_eq!(sqlite.query_row(most, [], |row| row.get(0)), Ok(2));
        let (mut channel, _) = enter(&served, &given, "transfer:self");
        let other = whole(&mut channel, "memberships");
        match told {
            Some(_) => assert_eq!(other.unwrap_err(), "Access denied to table: memberships"),
            // One of rowferry 0.1.0 tells nothing: it may still want more.
            None => assert_eq!(other, Ok(3)),
        }
        if told.is_some() {
            let soon = served.site.clock().now() + Duration::from_secs(3600);
            // That a channel has ended is noticed on another thread.
            wait_until(|| served.site.sessions().get(session.uuid()).unwrap().ticket.unwrap().expires_at == soon);
            served.clock.advance(Duration::from_secs(3600));
            assert_eq!(refused_by_header(&served, &given), (403, "Invalid code".to_owned()));
        }
    }
}

#[test]
fn nothing_begins_after_a_pull_by_a_code_is_over() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let topic = format!("transfer:{}", session.code());
    let (mut first, reply) = enter(&served, &format!("code={}", session.code()), &topic);
    assert_eq!(first.page("many", 0, 10).unwrap(), (10, true));
    let (mut other, _) = enter(&served, &format!("ticket={}", ticket(&reply).unwrap()), "transfer:self");
    assert_eq!(whole(&mut other, "posts"), Ok(2));
    tell(&mut first, "pull:over", json!({}));
    assert_eq!(whole(&mut first, "memberships").unwrap_err(), USED);
    assert_eq!(whole(&mut other, "memberships").unwrap_err(), USED, "nor on another channel");
    assert_eq!(first.page("many", 10, 10).unwrap(), (10, true), "what runs is not cut");
}

#[test]
fn a_session_that_is_let_expire_takes_its_ticket_along() {
    let served = served();
    for by_header in [true, false] {
        let session = served.site.sessions().create_with(Direction::Send, Duration::from_secs(60)).unwrap();
        let (code, topic) = (format!("code={}", session.code()), format!("transfer:{}", session.code()));
        let (mut channel, given) = if by_header {
            let (channel, reply) = enter(&served, &code, &topic);
            (channel, format!("ticket={}", ticket(&reply).unwrap()))
        } else {
            let mut channel = Channel::of(served.upgrade(&code, "").unwrap(), &topic);
            let reply = channel.say("phx_join", json!({"receiver_info": {"rowferry": {"version": 1}}}))[4].take();
            (channel, format!("ticket={}", ticket(&reply).unwrap()))
        };
        let listed = served.site.sessions().get(session.uuid()).unwrap();
        assert_eq!(listed.ticket.unwrap().expires_at, listed.expires_at);
        served.clock.advance(Duration::from_secs(59));
        assert_eq!(refused_by_header(&served, &given).0, 101);
        served.clock.advance(Duration::from_secs(1));
        assert_eq!(refused_by_header(&served, &given), (403, "Invalid code".to_owned()));
        assert_eq!(whole(&mut channel, "posts"), Ok(2), "the code was used in time: its pull is not cut");
    }
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let (_, reply) = enter(&served, &format!("code={}", session.code()), &format!("transfer:{}", session.code()));
    let given = format!("ticket={}", ticket(&reply).unwrap());
    served.site.sessions().update(session.uuid(), served.site.clock().now()).unwrap();
    assert_eq!(refused_by_header(&served, &given), (403, "Invalid code".to_owned()));
}

#[test]
fn a_code_is_not_spent_when_its_ticket_cannot_be_kept() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let path = served.folder.path().join("shop.db");
    let sqlite = rusqlite::Connection::open(path).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON rowferry_tickets BEGIN SELECT RAISE(ABORT, 'no'); END";
    sqlite.execute_batch(refuse).unwrap();
    let given = format!("code={}", session.code());
    assert_eq!(refused_by_header(&served, &given).0, 500);
    // One of rowferry 0.1.0 gives its code in the query.
    let old = served.upgrade(&given, "user-agent: rowferry/0.1.0\r\n").err().map(|refused| refused.0);
    assert_eq!(old, Some(500));
    assert_eq!(served.site.sessions().get(session.uuid()).unwrap().used_at, None);
    sqlite.execute_batch("DROP TRIGGER refuse").unwrap();
    let (_, reply) = enter(&served, &given, &format!("transfer:{}", session.code()));
    assert!(ticket(&reply).is_some());
}

#[test]
fn a_pull_by_a_code_leaves_no_ticket_once_it_has_completed() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let backup = Site::open(folder.path().join("backup.db")).unwrap();
    let pull_of = |tables: &[&str], options: PullOptions<'_>| {
        let (auth, connect) = (Auth::code(session.code()), ConnectOptions::default());
        backup.pull_from(served.server.url(), auth, connect, options.tables(tables.iter().copied()))
    };
    let pull = |options: PullOptions<'_>| pull_of(&["many", "memberships"], options);
    let cancel = CancelToken::new();
    let report = pull(PullOptions::new().cancel(cancel.clone()).batch_size(100).on_progress(move |progress| {
        if progress.records > 0 {
            cancel.cancel();
        }
    }));
    let report = report.unwrap();
    assert!(!report.is_clean());
    let kept = served.site.sessions().get(session.uuid()).unwrap().ticket.unwrap();
    assert_eq!(kept.receiver, Some(backup.uuid().unwrap()));
    assert_eq!(kept.tables, Some(vec!["many".to_owned(), "memberships".to_owned()]));
    let other = pull_of(&["posts"], PullOptions::new()).unwrap();
    let error = other.table("posts").unwrap().error.as_ref().unwrap();
    assert!(error.kind() == ErrorKind::TableNotAllowed && error.hint().unwrap().contains("tables of its pull"), "{error:?}");
    let nowhere = pull_of(&["nowhere"], PullOptions::new()).unwrap();
    assert_eq!(nowhere.table("nowhere").unwrap().error.as_ref().unwrap().kind(), ErrorKind::TableNotAllowed);
    assert!(pull(PullOptions::new()).unwrap().is_clean());
    // The goodbye is heard on another thread.
    wait_until(|| served.site.sessions().get(session.uuid()).unwrap().ticket.is_none());
    assert_eq!(pull(PullOptions::new()).unwrap_err().kind(), ErrorKind::CodeUsed);
}

#[test]
fn tables_that_failed_before_they_began_are_of_the_pull() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup.db");
    let here = rusqlite::Connection::open(&path).unwrap();
    here.execute_batch("CREATE VIEW memberships AS SELECT 1 AS id").unwrap();
    let backup = Site::open(&path).unwrap();
    let pull = |options: PullOptions<'_>| {
        backup.pull_from(served.server.url(), Auth::code(session.code()), ConnectOptions::default(), options).unwrap()
    };
    let first = pull(PullOptions::new());
    assert!(first.table("memberships").unwrap().error.is_some() && first.table("many").unwrap().is_clean(), "{first:?}");
    let of_pull = served.site.sessions().get(session.uuid()).unwrap().ticket.unwrap().tables.unwrap();
    assert_eq!(of_pull.len(), first.tables.len());

    here.execute_batch("DROP VIEW memberships").unwrap();
    let there = rusqlite::Connection::open(served.folder.path().join("shop.db")).unwrap();
    there.execute_batch("CREATE TABLE later (id INTEGER PRIMARY KEY)").unwrap();
    let again = pull(PullOptions::new());
    let note = again.notes.iter().find(|note| note.contains("(ticket_tables)"));
    assert!(again.is_clean() && again.table("later").is_none() && note.is_some(), "{again:?}");
    assert!(again.table("memberships").unwrap().is_clean(), "{again:?}");
}

#[test]
fn a_page_does_not_read_what_the_ticket_is_good_for() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let topic = format!("transfer:{}", session.code());
    let (mut channel, _) = enter(&served, &format!("code={}", session.code()), &topic);
    assert_eq!(channel.page("many", 0, 10).unwrap(), (10, true));
    let sqlite = rusqlite::Connection::open(served.folder.path().join("shop.db")).unwrap();
    sqlite.execute_batch("UPDATE rowferry_tickets SET tables = 'no list'").unwrap();
    assert_eq!(channel.page("many", 10, 10).unwrap(), (10, true));
    let plan = "EXPLAIN QUERY PLAN SELECT tables FROM rowferry_tickets WHERE session = 'x'";
    let plan: String = sqlite.query_row(plan, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("rowferry_tickets_by_session"), "{plan}");
}

#[test]
fn a_ticket_is_good_for_no_more_tables_than_the_bound() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let topic = format!("transfer:{}", session.code());
    let (mut channel, reply) = enter(&served, &format!("code={}", session.code()), &topic);
    let names: Vec<String> = (0..9_999).map(|n| format!("t{n}")).chain(["posts".to_owned(), "many".to_owned()]).collect();
    for some in names.chunks(100) {
        tell(&mut channel, "pull:of", json!({ "tables": some }));
    }
    assert_eq!(channel.page("many", 0, 10).unwrap(), (10, true));
    drop(channel);
    let (mut channel, _) = enter(&served, &format!("ticket={}", ticket(&reply).unwrap()), "transfer:self");
    assert_eq!(channel.page("many", 0, 10).unwrap_err(), "Access denied to table: many");
    assert_eq!(whole(&mut channel, "posts"), Ok(2));
}

#[test]
fn a_ticket_gives_a_table_so_many_times_also_where_its_pull_never_completes() {
    let served = served();
    let session = served.site.sessions().create(Direction::Send).unwrap();
    let topic = format!("transfer:{}", session.code());
    let (mut channel, reply) = enter(&served, &format!("code={}", session.code()), &topic);
    tell(&mut channel, "pull:of", json!({"tables": ["posts", "many"]}));
    assert_eq!(whole(&mut channel, "posts"), Ok(2));
    drop(channel);
    let (mut channel, _) = enter(&served, &format!("ticket={}", ticket(&reply).unwrap()), "transfer:self");
    // The first one may be resumed, so that not each time is a download.
    let refused = (0..100).find_map(|_| {
        served.clock.advance(Duration::from_secs(2));
        whole(&mut channel, "posts").err()
    });
    assert_eq!(refused.as_deref(), Some(USED));
    let sqlite = rusqlite::Connection::open(served.folder.path().join("shop.db")).unwrap();
    let count = "SELECT count(*) FROM rowferry_transfers WHERE table_name = 'posts'";
    assert_eq!(sqlite.query_row(count, [], |row| row.get(0)), Ok(64));
    assert_eq!(channel.page("many", 0, 10).unwrap(), (10, true));
}
