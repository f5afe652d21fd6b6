//! What is answered.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::domain::connection::ConnectionStatus;
use crate::domain::schema::{Column, LogicalType, TableSchema};
use crate::domain::settings::SiteStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::wire::{NAME_BYTES, excerpt, schema, unquoted};

/// `"success":true`: written so, and an answer without it is no good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Success;

impl Serialize for Success {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

impl<'de> Deserialize<'de> for Success {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match bool::deserialize(deserializer)? {
            true => Ok(Success),
            false => Err(D::Error::custom("it says that the call did not succeed")),
        }
    }
}

/// The answer to `status`.
#[derive(Serialize, Deserialize)]
#[serde(remote = "SiteStatus")]
struct WireStatus {
    enabled: bool,
    incoming_mode: String,
    password_required: bool,
}

impl Serialize for SiteStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WireStatus::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for SiteStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let status = WireStatus::deserialize(deserializer)?;
        Ok(SiteStatus { incoming_mode: excerpt(&status.incoming_mode), ..status })
    }
}

/// The answer to `register-connection`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterAnswer {
    /// Where the connection stands there: `active` or `pending`.
    pub connection_status: String,
    /// The connection's id there.
    pub connection_uuid: Uuid,
    message: String,
    success: Success,
}

impl RegisterAnswer {
    /// The answer about a connection that was made.
    pub fn new(connection: Uuid, status: ConnectionStatus) -> Self {
        let message = match status {
            ConnectionStatus::Active => "Connection registered and activated",
            _ => "Connection registered, pending approval",
        };
        RegisterAnswer {
            connection_status: status.to_string(),
            connection_uuid: connection,
            message: message.to_owned(),
            success: Success,
        }
    }
}

/// The answer to `update-status` and `rotate-token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    #[serde(default)]
    message: String,
    success: Success,
}

impl Updated {
    /// What was done: `Status updated to active`, `Token updated`.
    pub fn new(message: impl Into<String>) -> Self {
        Updated { message: message.into(), success: Success }
    }
}

/// The answer to `delete-connection`.
pub type Deleted = Updated;

/// The answer to `verify-connection`: 200 where the connection exists, 404 where it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exists {
    /// Whether it exists.
    pub exists: bool,
    /// The same.
    success: bool,
}

impl Exists {
    /// The answer.
    pub fn new(exists: bool) -> Self {
        Exists { exists, success: exists }
    }
}

/// The answer to `get-connection-status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryStatusAnswer {
    /// What the other site calls the connection.
    pub name: String,
    /// Where it stands there. A peer may have a status that is not known here: then its name.
    pub status: String,
    success: Success,
}

impl QueryStatusAnswer {
    /// The answer about a connection.
    pub fn new(name: &str, status: ConnectionStatus) -> Self {
        QueryStatusAnswer { name: name.to_owned(), status: status.to_string(), success: Success }
    }
}

/// The answer to `list-tables`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTablesAnswer {
    success: Success,
    /// The tables, sorted by name.
    pub tables: Vec<RemoteTable>,
}

/// A table in the answer to `list-tables`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteTable {
    /// Something that changes when the table's content does, as the sender makes it up; `empty` for an empty table there, and
    /// nothing where it would take too long or cannot be made, or where a pull of the table must be approved first. A rowferry site makes it
    /// for the connection: see [`Site::table_checksum_for`](crate::Site::table_checksum_for).
    #[serde(default)]
    pub checksum: Option<String>,
    /// The tables that its foreign keys refer to.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// Its name.
    pub name: String,
    /// How many rows it has. PhoenixKit says 0 for names in mixed case.
    #[serde(default, deserialize_with = "count")]
    pub row_count: u64,
    /// About how many bytes it takes; 0 where that is not known, or not told before a pull of the table is approved.
    #[serde(default, deserialize_with = "count")]
    pub size_bytes: u64,
}

impl ListTablesAnswer {
    /// The answer of these tables.
    pub fn new(tables: Vec<RemoteTable>) -> Self {
        ListTablesAnswer { success: Success, tables }
    }

