//! Channel frames and what their payloads may be: requests, answers, descriptions of tables, pages of records.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowferry::fuzzing::channel_frame(bytes));
