//! The library as a program in C meets it: its symbols, its structures, and every call against a daemon that answers with
//! fixed bytes. What is expected was recorded with Debian's library 4.2.0 and then with ours; docs/design.md says where the two
//! differ. `DLMCONTROL_LIBRARY=/path/of/directory` runs the calls with the libdlmcontrol.so.3 of that directory instead, so
//! that only those places fail.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dlmcontrol::proto::{self, Change, Command as Asked, Header, Lockspace, Node, StatusHeader};
use expect_test::expect_file;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use zerocopy::IntoBytes as _;

/// The library, where cargo puts it for tests.
fn library() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("libdlmcontrol_c.so")
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A directory of this test's own, with the library under the names that programs know.
fn directory(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    for name in ["libdlmcontrol.so.3", "libdlmcontrol.so"] {
        symlink(library(), directory.join(name)).unwrap();
    }
    directory
}

fn compile(arguments: &[&str]) {
    let strict = ["-Wall", "-Wextra", "-Werror", "-std=gnu11", "-I"];
    let compiler = Command::new("cc").args(strict).arg(source("include")).args(arguments).output();
    let compiler = compiler.unwrap();
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn symbols_are_those_of_the_c_library() {
    let listed = Command::new("nm").args(["-D", "--defined-only"]).arg(library()).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut symbols: Vec<&str> = listed.lines().filter_map(|line| line.get(19..)).collect();
    symbols.sort_unstable();
    expect_file!["symbols.expect"].assert_eq(&(symbols.join("\n") + "\n"));
}

#[test]
fn programs_ask_for_it_by_its_soname() {
    let dynamic = Command::new("readelf").arg("-d").arg(library()).output().unwrap();
    let dynamic = String::from_utf8(dynamic.stdout).unwrap();
    assert!(dynamic.contains("Library soname: [libdlmcontrol.so.3]"), "{dynamic}");
}

#[test]
fn structures_are_laid_out_as_programs_were_compiled() {
    let object = directory("layout").join("layout.o");
    compile(&["-c", text(&source("tests/layout.c")), "-o", text(&object)]);
    assert!(object.exists());
}

/// A call, and the daemon's answers to its requests.
struct Case {
    arguments: Vec<String>,
    note: &'static str,
    answers: Vec<Vec<u8>>,
}

fn case(arguments: &[&str], note: &'static str, answers: Vec<Vec<u8>>) -> Case {
    Case { arguments: arguments.iter().map(|word| (*word).to_owned()).collect(), note, answers }
}

fn header(command: Asked, name: &str, data: i32) -> Header {
    Header { data, ..Header::new(command).named(name.as_bytes()).unwrap() }
}

fn reply(header: Header, payload: &[u8]) -> Vec<u8> {
    [header.followed_by(payload.len()).as_bytes(), payload].concat()
}

fn node(nodeid: i32) -> Node {
    Node {
        nodeid,
        flags: 11,
        added_seq: 1,
        removed_seq: 2,
        fail_reason: 3,
        padding: 0,
        fail_walltime: 0x41_4243_4445,
        fail_monotime: 70,
    }
}

fn lockspace(name: &str) -> Lockspace {
    let mut field = [0; proto::LOCKSPACE_NAME_LEN];
    field[..name.len()].copy_from_slice(name.as_bytes());
    let cg_prev = Change { member_count: 2, seq: 5, combined_seq: 4, ..Change::default() };
    let cg_next = Change { wait_condition: 3, seq: 6, ..Change::default() };
    Lockspace { cg_prev, cg_next, flags: 4, global_id: 0x4142, name: field, padding: [0; 3] }
}

fn status_record(kind: u32, nodeid: i32, text: &str) -> Vec<u8> {
    let str_len = u32::try_from(text.len()).unwrap() + 1;
    let head = StatusHeader { kind, flags: 0, nodeid, data32: 0, data64: 0, str_len, bin_len: 0 };
    [head.as_bytes(), text.as_bytes(), b"\0"].concat()
}

fn status_stream() -> Vec<u8> {
    const DAEMON: &str = "member_count=1 joined_count=1 remove_count=0 daemon_ringid=12 \
        cluster_ringid=16 quorate=1 fence_pid=0 fence_in_progress_unknown=0 zombie_count=0 monotime=99 \
        stateful_merge_wait=0 ";
    const NODE: &str = "member=1 killed=0 left_reason=unknown need_fencing=0 delay_fencing=0 \
        fence_pid=0 fence_pid_wait=0 fence_result_wait=0 fence_actor_last=0 fence_actor_done=0 add_time=17 \
        rem_time=0 fail_walltime=0 fail_monotime=0 fence_walltime=0 fence_monotime=0 ";
    let failed = NODE.replace("member=1", "member=0").replace("unknown", "procdown");
    [
        status_record(1, 1, DAEMON),
        status_record(2, 1, NODE),
        status_record(2, 2, &failed),
        status_record(3, 2, NODE),
    ]
    .concat()
}

fn dumps() -> Vec<Case> {
    let mut cases = Vec::new();
    for (function, command) in [
        ("dump_debug", Asked::DumpDebug),
        ("dump_config", Asked::DumpConfig),
        ("dump_run", Asked::DumpRun),
        ("dump_log_plock", Asked::DumpDebug),
    ] {
        let answer = reply(Header::new(command), b"one\ntwo\n");
        cases.push(case(&[function], "text", vec![answer]));
    }
    let short = reply(Header::new(Asked::DumpDebug), b"one\ntwo\n");
    cases.extend([
        case(&["dump_debug"], "empty", vec![reply(Header::new(Asked::DumpDebug), b"")]),
        case(&["dump_debug"], "no answer", vec![vec![]]),
        case(&["dump_debug"], "half a header", vec![short[..50].to_vec()]),
        case(
            &["dump_plocks", "fs"],
            "text",
            vec![reply(header(Asked::DumpPlocks, "fs", 0), b"locks\n")],
        ),
        case(
            &["dump_plocks", "fs"],
            "unknown lockspace",
            vec![reply(header(Asked::DumpPlocks, "fs", -2), b"")],
        ),
        case(
            &["dump_plocks", "fs"],
            "cut text",
            vec![reply(header(Asked::DumpPlocks, "fs", -28), b"lo")],
        ),
    ]);
    cases
}

fn queries() -> Vec<Case> {
    let found = lockspace("fs");
    let none = Lockspace::default();
    let long = "x".repeat(70);
    let pair = [node(1), node(2)];
    let nodes = |data, payload: &[Node]| {
        vec![reply(header(Asked::LockspaceNodes, "fs", data), payload.as_bytes())]
    };
    let lockspaces = |data, payload: &[Lockspace]| {
        vec![reply(header(Asked::Lockspaces, "", data), payload.as_bytes())]
    };
    let info = |data, payload: &Lockspace| {
        vec![reply(header(Asked::LockspaceInfo, "fs", data), payload.as_bytes())]
    };
    let node_info =
        |data, payload: Node| vec![reply(header(Asked::NodeInfo, "fs", data), payload.as_bytes())];
    vec![
        case(&["lockspace_info", "fs"], "found", info(0, &found)),
        case(&["lockspace_info", &long], "long name", info(-2, &none)),
        case(&["lockspace_info", "fs"], "unknown", info(-2, &none)),
        case(&["lockspace_info", "fs"], "half an answer", vec![info(0, &found)[0][..150].to_vec()]),
        case(&["node_info", "fs", "2"], "found", node_info(0, node(2))),
        case(&["node_info", "fs", "2"], "unknown lockspace", node_info(-2, Node::default())),
        case(&["node_info", "fs", "-1"], "senseless node", node_info(0, Node::default())),
        case(&["lockspaces"], "two", lockspaces(2, &[found, lockspace("other")])),
        case(&["lockspaces"], "none", lockspaces(0, &[])),
        case(&["lockspaces"], "refused", lockspaces(-12, &[])),
        case(&["lockspaces"], "no answer", vec![vec![]]),
        case(&["lockspace_nodes", "fs", "2", "128"], "two", nodes(2, &pair)),
        case(&["lockspace_nodes", "fs", "1", "2"], "just fit", nodes(2, &pair)),
        case(&["lockspace_nodes", "fs", "1", "2"], "more", nodes(-7, &pair)),
        case(&["lockspace_nodes", "fs", "3", "128"], "none", nodes(0, &[])),
        case(&["lockspace_nodes", "fs", "3", "128"], "unknown lockspace", nodes(-2, &[])),
        case(&["lockspace_nodes", "fs", "3", "128"], "no answer", vec![vec![]]),
        case(&["print_status", "0"], "brief", vec![status_stream()]),
        case(&["print_status", "1"], "verbose", vec![status_stream()]),
        case(&["print_status", "0"], "empty", vec![vec![]]),
        case(&["print_status", "1"], "cut", vec![status_stream()[..400].to_vec()]),
    ]
}

fn commands() -> Vec<Case> {
    const UUID: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    let long = "y".repeat(1100);
    let longest = "z".repeat(64);
    let check = |status: u32| reply(header(Asked::RunCheck, "", 0), &status.to_ne_bytes());
    let fs = |command, name: &str, option, data| {
        reply(Header { option, ..header(command, name, data) }, b"")
    };
    vec![
        case(&["reload_config"], "", vec![]),
        case(&["set_config", "plock_debug=1"], "", vec![]),
        case(&["set_config", &long], "long", vec![]),
        case(&["fence_ack", "3"], "", vec![]),
        case(&["fence_ack", &longest], "full field", vec![]),
        case(&["deadlock_check", "fs"], "", vec![]),
        case(
            &["run_start", "lvm lvs", "0"],
            "",
            vec![reply(header(Asked::RunStart, UUID, 0), b"")],
        ),
        case(
            &["run_start", &long, "2"],
            "long",
            vec![reply(header(Asked::RunStart, UUID, 0), b"")],
        ),
        case(
            &["run_start", "lvm", "2"],
            "refused",
            vec![reply(header(Asked::RunStart, "", -22), b"")],
        ),
        case(&["run_start", "lvm", "2"], "no answer", vec![vec![]]),
        case(&["run_check", UUID, "0"], "done", vec![check(2)]),
        case(&["run_check", UUID, "0"], "failed", vec![check(6)]),
        case(&["run_check", UUID, "0"], "waiting", vec![check(1)]),
        case(&["run_check", UUID, "1"], "waits", vec![check(1), check(1)]),
        case(&["run_check", UUID, "-1"], "waits until done", vec![check(1), check(2)]),
        case(
            &["run_check", UUID, "0"],
            "unknown",
            vec![reply(header(Asked::RunCheck, "", -1), &[0; 4])],
        ),
        case(&["run_check", UUID, "0"], "no answer", vec![vec![]]),
        case(
            &["fs", "fs"],
            "",
            vec![fs(Asked::FsRegister, "fs", 0, 0), fs(Asked::FsNotified, "fs", 3, -2)],
        ),
        case(
            &["fs", &longest],
            "full field",
            vec![fs(Asked::FsRegister, &longest, 0, -95), fs(Asked::FenceAck, &longest, 3, -11)],
        ),
    ]
}

/// What went over a connection: each request without the zeros at its end.
fn serve(listener: &UnixListener, answers: &[Vec<u8>], last: usize) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut seen = String::new();
    let mut number = 0;
    while let Some(request) = request(&mut stream) {
        let used = request.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let hex: String =
            request.iter().take(used).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        writeln!(seen, "request {} bytes {hex}", request.len()).unwrap();
        if let Some(answer) = answers.get(number) {
            stream.write_all(answer).unwrap();
        }
        number += 1;
        if number == last {
            break;
        }
    }
    seen
}

