//! What rowferry 0.2.0 wrote is read: a site's database with its key file, and both ends of its pulls (`frames/README.md`).
//!
//! Each test reads the files of that version, and those that this version has just written: so the writing does not rot, either.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::record::{BATCH, NOW, PASSWORD, RECEIVER, append, asking, connecting, interrupted, messages, record};
use crate::support::common::{Fixture, rows};
use crate::support::recorded::{
    Binary, CANCEL, CREDIT, DONE, END, ERROR, FETCH, Fetch, PAGE, Recording, Said, bytes, has, page,
};
use rowferry::internals::native::{Answer, Request as Asked};
use rowferry::{
    Auth, ChannelSession, CheckpointKind, Client, ConnectionFilter, ConnectionStatus, Direction, ErrorKind, EventFilter,
    Handler, ManualClock, NewConnection, PullOptions, Site, TransferFilter, TransferStatus, Value, Verified,
};
use serde_json::Value as Json;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

/// Says where this version writes its files to keep: see `frames/README.md`.
const RECORD: &str = "ROWFERRY_RECORD";

const TABLES: [&str; 7] = ["big", "empty", "loose", "mixed", "nodes", "people", "words"];

/// The rows that wait in stages.
const STAGED: &str = "SELECT coalesce(sum(records), 0) FROM rowferry_staged";

/// The connections of `resumed_pull.json`: an append, a pull that is lost in its table, its rest, and the append again.
const LOST: usize = 1;
const RESUMED: Range<usize> = 2..4;

/// The files of a version.
struct Files {
    folder: PathBuf,
    _made: Option<tempfile::TempDir>,
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/frames/v0_2_0")
}

/// Those of 0.2.0, and of this version.
fn all() -> [Files; 2] {
    let made = tempfile::tempdir().unwrap();
    record(made.path());
    [Files { folder: kept(), _made: None }, Files { folder: made.path().to_owned(), _made: Some(made) }]
}

/// Where [`RECORD`] says so the files are written to stay.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test, not the library")]
fn this_version_writes_the_same_files() {
    let made = tempfile::tempdir().unwrap();
    let folder = std::env::var_os(RECORD).map_or_else(|| made.path().to_owned(), PathBuf::from);
    record(&folder);
    let files = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect();
        files.sort();
        files
    };
    let (written, kept) = (files(&folder), files(&kept()));
    assert!(written.iter().map(|file| &file.0).eq(kept.iter().map(|file| &file.0)), "{written:?} {kept:?}");
    assert!(written.iter().map(|file| file.1).sum::<u64>() < 300_000, "{written:?}");
}

impl Files {
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    fn recording(&self, name: &str) -> Recording {
        Recording::read(&self.text(name))
    }

    fn secret(&self, name: &str) -> String {
        serde_json::from_str::<Json>(&self.text("secrets.json")).unwrap()[name].as_str().unwrap().to_owned()
    }

    /// The site as it was left, an hour later.
    fn site(&self) -> Left {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.db");
        fs::copy(self.folder.join("site.db"), &path).unwrap();
        let key = folder.path().join("site.db.rowferry-key");
        fs::copy(self.folder.join("site.key"), &key).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let clock = ManualClock::new(NOW + Duration::from_secs(3_600));
        let site = Site::builder().clock(Arc::new(clock)).open(&path).unwrap();
        Left { sqlite: rusqlite::Connection::open(&path).unwrap(), site, _folder: folder }
    }
}

struct Left {
    site: Site,
    sqlite: rusqlite::Connection,
    _folder: tempfile::TempDir,
}

impl Left {
    fn remembered(&self) -> Vec<(String, CheckpointKind, u64)> {
        let all = self.site.checkpoints().list().unwrap();
        all.into_iter().map(|one| (one.table, one.kind, one.records)).collect()
    }
}

