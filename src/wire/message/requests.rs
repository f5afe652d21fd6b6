//! What a client asks: joins, heartbeats and requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ROWFERRY_VERSION;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::channel::{self, Frame, HEARTBEAT, HEARTBEAT_TOPIC, JOIN, LEAVE};
use crate::wire::{NAME_BYTES, TOKEN_BYTES};

/// How many tables one request for approvals may name.
pub(crate) const APPROVALS: usize = 1_000;

const PULL_OF: &str = "pull:of";
const PULL_OVER: &str = "pull:over";

/// A request, read by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Enter the channel of the frame's topic.
    Join {
        /// What the peer says of itself if it is rowferry.
        rowferry: Option<Announced>,
    },
    /// Leave the channel. PhoenixKit answers nothing.
    Leave,
    /// Keep the connection open. May come before the join.
    Heartbeat,
    /// What the sender can do.
    Capabilities,
    /// The tables.
    Tables,
    /// A table's structure.
    Schema {
        /// The table's name.
        table: String,
    },
    /// How many rows a table has.
    Count {
        /// The table's name.
        table: String,
    },
    /// A page of records.
    Records(RecordsRequest),
    /// May these tables be pulled? Between rowferry sites only: [`FEATURE_APPROVALS`](super::FEATURE_APPROVALS).
    Approvals {
        /// The tables' names.
        tables: Vec<String>,
    },
    /// Is all as it was when this token was given with the tables? Between rowferry sites only: [`FEATURE_SAME`](super::FEATURE_SAME).
    Same {
        /// The token.
        token: String,
    },
    /// The pull that begins is of these tables, and of those of such messages before. There is no answer. Between rowferry sites only:
    /// [`FEATURE_TICKETS`](super::FEATURE_TICKETS).
    PullOf {
        /// The tables' names.
        tables: Vec<String>,
    },
    /// The pull has completed: the peer does not come back. There is no answer. As [`Request::PullOf`].
    PullOver,
    /// Some event that is no request; PhoenixKit answers nothing.
    Unknown,
}

/// Which records are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordsRequest {
    /// The table's name.
    pub table: String,
    /// How many records to leave out. As it was sent, because the answer gives it back; a negative one counts as 0.
    pub offset: i64,
    /// At most how many records to send.
    pub limit: u64,
    /// Whether these records are all that is wanted, for people to look at. Between rowferry sites only.
    pub look: bool,
}

impl RecordsRequest {
    /// How many records to leave out.
    pub fn skip(&self) -> u64 {
        u64::try_from(self.offset).unwrap_or(0)
    }
}

/// The ref that an answer to this frame carries: the payload's, whatever JSON it is, else the frame's own. Without either
/// there is no way to answer.
pub fn answer_ref<'a>(frame: &Frame<'a>) -> Option<&'a RawValue> {
    #[derive(Deserialize)]
    struct Payload<'a> {
        #[serde(borrow, default, rename = "ref")]
        reference: Option<&'a RawValue>,
    }
    let payload = serde_json::from_str::<Payload<'a>>(frame.payload.get()).ok();
    payload.and_then(|payload| payload.reference).or(frame.head.reference)
}

