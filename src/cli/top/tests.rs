//! The view as it stands on screens of two sizes, and what keys do to it.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::app::{App, Effect, Mode, View};
use super::draw::{Theme, draw, rows};
use super::round::Round;
use crate::control::status::*;

/// Where the tests' time begins; rounds are a second or more apart.
fn round(begin: Instant, second: u64) -> Round {
    let backend = |service: &str, n: u64, state: &str, reason: &str| BackendStatus {
        service: service.into(),
        name: format!("b{n}"),
        address: format!("10.1.0.1{n}"),
        port: Some(8080),
        weight: 100,
        state: state.into(),
        since_s: 3_600.0,
        reason: reason.into(),
        connections: 100 * n,
        connections_total: second * 10 * n,
        packets: second * 1_000_000 * n,
        bytes: second * 64_000_000 * n,
        ..Default::default()
    };
    let service = |name: &str, up: usize, backends: Vec<BackendStatus>| ServiceStatus {
        name: name.into(),
        vip: "192.0.2.10".into(),
        port: Some(80),
        protocol: "tcp".into(),
        mode: "gre".into(),
        scheduler: "maglev".into(),
        backends_up: up,
        backends,
        ..Default::default()
    };
    let refused = "health check: connection refused\u{1b}[31m";
    let web = vec![backend("web", 1, "up", "not checked"), backend("web", 2, "down", refused)];
    let dns = vec![backend("dns", 3, "drain", "configuration")];
    let rates = Rates {
        packets_per_s: 4_000_000.0,
        packets_per_burst: Some(17.25),
        busy_share: Some(0.734),
        ..Default::default()
    };
    let worker = WorkerStatus {
        rx_packets: second * 4_000_000,
        tx_packets: second * 3_999_000,
        drops: second * 1_000,
        connections: 600,
        connections_max: 1_000_000,
        rates,
        ..Default::default()
    };
    let drop = DropStatus {
        reason: "no_route".into(),
        meaning: "There is no way to the next hop.".into(),
        cause: "A gateway that is missing in the configuration of the port, or a backend behind a router that nobody has named. ".repeat(2),
        cure: "Set `gateway`.".into(),
        count: second * 1_000,
    };
    let quantiles = Quantiles { p50: 800, p90: 900, p99: 12_345, p999: 20_000, max: 99_000, count: 5_000 };
    Round {
        at: begin + Duration::from_secs(second),
        status: Status {
            version: "1.2.3".into(),
            loaded: "/etc/tidegate.toml".into(),
            uptime_s: 11_520.0,
            ..Default::default()
        },
        services: Services { services: vec![service("web", 1, web), service("dns", 0, dns)] },
        workers: Workers { seconds: 1.0, workers: vec![worker] },
        drops: Drops { drops: vec![drop], ..Default::default() },
        latency: Latency { latency_ns: LatencyNs { all: quantiles, ..Default::default() }, ..Default::default() },
    }
}

/// After rounds at 0 s, 1 s and 3 s.
fn app() -> App {
    let begin = Instant::now();
    let mut app = App::default();
    [0, 1, 3].into_iter().for_each(|second| app.take(round(begin, second)));
    app
}

fn buffer(app: &App, width: u16, height: u16, has_colors: bool) -> ratatui::buffer::Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app, Theme { has_colors }, Instant::now())).unwrap();
    terminal.backend().buffer().clone()
}