#[test]
fn the_state_is_read() {
    for files in all() {
        let left = files.site();
        let site = &left.site;
        let connections = site.connections().list(&ConnectionFilter::default()).unwrap();
        assert!(connections.iter().all(|one| one.status == ConnectionStatus::Active), "{connections:?}");
        assert_eq!(connections.len(), 2);
        let nightly = site.connections().find("Nightly").unwrap();
        assert_eq!(
            (&nightly.policy.allowed_tables[..], nightly.policy.max_downloads),
            (&["people".to_owned()][..], Some(5))
        );
        assert_eq!(site.settings().site_url().unwrap().as_deref(), Some("https://here.example"));
        let history = site.transfers().list(&TransferFilter::new().oldest_first()).unwrap();
        let history: Vec<_> = history.iter().map(|one| (&one.table_name[..], one.status)).collect();
        assert_eq!(history, [("people", TransferStatus::Completed), ("nodes", TransferStatus::Failed)]);
        assert!(site.events().list(&EventFilter::default()).unwrap().len() >= 2);
        let appended = ("people".to_owned(), CheckpointKind::Appended, 3);
        assert_eq!(left.remembered(), [("nodes".to_owned(), CheckpointKind::Unfinished, 20), appended]);
        assert_eq!(rows(&left.sqlite, STAGED), ["20"]);
        let keys = site.key_map("people").entries().map(|one| one.unwrap());
        let keys: Vec<_> = keys.map(|one| (one.old, one.new, one.existing)).collect();
        let key = |old, new, existing| (vec![Value::Integer(old)], vec![Value::Integer(new)], existing);
        assert_eq!(keys, [key(1, 3, false), key(2, 2, true), key(3, 4, false)]);
        assert_eq!(rows(&left.sqlite, "SELECT * FROM people"), ["1|'Barbara'", "2|'Grace'", "3|'Ada'", "4|'Edsger'"]);
    }
}

#[test]
fn who_was_let_in_is_let_in() {
    for files in all() {
        let left = files.site();
        let let_in =
            |given: &str| left.site.handler().upgrade(&asking(given), None).map_err(|answer| answer.status().as_u16());
        let token = files.secret("token");
        let password = |password| format!("token={token}&password={password}");
        assert!(let_in(&password(PASSWORD)).is_ok());
        assert_eq!(let_in(&password("guess")).err(), Some(403));
        assert_eq!(let_in(&format!("token={token}")).err(), Some(403));
        assert!(let_in(&format!("code={}", files.secret("open_code"))).is_ok());
        let ticket = format!("ticket={}", files.secret("ticket"));
        assert!(let_in(&format!("{ticket}&receiver={RECEIVER}")).is_ok());
        assert_eq!(let_in(&format!("{ticket}&receiver={}", uuid::Uuid::nil())).err(), Some(403));
    }
}

#[test]
fn an_interrupted_pull_resumes_and_an_append_is_known() {
    for files in all() {
        let left = files.site();
        let sender = RecordedSender::new(files.recording("resumed_pull.json"), RESUMED);
        let sql = "UPDATE rowferry_connections SET site_url = ?1 WHERE name = 'Shop'";
        assert_eq!(left.sqlite.execute(sql, [&sender.url]).unwrap(), 1);
        // Its token was sealed.
        let shop = left.site.connections().find("Shop").unwrap().uuid;
        let report = left.site.pull(shop, connecting(), interrupted()).unwrap();
        report.ok().unwrap();
        let nodes = report.table("nodes").unwrap();
        assert!(nodes.resumed, "{report:?}");
        assert_eq!((nodes.outcome.created, report.records), (35, 35), "{report:?}");
        let again = left.site.pull(shop, connecting(), append()).unwrap();
        assert_eq!(again.table("people").unwrap().error.as_ref().unwrap().kind(), ErrorKind::AlreadyAppended);
        sender.end();
        let source = Fixture::new(&files.text("source.sql"));
        let query = "SELECT * FROM nodes";
        assert_eq!(rows(&left.sqlite, query), source.rows(query));
        assert_eq!(left.remembered(), [("people".to_owned(), CheckpointKind::Appended, 3)]);
        assert_eq!(rows(&left.sqlite, STAGED), ["0"]);
    }
}

#[test]
fn this_version_pulls_from_what_was_recorded() {
    for files in all() {
        let recording = files.recording("pull.json");
        let code = given(recording.asked(0).1, "code").unwrap();
        let sender = RecordedSender::new(recording, 0..1);
        let (source, here) = (Fixture::new(&files.text("source.sql")), Fixture::new(""));
        let client = Client::connect(&sender.url, Auth::code(code), connecting()).unwrap();
        let report = client.pull(&here.site, PullOptions::new().batch_size(BATCH)).unwrap();
        drop(client);
        sender.end();
        report.ok().unwrap();
        assert!(report.verified() == Verified::None && report.notes[0].contains("(unverified)"), "{report:?}");
        for table in TABLES {
            let query = format!("SELECT * FROM {table}");
            assert_eq!(here.rows(&query), source.rows(&query), "{table}");
        }
    }
}

#[test]
fn what_was_recorded_pulls_from_this_version() {
    for files in all() {
        let recording = files.recording("pull.json");
        let there = Fixture::new(&files.text("source.sql"));
        let code = there.site.sessions().create(Direction::Send).unwrap();
        let was = given(recording.asked(0).1, "code").unwrap();
        let sent = RecordedReceiver::new(&there.site, [(was, code.code().to_owned())]).pulls(&recording, 0..1);
        assert_eq!(sent, TABLES.len());

        let recording = files.recording("resumed_pull.json");
        let there = Fixture::new(&files.text("source.sql"));
        let made = there.site.connections().create(NewConnection::sender("here", "https://here.example")).unwrap();
        let was = given(recording.asked(0).1, "token").unwrap();
        let sent = RecordedReceiver::new(&there.site, [(was, made.token.as_str().to_owned())])
            .pulls(&recording, 0..recording.connections());
        // The pull that resumes is the same download.
        assert_eq!(sent, 2);
    }
}

