//! Configuration files of any content; see the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate_fuzz::config::run(data));