fn screen(app: &App, width: u16, height: u16) -> Vec<String> {
    let buffer = buffer(app, width, height, true);
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn press(app: &mut App, keys: &str) -> Effect {
    let mut effect = Effect::None;
    for key in keys.split(' ') {
        let code = match key {
            "Enter" => KeyCode::Enter,
            "Esc" => KeyCode::Esc,
            "Tab" => KeyCode::Tab,
            "Down" => KeyCode::Down,
            "End" => KeyCode::End,
            "Backspace" => KeyCode::Backspace,
            key => KeyCode::Char(key.chars().next().unwrap()),
        };
        effect = app.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
    effect
}

#[test]
fn services_fit_eighty_columns() {
    let lines = screen(&app(), 80, 24);
    assert!(
        lines[0].starts_with(" tidegate 1.2.3  up 3 h 12 min  tidegate.toml") && lines[0].ends_with(" live"),
        "{lines:#?}"
    );
    assert_eq!(lines[1], " in 4.00M/s   out 4.00M/s   dropped 1000/s   new 60/s   open 600 of 1.00M");
    assert!(lines[2].ends_with("██  packets/s, at most 4.00M"), "{lines:#?}");
    assert_eq!(lines[3], "[1 Services] 2 Backends  3 Workers  4 Drops  5 Latency");
    assert_eq!(
        lines[5..8],
        [
            "  SERVICE   VIP                STATE    UP   OPEN   NEW/S   PACKETS/S   BYTES/S",
            "› web       tcp 192.0.2.10:80  partly  1/2      0      30       3.00M      192M",
            "  dns       tcp 192.0.2.10:80  down    0/1      0      30       3.00M      192M",
        ]
    );
    assert!(lines[8..23].iter().all(String::is_empty), "{lines:#?}");
    assert_eq!(lines[23], " Enter open  / filter  < > s sort  p pause  ? help  q end");
}

#[test]
fn a_large_screen_has_all_columns() {
    let mut app = app();
    press(&mut app, "2");
    let lines = screen(&app, 200, 60);
    let headings: Vec<&str> = lines[5].split_whitespace().collect();
    let all = ["BACKEND", "ADDRESS", "STATE", "SINCE", "WEIGHT", "OPEN", "NEW/S", "PACKETS/S", "BYTES/S", "REASON"];
    assert_eq!(headings, all);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(&lines[6]), "› web/b1 10.1.0.11:8080 up 1 h 100 100 10 1.00M 64.0M not checked");
    // What came from a server is no command to the terminal.
    assert!(lines[7].ends_with("health check: connection refused[31m"), "{}", lines[7]);
    press(&mut app, "3");
    let lines = screen(&app, 200, 60);
    assert!(words(&lines[6]).starts_with("› 0 - 4.00M 17.2 - 73% ███████░░░ - 600 1000 turning"), "{}", lines[6]);
    press(&mut app, "5");
    let lines = screen(&app, 200, 60);
    assert_eq!(words(&lines[6]), "› all but held 5000 800 ns 900 ns 12.3 us 20.0 us 99.0 us");
    assert_eq!(words(&lines[7]), "forward 0 - - - - -");
}

#[test]
fn a_drop_says_its_cause_and_its_cure() {
    let mut app = app();
    press(&mut app, "4");
    let lines = screen(&app, 80, 24);
    assert!(lines[6].starts_with("› no_route         1000          3000  There is no way"), "{lines:#?}");
    let cause = lines.iter().position(|line| line.starts_with("  cause  A gateway that is missing")).unwrap();
    assert!(lines[cause + 1].starts_with("         ") && lines[22] == "  cure   Set `gateway`.", "{lines:#?}");
    assert!(!screen(&app, 80, 16).iter().any(|line| line.contains("cure")));
}

#[test]
fn below_a_size_it_says_so_and_at_it_all_views_draw() {
    let mut app = app();
    assert_eq!(screen(&app, 59, 12)[..2], ["59x12 is too small", "60x12 is needed"]);
    assert_eq!(screen(&app, 80, 11)[0], "80x11 is too small");
    assert_eq!(screen(&app, 5, 1)[0], "5x1 i");
    for _ in 0..View::ALL.len() {
        press(&mut app, "Tab");
        let lines = screen(&app, 60, 12);
        assert!(lines[6].starts_with('›') && !lines[11].is_empty(), "{:?}: {lines:#?}", app.view);
    }
    assert_eq!(app.view, View::Services);
}

#[test]
fn the_chosen_row_stays_the_same_whatever_it_is_sorted_by() {
    let mut app = app();
    press(&mut app, "2 Down Down");
    assert!(screen(&app, 80, 24)[8].starts_with("› dns/b3"));
    // By the first column, then the other way round.
    press(&mut app, ">");
    let lines = screen(&app, 80, 24);
    assert!(lines[5].starts_with("  BACKEND▼") && lines[6].starts_with("› dns/b3"), "{lines:#?}");
    press(&mut app, "s");
    let lines = screen(&app, 80, 24);
    assert!(lines[5].starts_with("  BACKEND▲") && lines[8].starts_with("› dns/b3"), "{lines:#?}");
    press(&mut app, "<");
    assert_eq!(app.order().column, None);
    press(&mut app, "s");
    assert!(app.message.as_ref().unwrap().0.contains("with < and >"));
    press(&mut app, "g k");
    assert!(screen(&app, 80, 24)[6].starts_with("› web/b1"));
}

#[test]
fn more_rows_than_lines_scroll() {
    let mut app = app();
    let mut many = round(Instant::now(), 5);
    let backend = many.services.services[0].backends[0].clone();
    many.services.services[0].backends =
        (0..100).map(|n| BackendStatus { name: format!("n{n}"), ..backend.clone() }).collect();
    app.take(many);
    press(&mut app, "2 End");
    let lines = screen(&app, 80, 24);
    assert!(lines[19].starts_with("› dns/b3") && lines[6].starts_with("  web/n87"), "{lines:#?}");
    assert!(lines[21].starts_with("  state  drain for 1 h; ") && lines[22] == "  why    configuration", "{lines:#?}");
    assert_eq!((rows(&app, (80, 24).into()), rows(&app, (80, 19).into())), (14, 12));
}

#[test]
fn a_filter_narrows_and_goes_again() {
    let mut app = app();
    press(&mut app, "2 / r e f");
    assert_eq!(app.mode, Mode::Filter);
    let lines = screen(&app, 80, 24);
    assert!(lines[6].starts_with("› web/b2") && lines[7].is_empty(), "{lines:#?}");
    assert!(lines[3].ends_with("/ref") && lines[23].starts_with(" /ref"), "{lines:#?}");
    press(&mut app, "x Enter");
    assert!(screen(&app, 80, 24)[6].contains("nothing has \"refx\" in it"));
    press(&mut app, "Esc");
    assert!(app.filter.is_empty() && screen(&app, 80, 24)[8].contains("dns/b3"));
}

#[test]
fn a_backend_is_drained_after_a_yes_only() {
    let mut app = app();
    assert_eq!(press(&mut app, "d"), Effect::None);
    assert!(app.message.as_ref().unwrap().0.contains("choose a backend first"));
    press(&mut app, "Enter Down d");
    let footer = screen(&app, 80, 24)[23].clone();
    assert!(footer.starts_with(" y or n: drain web/b2? It keeps its 200 connections, and gets no more."), "{footer}");
    // The next round may bring another order; the question stays about the same one.
    app.take(round(Instant::now(), 9));
    for no in ["n", "Esc", "q", "Enter"] {
        assert_eq!(press(&mut app, no), Effect::None, "{no}");
        assert_eq!(app.message.as_ref().unwrap().0, "nothing was changed");
        press(&mut app, "d");
    }
    let request = |action| Effect::Command(BackendRequest { backend: "web/b2".into(), action, weight: None });
    assert_eq!(press(&mut app, "y"), request(Action::Drain));
    assert_eq!(press(&mut app, "u y"), request(Action::Up));
    press(&mut app, "Esc");
    assert!(app.opened.is_none() && screen(&app, 80, 24)[6].starts_with("› web "));
}

#[test]
fn pausing_keeps_the_figures_and_no_answer_is_said() {
    let mut app = app();
    press(&mut app, "p");
    app.take(round(Instant::now(), 50));
    let lines = screen(&app, 80, 24);
    assert!(lines[0].ends_with(" PAUSED") && lines[1].contains("in 4.00M/s"), "{lines:#?}");
    press(&mut app, "p");
    let since = Instant::now().checked_sub(Duration::from_secs(7)).unwrap();
    app.lose("no tidegate answers".into(), since);
    app.lose("no tidegate answers at all".into(), Instant::now());
    let lines = screen(&app, 80, 24);
    assert!(
        lines[0].ends_with("NO ANSWER for 7 s") && lines[23] == " trying again: no tidegate answers at all",
        "{lines:#?}"
    );
    app.take(round(Instant::now(), 60));
    assert!(screen(&app, 80, 24)[0].ends_with(" live"));
}

#[test]
fn another_process_is_not_compared_with_the_one_before() {
    let begin = Instant::now();
    let mut app = App::default();
    app.take(round(begin, 9));
    let mut other = round(begin, 10);
    other.status.pid = 7;
    app.take(other);
    assert!(screen(&app, 80, 24)[1].starts_with(" in -/s   out -/s"), "{:?}", screen(&app, 80, 24)[1]);
}

#[test]
fn without_colours_the_words_say_the_same() {
    let mut app = app();
    press(&mut app, "2 End");
    let (colored, plain) = (buffer(&app, 80, 24, true), buffer(&app, 80, 24, false));
    assert!(colored.content.iter().any(|cell| cell.fg == Color::Green));
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    let text = |buffer: &ratatui::buffer::Buffer| buffer.content.iter().map(|cell| cell.symbol()).collect::<String>();
    assert_eq!(text(&colored), text(&plain));
    assert!(plain[(0, 8)].modifier.contains(Modifier::REVERSED) && plain[(0, 8)].symbol() == "›");
}

#[test]
fn help_and_the_end() {
    let mut app = app();
    press(&mut app, "?");
    assert!(screen(&app, 80, 24).iter().any(|line| line.contains("drain the chosen backend")));
    assert_eq!((press(&mut app, "q"), app.mode.clone()), (Effect::None, Mode::Normal));
    assert_eq!(press(&mut app, "q"), Effect::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    press(&mut app, "/ a");
    assert_eq!(app.press(interrupt), Effect::Quit);
}
