//! What a peer with a token says on its channel.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowferry::fuzzing::server::channel_session(bytes));
