//! Files that nobody would write: never a panic, never a long wait, never control characters on the terminal.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::FILE_BYTES_MAX;
use super::{Config, PORT, errors, parse, service};

const REFERENCE: &str = include_str!("../../../../config/reference.toml");
const TWO_ARM: &str = include_str!("../../../../config/nat-two-arm.toml");

/// Parses, and holds what is true of every answer.
fn survive(text: &str) {
    if let Err(errors) = parse(text) {
        assert!(errors.iter().next().is_some());
        let shown = errors.to_string();
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        for error in errors.iter() {
            assert!(!error.message.contains('\n'));
            let lines = text.split('\n').count();
            assert!(error.place.as_ref().is_none_or(|place| (1..=lines).contains(&place.line) && place.column >= 1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        survive(&text);
    }

    #[test]
    fn any_bytes_that_are_text_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_keys_and_values_are_survived(
        lines in prop::collection::vec(
            (
                "(workers|connections|mtu|addresses|neighbors|vip|port|mode|timeouts|health|backend|x y|\\[\\[port\\]\\]|\\[service\\]|\\[\\[service\\]\\])",
                "(-?[0-9]{1,45}|[0-9]\\.[0-9]e9|nan|-inf|true|1979-05-27|'[^']{0,20}'|\\[\\[1\\],'a'\\]|\\{ a = \\{\\} \\}|'10\\.0\\.0\\.[0-9]/3[0-3]')",
            ),
            0..12,
        ),
    ) {
        let text: Vec<String> = lines
            .iter()
            .map(|(key, value)| if key.starts_with('[') { key.clone() } else { format!("{key} = {value}") })
            .collect();
        survive(&text.join("\n"));
    }

    #[test]
    fn samples_with_bytes_changed_are_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..8),
        two_arm: bool,
    ) {
        let mut bytes = if two_arm { TWO_ARM } else { REFERENCE }.as_bytes().to_vec();
        for (index, byte, change) in changes {
            let at = index.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                _ => bytes.insert(at, byte),
            }
        }
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn samples_with_lines_moved_are_survived(from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let mut lines: Vec<&str> = TWO_ARM.lines().collect();
        let line = lines.remove(from.index(lines.len()));
        lines.insert(to.index(lines.len()), line);
        survive(&lines.join("\n"));
    }

    #[test]
    fn samples_cut_anywhere_are_survived(at in any::<prop::sample::Index>()) {
        let at = at.index(REFERENCE.len());
        survive(REFERENCE.get(..at).unwrap_or(""));
    }

    #[test]
    fn values_replaced_by_any_text_are_survived(line in any::<prop::sample::Index>(), value in "\\PC{0,30}") {
        let mut lines: Vec<String> = REFERENCE.lines().map(str::to_owned).collect();
        let at = line.index(lines.len());
        if let Some((key, _)) = lines[at].split_once(" = ") {
            lines[at] = format!("{key} = {}", toml::Value::from(value));
            survive(&lines.join("\n"));
        }
    }
}

#[test]
fn huge_inputs_take_no_long_time() {
    let started = Instant::now();
    let size = 1 << 19;
    for text in [
        "[".repeat(size),
        "a = [".repeat(size / 5),
        format!("a = {}", "{ b = ".repeat(size / 6)),
        "a.".repeat(size / 2),
        "\"".repeat(size),
        "x = 1\n".repeat(size / 6),
        (0..size / 8).map(|n| format!("x{n} = 1\n")).collect(),
        format!("x = {}", "9".repeat(size)),
        format!(
            "{PORT}neighbors = {{ {} }}",
            (0..30_000).map(|n| format!("'a{n}' = 1")).collect::<Vec<_>>().join(", ")
        ),
        "[[port]]\n".repeat(size / 9),
        "[[service]]\n[[service.backend]]\n".repeat(size / 32),
    ] {
        survive(&text);
        assert!(parse(&text).is_err());
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn many_services_and_backends_are_read_quickly() {
    let mut text = service("gre", "", "address = '10.1.0.1'");
    for n in 0..10_000u32 {
        let [_, _, high, low] = n.to_be_bytes();
        text.push_str(&format!("[[service.backend]]\nname = 'm{n}'\naddress = '10.2.{high}.{low}'\n"));
    }
    for n in 0..2000 {
        text.push_str(&format!("[[service]]\nname = 's{n}'\nvip = '192.0.2.10'\nport = {}\nmode = 'gre'\n", 1000 + n));
    }
    let started = Instant::now();
    let config = parse(&text).unwrap();
    assert_eq!((config.services.len(), config.services[0].backends.len()), (2001, 10_001));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn hostile_values_are_refused() {
    for value in [
        "nan",
        "inf",
        "-1",
        "1.5",
        "99999999999999999999999999999999999999999999",
        "0x7fffffffffffffff",
        "'1'",
        "[]",
        "{}",
    ] {
        let found = errors(&format!("[dataplane]\nmbufs = {value}\n{PORT}"));
        assert_eq!(found.len(), 1, "{value}: {found:?}");
        assert!(found[0].starts_with("`mbufs` must be an integer from 256 to 16777216, not "), "{found:?}");
    }
    for name in ["", " ", "a b", "ä", "a/b", "\\u001b[2J", "\\n", "\\u202e"] {
        let found = errors(&PORT.replace("\"wan\"", &format!("\"{name}\"")));
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(
            found[0].starts_with("`name` must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, not \""),
            "{found:?}"
        );
        assert!(!found[0].contains(['\u{1b}', '\n', '\u{202e}']));
    }
    assert_eq!(errors(&PORT.replace("wan", &"a".repeat(65))).len(), 1);
    assert_eq!(errors(&PORT.replace("net_null0", "net_null0\\u0000")).len(), 1);
    assert_eq!(errors(&format!("[dataplane]\neal = ['-m', '', '--', 5, \"\\t\"]\n{PORT}")).len(), 4);
}

/// A file of its own in the directory for temporary files, gone when dropped.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // What cannot be removed is the operating system's to clean up.
        let _ = fs::remove_file(&self.0);
    }
}

fn load_error(path: &Path) -> String {
    let errors = Config::load(path).unwrap_err().to_string();
    errors.replace(&*path.to_string_lossy(), "FILE")
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let missing = Path::new("/nonexistent/x.toml");
    assert_eq!(load_error(missing), "FILE: cannot read the file: No such file or directory (os error 2)");
    assert_eq!(
        load_error(Path::new("/")),
        "/: cannot read the file: Is a directory (os error 21)".replace('/', "FILE")
    );
    let binary = TempFile::new("binary.toml", b"[dataplane]\nworkers = \xff\n");
    assert_eq!(
        load_error(&binary.0),
        "FILE:2:11: the file is not UTF-8 from here on\n  2 | workers = \n    |           ^"
    );
    let large = TempFile::new("large.toml", &vec![b' '; FILE_BYTES_MAX + 1]);
    assert_eq!(load_error(&large.0), "FILE: the file is too large: at most 16777216 bytes are read");
    let zeros = TempFile::new("zeros.toml", format!("{PORT}mtu = 1\0\n").as_bytes());
    assert!(load_error(&zeros.0).starts_with("FILE:8:"), "{}", load_error(&zeros.0));
    let huge = TempFile::new("huge.toml", b"");
    // Without its content on the disk.
    fs::File::options().write(true).open(&huge.0).unwrap().set_len(100 << 20).unwrap();
    assert_eq!(load_error(&huge.0), "FILE: the file is too large: at most 16777216 bytes are read");
    let good = TempFile::new("good.toml", format!("\u{feff}{}", PORT.replace('\n', "\r\n")).as_bytes());
    assert_eq!(Config::load(&good.0).unwrap().ports.len(), 1);
}
