//! A fake site on loopback that answers HTTP as a test says, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `POST /sync/api/list-tables`
    pub line: String,
    /// The headers' names in lower case with their values.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The last part of the path.
    pub fn call(&self) -> &str {
        self.line.rsplit('/').next().unwrap()
    }

    pub fn table(&self) -> String {
        self.json()["table_name"].as_str().unwrap_or_default().to_owned()
    }
}

/// What is answered.
pub enum Reply {
    /// This status and JSON.
    Json(u16, String),
    /// Status line's rest and headers, and a body whose length is told.
    Head(&'static str, String),
    /// These bytes, and then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, then this pause before each of these times one more byte, and then the end.
    Trickle(String, Duration, u32),
    /// The end of the connection at once.
    Close,
}

pub fn ok(json: impl Into<String>) -> Reply {
    Reply::Json(200, json.into())
}

/// What a host application says of a path that it does not know.
pub fn no_route() -> Reply {
    Reply::Json(404, r#"{"errors":{"detail":"Not Found"}}"#.to_owned())
}

pub fn refused(status: u16, text: &str) -> Reply {
    Reply::Json(status, format!(r#"{{"error":"{text}","success":false}}"#))
}

pub struct FakeSite {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeSite {
    pub fn new(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (stream, answer, seen) = (stream.unwrap(), Arc::clone(&answer), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, connection, &*answer, &seen));
            }
        });
        FakeSite { url, asked }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The first lines of that.
    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

fn serve(stream: TcpStream, connection: usize, answer: &dyn Fn(&Asked) -> Reply, seen: &Mutex<Vec<Asked>>) {
    // A test that goes wrong ends all the same.
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(asked) = request(&mut reader, connection) {
        seen.lock().unwrap().push(asked.clone());
        let (head, body) = match answer(&asked) {
            Reply::Json(status, body) => {
                (format!("{status} X\r\ncontent-type: application/json; charset=utf-8"), body.into_bytes())
            }
            Reply::Head(head, body) => (head.to_owned(), body.into_bytes()),
            Reply::Raw(bytes) => {
                let _ = stream.write_all(&bytes);
                // An end with something unread would take back what is on its way.
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            Reply::Trickle(start, pause, times) => {
                let _ = stream.write_all(start.as_bytes());
                for _ in 0..times {
                    std::thread::sleep(pause);
                    if stream.write_all(b" ").is_err() {
                        return;
                    }
                }
                return;
            }
            Reply::Close => return,
        };
        // In one write: a second small one would wait for the first one's acknowledgement.
        let mut answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(&body);
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>, connection: usize) -> Option<Asked> {
    let mut line = String::new();
    let mut next = || {
        line.clear();
        let read = reader.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    };
    let first = next()?;
    let mut headers = Vec::new();
    loop {
        let line = next()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = first.rsplit_once(' ')?.0.to_owned();
    Some(Asked { line, headers, body: String::from_utf8(body).unwrap(), connection })
}
