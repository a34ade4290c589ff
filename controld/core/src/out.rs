//! Where a step puts what it asks for.

use crate::effect::{Effect, KernelWrite, Lane, Level, LogLine, Moment};
use crate::event::Token;
use crate::types::{LockspaceName, Now};
use alloc::string::String;
use alloc::vec::Vec;

/// The effects of one step, with the time of its event.
pub(crate) struct Out<'a> {
    /// When the event happened.
    pub(crate) now: Now,
    effects: &'a mut Vec<Effect>,
    tokens: &'a mut u64,
    /// A lockspace has found that a node must be fenced.
    fencing_asked: bool,
}

impl<'a> Out<'a> {
    pub(crate) fn new(now: Now, effects: &'a mut Vec<Effect>, tokens: &'a mut u64) -> Self {
        Self { now, effects, tokens, fencing_asked: false }
    }

    /// Ask for something.
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// What the daemon group knows of its victims has changed, though the event may have been about a lockspace alone.
    pub(crate) fn ask_for_fencing(&mut self) {
        self.fencing_asked = true;
    }

    /// Whether that has happened in this step.
    pub(crate) fn is_fencing_asked(&self) -> bool {
        self.fencing_asked
    }

    /// A token that was never used before.
    pub(crate) fn token(&mut self) -> Token {
        *self.tokens = self.tokens.wrapping_add(1);
        Token(*self.tokens)
    }

    /// Ask for a kernel write; the token finds its completion.
    pub(crate) fn kernel(&mut self, lane: Lane, write: KernelWrite) -> Token {
        let token = self.token();
        self.push(Effect::Kernel { token, lane, write });
        token
    }

    /// Something for the time line.
    pub(crate) fn moment(&mut self, moment: Moment) {
        self.push(Effect::Timeline(moment));
    }

    /// A line that the C daemon has at debug.
    pub(crate) fn debug(&mut self, text: String) {
        self.line(Level::Debug, None, text);
    }

    /// A line that reaches syslog.
    pub(crate) fn error(&mut self, text: String) {
        self.line(Level::Error, None, text);
    }

    /// A line about a lockspace.
    pub(crate) fn lockspace(&mut self, level: Level, lockspace: &LockspaceName, text: String) {
        self.line(level, Some(lockspace.clone()), text);
    }

    fn line(&mut self, level: Level, lockspace: Option<LockspaceName>, text: String) {
        self.push(Effect::Log(LogLine { level, lockspace, text }));
    }
}
