//! `tidegate top` in a terminal, before a balancer that runs.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::process::{Running, Setup};
use crate::traffic::sections;

const PATIENCE: Duration = Duration::from_secs(30);

/// A tmux server of its own, which ends with the test.
struct Screen {
    server: PathBuf,
}

impl Screen {
    /// A shell on 80x24; `None`, and said so, where there is no tmux.
    fn open(setup: &Setup) -> Option<Self> {
        let screen = Self { server: setup.path("tmux") };
        let shell = "env PS1='prompt> ' sh";
        match Command::new("tmux").arg("-V").output() {
            Ok(_) => {
                let opened = screen.tmux(&["new", "-d", "-x", "80", "-y", "24", shell]);
                assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
                screen.wait("prompt>");
                Some(screen)
            }
            Err(error) => {
                eprintln!("################ SKIPPED: tmux: {error}");
                None
            }
        }
    }

    fn tmux(&self, args: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(&self.server).args(["-f", "/dev/null"]).env("LC_ALL", "C.UTF-8").args(args);
        tmux.env_remove("TMUX").output().unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        assert!(self.tmux(&[&["send-keys"], keys].concat()).status.success());
    }

    /// The text on it.
    fn text(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// Waits until it has these words, and gives all of it.
    fn wait(&self, words: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if text.contains(words) {
                return text;
            }
            assert!(Instant::now() < end, "waited in vain for {words:?}:\n{text}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The number of the process that the shell has started.
    fn child(&self) -> String {
        let pane = String::from_utf8(self.tmux(&["list-panes", "-F", "#{pane_pid}"]).stdout).unwrap();
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pane.trim())).unwrap();
        assert_eq!(children.split_whitespace().count(), 1, "{children}");
        children.trim().to_owned()
    }

    /// Starts `top` in the shell.
    fn top(&self, setup: &Setup) {
        let binary = env!("CARGO_BIN_EXE_tidegate");
        let socket = setup.path("api").display().to_string();
        self.keys(&[&format!("clear; echo be''fore; {binary} top --socket {socket}; echo status=$?"), "Enter"]);
        self.wait("[1 Services]");
    }

    /// After an end of `top`: what was there is there again, and the terminal shows what is typed.
    fn assert_intact(&self, round: &str) {
        let text = self.wait("status=0");
        assert!(text.contains("before\n") && !text.contains("Services"), "{text}");
        self.keys(&[&format!("echo typed {round}; stty -a | tr ' ' '\\n' | grep -c '^-echo;*$'"), "Enter"]);
        // Not one line says that the echo is off.
        let text = self.wait(&format!("\ntyped {round}\n0\n"));
        assert!(text.contains(&format!("echo typed {round}; stty")), "nothing is echoed:\n{text}");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

fn state(running: &Running, service: &str, name: &str) -> String {
    let answer = running.show("backends");
    let backends = answer["backends"].as_array().unwrap();
    let backend = backends.iter().find(|b| b["service"] == service && b["name"] == name).unwrap();
    backend["state"].as_str().unwrap().to_owned()
}

#[test]
fn top_is_driven_by_keys_and_leaves_the_terminal_as_it_was() {
    let setup = Setup::new(1, &sections("net_null0", "gre"));
    let Some(screen) = Screen::open(&setup) else { return };
    let running = setup.start(&[]);
    screen.top(&setup);
    let text = screen.wait("› t4");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    screen.keys(&["3"]);
    screen.wait("PACKETS/BURST");
    screen.keys(&["Tab"]);
    screen.wait("[4 Drops]");
    screen.keys(&["2", "/", "u4/b12"]);
    let text = screen.wait("› u4/b12");
    assert!(!text.contains("t4/b11"), "{text}");
    screen.keys(&["Escape"]);
    screen.wait("t4/b11");
    // Into the second service, and its second backend.
    screen.keys(&["1", "Down", "Enter"]);
    screen.wait("u4: udp 192.0.2.10:80");
    screen.keys(&["Down", "d"]);
    screen.wait("y or n: drain u4/b12?");
    screen.keys(&["n"]);
    screen.wait("nothing was changed");
    assert_eq!(state(&running, "u4", "b12"), "up");
    screen.keys(&["d", "y"]);
    let text = screen.wait("u4/b12: up -> drain");
    assert!(
        text.lines().any(|line| line.starts_with("› b12") && line.contains("drain"))
            || screen.wait("› b12").contains("drain")
    );
    assert_eq!(state(&running, "u4", "b12"), "drain");
    screen.tmux(&["resize-window", "-x", "40", "-y", "10"]);
    screen.wait("40x10 is too small");
    screen.tmux(&["resize-window", "-x", "120", "-y", "30"]);
    let text = screen.wait("REASON");
    assert!(text.lines().any(|line| line.chars().count() == 120), "{text}");
    screen.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    screen.keys(&["q"]);
    screen.assert_intact("quit");
}

#[test]
fn top_outlives_the_balancer_and_ends_by_signal() {
    let setup = Setup::new(1, &sections("net_null0", "gre"));
    let Some(screen) = Screen::open(&setup) else { return };
    let running = setup.start(&[]);
    screen.top(&setup);
    running.signal("TERM");
    running.wait();
    screen.wait("NO ANSWER for ");
    screen.wait("trying again: no tidegate answers at ");
    let _running = setup.start(&[]);
    let text = screen.wait(" live");
    assert!(!text.contains("NO ANSWER"), "{text}");
    assert!(Command::new("kill").args(["-s", "TERM", &screen.child()]).status().unwrap().success());
    screen.assert_intact("after the signal");
}

#[test]
fn top_ends_with_its_terminal() {
    let setup = Setup::new(1, &sections("net_null0", "gre"));
    let Some(screen) = Screen::open(&setup) else { return };
    let _running = setup.start(&[]);
    // In a place of its own, where no signal says that the terminal is gone.
    let (binary, socket) = (env!("CARGO_BIN_EXE_tidegate"), setup.path("api").display().to_string());
    let file = setup.path("pid").display().to_string();
    screen.keys(&[&format!("setsid sh -c 'echo $$ >{file}; exec {binary} top --socket {socket}'"), "Enter"]);
    screen.wait("[1 Services]");
    let pid = std::fs::read_to_string(file).unwrap().trim().to_owned();
    assert!(screen.tmux(&["kill-server"]).status.success());
    let end = Instant::now() + PATIENCE;
    // One that nobody has waited for yet has no memory any more.
    let lives = || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    while lives() {
        assert!(Instant::now() < end, "{pid} goes on without a terminal");
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn a_watched_view_stays_in_its_place() {
    let setup = Setup::new(1, &sections("net_null0", "gre"));
    let Some(screen) = Screen::open(&setup) else { return };
    let _running = setup.start(&[]);
    let binary = env!("CARGO_BIN_EXE_tidegate");
    let socket = setup.path("api").display().to_string();
    screen.keys(&[&format!("clear; {binary} show services --watch 0.2 --socket {socket}"), "Enter"]);
    screen.wait("4 services, 12 backends: 12 up");
    std::thread::sleep(Duration::from_millis(700));
    let text = screen.text();
    assert!(text.starts_with("SERVICE, BACKENDS ") && text.matches("4 services").count() == 1, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    screen.tmux(&["resize-window", "-x", "80", "-y", "8"]);
    let text = screen.wait(" more lines");
    assert!(text.lines().count() <= 8 && text.starts_with("SERVICE, BACKENDS "), "{text}");
    screen.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    screen.keys(&["C-c"]);
    screen.wait("prompt>");
    screen.keys(&["echo status=$?", "Enter"]);
    screen.wait("status=130");
}
