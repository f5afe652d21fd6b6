//! Writes the messages of the calls.

use serde::Serialize;

/// Writes a request or an answer.
pub fn encode(message: &impl Serialize) -> String {
    // Only maps with keys that are no strings are refused, and no message has one.
    serde_json::to_string(message).expect("requests and answers are plain structures")
}
