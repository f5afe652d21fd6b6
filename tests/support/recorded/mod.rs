//! Pulls as they were recorded between two programs of an earlier version, and the binary messages as that version knew them.
//!
//! The layout is written down here once more, and not taken from the library: the other end of these messages does not change
//! any more.

pub mod recorder;

use serde_json::Value as Json;

/// What one end said. Each file of `tests/frames` has these in the order in which they were said.
pub enum Said {
    /// The path and query of the request for the WebSocket. What lets the receiver in stands there, or in `auth`, its header.
    Request {
        target: String,
        auth: Option<String>,
    },
    Text(String),
    Binary(Binary),
}

pub struct Entry {
    /// Which connection it was said through, from 0 on.
    pub connection: usize,
    pub by_receiver: bool,
    pub said: Said,
}

pub struct Recording {
    pub entries: Vec<Entry>,
}

impl Recording {
    pub fn read(json: &str) -> Self {
        let entries: Vec<Json> = serde_json::from_str(json).unwrap();
        let entry = |entry: Json| {
            let text = |name: &str| entry[name].as_str().map(str::to_owned);
            let said = match (text("request"), text("text"), text("binary")) {
                (Some(target), ..) => Said::Request { target, auth: text("auth") },
                (_, Some(text), _) => Said::Text(text),
                (.., binary) => Said::Binary(Binary::open(&bytes(&binary.unwrap()))),
            };
            let connection = entry["connection"].as_u64().unwrap() as usize;
            Entry { connection, by_receiver: entry["from"] == "receiver", said }
        };
        Recording { entries: entries.into_iter().map(entry).collect() }
    }

    pub fn connections(&self) -> usize {
        self.entries.iter().map(|entry| entry.connection + 1).max().unwrap()
    }

    /// The request for the WebSocket of this connection.
    pub fn request(&self, connection: usize) -> &str {
        self.asked(connection).0
    }

    /// The same, and the header of that request that lets the receiver in.
    pub fn asked(&self, connection: usize) -> (&str, Option<&str>) {
        let mut of = self.entries.iter().filter(|entry| entry.connection == connection);
        let request = of.find_map(|entry| match &entry.said {
            Said::Request { target, auth } => Some((target.as_str(), auth.as_deref())),
            _ => None,
        });
        request.unwrap()
    }

    /// The code that the pull began with.
    pub fn code(&self) -> &str {
        self.request(0).split(['=', '&']).nth(1).unwrap()
    }

    /// The text messages of one end.
    pub fn texts(&self, by_receiver: bool) -> impl Iterator<Item = (usize, Json)> {
        self.entries.iter().filter(move |entry| entry.by_receiver == by_receiver).filter_map(|entry| match &entry.said {
            Said::Text(text) => Some((entry.connection, serde_json::from_str(text).unwrap())),
            _ => None,
        })
    }

    /// The binary messages of one end in this connection.
    pub fn binaries(&self, connection: usize, by_receiver: bool) -> impl Iterator<Item = &Binary> {
        let of = move |entry: &&Entry| entry.connection == connection && entry.by_receiver == by_receiver;
        self.entries.iter().filter(of).filter_map(|entry| match &entry.said {
            Said::Binary(binary) => Some(binary),
            _ => None,
        })
    }

    /// The request for this table's rows in this connection.
    pub fn fetch(&self, connection: usize, table: &str) -> Option<&Binary> {
        self.binaries(connection, true).find(|binary| binary.kind == FETCH && Fetch::named(binary).0.table == table)
    }
}

