//! The C declarations that bindgen writes from DPDK's headers.
#![allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks, reason = "generated code")]
#![allow(non_camel_case_types, non_upper_case_globals, non_snake_case, reason = "C names")]
#![allow(dead_code, unused_qualifications, unnecessary_transmutes, unsafe_op_in_unsafe_fn, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
