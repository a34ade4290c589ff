//! The power switch that the guests' fence agent asks: it kills a node's virtual machine, or refuses,
//! or takes its time. How it behaves is kept in a file, so that a command line can change it too.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::machine::Machine;
use super::network::Network;
use super::service::Service;
use crate::protocol::POWER_PORT;
use crate::state::State;
use crate::time::HostTime;

/// How the power switch behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceMode {
    /// It kills the victim and says so.
    Ok,
    /// It refuses and leaves the victim alone.
    Fail,
    /// It waits, then does as [`FenceMode::Ok`], unless the asking node is gone by then.
    Delay(Duration),
}

/// What a request to the power switch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The victim ran and was killed.
    Killed,
    /// The victim was down already.
    WasDown,
    /// Refused.
    Refused,
    /// The asking node died while it waited; nothing was done.
    Abandoned,
}

impl Outcome {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Killed, "killed"),
        (Self::WasDown, "was-down"),
        (Self::Refused, "refused"),
        (Self::Abandoned, "abandoned"),
    ];

    /// The word for it in the log.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, word)| word)
    }
}

/// One request to the power switch that has come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FenceRecord {
    /// When it was asked.
    pub asked: HostTime,
    /// When it answered.
    pub answered: HostTime,
    /// The node to be switched off.
    pub victim: u8,
    /// The node whose fence agent asked.
    pub actor: u8,
    /// What was done.
    pub outcome: Outcome,
}

impl FenceRecord {
    fn to_line(self) -> String {
        let Self { asked, answered, victim, actor, outcome } = self;
        format!("{asked} {answered} {victim} {actor} {}\n", outcome.word())
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self {
            asked: HostTime::parse(words.next()?)?,
            answered: HostTime::parse(words.next()?)?,
            victim: words.next()?.parse().ok()?,
            actor: words.next()?.parse().ok()?,
            outcome: {
                let word = words.next()?;
                Outcome::ALL.iter().find(|(_, known)| *known == word)?.0
            },
        })
    }
}

/// The switch of the cluster in a state directory.
#[derive(Debug, Clone)]
pub(crate) struct Power {
    state: State,
}

impl Power {
    pub(crate) fn of(state: &State) -> Self {
        Self { state: state.clone() }
    }

    /// Starts answering.
    pub(crate) fn start(self, network: &Network) -> Result<Service> {
        Service::start(network, POWER_PORT, move |stream| {
            if let Err(error) = self.answer(stream) {
                eprintln!("power switch: {error:#}");
            }
        })
    }

    /// Sets how it behaves from the next request on.
    pub(crate) fn set_mode(&self, mode: FenceMode) -> Result<()> {
        let text = match mode {
            FenceMode::Ok => "ok".to_owned(),
            FenceMode::Fail => "fail".to_owned(),
            FenceMode::Delay(time) => format!("delay {}", time.as_secs_f64()),
        };
        let path = self.state.run_file("fence.mode");
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Every request answered since the log was begun, in the order of answers.
    pub(crate) fn log(&self) -> Vec<FenceRecord> {
        let text = fs::read_to_string(self.state.run_file("fence.log")).unwrap_or_default();
        text.lines().filter_map(FenceRecord::from_line).collect()
    }

    fn mode(&self) -> Result<FenceMode> {
        let path = self.state.run_file("fence.mode");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        parse_mode(&text)
    }

    /// One request at a time, and none of a node that is dead by then: as with a real switch, of two
    /// nodes that would switch each other off the first wins.
    fn switch_off_for(&self, asker: Option<String>, actor: u8, victim: u8) -> Result<Outcome> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // The asker may have died and been booted again meanwhile.
        if asker.is_some() && Machine::of(&self.state, actor).identity() == asker {
            self.switch_off(victim)
        } else {
            Ok(Outcome::Abandoned)
        }
    }

    fn answer(&self, mut stream: TcpStream) -> Result<()> {
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).context("read the request")?;
        let asked = HostTime::now();
        let (victim, actor) = parse_request(&line).with_context(|| format!("request {line:?}"))?;
        let asker = Machine::of(&self.state, actor).identity();
        let outcome = match self.mode()? {
            FenceMode::Fail => Outcome::Refused,
            FenceMode::Ok => self.switch_off_for(asker, actor, victim)?,
            FenceMode::Delay(time) => {
                // A slow switch is what is simulated here; nothing is waited for.
                thread::sleep(time);
                self.switch_off_for(asker, actor, victim)?
            }
        };
        let record = FenceRecord { asked, answered: HostTime::now(), victim, actor, outcome };
        // In the log before the answer: whoever sees the effect of the answer finds the record.
        self.append(record)?;
        let said = if outcome == Outcome::Refused { "FAIL" } else { "OK" };
        writeln!(stream, "{said} {}", outcome.word()).context("answer")
    }

    fn switch_off(&self, victim: u8) -> Result<Outcome> {
        let machine = Machine::of(&self.state, victim);
        let was_up = machine.runs();
        machine.kill()?;
        Ok(if was_up { Outcome::Killed } else { Outcome::WasDown })
    }

    fn append(&self, record: FenceRecord) -> Result<()> {
        let path = self.state.run_file("fence.log");
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut log| log.write_all(record.to_line().as_bytes()))
            .with_context(|| format!("write {}", path.display()))
    }
}

/// `ok`, `fail` or `delay SECONDS`.
pub fn parse_mode(text: &str) -> Result<FenceMode> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["ok"] => Ok(FenceMode::Ok),
        ["fail"] => Ok(FenceMode::Fail),
        ["delay", seconds] => {
            let seconds = seconds.parse().with_context(|| format!("seconds {seconds:?}"))?;
            let time = Duration::try_from_secs_f64(seconds);
            Ok(FenceMode::Delay(time.with_context(|| format!("seconds {seconds}"))?))
        }
        other => bail!("a fence mode is ok, fail or 'delay SECONDS', not {other:?}"),
    }
}

/// `off VICTIM from nodeN`.
fn parse_request(line: &str) -> Option<(u8, u8)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["off", victim, "from", actor] = words.as_slice() else { return None };
    Some((victim.parse().ok()?, actor.strip_prefix("node")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_comes_back_from_its_line() {
        let record = FenceRecord {
            asked: HostTime::now(),
            answered: HostTime::now(),
            victim: 3,
            actor: 1,
            outcome: Outcome::WasDown,
        };
        let read = FenceRecord::from_line(&record.to_line()).expect("a line of the log");
        assert_eq!((read.victim, read.actor, read.outcome), (3, 1, Outcome::WasDown));
    }

    #[test]
    fn request_that_is_not_one_is_refused() {
        assert_eq!(parse_request("off 3 from node1\n"), Some((3, 1)));
        for line in ["", "off", "off x from node1", "off 3 from 1", "on 3 from node1"] {
            assert_eq!(parse_request(line), None, "{line}");
        }
    }

    #[test]
    fn mode_is_one_of_three() {
        assert_eq!(
            parse_mode("delay 0.5").ok(),
            Some(FenceMode::Delay(Duration::from_millis(500)))
        );
        assert!(parse_mode("delay -1").is_err());
        assert!(parse_mode("maybe").is_err());
    }
}