    /// Checks what came against the limits.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] for more tables than the limit, or names that are too long.
    pub fn within(self, limits: &Limits) -> Result<Self> {
        let names = |table: &RemoteTable| table.depends_on.iter().map(String::len).chain([table.name.len()]).max();
        let long = |table: &RemoteTable| names(table).is_some_and(|longest| longest > NAME_BYTES);
        if self.tables.len() > limits.wire.tables || self.tables.iter().any(long) {
            let most = limits.wire.tables;
            let why = format!("the other site lists more than {most} tables, or names longer than {NAME_BYTES} bytes");
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        Ok(self)
    }
}

/// A count as a peer may write it: null, or negative for not known.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(Option::<i64>::deserialize(deserializer)?.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

#[derive(Serialize, Deserialize)]
struct Described {
    schema: WireTable,
    success: Success,
}

#[derive(Serialize, Deserialize)]
struct WireTable {
    columns: Vec<WireColumn>,
    #[serde(default)]
    table_name: String,
}

#[derive(Serialize, Deserialize)]
struct WireColumn {
    #[serde(default)]
    character_maximum_length: Option<i64>,
    #[serde(default)]
    column_default: Option<String>,
    column_name: String,
    data_type: String,
    #[serde(default)]
    is_nullable: String,
}

/// Writes the answer to `table-schema`: columns as Postgres' `information_schema` has them. Unlike on the channel a uuid column
/// is one: its values come as bytes, and nobody makes a table of this.
pub fn encode_table_schema(table: &TableSchema) -> String {
    let key = |column: &Column| table.names.is_among(&column.name, &table.primary_key);
    let column = |column: &Column| WireColumn {
        character_maximum_length: None,
        column_default: schema::portable_default(column),
        column_name: column.name.clone(),
        data_type: match column.logical {
            LogicalType::Uuid => "uuid",
            _ => schema::postgres_name(&column.logical),
        }
        .to_owned(),
        is_nullable: if column.nullable && !key(column) { "YES" } else { "NO" }.to_owned(),
    };
    let wire = WireTable { columns: table.columns.iter().map(column).collect(), table_name: table.name.clone() };
    super::encode(&Described { schema: wire, success: Success })
}

/// Reads the answer to `table-schema`. It knows no key.
///
/// # Errors
/// [`ErrorKind::Protocol`] and [`ErrorKind::TooLarge`], as for [`decode_schema`](crate::wire::schema::decode_schema).
pub fn decode_table_schema(body: &[u8], table: &str, limits: &Limits) -> Result<TableSchema> {
    schema::within_bytes(body.len(), limits)?;
    let wire: Described = decode(body, "its description of a table")?;
    let column = |column: WireColumn| Column {
        logical: LogicalType::from_postgres(&column.data_type),
        declared_type: column.data_type,
        name: column.column_name,
        nullable: column.is_nullable != "NO",
        default: column.column_default,
        max_length: column.character_maximum_length.and_then(|length| u32::try_from(length).ok()),
        ..Column::default()
    };
    let columns = wire.schema.columns.into_iter().map(column).collect();
    let read = TableSchema { name: table.to_owned(), columns, ..TableSchema::default() };
    let doing = || format!("the other site's description of table {:?}", excerpt(table));
    schema::check(&read, limits).map_err(|error| error.while_doing(doing()))?;
    Ok(read)
}

/// Reads a good answer; `what` it is about, for the message.
///
/// # Errors
/// [`ErrorKind::Protocol`].
pub fn decode<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        let why = excerpt(&unquoted(&error.to_string()));
        Error::new(ErrorKind::Protocol, format!("the other site's answer cannot be read, {what}: {why}"))
    })
}

/// An answer that refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The stable code, from a rowferry site only: [`ErrorKind::code`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why, for a person.
    pub error: String,
    success: bool,
    /// The transfer that waits for approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_uuid: Option<Uuid>,
}

impl Refusal {
    /// A refusal for this reason.
    pub fn new(error: impl Into<String>) -> Self {
        Refusal { code: None, error: error.into(), success: false, transfer_uuid: None }
    }

    /// Adds the code. PhoenixKit's own refusals have none, and so have those of ours that say no more than they do.
    #[must_use]
    pub fn with_code(mut self, kind: ErrorKind) -> Self {
        self.code = Some(kind.code().to_owned());
        self
    }

    /// Adds the transfer that waits for approval.
    #[must_use]
    pub fn with_transfer(mut self, transfer: Option<Uuid>) -> Self {
        self.transfer_uuid = transfer;
        self
    }

