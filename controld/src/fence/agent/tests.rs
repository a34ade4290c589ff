//! Agents that are small shell scripts, each in a folder of its own.

use super::*;
use crate::process::OUTPUT_KEPT;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::fs;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// Long enough for a busy machine; no test waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that lives as long as its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fence-agent-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// An executable script with these lines.
    fn script(&self, lines: &str) -> String {
        let path = self.path("agent");
        // Written by another process: a descriptor open for writing here could be inherited by another test's child
        // between its fork and its exec, and an exec of the script would then fail with ETXTBSY.
        let text = format!("#!/bin/sh\n{lines}\n");
        let status = std::process::Command::new("sh")
            .args(["-c", r#"printf %s "$1" > "$2""#, "sh", &text])
            .arg(&path)
            .status();
        assert!(status.unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn request(agent: &str, arguments: &[&str]) -> AgentRequest {
    AgentRequest {
        token: Token(1),
        victim: NodeId::new(3).unwrap(),
        device: Device {
            name: "foo".into(),
            agent: agent.into(),
            arguments: arguments.iter().map(|&argument| argument.into()).collect(),
        },
        purpose: Purpose::Fence { fail_time: WallSeconds(1_700_000_000) },
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

/// Runs an agent that nobody kills; the sender is dropped at once, as by a driver that forgot it.
fn finish(request: AgentRequest) -> (AgentOutcome, String) {
    let (_, kill) = oneshot::channel();
    block_on(run(request, kill, |_| ()))
}

/// Runs a script without arguments.
fn finish_script(lines: &str) -> (AgentOutcome, String) {
    let folder = Folder::new();
    finish(request(&folder.script(lines), &[]))
}

#[test]
fn input_is_the_example_of_the_specification() {
    let request = request("fence_foo", &["ipaddr=1.1.1.1", "login=x", "node=2", "port=7"]);
    let expected = "ipaddr=1.1.1.1\nlogin=x\nnode=2\nport=7\nfail_time=1700000000\n";
    assert_eq!(agent_input(&request), expected);
}

#[test]
fn input_names_the_victim_unless_the_arguments_do() {
    let fail = "fail_time=1700000000\n";
    assert_eq!(agent_input(&request("a", &[])), format!("node=3\n{fail}"));
    assert_eq!(agent_input(&request("a", &["b=1", ""])), format!("b=1\nnode=3\n{fail}"));
    assert_eq!(agent_input(&request("a", &["subnode=x"])), format!("subnode=x\n{fail}"));
}

#[test]
fn spaces_of_the_input_become_newlines() {
    let request = request("a", &["ipaddr=1.1.1.1 login=x", "port=7 node=2"]);
    let expected = "ipaddr=1.1.1.1\nlogin=x\nport=7\nnode=2\nfail_time=1700000000\n";
    assert_eq!(agent_input(&request), expected);
}

#[test]
fn unfencing_asks_for_action_on_instead_of_a_fail_time() {
    let request = AgentRequest { purpose: Purpose::Unfence, ..request("a", &["port=7"]) };
    assert_eq!(agent_input(&request), "port=7\nnode=3\naction=on\n");
}

#[test]
fn agent_reads_its_input_to_the_end() {
    let folder = Folder::new();
    let input = folder.path("input");
    let agent = folder.script(&format!("exec cat > {}", input.display()));
    let request = request(&agent, &["ipaddr=1.1.1.1", "port=7"]);
    assert_eq!(finish(request.clone()), (AgentOutcome::Exited(0), String::new()));
    assert_eq!(folder.read("input"), agent_input(&request));
}

#[test]
fn agent_that_does_not_read_its_input_succeeds() {
    assert_eq!(finish_script("exec < /dev/null"), (AgentOutcome::Exited(0), String::new()));
}

#[test]
fn input_is_limited_as_upstream_limits_it() {
    let fixed = agent_input(&request("a", &[""])).len();
    let fits = "x".repeat(INPUT_LIMIT - 1 - fixed - 1);
    assert_eq!(finish(request("cat", &[&fits])).0, AgentOutcome::Exited(0));
    let (outcome, text) = finish(request("cat", &[&format!("{fits}x")]));
    assert_eq!(outcome, AgentOutcome::NotStarted(libc::E2BIG));
    assert!(text.starts_with("cat: "), "{text}");
}

#[test]
fn failure_is_the_exit_status() {
    assert_eq!(finish_script("exit 7"), (AgentOutcome::Exited(7), String::new()));
}

#[test]
fn death_by_signal_is_told_from_an_exit() {
    assert_eq!(finish_script("kill -TERM $$").0, AgentOutcome::Signalled(libc::SIGTERM));
}

#[test]
fn stdout_and_stderr_are_kept_in_their_order() {
    let (outcome, output) = finish_script("echo one; echo two >&2; echo three; exit 1");
    assert_eq!(outcome, AgentOutcome::Exited(1));
    assert_eq!(output, "one\ntwo\nthree\n");
}

#[test]
fn only_the_last_of_a_long_output_is_kept() {
    let (outcome, output) = finish_script("seq 1 200000; echo end; exit 1");
    assert_eq!(outcome, AgentOutcome::Exited(1));
    assert_eq!(output.len(), OUTPUT_KEPT);
    assert!(output.ends_with("199999\n200000\nend\n"), "{output}");
}

#[test]
fn output_that_is_no_text_is_shown_anyhow() {
    assert_eq!(finish_script(r"printf 'a\377b'").1, "a\u{fffd}b");
}

#[test]
fn agent_without_a_program_is_not_started() {
    let (outcome, text) = finish(request("fence_no_such_agent", &[]));
    assert_eq!(outcome, AgentOutcome::NotStarted(libc::ENOENT));
    assert!(text.starts_with("fence_no_such_agent: "), "{text}");
    let nul = finish(request("fence\0agent", &[])).0;
    assert_eq!(nul, AgentOutcome::NotStarted(libc::EINVAL));
    assert_eq!(finish(request("", &[])).0, AgentOutcome::NotStarted(libc::ENOENT));
}

/// One that went on in the daemon's code would keep what it shares with it.
#[test]
fn defect_27_child_that_cannot_become_its_program_ends() {
    let folder = Folder::new();
    let agent = folder.script("exit 0");
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o644)).unwrap();
    let (shared, mut peer) = UnixStream::pair().unwrap();
    leak(&shared);
    assert_eq!(finish(request(&agent, &[])).0, AgentOutcome::NotStarted(libc::EACCES));
    drop(shared);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn agent_is_searched_in_path_and_sees_a_clean_environment() {
    let (outcome, output) = finish(request("env", &[]));
    assert_eq!(outcome, AgentOutcome::Exited(0));
    let mut names: Vec<_> = output.lines().filter_map(|line| line.split_once('=')).collect();
    names.sort_unstable();
    let path = search_path();
    assert_eq!(names, [("LANG", "C"), ("PATH", path.to_str().unwrap())]);
}

#[test]
fn agent_runs_in_the_root_folder_and_in_a_group_of_its_own() {
    let (_, output) = finish_script("pwd; read -r _ _ _ _ group _ < /proc/$$/stat; echo $$ $group");
    let (folder, ids) = output.split_once('\n').unwrap();
    let (id, group) = ids.trim().split_once(' ').unwrap();
    assert_eq!(folder, "/");
    assert_eq!(id, group);
}

/// Clears close-on-exec, as a careless library would leave it.
fn leak(descriptor: &impl AsFd) {
    let flags = nix::fcntl::FdFlag::empty();
    nix::fcntl::fcntl(descriptor, nix::fcntl::FcntlArg::F_SETFD(flags)).unwrap();
}

#[test]
fn defect_87_agent_inherits_no_descriptor() {
    let leaked = OwnedFd::from(File::open("/dev/zero").unwrap());
    leak(&leaked);
    // The shell's own view, read by itself: another program would show what that program opened.
    let (_, output) = finish_script("for fd in /proc/$$/fd/*; do readlink $fd; done");
    assert!(!output.contains("/dev/zero"), "descriptor {} in {output}", leaked.as_raw_fd());
    let (pipes, others): (Vec<_>, Vec<_>) =
        output.lines().partition(|target| target.starts_with("pipe:"));
    assert_eq!(pipes.len(), 3, "{output}");
    // The shell has the script itself open.
    assert!(others.iter().all(|target| target.ends_with("/agent")), "{output}");
}

/// A set of signals in `/proc/<pid>/status`, proc(5), without 32 and 33, which the C library keeps to itself and which may
/// have come from whoever started the test.
fn signals(status: &str, name: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap() & !(0b11 << 31)
}

#[test]
fn agent_may_have_huge_pages_although_the_daemon_has_none() {
    nix::sys::prctl::set_thp_disable(true).unwrap();
    let status = finish_script("exec cat /proc/self/status").1;
    assert!(status.contains("\nTHP_enabled:\t1\n"), "{status}");
}

#[test]
#[expect(unsafe_code, reason = "the test ignores a signal, as the daemon does")]
fn agent_starts_with_default_signals_although_the_daemon_ignores_some() {
    // SAFETY: ignoring a signal runs no code.
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
    let status = finish_script("exec cat /proc/self/status").1;
    assert_eq!(signals(&status, "SigIgn:"), 0, "{status}");
    assert_eq!(signals(&status, "SigBlk:"), 0, "{status}");
}

#[test]
fn agent_may_be_killed_for_memory_like_any_program() {
    // The daemon has -1000, which only root may ask for; 1 shows as well whether it is handed down.
    fs::write("/proc/self/oom_score_adj", "1").unwrap();
    assert_eq!(finish_script("cat /proc/self/oom_score_adj").1, "0\n");
}

#[test]
fn killing_an_agent_kills_its_children() {
    let folder = Folder::new();
    let alive = folder.path("alive");
    nix::unistd::mkfifo(&alive, Mode::S_IRWXU).unwrap();
    // Agent and child have the fifo open: its end is the end of both.
    let lines =
        format!("exec 3> {}; echo alive >&3; sleep 1000 & echo waiting; wait", alive.display());
    let agent = folder.script(&lines);
    let (outcome, output, seen) = block_on(async {
        let mut fifo = pipe::OpenOptions::new().open_receiver(&alive).unwrap();
        let (killer, kill) = oneshot::channel();
        let running = tokio::spawn(run(request(&agent, &[]), kill, |_| ()));
        let mut seen = vec![0; 6];
        fifo.read_exact(&mut seen).await.unwrap();
        killer.send(()).unwrap();
        let (outcome, output) = running.await.unwrap();
        fifo.read_to_end(&mut seen).await.unwrap();
        (outcome, output, seen)
    });
    assert_eq!(outcome, AgentOutcome::Signalled(libc::SIGKILL));
    assert!(output.is_empty() || output == "waiting\n", "{output}");
    assert_eq!(seen, b"alive\n");
}

#[test]
fn agent_that_is_to_be_killed_before_it_starts_is_killed() {
    let folder = Folder::new();
    let (killer, kill) = oneshot::channel();
    killer.send(()).unwrap();
    let (outcome, _) = block_on(run(request(&folder.script("sleep 1000"), &[]), kill, |_| ()));
    assert_eq!(outcome, AgentOutcome::Signalled(libc::SIGKILL));
}

#[test]
fn child_that_keeps_the_pipes_open_does_not_hold_the_agent() {
    let (outcome, output) = finish_script("echo said; sleep 1000 & echo $!; exit 3");
    assert_eq!(outcome, AgentOutcome::Exited(3));
    let child = output.strip_prefix("said\n").unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
}

#[test]
fn child_that_goes_on_writing_does_not_hold_the_agent() {
    let (outcome, output) = finish_script("yes & exit 0");
    assert_eq!(outcome, AgentOutcome::Exited(0));
    // `yes` ends by itself when its pipe has no reader any more.
    assert!(output.len() <= OUTPUT_KEPT);
}
