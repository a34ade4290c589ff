//! The screen: a first line about the daemon, the page, a last line with rates and keys.

use super::page::{Row, Tone, rows};
use super::rates::Rates;
use crate::check::{self, Verdict};
use crate::words::{self, duration};
use dlmcontrol::client::Error;
use dlmcontrol::state::State;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use std::ffi::OsStr;
use std::time::{Duration, Instant};

/// What is known of the daemon so far.
#[derive(Debug, Default)]
pub struct Seen {
    state: Option<(State, Instant)>,
    rates: Option<Rates>,
    trouble: Option<String>,
}

/// What there is to draw.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The last state that the daemon told.
    pub state: Option<&'a State>,
    /// How old it is.
    pub age: Duration,
    /// How much happens.
    pub rates: Option<Rates>,
    /// Why there is nothing newer.
    pub trouble: Option<&'a str>,
}

impl Seen {
    /// The daemon has answered, or has not.
    pub fn note(&mut self, answer: Result<State, Error>, now: Instant) {
        match answer {
            Ok(state) => {
                let before = self.state.as_ref().map(|(before, _)| before);
                self.rates = before.and_then(|before| Rates::between(before, &state));
                self.state = Some((state, now));
                self.trouble = None;
            }
            Err(error) => {
                self.rates = None;
                self.trouble = Some(trouble(&error));
            }
        }
    }

    /// What there is to draw now.
    #[must_use]
    pub fn sight(&self, now: Instant) -> Sight<'_> {
        Sight {
            state: self.state.as_ref().map(|(state, _)| state),
            age: self.state.as_ref().map_or(Duration::ZERO, |(_, then)| now.duration_since(*then)),
            rates: self.rates,
            trouble: self.trouble.as_deref(),
        }
    }
}

/// Whether tones are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// They are.
    On,
    /// Bold and reverse must do.
    Off,
}

impl Colours {
    /// None where the user wants none (`NO_COLOR`, no-color.org) or the terminal is said to have none.
    #[must_use]
    pub fn of_environment() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let plain = set("TERM")
            .is_none_or(|term| term == OsStr::new("dumb") || term == OsStr::new("vt100"));
        if plain || set("NO_COLOR").is_some() { Self::Off } else { Self::On }
    }

    fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        match (self, tone) {
            (_, Tone::Plain) => plain,
            (_, Tone::Heading) => plain.add_modifier(Modifier::BOLD),
            (Self::On, Tone::Good) => plain.fg(Color::Green),
            (Self::On, Tone::Busy) => plain.fg(Color::Yellow),
            (Self::On, Tone::Bad) => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Self::Off, Tone::Bad) => plain.add_modifier(Modifier::BOLD),
            (Self::Off, Tone::Good | Tone::Busy) => plain,
            (_, Tone::Dim) => plain.add_modifier(Modifier::DIM),
        }
    }
}

/// Where on the page the user looks.
#[derive(Clone, Copy, Debug)]
pub struct View {
    colours: Colours,
    top: u16,
    /// Of the page, when it was drawn last.
    height: u16,
}

impl View {
    /// From the top.
    #[must_use]
    pub const fn new(colours: Colours) -> Self {
        Self { colours, top: 0, height: 1 }
    }

    pub(super) const fn height(&self) -> u16 {
        self.height
    }

    pub(super) const fn up(&mut self, lines: u16) {
        self.top = self.top.saturating_sub(lines);
    }

    /// Drawing brings it back to the last page.
    pub(super) const fn down(&mut self, lines: u16) {
        self.top = self.top.saturating_add(lines);
    }

    fn line(&self, row: Row) -> Line<'static> {
        row.into_iter().map(|(tone, text)| Span::styled(text, self.colours.style(tone))).collect()
    }
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, sight: &Sight<'_>, view: &mut View) {
    let trouble = u16::from(sight.trouble.is_some());
    let heights = [1, trouble].map(Constraint::Length);
    let places: [Rect; 4] =
        Layout::vertical(heights.into_iter().chain([Constraint::Min(0), Constraint::Length(1)]))
            .areas(frame.area());
    let [top, warning, page, bottom] = places;
    let bar = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(title(sight)).style(bar), top);
    if let Some(text) = sight.trouble {
        let row = vec![(Tone::Bad, text.to_owned())];
        frame.render_widget(Paragraph::new(view.line(row)), warning);
    }
    let rows = sight.state.map_or_else(Vec::new, |state| rows(state, usize::from(page.width)));
    let lines = u16::try_from(rows.len()).unwrap_or(u16::MAX);
    view.height = page.height.max(1);
    view.top = view.top.min(lines.saturating_sub(page.height));
    let below = lines.saturating_sub(view.top).saturating_sub(page.height);
    let text: Vec<Line<'_>> = rows.into_iter().map(|row| view.line(row)).collect();
    frame.render_widget(Paragraph::new(text).scroll((view.top, 0)), page);
    frame.render_widget(Paragraph::new(footer(sight, view.top, below)).style(bar), bottom);
}

/// Short enough for a line; what the socket said is of no more use here.
fn trouble(error: &Error) -> String {
    let Verdict { code, line } = check::without_state(error);
    match code {
        words::NO_DAEMON => "dlm_controld does not run; asked again every second".to_owned(),
        words::NO_ANSWER => "dlm_controld does not answer; asked again".to_owned(),
        _ => line,
    }
}

fn title(sight: &Sight<'_>) -> String {
    let Some(state) = sight.state else {
        return " dlm_tool watch".to_owned();
    };
    let daemon = &state.daemon;
    let node = state.cluster.our_node.map_or(String::new(), |node| format!("   node {node}"));
    let age = match sight.trouble {
        Some(_) => {
            let ms = u64::try_from(sight.age.as_millis()).unwrap_or(u64::MAX);
            format!("   as it was {} ago", duration(ms))
        }
        None => format!("   up {}", duration(daemon.uptime_ms)),
    };
    format!(" dlm_controld {}{node}{age}", daemon.version)
}

fn footer(sight: &Sight<'_>, above: u16, below: u16) -> String {
    let mut parts = vec![" q: end".to_owned()];
    if above > 0 || below > 0 {
        parts.push(format!("arrows: {above} lines above, {below} below"));
    }
    if let Some(rates) = sight.rates {
        parts.push(format!("plocks/s {} (here {})", rates.plocks, rates.own_plocks));
        parts.push(format!("messages/s {} in, {} out", rates.received, rates.sent));
        parts.push(format!("events/s {}, {} us each", rates.events, rates.event_us));
        parts.push(format!("kernel writes/s {}", rates.kernel_writes));
    }
    parts.join("   ")
}
