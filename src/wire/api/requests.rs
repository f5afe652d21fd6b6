//! What is asked.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{
    BadRequest, CONNECTION_NAME_CHARS, DEFAULT_RECORDS, Fields, IDS, MOST_RECORDS, PASSWORD_BYTES, REASON_BYTES, Secret,
    URL_BYTES,
};
use crate::domain::schema::LogicalType;
use crate::domain::strategy::Strategy;
use crate::domain::string_enum::string_enum;
use crate::domain::value::Value;
use crate::wire::{Dialect, NAME_BYTES, excerpt, render};

/// Longest text that is looked at as a token or the hash of one; longer ones are none.
const TOKEN_BYTES: usize = 512;

const URL: &str = "sender_url";
const HASH: &str = "auth_token_hash";
const TOKEN: &str = "auth_token";
const TABLE: &str = "table_name";

string_enum! {
    /// What `update-status` can say.
    #[non_exhaustive]
    pub enum PeerStatus("status") {
        /// It works again.
        Active = "active",
        /// It is stopped.
        Suspended = "suspended",
        /// It is over.
        Revoked = "revoked",
    }
}

/// `register-connection`: the site at this URL may be pulled from with this token.
#[derive(Debug, Clone, Serialize)]
pub struct Register {
    /// The token.
    pub auth_token: Secret,
    /// What to call the connection.
    pub connection_name: String,
    /// What the receiver does with records whose key it has, where it does not say otherwise. PhoenixKit does not know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_conflict_strategy: Option<Strategy>,
    /// The password that the site may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Where the site that asks is.
    pub sender_url: String,
}

/// `delete-connection` and `verify-connection`: the connection with the site at this URL, of this token.
#[derive(Debug, Clone, Serialize)]
pub struct Named {
    /// The token's hash.
    pub auth_token_hash: Secret,
    /// Where the site that asks is.
    pub sender_url: String,
}

/// `update-status`.
#[derive(Debug, Clone, Serialize)]
pub struct UpdateStatus {
    /// The token's hash.
    pub auth_token_hash: Secret,
    /// Where the site that asks is.
    pub sender_url: String,
    /// What became of the connection.
    pub status: PeerStatus,
    /// Why, if somebody said. PhoenixKit does not know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `get-connection-status`.
#[derive(Debug, Clone, Serialize)]
pub struct QueryStatus {
    /// The token's hash.
    pub auth_token_hash: Secret,
    /// Where the site that asks is. Nobody looks at it.
    pub receiver_url: String,
}

/// `list-tables`.
#[derive(Debug, Clone, Serialize)]
pub struct ListTables {
    /// The token's hash.
    pub auth_token_hash: Secret,
    /// The connection's download password. Not of PhoenixKit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// `pull-data`.
#[derive(Debug, Clone, Serialize)]
pub struct PullData {
    /// The token's hash.
    pub auth_token_hash: Secret,
    /// What becomes of records whose key exists there. It changes nothing about the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict_strategy: Option<Strategy>,
    /// Whether the answer is to say if it was cut (`has_more`). Not of PhoenixKit, whose answers never do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mark_cut: bool,
    /// The connection's download password. Not of PhoenixKit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The table.
    pub table_name: String,
}

/// `table-schema`.
#[derive(Debug, Clone, Serialize)]
pub struct DescribeTable {
    /// The token's hash.
    pub auth_token_hash: Secret,
    /// The connection's download password. Not of PhoenixKit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The table.
    pub table_name: String,
}

/// `table-records`.
#[derive(Debug, Clone, Serialize)]
pub struct TableRecords {
    /// The token's hash.
    pub auth_token_hash: Secret,
    /// The last key.
    #[serde(serialize_with = "optional_key", skip_serializing_if = "Option::is_none")]
    pub id_end: Option<Value>,
    /// The first key.
    #[serde(serialize_with = "optional_key", skip_serializing_if = "Option::is_none")]
    pub id_start: Option<Value>,
    /// These keys and no others; empty for all. They win over the range.
    #[serde(serialize_with = "keys", skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Value>,
    /// Most records: no more than [`MOST_RECORDS`] come.
    pub limit: u64,
    /// How many records to leave out.
    pub offset: u64,
    /// The connection's download password. Not of PhoenixKit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The table.
    pub table_name: String,
}

/// `rotate-token`: the connection of the old token has a new one. Not of PhoenixKit.
#[derive(Debug, Clone, Serialize)]
pub struct RotateToken {
    /// The new token.
    pub auth_token: Secret,
    /// The old token's hash.
    pub auth_token_hash: Secret,
    /// Where the site that asks is.
    pub sender_url: String,
}

impl Register {
    /// Reads the fields.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Self, BadRequest> {
        const NAME: &str = "connection_name";
        required(fields, &[URL, NAME, TOKEN])?;
        let connection_name = given(fields.text_or_number(NAME, CONNECTION_NAME_CHARS * 4)?, NAME)?;
        if connection_name.chars().count() > CONNECTION_NAME_CHARS {
            let why = format!("must not be longer than {CONNECTION_NAME_CHARS} characters");
            return Err(BadRequest::wrong(NAME, why));
        }
        Ok(Register {
            auth_token: given(fields.secret(TOKEN, TOKEN_BYTES)?, TOKEN)?,
            connection_name,
            default_conflict_strategy: strategy_named(fields, "default_conflict_strategy")?,
            password: password(fields)?,
            sender_url: given(fields.text(URL, URL_BYTES)?, URL)?,
        })
    }
}

/// A strategy by its name. One that is not known here is refused: records must not be treated in another way than was meant.
fn strategy_named(fields: &Fields<'_>, name: &'static str) -> Result<Option<Strategy>, BadRequest> {
    let Some(raw) = fields.raw(name) else { return Ok(None) };
    let known = Strategy::ALL.iter().copied().find(|strategy| raw == format!("\"{strategy}\""));
    let names = || Strategy::ALL.iter().map(Strategy::to_string).collect::<Vec<_>>().join(", ");
    known.map(Some).ok_or_else(|| BadRequest::wrong(name, format!("must be one of {}", names())))
}

impl Named {
    /// Reads the fields.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Self, BadRequest> {
        required(fields, &[URL, HASH])?;
        Ok(Named { auth_token_hash: hash(fields)?, sender_url: given(fields.text(URL, URL_BYTES)?, URL)? })
    }
}

