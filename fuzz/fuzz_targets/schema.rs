//! Descriptions of tables as a peer gives them, the tables that are made of them, and rows in these.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowferry::fuzzing::schema::schema(bytes));