fn request(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut head = vec![0; 96];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_ne_bytes(head.get(16..20)?.try_into().ok()?);
    head.resize(usize::try_from(length).ok()?.clamp(96, 4096), 0);
    stream.read_exact(head.get_mut(96..)?).ok()?;
    Some(head)
}

/// The sockets of a daemon, for all calls: a name cannot be bound anew while a child of another test, on its way to its program,
/// has a copy.
struct Daemon {
    queries: UnixListener,
    commands: UnixListener,
}

impl Daemon {
    fn listen() -> Self {
        let bind = |name: &[u8]| {
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
        };
        Self { queries: bind(proto::QUERY_SOCKET), commands: bind(proto::COMMAND_SOCKET) }
    }
}

/// What a call sends and gives back.
fn carry_out(program: &Path, libraries: &Path, case: &Case, daemon: &Daemon) -> String {
    let function = case.arguments[0].as_str();
    let queries = ["dump", "lock", "node", "prin"];
    let (socket, listener) = if queries.iter().any(|start| function.starts_with(start)) {
        (proto::QUERY_SOCKET, &daemon.queries)
    } else {
        (proto::COMMAND_SOCKET, &daemon.commands)
    };
    // A connection with answers ends with the last one; a file system's goes on until it hangs up.
    let endless = case.answers.is_empty() || function == "fs";
    let last = if endless { usize::MAX } else { case.answers.len() };
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(listener, &case.answers, last));
        let printed = run(program, libraries, &case.arguments);
        let seen = server.join().unwrap();
        let socket = String::from_utf8_lossy(socket);
        format!("= {} ({})\n{socket} {seen}{printed}\n", case.arguments.join(" "), case.note)
    })
}