/// Reads what a frame asks for.
///
/// `offset` and `limit` are 0 and 100 where they are absent or null. Where PhoenixKit dies of a wrong type, or takes a
/// string for a limit of 1000, this is an error.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] with what to answer in `response:error`.
pub fn decode_request(frame: &Frame<'_>) -> Result<Request> {
    let payload = frame.payload.get();
    Ok(match &*frame.head.event {
        HEARTBEAT if frame.head.topic == HEARTBEAT_TOPIC => Request::Heartbeat,
        JOIN => Request::Join { rowferry: announced(payload) },
        LEAVE => Request::Leave,
        "request:capabilities" => Request::Capabilities,
        "request:tables" => Request::Tables,
        "request:schema" => Request::Schema { table: Fields::read(payload)?.table()? },
        "request:count" => Request::Count { table: Fields::read(payload)?.table()? },
        "request:approvals" => Request::Approvals { tables: Fields::read(payload)?.tables()? },
        "request:same" => Request::Same { token: Fields::read(payload)?.token()? },
        PULL_OF => Request::PullOf { tables: Fields::read(payload)?.tables()? },
        PULL_OVER => Request::PullOver,
        "request:records" => {
            let fields = Fields::read(payload)?;
            Request::Records(RecordsRequest {
                table: fields.table()?,
                offset: number(fields.offset, "offset", 0)?,
                limit: number(fields.limit, "limit", 100)?,
                look: fields.look.is_some_and(|look| look.get() == "true"),
            })
        }
        _ => Request::Unknown,
    })
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    table: Option<&'a RawValue>,
    #[serde(borrow, default)]
    offset: Option<&'a RawValue>,
    #[serde(borrow, default)]
    limit: Option<&'a RawValue>,
    #[serde(borrow, default)]
    look: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tables: Option<&'a RawValue>,
    #[serde(borrow, default)]
    token: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    fn read(payload: &'a str) -> Result<Self> {
        serde_json::from_str(payload).map_err(|_| bad("The payload must be an object without a key twice"))
    }

    fn table(&self) -> Result<String> {
        let raw = self.table.ok_or_else(|| bad("The table is missing"))?;
        let table: String = serde_json::from_str(raw.get()).map_err(|_| bad("The table must be a string"))?;
        match table.len() {
            0..=NAME_BYTES => Ok(table),
            _ => Err(bad("The table's name is too long")),
        }
    }

    fn token(&self) -> Result<String> {
        let raw = self.token.ok_or_else(|| bad("The token is missing"))?;
        let token: String = serde_json::from_str(raw.get()).map_err(|_| bad("The token must be a string"))?;
        match token.len() {
            0..=TOKEN_BYTES => Ok(token),
            _ => Err(bad("The token is too long")),
        }
    }

    fn tables(&self) -> Result<Vec<String>> {
        let raw = self.tables.ok_or_else(|| bad("The tables are missing"))?;
        let tables: Vec<String> =
            serde_json::from_str(raw.get()).map_err(|_| bad("The tables must be a list of strings"))?;
        match tables.iter().all(|table| table.len() <= NAME_BYTES) {
            true if tables.len() <= APPROVALS => Ok(tables),
            true => Err(bad(&format!("The tables are more than {APPROVALS}"))),
            false => Err(bad("A table's name is too long")),
        }
    }
}

fn number<T: std::str::FromStr>(raw: Option<&RawValue>, name: &str, default: T) -> Result<T> {
    raw.map_or(Ok(default), |raw| raw.get().parse().map_err(|_| bad(&format!("The {name} must be a whole number"))))
}

fn bad(text: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, text)
}

/// What a rowferry peer says of itself in its join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The largest message that it takes, in bytes.
    #[serde(default)]
    pub message_bytes: Option<u64>,
    /// Which version of the announcement this is.
    pub version: u32,
}

/// What a join's payload announces. The payload of a join may be anything; PhoenixKit minds none of it.
fn announced(payload: &str) -> Option<Announced> {
    #[derive(Deserialize)]
    struct Join {
        receiver_info: Info,
    }
    #[derive(Deserialize)]
    struct Info {
        rowferry: Announced,
    }
    serde_json::from_str::<Join>(payload).ok().map(|join| join.receiver_info.rowferry)
}

/// A heartbeat with this ref.
pub fn encode_heartbeat(reference: u64) -> String {
    channel::encode(Some(&raw_ref(reference)), HEARTBEAT_TOPIC, HEARTBEAT, &BTreeMap::<(), ()>::new())
}