/// Whether a frame has all of what an earlier version said in it. There may be more, which that version does not look at.
pub fn has(frame: &Json, was: &Json) -> bool {
    match (frame, was) {
        (Json::Object(frame), Json::Object(was)) => {
            was.iter().all(|(name, was)| match (name.as_str(), frame.get(name)) {
                (_, None) => false,
                // Each site has its own.
                ("site" | "incarnation" | "ticket" | "state_token", Some(value)) => value.is_string(),
                ("state", Some(value)) => value.is_u64(),
                ("features", Some(value)) => {
                    was.as_array().unwrap().iter().all(|was| value.as_array().unwrap().contains(was))
                }
                (_, Some(value)) => has(value, was),
            })
        }
        (Json::Array(frame), Json::Array(was)) => frame.len() == was.len() && frame.iter().zip(was).all(|(a, b)| has(a, b)),
        _ => frame == was,
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

pub const FETCH: u8 = 0x01;
pub const CREDIT: u8 = 0x02;
pub const CANCEL: u8 = 0x03;
pub const DONE: u8 = 0x04;
pub const PAGE: u8 = 0x11;
pub const END: u8 = 0x12;
pub const ERROR: u8 = 0x13;

/// A binary message: 2 bytes `rf`, the version, the kind, 4 bytes request, the body, 4 bytes CRC-32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    pub kind: u8,
    pub request: u32,
    pub body: Vec<u8>,
}

impl Binary {
    pub fn open(message: &[u8]) -> Self {
        let (signed, checksum) = message.split_last_chunk::<4>().unwrap();
        assert_eq!((&signed[..3], u32::from_le_bytes(*checksum)), (&b"rf\x01"[..], crc32fast::hash(signed)));
        Binary { kind: signed[3], request: number(signed, 4), body: signed[8..].to_vec() }
    }

    pub fn seal(&self) -> Vec<u8> {
        let mut message = [&b"rf\x01"[..], &[self.kind], &self.request.to_le_bytes(), &self.body].concat();
        message.extend_from_slice(&crc32fast::hash(&message).to_le_bytes());
        message
    }
}

/// What 0.1.0 reads in a request for rows: it refuses one with another flag, and takes all behind the table's name for the place.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetch {
    pub page_bytes: u32,
    pub page_rows: u32,
    pub window: u32,
    pub records: u64,
    pub table: String,
    pub place: Vec<u8>,
}

impl Fetch {
    pub fn read(binary: &Binary) -> Self {
        assert!(binary.body[20] <= 1, "a flag that 0.1.0 does not know: {}", binary.body[20]);
        Fetch::named(binary).0
    }

    /// The request, and the name of the pull, which later versions may give.
    pub fn named(binary: &Binary) -> (Self, Option<[u8; 16]>) {
        assert_eq!(binary.kind, FETCH);
        let body = &binary.body;
        let table = usize::from(u16::from_le_bytes(body[21..23].try_into().unwrap()));
        let (name, rest) = match body[20] & 2 {
            0 => (None, &body[23 + table..]),
            _ => (Some(body[23 + table..39 + table].try_into().unwrap()), &body[39 + table..]),
        };
        let fetch = Fetch {
            page_bytes: number(body, 0),
            page_rows: number(body, 4),
            window: number(body, 8),
            records: u64::from_le_bytes(body[12..20].try_into().unwrap()),
            table: String::from_utf8(body[23..23 + table].to_vec()).unwrap(),
            place: rest.to_vec(),
        };
        assert!(fetch.page_bytes > 0 && fetch.page_rows > 0 && fetch.window > 0, "{fetch:?}");
        (fetch, name)
    }

    /// As 0.1.0 writes it, for pages that are not compressed.
    pub fn write(&self, request: u32) -> Binary {
        let mut body = [self.page_bytes, self.page_rows, self.window].map(u32::to_le_bytes).concat();
        body.extend_from_slice(&self.records.to_le_bytes());
        body.push(0);
        body.extend_from_slice(&(self.table.len() as u16).to_le_bytes());
        body.extend_from_slice(self.table.as_bytes());
        body.extend_from_slice(&self.place);
        Binary { kind: FETCH, request, body }
    }
}

/// A page: the number of its state, what stands between that and the place (its head and its rows), and the place.
pub fn page(binary: &Binary) -> (u64, &[u8], &[u8]) {
    assert_eq!(binary.kind, PAGE);
    let (state, rest) = binary.body.split_first_chunk().unwrap();
    let (rows, place) = rest.split_at(21 + number(rest, 16) as usize);
    (u64::from_le_bytes(*state), rows, place)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