impl UpdateStatus {
    /// Reads the fields.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Self, BadRequest> {
        const STATUS: &str = "status";
        required(fields, &[URL, HASH, STATUS])?;
        let known = |raw: &str| PeerStatus::ALL.iter().copied().find(|status| raw == format!("\"{status}\""));
        let status = fields.raw(STATUS).and_then(known).ok_or(BadRequest::Status)?;
        let sender_url = given(fields.text(URL, URL_BYTES)?, URL)?;
        let reason = fields.text("reason", REASON_BYTES)?.map(|reason| excerpt(&reason));
        Ok(UpdateStatus { auth_token_hash: hash(fields)?, sender_url, status, reason })
    }
}

impl QueryStatus {
    /// Reads the fields.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Self, BadRequest> {
        const RECEIVER: &str = "receiver_url";
        required(fields, &[RECEIVER, HASH])?;
        let receiver_url = given(fields.text_or_number(RECEIVER, URL_BYTES)?, RECEIVER)?;
        Ok(QueryStatus { auth_token_hash: hash(fields)?, receiver_url })
    }
}

impl ListTables {
    /// Reads the fields.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Self, BadRequest> {
        required(fields, &[HASH])?;
        Ok(ListTables { auth_token_hash: hash(fields)?, password: password(fields)? })
    }
}

impl PullData {
    /// Reads the fields. A strategy that there is none of counts as none.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Self, BadRequest> {
        required(fields, &[HASH, TABLE])?;
        let known = |raw: &str| Strategy::ALL.iter().copied().find(|strategy| raw == format!("\"{strategy}\""));
        Ok(PullData {
            auth_token_hash: hash(fields)?,
            conflict_strategy: fields.raw("conflict_strategy").and_then(known),
            mark_cut: fields.raw("mark_cut") == Some("true"),
            password: password(fields)?,
            table_name: table(fields)?,
        })
    }
}

impl DescribeTable {
    /// Reads the fields.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Self, BadRequest> {
        required_in_text(fields)?;
        Ok(DescribeTable { auth_token_hash: hash(fields)?, password: password(fields)?, table_name: table(fields)? })
    }
}

impl TableRecords {
    /// Reads the fields. A limit or offset that is no whole number counts as none given, and ids that are no list as none, as
    /// in PhoenixKit.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Self, BadRequest> {
        required_in_text(fields)?;
        Ok(TableRecords {
            auth_token_hash: hash(fields)?,
            id_end: fields.key("id_end")?,
            id_start: fields.key("id_start")?,
            ids: fields.keys("ids", IDS)?,
            limit: fields.number("limit")?.unwrap_or(DEFAULT_RECORDS).min(MOST_RECORDS),
            offset: fields.number("offset")?.unwrap_or(0),
            password: password(fields)?,
            table_name: table(fields)?,
        })
    }
}

