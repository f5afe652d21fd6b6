//! Pulls through stored connections over loopback: what is taken, what both histories say, and what a sender may refuse.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::common::Fixture;
use rowferry::{
    ApprovalMode, Auth, Client, ConnectOptions, Connection, Direction, ErrorKind, EventFilter, EventKind, NewConnection,
    Phase, Policy, PullOptions, Report, Result, Server, ServerHandle, Site, Strategy, TableStatus, Token, Transfer,
    TransferFilter, TransferStatus,
};
use serde_json::{Value as Json, json};
use tungstenite::Message;

/// Three tables of ten rows each.
const THREE: &str = "CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE c(id INTEGER PRIMARY KEY, v TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) INSERT INTO a SELECT i, 'row ' || i FROM n;
    INSERT INTO b SELECT * FROM a; INSERT INTO c SELECT * FROM a;";

/// A shop that serves, and a backup that is connected to it.
struct World {
    shop: Fixture,
    backup: Fixture,
    _server: ServerHandle,
    /// The shop's end.
    sender: Connection,
    /// The backup's end.
    receiver: Connection,
}

impl World {
    fn new(change: impl FnOnce(&mut Policy)) -> Self {
        World::with(change, |new| new)
    }

    fn with(change: impl FnOnce(&mut Policy), more: impl FnOnce(NewConnection) -> NewConnection) -> Self {
        let (shop, backup) = (Fixture::new(THREE), Fixture::new(""));
        let server = Server::bind(&shop.site, "127.0.0.1:0").unwrap().spawn().unwrap();
        let mut policy = Policy::default();
        change(&mut policy);
        let made = NewConnection::sender("backup", "https://backup.example").policy(policy);
        let made = shop.site.connections().create(more(made)).unwrap();
        let receiver = receive(&backup.site, server.url(), made.token);
        World { shop, backup, _server: server, sender: made.connection, receiver }
    }

    fn pull(&self, options: PullOptions<'_>) -> Result<Report> {
        self.backup.site.pull(self.receiver.uuid, ConnectOptions::default(), options)
    }

    /// Both ends as they are now.
    fn ends(&self) -> (Connection, Connection) {
        let sender = self.shop.site.connections().get(self.sender.uuid).unwrap();
        (sender, self.backup.site.connections().get(self.receiver.uuid).unwrap())
    }

    fn approve(&self, transfer: uuid::Uuid) {
        self.shop.site.transfers().by("alice").approve(transfer).unwrap();
    }
}

/// A receiver connection to a site on this machine.
fn receive(site: &Site, url: &str, token: Token) -> Connection {
    site.settings().set_allow_internal_urls(true).unwrap();
    site.connections().create(NewConnection::receiver("shop", url, token)).unwrap().connection
}

/// The history of a site, the oldest first.
fn history(site: &Site) -> Vec<Transfer> {
    site.transfers().list(&TransferFilter::new().oldest_first()).unwrap()
}

/// The sender notes the end of a pull when its channel closes, which the receiver does not wait for.
fn until(what: &str, true_now: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if true_now() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}");
}

