//! This version and rowferry 0.1.0 pull from each other: each of its ends is played from pulls that were recorded between two
//! programs of 0.1.0. One went through, one lost its connection behind the second page and went on in another one.

use std::collections::{BTreeSet, VecDeque};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::common::Fixture;
use crate::support::recorded::{Binary, CREDIT, DONE, END, FETCH, Fetch, Recording, Said, has, page};
use rowferry::{
    Auth, ChannelSession, CheckpointKind, Client, ConnectOptions, Direction, ErrorKind, Handler, PullOptions, Server,
    Strategy,
};
use serde_json::{Value as Json, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

const SOURCE: &str = include_str!("frames/v0_1_0/source.sql");
const PULL: &str = include_str!("frames/v0_1_0/pull.json");
const RESUMED_PULL: &str = include_str!("frames/v0_1_0/resumed_pull.json");
const STATE: &str = include_str!("frames/v0_1_0/state.sql");
const TABLES: [&str; 7] = ["big", "children", "empty", "loose", "mixed", "parents", "words"];
/// Rows of a page in the recorded pulls.
const BATCH: u32 = 10;

/// A sender of 0.1.0, which says what was recorded to each that asks for it. Each connection is answered as the recorded one of its
/// number was.
struct OldSender {
    url: String,
    thread: JoinHandle<()>,
}

impl OldSender {
    fn new(recording: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let recording = Recording::read(recording);
            // Once: it is remembered that this sender looks at the query only.
            miss(listener.accept().unwrap().0);
            for connection in 0..recording.connections() {
                let (stream, _) = listener.accept().unwrap();
                // A test that goes wrong ends all the same.
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                OldChannel::accept(stream, &recording, connection).run();
            }
        });
        OldSender { url, thread }
    }

    fn end(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Refuses a request as that version does which finds nothing in its query that lets it in.
#[expect(clippy::result_large_err, reason = "the handshake's callback is of this type")]
fn miss(stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let refuse = |request: &Request, _: Response| {
        assert_eq!(request.uri().to_string(), "/sync/websocket?vsn=2.0.0");
        let answer = http::Response::builder().status(403).body(Some("Missing authentication".to_owned()));
        Err::<Response, _>(answer.unwrap())
    };
    assert!(tungstenite::accept_hdr(stream, refuse).is_err());
}

struct OldChannel<'r> {
    socket: WebSocket<TcpStream>,
    recording: &'r Recording,
    connection: usize,
    /// Tables that were asked for, as long as they were not sent to their end.
    asked: BTreeSet<String>,
    /// The request whose last page was sent, and the end that waits for the receiver's word.
    waits: Option<(u32, Binary)>,
}