impl RotateToken {
    /// Reads the fields.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Self, BadRequest> {
        required(fields, &[URL, HASH, TOKEN])?;
        Ok(RotateToken {
            auth_token: given(fields.secret(TOKEN, TOKEN_BYTES)?, TOKEN)?,
            auth_token_hash: hash(fields)?,
            sender_url: given(fields.text(URL, URL_BYTES)?, URL)?,
        })
    }
}

fn required(fields: &Fields<'_>, names: &[&'static str]) -> Result<(), BadRequest> {
    let missing = fields.missing(names);
    if missing.is_empty() { Ok(()) } else { Err(BadRequest::Missing(missing)) }
}

fn required_in_text(fields: &Fields<'_>) -> Result<(), BadRequest> {
    let missing = fields.missing(&[HASH, TABLE]);
    if missing.is_empty() { Ok(()) } else { Err(BadRequest::MissingInText(missing)) }
}

/// What was checked to be there.
fn given<T>(value: Option<T>, name: &'static str) -> Result<T, BadRequest> {
    value.ok_or_else(|| BadRequest::Missing(vec![name]))
}

fn hash(fields: &Fields<'_>) -> Result<Secret, BadRequest> {
    given(fields.secret(HASH, TOKEN_BYTES)?, HASH)
}

fn password(fields: &Fields<'_>) -> Result<Option<Secret>, BadRequest> {
    fields.secret("password", PASSWORD_BYTES)
}

fn table(fields: &Fields<'_>) -> Result<String, BadRequest> {
    given(fields.text_or_number(TABLE, NAME_BYTES)?, TABLE)
}

fn json(key: &Value) -> Box<RawValue> {
    let mut out = Vec::new();
    render::value(&mut out, Dialect::Rowferry, &LogicalType::Any, key.as_ref());
    let text = String::from_utf8(out).expect("rendered values are text");
    RawValue::from_string(text).expect("rendered values are JSON")
}

fn optional_key<S: Serializer>(key: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
    key.as_ref().map(json).serialize(serializer)
}

