//! The commands that the C tool does not have: they read the daemon's state document.

use crate::args::{Command, Invocation};
use crate::check::{self, Verdict};
use crate::lockdebug::Report;
use crate::run::{Tool, Unreadable};
use crate::{commands, explain, history, json, words};
use dlmcontrol::client::{Client, Error};
use dlmcontrol::proto;
use dlmcontrol::state::State;
use std::io;
use std::time::Duration;

/// A daemon that has not answered then hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

impl Tool<'_> {
    /// A command with `--json`, or one of ours; returns the exit code.
    pub(crate) fn insight(&mut self, invocation: &Invocation) -> io::Result<u8> {
        let client = self.environment.client.clone().with_timeout(Some(PATIENCE));
        let json = invocation.options.json;
        match &invocation.command {
            Command::Check(name) => self.check(&client, name.as_deref(), json),
            Command::History(name) => {
                let name = name.as_deref().map(String::from_utf8_lossy);
                let print = if json { json::history } else { history::history };
                self.shown(client.history(), |of| Some(print(of, name.as_deref())))
            }
            Command::Explain(name) if !json => self.explain(&client, name.as_deref()),
            Command::Status | Command::Explain(_) => {
                self.shown(client.state(), |state| Some(json::print(state)))
            }
            Command::Ls(name) => self.shown(client.state(), |state| {
                json::lockspaces(state, name.as_deref().map(String::from_utf8_lossy).as_deref())
            }),
            Command::DumpConfig => self.shown(client.state(), |state| Some(json::config(state))),
            Command::Dump => self.lines(client.dump_debug()),
            Command::LogPlock => self.lines(client.dump_log_plock()),
            Command::RunList => self.lines(client.dump_run()),
            Command::Plocks(name) => {
                let known = client.all_plocks(name).map(|plocks| (plocks.result, plocks.text));
                self.shown(known, |(result, text)| {
                    (*result != -proto::errno::ENOENT).then(|| json::lines(text))
                })
            }
            Command::LockDebug(name) => self.debug_lines(self.lockdebug(name, &invocation.options)),
            Command::LockDump(name) => self.debug_lines(self.lockdump(name, &invocation.options)),
            _ => {
                writeln!(self.err, "--json is for queries: {}", commands::json_names())?;
                Ok(words::CANNOT_SAY)
            }
        }
    }

    /// What the kernel says of a lockspace; where it says nothing there is no lockspace of the name.
    fn debug_lines(&mut self, found: Result<Report, Unreadable>) -> io::Result<u8> {
        match found {
            Ok(report) => {
                self.out.write_all(json::lines(&report.out).as_bytes())?;
                self.err.write_all(&report.err)?;
                Ok(0)
            }
            Err(unreadable) => {
                self.cannot_open(&unreadable)?;
                Ok(words::NO_LOCKSPACE)
            }
        }
    }

    fn lines(&mut self, answer: Result<Vec<u8>, Error>) -> io::Result<u8> {
        self.shown(answer, |text| Some(json::lines(proto::until_nul(text))))
    }

    /// Prints an answer; `text` gives `None` where there is no lockspace of the name.
    fn shown<T>(
        &mut self,
        answer: Result<T, Error>,
        text: impl FnOnce(&T) -> Option<String>,
    ) -> io::Result<u8> {
        match answer.as_ref().map(text) {
            Ok(Some(text)) => {
                self.out.write_all(text.as_bytes())?;
                Ok(0)
            }
            Ok(None) => {
                writeln!(self.err, "no such lockspace here")?;
                Ok(words::NO_LOCKSPACE)
            }
            Err(error) => {
                let Verdict { code, line } = check::without_state(error);
                writeln!(self.err, "{line}")?;
                Ok(code)
            }
        }
    }

    fn check(&mut self, client: &Client, name: Option<&[u8]>, json: bool) -> io::Result<u8> {
        let name = name.map(String::from_utf8_lossy);
        let verdict = match client.state() {
            Ok(state) => check::verdict(&state, name.as_deref()),
            Err(error) => check::without_state(&error),
        };
        let text = if json { json::checked(&verdict) } else { format!("{}\n", verdict.line) };
        self.out.write_all(text.as_bytes())?;
        Ok(verdict.code)
    }

    fn explain(&mut self, client: &Client, name: Option<&[u8]>) -> io::Result<u8> {
        let name = name.map(String::from_utf8_lossy);
        self.shown(client.state(), |state: &State| explain::explain(state, name.as_deref()))
    }
}
