//! The keys of the API on TCP.

use super::keys::{FLAG, KeyDoc, Kind, TEXT_BYTES_MAX, TableDoc, When, key};

const fn path(name: &'static str, default: &'static str, meaning: &'static str) -> KeyDoc {
    key(name, Kind::Text(TEXT_BYTES_MAX), default, When::Init, meaning)
}

/// `[control.api]`.
pub static API: TableDoc = TableDoc {
    heading: "[control.api]",
    keys: &[
        key(
            "listen",
            Kind::Other {
                what: "string",
                range: "IPv4 or IPv6 address with port",
                expected: "an address with a port such as \"127.0.0.1:9300\" or \"[::1]:9300\"",
            },
            "not on TCP",
            When::Init,
            "Where the API and `/metrics` listen on TCP, beside the Unix socket",
        ),
        path(
            "token_file",
            "no token, so read only",
            "File with the token for what is not open to everybody, a line of 16 to 512 visible characters; read again at a reload",
        ),
        path(
            "tls_cert",
            "no TLS",
            "PEM file with the certificate and those between it and its authority; read again at a reload",
        ),
        path("tls_key", "the file of `tls_cert`", "PEM file with the key of the certificate; read again at a reload"),
        key(
            "open_reads",
            FLAG,
            "true",
            When::Init,
            "Whether figures that name no client are for everybody who can connect; without it they need the token",
        ),
    ],
};
