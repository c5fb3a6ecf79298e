//! Draws everything into a frame; looks at nothing but its arguments.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::app::{App, Mode, View};
use super::grid::{Grid, Key, Row, Tone};
use super::model::{duration, rate_text, socket};
use super::round::Round;
use crate::cli::table::wrapped;
use crate::cli::units;

/// Below this there is no room for a table.
pub const WIDTH_MIN: u16 = 60;
/// See [`WIDTH_MIN`].
pub const HEIGHT_MIN: u16 = 12;
/// Lines above the headings of the table.
const TOP_LINES: u16 = 5;
/// From here on there is room for more about the chosen row.
const DETAIL_HEIGHT_MIN: u16 = 20;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const HELP: &[(&str, &str)] = &[
    ("1 to 5, Tab", "views: services, backends, workers, drops, latency"),
    ("arrows, j k", "choose a row; PgUp PgDn, Home End go further"),
    ("Enter", "open the chosen service: its backends"),
    ("Esc", "back: without the filter, out of the service"),
    ("/", "only rows that have these words somewhere"),
    ("< >", "sort by the column to the left or right"),
    ("s", "turn the order round"),
    ("d", "drain the chosen backend: no new connections, after a question"),
    ("u", "have it up again, after a question"),
    ("p", "pause, and go on"),
    ("q, Ctrl-C", "end"),
];

/// What things look like.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Without, bold and reversed text is all there is.
    pub has_colors: bool,
}

impl Theme {
    fn of(self, tone: Tone) -> Style {
        let colored = |color| if self.has_colors { Style::new().fg(color) } else { Style::new() };
        match tone {
            Tone::Plain => Style::new(),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            Tone::Good => colored(Color::Green),
            Tone::Odd => colored(Color::Yellow),
            Tone::Bad => colored(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    fn accent(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.has_colors { style.fg(Color::Cyan) } else { style }
    }
}

/// How many rows of the table there is room for.
pub fn rows(app: &App, size: Size) -> usize {
    let used = usize::from(TOP_LINES) + 2 + detail(app, size).len();
    usize::from(size.height).saturating_sub(used)
}

/// What there is to say about the chosen row, as words and lines, below a rule.
fn detail(app: &App, size: Size) -> Vec<(&'static str, String)> {
    let said = match (app.chosen(), app.view) {
        _ if size.height < DETAIL_HEIGHT_MIN => None,
        (Some(Key::Backend(service, name)), _) => app.model.about_backend(&service, &name),
        (Some(Key::Other(reason)), View::Drops) => app.model.about_drops(&reason),
        _ => None,
    };
    let Some(said) = said else { return Vec::new() };
    let width = usize::from(size.width).saturating_sub(11);
    let mut lines = vec![("", String::new())];
    for (word, text) in said {
        let words = [word].into_iter().chain(std::iter::repeat(""));
        lines.extend(words.zip(wrapped(&text, width)));
    }
    lines
}

/// See the module.
pub fn draw(frame: &mut Frame<'_>, app: &App, theme: Theme, now: Instant) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let size = format!("{}x{}", area.width, area.height);
        put(frame, 0, Line::from(format!("{size} is too small")));
        put(frame, 1, Line::from(format!("{WIDTH_MIN}x{HEIGHT_MIN} is needed")));
        return;
    }
    let pen = Pen { theme, now };
    put(frame, 0, pen.title(app, area.width.into()));
    put(frame, 1, pen.totals(app, area.width.into()));
    put(frame, 2, pen.history(app, area.width.into()));
    put(frame, 3, pen.tabs(app, area.width.into()));
    put(frame, 4, pen.rule(area.width));
    let grid = app.grid();
    match app.mode {
        Mode::Help => pen.help(frame),
        _ => pen.table(frame, app, &grid),
    }
    if app.mode != Mode::Help {
        pen.detail(frame, app);
    }
    put(frame, area.height - 1, pen.footer(app));
}

fn put(frame: &mut Frame<'_>, y: u16, line: Line<'_>) {
    let Rect { width, height, .. } = frame.area();
    if y < height {
        frame.buffer_mut().set_line(0, y, &line, width);
    }
}

struct Pen {
    theme: Theme,
    now: Instant,
}

impl Pen {
    fn title(&self, app: &App, width: usize) -> Line<'static> {
        let Some(Round { status, .. }) = app.model.now() else { return Line::default() };
        let file = status.loaded.rsplit('/').next().unwrap_or_default();
        let left = format!("  up {}  {file}", duration(status.uptime_s));
        let (right, tone) = match &app.trouble {
            Some((_, since)) => {
                let seconds = self.now.saturating_duration_since(*since).as_secs();
                (format!("NO ANSWER for {seconds} s "), Tone::Bad)
            }
            None if app.is_paused => ("PAUSED ".to_owned(), Tone::Odd),
            None => ("live ".to_owned(), Tone::Faint),
        };
        let name = format!(" tidegate {}", status.version);
        let room = width.saturating_sub(name.chars().count() + right.chars().count() + 1);
        let left: String = left.chars().take(room).collect();
        let blank = " ".repeat(room.saturating_sub(left.chars().count()) + 1);
        Line::from(vec![
            Span::styled(name, self.theme.accent()),
            Span::raw(left),
            Span::raw(blank),
            Span::styled(right, self.theme.of(tone)),
        ])
    }

    fn totals(&self, app: &App, width: usize) -> Line<'static> {
        let totals = app.model.totals();
        let dropped = if totals.drops_per_s.is_some_and(|rate| rate > 0.0) { Tone::Odd } else { Tone::Plain };
        let share = totals.connections as f64 / totals.connections_max.max(1) as f64;
        let full = if share > 0.9 { Tone::Bad } else { Tone::Plain };
        let connections = format!("{} of {}", units::count(totals.connections), units::count(totals.connections_max));
        let figures = [
            ("in", rate_text(totals.rx_per_s) + "/s", Tone::Plain),
            ("out", rate_text(totals.tx_per_s) + "/s", Tone::Plain),
            ("dropped", rate_text(totals.drops_per_s) + "/s", dropped),
            ("new", rate_text(totals.flow.map(|flow| flow.connections_per_s)) + "/s", Tone::Plain),
            ("open", connections, full),
            ("bytes", rate_text(totals.flow.map(|flow| flow.bytes_per_s)) + "/s", Tone::Plain),
        ];
        let mut spans = Vec::new();
        let mut used = 0;
        for (word, figure, tone) in figures {
            let len = word.len() + figure.chars().count() + 4;
            if used + len <= width {
                spans.push(Span::styled(format!(" {word} "), self.theme.of(Tone::Faint)));
                spans.push(Span::styled(figure, self.theme.of(tone).add_modifier(Modifier::BOLD)));
                spans.push(Span::raw("  "));
                used += len;
            }
        }
        Line::from(spans)
    }

