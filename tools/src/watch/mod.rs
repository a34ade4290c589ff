//! `dlm_tool watch`: the daemon's state on the terminal, as it changes.
//!
//! A thread reads keys, another asks the daemon, a third waits for signals; what they find comes through one channel, so
//! that a daemon that hangs holds up no key. The terminal is given back however it ends.

mod page;
mod rates;
mod screen;

pub use page::{Row, Tone, rows};
pub use rates::Rates;
pub use screen::{Colours, Seen, Sight, View, draw};

use crate::words;
use dlmcontrol::client::{Client, Error};
use dlmcontrol::state::State;
use nix::sys::signal::{SigSet, Signal};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io::{self, IsTerminal as _, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// From one answer of the daemon to the next question.
const EVERY: Duration = Duration::from_secs(1);
/// Signals that would leave the terminal as it is, were they not awaited.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT];
/// What may wait to be looked at; more keys than that wait with the terminal.
const WAITING_MAX: usize = 16;

/// Something to look at.
enum News {
    Terminal(Event),
    Daemon(Result<Box<State>, Error>),
    End,
}

/// Watches until the user has seen enough; returns the exit code.
///
/// # Errors
/// The terminal.
pub fn watch(client: &Client, err: &mut dyn Write) -> io::Result<u8> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        writeln!(
            err,
            "watch needs a terminal; for files and programs there are `dlm_tool explain` and `dlm_tool --json status`"
        )?;
        return Ok(words::CANNOT_SAY);
    }
    // Before any thread begins, so that the signals are blocked in all of them.
    let signals: SigSet = ENDING.into_iter().collect();
    signals.thread_block()?;
    let (news, incoming) = sync_channel(WAITING_MAX);
    let mut terminal = ratatui::try_init()?;
    let (_stop, stopped) = channel::<()>();
    start(news.clone(), move |news| {
        let _ = signals.wait();
        let _ = news.send(News::End);
    });
    start(news.clone(), read_keys);
    let client = client.clone();
    start(news, move |news| ask(&client, &stopped, &news));
    let shown = show(&mut terminal, &incoming);
    ratatui::try_restore().and(shown).map(|()| words::RUNNING)
}

/// The threads end with the process: each may be waiting for what never comes.
fn start(news: SyncSender<News>, act: impl FnOnce(SyncSender<News>) + Send + 'static) {
    thread::spawn(move || act(news));
}

fn read_keys(news: SyncSender<News>) {
    while let Ok(event) = event::read() {
        if news.send(News::Terminal(event)).is_err() {
            return;
        }
    }
    // The terminal is gone.
    let _ = news.send(News::End);
}

/// Asks until `stopped` has no sender any more.
fn ask(client: &Client, stopped: &Receiver<()>, news: &SyncSender<News>) {
    loop {
        if news.send(News::Daemon(client.state().map(Box::new))).is_err() {
            return;
        }
        if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn show(terminal: &mut ratatui::DefaultTerminal, incoming: &Receiver<News>) -> io::Result<()> {
    let mut seen = Seen::default();
    let mut view = View::new(Colours::of_environment());
    loop {
        let sight = seen.sight(Instant::now());
        terminal.draw(|frame| draw(frame, &sight, &mut view))?;
        match incoming.recv() {
            Ok(News::Daemon(answer)) => seen.note(answer.map(|state| *state), Instant::now()),
            Ok(News::Terminal(Event::Key(key))) if key.kind == KeyEventKind::Press => {
                if !view.key(key) {
                    return Ok(());
                }
            }
            // A new size is found while drawing.
            Ok(News::Terminal(_)) => {}
            Ok(News::End) | Err(_) => return Ok(()),
        }
    }
}

impl View {
    /// Does what a key wants; false: it wants the end.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        match key.code {
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return false;
            }
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Up | KeyCode::Char('k') => self.up(1),
            KeyCode::Down | KeyCode::Char('j') => self.down(1),
            KeyCode::PageUp => self.up(self.height()),
            KeyCode::PageDown | KeyCode::Char(' ') => self.down(self.height()),
            KeyCode::Home | KeyCode::Char('g') => self.up(u16::MAX),
            KeyCode::End | KeyCode::Char('G') => self.down(u16::MAX),
            _ => {}
        }
        true
    }
}
