use super::*;
use dlm_core::effect::Level;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

/// A directory of its own for each test, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("dlm-logging-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn options(&self) -> LogOptions {
        LogOptions {
            file: self.0.join("log/dlm/dlm.log"),
            journal: Switch::Off,
            syslog: self.0.join("syslog"),
            ..LogOptions::default()
        }
    }

    /// What the log file holds, without the two times of each line.
    fn texts(&self) -> Vec<String> {
        texts(&self.0.join("log/dlm/dlm.log"))
    }

    fn syslog(&self) -> UnixDatagram {
        let socket = UnixDatagram::bind(self.0.join("syslog")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn texts(path: &Path) -> Vec<String> {
    let lines = fs::read_to_string(path).unwrap_or_default();
    lines.lines().map(|line| line.splitn(5, ' ').last().unwrap().to_owned()).collect()
}

fn received(socket: &UnixDatagram) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let length = socket.recv(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn line(level: Level, lockspace: Option<&str>, text: &str) -> LogLine {
    let lockspace = lockspace.map(|name| LockspaceName::new(name.as_bytes()).unwrap());
    LogLine { level, lockspace, text: text.to_owned() }
}

#[test]
fn log_file_gets_info_and_errors_with_both_times_in_front() {
    let place = Place::new();
    let log = Logger::start(place.options()).unwrap();
    log.info("dlm_controld 4.2.0 started");
    log.debug("our_nodeid 1");
    log.line(&line(Level::Error, Some("data"), "fence request 2 pos 0"));
    log.finish();
    let whole = fs::read_to_string(place.0.join("log/dlm/dlm.log")).unwrap();
    let (first, second) = whole.trim_end().split_once('\n').unwrap();
    let words: Vec<&str> = first.split(' ').collect();
    assert_eq!(words.len(), 7, "{first}");
    assert_eq!(words[0].len() + words[1].len() + words[2].len(), 3 + 2 + 8, "{first}");
    let seconds: u64 = words[3].parse().unwrap();
    assert!(seconds.abs_diff(clock::monotonic_seconds()) < 60);
    assert!(first.ends_with(" dlm_controld 4.2.0 started"));
    assert!(second.ends_with(" data fence request 2 pos 0"));
    assert!(whole.ends_with('\n'));
}

#[test]
fn directories_and_file_are_made_for_root_alone() {
    let place = Place::new();
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    let log = Logger::start(place.options()).unwrap();
    log.info("x");
    log.finish();
    let mode = |path: &str| fs::metadata(place.0.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("log"), mode("log/dlm"), mode("log/dlm/dlm.log")], [0o700, 0o700, 0o600]);
}

#[test]
fn debug_lines_reach_the_file_while_the_switch_is_on() {
    let place = Place::new();
    let log = Logger::start(place.options()).unwrap();
    log.debug("one");
    log.set_debug_logfile(true);
    log.debug("two");
    log.set_debug_logfile(false);
    log.debug("three");
    log.finish();
    assert_eq!(place.texts(), ["two"]);
}

#[test]
fn dump_has_every_line_at_once() {
    let place = Place::new();
    let log = Logger::start(place.options()).unwrap();
    log.early(&line(Level::Debug, None, "config file log_debug = 1"));
    log.debug("our_nodeid 1");
    log.line(&line(Level::Error, Some("data"), "wait for quorum"));
    let dump = String::from_utf8(log.dump()).unwrap();
    let texts: Vec<&str> = dump.split('\n').map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(texts, ["config file log_debug = 1", "our_nodeid 1", "data wait for quorum"]);
}

#[test]
fn early_lines_stay_out_of_file_and_syslog() {
    let place = Place::new();
    let socket = place.syslog();
    let log = Logger::start(place.options()).unwrap();
    log.early(&line(Level::Error, None, "bad line"));
    log.error("later");
    log.finish();
    assert_eq!(place.texts(), ["later"]);
    assert!(received(&socket).ends_with(b" later"));
}

#[test]
fn plock_lines_reach_their_ring_and_others_by_level() {
    let place = Place::new();
    let log = Logger::start(place.options()).unwrap();
    let name = LockspaceName::new(b"data").unwrap();
    for _ in 0..9 {
        log.plock(None, Some(name.clone()), PlockText::Words("read plock 5 WR".to_owned()));
    }
    log.plock(Some(Level::Debug), Some(name), PlockText::Words("purge 2".to_owned()));
    log.plock(Some(Level::Error), None, PlockText::Words("plock error".to_owned()));
    log.finish();
    assert_eq!(log.plock_log().text().iter().filter(|byte| **byte == b'\n').count(), 10);
    let dump = String::from_utf8(log.dump()).unwrap();
    assert!(!dump.contains("read plock") && dump.contains("data purge 2\n"), "{dump}");
    assert_eq!(place.texts(), ["plock error"]);
}

#[test]
fn line_after_a_rotation_lands_in_a_new_file() {
    let place = Place::new();
    let socket = place.syslog();
    let log = Logger::start(place.options()).unwrap();
    log.error("one");
    // The file comes before syslog in the writer's order.
    received(&socket);
    let old = place.0.join("log/dlm/dlm.log.1");
    fs::rename(place.0.join("log/dlm/dlm.log"), &old).unwrap();
    log.error("two");
    received(&socket);
    assert_eq!(place.texts(), ["two"]);
    fs::remove_dir_all(place.0.join("log")).unwrap();
    log.error("three");
    log.finish();
    assert_eq!(place.texts(), ["three"]);
    assert!(!old.exists());
}

#[test]
fn truncated_file_is_appended_to() {
    let place = Place::new();
    let socket = place.syslog();
    let log = Logger::start(place.options()).unwrap();
    log.error("one");
    received(&socket);
    fs::File::create(place.0.join("log/dlm/dlm.log")).unwrap();
    log.error("two");
    log.finish();
    assert_eq!(place.texts(), ["two"]);
}

#[test]
fn defect_54_blocked_log_file_costs_lines_but_no_time_and_the_loss_is_told() {
    let place = Place::new();
    let fifo = place.0.join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let log = Logger::start(LogOptions { file: fifo.clone(), ..place.options() }).unwrap();
    let begun = Instant::now();
    let all = 3 * QUEUED_MAX;
    for number in 0..all {
        log.info(&format!("line {number}"));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let (mut written, mut told) = (0, 0);
    let mut lines = BufReader::new(fs::File::open(&fifo).unwrap()).lines();
    // A number comes where its lines were lost: when there is room again, the last one when the queue is empty.
    while written + told < all {
        let line = lines.next().unwrap().unwrap();
        if let Some((_, report)) = line.split_once("log: ") {
            told += report.split(' ').next().unwrap().parse::<usize>().unwrap();
        } else {
            assert!(line.ends_with(&format!(" line {}", written + told)), "{line}");
            written += 1;
        }
    }
    assert_eq!(written + told, all);
    // One line may have been in the writer's hands before it was blocked.
    assert!(written <= QUEUED_MAX + 1, "{written} lines found room");
    assert!(String::from_utf8(log.dump()).unwrap().ends_with(&format!("line {}", all - 1)));
}

#[test]
fn finish_does_not_wait_for_ever() {
    let place = Place::new();
    let fifo = place.0.join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let log = Logger::start(LogOptions { file: fifo, ..place.options() }).unwrap();
    log.info("x");
    let begun = Instant::now();
    log.finish();
    assert!(begun.elapsed() < FINISH_DEADLINE * 3);
}

#[test]
fn repeats_are_counted_instead_of_written() {
    let place = Place::new();
    let log = Logger::start(place.options()).unwrap();
    for _ in 0..100 {
        log.error("again");
    }
    log.error("other");
    log.finish();
    let mut expected = vec!["again"; 5];
    expected.extend(["other", "repeated 95 times more: again"]);
    assert_eq!(place.texts(), expected);
}

#[test]
fn without_a_journal_lines_go_to_syslog_as_local4() {
    let place = Place::new();
    let socket = place.syslog();
    let log = Logger::start(place.options()).unwrap();
    log.line(&line(Level::Error, Some("data"), "fence request 2 pos 0"));
    log.debug("quiet");
    log.info("started");
    let pid = std::process::id();
    let first = String::from_utf8(received(&socket)).unwrap();
    assert!(first.starts_with("<163>"), "{first}");
    assert!(first.contains(&format!(" dlm_controld[{pid}]: ")), "{first}");
    assert!(first.ends_with(" data fence request 2 pos 0"), "{first}");
    let second = String::from_utf8(received(&socket)).unwrap();
    assert!(second.starts_with("<166>") && second.ends_with(" started"), "{second}");
}

#[test]
fn syslog_daemon_that_starts_late_is_found() {
    let place = Place::new();
    let log = Logger::start(place.options()).unwrap();
    log.error("unheard");
    let seen = Instant::now();
    while place.texts().is_empty() {
        assert!(seen.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    // The next line's datagram comes after the first one's, which found no socket.
    log.set_debug_logfile(true);
    log.debug("between");
    while place.texts().len() < 2 {
        std::thread::yield_now();
    }
    let socket = place.syslog();
    log.error("heard");
    assert!(received(&socket).ends_with(b" heard"));
}

#[test]
fn events_of_tracing_become_lines() {
    let place = Place::new();
    let log = Logger::start(place.options()).unwrap();
    let subscriber = tracing_subscriber::registry().with(tracer::ToLog(log.clone()));
    tracing::subscriber::with_default(subscriber, || {
        tracing::error!(uid = 7, what = "x y", "refused");
        tracing::warn!(lockspace = "data", "slow {}", 3);
        tracing::debug!("detail");
        tracing::trace!("noise");
        tracing::debug!(target: "tokio::task", "foreign noise");
        tracing::info!(target: "tokio::task", "foreign");
    });
    log.finish();
    assert_eq!(place.texts(), ["refused uid=7 what=x y", "data slow 3", "foreign"]);
    let dump = String::from_utf8(log.dump()).unwrap();
    assert!(dump.contains(" detail\n") && !dump.contains("noise"), "{dump}");
}

/// Fields of one datagram in the journal's native protocol.
fn fields(mut datagram: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    while let Some(end) = datagram.iter().position(|byte| *byte == b'\n') {
        let name = String::from_utf8(datagram[..end].to_vec()).unwrap();
        datagram = &datagram[end + 1..];
        if let Some((name, value)) = name.split_once('=') {
            fields.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let (length, rest) = datagram.split_first_chunk::<8>().unwrap();
        let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
        fields.push((name, String::from_utf8(value.to_vec()).unwrap()));
        datagram = &rest[1..];
    }
    fields
}

/// The journal's socket has a fixed name, so this thread, and the writer that it starts, get a /run of their own.
#[test]
fn journal_gets_native_fields() {
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        crate::skipped::skipped("the right to make a mount namespace");
        return;
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("none"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    fs::create_dir_all("/run/systemd/journal").unwrap();
    let journal = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
    journal.set_read_timeout(Some(Duration::from_secs(20))).unwrap();

    let place = Place::new();
    let log = Logger::start(LogOptions { journal: Switch::On, ..place.options() }).unwrap();
    log.line(&line(Level::Error, Some("data"), "fence request 2 pos 0"));
    log.debug("quiet");
    log.info("started");
    let details =
        Details { node: Some("2 3".to_owned()), cause: Some("failed"), duration_ms: Some(3050) };
    log.event(&line(Level::Info, Some("data"), "kernel started with 1"), details);
    assert!(received(&journal).is_empty(), "the journal's layer asks whether anybody listens");
    let first = fields(&received(&journal));
    let get = |fields: &[(String, String)], name: &str| {
        fields.iter().find(|field| field.0 == name).map(|field| field.1.clone())
    };
    assert_eq!(get(&first, "PRIORITY").as_deref(), Some("3"));
    assert_eq!(get(&first, "SYSLOG_IDENTIFIER").as_deref(), Some("dlm_controld"));
    assert_eq!(get(&first, "SYSLOG_FACILITY").as_deref(), Some("20"));
    assert_eq!(get(&first, "LOCKSPACE").as_deref(), Some("data"));
    let message = get(&first, "MESSAGE").unwrap();
    let (seconds, text) = message.split_once(' ').unwrap();
    assert!(seconds.parse::<u64>().is_ok(), "{message}");
    assert_eq!(text, "data fence request 2 pos 0");
    let second = fields(&received(&journal));
    assert_eq!(get(&second, "PRIORITY").as_deref(), Some("6"));
    assert_eq!(get(&second, "LOCKSPACE"), None);
    assert!(get(&second, "MESSAGE").unwrap().ends_with(" started"));
    assert_eq!(["NODE", "CAUSE", "DURATION_MS"].map(|name| get(&second, name)), [None, None, None]);
    let third = fields(&received(&journal));
    let details = ["LOCKSPACE", "NODE", "CAUSE", "DURATION_MS"].map(|name| get(&third, name));
    assert_eq!(details, ["data", "2 3", "failed", "3050"].map(|value| Some(value.to_owned())));
    let message = get(&third, "MESSAGE").unwrap();
    assert!(message.ends_with(" data kernel started with 1 (3050 ms)"), "{message}");
}
