//! Binary messages of the native protocol, and the rows of their pages.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowferry::fuzzing::native_page(bytes));
