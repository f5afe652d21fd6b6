//! The HTTP calls of strangers and of a peer with a token, through the handler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowferry::fuzzing::server::http_api(bytes));
