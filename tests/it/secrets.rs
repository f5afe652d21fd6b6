//! No secret shows: two sites go through everything that has one, right and wrong, and all that was logged, answered, kept,
//! reported or printed for debugging is searched for tokens, the wire's hashes of them, codes and passwords.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rowferry::{
    Api, Auth, Client, ConnectOptions, ConnectionDirection, ConnectionFilter, Direction, EventFilter, IncomingMode,
    NewConnection, PullOptions, RecordsQuery, Server, ServerHandle, Site, Token, TransferFilter,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// What is searched: pieces of text with where they are from.
type Heap = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Keeps what rowferry logs, at every level. What its dependencies log at trace level is not its own: see the crate's docs.
struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("rowferry") || metadata.level() <= log::Level::Debug
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            writeln!(LOGGED.lock().unwrap(), "{} {}", record.target(), record.args()).unwrap();
        }
    }

    fn flush(&self) {}
}

/// A site that is served behind a proxy that keeps all that the server sends.
struct Served {
    site: Site,
    server: ServerHandle,
    url: String,
    folder: TempDir,
}

fn served(heap: &Heap, sql: &str) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let site = Site::open(path).unwrap();
    let server = Server::bind(&site, "127.0.0.1:0").unwrap().spawn().unwrap();
    let url = format!("http://{}", proxy(server.local_addr(), heap));
    site.settings().set_allow_internal_urls(true).unwrap();
    site.settings().set_site_url(&url).unwrap();
    Served { site, server, url, folder }
}

fn proxy(to: SocketAddr, heap: &Heap) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heap) = (listener.local_addr().unwrap(), Arc::clone(heap));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(to).unwrap();
            let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || forward(from, into, |_| {}));
            let heap = Arc::clone(&heap);
            std::thread::spawn(move || {
                let mut all = Vec::new();
                forward(server, client, |bytes| all.extend_from_slice(bytes));
                heap.lock().unwrap().push(("an answer".to_owned(), all));
            });
        }
    });
    address
}

