//! A program in the daemons' groups that says what a test has it say: the example `watch` of corosync-rs, in a node that has a
//! corosync and no daemon.

use controld::testbed::unhex;
use controld::wire;
use dlm_core::message::{Message, Packet};
use dlm_core::types::NodeId;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;
use testbed::lab::{Lab, PATIENCE};

pub(crate) struct Peer {
    node: NodeId,
    process: Child,
    requests: ChildStdin,
    lines: Receiver<String>,
}

impl Peer {
    pub(crate) fn start(lab: &Lab, node: u32) -> Self {
        let mut process = lab.converse(node, &watch(), &["--hex".to_owned()]).unwrap();
        let (requests, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (told, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Fails when the test is over.
                let _nobody_listens = told.send(line);
            }
        });
        Self { node: NodeId::new(node).unwrap(), process, requests, lines }
    }

    /// A request in the words of the example.
    pub(crate) fn ask(&mut self, request: &str) {
        writeln!(self.requests, "{request}").unwrap();
    }

    pub(crate) fn say(&mut self, group: &str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.ask(&format!("send {group} {hex}"));
    }

    /// What a node says next in a group, if it is of this kind, becomes what this one says there, with these changes.
    pub(crate) fn say_as(
        &mut self,
        group: &str,
        node: u32,
        change: impl Fn(&mut Message) -> bool,
    ) -> Packet {
        let start = format!("message {group} from={node} ");
        loop {
            let line = self.line(&start);
            let bytes = unhex("message", &line[start.len()..]).unwrap();
            let mut packet = wire::decode(&bytes).unwrap();
            if change(&mut packet.message) {
                packet.sender = self.node;
                self.say(group, &wire::encode(&packet));
                return packet;
            }
        }
    }

    /// The next line that begins so.
    pub(crate) fn line(&self, start: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no `{start}`"));
            if line.starts_with(start) {
                return line;
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// The example beside the tests.
fn watch() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples/watch");
    assert!(path.exists(), "{} is missing: cargo build -p corosync-rs --examples", path.display());
    path
}
