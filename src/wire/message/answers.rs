//! What a sender answers.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::not_copied::NotCopied;
use crate::domain::table::TableInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::wire::api::Secret;
use crate::wire::channel::{self, REPLY};
use crate::wire::{NAME_BYTES, TOKEN_BYTES, excerpt, unquoted};

/// What a rowferry sender tells about itself in the reply to a join that announced rowferry.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// What it can do beyond version 1.
    #[serde(default)]
    pub features: Vec<String>,
    /// Which copy of its database it serves; `None` from a version that does not tell. When it changes while `site` stays, what is
    /// known of the rows that it sent before says nothing of those that it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Uuid>,
    /// Its site.
    pub site: Uuid,
    /// The ticket with which a receiver that used a code resumes its pull; it is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "ticket_text")]
    pub(crate) ticket: Option<Secret>,
    /// The version that it speaks.
    pub version: u32,
}

/// Longest ticket that is kept of another site.
const TICKET_BYTES: usize = 512;

/// A ticket that cannot be one is left out: the pull works without it.
fn ticket_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Secret>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.map(Zeroizing::new);
    let usable = |text: &Zeroizing<String>| {
        (1..=TICKET_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    Ok(text.filter(usable).map(|text| Secret::new(&text)))
}

/// What a sender says it can do.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Capabilities {
    /// The version of the channel's protocol.
    pub version: String,
    /// The requests that it answers: `list_tables`, `get_schema`, `fetch_records`.
    #[serde(default)]
    pub features: Vec<String>,
}

/// The reply to a join or a heartbeat. Its `response` is `{}` unless the peer has announced rowferry: PhoenixKit's client
/// never joins otherwise.
pub fn answer_ok(topic: &str, reference: Option<&RawValue>, peer: Option<&PeerInfo>) -> String {
    #[derive(Serialize)]
    struct Response<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        rowferry: Option<&'a PeerInfo>,
    }
    channel::encode(reference, topic, REPLY, &ReplyOf { response: Response { rowferry: peer }, status: "ok" })
}

/// The reply to a join that is refused; [`CODE_MISMATCH`](super::CODE_MISMATCH) is the reason that PhoenixKit knows.
pub fn answer_join_refused(topic: &str, reference: Option<&RawValue>, reason: &str) -> String {
    #[derive(Serialize)]
    struct Response<'a> {
        reason: &'a str,
    }
    channel::encode(reference, topic, REPLY, &ReplyOf { response: Response { reason }, status: "error" })
}

#[derive(Serialize)]
struct ReplyOf<T> {
    response: T,
    status: &'static str,
}

/// The answer to [`Request::Capabilities`](super::Request::Capabilities).
pub fn answer_capabilities(topic: &str, reference: Option<&RawValue>) -> String {
    #[derive(Serialize)]
    struct Payload<'a> {
        capabilities: Capabilities,
        #[serde(rename = "ref")]
        reference: Option<&'a RawValue>,
    }
    #[derive(Serialize)]
    struct Capabilities {
        features: [&'static str; 3],
        phoenix_kit_version: &'static str,
        version: &'static str,
    }
    let capabilities = Capabilities {
        features: ["list_tables", "get_schema", "fetch_records"],
        // The version of PhoenixKit whose protocol this is.
        phoenix_kit_version: "0.1.6",
        version: "1.0.0",
    };
    channel::encode(None, topic, "response:capabilities", &Payload { capabilities, reference })
}

/// How many names of a kind a sender tells of what is not copied, and a receiver takes.
const MOST_NAMED: usize = 1_000;

/// The state that a list of tables is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSaid {
    /// The number of the snapshot, as it stands with records.
    pub number: u64,
    /// What to ask with whether all is still so; opaque to a receiver.
    pub token: String,
}

/// What a sender lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listed {
    /// Its tables.
    pub tables: Vec<TableInfo>,
    /// What it does not copy.
    pub not_copied: NotCopied,
    /// The state that this is of, if it gives a token of it.
    pub state: Option<StateSaid>,
}

