//! Requests to the agent in a guest.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::network::Network;
use crate::protocol::{self, AGENT_PORT};
use crate::time::{HostTime, Offset};

/// How long reaching an agent may take; a machine that runs answers in milliseconds.
const REACH: Duration = Duration::from_secs(3);
/// How long a request that is no command may take.
const SHORT: Duration = Duration::from_secs(10);

/// What a command in a guest came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Exit status; 128 + signal if a signal ended it.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A guest's clocks against the host's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) monotonic: Offset,
    pub(crate) real: Offset,
    pub(crate) printk: Offset,
}

/// A node's agent.
#[derive(Debug, Clone)]
pub(crate) struct Remote<'a> {
    network: &'a Network,
    node: u8,
}

impl<'a> Remote<'a> {
    pub(crate) fn new(network: &'a Network, node: u8) -> Self {
        Self { network, node }
    }

    /// Runs a shell command to its end; one that takes longer is killed there.
    pub(crate) fn run(&self, command: &str, deadline: Duration) -> Result<Output> {
        self.request(protocol::RUN, command.as_bytes(), deadline)
            .with_context(|| format!("node {}: {command}", self.node))
    }

    /// Writes a file.
    pub(crate) fn put(&self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let body = [format!("{mode:o} {path}\n").as_bytes(), content].concat();
        let output = self.request(protocol::PUT, &body, SHORT)?;
        if output.status != 0 {
            bail!("node {}: put {path}: {}", self.node, output.err.trim_end());
        }
        Ok(())
    }

    /// Sets the guest's wall clock to the host's.
    pub(crate) fn set_clock(&self) -> Result<()> {
        let now = HostTime::now().duration().as_nanos().to_string();
        let output = self.request(protocol::SET_CLOCK, now.as_bytes(), SHORT)?;
        if output.status != 0 {
            bail!("node {}: set the clock: {}", self.node, output.err.trim_end());
        }
        Ok(())
    }

    /// Reads the guest's clocks, good to half the time that the request takes (a few milliseconds).
    pub(crate) fn clocks(&self) -> Result<Clocks> {
        let before = HostTime::now().duration();
        let output = self.request(protocol::CLOCKS, &[], SHORT)?;
        let host = (before + HostTime::now().duration()) / 2;
        let mut offsets = output
            .out
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .map(|nanoseconds| Offset::new(host, Duration::from_nanos(nanoseconds)));
        match (offsets.next(), offsets.next(), offsets.next()) {
            (Some(monotonic), Some(real), Some(printk)) => Ok(Clocks { monotonic, real, printk }),
            _ => bail!("node {}: clocks: {:?} {}", self.node, output.out, output.err),
        }
    }

    fn request(&self, kind: u8, body: &[u8], deadline: Duration) -> Result<Output> {
        let address = SocketAddr::from((Ipv4Addr::new(10, 78, 0, self.node), AGENT_PORT));
        let mut stream = self
            .network
            .within(|| TcpStream::connect_timeout(&address, REACH))?
            .with_context(|| format!("reach the agent of node {}", self.node))?;
        stream.set_nodelay(true).context("set nodelay")?;
        stream.set_read_timeout(Some(deadline)).context("set a time limit")?;
        protocol::write_frame(&mut stream, kind, body).context("send the request")?;
        let mut output = Output::default();
        loop {
            let frame = protocol::read_frame(&mut stream)
                .with_context(|| format!("no answer within {deadline:?}"))?;
            let text = String::from_utf8_lossy(&frame.body);
            match frame.kind {
                protocol::OUT => output.out.push_str(&text),
                protocol::ERR => output.err.push_str(&text),
                protocol::EXIT => {
                    output.status =
                        text.parse().with_context(|| format!("exit status {text:?}"))?;
                    return Ok(output);
                }
                other => bail!("unknown frame {other} from the agent"),
            }
        }
    }
}