fn kind(result: Result<Report>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn table_kind(report: &Report, table: &str) -> Option<ErrorKind> {
    report.table(table).unwrap().error.as_ref().map(rowferry::Error::kind)
}

#[test]
fn both_sites_tell_of_a_pull() {
    let world = World::new(|_| ());
    world.backup.run("CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO a VALUES (1, 'mine')");
    let edited = world.backup.site.connections().update(world.receiver.uuid, |edit| {
        edit.policy.default_conflict_strategy = Strategy::Overwrite;
    });
    assert!(edited.is_ok() && world.receiver.last_connected_at.is_none());
    let report = world.pull(PullOptions::new().initiated_by("nightly")).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(world.backup.rows("SELECT v FROM a WHERE id = 1"), ["'row 1'"], "the connection's strategy counts");

    until("the sender's transfers end", || history(&world.shop.site).iter().all(|transfer| transfer.status.is_final()));
    let (sent, received) = (history(&world.shop.site), history(&world.backup.site));
    for (site, transfers, direction, connection) in
        [("shop", &sent, Direction::Send, world.sender.uuid), ("backup", &received, Direction::Receive, world.receiver.uuid)]
    {
        let names: Vec<_> = transfers.iter().map(|transfer| &*transfer.table_name).collect();
        assert_eq!(names, ["a", "b", "c"], "{site}");
        for transfer in transfers {
            assert_eq!((transfer.status, transfer.direction), (TransferStatus::Completed, direction), "{site}");
            assert_eq!((transfer.connection, transfer.counters.records_transferred), (Some(connection), 10), "{site}");
        }
    }
    for transfer in &received {
        assert_eq!(transfer.initiated_by.as_deref(), Some("nightly"));
        assert_eq!(transfer.conflict_strategy, Some(Strategy::Overwrite));
        assert_eq!(transfer.remote_site_url.as_deref(), Some(&*world.receiver.site_url));
        assert_eq!(report.table(&transfer.table_name).unwrap().transfer, Some(transfer.uuid));
    }
    let (sender, receiver) = world.ends();
    for end in [sender, receiver] {
        assert_eq!((end.total_transfers, end.total_records_transferred), (3, 30), "{}", end.name);
        assert!(end.last_connected_at.is_some() && end.last_transfer_at.is_some(), "{}", end.name);
    }
    let completed = EventFilter::new().connection(world.receiver.uuid).kinds([EventKind::TransferCompleted]);
    let events = world.backup.site.events().list(&completed).unwrap();
    assert!(events.len() == 3 && events.iter().all(|event| event.actor == "nightly"), "{events:?}");

    // What the options name wins.
    world.backup.run("UPDATE a SET v = 'mine' WHERE id = 1");
    assert!(world.pull(PullOptions::new().strategy(Strategy::Skip)).unwrap().is_clean());
    assert_eq!(world.backup.rows("SELECT v FROM a WHERE id = 1"), ["'mine'"]);
}

#[test]
fn a_pull_by_code_leaves_transfers_without_a_connection() {
    let world = World::new(|_| ());
    let session = world.shop.site.sessions().create(Direction::Send).unwrap();
    let client = Client::connect(world._server.url(), Auth::code(session.code()), ConnectOptions::default()).unwrap();
    assert!(client.pull(&world.backup.site, PullOptions::new()).unwrap().is_clean());
    let received = history(&world.backup.site);
    assert_eq!(received.len(), 3);
    for transfer in &received {
        assert_eq!((transfer.connection, transfer.initiated_by.as_deref()), (None, Some("host")));
        assert_eq!(transfer.remote_site_url, Some(client.url()));
    }
    assert!(!format!("{received:?}").contains(session.code()));
}

#[test]
fn only_a_connection_that_works_is_pulled_through() {
    let world = World::new(|_| ());
    let backup = &world.backup.site;
    let options = PullOptions::new;
    assert_eq!(kind(backup.pull(uuid::Uuid::nil(), ConnectOptions::default(), options())), ErrorKind::NotFound);
    let through_sender = world.shop.site.pull(world.sender.uuid, ConnectOptions::default(), options());
    assert_eq!(kind(through_sender), ErrorKind::InvalidInput);

    backup.connections().suspend(world.receiver.uuid, None).unwrap();
    let error = world.pull(options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionNotActive);
    assert!(error.hint().unwrap().contains("Reactivate"));
    backup.connections().reactivate(world.receiver.uuid).unwrap();

    backup.settings().set_allow_internal_urls(false).unwrap();
    assert_eq!(kind(world.pull(options())), ErrorKind::ForbiddenAddress);
    backup.settings().set_allow_internal_urls(true).unwrap();

    world.shop.site.connections().suspend(world.sender.uuid, None).unwrap();
    assert_eq!(kind(world.pull(options())), ErrorKind::ConnectionNotActive);
    assert!(history(backup).is_empty(), "no table was asked for");
    world.shop.site.connections().reactivate(world.sender.uuid).unwrap();
    assert!(world.pull(options()).unwrap().is_clean());
}

#[test]
fn a_download_password_is_sent() {
    let world = World::with(|_| (), |new| new.download_password("correct horse"));
    let pull = |connect| world.backup.site.pull(world.receiver.uuid, connect, PullOptions::new());
    assert_eq!(kind(pull(ConnectOptions::default().download_password("wrong"))), ErrorKind::InvalidPassword);
    let connect = ConnectOptions::default().download_password("correct horse");
    assert!(!format!("{connect:?}").contains("horse"));
    assert!(pull(connect).unwrap().is_clean());
}

#[test]
fn tables_that_need_approval_wait_for_the_next_pull() {
    let world = World::new(|policy| {
        policy.approval_mode = ApprovalMode::PerTable;
        policy.auto_approve_tables = vec!["a".to_owned(), "c".to_owned()];
    });
    let report = world.pull(PullOptions::new()).unwrap();
    assert!(report.table("a").unwrap().is_clean() && report.table("c").unwrap().is_clean());
    let waiting = report.table("b").unwrap();
    assert_eq!((waiting.status, table_kind(&report, "b")), (TableStatus::Failed, Some(ErrorKind::ApprovalRequired)));
    let error = waiting.error.as_ref().unwrap();
    assert!(error.hint().unwrap().contains("pull again") && error.transfer() == waiting.approval);
    let asked = world.shop.site.transfers().pending_approvals(&TransferFilter::new()).unwrap();
    assert_eq!(asked.iter().map(|transfer| Some(transfer.uuid)).collect::<Vec<_>>(), [waiting.approval]);
    assert_eq!(history(&world.backup.site)[1].status, TransferStatus::Failed);
    assert_eq!(world.backup.rows("SELECT * FROM b"), [""; 0]);

    // Asked again before it is approved, it is the same transfer that waits.
    let again = world.pull(PullOptions::new().tables(["b"])).unwrap();
    assert_eq!(again.table("b").unwrap().approval, waiting.approval);
    world.approve(waiting.approval.unwrap());
    let report = world.pull(PullOptions::new().tables(["b"])).unwrap();
    assert!(report.is_clean(), "{report:?}");
    // An approval is good for one pull.
    let report = world.pull(PullOptions::new().tables(["b"])).unwrap();
    assert_eq!(table_kind(&report, "b"), Some(ErrorKind::ApprovalRequired));
    assert_ne!(report.table("b").unwrap().approval, waiting.approval);
}

#[test]
fn a_pull_waits_for_what_others_decide() {
    let world = World::new(|policy| policy.approval_mode = ApprovalMode::RequireApproval);
    let mut decided = false;
    let options = PullOptions::new().wait_for_approval(Duration::from_secs(600)).on_progress(|progress| {
        if progress.phase == Phase::AwaitingApproval && !std::mem::replace(&mut decided, true) {
            let pending = world.shop.site.transfers().pending_approvals(&TransferFilter::new()).unwrap();
            assert_eq!(pending.len(), 3, "all tables are asked for at once");
            for transfer in pending {
                match &*transfer.table_name {
                    "c" => world.shop.site.transfers().deny(transfer.uuid, Some("not c")).map(|_| ()).unwrap(),
                    _ => world.approve(transfer.uuid),
                }
            }
        }
    });
    let report = world.pull(options).unwrap();
    assert!(decided && report.table("a").unwrap().is_clean() && report.table("b").unwrap().is_clean(), "{report:?}");
    let denied = report.table("c").unwrap().error.as_ref().unwrap();
    assert_eq!(denied.kind(), ErrorKind::ApprovalDenied);
    assert!(denied.message().contains("not c"), "{denied}");
    assert_eq!(world.backup.rows("SELECT count(*) FROM b"), ["10"]);
}

#[test]
fn limits_end_a_pull_where_they_are_reached() {
    let world = World::new(|policy| policy.max_records_total = Some(15));
    let report = world.pull(PullOptions::new().batch_size(5)).unwrap();
    assert!(report.table("a").unwrap().is_clean());
    assert_eq!(
        (table_kind(&report, "b"), table_kind(&report, "c")),
        (Some(ErrorKind::RecordLimit), Some(ErrorKind::RecordLimit))
    );
    let cut = report.table("b").unwrap();
    assert_eq!((cut.status, cut.outcome.created), (TableStatus::Incomplete, 5));
    assert_eq!(world.backup.rows("SELECT count(*) FROM b"), ["5"], "what was written stays");
    let received = history(&world.backup.site);
    assert_eq!((received.len(), received[1].status, received[1].counters.records_created), (2, TransferStatus::Failed, 5));
    let (_, receiver) = world.ends();
    assert_eq!((receiver.total_transfers, receiver.total_records_transferred), (2, 15));

    let world = World::new(|policy| policy.max_downloads = Some(1));
    let report = world.pull(PullOptions::new()).unwrap();
    assert!(report.table("a").unwrap().is_clean());
    assert_eq!(
        (table_kind(&report, "b"), table_kind(&report, "c")),
        (Some(ErrorKind::DownloadLimit), Some(ErrorKind::DownloadLimit))
    );
}

#[test]
fn a_connection_that_is_suspended_ends_its_pulls() {
    let world = World::new(|_| ());
    // More than is on its way when the first rows of b are committed.
    world.shop.run("UPDATE b SET v = hex(zeroblob(500000)); UPDATE c SET v = hex(zeroblob(500000))");
    let mut limits = rowferry::Limits::default();
    limits.pull.commit_rows = 3;
    let backup = Site::builder().limits(limits).open(world.backup.path()).unwrap();
    let options = PullOptions::new().batch_size(3).on_progress(|progress| {
        if progress.table == "b" && progress.phase != Phase::Finished && world.ends().0.status.as_str() == "active" {
            world.shop.site.connections().suspend(world.sender.uuid, Some("enough")).unwrap();
        }
    });
    let report = backup.pull(world.receiver.uuid, ConnectOptions::default(), options).unwrap();
    assert!(report.table("a").unwrap().is_clean());
    let refused = Some(ErrorKind::ConnectionNotActive);
    assert_eq!((table_kind(&report, "b"), table_kind(&report, "c")), (refused, refused));
}

#[test]
fn the_rate_of_a_sender_is_told() {
    let world = World::new(|policy| policy.rate_limit_requests_per_minute = 1);
    // So long is not waited here: a test does not sleep for a minute.
    let mut limits = rowferry::Limits::default();
    limits.pull.rate_wait_time = Duration::ZERO;
    let hasty = Site::builder().limits(limits).open(world.backup.path()).unwrap();
    let pull = || hasty.pull(world.receiver.uuid, ConnectOptions::default(), PullOptions::new());
    // A pull is one call, however many tables it has, and with what it asks about them.
    (0..5).for_each(|_| assert!(pull().unwrap().is_clean()));
    let error = pull().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.retry_after().is_some_and(|time| time <= Duration::from_secs(60)), "{error:?}");
}