#[test]
fn each_message_is_as_it_was() {
    for files in all() {
        let kept: Json = serde_json::from_str(&files.text("messages.json")).unwrap();
        assert_eq!(kept, messages());
        let mut kinds = Vec::new();
        for (name, hex) in kept.as_object().unwrap() {
            let message = bytes(hex.as_str().unwrap());
            let kind = Binary::open(&message).kind;
            let again = match kind {
                FETCH | CREDIT | CANCEL | DONE => Asked::decode(&message).unwrap().encode().unwrap(),
                _ => match Answer::decode(&message).unwrap() {
                    Answer::End(end) => end.encode(),
                    Answer::Error(refusal) => refusal.encode(),
                    other => panic!("{other:?}"),
                },
            };
            assert_eq!(again, message, "{name}");
            kinds.push(kind);
        }
        let pulled = files.recording("pull.json");
        kinds.extend(pulled.binaries(0, false).map(|binary| binary.kind));
        for kind in [FETCH, CREDIT, CANCEL, DONE, PAGE, END, ERROR] {
            assert!(kinds.contains(&kind), "{kind:#x}");
        }
    }
}

/// What a receiver gives to be let in.
fn given(auth: Option<&str>, name: &str) -> Option<String> {
    let of = |part: &str| part.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    auth?.split('&').find_map(of)
}

/// Says what the recorded sender said to it who asks the same.
struct RecordedSender {
    url: String,
    thread: JoinHandle<()>,
}

impl RecordedSender {
    fn new(recording: Recording, connections: Range<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            for connection in connections {
                let (stream, _) = listener.accept().unwrap();
                // A test that goes wrong ends all the same.
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                RecordedChannel::accept(stream, &recording, connection).run();
            }
        });
        RecordedSender { url, thread }
    }

    fn end(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

struct RecordedChannel<'r> {
    socket: WebSocket<TcpStream>,
    recording: &'r Recording,
    connection: usize,
}

