//! Requests and answers: what the frames say. Each is here in both directions, as both ends need them.

mod answers;
mod refusals;
pub(crate) mod requests;

pub use answers::{
    Answer, Capabilities, PeerInfo, answer_capabilities, answer_count, answer_join_refused, answer_ok, answer_schema,
    answer_tables, decode_reply,
};
pub(crate) use refusals::LONGEST_WAIT;
pub use refusals::{
    Approval, ApprovalStatus, answer_approvals, answer_error, hint, reason, reason_of_text, refused, text_with_standing,
    with_standing,
};
pub(crate) use requests::{APPROVALS, encode_pull_of, encode_pull_over};
pub use requests::{
    Announced, Ask, RecordsRequest, Request, answer_ref, decode_request, encode_heartbeat, encode_join, encode_request,
};

/// The version of what rowferry announces in a join.
pub const ROWFERRY_VERSION: u32 = 1;
/// Most records that PhoenixKit sends in one page, whatever it is asked for.
pub const REFERENCE_PAGE_RECORDS: u64 = 1000;
/// The feature of a sender that names the state its records are of.
pub const FEATURE_SNAPSHOT: &str = "snapshot";
/// The feature of a sender that answers `request:approvals`.
pub const FEATURE_APPROVALS: &str = "approvals";

/// The feature of a sender that sends rows in binary pages: see [`native`](crate::wire::native).
pub const FEATURE_PAGES: &str = "pages";
/// The feature of a sender that knows pulls by the names that receivers give them: a resumed one is the same download and the same
/// approval, and its requests for pages queue.
pub const FEATURE_PULLS: &str = "pulls";
/// The feature of a sender whose tickets are for one pull: it is told which tables that is of, and when it has completed.
pub const FEATURE_TICKETS: &str = "tickets";
/// The feature of a sender that compares its rows with those of the receiver: see [`Compare`](crate::wire::native::Compare).
pub const FEATURE_COMPARE: &str = "compare";
/// The reason of a join that is refused because its topic has another code.
pub const CODE_MISMATCH: &str = "code_mismatch";