fn forward(mut from: TcpStream, mut to: TcpStream, mut seen: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        seen(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn keep(heap: &Heap, what: &str, thing: impl std::fmt::Debug) {
    heap.lock().unwrap().push((what.to_owned(), format!("{thing:?}").into_bytes()));
}

fn keep_files(heap: &Heap, folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The key's own file is what protects the rest, and is readable by its owner only.
        if !path.to_string_lossy().ends_with("-key") {
            heap.lock().unwrap().push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

fn keep_site(heap: &Heap, site: &Site) {
    let connections = site.connections().list(&ConnectionFilter::new()).unwrap();
    keep(heap, "connections as JSON", serde_json::to_string(&connections).unwrap());
    keep(heap, "connections", &connections);
    let transfers = site.transfers().list(&TransferFilter::new()).unwrap();
    keep(heap, "transfers as JSON", serde_json::to_string(&transfers).unwrap());
    let events = site.events().list(&EventFilter::new().limit(1000)).unwrap();
    keep(heap, "events as JSON", serde_json::to_string(&events).unwrap());
    keep(heap, "a site", site);
}

#[test]
fn no_secret_is_logged_answered_or_stored() {
    // In a process of its own: what is logged is the whole process's.
    let arguments = ["--exact", "secrets::alone", "--ignored", "--nocapture"];
    let done = std::process::Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
#[ignore = "it is started by the test above, alone"]
fn alone() {
    log::set_logger(&Keeper).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let heap = Heap::default();
    let shop = served(&heap, "CREATE TABLE users(id INTEGER PRIMARY KEY); INSERT INTO users VALUES (1), (2), (3)");
    let backup = served(&heap, "");
    let options = ConnectOptions::default();
    let (incoming, download) = ("incoming-pass-4711", "download-pass-4712");
    let mut secrets = vec![incoming.to_owned(), download.to_owned(), "wrong-pass-4713".to_owned()];
    let mut secret_token = |token: &Token| {
        secrets.push(token.as_str().to_owned());
        secrets.push(sha256(token.as_str()));
    };

    // Registered: without a password, with a wrong one, with the right one, and again.
    backup.site.settings().set_incoming_mode(IncomingMode::RequirePassword).unwrap();
    backup.site.settings().set_incoming_password(incoming).unwrap();
    let new = NewConnection::sender("Backup", &backup.url).download_password(download);
    keep(&heap, "a new connection", &new);
    let made = shop.site.connections().create(new).unwrap();
    secret_token(&made.token);
    keep(&heap, "made", &made);
    let notifier = shop.site.notifier(options.clone());
    for password in [None, Some("wrong-pass-4713"), Some(incoming), Some(incoming)] {
        keep(&heap, "registered", notifier.register(made.connection.uuid, &made.token, password).unwrap());
    }

    // Pulled: by code, by token, through the connection; with wrong ones, too.
    let session = shop.site.sessions().create(Direction::Send).unwrap();
    secrets.push(session.code().to_owned());
    let mut codes = vec![session.code().to_owned()];
    keep(&heap, "a session", &session);
    for _ in 0..2 {
        let client = Client::connect(&shop.url, Auth::code(session.code()), options.clone());
        keep(&heap, "a client", client.map(|client| client.pull(&backup.site, PullOptions::new())));
    }
    // Not completed, and taken up with its ticket; and when that is no longer good.
    let session = shop.site.sessions().create(Direction::Send).unwrap();
    secrets.push(session.code().to_owned());
    codes.push(session.code().to_owned());
    for taken_up in [false, true, false] {
        let (auth, options) = (Auth::code(session.code()), options.clone());
        let pulled = backup.site.pull_from(&shop.url, auth, options, PullOptions::new().tables(["users", "ghost"]));
        assert!(!taken_up || pulled.is_ok(), "{pulled:?}");
        keep(&heap, "pulled", pulled);
        keep_files(&heap, backup.folder.path());
        if taken_up {
            shop.site.sessions().delete(session.uuid()).unwrap();
        }
    }
    let stranger = Token::generate().unwrap();
    secrets.push(stranger.as_str().to_owned());
    secrets.push(sha256(stranger.as_str()));
    for auth in [
        Auth::token(made.token.as_str()).password(download),
        Auth::token(made.token.as_str()).password("wrong-pass-4713"),
        Auth::token(made.token.as_str()),
        Auth::token(stranger.as_str()).password(download),
        Auth::code("A7X9K2M4"),
    ] {
        keep(&heap, "auth", &auth);
        keep(&heap, "pulled", backup.site.pull_from(&shop.url, auth, options.clone(), PullOptions::new()));
    }
    let filter = ConnectionFilter::new().direction(ConnectionDirection::Receiver);
    let received = backup.site.connections().list(&filter).unwrap().pop().expect("it was registered");
    for options in [options.clone().download_password(download), options.clone()] {
        keep(&heap, "options", &options);
        keep(&heap, "pulled", backup.site.pull(received.uuid, options, PullOptions::new()));
    }

    // Every call over HTTP, right and wrong.
    for token in [&made.token, &stranger] {
        let api = Api::new(&shop.url, &options).unwrap().token(token).password(download);
        keep(&heap, "api", &api);
        keep(&heap, "tables", api.list_tables());
        let schema = api.table_schema("users");
        keep(&heap, "schema", &schema);
        if let Ok(schema) = schema {
            keep(&heap, "data", api.pull_data(&schema));
            keep(&heap, "records", api.table_records(&schema, &RecordsQuery::default()));
        }
        keep(&heap, "status", api.get_connection_status(&backup.url));
        keep(&heap, "exists", api.verify_connection(&backup.url));
        let again = Api::new(&backup.url, &options).unwrap();
        keep(&heap, "registered", again.register_connection(&shop.url, "x", token, Some("wrong-pass-4713")));
        keep(&heap, "registered", again.register_connection("http://127.0.0.1:1/junk?", "x", token, Some(incoming)));
    }

    // Changed, told to the other side, rotated, deleted; while the other side is there and when it is gone.
    let connections = shop.site.connections();
    connections.suspend(made.connection.uuid, Some("a reason")).unwrap();
    keep(&heap, "delivered", notifier.deliver());
    connections.reactivate(made.connection.uuid).unwrap();
    keep(&heap, "delivered", notifier.deliver());
    let rotated = connections.regenerate_token(made.connection.uuid).unwrap();
    secrets.push(rotated.token.as_str().to_owned());
    secrets.push(sha256(rotated.token.as_str()));
    keep(&heap, "rotated", &rotated);
    keep(&heap, "delivered", notifier.deliver());
    keep(&heap, "checked", notifier.check(&[connections.get(made.connection.uuid).unwrap()], |_| {}));
    keep(&heap, "checked", backup.site.notifier(options.clone()).check(std::slice::from_ref(&received), |_| {}));
    keep(&heap, "pulled", backup.site.pull(received.uuid, options.clone().download_password(download), PullOptions::new()));
    keep_files(&heap, shop.folder.path());
    keep_files(&heap, backup.folder.path());
    let again = connections.regenerate_token(made.connection.uuid).unwrap();
    secrets.push(again.token.as_str().to_owned());
    secrets.push(sha256(again.token.as_str()));
    backup.server.stop();
    keep(&heap, "delivered", notifier.deliver());
    keep_files(&heap, shop.folder.path());
    connections.delete(made.connection.uuid).unwrap();
    keep(&heap, "maintained", shop.site.maintain());
    for site in [&shop.site, &backup.site] {
        keep_site(&heap, site);
    }
    shop.server.stop();
    keep_files(&heap, shop.folder.path());
    keep_files(&heap, backup.folder.path());
    heap.lock().unwrap().push(("the log".to_owned(), LOGGED.lock().unwrap().clone()));

    let heap = heap.lock().unwrap();
    let tickets = tickets(&heap);
    assert_eq!(tickets.len(), 2, "each join by a code gives a ticket, and coming back with it none");
    let first_ticket = secrets.len();
    secrets.extend(tickets);
    let has = |place: &[u8], secret: &str| place.windows(secret.len()).any(|window| window == secret.as_bytes());
    // What is searched is really there.
    for (what, sign) in [("the log", "session"), ("an answer", "Invalid token"), ("events as JSON", "token_rotated")] {
        assert!(heap.iter().any(|(name, bytes)| name == what && has(bytes, sign)), "{what} has no {sign:?}");
    }
    for (what, bytes) in heap.iter() {
        for (number, secret) in secrets.iter().enumerate() {
            // The topic of a channel holds the code that opened it, and the reply to a join by code has the ticket: on the wire
            // and nowhere else.
            if what == "an answer" && (codes.contains(secret) || number >= first_ticket) {
                continue;
            }
            assert!(!has(bytes, secret), "secret {number} shows in {what}");
        }
    }
}

/// The tickets that the answers gave.
fn tickets(heap: &[(String, Vec<u8>)]) -> Vec<String> {
    const BEFORE: &[u8] = br#""ticket":""#;
    let mut tickets = Vec::new();
    for (_, bytes) in heap.iter().filter(|(what, _)| what == "an answer") {
        for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(BEFORE)) {
            let letters = bytes[at + BEFORE.len()..].iter().take_while(|byte| **byte != b'"');
            tickets.push(letters.map(|byte| char::from(*byte)).collect());
        }
    }
    tickets
}