impl<'r> RecordedChannel<'r> {
    #[expect(clippy::result_large_err, reason = "the handshake's callback is of this type")]
    fn accept(stream: TcpStream, recording: &'r Recording, connection: usize) -> Self {
        let request = |request: &Request, response: Response| {
            let auth = request.headers().get("x-rowferry-auth").map(|auth| auth.to_str().unwrap());
            let (target, was) = recording.asked(connection);
            assert_eq!(request.uri().to_string(), target);
            for name in ["code", "token", "ticket", "password"] {
                assert_eq!(given(auth, name), given(was, name), "{name}");
            }
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(stream, request).unwrap();
        RecordedChannel { socket, recording, connection }
    }

    /// Until the receiver goes, or the recorded connection was lost.
    fn run(mut self) {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => self.text(&text),
                Ok(Message::Binary(binary)) => {
                    let asked = Binary::open(&binary);
                    if asked.kind == FETCH && !self.send(&asked) {
                        self.socket.get_mut().shutdown(Shutdown::Both).unwrap();
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn text(&mut self, text: &str) {
        let asked: Json = serde_json::from_str(text).unwrap();
        let same = |frame: &Json| [2, 3].iter().all(|at| frame[at] == asked[at]) && frame[4]["table"] == asked[4]["table"];
        let mut questions = self.recording.texts(true);
        let question = questions.find(|(connection, frame)| *connection == self.connection && same(frame));
        let (_, question) = question.unwrap_or_else(|| panic!("this was not asked: {text}"));
        let mut answers = self.recording.texts(false).filter(|(connection, _)| *connection == self.connection);
        let is_answer = |frame: &Json| match frame[3] == "phx_reply" {
            true => frame[1] == question[1],
            false => !frame[4]["ref"].is_null() && frame[4]["ref"] == question[4]["ref"],
        };
        // Some messages have no answer.
        let Some((_, mut answer)) = answers.find(|(_, frame)| is_answer(frame)) else { return };
        match answer[3] == "phx_reply" {
            true => answer[1] = asked[1].clone(),
            false => answer[4]["ref"] = asked[4]["ref"].clone(),
        }
        self.socket.send(Message::text(answer.to_string())).unwrap();
    }

    /// `false` where the recorded connection was lost.
    fn send(&mut self, asked: &Binary) -> bool {
        let (asks, pull) = Fetch::named(asked);
        let same = |was: &Fetch| was.table == asks.table && was.place == asks.place;
        let mut fetches = self.recording.binaries(self.connection, true).filter(|binary| binary.kind == FETCH);
        let was = fetches.find(|was| same(&Fetch::named(was).0)).unwrap_or_else(|| panic!("this was not asked: {asks:?}"));
        let answers = self.recording.binaries(self.connection, false).filter(|answer| answer.request == was.request);
        let mut ended = false;
        for answer in answers {
            ended |= answer.kind == END;
            let mut answer = Binary { request: asked.request, ..answer.clone() };
            if answer.kind == END && Fetch::named(was).1 != pull {
                // Another pull hashes rows in another way: the sum of then is not known to it.
                answer.body.truncate(16);
            }
            self.socket.send(Message::binary(answer.seal())).unwrap();
        }
        ended
    }
}

/// Says what the recorded receiver said, and holds what this version answers against what was answered then.
struct RecordedReceiver<'s> {
    site: &'s Site,
    handler: Handler,
    /// What stands for what was given to be let in.
    given: HashMap<String, String>,
    /// Where the sender of now is after the rows that the one of then gave this place after.
    places: HashMap<Vec<u8>, Vec<u8>>,
}

impl<'s> RecordedReceiver<'s> {
    fn new(site: &'s Site, given: impl IntoIterator<Item = (String, String)>) -> Self {
        RecordedReceiver { handler: site.handler(), site, given: given.into_iter().collect(), places: HashMap::new() }
    }

    fn translated(&self, text: &str) -> String {
        self.given.iter().fold(text.to_owned(), |text, (was, new)| text.replace(was, new))
    }

    /// Gives how many downloads the sender counts.
    fn pulls(mut self, recording: &Recording, connections: Range<usize>) -> usize {
        for connection in connections {
            let auth = self.translated(recording.asked(connection).1.unwrap());
            let session = self.handler.upgrade(&asking(&auth), None).unwrap().session;
            self.channel(session, recording, connection);
        }
        let sent = self.site.transfers().list(&TransferFilter::default()).unwrap();
        assert!(sent.iter().all(|one| one.status == TransferStatus::Completed), "{sent:?}");
        sent.len()
    }

    fn channel(&mut self, mut session: ChannelSession, recording: &Recording, connection: usize) {
        let (mut texts, mut said) = (VecDeque::new(), BTreeMap::<u32, Vec<Binary>>::new());
        for entry in recording.entries.iter().filter(|entry| entry.connection == connection) {
            match &entry.said {
                Said::Request { .. } => {}
                Said::Text(text) if entry.by_receiver => {
                    let reply = session.on_text(&self.translated(text));
                    assert_eq!(reply.close, None, "{text}");
                    texts.extend(reply.frames.iter().map(|frame| serde_json::from_str::<Json>(frame).unwrap()));
                }
                Said::Text(text) => {
                    let (was, new) = (serde_json::from_str(&self.translated(text)).unwrap(), texts.pop_front().unwrap());
                    assert!(has(&new, &was), "{new}\n{was}");
                }
                Said::Binary(asked) if entry.by_receiver => {
                    let reply = session.on_binary(&self.at_its_place(asked).seal());
                    assert!(reply.close.is_none() && reply.frames.is_empty(), "{asked:?}");
                    while let Some(message) = session.next_binary() {
                        let answer = Binary::open(&message);
                        said.entry(answer.request).or_default().push(answer);
                    }
                }
                Said::Binary(_) => {}
            }
        }
        assert!(texts.is_empty(), "{texts:?}");
        for (request, said) in said {
            let was: Vec<_> = recording.binaries(connection, false).filter(|was| was.request == request).collect();
            // What the lost connection lost may be more or less.
            assert!(was.len() == said.len() || connection == LOST, "{request}: {was:?}\n{said:?}");
            for (said, was) in said.iter().zip(was) {
                assert_eq!(said.kind, was.kind);
                match said.kind {
                    PAGE => {
                        let ((_, said, place), (_, was, old_place)) = (page(said), page(was));
                        assert_eq!(said, was);
                        self.places.insert(old_place.to_vec(), place.to_vec());
                    }
                    // The rows; a state has a number of its own.
                    _ => assert_eq!((said.body.len(), &said.body[..8]), (was.body.len(), &was.body[..8])),
                }
            }
        }
    }

    /// What was asked, with the place that this sender gave.
    fn at_its_place(&self, asked: &Binary) -> Binary {
        let mut asked = asked.clone();
        if asked.kind == FETCH {
            let place = Fetch::named(&asked).0.place;
            if let Some(new) = self.places.get(&place) {
                asked.body.truncate(asked.body.len() - place.len());
                asked.body.extend_from_slice(new);
            }
        }
        asked
    }
}