/// The answer to [`Request::Tables`](super::Request::Tables). A rowferry peer is told what is not copied, if there is anything, and the
/// state that this is of, if there is a token of it.
pub fn answer_tables(
    topic: &str,
    reference: Option<&RawValue>,
    tables: &[TableInfo],
    not_copied: Option<NotCopied>,
    state: Option<StateSaid>,
) -> String {
    #[derive(Serialize)]
    struct Payload<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        not_copied: Option<NotCopied>,
        #[serde(rename = "ref")]
        reference: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        state_token: Option<String>,
        tables: Vec<Table<'a>>,
    }
    #[derive(Serialize)]
    struct Table<'a> {
        estimated_count: u64,
        name: &'a str,
    }
    let tables = tables.iter().map(|t| Table { estimated_count: t.row_count, name: &t.name }).collect();
    let not_copied = not_copied.map(cut).filter(|not_copied| !not_copied.is_empty());
    let (state, state_token) = state.map_or((None, None), |state| (Some(state.number), Some(state.token)));
    let payload = Payload { not_copied, reference, state, state_token, tables };
    channel::encode(None, topic, "response:tables", &payload)
}

/// The answer to [`Request::Same`](super::Request::Same).
pub fn answer_same(topic: &str, reference: Option<&RawValue>, same: bool) -> String {
    #[derive(Serialize)]
    struct Payload<'a> {
        #[serde(rename = "ref")]
        reference: Option<&'a RawValue>,
        same: bool,
    }
    channel::encode(None, topic, "response:same", &Payload { reference, same })
}

fn cut(mut not_copied: NotCopied) -> NotCopied {
    not_copied.cut(MOST_NAMED, NAME_BYTES);
    not_copied
}

/// The answer to [`Request::Schema`](super::Request::Schema), around what
/// [`encode_schema`](crate::wire::schema::encode_schema) wrote.
pub fn answer_schema(topic: &str, reference: Option<&RawValue>, schema: &RawValue) -> String {
    #[derive(Serialize)]
    struct Payload<'a> {
        #[serde(rename = "ref")]
        reference: Option<&'a RawValue>,
        schema: &'a RawValue,
    }
    channel::encode(None, topic, "response:schema", &Payload { reference, schema })
}

/// The answer to [`Request::Count`](super::Request::Count).
pub fn answer_count(topic: &str, reference: Option<&RawValue>, count: u64) -> String {
    #[derive(Serialize)]
    struct Payload<'a> {
        count: u64,
        #[serde(rename = "ref")]
        reference: Option<&'a RawValue>,
    }
    channel::encode(None, topic, "response:count", &Payload { count, reference })
}

/// The reply to a join, as the client reads it: what a rowferry sender says of itself, or nothing of another.
///
/// # Errors
/// The reason of the refusal in the inner error; [`ErrorKind::Protocol`] for a reply that is none.
pub fn decode_reply(payload: &str) -> Result<Result<Option<PeerInfo>, String>> {
    #[derive(Deserialize)]
    struct Reply<'a> {
        status: String,
        #[serde(borrow, default)]
        response: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Response<'a> {
        #[serde(borrow, default)]
        reason: Option<&'a RawValue>,
        #[serde(default)]
        rowferry: Option<PeerInfo>,
    }
    let reply: Reply<'_> = read(payload, "its reply to the join")?;
    let response = reply.response.map_or("{}", RawValue::get);
    if reply.status != "ok" {
        let reason = serde_json::from_str::<Response<'_>>(response).ok().and_then(|response| response.reason);
        let reason = reason.map_or(response, RawValue::get);
        return Ok(Err(excerpt(&serde_json::from_str(reason).unwrap_or_else(|_| reason.to_owned()))));
    }
    Ok(Ok(read::<Response<'_>>(response, "its reply to the join")?.rowferry))
}

/// A payload of an answer, as the client reads it. Any of the fields may be missing.
#[derive(Debug, Default, Deserialize)]
pub struct Answer<'a> {
    /// The request's ref.
    #[serde(borrow, default, rename = "ref")]
    pub reference: Option<&'a RawValue>,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tables: Option<&'a RawValue>,
    #[serde(borrow, default)]
    not_copied: Option<&'a RawValue>,
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    count: Option<&'a RawValue>,
    #[serde(borrow, default)]
    state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    state_token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    same: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) transfer_uuid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) retry_after: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) approvals: Option<&'a RawValue>,
}

