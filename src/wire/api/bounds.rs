//! How long and how many things in a call may be.

/// The longest name of a connection that is taken from a peer, in characters, as in PhoenixKit.
pub const CONNECTION_NAME_CHARS: usize = 255;
/// The longest URL that is taken from a peer, in bytes.
pub const URL_BYTES: usize = 2048;
/// The longest password that is taken from a peer, in bytes.
pub const PASSWORD_BYTES: usize = 1024;
/// The longest reason for a new status that is taken from a peer, in bytes; what is kept of it is shorter.
pub const REASON_BYTES: usize = 1024;
/// Most ids that one table-records call may name.
pub const IDS: usize = 1000;
/// How many records table-records gives where it is not told.
pub const DEFAULT_RECORDS: u64 = 10;
/// Most records that table-records gives, whatever it is told.
pub const MOST_RECORDS: u64 = 100;
