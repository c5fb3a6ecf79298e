//! What the user has chosen, and what each key does about it.

use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::grid::{Grid, Key, Order, Tone};
use super::model::Model;
use super::round::Round;
use crate::control::status::{Action, BackendRequest};
use crate::control::text::counted;

/// One of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// VIPs; or, of one that is opened, its backends.
    #[default]
    Services,
    /// Those of all services.
    Backends,
    /// Poll loops.
    Workers,
    /// Drops by reason.
    Drops,
    /// Quantiles.
    Latency,
}

impl View {
    /// In the order of their keys.
    pub const ALL: [Self; 5] = [Self::Services, Self::Backends, Self::Workers, Self::Drops, Self::Latency];

    /// As its tab says.
    pub fn title(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::Backends => "Backends",
            Self::Workers => "Workers",
            Self::Drops => "Drops",
            Self::Latency => "Latency",
        }
    }

    fn place(self) -> usize {
        Self::ALL.iter().position(|view| *view == self).unwrap_or(0)
    }

    fn beside(self, step: usize) -> Self {
        Self::ALL.get((self.place() + step) % Self::ALL.len()).copied().unwrap_or_default()
    }
}

/// What keys are for at the moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Mode {
    /// Commands.
    #[default]
    Normal,
    /// Words of the filter.
    Filter,
    /// Yes or no.
    Confirm {
        /// What is asked.
        question: String,
        /// What happens on yes.
        request: BackendRequest,
    },
    /// Any key ends the help.
    Help,
}

/// What is to be done outside of the view.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing.
    None,
    /// End.
    Quit,
    /// Ask the API to change a backend.
    Command(BackendRequest),
}

/// See the module.
#[derive(Debug, Default)]
pub struct App {
    /// What there is to see.
    pub model: Model,
    /// Which page.
    pub view: View,
    /// The service whose backends are in the place of the services.
    pub opened: Option<String>,
    /// Only rows with these words.
    pub filter: String,
    /// What keys are for.
    pub mode: Mode,
    /// What the last command did, or why a key did nothing.
    pub message: Option<(String, Tone)>,
    /// Whether new rounds are left aside.
    pub is_paused: bool,
    /// Why there is no answer, and since when.
    pub trouble: Option<(String, Instant)>,
    orders: [Order; 6],
    chosen: Option<Key>,
    cursor: usize,
    /// How far keys for pages go.
    page: usize,
}

impl App {
    /// One more round of answers.
    pub fn take(&mut self, round: Round) {
        self.trouble = None;
        if !self.is_paused || self.model.now().is_none() {
            self.model.take(round);
        }
    }

    /// There was no answer.
    pub fn lose(&mut self, why: String, now: Instant) {
        let since = self.trouble.as_ref().map_or(now, |(_, since)| *since);
        self.trouble = Some((why, since));
    }

    /// The rows that are shown, in their order.
    pub fn grid(&self) -> Grid {
        let mut grid = match (self.view, &self.opened) {
            (View::Services, Some(service)) => self.model.backends(Some(service)),
            (View::Services, None) => self.model.services(),
            (View::Backends, _) => self.model.backends(None),
            (View::Workers, _) => self.model.workers(),
            (View::Drops, _) => self.model.drops(),
            (View::Latency, _) => self.model.latency(),
        };
        if !self.filter.is_empty() {
            grid.filter(&self.filter);
        }
        grid.sort(self.order());
        grid
    }

    /// How the rows of this page are sorted.
    pub fn order(&self) -> Order {
        self.orders.get(self.order_place()).copied().unwrap_or_default()
    }

    /// Which row is chosen: the same as before wherever it is now, else the one in its place.
    pub fn cursor(&self, grid: &Grid) -> Option<usize> {
        let last = grid.rows.len().checked_sub(1)?;
        let same = self.chosen.as_ref().and_then(|key| grid.rows.iter().position(|row| row.key == *key));
        Some(same.unwrap_or(self.cursor).min(last))
    }

    /// What the chosen row is about.
    pub fn chosen(&self) -> Option<Key> {
        let grid = self.grid();
        let cursor = self.cursor(&grid)?;
        grid.rows.into_iter().nth(cursor).map(|row| row.key)
    }