    /// Reads the body of an answer whose status is not 200, whatever it is: the call's own refusal, what the host application
    /// answers, or any text. What it says is cut short and printable; it may be empty.
    pub fn decode(body: &[u8]) -> Self {
        #[derive(Deserialize, Default)]
        struct Wire {
            #[serde(default)]
            code: Option<String>,
            #[serde(default)]
            error: Option<String>,
            #[serde(default)]
            errors: Option<Errors>,
            #[serde(default)]
            fields: Option<Vec<String>>,
            #[serde(default)]
            transfer_uuid: Option<Uuid>,
        }
        #[derive(Deserialize)]
        struct Errors {
            detail: String,
        }
        let Ok(wire) = serde_json::from_slice::<Wire>(body) else {
            let text = String::from_utf8_lossy(body);
            // A page for people is no reason.
            let text = if text.trim_start().starts_with('<') { "" } else { text.trim() };
            return Refusal::new(excerpt(text));
        };
        let mut error = wire.error.or(wire.errors.map(|errors| errors.detail)).unwrap_or_default();
        if let Some(fields) = wire.fields {
            error = format!("{error}: {}", fields.join(", "));
        }
        let code = wire.code.map(|code| excerpt(&code));
        Refusal { code, error: excerpt(&error), success: false, transfer_uuid: wire.transfer_uuid }
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;

    #[test]
    fn answers_are_the_references_and_are_read() {
        let uuid: Uuid = "01a1fd46-7325-7232-98b7-56487b50f09e".parse().unwrap();
        let body = r#"{"connection_status":"active","connection_uuid":"01a1fd46-7325-7232-98b7-56487b50f09e","message":"Connection registered and activated","success":true}"#;
        assert_eq!(encode(&RegisterAnswer::new(uuid, ConnectionStatus::Active)), body);
        assert_eq!(decode::<RegisterAnswer>(body.as_bytes(), "").unwrap().connection_uuid, uuid);
        let body = r#"{"exists":false,"success":false}"#;
        assert_eq!(encode(&Exists::new(false)), body);
        let body = r#"{"message":"Status updated to active","success":true}"#;
        assert_eq!(encode(&Updated::new("Status updated to active")), body);
        let body = r#"{"name":"Pending sender","status":"active","success":true}"#;
        assert_eq!(encode(&QueryStatusAnswer::new("Pending sender", ConnectionStatus::Active)), body);
        assert_eq!(decode::<QueryStatusAnswer>(body.as_bytes(), "").unwrap().status, "active");
        let body = r#"{"enabled":true,"incoming_mode":"require_approval","password_required":false}"#;
        assert_eq!(encode(&decode::<SiteStatus>(body.as_bytes(), "").unwrap()), body);
        let body = r#"{"success":true,"tables":[{"checksum":null,"depends_on":["users"],"name":"posts","row_count":4,"size_bytes":32768}]}"#;
        let listed: ListTablesAnswer = decode(body.as_bytes(), "").unwrap();
        assert_eq!(encode(&listed), body);
        assert!(listed.clone().within(&Limits::default()).is_ok());
        assert_eq!(listed.within(&Limits::with(|limits| limits.wire.tables = 0)).unwrap_err().kind(), ErrorKind::TooLarge);
        let unknown = br#"{"success":true,"tables":[{"name":"a","row_count":-1,"size_bytes":null}]}"#;
        assert_eq!(decode::<ListTablesAnswer>(unknown, "").unwrap().tables[0].row_count, 0);
        for junk in [&b"null"[..], b"{}", b"\xff", br#"{"success":false,"tables":[]}"#, br#"{"success":true}"#] {
            assert_eq!(decode::<ListTablesAnswer>(junk, "").unwrap_err().kind(), ErrorKind::Protocol);
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_repeated() {
        for (body, why) in [
            (r#"{"success":true,"message":"x","connection_status":"active","connection_uuid":"hunter2"}"#, "UUID"),
            (r#"{"success":"hunter2 \" hunter2"}"#, "boolean"),
            (r#"{"hunter2":1}"#, "missing field"),
        ] {
            let error = decode::<RegisterAnswer>(body.as_bytes(), "its answer").unwrap_err();
            assert!(error.message().contains(why) && !error.message().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn schemas_go_both_ways() {
        let column = |name: &str, logical| Column { name: name.into(), logical, nullable: true, ..Column::default() };
        let table = TableSchema {
            name: "t".into(),
            columns: vec![column("id", LogicalType::Uuid), column("n", LogicalType::Integer)],
            primary_key: vec!["id".into()],
            ..TableSchema::default()
        };
        let body = r#"{"schema":{"columns":[{"character_maximum_length":null,"column_default":null,"column_name":"id","data_type":"uuid","is_nullable":"NO"},{"character_maximum_length":null,"column_default":null,"column_name":"n","data_type":"bigint","is_nullable":"YES"}],"table_name":"t"},"success":true}"#;
        assert_eq!(encode_table_schema(&table), body);
        let read = decode_table_schema(body.as_bytes(), "t", &Limits::default()).unwrap();
        let columns: Vec<_> = read.columns.iter().map(|c| (&*c.name, c.logical.clone(), c.nullable)).collect();
        assert_eq!(columns, [("id", LogicalType::Uuid, false), ("n", LogicalType::Integer, true)]);
        let twice = body.replace("\"n\"", "\"ID\"");
        assert_eq!(decode_table_schema(twice.as_bytes(), "t", &Limits::default()).unwrap_err().kind(), ErrorKind::Protocol);
    }

    #[test]
    fn refusals_of_any_kind_are_read() {
        let text = |body: &str| Refusal::decode(body.as_bytes()).error;
        assert_eq!(text(r#"{"error":"Invalid connection","success":false}"#), "Invalid connection");
        assert_eq!(text(r#"{"errors":{"detail":"Not Found"}}"#), "Not Found");
        let missing = r#"{"error":"Missing required fields","fields":["a","b"],"success":false}"#;
        assert_eq!(text(missing), "Missing required fields: a, b");
        assert_eq!(text("Not\nAcceptable"), "Not Acceptable");
        assert_eq!((text("<html>x"), text("{}"), text("[1]").as_str()), (String::new(), String::new(), "[1]"));
        let waiting = Refusal::new("The transfer needs approval").with_transfer(Some(Uuid::nil()));
        let body = encode(&waiting.with_code(ErrorKind::ApprovalRequired));
        assert_eq!(
            body,
            r#"{"code":"approval_required","error":"The transfer needs approval","success":false,"transfer_uuid":"00000000-0000-0000-0000-000000000000"}"#
        );
        let read = Refusal::decode(body.as_bytes());
        assert_eq!((read.code.as_deref(), read.transfer_uuid), (Some("approval_required"), Some(Uuid::nil())));
    }
}
