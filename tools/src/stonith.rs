//! What `dlm_stonith` does: the fence agent that hands a node to pacemaker's fencer (spec/fencing.md section 10).
//!
//! It uses pacemaker's library and not the program `stonith_admin`: the daemon knows nodes by their corosync id, and
//! `stonith_admin` (2.1) takes an id for `--last --as-node-id` alone, which prints a date for people. `--history
//! --quiet` and `--reboot` want a name, and `--tolerance` counts back from now, so "fenced since the fail time" would be
//! off by however long the program takes to start. The library's two functions take the id, and one of them returns the
//! time as a number.

use crate::getopt::{self, Found};
use crate::number::atoi;

/// How long the fencer may take, in seconds.
const TIMEOUT_SECONDS: i32 = 300;
/// Exit code for a request without a node: the low byte of -1.
pub const EXIT_NO_NODE: u8 = 255;

/// What is to be fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Corosync's id; 0: none was given. Printed signed, as the C tool does.
    pub node: i32,
    /// When it failed: seconds since 1970, 0 unknown.
    pub fail_time: i64,
}

/// What came of reading the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// What is to be fenced.
    pub request: Request,
    /// Lines for stderr: options that make no sense are named and passed over.
    pub complaints: Vec<Vec<u8>>,
}

/// When a node was fenced last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastFenced {
    /// No fencing is known, or nobody who knows was reached.
    Never,
    /// Seconds since 1970.
    At(i64),
}

/// Who can fence. Nodes are corosync's ids.
pub trait Fencer {
    /// When fencing of this node ended last; fencing in progress does not count.
    fn last_fenced(&self, node: u32) -> LastFenced;
    /// Reboots the node and waits for the result: 0, or a negative errno.
    fn reboot(&self, node: u32, timeout_seconds: i32) -> i32;
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was fenced since it failed; nothing was done.
    AlreadyFenced,
    /// It is fenced now.
    Fenced,
    /// There is no node in the request.
    NoNode,
    /// The fencer failed with this result.
    Failed(i32),
}

/// Reads `-n <nodeid>` and `-t <fail_time>`; `program` is the name for complaints.
#[must_use]
pub fn from_command_line(program: &[u8], words: &[Vec<u8>]) -> CommandLine {
    let (found, _) = getopt::split("n:t:", words);
    let mut line = CommandLine::default();
    for item in found {
        match &item {
            Found::Option(b'n', Some(text)) => line.request.node = atoi(text),
            Found::Option(b't', Some(text)) => line.request.fail_time = seconds(text),
            _ => line.complaints.extend(item.complaint(program)),
        }
    }
    line
}

/// Reads the lines that a fence agent gets on stdin: `key=value`, values up to white space, unknown keys ignored.
#[must_use]
pub fn from_input(input: &[u8]) -> Request {
    let mut request = Request::default();
    for line in input.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b'=');
        let (Some(key), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        match key {
            b"node" => request.node = atoi(value),
            b"fail_time" => request.fail_time = seconds(value),
            _ => {}
        }
    }
    request
}

/// Carries it out.
#[must_use]
pub fn fence(request: Request, fencer: &dyn Fencer) -> Outcome {
    if request.node == 0 {
        return Outcome::NoNode;
    }
    let node = u32::from_ne_bytes(request.node.to_ne_bytes());
    let fail_time = request.fail_time;
    // The fencer is not asked without need: the question is a connection of its own.
    if fail_time != 0
        && matches!(fencer.last_fenced(node), LastFenced::At(time) if time >= fail_time)
    {
        return Outcome::AlreadyFenced;
    }
    match fencer.reboot(node, TIMEOUT_SECONDS) {
        0 => Outcome::Fenced,
        result => Outcome::Failed(result),
    }
}

impl Outcome {
    /// The exit code: of a failure the low byte of its result, as a C program returns it. One whose low byte is 0 is 1: 0 says
    /// that the node is fenced.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::AlreadyFenced | Self::Fenced => 0,
            Self::NoNode => EXIT_NO_NODE,
            Self::Failed(result) => {
                let [low, ..] = result.to_le_bytes();
                low.max(1)
            }
        }
    }
}

/// The decimal number at the start of a text, 0 where there is none or it is beyond 63 bits.
fn seconds(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let digits = text.get(..end).unwrap_or_default();
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Fake {
        last: LastFenced,
        result: i32,
        asked: RefCell<Vec<(u32, i32)>>,
    }

    impl Fencer for Fake {
        fn last_fenced(&self, _: u32) -> LastFenced {
            self.last
        }
        fn reboot(&self, node: u32, timeout_seconds: i32) -> i32 {
            self.asked.borrow_mut().push((node, timeout_seconds));
            self.result
        }
    }

    fn fake(last: LastFenced, result: i32) -> Fake {
        Fake { last, result, asked: RefCell::default() }
    }

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_node_fenced_since_it_failed_is_left_alone() {
        let request = Request { node: 3, fail_time: 1000 };
        let fencer = fake(LastFenced::At(1000), 0);
        assert_eq!(fence(request, &fencer), Outcome::AlreadyFenced);
        assert!(fencer.asked.borrow().is_empty());
        let fencer = fake(LastFenced::At(999), 0);
        assert_eq!(fence(request, &fencer), Outcome::Fenced);
        assert_eq!(*fencer.asked.borrow(), [(3, 300)]);
    }

    #[test]
    fn without_a_fail_time_the_past_does_not_count() {
        let fencer = fake(LastFenced::At(i64::MAX), -19);
        let outcome = fence(Request { node: 3, fail_time: 0 }, &fencer);
        assert_eq!((outcome, outcome.exit_code()), (Outcome::Failed(-19), 237));
    }

    #[test]
    fn no_failure_looks_like_a_fencing() {
        for (result, code) in [(256, 1), (-256, 1), (i32::MIN, 1), (1, 1), (-1, 255), (-62, 194)] {
            let outcome =
                fence(Request { node: 3, fail_time: 5 }, &fake(LastFenced::Never, result));
            assert_eq!((outcome, outcome.exit_code()), (Outcome::Failed(result), code));
        }
    }

    #[test]
    fn no_node_is_refused() {
        let fencer = fake(LastFenced::Never, 0);
        let outcome = fence(Request::default(), &fencer);
        assert_eq!((outcome, outcome.exit_code()), (Outcome::NoNode, 255));
        assert!(fencer.asked.borrow().is_empty());
    }

    #[test]
    fn input_is_read_as_agents_are_given_it() {
        let cases: [(&[u8], i32, i64); 8] = [
            (b"", 0, 0),
            (b"node=4\n", 4, 0),
            (b"nodeid=5\nnode=7junk\nfail_time=1700000000 x", 7, 1_700_000_000),
            (b" node=4\nfail_time=3", 0, 3),
            (b"node = 4\n", 0, 0),
            (b"node=abc\nfail_time=abc", 0, 0),
            (b"node=-1\n", -1, 0),
            (b"node\n=\nnode= 2\nx=node=3\n", 2, 0),
        ];
        for (input, node, fail_time) in cases {
            assert_eq!(from_input(input), Request { node, fail_time }, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn options_that_make_no_sense_are_named_and_passed_over() {
        let line = from_command_line(b"dlm_stonith", &words("-x foo -n3 -t 5 -n"));
        assert_eq!(line.request, Request { node: 3, fail_time: 5 });
        assert_eq!(line.complaints.len(), 2);
        assert_eq!(line.complaints[1], b"dlm_stonith: option requires an argument -- 'n'");
    }
}
