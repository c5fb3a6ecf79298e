//! The API on TCP: what is let in, and what is said of it.

use super::{PORT, errors, good, service, warnings};

fn api(keys: &str) -> String {
    format!("[control.api]\n{keys}\n{PORT}")
}

#[test]
fn an_address_has_a_port() {
    let config = good(&api("listen = '[::1]:9300'"));
    assert_eq!(config.control.api.listen, Some("[::1]:9300".parse().unwrap()));
    assert_eq!(good(PORT).control.api.listen, None);
    for bad in ["'127.0.0.1'", "9300", "':9300'", "'localhost:9300'", "'::1:9300'"] {
        let errors = errors(&api(&format!("listen = {bad}")));
        assert!(errors[0].starts_with("`listen` must be an address with a port such as"), "{errors:?}");
    }
}

#[test]
fn doors_that_stand_open_are_warned_of() {
    let of = |keys: &str| warnings(&format!("[control.api]\n{keys}\n{}", service("nat", "", "address = '10.1.0.1'")));
    assert_eq!(of("listen = '127.0.0.1:9300'"), [""; 0]);
    assert_eq!(of("listen = '[::ffff:127.0.0.1]:9300'"), [""; 0]);
    let open = of("listen = '0.0.0.0:9300'");
    assert_eq!(
        open,
        [
            "`listen` 0.0.0.0:9300 is open to the network without TLS: set `tls_cert`",
            "`listen` 0.0.0.0:9300 is open to the network without `token_file`: everybody there can read the figures",
        ]
    );
    assert_eq!(of("open_reads = false"), ["`[control.api]` does nothing without `listen`"]);
    assert_eq!(of("tls_key = '/x'"), ["`tls_key` is of no use without `tls_cert`"]);
    let closed = of("listen = '127.0.0.1:9300'\nopen_reads = false");
    assert!(closed.len() == 1 && closed[0].contains("only `/healthz`"), "{closed:?}");
}

#[test]
fn files_are_read_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let secret = "very-secret-token-0123456789";
    let token = path("token", secret);
    let config = good(&api(&format!("listen = '127.0.0.1:9300'\ntoken_file = '{token}'")));
    assert!(config.control.api.token.as_ref().unwrap().is(secret.as_bytes()));
    assert!(!format!("{config:?}").contains(secret));
    let short = errors(&api(&format!("token_file = '{}'", path("short", "secret"))));
    assert!(short[0].contains("16 to 512 characters, not of 6") && !short[0].contains("secret;"), "{short:?}");
    let missing = errors(&api("token_file = '/nonexistent/token'"));
    assert!(missing[0].starts_with("`token_file` /nonexistent/token cannot be read"), "{missing:?}");
    let no_certificate = errors(&api(&format!("tls_cert = '{token}'")));
    assert!(no_certificate[0].starts_with("`tls_cert` has no certificate"), "{no_certificate:?}");
    assert!(!no_certificate[0].contains(secret));
}