impl<'a> Answer<'a> {
    /// Reads a payload; `None` if it is no object of such fields.
    pub fn read(payload: &'a str) -> Option<Self> {
        serde_json::from_str(payload).ok()
    }

    /// What the sender can do.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`].
    pub fn capabilities(&self) -> Result<Capabilities> {
        read(field(self.capabilities, "capabilities")?, "its capabilities")
    }

    /// The tables.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`]; [`ErrorKind::TooLarge`] for more tables than the limit, or names that are too long.
    pub fn tables(&self, limits: &Limits) -> Result<Vec<TableInfo>> {
        #[derive(Deserialize)]
        struct Table {
            name: String,
            // Postgres estimates -1 for a table that it has not looked at yet.
            #[serde(default)]
            estimated_count: Option<i64>,
        }
        let tables: Vec<Table> = read(field(self.tables, "tables")?, "its list of tables")?;
        if tables.len() > limits.wire.tables || tables.iter().any(|table| table.name.len() > NAME_BYTES) {
            let most = limits.wire.tables;
            let why = format!("the other site lists more than {most} tables, or names longer than {NAME_BYTES} bytes");
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        let count = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        Ok(tables.into_iter().map(|t| TableInfo { name: t.name, row_count: count(t.estimated_count) }).collect())
    }

    /// What is not copied: nothing, if the sender says nothing of it.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`].
    pub fn not_copied(&self) -> Result<NotCopied> {
        self.not_copied.map_or(Ok(NotCopied::default()), |raw| read(raw.get(), "what it does not offer").map(cut))
    }

    /// The state that the tables are of; `None` where the sender gives no token of it, or one that cannot be kept.
    pub fn state(&self) -> Option<StateSaid> {
        let number = serde_json::from_str(self.state?.get()).ok()?;
        let token: String = serde_json::from_str(self.state_token?.get()).ok()?;
        let is_plain = (1..=TOKEN_BYTES).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_plain.then_some(StateSaid { number, token })
    }

    /// Whether all is as it was.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`].
    pub fn same(&self) -> Result<bool> {
        read(field(self.same, "same")?, "whether all is as it was")
    }

    /// The JSON of a table's structure, for [`decode_schema`](crate::wire::schema::decode_schema).
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`].
    pub fn schema(&self) -> Result<&'a str> {
        field(self.schema, "schema")
    }

    /// The count.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`].
    pub fn count(&self) -> Result<u64> {
        read(field(self.count, "count")?, "its count")
    }

    /// The text of an error: short and printable, whatever the peer sent.
    pub fn error(&self) -> String {
        let raw = self.error.map_or("no reason given", RawValue::get);
        excerpt(&serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned()))
    }
}

pub(super) fn field<'a>(raw: Option<&'a RawValue>, name: &str) -> Result<&'a str> {
    raw.map(RawValue::get)
        .ok_or_else(|| Error::new(ErrorKind::Protocol, format!("the other site's answer has no {name:?} in it")))
}

