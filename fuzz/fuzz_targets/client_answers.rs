//! Any answers of another site, to the client's HTTP calls and on its channel.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowferry::fuzzing::answers::client_answers(bytes));
