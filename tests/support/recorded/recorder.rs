//! A site that is served on loopback, while all that is said through its channels is written down.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rowferry::{ChannelSession, Handler};
use serde_json::{Value as Json, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

use super::{Binary, FETCH, Fetch, PAGE, hex};

/// Where a connection is lost: after so many pages of a table.
#[derive(Clone, Copy)]
pub struct Cut {
    pub connection: usize,
    pub table: &'static str,
    pub pages: usize,
}

pub struct Recorder {
    pub url: String,
    said: Arc<Mutex<Vec<Json>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Recorder {
    pub fn new(handler: Handler, cut: Option<Cut>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (said, stop) = (Arc::<Mutex<Vec<Json>>>::default(), Arc::<AtomicBool>::default());
        let (written, stopped) = (Arc::clone(&said), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut connection = 0;
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                let log = Log { said: &written, connection };
                if let Some((socket, session)) = log.let_in(stream, &handler) {
                    log.serve(socket, session, cut.filter(|cut| cut.connection == connection));
                    connection += 1;
                }
            }
        });
        Recorder { url, said, stop, thread }
    }

    /// What was said, as the files of `tests/it/frames` have it: a line for each message.
    pub fn end(self) -> String {
        self.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
        let said = self.said.lock().unwrap();
        let lines: Vec<String> = said.iter().map(Json::to_string).collect();
        format!("[\n{}\n]\n", lines.join(",\n"))
    }
}

struct Log<'s> {
    said: &'s Mutex<Vec<Json>>,
    connection: usize,
}

impl Log<'_> {
    fn add(&self, from: &str, mut said: Json) {
        (said["connection"], said["from"]) = (self.connection.into(), from.into());
        self.said.lock().unwrap().push(said);
    }

    #[expect(clippy::result_large_err, reason = "the handshake's callback is of this type")]
    fn let_in(&self, stream: TcpStream, handler: &Handler) -> Option<(WebSocket<TcpStream>, ChannelSession)> {
        let mut session = None;
        let upgrade = |request: &Request, response: Response| match handler.upgrade(request, None) {
            Ok(upgrade) => {
                let auth = request.headers().get("x-rowferry-auth").map(|auth| auth.to_str().unwrap());
                self.add("receiver", json!({"request": request.uri().to_string(), "auth": auth}));
                session = Some(upgrade.session);
                Ok(response)
            }
            Err(refused) => {
                let (head, body) = refused.into_parts();
                let text = String::from_utf8(body.into_bytes().unwrap()).unwrap();
                Err(http::Response::from_parts(head, Some(text)))
            }
        };
        let socket = tungstenite::accept_hdr(stream, upgrade).ok()?;
        Some((socket, session?))
    }

    /// Until the receiver goes, or the connection is to be lost.
    fn serve(&self, mut socket: WebSocket<TcpStream>, mut session: ChannelSession, cut: Option<Cut>) {
        let (mut of_cut, mut pages) = (None, 0);
        loop {
            let reply = match socket.read() {
                Ok(Message::Text(text)) => {
                    self.add("receiver", json!({"text": text.as_str()}));
                    session.on_text(&text)
                }
                Ok(Message::Binary(bytes)) => {
                    self.add("receiver", json!({"binary": hex(&bytes)}));
                    let asked = Binary::open(&bytes);
                    if asked.kind == FETCH && cut.is_some_and(|cut| Fetch::named(&asked).0.table == cut.table) {
                        of_cut = Some(asked.request);
                    }
                    session.on_binary(&bytes)
                }
                Ok(Message::Close(_)) => {
                    session.on_close();
                    continue;
                }
                Ok(_) => continue,
                Err(_) => return,
            };
            assert_eq!(reply.close, None);
            for text in reply.frames {
                self.add("sender", json!({"text": text}));
                socket.send(Message::text(text)).unwrap();
            }
            while let Some(message) = session.next_binary() {
                self.add("sender", json!({"binary": hex(&message)}));
                let said = Binary::open(&message);
                socket.send(Message::binary(message)).unwrap();
                pages += usize::from(said.kind == PAGE && Some(said.request) == of_cut);
                if cut.is_some_and(|cut| pages == cut.pages) {
                    socket.get_mut().shutdown(Shutdown::Both).unwrap();
                    return;
                }
            }
        }
    }
}