fn run(program: &Path, libraries: &Path, arguments: &[String]) -> String {
    let output =
        Command::new(program).args(arguments).env("LD_LIBRARY_PATH", libraries).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The program `calls`, linked with the library.
fn program(directory: &Path) -> PathBuf {
    let program = directory.join("calls");
    let place = format!("-L{}", text(directory));
    compile(&[text(&source("tests/calls.c")), &place, "-ldlmcontrol", "-o", text(&program)]);
    program
}

#[test]
fn misuse_fails_and_ends_nobody() {
    let directory = directory("misuse");
    let printed = run(&program(&directory), &directory, &["misuse".to_owned()]);
    let (invalid, hung_up) = printed.split_at(16 * "returns -1 errno 22\n".len());
    assert_eq!(invalid, "returns -1 errno 22\n".repeat(16));
    // EPIPE and no SIGPIPE; EPROTO; EBADF.
    assert_eq!(hung_up, "returns -1 errno 32\nreturns -1 errno 71\nreturns -1 errno 9\n");
}

#[test]
fn calls_send_and_return_what_the_c_library_does() {
    let directory = directory("calls");
    let program = program(&directory);
    let libraries = std::env::var_os("DLMCONTROL_LIBRARY").map_or(directory, PathBuf::from);
    // A network namespace of this thread has abstract names of its own. Without the right to make one the calls go over
    // this machine's names, which fails only where a daemon runs.
    let told = thread::spawn(move || {
        let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
        let mut told = String::new();
        for arguments in [vec!["dump_debug"], vec!["lockspaces"], vec!["print_status", "0"]]
            .into_iter()
            .chain([vec!["fence_ack", "3"], vec!["fs", "fs"], vec!["run_check", "x", "1"]])
        {
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            let printed = run(&program, &libraries, &arguments);
            write!(told, "= {} (no daemon)\n{printed}\n", arguments.join(" ")).unwrap();
        }
        let daemon = Daemon::listen();
        for case in dumps().into_iter().chain(queries()).chain(commands()) {
            told.push_str(&carry_out(&program, &libraries, &case, &daemon));
        }
        told
    });
    expect_file!["calls.expect"].assert_eq(&told.join().unwrap());
}
