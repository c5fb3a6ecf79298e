//! The API on TCP: who gets in, and who cannot disturb it.

use std::net::{SocketAddr, TcpListener, TcpStream};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};

use super::*;

const TOKEN: &str = "a-token-that-nobody-knows-0123456789";

struct Tcp {
    bench: Bench,
    address: SocketAddr,
}

impl Tcp {
    /// With `keys` in `[control.api]`; `TOKEN` stands for the path of a file with the token, `PEM` for one with a certificate.
    fn start(keys: &str) -> Self {
        Self::start_with(false, keys)
    }

    fn start_with(workers_answer: bool, keys: &str) -> Self {
        // Nobody else takes a port in the moment between.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let bench = Bench::start_with(workers_answer, |dir| {
            let token = file(dir, "token", TOKEN);
            write_identity(&dir.join("api.pem"));
            let pem = dir.join("api.pem");
            let keys = keys.replace("TOKEN", token.to_str().unwrap()).replace("PEM", pem.to_str().unwrap());
            format!("[control.api]\nlisten = \"{address}\"\n{keys}\n{CONFIG}")
        });
        Self { bench, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// The whole answer; `head` is more lines of the request's.
    fn ask(&self, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
        let mut stream = self.connect();
        let len = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}content-length: {len}\r\n\r\n{body}"
        );
        _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        _ = stream.read_to_string(&mut answer);
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{path}: {answer:?}")).parse().unwrap();
        (status, answer)
    }

    fn status(&self, method: &str, path: &str, token: Option<&str>) -> u16 {
        let head = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        self.ask(method, path, &head, if method == "GET" { "" } else { "{}" }).0
    }
}

fn write_identity(path: &Path) {
    let own = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    std::fs::write(path, own.cert.pem() + &own.signing_key.serialize_pem()).unwrap();
}

#[test]
fn figures_are_open_and_the_rest_needs_the_token() {
    let tcp = Tcp::start_with(true, "token_file = \"TOKEN\"");
    let cases = [
        ("GET", "/v1/status", 200, 200),
        ("GET", "/v1/backends", 200, 200),
        ("GET", "/metrics", 200, 200),
        ("GET", "/v1/connections", 401, 200),
        ("GET", "/v1/neighbors", 401, 200),
        ("GET", "/v1/config", 401, 200),
        ("GET", "/v1/config?secrets", 401, 403),
        ("POST", "/v1/plan", 401, 200),
        ("POST", "/v1/reload", 401, 200),
        ("POST", "/v1/backends", 401, 400),
        ("POST", "/v1/confirm", 401, 409),
        ("POST", "/v1/services", 401, 400),
        ("PUT", "/v1/config", 401, 422),
        ("DELETE", "/v1/services/gone", 401, 404),
        ("POST", "/v1/workers", 405, 405),
    ];
    for (method, path, open, with_token) in cases {
        assert_eq!(tcp.status(method, path, None), open, "{method} {path} without the token");
        assert_eq!(tcp.status(method, path, Some(TOKEN)), with_token, "{method} {path}");
    }
    let (status, answer) = tcp.ask("GET", "/v1/connections", "", "");
    assert!(status == 401 && answer.contains("www-authenticate: Bearer"), "{answer}");
    // Who has the token does not become who runs the process.
    let exec = "{\"name\": \"x\", \"vip\": \"192.0.2.9\", \"port\": 1, \"mode\": \"nat\", \
                \"health\": {\"type\": \"exec\", \"command\": [\"/bin/true\"]}}";
    let (status, answer) = tcp.ask("POST", "/v1/services", &format!("authorization: Bearer {TOKEN}\r\n"), exec);
    assert!(status == 403 && answer.contains("Unix socket"), "{answer}");
    // Whatever file is named, nobody over TCP gets to see a line of it.
    let named = format!("authorization: bearer {TOKEN}\r\n");
    for path in ["/v1/plan", "/v1/reload"] {
        let (status, answer) = tcp.ask("POST", path, &named, "{\"path\": \"/etc/passwd\"}");
        assert!(status == 403 && !answer.contains("root:"), "{answer}");
    }
}

#[test]
fn without_a_token_nothing_can_be_changed_and_reads_can_be_closed() {
    let tcp = Tcp::start("");
    assert_eq!(tcp.status("GET", "/v1/services", None), 200);
    for (method, path) in [("POST", "/v1/reload"), ("POST", "/v1/backends"), ("GET", "/v1/config")] {
        assert_eq!(tcp.status(method, path, None), 403, "{path}");
        assert_eq!(tcp.status(method, path, Some(TOKEN)), 403, "{path}: no token is right");
    }
    assert_eq!(tcp.bench.request("POST", "/v1/reload", "").0, 200, "the socket may");
    let closed = Tcp::start("open_reads = false\ntoken_file = \"TOKEN\"");
    assert_eq!(closed.status("GET", "/metrics", None), 401);
    assert_eq!(closed.status("GET", "/metrics", Some(TOKEN)), 200);
    assert_eq!(closed.status("GET", "/healthz", None), 200);
}

