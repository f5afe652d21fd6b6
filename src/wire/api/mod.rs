//! The HTTP calls: what is asked and what is answered, each in both directions.
//!
//! The server reads a body with [`Fields::read`] and then the call's own request out of the fields ([`Register::read`] and so on),
//! because it looks at other things in between; the client writes a request with [`encode`] and reads an answer with
//! [`decode`], or with [`Refusal::decode`] where the status is not 200. Keys are written sorted, as PhoenixKit does.

mod answers;
mod bounds;
mod encode;
mod fields;
mod records;
mod requests;
mod secret;

pub use answers::{
    Deleted, Exists, ListTablesAnswer, QueryStatusAnswer, Refusal, RegisterAnswer, RemoteTable, Updated, decode,
    decode_table_schema, encode_table_schema,
};
pub use bounds::{CONNECTION_NAME_CHARS, DEFAULT_RECORDS, IDS, MOST_RECORDS, PASSWORD_BYTES, REASON_BYTES, URL_BYTES};
pub use encode::encode;
pub(crate) use fields::leading_hash;
pub use fields::{BadRequest, Fields};
pub use records::{PagesHead, decode_records, head, tail};
pub use requests::{
    DescribeTable, ListTables, Named, PeerStatus, PullData, QueryStatus, Register, RotateToken, TableRecords, UpdateStatus,
};
pub use secret::Secret;

use crate::domain::string_enum::string_enum;

string_enum! {
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
        /// The connection has a new token. Not of PhoenixKit, which answers 404.
        RotateToken = "rotate-token",
    }
}

impl Call {
    /// Its path under a site's prefix.
    pub fn path(self) -> String {
        format!("/sync/api/{self}")
    }
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