/// A join with this ref, which tells the peer who asks, and that rowferry does, which takes messages of this size.
pub fn encode_join(reference: u64, topic: &str, receiver_info: &BTreeMap<String, String>, message_bytes: u64) -> String {
    #[derive(Serialize)]
    struct Join<'a> {
        receiver_info: BTreeMap<&'a str, Info<'a>>,
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Info<'a> {
        Text(&'a str),
        Rowferry(Announced),
    }
    let mut info: BTreeMap<_, _> = receiver_info.iter().map(|(key, value)| (key.as_str(), Info::Text(value))).collect();
    info.insert("rowferry", Info::Rowferry(Announced { message_bytes: Some(message_bytes), version: ROWFERRY_VERSION }));
    channel::encode(Some(&raw_ref(reference)), topic, JOIN, &Join { receiver_info: info })
}

/// The message that a pull is of these tables, at most [`APPROVALS`] of them.
pub(crate) fn encode_pull_of(topic: &str, tables: &[String]) -> String {
    channel::encode(None, topic, PULL_OF, &BTreeMap::from([("tables", tables)]))
}

/// The message that a pull has completed.
pub(crate) fn encode_pull_over(topic: &str) -> String {
    channel::encode(None, topic, PULL_OVER, &BTreeMap::<(), ()>::new())
}

/// A request with this ref, in its frame and in its payload.
pub fn encode_request(reference: u64, topic: &str, request: &Ask<'_>) -> String {
    #[derive(Serialize)]
    struct Payload<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        look: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        #[serde(rename = "ref")]
        reference: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        table: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tables: Option<&'a [&'a str]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<&'a str>,
    }
    let reference = raw_ref(reference);
    let (limit, offset, look) = match request {
        Ask::Records { offset, limit, look, .. } => (Some(*limit), Some(*offset), *look),
        _ => (None, None, false),
    };
    let tables = match request {
        Ask::Approvals(tables) => Some(*tables),
        _ => None,
    };
    let token = match request {
        Ask::Same(token) => Some(*token),
        _ => None,
    };
    let payload = Payload { limit, look, offset, reference: &reference, table: request.table(), tables, token };
    channel::encode(Some(&reference), topic, request.event(), &payload)
}

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// What the sender can do.
    Capabilities,
    /// The tables.
    Tables,
    /// This table's structure.
    Schema(&'a str),
    /// How many rows this table has.
    Count(&'a str),
    /// A page of records.
    Records {
        /// The table's name.
        table: &'a str,
        /// How many records to leave out.
        offset: u64,
        /// At most how many records to send.
        limit: u64,
        /// Whether these are all that is wanted: a rowferry sender then ends the download with them.
        look: bool,
    },
    /// Whether these tables may be pulled.
    Approvals(&'a [&'a str]),
    /// Whether all is as it was when this token was given.
    Same(&'a str),
}

impl<'a> Ask<'a> {
    /// The request's event.
    pub fn event(&self) -> &'static str {
        match self {
            Ask::Capabilities => "request:capabilities",
            Ask::Tables => "request:tables",
            Ask::Schema(_) => "request:schema",
            Ask::Count(_) => "request:count",
            Ask::Records { .. } => "request:records",
            Ask::Approvals(_) => "request:approvals",
            Ask::Same(_) => "request:same",
        }
    }

    /// The event of a good answer.
    pub fn answer_event(&self) -> &'static str {
        match self {
            Ask::Capabilities => "response:capabilities",
            Ask::Tables => "response:tables",
            Ask::Schema(_) => "response:schema",
            Ask::Count(_) => "response:count",
            Ask::Records { .. } => "response:records",
            Ask::Approvals(_) => "response:approvals",
            Ask::Same(_) => "response:same",
        }
    }

    /// The table that it is about.
    pub fn table(&self) -> Option<&'a str> {
        match self {
            Ask::Capabilities | Ask::Tables | Ask::Approvals(_) | Ask::Same(_) => None,
            Ask::Schema(table) | Ask::Count(table) | Ask::Records { table, .. } => Some(table),
        }
    }
}