#[test]
fn who_guesses_is_slowed_down_and_learns_nothing() {
    let tcp = Tcp::start("token_file = \"TOKEN\"");
    let wrong = "another-token-that-nobody-knows";
    for _ in 0..5 {
        let (status, answer) = tcp.ask("POST", "/v1/reload", &format!("authorization: Bearer {wrong}\r\n"), "");
        assert!(status == 401 && !answer.contains(wrong) && !answer.contains(TOKEN), "{answer}");
    }
    let (status, answer) = tcp.ask("POST", "/v1/reload", &format!("authorization: Bearer {TOKEN}\r\n"), "");
    assert!(status == 429 && answer.contains("retry-after: 2"), "also if it is right now: {answer}");
    assert_eq!(tcp.status("GET", "/healthz", None), 200);
    assert_eq!(tcp.bench.request("POST", "/v1/reload", "").0, 200);
    let (_, metrics) = tcp.ask("GET", "/metrics", "", "");
    assert!(metrics.contains("tidegate_api_refused_total{reason=\"wrong_token\"} 5\n"), "{metrics}");
    assert!(!metrics.contains(TOKEN) && !metrics.contains(wrong));
    // What else could tell it.
    let config = tcp.bench.get("/v1/config?secrets").to_string();
    assert!(config.contains("token_file") && !config.contains(TOKEN), "{config}");
}

/// Hundreds that send half a head, half a body, or never read; and more than there is room for.
#[test]
fn a_thousand_slow_clients_disturb_nobody() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let tcp = Tcp::start_with(true, "token_file = \"TOKEN\"");
    let requests = [
        "GET /v1/status HTTP/1.1\r\nhost:".to_owned(),
        format!(
            "POST /v1/plan HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 1000000\r\n\r\n{{"
        ),
        "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(300),
    ];
    // Taken back by the loop a second later, if that turns.
    let body = serde_json::json!({ "path": tcp.bench.dir.path().join("tidegate.toml"), "confirm_s": 1 });
    assert_eq!(tcp.bench.request("POST", "/v1/reload", &body.to_string()).0, 200);
    let mut slow = Vec::new();
    let mut worst = Duration::ZERO;
    for n in 0..1000 {
        let mut stream = tcp.connect();
        stream.set_nonblocking(true).unwrap();
        // Who does not read cannot send everything.
        _ = stream.write(requests[if n % 20 == 0 { 2 } else { n % 2 }].as_bytes());
        slow.push(stream);
        if n % 50 == 49 {
            let started = Instant::now();
            assert_eq!(tcp.status("GET", "/healthz", None), 200);
            tcp.bench.get("/v1/status");
            worst = worst.max(started.elapsed());
        }
    }
    // Who had to wait for a slow one would wait for ten seconds.
    assert!(worst < Duration::from_secs(4), "{worst:?}");
    let started = Instant::now();
    while !tcp.bench.get("/v1/status")["unconfirmed"].is_null() {
        assert!(started.elapsed() < Duration::from_secs(2), "the loop does not turn");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (status, metrics) = tcp.ask("GET", "/metrics", "", "");
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(status, 200);
    assert!(value("tidegate_api_connections ") <= door::TCP_CONNECTIONS_MAX as u64);
    assert!(value("tidegate_api_connections_closed_total ") >= 1000 - door::TCP_CONNECTIONS_MAX as u64);
    drop(slow);
}

/// The status line of an answer over TLS, by a client that trusts only the certificate of the file at `pem`.
async fn over_tls(address: SocketAddr, pem: &Path, head: &str) -> io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pem).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("api.example").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = format!("GET /v1/config HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn tls_and_the_token_are_renewed_by_a_reload() {
    let tcp = Tcp::start("token_file = \"TOKEN\"\ntls_cert = \"PEM\"");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pem = tcp.bench.dir.path().join("api.pem");
    let ask = |pem: &Path, token: &str| {
        let head = format!("authorization: Bearer {token}\r\n");
        runtime.block_on(async { over_tls(tcp.address, pem, &head).await.map_err(|error| error.to_string()) })
    };
    assert_eq!(ask(&pem, TOKEN).as_deref(), Ok("HTTP/1.1 200 OK"));
    let (mut plain, mut answer) = (tcp.connect(), String::new());
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    _ = plain.read_to_string(&mut answer);
    assert!(!answer.contains("HTTP/1.1"), "{answer}");

    let old = tcp.bench.dir.path().join("old.pem");
    std::fs::rename(&pem, &old).unwrap();
    write_identity(&pem);
    let token = "the-token-of-tomorrow-9876543210";
    file(tcp.bench.dir.path(), "token", token);
    assert_eq!(ask(&old, TOKEN).as_deref(), Ok("HTTP/1.1 200 OK"), "nothing changes by itself");
    let (status, report) = tcp.bench.request("POST", "/v1/reload", "");
    assert_eq!((status, &report["summary"]), (200, &"no changes".into()));
    let started = Instant::now();
    // Who must hear of a reload does so right after its answer.
    while ask(&pem, token).as_deref() != Ok("HTTP/1.1 200 OK") {
        assert!(started.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ask(&pem, TOKEN).as_deref(), Ok("HTTP/1.1 401 Unauthorized"));
    assert!(ask(&old, token).is_err(), "the old certificate is not shown any more");
}

#[test]
fn an_address_that_is_taken_is_said_before_anything_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config =
        crate::control::config::Config::parse(&format!("[control.api]\nlisten = \"{address}\"\n{CONFIG}"), "t.toml");
    let dir = tempfile::tempdir().unwrap();
    let options = ServeOptions { socket: Some(dir.path().join("api.sock")), ..Default::default() };
    let error = serve::check(&options, &config.unwrap()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{address}: the API cannot listen there: ")), "{error}");
    assert!(error.ends_with("choose another place with `[control.api] listen`"), "{error}");
}
