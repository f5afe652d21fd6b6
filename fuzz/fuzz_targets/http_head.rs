//! The head of an HTTP request and a chunked body behind it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowferry::fuzzing::http_head(bytes));