/// A ref as PhoenixKit writes it: a number in a string.
pub fn raw_ref(reference: u64) -> Box<RawValue> {
    RawValue::from_string(format!("\"{reference}\"")).expect("digits in quotes are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(event: &str, payload: &str) -> Result<Request, String> {
        let text = format!(r#"[null,"7","transfer:AB","{event}",{payload}]"#);
        decode_request(&channel::decode(&text).unwrap()).map_err(|error| error.message().to_owned())
    }

    fn records(offset: i64, limit: u64) -> Result<Request, String> {
        Ok(Request::Records(RecordsRequest { table: "t".into(), offset, limit, look: false }))
    }

    #[test]
    fn requests_as_the_reference_client_writes_them() {
        assert_eq!(request("request:capabilities", r#"{"ref":"1"}"#), Ok(Request::Capabilities));
        assert_eq!(request("request:tables", r#"{"ref":"2"}"#), Ok(Request::Tables));
        assert_eq!(request("request:schema", r#"{"ref":"3","table":"t"}"#), Ok(Request::Schema { table: "t".into() }));
        assert_eq!(request("request:count", r#"{"ref":"4","table":"t"}"#), Ok(Request::Count { table: "t".into() }));
        assert_eq!(request("request:records", r#"{"limit":500,"offset":1000,"ref":"8","table":"t"}"#), records(1000, 500));
        assert_eq!(request("phx_join", r#"{"receiver_info":{"project":"p"}}"#), Ok(Request::Join { rowferry: None }));
        for payload in ["null", "{}", "\"x\"", "[1]", r#"{"receiver_info":{"rowferry":true}}"#] {
            assert_eq!(request("phx_join", payload), Ok(Request::Join { rowferry: None }), "{payload}");
        }
        assert_eq!(request("phx_leave", "{}"), Ok(Request::Leave));
        assert_eq!(request("request:nothing", r#"{"ref":"1"}"#), Ok(Request::Unknown));
        assert_eq!(request("heartbeat", "{}"), Ok(Request::Unknown), "only on its own topic");
    }

    #[test]
    fn offset_and_limit_have_defaults_and_must_be_whole_numbers() {
        assert_eq!(request("request:records", r#"{"table":"t"}"#), records(0, 100));
        assert_eq!(request("request:records", r#"{"table":"t","offset":null,"limit":null}"#), records(0, 100));
        assert_eq!(request("request:records", r#"{"table":"t","offset":-5,"limit":1}"#), records(-5, 1));
        assert_eq!(RecordsRequest { table: "t".into(), offset: -5, limit: 1, look: false }.skip(), 0);
        for (payload, why) in [
            (r#"{"table":"t","offset":"5"}"#, "The offset must be a whole number"),
            (r#"{"table":"t","limit":2.5}"#, "The limit must be a whole number"),
            (r#"{"table":"t","limit":-1}"#, "The limit must be a whole number"),
            (r#"{"table":"t","limit":"2"}"#, "The limit must be a whole number"),
            (r#"{"table":"t","limit":99999999999999999999}"#, "The limit must be a whole number"),
            (r#"{"table":5}"#, "The table must be a string"),
            (r#"{"ref":"1"}"#, "The table is missing"),
            (r#"{"table":"t","table":"u"}"#, "The payload must be an object without a key twice"),
            ("null", "The payload must be an object without a key twice"),
            ("[1]", "The table must be a string"),
        ] {
            assert_eq!(request("request:records", payload), Err(why.to_owned()), "{payload}");
        }
        assert!(request("request:count", &format!("{{\"table\":\"{}\"}}", "x".repeat(1025))).is_err());
    }

    #[test]
    fn answers_carry_the_payloads_ref_else_the_frames() {
        for (payload, expected) in [
            (r#"{"ref":"other"}"#, r#""other""#),
            (r#"{"ref":15}"#, "15"),
            (r#"{"ref":{"a": [1]}}"#, r#"{"a": [1]}"#),
            (r#"{"ref":null}"#, r#""7""#),
            ("{}", r#""7""#),
            ("null", r#""7""#),
        ] {
            let text = format!(r#"[null,"7","t","request:tables",{payload}]"#);
            assert_eq!(answer_ref(&channel::decode(&text).unwrap()).map(RawValue::get), Some(expected), "{payload}");
        }
        assert!(answer_ref(&channel::decode(r#"[null,null,"t","e",{}]"#).unwrap()).is_none());
    }

    #[test]
    fn requests_are_written_as_the_reference_client_does() {
        assert_eq!(
            encode_request(2, "transfer:AB", &Ask::Tables),
            r#"[null,"2","transfer:AB","request:tables",{"ref":"2"}]"#
        );
        assert_eq!(
            encode_request(3, "transfer:AB", &Ask::Schema("users")),
            r#"[null,"3","transfer:AB","request:schema",{"ref":"3","table":"users"}]"#
        );
        assert_eq!(
            encode_request(8, "transfer:AB", &Ask::Records { table: "t", offset: 0, limit: 2, look: false }),
            r#"[null,"8","transfer:AB","request:records",{"limit":2,"offset":0,"ref":"8","table":"t"}]"#
        );
        let look = encode_request(8, "transfer:AB", &Ask::Records { table: "t", offset: 0, limit: 2, look: true });
        assert!(look.contains(r#"{"limit":2,"look":true,"offset":0,"#), "{look}");
        let read = request("request:records", r#"{"table":"t","look":true}"#);
        assert!(matches!(read, Ok(Request::Records(RecordsRequest { look: true, .. }))), "{read:?}");
        let approvals = encode_request(9, "transfer:AB", &Ask::Approvals(&["a", "b"]));
        assert_eq!(approvals, r#"[null,"9","transfer:AB","request:approvals",{"ref":"9","tables":["a","b"]}]"#);
        assert_eq!(request("request:approvals", r#"{"ref":"9","tables":["a","b"]}"#), {
            Ok(Request::Approvals { tables: vec!["a".into(), "b".into()] })
        });
        let many = |count| format!(r#"{{"tables":{:?}}}"#, vec!["a"; count]);
        assert!(request("request:approvals", &many(APPROVALS)).is_ok());
        for bad in ["{}", r#"{"tables":"a"}"#, r#"{"tables":[1]}"#, &many(APPROVALS + 1)] {
            assert!(request("request:approvals", bad).is_err(), "{bad}");
        }
        let same = encode_request(9, "transfer:AB", &Ask::Same("0a"));
        assert_eq!(same, r#"[null,"9","transfer:AB","request:same",{"ref":"9","token":"0a"}]"#);
        assert_eq!(request("request:same", r#"{"ref":"9","token":"0a"}"#), Ok(Request::Same { token: "0a".into() }));
        let long = |length| format!(r#"{{"token":"{}"}}"#, "a".repeat(length));
        assert!(request("request:same", &long(TOKEN_BYTES)).is_ok());
        for bad in ["{}", r#"{"token":7}"#, &long(TOKEN_BYTES + 1)] {
            assert!(request("request:same", bad).is_err(), "{bad}");
        }
        assert_eq!(encode_heartbeat(25), r#"[null,"25","phoenix","heartbeat",{}]"#);
        let info = BTreeMap::from([("user".to_owned(), "u".to_owned())]);
        let join = encode_join(1, "transfer:AB", &info, 1000);
        assert_eq!(
            join,
            r#"[null,"1","transfer:AB","phx_join",{"receiver_info":{"rowferry":{"message_bytes":1000,"version":1},"user":"u"}}]"#
        );
        assert_eq!(
            decode_request(&channel::decode(&join).unwrap()).unwrap(),
            Request::Join { rowferry: Some(Announced { message_bytes: Some(1000), version: 1 }) }
        );
    }
}