pub(super) fn read<'a, T: Deserialize<'a>>(json: &'a str, what: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        let why = excerpt(&unquoted(&error.to_string()));
        Error::new(ErrorKind::Protocol, format!("the other site's answer cannot be read, {what}: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::CODE_MISMATCH;
    use crate::wire::message::requests::raw_ref;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.into()).unwrap()
    }

    #[test]
    fn answers_are_written_as_the_reference_does() {
        let one = raw_ref(1);
        let topic = "transfer:AB";
        let ok = r#"[null,"1","transfer:AB","phx_reply",{"response":{},"status":"ok"}]"#;
        assert_eq!(answer_ok(topic, Some(&one), None), ok);
        assert_eq!(
            answer_ok("phoenix", Some(&raw("8")), None),
            r#"[null,8,"phoenix","phx_reply",{"response":{},"status":"ok"}]"#
        );
        assert_eq!(
            answer_join_refused("transfer:X", Some(&raw_ref(3)), CODE_MISMATCH),
            r#"[null,"3","transfer:X","phx_reply",{"response":{"reason":"code_mismatch"},"status":"error"}]"#
        );
        assert_eq!(
            answer_capabilities(topic, Some(&one)),
            r#"[null,null,"transfer:AB","response:capabilities",{"capabilities":{"features":["list_tables","get_schema","fetch_records"],"phoenix_kit_version":"0.1.6","version":"1.0.0"},"ref":"1"}]"#
        );
        let tables = [TableInfo { name: "users".into(), row_count: 4 }];
        assert_eq!(
            answer_tables(topic, Some(&raw(r#"{"a":[1]}"#)), &tables, None, None),
            r#"[null,null,"transfer:AB","response:tables",{"ref":{"a":[1]},"tables":[{"estimated_count":4,"name":"users"}]}]"#
        );
        assert_eq!(
            answer_count(topic, Some(&one), 4),
            r#"[null,null,"transfer:AB","response:count",{"count":4,"ref":"1"}]"#
        );
        assert_eq!(
            answer_schema(topic, Some(&one), &raw("{}")),
            r#"[null,null,"transfer:AB","response:schema",{"ref":"1","schema":{}}]"#
        );
    }

    #[test]
    fn replies_to_a_join() {
        assert_eq!(decode_reply(r#"{"response":{},"status":"ok"}"#).unwrap(), Ok(None));
        assert_eq!(decode_reply(r#"{"status":"ok"}"#).unwrap(), Ok(None));
        assert_eq!(
            decode_reply(r#"{"response":{"reason":"code_mismatch"},"status":"error"}"#).unwrap(),
            Err("code_mismatch".to_owned())
        );
        assert_eq!(decode_reply(r#"{"response":{"x":1},"status":"error"}"#).unwrap(), Err(r#"{"x":1}"#.to_owned()));
        let features = vec!["snapshot".into()];
        let peer = PeerInfo { features, incarnation: None, site: Uuid::nil(), ticket: None, version: 1 };
        let text = answer_ok("t", None, Some(&peer));
        assert!(text.contains(r#"{"rowferry":{"features":["snapshot"],"site":"00000000-"#), "{text}");
        let frame = channel::decode(&text).unwrap();
        assert_eq!(
            decode_reply(frame.payload.get()).unwrap(),
            Ok(Some(peer.clone())),
            "of a version that tells no incarnation"
        );
        let peer = PeerInfo { incarnation: Some(Uuid::max()), ..peer };
        let text = answer_ok("t", None, Some(&peer));
        let frame = channel::decode(&text).unwrap();
        assert_eq!(decode_reply(frame.payload.get()).unwrap(), Ok(Some(peer)));
        let with = |ticket: &str| {
            let text = format!(
                r#"{{"status":"ok","response":{{"rowferry":{{"site":"{}","version":1,"ticket":{ticket}}}}}}}"#,
                Uuid::nil()
            );
            let peer = decode_reply(&text).unwrap().unwrap().unwrap();
            assert!(!format!("{peer:?}").contains("tick-et_1"));
            peer.ticket.map(|ticket| ticket.as_str().to_owned())
        };
        assert_eq!(with(r#""tick-et_1""#).as_deref(), Some("tick-et_1"));
        for none in ["null", r#""""#, r#""a b""#, &format!("{:?}", "x".repeat(513))] {
            assert_eq!(with(none), None, "{none}");
        }
        for junk in [
            "null",
            "[]",
            "5",
            r#"{"status":1}"#,
            r#"{"status":"ok","response":{"rowferry":{"version":"x"}}}"#,
            r#"{"status":"ok","response":{"rowferry":{"site":"00000000-0000-0000-0000-000000000000","version":1,"incarnation":"x"}}}"#,
        ] {
            assert_eq!(decode_reply(junk).map_err(|error| error.kind()), Err(ErrorKind::Protocol), "{junk}");
        }
    }

    #[test]
    fn answers_of_the_reference_are_read() {
        let limits = Limits::default();
        let answer =
            Answer::read(r#"{"ref":"13","tables":[{"estimated_count":1,"name":"a"},{"estimated_count":-1,"name":"b"}]}"#);
        let answer = answer.unwrap();
        assert_eq!(answer.reference.map(RawValue::get), Some("\"13\""));
        let table = |name: &str, row_count| TableInfo { name: name.into(), row_count };
        assert_eq!(answer.tables(&limits).unwrap(), [table("a", 1), table("b", 0)]);
        assert_eq!(Answer::read(r#"{"count":2500,"ref":"6"}"#).unwrap().count().unwrap(), 2500);
        assert_eq!(Answer::read(r#"{"error":"E\n","ref":"6"}"#).unwrap().error(), "E ");
        assert_eq!(Answer::read(r#"{"error":{"a":1},"ref":"6"}"#).unwrap().error(), r#"{"a":1}"#);
        let capabilities =
            r#"{"capabilities":{"features":["list_tables"],"phoenix_kit_version":"0.1.6","version":"1.0.0"}}"#;
        assert_eq!(Answer::read(capabilities).unwrap().capabilities().unwrap().version, "1.0.0");
    }

    #[test]
    fn what_is_not_copied_is_told_and_bounded() {
        let told = |not_copied: NotCopied| {
            let text = answer_tables("t", None, &[], Some(not_copied), None);
            let frame = channel::decode(&text).unwrap();
            Answer::read(frame.payload.get()).unwrap().not_copied().unwrap()
        };
        let mut some = NotCopied::default();
        assert!(!answer_tables("t", None, &[], Some(some.clone()), None).contains("not_copied"));
        assert_eq!(told(some.clone()), some);
        some.views = vec!["v".into()];
        some.checks.insert("t".into(), 3);
        some.triggers.insert("t".into(), vec!["a".into()]);
        assert_eq!(told(some.clone()), some);
        some.views = (0..MOST_NAMED + 5).map(|at| format!("v{at}")).chain(["x".repeat(NAME_BYTES + 1)]).collect();
        let bounded = told(some);
        assert_eq!((bounded.views.len(), bounded.more), (MOST_NAMED, 6));
        // As a peer that knows no bounds, or no shape.
        let names = vec!["\"n\""; MOST_NAMED + 1].join(",");
        let payload = format!(r#"{{"not_copied":{{"shadow_tables":[{names}],"more":18446744073709551615,"new":1}}}}"#);
        let bounded = Answer::read(&payload).unwrap().not_copied().unwrap();
        assert_eq!((bounded.shadow_tables.len(), bounded.more), (MOST_NAMED, u64::MAX));
        let junk = Answer::read(r#"{"not_copied":{"views":5}}"#).unwrap().not_copied();
        assert_eq!(junk.map_err(|error| error.kind()), Err(ErrorKind::Protocol));
    }

    #[test]
    fn junk_answers_are_errors() {
        let limits = Limits::with(|limits| limits.wire.tables = 1);
        assert!(Answer::read("null").is_none());
        for (payload, kind) in [
            (r#"{"tables":null}"#, ErrorKind::Protocol),
            (r#"{}"#, ErrorKind::Protocol),
            (r#"{"tables":[{"name":5}]}"#, ErrorKind::Protocol),
            (r#"{"tables":[{"name":"a"},{"name":"b"}]}"#, ErrorKind::TooLarge),
        ] {
            assert_eq!(Answer::read(payload).unwrap().tables(&limits).map_err(|e| e.kind()), Err(kind), "{payload}");
        }
        assert!(Answer::read(r#"{"count":-1}"#).unwrap().count().is_err());
        assert!(Answer::read(r#"{"count":"5"}"#).unwrap().count().is_err());
    }
}
