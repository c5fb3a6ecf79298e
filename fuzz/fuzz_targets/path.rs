//! The whole packet path under any traffic; see the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate_fuzz::path::run(data));