    fn history(&self, app: &App, width: usize) -> Line<'static> {
        let history = app.model.history();
        let peak = history.iter().copied().fold(0.0, f64::max);
        let label = format!("  packets/s, at most {} ", units::rate(peak));
        let room = width.saturating_sub(label.chars().count() + 1);
        let level = |rate: &f64| {
            let step = if peak > 0.0 { rate / peak * (LEVELS.len() - 1) as f64 } else { 0.0 };
            LEVELS.get(step.round() as usize).copied().unwrap_or(' ')
        };
        let graph: String = history.iter().skip(history.len().saturating_sub(room)).map(level).collect();
        let graph = format!(" {graph:>room$}");
        Line::from(vec![Span::styled(graph, self.theme.accent()), Span::styled(label, self.theme.of(Tone::Faint))])
    }

    fn tabs(&self, app: &App, width: usize) -> Line<'static> {
        let mut spans = Vec::new();
        let mut used = 0;
        for (n, view) in View::ALL.iter().enumerate() {
            let is_shown = *view == app.view;
            let title = if is_shown {
                format!("[{} {}]", n + 1, view.title())
            } else {
                format!(" {} {} ", n + 1, view.title())
            };
            used += title.chars().count();
            spans.push(Span::styled(title, if is_shown { self.theme.accent() } else { Style::new() }));
        }
        let mut notes = Vec::new();
        if let (View::Services, Some(opened)) = (app.view, &app.opened) {
            notes.push(opened_title(app.model.now(), opened));
        }
        if app.view == View::Latency {
            notes.push("since the start".to_owned());
        }
        if !app.filter.is_empty() {
            notes.push(format!("/{}", app.filter));
        }
        let note = notes.join("  ");
        let room = width.saturating_sub(used + 2);
        let note: String = if note.chars().count() > room {
            note.chars().take(room.saturating_sub(1)).chain(['…']).collect()
        } else {
            note
        };
        spans.push(Span::raw(" ".repeat(room.saturating_sub(note.chars().count()) + 1)));
        spans.push(Span::styled(note, Style::new().add_modifier(Modifier::BOLD)));
        Line::from(spans)
    }

    fn table(&self, frame: &mut Frame<'_>, app: &App, grid: &Grid) {
        let width = usize::from(frame.area().width);
        // Two characters before the first column say which row is chosen.
        let columns = grid.fit(width.saturating_sub(3));
        let heading = |at: usize| {
            let words = grid.columns.get(at).map_or("", |column| column.heading());
            match app.order() {
                order if order.column != Some(at) => words.to_owned(),
                order if order.is_reversed => format!("{words}▲"),
                _ => format!("{words}▼"),
            }
        };
        let mut spans = vec![Span::raw("  ")];
        for &(at, width) in &columns {
            spans.push(Span::styled(padded(&heading(at), width, is_right(grid, at)) + "  ", self.theme.accent()));
        }
        put(frame, TOP_LINES, Line::from(spans));
        let room = rows(app, frame.area().as_size());
        let cursor = app.cursor(grid);
        let first = cursor.map_or(0, |cursor| cursor.saturating_sub(room.saturating_sub(1)));
        for (n, row) in grid.rows.iter().enumerate().skip(first).take(room) {
            let y = TOP_LINES + 1 + u16::try_from(n - first).unwrap_or(u16::MAX);
            self.row(frame, y, grid, row, &columns, cursor == Some(n));
        }
        if grid.rows.is_empty() {
            let nothing = match (app.view, app.filter.is_empty()) {
                (_, false) => format!("nothing has \"{}\" in it; Esc shows all", app.filter),
                (View::Drops, true) => "nothing has been dropped".to_owned(),
                (_, true) => "there are none".to_owned(),
            };
            put(frame, TOP_LINES + 1, Line::styled(format!("  {nothing}"), self.theme.of(Tone::Faint)));
        }
    }

    fn row(&self, frame: &mut Frame<'_>, y: u16, grid: &Grid, row: &Row, columns: &[(usize, usize)], is_chosen: bool) {
        let screen = usize::from(frame.area().width);
        let mut used = 2;
        let mut spans = vec![Span::raw(if is_chosen { "› " } else { "  " })];
        for (place, &(at, width)) in columns.iter().enumerate() {
            let Some(cell) = row.cells.get(at) else { continue };
            // Words in the last column have the rest of the line.
            let is_last = place + 1 == columns.len() && !is_right(grid, at);
            let width = if is_last { screen.saturating_sub(used + 1) } else { width };
            used += width + 2;
            // Reversed colours would shout.
            let style = if is_chosen { Style::new() } else { self.theme.of(cell.tone) };
            spans.push(Span::styled(padded(&cell.text, width, is_right(grid, at)), style));
            spans.push(Span::raw("  "));
        }
        put(frame, y, Line::from(spans));
        if is_chosen {
            let line = Rect { x: 0, y, width: frame.area().width, height: 1 };
            frame.buffer_mut().set_style(line, Style::new().add_modifier(Modifier::REVERSED));
        }
    }

    fn detail(&self, frame: &mut Frame<'_>, app: &App) {
        let Rect { width, height, .. } = frame.area();
        let lines = detail(app, frame.area().as_size());
        let first = usize::from(height).saturating_sub(1 + lines.len());
        for (n, (word, text)) in lines.into_iter().enumerate() {
            let y = u16::try_from(first + n).unwrap_or(u16::MAX);
            let line = match n {
                0 => self.rule(width),
                _ => Line::from(vec![Span::styled(format!("  {word:<7}"), self.theme.accent()), Span::raw(text)]),
            };
            put(frame, y, line);
        }
    }

    fn rule(&self, width: u16) -> Line<'static> {
        Line::styled("─".repeat(width.into()), self.theme.of(Tone::Faint))
    }

    fn help(&self, frame: &mut Frame<'_>) {
        for (n, (keys, what)) in (0..).zip(HELP) {
            let spans = vec![Span::styled(format!("  {keys:<13}"), self.theme.accent()), Span::raw(*what)];
            put(frame, TOP_LINES + n, Line::from(spans));
        }
    }

    fn footer(&self, app: &App) -> Line<'static> {
        let faint = self.theme.of(Tone::Faint);
        match (&app.mode, &app.message, &app.trouble) {
            (Mode::Confirm { question, .. }, ..) => Line::from(vec![
                Span::styled(" y", self.theme.accent()),
                Span::raw(" or "),
                Span::styled("n", self.theme.accent()),
                Span::raw(format!(": {question}")),
            ]),
            (Mode::Filter, ..) => Line::from(vec![
                Span::styled(" /", self.theme.accent()),
                Span::raw(format!("{}▏", app.filter)),
                Span::styled("   Enter keeps it, Esc shows all", faint),
            ]),
            (Mode::Help, ..) => Line::styled(" any key ends the help", faint),
            (_, Some((message, tone)), _) => Line::styled(format!(" {message}"), self.theme.of(*tone)),
            (_, _, Some((why, _))) => Line::styled(format!(" trying again: {why}"), self.theme.of(Tone::Bad)),
            _ => {
                let keys = match (app.view, &app.opened) {
                    (View::Services, None) => " Enter open  / filter  < > s sort  p pause  ? help  q end",
                    (View::Services, Some(_)) => {
                        " d drain  u up  Esc back  / filter  < > s sort  p pause  ? help  q end"
                    }
                    (View::Backends, _) => " d drain  u up  / filter  < > s sort  p pause  ? help  q end",
                    _ => " / filter  < > s sort  p pause  ? help  q end",
                };
                Line::styled(keys, faint)
            }
        }
    }
}

fn opened_title(now: Option<&Round>, name: &str) -> String {
    let service = now.and_then(|now| now.services.services.iter().find(|service| service.name == name));
    match service {
        Some(service) => format!("{name}: {} {}", service.protocol, socket(&service.vip, service.port)),
        None => format!("{name}: gone"),
    }
}

fn is_right(grid: &Grid, column: usize) -> bool {
    grid.columns.get(column).is_some_and(|column| column.is_right())
}

fn padded(text: &str, width: usize, is_right: bool) -> String {
    let text = cut(text, width);
    if is_right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
