//! Bytes to fields and back: zero-copy views of protocol headers, without state.