/// A sender of PhoenixKit: its channel wants a topic that nobody tells, its HTTP calls take the token.
struct Reference {
    url: String,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Reference {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&calls);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, seen) = (stream.unwrap(), Arc::clone(&seen));
                std::thread::spawn(move || Reference::serve(stream, &seen));
            }
        });
        Reference { url, calls }
    }

    fn serve(mut stream: TcpStream, calls: &Mutex<Vec<String>>) {
        // A test that goes wrong ends all the same.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut start = [0; 4];
        while stream.peek(&mut start).is_ok_and(|read| read == 4) {
            if start == *b"GET " {
                return Reference::refuse_join(stream);
            }
            let Some((call, body)) = Reference::read(&mut stream) else { return };
            calls.lock().unwrap().push(call.clone());
            let answer = Reference::answer(&call, &body).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ";
            if stream.write_all(format!("{head}{}\r\n\r\n{answer}", answer.len()).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn refuse_join(stream: TcpStream) {
        let mut socket = tungstenite::accept(stream).unwrap();
        while let Ok(message) = socket.read() {
            if let Message::Text(text) = message {
                let join: Json = serde_json::from_str(&text).unwrap();
                let refusal = json!({"status": "error", "response": {"reason": "code_mismatch"}});
                let _ = socket.send(Message::text(json!([null, join[1], join[2], "phx_reply", refusal]).to_string()));
            }
        }
    }

    /// The last part of a request's path, and its body.
    fn read(stream: &mut TcpStream) -> Option<(String, Json)> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap().trim();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).ok()?;
        let call = head.split(' ').nth(1)?.rsplit('/').next()?.to_owned();
        Some((call, serde_json::from_slice(&body).unwrap()))
    }

    fn answer(call: &str, _body: &Json) -> Json {
        let column = |name, data_type| json!({"character_maximum_length": null, "column_default": null, "column_name": name, "data_type": data_type, "is_nullable": "YES"});
        match call {
            "list-tables" => {
                json!({"success": true, "tables": [{"name": "a", "row_count": 2, "size_bytes": 8192, "checksum": "x", "depends_on": []}]})
            }
            "table-schema" => {
                json!({"success": true, "schema": {"table_name": "a", "columns": [column("id", "bigint"), column("v", "text")]}})
            }
            "pull-data" => json!({"success": true, "table": "a", "data": [{"id": 1, "v": "x"}, {"id": 2, "v": "y"}]}),
            _ => json!({"success": false, "error": "not asked for here"}),
        }
    }
}

#[test]
fn a_sender_of_the_reference_system_is_pulled_from_over_http() {
    let sender = Reference::new();
    let backup = Fixture::new("CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO a VALUES (1, 'mine')");
    let receiver = receive(&backup.site, &sender.url, Token::generate().unwrap());
    let options = PullOptions::new().strategy(Strategy::Merge);
    let report = backup.site.pull(receiver.uuid, ConnectOptions::default(), options).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(backup.rows("SELECT * FROM a"), ["1|'x'", "2|'y'"]);
    assert!(sender.calls.lock().unwrap().contains(&"pull-data".to_owned()));
    let [transfer] = &history(&backup.site)[..] else { panic!("one table, one transfer") };
    assert_eq!((transfer.status, transfer.connection), (TransferStatus::Completed, Some(receiver.uuid)));
    assert_eq!((transfer.counters.records_created, transfer.counters.records_updated), (1, 1));
    let receiver = backup.site.connections().get(receiver.uuid).unwrap();
    assert_eq!((receiver.total_transfers, receiver.total_records_transferred), (1, 2));
}