fn keys<S: Serializer>(keys: &[Value], serializer: S) -> Result<S::Ok, S::Error> {
    keys.iter().map(json).collect::<Vec<_>>().serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;

    fn read<T>(read: fn(&Fields<'_>) -> Result<T, BadRequest>, body: &str) -> Result<T, String> {
        Fields::read(body.as_bytes()).and_then(|fields| read(&fields)).map_err(|bad| bad.body())
    }

    #[test]
    fn requests_of_the_reference_are_read_and_written_alike() {
        let body = r#"{"auth_token":"T","connection_name":"notifier test","password":"s3cret","sender_url":"http://a"}"#;
        assert_eq!(encode(&read(Register::read, body).unwrap()), body);
        let body = r#"{"auth_token_hash":"46e1","sender_url":"http://a","status":"suspended"}"#;
        assert_eq!(encode(&read(UpdateStatus::read, body).unwrap()), body);
        let body = r#"{"auth_token_hash":"46e1","sender_url":"http://a"}"#;
        assert_eq!(encode(&read(Named::read, body).unwrap()), body);
        let body = r#"{"auth_token_hash":"46e1","receiver_url":"http://a"}"#;
        assert_eq!(encode(&read(QueryStatus::read, body).unwrap()), body);
        let body = r#"{"auth_token_hash":"46e1"}"#;
        assert_eq!(encode(&read(ListTables::read, body).unwrap()), body);
        let body = r#"{"auth_token_hash":"46e1","conflict_strategy":"skip","table_name":"plain"}"#;
        assert_eq!(encode(&read(PullData::read, body).unwrap()), body);
        let body = r#"{"auth_token_hash":"46e1","table_name":"plain"}"#;
        assert_eq!(encode(&read(DescribeTable::read, body).unwrap()), body);
        let body = r#"{"auth_token_hash":"46e1","ids":[3,"x"],"limit":10,"offset":0,"table_name":"many"}"#;
        assert_eq!(encode(&read(TableRecords::read, body).unwrap()), body);
        let body = r#"{"auth_token_hash":"46e1","id_end":7,"id_start":5,"limit":10,"offset":0,"table_name":"many"}"#;
        assert_eq!(encode(&read(TableRecords::read, body).unwrap()), body);
        let body = r#"{"auth_token":"T","auth_token_hash":"46e1","sender_url":"http://a"}"#;
        assert_eq!(encode(&read(RotateToken::read, body).unwrap()), body);
    }

    #[test]
    fn missing_fields_come_in_the_references_order() {
        let missing =
            |fields: &str| Err(format!(r#"{{"error":"Missing required fields","fields":[{fields}],"success":false}}"#));
        fn failed<T>(result: Result<T, String>) -> Result<(), String> {
            result.map(|_| ())
        }
        assert_eq!(failed(read(Register::read, "{}")), missing(r#""sender_url","connection_name","auth_token""#));
        let some = r#"{"sender_url":"","connection_name":"x","auth_token":null}"#;
        assert_eq!(failed(read(Register::read, some)), missing(r#""sender_url","auth_token""#));
        assert_eq!(failed(read(UpdateStatus::read, "[]")), missing(r#""sender_url","auth_token_hash","status""#));
        assert_eq!(failed(read(QueryStatus::read, "")), missing(r#""receiver_url","auth_token_hash""#));
        assert_eq!(failed(read(PullData::read, "{}")), missing(r#""auth_token_hash","table_name""#));
        let in_text = r#"{"error":"Missing required fields: table_name","success":false}"#.to_owned();
        assert_eq!(failed(read(TableRecords::read, r#"{"auth_token_hash":"x"}"#)), Err(in_text));
    }

    #[test]
    fn wrong_types_are_refused_or_taken_as_the_reference_takes_them() {
        let bad = |result: Result<(), String>| result.unwrap_err();
        let url = read(Register::read, r#"{"sender_url":5,"connection_name":"x","auth_token":"t"}"#);
        assert!(bad(url.map(|_| ())).contains("sender_url must be a string"));
        let name = read(Register::read, r#"{"sender_url":"http://a","connection_name":5,"auth_token":"t"}"#);
        assert_eq!(name.unwrap().connection_name, "5");
        let long = format!(r#"{{"sender_url":"http://a","connection_name":"{}","auth_token":"t"}}"#, "ž".repeat(256));
        assert!(bad(read(Register::read, &long).map(|_| ())).contains("255 characters"));
        assert!(read(Register::read, &long.replacen('ž', "", 1)).is_ok());
        for status in ["5", "\"pending\"", "[]"] {
            let body = format!(r#"{{"sender_url":"http://a","auth_token_hash":"x","status":{status}}}"#);
            assert_eq!(bad(read(UpdateStatus::read, &body).map(|_| ())), BadRequest::Status.body());
        }
        let records = |more: &str| read(TableRecords::read, &format!(r#"{{"auth_token_hash":"x","table_name":5,{more}}}"#));
        let limits =
            [r#""limit":"2","offset":"1""#, r#""limit":"abc","offset":2.5"#, r#""limit":1000,"ids":3"#, r#""limit":0"#];
        let read: Vec<_> = limits.iter().map(|more| records(more).map(|r| (r.limit, r.offset)).unwrap()).collect();
        assert_eq!(read, [(2, 1), (10, 0), (100, 0), (0, 0)]);
        assert_eq!(records(r#""limit":1"#).unwrap().table_name, "5");
        for more in [r#""limit":-1"#, r#""offset":"-1""#, r#""ids":[[1]]"#, r#""ids":[null]"#, r#""id_start":true"#] {
            assert!(records(more).is_err(), "{more}");
        }
        let many = format!(r#""ids":[{}1]"#, "1,".repeat(IDS));
        assert!(records(&many).unwrap_err().contains("more than 1000"));
    }

    proptest::proptest! {
        /// Whatever comes is a request or a refusal that is JSON.
        #[test]
        fn junk_is_never_a_panic(names in proptest::collection::vec(0usize..12, 0..8), values in proptest::collection::vec(".{0,20}", 8)) {
            const NAMES: [&str; 12] = [
                "sender_url", "connection_name", "auth_token", "auth_token_hash", "status", "receiver_url", "table_name",
                "limit", "offset", "ids", "id_start", "password",
            ];
            let field = |(name, value): (&usize, &String)| match value.len() % 3 {
                0 => format!("{:?}:{}", NAMES[*name], serde_json::Value::from(value.as_str())),
                1 => format!("{:?}:[{}]", NAMES[*name], value.len()),
                _ => format!("{:?}:{value}", NAMES[*name]),
            };
            let body = format!("{{{}}}", names.iter().zip(&values).map(field).collect::<Vec<_>>().join(","));
            let Ok(fields) = Fields::read(body.as_bytes()) else { return Ok(()) };
            let refused = [
                Register::read(&fields).err(),
                Named::read(&fields).err(),
                UpdateStatus::read(&fields).err(),
                QueryStatus::read(&fields).err(),
                ListTables::read(&fields).err(),
                PullData::read(&fields).err(),
                DescribeTable::read(&fields).err(),
                TableRecords::read(&fields).err(),
                RotateToken::read(&fields).err(),
            ];
            for bad in refused.into_iter().flatten() {
                proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&bad.body()).is_ok());
            }
        }
    }
}
