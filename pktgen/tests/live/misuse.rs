//! How the commands fail: with the right status, and one line that says what and where.

use super::process::{Setup, pktgen};

/// Runs `pktgen COMMAND profile.toml` and returns status and standard error.
fn fail(command: &str, profile: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let setup = Setup::new();
    let path = setup.write("profile.toml", profile);
    let output = pktgen(&[&[command, path.to_str().unwrap()], arguments].concat());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

const GOOD: &str = "[[port]]\ndevice = 'net_null0'\ngateway_mac = '02:00:00:00:00:02'\n\
                    [traffic]\nservers = ['192.0.2.10']\npackets = 1\n";

#[test]
fn bad_profiles_are_refused_with_status_78() {
    for (command, profile, text) in [
        (
            "run",
            GOOD.replace("packets", "packet"),
            "profile.toml:6:1: unknown key `packet` in [traffic], did you mean `packets`?",
        ),
        ("rfc2544", GOOD.replace("'net_null0'", "7"), "profile.toml:2:10: `device` must be"),
        (
            "rfc2544",
            GOOD.replace("packets = 1", "kind = 'syn_flood'"),
            "rfc2544 needs a client port with [traffic] of kind packets",
        ),
        ("run", "[[port]\n".to_owned(), "profile.toml:1:"),
    ] {
        let (status, stderr) = fail(command, &profile, &[]);
        assert_eq!(status, Some(78), "{stderr}");
        assert!(stderr.starts_with("pktgen: ") && stderr.contains(text), "{stderr}");
    }
    let output = pktgen(&["run", "/nonexistent/profile.toml"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr.contains("/nonexistent/profile.toml: cannot read the file"), "{stderr}");
}

#[test]
fn wrong_usage_is_refused_with_status_2() {
    for arguments in [
        &["run"][..],
        &["rfc2544"],
        &["run", "a.toml", "--for", "0"],
        &["run", "a.toml", "--for", "soon"],
        &["run", "a.toml", "b.toml"],
        &["rfc2544", "a.toml", "--for", "3"],
        &["walk"],
        &[],
    ] {
        let output = pktgen(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}

#[test]
fn what_fails_while_running_has_status_1() {
    for (profile, arguments, text) in [
        (
            GOOD.to_owned(),
            &["--json", "/nonexistent/report.json"][..],
            "cannot write /nonexistent/report.json: No such file",
        ),
        (GOOD.replace("net_null0", "net_af_packet0,iface=nosuch0"), &[], "interface nosuch0 of device"),
        (GOOD.replace("net_null0", "net_pcap0"), &[], "names no capture"),
        (GOOD.to_owned(), &["--", "--no-such-option"], "EAL does not start with"),
        (
            format!(
                "link_timeout = 0.1\n{}",
                GOOD.replace("net_null0", "net_memif0,role=server,id=0,socket=DIR/s,socket-abstract=no")
            ),
            &["--", "--no-huge", "-m", "192"],
            "port port0: the link is still down after 0.1 s; start the other end",
        ),
    ] {
        let (status, stderr) = fail("run", &profile, arguments);
        assert_eq!(status, Some(1), "{stderr}");
        assert!(stderr.lines().any(|line| line.contains(text)), "{stderr} has not {text}");
    }
}
