//! Pulls between two sites in memory, compared with a model.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowferry::fuzzing::pull::pull(bytes));
