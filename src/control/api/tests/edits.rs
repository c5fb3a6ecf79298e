//! Changes of the configuration over the API, and the events that tell of them.

use std::io::BufRead;

use serde_json::json;

use super::*;

impl Bench {
    /// The answer with its head; `head` is more lines of the request's.
    fn ask(&self, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let len = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}content-length: {len}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    fn names(&self) -> Vec<String> {
        let services = self.get("/v1/services");
        let backends = services["services"].as_array().unwrap().iter().flat_map(|s| s["backends"].as_array().unwrap());
        backends.map(|b| format!("{}/{}", b["service"].as_str().unwrap(), b["name"].as_str().unwrap())).collect()
    }
}

fn etag(answer: &str) -> String {
    answer.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn services_and_backends_are_added_and_removed() {
    let bench = Bench::start(false);
    let api = json!({ "name": "api", "vip": "192.0.2.20", "port": 443, "mode": "nat",
                      "backend": [{ "name": "a1", "address": "10.1.0.21" }] });
    let (status, report) = bench.request("POST", "/v1/services", &api.to_string());
    assert_eq!((status, &report["summary"], &report["edits"]), (200, &"+1 service, +1 backend".into(), &1.into()));
    assert_eq!(bench.request("POST", "/v1/services", &api.to_string()).0, 409, "it is there");
    let b4 = json!({ "name": "b4", "address": "10.1.0.14", "port": 8080 }).to_string();
    assert_eq!(bench.request("POST", "/v1/services/web/backends", &b4).0, 200);
    assert_eq!(bench.request("DELETE", "/v1/services/web/backends/b2", "").0, 200);
    assert_eq!(bench.request("DELETE", "/v1/services/dns", "").0, 200);
    assert_eq!(bench.names(), ["web/b1", "web/b3", "web/b4", "api/a1"]);
    assert_eq!(bench.get("/v1/status")["edits"], 4);
    let text = bench.get("/v1/config")["text"].as_str().unwrap().to_owned();
    assert!(text.lines().next().unwrap().ends_with("with changes over the API that it does not have: 4"), "{text}");
    for (method, path, body, expected) in [
        ("DELETE", "/v1/services/dns", "", 404),
        ("DELETE", "/v1/services/web/backends/b2", "", 404),
        ("POST", "/v1/services/dns/backends", b4.as_str(), 404),
        ("POST", "/v1/services/web/backends", "[]", 400),
        ("POST", "/v1/services/web/backends", "", 400),
        ("POST", "/v1/services", "{}", 400),
        ("POST", "/v1/services/web/backends", "{\"name\": \"b5\", \"address\": \"10.1.0.300\"}", 422),
        ("DELETE", "/v1/services/web?wirte=true", "", 400),
    ] {
        let (status, answer) = bench.request(method, path, body);
        assert_eq!(status, expected, "{method} {path} {body}: {answer}");
    }
    assert_eq!(bench.names().len(), 4, "nothing is half done");
    // The file is the whole truth again.
    let (status, report) = bench.request("POST", "/v1/reload", "");
    assert_eq!((status, bench.names().len(), &bench.get("/v1/status")["edits"]), (200, 4, &0.into()), "{report}");
    assert_eq!(bench.names(), ["web/b1", "web/b2", "web/b3", "dns/d1"]);
}

#[test]
fn a_change_is_written_with_the_comments_around_it() {
    let bench = Bench::start_with(false, |_| format!("# precious\n{CONFIG}"));
    let path = bench.dir.path().join("tidegate.toml");
    let (status, report) = bench.request("DELETE", "/v1/services/web/backends/b2?write=true", "");
    assert_eq!((status, &report["edits"]), (200, &0.into()), "{report}");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# precious\n") && !text.contains("b2"), "{text}");
    assert_eq!(bench.request("POST", "/v1/reload", "").1["summary"], "no changes");
    // One that is not written, and the file can have no other alone.
    assert_eq!(bench.request("DELETE", "/v1/services/web/backends/b3", "").0, 200);
    let (status, answer) = bench.request("DELETE", "/v1/services/web/backends/b1?write=true", "");
    assert!(
        status == 409 && answer["error"].as_str().unwrap().contains("differs from what runs (+1 backend)"),
        "{answer}"
    );
    assert_eq!(bench.names(), ["web/b1", "dns/d1"]);
    let (status, report) = bench.request("PUT", "/v1/config?write", CONFIG);
    assert_eq!((status, &report["summary"], &report["edits"]), (200, &"+2 backends".into(), &0.into()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), CONFIG);
}

#[test]
fn two_writers_do_not_overwrite_each_other() {
    let bench = Bench::start(false);
    let (_, answer) = bench.ask("GET", "/v1/config", "", "");
    let first = etag(&answer);
    let put = |text: &str, tag: &str| bench.ask("PUT", "/v1/config", &format!("if-match: {tag}\r\n"), text);
    let (status, answer) = put(&edited(&[("weight = 50", "weight = 7")]), &first);
    assert_eq!(status, 200, "{answer}");
    let second = etag(&answer);
    let (status, answer) = put(CONFIG, &first);
    assert!(status == 412 && answer.contains("read it again"), "{answer}");
    assert_eq!(bench.get("/v1/backends")["backends"][1]["weight"], 7);
    assert_eq!(put(CONFIG, &format!("\"x\", {second}")).0, 200);
    assert_eq!(put(CONFIG, "*").0, 200);
    let (status, answer) = put("[[prot]]", "*");
    assert!(status == 422 && answer.contains("unknown key `prot`"), "{answer}");
    let (status, answer) = put(&edited(&[("net_null0", "net_null1")]), "*");
    assert!(status == 409 && answer.contains("port wan: device"), "{answer}");
    let json = json!({ "text": edited(&[("weight = 50", "weight = 9")]) }).to_string();
    assert_eq!(bench.ask("PUT", "/v1/config", "content-type: application/json\r\n", &json).0, 200);
    assert_eq!(bench.get("/v1/backends")["backends"][1]["weight"], 9);
}

/// Follows the events, and gives lines of the answer's body.
fn follow(bench: &Bench, head: &str) -> impl FnMut() -> String + use<> {
    let mut stream = UnixStream::connect(&bench.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // HTTP/1.0 has no chunks.
    stream.write_all(format!("GET /v1/events HTTP/1.0\r\nhost: x\r\n{head}\r\n").as_bytes()).unwrap();
    let mut lines = io::BufReader::new(stream).lines();
    while lines.next().unwrap().unwrap() != "" {}
    move || lines.next().unwrap().unwrap()
}

#[test]
fn events_are_followed_and_resumed() {
    let bench = Bench::start(false);
    let drain = |action: &str| {
        let body = json!({ "backend": "web/b1", "action": action }).to_string();
        assert_eq!(bench.request("POST", "/v1/backends", &body).0, 200);
    };
    let mut live = follow(&bench, "");
    assert_eq!((live(), live()), (": events follow".to_owned(), String::new()));
    drain("drain");
    let id = live();
    assert!(id.starts_with("id: "), "{id}");
    assert_eq!(live(), "event: command");
    let event: Value = serde_json::from_str(live().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&event["kind"], &event["fields"]["backend"]), (&"command".into(), &"b1".into()));
    assert_eq!(event["message"], "backend web/b1: up -> drain, by command; 0 connections stay");

    // Away for two of them.
    drop(live);
    drain("up");
    let bad = json!({ "path": file(bench.dir.path(), "bad.toml", "nonsense") }).to_string();
    assert_eq!(bench.request("POST", "/v1/reload", &bad).0, 422);
    let mut again = follow(&bench, &format!("last-event-{}\r\naccept: application/x-ndjson\r\n", id));
    let mut next = || serde_json::from_str::<Value>(&again()).unwrap();
    let (first, second) = (next(), next());
    assert_eq!((&first["kind"], &second["kind"]), (&"command".into(), &"reload_failed".into()));
    assert_eq!(second["id"].as_u64(), first["id"].as_u64().map(|id| id + 1));
    assert_eq!(bench.request("GET", "/v1/events?after=x", "").0, 400);
}

#[test]
fn followers_have_a_limit_and_leave_their_place() {
    let bench = Bench::start(false);
    let followers: Vec<_> = (0..stream::FOLLOWERS_MAX).map(|_| follow(&bench, "")).collect();
    assert_eq!(bench.request("GET", "/v1/events", "").0, 503);
    bench.get("/v1/status");
    drop(followers);
    let started = Instant::now();
    let ask = || {
        let mut stream = UnixStream::connect(&bench.socket).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.0\r\nhost: x\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        String::from_utf8(head.to_vec()).unwrap()
    };
    while ask() != "HTTP/1.0 200" {
        assert!(started.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(20));
    }
}