impl<'r> OldChannel<'r> {
    #[expect(clippy::result_large_err, reason = "the handshake's callback is of this type")]
    fn accept(stream: TcpStream, recording: &'r Recording, connection: usize) -> Self {
        let request = |request: &Request, response: Response| {
            assert_eq!(request.uri().to_string(), recording.request(connection));
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(stream, request).unwrap();
        let fetches = recording.binaries(connection, true).filter(|binary| binary.kind == FETCH);
        let asked = fetches.map(|fetch| Fetch::read(fetch).table).collect();
        OldChannel { socket, recording, connection, asked, waits: None }
    }

    /// Until the receiver goes, or the recorded connection was lost.
    fn run(mut self) {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => self.text(&text),
                Ok(Message::Binary(binary)) => {
                    if !self.binary(&Binary::open(&binary)) {
                        self.socket.get_mut().shutdown(Shutdown::Both).unwrap();
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        assert!(self.asked.is_empty() && self.waits.is_none(), "not pulled: {:?} {:?}", self.asked, self.waits);
    }

    fn text(&mut self, text: &str) {
        let asked: Json = serde_json::from_str(text).unwrap();
        let same = |frame: &Json| [2, 3].iter().all(|at| frame[at] == asked[at]) && frame[4]["table"] == asked[4]["table"];
        if asked[3] == "heartbeat" {
            return self.say(json!([null, asked[1], "phoenix", "phx_reply", {"status": "ok", "response": {}}]));
        }
        if asked[3] == "phx_join" {
            let receiver = &asked[4]["receiver_info"]["rowferry"];
            assert!(receiver["version"] == 1 && receiver["message_bytes"].is_u64(), "{text}");
        }
        let mut questions = self.recording.texts(true);
        let question = questions.find(|(connection, frame)| *connection == self.connection && same(frame));
        let (_, question) = question.unwrap_or_else(|| panic!("0.1.0 was not asked this: {text}"));
        let mut answers = self.recording.texts(false).filter(|(connection, _)| *connection == self.connection);
        let is_answer = |frame: &Json| {
            if frame[3] == "phx_reply" { frame[1] == question[1] } else { frame[4]["ref"] == question[4]["ref"] }
        };
        let (_, mut answer) = answers.find(|(_, frame)| is_answer(frame)).unwrap();
        match answer[3] == "phx_reply" {
            true => answer[1] = asked[1].clone(),
            false => answer[4]["ref"] = asked[4]["ref"].clone(),
        }
        self.say(answer);
    }

    /// `false` where the recorded connection was lost.
    fn binary(&mut self, asked: &Binary) -> bool {
        match asked.kind {
            FETCH => return self.send(asked),
            CREDIT => assert!(asked.body.len() == 4 && asked.body != [0; 4], "{asked:?}"),
            DONE => {
                assert!(asked.body.is_empty());
                let (request, end) = self.waits.take().unwrap();
                assert_eq!(asked.request, request);
                self.say_binary(&end);
            }
            _ => panic!("there is no reason to say this: {asked:?}"),
        }
        true
    }

    fn send(&mut self, asked: &Binary) -> bool {
        let fetch = Fetch::read(asked);
        assert_eq!(self.waits, None, "0.1.0 ends the table before when {:?} is asked for", fetch.table);
        assert!(self.asked.remove(&fetch.table), "{:?} was not asked for then, or is asked for once more", fetch.table);
        let was = self.recording.fetch(self.connection, &fetch.table).unwrap();
        let Fetch { page_rows, records, place, .. } = Fetch::read(was);
        assert_eq!((fetch.page_rows, fetch.records, &fetch.place), (page_rows, records, &place), "{}", fetch.table);
        let answers = self.recording.binaries(self.connection, false).filter(|answer| answer.request == was.request);
        for (at, answer) in answers.enumerate() {
            let answer = Binary { request: asked.request, ..answer.clone() };
            if answer.kind != END {
                self.say_binary(&answer);
                continue;
            }
            // An end waits for the receiver's word, unless there are no pages.
            match at {
                0 => self.say_binary(&answer),
                _ => self.waits = Some((asked.request, answer)),
            }
            return true;
        }
        false
    }

    fn say(&mut self, frame: Json) {
        self.socket.send(Message::text(frame.to_string())).unwrap();
    }

    fn say_binary(&mut self, binary: &Binary) {
        self.socket.send(Message::binary(binary.seal())).unwrap();
    }
}

fn pulls_from_0_1_0(recording: &'static str) {
    let sender = OldSender::new(recording);
    let (source, here) = (Fixture::new(SOURCE), Fixture::new(""));
    let options = ConnectOptions::default().request_timeout(Duration::from_secs(20)).heartbeat(None);
    let client = Client::connect(&sender.url, Auth::code(Recording::read(recording).code()), options).unwrap();
    let report = client.pull(&here.site, PullOptions::new().batch_size(BATCH)).unwrap();
    drop(client);
    sender.end();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.one_state, recording == PULL, "{report:?}");
    let keys = "SELECT name, type, pk FROM pragma_table_info('TABLE')";
    for table in TABLES {
        for query in ["SELECT * FROM TABLE ORDER BY 1, 2", keys].map(|query| query.replace("TABLE", table)) {
            assert_eq!(here.rows(&query), source.rows(&query), "{table}");
        }
        let rows = source.rows(&format!("SELECT * FROM {table}")).len() as u64;
        assert_eq!(report.table(table).unwrap().outcome.created, rows, "{table}");
    }
    assert_eq!(here.rows("SELECT * FROM pragma_foreign_key_check"), [""; 0]);
    assert_eq!(here.rows("SELECT \"table\" FROM pragma_foreign_key_list('children')"), ["'parents'"]);
}

#[test]
fn this_version_pulls_from_0_1_0() {
    pulls_from_0_1_0(PULL);
}

#[test]
fn this_version_goes_on_with_a_pull_from_0_1_0_that_lost_its_connection() {
    pulls_from_0_1_0(RESUMED_PULL);
}

/// What this version's sender says to a receiver of 0.1.0.
struct NewSender {
    there: Fixture,
    handler: Handler,
    code: String,
    ticket: Option<String>,
}

impl NewSender {
    fn new() -> Self {
        let there = Fixture::new(SOURCE);
        let code = there.site.sessions().create(Direction::Send).unwrap().code().to_owned();
        NewSender { handler: there.site.handler(), there, code, ticket: None }
    }

    /// What the recorded receiver said, with the code and the ticket that it would have got here.
    fn translated(&self, text: &str, recording: &Recording) -> String {
        let text = text.replace(recording.code(), &self.code);
        let ticket = recording.texts(false).find_map(|(_, frame)| Some(ticket(&frame)?.to_owned()));
        text.replace(&ticket.unwrap(), self.ticket.as_deref().unwrap_or("?"))
    }

    fn channel(&self, request: &str) -> Channel {
        let request = http::Request::get(request)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(());
        let session = self.handler.upgrade(&request.unwrap(), None).unwrap().session;
        Channel { session, texts: VecDeque::new(), binaries: VecDeque::new() }
    }
}

/// The ticket in an answer to a join.
fn ticket(frame: &Json) -> Option<&str> {
    frame[4]["response"]["rowferry"]["ticket"].as_str()
}

struct Channel {
    session: ChannelSession,
    texts: VecDeque<Json>,
    binaries: VecDeque<Binary>,
}

impl Channel {
    fn text(&mut self, text: &str) {
        let reply = self.session.on_text(text);
        assert_eq!(reply.close, None, "{text}");
        self.texts.extend(reply.frames.iter().map(|frame| serde_json::from_str::<Json>(frame).unwrap()));
    }

    fn binary(&mut self, binary: &Binary) {
        let reply = self.session.on_binary(&binary.seal());
        assert!(reply.close.is_none() && reply.frames.is_empty(), "{binary:?}");
        while let Some(message) = self.session.next_binary() {
            self.binaries.push_back(Binary::open(&message));
        }
    }

    fn said_all(&self) -> bool {
        self.texts.is_empty() && self.binaries.is_empty()
    }
}

/// Each message of the recorded receiver is answered as it was then, bit for bit but for the numbers of states and what may be
/// added to places, and nothing is said that was not said then: above all no end before the receiver has the last page.
fn lets_0_1_0_pull(recording: &str) {
    let recording = Recording::read(recording);
    let mut sender = NewSender::new();
    for connection in 0..recording.connections() {
        let mut channel = sender.channel(&sender.translated(recording.request(connection), &recording));
        let mut states = BTreeSet::new();
        for entry in recording.entries.iter().filter(|entry| entry.connection == connection) {
            match &entry.said {
                Said::Request { .. } => {}
                Said::Text(text) if entry.by_receiver => {
                    assert!(channel.said_all());
                    channel.text(&sender.translated(text, &recording));
                }
                Said::Binary(binary) if entry.by_receiver => {
                    assert!(channel.said_all(), "{:?}", channel.binaries);
                    channel.binary(binary);
                }
                Said::Text(text) => {
                    let said = channel.texts.pop_front().unwrap();
                    sender.ticket = ticket(&said).map(str::to_owned).or(sender.ticket);
                    let was = serde_json::from_str(&text.replace(recording.code(), &sender.code)).unwrap();
                    assert!(has(&said, &was), "{said}\n{was}");
                }
                Said::Binary(was) => {
                    let said = channel.binaries.pop_front().unwrap();
                    assert_eq!((said.kind, said.request), (was.kind, was.request));
                    if said.kind == END {
                        assert_eq!((said.body.len(), &said.body), (8, &was.body));
                    } else {
                        let ((state, said, place), (_, was, old_place)) = (page(&said), page(was));
                        assert_eq!(said, was);
                        // Places are the sender's own. 0.1.0 keeps them as they come: a run, a number of values, the values.
                        assert!(place[0] == old_place[0] && place[3..].starts_with(&old_place[3..]), "{place:?}");
                        states.insert(state);
                    }
                }
            }
        }
        assert_eq!(states.len(), 1);
        // The pages that were lost with the first connection.
        assert!(channel.said_all() || connection + 1 < recording.connections());
    }
    let sent = sender.there.site.transfers().list(&Default::default()).unwrap();
    let records: u64 = sent.iter().map(|transfer| transfer.counters.records_transferred).sum();
    let rows: usize = TABLES.iter().map(|table| sender.there.rows(&format!("SELECT * FROM {table}")).len()).sum();
    assert_eq!((sent.len(), records), (TABLES.len(), rows as u64), "{sent:?}");
}

#[test]
fn a_receiver_of_0_1_0_pulls_from_this_version() {
    lets_0_1_0_pull(PULL);
}

#[test]
fn a_receiver_of_0_1_0_goes_on_with_a_pull_from_this_version() {
    lets_0_1_0_pull(RESUMED_PULL);
}

#[test]
fn a_receiver_of_0_1_0_is_sent_one_table_at_a_time_and_no_more_than_it_allowed() {
    let recording = Recording::read(PULL);
    let sender = NewSender::new();
    let mut channel = sender.channel(&sender.translated(recording.request(0), &recording));
    channel.text(&sender.translated(&recording.texts(true).next().unwrap().1.to_string(), &recording));
    let of_kinds = |channel: &mut Channel| {
        let all = channel.binaries.drain(..).map(|binary| (binary.kind, binary.request));
        all.collect::<Vec<_>>()
    };
    let say = |channel: &mut Channel, kind, request, body: u32| {
        let body = if body > 0 { body.to_le_bytes().to_vec() } else { Vec::new() };
        channel.binary(&Binary { kind, request, body });
    };
    let (big, loose) = (recording.fetch(0, "big").unwrap(), recording.fetch(0, "loose").unwrap());
    let mut little = big.clone();
    little.body[8..12].copy_from_slice(&1u32.to_le_bytes());

    channel.binary(&little);
    assert_eq!(of_kinds(&mut channel), [(crate::support::recorded::PAGE, big.request)]);
    say(&mut channel, CREDIT, big.request, 1_000);
    assert_eq!(of_kinds(&mut channel), [(crate::support::recorded::PAGE, big.request)]);
    // The next table ends the one before, whatever is said of that.
    channel.binary(loose);
    assert_eq!(of_kinds(&mut channel), [(crate::support::recorded::PAGE, loose.request)]);
    say(&mut channel, CREDIT, big.request, 1 << 20);
    say(&mut channel, DONE, big.request, 0);
    assert_eq!(of_kinds(&mut channel), []);
    say(&mut channel, DONE, loose.request, 0);
    let end = channel.binaries[0].body.clone();
    assert_eq!((of_kinds(&mut channel), end), (vec![(END, loose.request)], 5u64.to_le_bytes().to_vec()));
    // One that was given up is over, and the channel goes on.
    channel.binary(&little);
    say(&mut channel, crate::support::recorded::CANCEL, big.request, 0);
    say(&mut channel, CREDIT, big.request, 1 << 20);
    assert_eq!(of_kinds(&mut channel), [(crate::support::recorded::PAGE, big.request)]);
    channel.binary(big);
    assert_eq!(of_kinds(&mut channel), [(crate::support::recorded::PAGE, big.request); 3]);
}

#[test]
fn a_place_is_taken_as_this_version_gives_it_and_as_0_1_0_gave_it() {
    let recording = Recording::read(PULL);
    let sender = NewSender::new();
    let mut channel = sender.channel(&sender.translated(recording.request(0), &recording));
    channel.text(&sender.translated(&recording.texts(true).next().unwrap().1.to_string(), &recording));
    for (table, rows, old_place) in [("big", 25, [1, 1, 0, 0x11, 2]), ("loose", 5, [0, 1, 0, 0x11, 2])] {
        let first = Fetch { page_rows: 2, window: 1, ..Fetch::read(recording.fetch(0, table).unwrap()) };
        let ask = |channel: &mut Channel, fetch: &Fetch| {
            channel.binary(&fetch.write(1));
            let pages: Vec<Binary> = channel.binaries.drain(..).collect();
            assert!(pages.iter().all(|page| page.kind == crate::support::recorded::PAGE), "{pages:?}");
            pages
        };
        let place = page(&ask(&mut channel, &first)[0]).2.to_vec();
        for place in [place, old_place.to_vec()] {
            let rest = Fetch { records: 2, place, window: 1 << 20, ..Fetch::read(recording.fetch(0, table).unwrap()) };
            let pages = ask(&mut channel, &rest);
            channel.binary(&Binary { kind: DONE, request: 1, body: Vec::new() });
            let end = channel.binaries.pop_front().unwrap();
            assert_eq!((end.kind, end.body), (END, u64::to_le_bytes(rows - 2).to_vec()), "{table}: {pages:?}");
        }
    }
}

/// State that 0.1.0 left: how far an interrupted pull was is not known to this version, but what was appended is.
#[test]
fn the_state_of_0_1_0_is_taken_over() {
    let there = Fixture::new(
        "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'a'), (2, 'b'), (3, 'c');
        CREATE TABLE posts(id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users(id), body TEXT);
        INSERT INTO posts VALUES (1, 2, 'p1'), (2, 1, 'p2'), (3, 2, 'p3'), (4, 1, 'p4'), (5, 2, 'p5'), (6, 1, 'p6');",
    );
    let here = Fixture::new(&STATE.replace("SENDER", &there.site.uuid().unwrap().to_string()));
    let history = || here.rows("SELECT table_name, status FROM rowferry_transfers ORDER BY started_at, uuid");
    assert_eq!(history(), ["'users'|'completed'", "'posts'|'failed'"]);
    let kinds =
        || here.site.checkpoints().list().unwrap().iter().map(|one| (one.table.clone(), one.kind)).collect::<Vec<_>>();
    assert_eq!(kinds(), [("posts".to_owned(), CheckpointKind::Unfinished), ("users".to_owned(), CheckpointKind::Appended)]);

    let server = Server::bind(&there.site, "127.0.0.1:0").unwrap().spawn().unwrap();
    let pull = |options: PullOptions<'_>| {
        let code = there.site.sessions().create(Direction::Send).unwrap();
        let client = Client::connect(server.url(), Auth::code(code.code()), ConnectOptions::default()).unwrap();
        client.pull(&here.site, options).unwrap()
    };
    let append = || PullOptions::new().strategy(Strategy::Append).tables(["users"]);
    let refused = pull(append());
    assert_eq!(refused.table("users").unwrap().error.as_ref().unwrap().kind(), ErrorKind::AlreadyAppended);
    assert_eq!(pull(append().append_new(true)).table("users").unwrap().outcome.created, 1);

    let report = pull(PullOptions::new().strategy(Strategy::Overwrite).tables(["posts"]));
    let posts = report.table("posts").unwrap();
    assert!(report.is_clean() && !posts.resumed, "{report:?}");
    assert_eq!((posts.outcome.created, posts.outcome.unchanged), (3, 3));
    assert_eq!(kinds(), [("users".to_owned(), CheckpointKind::Appended)]);
    assert_eq!(history()[2..], ["'users'|'completed'", "'posts'|'completed'"]);
}