    /// How many rows there is room for.
    pub fn set_page(&mut self, rows: usize) {
        self.page = rows;
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Effect::Quit } else { Effect::None };
        }
        match std::mem::take(&mut self.mode) {
            Mode::Normal => self.press_normal(key.code),
            Mode::Filter => self.press_filter(key.code),
            Mode::Help => Effect::None,
            Mode::Confirm { request, .. } => match key.code {
                KeyCode::Char('y' | 'Y') => Effect::Command(request),
                _ => self.say("nothing was changed", Tone::Faint),
            },
        }
    }

    fn press_normal(&mut self, code: KeyCode) -> Effect {
        self.message = None;
        match code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char(digit @ '1'..='5') => {
                let place = digit.to_digit(10).map_or(0, |digit| digit as usize - 1);
                self.show(View::ALL.get(place).copied().unwrap_or_default());
            }
            KeyCode::Tab => self.show(self.view.beside(1)),
            KeyCode::BackTab => self.show(self.view.beside(View::ALL.len() - 1)),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('<') => self.sort_by(-1),
            KeyCode::Char('>') => self.sort_by(1),
            KeyCode::Char('s') => self.reverse(),
            KeyCode::Char('d') => return self.ask(Action::Drain),
            KeyCode::Char('u') => return self.ask(Action::Up),
            KeyCode::Enter => self.open(),
            KeyCode::Esc | KeyCode::Backspace => self.back(),
            code => self.go(code),
        }
        Effect::None
    }

    fn press_filter(&mut self, code: KeyCode) -> Effect {
        self.mode = Mode::Filter;
        match code {
            KeyCode::Enter => self.mode = Mode::Normal,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Normal;
            }
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Char(c) if !c.is_control() => self.filter.push(c),
            _ => (),
        }
        Effect::None
    }

    fn show(&mut self, view: View) {
        if self.view == view {
            // The key of the page that is shown leads back to its beginning.
            self.opened = None;
        }
        self.view = view;
        self.filter.clear();
        self.forget_row();
    }

    fn forget_row(&mut self) {
        self.chosen = None;
        self.cursor = 0;
    }

    fn go(&mut self, code: KeyCode) {
        let grid = self.grid();
        let Some(cursor) = self.cursor(&grid) else { return };
        let page = self.page.max(1);
        let to = match code {
            KeyCode::Up | KeyCode::Char('k') => cursor.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => cursor + 1,
            KeyCode::PageUp => cursor.saturating_sub(page),
            KeyCode::PageDown => cursor + page,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => grid.rows.len(),
            _ => return,
        };
        self.cursor = to.min(grid.rows.len().saturating_sub(1));
        self.chosen = grid.rows.into_iter().nth(self.cursor).map(|row| row.key);
    }

    fn open(&mut self) {
        match self.chosen() {
            Some(Key::Service(service)) => {
                self.opened = Some(service);
                self.filter.clear();
                self.forget_row();
            }
            _ => _ = self.say("Enter opens a service; they are in view 1", Tone::Faint),
        }
    }

    /// First the filter, then the service.
    fn back(&mut self) {
        if !self.filter.is_empty() {
            self.filter.clear();
        } else if self.view == View::Services
            && let Some(service) = self.opened.take()
        {
            self.chosen = Some(Key::Service(service));
        }
    }

    fn sort_by(&mut self, step: isize) {
        let columns = self.grid().columns.len();
        let Some(order) = self.orders.get_mut(place(self.view, &self.opened)) else { return };
        // Before the first column is the order of the configuration.
        let places = columns as isize + 1;
        let now = order.column.map_or(0, |column| column as isize + 1);
        let next = (now + step).rem_euclid(places);
        *order = Order { column: usize::try_from(next - 1).ok(), is_reversed: false };
    }

    fn reverse(&mut self) {
        let Some(order) = self.orders.get_mut(place(self.view, &self.opened)) else { return };
        match order.column {
            Some(_) => order.is_reversed = !order.is_reversed,
            None => _ = self.say("choose a column to sort by with < and >", Tone::Faint),
        }
    }

    fn order_place(&self) -> usize {
        place(self.view, &self.opened)
    }

    fn ask(&mut self, action: Action) -> Effect {
        let Some(Key::Backend(service, name)) = self.chosen() else {
            return self.say("choose a backend first: in view 2, or open a service with Enter", Tone::Faint);
        };
        let backend = format!("{service}/{name}");
        let now = self.model.now();
        let connections = now.and_then(|now| now.backends().find(|b| b.service == service && b.name == name));
        let connections = counted(connections.map_or(0, |backend| backend.connections), "connection");
        let question = match action {
            Action::Drain => format!("drain {backend}? It keeps its {connections}, and gets no more."),
            _ => format!("have {backend} up? It gets connections while it is healthy."),
        };
        self.mode = Mode::Confirm { question, request: BackendRequest { backend, action, weight: None } };
        Effect::None
    }

    /// Says something below, until the next key.
    pub fn say(&mut self, message: impl Into<String>, tone: Tone) -> Effect {
        self.message = Some((message.into(), tone));
        Effect::None
    }
}

/// An opened service has other columns than the list of services.
fn place(view: View, opened: &Option<String>) -> usize {
    match (view, opened) {
        (View::Services, Some(_)) => View::ALL.len(),
        (view, _) => view.place(),
    }
}
