//! `tidegate top`: a live view of the running tidegate, in the terminal.

mod app;
mod draw;
mod grid;
mod model;
mod round;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, unbounded};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use rustix::event::{PollFd, PollFlags};
use tokio::signal::unix::{SignalKind, signal};

use super::client::Client;
use super::color;
use super::failure::Failure;
use crate::control::status::{BackendReport, BackendRequest};
use app::{App, Effect};
use draw::Theme;
use grid::Tone;
use round::Round;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(1);
/// For an answer; after that the view says that there is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long keys are waited for before something else is looked at.
const KEY_WAIT: Duration = Duration::from_millis(50);

/// From a signal, or the end of the terminal, to the end.
const END_TIME_MAX: Duration = Duration::from_secs(1);

/// What comes from elsewhere than the keyboard.
enum Message {
    Round(Box<Round>),
    Lost(Failure),
    Done(Result<BackendReport, Failure>),
    End,
}

/// Shows it until it is ended.
///
/// # Errors
/// There is no terminal, or no tidegate at first.
pub fn top(socket: Option<PathBuf>) -> Result<(), Failure> {
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        return Err(Failure::usage(
            "error: top needs a terminal; `tidegate show services --rate --watch` writes anywhere",
        ));
    }
    let mut app = App::default();
    let client = || Client::new(socket.clone()).with_patience(PATIENCE);
    app.take(Round::ask(&client())?);
    let (sender, inbox) = unbounded();
    end_on_signals(sender.clone())?;
    end_with_the_terminal(sender.clone());
    let (asking, answers) = (client(), sender.clone());
    std::thread::spawn(move || ask_again_and_again(&asking, &answers));
    let command = |request| {
        let (client, sender) = (client(), sender.clone());
        std::thread::spawn(move || carry_out(&request, &client, &sender));
    };
    let failed = |error: std::io::Error| Failure::running(format!("error: the terminal fails: {error}"));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let _restored = Restored;
    live(&mut app, &mut terminal, &inbox, command).map_err(failed)
}

/// However this ends, the terminal is as it was; after a panic ratatui's own hook sees to that before the message.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn live(
    app: &mut App,
    terminal: &mut DefaultTerminal,
    inbox: &Receiver<Message>,
    command: impl Fn(BackendRequest),
) -> std::io::Result<()> {
    let theme = Theme { has_colors: color::on_stdout() };
    let mut drawn = None::<Instant>;
    loop {
        let now = Instant::now();
        // Without an answer, the seconds since the last one pass.
        if drawn.is_none_or(|drawn| now.saturating_duration_since(drawn) >= EVERY) {
            app.set_page(draw::rows(app, terminal.size()?));
            terminal.draw(|frame| draw::draw(frame, app, theme, now))?;
            drawn = Some(now);
        }
        if event::poll(KEY_WAIT)? {
            drawn = None;
            if let Event::Key(key) = event::read()? {
                match app.press(key) {
                    Effect::None => (),
                    Effect::Quit => return Ok(()),
                    Effect::Command(request) => command(request),
                }
            }
        }
        for message in inbox.try_iter() {
            drawn = None;
            match message {
                Message::Round(round) => app.take(*round),
                Message::Lost(failure) => app.lose(words(&failure), Instant::now()),
                Message::Done(done) => tell(app, done),
                Message::End => return Ok(()),
            }
        }
    }
}

fn tell(app: &mut App, done: Result<BackendReport, Failure>) {
    let (message, tone) = match done {
        Ok(report) if report.changes.is_empty() => {
            (format!("{}/{}: nothing to change", report.service, report.backend), Tone::Plain)
        }
        Ok(report) => (report.changes.into_iter().chain(report.warnings).collect::<Vec<_>>().join("; "), Tone::Good),
        Err(failure) => (words(&failure), Tone::Bad),
    };
    app.say(message, tone);
}

fn words(failure: &Failure) -> String {
    failure.message().trim_start_matches("error: ").to_owned()
}

fn ask_again_and_again(client: &Client, sender: &Sender<Message>) {
    let mut took = Duration::ZERO;
    loop {
        // Where there is much to tell, it is asked for less often.
        std::thread::sleep(EVERY.max(took * 4));
        let begun = Instant::now();
        let round = Round::ask(client);
        took = begun.elapsed();
        let message = match round {
            Ok(round) => Message::Round(Box::new(round)),
            Err(failure) => Message::Lost(failure),
        };
        if sender.send(message).is_err() {
            return;
        }
    }
}

fn carry_out(request: &BackendRequest, client: &Client, sender: &Sender<Message>) {
    let done = client.post("/v1/backends", request);
    // If nobody listens any more, the view has ended.
    _ = sender.send(Message::Done(done));
    if let Ok(round) = Round::ask(client) {
        _ = sender.send(Message::Round(Box::new(round)));
    }
}

/// SIGTERM, SIGHUP and SIGINT end the view as `q` does; Ctrl-C is a key while it runs.
fn end_on_signals(sender: Sender<Message>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::running(format!("error: cannot watch for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let signals = {
        let _inside = runtime.enter();
        [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal)
    };
    let [terminate, hangup, interrupt] = signals;
    let (mut terminate, mut hangup, mut interrupt) =
        (terminate.map_err(failed)?, hangup.map_err(failed)?, interrupt.map_err(failed)?);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = hangup.recv() => (),
                _ = interrupt.recv() => (),
            }
        });
        leave(&sender);
    });
    Ok(())
}

/// A terminal that has hung up ends the view, too, where no signal says so.
fn end_with_the_terminal(sender: Sender<Message>) {
    std::thread::spawn(move || {
        let input = std::io::stdin();
        loop {
            // Nothing is asked for: that it has hung up is always told.
            let mut watched = [PollFd::new(&input, PollFlags::empty())];
            match rustix::event::poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => (),
                _ => return leave(&sender),
            }
        }
    });
}

/// Has the view end, and sees to it: whoever waits for keys of a terminal that is gone may wait for ever, and busily.
fn leave(sender: &Sender<Message>) {
    _ = sender.send(Message::End);
    std::thread::sleep(END_TIME_MAX);
    ratatui::restore();
    std::process::exit(1);
}
