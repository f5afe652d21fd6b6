//! A fake site on loopback that answers HTTP calls as a test wants it to, and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value as Json, json};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// With whatever prefix it had.
    pub path: String,
    pub body: Json,
}

impl Asked {
    /// The last part of the path: `update-status`.
    pub fn call(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    pub fn field(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_else(|| panic!("{name} is no text in {:?}", self.body))
    }
}

/// What is answered.
pub enum Reply {
    Json(u16, Json),
    /// The whole response as bytes.
    Raw(Vec<u8>),
    /// Nothing: the connection is closed.
    Close,
}

/// What an Elixir host application answers for a route that it does not have.
pub fn no_route() -> Reply {
    Reply::Json(404, json!({"errors": {"detail": "Not Found"}}))
}

pub fn ok(body: Json) -> Reply {
    Reply::Json(200, body)
}

/// A refusal in PhoenixKit's shape.
pub fn no(status: u16, why: &str) -> Reply {
    Reply::Json(status, json!({"success": false, "error": why}))
}

pub struct FakePeer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakePeer {
    pub fn new(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", answer)
    }

    /// On an address that was in use before: a site that is back.
    pub fn at(address: &str, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, ending) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, end, answer) = (Arc::clone(&asked), Arc::clone(&ending), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream.unwrap(), &kept, &*answer));
            }
        });
        FakePeer { address, asked, ending, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The calls that it was asked so far, each by its name.
    pub fn calls(&self) -> Vec<String> {
        self.asked().iter().map(|asked| asked.call().to_owned()).collect()
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Requests of one connection. That the client goes away is the test's to find out.
fn serve(stream: TcpStream, kept: &Mutex<Vec<Asked>>, answer: &(impl Fn(&Asked) -> Reply + ?Sized)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(asked) = read(&mut reader) {
        kept.lock().unwrap().push(asked.clone());
        let bytes = match answer(&asked) {
            Reply::Close => return,
            Reply::Raw(bytes) => {
                let _ = stream.write_all(&bytes);
                return;
            }
            Reply::Json(status, body) => {
                let body = body.to_string();
                let length = body.len();
                format!(
                    "HTTP/1.1 {status} Answer\r\ncontent-type: application/json; charset=utf-8\r\n\
                     content-length: {length}\r\n\r\n{body}"
                )
                .into_bytes()
            }
        };
        if stream.write_all(&bytes).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = if body.is_empty() { Json::Null } else { serde_json::from_slice(&body).ok()? };
    Some(Asked { method, path, body })
}

/// An address on loopback that nobody listens on.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    format!("http://{address}")
}
