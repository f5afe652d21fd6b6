//! The HTTP calls: what is asked and what is answered, each in both directions.
//!
//! The server reads a body with [`Fields::read`] and then the call's own request out of the fields ([`Register::read`] and so on),
//! because it looks at other things in between; the client writes a request with [`encode`] and reads an answer with
//! [`decode`], or with [`Refusal::decode`] where the status is not 200. Keys are written sorted, as the reference does.

mod answers;
mod fields;
mod records;
mod requests;

use std::fmt;

use serde::{Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use answers::{
    Deleted, Exists, Listed, ListedTable, Queried, Refusal, Registered, Updated, decode, decode_table_schema,
    encode_table_schema,
};
pub use fields::{BadRequest, Fields};
pub use records::{PagesHead, decode_records, head, tail};
pub use requests::{
    DescribeTable, ListTables, Named, PeerStatus, PullData, QueryStatus, Register, RotateToken, TableRecords, UpdateStatus,
};

use crate::domain::words::words;

/// The longest name of a connection that is taken from a peer, in characters, as in the reference.
pub const CONNECTION_NAME_CHARS: usize = 255;
/// The longest URL that is taken from a peer, in bytes.
pub const URL_BYTES: usize = 2048;
/// The longest password that is taken from a peer, in bytes.
pub const PASSWORD_BYTES: usize = 1024;
/// Most ids that one table-records call may name.
pub const IDS: usize = 1000;
/// How many records table-records gives where it is not told.
pub const DEFAULT_RECORDS: u64 = 10;
/// Most records that table-records gives, whatever it is told.
pub const MOST_RECORDS: u64 = 100;

words! {
    /// The calls, by the last part of their path. All but `status` are made with POST.
    pub enum Call("call") {
        /// What a site says of itself to anyone. The only GET.
        Status = "status",
        /// Another site may be pulled from with this token.
        Register = "register-connection",
        /// The connection is over.
        Delete = "delete-connection",
        /// Is the connection still there?
        Verify = "verify-connection",
        /// The connection was suspended, reactivated or revoked on the other side.
        UpdateStatus = "update-status",
        /// How does the connection stand?
        QueryStatus = "get-connection-status",
        /// Which tables are there?
        ListTables = "list-tables",
        /// The records of a table.
        PullData = "pull-data",
        /// The columns of a table.
        DescribeTable = "table-schema",
        /// Some records of a table.
        TableRecords = "table-records",
        /// The connection has a new token. Not of the reference, which answers 404.
        RotateToken = "rotate-token",
    }
}

impl Call {
    /// Its path under a site's prefix.
    pub fn path(self) -> String {
        format!("/sync/api/{self}")
    }
}

/// A token, its hash or a password on its way. It does not print: `Debug` shows nothing of it. Only a request that is
/// written has it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret of this text.
    pub fn new(text: &str) -> Self {
        Secret(Zeroizing::new(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Writes a request or an answer.
pub fn encode(message: &impl Serialize) -> String {
    // Only maps with keys that are no strings are refused, and no message has one.
    serde_json::to_string(message).expect("requests and answers are plain structures")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_written_and_never_printed() {
        let request = Named { auth_token_hash: Secret::new("hunter2"), sender_url: "http://a".into() };
        assert_eq!(encode(&request), r#"{"auth_token_hash":"hunter2","sender_url":"http://a"}"#);
        assert!(!format!("{request:?}").contains("hunter2"));
        assert_eq!(Call::QueryStatus.path(), "/sync/api/get-connection-status");
    }
}
