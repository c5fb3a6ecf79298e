//! Headers of any bytes; see the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate_fuzz::parse::run(data));
