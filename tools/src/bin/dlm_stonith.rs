//! `dlm_stonith`: the fence agent that hands a node to pacemaker's fencer.

use dlm_tools::ffi::{self, Library};
use dlm_tools::stonith::{self, Outcome};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

/// Most bytes of input: a fence agent gets a handful of short lines.
const INPUT_MAX: u64 = 1024 * 1024;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(OsStringExt::into_vec);
    let program = words.next().unwrap_or_default();
    let words: Vec<Vec<u8>> = words.collect();
    let request = if words.is_empty() {
        let mut input = Vec::new();
        // What was read before an error counts; without a node in it, that is said below.
        let _ = io::stdin().lock().take(INPUT_MAX).read_to_end(&mut input);
        stonith::from_input(&input)
    } else {
        let line = stonith::from_command_line(&program, &words);
        for complaint in &line.complaints {
            say(complaint);
        }
        line.request
    };
    let outcome = stonith::fence(request, &Library::open());
    match outcome {
        Outcome::AlreadyFenced | Outcome::Fenced => {}
        Outcome::NoNode => say(b"no node"),
        Outcome::Failed(result) => {
            let text = format!("kick_helper error {result} nodeid {}", request.node);
            say(text.as_bytes());
            ffi::syslog_error(&text);
        }
    }
    ExitCode::from(outcome.exit_code())
}

/// A line on stderr, which the daemon sends to /dev/null: not being able to write it changes nothing.
fn say(line: &[u8]) {
    let _ = io::stderr().write_all(&[line, b"\n"].concat());
}
