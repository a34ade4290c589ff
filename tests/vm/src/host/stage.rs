//! Where the actors of a scenario report for work: processes in the guests that do one step at a time, as
//! the host says. Each keeps one connection, for its commands and its answers, each a line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::network::Network;
use super::service::Service;
use crate::protocol::STAGE_PORT;
use crate::time::HostTime;

/// An answer, and when it came.
pub(crate) type Line = (HostTime, String);

/// An actor that has reported.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Its process id in its guest.
    pub(crate) process: u32,
    pub(crate) commands: TcpStream,
    pub(crate) answers: Receiver<Line>,
}

#[derive(Debug, Default)]
struct Waiting {
    arrived: Mutex<BTreeMap<String, Arrival>>,
    changed: Condvar,
}

/// The service that actors connect to.
#[derive(Debug)]
pub(crate) struct Stage {
    waiting: Arc<Waiting>,
    _service: Service,
}

impl Stage {
    pub(crate) fn start(network: &Network) -> Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let shared = Arc::clone(&waiting);
        let service = Service::start(network, STAGE_PORT, move |stream| listen(&shared, stream))?;
        Ok(Self { waiting, _service: service })
    }

    /// The actor with this name, once it has reported.
    pub(crate) fn arrival(&self, name: &str, deadline: Duration) -> Result<Arrival> {
        let arrived = self.waiting.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut arrived, _) = self
            .waiting
            .changed
            .wait_timeout_while(arrived, deadline, |arrived| !arrived.contains_key(name))
            .unwrap_or_else(PoisonError::into_inner);
        match arrived.remove(name) {
            Some(arrival) => Ok(arrival),
            None => bail!("the actor {name} has not reported within {deadline:?}"),
        }
    }
}

fn listen(waiting: &Waiting, stream: TcpStream) {
    let Ok((mut lines, answers)) = introduce(waiting, stream) else { return };
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
        if answers.send((HostTime::now(), line.trim_end().to_owned())).is_err() {
            return;
        }
        line.clear();
    }
}

/// The first line is `NAME PROCESS`.
fn introduce(waiting: &Waiting, stream: TcpStream) -> Result<(BufReader<TcpStream>, Sender<Line>)> {
    stream.set_nodelay(true).context("set nodelay")?;
    let mut lines = BufReader::new(stream.try_clone().context("share the connection")?);
    let mut first = String::new();
    lines.read_line(&mut first).context("read the name")?;
    let (name, process) = first.trim_end().split_once(' ').context("no process id")?;
    let (sender, answers) = channel();
    let process = process.parse().context("process id")?;
    let arrival = Arrival { process, commands: stream, answers };
    let mut arrived = waiting.arrived.lock().unwrap_or_else(PoisonError::into_inner);
    arrived.insert(name.to_owned(), arrival);
    waiting.changed.notify_all();
    Ok((lines, sender))
}
