//! What the C `dlm_tool` 4.2.0 asked, was answered and printed, against ours (tests/golden/tool/README.md).
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use dlm_tools::args::{self, Parsed};
use dlm_tools::hints::Hints;
use dlm_tools::run::{Environment, Tool};
use dlm_tools::usage;
use dlmcontrol::Client;
use dlmcontrol::proto::{self, Header};
use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::thread;
use zerocopy::IntoBytes as _;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tool")
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split_ascii_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

/// Runs a command line; returns stdout, stderr and the exit code.
fn run(line: &str, environment: &Environment) -> (Vec<u8>, Vec<u8>, u8) {
    let Ok(Parsed::Run(invocation)) = args::parse(b"dlm_tool", &words(line)) else {
        panic!("{line}: no command");
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut tool = Tool { environment, out: &mut out, err: &mut err };
    let code = tool.run(&invocation).unwrap();
    (out, err, code)
}

/// The time of asking, which is in the fence lines of `status`, made equal.
fn without_now(text: &[u8]) -> String {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = |line: &str| {
        let parts = line.split_once(" now ").filter(|_| line.starts_with("fence "));
        parts.map_or_else(
            || line.to_owned(),
            |(head, tail)| {
                let tail = tail.trim_start_matches(|digit: char| digit.is_ascii_digit());
                format!("{head} now T{tail}")
            },
        )
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Plays the captured answers of a case and compares requests and output.
fn replay(case: &Path) {
    let name = case.file_name().unwrap().to_str().unwrap();
    let socket = format!("dlm-tool-golden-{}-{name}", std::process::id());
    let address = SocketAddr::from_abstract_name(&socket).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let exchanges: Vec<(Vec<u8>, Vec<u8>)> = (0..)
        .map_while(|number| {
            let read = |kind| std::fs::read(case.join(format!("{number}.{kind}"))).ok();
            read("request").zip(read("answer"))
        })
        .collect();
    let server = thread::spawn(move || {
        for (request, answer) in exchanges {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; request.len()];
            stream.read_exact(&mut asked).unwrap();
            assert_eq!(asked, request, "request");
            stream.write_all(&answer).unwrap();
        }
    });
    let client = Client::with_sockets(socket.as_bytes(), socket.as_bytes());
    let environment = Environment { client, ..Environment::default() };
    let line = std::fs::read_to_string(case.join("arguments")).unwrap();
    let (out, err, code) = run(&line, &environment);
    server.join().expect(name);
    let expected = std::fs::read(case.join("stdout")).unwrap();
    assert_eq!(without_now(&out), without_now(&expected), "{name}");
    assert_eq!((err.as_slice(), code), (&b""[..], 0), "{name}");
}

#[test]
fn captured_sessions_are_repeated_to_the_byte() {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("arguments").exists())
        .collect();
    cases.sort();
    assert!(cases.len() >= 20, "{} cases", cases.len());
    for case in cases {
        replay(&case);
    }
}

#[test]
fn debug_files_are_shown_as_the_c_tool_shows_them() {
    for case in ["lockdebug-sample", "lockdebug-random"] {
        let debug = golden().join(case);
        let environment = Environment { debug: debug.clone(), ..Environment::default() };
        for line in ["lockdebug -s", "lockdebug -v", "lockdebug -vws", "lockdump -M", "lockdump"] {
            let file = debug.join(format!("{}.stdout", line.replace(' ', "_")));
            let expected = std::fs::read_to_string(file).unwrap();
            // Flags 10 in hex, which the C tool reads as a decimal number.
            let expected = expected.replace("flags 0000000a first", "flags 00000010 first");
            let (out, err, code) = run(&format!("{line} foo"), &environment);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{case} {line}");
            assert_eq!((err.as_slice(), code), (&b""[..], 0), "{case} {line}");
        }
    }
}

#[test]
fn usage_is_that_of_the_c_tool() {
    assert_eq!(usage::USAGE, std::fs::read_to_string(golden().join("usage.stdout")).unwrap());
}

#[test]
fn without_a_daemon_texts_and_codes_are_those_of_the_c_tool() {
    let nobody: &[u8] = b"dlm-tool-golden-nobody";
    let client = Client::with_sockets(nobody, nobody);
    let environment =
        Environment { client, debug: "/nonexistent/dlm".into(), ..Environment::default() };
    let cases = [
        ("ls", "", "", 1),
        ("ls nosuch", "", "", 1),
        ("status", "cannot connect to dlm_controld\n", "", 0),
        ("status -v", "cannot connect to dlm_controld\n", "", 0),
        ("dump", "\n", "", 0),
        ("dump_config", "\n", "", 0),
        ("run_list", "\n", "", 0),
        ("log_plock", "\n", "", 0),
        ("plocks fs", "", "", 0),
        ("fence_ack 9", "", "", 0),
        ("deadlock_check fs", "", "", 0),
        ("reload_config", "reload_config failed\n", "", 0),
        ("set_config a=1", "set_config failed\n", "", 0),
        ("run true", "run_uuid: \ncheck_status: \n", "", 255),
        ("run_start true", "run_uuid: \n", "", 255),
        ("run_check x", "check_status: \n", "", 255),
        ("run_cancel x", "check_status: \n", "", 255),
        ("lockdebug fs", "", "can't open /nonexistent/dlm/fs: No such file or directory\n", 0),
        ("lockdump fs", "", "can't open /nonexistent/dlm/fs_locks: No such file or directory\n", 0),
    ];
    for (line, out, err, code) in cases {
        let expected = (out.as_bytes().to_vec(), err.as_bytes().to_vec(), code);
        assert_eq!(run(line, &environment), expected, "{line}");
    }
}

/// The line that helps is for those who read it: what programs see is that of the C tool.
#[test]
fn reader_is_told_that_there_is_no_daemon() {
    let nobody: &[u8] = b"dlm-tool-golden-nobody";
    let client = Client::with_sockets(nobody, nobody);
    let environment = Environment { client, hints: Hints::Given, ..Environment::default() };
    for (line, helped) in
        [("ls", true), ("fence_ack 3", true), ("run true", true), ("check", false)]
    {
        let (_, err, _) = run(line, &environment);
        let told = String::from_utf8(err).unwrap();
        assert_eq!(told.starts_with("dlm_controld does not run here: `"), helped, "{line}: {told}");
        assert_eq!(told.lines().count(), usize::from(helped), "{line}: {told}");
    }
}

/// A mistyped acknowledgement is refused by the daemon, which has no way to say so.
#[test]
fn reader_is_told_that_no_fencing_of_the_node_is_due() {
    const STATE: &str = include_str!("../../controld/src/control/testdata/state.json");
    let socket = format!("dlm-tool-golden-ack-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&socket).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let server = thread::spawn(move || {
        // For each word: the state, the acknowledgement, and whether there is a daemon at all.
        let answer = [
            Header::new(proto::Command::State).followed_by(STATE.len()).as_bytes(),
            STATE.as_bytes(),
        ]
        .concat();
        for answer in [&answer[..], b"", b"", &answer, b"", b""] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 96]).unwrap();
            stream.write_all(answer).unwrap();
        }
    });
    let client = Client::with_sockets(socket.as_bytes(), socket.as_bytes());
    let environment = Environment { client, hints: Hints::Given, ..Environment::default() };
    assert_eq!(run("fence_ack 3", &environment), (Vec::new(), Vec::new(), 0));
    let (out, err, code) = run("fence_ack 2", &environment);
    assert_eq!((out.as_slice(), code), (&b""[..], 0));
    let told = "no fencing of node 2 is due here, so the daemon refuses this; \
                `dlm_tool explain` names the nodes that are waited for\n";
    assert_eq!(String::from_utf8(err).unwrap(), told);
    server.join().unwrap();
}
